"""The conversation on one port: one dialogue at a time, with deadlines, retries, resync and the STOP fence.

A dialogue is moved on by callbacks: bytes in, framer, `on_frame`, the generator, bytes out. No task is made for an
exchange and no coroutine wakes up in between; the caller's future is completed once, at the end of the dialogue.

A line is *dirty* while an answer to an older question may still be under way: after a time-out, after damaged bytes,
after an alarm that a dialogue took for its answer, and after a STOP that cut an exchange. Before the next question one
reply time-out of quiet passes and the framer is reset, so that no late answer is taken for the answer of the next
question. What the driver takes for itself, such as a line check, is no answer and does not break the quiet: a pump that
checks its line more often than that would never be asked again. Only the first question of a STOP goes out without that
wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, Protocol, TypeVar

from pumpd.clock import Clock
from pumpd.driver import (
    Ask,
    Damaged,
    Dialogue,
    Frame,
    Pause,
    Preempted,
    Pump,
    PumpAlarm,
    PumpError,
    Repeat,
    Silent,
    Step,
    Uncertain,
)

T = TypeVar("T")

UNASKED_TIMES = 3  # one may be an echo or luck of noise ...
LATE_MOST_S = 5.0  # an answer that was missed may come so late (Alaris: 4 s), and is nobody else's
UNASKED_WITHIN_S = 60.0  # ... so many within a minute are somebody else's conversation
QUIET_TRIES = 4  # reply time-outs; a line that is never quiet for one of them is noise, and the question is given up
FAR_S = 30.0  # a deadline beyond it is looked at again by then: moving it earlier in between costs nothing either
EARLY_S = 1e-6  # a timer may fire a rounding error early; 1 us is far below one byte at 115200 baud (87 us)


class Pipe(Protocol):
    """An open port, as bytes."""

    def write(self, data: bytes) -> None:
        """Send all of `data`, in order. Never raises: a failing port is told through `lost`."""

    def close(self) -> None:
        """Close at once; nothing is told afterwards. May be called twice."""


@dataclass(slots=True)
class Counters:
    """The health of one link since the daemon started."""

    answers: int = 0
    damaged: int = 0  # frames that failed their check
    late: int = 0  # valid frames that nobody waited for
    silent: int = 0  # questions that got no answer in time
    preempted: int = 0  # dialogues cut by a STOP
    reopened: int = 0  # times the port was opened again


class Deadline:
    """One timer that is moved far more often than it fires: moving it later costs an assignment."""

    def __init__(self, clock: Clock, expired: Callable[[float], None]) -> None:
        self._clock, self._expired = clock, expired
        self._loop = asyncio.get_running_loop()
        self._due = self._armed_for = inf
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Call `expired(now)` once at wire time `due`; inf means never. Replaces the earlier deadline."""
        self._due = due
        if due < self._armed_for:
            self._arm()

    def close(self) -> None:
        """Forget the deadline and let go of the loop."""
        self._due = self._armed_for = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        now = self._clock.wire()
        self._armed_for = min(self._due, now + FAR_S)
        self._handle = self._loop.call_later(max(0.0, self._armed_for - now), self._fire)

    def _fire(self) -> None:
        self._handle, self._armed_for = None, inf
        now = self._clock.wire()
        if self._due <= now + EARLY_S:
            due, self._due = self._due, inf
            self._expired(
                max(now, due)
            )  # never before `due`, or a rounding residue would spin for ever in virtual time
        elif self._due < inf:
            self._arm()


class Stage(Enum):
    """What the running dialogue waits for."""

    IDLE = "no dialogue runs"
    QUIET = "the line to get quiet before a question"
    ASKING = "an answer"
    PAUSING = "a pause the dialogue asked for"


class _Job:
    """One dialogue on its way, and the future of who ordered it."""

    __slots__ = ("dialogue", "done", "urgent")

    def __init__(self, dialogue: Dialogue[Any], done: asyncio.Future[Any], urgent: bool) -> None:
        self.dialogue, self.done = dialogue, done
        self.urgent = urgent  # its next question goes out without waiting for a quiet line

    def end(self, error: Exception) -> None:
        with suppress(Exception):  # a dialogue that will not end is left where it is: it never holds up a STOP
            self.dialogue.close()
        if not self.done.done():
            self.done.set_exception(error)


