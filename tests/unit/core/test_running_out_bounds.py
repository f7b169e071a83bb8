"""Near the end, near empty, and stalled again: at the very bound, and with what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, PLAN, RATE, Case


def running(counted: Ml, held: Ml) -> Case:
    """The next reading counts so much, and the container holds so much then."""
    case = Case().running(9)
    fill = PLAN.prescription.container.fill
    volumes = replace(case.state.volumes, low=counted, high=counted, counted=counted, last_count=counted)
    case.state = replace(case.state, volumes=volumes, fitted_counted=counted - (fill - held))
    return case


def said(case: Case, code: str) -> dict[str, str]:
    (values,) = (dict(alarm.values) for alarm in case.got(ev.Raise) if alarm.code == code)
    return values


@pytest.mark.shows("within:NEAR_END_S", "beyond:NEAR_END_S")
@pytest.mark.parametrize(("missing", "near"), [("2.333", True), ("2.3335", False)])
def test_three_minutes_themselves_are_near_the_end(missing: str, near: bool) -> None:
    """46.66 mL/h give 2.333 mL in 180 s."""
    case = running(PLAN.volume - Ml(missing), Ml(20))
    case.read(INFUSING, RATE)
    assert ("near_end" in case.raised) is near
    assert not near or said(case, "near_end") == {"left_ml": "2.333"}


def test_an_end_that_moves_away_is_not_near_any_more() -> None:
    case = running(PLAN.volume - Ml(2), Ml(20))
    case.read(INFUSING, RATE)
    assert "near_end" in case.raised
    case.read(INFUSING, MlPerHour(20))
    assert ev.Clear("near_end") in case.last


@pytest.mark.parametrize(("held", "near"), [("1", False), ("0.999", True)])
def test_a_container_is_near_empty_below_a_millilitre(held: str, near: bool) -> None:
    case = running(Ml(10), Ml(held))
    case.read(INFUSING, RATE)
    assert ("near_empty" in case.raised) is near
    assert not near or said(case, "near_empty")["left_ml"].startswith("0.999")


def test_a_container_that_lasts_to_the_end_is_not_near_empty() -> None:
    case = running(PLAN.volume - Ml("0.5"), Ml("0.9"))
    case.read(INFUSING, RATE)
    assert "near_end" in case.state.conditions
    assert "near_empty" not in case.state.conditions


@pytest.mark.parametrize(("held", "empty"), [("0.001", False), ("0", True), ("-1", True)])
def test_nothing_is_drawn_from_an_empty_container(held: str, empty: bool) -> None:
    case = running(Ml(10), Ml(held))
    case.read(INFUSING, RATE)
    assert case.halts is empty
    assert (case.phase is Phase.PAUSED) is empty
    if empty:
        assert float(said(case, "container_empty")["held_ml"]) == float(held)
        assert not case.state.hold.by_pump


@pytest.mark.shows("within:REPEAT_WINDOW_S", "beyond:REPEAT_WINDOW_S", "H9")
@pytest.mark.parametrize(("ago", "often"), [(600.0, True), (600.5, False)])
@pytest.mark.parametrize(("code", "pressure"), [("motor_stalled", True), ("pump_watchdog_expired", False)])
def test_the_third_time_within_ten_minutes_needs_a_prescriber(
    ago: float, often: bool, code: str, pressure: bool
) -> None:
    case = Case().running(9)
    now = case.now + 1
    case.state = replace(case.state, stopped_by=((code, now - ago), (code, now - 10)))
    case.told(code)
    case.read(INFUSING, RATE)
    assert case.halts is often
    if often:
        assert said(case, "repeated_stop") == {"alarm": code, "times": "3"}
        hold = case.state.hold
        assert (hold.needs_prescriber, hold.needs_pressure_release, hold.by_pump) == (True, pressure, False)
        assert "3 times within 10 minutes" in hold.reason
    assert case.state.told == ()
    assert len(case.state.stopped_by) == (3 if often else 2)
