"""The generated parts of docs/safety.md: rules, hazards, alarms, figures and residual risks, each with its tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pumpd.core.catalogue import CATALOGUE, RANK
from scripts.evidence import Test, figures, shown, table

HEADS = {
    "met": ("Met", "| | requirement | how | shown by |"),
    "in part": ("Met in part", "| | requirement | how, and what is missing | shown by |"),
    "not yet": ("Not yet met", "| | requirement | what is missing |"),
    "not ours": ("Not met by choice, or not ours to meet", "| | requirement | why |"),
}


def _said(test: Test) -> str:
    words = test.name.removeprefix("test_").replace("_", " ").strip()
    return f"[{words}](../{test.path})"


def _list(ids: Iterable[str]) -> str:
    """The tests of some ids as a cell of a table, each once."""
    tests = dict.fromkeys(test for each in ids for test in shown().get(each, ()))
    return "<br>".join(_said(test) for test in tests)


def _two(ids: tuple[str, str], words: tuple[str, str], reasons: tuple[str, str] = ("", "")) -> str:
    """Two things to show as one cell: the tests that show both, then those of each alone, or why there is none."""
    first, second = (dict.fromkeys(shown().get(each, ())) for each in ids)
    cells = [_said(test) for test in first if test in second]
    for word, mine, others, reason in zip(words, (first, second), (second, first), reasons, strict=True):
        alone = [_said(test) for test in mine if test not in others]
        cells += [f"{word}: {said}" for said in alone]
        cells += [f"{word}: not tested, {reason}"] if reason else []
    return "<br>".join(cells)


def _rule(width: str) -> str:
    return "|" + "---|" * (width.count("|") - 1)


def summary() -> str:
    """How many rows there are of each kind, and how many tests show something."""
    hazards = [row["status"] for row in table("hazards").values()]
    tests = {test for each in shown().values() for test in each}
    counts = ", ".join(f"{hazards.count(status)} {status}" for status in HEADS)
    return "\n".join(
        [
            "| what | how many | where |",
            "|---|---|---|",
            f"| rules that the program keeps | {len(table('rules'))} | [Rules](#rules) |",
            f"| requirements against hazards | {len(hazards)}: {counts} | [Hazards](#hazards) |",
            f"| alarms | {len(CATALOGUE)} | [Alarms](#alarms) |",
            f"| figures | {len(figures())} | [Figures](#figures) |",
            f"| risks that remain | {len(table('risks'))} | [Residual risks](#residual-risks) |",
            f"| tests that show one of these | {len(tests)} | everywhere below |",
        ]
    )


def rules() -> str:
    """Each rule, who keeps it, and what shows it."""
    parts = []
    for key, row in table("rules").items():
        tests = "\n".join(f"- {_said(test)}" for test in shown().get(key, ()))
        parts.append(f"### {key} {row['name']}\n\n{row['text']}\n\nKept by: {row['kept_by']}.\nShown by:\n\n{tests}")
    return "\n\n".join(parts)


def hazards() -> str:
    """Each requirement, by how far it is met."""
    parts = []
    for status, (title, head) in HEADS.items():
        rows = [_hazard(key, row) for key, row in table("hazards").items() if row["status"] == status]
        if rows:
            parts.append("\n".join([f"### {title}", "", head, _rule(head), *rows]))
    return "\n\n".join(parts)


def _hazard(key: str, row: dict[str, Any]) -> str:
    start = f"| **{key}** {row['source']} | {row['requirement']} |"
    if row["status"] in ("not yet", "not ours"):
        return f"{start} {row['missing']} |"
    how = row["how"] + (f" **Missing:** {row['missing']}" if "missing" in row else "")
    return f"{start} {how} | {_list([key])} |"


def alarms() -> str:
    """Each alarm, the highest priority first."""
    head = "| alarm | cause | the pump then | what to do | shown by |"
    parts = []
    for priority in sorted(RANK, key=lambda each: -RANK[each]):
        rows = [
            f"| {entry.text} (`{code}`{', latches' if entry.latching else ''}) | {entry.cause} "
            f"| {table('alarms').get(code, {}).get('pump', '-')} | {entry.action or '-'} "
            f"| {_two((f'raised:{code}', f'over:{code}'), ('raised', 'over'))} |"
            for code, entry in CATALOGUE.items()
            if entry.priority == priority
        ]
        parts.append("\n".join([f"### {priority.capitalize()} priority", "", head, _rule(head), *rows]))
    return "\n\n".join(parts)


def figure_table() -> str:
    """Each figure, and the tests on both sides of it."""
    head = "| constant | value | why, and from where | shown by |"
    rows = []
    for figure in figures():
        row = table("figures")[figure.path]
        ids = f"within:{figure.name}", f"beyond:{figure.name}"
        reasons = row.get("why_not_within", ""), row.get("why_not_beyond", "")
        tests = _two(ids, ("on this side", "beyond it"), reasons)
        rows.append(f"| `{figure.path}` | {figure.value} | {figure.why} | {tests} |")
    return "\n".join([head, _rule(head), *rows])


def risks() -> str:
    """What remains, and how the clinic covers it."""
    parts = []
    for key, row in table("risks").items():
        tests = _list([f"risk:{key}"]) or row.get("why_no_test", "")
        proof = f"*Seen in the simulator:* {tests}" if f"risk:{key}" in shown() else f"*No test:* {tests}"
        parts.append(f"### {row['title']}\n\n{row['text']}\n\n*The clinic:* {row['clinic']}\n\n{proof}")
    return "\n\n".join(parts)


PARTS = {
    "summary": summary,
    "rules": rules,
    "hazards": hazards,
    "alarms": alarms,
    "figures": figure_table,
    "risks": risks,
}
