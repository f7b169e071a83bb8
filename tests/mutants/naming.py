"""Which tests are likely to notice a change of what runs at import: those that run a line that names it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.mutants.operators import Mutation
from tests.mutants.trial import Line


class Naming:
    """Every line of the modules, by the names that stand in it. A name is taken for the same one everywhere."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.lines: dict[str, set[Line]] = {}
        for path in paths:
            for node in ast.walk(ast.parse(Path(path).read_text())):
                for name in _read(node):
                    self.lines.setdefault(name, set()).add((path, node.lineno))  # type: ignore[attr-defined]

    def of(self, mutation: Mutation) -> set[Line]:
        """The lines that name what the mutation changes: a figure, a table, a field or a function with its defaults."""
        named = {
            name
            for node in ast.walk(mutation.source.tree)
            if isinstance(node, ast.stmt) and node.lineno <= mutation.lines.start <= (node.end_lineno or 0)
            for name in _made(node)
        }
        return {line for name in named for line in self.lines.get(name, ())}


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
