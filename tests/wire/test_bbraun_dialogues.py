"""B. Braun dialogues, with an alarm, a wrong answer or silence at every step."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from bbraun_rehearsal import (
    ARM,
    CONNECT,
    DATA_LOCK,
    DOCUMENTATION,
    IDENTNR,
    LOAD_LOCKED,
    REMOTE_ONLY,
    RUNNING,
    RUNS,
    STANDS,
    TAKE,
    Heard,
    Script,
    action,
    actual,
    ask,
    control,
    disturbed,
    frame,
    fresh,
    ident,
    limits,
    no,
    play,
    rehearse,
    said,
    set_values,
    shown,
    status,
    transcript,
    write,
)

from drivers.bbraun import DRIVER, KEYPAD_PAUSE_S, KEYPAD_TRIES, TYPES
from pumpd.core.catalogue import CATALOGUE
from pumpd.core.catalogue import WARNINGS as CATALOGUE_WARNINGS
from pumpd.driver import (
    Ask,
    BadSetting,
    Container,
    Dialogue,
    Differs,
    Garbled,
    Identity,
    Motion,
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
from tests.fitted import bag, syringe

PROGRAMME = Programme(syringe("26.7", 50), MlPerHour(10), Ml(20), keypad_lock=True)
LOCKED = STANDS | DATA_LOCK
LOAD: Script = LOAD_LOCKED
START: Script = [action(0, 1)]
READ_RUNNING: Script = [actual(51), status(RUNS, 1000, 199)]
READ_STANDING: Script = [actual(51), status(), set_values()]
SET_RATE: Script = [write(1250), set_values(1250)]
STOP: Script = [action(0, 0), status(), actual(52)]
GONE = DOCUMENTATION | 1 << 4
RELEASE: Script = [
    status(LOCKED),
    action(2, 0),
    write(0),
    ident(),
    control(0),
    ident(address=""),
    status(GONE, address=""),
]
SETTINGS: Script = ARM[-3:]
ARMED = (
    ("mode", "remote and keypad"),
    ("data lock", "on"),
    ("other functions", "none"),
    ("syringe", "50 mL"),
    ("pressure step", "5"),
)


def arm(pump: Pump) -> Dialogue[Settings]:
    return pump.arm(PROGRAMME)


def load(pump: Pump) -> Dialogue[PumpReport]:
    return pump.load(MlPerHour(10), Ml(20))


def set_rate(pump: Pump) -> Dialogue[MlPerHour]:
    return pump.set_rate(MlPerHour("12.5"))


def armed(**settings: object) -> Pump:
    pump = fresh(**settings)
    rehearse(pump, arm(pump), ARM)
    return pump


def rehearsed(make: Callable[[Pump], Dialogue[Any]], script: Script, heard: Heard | None = None) -> Any:
    pump = armed()
    return rehearse(pump, make(pump), script, heard)


def replaced(script: Script, step: int, exchange: tuple[bytes, bytes | None]) -> Script:
    assert script[step][0] == exchange[0]
    return [*script[:step], exchange, *script[step + 1 :]]


def segment_of(exchange: tuple[bytes, bytes | None]) -> int:
    return exchange[0][2]


DIALOGUES: list[tuple[str, Callable[[Pump], Dialogue[Any]], Script, Callable[[], Pump]]] = [
    ("connect", lambda pump: pump.connect(), CONNECT, lambda: DRIVER.open({})),
    ("arm", arm, ARM, fresh),
    ("settings", lambda pump: pump.settings(), SETTINGS, armed),
    ("load", load, LOAD, armed),
    ("start", lambda pump: pump.start(), START, armed),
    ("read running", lambda pump: pump.read(), READ_RUNNING, armed),
    ("read standing", lambda pump: pump.read(), READ_STANDING, armed),
    ("set rate", set_rate, SET_RATE, armed),
    ("release", lambda pump: pump.release(), RELEASE, armed),
]
STEPS = [
    pytest.param(make, script, pump, step, id=f"{name} {step}")
    for name, make, script, pump in DIALOGUES
    for step in range(len(script))
]


# --- the good case ----------------------------------------------------------------------------------------------------


def test_connect_only_asks_and_needs_no_address() -> None:
    for hands_off in (False, True):
        pump = DRIVER.open({})
        assert rehearse(pump, pump.connect(hands_off=hands_off), CONNECT) == Identity(
            "Perfusor fm",
            "V1.0",
            "1019-12345",
            (("type", "1019"), ("protocol", "14")),
            MlPerHour(10),
            Ml(20),
        )


@pytest.mark.shows("S10")
@pytest.mark.parametrize("dialogue", ["connect", "read", "settings"])
@pytest.mark.parametrize("state", [GONE, GONE | RUNNING, STANDS, RUNS, REMOTE_ONLY | RUNNING, 0, 0xFFFFFFFF])
def test_whoever_only_looks_writes_nothing_in_any_state(dialogue: str, state: int) -> None:
    pump = fresh()
    heard, script = Heard(), [*CONNECT, actual(address=""), set_values(address=""), status(state, address="")]
    answers = dict(script)
    play(pump, getattr(pump, dialogue)(), answers.get, heard)
    assert {question[2] for question in heard.sent} <= {0x01, 0x02, 0x03, 0x04}


def test_arm_takes_control_and_reads_the_whole_list_back() -> None:
    pump = fresh()
    assert rehearse(pump, arm(pump), ARM) == ARMED
    assert rehearse(pump, pump.settings(), SETTINGS) == ARMED


@pytest.mark.shows("S1")
def test_load_reads_rate_and_limit_back_and_gives_the_counter() -> None:
    assert rehearsed(load, LOAD) == PumpReport(Motion.STANDING, MlPerHour(10), Ml(5), Ml(20))


def test_a_whole_session_is_what_the_transcript_says() -> None:
    pump = DRIVER.open({})
    exchanges = iter(transcript("session"))
    rows = list(exchanges)

    def part(count: int) -> Script:
        taken, rows[:] = rows[:count], rows[count:]
        return taken

    rehearse(pump, pump.connect(), part(len(CONNECT)))
    assert rehearse(pump, arm(pump), part(len(ARM))) == ARMED
    assert rehearse(pump, load(pump), part(len(LOAD))).limit == Ml(20)
    rehearse(pump, pump.start(), part(1))
    assert rehearse(pump, pump.read(), part(2)) == PumpReport(Motion.INFUSING, MlPerHour(10), Ml("5.1"), warnings=())
    assert rehearse(pump, set_rate(pump), part(2)) == MlPerHour("12.5")
    assert rehearse(pump, pump.stop(), part(3)) == PumpReport(Motion.STANDING, counted=Ml("5.2"))
    rehearse(pump, pump.release(), part(len(RELEASE)))
    assert rows == []


# --- the other cases, at every step -----------------------------------------------------------------------------------


@pytest.mark.shows("S4")
@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_silence_at_any_step_is_silence_and_after_a_start_uncertainty(
    make: Callable[[Pump], Dialogue[Any]], script: Script, pump: Callable[[], Pump], step: int
) -> None:
    opened = pump()
    with pytest.raises((Silent, Uncertain)) as lost:
        disturbed(opened, make(opened), script, step, None, Heard())
    assert (lost.type is Uncertain) == (script is START)


@pytest.mark.shows("S4", "H58")
@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_an_answer_to_another_question_is_none(
    make: Callable[[Pump], Dialogue[Any]], script: Script, pump: Callable[[], Pump], step: int
) -> None:
    for other in ("13 06", "01 06 00", "02 06 00", "12 06", "11 06", "10 06", "04 06" + "00" * 39):
        if bytes.fromhex(other)[0] in script[step][0]:
            continue
        opened = pump()
        with pytest.raises((Silent, Uncertain)):
            disturbed(opened, make(opened), script, step, said(other), Heard())


@pytest.mark.shows("H58")
@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_a_short_or_long_answer_is_never_a_value(
    make: Callable[[Pump], Dialogue[Any]], script: Script, pump: Callable[[], Pump], step: int
) -> None:
    segment = script[step][0][2]
    if segment >= 0x10:
        return  # its answer is a bare yes
    for data in ("", "00", "00" * 80):
        opened = pump()
        with pytest.raises(Garbled):
            disturbed(opened, make(opened), script, step, said(f"{segment:02x} 06 {data}"), Heard())


@pytest.mark.parametrize("reason", [0x00, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x55])
@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_a_no_at_any_step_refuses_what_was_asked(
    make: Callable[[Pump], Dialogue[Any]], script: Script, pump: Callable[[], Pump], step: int, reason: int
) -> None:
    opened, segment = pump(), script[step][0][2]
    if script is RELEASE and step == 2 and reason == 0x04:
        waiting = ([(script[2][0], no("12", reason)), ident()] * KEYPAD_TRIES)[:-1]
        rehearse(opened, make(opened), [*script[:2], *waiting, *script[3:]])
        return
    beeps_at_most, watched_without = script is RELEASE and step == 2, script is CONNECT and step == 2
    if beeps_at_most or watched_without:  # rate 0 on the way back; limits of a pump
        disturbed(opened, make(opened), script, step, no(f"{segment:02x}", reason), Heard())
        return
    with pytest.raises((Refused, Silent)):  # silence where it was looked for at its other address
        disturbed(opened, make(opened), script, step, no(f"{segment:02x}", reason), Heard())


@pytest.mark.parametrize("reason", [0x01, 0x02])
@pytest.mark.parametrize("named", ["same", "00"])
@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_a_question_that_was_damaged_on_its_way_is_asked_again(
    make: Callable[[Pump], Dialogue[Any]],
    script: Script,
    pump: Callable[[], Pump],
    step: int,
    named: str,
    reason: int,
) -> None:
    opened, segment = pump(), f"{script[step][0][2]:02x}" if named == "same" else named
    asked_in_between = [ident(address="" if segment_of(script[step]) == 0x10 else "A")]
    waits = segment_of(script[step]) >= 0x10 and script is not START
    again = [(script[step][0], no(segment, reason)), *(asked_in_between if waits else [])]
    twice = [*script[:step], *again, *script[step:]]
    if script is START:
        with pytest.raises(Uncertain):
            rehearse(opened, make(opened), twice[:1])
    else:
        rehearse(opened, make(opened), twice)


# --- alarms -----------------------------------------------------------------------------------------------------------

STOPS = {
    0: "syringe_not_seated",
    2: "container_empty",
    3: "occlusion_downstream",
    4: "air_in_line",
    5: "drop_sensor",
    6: "pump_battery_empty",
    8: "pump_door_open",
}
LEAVES_OPEN = {9: "pump_program_error", 15: "unplanned_function"}
WARNINGS = {1: "pump_near_end", 7: "pump_battery_low", 10: "pump_reminder", 11: "pump_reminder", 12: "pump_near_end"}


def told(pump: Pump, *answers: bytes) -> list[PumpAlarm]:
    heard: list[PumpAlarm] = []
    for answer in answers:
        shown(pump, answer, heard)
    return heard


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("bit", [bit for bit in range(32) if bit not in (14, 16, 17, *WARNINGS)])
def test_every_alarm_bit_is_told_and_an_unknown_one_never_as_none(bit: int, moves: bool) -> None:
    pump = armed()
    (notice,) = told(pump, status(RUNS if moves else LOCKED, alarm=1 << bit)[1])
    assert notice.code == {**STOPS, **LEAVES_OPEN}.get(bit, "pump_alarm_unknown")
    assert notice.stops == (bit in STOPS or not moves)
    assert f"(bit {bit})" in notice.native
    assert notice.code in pump.capabilities.alarms
    if bit > 20:
        assert "not documented" in notice.native


@pytest.mark.parametrize("state", [RUNS, RUNS | 1 << 13, STANDS | 1 << 13])
def test_a_pump_that_keeps_the_vein_open_says_so_in_its_reading(state: int) -> None:
    pump, heard = armed(), Heard()
    assert rehearse(pump, pump.read(), [actual(), status(state, 100, alarm=1 << 17)], heard).motion is Motion.KVO
    assert heard.told == []
    (notice,) = told(armed(), status(STANDS, alarm=1 << 17)[1])
    assert (notice.code, notice.stops) == ("unplanned_function", True)


@pytest.mark.shows("H9")
@pytest.mark.parametrize("bit", WARNINGS)
def test_what_stops_nothing_is_named_in_each_reading_as_long_as_the_pump_says_so(bit: int) -> None:
    pump, heard = armed(), Heard()
    warned = [actual(), status(RUNS, 1000, alarm=1 << bit)]
    for _ in range(3):
        assert rehearse(pump, pump.read(), warned, heard).warnings == (WARNINGS[bit],)
    assert rehearse(pump, pump.read(), READ_RUNNING, heard).warnings == ()
    assert heard.told == []
    assert WARNINGS[bit] in pump.capabilities.alarms


def test_several_warnings_are_named_once_each_and_battery_is_the_lack_of_mains() -> None:
    every = sum(1 << bit for bit in WARNINGS)
    found = rehearsed(lambda pump: pump.read(), [actual(), status(RUNS & ~(1 << 4), 1000, alarm=every)])
    assert found.warnings == ("pump_near_end", "pump_battery_low", "pump_reminder", "pump_on_battery")
    assert set(found.warnings) == CATALOGUE_WARNINGS


def test_all_that_is_told_is_in_the_catalogue() -> None:
    alarms = DRIVER.open({}).capabilities.alarms
    assert set(alarms) <= set(CATALOGUE)
    assert len(alarms) == len(set(alarms))
    assert not {*STOPS.values(), *LEAVES_OPEN.values()} & CATALOGUE_WARNINGS


@pytest.mark.shows("S7", "H9")
@pytest.mark.parametrize("cause", ["bit", "state"])
def test_only_a_pump_that_stands_is_said_to_have_stopped_when_it_lost_us(cause: str) -> None:
    pump = armed()
    seen = {False: status(LOCKED, alarm=1 << 14), True: status(RUNS, alarm=1 << 14)}
    if cause == "state":
        seen = {False: status(GONE), True: status(GONE | RUNNING)}
    (notice,) = told(pump, seen[False][1])
    assert (notice.code, notice.stops) == ("pump_watchdog_expired", True)
    (notice,) = told(armed(), seen[True][1])
    assert (notice.code, notice.stops) == ("pump_alarm_unknown", False)


def test_the_end_that_was_ordered_is_no_alarm() -> None:
    assert told(armed(), status(LOCKED, alarm=1 << 12)[1]) == []


# --- the keypad -------------------------------------------------------------------------------------------------------

ACTIVE = 1 << 11
WORDS = {0: "set values changed", 1: "limits changed", 2: "mute key", 3: "dose data changed"}


def watched() -> Pump:
    """Armed, and read until no order of ours explains a change."""
    pump = armed()
    assert told(pump, status(LOCKED)[1], status(LOCKED)[1]) == []
    return pump


@pytest.mark.shows("H9")
@pytest.mark.parametrize("bit", WORDS)
def test_what_was_done_at_the_keypad_is_told_when_it_comes_anew(bit: int) -> None:
    pump, pressed, quiet = watched(), status(RUNS, request=1 << bit)[1], status(RUNS)[1]
    used = PumpAlarm("keypad_used", WORDS[bit], stops=False)
    assert told(pump, pressed, pressed, quiet, quiet, pressed) == [used, used]
    assert "keypad_used" in pump.capabilities.alarms


def test_somebody_at_the_keypad_is_told_once_however_it_is_said() -> None:
    used = PumpAlarm("keypad_used", "operator active", stops=False)
    assert told(watched(), status(RUNS | ACTIVE)[1], status(RUNS | ACTIVE)[1]) == [used]
    assert told(watched(), no("12", 4), no("12", 4), status(RUNS | ACTIVE)[1], status(RUNS)[1]) == [used]
    pressed = status(RUNS, alarm=1 << 16)[1]
    assert told(watched(), pressed, pressed) == [
        PumpAlarm("keypad_used", "start or stop key pressed under remote control (bit 16)", stops=False)
    ]


@pytest.mark.parametrize("bit", [0, 1])
def test_a_change_right_after_an_order_may_be_its_own(bit: int) -> None:
    changed = status(RUNS, request=1 << bit)[1]
    for make, script in ((set_rate, SET_RATE), (lambda pump: pump.start(), START)):
        pump = watched()
        rehearse(pump, make(pump), script)
        assert told(pump, changed, changed, changed) == []
        assert len(told(pump, status(RUNS)[1], changed)) == 1


def test_while_an_alarm_stands_somebody_is_expected_at_the_keypad() -> None:
    pump = watched()
    every = LOCKED | ACTIVE
    assert [notice.code for notice in told(pump, status(every, alarm=1 << 3, request=0b1111)[1])] == [
        "occlusion_downstream"
    ]
    assert [notice.native for notice in told(pump, status(LOCKED)[1], status(every, request=0b1111)[1])] == [
        "dose data changed, limits changed, mute key, operator active, set values changed"
    ]


def test_a_muted_warning_is_no_key_worth_telling() -> None:
    pump = watched()
    assert told(pump, status(RUNS, alarm=1 << 7, request=0b100)[1]) == []
    assert len(told(watched(), status(RUNS, alarm=1 << 7, request=0b001)[1])) == 1


def test_the_keypad_of_a_pump_that_is_nobodys_is_nobodys_business() -> None:
    assert told(fresh(), status(GONE | ACTIVE, request=0b1111, address="")[1]) == []
    pump = armed()
    rehearse(pump, pump.release(), RELEASE)
    assert told(pump, status(GONE | ACTIVE, request=0b1111, address="")[1]) == []


# --- alarms, as they come ---------------------------------------------------------------------------------------------


def test_an_alarm_is_told_when_it_comes_and_again_when_it_comes_again() -> None:
    pump = armed()
    stalled, well = status(LOCKED, alarm=1 << 3)[1], status(LOCKED)[1]
    assert len(told(pump, stalled, stalled, stalled)) == 1
    assert len(told(pump, well, stalled, stalled)) == 1


def test_several_alarms_are_told_at_once() -> None:
    pump = armed()
    several = status(LOCKED, alarm=1 << 3 | 1 << 4 | 1 << 23)[1]
    found = told(pump, several)
    assert [notice.native for notice in found] == ["pressure (bit 3)", "air (bit 4)", "not documented (bit 23)"]


def test_an_alarm_word_that_is_not_told_is_an_alarm() -> None:
    (notice,) = told(armed(), status(LOCKED, alarm=None)[1])
    assert notice == PumpAlarm("pump_alarm_unknown", "the pump does not tell its alarms")


@pytest.mark.parametrize("state", [GONE, REMOTE_ONLY, 0, GONE | RUNNING])
def test_a_pump_that_left_remote_control_by_itself_says_so_once(state: int) -> None:
    pump = armed()
    found = told(pump, status(state)[1], status(state)[1])
    (notice,) = found
    assert notice.native == "left remote control by itself"


def test_a_pump_that_nobody_controls_or_that_was_released_left_nothing() -> None:
    assert told(fresh(), status(GONE, address="")[1]) == []
    pump = armed()
    heard = Heard()
    rehearse(pump, pump.release(), RELEASE, heard)
    assert heard.told == []


@pytest.mark.parametrize(("make", "script", "pump", "step"), STEPS)
def test_an_alarm_in_any_status_is_told_and_disturbs_nothing(
    make: Callable[[Pump], Dialogue[Any]], script: Script, pump: Callable[[], Pump], step: int
) -> None:
    if script[step][0][2] != 0x02:
        return
    opened, heard = pump(), Heard()
    question, answer = script[step]
    assert answer is not None
    alarmed = answer[:4] + b"\x00" + b"\x00\x00\x00\x08" + answer[9:-3]
    plain = alarmed[1:].replace(b"\x7d\xa0", b"\x80")
    rehearse(opened, make(opened), replaced(script, step, (question, frame(plain))), heard)
    assert [notice.code for notice in heard.told] == ["occlusion_downstream"]


def test_arming_tells_once_more_what_still_stands() -> None:
    pump = armed()
    stalled = status(alarm=1 << 3)
    assert len(told(pump, stalled[1])) == 1
    heard, script = Heard(), [stalled, *ARM[len(TAKE) :]]
    rehearse(pump, arm(pump), script, heard)
    assert [notice.code for notice in heard.told] == ["occlusion_downstream"]


def test_another_pump_on_the_line_tells_its_own_alarms() -> None:
    pump = armed()
    told(pump, status(LOCKED, alarm=1 << 4)[1])
    rehearse(pump, pump.connect(), [ident(), set_values()])
    assert told(pump, status(LOCKED, alarm=1 << 4)[1]) == []
    rehearse(pump, pump.connect(), [ident(IDENTNR + 1), set_values(), limits()])
    assert len(told(pump, status(LOCKED, alarm=1 << 4)[1])) == 1


def test_another_address_of_the_bus_is_not_ours() -> None:
    pump = armed(address="A")
    pump.framer.feed(status(LOCKED, alarm=8, address="B")[1])
    (found,) = pump.framer.frames()
    assert pump.on_frame(found, asking=True) == Taken()  # type: ignore[arg-type]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["A", "M", "Z"])
def test_the_letter_of_the_configuration_is_given_and_used(letter: str) -> None:
    pump = fresh(address=letter)
    script = [
        status(GONE, address=""),
        ident(address=""),
        control(1, letter=letter),
        *(ident(address=letter), status(address=letter)),
        (ask("12" + "000003e8000000c8" + "ff" * 31, letter), no("12", 6, letter)),
    ]
    with pytest.raises(Refused, match="out of range"):
        rehearse(pump, load(pump), script)


def test_the_answer_to_the_change_of_mode_may_come_from_the_old_or_the_new_address() -> None:
    for answered in ("", "A"):
        pump = fresh()
        script = replaced(ARM, 2, (control(1)[0], said("10 06", answered)))
        assert rehearse(pump, arm(pump), script) == ARMED


def test_a_pump_that_has_its_letter_already_is_found_by_it() -> None:
    pump = DRIVER.open({})
    script = [(ident(address="")[0], None), ident(), set_values(), limits()]
    assert rehearse(pump, pump.connect(), script).serial == "1019-12345"
    assert rehearse(pump, pump.read(), READ_RUNNING).motion is Motion.INFUSING


def test_a_pump_that_tells_who_it_is_without_address_and_all_else_at_its_letter_is_found_there() -> None:
    pump = DRIVER.open({})
    script = [ident(address=""), (set_values(address="")[0], None), set_values(), limits()]
    assert rehearse(pump, pump.connect(), script).rate == MlPerHour(10)
    assert rehearse(pump, pump.read(), READ_RUNNING).motion is Motion.INFUSING


@pytest.mark.parametrize("answer", [None, no("02", 8, ""), no("02", 9, "")])
def test_a_released_pump_may_keep_its_letter(answer: bytes | None) -> None:
    lost = (status(address="")[0], answer)
    rehearsed(lambda pump: pump.release(), [*RELEASE[:-1], lost, status(GONE)])


def test_a_pump_that_fell_back_to_no_address_is_found_there() -> None:
    pump = armed()
    script = [(ident()[0], None), *CONNECT[:2]]
    assert rehearse(pump, pump.connect(), script).serial == "1019-12345"


def test_a_pump_that_answers_nowhere_is_silent_and_looked_for_where_it_was() -> None:
    pump = armed()
    with pytest.raises(Silent):
        rehearse(pump, pump.connect(), [(ident()[0], None), (ident(address="")[0], None)])
    rehearse(pump, pump.read(), READ_RUNNING)


@pytest.mark.parametrize("answer", [None, no("10", 8, "")])
def test_a_pump_under_control_that_no_longer_hears_address_none_changes_its_mode_by_its_letter(
    answer: bytes | None,
) -> None:
    script = [*RELEASE[:4], (control(0)[0], answer), control(0, address="A"), *RELEASE[5:]]
    rehearsed(lambda pump: pump.release(), script)


# --- arm --------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S4", "H51")
@pytest.mark.parametrize(
    ("step", "exchange", "says"),
    [
        (9, status(STANDS), "data lock: wanted on, pump says off"),
        (9, status(GONE | DATA_LOCK), "mode: wanted remote and keypad, pump says documentation"),
        (9, status(REMOTE_ONLY | DATA_LOCK), "mode: wanted remote and keypad, pump says remote only"),
        (9, status(LOCKED | 1 << 24), "other functions: wanted none, pump says reload"),
        (4, status(GONE), "mode: wanted remote and keypad, pump says documentation"),
    ],
)
def test_arm_refuses_what_reads_back_different(step: int, exchange: tuple[bytes, bytes], says: str) -> None:
    pump = fresh()
    script = replaced(ARM, step, exchange)
    heard = Heard()
    with pytest.raises(Differs) as refusal:
        disturbed(pump, arm(pump), script, -1, None, heard)
    assert str(refusal.value).replace("10.00", "10").replace("20.0 ", "20 ").replace(" 0.0 ", " 0 ") == says


@pytest.mark.parametrize("bit", [5, 22, 23, 24, 25, 26, 27, 28])
def test_a_function_of_the_pumps_own_is_switched_off_at_the_pump(bit: int) -> None:
    pump = fresh()
    state = STANDS | 1 << bit
    with pytest.raises(Differs, match="switch it off at the pump"):
        rehearse(pump, arm(pump), [*TAKE[:-1], status(state)])


@pytest.mark.parametrize(
    ("told_limits", "says"),
    [
        (limits(most=999), "takes rates from"),
        (limits(least=1001), "takes rates from"),
        (limits(volume=199), "takes volume limits up to"),
    ],
)
def test_arm_refuses_what_this_pump_cannot_do_before_anything_is_set(
    told_limits: tuple[bytes, bytes], says: str
) -> None:
    pump = fresh()
    with pytest.raises(Refused, match=says):
        rehearse(pump, arm(pump), [*TAKE, told_limits])


def test_what_lies_on_the_limits_of_this_pump_is_taken() -> None:
    pump = fresh()
    assert rehearse(pump, arm(pump), replaced(ARM, len(TAKE), limits(1000, 1000, 200))) == ARMED


def test_limits_that_are_not_told_are_no_limits() -> None:
    pump = fresh()
    assert rehearse(pump, arm(pump), replaced(ARM, len(TAKE), limits(None, None, None))) == ARMED


@pytest.mark.parametrize(("lock", "state"), [(True, LOCKED), (False, STANDS)])
def test_the_data_lock_is_written_only_when_it_differs(lock: bool, state: int) -> None:
    pump = armed()
    script = [status(state), limits(), actual(), set_values(), status(state)]
    settings = rehearse(pump, pump.arm(Programme(syringe("1", 50), MlPerHour(10), Ml(20), lock)), script)
    assert ("data lock", "on" if lock else "off") in settings


def test_the_data_lock_is_taken_off_where_no_lock_is_wanted() -> None:
    pump = armed()
    script = [status(LOCKED), limits(), action(2, 0), *ARM[-3:-1], status()]
    settings = rehearse(pump, pump.arm(Programme(syringe("1", 50), MlPerHour(10), Ml(20), False)), script)
    assert ("data lock", "off") in settings


@pytest.mark.shows("H51")
@pytest.mark.parametrize("told_size", [0, 20, 60])
def test_arm_wants_a_syringe_of_the_planned_size(told_size: int) -> None:
    pump = fresh()
    with pytest.raises(Differs) as refusal:
        rehearse(pump, arm(pump), [*ARM[:-3], actual(syringe=told_size), *ARM[-2:]])
    assert str(refusal.value) == f"syringe size: wanted 50 mL, pump says {told_size} mL"


def test_a_size_that_is_not_told_cannot_be_compared() -> None:
    pump = fresh()
    untold = actual(syringe=None)
    script = [*ARM[:-3], untold, *ARM[-2:]]
    assert ("syringe", "not told") in rehearse(pump, arm(pump), script)


def test_a_bag_has_no_size_that_a_pump_could_read() -> None:
    pump = DRIVER.open({"model": "infusomat"})
    infusomat = 202 << 18 | 7
    rehearse(pump, pump.connect(), [ident(infusomat, ""), *CONNECT[1:]])
    take = [*TAKE[:1], ident(infusomat, ""), control(1, infusomat), ident(infusomat), *TAKE[4:]]
    script = [*take, *ARM[len(TAKE) :]]
    programme = Programme(bag(), MlPerHour(10), Ml(20), keypad_lock=True)
    assert rehearse(pump, pump.arm(programme), script) == ARMED


def test_what_a_volumetric_pump_does_not_tell_is_said_so() -> None:
    pump = armed()
    script = [actual(syringe=None), set_values(step=None), status(LOCKED)]
    assert rehearse(pump, pump.settings(), script)[-2:] == (("syringe", "not told"), ("pressure step", "not told"))


@pytest.mark.shows("S1")
@pytest.mark.parametrize("state", [RUNS, STANDS | 1 << 9, STANDS | 1 << 13, STANDS | 1 << 29, STANDS | 1, 0, None])
def test_arm_load_and_release_send_nothing_but_a_question_to_a_pump_that_may_move(state: int | None) -> None:
    for make in (arm, load, lambda pump: pump.release()):
        pump = armed()
        with pytest.raises(Refused, match="must stand"):
            rehearse(pump, make(pump), [status(state)])


@pytest.mark.shows("S1")
@pytest.mark.parametrize("limit", ["0", "0.05", "12.34", "1000"])
def test_a_limit_off_the_grid_or_none_is_never_sent(limit: str) -> None:
    for make in (
        lambda pump: pump.load(MlPerHour(20), Ml(limit)),
        lambda pump: pump.arm(Programme(syringe("20", 50), MlPerHour(1), Ml(limit), False)),
    ):
        with pytest.raises(ValueError, match="cannot be set"):
            next(make(armed()))


@pytest.mark.parametrize("rate", ["0", "0.05", "12.34", "1000"])
def test_a_rate_off_the_grid_is_never_sent(rate: str) -> None:
    for make in (lambda pump: pump.load(MlPerHour(rate), Ml(1)), lambda pump: pump.set_rate(MlPerHour(rate))):
        with pytest.raises(ValueError, match="cannot be set"):
            next(make(armed()))


# --- load -------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S4", "H58")
@pytest.mark.parametrize(
    ("exchange", "says"),
    [
        (set_values(rate=1001), "rate: wanted 10 mL/h, pump says 10.01 mL/h"),
        (set_values(rate=None), "rate: wanted 10 mL/h, pump says None"),
        (set_values(limit=201), "volume limit: wanted 20 mL, pump says 20.1 mL"),
        (set_values(limit=0), "volume limit: wanted 20 mL, pump says 0 mL"),
        (set_values(limit=None), "volume limit: wanted 20 mL, pump says None"),
    ],
)
def test_load_refuses_what_reads_back_different(exchange: tuple[bytes, bytes], says: str) -> None:
    with pytest.raises(Differs) as refusal:
        rehearsed(load, [*LOAD[:2], exchange])
    assert str(refusal.value).replace("10.00", "10").replace("20.0 ", "20 ").replace(" 0.0 ", " 0 ") == says


@pytest.mark.shows("S1", "S4")
@pytest.mark.parametrize("left", [0, 201, None])
def test_load_refuses_a_pump_that_would_give_more_than_the_limit_or_without_one(left: int | None) -> None:
    with pytest.raises(Differs, match="remaining volume limit"):
        rehearsed(load, replaced(LOAD, 4, status(LOCKED, left=left)))


def test_load_takes_a_pump_that_counts_what_it_gave_before() -> None:
    assert rehearsed(load, replaced(LOAD, 4, status(LOCKED, left=150))).limit == Ml(20)


@pytest.mark.parametrize("state", [RUNS, 0, None, LOCKED | 1 << 30])
def test_load_refuses_a_pump_that_moves_in_the_end(state: int | None) -> None:
    with pytest.raises(Differs, match="state after loading"):
        rehearsed(load, replaced(LOAD, 4, status(state)))


def test_load_takes_control_again_where_it_was_lost() -> None:
    pump = armed()
    lost = [status(GONE), ident(), control(1), ident(), status(LOCKED)]
    heard = Heard()
    assert rehearse(pump, load(pump), [*lost, *LOAD[1:]], heard).limit == Ml(20)
    assert [notice.native for notice in heard.told] == ["left remote control by itself"]


# --- start ------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S10")
def test_start_is_asked_once() -> None:
    step = next(armed().start())
    assert isinstance(step, Ask)
    assert (step.repeat, step.tries) == (Repeat.NEVER, 1)


def test_start_is_refused_while_somebody_is_at_the_keypad_and_waits_for_nobody() -> None:
    heard = Heard()
    with pytest.raises(Refused, match="keypad"):
        rehearsed(lambda pump: pump.start(), [(START[0][0], no("11", 4))], heard)
    assert heard.pauses == []


# --- stop -------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S4", "H11")
def test_stop_is_done_when_a_later_status_says_so() -> None:
    assert rehearsed(lambda pump: pump.stop(), STOP) == PumpReport(Motion.STANDING, counted=Ml("5.2"))


@pytest.mark.shows("S5")
@pytest.mark.parametrize(
    "state",
    [
        STANDS,
        RUNS,
        RUNS | 1 << 10,
        STANDS | 1 << 9,
        STANDS | 1 << 13,
        STANDS | 1 << 19,
        STANDS | 1 << 29,
        0,
        1,
        None,
        1 << 31 | STANDS,
    ],
)
def test_stop_is_the_first_order_in_any_state_and_repeated_until_the_pump_stands(state: int | None) -> None:
    pump = armed()
    first: Script = [action(0, 0), status(state)]
    script = STOP if state == STANDS else [*first, *first, *STOP]
    assert rehearse(pump, pump.stop(), script).motion is Motion.STANDING


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", [said("11 06"), no("11", 0x0C), no("11", 0), no("11", 1), no("00", 2), no("11", 3)])
def test_stop_believes_no_answer_to_stop_itself(answer: bytes) -> None:
    script = [(STOP[0][0], answer), status(RUNS), *STOP]
    assert rehearsed(lambda pump: pump.stop(), script).counted == Ml("5.2")


def test_stop_gives_up_on_a_pump_that_moves_on() -> None:
    with pytest.raises(Garbled, match=r"not seen standing \(last: infusing"):
        rehearsed(lambda pump: pump.stop(), [action(0, 0), status(RUNS)] * 4)


def test_stop_waits_while_somebody_is_at_the_keypad_and_goes_on() -> None:
    heard = Heard()
    script = [(STOP[0][0], no("11", 4)), status(RUNS), *STOP]
    assert rehearsed(lambda pump: pump.stop(), script, heard).motion is Motion.STANDING
    assert heard.pauses == [KEYPAD_PAUSE_S]


@pytest.mark.shows("S5")
@pytest.mark.parametrize("reason", [0x08, 0x09])
def test_a_moving_pump_that_left_remote_control_is_taken_back_and_stopped(reason: int) -> None:
    pump = armed()
    taken = [ident(), control(1), ident(), status(RUNS)]
    script = [(STOP[0][0], no("11", reason)), status(GONE | RUNNING), *taken, *STOP]
    assert rehearse(pump, pump.stop(), script).motion is Motion.STANDING


def test_a_standing_pump_that_nobody_controls_is_left_to_who_operates_it() -> None:
    pump = fresh()
    script = [(action(0, 0, "")[0], no("11", 9, "")), status(GONE, address=""), status(GONE, address="")]
    assert rehearse(pump, pump.stop(), [*script, actual(address="")]).motion is Motion.STANDING


@pytest.mark.shows("S5")
def test_a_pump_that_is_silent_at_its_address_is_stopped_at_the_other() -> None:
    pump = armed()
    script = [(STOP[0][0], None), action(0, 0, ""), status(GONE, address=""), actual(52, address="")]
    assert rehearse(pump, pump.stop(), script).counted == Ml("5.2")


@pytest.mark.shows("S5")
def test_a_stop_that_nobody_answers_is_silence_and_begins_at_the_same_address_again() -> None:
    pump = armed()
    for _ in range(2):
        with pytest.raises(Silent):
            rehearse(pump, pump.stop(), [(STOP[0][0], None), (action(0, 0, "")[0], None)])


@pytest.mark.parametrize("answer", [no("03", 3), no("03", 1), said("03 06 00")])
def test_a_stop_is_done_though_its_counter_cannot_be_read(answer: bytes) -> None:
    pump = armed()
    found = disturbed(pump, pump.stop(), STOP, 2, answer, Heard())
    assert found == PumpReport(Motion.STANDING, counted=None)


@pytest.mark.parametrize("answer", [no("02", 3), said("02 06 00"), said("02 06" + "00" * 20)])
def test_a_status_that_cannot_be_read_stops_once_more(answer: bytes) -> None:
    script = [STOP[0], (STOP[1][0], answer), *STOP]
    assert rehearsed(lambda pump: pump.stop(), script).motion is Motion.STANDING


# --- read -------------------------------------------------------------------------------------------------------------


def test_read_gives_the_actual_rate_while_it_runs_and_the_set_one_while_it_stands() -> None:
    assert rehearsed(lambda pump: pump.read(), READ_RUNNING) == PumpReport(
        Motion.INFUSING, MlPerHour(10), Ml("5.1"), None, ()
    )
    assert rehearsed(lambda pump: pump.read(), READ_STANDING) == PumpReport(
        Motion.STANDING, MlPerHour(10), Ml("5.1"), Ml(20), ()
    )


def test_read_tells_nothing_the_pump_does_not_tell() -> None:
    found = rehearsed(lambda pump: pump.read(), [actual(None), status(RUNS, None)])
    assert found == PumpReport(Motion.INFUSING, None, None, None, ())
    found = rehearsed(lambda pump: pump.read(), [actual(None), status(), set_values(None, None)])
    assert found == PumpReport(Motion.STANDING, None, None, None, ())
    found = rehearsed(lambda pump: pump.read(), [actual(), status(None, None)])
    assert found == PumpReport(Motion.UNKNOWN, None, Ml(5), None, None)
    found = rehearsed(lambda pump: pump.read(), [actual(), status(RUNS, 1000, alarm=None)])
    assert found == PumpReport(Motion.INFUSING, MlPerHour(10), Ml(5), None, None)


def test_set_values_that_somebody_changed_are_read_again() -> None:
    script = [actual(), status(RUNS, 1500, request=1), set_values(1500, 250)]
    assert rehearsed(lambda pump: pump.read(), script) == PumpReport(Motion.INFUSING, MlPerHour(15), Ml(5), Ml(25), ())


@pytest.mark.parametrize(("bit", "segment"), [(1, "06"), (3, "07")])
@pytest.mark.parametrize("answer", ["yes", "no"])
def test_what_else_the_pump_wants_read_is_read_and_never_costs_the_reading(bit: int, segment: str, answer: str) -> None:
    reply = limits()[1] if segment == "06" else said("07 06" + "00" * 19)
    script = [
        actual(),
        status(RUNS, 1000, request=1 << bit),
        (ask(segment), reply if answer == "yes" else no(segment, 3)),
    ]
    assert rehearsed(lambda pump: pump.read(), script).rate == MlPerHour(10)


@pytest.mark.parametrize("request_byte", [0b0100, 0b1111_0000, 0xFF])
def test_other_request_bits_ask_for_nothing(request_byte: int) -> None:
    script = [actual(), status(RUNS, 1000, request=request_byte)]
    assert rehearsed(lambda pump: pump.read(), script).rate == MlPerHour(10)


# --- set_rate, keypad -------------------------------------------------------------------------------------------------


@pytest.mark.shows("S4", "H59")
def test_set_rate_writes_the_rate_alone_and_gives_what_is_read() -> None:
    assert rehearsed(set_rate, SET_RATE) == MlPerHour("12.5")
    assert rehearsed(set_rate, [SET_RATE[0], set_values(1200)]) == MlPerHour(12)
    with pytest.raises(Garbled):
        rehearsed(set_rate, [SET_RATE[0], set_values(None)])


def test_set_rate_of_a_pump_that_left_remote_control_is_refused_and_takes_nothing() -> None:
    with pytest.raises(Refused, match="not under remote control"):
        rehearsed(set_rate, [(SET_RATE[0][0], no("12", 9))])


@pytest.mark.parametrize("busy", range(KEYPAD_TRIES))
def test_an_order_waits_until_the_keypad_is_left(busy: int) -> None:
    heard = Heard()
    assert rehearsed(set_rate, [*[(SET_RATE[0][0], no("12", 4)), ident()] * busy, *SET_RATE], heard) == MlPerHour(
        "12.5"
    )
    assert heard.pauses == [KEYPAD_PAUSE_S] * busy


def test_an_order_that_waited_longer_than_the_pump_does_is_refused() -> None:
    heard = Heard()
    with pytest.raises(Refused, match="somebody is at its keypad"):
        rehearsed(set_rate, ([(SET_RATE[0][0], no("12", 4)), ident()] * KEYPAD_TRIES)[:-1], heard)
    assert 2.0 <= sum(heard.pauses) < 2.5, "the pump waits 2.0 s, and a reading is stale after 3"


# --- release ----------------------------------------------------------------------------------------------------------


def test_release_takes_the_lock_off_and_leaves_remote_control() -> None:
    rehearsed(lambda pump: pump.release(), RELEASE)


def test_release_of_a_pump_nobody_controls_writes_nothing() -> None:
    pump = fresh()
    rehearse(pump, pump.release(), [status(GONE, address="")])


@pytest.mark.parametrize("state", [STANDS, GONE | DATA_LOCK])
def test_release_is_not_done_while_the_pump_stays_ours_or_locked(state: int) -> None:
    with pytest.raises(Differs, match="mode"):
        rehearsed(lambda pump: pump.release(), replaced(RELEASE, 6, status(state, address="")))


# --- what is told about the family ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TYPES)
def test_each_type_is_taken_by_its_own_model_and_refused_by_the_other(model: str) -> None:
    for other, types in TYPES.items():
        for number, name in types.items():
            pump = DRIVER.open({"model": model})
            script = [ident(number << 18 | 7, ""), *CONNECT[1:]]
            if other == model:
                found = rehearse(pump, pump.connect(), script)
                assert (found.model, found.serial) == (name, f"{number}-7")
            else:
                with pytest.raises(Refused, match=f"type {number} .{name.split()[0]}"):
                    rehearse(pump, pump.connect(), script[:1])


@pytest.mark.parametrize("number", [0, 1, 201, 1018, 1202, 16383])
def test_a_type_that_is_not_documented_is_refused(number: int) -> None:
    pump = DRIVER.open({})
    with pytest.raises(Refused, match="not known"):
        rehearse(pump, pump.connect(), [ident(number << 18 | 7, "")])


def test_two_types_with_one_number_are_two_pumps() -> None:
    serials = set()
    for number in TYPES["perfusor"]:
        pump = DRIVER.open({})
        script = [ident(number << 18 | 12345, ""), *CONNECT[1:]]
        serials.add(rehearse(pump, pump.connect(), script).serial)
    assert len(serials) == len(TYPES["perfusor"])


@pytest.mark.parametrize(
    ("model", "kind", "takes", "not_that"),
    [("perfusor", "syringe", syringe("26.7", 50), bag()), ("infusomat", "volumetric", bag(), syringe())],
)
def test_each_model_takes_its_kind_of_container(model: str, kind: str, takes: Container, not_that: Container) -> None:
    pump = DRIVER.open({"model": model})
    assert pump.capabilities.kind == kind
    assert pump.fitted(takes) == DRIVER.open({}).fitted(syringe("1"))
    with pytest.raises(BadSetting, match=f"this pump takes a {takes.kind}"):
        pump.fitted(not_that)


@pytest.mark.shows("S8")
def test_what_the_pump_told_of_itself_is_what_can_be_set() -> None:
    pump = DRIVER.open({})
    assert pump.fitted(syringe()).rates.least == Decimal("0.1")
    rehearse(pump, pump.connect(), [*CONNECT[:2], limits(most=20055, least=101, address="")])
    rates = pump.fitted(syringe()).rates
    assert (rates.least, rates.down(Decimal(500)), rates.down(Decimal(1))) == (Decimal("1.1"), Decimal("200.5"), None)
    rehearse(pump, pump.connect(), [ident(IDENTNR + 1, ""), *CONNECT[1:2], limits(None, None, None, address="")])
    assert pump.fitted(syringe()).rates == DRIVER.open({}).fitted(syringe()).rates, "another pump"


@pytest.mark.shows("S1")
def test_a_plan_that_was_made_before_the_pump_told_its_limits_is_made_again() -> None:
    pump = DRIVER.open({})
    pump.fitted(syringe())
    slow = limits(least=100, address="")
    rehearse(pump, pump.connect(), [*CONNECT[:2], slow])
    script = [*TAKE, limits(least=100)]
    with pytest.raises(Refused, match=r"no rate below 1.*plan again"):
        rehearse(pump, arm(pump), script)
    pump.fitted(syringe())
    with pytest.raises(Differs):  # further on
        rehearse(pump, arm(pump), [status(), limits(least=100), action(2, 1), actual(syringe=20), *ARM[-2:]])


def test_limits_that_somebody_changed_are_known_from_then_on() -> None:
    pump = armed()
    rehearse(pump, pump.read(), [actual(), status(RUNS, 1000, request=2), limits(least=100)])
    assert pump.fitted(syringe()).rates.least == 1


def test_the_grids_round_down() -> None:
    fitted = DRIVER.open({}).fitted(syringe("26"))
    assert fitted.rates.down(Decimal("46.67")) == Decimal("46.6")
    assert fitted.rates.down(Decimal("0.09")) is None
    assert fitted.limits.down(Decimal("19.99")) == Decimal("19.9")
    assert fitted.limits.down(Decimal("0.09")) is None
    assert fitted.counter.step_at(Decimal(35)) == Decimal("0.1")
    assert DRIVER.open({"rate_decimals": 2}).fitted(syringe("26")).rates.down(Decimal("46.678")) == Decimal("46.67")
    assert DRIVER.open({"rate_decimals": 0}).fitted(syringe("26")).rates.down(Decimal("46.6")) == 46


def test_what_is_not_known_of_the_family_is_not_claimed() -> None:
    capabilities = DRIVER.open({}).capabilities
    assert not capabilities.clinical_use, "nobody tried it on a pump"
    assert capabilities.watchdog_s is None, "that it stops without us is not known"
    assert capabilities.limit_restarts
    assert capabilities.has_serial_number
    assert not capabilities.poll_acknowledges_alarm


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"modell": "perfusor"}, "modell: unknown setting; known are model, address, rate_decimals"),
        ({"model": "Perfusor"}, 'model: \'Perfusor\': expected "perfusor" or "infusomat"'),
        ({"model": 1}, 'model: 1: expected "perfusor" or "infusomat"'),
        ({"address": "a"}, 'address: \'a\': expected one letter from "A" to "Z"'),
        ({"address": "AB"}, 'address: \'AB\': expected one letter from "A" to "Z"'),
        ({"address": ""}, 'address: \'\': expected one letter from "A" to "Z"'),
        ({"address": 1}, 'address: 1: expected one letter from "A" to "Z"'),
        ({"rate_decimals": 3}, "rate_decimals: 3: expected 0, 1 or 2"),
        ({"rate_decimals": -1}, "rate_decimals: -1: expected 0, 1 or 2"),
        ({"rate_decimals": True}, "rate_decimals: True: expected 0, 1 or 2"),
        ({"rate_decimals": "1"}, "rate_decimals: '1': expected 0, 1 or 2"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        DRIVER.open(settings)
    assert str(refusal.value) == says
