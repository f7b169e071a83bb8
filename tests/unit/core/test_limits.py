"""Every limit of the drug library on both sides, all reasons at once, and what nobody can pass (S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core.limits import (
    CODE_MAX_RATE,
    DrugLimits,
    Finding,
    Level,
    Override,
    Span,
    broken,
    check,
    rate_ceiling,
)
from pumpd.core.plan import Plan, Portion, make_plan
from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour
from tests.unit.core.world import FITTED, KETAMINE, PLAN, SYRINGE, plan, prescription

PUMP_MAX = MlPerHour(FITTED.rates.most)
BIG = replace(SYRINGE, size=Ml(300), fill=Ml(300))
HARD, SOFT, MET = Level.HARD, Level.SOFT, Level.MET


def levels(made: Plan) -> dict[str, Level]:
    return {finding.name: finding.level for finding in check(made, KETAMINE, PUMP_MAX)}


def refusals(made: Plan, override: Override | None = None, name: str = "") -> list[str]:
    found = broken(check(made, KETAMINE, PUMP_MAX), override)
    return [finding.text for finding in found if name in ("", finding.name)]


def test_the_usual_session_breaks_nothing() -> None:
    assert set(levels(PLAN).values()) == {MET}
    assert refusals(PLAN) == []


# Each limit of config/drug-library.toml: (name, what is changed, level); the nearest value on each side of it.
SIDES = [
    ("dose by weight", {"dose": MgPerKg("0.099"), "duration_s": 1800}, HARD),
    ("dose by weight", {"dose": MgPerKg("0.1")}, SOFT),
    ("dose by weight", {"dose": MgPerKg("0.399")}, SOFT),
    ("dose by weight", {"dose": MgPerKg("0.4")}, MET),
    ("dose by weight", {"dose": MgPerKg("0.6")}, MET),
    ("dose by weight", {"dose": MgPerKg("0.601")}, SOFT),
    ("dose by weight", {"dose": MgPerKg("1.0")}, SOFT),
    ("dose by weight", {"dose": MgPerKg("1.001")}, HARD),
    ("duration", {"duration_s": 1799}, HARD),
    ("duration", {"duration_s": 1800}, SOFT),
    ("duration", {"duration_s": 2399}, SOFT),
    ("duration", {"duration_s": 2400}, MET),
    ("duration", {"duration_s": 3600}, MET),
    ("duration", {"duration_s": 3601}, SOFT),
    ("duration", {"duration_s": 7200}, SOFT),
    ("duration", {"duration_s": 7201}, HARD),
    ("weight", {"weight": Kg("29.9")}, HARD),
    ("weight", {"weight": Kg("30")}, SOFT),
    ("weight", {"weight": Kg("39.9")}, SOFT),
    ("weight", {"weight": Kg("40")}, MET),
    ("weight", {"weight": Kg("140")}, MET),
    ("weight", {"weight": Kg("140.1")}, SOFT),
    ("weight", {"weight": Kg("250"), "concentration": MgPerMl(2)}, SOFT),
    ("weight", {"weight": Kg("250.1"), "concentration": MgPerMl(2)}, HARD),
    ("dose", {"dose": Mg(60)}, MET),
    ("dose", {"dose": Mg("60.1")}, SOFT),
    ("dose", {"dose": Mg(150), "concentration": MgPerMl(2)}, SOFT),
    ("dose", {"dose": Mg("150.1"), "concentration": MgPerMl(2)}, HARD),
    ("mass rate", {"dose": MgPerKg("1.0"), "duration_s": 2400}, MET),
    ("mass rate", {"dose": MgPerKg("1.0"), "duration_s": 2399}, HARD),
    ("concentration", {"concentration": MgPerMl(1)}, MET),
    ("concentration", {"concentration": MgPerMl(2)}, MET),
    ("concentration", {"concentration": MgPerMl(10)}, HARD),
    ("concentration", {"concentration": MgPerMl("1.5")}, HARD),
]


@pytest.mark.shows("S8", "H28", "H47", "H48")
@pytest.mark.parametrize(("name", "changes", "level"), SIDES)
def test_each_limit_on_both_sides(name: str, changes: dict[str, object], level: Level) -> None:
    made = plan(**{"container": BIG, **changes})
    assert levels(made)[name] is level
    named = refusals(made, name=name)
    assert bool(named) is (level in (HARD, SOFT))
    if level is not MET and name != "concentration":
        assert level.value in named[0], "it says which limit"


def test_a_concentration_of_the_site_is_soft() -> None:
    limits = replace(KETAMINE, concentrations_soft=(Decimal(10),))
    made = plan(concentration=MgPerMl(10))
    found = {each.name: each.level for each in check(made, limits, PUMP_MAX)}
    assert found["concentration"] is SOFT
    assert found["low rate"] is Level.WARN, "4.66 mL/h: start-up and occlusion take minutes"


@pytest.mark.shows("within:LOW_RATE", "beyond:LOW_RATE")
@pytest.mark.parametrize(("dose", "warned"), [("37.5", False), ("37.4", True)])
def test_a_low_rate_is_warned_of_not_refused(dose: str, warned: bool) -> None:
    limits = replace(KETAMINE, concentrations_soft=(Decimal(10),))
    made = plan(dose=Mg(dose), concentration=MgPerMl(10))
    assert ("low rate" in {each.name for each in check(made, limits, PUMP_MAX)}) is warned


# --- what is to be noticed (docs/clinical.md) ---

SITES_10 = replace(KETAMINE, concentrations_soft=(Decimal(10),))


def told(made: Plan, limits: DrugLimits = KETAMINE) -> dict[str, str]:
    return {each.name: each.text for each in check(made, limits, PUMP_MAX)}


@pytest.mark.parametrize("usual", [True, False])
def test_ten_mg_per_ml_is_always_soft_and_says_what_an_occlusion_would_release(usual: bool) -> None:
    listed = replace(KETAMINE, concentrations_mg_ml=(Decimal(1), Decimal(10))) if usual else SITES_10
    made = plan(concentration=MgPerMl(10))
    found = {each.name: each for each in check(made, listed, PUMP_MAX)}
    assert found["concentration"].level is SOFT
    assert "1.15 mL that an occlusion may release would be 11.5 mg, 33 % of the dose" in found["concentration"].text
    assert found["vial"].level is Level.WARN
    assert broken(tuple(found.values()), None) == (found["concentration"],)
    assert broken(tuple(found.values()), NAMED) == ()


@pytest.mark.parametrize("concentration", ["10.1", "50", "100"])
def test_above_ten_mg_per_ml_is_refused_by_the_code_whatever_a_file_says(concentration: str) -> None:
    listed = replace(KETAMINE, concentrations_mg_ml=(Decimal(concentration),), concentrations_soft=())
    container = replace(SYRINGE, fill=Ml(50))
    made = plan(concentration=MgPerMl(concentration), container=container)
    assert {each.name: each.level for each in check(made, listed, PUMP_MAX)}["concentration"] is HARD
    assert "above the code limit 10" in told(made, listed)["concentration"]


@pytest.mark.parametrize(("concentration", "warned"), [(1, False), (2, False), (10, True), (50, True), (100, True)])
def test_the_strength_of_a_vial_is_noticed(concentration: int, warned: bool) -> None:
    assert ("vial" in told(plan(concentration=MgPerMl(concentration)), SITES_10)) is warned


def test_rounding_the_rate_is_noticed_when_it_moves_the_end() -> None:
    coarse = replace(FITTED, rates=replace(FITTED.rates, bands=((Decimal(10000), Decimal("0.1")),)))
    made = make_plan(prescription(dose=Mg("34.8"), duration_s=2700), coarse)  # exactly 46.4
    assert levels(made)["rounding"] is MET
    later = make_plan(prescription(dose=Mg("34.86"), duration_s=2700), coarse)  # 46.48 -> 46.4: 0.17 %
    assert levels(later)["rounding"] is Level.WARN
    assert "the volume ends it, not the time" in told(later)["rounding"]


def test_a_hundred_kilograms_fill_a_syringe_of_fifty() -> None:
    """At 1 mg/mL: the dose fits, what fills the line does not; a heavier patient's dose does not fit at all."""
    fifty = replace(SYRINGE, size=Ml(50), fill=Ml(50))
    assert levels(plan(weight=Kg(98), container=fifty))["container"] is MET
    assert levels(plan(weight=Kg(100), container=fifty))["container"] is Level.WARN
    assert levels(plan(weight=Kg(101), container=fifty))["container"] is HARD


