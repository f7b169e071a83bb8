"""Fresenius Kabi Orchestra generation: Module DPS on a base, and syringe pumps that stand alone. Watched only.

Facts, their sources and what is not known stand in docs/devices/fresenius.md; "section" below means a section of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal

from drivers import fresenius_wire as wire
from drivers.fresenius_wire import FreseniusFramer, NotOpen
from pumpd.driver import (
    LEAVE,
    Ask,
    BadSetting,
    Capabilities,
    Container,
    Dialogue,
    Driver,
    Fitted,
    Frame,
    Framer,
    Garbled,
    Grid,
    Identity,
    KeepAlive,
    Line,
    Motion,
    Pause,
    Probe,
    Programme,
    Pump,
    PumpAlarm,
    PumpReport,
    Refused,
    Settings,
    Taken,
)
from pumpd.units import Ml, MlPerHour

REPLY_TIMEOUT_S = 1.0  # as the one program that is known waits (section "Timing")
LOST_AFTER_S = 3.0
POLL_S = 1.0
BASE_WAIT_S = 1.2  # after connecting to a base; the maker asks for 1 s (section "Session")
NOT_READY_S = 0.2  # before a question is asked again that was refused by a NAK; not documented

BASE = "0"
ALARM, ERROR, RATE, VOLUME = "a", "e", "d", "r"
READ = f"LE;{ALARM}{ERROR}{RATE}{VOLUME}"
UNKNOWN_ALARM = "pump_alarm_unknown"
WHY = (
    "this pump can only be watched: which command starts it, how its volume limit is set and what it does when it "
    "loses the line are not known"
)
CANNOT_STOP = "this pump cannot be stopped from here: stop it at its own keypad"
RATES = Grid(Decimal("0.1"), Decimal("1200"), ((Decimal(1201), Decimal("0.1")),))
VOLUMES = Grid(Decimal("0.001"), Decimal(9999), ((Decimal(10000), Decimal("0.001")),))
COUNTER = Grid(Decimal(0), Decimal(9999), ((Decimal(10000), Decimal("0.001")),))

# --- does it move? (section "Motion") ---------------------------------------------------------------------------------

COUNT_S = 3.6  # seconds for one count, 0.001 mL, at 1 mL/h
LATE_COUNTS = 2  # a count may be so late before "infusing" is no longer believed
STILL_COUNTS, STILL_READINGS = 5, 10  # so many that did not come, in no less readings: it stands


class Watching:
    """Judges from rate and volume whether the pump moves, since no variable is known to say so."""

    def __init__(self) -> None:
        self._motion = Motion.UNKNOWN
        self._rate: MlPerHour | None = None
        self._counted: Ml | None = None
        self._counts = False  # its volume was seen to grow at this rate, so it is worth believing that it stands still
        self._still = 0  # readings since it last grew

    def stands(self, rate: MlPerHour, counted: Ml) -> bool:
        """Whether a reading in between agrees with the last one that was judged, and that one with "standing"."""
        return (self._motion, self._rate, self._counted) == (Motion.STANDING, rate, counted)

    def judge(self, rate: MlPerHour, counted: Ml) -> Motion:
        """To be given each reading, POLL_S or more apart."""
        self._motion = self._judge(rate, counted)
        return self._motion

    def _judge(self, rate: MlPerHour, counted: Ml) -> Motion:
        before, was = self._counted, self._rate
        self._rate, self._counted = rate, counted
        if before is None or rate != was or counted < before:
            self._counts, self._still = False, 0
        if before is None or counted < before:
            return Motion.UNKNOWN
        if counted > before:
            self._counts, self._still = bool(rate), 0
            return Motion.INFUSING if rate else Motion.UNKNOWN  # at rate 0 it may be a bolus
        self._still += 1
        if not rate:
            return Motion.STANDING if self._still > 1 else Motion.UNKNOWN
        missing = Decimal(self._still) * Decimal(str(POLL_S)) * rate.value / Decimal(str(COUNT_S))
        if self._counts and missing <= LATE_COUNTS:
            return Motion.INFUSING
        if self._counts and missing >= STILL_COUNTS and self._still >= STILL_READINGS:
            return Motion.STANDING
        return Motion.UNKNOWN


# --- the pump ---------------------------------------------------------------------------------------------------------


class FreseniusPump:
    """One pump: a module of a base, or one that stands alone, which has no address."""

    def __init__(self, module: int | None) -> None:
        self._address = "" if module is None else str(module)
        self._alarm: dict[str, str] = {}  # as last told by the pump
        self._told: dict[str, str] = {}  # as last told by us
        self._watching = Watching()
        self.framer: Framer = FreseniusFramer()
        self.capabilities = Capabilities(
            maker="Fresenius Kabi",
            model="Orchestra generation",
            kind="syringe",
            control=False,
            stop=False,
            clinical_use=False,  # made for people, but this driver was never tried on one
            watchdog_s=None,
            limit_restarts=True,  # not known; the worse case
            live_rate_change=False,
            poll_acknowledges_alarm=False,
            has_serial_number=False,
            worst_reply_s=REPLY_TIMEOUT_S,
            lost_after_s=LOST_AFTER_S,
            poll_s=POLL_S,
            alarms=(UNKNOWN_ALARM,),
        )

    def fitted(self, container: Container) -> Fitted:
        """The scales it tells its numbers in: nothing can be set."""
        return Fitted(rates=RATES, limits=VOLUMES, counter=COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Answer the line as it must be answered, and tell each alarm word that is new."""
        match frame.kind:
            case "enq":
                return Taken(send=bytes([wire.DC4]))
            case "ack":
                return Taken()
            case "nak":
                return LEAVE if asking else Taken()
            case "reply" | "refusal":
                ours = frame.address == self._address
                notices = self._heard(frame) if ours and frame.kind == "reply" else ()
                return Taken(bytes([wire.ACK]), notices, consumed=not (ours or frame.address == self._base))
            case "event":
                letter = frame.data[:1].decode()
                notices = self._heard(frame) if frame.address == self._address and letter == "E" else ()
                return Taken(bytes([wire.ACK]) + wire.spell(frame.address, letter), notices)
        return Taken(send=bytes([wire.ACK]))

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Open what has to be open to be told anything; it changes nothing in the pump, so the same for hands off."""
        self._watching, self._alarm, self._told = Watching(), {}, {}  # it may be another pump
        yield from self._open()
        device = yield from self._device_type()
        return Identity(
            model=f"Fresenius {device}",
            version="not told",
            fingerprint=(("module", self._address or "none"), ("device type", device)),
            monitor_only=WHY,
        )

    def keep_alive(self) -> KeepAlive | None:
        """None: no watchdog is known. What the pump asks by itself is answered in `on_frame`."""
        return None

    def read(self) -> Dialogue[PumpReport]:
        """Alarm, error, rate and volume, all in one answer."""
        rate, counted = yield from self._rate_and_volume()
        return PumpReport(self._watching.judge(rate, counted), rate, counted)

    def settings(self) -> Dialogue[Settings]:
        """Which device answers: nothing of it can be armed."""
        return (("device type", (yield from self._device_type())),)

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """Refused."""
        yield from ()
        raise Refused(WHY)

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Refused."""
        yield from ()
        raise Refused(WHY)

    def start(self) -> Dialogue[None]:
        """Refused."""
        yield from ()
        raise Refused(WHY)

    def stop(self) -> Dialogue[PumpReport]:
        """Refused, unless a reading agrees with those before it that it stands: then somebody has stopped it."""
        rate, counted = yield from self._rate_and_volume()
        if self._watching.stands(rate, counted):
            return PumpReport(Motion.STANDING, rate, counted)
        raise Refused(CANNOT_STOP)

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """Refused."""
        yield from ()
        raise Refused(WHY)

    def release(self) -> Dialogue[None]:
        """Nothing was taken, so nothing is given back."""
        yield from ()

    # --- questions ----------------------------------------------------------------------------------------------------

    @property
    def _base(self) -> str:
        return BASE if self._address else ""

    def _ask(self, address: str, text: str) -> Dialogue[Frame]:
        """One question; asked once more after a NAK, whatever its reason (section "Line")."""
        question = Ask(
            wire.spell(address, text),
            REPLY_TIMEOUT_S,
            accept=lambda frame: frame.kind == "nak" or frame.address == address,
        )
        frame = yield question
        if frame.kind == "nak":
            yield Pause(NOT_READY_S)
            frame = yield question
        if frame.kind != "reply":
            raise wire.complaint(text, frame)
        return frame

    def _device_type(self) -> Dialogue[str]:
        told = dict(wire.items((yield from self._ask(self._address, "LF;b"))))
        device = told.get("b", "").strip()
        if not device:
            raise Garbled("LF;b: no device type in the answer")
        return device

    def _variables(self) -> Dialogue[dict[str, str]]:
        return dict(wire.items((yield from self._ask(self._address, READ))))

    def _rate_and_volume(self) -> Dialogue[tuple[MlPerHour, Ml]]:
        try:
            told = yield from self._variables()
        except NotOpen:
            yield from self._open()
            told = yield from self._variables()
        rate = MlPerHour(Decimal(wire.number(RATE, told.get(RATE))) / 10)
        counted = Ml(Decimal(wire.number(VOLUME, told.get(VOLUME))) / 1000)
        for letter in (ALARM, ERROR):
            wire.number(letter, told.get(letter))  # not to be told of an alarm is not the same as none
        return rate, counted

    def _open(self) -> Dialogue[None]:
        if not self._address:
            yield from self._connect_to("")
            return
        yield from self._connect_to(BASE)
        yield Pause(BASE_WAIT_S)
        told = dict(wire.items((yield from self._ask(BASE, "LE;b"))))
        present = wire.number("b", told.get("b"))
        if not present >> (int(self._address) - 1) & 1:
            raise Refused(
                f"the base says that there is no module {self._address} (modules {present:b}, from the right)"
            )
        yield from self._connect_to(self._address)

    def _connect_to(self, address: str) -> Dialogue[None]:
        with suppress(Refused):  # it may be open already; what is asked next shows it
            yield from self._ask(address, "DC")

    # --- alarms -------------------------------------------------------------------------------------------------------

    def _heard(self, frame: Frame) -> tuple[PumpAlarm, ...]:
        """Alarm and error words as they come in; a device type that is told looks like neither."""
        self._alarm |= {letter: value for letter, value in wire.items(frame) if letter in (ALARM, ERROR)}
        holds = {letter: value for letter, value in self._alarm.items() if value.strip("0")}
        new = {letter: value for letter, value in holds.items() if self._told.get(letter) != value}
        self._told = holds
        if not new:
            return ()
        return (PumpAlarm(UNKNOWN_ALARM, " ".join(f"{letter}={value}" for letter, value in sorted(holds.items()))),)


# --- entry point ------------------------------------------------------------------------------------------------------


HARMLESS = "a checked frame that opens a session with a base or a pump of this family; no other is known to take it"


class FreseniusDriver:
    """Settings: `module`, 1 to 9, the place on the base; left out for a pump that stands alone."""

    name: str = "fresenius"
    line: Line = Line(19200, bytesize=7, parity="E")
    probes: tuple[Probe, ...] = (Probe(40, HARMLESS), Probe(40, HARMLESS, (("module", 1),)))

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for an unknown setting or value."""
        for key in settings:
            if key != "module":
                raise BadSetting(key, "unknown setting; this driver has module")
        module = settings.get("module")
        if module is None:
            return FreseniusPump(None)
        if isinstance(module, bool) or not isinstance(module, int) or not 1 <= module <= 9:
            raise BadSetting("module", f"{module!r}: expected 1 to 9, or to be left out for a pump without a base")
        return FreseniusPump(module)


DRIVER: Driver = FreseniusDriver()
