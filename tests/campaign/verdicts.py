"""What a campaign finds: a rule that was broken, or figures that show how near each bound was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

RULES = {
    "I1": "what pumpd's own orders gave stays within the plan",
    "I2": "what a hand or a fault gave in sight is ended in time, and told",
    "I3": "what is given without sight stays within the pump's own watchdog and limit",
    "I4": "nothing reaches the patient but what the plunger pushed; trapped pressure is let out before going on",
    "I5": "what gives more on the wire has its confirmed human order, or step of the plan, in the journal",
    "R1": "each condition has its alarm",
    "R2": "a motion against the plan is stopped",
    "R3": "blind is told",
    "R4": "a stop that is owed is told, and kept",
    "R5": "a rate above the plan is set down",
    "R6": "when all faults are gone, STOP stops and the next patient can be treated",
    "R7": "the journal replays",
    "R8": "nothing ends with an exception, and no task is left behind",
}


class Broken(AssertionError):
    """A rule of safety did not hold. The text has the story up to there."""


class RuleBroken(Broken):
    """... and which one it was."""

    def __init__(self, rule: str, text: str) -> None:
        assert rule in RULES, rule
        super().__init__(rule, text)
        self.rule, self.text = rule, text

    def __str__(self) -> str:
        return f"{self.rule} ({RULES[self.rule]}): {self.text}"


@dataclass
class Figures:
    """Sums over runs, and for each bound the run that came nearest to it."""

    sums: Counter[str] = field(default_factory=Counter)
    nearest: dict[str, tuple[float, float, int]] = field(default_factory=dict)  # name -> measured, bound, seed

    def add(self, name: str, amount: float) -> None:
        self.sums[name] += amount  # type: ignore[assignment]  # a counter of floats

    def measured(self, name: str, value: float, bound: float, seed: int) -> None:
        """Keep it if it used up more of its bound than any before."""
        known = self.nearest.get(name)
        if known is None or _share(value, bound) > _share(known[0], known[1]):
            self.nearest[name] = value, bound, seed

    def join(self, other: Figures) -> None:
        """Take another run's figures in."""
        for name, amount in other.sums.items():
            self.add(name, amount)
        for name, (value, bound, seed) in other.nearest.items():
            self.measured(name, value, bound, seed)

    def table(self) -> str:
        """For people: mL by who moved the plunger, then what came nearest to each bound."""
        lines = [f"  {name:44} {amount:12.3f}" for name, amount in sorted(self.sums.items())]
        lines += [
            f"  {name:60} {value:9.4f} of {bound:9.4f}  (seed {seed})"
            for name, (value, bound, seed) in sorted(self.nearest.items())
        ]
        return "\n".join(lines)


def _share(value: float, bound: float) -> float:
    """Of the bound; where nothing was allowed, nothing used up less than nothing."""
    return value / bound if bound else float("inf") if value else -1.0
