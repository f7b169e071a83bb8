"""What is known from earlier runs, so that a second run is short.

A killed mutation stays killed while the modules, the helpers and the test that killed it stay as they were. A survivor
is tried again with the tests of the files that changed only. When a module or a helper changed, all is tried again, the
test that killed a mutation last time first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.operators import Mutation
from tests.mutants.trial import SURVIVED, Verdict

Digests = dict[str, str]


def digests(paths: Iterable[Path]) -> Digests:
    """A digest for each file, by its path."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(paths)}


@dataclass(frozen=True)
class Left:
    """What remains to be tried of one mutation: the tests of these files; None: of all."""

    mutation: Mutation
    files: frozenset[str] | None
    last_killer: str = ""


class Results:
    """The verdicts of all mutations, module by module, kept in one file."""

    def __init__(self, path: Path, basis: Digests, tests: Digests) -> None:
        self.path, self.basis, self.tests = path, basis, tests
        self.known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def left(self, mutation: Mutation) -> Left | None:
        """What is to be tried of it; None when it is known."""
        module = self.known.get(mutation.module, {})
        old = module.get("verdicts", {}).get(mutation.name)
        if old is None:
            return Left(mutation, None)
        outcome, by = old
        killer = by.split("::")[0]
        if module["basis"] != self.basis:
            return Left(mutation, None, by)
        changed = {
            path
            for path in module["tests"].keys() | self.tests.keys()
            if module["tests"].get(path) != self.tests.get(path)
        }
        if outcome == SURVIVED:
            return Left(mutation, frozenset(changed & self.tests.keys())) if changed else None
        return Left(mutation, None, by) if killer in changed else None

    def source_changed(self, module: str, path: str) -> bool:
        """Is the module another one than at its last run?"""
        return bool(self.known.get(module, {}).get("basis", {}).get(path) != self.basis[path])

    def verdict(self, mutation: Mutation) -> Verdict:
        """The last verdict. Raises KeyError for a mutation that was never tried."""
        return Verdict(*self.known[mutation.module]["verdicts"][mutation.name])

    def take(self, module: str, verdicts: dict[str, Verdict], names: set[str]) -> None:
        """The module was judged: `verdicts` are new, the others of `names` stand."""
        old = self.known.get(module, {}).get("verdicts", {})
        now = {
            name: [verdicts[name].outcome, verdicts[name].by] if name in verdicts else old[name]
            for name in sorted(names)
        }
        self.known[module] = {"basis": self.basis, "tests": self.tests, "verdicts": now}
        self.path.write_text(json.dumps(self.known, indent=0))
