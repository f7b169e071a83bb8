"""What shows what: the rows of docs/safety/*.toml and of the alarm catalogue, and the tests whose markers name them.

A test says what it shows with `@pytest.mark.shows("S5", "H11", "raised:no_flow")`. The kinds of ids:

* `S5`: a rule, `H11`: a hazard of the table, `risk:...`: what software cannot see;
* `raised:<alarm>`: it is raised; `over:<alarm>`: it goes with its cause, or stands latched until a person resets it;
* `within:<constant>` and `beyond:<constant>`: the two sides of a figure.

The markers are read from the source, without importing a test.
"""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pumpd.core.catalogue import CATALOGUE
from pumpd.units import Quantity

ROOT = Path(__file__).parent.parent
DATA = ROOT / "docs" / "safety"
STATUSES = ("met", "in part", "not yet", "not ours")


class Test(NamedTuple):
    """One test function or class, as its file and its name."""

    path: str
    name: str


class UnknownId(ValueError):
    """A marker names a row that does not exist; the text says which and where."""


@cache
def table(name: str) -> dict[str, dict[str, Any]]:
    """One of the tables under docs/safety: id -> its fields."""
    return tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Figure:
    """A named constant, its value as the code has it now, and why."""

    path: str
    value: str
    why: str

    @property
    def name(self) -> str:
        """The last part of its path, by which markers call it."""
        return self.path.rpartition(".")[2]


@cache
def figures() -> tuple[Figure, ...]:
    """All figures of docs/safety/figures.toml. Raises AttributeError where the code has no such constant."""
    return tuple(Figure(path, value_of(path), row["why"]) for path, row in table("figures").items())


def value_of(path: str) -> str:
    """The value of a constant, or of a field's default, as text."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[part].default if part in fields else getattr(found, part)
        return str(found.value if isinstance(found, Quantity) else found)
    raise AttributeError(f"no module of {path} can be imported")


@cache
def ids() -> frozenset[str]:
    """Every id that a marker may name."""
    rows = {*table("rules"), *table("hazards"), *(f"risk:{name}" for name in table("risks"))}
    alarms = {f"{kind}:{code}" for code in CATALOGUE for kind in ("raised", "over")}
    sides = {f"{side}:{figure.name}" for figure in figures() for side in ("within", "beyond")}
    return frozenset(rows | alarms | sides)


def to_be_shown() -> frozenset[str]:
    """Every id that needs a live test: all but the hazards that are not met, or not ours."""
    open_ones = {key for key, row in table("hazards").items() if row["status"] in ("not yet", "not ours")}
    unshown = {f"risk:{name}" for name, row in table("risks").items() if "why_no_test" in row}
    one_sided = {f"{side}:{path.rpartition('.')[2]}" for path, row in table("figures").items() for side in sides(row)}
    return frozenset(ids() - open_ones - unshown - one_sided)


def sides(figure: dict[str, Any]) -> tuple[str, ...]:
    """The sides of a figure for which there is a reason not to test them."""
    return tuple(side for side in ("within", "beyond") if f"why_not_{side}" in figure)


@cache
def shown() -> dict[str, tuple[Test, ...]]:
    """Each id, and the tests whose markers name it, in the order of files and lines. Raises UnknownId."""
    found: dict[str, list[Test]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        where = path.relative_to(ROOT).as_posix()
        for name, marked in markers_in(path.read_text(encoding="utf-8")):
            for each in marked:
                if each not in ids():
                    raise UnknownId(f"{where}::{name} shows {each!r}, and no row has that id")
                found.setdefault(each, []).append(Test(where, name))
    return {key: tuple(tests) for key, tests in found.items()}


def markers_in(source: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name of each marked test of a file, function, method or whole class, and what it shows."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        marked = tuple(each for decorator in node.decorator_list for each in _shows(decorator))
        if marked:
            yield node.name, marked


def _shows(decorator: ast.expr) -> list[str]:
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.shows":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]
