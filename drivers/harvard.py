"""Harvard Apparatus / KD Scientific syringe pumps with the ULTRA command set: PHD ULTRA, Pump 11 Elite, KDS Legato.

Facts, their sources and what is not known stand in docs/devices/harvard.md; "section" below means a section of it.

The pump has no watchdog: two bounds of its own, a target volume and a target time, are set before every start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from drivers.harvard_wire import (
    COUNTER_BANDS,
    DIAMETER,
    INFUSE_LIMIT,
    LIMIT_BANDS,
    LONGEST_S,
    RATE,
    RATE_BANDS,
    RATE_RANGE,
    REACHED,
    RUNNING_RATE,
    SMALLEST,
    STALLED,
    TARGET,
    TARGET_TIME,
    TIME,
    VOLUME,
    WITHDRAW_LIMIT,
    HarvardFramer,
    Reply,
    Status,
    last_digit,
    obeys,
    plain,
    rate_of,
    reply_of,
    seconds_of,
    spell_time,
    status_of,
    target_above,
    tells,
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
    Pause,
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

REPLY_TIMEOUT_S = 0.5  # the maker's own best is 50 ms; what the worst is, is not known
STOP_TRIES = 4
READINGS = 3  # two witnesses may differ once because a key was pressed between them, or a byte was changed
SETTLE_S = 0.1
TIME_SHARE = Decimal("1.1")  # the target time is a bound on a runaway, never the end of a dose that goes as planned:
TIME_MARGIN_S = 60  # a tenth and a minute over what the volume takes, or over the longest session
LONGEST_MIN, LONGEST_MIN_RANGE = 120, (0, 1440)  # a later step may be slower, and a running pump may take no other time
SAME_SHARE = Decimal("0.00002")  # rate set and rate told, where six digits and two roundings part them
APART_SHARE = Decimal("0.001")  # ... and at most; what lies between has to be read twice

TROUBLES = {
    STALLED: PumpAlarm("motor_stalled", "* stalled"),
    INFUSE_LIMIT: PumpAlarm("motor_stalled", ">* infuse limit switch"),  # the pusher is at its end
    WITHDRAW_LIMIT: PumpAlarm("pump_alarm_unknown", "<* withdraw limit switch"),  # nobody told it to withdraw
}
NOT_TOLD = "not told"
MODE = re.compile(r".*\((qs [iw]+)\)|.+")
INFUSE_ONLY = "qs i"
RAMP = re.compile(r".+")
NO_RAMP = "Ramp not set up"
ANYTHING = re.compile(r".+")
LABELLED = re.compile(r"(\w[\w ]*\w): *(.+)")
NO_SERIAL = "the pump tells no serial number: it could not be known again, so it is only watched"

# Plunger speeds of the one pump whose range was recorded (section "Rates"); each pump's own range is asked at arming.
RECORDED_AREA_MM2 = Decimal("3.14159265358979") * Decimal("7.262") ** 2 / 4
FASTEST_MM_PER_H = Decimal("26003.5") * 60 / RECORDED_AREA_MM2
SLOWEST_MM_PER_H = Decimal("0.0250404") * 60 / RECORDED_AREA_MM2
DIAMETERS_MM = (Decimal("0.1"), Decimal("50"))


class HarvardPump:
    """One pump at one address. A number off its grid is the caller's mistake: ValueError before anything is sent."""

    def __init__(self, address: int, longest_min: int) -> None:
        self._address = address
        self._longest_s = longest_min * 60
        self._framer = HarvardFramer()
        self.framer: Framer = self._framer
        self.capabilities = Capabilities(
            maker="Harvard Apparatus",
            model="ULTRA command set",
            kind="syringe",
            control=True,
            stop=True,
            clinical_use=False,
            watchdog_s=None,
            limit_restarts=True,  # what a start at the keypad does at a target that was reached is not known: the worse
            live_rate_change=True,
            poll_acknowledges_alarm=False,
            has_serial_number=True,
            worst_reply_s=REPLY_TIMEOUT_S,
            alarms=tuple(dict.fromkeys(alarm.code for alarm in TROUBLES.values())),
        )
        self._model: tuple[str | None, str] | None = None  # whose, and what it says; asked once
        self._told: str | None = None  # the trouble told since it came up

    def fitted(self, container: Container) -> Fitted:
        """What the fastest and the slowest recorded plunger give. Raises BadSetting for a diameter not settable."""
        diameter_mm = _diameter_mm(container)
        area_mm2 = Decimal("3.14159265358979") * diameter_mm**2 / 4
        least, most = (speed * area_mm2 / 1000 for speed in (SLOWEST_MM_PER_H, FASTEST_MM_PER_H))
        return Fitted(
            rates=Grid(_on_grid(least, ROUND_CEILING), _on_grid(most, ROUND_FLOOR), RATE_BANDS),
            limits=Grid(SMALLEST, min(container.size.value, Decimal(999)), LIMIT_BANDS),
            counter=Grid(Decimal(0), Decimal(999), COUNTER_BANDS),
        )

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell a trouble of the motor once from a status that shows it until one that does not."""
        if frame.address not in self._addresses():
            return Taken()
        if not tells(frame):
            return LEAVE
        try:
            status = status_of(reply_of(frame))
        except Garbled:
            return LEAVE
        trouble = _trouble(status)
        news = trouble is not None and trouble != self._told
        self._told = trouble
        if not news or trouble is None:
            return LEAVE
        return Taken(notices=(TROUBLES[trouble],), consumed=False)

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Only questions, once the pump ends its replies with XON, which it is told to unless it is hands off."""
        return (yield from self._who((yield from self._find(hands_off))))

    def introduce(self) -> Dialogue[Identity]:
        """For a probe: hands off, and without a bare CR, which stops the pumps of an older command set."""
        try:
            version = yield from self._version_as(polled=True)
        except Silent:
            version = yield from self._version_as(polled=False)
        return (yield from self._who(version))

    def _who(self, version: dict[str, str]) -> Dialogue[Identity]:
        if version.get("Pump address", "").strip() not in ("", f"{self._address}", f"{self._address:02d}"):
            raise Refused(f"the pump says that its address is {version['Pump address']}, not {self._address}")
        serial = version.get("Serial number")
        if self._model is None or serial != self._model[0]:
            self._model = serial, (yield from self._known("ver", ANYTHING))
        diameter, rate, target = NOT_TOLD, None, None
        with suppress(Refused):  # it shows another screen (section "Screens")
            diameter = yield from self._diameter()
            rate = yield from self._rate()
            target = yield from self._target()
        counted = yield from self._counted()
        return Identity(
            model=self._model[1],
            version=version.get("Firmware", NOT_TOLD),
            serial=serial,
            fingerprint=(("address", f"{self._address}"), ("diameter", diameter)),
            rate=rate,
            limit=None if target is None else max(target - counted, Ml(0)),
            monitor_only="" if serial else NO_SERIAL,
        )

    def keep_alive(self) -> KeepAlive | None:
        """None: the pump has no watchdog (section "Bounds")."""
        return None

    def read(self) -> Dialogue[PumpReport]:
        """Counter, rate and status, read again where they do not bear each other out: the line has no check."""
        seen, rate = "", None
        for attempt in range(READINGS):
            if attempt:
                yield Pause(SETTLE_S)
            before = rate
            counted = yield from self._counted()
            rate = yield from self._rate_on_any_screen()
            status = yield from self._status()
            if _went_on(status, counted):  # a third witness: what the status says lies between the two counts
                later = yield from self._counted()
                seen = _disagreement(status, rate, counted, later)
                counted = min(later, Ml(status.volume.value.quantize(last_digit(counted.value), ROUND_DOWN)))
            else:
                seen = _disagreement(status, rate, counted, counted)
            if not seen and status.motion is not None and (rate == before or not _in_doubt(status, rate)):
                return PumpReport(status.motion, rate, counted)
            seen = seen or f"rate {rate}, status {status.rate}"
        raise Garbled(f"the pump contradicts itself: {seen}")

    def settings(self) -> Dialogue[Settings]:
        """The arming list without rate and targets, which `load` sets before each start."""
        mode = yield from self._mode()
        ramp = yield from self._ramp()
        diameter = yield from self._diameter()
        size = yield from self._volume("svolume")
        force = yield from self._known("force", ANYTHING)
        rates = yield from self._query("irate lim", RATE_RANGE)
        status = yield from self._agreed_status()
        return (
            ("mode", mode),
            ("ramp", ramp),
            ("diameter", diameter),
            ("syringe volume", plain(size.value)),
            ("force", force),
            ("rate range", rates[0]),
            ("trigger input", "on" if status.triggered else "off"),
            ("keypad lock", "not settable over the line"),
        )

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """Infusing only, no ramp, the syringe, the counter at zero; rate and targets are left to `load`."""
        # It follows at once, and both together must not take so long that the last reading is too old.
        _limit(programme.limit)
        rate, container = _rate(programme.rate), programme.container
        diameter, size = plain(_diameter_mm(container)), plain(container.size.value)
        yield from self._must_stand()
        mode = yield from self._mode()
        if mode not in (INFUSE_ONLY, NOT_TOLD):
            yield from self._order(f"load {INFUSE_ONLY}")
        if (yield from self._ramp()) not in ("none", NOT_TOLD):
            yield from self._order("cttime")  # clears a ramp as well (section "Commands")
        if (yield from self._diameter()) != diameter:
            yield from self._order(f"diameter {diameter}")
        if plain((yield from self._volume("svolume")).value) != size:
            yield from self._order(f"svolume {size} ml")
        settings = yield from self.settings()
        wanted = {"mode": INFUSE_ONLY, "ramp": "none", "trigger input": "off"}
        wanted |= {"diameter": diameter, "syringe volume": size}
        for name, got in settings:
            if got not in (wanted.get(name, got), NOT_TOLD):
                raise Differs(name, wanted[name], got)
        _within_range(rate, dict(settings)["rate range"])
        yield from self._clear_counter()
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Target volume above what is counted, target time, rate; all read back, with the pump still standing."""
        _limit(limit)
        _rate(rate)
        yield from self._must_stand()
        counted = yield from self._put(rate, limit)
        after = yield from self._counted()
        status = yield from self._agreed_status()
        if status.motion is not Motion.STANDING or after != counted:
            raise Differs("state after loading", f"standing at {counted}", f"prompt {status.prompt} at {after}")
        return PumpReport(Motion.STANDING, rate, counted, limit)

    def start(self) -> Dialogue[None]:
        """Infuse. Raises Uncertain when what came back does not say that it does."""
        reply = reply_of((yield Ask(self._spell("irun"), REPLY_TIMEOUT_S, Repeat.NEVER, tries=1, accept=obeys)))
        if reply.fault:
            raise Refused(f"irun: {reply.fault}")
        if reply.prompt != ">" or reply.lines:  # seen in the field: idle is told once more, and it runs (quirk 5)
            raise Uncertain(f"irun: answered {' / '.join([*reply.lines, reply.prompt])}")

    def stop(self) -> Dialogue[PumpReport]:
        """Stop until flags and prompt of a later status say that it stands."""
        seen = ""
        # A bare CR first: it ends what a cut line has left, and makes the pump listen after a touch of its screen.
        order = Ask(b"\r" + self._spell("stp"), REPLY_TIMEOUT_S, tries=1, accept=obeys)
        for attempt in range(STOP_TRIES):
            with suppress(Silent):
                yield order  # what it answers is not believed: it is the prompt to the CR, or to an older order
            try:
                status = yield from self._status(tries=1)
            except Silent:
                if attempt:
                    raise
                continue
            except (Garbled, Refused) as problem:
                seen = str(problem)
                continue
            if status.motion is Motion.STANDING:
                return PumpReport(Motion.STANDING, counted=(yield from self._counted_standing(status)))
            seen = f"prompt {status.prompt}, direction {status.direction}"
        raise Garbled(f"stp was sent {STOP_TRIES} times; the pump was not seen standing (last: {seen})")

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """The rate first; then more time where a lower one needs it, as far as the pump takes that while it runs."""
        _rate(rate)
        yield from self._order(f"irate {plain(rate.value)} ml/hr")
        got = yield from self._rate()
        if got == rate:
            with suppress(Refused, Garbled, Silent):  # without it the pump stops early, which is told, and may go on
                yield from self._leave_time_for(rate)
        return got

    def release(self) -> Dialogue[None]:
        """Nothing is sent: there is no watchdog, and the pump's bounds stay."""
        yield from ()

    # --- questions and orders -----------------------------------------------------------------------------------------

    def _spell(self, command: str) -> bytes:
        return f"{self._address or ''}{command}\r".encode("ascii")

    def _addresses(self) -> tuple[str, ...]:
        return (f"{self._address:02d}",) if self._address else ("", "00")

    def _reopen(self) -> Dialogue[None]:
        """A bare CR: it ends what a cut line has left, and makes the pump listen after a touch of its screen."""
        with suppress(Silent):
            yield Ask(b"\r", REPLY_TIMEOUT_S, tries=1)

    def _ask(self, command: str, tries: int = 2) -> Dialogue[Reply]:
        """Raises Refused when the pump answers with an error, Garbled when it answers with a bare prompt."""
        question = Ask(self._spell(command), REPLY_TIMEOUT_S, tries=1, accept=tells)
        try:
            frame = yield question
        except Silent:
            if tries == 1:
                raise
            yield from self._reopen()
            frame = yield question
        reply = reply_of(frame)
        if reply.fault:
            raise Refused(f"{command}: {reply.fault}")
        if not reply.lines:
            raise Garbled(f"{command}: answered with the prompt {reply.prompt} alone")
        return reply

    def _query(self, command: str, pattern: re.Pattern[str]) -> Dialogue[re.Match[str]]:
        reply = yield from self._ask(command)
        reading = pattern.fullmatch(reply.lines[0].strip()) if len(reply.lines) == 1 else None
        if reading is None:
            raise Garbled(f"{command}: {' / '.join(reply.lines)!r} is no answer to it")
        return reading

    def _known(self, command: str, pattern: re.Pattern[str]) -> Dialogue[str]:
        """What the pump says to a question that not every model knows."""
        try:
            return (yield from self._query(command, pattern))[0]
        except Refused:
            return NOT_TOLD

    def _order(self, command: str) -> Dialogue[None]:
        """One order that may be repeated. What it did is always read back."""
        if self._address:
            yield from self._order_in_chain(command)
            return
        order = Ask(self._spell(command), REPLY_TIMEOUT_S, tries=1, accept=obeys)
        try:
            frame = yield order
        except Silent:
            yield from self._reopen()
            frame = yield order
        _obeyed(command, frame)

    def _order_in_chain(self, command: str) -> Dialogue[None]:
        """No order is acknowledged there: the answer to a question right behind it tells that it was heard."""
        # Waiting out each silence would take so long that the last reading is too old before the pump is armed.
        both = self._spell(command) + self._spell("ivolume")
        with suppress(Silent):
            reply = reply_of((yield Ask(both, REPLY_TIMEOUT_S, tries=1, accept=tells)))
            if reply.fault:
                raise Refused(f"{command}: {reply.fault}")

    def _volume(self, command: str) -> Dialogue[Ml]:
        volume = volume_of((yield from self._query(command, VOLUME)))
        assert volume is not None
        return volume

    def _counted(self) -> Dialogue[Ml]:
        return (yield from self._volume("ivolume"))

    def _sure_count(self) -> Dialogue[Ml]:
        """Of a standing pump, borne out by the raw status: the target is put above it, and so is one digit too many."""
        seen = ""
        for _ in range(READINGS):
            counted = yield from self._counted()
            status = yield from self._standing()
            seen = _disagreement(status, None, counted, counted)
            if not seen:
                return counted
        raise Garbled(f"the pump contradicts itself: {seen}")

    def _counted_standing(self, status: Status) -> Dialogue[Ml | None]:
        """The counter where the status bears it out; None where not: a stop that is proved does not wait for it."""
        with suppress(Garbled, Silent, Refused):
            counted = yield from self._counted()
            return None if _disagreement(status, None, counted, counted) else counted
        return None

    def _rate(self) -> Dialogue[MlPerHour]:
        return rate_of((yield from self._query("irate", RATE)))

    def _rate_on_any_screen(self) -> Dialogue[MlPerHour | None]:
        try:
            return (yield from self._rate())
        except Refused as refused:
            other_screen = refused
        try:
            return rate_of((yield from self._query("crate", RUNNING_RATE)))
        except Refused:
            status = yield from self._agreed_status()
            if status.motion is Motion.STANDING:
                return None
            raise other_screen from None

    def _target(self) -> Dialogue[Ml | None]:
        return volume_of((yield from self._query("tvolume", TARGET)))

    def _target_time(self) -> Dialogue[Decimal | None]:
        return seconds_of((yield from self._query("ttime", TARGET_TIME)))

    def _time_run(self) -> Dialogue[Decimal]:
        return seconds_of((yield from self._query("itime", TIME))) or Decimal(0)

    def _diameter(self) -> Dialogue[str]:
        return plain(Decimal((yield from self._query("diameter", DIAMETER))[1]))

    def _mode(self) -> Dialogue[str]:
        mode = MODE.fullmatch((yield from self._known("load", MODE)))
        assert mode is not None
        return mode[1] or mode[0]

    def _ramp(self) -> Dialogue[str]:
        ramp = yield from self._known("iramp", RAMP)
        return "none" if ramp.startswith(NO_RAMP) else ramp

    def _status(self, tries: int = 2) -> Dialogue[Status]:
        return status_of((yield from self._ask("status", tries)))

    def _agreed_status(self) -> Dialogue[Status]:
        for attempt in range(READINGS):
            if attempt:
                yield Pause(SETTLE_S)
            status = yield from self._status()
            if status.motion is not None:
                return status
        raise Garbled(f"prompt {status.prompt} and direction {status.direction} contradict each other")

    def _standing(self) -> Dialogue[Status]:
        status = yield from self._agreed_status()
        if status.motion is not Motion.STANDING:
            raise Refused(f"the pump must stand for this; its prompt is {status.prompt}")
        return status

    def _must_stand(self) -> Dialogue[None]:
        status = yield from self._standing()
        if status.prompt == REACHED:
            yield from self._order("stp")  # back to idle (section "Bounds")

    # --- finding it ---------------------------------------------------------------------------------------------------

    def _find(self, hands_off: bool) -> Dialogue[dict[str, str]]:
        """What `version` says. From then on it is known how the pump ends its replies."""
        with suppress(Silent):
            return (yield from self._version_as(polled=True))
        yield from self._reopen()  # nobody who listens was silent: it is heard by a pump whose screen was touched alone
        if hands_off:
            return (yield from self._version_as(polled=bool(self._address)))
        for order in ("poll on", "echo off"):  # neither touches the delivery
            with suppress(Silent):
                yield Ask(self._spell(order), REPLY_TIMEOUT_S, tries=1)
        return (yield from self._version())

    def _version_as(self, *, polled: bool) -> Dialogue[dict[str, str]]:
        """With or without XON; without it the end of a reply is sure for address 0 alone."""
        self._framer.polled = polled
        return (yield from self._version())

    def _version(self) -> Dialogue[dict[str, str]]:
        """Asked until two answers agree: one changed byte would make another pump of ours, which is given no stop."""
        before = yield from self._ask("version", tries=1)
        for _ in range(READINGS):
            reply = yield from self._ask("version", tries=1)
            if reply.lines == before.lines:
                found = [LABELLED.fullmatch(line.strip()) for line in reply.lines]
                return {label[1]: label[2].strip() for label in found if label}
            before = reply
        raise Garbled("version: answered differently each time")

    # --- bounds -------------------------------------------------------------------------------------------------------

    def _put(self, rate: MlPerHour, limit: Ml) -> Dialogue[Ml]:
        """Both targets and the rate, written where they differ, then all read back. Gives the counter, unchanged."""
        if limit.value == SMALLEST:
            # Nothing is to be given any more: neither a start nor a reset of the counter at the keypad may give a dose.
            yield from self._clear_counter()
        counted = yield from self._sure_count()
        if (yield from self._time_run()):
            yield from self._order("citime")
            if time_run := (yield from self._time_run()):
                raise Differs("time infused", "0 seconds", f"{time_run} seconds")
        target, seconds = target_above(counted, limit), max(_time_for(limit, rate), _with_margin(self._longest_s))
        if not target > counted:
            raise Refused(f"{limit} is lost in the digits of the pump's counter at {counted}; arm again")
        written = False
        if (yield from self._target()) != target:
            written = True
            yield from self._order(f"tvolume {plain(target.value)} ml")
        if (yield from self._target_time()) != seconds:
            written = True
            yield from self._order(f"ttime {spell_time(seconds)}")
        if (yield from self._rate()) != rate:
            written = True
            yield from self._order(f"irate {plain(rate.value)} ml/hr")
        if written:
            yield from self._verify(target, seconds, rate)
        return counted

    def _verify(self, target: Ml, seconds: int, rate: MlPerHour) -> Dialogue[None]:
        """Only when all are written: one of them may have changed another."""
        if (got := (yield from self._target())) != target:
            raise Differs("target volume", str(target), str(got or "not set"))
        if (got_s := (yield from self._target_time())) != seconds:
            raise Differs("target time", f"{seconds} seconds", f"{got_s or 'not set'}")
        if (got_rate := (yield from self._rate())) != rate:
            raise Differs("rate", str(rate), str(got_rate))

    def _clear_counter(self) -> Dialogue[None]:
        if not (yield from self._counted()):
            return
        try:
            frame = yield Ask(self._spell("civolume"), REPLY_TIMEOUT_S, Repeat.NEVER, tries=1, accept=obeys)
        except Uncertain:
            if not self._address:
                raise
        else:
            _obeyed("civolume", frame)
        counted = yield from self._counted()
        if counted:
            raise Differs("volume infused", "0 mL", str(counted))

    def _leave_time_for(self, rate: MlPerHour) -> Dialogue[None]:
        target, seconds = (yield from self._target()), (yield from self._target_time())
        if target is None or seconds is None:
            return
        rest = target - (yield from self._counted())
        run = yield from self._time_run()
        needed = min(_time_for(rest, rate) + int(run), LONGEST_S)
        if needed > seconds:
            yield from self._order(f"ttime {spell_time(needed)}")


