"""The Acme D1 as its manual tells: parser and arithmetic of its own, so that the driver's mistakes show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LINE = re.compile(rb"(.+)\*([0-9A-F]{2})")
WATCHDOG_S = 10.0


@dataclass
class AcmeDevice:
    connected: bool = True
    running: bool = False
    rate: float = 10.0
    limit: float = 200.0
    given: float = 0.0
    this_run: float = 0.0
    settings: list[str] = field(default_factory=lambda: ["10", "0", "10"])
    heard: list[str] = field(default_factory=list)
    _half: bytes = b""
    _out: bytes = b""
    _at: float | None = None
    _fed: float = 0.0

    def receive(self, data: bytes, at: float) -> None:
        self.advance(at)
        self._half += data
        while b"\n" in self._half:
            line, _, self._half = self._half.partition(b"\n")
            found = LINE.fullmatch(line)
            if found and int(found[2], 16) == sum(found[1]) % 256:
                self._fed = at
                self._answer(found[1].decode())

    def _answer(self, line: str) -> None:
        self.heard.append(line)
        word, *values = line.split()
        match word:
            case "ID":
                self._say("D1 1.0 SN77")
            case "?":
                self._say(self._status())
            case "GET":
                self._say(" ".join(self.settings))
            case _:
                self._say(self._do(word, values))

    def _status(self) -> str:
        return f"{'R' if self.running else 'S'} {self.rate} {self.given:.2f} {self.limit}"

    def _do(self, word: str, values: list[str]) -> str:
        if word in ("SET", "LOAD") and self.running:
            return "NO"
        match word:
            case "SET":
                self.settings = values
            case "LOAD":
                self.rate, self.limit, self.this_run = float(values[0]), float(values[1]), 0.0
            case "START":
                self.running = True
            case "STOP":
                self.running = False
            case "RATE":
                self.rate = float(values[0])
            case "BYE":
                self.settings[2] = "0"
            case _:
                return "NO"
        return "OK"

    def _say(self, text: str) -> None:
        body = text.encode()
        self._out += body + f"*{sum(body) % 256:02X}\n".encode()

    def advance(self, at: float) -> None:
        gone = 0.0 if self._at is None else at - self._at
        self._at = at
        if self.running:
            flown = min(self.rate / 3600 * gone, self.limit - self.this_run)
            self.given += flown
            self.this_run += flown
            if self.this_run >= self.limit:
                self.running = False
            if at - self._fed > WATCHDOG_S and self.settings[2] != "0":
                self.running = False
                self._say("!WATCHDOG")

    def outgoing(self, at: float) -> bytes:
        out, self._out = self._out, b""
        return out

    def next_wake(self, at: float) -> float | None:
        return self._fed + WATCHDOG_S + 0.1 if self.running else None
