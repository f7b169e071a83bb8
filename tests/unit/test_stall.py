"""A loop that stands still is measured, told, and what held it is logged."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from pumpd.clock import SystemClock
from pumpd.stall import BEAT_S, STALL_S, LoopWatch, Witness
from pumpd.testing import VirtualClock


def jump(seconds: float) -> None:
    """The loop does nothing for so long, as after a blocking call or a suspend."""
    loop: Any = asyncio.get_running_loop()
    loop._virtual.now += seconds


@pytest.mark.shows("within:STALL_S", "beyond:STALL_S", "S11", "H52")
@pytest.mark.parametrize("phase_s", [0.001, 0.05, 0.099])
@pytest.mark.parametrize(
    ("gap_s", "is_told"), [(STALL_S - BEAT_S - 0.01, False), (STALL_S, True), (2.0, True), (600.0, True)]
)
async def test_a_gap_of_the_threshold_is_told_wherever_it_falls(gap_s: float, is_told: bool, phase_s: float) -> None:
    told: list[float] = []
    watch = LoopWatch(VirtualClock(), told.append)
    await asyncio.sleep(10 * BEAT_S + phase_s)
    jump(gap_s)
    await asyncio.sleep(5)
    watch.close()
    assert bool(told) is is_told
    assert all(gap_s <= seconds <= gap_s + BEAT_S + 1e-6 for seconds in told), told
    assert len(told) == is_told, "one gap, one word"


async def test_the_heartbeats_figure_is_the_worst_since_the_last_one() -> None:
    watch = LoopWatch(VirtualClock(), lambda _: None)
    await asyncio.sleep(1)
    assert watch.take_lag_ms() <= 1
    jump(0.3)
    await asyncio.sleep(1)
    assert 200 <= watch.take_lag_ms() <= 300
    assert watch.take_lag_ms() == 0
    watch.close()


def a_call_that_blocks(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.real_time
async def test_what_held_the_loop_is_logged_while_it_is_held() -> None:
    told: list[float] = []
    threads = threading.active_count()
    clock = SystemClock()
    with capture_logs() as lines:
        watch = LoopWatch(clock, told.append)
        witness = Witness(watch, clock)
        await asyncio.sleep(2 * BEAT_S)
        a_call_that_blocks(4 * STALL_S)
        seen = list(lines)
        await asyncio.sleep(2 * BEAT_S)
        witness.close()
        watch.close()
    assert max(told) >= 4 * STALL_S - BEAT_S
    busy = [line for line in seen if line["event"] == "loop.busy"]
    assert any("a_call_that_blocks" in call for line in busy for call in line["at"]), seen
    assert threading.active_count() == threads
