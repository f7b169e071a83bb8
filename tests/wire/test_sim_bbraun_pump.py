"""The B. Braun pump behind the wire: each alarm and state bit, the keypad, actions, boluses, syringe and bag."""

import struct
from collections.abc import Callable
from typing import Any

import pytest

from simulator.families.bbraun_frame import Nak
from tests.wire.bbraun_host import KEEP4, Braun, pump, running, taken

OK = b"\x06"
NOT_POSSIBLE = bytes((0x15, Nak.NOT_POSSIBLE))
KEYPAD = bytes((0x15, Nak.KEYPAD_IN_USE))
ACTUAL = struct.Struct(">BI8H")
SET_VALUES = struct.Struct(">IIHIHBH20s")
BITS = [
    "syringe_not_seated",
    "container_near_empty",
    "container_empty",
    "occlusion",
    "air_in_line",
    "drop_sensor",
    "battery_empty",
    "battery_low",
    "door_open",
    "rate_invalid",
    "reminder",
    "standby_over",
    "limit_reached",
    "time_over",
    "communication",
    "kvo_over",
    "operator_active",
    "kvo_running",
    "pressure_low",
    "pca_button_missing",
    "pca_hourly_limit",
]  # section A5, bit by bit
STATES = {  # likewise
    "interval_bolus_running": 12, "head_retracting": 20, "recorder": 21, "interval_bolus_set": 22, "piggyback": 25,
    "pca": 26, "profile": 27, "ramp": 28, "delay": 29,
}  # fmt: skip
STOPPING = {0, 2, 3, 4, 5, 6, 8, 15}  # alarm bits with which the motor stands


def actual(host: Braun) -> tuple[int, ...]:
    return ACTUAL.unpack(host.read_segment(0x03))


# -- alarms


@pytest.mark.parametrize("bit", range(21))
@pytest.mark.parametrize("kind", ["1019", "202"])
def test_every_alarm_reaches_the_wire_and_ends(bit: int, kind: str) -> None:
    host = pump(type_number=kind)
    host.take(identity=int(kind) << 18 | 12345)
    host.order(1000, 200)
    host.act(0)
    host.control(do="alarm", name=BITS[bit])
    status = host.status()
    assert status.alarm_bits() == {bit}
    assert status.bits() & {7, 15} == ({15} if bit in STOPPING else {7, 15})
    assert (host.truth["infusing"], status.rate) == ((False, 0) if bit in STOPPING else (True, 1000))
    if bit in STOPPING:
        assert host.act(0) == NOT_POSSIBLE
    host.control(do="alarm_over", name=BITS[bit])
    host.control(do="press", key="mute")
    assert host.status().alarms == 0


def empty_syringe(host: Braun) -> None:
    host.control(do="new_syringe", fill_ml=0.1)
    host.keep(40)


def end_of_kvo(host: Braun) -> None:
    host.order(6000, 1)
    host.keep(610)


def battery_low(host: Braun) -> None:
    host.control(do="power_off")
    host.keep(271 * 60 / 60)


def wait_for_reminder(host: Braun) -> None:
    host.act(0, 0)
    host.keep(121)


def end_of_standby(host: Braun) -> None:
    host.act(0, 0)
    host.order(standby=1)
    host.act(8)
    host.keep(61)


