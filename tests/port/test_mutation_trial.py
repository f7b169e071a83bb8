"""Mutations of a small module are tried for real: processes are forked, tests run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = """
LIMIT = 3

def small(value):
    return value <= LIMIT

def count(value):
    while value > 0:
        value -= 1
    return value

def unseen(value):
    return value + 1
"""
TESTS = """
import toy

def test_small():
    assert toy.small(3)
    assert not toy.small(4)

def test_count():
    assert toy.count(2) == 0
"""
TRIAL = """
import json, sys
from pathlib import Path
from tests.mutants.operators import mutations
from tests.mutants.trial import Job, measure, try_cold, try_warm

path = str(Path("toy.py").resolve())
found = mutations("toy", path, Path("toy.py").read_text())
coverage = measure("tests", None, frozenset({path}))
warm = [Job(each, tuple(coverage.of(each)), 1.0) for each in found if each.chain]
cold = [Job(each, tuple(coverage.seconds), 5.0) for each in found if not each.chain]
tried = [*try_warm(warm, "tests", frozenset({path}), 2), *try_cold(cold, 1)]
print(json.dumps({"failing": coverage.failing} | {name: verdict.outcome for name, verdict in tried}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "toy.py").write_text(MODULE)
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    return tmp_path


def _try(project: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(project)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", TRIAL], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_what_a_test_notices_is_killed_and_what_none_does_survives(project: Path) -> None:
    done = _try(project)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts["toy.small: value <= LIMIT => value < LIMIT"] == "killed"
    assert verdicts["toy.count: value -= 1 => nothing"] == "timed out"
    assert verdicts["toy.(module): LIMIT = 3 => LIMIT = 4"] == "killed"  # runs at import
    assert verdicts["toy.unseen: value + 1 => value - 1"] == "survived"


def test_nothing_is_judged_by_tests_that_fail_anyway(project: Path) -> None:
    (project / "tests" / "test_toy.py").write_text(TESTS + "\ndef test_wrong():\n    assert toy.unseen(1) == 3\n")
    done = _try(project)
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout)
    assert verdicts["failing"] == ["tests/test_toy.py::test_wrong"]
    assert verdicts["toy.unseen: value + 1 => value - 1"] == "survived"
    assert verdicts["toy.small: value <= LIMIT => value < LIMIT"] == "killed"
