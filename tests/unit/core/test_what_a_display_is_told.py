"""A new revision whenever a person would see another session, and none for progress alone; when the clock must call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.units import Ml
from tests.unit.core.world import MINIMUM, RATE, STANDING, TWO_STEPS, Case, plan


def plan_again(case: Case, session_id: str, **changes: object) -> None:
    """Planned anew, maybe the same."""
    case.feed(ev.PlanOrdered(case.by(), session_id, plan(**changes), case.rules, case.before()))
    assert case.answer.state == "done"


def end_observation(case: Case) -> None:
    case.feed(ev.EndOrdered(case.by()))


def lose_sight(case: Case) -> None:
    case.feed(ev.LinkDown("no reply"), 3)


def release(case: Case) -> None:
    case.feed(ev.ReleaseOrdered(case.by()))
    assert not case.state.released
    before = case.state.revision
    case.done()
    assert case.state.released
    assert case.state.revision == before + 1


def step_of_the_plan(case: Case) -> None:
    """The pump takes the rate of the next step: the plan is the same, what it was set to is another."""
    case.flow(12, case.plan.first_rate)
    assert isinstance(case.order, ev.SetRate), case.order
    before = case.state.revision
    case.done()
    assert case.state.revision == before + 1


def pause_again(case: Case) -> None:
    """From now on it is a person who paused it, and no keypad starts it."""
    assert case.state.hold is not None
    assert case.state.hold.by_pump
    case.feed(ev.PauseOrdered(case.by()))
    assert not case.state.hold.by_pump


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (lambda: Case().observing(), end_observation),
        (lambda: Case().planned(), lose_sight),
        (lambda: Case().planned(), lambda case: plan_again(case, "s-2")),
        (lambda: Case().planned(), lambda case: plan_again(case, "s-1", duration_s=3000)),
        (lambda: Case().observing(), release),
        (lambda: Case(plan=plan(portions=TWO_STEPS)).running(1190), step_of_the_plan),
        (lambda: Case().paused_by_pump(5), pause_again),
    ],
    ids=["phase", "sight", "session", "plan", "released", "set rate", "who paused it"],
)
def test_what_a_person_sees_is_a_new_revision(where: Callable[[], Case], what: Callable[[Case], None]) -> None:
    case = where()
    before = case.state.revision
    what(case)
    assert case.state.revision == before + 1


def test_what_is_left_to_confirm_is_a_new_revision() -> None:
    """Paused, the pump counts a little more: a confirmation of the old figures must not pass."""
    case = Case().paused(60)
    before = case.state.revision
    case.read(STANDING, RATE)
    assert case.state.revision == before, "nothing new"
    case.read(STANDING, RATE, case.state.volumes.counted + Ml("0.5"))
    assert case.phase is Phase.PAUSED
    assert case.state.revision == before + 1


def test_progress_is_no_revision() -> None:
    case = Case().running(1)
    before = case.state.revision
    case.flow(20)
    assert case.state.revision == before


# --- when to be called again ---


def test_a_pump_that_is_out_of_sight_is_not_stopped_by_the_clock() -> None:
    """What it gives nobody can tell; a stop would reach nobody, and the dose would be called complete."""
    case = Case().running(60)
    assert case.wake_at is not None
    lose_sight(case)
    assert case.wake_at is None
    case.feed(ev.Tick(), 10_000)
    assert (case.phase, case.state.completed) == (Phase.RUNNING, False)


def test_a_session_that_is_being_stopped_has_no_computed_end() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    assert case.phase is Phase.ENDING
    assert case.wake_at is None


def test_a_tick_before_its_time_does_nothing() -> None:
    case = Case().armed()
    due = case.wake_at
    assert due is not None
    case.feed(ev.Tick(), due - case.now - 0.1)
    assert case.phase is Phase.ARMED
    case.feed(ev.Tick(), 0.1 + 1e-6)
    assert case.phase is Phase.PLANNED


def test_what_is_no_longer_armed_is_not_left_to_the_pumps_keypad() -> None:
    """Nobody started it: the smallest limit that the pump can be set to goes in instead of the dose (S1)."""
    case = Case().armed()
    assert case.wake_at is not None
    case.feed(ev.Tick(), case.wake_at - case.now)
    assert case.phase is Phase.PLANNED
    assert isinstance(case.order, ev.Tighten)
    assert case.order.limit == MINIMUM
