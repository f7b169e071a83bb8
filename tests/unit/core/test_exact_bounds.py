"""The figures of the enforcement at the very bound and one grain beyond it, from a state set up for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.delivery import lateness, small
from pumpd.core.state import Phase
from pumpd.core.turn import Turn
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, INFUSING, KETAMINE, PLAN, RATE, STANDING, Case, plan

GRAIN = Ml("0.000001")
HARD = MlPerHour(105)  # 1.5 mg/kg/h for 70 kg at 1 mg/mL


def running() -> Case:
    """A minute in, all three volumes exactly as planned a second later."""
    case = Case().running(60)
    planned = PLAN.volume_at(case.state.elapsed_at(case.now + 1))
    before = planned - RATE.over(1.0)
    case.state = replace(
        case.state,
        volumes=replace(case.state.volumes, low=before, high=before, counted=before, last_count=before),
    )
    return case


def turn_of(case: Case) -> Turn:
    return Turn(case.state, case.now)


# --- rates ---


@pytest.mark.shows("within:ABOVE_WINDOW_S", "beyond:ABOVE_WINDOW_S")
@pytest.mark.parametrize(("ago", "stops"), [(600.0, True), (600.5, False)])
def test_ten_minutes_after_the_first_is_within_ten_minutes(ago: float, stops: bool) -> None:
    case = running()
    case.state = replace(case.state, above_at=(case.now + 1 - ago, case.now + 1 - 300))
    case.read(INFUSING, "47")
    assert case.halts is stops
    assert len(case.state.above_at) == (3 if stops else 2)
    assert bool(case.got(ev.SetRate)) is not stops


@pytest.mark.shows("S8")
@pytest.mark.parametrize(("rate", "stops"), [(HARD, False), (HARD + MlPerHour("0.01"), True)])
def test_the_hard_limit_itself_is_set_down_and_more_is_stopped(rate: MlPerHour, stops: bool) -> None:
    assert KETAMINE.mass_rate_mg_kg_h.hard_max == Decimal("1.5")
    case = running()
    case.read(INFUSING, rate)
    assert case.halts is stops
    assert case.got(ev.SetRate) == ([] if stops else [ev.SetRate(case.order.number, RATE, False)])


def test_a_rate_that_is_not_told_is_compared_with_nothing() -> None:
    case = holding(running(), "rate_below_plan", "rate_above_plan")
    case.read(INFUSING, None)
    assert {"rate_below_plan", "rate_above_plan"} <= case.state.conditions
    assert not case.got(ev.SetRate)
    case.read(INFUSING, RATE)
    assert {"rate_below_plan", "rate_above_plan"}.isdisjoint(case.state.conditions)


def holding(case: Case, *codes: str) -> Case:
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


# --- volumes ---


@pytest.mark.shows("S6", "within:APART_SHARE", "beyond:APART_SHARE")
@pytest.mark.parametrize(("more", "apart"), [(Ml(0), False), (GRAIN, True)])
def test_two_volumes_may_stand_apart_by_the_tolerance_itself(more: Ml, apart: bool) -> None:
    case = running()
    planned = PLAN.volume_at(case.state.elapsed_at(case.now + 1))
    tolerance = watch.tolerance(PLAN.volume, Decimal("0.01"), RATE, 1.0)
    assert tolerance == Ml("0.7") + RATE.over(1.0)
    case.read(INFUSING, RATE, planned + tolerance + more)
    assert (case.state.apart_since == case.now) is apart
    assert case.state.apart_high_since is None


@pytest.mark.shows("S6", "within:APART_SHARE_HIGH", "beyond:APART_SHARE_HIGH")
@pytest.mark.parametrize(("more", "far"), [(Ml(0), False), (GRAIN, True)])
def test_far_apart_begins_beyond_five_percent_and_a_poll(more: Ml, far: bool) -> None:
    case = running()
    planned = PLAN.volume_at(case.state.elapsed_at(case.now + 1))
    case.read(INFUSING, RATE, planned + Ml("1.75") + RATE.over(1.0) + more)
    assert case.state.apart_since == case.now
    assert (case.state.apart_high_since == case.now) is far


@pytest.mark.shows("S6")
def test_volumes_that_agree_again_end_the_alarm_and_its_time() -> None:
    case = holding(running(), "volumes_apart", "volumes_far_apart")
    case.state = replace(case.state, apart_since=case.now - 9, apart_high_since=case.now - 9)
    case.read(INFUSING, RATE, PLAN.volume_at(case.state.elapsed_at(case.now + 1)))
    assert (case.state.apart_since, case.state.apart_high_since) == (None, None)
    assert {"volumes_apart", "volumes_far_apart"}.isdisjoint(case.state.conditions)


@pytest.mark.shows("within:APART_FOR_S", "beyond:APART_FOR_S")
@pytest.mark.parametrize(("since", "told"), [(29.9, False), (30.0, True)])
def test_half_a_minute_apart_is_long_enough(since: float, told: bool) -> None:
    case = running()
    case.state = replace(case.state, apart_since=case.now + 1 - since, apart_high_since=case.now + 1 - since)
    case.read(INFUSING, RATE, "5")
    assert ("volumes_apart" in case.raised) is told
    assert ("volumes_far_apart" in case.raised) is told


def test_a_rate_below_plan_that_is_told_is_not_told_again_as_volumes_apart() -> None:
    case = running()
    case.state = replace(case.state, run_since=case.now - 600)  # the plan is far ahead of what was given
    case.read(INFUSING, "40")
    assert case.raised == {"rate_below_plan"}
    case.read(INFUSING, "40")
    assert case.state.apart_since is None


# --- flow ---


@pytest.mark.shows("S6", "within:startup_allowance_s", "beyond:startup_allowance_s")
@pytest.mark.parametrize(("more", "told"), [(Ml(0), False), (GRAIN, True)])
def test_a_counter_may_stand_for_a_minute_a_poll_and_two_steps(more: Ml, told: bool) -> None:
    case = running()
    allowed = RATE.over(61.0) + Ml("0.02") - RATE.over(1.0)
    volumes = case.state.volumes
    case.state = replace(case.state, volumes=replace(volumes, count_at_high=volumes.high - allowed - more))
    case.read(INFUSING, RATE)
    assert ("no_flow" in case.raised) is told
    case.read(INFUSING, RATE, case.state.volumes.last_count + Ml("0.02"))
    assert "no_flow" not in case.state.conditions


def test_a_counter_that_is_not_told_does_not_stand() -> None:
    case = running()
    case.state = replace(case.state, volumes=replace(case.state.volumes, count_at_high=Ml(-5)))
    case.feed(ev.PumpReported(replace(case.state.report, counted=None)), 1)
    assert "no_flow" not in case.raised


# --- the end ---


@pytest.mark.shows("within:LATE_SHARE", "beyond:LATE_SHARE")
@pytest.mark.parametrize(
    ("late", "missing", "told"), [(0.0, "5", False), (0.001, "5", True), (0.001, "0.35", False), (0.001, "0.351", True)]
)
def test_late_and_short_at_the_bound(late: float, missing: str, told: bool) -> None:
    case = running()
    due = PLAN.seconds + lateness(turn_of(case))
    volumes = replace(case.state.volumes, at=case.now - 1)
    case.state = replace(case.state, elapsed=due + late, run_since=case.now, volumes=volumes)
    case.read(INFUSING, RATE, PLAN.volume - Ml(missing), dt=0.0)
    assert ("late_and_short" in case.raised) is told


@pytest.mark.shows("within:LATE_LEAST_S", "beyond:LATE_LEAST_S", "within:LATE_SHARE")
@pytest.mark.parametrize(("minutes", "late"), [(20, 30.0), (25, 30.0), (40, 48.0), (45, 54.0)])
def test_late_is_two_percent_but_half_a_minute_at_least(minutes: int, late: float) -> None:
    case = Case(plan=plan(duration_s=minutes * 60)).planned()
    assert lateness(turn_of(case)) == pytest.approx(late, abs=0.02)


@pytest.mark.shows("within:SHORT_SHARE", "beyond:SHORT_SHARE")
def test_small_is_one_percent_but_two_steps_of_the_counter_at_least() -> None:
    assert small(turn_of(Case().planned())) == Ml("0.35")
    coarse = replace(FITTED, counter=replace(FITTED.counter, bands=((Decimal(9999), Decimal("0.5")),)))
    assert small(turn_of(Case(fitted=coarse).planned())) == Ml(1)


def test_a_dose_that_is_in_says_nothing_more_about_what_is_left() -> None:
    case = running()
    case.read(INFUSING, RATE, PLAN.volume)
    assert case.halts
    assert not case.raised


def test_an_empty_container_stops_the_pump_and_nothing_else_is_ordered() -> None:
    case = running()
    case.state = replace(case.state, fitted_counted=Ml(-60))
    case.read(INFUSING, "47")
    assert case.halts
    assert case.phase is Phase.PAUSED
    assert not case.got(ev.SetRate)
    assert case.raised == {"container_empty"}


@pytest.mark.shows("H6", "S1")
@pytest.mark.parametrize(("rest", "after"), [("0.5", True), ("0", False)])
def test_the_end_is_foreseen_from_the_last_reading_on(rest: str, after: bool) -> None:
    case = running()
    high = PLAN.volume - Ml(rest) - RATE.over(1.0)
    case.state = replace(
        case.state,
        limit_covers=False,
        volumes=replace(case.state.volumes, high=high, low=Ml(1), counted=Ml(1), last_count=Ml(1)),
    )
    case.read(INFUSING, RATE)
    read_at = case.now
    case.told("second_master", dt=0.25)  # anything that asks again, a moment later
    due = read_at + RATE.seconds_for(Ml(rest)) - 0.5 if after else read_at + 0.25
    assert case.wake_at == pytest.approx(due)


@pytest.mark.shows("S1", "S2")
@pytest.mark.parametrize(("ordered", "loaded"), [("40", "40"), ("46.66", "46.66"), ("50", "46.66"), (None, "46.66")])
def test_a_limit_is_loaded_at_the_lower_of_the_ordered_and_the_planned_rate(ordered: str | None, loaded: str) -> None:
    case = running()
    case.state = replace(case.state, ordered=None if ordered is None else MlPerHour(ordered))
    case.read(STANDING, None)
    (order,) = case.got(ev.Tighten)
    assert order.rate == MlPerHour(loaded)


@pytest.mark.shows("S1", "S2")
@pytest.mark.parametrize(("shown", "loaded"), [("41.9994", "41.99"), ("41.94", "41.94"), ("0.0001", None)])
def test_what_a_keypad_set_finer_than_we_can_is_loaded_rounded_down(shown: str, loaded: str | None) -> None:
    case = Case().running(600)
    case.read(STANDING, shown, dt=1.0)
    [tightened] = case.got(ev.Tighten)
    least = case.rules.fitted.rates.least
    assert tightened.rate == (MlPerHour(loaded) if loaded else MlPerHour(least))
