"""Virtual time: an event loop whose clock runs only while nobody has anything to do.

It serves memory ports only. A pty or a socket under virtual time gives false time-outs, because the clock
runs on while the kernel still carries the bytes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

VIRTUAL_START_S = 1000.0  # not 0, so that code which takes 0 for "never" shows itself
VIRTUAL_WALL_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Deadlock(RuntimeError):
    """Virtual time cannot go on: nothing is ready, nothing is scheduled, and no thread owes an answer."""


class _VirtualSelector(selectors.BaseSelector):
    """Asks the real descriptors first; when none is ready, the clock jumps to the next timer."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = VIRTUAL_START_S
        self.owed = 0  # answers that threads still owe; the clock stands while there are any

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        busy = timeout is not None and timeout <= 0
        if busy and not self.owed:
            return []  # the descriptors are asked when the work is done, before the clock moves
        ready = self._real.select(0)
        if ready or busy:
            return ready
        if self.owed:
            return self._real.select(None)
        if timeout is None:
            raise Deadlock(
                "virtual time stands still: nothing is ready and nothing is scheduled, so all tasks wait for ever"
            )
        self.now += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nobody has anything to do. 45 minutes take as long as their work."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As ever, and the clock stands until the thread has answered."""
        answer: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._virtual.owed += 1
        answer.add_done_callback(self._answered)
        return answer

    async def shutdown_default_executor(self) -> None:
        """As ever; it waits for a thread too."""
        self._virtual.owed += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._virtual.owed -= 1

    def _answered(self, _: object) -> None:
        self._virtual.owed -= 1


class VirtualClock:
    """The clock that goes with the running loop: wire time is the loop's, wall time starts at a fixed moment."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, boot_id: str = "virtual boot") -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._start = self._loop.time()
        self.boot_id = boot_id
        self.wire: Callable[[], float] = self._loop.time

    def wall(self) -> datetime:
        """UTC, counted from 2026-01-05 09:00."""
        return VIRTUAL_WALL_START + timedelta(seconds=self._loop.time() - self._start)
