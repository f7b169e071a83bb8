"""A line that loses, changes, delays and holds back what passes, and whose cable falls out: by a seed."""

from __future__ import annotations

from collections import deque
from math import inf
from random import Random

from pumpd.testing.memory_port import Peer

LOST, CHANGED, LATE = 0.02, 0.02, 0.05  # of all messages, each way
FALLS_SILENT, FALLS_OUT = 0.002, 0.001  # of all answers
SILENT_S, OUT_S = (2.0, 30.0), (1.0, 20.0)


class BadLine:
    """A device behind such a line. It is a good one while `bad` is False."""

    def __init__(self, device: Peer, seed: int, *, late_s: float, changes: bool) -> None:
        """`late_s` is the longest delay; with `changes` single bits are flipped."""
        self.device, self.bad = device, False
        self.troubles = 0
        self._dice = Random(seed)
        self._late_s, self._changes = late_s, changes
        self._coming: deque[tuple[float, bytes]] = deque()
        self._silent_until = self._out_until = -inf
        self._at = -inf

    @property
    def connected(self) -> bool:
        """False while the cable is out."""
        return self.device.connected and self._at >= self._out_until

    def receive(self, data: bytes, at: float) -> None:
        """What the host says, or what becomes of it."""
        self.advance(at)
        if at >= self._silent_until and (data := self._spoil(data)):
            self.device.receive(data, at)

    def advance(self, at: float) -> None:
        """Let the device live."""
        self._at = at
        self.device.advance(at)

    def outgoing(self, at: float) -> bytes:
        """What has come through by now."""
        self.advance(at)
        said = self.device.outgoing(at)
        if said and at >= self._silent_until:
            self._befall(at)
            if said := self._spoil(said):
                due = at + (self._dice.uniform(0, self._late_s) if self._happens(LATE) else 0.0)
                self._coming.append((max(due, self._coming[-1][0] if self._coming else due), said))
        arrived = b""
        while self._coming and self._coming[0][0] <= at:
            arrived += self._coming.popleft()[1]
        return arrived if self.connected else b""

    def next_wake(self, at: float) -> float | None:
        """When the device, or a delayed answer, comes."""
        device = self.device.next_wake(at)
        due = min(inf if device is None else device, self._coming[0][0] if self._coming else inf)
        return None if due == inf else due

    def _happens(self, share: float) -> bool:
        happens = self.bad and self._dice.random() < share
        self.troubles += happens
        return happens

    def _befall(self, at: float) -> None:
        if self._happens(FALLS_SILENT):
            self._silent_until = at + self._dice.uniform(*SILENT_S)
        if self._happens(FALLS_OUT):
            self._out_until = at + self._dice.uniform(*OUT_S)

    def _spoil(self, data: bytes) -> bytes:
        if self._happens(LOST):
            return b""
        if self._changes and self._happens(CHANGED):
            spoilt = bytearray(data)
            spoilt[self._dice.randrange(len(spoilt))] ^= 1 << self._dice.randrange(8)
            return bytes(spoilt)
        return data
