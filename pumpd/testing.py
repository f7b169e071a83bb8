"""Public test kit for driver authors and pumpd's own tests: virtual time, memory ports, rehearsed dialogues.

Virtual time serves memory ports only. A pty or a socket under virtual time gives false time-outs, because the clock
runs on while the kernel still carries the bytes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from pumpd.driver import Ask, Damaged, Dialogue, Frame, Framer, Repeat, Silent, Uncertain
from pumpd.line.ports import PortError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

VIRTUAL_START_S = 1000.0  # not 0, so that code which takes 0 for "never" shows itself
VIRTUAL_WALL_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


# --- virtual time ---------------------------------------------------------------------------------------------------


class Deadlock(RuntimeError):
    """Virtual time cannot go on: nothing is ready, nothing is scheduled, and no thread owes an answer."""


class _VirtualSelector(selectors.BaseSelector):
    """Asks the real descriptors first; when none is ready, the clock jumps to the next timer."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = VIRTUAL_START_S
        self.owed = 0  # answers that threads still owe; the clock stands while there are any

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        busy = timeout is not None and timeout <= 0
        if busy and not self.owed:
            return []  # the descriptors are asked when the work is done, before the clock moves
        ready = self._real.select(0)
        if ready or busy:
            return ready
        if self.owed:
            return self._real.select(None)
        if timeout is None:
            raise Deadlock(
                "virtual time stands still: nothing is ready and nothing is scheduled, so all tasks wait for ever"
            )
        self.now += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nobody has anything to do. 45 minutes take as long as their work."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As ever, and the clock stands until the thread has answered."""
        answer: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._virtual.owed += 1
        answer.add_done_callback(self._answered)
        return answer

    async def shutdown_default_executor(self) -> None:
        """As ever; it waits for a thread too."""
        self._virtual.owed += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._virtual.owed -= 1

    def _answered(self, _: object) -> None:
        self._virtual.owed -= 1


class VirtualClock:
    """The clock that goes with the running loop: wire time is the loop's, wall time starts at a fixed moment."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, boot_id: str = "virtual boot") -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._start = self._loop.time()
        self.boot_id = boot_id
        self.wire: Callable[[], float] = self._loop.time

    def wall(self) -> datetime:
        """UTC, counted from 2026-01-05 09:00."""
        return VIRTUAL_WALL_START + timedelta(seconds=self._loop.time() - self._start)


# --- memory ports ---------------------------------------------------------------------------------------------------


class Peer(Protocol):
    """A device that has no port and no clock of its own. All times are wire seconds."""

    @property
    def connected(self) -> bool:
        """False while the device's end of the line is pulled out."""

    def receive(self, data: bytes, at: float) -> None:
        """Take bytes from the host."""

    def advance(self, at: float) -> None:
        """Let the device live until `at`."""

    def outgoing(self, at: float) -> bytes:
        """The bytes that have left the device by `at`, each once."""

    def next_wake(self, at: float) -> float | None:
        """When the device wants to be advanced next; None: only when bytes come."""


