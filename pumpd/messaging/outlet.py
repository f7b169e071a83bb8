"""The one way out: the daemon says a body once, every sink (bus, local socket) gets the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pumpd.messaging.messages import Body, Stamper, Status, rule


class Sink(Protocol):
    """Takes published messages. Never blocks, never raises: what it cannot pass on, it counts and drops."""

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        """Take one message for `topic` (under the station's prefix). An empty payload empties a retained topic."""


class Outlet:
    """Stamps a body, looks up how its topic travels, and hands it to all sinks."""

    def __init__(self, stamper: Stamper, sinks: Iterable[Sink]) -> None:
        self.stamper = stamper
        self.sinks = list(sinks)

    def say(self, topic: str, body: Body, *, simulated: bool | None = None, laboratory: bool = False) -> bytes:
        """Publish `body`; gives the message as it went out.

        Raises Oversized, KeyError for an unknown topic, TypeError for the wrong body.
        """
        payload = self.stamper.stamp(topic, body, simulated=simulated, laboratory=laboratory)
        row = rule(topic)
        dead = isinstance(body, Status) and body.state == "offline"
        expiry_s = None if dead else row.expiry_s  # a dead station stays visibly offline
        for sink in self.sinks:
            sink.publish(topic, payload, retain=row.retained, qos=row.qos, expiry_s=expiry_s, replayable=row.replayable)
        return payload

    def repeat(self, topic: str, payload: bytes) -> None:
        """Publish a message that was stamped before."""
        row = rule(topic)
        for sink in self.sinks:
            sink.publish(topic, payload, retain=row.retained, qos=row.qos, expiry_s=row.expiry_s)

    def empty(self, topic: str) -> None:
        """Empty a retained topic, as the contract asks when an alarm is over."""
        row = rule(topic)
        for sink in self.sinks:
            sink.publish(topic, b"", retain=True, qos=row.qos, expiry_s=None)
