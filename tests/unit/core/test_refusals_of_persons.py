"""Which words of a person are taken, which are refused and for what: the first obstacle is told, in a fixed order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.plan import Plan
from pumpd.core.state import HaltLatch, Phase, State
from pumpd.driver import Grid
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import (
    FITTED,
    INFUSING,
    PLAN,
    RATE,
    SOFTLY,
    STANDING,
    SYRINGE,
    TWO_STEPS,
    Case,
    plan,
    rules,
)

LOWER, HIGHER, OFF_GRID = MlPerHour(45), MlPerHour(50), MlPerHour("46.665")
STOPPING = HaltLatch(0.0, 1, True)


def answered(case: Case) -> tuple[str, str]:
    answer = case.got(ev.Answer)[-1]
    return answer.state, answer.reason


def paused(**changes: object) -> Case:
    """Paused a moment ago, with these changes to why."""
    case = Case().paused(9)
    assert case.state.hold is not None
    case.state = replace(case.state, hold=replace(case.state.hold, **changes))
    return case


# --- resuming ---


@pytest.mark.shows("H9", "H60")
@pytest.mark.parametrize(("trapped", "told"), [(True, ()), (False, ("motor_stalled",)), (True, ("motor_stalled",))])
def test_pressure_that_may_be_trapped_is_released_first_and_never_caught_up(trapped: bool, told: tuple[str]) -> None:
    case = paused(needs_pressure_release=trapped)
    case.state = replace(case.state, told=told)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert answered(case) == ("rejected", "not_confirmed")
    case.feed(ev.FinishOrdered(case.by(), case.confirm()))
    assert answered(case) == ("rejected", "not_confirmed")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), recalculate=True, pressure_released=True))
    assert answered(case) == ("rejected", "not_allowed")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), pressure_released=True))
    assert case.got(ev.Begin)


def test_nothing_left_is_no_resume_and_no_finish() -> None:
    case = Case().paused(9)
    case.state = replace(case.state, volumes=replace(case.state.volumes, high=PLAN.volume))
    for order in (ev.ResumeOrdered, ev.FinishOrdered):
        case.feed(order(case.by(), ev.Confirm(RATE, Ml(0))))
        assert answered(case) == ("rejected", "limit")


def catching_up(left: float, rest: str) -> Case:
    """So many seconds of the plan are left, and so much of its volume."""
    case = Case().paused(9)
    high = PLAN.volume - Ml(rest)
    case.state = replace(
        case.state, elapsed=PLAN.seconds - left, volumes=replace(case.state.volumes, high=high, counted=Ml(1))
    )
    assert case.state.hold is not None
    case.now = case.state.hold.at
    return case


@pytest.mark.parametrize(
    ("left", "rest", "words"),
    [
        (0.99, "0.02", "no time is left"),
        (1.01, "0.02", "read back to the person"),
        (600.0, "0", "no time is left"),
        (2000.0, "0.001", "cannot be set to the recalculated rate"),
    ],
)
def test_when_there_is_nothing_to_catch_up_with(left: float, rest: str, words: str) -> None:
    case = catching_up(left, rest)
    case.feed(ev.ResumeOrdered(case.by(), ev.Confirm(RATE, Ml(1)), recalculate=True, override=SOFTLY))
    assert words in case.answer.text
    assert not case.got(ev.Begin)


@pytest.mark.shows("S2")
@pytest.mark.parametrize(("offered", "begins"), [("46.65", False), ("46.66", True), ("46.80", True), ("90", False)])
def test_a_rate_between_the_plans_and_the_needed_one_is_taken(offered: str, begins: bool) -> None:
    case, rate = Case().paused(9), MlPerHour(offered)
    case.now = case.state.hold.at + 100
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(rate), recalculate=True))
    assert [order.rate for order in case.got(ev.Begin)] == ([rate] if begins else [])
    if begins:
        case.done()
        assert (case.state.ordered, case.state.plan.rate_at(case.state.elapsed_at(case.now))) == (rate, rate)


@pytest.mark.shows("S8")
def test_catching_up_beyond_a_limit_is_refused_in_the_limits_words() -> None:
    case = Case().paused(60)
    case.now = case.state.hold.at + 2000
    case.feed(ev.ResumeOrdered(case.by("prescriber"), None, recalculate=True))
    assert answered(case) == ("rejected", "limit")
    assert "1.5 mg/kg/h" in case.answer.text


# --- pausing, stopping, ending ---


@pytest.mark.shows("S5")
def test_a_plan_waits_for_a_stop_that_is_owed() -> None:
    case = Case().connected()
    case.state = replace(case.state, halt=STOPPING)
    case.feed(ev.PlanOrdered(case.by(), "s-1", case.plan, case.rules, case.before()))
    assert answered(case) == ("rejected", "busy")
    assert case.phase is Phase.IDLE


def test_a_new_session_goes_on_counting_revisions() -> None:
    case = Case().connected()
    case.state = replace(case.state, revision=40)
    before = replace(case.before(), revision=77)
    case.feed(ev.PlanOrdered(case.by(), "s-1", case.plan, case.rules, before))
    assert case.state.revision >= 41


@pytest.mark.shows("S3")
def test_a_person_who_pauses_what_the_pump_has_paused_takes_it_over() -> None:
    case = Case().paused_by_pump(9)
    case.feed(ev.PauseOrdered(case.by()))
    assert answered(case) == ("done", "")
    assert not case.state.hold.by_pump
    assert not case.halts


@pytest.mark.shows("S5")
@pytest.mark.parametrize("order", [ev.PauseOrdered, ev.EndOrdered])
def test_a_resume_on_its_way_is_stopped(order: type) -> None:
    case = Case().paused(9)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.feed(order(case.by()))
    assert case.halts
    assert case.phase is (Phase.PAUSED if order is ev.PauseOrdered else Phase.ENDING)


@pytest.mark.shows("S5")
def test_being_content_while_the_pause_is_not_read_back_joins_its_stop() -> None:
    case = Case().running(9)
    case.feed(ev.PauseOrdered(case.by()))
    case.feed(ev.EndOrdered(case.by()))
    assert answered(case) == ("accepted", "")
    assert len(case.state.halt.asked_by) == 2
    assert case.phase is Phase.ENDING


def test_pump_stop_ends_what_is_being_recovered() -> None:
    case = Case().running(9)
    case.feed(ev.Restarted(False), 1)
    case.feed(ev.PumpStopOrdered(case.by()))
    assert case.phase is Phase.ENDING


def test_unarming_leads_back_to_the_plan() -> None:
    case = Case().armed()
    case.feed(ev.Tick(), 900)
    assert case.phase is Phase.PLANNED


# --- rates ---


@pytest.mark.shows("S2")
def test_restoring_gives_more() -> None:
    case = Case().running(9)
    case.read(INFUSING, "20")
    case.feed(ev.RestoreOrdered(case.by(), ev.Confirm(RATE)))
    assert [(order.rate, order.gives_more) for order in case.got(ev.SetRate)] == [(RATE, True)]


@pytest.mark.parametrize("confirm", [None, ev.Confirm(RATE)])
def test_out_of_sight_is_told_before_all_else(confirm: ev.Confirm | None) -> None:
    case = Case(pump=replace(rules().pump, live_rate_change=False)).running(9)
    case.feed(ev.LinkDown("no reply"))
    for order in (
        ev.RestoreOrdered(case.by(), confirm),
        ev.AcceptOrdered(case.by(), confirm),
        ev.RateOrdered(case.by(), OFF_GRID, confirm),
        ev.RateOrdered(case.by(), MlPerHour(150), confirm),
    ):
        case.feed(order)
        assert answered(case) == ("rejected", "link_lost")


@pytest.mark.parametrize(
    ("rate", "confirm", "reason"),
    [
        (OFF_GRID, None, "limit"),
        (HIGHER, None, "not_confirmed"),
        (HIGHER, ev.Confirm(), "not_confirmed"),
        (HIGHER, ev.Confirm(LOWER), "not_confirmed"),
        (MlPerHour(150), None, "not_confirmed"),
        (MlPerHour(150), ev.Confirm(MlPerHour(150)), "limit"),
        (MlPerHour(10), None, "limit"),
    ],
)
def test_a_rate_is_refused_for_its_first_obstacle(rate: MlPerHour, confirm: ev.Confirm | None, reason: str) -> None:
    case = Case().running(9)
    case.feed(ev.RateOrdered(case.by(), rate, confirm))
    assert answered(case) == ("rejected", reason)
    assert not case.got(ev.SetRate)


@pytest.mark.parametrize(("rate", "reason"), [(OFF_GRID, "limit"), (HIGHER, "not_confirmed"), (LOWER, "not_allowed")])
def test_a_pump_that_takes_no_rate_while_it_runs_says_so_last(rate: MlPerHour, reason: str) -> None:
    case = Case(pump=replace(rules().pump, live_rate_change=False)).running(9)
    case.feed(ev.RateOrdered(case.by(), rate, None))
    assert answered(case) == ("rejected", reason)


@pytest.mark.shows("S2")
@pytest.mark.parametrize(("rate", "more"), [(HIGHER, True), (LOWER, False)])
def test_a_rate_that_is_taken_is_a_raise_or_not(rate: MlPerHour, more: bool) -> None:
    case = Case().running(9)
    case.feed(ev.RateOrdered(case.by(), rate, ev.Confirm(rate)))
    assert [(order.rate, order.gives_more) for order in case.got(ev.SetRate)] == [(rate, more)]


@pytest.mark.parametrize(
    ("rate", "confirm", "reason"),
    [("45.005", "45.005", "limit"), ("45", "46", "not_confirmed"), ("20", "20", "limit"), ("0", "0", "differs")],
)
def test_a_rate_is_not_accepted_for_its_first_obstacle(rate: str, confirm: str, reason: str) -> None:
    case = Case().running(9)
    case.read(INFUSING, rate)
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(MlPerHour(confirm))))
    assert answered(case) == ("rejected", reason)
    assert case.state.plan == PLAN


def test_what_a_standing_pump_shows_is_no_rate_to_accept() -> None:
    case = Case().running(9)
    case.state = replace(case.state, report=replace(case.state.report, motion=STANDING))
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(RATE)))
    assert answered(case) == ("rejected", "differs")


def test_an_accepted_rate_is_the_plans_from_then_on() -> None:
    case = Case().running(9)
    case.read(INFUSING, LOWER)
    case.feed(ev.AcceptOrdered(case.by(), ev.Confirm(LOWER)))
    assert case.state.plan.rate_at(case.state.elapsed_at(case.now)) == LOWER
    assert case.state.enforced == LOWER
    case.read(INFUSING, LOWER)
    assert not case.last


# --- limits of a changed plan ---


@pytest.mark.shows("S8")
def test_a_soft_limit_that_was_passed_is_not_asked_again_and_a_hard_one_always() -> None:
    case = Case().running(9)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(30), None))
    assert answered(case) == ("rejected", "limit")
    case.feed(ev.RateOrdered(case.by(), MlPerHour(30), None, SOFTLY))
    case.done()
    case.read(INFUSING, "30")
    case.feed(ev.RateOrdered(case.by(), MlPerHour(29), None))
    assert case.got(ev.SetRate), "it was passed by a person already"
    case.done()
    case.read(INFUSING, "29")
    case.feed(ev.RateOrdered(case.by(), MlPerHour(110), ev.Confirm(MlPerHour(110)), SOFTLY))
    assert answered(case) == ("rejected", "limit")


def test_a_container_that_holds_the_rest_but_not_the_dose_is_no_obstacle_to_a_rate() -> None:
    case = Case().running(9)
    small = replace(PLAN.prescription, container=replace(SYRINGE, fill=Ml("34.95")))
    case.state = replace(case.state, plan=replace(PLAN, prescription=small))
    case.feed(ev.RateOrdered(case.by(), LOWER, None))
    assert case.got(ev.SetRate)


def test_a_plan_of_steps_is_judged_by_how_long_it_will_take() -> None:
    steps: Plan = plan(portions=TWO_STEPS)
    case = Case(plan=steps).running(9)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(46), ev.Confirm(MlPerHour(46))))
    assert case.got(ev.SetRate), case.answer


# --- containers, hands off, standby ---


@pytest.mark.parametrize("blind", [False, True])
def test_a_container_in_which_the_rate_cannot_be_set_is_named_once_the_pump_is_seen(blind: bool) -> None:
    case = Case().paused(9)
    slow = replace(FITTED, rates=Grid(Decimal("0.1"), Decimal(30), FITTED.rates.bands))
    if blind:
        case.feed(ev.LinkDown("no reply"))
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=Ml(1)), slow))
    assert answered(case) == ("rejected", "link_lost" if blind else "limit")
    assert blind or "46.66" in case.answer.text


def test_a_container_that_was_armed_is_the_plans() -> None:
    case = Case().paused(9)
    other = replace(SYRINGE, make="other", fill=Ml(36))
    case.feed(ev.ContainerOrdered(case.by(), other, FITTED))
    assert case.state.plan == PLAN
    case.done()
    assert case.state.plan.prescription.container == other


def test_a_pump_is_released_once() -> None:
    case = Case().observing()
    case.feed(ev.ReleaseOrdered(case.by()))
    assert case.got(ev.Release)
    case.done()
    case.feed(ev.ReleaseOrdered(case.by()))
    assert case.last == (ev.Answer(case.last[0].request, "done", text="already released"),)


def test_a_bed_without_a_pump_stands_by() -> None:
    case = Case()
    case.state = replace(State(), conditions=frozenset({"pump_not_connected"}))
    case.feed(ev.StandbyOrdered(case.by()))
    assert ev.Clear("pump_not_connected") in case.last
    assert case.state.standby
