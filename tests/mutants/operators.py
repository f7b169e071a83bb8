"""What is changed in a module, one place at a time: source text goes in, mutations come out.

What does not count, because it is wording, or nothing that runs:
* text: strings, f-strings, docstrings, the arguments of an exception (a number written as text, Decimal("0.02"), does);
* annotations, imports, decorators, `__slots__`, and asserts, which tell the type checker what the table holds already.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import CodeType
from typing import Any

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NAMES = {"min": "max", "max": "min", "ROUND_FLOOR": "ROUND_CEILING", "ROUND_CEILING": "ROUND_FLOOR"}
ANY_NUMBER_OF_ARGUMENTS = {"clear", "_to"}  # elsewhere a missing argument is only a TypeError, which proves nothing
LONG = 90  # characters; a longer text is cut where it names a mutation
SKIPPED = (ast.Import, ast.ImportFrom, ast.Assert, ast.Raise, ast.JoinedStr)
TELLING = (ast.Call, ast.Compare, ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.IfExp, ast.stmt)


@dataclass(frozen=True)
class Mutation:
    """One change of one module.

    `was` and `becomes` name it, with `number` where a function holds the same change several times. There is no line
    number in the name: a listed survivor keeps it while the code around moves.
    """

    module: str  # the last part of its name
    function: str  # qualified name; "" outside of functions
    chain: tuple[tuple[str, int], ...]  # (name, first line) of that function and of those around it
    lines: range
    was: str
    becomes: str
    source: Source
    place: Place
    new: ast.AST
    number: int = 1

    @property
    def name(self) -> str:
        """What the cache and the list of survivors know it by."""
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.module}.{self.function or '(module)'}: {self.was} => {self.becomes}{again}"

    @property
    def where(self) -> str:
        """File and line, for a person who looks for it."""
        return f"{Path(self.source.path).name}:{self.lines.start}"

    def compiled(self) -> CodeType:
        """The whole module with this change in it."""
        with self.place.holding(self.new):
            return compile(self.source.tree, self.source.path, "exec", dont_inherit=True)


@dataclass(frozen=True)
class Source:
    """One module as it stands."""

    module: str  # as it is imported
    path: str
    tree: ast.Module


@dataclass(frozen=True)
class Place:
    """Where a node hangs in the tree."""

    owner: ast.AST
    field: str
    index: int | None

    @contextmanager
    def holding(self, new: ast.AST) -> Iterator[None]:
        """The tree with `new` in this place."""
        old = getattr(self.owner, self.field)
        if self.index is None:
            setattr(self.owner, self.field, new)
        else:
            setattr(self.owner, self.field, [*old[: self.index], new, *old[self.index + 1 :]])
        try:
            yield
        finally:
            setattr(self.owner, self.field, old)


def mutations(module: str, path: str, text: str) -> list[Mutation]:
    """Every change of the module, in the order of its lines."""
    source = Source(module, path, ast.parse(text))
    found: list[Mutation] = []
    names: Counter[str] = Counter()
    for mutation in _below(source, source.tree, (), (), None):
        names[mutation.name] += 1
        found.append(replace(mutation, number=names[mutation.name]))
    return found


def _below(
    source: Source, owner: ast.AST, outer: tuple[str, ...], chain: tuple[tuple[str, int], ...], telling: ast.AST | None
) -> Iterator[Mutation]:
    """Every change of what hangs below `owner`. `telling` is the statement or expression that names a small change."""
    for place, node in _children(owner):
        teller = node if isinstance(node, TELLING) else telling
        inner_chain, inner_outer = chain, outer
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if isinstance(node, ast.FunctionDef):
                first = min(node.lineno, *(each.lineno for each in node.decorator_list), node.lineno)
                inner_chain = ((".".join((*outer, node.name)), first), *chain)
                inner_outer = (*outer, node.name, "<locals>")
            else:
                inner_outer = (*outer, node.name)
        elif isinstance(node, ast.arguments):
            if isinstance(owner, ast.FunctionDef):  # defaults are made where the function is, not in it
                inner_chain, inner_outer = chain[1:], outer[:-1]
        else:
            for new, words in _variants(node, owner, bool(chain)):
                was, becomes = _told(place, node, new, words, teller)
                where = chain[0][0] if chain else ".".join(outer)
                first, last = _lines(node, owner)
                lines = range(first, last + 1)
                yield Mutation(source.module.rsplit(".", 1)[-1], where, chain, lines, was, becomes, source, place, new)
        yield from _below(source, node, inner_outer, inner_chain, teller)


def _children(owner: ast.AST) -> Iterator[tuple[Place, ast.AST]]:
    """What hangs below `owner` and counts."""
    for field, value in ast.iter_fields(owner):
        if field in (
            "annotation",
            "returns",
            "decorator_list",
            "bases",
            "keywords" if isinstance(owner, ast.ClassDef) else "",
        ):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(node, ast.AST) and not isinstance(node, SKIPPED) and not _nothing_that_runs(node):
                yield Place(owner, field, index), node


def _nothing_that_runs(node: ast.AST) -> bool:
    """Docstrings and `...`, names of slots and of types."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__")]):
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")) | ast.Call(func=ast.Name(id="TypeVar")):
            return True
        case ast.AnnAssign(target=target):
            return node.value is None and isinstance(target, ast.Name)
        case _:
            return False


def _told(place: Place, node: ast.AST, new: ast.AST, words: str, teller: ast.AST | None) -> tuple[str, str]:
    """The change in words: before and after."""
    if words:
        return _around(_text(node), 0, 0), words
    if teller is node or teller is None:
        return _where_they_differ(_text(node), _text(new))
    before = _text(teller)
    with place.holding(new):
        return _where_they_differ(before, _text(teller))


