"""What surrounds a daemon: pumps on ptys, a subscriber, a nurse. One clock for all, so that both ends can be timed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pumpd.bedside.desk import CHECKLIST
from simulator.device import Device
from simulator.families.newera import safe_packet
from simulator.serve import PtyPort
from tests.bedside import PATIENT, PLAN
from tests.bench.raw import Mqtt

STATION = "bench"
CONFIG = """\
[station]
id = "bench"
data_dir = "{folder}/data"
[bus]
url = "mqtt://127.0.0.1:{broker}"
allow = ["session.plan", "session.arm", "session.start", "session.stop", "pump.stop"]
[annunciator]
kind = "none"
[log]
format = "json"
"""
BED = """\
[bed.{name}]
[bed.{name}.pump]
driver = "newera"
port = "{folder}/{name}.tty"
simulated = true
"""
ALARM = safe_packet(b"00A?S")  # the motor has stalled


class Pump(PtyPort):
    """A simulated pump that notes when it was asked what, and can fall silent."""

    def __init__(self, path: Path) -> None:
        super().__init__(Device(mode="safe", watchdog_s=10), str(path))
        self.polled: list[float] = []
        self.stopped: list[float] = []
        self.silent = False

    def heard(self, data: bytes) -> None:
        now = time.perf_counter()
        if b"STP" in data:
            self.stopped.append(now)
        elif b"DIS" in data:
            self.polled.append(now)
        if not self.silent:
            super().heard(data)

    def alarm(self) -> float:
        """Tell an alarm by itself; gives the moment its last byte was written."""
        self._write(ALARM)
        return time.perf_counter()


class World:
    """`beds` pumps, and a daemon as a process of its own when `start` was called."""

    def __init__(self, folder: Path, beds: int, broker: int) -> None:
        self.names = [f"b{number}" for number in range(beds)]
        folder.mkdir()
        self.folder, self.broker = folder, broker
        self.pumps = {name: Pump(folder / f"{name}.tty") for name in self.names}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.telemetry: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self.mqtt = Mqtt(self._heard)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon; it is a child, and dies with `close`."""
        path = self.folder / "pumpd.toml"
        words = {"folder": self.folder, "broker": self.broker}
        path.write_text(CONFIG.format(**words) + "".join(BED.format(name=name, **words) for name in self.names))
        with (self.folder / "pumpd.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pumpd.cli", "run", "--config", str(path)], stdin=subprocess.DEVNULL, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _heard(self, topic: str, payload: bytes) -> None:
        self.on_message(topic, payload)
        level = topic.split("/", 3)[3]
        if level.endswith("/telemetry"):
            self.telemetry[level.split("/")[1].removesuffix("-pump")] = json.loads(payload)
        elif level.endswith("/session"):
            self.sessions[level.split("/")[1].removesuffix("-pump")] = json.loads(payload)
        elif level.startswith("ack/"):
            self.answers[level.removeprefix("ack/")] = json.loads(payload)

    def order(self, verb: str, bed: str, **args: Any) -> tuple[str, float]:
        """Publish a request; gives its id and the moment it left."""
        given = args.pop("confirm", None)
        fields: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "issued_ts": datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
            "ttl_ms": 20_000,
            "actor": "nurse-1",
            "role": "nurse",
            "origin": "bench",
            "session_id": self.sessions.get(bed, {}).get("session_id"),
            "args": args,
        }
        if given:
            fields["confirm"] = given
        if verb == "pump.stop":
            fields["args"] = {"bed": bed, "pump": f"{bed}-pump"}
        else:
            fields["bed"] = bed
        payload = json.dumps(fields).encode()
        left = time.perf_counter()
        self.mqtt.publish(f"pumpd/1/{STATION}/cmd/{verb}", payload)
        return str(fields["id"]), left

    async def done(self, request: str, within_s: float = 20.0) -> None:
        """Wait for the good end of a request."""
        await until(
            lambda: self.answers.get(request, {}).get("state") not in (None, "accepted", "started", "unknown"), within_s
        )
        answer = self.answers[request]
        if answer["state"] != "done":
            raise RuntimeError(f"the daemon answers {answer['state']}: {answer['reason']} {answer['text']}")

    async def seen(self) -> None:
        """Wait until every pump was read."""
        await until(
            lambda: all(self.telemetry.get(bed, {}).get("state") not in (None, "unknown") for bed in self.names), 30
        )

    async def run_all(self) -> None:
        """A session at every bed, started."""
        for bed in self.names:
            await self.done(self.order("session.plan", bed, **PLAN)[0])
        for bed in self.names:
            await self.done(self.order("session.arm", bed, patient_ref=PATIENT, checklist=list(CHECKLIST))[0])
        for bed in self.names:
            await until(lambda: self.sessions[bed]["confirm_rate_ml_h"] is not None)  # noqa: B023 - awaited here
            shown = self.sessions[bed]
            figures = {"rate_ml_h": shown["confirm_rate_ml_h"], "volume_ml": shown["confirm_volume_ml"]}
            await self.done(self.order("session.start", bed, confirm=figures)[0])

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.mqtt.close()
        for pump in self.pumps.values():
            pump.close()


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def world(folder: Path, beds: int, broker: int) -> AsyncIterator[World]:
    made = World(folder, beds, broker)
    try:
        for pump in made.pumps.values():
            await pump.open()
        await made.mqtt.open(broker, f"pumpd/1/{STATION}/#")
        yield made
    finally:
        made.close()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
