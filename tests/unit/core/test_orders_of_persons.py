"""What each order of a person is answered with, what it changes, and what refuses it - short cases, one fact each."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.state import HaltLatch, Phase, Sight
from pumpd.core.therapy import catch_up, offer
from pumpd.driver import Grid, PumpAlarm
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import (
    FITTED,
    INFUSING,
    MINIMUM,
    PLAN,
    RATE,
    STANDING,
    SYRINGE,
    TWO_STEPS,
    Case,
    plan,
)

LOWER, HIGHER = MlPerHour(45), MlPerHour(50)


def holding(case: Case, *codes: str) -> Case:
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


def refused(case: Case) -> str:
    """The reason; nothing went out and nothing is on its way because of it."""
    (answer,) = case.last
    assert isinstance(answer, ev.Answer)
    assert answer.state == "rejected"
    return answer.reason


# --- a plan ---


def test_a_new_plan_keeps_what_outlives_a_session_and_nothing_else() -> None:
    case = holding(Case().connected(), "journal_unavailable", "unarmed", "pump_not_proved", "comms_lost_pump")
    case.state = replace(case.state, revision=40, orders=9)
    before = case.before()
    case.feed(ev.PlanOrdered(case.by(), "s-9", case.plan, case.rules, before))
    state = case.state
    assert (state.sight, state.session_id, state.patient_ref) == (Sight.SEEING, "s-9", "p-1")
    assert (state.revision, state.orders) == (41, 9)
    assert (state.connected, state.report) == (before.connected, before.report)
    assert state.conditions == {"journal_unavailable"}
    assert dict(case.answer.readback) == {"session_id": "s-9", "volume_ml": str(case.plan.volume.value)}


def test_a_plan_for_a_pump_that_is_not_there_is_blind_and_says_so_still() -> None:
    case = holding(Case(), "comms_lost_pump")
    case.feed(ev.PlanOrdered(case.by(), "s-9", case.plan, case.rules, case.before()))
    assert case.state.sight is Sight.BLIND
    assert "comms_lost_pump" in case.state.conditions


def test_a_plan_waits_for_an_arming_on_its_way() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    assert refused(case) == "busy"
    assert case.state.session_id == "s-1"


# --- arming ---


def test_arming_anew_unarms_until_it_is_done() -> None:
    case = Case(keypad_lock=True, plan=plan(portions=TWO_STEPS)).armed()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.phase is Phase.PLANNED
    (order,) = case.got(ev.Arm)
    assert order.keypad_lock
    assert order.rate == MlPerHour(21), "of the first step"


def test_nothing_is_armed_when_the_whole_volume_is_counted_already() -> None:
    case = Case().planned()
    case.state = replace(case.state, volumes=replace(case.state.volumes, high=PLAN.volume))
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert refused(case) == "limit"


def test_what_was_armed_is_forgotten_when_it_is_unarmed() -> None:
    case = Case().armed()
    case.read(STANDING, "10")
    assert (case.state.armed_at, case.state.settings) == (None, ())
    assert case.got(ev.Raise)[0].values == (("why", "something was changed at the pump"),)


def test_arming_too_long_ago_says_how_long() -> None:
    case = Case().armed()
    case.feed(ev.Tick(), 900)
    assert "15 minutes" in dict(case.got(ev.Raise)[0].values)["why"]


# --- what a start, resume or finish needs ---


@pytest.mark.shows("S4")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sight": Sight.VERIFYING}, "link_lost"),
        ({"sight": Sight.BLIND}, "link_lost"),
        ({"report": None}, "busy"),
        ({"ours": None}, "not_armed"),
    ],
)
def test_nothing_begins_in_doubt(changes: dict[str, object], reason: str) -> None:
    case = Case().armed()
    confirm = case.confirm()
    case.state = replace(case.state, **changes)
    case.feed(ev.StartOrdered(case.by(), confirm))
    assert refused(case) == reason


def test_nothing_begins_while_the_pump_moves_or_an_order_is_on_its_way() -> None:
    case = Case().paused()
    confirm = case.confirm()
    case.state = replace(case.state, report=replace(case.state.report, motion=INFUSING))
    case.feed(ev.ResumeOrdered(case.by(), confirm))
    assert refused(case) == "busy"
    twice = Case().paused()
    twice.feed(ev.ResumeOrdered(twice.by(), twice.confirm()))
    twice.feed(ev.ResumeOrdered(twice.by(), twice.confirm()))
    assert refused(twice) == "busy"


def test_what_is_offered_is_what_must_be_confirmed() -> None:
    armed = Case().armed()
    assert offer(armed.state, armed.now) == (RATE, Ml(35))
    paused = Case().paused()
    assert offer(paused.state, paused.now) == (RATE, paused.confirm().volume)
    assert offer(Case().state, 0.0) is None
    running = Case().running(9)
    assert offer(running.state, running.now) is None
    empty = replace(paused.state, volumes=replace(paused.state.volumes, high=PLAN.volume))
    assert offer(empty, paused.now) is None


def test_finishing_gives_what_is_missing_at_the_plans_rate() -> None:
    case = Case(plan=plan(portions=TWO_STEPS)).running(60)
    case.read(STANDING, "21", "30", dt=2800)
    case.done()
    case.feed(ev.FinishOrdered(case.by("prescriber"), case.confirm()))
    (begin,) = case.got(ev.Begin)
    assert begin.rate == MlPerHour("67.20"), "of the last step"
    assert begin.limit == case.plan.volume - Ml("30.01")


@pytest.mark.parametrize(("waited", "reason"), [(900.0, None), (900.001, "not_allowed")])
def test_a_quarter_of_an_hour_itself_is_no_long_pause(waited: float, reason: str | None) -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), case.state.hold.at + waited - case.now)
    assert bool(case.got(ev.Begin)) is (reason is None)
    assert reason is None or "15 minutes" in case.answer.text


@pytest.mark.parametrize(("role", "begins"), [("nurse", False), ("prescriber", True)])
def test_what_a_prescriber_must_decide_waits_for_one(role: str, begins: bool) -> None:
    case = Case().paused()
    case.state = replace(case.state, hold=replace(case.state.hold, needs_prescriber=True))
    case.feed(ev.ResumeOrdered(case.by(role), case.confirm()))
    assert bool(case.got(ev.Begin)) is begins
    assert begins or refused(case) == "not_allowed"


# --- catching up ---


def test_a_plan_that_catches_up_gives_the_rest_in_the_time_that_was_left() -> None:
    case = Case().paused(600)
    case.now = case.state.hold.at + 100
    case.feed(ev.ResumeOrdered(case.by(), None, recalculate=True))
    offered = MlPerHour(case.answer.text.split("rate ")[1].split(" mL/h")[0])
    left = round(case.plan.seconds - case.state.elapsed - 100)
    rest = case.plan.volume - case.state.volumes.most(Decimal("0.01"))
    assert offered.value == FITTED.rates.down(rest.value * 3600 / left)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(offered), recalculate=True))
    begin, pending = case.order, case.state.pending
    assert isinstance(begin, ev.Begin)
    assert begin.rate == offered
    assert pending is not None
    assert pending.plan is not None
    past, rest_step = pending.plan.steps
    assert (past.seconds, rest_step.volume) == (case.state.elapsed, rest)


def test_the_rate_that_would_catch_up_is_told_while_paused_and_is_what_is_taken() -> None:
    case = Case().paused(600)
    case.now = case.state.hold.at + 100
    rate = catch_up(case.state, case.now)
    assert rate is not None
    assert rate > RATE
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(rate), recalculate=True))
    assert case.order.rate == rate


def test_after_a_pause_that_was_hardly_one_the_rate_that_catches_up_is_the_plans() -> None:
    case = Case().paused(600)
    case.now = case.state.hold.at
    rate = catch_up(case.state, case.now)
    assert rate == case.state.plan.rate_at(case.state.elapsed)
    case.now += 8  # while a person reads
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(rate), recalculate=True))
    assert case.order.rate == rate


def test_no_rate_is_told_where_nothing_may_be_caught_up() -> None:
    running, late, blocked = Case().running(600), Case().paused(600), Case().paused(600)
    assert catch_up(running.state, running.now) is None
    assert catch_up(late.state, late.state.hold.at + late.plan.seconds) is None
    assert catch_up(blocked.state, blocked.now) is not None
    blocked.feed(ev.PumpTold(PumpAlarm("motor_stalled", "S")))
    assert catch_up(blocked.state, blocked.now) is None


def test_a_lower_rate_than_the_plans_is_no_catching_up() -> None:
    """A rate below the plan's, confirmed, is not what was offered."""
    case = Case().paused(600)
    case.now = case.state.hold.at + 100
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(LOWER), recalculate=True))
    assert refused(case) == "not_confirmed"


