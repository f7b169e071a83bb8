"""Arming another container is cut when sight is lost: both diameters may be ours, and the counter may be new (S15)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.sight import differs
from pumpd.core.state import Sight
from pumpd.driver import Identity, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.fitted import syringe
from tests.unit.core.world import FITTED, INFUSING, RATE, STANDING, SYRINGE, WHO, Case

OURS = replace(WHO, rate=RATE, limit=Ml(35))
ARM = ev.Arm(3, syringe("21.59"), RATE, Ml(30), False)


def of_diameter(text: str, who: Identity = OURS) -> Identity:
    return replace(who, fingerprint=(("address", "00"), ("diameter", text)))


def cut() -> Case:
    case = Case().paused(9)
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, diameter_mm=Decimal("21.59")), FITTED))
    assert isinstance(case.order, ev.Arm)
    case.feed(ev.LinkDown("no reply"))
    case.failed("unknown", uncertain=True)
    return case


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("found", "words"),
    [
        (of_diameter("21.59"), ""),
        (of_diameter("21.590"), ""),
        (of_diameter("26.59"), ""),
        (of_diameter("14.48"), "diameter 14.48 instead of 26.59"),
        (replace(OURS, fingerprint=(("address", "x"), ("diameter", "26.59"))), "address x instead of 00"),
        (replace(OURS, rate=MlPerHour(1), limit=Ml(1)), ""),
    ],
)
def test_either_diameter_is_ours_and_no_other(found: Identity, words: str) -> None:
    assert differs(OURS, found, ARM) == words


def test_a_start_that_was_cut_may_have_loaded_what_it_likes_but_no_diameter() -> None:
    begin = ev.Begin(3, RATE, Ml(35), OURS, ())
    assert differs(OURS, replace(OURS, rate=MlPerHour(1), limit=Ml(1)), begin) == ""
    assert "diameter" in differs(OURS, of_diameter("21.59"), begin)


@pytest.mark.shows("S15")
@pytest.mark.parametrize(("diameter", "seen"), [("21.59", True), ("26.59", False)])
def test_a_counter_that_fell_is_ours_where_the_new_diameter_was_set(diameter: str, seen: bool) -> None:
    case = cut()
    found = of_diameter(diameter, case.state.ours)
    case.feed(ev.LinkUp(found))
    assert case.state.sight is Sight.VERIFYING
    case.read(STANDING, RATE, "0")
    assert (case.state.sight is Sight.SEEING) is seen
    assert ("pump_not_proved" in case.state.conditions) is not seen
    if seen:
        assert case.state.ours.fingerprint == found.fingerprint, "expected from now on"
        assert case.state.report.counted == Ml(0)


@pytest.mark.shows("S15")
def test_with_another_order_on_its_way_no_counter_falls() -> None:
    case = Case().paused(9)
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    case.feed(ev.LinkDown("no reply"))
    case.failed("unknown", uncertain=True)
    case.feed(ev.LinkUp(case.state.ours))
    case.read(STANDING, RATE, "0")
    assert case.state.sight is Sight.VERIFYING


def test_a_late_reading_is_no_sight() -> None:
    case = Case().running(9)
    case.feed(ev.LinkDown("no reply"))
    case.read(INFUSING, RATE)
    assert case.state.sight is Sight.BLIND


@pytest.mark.shows("S6")
def test_in_no_time_nothing_was_given() -> None:
    case = Case().running(9)
    high = case.state.volumes.high
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(case.state.ours))
    case.feed(ev.PumpReported(PumpReport(INFUSING, RATE, None)))
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.high == high


@pytest.mark.shows("S7", "S15")
@pytest.mark.parametrize("phase", ["paused", "recovering"])
def test_a_pause_and_a_recovery_lose_a_pump_that_must_be_proved(phase: str) -> None:
    case = Case().paused(2) if phase == "paused" else Case().running(2)
    if phase == "recovering":
        case.feed(ev.Restarted(False))
    case.feed(ev.LinkDown("no reply"))
    assert "comms_lost_pump" in case.raised
    case.feed(ev.LinkUp(case.state.ours))
    assert case.state.sight is Sight.VERIFYING


def test_an_order_that_no_phase_needs_any_more_is_forgotten_at_a_crash() -> None:
    case = Case().paused(2)
    case.feed(ev.Restarted(False))
    assert case.state.pending is None
