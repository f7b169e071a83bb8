"""Alarms that concern all beds of a station: its broker, its name, its sounder. A whole daemon in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pumpd import config as cfg
from pumpd.bedside.bed import SLEPT_S
from pumpd.core.catalogue import CATALOGUE
from pumpd.daemon import BUS_ALARM_S, DISK_LOW_MB, Station
from pumpd.messaging.bus import OtherMaster
from pumpd.records.journal import Journal
from pumpd.registry import find_drivers
from pumpd.stall import STALL_S
from pumpd.testing import MemoryPort, VirtualClock
from simulator.device import Device

CONFIG = """
[station]
id = "test"
data_dir = "{folder}"
[bus]
url = "none"
[annunciator]
kind = "none"
[bed.one.pump]
driver = "newera"
port = "socket://127.0.0.1:1"
simulated = true
[bed.two.pump]
driver = "newera"
port = "socket://127.0.0.1:2"
settings.address = 2
simulated = true
"""
SETTLED_S = 70.0  # the longest that a flapping condition is not yet believed to be gone


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Station]:
    """Two beds, both with a pump that answers."""
    path = folder / "pumpd.toml"
    path.write_text(CONFIG.format(folder=folder / "data"))
    ports = {port: MemoryPort(Device(mode="safe", address=address)) for port, address in ADDRESSES.items()}
    clock = VirtualClock()
    station = Station(
        cfg.load(path),
        find_drivers(),
        clock=clock,
        journal=Journal(folder / "journal.sqlite3", clock.boot_id, threaded=False),
        open_pipe=lambda pump, _: ports[pump.port].open,
    )
    task = asyncio.create_task(station.run())
    await asyncio.sleep(3)
    yield station
    station.stop()
    await task


ADDRESSES = {"socket://127.0.0.1:1": 0, "socket://127.0.0.1:2": 2}


def stands(station: Station, code: str) -> bool:
    """At every bed of the station, or at none."""
    found = {any(alarm.code == code for alarm in ward.bed.alarms.board.alarms) for ward in station.wards.values()}
    assert len(found) == 1, "each bed must be told"
    return found.pop()


async def over(station: Station, code: str) -> None:
    """Its cause is gone: it goes by itself, or stands until a person resets it at each bed."""
    await asyncio.sleep(SETTLED_S)
    if CATALOGUE[code].latching:
        assert stands(station, code)
        for ward in station.wards.values():
            (alarm,) = (alarm for alarm in ward.bed.alarms.board.alarms if alarm.code == code)
            assert ward.bed.alarms.reset(alarm.alarm_id) == ""
    assert not stands(station, code)


@pytest.mark.shows("raised:bus_lost", "over:bus_lost", "within:BUS_ALARM_S", "beyond:BUS_ALARM_S", "S13", "H42")
async def test_bus_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        station._bus_state(False, "gone")
        await asyncio.sleep(BUS_ALARM_S - 0.5)
        assert not stands(station, "bus_lost")
        await asyncio.sleep(2)
        assert stands(station, "bus_lost")
        station._bus_state(True, "back")
        await over(station, "bus_lost")


@pytest.mark.shows("raised:second_station", "over:second_station")
async def test_second_station(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        station._other_master(OtherMaster("f" * 32, "other-host", datetime(2026, 1, 31, tzinfo=UTC)))
        assert stands(station, "second_station")
        await over(station, "second_station")


@pytest.mark.shows("raised:command_retained", "over:command_retained", "S12", "H64")
async def test_command_retained(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        station._from_bus("session.stop", b"{}", True, station._clock.wire())
        assert stands(station, "command_retained")
        await over(station, "command_retained")


@pytest.mark.shows("raised:annunciator_failed", "over:annunciator_failed")
async def test_annunciator_failed(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        station._sounder_state("no such device")
        assert stands(station, "annunciator_failed")
        station._sounder_state(None)
        await over(station, "annunciator_failed")


@pytest.mark.shows("raised:disk_low", "over:disk_low", "within:DISK_LOW_MB", "beyond:DISK_LOW_MB", "S9")
async def test_disk_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as station:
        for free_mb, told in ((DISK_LOW_MB, False), (DISK_LOW_MB - 1, True)):
            monkeypatch.setattr(station.journal, "free_mb", free_mb)
            await asyncio.sleep(2)
            assert stands(station, "disk_low") is told
        monkeypatch.setattr(station.journal, "free_mb", DISK_LOW_MB)
        await over(station, "disk_low")


def take_away(folder: Path) -> None:
    for file in folder.glob("journal.sqlite3*"):
        file.rename(file.with_name("taken-" + file.name))


@pytest.mark.shows("raised:journal_damaged", "over:journal_damaged", "S9", "H35")
async def test_journal_damaged(tmp_path: Path) -> None:
    """Its file is taken away while it is written."""
    async with running(tmp_path) as station:
        take_away(tmp_path)
        station.journal.append("note", "{}", bed="one", ts="t", wire=station._clock.wire())
        await asyncio.sleep(5)
        assert stands(station, "journal_damaged")
        await over(station, "journal_damaged")


@pytest.mark.shows("H24", "H43")
@pytest.mark.parametrize("remote", [True, False])
async def test_a_pause_of_the_sound_that_came_over_the_bus_ends_with_the_bus(tmp_path: Path, remote: bool) -> None:
    async with running(tmp_path) as station:
        station.office.quiet.begin(100.0, "nurse", remote=remote)
        await asyncio.sleep(5)
        assert station.office.quiet.pause is not None
        station._bus_state(False, "gone")
        assert (station.office.quiet.pause is None) is remote


def stand_still(seconds: float) -> None:
    """The loop does nothing for so long."""
    asyncio.get_running_loop()._virtual.now += seconds  # type: ignore[attr-defined]


@pytest.mark.shows("raised:loop_stalled", "over:loop_stalled", "S11", "H52")
async def test_loop_stalled(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        stand_still(STALL_S + 0.1)
        await asyncio.sleep(2)
        assert stands(station, "loop_stalled")
        assert not stands(station, "loop_stalled_long")
        await over(station, "loop_stalled")


@pytest.mark.shows("raised:loop_stalled_long", "over:loop_stalled_long", "S11", "H52")
async def test_loop_stalled_long(tmp_path: Path) -> None:
    async with running(tmp_path) as station:
        stand_still(SLEPT_S + 0.1)
        await asyncio.sleep(2)
        assert stands(station, "loop_stalled_long")
        await over(station, "loop_stalled_long")
