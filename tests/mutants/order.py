"""Which of the tests that could notice a change are tried first.

Nine of ten tests run the middle of the session, and few of them look at what it decides. What runs at import is noticed
by tests that run a line which names it; a change within a function by tests that go ways through it that few others go.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.mutants.operators import Mutation
from tests.mutants.trial import Coverage, Line


class Naming:
    """Every line of the modules, by the names that stand in it. A name is taken for the same one everywhere."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.lines: dict[str, set[Line]] = {}
        for path in paths:
            for node in ast.walk(ast.parse(Path(path).read_text())):
                for name in _read(node):
                    self.lines.setdefault(name, set()).add((path, node.lineno))  # type: ignore[attr-defined]

    def of(self, mutation: Mutation) -> set[Line]:
        """The lines that name what the mutation changes: a figure, a table, a field; of a default its function's."""
        named = {
            name
            for node in ast.walk(mutation.source.tree)
            if isinstance(node, ast.stmt) and node.lineno <= mutation.lines.start <= (node.end_lineno or 0)
            for name in _made(node)
        }
        own = {(mutation.source.path, line) for line in _lines_of_function(mutation)}
        return own.union(*(self.lines.get(name, ()) for name in named))


def _read(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
            yield name


def _made(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Assign(targets=targets):
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
            yield name


def rarest(mutation: Mutation, coverage: Coverage) -> dict[str, int]:
    """For each test that runs the function of the mutation: how many tests run the line of it that the fewest run."""
    found: dict[str, int] = {}
    for line in _lines_of_function(mutation):
        tests = coverage.tests.get((mutation.source.path, line), ())
        for test in tests:
            found[test] = min(len(tests), found.get(test, len(tests)))
    return found


def _lines_of_function(mutation: Mutation) -> range:
    """From the first line of its body; the function that holds it most closely."""
    around = (
        range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(mutation.source.tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= mutation.lines.start <= (node.end_lineno or 0)
    )
    return min(around, key=len, default=mutation.lines)
