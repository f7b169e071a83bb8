"""Each line of the enforcement, the end and the figures of docs/safety.md, on both sides of each figure."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.catalogue import CATALOGUE
from pumpd.core.state import Phase
from pumpd.driver import Motion
from pumpd.units import Mg, Ml, MlPerHour
from tests.unit.core.world import DOWN_STEPS, INFUSING, MINIMUM, RATE, SOFTLY, STANDING, TWO_STEPS, Case, plan, rules

STEP = Ml("0.01")


def above(case: Case, rate: str = "47", dt: float = 1.0) -> None:
    """Found above plan, and set down."""
    case.read(INFUSING, rate, dt=dt)
    if case.order is not None:
        case.done()
        case.read(INFUSING, RATE)


# --- rate above plan ---


@pytest.mark.shows("S2", "H3")
def test_a_rate_above_plan_is_set_down_at_once_with_an_alarm() -> None:
    case = Case().running(60)
    case.read(INFUSING, "46.67")
    assert case.got(ev.SetRate) == [ev.SetRate(3, RATE, False)]
    assert case.raised == {"rate_above_plan"}
    case.done()
    case.read(INFUSING)
    assert ev.Clear("rate_above_plan") in case.last


def test_the_plans_own_rate_is_no_finding() -> None:
    case = Case().running(60)
    case.read(INFUSING, RATE)
    assert not case.last


@pytest.mark.shows("beyond:ABOVE_TIMES", "within:ABOVE_TIMES")
def test_the_third_time_within_ten_minutes_is_a_stop() -> None:
    case = Case().running(60)
    above(case)
    above(case)
    assert not case.halts
    case.read(INFUSING, "47")
    assert case.halts
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)


@pytest.mark.shows("within:ABOVE_WINDOW_S", "beyond:ABOVE_WINDOW_S", "H62")
@pytest.mark.parametrize(("apart", "stops"), [(599.0, True), (601.0, False)])
def test_ten_minutes_later_it_is_not_the_third_time(apart: float, stops: bool) -> None:
    case = Case().running(60)
    case.read(INFUSING, "47")
    first = case.now
    case.done()
    above(case)
    case.flow(first + apart - case.now)
    case.now -= 1.0
    case.read(INFUSING, "47")
    assert case.now == pytest.approx(first + apart)
    assert case.halts is stops


@pytest.mark.shows("S2", "H28")
@pytest.mark.parametrize(("rate", "stops"), [("105", False), ("105.1", True)])
def test_above_the_hard_limit_is_a_stop_at_once(rate: str, stops: bool) -> None:
    """1.5 mg/kg/h of 70 kg at 1 mg/mL."""
    case = Case().running(60)
    case.read(INFUSING, rate)
    assert case.halts is stops
    assert bool(case.got(ev.SetRate)) is not stops


@pytest.mark.parametrize(("rate", "stops"), [("60", False), ("60.01", True)])
def test_above_the_configured_maximum_is_a_stop_at_once(rate: str, stops: bool) -> None:
    case = Case(max_rate=MlPerHour(60)).running(60)
    case.read(INFUSING, rate)
    assert case.halts is stops


@pytest.mark.shows("S2")
def test_a_pump_that_cannot_be_set_down_is_stopped() -> None:
    case = Case(pump=replace(rules().pump, live_rate_change=False)).running(60)
    case.read(INFUSING, "47")
    assert case.halts


def test_a_rate_that_was_not_set_down_by_the_next_reading_is_stopped() -> None:
    """Two polls after it was seen: set down, no answer, still above."""
    case = Case().running(60)
    case.read(INFUSING, "60")
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, "60")
    assert case.halts
    assert case.phase is Phase.PAUSED
    assert case.raised == {"rate_not_set"}, "one condition, one alarm"


def test_a_lower_rate_of_a_person_that_did_not_arrive_is_no_reason_to_stop() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None, SOFTLY))
    assert isinstance(case.order, ev.SetRate)
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, RATE)
    assert not case.halts
    assert case.phase is Phase.RUNNING
    assert case.answer.state == "failed"


@pytest.mark.shows("S6")
def test_an_unknown_rate_is_neither_above_nor_below() -> None:
    case = Case().running(60)
    case.read(INFUSING, None)
    assert not case.last
    assert case.state.volumes.rate_high == MlPerHour(rules().fitted.rates.most), "S6: it may be anything"


# --- the plan's own steps ---


def test_the_next_step_of_the_plan_is_set_without_a_person() -> None:
    case = Case(plan=plan(portions=TWO_STEPS)).running()
    case.flow(case.plan.steps[0].seconds - 2)
    assert not case.got(ev.SetRate)
    first, second = (step.rate for step in case.plan.steps)
    case.read(INFUSING, first, dt=3)
    (order,) = case.got(ev.SetRate)
    assert (order.rate, order.gives_more) == (second, True)
    assert not case.raised


def test_a_step_down_is_set_and_is_no_rate_above_plan() -> None:
    case = Case(plan=plan(portions=DOWN_STEPS)).running()
    case.flow(case.plan.steps[0].seconds - 2)
    case.read(INFUSING, case.plan.steps[0].rate, dt=3)
    assert case.got(ev.SetRate) == [ev.SetRate(3, case.plan.steps[1].rate, False)]
    assert not case.raised


@pytest.mark.shows("S2")
def test_a_step_does_not_raise_what_a_person_lowered() -> None:
    case = Case(plan=plan(portions=TWO_STEPS)).running()
    case.flow(case.plan.steps[0].seconds - 2)
    case.read(INFUSING, "10", dt=1)
    case.read(INFUSING, "10", dt=3)
    assert not case.got(ev.SetRate)
    assert "rate_below_plan" in case.state.conditions


# --- below plan ---


@pytest.mark.shows("S2", "H16")
def test_a_rate_below_plan_is_told_and_never_raised() -> None:
    case = Case().running(60)
    case.read(INFUSING, "46.65")
    assert case.raised == {"rate_below_plan"}
    for _ in range(100):
        case.read(INFUSING, "46.65")
        assert not case.got(ev.SetRate)


def test_auto_restore_restores_a_lowered_rate_once() -> None:
    case = Case(auto_restore=True).running(60)
    case.read(INFUSING, "20")
    assert case.got(ev.SetRate) == [ev.SetRate(3, RATE, True)]
    case.failed()
    case.read(INFUSING, "20")
    assert not case.got(ev.SetRate)


@pytest.mark.shows("S3")
def test_auto_restore_never_restores_a_stop() -> None:
    case = Case(auto_restore=True).running(60)
    case.read(STANDING)
    for _ in range(20):
        case.read(STANDING)
        assert not case.got(ev.Begin)


# --- stopped by itself, and started at the keypad ---


@pytest.mark.shows("S1", "S3")
def test_a_pump_that_stopped_is_told_paused_and_its_limit_lowered() -> None:
    case = Case().running(600)
    given = case.state.volumes.counted
    case.read(STANDING)
    assert case.raised == {"stopped_at_pump"}
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, True)
    (tighten,) = case.got(ev.Tighten)
    assert tighten.limit <= case.plan.volume - given - STEP
    assert not tighten.gives_more
    elapsed = case.state.elapsed
    case.done()
    for _ in range(50):
        case.read(STANDING)
        assert not case.got(ev.Begin), "S3"
    assert case.state.elapsed_at(case.now) == elapsed, "a pause stops the session's clock"


@pytest.mark.parametrize("rate", ["46.66", "30"])
def test_a_start_at_the_keypad_after_the_pump_stopped_is_a_persons_act(rate: str) -> None:
    case = Case().paused_by_pump()
    case.read(INFUSING, rate)
    assert case.phase is Phase.RUNNING
    assert "restarted_at_keypad" in case.raised
    assert not case.halts


def test_a_start_at_the_keypad_above_plan_is_set_down() -> None:
    case = Case().paused_by_pump()
    case.read(INFUSING, "50")
    assert case.got(ev.SetRate)[0].rate == RATE


def test_a_start_at_the_keypad_after_a_step_down_is_set_down() -> None:
    case = Case(plan=plan(portions=DOWN_STEPS)).running()
    case.flow(case.plan.steps[0].seconds - 1)
    first, second = (step.rate for step in case.plan.steps)
    case.read(STANDING, first, dt=2)
    case.failed()
    case.read(INFUSING, first)
    assert "rate_above_plan" in case.raised or case.got(ev.SetRate)[0].rate == second


def test_each_start_at_the_keypad_is_told() -> None:
    case = Case().paused_by_pump()
    for _ in range(3):
        case.read(INFUSING)
        assert "restarted_at_keypad" in case.raised
        case.read(STANDING)
        assert "stopped_at_pump" in case.raised
        case.done()


@pytest.mark.shows("H9")
def test_a_second_stall_sounds_again() -> None:
    case = Case().paused_by_pump(told="motor_stalled")
    case.read(INFUSING)
    assert ev.Clear("motor_stalled") in case.last
    assert "motor_stalled" in [effect.code for effect in case.told("motor_stalled") if isinstance(effect, ev.Raise)]


@pytest.mark.shows("S3")
@pytest.mark.parametrize("phase", ["armed", "paused", "ending", "observing"])
@pytest.mark.parametrize("motion", [Motion.INFUSING, Motion.BOLUS, Motion.UNKNOWN])
def test_moving_although_the_plans_rate_is_nothing_is_a_stop_each_time(phase: str, motion: Motion) -> None:
    case = Case()
    match phase:
        case "armed":
            case.armed()
        case "paused":
            case.paused()
        case "ending":
            case.running(30)
            case.feed(ev.StopOrdered(case.by()))
            case.halted()
        case _:
            case.observing()
    for _ in range(3):
        case.read(motion, "20")
        assert case.halts
        assert "infusing_against_plan" in case.state.conditions
        case.halted()
        assert case.state.halt is None
        if phase == "armed":
            break  # it is not armed any more


@pytest.mark.shows("S10")
def test_an_idle_or_planned_bed_sends_nothing_to_a_pump_that_infuses() -> None:
    for case in (Case().connected(), Case().planned()):
        case.read(INFUSING, "20")
        assert case.raised == {"infusing_unknown_session"}
        assert not case.halts
        case.read(STANDING)
        assert ev.Clear("infusing_unknown_session") in case.last


@pytest.mark.shows("S6", "H5", "H12", "H17")
@pytest.mark.parametrize("motion", [Motion.BOLUS, Motion.PURGING, Motion.KVO, Motion.WITHDRAWING, Motion.UNKNOWN])
def test_an_unplanned_function_is_stopped_and_counted_at_its_highest_rate(motion: Motion) -> None:
    case = Case().running(60)
    before = case.state.volumes.high
    case.read(motion)
    assert case.halts
    assert case.raised == {"unplanned_function"}
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)
    top = MlPerHour(case.rules.fitted.rates.most)
    assert case.state.volumes.high == before + top.over(1.0)


@pytest.mark.shows("S1", "S2", "S6")
@pytest.mark.parametrize(("missing", "done"), [("0", True), ("0.35", True), ("0.36", False), ("1", False)])
def test_a_pump_that_keeps_the_vein_open_after_the_dose_is_stopped_and_done(missing: str, done: bool) -> None:
    case = Case().running(2600)
    case.read(Motion.KVO, counted=case.plan.volume - Ml(missing))
    assert case.halts
    assert case.raised == ({"plan_limit_reached"} if done else {"unplanned_function"})
    assert case.phase is (Phase.ENDING if done else Phase.PAUSED)
    assert case.state.completed == done


# --- the volumes ---


def apart_by(gap: str, seconds: float, case: Case | None = None) -> Case:
    """Run with the counter `gap` ahead of the plan for `seconds`; a counter never falls."""
    case = case or Case().running(600)
    begun = case.now
    while case.now - begun < seconds - 1e-9:
        planned = case.plan.volume_at(case.state.elapsed_at(case.now + 1)).down(Decimal("0.001"))
        ahead = max(planned + Ml(gap), case.state.volumes.last_count, key=lambda volume: volume.value)
        case.read(INFUSING, case.plan.first_rate, ahead)
    return case


@pytest.mark.shows(
    "S6",
    "H3",
    "H8",
    "H62",
    "within:APART_SHARE",
    "beyond:APART_SHARE",
    "within:APART_SHARE_HIGH",
    "beyond:APART_SHARE_HIGH",
)
@pytest.mark.parametrize(
    ("gap", "medium", "high"),
    [("0.71", False, False), ("0.72", True, False), ("1.76", True, False), ("1.77", True, True)],
)
def test_volumes_apart_for_half_a_minute_are_an_alarm(gap: str, medium: bool, high: bool) -> None:
    """2 % of 35 mL is 0.7 mL, 5 % is 1.75 mL; one poll's worth (0.013 mL) comes on top."""
    case = apart_by(gap, 40)
    assert ("volumes_apart" in case.state.conditions) is medium
    assert ("volumes_far_apart" in case.state.conditions) is high


