"""A prescription as it is written on the command line."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from cyclopts import Parameter, Token

from pumpd.commands.reach import REFUSED, USAGE, Failed
from pumpd.messaging.encode import timestamp, to_json
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import Rejected, parse_request


def _number(_hint: object, tokens: Sequence[Token]) -> Decimal:
    try:
        return Decimal(tokens[0].value)
    except InvalidOperation:
        raise ValueError(f"{tokens[0].value!r} is not a number") from None


Number = Annotated[Decimal, Parameter(converter=_number)]


@Parameter(name="*", group="The syringe")
@dataclass(frozen=True, kw_only=True)
class Syringe:
    """What is in the pump."""

    make: str = "BD"
    "The maker, as in the syringe table."
    size: Number = Decimal(60)
    "Its nominal size, mL."
    fill: Number
    "What is drawn up in it, mL."

    @property
    def fields(self) -> dict[str, Any]:
        """As a request carries it."""
        return {"kind": "syringe", "make": self.make, "size_ml": self.size, "fill_ml": self.fill}


@Parameter(name="*", group="The prescription")
@dataclass(frozen=True, kw_only=True)
class Prescription:
    """What the prescriber ordered."""

    weight: Number
    "Body weight, kg."
    dose: Number | None = None
    "Dose by weight, mg/kg."
    dose_mg: Number | None = None
    "Or the whole dose, mg."
    concentration: Number
    "What the pharmacy made up, mg/mL. Never assumed."
    drug: str = "ketamine"
    "A drug of the drug library."
    duration: Number = Decimal(45)
    "Minutes."
    step: tuple[str, ...] = ()
    "MINUTES:PERCENT of the dose; repeat for each step. Replaces --duration."
    override_by: str | None = None
    "Who passes a soft limit ..."
    override_reason: str | None = None
    "... and why. Recorded."

    def fields(self, patient: str, syringe: Syringe) -> dict[str, Any]:
        """The arguments of `session.plan`. Raises Failed for what is written wrongly."""
        fields: dict[str, Any] = {
            "patient_ref": patient,
            "drug": self.drug,
            "weight_kg": self.weight,
            "concentration_mg_ml": self.concentration,
            "duration_min": self.duration,
            "container": syringe.fields,
        }
        if self.dose is not None:
            fields["dose_mg_per_kg"] = self.dose
        if self.dose_mg is not None:
            fields["dose_mg"] = self.dose_mg
        if self.step:
            fields["steps"] = [_step(each) for each in self.step]
        return fields | overridden(self.override_by, self.override_reason)


def overridden(by: str | None, reason: str | None) -> dict[str, Any]:
    """The argument that passes soft limits, where a person and a reason were given. Raises Failed for half of it."""
    if (by is None) != (reason is None):
        raise Failed("--override-by and --override-reason go together", USAGE)
    return {} if by is None else {"override": {"by": by, "reason": reason}}


def _step(written: str) -> dict[str, str]:
    minutes, colon, percent = written.partition(":")
    if not colon:
        raise Failed(f"--step {written}: expected MINUTES:PERCENT, such as 15:50", USAGE)
    return {"duration_min": minutes, "share_pct": percent.removesuffix("%")}


def checked(fields: dict[str, Any]) -> PlanArgs:
    """The arguments as the daemon would read them. Raises Failed in the daemon's words."""
    request = {
        "id": str(uuid.UUID(int=0)),
        "issued_ts": timestamp(datetime.now(UTC)),
        "ttl_ms": 1,
        "actor": "-",
        "role": "-",
        "origin": "-",
        "bed": "-",
        "args": fields,
    }
    try:
        args = parse_request("session.plan", to_json(request).encode()).args
    except Rejected as refusal:
        raise Failed(refusal.text, REFUSED) from None
    assert isinstance(args, PlanArgs)
    return args
