"""Enforcement beyond the rate: the same alarm again and again, a second master, a released pump left alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.bedside import Bedside, Room, ward

TO_BE_SEEN_S = 5.0


async def stalled(bed: Bedside) -> None:
    bed.do("stall")
    await bed.until(lambda: bed.phase == "paused", within_s=TO_BE_SEEN_S)
    bed.do("clear_faults")
    await asyncio.sleep(TO_BE_SEEN_S)  # its limit is lowered to what remains


async def resumed(bed: Bedside, role: str = "nurse") -> str:
    answer = await bed.order("session.resume", confirm=True, pressure_released=True, role=role)
    return str(answer["state"])


@pytest.mark.shows("H32", "raised:repeated_stop", "S3")
async def test_the_third_stall_within_ten_minutes_needs_a_prescriber() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        for _ in range(2):
            await asyncio.sleep(60)
            await stalled(bed)
            assert await resumed(bed) == "done"
        await asyncio.sleep(60)
        await stalled(bed)
        assert "repeated_stop" in bed.alarms
        given = bed.given
        bed.key("run")
        await asyncio.sleep(TO_BE_SEEN_S)
        assert not bed.truth["infusing"], "a start at the keypad is stopped, too"
        assert bed.given - given <= 46.66 / 3600 * 2, "within two polls"
        assert await resumed(bed) == "rejected"
        assert await resumed(bed, "prescriber") == "done"
        assert bed.phase == "running"


@pytest.mark.shows("raised:second_master", "H58")
async def test_something_else_that_speaks_to_the_pump_is_noticed() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(10)
        question = bed.port.sent[-1]
        for _ in range(3):
            await asyncio.sleep(1.37)
            bed.device.receive(question, bed.room.clock.wire())
            bed.port.poke()
        await asyncio.sleep(1)
        assert "second_master" in bed.alarms
        assert bed.phase == "running"


@pytest.mark.shows("H62")
async def test_with_one_master_nobody_is_suspected() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(600)
        assert "second_master" not in bed.raised


@pytest.mark.shows("S10", "raised:infusing_after_release")
async def test_a_released_pump_that_is_unplugged_and_plugged_in_is_left_as_it_is() -> None:
    """Hands off: no watchdog is armed again, which would stop whoever uses the pump by hand then."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.order("session.stop")
        await bed.until(lambda: bed.phase == "observing", within_s=TO_BE_SEEN_S)
        await bed.order("session.end")
        assert (await bed.order("session.release"))["state"] == "done"
        bed.port.plug_out()
        await asyncio.sleep(10)
        mark = len(bed.port.sent)
        bed.port.plug_in()
        await asyncio.sleep(20)
        after = b"".join(bed.port.sent[mark:])
        assert after, "it is still watched"
        assert b"SAF" not in after.replace(b"0SAF\r", b""), "asked at most, not set"
        bed.key("run")
        await asyncio.sleep(30)
        assert "infusing_after_release" in bed.alarms
        assert bed.truth["alarm"] != "watchdog"


@pytest.mark.shows("raised:long_pause", "over:long_pause")
async def test_a_long_pause_is_told() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.order("session.pause")
        await asyncio.sleep(15 * 60 - 10)
        assert "long_pause" not in bed.alarms
        await asyncio.sleep(20)
        assert "long_pause" in bed.alarms
        assert await resumed(bed) == "rejected"
        assert await resumed(bed, "prescriber") == "done"


@pytest.mark.shows("raised:near_end", "over:near_end", "within:NEAR_END_S", "beyond:NEAR_END_S")
@pytest.mark.parametrize("fill", [35, 50])
async def test_near_the_end_is_told_three_minutes_before(fill: int) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running(container={"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": fill})
        await bed.until_session(2700 - 180 - 10)
        assert "near_end" not in bed.alarms
        await asyncio.sleep(20)
        assert "near_end" in bed.alarms
        assert "near_empty" not in bed.alarms
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert not bed.alarms
