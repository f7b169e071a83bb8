from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from simulator.device import Device
from simulator.infuser import KEYS, Doing, Infuser
from simulator.pump import Refused
from simulator.troubles import RULES, Trouble, rules
from tests.unit.simulator.toy_family import MANNERS, infuser, pass_time, registered, started


def manners(**changes: Any) -> Any:
    return dataclasses.replace(MANNERS, **changes)


def test_it_gives_rate_times_time_and_stops_at_the_limit_exactly() -> None:
    face = started(60.0, 1.0)
    pass_time(face, 30)
    assert (face.doing, face.infused_ml) == (Doing.RUNNING, pytest.approx(0.5))
    assert (face.limit_left_ml, face.time_left_s) == (pytest.approx(0.5), pytest.approx(30))
    pass_time(face, 3000)
    assert face.doing is Doing.HELD
    assert face.body.plunger_ml == pytest.approx(1.0, abs=1e-9)
    assert Trouble.LIMIT in face.troubles
    with pytest.raises(Refused, match="limit reached"):
        face.start()
    face.set_limit(0.5)
    face.start()
    pass_time(face, 3000)
    assert face.infused_ml == pytest.approx(1.5)


def test_at_the_limit_it_keeps_the_vein_open_for_its_time() -> None:
    face = started(60.0, manners=manners(at_limit="kvo"), limit_ml=1.0)
    pass_time(face, 60.5)
    assert (face.doing, face.motor_rate_ml_h) == (Doing.KVO, 0.5)
    assert {Trouble.LIMIT, Trouble.KVO} <= set(face.troubles)
    pass_time(face, 3600)
    assert face.doing is Doing.HELD
    assert face.infused_ml == pytest.approx(1.5)
    assert Trouble.KVO not in face.troubles
    assert Trouble.KVO_OVER in face.troubles


def test_or_it_goes_on() -> None:
    face = started(60.0, manners=manners(at_limit="continue"), limit_ml=1.0)
    pass_time(face, 90)
    assert (face.doing, Trouble.LIMIT in face.troubles) == (Doing.RUNNING, True)
    face.set_rate(120.0)
    pass_time(face, 30)
    assert face.body.plunger_ml == pytest.approx(2.5)


def test_no_limit_means_none() -> None:
    face = started(60.0)
    assert face.limit_left_ml is None
    assert face.time_left_s == pytest.approx(3000)
    pass_time(face, 2880 - 1)
    assert Trouble.NEAR_EMPTY not in face.troubles
    pass_time(face, 2)
    assert Trouble.NEAR_EMPTY in face.troubles
    pass_time(face, 200)
    assert (face.doing, face.infused_ml) == (Doing.HELD, pytest.approx(50))
    assert Trouble.EMPTY in face.troubles
    assert Trouble.NEAR_EMPTY not in face.troubles
    with pytest.raises(Refused, match="container_empty"):
        face.start()


@pytest.mark.parametrize("at_limit", ["stop", "kvo", "continue"])
def test_its_time_is_over_as_its_volume_is(at_limit: str) -> None:
    face = started(60.0, 10.0, manners=manners(at_limit=at_limit))
    face.set_time_limit(90.0)
    assert face.time_left_s == pytest.approx(90)
    pass_time(face, 60, 7.0)
    assert (face.doing, face.time_left_s, face.troubles) == (Doing.RUNNING, pytest.approx(30), ())
    pass_time(face, 30.001)
    ends = {"stop": Doing.HELD, "kvo": Doing.KVO, "continue": Doing.RUNNING}
    assert face.doing is ends[at_limit]
    assert face.infused_ml == pytest.approx(1.5, abs=1e-4)
    assert Trouble.TIME_OVER in face.troubles
    pass_time(face, 60)
    assert face.infused_ml == pytest.approx({"stop": 1.5, "kvo": 1.5 + 0.5 / 60, "continue": 2.5}[at_limit], abs=1e-3)
    if at_limit == "continue":
        pass_time(face, 3600)
        assert (face.limit_left_ml, Trouble.LIMIT in face.troubles) == (0, True)
        return
    if face.doing is Doing.KVO:
        face.stop()
    face.acknowledge()
    with pytest.raises(Refused, match="time over"):
        face.start()
    face.set_time_limit(None)
    face.start()
    assert face.time_left_s == pytest.approx(510, abs=1)
    with pytest.raises(Refused, match="time out of range"):
        face.set_time_limit(0.0)


