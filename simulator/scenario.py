"""Timed scripts in TOML, and the vocabulary they share with the back door.

A step is a request with a time: `at_s` in session seconds, counted from power-on or from the first infusion.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator.families import FAMILIES, family_named
from simulator.family import AnyInvented, Family
from simulator.faults import Fault
from simulator.requests import ACTIONS, Action, BadRequest, Value

DEFAULT_FAMILY = "newera"
KEYS = ("description", "family", "zero", "invented", "step")
ZEROS = ("power-on", "first-run")


@cache
def actions_of(name: str) -> dict[str, Action]:
    """All that may be asked of a pump of this family."""
    family = family_named(name)
    press = Action({"key": Value("a key", choices=family.keys)})
    return {**ACTIONS, "press": press, **family.actions}


def check(request: Mapping[str, Any], family: str = DEFAULT_FAMILY, *, timed: bool = False) -> None:
    """Raise BadRequest, naming the key and what was expected, unless a pump of the family understands the request."""
    name = request.get("do")
    actions = actions_of(family)
    if not isinstance(name, str) or name not in actions:
        if any(name in other.actions for other in FAMILIES.values()):
            raise BadRequest(f"{name}: a {family} pump has no such thing")
        raise BadRequest(f"do = {name!r}: expected one of {', '.join(actions)}")
    action = actions[name]
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
    invented: AnyInvented | None = None  # None: as the family's documents are read by default
    family: str | None = None  # whose words it speaks; None: a script without steps is anybody's


def parse_scenario(text: str, source: str = "scenario", family: str | None = None) -> Scenario:
    """Read a scenario for a family from TOML text. BadRequest names the source, the step and the key.

    A script may name its family itself; without, it is read for the one that is given, or for New Era.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadRequest(f"{source}: not TOML: {problem}") from None
    unknown = set(raw) - {*KEYS}
    if unknown:
        raise BadRequest(f"{source}: {sorted(unknown)[0]}: unknown key; known: {', '.join(KEYS)}")
    if (own := raw.get("family", family or DEFAULT_FAMILY)) not in FAMILIES:
        raise BadRequest(f"{source}: family = {own!r}: expected one of {', '.join(FAMILIES)}")
    if family not in (None, own):
        raise BadRequest(f"{source}: family = {own!r}: it is written for another family than {family}")
    kind = FAMILIES[own]
    if (zero := raw.get("zero", "power-on")) not in ZEROS:
        raise BadRequest(f"{source}: zero = {zero!r}: expected one of {', '.join(ZEROS)}")
    steps = raw.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise BadRequest(f"{source}: step: expected [[step]] tables")
    for number, step in enumerate(steps, 1):
        try:
            check(step, kind.name, timed=True)
        except BadRequest as problem:
            raise BadRequest(f"{source}: step {number}: {problem}") from None
    return Scenario(
        tuple(sorted(steps, key=lambda step: float(step["at_s"]))),
        zero,
        str(raw.get("description", "")),
        _invented(raw["invented"], source, kind) if "invented" in raw else None,
        kind.name,
    )


def _invented(table: object, source: str, family: Family) -> AnyInvented:
    if not isinstance(table, dict):
        raise BadRequest(f"{source}: invented: expected a table [invented]")
    defaults = dataclasses.asdict(family.invented())
    for key, value in table.items():
        if key not in defaults:
            raise BadRequest(f"{source}: [invented] {key}: unknown key; known: {', '.join(defaults)}")
        expected = type(defaults[key])
        if not (type(value) is expected or (expected is float and type(value) is int)):
            raise BadRequest(f"{source}: [invented] {key} = {value!r}: expected {expected.__name__}")
    try:
        return family.invented(**table)
    except ValueError as problem:
        raise BadRequest(f"{source}: [invented] {problem}") from None


def load_scenario(path: str | Path, family: str | None = None) -> Scenario:
    """Read a scenario file for a family. BadRequest names the file, the step and the key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise BadRequest(f"{path}: cannot be read: {problem.strerror}") from None
    return parse_scenario(text, str(path), family)
