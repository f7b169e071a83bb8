"""A real station in this process: daemon, local socket, a pump on TCP; the broker is another process."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pumpd import config as cfg
from pumpd.bedside.desk import CHECKLIST
from pumpd.daemon import Station
from pumpd.messaging.local import LocalClient
from pumpd.records.journal import Journal
from pumpd.registry import find_drivers
from simulator.device import Device
from simulator.serve import TcpPort
from tests.bedside import PATIENT, PLAN

CONFIG = """
[station]
id = "test"
data_dir = "{folder}"
[bus]
url = "{bus}"
allow = ["session.plan", "session.arm", "session.start", "session.pause", "session.resume", "session.stop",
         "session.end", "session.release", "pump.stop", "alarm.ack", "alarm.reset", "audio.pause", "snapshot"]
[annunciator]
{annunciator}
[bed.one]
speed = {speed}
observation_min = 0
[bed.one.pump]
driver = "newera"
port = "{port}"
simulated = true
"""


class Nurse:
    """Gives orders on the local socket."""

    def __init__(self, station: Station) -> None:
        self.station = station

    @property
    def bed(self) -> Any:
        return self.station.wards["one"].bed

    async def order(self, verb: str, *, confirm: bool = False, **args: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {"bed": "one", "session_id": self.bed.state.session_id or None, "args": args}
        if verb == "pump.stop":
            fields = {"args": {"bed": "one", "pump": "one-pump"}}
        if verb.startswith(("alarm.", "audio.")):
            fields = {"args": args}
        if confirm:
            async with LocalClient(self.station.config.socket) as client:
                async for _, shown in client.subscribe("pump/one-pump/session"):
                    assert shown is not None
                    break
            figures = shown["confirm_rate_ml_h"], shown["confirm_volume_ml"]
            fields["confirm"] = {"rate_ml_h": str(figures[0]), "volume_ml": str(figures[1])}
        async with LocalClient(self.station.config.socket) as client:
            answers = [answer async for answer in client.request(verb, fields)]
        return answers[-1]

    async def start_session(self) -> None:
        await self.until(lambda: self.bed.state.report is not None)
        for answer in (
            await self.order("session.plan", **PLAN),
            await self.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST)),
            await self.order("session.start", confirm=True),
        ):
            assert answer["state"] == "done", answer

    async def until(self, holds: Any, within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def station(
    folder: Path,
    bus: str,
    *,
    speed: int = 1,
    annunciator: str = 'kind = "none"',
    device: Device | None = None,
    journal: Journal | None = None,
    pump: str = "",
) -> AsyncIterator[tuple[Nurse, Device]]:
    """Run it; give a nurse and the pump."""
    device = device or Device(speed=speed, mode="safe")
    port = TcpPort(device, "127.0.0.1", 0)
    await port.open()
    path = folder / "pumpd.toml"
    data = folder / "data"
    path.write_text(CONFIG.format(folder=data, bus=bus, annunciator=annunciator, speed=speed, port=port.url) + pump)
    daemon = Station(cfg.load(path), find_drivers(), journal=journal)
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield Nurse(daemon), device
    finally:
        daemon.stop()
        await asyncio.wait_for(running, 15)
        port.close()


@asynccontextmanager
async def mosquitto_sub(url: str, topics: str) -> AsyncIterator[dict[str, list[bytes]]]:
    """Debian's own client; what it prints, by topic."""
    program = shutil.which("mosquitto_sub")
    assert program is not None, "mosquitto-clients is not installed"
    port = url.rsplit(":", 1)[1]
    process = await asyncio.create_subprocess_exec(
        program, "-v", "-h", "127.0.0.1", "-p", port, "-t", topics, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    seen: dict[str, list[bytes]] = {}

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            topic, _, payload = line.rstrip(b"\n").partition(b" ")
            seen.setdefault(topic.decode(), []).append(b"" if payload == b"(null)" else payload)  # an empty one

    reading = asyncio.create_task(read())
    try:
        yield seen
    finally:
        process.terminate()
        await process.wait()
        await reading


def body(raw: bytes) -> dict[str, Any]:
    """A message as JSON."""
    fields = json.loads(raw)
    assert isinstance(fields, dict)
    return fields
