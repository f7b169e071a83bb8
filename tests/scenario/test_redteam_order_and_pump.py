"""Attacks between an order and the pump: a program that stood still, a wire that is cut on one side only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.bed import GIVES_MORE_WITHIN_S
from pumpd.bedside.desk import CHECKLIST
from tests.bedside import PATIENT, PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_recovery import born_again, journaled


def stand_still(seconds: float) -> None:
    """The whole program, as when its machine is frozen."""
    asyncio.get_running_loop()._virtual.now += seconds  # type: ignore[attr-defined]


# --- ordered, then nobody was there -----------------------------------------------------------------------------------


@pytest.mark.shows("S2", "S11", "S12", "beyond:GIVES_MORE_WITHIN_S")
@pytest.mark.parametrize("gap_s", [GIVES_MORE_WITHIN_S, 600.0])
@pytest.mark.parametrize("after_ms", [0, 20, 55, 125, 200])
@pytest.mark.parametrize("verb", ["session.start", "session.resume"])
async def test_what_was_ordered_before_a_standstill_starts_no_pump_after_it(
    verb: str, after_ms: int, gap_s: float
) -> None:
    """S12: the order was fresh when it was taken; ten minutes later RUN left, and nobody stood at the bed."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        if verb == "session.resume":
            assert (await bed.order("session.start", confirm=True))["state"] == "done"
            await bed.until_session(60)
            assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(3)
        before = starts(bed)
        bed.do("fault", kind="delay", delay_s=0.01)
        asking = asyncio.create_task(bed.order(verb, confirm=True, wait_s=1))
        await asyncio.sleep(after_ms / 1000)
        assert starts(bed) == before
        stand_still(gap_s)
        await asyncio.sleep(20)
        await asking
        assert starts(bed) == before
        assert not bed.truth["infusing"]
        assert bed.phase in ("armed", "planned", "paused")
        assert bed.state.pending is None


@pytest.mark.shows("within:GIVES_MORE_WITHIN_S")
async def test_a_start_that_takes_its_time_on_a_slow_line_is_in_time() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("fault", kind="delay", delay_s=0.45)
        began = bed.room.clock.wire()
        assert (await bed.order("session.start", confirm=True, wait_s=60))["state"] == "done"
        assert 8 < bed.room.clock.wire() - began < GIVES_MORE_WITHIN_S
        assert bed.truth["infusing"]


# --- it hears us, and we do not hear it -------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S16")
@pytest.mark.parametrize("watchdog_s", [3, 10, 30])
async def test_an_unheard_pump_that_a_hand_starts_again_is_not_fed_for_ever(watchdog_s: int) -> None:
    """S16: its watchdog had stopped it; started at its keypad its limit began anew, and our questions fed it: 55 mL."""
    bed = Bedside(Room(), watchdog_s=watchdog_s)
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        bed.do("mute")
        await bed.until(lambda: not bed.truth["infusing"], within_s=2 * watchdog_s + 6)
        for pause_s in (1, 5, 20, 61):
            await asyncio.sleep(pause_s)
            bed.key("run")
            if not bed.truth["infusing"]:  # the first only took the alarm off
                bed.key("run")
            assert bed.truth["infusing"]
            await bed.until(lambda: not bed.truth["infusing"], within_s=2 * watchdog_s + 6)
        bed.do("unmute")
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=watchdog_s + 3)
        assert bed.phase == "paused"
        assert "comms_lost_pump" in bed.alarms
        assert starts(bed) == 1


# --- killed between the order and its first byte ----------------------------------------------------------------------


