"""Readings at the edges of the rules: what was not set down, how a counter lags, what a crash left, what is nobodys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.delivery import small
from pumpd.core.sight import is_another
from pumpd.core.state import Phase
from pumpd.core.turn import Turn
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, PLAN, RATE, STANDING, TWO_STEPS, Case, plan

GRAIN = Ml("0.000001")
TOO_FAST = MlPerHour(50)


def alarm(case: Case, code: str) -> dict[str, str]:
    (raised,) = (each for each in case.got(ev.Raise) if each.code == code)
    return dict(raised.values)


# --- the counter ------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S6")
@pytest.mark.parametrize(
    ("motion", "rate", "highest"),
    [(STANDING, RATE, RATE), (INFUSING, TOO_FAST, TOO_FAST), (INFUSING, MlPerHour(20), RATE)],
)
def test_a_counter_that_came_slowly_lags_by_the_highest_rate_that_may_have_run(
    motion: Motion, rate: MlPerHour, highest: MlPerHour
) -> None:
    case = Case().running(60)
    case.feed(ev.PumpReported(PumpReport(motion, rate, case.state.volumes.last_count), took_s=2.0), 1)
    assert case.state.volumes.lag == highest.over(2.0)


@pytest.mark.shows("S6")
def test_a_pump_read_running_at_the_moment_of_its_start_has_surely_given_nothing_yet() -> None:
    case = Case().starting()
    case.done()
    assert case.state.volumes.at == case.now
    case.read(INFUSING, RATE, "0")
    assert (case.state.volumes.low, case.state.volumes.high) == (Ml(0), RATE.over(1))


# --- an order whose answer never came ---------------------------------------------------------------------------------


@pytest.mark.shows("S4")
def test_a_resume_that_was_not_carried_out_is_told_from_what_was_given_before() -> None:
    case = Case().paused()
    assert case.state.volumes.counted > Ml(0)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed("unknown", uncertain=True)
    case.read(STANDING, RATE)
    assert case.answer.state == "failed"
    assert case.phase is Phase.PAUSED


def being_set_down(case: Case) -> Case:
    """The pump ran above the plan, and nobody knows whether it was set down."""
    case.read(INFUSING, TOO_FAST)
    assert case.raised == {"rate_above_plan"}
    case.failed("unknown", uncertain=True)
    return case


@pytest.mark.shows("S2", "S5")
def test_a_rate_that_was_not_set_down_is_stopped() -> None:
    case = being_set_down(Case().running(60))
    case.read(INFUSING, TOO_FAST)
    assert case.halts
    assert "rate_not_set" in case.raised


@pytest.mark.shows("S3")
def test_a_pump_that_stands_needs_no_setting_down() -> None:
    case = being_set_down(Case().running(60))
    case.read(STANDING, TOO_FAST)
    assert not case.halts
    assert case.raised == {"stopped_at_pump"}
    assert case.state.hold.by_pump


def test_a_rate_that_the_next_step_of_the_plan_has_made_right_is_not_stopped() -> None:
    steps = plan(portions=TWO_STEPS)
    case = Case(plan=steps).running(9)
    begins, higher = steps.steps[0].seconds, steps.steps[1].rate
    given = steps.volume_at(begins - 1.5)
    volumes = replace(case.state.volumes, low=given, high=given, counted=given, last_count=given, count_at_high=given)
    case.state = replace(case.state, elapsed=begins - 1.5, run_since=case.now, volumes=volumes)
    case.read(INFUSING, higher)
    assert case.raised == {"rate_above_plan"}
    case.failed("unknown", uncertain=True)
    case.read(INFUSING, higher)
    assert case.phase is Phase.RUNNING
    assert not case.halts


@pytest.mark.shows("S2", "S10")
def test_a_rate_found_above_the_plan_after_a_crash_is_set_down_once_more() -> None:
    case = being_set_down(Case().running(60))
    case.feed(ev.Restarted(rebooted=False), 1)
    case.feed(ev.LinkUp(replace(case.state.ours, rate=TOO_FAST)), 1)
    case.read(INFUSING, TOO_FAST)
    assert case.phase is Phase.RUNNING
    assert [(order.rate, order.raises) for order in case.got(ev.SetRate)] == [(RATE, False)]


@pytest.mark.shows("S15")
def test_a_limit_that_was_cut_is_no_excuse_for_another_rate_once_the_pump_was_read() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    case.failed()
    assert not is_another(case.state, replace(case.state.ours, rate=TOO_FAST, limit=Ml(9)))
    case.read(STANDING, RATE)
    case.state = replace(case.state, pending=None)  # the next loading, which is on its way again
    assert not is_another(case.state, replace(case.state.ours, limit=Ml(9)))
    assert is_another(case.state, replace(case.state.ours, rate=TOO_FAST))


# --- armed, and no longer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["pump_power_lost", "motor_stalled"])
def test_an_armed_pump_that_lost_its_power_or_stalled_is_armed_anew(code: str) -> None:
    case = Case().armed()
    case.told(code)
    case.read(STANDING, RATE)
    assert case.phase is Phase.PLANNED
    assert alarm(case, "unarmed") == {"why": "something was changed at the pump"}


@pytest.mark.shows("S2", "raised:infusing_against_plan")
def test_a_pump_with_a_dose_that_is_started_before_it_is_armed_again_is_stopped_with_one_alarm() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    case.done()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.failed()
    case.read(Motion.PURGING, "12")
    assert case.halts
    assert case.raised == {"infusing_against_plan"}
    assert alarm(case, "infusing_against_plan") == {"motion": "purging", "phase": "planned"}


# --- paused -----------------------------------------------------------------------------------------------------------


@pytest.mark.shows("within:SHORT_SHARE", "beyond:SHORT_SHARE", "raised:short_of_plan")
@pytest.mark.parametrize(("more", "told"), [(Ml(0), False), (GRAIN, True)])
def test_a_pause_in_which_little_is_missing_and_nothing_may_be_given_says_nothing(more: Ml, told: bool) -> None:
    case = Case().paused()
    missing = small(Turn(case.state, case.now)) + more
    counted = PLAN.volume - missing
    volumes = replace(case.state.volumes, high=PLAN.volume, counted=counted, last_count=counted)
    case.state = replace(case.state, volumes=volumes)
    case.read(STANDING, RATE)
    assert ("short_of_plan" in case.raised) is told


def test_what_may_still_be_given_in_a_pause_is_not_missing() -> None:
    case = Case().paused()
    case.read(STANDING, RATE)
    assert not case.raised


@pytest.mark.shows("S6", "raised:infusing_against_plan")
def test_a_paused_pump_found_moving_is_told_by_its_motion() -> None:
    case = Case().paused()
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.5"))
    assert case.halts
    assert alarm(case, "infusing_against_plan") == {"motion": "infusing", "phase": "paused"}


@pytest.mark.shows("S6")
def test_a_pump_that_moves_between_the_looks_at_its_end_is_told_each_time() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    for _ in range(2):
        case.read(STANDING, None, case.state.volumes.counted + Ml("0.5"))
        assert case.phase is Phase.ENDING
        assert alarm(case, "infusing_against_plan") == {"given_ml": "0.500", "phase": "ending"}


def test_what_an_armed_pump_counts_before_its_start_unarms_it_and_was_given_to_nobody() -> None:
    case = Case().armed()
    case.read(STANDING, RATE, "0.5")
    assert case.phase is Phase.PLANNED
    assert case.raised == {"unarmed"}


# --- after a crash ----------------------------------------------------------------------------------------------------


@pytest.mark.shows("S10")
def test_a_last_bit_that_was_never_started_is_not_missed_after_a_crash() -> None:
    """So little was missing that the dose is complete: no pause is left to resume."""
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.feed(ev.Restarted(rebooted=False), 1)
    assert case.phase is Phase.RECOVERING
    counted = PLAN.volume - Ml("0.3")
    case.state = replace(case.state, volumes=replace(case.state.volumes, counted=counted))
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(STANDING, RATE)
    assert (case.phase, case.state.hold) == (Phase.ENDING, None)


# --- nobody's ---------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_a_session_given_up_before_its_pump_was_armed_has_no_pump() -> None:
    case = Case().planned()
    case.feed(ev.StopOrdered(case.by()))
    assert case.phase is Phase.ABORTED
    case.read(INFUSING, RATE)
    assert case.raised == {"infusing_unknown_session"}
    assert not case.halts
    case.read(STANDING, RATE)
    assert ev.Clear("infusing_unknown_session") in case.last


@pytest.mark.shows("S5", "S15")
def test_another_pump_at_the_end_is_stopped_where_a_person_has_ordered_it() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.PumpStopOrdered(case.by()))
    case.halt_failed("link_lost")
    case.feed(ev.LinkUp(replace(case.who, version="V1.0")), 3)
    case.read(INFUSING, RATE, Ml(3))
    assert case.halts
    assert case.raised == {"infusing_against_plan"}
