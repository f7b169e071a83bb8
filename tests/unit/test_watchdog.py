"""The service manager hears what is true: fed by the beds' progress, in words a technician reads."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside import bed as bed_module
from pumpd.watchdog import Feeder, ServiceManager, words
from tests.bedside import Bedside, Room, ward
from tests.scenario.test_islands import only_watched

LOOK_S = 1.0  # the daemon's heartbeat
WATCHDOG_S = 10.0  # config/pumpd.service


class Manager:
    """The other end of the notify socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        messages: list[str] = []
        with suppress(BlockingIOError):
            while True:
                messages.append(self.socket.recv(4096).decode())
        return messages

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_lines_arrive_as_one_message(manager: Manager) -> None:
    ours = ServiceManager(manager.environment)
    ours.tell("STOPPING=1", "STATUS=going down")
    ours.close()
    ours.tell("READY=1")
    assert manager.heard() == ["STOPPING=1\nSTATUS=going down"]


def test_an_abstract_socket_is_reached() -> None:
    manager = Manager(f"@pumpd-test-{os.getpid()}")
    ours = ServiceManager(manager.environment)
    ours.tell("READY=1")
    ours.close()
    assert manager.heard() == ["READY=1"]
    manager.socket.close()


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": address})
    ours.tell("READY=1")
    ours.close()


def test_a_manager_that_does_not_read_holds_nothing_up(manager: Manager) -> None:
    ours = ServiceManager(manager.environment)
    for _ in range(5000):
        ours.tell("WATCHDOG=1")
    ours.close()
    assert 0 < len(manager.heard()) < 5000


@pytest.mark.parametrize(
    ("environment", "patience"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_managers_patience(environment: dict[str, str], patience: float | None) -> None:
    assert ServiceManager(environment).watchdog_s == patience


class Fed:
    """Looks as the daemon's heartbeat does, and remembers when food came."""

    def __init__(self, room: Room, manager: Manager, *beds: Bedside) -> None:
        self.room, self.manager = room, manager
        self.ours = ServiceManager(manager.environment)
        self.feeder = Feeder(self.ours, room.clock, {bed.name: bed.ward for bed in beds})
        self.at: list[float] = []
        self.said: list[str] = []

    async def __aenter__(self) -> Fed:
        self.task = asyncio.create_task(self.look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.ours.close()

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.feeder.look()
            for message in self.manager.heard():
                if message == "WATCHDOG=1":
                    self.at.append(self.room.clock.wire())
                else:
                    self.said.append(message.removeprefix("STATUS="))

    @property
    def hungry_s(self) -> float:
        return self.room.clock.wire() - self.at[-1]


async def stuck(*_: object) -> None:
    """Waits for what never comes, and will not be cancelled."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if asyncio.current_task() in released:
            return


released: set[Any] = set()


async def test_fed_while_idle_running_paused_and_blind(manager: Manager) -> None:
    bed = Bedside(Room())
    async with ward(bed), Fed(bed.room, manager, bed) as fed:
        await asyncio.sleep(10)
        await bed.running()
        await asyncio.sleep(10)
        bed.port.plug_out()
        await asyncio.sleep(30)
        bed.port.plug_in()
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=20)
        bed.do("mute")
        await asyncio.sleep(30)
        gaps = [later - earlier for earlier, later in zip(fed.at, fed.at[1:], strict=False)]
        assert max(gaps) < WATCHDOG_S / 2
        assert "bed_failed" not in bed.raised


@pytest.mark.shows("S16", "H49", "H52")
async def test_a_bed_that_stands_silently_ends_the_feeding_at_once(manager: Manager, monkeypatch: Any) -> None:
    room = Room()
    sick, well = Bedside(room, "sick"), Bedside(room, "well", address=1)
    async with ward(sick, well), Fed(room, manager, sick, well) as fed:
        await sick.running()
        await well.running()
        await asyncio.sleep(5)
        monkeypatch.setattr(sick.ward.bed, "_read", stuck)
        await asyncio.sleep(30)
        assert fed.hungry_s >= 28
        assert well.phase == "running", "the others are judged on"
        assert not sick.truth["infusing"], "its link has stopped it long before the manager's patience ends"
        assert "bed_failed" not in well.raised
        released.update(asyncio.all_tasks())


@pytest.mark.shows("S16")
async def test_a_bed_that_is_only_watched_does_not_end_the_feeding(manager: Manager, monkeypatch: Any) -> None:
    room = Room()
    sick, well = Bedside(room, "sick"), Bedside(room, "well", address=1)
    async with ward(sick, well), Fed(room, manager, sick, well) as fed:
        await well.running()
        await only_watched(sick, monkeypatch)
        monkeypatch.setattr(sick.ward.bed, "_read", stuck)
        await asyncio.sleep(60)
        assert fed.hungry_s <= 1.0
        assert fed.said[-1].startswith("2 beds: ")
        assert "only watched: sick" in fed.said[-1]
        released.update(asyncio.all_tasks())


@pytest.mark.shows("S16")
async def test_a_bed_that_is_being_restarted_does_not_starve_the_manager(manager: Manager, monkeypatch: Any) -> None:
    bed = Bedside(Room())
    async with ward(bed), Fed(bed.room, manager, bed) as fed:
        await bed.running()
        working = bed_module.decide
        failing = True

        def once(*given: Any) -> Any:
            nonlocal failing
            if failing:
                failing = False
                raise RuntimeError("once")
            return working(*given)

        monkeypatch.setattr(bed_module, "decide", once)
        await bed.until(lambda: "bed_failed" in bed.alarms, within_s=5)
        await asyncio.sleep(10)
        gaps = [later - earlier for earlier, later in zip(fed.at, fed.at[1:], strict=False)]
        assert max(gaps) <= 3.0


async def test_the_status_tells_phases_and_who_is_not_in_sight() -> None:
    room = Room()
    one, two = Bedside(room, "one"), Bedside(room, "two", address=1)
    wards = {bed.name: bed.ward for bed in (one, two)}
    assert words(wards) == "2 beds: 2 idle; not in sight: one, two"
    async with ward(one, two):
        await one.running()
        assert words(wards) == "2 beds: 1 running, 1 idle"