@pytest.mark.shows("S6", "H16")
@pytest.mark.parametrize("gap", ["0.74", "2"])
def test_a_counter_that_lags_is_apart_as_well(gap: str) -> None:
    case = Case().running()
    for _ in range(400):
        planned = case.plan.volume_at(case.state.elapsed_at(case.now + 1)).down(Decimal("0.001"))
        case.read(INFUSING, RATE, max(planned - Ml(gap), Ml(0), key=lambda volume: volume.value))
    assert "volumes_apart" in case.state.conditions
    assert ("volumes_far_apart" in case.state.conditions) is (gap == "2")


@pytest.mark.shows("within:APART_FOR_S", "beyond:APART_FOR_S", "H62")
@pytest.mark.parametrize(("seconds", "told"), [(30, False), (31, True)])
def test_volumes_apart_are_told_after_half_a_minute_not_before(seconds: float, told: bool) -> None:
    assert ("volumes_apart" in apart_by("1", seconds).state.conditions) is told


def test_volumes_that_agree_again_are_no_alarm_any_more() -> None:
    case = apart_by("1", 40)
    apart_by("0", 80, case)
    assert "volumes_apart" not in case.state.conditions
    apart_by("1", 30, case)
    assert "volumes_apart" not in case.state.conditions, "counted from the new beginning"
    apart_by("1", 1, case)
    assert "volumes_apart" in case.raised


