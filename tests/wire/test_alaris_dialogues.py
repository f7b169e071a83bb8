"""Alaris dialogues, with an alarm, a wrong answer or silence at every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from rehearsal import Script, rehearse, the_frame, transcript

from drivers.alaris import (
    DRIVER,
    GOES_ON,
    KEEP_ALIVE_S,
    KEY,
    REPLY_TIMEOUT_S,
    STOP_TRIES,
    STOPPED,
    TOLD_AS,
    WARNS,
    WATCHDOG_S,
    WORST_REPLY_S,
)
from drivers.alaris_wire import STILL_S
from pumpd.bedside.bed import LEASE_S
from pumpd.core.catalogue import CATALOGUE, WARNINGS
from pumpd.driver import (
    Ask,
    BadSetting,
    Dialogue,
    Differs,
    Frame,
    Garbled,
    Identity,
    Motion,
    Pause,
    Programme,
    Pump,
    PumpAlarm,
    PumpReport,
    Refused,
    Repeat,
    Settings,
    Silent,
    T,
    Taken,
    Uncertain,
)
from pumpd.registry import find_drivers
from pumpd.units import Ml, MlPerHour
from tests.fitted import bag, syringe

Lines = list[tuple[str, str | None]]

SERIAL, CODE = "8002-51740", "3CC1"
PROGRAMME = Programme(syringe(ml=50), MlPerHour("26.6"), Ml(20), keypad_lock=True)
UNKNOWN_CODES = [
    "AL_NEWNO",
    "AL_PRDSC",
    "AL_RHIGH",
    "AL_LDSCN",
    "AL_TCITG",
    "AL_TITCA",
    "AL_TITNC",
    "AL DRDIS",
    "al_noalm",
    "NOALM",
    "",
    "OCCLU",
]


def crc(text: str) -> int:
    value = 0xFFFF
    for byte in text.encode():
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
        value &= 0xFFFF
    return value


def wire(text: str) -> bytes:
    return f"!{text}|{crc(text):04X}\r".encode()


def said(lines: Lines) -> Script:
    return [(wire(sent), None if answer is None else wire(answer)) for sent, answer in lines]


def inf(
    mode: str, rate: str, counted: str, flag: str = "-", serial: str = SERIAL, log: str = "127904"
) -> tuple[str, str | None]:
    status = f"INF^{serial}^{flag}^{mode}^{rate}^ml/h^^{counted}^ml^17.91^mmHg^24+^EVENT^{log}"
    return "INF", status


STILL = inf("HLD", "0.00", "6.730")
RUNS = inf("SET", "26.60", "6.731")
ID: Lines = [
    ("INST_SERIALNO", f"INST_SERIALNO^{SERIAL}"),
    ("COMMS_PROTOCOL", "COMMS_PROTOCOL^Asena Rev 2.1.5"),
    ("INF_VTBI", "INF_VTBI^DEACT^^^"),
]
PERMIT = (f"REMOTE_CTRL^ENABLED^{CODE}", "REMOTE_CTRL^ENABLED^****^PERMIT^0^ms")
NO_PERMIT = (PERMIT[0], "REMOTE_CTRL^ENABLED^****^DENIED^0^ms")
GIVEN_BACK = ("REMOTE_CTRL^DISABLED", "REMOTE_CTRL^DISABLED^****^PERMIT^0^ms")
AGAIN: Lines = [ID[0], ID[2]]  # of a pump that was connected before
CONNECT: Lines = [*ID, STILL, STILL, PERMIT, GIVEN_BACK]
SYRINGE = ("SYRINGE_STATUS", "SYRINGE_STATUS^BD PLASTIPAK^ 50^CONF")
HIGHEST = ("INF_RATE_MAX_SYRINGE", "INF_RATE_MAX_SYRINGE^1200.00^ml/h")
EMPTY = inf("HLD", "0.00", "0.000")


def put(rate: str, limit: str, then: tuple[str, str | None]) -> Lines:
    active = f"INF_VTBI^ACTIV^{limit}^ml^STOP"
    order = f"INF_RATE^{rate}^ml/h"
    return [(active, active), ("INF_VTBI", active), (order, order), then]


LOAD: Lines = [STILL, STILL, PERMIT, *put("26.60", "13.270", STILL)]
ARM: Lines = [STILL, STILL, PERMIT, SYRINGE, HIGHEST, ("INF_VI_CLEAR", "INF_VI_CLEAR"), EMPTY]
START: Lines = [("INF_START", "INF_START")]
SET_RATE: Lines = [PERMIT, ("INF_RATE^20.00^ml/h", "INF_RATE^20.00^ml/h"), inf("SET", "20.00", "6.740")]
STOP: Lines = [("INF_STOP", "INF_STOP"), STILL, STILL, GIVEN_BACK]
READ: Lines = [RUNS]
SETTINGS: Lines = [SYRINGE, HIGHEST]


def connected() -> Pump:
    """It gave remote control when it was asked; since then it has moved."""
    pump = DRIVER.open({})
    rehearse(pump, pump.connect(), said(CONNECT))
    rehearse(pump, pump.read(), said([inf("???", "1.00", "6.730")]))
    return pump


def rehearsed(
    make: Callable[[Pump], Dialogue[T]], lines: Lines, told: list[PumpAlarm] | None = None, pump: Pump | None = None
) -> T:
    pump = pump or connected()
    return rehearse(pump, make(pump), said(lines), told)


def arm(pump: Pump) -> Dialogue[Settings]:
    return pump.arm(PROGRAMME)


def load(pump: Pump) -> Dialogue[PumpReport]:
    return pump.load(MlPerHour("26.6"), Ml("13.27"))


def set_rate(pump: Pump) -> Dialogue[MlPerHour]:
    return pump.set_rate(MlPerHour(20))


def start(pump: Pump) -> Dialogue[None]:
    return pump.start()


def stop(pump: Pump) -> Dialogue[PumpReport]:
    return pump.stop()


def read(pump: Pump) -> Dialogue[PumpReport]:
    return pump.read()


def settings(pump: Pump) -> Dialogue[Settings]:
    return pump.settings()


def feed(pump: Pump) -> Dialogue[None]:
    keep_alive = pump.keep_alive()
    assert keep_alive is not None
    return keep_alive.dialogue()


def told_by(pump: Pump, text: str) -> PumpAlarm | None:
    notices = pump.on_frame(Frame("reply", text.encode()), asking=True).notices
    assert len(notices) < 2
    return notices[0] if notices else None


# --- the published frames -------------------------------------------------------------------------------------------


def answers(name: str) -> dict[bytes, bytes]:
    return {sent: answer for sent, answer in transcript(name, "alaris") if answer is not None}


def test_connect_speaks_as_the_real_pump_was_spoken_to() -> None:
    real = answers("real_pump")
    script = said(CONNECT)
    for n, (sent, _) in enumerate(script):
        if sent in real and sent != wire("INF"):
            script = [*script[:n], (sent, real[sent]), *script[n + 1 :]]
    pump = DRIVER.open({})
    assert rehearse(pump, pump.connect(), script).serial == SERIAL


def test_the_real_occlusion_is_told_and_stands() -> None:
    (occluded,) = [answer for sent, answer in answers("real_pump").items() if sent == wire("INF")]
    alarm = next(answer for _, answer in transcript("constructed", "alaris") if answer and b"AL_OCCLU" in answer)
    pump, told = DRIVER.open({}), []
    script = [(wire("INF"), occluded), (wire("ALARM"), alarm), (wire("INF"), occluded)]
    assert rehearse(pump, pump.read(), script, told) == PumpReport(Motion.STANDING, None, Ml("0.969"))
    assert told == [PumpAlarm("occlusion_downstream", "AL_OCCLU OCCLUSION")]


def test_the_constructed_running_status_is_infusing() -> None:
    running = next(answer for _, answer in transcript("constructed", "alaris") if answer and b"^SET^" in answer)
    pump = connected()
    report = rehearse(pump, pump.read(), [(wire("INF"), running)])
    assert report == PumpReport(Motion.INFUSING, MlPerHour(27), Ml("0.113"), warnings=())


def test_the_published_answers_are_taken_for_what_they_answer() -> None:
    published = answers("published")
    pump = connected()
    assert rehearse(pump, pump.settings(), [(sent, published[sent]) for sent, _ in said(SETTINGS)])
    rehearse(pump, pump.start(), [(wire("INF_START"), published[wire("INF_START")])])
    rehearse(pump, pump.release(), [(wire("REMOTE_CTRL^DISABLED"), published[wire("REMOTE_CTRL^DISABLED")])])
    assert told_by(pump, "ALARM^AL_NOALM^ ^ ") is None
    script = [(wire(sent), published.get(wire(sent), wire(answer or ""))) for sent, answer in STOP]
    assert rehearse(pump, pump.stop(), script).motion is Motion.STANDING


# --- connect --------------------------------------------------------------------------------------------------------


def test_connect_tells_who_it_is_and_gives_remote_control_back() -> None:
    pump = DRIVER.open({})
    identity = rehearse(pump, pump.connect(), said(CONNECT))
    assert identity == Identity("Alaris 8002", "Asena Rev 2.1.5", SERIAL)


def test_connect_tells_rate_and_limit_where_the_pump_does() -> None:
    held = inf("HLD", "26.60", "0.000")
    limited = ("INF_VTBI", "INF_VTBI^ACTIV^20.000^ml^STOP")
    pump = DRIVER.open({})
    identity = rehearse(pump, pump.connect(), said([*ID[:2], limited, held, held, PERMIT, GIVEN_BACK]))
    assert (identity.rate, identity.limit) == (MlPerHour("26.6"), Ml(20))


@pytest.mark.parametrize("limit", ["INF_VTBI", "INF_VTBI^ACTIV", "INF_VTBI^ACTIV^20^ml", "INF_VTBI^ACTIV^20.000^^STOP"])
def test_a_limit_that_does_not_read_as_one_is_none(limit: str) -> None:
    pump = DRIVER.open({})
    lines = [*ID[:2], ("INF_VTBI", limit), *CONNECT[3:]]
    assert rehearse(pump, pump.connect(), said(lines)).limit is None


@pytest.mark.shows("S10")
@pytest.mark.parametrize(
    "status", [RUNS, inf("SET", "0.10", "0.000"), inf("KVO", "1.00", "5.000"), inf("??", "9.00", "1.000")]
)
def test_connect_only_asks_a_pump_that_may_move(status: tuple[str, str | None]) -> None:
    pump = DRIVER.open({})
    assert rehearse(pump, pump.connect(), said([*ID, status])).serial == SERIAL


def test_connect_only_asks_a_pump_whose_counter_moves() -> None:
    pump = DRIVER.open({})
    rehearse(pump, pump.connect(), said([*ID, STILL, inf("HLD", "0.00", "6.731")]))


def test_connect_changes_nothing_hands_off() -> None:
    pump = DRIVER.open({})
    rehearse(pump, pump.connect(hands_off=True), said([*ID, STILL]))


@pytest.mark.parametrize(
    "answer",
    [
        "REMOTE_CTRL^ENABLED^****^DENIED^0^ms",
        f"REMOTE_CTRL^ENABLED^{CODE}",
        "REMOTE_CTRL",
        "REMOTE_CTRL^DISABLED^****^PERMIT^0^ms",
    ],
)
def test_a_pump_without_permit_is_monitor_only_and_says_so(answer: str) -> None:
    pump = DRIVER.open({})
    identity = rehearse(pump, pump.connect(), said([*CONNECT[:5], (PERMIT[0], answer)]))
    assert "no PERMIT" in identity.monitor_only
    assert rehearsed(read, READ, pump=pump).motion is Motion.INFUSING


@pytest.mark.parametrize("answer", ["ERROR^12", "INF_STOP", None])
def test_an_unclear_answer_to_remote_control_is_no_permit_and_it_is_given_back(answer: str | None) -> None:
    pump = DRIVER.open({})
    identity = rehearse(pump, pump.connect(), said([*CONNECT[:5], (PERMIT[0], answer), GIVEN_BACK]))
    assert "no PERMIT" in identity.monitor_only


def test_a_pump_that_tells_neither_protocol_nor_limit_is_still_known() -> None:
    pump = DRIVER.open({})
    lines = [ID[0], ("COMMS_PROTOCOL", None), ("INF_VTBI", None), *CONNECT[3:]]
    assert rehearse(pump, pump.connect(), said(lines)) == Identity("Alaris 8002", "not told", SERIAL)


@pytest.mark.parametrize("answer", ["INST_SERIALNO", "INST_SERIALNO^", "INST_SERIALNO^ ", "INST_SERIALNO^A^B", "INF"])
def test_a_pump_without_a_readable_serial_number_is_not_known(answer: str) -> None:
    pump = DRIVER.open({})
    with pytest.raises(Garbled):
        rehearse(pump, pump.connect(), said([("INST_SERIALNO", answer)]))


@pytest.mark.shows("S15")
def test_another_pump_is_noticed_at_the_first_status() -> None:
    other = inf("SET", "26.60", "6.731", serial="8002-51733")
    with pytest.raises(Garbled, match="8002-51733 answers instead of 8002-51740"):
        rehearsed(read, [other])
    pump = connected()
    lines = [(ID[0][0], "INST_SERIALNO^8002-51733"), *ID[1:], other]
    assert rehearse(pump, pump.connect(), said(lines)).serial == "8002-51733"


# --- read -----------------------------------------------------------------------------------------------------------


def test_read_asks_once_while_it_infuses() -> None:
    assert rehearsed(read, READ) == PumpReport(Motion.INFUSING, MlPerHour("26.6"), Ml("6.731"), warnings=())


@pytest.mark.shows("S7")
@pytest.mark.parametrize("mode", ["HLD", "SET", "STP", ""])
def test_standing_needs_two_readings_and_gives_no_rate(mode: str) -> None:
    still = inf(mode, "0.00", "6.730")
    assert rehearsed(read, [still, still]) == PumpReport(Motion.STANDING, None, Ml("6.73"), warnings=())


def test_standing_is_watched_for_long_enough() -> None:
    pump = connected()
    dialogue = pump.read()
    next(dialogue)
    answer = wire(STILL[1] or "")
    assert dialogue.send(the_frame(pump, answer, [])) == Pause(STILL_S)


def test_a_pump_that_was_seen_standing_needs_one_reading_as_long_as_nothing_is_counted() -> None:
    pump = connected()
    standing = PumpReport(Motion.STANDING, None, Ml("6.73"), warnings=())
    assert rehearse(pump, pump.read(), said([STILL, STILL])) == standing
    assert rehearse(pump, pump.read(), said([STILL])) == standing
    assert rehearse(pump, pump.load(MlPerHour("26.6"), Ml("13.27")), said(LOAD[1:])).motion is Motion.STANDING
    moved = inf("HLD", "0.00", "6.731")
    found = rehearse(pump, pump.read(), said([moved, moved, GIVEN_BACK]))
    assert found.counted == Ml("6.731"), "it is watched anew"
    assert rehearse(pump, pump.read(), said([RUNS])).motion is Motion.INFUSING
    assert rehearse(pump, pump.read(), said([moved, moved])).motion is Motion.STANDING


@pytest.mark.shows("S4", "S5")
@pytest.mark.parametrize(("make", "lines"), [(start, START), (stop, STOP), (arm, ARM[1:])])
def test_after_a_start_a_stop_or_a_clearing_a_pump_is_watched_anew(
    make: Callable[[Pump], Dialogue[Any]], lines: Lines
) -> None:
    pump = connected()
    rehearse(pump, pump.read(), said([STILL, STILL]))
    rehearse(pump, make(pump), said(lines))
    if make is not stop:  # it has been watched since
        rehearse(pump, pump.read(), said([STILL, STILL, *([GIVEN_BACK] if make is arm else [])]))
    rehearse(pump, pump.read(), said([STILL]))


def test_loading_right_after_arming_asks_for_control_once() -> None:
    pump = connected()
    rehearse(pump, pump.arm(PROGRAMME), said([EMPTY, EMPTY, *ARM[2:5]]))
    lines: Lines = [EMPTY, *put("26.60", "13.270", EMPTY)]
    rehearse(pump, load(pump), said(lines))
    rehearse(pump, pump.connect(), said([ID[0], ID[2], EMPTY]))


@pytest.mark.shows("S16")
def test_a_standing_pump_gets_its_control_back_at_the_next_reading() -> None:
    pump = connected()
    rehearse(pump, pump.load(MlPerHour("26.6"), Ml("13.27")), said(LOAD))
    for answer in (None, "ERROR"):
        rehearse(pump, pump.read(), said([STILL, (GIVEN_BACK[0], answer)]))
    rehearse(pump, pump.read(), said([STILL, GIVEN_BACK]))
    rehearse(pump, pump.read(), said([STILL]))
    rehearsed(feed, [PERMIT], pump=pump)
    rehearse(pump, pump.read(), said([RUNS]))
    occluded: Lines = [inf("HLD", "0.00", "6.740", flag="A"), ("ALARM", "ALARM^AL_OCCLU^^")]
    rehearse(pump, pump.read(), said([*occluded, occluded[0], GIVEN_BACK]))


def test_a_pump_that_gave_no_control_is_given_nothing_back() -> None:
    pump = DRIVER.open({})
    rehearse(pump, pump.connect(), said([*CONNECT[:5], NO_PERMIT]))
    rehearse(pump, pump.read(), said([STILL]))


def test_a_pump_that_gave_control_once_is_only_asked_at_the_next_connect() -> None:
    pump = connected()
    rehearse(pump, pump.connect(), said([*AGAIN, STILL]))
    with suppress(Refused):
        rehearsed(set_rate, [NO_PERMIT], pump=pump)
    assert rehearse(pump, pump.connect(), said([*AGAIN, STILL, STILL, NO_PERMIT])).monitor_only


@pytest.mark.shows("S4")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (STILL, inf("HLD", "0.00", "6.731")),
        (STILL, inf("HLD", "0.00", "6.729")),
        (STILL, inf("???", "1.00", "6.730")),
        (inf("HLD", "4.40", "6.730"), None),
        (inf("KVO", "1.00", "6.730"), None),
        (inf("BOL", "600.00", "6.730"), None),
        (inf("HLD", "0.00", "6.730", flag="A"), inf("HLD", "0.00", "6.731", flag="A")),
    ],
)
def test_what_is_not_proved_to_stand_counts_as_moving(
    first: tuple[str, str | None], second: tuple[str, str | None] | None
) -> None:
    alarm: Lines = [("ALARM", "ALARM^AL_CALLB^^")] if "^A^" in (first[1] or "") else []
    report = rehearsed(read, [first, *alarm, *([second] if second else [])])
    assert report.motion is Motion.UNKNOWN
    assert report.motion.moves


def test_a_pump_that_begins_while_it_is_watched_is_infusing() -> None:
    assert rehearsed(read, [STILL, RUNS]).motion is Motion.INFUSING


def test_a_pump_that_infuses_under_an_alarm_goes_on() -> None:
    told: list[PumpAlarm] = []
    lines = [inf("SET", "26.60", "6.731", flag="A"), ("ALARM", "ALARM^AL_NEOIN^NEAR END^")]
    assert rehearsed(read, lines, told) == PumpReport(
        Motion.INFUSING, MlPerHour("26.6"), Ml("6.731"), warnings=("pump_near_end",)
    )
    assert told == [], "it is named in the reading"


@pytest.mark.parametrize("answer", [None, "INF_STOP", "ALARM_LIST^1"])
def test_a_reading_does_not_hang_on_the_alarm(answer: str | None) -> None:
    pump, told = connected(), []
    flagged = inf("SET", "26.60", "6.731", flag="A")
    for _ in range(3):
        assert rehearse(pump, pump.read(), said([flagged, ("ALARM", answer)]), told).counted == Ml("6.731")
    assert told == [PumpAlarm("pump_alarm_unknown", "alarm flag A without a code", stops=False)]


@pytest.mark.shows("H58")
@pytest.mark.parametrize(
    "answer", ["INF", "INF_STOP", "ALARM^AL_NOALM^^", "INF^8002-51740^-^SET", "ERROR", "INF_RATE^1.00^ml/h"]
)
def test_an_answer_to_another_question_is_never_a_value(answer: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(read, [("INF", answer)])


def test_silence_is_no_reading() -> None:
    with pytest.raises(Silent):
        rehearsed(read, [("INF", None)])
    with pytest.raises(Silent):
        rehearsed(read, [STILL, ("INF", None)])


# --- alarms ---------------------------------------------------------------------------------------------------------


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize("code", [*TOLD_AS, *UNKNOWN_CODES])
@pytest.mark.parametrize("asking", [True, False])
def test_every_code_is_told_asked_or_not(code: str, asking: bool) -> None:
    pump = connected()
    taken = pump.on_frame(Frame("reply", f"ALARM^{code}^SOME WORDS^".encode()), asking=asking)
    expected = TOLD_AS.get(code, "pump_alarm_unknown")
    alarm = PumpAlarm(expected, f"{code} SOME WORDS".strip(), stops=code not in GOES_ON)
    assert taken == Taken(notices=() if code in WARNS else (alarm,), consumed=False)
    assert expected in pump.capabilities.alarms


@pytest.mark.shows("H9")
@pytest.mark.parametrize("code", WARNS)
def test_what_stops_nothing_is_named_in_each_reading_as_long_as_the_pump_says_so(code: str) -> None:
    pump, told = connected(), []
    flagged: Lines = [inf("SET", "26.60", "6.731", flag="A"), ("ALARM", f"ALARM^{code}^WORDS^")]
    for _ in range(3):
        assert rehearse(pump, pump.read(), said(flagged), told).warnings == (WARNS[code],)
    assert rehearse(pump, pump.read(), said(READ), told).warnings == ()
    assert told == []
    assert set(WARNS.values()) <= WARNINGS


@pytest.mark.parametrize("answer", ["ALARM^AL_OCCLU^^", "ALARM^AL_NEWNO^^", "ALARM^AL_NOALM^ ^ ", "INF_STOP", None])
def test_behind_an_alarm_no_warning_can_be_seen(answer: str | None) -> None:
    lines: Lines = [inf("SET", "26.60", "6.731", flag="A"), ("ALARM", answer)]
    assert rehearsed(read, lines).warnings is None


@pytest.mark.parametrize(("status", "stops"), [(RUNS, False), (STILL, True), (inf("KVO", "1.00", "6.731"), True)])
def test_whether_an_alarm_that_is_not_known_has_stopped_the_pump_its_status_tells(
    status: tuple[str, str | None], stops: bool
) -> None:
    pump = connected()
    assert told_by(pump, str(status[1])) is None
    assert told_by(pump, "ALARM^AL_PRDSC^PRESSURE DISC^") == PumpAlarm(
        "pump_alarm_unknown", "AL_PRDSC PRESSURE DISC", stops
    )


@pytest.mark.shows("S7")
@pytest.mark.parametrize(
    ("status", "code", "stops"), [(RUNS, "pump_alarm_unknown", False), (STILL, "pump_watchdog_expired", True)]
)
def test_only_a_pump_that_does_not_infuse_is_said_to_have_stopped_when_it_lost_us(
    status: tuple[str, str | None], code: str, stops: bool
) -> None:
    pump = connected()
    told_by(pump, str(status[1]))
    assert told_by(pump, "ALARM^AL_COMTO^^") == PumpAlarm(code, "AL_COMTO", stops)


@pytest.mark.shows("H9")
@pytest.mark.parametrize("code", GOES_ON)
def test_a_pump_that_goes_on_past_its_end_does_what_nobody_ordered(code: str) -> None:
    told: list[PumpAlarm] = []
    lines: Lines = [inf("SET", "1.00", "20.000", flag="A"), ("ALARM", f"ALARM^{code}^^")]
    catalogue_id, motion = GOES_ON[code]
    assert rehearsed(read, lines, told).motion is motion
    assert motion not in (Motion.INFUSING, Motion.STANDING)
    assert told == [PumpAlarm(catalogue_id, code, stops=False)]
    still = inf("HLD", "0.00", "20.000", flag="A")
    assert rehearsed(read, [still, ("ALARM", f"ALARM^{code}^^"), still]).motion is Motion.STANDING


def test_a_pump_at_its_limit_stands_without_an_alarm_of_its_own() -> None:
    told: list[PumpAlarm] = []
    still = inf("HLD", "0.00", "20.000", flag="A")
    report = rehearsed(read, [still, ("ALARM", "ALARM^AL_VTBIS^VTBI DONE^"), still], told)
    assert report == PumpReport(Motion.STANDING, None, Ml(20), warnings=("pump_near_end",))
    assert told == []


def test_an_alarm_without_a_text_is_told() -> None:
    assert told_by(connected(), "ALARM") == PumpAlarm("pump_alarm_unknown", "")
    assert told_by(connected(), "ALARM^AL_OCCLU") == PumpAlarm("occlusion_downstream", "AL_OCCLU")


@pytest.mark.parametrize("none", ["ALARM^AL_NOALM^ ^ ", "ALARM^AL_NOALM^^", "ALARM^AL_NOALM"])
def test_no_alarm_is_none(none: str) -> None:
    assert told_by(connected(), none) is None


def test_an_alarm_is_told_once_while_it_stands_and_again_when_it_comes_back() -> None:
    pump = connected()
    flagged, clear = str(inf("HLD", "0.00", "6.730", flag="A")[1]), str(STILL[1])
    occluded, fault = "ALARM^AL_OCCLU^^", "ALARM^AL_FAULT^^"
    heard = [flagged, occluded, flagged, occluded, flagged, fault, flagged, fault, clear, flagged, fault]
    codes = [notice.native for text in heard if (notice := told_by(pump, text))]
    assert codes == ["AL_OCCLU", "AL_FAULT", "AL_FAULT"]


def test_an_alarm_that_stands_is_told_once_across_a_reconnect_and_anew_for_another_pump() -> None:
    pump = connected()
    assert told_by(pump, "ALARM^AL_OCCLU^^")
    flagged = inf("HLD", "0.00", "6.730", flag="A")
    rehearse(pump, pump.connect(), said([*AGAIN, flagged]))
    assert told_by(pump, "ALARM^AL_OCCLU^^") is None
    other = inf("SET", "9.00", "6.730", flag="A", serial="8002-51733")
    rehearse(pump, pump.connect(), said([(ID[0][0], "INST_SERIALNO^8002-51733"), *ID[1:], other]))
    assert told_by(pump, "ALARM^AL_OCCLU^^")


@pytest.mark.parametrize("flag", ["A", "B", "", "+"])
def test_a_flag_that_stays_without_a_code_is_told(flag: str) -> None:
    pump = connected()
    text = str(inf("SET", "26.60", "6.730", flag=flag)[1])
    heard = [text, "ALARM^AL_NOALM^ ^ ", text, "ALARM^AL_NOALM^ ^ ", text]
    notices = [notice for said_ in heard if (notice := told_by(pump, said_))]
    assert notices == [PumpAlarm("pump_alarm_unknown", f"alarm flag {flag} without a code", stops=False)]
    assert told_by(pump, "ALARM^AL_OCCLU^^") == PumpAlarm("occlusion_downstream", "AL_OCCLU")


def test_each_code_tells_what_the_catalogue_knows() -> None:
    alarms = DRIVER.open({}).capabilities.alarms
    assert set(alarms) <= set(CATALOGUE)
    assert CATALOGUE["pump_alarm_unknown"].priority == "high"
    assert set(alarms) == {*TOLD_AS.values(), "keypad_used", "pump_alarm_unknown"}
    assert not {*STOPPED, *GOES_ON} & WARNS.keys()
    assert not {TOLD_AS[code] for code in (*STOPPED, *GOES_ON)} & WARNINGS


# --- the keypad, by the log -----------------------------------------------------------------------------------------


def armed_pump() -> Pump:
    """Armed, and then read until no order of ours explains an entry."""
    pump = connected()
    rehearse(pump, pump.arm(PROGRAMME), said(ARM))
    for _ in range(2):
        rehearse(pump, pump.read(), said(READ))
    return pump


def heard(pump: Pump, *lines: Lines) -> list[PumpAlarm]:
    """What is told while it is read so."""
    told: list[PumpAlarm] = []
    for each in lines:
        rehearse(pump, pump.read(), said(each), told)
    return told


def entry(log: int, flag: str = "-") -> tuple[str, str | None]:
    return inf("SET", "26.60", "6.731", flag=flag, log=str(log))


NEAR_END = ("ALARM", "ALARM^AL_NEOIN^NEAR END^")


@pytest.mark.shows("H9")
def test_an_entry_that_no_order_of_ours_explains_is_a_key() -> None:
    pump = armed_pump()
    assert heard(pump, [entry(127904)], [entry(127905)], [entry(127905)], [entry(127909)]) == [KEY, KEY]
    assert PumpAlarm("keypad_used", "a log entry of its own", stops=False) == KEY
    assert KEY.code in pump.capabilities.alarms


@pytest.mark.parametrize("make", [set_rate, load, start, stop], ids=["set_rate", "load", "start", "stop"])
def test_an_entry_after_an_order_may_be_its_own(make: Callable[[Pump], Dialogue[Any]]) -> None:
    lines, looks = {set_rate: (SET_RATE, 0), load: ([*LOAD[:2], *LOAD[3:]], 2), start: (START, 0), stop: (STOP, 0)}[
        make
    ]
    told: list[PumpAlarm] = []
    pump = armed_pump()
    then: Lines = [(sent, str(answer).replace("127904", "127905")) for sent, answer in lines[looks:]]
    rehearse(pump, make(pump), said([*lines[:looks], *then]), told)
    assert told + heard(pump, [entry(127907)]) == []
    assert heard(pump, [entry(127907)], [entry(127907)], [entry(127908)]) == [KEY]


def test_a_pump_whose_renewals_write_no_entry_does_not_hide_a_key_behind_one() -> None:
    pump = armed_pump()
    for _ in range(2):
        rehearsed(feed, [PERMIT], pump=pump)
        assert heard(pump, *[[entry(127904)]] * 4) == []
    rehearsed(feed, [PERMIT], pump=pump)
    assert heard(pump, [entry(127905)], [entry(127905)]) == [KEY]


def test_a_pump_whose_renewals_write_entries_uses_no_keys() -> None:
    pump, log = connected(), 127905
    then: Lines = [(sent, str(answer).replace("127904", str(log))) for sent, answer in ARM[2:]]
    rehearse(pump, arm(pump), said([*ARM[:2], *then]))
    assert heard(pump, *[[entry(log)]] * 2) == []
    for _ in range(5):
        rehearsed(feed, [PERMIT], pump=pump)
        log += 1
        assert heard(pump, *[[entry(log)]] * 4) == []
    assert heard(pump, [entry(log + 1)]) == [KEY]


def test_an_alarm_that_comes_or_goes_writes_its_own_entry() -> None:
    pump = armed_pump()
    came, other = [entry(127905, "A"), NEAR_END], [entry(127906, "A"), ("ALARM", "ALARM^AL_LWBAT^^")]
    assert heard(pump, came, came, other, other, [entry(127907)]) == []


def test_a_key_under_a_warning_is_told_and_under_an_alarm_expected() -> None:
    pump = armed_pump()
    assert heard(pump, [entry(127905, "A"), NEAR_END], [entry(127906, "A"), NEAR_END]) == [KEY]
    occluded: Lines = [inf("HLD", "0.00", "6.731", "A", log="127907"), ("ALARM", "ALARM^AL_OCCLU^^")]
    again: Lines = [inf("HLD", "0.00", "6.731", "A", log="127908"), ("ALARM", "ALARM^AL_OCCLU^^")]
    pump = armed_pump()
    told = heard(pump, [*occluded, occluded[0], GIVEN_BACK], again)
    assert told == [PumpAlarm("occlusion_downstream", "AL_OCCLU")]


def test_the_keypad_of_a_pump_that_is_nobodys_is_nobodys_business() -> None:
    unarmed = connected()
    assert heard(unarmed, [entry(127905)], [entry(127906)]) == []
    released = armed_pump()
    rehearsed(lambda pump: pump.release(), [GIVEN_BACK], pump=released)
    assert heard(released, *[[entry(127905)]] * 3, [entry(127906)]) == []
    found = armed_pump()
    rehearse(found, found.connect(hands_off=True), said([*AGAIN, RUNS]))
    assert heard(found, [entry(127905)]) == []


def test_a_key_that_was_pressed_while_nobody_could_look_is_told_afterwards() -> None:
    pump, told = armed_pump(), []
    rehearse(pump, pump.connect(), said([*AGAIN, entry(127905)]), told)
    assert told == [KEY]


def test_a_pump_that_tells_no_log_id_is_watched_without() -> None:
    pump = armed_pump()
    none = inf("SET", "26.60", "6.731", log="")
    assert heard(pump, [none], [none], [entry(127904)], [entry(127905)]) == [KEY]


# --- arm and settings -----------------------------------------------------------------------------------------------


@pytest.mark.shows("H12", "H51")
def test_arm_clears_the_counter_and_reads_what_is_fitted() -> None:
    pump = connected()
    armed = rehearse(pump, pump.arm(PROGRAMME), said(ARM))
    assert armed == (
        ("serial number", SERIAL),
        ("syringe", "BD PLASTIPAK 50 ml"),
        ("syringe state", "CONF"),
        ("highest rate", "1200.00 ml/h"),
        ("keypad lock", "not settable over the line"),
    )
    assert rehearse(pump, pump.settings(), said(SETTINGS)) == armed


def test_a_counter_at_zero_is_not_cleared() -> None:
    rehearsed(arm, [EMPTY, EMPTY, *ARM[2:5]])


def test_a_clear_is_sent_once_and_silence_is_uncertain() -> None:
    pump = connected()
    dialogue = arm(pump)
    step = next(dialogue)
    for _, answer in said(ARM[:5]):
        assert answer is not None
        step = dialogue.send(the_frame(pump, answer, []))
        if isinstance(step, Pause):
            step = next(dialogue)
    assert step == Ask(wire("INF_VI_CLEAR"), 0.5, Repeat.NEVER, tries=1)
    with pytest.raises(Uncertain):
        rehearsed(arm, [*ARM[:5], ("INF_VI_CLEAR", None)])
    with pytest.raises(Uncertain):
        rehearsed(arm, [*ARM[:5], ("INF_VI_CLEAR", "INF_VI_CLEAR^NO")])


def test_a_counter_that_is_not_cleared_fails_arming() -> None:
    with pytest.raises(Differs, match="volume infused"):
        rehearsed(arm, [*ARM[:6], STILL])


@pytest.mark.shows("S4", "H51", "H58")
@pytest.mark.parametrize(
    ("step", "answer", "says"),
    [
        (4, "INF_VTBI^DEACT^^^", "volume limit: wanted ACTIV 13.270 ml STOP, pump says DEACT   "),
        (
            4,
            "INF_VTBI^ACTIV^13.271^ml^STOP",
            "volume limit: wanted ACTIV 13.270 ml STOP, pump says ACTIV 13.271 ml STOP",
        ),
        (4, "INF_VTBI^ACTIV^13.270^ml^KVO", "volume limit: wanted ACTIV 13.270 ml STOP, pump says ACTIV 13.270 ml KVO"),
        (4, "INF_VTBI^ACTIV^13.270^ml^", "volume limit: wanted ACTIV 13.270 ml STOP, pump says ACTIV 13.270 ml "),
        (4, "INF_VTBI", "volume limit: wanted ACTIV 13.270 ml STOP, pump says "),
        (5, "INF_RATE^26.61^ml/h", "rate: wanted 26.60 ml/h, pump says 26.61 ml/h"),
        (5, "INF_RATE^26.60^ml/min", "rate: wanted 26.60 ml/h, pump says 26.60 ml/min"),
        (5, "INF_RATE", "rate: wanted 26.60 ml/h, pump says "),
        (6, inf("HLD", "26.70", "6.730")[1], "rate: wanted 26.60 ml/h, pump says 26.70 mL/h"),
    ],
)
def test_load_refuses_what_reads_back_different(step: int, answer: str, says: str) -> None:
    with pytest.raises(Differs) as refusal:
        rehearsed(load, [*LOAD[:step], (LOAD[step][0], answer)])
    assert str(refusal.value) == says


@pytest.mark.shows("H51")
@pytest.mark.parametrize("state", ["", "UNCONF", "conf"])
def test_arm_wants_a_confirmed_syringe(state: str) -> None:
    syringe = (SYRINGE[0], f"SYRINGE_STATUS^BD PLASTIPAK^ 50^{state}")
    with pytest.raises(Differs, match="syringe state: wanted CONF, pump says"):
        rehearsed(arm, [*ARM[:3], syringe, HIGHEST])


@pytest.mark.parametrize("words", ["SYRINGE_STATUS", "SYRINGE_STATUS^BD^ 50", "SYRINGE_STATUS^BD^ 50^CONF^1"])
def test_a_syringe_that_does_not_read_as_documented_is_garbled(words: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(settings, [(SYRINGE[0], words)])


@pytest.mark.parametrize("words", ["", "^1200.00", "^1200^ml/h", "^1200.00^ml/min"])
def test_a_highest_rate_that_does_not_read_as_documented_is_garbled(words: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(settings, [SYRINGE, (HIGHEST[0], HIGHEST[0] + words)])


def test_the_pump_refuses_a_rate_above_its_syringe() -> None:
    slow = (HIGHEST[0], "INF_RATE_MAX_SYRINGE^26.50^ml/h")
    with pytest.raises(Refused, match="above what the pump gives with this syringe"):
        rehearsed(arm, [*ARM[:4], slow])


@pytest.mark.parametrize("flag", ["A", "B", ""])
@pytest.mark.parametrize("code", ["AL_OCCLU", "AL_VTBIS", "AL_NEWNO", "AL_NOALM"])
def test_arm_refuses_while_an_alarm_stands(flag: str, code: str) -> None:
    flagged = inf("HLD", "0.00", "6.730", flag=flag)
    with pytest.raises(Refused, match=rf"alarm stands at the pump \({code}\)"):
        rehearsed(arm, [flagged, flagged, ("ALARM", f"ALARM^{code}^^")])


@pytest.mark.parametrize("code", [code for code in WARNS if code != "AL_VTBIS"])
def test_a_pump_that_only_warns_can_be_armed(code: str) -> None:
    flagged = inf("HLD", "0.00", "6.730", flag="A")
    rehearsed(arm, [flagged, flagged, ("ALARM", f"ALARM^{code}^^"), *ARM[2:]])


@pytest.mark.shows("H51")
@pytest.mark.parametrize(("size", "says"), [(" 20", "20"), (" 60", "60"), ("5", "5")])
def test_arm_wants_a_syringe_of_the_planned_size(size: str, says: str) -> None:
    fitted = (SYRINGE[0], f"SYRINGE_STATUS^BD PLASTIPAK^{size}^CONF")
    with pytest.raises(Differs) as refusal:
        rehearsed(arm, [*ARM[:3], fitted, HIGHEST])
    assert str(refusal.value) == f"syringe size: wanted 50 mL, pump says BD PLASTIPAK {says} ml"


@pytest.mark.parametrize("size", ["", "50ml", "50.0.0", "-50", "1e2"])
def test_a_size_that_does_not_read_as_one_is_never_the_planned_one(size: str) -> None:
    fitted = (SYRINGE[0], f"SYRINGE_STATUS^BD PLASTIPAK^{size}^CONF")
    with pytest.raises(Garbled):
        rehearsed(arm, [*ARM[:3], fitted, HIGHEST])


def test_a_bag_does_not_fit() -> None:
    with pytest.raises(BadSetting, match="this pump takes a syringe"):
        DRIVER.open({}).fitted(bag())


@pytest.mark.shows("S1")
@pytest.mark.parametrize("status", [RUNS, inf("KVO", "1.00", "5.000"), inf("HLD", "1.00", "5.000")])
def test_arm_and_load_send_nothing_but_a_question_to_a_pump_that_may_move(status: tuple[str, str | None]) -> None:
    for make in (arm, load):
        with pytest.raises(Refused, match="must stand"):
            rehearsed(make, [status])
        with pytest.raises(Refused, match="must stand"):
            rehearsed(make, [STILL, inf("HLD", "0.00", "6.731")])


@pytest.mark.parametrize(
    ("make", "lines"), [(arm, ARM[:2]), (load, LOAD[:2]), (set_rate, [])], ids=["arm", "load", "set_rate"]
)
def test_no_order_goes_to_a_pump_without_permit(make: Callable[[Pump], Dialogue[Any]], lines: Lines) -> None:
    with pytest.raises(Refused, match="it can only be watched"):
        rehearsed(make, [*lines, NO_PERMIT])


@pytest.mark.shows("S1")
@pytest.mark.parametrize("limit", ["0", "0.0004", "13.2705", "50.001"])
def test_a_limit_off_the_grid_or_none_is_never_sent(limit: str) -> None:
    pump = connected()
    for dialogue in (
        pump.load(MlPerHour(20), Ml(limit)),
        pump.arm(Programme(syringe("20"), MlPerHour(1), Ml(limit), False)),
    ):
        with pytest.raises(ValueError, match="not a volume limit"):
            next(dialogue)


@pytest.mark.parametrize("rate", ["0", "26.67", "1200.1"])
def test_a_rate_off_the_grid_is_never_sent(rate: str) -> None:
    pump = connected()
    for dialogue in (pump.load(MlPerHour(rate), Ml(1)), pump.set_rate(MlPerHour(rate))):
        with pytest.raises(ValueError, match="not a rate"):
            next(dialogue)


@pytest.mark.shows("S1")
def test_no_dialogue_ever_switches_the_limit_off() -> None:
    for make, lines in ((arm, ARM), (load, LOAD), (set_rate, SET_RATE), (stop, STOP)):
        assert not [sent for sent, _ in lines if "DEACT" in sent]
        rehearsed(make, lines)  # fails when anything else is sent


# --- load, start, set_rate ------------------------------------------------------------------------------------------


def test_load_sets_the_limit_before_the_rate_and_reads_both() -> None:
    assert rehearsed(load, LOAD) == PumpReport(Motion.STANDING, None, Ml("6.73"), Ml("13.27"))


def test_load_gives_the_rate_where_a_standing_pump_shows_it() -> None:
    held = inf("HLD", "26.60", "6.730")
    report = rehearsed(load, [*LOAD[:-1], held])
    assert report == PumpReport(Motion.STANDING, MlPerHour("26.6"), Ml("6.73"), Ml("13.27"))


@pytest.mark.shows("S1", "S4")
@pytest.mark.parametrize(
    "after",
    [
        inf("SET", "26.60", "6.730"),
        inf("HLD", "0.00", "6.731"),
        inf("???", "26.60", "6.730"),
        inf("HLD", "26.50", "6.730"),
    ],
)
def test_load_refuses_a_pump_that_is_not_as_loaded_in_the_end(after: tuple[str, str | None]) -> None:
    with pytest.raises(Differs):
        rehearsed(load, [*LOAD[:-1], after])


@pytest.mark.shows("S10")
def test_start_is_asked_once() -> None:
    pump = connected()
    rehearse(pump, pump.start(), said(START))
    step = next(pump.start())
    assert isinstance(step, Ask)
    assert (step.repeat, step.tries) == (Repeat.NEVER, 1)


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", ["INF_START^NO", "INF_STOP", "INF", "ERROR", "ALARM^AL_OCCLU^^", RUNS[1], None])
def test_start_is_uncertain_when_its_echo_does_not_come(answer: str | None) -> None:
    with pytest.raises(Uncertain):
        rehearsed(start, [("INF_START", answer)])


@pytest.mark.shows("S4", "H59")
def test_set_rate_gives_what_a_later_status_says() -> None:
    assert rehearsed(set_rate, SET_RATE) == MlPerHour(20)
    assert rehearsed(set_rate, [*SET_RATE[:2], RUNS, RUNS, SET_RATE[2]]) == MlPerHour(20)
    assert rehearsed(set_rate, [*SET_RATE[:2], RUNS, RUNS, RUNS]) == MlPerHour("26.6")
    stopped = inf("HLD", "0.00", "6.740")
    assert rehearsed(set_rate, [*SET_RATE[:2], stopped, stopped, stopped]) == MlPerHour(0)


def test_set_rate_does_not_believe_a_wrong_repetition() -> None:
    with pytest.raises(Differs):
        rehearsed(set_rate, [PERMIT, (SET_RATE[1][0], "INF_RATE^200.00^ml/h")])


ORDERS: list[tuple[Callable[[Pump], Dialogue[Any]], Lines]] = [
    (arm, ARM),
    (load, LOAD),
    (set_rate, SET_RATE),
    (settings, SETTINGS),
    (read, READ),
    (feed, [PERMIT]),
    (lambda pump: pump.release(), [GIVEN_BACK]),
]
STEPS = [(make, lines, step) for make, lines in ORDERS for step in range(len(lines))]


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", ["ERROR^7", "NAK", "ALARM^AL_OCCLU^^", "INST_SERIALNO^8002-51740", "INF^"])
@pytest.mark.parametrize(("make", "lines", "step"), STEPS)
def test_any_other_answer_at_any_step_fails_the_order(
    make: Callable[[Pump], Dialogue[Any]], lines: Lines, step: int, answer: str
) -> None:
    with pytest.raises((Garbled, Uncertain)):
        rehearsed(make, [*lines[:step], (lines[step][0], answer)])


@pytest.mark.parametrize(("make", "lines", "step"), STEPS)
def test_silence_at_any_step_fails_the_order(make: Callable[[Pump], Dialogue[Any]], lines: Lines, step: int) -> None:
    with pytest.raises((Silent, Uncertain)):
        rehearsed(make, [*lines[:step], (lines[step][0], None)])


STATUSES = [(make, lines, step) for make, lines, step in STEPS if lines[step][0] == "INF" and lines is not READ]


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize(("make", "lines", "step"), [each for each in STATUSES if each[1:] != (ARM, 1)])
def test_an_alarm_that_comes_up_within_an_order_is_told_by_the_next_reading(
    make: Callable[[Pump], Dialogue[Any]], lines: Lines, step: int
) -> None:
    pump, told = connected(), []
    sent, answer = lines[step]
    flagged = (sent, str(answer).replace("^-^", "^A^"))
    with suppress(Refused):  # an arming that sees it goes no further
        rehearse(pump, make(pump), said([*lines[:step], flagged, *lines[step + 1 :]]), told)
    reading: Lines = [inf("SET", "1.00", "6.740", flag="A"), ("ALARM", "ALARM^AL_OCCLU^^")]
    rehearse(pump, pump.read(), said(reading), told)
    assert told[-1].code == "occlusion_downstream"


# --- stop -----------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S4", "H11")
def test_stop_is_done_when_two_later_readings_say_so() -> None:
    assert rehearsed(stop, STOP) == PumpReport(Motion.STANDING, counted=Ml("6.73"))


@pytest.mark.shows("S5")
def test_stop_goes_first_whatever_is_known_of_the_pump() -> None:
    for pump in (DRIVER.open({}), connected()):
        step = next(pump.stop())
        assert isinstance(step, Ask)
        assert step.data == b"!INF_STOP|CD57\r"


@pytest.mark.shows("S4", "S5")
@pytest.mark.parametrize(
    "moving",
    [
        [RUNS],
        [inf("SET", "0.10", "6.730")],
        [inf("???", "26.60", "6.730")],
        [inf("KVO", "1.00", "6.730")],
        [inf("HLD", "1.00", "6.730")],
        [STILL, inf("HLD", "0.00", "6.731")],
        [STILL, inf("HLD", "0.00", "0.000")],
        [STILL, RUNS],
    ],
)
def test_stop_is_sent_again_under_control_until_the_pump_is_proved_to_stand(moving: Lines) -> None:
    again: Lines = [("INF_STOP", "INF_STOP"), *moving, PERMIT]
    assert rehearsed(stop, [*again, *again, *STOP]).motion is Motion.STANDING
    never: Lines = [*again * (STOP_TRIES - 1), ("INF_STOP", "INF_STOP"), *moving]
    with pytest.raises(Garbled, match="not seen standing"):
        rehearsed(stop, never)


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", [RUNS[1], STILL[1], "ERROR", "ALARM^AL_OCCLU^^", "INF_STOP^NO", None])
def test_stop_believes_no_answer_to_stop_itself(answer: str | None) -> None:
    moving: Lines = [("INF_STOP", answer), RUNS, PERMIT]
    assert rehearsed(stop, [*moving, *STOP]).motion is Motion.STANDING
    assert rehearsed(stop, [("INF_STOP", answer), *STOP[1:]]).motion is Motion.STANDING


@pytest.mark.parametrize("late", ["INF_STOP", "ALARM^AL_NOALM^^", "ERROR", "INF^8002-51740^-"])
@pytest.mark.parametrize("step", [1, 2])
def test_stop_is_sent_again_when_something_else_answers_the_status(late: str, step: int) -> None:
    assert rehearsed(stop, [*STOP[:step], ("INF", late), PERMIT, *STOP]).motion is Motion.STANDING


@pytest.mark.parametrize("refused", [NO_PERMIT[1], "ERROR", None])
def test_stop_goes_on_where_control_is_not_given(refused: str | None) -> None:
    lines: Lines = [STOP[0], RUNS, (PERMIT[0], refused), *STOP]
    assert rehearsed(stop, lines).motion is Motion.STANDING


def test_stop_asks_for_the_serial_number_only_when_it_needs_control() -> None:
    assert rehearsed(stop, STOP, pump=DRIVER.open({})).motion is Motion.STANDING
    lines: Lines = [STOP[0], RUNS, ID[0], PERMIT, *STOP]
    assert rehearsed(stop, lines, pump=DRIVER.open({})).motion is Motion.STANDING


@pytest.mark.shows("S5")
@pytest.mark.parametrize("step", [1, 2])
def test_silence_after_stop_ends_it_so_that_the_caller_repeats(step: int) -> None:
    with pytest.raises(Silent):
        rehearsed(stop, [*STOP[:step], ("INF", None)])


@pytest.mark.parametrize("answer", [None, "ERROR", "REMOTE_CTRL^DISABLED"])
def test_a_stop_that_was_read_is_done_whatever_becomes_of_giving_back(answer: str | None) -> None:
    assert rehearsed(stop, [*STOP[:-1], (GIVEN_BACK[0], answer)]).motion is Motion.STANDING


def test_stop_works_in_an_alarm_that_stands() -> None:
    occluded = inf("HLD", "0.00", "6.730", flag="A")
    assert rehearsed(stop, [STOP[0], occluded, occluded, GIVEN_BACK]).motion is Motion.STANDING


@pytest.mark.shows("S15")
def test_another_pump_that_stands_does_not_confirm_the_stop() -> None:
    other = inf("HLD", "0.00", "6.730", serial="8002-51733")
    again: Lines = [STOP[0], other, PERMIT]
    with pytest.raises(Garbled, match="8002-51733 answers instead"):
        rehearsed(stop, [*again * (STOP_TRIES - 1), STOP[0], other])


# --- watchdog and release -------------------------------------------------------------------------------------------


@pytest.mark.shows("S16")
def test_the_watchdog_is_fed_well_below_its_time() -> None:
    pump = connected()
    keep_alive = pump.keep_alive()
    assert keep_alive is not None
    assert not keep_alive.covered_by_any  # only REMOTE_CTRL surely feeds it
    assert keep_alive.every_s == KEEP_ALIVE_S
    assert 1 <= KEEP_ALIVE_S <= 5
    assert pump.capabilities.watchdog_s == (WATCHDOG_S, WATCHDOG_S) == (15, 15)
    assert 2 * (KEEP_ALIVE_S + WORST_REPLY_S) < WATCHDOG_S
    assert pump.capabilities.lost_after_s > pump.capabilities.worst_reply_s == WORST_REPLY_S
    rehearsed(feed, [PERMIT])


@pytest.mark.shows("S16")
def test_a_lost_answer_or_a_stop_at_the_pump_does_not_let_the_lease_lapse() -> None:
    pump = connected()
    quick_s = 0.1  # each answer that comes
    lost_s = 2 * REPLY_TIMEOUT_S + quick_s  # time-out, quiet line, asked again
    read_again_s = pump.capabilities.poll_s + max(lost_s, STILL_S + 2 * quick_s)
    assert read_again_s < LEASE_S
    keep_alive = feed(pump)
    assert next(keep_alive) == Ask(wire(PERMIT[0]), REPLY_TIMEOUT_S, tries=1)


def test_a_keep_alive_without_a_known_pump_asks_who_it_is() -> None:
    rehearsed(feed, [ID[0], PERMIT], pump=DRIVER.open({}))


@pytest.mark.shows("S7")
def test_losing_permit_while_it_infuses_is_told_once_until_it_is_back() -> None:
    pump, told = connected(), []
    for line in (PERMIT, NO_PERMIT, NO_PERMIT, PERMIT, NO_PERMIT):
        try:
            rehearsed(feed, [line], told, pump)
        except Refused:
            assert line is NO_PERMIT
    assert told == [PumpAlarm("pump_alarm_unknown", "REMOTE_CTRL without PERMIT")] * 2
    told.clear()
    rehearse(pump, pump.read(), said(READ))
    for line in (PERMIT, NO_PERMIT):
        with suppress(Refused):
            rehearsed(feed, [line], told, pump)
    assert [alarm.stops for alarm in told] == [False]


def test_a_pump_that_never_gave_control_is_no_alarm() -> None:
    pump, told = DRIVER.open({}), []
    rehearse(pump, pump.connect(), said([*CONNECT[:5], NO_PERMIT]), told)
    assert told == []


def test_release_takes_the_long_answer_and_the_echo() -> None:
    for answer in ("REMOTE_CTRL^DISABLED^****^PERMIT^0^ms", "REMOTE_CTRL^DISABLED"):
        rehearsed(lambda pump: pump.release(), [(GIVEN_BACK[0], answer)])


# --- what is told about the family ----------------------------------------------------------------------------------


def test_it_is_announced() -> None:
    registry = find_drivers()
    assert registry.drivers["alaris"] is DRIVER
    assert "alaris" not in registry.broken


def test_the_line_and_what_it_can() -> None:
    capabilities = DRIVER.open({}).capabilities
    assert (DRIVER.line.baud, DRIVER.line.bytesize, DRIVER.line.parity, DRIVER.line.stopbits) == (38400, 8, "N", 1)
    assert capabilities.has_serial_number
    assert capabilities.live_rate_change
    assert not capabilities.poll_acknowledges_alarm


@pytest.mark.shows("S8")
def test_the_grids_are_those_of_the_page() -> None:
    fitted = DRIVER.open({}).fitted(syringe())
    assert fitted.rates.down(Decimal("46.67")) == Decimal("46.6")
    assert fitted.rates.down(Decimal("0.09")) is None
    assert fitted.rates.down(Decimal(2000)) == 1200
    assert fitted.limits.down(Decimal("35.00259")) == Decimal("35.002")
    assert fitted.limits.down(Decimal(60)) == 50
    assert fitted.counter.step_at(Decimal(20)) == Decimal("0.001")


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(BadSetting, match="adress: unknown setting; this driver has none"):
        DRIVER.open({"adress": 1})
