"""What kind of bed a seed has drawn, and what its pump's family is known for: figures from each family's own page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.campaign.readers import READERS, Reader
from tests.families import KINDS

USED_UP = 1e-9  # mL: a limit that was reached lets nothing through, and is one
CONTROLLED = ("newera", "alaris", "perfusor", "infusomat", "harvard")


@dataclass(frozen=True)
class Facts:
    """Of one family (docs/devices)."""

    smallest_ml: float = 0.001  # the least limit that can be set
    counted_ml: float = 0.0  # step of the pump's own counter: so much has gone in before it tells
    watchdog_s: int | None = None
    watchdog_minds_keys: bool = True  # ... also what was started at the keypad
    answers_s: float = 0.0  # how much longer than a New Era's its answers, polls and retries may take
    limit_grain_ml: float = 1e-6  # how exactly a limit is what was ordered: a target stands on a counter's last digit
    checked: bool = True  # a flipped bit is noticed


FACTS: Mapping[str, Facts] = {
    "newera": Facts(),
    "alaris": Facts(counted_ml=0.01, watchdog_s=15, watchdog_minds_keys=False, answers_s=4.0),
    "perfusor": Facts(smallest_ml=0.1, counted_ml=0.1, answers_s=2.0),  # for 2 s after a key it takes no order
    "infusomat": Facts(smallest_ml=0.1, counted_ml=0.1, answers_s=2.0),
    "harvard": Facts(answers_s=1.0, limit_grain_ml=0.0001, checked=False),
}


@dataclass(frozen=True)
class Kind:
    """One bed. `mode`, `watchdog_s` and `same_address` are a New Era's."""

    mode: str
    watchdog_s: int
    model: str
    hands: bool  # somebody at the keypad
    faults: bool  # the pump runs away by itself
    pace: int  # so that some sessions come to their end
    falling: bool = False  # every plan begins fast and goes on slowly
    same_address: bool = False  # of two pumps, told apart by their versions alone
    family: str = "newera"

    @property
    def facts(self) -> Facts:
        """What its family is known for."""
        return FACTS[self.family]

    @property
    def accuracy(self) -> float:
        """The share by which the plunger may go further than the pump counts."""
        return 0.02 if self.model == "typical" else 0.0

    @property
    def slack_ml(self) -> float:
        """... and what may have gone in besides."""
        return 0.06 * (self.model == "typical") + self.facts.counted_ml

    @property
    def checked(self) -> bool:
        """A damaged frame is known for one."""
        return self.facts.checked and self.mode == "safe"

    @property
    def pump_watchdog_s(self) -> int | None:
        """Seconds after which the pump stops by itself."""
        if self.family != "newera":
            return self.facts.watchdog_s
        return self.watchdog_s if self.mode == "safe" else None

    @property
    def reader(self) -> Reader:
        """Of its wire."""
        return READERS[KINDS[self.family].family]


def could_give(truth: Mapping[str, Any], kind: Kind) -> float:
    """What the limit in the standing pump still lets through, mL; 0: there is no limit."""
    limit = float(truth["limit_ml"])
    if limit and kind.family == "harvard":  # a target on its counter
        return limit - float(truth["infused_ml"])
    if "limit_left_ml" not in truth:
        return limit
    left = truth["limit_left_ml"]
    return 0.0 if left is None else max(float(left), USED_UP)


def told_limit(limit_ml: float, truth: Mapping[str, Any], kind: Kind) -> float:
    """What a limit that is being written lets through."""
    return limit_ml - float(truth["infused_ml"]) if limit_ml and kind.family == "harvard" else limit_ml