# --- pause and stop ---


def test_pausing_what_does_not_run_changes_nothing() -> None:
    case = Case().armed()
    case.feed(ev.PauseOrdered(case.by()))
    assert (case.answer.state, case.phase, case.state.hold) == ("done", Phase.ARMED, None)
    assert not case.halts


def test_a_pause_says_who_ordered_it() -> None:
    case = Case().running(9)
    case.feed(ev.PauseOrdered(case.by()))
    hold = case.state.hold
    assert (hold.reason, hold.by_pump, hold.at) == ("paused by nurse-1", False, case.now)
    assert case.answer.state == "accepted"


@pytest.mark.shows("S5")
def test_a_pause_of_a_start_on_its_way_stops_it() -> None:
    case = Case().starting()
    case.feed(ev.PauseOrdered(case.by()))
    assert case.halts
    assert case.phase is Phase.PAUSED


@pytest.mark.shows("S5")
def test_a_pause_while_a_stop_is_owed_joins_it() -> None:
    case = Case().running(9)
    case.feed(ev.PauseOrdered(case.by()))
    case.feed(ev.PauseOrdered(case.by()))
    assert len(case.state.halt.asked_by) == 2
    ending = Case().running(9)
    ending.feed(ev.StopOrdered(ending.by()))
    ending.feed(ev.PauseOrdered(ending.by()))
    assert ending.phase is Phase.ENDING


