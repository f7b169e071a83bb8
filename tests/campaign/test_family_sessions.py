"""A small fixed part of the campaign of the families; the whole of it is `python -m tests.campaign --only families`."""

from __future__ import annotations

import pytest

from tests.campaign.family_sessions import FAMILIES, play


@pytest.mark.shows("S2", "S5", "S7")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_random_session_of_the_family_breaks_no_rule(family: str, seed: int) -> None:
    figures = play(seed, family)
    assert figures.sums["sessions"] == 1
