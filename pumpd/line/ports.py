"""Opens a port as a pipe of bytes: serial and pty paths, socket://, rfc2217:// and memory://.

The only module that imports pyserial. pyserial opens, configures and locks; reading and writing go through the event
loop on a duplicate of its descriptor, because pyserial's own read costs five descriptors and a `select` per port.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import termios
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import serial
import structlog
from serial import rfc2217

from pumpd.driver import Line
from pumpd.line.talk import Pipe

T = TypeVar("T")

READ_SIZE = 4096  # bytes; the Linux tty buffer, so one read empties it
UNSENT_MOST = 65536  # bytes; no pump is asked that much: a port that does not drain is lost
CONNECT_TIMEOUT_S = 5.0  # a terminal server on the same network answers within milliseconds; a dead one never does
THREAD_POLL_S = 0.2  # how soon the rfc2217 reader notices that its port was closed

Receive: TypeAlias = Callable[[bytes], None]
Lost: TypeAlias = Callable[[str], None]
PortProblem: TypeAlias = Literal["missing", "busy", "no_permission", "refused", "other"]

memory: dict[str, Callable[[Receive, Lost], Awaitable[Pipe]]] = {}  # memory://name; filled by tests and demos

log = structlog.get_logger(__name__)


class PortError(Exception):
    """A port cannot be opened. The text says to a technician what is wrong and what to do."""

    def __init__(self, kind: PortProblem, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


async def open_port(url: str, line: Line, baud: int | None, receive: Receive, lost: Lost) -> Pipe:
    """Open `url` and hand over its bytes; `lost` is called once, with words, when the port goes away by itself.

    `baud` overrides the baud rate of the family. Raises PortError. Nothing is called before this returns.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        if parts.netloc not in memory:
            raise PortError("missing", f"{url}: no such memory port; known: {', '.join(sorted(memory)) or 'none'}")
        return await memory[parts.netloc](receive, lost)
    if parts.scheme in ("socket", "rfc2217"):
        host, port = _address(url)
        if parts.scheme == "socket":
            return await _open_socket(url, host, port, receive, lost)
        return await _open_rfc2217(url, line, baud or line.baud, receive, lost)
    if not url.startswith("/"):
        raise PortError("other", f"{url}: expected /dev/..., socket://host:port, rfc2217://host:port or memory://name")
    descriptor = await _in_thread(lambda: _open_serial(url, line, baud or line.baud), os.close)
    return _SerialPipe(url, descriptor, receive, lost)


# --- serial ports and ptys ------------------------------------------------------------------------------------------


def _open_serial(path: str, line: Line, baud: int) -> int:
    """A locked, configured, non-blocking descriptor; line settings and lock live on in the duplicate."""
    bytesize, parity = (8, "N") if _is_pty(path) else (line.bytesize, line.parity)
    try:
        port = serial.Serial(
            path, baudrate=baud, bytesize=bytesize, parity=parity, stopbits=line.stopbits, exclusive=True
        )
    except ValueError as error:
        raise PortError("other", f"{path}: the line settings do not suit this port: {error}") from error
    except (OSError, termios.error) as error:  # pyserial's own error is an OSError
        raise _why_not_opened(path, error) from error
    with port:
        try:
            port.set_low_latency_mode(True)
        except (ValueError, OSError) as error:
            log.debug("port.no_low_latency", port=path, why=str(error))  # a pty, or an adapter that needs none
        descriptor = os.dup(port.fileno())
    settings = termios.tcgetattr(descriptor)
    settings[6][termios.VMIN] = 1  # with 0 an empty read would mean "nothing yet" as well as "hung up"
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)
    os.set_blocking(descriptor, False)
    return descriptor


def _is_pty(path: str) -> bool:
    """A pty has 8 bits and no parity; asked for others, it opens once, and the C library refuses the next opening."""
    return os.path.realpath(path).startswith("/dev/pts/")


