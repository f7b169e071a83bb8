"""The wire of the Alaris / Asena family: frames with a checksum, words between carets, and what a status says.

"Section" means a section of docs/devices/alaris.md.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pumpd.driver import Damaged, Frame, Garbled, Grid, Motion
from pumpd.units import Ml, MlPerHour

START, ABORT = b"!", b"\x1b"
LONGEST_FRAME = 256  # the longest seen is 83; a drug name and two alarm texts may add to it, anything longer is noise
INTER_BYTE_S = 1.0  # not documented; a frame of 80 bytes takes 21 ms at 38400 baud

RATES = Grid(Decimal("0.1"), Decimal(1200), ((Decimal(1201), Decimal("0.1")),))  # section "Numbers"
LIMITS = Grid(Decimal("0.001"), Decimal(50), ((Decimal(51), Decimal("0.001")),))
COUNTER = Grid(Decimal(0), Decimal("9999.999"), ((Decimal(10000), Decimal("0.001")),))

RATE = re.compile(r"\d{1,4}\.\d\d")
VOLUME = re.compile(r"\d{1,4}\.\d{3}")
SIZE = re.compile(r"\d{1,3}")
NO_FLAG = "-"
INFUSES, HELD = "SET", "HLD"  # the only two mode words that were ever seen (section "Status")
STATUS_WORDS = 14


# --- bytes ------------------------------------------------------------------------------------------------------------


def spell(*words: str) -> bytes:
    """The frame of these words."""
    body = "^".join(words).encode("ascii")
    return b"!%b|%04X\r" % (body, checksum(body))


def checksum(data: bytes) -> int:
    """CRC-16, polynomial 0x1021, start 0xFFFF, not reflected."""
    return crc_hqx(data, 0xFFFF)


def security_code(serial: str) -> str:
    """What REMOTE_CTRL wants to hear from whoever knows the pump's serial number."""
    return f"{checksum(serial.encode('ascii')):04X}"


class AlarisFramer:
    """Cuts frames `!body|CRC`. The CR behind one is not waited for.

    Some stand-in pumps leave it out, and the checksum has told already that the frame is whole. A `!` within a body
    may be the begin of a frame behind half of another, so each `!` is tried: the checksum tells which one it was.
    """

    _END = re.compile(rb"\|[0-9A-F]{4}|\r|\x1b")
    _BODY = re.compile(rb"[\x20-\x7e]+")

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        self._buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give `reply` frames: the body without start and checksum."""
        while (found := self._next()) is not None:
            yield found

    def silence(self, seconds: float) -> None:
        """Drop half a frame after a gap no pump makes."""
        if seconds >= INTER_BYTE_S:
            self.reset()

    def reset(self) -> None:
        """Forget half a frame."""
        self._buffer.clear()

    def _next(self) -> Frame | Damaged | None:
        while (start := self._buffer.find(START)) >= 0:
            del self._buffer[:start]
            end = self._END.search(self._buffer)
            if end is None:
                if len(self._buffer) <= LONGEST_FRAME:
                    return None
                del self._buffer[:1]
                continue
            begun = bytes(self._buffer[: end.start()])
            mark, behind = end[0], end.end()
            del self._buffer[:behind]
            if mark == ABORT:  # the pump takes back what it began to say
                continue
            return self._checked(begun, mark)
        self._buffer.clear()
        return None

    def _checked(self, begun: bytes, mark: bytes) -> Frame | Damaged:
        if mark != b"\r":
            for start in (at for at, byte in enumerate(begun) if byte == START[0]):
                body = begun[start + 1 :]
                if self._BODY.fullmatch(body) and b"|%04X" % checksum(body) == mark:
                    return Frame("reply", body)
        return Damaged(begun + mark, "checksum or end of frame is wrong")


# --- answers ----------------------------------------------------------------------------------------------------------


def words_of(frame: Frame) -> list[str]:
    """The words of a frame, without the blanks some are padded with."""
    return [word.strip() for word in frame.data.decode("ascii").split("^")]


@dataclass(frozen=True, slots=True)
class Status:
    """What INF answers, as far as it is used. `mode` is the pump's raw word."""

    serial: str
    flag: str
    mode: str
    rate: MlPerHour
    counted: Ml
    log: str = ""  # id of the newest entry of its log, "" where it tells none

    @property
    def alarmed(self) -> bool:
        """Any flag but the known "none"."""
        return self.flag != NO_FLAG