@pytest.mark.parametrize("step", [1e9, 7.0, 0.1])
@pytest.mark.parametrize("rate_ml_h", [60.0, 13.7, 6.1])
def test_a_volume_that_ends_with_its_time_is_told_as_the_volume(rate_ml_h: float, step: float) -> None:
    face = started(rate_ml_h, rate_ml_h / 60)
    face.set_time_limit(60.0)
    pass_time(face, 61, step)
    assert Trouble.LIMIT in face.troubles
    assert Trouble.TIME_OVER not in face.troubles


def test_what_was_forced_stands_again_when_power_returns() -> None:
    face = started(60.0, 10.0, manners=manners(resumes_after_power=True))
    face.meddle({"do": "alarm", "name": "drop_sensor"})
    face.power_off()
    face.power_on()
    assert (face.troubles, face.doing) == ((Trouble.DROPS,), Doing.HELD)
    warned = started(60.0, 10.0, manners=manners(resumes_after_power=True))
    warned.power_off()
    warned.meddle({"do": "alarm", "name": "drop_sensor"})
    warned.power_on()
    assert (warned.troubles, warned.doing) == ((Trouble.DROPS,), Doing.HELD)


def test_a_container_is_near_empty_by_volume_or_by_time() -> None:
    face = started(60.0, manners=manners(near_empty_ml=2.0, near_empty_s=180.0))
    pass_time(face, 3000 - 181)
    assert Trouble.NEAR_EMPTY not in face.troubles
    pass_time(face, 2)
    assert Trouble.NEAR_EMPTY in face.troubles
    face.set_rate(10.0)
    pass_time(face, 1)
    assert Trouble.NEAR_EMPTY not in face.troubles


def test_it_looks_around_as_it_is_switched_on() -> None:
    assert infuser(battery_min=10.0).troubles == (Trouble.BATTERY_LOW,)
    face = infuser(fill_ml=1.0)
    assert face.troubles == (Trouble.NEAR_EMPTY,)
    face.power_off()
    face.power_on()
    assert face.troubles == (Trouble.NEAR_EMPTY,)


def test_a_syringe_pump_has_no_door() -> None:
    with pytest.raises(Refused, match="no such thing"):
        infuser().meddle({"do": "door", "state": "open"})


def test_the_rate_is_changed_at_once_or_not_at_all() -> None:
    face = started(60.0)
    pass_time(face, 60)
    face.set_rate(30.0)
    pass_time(face, 60)
    assert face.infused_ml == pytest.approx(1.5)
    with pytest.raises(Refused, match="rate out of range"):
        face.set_rate(1201.0)
    with pytest.raises(Refused, match="rate out of range"):
        face.set_rate(0.0)
    stubborn = started(60.0, manners=manners(rate_while_running=False))
    with pytest.raises(Refused, match="running"):
        stubborn.set_rate(30.0)
    soft = started(60.0, manners=manners(zero_rate_stops=True))
    soft.set_rate(0.0)
    assert soft.doing is Doing.HELD


def test_a_bolus_goes_on_as_before_and_counts_towards_the_limit() -> None:
    face = started(60.0, 10.0)
    pass_time(face, 60)
    face.bolus(2.0, "keypad")
    assert face.motor_rate_ml_h == MANNERS.bolus_ml_h
    pass_time(face, 2.0 / 500 * 3600 + 60)
    assert (face.doing, face.bolus_ml) == (Doing.RUNNING, pytest.approx(2.0))
    assert face.infused_ml == pytest.approx(4.0)
    assert face.limit_left_ml == pytest.approx(6.0)
    assert face.motions.by == {"wire": pytest.approx(2.0), "keypad": pytest.approx(2.0)}
    face.bolus()
    pass_time(face, 3600)
    assert (face.doing, face.infused_ml) == (Doing.HELD, pytest.approx(10.0))


