"""The event log of the Zyno Z-800 family, which is all that tells its alarms: records, what they mean, which were read.

"Section" means a section of docs/devices/zyno.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from drivers.zyno_wire import NOT_AVAILABLE
from pumpd.driver import Garbled, PumpAlarm

RING = 43264  # records the pump keeps: 169 pages of 256
NOWHERE = -1
LOOK_BACK = 16  # records read where the log is met for the first time: what stands is told, what is long over is not

UNKNOWN_ALARM, LOG_GAP = "pump_alarm_unknown", "pump_log_gap"
BATTERY_LOW, REMINDER = "pump_battery_low", "pump_reminder"


class Kind(IntEnum):
    """Types of records; 20, 25 and all from 32 on are not documented."""

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
    DELAY_OVER = 10
    SERVICE_LIFE = 11
    SHIFT_TOTAL_CLEARED = 12
    BATTERY = 13
    CASSETTE_DETACHED = 14
    TIME_STAMP = 15
    POWER_OFF = 16
    FIRMWARE_ERROR = 17
    SYSTEM_ERROR = 18
    BATTERY_FAILURE = 19
    UNATTENDED = 21
    SETTING_CHANGED = 22
    DOSE_FINISHED = 23
    POWER_ON = 24
    SYSTEM_ERROR_2 = 26
    HARD_LIMIT = 27
    BATTERY_DEPLETED = 28
    PROGRAMMING_INCOMPLETE = 29
    BATTERY_IS_LOW = 30
    BATTERY_CHECK = 31


SPOKEN = {  # what was done, by a person or as programmed: no alarms
    Kind.DATA,
    Kind.RUN,
    Kind.PAUSED,
    Kind.AUTHENTICATION,
    Kind.DOSE_GRANTED,
    Kind.DOSE_DENIED,
    Kind.DOSE_CANCELLED,
    Kind.DELAY_OVER,
    Kind.SHIFT_TOTAL_CLEARED,
    Kind.TIME_STAMP,
    Kind.SETTING_CHANGED,
    Kind.DOSE_FINISHED,
}
ALARMS: dict[int, str] = {  # those without an entry of their own in the catalogue are told as unknown, with their words
    Kind.CASSETTE_EMPTY: "container_empty",
    Kind.INFUSION_LIMIT: UNKNOWN_ALARM,
    Kind.CASSETTE_DETACHED: "pump_door_open",  # what to do is the same: clamp first
    Kind.POWER_OFF: "pump_power_lost",
    Kind.FIRMWARE_ERROR: "pump_fault",
    Kind.SYSTEM_ERROR: "pump_fault",
    Kind.BATTERY_FAILURE: "pump_fault",
    Kind.POWER_ON: "pump_power_lost",
    Kind.SYSTEM_ERROR_2: "pump_fault",
    Kind.HARD_LIMIT: UNKNOWN_ALARM,
    Kind.BATTERY_DEPLETED: "pump_battery_empty",
    Kind.BATTERY_CHECK: UNKNOWN_ALARM,
}
REMINDERS = {Kind.SERVICE_LIFE, Kind.UNATTENDED, Kind.PROGRAMMING_INCOMPLETE}
ACTS = {Kind.RUN, Kind.PAUSED, Kind.SETTING_CHANGED, Kind.POWER_OFF, Kind.POWER_ON}  # somebody was there

CLEARED = 4  # of an occlusion and of an infusion limit
OCCLUSIONS = {1: "occlusion_upstream", 2: "occlusion_downstream"}
LIMITS = ("per hour", "per interval", "cleared")
BATTERY = ("medium", "low", "depleted", "reset", "mains", "high", "new", "over", "empty", "under")
BATTERY_LOW_BITS, BATTERY_EMPTY_BITS = 1 << 1, 1 << 2 | 1 << 8
BATTERY_FINE_BITS = 1 << 0 | 1 << 4 | 1 << 5 | 1 << 6  # medium, mains, high, new
BATTERY_KNOWN_BITS = BATTERY_LOW_BITS | BATTERY_EMPTY_BITS | BATTERY_FINE_BITS | 1 << 3
SYSTEM_ERRORS = (
    "upstream sensor",
    "slow motor",
    "downstream sensor",
    "motor controller",
    "volume limit",
    "motor in wrong state",
    "motor driver",
    "timer",
    "self-test",
    "fast motor",
    "sensor",
    "sensor",
    "sensor",
    "audio",
    "capacitor",
    "watchdog",
)
BITS_OF = {
    Kind.INFUSION_LIMIT: LIMITS,
    Kind.OCCLUSION: ("upstream", "downstream", "cleared"),
    Kind.BATTERY: BATTERY,
    Kind.SYSTEM_ERROR: SYSTEM_ERRORS,
}
CODES = tuple(dict.fromkeys((*ALARMS.values(), *OCCLUSIONS.values(), LOG_GAP, BATTERY_LOW, REMINDER)))

NO_RECORD = f"RE{NOT_AVAILABLE}"
_POINTERS = re.compile(r"RI([0-9A-F]{8})([0-9A-F]{8})")
_RECORD = re.compile(r"RE([0-9A-F]{8})([0-9A-F]{32})")


# --- one record -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One event, as far as it is used: its time, and the numbers behind some, are left where they are."""

    number: int
    kind: int
    sub: int

    @property
    def words(self) -> str:
        """The record as the document calls it."""
        with suppress(ValueError):
            kind = Kind(self.kind)
            bits = [word for place, word in enumerate(BITS_OF.get(kind, ())) if self.sub >> place & 1]
            return f"event {self.kind}.{self.sub}: {' '.join([kind.name.lower().replace('_', ' '), *bits])}"
        return f"event {self.kind}.{self.sub}"


