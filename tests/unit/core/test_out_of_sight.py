"""Blind, doubtful, back: which alarm, whose proof, how much can have been given, and how long it ran (S7, S11, S15)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.sight import differs
from pumpd.core.state import Phase, Sight
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, RATE, STANDING, WHO, Case

OURS = replace(WHO, rate=RATE, limit=Ml(35))
UNTOLD = PumpReport(INFUSING, RATE, None)  # a pump that tells no counter


def blind(case: Case, dt: float = 0.0) -> Case:
    case.feed(ev.LinkDown("no reply"), dt)
    return case


def back(case: Case, dt: float = 0.0, **changes: object) -> Case:
    case.feed(ev.LinkUp(replace(case.state.ours or WHO, **changes)), dt)
    return case


def holding(case: Case, *codes: str) -> Case:
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


# --- losing it ---


@pytest.mark.shows("S7")
@pytest.mark.parametrize(
    ("phase", "code"),
    [
        ("connected", "pump_not_connected"),
        ("planned", "pump_not_connected"),
        ("armed", "pump_not_connected"),
        ("starting", "comms_lost_pump"),
        ("running", "comms_lost_pump"),
        ("paused", "comms_lost_pump"),
        ("observing", "comms_lost_pump"),
    ],
)
def test_losing_a_pump_that_may_infuse_is_more_than_a_missing_cable(phase: str, code: str) -> None:
    case = blind(getattr(Case(), phase)())
    assert case.raised - {"unarmed"} == {code}
    (values,) = (alarm.values for alarm in case.got(ev.Raise) if alarm.code == code)
    assert values == (("reason", "no reply"),)


def test_a_pump_that_is_ending_is_missed_too() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    assert blind(case).raised == {"comms_lost_pump"}


def test_a_released_pump_is_missed_as_any_other() -> None:
    case = Case().observing()
    case.feed(ev.ReleaseOrdered(case.by()))
    case.done()
    assert blind(case).raised == {"pump_not_connected"}
    assert back(case).state.sight is Sight.SEEING, "nothing is to be proved"


def test_nobody_minds_a_missing_pump_on_standby() -> None:
    case = Case().connected()
    case.feed(ev.StandbyOrdered(case.by()))
    assert not blind(case).raised


# --- who is there ---


@pytest.mark.parametrize("phase", ["running", "paused", "observing", "starting"])
def test_who_answers_in_a_session_is_looked_at_first(phase: str) -> None:
    case = back(blind(getattr(Case(), phase)()))
    assert case.state.sight is Sight.VERIFYING
    assert case.state.connected is not None


def test_without_an_armed_pump_whoever_answers_is_seen() -> None:
    case = holding(blind(Case().planned()), "pump_not_proved", "comms_lost_pump")
    back(case)
    assert case.state.sight is Sight.SEEING
    assert case.state.conditions.isdisjoint({"pump_not_proved", "comms_lost_pump", "pump_not_connected"})


def test_an_arming_that_was_cut_leaves_a_pump_to_prove() -> None:
    case = Case().armed()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.phase is Phase.PLANNED
    assert back(blind(case)).state.sight is Sight.VERIFYING


def test_a_pump_that_is_another_one_is_named_and_ours_is_taken_again() -> None:
    case = back(blind(Case().running(60)), version="V1")
    (alarm,) = case.got(ev.Raise)
    assert alarm == ev.Raise("pump_not_proved", (("difference", "version V1 instead of V3.92"),))
    back(blind(case))
    assert ev.Clear("pump_not_proved") in case.last


def test_an_impossible_counter_is_told_with_what_it_may_read() -> None:
    case = back(blind(Case().running(60)))
    last = case.state.volumes.last_count
    case.read(INFUSING, RATE, "9")
    (alarm,) = case.got(ev.Raise)
    assert dict(alarm.values) == {"counter": "9 mL", "expected": f"from {last}"}


def test_nothing_is_expected_of_a_rate_or_limit_that_was_never_read() -> None:
    assert differs(replace(OURS, rate=None), replace(OURS, rate=MlPerHour(9))) == ""
    assert differs(replace(OURS, limit=None), replace(OURS, limit=Ml(9))) == ""
    assert "limit" in differs(replace(OURS, rate=None), replace(OURS, limit=Ml(9)))
    assert "rate" in differs(replace(OURS, limit=None), replace(OURS, rate=MlPerHour(9)))


@pytest.mark.shows("S15")
def test_one_serial_number_alone_decides_nothing() -> None:
    assert differs(OURS, replace(OURS, serial="4711")) == ""
    assert "version" in differs(OURS, replace(OURS, serial="4711", version="V9"))
    assert "version" in differs(replace(OURS, serial="4711"), replace(OURS, version="V9"))


@pytest.mark.shows("S15")
@pytest.mark.parametrize(("serial", "seen"), [("4711", True), (None, False)])
def test_only_the_same_serial_number_stands_for_the_counter(serial: str | None, seen: bool) -> None:
    case = Case(who=replace(WHO, serial="4711")).running(60)
    back(blind(case), serial=serial)
    case.read(INFUSING, RATE, "9")
    assert (case.state.sight is Sight.SEEING) is seen


# --- what can have been given ---


@pytest.mark.shows("S6", "S15")
@pytest.mark.parametrize(("order", "rate"), [(MlPerHour(50), MlPerHour(50)), (MlPerHour(45), RATE)])
def test_unseen_it_gave_at_most_the_higher_of_the_old_rate_and_the_ordered_one(
    order: MlPerHour, rate: MlPerHour
) -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), order, ev.Confirm(order)))
    before = case.state.volumes
    blind(case)
    back(case, 600, rate=order)
    case.feed(ev.PumpReported(replace(UNTOLD, rate=MlPerHour(0))))
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.high == before.high + rate.over(600)
    assert case.state.volumes.low == before.low


def test_a_standing_pump_that_was_set_to_a_rate_may_have_been_started_at_it() -> None:
    case = Case().paused()
    before = case.state.volumes
    back(blind(case), 600)
    case.feed(ev.PumpReported(replace(UNTOLD, motion=STANDING)))
    assert case.state.volumes.high == before.high + RATE.over(case.now - before.at)


@pytest.mark.shows("S11")
def test_after_a_reboot_it_may_have_given_what_its_own_limit_let_through() -> None:
    case = Case().running(60)
    before = case.state.volumes
    case.feed(ev.Restarted(True))
    back(case)
    case.feed(ev.PumpReported(replace(UNTOLD, motion=STANDING)))
    assert case.state.volumes.high == before.high + case.plan.volume


@pytest.mark.shows("S1")
def test_seen_again_the_pumps_own_limit_is_not_trusted() -> None:
    case = Case().running(60)
    assert case.state.limit_covers
    back(blind(case), 1)
    case.read(INFUSING, RATE, case.state.volumes.counted)
    assert not case.state.limit_covers


# --- how long it ran ---


@pytest.mark.shows("S11")
def test_a_pump_that_ran_on_unseen_and_runs_still_keeps_its_clock() -> None:
    case = Case().running(600)
    since = case.state.run_since
    back(blind(case), 300)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.1"), dt=0)
    assert case.state.run_since == since


@pytest.mark.shows("S11")
def test_a_counter_that_began_anew_tells_nothing_about_the_time() -> None:
    case = Case().running(600)
    elapsed = case.state.elapsed_at(case.now)
    blind(case)
    case.told("pump_power_lost")
    back(case, 300)
    case.read(STANDING, RATE, "0.1", dt=0)
    assert case.state.elapsed == pytest.approx(elapsed + 300, abs=0.1)


@pytest.mark.shows("S11")
def test_a_pump_cannot_have_run_longer_than_nobody_looked() -> None:
    case = Case().running(600)
    counted, now = case.state.volumes.counted, case.now
    back(blind(case), 10)
    case.read(STANDING, RATE, counted + RATE.over(11).down(Ml("0.001").value), dt=0)
    assert case.state.elapsed == pytest.approx(now - case.state.started + 10, abs=0.2)


@pytest.mark.shows("S11")
def test_a_pause_ordered_unseen_ran_as_long_as_the_counter_tells() -> None:
    case = Case().running(600)
    counted = case.state.volumes.counted
    blind(case, 1)
    case.feed(ev.PauseOrdered(case.by()), 20)
    assert case.phase is Phase.PAUSED
    back(case, 30)
    case.read(STANDING, RATE, counted + RATE.over(5).down(Ml("0.001").value), dt=0)
    assert case.state.elapsed == pytest.approx(605, abs=1)


# --- after a crash ---


def test_after_a_crash_nothing_is_known_and_what_was_on_its_way_is_uncertain() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
    case.feed(ev.Restarted(False), 2)
    state = case.state
    assert (state.sight, state.report, state.connected) == (Sight.BLIND, None, None)
    assert state.pending is not None
    assert state.pending.uncertain
    (alarm,) = case.got(ev.Raise)
    assert alarm == ev.Raise("daemon_restarted", (("rebooted", "False"),))


@pytest.mark.parametrize("phase", ["planned", "armed"])
def test_an_arming_on_its_way_at_a_crash_is_done_anew(phase: str) -> None:
    case = getattr(Case(), phase)()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.Restarted(False), 2)
    assert case.state.pending is None
    assert case.phase is Phase.PLANNED


@pytest.mark.shows("S5", "S10")
def test_a_stop_on_its_way_at_a_crash_is_owed_still() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    assert case.state.halt.in_flight
    case.feed(ev.Restarted(False), 2)
    assert case.state.halt is not None
    assert not case.state.halt.in_flight


@pytest.mark.shows("S11")
@pytest.mark.parametrize("rebooted", [False, True])
def test_the_clock_runs_through_a_restart_and_stands_over_a_reboot(rebooted: bool) -> None:
    case = Case().running(600)
    since, elapsed = case.state.run_since, case.state.elapsed_at(case.now)
    case.feed(ev.Restarted(rebooted), 2)
    assert case.state.rebooted is rebooted
    assert case.state.run_since == (None if rebooted else since)
    assert case.state.elapsed_at(case.now + 100) == pytest.approx(elapsed + (2 if rebooted else 102))
    assert dict(case.got(ev.Raise)[0].values) == {"rebooted": str(rebooted)}


@pytest.mark.parametrize("phase", ["paused", "observing"])
def test_the_news_of_a_restart_ends_with_sight_of_the_pump(phase: str) -> None:
    case = getattr(Case(), phase)()
    case.feed(ev.Restarted(False), 2)
    assert dict(case.got(ev.Raise)[0].values) == {"rebooted": "False"}
    back(case)
    case.read(Motion.STANDING, None)
    assert ev.Clear("daemon_restarted") in case.last


@pytest.mark.shows("S11", "raised:short_of_plan")
def test_a_pause_that_nothing_more_may_be_given_after_says_so() -> None:
    """A reboot in a change of container: the counter began anew, and how long the pump ran unseen nobody knows."""
    case = Case().paused(600)
    case.feed(ev.Restarted(rebooted=True))
    case.feed(ev.LinkUp(case.state.ours))
    case.told("pump_power_lost")
    given = case.state.volumes.counted
    case.read(STANDING, case.state.ours.rate, Ml(0))
    case.read(STANDING, case.state.ours.rate, Ml(0))
    assert case.phase is Phase.PAUSED
    assert "short_of_plan" in case.state.conditions
    told = [
        dict(effect.values)
        for effect in case.effects
        if isinstance(effect, ev.Raise) and effect.code == "short_of_plan"
    ]
    assert told == [{"missing_ml": str((case.plan.volume - given).value)}]
