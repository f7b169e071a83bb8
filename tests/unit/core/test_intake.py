"""What a clinic checks before an infusion: each answer on both sides of its limit, and who may pass what (S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from pumpd.core.intake import (
    Course,
    Former,
    Intake,
    Liver,
    Noted,
    OtherDrugs,
    Person,
    Preparation,
    Psychiatric,
    Vitals,
    Weighing,
    check_intake,
)
from pumpd.core.limits import DRUG_CLASSES, CourseLimits, Level, Override, broken
from pumpd.units import Kg, Mg, MgPerMl, Ml
from tests.unit.core.world import KETAMINE, SYRINGE, prescription

HARD, SECOND, SOFT, MET = Level.HARD, Level.SECOND, Level.SOFT, Level.MET
NOTED = Noted("nurse-1", "2026-01-31T09:30:00.000Z")
LAST = Former("s-0", Kg(70), 2, 3, 1)
NEVER = Course(1, None, True, NOTED)


def intake(**changes: Any) -> Intake:
    """Session 3 of a known patient, everything done."""
    usual = Intake(
        weight=kg("70"),
        weight_again=kg("70"),
        preparation=Preparation(Mg(50), Ml(50), NOTED),
        person=Person(41, "female", NOTED),
        liver=Liver("normal", NOTED),
        drugs=OtherDrugs(True, (), NOTED),
        psychiatric=Psychiatric(True, NOTED),
        vitals=Vitals(124, 78, 71, 98, NOTED),
        course=Course(3, 3, False, NOTED),
        former=LAST,
    )
    return replace(usual, **changes)


def kg(value: str) -> Weighing:
    return Weighing(Decimal(value), "kg", NOTED)


def lb(value: str) -> Weighing:
    return Weighing(Decimal(value), "lb", NOTED)


def course(number: int | None, days: int | None, *, first: bool = False) -> Course:
    return Course(number, days, first, NOTED)


def found(made: Intake, limits: CourseLimits = KETAMINE.course, actor: str = "nurse-1", **order: Any) -> dict[str, Any]:
    findings = check_intake(made, prescription(**order), limits, actor)
    return {finding.name: finding for finding in findings}


def refusing(made: Intake, override: Override | None = None, **order: Any) -> dict[str, Level]:
    findings = check_intake(made, prescription(**order), KETAMINE.course, "nurse-1")
    return {finding.name: finding.level for finding in broken(findings, override)}


def test_the_usual_session_breaks_nothing() -> None:
    assert {finding.level for finding in found(intake()).values()} == {MET}


SIDES = [
    # --- what was entered in two ways must agree, and nobody passes a disagreement
    ("weight twice", {"weight_again": kg("70.0")}, MET),
    ("weight twice", {"weight_again": kg("70.1")}, HARD),
    ("weight twice", {"weight_again": kg("7.0")}, HARD),
    ("weight twice", {"weight_again": lb("154")}, MET),  # 69.853 kg
    ("weight twice", {"weight_again": lb("153.7")}, HARD),  # 69.717 kg
    ("weight twice", {"weight_again": lb("70")}, HARD),
    ("weight twice", {"weight": lb("154"), "weight_again": lb("154.1")}, HARD),
    ("preparation", {"preparation": Preparation(Mg("50.5"), Ml(50), NOTED)}, MET),
    ("preparation", {"preparation": Preparation(Mg("50.6"), Ml(50), NOTED)}, HARD),
    ("preparation", {"preparation": Preparation(Mg("49.5"), Ml(50), NOTED)}, MET),
    ("preparation", {"preparation": Preparation(Mg("49.4"), Ml(50), NOTED)}, HARD),
    ("made up", {"preparation": Preparation(Mg(49), Ml(49), NOTED)}, HARD),
    ("made up", {"preparation": Preparation(Mg(100), Ml(100), NOTED)}, MET),
    # --- what was checked
    ("age and sex", {"person": Person(None, "female", NOTED)}, SOFT),
    ("age and sex", {"person": Person(41, "unknown", NOTED)}, SOFT),
    ("age and sex", {"person": Person(41, "other", NOTED)}, MET),
    ("liver tests", {"liver": Liver("abnormal", NOTED)}, SOFT),
    ("liver tests", {"liver": Liver("not done", NOTED)}, SOFT),
    ("other drugs", {"drugs": OtherDrugs(False, (), NOTED)}, SOFT),
    ("other drugs", {"drugs": OtherDrugs(True, ("ssri",), NOTED)}, MET),
    *(("other drugs", {"drugs": OtherDrugs(True, (name,), NOTED)}, SOFT) for name in DRUG_CLASSES if name != "ssri"),
    ("psychiatric evaluation", {"psychiatric": Psychiatric(False, NOTED)}, SOFT),
    ("baseline vitals", {"vitals": Vitals(None, 78, 71, 98, NOTED)}, SOFT),
    ("baseline vitals", {"vitals": Vitals(124, None, 71, 98, NOTED)}, SOFT),
    ("baseline vitals", {"vitals": Vitals(124, 78, None, 98, NOTED)}, SOFT),
    ("baseline vitals", {"vitals": Vitals(124, 78, 71, None, NOTED)}, SOFT),
    # --- against the last session
    ("weight change", {"former": replace(LAST, weight=Kg("63.64"))}, MET),  # +9.99 %
    ("weight change", {"former": replace(LAST, weight=Kg("63.63"))}, SOFT),  # +10.01 %
    ("weight change", {"former": replace(LAST, weight=Kg("77.77"))}, MET),  # -9.99 %
    ("weight change", {"former": replace(LAST, weight=Kg("77.78"))}, SOFT),  # -10.002 %
    ("weight change", {"former": None}, MET),
    # --- the course
    ("session number", {"course": course(10, 3)}, MET),
    ("session number", {"course": course(11, 3)}, SOFT),
    ("session number", {"course": course(None, 3)}, SOFT),
    ("days since last", {"course": course(3, 2), "former": replace(LAST, days_ago=2)}, MET),
    ("days since last", {"course": course(3, 1), "former": replace(LAST, days_ago=2)}, SOFT),
    ("days since last", {"course": course(3, 2), "former": replace(LAST, days_ago=1)}, SOFT),
    ("days since last", {"course": course(3, None), "former": None}, SOFT),
    ("days since last", {"course": course(3, None)}, MET),  # the journal knows them
    ("days since last", {"course": NEVER, "former": None}, MET),
    ("sessions a week", {"former": replace(LAST, in_last_week=2)}, MET),
    ("sessions a week", {"former": replace(LAST, in_last_week=3)}, SOFT),
    ("journal", {"course": course(4, 3)}, SOFT),
    ("journal", {"course": course(2, 3)}, SOFT),
    ("journal", {"course": course(None, 3)}, MET),
    ("journal", {"course": course(7, 3), "former": replace(LAST, number=None)}, MET),
    ("journal", {"course": course(3, 4)}, MET),
    ("journal", {"course": course(3, 5)}, SOFT),
    ("journal", {"course": course(3, None, first=True)}, SOFT),
    ("journal", {"course": course(1, None, first=True)}, SOFT),
    ("journal", {"course": course(3, 3), "former": None}, SOFT),
    ("journal", {"course": course(1, 3), "former": None}, SOFT),
    ("journal", {"course": course(3, None, first=True), "former": None}, SOFT),
    ("journal", {"course": NEVER, "former": None}, MET),
    # --- two persons
    ("first session", {"former": None}, SECOND),
    ("first session", {"former": None, "second_person": "nurse-2"}, MET),
    ("first session", {"former": None, "second_person": " Nurse-1 "}, SECOND),
    ("first session", {"course": course(1, 3)}, SECOND),
    ("first session", {"course": course(1, 3), "second_person": "nurse-2"}, MET),
]


@pytest.mark.shows(
    "S8",
    "H44",
    "H63",
    "within:SCALES_MAY_DIFFER",
    "beyond:SCALES_MAY_DIFFER",
    "within:PREPARED_MAY_MISS",
    "beyond:PREPARED_MAY_MISS",
    "within:DAYS_MAY_DIFFER",
    "beyond:DAYS_MAY_DIFFER",
)
@pytest.mark.parametrize(("name", "changes", "level"), SIDES)
def test_each_answer_on_both_sides(name: str, changes: dict[str, Any], level: Level) -> None:
    made = intake(**changes)
    assert found(made)[name].level is level
    assert refusing(made).get(name, MET) is level
    passed = refusing(made, Override("Dr. A", "known and accepted")).get(name, MET)
    assert passed is (MET if level is SOFT else level), "an override passes what is soft, and nothing else"
    if level is SOFT:
        assert "needs a person and a reason" in found(made)[name].text


@pytest.mark.shows("S8", "H63")
def test_the_lower_of_two_weights_doses() -> None:
    """Pounds are converted and rounded down: never the one that gives more."""
    assert lb("154.3").weight == Kg("69.989")
    assert intake(weight=kg("70"), weight_again=lb("154")).dosing_weight == Kg("69.853")
    assert intake(weight=lb("154.5"), weight_again=kg("70")).dosing_weight == Kg(70)


@pytest.mark.shows("H63")
@pytest.mark.parametrize(
    ("drug", "times"), [("500", "10"), ("250", "5"), ("5", "10"), ("10", "5"), ("100", "2"), ("70", None)]
)
def test_a_vial_taken_for_another_is_said(drug: str, times: str | None) -> None:
    text = found(intake(preparation=Preparation(Mg(drug), Ml(50), NOTED)))["preparation"].text
    assert (f"{times} times apart, as two vials are" in text) is (times is not None), text


@pytest.mark.shows("H63")
def test_the_concentration_is_held_against_what_was_made_up() -> None:
    assert found(intake(), concentration=MgPerMl(10))["preparation"].level is HARD
    strong = intake(preparation=Preparation(Mg(500), Ml(50), NOTED))
    assert found(strong, concentration=MgPerMl(10))["preparation"].level is MET


@pytest.mark.shows("H46")
def test_the_fill_is_not_more_than_was_made_up() -> None:
    bigger = replace(SYRINGE, fill=Ml("50.1"))
    assert found(intake(), container=bigger)["made up"].level is HARD


@pytest.mark.shows("H63")
def test_everything_that_contradicts_the_journal_is_told() -> None:
    text = found(intake(course=course(6, 9)))["journal"].text
    assert "session 6 is entered but the journal's last one was number 2" in text
    assert "9 days since the last session are entered but the journal says 3" in text


def test_the_library_says_the_limits_of_the_course() -> None:
    strict = CourseLimits(6, 2, 3, Decimal(5), ("ssri",))
    made = intake(
        course=course(7, 2),
        drugs=OtherDrugs(True, ("ssri", "opioid"), NOTED),
        former=Former("s-0", Kg(66), 6, 2, 2),
    )
    soft = {name for name, finding in found(made, strict).items() if finding.level is SOFT}
    assert soft == {"session number", "sessions a week", "days since last", "weight change", "other drugs"}
    assert "opioid" not in found(made, strict)["other drugs"].text


def test_the_worst_is_told_first() -> None:
    made = intake(weight_again=kg("71"), former=None, course=course(None, None))
    levels = [finding.level for finding in check_intake(made, prescription(), KETAMINE.course, "nurse-1")]
    order = [HARD, SECOND, SOFT, MET]
    assert [order.index(level) for level in levels] == sorted(order.index(level) for level in levels)
    assert set(levels) == set(order)
