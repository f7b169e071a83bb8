"""The modules of a Fresenius rack: each is the shared face with a slot, a link and a mode of its own.

Written from the protocol notes (Fresenius), part A, sections 4, 5 and 7. mL, mL/h, mmHg, and simulated seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from simulator.battery import Battery
from simulator.families.fresenius_invented import Invented
from simulator.families.fresenius_link import REASONS
from simulator.infuser import KEYS, MOVING, Doing, Infuser, Manners, actions
from simulator.physics import Body
from simulator.pump import FAULT, Refused
from simulator.requests import Action, Value
from simulator.troubles import WARNS, Trouble, rules

ALONE = 0  # the slot of a pump that is in none
ALARM_BITS = {  # invented, all: no document tells the bits of `a`
    Trouble.OCCLUSION: 0x0001,
    Trouble.EMPTY: 0x0002,
    Trouble.NEAR_EMPTY: 0x0004,
    Trouble.SYRINGE: 0x0008,
    Trouble.DRIVE_DISENGAGED: 0x0010,
    Trouble.BATTERY_LOW: 0x0020,
    Trouble.BATTERY_EMPTY: 0x0040,
    Trouble.MAINS_LOST: 0x0080,
    Trouble.LIMIT: 0x0100,
    Trouble.NEAR_END: 0x0200,
    Trouble.COMMUNICATION: 0x0400,
    Trouble.REMINDER: 0x0800,
    Trouble.RATE_INVALID: 0x1000,
}
ERROR_BITS = {Trouble.FAULT: 0x0001, Trouble.DRIVE_BLOCKED: 0x0002}  # invented: of `e`
RULES = rules(*(({*ALARM_BITS, *ERROR_BITS}) - {Trouble.COMMUNICATION}), communication=WARNS)
ERRORS = (  # section 6
    *("01", "02", "03", "04", "05", "06", "07", "08", "09", "0A", "0B", "0C", "0D", "0E", "12", "14", "15", "16"),
    *("1A", "1E", "1F", "20", "22", "24", "25"),
)
MODULE_KEYS = tuple(key for key in KEYS if key != "standby")
MODULE_ACTIONS = {
    **actions(RULES),
    "module": Action({"state": Value("what becomes of it", choices=("out", "in", "reset"))}),
    "refuse_next": Action({"code": Value("an error code", choices=ERRORS)}),
    "nak_next": Action({"reason": Value("a reason", choices=REASONS)}),
}


def manners(invented: Invented) -> Manners:
    """How this family's pump behaves."""
    return Manners(
        rates_ml_h=(0.1, 1200.0),
        near_end_s=invented.near_end_s,
        near_empty_ml=invented.near_empty_ml,
        reminder_s=invented.reminder_s or math.inf,
        counters_survive_power_cut=invented.counters_survive_power_cut,
        rules=RULES,
    )


class Module(Infuser):
    """One pump: in a slot of the rack, or alone."""

    def __init__(self, slot: int, body: Body, battery: Battery, invented: Invented) -> None:
        super().__init__(body, battery, manners(invented))
        self.slot = slot  # 0: a pump alone
        self.invented = invented
        self.present = True
        self.linked = False  # DC
        self.pc = False  # PC control
        self.subscribed: dict[str, str | None] = {}  # variable and what of it was told last

    def unlink(self) -> None:
        """The link is closed, by FC or by a reset: manual mode, nothing is told any more."""
        self.linked = self.pc = False
        self.subscribed.clear()

    def host_lost(self) -> None:
        """The host is silent."""
        was_pc = self.pc
        self.unlink()
        if not was_pc or self.invented.link_loss == "runs_on":
            return
        if self.invented.link_loss == "stops" and self.doing in MOVING:
            self._hold("stop", FAULT)
        self.alarm(Trouble.COMMUNICATION)

    def read(self, letter: str) -> str | None:
        """A variable in hex; None for one that a module does not have."""
        rate, volume = self.invented.rate_width, self.invented.volume_width
        if letter == "d":
            shown = self.rate_ml_h if self.invented.d_is_set_rate else self.motor_rate_ml_h
            return f"{round(shown * 10):0{rate}X}"
        if letter == "r":
            return f"{round(self.infused_ml * 1000):0{volume}X}"
        if letter == "a":
            return f"{sum(ALARM_BITS.get(trouble, 0) for trouble in self.troubles):04X}"
        if letter == "e":
            return f"{sum(ERROR_BITS.get(trouble, 0) for trouble in self.troubles):04X}"
        if letter == "m":
            return "02" if self.pc else "01"
        if letter == "k":
            return f"{round(self.bolus_ml_h * 10) if self.doing is Doing.BOLUS else 0:0{rate}X}"
        if letter == "s":
            return f"{round(self.bolus_ml * 1000):0{volume}X}"
        return None

    def _touched(self) -> None:
        super()._touched()
        self.pc = self.pc and not self.invented.key_takes_back

    def power_off(self) -> None:
        """Go dark."""
        super().power_off()
        self.unlink()


class Rack(Module):
    """The module that the back door means, and those beside it, which live through the same time."""

    def __init__(self, slot: int, others: Mapping[int, Body], body: Body, battery: Battery, invented: Invented) -> None:
        super().__init__(slot, body, battery, invented)
        self.others = [Module(number, other, battery, invented) for number, other in others.items()]
        self.forced_error: str | None = None  # the next command is refused with it
        self.forced_reason: str | None = None  # the next frame is

    @property
    def modules(self) -> dict[int, Module]:
        """Those that are in their slots."""
        return {module.slot: module for module in (self, *self.others) if module.present}

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass, in all slots."""
        super().advance(dt)
        for other in self.others:
            other.advance(dt)
            other.raised.clear()  # of its alarms only events tell

    def power_off(self) -> None:
        """Go dark, all."""
        super().power_off()
        for other in self.others:
            other.power_off()

    def power_on(self) -> None:
        """Mains are back."""
        super().power_on()
        for other in self.others:
            other.power_on()

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out `module`, `refuse_next`, `nak_next` or what the shared face has."""
        if request["do"] == "module":
            self._move_module(request["state"])
        elif request["do"] == "refuse_next":
            self.forced_error = request["code"]
        elif request["do"] == "nak_next":
            self.forced_reason = request["reason"]
        else:
            super().meddle(request)

    def _move_module(self, state: str) -> None:
        if self.slot == ALONE and state != "reset":
            raise Refused("a pump alone has no slot")
        self.present = state != "out"
        self.unlink()
        if self.doing in MOVING:
            self._hold("stop", FAULT)

    def told(self) -> dict[str, Any]:
        """What a person at the rack could read."""
        return {
            **super().told(),
            "pc": self.pc,
            "linked": self.linked,
            "others": {
                other.slot: {"state": other.doing.value, "plunger_ml": other.body.plunger_ml} for other in self.others
            },
        }
