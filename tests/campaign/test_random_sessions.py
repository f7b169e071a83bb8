"""Beds under random fire: a few fixed seeds always, as many as one likes with `make campaign` (docs/campaigns.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.campaign.random_sessions import Run, quiet
from tests.conftest import seed

FEW = 8  # seeds in the ordinary suite: some 12 s


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Tracebacks of poisoned beds, drawn for people, would take most of the time."""
    quiet()
    yield
    structlog.reset_defaults()


@pytest.mark.shows("S1", "S2", "S3", "S5", "S6", "S7", "S10")
@pytest.mark.parametrize("number", range(seed(), seed() + FEW))
async def test_no_rule_of_safety_is_broken(number: int, tmp_path: Path) -> None:
    run = Run(number, tmp_path)
    await run.run()
    assert run.figures.sums["sessions"] >= 1


async def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    stories = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        run = Run(seed(), tmp_path / name)
        await run.run()
        stories.append([line.split(maxsplit=1)[-1] for line in run.story])
    assert stories[0] == stories[1]
