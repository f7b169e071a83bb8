"""The face of a clinical infusion pump, as several families have it: rate, limit, bolus, alarms, keypad, battery.

It knows no bytes. A mouth reads its properties and calls its verbs with `author="wire"`; the keypad calls the same.
How a family differs stands in its `Manners`. mL, mL/h, mmHg, and simulated seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, get_args

from simulator.battery import Battery
from simulator.motions import Motions
from simulator.pump import FAULT, OWN_KVO, Drivable, Halt, Refused
from simulator.requests import FOR, Action, Value
from simulator.troubles import RULES, Board, Rule, Trouble
from simulator.volumetric import Volumetric

AtLimit = Literal["stop", "kvo", "continue"]
WIRE, KEYPAD, POWER, GRAVITY = "wire", "keypad", "power return", "gravity"
KEY_STEP = 0.10  # invented: one press of rate up or down changes the rate by a tenth
KEPT = 5000  # happenings that are remembered
LEAST_STEP_S = 1e-6  # time goes on even where a threshold is a rounding error away
NEAR_ML = 1e-9  # a threshold that is so near is reached


class Doing(StrEnum):
    """What the pump does."""

    HELD = "held"
    RUNNING = "running"
    KVO = "kvo"  # limit reached, keeps the vein open
    BOLUS = "bolus"
    PURGE = "purge"
    STANDBY = "standby"


MOVING = (Doing.RUNNING, Doing.KVO, Doing.BOLUS, Doing.PURGE)


@dataclass(frozen=True)
class Manners:
    """How a family's pump behaves. Every figure that its documents do not give is invented, and labelled there."""

    rates_ml_h: tuple[float, float] = (0.1, 1200.0)
    limits_ml: tuple[float, float] = (0.1, 9999.0)
    at_limit: AtLimit = "stop"
    kvo_ml_h: float = 1.0
    kvo_s: float = math.inf  # then it stops: KVO over
    bolus_ml_h: float = 500.0
    purge_ml_h: float = 500.0
    bolus_is_counted: bool = True  # in the infused volume, and towards the limit
    purge_is_counted: bool = False
    limit_restarts: bool = False  # each start gives the whole limit again; else what was left of it
    rate_while_running: bool = True
    limit_while_running: bool = True
    zero_rate_stops: bool = False  # a rate of 0 stops the pump; else it is refused
    start_acknowledges: bool = True
    resumes_after_power: bool = False
    counters_survive_power_cut: bool = True
    near_end_s: float = 0.0  # 0: no such warning
    near_empty_ml: float = 0.0  # 0: no such warning
    near_empty_s: float = 0.0  # the same by time at the set rate; whichever comes first
    battery_low_s: float = 1800.0
    battery_empty_s: float = 180.0  # then the battery is told as empty, while it still lights the screen
    reminder_s: float = math.inf  # held for so long without a key or an order
    mute_s: float = 120.0
    live_when_locked: tuple[str, ...] = ("stop", "mute", "lock")
    rules: Mapping[Trouble, Rule] = field(default_factory=lambda: RULES)  # what it has; nothing else is ever raised


@dataclass(frozen=True)
class Happening:
    """A line of the pump's own log."""

    number: int
    time_s: float
    what: str  # run stop rate limit time bolus purge kvo standby clear key lock mute alarm alarm-over power-..
    author: str
    trouble: Trouble | None
    infused_ml: float
    value: float


