"""Two properties that hold whatever the line does: STOP is fenced, and no answer is taken for another question's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pumpd.driver import Ask, Dialogue, Motion, Pause, PumpError, Refused, Repeat, Silent
from pumpd.line.link import LinkDown, LinkUp
from pumpd.testing import VirtualLoop
from tests.unit.bench_link import link_bench
from tests.unit.toy_pump import REPLY_S, ToyDevice, text

ORDERS = 8
LATEST_S = 2 * REPLY_S - 0.01  # an answer later than its time-out and one quiet time cannot be told from a new one


def virtually(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())


def bad_line(dice: Random) -> Callable[[str], tuple[float, bytes] | None]:
    """Answers each order with its own name, or late, damaged, twice, in an alarm's shadow, or not at all."""

    def says(word: str) -> tuple[float, bytes] | None:
        if not word.startswith("old"):
            return None
        answer = b"=" + word.encode() + b"\n"
        raw = dice.choice(
            [answer, answer, answer, b"=x~\n", b"", b"!alarm\n" + answer, b"=x~\n" + answer, b"\xff" + answer]
        )
        return dice.choice([0.01, 0.01, REPLY_S - 0.01, REPLY_S + 0.01, LATEST_S]), raw

    return says


def orders(dice: Random, number: int) -> Callable[[], Dialogue[list[tuple[str, str]]]]:
    """A dialogue of a few questions; gives (asked, answered) pairs. Alarms and silence are taken as they come."""

    def dialogue() -> Dialogue[list[tuple[str, str]]]:
        pairs: list[tuple[str, str]] = []
        for step in range(dice.randint(1, 4)):
            word = f"old{number}.{step}"
            with suppress(PumpError):
                pairs.append((word, text((yield Ask(word.encode() + b"\n", REPLY_S, dice.choice(list(Repeat)))))))
            if dice.random() < 0.2:
                yield Pause(dice.uniform(0, 0.5))
        return pairs

    return dialogue


@pytest.mark.shows("S5", "H11")
@given(seed=st.integers(0, 2**32))
@example(seed=22451)  # the link is lost between the stop and its answer
@settings(max_examples=150, deadline=None)
def test_nothing_older_follows_a_stop_at_any_moment(seed: int) -> None:
    async def play() -> None:
        dice = Random(seed)
        async with link_bench(ToyDevice(motion="infusing", says=bad_line(dice))) as bench:
            older = [asyncio.create_task(bench.link.perform(orders(dice, n))) for n in range(ORDERS)]
            await asyncio.sleep(dice.uniform(0, 4))
            mark, now = bench.mark, bench.clock.wire()
            try:
                report = await bench.link.perform(bench.pump.stop, fence=True)
                assert report.motion is Motion.STANDING, "the read-back is not an older answer"
            except Refused:
                pass  # an alarm in the place of the answer
            except Silent:  # the line had been mute for so long already that it counts as lost while we wait
                assert bench.told(LinkDown)
            await asyncio.gather(*older, return_exceptions=True)
            await asyncio.sleep(5)
            assert bench.port.written[mark] == (now, b"stop\n")
            assert not [word for word in bench.words_since(mark) if word.startswith("old")]

    virtually(play)


@pytest.mark.shows("H58")
@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_no_answer_is_taken_for_the_answer_of_another_question(seed: int) -> None:
    async def play() -> None:
        dice = Random(seed)
        async with link_bench(ToyDevice(says=bad_line(dice))) as bench:
            for number in range(ORDERS):
                with suppress(PumpError):
                    for asked, answered in await bench.link.perform(orders(dice, number)):
                        assert answered == asked
                await asyncio.sleep(dice.choice([0, 0, 0.3]))
            assert {event.identity.serial for event in bench.told(LinkUp)} == {"SN1"}

    virtually(play)
