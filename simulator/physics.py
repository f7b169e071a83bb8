"""The body of a syringe pump: motor, plunger, syringe and line. It never sees a byte.

Volumes are mL, rates mL/h, pressures mmHg, diameters mm, times s of simulated time. Every stretch of constant rate is
solved in closed form, so the result does not depend on how the time is cut into steps.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from simulator.pump import Halt, Refused

SECONDS_PER_HOUR = 3600.0
MAINTAINED_ACCURACY = 0.02  # Perfusor compact plus, stated accuracy +-2 %; the typical pump stays within it
STALL_MMHG = 1000.0  # invented: about 80 N of motor force on a 60 mL plunger (5.5 cm2)
STALL_SUCTION_MMHG = -700.0  # invented: a closed line cannot be drawn to less than vacuum (-760)
DIAMETER_MM = 26.59  # BD Plastipak 50/60 mL
RESIDUE_ML = 1e-9  # of floating point: less is nothing
COMPLIANCE_ML_MMHG = 1.2e-3  # Snijder 2015: 1.2 to 2.8 uL/mmHg for syringe and line; the stiff end


@dataclass(frozen=True)
class Model:
    """How far a pump is from ideal."""

    start_lag_s: float = 0.0  # the motor does not turn for this long after each start
    slack_ml: float = 0.0  # motor travel that the pump counts and a fresh syringe's plunger does not follow
    gain: float = 1.0  # true plunger travel per counted travel
    resistance_mmhg_h_ml: float = 0.0  # line pressure per flow; 0 = pressure falls to nothing at once
    compliance_ml_mmhg: float = COMPLIANCE_ML_MMHG


IDEAL = Model()


def typical(seed: int) -> Model:
    """A realistic pump: late by 0.2 s, 50 uL of slack, an error within +-2 % that the seed decides."""
    gain = 1.0 + random.Random(f"gain {seed}").uniform(-MAINTAINED_ACCURACY, MAINTAINED_ACCURACY)
    return Model(start_lag_s=0.2, slack_ml=0.05, gain=gain, resistance_mmhg_h_ml=0.2)


def model_named(name: str, seed: int) -> Model:
    """Return the model called `ideal` or `typical`; ValueError for any other name."""
    if name == "ideal":
        return IDEAL
    if name == "typical":
        return typical(seed)
    raise ValueError(f"model {name!r}: expected ideal or typical")


def line_pressure(model: Model, now_mmhg: float, flow_ml_h: float, dt: float, *, closed: bool) -> float:
    """Pressure in the line after `dt` seconds of one flow."""
    compliance, resistance = model.compliance_ml_mmhg, model.resistance_mmhg_h_ml
    if closed:
        return now_mmhg + flow_ml_h * dt / SECONDS_PER_HOUR / compliance
    if resistance == 0:
        return 0.0
    rest = flow_ml_h * resistance
    return rest + (now_mmhg - rest) * math.exp(-dt / (resistance * compliance * SECONDS_PER_HOUR))


class Body:
    """Motor, syringe and line.

    `plunger_ml` is what the plunger truly displaced, `patient_ml` what left the line. The difference is stored in the
    elastic line (compliance x pressure). Withdrawing makes both fall.
    """

    def __init__(
        self,
        model: Model = IDEAL,
        *,
        fill_ml: float = 60.0,
        true_diameter_mm: float | None = None,
        alarm_mmhg: float | None = None,
    ) -> None:
        """`alarm_mmhg`: where a pressure sensor halts the motor; None: there is none, and the motor stalls."""
        if not fill_ml > 0:
            raise ValueError(f"fill {fill_ml} ml: expected more than 0")
        if true_diameter_mm is not None and not 0.1 <= true_diameter_mm <= 80.0:
            raise ValueError(f"true diameter {true_diameter_mm} mm: expected 0.1 to 80")
        self.model = model
        self.fill_ml = fill_ml
        self.true_diameter_mm = true_diameter_mm
        self.set_diameter_mm = DIAMETER_MM  # of the syringe that the pump takes it for
        self.alarm_mmhg = alarm_mmhg
        self.senses_end = True
        self.free_flowing = False
        self.plunger_ml = 0.0
        self.pressure_mmhg = 0.0
        self.occluded = False
        self.moved_ml = 0.0  # what the pump believes it moved since the last drive(); never negative
        self.halt: Halt | None = None
        self._rate_ml_h = 0.0
        self._direction = 1
        self._scale = 1.0
        self._left_ml = math.inf
        self._lag_s = 0.0
        self._slack_ml = model.slack_ml
        self._slack_direction = 1

    @property
    def turning(self) -> bool:
        """Whether the motor is driven (it may still be in its start-up lag)."""
        return self._rate_ml_h > 0

    @property
    def infusing(self) -> bool:
        """Whether the motor is driven towards the patient."""
        return self.turning and self._direction > 0

    @property
    def flow_ml_h(self) -> float:
        """True plunger flow now, negative when withdrawing."""
        if self._lag_s > 0 or self._slack_ml > 0:
            return 0.0
        return self._direction * self._rate_ml_h * self._scale

    @property
    def patient_ml(self) -> float:
        """What has left the line: displaced less what the line still holds under pressure."""
        return self.plunger_ml - self.model.compliance_ml_mmhg * self.pressure_mmhg

    @property
    def left_ml(self) -> float:
        """Fluid still in the syringe."""
        return self.fill_ml - self.plunger_ml

    def drive(self, rate_ml_h: float, direction: int, set_diameter_mm: float, limit_ml: float = math.inf) -> None:
        """Turn the motor as the pump computes it for its set diameter, until it has counted `limit_ml` more."""
        if not self.turning:
            self._lag_s = self.model.start_lag_s
        if direction != self._slack_direction:
            self._slack_direction = direction
            self._slack_ml = self.model.slack_ml
        true_mm = self.true_diameter_mm or set_diameter_mm
        self._scale = (true_mm / set_diameter_mm) ** 2 * self.model.gain
        self._rate_ml_h = rate_ml_h
        self._direction = direction
        self._left_ml = limit_ml
        self.moved_ml = 0.0
        self.halt = None

    def infuse(self, rate_ml_h: float, limit_ml: float = math.inf) -> None:
        """Drive towards the patient, with the syringe that the pump takes it for."""
        self.drive(rate_ml_h, 1, self.set_diameter_mm, limit_ml)

    def stop(self) -> None:
        """Stop the motor; the plunger stays where it is."""
        self._rate_ml_h = 0.0
        self._lag_s = 0.0

    def new_container(self, fill_ml: float) -> None:
        """Put a fresh syringe in: slack is back, the truth figures go on."""
        self.fill_ml = self.plunger_ml + fill_ml
        self._slack_ml = self.model.slack_ml

    def advance(self, dt: float) -> float:
        """Let up to `dt` seconds pass; return how many did: fewer when the motor stopped by itself (see `halt`)."""
        passed = 0.0
        while passed < dt:
            step, reason = self._next_change()
            if step > dt - passed:
                self._pass(dt - passed)
                return dt
            self._pass(step)
            passed += step
            self._reach(reason)
            if self.halt is not None:
                return passed
        return dt

    def until_halt(self) -> float:
        """Seconds until the motor would stop by itself; infinite if it would not."""
        if not self.turning:
            return math.inf
        wait_s = self._lag_s + min(self._slack_ml, self._left_ml) / self._rate_ml_h * SECONDS_PER_HOUR
        past_slack_ml = max(self._left_ml - self._slack_ml, 0.0)
        return wait_s + min(past_slack_ml / self._rate_ml_h * SECONDS_PER_HOUR, self._until_stall())

    def until_counted(self, counted_ml: float) -> float:
        """Seconds until the pump has counted so much more, were it not halted before."""
        return self._lag_s + max(counted_ml, 0.0) / self._rate_ml_h * SECONDS_PER_HOUR if self.turning else math.inf

    def until_left(self, left_ml: float) -> float:
        """Seconds until no more than `left_ml` is in the syringe, were it not halted before."""
        if not self.infusing:
            return math.inf
        flow_ml_h = self._rate_ml_h * self._scale
        return self.until_counted(self._slack_ml) + max(self.left_ml - left_ml, 0.0) / flow_ml_h * SECONDS_PER_HOUR

    def _next_change(self) -> tuple[float, str]:
        if not self.turning:
            return math.inf, "nothing"
        if self._lag_s > 0:
            return self._lag_s, "lag"
        to_limit = self._left_ml / self._rate_ml_h * SECONDS_PER_HOUR
        if self._slack_ml > 0:
            to_slack = self._slack_ml / self._rate_ml_h * SECONDS_PER_HOUR
            return (to_limit, "limit") if to_limit <= to_slack else (to_slack, "slack")
        to_stall = self._until_stall()
        return (to_limit, "limit") if to_limit <= to_stall else (to_stall, "stall")

    def _until_stall(self) -> float:
        flow_s = self._rate_ml_h * self._scale / SECONDS_PER_HOUR
        to_end = max(self.left_ml, 0.0) / flow_s if self._direction > 0 else math.inf
        if not self.occluded:
            return to_end
        bound = self._bound_mmhg()
        room_ml = max((bound - self.pressure_mmhg) * self._direction, 0.0) * self.model.compliance_ml_mmhg
        return min(to_end, room_ml / flow_s)

    def _reach(self, reason: str) -> None:
        if reason == "lag":
            self._lag_s = 0.0
        elif reason == "slack":
            self._slack_ml = 0.0
        elif reason == "limit":
            self.moved_ml += self._left_ml  # the rounding residue, so that the count ends on the limit itself
            self._left_ml = 0.0
            self._halted(Halt.LIMIT)
        elif reason == "stall":
            if self.alarm_mmhg is None:
                self._halted(Halt.STALL)
            else:
                self._halted(Halt.OCCLUSION if self.occluded and self.left_ml > RESIDUE_ML else Halt.EMPTY)

    def _bound_mmhg(self) -> float:
        if self._direction < 0:
            return STALL_SUCTION_MMHG
        return STALL_MMHG if self.alarm_mmhg is None else self.alarm_mmhg

    def _halted(self, halt: Halt) -> None:
        self.stop()
        self.halt = halt

    def _pass(self, dt: float) -> None:
        """Let `dt` seconds pass in which nothing changes but by time."""
        flow_ml_h = self.flow_ml_h
        self.pressure_mmhg = line_pressure(self.model, self.pressure_mmhg, flow_ml_h, dt, closed=self.occluded)
        self.plunger_ml += flow_ml_h * dt / SECONDS_PER_HOUR
        if not self.turning:
            return
        if self._lag_s > 0:
            self._lag_s -= dt
            return
        travel_ml = min(self._rate_ml_h * dt / SECONDS_PER_HOUR, self._left_ml)
        self.moved_ml += travel_ml
        self._left_ml -= travel_ml
        self._slack_ml = max(self._slack_ml - travel_ml, 0.0)

    def occlude(self, where: str = "downstream") -> None:
        """Close the line; a syringe has nothing upstream."""
        if where != "downstream":
            raise Refused(f"a syringe pump has no line {where}")
        self.occluded = True

    def release(self) -> None:
        """Open the line; what it held under pressure goes to the patient, at once in the ideal model."""
        self.occluded = False
        if self.model.resistance_mmhg_h_ml == 0:
            self.pressure_mmhg = 0.0
