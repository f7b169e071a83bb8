"""docs/safety.md is made of the code, of docs/safety/*.toml and of what tests say they show; and each row is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.core.catalogue import CATALOGUE
from scripts import evidence
from scripts.generate_docs import SAFETY, fresh
from scripts.safety_page import PARTS
from tests.docs.pages import ROOT

PAGE = SAFETY.read_text(encoding="utf-8")
RULES, HAZARDS, RISKS = evidence.table("rules"), evidence.table("hazards"), evidence.table("risks")


def test_the_page_is_fresh() -> None:
    assert fresh(PAGE, PARTS) == PAGE, "run .venv/bin/python scripts/generate_docs.py"


def test_all_rules_hazards_and_alarms_are_there() -> None:
    assert list(RULES) == [f"S{number}" for number in range(1, 17)]
    assert list(HAZARDS) == [f"H{number}" for number in range(1, 65)]
    assert set(evidence.table("alarms")) == set(CATALOGUE), "docs/safety/alarms.toml: what becomes of the pump"


@pytest.mark.parametrize("number", HAZARDS)
def test_a_hazard_says_how_it_is_met_or_what_is_missing(number: str) -> None:
    row = HAZARDS[number]
    assert row["status"] in evidence.STATUSES
    assert ("how" in row) is (row["status"] in ("met", "in part"))
    assert ("missing" in row) is (row["status"] != "met")
    assert row["source"]
    assert row["requirement"]


@pytest.mark.parametrize("risk", RISKS)
def test_a_risk_says_how_the_clinic_covers_it(risk: str) -> None:
    assert {"title", "text", "clinic"} <= set(RISKS[risk])


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_kept_by_modules_that_exist(rule: str) -> None:
    modules = re.findall(r"`([\w/]+\.py)`(?:\s\(([\w, ]+)\))?", RULES[rule]["kept_by"])
    assert modules
    for path, words in modules:
        text = (ROOT / path).read_text(encoding="utf-8")
        missing = [word for word in words.split(", ") if word.startswith("_") and word not in text]
        assert missing == [], f"{path} has no {missing}"


def test_the_checklist_is_the_one_that_is_asked() -> None:
    arming = PAGE.split("## Arming")[1].split("## ")[0]
    assert [item for item in CHECKLIST if f"`{item}`" not in arming] == []


# --- the markers ---


def test_a_marker_that_names_no_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evidence.shown(), "no marker of the suite names an unknown row"
    monkeypatch.setattr(evidence, "markers_in", lambda _: iter([("test_wishful", ("S17",))]))
    with pytest.raises(evidence.UnknownId, match=r"test_wishful shows 'S17'"):
        evidence.shown.__wrapped__()


def test_markers_of_functions_and_classes_are_read() -> None:
    source = """
@pytest.mark.parametrize("a", [1])
@pytest.mark.shows("S1", "H2")
async def test_one(a): ...
@pytest.mark.shows("S3")
class TestTwo: ...
def test_three(): ...
"""
    assert list(evidence.markers_in(source)) == [("test_one", ("S1", "H2")), ("TestTwo", ("S3",))]


# --- each row has a live test ---


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `make test` collects: each test with what it shows, and whether nothing can skip it."""
    file = tmp_path_factory.mktemp("evidence") / "collected.json"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "tests.evidence", "--evidence-to", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(file.read_text())
    return found


@pytest.mark.timeout(300)
def test_each_row_is_shown_by_a_test_that_runs_and_cannot_be_skipped(collected: list[dict[str, Any]]) -> None:
    live = {each for test in collected if test["sure"] for each in test["shows"]}
    assert sorted(evidence.to_be_shown() - live) == []


@pytest.mark.timeout(300)
def test_the_markers_that_are_read_are_those_that_run(collected: list[dict[str, Any]]) -> None:
    running = {(test["path"], each) for test in collected for each in test["shows"]}
    read = {(test.path, each) for each, tests in evidence.shown().items() for test in tests}
    assert read == running


def test_a_row_that_need_not_be_shown_says_why() -> None:
    reasons = {name: [key for key in row if key.startswith("why_no")] for name, row in RISKS.items()}
    unshown = [f"risk:{name}" for name, reason in reasons.items() if reason]
    assert [each for each in unshown if each in evidence.shown()] == [], "it has a test after all"
    for path, row in evidence.table("figures").items():
        for side in evidence.sides(row):
            assert f"{side}:{path.rpartition('.')[2]}" not in evidence.shown(), "it has a test after all"


HALF_WAY = """
import pytest
@pytest.mark.shows("S1")
def test_that_shows(): {how}
def test_that_shows_nothing(): pytest.skip("no disk")
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["pytest.skip('no disk')", "pytest.xfail('some day')"])
def test_what_shows_a_row_may_not_be_skipped_half_way(how: str, tmp_path: Path) -> None:
    file = tmp_path / "test_half_way.py"
    file.write_text(HALF_WAY.format(how=how))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 failed, 1 skipped" in done.stdout, done.stdout + done.stderr
