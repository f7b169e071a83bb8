"""Fresenius dialogues: the line's own bytes, the session, what is believed, and what each wrong answer leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rehearsal import rehearse

from drivers.fresenius import (
    BASE_WAIT_S,
    CANNOT_STOP,
    DRIVER,
    LOST_AFTER_S,
    REPLY_TIMEOUT_S,
    STILL_READINGS,
    WHY,
    Watching,
)
from drivers.fresenius_wire import spell
from pumpd.driver import (
    LEAVE,
    Ask,
    BadSetting,
    Container,
    Damaged,
    Dialogue,
    Differs,
    Frame,
    Garbled,
    Motion,
    Pause,
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

Lines = list[tuple[str, str | None]]  # each with its address; an answer of "NAKx" is the bytes of the line
SYRINGE = Container("syringe", "any", Ml(50), None, Ml(50))
ON_BASE = {"module": 1}

OPEN: Lines = [("0DC", "0C"), ("0LE;b", "0C;b07"), ("1DC", "1C")]
DEVICE: Lines = [("1LF;b", "1C;bMODULE DPS")]
CONNECT: Lines = [*OPEN, *DEVICE]
QUESTION = "1LE;aedr"
READ: Lines = [(QUESTION, "1C;a00;e00;d0064;r00001388")]
ALONE: Lines = [("DC", "C"), ("LF;b", "C;bPILOTE")]
NOT_OPEN = {code: f"1I;{code}" for code in ("0D", "1E")}


def wire(text: str) -> bytes:
    return b"\x15" + text[3:].encode() if text.startswith("NAK") else spell("", text)


def rehearsed(
    make: Callable[[Pump], Dialogue[Any]],
    lines: Lines,
    told: list[PumpAlarm] | None = None,
    pump: Pump | None = None,
) -> Any:
    pump = pump or DRIVER.open(ON_BASE)
    script = [(wire(sent), None if answer is None else b"\x06" + wire(answer)) for sent, answer in lines]
    return rehearse(pump, make(pump), script, told)


def connect(pump: Pump) -> Dialogue[Any]:
    return pump.connect()


def read(pump: Pump) -> Dialogue[Any]:
    return pump.read()


def taken(pump: Pump, data: bytes, asking: bool = True) -> list[Taken]:
    pump.framer.feed(data)
    frames = list(pump.framer.frames())
    assert not any(isinstance(frame, Damaged) for frame in frames)
    return [pump.on_frame(frame, asking) for frame in frames if isinstance(frame, Frame)]


# --- the line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asking", [False, True])
def test_a_line_check_is_answered_at_once(asking: bool) -> None:
    assert taken(DRIVER.open(ON_BASE), b"\x05", asking) == [Taken(send=b"\x14")]


@pytest.mark.parametrize("asking", [False, True])
def test_an_ack_is_no_answer(asking: bool) -> None:
    assert taken(DRIVER.open(ON_BASE), b"\x06", asking) == [Taken()]


def test_a_line_check_in_the_middle_of_an_answer_is_answered_and_the_answer_read() -> None:
    raw = spell("1", "C;d0064")
    for at in range(len(raw) + 1):
        found = taken(DRIVER.open(ON_BASE), raw[:at] + b"\x05" + raw[at:])
        assert sorted(one.send for one in found) == [b"\x06", b"\x14"]


def test_every_good_frame_is_acknowledged() -> None:
    pump = DRIVER.open(ON_BASE)
    assert taken(pump, spell("1", "C;d0064")) == [Taken(b"\x06", consumed=False)]
    assert taken(pump, spell("0", "C;b07")) == [Taken(b"\x06", consumed=False)]
    assert taken(pump, spell("1", "I;12")) == [Taken(b"\x06", consumed=False)]
    assert taken(pump, spell("2", "C;d0064")) == [Taken(b"\x06")], "another module's: not ours to read"
    assert taken(pump, spell("", "C;d0064")) == [Taken(b"\x06")]
    assert taken(pump, spell("1", "X")) == [Taken(b"\x06")]
    assert taken(DRIVER.open({}), spell("", "C;d0064")) == [Taken(b"\x06", consumed=False)]
    assert taken(DRIVER.open({}), spell("1", "C;d0064")) == [Taken(b"\x06")]


@pytest.mark.parametrize("letter", ["E", "M"])
def test_an_event_is_acknowledged_and_answered(letter: str) -> None:
    (on_base,) = taken(DRIVER.open(ON_BASE), spell("1", f"{letter};r000003E8"), asking=False)
    assert on_base == Taken(b"\x06" + spell("1", letter))
    (alone,) = taken(DRIVER.open({}), spell("", f"{letter};r000003E8"))
    assert alone == Taken(b"\x06" + spell("", letter))
    assert b"\x06" + spell("1", "E") == b"\x06\x021E89\x03", "as published"


def test_a_nak_is_for_who_asks_only() -> None:
    assert taken(DRIVER.open(ON_BASE), b"\x152", asking=True) == [LEAVE]
    assert taken(DRIVER.open(ON_BASE), b"\x155", asking=False) == [Taken()]


@pytest.mark.parametrize("reason", "1245678")
def test_a_question_is_asked_once_more_after_a_nak(reason: str) -> None:
    no = (QUESTION, f"NAK{reason}")
    assert rehearsed(read, [no, *READ]).rate == MlPerHour(10)
    with pytest.raises(Refused, match=rf"LE;aedr: NAK {reason} \("):
        rehearsed(read, [no, no])


def test_only_an_answer_from_the_same_address_is_taken() -> None:
    step = next(DRIVER.open(ON_BASE).read())
    assert isinstance(step, Ask)
    assert (step.timeout_s, step.tries) == (REPLY_TIMEOUT_S, 2)
    assert step.accept is not None
    assert step.accept(Frame("reply", b"C", "1"))
    assert step.accept(Frame("refusal", b"I;12", "1"))
    assert step.accept(Frame("nak", b"6"))
    assert not step.accept(Frame("reply", b"C", "0"))
    assert not step.accept(Frame("reply", b"C"))


# --- connect ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hands_off", [False, True])
def test_connect_on_a_base(hands_off: bool) -> None:
    identity = rehearsed(lambda pump: pump.connect(hands_off=hands_off), CONNECT)
    assert identity.model == "Fresenius MODULE DPS"
    assert identity.serial is None
    assert identity.fingerprint == (("module", "1"), ("device type", "MODULE DPS"))
    assert (identity.rate, identity.limit) == (None, None)
    assert identity.monitor_only == WHY
    assert "can only be watched" in WHY


def test_connect_without_a_base() -> None:
    identity = rehearsed(connect, ALONE, pump=DRIVER.open({}))
    assert identity.fingerprint == (("module", "none"), ("device type", "PILOTE"))


def test_a_base_is_left_alone_for_a_second_after_connecting() -> None:
    dialogue = DRIVER.open(ON_BASE).connect()
    next(dialogue)
    assert dialogue.send(Frame("reply", b"C", "0")) == Pause(BASE_WAIT_S)
    assert BASE_WAIT_S >= 1
    step = dialogue.send(None)  # type: ignore[arg-type]
    assert isinstance(step, Ask)
    assert step.data == b"\x020LE;bA1\x03"


@pytest.mark.parametrize(("module", "mask"), [(1, "06"), (2, "05"), (5, "0F"), (9, "FF"), (3, "0")])
def test_a_module_that_is_not_there_is_refused(module: int, mask: str) -> None:
    with pytest.raises(Refused, match=f"there is no module {module}"):
        rehearsed(connect, [OPEN[0], ("0LE;b", f"0C;b{mask}")], pump=DRIVER.open({"module": module}))


@pytest.mark.parametrize(("module", "mask"), [(1, "1"), (5, "10"), (8, "80"), (9, "0100")])
def test_a_module_that_is_there_is_connected_to(module: int, mask: str) -> None:
    at = str(module)
    lines: Lines = [OPEN[0], ("0LE;b", f"0C;b{mask}"), (f"{at}DC", f"{at}C"), (f"{at}LF;b", f"{at}C;bDPS")]
    assert rehearsed(connect, lines, pump=DRIVER.open({"module": module})).model == "Fresenius DPS"


def test_a_session_that_is_open_already_is_taken_up() -> None:
    lines: Lines = [("0DC", "0I;1F"), OPEN[1], ("1DC", "1I;1F"), *DEVICE]
    assert rehearsed(connect, lines).model == "Fresenius MODULE DPS"
    assert rehearsed(connect, [("DC", "I;1F"), ALONE[1]], pump=DRIVER.open({})).model == "Fresenius PILOTE"


@pytest.mark.parametrize("step", range(len(CONNECT)))
def test_silence_at_any_step_fails_the_connect(step: int) -> None:
    with pytest.raises(Silent):
        rehearsed(connect, [*CONNECT[:step], (CONNECT[step][0], None)])


@pytest.mark.parametrize(
    ("step", "answer", "error"),
    [
        (1, "0C", Garbled),
        (1, "0C;bXY", Garbled),
        (1, "0C;d07", Garbled),
        (1, "0I;0D", Refused),
        (3, "1C", Garbled),
        (3, "1C;b", Garbled),
        (3, "1C;b  ", Garbled),
        (3, "1I;1E", Refused),
        (3, "1I;20", Refused),
    ],
)
def test_connect_believes_nothing_else(step: int, answer: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        rehearsed(connect, [*CONNECT[:step], (CONNECT[step][0], answer)])


# --- read -------------------------------------------------------------------------------------------------------------


def test_a_reading() -> None:
    report = rehearsed(read, READ)
    assert report == PumpReport(Motion.UNKNOWN, MlPerHour(10), Ml(5))
    assert report.limit is report.warnings is None
    alone = DRIVER.open({})
    assert rehearsed(read, [("LE;aedr", "C;a0;e0;d64;r1388")], pump=alone) == report


@pytest.mark.parametrize("said", ["1C;a0000;e0;d064;r1388", "1C;r00001388;d0064;e0;a0"])
def test_width_and_order_do_not_matter(said: str) -> None:
    assert rehearsed(read, [(QUESTION, said)]) == PumpReport(Motion.UNKNOWN, MlPerHour(10), Ml(5))


@pytest.mark.shows("S7")
@pytest.mark.parametrize(
    "answer",
    [
        "1C",
        "1C;a00;e00;d0064",
        "1C;a00;e00;r00001388",
        "1C;e00;d0064;r1388",
        "1C;a00;d0064;r1388",
        "1C;a;e0;d64;r1388",
        "1C;a00;e00;d00G4;r1388",
        "1C;a00;e00;d0064;r-1",
        "1C;a00;e00;d0064;r",
        "1C;a0;e0;d64 ;r1",
        "1C;bMODULE DPS",
    ],
)
def test_an_answer_without_all_four_variables_fails_the_reading(answer: str) -> None:
    with pytest.raises(Garbled):
        rehearsed(read, [(QUESTION, answer)])


@pytest.mark.shows("S7")
def test_silence_fails_the_reading() -> None:
    with pytest.raises(Silent):
        rehearsed(read, [(QUESTION, None)])


@pytest.mark.parametrize("code", ["0D", "1E"])
def test_what_is_not_open_is_opened_and_read_once_more(code: str) -> None:
    closed = (QUESTION, NOT_OPEN[code])
    assert rehearsed(read, [closed, *OPEN, *READ]).rate == MlPerHour(10)
    with pytest.raises(Refused):
        rehearsed(read, [closed, *OPEN, closed])


@pytest.mark.parametrize("code", ["01", "02", "12", "20", "FF"])
def test_any_other_refusal_fails_the_reading(code: str) -> None:
    with pytest.raises(Refused, match=f"LE;aedr: refused, {code}"):
        rehearsed(read, [(QUESTION, f"1I;{code}")])


# --- alarms -----------------------------------------------------------------------------------------------------------


def alarms(pump: Pump, *answers: str) -> list[PumpAlarm]:
    told: list[PumpAlarm] = []
    for answer in answers:
        rehearsed(read, [(QUESTION, answer)], told, pump)
    return told


def reading(a: str = "00", e: str = "00") -> str:
    return f"1C;a{a};e{e};d0064;r00001388"


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize(
    ("a", "e", "native"),
    [("01", "00", "a=01"), ("00", "8000", "e=8000"), ("04", "10", "a=04 e=10"), ("FFFFFFFF", "0", "a=FFFFFFFF")],
)
def test_any_word_that_is_not_zero_is_an_alarm_of_unknown_cause(a: str, e: str, native: str) -> None:
    assert alarms(DRIVER.open(ON_BASE), reading(a, e)) == [PumpAlarm("pump_alarm_unknown", native)]


def test_zeros_of_any_width_are_no_alarm() -> None:
    for zero in ("0", "00", "00000000"):
        assert alarms(DRIVER.open(ON_BASE), reading(zero, zero)) == []


@pytest.mark.shows("H9")
def test_an_alarm_is_told_when_it_comes_and_again_when_it_comes_again_or_changes() -> None:
    pump = DRIVER.open(ON_BASE)
    said = [("01", "00"), ("01", "00"), ("05", "00"), ("05", "02"), ("04", "02"), ("00", "02"), ("00", "00")]
    told = alarms(pump, *(reading(*words) for words in said))
    assert [alarm.native for alarm in told] == ["a=01", "a=05", "a=05 e=02", "a=04 e=02"]
    assert [alarm.native for alarm in alarms(pump, reading("01"))] == ["a=01"]


@pytest.mark.shows("H9")
def test_an_alarm_that_cannot_be_read_is_told_and_fails_the_reading() -> None:
    pump, told = DRIVER.open(ON_BASE), []
    with pytest.raises(Garbled):
        rehearsed(read, [(QUESTION, reading("XY"))], told, pump)
    assert told == [PumpAlarm("pump_alarm_unknown", "a=XY")]


@pytest.mark.shows("H9")
def test_an_alarm_in_an_event_is_told_at_once() -> None:
    pump = DRIVER.open(ON_BASE)
    (event,) = taken(pump, spell("1", "E;a04"), asking=False)
    assert event == Taken(b"\x06" + spell("1", "E"), (PumpAlarm("pump_alarm_unknown", "a=04"),))
    assert alarms(pump, reading("04")) == [], "it was told"
    (other,) = taken(pump, spell("2", "E;a08"), asking=False)
    assert other.notices == (), "another module's"
    (adjusted,) = taken(pump, spell("1", "M;a08"), asking=False)
    assert adjusted.notices == (), "these letters mean something else"


@pytest.mark.shows("H9")
def test_an_alarm_that_stands_is_told_again_to_who_connects_again() -> None:
    pump = DRIVER.open(ON_BASE)
    alarms(pump, reading("01"))
    rehearsed(connect, CONNECT, pump=pump)
    assert [alarm.native for alarm in alarms(pump, reading("01"))] == ["a=01"], "it may be another pump"


def test_the_base_has_no_alarm_words_of_the_module() -> None:
    assert taken(DRIVER.open(ON_BASE), spell("0", "C;a04"))[0].notices == ()


# --- motion -----------------------------------------------------------------------------------------------------------


def judged(*readings: tuple[str, str]) -> list[Motion]:
    watching = Watching()
    return [watching.judge(MlPerHour(rate), Ml(counted)) for rate, counted in readings]


U, I, S = Motion.UNKNOWN, Motion.INFUSING, Motion.STANDING  # noqa: E741


@pytest.mark.shows("H11")
def test_the_first_reading_says_nothing() -> None:
    assert judged(("10", "5")) == judged(("0", "5")) == [U]


@pytest.mark.shows("H11")
def test_what_counts_infuses() -> None:
    assert judged(("10", "5"), ("10", "5.003"), ("10", "5.005")) == [U, I, I]


@pytest.mark.shows("H11")
def test_what_counts_at_rate_zero_moves_somehow() -> None:
    assert judged(("0", "5"), ("0", "5.003"), ("0", "5.003"), ("0", "5.003")) == [U, U, U, S]


@pytest.mark.shows("H11")
def test_rate_zero_and_no_count_stands() -> None:
    assert judged(*[("0", "5")] * 5) == [U, U, S, S, S]


@pytest.mark.shows("H11")
def test_a_rate_without_a_count_is_unknown_for_ever() -> None:
    assert set(judged(*[("100", "5")] * 100)) == {U}


@pytest.mark.shows("H11")
@pytest.mark.parametrize(
    ("rate", "infusing", "unknown"), [("1", 7, 10), ("10", 0, STILL_READINGS - 1), ("1200", 0, 9), ("0.1", 72, 107)]
)
def test_what_counted_and_counts_no_more_stands_after_five_counts_and_ten_readings(
    rate: str, infusing: int, unknown: int
) -> None:
    found = judged((rate, "5"), (rate, "5.001"), *[(rate, "5.001")] * 300)[2:]
    assert found == [I] * infusing + [U] * unknown + [S] * (300 - infusing - unknown)


@pytest.mark.shows("H11")
def test_a_new_rate_or_a_lower_count_begins_anew() -> None:
    counted = [("10", "5"), ("10", "5.003")]
    assert judged(*counted, *[("20", "5.003")] * 50)[2:] == [U] * 50
    assert judged(*counted, *[("10", "0")] * 50)[2:] == [U] * 50
    assert judged(*counted, ("10", "0"), ("10", "0.002"))[2:] == [U, I]


def test_after_a_new_connect_it_begins_anew() -> None:
    pump = DRIVER.open(ON_BASE)
    for _ in range(3):
        last = rehearsed(read, [(QUESTION, "1C;a00;e00;d0000;r00001388")], pump=pump)
    assert last.motion is S
    rehearsed(connect, CONNECT, pump=pump)
    assert rehearsed(read, [(QUESTION, "1C;a00;e00;d0000;r00001388")], pump=pump).motion is U


# --- what it cannot do ------------------------------------------------------------------------------------------------


@pytest.mark.shows("S2")
@pytest.mark.parametrize(
    "order",
    [
        lambda pump: pump.arm(Programme(SYRINGE, MlPerHour(10), Ml(5), False)),
        lambda pump: pump.load(MlPerHour(10), Ml(5)),
        lambda pump: pump.start(),
        lambda pump: pump.set_rate(MlPerHour(5)),
    ],
)
def test_nothing_is_sent_that_could_give_more(order: Callable[[Pump], Dialogue[Any]]) -> None:
    with pytest.raises(Refused, match="can only be watched") as refusal:
        rehearsed(order, [])
    assert not isinstance(refusal.value, Differs)


@pytest.mark.shows("S5")
@pytest.mark.parametrize("judged_before", range(3))
def test_a_stop_says_in_words_where_to_stop(judged_before: int) -> None:
    pump = DRIVER.open(ON_BASE)
    for _ in range(judged_before):
        rehearsed(read, READ, pump=pump)
    with pytest.raises(Refused, match="stop it at its own keypad"):
        rehearsed(lambda pump: pump.stop(), READ, pump=pump)
    assert "keypad" in CANNOT_STOP


@pytest.mark.shows("S4", "S5")
def test_a_stop_is_done_when_its_own_reading_agrees_that_the_pump_stands() -> None:
    still: Lines = [(QUESTION, "1C;a00;e00;d0000;r00001388")]
    pump = DRIVER.open(ON_BASE)
    for _ in range(2):
        rehearsed(read, still, pump=pump)
    for _ in range(5):
        with pytest.raises(Refused):  # it brings the judgement no further
            rehearsed(lambda pump: pump.stop(), still, pump=pump)
    assert rehearsed(read, still, pump=pump).motion is S
    assert rehearsed(lambda pump: pump.stop(), still, pump=pump) == PumpReport(S, MlPerHour(0), Ml(5))
    for changed in ("d0001;r00001388", "d0000;r00001389"):
        with pytest.raises(Refused):
            rehearsed(lambda pump: pump.stop(), [(QUESTION, f"1C;a00;e00;{changed}")], pump=pump)


def test_release_has_nothing_to_give_back() -> None:
    rehearsed(lambda pump: pump.release(), [])
    assert DRIVER.open({}).keep_alive() is None


def test_settings_tell_which_device_it_is() -> None:
    assert rehearsed(lambda pump: pump.settings(), DEVICE) == (("device type", "MODULE DPS"),)


# --- what is told about the family ------------------------------------------------------------------------------------


def test_it_is_announced() -> None:
    registry = find_drivers()
    assert registry.drivers["fresenius"] is DRIVER
    assert "fresenius" not in registry.broken


def test_the_line_and_what_it_can() -> None:
    pump = DRIVER.open({})
    assert [dict(probe.settings) for probe in DRIVER.probes] == [{}, {"module": 1}]
    able, line = pump.capabilities, DRIVER.line
    assert (line.baud, line.bytesize, line.parity, line.stopbits) == (19200, 7, "E", 1)
    assert (able.control, able.stop, able.clinical_use, able.watchdog_s) == (False, False, False, None)
    assert able.lost_after_s == LOST_AFTER_S == 3
    assert able.alarms == ("pump_alarm_unknown",)
    assert pump.fitted(SYRINGE).counter.step_at(Ml(1).value) == Ml("0.001").value


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"address": 1}, "address: unknown setting; this driver has module"),
        ({"experimental_control": True}, "experimental_control: unknown setting; this driver has module"),
        *[
            ({"module": bad}, f"module: {bad!r}: expected 1 to 9, or to be left out for a pump without a base")
            for bad in (0, 10, "1", True, 1.0, -1)
        ],
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        DRIVER.open(settings)
    assert str(refusal.value) == says
