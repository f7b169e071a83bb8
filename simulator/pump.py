"""What a simulated pump is made of: a body that moves fluid, a face that people see, a mouth on the line.

`device.py` knows these three by what stands here, and no family by name. Times are simulated seconds; the mouth's are
wire seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from simulator.motions import Motions

FAULT = "device fault"  # who moves the motor when nobody does
OWN_KVO = "kvo"  # ... or the pump itself, as it is set to, once its limit is reached


class Refused(Exception):
    """The pump understood and says no; `code` is what it says on the wire, or why the keypad does nothing."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Halt(Enum):
    """Why the motor stopped by itself."""

    LIMIT = "limit"
    STALL = "stall"  # line pressure, or the plunger at the end of the barrel, in a pump that cannot tell the two
    OCCLUSION = "occlusion"  # the pressure sensor has seen its bound
    UPSTREAM = "upstream"  # nothing comes from the container
    AIR = "air"
    EMPTY = "empty"
    DOOR = "door"
    DROPS = "drops"  # a drop sensor has waited long enough


class Plant(Protocol):
    """Fluid, motor and line. `plunger_ml` is what was truly displaced, `patient_ml` what left the line."""

    plunger_ml: float
    pressure_mmhg: float
    occluded: bool

    @property
    def patient_ml(self) -> float:
        """What has left the line."""

    @property
    def turning(self) -> bool:
        """Whether the motor is driven."""

    @property
    def infusing(self) -> bool:
        """Whether the motor is driven towards the patient."""

    @property
    def flow_ml_h(self) -> float:
        """True displacement now, negative when withdrawing."""

    @property
    def left_ml(self) -> float:
        """Fluid still in the container."""

    def occlude(self, where: str = "downstream") -> None:
        """Close the line. Refused where the plant has no such place."""

    def release(self) -> None:
        """Open the line."""

    def new_container(self, fill_ml: float) -> None:
        """Put a fresh syringe or bag in; the truth figures go on."""


class Drivable(Plant, Protocol):
    """A plant whose motor a clinical pump's face drives towards the patient."""

    alarm_mmhg: float | None
    halt: Halt | None
    moved_ml: float  # what the pump believes it moved; whoever counts it sets it back to 0
    senses_end: bool  # whether the pump knows how much is left in its container

    @property
    def free_flowing(self) -> bool:
        """Whether fluid can run past the pump by gravity."""

    def infuse(self, rate_ml_h: float, limit_ml: float = math.inf) -> None:
        """Turn the motor until it has counted `limit_ml` more."""

    def stop(self) -> None:
        """Stop the motor."""

    def advance(self, dt: float) -> float:
        """Let up to `dt` seconds pass; fewer did when the motor halted by itself (see `halt`)."""

    def until_halt(self) -> float:
        """Seconds until the motor would halt by itself; infinite if it would not."""

    def until_counted(self, counted_ml: float) -> float:
        """Seconds until the pump has counted so much more, were it not halted before; infinite while it stands."""

    def until_left(self, left_ml: float) -> float:
        """Seconds until no more than `left_ml` is in the container, were it not halted before."""


class Face(Protocol):
    """Keys, states, alarms: all that a person at the pump sees and does, and all that the mouth can speak of."""

    powered: bool
    started: bool  # whether it has ever infused
    raised: list[Any]  # news that the mouth may announce by itself; empty again after `unsolicited`
    motions: Motions

    @property
    def body(self) -> Plant:
        """The plant behind it."""

    def advance(self, dt: float) -> None:
        """Let `dt` simulated seconds pass."""

    def until_change(self) -> float:
        """Simulated seconds until the pump does something by itself; infinite when it does not."""

    def notice(self) -> None:
        """Look around: somebody did something to mains, container or line."""

    def press(self, key: str) -> None:
        """Press a key. Refused when it does nothing now."""

    def dial_rate(self, ml_h: float) -> None:
        """Set the rate at the keypad. Refused when the keypad would not take it."""

    def run_away(self, ml_h: float) -> None:
        """A fault of the electronics: run at this rate, and say so, though nobody asked for it."""

    def stall(self) -> None:
        """The motor cannot turn."""

    def power_off(self) -> None:
        """Go dark: mains and battery are gone."""

    def power_on(self) -> None:
        """Mains are back; nothing happens where the pump was never dark."""

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out a back-door action of the family's own (`Family.actions`)."""

    def told(self) -> dict[str, Any]:
        """The face's part of the truth: rate_ml_h, set_rate_ml_h, limit_ml, state, alarm, infused_ml, and its own."""


class Mouth(Protocol):
    """Bytes to the face and back. It is deaf while the pump is dark."""

    @property
    def byte_s(self) -> float:
        """Wire seconds that one byte takes, for a paced line."""

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host, never none; return what the pump answers now."""

    def unsolicited(self) -> bytes:
        """What the pump says by itself now: asked whenever something happened and at each `due`."""

    def due(self) -> float | None:
        """Wire time at which it wants `advance`, if any."""

    def advance(self, at: float) -> None:
        """Let the time-outs due by `at` happen."""

    def reboot(self) -> None:
        """The pump went dark: forget half-heard bytes and the session with the host."""

    def told(self) -> dict[str, Any]:
        """The mouth's part of the truth: what only the wire knows."""
