"""The face of a Harvard or KD Scientific syringe pump: direction, targets, counters, prompts, keys. It knows no bytes.

Protocol notes (Harvard), A3 to A6. mL, mL/h, mm, and simulated seconds. `i` is infuse, `w` is withdraw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from simulator.families.harvard_invented import Invented
from simulator.families.harvard_text import Rate, Volume
from simulator.motions import Motions
from simulator.physics import DIAMETER_MM, Body
from simulator.pump import FAULT, Halt, Refused
from simulator.requests import Action, Value

WIRE, KEYPAD, FOOT = "wire", "keypad", "foot switch"
RECORDED_AT_MM2 = math.pi / 4 * 14.43**2  # the limits below fit 159 mm/min, the maker's figure, in a 10 mL syringe
FASTEST_MM_H = 26003.5 * 60 / RECORDED_AT_MM2  # recorded: 26.0035 ml/min
SLOWEST_MM_H = 25.0404e-3 * 60 / RECORDED_AT_MM2  # recorded: 25.0404 nl/min
DIAMETERS_MM = (0.1, 50.0)  # invented
MOST_TARGET_S = 999 * 3600.0  # invented
WAYS = {"i": 1, "w": -1}
MODES = {
    "i": "Quick Start - Infuse Only (qs i)",
    "w": "Quick Start - Withdraw Only (qs w)",
    "iw": "Quick Start - Infuse/Withdraw (qs iw)",
    "wi": "Quick Start - Withdraw/Infuse (qs wi)",
    "method": "User Method",
}
RAMP_STEPS = 100  # each at its middle rate, so that a whole ramp gives exactly what it should
KEY_STEP = 0.10  # invented: one press of rate up or down changes the rate by a tenth
DUE_S = 1e-6  # what is so near is now
OUT_OF_RANGE = "Out of range"


class State(StrEnum):
    """What the pump does, by its prompt."""

    IDLE = ":"
    INFUSING = ">"
    WITHDRAWING = "<"
    STALLED = "*"
    TARGET = "T*"
    INFUSE_SWITCH = ">*"
    WITHDRAW_SWITCH = "<*"


RUNNING = {"i": State.INFUSING, "w": State.WITHDRAWING}
SWITCHED = {"i": State.INFUSE_SWITCH, "w": State.WITHDRAW_SWITCH}
ALARMS = {State.STALLED: "stall", State.TARGET: "target", **dict.fromkeys(SWITCHED.values(), "limit switch")}


class BadArgument(Refused):
    """An argument that the pump does not take."""

    def __init__(self, argument: str, text: str) -> None:
        super().__init__(text)
        self.argument = argument


@dataclass(frozen=True)
class Ramp:
    """From one rate to another in a time."""

    first: Rate
    last: Rate
    seconds: float

    def rate_ml_h(self, step: int) -> float:
        """Rate in the middle of a step."""
        return self.first.ml_h + (self.last.ml_h - self.first.ml_h) * (step + 0.5) / RAMP_STEPS


class Panel:
    """A switched-on pump that stands, with the rates in it that were last written to its memory."""

    def __init__(self, body: Body, invented: Invented) -> None:
        self.body = body
        self.invented = invented
        self.state = State.IDLE
        self.way = "i"
        self.powered = True
        self.started = False
        self.raised: list[str] = []
        self.motions = Motions()
        self.diameter_mm = DIAMETER_MM
        self.syringe = Volume(60.0)
        self.syringe_maker = "Custom"
        self.force_pct = 30
        self.rates = {"i": Rate(60.0), "w": Rate(60.0)}
        self.ramps: dict[str, Ramp | None] = {"i": None, "w": None}
        self.keeps_rates = True  # writes them to its memory
        self.target: Volume | None = None
        self.target_s: float | None = None
        self.counted_ml = {"i": 0.0, "w": 0.0}
        self.run_s = {"i": 0.0, "w": 0.0}
        self.mode = "iw"
        self.on_run_screen = True
        self.line_closed = False  # somebody touched the screen; see `Invented.touch_closes_line`
        self.foot_down = False
        self.foot_switch = "mom"
        self.switch: str | None = None  # the limit switch that is pressed
        self.time_s = 0.0
        self._memory = dict(self.rates)
        self._author = "nobody"
        self._ramp: Ramp | None = None  # that is under way
        self._ramp_step = 0
        self._step_left_s = math.inf

    # -- time

    def advance(self, dt: float) -> None:
        """Let `dt` simulated seconds pass; everything happens at its own moment."""
        while dt > 0:
            before_ml = self.body.plunger_ml
            passed = self.body.advance(min(dt, self._until_own()))
            dt -= passed
            self.time_s += passed
            self.counted_ml[self.way] += self.body.moved_ml
            self.body.moved_ml = 0.0
            self.motions.moved(self.body.plunger_ml - before_ml)
            if self.running:
                self.run_s[self.way] += passed
                self._step_left_s -= passed
                self._look_at_motor()

    def until_change(self) -> float:
        """Simulated seconds until the pump does something by itself."""
        return min(self.body.until_halt(), self._until_own())

    def _until_own(self) -> float:
        return max(min(self._left_s(), self._step_left_s), DUE_S) if self.running else math.inf

    def _look_at_motor(self) -> None:
        halt, self.body.halt = self.body.halt, None
        if halt is Halt.STALL:
            self.stall()
        elif halt is Halt.LIMIT:
            assert self.target is not None
            self.counted_ml[self.way] = self.target.ml  # without the rounding residue
            self._end(State.TARGET)
        elif self._left_s() <= DUE_S:
            self._end(State.TARGET)
        elif self._step_left_s <= DUE_S:
            self._next_step()

    def _next_step(self) -> None:
        assert self._ramp is not None
        self._ramp_step += 1
        if self._ramp_step == RAMP_STEPS:
            self._end(State.TARGET)
        else:
            self._step_left_s = self._ramp.seconds / RAMP_STEPS
            self._drive()

    def _end(self, state: State) -> None:
        self._halt(state)
        self.raised.append(state.value)

    def _halt(self, state: State) -> None:
        self.body.stop()
        self.state = state
        self._ramp, self._step_left_s = None, math.inf

    # -- what a mouth reads

    @property
    def running(self) -> bool:
        """Whether the motor is driven."""
        return self.state in RUNNING.values()

    @property
    def motor_rate_ml_h(self) -> float:
        """Rate at which the pump believes its motor moves fluid now; 0 when it stands."""
        if not self.running:
            return 0.0
        return self._ramp.rate_ml_h(self._ramp_step) if self._ramp else self.rates[self.way].ml_h

    def bounds_ml_h(self) -> tuple[float, float]:
        """Slowest and fastest rate in the present syringe."""
        area_mm2 = math.pi / 4 * self.diameter_mm**2
        return SLOWEST_MM_H * area_mm2 / 1000, FASTEST_MM_H * area_mm2 / 1000

    def told(self) -> dict[str, Any]:
        """What a person at the pump could read."""
        return {
            "rate_ml_h": self.motor_rate_ml_h,
            "set_rate_ml_h": self.rates["i"].ml_h,
            "limit_ml": self.target.ml if self.target else 0.0,
            "limit_s": self.target_s,
            "state": self.state.value,
            "alarm": ALARMS.get(self.state),
            "infused_ml": self.counted_ml["i"],
            "withdrawn_ml": self.counted_ml["w"],
            "diameter_mm": self.diameter_mm,
            "screen": "run" if self.on_run_screen else "menu",
        }

    def _left_ml(self) -> float:
        return math.inf if self.target is None else max(self.target.ml - self.counted_ml[self.way], 0.0)

    def _left_s(self) -> float:
        return math.inf if self.target_s is None else max(self.target_s - self.run_s[self.way], 0.0)

    # -- running

    def run(self, way: str, author: str = WIRE) -> None:
        """Run up to the targets. Refused when the mode, a limit switch, the rate or the state forbids it."""
        if self.running:
            if self.invented.run_while_running_is_refused:
                raise Refused("Pump is running")
            if way == self.way:
                return
        if self.mode == "method" or way not in self.mode:
            raise Refused("Wrong mode")
        if self.switch == way:
            raise Refused("Limit switch")
        slowest, fastest = self.bounds_ml_h()
        if self.ramps[way] is None and not slowest <= self.rates[way].ml_h <= fastest:
            raise Refused("Rate out of range")
        self._halt(State.IDLE)
        self.way = way
        if self._left_ml() == 0 or self._left_s() <= DUE_S:
            if self.invented.run_past_target == "error":
                raise Refused("Target reached")
            if self.invented.run_past_target == "T*":
                self.state = State.TARGET
                return
            self.counted_ml[way] = self.run_s[way] = 0.0
        self._begin(author)

    def _begin(self, author: str) -> None:
        self._author = author
        self._ramp, self._ramp_step = self.ramps[self.way], 0
        self._step_left_s = self._ramp.seconds / RAMP_STEPS if self._ramp else math.inf
        self.state = RUNNING[self.way]
        self._drive()

    def _drive(self) -> None:
        rate_ml_h, left_ml = self.motor_rate_ml_h, self._left_ml()
        limit_ml = min(left_ml, rate_ml_h * self._left_s() / 3600)
        self.motions.begin(self._author, rate_ml_h, limit_ml, goes_on=self.body.turning)
        self.body.drive(rate_ml_h, WAYS[self.way], self.diameter_mm, left_ml)
        self.started = self.started or self.way == "i"

    def stop(self) -> None:
        """Stop; nothing happens to a pump that stands, but that the target is forgotten as reached."""
        if self.state is not State.STALLED or self.invented.stop_clears_stall:
            self._halt(State.IDLE)

    def stall(self) -> None:
        """The motor cannot turn; the counters keep what was pumped."""
        self._end(State.STALLED)

    # -- settings

    def may_set(self) -> None:
        """Refuse parameters while another screen or a method is up."""
        if not self.on_run_screen or self.mode == "method":
            raise Refused("Wrong screen or mode")

    def must_stand(self) -> None:
        """Refuse while the motor turns."""
        if self.running:
            raise Refused("Pump is running")

    def set_rate(self, way: str, rate: Rate, author: str = WIRE) -> bool:
        """Set a rate, at once also while it runs; False when it is out of range."""
        if way not in self.mode:
            raise Refused("Wrong mode")
        if self.running and way == self.way and author == WIRE and self.invented.rate_while_running_is_refused:
            raise Refused("Pump is running")
        slowest, fastest = self.bounds_ml_h()
        if not slowest <= rate.ml_h <= fastest:
            return False
        self.rates[way], self.ramps[way] = rate, None
        if self.keeps_rates:
            self._memory[way] = rate
        if author == WIRE and way == "i":
            self.motions.wire_rate_ml_h = rate.ml_h
        if self.running and way == self.way:
            self._begin(author)
        return True

    def set_ramp(self, way: str, ramp: Ramp) -> bool:
        """Set a ramp for the next run; False when it is out of range."""
        self.must_stand()
        if way not in self.mode:
            raise Refused("Wrong mode")
        slowest, fastest = self.bounds_ml_h()
        if not all(slowest <= rate.ml_h <= fastest for rate in (ramp.first, ramp.last)):
            return False
        self.ramps[way] = ramp
        return True

    def set_diameter(self, mm: float, maker: str = "Custom") -> bool:
        """Set the diameter; False when it is out of range."""
        self.must_stand()
        if not DIAMETERS_MM[0] <= mm <= DIAMETERS_MM[1]:
            return False
        self.diameter_mm, self.syringe_maker = mm, maker
        if self.invented.diameter_clears_rates:
            self.rates = {"i": Rate(0.0), "w": Rate(0.0)}
        return True

    def set_target(self, target: Volume | None) -> bool:
        """Set the target volume or take it away; False when it is out of range."""
        self._may_set_target()
        if target is not None and not NEAR_NOTHING_ML <= target.ml <= self.invented.most_target_ml:
            return False
        self.target = target
        if target is not None and self.invented.one_target_only:
            self.target_s = None
        self._heed_targets()
        return True

    def set_target_time(self, seconds: float | None) -> bool:
        """Set the target time or take it away, and a ramp with it; False when it is out of range."""
        self._may_set_target()
        if seconds is not None and not 0 < seconds <= MOST_TARGET_S:
            return False
        self.target_s = seconds
        if seconds is None:
            self.ramps = {"i": None, "w": None}
        elif self.invented.one_target_only:
            self.target = None
        self._heed_targets()
        return True

    def _may_set_target(self) -> None:
        if not self.invented.target_while_running:
            self.must_stand()

    def clear(self, ways: str, *, volume: bool) -> None:
        """Zero counters; a target counts from the new zero."""
        if not self.invented.clear_while_running:
            self.must_stand()
        counters = self.counted_ml if volume else self.run_s
        counters.update(dict.fromkeys(ways, 0.0))
        self._heed_targets()

    def _heed_targets(self) -> None:
        if not self.running:
            return
        if self._left_ml() == 0 or self._left_s() <= DUE_S:
            self._halt(State.TARGET)
        else:
            self._drive()

    def load(self, mode: str) -> None:
        """Bring up a Quick Start mode, and the run screen with it."""
        self.must_stand()
        self.mode, self.on_run_screen = mode, True
        if self.way not in mode:
            self.way = mode[0]

    # -- keys

    def press(self, key: str) -> None:
        """Press a key or touch the screen. Refused when it does nothing now; that is a touch all the same."""
        self.line_closed = self.invented.touch_closes_line
        before = self.state
        KEYS[key](self)
        self._announce_keypad(before)

    def _announce_keypad(self, before: State) -> None:
        if self.state is not before and self.invented.keypad_is_announced:
            self.raised.append(self.state.value)

    def _key_stop(self) -> None:
        if not self.running and self.state is not State.TARGET:
            raise Refused("it stands")
        self.stop()

    def _key_display(self) -> None:
        if not self.running:
            self.state = State.IDLE

    def _key_menu(self) -> None:
        self.on_run_screen = False

    def _key_home(self) -> None:
        self.on_run_screen = True

    def _key_method(self) -> None:
        self.must_stand()
        self.mode = "method"

    def _key_reverse(self) -> None:
        self.must_stand()
        self.way = other(self.way)

    def _key_clear(self) -> None:
        self.clear("iw", volume=True)
        self.clear("iw", volume=False)

    def dial_rate(self, ml_h: float) -> None:
        """Set the infusion rate at the screen."""
        self.line_closed = self.invented.touch_closes_line
        rate = self.rates["i"]
        if not self.set_rate("i", Rate(ml_h, rate.unit, rate.per), KEYPAD):
            raise Refused(OUT_OF_RANGE)

    def _foot(self, down: bool) -> None:
        if down is self.foot_down:
            return
        self.foot_down = down
        before = self.state
        if self.foot_switch == "mom":
            wanted = down
        elif down is (self.foot_switch == "rise"):
            wanted = not self.running
        else:
            return
        if wanted and not self.running:
            self.run(self.way, FOOT)
        elif self.running and not wanted:
            self.stop()
        self._announce_keypad(before)

    # -- faults and power

    def run_away(self, ml_h: float) -> None:
        """A fault of the electronics: it infuses at this rate, and says so, though nobody asked for it."""
        self._halt(State.IDLE)
        self.way, self.rates["i"], self.ramps["i"] = "i", Rate(ml_h, "m", "h"), None
        self._begin(FAULT)

    def notice(self) -> None:
        """Nothing: mains, syringe and line show by what the motor does."""

    def meddle(self, request: Mapping[str, Any]) -> None:
        """Carry out one of `ACTIONS`."""
        if request["do"] == "foot":
            self._foot(request["state"] == "down")
            return
        self.switch = SWITCHES[request["way"]]
        if self.running and self.switch == self.way:
            self._end(SWITCHED[self.way])

    def power_off(self) -> None:
        """Cut the mains."""
        self._halt(State.IDLE)
        self.powered = False

    def power_on(self) -> None:
        """Mains are back: it stands, with the rates that its memory has."""
        if self.powered:
            return
        self.powered, self.on_run_screen, self.line_closed, self.keeps_rates = True, True, False, True
        self.rates = dict(self._memory)
        self.ramps = {"i": None, "w": None}
        if not self.invented.targets_survive_power_cut:
            self.target = self.target_s = None
        if not self.invented.counters_survive_power_cut:
            self.counted_ml, self.run_s = {"i": 0.0, "w": 0.0}, {"i": 0.0, "w": 0.0}


NEAR_NOTHING_ML = 1e-9  # invented: no target is smaller than 1 pl


def other(way: str) -> str:
    """The opposite direction."""
    return "w" if way == "i" else "i"


KEYS: dict[str, Callable[[Panel], None]] = {
    "run": lambda panel: panel.run(panel.way, KEYPAD),
    "stop": Panel._key_stop,
    "display": Panel._key_display,
    "menu": Panel._key_menu,
    "home": Panel._key_home,
    "method": Panel._key_method,
    "reverse": Panel._key_reverse,
    "clear": Panel._key_clear,
    "rate_up": lambda panel: panel.dial_rate(panel.rates["i"].ml_h * (1 + KEY_STEP)),
    "rate_down": lambda panel: panel.dial_rate(panel.rates["i"].ml_h * (1 - KEY_STEP)),
}
SWITCHES = {"infuse": "i", "withdraw": "w", "none": None}
ACTIONS = {
    "foot": Action({"state": Value("a state", choices=("down", "up"))}),
    "limit_switch": Action({"way": Value("a direction, or none", choices=tuple(SWITCHES))}),
}
