"""How long a daemon takes to be of use, and how much memory it holds."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.figures import Row, ms
from tests.bench.world import memory_mb, world

STARTS = 3
WATCH_S = 20.0


async def few_beds(folder: Path, broker: int) -> list[Row]:
    """Start-up and memory rows."""
    floor_s, floor_mb = await asyncio.to_thread(_bare_python)
    starts, one_mb = [], 0.0
    for number in range(STARTS):
        took, one_mb, _ = await _station(folder / f"start{number}", broker, 1)
        starts.append(took)
    _, ten_mb, polls = await _station(folder / "ten", broker, 10, WATCH_S)
    errors = [abs(statistics.median(at) - statistics.median(early)) for early, at in map(_ends, polls)]
    start_s = statistics.median(starts)
    return [
        Row(
            "process start -> first telemetry at the subscriber",
            f"{start_s:.2f} s (median of {STARTS})",
            f"python -c pass {floor_s:.2f} s",
            "<= 1 s",
            start_s <= 1.0,
        ),
        Row(
            "memory, 1 bed and 10 beds in a session",
            f"{one_mb:.0f} MB, {ten_mb:.0f} MB",
            f"bare python {floor_mb:.0f} MB",
            "<= 60 MB at 10",
            ten_mb <= 60,
        ),
        Row(
            f"schedule error of polls, last third of {WATCH_S:g} s against the first",
            f"{ms(statistics.median(errors))}, worst of 10 beds {ms(max(errors))}; it has nothing to add up from",
            "0",
            "<= 2 ms after 45 min",
            statistics.median(errors) <= 0.002,
        ),
    ]


def _ends(polled: list[float]) -> tuple[list[float], list[float]]:
    """How far the polls of the first and of the last third lie from one a second."""
    offsets = [at - number for number, at in enumerate(polled)]
    third = len(offsets) // 3
    return offsets[:third], offsets[-third:]


async def _station(
    folder: Path, broker: int, beds: int, watch_s: float = 1.0
) -> tuple[float, float, list[list[float]]]:
    """Seconds to the first telemetry, memory in MB, and when each pump was polled."""
    async with world(folder, beds, broker) as station:
        first = asyncio.get_running_loop().create_future()

        def heard(topic: str, payload: bytes) -> None:
            if topic.endswith("/telemetry") and b'"state":"unknown"' not in payload and not first.done():
                first.set_result(time.perf_counter())

        station.on_message = heard
        began = time.perf_counter()
        station.start()
        took = await asyncio.wait_for(first, 30) - began
        await station.seen()
        await station.run_all()
        for pump in station.pumps.values():
            pump.polled.clear()
        await asyncio.sleep(watch_s)
        return took, memory_mb(station.pid), [pump.polled for pump in station.pumps.values()]


def _bare_python() -> tuple[float, float]:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    took = time.perf_counter() - began
    with subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(9)"], stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held = memory_mb(child.pid)
        child.kill()
    return took, held
