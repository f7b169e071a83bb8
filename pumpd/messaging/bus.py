"""The broker's keeper: connects, gives the birth in the contract's order, sends the outbox, hears commands.

The only module that imports the MQTT client. Nothing here is awaited by the control code: `publish` is a plain call
and the loss of the broker is an event (docs/mqtt.md, "Connecting").
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import structlog
from paho.mqtt.client import Client as Paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pumpd.clock import Clock
from pumpd.messaging.encode import NotJson, from_json, timestamp
from pumpd.messaging.messages import as_replayed, prefix
from pumpd.messaging.outbox import Outbox, Parcel
from pumpd.messaging.requests import STOPPING

KEEPALIVE_S = 10  # contract, connecting: the broker publishes the will after 1.5 times this silence
ANSWER_TIMEOUT_S = 3.0  # CONNACK, SUBACK, the last PUBACK; a broker slower than this is no help to a bed
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.5, 15.0  # contract, connecting
GIVE_WAY_S = 60.0  # contract, connecting: another daemon holds this station
IN_FLIGHT = 200  # handed to the client and not yet written or acknowledged; the client itself limits QoS 1 to 20
HELD_MAX = 100  # commands that arrive during the birth, which lasts milliseconds
PROTOCOL_REFUSED = frozenset({1, 132})  # CONNACK of a 3.1.1 broker, and of a broker that speaks 5 to say it will not
SESSION_TAKEN_OVER = 142  # MQTT 5, 3.14.2.1: another client connected with our client id
NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)  # without it a message right behind another waits 40 ms

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OtherMaster:
    """Another process that speaks for this station; None where it did not say."""

    boot_id: str | None
    host: str | None
    started_ts: str | None


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the bus asks of the daemon. All are plain calls on the loop and must return at once."""

    announce: Callable[[], None]  # publish `status` online
    birth: Callable[[], None]  # publish info, descriptions, connections, sessions, alarms: all that is retained
    farewell: Callable[[str], bytes]  # the stamped `status` offline with this reason: "lost" (the will) or "shutdown"
    on_command: Callable[[str, bytes, bool, float], None]  # verb, payload, retained, wire time of arrival
    on_state: Callable[[bool, str], None]  # connected (birth published), detail in words
    other_master: Callable[[OtherMaster], bool]  # True: give way, stay off the bus for GIVE_WAY_S


@dataclass(frozen=True, slots=True)
class BusStats:
    """For `health`."""

    connected: bool
    protocol: str | None
    outbox: int
    dropped: int
    refused: int
    reconnects: int


class GaveWay(Exception):
    """Another daemon holds this station and ours steps back."""


