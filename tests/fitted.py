"""Containers as tests fit them."""

from __future__ import annotations

from decimal import Decimal

from pumpd.driver import Container
from pumpd.units import Ml


def syringe(mm: str | Decimal = "26.59", ml: int = 60) -> Container:
    """A BD of this inner diameter and size."""
    return Container("syringe", "BD", Ml(ml), Decimal(mm), Ml(min(ml, 50)))


def bag(ml: int = 100) -> Container:
    """A full bag."""
    return Container("bag", "any", Ml(ml), None, Ml(ml))
