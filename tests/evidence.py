"""A plug-in for `pytest --collect-only`: writes down what each collected test shows, and whether it can be skipped.

python -m pytest --collect-only -p tests.evidence --evidence-to FILE
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MAY_BE_SKIPPED = frozenset({"skip", "skipif", "xfail"})
NEEDS_A_TOOL = frozenset({"mosquitto"})  # fixtures that skip where a program is missing


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence-to", type=Path, required=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    tests = [
        {
            "path": Path(item.path).relative_to(session.config.rootpath).as_posix(),
            "shows": [each for mark in item.iter_markers("shows") for each in mark.args],
            "sure": not may_be_skipped(item),
        }
        for item in session.items
    ]
    session.config.getoption("--evidence-to").write_text(json.dumps(tests), encoding="utf-8")


def may_be_skipped(item: pytest.Item) -> bool:
    named = {mark.name for mark in item.iter_markers()}
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(named & MAY_BE_SKIPPED or fixtures & NEEDS_A_TOOL)
