"""A device behind a real pseudo-terminal, in real time."""

from __future__ import annotations

import asyncio
import os
import time
import tty
from contextlib import suppress
from types import TracebackType
from typing import Self

from pumpd.testing.memory_port import Peer

READ_SIZE = 65536
SHORTEST_S = 0.001


class PtyLine:
    """Use as a context in a running loop; `path` is what the daemon opens. `pull`, `plug` and `crackle` disturb it."""

    def __init__(self, device: Peer) -> None:
        self.device = device
        self.path = ""
        self._loop = asyncio.get_running_loop()
        self._host = self._far = -1
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pull()

    def plug(self) -> None:
        """A fresh pseudo-terminal, under a name of its own."""
        self._host, self._far = os.openpty()  # the far end stays open: else reading fails while nobody has opened it
        tty.setraw(self._far)
        os.set_blocking(self._host, False)
        self.path = os.ttyname(self._far)
        self._loop.add_reader(self._host, self._heard)
        self._turn()

    def pull(self) -> None:
        """Hang up."""
        if self._host < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._host)
        os.close(self._host)
        os.close(self._far)
        self._host = self._far = -1
        self.path = ""

    def crackle(self, noise: bytes) -> None:
        """Bytes that nobody said."""
        os.write(self._host, noise)

    def _heard(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._host, READ_SIZE)
            self.device.receive(data, time.monotonic())
        self._turn()

    def _turn(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._host < 0:
            return
        now = time.monotonic()
        self.device.advance(now)
        if said := self.device.outgoing(now):
            with suppress(BlockingIOError):  # what nobody reads is lost, as on a real line
                os.write(self._host, said)
        if (wake := self.device.next_wake(now)) is not None:
            self._timer = self._loop.call_later(max(SHORTEST_S, wake - now), self._turn)
