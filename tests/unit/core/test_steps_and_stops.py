"""The moment a step of the plan is due, and what is not done twice: from states set up a second before (S2, S3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.plan import Plan
from pumpd.core.state import HaltLatch, Phase
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import DOWN_STEPS, INFUSING, PLAN, RATE, STANDING, TWO_STEPS, Case, plan

UP, DOWN = plan(portions=TWO_STEPS), plan(portions=DOWN_STEPS)  # 21 to 67.20 mL/h, 73.5 to 25.2 mL/h


def before_the_step(steps: Plan) -> Case:
    """The next reading, a second later, is the first of the second step."""
    case = Case(plan=steps).running(9)
    begins = steps.steps[0].seconds
    given = steps.volume_at(begins - 0.5)
    volumes = replace(case.state.volumes, low=given, high=given, counted=given, last_count=given, count_at_high=given)
    case.state = replace(case.state, elapsed=begins - 0.5, run_since=case.now, volumes=volumes)
    return case


def set_rates(case: Case) -> list[tuple[str, bool]]:
    return [(str(order.rate.value), order.raises) for order in case.got(ev.SetRate)]


@pytest.mark.shows("S2")
def test_a_step_up_is_ordered_as_a_raise_that_the_plan_contains() -> None:
    case = before_the_step(UP)
    case.read(INFUSING, "21")
    assert set_rates(case) == [("67.20", True)]
    assert case.state.enforced == MlPerHour("67.20")
    assert not case.raised


@pytest.mark.shows("S2", "S3")
@pytest.mark.parametrize("rate", ["10", "20.99"])
def test_a_step_up_does_not_raise_what_was_lowered_by_hand(rate: str) -> None:
    case = before_the_step(UP)
    case.read(INFUSING, rate)
    assert set_rates(case) == []
    assert case.raised == {"rate_below_plan"}


def test_a_step_down_of_the_rate_that_was_ordered_is_no_rate_above_plan() -> None:
    case = before_the_step(DOWN)
    case.read(INFUSING, "73.5")
    assert set_rates(case) == [("25.20", False)]
    assert not case.raised


@pytest.mark.parametrize(("rate", "orders"), [("50", [("25.20", False)]), ("80", [("25.20", False)])])
def test_a_step_down_from_another_rate_than_the_ordered_one_is_set_down_with_its_alarm(
    rate: str, orders: list[tuple[str, bool]]
) -> None:
    case = before_the_step(DOWN)
    case.read(INFUSING, rate)
    assert set_rates(case) == orders
    assert case.raised == {"rate_above_plan"}


def test_a_step_down_to_the_rate_that_a_person_has_set_already_is_ordered_all_the_same() -> None:
    case = before_the_step(DOWN)
    case.read(INFUSING, "25.2")
    assert set_rates(case) == [("25.20", False)]
    low = before_the_step(DOWN)
    low.read(INFUSING, "25.1")
    assert set_rates(low) == []
    assert low.raised == {"rate_below_plan"}


def test_an_ordered_rate_above_the_plan_is_above_the_plan() -> None:
    case = Case().running(9)
    case.state = replace(case.state, ordered=MlPerHour(50))
    case.read(INFUSING, "50")
    assert case.raised == {"rate_above_plan"}


def test_a_rate_never_compared_before_is_ordered_once() -> None:
    case = Case().running(9)
    case.state = replace(case.state, enforced=None)
    case.read(INFUSING, RATE)
    assert set_rates(case) == [("46.66", False)]
    assert case.state.enforced == RATE


# --- one thing after the other ---


@pytest.mark.parametrize("busy", ["order", "stop"])
@pytest.mark.parametrize("counted", [PLAN.volume, Ml(1)])
def test_a_pump_that_stands_is_loaded_only_when_nothing_else_is_on_its_way(busy: str, counted: Ml) -> None:
    case = Case().running(9)
    if busy == "order":
        case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
    else:
        case.state = replace(case.state, halt=HaltLatch(case.now, 3, True))
    case.read(STANDING, RATE, counted)
    assert not case.got(ev.Tighten)
    assert case.phase is (Phase.ENDING if counted == PLAN.volume else Phase.PAUSED)


@pytest.mark.shows("H9")
def test_the_third_stall_in_ten_minutes_stops_and_keeps_its_alarm() -> None:
    case = Case().running(9)
    case.state = replace(case.state, stopped_by=(("motor_stalled", case.now - 100), ("motor_stalled", case.now - 50)))
    case.told("motor_stalled")
    case.read(INFUSING, RATE)
    assert case.halts
    assert case.state.hold.needs_prescriber
    assert {"motor_stalled", "repeated_stop"} <= case.state.conditions