class MemoryPort:
    """Joins a link to a device in the same loop. `written` records (wire time, bytes) of everything the host sent."""

    def __init__(self, peer: Peer, name: str = "memory://test") -> None:
        self.peer, self.name = peer, name
        self.written: list[tuple[float, bytes]] = []
        self.opened = 0
        self._plugged = True
        self._pipe: _MemoryPipe | None = None

    @property
    def sent(self) -> list[bytes]:
        """What the host wrote, without the times."""
        return [data for _, data in self.written]

    async def open(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> _MemoryPipe:
        """The `open_pipe` of a link. Raises PortError while plugged out at either end, or already open."""
        self.peer.advance(asyncio.get_running_loop().time())
        if not self._plugged or not self.peer.connected:
            raise PortError("missing", f"{self.name}: no such port; is the adapter plugged in?")
        if self._pipe is not None:
            raise PortError("busy", f"{self.name}: in use by this program itself")
        self.opened += 1
        self._pipe = _MemoryPipe(self, receive, lost)
        self._pipe.open_line()
        return self._pipe

    def plug_out(self) -> None:
        """Pull the plug: the link is told, the device lives on."""
        self._plugged = False
        if self._pipe is not None:
            self._pipe.hang_up(f"{self.name}: the port went away")

    def plug_in(self) -> None:
        """Put the plug back; the link finds it at its next try."""
        self._plugged = True

    def inject(self, data: bytes) -> None:
        """Bytes that appear on the line by themselves."""
        if self._pipe is not None:
            self._pipe.deliver(data)

    def poke(self) -> None:
        """Look at the device again now, after a test changed it behind the link's back."""
        if self._pipe is not None:
            self._pipe.turn(self._pipe.now())

    def released(self) -> None:
        """The host closed its end."""
        self._pipe = None


class _MemoryPipe:
    """One opening of a memory port. Bytes arrive in a later turn of the loop, as they do from a descriptor."""

    def __init__(self, port: MemoryPort, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._port, self._peer, self._receive, self._lost = port, port.peer, receive, lost
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at = inf  # when the device wants to be looked at
        self._open = True

    def open_line(self) -> None:
        now = self.now()
        self._peer.advance(now)
        self._peer.outgoing(now)  # said while nobody listened
        self._schedule(now)

    def write(self, data: bytes) -> None:
        if self._open:
            now = self.now()
            self._port.written.append((now, data))
            self._peer.advance(now)
            self._peer.receive(data, now)
            self.turn(now)

    def close(self) -> None:
        if self._open:
            self._open = False
            if self._wake is not None:
                self._wake.cancel()
            self._port.released()

    def hang_up(self, reason: str) -> None:
        self.close()
        self._loop.call_soon(self._lost, reason)

    def deliver(self, data: bytes) -> None:
        self._loop.call_soon(self._give, data)

    def turn(self, now: float) -> None:
        self._peer.advance(now)
        data = self._peer.outgoing(now)
        if data:
            self.deliver(data)
        if self._peer.connected:
            self._schedule(now)
        else:
            self.hang_up(f"{self._port.name}: the other side hung up")

    def _give(self, data: bytes) -> None:
        if self._open:
            self._receive(data)

    def _schedule(self, now: float) -> None:
        wake_at = self._peer.next_wake(now)
        self._wake_at = inf if wake_at is None else wake_at
        if self._wake is not None and self._wake_at >= self._wake.when():
            return  # it looks again when it fires: devices put their next moment off far more often than they reach it
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._wake_at < inf:
            self._wake = self._loop.call_at(self._wake_at, self._woken, self._wake_at)

    def _woken(self, armed_for: float) -> None:
        self._wake = None
        now = max(self.now(), armed_for)  # a timer may fire a rounding error early, which would ask again for ever
        if now >= self._wake_at:
            self.turn(now)
        else:
            self._set_alarm()


# --- rehearsed dialogues --------------------------------------------------------------------------------------------


def rehearse(dialogue: Dialogue[T], exchanges: Sequence[tuple[bytes, bytes | None]], framer: Framer) -> T:
    """Run a dialogue against a transcript of (sent, answered) and give its result.

    `None` as answer is silence: the dialogue then gets Silent, or Uncertain where the question may not be repeated.
    Pauses pass at once. Raises AssertionError, in words, when the dialogue says or leaves out anything else.
    """
    rest = iter(exchanges)
    done = 0
    move: Callable[[Any], Any] = dialogue.send
    value: Any = None
    while True:
        try:
            step = move(value)
        except StopIteration as end:
            left = [sent for sent, _ in rest]
            assert not left, f"the dialogue ended after {done} exchanges; the transcript goes on with {left[0]!r}"
            result: T = end.value
            return result
        move, value = dialogue.send, None
        if isinstance(step, Ask):
            expected = next(rest, None)
            assert expected is not None, f"the dialogue sends {step.data!r} after the transcript's end"
            sent, answered = expected
            done += 1
            assert step.data == sent, f"exchange {done}: the transcript sends {sent!r}, the dialogue {step.data!r}"
            if answered is None:
                never = step.repeat is Repeat.NEVER
                move, value = dialogue.throw, (Uncertain if never else Silent)("the transcript is silent")
            else:
                value = _answer(step, answered, framer, done)


def _answer(ask: Ask, raw: bytes, framer: Framer, number: int) -> Frame:
    framer.feed(raw)
    frames: Iterable[Frame | Damaged] = list(framer.frames())
    for frame in frames:
        if isinstance(frame, Frame) and (ask.accept is None or ask.accept(frame)):
            return frame
    raise AssertionError(f"exchange {number}: {raw!r} holds no answer to {ask.data!r}, only {frames!r}")
