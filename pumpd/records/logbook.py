"""One pen for everything that is recorded: a row in the journal, and the same row as `event` on the bus."""

from __future__ import annotations

import json

import structlog

from pumpd.clock import Clock
from pumpd.messaging.encode import timestamp
from pumpd.messaging.messages import Event, Oversized
from pumpd.messaging.outlet import Outlet
from pumpd.records.journal import Journal

log = structlog.get_logger(__name__)


class Logbook:
    """Writes rows; never waits for the disk or the broker."""

    def __init__(self, journal: Journal, outlet: Outlet, clock: Clock) -> None:
        self.journal = journal
        self._outlet, self._clock = outlet, clock

    def write(
        self,
        kind: str,
        text: str,
        *,
        bed: str = "",
        source: str = "",
        session_id: str = "",
        actor: str = "",
        routine: bool = False,
    ) -> int:
        """Append one row of JSON `text` and give its number. A `routine` one is not told on the bus."""
        wall = timestamp(self._clock.wall())
        seq = self.journal.append(
            kind, text, bed=bed, ts=wall, wire=self._clock.wire(), session_id=session_id, essential=not routine
        )
        if not routine:
            body = Event(
                seq=seq,
                type=kind,
                bed=bed or None,
                source=source or None,
                session_id=session_id or None,
                actor=actor or None,
                data=json.loads(text),
                prev_hash=self.journal.prev_hash,
                hash=self.journal.head[1],
            )
            self._tell(body, len(text))
        return seq

    def _tell(self, body: Event, length: int) -> None:
        """Whoever writes here supervises a pump: a row that is too long for the bus is told of, not raised."""
        try:
            self._outlet.say("event", body)
        except Oversized as error:
            log.warning("logbook.too_long_for_the_bus", seq=body.seq, kind=body.type, error=str(error))
            self._outlet.say("event", body.model_copy(update={"data": {"too_long_for_the_bus": length}}))
