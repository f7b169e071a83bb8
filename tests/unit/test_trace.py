"""The wire log: every byte both ways, and no disk that could hold the pump up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from pumpd.line import trace as module
from pumpd.line.trace import Trace, line, traced


class Clock:
    now = 100.0

    def wire(self) -> float:
        return self.now


class Port:
    """A port that records what is written, and hands out the callbacks it was opened with."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = 0
        self.receive: Callable[[bytes], None] = lambda data: None
        self.lost: Callable[[str], None] = lambda reason: None

    async def open(self, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> Port:
        self.receive, self.lost = receive, lost
        return self

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed += 1


def wall() -> str:
    return "2026-01-05T09:00:00.000Z"


async def test_every_byte_both_ways_stands_in_the_file_with_its_time(tmp_path: Path) -> None:
    path, clock, port = tmp_path / "wire.log", Clock(), Port()
    trace = Trace(path, clock.wire, wall)
    heard, reasons = list[bytes](), list[str]()
    pipe = await traced(port.open, trace)(heard.append, reasons.append)
    clock.now += 1.5
    pipe.write(b"!INF|4961\r")
    clock.now += 0.25
    port.receive(b"\x02A?S\x03")
    port.lost("the plug was pulled")
    pipe.close()
    trace.close()
    assert (port.written, heard, reasons, port.closed) == (
        [b"!INF|4961\r"],
        [b"\x02A?S\x03"],
        ["the plug was pulled"],
        1,
    )
    assert path.read_text().splitlines() == [
        "# begun 2026-01-05T09:00:00.000Z",
        "# opened",
        "      1.500000 > 21 49 4e 46 7c 34 39 36 31 0d  !INF|4961.",
        "      1.750000 < 02 41 3f 53 03  .A?S.",
        "# lost: the plug was pulled",
        "# closed",
    ]


def test_a_second_life_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for _ in range(2):
        trace = Trace(tmp_path / "wire.log", Clock().wire, wall)
        trace.said(b"x")
        trace.close()
    assert (tmp_path / "wire.log").read_text().count("begun") == 2


def test_a_file_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        trace = Trace(tmp_path / "no such folder" / "wire.log", Clock().wire, wall)
        for _ in range(3):
            trace.said(b"x")
        trace.close()
    assert [entry["event"] for entry in logged] == ["trace.failed"]


def test_a_disk_that_hangs_loses_lines_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MOST", 4)
    hangs, free = threading.Event(), threading.Event()
    put = module._put

    def slow(file: object, text: str) -> int:
        hangs.set()
        assert free.wait(10)
        return put(file, text)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_put", slow)
    trace = Trace(tmp_path / "wire.log", Clock().wire, wall)
    trace.said(b"\x00")
    assert hangs.wait(10)  # one line is in the writer's hands
    for number in range(1, 10):
        trace.said(bytes([number]))
    free.set()
    while not trace._lines.empty():
        threading.Event().wait(0.001)
    trace.said(b"\xff")
    trace.close()
    text = (tmp_path / "wire.log").read_text()
    lost = 10 - text.count(" > ") + text.count("> ff")
    assert f"# {lost} lines are missing here" in text
    assert text.splitlines()[-1].endswith("> ff  .")


def test_the_file_ends_at_its_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITTEN_MOST", 100)
    trace = Trace(tmp_path / "wire.log", Clock().wire, wall)
    for _ in range(50):
        trace.said(b"xyz")
    trace.close()
    lines = (tmp_path / "wire.log").read_text().splitlines()
    assert lines[-1] == "# ended here: the file has its full size"
    assert len(lines) < 10


def test_a_line_reads_like_this() -> None:
    assert line(12.3456789, "<", b"\x7eA\x80") == "     12.345679 < 7e 41 80  ~A."
