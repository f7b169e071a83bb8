"""What is true once an order was carried out, cut or refused: figures, alarms, and how our pump must read then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.driver import PumpAlarm, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, INFUSING, MINIMUM, PLAN, RATE, STANDING, SYRINGE, TWO_STEPS, Case, plan

HIGHER, LOWER = MlPerHour(50), MlPerHour("45.00")


def holding(case: Case, *codes: str) -> Case:
    """The same session with these alarm conditions."""
    case.state = replace(case.state, conditions=case.state.conditions | set(codes))
    return case


def resumed(case: Case, dt: float = 1.0) -> Case:
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), dt)
    case.done()
    assert case.phase is Phase.RUNNING
    return case


def with_rate(case: Case, rate: MlPerHour) -> Case:
    case.feed(ev.RateOrdered(case.by(), rate, ev.Confirm(rate)))
    assert isinstance(case.order, ev.SetRate), case.last
    case.done()
    return case


# --- a start or resume ---


@pytest.mark.parametrize(
    "code",
    [
        "stopped_at_pump",
        "short_of_plan",
        "restarted_at_keypad",
        "infusing_against_plan",
        "rate_not_set",
        "lease_lapsed",
        "stopped_by_shutdown",
        "daemon_restarted",
        "container_empty",
        "repeated_stop",
        "long_pause",
    ],
)
def test_whatever_it_stood_for_is_over_once_it_runs(code: str) -> None:
    case = resumed(holding(Case().paused(2), code))
    assert code not in case.state.conditions
    assert ev.Clear(code) in case.effects


@pytest.mark.parametrize("code", ["journal_unavailable", "second_master"])
def test_what_has_nothing_to_do_with_standing_stays(code: str) -> None:
    assert code in resumed(holding(Case().paused(2), code)).state.conditions


def test_what_the_pump_told_before_is_over_once_it_runs() -> None:
    case = Case().paused()
    case.feed(ev.PumpTold(PumpAlarm("pump_watchdog_expired", "A?T")))
    assert case.state.told
    resumed(case)
    assert case.state.told == ()
    assert "pump_watchdog_expired" not in case.state.conditions


def test_a_resume_leaves_no_pause_and_the_first_start_as_it_was() -> None:
    case = Case().running(30)
    started = case.state.started
    assert started == case.state.run_since
    case.feed(ev.PauseOrdered(case.by()))
    case.halted()
    case.done()
    limit = case.confirm().volume
    resumed(case, 100.0)
    assert case.state.hold is None
    assert case.state.started == started
    assert case.state.limit_covers
    assert (case.state.ordered, case.state.enforced) == (RATE, RATE)
    ours = case.state.ours
    assert ours is not None
    assert (ours.rate, ours.limit) == (RATE, limit)


def test_a_resume_at_another_rate_brings_its_plan() -> None:
    case = Case().paused(600)
    case.now += 120
    needed = MlPerHour("49.37")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(needed), recalculate=True))
    assert case.order is not None, case.last
    rate = case.order.rate
    assert rate > RATE
    assert case.state.plan == PLAN, "not before it runs"
    case.done()
    assert case.state.plan is not None
    assert case.state.plan.rate_at(case.state.elapsed_at(case.now)) == rate
    assert (case.state.ordered, case.state.enforced) == (rate, rate)


def test_from_the_start_on_the_pump_may_give_before_the_first_reading() -> None:
    case = Case().starting()
    begun = case.now
    case.feed(ev.OrderDone(case.order.number, begun))  # read back, but no reading of its own
    assert case.state.volumes.at == begun
    assert (case.state.volumes.rate_low, case.state.volumes.rate_high) == (MlPerHour(0), RATE)
    case.read(INFUSING, RATE, "0", dt=10)
    assert (case.state.volumes.low, case.state.volumes.high) == (Ml(0), RATE.over(10))


def test_a_reading_that_came_after_the_start_is_not_counted_twice() -> None:
    case = Case().starting()
    since = case.now
    case.read(INFUSING, RATE, "0.01", dt=1)
    read = case.state.volumes
    case.feed(ev.OrderDone(case.order.number, since))
    assert case.state.volumes == read


def test_a_start_at_the_moment_of_the_last_reading_may_give_from_then_on() -> None:
    case = Case().starting()
    since = case.state.volumes.at
    case.feed(ev.OrderDone(case.order.number, since))
    assert (case.state.volumes.at, case.state.volumes.rate_high) == (since, RATE)


def test_a_resume_after_a_limit_that_was_not_lowered_is_loaded_and_covered_anew() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    case.failed()
    assert (case.state.limit_covers, case.state.ours.rate) == (False, None)
    case.told("pump_watchdog_expired")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    order = case.order
    assert isinstance(order, ev.Begin)
    case.feed(ev.OrderDone(order.number, case.now))
    assert case.state.limit_covers
    assert (case.state.ours.rate, case.state.ours.limit) == (RATE, order.limit)
    assert case.state.told == ()
    assert case.state.pending is None


# --- a rate ---


def test_a_rate_that_was_set_is_the_rate_from_then_on() -> None:
    case = with_rate(Case().running(60), HIGHER)
    assert ("rate_ml_h", "50") in case.answer.readback
    assert (case.state.ordered, case.state.enforced) == (HIGHER, HIGHER)
    assert case.state.ours is not None
    assert case.state.ours.rate == HIGHER
    assert case.state.plan.rate_at(case.state.elapsed_at(case.now)) == HIGHER


@pytest.mark.shows("S1", "S6")
@pytest.mark.parametrize(("rate", "most"), [(HIGHER, HIGHER), (LOWER, RATE)])
def test_until_the_next_reading_the_higher_of_two_rates_may_flow(rate: MlPerHour, most: MlPerHour) -> None:
    assert with_rate(Case().running(60), rate).state.volumes.rate_high == most


def test_a_step_of_the_plan_changes_no_plan() -> None:
    stepped = plan(portions=TWO_STEPS)
    case = Case(plan=stepped).running(1199.5)
    case.read(INFUSING, stepped.first_rate, dt=1.0)
    assert isinstance(case.order, ev.SetRate)
    case.done()
    assert case.state.plan == stepped


# --- an order that was cut or refused on its way ---


@pytest.mark.shows("S15")
def test_after_a_refused_loading_any_rate_and_limit_may_be_ours() -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed()
    ours = case.state.ours
    assert ours is not None
    assert (ours.rate, ours.limit) == (None, None)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(ours, rate=MlPerHour(7), limit=Ml(9))), 1)
    assert "pump_not_proved" not in case.state.conditions


@pytest.mark.shows("S15")
def test_after_a_refused_arming_any_rate_and_limit_may_be_ours() -> None:
    case = Case().armed()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.failed()
    assert (case.state.ours.rate, case.state.ours.limit) == (None, None)


@pytest.mark.shows("S15")
def test_after_a_refused_tightening_any_rate_and_limit_may_be_ours() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    assert isinstance(case.order, ev.Tighten)
    case.failed()
    assert (case.state.ours.rate, case.state.ours.limit) == (None, None)


@pytest.mark.shows("S15")
def test_a_refused_rate_loads_nothing() -> None:
    case = Case().running(60)
    before = case.state.ours
    case.feed(ev.RateOrdered(case.by(), HIGHER, ev.Confirm(HIGHER)))
    case.failed()
    assert case.state.ours == before


@pytest.mark.shows("S5")
def test_a_rate_that_could_not_be_set_down_says_why_and_stops() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), LOWER, None))
    case.failed()
    (alarm,) = (each for each in case.got(ev.Raise) if each.code == "rate_not_set")
    assert alarm.values == (("why", "in words"),)
    assert case.halts
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)


# --- arming ---


def test_an_armed_pump_stands_for_what_was_read_back() -> None:
    case = Case().planned()
    case.told("pump_watchdog_expired")
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.done()
    state = case.state
    assert (state.armed_at, state.armed_counted, state.fitted_counted) == (case.now, Ml(0), Ml(0))
    assert (state.ordered, state.limit_covers, state.told) == (RATE, True, ())
    assert state.settings == (("DIA", "26.59"),)
    assert state.ours is not None
    assert (state.ours.rate, state.ours.limit) == (RATE, Ml(35))
    assert state.report is not None
    assert state.report.limit == Ml(35)
    assert "pump_watchdog_expired" not in state.conditions
    assert set(case.answer.readback) == {("rate_ml_h", str(RATE.value)), ("volume_ml", str(PLAN.volume.value))}


def test_arming_takes_the_counter_as_it_stands_for_zero() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    pending = case.state.pending
    assert pending is not None
    report = replace(case.state.report, counted=Ml("3.2"), rate=RATE)
    outcome = ev.OrderDone(pending.order.number, case.now + 4, report, replace(case.who, rate=RATE), ())
    case.feed(outcome, 4)
    volumes = case.state.volumes
    assert (volumes.counted, volumes.last_count, volumes.at) == (Ml(0), Ml("3.2"), case.now)


# --- a limit ---


def test_a_lowered_limit_is_what_our_pump_reads_from_then_on() -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    order = case.order
    assert isinstance(order, ev.Tighten)
    holding(case, "limit_not_set")
    case.done()
    assert "limit_not_set" not in case.state.conditions
    assert case.state.limit_covers
    assert case.state.ordered == order.rate
    assert (case.state.ours.rate, case.state.ours.limit) == (order.rate, order.limit)
    assert case.state.report.limit == order.limit


def test_after_the_end_only_a_doubt_about_the_pump_stays() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    holding(case, "volumes_apart", "no_flow")
    assert case.order == ev.Tighten(case.order.number, MlPerHour(case.rules.fitted.rates.least), MINIMUM)
    case.done()
    assert case.state.conditions == frozenset()
    assert (case.phase, case.state.observed_from) == (Phase.OBSERVING, case.now)


def test_the_smallest_limit_in_a_pause_ends_nothing() -> None:
    """So little may remain that the smallest limit is what remains."""
    case = Case().running(60)
    case.read(STANDING, RATE, PLAN.volume - Ml("0.5"))
    assert case.phase is Phase.PAUSED
    assert isinstance(case.order, ev.Tighten)
    case.state = replace(case.state, pending=replace(case.state.pending, order=replace(case.order, limit=MINIMUM)))
    case.done()
    assert case.phase is Phase.PAUSED


def test_hands_off_is_told_and_nothing_is_against_the_plan_any_more() -> None:
    case = holding(Case().observing(), "infusing_against_plan")
    case.feed(ev.ReleaseOrdered(case.by()))
    case.done()
    assert case.state.released
    assert case.state.pending is None
    assert "infusing_against_plan" not in case.state.conditions
    assert case.answer.state == "done"


# --- outcomes ---


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_an_outcome_nobody_waits_for_changes_nothing(outcome: str) -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), LOWER, None))
    before = case.state
    stale = case.order.number - 1
    case.feed(ev.OrderDone(stale, case.now) if outcome == "done" else ev.OrderFailed(stale, "refused", "old"))
    assert case.state == before
    assert not case.last


def test_an_uncertain_outcome_is_told_and_waits_for_a_reading() -> None:
    case = Case().running(60)
    case.feed(ev.RateOrdered(case.by(), LOWER, None))
    case.failed("unknown", uncertain=True)
    assert case.state.pending.uncertain
    assert (case.answer.state, case.answer.text) == ("unknown", "in words")
    assert not case.raised


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_limit_that_was_not_lowered_is_an_alarm(uncertain: bool) -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    assert isinstance(case.order, ev.Tighten)
    case.failed(uncertain=uncertain)
    assert case.got(ev.Raise) == [ev.Raise("limit_not_set", (("why", "in words"),))]


@pytest.mark.parametrize(("reason", "phase"), [("differs", Phase.PLANNED), ("refused", Phase.ARMED)])
def test_a_start_that_found_a_difference_must_be_armed_again(reason: str, phase: Phase) -> None:
    case = Case().starting()
    case.failed(reason)
    assert case.phase is phase
    assert (case.answer.state, case.answer.reason) == ("failed", reason)


@pytest.mark.shows("S5")
def test_a_stop_that_failed_is_sent_again_to_whom_it_went() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    first = case.state.halt.number
    case.halt_failed()
    assert case.halts
    assert case.state.halt.number > first
    assert [answer.state for answer in case.got(ev.Answer)] == ["unknown"]


@pytest.mark.shows("S5")
@pytest.mark.parametrize("blind", [False, True])
def test_a_stop_whose_line_is_lost_waits(blind: bool) -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    if blind:
        case.feed(ev.LinkDown("no reply"))
    case.halt_failed("garbled" if blind else "link_lost")
    assert not case.halts
    assert not case.state.halt.in_flight
    assert case.state.sight is (Sight.BLIND if blind else Sight.SEEING)


def test_a_stop_that_is_read_back_says_so_with_what_was_counted() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    case.feed(ev.StopUnconfirmed())
    assert case.raised == {"stop_not_confirmed"}
    case.halted(counted="0.780")
    assert ev.Clear("stop_not_confirmed") in case.last
    (answer,) = case.got(ev.Answer)
    assert dict(answer.readback) == {"motion": "standing", "counted_ml": "0.780"}


def test_no_stop_is_missed_that_nobody_ordered() -> None:
    case = Case().running(60)
    case.feed(ev.StopUnconfirmed())
    assert not case.last


# --- whose outcome it is ---


@pytest.mark.shows("S5")
def test_an_outcome_of_another_number_is_not_that_of_the_stop() -> None:
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    number = case.state.halt.number
    before = case.state
    standing = replace(case.state.report, motion=STANDING)
    case.feed(ev.OrderDone(number - 1, case.now, standing))
    case.feed(ev.OrderFailed(number - 1, "refused", "old"))
    case.feed(ev.OrderDone(number, case.now), 0.1)  # said to be done, but nobody has looked
    assert case.state == before
    assert case.state.halt.in_flight


def test_a_failure_that_nobody_waits_for_is_none() -> None:
    case = Case().running(60)
    before = case.state
    case.feed(ev.OrderFailed(1, "refused", "old"))
    case.feed(ev.OrderDone(1, case.now))
    assert case.state == before


@pytest.mark.shows("S5", "S15")
def test_a_stop_that_failed_at_a_pump_in_doubt_is_sent_again_to_whoever_is_there() -> None:
    case = Case().running(60)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(case.state.ours, version="V1")))
    case.feed(ev.PumpStopOrdered(case.by()))
    assert case.halts
    case.halt_failed()
    assert case.halts


# --- more of arming ---


@pytest.mark.parametrize(("phase", "armed"), [("planned", False), ("paused", True)])
def test_arming_that_ends_out_of_sight_arms_nothing_but_a_new_container_is_in(phase: str, armed: bool) -> None:
    case = getattr(Case(), phase)()
    if phase == "planned":
        case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    else:
        case.feed(ev.ContainerOrdered(case.by(), SYRINGE, FITTED))
    case.feed(ev.LinkDown("no reply"))
    case.done()
    assert case.state.pending is None
    assert (case.answer.state, case.answer.reason) == (("done", "") if armed else ("failed", "link_lost"))


def test_a_pump_that_tells_no_counter_is_armed_at_zero() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    report = replace(case.state.report, counted=None, rate=RATE)
    case.feed(ev.OrderDone(case.order.number, case.now, report, replace(case.who, rate=RATE), ()))
    assert case.state.volumes.last_count == Ml(0)


def test_armed_again_after_it_moved_it_stands_at_what_was_counted() -> None:
    case = holding(Case().armed(), "stopped_at_pump")
    case.read(INFUSING, RATE, "1")
    case.halted(counted="1")
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    holding(case, "unarmed")
    case.done()
    assert case.state.conditions.isdisjoint({"unarmed", "stopped_at_pump"})
    assert case.state.armed_counted == Ml(1)
    case.read(STANDING, case.order.rate if case.order else RATE, "0")
    assert case.phase is Phase.ARMED


# --- more of a start, a limit ---


def test_a_start_is_answered_with_what_was_loaded_and_judged_with_its_reading() -> None:
    case = Case().starting()
    order = case.order
    assert isinstance(order, ev.Begin)
    case.done(report=PumpReport(INFUSING, MlPerHour(47), Ml(0)))
    answer = next(each for each in case.got(ev.Answer) if each.state == "done")
    assert dict(answer.readback) == {"rate_ml_h": str(RATE.value), "volume_ml": str(order.limit.value)}
    assert "rate_above_plan" in case.raised


def test_a_limit_is_loaded_with_the_rate_that_was_shown() -> None:
    case = Case().running(60)
    case.read(STANDING, "0.5")
    case.done()
    assert case.state.ordered == MlPerHour("0.5")


@pytest.mark.shows("S15")
def test_after_the_end_a_doubt_about_the_pump_stays() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    holding(case, "pump_not_proved", "no_flow")
    case.done()
    assert case.state.conditions == {"pump_not_proved"}


def test_a_resume_that_found_a_difference_leaves_the_pause() -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed("differs")
    assert case.phase is Phase.PAUSED
    assert "unarmed" not in case.state.conditions
    assert case.answer.text == "in words; give session.container for what is fitted now, then resume"


@pytest.mark.parametrize("reason", ["refused", "garbled"])
def test_a_resume_that_failed_otherwise_may_be_given_again(reason: str) -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed(reason)
    assert case.answer.text == "in words"
