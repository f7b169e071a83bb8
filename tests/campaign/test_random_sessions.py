"""Beds under random fire: a few fixed seeds always, as many as one likes with `make campaign` (docs/campaigns.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from pumpd.testing import VirtualLoop
from tests.campaign.family_sessions import FAMILIES
from tests.campaign.random_sessions import Run, quiet
from tests.conftest import seed

FEW = 8  # seeds in the ordinary suite: some 12 s
FEW_OF_EACH = 4  # of each other family: some 16 s


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


@pytest.mark.shows("S1", "S2", "S5", "S7")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(seed(), seed() + FEW_OF_EACH))
async def test_no_rule_of_safety_is_broken_with_another_family(family: str, number: int, tmp_path: Path) -> None:
    run = Run(number, tmp_path, family=family)
    await run.run()
    assert run.figures.sums["starts and raised rates on the wire"] + run.figures.sums["sessions"] >= 1


def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    stories = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            stories.append(runner.run(story(seed(), tmp_path / name)))
    assert len(stories[0]) > 50
    assert stories[0] == stories[1]


async def story(number: int, folder: Path) -> list[str]:
    run = Run(number, folder)
    await run.run()
    return run.story
