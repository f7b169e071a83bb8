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
DATA_SIZES = (2, 16)  # raw records between begin and end of infusion data: any bytes, which are no events
LOOK_BACK = 16 + max(DATA_SIZES) + 2  # records read where the log is met for the first time: what stands is told

UNKNOWN_ALARM, LOG_GAP = "pump_alarm_unknown", "pump_log_gap"
BATTERY_LOW, REMINDER = "pump_battery_low", "pump_reminder"


class Kind(IntEnum):
    """Types of records; those from 32 on are not documented."""

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
    DEBUG = 20
    UNATTENDED = 21
    SETTING_CHANGED = 22
    DOSE_FINISHED = 23
    POWER_ON = 24
    DOSE_SKIPPED = 25
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
    Kind.DEBUG,
    Kind.SETTING_CHANGED,
    Kind.DOSE_FINISHED,
    Kind.DOSE_SKIPPED,
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
    Kind.HARD_LIMIT: "pump_fault",  # its life is over: replace it
    Kind.BATTERY_DEPLETED: "pump_battery_empty",
    Kind.BATTERY_CHECK: "pump_battery_empty",  # at a self-test or with the motor
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
NOTHING = "F" * 32  # flash that was never written
_RECORD = re.compile(r"RE([0-9A-F]{8})([0-9A-F]{32})")


# --- one record -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One event, as far as it is used: its time, and the numbers behind some, are left where they are."""

    number: int
    kind: int
    sub: int
    unwritten: bool = False

    @property
    def begins_data(self) -> bool:
        """Raw records follow it. The sub-type of these stands in its first byte."""
        return self.kind == Kind.DATA and self.sub >> 8 == 1

    @property
    def ends_data(self) -> bool:
        """The raw records are over."""
        return self.kind == Kind.DATA and self.sub >> 8 == 2

    @property
    def words(self) -> str:
        """The record as the document calls it."""
        with suppress(ValueError):
            kind = Kind(self.kind)
            bits = [word for place, word in enumerate(BITS_OF.get(kind, ())) if self.sub >> place & 1]
            return f"event {self.kind}.{self.sub}: {' '.join([kind.name.lower().replace('_', ' '), *bits])}"
        return f"event {self.kind}.{self.sub}"


def pointers(text: str) -> tuple[int, int]:
    """The oldest record and the newest, as places in the ring."""
    found = _POINTERS.fullmatch(text)
    tail, head = (int(found[1], 16), int(found[2], 16)) if found else (RING, RING)
    if max(tail, head) >= RING:
        raise Garbled(f"RI: answered {text}")
    return tail, head


