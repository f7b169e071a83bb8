"""A value exactly at a limit of the code, what the clinic's course is by itself, and which limit a finding is (S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core.intake import Course, Former, check_intake
from pumpd.core.limits import DRUG_CLASSES, CourseLimits, DrugLimits, Finding, Level, Span, check
from pumpd.core.plan import Plan, Portion, make_plan
from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour
from tests.unit.core.test_intake import NOTED, intake, kg
from tests.unit.core.world import FITTED, KETAMINE, SYRINGE, plan, prescription

PUMP_MAX = MlPerHour(FITTED.rates.most)
BIG = replace(SYRINGE, size=Ml(300), fill=Ml(300))
WHOLE_RATES = replace(FITTED, rates=replace(FITTED.rates, bands=((Decimal(10000), Decimal(1)),)))
SOFT, MET = Level.SOFT, Level.MET


def found(made: Plan, limits: DrugLimits = KETAMINE) -> dict[str, Finding]:
    return {each.name: each for each in check(made, limits, PUMP_MAX)}


# --- exactly at the limit ---


def test_the_highest_rate_that_is_allowed_is_allowed() -> None:
    """1.5 mg/kg/h of 70 kg at 1 mg/mL."""
    made = plan(dose=MgPerKg(1), duration_s=2400, container=BIG)
    assert made.highest_rate == MlPerHour(105)
    assert found(made)["rate"].level is MET


def test_a_plan_that_is_a_hundredth_too_long_is_warned_of() -> None:
    """40.4 mL/h is set to 40: 2727 s for 2700."""
    made = make_plan(prescription(dose=Mg("30.3")), WHOLE_RATES)
    assert made.seconds == 2727
    assert found(made)["rounding"].level is Level.WARN


def test_a_plan_that_is_a_thousandth_too_long_is_as_ordered() -> None:
    """36.036 mL/h is set to 36: 3003 s for 3000."""
    made = make_plan(prescription(dose=Mg("30.03"), duration_s=3000), WHOLE_RATES)
    assert made.seconds == 3003
    assert found(made)["rounding"].level is MET


def test_a_weak_concentration_that_only_the_site_uses_needs_a_person_too() -> None:
    limits = replace(KETAMINE, concentrations_soft=(Decimal(5),))
    assert found(plan(concentration=MgPerMl(5)), limits)["concentration"].level is SOFT


@pytest.mark.parametrize(("dose", "share"), [("11.5", "100 %"), ("23", "50 %"), ("46", "25 %")])
def test_what_an_occlusion_releases_is_said_as_a_share_of_this_dose(dose: str, share: str) -> None:
    limits = replace(KETAMINE, concentrations_soft=(Decimal(10),))
    made = plan(dose=Mg(dose), concentration=MgPerMl(10))
    assert f"would be 11.5 mg, {share} of the dose" in found(made, limits)["concentration"].text


SOFT_MASS_RATE = replace(KETAMINE, mass_rate_mg_kg_h=Span(Decimal("0.1"), None, Decimal(1), Decimal("1.5")))


@pytest.mark.parametrize(
    ("share", "level", "words"),
    [
        ("0.6", MET, "rate 36.00 mL/h: within drug library: 1.5 mg/kg/h: max 54.0 mL/h"),
        ("0.605", SOFT, "rate 36.30 mL/h, 1.0083 mg/kg/h: above the soft limit 1"),
    ],
)
def test_the_fastest_step_is_held_against_the_soft_mass_rate(share: str, level: Level, words: str) -> None:
    """72 kg, 2 mg/mL: 36 mL/h are 1 mg/kg/h. The session's average is 0.74 either way."""
    steps = Portion(1200, Decimal(share)), Portion(1500, 1 - Decimal(share))
    made = plan(weight=Kg(72), dose=Mg(40), concentration=MgPerMl(2), portions=steps)
    findings = found(made, SOFT_MASS_RATE)
    assert findings["mass rate"].level is MET
    assert (findings["rate"].level, findings["rate"].text) == (level, words)


def test_without_a_soft_mass_rate_only_the_ceiling_binds_the_fastest_step() -> None:
    steps = Portion(1200, Decimal("0.605")), Portion(1500, Decimal("0.395"))
    made = plan(weight=Kg(72), dose=Mg(40), concentration=MgPerMl(2), portions=steps)
    assert found(made)["rate"].level is MET


# --- which limit it is ---


def test_what_is_met_is_said_with_the_limits_it_lies_within() -> None:
    """The inner ones; the outer one where a side has no inner one."""
    one, two, three, four = Decimal(1), Decimal(2), Decimal(3), Decimal(4)
    assert Span(one, two, three, four).judge(Decimal("2.5")) == (MET, "within 2 to 3")
    assert Span(one, None, None, four).judge(Decimal("2.5")) == (MET, "within 1 to 4")


def test_a_limit_is_the_same_one_whatever_breaks_it_and_its_other_side_is_another() -> None:
    """Who has passed one side has passed no other (docs/safety.md)."""
    short, shorter = (found(plan(duration_s=seconds))["duration"] for seconds in (2399, 2000))
    long = found(plan(duration_s=3700))["duration"]
    assert {short.level, shorter.level, long.level} == {SOFT}
    assert short.bound == shorter.bound
    assert short.bound != long.bound
    heavy = found(plan(weight=Kg(141), container=BIG))["weight"]
    assert heavy.bound not in (short.bound, long.bound)


# --- a course, where the drug library says nothing about it ---


@pytest.mark.parametrize(
    ("name", "changes", "level"),
    [
        ("session number", {"course": Course(10, 3, False, NOTED)}, MET),
        ("session number", {"course": Course(11, 3, False, NOTED)}, SOFT),
        ("sessions a week", {"former": Former("s-0", Kg(70), 2, 3, 2)}, MET),
        ("sessions a week", {"former": Former("s-0", Kg(70), 2, 3, 3)}, SOFT),
        ("days since last", {"course": Course(3, 2, False, NOTED)}, MET),
        ("days since last", {"course": Course(3, 1, False, NOTED)}, SOFT),
        ("weight change", {"weight": kg("77"), "weight_again": kg("77")}, MET),
        ("weight change", {"weight": kg("77.1"), "weight_again": kg("77.1")}, SOFT),
    ],
)
def test_a_course_is_what_the_clinic_does(name: str, changes: dict[str, object], level: Level) -> None:
    """Up to ten sessions, three a week, two days apart; a tenth more or less of weight is asked about."""
    findings = check_intake(intake(**changes), prescription(), CourseLimits(), "nurse-1")
    assert {each.name: each.level for each in findings}[name] is level


def test_an_ssri_is_known_and_is_the_only_class_that_nobody_is_asked_about() -> None:
    assert "ssri" in DRUG_CLASSES
    assert set(CourseLimits().flagged_classes) == set(DRUG_CLASSES) - {"ssri"}
