"""Where time comes from. Durations use wire time; the wall clock only labels (S11)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "unknown: this system does not tell its boot id"


class Clock(Protocol):
    """Two readings and the boot they belong to."""

    boot_id: str

    def wire(self) -> float:
        """Seconds since boot, suspend included; never set back and never scaled."""

    def wall(self) -> datetime:
        """UTC for labels. May jump; never used for a duration."""


class SystemClock:
    """The clock of the machine: CLOCK_BOOTTIME goes on while the machine is suspended, CLOCK_MONOTONIC would not."""

    def __init__(self, boot_id_file: Path = BOOT_ID_FILE) -> None:
        self.boot_id = read_boot_id(boot_id_file)

    def wire(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        """UTC now."""
        return datetime.now(UTC)


def read_boot_id(source: Path = BOOT_ID_FILE) -> str:
    """The id of this boot, or words that say that it is not known (a journal then treats each start as a reboot)."""
    try:
        return source.read_text(encoding="ascii").strip() or UNKNOWN_BOOT
    except (OSError, UnicodeDecodeError):
        return UNKNOWN_BOOT
