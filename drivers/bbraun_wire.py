"""The wire of the B. Braun dianet star family: frames, their check, the segments, and what the status words mean.

"Section" means a section of docs/devices/bbraun.md. All numbers are big endian; all bits one means "not told".
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from enum import IntEnum
from typing import Any, NamedTuple

from pumpd.driver import Damaged, Frame, Garbled, Grid, Motion, Refused
from pumpd.units import Ml, MlPerHour

FLAG, ESCAPE, ACTIVATION = 0x7E, 0x7D, 0x80  # section "Framing"; the last calls a monitor and is in no answer
STUFFED = {byte: bytes([ESCAPE, byte ^ 0x20]) for byte in (FLAG, ESCAPE, ACTIVATION)}
UNSTUFFED = {stuffed[1]: byte for byte, stuffed in STUFFED.items()}
ACK, NAK = 0x06, 0x15
LONGEST_FRAME = 160  # the longest answer (history) is 67 bytes with its check; each may be stuffed, plus two flags
FRAME_TIMEOUT_S = 0.4  # the compact's; the fm's is 0.3 (section "Timing")
NO_ADDRESS = b"\x00"  # until the pump was given a letter

CRC_TABLE = tuple(crc_hqx(bytes([byte]), 0) for byte in range(256))  # polynomial 0x1021


class Segment(IntEnum):
    """The kinds of block (section "Segments")."""

    IDENT = 0x01
    STATUS = 0x02
    ACTUAL = 0x03
    SET_VALUES = 0x04
    LIMITS = 0x06
    DOSE = 0x07
    CONTROL = 0x10
    ACTION = 0x11
    WRITE_VALUES = 0x12


class Action(IntEnum):
    """Those of the actions that the driver orders."""

    RUN = 0x00
    DATA_LOCK = 0x02


class Mode(IntEnum):
    """Who may operate the pump."""

    DOCUMENTATION = 0
    REMOTE_AND_KEYPAD = 1


CRC_WRONG, FRAME_WRONG, KEYPAD_BUSY, ADDRESS_WRONG, MODE_WRONG = 0x01, 0x02, 0x04, 0x08, 0x09
DAMAGED_ON_THE_WAY = (CRC_WRONG, FRAME_WRONG)
NOT_CONTROLLED = (ADDRESS_WRONG, MODE_WRONG)
REFUSALS = {
    0x00: "gives no reason",
    CRC_WRONG: "the check of our frame was wrong",
    FRAME_WRONG: "our frame was wrong",
    0x03: "does not know this segment",
    KEYPAD_BUSY: "somebody is at its keypad",
    0x05: "this is not its identity; it is in documentation mode now",
    0x06: "value out of range",
    0x07: "wrong length",
    ADDRESS_WRONG: "wrong address",
    MODE_WRONG: "not in this mode; it is not under remote control",
    0x0B: "the clock cannot be set while it runs",
    0x0C: "this cannot be done now",
    0x0D: "the values do not fit together",
}


class WrongAddress(Refused):
    """The pump has another address now."""


# --- bytes ------------------------------------------------------------------------------------------------------------


def crc16(block: bytes) -> int:
    """Polynomial 0x1021, start FFFF, the byte entering at the low end with nothing appended: not CRC-16/CCITT-FALSE."""
    crc = 0xFFFF
    for byte in block:
        crc = ((crc << 8) & 0xFFFF | byte) ^ CRC_TABLE[crc >> 8]
    return crc


def framed(block: bytes) -> bytes:
    """`block` with its check, stuffed, between two flags."""
    checked = block + crc16(block).to_bytes(2, "big")
    return bytes([FLAG]) + b"".join(STUFFED.get(byte, bytes([byte])) for byte in checked) + bytes([FLAG])


def unstuffed(data: bytes) -> bytes | None:
    """None when it holds what no pump sends: a bare activation byte, or an escape before anything but the three."""
    found, rest = bytearray(), iter(data)
    for byte in rest:
        if byte == ACTIVATION:
            return None
        if byte == ESCAPE:
            escaped = UNSTUFFED.get(next(rest, FLAG))
            if escaped is None:
                return None
            byte = escaped  # noqa: PLW2901  # what the two bytes stand for
        found.append(byte)
    return bytes(found)


class BBraunFramer:
    """Gives `ack` frames (segment, then data) and `nak` frames (segment, then the reason).

    One flag may end a frame and begin the next.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        self._buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give every whole frame. Bytes before the first flag belong to no frame."""
        while (begin := self._buffer.find(FLAG)) >= 0:
            del self._buffer[:begin]
            end = self._buffer.find(FLAG, 1)
            if end < 0:
                break
            body = bytes(self._buffer[1:end])
            del self._buffer[:end]  # its flag stays: perhaps the next frame begins with it
            if body.strip(bytes([ACTIVATION])):
                yield decoded(body)
        if self._buffer[:1] != bytes([FLAG]) or len(self._buffer) > LONGEST_FRAME:
            self._buffer.clear()

    def silence(self, seconds: float) -> None:
        """Drop half a frame after the family's frame time-out."""
        if seconds >= FRAME_TIMEOUT_S:
            self.reset()

    def reset(self) -> None:
        """Forget half a frame."""
        self._buffer.clear()


