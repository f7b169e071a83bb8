"""Faults of the line: what happens to bytes between host and pump. Seeded, so that the same bytes fare the same.

`stop_s` is session time; `delay_s` is a property of the line and wire time.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

KINDS = ("drop", "flip", "delay", "mute", "deaf", "echo", "garbage", "disconnect")
WAYS = ("in", "out", "both")
GARBAGE_BYTES = 8  # longest burst of noise


@dataclass
class Fault:
    """One fault of the line.

    drop, flip: each byte with `probability`; garbage: noise before each chunk with `probability`; delay: answers come
    `delay_s` late; mute: nothing comes from the pump; deaf: nothing reaches it; echo: the host hears itself;
    disconnect: the port hangs up.
    """

    kind: str
    probability: float = 1.0
    way: str = "both"
    delay_s: float = 0.0
    stop_s: float = math.inf
    seed: str = "1"
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.way not in WAYS:
            raise ValueError(f"way {self.way!r}: expected one of {', '.join(WAYS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability}: expected 0 to 1")
        if not self.delay_s >= 0:
            raise ValueError(f"delay_s {self.delay_s}: expected 0 or more")
        if self.kind == "delay" and self.delay_s == 0:
            raise ValueError("kind 'delay': expected delay_s above 0")
        self._dice = random.Random(f"{self.seed} {self.kind} {self.way}")

    def damage(self, data: bytes, way: str) -> bytes:
        """Return what is left of bytes that travel `in` to the pump or `out` of it."""
        if self.kind == "disconnect":
            return b""
        if self.kind == "mute":
            return data if way == "in" else b""
        if self.kind == "deaf":
            return data if way == "out" else b""
        if self.way not in (way, "both"):
            return data
        if self.kind == "drop":
            return bytes(byte for byte in data if not self._strikes())
        if self.kind == "flip":
            return bytes(byte ^ (1 << self._dice.randrange(8)) if self._strikes() else byte for byte in data)
        if self.kind == "garbage" and data and self._strikes():
            return self._dice.randbytes(self._dice.randint(1, GARBAGE_BYTES)) + data
        return data

    def _strikes(self) -> bool:
        return self._dice.random() < self.probability


class Faults:
    """The faults of one line, applied in the order they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Put a fault on the line."""
        self._faults.append(fault)

    def end(self, kind: str | None = None) -> None:
        """Take off the faults of one kind, or all."""
        self._faults = [fault for fault in self._faults if kind is not None and fault.kind != kind]

    def forget_past(self, now_s: float) -> None:
        """Drop the faults that are over."""
        self._faults = [fault for fault in self._faults if now_s < fault.stop_s]

    def next_end(self) -> float:
        """Session time at which a fault is over; infinite when none ever is."""
        return min((fault.stop_s for fault in self._faults), default=math.inf)

    def on(self, kind: str) -> bool:
        """Whether there is a fault of this kind."""
        return any(fault.kind == kind for fault in self._faults)

    def delay_s(self) -> float:
        """Wire seconds that answers come late."""
        return sum(fault.delay_s for fault in self._faults if fault.kind == "delay")

    def damage(self, data: bytes, way: str) -> bytes:
        """Send bytes through all faults."""
        for fault in self._faults:
            data = fault.damage(data, way)
        return data

    def names(self) -> list[str]:
        """Kinds of the faults."""
        return [fault.kind for fault in self._faults]
