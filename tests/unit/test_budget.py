"""A thought that does not end is interrupted; one that does is not, and nobody else ever is (S16)."""

from __future__ import annotations

import resource
import time

import pytest

from pumpd.bedside.budget import THINK_MAX_S, Budget, ThoughtTooLong


def compute(cpu_s: float) -> str:
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        pass
    return "done"


def for_ever() -> None:
    while True:
        pass


def user_s() -> float:
    """Seconds of computing of this process, without those of the kernel: what the timer of a budget counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def think(seconds: float) -> str:
    until = user_s() + seconds
    while user_s() < until:
        sum(range(1000))
    return "done"


@pytest.mark.shows("beyond:THINK_MAX_S", "S16", "H52")
def test_an_endless_thought_is_interrupted_within_its_budget() -> None:
    began = user_s()
    with pytest.raises(ThoughtTooLong):
        Budget().run(for_ever)
    assert THINK_MAX_S * 0.8 < user_s() - began < THINK_MAX_S * 1.5


@pytest.mark.shows("within:THINK_MAX_S")
def test_a_thought_within_its_budget_is_left_alone() -> None:
    assert Budget().run(think, THINK_MAX_S * 0.8) == "done"


def test_many_thoughts_do_not_add_up() -> None:
    budget = Budget()
    for _ in range(10):
        assert budget.run(compute, THINK_MAX_S / 5) == "done"


def test_what_computes_outside_of_a_thought_is_never_interrupted() -> None:
    budget = Budget()
    budget.run(compute, 0.0)
    assert compute(THINK_MAX_S * 1.5) == "done"


def test_what_the_thought_raises_is_passed_on_and_the_budget_is_put_back() -> None:
    budget = Budget()
    with pytest.raises(ZeroDivisionError):
        budget.run(lambda: 1 // 0)
    assert compute(THINK_MAX_S * 1.5) == "done"
