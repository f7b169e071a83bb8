"""B. Braun dianet star family: Perfusor fm and compact (syringe), Infusomat fmS and P (volumetric).

Facts, their sources and what is not known stand in docs/devices/bbraun.md; "section" below means a section of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import suppress

from drivers import bbraun_wire as wire
from drivers.bbraun_wire import NO_ADDRESS, Action, BBraunFramer, Mode, Segment, Status
from pumpd.driver import (
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

LINK_TIMEOUT_S = 1.2  # the pump leaves remote control when it hears nothing for so long (section "Timing")
EVERY_S = 0.4  # a question at least so often; the pump's own program waits 0.5 s
REPLY_TIMEOUT_S = 0.35  # twice this after a lost question the next one goes out: 1.1 s after the last that was heard
KEYPAD_PAUSE_S = 0.4  # the pump takes no order until 2.0 s after the last key (section "Timing") ...
KEYPAD_TRIES = 7  # ... so that the last of these tries comes after it
STOP_TRIES = 4

TYPES = {
    "perfusor": {
        1019: "Perfusor fm",
        1020: "Perfusor fm (special)",
        1200: "Perfusor compact",
        1201: "Perfusor compact S",
    },
    "infusomat": {202: "Infusomat fmS", 203: "Infusomat P"},
}
KINDS = {"perfusor": "syringe", "infusomat": "volumetric"}
CONTAINERS = {"syringe": "syringe", "volumetric": "bag"}

UNKNOWN_ALARM = "pump_alarm_unknown"
SILENCED = "pump_watchdog_expired"
STOPPED = {  # what no pump goes on under; whether the others have stopped it, the status that tells them says
    0: "syringe_not_seated",
    2: "container_empty",
    3: "occlusion_downstream",
    4: "air_in_line",
    5: "drop_sensor",
    6: "pump_battery_empty",
    8: "pump_door_open",
}
ALARMS = {**STOPPED, 9: "pump_program_error", 15: "unplanned_function", wire.KVO_RUNS: "unplanned_function"}
COMMUNICATION, OPERATOR = 14, 16
# Named in each reading while they stand. 12 is the end that was ordered: whether the dose is in, the count tells.
WARNS = {1: "pump_near_end", 7: "pump_battery_low", 10: "pump_reminder", 11: "pump_reminder", 12: "pump_near_end"}
ON_BATTERY = "pump_on_battery"
KEYPAD_USED = "keypad_used"
KEYS = {0: "set values changed", 1: "limits changed", 2: "mute key", 3: "dose data changed"}  # request bits
MUTE_KEY, OPERATOR_ACTIVE = 2, "operator active"
WROTE_STATUSES = 2  # after an order of ours: so long a change of set values or limits may be its own
ALARMS_NOT_TOLD = "the pump does not tell its alarms"


# --- the pump ---------------------------------------------------------------------------------------------------------


class BBraunPump:
    """One pump, alone on its line. A number off its grid is the caller's mistake: ValueError, and nothing is sent."""

    def __init__(self, model: str, letter: str, rate_decimals: int) -> None:
        self._types = TYPES[model]
        self._letter = letter.encode("ascii")
        self._address = NO_ADDRESS  # where the pump was heard last
        self._rates = wire.rates(rate_decimals)
        self._controlled = False  # it was put under our remote control, and has not been let go
        self._identnr = 0  # of who answered last
        self._limits: wire.Limits | None = None  # of who answered last
        self._offered: Grid | None = None  # the rates of the last plan
        self._alarms: frozenset[int] = frozenset()  # as last read: told is what comes anew
        self._keys: frozenset[str] = frozenset()  # likewise
        self._wrote = 0  # an order of ours may show in so many statuses more
        self.framer: Framer = BBraunFramer()
        self.capabilities = Capabilities(
            maker="B. Braun",
            model=f"{model.capitalize()} (dianet star)",
            kind=KINDS[model],
            control=True,
            stop=True,
            clinical_use=False,  # made for people, but no byte of this driver was ever tried on such a pump
            watchdog_s=None,  # it notices our silence, but that it stops then is not known (section "Timing")
            limit_restarts=True,  # not known, so the careful answer
            live_rate_change=True,
            poll_acknowledges_alarm=False,
            has_serial_number=True,
            worst_reply_s=REPLY_TIMEOUT_S,
            lost_after_s=LINK_TIMEOUT_S,
            poll_s=EVERY_S,
            alarms=tuple(
                dict.fromkeys((*ALARMS.values(), SILENCED, *WARNS.values(), ON_BATTERY, KEYPAD_USED, UNKNOWN_ALARM))
            ),
        )

    def fitted(self, container: Container) -> Fitted:
        """What this pump told of itself, once it was connected; a syringe pump's own syringe is compared at arming."""
        takes = CONTAINERS[self.capabilities.kind]
        if container.kind != takes:
            raise BadSetting("container", f"a {container.kind}; this pump takes a {takes}")
        self._offered = self._rates_here()
        return Fitted(rates=self._offered, limits=wire.VOLUMES, counter=wire.COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell what a status shows anew, and that an order was refused since somebody is at the keypad."""
        if frame.address not in ("", wire.address_text(self._letter)):
            return Taken()
        notices: list[PumpAlarm] = []
        if frame.kind == "nak" and frame.data[1] == wire.KEYPAD_BUSY:
            notices += self._keys_seen(self._keys | {OPERATOR_ACTIVE})
        elif frame.kind == "ack" and frame.data[0] == Segment.STATUS:
            with suppress(Garbled):  # the dialogue says so
                notices += self._news(wire.read_status(frame))
        return Taken(notices=tuple(notices), consumed=False)

    def _news(self, status: Status) -> Iterator[PumpAlarm]:
        yield from self._key_news(status)
        if self._controlled and status.states is not None and not status.says(wire.REMOTE_AND_KEYPAD):
            self._controlled = False
            yield silenced(status, "left remote control by itself")
        if status.alarms is None:
            yield PumpAlarm(UNKNOWN_ALARM, ALARMS_NOT_TOLD, stops=not status.motion.moves)
            return
        fresh, self._alarms = status.alarms - self._alarms - WARNS.keys(), status.alarms
        if status.motion is Motion.KVO:  # the reading says so
            fresh -= {wire.KVO_RUNS}
        yield from (alarm(bit, status) for bit in sorted(fresh))

    def _key_news(self, status: Status) -> Iterator[PumpAlarm]:
        known: set[str] = set()
        if self._wrote:
            self._wrote -= 1
            known |= {KEYS[wire.SET_VALUES_CHANGED], KEYS[wire.LIMITS_CHANGED]}
        if self._alarms or status.alarms:
            known.add(KEYS[MUTE_KEY])
        if (status.alarms or frozenset()) - WARNS.keys():  # then somebody is expected at the keypad
            known |= {*KEYS.values(), OPERATOR_ACTIVE}
        yield from self._keys_seen(keys_of(status), known)

    def _keys_seen(self, keys: frozenset[str], known: Set[str] = frozenset()) -> Iterator[PumpAlarm]:
        """What was done at the keypad under our control, when it comes anew and is not `known` to mean nothing."""
        fresh, self._keys = keys - self._keys - known, keys
        if fresh and self._controlled:
            yield PumpAlarm(KEYPAD_USED, ", ".join(sorted(fresh)), stops=False)

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Questions only, so the same for hands off: who it is and what it is set to."""
        ident = yield from self._find()
        if ident.identnr != self._identnr:
            self._identnr, self._alarms, self._keys = ident.identnr, frozenset(), frozenset()
            self._limits = None
        model = self._types.get(ident.type_number)
        if model is None:
            every = {number: name for types in TYPES.values() for number, name in types.items()}
            found = every.get(ident.type_number, "not known")
            wanted = ", ".join(self._types.values())
            raise Refused(f"a pump of type {ident.type_number} ({found}) answers; the configuration expects {wanted}")
        setting = wire.SetValues(*wire.fields(wire.SET_VALUES, (yield from self._read_wherever(Segment.SET_VALUES))))
        if self._limits is None:
            with suppress(Refused):  # it can be watched without
                self._limits = yield from self._read_limits()
        return Identity(
            model=model,
            version=ident.software.decode("ascii", "replace").strip(),
            serial=f"{ident.type_number}-{ident.serial}",  # pumps of two types may have one number
            fingerprint=(("type", str(ident.type_number)), ("protocol", str(ident.protocol))),
            rate=wire.rate_of(setting.rate),
            limit=wire.volume_of(setting.limit),
        )

    def keep_alive(self) -> KeepAlive | None:
        """The identity question, as the pump's own program does it; every other good question does as well."""
        return KeepAlive(EVERY_S, self._stay_in_touch, covered_by_any=True)

    def read(self) -> Dialogue[PumpReport]:
        """Counter and status, and the set values while they matter: the pump stands, or says that they changed."""
        counted = wire.volume_of((yield from self._actual()).infused)
        status = yield from self._status()
        yield from self._heed(status)
        rate, limit = status.rate, None
        if status.motion is Motion.STANDING or wire.SET_VALUES_CHANGED in status.requests:
            setting = yield from self._set_values()
            limit = wire.volume_of(setting.limit)
            if status.motion is Motion.STANDING:  # the status tells the actual rate, which is 0 now
                rate = wire.rate_of(setting.rate)
        return PumpReport(status.motion, rate, counted, limit, warnings_of(status))

    def settings(self) -> Dialogue[Settings]:
        """The arming list without rate and limit, which `load` sets and proves before each start."""
        settings, _ = yield from self._settings_and_syringe()
        return settings

    def _settings_and_syringe(self) -> Dialogue[tuple[Settings, Ml | None]]:
        syringe = syringe_of((yield from self._actual()))
        step = (yield from self._set_values()).pressure_step
        status = yield from self._status()
        settings = (
            ("mode", status.mode),
            ("data lock", on_or_off(status.says(wire.DATA_LOCK))),
            ("other functions", other_functions(status) or "none"),
            ("syringe", "not told" if syringe is None else str(syringe)),
            ("pressure step", "not told" if step == wire.NOT_TOLD_1 else str(step)),
        )
        return settings, syringe

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """Remote control beside the keypad, data lock as wanted, no programme of the pump's own; `load` is next."""
        self._counts(programme.rate, programme.limit)
        self._alarms = frozenset()  # what stands now is told to whoever arms, though it was told to somebody before
        status = yield from self._controlled_and_standing()
        if others := other_functions(status):
            raise Differs("other functions", "none", f"{others}; switch it off at the pump")
        yield from self._check_limits(programme.rate, programme.limit)
        if status.says(wire.DATA_LOCK) != programme.keypad_lock:
            yield from self._order(Segment.ACTION, bytes([Action.DATA_LOCK, programme.keypad_lock]), "data lock")
        settings, syringe = yield from self._settings_and_syringe()
        if programme.container.kind == "syringe" and syringe not in (None, programme.container.size):
            raise Differs("syringe size", str(programme.container.size), str(syringe))
        wanted = {"mode": "remote and keypad", "data lock": on_or_off(programme.keypad_lock), "other functions": "none"}
        for name, got in settings:
            if got != wanted.get(name, got):
                raise Differs(name, wanted[name], got)
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Set rate and limit, read both back, and see that the pump counts down from no more than the limit."""
        rate_count, limit_count = self._counts(rate, limit)
        yield from self._controlled_and_standing()
        yield from self._put(rate_count, limit_count)
        counted = wire.volume_of((yield from self._actual()).infused)
        status = yield from self._status()
        if status.motion is not Motion.STANDING:
            raise Differs("state after loading", Motion.STANDING.value, status.motion.value)
        if status.remaining is None or not Ml(0) < status.remaining <= limit:  # 0 may mean no limit at all
            raise Differs("remaining volume limit", str(limit), str(status.remaining or "none"))
        return PumpReport(Motion.STANDING, rate, counted, limit)

    def start(self) -> Dialogue[None]:
        """AKTION start. Raises Uncertain when what came back leaves open whether it was heard."""
        self._wrote = WROTE_STATUSES
        frame = yield self._question(Segment.ACTION, bytes([Action.RUN, 1]), Repeat.NEVER, tries=1)
        if frame.kind == "ack":
            return
        complaint = wire.complaint(frame, "start")
        if isinstance(complaint, Garbled):
            raise Uncertain(str(complaint))
        raise complaint

    def stop(self) -> Dialogue[PumpReport]:
        """AKTION stop until a later status says that the pump stands; remote control is taken where it was lost."""
        seen = ""
        for _ in range(STOP_TRIES):
            try:
                yield from self._order_stop()
                status = yield from self._status()
            except (Refused, Garbled) as problem:
                seen = str(problem)
                continue
            if status.motion is Motion.STANDING:
                return PumpReport(Motion.STANDING, counted=(yield from self._counted_if_told()))
            seen = status.motion.value
        raise Garbled(f"stop was sent {STOP_TRIES} times; the pump was not seen standing (last: {seen})")

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """Write the rate alone and read it back. A pump that has left remote control refuses."""
        count = wire.counts(rate.value, self._rates, wire.RATE_UNIT)
        yield from self._order(Segment.WRITE_VALUES, wire.values(count), "rate")
        got = wire.rate_of((yield from self._set_values()).rate)
        if got is None:
            raise Garbled("no rate was read back")
        return got

    def release(self) -> Dialogue[None]:
        """Data lock off, rate 0, documentation mode: then a key alone starts nothing and nobody has to be asked."""
        # The limit stays the smallest one: rate 0 together with limit 0 would throw the pump out of remote control.
        status = yield from self._standing()
        if not status.says(wire.DOCUMENTATION):
            if status.says(wire.DATA_LOCK):
                yield from self._order(Segment.ACTION, bytes([Action.DATA_LOCK, 0]), "data lock off")
            # A rate left behind is said to make the pump alarm "rate invalid" on its way back (section "Timing").
            with suppress(Refused):
                yield from self._order(Segment.WRITE_VALUES, wire.values(0), "rate 0")
            self._controlled = False
            yield from self._choose_mode(Mode.DOCUMENTATION)
            status = yield from self._status_wherever()
        if not status.says(wire.DOCUMENTATION) or status.says(wire.DATA_LOCK):
            raise Differs("mode", "documentation, no data lock", f"{status.mode}, lock {status.says(wire.DATA_LOCK)}")

    # --- questions ----------------------------------------------------------------------------------------------------

    def _question(self, segment: Segment, data: bytes = b"", repeat: Repeat = Repeat.SAFE, tries: int = 2) -> Ask:
        block = self._address + bytes([segment]) + data
        # A pump that could not read a frame cannot be trusted to name its segment, so any NAK is for us.
        return Ask(
            wire.framed(block),
            REPLY_TIMEOUT_S,
            repeat,
            tries,
            lambda frame: frame.kind == "nak" or frame.data[0] == segment,
        )

    def _read(self, segment: Segment, tries: int = 2) -> Dialogue[Frame]:
        """The answer to a read, asked once more when the question was damaged on its way."""
        frame = yield self._question(segment, tries=tries)
        if frame.kind == "nak" and frame.data[1] in wire.DAMAGED_ON_THE_WAY:
            frame = yield self._question(segment, tries=tries)
        if frame.kind == "nak":
            raise wire.complaint(frame, f"{segment.name.lower()} question")
        return frame

    def _status(self) -> Dialogue[Status]:
        return wire.read_status((yield from self._read(Segment.STATUS)))

    def _status_wherever(self) -> Dialogue[Status]:
        return wire.read_status((yield from self._read_wherever(Segment.STATUS)))

    def _actual(self) -> Dialogue[wire.Actual]:
        return wire.Actual(*wire.fields(wire.ACTUAL, (yield from self._read(Segment.ACTUAL))))

    def _set_values(self) -> Dialogue[wire.SetValues]:
        return wire.SetValues(*wire.fields(wire.SET_VALUES, (yield from self._read(Segment.SET_VALUES))))

    def _counted_if_told(self) -> Dialogue[Ml | None]:
        with suppress(Refused, Garbled):
            return wire.volume_of((yield from self._actual()).infused)
        return None

    def _heed(self, status: Status) -> Dialogue[None]:
        """Read again what the pump wants read, though little in it is for a reading: it may wait for that."""
        if wire.LIMITS_CHANGED in status.requests:
            with suppress(Refused, Garbled):
                self._limits = yield from self._read_limits()
        if wire.DOSE_CHANGED in status.requests:
            with suppress(Refused, Garbled):
                yield from self._read(Segment.DOSE)

    def _stay_in_touch(self) -> Dialogue[None]:
        yield self._question(Segment.IDENT)

    def _find(self, tries: int = 2) -> Dialogue[wire.Ident]:
        """Who answers, without address or at the configured one: first where the pump was heard last."""
        return wire.Ident(*wire.fields(wire.IDENT, (yield from self._read_wherever(Segment.IDENT, tries))))

    def _read_wherever(self, segment: Segment, tries: int = 1) -> Dialogue[Frame]:
        """A pump may tell who it is at an address where it answers nothing else, so any question may have to look."""
        before = self._address
        try:
            return (yield from self._read(segment, tries))
        except (Silent, Refused):
            self._address = self._other_address()
            try:
                return (yield from self._read(segment, tries))
            except BaseException:  # cut short, too: it was not heard there
                self._address = before
                raise

    def _other_address(self) -> bytes:
        return NO_ADDRESS if self._address == self._letter else self._letter

    # --- orders -------------------------------------------------------------------------------------------------------

    def _order(self, segment: Segment, data: bytes, what: str, tries: int = 2) -> Dialogue[None]:
        """Wait until nobody is at the keypad. A "no" may not keep the pump in touch; a good question does."""
        for remaining in reversed(range(KEYPAD_TRIES)):
            self._wrote = WROTE_STATUSES
            frame = yield self._question(segment, data, tries=tries)
            if frame.kind == "ack":
                return
            if frame.data[1] in (wire.KEYPAD_BUSY, *wire.DAMAGED_ON_THE_WAY) and remaining:
                yield Pause(KEYPAD_PAUSE_S)
                yield from self._stay_in_touch()
                continue
            raise wire.complaint(frame, what)

    def _order_stop(self) -> Dialogue[None]:
        """AKTION stop where the pump was heard last, then at its other address. What it answers is not believed."""
        # One try each, so that both are through before the link counts as lost; who ordered the stop orders it again.
        stop = bytes([Action.RUN, 0])
        self._wrote = WROTE_STATUSES
        try:
            frame = yield self._question(Segment.ACTION, stop, tries=1)
        except Silent:
            before, self._address = self._address, self._other_address()
            try:
                frame = yield self._question(Segment.ACTION, stop, tries=1)
            except BaseException:  # cut short, too: it was not heard there
                self._address = before
                raise
        if frame.kind == "nak" and frame.data[1] in wire.NOT_CONTROLLED:
            if (yield from self._status()).motion is not Motion.STANDING:  # else it is left to who operates it
                yield from self._take_control()
                yield self._question(Segment.ACTION, stop)
        elif frame.kind == "nak" and frame.data[1] == wire.KEYPAD_BUSY:
            yield Pause(KEYPAD_PAUSE_S)

    def _counts(self, rate: MlPerHour, limit: Ml) -> tuple[int, int]:
        return (
            wire.counts(rate.value, self._rates, wire.RATE_UNIT),
            wire.counts(limit.value, wire.VOLUMES, wire.VOLUME_UNIT),
        )

    def _put(self, rate: int, limit: int) -> Dialogue[None]:
        yield from self._order(Segment.WRITE_VALUES, wire.values(rate, limit), "rate and volume limit")
        got = yield from self._set_values()
        if got.rate != rate:
            raise Differs("rate", str(wire.rate_of(rate)), str(wire.rate_of(got.rate)))
        if got.limit != limit:
            raise Differs("volume limit", str(wire.volume_of(limit)), str(wire.volume_of(got.limit)))

    def _read_limits(self) -> Dialogue[wire.Limits]:
        return wire.Limits(*wire.fields(wire.LIMITS, (yield from self._read(Segment.LIMITS))))

    def _rates_here(self) -> Grid:
        return self._rates if self._limits is None else wire.within(self._rates, self._limits)

    def _check_limits(self, rate: MlPerHour, limit: Ml) -> Dialogue[None]:
        self._limits = got = yield from self._read_limits()
        most, least = wire.rate_of(got.remote_rate_most), wire.rate_of(got.remote_rate_least)
        largest = wire.volume_of(got.volume_most)
        if (most is not None and rate > most) or (least is not None and rate < least):
            raise Refused(f"this pump takes rates from {least} to {most} under remote control, not {rate}")
        if largest is not None and limit > largest:
            raise Refused(f"this pump takes volume limits up to {largest}, not {limit}")
        if self._offered is not None and self._offered.least < self._rates_here().least:
            raise Refused(f"this pump takes no rate below {least}, which was not known yet: plan again")

    # --- modes --------------------------------------------------------------------------------------------------------

    def _standing(self) -> Dialogue[Status]:
        return must_stand((yield from self._status()))

    def _controlled_and_standing(self) -> Dialogue[Status]:
        status = yield from self._standing()
        if self._address == self._letter and status.says(wire.REMOTE_AND_KEYPAD):
            self._controlled = True
            return status
        return must_stand((yield from self._take_control()))

    def _take_control(self) -> Dialogue[Status]:
        """Remote control with the keypad still allowed: its stop key must work whatever becomes of us."""
        yield from self._choose_mode(Mode.REMOTE_AND_KEYPAD)
        status = yield from self._status_wherever()
        if not status.says(wire.REMOTE_AND_KEYPAD):
            raise Differs("mode", "remote and keypad", status.mode)
        self._controlled = True
        return status

    def _choose_mode(self, mode: Mode) -> Dialogue[None]:
        """Name the pump its own identity, then find it at the address that it has in this mode."""
        ident = yield from self._find()
        order = wire.control(ident.identnr, mode, self._letter)
        heard_at, self._address = self._address, NO_ADDRESS  # as published; whether its letter serves too is not known
        # One try at each address: the second must come before the pump and the link take each other for lost.
        try:
            yield from self._order(Segment.CONTROL, order, "mode", tries=1)
        except (Silent, wire.WrongAddress):
            if heard_at == NO_ADDRESS:
                raise
            self._address = heard_at
            yield from self._order(Segment.CONTROL, order, "mode", tries=1)
        self._address = NO_ADDRESS if mode is Mode.DOCUMENTATION else self._letter
        yield from self._find(tries=1)


def must_stand(status: Status) -> Status:
    """The status of a pump that stands. Raises Refused for any other."""
    if status.motion is not Motion.STANDING:
        raise Refused(f"the pump must stand for this; it is {status.motion.value}")
    return status


def alarm(bit: int, status: Status) -> PumpAlarm:
    """The alarm that this bit stands for."""
    name = wire.ALARM_NAMES[bit] if bit < len(wire.ALARM_NAMES) else "not documented"
    native = f"{name} (bit {bit})"
    if bit == COMMUNICATION:
        return silenced(status, native)
    if bit == OPERATOR:
        return PumpAlarm(KEYPAD_USED, native, stops=False)
    return PumpAlarm(ALARMS.get(bit, UNKNOWN_ALARM), native, stops=bit in STOPPED or not status.motion.moves)


def silenced(status: Status, native: str) -> PumpAlarm:
    """The pump has lost us. Whether it stops then is not known, so only one that stands is said to have stopped."""
    moves = status.motion.moves
    return PumpAlarm(UNKNOWN_ALARM if moves else SILENCED, native, stops=not moves)


def warnings_of(status: Status) -> tuple[str, ...] | None:
    """What holds and stops nothing; None where the pump does not tell."""
    if status.alarms is None or status.states is None:
        return None
    on_battery = () if status.says(wire.MAINS) else (ON_BATTERY,)
    return tuple(dict.fromkeys((*(WARNS[bit] for bit in sorted(status.alarms & WARNS.keys())), *on_battery)))


def keys_of(status: Status) -> frozenset[str]:
    """What the pump says was done at its keypad."""
    keys = {word for bit, word in KEYS.items() if bit in status.requests}
    return frozenset(keys | ({OPERATOR_ACTIVE} if status.says(wire.OPERATOR_ACTIVE) else set()))


def syringe_of(actual: wire.Actual) -> Ml | None:
    """The size that the pump reads; None where it tells none."""
    return None if actual.syringe_ml == wire.NOT_TOLD_2 else Ml(actual.syringe_ml)


def other_functions(status: Status) -> str:
    """What the pump would do by itself beside a rate with a limit."""
    return ", ".join(name for state, name in wire.NOT_OURS.items() if status.says(state))


def on_or_off(state: bool) -> str:
    """In words."""
    return "on" if state else "off"


# --- entry point ------------------------------------------------------------------------------------------------------


HARMLESS = "a checked question between two flags; no other family is known to take it"


class BBraunDriver:
    """Settings: `model` "perfusor" or "infusomat", `address` "A" to "Z" ("A"), `rate_decimals` 0 to 2 (1)."""

    name: str = "bbraun"
    line: Line = Line(9600)
    probes: tuple[Probe, ...] = tuple(Probe(20, HARMLESS, (("model", model),)) for model in TYPES)

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for an unknown key or a value out of range."""
        known = ("model", "address", "rate_decimals")
        for key in settings:
            if key not in known:
                raise BadSetting(key, f"unknown setting; known are {', '.join(known)}")
        model = settings.get("model", "perfusor")
        if not isinstance(model, str) or model not in TYPES:
            raise BadSetting("model", f'{model!r}: expected "perfusor" or "infusomat"')
        letter = settings.get("address", "A")
        if not isinstance(letter, str) or len(letter) != 1 or not "A" <= letter <= "Z":
            raise BadSetting("address", f'{letter!r}: expected one letter from "A" to "Z"')
        decimals = settings.get("rate_decimals", 1)
        if isinstance(decimals, bool) or not isinstance(decimals, int) or not 0 <= decimals <= 2:
            raise BadSetting("rate_decimals", f"{decimals!r}: expected 0, 1 or 2")
        return BBraunPump(model, letter, decimals)


DRIVER: Driver = BBraunDriver()
