"""A limit on how long a bed may think, so that one bed's endless loop never takes the others' pumps with it (S16).

Deciding is pure computation on the shared loop. If it does not come back, nothing on the loop can interrupt it, but a
signal can: the interval timer of the process' own CPU time fires inside the endless loop and raises there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

RINGS = 8  # of the clock in one thought of that length; it is found too long a ring early at most
THINK_MAX_S = 0.25  # CPU seconds; a decision takes some 0.05 ms, and no bed's poll (1 s) is missed in this time


class ThoughtTooLong(Exception):
    """A decision used more CPU time than THINK_MAX_S."""


class Budget:
    """Runs a call and interrupts it when it computes too long. Outside of the main thread it only calls.

    One clock rings all the time and a thought counts the rings it hears: setting a timer for each thought would cost
    more than most thoughts do.
    """

    def __init__(self, seconds: float = THINK_MAX_S) -> None:
        self._seconds = seconds
        self._thinking = False
        self._rung = 0
        self._usable = threading.current_thread() is threading.main_thread()
        if self._usable:
            signal.signal(signal.SIGVTALRM, self._ring)
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds / RINGS, seconds / RINGS)

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. Raises ThoughtTooLong, or what the call raises."""
        self._rung, self._thinking = 0, self._usable
        try:
            return call(*args, **kwargs)
        finally:
            self._thinking = False

    def _ring(self, _signum: int, _frame: FrameType | None) -> None:
        self._rung += 1
        if self._thinking and self._rung >= RINGS:
            self._thinking = False
            raise ThoughtTooLong(f"deciding took more than {self._seconds} s of computing")
