"""What a station stands in and cannot help: a disk, a broker, a wall clock. Each can be made to fail."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pumpd.testing import VirtualClock

SLOW_S = 0.02  # wire seconds one message takes at a slow sink
SLOW_TRIES = 2  # commits that a slow disk has not done yet when it is asked
DISK_WORDS = {
    "blocked": "disk I/O error",
    "full": "database or disk is full",
    "read-only": "attempt to write a readonly database",
}


class Disk:
    """A commit that fails, or succeeds only when it is asked again."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self._tries = 0

    def __call__(self, connection: sqlite3.Connection) -> None:
        if self.fault in DISK_WORDS:
            raise sqlite3.OperationalError(DISK_WORDS[self.fault])
        if self.fault == "slow":
            self._tries += 1
            if self._tries % (SLOW_TRIES + 1):
                raise sqlite3.OperationalError("database is locked")
        connection.commit()


class ShakySink:
    """A way to the broker that takes its time, or raises, which a sink must not do."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.loop: Any = None

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        if self.fault == "raises":
            raise ConnectionResetError(104, "the broker went away")
        if self.fault == "slow":
            self.loop._virtual.now += SLOW_S


class ShortMemory:
    """A sink that keeps the last messages of each topic, for long campaigns."""

    KEPT = 5

    def __init__(self) -> None:
        self._bodies: dict[str, list[bytes]] = defaultdict(list)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        if payload:
            kept = self._bodies[topic]
            kept.append(payload)
            del kept[: -self.KEPT]

    def all(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(body, parse_float=Decimal) for body in self._bodies.get(topic, ())]

    def last(self, topic: str) -> dict[str, Any]:
        return self.all(topic)[-1]


class JumpyClock(VirtualClock):
    """A wall clock that somebody sets."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, boot_id: str = "virtual boot", ahead_s: float = 0.0
    ) -> None:
        super().__init__(loop, boot_id)
        self.ahead_s = ahead_s

    def wall(self) -> datetime:
        return super().wall() + timedelta(seconds=self.ahead_s)