def test_a_mass_rate_ten_times_too_low_is_refused() -> None:
    slow = {"dose": MgPerKg("0.1"), "container": BIG}
    assert levels(plan(**slow, duration_s=3600))["mass rate"] is MET
    assert levels(plan(**slow, duration_s=3601))["mass rate"] is HARD


def test_no_override_stands_in_for_a_second_person() -> None:
    alone = (Finding("first session", Level.SECOND, "needs two"), Finding("weight", SOFT, "soft"))
    assert broken(alone, NAMED) == alone[:1]
    assert broken(alone, None) == alone


# --- soft and hard ---

SOFT_PLAN = plan(dose=MgPerKg("0.7"))
NAMED = Override("Dr. A", "no response to 0.5")


@pytest.mark.shows("S8", "H27")
@pytest.mark.parametrize(
    "override", [None, Override("", ""), Override("Dr. A", ""), Override("", "why"), Override(" ", " \t")]
)
def test_a_soft_limit_needs_a_person_and_a_reason(override: Override | None) -> None:
    assert refusals(SOFT_PLAN, override)


@pytest.mark.shows("H27")
def test_a_soft_limit_is_passed_by_a_person_with_a_reason() -> None:
    assert refusals(SOFT_PLAN, NAMED) == []


@pytest.mark.shows("S8", "H28")
@pytest.mark.parametrize(("name", "changes", "level"), [side for side in SIDES if side[2] is HARD])
def test_a_hard_limit_is_passed_by_nobody(name: str, changes: dict[str, object], level: Level) -> None:
    assert refusals(plan(**{"container": BIG, **changes}), NAMED, name)


