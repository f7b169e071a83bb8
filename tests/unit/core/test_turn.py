"""One decision in the making: alarms told once, orders numbered, stops that fence, a clock that stops with the pump."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.state import HaltLatch, Hold, Pending, Phase, Sight, State
from pumpd.core.turn import NOT_SENT, Turn
from pumpd.core.watch import Volumes
from pumpd.driver import Grid
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, PLAN, RATE, WHO, rules

NURSE = ev.By("nurse-1", "nurse", "local", "r1")
OTHER = ev.By("nurse-2", "nurse", "local", "r2")
NOW = 200.0


def turn(**changes: object) -> Turn:
    """Running since 100 s, seen."""
    usual = State(phase=Phase.RUNNING, sight=Sight.SEEING, plan=PLAN, rules=rules(), run_since=100.0, orders=7)
    return Turn(replace(usual, **changes), NOW)


def begin(number: int) -> ev.Begin:
    return ev.Begin(number, RATE, Ml(35), WHO, ())


# --- alarms and answers ---


def test_a_condition_is_told_once_until_it_is_cleared() -> None:
    one = turn()
    one.alarm("no_flow", missing=Ml(2), rate=None)
    one.alarm("no_flow", missing=Ml(3))
    assert one.effects == [ev.Raise("no_flow", (("missing", "2 mL"), ("rate", "None")))]
    one.clear("volumes_apart", "no_flow")
    one.clear("no_flow")
    assert one.effects[1:] == [ev.Clear("no_flow")]
    one.alarm("no_flow")
    assert len(one.effects) == 3


def test_nobody_is_answered_who_did_not_ask() -> None:
    one = turn()
    one.answer(None, "done")
    assert one.effects == []
    one.answer(NURSE, "done", "in words", "reason", rate_ml_h=Decimal("5"))
    one.refuse(NURSE, "busy", "not now")
    assert one.effects == [
        ev.Answer("r1", "done", "reason", "in words", (("rate_ml_h", "5"),)),
        ev.Answer("r1", "rejected", "busy", "not now"),
    ]


# --- orders ---


def test_orders_are_numbered_on_and_wait_for_their_outcome() -> None:
    one = turn()
    one.order(begin, NURSE, PLAN)
    assert one.effects == [begin(8), ev.Answer("r1", "accepted")]
    assert (one.state.orders, one.state.pending) == (8, Pending(begin(8), NURSE, NOW, plan=PLAN))


@pytest.mark.shows("S5")
def test_a_stop_ends_what_was_on_its_way_and_is_sent() -> None:
    one = turn(pending=Pending(begin(7), OTHER, 150.0))
    one.halt(NURSE)
    assert one.effects == [
        ev.Answer("r2", "failed", "preempted", "a stop took the line"),
        ev.Answer("r1", "accepted"),
        ev.Halt(8),
    ]
    assert one.state.pending is None
    assert (one.state.orders, one.state.halt) == (8, HaltLatch(NOW, 8, True, (NURSE,)))


@pytest.mark.shows("S5")
def test_a_second_stop_joins_the_first_on_its_way() -> None:
    one = turn(halt=HaltLatch(150.0, 7, True, (NURSE,)))
    one.halt(OTHER)
    assert one.effects == [ev.Answer("r2", "accepted")]
    assert one.state.halt == HaltLatch(150.0, 7, True, (NURSE, OTHER))
    assert one.state.orders == 7


@pytest.mark.shows("S5")
def test_a_stop_that_came_back_unheard_is_sent_anew_and_owed_since_the_first() -> None:
    one = turn(halt=HaltLatch(150.0, 7, False, (NURSE,)))
    one.halt()
    assert one.effects == [ev.Halt(8)]
    assert one.state.halt == HaltLatch(150.0, 8, True, (NURSE,))


@pytest.mark.shows("S5", "S15")
@pytest.mark.parametrize(("whoever", "sent"), [(False, False), (True, True)])
def test_a_pump_not_proved_is_stopped_only_by_who_means_whoever_is_there(whoever: bool, sent: bool) -> None:
    one = turn(sight=Sight.VERIFYING)
    one.halt(NURSE, whoever=whoever)
    assert (ev.Halt(8) in one.effects) is sent
    number = 8 if sent else NOT_SENT
    assert one.state.halt == HaltLatch(NOW, number, sent, (NURSE,))
    assert one.state.orders == (8 if sent else 7)
    assert [effect.state for effect in one.effects if isinstance(effect, ev.Answer)] == ["accepted", "unknown"]


@pytest.mark.shows("S5")
def test_a_stop_out_of_sight_is_handed_to_the_line_and_said_to_be_unknown() -> None:
    one = turn(sight=Sight.BLIND)
    one.halt(NURSE)
    assert one.effects[0] == ev.Answer("r1", "accepted")
    assert one.effects[1].state == "unknown"
    assert one.effects[2] == ev.Halt(8)


@pytest.mark.shows("S15")
def test_a_stop_of_our_own_waits_for_our_pump() -> None:
    one = turn(sight=Sight.VERIFYING)
    one.halt()
    assert one.effects == []
    assert one.state.halt == HaltLatch(NOW, NOT_SENT, False)
    assert NOT_SENT < 1, "orders count from 1"
    assert one.state.orders == 7, "no outcome of an order carries the number of one that was not sent"


# --- figures ---


@pytest.mark.parametrize(("configured", "most"), [(None, None), ("60", "60"), ("99999", None)])
def test_the_highest_rate_is_the_lower_of_pump_and_configuration(configured: str | None, most: str | None) -> None:
    pump = MlPerHour(FITTED.rates.most)
    one = turn(rules=rules(max_rate=None if configured is None else MlPerHour(configured)))
    assert one.rate_max == (pump if most is None else MlPerHour(most))
    assert one.top_rate == pump


@pytest.mark.shows("S1")
def test_what_remains_is_rounded_down_to_what_the_pump_can_be_set_to() -> None:
    one = turn(volumes=Volumes(high=Ml("4.0004"), counted=Ml("3")))
    assert one.remaining() == Ml("30.99")
    coarse = replace(FITTED, limits=Grid(Decimal(1), Decimal(100), ((Decimal(101), Decimal(1)),)))
    assert one.remaining(coarse) == Ml(30)
    assert turn(volumes=Volumes(high=PLAN.volume)).remaining() is None


def test_the_counters_step_is_that_of_the_plans_size() -> None:
    assert turn().step == FITTED.counter.step_at(PLAN.volume.value) == Decimal("0.01")


# --- the clock ---


@pytest.mark.shows("S11")
@pytest.mark.parametrize("phase", list(Phase))
def test_the_clock_runs_while_it_runs_or_is_found_out_whether_it_does(phase: Phase) -> None:
    one = turn(elapsed=10.0)
    one.go(phase)
    assert one.state.phase is phase
    goes_on = phase in (Phase.RUNNING, Phase.RECOVERING)
    assert one.state.run_since == (100.0 if goes_on else None)
    assert one.state.elapsed == (10.0 if goes_on else 110.0)


def test_a_clock_can_be_stopped_at_an_earlier_moment() -> None:
    one = turn(elapsed=10.0)
    one.stop_clock(at=130.0)
    assert (one.state.elapsed, one.state.run_since) == (40.0, None)
    assert one.state.elapsed_at(999.0) == 40.0


def test_a_clock_never_runs_backwards() -> None:
    assert turn(elapsed=10.0).state.elapsed_at(99.0) == 10.0


def test_a_pause_says_why_and_ends_what_was_running_out() -> None:
    one = turn(conditions=frozenset({"near_end", "near_empty", "no_flow"}))
    one.pause("a reason", by_pump=True, needs_pressure_release=True, needs_prescriber=True)
    assert one.state.hold == Hold("a reason", True, NOW, True, True)
    assert (one.state.phase, one.state.run_since) == (Phase.PAUSED, None)
    assert one.state.conditions == {"no_flow"}
    two = turn()
    two.pause("a reason", by_pump=False)
    assert two.state.hold == Hold("a reason", False, NOW, False, False)
    assert Hold("a reason", False, NOW) == two.state.hold


# --- what a state means ---


@pytest.mark.parametrize(("told", "pressure"), [((), False), (("motor_stalled",), True), (("pump_power_lost",), False)])
def test_only_what_stalls_the_plunger_traps_pressure(told: tuple[str, ...], pressure: bool) -> None:
    assert turn(told=told).pressure_told is pressure
    assert turn(told=("pump_power_lost", "occlusion_downstream")).pressure_told


@pytest.mark.parametrize("phase", list(Phase))
def test_a_session_is_there_from_its_plan_to_its_end(phase: Phase) -> None:
    over = {Phase.IDLE, Phase.ENDED, Phase.ABORTED}
    assert State(phase=phase).has_session is (phase not in over)


@pytest.mark.shows("S16")
@pytest.mark.parametrize("phase", list(Phase))
def test_a_lease_is_needed_while_it_may_run_or_a_stop_is_owed(phase: Phase) -> None:
    assert State(phase=phase).should_move is (phase in {Phase.RUNNING, Phase.RECOVERING})
    assert State(phase=phase, halt=HaltLatch(0.0, 1, True)).should_move


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("sight", "conditions", "proved"),
    [
        (Sight.SEEING, frozenset(), True),
        (Sight.BLIND, frozenset(), True),
        (Sight.VERIFYING, frozenset(), False),
        (Sight.SEEING, frozenset({"pump_not_proved"}), False),
        (Sight.BLIND, frozenset({"pump_not_proved"}), False),
    ],
)
def test_while_another_pump_may_be_there_none_is_proved(sight: Sight, conditions: frozenset[str], proved: bool) -> None:
    assert State(sight=sight, conditions=conditions).proved is proved


def test_only_a_start_on_its_way_is_a_start() -> None:
    assert State(pending=Pending(begin(1), None, 0.0)).starting
    assert not State(pending=Pending(ev.SetRate(1, RATE, True), None, 0.0)).starting
    assert not State().starting


def test_a_bed_begins_blind_and_with_nothing() -> None:
    fresh = State()
    assert (fresh.phase, fresh.sight, fresh.orders, fresh.revision, fresh.elapsed) == (
        Phase.IDLE,
        Sight.BLIND,
        0,
        0,
        0.0,
    )
    flags = (fresh.limit_covers, fresh.completed, fresh.rebooted, fresh.released, fresh.standby)
    assert not any(flags)
    assert not Pending(begin(1), None, 0.0).uncertain
