"""From a request to an event of the session, or to a refusal with its reason. Pure: no I/O, no time of its own.

The form and the freshness of a request were judged before (`messaging.requests`, `messaging.auth`). Here it is held
against the session it means, and turned into the units of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from pumpd.bedside.intake import intake_of, weighing_of
from pumpd.core import events as ev
from pumpd.core.intake import Former, Intake, check_intake
from pumpd.core.limits import CODE_MAX_RATE, DrugLimits, Finding, Level, Override, broken, check, worst_first
from pumpd.core.plan import NoPlan, Plan, Portion, Prescription, make_plan
from pumpd.core.state import State
from pumpd.core.therapy import before_plan
from pumpd.driver import BadSetting, Capabilities, Container, Fitted, Pump
from pumpd.library import Syringe
from pumpd.messaging.prescription import ContainerArgs, PlanArgs, PrescriptionArgs, StepArgs
from pumpd.messaging.requests import (
    STOPPING,
    AcceptArgs,
    ArmArgs,
    ContainerChange,
    RateArgs,
    Rejected,
    Request,
    ResumeArgs,
)
from pumpd.units import Mg, MgPerKg, MgPerMl, Ml, MlPerHour

# What no pump can tell; each item is confirmed by a person at arming and recorded (docs/safety.md, Arming).
CHECKLIST = ("air-purged-disconnected", "clamps-open", "line-connected", "syringe-seated", "patient-monitored")
TOWARDS_A_DOSE = frozenset({"session.arm", "session.start", "session.resume", "session.finish"})
TAKES = {"syringe": "syringe", "volumetric": "bag"}  # by kind of pump
SHARES_MAY_MISS = Decimal("0.001")  # rates given with three digits do not add up to the volume exactly


@dataclass(frozen=True, slots=True)
class Site:
    """What this bed offers to plan with."""

    pump: Pump
    drugs: dict[str, DrugLimits]
    syringes: Sequence[Syringe]
    simulated: bool
    auto_restore: bool
    keypad_lock: bool
    observation_s: float
    poll_s: float  # session seconds between two polls
    reaction_s: float  # session seconds a stop takes to act
    max_rate: MlPerHour | None
    serial_number: str | None = None  # the configured one: no other pump is the pump of this bed

    def fitted(self, container: Container) -> Fitted:
        """What the pump can set with this container. Raises Rejected when it does not fit."""
        takes = TAKES[self.capabilities.kind]
        if container.kind != takes:
            raise Rejected("limit", f"container {container.kind}: a {self.capabilities.kind} pump takes a {takes}")
        try:
            return self.pump.fitted(container)
        except BadSetting as error:
            raise Rejected("limit", f"container: {error}") from None

    @property
    def capabilities(self) -> Capabilities:
        """Of the pump."""
        return self.pump.capabilities


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan, and how it stands to every limit. `intake` is None on paper, where nothing was checked."""

    plan: Plan
    fitted: Fitted
    limits: DrugLimits
    findings: tuple[Finding, ...]
    refused_by: tuple[Finding, ...]
    intake: Intake | None = None


def event_for(
    request: Request,
    state: State,
    site: Site,
    new_session: Callable[[], str],
    annunciator: str,
    former: Former | None = None,
) -> ev.Event:
    """The event this request means now. Raises Rejected. `former` is what the journal knows of the patient."""
    by = ev.By(request.actor, request.role, request.origin, request.id)
    _same_session(request, state)
    if request.verb in TOWARDS_A_DOSE:
        _same_history(request, state, former)
    return EVENTS[request.verb](request, by, state, site, new_session, annunciator, former)


def proposal_for(request: Request, site: Site, former: Former | None) -> Proposal:
    """The plan that `session.plan` asks for, with all that was checked. Raises Rejected when there can be none."""
    assert isinstance(request.args, PlanArgs)
    intake = intake_of(request.args, request.actor, request.issued_ts, former)
    return propose(request.args, site, intake, request.actor)


def _same_session(request: Request, state: State) -> None:
    verb = request.verb
    if verb in ("session.plan", "pump.stop", "standby"):
        return
    if request.session_id != state.session_id or not state.session_id:
        present = f"the present one is {state.session_id}" if state.session_id else "there is none at this bed"
        raise Rejected("wrong_session", f"session {request.session_id or 'not named'}: {present}", request.id)
    stale = request.expected_revision is not None and request.expected_revision != state.revision
    if stale and verb not in STOPPING:
        text = f"the session is at revision {state.revision}, not {request.expected_revision}: look again"
        raise Rejected("stale_revision", text, request.id)


