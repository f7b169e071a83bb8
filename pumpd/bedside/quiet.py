"""The audio pause: one for all beds and displays of the station, short, and over at the next alarm of any bed."""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog

from pumpd.clock import Clock
from pumpd.core.alarms import AudioPause
from pumpd.records.logbook import Logbook

log = structlog.get_logger(__name__)


class Quiet:
    """Who paused the sound until when. Never restored after a restart: the pause is over then."""

    def __init__(self, logbook: Logbook, clock: Clock) -> None:
        self.pause: AudioPause | None = None
        self._logbook, self._clock = logbook, clock
        self._beds: dict[str, Callable[[], None]] = {}

    def join(self, bed: str, changed: Callable[[], None]) -> None:
        """`changed` is called when a pause begins or ends; a bed's successor takes the place of the one that failed."""
        self._beds[bed] = changed

    def begin(self, seconds: float, by: str, *, remote: bool) -> None:
        """Silence for `seconds`, two minutes at most. `remote`: it came over the bus and lasts no longer than that."""
        pause = AudioPause.of(seconds, by, self._clock.wire(), remote=remote)
        left_s = round(pause.until - self._clock.wire(), 1)
        self._become(pause, "AudioPaused", by, {"seconds": left_s, "remote": remote})

    def end(self, why: str, by: str = "") -> None:
        """Sound again."""
        if self.pause is not None:
            self._become(None, "AudioResumed", by, {"why": why})

    def end_remote(self, why: str) -> None:
        """End a pause whose sender can no longer be heard."""
        if self.pause is not None and self.pause.remote:
            self.end(why)

    def look(self) -> None:
        """Called once a second: has its time run out?"""
        if self.pause is not None and self.pause.over(self._clock.wire()):
            self.end("its time is over")

    def _become(self, pause: AudioPause | None, kind: str, by: str, data: dict[str, object]) -> None:
        self.pause = pause
        self._logbook.write(kind, json.dumps(data, sort_keys=True), actor=by)
        log.info("audio", news=kind, **data)
        for changed in self._beds.values():
            changed()
