"""A pump of pure arithmetic: a rate, a volume limit that begins anew with each run, a counter, a keypad, a watchdog."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from pumpd.core import events as ev
from pumpd.driver import Identity, Motion, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, WHO

ZERO = Ml(0)
PURGE = MlPerHour(FITTED.rates.most)
WATCHDOG_S = 10.0


class Toy:
    """Its truth is `given`; all else it says over the line or does as its keys are pressed."""

    def __init__(self) -> None:
        self.motion = Motion.STANDING
        self.rate, self.limit = MlPerHour(10), Ml(100)
        self.given = self.this_run = self.counter = ZERO
        self.unheard_s = 0.0
        self.version = WHO.version
        self.settings: tuple[tuple[str, str], ...] = ()

    def advance(self, seconds: float, heard: bool) -> None:
        """Let time pass; the watchdog stops a pump that nobody talks to."""
        left = min(seconds, max(0.0, WATCHDOG_S - self.unheard_s)) if not heard else seconds
        self.unheard_s = 0.0 if heard else self.unheard_s + seconds
        if self.motion is Motion.INFUSING:
            room = self.limit - self.this_run
            flown = min(self.rate.over(left), room, key=lambda volume: volume.value)
            self._give(flown)
            if flown == room:
                self.motion = Motion.STANDING
        elif self.motion is Motion.PURGING:
            self._give(PURGE.over(left))
        if self.unheard_s >= WATCHDOG_S:
            self.motion = Motion.STANDING

    def _give(self, volume: Ml) -> None:
        self.given += volume
        self.this_run += volume
        self.counter += volume

    def start(self) -> None:
        """RUN: the limit counts from zero again."""
        if self.motion is Motion.STANDING:
            self.motion, self.this_run = Motion.INFUSING, ZERO

    def stop(self) -> None:
        self.motion = Motion.STANDING

    def power_cycle(self) -> None:
        """It comes back standing, its counter at zero."""
        self.stop()
        self.counter, self.unheard_s = ZERO, 0.0

    # --- what it says ---

    @property
    def shown(self) -> Ml:
        return self.counter.down(FITTED.counter.step_at(self.counter.value))

    def report(self) -> PumpReport:
        rate = PURGE if self.motion is Motion.PURGING else self.rate
        return PumpReport(self.motion, rate, self.shown)

    def identity(self) -> Identity:
        return replace(WHO, version=self.version, rate=self.rate, limit=self.limit)

    # --- what it is told; True when it was carried out ---

    def obey(self, order: ev.Order) -> bool:
        standing = self.motion is Motion.STANDING
        match order:
            case ev.Halt():
                self.stop()
            case ev.Arm() if standing:
                self.rate, self.limit, self.counter = order.rate, order.limit, ZERO
                self.settings = (("DIA", str(order.container.diameter_mm)),)
            case ev.Begin() if standing and order.settings == self.settings:
                self.rate, self.limit = order.rate, order.limit
                self.start()
            case ev.SetRate() if self.motion is Motion.INFUSING:
                self.rate = order.rate
            case ev.Tighten() if standing:
                self.rate, self.limit = order.rate, order.limit
            case ev.Release():
                pass
            case _:
                return False
        return True

    def outcome(self, order: ev.Order, now: float) -> ev.OrderDone:
        done = ev.OrderDone(order.number, now)
        match order:
            case ev.Arm():
                report = replace(self.report(), limit=self.limit)
                return replace(done, report=report, identity=self.identity(), settings=self.settings)
            case ev.Halt():
                return replace(done, report=PumpReport(self.motion, None, self.shown))
            case ev.SetRate() | ev.Release():
                return done
            case _:
                return replace(done, report=self.report())


def step_of(volume: Ml) -> Decimal:
    return FITTED.counter.step_at(volume.value)
