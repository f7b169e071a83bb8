"""The face of an Alaris syringe pump: the shared one, and what only this family has.

Written from the protocol notes (Alaris), sections 5 to 7. mL, mL/h, mmHg, and simulated seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.battery import Battery
from simulator.families.alaris_invented import Invented
from simulator.infuser import KEYS, MOVING, POWER, WIRE, Infuser, Manners, actions
from simulator.physics import Body
from simulator.pump import FAULT, Refused
from simulator.requests import Action, Value
from simulator.troubles import TELLS, WARNS, Trouble, rules

NO_ALARM = ("AL_NOALM", " ", " ")
CODES: dict[Trouble, tuple[str, str]] = {  # section 7; the texts are invented but for OCCLUSION
    Trouble.OCCLUSION: ("AL_OCCLU", "OCCLUSION"),
    Trouble.DRIVE_DISENGAGED: ("AL_DRDIS", "DRIVE DISENGAGED"),
    Trouble.DRIVE_BLOCKED: ("AL_FAULT", "INTERNAL MALFUNCTION"),  # invented: a motor that sticks is told as a fault
    Trouble.SYRINGE: ("AL_SYRCO", "CHECK SYRINGE"),
    Trouble.COMMUNICATION: ("AL_COMTO", "COMMS FAILURE"),
    Trouble.FAULT: ("AL_FAULT", "INTERNAL MALFUNCTION"),
    Trouble.BATTERY_EMPTY: ("AL_EMBAT", "BATTERY EMPTY"),
    Trouble.BATTERY_LOW: ("AL_LWBAT", "BATTERY LOW"),
    Trouble.MAINS_LOST: ("AL_ACDIS", "AC POWER FAIL"),
    Trouble.NEAR_END: ("AL_NEOIN", "NEAR END OF INFUSION"),
    Trouble.NEAR_EMPTY: ("AL_NEOIN", "NEAR END OF INFUSION"),
    Trouble.EMPTY: ("AL_EOIST", "END OF INFUSION"),
    Trouble.REMINDER: ("AL_CALLB", "ATTENTION"),
    Trouble.LIMIT: ("AL_VTBIS", "VTBI DONE"),
}
LIMIT_CODES = {"stop": "AL_VTBIS", "kvo": "AL_VTBIK", "continue": "AL_VTBIC"}
LOW_ON_MAINS = "AL_LBTAC"
RULES = rules(*(set(CODES) - {Trouble.COMMUNICATION, Trouble.NEAR_END}), communication=WARNS, near_end=TELLS)
EXPLAINED = ("AL_EOIKV",)  # at KVO rate at the end of the syringe: told only, the plunger has nothing left for it
UNEXPLAINED = (
    "AL_PRDSC",
    "AL_RHIGH",
    "AL_LDSCN",
    "AL_TCITG",
    "AL_TITCA",
    "AL_TITNC",
    "AL_OTHER",
)  # the last: in no list
PANEL_KEYS = tuple(key for key in KEYS if key != "standby")
CODE = {"code": Value("a code of the ALARM reply", choices=(*EXPLAINED, *UNEXPLAINED))}
PANEL_ACTIONS = {
    **actions(RULES),
    "alarm_code": Action(CODE),
    "alarm_code_over": Action(CODE),
}


@dataclass(frozen=True)
class Syringe:
    """A make of syringe that the pump knows; the greatest rates by size are invented but for that of 50 mL."""

    make: str
    size_ml: int
    diameter_mm: float
    max_ml_h: float


SIZES = {5: (11.99, 150.0), 10: (14.43, 300.0), 20: (19.05, 600.0), 30: (21.59, 900.0), 50: (26.59, 1200.0)}


def manners(invented: Invented, syringe: Syringe) -> Manners:
    """How this family's pump behaves."""
    return Manners(
        rates_ml_h=(0.1, syringe.max_ml_h),
        limits_ml=(0.001, 9999.0),
        kvo_ml_h=invented.kvo_ml_h,
        near_end_s=invented.near_end_s,
        near_empty_ml=invented.near_empty_ml,
        reminder_s=invented.call_back_s or math.inf,
        counters_survive_power_cut=invented.counters_survive_power_cut,
        rules=RULES,
    )


