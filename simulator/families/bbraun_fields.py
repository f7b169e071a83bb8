"""The fields of B. Braun dianet star segments: widths, units, what is not available, and how a field is refused.

Protocol notes (B. Braun), section A3. All numbers are big endian.
"""

from __future__ import annotations

import math
from struct import Struct

from simulator.families.bbraun_frame import Nak

IDENT = Struct(">IH10sI")
STATUS = Struct(">BIIIIH")
ACTUAL = Struct(">BI8H")
SET_VALUES = Struct(">IIHIHBH20s")
PROPOSAL = Struct(">20sI")
LIMITS = Struct(">IBBIIBIBIHIHBIIII")
DOSE = Struct(">HIBIBIIB")
HISTORY_NOW, HISTORY_ENTRY = Struct(">H"), Struct(">HI")
RELOAD = Struct(">BII")
CC_MODE = Struct(">IBBI")
ACTION = Struct(">BB")
NA1, NA2, NA4 = 0xFF, 0xFFFF, 0xFFFFFFFF  # unchanged, or not available
NO_TEXT = b"\xff" * 20
NEAR = 1e-6  # of floating point: a figure that is so near is reached


class Refusal(Exception):
    """The pump answers NAK."""

    def __init__(self, nak: Nak) -> None:
        super().__init__(nak.name)
        self.nak = nak


def demand(holds: bool, nak: Nak = Nak.OUT_OF_RANGE) -> None:
    """Refuse unless it holds."""
    if not holds:
        raise Refusal(nak)


def within(figure: float, bounds: tuple[float, float]) -> bool:
    """Whether it lies within the bounds."""
    return bounds[0] - NEAR <= figure <= bounds[1] + NEAR


def tenths(figure: float) -> int:
    """In units of 0.1; less than one unit is nothing."""
    return int(figure * 10 + NEAR)


def begun(units: float, most: int) -> int:
    """What is left, with the unit that is in use: 0 is nothing at all."""
    return min(math.ceil(units - NEAR), most)


def hundredths(figure: float, most: int = NA4 - 1) -> int:
    """In units of 0.01, as far as the field reaches."""
    return round(min(figure * 100, most))


def minutes(seconds: float) -> int:
    """Whole minutes, as far as the field reaches; what has no end is not available."""
    return NA2 if seconds == math.inf else int(min(seconds / 60 + NEAR, NA2 - 1))
