"""Acme D1 syringe pump. Invented, to show how a driver is written: docs/write-a-driver.md goes through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

from pumpd.driver import (
    LEAVE,
    Ask,
    BadSetting,
    Capabilities,
    Container,
    Damaged,
    Dialogue,
    Differs,
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
    Probe,
    Programme,
    Pump,
    PumpAlarm,
    PumpReport,
    Refused,
    Repeat,
    Settings,
    Taken,
    Uncertain,
)
from pumpd.units import Ml, MlPerHour

REPLY_TIMEOUT_S = 0.3  # Acme manual 2.1: answers within 250 ms; 50 ms for a USB adapter
INTER_BYTE_S = 0.2  # Acme manual 2.2: a line with a longer gap is dropped
LONGEST_LINE = 64  # Acme manual 2.3; anything longer is noise
WATCHDOG_S = 10  # Acme manual 5: without a line for so long it stops
MOTIONS = {"R": Motion.INFUSING, "S": Motion.STANDING}
ALARMS = {"OCCLUSION": "motor_stalled", "WATCHDOG": "pump_watchdog_expired"}
DIAMETERS_MM = (Decimal(4), Decimal(30))
TENTHS = Grid(Decimal("0.1"), Decimal(200), ((Decimal(1000), Decimal("0.1")),))
COUNTER = Grid(Decimal(0), Decimal(9999), ((Decimal(10000), Decimal("0.01")),))


# --- frames -----------------------------------------------------------------------------------------------------------


def spell(text: str) -> bytes:
    body = text.encode("ascii")
    return body + b"*%02X\n" % (sum(body) % 256)


class AcmeFramer:
    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        self._buffer = (self._buffer + data)[-4 * LONGEST_LINE :]

    def frames(self) -> Iterable[Frame | Damaged]:
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            body = line[:-3]
            if not body or line[-3:] != b"*%02X" % (sum(body) % 256):
                yield Damaged(line, "wrong sum")
            elif body.startswith(b"!"):
                yield Frame("alarm", body[1:])
            else:
                yield Frame("reply", body)

    def silence(self, seconds: float) -> None:
        if seconds >= INTER_BYTE_S:
            self._buffer = b""

    def reset(self) -> None:
        self._buffer = b""


# --- dialogues --------------------------------------------------------------------------------------------------------


def ask(command: str, repeat: Repeat = Repeat.SAFE) -> Dialogue[str]:
    frame = yield Ask(spell(command), REPLY_TIMEOUT_S, repeat)
    answer = frame.data.decode("ascii", "replace")
    if answer == "NO":
        raise Refused(f"{command}: the pump said no")
    return answer


def tell(command: str) -> Dialogue[None]:
    answer = yield from ask(command)
    if answer != "OK":
        raise Garbled(f"{command}: answered {answer!r}")


def settable(value: Decimal) -> str:
    if TENTHS.down(value) != value:
        raise ValueError(f"{value} is not settable: {TENTHS.least} to {TENTHS.most} in tenths")
    return f"{value}"


class AcmePump:
    def __init__(self) -> None:
        self.framer: Framer = AcmeFramer()
        self.capabilities = Capabilities(
            maker="Acme",
            model="D1",
            kind="syringe",
            control=True,
            stop=True,
            clinical_use=False,
            watchdog_s=(WATCHDOG_S, WATCHDOG_S),
            limit_restarts=True,
            live_rate_change=True,
            poll_acknowledges_alarm=False,
            has_serial_number=True,
            worst_reply_s=REPLY_TIMEOUT_S,
            alarms=(*ALARMS.values(), "pump_alarm_unknown"),
        )

    def fitted(self, container: Container) -> Fitted:
        diameter_mm = container.diameter_mm  # None: a bag, and this pump takes syringes
        if diameter_mm is None or not DIAMETERS_MM[0] <= diameter_mm <= DIAMETERS_MM[1]:
            raise BadSetting("diameter_mm", f"{diameter_mm}: expected {DIAMETERS_MM[0]} to {DIAMETERS_MM[1]} mm")
        return Fitted(rates=TENTHS, limits=TENTHS, counter=COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        if frame.kind != "alarm":
            return LEAVE
        words = frame.data.decode("ascii", "replace")
        return Taken(notices=(PumpAlarm(ALARMS.get(words, "pump_alarm_unknown"), words),))

    def keep_alive(self) -> KeepAlive | None:
        return KeepAlive(WATCHDOG_S / 3, self._feed, covered_by_any=True)

    def _feed(self) -> Dialogue[None]:
        yield from ask("?")

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        words = (yield from ask("ID")).split()
        if len(words) != 3:
            raise Garbled(f"ID: answered {words!r}")
        report = yield from self.read()
        return Identity(model=words[0], version=words[1], serial=words[2], rate=report.rate, limit=report.limit)

    def read(self) -> Dialogue[PumpReport]:
        answer = yield from ask("?")
        try:
            motion, rate, counted, limit = answer.split()
            return PumpReport(
                MOTIONS.get(motion, Motion.UNKNOWN),
                rate=MlPerHour(Decimal(rate)),
                counted=Ml(Decimal(counted)),
                limit=Ml(Decimal(limit)),
            )
        except (ValueError, InvalidOperation) as error:
            raise Garbled(f"?: answered {answer!r}") from error

    def settings(self) -> Dialogue[Settings]:
        values = (yield from ask("GET")).split()
        if len(values) != 3:
            raise Garbled(f"GET: answered {values!r}")
        return tuple(zip(("diameter", "keypad lock", "watchdog"), values, strict=True))

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        wanted = (f"{programme.container.diameter_mm}", "1" if programme.keypad_lock else "0", f"{WATCHDOG_S}")
        yield from tell(f"SET {' '.join(wanted)}")
        settings = yield from self.settings()
        for (name, got), want in zip(settings, wanted, strict=True):
            if got != want:
                raise Differs(name, want, got)
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        yield from tell(
            f"LOAD {settable(rate.value)} {settable(limit.value)}"
        )  # refused while it runs; the limit counts from zero again
        report = yield from self.read()
        if report.motion is not Motion.STANDING:
            raise Refused("the pump must stand for this")
        if report.rate != rate:
            raise Differs("rate", str(rate), str(report.rate))
        if report.limit != limit:
            raise Differs("limit", str(limit), str(report.limit))
        return report

    def start(self) -> Dialogue[None]:
        answer = yield from ask("START", Repeat.NEVER)
        if answer != "OK":
            raise Uncertain(f"START: answered {answer!r}")

    def stop(self) -> Dialogue[PumpReport]:
        yield from ask("STOP")  # what it answers is not believed
        return (yield from self.read())

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        yield from tell(f"RATE {settable(rate.value)}")
        report = yield from self.read()
        if report.rate is None:
            raise Garbled("no rate was read back")
        return report.rate

    def release(self) -> Dialogue[None]:
        yield from tell("BYE")  # disarms the watchdog


# --- entry point ------------------------------------------------------------------------------------------------------


class AcmeDriver:
    name: str = "acme"
    line: Line = Line(9600)
    probes: tuple[Probe, ...] = ()  # `pumpd probe` does not ask for it

    def open(self, settings: Mapping[str, object]) -> Pump:
        for key in settings:
            raise BadSetting(key, "unknown setting; this driver has none")
        return AcmePump()


DRIVER: Driver = AcmeDriver()
