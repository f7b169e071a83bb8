"""A bed under random fire (tests/scenario/campaign.py): a few fixed seeds always, more on demand.

PUMPD_CAMPAIGN=500 PUMPD_SEED=1000 pytest tests/scenario/test_campaign.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import seed
from tests.scenario.campaign import Campaign

FEW = 4  # seeds of each kind in the ordinary suite: some 10 s
HOW_MANY = int(os.environ.get("PUMPD_CAMPAIGN", FEW))
SEEDS = range(seed(), seed() + HOW_MANY)


@pytest.mark.parametrize("number", SEEDS)
@pytest.mark.parametrize("keypad", [False, True], ids=["nobody at the keypad", "a hand at the keypad"])
async def test_no_rule_of_safety_is_broken(number: int, keypad: bool, tmp_path: Path) -> None:
    print(f"PUMPD_SEED={number}")
    await Campaign(number, tmp_path / "journal.sqlite3", keypad=keypad).run()
