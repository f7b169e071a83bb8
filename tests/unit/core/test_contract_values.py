"""The small values everything else stands on: grids, motions, capabilities, orders that give more, frozen copies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal

import pytest

from pumpd.core import events as ev
from pumpd.core.frozen import changer
from pumpd.driver import LEAVE, Capabilities, Grid, Motion, Taken
from pumpd.units import Ml, MlPerHour
from tests.fitted import syringe
from tests.unit.core.world import WHO

GRID = Grid(
    Decimal("0.1"),
    Decimal(100),
    ((Decimal(1), Decimal("0.01")), (Decimal(10), Decimal("0.1")), (Decimal(101), Decimal(1))),
)
ABLE = Capabilities("maker", "model", "syringe", True, True, False, None, True, True, False, False, 0.2)


@pytest.mark.parametrize(
    ("value", "step"),
    [
        ("0", "0.01"),
        ("0.99", "0.01"),
        ("1", "0.1"),
        ("9.99", "0.1"),
        ("10", "1"),
        ("100", "1"),
        ("101", "1"),
        ("999", "1"),
    ],
)
def test_each_band_of_a_grid_ends_where_the_next_begins(value: str, step: str) -> None:
    assert GRID.step_at(Decimal(value)) == Decimal(step)


@pytest.mark.shows("S8")
@pytest.mark.parametrize(
    ("value", "settable"),
    [
        ("0.0999", None),
        ("0.1", "0.1"),
        ("0.109", "0.10"),
        ("0.999", "0.99"),
        ("1.19", "1.1"),
        ("99.9", "99"),
        ("100", "100"),
        ("100.5", "100"),
        ("5000", "100"),
        ("0", None),
        ("-1", None),
    ],
)
def test_a_grid_gives_the_largest_settable_value_that_is_not_more(value: str, settable: str | None) -> None:
    assert GRID.down(Decimal(value)) == (None if settable is None else Decimal(settable))


@pytest.mark.shows("S7")
@pytest.mark.parametrize("motion", list(Motion))
def test_only_a_standing_pump_surely_does_not_move(motion: Motion) -> None:
    assert motion.moves is (motion is not Motion.STANDING)


def test_what_a_driver_does_not_say_about_its_pump() -> None:
    """Figures of docs/safety.md: link alarm after 3 s, a poll a second, one minute of start-up."""
    assert (ABLE.lost_after_s, ABLE.poll_s, ABLE.startup_allowance_s, ABLE.alarms) == (3.0, 1.0, 60.0, ())


def test_a_frame_belongs_to_a_dialogue_only_where_the_driver_leaves_it() -> None:
    assert Taken().consumed
    assert not LEAVE.consumed


@pytest.mark.shows("S2", "S9")
def test_which_orders_give_more() -> None:
    rate, limit = MlPerHour(1), Ml(1)
    giving = [ev.Arm(1, syringe("1"), rate, limit, False), ev.Begin(1, rate, limit, WHO, ()), ev.SetRate(1, rate, True)]
    lowering = [ev.SetRate(1, rate, False), ev.Halt(1), ev.Tighten(1, rate, limit), ev.Release(1)]
    assert all(order.gives_more for order in giving)
    assert not any(order.gives_more for order in lowering)


def test_what_holds_for_a_session_unless_it_is_configured() -> None:
    defaults = {each.name: each.default for each in fields(ev.Rules)}
    assert (defaults["auto_restore"], defaults["keypad_lock"]) == (False, False), "S2: nothing is restored by itself"
    assert defaults["observation_s"] == 2 * 3600
    order = ev.ResumeOrdered(ev.By("a", "nurse", "local", "r"), None)
    assert (order.recalculate, order.pressure_released) == (False, False)
    assert not ev.OrderFailed(1, "refused", "in words").uncertain


@dataclass(frozen=True, slots=True)
class _Pair:
    first: int = 1
    second: int = 2
    third: int = 3


def test_a_changed_copy_leaves_the_old_one_and_all_other_fields() -> None:
    change = changer(_Pair)
    old = _Pair()
    assert change(old, second=7, third=8) == _Pair(1, 7, 8)
    assert change(old) == old
    assert old == _Pair(1, 2, 3)
    with pytest.raises(KeyError):
        change(old, fourth=4)
