"""The mouth of a Zyno Z-800 or MIVA pump: frames to panel and back.

Written from the protocol notes (Zyno) and, where they give no width, from what the maker's published client accepts.
Times are wire seconds.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import xor
from typing import Any

from simulator.families.zyno_invented import Invented
from simulator.families.zyno_log import SIZE, Ring
from simulator.families.zyno_panel import ACTIONS, BOLUS_ML_H, KEY_CODES, RATES_ML_H, Panel
from simulator.family import Family, Option, Setup, byte_s
from simulator.infuser import WIRE, Doing
from simulator.pump import Refused
from simulator.volumetric import Tubing, Volumetric, volumetric_model

STX, ETX = 0x02, 0x03
BAUD = 9600
MAX_FRAME = 512  # invented: more than this without ETX is noise
ALARM_MMHG = 600.0  # invented
CALIBRATION = 10000  # invented: units of 5e-6 mL for each turn of the motor, as the maker's client reads it
ML_PER_TURN = CALIBRATION * 5e-6
UPSTREAM_AT_REST, DOWNSTREAM_AT_REST = 0x240, 0xA0  # of S9, invented
SENSORS_AT_REST = (0x0100, 0x0120)  # of RD, invented
MMHG_PER_COUNT = 8.0  # invented
FULL_V, EMPTY_V = 3.90, 3.40  # invented
SCREEN_BYTES = 1024
PLATFORMS = {"h": "00", "k": "01"}
LIBRARY_GOOD, LIBRARY_INPUT, LIBRARY_SERIAL, LIBRARY_STATE, LIBRARY_AUTHORISATION = "0", "1", "2", "5", "7"


def check_sum(text: bytes) -> bytes:
    """Two hex digits: the low byte of the sum."""
    return b"%02X" % (sum(text) & 0xFF)


def check_xor(text: bytes) -> bytes:
    """Two hex digits: all characters xored, as the H platform has it."""
    return b"%02X" % reduce(xor, text, 0)


@lru_cache(maxsize=4096)
def frame(text: bytes, check: Callable[[bytes], bytes] = check_sum) -> bytes:
    """Frame a text."""
    return b"\x02" + text + check(text) + b"\x03"


class Mouth:
    """The pump's end of the line."""

    def __init__(self, panel: Panel, invented: Invented, platform: str, serial: str, firmware: str) -> None:
        self.panel = panel
        self.serial = serial
        self.firmware = firmware
        self.platform = platform
        self.byte_s = byte_s(BAUD)
        self._check = check_xor if platform == "h" else check_sum
        self._invented = invented
        self._buffer = bytearray()
        self._late: deque[tuple[float, bytes]] = deque()
        self._s9_due: float | None = None
        self._at = 0.0
        self._blocks = 0
        self._times_dark = 0

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        return {"s9": self._s9_due is not None}

    def reboot(self) -> None:
        """Forget half-heard bytes, what is still to be said, and the frames by itself."""
        self._buffer.clear()
        self._late.clear()
        self._s9_due = None
        self._blocks = 0

    def _heed_power(self) -> None:
        if self._times_dark != self.panel.times_dark:  # switched off by a key or an order
            self._times_dark = self.panel.times_dark
            self.reboot()

    # -- time

    def due(self) -> float | None:
        """Wire time of the next frame by itself or of a late answer, if any."""
        late = self._late[0][0] if self._late else math.inf
        due = min(late, math.inf if self._s9_due is None else self._s9_due)
        return None if due == math.inf else due

    def advance(self, at: float) -> None:
        """Let what is due by `at` be said."""
        self._at = at
        self._heed_power()
        if self._s9_due is not None and at >= self._s9_due:
            self._late.append((at, self._framed(self._sensors())))
            self._s9_due += self._invented.s9_period_s * (1 + (at - self._s9_due) // self._invented.s9_period_s)

    def unsolicited(self) -> bytes:
        """Frames by itself and late answers."""
        said = b""
        while self._late and self._late[0][0] <= self._at:
            said += self._late.popleft()[1]
        return said

    # -- bytes in

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump answers to the frames they complete."""
        self._at = at
        self._heed_power()
        if not self._buffer and data[0] == STX and data.find(ETX) == len(data) - 1 and data.rfind(STX) == 0:
            return self._obey(data[1:-1])
        self._buffer += data
        replies = b""
        while (end := self._buffer.find(ETX)) >= 0:
            start = self._buffer.rfind(STX, 0, end)
            if start >= 0:
                replies += self._obey(bytes(self._buffer[start + 1 : end]))
            del self._buffer[: end + 1]
        start = self._buffer.rfind(STX)
        if start < 0 or len(self._buffer) - start > MAX_FRAME:
            self._buffer.clear()
        else:
            del self._buffer[:start]
        return replies

    def _obey(self, body: bytes) -> bytes:
        text, check = body[:-2], body[-2:]
        if not 3 <= len(body) <= MAX_FRAME or not text.isascii():
            return b""
        if self._check(text) != check:
            return self._framed("ERROR") if self._invented.bad_check_gets_error else b""
        answer = self._answer(text.decode())
        return b"" if answer is None else self._framed(answer)

    def _framed(self, text: str) -> bytes:
        return frame(text.encode("ascii", "replace"), self._check)

    # -- commands

    def _answer(self, text: str) -> str | None:
        if (read := READS.get(text)) is not None:
            return text + read(self)
        if (ask := QUESTIONS.get(text)) is not None:
            return ask(self)
        for pattern, act in ORDERS:
            if match := pattern.fullmatch(text):
                return act(self, *match.groups())
        return text[:2] + "ERROR" if self._invented.unknown_gets_error else None

    def _hex(self, value: float, digits: int = 4) -> str:
        return f"{int(value + 1e-6):0{digits}X}"

    def _q(self, value: float) -> str:
        return self._hex(value, self._invented.q_digits)

    # what it is

    def _library(self) -> str:
        return f"{'DEFAULT 01.00':<20}"

    def _clock(self) -> str:
        return f"F{int(self.panel.time_s) & 0x0FFFFFFF:07X}"

    def _volts(self) -> float:
        percent = self.panel.battery.percent
        return EMPTY_V + (FULL_V - EMPTY_V) * (100.0 if percent is None else percent) / 100

    def _battery(self) -> str:
        return self._hex(self._volts() * 100)

    def _total(self) -> str:
        return self._hex(int(self.panel.total_ml * 10) & 0xFFFF)

    def _life(self) -> str:
        return f"{CALIBRATION:04X}{self._hex(self.panel.total_ml / ML_PER_TURN, 6)}"

    def _on_time(self) -> str:
        return self._hex(self.panel.time_s, 8)

    def _counts(self) -> int:
        return int(max(self.panel.pressure_mmhg, 0.0) / MMHG_PER_COUNT)

    def _occlusion_sensors(self) -> str:
        upstream, downstream = SENSORS_AT_REST
        return f"{upstream:04X}{downstream + self._counts():04X}"

    def _sensors(self) -> str:
        hall = int(self.panel.body.plunger_ml / ML_PER_TURN * 2) % 2
        first = hall << 11 | self.panel.body.turning << 10 | UPSTREAM_AT_REST
        downstream = min(DOWNSTREAM_AT_REST + self._counts(), 0xFF)
        return f"S9{first:03X}0{downstream:02X}{int(self._volts() * 100 + 1e-6):03X}"

    def _pointers(self) -> str:
        ring = self.panel.ring
        head = (ring.head - self._invented.head_is_newest) % SIZE
        return f"{ring.tail:08X}{head:08X}"

    # infusion and programme

    def _mode(self) -> str:
        return "BOLUS" if self.panel.doing is Doing.BOLUS else "CONT"

    def _seconds(self) -> str:
        return self._q(self.panel.running_s) if self._invented.q3_is_elapsed else self._programmed_time()

    def _programmed_time(self) -> str:
        ml, ml_h = self.panel.limit_ml, self.panel.rate_ml_h
        return self._q(ml / ml_h * 3600 if ml and ml_h else 0)

    def _infused(self) -> str:
        return self._q(self.panel.infused_ml * 100)

    def _to_infuse(self) -> str:
        left_ml = self.panel.limit_left_ml if self._invented.q6_is_left else self.panel.limit_ml
        return self._q((left_ml or 0.0) * 100)

    def _programmed(self) -> str:
        return self._q((self.panel.limit_ml or 0.0) * 100)

    def _is_bolus(self) -> str:
        return str(int(self.panel.doing is Doing.BOLUS))

    def _bolus_rate(self) -> str:
        return self._q(BOLUS_ML_H * 100)

    def _bolus_infused(self) -> str:
        return self._q(self.panel.bolus_ml * 100)

    def _bolus_programmed(self) -> str:
        return self._q(self.panel.bolus_to_give_ml * 100)

    def _demand_bolus(self) -> str:
        return self._bolus_programmed() if self.panel.bolus_to_give_ml else "ERROR"

    def _runs(self) -> str:
        return "TRUE" if self.panel.running else "FALSE"

    def _rate(self) -> str:
        standing = not self.panel.running
        if standing and not self._invented.standing_rate_is_0:
            return f"{self.panel.rate_ml_h:.1f}"
        return f"{self.panel.motor_rate_ml_h:.1f}"

    def _programmed_rate(self) -> str:
        return f"{self.panel.rate_ml_h:.1f}"

    def _screenshot(self) -> None:
        self._late.append((self._at + self._invented.screenshot_s, self._framed("\0" * SCREEN_BYTES)))

    # orders

    def _record(self, digits: str) -> str:
        index = int(digits, 16)
        return f"RE{digits}{self.panel.ring.read(index).hex().upper()}" if index < SIZE else "REERROR"

    def _trigger(self, what: str) -> str:
        try:
            if what == "0":
                self.panel.power_off()
            elif what == "1":
                self.panel.start()
            else:
                self.panel.stop()
        except Refused:
            return "WT"  # the same answer, whatever comes of it
        return "WT"

    def _key(self, code: str) -> str:
        if code[0] not in KEY_NUMBERS or code[1] not in "012":
            return "KEERROR"
        try:
            self.panel.key(code, WIRE)
        except Refused:
            return f"KE{code}"
        return f"KE{code}"

    def _s9(self, on: str) -> str:
        self._s9_due = self._at + self._invented.s9_period_s if on == "1" else None
        return "W0"

    def _set_rate(self, text: str) -> str | None:
        try:
            self.panel.set_rate(float(text))
            taken = True
        except Refused:
            taken = False
        if self._invented.set_reply == "silence":
            return None
        return self._programmed_rate() if self._invented.set_reply == "value" else str(taken).upper()

    # a prescription: heard out, never believed, for neither its cipher nor its layout is known

    def _library_begin(self, serial: str) -> str:
        self._blocks = 0
        if self.panel.running:
            return f"LI{LIBRARY_STATE}"
        return f"LI{LIBRARY_GOOD if bytes.fromhex(serial) == self.serial.encode() else LIBRARY_SERIAL}"

    def _library_block(self, index: str) -> str:
        self._blocks += 1
        return f"LS{index}"

    def _library_confirm(self) -> str:
        return f"LC{LIBRARY_INPUT if self._blocks != LIBRARY_BLOCKS else LIBRARY_AUTHORISATION}"


LIBRARY_BLOCKS = 8
KEY_NUMBERS = "12345678"
ML_PER_HOUR = "0"  # invented: how a rate unit is told
MINUTES = "0"  # invented: how a time unit is told
READS: dict[str, Callable[[Mouth], str]] = {  # answered with their own letters before the data
    "RN": lambda mouth: mouth.serial,
    "RS": lambda mouth: mouth.firmware,
    "RL": Mouth._library,
    "RM": lambda mouth: PLATFORMS[mouth.platform],
    "RC": Mouth._clock,
    "RB": lambda mouth: "07E4",
    "R1": lambda mouth: f"{CALIBRATION:04X}",
    "R3": Mouth._total,
    "R7": Mouth._battery,
    "R8": Mouth._life,
    "R9": Mouth._on_time,
    "RA": lambda mouth: "03E8" + mouth._battery(),
    "RD": Mouth._occlusion_sensors,
    "RI": Mouth._pointers,
    "S9": lambda mouth: mouth._sensors()[2:],
    "Q0": Mouth._mode,
    "Q3": Mouth._seconds,
    "Q4": lambda mouth: ML_PER_HOUR,
    "Q5": Mouth._infused,
    "Q6": Mouth._to_infuse,
    "Q7": Mouth._is_bolus,
    "Q8": Mouth._bolus_rate,
    "Q9": Mouth._bolus_infused,
    "QA": Mouth._bolus_programmed,
    "QC": lambda mouth: ML_PER_HOUR,
    "QD": Mouth._programmed,
    "QE": Mouth._programmed_time,
    "QF": lambda mouth: MINUTES,
    "QG": Mouth._bolus_rate,
    "QH": lambda mouth: "ERROR",
    "QI": Mouth._demand_bolus,
}
QUESTIONS: dict[str, Callable[[Mouth], str | None]] = {  # answered with the bare value
    "*IDN?": lambda mouth: f"ZYNO MEDICAL,Z-800,{mouth.serial},{mouth.firmware}",
    ":SERIAL?": lambda mouth: mouth.serial,
    ":INFU:RUN?": Mouth._runs,
    ":INFU:RATE?": Mouth._rate,
    ":INFU:MODE?": Mouth._mode,
    ":PROTOCOL:RATE?": Mouth._programmed_rate,
    ":SERVICE:TIME?": lambda mouth: mouth._hex(mouth.panel.running_s, 8),
    ":TOTAL:TIME?": Mouth._on_time,
    ":KEY:LIST?": lambda mouth: "".join(KEY_CODES.values()),
    ":SCREENSHOT?": Mouth._screenshot,
}
ORDERS: tuple[tuple[re.Pattern[str], Callable[..., str | None]], ...] = (
    (re.compile(r"RE([0-9A-F]{8})"), Mouth._record),
    (re.compile(r"WT0([012])"), Mouth._trigger),
    (re.compile(r"W0([01])"), Mouth._s9),
    (re.compile(r"KE(..)"), Mouth._key),
    (re.compile(r":PROTOCOL:RATE (\d{1,4}(?:\.\d)?)", re.ASCII), Mouth._set_rate),
    (re.compile(r"LI([0-9A-Fa-f]{16})[0-9A-Fa-f]{16}"), Mouth._library_begin),
    (re.compile(r"LS([0-9A-Fa-f]{8})[0-9A-Fa-f]{128}"), Mouth._library_block),
    (re.compile(r"LC[0-9A-Fa-f]{32}"), Mouth._library_confirm),
)


def _build(setup: Setup) -> tuple[Panel, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    body = Volumetric(
        volumetric_model(setup.model, setup.seed),
        fill_ml=setup.fill_ml,
        alarm_mmhg=ALARM_MMHG,
        tubing=Tubing(sees_air=False),  # its log knows no air alarm
    )
    ring = Ring(
        options["log_at"],
        wrap_erases_page=invented.wrap_erases_page,
        time_top_digit=invented.log_time_top_digit,
    )
    panel = Panel(body, setup.battery, invented, ring)
    panel.rate_ml_h = options["programmed_rate_ml_h"]
    panel.limit_ml = options["programmed_volume_ml"] or None
    serial, firmware = options["serial_number"], options["firmware"]
    if len(serial) != 8:
        raise ValueError(f"serial number {serial!r}: expected 8 characters")
    return panel, Mouth(panel, invented, options["platform"], serial, firmware)


FAMILY = Family(
    name="zyno",
    description="Zyno Z-800, MIVA: volumetric pump with a cassette; its alarms stand in an event log",
    build=_build,
    keys=tuple(KEY_CODES),
    bauds=(BAUD,),
    default_baud=BAUD,
    invented=Invented,
    options=(
        Option("platform", "platform", "k", "k: frames with a sum; h: with an xor", choices=tuple(PLATFORMS)),
        Option("serial_number", "serial-number", "SN800008", "what it answers to RN, 8 characters"),
        Option("firmware", "firmware", "1.0.0", "what it answers to RS"),
        Option(
            "programmed_rate_ml_h", "programmed-rate", 0.0, "rate in its programme", float, "mL/h", (), 0, RATES_ML_H[1]
        ),
        Option("programmed_volume_ml", "programmed-volume", 0.0, "volume in it; 0: none", float, "mL", (), 0, 9999),
        Option("log_at", "log-at", 0, "how many old records its log holds", int, least=0, most=SIZE - 1),
    ),
    actions=ACTIONS,
    kinds=("volumetric",),
    fill_ml=250.0,
    battery_min=240.0,
)
