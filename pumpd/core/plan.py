"""From a prescription to a plan: what volume at which rate, and when it must be over. Pure.

Rounding never gives more: the volume and each rate are rounded down to what the pump can set. The end is computed from
the rounded figures, so it may lie a few seconds after the prescribed duration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from pumpd.driver import Container, Fitted
from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour

DEFAULT_DURATION_S = 45 * 60  # the session protocol this program was written for
WHOLE, ZERO = Decimal(1), Decimal(0)


class NoPlan(ValueError):
    """The prescription cannot be given with this pump and container. `reasons` names each obstacle."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Portion:
    """One step as prescribed: which share of the dose in how many seconds."""

    seconds: int
    share: Decimal


@dataclass(frozen=True, slots=True)
class Prescription:
    """What was ordered, as it was entered. `dose` is by weight or absolute; it is never both."""

    patient_ref: str
    drug: str
    weight: Kg
    dose: MgPerKg | Mg
    concentration: MgPerMl
    container: Container
    duration_s: int = DEFAULT_DURATION_S
    portions: tuple[Portion, ...] = ()  # empty: one step over the whole duration
    session_number: int | None = None  # in the patient's course, as it was entered; None: unknown

    @property
    def mass(self) -> Mg:
        """The dose in mg."""
        return self.dose.for_weight(self.weight) if isinstance(self.dose, MgPerKg) else self.dose

    @property
    def steps(self) -> tuple[Portion, ...]:
        """The portions, or the one that stands for all."""
        return self.portions or (Portion(self.duration_s, WHOLE),)


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of constant rate: it gives `volume` in `seconds`."""

    rate: MlPerHour
    volume: Ml
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pump is to do. Time is session time: seconds of running, pauses not counted."""

    prescription: Prescription
    volume: Ml
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """The computed duration: every step's volume at its settable rate."""
        return sum(step.seconds for step in self.steps)

    @property
    def first_rate(self) -> MlPerHour:
        """The rate to start with."""
        return self.steps[0].rate

    @property
    def highest_rate(self) -> MlPerHour:
        """The highest rate of any step."""
        return max(step.rate for step in self.steps)

    @property
    def dose(self) -> Mg:
        """The mass of drug in the planned volume (at most the prescribed one)."""
        return self.prescription.concentration.mass_in(self.volume)

    def rate_at(self, elapsed_s: float) -> MlPerHour:
        """The planned rate after `elapsed_s` of running; the last step's rate once the computed end has passed."""
        for step in self.steps:
            if elapsed_s < step.seconds:
                return step.rate
            elapsed_s -= step.seconds
        return self.steps[-1].rate

    def volume_at(self, elapsed_s: float) -> Ml:
        """The volume planned to be in after `elapsed_s` of running."""
        given = Ml(0)
        for step in self.steps:
            if elapsed_s < step.seconds:
                return given + min(step.rate.over(elapsed_s), step.volume)
            given += step.volume
            elapsed_s -= step.seconds
        return given

    def next_step_after(self, elapsed_s: float) -> float | None:
        """When the next step begins, in seconds of running; None in the last step."""
        begins = 0.0
        for step in self.steps[:-1]:
            begins += step.seconds
            if begins > elapsed_s:
                return begins
        return None

    def lowest_after(self, elapsed_s: float) -> MlPerHour:
        """The lowest rate that is planned from `elapsed_s` of running on."""
        lowest, begins = self.rate_at(elapsed_s), 0.0
        for step in self.steps:
            lowest = min(lowest, step.rate) if begins > elapsed_s else lowest
            begins += step.seconds
        return lowest

    def fallen_behind(self, elapsed_s: float, given: Ml) -> Plan:
        """The same volume and rates with only `given` in by now: the present step lasts longer, the end moves."""
        begins, later = 0.0, list(self.steps)
        while len(later) > 1 and begins + later[0].seconds <= elapsed_s:
            begins += later.pop(0).seconds
        present = later.pop(0)
        rest = self.volume - given - Ml(sum((step.volume.value for step in later), ZERO))
        if not rest > Ml(0):
            return self
        past = Step(present.rate, given, elapsed_s)
        return replace(self, steps=(past, Step(present.rate, rest, present.rate.seconds_for(rest)), *later))

    def continued_at(self, rate: MlPerHour, elapsed_s: float, given: Ml) -> Plan:
        """The same volume, with `given` in after `elapsed_s` and the rest at `rate`."""
        rest = self.volume - given
        past = Step(self.rate_at(elapsed_s), given, elapsed_s)
        return replace(self, steps=(past, Step(rate, rest, rate.seconds_for(rest))))


def make_plan(prescription: Prescription, fitted: Fitted) -> Plan:
    """The plan for `prescription` on a pump that can set `fitted`. Raises NoPlan with every obstacle."""
    exact = prescription.concentration.volume_of(prescription.mass)
    settable = fitted.limits.down(exact.value)
    if settable is None:
        raise NoPlan((f"pump: a volume of {exact} is below the smallest limit it can be set to",))
    if exact.value > fitted.limits.most:
        raise NoPlan((f"pump: a volume of {exact} is above the largest limit it can be set to",))
    volume = Ml(settable)
    reasons: list[str] = []
    steps: list[Step] = []
    given = Ml(0)
    for number, portion in enumerate(prescription.steps, start=1):
        last = number == len(prescription.steps)
        share = volume - given if last else (volume * portion.share).down(fitted.counter.step_at(volume.value))
        wanted = share.value * 3600 / portion.seconds
        rate = fitted.rates.down(wanted)
        if rate is None or wanted > fitted.rates.most:
            reasons.append(
                f"pump: step {number} needs {wanted:.3f} mL/h; it can be set from "
                f"{fitted.rates.least} to {fitted.rates.most} mL/h with this container"
            )
            continue
        steps.append(Step(MlPerHour(rate), share, MlPerHour(rate).seconds_for(share)))
        given += share
    if reasons:
        raise NoPlan(tuple(reasons))
    return Plan(prescription, volume, tuple(steps))
