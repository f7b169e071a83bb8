"""The event log of a Zyno pump: a ring of records in flash, and the only source of its alarms.

Protocol notes (Zyno), event log: 16 bytes a record, byte 0 the type, bytes 1..4 the time in seconds (little endian, top
digit to be dropped), bytes 5..6 the sub-type, then two floats (big endian, as the maker's client reads them).
"""

from __future__ import annotations

import struct
from enum import IntEnum

PAGE = 256
SIZE = 169 * PAGE
ERASED = b"\xff" * 16  # the maker's client skips such records
TIME_MASK = 0x0FFFFFFF


class Kind(IntEnum):
    """Type of a record."""

    DATA = 0
    RUN = 1
    PAUSED = 2
    CASSETTE_EMPTY = 3
    INFUSION_LIMIT = 4
    AUTHENTICATION = 5
    DOSE_GRANTED = 6
    DOSE_DENIED = 7
    DOSE_CANCELLED = 8
    OCCLUSION = 9
    DELAY_END = 10
    LIFE_OVER = 11
    SHIFT_CLEARED = 12
    BATTERY = 13
    CASSETTE_DETACHED = 14
    TIME_STAMP = 15
    POWER_OFF = 16
    FIRMWARE_ERROR = 17
    SYSTEM_ERROR = 18
    BATTERY_FAILURE = 19
    UNATTENDED = 21
    SETTING = 22
    DOSE_FINISHED = 23
    POWER_ON = 24
    SYSTEM_ERROR_2 = 26
    HARD_LIMIT = 27
    BATTERY_DEPLETED = 28
    PROGRAMMING_INCOMPLETE = 29
    BATTERY_LOW = 30
    BATTERY_CHECK = 31


DATA_BEGIN, DATA_END = 0x0100, 0x0200  # the client reads the first byte of the sub-type alone
UPSTREAM, DOWNSTREAM, OCCLUSION_CLEARED = 1, 2, 4
SLOW_MOTOR = 2
BATTERY_MEDIUM, BATTERY_IS_LOW, BATTERY_IS_DEPLETED, ON_MAINS, BATTERY_HIGH = 1, 2, 4, 16, 32
CLINICIAN_DOSE = 0x0801  # and how many were tried
EXTRA_DOSE_FINISHED, EXTRA_DOSE_CANCELLED = 1, 0x0020


class Ring:
    """Records from `tail` up to, but not including, `head`, where the next one will be written."""

    def __init__(self, head: int, *, wrap_erases_page: bool, time_top_digit: int) -> None:
        """`head`: how many old time stamps stand in it already."""
        self.head = head
        self.tail = 0
        self._erases_page = wrap_erases_page
        self._top = time_top_digit << 28
        self._records = dict.fromkeys(range(head), self._encoded(Kind.TIME_STAMP, 0, 0))

    def add(self, kind: Kind, sub: int, time_s: float, *floats: float) -> None:
        """Write a record."""
        self._write(self._encoded(kind, sub, int(time_s), *floats))

    def add_data(self, records: int, time_s: float) -> None:
        """Write a frame of infusion data. What stands in it is not known: here each record looks like an alarm."""
        if not records:
            return
        self.add(Kind.DATA, DATA_BEGIN, time_s)
        for number in range(records):
            self._write(bytes((RAW_FIRST[number],)) + bytes(range(number, number + 15)))
        self.add(Kind.DATA, DATA_END, time_s)

    def read(self, index: int) -> bytes:
        """Return the record at an index of the ring."""
        return self._records.get(index, ERASED)

    def _encoded(self, kind: Kind, sub: int, seconds: int, *floats: float) -> bytes:
        stamp = seconds & TIME_MASK | self._top
        return struct.pack("<BI", kind, stamp) + struct.pack(">Hff", sub, *(*floats, 0.0, 0.0)[:2]) + b"\x00"

    def _write(self, record: bytes) -> None:
        self._records[self.head] = record
        self.head = (self.head + 1) % SIZE
        if self._erases_page and self.head % PAGE == 0:
            for index in range(self.head, self.head + PAGE):
                self._records.pop(index, None)
            if self.head <= self.tail < self.head + PAGE and self._records.get((self.head + PAGE) % SIZE):
                self.tail = (self.head + PAGE) % SIZE
        elif not self._erases_page and self.head == self.tail:
            self.tail = (self.tail + 1) % SIZE


RAW_FIRST = (3, 9, 0, 14, 17, 18, 19, 21, 26, 27, 28, 29, 30, 0, 9, 3)  # the zeros: the maker's client counts on them