def _same_history(request: Request, state: State, former: Former | None) -> None:
    """What was checked when it was planned has to be true still: two plans of one patient would be two doses (S8)."""
    if former is not None and former.session_id not in (state.former_session, state.session_id):
        text = "another session of this patient has begun since this one was planned: plan it again"
        raise Rejected("limit", text, request.id)


def propose(args: PrescriptionArgs, site: Site, intake: Intake | None = None, actor: str = "") -> Proposal:
    """The plan for a prescription, with every limit met and broken (S8). Raises Rejected when there can be none.

    `actor` plans it; `intake` is all that was checked, None on paper.
    """
    limits = site.drugs.get(args.drug)
    if limits is None:
        known = ", ".join(sorted(site.drugs)) or "none"
        raise Rejected("limit", f"drug {args.drug!r} is not in the drug library; it has: {known}")
    container, fitted = container_of(args.container, site)
    prescription = Prescription(
        patient_ref=args.patient_ref if isinstance(args, PlanArgs) else "",
        drug=args.drug,
        weight=intake.dosing_weight if intake else weighing_of(args.weight).weight,
        dose=_dose(args),
        concentration=MgPerMl(args.concentration_mg_ml),
        container=container,
        duration_s=_seconds(args.duration_min),
        session_number=intake.course.number if intake else None,
    )
    if args.steps:
        prescription = replace(prescription, portions=_steps(args.steps, prescription))
    try:
        plan = make_plan(prescription, fitted)
    except NoPlan as error:
        raise Rejected("limit", str(error)) from None
    ceiling = min(MlPerHour(fitted.rates.most), site.max_rate or CODE_MAX_RATE, key=lambda rate: rate.value)
    findings = check(plan, limits, ceiling)
    if intake is not None:
        findings = worst_first((*findings, *check_intake(intake, prescription, limits.course, actor)))
        intake = replace(intake, findings=tuple(each for each in findings if each.level is not Level.MET))
    return Proposal(plan, fitted, limits, findings, broken(findings, _override(args)), intake)


def _dose(args: PrescriptionArgs) -> MgPerKg | Mg:
    if args.dose_mg_per_kg is not None:
        return MgPerKg(args.dose_mg_per_kg)
    assert args.dose_mg is not None, "PlanArgs asks for one of the two"
    return Mg(args.dose_mg)


def _seconds(minutes: Decimal) -> int:
    seconds = minutes * 60
    if seconds != int(seconds):
        raise Rejected("malformed", f"duration {minutes} min is not a whole number of seconds")
    return int(seconds)


def _steps(steps: Sequence[StepArgs], prescription: Prescription) -> tuple[Portion, ...]:
    portions = _portions(steps, prescription.concentration.volume_of(prescription.mass))
    total, ordered = sum(portion.seconds for portion in portions), prescription.duration_s
    if total != ordered:
        text = f"steps: together they take {total / 60:g} min, but duration_min says {ordered / 60:g}"
        raise Rejected("malformed", text)
    return portions


def _portions(steps: Sequence[StepArgs], volume: Ml) -> tuple[Portion, ...]:
    portions = []
    for step in steps:
        seconds = _seconds(step.duration_min)
        if step.share_pct is not None:
            share = step.share_pct / 100
        else:
            assert step.rate_ml_h is not None, "StepArgs asks for one of the two"
            share = step.rate_ml_h * seconds / 3600 / volume.value
        portions.append(Portion(seconds, share))
    total = sum((portion.share for portion in portions), Decimal(0))
    if abs(total - 1) > SHARES_MAY_MISS:
        raise Rejected("malformed", f"steps: together they give {total * 100:.1f} % of the dose, not 100 %")
    return tuple(portions)


def container_of(args: ContainerArgs, site: Site) -> tuple[Container, Fitted]:
    """The container, a syringe with the diameter of the site's table. Raises Rejected for one unknown or unverified."""
    syringe = _syringe(args, site) if args.kind == "syringe" else None
    if syringe is None and args.diameter_mm is not None:
        raise Rejected("limit", f"diameter_mm {args.diameter_mm}: a {args.kind} has none")
    make, diameter = (syringe.make, syringe.diameter_mm) if syringe else (args.make, None)
    container = Container(args.kind, make, Ml(args.size_ml), diameter, Ml(args.fill_ml))
    return container, site.fitted(container)


def _syringe(args: ContainerArgs, site: Site) -> Syringe:
    size = Ml(args.size_ml)
    known = [syringe for syringe in site.syringes if syringe.make.lower() == args.make.lower() and syringe.size == size]
    if not known:
        table = ", ".join(f"{syringe.make} {syringe.size}" for syringe in site.syringes)
        raise Rejected("limit", f"container {args.make} {size} is not in the syringe table; it has: {table}")
    syringe = known[0]
    refusal = syringe.refusal(site.simulated)
    if refusal is not None:
        raise Rejected("limit", f"container {refusal}")
    if args.diameter_mm is not None and args.diameter_mm != syringe.diameter_mm:
        text = f"diameter_mm {args.diameter_mm}: the syringe table says {syringe.diameter_mm} for {args.make} {size}"
        raise Rejected("limit", text)
    return syringe


