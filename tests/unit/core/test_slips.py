"""Slips of the hand: a figure of a correct prescription that is 10 or 60 times too large or small passes nobody (S8).

The prescriptions are drawn inside all soft limits of the shipped drug library. Each slip is made alone, and both an
override and a second person are given, so that only a hard limit, or no plan at all, can refuse it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings

from pumpd.bedside.desk import Proposal, Site, propose
from pumpd.bedside.intake import intake_of
from pumpd.core.limits import Level, check
from pumpd.core.plan import Plan, Step
from pumpd.library import load_syringes, share_file
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import Rejected, read_form
from pumpd.units import MlPerHour
from tests.unit.core.world import FITTED, KETAMINE, PUMP, Case

FACTORS = (Decimal(10), 1 / Decimal(10), Decimal(60), 1 / Decimal(60))
SIX_PLACES = Decimal("0.000001")  # what a request may say
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SITE = Site(
    pump=PUMP,
    drugs={"ketamine": KETAMINE},
    syringes=load_syringes(share_file("syringes.toml")),
    simulated=True,
    auto_restore=False,
    keypad_lock=False,
    observation_s=600.0,
    poll_s=1.0,
    reaction_s=0.5,
    max_rate=None,
)
CHECKS: dict[str, Any] = {
    "person": {"age_years": 41, "sex": "female"},
    "liver": {"result": "normal"},
    "other_drugs": {"result": "checked", "classes": []},
    "psychiatric": {"result": "done"},
    "vitals": {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": 98},
    "course": {"session_number": 1, "days_since_last": "none"},
}


def places(least: str, most: str, digits: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(least), Decimal(most), places=digits)


@st.composite
def prescriptions(draw: st.DrawFn) -> dict[str, Any]:
    """The arguments of a `session.plan` that nothing refuses."""
    unit = draw(st.sampled_from(["kg", "lb"]))
    weight = draw(places("40", "140", 1) if unit == "kg" else places("88.2", "308.6", 1))
    concentration = draw(st.sampled_from([Decimal(1), Decimal(2)]))
    minutes = draw(st.integers(40, 60))
    final = draw(st.sampled_from([Decimal(50), Decimal(60)]))
    args: dict[str, Any] = {
        "patient_ref": "p-1",
        "drug": "ketamine",
        "weight": {"value": weight, "unit": unit},
        "weight_again": {"value": weight, "unit": unit},
        "concentration_mg_ml": concentration,
        "preparation": {"drug_mg": final * concentration, "final_ml": final},
        "duration_min": minutes,
        "container": {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": final},
        "checks": CHECKS,
        "second_person": "nurse-2",
        "override": {"by": "Dr. A", "reason": "whatever it is"},
    }
    if draw(st.booleans()):
        args["dose_mg_per_kg"] = draw(places("0.4", "0.6", 2))
    else:
        args["dose_mg"] = draw(places("16", "60", 1))
    if draw(st.booleans()):
        args["steps"] = draw(steps(minutes))
    return args


@st.composite
def steps(draw: st.DrawFn, minutes: int) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 3))
    cuts = sorted(draw(st.sets(st.integers(1, minutes - 1), min_size=count - 1, max_size=count - 1)))
    times = [after - before for before, after in zip([0, *cuts], [*cuts, minutes], strict=True)]
    shares = [round(Decimal(time) / minutes * 100, 2) for time in times[:-1]]
    shares = [share * draw(st.sampled_from([Decimal("0.5"), Decimal(1)])) for share in shares]
    return [
        {"duration_min": time, "share_pct": share}
        for time, share in zip(times, [*shares, 100 - sum(shares)], strict=True)
    ]


def proposed(args: dict[str, Any]) -> Proposal:
    form = read_form(PlanArgs, args, "args.", None)
    return propose(form, SITE, intake_of(form, "nurse-1", NOON, None), "nurse-1")


def correct(args: dict[str, Any]) -> Proposal:
    """The plan of a correct prescription; another one is drawn where it is not."""
    try:
        made = proposed(args)
    except Rejected:
        assume(False)
        raise
    assume(all(finding.level in (Level.MET, Level.WARN) for finding in made.findings))
    return made


def refused(args: dict[str, Any]) -> bool:
    try:
        made = proposed(args)
    except Rejected:
        return True
    return any(finding.level is Level.HARD for finding in made.refused_by)


def slipped(args: dict[str, Any], factor: Decimal, *places: tuple[str | int, ...]) -> dict[str, Any]:
    spoiled = deepcopy(args)
    for *above, name in places:
        holder = spoiled
        for each in above:
            holder = holder[each]  # type: ignore[index]  # a path through objects and lists
        holder[name] = (Decimal(holder[name]) * factor).quantize(SIX_PLACES)  # type: ignore[index]
    return spoiled


TWICE = (("weight", "value"), ("weight_again", "value"))
SLIPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "the weight, in both entries": TWICE,
    "the weight, in the first entry": (TWICE[0],),
    "the weight, in the second entry": (TWICE[1],),
    "the duration": (("duration_min",),),
    "the concentration": (("concentration_mg_ml",),),
    "the drug made up": (("preparation", "drug_mg"),),
    "the volume made up": (("preparation", "final_ml"),),
}


@pytest.mark.shows("S8", "H63")
@pytest.mark.parametrize("factor", FACTORS, ids=["x10", "/10", "x60", "/60"])
@pytest.mark.parametrize("what", SLIPS)
@given(args=prescriptions())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_slip_in_one_figure_is_refused(what: str, factor: Decimal, args: dict[str, Any]) -> None:
    correct(args)
    assert refused(slipped(args, factor, *SLIPS[what]))


@pytest.mark.shows("S8", "H63")
@pytest.mark.parametrize("factor", FACTORS, ids=["x10", "/10", "x60", "/60"])
@given(args=prescriptions())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_slip_in_the_dose_or_in_any_step_is_refused(factor: Decimal, args: dict[str, Any]) -> None:
    made = correct(args)
    assert refused(slipped(args, factor, ("dose_mg_per_kg" if "dose_mg_per_kg" in args else "dose_mg",)))
    for number, step in enumerate(args.get("steps", ())):
        assert refused(slipped(args, factor, ("steps", number, "duration_min")))
        rates = {**args, "steps": [dict(each) for each in args["steps"]]}
        exact = made.plan.prescription.mass.value / args["concentration_mg_ml"]
        rate = exact * step["share_pct"] / 100 / step["duration_min"] * 60
        rates["steps"][number] = {"duration_min": step["duration_min"], "rate_ml_h": round(rate, 6)}
        if (
            exact * step["share_pct"] / 100 * abs(factor - 1) > exact / 500
        ):  # else it is no tenth of a percent of the dose
            assert refused(slipped(rates, factor, ("steps", number, "rate_ml_h")))


@pytest.mark.shows("S8", "H63")
@pytest.mark.parametrize("factor", FACTORS, ids=["x10", "/10", "x60", "/60"])
@given(args=prescriptions())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_slip_in_the_resulting_rate_is_refused(factor: Decimal, args: dict[str, Any]) -> None:
    """Whoever reckons the rate wrongly: it no longer gives the dose in the ordered time, and the mass rate is off."""
    plan = correct(args).plan
    wrong = replace(plan, steps=tuple(at_rate(step, factor) for step in plan.steps))
    most = MlPerHour(FITTED.rates.most)
    assert "rounding" in {each.name for each in check(wrong, KETAMINE, most) if each.level is Level.HARD}
    as_long_as_it_takes = replace(plan.prescription, duration_s=max(1, round(wrong.seconds)), portions=())
    followed = check(replace(wrong, prescription=as_long_as_it_takes), KETAMINE, most)
    assert "mass rate" in {each.name for each in followed if each.level is Level.HARD}


def at_rate(step: Step, factor: Decimal) -> Step:
    rate = step.rate * factor
    return Step(rate, step.volume, rate.seconds_for(step.volume))


@pytest.mark.shows("S8", "H63")
@pytest.mark.parametrize("factor", [Decimal(10), Decimal(60)])
@pytest.mark.parametrize("elapsed_s", [1, 600, 1800, 2640])
def test_a_slip_in_a_later_rate_that_gives_more_is_refused(factor: Decimal, elapsed_s: int) -> None:
    case = Case().running(elapsed_s)
    rate = case.plan.first_rate * factor
    plan: Plan = case.plan.continued_at(rate, case.state.elapsed_at(case.now), case.state.volumes.counted)
    hard = {each.name for each in check(plan, KETAMINE, MlPerHour(FITTED.rates.most)) if each.level is Level.HARD}
    assert "rate" in hard