def _obeyed(command: str, frame: Frame) -> None:
    reply = reply_of(frame)
    if reply.fault:
        raise Refused(f"{command}: {reply.fault}")
    if reply.lines:
        raise Garbled(f"{command}: answered {' / '.join(reply.lines)!r}")


def _within_range(rate: MlPerHour, told: str) -> None:
    least, most = (rate_of(end) for end in RATE.finditer(told))
    if not least <= rate <= most:
        raise Refused(f"{rate} is outside of what the pump gives with this syringe: {told}")


def _trouble(status: Status) -> str | None:
    """What stands in the way of the motor, when flags or prompt say so."""
    if status.stalled or status.prompt == STALLED:
        return STALLED
    if status.limit_switch in "iI" or status.prompt == INFUSE_LIMIT:
        return INFUSE_LIMIT
    return WITHDRAW_LIMIT if status.prompt == WITHDRAW_LIMIT else None


def _margin(status: Status, counted: Ml) -> Decimal:
    return last_digit(counted.value) * 2 + last_digit(status.volume.value) * 2


def _went_on(status: Status, counted: Ml) -> bool:
    """It moves, and more was given by the time of the status than the counter had said before."""
    moves = status.motion is not None and status.motion.moves and status.direction in "iI"
    return moves and status.volume.value > counted.value + _margin(status, counted)