@pytest.mark.parametrize(
    ("bits", "cause", "options"),
    [
        ({1}, lambda host: (host.control(do="new_syringe", fill_ml=0.6), host.keep(37)), {}),
        ({2}, empty_syringe, {}),
        ({3}, lambda host: (host.control(do="occlude"), host.keep(300)), {}),
        ({4}, lambda host: (host.control(do="air", ml=0.5), host.keep(1)), {"type_number": "202"}),
        ({4}, lambda host: (host.control(do="new_syringe", fill_ml=0.1), host.keep(3100)), {"type_number": "202"}),
        ({5}, lambda host: (host.control(do="occlude", where="upstream"), host.keep(300)), {"type_number": "202"}),
        ({8}, lambda host: host.control(do="door", state="open"), {"type_number": "203"}),
        ({7}, battery_low, {"battery_min": 34.0}),
        ({6, 7}, battery_low, {"battery_min": 7.0}),
        ({9, 14}, lambda host: host.wait(1.3), {}),
        ({10}, wait_for_reminder, {}),
        ({11}, end_of_standby, {}),
        ({12, 17}, lambda host: (host.order(6000, 1), host.keep(7)), {}),
        ({12, 15}, end_of_kvo, {}),
        ({13, 17}, lambda host: (host.order(minutes=1), host.keep(61)), {}),
        ({16}, lambda host: host.control(do="press", key="stop"), {}),
    ],
    ids=lambda value: "-".join(map(str, sorted(value))) if isinstance(value, set) else "",
)
def test_an_alarm_has_a_cause(bits: set[int], cause: Callable[[Braun], Any], options: dict[str, Any]) -> None:
    host = pump(**options)
    host.take(identity=int(options.get("type_number", "1019")) << 18 | 12345)
    host.order(1000, 200)
    host.act(0)
    cause(host)
    assert host.status().alarm_bits() == bits


def test_a_stalled_motor_stands_without_an_alarm() -> None:
    host = running()
    host.control(do="stall")
    assert (host.status().alarms, host.status().rate, host.truth["infusing"]) == (0, 0, False)


def test_an_alarm_whose_cause_is_gone_goes_with_a_start_or_a_key() -> None:
    for way in (lambda host: host.act(0), lambda host: host.control(do="press", key="mute")):
        host = running(6000)
        host.control(do="occlude")
        host.keep(60)
        assert 3 in host.status().alarm_bits()
        host.control(do="release")
        assert 3 in host.status().alarm_bits()
        way(host)
        assert host.status().alarms == 0
    stubborn = running(6000, invented={"start_acknowledges": False})
    stubborn.control(do="occlude")
    stubborn.keep(60)
    stubborn.control(do="release")
    assert stubborn.act(0) == NOT_POSSIBLE


@pytest.mark.parametrize("acknowledges", [False, True])
def test_suppression_silences_for_two_minutes(acknowledges: bool) -> None:
    host = running(6000, invented={"suppression_acknowledges": acknowledges})
    host.control(do="occlude")
    host.keep(60)
    host.control(do="release")
    assert host.act(1) == OK
    status = host.status()
    assert (status.alarms == 0) is acknowledges
    assert status.bits() & {14, 15} == {14}
    if acknowledges:
        return
    host.keep(119)
    assert host.status().bits() & {14, 15} == {14}
    host.keep(2)
    assert host.status().bits() & {14, 15} == {15}
    host.act(1)
    host.act(1, 0)
    assert host.status().bits() & {14, 15} == {15}


def test_pressure_is_told_in_parts_of_its_step() -> None:
    host = running(6000, 200)
    host.control(do="occlude")
    host.device._body.pressure_mmhg = 250.0
    assert actual(host)[0] == 50
    host.order(step=9)
    assert actual(host)[0] == 27
    host.order(step=1)
    host.keep(1)
    assert actual(host)[0] == 250
    assert host.status().alarm_bits() == {3}


# -- states


@pytest.mark.parametrize(("name", "bit"), STATES.items())
def test_a_state_with_nothing_behind_it_can_be_shown(name: str, bit: int) -> None:
    host = running()
    before = host.status().bits()
    host.control(do="show", name=name, state="on")
    assert host.status().bits() - before == {bit}
    host.control(do="show", name=name, state="off")
    assert host.status().bits() == before


def test_it_is_ready_when_it_could_start() -> None:
    host = pump()
    host.take()
    assert host.status().bits() == {3, 4}
    host.order(1000, 200)
    assert host.status().bits() == {3, 4, 6}
    host.act(0)
    assert host.status().bits() == {3, 4, 7, 8}
    host.control(do="power_off")
    assert host.status().bits() == {3, 7, 8}


def test_standby_rests_for_its_time() -> None:
    host = taken()
    host.order(standby=2)
    assert host.act(8) == OK
    host.keep(30)
    assert 5 in host.status().bits()
    assert actual(host)[5] == 1
    assert host.act(0) == NOT_POSSIBLE
    assert host.act(8, 0) == OK
    assert host.status().bits() & {5, 6} == {6}
    assert running().act(8) == NOT_POSSIBLE
    endless = taken()
    endless.act(8)
    assert actual(endless)[5] == 0xFFFF


