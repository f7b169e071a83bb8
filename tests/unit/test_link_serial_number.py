"""The configured serial number: whoever tells another one is not our pump, whatever else agrees (S15 SAME-PUMP)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pumpd.driver import Dialogue, Identity
from pumpd.line.link import AnotherPump, LinkDown, LinkUp
from tests.unit.bench_link import LinkBench, link_bench
from tests.unit.toy_pump import ToyDevice, ToyPump, ask


class Prepared(ToyPump):
    """One that is changed by connecting, unless hands are off."""

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        identity = yield from super().connect()
        if not hands_off:
            yield ask("prepare")
        return identity


@asynccontextmanager
async def expecting(serial_number: str, found: str) -> AsyncIterator[LinkBench]:
    async with link_bench(ToyDevice(serial=found), Prepared(), ready=False, serial_number=serial_number) as bench:
        yield bench


@pytest.mark.shows("S15")
async def test_the_configured_pump_is_known_before_it_is_prepared() -> None:
    async with expecting("SN1", "SN1") as bench:
        await bench.until_ready()
        assert bench.words_since(0) == ["who", "who", "prepare"]


@pytest.mark.shows("S15")
async def test_another_serial_number_is_never_up_and_nothing_is_changed_in_it() -> None:
    async with expecting("SN1", "SN2") as bench:
        await asyncio.sleep(3)
        assert not bench.link.ready
        assert not bench.told(LinkUp)
        assert set(bench.words_since(0)) == {"who"}
        assert [event.reason for event in bench.told(LinkDown)] == [
            'another pump answers: serial number SN2 instead of "SN1"'
        ]


async def test_a_person_may_still_stop_it() -> None:
    async with expecting("SN1", "SN2") as bench:
        await asyncio.sleep(1)
        report = await bench.link.perform(bench.pump.stop, fence=True)
        assert not report.motion.moves
        assert "stop" in bench.words_since(0)


async def test_hands_off_asks_once() -> None:
    async with expecting("SN1", "SN1") as bench:
        bench.link.hands_off = True
        await bench.until_ready()
        assert bench.words_since(0) == ["who"]


@pytest.mark.shows("S15")
async def test_a_pump_that_was_exchanged_unnoticed_is_found_by_asking_again() -> None:
    async with expecting("SN1", "SN1") as bench:
        await bench.until_ready()
        bench.device.serial = "SN2"
        mark = bench.mark
        with pytest.raises(AnotherPump, match="SN2"):
            await bench.link.perform(bench.link.connect)
        assert bench.words_since(mark) == ["who"]


async def test_a_doubted_pump_is_identified_before_the_next_order() -> None:
    async with expecting("SN1", "SN1") as bench:
        await bench.until_ready()
        bench.device.serial = "SN2"
        bench.link.doubt()
        assert not bench.link.ready
        await asyncio.sleep(1)
        assert not bench.link.ready
        assert len(bench.told(LinkDown)) == 1