class Bus:
    """One connection to one broker. `started` and `boot_id` are those of our `status`."""

    def __init__(
        self, url: str, station: str, boot_id: str, started: datetime, hooks: Hooks, clock: Clock, rng: random.Random
    ) -> None:
        """Raise ValueError for a URL that is not `mqtt://host[:port]`."""
        self._host, self._port = broker_address(url)
        self._station, self._boot_id, self._started_ts = station, boot_id, timestamp(started)
        self._prefix = prefix(station)
        self._hooks = hooks
        self._clock = clock
        self._rng = rng
        self._outbox = Outbox()
        self._flying: dict[int, Parcel] = {}
        self._client: _Client | None = None
        self._pumping = False
        self._backlog = 0
        self._caught_up = asyncio.Event()
        self._idle = asyncio.Event()
        self._stop = asyncio.Event()
        self._held: list[tuple[str, bytes, bool, float]] | None = None
        self._returning = False  # this connection is not our first, so what is retained should be our own
        self._protocol: str | None = None
        self._refused = 0
        self._connects = 0

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        """Put a message into the outbox; `topic` is under the station's prefix. Never blocks."""
        now = self._clock.wire()
        self._outbox.put(Parcel(self._prefix + topic, payload, retain, qos, expiry_s, replayable, now))
        self._pump()

    def stats(self) -> BusStats:
        """The bus as it is now."""
        return BusStats(
            connected=self._outbox.live,
            protocol=self._protocol,
            outbox=len(self._outbox) + len(self._flying),
            dropped=self._outbox.dropped,
            refused=self._refused,
            reconnects=max(0, self._connects - 1),
        )

    def stop(self) -> None:
        """Ask `run` to say goodbye (`offline`, reason shutdown) and return."""
        self._stop.set()

    async def run(self) -> None:
        """Keep the connection until `stop`. Cancelled instead, it drops the line, so that the last will speaks."""
        failures = 0
        while not self._stop.is_set():
            connects = self._connects
            try:
                await self._connection()
                continue
            except GaveWay:
                detail, delay = "another daemon holds this station", GIVE_WAY_S
            except Exception as error:  # whatever the broker or a hook does, the bed goes on (S13)
                failures = 0 if self._connects > connects else failures + 1
                detail, delay = _in_words(error), self._backoff(failures)
                if not isinstance(error, (aiomqtt.MqttError, OSError)):
                    log.exception("bus.fault")
            self._hooks.on_state(False, detail)
            log.warning("bus.lost", host=self._host, port=self._port, detail=detail, retry_s=round(delay, 1))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)

    def _backoff(self, failures: int) -> float:
        longest = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(failures, 10))
        return max(BACKOFF_MIN_S, longest * self._rng.uniform(0.5, 1.0))

    async def _connection(self) -> None:
        client = await self._open()
        try:
            self._client = client
            self._returning = self._connects > 0
            hearing = asyncio.create_task(self._hear(client))
            try:
                await _first(self._live(client), hearing, self._stop)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
            await self._say_goodbye(client)
        finally:
            client.drop()
            self._client = None
            self._held = None
            self._outbox.lost(list(self._flying.values()))
            self._flying.clear()

    async def _open(self) -> _Client:
        try:
            return await self._attempt(aiomqtt.ProtocolVersion.V5)
        except aiomqtt.MqttError as error:
            if not (isinstance(error, Closed) or _unanswered(error) or _code(error) in PROTOCOL_REFUSED):
                raise
        return await self._attempt(aiomqtt.ProtocolVersion.V311)

    async def _attempt(self, protocol: aiomqtt.ProtocolVersion) -> _Client:
        five = protocol is aiomqtt.ProtocolVersion.V5
        client = _Client(
            self._host,
            self._port,
            identifier=f"pumpd-{self._station}",
            protocol=protocol,
            clean_session=None if five else True,
            **({"clean_start": True} if five else {}),
            will=aiomqtt.Will(self._prefix + "status", self._hooks.farewell("lost"), qos=1, retain=True),
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_TIMEOUT_S,
            socket_options=NO_DELAY,
        )
        client.sent = self._sent
        try:
            await client.__aenter__()
        except BaseException:
            client.drop()
            raise
        self._protocol = "5" if five else "3.1.1"
        return client

    async def _live(self, client: _Client) -> None:
        """The birth in the contract's order, then nothing but waiting."""
        self._held = []
        granted = await client.subscribe([(self._prefix + "cmd/+", 1), (self._prefix + "status", 1)])
        if any(_number(code) >= 128 for code in granted):
            raise aiomqtt.MqttError("the broker refused the subscription to commands or status")
        waiting = self._outbox.set_aside()
        self._hooks.announce()
        self._hooks.birth()
        self._outbox.put_behind(waiting)
        self._backlog = self._outbox.late
        self._caught_up.clear()
        self._outbox.live = True
        self._connects += 1
        self._pump()
        if self._backlog:
            await self._caught_up.wait()
        held, self._held = self._held, None
        detail = f"MQTT {self._protocol} at {self._host}:{self._port}"
        log.info("bus.connected", detail=detail)
        self._hooks.on_state(True, detail)
        for command in held:
            self._hooks.on_command(*command)
        await asyncio.Event().wait()

    async def _say_goodbye(self, client: _Client) -> None:
        """Send what waits and the last word, as far as the broker takes it in ANSWER_TIMEOUT_S."""
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while self._outbox.live and (len(self._outbox) or self._flying):
                    self._idle.clear()
                    await self._idle.wait()
        with contextlib.suppress(aiomqtt.MqttError):
            last_word = self._hooks.farewell("shutdown")
            await client.publish(self._prefix + "status", last_word, qos=1, retain=True)
            await client.__aexit__(None, None, None)

    # --- out ---------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        client = self._client
        if client is None or not self._outbox.live:
            return
        now = self._clock.wire()
        while len(self._flying) < IN_FLIGHT and (parcel := self._outbox.take()) is not None:
            if parcel.late and parcel.expiry_s is not None and now - parcel.queued > parcel.expiry_s:
                self._outbox.dropped += 1
                self._settle(parcel)
                continue
            payload = as_replayed(parcel.payload) if parcel.late and parcel.replayable else parcel.payload
            mid = client.send(parcel.topic, payload, parcel.qos, parcel.retain, parcel.expiry_s)
            self._flying[mid] = parcel

    def _sent(self, mid: int, refused: bool) -> None:
        parcel = self._flying.pop(mid, None)
        if parcel is None:
            return
        self._refused += refused
        self._settle(parcel)
        if not self._flying:
            self._idle.set()
        if len(self._outbox) and not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump_on)

    def _pump_on(self) -> None:
        self._pumping = False
        self._pump()

    def _settle(self, parcel: Parcel) -> None:
        if parcel.late and not parcel.retain and self._backlog:
            self._backlog -= 1
            if not self._backlog:
                self._caught_up.set()

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _hear(self, client: _Client) -> None:
        try:
            async for message in client.messages:
                level = str(message.topic).removeprefix(self._prefix)
                payload = bytes(message.payload) if isinstance(message.payload, (bytes, bytearray)) else b""
                if level == "status":
                    self._hear_status(payload, bool(message.retain))
                elif payload:  # an empty one is our own clearing of a retained command
                    self._hear_command(level.removeprefix("cmd/"), payload, bool(message.retain), self._clock.wire())
        except aiomqtt.MqttError as error:
            if client.taken_over and self._hooks.other_master(OtherMaster(None, None, None)):
                raise GaveWay from error
            raise

    def _hear_command(self, verb: str, payload: bytes, retained: bool, arrived: float) -> None:
        if retained:
            self.publish(f"cmd/{verb}", b"", retain=True, qos=1, expiry_s=None)
        if self._held is None or verb in STOPPING:
            self._hooks.on_command(verb, payload, retained, arrived)
        elif len(self._held) < HELD_MAX:
            self._held.append((verb, payload, retained, arrived))
        else:
            self._outbox.dropped += 1

    def _hear_status(self, payload: bytes, retained: bool) -> None:
        """Our own voice, a late will of ours or of our predecessor, or another daemon."""
        if retained and not self._returning:
            return  # what an earlier process left behind; it may come before or after our birth, which replaces it
        try:
            status = from_json(payload)
        except NotJson:
            status = None
        fields = status if isinstance(status, dict) else {}
        boot_id, started = _text(fields.get("boot_id")), _text(fields.get("started_ts"))
        online = fields.get("state") == "online"
        if boot_id == self._boot_id and online:
            return
        log.warning("bus.foreign_status", state=fields.get("state"), boot_id=boot_id, host=fields.get("host"))
        if boot_id is not None and boot_id != self._boot_id and (online or (started or "") > self._started_ts):
            other = OtherMaster(boot_id, _text(fields.get("host")), started)
            if self._hooks.other_master(other):
                raise GaveWay
        self._hooks.announce()


