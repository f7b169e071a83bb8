"""What an intake says in words, and a figure exactly at what may differ (S8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from pumpd.core.intake import Preparation, Psychiatric
from pumpd.core.limits import Level
from pumpd.units import Kg, Mg, Ml
from tests.unit.core.test_intake import LAST, NEVER, NOTED, course, found, intake, kg, lb


def test_a_pound_is_so_many_kilograms_exactly() -> None:
    assert lb("100000").weight == Kg("45359.237")


@pytest.mark.parametrize(("kilograms", "level"), [("70.103", Level.MET), ("70.104", Level.HARD)])
def test_pounds_and_kilograms_may_differ_by_a_quarter_of_a_kilogram(kilograms: str, level: Level) -> None:
    """154 lb are 69.853 kg."""
    made = intake(weight=kg(kilograms), weight_again=lb("154"))
    assert found(made)["weight twice"].level is level


@pytest.mark.parametrize(("drug", "said"), [("505", True), ("505.1", False), ("495", True), ("494.9", False)])
def test_ten_times_is_said_where_a_hundredth_is_missing_or_too_much(drug: str, said: bool) -> None:
    """A factor is looked for within the same hundredth by which a label may miss."""
    text = found(intake(preparation=Preparation(Mg(drug), Ml(50), NOTED)))["preparation"].text
    assert ("10 times apart" in text) is said, text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"former": None}, "the first session of this patient needs two different persons: only nurse-1 is named"),
        (
            {"former": None, "second_person": "Nurse-1"},
            "the first session of this patient needs two different persons: second_person Nurse-1 is the one who plans",
        ),
        ({"course": course(1, 3)}, "session number 1 needs two different persons: only nurse-1 is named"),
    ],
)
def test_why_two_persons_are_needed_and_who_is_missing(changes: dict[str, Any], words: str) -> None:
    assert found(intake(**changes))["first session"].text == words


@pytest.mark.parametrize(
    ("finished", "words"),
    [(True, "psychiatric evaluation done"), (False, "psychiatric evaluation not done: needs a person and a reason")],
)
def test_the_evaluation_is_told_as_it_was_answered(finished: bool, words: str) -> None:
    assert found(intake(psychiatric=Psychiatric(finished, NOTED)))["psychiatric evaluation"].text == words


@pytest.mark.parametrize(
    ("changes", "count"), [({"former": None, "course": NEVER}, 1), ({"former": replace(LAST, in_last_week=1)}, 2)]
)
def test_the_sessions_of_the_last_seven_days_are_counted_with_this_one(changes: dict[str, Any], count: int) -> None:
    text = found(intake(**changes))["sessions a week"].text
    assert text == f"with this one {count} in 7 days by the journal, at most 3"


def test_a_change_of_weight_is_told_in_hundredths_of_the_former_one() -> None:
    made = intake(weight=kg("77"), weight_again=kg("77"), former=replace(LAST, weight=Kg(Decimal(70))))
    assert "+10.0 % since the last session (70 kg), soft limit 10 %" in found(made)["weight change"].text
