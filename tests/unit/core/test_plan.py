"""From a prescription to a plan: the clinical table, and that rounding never gives more (S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from pumpd.core.plan import NoPlan, Portion, make_plan
from pumpd.driver import Grid
from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour
from tests.fitted import syringe
from tests.unit.core.world import FITTED, PLAN, PUMP, RATE, TWO_STEPS, plan, prescription

# kg: mL/h at 1 mg/mL 45 and 40 min, 2 mg/mL 45 and 40 min, 10 mg/mL 45 min (docs/clinical.md, dose, rate and volume)
TABLE = {
    40: ("26.67", "30.0", "13.33", "15.0", "2.67"),
    50: ("33.33", "37.5", "16.67", "18.75", "3.33"),
    60: ("40.00", "45.0", "20.00", "22.5", "4.00"),
    70: ("46.67", "52.5", "23.33", "26.25", "4.67"),
    80: ("53.33", "60.0", "26.67", "30.0", "5.33"),
    90: ("60.00", "67.5", "30.00", "33.75", "6.00"),
    100: ("66.67", "75.0", "33.33", "37.5", "6.67"),
    110: ("73.33", "82.5", "36.67", "41.25", "7.33"),
    120: ("80.00", "90.0", "40.00", "45.0", "8.00"),
    130: ("86.67", "97.5", "43.33", "48.75", "8.67"),
    140: ("93.33", "105.0", "46.67", "52.5", "9.33"),
    150: ("100.00", "112.5", "50.00", "56.25", "10.00"),
    160: ("106.67", "120.0", "53.33", "60.0", "10.67"),
}
COLUMNS = ((1, 45), (1, 40), (2, 45), (2, 40), (10, 45))
ROWS = [
    (kg, concentration, minutes, Decimal(rate))
    for kg, rates in TABLE.items()
    for (concentration, minutes), rate in zip(COLUMNS, rates, strict=True)
]


@pytest.mark.shows("H1")
@pytest.mark.parametrize(("kg", "concentration", "minutes", "rate"), ROWS)
def test_the_clinical_table_comes_out(kg: int, concentration: int, minutes: int, rate: Decimal) -> None:
    made = plan(weight=Kg(kg), concentration=MgPerMl(concentration), duration_s=minutes * 60)
    exact = Decimal(kg) / 2 / concentration * 60 / minutes
    assert abs(made.first_rate.value - rate) <= Decimal("0.1"), "rounded down where the table rounds to nearest"
    assert made.first_rate.value <= exact
    assert exact - made.first_rate.value < FITTED.rates.step_at(exact)
    assert made.volume == Ml(Decimal(kg) / 2 / concentration)
    assert made.dose == Mg(Decimal(kg) / 2)
    assert made.seconds == pytest.approx(float(made.volume.value / made.first_rate.value) * 3600)
    assert 0 <= made.seconds - minutes * 60 < 0.003 * minutes * 60


@pytest.mark.parametrize(
    ("fill", "minutes", "rate"), [(50, 45, "66.66"), (50, 40, "75"), (100, 45, "133.3"), (100, 40, "150")]
)
def test_a_fixed_bag_carries_the_weight_in_its_concentration(fill: int, minutes: int, rate: str) -> None:
    made = plan(dose=Mg(35), concentration=MgPerMl(Decimal(35) / fill), duration_s=minutes * 60)
    assert abs(made.first_rate.value - Decimal(rate)) <= Decimal("0.1")


def test_rate_volume_and_steps_along_the_time() -> None:
    made = plan(portions=TWO_STEPS)
    first, second = made.steps
    assert (first.volume, second.volume) == (Ml(7), Ml(28))
    assert (first.rate, second.rate) == (MlPerHour(21), MlPerHour("67.20"))
    assert made.first_rate == first.rate
    assert made.highest_rate == second.rate
    for at, rate in (
        (-1, first.rate),
        (0, first.rate),
        (1199.9, first.rate),
        (1200, second.rate),
        (99999, second.rate),
    ):
        assert made.rate_at(at) == rate
    assert made.volume_at(0) == Ml(0)
    assert made.volume_at(600) == Ml("3.5")
    assert made.volume_at(1200) == Ml(7)
    assert made.volume_at(1200 + 750) == Ml(21)
    assert made.volume_at(99999) == Ml(35)
    assert (made.next_step_after(0), made.next_step_after(1199.9), made.next_step_after(1200)) == (1200.0, 1200.0, None)
    assert PLAN.next_step_after(0) is None


def test_a_plan_continued_at_another_rate_gives_the_same_volume() -> None:
    changed = PLAN.continued_at(MlPerHour(30), 600, Ml("7.5"))
    assert changed.volume == PLAN.volume
    assert changed.volume_at(600) == Ml("7.5")
    assert changed.rate_at(599) == RATE
    assert changed.rate_at(600) == MlPerHour(30)
    assert changed.seconds == pytest.approx(600 + 27.5 / 30 * 3600)
    again = changed.continued_at(MlPerHour(40), 900, Ml(10))
    assert again.seconds == pytest.approx(900 + 25 / 40 * 3600)


def test_a_plan_is_continued_from_its_very_start() -> None:
    assert PLAN.continued_at(MlPerHour(30), 0.0, Ml(0)).rate_at(0) == MlPerHour(30)


THREE_STEPS = (Portion(600, Decimal("0.2")), Portion(900, Decimal("0.5")), Portion(1200, Decimal("0.3")))


def test_each_of_three_steps_begins_where_the_one_before_ended() -> None:
    """7 mL in 600 s, 17.5 mL in 900 s, 10.5 mL in 1200 s."""
    made = plan(portions=THREE_STEPS)
    rates = [step.rate for step in made.steps]
    assert [step.volume for step in made.steps] == [Ml(7), Ml("17.5"), Ml("10.5")]
    assert rates == [MlPerHour(42), MlPerHour(70), MlPerHour("31.5")]
    begins = (0.0, made.steps[0].seconds, made.steps[0].seconds + made.steps[1].seconds)
    for begin, rate in zip(begins, rates, strict=True):
        assert made.rate_at(begin) == rate
    for end, rate in zip(begins[1:], rates[:-1], strict=True):
        assert made.rate_at(end - 0.1) == rate
    assert made.rate_at(made.seconds) == rates[2], "past the computed end the last step goes on"
    assert made.volume_at(begins[2] + 10) == Ml("24.5") + rates[2].over(10)
    assert made.next_step_after(begins[1]) == begins[2]
    assert made.next_step_after(begins[2]) is None


def test_the_usual_duration_is_three_quarters_of_an_hour() -> None:
    assert prescription().steps == (Portion(2700, Decimal(1)),)


@pytest.mark.parametrize(
    ("elapsed", "present"),
    [(599.0, 0), (600.0, 1), (1499.0, 1), (1500.0, 2), (2699.0, 2), (3000.0, 2)],
)
def test_the_step_that_lasts_longer_after_falling_behind_is_the_present_one(elapsed: float, present: int) -> None:
    made = plan(portions=THREE_STEPS)
    assert [step.seconds for step in made.steps] == [600, 900, 1200]
    late = made.fallen_behind(elapsed, Ml(1))
    past, rest, *later = late.steps
    assert (past.seconds, past.volume) == (elapsed, Ml(1))
    assert rest.rate == made.steps[present].rate
    assert tuple(later) == made.steps[present + 1 :]
    assert late.volume_at(late.seconds + 1) == made.volume


def test_a_plan_of_one_step_falls_behind_at_its_only_rate() -> None:
    late = PLAN.fallen_behind(0.5, Ml("0.001"))
    assert [step.rate for step in late.steps] == [RATE, RATE]
    assert late.steps[1].volume == Ml("34.999")


@pytest.mark.parametrize("given", ["35", "35.001", "36"])
def test_with_nothing_left_to_give_no_plan_falls_behind(given: str) -> None:
    assert PLAN.fallen_behind(600, Ml(given)) is PLAN


def test_the_last_of_the_volume_falls_behind_too() -> None:
    late = PLAN.fallen_behind(600, Ml("34.5"))
    assert (late.steps[1].volume, late.steps[1].rate) == (Ml("0.5"), RATE)


# --- no plan ---


def refused(**changes: object) -> str:
    with pytest.raises(NoPlan) as error:
        plan(**changes)
    return str(error.value)


def test_a_volume_below_the_smallest_limit_is_no_plan() -> None:
    assert "below the smallest limit" in refused(dose=Mg("0.0005"))


def test_a_volume_above_the_largest_limit_is_no_plan() -> None:
    """Never a smaller dose in silence."""
    small = replace(FITTED, limits=Grid(Decimal("0.1"), Decimal(30), FITTED.limits.bands))
    with pytest.raises(NoPlan, match=r"35[.0]* mL is above the largest limit"):
        make_plan(prescription(), small)


def test_the_largest_volume_and_the_highest_rate_themselves_are_a_plan() -> None:
    most = FITTED.rates.most
    just = replace(FITTED, limits=replace(FITTED.limits, most=Decimal(35)))
    assert make_plan(prescription(), just).volume == Ml(35)
    hour = prescription(dose=Mg(most), concentration=MgPerMl(1), duration_s=3600)
    assert make_plan(hour, replace(FITTED, limits=replace(FITTED.limits, most=most))).first_rate == MlPerHour(most)


def test_what_is_no_plan_is_told_in_words() -> None:
    with pytest.raises(NoPlan) as error:
        plan(portions=(Portion(1, Decimal("0.5")), Portion(1, Decimal("0.5"))))
    assert len(error.value.reasons) == 2
    assert str(error.value) == "; ".join(error.value.reasons)


@pytest.mark.shows("H2")
@pytest.mark.parametrize("seconds", [1, 10**8])
def test_a_rate_the_pump_cannot_be_set_to_is_no_plan(seconds: int) -> None:
    assert "step 1 needs" in refused(duration_s=seconds)


def test_each_step_that_cannot_be_set_is_named() -> None:
    words = refused(portions=(Portion(1, Decimal("0.5")), Portion(2000, Decimal("0.3")), Portion(1, Decimal("0.2"))))
    assert "step 1 needs" in words
    assert "step 3 needs" in words
    assert "step 2" not in words


def test_a_step_of_nothing_is_no_plan() -> None:
    assert "step 1 needs 0.000 mL/h" in refused(portions=(Portion(600, Decimal(0)), Portion(2100, Decimal(1))))


# --- any prescription ---

PRESCRIPTIONS = st.builds(
    lambda kg, dose, concentration, seconds, shares: prescription(
        weight=Kg(kg),
        dose=MgPerKg(dose),
        concentration=MgPerMl(concentration),
        duration_s=seconds,
        portions=tuple(Portion(seconds // len(shares), Decimal(share) / sum(shares)) for share in shares)
        if len(shares) > 1
        else (),
    ),
    st.decimals(min_value=30, max_value=250, places=1),
    st.decimals(min_value=Decimal("0.05"), max_value=Decimal("1.5"), places=3),
    st.sampled_from([Decimal(text) for text in ("0.4", "1", "2", "3.3", "10")]),
    st.integers(600, 10_000),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
DIAMETERS = st.sampled_from([Decimal(text) for text in ("4.69", "8.59", "14.48", "19.05", "26.59")])


@pytest.mark.shows("S8")
@given(PRESCRIPTIONS, DIAMETERS)
def test_rounding_never_gives_more(ordered, diameter: Decimal) -> None:  # type: ignore[no-untyped-def]
    fitted = PUMP.fitted(syringe(diameter))
    try:
        made = make_plan(ordered, fitted)
    except NoPlan:
        assume(False)
    exact = ordered.concentration.volume_of(ordered.mass)
    assert made.volume <= exact
    assert exact.value - made.volume.value < fitted.limits.step_at(exact.value)
    assert sum((step.volume for step in made.steps), Ml(0)) == made.volume
    for step, portion in zip(made.steps, ordered.steps, strict=True):
        assert step.rate.value == fitted.rates.down(step.rate.value), "the pump can be set to it"
        assert step.rate.value * portion.seconds <= step.volume.value * 3600, "never faster than was ordered"
        assert step.seconds == pytest.approx(float(step.volume.value / step.rate.value) * 3600)
        assert step.volume > Ml(0)
    assert made.seconds == pytest.approx(sum(step.seconds for step in made.steps))


@pytest.mark.shows("S1")
@given(PRESCRIPTIONS, st.floats(0, 12_000), st.floats(0, 12_000))
def test_the_planned_volume_only_grows_and_never_passes_the_plan(ordered, one: float, other: float) -> None:  # type: ignore[no-untyped-def]
    try:
        made = make_plan(ordered, FITTED)
    except NoPlan:
        assume(False)
    early, late = sorted((one, other))
    assert Ml(0) <= made.volume_at(early) <= made.volume_at(late) <= made.volume
    assert made.volume_at(made.seconds + 1) == made.volume


def test_a_plan_that_fell_behind_gives_the_same_volume_at_the_same_rates_later() -> None:
    steps = (Portion(900, Decimal("0.2")), Portion(1800, Decimal("0.8")))
    plan = make_plan(prescription(portions=steps), FITTED)
    late = plan.fallen_behind(600.0, Ml("2.5"))
    assert sum((step.volume.value for step in late.steps), Decimal(0)) == plan.volume.value
    assert [step.rate for step in late.steps] == [plan.steps[0].rate, *(step.rate for step in plan.steps)]
    assert late.volume_at(600.0) == Ml("2.5")
    assert late.seconds > plan.seconds
    assert late.steps[-1] == plan.steps[-1], "what comes later stays as it was"
