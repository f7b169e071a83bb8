"""The figures of the alarm board, and the one of the counter's steps, each on both sides."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core.alarms import INACTIVE_MAX_S, SETTLE_S, Board, Inactivation, Moment
from pumpd.core.watch import APART_STEPS
from tests.unit.core.test_enforce import apart_by
from tests.unit.core.world import FITTED, Case

FLAPS, MILD = "comms_lost_pump", "unarmed"  # one that settles; one of low priority


def raised(code: str, at: float) -> Board:
    return Board().raise_(code, "pump-1", "s-1", Moment(at, "t"), "id-1", 1)


@pytest.mark.shows("within:SETTLE_S", "beyond:SETTLE_S", "H62")
def test_a_condition_that_flaps_is_believed_gone_after_five_seconds() -> None:
    board = raised(FLAPS, 100.0).clear(FLAPS, "pump-1", Moment(101.0, "t"))
    early = board.tick(Moment(101.0 + SETTLE_S - 0.1, "t"), {})
    assert early.alarms[0].shown_present
    late = board.tick(Moment(101.0 + SETTLE_S, "t"), {})
    assert late.alarms[0].latched


@pytest.mark.shows("H62")
def test_back_within_that_time_it_never_went_and_must_then_stay_away_longer() -> None:
    board = raised(FLAPS, 100.0).clear(FLAPS, "pump-1", Moment(101.0, "t"))
    calls = board.calls
    board = board.raise_(FLAPS, "pump-1", "s-1", Moment(102.0, "t"), "id-2", 2)
    assert board.calls == calls, "no second sound"
    board = board.clear(FLAPS, "pump-1", Moment(103.0, "t"))
    assert board.tick(Moment(103.0 + 2 * SETTLE_S - 0.1, "t"), {}).alarms[0].shown_present
    assert board.tick(Moment(103.0 + 2 * SETTLE_S, "t"), {}).alarms[0].latched


@pytest.mark.shows("within:INACTIVE_MAX_S", "beyond:INACTIVE_MAX_S", "H31", "H43")
@pytest.mark.parametrize("state", [Inactivation.AUDIO_PAUSED, Inactivation.ALARM_PAUSED])
def test_one_alarm_is_inactivated_for_ten_minutes_at_most(state: Inactivation) -> None:
    board = raised(MILD, 100.0).inactivate("id-1", state, "nurse", 100.0, 99_999.0)
    assert isinstance(board, Board)
    assert board.sounding is None
    assert board.tick(Moment(100.0 + INACTIVE_MAX_S - 0.1, "t"), {}).sounding is None
    assert board.tick(Moment(100.0 + INACTIVE_MAX_S, "t"), {}).sounding == "low"


@pytest.mark.shows("H30", "H31", "H43")
@pytest.mark.parametrize("state", [state for state in Inactivation if state is not Inactivation.ENABLED])
def test_an_alarm_of_high_priority_is_never_inactivated(state: Inactivation) -> None:
    refusal = raised("no_flow", 100.0).inactivate("id-1", state, "nurse", 100.0, 10.0 if state.ends else None)
    assert isinstance(refusal, str)
    assert "never inactivated" in refusal


@pytest.mark.shows("within:APART_STEPS", "beyond:APART_STEPS")
@pytest.mark.parametrize(("gap", "told"), [("1.0", False), ("1.02", True)])
def test_a_coarse_counter_is_judged_by_two_of_its_steps(gap: str, told: bool) -> None:
    """Steps of half a millilitre: 1 mL is more than 2 % of the plan, 0.7 mL; one poll's worth (0.013 mL) on top."""
    assert APART_STEPS == 2
    coarse = replace(FITTED.counter, bands=((Decimal(10000), Decimal("0.5")),))
    case = apart_by(gap, 40, Case(fitted=replace(FITTED, counter=coarse)).running(600))
    assert ("volumes_apart" in case.state.conditions) is told
