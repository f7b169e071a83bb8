"""Joins a link of the daemon to a simulated device in the same loop, without a port of the system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol

from pumpd.line.ports import PortError


class Peer(Protocol):
    """A device that has no port and no clock of its own. All times are wire seconds."""

    @property
    def connected(self) -> bool:
        """False while the device's end of the line is pulled out."""

    def receive(self, data: bytes, at: float) -> None:
        """Take bytes from the host."""

    def advance(self, at: float) -> None:
        """Let the device live until `at`."""

    def outgoing(self, at: float) -> bytes:
        """The bytes that have left the device by `at`, each once."""

    def next_wake(self, at: float) -> float | None:
        """When the device wants to be advanced next; None: only when bytes come."""


class MemoryPort:
    """Joins a link to a device in the same loop. `written` records (wire time, bytes) of everything the host sent."""

    def __init__(self, peer: Peer, name: str = "memory://test") -> None:
        self.peer, self.name = peer, name
        self.written: list[tuple[float, bytes]] = []
        self.opened = 0
        self._plugged = True
        self._pipe: _MemoryPipe | None = None

    @property
    def sent(self) -> list[bytes]:
        """What the host wrote, without the times."""
        return [data for _, data in self.written]

    async def open(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> _MemoryPipe:
        """The `open_pipe` of a link. Raises PortError while plugged out at either end, or already open."""
        self.peer.advance(asyncio.get_running_loop().time())
        if not self._plugged or not self.peer.connected:
            raise PortError("missing", f"{self.name}: no such port; is the adapter plugged in?")
        if self._pipe is not None:
            raise PortError("busy", f"{self.name}: in use by this program itself")
        self.opened += 1
        self._pipe = _MemoryPipe(self, receive, lost)
        self._pipe.open_line()
        return self._pipe

    def plug_out(self) -> None:
        """Pull the plug: the link is told, the device lives on."""
        self._plugged = False
        if self._pipe is not None:
            self._pipe.hang_up(f"{self.name}: the port went away")

    def plug_in(self) -> None:
        """Put the plug back; the link finds it at its next try."""
        self._plugged = True

    def inject(self, data: bytes) -> None:
        """Bytes that appear on the line by themselves."""
        if self._pipe is not None:
            self._pipe.deliver(data)

    def poke(self) -> None:
        """Look at the device again now, after a test changed it behind the link's back."""
        if self._pipe is not None:
            self._pipe.turn(self._pipe.now())

    def released(self) -> None:
        """The host closed its end."""
        self._pipe = None


class _MemoryPipe:
    """One opening of a memory port. Bytes arrive in a later turn of the loop, as they do from a descriptor."""

    def __init__(self, port: MemoryPort, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._port, self._peer, self._receive, self._lost = port, port.peer, receive, lost
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = inf  # when the device wants to be looked at
        self._open = True

    def open_line(self) -> None:
        now = self.now()
        self._peer.advance(now)
        self._peer.outgoing(now)  # said while nobody listened
        self._schedule(now)

    def write(self, data: bytes) -> None:
        if self._open:
            now = self.now()
            self._port.written.append((now, data))
            self._peer.advance(now)
            self._peer.receive(data, now)
            self.turn(now)

    def close(self) -> None:
        if self._open:
            self._open = False
            if self._wake is not None:
                self._wake.cancel()
            self._port.released()

    def hang_up(self, reason: str) -> None:
        self.close()
        self._loop.call_soon(self._lost, reason)

    def deliver(self, data: bytes) -> None:
        self._loop.call_soon(self._give, data)

    def turn(self, now: float) -> None:
        self._peer.advance(now)
        data = self._peer.outgoing(now)
        if data:
            self.deliver(data)
        if self._peer.connected:
            self._schedule(now)
        else:
            self.hang_up(f"{self._port.name}: the other side hung up")

    def _give(self, data: bytes) -> None:
        if self._open:
            self._receive(data)

    def _schedule(self, now: float) -> None:
        wake_at = self._peer.next_wake(now)
        self._wake_at = inf if wake_at is None else wake_at
        if self._wake is not None and self._wake_at >= self._wake.when():
            return  # it looks again when it fires: devices put their next moment off far more often than they reach it
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._wake_at < inf:
            self._wake = self._loop.call_at(self._wake_at, self._woken, self._wake_at)

    def _woken(self, armed_for: float) -> None:
        self._wake = None
        now = max(self.now(), armed_for)  # a timer may fire a rounding error early, which would ask again for ever
        if now >= self._wake_at:
            self.turn(now)
        else:
            self._set_alarm()
