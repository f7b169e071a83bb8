"""One port to one pump: keeps it open, proves who answers, runs dialogues, and stops the pump when nobody judges it.

The conversation itself is `pumpd.line.talk`. This module owns what outlives a conversation: the port, the phase of the
link, and the lease (S16). Rules: S5 STOP-FENCE, S7 BLIND-IS-LOUD, S15 SAME-PUMP, S16 LEASED.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Literal, TypeAlias, TypeVar

from pumpd.clock import Clock
from pumpd.driver import Dialogue, Identity, Preempted, Pump, PumpAlarm, PumpError, PumpReport, Silent
from pumpd.line.ports import PortError
from pumpd.line.talk import Counters, Deadline, Pipe, Talk

T = TypeVar("T")

REOPEN_FIRST_S = 0.25  # a USB adapter that was bumped is back within a second
REOPEN_MOST_S = 5.0  # nobody should wait longer than this after plugging the pump in again
CONNECT_AGAIN_S = 0.5  # a pump that is switched on answers within seconds; asking twice a second is no load
ASK_AGAIN_S = 35.0  # over the longest watchdog (30 s): a question feeds it, and nobody judges a pump that is not ours
CONNECTS_PER_OPEN = 8  # then the port is opened afresh: a half-open TCP connection never answers again by itself
STARVE_MARGIN_S = 1.0  # beyond the watchdog's time: then a pump that hears us, and that we do not hear, has stopped
STOP_AGAIN_S = 0.25  # between two attempts to stop after a lapsed lease
STOPS_PER_CONNECT = 3  # a pump that was off and on again may have to be met anew before it says that it stands

OpenPipe: TypeAlias = Callable[[Callable[[bytes], None], Callable[[str], None]], Awaitable[Pipe]]
State: TypeAlias = Literal["init", "connecting", "negotiating", "ready", "lost", "disabled"]


class NotConnected(PumpError):
    """Nothing was sent, because the link cannot or may not carry it now. The text says why."""


class AnotherPump(NotConnected):
    """Somebody answers, and it is not the pump of the session (S15)."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A pump answers and said who it is. Told after each open, each silence and each `reclaim`."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The pump cannot be reached. Told once for each distinct reason until it is reached again."""

    reason: str


@dataclass(frozen=True, slots=True)
class PumpTold:
    """The pump told an alarm; told at the moment its frame was read, before any dialogue saw that frame."""

    alarm: PumpAlarm


@dataclass(frozen=True, slots=True)
class UnaskedAnswers:
    """The pump has answered questions that were not ours, several times: something else speaks on its line."""


@dataclass(frozen=True, slots=True)
class LinkPhase:
    """What the link is doing, for displays."""

    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """Nobody judged a report in time: the link is stopping the pump."""


@dataclass(frozen=True, slots=True)
class LeaseStopDone:
    """The pump was read back standing after a lapse. The link is silent from now on, until `reclaim`."""

    report: PumpReport


LinkEvent: TypeAlias = LinkUp | LinkDown | PumpTold | UnaskedAnswers | LinkPhase | LeaseLapsed | LeaseStopDone


class Lease(Enum):
    """Who answers for what the pump does."""

    FREE = "nothing moves, no lease is needed"
    GUARDED = "a bed judges the reports"
    LAPSED = "nobody does: the link stops the pump"
    MUTE = "stopped; the line stays silent, so that the pump's watchdog expires"


class Link:
    """Construct inside a running loop, run `run()` for ever in one task, and order with `perform()`."""

    def __init__(
        self,
        name: str,
        pump: Pump,
        open_pipe: OpenPipe,
        clock: Clock,
        tell: Callable[[LinkEvent], None],
        is_ours: Callable[[Identity], bool],
        serial_number: str | None = None,
    ) -> None:
        """`tell` is called synchronously and must neither block nor raise.

        `is_ours` says of whoever answers whether it may be the pump of the session; after a lapse no other is stopped.
        With a `serial_number`, the configured one, no other pump is ever our pump (S15).
        """
        self.name, self.pump, self.phase = name, pump, LinkPhase("init")
        self.identity: Identity | None = None  # of the last pump that answered
        self.lease = Lease.FREE
        self.hands_off = False  # True: whoever answers is asked who it is, and nothing is changed in it
        self.in_session = False  # True: a pump was armed and holds its dose; while unheard it must not be fed for ever
        self._open_pipe, self._clock, self._tell, self._is_ours = open_pipe, clock, tell, is_ours
        self._serial_number = serial_number
        self._talk = Talk(
            pump,
            clock,
            told=lambda alarm: tell(PumpTold(alarm)),
            unanswered=self._unanswered,
            unasked=lambda: tell(UnaskedAnswers()),
        )
        self._keep_alive = pump.keep_alive()
        self._kept_alive_at = -inf
        self._lease_until = inf
        self._lease_timer = Deadline(clock, self._mind_lease)
        self._reclaimed = False
        self._silent_until = -inf  # end of the last silence that was longer than the pump's watchdog
        self._born_at = clock.wire()
        self._proved = False  # this opening of the port was identified as the pump of before
        self._reasons_told: set[str] = set()
        self._reopen_in_s = REOPEN_FIRST_S
        self._changed = asyncio.Event()

    # --- for the bed ------------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """The health of the line since start."""
        return self._talk.counters

    @property
    def ready(self) -> bool:
        """True while an identified pump answers."""
        return self.phase.state == "ready"

    @property
    def conversing(self) -> bool:
        """A dialogue is under way and the pump answers, so whoever waits behind it is not forgotten."""
        silent_s = self._clock.wire() - self._talk.answered_at
        return self._talk.busy and silent_s < self.pump.capabilities.lost_after_s

    async def perform(self, dialogue: Callable[[], Dialogue[T]], *, fence: bool = False) -> T:
        """Run one dialogue, in the order of the calls, and give its result.

        `fence=True` is for STOP: it goes out at once, every older dialogue ends with Preempted, and an open port is
        all it needs. Raises NotConnected at once when nothing may be sent; else Refused, Garbled, Silent, Uncertain
        or Preempted.
        """
        if fence:
            if not self._talk.open:
                raise NotConnected(self._words())
        elif self.lease in (Lease.LAPSED, Lease.MUTE):
            raise NotConnected("lease lapsed")
        elif not self.ready:
            raise NotConnected(self._words())
        return await self._talk.submit(dialogue, fence=fence)

    def guard(self, seconds: float) -> None:
        """The pump may move for `seconds` of wire time more. A lease that has lapsed cannot be renewed."""
        now = self._clock.wire()
        if self.lease is Lease.GUARDED and now >= self._lease_until:
            self._lapse()
        if self.lease in (Lease.FREE, Lease.GUARDED):
            self.lease, self._lease_until = Lease.GUARDED, now + seconds
            self._lease_timer.set(min(self._lease_until, self._keep_alive_due()))

    def stand_down(self) -> None:
        """Nothing moves: no lease is needed, and the pump's watchdog is not fed."""
        if self.lease is Lease.GUARDED:
            self.lease = Lease.FREE

    def reclaim(self) -> None:
        """A restarted bed takes over after a lapse. A STOP that is not read back yet goes on first."""
        self._reclaimed = True
        if self.lease is Lease.MUTE:
            self._give_back()

    def heard_by_another_process(self, at: float, *, blind: bool) -> None:
        """A process before this one had its last reading at wire time `at`: the asking counts from there.

        Where it died `blind`, it may have begun a silence, which our first question would break.
        """
        self._born_at = min(self._born_at, at)
        watchdog = self.pump.capabilities.watchdog_s
        if blind and watchdog is not None and self._clock.wire() - at > watchdog[1]:
            self._silent_until = at + 2 * watchdog[1] + self.pump.capabilities.lost_after_s + STARVE_MARGIN_S

    def doubt(self) -> None:
        """Whoever answers says again who it is before anything else: it may not be our pump (S15)."""
        self._proved = False
        if self.ready:
            self._enter("negotiating", "perhaps another pump answers")

    def connect(self) -> Dialogue[Identity]:
        """Ask who answers, and get the line ready for orders unless it is hands off.

        Raises AnotherPump, and has changed nothing in it, where the configured serial number is not told.
        """
        if self._serial_number is not None:
            found = yield from self.pump.connect(hands_off=True)
            if found.serial != self._serial_number:
                serial = f"serial number {found.serial}" if found.serial else "no serial number"
                raise AnotherPump(f'another pump answers: {serial} instead of "{self._serial_number}"')
            if self.hands_off:
                return found
        return (yield from self.pump.connect(hands_off=self.hands_off))

    def recognise(self, identity: Identity) -> None:
        """Our pump reads so from now on, because it was armed: by this it is known again after a loss (S15)."""
        self.identity = identity

    # --- the port ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link until cancelled: open, identify, watch, open again; and stop the pump when the lease lapses."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_stopped(), name=f"{self.name}: lease")
                await self._keep_open()
        finally:
            self._lease_timer.close()
            self._enter("disabled")

    async def _keep_open(self) -> None:
        while True:
            self._enter("connecting", self.phase.detail)
            try:
                pipe = await self._open_pipe(self._talk.received, self._vanished)
            except PortError as error:
                self._down(str(error), "connecting")
            else:
                await self._sit(pipe)
            await asyncio.sleep(self._reopen_in_s)
            self._reopen_in_s = min(2 * self._reopen_in_s, REOPEN_MOST_S)

    async def _sit(self, pipe: Pipe) -> None:
        self._talk.attach(pipe)
        try:
            await self._stay_connected()
        finally:
            self._proved = False
            self._talk.detach(NotConnected(self.phase.detail or "the link was closed"))
            pipe.close()
        self.counters.reopened += 1

    async def _stay_connected(self) -> None:
        """Identify the pump as often as needed. Returns when the port is gone or should be opened afresh."""
        self._enter("negotiating")
        failed = 0
        while failed < CONNECTS_PER_OPEN:
            if (silent_s := self._silent_until - self._clock.wire()) > 0:  # a port that blinks does not break it
                await self._until(lambda: not self._talk.open, silent_s)
            await self._until(self._may_connect)
            if not self._talk.open:
                return
            try:
                self._up(await self._talk.submit(self.connect))
            except Preempted:
                continue
            except Exception as error:  # a fault of the driver must not end the link: it still has to carry STOP
                if not self._talk.open:
                    return
                failed += 1
                self._down(_words_of(error), "lost")
                await self._until(lambda: not self._talk.open, self._pause_after(error))
            else:
                failed = 0
                await self._until(lambda: not self._talk.open or not self.ready)

    def _pause_after(self, error: Exception) -> float:
        watched = self.pump.capabilities.watchdog_s is not None
        return ASK_AGAIN_S if watched and isinstance(error, AnotherPump) else self._pause_between_connects()

    def _pause_between_connects(self) -> float:
        """A pump that hears us but that we do not hear must not be fed for ever: any question feeds its watchdog (S16).

        For one watchdog time after its last word we ask often, since it may well be infusing as planned. Then silences
        that are long enough for it to stop by itself take turns with asking: somebody may start it at its keypad again.
        """
        watchdog = self.pump.capabilities.watchdog_s
        if watchdog is None or not (self.in_session or self.lease is not Lease.FREE):
            return CONNECT_AGAIN_S
        now = self._clock.wire()
        asked_since = max(self._talk.answered_at, self._born_at, self._silent_until)
        if now - asked_since < watchdog[1]:
            return CONNECT_AGAIN_S
        self._silent_until = now + watchdog[1] + STARVE_MARGIN_S
        return watchdog[1] + STARVE_MARGIN_S

    def _may_connect(self) -> bool:
        """Reads are allowed, or the port is gone. While a lapsed lease stops a proved pump, the line is for STOP."""
        idle = self.lease in (Lease.FREE, Lease.GUARDED)
        return idle or (self.lease is Lease.LAPSED and not self._proved) or not self._talk.open

    def _up(self, identity: Identity) -> None:
        if self.lease is Lease.LAPSED and not self._is_ours(identity):
            raise AnotherPump(f"another pump answers ({identity.model}): STOP is not sent to it")
        self.identity, self._proved = identity, True
        self._reasons_told.clear()
        self._reopen_in_s = REOPEN_FIRST_S
        self._enter("ready")
        self._tell(LinkUp(identity))

    def _vanished(self, reason: str) -> None:
        self._talk.detach(NotConnected(reason))
        self._down(reason, "lost")

    def _unanswered(self) -> None:
        if self.ready:
            reason = f"no answer for {self.pump.capabilities.lost_after_s:g} s"
            self._talk.end_all(NotConnected(reason), in_flight=Silent(reason))
            self._down(reason, "lost")

    def _down(self, reason: str, state: State) -> None:
        self._enter(state, reason)
        if reason not in self._reasons_told:
            self._reasons_told.add(reason)
            self._tell(LinkDown(reason))

    def _enter(self, state: State, detail: str = "") -> None:
        phase = LinkPhase(state, detail)
        self._changed.set()
        if phase != self.phase:
            self.phase = phase
            self._tell(phase)

    async def _until(self, holds: Callable[[], bool], at_most: float | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()

    def _words(self) -> str:
        return f"{self.phase.state}: {self.phase.detail}" if self.phase.detail else self.phase.state

    # --- the lease --------------------------------------------------------------------------------------------------

    def _mind_lease(self, now: float) -> None:
        if self.lease is not Lease.GUARDED:
            return
        if now >= self._lease_until:
            self._lapse()
            return
        if now >= self._keep_alive_due():
            self._feed(now)
        self._lease_timer.set(min(self._lease_until, self._keep_alive_due()))

    def _keep_alive_due(self) -> float:
        if self._keep_alive is None or not self.ready:
            return inf
        fed_at = self._kept_alive_at
        if self._keep_alive.covered_by_any:
            fed_at = max(fed_at, self._talk.last_sent)
        return fed_at + self._keep_alive.every_s

    def _feed(self, now: float) -> None:
        assert self._keep_alive is not None
        self._kept_alive_at = now
        # A keep-alive that fails is not told: the next reading fails too, and that one is judged.
        self._talk.submit(self._keep_alive.dialogue).add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )

    def _lapse(self) -> None:
        self.lease, self._reclaimed = Lease.LAPSED, False
        self._tell(LeaseLapsed())
        self._changed.set()

    async def _keep_stopped(self) -> None:
        while True:
            await self._until(lambda: self.lease is Lease.LAPSED)
            report = await self._stop_until_standing()
            self.lease, self._talk.mute = Lease.MUTE, True
            self._tell(LeaseStopDone(report))
            if self._reclaimed:
                self._give_back()

    async def _stop_until_standing(self) -> PumpReport:
        fence, failed = True, 0
        while True:
            await self._until(lambda: self._proved and self._talk.open)
            try:
                report = await self._talk.submit(self.pump.stop, fence=fence)
                fence = True
                if not report.motion.moves:
                    return report
            except Preempted:  # by another STOP: let that one finish instead of cutting each other for ever
                fence = False
                continue
            except Exception:  # whatever it was, the pump is not known to stand: again
                fence, failed = True, failed + 1
                if failed % STOPS_PER_CONNECT == 0:
                    await self._meet_again()
            await self._until(lambda: not self._talk.open, STOP_AGAIN_S)

    async def _meet_again(self) -> None:
        """Identify whoever does not answer our STOP as ours would: it may have been off, or be another by now."""
        if not self._talk.open:
            return
        try:
            self._up(await self._talk.submit(self.connect))
        except AnotherPump as error:
            self._proved = False
            self._down(str(error), "lost")
        except Exception:
            return  # on a line that only loses our questions STOP may still arrive

    def _give_back(self) -> None:
        self.lease, self._reclaimed, self._talk.mute = Lease.FREE, False, False
        self._changed.set()
        if self.ready:
            self._enter("negotiating", "a restarted bed takes over")


def _words_of(error: Exception) -> str:
    return str(error) if isinstance(error, PumpError) else f"fault in the driver: {error!r}"
