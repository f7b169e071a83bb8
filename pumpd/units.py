"""Quantities with their unit in the type: a volume cannot be added to a rate, and nothing rounds unless told which way.

All values are exact decimals. Floats are refused at construction, because a float carries an error nobody stated;
the one place where measured time (a float) meets a rate is `MlPerHour.over`.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import ClassVar, Self, TypeVar

MICROSECONDS_PER_HOUR = Decimal(3_600_000_000)
VOLUME_GRAIN = Decimal("0.000001")  # mL; a thousandth of the finest step any pump counts, so rounding never shows


class Quantity:
    """A decimal number of one unit. Immutable, hashable, ordered within its own type only."""

    __slots__ = ("value",)
    unit: ClassVar[str]
    value: Decimal

    def __init__(self, value: Decimal | int | str) -> None:
        """Raise ValueError for anything that is not a finite decimal number (floats included)."""
        if type(value) is not Decimal:
            value = _decimal(value, self.unit)
        if not value.is_finite():
            raise ValueError(f"{value} is not a finite number of {self.unit}")
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.value}')"

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.value == other.value

    def __lt__(self, other: Self) -> bool:
        return self.value < self._same(other)

    def __le__(self, other: Self) -> bool:
        return self.value <= self._same(other)

    def __gt__(self, other: Self) -> bool:
        return self.value > self._same(other)

    def __ge__(self, other: Self) -> bool:
        return self.value >= self._same(other)

    def __add__(self, other: Self) -> Self:
        return _exact(type(self), self.value + self._same(other))

    def __sub__(self, other: Self) -> Self:
        return _exact(type(self), self.value - self._same(other))

    def __mul__(self, factor: Decimal | int) -> Self:
        return type(self)(self.value * factor)

    def __bool__(self) -> bool:
        return bool(self.value)

    def down(self, step: Decimal) -> Self:
        """The largest multiple of `step` that is not above this value."""
        return type(self)((self.value / step).to_integral_value(ROUND_FLOOR) * step)

    def up(self, step: Decimal) -> Self:
        """The smallest multiple of `step` that is not below this value."""
        return type(self)((self.value / step).to_integral_value(ROUND_CEILING) * step)

    def _same(self, other: Quantity) -> Decimal:
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} ({self.unit}) does not mix with {type(other).__name__}")
        return other.value


Q = TypeVar("Q", bound=Quantity)
_new, _set = object.__new__, object.__setattr__


def _exact(unit: type[Q], value: Decimal) -> Q:
    """What came out of arithmetic with finite numbers is finite, or decimal raises: it is not looked at again."""
    made = _new(unit)
    _set(made, "value", value)
    return made


def _decimal(value: object, unit: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not an exact number of {unit}: give a decimal as text, or an int")
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number of {unit}") from None


class Ml(Quantity):
    """A volume in millilitres."""

    __slots__ = ()
    unit = "mL"


class MlPerHour(Quantity):
    """A rate in millilitres per hour."""

    __slots__ = ()
    unit = "mL/h"

    def over(self, seconds: float) -> Ml:
        """The volume this rate gives in `seconds` of measured time, to a thousandth of a microlitre, rounded up."""
        micros = Decimal(round(seconds * 1_000_000))
        return _exact(Ml, (self.value * micros / MICROSECONDS_PER_HOUR).quantize(VOLUME_GRAIN, ROUND_CEILING))

    def seconds_for(self, volume: Ml) -> float:
        """How long this rate needs to give `volume`, in seconds. Raises ZeroDivisionError at rate 0."""
        if not self.value:
            raise ZeroDivisionError("a rate of 0 mL/h never gives a volume")
        return float(volume.value * 3600 / self.value)


class Mg(Quantity):
    """A mass of drug in milligrams."""

    __slots__ = ()
    unit = "mg"


class MgPerMl(Quantity):
    """A concentration in milligrams per millilitre."""

    __slots__ = ()
    unit = "mg/mL"

    def volume_of(self, dose: Mg) -> Ml:
        """The exact volume that holds `dose` (28 significant digits). Raises ZeroDivisionError at concentration 0."""
        return Ml(dose.value / self.value)

    def mass_in(self, volume: Ml) -> Mg:
        """The mass of drug in `volume`."""
        return Mg(volume.value * self.value)


class Kg(Quantity):
    """A body weight in kilograms."""

    __slots__ = ()
    unit = "kg"


class MgPerKg(Quantity):
    """A dose by body weight in milligrams per kilogram."""

    __slots__ = ()
    unit = "mg/kg"

    def for_weight(self, weight: Kg) -> Mg:
        """The mass of drug this dose means for a body of `weight`."""
        return Mg(self.value * weight.value)
