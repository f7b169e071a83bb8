"""The body of a volumetric pump: bag, set, pump, line. It never sees a byte.

Fluid goes from the bag through the upper part of the set to the pump, where the air detector sits, and down the line to
the patient. Volumes are mL, rates mL/h, pressures mmHg, times s of simulated time; every stretch of constant flow is
solved in closed form. Nothing of it is a maker's figure: what is invented stands in `Tubing` and in the constants here.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from simulator.physics import IDEAL, SECONDS_PER_HOUR, STALL_MMHG, Model, line_pressure
from simulator.pump import Halt, Refused

TYPICAL_ERROR = 0.05  # usual stated accuracy of volumetric pumps is +-5 %
COMPLIANCE_ML_MMHG = 1.0e-3  # invented: the line below the pump, soft tubing without a syringe


def volumetric_model(name: str, seed: int) -> Model:
    """Return the model called `ideal` or `typical`: late by 0.5 s, an error within +-5 % that the seed decides."""
    if name == "ideal":
        return Model(compliance_ml_mmhg=COMPLIANCE_ML_MMHG)
    if name != "typical":
        raise ValueError(f"model {name!r}: expected ideal or typical")
    gain = 1.0 + random.Random(f"gain {seed}").uniform(-TYPICAL_ERROR, TYPICAL_ERROR)
    return Model(start_lag_s=0.5, gain=gain, resistance_mmhg_h_ml=0.2, compliance_ml_mmhg=COMPLIANCE_ML_MMHG)


@dataclass(frozen=True)
class Tubing:
    """A set and what the pump senses of it. All figures are invented."""

    upper_ml: float = 8.0  # from the bag to the air detector
    drawn_ml: float = 0.5  # what can be sucked out of the upper part while it is closed
    clamps_itself: bool = True  # an automatic clamp closes when the set leaves the pump: no free flow
    gravity_ml_h: float = 1500.0  # free flow, with the bag a metre above
    bubble_ml: float = 0.3  # the least bubble that the detector sees
    sees_air: bool = True  # without a detector the pump runs on until it pumps air, and only then halts
    sees_upstream: bool = True  # an upstream sensor; without it the motor turns on, and nothing flows
    drops_s: float = math.inf  # a drop sensor halts the motor after so long without a drop


class Volumetric:
    """Bag, set, pump and line.

    `plunger_ml` is what truly went through the pump, by motor or gravity; `patient_ml` what left the line. The
    difference is stored in the elastic line (compliance x pressure).
    """

    def __init__(
        self,
        model: Model = IDEAL,
        *,
        fill_ml: float = 250.0,
        alarm_mmhg: float | None = None,
        tubing: Tubing | None = None,
    ) -> None:
        """`alarm_mmhg`: where the pressure sensor halts the motor; None: there is none, and the motor stalls."""
        if not fill_ml > 0:
            raise ValueError(f"fill {fill_ml} ml: expected more than 0")
        self.model = model
        self.tubing = tubing or Tubing()
        self.alarm_mmhg = alarm_mmhg
        self.hung_ml = fill_ml + self.tubing.upper_ml  # all fluid that was ever brought in and not taken away again
        self.bag_ml = fill_ml
        self.plunger_ml = 0.0
        self.pressure_mmhg = 0.0
        self.occluded = False  # below the pump
        self.closed_above = False
        self.door_open = False
        self.moved_ml = 0.0
        self.halt: Halt | None = None
        self.senses_end = False  # it sees air, never the bag
        self._air_ml = 0.0  # that followed the bag's last fluid into the set
        self._bubble_ml = 0.0  # at the detector
        self._drawn_ml = 0.0
        self._set_is_out = False  # and nothing closes it
        self._rate_ml_h = 0.0
        self._left_ml = math.inf
        self._lag_s = 0.0
        self._dry_s = 0.0  # how long the motor has turned without a drop

    @property
    def turning(self) -> bool:
        """Whether the motor is driven (it may still be in its start-up lag)."""
        return self._rate_ml_h > 0

    @property
    def infusing(self) -> bool:
        """The same: such a pump turns one way."""
        return self.turning

    @property
    def free_flowing(self) -> bool:
        """Whether the set hangs open, whatever flows."""
        return self._set_is_out

    @property
    def flow_ml_h(self) -> float:
        """What truly goes through the pump now."""
        if self._set_is_out:
            stopped = self.occluded or self.closed_above or self.bag_ml <= 0
            return 0.0 if stopped else self.tubing.gravity_ml_h
        if self._lag_s > 0 or self._dry:
            return 0.0
        return self._rate_ml_h * self.model.gain

    @property
    def patient_ml(self) -> float:
        """What has left the line."""
        return self.plunger_ml - self.model.compliance_ml_mmhg * self.pressure_mmhg

    @property
    def left_ml(self) -> float:
        """Fluid still in the bag."""
        return self.bag_ml

    @property
    def set_ml(self) -> float:
        """Fluid in the set, over what the line below the pump holds at rest."""
        stored_ml = self.model.compliance_ml_mmhg * self.pressure_mmhg
        return self.tubing.upper_ml - self._air_ml - self._drawn_ml + stored_ml

    @property
    def _dry(self) -> bool:
        return self.closed_above and self._drawn_ml >= self.tubing.drawn_ml

    # -- the motor

    def infuse(self, rate_ml_h: float, limit_ml: float = math.inf) -> None:
        """Turn the motor until it has counted `limit_ml` more."""
        if not self.turning:
            self._lag_s = self.model.start_lag_s
            self._dry_s = 0.0
        self._rate_ml_h = rate_ml_h
        self._left_ml = limit_ml
        self.moved_ml = 0.0
        self.halt = None

    def stop(self) -> None:
        """Stop the motor; it holds the line closed."""
        self._rate_ml_h = 0.0
        self._lag_s = 0.0

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
        """Seconds until the motor would halt by itself; infinite if it would not."""
        if not self.turning:
            return math.inf
        if self._blocked() is not None:
            return 0.0
        flow_s = self._rate_ml_h * self.model.gain / SECONDS_PER_HOUR
        to_limit = self._left_ml / self._rate_ml_h * SECONDS_PER_HOUR
        return self._lag_s + min(to_limit, self._line_room_ml() / flow_s, self._until_nothing_comes(flow_s))

    def _until_nothing_comes(self, flow_s: float) -> float:
        if not self.closed_above:
            return (self.bag_ml + self._above_ml()) / flow_s
        to_air, to_dry = self._above_ml() / flow_s, (self.tubing.drawn_ml - self._drawn_ml) / flow_s
        if to_air <= to_dry:
            return to_air
        return to_dry + (0.0 if self.tubing.sees_upstream else self.tubing.drops_s - self._dry_s)

    def until_counted(self, counted_ml: float) -> float:
        """Seconds until the pump has counted so much more, were it not halted before; infinite while it stands."""
        return self._lag_s + max(counted_ml, 0.0) / self._rate_ml_h * SECONDS_PER_HOUR if self.turning else math.inf

    def until_left(self, left_ml: float) -> float:
        """Seconds until no more than `left_ml` is in the bag, were it not halted before."""
        if not self.turning or self.closed_above:
            return math.inf
        return self.until_counted(max(self.bag_ml - left_ml, 0.0) / self.model.gain)

    def _blocked(self) -> Halt | None:
        """Why the motor cannot turn at all."""
        if self.door_open:
            return Halt.DOOR
        if self.tubing.sees_air and self._bubble_ml >= self.tubing.bubble_ml:
            return Halt.AIR
        return None

    def _next_change(self) -> tuple[float, str]:
        flow_s = self.flow_ml_h / SECONDS_PER_HOUR
        if self.turning and self._blocked() is not None:
            return 0.0, "blocked"
        if self._set_is_out:
            return (self.bag_ml / flow_s, "bag") if flow_s else (math.inf, "nothing")
        if not self.turning:
            return math.inf, "nothing"
        if self._lag_s > 0:
            return self._lag_s, "lag"
        changes = [(self._left_ml / self._rate_ml_h * SECONDS_PER_HOUR, "limit")]
        if not flow_s:
            changes.append((0.0 if self.tubing.sees_upstream else self.tubing.drops_s - self._dry_s, "no drop"))
            return min(changes)
        changes.append((self._line_room_ml() / flow_s, "pressure"))
        if self.closed_above:
            changes.append(((self.tubing.drawn_ml - self._drawn_ml) / flow_s, "dry"))
        elif self.bag_ml > 0:
            changes.append((self.bag_ml / flow_s, "bag"))
        if self.closed_above or self.bag_ml <= 0:
            changes.append((self._above_ml() / flow_s, "air"))
        return min(changes)

    def _above_ml(self) -> float:
        """Fluid in the set above the pump."""
        return max(self.tubing.upper_ml - self._air_ml - self._drawn_ml, 0.0)

    def _line_room_ml(self) -> float:
        """What still goes into a closed line."""
        if not self.occluded:
            return math.inf
        bound = STALL_MMHG if self.alarm_mmhg is None else self.alarm_mmhg
        return max(bound - self.pressure_mmhg, 0.0) * self.model.compliance_ml_mmhg

    def _reach(self, reason: str) -> None:
        if reason == "blocked":
            self._halted(self._blocked() or Halt.DOOR)
        elif reason == "lag":
            self._lag_s = 0.0
        elif reason == "limit":
            self.moved_ml += self._left_ml  # the rounding residue, so that the count ends on the limit itself
            self._left_ml = 0.0
            self._halted(Halt.LIMIT)
        elif reason == "pressure":
            self._halted(Halt.STALL if self.alarm_mmhg is None else Halt.OCCLUSION)
        elif reason == "dry":
            self._drawn_ml = self.tubing.drawn_ml
        elif reason == "bag":
            self.bag_ml = 0.0
        elif reason == "air":
            self._air_ml = self.tubing.upper_ml - self._drawn_ml
            self._halted(Halt.AIR if self.tubing.sees_air else Halt.EMPTY)
        elif reason == "no drop":
            self._halted(Halt.UPSTREAM if self.tubing.sees_upstream else Halt.DROPS)

    def _halted(self, halt: Halt) -> None:
        self.stop()
        self.halt = halt

    def _pass(self, dt: float) -> None:
        """Let `dt` seconds pass in which nothing changes but by time."""
        flow_ml_h, dry = self.flow_ml_h, self._dry
        self.pressure_mmhg = line_pressure(self.model, self.pressure_mmhg, flow_ml_h, dt, closed=self.occluded)
        self._take(flow_ml_h * dt / SECONDS_PER_HOUR)
        if not self.turning:
            return
        if self._lag_s > 0:
            self._lag_s -= dt
            return
        if dry:
            self._dry_s += dt
        travel_ml = min(self._rate_ml_h * dt / SECONDS_PER_HOUR, self._left_ml)
        self.moved_ml += travel_ml
        self._left_ml -= travel_ml

    def _take(self, ml: float) -> None:
        """Fluid goes through the pump: out of the bag, and when that is empty or closed off, out of the set."""
        self.plunger_ml += ml
        if self.closed_above:
            self._drawn_ml += ml
        else:
            self._from_bag(ml)

    def _from_bag(self, ml: float) -> None:
        given_ml = min(ml, self.bag_ml)
        self.bag_ml -= given_ml
        self._air_ml += ml - given_ml

    # -- hands at bag, set and door

    def occlude(self, where: str = "downstream") -> None:
        """Close the line, or the set above the pump."""
        if where == "upstream":
            self.closed_above = True
        else:
            self.occluded = True

    def release(self) -> None:
        """Open both; what the line held under pressure goes to the patient, and the set fills again from the bag."""
        self.occluded = self.closed_above = False
        if self.model.resistance_mmhg_h_ml == 0:
            self.pressure_mmhg = 0.0
        self._from_bag(self._drawn_ml)
        self._drawn_ml = self._dry_s = 0.0

    def new_container(self, fill_ml: float) -> None:
        """Hang a fresh bag; the set is vented and filled from it, what was left in the old one is thrown away."""
        self.hung_ml += fill_ml - self.bag_ml
        self.bag_ml = fill_ml
        self._bubble_ml = 0.0
        filled_ml = min(self._air_ml, fill_ml)
        self.bag_ml -= filled_ml
        self._air_ml -= filled_ml

    def put_air(self, ml: float) -> None:
        """A bubble comes to rest at the detector; 0 takes it away."""
        self._bubble_ml = ml

    def open_door(self, on: bool) -> None:
        """Open the door, or close it on the set: then nothing flows but by the motor."""
        self.door_open = on
        self._set_is_out = self._set_is_out and on

    def free_flow(self, on: bool) -> None:
        """Take the set out of the pump with its clamp open, or close that. Refused where a clamp closes itself."""
        if on and self.tubing.clamps_itself:
            raise Refused("the set closes itself when it leaves the pump")
        if on:
            self.open_door(True)
        self._set_is_out = on
