"""Each order to the pump with what became of it: the two halves that the journal keeps, put together again.

The first half is the row of the decision, durable before an order that gives more leaves; it holds the order and its
number. The second is the row of its outcome. Where that is missing (a crash, a STOP that took the line) the state still
waits, and the row after which it waits no longer is what settled the order: a reading, or a STOP that is read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from pumpd.core import events as ev
from pumpd.core.session import decide
from pumpd.core.state import State
from pumpd.records.journal import Row
from pumpd.records.recall import EVENT_KINDS, OWED, OWED_OVER, RECORDER, event_of

LINK_STOP, LINK_STOP_DONE = "LinkStop", "LinkStopDone"  # the STOP that a link sends when nobody judges (S16)
ORDERS: tuple[type, ...] = ev.Order.__args__


@dataclass(slots=True)
class Life:
    """One order. `number` is 0 for a STOP that no session has numbered; rows are named by their seq, 0 for none."""

    number: int
    order: str
    what: str
    seq: int
    ts: str
    outcome: str = ""  # done; failed: why; uncertain: why
    outcome_seq: int = 0
    settled_seq: int = 0
    settled_by: str = ""

    @property
    def open(self) -> bool:
        """Nobody knows yet whether the pump has done it."""
        return not self.settled_seq

    @property
    def words(self) -> str:
        """What became of it."""
        if self.open:
            return "open" if not self.outcome else f"open, {self.outcome}"
        if self.outcome_seq == self.settled_seq:
            return self.outcome
        return ", then ".join(filter(None, (self.outcome, self.settled_by)))


def orders_of(rows: Iterable[Row]) -> list[Life]:
    """Every order of one bed's rows, from the beginning of a session on, in the order they were given.

    Raises Unreadable for rows of another version.
    """
    state, lives = State(), list[Life]()
    for row in rows:
        if row.kind in EVENT_KINDS:
            event, now = event_of(row)
            decision = decide(state, event, now)
            state = decision.state
            _note_outcome(lives, event, row)
            given = [effect for effect in decision.effects if isinstance(effect, ORDERS)]
            _settle(lives, state, row, halts=any(isinstance(order, ev.Halt) for order in given))
            lives += [_life(cast(ev.Order, order), row) for order in given]
        else:
            _note_stop(lives, row)
    return lives


def _life(order: ev.Order, row: Row) -> Life:
    what = {name: value for name, value in json.loads(RECORDER.dump(order)).items() if name in ("rate", "limit")}
    return Life(order.number, type(order).__name__, ", ".join(what.values()), row.seq, row.ts)


def _note_outcome(lives: list[Life], event: ev.Event, row: Row) -> None:
    if not isinstance(event, (ev.OrderDone, ev.OrderFailed)):
        return
    for life in lives:
        if life.number == event.number and not life.outcome:
            life.outcome, life.outcome_seq = _outcome(event), row.seq


def _outcome(event: ev.OrderDone | ev.OrderFailed) -> str:
    if isinstance(event, ev.OrderDone):
        return "done"
    return f"{'uncertain' if event.uncertain else 'failed'}: {event.text}"


def _settle(lives: list[Life], state: State, row: Row, *, halts: bool) -> None:
    """After `row` the state waits for the orders of its own only; what it waited for before is settled by that row."""
    for life in lives:
        if life.open and not _waited_for(life, state, row, halts):
            life.settled_seq = row.seq
            life.settled_by = "a STOP took its place" if halts else WORDS.get(row.kind, f"given up with {row.kind}")


def _waited_for(life: Life, state: State, row: Row, halts: bool) -> bool:
    if not life.number:
        return row.kind != "PumpReported"
    if life.order == "Halt":  # a latched stop may lose its number, and is owed all the same (S5)
        return state.halt is not None and (state.halt.number == life.number or not halts)
    return state.pending is not None and state.pending.order.number == life.number


WORDS = {
    "PumpReported": "the pump was read",
    "OrderDone": "the pump was read",
    "Restarted": "given up at a restart: it must be ordered again",
}


def _note_stop(lives: list[Life], row: Row) -> None:
    """STOPs beside the session: of the link, or of a person while the bed is only watched."""
    if row.kind == LINK_STOP:
        lives.append(Life(0, row.kind, json.loads(row.data)["why"], row.seq, row.ts))
    elif row.kind == OWED and not json.loads(row.data)["standing"]:
        lives.append(Life(0, row.kind, "ordered while only watched", row.seq, row.ts))
    elif row.kind in (LINK_STOP_DONE, OWED, OWED_OVER):
        ended = LINK_STOP if row.kind == LINK_STOP_DONE else OWED
        for life in lives:
            if life.open and life.order == ended:
                life.outcome, life.outcome_seq, life.settled_seq = "done", row.seq, row.seq
