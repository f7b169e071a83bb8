"""A thought that does not end is interrupted; one that does is not, and nobody else ever is (S16)."""

from __future__ import annotations

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


@pytest.mark.shows("beyond:THINK_MAX_S", "S16", "H52")
def test_an_endless_thought_is_interrupted_within_its_budget() -> None:
    began = time.process_time()
    with pytest.raises(ThoughtTooLong):
        Budget().run(for_ever)
    assert THINK_MAX_S * 0.5 < time.process_time() - began < THINK_MAX_S * 4


@pytest.mark.shows("within:THINK_MAX_S")
def test_a_thought_within_its_budget_is_left_alone() -> None:
    assert Budget().run(compute, THINK_MAX_S * 0.4) == "done"


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
