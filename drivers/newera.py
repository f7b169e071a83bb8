"""New Era NE-1000 family (WPI Aladdin, Landgraf LA) syringe pumps: laboratory pumps, not made for people.

Facts, their sources and what is not known stand in docs/devices/newera.md; "section" below means a section of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import TypeVar

from drivers.newera_wire import (
    ANY_NUMBER,
    BANDS,
    COUNTED,
    CR,
    LARGEST,
    ML_PER,
    MOTIONS,
    READINGS,
    REFUSALS,
    VERSION,
    Alarmed,
    Answer,
    Framing,
    NewEraFramer,
    comparable,
    complaint,
    on_grid,
    plain,
    rate_of,
    read_answer,
    safe_packet,
    spell,
    volume_of,
)
from pumpd.driver import (
    LEAVE,
    Ask,
    BadSetting,
    Capabilities,
    Container,
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
    Silent,
    Taken,
    Uncertain,
)
from pumpd.units import Ml, MlPerHour

T = TypeVar("T")

REPLY_TIMEOUT_S = 0.5  # field drivers wait 0.05 to 0.5 s; old NE-500 firmware wants no less than 0.5 (section "Timing")
CONNECT_TRIES = 3  # power-on alarm, one older alarm, then the answer
STOP_TRIES = 4  # pause, reset, and one alarm each
KEEP_ALIVES_PER_WATCHDOG = 3  # one may be lost and the next still comes in time
WATCHDOG_RANGE_S = (3, 30)  # the pump takes 1 to 255; for control under 3 s is a false stop, over 30 s too much drug

ALARMS = {
    "R": "pump_power_lost",
    "S": "motor_stalled",
    "T": "pump_watchdog_expired",
    "E": "pump_program_error",
    "O": "pump_program_error",
}
UNKNOWN_ALARM = "pump_alarm_unknown"
DIAMETERS_MM = (Decimal("0.1"), Decimal("50.0"))  # section "Commands", DIA
FASTEST_CM_PER_H = Decimal("5.1005") * 60  # plunger speed of the NE-1000 (section "Rates")
SLOWEST_CM_PER_H = Decimal("0.004205")
PI = Decimal("3.14159265358979")


# --- the pump ---------------------------------------------------------------------------------------------------------


class NewEraPump:
    """One pump at one address. A number off its grid is the caller's mistake: ValueError before anything is sent."""

    def __init__(self, address: int, watchdog_s: int) -> None:
        """`watchdog_s` 0 means Basic mode, which has neither checksum nor watchdog."""
        self._address = address
        self._watchdog_s = watchdog_s
        self._framer = NewEraFramer()
        self.framer: Framer = self._framer
        self.capabilities = Capabilities(
            maker="New Era",
            model="NE-1000",
            kind="syringe",
            control=True,
            stop=True,
            clinical_use=False,
            watchdog_s=(watchdog_s, watchdog_s) if watchdog_s else None,
            limit_restarts=True,
            live_rate_change=True,
            poll_acknowledges_alarm=True,
            has_serial_number=False,
            worst_reply_s=REPLY_TIMEOUT_S,
            alarms=(*dict.fromkeys(ALARMS.values()), UNKNOWN_ALARM),
        )

    def fitted(self, container: Container) -> Fitted:
        """Rates from the plunger's speed limits (section "Rates"). Raises BadSetting for a diameter not settable."""
        least_mm, most_mm = DIAMETERS_MM
        diameter_mm = _diameter_mm(container)
        if not least_mm <= diameter_mm <= most_mm or ANY_NUMBER.down(diameter_mm) != diameter_mm:
            raise BadSetting(
                "diameter_mm",
                f"{diameter_mm:f}: expected {least_mm} to {most_mm} mm, at most four digits, such as 26.59",
            )
        area_cm2 = PI * (diameter_mm / 20) ** 2
        return Fitted(
            rates=Grid(
                on_grid(SLOWEST_CM_PER_H * area_cm2, ROUND_CEILING), on_grid(FASTEST_CM_PER_H * area_cm2), BANDS
            ),
            limits=ANY_NUMBER,
            counter=Grid(Decimal(0), LARGEST, BANDS),
        )

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell every alarm, asked for or not; let a dialogue that waits see it too, since its order was not done."""
        if frame.address != f"{self._address:02d}":
            return Taken()
        if frame.kind != "alarm":
            return LEAVE
        letter = frame.data.decode("ascii")
        alarm = PumpAlarm(ALARMS.get(letter, UNKNOWN_ALARM), f"A?{letter}")
        return Taken(notices=(alarm,), consumed=not asking)

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Find the pump in either mode; while it stands, put it into the configured one unless it is hands off."""
        # Safe for a pump that is infusing: all that goes out then are questions. SAF is written only while the pump
        # stands, because on a running pump it would start a watchdog that stops a delivery nobody here is minding.
        # A pump already in Safe mode is fed by any question, as by every later poll.
        status = yield from self._find()
        if MOTIONS[status] is Motion.STANDING and not hands_off:
            yield from self._twice(partial(self._choose_mode, self._watchdog_s))
        _, version = yield from self._twice(partial(self._query, "VER", VERSION))
        readings = []
        for name in ("DIA", "VOL", "RAT"):
            _, reading = yield from self._twice(partial(self._query, name, READINGS[name]))
            readings.append(reading)
        diameter, limit, rate = readings
        return Identity(
            model=version[1],
            version=version[2],
            fingerprint=(("address", f"{self._address:02d}"), ("diameter", diameter[1])),
            rate=rate_of(rate),
            limit=volume_of(limit),
        )

    def who_in_basic(self) -> Dialogue[Identity]:
        """Model and version of a pump in Basic mode; nothing is changed, but an alarm of power-on is acknowledged."""
        self._framer.framing = Framing.BASIC
        for left in (2, 1, 0):  # an alarm of power-on, and what other families were asked before, may spoil one each
            try:
                _, version = yield from self._query("VER", VERSION)
            except Refused:
                if not left:
                    raise
            else:
                break
        return Identity(model=version[1], version=version[2])

    def keep_alive(self) -> KeepAlive | None:
        """The bare status question; any valid packet feeds the watchdog as well (section "Watchdog")."""
        if not self._watchdog_s:
            return None
        return KeepAlive(self._watchdog_s / KEEP_ALIVES_PER_WATCHDOG, self._feed_watchdog, covered_by_any=True)

    def read(self) -> Dialogue[PumpReport]:
        """Counter and rate; each answer carries the state, and the later one rules."""
        _, counted = yield from self._twice(self._counted)
        status, rate = yield from self._twice(self._rate_now)  # the later status rules
        return PumpReport(MOTIONS[status], rate, counted)

    def settings(self) -> Dialogue[Settings]:
        """The arming list without rate, limit and second phase, which `load` sets or proves before each start."""
        # The second phase cannot be read without moving the pump's phase cursor, which a paused pump may refuse.
        values = []
        for name in ("SAF", "DIA", "PHN", "FUN", "DIR", "PF", "TRG", "DIN", "AL", "LOC"):
            value = yield from (self._trigger() if name == "TRG" else self._reading(name))
            values.append((name, value))
        return tuple(values)

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """Phase 1 a rate with a limit, phase 2 a stop; whatever could start or restart the pump unasked is off."""
        diameter_mm = _diameter_mm(programme.container)
        diameter, rate, limit = spell(diameter_mm), spell(programme.rate.value), spell(programme.limit.value)
        yield from self._reset_programme()
        yield from self._choose_mode(self._watchdog_s)
        wanted = {"SAF": str(self._watchdog_s), "DIA": plain(diameter_mm), "PHN": "1", "FUN": "RAT"}
        wanted |= {"DIR": "INF", "PF": "0", "DIN": "0", "AL": "1", "LOC": "1" if programme.keypad_lock else "0"}
        # The diameter first: it clears the counters and may change the volume unit.
        yield from self._put("DIA", wanted["DIA"], diameter)
        yield from self._put("PHN", "2")
        yield from self._put("FUN", "STP")
        for name in ("PHN", "FUN", "DIR", "PF", "DIN", "AL", "LOC"):
            yield from self._put(name, wanted[name])
        if (yield from self._trigger_off()):
            wanted["TRG"] = "OF"
        yield from self._put_limit(limit)
        yield from self._put_rate(rate)
        settings = yield from self.settings()
        for name, got in settings:
            if got != wanted.get(name, got):
                raise Differs(name, wanted[name], got)
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Reset the programme, prove both phases, set and read back limit and rate."""
        rate_text, limit_text = spell(rate.value), spell(limit.value)
        yield from self._reset_programme()
        yield from self._put("PHN", "2")
        yield from self._confirm("FUN", "STP")
        yield from self._put("PHN", "1")
        yield from self._confirm("FUN", "RAT")
        yield from self._put_limit(limit_text)
        yield from self._put_rate(rate_text)
        status, counted = yield from self._counted()
        if status != "S":
            raise Differs("state after loading", "standing, programme reset", MOTIONS[status].value)
        return PumpReport(Motion.STANDING, rate, counted, limit)

    def start(self) -> Dialogue[None]:
        """RUN. Raises Uncertain when what came back is no answer to it."""
        try:
            status, data = yield from self._ask("RUN", Repeat.NEVER)
        except Garbled as unreadable:
            raise Uncertain(f"RUN: {unreadable}") from unreadable  # the order left; what answered was no answer to it
        if data and data not in REFUSALS:
            raise Uncertain(f"RUN: answered {data}")
        if data:
            raise complaint("RUN", data)
        if status != "I":
            raise Differs("RUN", Motion.INFUSING.value, MOTIONS[status].value)

    def stop(self) -> Dialogue[PumpReport]:
        """STP until the counter's answer says that the pump stands; it gives state and counter only."""
        known = self._framer.framing
        try:
            report = yield from self._stop_until_standing()
            known = self._framer.framing
            return report
        except Silent:
            known = None  # nobody answers in this mode: the next STP goes out in both
            raise
        finally:
            self._framer.framing = known  # an answer to STP alone, perhaps an echo, is not believed

    def _stop_until_standing(self) -> Dialogue[PumpReport]:
        # What STP answers is not believed: it may be the late answer to an older question, or an alarm in place of the
        # deed. DIS is asked instead of the bare status because its answer cannot be mistaken for one to STP.
        seen = ""
        for _ in range(STOP_TRIES):
            yield from self._order_stop()
            try:
                status, counted = yield from self._counted()
            except (Alarmed, Garbled) as problem:
                seen = str(problem)
                continue
            if MOTIONS[status] is Motion.STANDING:
                return PumpReport(Motion.STANDING, counted=counted)
            seen = MOTIONS[status].value
        raise Garbled(f"STP was sent {STOP_TRIES} times; the pump was not seen standing (last: {seen})")

    def _order_stop(self) -> Dialogue[None]:
        """STP in the pump's mode, or in both where it is not known: the one that was heard last first."""
        # Safe packets are proved to be understood in Basic mode for SAF only; and what a cut line has left in the
        # buffer of a pump in Basic mode is ended by CR alone.
        if self._framer.framing is not None:
            yield self._question("STP")
            return
        stop = f"{self._address}STP"
        first, second = safe_packet(stop), stop.encode("ascii") + CR
        if self._framer.heard is Framing.BASIC:
            first, second = second, first
        try:
            yield Ask(first, REPLY_TIMEOUT_S, tries=1)
        except Silent:
            yield Ask(second, REPLY_TIMEOUT_S, tries=1)
        self._framer.framing = self._framer.heard

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """A bare number in the pump's own unit. Raises Refused when that unit is not MH."""
        number = spell(rate.value)
        _, current = yield from self._query("RAT", READINGS["RAT"])
        if current[2] != "MH":  # a running pump takes no unit, so a bare number means its own
            raise Refused(f"the pump counts its rate in {current[2]}, not MH; it cannot be changed while it runs")
        yield from self._set(f"RAT{number}")
        _, reading = yield from self._query("RAT", READINGS["RAT"])
        return rate_of(reading)

    def release(self) -> Dialogue[None]:
        """Leave Safe mode, which disarms the watchdog. Nothing is sent in Basic mode."""
        if self._watchdog_s:
            yield from self._twice(partial(self._choose_mode, 0))

    # --- questions and orders -----------------------------------------------------------------------------------------

    def _question(self, command: str, repeat: Repeat = Repeat.SAFE) -> Ask:
        text = f"{self._address}{command}"
        # A Safe packet is understood in both modes, so it is the one to send while the mode is not known.
        data = text.encode("ascii") + CR if self._framer.framing is Framing.BASIC else safe_packet(text)
        return Ask(data, REPLY_TIMEOUT_S, repeat, tries=2 if repeat is Repeat.SAFE else 1)

    def _ask(self, command: str, repeat: Repeat = Repeat.SAFE) -> Dialogue[Answer]:
        frame = yield self._question(command, repeat)
        return read_answer(command, frame)

    def _query(self, command: str, pattern: re.Pattern[str]) -> Dialogue[tuple[str, re.Match[str]]]:
        status, data = yield from self._ask(command)
        reading = pattern.fullmatch(data)
        if reading is None:
            raise complaint(command, data)
        return status, reading

    def _set(self, command: str) -> Dialogue[None]:
        _, data = yield from self._ask(command)
        if data:
            raise complaint(command, data)

    def _twice(self, question: Callable[[], Dialogue[T]]) -> Dialogue[T]:
        """Ask again once when an alarm answered: it is told by `on_frame` and acknowledged by having been answered."""
        try:
            return (yield from question())
        except Alarmed:
            return (yield from question())

    def _reading(self, name: str) -> Dialogue[str]:
        _, reading = yield from self._query(name, READINGS[name])
        return comparable(name, reading)

    def _confirm(self, name: str, wanted: str) -> Dialogue[None]:
        got = yield from self._reading(name)
        if got != wanted:
            raise Differs(name, wanted, got)

    def _put(self, name: str, wanted: str, spelling: str = "") -> Dialogue[None]:
        """Write only what differs: the pump keeps its settings in memory that wears."""
        if (yield from self._reading(name)) != wanted:
            yield from self._set(name + (spelling or wanted))
            yield from self._confirm(name, wanted)

    def _put_limit(self, number: str) -> Dialogue[None]:
        if not (yield from self._reading("VOL")).endswith("ML"):
            yield from self._set("VOLML")  # unit and number never go together (section "Numbers")
        yield from self._put("VOL", f"{plain(Decimal(number))}ML", number)

    def _put_rate(self, number: str) -> Dialogue[None]:
        yield from self._put("RAT", f"{plain(Decimal(number))}MH", f"{number}MH")

    def _counted(self) -> Dialogue[tuple[str, Ml]]:
        status, reading = yield from self._query("DIS", COUNTED)
        return status, Ml(Decimal(reading[1]) * ML_PER[reading[3]])

    def _rate_now(self) -> Dialogue[tuple[str, MlPerHour | None]]:
        status, data = yield from self._ask("RAT")
        if data == "?NA":  # the selected phase has no rate, such as the stop phase after the end
            return status, None
        reading = READINGS["RAT"].fullmatch(data)
        if reading is None:
            raise complaint("RAT", data)
        return status, rate_of(reading)

    def _feed_watchdog(self) -> Dialogue[None]:
        yield self._question("")

    # --- modes and programme ------------------------------------------------------------------------------------------

    def _find(self) -> Dialogue[str]:
        """The status letter of a pump in either mode; from then on its framing is known."""
        self._framer.framing = None
        for _ in range(CONNECT_TRIES):
            try:
                frame = yield Ask(safe_packet(f"{self._address}"), REPLY_TIMEOUT_S, tries=1)
            except Silent:  # Safe packets are proved to be understood in Basic mode for SAF only
                frame = yield Ask(f"{self._address}".encode() + CR, REPLY_TIMEOUT_S, tries=1)
            self._framer.framing = self._framer.heard
            with suppress(Alarmed):  # of power-on, or older: acknowledged now
                return read_answer("status", frame).status
        raise Refused("the pump answers every question with an alarm")

    def _choose_mode(self, watchdog_s: int) -> Dialogue[None]:
        """Safe mode with this watchdog, or Basic mode with 0; written only when the pump reads something else."""
        wanted = str(watchdog_s)
        if (yield from self._reading("SAF")) != wanted:
            yield from self._switch_mode(f"SAF{wanted}")
            yield from self._confirm("SAF", wanted)

    def _switch_mode(self, command: str) -> Dialogue[None]:
        # Sent as a Safe packet from either mode, as seen to work; the answer comes in the mode just selected.
        before, self._framer.framing = self._framer.framing, None
        try:
            yield from self._set(command)
        except Alarmed:
            self._framer.framing = before
            raise
        self._framer.framing = self._framer.heard

    def _reset_programme(self) -> Dialogue[None]:
        """From paused to stopped, so that the next run counts its volume limit from zero. Only for a standing pump."""
        status, _ = yield from self._counted()
        if MOTIONS[status] is not Motion.STANDING:
            raise Refused(f"the pump must stand for this; it is {MOTIONS[status].value}")
        for _ in range(STOP_TRIES):
            if status == "S":
                return
            status, data = yield from self._ask("STP")
            if data not in ("", "?NA"):  # ?NA: it was stopped already
                raise complaint("STP", data)
        raise Refused("the pump stays paused; its programme does not reset")

    def _trigger(self) -> Dialogue[str]:
        _, data = yield from self._ask("TRG")
        if data == "?":
            return "unknown to this pump"
        if READINGS["TRG"].fullmatch(data) is None:
            raise complaint("TRG", data)
        return data

    def _trigger_off(self) -> Dialogue[bool]:
        """False where the firmware knows no `OF`: the input then stays as it is and stands so in the settings."""
        if (yield from self._trigger()) == "OF":
            return True
        _, data = yield from self._ask("TRGOF")
        if data in ("?", "?OOR"):
            return False
        if data:
            raise complaint("TRGOF", data)
        return True