class Infuser:
    """A switched-on pump that stands."""

    def __init__(self, body: Drivable, battery: Battery, manners: Manners) -> None:
        self.body = body
        self.battery = battery
        self.manners = manners
        self.board = Board(manners.rules)
        self.raised: list[Any] = self.board.raised
        self.motions = Motions()
        self.powered = True
        self.started = False
        self.doing = Doing.HELD
        self.rate_ml_h = 0.0  # as set
        self.limit_ml: float | None = None  # as set; None: none
        self.at_limit: AtLimit = manners.at_limit
        self.kvo_ml_h = manners.kvo_ml_h
        self.bolus_ml_h = manners.bolus_ml_h
        self.infused_ml = 0.0
        self.bolus_ml = 0.0  # of the present or last bolus
        self.toward_limit_ml = 0.0
        self._past_limit = False  # it went on
        self.time_limit_s: float | None = None  # as set; None: none
        self.toward_time_s = 0.0
        self.locked = False  # the keypad
        self.remote_only = False  # a host has taken the pump: run and stop at the keypad are an operator's intrusion
        self.key_events = 0
        self.last_key_s = -math.inf
        self.time_s = 0.0  # since it was first switched on
        self.running_s = 0.0  # of infusion, since its counter was cleared
        self.log: deque[Happening] = deque(maxlen=KEPT)
        self.logged = 0  # how many happenings there ever were
        self._muted_until_s = -math.inf
        self._acted_s = 0.0  # when somebody last gave an order or pressed a key
        self._until_s: float | None = None  # when KVO or standby is over by itself
        self._left_ml = math.inf  # what the motion may still give: limit or bolus
        self._before_bolus: tuple[Doing, str] = (Doing.HELD, WIRE)  # and who gave that motion its rate
        self._resumes = False
        self._gravity = False
        self._note("power-on")
        self.notice()

    # -- what a mouth reads

    @property
    def running(self) -> bool:
        """Whether it infuses at its rate, at the KVO rate or a bolus."""
        return self.doing in (Doing.RUNNING, Doing.KVO, Doing.BOLUS)

    @property
    def motor_rate_ml_h(self) -> float:
        """Rate at which the pump believes to move fluid now; 0 when it stands."""
        return self.motions.last[-1].rate_ml_h if self.doing in MOVING else 0.0

    @property
    def limit_left_ml(self) -> float | None:
        """What the limit still allows; None without a limit."""
        return None if self.limit_ml is None else max(self.limit_ml - self.toward_limit_ml, 0.0)

    @property
    def time_left_s(self) -> float | None:
        """How long until a limit, or without one until the container is empty, at the set rate; None: unknown."""
        if not self.rate_ml_h:
            return self.time_limit_left_s
        limits = [self.time_limit_left_s] if self.time_limit_left_s is not None else []
        if self.limit_left_ml is not None:
            limits.append(self.limit_left_ml / self.rate_ml_h * 3600)
        elif not limits and self.body.senses_end:
            limits.append(self.body.left_ml / self.rate_ml_h * 3600)
        return min(limits, default=None)

    @property
    def time_limit_left_s(self) -> float | None:
        """What is left of the time that it may infuse; None without such a limit."""
        return None if self.time_limit_s is None else max(self.time_limit_s - self.toward_time_s, 0.0)

    @property
    def pressure_mmhg(self) -> float:
        """As the sensor sees it."""
        return self.body.pressure_mmhg

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The alarms that stand, oldest first."""
        return self.board.present

    @property
    def muted(self) -> bool:
        """Whether a key has silenced the sounder."""
        return self.time_s < self._muted_until_s

    @property
    def sounding(self) -> bool:
        """Whether the sounder is on."""
        return self.board.sounding and not self.muted

    @property
    def standby_left_s(self) -> float:
        """How long standby still lasts; 0 outside of it, infinite without an end."""
        if self.doing is not Doing.STANDBY:
            return 0.0
        return math.inf if self._until_s is None else self._until_s - self.time_s

    def told(self) -> dict[str, Any]:
        """What a person at the pump could read."""
        present = [str(trouble) for trouble in self.troubles]
        return {
            "rate_ml_h": self.motor_rate_ml_h,
            "set_rate_ml_h": self.rate_ml_h,
            "limit_ml": self.limit_ml or 0.0,
            "limit_left_ml": self.limit_left_ml,
            "at_limit": self.at_limit,
            "state": self.doing.value,
            "alarm": present[0] if present else None,
            "alarms": present,
            "infused_ml": self.infused_ml,
            "withdrawn_ml": 0.0,
            "locked": self.locked,
            "muted": self.muted,
            "key_events": self.key_events,
        }

    # -- what a mouth or a key orders

    def start(self, author: str = WIRE) -> None:
        """Infuse at the set rate, up to the limit. Refused while running, in alarm, without a rate, at the limit."""
        if self.doing in MOVING:
            raise Refused("running already")
        if self.doing is Doing.STANDBY:
            raise Refused("in standby")
        if (trouble := self.board.blocking()) is not None:
            raise Refused(f"alarm {trouble}")
        if not self.rate_ml_h:
            raise Refused("no rate")
        if self.board.present:
            if not self.manners.start_acknowledges:
                raise Refused(f"alarm {self.board.present[0]}")
            self._acknowledge()
        if self.manners.limit_restarts:
            self.toward_limit_ml, self.toward_time_s, self._past_limit = 0.0, 0.0, False
        if self.limit_left_ml == 0:
            raise Refused("limit reached")
        if self.time_limit_left_s == 0:
            raise Refused("time over")
        self._acted_s = self.time_s
        self._infuse(author)
        self._note("run", author, value=self.rate_ml_h)

    def stop(self, author: str = WIRE) -> None:
        """Stop whatever moves. Refused when it stands."""
        if self.doing not in MOVING:
            raise Refused("it stands")
        self._acted_s = self.time_s
        self._hold("stop", author)

    def set_rate(self, ml_h: float, author: str = WIRE) -> None:
        """Set the rate, at once also while it runs; a bolus or KVO goes on at its own. Refused outside the bounds."""
        least, most = self.manners.rates_ml_h
        if ml_h == 0 and self.manners.zero_rate_stops:
            if self.doing in MOVING:
                self._hold("stop", author)
        elif not least <= ml_h <= most:
            raise Refused("rate out of range")
        elif self.doing is Doing.RUNNING and not self.manners.rate_while_running:
            raise Refused("running")
        self._acted_s = self.time_s
        self.rate_ml_h = ml_h
        if author == WIRE:
            self.motions.wire_rate_ml_h = ml_h
        if self.doing is Doing.RUNNING:
            self._infuse(author)
        self._note("rate", author, value=ml_h)

    def set_limit(self, ml: float | None, at_limit: AtLimit | None = None, author: str = WIRE) -> None:
        """Set the volume to be infused from now on (None: no limit), and what happens at its end."""
        least, most = self.manners.limits_ml
        if ml is not None and not least <= ml <= most:
            raise Refused("limit out of range")
        if self.doing is Doing.RUNNING and not self.manners.limit_while_running:
            raise Refused("running")
        self._acted_s = self.time_s
        self.limit_ml, self.toward_limit_ml, self._past_limit = ml, 0.0, False
        self.at_limit = at_limit or self.at_limit
        if self.doing is Doing.RUNNING:
            self._infuse(author)
        self._note("limit", author, value=ml or 0.0)

    def set_time_limit(self, seconds: float | None, author: str = WIRE) -> None:
        """Set how long it infuses from now on (None: no such limit); then it does what it does at the volume's end."""
        if seconds is not None and not seconds > 0:
            raise Refused("time out of range")
        self._acted_s = self.time_s
        self.time_limit_s, self.toward_time_s = seconds, 0.0
        self._note("time", author, value=seconds or 0.0)

    def clear_infused(self, author: str = WIRE) -> None:
        """Zero the counter of what was infused; the limit is not touched."""
        self.infused_ml = self.running_s = 0.0
        self._note("clear", author)

    def bolus(self, ml: float = math.inf, author: str = WIRE) -> None:
        """Give a bolus at the bolus rate until `ml`, the limit or `end_bolus`; then go on as before."""
        if self.doing not in (Doing.RUNNING, Doing.HELD):
            raise Refused("no bolus now")
        if (trouble := self.board.blocking()) is not None:
            raise Refused(f"alarm {trouble}")
        left_ml = self._still_ml() if self.manners.bolus_is_counted else math.inf
        if not left_ml:
            raise Refused("limit reached")
        self._before_bolus = self.doing, self.motions.last[-1].by if self.doing is Doing.RUNNING else author
        self.bolus_ml = 0.0
        self._move(Doing.BOLUS, self.bolus_ml_h, min(ml, left_ml), author)
        self._note("bolus", author, value=0.0 if ml == math.inf else ml)

    def end_bolus(self, author: str = WIRE) -> None:
        """End a bolus and go on as before it. Refused when there is none."""
        if self.doing is not Doing.BOLUS:
            raise Refused("no bolus")
        self._go_on(author)

    def purge(self, author: str = WIRE) -> None:
        """Run at the purge rate until `stop`. Refused while it moves."""
        if self.doing is not Doing.HELD:
            raise Refused("running")
        self._move(Doing.PURGE, self.manners.purge_ml_h, math.inf, author)
        self._note("purge", author)

    def standby(self, for_s: float | None = None, author: str = WIRE) -> None:
        """Rest without the reminder, for a time or until `wake`. Refused while it moves."""
        if self.doing in MOVING:
            raise Refused("running")
        self.doing = Doing.STANDBY
        self._until_s = None if for_s is None else self.time_s + for_s
        self._note("standby", author, value=for_s or 0.0)

    def wake(self, author: str = WIRE) -> None:
        """Leave standby."""
        if self.doing is Doing.STANDBY:
            self.doing, self._until_s, self._acted_s = Doing.HELD, None, self.time_s
            self._note("standby", author)

    def acknowledge(self, author: str = WIRE) -> None:
        """All alarms were seen: those whose cause is gone are gone, the others are silent."""
        self._acted_s = self.time_s
        self._muted_until_s = self.time_s + self.manners.mute_s
        self._note("mute", author)
        self._acknowledge()

    def lock(self, on: bool, author: str = WIRE) -> None:
        """Lock the keypad, or unlock it."""
        self.locked = on
        self._note("lock", author, value=float(on))

    # -- alarms

    def alarm(self, trouble: Trouble, *, caused: bool = False) -> None:
        """Raise a trouble; `caused`: it stands at least until `alarm_over`. A family that has it not ignores it."""
        if self.board.strike(trouble, caused=caused):
            self._alarmed(trouble)

    def alarm_over(self, trouble: Trouble) -> None:
        """The cause of a trouble is gone."""
        if self.board.over(trouble):
            self._note("alarm-over", FAULT, trouble)

    def _alarmed(self, trouble: Trouble) -> None:
        self._muted_until_s = -math.inf  # a new alarm sounds again
        if self.manners.rules[trouble].stops and self.doing in MOVING:
            self._hold("stop", FAULT)
        self._note("alarm", FAULT, trouble)

    def _acknowledge(self) -> None:
        for trouble in self.board.acknowledge():
            self._note("alarm-over", FAULT, trouble)

    def _stands(self, trouble: Trouble, cause: bool) -> None:
        if cause:
            self.alarm(trouble, caused=True)
        elif self.board.has(trouble):
            self.alarm_over(trouble)

    def notice(self) -> None:
        """Look around: mains, battery, container, door, and how near the end is."""
        self._book_gravity()
        if not self.powered:
            return
        manners, battery, body = self.manners, self.battery, self.body
        self._stands(Trouble.MAINS_LOST, not battery.on_mains)
        self._stands(Trouble.BATTERY_LOW, battery.left_s <= manners.battery_low_s)
        self._stands(Trouble.BATTERY_EMPTY, not battery.on_mains and battery.left_s <= manners.battery_empty_s)
        if body.senses_end:
            self._stands(Trouble.EMPTY, body.left_ml <= NEAR_ML)
            self._stands(Trouble.NEAR_EMPTY, NEAR_ML < body.left_ml <= self._near_empty_ml() + NEAR_ML)
        if isinstance(body, Volumetric):
            self._stands(Trouble.DOOR, body.door_open)
            self._stands(Trouble.FREE_FLOW, body.free_flowing)
        self._stands(Trouble.NEAR_END, self._near_end())
        self._stands(Trouble.KVO, self.doing is Doing.KVO)

    def _book_gravity(self) -> None:
        if self.body.free_flowing and not self._gravity:
            self.motions.begin(GRAVITY, self.body.flow_ml_h, math.inf, goes_on=False)
        self._gravity = self.body.free_flowing

    def _near_end(self) -> bool:
        if self.doing is not Doing.RUNNING or self.limit_left_ml is None:
            return False
        return self.limit_left_ml <= self._near_end_ml() + NEAR_ML

    def _near_empty_ml(self) -> float:
        return max(self.manners.near_empty_ml, self.manners.near_empty_s * self.rate_ml_h / 3600)

    def _near_end_ml(self) -> float:
        return self.manners.near_end_s * self.rate_ml_h / 3600

    # -- time

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass; everything happens at its own moment."""
        while dt > 0:
            step = min(dt, max(self._until_own(), LEAST_STEP_S))
            before_ml = self.body.plunger_ml
            passed = self.body.advance(step)
            self.time_s += passed
            if self.running:
                self.running_s += passed
            if self.doing is Doing.RUNNING:
                self.toward_time_s += passed
            self._count()
            self.motions.moved(self.body.plunger_ml - before_ml)
            dt -= passed
            if self.powered:
                if (halt := self.body.halt) is not None:
                    self.body.halt = None
                    self._halted(halt)
                self._time_is_up()
                self.notice()

    def until_change(self) -> float:
        """Seconds until the pump does something by itself."""
        return min(self.body.until_halt(), self._until_own())

    def _until_own(self) -> float:
        """Seconds until something that is not the motor's."""
        if not self.powered:
            return math.inf
        until = math.inf if self._until_s is None else self._until_s - self.time_s
        if self._may_remind():
            until = min(until, self._acted_s + self.manners.reminder_s - self.time_s)
        if not self.battery.idle:
            until = min(
                until,
                self.battery.until_left(self.manners.battery_low_s) + LEAST_STEP_S,
                self.battery.until_left(self.manners.battery_empty_s) + LEAST_STEP_S,
            )
        if self.doing is Doing.RUNNING and self.time_limit_left_s:
            until = min(until, self.time_limit_left_s + LEAST_STEP_S)  # a volume that ends with it comes first
        if self.body.turning:
            if self.body.senses_end and self._warns(Trouble.NEAR_EMPTY, self._near_empty_ml()):
                until = min(until, self.body.until_left(self._near_empty_ml()))
            left_ml = self.limit_left_ml
            if left_ml and self.doing is Doing.RUNNING and self._warns(Trouble.NEAR_END, self.manners.near_end_s):
                until = min(until, self.body.until_counted(left_ml - self._near_end_ml()))
        return max(until, 0.0)

    def _warns(self, trouble: Trouble, ahead: float) -> bool:
        return bool(ahead) and trouble in self.manners.rules and not self.board.has(trouble)

    def _may_remind(self) -> bool:
        return self.doing is Doing.HELD and Trouble.REMINDER in self.manners.rules and not self.board.present

    def _time_is_up(self) -> None:
        if self._until_s is not None and self.time_s >= self._until_s - LEAST_STEP_S:
            self._until_s = None
            if self.doing is Doing.KVO:
                self._hold("stop", FAULT)
                self.alarm(Trouble.KVO_OVER)
            elif self.doing is Doing.STANDBY:
                self.doing, self._acted_s = Doing.HELD, self.time_s
                self.alarm(Trouble.STANDBY_OVER)
        limit_s = math.inf if self.time_limit_s is None else self.time_limit_s
        if self.doing is Doing.RUNNING and limit_s <= self.toward_time_s < math.inf:
            self.toward_time_s = math.inf  # it is over once
            self._end(Trouble.TIME_OVER)
        if self._may_remind() and self.time_s >= self._acted_s + self.manners.reminder_s - LEAST_STEP_S:
            self.alarm(Trouble.REMINDER)

    def _count(self) -> None:
        moved_ml = self.body.moved_ml
        if not moved_ml:
            return
        self.body.moved_ml = 0.0
        self._left_ml -= moved_ml
        if self.doing is Doing.BOLUS:
            self.bolus_ml += moved_ml
        counted = {Doing.BOLUS: self.manners.bolus_is_counted, Doing.PURGE: self.manners.purge_is_counted}
        if counted.get(self.doing, True):
            self.infused_ml += moved_ml
            self.toward_limit_ml += moved_ml

    def _halted(self, halt: Halt) -> None:
        if halt is Halt.LIMIT:
            self._reached()
            return
        self._hold("stop", FAULT)
        self.alarm(HALTS[halt])

    def _reached(self) -> None:
        """The motion gave what it might: a bolus, or the limit."""
        if self.doing is Doing.BOLUS and self._still_ml() > NEAR_ML:
            self._go_on(FAULT)
            return
        if self.limit_ml is not None:
            self.toward_limit_ml = self.limit_ml  # without the rounding residue
            self._past_limit = self.at_limit == "continue"
        self._end(Trouble.LIMIT)

    def _end(self, trouble: Trouble) -> None:
        """The infusion is over: stop, keep the vein open or go on, as set."""
        author = self.motions.last[-1].by
        if self.at_limit == "kvo" and self.kvo_ml_h > 0:
            self._move(Doing.KVO, min(self.kvo_ml_h, self.rate_ml_h), math.inf, OWN_KVO)
            self._until_s = None if self.manners.kvo_s == math.inf else self.time_s + self.manners.kvo_s
            self._note("kvo", FAULT)
        elif self.at_limit == "continue":
            if not self.body.turning:
                self._move(Doing.RUNNING, self.rate_ml_h, math.inf, author)
        else:
            self._hold("stop", FAULT)
        self.alarm(trouble)

    # -- the motor

    def _infuse(self, author: str) -> None:
        self._move(Doing.RUNNING, self.rate_ml_h, self._still_ml(), author)

    def _still_ml(self) -> float:
        """What a motion may give: up to the limit; without end where there is none, or where it ran on past it."""
        left_ml = self.limit_left_ml
        return math.inf if left_ml is None or self._past_limit else left_ml

    def _move(self, doing: Doing, rate_ml_h: float, left_ml: float, author: str) -> None:
        self.motions.begin(author, rate_ml_h, left_ml, goes_on=self.body.turning)
        self.body.infuse(rate_ml_h, left_ml)
        self.doing, self._left_ml, self._until_s = doing, left_ml, None
        self.started = self.started or doing is not Doing.PURGE

    def _go_on(self, author: str) -> None:
        """As before the bolus."""
        doing, by = self._before_bolus
        if doing is Doing.RUNNING:
            self._infuse(by)
        else:
            self._hold("stop", author)

    def _hold(self, what: str, author: str) -> None:
        self.body.stop()
        self.doing, self._until_s, self._acted_s = Doing.HELD, None, self.time_s
        self._note(what, author)

    # -- keys

    def press(self, key: str) -> None:
        """Press a key. Refused when the keypad is locked or the key does nothing now; that is a touch all the same."""
        self._touched()
        if self.locked and key not in self.manners.live_when_locked:
            raise Refused("keypad locked")
        if self.remote_only and key in ("run", "stop"):
            self.alarm(Trouble.OPERATOR)
            if key == "run":
                raise Refused("a host has the pump")
        KEYS[key](self)

    def _touched(self) -> None:
        self.key_events += 1
        self.last_key_s = self._acted_s = self.time_s
        self._note("key", KEYPAD)

    def dial_rate(self, ml_h: float) -> None:
        """Set the rate at the keypad."""
        self._touched()
        if self.locked:
            raise Refused("keypad locked")
        self.set_rate(ml_h, KEYPAD)

    def _dial_limit(self, ml: float, at_limit: AtLimit | None) -> None:
        self._touched()
        if self.locked:
            raise Refused("keypad locked")
        self.set_limit(ml or None, at_limit, KEYPAD)

    def _key_run(self) -> None:
        self.wake(KEYPAD)
        self.start(KEYPAD)

    def _key_bolus(self) -> None:
        if self.doing is Doing.BOLUS:
            self.end_bolus(KEYPAD)
        else:
            self.bolus(author=KEYPAD)

    def _key_purge(self) -> None:
        if self.doing is Doing.PURGE:
            self.stop(KEYPAD)
        else:
            self.purge(KEYPAD)

    def _key_standby(self) -> None:
        if self.doing is Doing.STANDBY:
            self.wake(KEYPAD)
        else:
            self.standby(author=KEYPAD)

    # -- faults and power

    def run_away(self, ml_h: float) -> None:
        """A fault of the electronics: it runs at this rate, and says so, though nobody asked for it."""
        self.rate_ml_h = ml_h
        self._infuse(FAULT)
        self._note("rate", FAULT, value=ml_h)

    def stall(self) -> None:
        """The motor cannot turn."""
        self._hold("stop", FAULT)
        self.alarm(Trouble.DRIVE_BLOCKED)

    def power_off(self) -> None:
        """Go dark."""
        self._note("power-off", POWER)
        self._resumes = self.manners.resumes_after_power and self.doing is Doing.RUNNING
        self.body.stop()
        self.powered = False

    def power_on(self) -> None:
        """Mains are back."""
        if self.powered:
            return
        self.powered = True
        self.doing, self._until_s, self._acted_s = Doing.HELD, None, self.time_s
        self.board.clear()
        if not self.manners.counters_survive_power_cut:
            self.infused_ml = self.running_s = 0.0
        self._note("power-on", POWER)
        self.notice()
        if self._resumes and self.limit_left_ml != 0 and self.board.blocking() is None:
            self._infuse(POWER)

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out one of `actions`."""
        do, body = request["do"], self.body
        if do == "alarm":
            if self.board.force(Trouble(request["name"])):
                self._alarmed(Trouble(request["name"]))
        elif do == "alarm_over":
            if self.board.unforce(Trouble(request["name"])):
                self._note("alarm-over", FAULT, Trouble(request["name"]))
        elif do == "set_limit":
            self._dial_limit(request["ml"], request.get("at_limit"))
        elif isinstance(body, Volumetric):
            if do == "air":
                body.put_air(request["ml"])
            elif do == "door":
                body.open_door(request["state"] == "open")
            else:
                body.free_flow(request["state"] == "on")
        else:
            raise Refused("a syringe pump has no such thing")

    def _note(self, what: str, author: str = POWER, trouble: Trouble | None = None, value: float = 0.0) -> None:
        self.logged += 1
        self.log.append(Happening(self.logged, self.time_s, what, author, trouble, self.infused_ml, value))


HALTS = {
    Halt.STALL: Trouble.DRIVE_BLOCKED,
    Halt.OCCLUSION: Trouble.OCCLUSION,
    Halt.UPSTREAM: Trouble.UPSTREAM_OCCLUSION,
    Halt.AIR: Trouble.AIR,
    Halt.EMPTY: Trouble.EMPTY,
    Halt.DOOR: Trouble.DOOR,
    Halt.DROPS: Trouble.DROPS,
}
KEYS: dict[str, Callable[[Infuser], None]] = {
    "run": Infuser._key_run,
    "stop": lambda pump: pump.stop(KEYPAD),
    "mute": lambda pump: pump.acknowledge(KEYPAD),
    "bolus": Infuser._key_bolus,
    "purge": Infuser._key_purge,
    "standby": Infuser._key_standby,
    "lock": lambda pump: pump.lock(not pump.locked, KEYPAD),
    "clear": lambda pump: pump.clear_infused(KEYPAD),
    "rate_up": lambda pump: pump.set_rate(pump.rate_ml_h * (1 + KEY_STEP), KEYPAD),
    "rate_down": lambda pump: pump.set_rate(pump.rate_ml_h * (1 - KEY_STEP), KEYPAD),
}


def actions(rules: Mapping[Trouble, Rule] = RULES, *, volumetric: bool = False) -> dict[str, Action]:
    """The back-door actions of a pump with this face, beside those that every pump has."""
    name = {"name": Value("an alarm", choices=tuple(rules))}
    ends = {"at_limit": Value("what follows the limit", choices=get_args(AtLimit))}
    any_pump = {
        "alarm": Action(name, FOR),
        "alarm_over": Action(name),
        "set_limit": Action({"ml": Value("a volume in mL, 0 for no limit")}, ends),
    }
    if not volumetric:
        return any_pump
    return any_pump | {
        "occlude": Action(may={"where": Value("a place", choices=("downstream", "upstream")), **FOR}),
        "air": Action({"ml": Value("a volume in mL, 0 to take it away")}),
        "door": Action({"state": Value("a state", choices=("open", "closed"))}, FOR),
        "free_flow": Action({"state": Value("a state", choices=("on", "off"))}, FOR),
    }
