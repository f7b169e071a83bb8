"""A running infusion held against its plan: what each finding says, what it ends, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.driver import Motion
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, MINIMUM, PLAN, RATE, STANDING, TWO_STEPS, Case, plan, rules

LOW = MlPerHour(40)


def holding(case: Case, *codes: str) -> Case:
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


def told(case: Case, code: str) -> dict[str, str]:
    """What the alarm that the last event raised says."""
    (values,) = (dict(alarm.values) for alarm in case.got(ev.Raise) if alarm.code == code)
    return values


# --- what a finding says ---


def test_a_rate_above_plan_says_what_was_planned_and_read() -> None:
    case = Case().running(60)
    case.read(INFUSING, "47")
    assert told(case, "rate_above_plan") == {"planned": "46.66 mL/h", "read": "47 mL/h"}


def test_a_rate_below_plan_says_what_was_planned_and_read() -> None:
    case = Case().running(60)
    case.read(INFUSING, LOW)
    assert told(case, "rate_below_plan") == {"planned": "46.66 mL/h", "read": "40 mL/h"}
    case.read(INFUSING, RATE)
    assert ev.Clear("rate_below_plan") in case.last


def test_more_than_the_plan_says_what_was_counted_and_integrated() -> None:
    case = Case().running(60)
    case.read(INFUSING, RATE, PLAN.volume + Ml("0.5"))
    assert told(case, "plan_limit_reached") == {
        "counted": "35.500 mL",
        "integrated": str(case.state.volumes.high),
    }


def test_a_vein_kept_open_after_the_dose_says_what_was_counted_and_integrated() -> None:
    case = Case().running(2600)
    case.read(Motion.KVO, counted="35")
    assert told(case, "plan_limit_reached") == {"counted": "35.000 mL", "integrated": str(case.state.volumes.high)}


def test_no_flow_says_how_much_should_have_been_counted() -> None:
    case = Case().running()
    while not case.raised:
        case.read(INFUSING, RATE, "0")
    assert told(case, "no_flow") == {"integrated_ml": str(case.state.volumes.unmoved().value)}


def test_late_and_short_says_what_is_missing() -> None:
    case = Case().running(60)
    case.state = replace(case.state, run_since=case.now - 2800, volumes=replace(case.state.volumes, at=case.now))
    case.read(INFUSING, RATE, "30")
    assert told(case, "late_and_short") == {"missing_ml": "5.000"}


def test_volumes_apart_say_how_far() -> None:
    case = Case().running(60)
    while "volumes_apart" not in case.raised:
        case.read(INFUSING, RATE, max(case.state.volumes.last_count, Ml(3)))
    assert Decimal(told(case, "volumes_apart")["apart_ml"]) > Ml("0.7").value


def test_a_pump_that_stopped_says_what_is_missing() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE, "1")
    assert told(case, "stopped_at_pump") == {"missing_ml": "34.000"}
    late = Case().running(60)
    late.read(STANDING, RATE, "30", dt=2800)
    assert told(late, "short_of_plan") == {"missing_ml": "5.000"}
    assert late.state.hold.by_pump


@pytest.mark.parametrize("motion", [Motion.BOLUS, Motion.UNKNOWN])
def test_an_unplanned_function_is_named(motion: Motion) -> None:
    case = Case().running(60)
    case.read(motion)
    assert told(case, "unplanned_function") == {"motion": motion.value}
    assert not case.state.hold.by_pump


@pytest.mark.parametrize(("phase", "named"), [("armed", "armed"), ("paused", "paused"), ("observing", "observing")])
def test_a_pump_that_moves_against_the_plan_says_how_and_when(phase: str, named: str) -> None:
    case = getattr(Case(), phase)()
    case.read(INFUSING, RATE)
    assert told(case, "infusing_against_plan") == {"motion": "infusing", "phase": named}


def test_a_pump_nobody_knows_of_says_what_it_does() -> None:
    case = Case().connected()
    case.read(INFUSING, "12")
    assert told(case, "infusing_unknown_session") == {"motion": "infusing", "rate": "12 mL/h"}


def test_a_start_at_the_keypad_says_its_rate() -> None:
    case = Case().paused_by_pump()
    case.read(INFUSING, LOW)
    assert told(case, "restarted_at_keypad") == {"rate": "40 mL/h"}


# --- the end ---


@pytest.mark.parametrize(
    "code",
    ["rate_below_plan", "late_and_short", "volumes_apart", "volumes_far_apart", "no_flow", "near_end", "near_empty"],
)
def test_a_dose_that_is_in_ends_what_was_said_about_it(code: str) -> None:
    case = holding(Case().running(60), code)
    case.read(STANDING, RATE, PLAN.volume)
    assert (case.phase, case.state.completed, case.state.hold) == (Phase.ENDING, True, None)
    assert ev.Clear(code) in case.last


@pytest.mark.shows("S1")
def test_a_dose_that_is_in_leaves_the_smallest_limit_at_the_slowest_rate() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE, PLAN.volume)
    (order,) = case.got(ev.Tighten)
    assert (order.rate, order.limit) == (MlPerHour(case.rules.fitted.rates.least), MINIMUM)
    assert not order.gives_more


@pytest.mark.shows("H6")
@pytest.mark.parametrize(("missing", "stops"), [("0.002", False), ("0", True)])
def test_our_own_integration_ends_it_where_the_counter_stands(missing: str, stops: bool) -> None:
    """The least that can have been given reaches the volume, 2 % and one poll's worth."""
    case = Case().running(60)
    margin = Ml("0.7") + RATE.over(1.0)
    before = PLAN.volume + margin - Ml(missing) - RATE.over(1.0)
    case.state = replace(case.state, volumes=replace(case.state.volumes, low=before, high=before))
    case.read(INFUSING, RATE)
    assert case.halts is stops
    assert (case.phase is Phase.ENDING) is stops
    assert case.state.completed is stops
    if stops:
        assert case.raised == {"plan_limit_reached"}