def test_the_data_lock_locks_the_keypad() -> None:
    host = taken(mode=1)
    assert host.act(2) == OK
    assert 16 in host.status().bits()
    assert "keypad locked" in host.device.control({"do": "set_rate", "ml_h": 5})["error"]
    host.wait(2.1)
    host.take(1)
    assert host.act(2, 0) == OK
    host.control(do="set_rate", ml_h=5)
    assert SET_VALUES.unpack(host.read_segment(0x04))[0] == 500


@pytest.mark.parametrize("means_active", [True, False])
def test_drop_monitoring(means_active: bool) -> None:
    host = pump(type_number="202", invented={"drop_bit_means_active": means_active})
    host.take(identity=202 << 18 | 12345)
    assert (17 in host.status().bits()) is means_active
    assert host.act(7, 0) == OK
    assert (17 in host.status().bits()) is not means_active
    host.order(10000, 200)
    host.act(0)
    host.control(do="occlude", where="upstream")
    host.keep(120)
    assert host.status().alarms == 0  # the motor turns, and nothing comes
    assert (host.truth["infusing"], host.truth["flow_ml_h"]) == (True, 0.0)
    host.act(7)
    host.keep(31)
    assert host.status().alarm_bits() == {5}
    assert taken().act(7) == NOT_POSSIBLE
    assert 17 not in taken().status().bits()


# -- the keypad


def test_a_key_holds_off_what_is_written_for_two_seconds() -> None:
    host = running(mode=1)
    host.control(do="press", key="rate_up")
    for order in (lambda: host.order(500), lambda: host.act(0, 0), lambda: host.say(0x13, b"\xff" * 24)):
        assert order() == KEYPAD
    assert host.say(0x10, struct.pack(">IBBI", 0x0FEC3039 ^ KEEP4, 2, 0xFF, KEEP4)) == KEYPAD
    assert 11 in host.status().bits()
    host.keep(1.99)
    assert host.order(500) == KEYPAD
    host.keep(0.02)
    assert 11 not in host.status().bits()
    assert host.order(500) == OK


def test_the_two_seconds_are_of_the_wire() -> None:
    host = taken(mode=1, speed=60.0)
    host.control(do="press", key="lock")
    host.keep(1.9)
    assert host.act(0) == KEYPAD
    host.keep(0.2)
    assert host.act(0) == OK


def test_a_stop_may_pass() -> None:
    host = running(mode=1, invented={"keypad_holds_off_stop": False})
    host.control(do="press", key="rate_up")
    assert host.order(500) == KEYPAD
    assert host.act(0, 0) == OK


def test_what_is_set_at_the_keypad_is_told_and_asked_to_be_read() -> None:
    host = running(1000, 200, mode=1)
    host.control(do="set_rate", ml_h=20.0)
    status = host.status()
    assert (status.requests, status.rate) == (1, 2000)
    assert host.status().requests == 0
    host.control(do="set_limit", ml=5.0)
    assert (host.status().requests, host.status().vtbd) == (1, 50)
    host.control(do="press", key="mute")
    assert host.status().requests == 4
    host.control(do="new_syringe", fill_ml=20.0)
    assert host.status().requests == 2
    host.control(do="dose", weight_kg=70, concentration=2, dose_rate=0.5)
    assert host.status().requests == 8
    host.order(1500)
    assert host.status().requests == 0


def test_a_request_may_stand_until_its_segment_is_read() -> None:
    host = running(mode=1, invented={"told_requests_are_over": False})
    host.control(do="set_rate", ml_h=20.0)
    host.control(do="new_syringe", fill_ml=20.0)
    host.control(do="dose", weight_kg=70, concentration=2, dose_rate=0.5)
    host.control(do="press", key="mute")
    assert host.status().requests == 15
    for segment, left in ((0x04, 10), (0x06, 8), (0x07, 0)):
        host.read_segment(segment)
        assert host.status().requests == left


