"""Runs the tests against one mutation after another, each in a process forked off after all tests were collected.

A mutation inside of a function is put in by giving the living function its changed code. What runs at import - figures,
tables, defaults - is tried in a process that imports everything anew, with the changed module in its place.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import hypothesis
import pytest

from tests.mutants.operators import Mutation

KILLED, TIMED_OUT, SURVIVED = "killed", "timed out", "survived"
MEMORY_MAX = 2 << 30  # an endless loop may fill a list; bytes
KILLERS_FIRST = 8  # tests that killed earlier mutations, tried before all are collected
MEASURE_MAX_S = 600  # CPU time of one run of all tests, traced
OPTIONS = (
    "-q",
    "-s",
    "-x",
    "--tb=no",
    "--assert=plain",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-o",
    "timeout=0",
)
Line = tuple[str, int]


@dataclass(frozen=True)
class Verdict:
    """What became of one mutation. `by` is the test that killed it."""

    outcome: str
    by: str = ""


@dataclass
class Coverage:
    """Which test runs which line of the modules, and how long it takes (traced, so several times its real time)."""

    seconds: dict[str, float] = field(default_factory=dict)  # by test id
    tests: dict[Line, list[str]] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)  # without any mutation: nothing can be judged by them
    imported: set[Line] = field(default_factory=set)  # run before any test: at import or while collecting
    libraries: list[str] = field(default_factory=list)  # modules of others that the tests import

    def of(self, mutation: Mutation) -> set[str]:
        """The tests that run a line of the mutation."""
        return self.at((mutation.source.path, line) for line in mutation.lines)

    def at(self, lines: Iterable[Line]) -> set[str]:
        """The tests that run one of these lines."""
        return {test for line in lines for test in self.tests.get(line, ())}

    def at_import(self, mutation: Mutation) -> bool:
        """Does something run it before the first test?"""
        return any((mutation.source.path, line) in self.imported for line in mutation.lines)


@dataclass(frozen=True)
class Job:
    """A mutation and the tests to try, in this order."""

    mutation: Mutation
    tests: tuple[str, ...]
    limit_s: float  # CPU time

    def only(self, tests: Sequence[str]) -> Job:
        """The same with these tests alone, as far as they are among its own."""
        mine = set(self.tests)
        return replace(self, tests=tuple(test for test in tests if test in mine))

    def with_first(self, tests: Sequence[str]) -> Job:
        """The same with these tests first, as far as they are among its own."""
        return replace(self, tests=tuple(dict.fromkeys((*self.only(tests).tests, *self.tests))))


# --- in processes of their own --------------------------------------------------------------------------------------


def _in_child(work: Callable[[int], None], limit_s: float) -> tuple[int | None, str]:
    """Fork, `work`, and give back the exit status (None: too long or too big) and what it wrote to its pipe."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.close(read_end)
            work(write_end)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            os._exit(status)
    os.close(write_end)
    words = b""
    deadline = time.monotonic() + 10 * limit_s  # of the wall: the machine may be busy; CPU time has its own limit
    while True:
        ready, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(read_end, 1 << 16) if ready else b""
        words += piece
        if not piece:
            break
    if not ready:
        os.kill(pid, signal.SIGKILL)
    os.close(read_end)
    _, status = os.waitpid(pid, 0)
    return (os.WEXITSTATUS(status) if os.WIFEXITED(status) else None), words.decode()


def _hush() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _limit(seconds: float) -> None:
    whole = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))


class _Quick:
    """What all runs share: the same examples each time, and no search for a smaller one."""

    def pytest_configure(self) -> None:
        os.environ["CI"] = "1"  # tests with a profile of their own take the same examples each time, too
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        health = list(hypothesis.HealthCheck)
        hypothesis.settings.register_profile(
            "mutants", derandomize=True, database=None, deadline=None, phases=phases, suppress_health_check=health
        )
        hypothesis.settings.load_profile("mutants")


class _Failures:
    """Notes the first test that failed."""

    first = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.first:
            self.first = report.nodeid


# --- after collection: the warm way ---------------------------------------------------------------------------------


