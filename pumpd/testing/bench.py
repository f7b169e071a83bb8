"""One driver and one simulated pump on a short line, talked over by the real engine in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from pumpd.driver import Ask, Dialogue, Motion, Programme, Pump, PumpAlarm, PumpReport, Step
from pumpd.line.talk import Talk
from pumpd.testing.memory_port import MemoryPort, Peer
from pumpd.testing.subject import Subject
from pumpd.testing.virtual_time import VirtualClock, VirtualLoop
from pumpd.units import Ml, MlPerHour

T = TypeVar("T")

USUAL_RATE, USUAL_LIMIT = MlPerHour("46.6"), Ml(35)
LONGEST_DIALOGUE_S = 120.0
LOOKS = 12  # readings until a pump that only shows by its counter whether it moves has shown it
BETWEEN_LOOKS_S = 1.0
AT_THE_KEYPAD_S = 15.0  # until a pump that shows its programme first has begun


class Tap:
    """The line, of which single questions or answers can be cut out."""

    def __init__(self, device: Peer) -> None:
        self.device = device
        self.lose_question: Callable[[bytes], bool] = lambda data: False
        self.lose_answers = False

    @property
    def connected(self) -> bool:
        """As the device says."""
        return self.device.connected

    def receive(self, data: bytes, at: float) -> None:
        """Pass it on, unless it is lost."""
        if not self.lose_question(data):
            self.device.receive(data, at)

    def advance(self, at: float) -> None:
        """Let the device live."""
        self.device.advance(at)

    def outgoing(self, at: float) -> bytes:
        """Pass it on, unless it is lost."""
        said = self.device.outgoing(at)
        return b"" if self.lose_answers else said

    def next_wake(self, at: float) -> float | None:
        """As the device says."""
        return self.device.next_wake(at)


class Bench:
    """Use as a context. `run` gives what a dialogue gives, or raises what it raises; `asks` holds its questions."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.device = subject.device()
        self.tap = Tap(self.device)
        self.asks: list[Ask] = []  # of the dialogue that ran last
        self.alarms: list[PumpAlarm] = []
        self._port = MemoryPort(self.tap)
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self._talk: Talk | None = None
        self._pipe: Any = None

    def __enter__(self) -> Self:
        self.pump = self.new_pump()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._let_go()
        self._runner.close()

    def new_pump(self) -> Pump:
        """As after a restart of the daemon: a driver that remembers nothing, on the same line."""
        self._let_go()
        self.pump = self.subject.driver.open(self.subject.settings)
        self._runner.run(self._attach())
        return self.pump

    async def _attach(self) -> None:
        self._talk = talk = Talk(
            self.pump, VirtualClock(), told=self.alarms.append, unanswered=lambda: None, unasked=lambda: None
        )
        self._pipe = await self._port.open(talk.received, lambda reason: None)
        talk.attach(self._pipe)

    def _let_go(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def run(self, make: Callable[[Pump], Dialogue[T]]) -> T:
        """Let the engine run one dialogue of the pump."""
        self.asks = []
        return self._runner.run(self._submitted(lambda: self._noting(make(self.pump))))

    async def _submitted(self, make: Callable[[], Dialogue[T]]) -> T:
        assert self._talk is not None
        async with asyncio.timeout(LONGEST_DIALOGUE_S):
            return await self._talk.submit(make)

    def _noting(self, dialogue: Dialogue[T]) -> Dialogue[T]:
        move: Callable[[Any], Step] = dialogue.send
        value: Any = None
        while True:
            try:
                step = move(value)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Ask):
                self.asks.append(step)
            try:
                value = yield step
                move = dialogue.send
            except GeneratorExit:
                dialogue.close()
                raise
            except Exception as error:
                move, value = dialogue.throw, error

    def wait(self, seconds: float) -> None:
        """Let time pass without a word."""
        self._runner.run(asyncio.sleep(seconds))

    def poke(self) -> None:
        """Look at the device now, after something was done to it by hand."""
        self._runner.run(self._poke())

    async def _poke(self) -> None:
        self._port.poke()

    # --- what checks need ---------------------------------------------------------------------------------------------

    def programme(self) -> Programme:
        """The usual rate and limit, rounded down to what this pump takes."""
        fitted = self.pump.fitted(self.subject.container)
        rate, limit = fitted.rates.down(USUAL_RATE.value), fitted.limits.down(USUAL_LIMIT.value)
        assert rate is not None, f"fitted() offers no rate up to {USUAL_RATE} with the container of the subject"
        assert limit is not None, f"fitted() offers no limit up to {USUAL_LIMIT} with the container of the subject"
        return Programme(self.subject.container, MlPerHour(rate), Ml(limit), keypad_lock=False)

    def armed(self) -> Programme:
        """Connect and arm."""
        self.run(lambda pump: pump.connect())
        programme = self.programme()
        self.run(lambda pump: pump.arm(programme))
        return programme

    def loaded(self) -> Programme:
        """... and load."""
        programme = self.armed()
        self.run(lambda pump: pump.load(programme.rate, programme.limit))
        return programme

    def running(self) -> Programme | None:
        """... and start; by hand where pumpd cannot. None then."""
        if self.pump.capabilities.control:
            programme = self.loaded()
            self.run(lambda pump: pump.start())
            return programme
        assert self.subject.start_at_keypad is not None, "the subject does not say how a person starts this pump"
        self.run(lambda pump: pump.connect())
        self.subject.start_at_keypad(self.device)
        self.poke()
        self.wait(AT_THE_KEYPAD_S)
        return None

    def look(self) -> PumpReport:
        """What another driver, that remembers nothing and changes nothing, reads once it is sure of the motion."""
        self.new_pump()
        self.tap.lose_question, self.tap.lose_answers = (lambda data: False), False
        self.wait(BETWEEN_LOOKS_S)
        self.run(lambda pump: pump.connect(hands_off=True))
        report = self.run(lambda pump: pump.read())
        for _ in range(LOOKS):
            if report.motion is not Motion.UNKNOWN:
                break
            self.wait(BETWEEN_LOOKS_S)
            report = self.run(lambda pump: pump.read())
        return report
