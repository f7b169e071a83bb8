"""By which marks our pump is known again, and what an order that was cut may have changed of them (S15)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.sight import differs, is_another, may_be_ours
from pumpd.core.state import Sight
from pumpd.driver import Identity
from pumpd.units import Ml, MlPerHour
from tests.fitted import syringe
from tests.unit.core.world import INFUSING, RATE, STANDING, WHO, Case

OURS = replace(WHO, rate=RATE, limit=Ml(35))
DIALLED = replace(OURS, rate=MlPerHour(7), limit=Ml(9))
ARM = ev.Arm(3, syringe("14.48"), MlPerHour(20), Ml(9), False)
BEGIN = ev.Begin(3, MlPerHour(20), Ml(9), OURS, ())
TIGHTEN = ev.Tighten(3, MlPerHour(20), Ml(9))
SET_RATE = ev.SetRate(3, MlPerHour(20), False)
RELEASE = ev.Release(3)


def with_diameter(read: str, who: Identity = OURS) -> Identity:
    return replace(who, fingerprint=(("address", "00"), ("diameter", read)))


# --- an order on its way ----------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
@pytest.mark.parametrize("order", [ARM, BEGIN, TIGHTEN])
def test_a_loading_on_its_way_may_have_left_any_rate_and_limit(order: ev.Order) -> None:
    assert differs(OURS, DIALLED, order) == ""


@pytest.mark.shows("S15")
@pytest.mark.parametrize("order", [None, SET_RATE, RELEASE])
def test_nothing_else_on_its_way_changes_rate_and_limit(order: ev.Order | None) -> None:
    assert differs(OURS, DIALLED, order) == "rate 7 mL/h instead of 46.66 mL/h, limit 9 mL instead of 35 mL"


@pytest.mark.shows("S15")
@pytest.mark.parametrize("read", ["14.48", "14.480"])
def test_an_arming_on_its_way_may_have_set_the_diameter_of_its_container(read: str) -> None:
    assert differs(OURS, with_diameter(read), ARM) == ""


@pytest.mark.shows("S15")
@pytest.mark.parametrize("order", [None, BEGIN, TIGHTEN])
def test_nothing_but_an_arming_sets_a_diameter(order: ev.Order | None) -> None:
    assert differs(OURS, with_diameter("14.48"), order) == "diameter 14.48 instead of 26.59"


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("found", "words"),
    [
        (with_diameter("19.05"), "diameter 19.05 instead of 26.59"),
        (replace(OURS, model="NE4000"), "model NE4000 instead of NE1000"),
        (replace(OURS, version="V1.0"), "version V1.0 instead of V3.92"),
    ],
)
def test_an_arming_on_its_way_sets_no_other_mark(found: Identity, words: str) -> None:
    assert differs(OURS, found, ARM) == words


# --- another one, or perhaps ours -------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_without_an_armed_pump_nobody_is_another() -> None:
    assert not is_another(Case().connected().state, replace(WHO, version="V1.0"))


@pytest.mark.shows("S15")
def test_who_reads_as_it_was_armed_is_no_other_and_who_reads_differently_is() -> None:
    state = Case().running(10).state
    assert state.ours is not None
    assert not is_another(state, state.ours)
    assert is_another(state, replace(state.ours, version="V1.0"))
    assert is_another(state, replace(state.ours, limit=Ml(9)))


@pytest.mark.shows("S15")
def test_a_rate_on_its_way_makes_no_other_pump() -> None:
    case = Case().running(10)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    assert not is_another(case.state, replace(case.state.ours, rate=MlPerHour(40)))
    assert is_another(case.state, replace(case.state.ours, rate=MlPerHour(39)))


@pytest.mark.shows("S15")
def test_where_no_pump_is_known_whoever_answers_may_be_ours() -> None:
    assert may_be_ours(Case().state, WHO, None)


@pytest.mark.shows("S15")
@pytest.mark.parametrize("dialled", [{"rate": MlPerHour(7)}, {"limit": Ml(9)}, {"rate": MlPerHour(7), "limit": Ml(9)}])
@pytest.mark.parametrize("armed", [False, True])
def test_what_a_key_may_have_changed_unseen_is_no_mark_of_another(armed: bool, dialled: dict[str, object]) -> None:
    state = Case().running(10).state if armed else Case().connected().state
    before = state.ours or OURS
    assert may_be_ours(state, replace(before, **dialled), before)
    assert not may_be_ours(state, replace(before, version="V1.0", **dialled), before)


@pytest.mark.shows("S15")
def test_the_pump_that_was_armed_counts_for_more_than_the_one_that_answered_last() -> None:
    state = Case().running(10).state
    stranger = replace(WHO, version="V1.0")
    assert may_be_ours(state, WHO, stranger)
    assert not may_be_ours(state, stranger, stranger)


@pytest.mark.shows("S15")
def test_a_diameter_that_an_arming_may_have_set_is_no_mark_of_another() -> None:
    case = fitting(Case().paused(), "14.48")
    assert may_be_ours(case.state, with_diameter("14.48"), None)
    assert not may_be_ours(case.state, with_diameter("19.05"), None)


# --- which order it may have taken ------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_a_rate_that_was_cut_by_a_stop_may_have_been_set() -> None:
    case = Case().running(10)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    case.feed(ev.PauseOrdered(case.by()))
    assert case.state.pending is None
    assert not is_another(case.state, replace(case.state.ours, rate=MlPerHour(40)))


@pytest.mark.shows("S15")
def test_an_order_after_the_one_that_was_cut_counts() -> None:
    case = Case().running(10)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    case.failed("unknown", uncertain=True)
    case.feed(ev.PauseOrdered(case.by()))
    case.halted()
    assert isinstance(case.order, ev.Tighten)
    assert not is_another(case.state, replace(case.state.ours, rate=MlPerHour(5), limit=Ml(1)))


def fitting(case: Case, diameter: str) -> Case:
    container = replace(case.plan.prescription.container, diameter_mm=Decimal(diameter))
    case.feed(ev.ContainerOrdered(case.by(), container, case.rules.fitted))
    assert isinstance(case.order, ev.Arm), case.last
    return case


def cut_while_fitting(diameter: str) -> Case:
    """Nobody knows whether the diameter was set: the pump was read standing, and that is all."""
    case = fitting(Case().paused(), diameter)
    case.failed("unknown", uncertain=True)
    case.read(STANDING)
    assert case.order is None
    return case


@pytest.mark.shows("S15")
def test_a_diameter_that_was_cut_stays_possible_while_a_later_order_is_on_its_way() -> None:
    case = cut_while_fitting("14.48")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
    assert isinstance(case.order, ev.Begin)
    assert not is_another(case.state, with_diameter("14.48"))


@pytest.mark.shows("S15")
def test_another_arming_leaves_nothing_of_the_one_that_was_cut() -> None:
    case = fitting(cut_while_fitting("14.48"), "19.05")
    assert not is_another(case.state, with_diameter("19.05"))
    assert is_another(case.state, with_diameter("14.48"))


@pytest.mark.shows("S15")
@pytest.mark.parametrize(("proved", "other"), [("14.48", "26.59"), ("26.59", "14.48")])
def test_once_it_is_proved_which_diameter_it_has_the_other_one_is_no_longer_possible(proved: str, other: str) -> None:
    case = cut_while_fitting("14.48")
    counted = case.state.volumes.last_count if proved == "26.59" else Ml(0)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(with_diameter(proved)), 3)
    case.read(STANDING, None, counted)
    assert case.state.sight is Sight.SEEING
    assert is_another(case.state, with_diameter(other))


@pytest.mark.shows("S15")
@pytest.mark.parametrize("way", ["refused", "preempted"])
def test_a_release_that_was_cut_has_changed_nothing(way: str) -> None:
    case = Case().observing()
    before = case.state.ours
    case.feed(ev.ReleaseOrdered(case.by()))
    case.failed() if way == "refused" else case.feed(ev.PumpStopOrdered(case.by()))
    assert (case.state.ours, case.state.cut) == (before, None)


@pytest.mark.shows("S6")
def test_only_an_arming_is_taken_to_have_cleared_the_counter() -> None:
    """Its serial number says that it is ours; a mark that reads differently does not say that it counted from zero."""
    case = Case(who=replace(WHO, serial="4711")).running(60)
    before = case.state.volumes
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(with_diameter("26.590", case.state.ours)), 60)
    case.read(INFUSING, RATE, before.counted + Ml("0.5"), dt=0)
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.high == before.high + Ml("0.51")
