"""What waits for the broker. Pure: no I/O, no time of its own.

Three lanes, sent in this order: state (retained; must be right), samples (fresh or worthless), records (events and
answers; oldest first, kept over a lost connection). While the broker is away a newer state replaces the older one,
samples are dropped, and records are kept up to a bound.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

RECORDS_MAX = 10_000  # an hour without broker at 2-3 events/s; the journal keeps them all
CROWDED = 1_000  # messages waiting on a live connection; beyond it a newer state replaces the older one


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message on its way. `queued` is the wire time it came in, `late` that a connection was lost since."""

    topic: str
    payload: bytes
    retain: bool
    qos: int
    expiry_s: int | None
    replayable: bool
    queued: float
    late: bool = False


class Outbox:
    """The lanes. `live` says that the broker is there and the birth was published."""

    def __init__(self) -> None:
        self.live = False
        self.dropped = 0
        self._state: deque[Parcel] = deque()
        self._samples: dict[str, Parcel] = {}
        self._records: deque[Parcel] = deque()

    def __len__(self) -> int:
        return len(self._state) + len(self._samples) + len(self._records)

    @property
    def late(self) -> int:
        """How many records wait that a lost connection has delayed."""
        return sum(1 for parcel in self._records if parcel.late)

    def put(self, parcel: Parcel) -> None:
        """Take a message; what has to give way is counted in `dropped`, replaced state is not."""
        if parcel.retain:
            if not self.live or len(self._state) >= CROWDED:
                self._forget_state(parcel.topic)
            self._state.append(parcel)
        elif parcel.qos == 0:
            if not self.live:
                self.dropped += 1
            else:
                self.dropped += parcel.topic in self._samples
                self._samples[parcel.topic] = parcel
        else:
            self._records.append(parcel if self.live else replace(parcel, late=True))
            self._bound_records()

    def take(self) -> Parcel | None:
        """The next message to send, or None."""
        if self._state:
            return self._state.popleft()
        if self._samples:
            return self._samples.pop(next(iter(self._samples)))
        return self._records.popleft() if self._records else None

    def lost(self, unsent: list[Parcel]) -> None:
        """The connection is gone; `unsent` were taken and never acknowledged, oldest first."""
        self.live = False
        self.dropped += len(self._samples) + sum(1 for parcel in unsent if not parcel.retain and parcel.qos == 0)
        self._samples.clear()
        state = [parcel for parcel in unsent if parcel.retain] + list(self._state)
        self._state.clear()
        for parcel in state:
            self.put(parcel)
        records = [parcel for parcel in unsent if not parcel.retain and parcel.qos > 0] + list(self._records)
        self._records = deque(replace(parcel, late=True) for parcel in records)
        self._bound_records()

    def set_aside(self) -> list[Parcel]:
        """Take all waiting state out, so that the birth goes first; give it back with `put_behind`."""
        waiting = list(self._state)
        self._state.clear()
        return waiting

    def put_behind(self, waiting: list[Parcel]) -> None:
        """Append what the birth did not say anew (an emptied alarm, for one)."""
        born = {parcel.topic for parcel in self._state}
        self._state.extend(parcel for parcel in waiting if parcel.topic not in born)

    def _forget_state(self, topic: str) -> None:
        self._state = deque(parcel for parcel in self._state if parcel.topic != topic)

    def _bound_records(self) -> None:
        while len(self._records) > RECORDS_MAX:
            self._records.popleft()
            self.dropped += 1