def test_a_bolus_and_a_purge_while_it_stands() -> None:
    face = infuser()
    face.press("bolus")
    pass_time(face, 36)
    face.press("bolus")
    assert (face.doing, face.infused_ml) == (Doing.HELD, pytest.approx(5.0))
    face.press("purge")
    pass_time(face, 36)
    face.press("purge")
    assert (face.doing, face.infused_ml) == (Doing.HELD, pytest.approx(5.0))
    assert face.body.plunger_ml == pytest.approx(10.0)


def test_the_counter_is_cleared_alone() -> None:
    face = started(60.0, 10.0)
    pass_time(face, 60)
    face.clear_infused()
    assert (face.infused_ml, face.running_s, face.limit_left_ml) == (0.0, 0.0, pytest.approx(9.0))


def test_an_occlusion_is_told_from_an_empty_syringe() -> None:
    face = started(60.0)
    face.body.occlude()
    pass_time(face, 3600)
    assert face.body.pressure_mmhg == pytest.approx(500.0)
    assert (face.troubles, face.doing, face.raised) == ((Trouble.OCCLUSION,), Doing.HELD, [Trouble.OCCLUSION])
    assert face.board.raised == [Trouble.OCCLUSION]
    face.start()
    assert face.troubles == ()
    pass_time(face, 10)
    assert face.troubles == (Trouble.OCCLUSION,)


def test_keys_are_counted_and_a_locked_keypad_only_stops() -> None:
    face = started()
    before = face.key_events
    face.press("lock")
    with pytest.raises(Refused, match="keypad locked"):
        face.press("rate_up")
    with pytest.raises(Refused, match="keypad locked"):
        face.dial_rate(80.0)
    face.press("stop")
    assert (face.doing, face.key_events) == (Doing.HELD, before + 4)


def test_a_remote_pump_tells_an_operators_hand() -> None:
    face = started()
    face.remote_only = True
    face.press("stop")
    assert (face.doing, face.troubles) == (Doing.HELD, (Trouble.OPERATOR,))
    with pytest.raises(Refused, match="a host has the pump"):
        face.press("run")


def test_the_keypad_is_booked_apart() -> None:
    face = started(60.0)
    pass_time(face, 60)
    face.press("rate_up")
    pass_time(face, 60)
    assert face.motions.by == {"wire": pytest.approx(1.0), "keypad": pytest.approx(1.1)}
    assert face.motions.last[-1].wire_rate_ml_h == 60.0


def test_mains_and_battery_are_told_at_their_moments() -> None:
    face = started(6.0)
    face.battery.on_mains = False
    face.notice()
    assert face.troubles == (Trouble.MAINS_LOST,)
    pass_time(face, 1799)
    assert face.troubles == (Trouble.MAINS_LOST,)
    pass_time(face, 2)
    assert face.troubles == (Trouble.MAINS_LOST, Trouble.BATTERY_LOW)
    pass_time(face, 1800 - 180)
    assert Trouble.BATTERY_EMPTY in face.troubles
    assert face.doing is Doing.HELD
    face.battery.on_mains = True
    face.notice()
    assert face.troubles == (Trouble.BATTERY_LOW,)


def test_it_reminds_and_standby_ends() -> None:
    face = infuser()
    pass_time(face, 119)
    assert face.troubles == ()
    pass_time(face, 2)
    assert face.troubles == (Trouble.REMINDER,)
    face.press("mute")
    assert (face.troubles, face.muted) == ((), True)
    face.standby(300.0)
    pass_time(face, 299)
    assert (face.troubles, face.doing) == ((), Doing.STANDBY)
    with pytest.raises(Refused, match="in standby"):
        face.start()
    pass_time(face, 2)
    assert (face.troubles, face.doing) == ((Trouble.STANDBY_OVER,), Doing.HELD)


