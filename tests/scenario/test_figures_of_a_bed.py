"""The figures of a bed (docs/safety.md), each on both sides, with a simulated pump in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from drivers.newera import REPLY_TIMEOUT_S
from pumpd.bedside import bed as bed_module
from pumpd.bedside.bed import (
    DURABLE_WITHIN_S,
    JOURNAL_ALARM_S,
    LEASE_S,
    SLEPT_S,
    STALE_S,
    STOP_CONFIRMED_S,
)
from pumpd.bedside.ward import RESTARTS_MAX, RESTARTS_WITHIN_S, SILENT_S
from pumpd.core import events as ev
from pumpd.driver import Dialogue, Pause
from pumpd.line.link import ASK_AGAIN_S, STARVE_MARGIN_S
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_every_alarm import just_read, refuses
from tests.scenario.test_islands import Disk, room_with

A_LITTLE_S = 0.1


async def waits(bed: Bedside, until_wire: float) -> None:
    await asyncio.sleep(until_wire - bed.room.clock.wire())


@pytest.mark.shows("within:poll_s", "H34")
async def test_a_pump_is_read_and_shown_every_second() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(1)
        began, shown = bed.room.clock.wire(), len(bed.room.paper.all("pump/one-pump/telemetry"))
        await asyncio.sleep(60)
        questions = [at for at, data in bed.port.written if at > began and b"DIS" in data]
        assert len(questions) == pytest.approx(60, abs=1)
        assert len(bed.room.paper.all("pump/one-pump/telemetry")) - shown == pytest.approx(60, abs=1)


@pytest.mark.shows("within:STALE_S", "beyond:STALE_S", "S7")
async def test_a_reading_is_old_after_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is up, and no reading succeeds."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        await just_read(bed)
        monkeypatch.setattr(bed.site.pump, "read", refuses)
        heard_at = bed.ward.bed._heard_at
        assert heard_at is not None
        await waits(bed, heard_at + STALE_S - A_LITTLE_S)
        assert bed.state.sight.value == "seeing"
        await waits(bed, heard_at + STALE_S + A_LITTLE_S)
        assert "comms_lost_pump" in bed.alarms


@pytest.mark.shows("within:STOP_CONFIRMED_S", "beyond:STOP_CONFIRMED_S", "H11", "H62")
async def test_a_stop_is_not_confirmed_after_two_seconds() -> None:
    bed = Bedside(Room())
    quick = replace(bed.site.pump.capabilities, worst_reply_s=0.1)
    bed.site.pump.capabilities = quick  # type: ignore[misc]
    async with ward(bed):
        await bed.running()
        bed.do("mute")
        bed.do("fault", kind="deaf")
        ordered_at = bed.room.clock.wire()
        asking = asyncio.create_task(bed.order("session.stop", wait_s=5))
        await waits(bed, ordered_at + STOP_CONFIRMED_S - A_LITTLE_S)
        assert "stop_not_confirmed" not in bed.alarms
        await waits(bed, ordered_at + STOP_CONFIRMED_S + A_LITTLE_S)
        assert "stop_not_confirmed" in bed.alarms
        await asking


@pytest.mark.shows("within:LEASE_S", "beyond:LEASE_S", "S16")
async def test_a_pump_that_nobody_judges_is_stopped_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    renewed_at = 0.0
    true_renewal = bed_module.Bed._renew_lease

    def renew(one: bed_module.Bed) -> None:
        nonlocal renewed_at
        renewed_at = bed.room.clock.wire()
        true_renewal(one)

    async with ward(bed):
        await bed.running()
        monkeypatch.setattr(bed_module.Bed, "_renew_lease", renew)
        await asyncio.sleep(5)
        monkeypatch.setattr(bed_module.Bed, "_renew_lease", lambda _: None)
        await waits(bed, renewed_at + LEASE_S - A_LITTLE_S)
        assert bed.truth["infusing"]
        await waits(bed, renewed_at + LEASE_S + A_LITTLE_S)
        assert not bed.truth["infusing"]


@pytest.mark.shows("within:ASK_AGAIN_S", "beyond:ASK_AGAIN_S", "S15")
async def test_a_pump_that_is_not_proved_hears_nothing_for_thirty_five_seconds() -> None:
    """A question would feed its watchdog, and nobody judges what it does."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        await just_read(bed)
        assert bed.state.ours is not None
        bed.ward.bed.feed(ev.LinkUp(replace(bed.state.ours, version="V0.0")))
        began, asked = bed.room.clock.wire(), len(bed.port.sent)
        await waits(bed, began + ASK_AGAIN_S - 1.5)
        assert len(bed.port.sent) == asked
        await waits(bed, began + ASK_AGAIN_S + 1.5)
        assert len(bed.port.sent) > asked
        assert ASK_AGAIN_S > 30, "the longest watchdog"


@pytest.mark.parametrize(("stood_s", "blind"), [(SLEPT_S, False), (SLEPT_S + 0.01, True)])
@pytest.mark.shows("within:SLEPT_S", "beyond:SLEPT_S", "S11", "H52")
async def test_a_loop_that_stood_still_for_more_than_two_seconds_has_lost_sight(stood_s: float, blind: bool) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        bed.ward.bed.stood_still(stood_s)
        assert (bed.state.sight.value == "blind") is blind
        assert ("comms_lost_pump" in bed.raised) is blind