@pytest.mark.shows("S2", "S3", "S10")
@pytest.mark.parametrize("was", ["armed", "paused by a person", "stalled"])
async def test_killed_before_the_start_left_the_pause_demands_what_it_demanded(
    was: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S10: it came back as if somebody had stopped the pump at its keypad, where it may be started again."""

    async def never(*_order: Any) -> None:
        await asyncio.Event().wait()

    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        if was != "armed":
            assert (await bed.order("session.start", confirm=True))["state"] == "done"
            await bed.until_session(60)
            if was == "stalled":
                bed.do("stall")
            else:
                assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(5)
        before = bed.state.hold
        monkeypatch.setattr("pumpd.bedside.bed.carry_out", never)
        verb, released = ("session.start", {}) if was == "armed" else ("session.resume", {"pressure_released": True})
        assert (await bed.order(verb, confirm=True, wait_s=0.2, **released))["state"] == "started"
    monkeypatch.undo()
    await asyncio.sleep(2)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "paused", within_s=5)
        await asyncio.sleep(2)
        if before is not None:
            assert again.state.hold == before
        if was == "stalled":
            refused = await again.order("session.resume", confirm=True)
            assert "line pressure" in refused["text"]
            return
        given = again.given
        again.key("run")
        await asyncio.sleep(5)
        assert not again.truth["infusing"]
        assert again.given - given < 0.05
        assert "infusing_against_plan" in again.alarms
        assert (await again.order("session.resume", confirm=True))["state"] == "done"
        await again.until(lambda: again.phase == "observing", step_s=1)
        assert again.given == pytest.approx(PLANNED_ML, rel=0.01)


# --- lost in its first arming -----------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
async def test_lost_in_its_first_arming_and_stopped_another_pump_gets_no_word() -> None:
    """S15: nothing was armed, so nothing had to be proved: another patient's pump was stopped and its limit changed."""
    room = Room()
    bed, other = Bedside(room), Bedside(room, "other")
    async with ward(bed, other):
        await other.running()
        await other.until_session(60)
        assert (await bed.planned())["state"] == "done"
        bed.do("fault", kind="delay", delay_s=0.02)
        asking = asyncio.create_task(bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST)))
        await asyncio.sleep(0.3)
        assert bed.state.pending is not None
        bed.port.plug_out()
        assert (await bed.order("session.stop", wait_s=1))["state"] == "unknown"
        other.port.plug_out()
        bed.port.peer = other.device
        sent, limit = len(bed.port.sent), other.truth["limit_ml"]
        bed.port.plug_in()
        await asyncio.sleep(5)
        assert orders_in(bed, sent) == []
        assert other.truth["infusing"]
        assert other.truth["limit_ml"] == limit
        assert "pump_not_proved" in bed.alarms
        await asking
        assert (await bed.order("pump.stop"))["state"] == "done", "a person means whoever is there"
        assert (await bed.order("session.end"))["state"] == "done"
        assert (await bed.planned())["state"] == "done"


@pytest.mark.shows("S4", "S16")
@pytest.mark.parametrize("after_ms", [0, 5, 9, 15, 40])
@pytest.mark.parametrize("verb", ["session.start", "session.resume"])
async def test_unheard_since_it_was_told_to_run_the_pump_is_not_fed_for_ever(verb: str, after_ms: int) -> None:
    """S16: the answer to RUN was lost, so nobody knew that it infuses, and nobody starved it: all went in."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        if verb == "session.resume":
            assert (await bed.order("session.start", confirm=True))["state"] == "done"
            await bed.until_session(60)
            assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(3)
        before = starts(bed)
        bed.do("fault", kind="delay", delay_s=0.01)
        asking = asyncio.create_task(bed.order(verb, confirm=True))
        await bed.until(lambda: starts(bed) == before + 1, within_s=3, step_s=0.001)
        await asyncio.sleep(after_ms / 1000)
        bed.do("mute")
        await asking
        await bed.until(lambda: not bed.truth["infusing"], within_s=2 * 10 + 6)
        assert "comms_lost_pump" in bed.alarms
        bed.do("clear_faults")
        await bed.until(lambda: bed.phase == "paused", within_s=20)
        assert starts(bed) == before + 1