def test_the_near_end_is_told_in_time() -> None:
    face = started(60.0, 10.0)
    pass_time(face, 419)
    assert face.troubles == ()
    pass_time(face, 2)
    assert face.troubles == (Trouble.NEAR_END,)


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_can_be_shown_and_ends(trouble: Trouble) -> None:
    face = started()
    face.meddle({"do": "alarm", "name": trouble.value})
    face.notice()
    pass_time(face, 1)
    assert trouble in face.troubles
    assert (face.doing is Doing.HELD) == RULES[trouble].stops
    if RULES[trouble].stops:
        with pytest.raises(Refused, match="alarm"):
            face.start()
    face.acknowledge()
    assert (trouble in face.troubles, face.sounding) == (True, False)
    face.meddle({"do": "alarm_over", "name": trouble.value})
    assert trouble not in face.troubles


def test_what_holds_waits_for_a_person_and_what_tells_does_not() -> None:
    face = started()
    for name in ("air_in_line", "mains_lost"):
        face.meddle({"do": "alarm", "name": name})
        face.meddle({"do": "alarm_over", "name": name})
    assert face.troubles == (Trouble.AIR,)
    face.acknowledge()
    assert face.troubles == ()


def test_a_family_without_an_alarm_never_raises_it() -> None:
    face = started(60.0, 1.0, manners=manners(rules=rules(Trouble.OCCLUSION)))
    pass_time(face, 3600)
    assert (face.troubles, face.doing) == ((), Doing.HELD)


def test_power_comes_back_held_with_its_settings() -> None:
    face = started(60.0, 10.0)
    pass_time(face, 60)
    face.power_off()
    pass_time(face, 60)
    face.power_on()
    assert (face.doing, face.rate_ml_h, face.infused_ml) == (Doing.HELD, 60.0, pytest.approx(1.0))
    eager = started(60.0, 10.0, manners=manners(resumes_after_power=True))
    eager.power_off()
    eager.power_on()
    assert (eager.doing, eager.motions.last[-1].by) == (Doing.RUNNING, "power return")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_does_something_or_says_why_not(key: str) -> None:
    done = 0
    standing = infuser()
    standing.set_rate(60.0)
    for face in (standing, started(60.0, 10.0)):
        before = face.logged
        try:
            face.press(key)
        except Refused:
            continue
        done += 1
        assert face.logged > before + 1
    assert done


def test_how_time_is_cut_changes_nothing() -> None:
    def end(step: float) -> Infuser:
        face = started(100.0, 3.0, manners=manners(at_limit="kvo", kvo_s=500.0))
        face.battery.on_mains = False
        face.notice()
        pass_time(face, 3000, step)
        return face

    once, often = end(math.inf), end(0.7)
    assert often.infused_ml == pytest.approx(once.infused_ml, abs=1e-6)
    assert [(h.what, h.trouble) for h in often.log] == [(h.what, h.trouble) for h in once.log]
    assert [h.time_s for h in often.log] == pytest.approx([h.time_s for h in once.log], abs=1e-3)


def test_the_device_knows_it_by_its_protocols_alone() -> None:
    with registered():
        device = Device("toy", true_diameter_mm=20.0, serial="T-9")
        device.receive(b"rate 60\nlimit 1\nstart\n", 0.0)
        assert device.outgoing(0.0) == b"held 0.000\nheld 0.000\nrunning 0.000\n"
        device.advance(59.9)
        assert device.outgoing(59.9) == b"! near_end\n"
        assert device.outgoing(60.1) == b"! limit_reached\n"
        assert device.truth()["alarms"] == ["limit_reached"]
        assert device.truth()["mouth"] == "toy"
        assert device.control({"do": "press", "key": "off"})["error"].startswith(
            "press: key = 'off': expected one of run"
        )
        assert device.control({"do": "alarm", "name": "door_open"}) == {"ok": True}
        assert device.outgoing(60.1) == b"! door_open\n"
        device.control({"do": "power_off"})
        assert device.outgoing(60.1) == b"! mains_lost\n"
        assert device.truth()["powered"] is True
        assert device.outgoing(4000.0).startswith(b"! battery_low\n")
        assert device.truth()["powered"] is False
    assert Device().control({"do": "alarm", "name": "door_open"})["error"] == "alarm: a newera pump has no such thing"
    with pytest.raises(ValueError, match="serial: a newera pump has no such setting; it has address"):
        Device(serial="T-9")