@pytest.mark.shows("within:APART_LEAST", "beyond:APART_LEAST")
@pytest.mark.parametrize(("gap", "told"), [("0.2", False), ("0.21", True)])
def test_a_small_plan_is_judged_by_a_fifth_of_a_millilitre(gap: str, told: bool) -> None:
    small = apart_by(gap, 40, Case(plan=plan(dose=Mg("4"))).running(600))
    assert ("volumes_apart" in small.state.conditions) is told


@pytest.mark.shows("S6", "within:startup_allowance_s", "beyond:startup_allowance_s", "H8", "H62")
@pytest.mark.parametrize(("seconds", "told"), [(61, False), (64, True)])
def test_no_flow_is_told_after_the_start_up_allowance(seconds: float, told: bool) -> None:
    """60 s and one poll of the plan's rate, and two counter steps of 0.01 mL (1.5 s)."""
    case = Case().running()
    begun = case.state.run_since
    while case.now < begun + seconds:
        case.read(INFUSING, RATE, "0")
    assert ("no_flow" in case.state.conditions) is told
    if told:
        case.read(INFUSING, RATE, "0.05")
        assert ev.Clear("no_flow") in case.last


@pytest.mark.shows("S6")
def test_a_counter_that_falls_opens_a_segment_and_never_lowers_the_total() -> None:
    case = Case().running(600)
    counted = case.state.volumes.counted
    case.read(INFUSING, RATE, "0.013")
    assert case.state.volumes.counted == counted + Ml("0.013")
    assert case.state.volumes.segments == 2


