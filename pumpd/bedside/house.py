"""What a bed is made of, what all beds share, and whom a bed tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pumpd.bedside.budget import Budget
from pumpd.bedside.desk import Proposal, Site
from pumpd.bedside.quiet import Quiet
from pumpd.clock import Clock
from pumpd.core import events as ev
from pumpd.core.state import State
from pumpd.messaging.outlet import Outlet
from pumpd.records.logbook import Logbook
from pumpd.records.patients import Patients


@dataclass(frozen=True, slots=True)
class Setup:
    """What a bed is made of, from the configuration."""

    bed: str
    pump_id: str
    driver: str
    site: Site
    speed: float
    stagger_s: float = 0.0  # wire seconds its polls and pulses begin later, so that beds do not all speak at once


class Office(Protocol):
    """What a bed tells the station."""

    def answer(self, answer: ev.Answer, bed: str, state: State, proposal: Proposal | None = None) -> None:
        """One step in the life of a request."""

    def alarms_changed(self) -> None:
        """The board of a bed has changed visibly."""

    def sound(self, bed: str, highest: str | None, *, paused: bool) -> None:
        """What a bed wants its annunciator to do."""


@dataclass(frozen=True, slots=True)
class House:
    """What all beds share."""

    clock: Clock
    logbook: Logbook
    outlet: Outlet
    office: Office
    budget: Budget
    new_id: Callable[[], str]  # random, or from a seed
    quiet: Quiet
    escalate_after: Mapping[str, float] = field(default_factory=dict)  # priority: seconds unattended, where configured
    patients: Patients = field(default_factory=Patients)  # who had which session
