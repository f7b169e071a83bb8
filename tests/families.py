"""What stands at a bed of each family: its driver, the simulated pump, and the container that a plan names for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from drivers import alaris, bbraun, fresenius, harvard, newera, zyno
from pumpd.driver import Driver
from pumpd.library import Syringe
from pumpd.units import Ml


@dataclass(frozen=True)
class Kind:
    """One kind of pump, as a clinic would configure and fill it."""

    driver: Driver
    container: Mapping[str, Any]  # as `session.plan` names it
    settings: Mapping[str, object] = field(default_factory=dict)  # of the driver
    options: Mapping[str, Any] = field(default_factory=dict)  # of the simulated pump
    syringes: tuple[Syringe, ...] = ()  # more than the table that is delivered

    @property
    def family(self) -> str:
        """The simulator's name for it."""
        return self.driver.name


FIFTY = {"kind": "syringe", "make": "BD Plastipak", "size_ml": 50, "fill_ml": 50}
PLASTIPAK_50 = Syringe("BD Plastipak", Ml(50), Decimal("26.6"), "", "for tests: these pumps measure no diameter")
BAG = {"kind": "bag", "make": "any", "size_ml": 100, "fill_ml": 50}

KINDS: dict[str, Kind] = {
    "newera": Kind(newera.DRIVER, {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}),
    "harvard": Kind(harvard.DRIVER, {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}),
    "alaris": Kind(alaris.DRIVER, FIFTY, options={"fill_ml": 50.0}, syringes=(PLASTIPAK_50,)),
    "perfusor": Kind(bbraun.DRIVER, FIFTY, {"model": "perfusor"}, options={"fill_ml": 50.0}, syringes=(PLASTIPAK_50,)),
    "fresenius": Kind(fresenius.DRIVER, FIFTY, {"module": 1}, syringes=(PLASTIPAK_50,)),
    "pilote": Kind(fresenius.DRIVER, FIFTY, options={"link": "standalone"}, syringes=(PLASTIPAK_50,)),
    "zyno": Kind(zyno.DRIVER, BAG),
    "nimbus": Kind(zyno.DRIVER, BAG, {"check": "xor"}, {"platform": "h"}),
    "infusomat": Kind(bbraun.DRIVER, BAG, {"model": "infusomat"}, {"type_number": "202", "fill_ml": 50.0}),
}
