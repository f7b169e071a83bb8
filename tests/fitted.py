"""Containers as tests fit them."""

from __future__ import annotations

from decimal import Decimal

from pumpd.driver import Container
from pumpd.units import Ml


def syringe(mm: str | Decimal = "26.59") -> Container:
    """A BD 60 mL with this inner diameter."""
    return Container("syringe", "BD", Ml(60), Decimal(mm), Ml(50))


def bag(ml: int = 100) -> Container:
    """A full bag."""
    return Container("bag", "any", Ml(ml), None, Ml(ml))
