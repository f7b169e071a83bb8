"""The example driver as a third party would ship it: built, installed, found, run; and one that is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "acme_pump"
PATIENCE_S = 150
BROKEN = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "acme-older-pump"
version = "1.0"

[project.entry-points."pumpd.drivers"]
acme-older = "acme_older:DRIVER"

[tool.hatch.build.targets.wheel]
only-include = ["acme_older.py"]
"""
STATION = """\
[station]
id = "here"
data_dir = "{folder}"

[bed.one]
pump = {{ driver = "{driver}", port = "/dev/serial/by-id/acme", laboratory = true }}
"""

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(200)]


def python(*arguments: str, beside: Path | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with what is installed in `beside` on its path."""
    path = {} if beside is None else {"PYTHONPATH": str(beside)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def installed(project: Path, folder: Path, target: Path) -> None:
    """Build a wheel of the project and install it, without any network."""
    quiet = ("-m", "pip", "--disable-pip-version-check", "--no-input", "-q")
    built = python(
        *quiet, "wheel", str(project), "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), cwd=folder
    )
    assert built.returncode == 0, built.stderr
    wheels = [str(wheel) for wheel in folder.glob("*.whl")]
    done = python(*quiet, "install", *wheels, "--no-deps", "--no-index", "--upgrade", "--target", str(target))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed, and a sibling of it whose module cannot be imported."""
    work, target = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("site")
    example = work / "acme"
    shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns("__pycache__"))
    sibling = work / "older"
    sibling.mkdir()
    (sibling / "pyproject.toml").write_text(BROKEN)
    (sibling / "acme_older.py").write_text("from acme_pump import DRIVER_OF_LAST_YEAR as DRIVER\n")
    for project in (example, sibling):
        wheels = work / f"{project.name}-wheels"
        wheels.mkdir()
        installed(project, wheels, target)
    return target


def test_it_is_listed_and_the_broken_one_is_named_and_skipped(site: Path) -> None:
    listed = python("-m", "pumpd.cli", "drivers", beside=site)
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["acme", "Acme", "D1"] in rows
    assert any({"acme", "newera", "zyno"} <= set(row) for row in rows), "it has a column beside the others"
    assert (
        "acme-older: broken: acme_older:DRIVER: ImportError: cannot import name 'DRIVER_OF_LAST_YEAR'" in listed.stderr
    )
    assert "acme-older" not in listed.stdout
    assert listed.returncode == 1


def test_the_installed_one_passes_its_own_tests(site: Path, tmp_path: Path) -> None:
    """A whole session among them. The driver itself is not beside the tests, so it is the installed one."""
    for name in ("test_acme_pump.py", "acme_device.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    passed = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", ".",
        "-W", "ignore", beside=site, cwd=tmp_path,
    )  # fmt: skip
    assert passed.returncode == 0, passed.stdout
    assert "1 skipped" in passed.stdout, "all but what is asked of pumps that are only watched"


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_configured_pump_whose_driver_failed_is_a_clear_error(site: Path, tmp_path: Path, command: str) -> None:
    file = tmp_path / "station.toml"
    file.write_text(STATION.format(folder=tmp_path, driver="acme-older"))
    arguments = ("--config", str(file)) if command == "run" else (str(file),)
    refused = python("-m", "pumpd.cli", command, *arguments, beside=site)
    assert refused.returncode != 0
    assert (
        '[bed.one.pump] driver = "acme-older": it is installed, but cannot be used: acme_older:DRIVER:'
        in refused.stderr
    )
    assert "Traceback" not in refused.stderr


def test_a_configured_pump_whose_driver_works_has_no_problem_though_its_sibling_is_broken(
    site: Path, tmp_path: Path
) -> None:
    file = tmp_path / "station.toml"
    file.write_text(STATION.format(folder=tmp_path, driver="acme"))
    fine = python("-m", "pumpd.cli", "check-config", str(file), beside=site)
    assert fine.returncode == 0, fine.stderr
