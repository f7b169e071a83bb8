"""The pumps that `pumpd demo` can show: how each is simulated, configured and filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLASTIPAK_50 = """\
[[syringe]]
make = "BD Plastipak"
size_ml = 50
diameter_mm = 26.6
verified_by = ""
source = "for the demo: the pumps that take it know it by make and size, and are told no diameter"
"""
FIFTY = {"kind": "syringe", "make": "BD Plastipak", "size_ml": 50, "fill_ml": 50}


@dataclass(frozen=True)
class Shown:
    """One of them."""

    driver: str
    words: str
    container: Mapping[str, object]  # as `session.plan` names it
    simulated: tuple[str, ...] = ()  # options of `pumpd-sim serve`
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the driver
    stands_ms: int = 0  # of the wire, until readings have shown that it stands: sixty times as much of the session
    syringes: str = ""  # a syringe table of its own; "" takes the one that is delivered

    @property
    def section(self) -> str:
        """The driver's settings in the configuration."""
        return "".join(f'{name} = "{value}"\n' for name, value in self.settings.items())


SYRINGE_60 = {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}
BAG = {"kind": "bag", "make": "any", "size_ml": 100, "fill_ml": 50}
PUMPS: dict[str, Shown] = {
    "newera": Shown("newera", "a New Era syringe pump", SYRINGE_60, ("--mode", "safe")),
    "alaris": Shown("alaris", "an Alaris syringe pump", FIFTY, ("--fill", "50"), stands_ms=1000, syringes=PLASTIPAK_50),
    "bbraun": Shown(
        "bbraun", "a B. Braun Perfusor (syringe)", FIFTY, ("--fill", "50"), {"model": "perfusor"}, syringes=PLASTIPAK_50
    ),
    "infusomat": Shown(
        "bbraun", "a B. Braun Infusomat (volumetric)", BAG, ("--fill", "50", "--type", "202"), {"model": "infusomat"}
    ),
    "harvard": Shown("harvard", "a Harvard ULTRA syringe pump", SYRINGE_60, stands_ms=500),
}
