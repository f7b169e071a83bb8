"""What a pump could still give once nobody minds it: bounded by its watchdog, or else by its own limit (S1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from pumpd.core.plan import Plan
from pumpd.driver import Capabilities
from pumpd.units import Mg, Ml

HUNDREDTH = Decimal("0.01")  # mL and mg; rounded up


@dataclass(frozen=True, slots=True)
class Unminded:
    """At most so much more, from a running pump whose line is dead."""

    seconds: int | None  # until the pump's watchdog stops it; None: it has none, and runs on to its own limit
    volume: Ml
    dose: Mg


def unminded(plan: Plan, given: Ml, able: Capabilities) -> Unminded:
    """After `given` mL of this plan."""
    left = max(Ml(0), plan.volume - given)
    time = able.watchdog_s[1] if able.watchdog_s is not None else None
    volume = left if time is None else min(left, plan.highest_rate.over(time))
    up = Ml(volume.value.quantize(HUNDREDTH, ROUND_CEILING))
    dose = plan.prescription.concentration.mass_in(up)
    return Unminded(time, up, Mg(dose.value.quantize(HUNDREDTH, ROUND_CEILING)))
