"""What one reading means in each phase: what it ends, what it opens, and what it leaves to others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, RATE, STANDING, Case

UNTOLD = PumpReport(INFUSING, RATE, None)


def holding(case: Case, *codes: str) -> Case:
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


# --- nobody's pump ---


@pytest.mark.parametrize("code", ["infusing_unknown_session", "infusing_against_plan", "daemon_restarted"])
def test_a_planned_pump_that_stands_is_as_it_should_be(code: str) -> None:
    case = holding(Case().planned(), code)
    case.read(INFUSING, RATE)
    assert code in case.state.conditions, "not while it moves"
    case.read(STANDING, None)
    assert code not in case.state.conditions


def test_without_a_session_what_the_pump_told_ends_when_it_stands() -> None:
    case = Case().planned()
    case.told("pump_watchdog_expired")
    case.read(INFUSING, RATE)
    assert case.state.told == ("pump_watchdog_expired",)
    case.read(STANDING, None)
    assert case.state.told == ()
    assert "pump_watchdog_expired" not in case.state.conditions


@pytest.mark.shows("S5")
def test_a_stop_a_person_ordered_without_a_session_is_repeated_until_it_stands() -> None:
    case = Case().connected()
    case.read(INFUSING, RATE)
    assert not case.halts, "nobody has ordered anything"
    case.feed(ev.PumpStopOrdered(case.by()))
    case.halted(INFUSING)
    assert case.halts
    case.halted(STANDING)
    assert case.state.halt is None
    assert [answer.state for answer in case.got(ev.Answer)] == ["done"]


# --- armed ---


@pytest.mark.shows("S3")
def test_an_armed_pump_that_moves_by_itself_is_stopped_and_must_be_armed_again() -> None:
    case = Case().armed()
    case.read(INFUSING, RATE)
    assert case.halts
    assert case.phase is Phase.PLANNED


def test_a_start_on_its_way_may_be_seen_moving_before_it_is_answered() -> None:
    case = Case().starting()
    case.read(INFUSING, RATE)
    assert not case.last
    assert case.phase is Phase.ARMED


def test_while_a_start_is_on_its_way_its_loading_is_no_change_at_the_pump() -> None:
    case = Case().starting()
    case.read(STANDING, "10")
    assert case.phase is Phase.ARMED


def test_a_rate_that_is_not_told_is_no_change_at_the_pump() -> None:
    case = Case().armed()
    case.read(STANDING, None)
    assert case.phase is Phase.ARMED
    case.read(STANDING, "10")
    assert case.phase is Phase.PLANNED
    assert case.raised == {"unarmed"}


# --- running ---


def test_a_pump_that_stopped_ends_the_news_of_its_keypad_start() -> None:
    case = holding(Case().running(60), "restarted_at_keypad")
    case.read(STANDING, RATE)
    assert ev.Clear("restarted_at_keypad") in case.last
    assert case.state.told == ()


def test_a_pump_that_tells_why_it_stopped_is_paused_for_that() -> None:
    case = Case().running(60)
    case.told("pump_watchdog_expired")
    case.read(STANDING, RATE)
    assert case.state.told == ()
    assert case.state.hold.by_pump
    assert "stopped_at_pump" not in case.state.conditions, "one condition, one alarm"
    quiet = Case().running(60)
    quiet.read(STANDING, RATE)
    assert "stopped_at_pump" in quiet.state.conditions


@pytest.mark.shows("within:LATE_LEAST_S")
@pytest.mark.parametrize(("after", "code"), [(53.99, "stopped_at_pump"), (54.02, "short_of_plan")])
def test_a_pump_that_stops_late_is_short_of_the_plan(after: float, code: str) -> None:
    """2 % of 2700.4 s is 54.008 s."""
    case = Case().running(60)
    end = case.state.run_since + case.plan.seconds
    case.read(STANDING, RATE, "30", dt=end + after - case.now)
    assert case.raised == {code}


# --- paused ---


@pytest.mark.parametrize("code", ["infusing_against_plan", "unplanned_function"])
def test_a_pump_that_stands_again_while_paused_does_nothing_wrong_any_more(code: str) -> None:
    case = holding(Case().paused(), code)
    case.read(STANDING, RATE)
    assert code not in case.state.conditions


@pytest.mark.shows("S1")
@pytest.mark.parametrize(
    ("covers", "shown", "lowered"),
    [(True, RATE, False), (True, None, False), (True, MlPerHour(9), True), (False, RATE, True), (False, None, True)],
)
def test_while_paused_the_pumps_own_limit_is_kept_at_what_remains(
    covers: bool, shown: MlPerHour | None, lowered: bool
) -> None:
    case = Case().paused()
    case.state = replace(case.state, limit_covers=covers)
    case.read(STANDING, shown)
    assert bool(case.got(ev.Tighten)) is lowered


@pytest.mark.shows("S3")
def test_a_bolus_in_a_pause_is_nobodys_restart() -> None:
    case = Case().paused_by_pump()
    case.read(Motion.BOLUS, RATE)
    assert case.halts
    assert case.phase is Phase.PAUSED
    assert "infusing_against_plan" in case.raised


@pytest.mark.shows("S5")
def test_no_keypad_start_is_accepted_while_a_stop_is_owed() -> None:
    case = Case().paused_by_pump()
    case.feed(ev.PumpStopOrdered(case.by()))
    case.state = replace(case.state, phase=Phase.PAUSED)
    case.read(INFUSING, RATE)
    assert case.phase is Phase.PAUSED


@pytest.mark.parametrize("code", ["stopped_at_pump", "short_of_plan", "long_pause", "pump_watchdog_expired"])
def test_a_keypad_start_ends_what_was_said_about_the_pause(code: str) -> None:
    case = holding(Case().paused_by_pump(), code)
    case.read(INFUSING, RATE, dt=5)
    assert ev.Clear(code) in case.last
    assert (case.phase, case.state.hold, case.state.run_since) == (Phase.RUNNING, None, case.now)
    assert case.state.enforced == RATE


def test_a_keypad_start_overtakes_a_resume_on_its_way() -> None:
    case = Case().paused_by_pump()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.read(INFUSING, RATE)
    (answer,) = case.got(ev.Answer)
    assert (answer.state, answer.reason) == ("failed", "differs")
    assert case.state.pending is None


def test_a_keypad_start_above_plan_is_judged_in_the_same_reading() -> None:
    case = Case().paused_by_pump()
    case.read(INFUSING, "47")
    assert case.got(ev.SetRate)[0].rate == RATE


# --- ending and after ---


@pytest.mark.shows("S5")
def test_a_pump_that_moves_while_ending_is_stopped_and_told_of_once() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted(INFUSING)
    assert case.halts
    assert not case.raised, "the stop is under way"
    case.halted(STANDING)
    assert isinstance(case.order, ev.Tighten)
    case.read(INFUSING, RATE)
    assert case.halts
    assert case.raised == {"infusing_against_plan"}
    assert case.state.pending is None, "a stop is not held up by the limit"


def test_a_pump_that_stands_while_ending_is_secured_once_and_well() -> None:
    case = Case().running(30)
    case.told("pump_watchdog_expired")
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    assert isinstance(case.order, ev.Tighten)
    assert "pump_watchdog_expired" not in case.state.conditions
    case.read(STANDING, RATE)
    assert not case.got(ev.Tighten), "it is on its way"


def test_a_limit_that_was_refused_at_the_end_is_tried_again() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    case.failed()
    case.read(STANDING, RATE)
    assert case.got(ev.Tighten)


def test_a_released_pump_is_watched_only() -> None:
    case = Case().observing()
    case.feed(ev.ReleaseOrdered(case.by()))
    case.done()
    case.read(INFUSING, "12")
    assert not case.halts
    assert case.raised == {"infusing_after_release"}
    case.read(STANDING, None)
    assert ev.Clear("infusing_after_release") in case.last


def test_after_the_end_a_pump_that_moves_is_stopped_and_then_stands() -> None:
    case = Case().observing()
    case.read(INFUSING, RATE)
    assert case.halts
    case.halted()
    assert "infusing_against_plan" not in case.state.conditions
    assert case.state.halt is None


@pytest.mark.parametrize(("after", "phase"), [(7199.0, Phase.OBSERVING), (7200.0, Phase.ABORTED)])
def test_a_reading_ends_the_observation_as_well_as_the_clock(after: float, phase: Phase) -> None:
    case = Case().observing()
    case.read(STANDING, None, dt=case.state.observed_from + after - case.now)
    assert case.phase is phase


# --- back after a crash ---


@pytest.mark.shows("S11")
def test_a_pump_found_infusing_after_a_restart_runs_on_since_it_ran() -> None:
    case = Case().running(60)
    since = case.state.run_since
    case.feed(ev.Restarted(False), 2)
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.05"))
    assert (case.phase, case.state.run_since) == (Phase.RUNNING, since)
    assert "daemon_restarted" not in case.state.conditions


@pytest.mark.shows("S10", "S11")
def test_a_pump_found_infusing_after_a_reboot_is_stopped_with_its_alarm() -> None:
    case = Case().running(60)
    case.feed(ev.Restarted(True), 2)
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.05"))
    assert case.halts
    assert not case.state.hold.by_pump
    assert "daemon_restarted" in case.state.conditions
    assert not case.state.rebooted


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_pump_found_standing_after_a_restart_is_no_news_of_the_restart_any_more(rebooted: bool) -> None:
    case = Case().running(60)
    case.feed(ev.Restarted(rebooted), 2)
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(STANDING, RATE)
    assert "daemon_restarted" not in case.state.conditions
    assert case.phase is Phase.PAUSED


# --- an order whose answer never came ---


@pytest.mark.shows("S4")
def test_a_start_found_infusing_is_answered_with_the_rate_read() -> None:
    case = Case().starting()
    case.failed("unknown", uncertain=True)
    case.read(INFUSING, RATE)
    (answer,) = (each for each in case.got(ev.Answer) if each.state == "done")
    assert dict(answer.readback) == {"rate_ml_h": "46.66"}
    untold = Case().starting()
    untold.failed("unknown", uncertain=True)
    untold.read(INFUSING, None)
    (answer,) = (each for each in untold.got(ev.Answer) if each.state == "done")
    assert dict(answer.readback) == {"rate_ml_h": "unknown"}


@pytest.mark.shows("S4", "S11")
def test_a_start_that_ran_and_stands_again_ran_as_long_as_its_counter_tells() -> None:
    case = Case().starting()
    begun = case.now
    case.failed("unknown", uncertain=True)
    case.read(STANDING, RATE, RATE.over(30).down(case.rules.fitted.counter.step_at(Ml(1).value)), dt=60)
    assert case.phase is Phase.PAUSED
    assert case.state.started == begun
    assert case.state.elapsed == pytest.approx(30, abs=1)


@pytest.mark.shows("S4")
def test_a_rate_found_set_is_set_and_another_one_is_not() -> None:
    for read, state in ((MlPerHour(45), "done"), (RATE, "failed")):
        case = Case().running(60)
        case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
        case.failed("unknown", uncertain=True)
        case.read(INFUSING, read)
        assert case.answer.state == state
        assert case.state.pending is None


def test_an_order_that_is_certain_waits_for_its_own_answer() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
    case.read(INFUSING, MlPerHour(45))
    assert case.state.pending is not None
    assert not case.got(ev.Answer)


@pytest.mark.shows("S15")
def test_a_rate_changed_in_our_sight_is_still_our_pump() -> None:
    case = Case().running(60)
    case.read(INFUSING, "40")
    assert case.state.ours.rate == MlPerHour(40)
    case.read(INFUSING, None)
    assert case.state.ours.rate == MlPerHour(40), "what is not told changes nothing"


# --- seen, measured, settled ---


def test_a_reading_without_a_session_is_kept_to_be_shown() -> None:
    case = Case().connected()
    case.read(STANDING, "12")
    assert case.state.report.rate == MlPerHour(12)


def test_before_arming_no_counter_counts() -> None:
    case = Case().planned()
    case.read(STANDING, None, "5")
    case.read(STANDING, None, "6")
    assert (case.state.volumes.counted, case.state.volumes.last_count) == (Ml(0), None)


@pytest.mark.shows("S15")
def test_a_reading_of_a_pump_in_doubt_is_no_reading_of_ours() -> None:
    case = Case().running(9)
    case.feed(ev.LinkDown("no reply"))
    before = case.state.volumes
    case.feed(ev.LinkUp(replace(case.state.ours, version="V1")))
    case.read(INFUSING, "90", "3")
    assert (case.state.volumes, case.state.report) == (before, None)
    assert not case.last


def test_a_pump_lost_with_a_start_on_its_way_and_found_standing_must_be_armed_again() -> None:
    case = Case().starting()
    case.feed(ev.LinkDown("no reply"))
    case.failed("unknown", uncertain=True)
    case.feed(ev.LinkUp(case.state.ours))
    case.read(STANDING, RATE, "0")
    assert case.phase is Phase.PLANNED
    assert "unarmed" in case.raised


@pytest.mark.shows("S4", "S15")
def test_a_resume_that_was_not_carried_out_leaves_a_pump_that_may_be_half_loaded() -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed("unknown", uncertain=True)
    case.read(STANDING, RATE)
    assert (case.answer.state, case.answer.reason) == ("failed", "unknown")
    assert case.phase is Phase.PAUSED
    assert case.state.ours.limit is None


@pytest.mark.shows("S4")
def test_a_standing_pump_was_set_to_no_rate() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(45), None))
    case.failed("unknown", uncertain=True)
    case.read(STANDING, "45")
    assert "failed" in [answer.state for answer in case.got(ev.Answer)]
    assert not case.halts


@pytest.mark.shows("S11")
def test_a_start_taken_before_a_reboot_is_stopped_and_told_as_such() -> None:
    case = Case().starting()
    case.feed(ev.Restarted(True), 2)
    case.feed(ev.LinkUp(replace(case.state.ours, rate=RATE)), 1)
    case.read(INFUSING, RATE, "0.03")
    assert case.halts
    assert case.phase is Phase.PAUSED
    (alarm,) = (each for each in case.got(ev.Raise) if each.code == "daemon_restarted")
    assert alarm.values == (("rebooted", "True"),)


@pytest.mark.shows("S10", "S11")
def test_a_second_restart_does_not_forget_the_reboot() -> None:
    case = Case().running(60)
    case.feed(ev.Restarted(True), 2)
    case.feed(ev.Restarted(False), 1)
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.05"))
    assert case.halts
    assert case.phase is Phase.PAUSED


def test_a_restart_is_judged_with_its_first_reading() -> None:
    case = Case().running(60)
    case.feed(ev.Restarted(False), 2)
    case.feed(ev.LinkUp(replace(case.state.ours, rate=RATE)), 1)
    case.read(INFUSING, "47", case.state.volumes.counted + Ml("0.04"))
    assert case.got(ev.SetRate)


@pytest.mark.shows("S5")
@pytest.mark.parametrize(
    ("read", "stops"), [("47", True), ("46.67", True), ("46.66", False), ("40", False), (None, False)]
)
def test_a_set_down_that_was_not_carried_out_stops_what_is_still_above(read: str | None, stops: bool) -> None:
    case = Case().running(60)
    case.read(INFUSING, "47")
    case.failed("unknown", uncertain=True)
    case.read(INFUSING, read)
    assert case.halts is stops
    assert ("rate_not_set" in case.raised) is stops


@pytest.mark.parametrize("raises", [True, False])
def test_what_was_no_setting_down_is_ordered_again_and_not_stopped(raises: bool) -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(50 if raises else 45), ev.Confirm(MlPerHour(50))))
    case.failed("unknown", uncertain=True)
    if raises:
        case.state = replace(case.state, conditions=case.state.conditions | {"rate_above_plan"})
    case.read(INFUSING, "47")
    assert not case.halts
    assert case.got(ev.SetRate)[0].rate == RATE


# --- armed, stopped, ended ---


@pytest.mark.parametrize(("counted", "phase"), [("0", Phase.ARMED), ("0.001", Phase.PLANNED)])
def test_an_armed_pump_reads_as_it_was_armed(counted: str, phase: Phase) -> None:
    case = Case().armed()
    case.read(STANDING, RATE, counted)
    assert case.phase is phase


@pytest.mark.shows("S1")
def test_a_pump_that_stopped_has_a_limit_that_may_begin_anew() -> None:
    case = Case().running(9)
    case.read(STANDING, RATE)
    assert not case.state.limit_covers
    assert case.state.hold.reason == "stopped at the pump"
    assert not case.state.hold.needs_pressure_release


@pytest.mark.shows("H9")
def test_a_stalled_pump_is_paused_for_that_with_pressure_in_the_line() -> None:
    case = Case().running(9)
    case.told("motor_stalled")
    case.read(STANDING, RATE)
    assert "occluded" in case.state.hold.reason
    assert case.state.hold.needs_pressure_release


@pytest.mark.shows("within:SHORT_SHARE", "beyond:SHORT_SHARE")
@pytest.mark.parametrize(("missing", "complete"), [("0.35", True), ("0.351", False)])
def test_one_percent_itself_may_be_missing(missing: str, complete: bool) -> None:
    case = Case().running(9)
    case.read(STANDING, RATE, case.plan.volume - Ml(missing))
    assert case.state.completed is complete


def test_a_pump_that_stops_exactly_when_it_is_late_is_short_of_the_plan() -> None:
    case = Case().running(9)
    due = case.plan.seconds + 0.02 * case.plan.seconds
    case.state = replace(case.state, elapsed=due, run_since=case.now)
    case.read(STANDING, RATE, dt=0.0)
    assert case.raised == {"short_of_plan"}


def test_an_unplanned_function_is_stopped() -> None:
    case = Case().running(9)
    case.read(Motion.BOLUS, RATE)
    assert case.halts
    assert case.phase is Phase.PAUSED


def test_a_keypad_start_is_accepted_and_not_stopped() -> None:
    case = Case().paused_by_pump()
    case.read(INFUSING, RATE)
    assert not case.halts
    assert case.raised == {"restarted_at_keypad"}


@pytest.mark.shows("S5")
def test_a_pump_that_moves_while_ending_says_how_and_keeps_its_own_alarms() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    case.told("pump_watchdog_expired")
    case.read(INFUSING, RATE)
    (alarm,) = case.got(ev.Raise)
    assert dict(alarm.values) == {"motion": "infusing", "phase": "ending"}
    assert "pump_watchdog_expired" in case.state.conditions


def test_a_reading_from_before_a_stop_secures_nothing() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.read(STANDING, RATE)
    assert not case.last
    assert case.state.halt is not None


def test_an_ended_session_is_watched_as_well() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    case.read(INFUSING, RATE)
    assert case.halts
    done = Case().running(9)
    done.read(STANDING, RATE, done.plan.volume)
    done.done()
    done.feed(ev.EndOrdered(done.by()))
    assert done.phase is Phase.ENDED
    done.read(INFUSING, RATE)
    assert done.halts


@pytest.mark.shows("S15")
def test_a_stop_read_back_from_a_pump_in_doubt_is_answered() -> None:
    case = Case().running(9)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(case.state.ours, version="V1")))
    case.feed(ev.PumpStopOrdered(case.by()))
    case.feed(ev.StopUnconfirmed())
    case.halted(INFUSING)
    assert case.state.halt is not None
    case.feed(ev.OrderDone(case.state.halt.number, case.now, replace(UNTOLD, motion=STANDING)))
    assert case.state.halt is None
    (answer,) = case.got(ev.Answer)
    assert dict(answer.readback) == {"motion": "standing", "counted_ml": str(case.state.volumes.counted.value)}
    assert "stop_not_confirmed" not in case.state.conditions
