"""How a Harvard pump writes and reads numbers: six significant digits, units that scale by themselves.

Protocol notes (Harvard), A5. Volumes are mL, rates mL/h, times s.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

ML = {"m": 1.0, "u": 1e-3, "n": 1e-6, "p": 1e-9}
LITRE = "l"  # understood in a volume, and always out of range
PER_H = {"h": 1.0, "m": 60.0, "s": 3600.0}
LONG_TIME = {"h": "hr", "m": "min", "s": "sec"}
NOTHING_ML = 1e-12  # a thousandth of a pl
NUMBER = re.compile(r"\d+\.?\d*|\.\d+", re.ASCII)
VOLUME_UNIT = re.compile(r"([munp])l?", re.ASCII)
RATE_UNIT = re.compile(r"([munp])l?/(h|hr|m|min|s|sec)", re.ASCII)
CLOCK_TIME = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)", re.ASCII)
SIX_DIGITS = ".6g"


@dataclass(frozen=True)
class Volume:
    """A volume and the letter of the unit that it was set in."""

    ml: float
    unit: str = "m"

    def shown(self, *, rescaled: bool) -> str:
        """As the pump answers."""
        if rescaled:
            return show_volume(self.ml)
        return f"{self.ml / ML[self.unit]:{SIX_DIGITS}} {self.unit}l"


@dataclass(frozen=True)
class Rate:
    """A rate and the letters of the units that it was set in."""

    ml_h: float
    unit: str = "m"
    per: str = "m"

    def shown(self, *, rescaled: bool) -> str:
        """As the pump answers."""
        return f"{Volume(self.ml_h / PER_H[self.per], self.unit).shown(rescaled=rescaled)}/{LONG_TIME[self.per]}"


@lru_cache(maxsize=4096)
def show_volume(ml: float) -> str:
    """Write a volume in the largest unit in which it is 1 or more."""
    ml = float(f"{ml:{SIX_DIGITS}}")
    if ml < NOTHING_ML:
        return "0 ul"
    unit = next((unit for unit, size in ML.items() if ml >= size), "p")
    return f"{ml / ML[unit]:{SIX_DIGITS}} {unit}l"


def show_time(seconds: float) -> str:
    """Write a time: seconds below a minute, else hh:mm:ss."""
    seconds = round(seconds, 3)
    if seconds < 60:
        return f"{seconds:{SIX_DIGITS}} seconds"
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def read_number(text: str) -> float | None:
    """Read a number without sign or exponent; None when it is none."""
    return float(text) if NUMBER.fullmatch(text) else None


def read_volume(number: str, unit: str) -> Volume | None:
    """Read a volume; None when it is none. Litres are infinite: too much for any pump of these."""
    value, match = read_number(number), VOLUME_UNIT.fullmatch(unit)
    if value is None or (match is None and unit != LITRE):
        return None
    return Volume(math.inf) if match is None else Volume(value * ML[match[1]], match[1])


def read_rate(number: str, unit: str) -> Rate | None:
    """Read a rate, its unit short (`u/m`) or long (`ul/min`); None when it is none."""
    value, match = read_number(number), RATE_UNIT.fullmatch(unit)
    if value is None or match is None:
        return None
    unit, per = match[1], match[2][0]
    return Rate(value * ML[unit] * PER_H[per], unit, per)


def read_time(text: str) -> float | None:
    """Read seconds or hh:mm:ss; None when it is neither."""
    if match := CLOCK_TIME.fullmatch(text):
        hours, minutes, seconds = map(int, match.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    return read_number(text)
