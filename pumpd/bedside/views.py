"""How a bed looks from outside: the bodies of its messages, made from the state. Pure.

Unknown is None with a quality, never 0 and never the last value (S7): while the pump is not seen, everything that only
the pump can tell is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal, cast

from pumpd.bedside.desk import Proposal
from pumpd.bedside.unminded import unminded
from pumpd.core import alarms
from pumpd.core.limits import Finding
from pumpd.core.plan import Plan
from pumpd.core.state import Phase as InnerPhase
from pumpd.core.state import Sight, State
from pumpd.core.therapy import catch_up, offer
from pumpd.driver import Capabilities, Container, Motion, PumpReport
from pumpd.messaging.messages import Alarm, Fitted, Phase, PlanStep, Quality, Session, Telemetry
from pumpd.units import Ml, MlPerHour

TelemetryState = Literal[
    "infusing", "bolus", "purging", "kvo", "withdrawing", "paused", "stopped", "ended", "alarm", "unknown"
]
SHOWN = Decimal("0.001")  # mL and mg; finer than any pump counts here
SHOWN_BY_WEIGHT = Decimal("0.0001")  # mg/kg
OVER = (InnerPhase.ENDING, InnerPhase.OBSERVING, InnerPhase.ENDED, InnerPhase.ABORTED)


def telemetry(state: State, pump_id: str, now: float, rx_age_ms: int | None) -> Telemetry:
    """One coherent sample. `now` is session time; `rx_age_ms` the wire age of the last reading."""
    seen = state.sight is Sight.SEEING and state.report is not None
    report = state.report if seen else None
    plan, elapsed = state.plan, state.elapsed_at(now)
    in_session = plan is not None and state.has_session
    counting = in_session and state.volumes.last_count is not None
    volumes = state.volumes
    planned = plan.volume_at(elapsed) if plan is not None else None
    remaining, origin = _remaining(state, elapsed)
    return Telemetry(
        pump=pump_id,
        session_id=state.session_id or None,
        state=_motion(state, report),
        control=_control(state),
        rate_plan_ml_h=_planned_rate(state, elapsed),
        rate_set_ml_h=_number(state.ordered) if in_session else None,
        rate_read_ml_h=_number(_flowing(report)),
        volume_plan_ml=_shown(planned) if planned is not None else None,
        volume_pump_ml=_shown(volumes.counted) if counting and seen else None,
        volume_integrated_ml=_shown(volumes.high) if counting else None,
        deviation_ml=_shown(volumes.counted - planned) if planned is not None and counting and seen else None,
        elapsed_s=round(elapsed, 1) if plan is not None else None,
        remaining_s=remaining,
        remaining_origin=origin,
        pressure_kpa=None,
        battery_pct=None,
        rx_age_ms=rx_age_ms,
        quality=_quality(report, seen, counting),
    )


def _motion(state: State, report: PumpReport | None) -> TelemetryState:
    if report is None or report.motion is Motion.UNKNOWN:
        return "unknown"
    if report.motion is not Motion.STANDING:
        return cast(TelemetryState, report.motion.value)
    if state.told:
        return "alarm"
    if state.phase is InnerPhase.PAUSED:
        return "paused"
    return "ended" if state.phase in OVER else "stopped"


def _control(state: State) -> Literal["remote", "local", "none"]:
    if not state.has_session or state.released:
        return "none"
    return "local" if "rate_below_plan" in state.conditions or "restarted_at_keypad" in state.conditions else "remote"


def _flowing(report: PumpReport | None) -> MlPerHour | None:
    if report is None:
        return None
    return MlPerHour(0) if report.motion is Motion.STANDING else report.rate


def _planned_rate(state: State, elapsed: float) -> Decimal | None:
    if state.plan is None:
        return None
    running = state.phase in (InnerPhase.RUNNING, InnerPhase.RECOVERING)
    return state.plan.rate_at(elapsed).value if running else Decimal(0)


def _remaining(state: State, elapsed: float) -> tuple[float | None, Literal["plan", "pump", "estimate"] | None]:
    plan = state.plan
    if plan is None or not state.has_session or state.phase in OVER:
        return None, None
    left, by_plan = _left(state, plan, elapsed)
    return round(left, 1), "plan" if by_plan and state.sight is Sight.SEEING else "estimate"


def _left(state: State, plan: Plan, elapsed: float) -> tuple[float, bool]:
    """Seconds left, and whether the plan says so; where its time is no guide, the missing volume and the rate do."""
    planned = max(0.0, plan.seconds - elapsed)
    rate = _flowing(state.report)
    off_plan = "rate_below_plan" in state.conditions or not planned
    missing = plan.volume - state.volumes.counted
    if not (off_plan and rate and missing > Ml(0)):
        return planned, True
    return rate.seconds_for(missing), False


def _quality(report: PumpReport | None, seen: bool, counting: bool) -> dict[str, Quality]:
    rate: Quality = "valid" if report is not None and report.rate is not None else "unavailable"
    counted: Quality = "valid" if seen and counting else "unavailable"
    integrated: Quality = ("valid" if seen else "estimated") if counting else "unavailable"
    return {"rate_read_ml_h": rate, "volume_pump_ml": counted, "volume_integrated_ml": integrated}


def session(
    state: State, pump_id: str, bed: str, able: Capabilities, now: float, wall: datetime, speed: float
) -> Session:
    """The plan and how far it has come. `wall` labels; the therapy never reads it."""
    plan = state.plan
    if plan is None:
        return _no_session(state, pump_id, bed)
    prescription = plan.prescription
    given = state.volumes.counted
    mass = prescription.concentration.mass_in(given).value
    known = state.sight is Sight.SEEING or not state.has_session  # while blind more may have been given (S7)
    elapsed = state.elapsed_at(now)
    running = state.run_since is not None
    left, _ = _left(state, plan, elapsed)
    figures = offer(state, now)
    return Session(
        pump=pump_id,
        bed=bed,
        session_id=state.session_id,
        revision=state.revision,
        phase=cast(Phase, state.phase.value),
        sight=state.sight.value,
        drug=prescription.drug,
        concentration_mg_ml=prescription.concentration.value,
        weight_kg=prescription.weight.value,
        dose_mg_kg=_round(prescription.mass.value / prescription.weight.value, SHOWN_BY_WEIGHT),
        dose_mg=_round(plan.dose.value),
        volume_ml=plan.volume.value,
        duration_s=round(plan.seconds, 1),
        steps=tuple(
            PlanStep(duration_s=round(step.seconds, 1), rate_ml_h=step.rate.value, volume_ml=_shown(step.volume))
            for step in plan.steps
        ),
        container=_fitted(prescription.container),
        delivered_ml=_shown(given) if known else None,
        delivered_mg=_round(mass) if known else None,
        delivered_mg_kg=_round(mass / prescription.weight.value, SHOWN_BY_WEIGHT) if known else None,
        elapsed_s=round(elapsed, 1),
        remaining_s=round(left, 1),
        started_ts=None if state.started is None else wall - timedelta(seconds=(now - state.started) / speed),
        ends_ts=wall + timedelta(seconds=left / speed) if running and state.sight is Sight.SEEING else None,
        hold_reason=state.hold.reason if state.hold is not None else None,
        confirm_rate_ml_h=_number(figures[0]) if figures else None,
        confirm_volume_ml=_number(figures[1]) if figures else None,
        catch_up_rate_ml_h=_number(catch_up(state, now)),
        **unminded_figures(plan, given, able) if state.phase not in OVER else {},
    )


def unminded_figures(plan: Plan, given: Ml, able: Capabilities) -> dict[str, Any]:
    """What the pump could still give if its line died, after `given` mL of the plan."""
    alone = unminded(plan, given, able)
    return {"unminded_s": alone.seconds, "unminded_ml": alone.volume.value, "unminded_mg": alone.dose.value}


def _fitted(container: Container) -> Fitted:
    return Fitted(
        kind=container.kind, make=container.make, size_ml=container.size.value, diameter_mm=container.diameter_mm
    )


def _no_session(state: State, pump_id: str, bed: str) -> Session:
    return Session(
        pump=pump_id,
        bed=bed,
        session_id=None,
        revision=state.revision,
        phase=None,
        sight=state.sight.value,
        drug=None,
        concentration_mg_ml=None,
        weight_kg=None,
        dose_mg_kg=None,
        duration_s=None,
        steps=(),
        delivered_mg=None,
        delivered_mg_kg=None,
        started_ts=None,
        ends_ts=None,
        hold_reason=None,
    )


def proposal(made: Proposal) -> dict[str, Any]:
    """A plan with every limit met or broken, for the answer to `session.plan` and for `pumpd plan`."""
    plan = made.plan
    prescription = plan.prescription
    return {
        "drug": prescription.drug,
        "weight_kg": prescription.weight.value,
        "concentration_mg_ml": prescription.concentration.value,
        "container": _fitted(prescription.container).model_dump(),
        "volume_ml": plan.volume.value,
        "dose_mg": _round(plan.dose.value),
        "rate_ml_h": plan.first_rate.value,
        "duration_s": round(plan.seconds, 1),
        "steps": [
            {"rate_ml_h": step.rate.value, "volume_ml": _shown(step.volume), "duration_s": round(step.seconds, 1)}
            for step in plan.steps
        ],
        "drug_library": {"version": made.limits.version, "sha256": made.limits.sha256},
        "limits": findings(made.findings),
    }


def findings(found: Iterable[Finding]) -> list[dict[str, str]]:
    """How a plan stands to each limit, as the answer to `session.plan` tells it."""
    return [{"name": each.name, "level": each.level.value, "text": each.text} for each in found]


def audio_pause(pause: alarms.AudioPause | None, wire: float, wall: datetime) -> tuple[datetime | None, str | None]:
    """Until when, on the wall, and by whom the sound of all is paused; two Nones when it is not."""
    if pause is None or pause.over(wire):
        return None, None
    return wall + timedelta(seconds=pause.until - wire), pause.by


def _inactivation(
    standing: alarms.Alarm, pause: alarms.AudioPause | None, wire: float, wall: datetime
) -> tuple[alarms.Inactivation, str | None, datetime | None]:
    """Its own state, or that of the pause for all: what, by whom, until when."""
    if standing.inactivation is not alarms.Inactivation.ENABLED:
        until = None if standing.until is None else wall + timedelta(seconds=standing.until - wire)
        return standing.inactivation, standing.inactivated_by, until
    until, by = audio_pause(pause, wire, wall)
    return (alarms.Inactivation.ENABLED if until is None else alarms.Inactivation.AUDIO_PAUSED), by, until


def alarm(standing: alarms.Alarm, bed: str, pause: alarms.AudioPause | None, wire: float, wall: datetime) -> Alarm:
    """One alarm as displays get it."""
    entry = standing.entry
    inactivation, inactivated_by, until = _inactivation(standing, pause, wire, wall)
    return Alarm(
        alarm_id=standing.alarm_id,
        bed=bed,
        source=standing.source,
        session_id=standing.session_id,
        code=standing.code,
        kind=cast(Literal["patient", "technical"], entry.kind),
        priority=cast(Literal["high", "medium", "low"], standing.priority),
        condition="present" if standing.shown_present else "gone",
        latched=standing.latched,
        first_ts=datetime.fromisoformat(standing.first_ts),
        last_ts=datetime.fromisoformat(standing.last_ts),
        count=standing.count,
        acked_by=standing.acked_by,
        acked_ts=datetime.fromisoformat(standing.acked_ts) if standing.acked_ts else None,
        inactivation=inactivation.value,
        inactivated_by=inactivated_by,
        until=until,
        text_key=f"alarm.{standing.code}",
        text=entry.text,
        action_key=f"action.{standing.code}",
        action=entry.action,
        order=standing.order,
        mdc=entry.mdc,
        values=dict(standing.values),
    )


def description_limits(state: State) -> dict[str, Any]:
    """What the pump can be set to with the container of the present session."""
    return {} if state.rules is None else asdict(state.rules.fitted)


def _number(quantity: Ml | MlPerHour | None) -> Decimal | None:
    return None if quantity is None else quantity.value


def _shown(volume: Ml) -> Decimal:
    return volume.value.quantize(SHOWN, ROUND_FLOOR)


def _round(value: Decimal, step: Decimal = SHOWN) -> Decimal:
    return value.quantize(step, ROUND_FLOOR)
