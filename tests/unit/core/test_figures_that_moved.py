"""An end that moved, a rate that was loaded or refused, a pump that is nearly done: what is said then, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.delivery import predicted_end
from pumpd.core.state import Phase
from pumpd.core.turn import Turn
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, PLAN, RATE, STANDING, Case


def test_a_rest_that_was_accepted_is_late_no_longer() -> None:
    case = Case().running(9)
    case.state = replace(case.state, conditions=case.state.conditions | {"late_and_short"})
    case.read(INFUSING, RATE)
    assert ev.Clear("late_and_short") in case.last


@pytest.mark.shows("H6", "S1")
@pytest.mark.parametrize(("seconds", "after"), [(10.0, 9.5), (1.0, 0.5), (0.75, 0.25), (0.25, 0.0)])
def test_the_end_comes_as_early_as_the_rest_can_be_in_and_half_a_second_before(seconds: float, after: float) -> None:
    case = Case().running(9)
    volumes = replace(case.state.volumes, high=PLAN.volume - RATE.over(seconds), counted=Ml(1))
    case.state = replace(case.state, volumes=volumes, limit_covers=False)
    assert predicted_end(Turn(case.state, case.now)) == pytest.approx(volumes.at + after, abs=0.001)


def test_another_rate_in_the_pump_is_another_figure_at_the_display() -> None:
    """It was lowered at its keypad and stopped; the rest is loaded at that rate, never at a higher one."""
    case = Case().running(9)
    case.read(STANDING, "20")
    assert case.phase is Phase.PAUSED
    before = case.state.revision
    case.done()
    assert case.state.ordered == MlPerHour(20)
    assert case.state.revision == before + 1


def test_an_order_that_failed_is_over_unless_nobody_knows_whether_it_was_carried_out() -> None:
    case = Case().running(9)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
    case.feed(ev.OrderFailed(case.order.number, "refused", "in words"))
    assert case.state.pending is None
    assert case.answer.state == "failed"