def test_a_session_that_never_ran_is_aborted_in_words() -> None:
    case = holding(Case().planned(), "unarmed")
    case.feed(ev.StopOrdered(case.by()))
    assert (case.phase, case.answer.state) == (Phase.ABORTED, "done")
    assert ev.Clear("unarmed") in case.last


@pytest.mark.shows("S5")
@pytest.mark.parametrize("phase", ["planned", "armed"])
def test_a_stop_with_an_order_on_its_way_goes_to_the_pump(phase: str) -> None:
    case = getattr(Case(), phase)()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.StopOrdered(case.by()))
    assert case.halts
    assert case.phase is Phase.ENDING


def test_a_stop_while_observing_leaves_it_observing() -> None:
    case = Case().observing()
    case.feed(ev.StopOrdered(case.by()))
    assert case.halts
    assert case.phase is Phase.OBSERVING


@pytest.mark.shows("S5")
@pytest.mark.parametrize(
    ("phase", "after"),
    [
        ("planned", Phase.PLANNED),
        ("armed", Phase.PLANNED),
        ("running", Phase.ENDING),
        ("paused", Phase.ENDING),
        ("observing", Phase.OBSERVING),
    ],
)
def test_where_pump_stop_leads(phase: str, after: Phase) -> None:
    case = getattr(Case(), phase)()
    case.feed(ev.PumpStopOrdered(case.by()))
    assert case.phase is after


@pytest.mark.shows("S5", "S15")
def test_pump_stop_goes_to_whoever_is_there() -> None:
    case = Case().running(9)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(case.state.ours, version="V1")))
    case.feed(ev.PumpStopOrdered(case.by()))
    assert case.halts


# --- rates ---