def _tracer(paths: frozenset[str], lines: set[Line]) -> Callable[[FrameType, str, object], Any]:
    """For sys.settrace: adds every line of `paths` that runs. Looks nothing up twice: it is called a million times."""
    add = lines.add

    def trace_line(frame: FrameType, _event: str, _arg: object) -> Any:
        add((frame.f_code.co_filename, frame.f_lineno))
        return trace_line

    def trace(frame: FrameType, _event: str, _arg: object) -> Any:
        return trace_line if frame.f_code.co_filename in paths else None

    return trace


class _Host:
    """A pytest plugin that runs `serve` instead of the tests, once they are collected."""

    def __init__(self, paths: frozenset[str], serve: Callable[[_Host], None]) -> None:
        self.paths, self.serve = paths, serve
        self.items: dict[str, pytest.Item] = {}
        self.failures = _Failures()
        self.functions: dict[tuple[str, str, int], list[FunctionType]] = {}
        self.lines: set[Line] = set()
        self.trace = _tracer(paths, self.lines)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self.failures)
        sys.settrace(self.trace)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.settrace(None)
        self.items = {item.nodeid: item for item in session.items}
        gc.unfreeze()
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename in self.paths:
                code = found.__code__
                key = code.co_filename, code.co_qualname, code.co_firstlineno
                self.functions.setdefault(key, []).append(found)
        gc.freeze()
        self.serve(self)
        return True

    def run(self, test: str) -> bool:
        item = self.items[test]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failures.first

    def measure(self, files: frozenset[str] | None, out: int) -> None:
        """Run the tests of `files` (None: all) once, unchanged, each traced; a line of JSON for each."""
        _tell(out, ["", 0.0, sorted(self.lines), _libraries()])
        for test in self.items:
            if files is None or test.split("::")[0] in files:
                self.lines.clear()
                began = time.process_time()
                sys.settrace(self.trace)
                good = self.run(test)
                sys.settrace(None)
                self.failures.first = ""
                _tell(out, [test, time.process_time() - began, sorted(self.lines), good])

    def try_out(self, job: Job) -> Verdict | None:
        """Judge one mutation; None where it cannot be put into a living function."""
        module = job.mutation.compiled()
        codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(module)}
        swaps = [
            (function, codes[name, first])
            for name, first in job.mutation.chain
            for function in self.functions.get((job.mutation.source.path, name, first), ())
        ]
        if not swaps or any(len(f.__code__.co_freevars) != len(c.co_freevars) for f, c in swaps):
            return None

        def work(out: int) -> None:
            _hush()
            _limit(job.limit_s)
            for function, code in swaps:
                function.__code__ = code
            for test in job.tests:
                if not self.run(test):
                    os.write(out, self.failures.first.encode())
                    sys.exit(1)

        return _verdict(*_in_child(work, job.limit_s))


def _libraries() -> list[str]:
    """What is imported and neither ours nor a test, in the order of import."""
    return [name for name, module in sys.modules.items() if "/lib/python" in (getattr(module, "__file__", None) or "")]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _verdict(status: int | None, words: str) -> Verdict:
    if status is None:
        return Verdict(TIMED_OUT)
    return Verdict(KILLED, words or "import") if status else Verdict(SURVIVED)


def _collected(folder: str, host: _Host) -> None:
    """Collect the tests of `folder` and let `host` serve. Raises SystemExit when that fails."""
    status = pytest.main([*OPTIONS, folder], plugins=[_Quick(), host])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"the tests of {folder} cannot be collected")


def measure(folder: str, files: frozenset[str] | None, paths: frozenset[str]) -> Coverage:
    """Who runs what, for the tests of `files` (None: all). Raises SystemExit when they do not run through."""

    def work(out: int) -> None:
        _hush()
        _collected(folder, _Host(paths, lambda host: host.measure(files, out)))

    found = Coverage()
    status, words = _in_child(work, MEASURE_MAX_S)
    for line in words.splitlines():
        test, seconds, lines, told = json.loads(line)
        if not test:
            found.imported.update((path, number) for path, number in lines)
            found.libraries = told
            continue
        if not told:
            found.failing.append(test)
            continue
        found.seconds[test] = seconds
        for path, number in lines:
            found.tests.setdefault((path, number), []).append(test)
    if status != 0 and not found.failing:
        raise SystemExit(f"the tests of {folder} do not run through without any mutation (status {status})")
    return found