def _why_not_opened(path: str, error: Exception) -> PortError:
    code = error.errno if isinstance(error, OSError) else error.args[0]
    if code == errno.ENOENT:
        return PortError("missing", f"{path}: no such port; is the adapter plugged in?")
    if code in (errno.ENXIO, errno.ENODEV, errno.EIO):
        return PortError("missing", f"{path}: nothing is connected behind this port; is the adapter plugged in?")
    if code in (errno.EACCES, errno.EPERM):
        return PortError("no_permission", f"{path}: this user may not open it; {_group_advice(path)}")
    if code in (errno.EAGAIN, errno.EBUSY):
        return PortError("busy", f"{path}: in use by {_holders(path)}")
    if code in (errno.ENOTTY, errno.EINVAL, errno.EISDIR) or "Could not configure port" in str(error):
        return PortError("other", f"{path}: is not a serial port ({error})")
    return PortError("other", f"{path}: {error}")


def _group_advice(path: str) -> str:
    try:
        group = grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "ask the administrator for access"
    return f"add the user to the group '{group}' and log in again"


def _holders(path: str) -> str:
    """Who has the port open, in words. Other users' programs can be named by root only."""
    names = sorted(_described(pid) for pid in _lock_owners(path) | _openers(path))
    return " and ".join(names) or f"another program ('sudo fuser -v {path}' tells which)"


def _described(pid: int) -> str:
    if pid == os.getpid():
        return f"this program itself (pid {pid})"
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def _lock_owners(path: str) -> set[int]:
    """Owners of a lock on the port; readable by everybody, but a descriptor passed on keeps its first owner here."""
    owners: set[int] = set()
    with suppress(OSError):
        inode = os.stat(path).st_ino
        for row in Path("/proc/locks").read_text().splitlines():
            words = row.split()  # 1: FLOCK ADVISORY WRITE 1234 00:16:5 0 EOF
            if "FLOCK" in words and words[-3].endswith(f":{inode}") and words[-4].isdigit():
                owners.add(int(words[-4]))
    return {pid for pid in owners if _is_open_in(pid, path) is not False}


def _openers(path: str) -> set[int]:
    return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_open_in(int(p.name), path)}


def _is_open_in(pid: int, path: str) -> bool | None:
    """Has process `pid` the port open? None: may not be looked into."""
    device = os.path.realpath(path)
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return None
    except OSError:
        return False
    for link in links:
        with suppress(OSError):
            if os.readlink(link) == device:
                return True
    return False


