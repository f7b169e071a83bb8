"""The wire of the New Era family: packets of both modes, four-digit numbers, and what an answer means.

"Section" means a section of docs/devices/newera.md.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal
from enum import Enum
from typing import NamedTuple

from pumpd.driver import Damaged, Frame, Garbled, Grid, Motion, Refused
from pumpd.units import Ml, MlPerHour

STX, ETX, CR = 0x02, 0x03, b"\r"
DIGITS = range(0x30, 0x3A)
SHORTEST_PACKET = 0x05  # length byte of a Safe packet with one byte of text (section "Framing")
LONGEST_PACKET = 0x2F  # the longest documented reply has 0x15; below "0", so the byte after STX tells the framing
INTER_BYTE_S = 0.5  # manual: a packet with a longer gap inside is dropped (section "Framing")

# At most four digits and a point; fixed width from a real pump, shorter from some stand-ins (section "Numbers").
NUMBER = r"(\d{1,4}\.?|\d{0,3}\.\d|\d{0,2}\.\d\d|\d?\.\d{3})"
# Four digits: the step grows with the value (section "Numbers").
BANDS = tuple(
    (Decimal(below), Decimal(step)) for below, step in ((10, "0.001"), (100, "0.01"), (1000, "0.1"), (10000, 1))
)
SMALLEST, LARGEST = Decimal("0.001"), Decimal(9999)
ANY_NUMBER = Grid(SMALLEST, LARGEST, BANDS)

MOTIONS = {
    "I": Motion.INFUSING,
    "W": Motion.WITHDRAWING,
    "S": Motion.STANDING,
    "P": Motion.STANDING,
    "X": Motion.PURGING,
    "T": Motion.UNKNOWN,  # timed pause phase: stands now and goes on by itself
    "U": Motion.UNKNOWN,  # waits for its trigger input, which may start it at any moment
}
REFUSALS = {"?": "does not know it", "?NA": "not applicable now", "?OOR": "out of range"}

COUNTED = re.compile(rf"I{NUMBER}W{NUMBER}(UL|ML)")
VERSION = re.compile(r"([A-Z]{2}\d+)((?:X\d*)?V\d+\.\d+)")
FLAG = re.compile("[01]")
READINGS = {
    "SAF": re.compile(r"\d{1,3}"),
    "DIA": re.compile(NUMBER),
    "PHN": re.compile(r"\d{1,2}"),
    "FUN": re.compile(r"[A-Z]{3}[A-Z0-9.]*"),
    "DIR": re.compile("INF|WDR"),
    "PF": FLAG,
    "TRG": re.compile("[A-Z][A-Z0-9]"),
    "DIN": FLAG,
    "AL": FLAG,
    "LOC": FLAG,
    "VOL": re.compile(rf"{NUMBER}(UL|ML)"),
    "RAT": re.compile(rf"{NUMBER}(UM|MM|UH|MH)"),
}
ML_PER = {"UL": Decimal("0.001"), "ML": Decimal(1)}
ML_PER_HOUR = {"UM": Decimal("0.060"), "MM": Decimal(60), "UH": Decimal("0.001"), "MH": Decimal(1)}


class Alarmed(Refused):
    """The pump answered with an alarm: the order was not carried out, the alarm is acknowledged."""


class Answer(NamedTuple):
    """A reply without address: what the pump does (one letter) and its data, which may be an error such as `?NA`."""

    status: str
    data: str


class Framing(Enum):
    """The two packet forms of the family."""

    BASIC = "basic"
    SAFE = "safe"


# --- numbers ----------------------------------------------------------------------------------------------------------


def spell(value: Decimal) -> str:
    """The pump's five characters for `value` (0.001 to 9999). Raises ValueError when it is not exactly settable."""
    if ANY_NUMBER.down(value) != value:
        raise ValueError(f"{value:f} is not a number the pump can be set to: 0.001 to 9999, at most four digits")
    decimals = -int(ANY_NUMBER.step_at(value).log10())
    return f"{value:.{decimals}f}" if decimals else f"{value:.0f}."


def plain(number: Decimal) -> str:
    """One spelling for equal numbers, for comparing what was read."""
    return f"{number.normalize():f}"


def on_grid(value: Decimal, rounding: str = ROUND_FLOOR) -> Decimal:
    """The nearest settable number on the side `rounding` names, at most 9999."""
    step = ANY_NUMBER.step_at(value)
    return min((value / step).to_integral_value(rounding) * step, LARGEST)


# --- bytes ------------------------------------------------------------------------------------------------------------


def safe_packet(text: str) -> bytes:
    """`text` as a Safe mode packet: length, text, CRC-16 (polynomial 0x1021, start 0) high byte first."""
    data = text.encode("ascii")
    return bytes([STX, len(data) + 4]) + data + crc_hqx(data, 0).to_bytes(2, "big") + bytes([ETX])