def _diameter_mm(container: Container) -> Decimal:
    if container.diameter_mm is None:
        raise BadSetting("diameter_mm", f"a {container.kind} has none; expected a syringe")
    return container.diameter_mm


# --- entry point ------------------------------------------------------------------------------------------------------


def _who_in_basic(pump: Pump) -> Dialogue[Identity]:
    """In Basic mode alone: a Safe packet could leave a pump of another family waiting for its end."""
    assert isinstance(pump, NewEraPump)
    return pump.who_in_basic()


class NewEraDriver:
    """Settings: `address` 0..99 (0), `mode` "safe" or "basic" ("safe"), `watchdog_s` 3..30 s (10), Safe mode only."""

    name: str = "newera"
    line: Line = Line(19200)
    probes: tuple[Probe, ...] = (
        Probe(
            50,
            "its letters could be a command to another family that reads lines of text",
            question=_who_in_basic,
        ),
    )

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for an unknown key, a value out of range, or a watchdog asked of Basic mode."""
        known = ("address", "mode", "watchdog_s")
        for key in settings:
            if key not in known:
                raise BadSetting(key, f"unknown setting; known are {', '.join(known)}")
        address = _whole(settings, "address", 0, (0, 99))
        mode = settings.get("mode", "safe")
        if mode not in ("safe", "basic"):
            raise BadSetting("mode", f'{mode!r}: expected "safe" or "basic"')
        if mode == "basic" and "watchdog_s" in settings:
            raise BadSetting("watchdog_s", 'mode "basic" has no watchdog; leave it out or use mode "safe"')
        watchdog_s = _whole(settings, "watchdog_s", 10, WATCHDOG_RANGE_S)
        return NewEraPump(address, watchdog_s if mode == "safe" else 0)


def _whole(settings: Mapping[str, object], key: str, default: int, allowed: tuple[int, int]) -> int:
    value = settings.get(key, default)
    least, most = allowed
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadSetting(key, f"{value!r}: expected a whole number from {least} to {most}")
    return value


DRIVER: Driver = NewEraDriver()