def record(text: str) -> Record:
    """Byte 0 the type, 1 to 4 the time, 5 and 6 the sub-type, high byte first (section "Event log")."""
    found = _RECORD.fullmatch(text)
    if found is None:
        raise Garbled(f"RE: answered {text}")
    data = bytes.fromhex(found[2])
    return Record(int(found[1], 16), data[0], int.from_bytes(data[5:7], "big"), found[2] == NOTHING)


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
        self.asked: int | None = None  # the record that is asked for now
        self._next: int | None = None  # the first that was not read; None: the log was never seen
        self._end = 0  # behind the newest
        self._held: list[Record] = []  # read, and not yet known to be events and no raw data
        self._fresh = False  # some of those came since the pointers were asked for
        self._looking_back = False  # what is read was there before us: only what still stands is told
        self._warnings: set[str] = set()

    @property
    def due(self) -> int | None:
        """The record to ask for, or None when all were read."""
        return None if self._next in (None, self._end) else self._next

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the pump warned of and has not taken back."""
        return tuple(sorted(self._warnings))

    def heard(self, text: str) -> tuple[PumpAlarm, ...]:
        """Take an answer to RI or RE. Raises Garbled."""
        if text.startswith("RI"):
            return self._pointed(*pointers(text))
        if text == NO_RECORD:
            return self._missed() if self.asked is not None and self.asked == self.due else ()
        if text.startswith("RE"):
            event = record(text)
            return self._took(event) if event.number == self.due else ()  # another one was asked for before, and is old
        return ()

    def _pointed(self, tail: int, head: int) -> tuple[PumpAlarm, ...]:
        size, end = (head - tail) % RING + 1, (head + 1) % RING
        met = self._next is None
        if self._next is None or (self._next - tail) % RING > size:
            self._next, self._end = (end - min(LOOK_BACK, size)) % RING, end
            self._held, self._fresh, self._looking_back, self._warnings = [], False, True, set()
            gap = PumpAlarm(LOG_GAP, f"events from {tail} to {head} do not join", stops=False)
            return () if met else (gap,)
        self._end, fresh, self._fresh = end, self._fresh, False
        return () if fresh else self._told(flush=True)  # data is written at once: what has no end by now is none

    def _missed(self) -> tuple[PumpAlarm, ...]:
        gap = PumpAlarm(LOG_GAP, f"event {self.asked} cannot be read", stops=False)
        held = () if self._looking_back else self._told(flush=True)
        return (*held, gap, *self._go_on())

    def _took(self, event: Record) -> tuple[PumpAlarm, ...]:
        if event.unwritten and (event.number + 1) % RING == self._end:
            self._end = event.number  # it points at where it will write: asked for again when it moved
            return self._go_on(0)
        if event.unwritten:
            return self._missed()
        self._held.append(event)
        self._fresh = True
        return self._go_on()

    def _go_on(self, by: int = 1) -> tuple[PumpAlarm, ...]:
        assert self._next is not None
        self._next = (self._next + by) % RING
        if not self._looking_back:
            return self._told()
        if self.due is not None:
            return ()
        self._looking_back = False
        return self._standing()

    def _told(self, flush: bool = False) -> tuple[PumpAlarm, ...]:
        """The alarms among the records that are held; those of data not yet ended are held on, unless `flush`."""
        told: list[PumpAlarm] = []
        while self._held:
            if (data := data_at_begin(self._held)) is None and not flush:
                break
            if data:
                del self._held[:data]
                continue
            event = self._held.pop(0)
            self._mind_warnings(event)
            told += alarms_of(event)
        return tuple(told)

    def _standing(self) -> tuple[PumpAlarm, ...]:
        """What the records before us say that was not taken back, nor ended by a start."""
        events = self._held = after_cut_data(self._held)
        standing: list[PumpAlarm] = []
        while events:
            if data := data_at_begin(events):
                del events[:data]
                continue
            if data is None:
                break  # it is being written now
            event = events.pop(0)
            self._mind_warnings(event)
            if event.kind == Kind.RUN:
                standing.clear()
            elif event.kind == Kind.OCCLUSION and event.sub & CLEARED:
                standing = [alarm for alarm in standing if alarm.code not in OCCLUSIONS.values()]
            # That a pump was switched on before we came is no news.
            standing += [alarm for alarm in alarms_of(event) if alarm.code != "pump_power_lost"]
        return tuple(standing)

    def _mind_warnings(self, event: Record) -> None:
        if event.kind in REMINDERS:
            self._warnings.add(REMINDER)
        elif event.kind in ACTS:
            self._warnings.discard(REMINDER)
        elif event.kind == Kind.BATTERY_IS_LOW or (event.kind == Kind.BATTERY and event.sub & BATTERY_LOW_BITS):
            self._warnings.add(BATTERY_LOW)
        elif event.kind == Kind.BATTERY and event.sub & BATTERY_FINE_BITS and not event.sub & BATTERY_EMPTY_BITS:
            self._warnings.discard(BATTERY_LOW)


def data_at_begin(events: list[Record]) -> int | None:
    """How many records of infusion data stand first, begin and end included; None: it cannot be told yet."""
    if not events[0].begins_data:
        return 0
    for size in DATA_SIZES:
        if len(events) <= size + 1:
            return None
        if events[size + 1].ends_data:
            return size + 2
    return 0


def after_cut_data(events: list[Record]) -> list[Record]:
    """Without what may be the rest of data that began before the first of these."""
    for place, event in enumerate(events[: max(DATA_SIZES) + 1]):
        if event.ends_data and not any(
            events[place - size - 1].begins_data for size in DATA_SIZES if place >= size + 1
        ):
            return events[place + 1 :]
    return list(events)
