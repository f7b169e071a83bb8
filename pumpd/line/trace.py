"""A wire log: every byte both ways with its time, so that a fault in the field becomes a test (`pumpd-sim replay`).

One line for each piece as it was sent (>) or came (<): wire seconds since the log began, the bytes in hex, then what of
them can be printed. A thread writes; a disk that is slow, full or gone costs lines, which is told, and never the pump.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import structlog

from pumpd.line.link import OpenPipe
from pumpd.line.ports import Lost, Receive
from pumpd.line.talk import Pipe

WAITING_MOST = 10_000  # lines; an hour of polls, should the disk hang for so long
WRITTEN_MOST = 256 << 20  # characters; a month of a New Era's polls
END_S = 1.0  # how long closing waits for a disk

log = structlog.get_logger(__name__)


class Trace:
    """One file, written at its end. Constructing opens nothing."""

    def __init__(self, path: Path, wire: Callable[[], float], wall: Callable[[], str]) -> None:
        self._path, self._wire, self._wall = path, wire, wall
        self._began = wire()
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING_MOST)
        self._lost = 0
        self._thread: threading.Thread | None = None

    def remark(self, words: str) -> None:
        """What is no byte: the port was opened, lost, closed."""
        self._add(f"# {words}")

    def said(self, data: bytes) -> None:
        """Bytes to the pump."""
        self._add(line(self._wire() - self._began, ">", data))

    def heard(self, data: bytes) -> None:
        """Bytes from the pump."""
        self._add(line(self._wire() - self._began, "<", data))

    def close(self) -> None:
        """Write what waits, as far as the disk takes it within a second."""
        if self._thread is not None:
            self._add(None)
            self._thread.join(END_S)
            self._thread = None

    def _add(self, text: str | None) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name=f"wire log {self._path.name}", daemon=True)
            self._thread.start()
            self.remark(f"begun {self._wall()}")
        if self._lost and not self._lines.full():
            lost, self._lost = self._lost, 0
            self._add(f"# {lost} lines are missing here: the disk did not keep up")
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        """In the thread: until it is closed, or the file fails; then what still comes is thrown away."""
        written = 0
        try:
            with self._path.open("a", encoding="ascii") as file:
                while (text := self._lines.get()) is not None:
                    written += _put(file, text)
                    if self._lines.empty():
                        file.flush()
                    if written > WRITTEN_MOST:
                        _put(file, "# ended here: the file has its full size")
                        break
        except OSError as error:
            log.error("trace.failed", path=str(self._path), error=error.strerror or str(error))
        while self._lines.get() is not None:
            pass


def traced(open_pipe: OpenPipe, trace: Trace) -> OpenPipe:
    """The same port, with every byte in the wire log."""

    async def opened(receive: Receive, lost: Lost) -> Pipe:
        def heard(data: bytes) -> None:
            trace.heard(data)
            receive(data)

        def vanished(reason: str) -> None:
            trace.remark(f"lost: {reason}")
            lost(reason)

        pipe = await open_pipe(heard, vanished)
        trace.remark("opened")
        return TracedPipe(pipe, trace)

    return opened


class TracedPipe:
    """An open port whose writing is logged."""

    def __init__(self, pipe: Pipe, trace: Trace) -> None:
        self._pipe, self._trace = pipe, trace

    def write(self, data: bytes) -> None:
        """Send it, then log it: the pump waits for no disk."""
        self._pipe.write(data)
        self._trace.said(data)

    def close(self) -> None:
        """Close the port; the log stays open for its next opening."""
        self._pipe.close()
        self._trace.remark("closed")


def _put(file: TextIO, text: str) -> int:
    return file.write(text + "\n")


def line(seconds: float, way: str, data: bytes) -> str:
    """One piece of bytes as it stands in the file."""
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{seconds:14.6f} {way} {data.hex(' ')}  {shown}"
