"""A pump that says again what a wire log of pumpd holds (`trace = "..."`): a fault of the field becomes a test.

It understands nothing. Each question is answered as it was answered the next time it was asked in the log, after the
same time, and with it comes whatever the pump then said unasked. A question that the rest of the log does not hold gets
no answer, and is told. Times are wire seconds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(r" *(\d+\.\d+) ([<>]) ((?:[0-9a-f]{2} ?)*)(?:  .*)?")
APART_S = 0.05  # pieces of a question that follow each other so closely, with no answer between, are one question


class BadLog(ValueError):
    """A file that is no wire log; says where."""


@dataclass
class Exchange:
    """What the host said, and what came until it spoke again: (seconds after the question, bytes)."""

    question: bytes
    answers: list[tuple[float, bytes]] = field(default_factory=list)


def read_log(path: str | Path) -> list[Exchange]:
    """The exchanges of a wire log; what came before the first question is one with an empty question. Raises BadLog."""
    try:
        text = Path(path).read_text(encoding="ascii")
    except OSError as problem:
        raise BadLog(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise BadLog(f"{path}: no wire log: it holds other letters than ASCII") from None
    exchanges = parse_log(text.splitlines(), str(path))
    if not any(exchange.answers for exchange in exchanges):
        raise BadLog(f"{path}: no wire log, or the pump never said anything in it")
    return exchanges


def parse_log(lines: Iterable[str], source: str = "wire log") -> list[Exchange]:
    """The same from its lines."""
    found = [Exchange(b"")]
    asked_at = said_at = 0.0
    for number, text in enumerate(lines, 1):
        if not text.strip() or text.startswith("#"):
            continue
        parts = LINE.fullmatch(text)
        if parts is None:
            raise BadLog(f"{source}: line {number}: expected seconds, < or >, and bytes in hex")
        at, way, data = float(parts[1]), parts[2], bytes.fromhex(parts[3])
        last = found[-1]
        if way == "<":
            last.answers.append((max(0.0, at - asked_at), data))
        elif last.question and not last.answers and at - said_at <= APART_S:
            last.question += data
            asked_at = said_at = at
        else:
            found.append(Exchange(data))
            asked_at = said_at = at
    return found


class Replay:
    """The device side of a line, as `serve` wants it."""

    connected = True

    def __init__(self, exchanges: list[Exchange], complain: Callable[[str], None] = lambda words: None) -> None:
        self._waiting = deque(exchanges)
        self._complain = complain
        self._heard = b""
        self._leaving: deque[tuple[float, bytes]] = deque()
        self._greeted = False

    @property
    def left(self) -> int:
        """Exchanges of the log that are still to come."""
        return len(self._waiting)

    def receive(self, data: bytes, at: float) -> None:
        """Take what the host says."""
        self._heard += data
        while self._heard and (exchange := self._next()) is not None:
            self._heard = self._heard[len(exchange.question) :]
            for after, answer in exchange.answers:
                self._leaving.append((at + after, answer))
        if self._heard and not any(exchange.question.startswith(self._heard) for exchange in self._waiting):
            self._complain(f"not in the rest of the log: {self._heard.hex(' ')}")
            self._heard = b""

    def _next(self) -> Exchange | None:
        """The next exchange that begins with what was heard; those before it were not asked this time."""
        for index, exchange in enumerate(self._waiting):
            if exchange.question and self._heard.startswith(exchange.question):
                for _ in range(index):
                    self._waiting.popleft()
                return self._waiting.popleft()
        return None

    def advance(self, at: float) -> None:
        """Let time pass: what the pump said before it was asked anything comes first."""
        if not self._greeted:
            self._greeted = True
            if self._waiting and not self._waiting[0].question:
                self._leaving.extend((at + after, data) for after, data in self._waiting.popleft().answers)

    def outgoing(self, at: float) -> bytes:
        """What the pump has said by now."""
        self.advance(at)
        said = b""
        while self._leaving and self._leaving[0][0] <= at:
            said += self._leaving.popleft()[1]
        return said

    def next_wake(self, at: float) -> float | None:
        """When it says something by itself."""
        return max(at, self._leaving[0][0]) if self._leaving else None
