"""The daemon as a process of its own, killed without warning and started again (S10)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.messaging.local import LocalClient
from simulator.device import Device
from simulator.serve import TcpPort
from tests.bedside import PATIENT, PLAN
from tests.campaign.kills import kill_often
from tests.conftest import seed
from tests.port.station import CONFIG

pytestmark = pytest.mark.timeout(90)
PHASES = "pump/one-pump/session"


class Daemon:
    """`pumpd run` in a process."""

    def __init__(self, folder: Path, port: str) -> None:
        self.config = folder / "pumpd.toml"
        self.socket = folder / "data" / "pumpd.sock"
        self.log = folder / "pumpd.log"
        text = CONFIG.format(folder=folder / "data", bus="none", annunciator='kind = "none"', speed=1, port=port)
        self.config.write_text(text)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pumpd.cli", "run", "--config", str(self.config), stderr=log
            )
        async with asyncio.timeout(15):
            while not self.socket.exists() or not await self.answers():
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        try:
            async with LocalClient(self.socket):
                return True
        except OSError:
            return False

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 15)

    async def shown(self) -> dict[str, Any]:
        """The session as displays see it now."""
        async with LocalClient(self.socket) as client:
            async for _, body in client.subscribe(PHASES):
                assert body is not None
                return body
        raise AssertionError("the daemon closed the socket")

    async def until(self, phase: str, within_s: float = 15.0) -> dict[str, Any]:
        async with asyncio.timeout(within_s), LocalClient(self.socket) as client:
            async for _, body in client.subscribe(PHASES):
                if body is not None and body["phase"] == phase and body["sight"] == "seeing":
                    return body
        raise AssertionError("the daemon closed the socket")

    async def order(self, verb: str, confirm: bool = False, **args: Any) -> dict[str, Any]:
        shown = await self.shown()
        fields: dict[str, Any] = {"bed": "one", "session_id": shown["session_id"], "args": args}
        if confirm:
            figures = {"rate_ml_h": shown["confirm_rate_ml_h"], "volume_ml": shown["confirm_volume_ml"]}
            fields["confirm"] = {name: str(value) for name, value in figures.items()}
        async with LocalClient(self.socket) as client:
            answers = [answer async for answer in client.request(verb, fields)]
        return answers[-1]

    async def start_session(self) -> None:
        await self.done("session.plan", **PLAN)
        await self.done("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))
        await self.done("session.start", confirm=True)

    async def done(self, verb: str, **args: Any) -> None:
        """Give an order again while the bed is busy; any other refusal fails."""
        async with asyncio.timeout(15):
            while (answer := await self.order(verb, **args))["state"] != "done":
                assert answer["reason"] in ("busy", "link_lost"), answer
                await asyncio.sleep(0.1)


@asynccontextmanager
async def pump_and_daemon(folder: Path) -> AsyncIterator[tuple[Device, Daemon]]:
    pump = Device(mode="safe")
    port = TcpPort(pump, "127.0.0.1", 0)
    await port.open()
    daemon = Daemon(folder, port.url)
    await daemon.start()
    try:
        yield pump, daemon
    finally:
        if daemon.process is not None and daemon.process.returncode is None:
            await daemon.kill()
        port.close()


@pytest.mark.shows("S10", "H61")
async def test_killed_for_less_than_the_watchdog_the_session_goes_on(tmp_path: Path) -> None:
    async with pump_and_daemon(tmp_path) as (pump, daemon):
        await daemon.start_session()
        await asyncio.sleep(2)
        await daemon.kill()
        assert pump.truth()["infusing"], "the pump goes on by itself for up to its watchdog's time"
        await daemon.start()
        shown = await daemon.until("running", 10)
        assert shown["elapsed_s"] > 2
        assert pump.truth()["infusing"]
        assert pump.truth()["plunger_ml_by"].get("keypad", 0.0) == 0.0
        assert (await daemon.order("session.stop"))["state"] == "done"
        assert not pump.truth()["infusing"]


@pytest.mark.shows("S10")
async def test_told_to_go_it_stops_the_pump_and_the_session_can_be_resumed(tmp_path: Path) -> None:
    async with pump_and_daemon(tmp_path) as (pump, daemon):
        await daemon.start_session()
        assert await daemon.stop() == 0
        assert not pump.truth()["infusing"]
        await daemon.start()
        shown = await daemon.until("paused")
        assert "shut down" in shown["hold_reason"]
        await daemon.done("session.resume", confirm=True)
        assert pump.truth()["infusing"]
        await daemon.stop()


@pytest.mark.shows("S9")
async def test_a_second_daemon_on_the_same_data_is_refused_with_the_owner_named(tmp_path: Path) -> None:
    async with pump_and_daemon(tmp_path) as (_, daemon):
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pumpd.cli",
            "run",
            "--config",
            str(daemon.config),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said = b"".join(await second.communicate()).decode()
        assert second.returncode not in (0, None)
        assert daemon.process is not None
        assert str(daemon.process.pid) in said


@pytest.mark.shows("S4", "S5", "S10", "H61")
@pytest.mark.timeout(240)
async def test_killed_at_random_moments_it_does_nothing_twice_forgets_nothing_and_tells_the_truth(
    tmp_path: Path,
) -> None:
    """S10, a small part of `make campaign` (tests/campaign/kills.py): six kills, spread over two beds."""
    figures = await kill_often(tmp_path, seed(), kills=6, beds=2)
    print("\n".join(figures.lines(1.0)))
    assert figures.broken == []
    assert figures.kills.total() == 6
    assert len(figures.from_answer) == 8, "each daemon came back to a proved pump"
