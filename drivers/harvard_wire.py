"""The wire of Harvard's ULTRA command set: replies that end in XON, numbers whose unit scales by itself.

"Section" means a section of docs/devices/harvard.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from pumpd.driver import Damaged, Frame, Garbled, Grid, Motion
from pumpd.units import Ml, MlPerHour

XON = b"\x11"
LONGEST_REPLY = 1024  # the longest that is asked for has four lines of at most 80 characters
INTER_BYTE_S = 0.3  # a reply comes in one piece; field programs take 0.1 s of silence for its end
DIGITS = 6  # of every number but the diameter (section "Numbers")

REPLY = re.compile(rb"((?:\n[\x20-\x7e]*\r)*)\n(\d\d)?([:<>]|[<>T]?\*)")
UNENDED = re.compile(rb"((?:\n[\x20-\x7e]*\r)*)\n([:<>]|T?\*)")  # without XON: only where no address can look the same
FAULT = re.compile(r"(Command|Argument|Range) error\b")

NUMBER = r"(\d{1,9}(?:\.\d{1,12})?)"
VOLUME = re.compile(rf"{NUMBER} (ml|ul|nl|pl)")
TARGET = re.compile(rf"{VOLUME.pattern}|Target volume not set\.?")
RATE = re.compile(rf"{NUMBER} (ml|ul|nl|pl)/(hr|min|sec)")
RUNNING_RATE = re.compile(rf"(?:Infusing|Withdrawing) at {RATE.pattern}")
RATE_RANGE = re.compile(rf"{RATE.pattern} to {RATE.pattern}")
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) seconds?|(\d{1,3}):(\d\d):(\d\d)")
TARGET_TIME = re.compile(rf"{TIME.pattern}|Target time not set\.?")
DIAMETER = re.compile(rf"{NUMBER} mm")
STATUS = re.compile(r"(\d{1,20}) \d{1,12} (\d{1,20}) ([iIwW])([iIwW.])([S.])([T.])[iIwW.]([T.]?)")

ML_PER = {"ml": Decimal(1), "ul": Decimal("1e-3"), "nl": Decimal("1e-6"), "pl": Decimal("1e-9")}
PER_HOUR = {"hr": 1, "min": 60, "sec": 3600}
ML_PER_FL = Decimal("1e-12")

# What is sent: steps so wide that six digits tell one from the next whatever unit the pump answers in.
RATE_BANDS = tuple(
    (Decimal(below), Decimal(step))
    for below, step in ((50, "0.001"), (500, "0.01"), (5000, "0.1"), (50000, 1), (500000, 10))
)
SMALLEST = Decimal("0.001")  # mL; 1 ul
LIMIT_BANDS = ((Decimal(1000), SMALLEST),)
# What is read: six digits, in microlitres below 1 mL.
COUNTER_BANDS = tuple(
    (Decimal(below), Decimal(step)) for below, step in ((1, "1e-6"), (10, "1e-5"), (100, "1e-4"), (1000, "1e-3"))
)
LONGEST_S = 359_999  # 99:59:59

MOVING = {">": ("I", Motion.INFUSING), "<": ("W", Motion.WITHDRAWING)}
REACHED, STALLED, INFUSE_LIMIT, WITHDRAW_LIMIT = "T*", "*", ">*", "<*"


class Reply(NamedTuple):
    """One answer: the prompt that ends it, and the lines of text before."""

    prompt: str
    lines: tuple[str, ...]

    @property
    def fault(self) -> str:
        """Why the pump did not do it, in its words; empty when it did."""
        return " ".join(" ".join(self.lines).split()) if self.lines and FAULT.match(self.lines[0]) else ""


class Status(NamedTuple):
    """The raw status: what the pump does by two witnesses, its flags and the prompt behind them."""

    prompt: str
    rate: MlPerHour
    volume: Ml
    direction: str
    limit_switch: str
    stalled: bool
    triggered: bool

    @property
    def motion(self) -> Motion | None:
        """What flags and prompt agree on; None when they do not. One changed byte is never enough to stand."""
        if self.prompt in MOVING:
            letter, motion = MOVING[self.prompt]
            return motion if self.direction == letter else None
        if self.direction.islower():
            return Motion.STANDING
        return Motion.UNKNOWN if self.prompt == STALLED and self.stalled else None


# --- bytes ------------------------------------------------------------------------------------------------------------


class HarvardFramer:
    """Cuts replies at XON; while not `polled` also at a prompt without address, which is all that such a pump sends."""

    def __init__(self) -> None:
        self.polled = True
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        self._buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give `reply` frames: the prompt, then the lines of text, between line feeds."""
        while XON in self._buffer:
            reply, _, self._buffer = self._buffer.partition(XON)
            yield self._cut(reply)
        if not self.polled:
            self._buffer = self._buffer[max(0, self._buffer.find(b"\n")) :]
            if UNENDED.fullmatch(self._buffer):
                reply, self._buffer = self._buffer, b""
                yield self._cut(reply)
        if len(self._buffer) > LONGEST_REPLY:
            noise, self._buffer = self._buffer, b""
            yield Damaged(noise, "no end of reply")

    def silence(self, seconds: float) -> None:
        """Drop half a reply after a gap inside it."""
        if seconds >= INTER_BYTE_S:
            self.reset()

    def reset(self) -> None:
        """Forget half a reply."""
        self._buffer = b""

    def _cut(self, data: bytes) -> Frame | Damaged:
        if not self.polled and not data:
            return Damaged(data, "an XON alone")
        parts = REPLY.fullmatch(data)
        if parts is None:
            return Damaged(data, "not lines of text and a prompt")
        address = (parts[2] or b"").decode()
        lines = [line[1:] for line in parts[1].split(b"\r")[:-1]]
        if address:
            start = f"{address}:".encode()
            if not all(line.startswith(start) for line in lines):
                return Damaged(data, "lines and prompt of different addresses")
            lines = [line[len(start) :] for line in lines]
        return Frame("reply", b"\n".join([parts[3], *lines]), address)


