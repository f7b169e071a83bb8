"""Timed scripts in TOML, and the vocabulary they share with the back door.

A step is a request with a time: `at_s` in session seconds, counted from power-on or from the first infusion.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.faults import KINDS, WAYS, Fault
from simulator.invented import Invented
from simulator.panel import KEYS

ZEROS = ("power-on", "first-run")
UNDO = {
    "occlude": {"do": "release"},
    "power_off": {"do": "power_on"},
    "mute": {"do": "unmute"},
    "disconnect": {"do": "reconnect"},
}


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


ACTIONS: dict[str, Action] = {
    "press": Action({"key": Value("a key", choices=tuple(KEYS))}),
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


def check(request: Mapping[str, Any], *, timed: bool = False) -> None:
    """Raise BadRequest, naming the key and what was expected, unless the request can be understood."""
    name = request.get("do")
    if not isinstance(name, str) or name not in ACTIONS:
        raise BadRequest(f"do = {name!r}: expected one of {', '.join(ACTIONS)}")
    action = ACTIONS[name]
    known = {**action.needs, **action.may, **({"at_s": Value("session seconds, 0 or more")} if timed else {})}
    for key in [*action.needs, *(["at_s"] if timed else [])]:
        if key not in request:
            raise BadRequest(f"{name}: {key} is missing, expected {known[key].words}")
    for key, value in request.items():
        if key == "do":
            continue
        if key not in known:
            raise BadRequest(f"{name}: {key} is not known here; known keys: {', '.join(['do', *known])}")
        if problem := known[key].refuse(value):
            raise BadRequest(f"{name}: {key} = {value!r}: {problem}")
    if name == "fault":
        try:
            Fault(**{key: request[key] for key in ("kind", "probability", "way", "delay_s") if key in request})
        except ValueError as problem:
            raise BadRequest(f"{name}: {problem}") from None


@dataclass(frozen=True)
class Scenario:
    """A named script: steps in the order of their time, and where their clock starts."""

    steps: tuple[dict[str, Any], ...] = ()
    zero: str = "power-on"
    description: str = ""
    invented: Invented = field(default_factory=Invented)


def parse_scenario(text: str, source: str = "scenario") -> Scenario:
    """Read a scenario from TOML text. BadRequest names the source, the step and the key."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadRequest(f"{source}: not TOML: {problem}") from None
    unknown = set(raw) - {"description", "zero", "invented", "step"}
    if unknown:
        raise BadRequest(f"{source}: {sorted(unknown)[0]}: unknown key; known: description, zero, invented, step")
    if (zero := raw.get("zero", "power-on")) not in ZEROS:
        raise BadRequest(f"{source}: zero = {zero!r}: expected one of {', '.join(ZEROS)}")
    steps = raw.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BadRequest(f"{source}: step: expected [[step]] tables")
    for number, step in enumerate(steps, 1):
        try:
            check(step, timed=True)
        except BadRequest as problem:
            raise BadRequest(f"{source}: step {number}: {problem}") from None
    return Scenario(
        tuple(sorted(steps, key=lambda step: float(step["at_s"]))),
        zero,
        str(raw.get("description", "")),
        _invented(raw.get("invented", {}), source),
    )


def _invented(table: object, source: str) -> Invented:
    if not isinstance(table, dict):
        raise BadRequest(f"{source}: invented: expected a table [invented]")
    defaults = dataclasses.asdict(Invented())
    for key, value in table.items():
        if key not in defaults:
            raise BadRequest(f"{source}: [invented] {key}: unknown key; known: {', '.join(defaults)}")
        expected = type(defaults[key])
        if not (type(value) is expected or (expected is float and type(value) is int)):
            raise BadRequest(f"{source}: [invented] {key} = {value!r}: expected {expected.__name__}")
    try:
        return Invented(**table)
    except ValueError as problem:
        raise BadRequest(f"{source}: [invented] {problem}") from None


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file. BadRequest names the file, the step and the key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise BadRequest(f"{path}: cannot be read: {problem.strerror}") from None
    return parse_scenario(text, str(path))
