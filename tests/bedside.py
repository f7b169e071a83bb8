"""A bed of the public kit with one of our simulated pumps, whose truth and back door a test may use."""

from __future__ import annotations

from typing import Any

from pumpd.testing.bedside import PATIENCE_S, PATIENT, PLAN, PLANNED_ML, Paper, Room, Strangers, ward
from pumpd.testing.bedside import Bedside as AnyBedside
from simulator.device import Device
from tests.families import KINDS

__all__ = ["PATIENCE_S", "PATIENT", "PLAN", "PLANNED_ML", "Bedside", "Paper", "Room", "Strangers", "ward", "weighing"]


def weighing(kg: int | str) -> dict[str, Any]:
    """The changes to PLAN for another weight."""
    entry = {"value": kg, "unit": "kg"}
    return {"weight": entry, "weight_again": entry}


class Bedside(AnyBedside):
    """One bed with its simulated pump. `address`, `mode` and `watchdog_s` are a New Era's only."""

    def __init__(
        self,
        room: Room,
        name: str = "one",
        *,
        family: str = "newera",
        speed: float = 1.0,
        address: int = 0,
        mode: str = "safe",
        watchdog_s: int = 10,
        auto_restore: bool = False,
        observation_s: float = 600.0,
        device: Device | None = None,
        serial_number: str | None = None,
        **device_options: Any,
    ) -> None:
        self.kind = kind = KINDS[family]
        options, settings = {**kind.options, **device_options}, dict(kind.settings)
        if family == "newera":
            options |= {"address": address, "mode": mode, "watchdog_s": watchdog_s}
            settings |= {"address": address, "mode": mode}
            if mode == "safe":
                settings["watchdog_s"] = watchdog_s
        self.device = device or Device(kind.family, speed=speed, **options)
        super().__init__(
            room,
            kind.driver,
            self.device,
            name,
            settings=settings,
            container=kind.container,
            syringes=kind.syringes,
            speed=speed,
            auto_restore=auto_restore,
            observation_s=observation_s,
            serial_number=serial_number,
        )

    @property
    def truth(self) -> dict[str, Any]:
        """What the pump truly did, up to now."""
        self.device.advance(self.room.clock.wire())
        return self.device.truth()

    @property
    def given(self) -> float:
        """True displacement, mL."""
        return float(self.truth["plunger_ml"])

    def key(self, key: str) -> None:
        """Press a key of the pump."""
        self.do("press", key=key)

    def do(self, what: str, **how: Any) -> dict[str, Any]:
        """The simulator's back door."""
        self.device.advance(self.room.clock.wire())
        answer = self.device.control({"do": what, **how})
        assert answer["ok"], answer
        self.port.poke()
        return answer