class NewEraFramer:
    """Cuts Safe and Basic packets. While `framing` is None both are taken: the byte after STX tells which it is."""

    _BASIC = re.compile(rb"\x02[\x20-\x7e]{0,43}")  # as much text as the longest Safe packet
    _TEXT = re.compile(rb"(\d{1,2})(?:A\?([\x20-\x7e]*)|([A-Z][\x20-\x7e]*))")

    def __init__(self) -> None:
        self.framing: Framing | None = None  # what is listened to
        self.heard: Framing | None = None  # how the latest frame came
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        self._buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give `reply` frames (state letter, then data) and `alarm` frames (what follows `A?`)."""
        while (found := self._next()) is not None:
            yield found

    def silence(self, seconds: float) -> None:
        """Drop a half packet after the family's inter-byte time-out."""
        if seconds >= INTER_BYTE_S:
            self.reset()

    def reset(self) -> None:
        """Forget a half packet."""
        self._buffer.clear()

    def _next(self) -> Frame | Damaged | None:
        while (start := self._buffer.find(STX)) >= 0:
            del self._buffer[:start]
            if len(self._buffer) < 2:
                return None
            if self._is_basic(self._buffer[1]):
                so_far = self._BASIC.match(self._buffer)
                end = so_far.end() if so_far else 0
                if end == len(self._buffer):
                    return None
                if end < len(self._buffer) and self._buffer[end] == ETX:
                    return self._decode(self._cut(end + 1)[1:-1], Framing.BASIC)
            elif self._is_safe(self._buffer[1]):
                size = self._buffer[1] + 1
                if len(self._buffer) < size:
                    return None
                return self._checked(size)
            self._cut(1)  # this STX begins no packet: over-long, or noise
        self._buffer.clear()
        return None

    def _is_basic(self, second: int) -> bool:
        return self.framing is not Framing.SAFE and second in DIGITS

    def _is_safe(self, second: int) -> bool:
        return self.framing is not Framing.BASIC and SHORTEST_PACKET <= second <= LONGEST_PACKET

    def _checked(self, size: int) -> Frame | Damaged:
        packet = bytes(self._buffer[:size])
        if packet[-1] != ETX or crc_hqx(packet[2:-3], 0) != int.from_bytes(packet[-3:-1], "big"):
            self._cut(1)  # only its STX: a wrong length byte must not swallow the packet behind it
            return Damaged(packet, "checksum or end of packet is wrong")
        self._cut(size)
        return self._decode(packet[2:-3], Framing.SAFE)

    def _decode(self, text: bytes, framing: Framing) -> Frame | Damaged:
        parts = self._TEXT.fullmatch(text)
        if parts is None:
            return Damaged(text, "no address and status")
        self.heard = framing
        address = parts[1].decode().zfill(2)
        return Frame("reply", parts[3], address) if parts[2] is None else Frame("alarm", parts[2], address)

    def _cut(self, size: int) -> bytes:
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        return head


# --- answers ----------------------------------------------------------------------------------------------------------


def read_answer(command: str, frame: Frame) -> Answer:
    """Raises Alarmed for an alarm in place of the answer, Garbled for an unknown state letter."""
    text = frame.data.decode("ascii")
    if frame.kind == "alarm":
        raise Alarmed(f"{command or 'status'}: not carried out, the pump answers with the alarm A?{text}")
    if text[0] not in MOTIONS:
        raise Garbled(f"{command or 'status'}: unknown state {text[0]} in {text}")
    return Answer(text[0], text[1:])


def complaint(command: str, data: str) -> Refused | Garbled:
    """What an answer means that is not the wanted one: a refusal, a damaged question (`?COM`, `?IGN`), or nonsense."""
    if data in REFUSALS:
        return Refused(f"{command}: the pump says {data} ({REFUSALS[data]})")
    return Garbled(f"{command}: {data or 'nothing but a state'} is no answer to it")


def comparable(name: str, reading: re.Match[str]) -> str:
    """The reading of setting `name` in the one spelling it is compared in."""
    if name in ("SAF", "PHN"):
        return str(int(reading[0]))
    if name in ("DIA", "VOL", "RAT"):
        return plain(Decimal(reading[1])) + reading[0][len(reading[1]) :]
    return reading[0]


def volume_of(reading: re.Match[str]) -> Ml:
    """The volume of a `VOL` reading, in mL whatever unit the pump uses."""
    return Ml(Decimal(reading[1]) * ML_PER[reading[2]])


def rate_of(reading: re.Match[str]) -> MlPerHour:
    """The rate of a `RAT` reading, in mL/h whatever unit the pump uses."""
    return MlPerHour(Decimal(reading[1]) * ML_PER_HOUR[reading[2]])
