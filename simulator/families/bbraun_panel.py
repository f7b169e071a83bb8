"""The face of a B. Braun Perfusor or Infusomat: what it has beyond the clinical pumps' common one.

Written from the protocol notes (B. Braun), sections A3, A5 and A6. Volumes mL, rates mL/h, pressures mmHg. The figures
of each type are invented: the notes give none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from simulator import infuser
from simulator.battery import Battery
from simulator.families.bbraun_invented import Invented
from simulator.infuser import KEYPAD, POWER, WIRE, AtLimit, Doing, Infuser, Manners
from simulator.physics import Body
from simulator.pump import Refused
from simulator.requests import Action, Value
from simulator.troubles import RULES, Rule, Trouble, rules
from simulator.volumetric import Volumetric

PRESSURE_STEPS = (1, 9)
PRESSURE_STEP = 5  # invented: as it is switched on
STEP_MMHG = 100.0  # invented: alarm pressure per step
SYRINGE_ML = 50
PRE_ALARM_MIN = 3  # invented
BOLUS_ML_H = 100.0  # invented: as it is switched on
HISTORY = 10  # entries
NOTHING = "no such thing"
MOTOR_NEWS = ("run", "stop", "rate", "kvo", "bolus")


@dataclass(frozen=True)
class Type:
    """One type of pump (section A, type table), with invented bounds."""

    name: str
    volumetric: bool
    compact: bool
    rates_ml_h: tuple[float, float]
    vtbd_ml: float
    bolus_ml_h: tuple[float, float]
    bolus_ml: tuple[float, float]
    decimals: int = 1


PERFUSOR_FM = Type("Perfusor fm", False, False, (0.1, 200.0), 999.9, (1.0, 1200.0), (0.1, 50.0))
PERFUSOR_COMPACT = dataclasses.replace(PERFUSOR_FM, name="Perfusor compact", compact=True, rates_ml_h=(0.1, 99.9))
INFUSOMAT = Type("Infusomat fmS", True, False, (1.0, 999.9), 9999.9, (1.0, 999.9), (0.1, 999.9))
TYPES: dict[int, Type] = {
    202: INFUSOMAT,
    203: dataclasses.replace(INFUSOMAT, name="Infusomat P"),
    1019: PERFUSOR_FM,
    1020: dataclasses.replace(PERFUSOR_FM, name="Perfusor fm (special)"),
    1200: PERFUSOR_COMPACT,
    1201: dataclasses.replace(PERFUSOR_COMPACT, name="Perfusor compact S"),
}


class Request(IntFlag):
    """What the pump asks its host to look at (section A5)."""

    SET_VALUES = 1 << 0
    LIMITS = 1 << 1
    MUTE_KEY = 1 << 2
    DOSE = 1 << 3


ALARMS = (  # by bit, section A5
    Trouble.SYRINGE,
    Trouble.NEAR_EMPTY,
    Trouble.EMPTY,
    Trouble.OCCLUSION,
    Trouble.AIR,
    Trouble.DROPS,
    Trouble.BATTERY_EMPTY,
    Trouble.BATTERY_LOW,
    Trouble.DOOR,
    Trouble.RATE_INVALID,
    Trouble.REMINDER,
    Trouble.STANDBY_OVER,
    Trouble.LIMIT,
    Trouble.TIME_OVER,
    Trouble.COMMUNICATION,
    Trouble.KVO_OVER,
    Trouble.OPERATOR,
    Trouble.KVO,
    Trouble.PRESSURE_LOW,
    Trouble.PCA_BUTTON,
    Trouble.PCA_LIMIT,
)
SHOWN: dict[str, int] = {  # state bits with nothing behind them in the simulator: the back door shows them
    "interval_bolus_running": 12,
    "head_retracting": 20,
    "recorder": 21,
    "interval_bolus_set": 22,
    "piggyback": 25,
    "pca": 26,
    "profile": 27,
    "ramp": 28,
    "delay": 29,
}
POSITIVE = Value("a number of 0 or more")
ACTIONS: Mapping[str, Action] = {
    **infuser.actions({trouble: RULES[trouble] for trouble in ALARMS}, volumetric=True),
    "show": Action({"name": Value("a state", choices=tuple(SHOWN)), "state": Value("a state", choices=("on", "off"))}),
    "dose": Action({"weight_kg": POSITIVE, "concentration": POSITIVE, "dose_rate": POSITIVE}),
    "nak": Action({"code": Value("an error byte, 1 to 13", least=1, most=13)}),
}
KEYS = (*infuser.KEYS, "accept")


@dataclass(frozen=True)
class Dose:
    """What the dose calculation was given, at the keypad."""

    weight_kg: float
    concentration: float
    dose_rate: float


@dataclass(frozen=True)
class Reload:
    """What it goes on with at the end of the vtbd. That it does so is invented."""

    active: bool = False
    rate_ml_h: float = 0.0
    vtbd_ml: float = 0.0


@dataclass
class Orders:
    """Settings of the pump beside rate, vtbd and time, as the wire has them."""

    bolus_ml: float = 0.0
    pressure_step: int = PRESSURE_STEP
    standby_min: int = 0
    drug: bytes = b"\xff" * 20
    proposed_rate_ml_h: float | None = None
    proposed_drug: bytes = b"\xff" * 20
    reload: Reload = dataclasses.field(default_factory=Reload)


def manners(kind: Type, invented: Invented) -> Manners:
    """How such a pump behaves."""
    link_lost = Rule(stops=invented.loss_stops, holds=invented.link_alarms_hold)
    local_again = Rule(stops=False, holds=invented.link_alarms_hold)
    return Manners(
        rates_ml_h=kind.rates_ml_h,
        limits_ml=(0.1, kind.vtbd_ml),
        at_limit="kvo" if invented.kvo_ml_h else "stop",
        kvo_ml_h=invented.kvo_ml_h,
        kvo_s=invented.kvo_s,
        bolus_ml_h=BOLUS_ML_H,
        zero_rate_stops=True,
        start_acknowledges=invented.start_acknowledges,
        near_empty_s=PRE_ALARM_MIN * 60.0,
        reminder_s=invented.reminder_s or math.inf,
        rules=rules(*ALARMS, communication=link_lost, rate_invalid=local_again),
    )


class Panel(Infuser):
    """A switched-on pump that stands, in documentation mode."""

    def __init__(self, body: Body | Volumetric, battery: Battery, kind: Type, invented: Invented) -> None:
        self.kind = kind
        self.invented = invented
        self.orders = Orders()
        self.dose: Dose | None = None
        self.shown: set[str] = set()
        self.requests = Request(0)
        self.history: deque[tuple[float, float]] = deque(maxlen=HISTORY)  # when, and the motor's rate from then on
        self.bolus_is_manual = False
        self.vtbd_is_zero = False  # by order, not because it was never set
        self.forced_naks: list[int] = []
        self._rests_at_zero = False
        self._container = _container(body)
        super().__init__(body, battery, manners(kind, invented))
        self.set_pressure_step(PRESSURE_STEP)

    # -- orders

    def set_rate(self, ml_h: float, author: str = WIRE) -> None:
        """Set the rate; 0 stops, and the next rate makes it run again where that is how it behaves."""
        rests = self._rests_at_zero
        rested = ml_h == 0 and (rests or self.doing is Doing.RUNNING)
        super().set_rate(ml_h, author)
        self._rests_at_zero = rested
        if rests and ml_h and self.invented.rate_after_zero_runs:
            with contextlib.suppress(Refused):
                self.start(author)

    def stop(self, author: str = WIRE) -> None:
        """Stop whatever moves; a rate that comes later does not make it run."""
        self._rests_at_zero = False
        super().stop(author)

    def set_limit(self, ml: float | None, at_limit: AtLimit | None = None, author: str = WIRE) -> None:
        """Set the vtbd; 0 is none."""
        super().set_limit(ml or None, at_limit, author)
        self.vtbd_is_zero = ml == 0

    @property
    def nothing_left(self) -> bool:
        """Whether the vtbd is 0, by order or because all of it was given."""
        return self.vtbd_is_zero or self.limit_left_ml == 0

    @property
    def ready(self) -> bool:
        """Whether it stands and could start."""
        spent = self.limit_left_ml == 0 or self.time_limit_left_s == 0
        stopped = any(self.manners.rules[trouble].stops for trouble in self.troubles)
        return self.doing is Doing.HELD and self.rate_ml_h > 0 and not spent and not stopped

    def set_pressure_step(self, step: int) -> None:
        """Choose the alarm pressure."""
        self.orders.pressure_step = step
        self.body.alarm_mmhg = step * STEP_MMHG

    def bolus(self, ml: float = math.inf, author: str = WIRE) -> None:
        """Give a bolus: of a volume, or by hand until it is ended."""
        super().bolus(ml, author)
        self.bolus_is_manual = ml == math.inf

    def silence(self, on: bool) -> None:
        """Mute the sounder for its time, or let it sound again; the alarms stay as they are."""
        self._muted_until_s = self.time_s + self.manners.mute_s if on else -math.inf

    def clear_time(self) -> None:
        """Zero the time for which it infused."""
        self.running_s = 0.0

    def clear_volume(self) -> None:
        """Zero the infused volume alone."""
        running_s = self.running_s
        self.clear_infused()
        self.running_s = running_s

    def clear_history(self) -> None:
        """Forget at which rates it ran."""
        self.history.clear()

    def end_dose(self) -> None:
        """Dose calculation off."""
        self.dose = None

    def end_interval_bolus(self) -> None:
        """Interval bolus off."""
        self.shown -= {"interval_bolus_set", "interval_bolus_running"}

    @property
    def watches_drops(self) -> bool:
        """Whether drop monitoring is on."""
        return isinstance(self.body, Volumetric) and self.body.tubing.drops_s < math.inf

    def watch_drops(self, on: bool) -> None:
        """Turn drop monitoring on or off. Refused where there is no drop sensor."""
        if not isinstance(self.body, Volumetric):
            raise Refused(NOTHING)
        drops_s = self.invented.drops_s if on else math.inf
        self.body.tubing = dataclasses.replace(self.body.tubing, drops_s=drops_s)

    def _reached(self) -> None:
        reload = self.orders.reload
        if self.doing is Doing.RUNNING and reload.active:
            self.orders.reload = dataclasses.replace(reload, active=False)
            self.rate_ml_h = self.motions.wire_rate_ml_h = reload.rate_ml_h
            self.set_limit(reload.vtbd_ml)
        else:
            super()._reached()

    # -- hands

    def press(self, key: str) -> None:
        """Press a key. While a host has the pump alone, only mute works, and start and stop are told to it."""
        if self.remote_only and key not in ("run", "stop", "mute"):
            self._touched()
            raise Refused("a host has the pump")
        if self.remote_only and key == "stop" and not self.invented.stop_key_works_in_remote_only:
            self._touched()
            self.alarm(Trouble.OPERATOR)
            raise Refused("a host has the pump")
        if key == "accept":
            self._accept()
        else:
            super().press(key)

    def dial_rate(self, ml_h: float) -> None:
        """Set the rate at the keypad."""
        if self.remote_only:
            self._touched()
            raise Refused("a host has the pump")
        super().dial_rate(ml_h)

    def _dial_limit(self, ml: float, at_limit: AtLimit | None) -> None:
        if self.remote_only:
            self._touched()
            raise Refused("a host has the pump")
        super()._dial_limit(ml, at_limit)

    def _accept(self) -> None:
        """Take what the host proposed."""
        self._touched()
        orders = self.orders
        if self.locked:
            raise Refused("keypad locked")
        if orders.proposed_rate_ml_h is None:
            raise Refused("nothing is proposed")
        self.set_rate(orders.proposed_rate_ml_h, KEYPAD)
        orders.drug, orders.proposed_rate_ml_h = orders.proposed_drug, None

    def notice(self) -> None:
        """Look around; another container is other limits."""
        super().notice()
        container = _container(self.body)
        if container != self._container:
            self._container = container
            self.requests |= Request.LIMITS

    def power_off(self) -> None:
        """Go dark."""
        super().power_off()
        self.remote_only = False
        self.requests = Request(0)

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out one of `ACTIONS`."""
        do = request["do"]
        if do == "show":
            change = self.shown.add if request["state"] == "on" else self.shown.discard
            change(request["name"])
        elif do == "dose":
            self.dose = Dose(request["weight_kg"], request["concentration"], request["dose_rate"])
            self.requests |= Request.DOSE
        elif do == "nak":
            self.forced_naks.append(int(request["code"]))
        else:
            super().meddle(request)

    def _note(self, what: str, author: str = POWER, trouble: Trouble | None = None, value: float = 0.0) -> None:
        super()._note(what, author, trouble, value)
        if author == KEYPAD and what in ("rate", "limit", "time"):
            self.requests |= Request.SET_VALUES
        elif author == KEYPAD and what == "mute":
            self.requests |= Request.MUTE_KEY
        if what not in ("rate", "limit", "time", "key", "lock", "clear"):
            self._rests_at_zero = False
        if what in MOTOR_NEWS:
            self._remember()

    def _go_on(self, author: str) -> None:
        super()._go_on(author)
        self._remember()

    def _remember(self) -> None:
        rate_ml_h = self.motor_rate_ml_h
        if rate_ml_h != (self.history[-1][1] if self.history else 0.0):
            self.history.append((self.time_s, rate_ml_h))


def _container(body: object) -> float:
    """What changes when somebody puts another container in."""
    if isinstance(body, Volumetric):
        return body.hung_ml
    assert isinstance(body, Body)
    return body.fill_ml