def test_restoring_moves_the_end_by_what_is_missing() -> None:
    case = Case().running(60)
    case.read(INFUSING, "20", "0.9", dt=60)
    case.feed(ev.RestoreOrdered(case.by(), ev.Confirm(RATE)))
    assert case.state.pending.plan.steps[0].volume == Ml("0.9")
    assert case.state.pending.by is not None


@pytest.mark.parametrize("confirm", [None, ev.Confirm(), ev.Confirm(LOWER)])
def test_restoring_is_confirmed_with_the_plans_rate(confirm: ev.Confirm | None) -> None:
    case = Case().running(9)
    case.read(INFUSING, "20")
    case.feed(ev.RestoreOrdered(case.by(), confirm))
    assert refused(case) == "not_confirmed"
    assert "46.66 mL/h" in case.answer.text


@pytest.mark.parametrize("order", ["restore", "accept", "rate"])
@pytest.mark.parametrize(("doubt", "reason"), [("blind", "link_lost"), ("order", "busy"), ("stop", "busy")])
def test_no_rate_is_ordered_in_doubt(order: str, doubt: str, reason: str) -> None:
    case = Case().running(9)
    case.read(INFUSING, LOWER)
    if doubt == "blind":
        case.feed(ev.LinkDown("no reply"))
    elif doubt == "order":
        case.feed(ev.RestoreOrdered(case.by(), ev.Confirm(RATE)))
    else:
        case.state = replace(case.state, halt=HaltLatch(0.0, 1, True))
    orders = {
        "restore": ev.RestoreOrdered(case.by(), ev.Confirm(RATE)),
        "accept": ev.AcceptOrdered(case.by(), ev.Confirm(LOWER)),
        "rate": ev.RateOrdered(case.by(), LOWER, ev.Confirm(LOWER)),
    }
    case.feed(orders[order])
    assert refused(case) == reason


@pytest.mark.parametrize("confirm", [None, ev.Confirm(), ev.Confirm(RATE)])
def test_accepting_is_confirmed_with_the_rate_that_runs(confirm: ev.Confirm | None) -> None:
    case = Case().running(9)
    case.read(INFUSING, LOWER)
    case.feed(ev.AcceptOrdered(case.by(), confirm))
    assert refused(case) == "not_confirmed"


def test_an_accepted_rate_is_told_with_the_time_it_leaves() -> None:
    case = Case().running(60)
    case.read(INFUSING, LOWER, "0.8")
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(LOWER)))
    rest = LOWER.seconds_for(PLAN.volume - max(Ml("0.8"), case.state.volumes.low))
    assert dict(case.answer.readback) == {"rate_ml_h": "45", "remaining_s": str(round(rest))}
    assert "rate_below_plan" not in case.state.conditions
    assert case.state.ordered == LOWER


def test_a_pump_that_tells_no_rate_has_none_to_accept() -> None:
    case = Case().running(9)
    case.read(INFUSING, None)
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(None)))
    assert refused(case) == "differs"


@pytest.mark.shows("S2")
def test_the_rate_that_runs_is_no_raise_and_one_that_is_not_known_makes_any_a_raise() -> None:
    case = Case().running(9)
    case.feed(ev.RateOrdered(case.by(), RATE, None))
    assert not case.got(ev.SetRate)[0].gives_more
    unknown = Case().running(9)
    unknown.read(INFUSING, None)
    unknown.feed(ev.RateOrdered(unknown.by(), LOWER, None))
    assert refused(unknown) == "not_confirmed"


def test_another_rate_counts_from_what_was_surely_given() -> None:
    case = Case().running(60)
    given = max(case.state.volumes.counted, case.state.volumes.low)
    case.feed(ev.RateOrdered(case.by(), LOWER, None))
    past, rest = case.state.pending.plan.steps
    assert (past.volume, rest.rate) == (given, LOWER)
    assert past.seconds == pytest.approx(case.state.elapsed_at(case.now))


# --- another container ---


@pytest.mark.parametrize(("fill", "fits"), [("0", True), ("0.01", False)])
def test_another_container_holds_what_remains(fill: str, fits: bool) -> None:
    case = Case().paused()
    remaining = case.confirm().volume
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=remaining - Ml(fill)), FITTED))
    assert bool(case.got(ev.Arm)) is fits
    assert fits or refused(case) == "limit"


