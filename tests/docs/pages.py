"""All Markdown pages of the repository, and what is quoted in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
COMMAND = re.compile(r"(?:\S*/)?(pumpd-sim|pumpd|make)\b(.*)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """Without fenced and indented code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4,}.*$", "", text, flags=re.MULTILINE)


def commands_in(text: str) -> list[str]:
    """Lines of code and quoted words that start with one of our programs or make."""
    lines = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    for block in re.findall(r"^```(?:sh|console)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines += block.splitlines()
    quoted = re.findall(r"`([^`\n]+)`", prose(text))
    found = [match for line in (*lines, *quoted) if (match := COMMAND.fullmatch(line.strip()))]
    return [f"{match[1]}{match[2]}".strip() for match in found]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