class Panel(Infuser):
    """A pump with its syringe in and confirmed."""

    def __init__(self, body: Body, battery: Battery, invented: Invented, syringe: Syringe, log_id: int) -> None:
        self.log_id = log_id  # of the newest entry of the event log
        self.syringe = syringe
        self.codes: list[str] = []  # raised by code, oldest first
        self.invented = invented
        super().__init__(body, battery, manners(invented, syringe))

    @property
    def started_by_wire(self) -> bool:
        """Whether it moves because the host said so."""
        return self.doing in MOVING and self.motions.last[-1].started_by == WIRE

    @property
    def alarmed(self) -> bool:
        """Whether any alarm stands."""
        return bool(self.codes or self.troubles)

    @property
    def shown_mmhg(self) -> float:
        """What the pressure sensor tells."""
        return self.pressure_mmhg + self.invented.resting_mmhg

    def alarm_words(self) -> tuple[str, str, str]:
        """Code and the two texts of the alarm that the pump shows."""
        if self.codes:
            return self.codes[-1], "ALARM", ""
        if not self.troubles:
            return NO_ALARM
        code, text = CODES[trouble := self._shown()]
        if trouble is Trouble.LIMIT:
            code = LIMIT_CODES[self.at_limit]
        elif trouble is Trouble.BATTERY_LOW and self.battery.on_mains:
            code = LOW_ON_MAINS
        elif trouble is Trouble.DRIVE_DISENGAGED and self.invented.drdis_with_blank:
            code = "AL DRDIS"
        return code, text, ""

    def _shown(self) -> Trouble:
        troubles = self.troubles
        if self.invented.alarm_shown == "worst":
            return next((trouble for trouble in troubles if self._stopped_it(trouble)), troubles[-1])
        return troubles[0 if self.invented.alarm_shown == "first" else -1]

    def _stopped_it(self, trouble: Trouble) -> bool:
        return RULES[trouble].stops or trouble is Trouble.COMMUNICATION or self._ended_at(trouble)

    def _ended_at(self, trouble: Trouble) -> bool:
        return trouble is Trouble.LIMIT and self.at_limit == "stop"

    def start(self, author: str = WIRE) -> None:
        """Infuse. What has stopped the pump is acknowledged at the keypad, not by a host (invented)."""
        if author == WIRE and not self.invented.start_clears_alarms:
            for trouble in self.troubles:
                if self._stopped_it(trouble):
                    raise Refused(f"alarm {trouble}")
        if self.codes and self.invented.unexplained_alarms_stop:
            raise Refused(f"alarm {self.codes[-1]}")
        super().start(author)

    def communication_lost(self) -> None:
        """The host is silent: alarm, and what it started stops."""
        if self.started_by_wire:
            self.stop(FAULT)
        self.alarm(Trouble.COMMUNICATION)

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out `alarm_code`, `alarm_code_over` or what the shared face has."""
        if request["do"] == "alarm_code":
            self._raise_code(request["code"])
        elif request["do"] == "alarm_code_over":
            self.codes = [code for code in self.codes if code != request["code"]]
            self._note("alarm-over", FAULT)
        else:
            super().meddle(request)

    def _raise_code(self, code: str) -> None:
        self.codes = [*(other for other in self.codes if other != code), code]
        if code in UNEXPLAINED and self.invented.unexplained_alarms_stop and self.doing in MOVING:
            self._hold("stop", FAULT)
        self._note("alarm", FAULT)

    def told(self) -> dict[str, Any]:
        """What a person at the pump could read."""
        code = self.alarm_words()[0] if self.alarmed else None
        return {**super().told(), "alarm": code, "log_id": self.log_id}

    def _note(self, what: str, author: str = POWER, trouble: Trouble | None = None, value: float = 0.0) -> None:
        super()._note(what, author, trouble, value)
        if author != WIRE or self.invented.orders_are_logged:
            self.log_id += 1
