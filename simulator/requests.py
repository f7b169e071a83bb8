"""The vocabulary of the back door and of scripts: what may be asked for, and which keys a request may hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.faults import KINDS, WAYS


class BadRequest(ValueError):
    """A request or a scenario that cannot be carried out, in the words of its author."""


@dataclass(frozen=True)
class Value:
    """What a key of a request may hold."""

    words: str
    choices: tuple[str, ...] = ()
    above: float | None = None
    least: float = 0.0
    most: float = float("inf")

    def refuse(self, value: object) -> str | None:
        """Say what is wrong with the value, if anything."""
        if self.choices:
            return None if value in self.choices else f"expected one of {', '.join(self.choices)}"
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.least <= value <= self.most or (self.above is not None and value <= self.above):  # type: ignore[operator]
            return f"expected {self.words}"
        return None


SECONDS = Value("a number of seconds above 0", above=0)
FOR = {"for_s": SECONDS}


@dataclass(frozen=True)
class Action:
    """One thing that may be asked for: the keys it needs and those it may have."""

    needs: dict[str, Value] = field(default_factory=dict)
    may: dict[str, Value] = field(default_factory=dict)


ACTIONS: dict[str, Action] = {  # what every pump takes; `press` with the keys of its family
    "press": Action({"key": Value("a key")}),
    "set_rate": Action({"ml_h": Value("a rate in mL/h above 0", above=0)}),
    "run_away": Action({"ml_h": Value("a rate in mL/h above 0", above=0)}),
    "occlude": Action(may=FOR),
    "release": Action(),
    "stall": Action(),
    "new_syringe": Action({"fill_ml": Value("a volume in mL above 0", above=0)}),
    "power_off": Action(may=FOR),
    "power_on": Action(),
    "reboot": Action(),
    "mute": Action(may=FOR),
    "unmute": Action(),
    "disconnect": Action(may=FOR),
    "reconnect": Action(),
    "fault": Action(
        {"kind": Value("a kind of fault", choices=KINDS)},
        {
            "probability": Value("a number from 0 to 1", most=1),
            "way": Value("a direction", choices=WAYS),
            "delay_s": Value("wire seconds, 0 or more"),
            **FOR,
        },
    ),
    "clear_faults": Action(),
    "truth": Action(),
}
UNDO = {
    "occlude": {"do": "release"},
    "alarm": {"do": "alarm_over"},  # of the same name
    "door": {"do": "door", "state": "closed"},
    "free_flow": {"do": "free_flow", "state": "off"},
    "power_off": {"do": "power_on"},
    "mute": {"do": "unmute"},
    "disconnect": {"do": "reconnect"},
}
