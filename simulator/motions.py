"""The truth about who moved the motor: each motion, who began it, how fast, under which limit, and what it gave.

mL and mL/h. A motion begins with each start and with each change of rate, direction or limit while the motor turns.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

KEPT = 200  # motions that are told one by one; the sums go on


@dataclass
class Motion:
    """`by` gave it its rate, `started_by` started it: wire, keypad, foot switch, power return, kvo, device fault."""

    number: int
    by: str
    started_by: str
    rate_ml_h: float
    wire_rate_ml_h: float | None  # last rate that was set over the wire; None: never
    limit_ml: float  # what the pump's own limit left to it; infinite where there is none
    plunger_ml: float = 0.0  # what it displaced so far

    def told(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {**vars(self), "limit_ml": None if self.limit_ml == math.inf else self.limit_ml}


class Motions:
    """Books what the plunger displaced under whoever moved it."""

    def __init__(self) -> None:
        self.by: dict[str, float] = {}
        self.wire_rate_ml_h: float | None = None
        self.last: deque[Motion] = deque(maxlen=KEPT)
        self._count = 0

    def begin(self, by: str, rate_ml_h: float, limit_ml: float, *, goes_on: bool) -> None:
        """A motion begins; `goes_on`: the motor was turning already."""
        started_by = self.last[-1].started_by if goes_on else by
        self._count += 1
        self.last.append(Motion(self._count, by, started_by, rate_ml_h, self.wire_rate_ml_h, limit_ml))

    def moved(self, plunger_ml: float) -> None:
        """The plunger went on by so much (negative: back)."""
        if not plunger_ml:
            return
        motion = self.last[-1]
        motion.plunger_ml += plunger_ml
        self.by[motion.by] = self.by.get(motion.by, 0.0) + plunger_ml
