"""The session machine in any order of events, for as many steps as asked: tests/unit/core/test_any_order_of_events.py.

The ordinary suite plays a small part. Each round has a seed of its own, printed where it breaks a rule.
"""

from __future__ import annotations

import traceback

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.unit.core.test_any_order_of_events import AnyOrder

EXAMPLES, LONGEST = 25, 80  # sequences of one round, and steps of a sequence


class Counted(AnyOrder):
    """Counts its steps over all rounds."""

    steps = 0

    @invariant()
    def _one_more(self) -> None:
        Counted.steps += 1


def play(seed: int, *, shrink: bool = True) -> None:
    """One round. Raises what broke, with the steps that lead there printed, the fewest where `shrink`."""
    machine = type("AnyOrder", (Counted,), {"_hypothesis_internal_use_seed": seed})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=LONGEST,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def campaign(seed: int, seeds: int) -> bool:
    """Play rounds from `seed` on until `seeds` steps are done."""
    rounds, broken, Counted.steps = 0, 0, 0
    while Counted.steps < seeds and not broken:
        try:
            play(seed + rounds)
        except Exception:  # whatever it is, it ends the campaign with its story
            broken += 1
            print(f"seed {seed + rounds}:")
            traceback.print_exc()
        rounds += 1
    print(f"  {Counted.steps} steps in {rounds} rounds from seed {seed}; {broken} broke a rule")
    return not broken
