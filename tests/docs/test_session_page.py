"""docs/session.md shows the session's table and the alarm catalogue as the code has them now."""

from __future__ import annotations

from pumpd.core.catalogue import CATALOGUE
from pumpd.core.state import Phase
from scripts.generate_docs import ALARMS, OF_ALARMS, PAGE, fresh

TEXT = PAGE.read_text(encoding="utf-8")


def test_its_generated_parts_are_fresh() -> None:
    assert fresh(TEXT) == TEXT, "run .venv/bin/python scripts/generate_docs.py"


def test_the_catalogue_on_the_page_of_alarms_is_fresh() -> None:
    text = ALARMS.read_text(encoding="utf-8")
    assert fresh(text, OF_ALARMS) == text, "run .venv/bin/python scripts/generate_docs.py"
    assert [code for code in CATALOGUE if f"| `{code}` |" not in text] == []


def test_a_changed_part_would_be_noticed() -> None:
    changed = TEXT.replace("planned --> armed", "planned --> running")
    assert changed != TEXT
    assert fresh(changed) == TEXT


def test_every_phase_and_every_alarm_is_there() -> None:
    assert [phase for phase in Phase if f"| **{phase.value}** |" not in TEXT] == []
    assert [code for code in CATALOGUE if f"| `{code}` |" not in TEXT] == []
