"""The mouth of an Alaris (Asena) syringe pump: `!` body `|` check sum CR, asked and answered.

Written from the protocol notes (Alaris), sections 1 to 9. Times are wire seconds.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from simulator.families.alaris_invented import Invented
from simulator.families.alaris_panel import PANEL_ACTIONS, PANEL_KEYS, SIZES, Panel, Syringe
from simulator.family import TRUE_DIAMETER, Family, Option, Setup, byte_s
from simulator.infuser import Doing
from simulator.physics import Body, model_named
from simulator.pump import Refused
from simulator.troubles import Trouble

BANG, ESC, CR = 0x21, 0x1B, 0x0D
BAUD = 38400  # 8 data bits, no parity
CRC_START = 0xFFFF  # CRC-16/CCITT-FALSE, check value 29B1
MAX_FRAME = 256  # invented: more bytes without an end are thrown away; the longest known frame has 90
WATCHDOG_S = 15.0  # user manual of the CC: without communication for so long, what the host started stops
RATE_STEP_ML_H = 0.1
DAY_S = 86400
SILENCE = ""  # no answer
MODES = {Doing.HELD: "HLD", Doing.RUNNING: "SET"}  # section 6; all others are invented
OWN_MODES = {Doing.KVO: "KVO", Doing.BOLUS: "BOL", Doing.PURGE: "PRG"}


def checksum(body: bytes) -> str:
    """Four upper-case hex digits over the body alone."""
    return f"{binascii.crc_hqx(body, CRC_START):04X}"


def framed(body: str) -> bytes:
    """Put a body between `!` and check sum."""
    data = body.encode("ascii")
    return b"!%b|%b\r" % (data, checksum(data).encode("ascii"))


class Mouth:
    """One pump's end of the line."""

    def __init__(self, panel: Panel, invented: Invented, serial: str, revision: str, drug: str, remote: str) -> None:
        self.panel = panel
        self.byte_s = byte_s(BAUD)
        self.refused: str | None = None  # why the last order was
        self._serial = serial
        self._revision = revision
        self._drug = drug
        self._remote = remote == "on"
        self._code = checksum(serial.encode("ascii"))  # section 3: the pump's code is the check sum of its number
        self._invented = invented
        self._buffer = bytearray()
        self._at = 0.0
        self._fed_at = 0.0  # when the watchdog was last content
        self._controlled = False
        self._heard = 0  # good frames

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        return {"serial": self._serial, "remote": self._controlled, "refused": self.refused}

    def reboot(self) -> None:
        """Forget half-heard bytes; nobody has control."""
        self._buffer.clear()
        self._controlled = False

    def unsolicited(self) -> bytes:
        """Say nothing: this pump speaks only when asked."""
        return b""

    # -- time

    def due(self) -> float | None:
        """Wire time at which the host has been silent for too long."""
        return self._fed_at + WATCHDOG_S if self._controlled or self.panel.started_by_wire else None

    def advance(self, at: float) -> None:
        """Let the watchdog look."""
        self._at = at
        due = self.due()
        if due is not None and at >= due:
            self._controlled = False
            if self._invented.timeout_while_held or self.panel.started_by_wire:
                self.panel.communication_lost()

    # -- bytes in

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump answers to the frames they complete."""
        self.advance(at)
        buffer = self._buffer
        if not buffer and data[0] == BANG and data[-1] == CR and data.count(CR) == 1 and ESC not in data:
            return self._answer(data)
        buffer += data
        replies = b""
        while (end := min(_first(buffer, CR), _first(buffer, ESC))) < len(buffer):
            heard, ending = bytes(buffer[:end]), buffer[end]
            del buffer[: end + 1]
            if ending == CR and (start := heard.find(BANG)) >= 0:
                replies += self._answer(heard[start:] + b"\r")
        if len(buffer) > MAX_FRAME or BANG not in buffer:
            buffer.clear()
        return replies

    def _answer(self, frame: bytes) -> bytes:
        if self._invented.bang_restarts:
            frame = frame[frame.rindex(BANG) :]
        body = opened(frame)
        if body is None:
            return b""
        self._heard += 1
        if self._invented.watchdog_fed_by == "any":
            self._fed_at = self._at
        command, arguments = understand(body)
        reply = SILENCE if command is None else command(self, *arguments)
        every = self._invented.unanswered_every
        if not reply or (every and self._heard % every == 0):
            return b""
        return framed(reply)

    # -- questions

    def _serial_number(self) -> str:
        return f"INST_SERIALNO^{self._serial}"

    def _protocol(self) -> str:
        return f"COMMS_PROTOCOL^{self._revision}"

    def _response_max(self) -> str:
        return "COMMS_RESPONSE_MAX^4000^ms"

    def _syringe_status(self) -> str:
        syringe = self.panel.syringe
        confirmed = not self.panel.board.has(Trouble.SYRINGE)
        return f"SYRINGE_STATUS^{syringe.make}^{syringe.size_ml:3d}^{'CONF' if confirmed else 'UNCONF'}"  # invented

    def _rate_max(self) -> str:
        return f"INF_RATE_MAX_SYRINGE^{self.panel.syringe.max_ml_h:.2f}^ml/h"

    def _status(self) -> str:
        panel = self.panel
        rate_ml_h = panel.motor_rate_ml_h
        if panel.doing is Doing.HELD and self._invented.held_shows_set_rate:
            rate_ml_h = panel.rate_ml_h
        return (
            f"INF^{self._serial}^{'A' if panel.alarmed else '-'}^{self._mode()}^{rate_ml_h:.2f}^ml/h^{self._drug}"
            f"^{panel.infused_ml:.3f}^ml^{panel.shown_mmhg:.2f}^mmHg^{clock(panel.time_left_s)}^EVENT^{panel.log_id}"
        )

    def _mode(self) -> str:
        doing = self.panel.doing
        if doing in OWN_MODES and self._invented.moving_words == "own":
            return OWN_MODES[doing]
        return MODES.get(doing, "SET")

    def _alarm(self) -> str:
        return "^".join(("ALARM", *self.panel.alarm_words()))

    def _limit(self) -> str:
        panel = self.panel
        if panel.limit_ml is None:
            return "INF_VTBI^DEACT^^^"
        return f"INF_VTBI^ACTIV^{panel.limit_ml:.3f}^ml^{END_WORDS[panel.at_limit]}"

    def _unpublished(self, reply: str) -> str:
        return SILENCE if self._invented.unpublished_replies == "silent" else reply

    def _rate(self) -> str:
        return self._unpublished(f"INF_RATE^{self.panel.rate_ml_h:.2f}^ml/h")

    def _infused(self) -> str:
        return self._unpublished(f"INF_VI^{self.panel.infused_ml:.3f}^ml")

    def _no_bolus(self) -> str:
        return self._unpublished("INF_BOLUS^DISABLED")

    def _query_over(self) -> str:
        return "REMQUERY^DEACT^^^^"

    # -- remote control

    def _take_control(self, code: str) -> str:
        permitted = self._remote and code == self._code
        if permitted:
            self._controlled = True
            self._fed_at = self._at
        elif self._invented.refused_control == "silent":
            return SILENCE
        return f"REMOTE_CTRL^ENABLED^****^{'PERMIT' if permitted else ''}^0^ms"

    def _release(self) -> str:
        if self._controlled:
            self._fed_at = self._at
        self._controlled = False
        return "REMOTE_CTRL^DISABLED" + ("^****^PERMIT^0^ms" if self._invented.release_reply == "permit" else "")

    def _configure(self, word: str) -> str:
        return self._unpublished(f"REMOTE_CFG^{word}^****^PERMIT^0^ms")

    # -- orders

    def _ordered(self, reply: str, obey: Callable[[], None]) -> str:
        try:
            if not self._controlled:
                raise Refused("no remote control")
            obey()
        except Refused as refusal:
            self.refused = refusal.code
            return reply if self._invented.refused_order == "echo" else SILENCE
        return reply

    def _set_rate(self, text: str) -> str:
        return self._ordered(f"INF_RATE^{float(text):.2f}^ml/h", lambda: self._obey_rate(float(text)))

    def _obey_rate(self, ml_h: float) -> None:
        step = round(ml_h / RATE_STEP_ML_H) * RATE_STEP_ML_H
        if self._invented.finer_rates == "refused" and abs(step - ml_h) > 1e-9:
            raise Refused("finer than 0.1 ml/h")
        barred = self._invented.barred_above_ml_h
        if barred and ml_h > barred and self.panel.limit_ml is not None:
            raise Refused("too fast with a limit")
        self.panel.set_rate(ml_h if self._invented.finer_rates == "taken" else round(step, 1))

    def _set_limit(self, text: str) -> str:
        ml = round(float(text), 3)
        return self._ordered(f"INF_VTBI^ACTIV^{ml:.3f}^ml^STOP", lambda: self.panel.set_limit(ml, "stop"))

    def _no_limit(self) -> str:
        return self._ordered("INF_VTBI^DEACT^^^", lambda: self.panel.set_limit(None))

    def _clear(self) -> str:
        return self._ordered("INF_VI_CLEAR", self.panel.clear_infused)

    def _start(self) -> str:
        return self._ordered("INF_START", self._obey_start)

    def _obey_start(self) -> None:
        if self.panel.doing is not Doing.RUNNING:  # a start that is sent again changes nothing
            self.panel.start()
            self._fed_at = self._at

    def _stop(self) -> str:
        return self._ordered("INF_STOP", self._obey_stop)

    def _obey_stop(self) -> None:
        if self.panel.doing is not Doing.HELD:
            self.panel.stop()


def _first(buffer: bytearray, byte: int) -> int:
    """Where a byte first stands, or the end."""
    found = buffer.find(byte)
    return len(buffer) if found < 0 else found


def clock(seconds: float | None) -> str:
    """`HH:MM:SS`, or `24+` for more than a day and where there is no end."""
    if seconds is None or seconds >= DAY_S:
        return "24+"
    whole = int(seconds + 1e-6)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


END_WORDS = {"stop": "STOP", "kvo": "KVO", "continue": "CONT"}  # only STOP is known
NUMBER = r"(\d+(?:\.\d+)?)"
Act = Callable[..., str]
COMMANDS: tuple[tuple[re.Pattern[str], Act], ...] = tuple(
    (re.compile(pattern, re.ASCII), act)
    for pattern, act in (
        (r"INF", Mouth._status),
        (r"ALARM", Mouth._alarm),
        (r"REMOTE_CTRL\^ENABLED\^([^^]*)", Mouth._take_control),
        (r"REMOTE_CTRL\^DISABLED", Mouth._release),
        (r"REMOTE_CFG\^(ENABLED)\^[0-9A-F]{4}", Mouth._configure),
        (r"REMOTE_CFG\^(DISABLED)", Mouth._configure),
        (r"REMQUERY\^DEACT", Mouth._query_over),
        (r"INST_SERIALNO", Mouth._serial_number),
        (r"COMMS_PROTOCOL", Mouth._protocol),
        (r"COMMS_RESPONSE_MAX", Mouth._response_max),
        (r"SYRINGE_STATUS", Mouth._syringe_status),
        (r"INF_RATE_MAX_SYRINGE", Mouth._rate_max),
        (rf"INF_RATE\^{NUMBER}\^ml/h", Mouth._set_rate),
        (r"INF_RATE", Mouth._rate),
        (r"INF_VI", Mouth._infused),
        (r"INF_VI_CLEAR", Mouth._clear),
        (r"INF_VTBI", Mouth._limit),
        (rf"INF_VTBI\^ACTIV\^{NUMBER}\^ml\^STOP", Mouth._set_limit),
        (r"INF_VTBI\^DEACT", Mouth._no_limit),
        (r"INF_BOLUS\^ENABLED", Mouth._no_bolus),
        (r"INF_START", Mouth._start),
        (r"INF_STOP", Mouth._stop),
    )
)


@lru_cache(maxsize=1024)
def opened(frame: bytes) -> str | None:
    """Return the body of a whole frame, `!` to CR; None for one that is damaged."""
    body, bar, given = frame[1:-1].rpartition(b"|")
    if not bar or given != checksum(body).encode("ascii") or not body.isascii():
        return None
    return body.decode("ascii")


@lru_cache(maxsize=1024)
def understand(body: str) -> tuple[Act | None, tuple[str, ...]]:
    """Read a body: what is done on it, with which arguments."""
    for pattern, act in COMMANDS:
        if match := pattern.fullmatch(body):
            return act, match.groups()
    return None, ()


def _build(setup: Setup) -> tuple[Panel, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    size_ml = int(options["syringe_ml"])
    diameter_mm, max_ml_h = SIZES[size_ml]
    body = Body(
        model_named(setup.model, setup.seed),
        fill_ml=setup.fill_ml,
        true_diameter_mm=options["true_diameter_mm"],
        alarm_mmhg=options["occlusion_mmhg"] - invented.resting_mmhg,
    )
    body.set_diameter_mm = diameter_mm
    syringe = Syringe(options["syringe_make"], size_ml, diameter_mm, max_ml_h)
    panel = Panel(body, setup.battery, invented, syringe, options["log_id"])
    return panel, Mouth(panel, invented, options["serial"], options["revision"], options["drug"], options["remote"])


FAMILY = Family(
    name="alaris",
    description="Alaris / Asena GH, GS, CC, TIVA, PK: syringe pump with remote control",
    build=_build,
    keys=PANEL_KEYS,
    bauds=(BAUD,),
    default_baud=BAUD,
    invented=Invented,
    options=(
        Option("serial", "serial", "8002-51740", "its serial number, from which its code is computed"),
        Option("revision", "revision", "Asena Rev 2.1.5", "what it answers to COMMS_PROTOCOL"),
        Option(
            "remote",
            "remote",
            "on",
            "off: as later software is, it never permits remote control",
            choices=("on", "off"),
        ),
        Option("syringe_make", "syringe-make", "BD PLASTIPAK", "make of the syringe"),
        Option("syringe_ml", "syringe-ml", "50", "size of the syringe in mL", choices=tuple(map(str, SIZES))),
        Option("drug", "drug", "", "name of the drug that it shows"),
        Option(
            "occlusion_mmhg", "occlusion-mmhg", 500.0, "shown pressure at which it halts", float, "mmHg", (), 50, 1000
        ),
        Option("log_id", "log-id", 127900, "newest entry of its log at power-on", int, least=0, most=999999),
        TRUE_DIAMETER,
    ),
    actions=PANEL_ACTIONS,
    fill_ml=50.0,
    battery_min=240.0,
)
