"""An order on its way to the pump is never overtaken, doubled or forgotten, whatever a person orders meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.driver import Motion
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import DOWN_STEPS, INFUSING, MINIMUM, RATE, SOFTLY, STANDING, TWO_STEPS, WHO, Case, plan


def resuming() -> Case:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 5)
    assert isinstance(case.order, ev.Begin)
    return case


# --- a start or resume on its way ---


def test_a_pause_stops_a_resume_that_is_on_its_way() -> None:
    case = resuming()
    case.feed(ev.PauseOrdered(case.by()))
    assert case.halts, "S5: 'already paused' while the pump is being started is no answer"
    assert case.order is None
    assert case.phase is Phase.PAUSED


def test_being_content_stops_a_resume_that_is_on_its_way() -> None:
    case = resuming()
    case.feed(ev.EndOrdered(case.by()))
    assert case.halts
    assert case.phase is Phase.ENDING
    assert case.order is None


def test_a_person_whose_resume_is_overtaken_is_told() -> None:
    case = resuming()
    request = case.state.pending.by.request
    case.feed(ev.PauseOrdered(case.by()))
    assert any(answer.request == request and answer.state == "failed" for answer in case.got(ev.Answer))


def test_a_new_plan_waits_for_a_start_that_is_on_its_way() -> None:
    case = Case().starting()
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    assert case.answer.reason == "busy"
    assert case.phase is Phase.ARMED
    assert case.state.session_id == "s-1"


def test_an_armed_quarter_of_an_hour_does_not_disown_a_start_on_its_way() -> None:
    case = Case().armed()
    case.feed(ev.StartOrdered(case.by(), case.confirm()), 899.9)
    assert isinstance(case.order, ev.Begin)
    assert case.wake_at is None, "nothing to wake for: the start is answered in its own time"
    case.feed(ev.Tick(), 0.2)
    assert case.phase is Phase.ARMED
    assert isinstance(case.order, ev.Begin)


def test_losing_sight_with_a_start_on_its_way_is_a_high_alarm() -> None:
    case = Case().starting()
    case.feed(ev.LinkDown("no reply"))
    assert case.raised == {"comms_lost_pump"}, "it may be infusing"


def test_a_start_that_never_left_before_sight_was_lost_must_be_armed_again() -> None:
    case = Case().starting()
    case.feed(ev.LinkDown("no reply"))
    case.failed("link_lost")
    assert case.phase is Phase.PLANNED
    assert case.state.armed_at is None
    assert "unarmed" in case.raised


def test_a_start_found_not_carried_out_after_a_loss_of_sight_must_be_armed_again() -> None:
    case = Case().starting()
    case.failed("uncertain", uncertain=True)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=case.plan.volume)), 5)
    case.read(STANDING)
    assert case.answer.state == "failed"
    assert case.phase is Phase.PLANNED
    assert case.state.armed_at is None


def test_arming_that_ends_out_of_sight_does_not_arm() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.LinkDown("no reading for 3 s"))
    case.done()
    assert case.phase is Phase.PLANNED
    assert case.answer.state == "failed"


# --- uncertain orders, and what the next reading makes of them ---


def test_an_uncertain_start_found_infusing_after_a_blind_minute_is_our_pump() -> None:
    case = Case().starting()
    case.failed("uncertain", uncertain=True)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=case.plan.volume)), 60)
    case.read(INFUSING, RATE, "0.777")
    assert case.state.sight is Sight.SEEING
    assert case.phase is Phase.RUNNING
    assert case.state.elapsed_at(case.now) == pytest.approx(61.1)


@pytest.mark.shows("S4", "S10")
def test_a_start_taken_at_a_crash_is_found_infusing() -> None:
    case = Case().starting()
    case.feed(ev.Restarted(rebooted=False), 20)
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=case.plan.volume)), 1)
    case.read(INFUSING, RATE, "0.27")
    assert case.phase is Phase.RUNNING
    assert not case.got(ev.Begin)
    assert not case.halts


@pytest.mark.shows("S4")
def test_an_uncertain_start_that_was_carried_out_loads_what_the_pump_must_now_read() -> None:
    case = Case().paused(600)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 5)
    limit = case.order.limit
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING)
    assert case.phase is Phase.RUNNING
    assert (case.state.ours.rate, case.state.ours.limit) == (RATE, limit)


@pytest.mark.shows("H59")
def test_a_rate_step_down_that_was_not_carried_out_is_not_forgotten() -> None:
    case = Case(plan=plan(portions=DOWN_STEPS)).running(1190)
    first = case.plan.first_rate
    while not case.got(ev.SetRate):
        case.read(INFUSING, first, case.state.volumes.counted + first.over(1).down(MINIMUM.value))
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, first)
    assert case.got(ev.SetRate) == [ev.SetRate(case.state.orders, case.plan.steps[1].rate, False)]
    assert "rate_above_plan" in case.raised


@pytest.mark.shows("H59", "S4")
def test_an_uncertain_rate_that_was_carried_out_is_what_the_pump_must_read() -> None:
    case = Case().running(60)
    wanted = MlPerHour("30")
    case.feed(ev.RateOrdered(case.by(), wanted, None, SOFTLY))
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, wanted)
    assert case.answer.state == "done"
    assert case.state.ours.rate == wanted
    assert case.state.plan.rate_at(1e9) == wanted
    assert not case.got(ev.SetRate), "done is done"


def test_a_rate_on_its_way_at_a_crash_does_not_make_the_pump_a_stranger() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour("30"), None, SOFTLY))
    case.feed(ev.Restarted(rebooted=False), 5)
    case.feed(ev.LinkUp(replace(WHO, rate=MlPerHour("30"), limit=case.plan.volume)), 1)
    assert "pump_not_proved" not in case.state.conditions
    case.read(INFUSING, MlPerHour("30"), case.state.volumes.counted + Ml("0.06"))
    assert case.phase is Phase.RUNNING
    assert case.state.plan.rate_at(1e9) == MlPerHour("30")


def test_a_limit_on_its_way_at_a_crash_does_not_make_the_pump_a_stranger() -> None:
    case = Case().running(60)
    case.read(STANDING)
    limit = case.order.limit
    case.feed(ev.Restarted(rebooted=False), 5)
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=limit)), 1)
    assert "pump_not_proved" not in case.state.conditions


# --- one order at a time ---


@pytest.mark.parametrize("contained", [True, False])
def test_the_end_waits_for_an_order_on_its_way_and_then_leaves_the_smallest_limit(contained: bool) -> None:
    case = Case().running(60)
    case.read(STANDING)
    assert isinstance(case.order, ev.Tighten)
    assert case.order.limit > MINIMUM
    case.feed(ev.EndOrdered(case.by()))
    if contained:
        case.done()
    else:
        case.failed()
    if isinstance(case.order, ev.Tighten) and case.order.limit > MINIMUM:
        case.done()
    case.read(STANDING)
    assert isinstance(case.order, ev.Tighten)
    assert case.order.limit == MINIMUM
    assert case.phase is Phase.ENDING
    case.done()
    assert case.phase is Phase.OBSERVING
    assert case.state.ours.limit == MINIMUM


def test_completion_does_not_overtake_a_rate_on_its_way() -> None:
    case = Case(plan=plan(portions=TWO_STEPS)).running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour("20"), None, SOFTLY))
    case.read(STANDING, RATE, case.plan.volume)
    assert isinstance(case.order, ev.SetRate)
    case.done()
    case.read(STANDING, RATE)
    assert isinstance(case.order, ev.Tighten)


# --- stop ---


def test_an_answered_stop_that_reads_moving_is_not_done_also_out_of_sight() -> None:
    case = Case().running(30)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.PumpStopOrdered(case.by()))
    case.halted(INFUSING)
    assert case.state.halt is not None, "S5: only a reading that says standing opens the latch"
    assert not any(answer.state == "done" for answer in case.got(ev.Answer))


def test_a_stop_whose_line_is_lost_waits_and_goes_first_when_the_pump_is_proved() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.feed(ev.LinkDown("no reply"))
    case.halt_failed("link_lost")
    assert not case.halts
    case.feed(ev.StopUnconfirmed(), 2)
    assert case.raised == {"stop_not_confirmed"}
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=case.plan.volume)), 8)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.1"))
    assert case.halts
    case.halted()
    assert case.state.halt is None
    assert ev.Clear("stop_not_confirmed") in case.last


@pytest.mark.shows("S15")
@pytest.mark.parametrize("order", [ev.StopOrdered, ev.PauseOrdered])
def test_a_pump_not_proved_gets_a_stop_from_pump_stop_only(order: type) -> None:
    case = Case().running(30)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(WHO, version="V9", rate=RATE, limit=case.plan.volume)), 5)
    assert "pump_not_proved" in case.state.conditions
    case.feed(order(case.by()))
    assert not case.halts, "S15: no order goes to it"
    assert case.state.halt is not None, "S5: but it is latched"
    case.feed(ev.PumpStopOrdered(case.by()))
    assert case.halts


@pytest.mark.shows("S5")
def test_a_stop_latched_for_an_unproved_pump_is_sent_once_it_is_proved() -> None:
    case = Case().running(30)
    case.feed(ev.LinkDown("no reply"))
    ours = replace(WHO, rate=RATE, limit=case.plan.volume)
    case.feed(ev.LinkUp(replace(ours, version="V9")), 5)
    case.feed(ev.StopOrdered(case.by()))
    case.feed(ev.LinkDown("no reply"), 1)
    case.feed(ev.LinkUp(ours), 1)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml("0.1"))
    assert case.halts


@pytest.mark.shows("S2")
def test_a_refused_set_down_stops_the_pump() -> None:
    case = Case().running(30)
    case.read(INFUSING, "50")
    assert isinstance(case.order, ev.SetRate)
    case.failed("refused")
    assert case.halts
    assert case.raised == {"rate_not_set"}
    assert case.phase is Phase.PAUSED
    assert not case.state.hold.by_pump


@pytest.mark.parametrize("motion", [Motion.BOLUS, Motion.PURGING, Motion.KVO, Motion.WITHDRAWING, Motion.UNKNOWN])
def test_an_unplanned_function_found_after_a_restart_is_stopped_with_its_alarm(motion: Motion) -> None:
    case = Case().running(30)
    case.feed(ev.Restarted(rebooted=False), 5)
    case.feed(ev.LinkUp(replace(WHO, rate=RATE, limit=case.plan.volume)), 1)
    case.read(motion)
    assert case.halts
    assert "unplanned_function" in case.raised


def test_a_standing_reading_from_before_the_stop_does_not_answer_it() -> None:
    case = resuming()
    case.feed(ev.StopOrdered(case.by()))
    case.read(STANDING, dt=0.0)
    assert case.state.halt is not None, "the resume may have reached the pump after that reading"
    case.halted(INFUSING)
    assert case.halts


@pytest.mark.shows("S5")
@pytest.mark.parametrize("order", [ev.PauseOrdered, ev.StopOrdered])
def test_nothing_is_sent_behind_a_stop_before_it_is_read_back(order: type) -> None:
    case = Case().running(60)
    case.feed(order(case.by()))
    case.read(STANDING)
    assert case.order is None
    case.halted()
    assert isinstance(case.order, ev.Tighten)
