"""The demo from end to end: a whole session, faster, over a real port and a real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(150)
DEMO = [sys.executable, "-m", "pumpd.cli", "demo"]


def in_folder(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "COLUMNS": "80"}


def test_the_demo_gives_the_plan_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--speed", "120"], capture_output=True, text=True, check=False, env=in_folder(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "✓ planned",
        "✓ armed",
        "✓ started",
        "✓ ended",
        "plan, belief and truth agree",
        "no alarm was raised but the one that the end is near",
    ):
        assert words in done.stdout
    assert "no certified medical device" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


@pytest.fixture
def _heeding_ctrl_c() -> Iterator[None]:
    """A shell that runs the tests in its background has them ignore it, and what they start with them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeding_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_demo_with_all_its_children(number: signal.Signals, tmp_path: Path) -> None:
    demo = subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=in_folder(tmp_path), start_new_session=True
    )
    assert demo.stdout is not None
    said = b""
    while "✓ started".encode() not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    children = children_of(demo.pid)
    assert len(children) >= 2  # simulator, daemon, its broker
    os.kill(demo.pid, number)
    said += demo.stdout.read()
    demo.wait(30)
    demo.stdout.close()
    assert demo.returncode == 130
    assert b"Traceback" not in said
    deadline = time.monotonic() + 10
    while any(alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def children_of(pid: int) -> list[int]:
    """Children and their children: simulator, daemon, broker."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in told] + [below for child in told for below in children_of(int(child))]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_speed_at_which_polls_would_be_too_far_apart_is_wrong_usage() -> None:
    done = subprocess.run([*DEMO, "--speed", "600"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "120" in done.stderr
