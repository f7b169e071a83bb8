"""The families of pumps that can be simulated. A new one is a module here with a `FAMILY`, and its name below."""

from __future__ import annotations

from simulator.families import alaris, bbraun, fresenius, harvard, newera, zyno
from simulator.family import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY for module in (alaris, bbraun, fresenius, harvard, newera, zyno)
}


def family_named(name: str) -> Family:
    """Look a family up. ValueError in words when there is none of that name."""
    if name not in FAMILIES:
        raise ValueError(f"family {name!r}: expected one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