class Talk:
    """Runs dialogues over whatever pipe is attached. Knows nothing of opening ports, leases or phases."""

    def __init__(
        self,
        pump: Pump,
        clock: Clock,
        *,
        told: Callable[[PumpAlarm], None],
        unanswered: Callable[[], None],
        unasked: Callable[[], None],
    ) -> None:
        """`told` hears each alarm at once; `unanswered` is called when `lost_after_s` passed without a valid frame.

        `unasked` hears of answers that cannot belong to any question of ours, UNASKED_TIMES within UNASKED_WITHIN_S.
        """
        self.counters = Counters()
        self.last_sent = -inf  # wire time of the last question
        self.mute = False  # True: frames are heard, but nothing answers them
        self._pump, self._clock, self._told, self._unanswered = pump, clock, told, unanswered
        self._unasked = unasked
        self._missed_at = -inf  # when an answer was last waited for in vain
        self._unasked_at: deque[float] = deque(maxlen=UNASKED_TIMES)
        self._on_frame, self._framer = pump.on_frame, pump.framer
        self._lost_after_s = pump.capabilities.lost_after_s
        self._loop = asyncio.get_running_loop()
        self._timer = Deadline(clock, self._expired)
        self._pipe: Pipe | None = None
        self._queue: deque[_Job] = deque()
        self._job: _Job | None = None
        self._stage = Stage.IDLE
        self._ask = Ask(b"", 0.0)
        self._tries_left = 0
        self._due = inf  # of the stage
        self._quiet_by = inf
        self._lost_at = inf  # runs from the first question that nothing valid followed
        self._dirty = False
        self._owed_until = -inf  # the deadline of a question that was given up before its time
        self._heard_at = -inf
        self._loud_at = -inf  # wire time of the last bytes that an answer may be among
        self.answered_at = -inf  # wire time of the last valid frame

    # --- for the link -----------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """True while a pipe is attached."""
        return self._pipe is not None

    @property
    def busy(self) -> bool:
        """True while a dialogue runs."""
        return self._job is not None

    def attach(self, pipe: Pipe) -> None:
        """Talk over `pipe` from now on."""
        self._pipe = pipe
        self._framer.reset()
        self._dirty = False
        self._heard_at = self._clock.wire()

    def detach(self, reason: PumpError) -> None:
        """The pipe is gone: every dialogue ends with `reason`, or Uncertain where an order may have been taken."""
        self._pipe = None
        self.end_all(reason, in_flight=reason)
        self._timer.close()

    def end_all(self, reason: PumpError, in_flight: PumpError) -> None:
        """End the running dialogue (`in_flight` while it waits for an answer) and all waiting ones (`reason`)."""
        running, waiting = self._job, list(self._queue)
        asking, never = self._stage is Stage.ASKING, self._ask.repeat is Repeat.NEVER
        if asking:
            self._owed_until = self._due
        self._queue.clear()
        self._job, self._stage, self._due, self._lost_at = None, Stage.IDLE, inf, inf
        self._dirty = self._dirty or asking
        if running is not None and asking and never:
            running.end(Uncertain(f"the order was sent, then: {in_flight}"))
        elif running is not None:
            running.end(in_flight if asking else reason)
        for job in waiting:
            job.end(reason)

    def submit(self, dialogue: Callable[[], Dialogue[T]], *, fence: bool = False) -> asyncio.Future[T]:
        """Run a dialogue after the ones before it; with `fence` at once, and instead of them.

        The future raises what the dialogue raises, Preempted when a fence cut it, or what `detach` was told.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        job = _Job(dialogue(), done, fence)
        if fence:
            self._preempt()
        if self._job is None:
            self._begin(job)
        else:
            self._queue.append(job)
        return done

    def received(self, data: bytes) -> None:
        """Take bytes from the pipe. An answer moves the dialogue on before this returns."""
        now = self._clock.wire()
        framer = self._framer
        framer.silence(now - self._heard_at)
        self._heard_at = now
        framer.feed(data)
        answer: Frame | None = None
        taken, others = False, False
        for frame in framer.frames():
            if isinstance(frame, Damaged):
                # Dropped, and the wait goes on: the true answer may be right behind the noise.
                self.counters.damaged += 1
                self._dirty = others = True
                continue
            asking = self._stage is Stage.ASKING and answer is None
            if not self._for_dialogue(frame, asking):
                taken, others = True, others or frame.kind == "alarm"
                continue
            others = True
            if asking and (self._ask.accept is None or self._ask.accept(frame)):
                answer = frame
            else:
                self.counters.late += 1
                self._count_unasked(frame, now)
                self._dirty = self._dirty or answer is not None  # two answers to one question: one of them is old
        if others or not taken:  # half a frame is no frame yet, and may become an answer
            self._loud_at = now
            if self._stage is Stage.QUIET:
                self._wait_until(min(max(self._due, now + self._ask.timeout_s), self._quiet_by))
        if answer is not None and self._job is not None:
            self.counters.answers += 1
            self._dirty = (
                self._dirty or answer.kind == "alarm"
            )  # told unasked, it looks the same: the answer may follow
            self._advance(self._job.dialogue.send, answer)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _count_unasked(self, frame: Frame, now: float) -> None:
        """A valid answer while no question of ours is open, nor was given up lately: whose question does it answer?"""
        open_until = max(self._owed_until, self._missed_at + LATE_MOST_S)
        asking = self._stage is Stage.ASKING
        if frame.kind == "alarm" or asking or self._dirty or now <= open_until:
            return
        self._unasked_at.append(now)
        if len(self._unasked_at) == UNASKED_TIMES and now - self._unasked_at[0] <= UNASKED_WITHIN_S:
            self._unasked_at.clear()
            self._unasked()

    def _for_dialogue(self, frame: Frame, asking: bool) -> bool:
        self._lost_at = inf
        self.answered_at = self._heard_at
        taken = self._on_frame(frame, asking)
        for alarm in taken.notices:
            self._told(alarm)
        if taken.send and self._pipe is not None and not self.mute:
            self._pipe.write(taken.send)
        return not taken.consumed

    def _preempt(self) -> None:
        cut = Preempted("a STOP took the line")
        self.counters.preempted += len(self._queue) + (self._job is not None)
        running, waiting = self._job, list(self._queue)
        self._dirty = self._dirty or self._stage is Stage.ASKING
        self._queue.clear()
        self._job, self._stage, self._due = None, Stage.IDLE, inf
        for job in [running, *waiting]:
            if job is not None:
                job.end(cut)

    def _begin(self, job: _Job) -> None:
        self._job = job
        self._advance(job.dialogue.send, None)

    def _advance(self, move: Callable[[Any], Step], value: Any) -> None:
        job = self._job
        assert job is not None
        self._stage, self._due = Stage.IDLE, inf
        if job.done.cancelled():
            job.end(Preempted("nobody waits for it any more"))
            self._next()
            return
        try:
            step = move(value)
        except StopIteration as end:
            job.done.set_result(end.value)
            self._next()
        except Exception as error:  # PumpError, or a fault of the driver: both belong to who ordered the dialogue
            job.done.set_exception(error)
            self._next()
        else:
            self._take(step, job)

    def _next(self) -> None:
        self._job = None
        if self._queue:
            self._begin(self._queue.popleft())

    def _take(self, step: Step, job: _Job) -> None:
        if isinstance(step, Pause):
            self._stage = Stage.PAUSING
            self._wait_until(self._clock.wire() + step.seconds)
            return
        self._ask = step
        self._tries_left = step.tries
        if self._dirty and not job.urgent:
            self._get_quiet()
        else:
            job.urgent = False
            self._send()

    def _get_quiet(self) -> None:
        start = max(self._clock.wire(), self._owed_until)
        self._stage = Stage.QUIET
        self._quiet_by = start + QUIET_TRIES * self._ask.timeout_s
        self._wait_until(start + self._ask.timeout_s)

    def _send(self) -> None:
        assert self._pipe is not None
        now = self._clock.wire()
        self._stage, self.last_sent = Stage.ASKING, now
        if self._lost_at == inf:
            self._lost_at = now + self._lost_after_s
        self._wait_until(now + self._ask.timeout_s)
        self._pipe.write(self._ask.data)

    def _wait_until(self, due: float) -> None:
        self._due = due
        self._timer.set(min(due, self._lost_at))

    def _expired(self, now: float) -> None:
        if self._lost_at <= now:
            self._lost_at = inf
            self._unanswered()
        elif self._due <= now:
            self._due = inf
            self._stage_over(now)
        self._timer.set(min(self._due, self._lost_at))

    def _stage_over(self, now: float) -> None:
        job = self._job
        assert job is not None
        if self._stage is Stage.PAUSING:
            self._advance(job.dialogue.send, None)
        elif self._stage is Stage.ASKING:
            self._no_answer(job)
        elif self._loud_at + self._ask.timeout_s > now:
            self._advance(job.dialogue.throw, Silent("not asked: the line does not get quiet"))
        else:
            self._framer.reset()
            self._dirty = False
            self._send()

    def _no_answer(self, job: _Job) -> None:
        self.counters.silent += 1
        self._missed_at = self._clock.wire()
        self._dirty = True
        self._tries_left -= 1
        waited = f"no answer within {self._ask.timeout_s:g} s"
        if self._ask.repeat is Repeat.NEVER:
            self._advance(job.dialogue.throw, Uncertain(f"the order was sent, but {waited}"))
        elif self._tries_left > 0:
            self._get_quiet()
        else:
            self._advance(job.dialogue.throw, Silent(f"{waited}, asked {self._ask.tries} times"))
