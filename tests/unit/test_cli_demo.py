"""When the demo says that all is well, and when it does not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pumpd.commands.account import Account


def account(
    *,
    counted: str = "34.97",
    integrated: str = "34.98",
    moved: str = "34.975",
    phase: str = "observing",
    unseen: str = "0",
) -> Account:
    return Account(
        {"volume_ml": Decimal(35), "concentration_mg_ml": Decimal(1), "phase": phase},
        Decimal(counted),
        Decimal(integrated),
        {"plunger_ml": Decimal(moved), "patient_ml": Decimal(moved)},
        Decimal(unseen),
    )


def test_figures_within_one_per_cent_agree() -> None:
    assert account().agrees
    assert "agree" in account().verdict().plain
    assert account(moved="35", counted="34.651").agrees  # 0.997 %


def test_the_most_it_can_have_been_may_be_above_by_what_nobody_saw_and_never_below() -> None:
    assert account(integrated="35.4", moved="35", unseen="0.1").agrees
    assert not account(integrated="35.46", moved="35", unseen="0.1").agrees
    assert not account(counted="35", integrated="34.6", moved="35", unseen="0.1").agrees
    assert not account(counted="35.4", moved="35", unseen="0.1").agrees


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"counted": "34.5", "moved": "34.9"}, "counted by the pump is -1.14% from the truth"),
        ({"integrated": "35.4", "moved": "35"}, "integrated by pumpd, at most is +1.14% from the truth"),
        ({"moved": "35.001"}, "more was given than planned"),
        ({"counted": "34", "integrated": "34", "moved": "34"}, "less was given than planned"),
        ({"phase": "aborted"}, "aborted"),
    ],
)
def test_any_disagreement_is_named_and_fails(wrong: dict[str, str], words: str) -> None:
    assert not account(**wrong).agrees
    assert words in account(**wrong).verdict().plain
