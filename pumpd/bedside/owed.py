"""What a bed owes to its successor: stops that nobody has decided on yet, and alarms that a pump tells only once.

Stops are journaled (S5): a process that dies owes them still.
"""

from __future__ import annotations

from collections.abc import Iterator

from pumpd.bedside.house import House, Setup
from pumpd.core import events as ev
from pumpd.records.recall import OWED, OWED_OVER, Stop, StopOwed, owed_over_text, owed_text


class Owed:
    """Events in the order they came."""

    def __init__(self, setup: Setup, house: House) -> None:
        self._setup, self._house = setup, house
        self._stops: list[StopOwed] = []
        self._told: list[ev.PumpTold] = []

    def __iter__(self) -> Iterator[ev.PumpTold | Stop]:
        yield from list(self._told)
        yield from [owed.stop for owed in self._stops]

    def inherit(self, before: Owed) -> None:
        """Take over what a failed bed owed."""
        self._stops, self._told = list(before._stops), list(before._told)

    def restore(self, stops: list[StopOwed]) -> None:
        """Take over what a dead process owed."""
        self._stops = list(stops)

    def keep_told(self, event: ev.PumpTold) -> None:
        """An alarm that the next bed has to hear of."""
        if event not in self._told:
            self._told.append(event)

    def keep(self, stop: Stop) -> None:
        """A stop that was ordered and is not decided."""
        self._stops.append(StopOwed(stop))
        self._write(OWED, owed_text(self._stops[-1]), stop)

    def stands(self, stop: Stop) -> None:
        """The pump was read standing. What the stop means for the session is still to be decided."""
        if isinstance(stop, ev.PumpStopOrdered):
            self.settled(stop)  # it meant the pump only
            return
        self._stops = [StopOwed(owed.stop, owed.stop == stop or owed.standing) for owed in self._stops]
        self._write(OWED, owed_text(StopOwed(stop, standing=True)), stop)

    def settled(self, event: ev.PumpTold | Stop) -> None:
        """The session has decided it: it is owed no longer."""
        if isinstance(event, ev.PumpTold):
            self._told.remove(event)
            return
        self._stops = [owed for owed in self._stops if owed.stop != event]
        self._write(OWED_OVER, owed_over_text(event), event)

    def moving(self) -> list[Stop]:
        """Stops whose pump was not read standing yet."""
        return [owed.stop for owed in self._stops if not owed.standing]

    def _write(self, kind: str, text: str, stop: Stop) -> None:
        setup = self._setup
        self._house.logbook.write(kind, text, bed=setup.bed, source=setup.pump_id, actor=stop.by.actor)
