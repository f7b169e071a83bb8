"""Harvard dialogues against a pump on paper, with an error, a wrong answer or silence at every step."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from harvard_rehearsal import PROGRAMME, Paper, play
from rehearsal import lines_of

from drivers.harvard import DRIVER, NO_SERIAL, READINGS, STOP_TRIES, TIME_MARGIN_S
from drivers.harvard_wire import LONGEST_S
from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import (
    Ask,
    BadSetting,
    Dialogue,
    Differs,
    Frame,
    Garbled,
    Identity,
    Motion,
    Pump,
    PumpAlarm,
    PumpError,
    PumpReport,
    Refused,
    Repeat,
    Silent,
    Taken,
    Uncertain,
)
from pumpd.registry import find_drivers
from pumpd.units import Ml, MlPerHour
from tests.fitted import bag, syringe

COMMAND_ERROR = b"\nCommand error:\r\n   Unknown command\r\n:\x11"
OUT_OF_RANGE = b"\nArgument error: 2\r\n   Target volume out of range\r\n:\x11"
RATE, LIMIT = MlPerHour("46.666"), Ml(35)
Make = Callable[[Pump], Dialogue[Any]]


def connect(pump: Pump) -> Dialogue[Identity]:
    return pump.connect()


def arm(pump: Pump) -> Dialogue[Any]:
    return pump.arm(PROGRAMME)


def load(pump: Pump) -> Dialogue[PumpReport]:
    return pump.load(RATE, LIMIT)


def arm_and_load(pump: Pump) -> Dialogue[PumpReport]:
    yield from arm(pump)
    return (yield from load(pump))


def start(pump: Pump) -> Dialogue[None]:
    return pump.start()


def stop(pump: Pump) -> Dialogue[PumpReport]:
    return pump.stop()


def read(pump: Pump) -> Dialogue[PumpReport]:
    return pump.read()


def settings(pump: Pump) -> Dialogue[Any]:
    return pump.settings()


def set_rate(pump: Pump) -> Dialogue[MlPerHour]:
    return pump.set_rate(MlPerHour(20))


def fresh(address: int = 0) -> Paper:
    return Paper(address)


def armed(address: int = 0) -> Paper:
    paper = Paper(address)
    play(paper, arm)
    play(paper, load)
    paper.sent.clear()
    return paper


def running(address: int = 0) -> Paper:
    paper = armed(address)
    paper.run()
    paper.count("12.3456 ml", "12.3456")
    return paper


DIALOGUES: list[tuple[str, Make, Callable[[], Paper]]] = [
    ("connect", connect, fresh),
    ("arm", arm, fresh),
    ("settings", settings, armed),
    ("load", load, armed),
    ("start", start, armed),
    ("read standing", read, armed),
    ("read running", read, running),
    ("set rate", set_rate, running),
    ("stop", stop, running),
]
EACH = pytest.mark.parametrize(("make", "before"), [pytest.param(m, b, id=name) for name, m, b in DIALOGUES])
CHANGES = ("irun", "civolume", "diameter ", "svolume ", "tvolume ", "ttime ", "load ", "cttime", "citime", "stp")


def changing(sent: list[str]) -> list[str]:
    return [one for one in sent if one.startswith(CHANGES) or (one.startswith("irate ") and one != "irate lim")]


# --- who it is --------------------------------------------------------------------------------------------------------


def test_it_is_found_as_a_driver_and_is_a_laboratory_pump_without_a_watchdog() -> None:
    assert find_drivers().drivers["harvard"].name == "harvard"
    able = DRIVER.open({}).capabilities
    assert (able.clinical_use, able.watchdog_s, able.control, able.stop, able.limit_restarts) == (
        False,
        None,
        True,
        True,
        True,
    )
    assert DRIVER.open({}).keep_alive() is None
    assert set(able.alarms) <= set(CATALOGUE)


def test_connect_only_asks_and_tells_who_it_is() -> None:
    paper = fresh()
    assert play(paper, connect) == Identity(
        "11 ELITE I/W Single 3.0.6",
        "v3.0.6",
        "D101754",
        (("address", "0"), ("diameter", "7.262")),
        rate=MlPerHour("11.9694"),
    )
    assert changing(paper.sent) == []
    assert "poll on" not in paper.sent


@pytest.mark.shows("S1")
def test_the_limit_of_a_found_pump_is_what_its_target_still_lets_pass() -> None:
    paper = running()
    assert play(paper, connect).limit == Ml("22.6544")
    paper.count("35.0001 ml", "35.0001")
    assert play(paper, connect).limit == Ml(0)


@pytest.mark.shows("S15")
def test_a_pump_without_a_serial_number_is_only_watched() -> None:
    paper = fresh()
    paper.version = paper.version[:2]
    found = play(paper, connect)
    assert (found.serial, found.monitor_only) == (None, NO_SERIAL)


@pytest.mark.shows("S15", "H9")
def test_one_changed_answer_makes_no_other_pump_of_ours() -> None:
    paper = fresh()
    other = paper.said(*paper.version[:2], "Serial number: D101755")
    for answers in ([other], [..., other]):
        paper.twist = {"version": list(answers)}
        assert play(paper, connect).serial == "D101754"
    paper.twist = {"version": [other, ..., other, ...]}
    with pytest.raises(Garbled, match="differently"):
        play(paper, connect)


@pytest.mark.shows("S4", "H9")
def test_a_rate_that_is_only_near_has_to_be_read_twice() -> None:
    paper = running()
    paper.twist = {"irate": [paper.said("46.66 ml/hr")]}
    assert play(paper, read).rate == RATE
    paper.twist = {"irate": paper.said("46.66 ml/hr")}
    assert play(paper, read).rate == MlPerHour("46.66")


def test_a_pump_that_infuses_at_no_rate_contradicts_itself() -> None:
    paper = running()
    paper.values["irate"] = "0 ul/min"
    with pytest.raises(Garbled, match="contradicts"):
        play(paper, read)


@pytest.mark.shows("S15")
def test_a_pump_that_tells_another_address_is_not_ours() -> None:
    paper = fresh()
    paper.version[1] = "Pump address:  3"
    with pytest.raises(Refused, match="address"):
        play(paper, connect)


def test_a_pump_that_does_not_end_its_replies_is_told_to() -> None:
    paper = fresh()
    silent = [paper.said(*paper.version, end=b"")]
    paper.twist = {"version": silent}
    assert play(paper, connect).serial == "D101754"
    assert paper.sent[:6] == ["version", "", "poll on", "echo off", "version", "version"]
    assert changing(paper.sent) == []


def test_a_probe_of_a_silent_line_sends_nothing_that_stops_or_starts_anything() -> None:
    paper = fresh()
    paper.answer = lambda data: paper.sent.append(data.decode())  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(Silent):
        play(paper, DRIVER.probes[0].question)
    assert paper.sent == ["version\r", "version\r"]  # above all no bare CR, which stops pumps of the older command set


@pytest.mark.shows("S10", "S15")
@pytest.mark.parametrize("end", [b"", b"\x11"])
@pytest.mark.parametrize("prompt", [":", ">", "T*"])
def test_hands_off_changes_nothing_not_even_how_replies_end(end: bytes, prompt: str) -> None:
    paper = fresh()
    paper.said = lambda *lines, end=end: Paper.said(paper, *lines, end=end)  # type: ignore[method-assign]
    paper.prompt, paper.flags = prompt, "I...I." if prompt == ">" else "i...i."
    if prompt == ">":
        paper.run()
    pump = DRIVER.open({})
    assert play(paper, lambda pump: pump.connect(hands_off=True), pump).serial == "D101754"
    assert play(paper, read, pump).motion is (Motion.INFUSING if prompt == ">" else Motion.STANDING)
    told = {"version", "ver", "diameter", "irate", "tvolume", "ivolume", "status"}
    assert set(paper.sent) <= told | ({""} if not end else set())  # a CR alone asks for the prompt


@pytest.mark.shows("S10")
def test_hands_off_a_pump_whose_screen_was_touched_is_made_to_listen() -> None:
    paper = fresh()
    answer = paper.answer

    def touched(data: bytes) -> bytes | None:
        if data != b"\r" and "" not in paper.sent:
            return None
        return answer(data)

    paper.answer = touched  # type: ignore[method-assign]
    assert play(paper, lambda pump: pump.connect(hands_off=True)).serial == "D101754"
    assert changing(paper.sent) == []


def test_hands_off_without_xon_a_chained_pump_cannot_be_read() -> None:
    paper = fresh(4)
    paper.said = lambda *lines, end=b"": Paper.said(paper, *lines, end=end)  # type: ignore[method-assign]
    with pytest.raises(Silent):
        play(paper, lambda pump: pump.connect(hands_off=True))


@pytest.mark.shows("S15")
@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0), (1, 2), (12, 1), (0, 99)])
def test_replies_of_another_address_are_nobodys(ours: int, theirs: int) -> None:
    pump = DRIVER.open({"address": ours})
    frame = Frame("reply", b"*\n1 2 3 i.S.i.", f"{theirs:02d}" if theirs else "")
    assert pump.on_frame(frame, asking=True) == Taken()


def test_address_zero_is_taken_bare_or_as_two_digits_and_others_stand_before_the_command() -> None:
    for address in ("", "00"):
        assert not DRIVER.open({}).on_frame(Frame("reply", b":", address), asking=True).consumed
    asked: list[Ask] = []
    play(fresh(12), read, asked=asked)
    assert [ask.data for ask in asked] == [b"12ivolume\r", b"12irate\r", b"12status\r"]


# --- readings ---------------------------------------------------------------------------------------------------------


def test_a_reading_while_it_runs_and_while_it_stands() -> None:
    paper = running()
    assert play(paper, read) == PumpReport(Motion.INFUSING, RATE, Ml("12.3456"))
    paper.stand()
    assert play(paper, read) == PumpReport(Motion.STANDING, RATE, Ml("12.3456"))
    assert changing(paper.sent) == []


@pytest.mark.shows("S4", "H9")
def test_a_reading_that_contradicts_itself_is_asked_again_and_never_believed() -> None:
    for name, wrong in (
        ("ivolume", "12.9456 ml"),
        ("ivolume", "12.3456 ul"),
        ("irate", "46.966 ml/hr"),
        ("irate", "46.666 ml/min"),
    ):
        paper = running()
        paper.twist = {name: [paper.said(wrong)]}
        assert play(paper, read) == PumpReport(Motion.INFUSING, RATE, Ml("12.3456"))
        paper.twist = {name: paper.said(wrong)}
        with pytest.raises(Garbled, match="contradicts"):
            play(paper, read)


@pytest.mark.shows("S4", "H9")
def test_what_flowed_between_the_questions_lies_between_two_counts() -> None:
    """However long the line took: the counter is asked again, and the status has to lie between."""
    paper = running()
    paper.volume_fl = 12_400_000_000_000
    later = [paper.said(text) for text in ("12.3456 ml", "12.5456 ml")]
    paper.twist = {"ivolume": list(later)}
    assert play(paper, read) == PumpReport(Motion.INFUSING, RATE, Ml("12.4000"))
    paper.twist = {"ivolume": paper.said("12.3456 ml")}
    with pytest.raises(Garbled, match="contradicts itself: volume"):
        play(paper, read)


@pytest.mark.shows("H9")
def test_no_single_changed_byte_of_a_reading_is_believed_beyond_what_flows_between_two_polls() -> None:
    near = RATE.over(0.5).value + Decimal("0.001")
    replies = {name: running().answer(f"{name}\r".encode()) for name in ("ivolume", "irate", "status")}
    for name, reply in replies.items():
        assert reply is not None
        for place in range(len(reply)):
            for bit in range(8):
                paper = running()
                paper.twist = {name: reply[:place] + bytes([reply[place] ^ 1 << bit]) + reply[place + 1 :]}
                try:
                    report = play(paper, read)
                except PumpError:
                    continue
                assert report.motion is Motion.INFUSING
                assert report.rate is not None
                assert abs(report.rate.value - RATE.value) <= RATE.value / 1000
                assert abs(report.counted.value - Decimal("12.3456")) <= near


@pytest.mark.parametrize("prompt", ["<", ">*"])
def test_withdrawing_and_its_limit_are_read_as_such(prompt: str) -> None:
    paper = armed()
    paper.run(prompt=prompt, flags="W...W." if prompt == "<" else "ii..i.")
    wanted = Motion.WITHDRAWING if prompt == "<" else Motion.STANDING
    assert play(paper, read).motion is wanted


@pytest.mark.shows("S7")
def test_on_another_screen_it_is_still_known_and_read() -> None:
    paper = running()
    paper.screen = "menu"
    assert play(paper, read) == PumpReport(Motion.INFUSING, RATE, Ml("12.3456"))
    found = play(paper, connect)
    assert (found.serial, found.rate, found.limit) == ("D101754", None, None)
    paper.stand()
    assert play(paper, read) == PumpReport(Motion.STANDING, None, Ml("12.3456"))
    assert play(paper, stop).motion is Motion.STANDING
    assert changing(paper.sent) == ["stp"]


@pytest.mark.shows("S4")
def test_on_another_screen_no_order_passes_for_done_and_no_rate_is_made_up() -> None:
    for make in (arm, load, set_rate, settings):
        paper = running() if make is set_rate else armed()
        paper.screen = "menu"
        with pytest.raises(Refused, match="screen"):
            play(paper, make)
    paper = running()
    paper.screen, paper.twist = "menu", {"crate": COMMAND_ERROR}
    with pytest.raises(Refused):
        play(paper, read)
    paper.twist = {"crate": paper.said("Infusing at 46.966 ml/hr")}
    with pytest.raises(Garbled, match="contradicts"):
        play(paper, read)


# --- alarms -----------------------------------------------------------------------------------------------------------

TROUBLES = [
    ("i.S.i.", "*", "motor_stalled"),
    ("i.S.i.", ":", "motor_stalled"),
    ("i...i.", "*", "motor_stalled"),
    ("I.S.I.", "*", "motor_stalled"),
    ("ii..i.", ">*", "motor_stalled"),
    ("iI..i.", ":", "motor_stalled"),
    ("i...i.", ">*", "motor_stalled"),
    ("ww..w.", "<*", "pump_alarm_unknown"),
]


@pytest.mark.shows("H14")
@pytest.mark.parametrize(("flags", "prompt", "code"), TROUBLES)
def test_each_trouble_is_told_once_until_it_is_gone(flags: str, prompt: str, code: str) -> None:
    paper, pump = armed(), DRIVER.open({})
    for _ in range(2):
        told: list[PumpAlarm] = []
        paper.stand(prompt, flags)
        for _ in range(3):
            try:
                play(paper, read, pump, told)
            except Garbled:
                assert flags[0] == "I"
        assert [alarm.code for alarm in told] == [code]
        assert all(alarm.stops for alarm in told)
        paper.stand()
        play(paper, read, pump, told)
        assert len(told) == 1


def test_a_target_that_was_reached_is_no_alarm_and_stands() -> None:
    paper, told = armed(), list[PumpAlarm]()
    paper.stand("T*", "i...iT")
    assert play(paper, read, told=told).motion is Motion.STANDING
    assert told == []


# --- arming and loading -----------------------------------------------------------------------------------------------


def test_arm_sets_and_reads_back_the_whole_list() -> None:
    paper = fresh()
    assert dict(play(paper, arm)) == {
        "mode": "qs i",
        "ramp": "none",
        "diameter": "26.59",
        "syringe volume": "60",
        "force": "15%",
        "rate range": "335.742 nl/min to 348.651 ml/min",
        "trigger input": "off",
        "keypad lock": "not settable over the line",
    }
    assert changing(paper.sent) == [
        "load qs i",
        "diameter 26.59",
        "svolume 60 ml",
        "civolume",
    ]
    assert play(paper, settings) == play(paper, arm)
    play(paper, load)
    assert changing(paper.sent)[4:] == ["citime", "tvolume 35 ml", "ttime 02:13:00", "irate 46.666 ml/hr"]


def test_what_is_set_already_is_not_written_again() -> None:
    paper = armed()
    play(paper, arm)
    play(paper, load)
    assert changing(paper.sent) == []


@pytest.mark.shows("S4", "H12")
@pytest.mark.parametrize(
    "order", ["load qs i", "diameter 26.59", "svolume 60 ml", "civolume", "citime", "tvolume 35 ml"]
)
def test_arm_refuses_what_reads_back_different(order: str) -> None:
    paper = fresh()
    paper._do = lambda command: paper.said() if command == order else Paper._do(paper, command)  # type: ignore[method-assign]
    with pytest.raises(Differs):
        play(paper, arm_and_load)


@pytest.mark.shows("H12")
def test_arm_refuses_a_trigger_and_a_ramp_that_stays_and_clears_one_that_goes() -> None:
    paper = fresh()
    paper.flags = "i..Ti."
    with pytest.raises(Differs, match="trigger"):
        play(paper, arm)
    paper = fresh()
    paper.values["iramp"] = "110 ul/min to 417 ul/min in 7.036 seconds"
    assert dict(play(paper, arm))["ramp"] == "none"
    assert "cttime" in paper.sent
    paper = fresh()
    paper.twist = {"iramp": paper.said("110 ul/min to 417 ul/min in 7.036 seconds")}
    with pytest.raises(Differs, match="ramp"):
        play(paper, arm)


def test_what_a_model_does_not_know_is_recorded_as_not_told() -> None:
    paper = fresh()
    paper.twist = dict.fromkeys(("load", "iramp", "force", "ver"), COMMAND_ERROR)
    told = dict(play(paper, arm))
    assert (told["mode"], told["ramp"], told["force"]) == ("not told", "not told", "not told")
    assert play(paper, connect).model == "not told"


@pytest.mark.shows("S8")
def test_a_rate_outside_of_what_the_pump_says_is_refused_before_it_is_set() -> None:
    for told in ("1 ml/min to 26.0035 ml/min", "25.0404 nl/min to 777 ul/min"):
        paper = fresh()
        paper.values["irate lim"] = told
        with pytest.raises(Refused, match="outside"):
            play(paper, arm)
        assert not [one for one in paper.sent if one.startswith("irate ") and one != "irate lim"]


@pytest.mark.shows("S1", "S4")
def test_load_bounds_volume_and_time_from_what_is_counted() -> None:
    paper = armed()
    paper.count("12.3456 ml", "12.3456")
    paper.values["itime"] = "00:15:52"
    report = play(paper, lambda pump: pump.load(RATE, Ml("22.654")))
    assert report == PumpReport(Motion.STANDING, RATE, Ml("12.3456"), Ml("22.654"))
    assert paper.values["tvolume"] == "34.9996 ml"  # six digits, never more than was ordered
    assert changing(paper.sent) == ["citime", "tvolume 34.9996 ml"]


@pytest.mark.shows("S1")
@pytest.mark.parametrize(("rate", "limit"), [("46.666", "35"), ("0.021", "0.001"), ("46.666", "0.002"), ("1200", "60")])
def test_the_target_time_never_ends_a_dose_early_and_bounds_one_that_runs_on(rate: str, limit: str) -> None:
    paper = armed()
    needed = MlPerHour(rate).seconds_for(Ml(limit))
    play(paper, lambda pump: pump.load(MlPerHour(rate), Ml(limit)))
    assert paper.values["ttime"] == "02:13:00"
    play(paper, lambda pump: pump.load(MlPerHour(rate), Ml(limit)), DRIVER.open({"longest_min": 0}))
    hours, minutes, seconds = map(int, paper.values["ttime"].split(":"))
    assert needed + TIME_MARGIN_S <= hours * 3600 + minutes * 60 + seconds <= needed * 1.1 + TIME_MARGIN_S + 1


def test_the_longest_time_that_can_be_spelled_bounds_what_would_take_longer() -> None:
    paper = armed()
    play(paper, lambda pump: pump.load(MlPerHour("0.021"), Ml(35)))
    assert paper.values["ttime"] == "99:59:59"
    assert LONGEST_S == 359_999


@pytest.mark.shows("S1")
def test_the_smallest_limit_clears_the_counter_so_that_no_reset_at_the_keypad_gives_a_second_dose() -> None:
    paper = armed()
    paper.count("35 ml", "35")
    paper.stand("T*", "i...iT")
    report = play(paper, lambda pump: pump.load(MlPerHour("0.021"), Ml("0.001")))
    assert (report.counted, report.limit) == (Ml(0), Ml("0.001"))
    assert paper.values["tvolume"] == "0.001 ml"
    assert paper.sent.index("stp") < paper.sent.index("civolume") < paper.sent.index("tvolume 0.001 ml")


@pytest.mark.shows("S1")
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tvolume", "Target volume not set"),
        ("tvolume", "35.0001 ml"),
        ("ttime", "Target time not set"),
        ("ttime", "02:12:59"),
        ("irate", "46.667 ml/hr"),
    ],
)
def test_load_refuses_what_reads_back_different(name: str, wrong: str) -> None:
    paper = armed()
    paper.twist = {name: paper.said(wrong)}
    with pytest.raises(Differs):
        play(paper, load)


@pytest.mark.shows("S1")
def test_one_setting_that_changes_another_is_noticed() -> None:
    paper = armed()
    paper.values["irate"] = "20 ml/hr"

    def spoiled(pump: Paper) -> bytes:
        pump.values["tvolume"] = "Target volume not set"
        return pump.said()

    paper.twist = {"irate 46.666 ml/hr": spoiled}
    with pytest.raises(Differs, match="target volume"):
        play(paper, load)


@pytest.mark.shows("S1")
def test_a_pump_that_moves_is_neither_armed_nor_loaded() -> None:
    for prompt, flags in ((">", "I...I."), ("<", "W...W."), (":", "I...I."), ("*", "I.S.I."), (">", "i...i.")):
        for make in (arm, load):
            paper = armed()
            paper.run(prompt=prompt, flags=flags)
            with pytest.raises((Refused, Garbled)):
                play(paper, make)
            assert set(paper.sent) == {"status"}


@pytest.mark.shows("S1")
def test_load_refuses_a_pump_that_moved_meanwhile() -> None:
    paper = armed()
    paper.twist = {"ivolume": [..., paper.said("1 ul")]}
    with pytest.raises(Differs, match="state after loading"):
        play(paper, load)
    for when, error in ((1, Refused), (2, Differs)):
        paper = armed()
        paper.twist = {"status": [*[...] * when, b"\n1 2 3 I...I.\r\n>\x11"]}
        with pytest.raises(error, match="stand"):
            play(paper, load)


@pytest.mark.shows("S1", "S8")
@pytest.mark.parametrize("told", ["216 ml", "25.8 ml", "21.6 ul"])
def test_a_target_is_never_put_above_a_count_that_the_status_does_not_bear_out(told: str) -> None:
    """The line has no check: a point that is lost on it would let a thousand times as much through."""
    paper = armed()
    paper.count("2.16 ml", "2.16")
    paper.twist = {"ivolume": [paper.said(told)]}
    assert play(paper, load).counted == Ml("2.16")
    assert not [sent for sent in paper.sent if sent.startswith("tvolume ") and Decimal(sent.split()[1]) > 38]
    paper.twist = {"ivolume": [paper.said(told)] * 9}
    with pytest.raises(Garbled, match="contradicts itself"):
        play(paper, load)
    assert not [sent for sent in paper.sent if sent.startswith("tvolume ") and Decimal(sent.split()[1]) > 38]


@pytest.mark.shows("S1", "S8")
@pytest.mark.parametrize("limit", ["0", "0.0005", "-1", "12.3456", "1000"])
def test_a_limit_off_the_grid_or_none_is_never_sent(limit: str) -> None:
    paper = armed()
    with pytest.raises(ValueError, match="limit"):
        play(paper, lambda pump: pump.load(RATE, Ml(limit)))
    assert paper.sent == []


@pytest.mark.shows("S8")
@pytest.mark.parametrize("rate", ["0", "-1", "46.6666", "100.001", "0.0001"])
def test_a_rate_off_the_grid_is_never_sent(rate: str) -> None:
    paper = running()
    for make in (lambda pump: pump.load(MlPerHour(rate), LIMIT), lambda pump: pump.set_rate(MlPerHour(rate))):
        with pytest.raises(ValueError, match="rate"):
            play(paper, make)
    assert paper.sent == []


@pytest.mark.shows("S1")
def test_no_dialogue_ever_switches_a_bound_off() -> None:
    sent: list[str] = []
    for _, make, before in [*DIALOGUES, ("arm and load", arm_and_load, fresh)]:
        paper = before()
        play(paper, make)
        sent += paper.sent
    assert not {"ctvolume", "cvolume", "ctime"} & set(sent)
    assert [one for one in sent if one.startswith("tvolume ")] == ["tvolume 35 ml"]


# --- start, stop, rate ------------------------------------------------------------------------------------------------


@pytest.mark.shows("S4")
def test_start_is_one_question_that_is_never_repeated() -> None:
    paper, asked = armed(), list[Ask]()
    play(paper, start, asked=asked)
    (ask,) = asked
    assert (ask.data, ask.repeat, ask.tries) == (b"irun\r", Repeat.NEVER, 1)


@pytest.mark.shows("S4")
@pytest.mark.parametrize(
    "answer", [None, b"\n:\x11", b"\nT*\x11", b"\n>*\x11", b"\n<\x11", b"\n*\x11", b"noise\x11", b"\n1 ul\r\n>\x11"]
)
def test_a_start_that_is_not_answered_with_infusing_is_uncertain(answer: bytes | None) -> None:
    paper = armed()
    paper.twist = {"irun": answer}
    with pytest.raises(Uncertain):
        play(paper, start)
    assert paper.sent == ["irun"]


def test_a_start_that_the_pump_refuses_is_refused() -> None:
    for fault in (COMMAND_ERROR, OUT_OF_RANGE):
        paper = armed()
        paper.starts, paper.twist = False, {"irun": fault}
        with pytest.raises(Refused):
            play(paper, start)


@pytest.mark.shows("S4", "S5")
def test_stop_goes_first_and_is_done_when_a_later_status_says_so() -> None:
    paper = running()
    assert play(paper, stop) == PumpReport(Motion.STANDING, counted=Ml("12.3456"))
    assert paper.sent == ["", "stp", "status", "ivolume"]


@pytest.mark.shows("S5")
@pytest.mark.parametrize("answer", [None, b"\n:\x11", b"\nT*\x11", COMMAND_ERROR, b"noise\x11"])
def test_stop_believes_no_answer_to_stop_itself(answer: bytes | None) -> None:
    paper = running()
    paper._do = lambda command: paper.said() if command == "stp" else Paper._do(paper, command)  # type: ignore[method-assign]
    paper.twist = {"stp": answer}
    with pytest.raises(Garbled, match="not seen standing"):
        play(paper, stop)
    assert paper.sent.count("stp") == STOP_TRIES


@pytest.mark.shows("S5")
@pytest.mark.parametrize("prompt", [":", ">", "<", "*", "T*", ">*", "<*"])
def test_stop_works_in_every_state(prompt: str) -> None:
    paper = running()
    paper.prompt = prompt
    assert play(paper, stop).motion is Motion.STANDING
    assert paper.sent[:2] == ["", "stp"]


@pytest.mark.shows("S5")
def test_a_stop_lost_behind_half_a_line_is_sent_again() -> None:
    paper = running()
    lost = iter([COMMAND_ERROR])

    def do(command: str) -> bytes | None:
        return (next(lost, None) if command == "stp" else None) or Paper._do(paper, command)

    paper._do = do  # type: ignore[method-assign]
    assert play(paper, stop).motion is Motion.STANDING
    assert paper.sent == ["", "stp", "status", "", "stp", "status", "ivolume"]


@pytest.mark.shows("S5", "H9")
@pytest.mark.parametrize(
    "answer", [b"\n12.0456 ml\r\n:\x11", b"\n12.3456 ul\r\n:\x11", b"\nhm\r\n:\x11", None, COMMAND_ERROR]
)
def test_a_stop_that_is_proved_is_told_without_a_counter_that_is_not(answer: bytes | None) -> None:
    paper = running()
    paper.twist = {"ivolume": answer}
    assert play(paper, stop) == PumpReport(Motion.STANDING)


@pytest.mark.shows("S5")
def test_silence_after_stop_is_silence_so_that_the_caller_repeats() -> None:
    paper = running()
    paper.answer = lambda data: paper.sent.append(data.decode().strip())  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(Silent):
        play(paper, stop)
    assert paper.sent == ["stp", "status", "stp", "status"]


@pytest.mark.shows("S4")
def test_set_rate_gives_what_is_read_and_makes_time_for_a_lower_one() -> None:
    paper = running()
    paper.values["itime"] = "00:15:52"
    assert play(paper, set_rate) == MlPerHour(20)
    assert changing(paper.sent) == ["irate 20 ml/hr"]  # two hours are enough
    assert play(paper, lambda pump: pump.set_rate(MlPerHour(10))) == MlPerHour(10)
    assert changing(paper.sent)[1:] == ["irate 10 ml/hr", "ttime 02:46:24"]
    assert play(paper, lambda pump: pump.set_rate(MlPerHour(46))) == MlPerHour(46)
    assert changing(paper.sent)[3:] == ["irate 46 ml/hr"]


@pytest.mark.parametrize("answer", [COMMAND_ERROR, None])
def test_a_rate_stays_set_where_the_pump_takes_no_other_time_while_it_runs(answer: bytes | None) -> None:
    paper = running()
    paper._do = lambda command: paper.said() if command.startswith("ttime ") else Paper._do(paper, command)  # type: ignore[method-assign]
    paper.twist = {"ttime 02:30:32": answer}
    assert play(paper, lambda pump: pump.set_rate(MlPerHour(10))) == MlPerHour(10)
    assert "ttime 02:30:32" in paper.sent


@pytest.mark.shows("S4")
def test_a_rate_that_reads_back_another_is_told_as_read() -> None:
    paper = running()
    paper.twist = {"irate 20 ml/hr": paper.said()}
    paper._do = lambda command: paper.said() if command == "irate 20 ml/hr" else Paper._do(paper, command)  # type: ignore[method-assign]
    assert play(paper, set_rate) == RATE


def test_release_sends_nothing() -> None:
    paper = running()
    assert play(paper, lambda pump: pump.release()) is None
    assert paper.sent == []


# --- the other cases, at every step -----------------------------------------------------------------------------------


def told_apart(make: Make, before: Callable[[], Paper], spoil: Callable[[bytes | None], bytes | None]) -> None:
    paper = before()
    paper.sent.clear()
    play(paper, make)
    count = len([command for command in paper.sent if command])
    for step in range(count):
        paper = before()
        natural, calls = paper.answer, [0]

        def answer(data: bytes, natural: Any = natural, calls: list[int] = calls, step: int = step) -> bytes | None:
            calls[0] += 1
            reply = natural(data)
            return spoil(reply) if calls[0] == step + 1 else reply

        paper.answer = answer  # type: ignore[method-assign]
        pump = DRIVER.open({})
        try:
            play(paper, make, pump)
        except PumpError:
            continue
        # Making time for a lower rate is no part of setting it, nor what another screen hides of knowing who it is.
        needed = {set_rate: 2, connect: 4}.get(make, count)
        assert calls[0] >= needed  # only asked again, never skipped


@pytest.mark.shows("S4")
@EACH
@pytest.mark.parametrize("answer", [None, b"\n:\x11", b"\nhm\r\n:\x11", COMMAND_ERROR, b"\xff\xfe\x11"])
def test_any_other_answer_at_any_step_fails_the_dialogue_or_is_asked_again(
    make: Make, before: Callable[[], Paper], answer: bytes | None
) -> None:
    told_apart(make, before, lambda _: answer)


@pytest.mark.shows("S10")
@pytest.mark.parametrize("make", [connect, read, settings])
@pytest.mark.parametrize("prompt", [":", ">", "<", "*", "T*", ">*", "<*"])
def test_whoever_only_looks_changes_nothing_in_any_state(make: Make, prompt: str) -> None:
    paper = running()
    paper.prompt = prompt
    try:
        play(paper, make)
    except Garbled:
        assert paper.sent.count("status") == READINGS
    assert changing(paper.sent) == []


@EACH
def test_a_pump_of_a_chain_acknowledges_no_order_and_is_believed_by_what_it_reads(
    make: Make, before: Callable[..., Paper]
) -> None:
    paper = before(7)
    paper.acknowledges = False
    expected = play(before(7), make)
    if make is start:
        with pytest.raises(Uncertain):
            play(paper, make)
    else:
        assert play(paper, make) == expected


def test_in_a_chain_an_error_is_a_refusal_too() -> None:
    paper = running(7)
    paper.twist = {"irate 20 ml/hr": paper.said("Command error:", "   Unknown command")}
    with pytest.raises(Refused):
        play(paper, set_rate)


def test_an_uncertain_clearing_is_uncertain_and_never_repeated() -> None:
    paper = fresh()
    paper.twist = {"civolume": None}
    with pytest.raises(Uncertain):
        play(paper, arm)
    assert paper.sent.count("civolume") == 1


def test_a_pump_that_listens_again_after_a_bare_return_is_asked_again() -> None:
    paper = running()
    paper.twist = {"irate": [None]}
    assert play(paper, read).rate == RATE
    assert paper.sent == ["ivolume", "irate", "", "irate", "status"]


# --- transcripts ------------------------------------------------------------------------------------------------------


def test_the_recorded_pump_answers_what_the_driver_asks() -> None:
    lines = lines_of("recorded", "harvard")
    answers = {
        question.strip(b"@\r\n"): answer for (_, question), (_, answer) in zip(lines[::2], lines[1::2], strict=True)
    }
    paper = fresh()
    told = {b"version", b"force", b"diameter", b"irate", b"irate lim", b"tvolume"}
    assert told <= set(answers)
    paper.twist = {name.decode(): answers[name] for name in told}
    found = play(paper, connect)
    assert (found.serial, found.version, found.rate, found.limit) == ("D101754", "v3.0.6", MlPerHour("11.9694"), None)
    assert dict(play(paper, settings))["rate range"] == "25.0404 nl/min to 26.0035 ml/min"
    assert answers[b"irun"] == b"\n>\x11"


# --- settings of the driver and of the syringe ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"address": 100}, {"address": -1}, {"address": "1"}, {"address": True}, {"longest_min": 1441}, {"baud": 9600}],
)
def test_settings_out_of_range_are_refused_in_words(wrong: dict[str, object]) -> None:
    with pytest.raises(BadSetting, match=r"expected a whole number|unknown setting"):
        DRIVER.open(wrong)


@pytest.mark.shows("S8")
def test_what_fits_follows_from_the_plunger_that_was_recorded() -> None:
    pump = DRIVER.open({})
    fitted = pump.fitted(syringe("7.262"))
    assert (fitted.rates.least, fitted.rates.most) == (Decimal("0.002"), Decimal("1560.2"))
    fitted = pump.fitted(syringe())
    assert (fitted.rates.least, fitted.limits.least, fitted.limits.most) == (
        Decimal("0.021"),
        Decimal("0.001"),
        Decimal(60),
    )
    assert fitted.counter.step_at(Decimal(35)) == Decimal("0.0001")
    assert fitted.rates.down(Decimal("46.6666666")) == Decimal("46.666")
    for wrong in (syringe("0.05"), syringe("50.1"), syringe("26.59001"), bag()):
        with pytest.raises(BadSetting, match="diameter_mm"):
            pump.fitted(wrong)
