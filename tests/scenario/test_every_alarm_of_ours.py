"""Each alarm of orders, line and program itself: its cause is brought about, the pump is looked at, the cause goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpd.bedside import bed as bed_module
from pumpd.bedside.desk import CHECKLIST
from pumpd.core import events as ev
from tests.bedside import PATIENT, Bedside, Room, ward
from tests.scenario.alarm_life import held, over, raised, reset, stopped
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_every_alarm import refuses, resume
from tests.scenario.test_islands import Disk, Poison, room_with
from tests.scenario.test_recovery import born_again, journaled

# --- orders ---


@pytest.mark.shows("raised:stop_not_confirmed", "over:stop_not_confirmed", "S5", "H4", "H11", "H19")
async def test_stop_not_confirmed() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("mute")
        bed.do("fault", kind="deaf")
        assert (await bed.order("session.stop", wait_s=1))["state"] != "done"
        await raised(bed, "stop_not_confirmed")
        await held(bed, "stop_not_confirmed")
        bed.do("clear_faults")
        await stopped(bed, within_s=15)
        await over(bed, "stop_not_confirmed")


@pytest.mark.shows("raised:limit_not_set", "over:limit_not_set", "H4", "H19")
async def test_limit_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        with monkeypatch.context() as patch:
            patch.setattr(bed.site.pump, "load", refuses)
            bed.key("stop")
            await raised(bed, "limit_not_set")
            await stopped(bed)
            assert bed.truth["limit_ml"] == pytest.approx(35.0)
        await over(bed, "limit_not_set")
        assert bed.truth["limit_ml"] < 35.0


@pytest.mark.shows("raised:unarmed", "over:unarmed")
async def test_unarmed() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("set_rate", ml_h=60.0)
        await raised(bed, "unarmed")
        assert not bed.truth["infusing"]
        armed = await bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))
        assert armed["state"] == "done", armed
        await over(bed, "unarmed")


# --- the line ---


@pytest.mark.shows("raised:comms_lost_pump", "over:comms_lost_pump", "S7", "H4", "H19", "H53", "risk:blind")
async def test_comms_lost_pump() -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        bed.do("mute")
        await raised(bed, "comms_lost_pump", within_s=4.1)
        await held(bed, "comms_lost_pump")
        await asyncio.sleep(30)
        assert bed.truth["infusing"], "in Basic mode nothing but its limit stops it"
        bed.do("unmute")
        await over(bed, "comms_lost_pump")


@pytest.mark.shows("raised:pump_not_connected", "over:pump_not_connected")
async def test_pump_not_connected() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        bed.port.plug_out()
        await raised(bed, "pump_not_connected")
        bed.port.plug_in()
        await over(bed, "pump_not_connected")


@pytest.mark.shows("raised:pump_not_proved", "over:pump_not_proved", "S15", "H4", "H19")
async def test_pump_not_proved() -> None:
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        bed.port.plug_out()
        bed.do("set_rate", ml_h=30.0)
        before = len(bed.port.sent)
        bed.port.plug_in()
        await raised(bed, "pump_not_proved", within_s=10)
        await held(bed, "pump_not_proved")
        assert orders_in(bed, before) == []
        assert bed.truth["infusing"]
        bed.do("set_rate", ml_h=46.66)
        await over(bed, "pump_not_proved")


# --- the program ---


@pytest.mark.shows("raised:daemon_restarted", "over:daemon_restarted", "S10", "H4", "H19")
async def test_daemon_restarted(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
    again = born_again(bed, path)
    await raised(again, "daemon_restarted")
    async with ward(again):
        await over(again, "daemon_restarted")
        assert again.truth["infusing"]
        assert starts(again) == 0


@pytest.mark.shows("raised:lease_lapsed", "over:lease_lapsed", "S16", "H4", "H19", "H49", "H52")
async def test_lease_lapsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings come, and nobody judges them any more."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(2)
        with monkeypatch.context() as patch:
            patch.setattr(bed_module.Bed, "_renew_lease", lambda _: None)
            await raised(bed, "lease_lapsed")
        await stopped(bed)
        await resume(bed)
        await over(bed, "lease_lapsed")


async def poisoned(bed: Bedside, monkeypatch: pytest.MonkeyPatch) -> Poison:
    poison = Poison(bed.state.session_id, "raises")
    monkeypatch.setattr(bed_module, "decide", poison)
    poison.active = True
    return poison


@pytest.mark.shows("raised:bed_failed", "over:bed_failed", "S16", "H4", "H19", "H49", "H61")
async def test_bed_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        poison = await poisoned(bed, monkeypatch)
        await raised(bed, "bed_failed")
        poison.active = False
        await stopped(bed)
        await over(bed, "bed_failed")
        assert starts(bed) == 1


@pytest.mark.shows("raised:monitor_only", "over:monitor_only", "S16", "H4", "H19", "H49")
async def test_monitor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        poison = await poisoned(bed, monkeypatch)
        await raised(bed, "monitor_only", within_s=30)
        poison.active = False
        await stopped(bed)
        assert (await bed.order("session.resume"))["reason"] == "not_allowed"
        assert bed.ward.bed.monitor_only
        assert (await reset(bed, "monitor_only"))["state"] == "done"
        await bed.until(lambda: "monitor_only" not in bed.alarms and bed.phase == "paused", 20)


@pytest.mark.shows("raised:stopped_by_shutdown", "over:stopped_by_shutdown", "H4", "H19")
async def test_stopped_by_shutdown() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.ward.bed.feed(ev.Shutdown())
        await raised(bed, "stopped_by_shutdown")
        await stopped(bed)
        await resume(bed)
        await over(bed, "stopped_by_shutdown")


@pytest.mark.shows("raised:journal_unavailable", "over:journal_unavailable", "S9", "H4", "H19")
async def test_journal_unavailable(tmp_path: Path) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        await bed.running()
        disk.blocked = True
        await raised(bed, "journal_unavailable", within_s=4)
        assert bed.truth["infusing"]
        disk.blocked = False
        await over(bed, "journal_unavailable")
