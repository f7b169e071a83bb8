"""What `make mutants` changes, what it leaves alone, and what it says about the list of survivors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.operators import Mutation, mutations
from tests.mutants.order import Naming, rarest
from tests.mutants.report import complaints, listed
from tests.mutants.results import Results
from tests.mutants.trial import KILLED, SURVIVED, Coverage, Verdict

SURVIVED_ = Verdict(SURVIVED)
KILLED_ = Verdict(KILLED, "tests/test_toy.py::test_it")


def changes(text: str) -> set[str]:
    return {f"{each.was} => {each.becomes}" for each in mutations("a.toy", "toy.py", text)}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ok = a < b", {"a < b => a <= b", "a < b => a >= b"}),
        ("ok = a is None", {"a is None => a is not None"}),
        ("x = a + b", {"a + b => a - b"}),
        ("x += y", {"x += y => nothing", "x += y => x -= y"}),
        ("ok = a and b", {"a and b => a or b", "a and b => a", "a and b => b"}),
        ("ok = not a", {"not a => a"}),
        ("WAIT_S = 30.0", {"WAIT_S = 30.0 => WAIT_S = 31.0"}),
        ("ok = True", {"ok = True => ok = False"}),
        ("SHARE = Decimal('0.02')", {"Decimal('0.02') => Decimal('0.03')"}),
        ("x = min(a, b)", {"min(a, b) => max(a, b)"}),
        ("turn.halt()", {"turn.halt() => nothing"}),
        ("x = replace(a, rate=b)", {"replace(a, rate=b) => without rate="}),
        ("MOVES = {BOLUS, KVO}", {"{BOLUS, KVO} => without BOLUS", "{BOLUS, KVO} => without KVO"}),
        ("JUDGES = {A: judge_a, B: judge_b}", {"{A: judge_a, B: judge_b} => without A"}),
        ("if ready:\n    pass", {"ready => not ready"}),
        ("def f(wait_s=2): pass", {"def f(wait_s=2): => def f(wait_s=3):"}),
        ("def f():\n    return x", {"return x => return None"}),
        ("match a:\n    case 1 if ready:\n        pass", {"ready => not ready"}),
    ],
)
def test_each_kind_of_change(code: str, expected: set[str]) -> None:
    assert expected <= changes(code)


@pytest.mark.parametrize(
    "code",
    [
        '"""1 < 2"""',
        "text = f'{a + 1} of {b}'",
        "text = 'words'",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "assert a < 1",
        "raise Refused(f'{a} < 1', 1)",
        "import a",
        "@retry(2)\ndef f(): ...",
        "Order: TypeAlias = Arm | Begin",
        "class A:\n    __slots__ = ('a', 'b', 'c')\n    rate: int",
    ],
)
def test_words_and_what_does_not_run_are_left_alone(code: str) -> None:
    assert changes(code) == set()


def test_every_change_compiles_to_something_else_and_leaves_the_source_as_it_was() -> None:
    path = Path(__file__).parents[2] / "pumpd/core/plan.py"
    found = mutations("pumpd.core.plan", str(path), path.read_text())
    tree = found[0].source.tree
    before = ast.dump(tree)
    unchanged = compile(tree, str(path), "exec", dont_inherit=True)
    assert len({mutation.name for mutation in found}) == len(found)
    for mutation in found:
        assert mutation.compiled() != unchanged, mutation.name
        assert ast.dump(tree) == before, mutation.name


def test_the_same_change_twice_in_a_function_has_two_names() -> None:
    names = [each.name for each in mutations("a.toy", "toy.py", "def f():\n    stop()\n    stop()\n")]
    assert names == ["toy.f: stop() => nothing", "toy.f: stop() => nothing #2"]


def test_a_method_is_known_by_its_qualified_name() -> None:
    (mutation,) = mutations("a.toy", "toy.py", "class A:\n    @property\n    def of(self):\n        stop()\n")
    assert mutation.chain == (("A.of", 2),)


def test_a_default_is_made_outside_of_its_function() -> None:
    (mutation,) = mutations("a.toy", "toy.py", "def f(wait_s=2): pass")
    assert (mutation.function, mutation.chain) == ("f", ())


# --- which tests may notice it ----------------------------------------------------------------------------------------


def test_what_runs_at_import_is_noticed_where_it_is_named(tmp_path: Path) -> None:
    toy, user = tmp_path / "toy.py", tmp_path / "user.py"
    text = "WAIT_S = 3\n\n\nclass A:\n    lag: int = 2\n\n\ndef f(wait_s=4):\n    return WAIT_S\n"
    toy.write_text(text)
    user.write_text("from toy import A, f\n\nprint(A().lag)\nf()\n")
    naming = Naming([str(toy), str(user)])
    found = {each.was: naming.of(each) for each in mutations("toy", str(toy), text) if not each.chain}
    assert found["WAIT_S = 3"] == {(str(toy), 1), (str(toy), 9)}
    assert found["lag: int = 2"] == {(str(toy), 5), (str(user), 3)}
    assert found["def f(wait_s=4):"] == {(str(toy), 9), (str(user), 4)}


def test_a_test_is_as_rare_as_the_line_of_the_function_that_the_fewest_run() -> None:
    text = "def f(a):\n    if a:\n        return stop()\n    return 1\n\n\ndef g():\n    f(2)\n"
    coverage = Coverage()
    for line, tests in {2: ["t1", "t2", "t3"], 3: ["t1"], 4: ["t2", "t3"], 8: ["t4"]}.items():
        coverage.tests["toy.py", line] = tests
    (mutation,) = (each for each in mutations("toy", "toy.py", text) if each.was == "a")
    assert rarest(mutation, coverage) == {"t1": 1, "t2": 2, "t3": 2}


# --- the list of survivors --------------------------------------------------------------------------------------------


@pytest.fixture
def toy() -> Mutation:
    return mutations("a.toy", "toy.py", "stop()")[0]


def test_a_survivor_that_is_not_listed_is_named(toy: Mutation) -> None:
    assert complaints({"toy": [toy]}, {toy.name: SURVIVED_}, {}) == [f"survives: toy.py:1  {toy.name}"]
    assert complaints({"toy": [toy]}, {toy.name: SURVIVED_}, {toy.name: "equal"}) == []
    assert complaints({"toy": [toy]}, {toy.name: KILLED_}, {}) == []


def test_a_listed_survivor_that_is_killed_now_is_named(toy: Mutation) -> None:
    (words,) = complaints({"toy": [toy]}, {toy.name: KILLED_}, {toy.name: "equal"})
    assert "killed by tests/test_toy.py::test_it" in words


def test_a_listed_survivor_that_exists_no_more_is_named(toy: Mutation) -> None:
    gone = "toy.f: a => b"
    (words,) = complaints({"toy": [toy]}, {toy.name: KILLED_}, {gone: "equal", "other.f: a => b": "not tried now"})
    assert gone in words


def test_every_listed_survivor_has_a_reason_and_none_stands_twice(tmp_path: Path) -> None:
    assert all(listed().values())
    page = tmp_path / "survivors.toml"
    page.write_text('[[because]]\nreason = " "\nmutations = ["a"]\n')
    with pytest.raises(ValueError, match="reason is missing"):
        listed(page)
    page.write_text('[[because]]\nreason = "equal"\nmutations = ["a", "a"]\n')
    with pytest.raises(ValueError, match="twice"):
        listed(page)


# --- a second run is short ----------------------------------------------------------------------------------------


def test_what_did_not_change_is_not_tried_again(toy: Mutation, tmp_path: Path) -> None:
    basis, tests = {"toy.py": "1"}, {"tests/test_toy.py": "1", "tests/test_other.py": "1"}

    def left_after(verdict: Verdict, basis_now: dict[str, str], tests_now: dict[str, str]) -> object:
        path = tmp_path / "results.json"
        Results(path, basis, tests).take("toy", {toy.name: verdict}, {toy.name})
        left = Results(path, basis_now, tests_now).left(toy)
        return left and (left.files, left.last_killer)

    other_changed, killer_changed = {**tests, "tests/test_other.py": "2"}, {**tests, "tests/test_toy.py": "2"}
    assert left_after(KILLED_, basis, tests) is None
    assert left_after(KILLED_, basis, other_changed) is None
    assert left_after(KILLED_, basis, killer_changed) == (None, KILLED_.by)
    assert left_after(KILLED_, {"toy.py": "2"}, tests) == (None, KILLED_.by)
    assert left_after(SURVIVED_, basis, tests) is None
    assert left_after(SURVIVED_, basis, other_changed) == (frozenset({"tests/test_other.py"}), "")
    assert left_after(SURVIVED_, {"toy.py": "2"}, tests) == (None, "")