def decoded(body: bytes) -> Frame | Damaged:
    """What stood between two flags."""
    block = unstuffed(body)
    if block is None or len(block) < 5 or crc16(block[:-2]) != int.from_bytes(block[-2:], "big"):
        return Damaged(body, "stuffing, length or checksum is wrong")
    address, segment, word, data = block[:1], block[1:2], block[2], block[3:-2]
    if word not in (ACK, NAK) or (word == NAK and len(data) != 1):
        return Damaged(body, "neither a yes nor a no of the pump")
    return Frame("ack" if word == ACK else "nak", segment + data, address_text(address))


def address_text(address: bytes) -> str:
    """The letter, or "" where none was given yet."""
    return address.strip(NO_ADDRESS).decode("latin-1")


# --- numbers ----------------------------------------------------------------------------------------------------------

RATE_UNIT, VOLUME_UNIT = Decimal("0.01"), Decimal("0.1")  # mL/h and mL for each count
HIGHEST_RATE, LARGEST_VOLUME = Decimal("999.9"), Decimal("999.9")  # ours; each pump tells its own (section "Numbers")
VOLUMES = Grid(VOLUME_UNIT, LARGEST_VOLUME, ((LARGEST_VOLUME + 1, VOLUME_UNIT),))
COUNTER = Grid(Decimal(0), Decimal(99999), ((Decimal(100000), VOLUME_UNIT),))
NOT_TOLD_1, NOT_TOLD_2, NOT_TOLD_4 = 0xFF, 0xFFFF, 0xFFFFFFFF


def rates(decimals: int) -> Grid:
    """The rates that can be set on a pump that takes so many decimals."""
    step = Decimal(1).scaleb(-decimals)
    return Grid(step, HIGHEST_RATE, ((HIGHEST_RATE + 1, step),))


def counts(value: Decimal, grid: Grid, unit: Decimal) -> int:
    """The pump's own number for `value`. Raises ValueError when it is not exactly settable; 0 never is."""
    if grid.down(value) != value:
        raise ValueError(
            f"{value:f} cannot be set: {grid.least} to {grid.most} in steps of {grid.step_at(value)}, and never 0"
        )
    return int(value / unit)


def rate_of(count: int) -> MlPerHour | None:
    """None where the pump tells none."""
    return None if count == NOT_TOLD_4 else MlPerHour(count * RATE_UNIT)


def volume_of(count: int) -> Ml | None:
    """None where the pump tells none."""
    return None if count == NOT_TOLD_4 else Ml(count * VOLUME_UNIT)


# --- what is written --------------------------------------------------------------------------------------------------


def control(identnr: int, mode: Mode, address: bytes) -> bytes:
    """CC_MODE: the pump obeys only who knows its identity, sent with every bit inverted. The clock is left alone."""
    return struct.pack(">IB1sI", identnr ^ NOT_TOLD_4, mode, address, NOT_TOLD_4)


def values(rate: int, limit: int = NOT_TOLD_4) -> bytes:
    """The set values: a rate and perhaps a volume limit; everything else stays as it is."""
    return struct.pack(
        ">IIHIHBH20s", rate, limit, NOT_TOLD_2, NOT_TOLD_4, NOT_TOLD_2, NOT_TOLD_1, NOT_TOLD_2, b"\xff" * 20
    )


# --- what is read -----------------------------------------------------------------------------------------------------


class Ident(NamedTuple):
    """Who answers."""

    identnr: int
    protocol: int
    software: bytes
    unix_time: int

    @property
    def type_number(self) -> int:
        """Which pump of the family."""
        return self.identnr >> 18

    @property
    def serial(self) -> int:
        """Counted for each type."""
        return self.identnr & 0x3FFFF


class Actual(NamedTuple):
    """Actual values: what was given, and with which syringe."""

    pressure: int
    infused: int
    infused_min: int
    interval_left_min: int
    battery_min: int
    standby_min: int
    syringe_ml: int
    interval_min: int
    interval_volume: int
    bolus_volume: int


class SetValues(NamedTuple):
    """Set values, as somebody wrote or dialled them."""

    rate: int
    limit: int
    minutes: int
    bolus_rate: int
    bolus_volume: int
    pressure_step: int
    standby_min: int
    drug: bytes


class Limits(NamedTuple):
    """What this pump can be set to."""

    bolus_rate_most: int
    call_type: int
    decimals: int
    rate_most: int
    rate_least: int
    pre_alarm_min: int
    special: int
    pressure_most: int
    volume_most: int
    bolus_volume_most: int
    bolus_rate_least: int
    bolus_volume_least: int
    bolus_decimals: int
    local_rate_most: int
    local_rate_least: int
    remote_rate_most: int
    remote_rate_least: int


IDENT, STATUS, ACTUAL = struct.Struct(">IH10sI"), struct.Struct(">BIIIIH"), struct.Struct(">BIHHHHHHHH")
SET_VALUES, LIMITS = struct.Struct(">IIHIHBH20s"), struct.Struct(">IBBIIBIBIHIHBIIII")