def reply_of(frame: Frame) -> Reply:
    """Prompt and text of a frame."""
    prompt, *lines = frame.data.decode("ascii").split("\n")
    return Reply(prompt, tuple(lines))


def tells(frame: Frame) -> bool:
    """It may answer a question: it has text. A bare prompt answers an order."""
    return b"\n" in frame.data


def obeys(frame: Frame) -> bool:
    """It may answer an order: a bare prompt, or why not."""
    return not tells(frame) or bool(reply_of(frame).fault)


# --- values -----------------------------------------------------------------------------------------------------------


def plain(number: Decimal) -> str:
    """Digits and a point only, without trailing zeros: one spelling for equal numbers."""
    return f"{number.normalize():f}"


def volume_of(reading: re.Match[str]) -> Ml | None:
    """The volume in mL whatever unit the pump chose; None where none is set."""
    return Ml(Decimal(reading[1]) * ML_PER[reading[2]]) if reading[1] else None


def rate_of(reading: re.Match[str]) -> MlPerHour:
    """The rate in mL/h whatever unit the pump chose: the settable one within its last digit, else as read."""
    number, scale = Decimal(reading[1]), ML_PER[reading[2]] * PER_HOUR[reading[3]]
    value = number * scale
    step = Grid(SMALLEST, value, RATE_BANDS).step_at(value)
    settable = (value / step).to_integral_value(ROUND_HALF_EVEN) * step
    return MlPerHour(settable if abs(settable - value) <= last_digit(number) * scale else value)


def seconds_of(reading: re.Match[str]) -> Decimal | None:
    """The time in seconds; None where none is set."""
    if reading[1]:
        return Decimal(reading[1])
    return Decimal(int(reading[2]) * 3600 + int(reading[3]) * 60 + int(reading[4])) if reading[2] else None


def last_digit(number: Decimal) -> Decimal:
    """What the sixth digit of `number` is worth; the pump drops zeros behind, not digits."""
    return Decimal(1).scaleb(number.adjusted() + 1 - DIGITS) if number else Decimal(0)


def target_above(counted: Ml, limit: Ml) -> Ml:
    """The target that lets `limit` pass from `counted` on, rounded down to the six digits that the pump reads back."""
    target = counted.value + limit.value
    step = last_digit(target)
    return Ml((target / step).to_integral_value(ROUND_FLOOR) * step)


def spell_time(seconds: int) -> str:
    """hh:mm:ss."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def status_of(reply: Reply) -> Status:
    """Raises Garbled for anything but a status."""
    reading = STATUS.fullmatch(reply.lines[0]) if len(reply.lines) == 1 else None
    if reading is None:
        raise Garbled(f"status: answered {' / '.join(reply.lines)!r}")
    return Status(
        reply.prompt,
        MlPerHour(Decimal(reading[1]) * ML_PER_FL * 3600),
        Ml(Decimal(reading[2]) * ML_PER_FL),
        reading[3],
        reading[4],
        reading[5] == "S",
        reading[6] == "T",
    )
