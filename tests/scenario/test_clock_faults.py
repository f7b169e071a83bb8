"""Clocks that jump, machines that sleep or start anew (S11): durations, volumes and decisions do not depend on them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pumpd.messaging.encode import timestamp
from pumpd.stall import BEAT_S, STALL_S, LoopWatch
from pumpd.testing import VirtualClock
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.alarm_life import over, raised
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_recovery import OtherBoot, born_again, journaled

HOUR_S = 3600.0


class SetClock(VirtualClock):
    """A wall clock that somebody, or NTP, can set. Wire time goes on as ever."""

    set_by = timedelta()

    def wall(self) -> datetime:
        return super().wall() + self.set_by


def jump(seconds: float) -> None:
    """The machine sleeps: its clock of durations goes on, the program does not."""
    loop: Any = asyncio.get_running_loop()
    loop._virtual.now += seconds


@asynccontextmanager
async def watched(bed: Bedside) -> AsyncIterator[None]:
    """With the watch that the daemon has over its loop."""
    watch = LoopWatch(bed.room.clock, bed.ward.bed.stood_still)
    try:
        yield
    finally:
        watch.close()


# --- the wall clock ---


async def session(*jumps: float) -> dict[str, Any]:
    """A whole session with a raised rate in it; the wall clock is set at 600 s, 1200 s and so on."""
    clock = SetClock()
    bed = Bedside(Room(clock=clock), observation_s=60.0)
    begin = clock.wire()
    async with ward(bed):
        await bed.running()
        for number, seconds in enumerate(jumps, 1):
            await bed.until_session(600.0 * number)
            clock.set_by += timedelta(seconds=seconds)
        await bed.until_session(600.0 * (len(jumps) + 1))
        bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: bed.phase == "ended", step_s=1)
        paper = bed.room.paper
        telemetry = paper.all("pump/one-pump/telemetry")
        rows = [row for row in bed.room.journal.rows() if row.kind not in ("Alarm", "AlarmOver")]
        return {
            "wire": [(round(at - begin, 3), data) for at, data in bed.port.written],
            "remaining": [-1.0 if body["remaining_s"] is None else float(body["remaining_s"]) for body in telemetry],
            "elapsed": [-1.0 if body["elapsed_s"] is None else float(body["elapsed_s"]) for body in telemetry],
            "rate": [body["rate_set_ml_h"] for body in telemetry],
            "raised": bed.raised,
            "decided": [(row.kind, round(row.wire - begin, 3)) for row in rows],
            "given": bed.given,
            "ages": [body["rx_age_ms"] for body in telemetry],
        }


@pytest.mark.shows("S11", "H37")
async def test_a_wall_clock_set_by_an_hour_forward_and_back_changes_nothing_at_all() -> None:
    undisturbed = await session(0.0, 0.0)
    disturbed = await session(HOUR_S, -2 * HOUR_S)
    assert len(undisturbed["remaining"]) > 2700
    assert undisturbed["raised"] == disturbed["raised"]
    assert "rate_above_plan" in disturbed["raised"]
    for figure, values in undisturbed.items():
        if figure in (
            "given",
            "remaining",
            "elapsed",
        ):  # counted from another zero, their last digit (0.1 s) may round apart
            assert disturbed[figure] == pytest.approx(values, abs=0.1001), figure
        else:
            assert disturbed[figure] == values, figure


async def sent_at(bed: Bedside, verb: str, issued: datetime) -> dict[str, Any]:
    """A request of a display whose own clock was not set."""
    fields = {
        "id": str(uuid.UUID(int=bed.room.rng.getrandbits(128))),
        "issued_ts": timestamp(issued),
        "ttl_ms": 5000,
        "actor": "nurse-1",
        "role": "nurse",
        "origin": "test",
        "bed": bed.name,
        "session_id": bed.state.session_id,
        "args": {},
    }
    return await bed.send(verb, fields)


@pytest.mark.shows("S11", "S12", "H37")
@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
async def test_after_a_jump_what_gives_more_is_expired_and_what_stops_is_not(seconds: float) -> None:
    clock = SetClock()
    bed = Bedside(Room(clock=clock))
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        clock.set_by = timedelta(seconds=seconds)
        paused = await sent_at(bed, "session.pause", clock.wall() - clock.set_by)
        assert paused["state"] == "done", paused
        assert not bed.truth["infusing"]
        resumed = await sent_at(bed, "session.resume", clock.wall() - clock.set_by)
        assert resumed["reason"] == "expired", resumed
        assert (await bed.order("session.resume", confirm=True))["state"] == "done", "whose clock agrees is heard"
        stopped = await sent_at(bed, "session.stop", clock.wall() - clock.set_by)
        assert stopped["state"] == "done", stopped
        assert not bed.truth["infusing"]


# --- a loop that stood still, a machine that slept ---


@pytest.mark.shows("raised:loop_stalled", "over:loop_stalled", "within:STALL_S", "beyond:STALL_S", "S5", "S11")
async def test_loop_stalled() -> None:
    bed = Bedside(Room())
    async with ward(bed), watched(bed):
        await bed.running()
        await asyncio.sleep(1.05)
        jump(STALL_S - BEAT_S - 0.01)
        await asyncio.sleep(5)
        assert "loop_stalled" not in bed.raised
        jump(STALL_S)
        await raised(bed, "loop_stalled")
        assert "comms_lost_pump" not in bed.raised
        assert bed.phase == "running"
        await over(bed, "loop_stalled")
        assert bed.truth["infusing"], "a moment is told, and nothing is stopped for it"


@pytest.mark.shows(
    "raised:loop_stalled_long", "over:loop_stalled_long", "within:SLEPT_S", "beyond:SLEPT_S", "S7", "S11"
)
async def test_loop_stalled_long() -> None:
    bed = Bedside(Room())
    async with ward(bed), watched(bed):
        await bed.running()
        assert (await bed.order("session.pause"))["state"] == "done"  # else the lease would lapse before
        await asyncio.sleep(1.01)
        jump(1.85)
        await raised(bed, "loop_stalled")
        await asyncio.sleep(5)
        assert "loop_stalled_long" not in bed.raised
        assert "comms_lost_pump" not in bed.raised
        jump(2.05)
        await raised(bed, "loop_stalled_long")
        assert "comms_lost_pump" in bed.raised, "a gap over two seconds is a loss of sight, wherever it falls"
        await over(bed, "loop_stalled_long")


@pytest.mark.shows("S7", "S11", "S16", "H37")
@pytest.mark.parametrize("gap_s", [1.0, 5.0, 600.0])
async def test_a_machine_that_slept_finds_the_truth_and_the_dose_comes_out_right(gap_s: float) -> None:
    bed = Bedside(Room(), observation_s=60.0)
    async with ward(bed), watched(bed):
        await bed.running()
        await bed.until_session(600)
        jump(gap_s)
        await asyncio.sleep(0.2)
        if gap_s > 2.0:
            assert {"comms_lost_pump", "loop_stalled_long"} <= set(bed.raised)
            assert bed.state.sight.value != "seeing", "nothing is believed before it was read again"
            await bed.until(lambda: bed.state.sight.value == "seeing", within_s=30)
            await bed.until(lambda: bed.phase == "paused", within_s=5)
            assert not bed.truth["infusing"]
            await asyncio.sleep(20)
            assert starts(bed) == 1
        else:
            assert "loop_stalled" in bed.raised
            assert bed.phase == "running"
        believed = bed.state.volumes.counted.value
        assert float(believed) == pytest.approx(bed.given, abs=0.02)
        ran = bed.given / 46.66 * 3600
        assert bed.state.elapsed_at(bed.ward.bed.session_now()) == pytest.approx(ran, abs=2.0), "as long as it ran"
        if bed.phase == "paused":
            resumed = await bed.order("session.resume", confirm=True)
            assert resumed["state"] == "done", resumed
        await bed.until(lambda: bed.phase == "ended", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


# --- a machine that started anew ---


@pytest.mark.shows("S10", "S11", "H37")
@pytest.mark.parametrize("down_s", [3.0, 120.0])
async def test_after_a_reboot_the_pump_tells_how_long_it_ran_and_a_person_resumes(
    tmp_path: Path, down_s: float
) -> None:
    """After 3 s the pump still infuses; after 120 s its watchdog has stopped it. How long we were away nobody knows."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), observation_s=60.0)
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    await asyncio.sleep(down_s)
    moved = bed.truth["infusing"]
    assert moved is (down_s < 10)
    again = born_again(bed, path, OtherBoot())
    assert again.phase == "recovering"
    async with ward(again):
        await again.until(lambda: again.phase == "paused" and again.state.halt is None, within_s=10)
        assert not again.truth["infusing"]
        assert "daemon_restarted" in again.raised
        assert (b"STP" in orders_in(again)) is moved
        await asyncio.sleep(60)
        assert starts(again) == 0, "a person resumes"
        assert float(again.state.volumes.counted.value) == pytest.approx(again.given, abs=0.02)
        ran = again.given / 46.66 * 3600
        assert again.state.elapsed_at(again.ward.bed.session_now()) == pytest.approx(ran, abs=2.0)
        resumed = await again.order("session.resume", confirm=True)
        assert resumed["state"] == "done", resumed
        await again.until(lambda: again.phase in ("observing", "ended"), step_s=1)
        assert again.given <= PLANNED_ML + 1e-9
        assert again.given == pytest.approx(PLANNED_ML, rel=0.01)
