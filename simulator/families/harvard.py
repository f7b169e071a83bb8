"""The mouth of a Harvard or KD Scientific syringe pump, "ULTRA" command set: bytes to lines and back.

Written from the protocol notes (Harvard), A1 to A3. Times are wire seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simulator.families.harvard_commands import BAUDS, COMMANDS, SERIES, Desk
from simulator.families.harvard_invented import Invented
from simulator.families.harvard_panel import ACTIONS, KEYS, Panel, State
from simulator.family import TRUE_DIAMETER, Family, Option, Setup, byte_s
from simulator.physics import Body, model_named

CR, LF, XON = b"\r", b"\n", b"\x11"
MAX_LINE = 256  # invented: a line without CR longer than this is thrown away
RATES = ("irate", "wrate")
RUNS = ("irun", "wrun", "rrun", "run")


class Mouth:
    """One pump's end of the line."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.panel = desk.panel
        self._invented = desk.invented
        self._buffer = bytearray()
        self._rate_just_set = False

    @property
    def byte_s(self) -> float:
        """Wire seconds that one byte takes."""
        return byte_s(self.desk.baud)

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        return {"address": self.desk.address, "poll": self.desk.poll, "line_closed": self.panel.line_closed}

    def reboot(self) -> None:
        """Forget half-heard bytes and the poll mode."""
        self._buffer.clear()
        self._rate_just_set = False
        if not self._invented.poll_survives_power_cut:
            self.desk.poll = "off"

    def due(self) -> float | None:
        """Never: the set has no time-out and no watchdog."""
        return None

    def advance(self, at: float) -> None:
        """Nothing waits."""

    def unsolicited(self) -> bytes:
        """With poll off: the prompt, each time something happened."""
        if self.desk.poll != "off" or not self.panel.raised:
            return b""
        return b"".join(self._prompt(state, bool(self.desk.address)) for state in self.panel.raised)

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump answers to the lines they complete."""
        end = data.find(CR)
        if not self._buffer and end >= 0 and data[end + 1 :] in (b"", LF):
            return self._obey(data[:end])
        self._buffer += data
        replies = b""
        while (end := self._buffer.find(CR)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            replies += self._obey(line)
        if self._buffer == LF or len(self._buffer) > MAX_LINE:
            self._buffer.clear()
        return replies

    def _obey(self, line: bytes) -> bytes:
        heard, desk = understand(line.removeprefix(LF)), self.desk
        if not self._is_meant(heard.address):
            return b""
        echo = line + CR if desk.echo == "on" else b""
        if self.panel.line_closed:
            if heard.word:
                return echo
            self.panel.line_closed = False
        prefixed = heard.address is not None or desk.address != 0 or desk.poll == "remote"
        prefix = f"\n{desk.address:02d}:" if prefixed else "\n"
        stood, blurred = not self.panel.running, self._rate_just_set and self._invented.run_after_rate_shows_idle
        lines = desk.carry_out(heard.word, heard.arguments) if heard.word else []
        self._rate_just_set = heard.word in RATES and bool(heard.arguments) and not lines
        if self._invented.chained_sets_are_silent and desk.address and heard.word and not lines:
            return echo
        state = State.IDLE if blurred and stood and heard.word in RUNS else self.panel.state
        end = "" if desk.poll == "remote" else "\r"
        text = "".join(f"{prefix}{line}{end}" for line in lines).encode("ascii", "replace")
        return echo + text + self._prompt(state, heard.address is not None or desk.address != 0)

    def _is_meant(self, address: int | None) -> bool:
        if address is None:
            return self.desk.address == 0 or self._invented.answers_without_address
        return address == self.desk.address

    def _prompt(self, state: str, addressed: bool) -> bytes:
        if self.desk.poll == "remote":
            return b""
        number = f"{self.desk.address:02d}" if addressed else ""
        return f"\n{number}{state}".encode() + (XON if self.desk.poll == "on" else b"")


@dataclass(frozen=True)
class Heard:
    """One line from the host."""

    address: int | None
    word: str  # empty: a bare CR
    arguments: tuple[str, ...]


SHORT = {name[:4]: name for name in COMMANDS if len(name) > 4}
ADDRESSED = re.compile(r"@?(\d{0,2}):?@?", re.ASCII)


@lru_cache(maxsize=4096)
def understand(line: bytes) -> Heard:
    """Read a line: its address if it has one, its command by its full name, its arguments in lower case."""
    text = line.decode("ascii", "replace").lower()
    found = ADDRESSED.match(text)
    assert found is not None
    words = text[found.end() :].split()
    address = int(found[1]) if found[1] else None
    return Heard(address, SHORT.get(words[0], words[0]) if words else "", tuple(words[1:]))


def _build(setup: Setup) -> tuple[Panel, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    body = Body(
        model_named(setup.model, setup.seed), fill_ml=setup.fill_ml, true_diameter_mm=options["true_diameter_mm"]
    )
    panel = Panel(body, invented)
    series = SERIES[options["series"]]
    desk = Desk(panel, invented, series, options["address"], options["serial_number"], setup.baud)
    return panel, Mouth(desk)


FAMILY = Family(
    name="harvard",
    description="Harvard Apparatus PHD ULTRA and Pump 11 Elite, KD Scientific Legato: laboratory syringe pump",
    build=_build,
    keys=tuple(KEYS),
    bauds=BAUDS,
    default_baud=115200,
    invented=Invented,
    options=(
        Option("address", "address", 0, "address of the pump on its line, 0 to 99", int, least=0, most=99),
        Option("series", "series", "legato", "whose wording it has", choices=tuple(SERIES)),
        Option("serial_number", "serial-number", "D101754", "what it answers to version"),
        TRUE_DIAMETER,
    ),
    actions=ACTIONS,
)
