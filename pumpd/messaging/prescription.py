"""The form of a prescription: what `session.plan` and `pumpd plan` ask for."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pumpd.messaging.forms import Form, NotNegative, Positive, Words


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

    by: Words
    reason: Words


class PlanArgs(Form):
    """A prescription. `duration_min` defaults to the 45 minutes this program was written for."""

    patient_ref: Words
    drug: Words
    weight_kg: Positive
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
