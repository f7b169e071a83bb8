"""The form of a prescription: what `session.plan` and `pumpd plan` ask for.

A figure that a slip could turn into a wrong dose is entered twice or in two ways. What a clinic checks before an
infusion has to be answered, if only with "not done" or "unknown": nothing is left out in silence.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pumpd.core.limits import DRUG_CLASSES
from pumpd.messaging.forms import Form, Moment, Name, NotNegative, Positive, Words


class ContainerArgs(Form):
    """The syringe or bag in the pump."""

    kind: Literal["syringe", "bag"]
    make: Words
    size_ml: Positive
    diameter_mm: Positive | None = None
    fill_ml: Positive


class StepArgs(Form):
    """One step of a plan: how long, and which share of the dose or which rate."""

    duration_min: Positive
    share_pct: Annotated[NotNegative, Field(le=100)] | None = None
    rate_ml_h: NotNegative | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.share_pct is None) == (self.rate_ml_h is None):
            raise ValueError("give one of share_pct and rate_ml_h")
        return self


class Override(Form):
    """Who passes a soft limit, and why."""

    by: Name
    reason: Name


class Checked(Form):
    """Who did it and when; the sender and the time of the request where it is not said."""

    by: Name | None = None
    at: Moment | None = None


class WeightArgs(Checked):
    """A body weight with its unit."""

    value: Positive
    unit: Literal["kg", "lb"]


class PreparationArgs(Checked):
    """What was made up, read off vial and syringe, not reckoned from the concentration."""

    drug_mg: Positive
    final_ml: Positive


def _whole(least: int, most: int, *words: str) -> BeforeValidator:
    """A whole number from `least` to `most`, or one of `words` where nobody knows."""
    expected = " or ".join([f"a whole number from {least} to {most}", *(f'"{word}"' for word in words)])

    def read(value: object) -> object:
        if value in words or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        raise ValueError(f"must be {expected}")

    return BeforeValidator(read)


class PersonArgs(Checked):
    """Age and sex."""

    age_years: Annotated[int | str, _whole(0, 130, "unknown")]
    sex: Literal["female", "male", "other", "unknown"]


class LiverArgs(Checked):
    """Liver tests."""

    result: Literal["normal", "abnormal", "not done"]


def _drug_class(value: object) -> object:
    if value not in DRUG_CLASSES:
        raise ValueError(f"no such drug class; there are: {', '.join(DRUG_CLASSES)}")
    return value


class OtherDrugsArgs(Checked):
    """The other drugs by class; an empty list where none of these is taken."""

    result: Literal["checked", "not checked"]
    classes: Annotated[list[Annotated[str, BeforeValidator(_drug_class)]], Field(max_length=len(DRUG_CLASSES))]


class PsychiatricArgs(Checked):
    """The psychiatric evaluation."""

    result: Literal["done", "not done"]


class VitalsArgs(Checked):
    """The baseline before the session."""

    sbp_mmhg: Annotated[int | str, _whole(30, 300, "not measured")]
    dbp_mmhg: Annotated[int | str, _whole(10, 250, "not measured")]
    hr_bpm: Annotated[int | str, _whole(10, 300, "not measured")]
    spo2_pct: Annotated[int | str, _whole(0, 100, "not measured")]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        systolic, diastolic = self.sbp_mmhg, self.dbp_mmhg
        if isinstance(systolic, int) and isinstance(diastolic, int) and systolic <= diastolic:
            raise ValueError(f"sbp_mmhg {systolic} must be above dbp_mmhg {diastolic}")
        return self


class CourseArgs(Checked):
    """Which session of the course it is, and how long ago the last one was."""

    session_number: Annotated[int | str, _whole(1, 1000, "unknown")]
    days_since_last: Annotated[int | str, _whole(0, 3650, "none", "unknown")]  # "none": there was none


class ChecksArgs(Form):
    """What a clinic checks before an infusion. pumpd records it and refuses by limits; it never advises."""

    person: PersonArgs
    liver: LiverArgs
    other_drugs: OtherDrugsArgs
    psychiatric: PsychiatricArgs
    vitals: VitalsArgs
    course: CourseArgs


class PrescriptionArgs(Form):
    """What a plan is made of. `duration_min` defaults to the 45 minutes this program was written for."""

    drug: Words
    weight: WeightArgs
    dose_mg_per_kg: Positive | None = None
    dose_mg: Positive | None = None
    concentration_mg_ml: Positive
    duration_min: Positive = Decimal(45)
    steps: Annotated[list[StepArgs], Field(min_length=1, max_length=20)] | None = None
    container: ContainerArgs
    override: Override | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.dose_mg is None) == (self.dose_mg_per_kg is None):
            raise ValueError("give one of dose_mg_per_kg and dose_mg")
        return self


class PlanArgs(PrescriptionArgs):
    """A prescription for a patient, with all that is entered twice and all that was checked."""

    patient_ref: Words
    weight_again: WeightArgs
    preparation: PreparationArgs
    checks: ChecksArgs
    second_person: Name | None = None
