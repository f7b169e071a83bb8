"""Losing sight, proving the pump again, coming back (S7, S10, S11, S15)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.sight import differs
from pumpd.core.state import Phase, Sight
from pumpd.driver import Motion
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, RATE, STANDING, WHO, Case

OURS = replace(WHO, rate=RATE, limit=Ml(35))
WITH_SERIAL = replace(OURS, serial="4711")


def blind(case: Case, seconds: float = 0.0) -> Case:
    case.feed(ev.LinkDown("no reply"), seconds)
    return case


def back(case: Case, seconds: float = 5.0, **changes: object) -> Case:
    ours = case.state.ours
    assert ours is not None
    case.feed(ev.LinkUp(replace(ours, **changes)), seconds)
    return case


# --- who it is ---


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"model": "NE4000"}, "model NE4000 instead of NE1000"),
        ({"version": "V1.0"}, "version V1.0 instead of V3.92"),
        ({"fingerprint": (("address", "01"), ("diameter", "26.59"))}, "address 01 instead of 00"),
        ({"fingerprint": (("address", "00"), ("diameter", "14.48"))}, "diameter 14.48 instead of 26.59"),
        ({"fingerprint": (("address", "00"),)}, "diameter nothing instead of 26.59"),
        ({"rate": MlPerHour(20)}, "rate 20 mL/h instead of 46.66 mL/h"),
        ({"limit": Ml(20)}, "limit 20 mL instead of 35 mL"),
    ],
)
def test_a_fingerprint_tells_pumps_apart(changes: dict[str, object], words: str) -> None:
    assert differs(OURS, replace(OURS, **changes)) == words


@pytest.mark.shows("S15")
def test_a_serial_number_decides_where_both_have_one() -> None:
    assert differs(WITH_SERIAL, replace(WITH_SERIAL, version="V9", limit=Ml(1))) == ""
    assert differs(WITH_SERIAL, replace(WITH_SERIAL, serial="4712")) == "serial 4712 instead of 4711"
    assert differs(WITH_SERIAL, replace(OURS, version="V9")) == "version V9 instead of V3.92"


def test_a_rate_on_its_way_may_have_been_taken_or_not() -> None:
    order = ev.SetRate(3, MlPerHour(20), False)
    assert differs(OURS, replace(OURS, rate=MlPerHour(20)), order) == ""
    assert differs(OURS, OURS, order) == ""
    assert "rate" in differs(OURS, replace(OURS, rate=MlPerHour(21)), order)
    assert "limit" in differs(OURS, replace(OURS, limit=Ml(9)), order)


def test_a_loading_that_was_cut_may_have_left_any_rate_and_limit_but_no_other_pump() -> None:
    order = ev.Tighten(3, MlPerHour(20), Ml(9))
    assert differs(OURS, replace(OURS, rate=MlPerHour(21), limit=Ml(1)), order) == ""
    assert "version" in differs(OURS, replace(OURS, version="V9"), order)


# --- the proof ---


@pytest.mark.shows("S7", "S15")
def test_blind_is_an_alarm_and_seeing_again_needs_a_proof_and_a_reading() -> None:
    case = blind(Case().running(60))
    assert case.raised == {"comms_lost_pump"}
    assert (case.state.sight, case.state.report, case.state.connected) == (Sight.BLIND, None, None)
    back(case)
    assert case.state.sight is Sight.VERIFYING, "never straight from blind to seeing"
    case.read(INFUSING, RATE, case.state.volumes.counted + RATE.over(6).down(WHO_STEP))
    assert case.state.sight is Sight.SEEING
    assert ev.Clear("comms_lost_pump") in case.last
    assert case.phase is Phase.RUNNING


WHO_STEP = Ml("0.001").value


@pytest.mark.shows("S15")
def test_another_pump_is_told_and_gets_no_order() -> None:
    case = back(blind(Case().running(60)), version="V1.0")
    assert case.raised == {"pump_not_proved"}
    for _ in range(3):
        case.read(INFUSING, "90")
        assert not case.last
    assert case.state.sight is Sight.VERIFYING


@pytest.mark.shows("S15", "H62")
@pytest.mark.parametrize(
    ("grown", "proved"), [("-0.001", False), ("0", True), ("0.079", True), ("0.097", True), ("0.10", False)]
)
def test_the_counter_lies_between_its_last_value_and_the_most_it_can_have_reached(grown: str, proved: bool) -> None:
    """6 s at 46.66 mL/h are 0.078 mL; two counter steps of 0.01 mL come on top."""
    case = back(blind(Case().running(60)))
    case.read(INFUSING, RATE, case.state.volumes.last_count + Ml(grown))
    assert (case.state.sight is Sight.SEEING) is proved
    assert ("pump_not_proved" in case.state.conditions) is not proved


@pytest.mark.shows("S1", "S6")
def test_after_a_power_loss_a_counter_that_has_not_fallen_may_have_begun_again_all_the_same() -> None:
    case = Case().running()  # its counter stands at zero still
    blind(case, 3.0)
    case.told("pump_power_lost", 5.0)
    back(case, 300.0)
    case.read(STANDING, RATE, "0.000", dt=0.0)
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.counted == Ml(0)
    assert case.state.volumes.high >= RATE.over(300)


def test_after_a_power_loss_the_counter_may_begin_again() -> None:
    case = blind(Case().running(60))
    case.told("pump_power_lost")
    back(case)
    counted = case.state.volumes.counted
    case.read(STANDING, RATE, "0")
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.counted == counted
    assert case.state.volumes.segments == 2
    assert case.state.volumes.high >= counted + RATE.over(5), "it may have given that much before"


def test_a_serial_number_needs_no_counter() -> None:
    case = Case(who=replace(WHO, serial="4711")).running(60)
    back(blind(case))
    case.read(STANDING, RATE, "0")
    assert case.state.sight is Sight.SEEING


def test_a_doubted_counter_is_judged_again_when_the_line_comes_back() -> None:
    case = back(blind(Case().running(60)))
    case.read(INFUSING, RATE, "9")
    assert "pump_not_proved" in case.state.conditions
    back(blind(case, 1), 1)
    assert "pump_not_proved" not in case.state.conditions
    case.read(INFUSING, RATE, "0.85")
    assert case.state.sight is Sight.SEEING


# --- what was given meanwhile ---


@pytest.mark.shows("S6")
def test_while_blind_the_total_is_an_interval() -> None:
    case = back(blind(Case().running(600)), 60)
    before = case.state.volumes
    case.read(INFUSING, RATE, before.last_count + Ml("0.6"))
    after = case.state.volumes
    assert after.counted == before.counted + Ml("0.6")
    assert after.low <= before.low + Ml("0.6") <= after.high
    assert after.high <= before.high + RATE.over(61)


@pytest.mark.shows("S6")
def test_a_reading_without_a_counter_leaves_the_whole_interval_open() -> None:
    case = back(blind(Case().running(600)), 60)
    before = case.state.volumes
    case.feed(ev.PumpReported(replace(case_report(), counted=None)), 1)
    assert case.state.volumes.low == before.low
    assert case.state.volumes.high == before.high + RATE.over(61.0)


def case_report():  # type: ignore[no-untyped-def]
    from pumpd.driver import PumpReport

    return PumpReport(INFUSING, RATE, Ml(0))


def test_a_pump_that_stopped_unseen_gets_its_time_from_its_counter() -> None:
    case = Case().running(600)
    elapsed, counted = case.state.elapsed_at(case.now), case.state.volumes.counted
    back(blind(case, 3), 300)
    case.read(STANDING, RATE, counted + RATE.over(10).down(WHO_STEP))
    assert case.phase is Phase.PAUSED
    assert case.state.elapsed == pytest.approx(elapsed + 10, abs=0.2)


# --- restarts ---


def restarted(case: Case, seconds: float = 2.0, *, rebooted: bool = False) -> Case:
    case.feed(ev.Restarted(rebooted), seconds)
    return case


@pytest.mark.shows("S11")
def test_across_a_restart_durations_go_on() -> None:
    case = Case().running(600)
    begun = case.state.run_since
    back(restarted(case, 7), 3)
    assert case.phase is Phase.RECOVERING
    case.read(INFUSING, RATE, case.state.volumes.counted + RATE.over(11).down(WHO_STEP))
    assert case.phase is Phase.RUNNING
    assert case.state.elapsed_at(case.now) == pytest.approx(case.now - begun)
    assert ev.Clear("daemon_restarted") in case.last


@pytest.mark.shows("S3", "S10", "H61")
def test_a_pump_found_standing_after_a_restart_stays_standing() -> None:
    case = back(restarted(Case().running(600)))
    case.read(STANDING)
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, True)
    assert not case.got(ev.Begin)


def test_a_dose_that_was_completed_meanwhile_is_complete() -> None:
    case = back(restarted(Case().running(2600), 110))
    case.read(STANDING, RATE, case.plan.volume)
    assert case.phase is Phase.ENDING
    assert case.state.completed


@pytest.mark.shows("S11")
@pytest.mark.parametrize("motion", [Motion.INFUSING, Motion.BOLUS])
def test_after_a_reboot_what_moves_is_stopped_and_waits_for_a_person(motion: Motion) -> None:
    case = back(restarted(Case().running(600), 0, rebooted=True), 1)
    counted = case.state.volumes.counted
    case.read(motion, RATE, counted + Ml(2))
    assert case.halts
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)
    assert case.state.sight is Sight.SEEING, "how long it ran unseen nobody knows, so its counter may have grown"
    assert case.state.volumes.counted == counted + Ml(2), "delivered volume comes from the pump"
    assert case.state.elapsed == pytest.approx(600 + RATE.seconds_for(Ml(2)), abs=2), "and the time from that"
    assert "daemon_restarted" in case.state.conditions


def test_after_a_reboot_the_volumes_agree_again() -> None:
    case = back(restarted(Case().running(600), 0, rebooted=True), 1)
    case.read(STANDING, RATE, case.state.volumes.counted + Ml(2))
    volumes = case.state.volumes
    apart = volumes.apart(case.plan.volume_at(case.state.elapsed), WHO_STEP)
    assert apart < Ml("0.2")
    assert not case.state.rebooted, "the next loss of sight is no reboot"


@pytest.mark.shows("S10", "H61")
@pytest.mark.parametrize(
    ("phase", "after", "alarm"),
    [
        ("idle", Phase.IDLE, False),
        ("planned", Phase.PLANNED, True),
        ("armed", Phase.PLANNED, False),
        ("starting", Phase.RECOVERING, True),
        ("running", Phase.RECOVERING, True),
        ("paused", Phase.PAUSED, True),
        ("observing", Phase.OBSERVING, True),
    ],
)
def test_a_restart_in_each_phase(phase: str, after: Phase, alarm: bool) -> None:
    case = Case() if phase == "idle" else getattr(Case(), phase)()
    restarted(case)
    assert case.phase is after
    assert ("daemon_restarted" in case.raised) is alarm
    assert case.state.sight is Sight.BLIND
    assert not case.got(ev.Begin)
    assert not case.got(ev.SetRate)


@pytest.mark.parametrize("phase", ["planned", "paused", "observing"])
def test_the_alarm_of_a_restart_ends_when_the_pump_is_seen_again(phase: str) -> None:
    case = restarted(getattr(Case(), phase)())
    case.feed(ev.LinkUp(case.state.ours or WHO), 1)
    case.read(STANDING, None)
    assert "daemon_restarted" not in case.state.conditions


@pytest.mark.shows("S5", "S10")
def test_a_stop_on_its_way_at_a_crash_is_sent_again() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    back(restarted(case))
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.05"))
    assert case.halts


def test_a_pump_that_is_not_there_is_a_low_matter_without_a_session() -> None:
    case = Case()
    case.feed(ev.LinkDown("no such port"))
    assert case.raised == {"pump_not_connected"}
    case.feed(ev.LinkUp(WHO))
    assert ev.Clear("pump_not_connected") in case.last
    assert case.state.sight is Sight.SEEING
