"""The mouth of a New Era pump: bytes to panel and back, Basic and Safe mode.

Written from the protocol notes (New Era NE-1000 manuals), sections 2 to 6. Times are wire seconds.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simulator.families.newera_invented import Invented
from simulator.families.newera_panel import KEYS, STANDING, Panel
from simulator.families.newera_program import (
    NOT_NOW,
    OUT_OF_RANGE,
    TRIGGERS,
    Settings,
    factory_program,
    read_number,
    show_number,
)
from simulator.family import TRUE_DIAMETER, Family, Option, Setup, byte_s
from simulator.physics import Body, model_named
from simulator.pump import Refused

STX, ETX, CR = 0x02, 0x03, 0x0D
INTER_BYTE_S = 0.5  # manual: a packet with a longer gap inside is dropped silently
SAFE_OVERHEAD = 4  # length byte, two CRC bytes, ETX: what the length counts besides the data
MAX_LINE = 256  # invented: a Basic line without CR longer than this is thrown away
BAUDS = (300, 1200, 2400, 9600, 19200)
NOT_A_COMMAND = bytes(range(0x21))  # Basic mode drops spaces and control characters
BAD_PACKET = "?COM"
UNKNOWN = "?"
MODES = ("basic", "safe")


def safe_packet(data: bytes) -> bytes:
    """Frame data for Safe mode: STX, length, data, CRC-16/XMODEM, ETX."""
    crc = binascii.crc_hqx(data, 0)
    return bytes((STX, len(data) + SAFE_OVERHEAD)) + data + crc.to_bytes(2, "big") + bytes((ETX,))


class Mouth:
    """One pump's end of the line."""

    def __init__(self, panel: Panel, invented: Invented, version: str = "NE1000V3.928") -> None:
        self.panel = panel
        self.version = version
        self.outputs = {"5": "0"}
        self.buzzing = "0"
        self._invented = invented
        self._buffer = bytearray()
        self._last_byte_at = 0.0
        self._watchdog_due: float | None = None

    @property
    def safe(self) -> bool:
        """Whether the pump speaks Safe mode."""
        return self.panel.settings.safe_s > 0

    @property
    def byte_s(self) -> float:
        """Wire seconds that one byte takes."""
        return byte_s(self.panel.settings.baud)

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        return {"mode": "safe" if self.safe else "basic", "address": self.panel.settings.address}

    def reboot(self) -> None:
        """Forget half-heard bytes; the watchdog is idle until the first valid packet."""
        self._buffer.clear()
        self._watchdog_due = None

    # -- time

    def due(self) -> float | None:
        """Wire time of the next time-out, if any."""
        gap_due = self._last_byte_at + INTER_BYTE_S if self._mid_packet() else None
        if gap_due is None or self._watchdog_due is None:
            return self._watchdog_due if gap_due is None else gap_due
        return min(gap_due, self._watchdog_due)

    def advance(self, at: float) -> None:
        """Let the time-outs due by `at` happen."""
        if self._mid_packet() and at >= self._last_byte_at + INTER_BYTE_S:
            self._buffer.clear()
        if self._watchdog_due is not None and at >= self._watchdog_due:
            self._watchdog_due = None
            self.panel.watchdog_expired()

    def unsolicited(self) -> bytes:
        """Announce new alarms: a packet each in Safe mode, nothing in Basic mode."""
        letters, self.panel.raised = self.panel.raised, []
        if not self.safe:
            return b""
        return b"".join(self._framed(f"A?{letter}") for letter in letters)

    # -- bytes in

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump answers to the commands they complete."""
        self.advance(at)
        self._last_byte_at = at
        if not self._buffer and not self.safe and data[-1] == CR and data[0] != STX and data.count(CR) == 1:
            return self._obey(data[:-1], at)
        self._buffer += data
        replies = b""
        while (line := self._next_line()) is not None:
            replies += self._complain(at) if line is DAMAGED else self._obey(line, at)
        return replies

    def _mid_packet(self) -> bool:
        return bool(self._buffer) and self._buffer[0] == STX

    def _next_line(self) -> bytes | None:
        buffer = self._buffer
        if self.safe and not self._invented.safe_mode_answers_cr_commands:
            start = buffer.find(STX)
            del buffer[: len(buffer) if start < 0 else start]
        else:
            while buffer and buffer[0] in NOT_A_COMMAND and buffer[0] not in (STX, CR):
                del buffer[0]
        return self._next_packet() if self._mid_packet() else self._next_cr_line()

    def _next_cr_line(self) -> bytes | None:
        end = self._buffer.find(CR)
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                self._buffer.clear()
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _next_packet(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length = buffer[1]
        if length < SAFE_OVERHEAD:
            del buffer[:2]
            return self._wrong_length()
        if len(buffer) < 1 + length:
            return None
        packet = bytes(buffer[: 1 + length])
        del buffer[: 1 + length]
        if packet[-1] != ETX:
            return self._wrong_length()
        data = packet[2:-3]
        return data if safe_packet(data) == packet else DAMAGED

    def _wrong_length(self) -> bytes | None:
        return DAMAGED if self._invented.wrong_length_gets_com else self._next_line()

    # -- commands

    def _obey(self, line: bytes, at: float) -> bytes:
        address, command, arguments = understand(line)
        settings = self.panel.settings
        if address != settings.address and not (command and command.system):
            return b""
        if self.safe:
            self._watchdog_due = at + settings.safe_s
        if command is None:
            return self._framed(self.panel.state.value + UNKNOWN)
        if self.panel.alarm is not None:
            return self._framed(f"A?{self.panel.acknowledge()}")
        try:
            data = command.act(self, *arguments)
        except Refused as refusal:
            data = refusal.code
        if command.times_watchdog:
            self._watchdog_due = at + settings.safe_s if self.safe else None
        return self._framed(self.panel.state.value + data)

    def _complain(self, at: float) -> bytes:
        if self.safe and self._invented.com_error_feeds_watchdog:
            self._watchdog_due = at + self.panel.settings.safe_s
        return self._framed(self.panel.state.value + BAD_PACKET)

    def _framed(self, text: str) -> bytes:
        data = f"{self.panel.settings.address:02d}{text}".encode("ascii")
        return safe_packet(data) if self.safe else b"\x02" + data + b"\x03"

    def _status(self) -> str:
        return ""

    def _version(self) -> str:
        return self.version

    def _diameter(self, text: str | None) -> str:
        if text is None:
            return show_number(self.panel.settings.diameter_mm)
        self.panel.set_diameter(text)
        return ""

    def _rate(self, which: str, text: str | None, unit: str | None) -> str:
        phase = self.panel.current
        if which == "I":
            if text is None:
                return show_number(phase.increment) + phase.unit
            phase.increment = read_number(text)
        elif text is None:
            return show_number(self.panel.rate()) + phase.unit
        else:
            self.panel.set_rate(text, unit)
        return ""

    def _volume(self, text: str | None) -> str:
        if text is None:
            return show_number(self.panel.current.volume) + self.panel.settings.volume_unit
        self.panel.set_volume(text)
        return ""

    def _direction(self, text: str | None) -> str:
        if text is None:
            return self.panel.current.direction
        self.panel.set_direction(text)
        return ""

    def _run(self, text: str | None) -> str:
        self.panel.run(None if text is None else int(text))
        return ""

    def _stop(self) -> str:
        self.panel.stop()
        return ""

    def _purge(self) -> str:
        self.panel.purge()
        return ""

    def _dispensed(self) -> str:
        panel = self.panel
        return f"I{panel.counter('INF')}W{panel.counter('WDR')}{panel.settings.volume_unit}"

    def _clear(self, direction: str) -> str:
        self.panel.clear_counter(direction)
        return ""

    def _phase(self, text: str | None) -> str:
        if text is None:
            return f"{self.panel.phase_number:02d}"
        self.panel.select_phase(int(text))
        return ""

    def _function(self, text: str | None) -> str:
        if text is None:
            return self.panel.current.function
        self.panel.set_function(text)
        return ""

    def _safe_mode(self, text: str | None) -> str:
        settings = self.panel.settings
        if text is None:
            return f"{settings.safe_s:0{self._invented.saf_reply_digits}d}"
        if int(text) > 255:
            raise Refused(OUT_OF_RANGE)
        settings.safe_s = int(text)
        return ""

    def _address(self, text: str | None, baud: str | None) -> str:
        settings = self.panel.settings
        if text is None:
            return f"{settings.address:02d}"
        if int(text) > 99 or (baud is not None and int(baud) not in BAUDS):
            raise Refused(OUT_OF_RANGE)
        settings.address = int(text)
        settings.baud = settings.baud if baud is None else int(baud)
        return ""

    def _network(self, kind: str) -> str:
        raise Refused(NOT_NOW)  # the pump-to-pump cable is not simulated

    def _reset(self) -> str:
        self.panel.reset_system()
        return ""

    def _flag(self, name: str, value: str | None) -> str:
        flags = self.panel.settings.flags
        if value is None:
            return str(flags[name])
        if value not in ("0", "1"):
            raise Refused(OUT_OF_RANGE)
        flags[name] = int(value)
        return ""

    def _trigger(self, name: str | None) -> str:
        if name is None:
            return self.panel.settings.trigger
        if self.panel.state not in STANDING:
            raise Refused(NOT_NOW)
        self.panel.settings.trigger = name
        return ""

    def _output(self, pin: str, level: str) -> str:
        self.outputs[pin] = level
        return ""

    def _input(self, pin: str) -> str:
        return "1"  # open inputs are pulled high

    def _buzzer(self, level: str | None, times: str | None) -> str:
        if level is None:
            return self.buzzing
        self.buzzing = level if not times else "0"  # a counted beep is over before anyone asks
        return ""


DAMAGED = b"\x00 damaged packet"  # compared by identity


@dataclass(frozen=True)
class Command:
    """A pattern on the cleaned text of a command, and what the pump does on it with the pattern's groups."""

    pattern: re.Pattern[str]
    act: Callable[..., str]
    system: bool = False  # answered whatever the address
    times_watchdog: bool = False


