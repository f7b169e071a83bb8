"""Zyno dialogues: what is asked in which order, what is believed, and what each answer that is wrong leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rehearsal import Script, lines_of, rehearse, transcript
from test_zyno_framing import at, event

from drivers.zyno import DRIVER, RECORDS_PER_READING, REPLY_TIMEOUT_S, STOP_TRIES, WHY
from drivers.zyno_wire import spell
from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import (
    Ask,
    BadSetting,
    Container,
    Dialogue,
    Frame,
    Garbled,
    Motion,
    Programme,
    Pump,
    PumpAlarm,
    PumpReport,
    Refused,
    Silent,
    Taken,
)
from pumpd.registry import find_drivers
from pumpd.units import Ml, MlPerHour

Lines = list[tuple[str, str | None]]
BAG = Container("bag", "any", Ml(100), None, Ml(100))

ID: Lines = [("RN", "RNSN800008"), ("RS", "RS1.0.09")]
RATE, COUNTED, LIMIT = (":INFU:RATE?", "27.0"), ("Q5", "Q50071"), ("Q6", "Q607D0")
CONNECT: Lines = [*ID, RATE, LIMIT]
RUNS: Lines = [(":INFU:RUN?", "TRUE"), ("Q0", "Q0CONT"), ("Q7", "Q70")]
STANDS: Lines = [(":INFU:RUN?", "FALSE"), ("Q0", "Q0CONT"), ("Q7", "Q70")]
LOG: Lines = [("RI", at(0, 1)), ("RE00000000", event(24, 0, 0))]
READ: Lines = [*RUNS, RATE, COUNTED, LIMIT, *LOG]
STOP: Lines = [("WT02", "WT"), *STANDS, COUNTED]


def said(lines: Lines, check: str = "sum") -> Script:
    return [(spell(sent, check), None if answer is None else spell(answer, check)) for sent, answer in lines]


def rehearsed(
    make: Callable[[Pump], Dialogue[Any]], lines: Lines, told: list[PumpAlarm] | None = None, pump: Pump | None = None
) -> Any:
    pump = pump or DRIVER.open({})
    return rehearse(pump, make(pump), said(lines), told)


def connect(pump: Pump) -> Dialogue[Any]:
    return pump.connect()


def read(pump: Pump) -> Dialogue[Any]:
    return pump.read()


def stop(pump: Pump) -> Dialogue[Any]:
    return pump.stop()


def log_of(pump: Pump, lines: Lines) -> list[PumpAlarm]:
    told: list[PumpAlarm] = []
    rehearsed(read, [*READ[:6], *lines], told, pump)
    return told


def re(kind: int, sub: int, number: int) -> tuple[str, str]:
    return f"RE{number:08X}", event(kind, sub, number)


# --- connect and read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hands_off", [False, True])
def test_connect_only_asks_and_says_why_it_cannot_be_controlled(hands_off: bool) -> None:
    identity = rehearsed(lambda pump: pump.connect(hands_off=hands_off), CONNECT)
    assert (identity.serial, identity.version) == ("SN800008", "1.0.09")
    assert (identity.rate, identity.limit) == (MlPerHour(27), Ml(20))
    assert identity.monitor_only == WHY
    assert "watched and stopped only" in WHY


def test_connect_does_without_what_is_not_available() -> None:
    lines: Lines = [ID[0], ("RS", "RSERROR"), (RATE[0], "ERROR"), ("Q6", "Q6ERROR")]
    identity = rehearsed(connect, lines)
    assert (identity.version, identity.rate, identity.limit) == ("not told", None, None)


@pytest.mark.parametrize("answer", ["RN", "RN        "])
def test_connect_wants_a_serial_number(answer: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(connect, [("RN", answer)])
    with pytest.raises(Refused):
        rehearsed(connect, [("RN", "RNERROR")])


def test_a_reading() -> None:
    report = rehearsed(read, READ)
    assert report == PumpReport(Motion.INFUSING, MlPerHour(27), Ml("1.13"), Ml(20), warnings=())


def test_the_same_with_the_other_check() -> None:
    pump = DRIVER.open({"check": "xor"})
    assert rehearse(pump, pump.read(), said(READ, "xor")).motion is Motion.INFUSING
    assert rehearse(pump, pump.stop(), said(STOP, "xor")).motion is Motion.STANDING


@pytest.mark.parametrize(
    ("run", "mode", "bolus", "motion"),
    [
        ("TRUE", "Q0CONT", "Q70", Motion.INFUSING),
        ("FALSE", "Q0CONT", "Q70", Motion.STANDING),
        ("TRUE", "Q0ERROR", "Q7ERROR", Motion.INFUSING),
        ("FALSE", "Q0ERROR", "Q7ERROR", Motion.STANDING),
        ("TRUE", "Q0CONT", "Q71", Motion.BOLUS),
        ("FALSE", "Q0CONT", "Q71", Motion.BOLUS),
        ("TRUE", "Q0BOLUS", "Q70", Motion.UNKNOWN),
        ("FALSE", "Q0BOLUS", "Q70", Motion.UNKNOWN),
        ("FALSE", "Q0", "Q70", Motion.UNKNOWN),
        ("FALSE", "Q0INT", "Q700", Motion.UNKNOWN),
    ],
)
@pytest.mark.shows("H11")
def test_what_it_does(run: str, mode: str, bolus: str, motion: Motion) -> None:
    lines: Lines = [(":INFU:RUN?", run), ("Q0", mode), ("Q7", bolus), *READ[3:]]
    assert rehearsed(read, lines).motion is motion


@pytest.mark.parametrize("answer", ["", "1", "27.0", "TRUEFALSE", "WT", "Q0CONT"])
def test_any_other_word_for_running_is_garbled(answer: str) -> None:
    if answer:
        with pytest.raises(Garbled):
            rehearsed(read, [(":INFU:RUN?", answer)])


@pytest.mark.shows("S7")
def test_what_the_pump_does_not_tell_stays_unknown() -> None:
    lines: Lines = [*RUNS, (RATE[0], "ERROR"), ("Q5", "Q5ERROR"), ("Q6", "Q6ERROR"), *LOG]
    assert rehearsed(read, lines) == PumpReport(Motion.INFUSING, None, None, None, warnings=())


@pytest.mark.shows("S7")
@pytest.mark.parametrize(
    ("step", "answer"),
    [(2, "Q7"), (2, "Q7X"), (3, "TRUE"), (3, "27.0ML/H"), (4, "Q5"), (4, "Q51.13"), (5, "Q6-1"), (6, "RI"), (6, "RI0")],
)
def test_a_number_that_cannot_be_read_fails_the_reading(step: int, answer: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(read, [*READ[:step], (READ[step][0], answer)])


@pytest.mark.shows("S7")
@pytest.mark.parametrize("step", range(len(READ)))
def test_silence_at_any_step_fails_the_reading(step: int) -> None:
    with pytest.raises(Silent):
        rehearsed(read, [*READ[:step], (READ[step][0], None)])


@pytest.mark.shows("S7")
def test_without_its_event_log_there_is_no_reading() -> None:
    with pytest.raises(Refused, match="RI: the pump says that it is not available"):
        rehearsed(read, [*READ[:6], ("RI", "RIERROR")])


@pytest.mark.parametrize("make", [connect, read])
def test_the_answer_of_another_question_is_not_taken(make: Callable[[Pump], Dialogue[Any]]) -> None:
    pump = DRIVER.open({})
    dialogue = make(pump)
    step: Any = next(dialogue)
    for sent, answer in CONNECT if make is connect else READ:
        assert isinstance(step, Ask)
        assert step.data == spell(sent, "sum")
        assert (step.timeout_s, step.tries) == (REPLY_TIMEOUT_S, 2)
        assert answer is not None
        if not sent.startswith(":"):
            assert step.accept is not None
            assert not step.accept(Frame("reply", b"ZZ00"))
            assert step.accept(Frame("reply", answer.encode()))
        frame = Frame("reply", answer.encode())
        pump.on_frame(frame, True)
        try:
            step = dialogue.send(frame)
        except StopIteration:
            return


# --- the event log ----------------------------------------------------------------------------------------------------


def met() -> Pump:
    """A pump whose log was met at record 10."""
    pump = DRIVER.open({})
    log_of(pump, [("RI", at(0, 10)), *(re(15, 0, number) for number in range(10))])
    return pump


@pytest.mark.shows("H9", "H14")
def test_an_alarm_is_told_by_the_reading_after_it_came() -> None:
    pump = met()
    assert log_of(pump, [("RI", at(0, 10))]) == []
    assert log_of(pump, [("RI", at(0, 11)), re(9, 2, 10)]) == [
        PumpAlarm("occlusion_downstream", "event 9.2: occlusion downstream")
    ]
    assert log_of(pump, [("RI", at(0, 11))]) == [], "once"


@pytest.mark.shows("H9")
def test_a_gap_in_the_log_is_an_alarm() -> None:
    pump = met()
    (gap,) = log_of(pump, [("RI", at(12, 13)), re(15, 0, 12)])
    assert gap.code == "pump_log_gap"
    (gap,) = log_of(pump, [("RI", at(12, 15)), ("RE0000000D", "REERROR"), re(1, 0, 14)])
    assert gap == PumpAlarm("pump_log_gap", "event 13 cannot be read", stops=False)


@pytest.mark.shows("H9")
def test_a_record_that_is_not_in_the_table_is_an_unknown_alarm() -> None:
    assert log_of(met(), [("RI", at(0, 11)), re(40, 3, 10)]) == [PumpAlarm("pump_alarm_unknown", "event 40.3")]


def test_many_records_are_read_over_several_readings() -> None:
    pump = met()
    head = ("RI", at(0, 10 + RECORDS_PER_READING + 1))
    assert log_of(pump, [head, *(re(15, 0, 10 + number) for number in range(RECORDS_PER_READING))]) == []
    (alarm,) = log_of(pump, [head, re(3, 0, 10 + RECORDS_PER_READING)])
    assert alarm.code == "container_empty"


def test_a_cut_reading_loses_no_record() -> None:
    pump, told = met(), []
    with pytest.raises(Silent):
        rehearsed(read, [*READ[:6], ("RI", at(0, 12)), re(3, 0, 10), ("RE0000000B", None)], told, pump)
    assert [alarm.code for alarm in told] == ["container_empty"]
    assert [alarm.code for alarm in log_of(pump, [("RI", at(0, 12)), re(9, 1, 11)])] == ["occlusion_upstream"]


@pytest.mark.parametrize("answer", ["RE0000000A03", event(3, 0, 10)[:-1], event(3, 0, 10) + "0"])
def test_a_record_that_cannot_be_read_fails_the_reading_and_is_asked_for_again(answer: str) -> None:
    pump = met()
    with pytest.raises(Garbled):
        log_of(pump, [("RI", at(0, 11)), ("RE0000000A", answer)])
    assert [alarm.code for alarm in log_of(pump, [("RI", at(0, 11)), re(3, 0, 10)])] == ["container_empty"]


def test_only_the_record_that_was_asked_for_is_taken() -> None:
    pump = met()
    dialogue = pump.read()
    step: Any = next(dialogue)
    for _, answer in [*READ[:6], ("RI", at(0, 11))]:
        frame = Frame("reply", str(answer).encode())
        pump.on_frame(frame, True)
        step = dialogue.send(frame)
    assert step.accept(Frame("reply", event(3, 0, 10).encode()))
    assert step.accept(Frame("reply", b"REERROR"))
    assert not step.accept(Frame("reply", event(3, 0, 9).encode()))


def test_the_log_is_read_on_after_the_line_was_lost() -> None:
    pump = met()
    rehearsed(connect, CONNECT, pump=pump)
    log_of(pump, [("RI", at(0, 10)), *(re(15, 0, number) for number in range(10))])
    rehearsed(connect, CONNECT, pump=pump)
    (alarm,) = log_of(pump, [("RI", at(0, 11)), re(9, 2, 10)])
    assert alarm.code == "occlusion_downstream"


@pytest.mark.shows("S15")
def test_another_pump_has_another_log() -> None:
    pump = met()
    rehearsed(connect, [("RN", "RNSN800009"), *CONNECT[1:]], pump=pump)
    assert log_of(pump, [("RI", at(0, 1)), re(24, 0, 0)]) == [], "neither a gap nor news"


def test_warnings_stand_in_the_reading() -> None:
    pump = met()
    lines: Lines = [*READ[:6], ("RI", at(0, 12)), re(30, 0, 10), re(21, 0, 11)]
    assert rehearsed(read, lines, pump=pump).warnings == ("pump_battery_low", "pump_reminder")
    lines = [*READ[:6], ("RI", at(0, 14)), re(13, 16, 12), re(1, 0, 13)]
    assert rehearsed(read, lines, pump=pump).warnings == ()


def test_a_late_answer_tells_nothing() -> None:
    pump = met()
    for late in (at(20, 30), event(3, 0, 10), "REERROR"):
        taken = pump.on_frame(Frame("reply", late.encode()), False)
        assert taken.notices == ()
    assert log_of(pump, [("RI", at(0, 10))]) == []


@pytest.mark.parametrize("asking", [False, True])
def test_sensors_that_the_pump_sends_by_itself_answer_nothing(asking: bool) -> None:
    assert DRIVER.open({}).on_frame(Frame("sensors", b"S96400A0300"), asking) == Taken()


# --- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S4", "S5")
def test_stop_goes_first_and_is_done_when_a_later_reading_says_so() -> None:
    step = next(DRIVER.open({}).stop())
    assert isinstance(step, Ask)
    assert step.data == b"\x02WT020D\x03"
    assert rehearsed(stop, STOP) == PumpReport(Motion.STANDING, counted=Ml("1.13"))


@pytest.mark.shows("S4", "S5")
@pytest.mark.parametrize("answer", ["WT", "WTERROR", "TRUE", "ERROR", "RI", None])
def test_what_answers_the_stop_is_not_believed(answer: str | None) -> None:
    assert rehearsed(stop, [("WT02", answer), *RUNS, ("WT02", answer), *STOP[1:]]).motion is Motion.STANDING


@pytest.mark.shows("S5")
@pytest.mark.parametrize(
    "moving",
    [
        RUNS,
        [(":INFU:RUN?", "FALSE"), ("Q0", "Q0CONT"), ("Q7", "Q71")],
        [(":INFU:RUN?", "FALSE"), ("Q0", "Q0INT"), ("Q7", "Q70")],
        [(":INFU:RUN?", "WT")],
        [(":INFU:RUN?", "ERROR")],
    ],
)
def test_stop_is_sent_again_until_the_pump_stands(moving: Lines) -> None:
    again: Lines = [("WT02", "WT"), *moving]
    assert rehearsed(stop, [*again * (STOP_TRIES - 1), *STOP]).motion is Motion.STANDING
    with pytest.raises(Garbled, match="not seen standing"):
        rehearsed(stop, again * STOP_TRIES)


@pytest.mark.parametrize("answer", [None, "Q5ERROR", "Q5?"])
def test_a_stop_is_done_whatever_becomes_of_the_counter(answer: str | None) -> None:
    assert rehearsed(stop, [*STOP[:-1], ("Q5", answer)]) == PumpReport(Motion.STANDING)


@pytest.mark.shows("S5")
def test_silence_after_the_stop_ends_it_so_that_the_caller_repeats() -> None:
    with pytest.raises(Silent):
        rehearsed(stop, [STOP[0], (":INFU:RUN?", None)])


# --- what it cannot do ------------------------------------------------------------------------------------------------


@pytest.mark.shows("S2")
@pytest.mark.parametrize(
    "order",
    [
        lambda pump: pump.arm(Programme(BAG, MlPerHour(27), Ml(20), False)),
        lambda pump: pump.load(MlPerHour(27), Ml(20)),
        lambda pump: pump.start(),
        lambda pump: pump.set_rate(MlPerHour(10)),
    ],
)
def test_nothing_is_sent_that_could_give_more(order: Callable[[Pump], Dialogue[Any]]) -> None:
    with pytest.raises(Refused, match="watched and stopped only"):
        rehearsed(order, [])


def test_release_has_nothing_to_give_back() -> None:
    rehearsed(lambda pump: pump.release(), [])
    assert DRIVER.open({}).keep_alive() is None


def test_settings_tell_who_it_is() -> None:
    assert rehearsed(lambda pump: pump.settings(), [ID[0]]) == (("serial number", "SN800008"),)


# --- what is told about the family ------------------------------------------------------------------------------------


def test_it_is_announced() -> None:
    registry = find_drivers()
    assert registry.drivers["zyno"] is DRIVER
    assert "zyno" not in registry.broken


def test_the_line_and_what_it_can() -> None:
    pump = DRIVER.open({})
    assert [dict(probe.settings) for probe in DRIVER.probes] == [{"check": "sum"}, {"check": "xor"}]
    able = pump.capabilities
    assert (DRIVER.line.baud, DRIVER.line.bytesize, DRIVER.line.parity, DRIVER.line.stopbits) == (9600, 8, "N", 1)
    assert (able.control, able.stop, able.clinical_use, able.watchdog_s) == (False, True, False, None)
    assert set(able.alarms) <= set(CATALOGUE)
    assert {"pump_log_gap", "pump_alarm_unknown", "occlusion_downstream", "pump_battery_low"} <= set(able.alarms)
    assert pump.fitted(BAG).counter.step_at(Ml(1).value) == Ml("0.01").value


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"address": 1}, "address: unknown setting; this driver has check"),
        ({"check": "crc"}, 'check: \'crc\': expected "sum" or "xor"'),
        ({"check": 1}, 'check: 1: expected "sum" or "xor"'),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        DRIVER.open(settings)
    assert str(refusal.value) == says


# --- published answers ------------------------------------------------------------------------------------------------


def test_the_published_answers_are_read() -> None:
    replies = dict([*transcript("published", "zyno"), *transcript("constructed", "zyno")])
    asked = [":INFU:RUN?", "Q0", "Q7", ":INFU:RATE?", "Q5", "Q6", "RI"]
    script: Script = [(spell(sent, "sum"), replies[spell(sent, "sum")]) for sent in asked]
    pump, told = DRIVER.open({}), []
    first, newest = 0x2A - 33, 0x2A
    for start in range(first, newest + 1, RECORDS_PER_READING):
        numbers = range(start, min(start + RECORDS_PER_READING, newest + 1))
        records = [
            (question, replies.get(question, spell(event(15, 0, number), "sum")))
            for number, question in ((number, spell(f"RE{number:08X}", "sum")) for number in numbers)
        ]
        report = rehearse(pump, pump.read(), [*script, *records], told)
        assert report == PumpReport(Motion.INFUSING, MlPerHour(27), Ml("1.13"), Ml(20), warnings=())
    assert [alarm.code for alarm in told] == ["occlusion_downstream"]


def test_no_request_without_a_known_answer_is_sent() -> None:
    unknown = {raw for _, raw in lines_of("requests", "zyno")}
    sent = {spell(question, "sum") for question, _ in [*CONNECT, *READ, *STOP]}
    assert not unknown & sent