def within(grid: Grid, told: Limits) -> Grid:
    """What of the grid this pump takes under remote control."""
    least, most = rate_of(told.remote_rate_least), rate_of(told.remote_rate_most)
    step = grid.step_at(grid.least)
    slowest = grid.least if least is None else (least.value / step).to_integral_value(ROUND_CEILING) * step
    return replace(
        grid,
        least=max(grid.least, slowest),
        most=grid.most if most is None else min(grid.most, most.value),
    )


def fields(layout: struct.Struct, frame: Frame) -> tuple[Any, ...]:
    """The numbers of an answer. Raises Garbled when it is too short or too long."""
    data = frame.data[1:]
    if len(data) != layout.size:
        raise Garbled(f"segment {frame.data[0]:02X}: {len(data)} bytes instead of {layout.size}")
    return layout.unpack(data)


def complaint(frame: Frame, what: str) -> Refused | Garbled:
    """What a NAK means for who asked."""
    reason = frame.data[1]
    words = f"{what}: the pump says no ({reason:02X}: {REFUSALS.get(reason, 'a reason that is not known')})"
    if reason in DAMAGED_ON_THE_WAY:
        return Garbled(words)
    return WrongAddress(words) if reason == ADDRESS_WRONG else Refused(words)


# --- the status words -------------------------------------------------------------------------------------------------

DOCUMENTATION, REMOTE_AND_KEYPAD, REMOTE_ONLY, MAINS, STANDBY, RUNNING, OPERATOR_ACTIVE, DATA_LOCK = (
    1,
    2,
    3,
    4,
    5,
    7,
    11,
    16,
)
BOLUS = {9: "manual bolus", 10: "volume bolus", 12: "interval bolus"}
KVO, FAST_FORWARD, RETRACTING = 13, 19, 20
KVO_RUNS = 17  # an alarm bit
PROGRAMMES = {24: "reload", 25: "piggyback", 26: "PCA", 27: "profile", 28: "ramp", 29: "delay"}
DELAY = 29  # stands, and starts by itself
NOT_OURS = {STANDBY: "standby", 22: "interval bolus", 23: "dose calculation", **PROGRAMMES}
KNOWN_STATES = frozenset(range(1, 30))
SET_VALUES_CHANGED, LIMITS_CHANGED, DOSE_CHANGED = 0, 1, 3

ALARM_NAMES = (
    "syringe seating",
    "syringe nearly empty",
    "syringe empty",
    "pressure",
    "air",
    "drop",
    "battery empty",
    "battery low",
    "pump door open",
    "rate invalid",
    "reminder",
    "standby over",
    "volume limit reached",
    "time over",
    "communication error",
    "KVO over",
    "start or stop key pressed under remote control",
    "KVO running",
    "pressure below minimum",
    "PCA button missing",
    "PCA hourly limit",
)


def bits(word: int, size: int) -> frozenset[int]:
    """The bits that are set."""
    return frozenset(bit for bit in range(size) if word >> bit & 1)


@dataclass(frozen=True, slots=True)
class Status:
    """One answer to the status question."""

    requests: frozenset[int]  # what the pump wants to be read again
    alarms: frozenset[int] | None  # None: the pump did not tell
    states: frozenset[int] | None
    rate: MlPerHour | None  # the actual one: 0 while it stands
    remaining: Ml | None  # of the volume limit

    @property
    def motion(self) -> Motion:
        """What is not known, or contradicts itself, counts as moving."""
        states = self.states
        if states is None or not states <= KNOWN_STATES or len(states & {1, 2, 3}) != 1 or DELAY in states:
            return Motion.UNKNOWN
        if RETRACTING in states:
            return Motion.WITHDRAWING
        if states & BOLUS.keys():
            return Motion.BOLUS
        if FAST_FORWARD in states:
            return Motion.PURGING
        if KVO in states:
            return Motion.KVO
        if RUNNING not in states:
            return Motion.STANDING
        if KVO_RUNS in (self.alarms or ()):
            return Motion.KVO
        return Motion.UNKNOWN if states & PROGRAMMES.keys() else Motion.INFUSING

    def says(self, state: int) -> bool:
        """The pump says that this bit of its state is set."""
        return self.states is not None and state in self.states

    @property
    def mode(self) -> str:
        """Who operates the pump, in words."""
        if self.says(DOCUMENTATION):
            return "documentation"
        if self.says(REMOTE_ONLY):
            return "remote only"
        return "remote and keypad" if self.says(REMOTE_AND_KEYPAD) else "unknown"


def read_status(frame: Frame) -> Status:
    """Raises Garbled when it is no whole status."""
    request, alarm, state, rate, remaining, _ = fields(STATUS, frame)
    return Status(
        requests=bits(0 if request == NOT_TOLD_1 else request, 8),
        alarms=None if alarm == NOT_TOLD_4 else bits(alarm, 32),
        states=None if state == NOT_TOLD_4 else bits(state, 32),
        rate=rate_of(rate),
        remaining=volume_of(remaining),
    )
