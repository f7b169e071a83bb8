"""The session: one table of what may happen when, and one function that decides.

    state, effects, wake_at = decide(state, event, now)

`TABLE` is the law: for each phase, each event that is legal in it and the phases it may lead to. A person's order that
is not legal is refused and leaves the state untouched; a reading, an outcome or the clock is legal always. What each
event does is written in `therapy` (a person's orders), `enforce` (readings), `outcomes` (what became of orders) and
`sight` (losing and regaining the pump). Times are seconds of the session clock. Pure: the same events at the same times
give the same effects, which is what `pumpd replay` proves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pumpd.core import events as ev
from pumpd.core.catalogue import CATALOGUE
from pumpd.core.delivery import predicted_end, stop_at_predicted_end
from pumpd.core.enforce import on_report
from pumpd.core.outcomes import order_done, order_failed, stop_unconfirmed
from pumpd.core.sight import POWER_LOST, link_down, link_up, restarted
from pumpd.core.state import Phase, Sight, State
from pumpd.core.therapy import LONG_PAUSE_S, ORDERS, UNARM_AFTER_S, offer, over, unarm
from pumpd.core.turn import PRESSURE_ALARMS, Turn

IDLE, PLANNED, ARMED, RUNNING, PAUSED = Phase.IDLE, Phase.PLANNED, Phase.ARMED, Phase.RUNNING, Phase.PAUSED
ENDING, OBSERVING, ENDED, ABORTED = Phase.ENDING, Phase.OBSERVING, Phase.ENDED, Phase.ABORTED
RECOVERING = Phase.RECOVERING

STOPPED_AT_ONCE = frozenset({"free_flow"})  # told by a pump that may not stop for it by itself

Targets = frozenset[Phase]


def _to(*phases: Phase) -> Targets:
    return frozenset(phases)


# A person's orders, phase by phase: order -> the phases it may lead to.
PERSONS: dict[Phase, dict[type, Targets]] = {
    IDLE: {ev.PlanOrdered: _to(IDLE, PLANNED), ev.PumpStopOrdered: _to(IDLE), ev.StandbyOrdered: _to(IDLE)},
    PLANNED: {
        ev.PlanOrdered: _to(PLANNED),
        ev.ArmOrdered: _to(PLANNED),
        ev.StopOrdered: _to(ENDING, ABORTED),
        ev.PumpStopOrdered: _to(PLANNED),
        ev.StandbyOrdered: _to(PLANNED),
    },
    ARMED: {
        ev.PlanOrdered: _to(ARMED, PLANNED),
        ev.ArmOrdered: _to(PLANNED, ARMED),
        ev.StartOrdered: _to(ARMED),
        ev.PauseOrdered: _to(ARMED, PAUSED),
        ev.StopOrdered: _to(ENDING, ABORTED),
        ev.PumpStopOrdered: _to(PLANNED),
    },
    RUNNING: {
        ev.PauseOrdered: _to(PAUSED),
        ev.StopOrdered: _to(ENDING),
        ev.PumpStopOrdered: _to(ENDING),
        ev.RestoreOrdered: _to(RUNNING),
        ev.AcceptOrdered: _to(RUNNING),
        ev.RateOrdered: _to(RUNNING),
        ev.EndOrdered: _to(ENDING),
    },
    PAUSED: {
        ev.PauseOrdered: _to(PAUSED),
        ev.ResumeOrdered: _to(PAUSED),
        ev.FinishOrdered: _to(PAUSED),
        ev.ContainerOrdered: _to(PAUSED),
        ev.StopOrdered: _to(ENDING),
        ev.PumpStopOrdered: _to(ENDING),
        ev.EndOrdered: _to(ENDING),
    },
    ENDING: {
        ev.PauseOrdered: _to(ENDING),
        ev.StopOrdered: _to(ENDING),
        ev.PumpStopOrdered: _to(ENDING),
        ev.EndOrdered: _to(ENDING, ENDED, ABORTED),
    },
    OBSERVING: {
        ev.StopOrdered: _to(OBSERVING),
        ev.PumpStopOrdered: _to(OBSERVING),
        ev.EndOrdered: _to(ENDED, ABORTED),
        ev.ReleaseOrdered: _to(OBSERVING),
        ev.StandbyOrdered: _to(OBSERVING),
    },
    ENDED: {
        ev.PlanOrdered: _to(ENDED, PLANNED),
        ev.PumpStopOrdered: _to(ENDED),
        ev.ReleaseOrdered: _to(ENDED),
        ev.StandbyOrdered: _to(ENDED),
    },
    ABORTED: {
        ev.PlanOrdered: _to(ABORTED, PLANNED),
        ev.PumpStopOrdered: _to(ABORTED),
        ev.ReleaseOrdered: _to(ABORTED),
        ev.StandbyOrdered: _to(ABORTED),
    },
    RECOVERING: {ev.PauseOrdered: _to(PAUSED), ev.StopOrdered: _to(ENDING), ev.PumpStopOrdered: _to(ENDING)},
}

# What the world brings. Legal in every phase; named are the phases it may lead to besides staying.
WORLD: dict[type, dict[Phase, Targets]] = {
    ev.PumpReported: {
        ARMED: _to(PLANNED, RUNNING, PAUSED, ENDING),
        RUNNING: _to(PAUSED, ENDING),
        PAUSED: _to(RUNNING, ENDING),
        OBSERVING: _to(ENDED, ABORTED),
        RECOVERING: _to(RUNNING, PAUSED, ENDING),
    },
    ev.PumpTold: {RUNNING: _to(PAUSED), RECOVERING: _to(PAUSED)},
    ev.UnaskedAnswers: {},
    ev.LinkUp: {ARMED: _to(PLANNED)},
    ev.LinkDown: {ARMED: _to(PLANNED)},
    ev.OrderDone: {
        PLANNED: _to(ARMED),
        ARMED: _to(PLANNED, RUNNING, PAUSED, ENDING),
        PAUSED: _to(RUNNING, ENDING),
        ENDING: _to(OBSERVING),
        OBSERVING: _to(ENDED, ABORTED),
        RECOVERING: _to(RUNNING, PAUSED, ENDING),
    },
    ev.OrderFailed: {ARMED: _to(PLANNED), RUNNING: _to(PAUSED)},
    ev.StopUnconfirmed: {},
    ev.LeaseLapsed: {RUNNING: _to(PAUSED), RECOVERING: _to(PAUSED)},
    ev.Restarted: {ARMED: _to(PLANNED, RECOVERING), RUNNING: _to(RECOVERING), PAUSED: _to(RECOVERING)},
    ev.Shutdown: {ARMED: _to(PAUSED), RUNNING: _to(PAUSED), RECOVERING: _to(PAUSED)},
    ev.Tick: {ARMED: _to(PLANNED), RUNNING: _to(ENDING), OBSERVING: _to(ENDED, ABORTED)},
}

TABLE: dict[Phase, dict[type, Targets]] = {
    phase: {
        **PERSONS[phase],
        **{event: targets.get(phase, frozenset()) | {phase} for event, targets in WORLD.items()},
    }
    for phase in Phase
}


class Decision(NamedTuple):
    """The next state, what to do, and when to be called again (session seconds; None: at the next event)."""

    state: State
    effects: tuple[ev.Effect, ...]
    wake_at: float | None


class IllegalTransition(AssertionError):
    """A handler led where the table does not allow: a fault in pumpd, never in the input."""


def decide(state: State, event: ev.Event, now: float) -> Decision:
    """What the session makes of `event` at `now`. Raises IllegalTransition when a handler breaks the table."""
    turn = Turn(state, now)
    targets = TABLE[state.phase].get(type(event))
    if targets is None:
        return Decision(state, _refusal(state, event), wake_at(turn))
    HANDLERS[type(event)](turn, event)
    if turn.state.phase not in targets:
        raise IllegalTransition(f"{type(event).__name__}: {state.phase.value} -> {turn.state.phase.value}")
    if _shows_differently(state, turn.state, now):
        turn.become(revision=turn.state.revision + 1)
    return Decision(turn.state, tuple(turn.effects), wake_at(turn))


def _refusal(state: State, event: ev.Event) -> tuple[ev.Effect, ...]:
    by: ev.By | None = getattr(event, "by", None)
    if by is None:
        return ()
    order = type(event).__name__.removesuffix("Ordered").lower()
    text = f"{order} is not possible while {state.phase.value}"
    return (ev.Answer(by.request, "rejected", "wrong_phase", text),)


def _shows_differently(old: State, new: State, now: float) -> bool:
    """Would a person at a display see another session, or other figures to confirm? Progress alone is no revision."""
    return _shown(old) != _shown(new) or offer(old, now) != offer(new, now)


def _shown(state: State) -> tuple[object, ...]:
    return state.phase, state.sight, state.session_id, state.plan, state.ordered, state.hold, state.released


def wake_at(turn: Turn) -> float | None:
    """The next moment that no reading brings by itself."""
    state = turn.state
    if state.phase is ARMED and state.armed_at is not None and state.pending is None:
        return state.armed_at + UNARM_AFTER_S
    if state.phase is OBSERVING and state.observed_from is not None:
        return state.observed_from + turn.rules.observation_s
    if state.phase is PAUSED and state.hold is not None and "long_pause" not in state.conditions:
        return state.hold.at + LONG_PAUSE_S
    if state.phase is RUNNING and state.sight is Sight.SEEING:
        return predicted_end(turn)
    return None


def _tick(turn: Turn, _event: ev.Tick) -> None:
    due = wake_at(turn)
    if due is None or turn.now < due:
        return
    if turn.state.phase is ARMED:
        unarm(turn, f"armed for more than {UNARM_AFTER_S / 60:.0f} minutes")
    elif turn.state.phase is OBSERVING:
        over(turn)
    elif turn.state.phase is PAUSED:
        turn.alarm("long_pause")
    else:
        stop_at_predicted_end(turn)


def _pump_told(turn: Turn, event: ev.PumpTold) -> None:
    if event.alarm.code == POWER_LOST and turn.state.armed_at is None:
        return  # every pump says so when it is switched on; it means something once it was armed
    turn.alarm(event.alarm.code, native=event.alarm.native)
    if not event.alarm.stops:
        turn.clear(event.alarm.code)  # it has happened; a latching one stands until a person resets it
        return
    turn.become(told=tuple(dict.fromkeys((*turn.state.told, event.alarm.code))))
    if event.alarm.code in PRESSURE_ALARMS and turn.state.starting:
        turn.halt()  # the start on its way was ordered before anybody knew; it would let out what is trapped
    if event.alarm.code in STOPPED_AT_ONCE and turn.state.phase in (RUNNING, RECOVERING):
        turn.pause(CATALOGUE[event.alarm.code].text, by_pump=False)
        turn.halt()


def _unasked_answers(turn: Turn, _event: ev.UnaskedAnswers) -> None:
    """What it means stays until a person resets it; whether it goes on nobody can see."""
    turn.alarm("second_master")
    turn.clear("second_master")


def _lease_lapsed(turn: Turn, _event: ev.LeaseLapsed) -> None:
    turn.alarm("lease_lapsed")
    if turn.state.phase in (RUNNING, RECOVERING):
        turn.pause("supervision faltered; the pump was stopped", by_pump=False)
        turn.halt()


def _shutdown(turn: Turn, _event: ev.Shutdown) -> None:
    """SIGTERM while infusing: STOP, read back, alarm; the session can be resumed after the restart."""
    if turn.state.phase in (RUNNING, RECOVERING) or turn.state.starting:
        turn.alarm("stopped_by_shutdown")
        turn.pause("the program was shut down", by_pump=False)
        turn.halt()


HANDLERS: dict[type, Callable[..., None]] = {
    **ORDERS,
    ev.PumpReported: on_report,
    ev.PumpTold: _pump_told,
    ev.UnaskedAnswers: _unasked_answers,
    ev.LinkUp: link_up,
    ev.LinkDown: link_down,
    ev.OrderDone: order_done,
    ev.OrderFailed: order_failed,
    ev.StopUnconfirmed: stop_unconfirmed,
    ev.LeaseLapsed: _lease_lapsed,
    ev.Restarted: restarted,
    ev.Shutdown: _shutdown,
    ev.Tick: _tick,
}
