"""What is measured within this process: the bus alone, the virtual session, the simulator."""

from __future__ import annotations

import asyncio
import os
import random
import select
import statistics
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pumpd.clock import SystemClock
from pumpd.messaging.bus import Bus, Hooks
from pumpd.testing import MemoryPort, VirtualClock, VirtualLoop
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.bench.figures import Row, p50_p99, spread
from tests.bench.raw import Mqtt, connected, exchanges_per_s, mqtt_round_trips, pty_echo, tcp_echo

PAIRS = 400
SESSIONS = 5
EXCHANGES = 5500  # of a session, two a second
SIMULATOR_S = 1.5
NEEDED_PER_S = 8_000
STATUS = b"DIS\r"


# --- the bus ----------------------------------------------------------------------------------------------------------


async def back_to_back(folder: Path, broker: int) -> list[Row]:
    """The second of two messages that are published without a pause."""
    floor = await mqtt_round_trips(broker, PAIRS, burst=2)
    arrived: asyncio.Queue[float] = asyncio.Queue()
    subscriber = Mqtt(lambda topic, _: arrived.put_nowait(time.perf_counter()))
    await subscriber.open(broker, "pumpd/1/pairs/event")
    online = asyncio.Event()
    hooks = Hooks(
        announce=lambda: None,
        birth=lambda: None,
        farewell=lambda _: b"{}",
        on_command=lambda *_: None,
        on_state=lambda connected, _: online.set() if connected else None,
        other_master=lambda _: False,
    )
    url = f"mqtt://127.0.0.1:{broker}"
    bus = Bus(url, "pairs", "0", datetime.now(UTC), hooks, SystemClock(), random.Random(1))
    running = asyncio.create_task(bus.run())
    await asyncio.wait_for(online.wait(), 10)
    times = []
    for _ in range(PAIRS):
        for _ in range(2):
            began = time.perf_counter()
            bus.publish("event", bytes(500), retain=False, qos=1, expiry_s=None)
        for _ in range(2):
            heard = await asyncio.wait_for(arrived.get(), 5)
        times.append(heard - began)
        await asyncio.sleep(0.002)
    bus.stop()
    await running
    subscriber.close()
    return [
        Row(
            "back-to-back publish through the bus, QoS 1",
            p50_p99(times),
            f"by hand, QoS 0: {p50_p99(floor)}",
            "p99 <= 1.5 ms",
            spread(times).p99 <= 0.0015,
        )
    ]


# --- the virtual session ----------------------------------------------------------------------------------------------


def virtual_session() -> list[Row]:
    """45 minutes with all rules on, beside the same number of exchanges and sleeps with nothing behind them."""
    sessions = [_timed(_session) for _ in range(SESSIONS)]
    bare = [_timed(_bare_session) for _ in range(SESSIONS)]
    took, floor = statistics.median(sessions), statistics.median(bare)
    return [
        Row(
            "45-minute session in virtual time, all rules on",
            f"{took:.2f} s = {2700 / took:,.0f}x (median of {SESSIONS}, best {min(sessions):.2f} s)",
            f"loop and memory port {floor:.3f} s",
            "<= 0.5 s",
            took <= 0.5,
        )
    ]


def _timed(work: object) -> float:
    loop = VirtualLoop()
    try:
        began = time.perf_counter()
        loop.run_until_complete(work())  # type: ignore[operator]
        return time.perf_counter() - began
    finally:
        loop.close()


async def _session() -> None:
    bed = Bedside(Room(seed=7))
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        await bed.order("session.end")
        await bed.order("session.release")
    assert PLANNED_ML * 0.99 < bed.given <= PLANNED_ML


class _Echo:
    """A device that answers and wants nothing."""

    connected = True

    def __init__(self) -> None:
        self._said = b""

    def receive(self, data: bytes, at: float) -> None:
        self._said = data

    def advance(self, at: float) -> None:
        pass

    def outgoing(self, at: float) -> bytes:
        said, self._said = self._said, b""
        return said

    def next_wake(self, at: float) -> float | None:
        return None


async def _bare_session() -> None:
    clock = VirtualClock()
    heard = asyncio.Event()
    pipe = await MemoryPort(_Echo()).open(lambda _: heard.set(), lambda _: None)
    due = clock.wire()
    for number in range(EXCHANGES):
        pipe.write(STATUS)
        await heard.wait()
        heard.clear()
        if number % 2:
            due += 1.0
            await asyncio.sleep(due - clock.wire())
    pipe.close()


# --- the simulator ----------------------------------------------------------------------------------------------------


def simulator(folder: Path) -> list[Row]:
    """Answers a second, one question after the other, by the real command."""
    path = folder / "sim.tty"
    with _serving(path) as port:
        line = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(line)
        with connected("127.0.0.1", port) as tcp:
            for ask in (lambda: os.write(line, b"\r"), lambda: tcp.sendall(b"\r")):
                ask()  # the power-on alarm is acknowledged by being read
            os.read(line, 4096), tcp.recv(4096)
            over_pty = exchanges_per_s(
                lambda data: os.write(line, data), lambda: os.read(line, 4096), STATUS, SIMULATOR_S
            )
            over_tcp = exchanges_per_s(tcp.sendall, lambda: tcp.recv(4096), STATUS, SIMULATOR_S)
        os.close(line)
    with pty_echo() as bare:
        pty_floor = exchanges_per_s(lambda data: os.write(bare, data), lambda: os.read(bare, 4096), STATUS, SIMULATOR_S)
    with tcp_echo() as socket:
        tcp_floor = exchanges_per_s(socket.sendall, lambda: socket.recv(4096), STATUS, SIMULATOR_S)
    return [
        Row(
            f"simulator, answers a second, {kind}",
            f"{got:,.0f}",
            f"raw echo {floor:,.0f}",
            f">= {least:,}",
            got >= least,
        )
        for kind, got, floor, least in (
            ("pty", over_pty, pty_floor, NEEDED_PER_S),
            ("TCP", over_tcp, tcp_floor, 13_000),
        )
    ]


@contextmanager
def _serving(path: Path) -> Iterator[int]:
    arguments = ["serve", "newera", "--pty", str(path), "--tcp", "127.0.0.1:0", "--seed", "1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    try:
        said = b""
        while said.count(b"READY ") < 2 or not said.endswith(b"\n"):
            assert select.select([child.stdout], [], [], 20)[0], said
            said += os.read(child.stdout.fileno(), 4096)
        url = next(word for word in said.decode().split() if word.startswith("socket://"))
        yield int(url.rpartition(":")[2])
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()