@pytest.mark.shows("H6", "S1")
def test_the_end_is_not_foreseen_for_what_does_not_flow() -> None:
    case = Case().running(60)
    case.read(INFUSING, MlPerHour(0))
    assert case.wake_at is None


@pytest.mark.shows("S1")
def test_where_the_pumps_own_limit_may_have_begun_anew_the_larger_count_ends_it() -> None:
    case = Case().running(600)
    covered = case.wake_at
    case.state = replace(case.state, limit_covers=False, volumes=replace(case.state.volumes, high=Ml(9)))
    case.read(INFUSING, RATE)
    assert covered is not None
    assert case.wake_at is not None
    rest = PLAN.volume - case.state.volumes.high
    assert case.wake_at == pytest.approx(case.now + RATE.seconds_for(rest) - case.rules.reaction_s)
    assert case.wake_at < covered


@pytest.mark.shows("S1")
def test_an_end_that_is_due_already_is_now() -> None:
    case = Case().running(600)
    case.state = replace(case.state, limit_covers=False, volumes=replace(case.state.volumes, high=PLAN.volume))
    case.read(INFUSING, RATE)
    assert case.wake_at == case.now
    case.feed(ev.Tick())
    assert case.halts
    assert (case.phase, case.state.completed) == (Phase.ENDING, True)


def test_an_end_less_than_a_reaction_away_is_not_in_the_past() -> None:
    case = Case().running(600)
    high = PLAN.volume - RATE.over(0.2) - RATE.over(1.0)
    case.state = replace(case.state, limit_covers=False, volumes=replace(case.state.volumes, high=high))
    case.read(INFUSING, RATE)
    assert case.wake_at == pytest.approx(case.now, abs=0.001)


# --- between two polls ---


@pytest.mark.shows("S1")
def test_a_pump_stopped_and_started_between_two_polls_counts_its_limit_from_zero() -> None:
    case = Case().running(60)
    case.told("pump_watchdog_expired")
    case.read(INFUSING, RATE)
    assert not case.state.limit_covers
    assert case.state.told == ()
    assert ev.Clear("pump_watchdog_expired") in case.last
    assert case.phase is Phase.RUNNING


def test_a_step_that_is_due_is_ordered_once_and_as_what_it_is() -> None:
    case = Case(plan=plan(portions=TWO_STEPS)).running(1199.5)
    case.read(INFUSING, "21", dt=1.0)
    (order,) = case.got(ev.SetRate)
    assert (order.rate, order.raises, order.gives_more) == (MlPerHour("67.20"), True, True)
    case.read(INFUSING, "21")
    assert not case.got(ev.SetRate), "it is on its way"
    assert not case.raised


def test_auto_restore_gives_the_plans_rate_and_moves_the_end() -> None:
    case = Case(auto_restore=True).running(60)
    case.read(INFUSING, LOW, "0.8")
    (order,) = case.got(ev.SetRate)
    assert (order.rate, order.raises) == (RATE, True)
    case.done()
    past, rest = case.state.plan.steps
    assert (past.volume, rest.rate) == (Ml("0.8"), RATE)
    case.read(INFUSING, LOW, "0.9")
    assert not case.got(ev.SetRate), "once; then a person decides"


# --- the limit of a standing pump ---


@pytest.mark.shows("S1", "S2")
@pytest.mark.parametrize(("shown", "loaded"), [("0", RATE), ("0.5", MlPerHour("0.5")), ("46.66", RATE), ("80", RATE)])
def test_a_standing_pump_is_loaded_at_no_higher_rate_than_it_shows(shown: str, loaded: MlPerHour) -> None:
    case = Case().running(60)
    case.read(STANDING, shown)
    (order,) = case.got(ev.Tighten)
    assert order.rate == loaded
    assert order.limit == case.confirm().volume


@pytest.mark.shows("S1")
def test_a_pump_with_less_left_than_can_be_set_gets_the_smallest_limit() -> None:
    case = Case().running(60)
    case.state = replace(case.state, volumes=replace(case.state.volumes, high=PLAN.volume))
    case.read(STANDING, RATE)
    (order,) = case.got(ev.Tighten)
    assert order.limit == MINIMUM


def test_a_limit_is_lowered_once() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    assert case.got(ev.Tighten)
    case.read(STANDING, RATE)
    assert not case.last, "it is on its way"
    case.done()
    case.read(STANDING, RATE)
    assert not case.last, "it was done"


def test_nobody_is_set_down_whose_driver_cannot_but_stopped() -> None:
    able = replace(rules().pump, live_rate_change=False)
    case = Case(pump=able).running(60)
    case.read(INFUSING, "47")
    assert case.halts
    assert not case.got(ev.SetRate)
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)
