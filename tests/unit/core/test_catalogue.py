"""The alarm catalogue: complete, ranked as the safety rules say, and each row says why and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pumpd.core
from pumpd.core.catalogue import CATALOGUE, HIGH, MEDIUM, PATIENT, RANK, TECHNICAL, WARNINGS
from pumpd.core.delivery import APART
from pumpd.core.sight import POWER_LOST
from pumpd.core.taken import WHY_IT_STOOD
from pumpd.core.turn import PRESSURE_ALARMS

DOCS = Path(__file__).parents[3] / "docs"


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def named_in_the_program() -> set[str]:
    """Every code that some module raises, clears or notes by a literal."""
    found: set[str] = set()
    for path in Path(pumpd.core.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text())
        for call in calls(tree, "alarm", "clear", "note", "happened", "_latch_everywhere", "Raise", "Clear"):
            found |= {each.value for each in call.args if isinstance(each, ast.Constant) and type(each.value) is str}
    return found - {"pump-1"}


def test_every_code_that_is_raised_stands_in_the_catalogue() -> None:
    named = named_in_the_program()
    assert {"rate_above_plan", "comms_lost_pump", "journal_unavailable"} <= named, "the search finds them"
    listed = {code for *_, code in APART} | {POWER_LOST, *WHY_IT_STOOD}
    assert (named | listed) - set(CATALOGUE) == set()


@pytest.mark.shows("H14")
def test_every_alarm_a_driver_may_tell_stands_in_the_catalogue() -> None:
    drivers = list(entry_points(group="pumpd.drivers"))
    assert drivers
    for point in drivers:
        told = point.load().open({}).capabilities.alarms
        assert set(told) <= set(CATALOGUE), point.name
        assert all(CATALOGUE[code].latching for code in told if code not in WARNINGS), (
            "an alarm of the pump is not gone because it was read"
        )


@pytest.mark.shows("H14", "H21")
def test_every_entry_says_what_to_do() -> None:
    for code, entry in CATALOGUE.items():
        assert entry.priority in RANK
        assert entry.kind in (PATIENT, TECHNICAL)
        assert entry.text
        assert not entry.text.endswith(".")
        for sentence in (entry.action, entry.cause):
            assert sentence.endswith("."), f"{code}: a person who hears it must know why, and what to do"


def test_every_entry_names_rules_and_requirements_that_the_pages_have() -> None:
    rules = set(re.findall(r"\bS\d+\b", (DOCS / "safety.md").read_text(encoding="utf-8")))
    facts = (DOCS / "clinical.md").read_text(encoding="utf-8").partition("## Alarms")[2]
    requirements, events = set(re.findall(r"R\d\.\d\.\d\(\d+\)", facts)), set(re.findall(r"\b\d{6}\b", facts))
    for code, entry in CATALOGUE.items():
        named = re.findall(r"S\d+|R[\d.]+\(\d+\)", entry.source)
        assert ", ".join(named) == entry.source.replace(";", ","), f"{code}: nothing else stands in a source"
        assert set(named) <= rules | requirements, code
        assert entry.mdc is None or str(entry.mdc) in events, code


@pytest.mark.shows("H18")
@pytest.mark.parametrize(
    ("code", "priority", "latching"),
    [
        ("stop_not_confirmed", HIGH, True),
        ("comms_lost_pump", HIGH, True),
        ("rate_above_plan", HIGH, True),
        ("unplanned_function", HIGH, True),
        ("infusing_against_plan", HIGH, True),
        ("pump_not_proved", HIGH, True),
        ("stopped_at_pump", HIGH, False),
        ("restarted_at_keypad", MEDIUM, True),
        ("infusing_after_release", MEDIUM, False),
        ("infusing_unknown_session", HIGH, False),
        ("volumes_apart", MEDIUM, False),
        ("volumes_far_apart", HIGH, True),
        ("journal_unavailable", HIGH, False),
    ],
)
def test_priorities_are_those_of_the_safety_rules(code: str, priority: str, latching: bool) -> None:
    assert (CATALOGUE[code].priority, CATALOGUE[code].latching) == (priority, latching)


def test_pressure_alarms_are_alarms() -> None:
    known = set(CATALOGUE)
    assert known & PRESSURE_ALARMS
