"""Limits on a prescription and on every later change of its plan (S8). Pure.

Limits only tighten: code, then drug library, then pump. Soft limits may be passed by a named person with a reason; hard
ones by nobody. All that is met or broken is told at once, never only the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from pumpd.core.plan import Plan, Prescription
from pumpd.units import MgPerMl, Ml, MlPerHour

# The code's own ceilings stand above any file. The clinic's highest figures are 150 mL/h (a 100 mL bag in 40 minutes),
# 100 mL and 150 mg in a session (docs/clinical.md); no configuration can raise these.
CODE_MAX_RATE = MlPerHour(200)
CODE_MAX_VOLUME = Ml(110)
CODE_MAX_CONCENTRATION = MgPerMl(10)  # 50 and 100 mg/mL are vials that nobody diluted
STRONG = MgPerMl(10)  # from here on always soft: what an occlusion releases is a third of a dose (docs/clinical.md)
VIALS = (Decimal(10), Decimal(50), Decimal(100))  # mg/mL, the strengths sold: mix-ups are errors of 5 or 10 times
OCCLUSION_BOLUS = Ml("1.15")  # 2.3 uL/mmHg x 500 mmHg (docs/clinical.md, the pump and the line)
RATE_ERROR_MAX = Decimal("0.01")  # the settable rate must give the dose in the prescribed time within 1 %
RATE_ERROR_SAID = Decimal("0.001")  # three seconds of 45 minutes; beyond it the end is visibly not the ordered one
SPARE = Ml(1)  # less than this beyond the dose, and what filling a line takes is missing at the end
LOW_RATE = MlPerHour(5)  # below it start-up and occlusion delays are of the order of a session: warn


class Level(Enum):
    """How a finding binds."""

    MET = "met"
    WARN = "warn"
    SOFT = "soft"
    SECOND = "second person"  # passed by no override, only by another person's name
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Span:
    """A range with an inner soft one. None leaves that side open."""

    hard_min: Decimal | None
    soft_min: Decimal | None
    soft_max: Decimal | None
    hard_max: Decimal | None

    def judge(self, value: Decimal) -> tuple[Level, str]:
        """How `value` stands, and the limit that binds it, in words."""
        for level, least, most in (
            (Level.HARD, self.hard_min, self.hard_max),
            (Level.SOFT, self.soft_min, self.soft_max),
        ):
            if least is not None and value < least:
                return level, f"below the {level.value} limit {least}"
            if most is not None and value > most:
                return level, f"above the {level.value} limit {most}"
        return Level.MET, f"within {_side(self.soft_min, self.hard_min)} to {_side(self.soft_max, self.hard_max)}"


def _side(soft: Decimal | None, hard: Decimal | None) -> str:
    bound = soft if soft is not None else hard
    return "any" if bound is None else str(bound)


# What a clinic asks for before ketamine (docs/clinical.md, liver and other drugs). A closed list: a class nobody knows
# would be flagged by nothing.
DRUG_CLASSES = (
    "cyp-inhibitor",
    "cyp-inducer",
    "benzodiazepine",
    "lamotrigine",
    "mao-inhibitor",
    "stimulant",
    "ssri",
    "antipsychotic",
    "opioid",
    "alcohol",
    "depressant",
)


@dataclass(frozen=True, slots=True)
class CourseLimits:
    """What a course of sessions may be. All are soft: a named person with a reason passes them."""

    sessions_max: int = 10
    sessions_per_week_max: int = 3
    days_between_min: int = 2  # three a week, on Monday, Wednesday and Friday
    weight_change_max_pct: Decimal = Decimal(10)  # since the patient's last session
    flagged_classes: tuple[str, ...] = tuple(name for name in DRUG_CLASSES if name != "ssri")


@dataclass(frozen=True, slots=True)
class DrugLimits:
    """One drug of the drug library."""

    drug: str
    version: str
    dose_mg_kg: Span
    duration_min: Span
    weight_kg: Span
    dose_mg: Span
    mass_rate_mg_kg_h: Span
    concentrations_mg_ml: tuple[Decimal, ...]
    concentrations_soft: tuple[Decimal, ...] = ()
    course: CourseLimits = CourseLimits()
    sha256: str = ""  # of the library's file


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit, and how the plan stands to it."""

    name: str
    level: Level
    text: str

    @property
    def bound(self) -> tuple[str, str]:
        """Which limit it is, whatever the value: the name, and the words that tell the bound."""
        return self.name, self.text.partition(": ")[2]


