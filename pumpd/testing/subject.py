"""What the author of a driver tells the conformance kit about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pumpd.driver import Container, Dialogue, Driver, Pump
from pumpd.testing.memory_port import Peer

Exchange: TypeAlias = tuple[bytes, bytes | None]  # (what the host says, what the pump answers); None: it is silent


@dataclass(frozen=True)
class Transcript:
    """A conversation from the pump's document: `dialogue` must say and hear exactly these bytes."""

    name: str
    dialogue: Callable[[Pump], Dialogue[Any]]
    exchanges: Sequence[Exchange]
    before: tuple[Transcript, ...] = ()  # what was said to the same pump before, such as connect
    gives: object = None  # what the dialogue must give; None: whatever it gives


@dataclass(frozen=True)
class Subject:
    """One driver with one kind of pump, and how to simulate that pump.

    `device` makes a fresh simulated pump that stands, written from the document and not from the driver.
    """

    driver: Driver
    device: Callable[[], Peer]
    container: Container  # fitted in the simulated pump; 35 mL at 46.6 mL/h must be possible with it
    given: Callable[[Any], float] | None = None  # of such a device: mL truly displaced so far
    settings: Mapping[str, object] = field(default_factory=dict)  # of the driver
    transcripts: tuple[Transcript, ...] = ()
    frames: tuple[bytes, ...] = ()  # good ones of the pump; (): the answers of the transcripts
    unknown_alarms: tuple[Transcript | bytes, ...] = ()  # how one looks that no document lists
    start_at_keypad: Callable[[Any], None] | None = None  # for a pump that pumpd cannot start: how a person does
    stop_needs_more: str = ""  # why the first question of stop() may not stop it where the driver has just begun
    leaves_out: Mapping[str, str] = field(default_factory=dict)  # name of a check: why it cannot be asked of this pump
