"""What a clinic checks before an infusion, as it was entered: by whom and when, and how it stands to the limits. Pure.

pumpd records and compares; it never advises. What was entered twice or in two ways must agree, and nobody passes a
disagreement. What was not done, or is unusual, needs a named person and a reason.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from pumpd.core.limits import VIALS, CourseLimits, Finding, Level, Override, worst_first
from pumpd.core.plan import Prescription
from pumpd.units import Kg, Mg, Ml

KG_PER_LB = Decimal("0.45359237")  # exact, by definition of the pound
GRAM = Decimal("0.001")  # kg; a converted weight is rounded down to it, never up
SCALES_MAY_DIFFER = Kg("0.25")  # between a weight in kg and the same in whole pounds; in one unit nothing may differ
PREPARED_MAY_MISS = Decimal("0.01")  # mg / mL against mg/mL: what is lost in rounding figures on a label
DAYS_MAY_DIFFER = 1  # one person counts nights, the other hours
WEEK_DAYS = 7


@dataclass(frozen=True, slots=True)
class Noted:
    """Who checked or entered it, and when (UTC, ISO 8601; a label, never reckoned with)."""

    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Weighing:
    """A body weight as it was entered."""

    value: Decimal
    unit: str  # "kg" or "lb"
    noted: Noted

    @property
    def weight(self) -> Kg:
        """In kilograms; pounds are converted and rounded down to the gram."""
        if self.unit == "kg":
            return Kg(self.value)
        return Kg((self.value * KG_PER_LB).quantize(GRAM, ROUND_FLOOR))

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was made up: so much drug in so much volume."""

    drug: Mg
    volume: Ml
    noted: Noted


@dataclass(frozen=True, slots=True)
class Person:
    """Age in years (None: unknown) and sex."""

    age: int | None
    sex: str
    noted: Noted


@dataclass(frozen=True, slots=True)
class Liver:
    """Liver tests: "normal", "abnormal" or "not done"."""

    result: str
    noted: Noted


@dataclass(frozen=True, slots=True)
class OtherDrugs:
    """Were the other drugs gone through, and which classes are among them?"""

    checked: bool
    classes: tuple[str, ...]
    noted: Noted


@dataclass(frozen=True, slots=True)
class Psychiatric:
    """Was the psychiatric evaluation done?"""

    done: bool
    noted: Noted


@dataclass(frozen=True, slots=True)
class Vitals:
    """Baseline before the session. None: not measured."""

    systolic_mmhg: int | None
    diastolic_mmhg: int | None
    heart_rate_bpm: int | None
    spo2_pct: int | None
    noted: Noted


@dataclass(frozen=True, slots=True)
class Course:
    """Where this session stands in the course. None: unknown; `first`: there was no session before it."""

    number: int | None
    days_since_last: int | None
    first: bool
    noted: Noted


@dataclass(frozen=True, slots=True)
class Former:
    """What the journal knows of this patient's last session that was started. Data, so that a replay has it too."""

    session_id: str
    weight: Kg
    number: int | None  # as it was entered then
    days_ago: int
    in_last_week: int  # how many were started in the last seven days


@dataclass(frozen=True, slots=True)
class Intake:
    """All that was checked for one session. `findings` is how it stood, for the record."""

    weight: Weighing
    weight_again: Weighing
    preparation: Preparation
    person: Person
    liver: Liver
    drugs: OtherDrugs
    psychiatric: Psychiatric
    vitals: Vitals
    course: Course
    former: Former | None
    second_person: str | None = None
    override: Override | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def dosing_weight(self) -> Kg:
        """The lower of the two entries: where they differ by a rounding, never the one that gives more."""
        return min(self.weight.weight, self.weight_again.weight)


def check_intake(intake: Intake, prescription: Prescription, limits: CourseLimits, actor: str) -> tuple[Finding, ...]:
    """How everything stands, the worst first. `actor` is who plans."""
    return worst_first(
        (
            _weights(intake),
            _preparation(intake.preparation, prescription),
            _made_up(intake.preparation, prescription),
            _two_persons(intake, actor),
            _weight_change(intake, limits),
            _person(intake.person),
            _liver(intake.liver),
            _drugs(intake.drugs, limits),
            _psychiatric(intake.psychiatric),
            _vitals(intake.vitals),
            *_course(intake.course, intake.former, limits),
        )
    )


