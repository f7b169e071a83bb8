"""S16 LEASED: keep-alives need a lease, and a lapsed lease stops the pump and then silences the line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from pumpd.driver import Dialogue, Motion, Pause, Preempted, Silent
from pumpd.line.link import Lease, LeaseLapsed, LeaseStopDone, LinkDown, LinkUp, NotConnected
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.toy_pump import ToyDevice, ToyPump, ask

LEASE_S = 2.0


def infusing(**more: object) -> ToyDevice:
    return replace(ToyDevice(motion="infusing"), **more)  # type: ignore[arg-type]


def fed_at(bench: LinkBench) -> list[float]:
    return [at for at, data in bench.port.written if data == b"feed\n"]


async def keep_guarding(bench: LinkBench, seconds: float, *, polls: bool) -> None:
    due = bench.clock.wire()
    end = due + seconds
    while due < end:
        bench.link.guard(LEASE_S)
        if polls:
            await bench.link.perform(bench.pump.read)
        due += 1.0
        await asyncio.sleep(due - bench.clock.wire())


# --- keep-alive -----------------------------------------------------------------------------------------------------


@pytest.mark.shows("S16")
async def test_without_a_lease_no_keep_alive_is_sent() -> None:
    async with link_bench(pump=ToyPump(fed_every_s=0.4)) as bench:
        await asyncio.sleep(60)
        assert fed_at(bench) == []


async def test_under_a_lease_an_idle_line_is_fed_every_period() -> None:
    async with link_bench(infusing(), ToyPump(fed_every_s=0.4)) as bench:
        await keep_guarding(bench, 10, polls=False)
        gaps = [b - a for a, b in pairwise(fed_at(bench))]
        assert len(gaps) >= 23
        assert max(gaps) <= 0.42


async def test_polls_that_feed_the_watchdog_make_keep_alives_needless() -> None:
    async with link_bench(infusing(), ToyPump(fed_every_s=1.5)) as bench:
        await keep_guarding(bench, 30, polls=True)
        assert fed_at(bench) == []


async def test_polls_that_do_not_feed_it_leave_the_keep_alive_in_its_rhythm() -> None:
    async with link_bench(infusing(), ToyPump(fed_every_s=1.5, covered_by_any=False)) as bench:
        await keep_guarding(bench, 30, polls=True)
        gaps = [b - a for a, b in pairwise(fed_at(bench))]
        assert gaps == [pytest.approx(1.5, abs=0.02)] * len(gaps)
        assert len(gaps) >= 18


@pytest.mark.shows("S16")
async def test_standing_down_ends_the_keep_alives_and_needs_no_lease() -> None:
    async with link_bench(infusing(), ToyPump(fed_every_s=0.4)) as bench:
        await keep_guarding(bench, 2, polls=False)
        bench.link.stand_down()
        mark = bench.mark
        await asyncio.sleep(60)
        assert bench.words_since(mark) == []
        assert bench.told(LeaseLapsed) == []
        assert (await bench.link.perform(bench.pump.read)).motion is Motion.INFUSING


async def test_a_keep_alive_behind_a_long_dialogue_is_queued_once() -> None:
    def long() -> Dialogue[None]:
        yield Pause(1.9)

    async with link_bench(infusing(), ToyPump(fed_every_s=1.0)) as bench:
        bench.link.guard(3.0)
        await bench.link.perform(long)
        await asyncio.sleep(0.5)
        assert len(fed_at(bench)) == 1


# --- lapse ----------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S16")
async def test_a_lapsed_lease_stops_the_pump_and_then_the_line_is_silent() -> None:
    async with link_bench(infusing(), ToyPump(fed_every_s=0.4)) as bench:
        began = bench.clock.wire()
        bench.link.guard(LEASE_S)
        await asyncio.sleep(60)
        (stop_at,) = [at for at, data in bench.port.written if data == b"stop\n"]
        assert stop_at == pytest.approx(began + LEASE_S)
        assert bench.port.sent[-2:] == [b"stop\n", b"read\n"]
        assert bench.device.motion == "standing"
        assert bench.told(LeaseLapsed) == [LeaseLapsed()]
        assert [event.report.motion for event in bench.told(LeaseStopDone)] == [Motion.STANDING]
        assert bench.link.lease is Lease.MUTE


@pytest.mark.shows("S16")
async def test_a_renewed_lease_does_not_lapse() -> None:
    async with link_bench(infusing()) as bench:
        await keep_guarding(bench, 600, polls=True)
        assert bench.told(LeaseLapsed) == []
        assert "stop" not in bench.device.heard


async def test_a_lapse_cuts_what_runs_and_refuses_what_comes() -> None:
    def long() -> Dialogue[None]:
        yield Pause(10)
        yield ask("older")

    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        cut = asyncio.create_task(bench.link.perform(long))
        await asyncio.sleep(LEASE_S + 1)
        with pytest.raises(Preempted):
            await cut
        mark = bench.mark
        with pytest.raises(NotConnected, match="lease lapsed"):
            await bench.link.perform(bench.pump.read)
        assert bench.words_since(mark) == []


@pytest.mark.shows("S5", "S16")
async def test_a_person_may_still_stop_after_a_lapse() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        await asyncio.sleep(10)
        mark = bench.mark
        await bench.link.perform(bench.pump.stop, fence=True)
        assert bench.words_since(mark) == ["stop", "read"]


@pytest.mark.shows("S16", "H11")
async def test_stop_is_repeated_until_the_pump_stands() -> None:
    moving = iter(["infusing"] * 5)

    def says(word: str) -> tuple[float, bytes] | None:
        return (0.01, b"=" + next(moving, "standing").encode() + b"\n") if word == "read" else None

    async with link_bench(infusing(says=says)) as bench:
        bench.link.guard(LEASE_S)
        await asyncio.sleep(60)
        assert bench.device.heard.count("stop") == 6
        assert len(bench.told(LeaseStopDone)) == 1


@pytest.mark.shows("S16")
async def test_stop_is_repeated_while_the_pump_is_silent_and_until_it_answers_again() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        bench.device.mute = True
        await asyncio.sleep(30)
        asked = [word for word in bench.device.heard if word != "who"]
        assert set(asked) == {"stop"}
        assert len(asked) > 30
        bench.device.mute = False
        await asyncio.sleep(3)
        assert bench.device.motion == "standing"
        assert len(bench.told(LeaseStopDone)) == 1


def shy(device: ToyDevice) -> Callable[[str], tuple[float, bytes] | None]:
    """Answers nothing before it was asked who it is: a pump that was off and on again, and wants to be set up."""
    return lambda word: None if word == "who" or "who" in device.heard else (0.0, b"")


@pytest.mark.shows("S16", "H20")
async def test_a_pump_that_was_off_and_on_again_is_met_anew_and_its_stop_read_back() -> None:
    async with link_bench(infusing()) as bench:
        bench.device.heard.clear()
        bench.device.says = shy(bench.device)
        bench.link.guard(LEASE_S)
        await asyncio.sleep(10)
        assert bench.device.motion == "standing"
        assert [event.report.motion for event in bench.told(LeaseStopDone)] == [Motion.STANDING]


@pytest.mark.shows("S15", "S16")
async def test_another_pump_on_the_same_line_is_stopped_no_longer_once_it_has_told_who_it_is() -> None:
    async with link_bench(infusing()) as bench:
        bench.device.says = shy(bench.device)
        bench.device.serial = "SN2"
        bench.device.heard.clear()
        bench.link.guard(LEASE_S)
        await asyncio.sleep(60)
        met_at = bench.device.heard.index("who")
        assert set(bench.device.heard[:met_at]) == {"stop"}
        assert set(bench.device.heard[met_at:]) == {"who"}
        assert any("another pump" in event.reason for event in bench.told(LinkDown))
        assert bench.link.lease is Lease.LAPSED


async def test_a_lapse_with_the_port_away_stops_the_pump_when_it_is_back_and_proved() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        bench.port.plug_out()
        await asyncio.sleep(30)
        mark = bench.mark
        bench.port.plug_in()
        await asyncio.sleep(30)
        assert bench.words_since(mark) == ["who", "stop", "read"]
        assert bench.link.lease is Lease.MUTE


@pytest.mark.shows("S15", "S16")
async def test_another_pump_behind_the_port_is_not_stopped_by_a_lapse() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        bench.port.plug_out()
        bench.device.serial = "SN2"
        await asyncio.sleep(5)
        bench.port.plug_in()
        await asyncio.sleep(30)
        assert "stop" not in bench.device.heard
        assert any("another pump" in event.reason for event in bench.told(LinkDown))
        bench.device.serial = "SN1"
        await asyncio.sleep(10)
        assert bench.device.motion == "standing"


async def test_in_the_silence_after_a_lapse_a_reopened_port_is_not_spoken_to() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        await asyncio.sleep(10)
        bench.port.plug_out()
        await asyncio.sleep(1)
        mark = bench.mark
        bench.port.plug_in()
        await asyncio.sleep(60)
        bench.port.inject(b"*door\n")
        await asyncio.sleep(1)
        assert bench.port.opened == 2
        assert bench.words_since(mark) == []
        bench.link.reclaim()
        await asyncio.sleep(1)
        assert bench.words_since(mark) == ["who"]


async def test_reclaim_ends_the_silence_and_identifies_the_pump_again() -> None:
    async with link_bench(infusing()) as bench:
        bench.link.guard(LEASE_S)
        await asyncio.sleep(10)
        ups = len(bench.told(LinkUp))
        bench.link.reclaim()
        await bench.until_ready()
        assert len(bench.told(LinkUp)) == ups + 1
        assert (await bench.link.perform(bench.pump.read)).motion is Motion.STANDING


async def test_reclaim_does_not_forget_a_stop_that_is_not_read_back() -> None:
    async with link_bench(infusing()) as bench:
        bench.device.mute = True
        bench.link.guard(LEASE_S)
        await asyncio.sleep(5)
        bench.link.reclaim()
        bench.link.guard(LEASE_S)
        with pytest.raises(NotConnected, match="lease lapsed"):
            await bench.link.perform(bench.pump.start)
        bench.device.mute = False
        await asyncio.sleep(5)
        assert bench.device.motion == "standing"
        assert bench.link.lease is Lease.FREE


@pytest.mark.shows("S11", "S16")
async def test_a_lease_found_expired_after_a_stalled_loop_cannot_be_renewed() -> None:
    """The bed is first to run again after the stall, before the timer had its turn."""
    async with link_bench(infusing()) as bench:
        now = bench.clock.wire()
        bench.link.guard(LEASE_S)
        bench.clock.wire = lambda: now + LEASE_S + 0.5
        bench.link.guard(LEASE_S)
        assert bench.link.lease is Lease.LAPSED


async def test_two_stops_at_once_after_a_lapse_do_not_cut_each_other_for_ever() -> None:
    slow = {"stop": (0.2, b"=ok\n"), "read": (0.2, b"=standing\n")}
    async with link_bench(infusing(says=slow.get)) as bench:
        bench.link.guard(LEASE_S)
        await asyncio.sleep(LEASE_S + 0.1)
        report = await bench.link.perform(bench.pump.stop, fence=True)
        assert report.motion is Motion.STANDING
        await asyncio.sleep(5)
        assert bench.link.lease is Lease.MUTE


@pytest.mark.shows("S16", "H49")
async def test_a_fault_in_the_driver_does_not_end_the_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    async with link_bench(infusing()) as bench:
        true_stop, faults = bench.pump.stop, iter([1, 2, 3])

        def faulty() -> Dialogue[object]:
            if next(faults, None):
                raise KeyError("a bug")
            return true_stop()

        monkeypatch.setattr(bench.pump, "stop", faulty)
        bench.link.guard(LEASE_S)
        await asyncio.sleep(10)
        assert bench.device.motion == "standing"


async def test_nothing_here_waits_in_real_time() -> None:
    began = time.monotonic()
    async with link_bench() as bench:
        bench.device.mute = True
        with pytest.raises(Silent):
            await bench.link.perform(bench.pump.read)
        await asyncio.sleep(600)
    assert time.monotonic() - began < 10