def test_another_container_is_armed_with_what_holds_for_it() -> None:
    case = Case(keypad_lock=True).paused()
    other = replace(SYRINGE, diameter_mm=Decimal("21.59"))
    faster = replace(FITTED, rates=replace(FITTED.rates, most=Decimal(99)))
    limit = case.confirm().volume
    case.feed(ev.ContainerOrdered(case.by(), other, faster))
    number = case.order.number
    assert case.got(ev.Arm) == [ev.Arm(number, other, RATE, limit, True)]
    assert case.state.rules.fitted == FITTED, "not before it is in"
    case.done()
    assert case.state.rules.fitted == faster
    assert case.state.fitted_counted == case.state.volumes.counted
    assert case.phase is Phase.PAUSED


def test_a_container_with_too_coarse_a_limit_for_the_rest_is_refused() -> None:
    case = Case().paused()
    coarse = replace(FITTED, limits=Grid(Decimal(50), Decimal(100), ((Decimal(101), Decimal(1)),)))
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, coarse))
    assert refused(case) == "limit"


def test_no_container_is_fitted_to_a_pump_that_is_not_seen() -> None:
    case = Case().paused()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, FITTED))
    assert refused(case) == "link_lost"


# --- the end ---


def test_being_content_while_running_stops_the_pump() -> None:
    case = Case().running(9)
    case.feed(ev.EndOrdered(case.by()))
    assert case.halts
    assert case.phase is Phase.ENDING
    assert case.answer.state == "accepted"


def test_being_content_while_paused_secures_the_pump() -> None:
    case = Case().paused()
    case.feed(ev.EndOrdered(case.by()))
    assert [order.limit for order in case.got(ev.Tighten)] == [MINIMUM]
    assert (case.phase, case.answer.state) == (Phase.ENDING, "done")


@pytest.mark.parametrize("doubt", ["blind", "order"])
def test_being_content_while_the_pump_cannot_be_told_waits_with_its_limit(doubt: str) -> None:
    case = Case().paused_by_pump()
    if doubt == "blind":
        case.feed(ev.LinkDown("no reply"))
    else:
        case.feed(ev.ReleaseOrdered(case.by()))
        case.state = replace(case.state, limit_covers=False)
        case.read(STANDING, RATE)
        assert case.order is not None
    case.feed(ev.EndOrdered(case.by()))
    assert not case.got(ev.Tighten)
    assert (case.phase, case.answer.state) == (Phase.ENDING, "done")


def test_ending_again_is_refused_unless_our_pump_is_gone() -> None:
    case = Case().running(9)
    case.feed(ev.StopOrdered(case.by()))
    case.feed(ev.EndOrdered(case.by()))
    assert refused(case) == "busy"
    case.halted()
    case.feed(ev.EndOrdered(case.by()))
    assert refused(case) == "wrong_phase"
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(case.state.ours, version="V1")))
    case.feed(ev.EndOrdered(case.by()))
    assert (case.answer.state, case.phase, case.state.released) == ("done", Phase.ABORTED, True)


def test_ending_the_observation_is_answered() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    assert (case.answer.state, case.phase) == ("done", Phase.ABORTED)
    assert not case.got(ev.Tighten)


# --- hands off, standby ---


def test_hands_off_waits_for_a_pump_that_stands_in_sight() -> None:
    case = Case().observing()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.ReleaseOrdered(case.by()))
    assert refused(case) == "link_lost"
    assert not case.state.released


def test_standby_is_refused_while_the_pump_moves() -> None:
    case = Case().connected()
    case.read(INFUSING, "12")
    case.feed(ev.StandbyOrdered(case.by()))
    assert refused(case) == "wrong_phase"
    assert not case.state.standby
    case.read(STANDING, None)
    case.feed(ev.StandbyOrdered(case.by()))
    assert (case.answer.state, case.state.standby) == ("done", True)