@pytest.mark.parametrize("works", [True, False])
def test_nobody_but_the_host_has_a_pump_in_mode_2(works: bool) -> None:
    host = running(invented={"stop_key_works_in_remote_only": works})
    for request in (
        {"do": "set_rate", "ml_h": 99.0},
        {"do": "set_limit", "ml": 9.0},
        *({"do": "press", "key": key} for key in ("rate_up", "bolus", "clear", "standby", "lock", "accept", "run")),
    ):
        assert "a host has the pump" in host.device.control(request)["error"], request
    host.control(do="press", key="mute")
    assert host.truth["set_rate_ml_h"] == 10.0
    assert host.status().alarm_bits() == set()
    assert host.device.control({"do": "press", "key": "stop"})["ok"] is works
    assert host.status().alarm_bits() == {16}
    assert host.truth["infusing"] is not works


def test_in_mode_1_the_keypad_works() -> None:
    host = running(mode=1)
    host.control(do="press", key="stop")
    assert host.status().bits() & {2, 6, 7} == {2, 6}
    host.control(do="press", key="run")
    assert host.status().bits() & {2, 6, 7} == {2, 7}
    assert host.status().alarms == 0


def test_a_proposal_waits_for_a_hand() -> None:
    host = taken(1000, 200, mode=1)
    assert host.read_segment(0x05) == b"\xff" * 24
    drug = b"Ketamin".ljust(20)
    assert host.say(0x13, drug + struct.pack(">I", 2500)) == OK
    assert host.read_segment(0x05) == drug + struct.pack(">I", 2500)
    assert host.say(0x13, drug + struct.pack(">I", 99_999)) == bytes((0x15, Nak.OUT_OF_RANGE))
    assert SET_VALUES.unpack(host.read_segment(0x04))[0] == 1000
    host.control(do="press", key="accept")
    values = SET_VALUES.unpack(host.read_segment(0x04))
    assert (values[0], values[-1]) == (2500, drug)
    assert "nothing is proposed" in host.device.control({"do": "press", "key": "accept"})["error"]


# -- actions


def test_the_counters_are_cleared_one_by_one() -> None:
    host = running(6000, 200)
    host.keep(120)
    assert actual(host)[1:3] == (20, 2)
    assert host.act(3) == OK
    assert actual(host)[1:3] == (20, 0)
    host.keep(60)
    assert host.act(4) == OK
    assert actual(host)[1:3] == (0, 1)
    assert host.status().vtbd == 170
    assert host.act(3, 0) == host.act(4, 0) == NOT_POSSIBLE


@pytest.mark.parametrize("seconds", [1.0, 1.2])
def test_a_manual_bolus_lasts_as_long_as_it_is_asked_for(seconds: float) -> None:
    host = running(1000, 200, invented={"manual_bolus_s": seconds})
    host.order(bolus_rate=36000)
    assert host.act(5) == OK
    assert host.status().bits() & {7, 8, 9, 10} == {7, 9}
    assert host.status().rate == 36000
    host.wait(seconds - 0.001)
    assert host.act(5) == OK
    host.wait(0.5)
    assert 9 in host.status().bits()
    host.wait(seconds - 0.499)
    assert host.status().bits() & {7, 8, 9} == {7, 8}
    assert host.status().rate == 1000
    assert actual(host)[9] == int((2 * seconds - 0.001) / 10 * 10 + 1e-6)
    assert host.truth["plunger_ml"] == pytest.approx((2 * seconds - 0.001) * 0.1 + 0.5e-3 * 10 / 3.6e3, abs=1e-5)


def test_a_manual_bolus_is_ended() -> None:
    host = running()
    host.act(5)
    host.wait(0.2)
    assert host.act(5, 0) == OK
    assert host.status().rate == 1000
    host.act(5)
    assert host.act(0, 0) == OK
    host.wait(1.0)
    assert (host.truth["infusing"], host.status().bits() & {7, 9}) == (False, set())
    assert host.act(5) == NOT_POSSIBLE


def test_a_manual_bolus_does_not_outlive_its_host() -> None:
    host = running()
    host.act(5)
    host.wait(10)
    assert host.truth["rate_ml_h"] == 10.0


