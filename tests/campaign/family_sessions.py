"""Random sessions on each controllable family but New Era, at one bed, under the same fire and the same rules."""

from __future__ import annotations

from tests.campaign import random_sessions
from tests.campaign.kinds import CONTROLLED

FAMILIES = tuple(family for family in CONTROLLED if family != "newera")


def campaign(seed: int, seeds: int) -> bool:
    """`seeds` sessions of each family."""
    return random_sessions.campaign(seed, seeds, FAMILIES)