# --- the end ---


@pytest.mark.shows("H6", "S1")
def test_the_volume_counted_while_it_still_infuses_is_a_stop() -> None:
    case = Case().running(60)
    case.read(INFUSING, RATE, case.plan.volume - Ml("0.001"))
    assert not case.halts
    case.read(INFUSING, RATE, case.plan.volume)
    assert case.halts
    assert case.phase is Phase.ENDING
    assert case.state.completed


@pytest.mark.shows("H6", "H7")
def test_more_than_the_volume_is_an_alarm_too() -> None:
    case = Case().running(60)
    case.read(INFUSING, RATE, case.plan.volume + Ml("0.001"))
    assert case.halts
    assert "plan_limit_reached" in case.raised


@pytest.mark.shows("within:SHORT_SHARE", "beyond:SHORT_SHARE")
@pytest.mark.parametrize(("short", "done"), [("0.35", True), ("0.351", False)])
def test_one_percent_short_is_complete(short: str, done: bool) -> None:
    case = Case().running(60)
    case.read(STANDING, RATE, case.plan.volume - Ml(short))
    assert (case.phase is Phase.ENDING) is done
    assert case.state.completed is done
    limit = case.got(ev.Tighten)[0].limit
    assert (limit == MINIMUM) is done


def late(seconds: float, missing: str) -> Case:
    """The pump infuses at the plan's rate, by its counter slower."""
    case = Case().running()
    case.flow(60)
    end = case.state.run_since + case.plan.seconds + seconds
    case.read(INFUSING, RATE, case.plan.volume - Ml(missing), dt=end - case.now - 0.5)
    case.state = replace(case.state, volumes=replace(case.state.volumes, low=Ml(30)))
    case.read(INFUSING, RATE, case.plan.volume - Ml(missing), dt=0.5)
    return case


@pytest.mark.shows("within:LATE_SHARE", "beyond:LATE_SHARE", "H62")
@pytest.mark.parametrize(
    ("seconds", "missing", "told"), [(54.0, "3", False), (54.1, "3", True), (54.1, "0.36", True), (54.1, "0.35", False)]
)
def test_late_and_short_is_told_with_what_is_missing(seconds: float, missing: str, told: bool) -> None:
    """2 % of 2700.4 s is 54.008 s; 1 % of 35 mL is 0.35 mL."""
    case = late(seconds, missing)
    assert ("late_and_short" in case.state.conditions) is told


@pytest.mark.shows("within:LATE_LEAST_S", "beyond:LATE_LEAST_S")
def test_a_short_session_is_late_after_half_a_minute() -> None:
    quick = Case(plan=plan(duration_s=1200, dose=Mg("20"))).running(60)
    end = quick.state.run_since + quick.plan.seconds
    quick.read(STANDING, quick.plan.first_rate, "15", dt=end + 29.9 - quick.now)
    assert quick.raised == {"stopped_at_pump"}
    quick = Case(plan=plan(duration_s=1200, dose=Mg("20"))).running(60)
    end = quick.state.run_since + quick.plan.seconds
    quick.read(STANDING, quick.plan.first_rate, "15", dt=end + 30.1 - quick.now)
    assert quick.raised == {"short_of_plan"}
    assert quick.phase is Phase.PAUSED


@pytest.mark.shows("H6", "S1")
def test_the_end_is_foreseen_and_ordered_before_it_is_reached() -> None:
    case = Case().running(600)
    assert case.wake_at is not None
    rest = case.plan.volume - case.state.volumes.surely_most(STEP.value)
    due = case.state.volumes.at + RATE.seconds_for(rest) - case.rules.reaction_s
    assert case.wake_at == pytest.approx(due)
    case.feed(ev.Tick(), due - case.now - 0.001)
    assert case.phase is Phase.RUNNING
    case.feed(ev.Tick(), 0.002)
    assert case.halts
    assert case.phase is Phase.ENDING


@pytest.mark.shows("S1")
def test_after_the_end_the_smallest_limit_is_left_and_the_patient_observed() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE, case.plan.volume)
    (tighten,) = case.got(ev.Tighten)
    assert (tighten.limit, tighten.rate) == (MINIMUM, MlPerHour(case.rules.fitted.rates.least))
    case.failed("garbled")
    assert "limit_not_set" in case.raised
    case.read(STANDING)
    assert case.got(ev.Tighten), "again, until it is read back"
    case.done()
    assert case.phase is Phase.OBSERVING
    assert case.state.observed_from == case.now
    assert not case.state.conditions


# --- the pump's own limit while it stands ---


@pytest.mark.shows("S2")
def test_a_limit_is_never_loaded_at_a_higher_rate_than_the_pump_shows() -> None:
    case = Case().running(600)
    case.read(INFUSING, "20")
    case.read(STANDING, "20")
    assert case.got(ev.Tighten)[0].rate == MlPerHour(20)


def test_a_rate_lowered_at_the_keypad_stays_lowered_when_the_stop_reads_no_rate() -> None:
    case = Case().running(60)
    case.read(INFUSING, "20")
    case.feed(ev.PauseOrdered(case.by()))
    case.halted()
    assert case.got(ev.Tighten)[0].rate == MlPerHour(20), "a keypad start must not run higher than it showed"


def test_a_limit_is_never_loaded_at_a_higher_rate_than_the_plan_has_now() -> None:
    case = Case(plan=plan(portions=DOWN_STEPS)).running()
    case.flow(case.plan.steps[0].seconds - 1)
    case.read(STANDING, None, dt=2)
    assert case.got(ev.Tighten)[0].rate == case.plan.steps[1].rate


def test_a_rate_changed_at_the_keypad_while_paused_is_noticed() -> None:
    case = Case().paused()
    case.read(STANDING)
    assert not case.got(ev.Tighten)
    case.read(STANDING, "90")
    assert case.got(ev.Tighten)[0].rate == RATE


@pytest.mark.shows("S1")
def test_what_a_key_gave_between_two_polls_of_a_paused_pump_is_taken_off_its_limit() -> None:
    case = Case().paused()
    given = case.state.volumes.counted + Ml("0.050")
    case.read(STANDING, RATE, given)
    (tighten,) = case.got(ev.Tighten)
    assert tighten.limit <= case.plan.volume - given
    case.done()
    case.read(STANDING, RATE)
    assert not case.got(ev.Tighten), "once is enough"


# --- occlusion, power, watchdog, shutdown ---


@pytest.mark.shows("H60")
@pytest.mark.parametrize(("told", "pressure"), [("motor_stalled", True), ("pump_watchdog_expired", False), ("", False)])
def test_only_an_occlusion_traps_pressure(told: str, pressure: bool) -> None:
    case = Case().paused_by_pump(told=told)
    assert case.state.hold.needs_pressure_release is pressure
    assert case.state.hold.reason == (CATALOGUE[told].text if told else "stopped at the pump")
    assert ("stopped_at_pump" in case.state.conditions) is not bool(told), "one condition, one alarm"


def test_a_power_on_before_arming_is_no_news_and_after_it_an_alarm() -> None:
    case = Case().planned()
    case.told("pump_power_lost")
    assert not case.last
    case = Case().armed()
    case.told("pump_power_lost")
    assert case.raised == {"pump_power_lost"}


@pytest.mark.shows("S16")
def test_a_lapsed_lease_pauses_and_stops() -> None:
    case = Case().running(60)
    case.feed(ev.LeaseLapsed())
    assert case.halts
    assert case.raised == {"lease_lapsed"}
    assert case.phase is Phase.PAUSED
    case.halted()
    case.done()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.done()
    case.feed(ev.LeaseLapsed())
    assert case.raised == {"lease_lapsed"}, "told each time"


@pytest.mark.shows("S10")
@pytest.mark.parametrize("phase", ["running", "starting", "recovering"])
def test_a_shutdown_stops_what_infuses(phase: str) -> None:
    case = Case().running(60) if phase != "starting" else Case().starting()
    if phase == "recovering":
        case.feed(ev.Restarted(rebooted=False), 1)
    case.feed(ev.Shutdown())
    assert case.halts
    assert case.raised == {"stopped_by_shutdown"}
    assert case.phase is Phase.PAUSED


def test_a_shutdown_leaves_a_standing_pump_alone() -> None:
    for case in (Case().planned(), Case().armed(), Case().paused(), Case().observing()):
        case.feed(ev.Shutdown())
        assert not case.last
