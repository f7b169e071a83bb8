"""A simulated pump and a daemon as processes of their own, for the commands that run in this one."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = """\
[station]
id = "bench"
data_dir = "."
[bus]
url = "{bus}"
allow = ["session.plan", "session.arm", "session.start", "session.pause", "session.resume", "session.stop",
  "session.restore", "session.accept", "session.finish", "session.end", "session.release", "session.container",
  "pump.stop", "alarm.ack", "alarm.reset", "audio.pause"]
[annunciator]
kind = "none"
[log]
format = "json"
[bed.one]
speed = {speed}
[bed.one.pump]
driver = "newera"
port = "{port}"
simulated = true
"""
READY_S = 30.0
CHECKED = [
    "--weight-again", "70kg", "--drug-mg", "60", "--final-ml", "60", "--age", "41", "--sex", "female",
    "--liver", "normal", "--other-drugs", "none", "--psychiatric", "done", "--bp", "124/78", "--hr", "71",
    "--spo2", "98", "--session-number", "1", "--days-since-last", "none", "--second-person", "nurse-2",
]  # fmt: skip
PLAN = ["--weight", "70kg", "--dose", "0.5", "--concentration", "1", "--fill", "50", *CHECKED]


class StationProcess:
    """The daemon, and where it can be found."""

    def __init__(self, folder: Path, back_door: str) -> None:
        self.folder, self.back_door = folder, back_door
        self.config, self.journal = folder / "pumpd.toml", folder / "journal.sqlite3"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def here(self) -> list[str]:
        return ["--config", str(self.config)]

    @property
    def _log(self) -> Path:
        return self.folder / "pumpd.log"

    def start(self) -> None:
        with self._log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pumpd.cli", "run", *self.here], stdin=subprocess.DEVNULL, stderr=errors
            )
        deadline = time.monotonic() + READY_S
        while b"daemon.ready" not in (said := self._log.read_bytes()):
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(READY_S)
            self.process = None

    @property
    def broker(self) -> str:
        said = [json.loads(line) for line in self._log.read_text().splitlines()]
        return next(str(event["bus"]) for event in said if event["event"] == "daemon.ready")

    def at_the_pump(self, **request: Any) -> dict[str, Any]:
        """The simulator's back door."""
        done = subprocess.run(
            [sys.executable, "-m", "simulator.cli", "control", self.back_door, json.dumps(request)],
            capture_output=True, check=True, timeout=READY_S,
        )  # fmt: skip
        return dict(json.loads(done.stdout))


@contextmanager
def running_station(folder: Path, *, speed: int = 30, bus: str = "none") -> Iterator[StationProcess]:
    port = folder / "pump"
    arguments = ["serve", "newera", "--pty", str(port), "--control", "127.0.0.1:0", "--speed", str(speed)]
    simulator = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli", *arguments, "--mode", "safe", "--seed", "1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    station: StationProcess | None = None
    try:
        station = StationProcess(folder, _back_door(simulator))
        station.config.write_text(CONFIG.format(bus=bus, speed=speed, port=port))
        station.start()
        yield station
    finally:
        if station is not None:
            station.stop()
        simulator.terminate()
        simulator.wait(READY_S)
        assert simulator.stdout is not None
        simulator.stdout.close()


def _back_door(simulator: subprocess.Popen[bytes]) -> str:
    assert simulator.stdout is not None
    said = b""
    while b"READY " not in said:
        ready, _, _ = select.select([simulator.stdout], [], [], READY_S)
        piece = os.read(simulator.stdout.fileno(), 4096) if ready else b""
        assert piece, said
        said += piece
    lines = said.decode().splitlines()
    return next(line.removeprefix("CONTROL ") for line in lines if line.startswith("CONTROL "))
