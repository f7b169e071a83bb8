"""Time passes only when nobody has anything to do (pumpd.testing)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from pumpd.testing import Deadlock, VirtualClock, VirtualLoop
from tests.unit.bench_link import link_bench

SESSION_S = 45 * 60


async def test_sleep_takes_exactly_its_virtual_seconds_and_no_real_ones() -> None:
    loop, began = asyncio.get_running_loop(), time.monotonic()
    before = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() == before + 3600
    assert time.monotonic() - began < 5


async def test_wall_clock_goes_with_the_wire_clock(clock: VirtualClock) -> None:
    wall, wire = clock.wall(), clock.wire()
    await asyncio.sleep(90)
    assert (clock.wall() - wall).total_seconds() == clock.wire() - wire == 90


async def test_clock_stands_while_a_thread_owes_an_answer() -> None:
    loop, go = asyncio.get_running_loop(), threading.Event()
    before = loop.time()
    timer = loop.call_later(10, lambda: None)
    answer = asyncio.create_task(asyncio.to_thread(go.wait, 5))
    await asyncio.sleep(0)
    threading.Timer(0.05, go.set).start()
    assert await answer is True
    assert loop.time() == before
    timer.cancel()


async def test_real_descriptors_are_served_before_time_moves() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.send(b"here")
        before = loop.time()
        timer = loop.call_later(10, lambda: None)
        served_at = loop.create_future()
        loop.add_reader(left, lambda: served_at.done() or served_at.set_result(loop.time()))
        assert await served_at == before
        loop.remove_reader(left)
        timer.cancel()


def test_waiting_for_ever_is_named_instead_of_hanging() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.raises(Deadlock, match="nothing is scheduled"):
        runner.run(wait_for_ever())


async def test_forty_five_minutes_of_polls_end_well_under_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """A bound on time is a poor test: this one only catches a simulated second that costs a real one (2700 s)."""
    async with link_bench() as bench:
        began, due = time.process_time(), bench.clock.wire()
        for _ in range(SESSION_S):
            await bench.link.perform(bench.pump.read)
            due += 1.0
            await asyncio.sleep(due - bench.clock.wire())
        took = time.process_time() - began
    assert bench.device.heard.count("read") == SESSION_S
    with capsys.disabled():
        print(f"\n45 simulated minutes of 1 Hz polls: {took:.3f} s of CPU")
    assert took < 5
