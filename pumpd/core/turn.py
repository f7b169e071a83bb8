"""One decision in the making: the state as it becomes, and the effects so far. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pumpd.core.events import Answer, Arm, By, Clear, Effect, Halt, Order, Raise, Release, Rules, SetRate
from pumpd.core.frozen import changer
from pumpd.core.plan import Plan
from pumpd.core.state import HaltLatch, Hold, Pending, Phase, Sight, State
from pumpd.driver import Fitted
from pumpd.units import Ml, MlPerHour

_changed = changer(State)

PRESSURE_ALARMS = frozenset({"motor_stalled", "occlusion_downstream"})
ASKERS_MAX = 32  # of one stop: an answer to each of them has to fit into one message
RUNNING_OUT = ("near_end", "near_empty")  # said of a running pump only
NOT_SENT = 0  # the number of a stop that waits; orders count from 1


class Turn:
    """What the handlers write on. `state` is replaced, never changed; nothing here knows a rule of the therapy."""

    __slots__ = ("_step", "effects", "now", "state")

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.effects: list[Effect] = []
        self._step: Decimal | None = None

    def become(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = _changed(self.state, **changes)

    @property
    def plan(self) -> Plan:
        """The plan of the present session. Only for phases that have one."""
        assert self.state.plan is not None, "no plan in this phase"
        return self.state.plan

    @property
    def rules(self) -> Rules:
        """The rules of the present session. Only for phases that have one."""
        assert self.state.rules is not None, "no session in this phase"
        return self.state.rules

    @property
    def step(self) -> Decimal:
        """The pump counter's step at the size of this plan, mL."""
        if self._step is None:
            self._step = self.rules.fitted.counter.step_at(self.plan.volume.value)
        return self._step

    @property
    def rate_max(self) -> MlPerHour:
        """The highest rate of the pump with this container, or of the configuration."""
        pump = MlPerHour(self.rules.fitted.rates.most)
        return min(pump, self.rules.max_rate or pump)

    @property
    def top_rate(self) -> MlPerHour:
        """The highest rate the pump can run at with this container."""
        return MlPerHour(self.rules.fitted.rates.most)

    @property
    def planned_rate(self) -> MlPerHour:
        """What the plan says now."""
        return self.plan.rate_at(self.state.elapsed_at(self.now))

    def remaining(self, fitted: Fitted | None = None) -> Ml | None:
        """S1: plan volume less the most that can have been given, rounded down to what the pump can be set to."""
        rest = self.plan.volume - self.state.volumes.most(self.step)
        settable = (fitted or self.rules.fitted).limits.down(rest.value)
        return None if settable is None else Ml(settable)

    @property
    def pressure_told(self) -> bool:
        """The pump told an alarm that may leave the line under pressure."""
        return not PRESSURE_ALARMS.isdisjoint(self.state.told)

    # --- alarms ---

    def alarm(self, code: str, **values: object) -> None:
        """The condition holds. Told once, until it is cleared."""
        if code not in self.state.conditions:
            self.become(conditions=self.state.conditions | {code})
            self.effects.append(Raise(code, tuple((name, str(value)) for name, value in values.items())))

    def clear(self, *codes: str) -> None:
        """The conditions hold no longer."""
        for code in codes:
            if code in self.state.conditions:
                self.become(conditions=self.state.conditions - {code})
                self.effects.append(Clear(code))

    # --- answers ---

    def answer(self, by: By | None, state: str, text: str = "", reason: str = "", **readback: object) -> None:
        """Tell the person who asked; nobody is told when nobody asked."""
        if by is not None:
            pairs = tuple((name, str(value)) for name, value in readback.items())
            self.effects.append(Answer(by.request, state, reason, text, pairs))

    def refuse(self, by: By, reason: str, text: str) -> None:
        """No, and why."""
        self.answer(by, "rejected", text, reason)

    # --- orders ---

    def order(
        self,
        make: Callable[[int], Order],
        by: By | None = None,
        plan: Plan | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        """Send an order to the pump; one at a time, a stop apart. `plan` and `fitted` hold once it is done."""
        number = self.state.orders + 1
        order = make(number)
        self.become(orders=number, pending=Pending(order, by, self.now, plan=plan, fitted=fitted))
        if isinstance(order, Arm):
            self.become(cut=None)  # it sets all that an older one may have left
        self.effects.append(order)
        self.answer(by, "accepted")

    def halt(self, by: By | None = None, *, whoever: bool = False) -> None:
        """STOP. Every older order ends here; the latch stands until a reading says "standing".

        A pump that is not proved to be ours gets it only when a person means `whoever` is there (S15); else it waits.
        """
        self.drop_pending("preempted", "a stop took the line")
        latch = self.state.halt
        asked_by = self._all_who_asked(latch, by)
        since = latch.since if latch else self.now
        self.answer(by, "accepted")
        if self.state.sight is not Sight.SEEING:
            self.answer(by, "unknown", "the pump cannot be reached: it is stopped first thing when it answers")
        if latch is not None and latch.in_flight:
            self.become(halt=replace(latch, asked_by=asked_by))
            return
        if not (self.state.proved or whoever):
            self.become(halt=HaltLatch(since, NOT_SENT, False, asked_by))
            return
        number = self.state.orders + 1
        self.become(orders=number, halt=HaltLatch(since, number, True, asked_by))
        self.effects.append(Halt(number))

    def _all_who_asked(self, latch: HaltLatch | None, by: By | None) -> tuple[By, ...]:
        """Who waits for the stop. Of a display that orders it anew every second only the last orders are answered."""
        asked_by = (*(latch.asked_by if latch else ()), *((by,) if by else ()))
        if len(asked_by) > ASKERS_MAX:
            self.answer(asked_by[0], "failed", "the stop stands; it is answered to those who asked last", "preempted")
        return asked_by[-ASKERS_MAX:]

    def drop_pending(self, reason: str, text: str) -> None:
        """Give up waiting for the order on its way."""
        pending = self.state.pending
        if pending is not None:
            self.answer(pending.by, "failed", text, reason)
            self.become(pending=None)
            self.cut_short(pending.order)

    def cut_short(self, order: Order) -> None:
        """Cut or refused on the way: what the pump reads now is no sign of another one until it is known (S15)."""
        ours = self.state.ours
        if ours is None or isinstance(order, Release):
            return
        if not isinstance(order, SetRate):
            self.become(ours=replace(ours, rate=None, limit=None))
        if not isinstance(self.state.cut, Arm):  # a diameter stays until it is read or set again
            self.become(cut=order)

    # --- the session clock and phases ---

    def stop_clock(self, at: float | None = None) -> None:
        """Seconds stop counting as running."""
        moment = self.now if at is None else at
        self.become(elapsed=self.state.elapsed_at(moment), run_since=None)

    def go(self, phase: Phase) -> None:
        """Change the phase; the clock runs in RUNNING, and on through a restart of the program (S11)."""
        if phase not in (Phase.RUNNING, Phase.RECOVERING) and self.state.run_since is not None:
            self.stop_clock()
        self.become(phase=phase)

    def pause(
        self, reason: str, *, by_pump: bool, needs_pressure_release: bool = False, needs_prescriber: bool = False
    ) -> None:
        """Into `paused`, with why."""
        self.become(hold=Hold(reason, by_pump, self.now, needs_pressure_release, needs_prescriber))
        self.clear(*RUNNING_OUT)
        self.go(Phase.PAUSED)