def test_a_volume_bolus_is_given_and_the_rate_goes_on() -> None:
    host = running(1000, 200)
    assert host.act(6) == NOT_POSSIBLE  # none was set
    host.order(bolus_rate=60000, bolus=20)
    assert host.act(6) == OK
    assert host.status().bits() & {7, 9, 10} == {7, 10}
    assert host.act(5) == NOT_POSSIBLE
    host.keep(6)
    assert actual(host)[9] == 10
    host.keep(6.5)
    assert (actual(host)[9], host.status().rate, host.status().bits() & {8, 10}) == (20, 1000, {8})
    assert host.truth["plunger_ml"] == pytest.approx(2.0, abs=2e-3)
    assert host.status().vtbd == 180


def test_a_volume_bolus_is_stopped_and_forgotten() -> None:
    host = running(1000, 200)
    host.order(bolus_rate=60000, bolus=20)
    host.act(6)
    host.keep(3)
    assert host.act(6, 0) == OK
    assert host.status().rate == 1000
    assert host.act(6) == NOT_POSSIBLE
    assert SET_VALUES.unpack(host.read_segment(0x04))[4] == 0


def test_boluses_count_towards_the_vtbd() -> None:
    host = running(1000, 10, invented={"kvo_ml_h": 0.0})
    host.order(bolus_rate=60000, bolus=20)
    host.act(6)
    host.keep(20)
    assert host.truth["plunger_ml"] == pytest.approx(1.0, abs=1e-9)
    assert host.status().alarm_bits() == {12}


def test_interval_bolus_and_dose_are_turned_off() -> None:
    host = taken()
    host.control(do="show", name="interval_bolus_set", state="on")
    host.control(do="show", name="interval_bolus_running", state="on")
    host.control(do="dose", weight_kg=70, concentration=2, dose_rate=0.5)
    assert host.read_segment(0x07)[:11] == struct.pack(">HIBI", 7000, 200, 0, 50)
    assert host.status().bits() & {12, 22, 23} == {12, 22, 23}
    assert host.act(0x0A) == host.act(0x0B) == OK
    assert host.status().bits() & {12, 22, 23} == set()
    assert host.read_segment(0x07) == b"\xff" * 21


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_history_remembers_ten_rates(newest_first: bool) -> None:
    host = running(1000, invented={"history_newest_first": newest_first})
    for rate in range(2000, 13000, 1000):
        host.keep(60)
        host.order(rate)
    told = host.read_segment(0x08)
    assert struct.unpack(">H", told[:2]) == (11,)
    rates = [struct.unpack(">HI", told[at : at + 6])[1] for at in range(2, 62, 6)]
    assert rates == sorted(range(3000, 13000, 1000), reverse=newest_first)
    assert 18 in host.status().bits()
    host.act(9)
    assert host.read_segment(0x08)[2:] == b"\xff" * 60
    assert 18 not in host.status().bits()


def test_it_goes_on_with_what_was_reloaded() -> None:
    host = running(6000, 10)
    assert host.say(0x14, struct.pack(">BII", 1, 3000, 5)) == OK
    assert host.read_segment(0x09) == struct.pack(">BII", 1, 3000, 5)
    assert 24 in host.status().bits()
    host.keep(61)
    status = host.status()
    assert (status.rate, status.vtbd, status.alarms, 24 in status.bits()) == (3000, 5, 0, False)
    host.keep(61)
    assert host.status().alarm_bits() == {12, 17}
    assert host.truth["plunger_ml"] == pytest.approx(1.5, abs=1e-3)
    assert host.say(0x14, struct.pack(">BII", 1, 0, 5)) == bytes((0x15, Nak.DOES_NOT_FIT))


# -- limits, container, power


@pytest.mark.parametrize(("kind", "most", "pre_alarm"), [("1019", 20000, 3), ("1200", 9990, 3), ("202", 99990, 0xFF)])
def test_the_limits_are_those_that_hold(kind: str, most: int, pre_alarm: int) -> None:
    host = pump(type_number=kind)
    told = struct.unpack(">IBBIIBIBIHIHBIIII", host.read_segment(0x06))
    assert (told[3], told[5], told[2], told[7]) == (most, pre_alarm, 1, 9)
    assert told[-4:] == (told[3], told[4], told[3], told[4])
    host.take(identity=int(kind) << 18 | 12345)
    assert host.order(most) == host.order(told[4]) == OK
    assert host.order(most + 1) == host.order(told[4] - 1) == bytes((0x15, Nak.OUT_OF_RANGE))
    assert host.order(vtbd=told[8]) == OK
    assert host.order(vtbd=told[8] + 1) == bytes((0x15, Nak.OUT_OF_RANGE))


