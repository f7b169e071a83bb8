"""Each import rule of pyproject.toml is seen to break: a rule that nothing can break protects nobody."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
BREAKS = {  # contract: (module, a line that must not stand there)
    "simulator imports neither": ("simulator/physics.py", "from drivers import newera"),
    "the simulator around": ("simulator/device.py", "from simulator.families.newera_panel import Panel"),
    "drivers import only": ("drivers/newera.py", "from pumpd.core import limits"),
    "pumpd never imports": ("pumpd/clock.py", "import simulator.physics"),
    "the core decides": ("pumpd/core/plan.py", "import time"),
    "only pumpd.messaging": ("pumpd/records/journal.py", "import aiomqtt"),
    "only pumpd.line.ports": ("drivers/newera.py", "import serial"),
}
INDIRECT = {
    "simulator imports neither": ("simulator/physics.py", "from pumpd import units"),
    "the core decides": (
        "pumpd/core/limits.py",
        "from pumpd.records import record",
    ),  # a pure module that reaches cattrs by another
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("pumpd", "drivers", "simulator"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_in(folder: Path) -> list[str]:
    """The names of the broken contracts."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    env = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "300"}  # wide: a folded name is hard to find
    run = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True)
    broken = re.findall(r"^(.*) BROKEN", run.stdout, re.MULTILINE)
    kept = re.findall(r"^(.*) KEPT", run.stdout, re.MULTILINE)
    assert len(broken) + len(kept) == len(CONTRACTS), run.stdout + run.stderr
    assert (run.returncode != 0) == bool(broken)
    return broken


def test_every_contract_has_a_line_that_breaks_it() -> None:
    names = [contract["name"] for contract in CONTRACTS]
    assert [name for name in names if not name.startswith(tuple(BREAKS))] == []
    assert len(names) == len(BREAKS)


@pytest.mark.shows("H49")
def test_the_code_as_it_stands_keeps_them_all(copy: Path) -> None:
    assert broken_in(copy) == []


@pytest.mark.parametrize(
    ("start", "module", "line"), [(k, *v) for table in (BREAKS, INDIRECT) for k, v in table.items()]
)
def test_one_offending_line_breaks_its_contract_and_no_other(copy: Path, start: str, module: str, line: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\n{line}\n")
    (name,) = broken_in(copy)
    assert name.startswith(start)
