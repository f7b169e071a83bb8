"""Quantities: types that do not mix, no floats, rounding in the direction that is named."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour

ALL = (Ml, MlPerHour, Mg, MgPerMl, Kg, MgPerKg)
VALUES = st.decimals(min_value=0, max_value=9999, places=6)
STEPS = st.sampled_from([Decimal(text) for text in ("0.001", "0.01", "0.1", "1", "0.05")])


@pytest.mark.parametrize(("one", "other"), list(permutations(ALL, 2)))
def test_types_do_not_mix(one: type, other: type) -> None:
    for act in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a >= b):
        with pytest.raises(TypeError, match="does not mix"):
            act(one(1), other(1))
    assert one(1) != other(1)
    assert len({one(1), other(1)}) == 2


def test_quantities_of_a_kind_are_ordered_and_add_up() -> None:
    less, more, same = Ml("1.5"), Ml(2), Ml("1.50")
    assert less < more
    assert more > less
    assert less <= more
    assert more >= less
    assert not less < same
    assert not less > same
    assert less <= same <= less
    assert less >= same >= less
    assert not more <= less
    assert not less >= more
    assert less != more
    assert less + more == Ml("3.5")
    assert more - less == Ml("0.5")


@pytest.mark.shows("S8")
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("value", [1.0, True, None, "", "a", "1,5", float("nan"), "NaN", "Infinity", Decimal("NaN")])
def test_what_is_no_exact_number_is_refused(kind: type, value: object) -> None:
    with pytest.raises(ValueError, match=r"not"):
        kind(value)


def test_a_quantity_is_immutable_and_says_its_unit() -> None:
    volume = Ml("1.50")
    with pytest.raises(AttributeError):
        volume.value = Decimal(2)
    assert (str(volume), repr(volume)) == ("1.50 mL", "Ml('1.50')")
    assert Ml("1.50") == Ml("1.5")
    assert hash(Ml("1.50")) == hash(Ml("1.5"))
    assert not Ml(0)


@given(VALUES, STEPS)
def test_down_and_up_enclose_the_value_on_the_grid(value: Decimal, step: Decimal) -> None:
    low, high = Ml(value).down(step), Ml(value).up(step)
    assert low.value <= value <= high.value
    assert value - low.value < step
    assert high.value - value < step
    assert low.value % step == high.value % step == 0


@pytest.mark.shows("S1")
@given(VALUES, st.floats(min_value=0, max_value=1e5))
def test_what_a_rate_gives_is_rounded_up_never_down(rate: Decimal, seconds: float) -> None:
    exact = rate * Decimal(round(seconds * 1_000_000)) / 3_600_000_000
    assert exact <= MlPerHour(rate).over(seconds).value <= exact + Decimal("0.000001")


@given(st.decimals(min_value=Decimal("0.001"), max_value=9999, places=3), VALUES)
def test_over_and_seconds_for_are_each_others_inverse(rate: Decimal, volume: Decimal) -> None:
    seconds = MlPerHour(rate).seconds_for(Ml(volume))
    assert float(MlPerHour(rate).over(seconds).value) == pytest.approx(float(volume), abs=1e-5, rel=1e-9)


def test_a_volume_given_is_told_to_a_thousandth_of_a_microlitre() -> None:
    assert MlPerHour(1).over(0.0036) == Ml("0.000001")
    assert MlPerHour(1).over(0.001) == Ml("0.000001"), "rounded up"
    assert MlPerHour(3600).over(1.5) == Ml("1.5")
    assert MlPerHour(3600).over(100_000) == Ml(100_000), "also over more than a day"
    assert MlPerHour(1).over(0.0000004) == Ml(0), "shorter than half a microsecond is no time"


def test_a_rate_of_nothing_never_gives_a_volume() -> None:
    with pytest.raises(ZeroDivisionError):
        MlPerHour(0).seconds_for(Ml(1))


def test_doses_masses_and_volumes_agree() -> None:
    dose = MgPerKg("0.5").for_weight(Kg(70))
    assert dose == Mg(35)
    assert MgPerMl(2).volume_of(dose) == Ml("17.5")
    assert MgPerMl(2).mass_in(Ml("17.5")) == dose
    assert Ml(2) * 3 == Ml(6)
