"""A console on the bus, in the shape of `pumpd.messaging.local.LocalClient`: one connection for one conversation."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiomqtt

from pumpd.messaging.bus import ANSWER_TIMEOUT_S, NO_DELAY, broker_address
from pumpd.messaging.encode import NotJson, from_json, timestamp, to_json
from pumpd.messaging.messages import prefix
from pumpd.messaging.requests import STOPPING

TTL_MS = 5000  # contract, topics: what a request is good for; stops are good for a minute
STOP_TTL_MS = 60_000


class BusClient:
    """`async with BusClient(url, station) as client`. A lost broker is a ConnectionError."""

    def __init__(self, url: str, station: str) -> None:
        """Raise ValueError for a URL that is not `mqtt://host[:port]`."""
        self._host, self._port = broker_address(url)
        self._prefix = prefix(station)

    async def __aenter__(self) -> Self:
        """Raise ConnectionError when no broker is there."""
        self._client = aiomqtt.Client(
            self._host,
            self._port,
            identifier=f"pumpd-command-{uuid.uuid4().hex[:12]}",
            timeout=ANSWER_TIMEOUT_S,
            socket_options=NO_DELAY,
        )
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            raise ConnectionError(f"the broker {self._host}:{self._port} does not answer: {error}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._client.__aexit__(kind, error, trace)
        except aiomqtt.MqttError as lost:
            if not isinstance(error, aiomqtt.MqttError):
                raise ConnectionError(f"the broker was lost: {lost}") from None
        if isinstance(error, aiomqtt.MqttError):
            raise ConnectionError(f"the broker was lost: {error}") from None

    async def request(self, verb: str, fields: Mapping[str, object]) -> AsyncIterator[dict[str, Any]]:
        """Send one request and yield its answers, the final one last. `fields` name actor and role."""
        request_id = str(uuid.uuid4())
        await self._client.subscribe(f"{self._prefix}ack/{request_id}", qos=1)
        payload = {
            "id": request_id,
            "issued_ts": timestamp(datetime.now(UTC)),
            "ttl_ms": STOP_TTL_MS if verb in STOPPING else TTL_MS,
            **fields,
        }
        await self._client.publish(f"{self._prefix}cmd/{verb}", to_json(payload).encode(), qos=1)
        async for message in self._client.messages:
            answer = _object(message.payload)
            if answer is not None:
                yield answer
                if answer.get("state") not in ("accepted", "started", "unknown"):
                    return

    async def subscribe(self, *filters: str) -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
        """Yield topic and message, the present retained ones first; None says the topic was emptied."""
        await self._client.subscribe([(self._prefix + one, 1) for one in filters])
        async for message in self._client.messages:
            yield str(message.topic).removeprefix(self._prefix), _object(message.payload)


def _object(payload: object) -> dict[str, Any] | None:
    if not isinstance(payload, (bytes, bytearray)) or not payload:
        return None
    try:
        value = from_json(bytes(payload))
    except NotJson:  # anyone may write on a trial broker; what is no message is no reason to end
        return None
    return value if isinstance(value, dict) else None
