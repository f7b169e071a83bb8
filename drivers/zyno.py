"""Zyno Medical Z-800 family (Nimbus, MIVA, CAPS): volumetric pumps that can be watched and stopped.

Facts, their sources and what is not known stand in docs/devices/zyno.md; "section" below means a section of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial

from drivers import zyno_wire as wire
from drivers.zyno_log import CODES, NO_RECORD, EventLog, pointers
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
    PumpReport,
    Refused,
    Settings,
    Silent,
    Taken,
)
from pumpd.units import Ml, MlPerHour

REPLY_TIMEOUT_S = 0.3  # 75 ms for the slowest answer, 48 ms for its bytes, and a USB adapter (section "Timing")
STOP_TRIES = 4
SETTLE_S = 0.25  # between an order and a reading that does not show it yet
RECORDS_PER_READING = 12  # 90 ms each: more of them would hold up the next reading

CONTINUOUS = "CONT"
RUNS = {"TRUE": True, "FALSE": False}
WHY = (
    "this pump can be watched and stopped only: how it takes a rate and a limit is not known, and it most likely goes "
    "on when it loses the line"
)
HUNDREDTHS = Grid(Decimal("0.01"), Decimal("9999.99"), ((Decimal(10000), Decimal("0.01")),))
COUNTER = Grid(Decimal(0), Decimal("9999.99"), ((Decimal(10000), Decimal("0.01")),))


class ZynoPump:
    """One pump. Alarms are told as the records of its event log are read, at the end of each reading."""

    def __init__(self, check: str) -> None:
        """`check` is the kind of check byte: "sum" or "xor"."""
        self._check = check
        self._serial: str | None = None
        self._log = EventLog()
        self.framer: Framer = wire.ZynoFramer(check)
        self.capabilities = Capabilities(
            maker="Zyno Medical",
            model="Z-800 family",
            kind="volumetric",
            control=False,
            stop=True,
            clinical_use=False,  # made for people, but this driver was never tried on one
            watchdog_s=None,  # nothing keeps a session alive, so losing the line most likely stops nothing
            limit_restarts=True,  # not known; the worse case
            live_rate_change=False,
            poll_acknowledges_alarm=False,
            has_serial_number=True,
            worst_reply_s=REPLY_TIMEOUT_S,
            alarms=CODES,
        )

    def fitted(self, container: Container) -> Fitted:
        """The scales it tells its numbers in: nothing can be set."""
        return Fitted(rates=HUNDREDTHS, limits=HUNDREDTHS, counter=COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell what a record of the event log says, and whether records are missing."""
        if frame.kind == "sensors":  # it sends them by itself; what they tell is read by questions
            return Taken()
        with suppress(Garbled):  # the dialogue says so
            return Taken(notices=self._log.heard(wire.text_of(frame)) if asking else (), consumed=False)
        return LEAVE

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Questions only, so the same for hands off."""
        serial = (yield from self._ask("RN")).strip()
        if not serial:
            raise Garbled("RN: no serial number in the answer")
        if serial != self._serial:
            self._serial, self._log = serial, EventLog()
        version = "not told"
        with suppress(Refused):
            version = (yield from self._ask("RS")).strip()
        return Identity(
            model="Zyno Z-800 family",
            version=version,
            serial=serial,
            rate=(yield from self._rate()),
            limit=(yield from self._volume_if_any("Q6")),
            monitor_only=WHY,
        )

    def keep_alive(self) -> KeepAlive | None:
        """None: no watchdog is known."""
        return None

    def read(self) -> Dialogue[PumpReport]:
        """What it does, its rate and volumes, and then what is new in its event log."""
        motion = yield from self._motion()
        rate = yield from self._rate()
        counted = yield from self._volume_if_any("Q5")
        limit = yield from self._volume_if_any("Q6")
        yield from self._read_log()
        return PumpReport(motion, rate, counted, limit, warnings=self._log.warnings)

    def settings(self) -> Dialogue[Settings]:
        """Who it is: nothing of it can be armed."""
        return (("serial number", (yield from self._ask("RN")).strip()),)

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
        """WT02 until a later reading says that the pump does not run; the answer to the order is not believed."""
        seen = ""
        for attempt in range(STOP_TRIES):
            if attempt:
                yield Pause(SETTLE_S)
            with suppress(Silent):
                yield Ask(wire.spell("WT02", self._check), REPLY_TIMEOUT_S, tries=1)
            try:
                motion = yield from self._motion()
            except (Refused, Garbled) as problem:
                seen = str(problem)
                continue
            if motion is Motion.STANDING:
                return PumpReport(motion, counted=(yield from self._counted_if_told()))
            seen = motion.value
        raise Garbled(f"WT02 was sent {STOP_TRIES} times; the pump was not seen standing (last: {seen})")

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """Refused."""
        yield from ()
        raise Refused(WHY)

    def release(self) -> Dialogue[None]:
        """Nothing was taken, so nothing is given back."""
        yield from ()

    # --- questions ----------------------------------------------------------------------------------------------------

    def _ask(self, code: str, more: str = "") -> Dialogue[str]:
        """A short question, whose answer repeats its code: what follows it."""
        frame = yield Ask(
            wire.spell(code + more, self._check),
            REPLY_TIMEOUT_S,
            accept=lambda answer: answer.data[:2] == code.encode(),
        )
        return wire.told(code, frame)

    def _ask_bare(self, question: str) -> Dialogue[str]:
        """A long question, whose answer is the bare value."""
        frame = yield Ask(wire.spell(question, self._check), REPLY_TIMEOUT_S)
        return wire.told("", frame)

    def _motion(self) -> Dialogue[Motion]:
        word = yield from self._ask_bare(":INFU:RUN?")
        if word not in RUNS:
            raise Garbled(f":INFU:RUN?: answered {word}")
        mode = CONTINUOUS
        with suppress(Refused):  # with nothing programmed there may be no mode
            mode = (yield from self._ask("Q0")).strip()
        with suppress(Refused):
            if wire.number((yield from self._ask("Q7"))):
                return Motion.BOLUS
        if mode != CONTINUOUS:
            return Motion.UNKNOWN  # it may begin its next dose by itself
        return Motion.INFUSING if RUNS[word] else Motion.STANDING

    def _rate(self) -> Dialogue[MlPerHour | None]:
        with suppress(Refused):
            return wire.rate((yield from self._ask_bare(":INFU:RATE?")))
        return None

    def _volume_if_any(self, code: str) -> Dialogue[Ml | None]:
        with suppress(Refused):
            return wire.volume((yield from self._ask(code)))
        return None

    def _counted_if_told(self) -> Dialogue[Ml | None]:
        with suppress(Garbled, Silent):
            return (yield from self._volume_if_any("Q5"))
        return None

    def _read_log(self) -> Dialogue[None]:
        """Some records at a time, the oldest first. `on_frame` takes them, so that none is lost with a cut dialogue."""
        pointers("RI" + (yield from self._ask("RI")))
        for _ in range(RECORDS_PER_READING):
            if (due := self._log.due) is None:
                return
            self._log.asked = due
            question = f"RE{due:08X}"
            yield Ask(
                wire.spell(question, self._check), REPLY_TIMEOUT_S, accept=partial(answers_record, question.encode())
            )
            if self._log.asked == self._log.due:
                raise Garbled(f"{question}: the answer cannot be read")


def answers_record(question: bytes, frame: Frame) -> bool:
    """Whether this is the record that was asked for, or a "no" to whatever record it was."""
    return frame.data.startswith(question) or frame.data == NO_RECORD.encode()


# --- entry point ------------------------------------------------------------------------------------------------------


HARMLESS = "questions between two control characters; a family that reads lines of text waits for an end of line"


class ZynoDriver:
    """Settings: `check`, "sum" (default) or "xor" for pumps of platform H."""

    name: str = "zyno"
    line: Line = Line(9600)
    probes: tuple[Probe, ...] = tuple(Probe(30, HARMLESS, (("check", check),)) for check in wire.CHECKS)

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for an unknown setting or value."""
        for key in settings:
            if key != "check":
                raise BadSetting(key, "unknown setting; this driver has check")
        check = settings.get("check", "sum")
        if not isinstance(check, str) or check not in wire.CHECKS:
            raise BadSetting("check", f'{check!r}: expected "sum" or "xor"')
        return ZynoPump(check)


DRIVER: Driver = ZynoDriver()
