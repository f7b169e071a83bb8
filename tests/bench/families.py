"""What one poll of each family costs: processor time beside that of New Era, and its share of the line's time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from drivers import fresenius, zyno
from pumpd.driver import Driver, Pump
from pumpd.line.talk import Pipe, Talk
from pumpd.testing import MemoryPort, VirtualClock, VirtualLoop
from simulator.device import Device
from tests.bench.figures import Row
from tests.families import KINDS

POLLS = 300
BITS_PER_BYTE = 10
MEASURE = "newera"  # the others are told as a multiple of it, measured in the same run


@dataclass
class Poll:
    """Of one kind of pump: processor seconds, questions, bytes both ways and seconds of the line."""

    cpu_s: float
    questions: float
    data: float
    line_s: float
    every_s: float

    @property
    def share(self) -> float:
        """Of the time between two polls that the line carries bytes."""
        return self.line_s / self.every_s


def families() -> list[Row]:
    """A row for each: infusing or not makes no difference to what is asked."""
    found = {
        name: _measured(kind.driver, dict(kind.settings), kind.family, dict(kind.options))
        for name, kind in KINDS.items()
    }
    found["zyno"] = _measured(zyno.DRIVER, {}, "zyno", {})
    found["fresenius"] = _measured(fresenius.DRIVER, {"module": 1}, "fresenius", {})
    basis = found[MEASURE]
    return [
        Row(
            f"one poll, {name}",
            f"{poll.cpu_s * 1e6:.0f} us, {poll.questions:.1f} questions, {poll.data:.0f} bytes: "
            f"{poll.share:.1%} of {poll.every_s:g} s",
            f"{poll.cpu_s / basis.cpu_s:.1f} x New Era",
            "< 50 % of the line",
            poll.share < 0.5,
        )
        for name, poll in found.items()
    ]


def _measured(driver: Driver, settings: dict[str, object], family: str, options: dict[str, object]) -> Poll:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_polls(driver, driver.open(settings), Device(family, **options)))  # type: ignore[arg-type]
    finally:
        loop.close()


async def _polls(driver: Driver, pump: Pump, device: Device) -> Poll:
    talk = Talk(pump, VirtualClock(), told=lambda _: None, unanswered=lambda: None, unasked=lambda: None)
    port, heard = MemoryPort(device), 0

    def receive(data: bytes) -> None:
        nonlocal heard
        heard += len(data)
        talk.received(data)

    pipe: Pipe = await port.open(receive, lambda _: None)
    talk.attach(pipe)
    await talk.submit(pump.connect)
    await talk.submit(pump.read)
    said_before, heard_before, began = len(port.sent), heard, time.process_time()
    for _ in range(POLLS):
        await talk.submit(pump.read)
    cpu_s = (time.process_time() - began) / POLLS
    said = port.sent[said_before:]
    data = (sum(map(len, said)) + heard - heard_before) / POLLS
    pipe.close()
    return Poll(cpu_s, len(said) / POLLS, data, data * BITS_PER_BYTE / driver.line.baud, pump.capabilities.poll_s)