def _disagreement(status: Status, rate: MlPerHour | None, before: Ml, after: Ml) -> str:
    """In words, where the raw status does not bear out what was read around it; empty when it does."""
    if status.motion is None:
        return f"prompt {status.prompt}, direction {status.direction}"
    infusing = status.motion is Motion.INFUSING
    if infusing and (rate is None or abs(status.rate.value - rate.value) > rate.value * APART_SHARE):
        return f"rate {rate}, status {status.rate}"
    margin = _margin(status, before)
    if status.direction in "iI" and not before.value - margin <= status.volume.value <= after.value + margin:
        return f"volume {before} and {after}, status {status.volume}"
    return ""


def _in_doubt(status: Status, rate: MlPerHour | None) -> bool:
    """Near, but not the same: a digit of the rate may be missing or changed."""
    if status.motion is not Motion.INFUSING or rate is None:
        return False
    return abs(status.rate.value - rate.value) > rate.value * SAME_SHARE


# --- numbers ----------------------------------------------------------------------------------------------------------


def _diameter_mm(container: Container) -> Decimal:
    least, most = DIAMETERS_MM
    diameter_mm = container.diameter_mm
    if diameter_mm is None:
        raise BadSetting("diameter_mm", f"a {container.kind} has none; expected a syringe")
    if not least <= diameter_mm <= most or round(diameter_mm, 4) != diameter_mm:
        raise BadSetting("diameter_mm", f"{diameter_mm:f}: expected {least} to {most} mm, at most four decimals")
    return diameter_mm


