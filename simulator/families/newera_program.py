"""What a New Era pump remembers, and its arithmetic: numbers of four digits, units, rate limits, phases."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from simulator.pump import Refused

PHASES = 41
ML_PER_H = {"UM": 0.06, "MM": 60.0, "UH": 0.001, "MH": 1.0}  # uL/min, mL/min, uL/h, mL/h
ML_PER_UNIT = {"UL": 0.001, "ML": 1.0}
MICROLITRE_UP_TO_MM = 14.0  # New Era manual: volumes are in uL up to a diameter of 14.00 mm, in mL above
DIAMETER_MM = (0.1, 50.0)
MAX_PLUNGER_CM_MIN = 5.1005  # NE-1000: reproduces the manual's table of fastest rates by syringe
MIN_PLUNGER_CM_H = 0.004205  # NE-1000: the same for the slowest
COUNT_EPSILON = 1e-6  # of the last digit: hides float residue, never a countable volume

FLAGS = {"LN": 0, "AL": 1, "PF": 0, "BP": 1, "LOC": 0, "DIN": 0, "ROM": 0}
TRIGGERS = ("FT", "FH", "F2", "LE", "ST", "T2", "SP", "P2", "RL", "OF")


NOT_NOW = "?NA"
OUT_OF_RANGE = "?OOR"


def read_number(text: str) -> float:
    """Read a number of at most four digits, three of them after the point. Anything else is refused as ?OOR."""
    if not re.fullmatch(r"\d*\.?\d{0,3}", text) or not 1 <= sum(c.isdigit() for c in text) <= 4:
        raise Refused(OUT_OF_RANGE)
    return float(text)


def show_number(value: float) -> str:
    """Write four digits and a point, always 5 characters, rounded down. At 10000 the display starts again at 0."""
    value %= 10_000
    for places in (3, 2, 1, 0):
        shown = math.floor(value * 10**places + COUNT_EPSILON) / 10**places
        if shown < 10 ** (4 - places):
            return f"{shown:.{places}f}" if places else f"{shown:.0f}."
    return "0.000"


def rate_bounds_ml_h(diameter_mm: float) -> tuple[float, float]:
    """Slowest and fastest rate of an NE-1000 for a syringe diameter, from the plunger's speed.

    The slowest is cut to the four digits in uL/h that the manual's table shows, so that the table's values are taken.
    """
    area_cm2 = math.pi * (diameter_mm / 20) ** 2
    slowest_ul_h = float(show_number(MIN_PLUNGER_CM_H * area_cm2 * 1000))
    return slowest_ul_h / 1000, MAX_PLUNGER_CM_MIN * area_cm2 * 60


@dataclass
class Phase:
    """One step of the pumping program, in the units the pump shows."""

    function: str = "RAT"
    rate: float = 0.0
    unit: str = "MH"
    increment: float = 0.0
    volume: float = 0.0  # 0 = without end; in the pump's volume unit
    direction: str = "INF"

    @property
    def rate_ml_h(self) -> float:
        """The programmed rate in mL/h."""
        return self.rate * ML_PER_H[self.unit]

    @property
    def pause_s(self) -> float:
        """Length of a timed pause phase."""
        return float(self.function[3:])


def factory_program(second_phase: str = "STP") -> list[Phase]:
    """Return 41 phases: a RATE phase that still needs its rate, and what the factory put behind it."""
    rate = 1.0 if second_phase == "RAT" else 0.0
    return [Phase(), *(Phase(function=second_phase, rate=rate) for _ in range(PHASES - 1))]


@dataclass
class Settings:
    """All that survives a power cut."""

    diameter_mm: float = 26.59
    volume_unit: str = "ML"
    program: list[Phase] = field(default_factory=factory_program)
    flags: dict[str, int] = field(default_factory=lambda: dict(FLAGS))
    trigger: str = "FT"
    address: int = 0
    safe_s: int = 0  # 0 = Basic mode
    baud: int = 19200