def _judged(name: str, level: Level, text: str) -> Finding:
    """Soft findings say how they are passed, in the words every other soft one has."""
    return Finding(name, level, f"{text}: needs a person and a reason" if level is Level.SOFT else text)


# --- what was entered in two ways -----------------------------------------------------------------------------------


def _weights(intake: Intake) -> Finding:
    first, again = intake.weight, intake.weight_again
    apart = abs(first.weight.value - again.weight.value)
    same = first.value == again.value if first.unit == again.unit else apart <= SCALES_MAY_DIFFER.value
    if same:
        return Finding("weight twice", Level.MET, f"weight {first} and again {again}")
    return Finding("weight twice", Level.HARD, f"weight {first}, but entered again as {again}: they must agree")


def _preparation(made: Preparation, prescription: Prescription) -> Finding:
    stated, found = prescription.concentration.value, made.drug.value / made.volume.value
    words = f"{made.drug} in {made.volume} are {found:.4g} mg/mL"
    if abs(found / stated - 1) <= PREPARED_MAY_MISS:
        return Finding("preparation", Level.MET, f"{words}, as stated")
    text = f"{words}, but the concentration is stated as {stated:f} mg/mL{_mixed_up(found / stated)}"
    return Finding("preparation", Level.HARD, text)


def _mixed_up(ratio: Decimal) -> str:
    """Words for an error that is as large as the step between two vials."""
    times = {high / low for high in VIALS for low in VIALS if high > low}
    near = [each for each in times if abs(max(ratio, 1 / ratio) / each - 1) <= PREPARED_MAY_MISS]
    return f": {near[0]:f} times apart, as two vials are" if near else ""


def _made_up(made: Preparation, prescription: Prescription) -> Finding:
    fill = prescription.container.fill
    if fill > made.volume:
        return Finding("made up", Level.HARD, f"fill {fill} is more than the {made.volume} that were made up")
    return Finding("made up", Level.MET, f"fill {fill} of {made.volume} made up")


# --- persons --------------------------------------------------------------------------------------------------------


def _two_persons(intake: Intake, actor: str) -> Finding:
    if intake.former is not None and intake.course.number != 1:
        return Finding("first session", Level.MET, "the journal knows this patient")
    second = intake.second_person
    if second is not None and not _same_name(second, actor):
        return Finding("first session", Level.MET, f"first session of this patient: {actor} and {second}")
    why = "the first session of this patient" if intake.former is None else "session number 1"
    who = f"second_person {second} is the one who plans" if second is not None else f"only {actor} is named"
    text = f"{why} needs two different persons: {who}"
    return Finding("first session", Level.SECOND, text)


