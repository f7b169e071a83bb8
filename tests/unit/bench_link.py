"""One toy pump on a memory port with its link running: what most tests of the link start from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pumpd.driver import Identity
from pumpd.line.link import Link, LinkEvent
from pumpd.testing import MemoryPort, VirtualClock
from tests.unit.toy_pump import ToyDevice, ToyPump

E = TypeVar("E")


class LinkBench:
    def __init__(self, device: ToyDevice, pump: ToyPump, serial_number: str | None) -> None:
        self.device, self.pump, self.clock = device, pump, VirtualClock()
        self.port = MemoryPort(device)
        self.events: list[LinkEvent] = []
        self.link = Link("left", pump, self.port.open, self.clock, self.events.append, self._is_ours, serial_number)

    def _is_ours(self, found: Identity) -> bool:
        return self.link.identity is None or found.serial == self.link.identity.serial

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def words_since(self, mark: int) -> list[str]:
        return [data.decode().strip() for data in self.port.sent[mark:]]

    @property
    def mark(self) -> int:
        return len(self.port.sent)

    async def until_ready(self) -> None:
        while not self.link.ready:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def link_bench(
    device: ToyDevice | None = None,
    pump: ToyPump | None = None,
    *,
    ready: bool = True,
    serial_number: str | None = None,
) -> AsyncIterator[LinkBench]:
    """A running link; fails when anything raised inside a callback of the loop, where no test would see it."""
    bench, faults = LinkBench(device or ToyDevice(), pump or ToyPump(), serial_number), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    running = asyncio.create_task(bench.link.run())
    try:
        if ready:
            await bench.until_ready()
        yield bench
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert not faults, faults
