"""Offers devices to the world: each behind its own pty or TCP port, all in one event loop.

The way of a query is short on purpose: read, `receive`, `outgoing`, write, in one callback and without a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

READ_SIZE = 4096  # what a Linux pty holds


class PortError(OSError):
    """A port cannot be offered; says which and why."""


class FarEnd(Protocol):
    """What is at the far end of a served line: a simulated pump, or one that says again what a log holds."""

    @property
    def connected(self) -> bool:
        """False while the line is unplugged."""

    def receive(self, data: bytes, at: float) -> None:
        """Take bytes at this wire time."""

    def advance(self, at: float) -> None:
        """Let time pass."""

    def outgoing(self, at: float) -> bytes:
        """Give the bytes that are due."""

    def next_wake(self, at: float) -> float | None:
        """When to ask again without being written to."""


class Port(ABC):
    """One served line with the device at its far end."""

    def __init__(self, device: FarEnd) -> None:
        self.device = device
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._up = False

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client finds this port."""

    @abstractmethod
    async def open(self) -> None:
        """Offer the port. PortError when it cannot be."""

    @abstractmethod
    def _write(self, data: bytes) -> None: ...

    @abstractmethod
    def _hang_up(self) -> None: ...

    @abstractmethod
    def _offer_again(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Take the port away and leave nothing behind."""

    def heard(self, data: bytes) -> None:
        """Give the device what the client wrote, and the client what is ready."""
        now = self._loop.time()
        self.device.receive(data, now)
        self._deliver(now)

    def poke(self) -> None:
        """Look after the device now: time has passed or the back door changed something."""
        now = self._loop.time()
        self.device.advance(now)
        self._deliver(now)

    def _deliver(self, now: float) -> None:
        device = self.device
        data = device.outgoing(now)
        if device.connected != self._up:
            self._follow_plug()
        if data and self._up:
            self._write(data)
        wake = device.next_wake(now)
        if wake is not None and (self._timer is None or wake < self._timer.when()):
            self._stop_timer()
            self._timer = self._loop.call_at(wake, self._on_timer)

    def _follow_plug(self) -> None:
        self._up = self.device.connected
        if self._up:
            self._offer_again()
        else:
            self._hang_up()

    def _on_timer(self) -> None:
        self._timer = None
        self.poke()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PtyPort(Port):
    """A pseudo-terminal under a stable name: `path` is a symlink to it."""

    def __init__(self, device: FarEnd, path: str) -> None:
        super().__init__(device)
        self.path = Path(os.path.abspath(path))
        self._master = -1
        self._tty = ""
        self._slave = -1  # held open: without it the master reads EIO whenever no client has the port open

    @property
    def url(self) -> str:
        """The path of the link."""
        return str(self.path)

    async def open(self) -> None:
        """Make the pty and its link. PortError when the path is taken by something else."""
        if self._is_taken():
            raise PortError(f"{self.path}: exists and is no link to a pty; it is left alone")
        if not self.path.parent.is_dir():
            raise PortError(f"{self.path}: the folder {self.path.parent} does not exist")
        self._up = True
        self._offer_again()
        self.poke()

    def _is_taken(self) -> bool:
        if self.path.is_symlink():
            return not os.readlink(self.path).startswith("/dev/pts/")  # a link that a killed simulator left is ours
        return self.path.exists()

    def _offer_again(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._tty = os.ttyname(self._slave)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self._tty)
        fresh.replace(self.path)  # at once: a client finds a working pty or nothing, never half a link
        self._loop.add_reader(self._master, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self.heard(data)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # no flow control: what nobody reads is lost, as on the real line
            os.write(self._master, data)

    def _hang_up(self) -> None:
        if self.path.is_symlink() and os.readlink(self.path) == self._tty:
            self.path.unlink()  # first: the number of a closed pty may soon belong to somebody else's
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def close(self) -> None:
        """Close the pty and remove the link, unless somebody else has put theirs there."""
        self._stop_timer()
        if self._master >= 0:
            self._hang_up()


class TcpPort(Port):
    """A TCP port such as a serial-to-Ethernet bridge offers: one client at a time, a second is turned away."""

    def __init__(self, device: FarEnd, host: str, port: int) -> None:
        super().__init__(device)
        self.host = host
        self.port = port
        self.client: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """A pyserial URL."""
        return f"socket://{self.host}:{self.port}"

    async def open(self) -> None:
        """Listen; `port` is then the real one. PortError when the address cannot be had."""
        try:
            self._server = await self._loop.create_server(lambda: _Client(self), self.host, self.port)
        except OSError as problem:
            raise PortError(f"{self.host}:{self.port}: {problem.strerror or problem}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._up = True
        self.poke()

    def accept(self, client: asyncio.Transport) -> bool:
        """Take a client unless the line is unplugged or in use."""
        if not self._up or self.client is not None:
            return False
        self.client = client
        return True

    def _write(self, data: bytes) -> None:
        if self.client is not None:
            self.client.write(data)

    def _hang_up(self) -> None:
        if self.client is not None:
            self.client.abort()

    def _offer_again(self) -> None:
        """Nothing to do: the server still listens, and `accept` says yes again."""

    def close(self) -> None:
        """Hang up and stop listening."""
        self._stop_timer()
        self._hang_up()
        if self._server is not None:
            self._server.close()


class _Client(asyncio.Protocol):
    """One connection, accepted or turned away."""

    def __init__(self, port: TcpPort) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._port.accept(transport):
            self._transport = transport
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._port.heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._port.client = None


def swap(first: Port, second: Port) -> None:
    """Exchange the pumps behind two ports, as a wrong hand at the cables would."""
    for port in (first, second):
        port.poke()
    first.device, second.device = second.device, first.device
    for port in (first, second):
        port.poke()
