"""The port under a link: opening, identity, loss, silence and coming back (S7 BLIND-IS-LOUD, S15 SAME-PUMP)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from pumpd.driver import Ask, Dialogue, Identity, Silent, Uncertain
from pumpd.line.link import REOPEN_FIRST_S, REOPEN_MOST_S, LinkDown, LinkPhase, LinkUp, NotConnected
from pumpd.line.ports import PortError
from pumpd.line.talk import Pipe
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.toy_pump import ToyDevice, ask

IDENTITY = Identity("toy", "1", "SN1")


def reasons(bench: LinkBench) -> list[str]:
    return [event.reason for event in bench.told(LinkDown)]


def states(bench: LinkBench) -> list[str]:
    return [event.state for event in bench.told(LinkPhase)]


async def test_identity_is_told_after_the_port_was_opened() -> None:
    async with link_bench() as bench:
        assert bench.told(LinkUp) == [LinkUp(IDENTITY)]
        assert bench.link.identity == IDENTITY
        assert states(bench) == ["connecting", "negotiating", "ready"]
        assert bench.words_since(0) == ["who"]


async def test_a_port_that_vanishes_is_told_at_once_in_words() -> None:
    async with link_bench() as bench:
        bench.port.plug_out()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reasons(bench) == ["memory://test: the port went away"]
        with pytest.raises(NotConnected):
            await bench.link.perform(bench.pump.read)


@pytest.mark.shows("S15")
async def test_a_port_that_comes_back_is_identified_before_any_order() -> None:
    async with link_bench() as bench:
        mark = bench.mark
        bench.port.plug_out()
        await asyncio.sleep(20)
        bench.port.plug_in()
        await bench.until_ready()
        await bench.link.perform(bench.pump.read)
        assert bench.words_since(mark) == ["who", "read"]
        assert len(bench.told(LinkUp)) == 2
        assert bench.link.counters.reopened == 1


async def test_the_same_reason_is_told_once_and_again_after_a_success() -> None:
    async with link_bench() as bench:
        for _ in range(2):
            bench.port.plug_out()
            await asyncio.sleep(60)
            bench.port.plug_in()
            await bench.until_ready()
        gone, missing = "memory://test: the port went away", "memory://test: no such port; is the adapter plugged in?"
        assert reasons(bench) == [gone, missing, gone, missing]


async def test_opening_is_tried_ever_more_slowly_up_to_a_limit() -> None:
    async with link_bench() as bench:
        tries: list[float] = []

        async def refuse(receive: Callable[[bytes], None], lost: Callable[[str], None]) -> Pipe:
            tries.append(bench.clock.wire())
            raise PortError("busy", "in use by minicom (pid 12)")

        bench.link._open_pipe = refuse
        bench.port.plug_out()
        await asyncio.sleep(60)
        gaps = [b - a for a, b in pairwise(tries)]
        assert gaps[0] == pytest.approx(2 * REOPEN_FIRST_S)
        assert gaps == sorted(gaps)
        assert max(gaps) == pytest.approx(REOPEN_MOST_S)


async def test_a_vanishing_port_ends_dialogues_by_what_is_known_of_them() -> None:
    def two() -> Dialogue[None]:
        yield ask("one")
        yield ask("two")

    for first, expected in ((two, NotConnected), ("start", Uncertain)):
        async with link_bench(ToyDevice(delay_s=0.1)) as bench:
            dialogue = bench.pump.start if first == "start" else two
            running = asyncio.create_task(bench.link.perform(dialogue))
            waiting = asyncio.create_task(bench.link.perform(two))
            await asyncio.sleep(0.05)
            bench.port.plug_out()
            with pytest.raises(expected, match="went away"):
                await running
            with pytest.raises(NotConnected, match="went away"):
                await waiting


@pytest.mark.shows("S7", "H53")
async def test_a_pump_that_stops_answering_is_lost_within_three_seconds() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        began = bench.clock.wire()
        while not bench.told(LinkDown):
            with pytest.raises((Silent, NotConnected)):
                await bench.link.perform(bench.pump.read)
        assert bench.clock.wire() - began == pytest.approx(3.0)
        assert reasons(bench) == ["no answer for 3 s"]
        assert bench.link.phase == LinkPhase("lost", "no answer for 3 s")


@pytest.mark.shows("S7", "within:lost_after_s", "beyond:lost_after_s")
async def test_polls_once_a_second_find_the_loss_in_the_same_time() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        lost_at: list[float] = []
        tell = bench.link._tell
        bench.link._tell = lambda e: (lost_at.append(bench.clock.wire()) if isinstance(e, LinkDown) else None, tell(e))[
            1
        ]
        began = bench.clock.wire()
        for _ in range(4):
            with pytest.raises((Silent, NotConnected)):
                await bench.link.perform(bench.pump.read)
            await asyncio.sleep(1)
        assert lost_at[0] - began == pytest.approx(3.0)


@pytest.mark.shows("S7", "within:lost_after_s", "beyond:lost_after_s")
async def test_a_question_with_a_long_time_out_does_not_hide_the_loss() -> None:
    def patient() -> Dialogue[None]:
        yield Ask(b"hello\n", 10.0)

    async with link_bench() as bench:
        bench.device.mute = True
        began = bench.clock.wire()
        with pytest.raises(Silent, match="no answer for 3 s"):
            await bench.link.perform(patient)
        assert bench.clock.wire() - began == pytest.approx(3.0)


async def test_an_answer_that_comes_after_the_loss_is_not_taken_for_the_identity() -> None:
    def patient() -> Dialogue[None]:
        yield Ask(b"hello\n", 5.0)

    async with link_bench(ToyDevice(says={"hello": (3.4, b"=hello\n")}.get)) as bench:
        with pytest.raises(Silent, match="no answer for 3 s"):
            await bench.link.perform(patient)
        await bench.until_ready()
        assert bench.told(LinkUp) == [LinkUp(IDENTITY)] * 2


@pytest.mark.shows("S7")
async def test_noise_is_no_sign_of_life() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0.01, b"=xx~\n") if w == "read" else None)) as bench:
        for _ in range(4):
            with pytest.raises((Silent, NotConnected)):
                await bench.link.perform(bench.pump.read)
        assert reasons(bench) == ["no answer for 3 s"]


async def test_a_silent_line_nobody_asks_is_not_lost() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        await asyncio.sleep(600)
        assert bench.link.ready


async def test_a_pump_that_answers_again_is_identified_and_up() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        with pytest.raises(Silent):
            await bench.link.perform(bench.pump.read)
        await asyncio.sleep(60)
        assert not bench.link.ready
        bench.device.mute = False
        await bench.until_ready()
        assert len(bench.told(LinkUp)) == 2


async def test_an_order_in_flight_when_the_pump_is_lost_is_uncertain() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        began = bench.clock.wire()
        with pytest.raises(Silent):
            await bench.link.perform(bench.pump.read)
        await asyncio.sleep(began + 2.6 - bench.clock.wire())  # the quiet before it ends, and it is sent, before 3 s
        with pytest.raises(Uncertain, match="no answer for 3 s"):
            await bench.link.perform(bench.pump.start)


async def test_a_pump_that_never_answers_gets_its_port_opened_afresh_now_and_then() -> None:
    async with link_bench(ToyDevice(mute=True), ready=False) as bench:
        await asyncio.sleep(60)
        assert bench.port.opened >= 4
        assert reasons(bench) == ["no answer within 0.25 s, asked 2 times"]


async def test_a_wrong_answer_to_connect_is_told_and_tried_again() -> None:
    async with link_bench(
        ToyDevice(says=lambda w: (0.01, b"!battery\n") if w == "who" else None), ready=False
    ) as bench:
        await asyncio.sleep(2)
        assert reasons(bench) == ["alarm battery"]
        bench.device.says = None
        await bench.until_ready()


async def test_a_fault_of_the_driver_in_connect_is_told_and_does_not_end_the_link() -> None:
    async with link_bench(ready=False) as bench:
        true_connect = bench.pump.connect
        bench.pump.connect = lambda **_: {}["bug"]  # type: ignore[method-assign]
        await asyncio.sleep(2)
        assert reasons(bench) == ["fault in the driver: KeyError('bug')"]
        bench.pump.connect = true_connect  # type: ignore[method-assign]
        await bench.until_ready()


async def test_an_ended_link_says_disabled_and_ends_what_waits() -> None:
    async with link_bench() as bench:
        waiting = asyncio.create_task(bench.link.perform(bench.pump.read))
        await asyncio.sleep(0)
    with pytest.raises(NotConnected):
        await waiting
    assert states(bench)[-1] == "disabled"
    with pytest.raises(NotConnected, match="disabled"):
        await bench.link.perform(bench.pump.read)


async def test_a_memory_port_cannot_be_opened_twice() -> None:
    async with link_bench() as bench:
        with pytest.raises(PortError) as refused:
            await bench.port.open(lambda data: None, lambda why: None)
        assert refused.value.kind == "busy"


async def test_a_port_that_opens_and_hangs_up_at_once_is_not_hammered() -> None:
    async with link_bench() as bench:

        async def hang_up(receive: Callable[[bytes], None], lost: Callable[[str], None]) -> Pipe:
            pipe = await bench.port.open(receive, lost)
            bench.port.plug_out()
            bench.port.plug_in()
            return pipe

        bench.link._open_pipe = hang_up
        bench.port.plug_out()
        bench.port.plug_in()
        await asyncio.sleep(60)
        assert 10 < bench.port.opened < 25


async def test_a_device_that_hangs_up_and_comes_back_is_found_again() -> None:
    async with link_bench() as bench:
        bench.device.connected = False
        bench.port.poke()
        await asyncio.sleep(30)
        assert reasons(bench)[0] == "memory://test: the other side hung up"
        bench.device.connected = True
        await bench.until_ready()
        assert bench.port.opened == 2, "while it is away the port is missing, not open and dead"