def test_an_infusomat_gives_from_its_bag() -> None:
    host = pump(type_number="202", fill_ml=100.0)
    host.take(identity=202 << 18 | 12345)
    host.order(12000, 100)
    host.act(0)
    host.keep(301)
    assert host.truth["plunger_ml"] == pytest.approx(10.0, abs=1.5e-3)
    assert host.truth["left_ml"] == pytest.approx(90.0, abs=1.5e-3)
    assert actual(host)[6] == 0xFFFF
    assert host.status().alarm_bits() == {12, 17}


def test_an_open_set_runs_by_gravity() -> None:
    host = pump(type_number="202", fill_ml=100.0)
    host.control(do="free_flow", state="on")
    host.wait(36)
    assert host.truth["plunger_ml_by"]["gravity"] == pytest.approx(15.0)
    assert host.status().alarm_bits() == {8}


@pytest.mark.parametrize("request_", [{"do": "air", "ml": 1}, {"do": "door", "state": "open"}])
def test_a_perfusor_has_no_door(request_: dict[str, Any]) -> None:
    host = pump()
    assert "no such thing" in host.device.control(request_)["error"]
    assert "no line upstream" in host.device.control({"do": "occlude", "where": "upstream"})["error"]


def test_the_battery_carries_it_and_is_told() -> None:
    host = running(battery_min=60.0)
    assert actual(host)[4] == 60
    host.control(do="power_off")
    host.keep(60.5)
    assert (actual(host)[4], host.truth["infusing"]) == (58, True)
    host.keep(57 * 60)
    assert host.status().alarm_bits() >= {6, 7}
    assert host.truth["infusing"] is False
    host.wait(240)
    assert host.say(0x02) == b""
    host.control(do="power_on")
    host.letter = 0
    assert host.status().bits() & {1, 4, 7} == {1, 4}
    assert host.take() == OK


def test_a_purge_is_seen() -> None:
    host = taken(mode=1)
    host.control(do="press", key="purge")
    assert host.status().bits() & {7, 19} == {19}
    host.wait(2.1)
    host.take(1)
    assert host.act(0, 0) == OK
    assert host.truth["infusing"] is False


@pytest.mark.parametrize("in_kvo", [True, False])
def test_kvo_may_be_told_as_running_or_not(in_kvo: bool) -> None:
    host = running(6000, 1, invented={"running_in_kvo": in_kvo})
    host.keep(7)
    assert host.status().bits() & {7, 13} == ({7, 13} if in_kvo else {13})
    assert host.truth["rate_ml_h"] == 1.0


def test_a_bolus_at_the_keypad_is_not_the_hosts() -> None:
    host = running(mode=1)
    host.act(5)
    host.act(0, 0)
    host.act(0)
    host.control(do="press", key="bolus")
    host.keep(3.0)
    assert host.status().bits() & {7, 9} == {7, 9}
    host.control(do="press", key="bolus")
    assert host.status().bits() & {7, 8, 9} == {7, 8}


def test_times_that_the_notes_do_not_give_can_be_chosen() -> None:
    host = running(6000, 1, invented={"kvo_s": 60.0, "reminder_s": 0.0})
    host.keep(67)
    assert host.status().alarm_bits() == {12, 15}
    host.control(do="press", key="mute")
    host.keep(600)
    assert host.status().alarms == 0
    early = taken(invented={"reminder_s": 30.0})
    early.keep(31)
    assert early.status().alarm_bits() == {10}
    bag = pump(type_number="202", invented={"drops_s": 5.0})
    bag.take(identity=202 << 18 | 12345)
    bag.order(36000, 200)
    bag.act(0)
    bag.control(do="occlude", where="upstream")
    bag.keep(9)  # half a mL is drawn out of the closed set first
    assert bag.status().alarms == 0
    bag.keep(2)
    assert bag.status().alarm_bits() == {5}
