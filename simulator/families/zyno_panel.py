"""The face of a Zyno pump: the common one, with a review before each start, keys of its own, and the event

Protocol notes (Zyno), commands and event log. mL, mL/h and simulated seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.battery import Battery
from simulator.families.zyno_invented import Invented
from simulator.families.zyno_log import (
    BATTERY_HIGH,
    BATTERY_IS_DEPLETED,
    BATTERY_IS_LOW,
    BATTERY_MEDIUM,
    CLINICIAN_DOSE,
    DOWNSTREAM,
    EXTRA_DOSE_CANCELLED,
    EXTRA_DOSE_FINISHED,
    OCCLUSION_CLEARED,
    ON_MAINS,
    SLOW_MOTOR,
    UPSTREAM,
    Kind,
    Ring,
)
from simulator.infuser import KEYPAD, LEAST_STEP_S, MOVING, WIRE, Doing, Infuser, Manners, actions
from simulator.pump import FAULT, Drivable, Refused
from simulator.requests import Action, Value
from simulator.troubles import Trouble, rules

RULES = rules(
    Trouble.OCCLUSION,
    Trouble.UPSTREAM_OCCLUSION,
    Trouble.DOOR,
    Trouble.CASSETTE,
    Trouble.EMPTY,
    Trouble.LIMIT,
    Trouble.DRIVE_BLOCKED,
    Trouble.FAULT,
    Trouble.BATTERY_LOW,
    Trouble.BATTERY_EMPTY,
    Trouble.MAINS_LOST,
    Trouble.REMINDER,
)
RATES_ML_H = (0.1, 400.0)  # invented
BOLUS_ML_H = 125.0  # invented
RATE_STEP_ML_H = 0.1  # invented
RECORDS = {
    Trouble.OCCLUSION: (Kind.OCCLUSION, DOWNSTREAM),
    Trouble.UPSTREAM_OCCLUSION: (Kind.OCCLUSION, UPSTREAM),
    Trouble.DOOR: (Kind.CASSETTE_DETACHED, 0),  # there is no record of a door
    Trouble.CASSETTE: (Kind.CASSETTE_DETACHED, 0),
    Trouble.EMPTY: (Kind.CASSETTE_EMPTY, 0),
    Trouble.DRIVE_BLOCKED: (Kind.SYSTEM_ERROR, SLOW_MOTOR),
    Trouble.BATTERY_LOW: (Kind.BATTERY_LOW, 0),
    Trouble.BATTERY_EMPTY: (Kind.BATTERY_DEPLETED, 0),
    Trouble.REMINDER: (Kind.UNATTENDED, 0),
}
USUAL_FAULT = Kind.SYSTEM_ERROR, 1
FAULTS = (Kind.FIRMWARE_ERROR, Kind.SYSTEM_ERROR, Kind.BATTERY_FAILURE, Kind.SYSTEM_ERROR_2)  # invented: these stop it
KEY_CODES = {  # key and duration: 0 short, 1 long; a short stop, for one, does nothing
    "up": "10",
    "down": "20",
    "back": "30",
    "info": "31",
    "ok": "40",
    "power": "51",
    "mute": "60",
    "run": "61",
    "bolus": "70",
    "stop": "81",
}
EVENTS = {kind.name.lower(): kind for kind in Kind}
ACTIONS = {
    **actions(RULES, volumetric=True),
    "event": Action({"name": Value("a record", choices=tuple(EVENTS))}, {"sub": Value("0 to 65535", most=65535)}),
    "set_limit": Action({"ml": Value("a volume in mL, 0 for none")}),
    "set_bolus": Action({"ml": Value("a volume in mL, 0 for none")}),
}


def manners(invented: Invented) -> Manners:
    """How it behaves; all of it is invented but the order of things."""
    return Manners(
        rates_ml_h=RATES_ML_H,
        bolus_ml_h=BOLUS_ML_H,
        rate_while_running=False,
        limit_while_running=False,
        start_acknowledges=invented.start_acknowledges,
        reminder_s=120.0,
        rules=RULES,
    )


class Panel(Infuser):
    """A switched-on pump that stands."""

    def __init__(self, body: Drivable, battery: Battery, invented: Invented, ring: Ring) -> None:
        self.invented = invented
        self.ring = ring
        self.bolus_to_give_ml = 0.0  # as programmed; 0: none
        self.times_dark = 0
        self.review: tuple[float, str] | None = None  # when it is over, and who started
        self._fault = USUAL_FAULT
        self._stamp_at_s = invented.stamp_every_s
        self._life_base_ml = 0.0
        super().__init__(body, battery, manners(invented))

    def told(self) -> dict[str, Any]:
        """What a person at the pump could read."""
        return {**super().told(), "reviewing": self.review is not None, "log_head": self.ring.head}

    @property
    def total_ml(self) -> float:
        """All that it ever infused."""
        return self._life_base_ml + self.infused_ml

    # -- start and stop

    def start(self, author: str = WIRE) -> None:
        """Begin the review of the programme; the motor starts at its end, if it may then."""
        if self.doing in MOVING or self.review is not None:
            raise Refused("running already")
        if self.invented.review_s:
            self.review = self.time_s + self.invented.review_s, author
        else:
            self._start_now(author)

    def _start_now(self, author: str) -> None:
        if not self.rate_ml_h:
            self._record(Kind.PROGRAMMING_INCOMPLETE)
        super().start(author)

    def stop(self, author: str = WIRE) -> None:
        """Stop what moves, or end the review."""
        if self.review is not None:
            self.review = None
        else:
            super().stop(author)

    def set_rate(self, ml_h: float, author: str = WIRE) -> None:
        """Set the rate while it stands, in steps of a tenth."""
        if self.review is not None:
            raise Refused("review")
        super().set_rate(round(ml_h, 1), author)

    def clear_infused(self, author: str = WIRE) -> None:
        """Clear the shift total."""
        self._life_base_ml += self.infused_ml
        super().clear_infused(author)

    def _go_on(self, author: str) -> None:
        if author == FAULT:
            self._record(Kind.DOSE_FINISHED, EXTRA_DOSE_FINISHED)
        else:
            self._record(Kind.DOSE_CANCELLED, EXTRA_DOSE_CANCELLED)
        super()._go_on(author)

    # -- time

    def _until_own(self) -> float:
        until = super()._until_own()
        if not self.powered:
            return until
        own = self._stamp_at_s - self.time_s
        if self.review is not None:
            own = min(own, self.review[0] - self.time_s)
        return max(min(until, own), 0.0)

    def _time_is_up(self) -> None:
        super()._time_is_up()
        if self.time_s >= self._stamp_at_s - LEAST_STEP_S:
            self._stamp_at_s = (self.time_s // self.invented.stamp_every_s + 1) * self.invented.stamp_every_s
            if self._stamp_at_s <= self.time_s + LEAST_STEP_S:
                self._stamp_at_s += self.invented.stamp_every_s
            self._record(Kind.TIME_STAMP)
        if self.review is not None and self.time_s >= self.review[0] - LEAST_STEP_S:
            author, self.review = self.review[1], None
            try:
                self._start_now(author)
            except Refused:
                return

    # -- keys

    def press(self, key: str) -> None:
        """Press a key by hand, as long as it wants. Refused when it does nothing now."""
        self._touched()
        self.key(KEY_CODES[key], KEYPAD)

    def key(self, code: str, author: str) -> None:
        """Press a key: its number and how long. Refused when it does nothing now."""
        if code == KEY_CODES["up"]:
            self.set_rate(self.rate_ml_h + RATE_STEP_ML_H, author)
        elif code == KEY_CODES["down"]:
            self.set_rate(self.rate_ml_h - RATE_STEP_ML_H, author)
        elif code in (KEY_CODES["ok"], KEY_CODES["mute"]):
            self.acknowledge(author)
        elif code == KEY_CODES["power"]:
            self.power_off()
        elif code == KEY_CODES["run"]:
            self.start(author)
        elif code == KEY_CODES["bolus"]:
            self._bolus_key(author)
        elif code == KEY_CODES["stop"]:
            self.stop(author)
        elif code == KEY_CODES["back"] and self.review is not None:
            self.review = None
        else:
            raise Refused("nothing to do")

    def _bolus_key(self, author: str) -> None:
        if self.doing is Doing.BOLUS:
            self.end_bolus(author)
            return
        try:
            if not self.bolus_to_give_ml:
                raise Refused("no bolus is programmed")
            self.bolus(self.bolus_to_give_ml, author)
        except Refused:
            self._record(Kind.DOSE_DENIED, 1)
            raise

    # -- faults and power

    def power_off(self) -> None:
        """Go dark, by a key or an order too."""
        self.review = None
        self.times_dark += 1
        super().power_off()

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out one of `ACTIONS`."""
        if request["do"] == "set_bolus":
            self.bolus_to_give_ml = request["ml"]
        elif request["do"] == "event":
            self._event(EVENTS[request["name"]], int(request.get("sub", 0)))
        else:
            super().meddle(request)

    def _event(self, kind: Kind, sub: int) -> None:
        self._fault = (kind, sub)
        if kind not in FAULTS or self.board.has(Trouble.FAULT):
            self._record(kind, sub)
        if kind in FAULTS:
            self.alarm(Trouble.FAULT)
        self._fault = USUAL_FAULT

    # -- the event log

    def _record(self, kind: Kind, sub: int = 0, *floats: float) -> None:
        self.ring.add(kind, sub, self.time_s, *floats)

    def _note(
        self, what: str, author: str = "power return", trouble: Trouble | None = None, value: float = 0.0
    ) -> None:
        super()._note(what, author, trouble, value)
        if what == "run":
            self.ring.add_data(self.invented.data_records, self.time_s)
            self._record(Kind.RUN)
        elif what == "stop":
            self._record(Kind.PAUSED, 0, self.infused_ml)
        elif what in ("rate", "limit"):
            self._record(Kind.SETTING, 0, 0.0, value)
        elif what == "bolus":
            self._record(Kind.DOSE_GRANTED, CLINICIAN_DOSE)
        elif what in PLAIN:
            self._record(PLAIN[what])
        elif what == "alarm":
            self._record_alarm(trouble)
        elif what == "alarm-over":
            self._record_end(trouble)

    def _record_alarm(self, trouble: Trouble | None) -> None:
        if trouble in RECORDS:
            self._record(*RECORDS[trouble])
        elif trouble is Trouble.FAULT:
            self._record(*self._fault)
        elif trouble is Trouble.MAINS_LOST:
            self._record(Kind.BATTERY, self._level())
        elif trouble is Trouble.LIMIT and self.invented.volume_done_is_logged:
            self._record(Kind.CASSETTE_EMPTY)

    def _record_end(self, trouble: Trouble | None) -> None:
        if trouble in (Trouble.OCCLUSION, Trouble.UPSTREAM_OCCLUSION):
            self._record(Kind.OCCLUSION, OCCLUSION_CLEARED)
        elif trouble is Trouble.MAINS_LOST:
            self._record(Kind.BATTERY, self._level() | ON_MAINS)

    def _level(self) -> int:
        percent = self.battery.percent
        if percent is None or percent > 75:
            return BATTERY_HIGH
        if percent > 25:
            return BATTERY_MEDIUM
        return BATTERY_IS_LOW if percent > 5 else BATTERY_IS_DEPLETED


PLAIN = {"clear": Kind.SHIFT_CLEARED, "power-on": Kind.POWER_ON, "power-off": Kind.POWER_OFF}
