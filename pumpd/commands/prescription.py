"""A prescription as it is written on the command line, or in a file that the command line completes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from pumpd.commands.reach import REFUSED, USAGE, Failed
from pumpd.messaging.encode import from_json, to_json
from pumpd.messaging.forms import NUMBER
from pumpd.messaging.prescription import PlanArgs, PrescriptionArgs
from pumpd.messaging.requests import Rejected, read_form
from pumpd.toml_file import ConfigError, read_toml

USUAL = {"drug": "ketamine", "container": {"kind": "syringe", "make": "BD", "size_ml": 60}}
PATIENT_ONLY = ("weight_again", "preparation", "checks", "second_person")  # what a plan on paper may leave out
GROUPS: dict[str, Any] = {
    "preparation": {},
    "container": {},
    "checks": {"person": {}, "liver": {}, "other_drugs": {}, "psychiatric": {}, "vitals": {}, "course": {}},
}
OPTIONS = {  # where the answer to each option stands in a request
    "weight": "--weight",
    "weight_again": "--weight-again",
    "dose_mg_per_kg": "--dose",
    "dose_mg": "--dose-mg",
    "concentration_mg_ml": "--concentration",
    "preparation.drug_mg": "--drug-mg",
    "preparation.final_ml": "--final-ml",
    "duration_min": "--duration",
    "drug": "--drug",
    "steps": "--step",
    "second_person": "--second-person",
    "container.make": "--make",
    "container.size_ml": "--size",
    "container.fill_ml": "--fill",
    "checks.person.age_years": "--age",
    "checks.person.sex": "--sex",
    "checks.liver.result": "--liver",
    "checks.other_drugs.result": "--other-drugs",
    "checks.other_drugs.classes": "--other-drugs",
    "checks.psychiatric.result": "--psychiatric",
    "checks.vitals.sbp_mmhg": "--bp",
    "checks.vitals.dbp_mmhg": "--bp",
    "checks.vitals.hr_bpm": "--hr",
    "checks.vitals.spo2_pct": "--spo2",
    "checks.course.session_number": "--session-number",
    "checks.course.days_since_last": "--days-since-last",
    "patient_ref": "--patient",
    "override.by": "--override-by",
    "override.reason": "--override-reason",
}


def _number(_hint: object, tokens: Sequence[Token]) -> Decimal:
    if NUMBER.fullmatch(tokens[0].value) is None:
        raise ValueError(f"{tokens[0].value!r} is not a number")
    return Decimal(tokens[0].value)


Number = Annotated[Decimal, Parameter(converter=_number)]


@Parameter(name="*", group="The syringe")
@dataclass(frozen=True, kw_only=True)
class Syringe:
    """What is in the pump."""

    make: str | None = None
    "The maker, as in the syringe table; BD."
    size: Number | None = None
    "Its nominal size, mL; 60."
    fill: Number | None = None
    "What is drawn up in it, mL."

    @property
    def given(self) -> dict[str, Any]:
        """What was said of it."""
        return {"make": self.make, "size_ml": self.size, "fill_ml": self.fill}

    @property
    def fields(self) -> dict[str, Any]:
        """A whole one, as a request carries it. Raises Failed."""
        if self.fill is None:
            raise Failed("--fill: missing; what is drawn up in the syringe, mL", USAGE)
        return {**USUAL["container"], **_said(self.given)}  # type: ignore[dict-item]  # a table within the table


@Parameter(name="*", group="The prescription")
@dataclass(frozen=True, kw_only=True)
class Prescription:
    """What the prescriber ordered."""

    file: Path | None = None
    "A file with all or a part of it, such as config/prescription.toml; the options say the rest."
    weight: str | None = None
    "Body weight with its unit: 70kg or 154lb."
    weight_again: str | None = None
    "The weight once more, read off the scale or the chart again."
    dose: Number | None = None
    "Dose by weight, mg/kg."
    dose_mg: Number | None = None
    "Or the whole dose, mg."
    concentration: Number | None = None
    "What the pharmacy made up, mg/mL. Never assumed."
    drug_mg: Number | None = None
    "How much drug went into it, mg; read off, not reckoned."
    final_ml: Number | None = None
    "How much it was made up to, mL."
    drug: str | None = None
    "A drug of the drug library; ketamine."
    duration: Number | None = None
    "Minutes; 45."
    step: tuple[str, ...] = ()
    "MINUTES:PERCENT of the dose; repeat for each step. Together they take the duration."
    override_by: str | None = None
    "Who passes a soft limit ..."
    override_reason: str | None = None
    "... and why. Recorded."
    second_person: str | None = None
    "The second person at a patient's first session, other than the one who orders."

    @property
    def given(self) -> dict[str, Any]:
        """What the options say, as a request carries it. Raises Failed for what is written wrongly."""
        return {
            "drug": self.drug,
            "weight": _weight("--weight", self.weight),
            "weight_again": _weight("--weight-again", self.weight_again),
            "dose_mg_per_kg": self.dose,
            "dose_mg": self.dose_mg,
            "concentration_mg_ml": self.concentration,
            "preparation": {"drug_mg": self.drug_mg, "final_ml": self.final_ml},
            "duration_min": self.duration,
            "steps": [_step(each) for each in self.step] or None,
            "second_person": self.second_person,
            **overridden(self.override_by, self.override_reason),
        }


@Parameter(name="*", group='What was checked before (or "not done", "unknown")')
@dataclass(frozen=True, kw_only=True)
class Checks:
    """What a clinic checks before an infusion. Recorded with who and when."""

    age: str | None = None
    "Years, or unknown."
    sex: str | None = None
    "female, male, other or unknown."
    liver: str | None = None
    'Liver tests: normal, abnormal or "not done".'
    other_drugs: str | None = None
    'none, "not checked", or the classes with commas between, such as lamotrigine,ssri.'
    psychiatric: str | None = None
    'The psychiatric evaluation: done or "not done".'
    bp: str | None = None
    'Baseline blood pressure, mmHg, such as 124/78, or "not measured".'
    hr: str | None = None
    'Baseline heart rate per minute, or "not measured".'
    spo2: str | None = None
    'Baseline SpO2, %, or "not measured".'
    session_number: str | None = None
    "Which session of the course this is, or unknown."
    days_since_last: str | None = None
    "Days since the last session; none where there was none, or unknown."

    @property
    def given(self) -> dict[str, Any]:
        """What the options say, as a request carries it. Raises Failed for what is written wrongly."""
        return {
            "person": {"age_years": _whole(self.age), "sex": self.sex},
            "liver": {"result": self.liver},
            "other_drugs": _classes(self.other_drugs),
            "psychiatric": {"result": self.psychiatric},
            "vitals": {**_pressure(self.bp), "hr_bpm": _whole(self.hr), "spo2_pct": _whole(self.spo2)},
            "course": {
                "session_number": _whole(self.session_number),
                "days_since_last": _whole(self.days_since_last),
            },
        }


def read(prescription: Prescription, syringe: Syringe, checks: Checks, patient: str | None) -> dict[str, Any]:
    """File and options together: the arguments of `session.plan`, what is missing left out. Raises Failed."""
    given = _said({**prescription.given, "container": syringe.given, "checks": checks.given, "patient_ref": patient})
    if prescription.file is not None:
        given = _together(_file(prescription.file), given, prescription.file)
    return _filled(given, USUAL)


def checked(fields: dict[str, Any], *, for_patient: bool) -> PlanArgs | PrescriptionArgs:
    """The arguments as the daemon would read them. Raises Failed.

    A plan on paper is for no patient: it may leave out all that is entered twice and all that was checked.
    """
    form: type[PrescriptionArgs] = PlanArgs
    if for_patient:
        fields = _filled(fields, GROUPS)  # so that each answer that is missing is named, not its whole group
    elif any(name in fields for name in PATIENT_ONLY):
        fields = _filled({"patient_ref": "-"}, _filled(fields, GROUPS))
    else:
        form = PrescriptionArgs
        fields = {name: value for name, value in fields.items() if name != "patient_ref"}
    try:
        return read_form(form, from_json(to_json(fields).encode()), "args.", None)
    except Rejected as refusal:
        raise Failed(in_options(refusal.text), REFUSED) from None


def in_options(text: str) -> str:
    """A refusal in the words of the command line: the option instead of the place in the request."""

    def option(place: re.Match[str]) -> str:
        path = place[1]
        while path and path not in OPTIONS:
            path = path.rpartition(".")[0]
        return OPTIONS.get(path, place[1])

    return re.sub(r"\bargs\.([a-z_0-9.]+)(?=:)", option, text)


def overridden(by: str | None, reason: str | None) -> dict[str, Any]:
    """The argument that passes soft limits, where a person and a reason were given. Raises Failed for half of it."""
    if (by is None) != (reason is None):
        raise Failed("--override-by and --override-reason go together", USAGE)
    return {} if by is None else {"override": {"by": by, "reason": reason}}


# --- options --------------------------------------------------------------------------------------------------------


def _weight(option: str, written: str | None) -> dict[str, str] | None:
    if written is None:
        return None
    said = re.fullmatch(r"\s*([0-9.]+)\s*(kg|lb)\s*", written)
    if said is None:
        raise Failed(f"{option} {written}: expected a weight with its unit, such as 70kg or 154.5lb", USAGE)
    return {"value": said[1], "unit": said[2]}


def _step(written: str) -> dict[str, str]:
    minutes, colon, percent = written.partition(":")
    if not colon:
        raise Failed(f"--step {written}: expected MINUTES:PERCENT, such as 15:50", USAGE)
    return {"duration_min": minutes, "share_pct": percent.removesuffix("%")}


def _whole(written: str | None) -> int | str | None:
    return int(written) if written is not None and written.isdecimal() else written


def _pressure(written: str | None) -> dict[str, Any]:
    if written is None:
        return {}
    systolic, slash, diastolic = written.partition("/")
    return {"sbp_mmhg": _whole(systolic), "dbp_mmhg": _whole(diastolic if slash else written)}


def _classes(written: str | None) -> dict[str, Any]:
    if written is None:
        return {}
    if written == "not checked":
        return {"result": "not checked", "classes": []}
    named = [] if written == "none" else [name.strip() for name in written.split(",")]
    return {"result": "checked", "classes": named}


# --- putting together -----------------------------------------------------------------------------------------------


def _file(path: Path) -> dict[str, Any]:
    try:
        return {name: _text(value) for name, value in read_toml(path).items()}
    except ConfigError as error:
        raise Failed("\n".join(error.problems), USAGE) from None


def _text(value: Any) -> Any:
    """Times as a request carries them."""
    if isinstance(value, dict):
        return {name: _text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_text(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what was not said."""
    inner = {name: _said(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in inner.items() if value is not None and value != {}}


def _together(file: dict[str, Any], given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Raises Failed for what is said twice: nobody would know which one holds."""
    twice = [OPTIONS.get(place, place) for place in _places(given) if place in set(_places(file))]
    if twice:
        raise Failed(f"{', '.join(dict.fromkeys(twice))}: {path} says it already", USAGE)
    return _filled(given, file)


def _places(fields: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict) and above + name not in ("weight", "weight_again"):
            yield from _places(value, f"{above}{name}.")
        else:
            yield above + name


def _filled(fields: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """These fields, and of the rest what they leave out."""
    both = {name: _filled(fields[name], rest[name]) for name in rest if isinstance(fields.get(name), dict)}
    return {**rest, **fields, **both}


# A command's defaults: nothing was said.
NO_SYRINGE, NO_PRESCRIPTION, NO_CHECKS = Syringe(), Prescription(), Checks()
