"""Journal rows of a bed: how a decision is written, how the state is made from them again, how a replay proves them.

A row of an event holds the event, the session time, and every effect that came out. `recall` feeds the events to
`decide` once more, which is how a bed comes back after a crash; `replay` compares the effects as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pumpd.core.alarms import Alarm, Board
from pumpd.core.events import EFFECTS, EVENTS, Event, PauseOrdered, PumpStopOrdered, Raise, StopOrdered
from pumpd.core.session import Decision, decide
from pumpd.core.state import State
from pumpd.records.journal import Row
from pumpd.records.record import Recorder

ALARM, ALARM_OVER = "Alarm", "AlarmOver"
OWED, OWED_OVER = "Owed", "OwedOver"
Stop: TypeAlias = StopOrdered | PauseOrdered | PumpStopOrdered


@dataclass(frozen=True, slots=True)
class StopOwed:
    """A stop that was ordered while nobody could decide. `standing`: the pump was read standing after it."""

    stop: Stop
    standing: bool = False


RECORDER = Recorder((*EVENTS, *EFFECTS, Alarm, StopOwed))
EVENT_KINDS = frozenset(cls.__name__ for cls in EVENTS)
Values: TypeAlias = tuple[tuple[str, str], ...]


def row_text(event: Event, now: float, decision: Decision) -> str:
    """What the journal keeps of one decision. The same decision always gives the same text."""
    dump = RECORDER.dump
    effects = ",".join(f'{{"is":"{type(effect).__name__}","what":{dump(effect)}}}' for effect in decision.effects)
    wake_at = "null" if decision.wake_at is None else repr(decision.wake_at)
    return f'{{"effects":[{effects}],"event":{dump(event)},"now":{now!r},"wake_at":{wake_at}}}'


def alarm_text(alarm: Alarm) -> str:
    """What the journal keeps of an alarm each time it changes."""
    return RECORDER.dump(alarm)


def owed_text(owed: StopOwed) -> str:
    """What the journal keeps of a stop that is not decided, each time more is known of it."""
    return RECORDER.dump(owed)


def owed_over_text(stop: Stop) -> str:
    """What the journal keeps when a stop has been decided after all."""
    return json.dumps({"request": stop.by.request})


def owed_stops(rows: Iterable[Row]) -> list[StopOwed]:
    """The stops that were ordered while nobody could decide, and are not decided yet. Raises Unreadable."""
    stops: dict[str, StopOwed] = {}
    for row in rows:
        if row.kind == OWED:
            owed = RECORDER.load("StopOwed", row.data)
            assert isinstance(owed, StopOwed)
            stops[owed.stop.by.request] = owed
        elif row.kind == OWED_OVER:
            stops.pop(json.loads(row.data)["request"], None)
    return list(stops.values())


@dataclass(frozen=True, slots=True)
class Recalled:
    """Where a bed stood when its journal ended."""

    state: State = field(default_factory=State)
    board: Board = field(default_factory=Board)
    written_by: Mapping[str, str] = field(default_factory=dict)  # alarm id: the boot id its times belong to
    values: Mapping[str, Values] = field(default_factory=dict)  # with which each condition was last raised
    now: float = 0.0  # session seconds of the last decision
    wire: float | None = None  # wire seconds of that decision; None when there was none
    boot_id: str = ""


def recall(rows: Iterable[Row]) -> Recalled:
    """The state and the alarms that these rows lead to. Raises Unreadable for rows of another version."""
    state, alarms, values, now, last = State(), dict[str, Alarm](), dict[str, Values](), 0.0, None
    written_by: dict[str, str] = {}
    for row in rows:
        if row.kind in EVENT_KINDS:
            last = row  # not just any row: an alarm acknowledged while blind says nothing of the session's clock
            event, now = event_of(row)
            decision = decide(state, event, now)
            state = decision.state
            values |= {effect.code: effect.values for effect in decision.effects if isinstance(effect, Raise)}
        elif row.kind == ALARM:
            alarm = RECORDER.load(ALARM, row.data)
            assert isinstance(alarm, Alarm)
            alarms[alarm.alarm_id], written_by[alarm.alarm_id] = alarm, row.boot_id
        elif row.kind == ALARM_OVER:
            alarms.pop(json.loads(row.data)["alarm_id"], None)
    board = Board.of(alarms.values())
    if last is None:
        return Recalled(board=board, written_by=written_by)
    return Recalled(state, board, written_by, values, now, last.wire, last.boot_id)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose effects do not come out again."""

    seq: int
    recorded: str
    decided: str


def replay(rows: Iterable[Row]) -> tuple[int, list[Difference]]:
    """Decide every recorded event again: how many there were, and where the effects differ."""
    state, count, differences = State(), 0, list[Difference]()
    for row in rows:
        if row.kind not in EVENT_KINDS:
            continue
        event, now = event_of(row)
        decision = decide(state, event, now)
        state, count = decision.state, count + 1
        decided = row_text(event, now, decision)
        if decided != row.data:
            differences.append(Difference(row.seq, row.data, decided))
    return count, differences


def event_of(row: Row) -> tuple[Event, float]:
    """The event that a row holds, and when it was decided (session seconds). Raises Unreadable."""
    written = json.loads(row.data)
    return RECORDER.build(row.kind, written["event"]), written["now"]  # type: ignore[return-value]  # kind names it
