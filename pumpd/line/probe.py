"""Finds out what answers on a port, and changes nothing: it listens, then asks one family after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pumpd.clock import Clock
from pumpd.driver import Damaged, Driver, Identity, Line, Probe, Pump, PumpError, Silent
from pumpd.line.ports import Lost, Receive
from pumpd.line.talk import Pipe, Talk

LISTEN_S = 1.5  # at each kind of line; another program's polls come about once a second
ASKED_MOST_S = 20.0  # a whole identification with every question repeated

Open = Callable[[Line, Receive, Lost], Awaitable[Pipe]]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A family that may be there, and how it is asked."""

    driver: Driver
    probe: Probe

    def pump(self) -> Pump:
        """A fresh one."""
        return self.driver.open(dict(self.probe.settings))


def suspects(drivers: Sequence[Driver]) -> list[Suspect]:
    """Every way of asking, in the order in which it is safe to ask."""
    ways = [Suspect(driver, probe) for driver in drivers for probe in getattr(driver, "probes", ())]
    return sorted(ways, key=lambda way: (way.probe.order, way.driver.name))


@dataclass(frozen=True, slots=True)
class Overheard:
    """What came while nothing was asked."""

    data: bytes
    speaks: Suspect | None  # whose frames these are; None: nobody's


async def listen(ways: Sequence[Suspect], opened: Open, seconds: float = LISTEN_S) -> Overheard | None:
    """Listen at each kind of line in turn; None when nobody speaks by himself. Raises PortError."""
    lines = dict.fromkeys(way.driver.line for way in ways)
    noise: Overheard | None = None
    for line in lines:
        heard = bytearray()
        pipe = await opened(line, heard.extend, lambda reason: None)
        try:
            await asyncio.sleep(seconds)
        finally:
            pipe.close()
        if not heard:
            continue
        speaker = next((way for way in ways if way.driver.line == line and _reads(way, bytes(heard))), None)
        if speaker is not None:
            return Overheard(bytes(heard), speaker)
        noise = Overheard(bytes(heard), None)
    return noise


def _reads(way: Suspect, heard: bytes) -> bool:
    framer = way.pump().framer
    framer.feed(heard)
    return any(not isinstance(frame, Damaged) for frame in framer.frames())


async def ask(way: Suspect, opened: Open, clock: Clock) -> Identity:
    """Ask who is there. Raises PortError, and PumpError: Silent where nobody of this family answers."""
    pump = way.pump()
    talk = Talk(pump, clock, told=lambda alarm: None, unanswered=lambda: None, unasked=lambda: None)
    gone: list[str] = []

    def lost(reason: str) -> None:
        gone.append(reason)
        talk.detach(Silent(reason))

    pipe = await opened(way.driver.line, talk.received, lost)
    talk.attach(pipe)
    try:
        return await asyncio.wait_for(talk.submit(lambda: way.probe.question(pump)), ASKED_MOST_S)
    except TimeoutError:
        raise Silent(f"no end of it within {ASKED_MOST_S:g} s") from None
    finally:
        if not gone:
            talk.detach(Silent("the port was closed"))
        pipe.close()


def silent(error: PumpError) -> bool:
    """Nobody of the family is there; another error says that somebody is, or that something else answers."""
    return isinstance(error, Silent)