def says(pattern: str, act: Callable[..., str], **options: bool) -> Command:
    """Write one row of the table."""
    return Command(re.compile(pattern, re.ASCII), act, **options)


COMMANDS = (
    says(r"", Mouth._status),
    says(r"DIS", Mouth._dispensed),
    says(r"RAT([CI]?)(?:([\d.]+)(UM|MM|UH|MH)?)?", Mouth._rate),
    says(r"VOL(UL|ML|[\d.]+)?", Mouth._volume),
    says(r"DIR(INF|WDR|REV|STK)?", Mouth._direction),
    says(r"DIA([\d.]+)?", Mouth._diameter),
    says(r"RUN(\d+)?", Mouth._run),
    says(r"STP", Mouth._stop),
    says(r"PUR", Mouth._purge),
    says(r"CLD(INF|WDR)", Mouth._clear),
    says(r"PHN(\d+)?", Mouth._phase),
    says(r"FUN([A-Z]{3}[\d.]*)?", Mouth._function),
    says(r"VER", Mouth._version),
    says(r"SAF(\d{1,3})?", Mouth._safe_mode, times_watchdog=True),
    says(r"\*ADR(?:(\d+)(?:B(\d+))?)?", Mouth._address, system=True),
    says(r"\*ADR(DUAL|RECP|ALTR)", Mouth._network, system=True),
    says(r"\*RESET", Mouth._reset, system=True, times_watchdog=True),
    says(r"(LN|AL|PF|BP|LOC|DIN|ROM)(\d)?", Mouth._flag),
    says(rf"TRG({'|'.join(TRIGGERS)})?", Mouth._trigger),
    says(r"OUT(5)([01])", Mouth._output),
    says(r"IN([2346])", Mouth._input),
    says(r"BUZ(?:([01])(\d*))?", Mouth._buzzer),
)


