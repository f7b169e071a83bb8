"""One question and its answer: retries, silence, noise, late answers and alarms (pumpd.line.talk under a link)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pumpd.driver import Ask, Dialogue, Garbled, Pause, PumpAlarm, Refused, Silent, Uncertain
from pumpd.line.link import PumpTold
from pumpd.line.talk import Deadline
from pumpd.testing import VirtualClock
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.toy_pump import REPLY_S, ToyDevice, ask, text

Says = Callable[[str], tuple[float, bytes] | None]


def say(word: str) -> Callable[[], Dialogue[str]]:
    def dialogue() -> Dialogue[str]:
        return text((yield ask(word)))

    return dialogue


def answers_in_turn(word: str, *answers: tuple[float, bytes] | None) -> Says:
    """The n-th time `word` comes, answer so; None leaves it to the device. After the last one: as the device does."""
    rest = iter(answers)
    return lambda heard: next(rest, None) if heard == word else None


def times_of(bench: LinkBench, word: str) -> list[float]:
    return [at for at, data in bench.port.written if data == word.encode() + b"\n"]


async def test_dialogues_run_one_at_a_time_in_the_order_of_the_calls() -> None:
    def two(name: str) -> Callable[[], Dialogue[None]]:
        def dialogue() -> Dialogue[None]:
            yield ask(f"{name}1")
            yield ask(f"{name}2")

        return dialogue

    async with link_bench() as bench:
        mark = bench.mark
        await asyncio.gather(*(bench.link.perform(two(name)) for name in "abc"))
        assert bench.words_since(mark) == ["a1", "a2", "b1", "b2", "c1", "c2"]


@pytest.mark.shows("H53")
async def test_an_unanswered_question_is_asked_again_after_a_quiet_time() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0, b"")))) as bench:
        assert await bench.link.perform(say("hello")) == "ok"
        first, second = times_of(bench, "hello")
        assert second - first == pytest.approx(2 * REPLY_S)
        assert bench.link.counters.silent == 1


@pytest.mark.shows("H53")
async def test_a_question_is_given_up_after_its_tries() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "hello" else None)) as bench:
        with pytest.raises(Silent, match=r"no answer within 0.25 s, asked 2 times"):
            await bench.link.perform(say("hello"))
        assert len(times_of(bench, "hello")) == 2
        assert await bench.link.perform(say("other")) == "ok"


@pytest.mark.shows("S4", "S10")
async def test_an_order_that_may_not_be_repeated_ends_uncertain_and_is_sent_once() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "start" else None)) as bench:
        with pytest.raises(Uncertain, match="was sent"):
            await bench.link.perform(bench.pump.start)
        await asyncio.sleep(2)
        assert len(times_of(bench, "start")) == 1


@pytest.mark.shows("S4")
async def test_a_damaged_order_answer_is_uncertain_unless_the_true_one_follows() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("start", (0.01, b"=o~\n"), (0.01, b"=o~\n=ok\n")))) as bench:
        with pytest.raises(Uncertain):
            await bench.link.perform(bench.pump.start)
        await bench.link.perform(bench.pump.start)
        assert bench.link.counters.damaged == 2


@pytest.mark.shows("H58")
async def test_a_damaged_answer_is_no_answer() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.01, b"=wrong~\n")))) as bench:
        assert await bench.link.perform(say("hello")) == "ok"
        assert len(times_of(bench, "hello")) == 2


async def test_damaged_bytes_make_the_line_wait_before_the_next_question() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("first", (0.01, b"=x~\n=ok\n")))) as bench:
        await bench.link.perform(say("first"))
        asked = bench.clock.wire()
        await bench.link.perform(say("second"))
        assert times_of(bench, "second") == [pytest.approx(asked + REPLY_S)]


async def test_half_an_answer_does_not_spoil_the_answer_to_the_retry() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.2, b"=half")))) as bench:
        assert await bench.link.perform(say("hello")) == "ok"


async def test_after_its_quiet_time_the_line_is_clean_again() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0, b"")))) as bench:
        await bench.link.perform(say("hello"))
        asked = bench.clock.wire()
        await bench.link.perform(say("next"))
        assert times_of(bench, "next") == [asked]


async def test_noise_before_an_answer_in_pieces_is_read_over() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.02, b"=fi")))) as bench:
        asking = asyncio.create_task(bench.link.perform(say("hello")))
        await asyncio.sleep(0.01)
        bench.port.inject(b"\x00\xff garbage\n")
        await asyncio.sleep(0.02)
        bench.port.inject(b"ne\n")
        assert await asking == "fine"
        assert bench.link.counters.damaged == 1


async def test_half_an_answer_is_forgotten_when_its_rest_comes_too_late() -> None:
    async with link_bench() as bench:
        bench.port.inject(b"=half")
        await asyncio.sleep(1)
        assert await bench.link.perform(say("hello")) == "ok"


@pytest.mark.shows("H58")
async def test_a_late_answer_is_not_taken_for_the_answer_of_the_next_question() -> None:
    says = {"slow": (REPLY_S + 0.1, b"=slow\n")}
    async with link_bench(ToyDevice(says=says.get)) as bench:

        def once() -> Dialogue[str]:
            return text((yield Ask(b"slow\n", REPLY_S, tries=1)))

        with pytest.raises(Silent):
            await bench.link.perform(once)
        assert await bench.link.perform(say("next")) == "ok"
        assert bench.link.counters.late == 1


async def test_a_line_that_never_gets_quiet_is_given_up_without_asking() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "hello" else None)) as bench:
        with pytest.raises(Silent):
            await bench.link.perform(say("hello"))
        asking = asyncio.create_task(bench.link.perform(bench.pump.start))
        for _ in range(20):
            bench.port.inject(b"\x00")
            await asyncio.sleep(0.1)
        with pytest.raises(Silent, match="not asked: the line does not get quiet"):
            await asking
        assert times_of(bench, "start") == []


@pytest.mark.shows("H58")
@pytest.mark.parametrize("every_s", [0.07, 0.2])
async def test_what_the_driver_takes_for_itself_does_not_break_the_quiet(every_s: float) -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "hello" else None)) as bench:
        with pytest.raises(Silent):
            await bench.link.perform(say("hello"))
        asked = bench.clock.wire()
        asking = asyncio.create_task(bench.link.perform(say("next")))
        while not asking.done():
            bench.port.inject(b"*line check\n")
            await asyncio.sleep(every_s)
        assert await asking == "ok"
        assert times_of(bench, "next") == [pytest.approx(asked + REPLY_S)]


@pytest.mark.parametrize("other", [b"=ha", b"=damaged~\n", b"!stalled\n", b"=old\n", b"*line check\n=old\n"])
async def test_whatever_else_comes_breaks_the_quiet(other: bytes) -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "hello" else None)) as bench:
        with pytest.raises(Silent):
            await bench.link.perform(say("hello"))
        asking = asyncio.create_task(bench.link.perform(say("next")))
        await asyncio.sleep(0.1)
        bench.port.inject(other)
        loud = bench.clock.wire()
        assert await asking == "ok"
        assert times_of(bench, "next") == [pytest.approx(loud + REPLY_S)]


async def test_two_answers_to_one_question_make_the_line_wait_before_the_next() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("first", (0.01, b"=old\n=true\n")))) as bench:
        await bench.link.perform(say("first"))
        asked = bench.clock.wire()
        assert await bench.link.perform(say("second")) == "ok"
        assert times_of(bench, "second") == [pytest.approx(asked + REPLY_S)]


async def test_an_alarm_that_comes_while_asking_is_told_and_does_not_shift_the_answers() -> None:
    says = {"hello": (0.05, b"=hello\n")}
    async with link_bench(ToyDevice(says=says.get)) as bench:
        asking = asyncio.create_task(bench.link.perform(say("hello")))
        await asyncio.sleep(0.01)
        bench.port.inject(b"!stalled\n")
        with pytest.raises(Refused, match="alarm stalled"):
            await asking
        assert bench.told(PumpTold) == [PumpTold(PumpAlarm("toy_alarm", "stalled"))]
        assert await bench.link.perform(say("next")) == "ok", "and not the answer to hello, which is still on its way"
        assert bench.link.counters.late == 1


async def test_an_alarm_is_told_before_the_dialogue_sees_it() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.01, b"!stalled\n")))) as bench:
        told_first: list[bool] = []

        def watching() -> Dialogue[None]:
            yield ask("hello")
            told_first.append(bool(bench.told(PumpTold)))

        await bench.link.perform(watching)
        assert told_first == [True]


async def test_an_alarm_that_comes_unasked_is_told_and_costs_no_wait() -> None:
    async with link_bench() as bench:
        bench.port.inject(b"!empty\n")
        await asyncio.sleep(0.01)
        assert len(bench.told(PumpTold)) == 1
        asked = bench.clock.wire()
        await bench.link.perform(say("next"))
        assert times_of(bench, "next") == [asked]


async def test_an_event_is_answered_at_once_and_is_not_an_answer() -> None:
    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.02, b"*door\n=open\n")))) as bench:
        mark = bench.mark
        assert await bench.link.perform(say("hello")) == "open"
        assert bench.words_since(mark) == ["hello", "+"]


async def test_accept_leaves_other_frames_alone() -> None:
    def picky() -> Dialogue[str]:
        return text((yield Ask(b"hello\n", REPLY_S, accept=lambda frame: frame.data == b"mine")))

    async with link_bench(ToyDevice(says=answers_in_turn("hello", (0.01, b"=yours\n=mine\n")))) as bench:
        assert await bench.link.perform(picky) == "mine"


async def test_a_pause_keeps_the_line_quiet_for_its_seconds() -> None:
    def pausing() -> Dialogue[None]:
        yield ask("before")
        yield Pause(0.7)
        yield ask("after")

    async with link_bench() as bench:
        await bench.link.perform(pausing)
        answered = times_of(bench, "before")[0] + bench.device.delay_s
        assert times_of(bench, "after") == [pytest.approx(answered + 0.7)]


async def test_what_a_dialogue_raises_reaches_who_ordered_it_and_the_next_one_runs() -> None:
    async with link_bench(ToyDevice(motion="dancing")) as bench:
        first = asyncio.create_task(bench.link.perform(bench.pump.read))
        second = asyncio.create_task(bench.link.perform(say("hello")))
        with pytest.raises(Garbled, match="dancing"):
            await first
        assert await second == "ok"


async def test_a_dialogue_may_catch_silence_and_go_on() -> None:
    def patient() -> Dialogue[str]:
        try:
            yield Ask(b"lost\n", REPLY_S, tries=1)
        except Silent:
            return text((yield ask("hello")))
        return "answered"

    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "lost" else None)) as bench:
        assert await bench.link.perform(patient) == "ok"


@pytest.mark.shows("S5")
async def test_an_order_that_nobody_waits_for_any_more_is_not_sent() -> None:
    async with link_bench() as bench:
        running = asyncio.create_task(bench.link.perform(say("hello")))
        waiting = asyncio.create_task(bench.link.perform(say("cancelled")))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await running == "ok"
        assert await bench.link.perform(say("next")) == "ok"
        assert times_of(bench, "cancelled") == []


async def test_a_timer_that_fires_a_rounding_error_early_counts_as_due() -> None:
    clock, fired = VirtualClock(), list[float]()
    due = clock.wire() + 1.0
    loop_time, early = clock.wire, 5e-10
    clock.wire = lambda: loop_time() - early
    deadline = Deadline(clock, fired.append)
    deadline.set(due)
    await asyncio.sleep(1.0)
    assert fired == [due]


async def test_a_timer_that_fires_clearly_early_waits_on() -> None:
    clock, fired = VirtualClock(), list[float]()
    due = clock.wire() + 1.0
    deadline = Deadline(clock, fired.append)
    deadline.set(due)
    loop_time = clock.wire
    clock.wire = lambda: loop_time() - 0.00065  # uvloop fires up to 0.65 ms early
    await asyncio.sleep(1.0)
    assert fired == []
    await asyncio.sleep(0.001)
    assert fired == [pytest.approx(due)]


async def test_a_deadline_may_be_moved_earlier_later_and_away() -> None:
    clock, fired = VirtualClock(), list[float]()
    start = clock.wire()
    deadline = Deadline(clock, fired.append)
    deadline.set(start + 5)
    deadline.set(start + 2)
    await asyncio.sleep(3)
    assert fired == [start + 2]
    deadline.set(start + 4)
    deadline.set(start + 9)
    await asyncio.sleep(5)
    assert fired == [start + 2]
    deadline.close()
    await asyncio.sleep(10)
    assert fired == [start + 2]
