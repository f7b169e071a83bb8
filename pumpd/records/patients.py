"""Which sessions each patient had, for the check of the next one. Read from the journal at the start, then kept up.

It is held in memory, since a plan is checked in the loop that supervises every bed, and a disk may hang.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from pumpd.core.intake import WEEK_DAYS, Former
from pumpd.core.state import State
from pumpd.records.journal_file import Row
from pumpd.units import Kg

DAY_S = 86_400


class Given(NamedTuple):
    """One session that was started."""

    patient_ref: str
    session_id: str
    began: datetime
    weight: Kg
    number: int | None  # in the course, as it was entered


class Patients:
    """Answers from memory; `learn` once, `started` for each session that begins."""

    def __init__(self) -> None:
        self._given: defaultdict[str, list[Given]] = defaultdict(list)

    def learn(self, given: Iterable[Given]) -> None:
        """Take over what an older process recorded, oldest first."""
        for each in given:
            self._given[each.patient_ref].append(each)

    def started(self, state: State, at: datetime) -> None:
        """The session of this state has begun to give."""
        if state.plan is None:
            return
        ordered = state.plan.prescription
        known = self._given[ordered.patient_ref]
        if all(each.session_id != state.session_id for each in known):  # a journal that was read may know it already
            known.append(Given(ordered.patient_ref, state.session_id, at, ordered.weight, ordered.session_number))

    def former(self, patient_ref: str, now: datetime) -> Former | None:
        """The patient's last session that was started, as seen at `now`; None when there was none."""
        given = self._given.get(patient_ref)
        if not given:
            return None
        last = given[-1]
        lately = sum(_days(each.began, now) < WEEK_DAYS for each in given)
        return Former(last.session_id, last.weight, last.number, _days(last.began, now), lately)


def _days(then: datetime, now: datetime) -> int:
    """Nights between, as a person counts them; a wall clock that was set back gives 0, the shortest."""
    return max(0, round((now - then).total_seconds() / DAY_S))


def sessions_started(rows: Iterable[Row]) -> Iterator[Given]:
    """Every session whose start was ordered at the pump, from its PlanOrdered and StartOrdered rows.

    Whether the pump then began is not looked at: a wrong "no" would hide a session. Rows that are not of this version's
    shape are passed over: their patient then counts as new, which asks for a second person.
    """
    plans: dict[str, Given] = {}
    for row in rows:
        if row.kind == "PlanOrdered":
            plan = _plan(row)
            if plan is not None:
                plans[row.session_id] = plan
        elif row.session_id in plans and _begins(row):
            yield plans.pop(row.session_id)._replace(began=datetime.fromisoformat(row.ts))


def _plan(row: Row) -> Given | None:
    try:
        ordered = json.loads(row.data)["event"]["plan"]["prescription"]
        weight, unit = ordered["weight"].split()
        if unit != Kg.unit:
            return None
        at = datetime.fromisoformat(row.ts)
        return Given(ordered["patient_ref"], row.session_id, at, Kg(weight), ordered.get("session_number"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _begins(row: Row) -> bool:
    """Was the start taken, so that an order left for the pump?"""
    try:
        return any(effect["is"] == "Begin" for effect in json.loads(row.data)["effects"])
    except (ValueError, KeyError, TypeError):
        return False
