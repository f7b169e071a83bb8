"""One session without a bed: events go straight to `decide`, at times the test names. Nothing here knows a rule."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

from drivers.newera import DRIVER
from pumpd.core import events as ev
from pumpd.core.limits import DrugLimits, Override
from pumpd.core.plan import Plan, Portion, Prescription, make_plan
from pumpd.core.session import decide
from pumpd.core.state import Phase, State
from pumpd.core.therapy import before_plan
from pumpd.core.turn import Turn
from pumpd.driver import Capabilities, Fitted, Identity, Motion, PumpAlarm, PumpReport
from pumpd.library import load_drug_library, share_file
from pumpd.units import Kg, MgPerKg, MgPerMl, Ml, MlPerHour
from tests.fitted import syringe

E = TypeVar("E")

PUMP = DRIVER.open({})
ABLE: Capabilities = PUMP.capabilities
KETAMINE: DrugLimits = load_drug_library(share_file("drug-library.toml")).drugs["ketamine"]
SYRINGE = syringe()
FITTED: Fitted = PUMP.fitted(SYRINGE)
WHO = Identity("NE1000", "V3.92", fingerprint=(("address", "00"), ("diameter", "26.59")))
STANDING, INFUSING = Motion.STANDING, Motion.INFUSING
SOFTLY = Override("Dr. B", "slower on request")  # so slow that the rest passes the soft limit of its duration
TWO_STEPS = (Portion(1200, Decimal("0.2")), Portion(1500, Decimal("0.8")))  # 21 mL/h, then 67.2 mL/h
DOWN_STEPS = (Portion(1200, Decimal("0.7")), Portion(1500, Decimal("0.3")))  # 73.5 mL/h, then 25.2 mL/h


def prescription(**changes: Any) -> Prescription:
    """70 kg, 0.5 mg/kg, 1 mg/mL, 45 minutes."""
    usual = Prescription("p-1", "ketamine", Kg(70), MgPerKg("0.5"), MgPerMl(1), SYRINGE)
    return replace(usual, **changes)


def plan(**changes: Any) -> Plan:
    return make_plan(prescription(**changes), FITTED)


def rules(**changes: Any) -> ev.Rules:
    return replace(ev.Rules(pump=ABLE, fitted=FITTED, limits=KETAMINE, poll_s=1.0, reaction_s=0.5), **changes)


PLAN = plan()
RATE = PLAN.first_rate
MINIMUM = Ml(FITTED.limits.least)


class Case:
    """A session, its time, and all effects that came out."""

    def __init__(self, *, plan: Plan = PLAN, who: Identity = WHO, **rule_changes: Any) -> None:
        self.state, self.now = State(), 100.0
        self.plan, self.rules, self.who = plan, rules(**rule_changes), who
        self.effects: list[ev.Effect] = []
        self.last: tuple[ev.Effect, ...] = ()
        self.wake_at: float | None = None
        self.log: list[tuple[ev.Event, float]] = []
        self._ids = count(1)

    # --- what goes in ---

    def feed(self, event: ev.Event, dt: float = 0.0) -> tuple[ev.Effect, ...]:
        self.now += dt
        self.log.append((event, self.now))
        self.state, self.last, self.wake_at = decide(self.state, event, self.now)
        self.effects += self.last
        return self.last

    def by(self, role: str = "nurse") -> ev.By:
        return ev.By("nurse-1", role, "local", f"r{next(self._ids)}")

    def before(self) -> ev.Before:
        return before_plan(self.state)

    def read(
        self,
        motion: Motion = INFUSING,
        rate: MlPerHour | str | None = RATE,
        counted: Ml | str | None = None,
        dt: float = 1.0,
        limit: Ml | None = None,
    ) -> tuple[ev.Effect, ...]:
        """One poll. Without `counted` the counter stands where it stood."""
        rate = MlPerHour(rate) if isinstance(rate, str) else rate
        seen = Ml(counted) if isinstance(counted, str) else counted
        return self.feed(
            ev.PumpReported(PumpReport(motion, rate, self.state.volumes.last_count if seen is None else seen, limit)),
            dt,
        )

    def told(self, code: str, dt: float = 0.0) -> tuple[ev.Effect, ...]:
        return self.feed(ev.PumpTold(PumpAlarm(code, "A?")), dt)

    def done(self, dt: float = 0.1, **changes: Any) -> tuple[ev.Effect, ...]:
        """The order on its way was carried out."""
        pending = self.state.pending
        assert pending is not None
        order = pending.order
        at = self.state.volumes.last_count or Ml(0)
        self.now += dt
        outcome = ev.OrderDone(order.number, self.now)
        if isinstance(order, ev.Arm):
            who = replace(self.who, rate=order.rate, limit=order.limit)
            report = PumpReport(STANDING, order.rate, Ml(0), order.limit)
            outcome = replace(
                outcome, report=report, identity=who, settings=(("DIA", str(order.container.diameter_mm)),)
            )
        elif isinstance(order, ev.Begin):
            outcome = replace(outcome, report=PumpReport(INFUSING, order.rate, at))
        elif isinstance(order, ev.Tighten):
            outcome = replace(outcome, report=PumpReport(STANDING, order.rate, at, order.limit))
        return self.feed(replace(outcome, **changes))

    def failed(self, reason: str = "refused", *, uncertain: bool = False, dt: float = 0.1) -> tuple[ev.Effect, ...]:
        """The order on its way was not, or nobody knows."""
        pending = self.state.pending
        assert pending is not None
        return self.feed(ev.OrderFailed(pending.order.number, reason, "in words", uncertain), dt)

    def halted(self, motion: Motion = STANDING, counted: Ml | str | None = None, dt: float = 0.1) -> Any:
        """The stop was carried out and read back."""
        assert self.state.halt is not None
        counted = Ml(counted) if isinstance(counted, str) else counted
        report = PumpReport(motion, None, self.state.volumes.last_count if counted is None else counted)
        return self.feed(ev.OrderDone(self.state.halt.number, self.now, report), dt)

    def halt_failed(self, reason: str = "garbled", dt: float = 0.1) -> tuple[ev.Effect, ...]:
        assert self.state.halt is not None
        return self.feed(ev.OrderFailed(self.state.halt.number, reason, "in words"), dt)

    def confirm(self, rate: MlPerHour | None = None) -> ev.Confirm:
        """The figures a display would read back now."""
        if self.state.plan is None:
            return ev.Confirm()
        turn = Turn(self.state, self.now)
        return ev.Confirm(rate or turn.planned_rate, turn.remaining())

    # --- whole stretches ---

    def connected(self) -> Case:
        self.feed(ev.LinkUp(self.who))
        self.read(STANDING, None, Ml(0))
        return self

    def planned(self) -> Case:
        self.connected()
        self.feed(ev.PlanOrdered(self.by(), "s-1", self.plan, self.rules, self.before()))
        self.read(STANDING, None, Ml(0))
        assert self.phase is Phase.PLANNED
        return self

    def armed(self) -> Case:
        self.planned()
        self.feed(ev.ArmOrdered(self.by(), "p-1", (), "ok"))
        self.done()
        assert self.phase is Phase.ARMED, self.last
        return self

    def starting(self) -> Case:
        self.armed()
        self.feed(ev.StartOrdered(self.by(), self.confirm()), 1.0)
        assert isinstance(self.order, ev.Begin), self.last
        return self

    def running(self, seconds: float = 0.0) -> Case:
        self.starting()
        self.done()
        assert self.phase is Phase.RUNNING
        return self.flow(seconds)

    def flow(self, seconds: float, rate: MlPerHour | None = None, step: float = 1.0) -> Case:
        """The pump infuses as it reads, its counter a whole number of its steps."""
        begun_at, begun_with = self.now, self.state.volumes.last_count or Ml(0)
        while self.now < begun_at + seconds - 1e-9:
            dt = min(step, begun_at + seconds - self.now)
            shown = rate or self.plan.rate_at(self.state.elapsed_at(self.now + dt))
            grown = begun_with + shown.over(self.now + dt - begun_at)
            self.read(INFUSING, shown, grown.down(Decimal("0.001")), dt)
        return self

    def paused(self, seconds: float = 60.0) -> Case:
        """By a person, the pump's own limit lowered to what remains."""
        self.running(seconds)
        self.feed(ev.PauseOrdered(self.by()))
        self.halted()
        self.done()
        assert self.phase is Phase.PAUSED
        assert self.state.limit_covers
        return self

    def paused_by_pump(self, seconds: float = 60.0, told: str = "") -> Case:
        self.running(seconds)
        if told:
            self.told(told)
        self.read(STANDING, RATE)
        self.done()
        assert self.phase is Phase.PAUSED
        return self

    def observing(self) -> Case:
        self.running(30)
        self.feed(ev.StopOrdered(self.by()))
        self.halted()
        self.done()
        assert self.phase is Phase.OBSERVING
        return self

    # --- what came out ---

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def order(self) -> ev.Order | None:
        """The order on its way."""
        return None if self.state.pending is None else self.state.pending.order

    def got(self, kind: type[E]) -> list[E]:
        """The effects of one kind that came out of the last event."""
        return [effect for effect in self.last if isinstance(effect, kind)]

    @property
    def answer(self) -> ev.Answer:
        """The last answer of the last event."""
        return self.got(ev.Answer)[-1]

    @property
    def raised(self) -> set[str]:
        return {effect.code for effect in self.got(ev.Raise)}

    @property
    def halts(self) -> bool:
        """Did the last event send a stop?"""
        return bool(self.got(ev.Halt))
