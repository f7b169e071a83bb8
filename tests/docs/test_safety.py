"""docs/safety.md: each rule is shown by tests that exist and kept by code that exists; each figure is the code's."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.units import Quantity
from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "safety.md").read_text(encoding="utf-8")
RULES = dict(re.findall(r"^### (S\d+) [A-Z-]+\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
FIGURES = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", PAGE, re.MULTILINE)


def test_all_sixteen_rules_are_there() -> None:
    assert list(RULES) == [f"S{number}" for number in range(1, 17)]


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {node.name for node in functions}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_shown_by_tests_that_exist(rule: str) -> None:
    named = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", RULES[rule], re.MULTILINE)
    assert named, f"{rule} names no test"
    assert len(named) == RULES[rule].count("\n- "), "a line that names no test"
    assert [f"{path}::{test}" for path, test in named if test not in names_in(path)] == []


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_which_modules_keep_it(rule: str) -> None:
    kept = re.search(r"^Kept by: (.*)$", RULES[rule], re.MULTILINE)
    assert kept is not None
    modules = re.findall(r"`([\w/]+\.py)`(?: \(([\w, ]+)\))?", kept[1])
    assert modules
    for path, words in modules:
        text = (ROOT / path).read_text(encoding="utf-8")
        missing = [word for word in words.split(", ") if word.startswith("_") and word not in text]
        assert missing == [], f"{path} has no {missing}"


def value_of(path: str) -> Any:
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[part].default if part in fields else getattr(found, part)
        return found
    raise AssertionError(f"no module of {path} can be imported")


@pytest.mark.parametrize(("path", "written"), FIGURES, ids=[path for path, _ in FIGURES])
def test_a_figure_is_the_one_in_the_code(path: str, written: str) -> None:
    value = value_of(path)
    plain = value.value if isinstance(value, Quantity) else value
    assert str(plain) == written


def test_the_figures_were_found() -> None:
    assert len(FIGURES) >= 30


def test_the_checklist_is_the_one_that_is_asked() -> None:
    arming = PAGE.split("## Arming")[1].split("## ")[0]
    assert [item for item in CHECKLIST if f"`{item}`" not in arming] == []
