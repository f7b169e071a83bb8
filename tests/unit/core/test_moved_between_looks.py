"""A pump that stands at each look, and whose counter goes on between them (S1, S6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.driver import PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, MINIMUM, RATE, STANDING, Case

STEP = Ml("0.01")  # of the counter at 28 mL
CODE = "infusing_against_plan"


def standing(case: Case, more: Ml) -> None:
    """A look at a pump that stands, and that has counted so much more than at the last."""
    case.read(STANDING, None, case.state.volumes.counted + more)


def in_phase(phase: Phase) -> Case:
    if phase is Phase.PAUSED:
        case = Case().paused()
    elif phase is Phase.ENDING:
        case = Case().running(30)
        case.feed(ev.StopOrdered(case.by()))
        case.halted()
    else:
        case = Case().observing()
        if phase is not Phase.OBSERVING:
            case.feed(ev.EndOrdered(case.by()))
            case.state = replace(case.state, phase=phase)
    assert case.phase is phase
    return case


@pytest.mark.shows("S6", "raised:infusing_against_plan")
@pytest.mark.parametrize("phase", [Phase.PAUSED, Phase.ENDING, Phase.OBSERVING, Phase.ENDED, Phase.ABORTED])
def test_more_than_a_step_of_the_counter_is_told_in_each_phase_in_which_it_must_stand(phase: Phase) -> None:
    case = in_phase(phase)
    standing(case, STEP)
    assert CODE not in case.raised, "the counter may lag by a step"
    standing(case, STEP + Ml("0.001"))
    assert CODE in case.raised
    (told,) = [effect for effect in case.got(ev.Raise) if effect.code == CODE]
    assert dict(told.values) == {"given_ml": "0.011", "phase": phase.value}


def test_it_is_told_each_time() -> None:
    case = Case().paused()
    for _ in range(3):
        standing(case, Ml("0.5"))
        assert CODE in case.raised
        case.done()


def test_what_a_slow_line_left_behind_in_the_counter_is_no_motion() -> None:
    case = Case().paused()
    case.state = replace(case.state, volumes=replace(case.state.volumes, lag=Ml("0.5")))
    standing(case, STEP + Ml("0.5"))
    assert CODE not in case.raised


def test_what_it_gave_before_it_was_read_standing_is_no_second_motion() -> None:
    case = Case().running(60)
    case.feed(ev.PauseOrdered(case.by()))
    case.halted(counted=case.state.volumes.counted + Ml("0.05"))
    assert CODE not in case.raised


def test_a_pump_that_was_released_or_was_never_ours_is_nobodys_business() -> None:
    for change in ({"released": True}, {"ours": None}):
        case = Case().observing()
        case.state = replace(case.state, **change)
        standing(case, Ml(1))
        assert CODE not in case.raised


@pytest.mark.shows("S6")
def test_what_was_given_out_of_sight_of_a_paused_pump_is_told_once_it_is_seen() -> None:
    case = Case().paused()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(case.state.ours))
    case.read(STANDING, case.state.ours.rate, case.state.volumes.counted + Ml("0.05"), dt=60)
    assert CODE in case.raised


# --- another container ------------------------------------------------------------------------------------------------


def fitting(case: Case) -> Case:
    prescription = case.plan.prescription
    case.feed(ev.ContainerOrdered(case.by(), prescription.container, case.rules.fitted))
    assert isinstance(case.order, ev.Arm), case.last
    return case


def fitted(case: Case, counted: Ml, *, cleared: bool = False) -> None:
    order = case.order
    assert isinstance(order, ev.Arm)
    ours = case.state.ours
    marks = (("address", "00"), ("diameter", "19.05")) if cleared else ours.fingerprint
    who = replace(ours, rate=order.rate, limit=order.limit, fingerprint=marks)
    case.done(identity=who, report=PumpReport(STANDING, order.rate, counted, order.limit))


@pytest.mark.shows("S1")
@pytest.mark.parametrize(("more", "told"), [(STEP, False), (STEP + Ml("0.001"), True)])
def test_what_moved_since_the_last_look_is_counted_when_a_container_is_fitted(more: Ml, told: bool) -> None:
    case = fitting(Case().paused())
    before = case.state.volumes.counted
    fitted(case, before + more)
    assert case.state.volumes.counted == before + more
    assert (CODE in case.raised) is told
    assert case.state.limit_covers is not told
    if told:
        (effect,) = [effect for effect in case.got(ev.Raise) if effect.code == CODE]
        assert dict(effect.values) == {"given_ml": "0.011", "phase": "paused"}


def test_a_counter_that_the_new_diameter_cleared_has_counted_nothing_more() -> None:
    case = fitting(Case().paused())
    before = case.state.volumes.counted
    fitted(case, Ml(0), cleared=True)
    assert case.state.volumes.counted == before
    assert case.state.volumes.last_count == Ml(0)
    assert CODE not in case.raised


def test_armed_at_the_beginning_the_counter_of_whoever_used_it_before_is_not_ours() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    order = case.order
    who = replace(case.who, rate=order.rate, limit=order.limit)
    case.done(identity=who, report=PumpReport(STANDING, order.rate, Ml(5), order.limit))
    assert case.state.volumes.counted == Ml(0)
    assert case.state.limit_covers
    assert CODE not in case.raised


# --- killed before the start ------------------------------------------------------------------------------------------


def come_back(case: Case) -> None:
    """The program died before a byte of the order left, and finds the pump standing as it was."""
    case.feed(ev.Restarted(rebooted=False))
    case.feed(ev.LinkUp(case.state.ours))
    case.read(STANDING, case.state.ours.rate)
    assert case.phase is Phase.PAUSED


@pytest.mark.shows("S10", "S3")
def test_a_pause_demands_what_it_demanded_before_the_program_died_in_its_resume() -> None:
    case = Case().paused_by_pump(told="motor_stalled")
    hold = case.state.hold
    assert hold.needs_pressure_release
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), pressure_released=True))
    come_back(case)
    assert case.state.hold == hold


@pytest.mark.shows("S10", "S3")
def test_a_first_start_that_never_left_is_no_stop_of_the_pump_by_itself() -> None:
    case = Case().starting()
    come_back(case)
    assert not case.state.hold.by_pump, "or its keypad could start it"
    case.read(INFUSING, RATE)
    assert case.halts


# --- who is it? -------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_a_pump_that_was_lost_in_its_first_arming_is_proved_to_nobody() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.StopOrdered(case.by()))
    assert case.phase is Phase.ENDING
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(case.who))
    assert "pump_not_proved" in case.state.conditions
    case.read(INFUSING, "20")
    assert not case.halts


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("rate", "limit", "left_alone"), [(RATE, None, False), (MlPerHour(300), None, False), (RATE, MINIMUM, True)]
)
def test_another_pump_in_the_place_of_the_armed_one_is_unarmed_and_left_alone(
    rate: MlPerHour, limit: Ml | None, left_alone: bool
) -> None:
    case = Case().armed()
    case.feed(ev.LinkUp(replace(case.state.ours, rate=rate, limit=limit or case.state.ours.limit)))
    assert (case.phase is Phase.PLANNED) is left_alone
    assert (case.state.volumes.last_count is None) is left_alone
    assert ("unarmed" in case.state.conditions) is left_alone
    assert not case.got(ev.Tighten)


# --- an alarm meets a start -------------------------------------------------------------------------------------------


@pytest.mark.shows("S3", "S5", "H60")
@pytest.mark.parametrize("first", [True, False])
def test_a_start_on_its_way_is_given_up_when_the_pump_tells_of_trapped_pressure(first: bool) -> None:
    if first:
        case = Case().starting()
    else:
        case = Case().paused()
        case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.told("motor_stalled")
    assert case.halts
    assert case.state.pending is None
    case.halted()
    if first:
        assert case.phase is Phase.PLANNED, "armed anew, the line is looked at"
    else:
        case.done()
        case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
        assert case.answer.reason == "not_confirmed"


def test_another_alarm_gives_up_no_start() -> None:
    case = Case().starting()
    case.told("pump_watchdog_expired")
    assert not case.halts
    assert isinstance(case.order, ev.Begin)