def try_warm(
    jobs: Sequence[Job], folder: str, paths: frozenset[str], processes: int
) -> Iterator[tuple[str, Verdict | None]]:
    """Judge mutations inside of functions; None for one that cannot be put into a living function."""

    def work(share: Sequence[Job], out: int) -> None:
        def serve(host: _Host) -> None:
            killers: dict[str, list[str]] = {}  # of earlier mutations of the same function, the latest first
            for job in share:
                known = killers.setdefault(job.mutation.function, [])
                verdict = host.try_out(job.with_first(known))
                if verdict is not None and verdict.by:
                    known[:] = [verdict.by, *(test for test in known if test != verdict.by)]
                _tell(out, [job.mutation.name, None if verdict is None else [verdict.outcome, verdict.by]])

        _hush()
        _collected(folder, _Host(paths, serve))

    return _spread(jobs, processes, work)


# --- before any import: the cold way --------------------------------------------------------------------------------


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module in its changed form."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


class _Chosen:
    """Runs only these tests, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.order = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self.order), key=lambda i: self.order[i.nodeid])


def try_cold(
    jobs: Sequence[Job], processes: int, libraries: Sequence[str] = ()
) -> Iterator[tuple[str, Verdict | None]]:
    """Judge mutations of what runs at import. This process must not have imported any of the modules.

    `libraries`, which nothing here changes, are imported once for all tries: that is half of what a try takes.
    """
    for name in libraries if jobs else ():
        with suppress(ImportError):  # some are known by another name than they are imported by
            importlib.import_module(name)

    def work(share: Sequence[Job], out: int) -> None:
        killers: list[str] = []  # of earlier mutations, the latest first
        for job in share:
            known = job.only(killers[:KILLERS_FIRST])
            verdict = _try_one_cold(known) if known.tests else Verdict(SURVIVED)
            if verdict.outcome == SURVIVED:
                verdict = _try_one_cold(job)
            if verdict.by in job.tests:
                killers = [verdict.by, *(test for test in killers if test != verdict.by)]
            _tell(out, [job.mutation.name, [verdict.outcome, verdict.by]])

    return _spread(jobs, processes, work)


def _try_one_cold(job: Job) -> Verdict:
    code = job.mutation.compiled()

    def work(out: int) -> None:
        _hush()
        _limit(job.limit_s)
        sys.meta_path.insert(0, _Changed(job.mutation.source.module, job.mutation.source.path, code))
        failures = _Failures()
        files = list(dict.fromkeys(test.split("::")[0] for test in job.tests))
        status = pytest.main([*OPTIONS, *files], plugins=[_Quick(), failures, _Chosen(job.tests)])
        os.write(out, failures.first.encode())
        sys.exit(int(status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)))

    return _verdict(*_in_child(work, job.limit_s))


# --- several at a time ----------------------------------------------------------------------------------------------


def _tell(out: int, message: list[Any]) -> None:
    words = (json.dumps(message) + "\n").encode()
    while words:
        words = words[os.write(out, words) :]


def _spread(
    jobs: Sequence[Job], processes: int, work: Callable[[Sequence[Job], int], None]
) -> Iterator[tuple[str, Verdict | None]]:
    """Deal the jobs out to as many processes, and pass on what they tell as it comes."""
    workers: dict[int, tuple[int, bytes]] = {}  # pipe: process, the beginning of a line
    for number in range(min(processes, len(jobs))):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                work(jobs[number::processes], write_end)
            finally:
                os._exit(0)
        os.close(write_end)
        workers[read_end] = pid, b""
    while workers:
        for pipe in select.select(list(workers), [], [])[0]:
            pid, begun = workers[pipe]
            piece = os.read(pipe, 1 << 16)
            *lines, rest = (begun + piece).split(b"\n")
            workers[pipe] = pid, rest
            for line in lines:
                name, verdict = json.loads(line)
                yield name, None if verdict is None else Verdict(*verdict)
            if not piece:
                del workers[pipe]
                os.close(pipe)
                os.waitpid(pid, 0)
