"""The B. Braun pump's link time-out of 1.2 s, held by the real link at 9600 baud, in virtual time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from bbraun_rehearsal import (
    ARM,
    DATA_LOCK,
    DOCUMENTATION,
    LOAD_LOCKED,
    RUNS,
    STANDS,
    Script,
    action,
    actual,
    control,
    fresh,
    ident,
    no,
    set_values,
    status,
    write,
)

from drivers.bbraun import EVERY_S, LINK_TIMEOUT_S, REPLY_TIMEOUT_S
from pumpd.driver import Motion, Pump, PumpError, PumpReport, Silent
from pumpd.line.link import Link, LinkDown, LinkEvent
from pumpd.testing import MemoryPort, VirtualClock
from pumpd.units import Ml

BYTE_S = 10 / 9600
LATENCY_S = 0.05  # not documented
RUNNING: Script = [ident(), actual(), status(RUNS | DATA_LOCK, 1000, 199), action(0, 0), *LOAD_LOCKED[2:3]]


class Line9600:
    """Answers each question from a table, at the pace of the line; loses what it is told to. It has no state."""

    def __init__(self, script: Script) -> None:
        self.answers = dict(script)
        self.after: dict[bytes, Script] = {}  # what is answered too, once this was asked
        self.heard: list[bytes] = []
        self.heard_at: list[float] = []
        self.asked = 0
        self.loses_question: Callable[[int], bool] = lambda number: False
        self.loses_answer: Callable[[int], bool] = lambda number: False
        self._leaving: deque[tuple[float, bytes]] = deque()

    connected = True

    def receive(self, data: bytes, at: float) -> None:
        self.asked += 1
        if self.loses_question(self.asked):
            return
        heard_at = at + len(data) * BYTE_S
        self.heard_at.append(heard_at)
        self.heard.append(data)
        answer = self.answers.get(data)
        self.answers |= dict(self.after.get(data, ()))
        if answer is None:
            return  # not its address
        if not self.loses_answer(self.asked):
            self._leaving.append((heard_at + LATENCY_S + len(answer) * BYTE_S, answer))

    def advance(self, at: float) -> None: ...

    def outgoing(self, at: float) -> bytes:
        gone = b""
        while self._leaving and self._leaving[0][0] <= at:
            gone += self._leaving.popleft()[1]
        return gone

    def next_wake(self, at: float) -> float | None:
        return self._leaving[0][0] if self._leaving else None


@asynccontextmanager
async def running_pump() -> AsyncIterator[tuple[Line9600, Link, Pump, list[LinkEvent]]]:
    pump, line = fresh(), Line9600([*RUNNING, *ARM])
    pump._address = b"A"  # type: ignore[attr-defined]  # as after arming
    line.answers |= dict(RUNNING)
    events: list[LinkEvent] = []
    link = Link("left", pump, MemoryPort(line).open, VirtualClock(), events.append, lambda _: True)
    task = asyncio.create_task(link.run())
    try:
        while not link.ready:
            await asyncio.sleep(0.01)
        yield line, link, pump, events
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def poll(link: Link, pump: Pump, seconds: float) -> int:
    """As a bed does; gives how many readings came."""
    came, due = 0, asyncio.get_running_loop().time()
    for _ in range(int(seconds / EVERY_S)):
        link.guard(2.0)
        with suppress(PumpError):
            await link.perform(pump.read)
            came += 1
        due = max(due + EVERY_S, asyncio.get_running_loop().time())
        await asyncio.sleep(due - asyncio.get_running_loop().time())
    return came


def widest(line: Line9600) -> float:
    return max(later - earlier for earlier, later in pairwise(line.heard_at))


def test_the_figures_fit_into_the_pumps_time_out() -> None:
    assert EVERY_S + 2 * REPLY_TIMEOUT_S < LINK_TIMEOUT_S


def test_what_a_poll_costs_in_wire_time() -> None:
    def cost(script: Script) -> float:
        return sum(len(question) + len(answer or b"") for question, answer in script) * BYTE_S

    running = cost([actual(), status(RUNS, 1000, 199)])
    assert 0.06 < running < 0.08
    assert running * 9600 / 1200 > EVERY_S, "at 1200 baud a poll does not fit between two polls"


async def test_polls_alone_keep_the_pump_in_touch_with_no_more_questions_than_needed() -> None:
    async with running_pump() as (line, link, pump, _):
        line.heard_at.clear()
        assert await poll(link, pump, 20) == 50
        assert widest(line) < EVERY_S
        assert len(line.heard_at) == 2 * 50, "counter and status; no keep-alive in between"


async def test_an_idle_line_is_fed_under_a_lease() -> None:
    async with running_pump() as (line, link, _, _events):
        line.heard_at.clear()
        for _ in range(20):
            link.guard(2.0)
            await asyncio.sleep(1.0)
        assert len(line.heard_at) >= 45
        assert widest(line) < 2 * EVERY_S


@pytest.mark.shows("S16")
@pytest.mark.parametrize("phase", range(8))
@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_any_one_frame_may_be_lost_and_the_pump_stays_in_touch(lost: str, phase: int) -> None:
    async with running_pump() as (line, link, pump, events):
        line.heard_at.clear()
        first = line.asked + 4 + phase
        setattr(line, f"loses_{lost}", lambda number: number >= first and (number - first) % 9 == 0)
        assert await poll(link, pump, 20) > 30
        assert widest(line) < LINK_TIMEOUT_S
        assert not [event for event in events if isinstance(event, LinkDown)]


async def test_a_pump_that_says_nothing_is_lost_when_it_has_lost_us() -> None:
    async with running_pump() as (line, link, pump, events):
        line.loses_question = lambda number: True
        began = asyncio.get_running_loop().time()
        while not any(isinstance(event, LinkDown) for event in events):
            await poll(link, pump, EVERY_S)
        assert LINK_TIMEOUT_S <= asyncio.get_running_loop().time() - began < LINK_TIMEOUT_S + 2 * EVERY_S


@pytest.mark.shows("S5")
async def test_a_stop_is_on_the_wire_at_once_and_read_back() -> None:
    async with running_pump() as (line, link, pump, _):
        reading = asyncio.create_task(link.perform(pump.read))
        await asyncio.sleep(0.02)
        line.answers |= dict([status(STANDS | DATA_LOCK)])
        asked_at = asyncio.get_running_loop().time()
        report = await link.perform(pump.stop, fence=True)
        assert not report.motion.moves
        assert asyncio.get_running_loop().time() - asked_at < 2.0
        with pytest.raises(PumpError):
            await reading


@pytest.mark.shows("S5")
async def test_a_pump_that_fell_back_to_no_address_while_it_ran_is_found_taken_back_and_stopped() -> None:
    gone = DOCUMENTATION | 1 << 4 | 1 << 7
    fallen = [ident(address=""), set_values(address=""), status(gone, 1000, 199, address="")]
    refused = (action(0, 0, "")[0], no("11", 9, ""))
    async with running_pump() as (line, link, pump, _):
        line.answers = dict([*fallen, refused, control(1)])
        line.after = {
            control(1)[0]: [ident(), status(RUNS, 1000, 199), actual(52)],
            status()[0]: [action(0, 0)],
        }
        began = asyncio.get_running_loop().time()
        task = asyncio.create_task(link.perform(pump.stop, fence=True))
        while line.heard.count(action(0, 0)[0]) < 2:  # to nobody, then to the pump that is ours again
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop().time() - began < 2.0
        line.answers |= dict([status(STANDS)])
        assert (await task) == PumpReport(Motion.STANDING, counted=Ml("5.2"))
        assert asyncio.get_running_loop().time() - began < 2.0


@pytest.mark.shows("S5")
async def test_a_stop_whose_first_answer_is_lost_is_on_the_wire_again_before_the_pump_has_lost_us() -> None:
    async with running_pump() as (line, link, pump, _):
        lost = line.asked + 1
        line.loses_question = lambda number: number == lost
        line.answers |= dict([status(STANDS | DATA_LOCK)])
        with pytest.raises(Silent):
            await link.perform(pump.stop, fence=True)
        again_at = asyncio.get_running_loop().time()
        assert not (await link.perform(pump.stop, fence=True)).motion.moves
        first, *_ = [at for at, data in zip(line.heard_at, line.heard, strict=True) if data == action(0, 0)[0]]
        assert first - again_at < 0.01, "at once, and at the address where it was heard before"


@pytest.mark.shows("S5")
async def test_a_stop_that_was_cut_short_at_the_other_address_begins_where_the_pump_was_heard() -> None:
    async with running_pump() as (line, link, pump, _):
        stop, line.loses_question = action(0, 0)[0], lambda number: True
        first = asyncio.create_task(link.perform(pump.stop, fence=True))
        await asyncio.sleep(0.8)  # it asks at address none now
        mark = line.asked
        line.loses_question = lambda number: False
        line.answers |= dict([status(STANDS | DATA_LOCK)])
        assert not (await link.perform(pump.stop, fence=True)).motion.moves
        assert line.heard[0 - (line.asked - mark)] == stop
        with pytest.raises(PumpError):
            await first


@pytest.mark.parametrize("hears_none", [True, False])
@pytest.mark.parametrize("falls_back", [True, False])
async def test_a_release_ends_whichever_address_the_pump_hears_before_and_after_it(
    hears_none: bool, falls_back: bool
) -> None:
    after = "" if falls_back else "A"
    async with running_pump() as (line, link, pump, events):
        mode = control(0, address="" if hears_none else "A")
        line.answers |= dict([status(STANDS), write(0), mode])
        line.answers.pop(ident(address="")[0], None)
        line.after[mode[0]] = [status(DOCUMENTATION, address=after), ident(address=after)]
        if falls_back:
            line.after[mode[0]] = [*line.after[mode[0]], (ident()[0], None)]
        await link.perform(pump.release)
        assert not [event for event in events if isinstance(event, LinkDown)]
        assert mode[0] in line.heard
