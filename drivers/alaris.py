"""Alaris / Asena syringe pumps GH, GS, CC, TIVA and PK (IVAC, CareFusion, BD) with the RS-232 option.

Facts, their sources and what is not known stand in docs/devices/alaris.md; "section" below means a section of it.

Remote control is taken for orders and kept while the pump infuses at our order, and given back as soon as it stands:
who has it must go on talking, or the pump alarms and stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal

from drivers.alaris_wire import (
    COUNTER,
    LIMITS,
    NO_FLAG,
    RATE,
    RATES,
    STILL_S,
    VOLUME,
    AlarisFramer,
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

UNKNOWN_ALARM = "pump_alarm_unknown"
NO_ALARM = "AL_NOALM"
CONFIRMED = "CONF"  # the only syringe state that was ever seen
# Codes without an entry of their own in the catalogue are told as unknown, with the pump's words (section "Alarms").
ALARMS = {
    "AL_OCCLU": "motor_stalled",
    "AL_COMTO": "pump_watchdog_expired",
    "AL_EMBAT": "pump_power_lost",
    "AL_EOIST": "container_empty",
    "AL_EOIKV": "container_empty",
    "AL_VTBIS": "plan_limit_reached",
    "AL_VTBIK": "unplanned_function",  # it was told to stop at its limit
    "AL_VTBIC": "unplanned_function",
}
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
            alarms=(*dict.fromkeys(ALARMS.values()), UNKNOWN_ALARM),
        )
        self._serial: str | None = None
        self._flagged = 0  # readings with the alarm flag, one after another
        self._told: str | None = None  # the code told since the flag came up
        self._minding = False  # the pump infuses at our order, so losing PERMIT is news
        self._denied = False

    def fitted(self, container: Container) -> Fitted:
        """The pump knows its syringe by make and size, not by diameter; the highest rate is asked for at arming."""
        return Fitted(rates=RATES, limits=LIMITS, counter=COUNTER)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """Tell an alarm once from the flag's coming up until it is gone, and each new code in between."""
        words = [*words_of(frame), "", "", "", ""]
        alarm = None
        if words[0] == "INF":
            alarm = self._flag_seen(words[2])
        elif words[0] == "ALARM":
            alarm = self._alarm_said(words[1], words[2])
        elif words[:2] == ["REMOTE_CTRL", "ENABLED"]:
            alarm = self._control_said(words[3])
        return LEAVE if alarm is None else Taken(notices=(alarm,), consumed=False)

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Only questions; a standing pump is asked whether it gives remote control, and gets it back at once."""
        before, self._serial = self._serial, None
        self._serial = serial = yield from self._serial_number()
        if serial != before:
            self._flagged, self._told, self._minding, self._denied = 0, None, False, False
        version = "not told"
        with suppress(Silent):
            version = " ".join((yield from self._ask("COMMS_PROTOCOL"))[1:]) or version
        limit, monitor_only = None, ""
        with suppress(Silent):
            limit = _limit_of((yield from self._ask("INF_VTBI")))
        status = yield from self._status()
        if not hands_off and (yield from self._judge(status))[1] is Motion.STANDING:
            permitted = yield from self._probe()
            monitor_only = "" if permitted else NO_PERMIT
        return Identity(
            _model(serial), version, serial, rate=status.rate or None, limit=limit, monitor_only=monitor_only
        )

    def keep_alive(self) -> KeepAlive | None:
        """REMOTE_CTRL again: whether any other frame feeds the watchdog is not known for every pump."""
        return KeepAlive(KEEP_ALIVE_S, self._feed_watchdog, covered_by_any=False)

    def read(self) -> Dialogue[PumpReport]:
        """One status; with the alarm flag the alarm as well; where it may stand a second one, STILL_S later."""
        status = yield from self._status()
        if status.alarmed:
            with suppress(Silent, Garbled):  # the flag alone is told when no code comes (`on_frame`)
                yield from self._ask("ALARM", tries=1)
        status, motion = yield from self._judge(status)
        return _report(status, motion)

    def settings(self) -> Dialogue[Settings]:
        """Which syringe the pump takes for fitted and what it can do. Rate and limit are proved by `load`."""
        settings, _ = yield from self._fitted_syringe()
        return settings

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """A confirmed syringe, no alarm, the counter at zero, rate and limit set and read back."""
        rate, limit = spell_rate(programme.rate), spell_limit(programme.limit)
        status = yield from self._must_stand()
        if status.alarmed:
            raise Refused("an alarm stands at the pump; clear it there")
        yield from self._take_control()
        settings, most = yield from self._fitted_syringe()
        state = dict(settings)["syringe state"]
        if state != CONFIRMED:
            raise Differs("syringe state", CONFIRMED, state)
        if programme.rate > most:
            raise Refused(f"{rate} ml/h is above what the pump gives with this syringe: {most}")
        if status.counted:
            yield from self._clear_counter()
        yield from self._put(rate, limit)
        return settings

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """Limit with end action STOP, then rate, both read back. Remote control is left on for the start."""
        rate_text, limit_text = spell_rate(rate), spell_limit(limit)
        before = yield from self._must_stand()
        yield from self._take_control()
        after = yield from self._put(rate_text, limit_text)
        if not may_stand(after) or after.counted != before.counted:
            raise Differs("state after loading", "standing", f"{after.mode} {after.rate} at {after.counted}")
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
        self._minding = False
        yield from self._ask("REMOTE_CTRL", "DISABLED")  # answered at length by pumps, as an echo by a stand-in

    # --- questions and orders -----------------------------------------------------------------------------------------

    def _ask(self, *words: str, tries: int = 2) -> Dialogue[list[str]]:
        answer = words_of((yield Ask(spell(*words), REPLY_TIMEOUT_S, tries=tries)))
        if answer[0] != words[0]:  # how this pump refuses is not known: it may be that, or an older answer
            raise Garbled(f"{words[0]}: answered {'^'.join(answer)}")
        return answer

    def _once(self, command: str) -> Dialogue[None]:
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
        """What the pump does; for "standing" a second status that agrees, because no mode word is known to say so."""
        if not may_stand(status):
            return status, moving(status)
        yield Pause(STILL_S)
        later = yield from self._status()
        return later, motion_of(status, later)

    def _must_stand(self) -> Dialogue[Status]:
        status, motion = yield from self._judge((yield from self._status()))
        if motion is not Motion.STANDING:
            raise Refused(f"the pump must stand for this; it says {status.mode} {status.rate}")
        return status

    def _fitted_syringe(self) -> Dialogue[tuple[Settings, MlPerHour]]:
        """The settings, and the highest rate among them as a number."""
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
        return settings, most

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
        words = yield from self._ask("REMOTE_CTRL", "ENABLED", security_code(serial), tries=tries)
        if words[1:2] != ["ENABLED"] or words[3:4] != ["PERMIT"]:
            raise Refused(NO_PERMIT)

    def _give_back(self) -> Dialogue[None]:
        """As far as it can be done: an unheard answer changes nothing about a pump that stands."""
        self._minding = False
        with suppress(Garbled, Silent):
            yield from self._ask("REMOTE_CTRL", "DISABLED", tries=1)

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
        self._minding = True
        yield from self._take_control(tries=1)  # one that is lost must not hold up the reading; the next comes soon

    # --- alarms -------------------------------------------------------------------------------------------------------

    def _flag_seen(self, flag: str) -> PumpAlarm | None:
        if flag == NO_FLAG:
            self._flagged, self._told = 0, None
            return None
        self._flagged += 1
        if self._flagged < UNNAMED_AFTER or self._told is not None:
            return None
        self._told = ""
        return PumpAlarm(UNKNOWN_ALARM, f"alarm flag {flag} without a code")

    def _alarm_said(self, code: str, text: str) -> PumpAlarm | None:
        if code in (NO_ALARM, self._told):
            return None
        self._told = code
        return PumpAlarm(ALARMS.get(code, UNKNOWN_ALARM), f"{code} {text}".strip())

    def _control_said(self, word: str) -> PumpAlarm | None:
        if word == "PERMIT" or not self._minding:
            self._denied = False
            return None
        if self._denied:
            return None
        self._denied = True
        return PumpAlarm(UNKNOWN_ALARM, "REMOTE_CTRL without PERMIT")


def _model(serial: str) -> str:
    return f"Alaris {serial.partition('-')[0]}" if "-" in serial else "Alaris"


def _limit_of(words: list[str]) -> Ml | None:
    """The limit, or None where there is none or it does not read as one."""
    with suppress(Garbled):
        return Ml(number(words[2], VOLUME)) if words[1:2] == ["ACTIV"] and words[3:4] == ["ml"] else None
    return None


def _report(status: Status, motion: Motion) -> PumpReport:
    return PumpReport(motion, status.rate or None, status.counted)  # 0 is what flows, not what is set


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
