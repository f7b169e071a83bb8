"""The state once an order has taken effect at the pump or has not, whoever found out: its answer or a reading. Pure."""

from __future__ import annotations

from dataclasses import replace

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.catalogue import WARNINGS
from pumpd.core.state import Phase
from pumpd.core.turn import Turn
from pumpd.driver import Identity

WHY_IT_STOOD = (
    "stopped_at_pump",
    "short_of_plan",
    "restarted_at_keypad",
    "infusing_against_plan",
    "rate_not_set",
    "lease_lapsed",
    "stopped_by_shutdown",
    "daemon_restarted",
    "container_empty",
    "repeated_stop",
    "long_pause",
)


def as_loaded(turn: Turn, order: ev.Begin | ev.Tighten) -> Identity | None:
    """Our pump as it must read once it was loaded with this rate and limit."""
    ours = turn.state.ours
    return None if ours is None else replace(ours, rate=order.rate, limit=order.limit)


def rate_set(turn: Turn, order: ev.SetRate) -> None:
    """The pump runs at this rate."""
    state = turn.state
    pending, volumes = state.pending, state.volumes
    turn.become(
        pending=None,
        ordered=order.rate,
        enforced=order.rate,
        plan=(pending.plan if pending is not None else None) or state.plan,
        ours=None if state.ours is None else replace(state.ours, rate=order.rate),
        volumes=replace(volumes, rate_high=max(volumes.rate_high, order.rate)),
    )
    turn.answer(pending.by if pending is not None else None, "done", rate_ml_h=order.rate.value)


def begun(turn: Turn, order: ev.Begin, since: float) -> None:
    """The pump was told to run at `since` and does."""
    state = turn.state
    plan = state.pending.plan if state.pending is not None else None
    turn.become(
        pending=None,
        volumes=state.volumes if state.volumes.at > since else watch.begin(state.volumes, order.rate, since),
        plan=plan or state.plan,
        ordered=order.rate,
        enforced=order.rate,
        limit_covers=True,
        ours=as_loaded(turn, order),
        run_since=since,
        started=since if state.started is None else state.started,
        hold=None,
        told=(),
    )
    turn.go(Phase.RUNNING)
    turn.clear(*WHY_IT_STOOD)
    well(turn)


def well(turn: Turn) -> None:
    """What the pump told before is over: it runs as ordered, or stands for good. What it warns of, it takes back."""
    turn.clear(*sorted(turn.state.conditions.intersection(turn.rules.pump.alarms) - WARNINGS))


def stop_what_cannot_be_set_down(turn: Turn, why: str) -> None:
    """A rate that should be lower and is not, whatever the reason: STOP."""
    turn.pause("the rate could not be set down", by_pump=False)
    turn.alarm("rate_not_set", why=why)
    turn.halt()