@pytest.mark.shows("within:SILENT_S", "beyond:SILENT_S", "S16", "H49")
async def test_a_bed_that_judges_nothing_for_five_seconds_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its look at the pump waits for something that never comes."""

    def for_ever() -> Dialogue[None]:
        yield Pause(1e9)

    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        with monkeypatch.context() as patch:
            patch.setattr(bed.site.pump, "read", for_ever)
            await asyncio.sleep(2)
            judged_at = bed.ward.judged_at
            await waits(bed, judged_at + SILENT_S - A_LITTLE_S)
            assert "bed_failed" not in bed.raised
            await bed.until(lambda: "bed_failed" in bed.raised, within_s=1.0)
        await bed.until(lambda: not bed.truth["infusing"], within_s=5)


@pytest.mark.parametrize(("blocked_s", "started"), [(DURABLE_WITHIN_S - 0.1, True), (DURABLE_WITHIN_S + 0.3, False)])
@pytest.mark.shows("within:DURABLE_WITHIN_S", "beyond:DURABLE_WITHIN_S", "S9")
async def test_a_start_waits_half_a_second_for_the_disk(tmp_path: Path, blocked_s: float, started: bool) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        disk.blocked = True
        asking = asyncio.create_task(bed.order("session.start", confirm=True))
        await asyncio.sleep(blocked_s)
        disk.blocked = False
        answer = await asking
        assert (answer["state"] == "done") is started, answer
        assert bed.truth["infusing"] is started


@pytest.mark.parametrize(("behind_s", "told"), [(JOURNAL_ALARM_S - A_LITTLE_S, False), (JOURNAL_ALARM_S + 0.1, True)])
@pytest.mark.shows("within:JOURNAL_ALARM_S", "beyond:JOURNAL_ALARM_S", "H62")
async def test_a_journal_behind_by_more_than_two_seconds_is_an_alarm(
    behind_s: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        monkeypatch.setattr(bed.room.journal, "behind_s", lambda _: behind_s)
        await asyncio.sleep(5)
        assert ("journal_unavailable" in bed.alarms) is told


async def failures(bed: Bedside, times: int, every_s: float = 5.0) -> None:
    for _ in range(times):
        bed.ward.bed.break_down(RuntimeError("a fault"))
        await asyncio.sleep(every_s)


@pytest.mark.shows("within:RESTARTS_MAX", "beyond:RESTARTS_MAX", "S16")
async def test_after_two_failures_a_bed_is_supervised_and_after_three_it_is_only_watched() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await failures(bed, RESTARTS_MAX - 1)
        assert not bed.ward.bed.monitor_only
        await failures(bed, 1)
        assert bed.ward.bed.monitor_only
        assert "monitor_only" in bed.alarms


@pytest.mark.parametrize(("apart_s", "only_watched"), [(-10.0, True), (10.0, False)])
@pytest.mark.shows("within:RESTARTS_WITHIN_S", "beyond:RESTARTS_WITHIN_S", "S16")
async def test_failures_count_for_ten_minutes(apart_s: float, only_watched: bool) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await failures(bed, 1, RESTARTS_WITHIN_S + apart_s - 5)
        await failures(bed, RESTARTS_MAX - 1)
        assert bed.ward.bed.monitor_only is only_watched


@pytest.mark.shows("within:STARVE_MARGIN_S", "beyond:STARVE_MARGIN_S", "S16")
async def test_a_pump_that_is_not_heard_is_left_alone_for_its_watchdog_and_a_second() -> None:
    """It hears our questions: each of them would keep it running."""
    bed = Bedside(Room(), watchdog_s=10)
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        bed.do("mute")
        began = bed.room.clock.wire()
        await asyncio.sleep(40)
        times = [at for at, _ in bed.port.written if at >= began]
        silence = max(later - earlier for earlier, later in pairwise(times))
        last_answer_s = 2 * REPLY_TIMEOUT_S  # so long the last question was waited for
        assert silence == pytest.approx(last_answer_s + 10 + STARVE_MARGIN_S, abs=0.1)
        assert not bed.truth["infusing"]


async def begun_anew(bed: Bedside) -> None:
    """Between two readings somebody stops the pump twice and starts it: its limit counts from zero, without a trace."""
    await bed.running()
    await bed.until(lambda: bed.given > PLANNED_ML - 1, step_s=0.5)
    await just_read(bed)
    bed.key("stop")
    bed.key("stop")
    bed.key("run")


@pytest.mark.shows("S1", "H6")
async def test_the_dose_is_not_passed_though_the_pumps_own_limit_was_begun_anew() -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await begun_anew(bed)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert PLANNED_ML - 0.02 < bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("risk:between-polls")
async def test_nobody_stops_that_pump_when_pumpd_is_gone_too() -> None:
    """The residual risk: the pump begins its whole limit once more, and ends with the syringe."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await begun_anew(bed)
        bed.port.plug_out()
        await bed.until(lambda: not bed.truth["infusing"], within_s=10_000, step_s=10)
        assert bed.given > 1.5 * PLANNED_ML
