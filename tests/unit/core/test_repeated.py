"""The same alarm stops the pump again and again; and what only a pump with such a sensor reports."""

from __future__ import annotations

import pytest

from pumpd.core import events as ev
from pumpd.core.repeated import REPEAT_TIMES, REPEAT_WINDOW_S
from pumpd.core.state import Phase
from pumpd.core.therapy import LONG_PAUSE_S, PRESCRIBER
from tests.unit.core.world import INFUSING, RATE, STANDING, Case

STALL = "motor_stalled"


def stalled(case: Case, code: str = STALL) -> None:
    case.told(code)
    case.read(STANDING)


def resumed(case: Case, role: str = "nurse") -> bool:
    """Resume as a person does; False when it is refused."""
    if case.state.halt is not None:
        case.halted()
    if case.state.pending is not None:
        case.done()
    case.read(STANDING)
    if case.state.pending is not None:
        case.done()
    case.feed(ev.ResumeOrdered(case.by(role), case.confirm(), pressure_released=True), 1)
    if not isinstance(case.order, ev.Begin):
        return False
    case.done()
    return case.phase is Phase.RUNNING


def after_stalls(times: int, every_s: float = 100.0) -> Case:
    case = Case().running(30)
    for number in range(times):
        stalled(case)
        if number + 1 < times:
            assert resumed(case)
            case.flow(every_s)
    return case


@pytest.mark.shows("within:REPEAT_TIMES")
def test_two_stops_by_the_same_alarm_can_be_resumed_by_a_nurse() -> None:
    case = after_stalls(REPEAT_TIMES - 1)
    assert "repeated_stop" not in case.state.conditions
    assert resumed(case)


@pytest.mark.shows("beyond:REPEAT_TIMES", "H32")
def test_the_third_within_ten_minutes_ends_in_stop_and_alarm_and_only_a_prescriber_resumes() -> None:
    case = after_stalls(REPEAT_TIMES)
    assert case.got(ev.Halt)
    assert "repeated_stop" in case.state.conditions
    assert not resumed(case)
    answer = case.answer
    assert (answer.state, answer.reason) == ("rejected", "not_allowed")
    assert PRESCRIBER in answer.text
    assert resumed(case, PRESCRIBER)
    assert "repeated_stop" not in case.state.conditions


@pytest.mark.shows("within:REPEAT_WINDOW_S", "beyond:REPEAT_WINDOW_S", "H32")
@pytest.mark.parametrize(("every_s", "stopped"), [(REPEAT_WINDOW_S / 2 - 10, True), (REPEAT_WINDOW_S / 2 + 10, False)])
def test_the_window_is_ten_minutes(every_s: float, stopped: bool) -> None:
    assert ("repeated_stop" in after_stalls(REPEAT_TIMES, every_s).state.conditions) is stopped


def test_different_alarms_are_counted_apart() -> None:
    case = Case().running(30)
    for code in (STALL, "pump_watchdog_expired", STALL, "pump_program_error"):
        stalled(case, code)
        assert "repeated_stop" not in case.state.conditions
        assert resumed(case)


def test_a_stop_at_the_keypad_is_a_persons_act_and_not_counted() -> None:
    case = Case().running(30)
    for _ in range(REPEAT_TIMES):
        case.read(STANDING)
        assert resumed(case)


@pytest.mark.shows("H32")
def test_restarted_at_the_keypad_it_counts_as_well() -> None:
    case = Case().running(30)
    for number in range(REPEAT_TIMES):
        stalled(case)
        if number + 1 < REPEAT_TIMES:
            case.read(INFUSING, dt=5)
            assert case.phase is Phase.RUNNING
    assert "repeated_stop" in case.state.conditions
    case.halted()
    case.read(INFUSING, dt=5)
    assert case.phase is Phase.PAUSED, "against the plan: it is stopped again"
    assert case.state.halt is not None


@pytest.mark.shows("H32")
def test_stopped_and_started_between_two_polls_it_counts_as_well() -> None:
    case = Case().running(30)
    for _ in range(REPEAT_TIMES - 1):
        case.told(STALL)
        case.read(INFUSING, counted=case.state.volumes.counted)
        assert case.phase is Phase.RUNNING
    case.told(STALL)
    case.read(INFUSING)
    assert case.phase is Phase.PAUSED
    assert case.state.halt is not None


# --- a long pause, free flow, somebody else on the line ---


@pytest.mark.shows("within:LONG_PAUSE_S", "beyond:LONG_PAUSE_S")
def test_a_long_pause_is_told_when_it_begins_to_need_a_prescriber() -> None:
    case = Case().paused()
    assert case.state.hold is not None
    due = case.state.hold.at + LONG_PAUSE_S
    assert case.wake_at == due
    case.feed(ev.Tick(), due - case.now - 1)
    assert "long_pause" not in case.state.conditions
    case.feed(ev.Tick(), 1)
    assert "long_pause" in case.state.conditions
    assert case.wake_at is None, "told once"
    case.feed(ev.ResumeOrdered(case.by(PRESCRIBER), case.confirm()), 1)
    case.done()
    assert "long_pause" not in case.state.conditions


@pytest.mark.shows("H15", "H60")
def test_free_flow_that_the_pump_reports_is_stopped() -> None:
    case = Case().running(30)
    case.told("free_flow")
    assert case.got(ev.Halt)
    assert case.phase is Phase.PAUSED
    assert "free_flow" in case.state.conditions


def test_free_flow_while_nothing_is_given_is_told() -> None:
    case = Case().paused()
    case.told("free_flow")
    assert "free_flow" in case.raised
    assert not case.halts, "it stands already; only the clamp helps"


def test_somebody_else_on_the_line_is_told_and_changes_nothing() -> None:
    case = Case().running(30)
    case.feed(ev.UnaskedAnswers())
    assert "second_master" in case.raised
    assert case.phase is Phase.RUNNING
    assert case.state.ordered == RATE
    assert not case.got(ev.Halt)
