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

THINK_MAX_S = 0.25  # CPU seconds; a decision takes some 0.05 ms, and no bed's poll (1 s) is missed in this time


class ThoughtTooLong(Exception):
    """A decision used more CPU time than THINK_MAX_S."""


class Budget:
    """Runs a call and interrupts it when it computes too long. Outside of the main thread it only calls."""

    def __init__(self, seconds: float = THINK_MAX_S) -> None:
        self._seconds = seconds
        self._armed = False
        self._usable = threading.current_thread() is threading.main_thread()
        if self._usable:
            signal.signal(signal.SIGVTALRM, self._ring)

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call. Raises ThoughtTooLong, or what the call raises."""
        if not self._usable:
            return call(*args, **kwargs)
        self._armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)
        try:
            return call(*args, **kwargs)
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)

    def _ring(self, _signum: int, _frame: FrameType | None) -> None:
        if self._armed:  # a signal that was under way when the call ended must not hit whoever runs next
            self._armed = False
            raise ThoughtTooLong(f"deciding took more than {self._seconds} s of computing")
