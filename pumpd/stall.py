"""Notices that the event loop stood still. While it does, no pump is judged, and a STOP waits.

The loop beats ten times a second. A thread of its own looks what the loop is at when it does not beat.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable

import structlog

from pumpd.clock import Clock

BEAT_S = 0.1
STALL_S = (
    0.5  # a person who pressed STOP waits this long for its first byte; one bed's endless thought (0.25 s) is less
)
LOOK_S = 0.25  # the witness looks this often, so it sees what runs in every stall that is told
FRAMES = 8  # innermost calls that are logged; names and lines, never values

log = structlog.get_logger(__name__)


class LoopWatch:
    """Beats, and tells how many seconds went by without a beat when these are STALL_S or more."""

    def __init__(self, clock: Clock, stalled: Callable[[float], None]) -> None:
        self._clock, self._stalled = clock, stalled
        self._loop = asyncio.get_running_loop()
        self.beat_at = clock.wire()
        self._latest = 0.0
        self._handle = self._loop.call_later(BEAT_S, self._beat)

    def close(self) -> None:
        """Beat no more."""
        self._handle.cancel()

    def take_lag_ms(self) -> int:
        """How late the latest beat since the last call was, in milliseconds."""
        latest, self._latest = self._latest, 0.0
        return round(latest * 1000)

    def _beat(self) -> None:
        now = self._clock.wire()
        stood, self.beat_at = now - self.beat_at, now
        self._latest = max(self._latest, stood - BEAT_S)
        self._handle = self._loop.call_later(BEAT_S, self._beat)
        if stood >= STALL_S:
            self._stalled(stood)


class Witness:
    """A thread that logs, once for each stall, what the thread of the loop is doing."""

    def __init__(self, watch: LoopWatch, clock: Clock) -> None:
        self._watch, self._clock = watch, clock
        self._loop_thread = threading.get_ident()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        seen = woke = self._clock.wire()
        while not self._end.wait(LOOK_S):
            slept, woke = self._clock.wire() - woke, self._clock.wire()
            beat_at = self._watch.beat_at
            whole_process = slept >= STALL_S  # suspended, stopped, or without a processor: the loop is not to blame
            if woke - beat_at >= STALL_S and beat_at != seen and not whole_process:
                seen = beat_at
                log.warning("loop.busy", since_s=round(woke - beat_at, 2), at=self._calls())

    def _calls(self) -> list[str]:
        frame = sys._current_frames().get(self._loop_thread)
        calls = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        return [f"{call.filename}:{call.lineno} {call.name}" for call in calls]
