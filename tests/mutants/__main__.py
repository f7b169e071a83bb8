"""`make mutants`: change the pure modules in one place at a time, and see whether a test notices.

Prints a table, and every mutation that survives and is not listed in survivors.toml. Exits with 1 when there is one,
when a listed one is killed now or exists no more, or when fewer than 90 % are killed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import Path

from tests.mutants.operators import mutations
from tests.mutants.order import Naming, rarest
from tests.mutants.report import complaints, print_table
from tests.mutants.results import Left, Results, digests
from tests.mutants.trial import SURVIVED, Coverage, Job, Verdict, measure, try_cold, try_warm

ROOT = Path(__file__).parents[2]
TESTS = "tests/unit/core"
MODULES = ("pumpd/core/*.py", "pumpd/units.py", "pumpd/driver.py")
ONLY_DATA = {"catalogue"}  # a test could only say its rows again; docs/alarms.md is held to it, and read by persons
RESULTS = ROOT / ".mutants.json"
EFFORT_S = 40.0  # of tests for one mutation, by their time while traced, which is some three times their own
CPU_LEAST_S = 5.0  # for a mutation that makes an endless loop; besides the effort, of which its own time is a third


def main() -> int:
    """Parse the command line, try what is not known yet, report. Gives the exit status."""
    os.chdir(ROOT)
    os.nice(19)
    paths = {path.stem: path for pattern in MODULES for path in sorted(Path().glob(pattern)) if path.stem != "__init__"}
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    tried = [name for name in paths if name not in ONLY_DATA]
    parser.add_argument("--module", action="append", choices=sorted(tried), help="this module only (may be repeated)")
    parser.add_argument("--changed", action="store_true", help="only modules that changed since they were tried last")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    wanted = parser.parse_args()
    results = _results(paths)
    chosen = [
        paths[name]
        for name in wanted.module or tried
        if not wanted.changed or results.source_changed(name, str(paths[name]))
    ]
    found = {path.stem: mutations(_dotted(path), str(path.resolve()), path.read_text()) for path in chosen}
    left = {name: [each for each in map(results.left, module) if each is not None] for name, module in found.items()}
    began = time.monotonic()
    sources = frozenset(str(path.resolve()) for path in paths.values())
    coverage = _measured([each for module in left.values() for each in module], sources)
    for name, module in found.items():
        verdicts = dict(_judged(left[name], coverage, sources, wanted.jobs))
        results.take(name, verdicts, {mutation.name for mutation in module})
        print(f"{name}: {len(verdicts)} tried, {_so_far(began)} so far", flush=True)
    verdicts = {mutation.name: results.verdict(mutation) for module in found.values() for mutation in module}
    good = print_table(found, verdicts)
    wrong = [f"fails without any mutation, and was left out: {test}" for test in coverage.failing]
    wrong += complaints(found, verdicts)
    print(*wrong, sep="\n")
    return 0 if good and not wrong else 1


def _so_far(began: float) -> str:
    """The time, and that of the CPU: on a machine with other work only the second tells how long this takes."""
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    return f"{time.monotonic() - began:.0f} s, {cpu:.0f} s of CPU"


def _results(paths: dict[str, Path]) -> Results:
    tests = digests(Path(TESTS).glob("test_*.py"))
    helpers = (path for path in Path(TESTS).glob("*.py") if str(path) not in tests)
    return Results(RESULTS, digests([*paths.values(), Path("tests/conftest.py"), *helpers]), tests)


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def _measured(left: list[Left], sources: frozenset[str]) -> Coverage:
    """Who runs what, for all tests that are to be tried."""
    if not left:
        return Coverage()
    files = (
        None if any(each.files is None for each in left) else frozenset().union(*(each.files or () for each in left))
    )
    coverage = measure(TESTS, files, sources)
    print(f"{len(coverage.seconds)} tests run through unchanged", flush=True)
    return coverage


def _judged(
    left: list[Left], coverage: Coverage, sources: frozenset[str], processes: int
) -> Iterator[tuple[str, Verdict]]:
    """Try every mutation: first in living functions, then those of what runs at import."""
    by_name = {each.mutation.name: each for each in left}
    warm = [_job(each, coverage, coverage.of(each.mutation)) for each in left if each.mutation.chain]
    cold = [each for each in left if not each.mutation.chain]
    for name, verdict in try_warm(warm, TESTS, sources, processes):
        each = by_name[name]
        if verdict is None or (verdict.outcome == SURVIVED and coverage.at_import(each.mutation)):
            cold.append(each)
        else:
            yield name, verdict
    naming = Naming(sources)
    jobs = [_job(each, coverage, set(coverage.seconds), coverage.at(naming.of(each.mutation))) for each in cold]
    for name, verdict in try_cold(jobs, processes, coverage.libraries):
        assert verdict is not None
        yield name, verdict


def _job(left: Left, coverage: Coverage, tests: set[str], likely: Collection[str] = ()) -> Job:
    """The tests to try: the one that killed it last time, then the likely ones, then the others.

    Of each kind the quickest and rarest come first, and as many are tried as EFFORT_S allows.
    """
    chosen = [test for test in tests if left.files is None or test.split("::")[0] in left.files]
    rarity = rarest(left.mutation, coverage) if left.mutation.chain else {}
    cost = {test: coverage.seconds[test] * rarity.get(test, len(coverage.seconds)) for test in chosen}
    order = sorted(chosen, key=lambda test: (test != left.last_killer, test not in likely, cost[test]))
    spent = list(accumulate(coverage.seconds[test] for test in order))
    within = bisect_right(spent, EFFORT_S)
    return Job(left.mutation, tuple(order[:within]), CPU_LEAST_S + EFFORT_S)


if __name__ == "__main__":
    sys.exit(main())
