"""Alaris / Asena syringe pumps GH, GS, CC, TIVA and PK (IVAC, CareFusion, BD) with the RS-232 option.

Facts, their sources and what is not known stand in docs/devices/alaris.md; "section" below means a section of it.

Remote control is taken for orders and kept while the pump infuses at our order, and given back as soon as it is read
standing: who has it must go on talking, or the pump alarms and stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal

from drivers.alaris_wire import (
    COUNTER,
    LIMITS,
    NO_FLAG,
    RATE,
    RATES,
    SIZE,
    STILL_S,
    VOLUME,
    AlarisFramer,
    Log,
    Status,
    may_stand,
    motion_of,
    moving,
    number,
    read_status,
    security_code,
    spell,
    spell_limit,
    spell_rate,
    words_of,
)
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

REPLY_TIMEOUT_S = 0.5  # both field programs give up after 0.5 s and ask once more (section "Timing")
WORST_REPLY_S = 4.0  # COMMS_RESPONSE_MAX of a real pump
LOST_AFTER_S = 5.0  # beyond the worst reply
POLL_S = 0.5  # an answer now and then goes missing: the question is asked again before the lease of 2 s is over
WATCHDOG_S = 15  # maker's manual: started over the line, it stops after so long without communication
KEEP_ALIVE_S = 2.0  # 1 to 5 s in field programs; six may be lost
STOP_TRIES = 4
SETTLE_S = 0.25  # between an order and a reading that does not show it yet
RATE_READINGS = 3  # a new rate is looked for so often, SETTLE_S apart
UNNAMED_AFTER = 2  # readings with the alarm flag and still no code: it is told without one

UNKNOWN_ALARM, KEYPAD_USED = "pump_alarm_unknown", "keypad_used"
NO_ALARM = "AL_NOALM"
CONFIRMED = "CONF"  # the only syringe state that was ever seen
# Codes in none of these tables are told as unknown, with the pump's words (section "Alarms").
LINK_LOST = "AL_COMTO"  # one that was started at its keypad may go on
STOPPED = {
    "AL_OCCLU": "occlusion_downstream",
    "AL_DRDIS": "syringe_not_seated",
    "AL_SYRCO": "syringe_not_seated",
    LINK_LOST: "pump_watchdog_expired",
    "AL_FAULT": "pump_fault",
    "AL_EMBAT": "pump_battery_empty",
    "AL_EOIST": "container_empty",
}
GOES_ON = {  # and what a pump that moves under it does: it was told to stop at its limit
    "AL_EOIKV": ("container_empty", Motion.KVO),
    "AL_VTBIK": ("unplanned_function", Motion.KVO),
    "AL_VTBIC": ("unplanned_function", Motion.UNKNOWN),
}
LIMIT_REACHED = "AL_VTBIS"  # the end that was ordered: whether the dose is in, its count tells
WARNS = {
    "AL_LWBAT": "pump_battery_low",
    "AL_LBTAC": "pump_battery_low",
    "AL_ACDIS": "pump_on_battery",
    "AL_NEOIN": "pump_near_end",
    LIMIT_REACHED: "pump_near_end",
    "AL_CALLB": "pump_reminder",
}
KEY = PumpAlarm(KEYPAD_USED, "a log entry of its own", stops=False)
TOLD_AS = {**STOPPED, **{code: told for code, (told, _) in GOES_ON.items()}, **WARNS}
NO_PERMIT = "the pump gives no remote control (no PERMIT): it can only be watched"


class AlarisPump:
    """One pump. A number off its grid is the caller's mistake: ValueError before anything is sent."""

    def __init__(self) -> None:
        self.framer: Framer = AlarisFramer()
        self.capabilities = Capabilities(
            maker="Alaris",
            model="Asena syringe pump",
            kind="syringe",
            control=True,  # of the family; one pump without PERMIT refuses every order
            stop=True,
            clinical_use=False,  # made for people, but this driver was never tried on one (docs/devices/alaris.md)
            watchdog_s=(WATCHDOG_S, WATCHDOG_S),
            limit_restarts=True,  # not documented; the worse case
            live_rate_change=True,
            poll_acknowledges_alarm=False,
            has_serial_number=True,
            worst_reply_s=WORST_REPLY_S,
            lost_after_s=LOST_AFTER_S,
            poll_s=POLL_S,
            alarms=(*dict.fromkeys(TOLD_AS.values()), KEYPAD_USED, UNKNOWN_ALARM),
        )
        self._serial: str | None = None
        self._flag = NO_FLAG  # of the last status
        self._flagged = 0  # readings with the alarm flag, one after another
        self._told: str | None = None  # the code told since the flag came up
        self._version = ""  # asked for once
        self._controls = False  # remote control may be ours: asked for, and not seen given back
        self._permitted = False  # this pump has given remote control before
        self._still: Status | None = None  # the earlier of two readings that proved it to stand
        self._infuses = False  # as the last status says: whether an alarm that leaves it open has stopped it
        self._minding = False  # the pump infuses at our order, so losing PERMIT is news
        self._denied = False
        self._ours = False  # armed and not released: a key pressed at it is news
        self._log = Log()
        self._strange = False  # its log has an entry that no order of ours explains, nor yet an alarm

    def fitted(self, container: Container) -> Fitted:
        """The pump knows its syringe by make and size; those and the highest rate are compared at arming."""
        if container.kind != "syringe":
            raise BadSetting("container", f"a {container.kind}; this pump takes a syringe")
        return Fitted(rates=RATES, limits=LIMITS, counter=COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell an alarm once from the flag's coming up until it is gone, and each new code in between."""
        words = words_of(frame)
        padded = [*words, "", "", "", ""]
        notices: list[PumpAlarm] = []
        if words[0] == "INF":
            notices += self._flag_seen(padded[2])
            with suppress(Garbled):  # the dialogue says so
                notices += self._status_seen(read_status(words))
        elif words[0] == "ALARM":
            notices += self._alarm_said(padded[1], padded[2])
        elif words[:2] == ["REMOTE_CTRL", "ENABLED"]:
            notices += self._control_said(padded[3])
        return Taken(notices=tuple(notices), consumed=False)

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Only questions; one that stands is asked once whether it gives remote control, and gets it back at once."""
        before, self._serial = self._serial, None
        self._serial = serial = yield from self._serial_number()
        if serial != before:
            self._flag, self._flagged, self._told, self._minding, self._denied = NO_FLAG, 0, None, False, False
            self._ours, self._log, self._strange = False, Log(), False
            self._controls, self._permitted, self._still, self._version = False, False, None, ""
        self._ours = self._ours and not hands_off
        if not self._version:
            with suppress(Silent):
                self._version = " ".join((yield from self._ask("COMMS_PROTOCOL"))[1:])
        limit, monitor_only = None, ""
        with suppress(Silent):
            limit = _limit_of((yield from self._ask("INF_VTBI")))
        status = yield from self._status()
        probed = not hands_off and not self._permitted and (yield from self._judge(status))[1] is Motion.STANDING
        if probed and not (yield from self._probe()):
            monitor_only = NO_PERMIT
        return Identity(
            _model(serial),
            self._version or "not told",
            serial,
            rate=status.rate or None,
            limit=limit,
            monitor_only=monitor_only,
        )

    def keep_alive(self) -> KeepAlive | None:
        """REMOTE_CTRL again: whether any other frame feeds the watchdog is not known for every pump."""
        return KeepAlive(KEEP_ALIVE_S, self._feed_watchdog, covered_by_any=False)

    def read(self) -> Dialogue[PumpReport]:
        """One status; with the alarm flag the alarm as well; where it may stand a second one, STILL_S later."""
        status = yield from self._status()
        warnings: tuple[str, ...] | None = ()
        if status.alarmed:
            warnings = yield from self._warnings()
        status, motion = yield from self._judge(status)
        if self._controls and not motion.moves:  # nobody renews it for a pump that stands: it would alarm
            yield from self._give_back()
        if motion.moves and self._told in GOES_ON:
            _, motion = GOES_ON[self._told]
        return _report(status, motion, warnings)

    def settings(self) -> Dialogue[Settings]:
        """Which syringe the pump takes for fitted and what it can do. Rate and limit are proved by `load`."""
        settings, _, _ = yield from self._fitted_syringe()
        return settings

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """The planned syringe, confirmed; no alarm, the counter at zero. `load` proves rate and limit."""
        rate, _ = spell_rate(programme.rate), spell_limit(programme.limit)
        status = yield from self._must_stand()
        if status.alarmed:
            yield from self._must_only_warn()
        yield from self._take_control()
        settings, size, most = yield from self._fitted_syringe()
        state = dict(settings)["syringe state"]
        if state != CONFIRMED:
            raise Differs("syringe state", CONFIRMED, state)
        if Ml(number(size, SIZE)) != programme.container.size:
            raise Differs("syringe size", str(programme.container.size), dict(settings)["syringe"])
        if programme.rate > most:
            raise Refused(f"{rate} ml/h is above what the pump gives with this syringe: {most}")
        if status.counted:
            yield from self._clear_counter()
        self._ours = True
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Limit with end action STOP, then rate, both read back. Remote control is left on for the start."""
        rate_text, limit_text = spell_rate(rate), spell_limit(limit)
        before = yield from self._must_stand()
        if not self._controls:  # else arming has just taken it: a pump that stands gets it back at the next reading
            yield from self._take_control()
        after = yield from self._put(rate_text, limit_text)
        if not may_stand(after) or after.counted != before.counted:
            raise Differs("state after loading", "standing", f"{after.mode} {after.rate} at {after.counted}")
        self._ours = True
        return PumpReport(Motion.STANDING, after.rate or None, after.counted, limit)

    def start(self) -> Dialogue[None]:
        """INF_START, once. Raises Uncertain when what came back is not its echo."""
        yield from self._once("INF_START")

    def stop(self) -> Dialogue[PumpReport]:
        """INF_STOP until two later readings say that it stands; then the pump gets its keypad back."""
        report = yield from self._stop_until_standing()
        yield from self._give_back()
        return report

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """Gives the rate of a later status: the answer only repeats what was asked for."""
        text = spell_rate(rate)
        yield from self._take_control()
        yield from self._order_rate(text)
        status = yield from self._status()
        for _ in range(RATE_READINGS - 1):
            if status.rate == rate:
                break
            yield Pause(SETTLE_S)
            status = yield from self._status()
        return status.rate

    def release(self) -> Dialogue[None]:
        """Give remote control back, which ends the watchdog."""
        self._minding = self._ours = False
        self._controls = False
        yield from self._ask("REMOTE_CTRL", "DISABLED")  # answered at length by pumps, as an echo by a stand-in

    # --- questions and orders -----------------------------------------------------------------------------------------

    def _ask(self, *words: str, tries: int = 2) -> Dialogue[list[str]]:
        if words[:2] == ("REMOTE_CTRL", "ENABLED"):
            self._log.renewed()
        elif len(words) > 1:
            self._log.ordered()
        answer = words_of((yield Ask(spell(*words), REPLY_TIMEOUT_S, tries=tries)))
        if answer[0] != words[0]:  # how this pump refuses is not known: it may be that, or an older answer
            raise Garbled(f"{words[0]}: answered {'^'.join(answer)}")
        return answer

    def _once(self, command: str) -> Dialogue[None]:
        self._log.ordered()
        self._still = None
        frame = yield Ask(spell(command), REPLY_TIMEOUT_S, Repeat.NEVER, tries=1)
        if words_of(frame) != [command]:
            raise Uncertain(f"{command}: answered {'^'.join(words_of(frame))}")

    def _serial_number(self) -> Dialogue[str]:
        words = yield from self._ask("INST_SERIALNO")
        if len(words) != 2 or not words[1]:
            raise Garbled(f"INST_SERIALNO: answered {'^'.join(words)}")
        return words[1]

    def _status(self) -> Dialogue[Status]:
        status = read_status((yield from self._ask("INF")))
        if self._serial not in (None, status.serial):
            raise Garbled(f"INF: pump {status.serial} answers instead of {self._serial}")
        return status

    def _judge(self, status: Status) -> Dialogue[tuple[Status, Motion]]:
        """What the pump does. No mode word is known to say "standing": that takes two readings STILL_S apart.

        The earlier one may be of another dialogue, unless the pump was told to start, to stop or to clear since.
        """
        if self._still is not None and motion_of(self._still, status) is Motion.STANDING:
            return status, Motion.STANDING
        self._still = None
        if not may_stand(status):
            return status, moving(status)
        yield Pause(STILL_S)
        later = yield from self._status()
        motion = motion_of(status, later)
        if motion is Motion.STANDING:
            self._still = status
        return later, motion

    def _must_stand(self) -> Dialogue[Status]:
        status, motion = yield from self._judge((yield from self._status()))
        if motion is not Motion.STANDING:
            raise Refused(f"the pump must stand for this; it says {status.mode} {status.rate}")
        return status

    def _fitted_syringe(self) -> Dialogue[tuple[Settings, str, MlPerHour]]:
        """The settings, and of them the syringe's size as the pump says it, and its highest rate."""
        syringe = yield from self._ask("SYRINGE_STATUS")
        if len(syringe) != 4:
            raise Garbled(f"SYRINGE_STATUS: answered {'^'.join(syringe)}")
        _, make, size, state = syringe
        words = yield from self._ask("INF_RATE_MAX_SYRINGE")
        if len(words) != 3 or words[2] != "ml/h":
            raise Garbled(f"INF_RATE_MAX_SYRINGE: answered {'^'.join(words)}")
        most = MlPerHour(number(words[1], RATE))
        serial = self._serial or (yield from self._serial_number())
        settings = (
            ("serial number", serial),
            ("syringe", f"{make} {size} ml"),
            ("syringe state", state),
            ("highest rate", f"{words[1]} ml/h"),
            ("keypad lock", "not settable over the line"),
        )
        return settings, size, most

    def _clear_counter(self) -> Dialogue[None]:
        yield from self._once("INF_VI_CLEAR")
        counted = (yield from self._status()).counted
        if counted:
            raise Differs("volume infused", "0.000 mL", str(counted))

    def _put(self, rate: str, limit: str) -> Dialogue[Status]:
        """Set both; the limit is believed by its query, the rate by a later status."""
        yield from self._ask("INF_VTBI", "ACTIV", limit, "ml", "STOP")  # the pump's answer is inferred; not believed
        got = yield from self._ask("INF_VTBI")
        if [*got[1:2], *got[3:]] != ["ACTIV", "ml", "STOP"] or number(got[2], VOLUME) != Decimal(limit):
            raise Differs("volume limit", f"ACTIV {limit} ml STOP", " ".join(got[1:]))
        yield from self._order_rate(rate)
        status = yield from self._status()
        # A pump that stands may show what flows, which is nothing: then its rate is read as soon as it runs.
        if status.rate and status.rate != MlPerHour(rate):
            raise Differs("rate", f"{rate} ml/h", str(status.rate))
        return status

    def _order_rate(self, rate: str) -> Dialogue[None]:
        got = yield from self._ask("INF_RATE", rate, "ml/h")
        if len(got) != 3 or got[2] != "ml/h" or number(got[1], RATE) != Decimal(rate):
            raise Differs("rate", f"{rate} ml/h", " ".join(got[1:]))

    def _stop_until_standing(self) -> Dialogue[PumpReport]:
        # INF_STOP goes first, whoever has control: only a pump that moves on is asked for control before the next one.
        # What INF_STOP answers is not believed: its echo says nothing of the motor, and it may be an older answer.
        seen = ""
        for attempt in range(STOP_TRIES):
            if attempt:
                yield Pause(SETTLE_S)
                with suppress(Refused, Garbled, Silent):
                    yield from self._take_control(tries=1)
            with suppress(Silent):
                self._log.ordered()
                self._still = None
                yield Ask(spell("INF_STOP"), REPLY_TIMEOUT_S, tries=1)
            try:
                status, motion = yield from self._judge((yield from self._status()))
            except Garbled as problem:
                seen = str(problem)
                continue
            if motion is Motion.STANDING:
                return _report(status, motion)
            seen = f"{status.mode} {status.rate} at {status.counted}"
        raise Garbled(f"INF_STOP was sent {STOP_TRIES} times; the pump was not seen standing (last: {seen})")

    # --- remote control -----------------------------------------------------------------------------------------------

    def _take_control(self, tries: int = 2) -> Dialogue[None]:
        serial = self._serial or (yield from self._serial_number())
        self._controls = True
        words = yield from self._ask("REMOTE_CTRL", "ENABLED", security_code(serial), tries=tries)
        self._permitted = self._controls = words[1:2] == ["ENABLED"] and words[3:4] == ["PERMIT"]
        if not self._permitted:
            raise Refused(NO_PERMIT)

    def _give_back(self) -> Dialogue[None]:
        """As far as it can be done: an unheard answer changes nothing about a pump that stands. It is tried again."""
        self._minding = False
        with suppress(Garbled, Silent):
            yield from self._ask("REMOTE_CTRL", "DISABLED", tries=1)
            self._controls = False

    def _probe(self) -> Dialogue[bool]:
        try:
            yield from self._take_control()
        except Refused:
            return False
        except (Garbled, Silent):
            yield from self._give_back()  # it may have granted it all the same
            return False
        yield from self._give_back()
        return True

    def _feed_watchdog(self) -> Dialogue[None]:
        self._minding = self._ours = True
        yield from self._take_control(tries=1)  # one that is lost must not hold up the reading; the next comes soon

    # --- alarms -------------------------------------------------------------------------------------------------------

    def _warnings(self) -> Dialogue[tuple[str, ...] | None]:
        """What the flagged pump warns of. It tells one code at a time: behind an alarm, warnings cannot be seen."""
        code = ""
        with suppress(Silent, Garbled):  # the flag alone is told when no code comes (`on_frame`)
            code = yield from self._alarm_code(tries=1)
        return (WARNS[code],) if code in WARNS else None

    def _must_only_warn(self) -> Dialogue[None]:
        code = yield from self._alarm_code()
        if code not in WARNS or code == LIMIT_REACHED:
            raise Refused(f"an alarm stands at the pump ({code}); clear it there")

    def _alarm_code(self, tries: int = 2) -> Dialogue[str]:
        return [*(yield from self._ask("ALARM", tries=tries)), ""][1]

    def _flag_seen(self, flag: str) -> Iterator[PumpAlarm]:
        self._flagged = 0 if flag == NO_FLAG else self._flagged + 1
        if flag == NO_FLAG:
            self._told = None
        elif self._flagged >= UNNAMED_AFTER and self._told is None:
            self._told = ""
            yield self._unknown(f"alarm flag {flag} without a code")

    def _status_seen(self, status: Status) -> Iterator[PumpAlarm]:
        self._infuses = moving(status) is Motion.INFUSING
        strange = self._log.strange(status.log) and self._ours
        comes_or_goes, self._flag = status.flag != self._flag, status.flag
        if comes_or_goes or not status.alarmed:
            self._strange = False
        elif strange:
            self._strange = True  # it may be that of another alarm: the code tells
        if strange and not comes_or_goes and not status.alarmed:
            yield KEY

    def _alarm_said(self, code: str, text: str) -> Iterator[PumpAlarm]:
        strange, self._strange = self._strange, False
        if strange and (code == NO_ALARM or (code == self._told and code in WARNS)):
            yield KEY  # while a real alarm stands, somebody is expected at the keypad
        if code in (NO_ALARM, self._told):
            return
        self._told = code
        native = f"{code} {text}".strip()
        if code in STOPPED and not (code == LINK_LOST and self._infuses):
            yield PumpAlarm(STOPPED[code], native)
        elif code in GOES_ON:
            yield PumpAlarm(GOES_ON[code][0], native, stops=False)
        elif code not in WARNS:
            yield self._unknown(native)

    def _control_said(self, word: str) -> Iterator[PumpAlarm]:
        if word == "PERMIT" or not self._minding:
            self._denied = False
        elif not self._denied:
            self._denied = True
            yield self._unknown("REMOTE_CTRL without PERMIT")

    def _unknown(self, native: str) -> PumpAlarm:
        return PumpAlarm(UNKNOWN_ALARM, native, stops=not self._infuses)


def _model(serial: str) -> str:
    return f"Alaris {serial.partition('-')[0]}" if "-" in serial else "Alaris"


def _limit_of(words: list[str]) -> Ml | None:
    """The limit, or None where there is none or it does not read as one."""
    with suppress(Garbled):
        return Ml(number(words[2], VOLUME)) if words[1:2] == ["ACTIV"] and words[3:4] == ["ml"] else None
    return None


def _report(status: Status, motion: Motion, warnings: tuple[str, ...] | None = None) -> PumpReport:
    return PumpReport(motion, status.rate or None, status.counted, warnings=warnings)  # 0 flows; it is not what is set


# --- entry point ------------------------------------------------------------------------------------------------------


class AlarisDriver:
    """It has no settings: the security code follows from the serial number, which the pump tells."""

    name: str = "alaris"
    line: Line = Line(38400)
    probes: tuple[Probe, ...] = (Probe(10, "a checked question of its own kind; no other family is known to take it"),)

    def open(self, settings: Mapping[str, object]) -> Pump:
        """Raise BadSetting for any setting."""
        for key in settings:
            raise BadSetting(key, "unknown setting; this driver has none")
        return AlarisPump()


DRIVER: Driver = AlarisDriver()
