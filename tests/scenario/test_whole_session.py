"""A 45-minute session from plan to release, over the pump's real bytes, in virtual time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pumpd.records.journal import Journal
from pumpd.records.recall import replay
from pumpd.testing import VirtualClock, VirtualLoop
from tests.bedside import PLANNED_ML, Bedside, Room, ward


async def whole_session(room: Room, **options: float) -> Bedside:
    bed = Bedside(room, **options)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        await bed.order("session.end")
        await bed.order("session.release")
    return bed


@pytest.mark.shows("S6", "H1", "H6")
async def test_the_planned_dose_goes_in_and_nothing_more() -> None:
    bed = await whole_session(Room())
    assert bed.phase == "ended"
    assert bed.state.released
    assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
    assert bed.given <= PLANNED_ML + 1e-9
    assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=0.01)
    assert bed.raised == ["near_end"]


@pytest.mark.shows("H1")
async def test_it_takes_the_computed_time() -> None:
    """35 mL at 46.66 mL/h: 2700.39 s, since the rate is rounded down from 46.67."""
    bed = await whole_session(Room())
    assert bed.state.elapsed == pytest.approx(35 / 46.66 * 3600, abs=1.5)


@pytest.mark.shows("S1", "S10")
async def test_one_start_is_sent_and_each_limit_before_it_was_read_back() -> None:
    bed = await whole_session(Room())
    sent = [data for data in bed.port.sent if b"RUN" in data]
    assert len(sent) == 1
    before = bed.port.sent[: bed.port.sent.index(sent[0])]
    limits = [data for data in before if b"VOL" in data]
    assert b"VOL35" in limits[-2] or any(b"VOL35" in data for data in limits)


@pytest.mark.shows("S1")
async def test_after_the_end_the_smallest_limit_stays_in_the_pump() -> None:
    """S1: a keypad start after the end gives a thousandth of a millilitre, not a second dose."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        done = bed.given
        for _ in range(3):
            bed.key("run")
            await asyncio.sleep(30)
            assert not bed.truth["infusing"]
        assert bed.given <= done + 3 * 0.001 + 1e-9


@pytest.mark.shows("S10")
async def test_a_released_pump_is_left_alone() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert (await bed.order("session.release"))["state"] == "done"
        assert bed.truth["mode"] == "basic", "the watchdog is disarmed"
        before = len(bed.port.sent)
        bed.key("run")
        await asyncio.sleep(5)
        orders = [
            data for data in bed.port.sent[before:] if any(word in data for word in (b"STP", b"RUN", b"VOL", b"SAF"))
        ]
        assert orders == []


@pytest.mark.shows("S2", "H1")
async def test_several_steps_follow_each_other() -> None:
    """A slow third and a faster rest: the second step is a step of the confirmed plan, so it needs no further order."""
    bed = Bedside(Room())
    async with ward(bed):
        steps = [{"duration_min": 15, "share_pct": 20}, {"duration_min": 30, "share_pct": 80}]
        await bed.running(steps=steps)
        assert bed.truth["rate_ml_h"] == pytest.approx(28.0)
        await bed.until_session(920)
        assert bed.truth["rate_ml_h"] == pytest.approx(56.0)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, abs=0.02)
        assert bed.given <= PLANNED_ML + 1e-9
        assert bed.raised == ["near_end"]


async def test_accelerated_time_gives_the_same_dose() -> None:
    bed = await whole_session(Room(), speed=60.0)
    assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
    assert bed.given <= PLANNED_ML + 1e-9
    assert bed.raised == ["near_end"]


def run_in_virtual_time(path: Path) -> tuple[bytes, float]:
    """One whole session; gives the journal's rows as bytes and the wall seconds it took."""
    loop = VirtualLoop()
    try:
        rows: list[bytes] = []

        async def one() -> None:
            clock = VirtualClock()
            room = Room(seed=7, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
            await whole_session(room)
            rows.extend(repr(tuple(row)).encode() for row in room.journal.rows())
            room.journal.close()

        began = time.perf_counter()
        loop.run_until_complete(one())
        return b"\n".join(rows), time.perf_counter() - began
    finally:
        loop.close()


def test_the_journal_is_the_same_to_the_byte_twice_in_a_row(tmp_path: Path) -> None:
    first, _ = run_in_virtual_time(tmp_path / "first.sqlite3")
    second, _ = run_in_virtual_time(tmp_path / "second.sqlite3")
    assert first.count(b"\n") > 2700, "every reading of the session is a row"
    assert first == second


@pytest.mark.shows("H35")
async def test_every_recorded_decision_comes_out_again() -> None:
    room = Room()
    bed = await whole_session(room)
    count, differences = replay(room.journal.rows(bed=bed.name))
    assert count > 2700
    assert differences == []


@pytest.mark.shows("H7", "H25", "H39")
async def test_displays_are_told_each_phase_in_its_order() -> None:
    room = Room()
    await whole_session(room)
    topics = {topic for topic, _ in room.paper.raw}
    assert {"pump/one-pump/telemetry", "pump/one-pump/session", "pump/one-pump/connection", "event"} <= topics
    phases = [body["phase"] for body in room.paper.all("pump/one-pump/session")]
    order = [phase for phase, previous in zip(phases, [None, *phases], strict=False) if phase != previous]
    assert [phase for phase in order if phase] == ["planned", "armed", "running", "ending", "observing", "ended"]


async def test_the_start_that_displays_are_told_does_not_move_with_a_pause() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        topic = "pump/one-pump/session"
        first = bed.room.paper.last(topic)["started_ts"]
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(300)
        assert (await bed.order("session.resume", confirm=True))["state"] == "done"
        assert bed.room.paper.last(topic)["started_ts"][:19] == first[:19]
