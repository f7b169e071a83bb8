"""S11 CLOCK: durations count suspend, and a boot has a name."""

from __future__ import annotations

import time
from datetime import UTC
from pathlib import Path

import pytest

from pumpd.clock import UNKNOWN_BOOT, SystemClock, read_boot_id


@pytest.mark.shows("S11", "H37")
def test_wire_time_counts_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    wire = SystemClock().wire()
    assert before <= wire <= time.clock_gettime(time.CLOCK_BOOTTIME)
    slept = {time.CLOCK_BOOTTIME: 4600.0, time.CLOCK_MONOTONIC: 1000.0}  # this machine may never have been suspended
    monkeypatch.setattr(time, "clock_gettime", slept.get)
    assert SystemClock().wire() == 4600.0


def test_wall_time_is_utc() -> None:
    assert SystemClock().wall().tzinfo is UTC


def test_boot_id_is_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "boot_id").write_text("0f1e2d3c\n")
    assert SystemClock(tmp_path / "boot_id").boot_id == "0f1e2d3c"


def test_a_boot_without_a_name_is_said_in_words(tmp_path: Path) -> None:
    assert read_boot_id(tmp_path / "none") == UNKNOWN_BOOT
    assert "unknown" in UNKNOWN_BOOT
