"""A pump that was armed and is so no longer: its dose is taken out of it, whatever undid the arming (S1, S15)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.units import MlPerHour
from tests.unit.core.world import INFUSING, MINIMUM, RATE, STANDING, Case


def replanned(case: Case) -> Case:
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    assert case.answer.state == "done"
    return case


def loaded(case: Case, limit: object = None) -> ev.LinkUp:
    """Our pump answers again, with the dose of its arming in it."""
    return ev.LinkUp(replace(case.who, rate=RATE, limit=limit or case.plan.volume))


def is_emptied(case: Case) -> bool:
    return isinstance(case.order, ev.Tighten) and case.order.limit == MINIMUM


@pytest.mark.shows("S1")
def test_a_rate_changed_at_its_keypad() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    assert case.phase is Phase.PLANNED
    assert is_emptied(case)


@pytest.mark.shows("S1")
def test_a_lost_line_once_it_is_back() -> None:
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    assert not case.got(ev.Tighten)
    case.feed(loaded(case))
    case.read(STANDING)
    assert is_emptied(case)
    case.done()
    case.read(STANDING, None)
    assert not case.got(ev.Tighten), "once is enough"


@pytest.mark.shows("S1")
def test_a_lost_line_during_which_another_rate_was_dialled() -> None:
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(replace(case.who, rate=MlPerHour(300), limit=case.plan.volume)))
    case.read(STANDING, "300")
    assert is_emptied(case)


@pytest.mark.shows("S1")
def test_a_program_that_was_restarted() -> None:
    case = Case().armed()
    case.feed(ev.Restarted(rebooted=False))
    case.feed(loaded(case))
    case.read(STANDING)
    assert is_emptied(case)


@pytest.mark.shows("S1")
def test_a_limit_that_could_not_be_lowered_is_lowered_at_the_next_reading() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    case.failed()
    assert "limit_not_set" in case.raised
    case.read(STANDING, "12")
    assert is_emptied(case)


@pytest.mark.shows("S1")
@pytest.mark.parametrize("blind", [False, True])
def test_another_plan(blind: bool) -> None:
    case = Case().armed()
    if blind:
        case.feed(ev.LinkDown("no reply"))
    replanned(case)
    if blind:
        case.feed(loaded(case))
    case.read(STANDING)
    assert is_emptied(case)


@pytest.mark.shows("S1")
def test_a_plan_over_an_unfinished_lowering_begins_it_again() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    lowering = case.order
    replanned(case)
    case.read(STANDING, "12")
    assert is_emptied(case)
    assert case.order != lowering


@pytest.mark.shows("S1")
def test_a_pump_without_a_dose_is_left_alone_by_the_next_plan() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    case.done()
    replanned(case)
    case.read(STANDING, None)
    assert not case.got(ev.Tighten)


@pytest.mark.shows("S1")
def test_arming_again_waits_for_no_lowering() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    assert is_emptied(case)
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert isinstance(case.order, ev.Arm)
    case.done()
    assert case.phase is Phase.ARMED


@pytest.mark.shows("S2")
def test_one_that_is_started_at_its_keypad_is_stopped() -> None:
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    case.feed(loaded(case))
    case.read(INFUSING)
    assert case.halts
    assert "infusing_against_plan" in case.raised
    case.halted()
    assert is_emptied(case)


@pytest.mark.shows("S15")
@pytest.mark.parametrize("plan_again", [False, True])
def test_another_pump_gets_no_word(plan_again: bool) -> None:
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    if plan_again:
        replanned(case)
    case.feed(loaded(case, MINIMUM))
    case.read(STANDING)
    assert not case.got(ev.Tighten)
    case.read(INFUSING)
    assert not case.halts
    assert case.raised == {"infusing_unknown_session"}


@pytest.mark.shows("S15")
def test_another_pump_in_the_midst_of_the_lowering_gets_no_word() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    case.feed(ev.LinkDown("no reply"))
    case.failed("link_lost", uncertain=True)
    case.feed(ev.LinkUp(replace(case.who, version="V1")))
    case.read(STANDING)
    assert case.order is None
    assert "pump_not_proved" not in case.state.conditions
    replanned(case)
    case.read(STANDING)
    assert not case.got(ev.Tighten)


@pytest.mark.shows("S15")
def test_a_start_that_found_another_pump_takes_no_dose_out_of_it() -> None:
    case = Case().starting()
    case.failed("differs")
    assert case.phase is Phase.PLANNED
    case.read(STANDING)
    assert not case.got(ev.Tighten)


@pytest.mark.shows("S1")
def test_hands_off_is_hands_off() -> None:
    case = Case().observing()
    case.feed(ev.ReleaseOrdered(case.by()))
    case.done()
    case.feed(ev.EndOrdered(case.by()))
    replanned(case)
    case.read(STANDING, "12")
    assert not case.got(ev.Tighten)
