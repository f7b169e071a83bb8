"""The alarms of a clinical pump: which there are, what each does to the motor, and which stand now.

A trouble is raised by its cause. One that `holds` stands until a person acknowledges it and its cause is gone; any
other goes with its cause. What a family calls it on its wire is the family's own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Trouble(StrEnum):
    """What a pump may complain of, by the name that the back door takes."""

    OCCLUSION = "occlusion"  # downstream
    UPSTREAM_OCCLUSION = "upstream_occlusion"
    PRESSURE_LOW = "pressure_low"  # a line that came off
    AIR = "air_in_line"
    DOOR = "door_open"
    DROPS = "drop_sensor"
    FREE_FLOW = "free_flow"
    SYRINGE = "syringe_not_seated"
    CASSETTE = "cassette_detached"
    DRIVE_DISENGAGED = "drive_disengaged"
    DRIVE_BLOCKED = "drive_blocked"
    NEAR_EMPTY = "container_near_empty"
    EMPTY = "container_empty"
    NEAR_END = "near_end"
    LIMIT = "limit_reached"
    TIME_OVER = "time_over"
    KVO = "kvo_running"
    KVO_OVER = "kvo_over"
    BATTERY_LOW = "battery_low"
    BATTERY_EMPTY = "battery_empty"
    MAINS_LOST = "mains_lost"
    COMMUNICATION = "communication"
    FAULT = "internal_fault"
    RATE_INVALID = "rate_invalid"
    REMINDER = "reminder"  # call back: it stands and nobody does anything
    OPERATOR = "operator_active"
    STANDBY_OVER = "standby_over"
    PCA_BUTTON = "pca_button_missing"
    PCA_LIMIT = "pca_hourly_limit"


@dataclass(frozen=True)
class Rule:
    """What a trouble does: whether it stops the motor, and whether it stands until acknowledged."""

    stops: bool
    holds: bool


STOPS, WARNS, TELLS = Rule(True, True), Rule(False, True), Rule(False, False)
RULES: Mapping[Trouble, Rule] = {  # invented where a family's documents are silent; a family overrides what it knows
    Trouble.OCCLUSION: STOPS,
    Trouble.UPSTREAM_OCCLUSION: STOPS,
    Trouble.PRESSURE_LOW: TELLS,
    Trouble.AIR: STOPS,
    Trouble.DOOR: STOPS,
    Trouble.DROPS: STOPS,
    Trouble.FREE_FLOW: STOPS,
    Trouble.SYRINGE: STOPS,
    Trouble.CASSETTE: STOPS,
    Trouble.DRIVE_DISENGAGED: STOPS,
    Trouble.DRIVE_BLOCKED: STOPS,
    Trouble.NEAR_EMPTY: TELLS,
    Trouble.EMPTY: STOPS,
    Trouble.NEAR_END: TELLS,
    Trouble.LIMIT: WARNS,  # what happens at the limit is a setting, not an alarm's doing
    Trouble.TIME_OVER: WARNS,
    Trouble.KVO: TELLS,
    Trouble.KVO_OVER: STOPS,
    Trouble.BATTERY_LOW: TELLS,
    Trouble.BATTERY_EMPTY: Rule(True, False),
    Trouble.MAINS_LOST: TELLS,
    Trouble.COMMUNICATION: STOPS,
    Trouble.FAULT: STOPS,
    Trouble.RATE_INVALID: WARNS,
    Trouble.REMINDER: WARNS,
    Trouble.OPERATOR: WARNS,
    Trouble.STANDBY_OVER: WARNS,
    Trouble.PCA_BUTTON: WARNS,
    Trouble.PCA_LIMIT: WARNS,
}


def rules(*known: Trouble, **others: Rule) -> Mapping[Trouble, Rule]:
    """Table of a family that has these troubles and no other; `others` by name, with a rule of the family's own."""
    return {trouble: RULES[trouble] for trouble in known} | {Trouble(name): rule for name, rule in others.items()}


@dataclass
class Standing:
    """One trouble that stands."""

    caused: bool  # whether its cause is still there
    acknowledged: bool = False


class Board:
    """Which troubles stand, and which were raised since somebody last asked."""

    def __init__(self, rules: Mapping[Trouble, Rule]) -> None:
        self.rules = rules
        self.raised: list[Trouble] = []  # since the mouth last had the chance to announce by itself
        self._standing: dict[Trouble, Standing] = {}
        self._forced: set[Trouble] = set()

    @property
    def present(self) -> tuple[Trouble, ...]:
        """The troubles that stand, oldest first."""
        return tuple(self._standing)

    @property
    def sounding(self) -> bool:
        """Whether one stands that nobody has acknowledged."""
        return any(not trouble.acknowledged for trouble in self._standing.values())

    def has(self, trouble: Trouble) -> bool:
        """Whether it stands."""
        return trouble in self._standing

    def blocking(self) -> Trouble | None:
        """A trouble whose cause is still there and that keeps the motor from turning, if any."""
        for trouble, standing in self._standing.items():
            if standing.caused and self.rules[trouble].stops:
                return trouble
        return None

    def strike(self, trouble: Trouble, *, caused: bool) -> bool:
        """Raise a trouble; tell whether that is new. `caused`: it lasts until `over`, else it just happened."""
        if trouble not in self.rules:
            return False
        standing = self._standing.get(trouble)
        if standing is not None and not standing.acknowledged:
            standing.caused = standing.caused or caused
            return False
        if standing is not None and standing.caused:
            return False
        self._standing[trouble] = Standing(caused)
        self.raised.append(trouble)
        return True

    def over(self, trouble: Trouble) -> bool:
        """Its cause is gone; tell whether the trouble is gone with it."""
        standing = self._standing.get(trouble)
        if standing is None or trouble in self._forced:
            return False
        standing.caused = False
        if self.rules[trouble].holds and not standing.acknowledged:
            return False
        del self._standing[trouble]
        return True

    def acknowledge(self) -> tuple[Trouble, ...]:
        """A person has seen them all; tell which are gone by that: those whose cause is gone."""
        gone = tuple(trouble for trouble, standing in self._standing.items() if not standing.caused)
        for trouble in gone:
            del self._standing[trouble]
        for standing in self._standing.values():
            standing.acknowledged = True
        return gone

    def force(self, trouble: Trouble) -> bool:
        """Raise it whatever the physics say, until `unforce`."""
        self._forced.add(trouble)
        return self.strike(trouble, caused=True)

    def unforce(self, trouble: Trouble) -> bool:
        """End what `force` began."""
        self._forced.discard(trouble)
        return self.over(trouble)

    def clear(self) -> None:
        """The pump went dark: nothing is remembered, but what is forced comes back by itself."""
        self._standing.clear()
        self.raised.clear()
        for trouble in sorted(self._forced):
            self.strike(trouble, caused=True)
