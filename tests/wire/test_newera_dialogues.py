"""New Era dialogues against transcripts, with an alarm, a wrong answer or silence at every step."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from rehearsal import Script, basic, in_basic_mode, in_safe_mode, rehearse, safe, transcript

from drivers.newera import DRIVER
from pumpd.driver import (
    Ask,
    BadSetting,
    Dialogue,
    Differs,
    Frame,
    Garbled,
    Grid,
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
    T,
    Taken,
    Uncertain,
)
from pumpd.units import Ml, MlPerHour
from tests.fitted import bag, syringe

IDENTITY = [("VER", "SNE1000V3.928"), ("DIA", "S26.59"), ("VOL", "S5.000ML"), ("RAT", "S2.000MM")]
FINGERPRINT = (("address", "00"), ("diameter", "26.59"))
FOUND = Identity("NE1000", "V3.928", None, FINGERPRINT, MlPerHour(120), Ml(5))
PROGRAMME = Programme(syringe(), MlPerHour("26.67"), Ml(20), keypad_lock=True)
ALARMS = {
    "R": "pump_power_lost",
    "S": "motor_stalled",
    "T": "pump_watchdog_expired",
    "E": "pump_program_error",
    "O": "pump_program_error",
    "Z": "pump_alarm_unknown",
    "": "pump_alarm_unknown",
}


def safe_pump() -> Pump:
    """Connected: the pump was in Safe mode already."""
    pump = DRIVER.open({})
    rehearse(pump, pump.connect(), in_safe_mode([("", "S"), ("SAF", "S10"), *IDENTITY]))
    return pump


def basic_pump() -> Pump:
    pump = DRIVER.open({"mode": "basic"})
    rehearse(pump, pump.connect(), [(safe("0"), basic("00S")), *in_basic_mode([("SAF", "S0"), *IDENTITY])])
    return pump


LOAD = transcript("load_after_pause")
RUN = transcript("run_change_stop")
START, READ, SET_RATE, STOP, RELEASE = RUN[:1], RUN[1:3], RUN[3:6], RUN[6:8], RUN[8:]
ARM = transcript("arm_factory_pump")
SETTINGS = ARM[-10:]


def rehearsed(
    make: Callable[[Pump], Dialogue[T]], script: Script, told: list[PumpAlarm] | None = None, pump: Pump | None = None
) -> T:
    pump = pump or safe_pump()
    return rehearse(pump, make(pump), script, told)


def arm(pump: Pump) -> Dialogue[Settings]:
    return pump.arm(PROGRAMME)


def load(pump: Pump) -> Dialogue[PumpReport]:
    return pump.load(MlPerHour("26.67"), Ml("13.27"))


def set_rate(pump: Pump) -> Dialogue[MlPerHour]:
    return pump.set_rate(MlPerHour(20))


# --- connect --------------------------------------------------------------------------------------------------------


def test_connect_takes_a_pump_from_power_on_into_safe_mode() -> None:
    pump, told = DRIVER.open({}), []
    identity = rehearse(pump, pump.connect(), transcript("connect_after_power_on"), told)
    assert identity == FOUND
    assert told == [PumpAlarm("pump_power_lost", "A?R")]


def test_connect_only_asks_a_pump_that_is_infusing() -> None:
    pump = DRIVER.open({})
    identity = rehearse(pump, pump.connect(), transcript("connect_while_infusing"))
    assert identity == Identity("NE1000", "V3.928", None, FINGERPRINT, MlPerHour(150), Ml(5))


@pytest.mark.shows("S10")
@pytest.mark.parametrize("state", "IWXTU")
@pytest.mark.parametrize("frame", [safe, basic])
def test_connect_writes_nothing_while_the_pump_may_move(state: str, frame: Callable[[str], bytes]) -> None:
    pump = DRIVER.open({"watchdog_s": 5})
    mode = in_safe_mode if frame is safe else in_basic_mode
    moving = [(question, state + answer[1:]) for question, answer in IDENTITY]
    rehearse(pump, pump.connect(), [(safe("0"), frame("00" + state)), *mode(moving)])


def test_connect_writes_no_mode_that_is_set_already() -> None:
    safe_pump()
    basic_pump()


def test_connect_takes_a_pump_out_of_safe_mode_where_basic_is_configured() -> None:
    pump = DRIVER.open({"mode": "basic"})
    script = [*in_safe_mode([("", "P"), ("SAF", "P10")]), (safe("0SAF0"), basic("00P"))]
    rehearse(pump, pump.connect(), [*script, *in_basic_mode([("SAF", "P0"), *IDENTITY])])


def test_no_order_changes_the_fingerprint() -> None:
    pump = safe_pump()
    later = [*IDENTITY[:2], ("VOL", "S13.27ML"), ("RAT", "S26.67MH")]
    again = rehearse(pump, pump.connect(), in_safe_mode([("", "S"), ("SAF", "S10"), *later]))
    assert again == Identity("NE1000", "V3.928", None, FINGERPRINT, MlPerHour("26.67"), Ml("13.27"))


def test_connect_believes_the_watchdog_only_when_it_reads_back() -> None:
    pump = DRIVER.open({})
    script = in_safe_mode([("", "S"), ("SAF", "S5"), ("SAF10", "S"), ("SAF", "S5")])
    with pytest.raises(Differs, match="SAF: wanted 10, pump says 5"):
        rehearse(pump, pump.connect(), script)


def test_connect_reads_a_padded_watchdog_and_an_upgraded_version() -> None:
    pump = DRIVER.open({})
    script = in_safe_mode([("", "S"), ("SAF", "S010"), ("VER", "SNE1000X2V3.935"), *IDENTITY[1:]])
    assert rehearse(pump, pump.connect(), script).version == "X2V3.935"


def test_connect_asks_in_basic_framing_where_a_safe_question_stays_unanswered() -> None:
    pump = DRIVER.open({"mode": "basic"})
    rehearse(pump, pump.connect(), [(safe("0"), None), *in_basic_mode([("", "S?"), ("SAF", "S0"), *IDENTITY])])
    with pytest.raises(Silent):
        rehearse(pump, pump.connect(), [(safe("0"), None), (b"0\r", None)])


def test_connect_acknowledges_an_alarm_at_every_step() -> None:
    script = in_safe_mode([("", "S"), ("SAF", "S10"), *IDENTITY])
    for step, (question, _) in enumerate(script):
        pump, told = DRIVER.open({}), []
        alarmed = [*script[:step], (question, safe("00A?S")), *script[step:]]
        assert rehearse(pump, pump.connect(), alarmed, told) == FOUND
        assert told == [PumpAlarm("motor_stalled", "A?S")]


def test_connect_repeats_the_change_of_mode_that_an_alarm_prevented() -> None:
    pump = DRIVER.open({})
    script = [(safe("0"), basic("00S")), *in_basic_mode([("SAF", "S0")]), (safe("0SAF10"), basic("00A?R"))]
    script += [*in_basic_mode([("SAF", "S0")]), *in_safe_mode([("SAF10", "S"), ("SAF", "S10"), *IDENTITY])]
    assert rehearse(pump, pump.connect(), script) == FOUND


def test_connect_gives_up_on_a_pump_that_only_alarms() -> None:
    pump = DRIVER.open({})
    with pytest.raises(Refused, match="every question with an alarm"):
        rehearse(pump, pump.connect(), in_safe_mode([("", "A?E")] * 3))


# --- every frame ----------------------------------------------------------------------------------------------------


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize(("letter", "code"), ALARMS.items())
def test_every_alarm_is_told_asked_or_not(letter: str, code: str) -> None:
    pump, frame = safe_pump(), Frame("alarm", letter.encode(), "00")
    notice = PumpAlarm(code, f"A?{letter}")
    assert code in pump.capabilities.alarms
    assert pump.on_frame(frame, asking=True) == Taken(notices=(notice,), consumed=False)
    assert pump.on_frame(frame, asking=False) == Taken(notices=(notice,), consumed=True)


def test_another_pump_of_the_chain_is_not_ours() -> None:
    pump = DRIVER.open({"address": 7})
    assert pump.on_frame(Frame("reply", b"I", "00"), asking=True) == Taken()
    assert pump.on_frame(Frame("alarm", b"S", "70"), asking=True) == Taken()
    assert not pump.on_frame(Frame("reply", b"I", "07"), asking=True).consumed


# --- read -----------------------------------------------------------------------------------------------------------


def test_read_gives_rate_and_counter() -> None:
    report = rehearsed(lambda pump: pump.read(), READ)
    assert report == PumpReport(Motion.INFUSING, MlPerHour("26.67"), Ml("0.1"))


@pytest.mark.parametrize(
    ("said", "rate"),
    [("2.500MM", "150"), ("500.0UM", "30"), ("9999.UH", "9.999"), ("1000MH", "1000")],
)
def test_read_gives_ml_per_hour_whatever_the_pump_says(said: str, rate: str) -> None:
    script = in_basic_mode([("DIS", "II100.5W0.000UL"), ("RAT", "I" + said)])
    report = rehearsed(lambda pump: pump.read(), script, pump=basic_pump())
    assert report == PumpReport(Motion.INFUSING, MlPerHour(rate), Ml("0.1005"))


@pytest.mark.parametrize(
    ("state", "motion"),
    [
        ("I", Motion.INFUSING),
        ("W", Motion.WITHDRAWING),
        ("S", Motion.STANDING),
        ("P", Motion.STANDING),
        ("X", Motion.PURGING),
        ("T", Motion.UNKNOWN),
        ("U", Motion.UNKNOWN),
    ],
)
def test_the_later_state_rules(state: str, motion: Motion) -> None:
    script = in_safe_mode([("DIS", "II0.100W0.000ML"), ("RAT", state + "20.00MH")])
    assert rehearsed(lambda pump: pump.read(), script).motion is motion


def test_a_phase_without_a_rate_gives_no_rate() -> None:
    script = in_safe_mode([("DIS", "SI0.200W0.000ML"), ("RAT", "S?NA")])
    assert rehearsed(lambda pump: pump.read(), script) == PumpReport(Motion.STANDING, None, Ml("0.2"))


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("letter", ALARMS)
def test_read_goes_on_after_an_alarm(step: int, letter: str) -> None:
    pump, told = safe_pump(), []
    script = [*READ[:step], (READ[step][0], safe("00A?" + letter)), *READ[step:]]
    assert rehearse(pump, pump.read(), script, told).counted == Ml("0.1")
    assert [alarm.code for alarm in told] == [ALARMS[letter]]


@pytest.mark.shows("H58")
@pytest.mark.parametrize(
    ("counter", "rate"),
    [
        ("II0.100W0.000ML", "II0.100W0.000ML"),
        ("I26.67MH", "I26.67MH"),
        ("I", "I26.67MH"),
        ("I?COM", "I26.67MH"),
        ("II0.100W0.000", "I26.67MH"),
        ("II0.1000W0.000ML", "I26.67MH"),
        ("QI0.100W0.000ML", "I26.67MH"),
        ("II0.100W0.000ML", "I26.67"),
        ("II0.100W0.000ML", "I26.67MM0"),
        ("II0.100W0.000ML", "I"),
        ("II0.100W0.000ML", "S26.59"),
    ],
)
def test_an_answer_to_another_question_is_never_a_value(counter: str, rate: str) -> None:
    script = in_safe_mode([("DIS", counter), ("RAT", rate)])
    with pytest.raises(Garbled):
        rehearsed(lambda pump: pump.read(), script)


# --- arm and settings -----------------------------------------------------------------------------------------------


@pytest.mark.shows("H12", "H51")
def test_arm_writes_what_differs_and_reads_the_whole_list_back() -> None:
    pump = safe_pump()
    armed = rehearse(pump, pump.arm(PROGRAMME), ARM)
    assert armed == (
        ("SAF", "10"),
        ("DIA", "26.59"),
        ("PHN", "1"),
        ("FUN", "RAT"),
        ("DIR", "INF"),
        ("PF", "0"),
        ("TRG", "OF"),
        ("DIN", "0"),
        ("AL", "1"),
        ("LOC", "1"),
    )
    assert rehearse(pump, pump.settings(), SETTINGS) == armed


def answered(script: Script, command: str, answer: str, which: int = 0) -> Script:
    """The script with the `which`-th answer to `command` replaced, and what follows."""
    at = [n for n, (question, _) in enumerate(script) if question == safe("0" + command)][which]
    return [*script[:at], (script[at][0], safe("00" + answer)), *script[at + 1 :]]


@pytest.mark.shows("S4", "H51", "H58")
@pytest.mark.parametrize(
    ("name", "got", "says"),
    [
        ("SAF", "S5", "SAF: wanted 10, pump says 5"),
        ("DIA", "S26.60", "DIA: wanted 26.59, pump says 26.6"),
        ("PHN", "S02", "PHN: wanted 1, pump says 2"),
        ("FUN", "SINC", "FUN: wanted RAT, pump says INC"),
        ("DIR", "SWDR", "DIR: wanted INF, pump says WDR"),
        ("PF", "S1", "PF: wanted 0, pump says 1"),
        ("TRG", "SFT", "TRG: wanted OF, pump says FT"),
        ("DIN", "S1", "DIN: wanted 0, pump says 1"),
        ("AL", "S0", "AL: wanted 1, pump says 0"),
        ("LOC", "S0", "LOC: wanted 1, pump says 0"),
        ("VOL", "S20.01ML", "VOL: wanted 20ML, pump says 20.01ML"),
        ("VOL", "S0.000ML", "VOL: wanted 20ML, pump says 0ML"),
        ("RAT", "S26.67MM", "RAT: wanted 26.67MH, pump says 26.67MM"),
    ],
)
def test_arm_refuses_what_reads_back_different(name: str, got: str, says: str) -> None:
    with pytest.raises(Differs) as refusal:
        rehearsed(arm, answered(ARM, name, got, which=-1))
    assert str(refusal.value) == says


def test_arm_refuses_a_second_phase_that_does_not_stop() -> None:
    with pytest.raises(Differs, match="FUN: wanted STP, pump says RAT"):
        rehearsed(arm, answered(ARM, "FUN", "SRAT", which=1))


@pytest.mark.parametrize("refusal", ["S?", "S?OOR"])
def test_a_trigger_input_the_firmware_cannot_switch_off_is_shown(refusal: str) -> None:
    script = answered(answered(ARM, "TRGOF", refusal), "TRG", "SFT", which=-1)
    assert ("TRG", "FT") in rehearsed(arm, script)


def test_a_pump_without_trigger_input_is_shown_as_such() -> None:
    script = answered(answered(answered(ARM, "TRG", "S?"), "TRGOF", "S?"), "TRG", "S?", which=-1)
    assert ("TRG", "unknown to this pump") in rehearsed(arm, script)


def test_a_trigger_refused_for_another_reason_fails_arming() -> None:
    with pytest.raises(Refused, match="TRGOF"):
        rehearsed(arm, answered(ARM, "TRGOF", "S?NA"))


@pytest.mark.shows("S1")
@pytest.mark.parametrize("state", "IWXTU")
def test_arm_and_load_send_nothing_but_a_question_to_a_pump_that_may_move(state: str) -> None:
    for make in (arm, load):
        with pytest.raises(Refused, match="must stand"):
            rehearsed(make, in_safe_mode([("DIS", state + "I0.100W0.000ML")]))


@pytest.mark.shows("S1")
@pytest.mark.parametrize("limit", ["0", "12.345", "10000"])
def test_a_limit_off_the_grid_or_none_is_never_sent(limit: str) -> None:
    pump = safe_pump()
    for dialogue in (
        pump.load(MlPerHour(20), Ml(limit)),
        pump.arm(Programme(syringe("20"), MlPerHour(1), Ml(limit), False)),
    ):
        with pytest.raises(ValueError, match="not a number the pump can be set to"):
            next(dialogue)


# --- load, start, stop, set_rate, release ---------------------------------------------------------------------------


def test_load_resets_a_paused_programme_and_reads_rate_and_limit_back() -> None:
    report = rehearsed(load, LOAD)
    assert report == PumpReport(Motion.STANDING, MlPerHour("26.67"), Ml("6.73"), Ml("13.27"))


def test_load_takes_not_applicable_as_stopped() -> None:
    script = answered(LOAD, "STP", "S?NA")
    assert rehearsed(load, script).limit == Ml("13.27")


def test_load_stops_twice_where_the_first_only_pauses() -> None:
    script = [LOAD[0], *in_safe_mode([("STP", "P")]), *LOAD[1:]]
    assert rehearsed(load, script).limit == Ml("13.27")


def test_load_gives_up_on_a_programme_that_does_not_reset() -> None:
    with pytest.raises(Refused, match="stays paused"):
        rehearsed(load, [LOAD[0], *in_safe_mode([("STP", "P")] * 4)])


@pytest.mark.shows("S1", "S4")
@pytest.mark.parametrize(
    ("command", "answer", "which"),
    [("FUN", "SRAT", 0), ("FUN", "SSTP", 1), ("VOL", "S13.28ML", -1), ("VOL", "S13.27UL", -1), ("RAT", "S26.68MH", -1)],
)
def test_load_refuses_what_differs(command: str, answer: str, which: int) -> None:
    script = list(answered(LOAD, command, answer, which))
    if command == "RAT":  # it reads different first, is written, and still reads different
        at = next(n for n, (question, _) in enumerate(script) if question == safe("0RAT"))
        script[at + 1 : at + 1] = in_safe_mode([("RAT26.67MH", "S"), ("RAT", answer)])
    with pytest.raises(Differs):
        rehearsed(load, script)


@pytest.mark.parametrize("state", "PIU")
def test_load_refuses_a_pump_that_is_not_reset_in_the_end(state: str) -> None:
    with pytest.raises(Differs):
        rehearsed(load, answered(LOAD, "DIS", state + "I6.730W0.000ML", which=-1))


@pytest.mark.shows("S10")
def test_start_is_asked_once_and_expects_infusing() -> None:
    pump = safe_pump()
    rehearse(pump, pump.start(), START)
    step = next(pump.start())
    assert isinstance(step, Ask)
    assert (step.repeat, step.tries) == (Repeat.NEVER, 1)


@pytest.mark.parametrize("answer", ["S", "P", "W", "X", "T", "U", "S?NA", "I?NA", "S?", "S?OOR"])
def test_start_is_refused_by_any_other_state(answer: str) -> None:
    with pytest.raises(Refused):
        rehearsed(lambda pump: pump.start(), in_safe_mode([("RUN", answer)]))


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", ["II0.100W0.000ML", "I26.67MH", "Q", "S?COM", "S?IGN", None])
def test_start_is_uncertain_when_nothing_answered_it(answer: str | None) -> None:
    with pytest.raises(Uncertain):
        rehearsed(lambda pump: pump.start(), in_safe_mode([("RUN", answer)]))


@pytest.mark.parametrize("letter", ALARMS)
@pytest.mark.parametrize(
    ("make", "script"),
    [(load, LOAD), (lambda pump: pump.start(), START), (set_rate, SET_RATE), (arm, ARM)],
)
def test_an_alarm_at_any_step_refuses_the_order(
    make: Callable[[Pump], Dialogue[Any]], script: Script, letter: str
) -> None:
    for step, (question, _) in enumerate(script):
        told: list[PumpAlarm] = []
        with pytest.raises(Refused, match="not carried out"):
            rehearsed(make, [*script[:step], (question, safe("00A?" + letter))], told)
        assert [alarm.code for alarm in told] == [ALARMS[letter]]


@pytest.mark.shows("S4", "H11")
def test_stop_is_done_when_the_counter_says_so() -> None:
    assert rehearsed(lambda pump: pump.stop(), STOP) == PumpReport(Motion.STANDING, counted=Ml("0.12"))


@pytest.mark.shows("S4")
@pytest.mark.parametrize("answer", ["P", "S", "S?NA", "A?S", "I", "S?COM", "II0.100W0.000ML"])
def test_stop_believes_no_answer_to_stop_itself(answer: str) -> None:
    script = in_safe_mode([("STP", answer), ("DIS", "II0.120W0.000ML"), *[("STP", "P"), ("DIS", "PI0.121W0.000ML")]])
    assert rehearsed(lambda pump: pump.stop(), script).counted == Ml("0.121")


@pytest.mark.shows("S5")
@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("letter", ALARMS)
def test_stop_goes_on_after_an_alarm(step: int, letter: str) -> None:
    told: list[PumpAlarm] = []
    alarmed = [*STOP[:step], (STOP[step][0], safe("00A?" + letter))]
    script = [*alarmed, *STOP] if step else [*alarmed, *in_safe_mode([("DIS", "II0.120W0.000ML")]), *STOP]
    assert rehearsed(lambda pump: pump.stop(), script, told).motion is Motion.STANDING
    assert [alarm.code for alarm in told] == [ALARMS[letter]]


@pytest.mark.parametrize("late", ["P", "S", "S26.67MH", "S?COM", "Q"])
def test_stop_is_sent_again_when_the_counter_is_not_what_answers(late: str) -> None:
    script = [*in_safe_mode([("STP", "P"), ("DIS", late)]), *STOP]
    assert rehearsed(lambda pump: pump.stop(), script).motion is Motion.STANDING


def test_stop_ends_with_an_error_so_that_the_caller_repeats() -> None:
    script = in_safe_mode([("STP", "P"), ("DIS", "II0.120W0.000ML")] * 4)
    with pytest.raises(Garbled, match="not seen standing"):
        rehearsed(lambda pump: pump.stop(), script)


def test_stop_needs_no_connect_before_it() -> None:
    assert rehearsed(lambda pump: pump.stop(), STOP, pump=DRIVER.open({})).motion is Motion.STANDING


def test_a_pump_whose_mode_is_not_known_is_stopped_in_both() -> None:
    script = [(safe("0STP"), None), (b"0STP\r", basic("00P")), (b"0DIS\r", basic("00PI0.120W0.000ML"))]
    stopped = rehearsed(lambda pump: pump.stop(), script, pump=DRIVER.open({"mode": "basic"}))
    assert stopped == PumpReport(Motion.STANDING, counted=Ml("0.12"))


def test_a_mode_that_only_the_answer_to_stp_has_told_is_not_believed_after_silence() -> None:
    pump = DRIVER.open({"mode": "basic"})
    for _ in range(2):
        with pytest.raises(Silent):
            rehearsed(lambda pump: pump.stop(), [(safe("0STP"), safe("00P")), (safe("0DIS"), None)], pump=pump)


STOPPED_IN_BOTH = [(safe("0STP"), None), (b"0STP\r", basic("00P")), (b"0DIS\r", basic("00PI0.120W0.000ML"))]


@pytest.mark.shows("S5")
def test_a_line_that_echoes_does_not_tell_the_mode() -> None:
    pump = DRIVER.open({"mode": "basic"})
    with pytest.raises(Garbled):
        rehearsed(lambda pump: pump.stop(), [(safe("0STP"), safe("0STP")), (safe("0DIS"), safe("0DIS"))] * 4, pump=pump)
    assert rehearsed(lambda pump: pump.stop(), STOPPED_IN_BOTH, pump=pump).motion is Motion.STANDING


@pytest.mark.shows("S5")
@pytest.mark.parametrize("silent", ["STP", "DIS"])
def test_a_pump_that_is_silent_in_its_mode_is_stopped_in_both(silent: str) -> None:
    pump = safe_pump()
    script = [(safe("0STP"), None)] if silent == "STP" else [(safe("0STP"), safe("00P")), (safe("0DIS"), None)]
    with pytest.raises(Silent):
        rehearsed(lambda pump: pump.stop(), script, pump=pump)
    assert rehearsed(lambda pump: pump.stop(), STOPPED_IN_BOTH, pump=pump).motion is Motion.STANDING


def test_the_mode_that_was_heard_last_is_tried_first() -> None:
    pump = basic_pump()
    with pytest.raises(Silent):
        rehearsed(lambda pump: pump.stop(), [(b"0STP\r", None)], pump=pump)
    assert rehearsed(lambda pump: pump.stop(), STOPPED_IN_BOTH[1:], pump=pump).motion is Motion.STANDING


@pytest.mark.shows("S4", "H59")
def test_set_rate_sends_a_bare_number_and_gives_what_is_read() -> None:
    assert rehearsed(set_rate, SET_RATE) == MlPerHour(20)
    kept = [*SET_RATE[:2], *in_safe_mode([("RAT", "I26.67MH")])]
    assert rehearsed(set_rate, kept) == MlPerHour("26.67")


@pytest.mark.parametrize("unit", ["UM", "MM", "UH"])
def test_set_rate_never_sends_a_number_that_means_another_unit(unit: str) -> None:
    with pytest.raises(Refused, match=unit):
        rehearsed(set_rate, in_safe_mode([("RAT", "I26.67" + unit)]))


@pytest.mark.shows("H2")
def test_set_rate_is_refused_out_of_range() -> None:
    with pytest.raises(Refused, match="out of range"):
        rehearsed(set_rate, [SET_RATE[0], *in_safe_mode([("RAT20.00", "I?OOR")])])


def test_release_disarms_the_watchdog_and_basic_mode_needs_none() -> None:
    rehearsed(lambda pump: pump.release(), RELEASE)
    rehearsed(lambda pump: pump.release(), [], pump=basic_pump())


def test_release_is_repeated_after_an_alarm() -> None:
    script = [RELEASE[0], (safe("0SAF0"), safe("00A?T")), *RELEASE]
    rehearsed(lambda pump: pump.release(), script)


# --- what is told about the family ----------------------------------------------------------------------------------


@pytest.mark.shows("S16")
@pytest.mark.parametrize("watchdog_s", [3, 10, 30])
def test_two_keep_alives_fit_into_the_watchdog(watchdog_s: int) -> None:
    keep_alive = DRIVER.open({"watchdog_s": watchdog_s}).keep_alive()
    assert keep_alive is not None
    assert keep_alive.covered_by_any
    assert 2 * keep_alive.every_s < watchdog_s
    pump = safe_pump()
    rehearse(pump, keep_alive.dialogue(), in_safe_mode([("", "I")]))
    assert pump.capabilities.watchdog_s == (10, 10)


def test_basic_mode_has_no_watchdog() -> None:
    pump = DRIVER.open({"mode": "basic"})
    assert pump.keep_alive() is None
    assert pump.capabilities.watchdog_s is None


@pytest.mark.shows("S8")
@pytest.mark.parametrize(
    ("mm", "least", "most"),
    [("4.699", "0.001", "53.07"), ("14.43", "0.007", "500.4"), ("26.59", "0.024", "1699"), ("21.59", "0.016", "1120")],
)
def test_rates_follow_the_plunger_and_round_to_the_safe_side(mm: str, least: str, most: str) -> None:
    rates = DRIVER.open({}).fitted(syringe(mm)).rates
    assert (rates.least, rates.most) == (Decimal(least), Decimal(most))


def test_the_grids_have_four_digits() -> None:
    fitted = DRIVER.open({}).fitted(syringe())
    assert fitted.limits.down(Decimal("19.9999")) == Decimal("19.99")
    assert fitted.limits.down(Decimal("0.0009")) is None
    assert fitted.counter.down(Decimal("0.0009")) == 0
    assert isinstance(fitted.rates, Grid)
    assert fitted.rates.down(Decimal("123.46")) == Decimal("123.4")


def test_a_bag_does_not_fit() -> None:
    with pytest.raises(BadSetting, match="a bag has none; expected a syringe"):
        DRIVER.open({}).fitted(bag())


@pytest.mark.parametrize("mm", ["0.09", "50.1", "26.594"])
def test_a_syringe_the_pump_cannot_be_told_does_not_fit(mm: str) -> None:
    with pytest.raises(BadSetting, match="diameter_mm"):
        DRIVER.open({}).fitted(syringe(mm))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"adress": 1}, "adress: unknown setting; known are address, mode, watchdog_s"),
        ({"address": 100}, "address: 100: expected a whole number from 0 to 99"),
        ({"address": True}, "address: True: expected a whole number from 0 to 99"),
        ({"address": "1"}, "address: '1': expected a whole number from 0 to 99"),
        ({"mode": "Safe"}, 'mode: \'Safe\': expected "safe" or "basic"'),
        ({"watchdog_s": 2}, "watchdog_s: 2: expected a whole number from 3 to 30"),
        ({"watchdog_s": 31}, "watchdog_s: 31: expected a whole number from 3 to 30"),
        (
            {"mode": "basic", "watchdog_s": 10},
            'watchdog_s: mode "basic" has no watchdog; leave it out or use mode "safe"',
        ),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        DRIVER.open(settings)
    assert str(refusal.value) == says


def test_the_address_goes_into_every_question_as_the_pump_wants_it() -> None:
    pump = DRIVER.open({"address": 12})
    rehearse(pump, pump.stop(), [(safe("12STP"), safe("12P")), (safe("12DIS"), safe("12PI0.000W0.000ML"))])


@pytest.mark.shows("S14")
def test_it_is_a_laboratory_pump() -> None:
    capabilities = DRIVER.open({}).capabilities
    assert not capabilities.clinical_use
    assert capabilities.limit_restarts
    assert capabilities.poll_acknowledges_alarm
    assert not capabilities.has_serial_number
