"""What a person may order, with which words read back, and within which limits (S2, S3, S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.limits import Override
from pumpd.core.state import Phase, Sight
from pumpd.core.therapy import LONG_PAUSE_S
from pumpd.driver import Grid, Motion
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, INFUSING, RATE, SOFTLY, STANDING, SYRINGE, WHO, Case, rules

# --- arming ---


@pytest.mark.shows("H54", "H51")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patient_ref": "p-2"}, "wrong_patient"),
        ({"missing": ("clamps-open",)}, "not_confirmed"),
        ({"annunciator": "no such device"}, "annunciator"),
    ],
)
def test_arming_is_refused_with_its_reason(changes: dict[str, object], reason: str) -> None:
    case = Case().planned()
    case.feed(replace(ev.ArmOrdered(case.by(), "p-1", (), "ok"), **changes))
    assert case.answer.reason == reason
    assert case.order is None


def test_arming_needs_a_pump_seen_standing() -> None:
    case = Case().planned()
    case.read(INFUSING)
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.answer.reason == "busy"
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.answer.reason == "link_lost"
    assert case.order is None


@pytest.mark.shows("S1")
def test_arming_puts_rate_diameter_and_the_whole_volume_into_the_pump() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.got(ev.Arm) == [ev.Arm(1, SYRINGE, RATE, case.plan.volume, False)]


@pytest.mark.shows("within:UNARM_AFTER_S", "beyond:UNARM_AFTER_S")
@pytest.mark.parametrize(("seconds", "phase"), [(899.9, Phase.ARMED), (900.0, Phase.PLANNED)])
def test_a_quarter_of_an_hour_unarms(seconds: float, phase: Phase) -> None:
    case = Case().armed()
    assert case.wake_at == case.now + 900
    case.feed(ev.Tick(), seconds)
    assert case.phase is phase
    assert ("unarmed" in case.raised) is (phase is Phase.PLANNED)


@pytest.mark.parametrize(("rate", "counted"), [("46.65", "0"), ("46.66", "0.001")])
def test_a_change_at_the_pump_unarms(rate: str, counted: str) -> None:
    case = Case().armed()
    case.read(STANDING, RATE, "0")
    assert case.phase is Phase.ARMED
    case.read(STANDING, rate, counted)
    assert case.phase is Phase.PLANNED
    case.feed(ev.StartOrdered(case.by(), case.confirm()))
    assert case.answer.reason == "wrong_phase"


def test_losing_sight_unarms() -> None:
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    assert case.phase is Phase.PLANNED


@pytest.mark.shows("S15", "H51")
def test_a_start_that_finds_something_changed_unarms() -> None:
    case = Case().starting()
    case.failed("differs")
    assert case.phase is Phase.PLANNED
    assert case.answer.reason == "differs"


# --- start and resume are confirmed with the figures ---


@pytest.mark.shows("S2", "H44", "H63")
@pytest.mark.parametrize(
    "confirm",
    [
        None,
        ev.Confirm(),
        ev.Confirm(RATE, None),
        ev.Confirm(None, Ml(35)),
        ev.Confirm(MlPerHour("46.65"), Ml(35)),
        ev.Confirm(RATE, Ml(34)),
        ev.Confirm(RATE, Ml(36)),
    ],
)
def test_a_start_not_confirmed_with_these_figures_is_refused(confirm: ev.Confirm | None) -> None:
    case = Case().armed()
    case.feed(ev.StartOrdered(case.by(), confirm))
    assert case.answer.reason == "not_confirmed"
    assert "46.66 mL/h" in case.answer.text
    assert "35.00 mL" in case.answer.text
    assert case.order is None


@pytest.mark.shows("S15", "S1")
def test_a_start_proves_the_armed_pump_and_loads_what_remains() -> None:
    case = Case().armed()
    case.feed(ev.StartOrdered(case.by(), ev.Confirm(RATE, Ml(35))))
    (begin,) = case.got(ev.Begin)
    assert (begin.rate, begin.limit) == (RATE, Ml(35))
    assert begin.identity == case.state.ours
    assert begin.settings == case.state.settings
    assert begin.gives_more


@pytest.mark.shows("S1", "H33")
def test_a_resume_loads_the_plan_less_the_most_that_can_have_been_given() -> None:
    case = Case().paused(600)
    volumes = case.state.volumes
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 5)
    (begin,) = case.got(ev.Begin)
    most = max(volumes.high, volumes.counted + Ml(FITTED.counter.step_at(Decimal(35))), key=lambda each: each.value)
    assert begin.limit <= case.plan.volume - most
    assert begin.limit > case.plan.volume - most - Ml("0.011")


@pytest.mark.shows("within:LONG_PAUSE_S", "beyond:LONG_PAUSE_S")
@pytest.mark.parametrize(
    ("waited", "role", "taken"), [(-1, "nurse", True), (1, "nurse", False), (1, "prescriber", True)]
)
@pytest.mark.parametrize("order", [ev.ResumeOrdered, ev.FinishOrdered])
def test_a_pause_of_over_a_quarter_of_an_hour_needs_a_prescriber(
    order: type, waited: int, role: str, taken: bool
) -> None:
    case = Case().paused()
    at = case.state.hold.at + LONG_PAUSE_S + waited
    case.feed(order(case.by(role), case.confirm()), at - case.now)
    assert isinstance(case.order, ev.Begin) is taken
    assert taken or (case.answer.reason, "prescriber" in case.answer.text) == ("not_allowed", True)


@pytest.mark.shows("H9", "H60")
def test_after_an_occlusion_pressure_must_be_released_and_nothing_is_caught_up() -> None:
    case = Case().paused_by_pump(600, told="motor_stalled")
    assert case.state.hold.needs_pressure_release
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert (case.answer.reason, "pressure" in case.answer.text) == ("not_confirmed", True)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), recalculate=True, pressure_released=True))
    assert case.answer.reason == "not_allowed"
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), pressure_released=True))
    assert case.got(ev.Begin)[0].rate == RATE


@pytest.mark.shows("H60")
def test_an_occlusion_told_after_a_person_had_paused_traps_pressure_as_well() -> None:
    case = Case().paused(600)
    case.told("motor_stalled")
    case.read(STANDING, RATE)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert (case.answer.reason, "pressure" in case.answer.text) == ("not_confirmed", True)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), recalculate=True, pressure_released=True))
    assert case.answer.reason == "not_allowed"
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), pressure_released=True))
    assert case.got(ev.Begin)


def test_finish_is_no_way_around_the_release_of_pressure() -> None:
    case = Case().paused_by_pump(600, told="motor_stalled")
    case.feed(ev.FinishOrdered(case.by("prescriber"), case.confirm()))
    assert case.answer.reason == "not_confirmed"
    assert case.order is None


@pytest.mark.shows("S1")
def test_nothing_left_to_give_is_no_start() -> None:
    case = Case().paused(60)
    case.state = replace(case.state, volumes=replace(case.state.volumes, counted=case.plan.volume))
    case.feed(ev.ResumeOrdered(case.by(), ev.Confirm(RATE, Ml(0))))
    assert case.answer.reason == "limit"


# --- catching up ---


def test_catching_up_is_offered_confirmed_and_begun() -> None:
    case = Case().paused(600)
    case.feed(ev.ResumeOrdered(case.by(), None, recalculate=True), 120)
    assert case.answer.reason == "not_confirmed"
    offered = MlPerHour(case.answer.text.split("rate ")[1].split(" mL/h")[0])
    assert offered > RATE
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(offered), recalculate=True), 20)
    assert case.got(ev.Begin)[0].rate == offered, "a person needs a while to read and confirm"
    left = case.state.pending.plan.seconds - case.state.elapsed
    assert left == pytest.approx(2700.6 - 600 - 120, abs=5), "the end is where it was"


@pytest.mark.shows("S2")
@pytest.mark.parametrize("more", ["0.01", "20"])
def test_nobody_catches_up_faster_than_is_needed(more: str) -> None:
    case = Case().paused(600)
    case.feed(ev.ResumeOrdered(case.by(), None, recalculate=True), 120)
    offered = MlPerHour(case.answer.text.split("rate ")[1].split(" mL/h")[0])
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(offered + MlPerHour(more)), recalculate=True))
    assert case.answer.reason == "not_confirmed"


@pytest.mark.parametrize("left", [0.4, 0.0, -60.0])
def test_with_no_time_left_nothing_is_caught_up(left: float) -> None:
    case = Case().paused(600)
    at = case.state.hold.at + case.state.plan.seconds - case.state.elapsed - left
    case.feed(ev.ResumeOrdered(case.by("prescriber"), case.confirm(), recalculate=True), at - case.now)
    assert case.answer.reason == "limit"


@pytest.mark.shows("S8")
def test_catching_up_stays_within_the_hard_limits() -> None:
    case = Case().paused(600)
    case.feed(ev.ResumeOrdered(case.by("prescriber"), None, recalculate=True), 2000)
    assert case.answer.reason == "limit"
    assert "drug library: 1.5 mg/kg/h" in case.answer.text


# --- rates ---


def test_a_lower_rate_needs_no_confirmation_and_moves_the_end() -> None:
    case = Case().running(600)
    end = case.state.plan.seconds
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    assert case.got(ev.SetRate) == [ev.SetRate(3, MlPerHour(40), False)]
    case.done()
    assert case.state.plan.seconds > end
    assert case.state.plan.volume == case.plan.volume
    assert case.state.ordered == MlPerHour(40)


@pytest.mark.shows("S2")
@pytest.mark.parametrize("confirm", [None, ev.Confirm(MlPerHour(49))])
def test_a_higher_rate_is_confirmed(confirm: ev.Confirm | None) -> None:
    case = Case().running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(50), confirm))
    assert case.answer.reason == "not_confirmed"
    case.feed(ev.RateOrdered(case.by(), MlPerHour(50), ev.Confirm(MlPerHour(50))))
    assert case.got(ev.SetRate)[0].gives_more


@pytest.mark.shows("S2")
def test_a_rate_above_the_one_that_runs_is_a_raise_also_below_the_plan() -> None:
    case = Case().running(600)
    case.read(INFUSING, "20")
    case.feed(ev.RateOrdered(case.by(), MlPerHour(30), None, SOFTLY))
    assert case.answer.reason == "not_confirmed", "S2: 30 is more than the 20 that the pump gives now"
    case.feed(ev.RateOrdered(case.by(), MlPerHour(30), ev.Confirm(MlPerHour(30)), SOFTLY))
    assert case.got(ev.SetRate)[0].gives_more


@pytest.mark.shows("S8", "H2", "H28")
@pytest.mark.parametrize(
    ("rate", "words"),
    [("46.665", "next lower settable rate is 46.66"), ("106", "1.5 mg/kg/h"), ("250", "max 105.0"), ("10", "duration")],
)
def test_a_rate_beyond_the_grid_or_a_hard_limit_is_refused(rate: str, words: str) -> None:
    case = Case().running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(rate), ev.Confirm(MlPerHour(rate))))
    assert case.answer.reason == "limit"
    assert words in case.answer.text


@pytest.mark.shows("S8")
def test_a_rate_above_the_configured_maximum_is_refused() -> None:
    case = Case(max_rate=MlPerHour(48)).running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(50), ev.Confirm(MlPerHour(50))))
    assert case.answer.reason == "limit"


def test_a_pump_that_cannot_change_while_running_is_paused_first() -> None:
    able = replace(rules().pump, live_rate_change=False)
    case = Case(pump=able).running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    assert case.answer.reason == "not_allowed"


# --- restore and accept ---


def test_restore_is_confirmed_and_sets_the_plans_rate() -> None:
    case = Case().running(600)
    case.read(INFUSING, "20")
    assert "rate_below_plan" in case.raised
    case.feed(ev.RestoreOrdered(case.by(), None))
    assert case.answer.reason == "not_confirmed"
    case.feed(ev.RestoreOrdered(case.by(), ev.Confirm(RATE)))
    assert case.got(ev.SetRate)[0] == ev.SetRate(3, RATE, True)
    case.done()
    case.read(INFUSING)
    assert ev.Clear("rate_below_plan") in case.last


def test_accept_goes_on_at_the_pumps_rate_and_orders_nothing() -> None:
    case = Case().running(600)
    case.read(INFUSING, "30")
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(MlPerHour(30)), SOFTLY))
    assert case.answer.state == "done"
    rest = case.plan.volume - case.state.volumes.counted
    assert case.state.plan.seconds == pytest.approx(601 + MlPerHour(30).seconds_for(rest), abs=1)
    case.read(INFUSING, "30")
    assert not case.last, "nothing to order, nothing to tell"
    assert case.state.enforced == MlPerHour(30)


def test_an_accepted_rate_is_the_pumps_own_when_sight_is_lost() -> None:
    case = Case().running(600)
    case.read(INFUSING, "30")
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(MlPerHour(30)), SOFTLY))
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(WHO, rate=MlPerHour(30), limit=Ml(35))), 1)
    assert "pump_not_proved" not in case.state.conditions


@pytest.mark.parametrize(("rate", "reason"), [("0", "differs"), ("10", "limit"), ("30.005", "limit")])
def test_a_rate_that_cannot_be_accepted_is_refused_in_words(rate: str, reason: str) -> None:
    case = Case().running(600)
    case.read(INFUSING, rate)
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(MlPerHour(rate))))
    assert case.answer.reason == reason
    assert case.state.plan == case.plan


def test_nothing_is_accepted_from_a_pump_that_stands_or_is_not_seen() -> None:
    case = Case().running(600)
    case.state = replace(case.state, report=replace(case.state.report, motion=STANDING))
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(RATE)))
    assert case.answer.reason == "differs"
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(RATE)))
    assert case.answer.reason == "link_lost"


def test_rates_are_refused_while_a_stop_or_an_order_is_on_its_way() -> None:
    case = Case().running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    case.feed(ev.RateOrdered(case.by(), MlPerHour(39), None))
    assert case.answer.reason == "busy"
    case.feed(ev.RestoreOrdered(case.by(), ev.Confirm(RATE)))
    assert case.answer.reason == "busy"


# --- another container ---


def test_another_syringe_is_armed_and_its_counter_begins_anew() -> None:
    case = Case().paused(600)
    other = replace(SYRINGE, make="BD other", fill=Ml(30))
    case.feed(ev.ContainerOrdered(case.by(), other, FITTED))
    (arm,) = case.got(ev.Arm)
    given = case.state.volumes.counted
    case.done()
    assert case.phase is Phase.PAUSED
    assert case.state.plan.prescription.container == other
    assert case.state.volumes.counted == given
    assert case.state.volumes.last_count == Ml(0)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert case.got(ev.Begin)[0].limit == arm.limit


def test_a_syringe_that_does_not_hold_the_rest_is_refused() -> None:
    case = Case().paused(600)
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=Ml(20)), FITTED))
    assert (case.answer.reason, "20 mL" in case.answer.text) == ("limit", True)


def test_a_syringe_in_which_the_plans_rate_cannot_be_set_is_refused() -> None:
    case = Case().paused(600)
    slow = replace(FITTED, rates=Grid(Decimal("0.1"), Decimal(30), FITTED.rates.bands))
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, slow))
    assert (case.answer.reason, "46.66" in case.answer.text) == ("limit", True)
    assert case.state.rules.fitted == FITTED


def test_after_a_change_of_syringe_rates_can_still_be_changed() -> None:
    case = Case().paused(600)
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=Ml(30)), FITTED))
    case.done()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.done()
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    assert case.got(ev.SetRate), case.answer


# --- the end ---


def test_end_while_paused_leaves_the_smallest_limit_and_observes() -> None:
    case = Case().paused(60)
    case.feed(ev.EndOrdered(case.by()))
    (tighten,) = case.got(ev.Tighten)
    assert tighten.limit == Ml(FITTED.limits.least)
    case.done()
    assert case.phase is Phase.OBSERVING
    assert not case.state.conditions


@pytest.mark.parametrize(("seconds", "phase"), [(7199, Phase.OBSERVING), (7200, Phase.ABORTED)])
def test_observation_takes_its_time(seconds: float, phase: Phase) -> None:
    case = Case().observing()
    assert case.wake_at == case.now + 7200
    case.feed(ev.Tick(), seconds)
    assert case.phase is phase


def test_a_completed_session_is_ended_and_one_cut_short_aborted() -> None:
    case = Case().running(30)
    case.read(STANDING, RATE, case.plan.volume)
    case.done()
    case.feed(ev.EndOrdered(case.by()))
    assert case.phase is Phase.ENDED
    cut = Case().observing()
    cut.feed(ev.EndOrdered(cut.by()))
    assert cut.phase is Phase.ABORTED


@pytest.mark.shows("S10")
def test_hands_off_sends_nothing_more() -> None:
    case = Case().observing()
    case.read(STANDING, "0.024")
    case.feed(ev.ReleaseOrdered(case.by()))
    assert case.got(ev.Release)
    case.done()
    assert case.state.released
    case.read(INFUSING, "20", dt=5)
    assert case.raised == {"infusing_after_release"}
    assert not case.halts
    case.feed(ev.ReleaseOrdered(case.by()))
    assert case.answer.state == "done"


def test_a_planned_or_armed_session_is_stopped_without_touching_the_pump() -> None:
    for case in (Case().planned(), Case().armed()):
        case.feed(ev.StopOrdered(case.by()))
        assert case.phase is Phase.ABORTED
        assert not case.halts
        assert "unarmed" not in case.state.conditions


# --- a new plan ---


def test_a_new_plan_takes_nothing_over() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    state = case.state
    assert (state.session_id, state.phase, state.elapsed, state.ours) == ("s-2", Phase.PLANNED, 0.0, None)
    assert state.volumes.counted == Ml(0)
    assert state.orders > 0, "numbers are never used twice"


def test_a_new_plan_is_not_held_back_by_a_doubt_about_the_last_pump() -> None:
    case = Case().observing()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(WHO, version="V9")), 5)
    assert "pump_not_proved" in case.state.conditions
    case.feed(ev.EndOrdered(case.by()))
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    assert case.state.sight is Sight.SEEING
    assert not case.state.conditions & {"pump_not_proved", "comms_lost_pump"}


@pytest.mark.shows("S5")
def test_a_stop_still_owed_comes_before_a_new_plan() -> None:
    case = Case().connected()
    case.feed(ev.PumpStopOrdered(case.by()))
    case.feed(ev.PlanOrdered(case.by(), "s-1", case.plan, case.rules, case.before()))
    assert case.answer.reason == "busy"


# --- stop and pause are never refused ---


@pytest.mark.shows("S5", "H26")
@pytest.mark.parametrize("order", [ev.StopOrdered, ev.PauseOrdered, ev.PumpStopOrdered])
@pytest.mark.parametrize("sight", ["seeing", "blind", "uncertain"])
def test_stop_and_pause_go_out_from_a_running_infusion_whatever_is_known(order: type, sight: str) -> None:
    case = Case().running(60)
    if sight == "blind":
        case.feed(ev.LinkDown("no reply"))
    if sight == "uncertain":
        case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
        case.failed("uncertain", uncertain=True)
    by = case.by()
    case.feed(order(by))
    assert case.halts
    assert next(each.state for each in case.got(ev.Answer) if each.request == by.request) == "accepted"
    assert case.order is None


@pytest.mark.shows("S5", "H26")
def test_pump_stop_goes_out_in_every_phase() -> None:
    for case in (
        Case(), Case().connected(), Case().planned(), Case().armed(), Case().starting(), Case().running(9),
        Case().paused(), Case().observing(),
    ):  # fmt: skip
        case.feed(ev.PumpStopOrdered(case.by()))
        assert case.halts, case.phase
        case.halted(counted=case.state.volumes.last_count or Ml(0))
        assert case.state.halt is None, case.phase


@pytest.mark.shows("S5")
def test_a_second_stop_does_not_send_another_but_both_are_answered() -> None:
    case = Case().running(60)
    first, second = case.by(), case.by()
    case.feed(ev.StopOrdered(first))
    case.feed(ev.StopOrdered(second))
    assert not case.halts
    case.halted()
    done = {answer.request for answer in case.got(ev.Answer) if answer.state == "done"}
    assert done == {first.request, second.request}


def test_standby_silences_a_pump_that_is_not_there() -> None:
    case = Case()
    case.feed(ev.LinkDown("no such port"))
    assert case.raised == {"pump_not_connected"}
    case.feed(ev.StandbyOrdered(case.by()))
    assert ev.Clear("pump_not_connected") in case.last
    case.feed(ev.LinkDown("no such port"))
    assert not case.raised


def test_a_pause_by_a_person_turns_a_keypad_start_into_a_deed_against_an_order() -> None:
    case = Case().paused_by_pump()
    assert case.state.hold.by_pump
    case.feed(ev.PauseOrdered(case.by()))
    assert case.answer.text == "already paused"
    case.read(INFUSING)
    assert case.halts
    assert Motion.INFUSING.value in dict(case.got(ev.Raise)[0].values).values()


@pytest.mark.shows("S8", "H27", "H48")
@pytest.mark.parametrize("override", [None, Override("", "why"), Override("Dr. B", " ")])
def test_a_later_change_over_a_soft_limit_needs_a_name_and_a_reason(override: Override | None) -> None:
    """S8: at 30 mL/h from the tenth minute the dose takes 64 minutes; the soft limit is 60."""
    case = Case().running(600)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(30), None, override))
    assert case.answer.reason == "limit"
    assert "soft limit 60" in case.answer.text
    assert not case.got(ev.SetRate)