def pointers(text: str) -> tuple[int, int]:
    """The oldest record, and the one that will be written next."""
    found = _POINTERS.fullmatch(text)
    tail, head = (int(found[1], 16), int(found[2], 16)) if found else (0, -1)
    if found is None or (head < tail and tail >= RING):
        raise Garbled(f"RI: answered {text}")
    return tail, head


def record(text: str) -> Record:
    """Byte 0 the type, 1 to 4 the time, 5 and 6 the sub-type, high byte first (section "Event log")."""
    found = _RECORD.fullmatch(text)
    if found is None:
        raise Garbled(f"RE: answered {text}")
    data = bytes.fromhex(found[2])
    return Record(int(found[1], 16), data[0], int.from_bytes(data[5:7], "big"))


def alarms_of(event: Record) -> tuple[PumpAlarm, ...]:
    """What this record tells; nothing for what was only done. A type or a sub-type not documented is unknown."""
    return tuple(PumpAlarm(code, event.words) for code in _codes_of(event))


def _codes_of(event: Record) -> Iterator[str]:
    if event.kind == Kind.OCCLUSION:
        yield from (code for bit, code in OCCLUSIONS.items() if event.sub & bit)
        if not event.sub or event.sub & ~(CLEARED | sum(OCCLUSIONS)):
            yield UNKNOWN_ALARM
    elif event.kind == Kind.BATTERY:
        if event.sub & BATTERY_EMPTY_BITS:
            yield "pump_battery_empty"
        if event.sub & ~BATTERY_KNOWN_BITS:
            yield UNKNOWN_ALARM
    elif event.kind == Kind.INFUSION_LIMIT and event.sub == CLEARED:
        return
    elif event.kind not in SPOKEN | REMINDERS | {Kind.BATTERY_IS_LOW}:
        yield ALARMS.get(event.kind, UNKNOWN_ALARM)


# --- which were read --------------------------------------------------------------------------------------------------


class EventLog:
    """How far the log was read. What it hears it gives back as the alarms to tell, each once."""

    def __init__(self) -> None:
        self.head = 0  # where the pump will write next
        self.asked: int | None = None  # the record that is asked for now
        self._next: int | None = None  # the first that was not read; None: the log was never seen
        self._tell_from = NOWHERE  # before it only what still stands is told
        self._standing: list[PumpAlarm] = []
        self._warnings: set[str] = set()

    @property
    def due(self) -> int | None:
        """The record to ask for, or None when all were read."""
        return None if self._next in (None, self.head) else self._next

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the pump warned of and has not taken back."""
        return tuple(sorted(self._warnings))

    def heard(self, text: str) -> tuple[PumpAlarm, ...]:
        """Take an answer to RI or RE. Raises Garbled."""
        if text.startswith("RI"):
            return self._pointed(*pointers(text))
        if text == NO_RECORD and self.asked is not None and self.asked == self.due:
            missed, news = self.asked, self._go_on()
            return (PumpAlarm(LOG_GAP, f"event {missed} cannot be read", stops=False), *news)
        if text.startswith("RE") and text != NO_RECORD:
            event = record(text)
            return self._took(event) if event.number == self.due else ()  # another one was asked for before, and is old
        return ()

    def _pointed(self, tail: int, head: int) -> tuple[PumpAlarm, ...]:
        # A head below the tail is a ring that has come round, and its numbers are places in it. Whether numbers of a
        # real pump are places or go on for ever is not known; which of both it is shows here, and both are read.
        size = (head - tail) % RING if head < tail else head - tail
        if self._next is not None:
            read = (self._next - tail) % RING if head < tail else self._next - tail
            if 0 <= read <= size:
                self.head = head
                return ()
        met, self.head = self._next is None, head
        self._next = (head - min(LOOK_BACK, size)) % RING if head < tail else head - min(LOOK_BACK, size)
        self._tell_from, self._standing, self._warnings = (head if size else NOWHERE), [], set()
        return () if met else (PumpAlarm(LOG_GAP, f"events from {tail} to {head} do not join", stops=False),)

    def _took(self, event: Record) -> tuple[PumpAlarm, ...]:
        self._mind_warnings(event)
        news = alarms_of(event)
        if not self._looking_back:
            self._go_on()
            return news
        if event.kind == Kind.RUN:
            self._standing.clear()
        elif event.kind == Kind.OCCLUSION and event.sub & CLEARED:
            self._standing = [alarm for alarm in self._standing if alarm.code not in OCCLUSIONS.values()]
        # That a pump was switched on before we came is no news.
        self._standing += [alarm for alarm in news if alarm.code != "pump_power_lost"]
        return self._go_on()

    @property
    def _looking_back(self) -> bool:
        return self._tell_from != NOWHERE

    def _go_on(self) -> tuple[PumpAlarm, ...]:
        """To the next record; at the end of the looking back, what stands."""
        assert self._next is not None
        following = self._next + 1
        self._next = 0 if following == RING and self.head < following else following
        if self._looking_back and self._next == self._tell_from:
            self._tell_from, standing, self._standing = NOWHERE, self._standing, []
            return tuple(standing)
        return ()

    def _mind_warnings(self, event: Record) -> None:
        if event.kind in REMINDERS:
            self._warnings.add(REMINDER)
        elif event.kind in ACTS:
            self._warnings.discard(REMINDER)
        elif event.kind == Kind.BATTERY_IS_LOW or (event.kind == Kind.BATTERY and event.sub & BATTERY_LOW_BITS):
            self._warnings.add(BATTERY_LOW)
        elif event.kind == Kind.BATTERY and event.sub & BATTERY_FINE_BITS and not event.sub & BATTERY_EMPTY_BITS:
            self._warnings.discard(BATTERY_LOW)
