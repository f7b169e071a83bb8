"""The face of a New Era pump: its state machine, keys, alarms and program. It knows no bytes and no wire time.

Method by method this is the pump's rule book (protocol notes, sections 3 to 8). Times are s of simulated time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from simulator.families.newera_invented import Invented
from simulator.families.newera_program import (
    DIAMETER_MM,
    MICROLITRE_UP_TO_MM,
    ML_PER_H,
    ML_PER_UNIT,
    NOT_NOW,
    OUT_OF_RANGE,
    PHASES,
    Phase,
    Settings,
    factory_program,
    rate_bounds_ml_h,
    read_number,
    show_number,
)
from simulator.motions import Motions
from simulator.physics import Body
from simulator.pump import FAULT, Halt, Refused

KEY_STEP = 0.10  # invented: one press of rate up or down changes the rate by a tenth
LIVE_WHEN_LOCKED = ("stop",)


class State(StrEnum):
    """What the pump does, by the letter it reports."""

    INFUSING = "I"
    WITHDRAWING = "W"
    STOPPED = "S"
    PAUSED = "P"
    WAITING = "T"
    PURGING = "X"


STANDING = (State.STOPPED, State.PAUSED)
PUMPING = (State.INFUSING, State.WITHDRAWING)


class Panel:
    """A switched-on pump with alarm R pending, as after every power-up."""

    def __init__(self, body: Body, settings: Settings, invented: Invented) -> None:
        self.body = body
        self.settings = settings
        self.invented = invented
        self.state = State.STOPPED
        self.powered = True
        self.alarm: str | None = "R"
        self.raised: list[str] = ["R"]  # alarms not yet announced; the wire empties it
        self.selected = 1
        self.counted_ml = {"INF": 0.0, "WDR": 0.0}
        self.motions = Motions()
        self.started = False  # whether it has ever infused
        self._author = "nobody"
        self._live_rate: dict[int, float] = {}
        self._phase = 1
        self._phase_ml = 0.0
        self._pause_left_s = 0.0
        self._direction = "INF"
        self._resume_after_power = False

    # -- time

    def advance(self, dt: float) -> None:
        """Let `dt` simulated seconds pass."""
        while dt > 0:
            step = min(dt, self._pause_left_s) if self.state is State.WAITING else dt
            before_ml = self.body.plunger_ml
            passed = self.body.advance(step)
            self._count()
            self.motions.moved(self.body.plunger_ml - before_ml)
            dt -= passed
            if self.body.halt is not None:
                self._on_halt(self.body.halt)
            elif self.state is State.WAITING:
                self._pause_left_s -= passed
                if self._pause_left_s <= 0:
                    self._enter(self._phase + 1)

    def until_change(self) -> float:
        """Simulated seconds until the pump does something by itself."""
        if self.state is State.WAITING:
            return self._pause_left_s
        return self.body.until_halt()

    def notice(self) -> None:
        """Nothing: mains, syringe and line show by what the motor does."""

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Refuse: the family has no back-door action of its own."""
        raise Refused("it has no such thing")

    def told(self) -> dict[str, Any]:
        """What a person at the pump could read."""
        return {
            "rate_ml_h": self.motor_rate_ml_h,
            "set_rate_ml_h": self.set_rate_ml_h,
            "limit_ml": self.limit_ml,
            "state": self.state.value,
            "alarm": self.alarm,
            "infused_ml": self.counted_ml["INF"],
            "withdrawn_ml": self.counted_ml["WDR"],
        }

    def _count(self) -> None:
        moved_ml = self.body.moved_ml
        if moved_ml:
            self.body.moved_ml = 0.0
            if self.state is not State.PURGING or self.invented.purge_is_counted:
                self.counted_ml[self._direction] += moved_ml
            self._phase_ml += moved_ml

    def _on_halt(self, halt: Halt) -> None:
        self.body.halt = None
        if halt is Halt.STALL:
            self.stall()
        else:
            self._enter(self._phase + 1)

    # -- the program

    @property
    def current(self) -> Phase:
        """The phase that settings address: the running one, or the selected one when the program stands."""
        return self._at(self.phase_number)

    def _at(self, number: int) -> Phase:
        return self.settings.program[number - 1]

    def rate(self) -> float:
        """Rate of the current phase in its own unit; a change made while pumping counts until power is cut."""
        return self._live_rate.get(self.phase_number, self._at(self.phase_number).rate)

    @property
    def phase_number(self) -> int:
        """Number of the phase that settings address."""
        return self._phase if self.state not in STANDING else self.selected

    def _rate_ml_h(self, number: int) -> float:
        phase = self._at(number)
        return self._live_rate.get(number, phase.rate) * ML_PER_H[phase.unit]

    @property
    def motor_rate_ml_h(self) -> float:
        """Rate at which the pump believes its motor moves fluid now; 0 when it stands."""
        if self.state in PUMPING:
            return self._rate_ml_h(self._phase)
        return rate_bounds_ml_h(self.settings.diameter_mm)[1] if self.state is State.PURGING else 0.0

    @property
    def set_rate_ml_h(self) -> float:
        """Rate that the first phase has or would take."""
        return self._rate_ml_h(1)

    @property
    def limit_ml(self) -> float:
        """Volume limit of the first phase; 0 means none."""
        return self._at(1).volume * ML_PER_UNIT[self.settings.volume_unit]

    def _in_bounds(self, rate_ml_h: float) -> bool:
        slowest, fastest = rate_bounds_ml_h(self.settings.diameter_mm)
        return slowest <= rate_ml_h <= fastest

    def run(self, phase: int | None = None, author: str = "wire") -> None:
        """Start afresh at `phase`, or resume when paused. ?NA while running or without a rate, ?OOR outside limits."""
        if self.alarm is not None or self.state not in STANDING:
            raise Refused(NOT_NOW)
        if phase is not None and not 1 <= phase <= PHASES:
            raise Refused(OUT_OF_RANGE)
        resume = self.state is State.PAUSED and phase is None
        number = self._phase if resume else phase or 1
        if self._at(number).function == "RAT":
            if self._rate_ml_h(number) == 0:
                raise Refused(NOT_NOW)
            if not self._in_bounds(self._rate_ml_h(number)):
                raise Refused(OUT_OF_RANGE)
        self._author = author
        self._enter(number, resume=resume)

    def _enter(self, number: int, *, resume: bool = False) -> None:
        self._phase = number
        if not resume:
            self._phase_ml = 0.0
        if number > PHASES or self._at(number).function == "STP":
            self._reset_program()
            return
        phase = self._at(number)
        if phase.function == "RAT":
            self._pump(phase)
            return
        self.state = State.WAITING
        if not resume:
            self._pause_left_s = phase.pause_s

    def _pump(self, phase: Phase) -> None:
        rate_ml_h = self._rate_ml_h(self._phase)
        if not self._in_bounds(rate_ml_h):
            self._raise("E")
            return
        if phase.direction != "STK":
            self._direction = phase.direction
        left_ml = phase.volume * ML_PER_UNIT[self.settings.volume_unit] - self._phase_ml if phase.volume else math.inf
        if left_ml <= 0:
            self._enter(self._phase + 1)
            return
        self._move(rate_ml_h, left_ml)
        self.state = State.INFUSING if self._direction == "INF" else State.WITHDRAWING
        self.started = self.started or self.state is State.INFUSING

    def _move(self, rate_ml_h: float, limit_ml: float) -> None:
        self.motions.begin(self._author, rate_ml_h, limit_ml, goes_on=self.body.turning)
        self.body.drive(rate_ml_h, 1 if self._direction == "INF" else -1, self.settings.diameter_mm, limit_ml)

    def stop(self) -> None:
        """Pause when running, reset the program when paused, end a purge. ?NA when already stopped."""
        if self.state is State.STOPPED:
            if self.invented.stop_when_stopped_is_refused:
                raise Refused(NOT_NOW)
        elif self.state in (State.PAUSED, State.PURGING):
            self._reset_program()
        else:
            self.body.stop()
            self.state = State.PAUSED

    def purge(self, author: str = "wire") -> None:
        """Run at top speed until stopped."""
        self._need_standing()
        self._author = author
        direction = self._at(self.selected).direction
        self._direction = self._direction if direction == "STK" else direction
        self._move(rate_bounds_ml_h(self.settings.diameter_mm)[1], math.inf)
        self.state = State.PURGING

    def _reset_program(self) -> None:
        self.body.stop()
        self.state = State.STOPPED
        self._phase = 1
        self._phase_ml = 0.0

    # -- alarms and power

    def _raise(self, letter: str) -> None:
        self._reset_program()
        self.alarm = letter
        self.raised.append(letter)

    def stall(self) -> None:
        """The motor cannot turn: stop, alarm S; the counters keep what was pumped."""
        self._raise("S")

    def watchdog_expired(self) -> None:
        """No packet came in time: stop, alarm T."""
        self._raise("T")

    def acknowledge(self) -> str | None:
        """End the pending alarm and name it."""
        letter, self.alarm = self.alarm, None
        return letter

    def power_off(self) -> None:
        """Cut the mains."""
        self._resume_after_power = bool(self.settings.flags["PF"]) and self.state in (*PUMPING, State.WAITING)
        self.body.stop()
        self.powered = False

    def power_on(self) -> None:
        """Bring the mains back: alarm R; the program goes on by itself when PF was on and it was running."""
        if self.powered:
            return
        phase, phase_ml, direction, pause_s = self._phase, self._phase_ml, self._direction, self._pause_left_s
        self._reset_program()
        self.powered = True
        self._live_rate.clear()
        self.selected = 1
        if not self.invented.counters_survive_power_cut:
            self.counted_ml = {"INF": 0.0, "WDR": 0.0}
        if self._resume_after_power:
            self._author = "power return"
            afresh = self.invented.power_return_starts_afresh
            if not afresh:
                self._phase_ml, self._direction, self._pause_left_s = phase_ml, direction, pause_s
            self._enter(1 if afresh else phase, resume=not afresh)
        self.alarm = "R"
        self.raised = ["R"]

    def reset_system(self) -> None:
        """`*RESET`: stop, Basic mode, address 0, program cleared."""
        self._reset_program()
        self._live_rate.clear()
        self.selected = 1
        self.settings.address = self.settings.safe_s = 0
        self.settings.program = factory_program(self.invented.second_phase)
        if self.invented.reset_raises_alarm:
            self.alarm = "R"
            self.raised.append("R")

    # -- settings

    def _need_standing(self) -> None:
        if self.state not in STANDING:
            raise Refused(NOT_NOW)

    def set_diameter(self, text: str) -> None:
        """Set the diameter in mm; clears the counters and puts the volume unit back to the diameter's own."""
        self._need_standing()
        diameter = read_number(text)
        if not DIAMETER_MM[0] <= diameter <= DIAMETER_MM[1]:
            raise Refused(OUT_OF_RANGE)
        self.settings.diameter_mm = diameter
        self.settings.volume_unit = "UL" if diameter <= MICROLITRE_UP_TO_MM else "ML"
        self.counted_ml = {"INF": 0.0, "WDR": 0.0}

    def set_rate(self, text: str, unit: str | None) -> None:
        """Set the rate over the wire; while pumping at once, until power is cut, and without a unit."""
        phase = self.current
        if self.state in STANDING:
            self._choose_rate(read_number(text), unit or phase.unit)
        else:
            if self.state not in PUMPING:
                raise Refused(NOT_NOW)
            if unit is not None and (self.invented.running_rate_refuses_any_unit or unit != phase.unit):
                raise Refused(NOT_NOW)
            self._change_rate(read_number(text), "wire")
        self.motions.wire_rate_ml_h = self._rate_ml_h(self.phase_number)

    def _choose_rate(self, rate: float, unit: str) -> None:
        if not self._in_bounds(rate * ML_PER_H[unit]):
            raise Refused(OUT_OF_RANGE)
        self.current.rate, self.current.unit = rate, unit
        self._live_rate.pop(self.selected, None)

    def _change_rate(self, rate: float, author: str) -> None:
        phase = self.current
        rate_ml_h = rate * ML_PER_H[phase.unit]
        if not self._in_bounds(rate_ml_h):
            raise Refused(OUT_OF_RANGE)
        self._live_rate[self._phase] = rate
        self._author = author
        self._pump(phase)

    def set_volume(self, text: str) -> None:
        """Set the phase's volume, or the unit of all volumes; digits stay when the unit changes."""
        self._need_standing()
        if text in ML_PER_UNIT:
            self.settings.volume_unit = text
        else:
            self.current.volume = read_number(text)

    def set_direction(self, direction: str) -> None:
        """Set the direction; while pumping only in a phase without volume, and then at once."""
        phase = self.current
        moving = self.state in PUMPING
        if self.state not in STANDING and (not moving or phase.volume or direction == "STK"):
            raise Refused(NOT_NOW)
        if direction == "REV":
            now = self._direction if phase.direction == "STK" else phase.direction
            direction = "WDR" if now == "INF" else "INF"
        phase.direction = direction
        if moving:
            self._pump(phase)

    def select_phase(self, number: int) -> None:
        """Choose the phase that settings address."""
        self._need_standing()
        if not 1 <= number <= PHASES:
            raise Refused(OUT_OF_RANGE)
        self.selected = number

    def set_function(self, function: str) -> None:
        """Set what the phase does: RAT, STP or a pause PASnn, PASn.n. Other functions are not offered (?NA)."""
        self._need_standing()
        if function.startswith("PAS"):
            seconds = read_number(function[3:])
            if not 0.1 <= seconds <= 99:
                raise Refused(OUT_OF_RANGE)
            function = f"PAS{seconds:02.0f}" if seconds == int(seconds) else f"PAS{seconds:.1f}"
        elif function not in ("RAT", "STP"):
            raise Refused(NOT_NOW)
        self.current.function = function

    def clear_counter(self, direction: str) -> None:
        """Zero what was counted in one direction."""
        self._need_standing()
        self.counted_ml[direction] = 0.0

    def counter(self, direction: str) -> str:
        """Show one counter in the pump's volume unit."""
        return show_number(self.counted_ml[direction] / ML_PER_UNIT[self.settings.volume_unit])

    # -- keys

    def press(self, key: str) -> None:
        """Press a key. Refused when the keypad is locked or the key does nothing now; in alarm it only acknowledges."""
        if self.alarm is not None:
            self.acknowledge()
        elif self.settings.flags["LOC"] and key not in LIVE_WHEN_LOCKED:
            raise Refused("keypad locked")
        else:
            KEYS[key](self)

    def _key_purge(self) -> None:
        if self.state is State.PURGING:
            self.stop()
        else:
            self.purge("keypad")

    def _key_foot(self) -> None:
        if self.settings.trigger == "OF":
            raise Refused("trigger input off")
        if self.state in STANDING:
            self.run(author="foot switch")
        else:
            self.stop()

    def dial_rate(self, rate_ml_h: float) -> None:
        """Set the rate at the keypad, in any state in which the keypad would allow it."""
        if self.settings.flags["LOC"]:
            raise Refused("keypad locked")
        unit = self.current.unit
        rate = float(show_number(rate_ml_h / ML_PER_H[unit]))
        if self.state in PUMPING:
            self._change_rate(rate, "keypad")
        elif self.state in STANDING:
            self._choose_rate(rate, unit)
        else:
            raise Refused(NOT_NOW)

    def run_away(self, rate_ml_h: float) -> None:
        """A fault of the pump's own electronics: it runs at this rate, and says so, though nobody asked for it."""
        rate = float(show_number(rate_ml_h / ML_PER_H[self.current.unit]))
        if self.state not in PUMPING:
            self._need_standing()
            if not self._in_bounds(rate_ml_h):
                raise Refused(OUT_OF_RANGE)
            self._live_rate[self._phase if self.state is State.PAUSED else 1] = rate
            self.run(author=FAULT)
        else:
            self._change_rate(rate, FAULT)

    def _key_faster(self) -> None:
        self.dial_rate(self.rate() * ML_PER_H[self.current.unit] * (1 + KEY_STEP))

    def _key_slower(self) -> None:
        self.dial_rate(self.rate() * ML_PER_H[self.current.unit] * (1 - KEY_STEP))


KEYS = {
    "run": lambda panel: panel.run(author="keypad"),
    "stop": Panel.stop,
    "purge": Panel._key_purge,
    "foot": Panel._key_foot,
    "rate_up": Panel._key_faster,
    "rate_down": Panel._key_slower,
}
