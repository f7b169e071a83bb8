"""What `make mutants` says in the end: a table, and what does not agree with the list of survivors."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

from tests.mutants.operators import Mutation
from tests.mutants.trial import KILLED, SURVIVED, TIMED_OUT, Verdict

SURVIVORS = Path(__file__).with_name("survivors.toml")
SCORE_MIN = 0.90
Found = dict[str, list[Mutation]]


def print_table(found: Found, verdicts: dict[str, Verdict]) -> bool:
    """One row for each module. True when the total is good enough."""
    total = Counter[str]()
    print(f"{'module':<12} {'mutants':>8} {'killed':>8} {'timed out':>10} {'survived':>9} {'score':>8}")
    for name, mutations in sorted(found.items()):
        counted = Counter(verdicts[mutation.name].outcome for mutation in mutations)
        _print_row(name, counted)
        total += counted
    _print_row("all", total)
    return _score(total) >= SCORE_MIN


def _print_row(name: str, counted: Counter[str]) -> None:
    print(
        f"{name:<12} {counted.total():>8} {counted[KILLED]:>8} {counted[TIMED_OUT]:>10} "
        f"{counted[SURVIVED]:>9} {_score(counted):>8.1%}"
    )


def _score(counted: Counter[str]) -> float:
    return 1 - counted[SURVIVED] / counted.total() if counted else 1.0


def listed(path: Path = SURVIVORS) -> dict[str, str]:
    """Every survivor that is accepted, with its reason. Raises ValueError for one listed twice or without a reason."""
    found: dict[str, str] = {}
    for group in tomllib.loads(path.read_text())["because"]:
        if not group["reason"].strip():
            raise ValueError(f"{path.name}: a reason is missing for {group['mutations'][0]}")
        for name in group["mutations"]:
            if name in found:
                raise ValueError(f"{path.name}: listed twice: {name}")
            found[name] = group["reason"]
    return found


def complaints(found: Found, verdicts: dict[str, Verdict], accepted: dict[str, str] | None = None) -> list[str]:
    """Survivors that are not listed, and listed ones that are none."""
    accepted = listed() if accepted is None else accepted
    by_name = {mutation.name: mutation for mutations in found.values() for mutation in mutations}
    wrong = [
        f"listed as survivor, but no such mutation exists: {name}"
        for name in accepted
        if name not in by_name and name.split(".")[0] in found
    ]
    for name, mutation in by_name.items():
        survived = verdicts[name].outcome == SURVIVED
        if survived and name not in accepted:
            wrong.append(f"survives: {mutation.where}  {name}")
        elif not survived and name in accepted:
            wrong.append(f"listed as survivor, but {verdicts[name].outcome} by {verdicts[name].by or 'time'}: {name}")
    return wrong
