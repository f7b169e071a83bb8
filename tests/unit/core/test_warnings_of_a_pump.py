"""What a pump warns of with each reading, and what it tells in passing: neither is a stop."""

from __future__ import annotations

import pytest

from pumpd.core import events as ev
from pumpd.core.catalogue import WARNINGS
from pumpd.core.state import Phase
from pumpd.driver import Motion, PumpAlarm, PumpReport
from tests.unit.core.world import INFUSING, RATE, Case

LOW, NEAR = "pump_battery_low", "pump_near_end"


def warned(case: Case, *codes: str) -> set[str]:
    """The conditions that hold after a reading with these warnings."""
    counted = case.state.volumes.last_count
    case.feed(ev.PumpReported(PumpReport(INFUSING, RATE, counted, warnings=codes)), 0.2)
    return set(case.state.conditions) & WARNINGS


def test_warnings_stand_as_long_as_they_are_read() -> None:
    case = Case().running(600)
    assert warned(case, LOW) == {LOW}
    assert warned(case, LOW, NEAR) == {LOW, NEAR}
    assert warned(case, NEAR) == {NEAR}
    assert warned(case) == set()
    assert case.phase is Phase.RUNNING
    assert not case.halts


def test_a_pump_that_does_not_tell_leaves_them_as_they_are() -> None:
    case = Case().running(600)
    warned(case, LOW)
    case.read(dt=0.2)
    assert LOW in case.state.conditions


def test_what_is_no_warning_is_not_made_one_and_not_taken_away() -> None:
    case = Case().running(600)
    case.told("pump_fault")
    assert warned(case, "air_in_line", "no such thing") == set()
    assert "air_in_line" not in case.state.conditions
    assert "pump_fault" in case.state.conditions


def test_a_warning_is_told_without_a_session_too() -> None:
    case = Case()
    case.feed(ev.PumpReported(PumpReport(Motion.STANDING, RATE, None, warnings=(LOW,))), 0.2)
    assert case.raised == {LOW}


@pytest.mark.shows("S3")
def test_what_is_told_in_passing_is_over_at_once_and_is_no_stop() -> None:
    case = Case().running(600)
    for _ in range(4):
        case.feed(ev.PumpTold(PumpAlarm("keypad_used", "EVENT 7", stops=False)))
    assert "keypad_used" in case.raised
    assert "keypad_used" not in case.state.conditions
    assert case.state.told == ()
    case.read(dt=0.2)
    assert case.phase is Phase.RUNNING


@pytest.mark.parametrize("motion", [Motion.BOLUS, Motion.PURGING, Motion.WITHDRAWING, Motion.UNKNOWN])
def test_only_keeping_the_vein_open_after_the_dose_is_its_end(motion: Motion) -> None:
    case = Case().running(2600)
    case.read(motion, counted=case.plan.volume)
    assert "unplanned_function" in case.raised
    assert case.phase is Phase.PAUSED
