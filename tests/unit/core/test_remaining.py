"""Near the end, near an empty container, and an empty one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.plan import Plan
from pumpd.core.remaining import NEAR_EMPTY, NEAR_END_S
from pumpd.core.state import Phase
from pumpd.units import Ml
from tests.unit.core.world import FITTED, PLAN, RATE, SYRINGE, Case, plan


def holding(fill: str) -> Plan:
    return replace(PLAN, prescription=replace(PLAN.prescription, container=replace(SYRINGE, fill=Ml(fill))))


def counted_when_left(seconds: float) -> Ml:
    return PLAN.volume - RATE.over(seconds)


@pytest.mark.shows("within:NEAR_END_S", "beyond:NEAR_END_S", "H62")
@pytest.mark.parametrize(("left_s", "near"), [(NEAR_END_S + 2, False), (NEAR_END_S - 2, True)])
def test_near_end_is_told_so_long_before_and_no_sooner(left_s: float, near: bool) -> None:
    case = Case().running()
    case.read(counted=counted_when_left(left_s), dt=PLAN.seconds - left_s)
    assert ("near_end" in case.state.conditions) is near


def test_near_end_goes_when_it_is_paused_and_when_it_is_over() -> None:
    for stop in (ev.PauseOrdered, ev.StopOrdered):
        case = Case().running()
        case.read(counted=counted_when_left(100), dt=PLAN.seconds - 100)
        case.feed(stop(case.by()))
        case.halted()
        case.done()
        assert "near_end" not in case.state.conditions, stop


@pytest.mark.shows("within:NEAR_EMPTY", "beyond:NEAR_EMPTY", "H46")
def test_a_container_that_runs_low_before_the_end_is_told() -> None:
    slow = Case(plan=plan(duration_s=2 * 3600)).running()  # 1 mL lasts 3.4 minutes: longer than near the end
    slow.plan = slow.state.plan or slow.plan
    low = slow.plan.volume - NEAR_EMPTY + Ml("0.005")
    container = replace(SYRINGE, fill=slow.plan.volume)
    slow.state = replace(
        slow.state, plan=replace(slow.plan, prescription=replace(slow.plan.prescription, container=container))
    )
    slow.read(rate=slow.plan.first_rate, counted=low - Ml("0.1"), dt=slow.plan.first_rate.seconds_for(low))
    assert "near_empty" not in slow.state.conditions
    slow.read(rate=slow.plan.first_rate, counted=low + Ml("0.1"), dt=10)
    assert {"near_empty"} & slow.state.conditions
    assert "near_end" not in slow.state.conditions


def test_near_the_end_a_low_container_is_no_second_alarm() -> None:
    case = Case(plan=holding(str(PLAN.volume.value))).running()
    case.read(counted=counted_when_left(60), dt=PLAN.seconds - 60)
    assert "near_end" in case.state.conditions
    assert "near_empty" not in case.state.conditions


@pytest.mark.shows("H46")
def test_nothing_is_drawn_from_a_container_that_is_empty_by_count() -> None:
    case = Case(plan=holding("20")).running()
    case.read(counted="19.99", dt=RATE.seconds_for(Ml("19.99")))
    assert case.phase is Phase.RUNNING
    case.read(counted="20", dt=1)
    assert case.phase is Phase.PAUSED
    assert case.got(ev.Halt)
    assert "container_empty" in case.state.conditions
    assert case.state.hold is not None
    assert not case.state.hold.by_pump, "a start at the keypad is against it"


@pytest.mark.shows("H46")
def test_a_new_container_counts_from_when_it_was_fitted() -> None:
    case = Case(plan=holding("20")).running()
    case.read(counted="19", dt=RATE.seconds_for(Ml(19)))
    case.feed(ev.PauseOrdered(case.by()))
    case.halted()
    case.done()
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=Ml(17)), FITTED))
    case.done()
    assert case.state.fitted_counted == Ml(19)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 1)
    case.done()
    case.read(counted="10", dt=RATE.seconds_for(Ml(10)))  # the pump's counter began again: 29 mL in all
    assert case.state.volumes.counted == Ml(29)
    assert case.phase is Phase.RUNNING
    assert "container_empty" not in case.state.conditions


def test_a_container_that_was_not_fitted_is_not_in_the_plan() -> None:
    case = Case().paused()
    smaller = replace(SYRINGE, size=Ml(50), diameter_mm=Decimal("26.7"), fill=Ml(40))
    case.feed(ev.ContainerOrdered(case.by(), smaller, FITTED))
    case.failed("refused")
    assert case.state.plan is not None
    assert case.state.plan.prescription.container == SYRINGE
    case.feed(ev.ContainerOrdered(case.by(), smaller, FITTED), 1)
    case.done()
    assert case.state.plan.prescription.container == smaller