class _SerialPipe:
    """A descriptor of a tty in the event loop."""

    def __init__(self, path: str, descriptor: int, receive: Receive, lost: Lost) -> None:
        self._path, self._descriptor, self._receive, self._lost = path, descriptor, receive, lost
        self._unsent = bytearray()
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._readable)

    def write(self, data: bytes) -> None:
        if not self._open:
            return
        if self._unsent:  # order is kept: a packet half written is finished first, or the next one would be garbled
            self._unsent += data
            if len(self._unsent) > UNSENT_MOST:
                self._fail("the port does not take bytes any more")
            return
        rest = data[self._write_some(data) :]
        if rest and self._open:
            self._unsent += rest
            self._loop.add_writer(self._descriptor, self._writable)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            with suppress(termios.error):  # else the close waits for bytes that no one reads
                termios.tcflush(self._descriptor, termios.TCOFLUSH)
            os.close(self._descriptor)

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(f"the port went away ({error.strerror})")
            return
        if data:
            self._receive(data)
        else:
            self._fail("the port hung up")

    def _write_some(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._descriptor, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._fail(f"the port went away ({error.strerror})")
            return 0

    def _writable(self) -> None:
        del self._unsent[: self._write_some(self._unsent)]
        if self._open and not self._unsent:
            self._loop.remove_writer(self._descriptor)

    def _fail(self, why: str) -> None:
        self.close()  # removes the reader first: a hung-up descriptor is readable for ever and would spin the loop
        self._loop.call_soon(self._lost, f"{self._path}: {why}")


# --- network ports --------------------------------------------------------------------------------------------------


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    with suppress(ValueError):
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise PortError("other", f"{url}: expected {parts.scheme}://host:port")


async def _open_socket(url: str, host: str, port: int, receive: Receive, lost: Lost) -> Pipe:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, pipe = await loop.create_connection(lambda: _SocketPipe(url, receive, lost), host, port)
    except TimeoutError as error:
        raise PortError("missing", f"{url}: no answer within {CONNECT_TIMEOUT_S:g} s; is the server on?") from error
    except OSError as error:
        raise _why_not_connected(url, error) from error
    return pipe


def _why_not_connected(url: str, error: OSError) -> PortError:
    if isinstance(error, ConnectionRefusedError):
        return PortError("refused", f"{url}: connection refused; nothing listens at this address")
    return PortError("missing", f"{url}: cannot be reached ({error.strerror or error})")


class _SocketPipe(asyncio.Protocol):
    """A TCP connection. asyncio sets TCP_NODELAY on every TCP transport, so a packet never waits for an ACK."""

    def __init__(self, url: str, receive: Receive, lost: Lost) -> None:
        self._url, self._receive, self._lost = url, receive, lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._lost(f"{self._url}: " + (f"connection lost ({exc})" if exc else "the other side hung up"))

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()  # an order not sent yet must not leave after the link gave it up


async def _open_rfc2217(url: str, line: Line, baud: int, receive: Receive, lost: Lost) -> Pipe:
    def opened() -> rfc2217.Serial:
        try:
            return rfc2217.Serial(
                url,
                baudrate=baud,
                bytesize=line.bytesize,
                parity=line.parity,
                stopbits=line.stopbits,
                timeout=THREAD_POLL_S,
            )
        except (OSError, ValueError) as error:
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            if isinstance(cause, ConnectionRefusedError):
                raise _why_not_connected(url, cause) from error
            raise PortError("other", f"{url}: {error}") from error

    return _ThreadedPipe(url, await _in_thread(opened, lambda port: port.close()), receive, lost)


class _ThreadedPipe:
    """pyserial's RFC 2217 client blocks, so one thread reads and one writes; both speak to the loop only."""

    def __init__(self, url: str, port: rfc2217.Serial, receive: Receive, lost: Lost) -> None:
        self._url, self._port, self._receive, self._lost = url, port, receive, lost
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"{url} read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"{url} write")
        self._reader.submit(self._read_on)

    def write(self, data: bytes) -> None:
        if self._open:
            self._writer.submit(self._write, data)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._reader.shutdown(wait=False)
            self._writer.shutdown(wait=False, cancel_futures=True)
            # pyserial joins its own thread here, which takes a while: not in the loop
            self._loop.run_in_executor(None, self._port.close)

    def _read_on(self) -> None:
        try:
            while self._open:
                data = self._port.read(1) + self._port.read(self._port.in_waiting)
                if data:
                    self._in_loop(self._deliver, bytes(data))
        except (OSError, TypeError) as error:  # TypeError: pyserial's socket is None once it is closed
            self._in_loop(self._fail, str(error))

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (OSError, AttributeError) as error:  # AttributeError: closed meanwhile, as above
            self._in_loop(self._fail, str(error))

    def _in_loop(self, call: Callable[[Any], None], what: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call, what)

    def _deliver(self, data: bytes) -> None:
        if self._open:
            self._receive(data)

    def _fail(self, why: str) -> None:
        if self._open:
            self.close()
            self._lost(f"{self._url}: {why}")


async def _in_thread(open_it: Callable[[], T], close_it: Callable[[T], None]) -> T:
    """Run a blocking open in a thread; what it opened is closed again when nobody waits for it any more."""
    opening = asyncio.get_running_loop().run_in_executor(None, open_it)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: None if done.exception() else close_it(done.result()))
        raise
