"""docs/architecture.md names every module where it stands, and no module that is not there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
ROOMS = {
    folder.relative_to(ROOT).as_posix(): {file.name for file in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
    for package in ("pumpd", "drivers", "simulator")
    for folder in (ROOT / package, *(ROOT / package).iterdir())
    if folder.is_dir() and any(folder.glob("*.py"))
}


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_is_named_in_its_room(room: str) -> None:
    found = re.search(rf"^### {re.escape(room)}(?::[^\n]*)?$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section for {room}"
    assert set(re.findall(r"^\| `(\w+\.py)` \| \S", found[1], re.MULTILINE)) == ROOMS[room]


def test_files_named_in_the_text_exist() -> None:
    named = re.findall(r"`((?:pumpd|drivers|simulator|tests)/[\w/.]+\.py)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []
