"""The daemon as a process: what its service manager hears, and what it makes of having been stopped (S10, S11)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from pumpd.messaging.local import LocalClient
from simulator.device import Device
from simulator.serve import TcpPort
from tests.port.test_kill import Daemon

pytestmark = pytest.mark.timeout(120)
PUMP_WATCHDOG_S = 10.0  # drivers.newera: the default


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """What came since the last call."""
        new: list[str] = []
        with suppress(BlockingIOError):
            while True:
                new.append(self._socket.recv(4096).decode())
        self.heard += new
        return new

    async def until(self, line: str, within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not any(line in message for message in self.listen()):
                await asyncio.sleep(0.02)

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Device, Daemon, Manager]]:
    manager = Manager(folder)
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    pump = Device(mode="safe")
    port = TcpPort(pump, "127.0.0.1", 0)
    await port.open()
    daemon = Daemon(folder, port.url)
    try:
        await daemon.start()
        yield pump, daemon, manager
    finally:
        if daemon.process is not None and daemon.process.returncode is None:
            await daemon.kill()
        port.close()
        manager.close()


def tell(daemon: Daemon, number: signal.Signals) -> None:
    assert daemon.process is not None
    os.kill(daemon.process.pid, number)


async def alarms(daemon: Daemon) -> set[str]:
    async with LocalClient(daemon.socket) as client:
        async for _, body in client.subscribe("alarms"):
            assert body is not None
            return {alarm["code"] for alarm in body["active"]}
    raise AssertionError("the daemon closed the socket")


async def heartbeats(daemon: Daemon, seconds: float) -> int:
    """How many come in that time."""
    count = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), LocalClient(daemon.socket) as client:
            async for _ in client.subscribe("heartbeat"):
                count += 1
    return count


async def believed(daemon: Daemon) -> float:
    """What the daemon says the pump has counted, mL, in the next sample."""
    async with LocalClient(daemon.socket) as client:
        async for _, body in client.subscribe("pump/one-pump/telemetry"):
            if body is not None and body["volume_pump_ml"] is not None:
                return float(body["volume_pump_ml"])
    raise AssertionError("the daemon closed the socket")


async def test_the_manager_hears_ready_status_life_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as (_, daemon, manager):
        await manager.until("READY=1")
        await manager.until("STATUS=1 bed: 1 idle")
        await daemon.start_session()
        await manager.until("STATUS=1 bed: 1 running")
        manager.listen()
        await asyncio.sleep(5)
        assert 4 <= manager.listen().count("WATCHDOG=1") <= 6
        assert await daemon.stop() == 0
        manager.listen()
        order = [
            index for line in ("READY=1", "STOPPING=1") for index, text in enumerate(manager.heard) if line in text
        ]
        assert len(order) == 2
        assert order == sorted(order)


@pytest.mark.shows("S7", "S10", "S11")
async def test_stopped_for_a_second_it_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as (pump, daemon, _):
        await daemon.start_session()
        await asyncio.sleep(2)
        tell(daemon, signal.SIGSTOP)
        await asyncio.sleep(1.0)
        tell(daemon, signal.SIGCONT)
        async with asyncio.timeout(10):
            while "loop_stalled" not in await alarms(daemon):
                await asyncio.sleep(0.05)
        await asyncio.sleep(2)
        await daemon.until("running")
        assert pump.truth()["infusing"]
        assert await believed(daemon) == pytest.approx(pump.truth()["plunger_ml"], abs=0.03)


@pytest.mark.shows("S3", "S7", "S10", "S11", "S16")
async def test_stopped_for_longer_than_the_pumps_watchdog_the_pump_stands_and_a_person_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, monkeypatch) as (pump, daemon, manager):
        await daemon.start_session()
        await asyncio.sleep(2)
        tell(daemon, signal.SIGSTOP)
        manager.listen()
        try:
            silent = asyncio.create_task(heartbeats(daemon, 6.0))
            await asyncio.sleep(PUMP_WATCHDOG_S + 2)
            assert await silent == 0, "the heartbeat stops: a display sees it"
            assert not pump.truth()["infusing"], "the pump's own watchdog has stopped it"
            assert manager.listen() == [], "and the manager is not fed"
        finally:
            tell(daemon, signal.SIGCONT)
        await daemon.until("paused", 20)
        assert {"loop_stalled_long", "comms_lost_pump"} <= await alarms(daemon)
        await manager.until("WATCHDOG=1")
        given = pump.truth()["plunger_ml"]
        await asyncio.sleep(3)
        assert pump.truth()["plunger_ml"] == given, "no second start"
        assert await believed(daemon) == pytest.approx(given, abs=0.03)
        await daemon.done("session.resume", confirm=True)
        assert pump.truth()["infusing"]
        assert (await daemon.order("session.stop"))["state"] == "done"


@pytest.mark.shows("S10", "S16")
async def test_ended_by_the_manager_its_log_has_the_calls_and_the_session_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What systemd does when the feeding ends: SIGABRT, and a new process."""
    async with served(tmp_path, monkeypatch) as (pump, daemon, manager):
        await daemon.start_session()
        await asyncio.sleep(2)
        tell(daemon, signal.SIGABRT)
        assert daemon.process is not None
        assert await asyncio.wait_for(daemon.process.wait(), 10) == -signal.SIGABRT
        assert pump.truth()["infusing"]
        assert "Fatal Python error: Aborted" in daemon.log.read_text()
        await daemon.start()
        await manager.until("READY=1")
        await daemon.until("running", 10)
        assert pump.truth()["infusing"]
        assert await believed(daemon) == pytest.approx(pump.truth()["plunger_ml"], abs=0.03)
        assert (await daemon.order("session.stop"))["state"] == "done"


async def test_the_last_line_of_the_log_names_the_pumps_that_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, monkeypatch) as (pump, daemon, _):
        await daemon.start_session()
        assert await daemon.stop() == 0
        assert not pump.truth()["infusing"]
        last = daemon.log.read_text().splitlines()[-1]
        assert "daemon.stopped" in last
        assert (
            "'one-pump'" in last.partition("standing")[2].partition("unknown")[0] or '"standing": ["one-pump"]' in last
        )
