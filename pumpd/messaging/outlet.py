"""The one way out: the daemon says a body once, every sink (bus, local socket) gets the same bytes.

Whoever speaks here supervises a pump. A sink that fails is therefore logged and passed over: it costs its own messages,
never the supervision (S13).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import structlog

from pumpd.messaging.messages import Body, Stamper, Status, rule

log = structlog.get_logger(__name__)


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
        self._failing: set[int] = set()  # sinks whose failure was logged

    def say(self, topic: str, body: Body, *, simulated: bool | None = None, laboratory: bool = False) -> bytes:
        """Publish `body`; gives the message as it went out.

        Raises Oversized, KeyError for an unknown topic, TypeError for the wrong body.
        """
        payload = self.stamper.stamp(topic, body, simulated=simulated, laboratory=laboratory)
        row = rule(topic)
        dead = isinstance(body, Status) and body.state == "offline"
        expiry_s = None if dead else row.expiry_s  # a dead station stays visibly offline
        self._pass_on(topic, payload, row.retained, row.qos, expiry_s, row.replayable)
        return payload

    def repeat(self, topic: str, payload: bytes) -> None:
        """Publish a message that was stamped before."""
        row = rule(topic)
        self._pass_on(topic, payload, row.retained, row.qos, row.expiry_s, replayable=False)

    def empty(self, topic: str) -> None:
        """Empty a retained topic, as the contract asks when an alarm is over."""
        row = rule(topic)
        self._pass_on(topic, b"", True, row.qos, None, replayable=False)

    def _pass_on(
        self, topic: str, payload: bytes, retain: bool, qos: int, expiry_s: int | None, replayable: bool
    ) -> None:
        for sink in self.sinks:
            try:
                sink.publish(topic, payload, retain=retain, qos=qos, expiry_s=expiry_s, replayable=replayable)
            except Exception as error:  # whatever it is, it is the sink's own
                if id(sink) not in self._failing:
                    self._failing.add(id(sink))
                    log.error("outlet.sink_failed", sink=type(sink).__name__, exc_info=error)
            else:
                self._failing.discard(id(sink))
