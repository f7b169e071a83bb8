"""The battery of a pump that has one: carries it over a mains cut until it is empty. Times are simulated seconds."""

from __future__ import annotations

import math

RECHARGE_TIMES = 4.0  # invented: charging takes four times as long as the charge lasts


class Battery:
    """Full at first. Capacity 0 is a pump without one, as the New Era family is."""

    def __init__(self, lasts_min: float = 0.0) -> None:
        if not 0.0 <= lasts_min < math.inf:
            raise ValueError(f"battery {lasts_min} min: expected 0 (none) or how long a full one lasts")
        self._capacity_s = lasts_min * 60.0
        self._left_s = self._capacity_s
        self.on_mains = True

    @property
    def percent(self) -> float | None:
        """Charge in percent; None for a pump without a battery."""
        return 100.0 * self._left_s / self._capacity_s if self._capacity_s else None

    @property
    def empty(self) -> bool:
        """Whether it cannot carry the pump (true for a pump without one)."""
        return self._left_s <= 0.0

    @property
    def left_s(self) -> float:
        """How long it would still carry the pump; infinite for a pump without one, which never runs low."""
        return self._left_s if self._capacity_s else math.inf

    @property
    def idle(self) -> bool:
        """Whether its charge stays as it is."""
        return self.on_mains and self._left_s >= self._capacity_s

    def until_left(self, left_s: float) -> float:
        """Seconds until its charge passes through this, down or up; infinite when it goes the other way or nowhere."""
        away_s = self.left_s - left_s
        if self.on_mains:
            return -away_s * RECHARGE_TIMES if away_s <= 0 else math.inf
        return away_s if away_s > 0 else math.inf

    def until_empty(self) -> float:
        """Seconds until it lets the pump down; infinite on mains."""
        return math.inf if self.on_mains else self._left_s

    def advance(self, dt: float) -> None:
        """Drain off the mains, charge on it."""
        if self.on_mains:
            self._left_s = min(self._capacity_s, self._left_s + dt / RECHARGE_TIMES)
        else:
            self._left_s = max(0.0, self._left_s - dt)
