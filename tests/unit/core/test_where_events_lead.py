"""Rare ways through the phases, one at a time: what a standby, a late answer, a reading or a moment leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.driver import PumpReport
from tests.unit.core.world import INFUSING, PLAN, RATE, STANDING, WHO, Case

WHOLE = PLAN.volume


def resuming() -> Case:
    case = Case().paused(5)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 5)
    assert isinstance(case.order, ev.Begin), case.last
    return case


def completed() -> Case:
    """Observing after the whole dose."""
    case = Case().running(5)
    case.read(STANDING, RATE, WHOLE)
    case.done()
    assert case.phase is Phase.OBSERVING
    return case


def over(case: Case) -> Case:
    case.feed(ev.EndOrdered(case.by()))
    return case


def recovering(case: Case) -> Case:
    case.feed(ev.Restarted(rebooted=False), 1)
    assert case.phase is Phase.RECOVERING
    return case


def seen(case: Case) -> Case:
    case.feed(ev.LinkUp(case.state.ours or WHO), 1)
    return case


# --- when nobody is treated ---


@pytest.mark.parametrize(
    "where",
    [
        lambda: Case().connected(),
        lambda: Case().planned(),
        lambda: Case().observing(),
        lambda: over(completed()),
        lambda: over(Case().observing()),
    ],
    ids=["idle", "planned", "observing", "ended", "aborted"],
)
def test_while_nothing_infuses_a_pump_may_be_switched_off(where: Callable[[], Case]) -> None:
    case = where()
    phase = case.phase
    case.read(STANDING, None)
    case.feed(ev.StandbyOrdered(case.by()))
    assert (case.answer.state, case.phase) == ("done", phase)
    case.feed(ev.LinkDown("no reply"), 5)
    assert "pump_not_connected" not in case.raised


@pytest.mark.parametrize(("before", "phase"), [(completed, Phase.ENDED), (lambda: Case().observing(), Phase.ABORTED)])
def test_after_a_session_the_next_one_is_planned(before: Callable[[], Case], phase: Phase) -> None:
    case = over(before())
    assert case.phase is phase
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()), 60)
    assert (case.phase, case.state.session_id, case.answer.state) == (Phase.PLANNED, "s-2", "done")


# --- the whole dose, noticed late ---


@pytest.mark.parametrize("begin", [lambda: Case().starting(), resuming], ids=["start", "resume"])
def test_a_silent_start_that_is_found_with_the_whole_dose_in_is_stopped(begin: Callable[[], Case]) -> None:
    case = begin()
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, RATE, WHOLE)
    assert case.halts
    assert (case.phase, case.state.completed) == (Phase.ENDING, True)


@pytest.mark.parametrize("begin", [lambda: Case().starting(), resuming], ids=["start", "resume"])
def test_a_start_that_reads_back_with_the_whole_dose_in_is_over(begin: Callable[[], Case]) -> None:
    case = begin()
    case.done(since=case.now, report=PumpReport(STANDING, RATE, WHOLE))
    assert (case.phase, case.state.completed) == (Phase.ENDING, True)


def test_a_start_that_reads_back_standing_is_a_pause() -> None:
    case = Case().starting()
    case.done(report=PumpReport(STANDING, RATE, None))
    assert case.phase is Phase.PAUSED
    assert "stopped_at_pump" in case.raised


def test_started_at_its_keypad_with_the_whole_dose_in_it_is_stopped_for_good() -> None:
    case = Case().paused_by_pump(5)
    case.read(INFUSING, RATE, WHOLE)
    assert case.halts
    assert case.phase is Phase.ENDING


def test_found_standing_after_a_crash_with_the_whole_dose_in_the_session_is_complete() -> None:
    case = seen(recovering(Case().running(5)))
    case.read(STANDING, RATE, WHOLE, dt=2700)
    assert (case.phase, case.state.completed) == (Phase.ENDING, True)


# --- an answer that comes after the program was started anew ---


@pytest.mark.parametrize(
    ("report", "after", "phase"),
    [
        (PumpReport(INFUSING, RATE, None), 1.0, Phase.RUNNING),
        (PumpReport(STANDING, RATE, None), 1.0, Phase.PAUSED),
        (PumpReport(STANDING, RATE, WHOLE), 2701.0, Phase.ENDING),
    ],
    ids=["it runs", "it stands", "it has given all"],
)
def test_an_answer_to_a_start_of_before_the_restart_is_believed(report: PumpReport, after: float, phase: Phase) -> None:
    case = seen(recovering(Case().starting()))
    case.done(after, since=case.now, report=report)
    assert case.phase is phase


# --- a stop where the observation ends at that moment ---


@pytest.mark.parametrize(("session", "phase"), [(completed, Phase.ENDED), (lambda: Case().observing(), Phase.ABORTED)])
@pytest.mark.parametrize("by", ["stop", "reading", "clock"])
def test_the_observation_ends_at_its_time_whatever_comes_first(
    session: Callable[[], Case], phase: Phase, by: str
) -> None:
    case = session()
    assert case.wake_at == case.state.observed_from + case.rules.observation_s
    if by == "stop":
        case.feed(ev.PumpStopOrdered(case.by()), 1)
        case.halted(dt=case.rules.observation_s)
    elif by == "reading":
        case.read(STANDING, None, dt=case.rules.observation_s + 1)
    else:
        case.feed(ev.Tick(), case.rules.observation_s)
    assert case.phase is phase


# --- stops that pumpd makes, and who may restart after them ---


@pytest.mark.parametrize("where", [lambda: Case().running(5), lambda: recovering(Case().running(5))])
@pytest.mark.parametrize("why", ["free flow", "lease", "shutdown"])
def test_what_pumpd_stops_a_keypad_does_not_start_again(where: Callable[[], Case], why: str) -> None:
    case = where()
    if why == "free flow":
        case.told("free_flow")
    else:
        case.feed(ev.LeaseLapsed() if why == "lease" else ev.Shutdown())
    assert case.halts
    assert case.phase is Phase.PAUSED
    assert case.state.hold is not None
    assert not case.state.hold.by_pump, "it is pumpd that stopped it: a start at the keypad is against the plan"


def test_what_the_pump_told_is_told_on_in_its_own_words() -> None:
    case = Case().running(5)
    case.told("motor_stalled")
    assert case.got(ev.Raise) == [ev.Raise("motor_stalled", (("native", "A?"),))]


def test_somebody_else_on_the_line_is_told_each_time() -> None:
    case = Case().running(5)
    for _ in range(2):
        case.feed(ev.UnaskedAnswers(), 10)
        assert "second_master" in case.raised
        assert ev.Clear("second_master") in case.last, "whether it goes on nobody can see"
