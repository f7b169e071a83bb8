"""S5 STOP-FENCE: whatever the link is doing, STOP is the next thing on the wire and nothing older follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pumpd.driver import Dialogue, Motion, Pause, Preempted, PumpReport, Silent
from pumpd.line.link import NotConnected
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.toy_pump import REPLY_S, ToyDevice, ask

STOP_WORDS = ["stop", "read"]


def older(*words: str) -> Callable[[], Dialogue[None]]:
    def dialogue() -> Dialogue[None]:
        for word in words:
            yield ask(word)

    return dialogue


async def order(bench: LinkBench, *words: str) -> asyncio.Task[None]:
    task = asyncio.create_task(bench.link.perform(older(*words)))
    await asyncio.sleep(0)
    return task


async def stop(bench: LinkBench) -> tuple[PumpReport, list[str]]:
    """Stop at once, wait for all that could still follow, and tell what went over the wire from that moment on."""
    mark = bench.mark
    began = bench.clock.wire()
    report = await bench.link.perform(bench.pump.stop, fence=True)
    assert bench.port.written[mark] == (began, b"stop\n"), "STOP leaves at once"
    await asyncio.sleep(5)
    return report, bench.words_since(mark)


async def ends_preempted(*tasks: Awaitable[object]) -> None:
    for task in tasks:
        with pytest.raises(Preempted):
            await task


@pytest.mark.shows("S4", "H11")
async def test_stop_on_an_idle_line_is_read_back() -> None:
    async with link_bench(ToyDevice(motion="infusing")) as bench:
        report, words = await stop(bench)
        assert (report.motion, words) == (Motion.STANDING, STOP_WORDS)


@pytest.mark.shows("S5")
async def test_stop_cuts_an_exchange_and_no_later_step_of_it_follows() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0.2, b"=late\n") if w == "older1" else None)) as bench:
        cut = await order(bench, "older1", "older2")
        await asyncio.sleep(0.05)
        _, words = await stop(bench)
        await ends_preempted(cut)
        assert set(words) == {"stop", "read"}
        assert bench.link.counters.preempted == 1


@pytest.mark.shows("S5")
async def test_stop_cuts_the_quiet_time_before_a_retry() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "older" else None)) as bench:
        cut = await order(bench, "older")
        await asyncio.sleep(REPLY_S * 1.5)
        _, words = await stop(bench)
        await ends_preempted(cut)
        assert words == STOP_WORDS


async def test_stop_cuts_a_pause() -> None:
    def paused() -> Dialogue[None]:
        yield Pause(2.0)
        yield ask("older")

    async with link_bench() as bench:
        cut = asyncio.create_task(bench.link.perform(paused))
        await asyncio.sleep(0.5)
        _, words = await stop(bench)
        await ends_preempted(cut)
        assert words == STOP_WORDS


@pytest.mark.shows("S5")
async def test_stop_empties_a_queue_full_of_older_orders() -> None:
    async with link_bench() as bench:
        cut = [await order(bench, f"older{n}", "more") for n in range(20)]
        _, words = await stop(bench)
        await ends_preempted(*cut)
        assert words == ["stop", "read"]
        assert bench.link.counters.preempted == 20


@pytest.mark.shows("S5")
async def test_stop_during_connect_goes_first_and_the_pump_is_identified_after_it() -> None:
    device = ToyDevice(says=lambda w: (0.2, b"=SN1\n") if w == "who" else None)
    async with link_bench(device, ready=False) as bench:
        await asyncio.sleep(0.05)
        assert bench.words_since(0) == ["who"]
        _, words = await stop(bench)
        assert words[0] == "stop"
        assert words[-1] == "who"
        assert bench.link.ready


@pytest.mark.shows("S5")
async def test_stop_reaches_a_pump_that_does_not_answer_any_more() -> None:
    async with link_bench() as bench:
        bench.device.mute = True
        with pytest.raises(Silent):
            await bench.link.perform(bench.pump.read)
        await asyncio.sleep(5)
        assert bench.link.phase.state == "lost"
        mark = bench.mark
        stopping = asyncio.create_task(bench.link.perform(bench.pump.stop, fence=True))
        await asyncio.sleep(0)
        assert bench.words_since(mark) == ["stop"]
        with pytest.raises(Silent):
            await stopping


async def test_stop_with_the_port_gone_says_so_at_once() -> None:
    async with link_bench() as bench:
        bench.port.plug_out()
        await asyncio.sleep(0.01)
        with pytest.raises(NotConnected, match="went away"):
            await bench.link.perform(bench.pump.stop, fence=True)


async def test_orders_given_after_stop_wait_behind_it() -> None:
    async with link_bench() as bench:
        mark = bench.mark
        stopping = asyncio.create_task(bench.link.perform(bench.pump.stop, fence=True))
        await asyncio.sleep(0)
        await bench.link.perform(older("newer"))
        assert stopping.done()
        assert bench.words_since(mark) == ["stop", "read", "newer"]


@pytest.mark.shows("S4", "S5")
async def test_an_old_answer_after_stop_is_not_believed_to_be_the_read_back() -> None:
    """The answer to the cut question says "infusing"; shifted by one it would answer STOP and read the pump wrong."""
    says = {"older": (0.2, b"=infusing\n"), "stop": (0.1, b"=ok\n")}
    async with link_bench(ToyDevice(motion="standing", says=says.get)) as bench:
        cut = await order(bench, "older")
        await asyncio.sleep(0.15)
        report, words = await stop(bench)
        await ends_preempted(cut)
        assert report.motion is Motion.STANDING
        assert words == STOP_WORDS
        (stop_at, _), (read_at, _) = bench.port.written[-2:]
        assert read_at - stop_at >= REPLY_S, "one reply time-out of quiet passes before the read-back"


async def test_a_second_stop_goes_out_at_once_too() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "stop" else None)) as bench:
        first = asyncio.create_task(bench.link.perform(bench.pump.stop, fence=True))
        await asyncio.sleep(0.1)
        bench.device.says = None
        _, words = await stop(bench)
        await ends_preempted(first)
        assert words == STOP_WORDS


@pytest.mark.shows("S5", "S10")
async def test_a_start_in_flight_is_cut_by_stop_and_not_sent_again() -> None:
    async with link_bench(ToyDevice(says=lambda w: (0, b"") if w == "start" else None)) as bench:
        starting = asyncio.create_task(bench.link.perform(bench.pump.start))
        await asyncio.sleep(0.1)
        _, words = await stop(bench)
        await ends_preempted(starting)
        assert words == STOP_WORDS


@pytest.mark.shows("S5")
async def test_a_dialogue_that_refuses_to_end_cannot_hold_up_stop() -> None:
    def stubborn() -> Dialogue[None]:
        try:
            yield ask("older")
        except BaseException:
            yield ask("after")

    async with link_bench(ToyDevice(says={"older": (0.2, b"=ok\n")}.get)) as bench:
        cut = asyncio.create_task(bench.link.perform(stubborn))
        await asyncio.sleep(0.05)
        _, words = await stop(bench)
        await ends_preempted(cut)
        assert words == STOP_WORDS
