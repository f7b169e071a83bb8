"""From the form of `session.plan` to what the core judges and the journal keeps. Pure: no I/O, no time of its own."""

from __future__ import annotations

from datetime import datetime

from pumpd.core import intake as core
from pumpd.core.limits import Override
from pumpd.messaging.encode import timestamp
from pumpd.messaging.prescription import Checked, PlanArgs, WeightArgs
from pumpd.messaging.requests import Rejected
from pumpd.units import Mg, Ml


class _Pen:
    """Writes who and when beside each item: the sender at the time of the request, unless the item says otherwise."""

    def __init__(self, actor: str, at: datetime) -> None:
        self._actor, self._at = actor, at

    def noted(self, item: Checked, where: str) -> core.Noted:
        """Raises Rejected for an item that was checked in the future."""
        if item.at is not None and item.at > self._at:
            text = f"args.{where}.at: {timestamp(item.at)} is after the request itself, {timestamp(self._at)}"
            raise Rejected("malformed", text)
        return core.Noted(item.by or self._actor, timestamp(item.at or self._at))

    def weighing(self, item: WeightArgs, where: str) -> core.Weighing:
        return core.Weighing(item.value, item.unit, self.noted(item, where))


def weighing_of(item: WeightArgs) -> core.Weighing:
    """A weight on paper, where nobody says who weighed."""
    return core.Weighing(item.value, item.unit, core.Noted("", ""))


def intake_of(args: PlanArgs, actor: str, at: datetime, former: core.Former | None) -> core.Intake:
    """All that was entered for this session. Raises Rejected for an item that was checked in the future."""
    pen, checks = _Pen(actor, at), args.checks
    made, person, vitals, course = args.preparation, checks.person, checks.vitals, checks.course
    return core.Intake(
        weight=pen.weighing(args.weight, "weight"),
        weight_again=pen.weighing(args.weight_again, "weight_again"),
        preparation=core.Preparation(Mg(made.drug_mg), Ml(made.final_ml), pen.noted(made, "preparation")),
        person=core.Person(_number(person.age_years), person.sex, pen.noted(person, "checks.person")),
        liver=core.Liver(checks.liver.result, pen.noted(checks.liver, "checks.liver")),
        drugs=core.OtherDrugs(
            checks.other_drugs.result == "checked",
            tuple(checks.other_drugs.classes),
            pen.noted(checks.other_drugs, "checks.other_drugs"),
        ),
        psychiatric=core.Psychiatric(
            checks.psychiatric.result == "done", pen.noted(checks.psychiatric, "checks.psychiatric")
        ),
        vitals=core.Vitals(
            _number(vitals.sbp_mmhg),
            _number(vitals.dbp_mmhg),
            _number(vitals.hr_bpm),
            _number(vitals.spo2_pct),
            pen.noted(vitals, "checks.vitals"),
        ),
        course=core.Course(
            _number(course.session_number),
            _number(course.days_since_last),
            course.days_since_last == "none",
            pen.noted(course, "checks.course"),
        ),
        former=former,
        second_person=args.second_person,
        override=Override(args.override.by, args.override.reason) if args.override else None,
    )


def _number(value: int | str) -> int | None:
    """None for a word that says that nobody knows."""
    return value if isinstance(value, int) else None
