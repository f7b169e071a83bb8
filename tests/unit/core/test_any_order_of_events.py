"""Whatever happens in whatever order: persons, keypads, alarms, lost lines, silent answers, crashes.

Hypothesis plays a bed with a toy pump and looks for a sequence that breaks a rule. Longer: `HYPOTHESIS_PROFILE=deep`.
"""

from __future__ import annotations

import os

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pumpd.core import events as ev
from pumpd.core.session import decide
from pumpd.core.state import Phase, Sight, State
from pumpd.driver import Motion, PumpAlarm
from pumpd.records.journal import Row
from pumpd.records.recall import recall, replay, row_text
from pumpd.units import Ml, MlPerHour
from tests.unit.core.toy import PURGE, WATCHDOG_S, Toy, step_of
from tests.unit.core.world import (
    DOWN_STEPS,
    FITTED,
    MINIMUM,
    PLAN,
    SYRINGE,
    TWO_STEPS,
    Case,
    plan,
)

settings.register_profile(
    "modest",
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,  # a fixed part; `make campaign` plays 100,000 steps of other sequences
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.register_profile("deep", settings.get_profile("modest"), max_examples=3000, stateful_step_count=80)

POLL_S = 1.0
GIVES_MORE = (ev.Begin, ev.SetRate)
ORDERS = (ev.Arm, ev.Begin, ev.SetRate, ev.Tighten, ev.Release)
PLANS = {"even": PLAN, "rising": plan(portions=TWO_STEPS), "falling": plan(portions=DOWN_STEPS)}
FATES = st.sampled_from(["done", "refused", "silent, done", "silent, not done"])
NOBODYS = (Phase.IDLE, Phase.PLANNED)
CONFIRMED = (ev.StartOrdered, ev.ResumeOrdered, ev.FinishOrdered)
ENDS_MOTION = (ev.StopOrdered, ev.PauseOrdered, ev.PumpStopOrdered)
LOUD = {"comms_lost_pump", "pump_not_proved", "daemon_restarted"}


class AnyOrder(RuleBasedStateMachine):
    """One bed. What a rule of safety forbids is asserted in `feed`, at the moment it would happen."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case()
        self.toy = Toy()
        self.plugged = True
        self.order: ev.Order | None = None  # on the line
        self.stop: ev.Halt | None = None
        self.stopped_sessions: set[str] = set()
        self.given_before = Ml(0)  # in earlier sessions, or with none
        self.allowed = Ml(0)  # what a person's hand at the keypad may have given before pumpd could act
        self.case.feed(ev.LinkUp(self.toy.identity()))
        self.poll()

    # --- the bed: feed, check, carry out ---

    @property
    def state(self) -> State:
        return self.case.state

    def feed(self, event: ev.Event) -> None:
        before = self.state
        effects = self.case.feed(event)
        if self.state.session_id != before.session_id:
            self.given_before, self.allowed = self.toy.given, Ml(0)
        if isinstance(event, ev.StopOrdered | ev.PumpStopOrdered) and self.state.phase is Phase.ENDING:
            self.stopped_sessions.add(self.state.session_id)
        for effect in effects:
            self._check(event, before, effect)
            self._check_who(event, before, effect)
        self._check_latch(event, before)
        for effect in effects:
            if isinstance(effect, ev.Halt):
                self.stop, self.order = effect, None
            elif isinstance(effect, ORDERS):
                self.order = effect

    def _check(self, event: ev.Event, before: State, effect: ev.Effect) -> None:
        if not isinstance(effect, ORDERS):
            return
        assert self.order is None or not self._awaited(before), f"one order at a time: {self.order}, then {effect}"
        assert self.state.sight is Sight.SEEING, "S15: no order to a pump that is not seen and proved"
        assert self.state.halt is None, "S5: nothing follows a stop that is not read back"
        if isinstance(effect, ev.Begin):
            assert isinstance(event, CONFIRMED), f"S2, S3: {type(event).__name__} started the pump"
            assert event.confirm == ev.Confirm(effect.rate, effect.limit), "confirmed with these figures"
        if isinstance(effect, ev.SetRate) and effect.raises:
            step = isinstance(event, ev.PumpReported | ev.OrderDone) and effect.rate == self.state.enforced
            asked = isinstance(event, ev.RestoreOrdered | ev.RateOrdered) and event.confirm is not None
            assert step or asked, f"S2: {type(event).__name__} raised the rate"
        if isinstance(effect, GIVES_MORE) and getattr(effect, "gives_more", False):
            assert self.state.session_id not in self.stopped_sessions, "after STOP nothing is given any more"
        if isinstance(effect, ev.SetRate) and not effect.raises:
            assert effect.rate <= self.toy.rate or self.toy.motion is Motion.STANDING, "a raise that calls itself none"
        if isinstance(effect, ev.Begin | ev.Tighten | ev.Arm):
            given = self.toy.given - self.given_before
            assert effect.limit + given <= self.state.plan.volume + self.allowed or effect.limit == MINIMUM, "S1"

    def _check_who(self, event: ev.Event, before: State, effect: ev.Effect) -> None:
        """Each order has the person, or the step of the plan, that it comes from; and the right pump to go to."""
        if isinstance(effect, ev.Halt) and not self.state.proved:
            assert isinstance(event, ev.PumpStopOrdered | ev.OrderFailed), "S15: a stranger is stopped by persons only"
        if not isinstance(effect, ORDERS):
            return
        assert not before.released or isinstance(event, ev.PlanOrdered), f"{effect} after the release"
        if isinstance(effect, ev.Arm):
            assert isinstance(event, ev.ArmOrdered | ev.ContainerOrdered), f"{type(event).__name__} armed the pump"
        if isinstance(effect, ev.Release):
            assert isinstance(event, ev.ReleaseOrdered)
        if isinstance(effect, ev.Begin):
            assert effect.gives_more, "S9: what gives more waits for the disk"
            assert 0 < effect.limit.value <= self.state.plan.volume.value, "S1: no start without a limit"
        if isinstance(effect, ev.SetRate) and effect.raises:
            assert effect.gives_more, "S9: what gives more waits for the disk"
        if isinstance(effect, ev.SetRate) and effect.raises and isinstance(event, ev.PumpReported):
            assert effect.rate in {step.rate for step in self.state.plan.steps}, "no step of the plan"
            assert event.report.rate >= before.enforced, "S2: a step raises what a hand has lowered"

    def _awaited(self, before: State) -> bool:
        return before.pending is not None and before.pending.order is self.order

    def _check_latch(self, event: ev.Event, before: State) -> None:
        if isinstance(event, ENDS_MOTION) and before.phase in (Phase.RUNNING, Phase.RECOVERING):
            assert self.state.halt is not None, "S5: a stop is latched from the moment it is ordered"
            assert self.state.phase is not Phase.RUNNING, "S5: ordered to stop, and running"
        if before.halt is not None and self.state.halt is None:
            report = getattr(event, "report", None)
            assert report is not None, f"S5: {type(event).__name__} opened the latch"
            assert report.motion is Motion.STANDING, "S5: only a pump that reads standing opens the latch"

    def poll(self) -> None:
        if self.plugged and "pump_not_proved" not in self.state.conditions:
            self.feed(ev.PumpReported(self.toy.report()))

    def pass_time(self, seconds: float) -> None:
        self.case.now += seconds
        asked = "pump_not_proved" not in self.state.conditions  # whoever is not proved is not even polled (S15)
        self.flow(seconds, heard=self.plugged and asked and not self.state.released)

    def flow(self, seconds: float, *, heard: bool) -> None:
        before = self.toy.given
        self.toy.advance(seconds, heard)
        if self.state.phase in NOBODYS or self.state.released:
            self.given_before += self.toy.given - before  # nobody's pump: it is not touched

    def settle_line(self, fate: str = "done") -> None:
        """Carry out what is on the line: the stop first."""
        if self.stop is not None:
            stop, self.stop = self.stop, None
            if not self.plugged:
                self.feed(ev.OrderFailed(stop.number, "link_lost", "no line"))
            elif fate in ("refused", "silent, not done"):
                self.feed(ev.OrderFailed(stop.number, "garbled", "no answer to it"))
            else:
                self.toy.obey(stop)
                self.feed(self.toy.outcome(stop, self.case.now))
        elif self.order is not None:
            order, self.order = self.order, None
            if not self.plugged:
                self.feed(ev.OrderFailed(order.number, "link_lost", "no line"))
            elif fate == "refused":
                self.feed(ev.OrderFailed(order.number, "refused", "no"))
            elif fate == "silent, not done":
                self.feed(ev.OrderFailed(order.number, "uncertain", "silence", isinstance(order, GIVES_MORE)))
            elif not self.toy.obey(order):
                self.feed(ev.OrderFailed(order.number, "differs", "not now"))
            elif fate == "silent, done":
                self.feed(ev.OrderFailed(order.number, "uncertain", "silence", isinstance(order, GIVES_MORE)))
            else:
                self.feed(self.toy.outcome(order, self.case.now))

    # --- time ---

    @rule(seconds=st.sampled_from([1, 2, 5, 31, 120, 700]))
    def live(self, seconds: int) -> None:
        """Polls each second while plugged in, wakes when asked to."""
        for _ in range(4):
            self.settle_line()
        for _ in range(seconds):
            left = POLL_S
            wake = self.case.wake_at
            if wake is not None and wake < self.case.now + POLL_S:
                first = max(0.0, wake - self.case.now)
                self.pass_time(first)
                left -= first
                self.feed(ev.Tick())
                self.settle_line()
            self.pass_time(left)
            self.poll()
            self.settle_line()
            self.settle_line()

    @rule(fate=FATES)
    def answer(self, fate: str) -> None:
        self.pass_time(0.1)
        self.settle_line(fate)

    # --- whole stretches, or most sequences would never see a pump run ---

    @initialize(kind=st.sampled_from(sorted(PLANS)), stage=st.sampled_from(["idle", "armed", "running", "paused"]))
    def begin(self, kind: str, stage: str) -> None:
        if stage == "idle":
            return
        self.plan(kind)
        self.arm()
        self.answer("done")
        assert self.state.phase is Phase.ARMED
        if stage != "armed":
            self.start(right=True)
            self.answer("done")
            assert self.state.phase is Phase.RUNNING
        if stage == "paused":
            self.live(31)
            self.feed(ev.PauseOrdered(self.by()))
            self.live(2)
            assert self.state.phase is Phase.PAUSED

    @rule(kind=st.sampled_from(sorted(PLANS)))
    @precondition(lambda self: self.state.phase in (*NOBODYS, Phase.ENDED, Phase.ABORTED))
    def next_patient(self, kind: str) -> None:
        """As far as it goes: a plan, arming, a start."""
        self.toy.stop()
        if not self.plugged:
            self.plug_in(5, stranger=False)
        self.live(1)
        self.plan(kind)
        for order in (lambda: ev.ArmOrdered(self.by(), "p-1", (), "ok"), self._start):
            self.feed(order())
            self.answer("done")

    def _start(self) -> ev.Event:
        return ev.StartOrdered(self.by(), self.case.confirm())

    @rule(seconds=st.sampled_from([2, 31, 700]))
    @precondition(lambda self: self.plugged and self.state.phase in (Phase.ARMED, Phase.PAUSED))
    def go_on(self, seconds: int) -> None:
        """All is done as it should be."""
        self.live(2)
        who = self.by("prescriber")
        resume = ev.ResumeOrdered(who, self.case.confirm(), pressure_released=True)
        self.feed(self._start() if self.state.phase is Phase.ARMED else resume)
        self.answer("done")
        self.live(seconds)

    # --- persons ---

    def by(self, role: str = "nurse") -> ev.By:
        return self.case.by(role)

    @rule(kind=st.sampled_from(sorted(PLANS)))
    @precondition(lambda self: self.state.phase in (Phase.IDLE, Phase.PLANNED, Phase.ENDED, Phase.ABORTED, Phase.ARMED))
    def plan(self, kind: str) -> None:
        if self.state.phase is Phase.ENDED and self.toy.motion.moves:
            return
        name = f"s-{len(self.case.log)}"
        self.feed(ev.PlanOrdered(self.by(), name, PLANS[kind], self.case.rules, self.case.before()))

    @rule()
    @precondition(lambda self: self.state.phase in (Phase.PLANNED, Phase.ARMED))
    def arm(self) -> None:
        self.feed(ev.ArmOrdered(self.by(), "p-1", (), "ok"))

    @rule(right=st.sampled_from([True, True, True, False]))
    @precondition(lambda self: self.state.phase is Phase.ARMED)
    def start(self, right: bool) -> None:
        self.feed(ev.StartOrdered(self.by(), self.case.confirm(None if right else MlPerHour(99))))

    @rule(right=st.booleans(), role=st.sampled_from(["nurse", "prescriber"]), released=st.booleans())
    @precondition(lambda self: self.state.phase is Phase.PAUSED)
    def resume(self, right: bool, role: str, released: bool) -> None:
        confirm = self.case.confirm() if right else None
        self.feed(ev.ResumeOrdered(self.by(role), confirm, pressure_released=released))

    @rule(role=st.sampled_from(["nurse", "prescriber"]))
    @precondition(lambda self: self.state.phase is Phase.PAUSED)
    def catch_up(self, role: str) -> None:
        self.feed(ev.ResumeOrdered(self.by(role), self.case.confirm(), recalculate=True, pressure_released=True))
        words = self.case.answer.text
        if "confirm: rate " in words:
            rate = MlPerHour(words.split("rate ")[1].split(" mL/h")[0])
            self.feed(ev.ResumeOrdered(self.by(role), self.case.confirm(rate), recalculate=True))

    @rule(
        which=st.sampled_from([ev.PauseOrdered, ev.StopOrdered, ev.PumpStopOrdered, ev.EndOrdered, ev.ReleaseOrdered])
    )
    def order_plainly(self, which: type) -> None:
        self.feed(which(self.by()))

    @rule(
        which=st.sampled_from([ev.RestoreOrdered, ev.AcceptOrdered, ev.FinishOrdered]),
        role=st.sampled_from(["nurse", "prescriber"]),
    )
    def order_confirmed(self, which: type, role: str) -> None:
        confirm = self.case.confirm()
        if which is ev.AcceptOrdered and self.state.report is not None:
            confirm = ev.Confirm(self.state.report.rate)
        self.feed(which(self.by(role), confirm))

    @rule(rate=st.sampled_from(["20", "40", "46.66", "60", "104", "300"]), confirmed=st.booleans())
    @precondition(lambda self: self.state.phase is Phase.RUNNING)
    def set_rate(self, rate: str, confirmed: bool) -> None:
        self.feed(ev.RateOrdered(self.by(), MlPerHour(rate), ev.Confirm(MlPerHour(rate)) if confirmed else None))

    @rule()
    @precondition(lambda self: self.state.phase is Phase.PAUSED)
    def change_container(self) -> None:
        self.feed(ev.ContainerOrdered(self.by(), SYRINGE, FITTED))

    # --- the keypad and the pump itself ---

    def hand(self, rate: MlPerHour) -> None:
        """A hand at the pump gives until the next poll has been answered, or its watchdog acts."""
        self.allowed += rate.over(2 * POLL_S + (0.0 if self.plugged else WATCHDOG_S)) + MINIMUM

    @rule()
    def key_stop(self) -> None:
        self.toy.stop()

    @rule()
    @precondition(lambda self: self.plugged and self.state.sight is Sight.SEEING)
    def key_start(self) -> None:
        self.hand(self.toy.rate)
        self.toy.start()

    @rule(rate=st.sampled_from(["5", "30", "60", "120"]))
    @precondition(lambda self: self.plugged and self.state.sight is Sight.SEEING)
    def key_rate(self, rate: str) -> None:
        self.hand(max(self.toy.rate, MlPerHour(rate), key=lambda each: each.value))
        self.toy.rate = MlPerHour(rate)

    @rule()
    @precondition(lambda self: self.plugged and self.state.sight is Sight.SEEING)
    def key_purge(self) -> None:
        self.hand(PURGE)
        self.toy.motion = Motion.PURGING

    @rule(code=st.sampled_from(["motor_stalled", "pump_program_error"]))
    def pump_alarm(self, code: str) -> None:
        self.toy.stop()
        if self.plugged:
            self.feed(ev.PumpTold(PumpAlarm(code, "A?")))

    # --- the line, the power, the program ---

    def unseen(self) -> None:
        """Sight goes while the pump does what no reading has told yet."""
        report = self.state.report
        if self.toy.motion.moves and (
            report is None or (report.motion, report.rate) != (self.toy.motion, self.toy.rate)
        ):
            rate = PURGE if self.toy.motion is Motion.PURGING else self.toy.rate
            self.allowed += rate.over(3.0 + WATCHDOG_S)

    def lose_line(self, reason: str) -> None:
        self.unseen()
        self.plugged = False
        self.pass_time(3.0)
        self.feed(ev.LinkDown(reason))
        for _ in range(2):
            self.settle_line()

    @rule()
    @precondition(lambda self: self.plugged)
    def unplug(self) -> None:
        self.lose_line("no reply")

    @rule(seconds=st.sampled_from([0.5, 5, 20, 300]), stranger=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: not self.plugged)
    def plug_in(self, seconds: float, stranger: bool) -> None:
        self.pass_time(seconds)
        self.plugged = True
        self.toy.version = "V9.9" if stranger else "V3.92"
        self.feed(ev.LinkUp(self.toy.identity()))
        self.poll()
        self.settle_line()

    @rule()
    @precondition(lambda self: self.plugged)
    def power_cycle(self) -> None:
        self.lose_line("no reply")
        self.toy.power_cycle()
        self.plugged = True
        self.feed(ev.PumpTold(PumpAlarm("pump_power_lost", "A?R")))
        self.feed(ev.LinkUp(self.toy.identity()))
        self.poll()

    @rule(carried_out=st.booleans(), gap=st.sampled_from([0.5, 5, 20]), rebooted=st.sampled_from([False, False, True]))
    def crash(self, carried_out: bool, gap: float, rebooted: bool) -> None:
        """The program dies with whatever is on the line, and comes back."""
        order = self.stop or self.order
        if order is not None and carried_out and self.plugged:
            self.toy.obey(order)
        self.stop = self.order = None
        self.unseen()
        self.flow(gap, heard=False)
        if not rebooted:
            self.case.now += gap
        self.feed(ev.Restarted(rebooted))
        if self.plugged:
            self.feed(ev.LinkUp(self.toy.identity()))
            self.poll()
            self.settle_line()

    @rule()
    def shut_down(self) -> None:
        self.feed(ev.Shutdown())
        self.settle_line()

    @rule()
    @precondition(lambda self: self.state.should_move)
    def lease_lapses(self) -> None:
        self.toy.stop()
        self.feed(ev.LeaseLapsed())
        self.settle_line()

    # --- always ---

    @invariant()
    def never_more_than_the_plan(self) -> None:
        if self.state.plan is None or self.state.released:
            return
        given = self.toy.given - self.given_before
        most = self.state.plan.volume + self.state.plan.highest_rate.over(POLL_S) + self.allowed + MINIMUM
        assert given <= most, f"{given} given of {self.state.plan.volume}, {self.allowed} by hand"

    @invariant()
    def the_clock_runs_while_it_infuses(self) -> None:
        running = self.state.run_since is not None
        if self.state.phase is Phase.RUNNING:
            assert running
        elif self.state.phase is not Phase.RECOVERING:
            assert not running

    @invariant()
    def blind_is_loud(self) -> None:
        if self.state.phase in (Phase.RUNNING, Phase.RECOVERING) and self.state.sight is not Sight.SEEING:
            assert LOUD & self.state.conditions, "S7: running unseen, and nothing tells it"

    @invariant()
    def what_was_ordered_waits_for_no_stop(self) -> None:
        assert self.state.halt is None or self.state.pending is None, "S5: an order is on its way beside a stop"

    @invariant()
    def the_most_is_no_less_than_the_truth(self) -> None:
        """What S1 subtracts is an upper bound of what was given up to the last reading."""
        if self.state.sight is Sight.SEEING and self.state.ours is not None and self.state.report is not None:
            given = self.toy.given - self.given_before
            since = self.toy.rate.over(max(0.0, self.case.now - self.state.volumes.at))
            assert self.state.volumes.most(step_of(given)) + self.allowed + MINIMUM + since >= given

    def teardown(self) -> None:
        """S10: what the journal holds leads to the same state, and decides the same again."""
        rows, state = [], State()
        for number, (event, now) in enumerate(self.case.log, start=1):
            decision = decide(state, event, now)
            state = decision.state
            rows.append(row(number, event, now, row_text(event, now, decision)))
        assert state == self.state
        assert recall(rows).state == self.state
        assert replay(rows) == (len(rows), [])


def row(number: int, event: ev.Event, now: float, data: str) -> Row:
    return Row(number, "", "", "one", "", type(event).__name__, "", now, "boot", False, data)


@pytest.mark.shows("S1", "S2", "S3", "S5", "S10", "S15")
class TestAnyOrder(AnyOrder.TestCase):
    settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "modest"))