@lru_cache(maxsize=4096)
def understand(line: bytes) -> tuple[int, Command | None, tuple[str | None, ...]]:
    """Read a command line: its address (none means 0), its row of the table, the row's arguments."""
    text = line.translate(None, NOT_A_COMMAND).decode("ascii", "replace").upper()
    found = re.match(r"\d{0,2}", text, re.ASCII)
    digits = found.group() if found else ""
    for command in COMMANDS:
        match = command.pattern.fullmatch(text[len(digits) :])
        if match:
            return int(digits or 0), command, match.groups()
    return int(digits or 0), None, ()


def _build(setup: Setup) -> tuple[Panel, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    settings = Settings(
        program=factory_program(invented.second_phase),
        address=options["address"],
        safe_s=options["watchdog_s"] if options["mode"] == "safe" else 0,
        baud=setup.baud,
    )
    model = model_named(setup.model, setup.seed)
    body = Body(model, fill_ml=setup.fill_ml, true_diameter_mm=options["true_diameter_mm"])
    panel = Panel(body, settings, invented)
    return panel, Mouth(panel, invented, options["version"])


FAMILY = Family(
    name="newera",
    description="New Era NE-1000 family (WPI Aladdin): syringe pump, Basic and Safe mode",
    build=_build,
    keys=tuple(KEYS),
    bauds=BAUDS,
    default_baud=19200,
    invented=Invented,
    options=(
        Option("address", "address", 0, "address of the pump on its line, 0 to 99", int, least=0, most=99),
        Option("mode", "mode", "basic", "framing at power-on", choices=MODES),
        Option("watchdog_s", "watchdog", 10, "Safe-mode watchdog at power-on, 1 to 255 s", int, "s", least=1, most=255),
        Option("version", "version-text", "NE1000V3.928", "what it answers to VER"),
        TRUE_DIAMETER,
    ),
)
