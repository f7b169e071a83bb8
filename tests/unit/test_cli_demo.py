"""When the demo says that all is well, and when it does not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pumpd.commands.account import Account


def account(
    *, counted: str = "34.97", integrated: str = "34.98", moved: str = "34.975", phase: str = "observing"
) -> Account:
    return Account(
        {"volume_ml": Decimal(35), "concentration_mg_ml": Decimal(1), "phase": phase},
        {"counted by the pump": Decimal(counted), "integrated by pumpd": Decimal(integrated)},
        {"plunger_ml": Decimal(moved), "patient_ml": Decimal(moved)},
    )


def test_figures_within_one_per_cent_agree() -> None:
    assert account().agrees
    assert "agree" in account().verdict().plain
    assert account(moved="35", counted="34.651").agrees  # 0.997 %


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"counted": "34.5", "moved": "34.9"}, "counted by the pump is -1.14% from the truth"),
        ({"integrated": "35.4", "moved": "35"}, "integrated by pumpd is +1.14% from the truth"),
        ({"moved": "35.001"}, "more was given than planned"),
        ({"counted": "34", "integrated": "34", "moved": "34"}, "less was given than planned"),
        ({"phase": "aborted"}, "aborted"),
    ],
)
def test_any_disagreement_is_named_and_fails(wrong: dict[str, str], words: str) -> None:
    assert not account(**wrong).agrees
    assert words in account(**wrong).verdict().plain
