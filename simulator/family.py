"""What a family of pumps tells of itself: what may be set, pressed and asked for, and how one is put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.battery import Battery
from simulator.pump import Face, Mouth
from simulator.requests import Action

START_BIT, STOP_BIT = 1, 1


@dataclass(frozen=True)
class AnyInvented:
    """What the documents of every family leave open; each family adds its own fields, each with a default."""

    reply_delay_s: float = 0.0  # wire seconds from the last byte of a command to the first of its reply

    def __post_init__(self) -> None:
        if not self.reply_delay_s >= 0:
            raise ValueError(f"reply_delay_s = {self.reply_delay_s}: expected 0 or more")


@dataclass(frozen=True)
class Option:
    """One setting at power-on that a family has and others may not: `--flag` on the command line, `name` in Python."""

    name: str
    flag: str
    default: Any
    words: str
    kind: type = str
    unit: str = ""
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf

    def read(self, value: Any) -> Any:
        """Take a value, as text too. ValueError that names the option and what was expected."""
        if value is None and self.default is None:
            return None
        try:
            read = self.kind(value)
        except (TypeError, ValueError):
            raise self._refusal(value) from None
        good = read in self.choices if self.choices else self.kind is str or self.least <= read <= self.most
        if not good:
            raise self._refusal(value)
        return read

    def _refusal(self, value: Any) -> ValueError:
        shown = f"{value!r}" if self.kind is str else f"{value} {self.unit}".rstrip()
        expected = " or ".join(self.choices) if self.choices else f"{self.least:g} to {self.most:g}"
        return ValueError(f"{self.flag.replace('-', ' ')} {shown}: expected {expected}")


TRUE_DIAMETER = Option(
    "true_diameter_mm",
    "true-diameter",
    None,
    "syringe that is really in; left out = as set",
    float,
    "mm",
    (),
    0.1,
    80,
)


@dataclass(frozen=True)
class Setup:
    """All that decides how one pump is put together."""

    seed: int
    fill_ml: float
    model: str
    baud: int
    battery: Battery
    invented: AnyInvented
    options: Mapping[str, Any]  # every option of the family, checked


@dataclass(frozen=True)
class Family:
    """One family of pumps."""

    name: str
    description: str
    build: Callable[[Setup], tuple[Face, Mouth]]
    keys: tuple[str, ...]  # what `press` takes
    bauds: tuple[int, ...]
    default_baud: int
    invented: type[AnyInvented] = AnyInvented
    options: tuple[Option, ...] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)  # more than every pump has, or with other keys
    kinds: tuple[str, ...] = ("syringe",)  # syringe, volumetric
    fill_ml: float = 60.0
    battery_min: float = 0.0

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, `given` ones read. ValueError for one that this family does not have."""
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise ValueError(f"{name}: a {self.name} pump has no such setting; it has {', '.join(known) or 'none'}")
        return {name: option.read(given[name]) if name in given else option.default for name, option in known.items()}


def byte_s(baud: int, data_bits: int = 8, *, parity: bool = False, stop_bits: int = STOP_BIT) -> float:
    """Wire seconds of one byte."""
    return (START_BIT + data_bits + parity + stop_bits) / baud