def _same_name(one: str, other: str) -> bool:
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    """A name as a reader knows it: two keyboards write one accent, one width and one gap in different ways."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())


# --- what was checked -----------------------------------------------------------------------------------------------


def _weight_change(intake: Intake, limits: CourseLimits) -> Finding:
    if intake.former is None:
        return Finding("weight change", Level.MET, "no former weight in the journal")
    now, then = intake.dosing_weight, intake.former.weight
    change = (now.value / then.value - 1) * 100
    level = Level.SOFT if abs(change) > limits.weight_change_max_pct else Level.MET
    words = f"weight {now}: {change:+.1f} % since the last session ({then})"
    return _judged("weight change", level, f"{words}, soft limit {limits.weight_change_max_pct} %")


def _person(person: Person) -> Finding:
    unknown = [name for name, missing in (("age", person.age is None), ("sex", person.sex == "unknown")) if missing]
    if unknown:
        return _judged("age and sex", Level.SOFT, f"{' and '.join(unknown)} unknown")
    return Finding("age and sex", Level.MET, f"{person.age} years, {person.sex}")


def _liver(liver: Liver) -> Finding:
    return _judged("liver tests", Level.MET if liver.result == "normal" else Level.SOFT, f"liver tests {liver.result}")


def _drugs(drugs: OtherDrugs, limits: CourseLimits) -> Finding:
    if not drugs.checked:
        return _judged("other drugs", Level.SOFT, "other drugs not checked")
    flagged = [name for name in drugs.classes if name in limits.flagged_classes]
    if flagged:
        return _judged("other drugs", Level.SOFT, f"other drugs: {', '.join(flagged)} flagged by the drug library")
    return Finding("other drugs", Level.MET, f"other drugs checked by {drugs.noted.by}")


def _psychiatric(evaluation: Psychiatric) -> Finding:
    words = "done" if evaluation.done else "not done"
    level = Level.MET if evaluation.done else Level.SOFT
    return _judged("psychiatric evaluation", level, f"psychiatric evaluation {words}")


def _vitals(vitals: Vitals) -> Finding:
    values = {
        "blood pressure": None if vitals.systolic_mmhg is None else vitals.diastolic_mmhg,
        "heart rate": vitals.heart_rate_bpm,
        "SpO2": vitals.spo2_pct,
    }
    missing = [name for name, value in values.items() if value is None]
    if missing:
        return _judged("baseline vitals", Level.SOFT, f"baseline vitals: {', '.join(missing)} not measured")
    text = (
        f"{vitals.systolic_mmhg}/{vitals.diastolic_mmhg} mmHg, {vitals.heart_rate_bpm} per minute, "
        f"SpO2 {vitals.spo2_pct} %"
    )
    return Finding("baseline vitals", Level.MET, text)


# --- the course -----------------------------------------------------------------------------------------------------


def _course(course: Course, former: Former | None, limits: CourseLimits) -> Iterator[Finding]:
    yield _number(course, limits)
    yield _days(course, former, limits)
    yield _per_week(former, limits)
    yield _against_journal(course, former)


def _number(course: Course, limits: CourseLimits) -> Finding:
    if course.number is None:
        return _judged("session number", Level.SOFT, "session number in the course unknown")
    level = Level.SOFT if course.number > limits.sessions_max else Level.MET
    return _judged("session number", level, f"session {course.number} of a course of at most {limits.sessions_max}")


def _days(course: Course, former: Former | None, limits: CourseLimits) -> Finding:
    """The shorter one counts, of what was entered and what the journal knows."""
    known = [days for days in (course.days_since_last, former.days_ago if former else None) if days is not None]
    if not known:
        if course.first:
            return Finding("days since last", Level.MET, "no session before")
        return _judged("days since last", Level.SOFT, "days since the last session unknown")
    level = Level.SOFT if min(known) < limits.days_between_min else Level.MET
    words = f"{min(known)} days since the last session, at least {limits.days_between_min} for "
    return _judged("days since last", level, f"{words}{limits.sessions_per_week_max} a week")


def _per_week(former: Former | None, limits: CourseLimits) -> Finding:
    count = 1 + (former.in_last_week if former else 0)
    level = Level.SOFT if count > limits.sessions_per_week_max else Level.MET
    words = f"with this one {count} in {WEEK_DAYS} days by the journal, at most {limits.sessions_per_week_max}"
    return _judged("sessions a week", level, words)


def _against_journal(course: Course, former: Former | None) -> Finding:
    """What a person says and the journal says otherwise. It may be a new course, or the wrong patient."""
    said = [*_within_itself(course), *(_unheard_of(course) if former is None else _contradicted(course, former))]
    if said:
        return _judged("journal", Level.SOFT, ", and ".join(said))
    return Finding("journal", Level.MET, "the journal agrees with what was entered")


def _within_itself(course: Course) -> Iterator[str]:
    if course.first and course.number not in (1, None):
        yield f"session {course.number} is entered but no session before it"
    if course.number == 1 and course.days_since_last is not None:
        yield f"session 1 is entered but also {course.days_since_last} days since the last one"


def _unheard_of(course: Course) -> Iterator[str]:
    if course.number not in (1, None):
        yield f"session {course.number} is entered but the journal knows no earlier one of this patient"


def _contradicted(course: Course, former: Former) -> Iterator[str]:
    last, days = former.number, course.days_since_last
    if course.number is not None and last is not None and course.number != last + 1:
        yield f"session {course.number} is entered but the journal's last one was number {last}"
    if course.first:
        yield f"no session before is entered but the journal knows one {former.days_ago} days ago"
    if days is not None and abs(days - former.days_ago) > DAYS_MAY_DIFFER:
        yield f"{days} days since the last session are entered but the journal says {former.days_ago}"
