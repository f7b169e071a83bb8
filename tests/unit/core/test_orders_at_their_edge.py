"""What an order of a person meets at its edges: an order or a stop on its way, a pump that is gone, a full syringe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.core.therapy import recalculated
from pumpd.core.turn import Turn
from pumpd.driver import Identity
from pumpd.units import Ml, MlPerHour
from tests.unit.core.test_intake import LAST, intake
from tests.unit.core.world import DOWN_STEPS, FITTED, INFUSING, PLAN, RATE, SOFTLY, STANDING, SYRINGE, Case, plan

ANOTHER = Identity("NE1000", "V1.0", fingerprint=(("address", "00"), ("diameter", "26.59")))


def refused(case: Case) -> tuple[str, str]:
    """The reason and its words; nothing was ordered."""
    (answer,) = case.last
    assert isinstance(answer, ev.Answer)
    assert answer.state == "rejected"
    return answer.reason, answer.text


def planned(case: Case, **changes: object) -> Case:
    order = ev.PlanOrdered(case.by(), "s-1", case.plan, case.rules, case.before())
    case.feed(replace(order, **changes))
    assert case.answer.state == "done"
    return case


# --- a plan -----------------------------------------------------------------------------------------------------------


def test_the_same_plan_again_is_nothing_new_at_a_display() -> None:
    case = Case().planned()
    before = case.state.revision
    assert before > 0
    planned(case)
    assert case.state.revision == before


@pytest.mark.shows("S8")
def test_a_plan_keeps_which_session_it_was_checked_against() -> None:
    case = Case().connected()
    assert planned(case, intake=intake()).state.former_session == LAST.session_id
    assert planned(case, intake=intake(former=None)).state.former_session == ""
    assert planned(case).state.former_session == ""


@pytest.mark.shows("S15")
def test_the_dose_in_a_pump_that_was_given_up_is_no_matter_of_the_next_plan() -> None:
    """It was not proved to be the pump that was armed, so the session ended without it."""
    case = Case().running(60)
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(ANOTHER), 3)
    case.feed(ev.EndOrdered(case.by()))
    assert (case.phase, case.state.released) == (Phase.ABORTED, True)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(ANOTHER), 3)
    assert case.state.sight is Sight.SEEING
    assert case.before().loaded is None
    planned(case, session_id="s-2")
    case.read(STANDING, None)
    assert case.order is None


@pytest.mark.shows("S15")
def test_a_pump_that_is_not_proved_yet_gets_no_word_from_the_next_plan() -> None:
    case = Case().armed()
    case.feed(ev.StopOrdered(case.by()))
    assert isinstance(case.order, ev.Tighten)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.LinkUp(ANOTHER), 3)
    assert case.state.sight is Sight.VERIFYING
    planned(case, session_id="s-2")
    case.read(STANDING, None)
    assert case.order is None
    case.read(INFUSING)
    assert not case.halts


# --- what gives more --------------------------------------------------------------------------------------------------


def test_without_an_armed_pump_a_person_is_told_that() -> None:
    case = Case().armed()
    confirm = case.confirm()
    case.state = replace(case.state, ours=None)
    case.feed(ev.StartOrdered(case.by(), confirm))
    assert refused(case) == ("not_armed", "no pump was armed for this session")


@pytest.mark.shows("S4")
@pytest.mark.parametrize("order", ["resume", "finish", "container"])
def test_nothing_begins_while_the_limit_is_being_lowered(order: str) -> None:
    case = Case().running(60)
    case.read(STANDING, RATE)
    assert case.phase is Phase.PAUSED
    assert isinstance(case.order, ev.Tighten)
    give(case, order)
    assert refused(case)[0] == "busy"


@pytest.mark.shows("S5")
@pytest.mark.parametrize("order", ["resume", "finish", "container"])
def test_nothing_begins_until_the_stop_itself_was_read_back(order: str) -> None:
    """A poll has seen it stand, but the stop is on its way still and would meet a pump that runs again."""
    case = Case().running(60)
    case.feed(ev.PauseOrdered(case.by()))
    case.read(STANDING, RATE)
    assert case.state.halt is not None
    assert case.order is None
    give(case, order)
    assert refused(case)[0] == "busy"


def give(case: Case, order: str) -> None:
    match order:
        case "resume":
            case.feed(ev.ResumeOrdered(case.by(), case.confirm()))
        case "finish":
            case.feed(ev.FinishOrdered(case.by(), case.confirm()))
        case _:
            case.feed(ev.ContainerOrdered(case.by(), SYRINGE, FITTED))


def test_a_second_is_time_enough_to_catch_up_in() -> None:
    case = Case().paused(9)
    case.now = case.state.hold.at
    for left, possible in ((1.0, True), (0.999, False)):
        state = replace(case.state, elapsed=PLAN.seconds - left)
        assert isinstance(recalculated(Turn(state, case.now)), str) is not possible


# --- another container ------------------------------------------------------------------------------------------------


def test_a_container_filled_to_the_brim_is_fitted_and_more_than_it_holds_is_a_slip() -> None:
    full = replace(SYRINGE, fill=SYRINGE.size)
    case = Case().paused()
    case.feed(ev.ContainerOrdered(case.by(), full, FITTED))
    assert case.got(ev.Arm)
    case = Case().paused()
    case.feed(ev.ContainerOrdered(case.by(), replace(full, fill=SYRINGE.size + Ml("0.1")), FITTED))
    assert refused(case) == ("limit", "fill 60.1 mL is more than the container's 60 mL")


def test_of_a_pump_that_is_not_seen_the_fill_of_its_container_is_not_told() -> None:
    case = Case().paused()
    case.feed(ev.LinkDown("no reply"))
    for fill in (SYRINGE.size + Ml("0.1"), Ml("0.1")):
        case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=fill), FITTED))
        assert refused(case)[0] == "link_lost"


def test_a_container_that_does_not_hold_the_rest_is_told_with_the_rest() -> None:
    case = Case().paused()
    rest = case.confirm().volume
    case.feed(ev.ContainerOrdered(case.by(), replace(SYRINGE, fill=Ml(3)), FITTED))
    assert refused(case) == ("limit", f"fill 3 mL does not hold the remaining {rest}")


# --- a rate -----------------------------------------------------------------------------------------------------------


def test_out_of_sight_a_rate_beyond_the_limits_is_told_to_be_out_of_sight() -> None:
    case = Case().running(9)
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.RateOrdered(case.by(), MlPerHour(400), ev.Confirm(MlPerHour(400))))
    assert refused(case)[0] == "link_lost"


def test_out_of_sight_a_session_that_has_taken_far_too_long_is_told_to_be_out_of_sight() -> None:
    case = Case().running(9)
    late = 8 * 3600.0
    case.state = replace(case.state, elapsed=late, run_since=case.now, plan=PLAN.fallen_behind(late, Ml("0.1")))
    lower = ev.RateOrdered(case.by(), MlPerHour(45), None)
    case.feed(lower)
    assert refused(case)[0] == "limit"
    case.feed(ev.LinkDown("no reply"))
    case.feed(lower)
    assert refused(case)[0] == "link_lost"


@pytest.mark.shows("S2")
@pytest.mark.parametrize(("rate", "confirm", "raises"), [("50", None, True), ("25.2", None, False), ("50", "50", True)])
def test_a_lower_rate_that_takes_the_place_of_a_still_lower_step_is_a_raise(
    rate: str, confirm: str | None, raises: bool
) -> None:
    """73.5 mL/h now, and 25.2 mL/h in some minutes: 50 mL/h for the rest gives more then."""
    case = Case(plan=plan(portions=DOWN_STEPS)).running(9)
    confirmed = None if confirm is None else ev.Confirm(MlPerHour(confirm))
    case.feed(ev.RateOrdered(case.by(), MlPerHour(rate), confirmed, SOFTLY))
    if raises and confirm is None:
        assert refused(case)[0] == "not_confirmed"
    else:
        assert [order.raises for order in case.got(ev.SetRate)] == [raises]


# --- a stop that many ask for -----------------------------------------------------------------------------------------


@pytest.mark.shows("S5")
def test_of_a_stop_ordered_over_and_over_the_last_thirty_two_are_answered() -> None:
    case = Case().running(9)
    asked = [case.by() for _ in range(33)]
    for by in asked[:32]:
        case.feed(ev.PauseOrdered(by))
        assert "failed" not in {answer.state for answer in case.got(ev.Answer)}
    case.feed(ev.PauseOrdered(asked[32]))
    (given_up,) = (answer for answer in case.got(ev.Answer) if answer.state == "failed")
    assert (given_up.request, given_up.reason) == (asked[0].request, "preempted")
    case.halted()
    assert [answer.request for answer in case.got(ev.Answer) if answer.state == "done"] == [
        by.request for by in asked[1:]
    ]