class Closed(aiomqtt.MqttError):
    """The broker closed the line before it answered CONNECT, as old brokers do when they do not know the version."""


class _Client(aiomqtt.Client):
    """aiomqtt with three changes: publishing is a plain call, a burst is written in one go, an early close is told."""

    sent: Callable[[int, bool], None] = staticmethod(lambda mid, refused: None)
    taken_over = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._home = threading.get_ident()

    def send(self, topic: str, payload: bytes, qos: int, retain: bool, expiry_s: int | None) -> int:
        """Hand one message to the client and return its number; `sent` tells when it is written or acknowledged."""
        five = self._client.protocol is aiomqtt.ProtocolVersion.V5.value
        properties = _expiring(expiry_s) if five and expiry_s is not None else None
        return self._client.publish(topic, payload, qos, retain, properties).mid

    def drop(self) -> None:
        """Close the line without a word; a connected broker then publishes the will."""
        self._client._sock_close()

    def _on_publish(self, client: Paho, userdata: Any, mid: int, reason_code: ReasonCode, properties: Any) -> None:
        self.sent(mid, _number(reason_code) >= 128)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(
        self, client: Paho, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Any = None
    ) -> None:
        self.taken_over |= _number(reason_code) == SESSION_TAKEN_OVER
        if not self._connected.done():
            self._connected.set_exception(Closed("the broker closed the line before it answered"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_socket_register_write(self, client: Paho, userdata: Any, sock: Any) -> None:
        if threading.get_ident() == self._home:
            self._loop.call_soon(self._write)
        else:
            self._loop.call_soon_threadsafe(self._write)

    def _write(self) -> None:
        client = self._client
        try:
            client.loop_write()
        except Exception as error:  # a broken line: the reader's side of the client must learn of it too
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
        line = client.socket()
        if line is not None and client.want_write():
            self._loop.add_writer(line.fileno(), client.loop_write)


@lru_cache(maxsize=64)
def _expiring(expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # the library left it untyped
    properties.MessageExpiryInterval = expiry_s
    return properties


def broker_address(url: str) -> tuple[str, int]:
    """Host and port of `mqtt://host[:port]`. Raises ValueError in the words of the configuration."""
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"bus.url = {url!r}: expected mqtt://host[:port] or embedded")
    return parts.hostname, parts.port or 1883


async def _first(living: Coroutine[Any, Any, None], hearing: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Wait for the stop; raise what ends the life or the hearing before it."""
    life, stopped = asyncio.create_task(living), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((life, hearing, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (life, hearing):
            if task.done():
                task.result()
    finally:
        life.cancel()
        stopped.cancel()
        await asyncio.gather(life, stopped, return_exceptions=True)


def _number(code: object) -> int:
    value = getattr(code, "value", code)
    return value if isinstance(value, int) else 0


def _code(error: aiomqtt.MqttError) -> int | None:
    return _number(error.rc) if isinstance(error, aiomqtt.MqttCodeError) else None


def _unanswered(error: aiomqtt.MqttError) -> bool:
    """No CONNACK in time: amqtt takes a will of MQTT 5 for one of 3.1.1 and waits for the rest of it."""
    return isinstance(error.__context__, TimeoutError)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__