@pytest.mark.shows("S8")
def test_all_reasons_are_told_at_once_the_worst_first() -> None:
    made = plan(weight=Kg(20), dose=MgPerKg("1.2"), duration_s=1500, concentration=MgPerMl("1.5"), container=BIG)
    findings = check(made, KETAMINE, PUMP_MAX)
    assert {each.name for each in findings if each.level is HARD} == {
        "weight", "dose by weight", "duration", "mass rate", "concentration", "rate"
    }  # fmt: skip
    order = [HARD, Level.SECOND, SOFT, Level.WARN, MET]
    assert [order.index(each.level) for each in findings] == sorted(order.index(each.level) for each in findings)


# --- mistakes of ten, sixty, and units ---


@pytest.mark.shows("H63")
@pytest.mark.parametrize("kg", range(30, 251, 10))
@pytest.mark.parametrize("factor", [Decimal(10), Decimal("0.1"), Decimal(60), 1 / Decimal(60)])
@pytest.mark.parametrize("what", ["dose", "duration", "concentration", "weight"])
def test_a_mistake_of_ten_or_sixty_is_outside_a_hard_limit_at_every_weight(kg: int, factor: Decimal, what: str) -> None:
    changes = {
        "dose": {"dose": MgPerKg(Decimal("0.5") * factor)},
        "duration": {"duration_s": max(1, round(2700 * factor))},
        "concentration": {"concentration": MgPerMl(factor)},
        "weight": {"weight": Kg(kg * factor)},
    }[what]
    ordered = prescription(**{"weight": Kg(kg), "container": replace(BIG, size=Ml(9999), fill=Ml(9999)), **changes})
    wide = replace(FITTED, rates=replace(FITTED.rates, least=Decimal("0.001"), most=Decimal(9999)))
    if ordered.mass.value / ordered.concentration.value * 3600 / ordered.duration_s > 9999:
        return  # refused by the pump before any limit
    made = make_plan(ordered, wide)
    hard = [each for each in check(made, KETAMINE, PUMP_MAX) if each.level is HARD]
    assert hard, f"{kg} kg, {what} x {factor}"


# --- the container, the code, the pump ---


@pytest.mark.shows("H46")
@pytest.mark.parametrize(
    ("size", "fill", "level"), [(60, 34, HARD), (60, "35.9", Level.WARN), (60, 36, MET), (60, 60, MET), (60, 61, HARD)]
)
def test_the_container_holds_the_dose_and_what_fills_the_line(size: int, fill: int | str, level: Level) -> None:
    assert levels(plan(container=replace(SYRINGE, size=Ml(size), fill=Ml(fill))))["container"] is level


@pytest.mark.shows("within:CODE_MAX_VOLUME", "beyond:CODE_MAX_VOLUME", "H6")
@pytest.mark.parametrize(("dose", "level"), [("110", MET), ("110.1", HARD)])
def test_the_code_has_a_largest_volume_above_any_file(dose: str, level: Level) -> None:
    assert levels(plan(dose=Mg(dose), container=BIG, duration_s=3600))["volume"] is level


@pytest.mark.shows("within:RATE_ERROR_MAX", "beyond:RATE_ERROR_MAX")
def test_a_plan_that_misses_its_time_by_more_than_a_hundredth_is_refused() -> None:
    coarse = replace(FITTED, rates=replace(FITTED.rates, bands=((Decimal(10000), Decimal(1)),)))
    off = make_plan(prescription(dose=Mg("34.9")), coarse)  # 46.53 -> 46: 1.2 %
    assert levels(off)["rounding"] is HARD
    near = make_plan(prescription(dose=Mg("34.8")), coarse)  # 46.4 -> 46: 0.9 %
    assert levels(near)["rounding"] is Level.WARN


@pytest.mark.shows("S8")
def test_the_ceiling_is_the_lowest_and_says_whose_it_is() -> None:
    by_drug = rate_ceiling(PLAN, KETAMINE, PUMP_MAX)
    assert by_drug.value == MlPerHour(105)
    assert by_drug.binding == "drug library: 1.5 mg/kg/h: max 105.0 mL/h"
    assert len(by_drug.reasons) == 3
    assert rate_ceiling(PLAN, KETAMINE, MlPerHour("99.9")).binding == "pump: max 99.9 mL/h"
    heavy = plan(weight=Kg(200), container=BIG)
    assert rate_ceiling(heavy, KETAMINE, PUMP_MAX).value == CODE_MAX_RATE
    assert rate_ceiling(heavy, KETAMINE, PUMP_MAX).binding == "code: max 200 mL/h"


def test_the_steepest_step_counts_against_the_ceiling() -> None:
    steep = plan(portions=(Portion(600, Decimal("0.6")), Portion(2100, Decimal("0.4"))))  # 126 mL/h
    assert levels(steep)["rate"] is HARD
    assert levels(steep)["mass rate"] is MET


def test_a_side_left_out_is_open() -> None:
    assert Span(None, None, None, None).judge(Decimal(10**6)) == (MET, "within any to any")
    assert Span(None, None, Decimal(2), Decimal(3)).judge(Decimal(0))[0] is MET
