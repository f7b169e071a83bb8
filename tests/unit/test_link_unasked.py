"""Answers to questions that were not ours: something else speaks to the pump."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from pumpd.driver import PumpError
from pumpd.line.link import UnaskedAnswers
from pumpd.line.talk import LATE_MOST_S, UNASKED_TIMES, UNASKED_WITHIN_S
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.test_link_asks import say
from tests.unit.toy_pump import ToyDevice

STRAY = b"=46.66\n"


async def strays(bench: LinkBench, times: int, every_s: float) -> int:
    """Answers out of nowhere, with a question of our own between each two; how often that was told."""
    for _ in range(times):
        await bench.link.perform(say("hello"))
        await asyncio.sleep(every_s)
        bench.port.inject(STRAY)
        await asyncio.sleep(0.01)
    return len(bench.told(UnaskedAnswers))


@pytest.mark.shows("within:UNASKED_TIMES", "beyond:UNASKED_TIMES")
@pytest.mark.parametrize(("times", "told"), [(UNASKED_TIMES - 1, 0), (UNASKED_TIMES, 1), (2 * UNASKED_TIMES, 2)])
async def test_so_many_unasked_answers_are_told_once(times: int, told: int) -> None:
    async with link_bench() as bench:
        await asyncio.sleep(LATE_MOST_S)
        assert await strays(bench, times, 1.0) == told


@pytest.mark.shows("within:UNASKED_WITHIN_S", "beyond:UNASKED_WITHIN_S")
@pytest.mark.parametrize(("spread", "told"), [(0.9, 1), (1.1, 0)])
async def test_they_must_come_within_a_minute(spread: float, told: int) -> None:
    async with link_bench() as bench:
        await asyncio.sleep(LATE_MOST_S)
        assert await strays(bench, UNASKED_TIMES, UNASKED_WITHIN_S * spread / (UNASKED_TIMES - 1)) == told


async def test_our_own_answers_that_come_late_are_nobody_elses() -> None:
    """A slow pump: each question is asked twice, the first answer is taken, and then comes the second one."""
    async with link_bench(ToyDevice(says=lambda word: (0.6, b"=ok\n") if word == "slow" else None)) as bench:
        for _ in range(2 * UNASKED_TIMES):
            with suppress(PumpError):
                await bench.link.perform(say("slow"))
            await asyncio.sleep(1)
        assert bench.link.counters.late >= 2 * UNASKED_TIMES
        assert not bench.told(UnaskedAnswers)


async def test_alarms_that_come_unasked_are_no_answers() -> None:
    async with link_bench() as bench:
        await asyncio.sleep(LATE_MOST_S)
        for _ in range(2 * UNASKED_TIMES):
            bench.port.inject(b"!empty\n")
            await asyncio.sleep(1)
        assert not bench.told(UnaskedAnswers)