def rules_for(proposal: Proposal, site: Site) -> ev.Rules:
    """What holds for the session that is planned now."""
    return ev.Rules(
        pump=site.capabilities,
        fitted=proposal.fitted,
        limits=proposal.limits,
        poll_s=site.poll_s,
        reaction_s=site.reaction_s,
        auto_restore=site.auto_restore,
        keypad_lock=site.keypad_lock,
        observation_s=site.observation_s,
        max_rate=site.max_rate,
    )


# --- one builder for each verb --------------------------------------------------------------------------------------

Builder = Callable[[Request, ev.By, State, Site, Callable[[], str], str, Former | None], ev.Event]


def _plan(
    request: Request,
    by: ev.By,
    state: State,
    site: Site,
    new_session: Callable[[], str],
    _annunciator: str,
    former: Former | None,
) -> ev.Event:
    proposal = proposal_for(request, site, former)
    if proposal.refused_by:
        text = "; ".join(finding.text for finding in proposal.refused_by)
        raise Rejected("limit", text, request.id, proposal.findings)
    only_watched = "" if state.connected is None else state.connected.monitor_only
    if only_watched or not site.capabilities.control:
        why = f": {only_watched}" if only_watched else ""
        raise Rejected("not_allowed", f"this pump can only be monitored, not controlled{why}", request.id)
    rules = rules_for(proposal, site)
    return ev.PlanOrdered(by, new_session(), proposal.plan, rules, before_plan(state), proposal.intake)


def _arm(
    request: Request,
    by: ev.By,
    _state: State,
    _site: Site,
    _new_session: Callable[[], str],
    annunciator: str,
    _former: Former | None,
) -> ev.Event:
    assert isinstance(request.args, ArmArgs)
    missing = tuple(item for item in CHECKLIST if item not in request.args.checklist)
    return ev.ArmOrdered(by, request.args.patient_ref, missing, annunciator)


def _resume(request: Request, by: ev.By, *_context: object) -> ev.Event:
    assert isinstance(request.args, ResumeArgs)
    args = request.args
    mode = args.mode == "recalculate"
    return ev.ResumeOrdered(by, _confirm(request), mode, args.pressure_released, _override(args))


def _rate(request: Request, by: ev.By, *_context: object) -> ev.Event:
    assert isinstance(request.args, RateArgs)
    return ev.RateOrdered(by, MlPerHour(request.args.rate_ml_h), _confirm(request), _override(request.args))


def _accept(request: Request, by: ev.By, *_context: object) -> ev.Event:
    assert isinstance(request.args, AcceptArgs)
    return ev.AcceptOrdered(by, _confirm(request), _override(request.args))


def _container(request: Request, by: ev.By, _state: State, site: Site, *_context: object) -> ev.Event:
    assert isinstance(request.args, ContainerChange)
    container, fitted = container_of(request.args.container, site)
    return ev.ContainerOrdered(by, container, fitted)


def _plain(make: Callable[[ev.By], ev.Event]) -> Builder:
    return lambda _request, by, *_context: make(by)


def _confirmed(make: Callable[[ev.By, ev.Confirm | None], ev.Event]) -> Builder:
    return lambda request, by, *_context: make(by, _confirm(request))


def _override(args: AcceptArgs | PrescriptionArgs | RateArgs | ResumeArgs) -> Override | None:
    return Override(args.override.by, args.override.reason) if args.override else None


def _confirm(request: Request) -> ev.Confirm | None:
    given = request.confirm
    if given is None:
        return None
    return ev.Confirm(
        None if given.rate_ml_h is None else MlPerHour(given.rate_ml_h),
        None if given.volume_ml is None else Ml(given.volume_ml),
    )


EVENTS: dict[str, Builder] = {
    "session.plan": _plan,
    "session.arm": _arm,
    "session.start": _confirmed(ev.StartOrdered),
    "session.pause": _plain(ev.PauseOrdered),
    "session.resume": _resume,
    "session.stop": _plain(ev.StopOrdered),
    "session.restore": _confirmed(ev.RestoreOrdered),
    "session.accept": _accept,
    "session.finish": _confirmed(ev.FinishOrdered),
    "session.end": _plain(ev.EndOrdered),
    "session.release": _plain(ev.ReleaseOrdered),
    "standby": _plain(ev.StandbyOrdered),
    "session.container": _container,
    "pump.stop": _plain(ev.PumpStopOrdered),
    "rate.set": _rate,
}