def read_status(words: list[str]) -> Status:
    """Raises Garbled unless every word that is used reads as documented."""
    if len(words) != STATUS_WORDS or words[5] != "ml/h" or words[8] != "ml":
        raise Garbled(f"INF: {'^'.join(words)} is no status")
    rate, counted = MlPerHour(number(words[4], RATE)), Ml(number(words[7], VOLUME))
    return Status(words[1], words[2], words[3], rate, counted, words[13])


def number(text: str, form: re.Pattern[str]) -> Decimal:
    """The number in exactly the documented form, else Garbled."""
    if form.fullmatch(text) is None:
        raise Garbled(f"{text or 'nothing'} is not a number as this pump says it")
    return Decimal(text)


def spell_rate(rate: MlPerHour) -> str:
    """Two decimals, as the pump answers. Raises ValueError when it is not exactly settable."""
    return f"{_settable(rate.value, RATES, 'rate'):.2f}"


def spell_limit(limit: Ml) -> str:
    """Three decimals. Raises ValueError when it is not exactly settable."""
    return f"{_settable(limit.value, LIMITS, 'volume limit'):.3f}"


def _settable(value: Decimal, grid: Grid, name: str) -> Decimal:
    if grid.down(value) != value:
        step = grid.step_at(value)
        raise ValueError(f"{value:f} is not a {name} the pump can be set to: {grid.least} to {grid.most}, step {step}")
    return value


# --- whose doing is an entry of its log? ------------------------------------------------------------------------------

ENTRY_READINGS = 2  # after an order: its entry may show no sooner than in the second


class Log:
    """Watches the id of the pump's newest log entry. A jump that no order of ours explains is somebody at the keypad.

    Whether renewing remote control writes an entry is not known: a jump after a renewal is laid to it only if the
    renewal before was followed by one, too.
    """

    def __init__(self) -> None:
        self._entry = ""
        self._order_may_show = 0  # in so many readings more
        self._renewal_may_show = 0
        self._renewal_showed = False
        self._renewals_show = True  # until one did not

    def ordered(self) -> None:
        """An order goes out."""
        self._order_may_show = ENTRY_READINGS

    def renewed(self) -> None:
        """Remote control is renewed."""
        self._renewal_may_show, self._renewal_showed = ENTRY_READINGS, False

    def strange(self, entry: str) -> bool:
        """Take the id of a reading; True when it has changed and neither order nor renewal explains that."""
        jumped = "" not in (entry, self._entry) and entry != self._entry
        self._entry = entry or self._entry
        strange = jumped and not self._order_may_show and not (self._renewal_may_show and self._renewals_show)
        self._order_may_show = max(self._order_may_show - 1, 0)
        if self._renewal_may_show:
            self._renewal_may_show -= 1
            self._renewal_showed = self._renewal_showed or jumped
            if not self._renewal_may_show:
                self._renewals_show = self._renewal_showed
        return strange


# --- does it move? ----------------------------------------------------------------------------------------------------

STILL_S = 0.8  # how long the counter is watched; with the questions it ends before the next reading is due
COUNT_ML = Decimal("0.001")
SLOWEST_SEEN = MlPerHour(COUNT_ML * 3600 / Decimal(str(STILL_S)))  # 4.5 mL/h: from here on a count falls within STILL_S


def may_stand(status: Status) -> bool:
    """Worth watching its counter: by its words nothing flows, or it is held and a count at its rate would show."""
    return not status.rate or (status.mode == HELD and status.rate >= SLOWEST_SEEN)


def motion_of(earlier: Status, later: Status) -> Motion:
    """What two readings, STILL_S or more apart, say together: standing only where words and counter agree on it."""
    if may_stand(earlier) and may_stand(later) and earlier.counted == later.counted:
        return Motion.STANDING
    return moving(later)


def moving(status: Status) -> Motion:
    """What a pump does that is not proved to stand: whatever its words leave open is unknown."""
    return Motion.INFUSING if status.mode == INFUSES and status.rate else Motion.UNKNOWN
