"""One bed: a link, a session, an alarm board. Feeds events to `decide`, and does what comes out.

Everything is handled in the order it happens, on the loop, without waiting: an event is decided, journaled, and its
effects go to link, alarms and bus at the same moment. Only an order that gives more waits for the journal (S9). A bed
that fails falls silent; its link then stops the pump (S16), and `pumpd.bedside.ward` brings the bed back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from math import inf

import structlog

from pumpd.bedside.alarm_keeper import AlarmKeeper
from pumpd.bedside.desk import Proposal, event_for, proposal_for
from pumpd.bedside.display import Display
from pumpd.bedside.hands import carry_out
from pumpd.bedside.house import House, Setup
from pumpd.bedside.onlooker import Onlooker
from pumpd.bedside.owed import Owed
from pumpd.core import events as ev
from pumpd.core.session import Decision, decide
from pumpd.core.sight import implausible, is_another
from pumpd.core.state import Sight, State
from pumpd.driver import Identity, PumpError
from pumpd.line import link as wire
from pumpd.line.talk import Deadline
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import Rejected, Request
from pumpd.records.journal import Row
from pumpd.records.recall import StopOwed, recall, row_text

LOOK_AGAIN_S = 0.5  # while an order that takes longer is carried out
STALE_S = 3.0  # wire seconds; an older reading is no news (docs/safety.md, figures)
POLL_LEAST_S = 0.1  # wire seconds; accelerated sessions poll no faster than this
REACTION_S = 0.02  # wire seconds a stop takes to act, generously: 5 ms are our target, 10 ms pass at 19200 baud
LEASE_S = 2.0  # wire seconds, or half the pump's watchdog (S16)
AFTER_POLL_S = 0.05  # wire seconds: the reading of the same second is in by then, so displays get it fresh
PULSE_S = 1.0  # wire seconds: lease while blind, telemetry, a look at the journal
STOP_CONFIRMED_S = 2.0  # wire seconds, or what this pump needs: a stop not read back by then is an alarm (S5)
SLEPT_S = 2.0  # a gap of the loop over this is a loss of sight (S11)
DURABLE_WITHIN_S = 0.5  # an order that gives more and is not durable by then is refused (S9)
GIVES_MORE_WITHIN_S = 20.0  # wire seconds from an order to its RUN or higher rate; a slow line takes 12 (S11)
JOURNAL_ALARM_S = 2.0  # a journal that is behind by more is an alarm (S9)
REPEAT_S = 10.0  # retained state is said again at this period (docs/mqtt.md)
UNJUDGED_MOST_S = 10.0  # wire seconds a pump without a watchdog may answer without one reading, then STOP (S16)
UNPROVED = "pump_not_proved"
OUTCOMES = (ev.OrderDone, ev.OrderFailed)

log = structlog.get_logger(__name__)


class Bed:
    """One bed. `broke` is called once when its own logic fails; after that it does nothing any more."""

    def __init__(self, setup: Setup, house: House, link: wire.Link, broke: Callable[[Exception], None]) -> None:
        self.setup, self.house, self.link = setup, house, link
        self.state = State()
        self.dead = False
        self.monitor_only = False
        self.owed = Owed(setup, house)
        clock = house.clock
        self.display = Display(setup.bed, setup.pump_id, setup.driver, setup.speed, setup.site, house.outlet, clock)
        self.alarms = AlarmKeeper(setup.bed, setup.pump_id, house, self.display)
        self.onlooker = Onlooker(setup, house, link, self.alarms, self.owed, self._confirm_within_s)
        self._broke = broke
        self._waiting: deque[ev.Event] = deque()
        self._deciding = False
        self._session_zero, self._wire_zero = 0.0, clock.wire()
        self._heard_at: float | None = None  # wire time of the last reading
        self._answers_since = clock.wire()  # ... or since when somebody answers and none came
        self._pulsed_at = clock.wire()
        self._said_at = clock.wire()
        self._looked_at = clock.wire()  # when the last look at the pump came to its end, with a reading or without
        self._identify = False
        self._told_seq = 0  # the row of an alarm that the next poll takes off the pump; 0: none
        self._proposal: Proposal | None = None
        self._order: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stale = Deadline(clock, lambda _: self._gone_stale())
        self._unconfirmed = Deadline(clock, lambda _: self.feed(ev.StopUnconfirmed()))
        self._unconfirmed_set = False
        self._wake_at: float | None = None
        self._wake = Deadline(clock, lambda _: self.feed(ev.Tick()))
        self._beat = Deadline(clock, self._on_beat)
        self._beat_due = 0.0

    # --- time -------------------------------------------------------------------------------------------------------

    def session_now(self) -> float:
        """Session seconds: wire seconds times the speed, from where the session's clock stood."""
        return self._session_zero + (self.house.clock.wire() - self._wire_zero) * self.setup.speed

    # --- coming back ------------------------------------------------------------------------------------------------

    def recover(self, rows: Iterable[Row]) -> None:
        """Take up what the journal says was going on (S10), before the first event. Raises Unreadable."""
        past = recall(rows)
        clock = self.house.clock
        self.alarms.restore(past.board, {each for each, boot_id in past.written_by.items() if boot_id == clock.boot_id})
        if past.wire is None:
            return
        same_boot = past.boot_id == clock.boot_id
        gap = max(0.0, clock.wire() - past.wire) if same_boot else 0.0  # across a reboot nobody knows (S11)
        self._session_zero, self._wire_zero = past.now + gap * self.setup.speed, clock.wire()
        self.state = past.state
        if same_boot and past.state.in_our_hands:
            unread = past.now - past.state.volumes.at
            last_reading = past.wire - max(0.0, unread) / self.setup.speed
            self.link.heard_by_another_process(last_reading, blind=past.state.sight is Sight.BLIND)
        self.alarms.drop_all_but(past.state.conditions)
        self.alarms.agree(past.state.conditions, past.values)
        self.feed(ev.Restarted(rebooted=not same_boot))

    def take_on(self, stops: list[StopOwed]) -> None:
        """The stops that a dead process owed: decided where this bed decides, else carried out as they are (S5)."""
        self.owed.restore(stops)
        if self.monitor_only:
            self.onlooker.go_on(self.state)
        else:
            self._settle_debts()

    def succeed(self, broken: Bed, *, monitor_only: bool) -> None:
        """Take over from a bed that failed: its state is whole, for deciding never changes what it was given."""
        self._session_zero, self._wire_zero = broken.session_now(), self.house.clock.wire()
        self.state = broken.state
        self._identify = True
        self.alarms.restore(broken.alarms.board, {alarm.alarm_id for alarm in broken.alarms.board.alarms})
        self.alarms.agree(broken.state.conditions, {})
        self.owed.inherit(broken.owed)
        if monitor_only:
            self._last_decision(ev.Restarted(rebooted=False))
            self.onlooker.go_on(self.state)
        else:
            self.feed(ev.Restarted(rebooted=False))
            self._settle_debts()

    def _last_decision(self, event: ev.Event) -> None:
        """So that displays do not show a session that runs; whether it can be decided no longer matters."""
        try:
            self._take(event)
        except Exception as error:
            log.error("bed.failed", bed=self.setup.bed, exc_info=error)
        self.monitor_only = True

    def _settle_debts(self) -> None:
        """Decide what came while nobody decided. What cannot be decided now either stays owed."""
        for event in self.owed:
            if not self.dead:
                self.feed(event)
            if not self.dead:
                self.owed.settled(event)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Take one event. Never raises: a fault in deciding ends this bed, and this bed alone."""
        if self.dead:
            self._owe(event)
            return
        if self.monitor_only:
            self.state = self.onlooker.show(self.state, event)
            return
        self._waiting.append(event)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._waiting:
                self._take(self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # whatever broke: this bed's pump is stopped by its link, the others go on
            self.break_down(error)
        finally:
            self._deciding = False

    def _owe(self, event: ev.Event) -> None:
        """What must not be lost with this bed: a pump tells an alarm once, and a person orders a stop once (S5)."""
        match event:
            case ev.PumpTold():
                self.owed.keep_told(event)
            case ev.StopOrdered() | ev.PauseOrdered() | ev.PumpStopOrdered():
                self.owed.keep(event)

    @property
    def _confirm_within_s(self) -> float:
        able = self.setup.site.capabilities
        return max(STOP_CONFIRMED_S, able.worst_reply_s + able.poll_s)

    def _take(self, event: ev.Event) -> None:
        now, before = self.session_now(), self.state
        if isinstance(event, ev.Tick) and self._wake_at is not None:
            now = max(now, self._wake_at)  # a timer may fire a rounding error early, which would ask again for ever
        decision = self.house.budget.run(decide, before, event, now)
        self.state = decision.state
        seq = self._record(event, now, before, decision)
        if before.started is None and self.state.started is not None:
            self.house.patients.started(self.state, self.house.clock.wall())
        if isinstance(event, ev.PumpTold) and self.setup.site.capabilities.poll_acknowledges_alarm:
            self._told_seq = seq
        orders: list[ev.Order] = []
        for effect in decision.effects:
            match effect:
                case ev.Raise() | ev.Clear():
                    self.alarms.mark(effect, self.state.session_id or None)
                case ev.Answer():
                    self.house.office.answer(effect, self.setup.bed, self.state, self._proposal)
                case _:
                    orders.append(effect)
        if self._order is not None and _given_up(before, self.state) and not isinstance(event, OUTCOMES):
            self._order.cancel()  # S3: it may still wait for journal or line, and nobody would know that it was sent
        for order in orders:
            self._send(order, seq)
        self._set_timers(decision)
        if isinstance(event, ev.OrderDone) and event.report is not None:
            self._renew_lease()  # it has been judged: a start that was read back is guarded from there on
        if before.phase is not self.state.phase:
            phase, was = self.state.phase.value, before.phase.value
            log.info("session", bed=self.setup.bed, phase=phase, was=was, because=type(event).__name__)
        if before.revision != self.state.revision:
            self.display.session(self.state, self.session_now())

    def _record(self, event: ev.Event, now: float, before: State, decision: Decision) -> int:
        """Journal what was decided. Readings without a session are no record; with one they can be spared last."""
        reading = isinstance(event, (ev.PumpReported, ev.Tick)) and not decision.effects
        if reading and not self.state.has_session and replace(before, report=None) == replace(self.state, report=None):
            return 0
        by: ev.By | None = getattr(event, "by", None)
        return self.house.logbook.write(
            type(event).__name__,
            row_text(event, now, decision),
            bed=self.setup.bed,
            source=self.setup.pump_id,
            session_id=self.state.session_id,
            actor=by.actor if by is not None else "",
            routine=reading,
        )

    def break_down(self, error: Exception) -> None:
        """Fall silent: the lease runs out at once, so the link stops the pump by itself."""
        if self.dead:
            return
        self.dead = True
        for event in self._waiting:  # the one that broke it, perhaps, and those behind it
            self._owe(event)
        self._waiting.clear()
        log.error("bed.failed", bed=self.setup.bed, exc_info=error)
        if self._answers_for_the_pump:
            if UNPROVED in self.state.conditions:
                self.link.doubt()
            self.link.guard(0.0)
        self.close()
        self._broke(error)

    @property
    def _answers_for_the_pump(self) -> bool:
        """A pump without a session, or released, is nobody's business: it gets no STOP because we failed (S10)."""
        state = self.state
        return state.halt is not None or state.pending is not None or (state.has_session and not state.released)

    def _set_timers(self, decision: Decision) -> None:
        now, state = self.house.clock.wire(), self.state
        wake_at = self._wake_at = decision.wake_at
        self._wake.set(inf if wake_at is None else now + max(0.0, wake_at - self.session_now()) / self.setup.speed)
        if state.halt is None:
            self._unconfirmed_set = False
            self._unconfirmed.set(inf)
        elif not self._unconfirmed_set:
            self._unconfirmed_set = True
            self._unconfirmed.set(now + self._confirm_within_s)
        self.link.hands_off = state.released
        self.link.in_session = state.in_our_hands
        if not state.should_move or UNPROVED in state.conditions:
            self.link.stand_down()

    # --- orders -----------------------------------------------------------------------------------------------------

    def _send(self, order: ev.Order, seq: int) -> None:
        now = self.house.clock.wire()
        if isinstance(order, ev.Halt):
            if self._order is not None:
                self._order.cancel()  # S5: it discards every older order, also one that still waits for the journal
            self._spawn(self._carry(order, now))
        else:
            self._order = self._spawn(
                self._when_durable(order, seq, now) if order.gives_more else self._carry(order, now)
            )

    async def _when_durable(self, order: ev.Order, seq: int, since: float) -> None:
        """S9: what gives more is on the disk before its first byte leaves."""
        if await self.house.logbook.journal.durable(seq, DURABLE_WITHIN_S):
            await self._carry(order, since)
        else:
            text = f"the journal could not be written within {DURABLE_WITHIN_S} s"
            self.feed(ev.OrderFailed(order.number, "journal_unavailable", text))

    async def _carry(self, order: ev.Order, since: float) -> None:
        pending = self.state.pending
        if pending is not None and pending.order is order and pending.by is not None:
            self.house.office.answer(ev.Answer(pending.by.request, "started"), self.setup.bed, self.state)
        outcome = await carry_out(order, self.link, self.session_now, lambda: self._in_time(since))
        if isinstance(outcome, ev.OrderDone):
            self._answers_since = now = self.house.clock.wire()  # read back: it can be judged
            if outcome.report is not None:
                self._stale.set(now + STALE_S)
        elif isinstance(order, ev.Halt) and outcome.reason in ("garbled", "refused"):
            await asyncio.sleep(wire.STOP_AGAIN_S)  # it is ordered again at once, and the loop is there for all beds
        self.feed(outcome)

    def _in_time(self, since: float) -> bool:
        return self.house.clock.wire() - since <= GIVES_MORE_WITHIN_S

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.break_down(error)

    # --- readings ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll and pulse until cancelled."""
        self._beat_due = self.house.clock.wire() + self.setup.stagger_s + AFTER_POLL_S
        self._beat.set(self._beat_due)
        try:
            await self._poll()
        finally:
            self.close()

    def close(self) -> None:
        """End the timers and orders of this bed; the link lives on."""
        for deadline in (self._stale, self._unconfirmed, self._wake, self._beat):
            deadline.close()
        self.onlooker.close()
        for task in self._tasks:
            task.cancel()

    async def _poll(self) -> None:
        """Read the pump at every period, counted from the first: a late reading does not shift the next (S6)."""
        clock = self.house.clock
        asked_again_at = clock.wire()
        period = max(POLL_LEAST_S, self.setup.site.capabilities.poll_s / self.setup.speed)
        due = clock.wire() + self.setup.stagger_s
        while not self.dead:
            await asyncio.sleep(due - clock.wire())
            if self.link.ready and UNPROVED not in self.state.conditions:
                asked_again_at = clock.wire()
                await self._read()
            elif self.link.ready and clock.wire() - asked_again_at >= wire.ASK_AGAIN_S:
                asked_again_at = clock.wire()
                await self._ask_again()
            self._looked_at = clock.wire()
            due = max(due + period, clock.wire())

    async def _ask_again(self) -> None:
        """A pump is not proved: was it only damage on the line? The same answer again is no news."""
        try:
            identity = await self.link.perform(self.link.connect)
        except PumpError:
            return
        if identity != self.state.connected:
            self._answers_since = self.house.clock.wire()
            self.feed(ev.LinkUp(identity))

    async def _look(self) -> None:
        """Whoever answers is read at once: nobody waits for the next poll to see again."""
        if UNPROVED not in self.state.conditions:
            await self._read()
            self.say_telemetry()

    async def _read(self) -> None:
        if seq := self._told_seq:
            self._told_seq = 0
            await self.house.logbook.journal.durable(seq, DURABLE_WITHIN_S)  # else two crashes could lose the alarm
        try:
            identity = await self.link.perform(self.link.connect) if self._identify else None
            asked_at = self.house.clock.wire()
            report = await self.link.perform(self.link.pump.read)
            if implausible(self.state, report, self.session_now()):
                identity = await self._another()
        except PumpError as error:
            log.debug("bed.no_reading", bed=self.setup.bed, error=str(error))  # the link tells when it is lost
            return
        except Exception as error:  # a fault of the driver is no fault of the bed, but nothing can be read
            log.error("bed.driver_fault", bed=self.setup.bed, exc_info=error)
            return
        now = self.house.clock.wire()
        self._heard_at = self._answers_since = now
        if identity is not None:  # and only now: who answers and cannot be read is not seen (S7)
            self._identify = False
            self.feed(ev.LinkUp(identity))
        self.feed(ev.PumpReported(report, (now - asked_at) * self.setup.speed))
        self._stale.set(now + STALE_S)
        self._renew_lease()

    async def _another(self) -> Identity | None:
        """In doubt, asked before its reading is judged, so that nothing is ordered: who, if not our pump (S15)."""
        identity = await self.link.perform(self.link.connect)
        return identity if is_another(self.state, identity) else None

    def _renew_lease(self) -> None:
        """S16: a judged reading, or knowing that there is none, keeps the pump going a little longer."""
        if self.dead or self.monitor_only or not self.state.should_move or UNPROVED in self.state.conditions:
            return
        watchdog = self.setup.site.capabilities.watchdog_s
        self.link.guard(min(LEASE_S, watchdog[0] / 2) if watchdog else LEASE_S)

    def _answers_unjudged(self, now: float) -> bool:
        """Our pump may move and answers, but not one answer is a reading: asked on like this it is fed for ever."""
        state = self.state
        if self.monitor_only or not (state.should_move and self.link.ready) or UNPROVED in state.conditions:
            return False
        watchdog = self.setup.site.capabilities.watchdog_s
        most = UNJUDGED_MOST_S if watchdog is None else watchdog[1]
        if state.halt is not None and not state.halt.in_flight:
            most = LEASE_S  # S5: a stop is owed and only a reading would send it
        return now - self._answers_since >= most

    def _gone_stale(self) -> None:
        try:
            if self._being_set():
                self._stale.set(self.house.clock.wire() + LOOK_AGAIN_S)
            elif self.state.sight is not Sight.BLIND and UNPROVED not in self.state.conditions:
                self._lose_sight(f"no reading for {STALE_S:g} s")
        except Exception as error:  # a timer's fault would only be logged, and the bed go on without it
            self.break_down(error)

    def _being_set(self) -> bool:
        """A pump that stands answers one question of an order after the other: however slowly, it is in sight."""
        pending, halt, report = self.state.pending, self.state.halt, self.state.report
        if pending is None or halt is not None or report is None or report.motion.moves:
            return False
        since_s = (self.session_now() - pending.since) / self.setup.speed
        return self.link.conversing and since_s <= GIVES_MORE_WITHIN_S

    def _lose_sight(self, reason: str) -> None:
        self._identify = True
        self.feed(ev.LinkDown(reason))
        self.say_telemetry()

    def _on_beat(self, now: float) -> None:
        try:
            self.pulse()
        except Exception as error:
            self.break_down(error)
        else:
            self._beat_due = max(self._beat_due + PULSE_S, now)
            self._beat.set(self._beat_due)

    def pulse(self) -> None:
        """Once a second: notice a loop that stood still, keep the lease while blind, tell displays, mind the disk."""
        now = self.house.clock.wire()
        slept, self._pulsed_at = now - self._pulsed_at, now
        if slept > PULSE_S + SLEPT_S:
            self._slept(slept)
        fresh = self._heard_at is not None and now - self._heard_at < STALE_S
        if self._answers_unjudged(now):
            self.link.guard(0.0)  # S16: the line works, so the link can stop what nobody can judge
        elif self.state.sight is not Sight.SEEING or fresh:
            self._renew_lease()
        self.alarms.note("journal_unavailable", self.house.logbook.journal.behind_s(now) > JOURNAL_ALARM_S)
        self.alarms.refresh()
        self.say_telemetry()
        if now - self._said_at >= REPEAT_S:
            self._said_at = now
            self.display.connection(self._heard_at)
            self.display.session(self.state, self.session_now())

    def stood_still(self, seconds: float) -> None:
        """The loop of this program did not run for so long. Over SLEPT_S it is a loss of sight (S11)."""
        try:
            self.alarms.happened("loop_stalled_long" if seconds > SLEPT_S else "loop_stalled", seconds=f"{seconds:.1f}")
            if seconds > SLEPT_S:
                self._slept(seconds)
        except Exception as error:
            self.break_down(error)

    def _slept(self, seconds: float) -> None:
        if self.state.sight is not Sight.BLIND:
            self._lose_sight(f"the program stood still for {seconds:.1f} s")

    @property
    def judged_at(self) -> float:
        """Wire time up to which this bed is known to work: it beats, and looks at its pump or knows that it cannot."""
        looked_at = self.house.clock.wire() if self.link.conversing else self._looked_at
        return min(looked_at, self._pulsed_at)

    # --- the link ---------------------------------------------------------------------------------------------------

    def on_link(self, event: wire.LinkEvent) -> None:
        """What the link tells, at the moment it happens. Never raises: the link has to outlive the bed (S16)."""
        try:
            self._hear(event)
        except Exception as error:
            self.break_down(error)

    def _hear(self, event: wire.LinkEvent) -> None:
        match event:
            case wire.LinkUp(identity=identity):
                self._identify = False
                self._answers_since = self.house.clock.wire()
                self._stale.set(self._answers_since + STALE_S)
                self.feed(ev.LinkUp(identity))
                self.display.description(identity, self.state)
                self._spawn(self._look())
            case wire.LinkDown(reason=reason):
                self._stale.set(inf)
                self.feed(ev.LinkDown(reason))
                self.say_telemetry()
            case wire.PumpTold(alarm=alarm):
                self.feed(ev.PumpTold(alarm))
            case wire.UnaskedAnswers():
                self.feed(ev.UnaskedAnswers())
            case wire.LinkPhase():
                self.display.link(event)
                self.display.connection(self._heard_at)
            case wire.LeaseLapsed():
                self.feed(ev.LeaseLapsed())
            case wire.LeaseStopDone():
                if not self.dead:
                    self.link.reclaim()

    # --- requests and displays --------------------------------------------------------------------------------------

    def request(self, request: Request, annunciator: str = "") -> None:
        """A person's order; its answers go to the office. Raises Rejected before anything has happened.

        `annunciator` is how its test went ("ok", or why it does not sound); only arming asks for it.
        """
        patient = request.args.patient_ref if isinstance(request.args, PlanArgs) else self.state.patient_ref
        former = self.house.patients.former(patient, self.house.clock.wall())
        event = event_for(request, self.state, self.setup.site, self.house.new_id, annunciator, former)
        if self.dead:
            if not isinstance(event, (ev.StopOrdered, ev.PauseOrdered, ev.PumpStopOrdered)):
                raise Rejected("busy", "the bed's supervision is being restarted", request.id)
            self._owe(event)  # latched; the link is stopping the pump already
            return
        if isinstance(request.args, PlanArgs):
            self._proposal = proposal_for(request, self.setup.site, former)
        self.feed(event)
        self._proposal = None

    def heard_ago_ms(self) -> int | None:
        """Wire age of the last reading; None when there was none."""
        return None if self._heard_at is None else round((self.house.clock.wire() - self._heard_at) * 1000)

    def say_telemetry(self) -> None:
        """One sample, now."""
        self.display.telemetry(self.state, self.session_now(), self._heard_at)

    def say_all(self) -> None:
        """All that is retained, for a birth or a snapshot."""
        self.display.description(self.link.identity, self.state)
        self.display.connection(self._heard_at)
        self.display.session(self.state, self.session_now())
        self.alarms.say_all()


def _given_up(before: State, after: State) -> bool:
    """An order was on its way and nobody waits for it any more."""
    if before.pending is None:
        return False
    return after.pending is None or after.pending.order.number != before.pending.order.number
