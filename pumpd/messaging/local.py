"""The local Unix socket: the same verbs and messages as the bus, alive when the broker is dead (S13).

One JSON object a line. `{"verb": ..., fields of a request}` is answered by its `ack` objects until a final one;
`{"subscribe": [filters]}` streams `{"topic": ..., "payload": ...}`, the present retained messages first. Topics stand
under the station's prefix. Who may open the socket file may command: its permissions are the authority.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import socket
import stat
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from pumpd.clock import Clock
from pumpd.messaging.encode import NotJson, from_json, timestamp, to_json
from pumpd.messaging.messages import MAX_MESSAGE_BYTES, matches
from pumpd.messaging.requests import UUID

SOCKET_MODE = 0o660  # owner and group: the clinic's technician puts the nurses' account into the group
TTL_MS = 5000  # filled in where the sender leaves it out; no network lies between
WAITING_MAX_BYTES = 256 * 1024  # about 400 messages a reader may lag behind before it loses some
LOST_MAX = 200  # messages lost in a row before a reader is cut off: it is asleep, and will start anew when it wakes
FILTERS_MAX = 100  # each new topic is held against all of them, on the loop that supervises
LINE_MAX = 2 * MAX_MESSAGE_BYTES  # a message in its wrapping

log = structlog.get_logger(__name__)

OnCommand = Callable[[str, bytes, bool, float], None]  # verb, payload, retained (never), wire time of arrival


class SocketBusy(Exception):
    """Another process answers on the socket, or the path cannot be one; the message says which."""


class LocalServer:
    """Serves the socket and is a sink of all published messages."""

    def __init__(self, path: Path, on_command: OnCommand, clock: Clock) -> None:
        """`on_command` is a plain call whose answers are published on `ack/<id>`."""
        self._path = path
        self._on_command = on_command
        self._clock = clock
        self._retained: dict[str, bytes] = {}
        self._readers: dict[_Reader, asyncio.Task[None]] = {}
        self._asked: dict[str, _Reader] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket. Raises SocketBusy when somebody listens there or the path is taken."""
        line = _listening(self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=line, limit=LINE_MAX)

    async def stop(self) -> None:
        """Close all connections and remove the socket file."""
        if self._server is None:
            return
        self._server.close()
        for reader in self._readers:
            reader.cut()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        """Take a published message; a reader that does not keep up loses it and is cut off at LOST_MAX."""
        if retain:
            self._retained[topic] = payload
            if not payload:
                del self._retained[topic]
        if not self._readers:
            return
        if topic.startswith("ack/") and (asker := self._asked.get(topic[4:])) is not None:
            asker.say(payload)
        for reader in [reader for reader in self._readers if reader.wants(topic)]:
            reader.say(_wrapped(topic, payload))

    async def _serve(self, lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader = _Reader(writer)
        self._readers[reader] = _this_task()
        try:
            while line := await lines.readline():
                if line.strip():
                    self._hear(line, reader)
                await asyncio.sleep(0)  # a reader's buffer holds thousands of lines, and beds are waiting
        except ConnectionError:
            log.info("local.reader_gone", user=reader.user)
        except ValueError:  # the stream's word for a line beyond its limit
            reader.refuse(f"a line has at most {LINE_MAX} bytes")
        finally:
            del self._readers[reader]
            self._asked = {asked: by for asked, by in self._asked.items() if by is not reader}
            await reader.close()

    def _hear(self, line: bytes, reader: _Reader) -> None:
        try:
            fields = from_json(line)
        except NotJson as error:
            reader.refuse(f"not JSON: {error}")
            return
        if not isinstance(fields, dict):
            reader.refuse("a line is one JSON object")
        elif "subscribe" in fields:
            self._subscribe(fields["subscribe"], reader)
        elif isinstance(verb := fields.pop("verb", None), str):
            self._command(verb, fields, reader)
        else:
            reader.refuse("verb: missing; a line names a verb or topics to subscribe")

    def _subscribe(self, filters: object, reader: _Reader) -> None:
        if not isinstance(filters, list) or not all(isinstance(one, str) for one in filters):
            reader.refuse("subscribe: must be a list of topic filters")
            return
        if reader.filters + len(filters) > FILTERS_MAX:
            reader.refuse(f"subscribe: a connection has at most {FILTERS_MAX} topic filters")
            return
        reader.subscribe(filters)
        for topic, payload in self._retained.items():
            if reader.wants(topic):
                reader.say(_wrapped(topic, payload))

    def _command(self, verb: str, fields: dict[str, object], reader: _Reader) -> None:
        request_id = fields.setdefault("id", str(uuid.uuid4()))
        if not isinstance(request_id, str) or not re.fullmatch(UUID, request_id):
            reader.refuse("id: must be a UUID in lower case")
            return
        fields.setdefault("issued_ts", timestamp(self._clock.wall()))
        fields.setdefault("ttl_ms", TTL_MS)
        fields.setdefault("actor", reader.user)
        fields.setdefault("role", "local")
        fields["origin"] = "local"
        payload = to_json(fields).encode()
        if len(payload) > MAX_MESSAGE_BYTES:
            reader.refuse(f"a request has at most {MAX_MESSAGE_BYTES} bytes")
            return
        self._asked[request_id] = reader
        self._on_command(verb, payload, False, self._clock.wire())


class _Reader:
    """One connection: what it wants, how far it lags, who it is."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._filters: list[str] = []
        self._wanted: dict[str, bool] = {}
        self._lost = 0
        self.user = _user(writer.get_extra_info("socket"))

    @property
    def filters(self) -> int:
        """How many it has."""
        return len(self._filters)

    def subscribe(self, filters: list[str]) -> None:
        self._filters += filters
        self._wanted.clear()

    def wants(self, topic: str) -> bool:
        wanted = self._wanted.get(topic)
        if wanted is None:
            wanted = self._wanted[topic] = any(matches(one, topic) for one in self._filters)
        return wanted

    def say(self, line: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > WAITING_MAX_BYTES:
            self._lost += 1
            if self._lost > LOST_MAX:
                log.warning("local.reader_cut_off", user=self.user, lost=self._lost)
                self.cut()
            return
        self._lost = 0
        self._writer.write(line + b"\n")

    def refuse(self, text: str) -> None:
        self.say(to_json({"state": "rejected", "reason": "malformed", "text": text}).encode())

    def cut(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class LocalClient:
    """The other end, for the command line: `async with LocalClient(path) as client`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> Self:
        """Raise FileNotFoundError or ConnectionRefusedError when no daemon is there."""
        self._lines, self._writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def request(self, verb: str, fields: Mapping[str, object] | None = None) -> AsyncIterator[dict[str, Any]]:
        """Send one request and yield its answers, the final one last. Raises ConnectionError when the daemon goes."""
        await self._send({"verb": verb, **(fields or {})})
        while True:
            answer = await self._receive()
            yield answer
            if answer.get("state") not in ("accepted", "started", "unknown"):
                return

    async def subscribe(self, *filters: str) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
        """Yield topic and message, the present retained ones first; None says the topic was emptied."""
        await self._send({"subscribe": list(filters)})
        while True:
            message = await self._receive()
            if "topic" not in message:
                raise ValueError(message.get("text", "the daemon refused the subscription"))
            yield message["topic"], message["payload"]

    async def _send(self, line: Mapping[str, object]) -> None:
        self._writer.write(to_json(line).encode() + b"\n")
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any]:
        line = await self._lines.readline()
        if not line:
            raise ConnectionError("the daemon closed the local socket")
        message = from_json(line)
        if not isinstance(message, dict):
            raise NotJson("the daemon sent no object")
        return message


def _wrapped(topic: str, payload: bytes) -> bytes:
    return b'{"topic":' + to_json(topic).encode() + b',"payload":' + (payload or b"null") + b"}"


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None  # only called from a connection's own task
    return task


def _user(line: socket.socket) -> str:
    """Who connected, by the kernel's word."""
    _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _listening(path: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(path)
        before = os.umask(0o777 & ~SOCKET_MODE)  # no instant in which others may connect
        try:
            line.bind(str(path))
        finally:
            os.umask(before)
        line.listen()
        line.setblocking(False)
    except OSError as error:
        line.close()
        raise SocketBusy(f"{path}: cannot be opened as the local socket: {error}") from None
    except SocketBusy:
        line.close()
        raise
    return line


def _make_way(path: Path) -> None:
    """Remove a socket file that nobody listens on."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise SocketBusy(f"{path}: is a file, not a socket; remove it or choose another local socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)  # a listening daemon takes the connection at once, even one that is stopped
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SocketBusy(f"{path}: cannot tell whether somebody listens there: {error}") from None
    raise SocketBusy(f"{path}: another pumpd listens on the local socket; stop it first or give this one its own path")