def _where_they_differ(before: str, after: str) -> tuple[str, str]:
    """Both, the long ones cut to what is around the difference."""
    same = _same_beginning(before, after)
    same_end = _same_beginning(before[same:][::-1], after[same:][::-1])
    return _around(before, same, len(before) - same_end), _around(after, same, len(after) - same_end)


def _same_beginning(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _around(text: str, first: int, last: int) -> str:
    if len(text) <= LONG:
        return text
    begin, end = max(0, first - LONG // 3), last + LONG // 3
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split("\n")[0].split())


def _lines(node: ast.AST, owner: ast.AST) -> tuple[int, int]:
    """First and last line of the change; of a keyword or comprehension, those of what it stands in."""
    at: Any = node if hasattr(node, "lineno") else owner
    if isinstance(at, (ast.If, ast.For, ast.While, ast.Match)):
        return at.lineno, at.lineno
    return getattr(at, "lineno", 1), getattr(at, "end_lineno", 1)


# --- the operators --------------------------------------------------------------------------------------------------


def _variants(node: ast.AST, owner: ast.AST, in_function: bool) -> Iterator[tuple[ast.AST, str]]:
    """What may stand in place of `node`, and how to say so where the new text alone would not."""
    for new, words in _of_expression(node, owner, in_function) if isinstance(node, ast.expr) else _of_statement(node):
        yield ast.fix_missing_locations(ast.copy_location(new, node)), words


def _of_statement(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass(), "nothing"
        case ast.Return(value=None):
            yield ast.Pass(), "nothing"
        case ast.Return(value=ast.Constant(value=None)):
            pass
        case ast.Return():
            yield ast.Return(ast.Constant(None)), ""
        case ast.Break():
            yield ast.Continue(), ""
        case ast.Continue():
            yield ast.Break(), ""
    match node:
        case ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            yield ast.AugAssign(node.target, ARITHMETIC[type(operator)](), node.value), ""


def _of_expression(node: ast.expr, owner: ast.AST, in_function: bool) -> Iterator[tuple[ast.expr, str]]:
    if _is_condition(node, owner) and not isinstance(node, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
        yield ast.UnaryOp(ast.Not(), node), f"not {_text(node)}"
    match node:
        case ast.Constant(value=value):
            for other in _other_values(value, as_text=isinstance(owner, ast.Call)):
                yield ast.Constant(other), ""
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], node.ctx), ""
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for instead in COMPARISONS[type(operator)]:
                    yield (
                        ast.Compare(
                            node.left, [*node.ops[:index], instead(), *node.ops[index + 1 :]], node.comparators
                        ),
                        "",
                    )
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(operator)](), node.right), ""
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values), ""
            for rest in _each_left_out(node.values):
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest), ""
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand, ""
        case ast.Call():
            yield from _of_call(node)
        case ast.Set() | ast.Tuple() if len(node.elts) > 2 or isinstance(node, ast.Set):
            if _is_listing(node, owner):
                for gone, rest in zip(node.elts, _each_left_out(node.elts), strict=True):
                    yield (
                        (ast.Set(rest) if isinstance(node, ast.Set) else ast.Tuple(rest, ast.Load())),
                        f"without {_text(gone)}",
                    )
        case ast.Dict() if not in_function:
            for index, key in enumerate(node.keys):
                keys = [*node.keys[:index], *node.keys[index + 1 :]]
                values = [*node.values[:index], *node.values[index + 1 :]]
                key_gone = _text(key if key is not None else node.values[index])
                yield ast.Dict(keys, values), f"without {key_gone}"


def _is_condition(node: ast.expr, owner: ast.AST) -> bool:
    if isinstance(owner, ast.match_case):
        return owner.guard is node
    return isinstance(owner, (ast.If, ast.IfExp, ast.While)) and owner.test is node


def _is_listing(node: ast.Set | ast.Tuple, owner: ast.AST) -> bool:
    """A collection whose length nobody relies on."""
    unpacked = isinstance(owner, ast.Assign) and isinstance(owner.targets[0], ast.Tuple)
    plain = all(isinstance(each, (ast.Constant, ast.Name, ast.Attribute)) for each in node.elts)
    return plain and not unpacked and not isinstance(getattr(node, "ctx", ast.Load()), ast.Store)


def _of_call(node: ast.Call) -> Iterator[tuple[ast.expr, str]]:
    """A named argument left out, or one of any number."""
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            others = [*node.keywords[:index], *node.keywords[index + 1 :]]
            yield ast.Call(node.func, node.args, others), f"without {keyword.arg}="
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ANY_NUMBER_OF_ARGUMENTS and len(node.args) > 1:
        for gone, rest in zip(node.args, _each_left_out(node.args), strict=True):
            yield ast.Call(node.func, rest, node.keywords), f"without {_text(gone)}"


def _each_left_out(items: list[ast.expr]) -> list[list[ast.expr]]:
    return [[*items[:index], *items[index + 1 :]] for index in range(len(items))]


def _other_values(value: object, *, as_text: bool) -> Iterator[bool | int | float | str]:
    """Another value of the same kind, the nearest that means something else."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
    elif isinstance(value, str) and as_text:
        try:
            number = Decimal(value)
        except InvalidOperation:
            return
        if number.is_finite():
            yield str(number + Decimal(1).scaleb(int(number.as_tuple().exponent)))
