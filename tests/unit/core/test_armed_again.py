"""An arming over an older one, in a pause or before the start: what it counts, what it keeps, what a refusal says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.driver import PumpReport
from pumpd.units import Ml
from tests.unit.core.world import FITTED, STANDING, SYRINGE, Case


def arming(case: Case) -> Case:
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert isinstance(case.order, ev.Arm), case.last
    return case


def fitting(case: Case) -> Case:
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, FITTED))
    assert isinstance(case.order, ev.Arm), case.last
    return case


def read_back(case: Case, counted: str, diameter: str = "26.59") -> Case:
    """The arming is done; its counter reads this."""
    order = case.order
    assert isinstance(order, ev.Arm)
    marks = (("address", "00"), ("diameter", diameter))
    who = replace(case.who, rate=order.rate, limit=order.limit, fingerprint=marks)
    case.done(identity=who, report=PumpReport(STANDING, order.rate, Ml(counted), order.limit))
    return case


# --- what it counts ---------------------------------------------------------------------------------------------------


@pytest.mark.shows("S1")
def test_what_the_counter_read_between_two_armings_was_given_to_nobody() -> None:
    """A purge of the line, before anything was connected to the patient."""
    case = read_back(arming(Case().armed()), "5")
    assert case.phase is Phase.ARMED
    assert (case.state.volumes.counted, case.state.volumes.last_count) == (Ml(0), Ml(5))
    assert not case.raised
    assert case.confirm().volume == case.plan.volume


def test_a_counter_in_another_diameter_is_compared_with_nothing() -> None:
    case = fitting(Case().paused())
    before = case.state.volumes.counted
    read_back(case, "0.05", diameter="19.05")
    assert (case.state.volumes.counted, case.state.volumes.last_count) == (before, Ml("0.05"))
    assert not case.raised


# --- what it keeps ----------------------------------------------------------------------------------------------------


@pytest.mark.shows("H9", "H60")
def test_another_container_releases_no_pressure() -> None:
    case = Case().paused()
    case.told("motor_stalled")
    read_back(fitting(case), "0")
    assert case.state.hold.needs_pressure_release
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert case.answer.reason == "not_confirmed"
    assert not case.got(ev.Begin)


def test_another_container_alone_demands_no_release() -> None:
    case = read_back(fitting(Case().paused()), "0")
    assert not case.state.hold.needs_pressure_release
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert case.got(ev.Begin)


def test_a_stall_before_the_first_arming_is_over_with_it() -> None:
    case = Case().planned()
    case.told("motor_stalled")
    read_back(arming(case), "0")
    assert case.phase is Phase.ARMED
    assert "motor_stalled" not in case.state.conditions


# --- what a refusal says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("resume", "in words; give session.container for what is fitted now, then resume"),
        ("container", "in words"),
        ("start", "in words"),
    ],
)
def test_only_a_resume_that_no_resume_can_mend_says_the_way_out(order: str, words: str) -> None:
    match order:
        case "start":
            case = Case().starting()
        case "container":
            case = fitting(Case().paused())
        case _:
            case = Case().paused()
            case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed("differs")
    assert case.answer.text == words


def test_a_resume_refused_for_another_reason_needs_no_container() -> None:
    case = Case().paused()
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.failed("refused")
    assert case.answer.text == "in words"


@pytest.mark.shows("S15")
@pytest.mark.parametrize(("reason", "ours"), [("differs", False), ("link_lost", True)])
def test_a_start_that_found_another_pump_forgets_ours_and_one_whose_line_was_lost_does_not(
    reason: str, ours: bool
) -> None:
    case = Case().starting()
    case.feed(ev.LinkDown("no reply"))
    case.failed(reason)
    assert case.phase is Phase.PLANNED
    assert (case.state.ours is not None) is ours


# --- in whose hands ---------------------------------------------------------------------------------------------------


def test_a_pump_is_in_our_hands_from_its_arming_to_the_end_or_the_release() -> None:
    assert not Case().connected().state.in_our_hands
    assert not Case().planned().state.in_our_hands
    assert Case().armed().state.in_our_hands
    case = Case().observing()
    assert case.state.in_our_hands
    released = replace(case.state, released=True)
    assert not released.in_our_hands
    case.feed(ev.EndOrdered(case.by()))
    assert not case.state.in_our_hands


def test_a_bed_trusts_nothing_before_it_was_told() -> None:
    case = Case()
    case.feed(ev.Tick())
    assert (case.phase, case.state.sight, case.state.revision) == (Phase.IDLE, Sight.BLIND, 0)
    assert not case.connected().state.rebooted
    assert not Case().planned().state.limit_covers, "nothing is loaded yet"
    assert Case().running().state.limit_covers