def _on_grid(value: Decimal, rounding: str) -> Decimal:
    step = Grid(SMALLEST, value, RATE_BANDS).step_at(value)
    return (value / step).to_integral_value(rounding) * step


def _rate(rate: MlPerHour) -> MlPerHour:
    if not rate.value > 0 or _on_grid(rate.value, ROUND_FLOOR) != rate.value:
        raise ValueError(f"{rate} is not a rate the pump is set to: more than 0, at most six digits")
    return rate


def _limit(limit: Ml) -> Ml:
    if not SMALLEST <= limit.value <= 999 or limit.down(SMALLEST) != limit:
        raise ValueError(f"{limit} is not a limit the pump is set to: {SMALLEST} to 999 mL in steps of {SMALLEST}")
    return limit


def _time_for(volume: Ml, rate: MlPerHour) -> int:
    """Seconds within which `volume` is surely in at `rate`, with the margin; at most what can be spelled."""
    return _with_margin(volume.value * 3600 / rate.value)


def _with_margin(seconds: Decimal | int) -> int:
    return min(int((seconds * TIME_SHARE).to_integral_value(ROUND_CEILING)) + TIME_MARGIN_S, LONGEST_S)


# --- entry point ------------------------------------------------------------------------------------------------------


def _introduce(pump: Pump) -> Dialogue[Identity]:
    assert isinstance(pump, HarvardPump)
    return pump.introduce()


class HarvardDriver:
    """Settings: `address` 0..99 (0), `longest_min` 0..1440 (120): no run is ended by time before so many minutes."""

    name: str = "harvard"
    line: Line = Line(115200)
    probes: tuple[Probe, ...] = (
        Probe(45, "its letters could be a command to another family that reads lines of text", question=_introduce),
    )

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for an unknown key or a value out of range."""
        for key in settings:
            if key not in ("address", "longest_min"):
                raise BadSetting(key, "unknown setting; known are address, longest_min")
        return HarvardPump(
            _whole(settings, "address", 0, (0, 99)), _whole(settings, "longest_min", LONGEST_MIN, LONGEST_MIN_RANGE)
        )


def _whole(settings: Mapping[str, object], key: str, default: int, allowed: tuple[int, int]) -> int:
    value = settings.get(key, default)
    least, most = allowed
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadSetting(key, f"{value!r}: expected a whole number from {least} to {most}")
    return value


DRIVER: Driver = HarvardDriver()