@pytest.mark.parametrize("limit_ml", [0.1, 0.3, 1.7, 3.3])
@pytest.mark.parametrize("step", [0.37, 1.1, 7.7])
def test_at_the_limit_nothing_is_left_but_nothing(limit_ml: float, step: float) -> None:
    face = started(37.7, limit_ml)
    pass_time(face, 400, step)
    assert face.limit_left_ml == 0.0
    assert face.infused_ml == pytest.approx(limit_ml, abs=1e-12)


def test_a_new_alarm_sounds_again() -> None:
    face = started(60.0)
    face.alarm(Trouble.MAINS_LOST, caused=True)
    face.press("mute")
    assert (face.muted, face.sounding) == (True, False)
    face.alarm(Trouble.PCA_LIMIT)
    assert (face.muted, face.sounding) == (False, True)


def test_the_vein_is_kept_open_no_faster_than_it_was_infused() -> None:
    face = started(0.3, 0.1, manners=manners(at_limit="kvo"))
    pass_time(face, 1201)
    assert (face.doing, face.motor_rate_ml_h) == (Doing.KVO, 0.3)


def test_where_the_limit_restarts_each_start_gives_it_all() -> None:
    for restarts, left_ml in ((False, 0.5), (True, 1.0)):
        face = started(60.0, 1.0, manners=manners(limit_restarts=restarts))
        pass_time(face, 30)
        face.stop()
        face.start()
        assert face.limit_left_ml == pytest.approx(left_ml)


def test_a_start_acknowledges_or_waits_for_a_person() -> None:
    for acknowledges in (True, False):
        face = started(60.0, manners=manners(start_acknowledges=acknowledges))
        face.alarm(Trouble.OCCLUSION)
        if acknowledges:
            face.start()
            assert face.troubles == ()
        else:
            with pytest.raises(Refused, match="alarm occlusion"):
                face.start()
            face.press("mute")
            face.start()


def test_the_dark_takes_alarms_and_may_take_the_counter() -> None:
    for survives, infused_ml in ((True, 1.0), (False, 0.0)):
        face = started(60.0, manners=manners(counters_survive_power_cut=survives))
        pass_time(face, 60)
        face.alarm(Trouble.OCCLUSION)
        face.power_off()
        face.power_on()
        assert (face.troubles, face.infused_ml) == ((), pytest.approx(infused_ml))


def test_past_its_limit_a_pump_that_goes_on_takes_a_bolus_too() -> None:
    face = started(60.0, 1.0, manners=manners(at_limit="continue"))
    pass_time(face, 90)
    face.bolus(2.0, "keypad")
    pass_time(face, 14.4 + 60)
    assert (face.doing, face.infused_ml) == (Doing.RUNNING, pytest.approx(1.5 + 2.0 + 1.0))
    assert face.motions.by == {"wire": pytest.approx(2.5), "keypad": pytest.approx(2.0)}


def test_a_bolus_that_reaches_the_limit_ends_there() -> None:
    face = started(60.0, 3.0)
    pass_time(face, 60)
    face.bolus(2.0)
    pass_time(face, 60)
    assert (face.doing, face.troubles, face.limit_left_ml) == (Doing.HELD, (Trouble.LIMIT,), 0.0)


def test_what_was_acknowledged_and_still_stands_is_not_raised_anew() -> None:
    face = started(6.0)
    face.battery.on_mains = False
    face.notice()
    face.acknowledge()
    face.board.raised.clear()
    pass_time(face, 1)
    assert (face.troubles, face.sounding, face.board.raised) == ((Trouble.MAINS_LOST,), False, [])