@dataclass(frozen=True, slots=True)
class Override:
    """Who passes the soft limits, and why. Recorded."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The lowest of several upper limits on a rate, and all that were weighed."""

    value: MlPerHour
    binding: str
    reasons: tuple[str, ...]


def rate_ceiling(plan: Plan, limits: DrugLimits, pump_max: MlPerHour) -> Ceiling:
    """The highest rate any order of this session may carry."""
    prescription = plan.prescription
    mass_rate = limits.mass_rate_mg_kg_h.hard_max
    weighed = [("code", CODE_MAX_RATE), ("pump", pump_max)]
    if mass_rate is not None:
        by_mass = mass_rate * prescription.weight.value / prescription.concentration.value
        weighed.append((f"drug library: {mass_rate} mg/kg/h", MlPerHour(by_mass)))
    reasons = tuple(f"{name}: max {rate}" for name, rate in weighed)
    name, lowest = min(weighed, key=lambda pair: pair[1].value)
    return Ceiling(lowest, f"{name}: max {lowest}", reasons)


def check(plan: Plan, limits: DrugLimits, pump_max: MlPerHour) -> tuple[Finding, ...]:
    """Every limit the plan meets or breaks, the worst first."""
    return worst_first([*_prescription(plan.prescription, limits), *_delivery(plan, limits, pump_max)])


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The order in which findings are told."""
    order = (Level.HARD, Level.SECOND, Level.SOFT, Level.WARN, Level.MET)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.level)))


def broken(findings: tuple[Finding, ...], override: Override | None) -> tuple[Finding, ...]:
    """The findings that refuse the plan: every hard one, a second person who is missing, and the soft ones unless a
    named person gave a reason.
    """
    passed = override is not None and bool(override.by.strip()) and bool(override.reason.strip())
    refuse = (Level.HARD, Level.SECOND) if passed else (Level.HARD, Level.SECOND, Level.SOFT)
    return tuple(finding for finding in findings if finding.level in refuse)


def _span(name: str, span: Span, value: Decimal, unit: str) -> Finding:
    level, words = span.judge(value)
    return Finding(name, level, f"{name} {_plain(value)} {unit}: {words}")


def _plain(value: Decimal) -> str:
    return f"{round(value, 4).normalize():f}"


def _prescription(prescription: Prescription, limits: DrugLimits) -> list[Finding]:
    weight = prescription.weight.value
    mass = prescription.mass.value
    hours = Decimal(prescription.duration_s) / 3600
    return [
        _span("weight", limits.weight_kg, weight, "kg"),
        _span("dose by weight", limits.dose_mg_kg, mass / weight, "mg/kg"),
        _span("dose", limits.dose_mg, mass, "mg"),
        _span("duration", limits.duration_min, Decimal(prescription.duration_s) / 60, "min"),
        _span("mass rate", limits.mass_rate_mg_kg_h, mass / weight / hours, "mg/kg/h"),
        *_concentration(prescription, limits),
        *_container(prescription),
    ]


def _concentration(prescription: Prescription, limits: DrugLimits) -> list[Finding]:
    value = prescription.concentration
    words = f"concentration {_plain(value.value)} mg/mL"
    findings = []
    if value.value in VIALS:
        text = f"{words} is also what an undiluted vial holds; vials hold 10, 50 or 100 mg/mL"
        findings.append(Finding("vial", Level.WARN, text))
    if value > CODE_MAX_CONCENTRATION:
        text = f"{words}: above the code limit {_plain(CODE_MAX_CONCENTRATION.value)}"
        return [*findings, Finding("concentration", Level.HARD, text)]
    if value.value not in limits.concentrations_mg_ml + limits.concentrations_soft:
        known = ", ".join(_plain(each) for each in limits.concentrations_mg_ml)
        text = f"{words}: not in the drug library ({known} mg/mL)"
        return [*findings, Finding("concentration", Level.HARD, text)]
    if value.value in limits.concentrations_soft or value >= STRONG:
        bolus = value.mass_in(OCCLUSION_BOLUS)
        share = bolus.value / prescription.mass.value * 100
        text = (
            f"{words}: entered by the site, needs a person and a reason: the {OCCLUSION_BOLUS} that an occlusion may "
            f"release would be {_plain(bolus.value)} mg, {share:.0f} % of the dose"
        )
        return [*findings, Finding("concentration", Level.SOFT, text)]
    return [*findings, Finding("concentration", Level.MET, f"{words}: in the drug library")]


def _container(prescription: Prescription) -> list[Finding]:
    container = prescription.container
    needed = prescription.concentration.volume_of(prescription.mass)
    findings = []
    if container.fill > container.size:
        text = f"fill {container.fill} is more than the container's {container.size}"
        findings.append(Finding("container", Level.HARD, text))
    if container.fill < needed:
        text = f"fill {container.fill} is less than the {_plain(needed.value)} mL the dose needs"
        findings.append(Finding("container", Level.HARD, text))
    elif container.fill - needed < SPARE:
        text = f"fill {container.fill} leaves less than {SPARE} beyond the dose: what fills the line may be missing"
        findings.append(Finding("container", Level.WARN, text))
    return findings or [Finding("container", Level.MET, f"fill {container.fill} holds the dose")]


def _rate(plan: Plan, limits: DrugLimits, ceiling: Ceiling) -> Finding:
    """Of the fastest step: the mass rate of the whole session is its average, and hides a quick first step."""
    highest, prescription = plan.highest_rate, plan.prescription
    if highest > ceiling.value:
        return Finding("rate", Level.HARD, f"rate {highest}: above {ceiling.binding}")
    by_mass = highest.value * prescription.concentration.value / prescription.weight.value
    soft = limits.mass_rate_mg_kg_h.soft_max
    if soft is not None and by_mass > soft:
        text = f"rate {highest}, {_plain(by_mass)} mg/kg/h: above the soft limit {soft}"
        return Finding("rate", Level.SOFT, text)
    return Finding("rate", Level.MET, f"rate {highest}: within {ceiling.binding}")


def _delivery(plan: Plan, limits: DrugLimits, pump_max: MlPerHour) -> list[Finding]:
    ceiling = rate_ceiling(plan, limits, pump_max)
    highest = plan.highest_rate
    planned_s, wanted_s = plan.seconds, sum(portion.seconds for portion in plan.prescription.steps)
    error = abs(Decimal(planned_s) / wanted_s - 1)
    findings = [
        _rate(plan, limits, ceiling),
        Finding("volume", Level.HARD, f"volume {plan.volume}: above the code limit {CODE_MAX_VOLUME}")
        if plan.volume > CODE_MAX_VOLUME
        else Finding("volume", Level.MET, f"volume {plan.volume}: within the code limit {CODE_MAX_VOLUME}"),
        Finding(
            "rounding",
            Level.HARD if error > RATE_ERROR_MAX else Level.WARN if error > RATE_ERROR_SAID else Level.MET,
            f"the settable rate takes {planned_s:.1f} s for the ordered {wanted_s} s; the volume ends it, not the time",
        ),
    ]
    if highest < LOW_RATE:
        words = f"rate {highest} is below {LOW_RATE}: start-up and occlusion alarms may take minutes"
        findings.append(Finding("low rate", Level.WARN, words))
    return findings
