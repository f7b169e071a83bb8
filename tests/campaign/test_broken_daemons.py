"""The watchers watched: each daemon that is broken on purpose is caught, by a rule that is meant for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.campaign.broken_daemons import DAEMONS, BrokenDaemon, caught
from tests.campaign.random_sessions import quiet
from tests.campaign.verdicts import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "campaigns.md").read_text(encoding="utf-8")
QUICK = [daemon for daemon in DAEMONS if not daemon.long]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    quiet()
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("daemon", QUICK, ids=lambda daemon: daemon.name)
def test_it_is_caught(daemon: BrokenDaemon) -> None:
    found = caught(daemon, 1)
    assert found is not None, f"nothing noticed within {daemon.within} seeds"
    assert found[1] in daemon.rules, found


def test_each_rule_has_a_daemon_that_breaks_it() -> None:
    assert {rule for daemon in DAEMONS for rule in daemon.rules} == set(RULES)


@pytest.mark.parametrize("daemon", DAEMONS, ids=lambda daemon: daemon.name)
def test_the_page_names_it_and_what_catches_it(daemon: BrokenDaemon) -> None:
    assert f"| {daemon.name} | {', '.join(daemon.rules)} | {daemon.within} |" in PAGE


@pytest.mark.parametrize("rule", RULES)
def test_the_page_has_each_rule(rule: str) -> None:
    assert f"\n| {rule} | " in PAGE
