"""What each order of a person does. Pure handlers; which of them is legal when stands in `pumpd.core.session.TABLE`.

Stop and pause are never refused. Everything that gives more needs the figures read back to the person (`Confirm`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from pumpd.core import events as ev
from pumpd.core.limits import Finding, Level, Override, broken, check
from pumpd.core.plan import Plan
from pumpd.core.state import Phase, Sight, State
from pumpd.core.turn import Turn
from pumpd.driver import Motion
from pumpd.units import Ml, MlPerHour

UNARM_AFTER_S = 15 * 60.0  # an armed pump left alone so long is not surely as it was
LONG_PAUSE_S = 15 * 60.0  # a longer pause needs a prescriber to resume (docs/safety.md, Enforcement)
PRESCRIBER = "prescriber"


def plan_session(turn: Turn, event: ev.PlanOrdered) -> None:
    """A new plan takes nothing over from an older session; a stop that is still owed comes first.

    The one thing it keeps is which pump was armed for the former plan: that dose is still loaded in it (S1).
    """
    if turn.state.halt is not None:
        turn.refuse(event.by, "busy", "the pump was ordered to stop and has not been read standing yet")
        return
    if _waits(turn.state):
        turn.refuse(event.by, "busy", "an earlier order has not been read back yet")
        return
    before = event.before
    turn.state = State(
        phase=Phase.PLANNED,
        sight=Sight.BLIND if before.connected is None else Sight.SEEING,
        session_id=event.session_id,
        revision=before.revision,
        plan=event.plan,
        rules=event.rules,
        patient_ref=event.plan.prescription.patient_ref,
        former_session=event.intake.former.session_id if event.intake is not None and event.intake.former else "",
        connected=before.connected,
        report=before.report,
        ours=before.loaded,
        orders=before.orders,
        conditions=frozenset(before.conditions),
    )
    turn.clear("unarmed", "pump_not_proved")  # of the session before; who is there now is proved at arming
    if before.connected is not None:
        turn.clear("comms_lost_pump")
    turn.answer(event.by, "done", session_id=event.session_id, volume_ml=event.plan.volume.value)


def before_plan(state: State) -> ev.Before:
    """What a plan takes over from `state`."""
    seen = state.connected if state.sight is not Sight.BLIND else None
    loaded = state.ours if not state.released and state.sight is not Sight.VERIFYING and holds_dose(state) else None
    conditions = tuple(sorted(state.conditions))
    return ev.Before(seen, state.report, state.revision, state.orders, conditions, loaded)


def holds_dose(state: State) -> bool:
    """More than the smallest limit is, or may be, loaded in the pump that was armed."""
    return state.ours is not None and state.rules is not None and state.ours.limit != _least(state.rules)


def _waits(state: State) -> bool:
    """An order is on its way. A limit that is being lowered in a standing pump holds up no plan and no arming."""
    return state.pending is not None and not isinstance(state.pending.order, ev.Tighten)


def arm(turn: Turn, event: ev.ArmOrdered) -> None:
    """Put the plan into the standing pump and read back the whole arming list."""
    problem = _why_not_arm(turn, event)
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    limit = turn.remaining()
    if limit is None:
        turn.refuse(event.by, "limit", "nothing is left to give: the pump has counted the whole volume already")
        return
    container = turn.plan.prescription.container
    rate, lock = turn.plan.first_rate, turn.rules.keypad_lock
    turn.go(Phase.PLANNED)
    turn.order(lambda number: ev.Arm(number, container, rate, limit, lock), event.by)


def _why_not_arm(turn: Turn, event: ev.ArmOrdered) -> tuple[str, str] | None:
    if event.patient_ref != turn.state.patient_ref:
        return "wrong_patient", "the patient reference is not the one that was planned"
    if event.missing:
        return "not_confirmed", f"not confirmed on the checklist: {', '.join(event.missing)}"
    if event.annunciator != "ok":
        return "annunciator", f"the local sounder failed its test: {event.annunciator}"
    return _why_not_give(turn, anew=True)


def unarm(turn: Turn, why: str) -> None:
    """The pump must be armed again before it can be started; its dose is taken out of it where that can be done."""
    turn.go(Phase.PLANNED)
    turn.become(armed_at=None, settings=())
    turn.alarm("unarmed", why=why)
    secure_armed(turn)


def start(turn: Turn, event: ev.StartOrdered) -> None:
    """Begin what was armed: the first time that anything is given."""
    _begin(turn, event.by, event.confirm, turn.plan.first_rate)


def resume(turn: Turn, event: ev.ResumeOrdered) -> None:
    """Go on after a pause. `recalculate` raises the rate to end at the planned time, within all limits."""
    problem = _why_not_resume(turn, event.by, event.pressure_released, event.recalculate)
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    if not event.recalculate:
        _begin(turn, event.by, event.confirm, turn.planned_rate)
        return
    plan = recalculated(turn, event.confirm)
    if isinstance(plan, str):
        turn.refuse(event.by, "limit", plan)
        return
    over = _over_limits(turn, plan, event.override)
    if over is not None:
        turn.refuse(event.by, "limit", over)
        return
    _begin(turn, event.by, event.confirm, plan.rate_at(turn.state.elapsed), plan)


def _why_not_resume(turn: Turn, by: ev.By, released: bool, recalculate: bool = False) -> tuple[str, str] | None:
    """What the pause itself demands before anything flows again."""
    hold = turn.state.hold
    if hold is None:
        return None
    pressure = hold.needs_pressure_release or turn.pressure_told  # told after a person had paused it, too
    if pressure and not released:
        words = "line pressure may be trapped: release it away from the patient, resume and confirm `pressure_released`"
        return "not_confirmed", words
    if hold.needs_prescriber and by.role != PRESCRIBER:
        return "not_allowed", f"{hold.reason}: a {PRESCRIBER} must resume"
    if turn.now - hold.at > LONG_PAUSE_S and by.role != PRESCRIBER:
        return "not_allowed", f"paused for more than {LONG_PAUSE_S / 60:.0f} minutes: a {PRESCRIBER} must resume"
    if recalculate and pressure:
        return "not_allowed", "after an occlusion the rate is kept, never caught up"
    return None


def recalculated(turn: Turn, confirm: ev.Confirm | None = None) -> Plan | str:
    """The plan that gives the rest in the time that was left, counting the pause; or why there is none.

    The rate that is needed grows while a person reads and confirms it: one offered a moment ago is taken as confirmed.
    """
    hold = turn.state.hold
    paused = turn.now - hold.at if hold else 0.0
    left = turn.plan.seconds - turn.state.elapsed - paused
    rest = turn.plan.volume - turn.state.volumes.most(turn.step)
    if left < 1 or not rest > Ml(0):
        return "no time is left to catch up in"
    rates = turn.rules.fitted.rates
    rate = rates.down(rest.value * 3600 / Decimal(round(left)))
    if rate is None:
        return "the pump cannot be set to the recalculated rate"
    rate = max(rate, turn.planned_rate.value)  # of a pause that was hardly one: rounded down it may be a digit less
    offered = confirm.rate if confirm is not None else None
    if offered is not None and turn.planned_rate.value <= offered.value < rate:
        rate = rates.down(offered.value) or rate
    return turn.plan.continued_at(MlPerHour(rate), turn.state.elapsed, turn.state.volumes.most(turn.step))


def finish(turn: Turn, event: ev.FinishOrdered) -> None:
    """Give the missing volume at the plan's rate."""
    problem = _why_not_resume(turn, event.by, released=False)
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    _begin(turn, event.by, event.confirm, turn.planned_rate)


def offer(state: State, now: float) -> tuple[MlPerHour, Ml] | None:
    """The rate and volume a start, resume or finish has to confirm now; None where none of them is possible."""
    if state.plan is None or state.phase not in (Phase.ARMED, Phase.PAUSED):
        return None
    turn = Turn(state, now)
    limit = turn.remaining()
    return None if limit is None else (turn.planned_rate, limit)


def catch_up(state: State, now: float) -> MlPerHour | None:
    """The rate that a resume with `recalculate` has to confirm now; None where it is not possible."""
    if state.plan is None or state.phase is not Phase.PAUSED or state.hold is None:
        return None
    turn = Turn(state, now)
    if state.hold.needs_pressure_release or turn.pressure_told:
        return None
    plan = recalculated(turn)
    return None if isinstance(plan, str) else plan.rate_at(state.elapsed)


def _begin(turn: Turn, by: ev.By, confirm: ev.Confirm | None, rate: MlPerHour, plan: Plan | None = None) -> None:
    limit = turn.remaining()
    if limit is None:
        turn.refuse(by, "limit", "nothing is left to give")
        return
    identity, settings = turn.state.ours, turn.state.settings
    problem = _why_not_give(turn) or _unconfirmed(confirm, rate, limit)
    if problem is not None:
        turn.refuse(by, *problem)
    elif identity is None:
        turn.refuse(by, "not_armed", "no pump was armed for this session")
    else:
        turn.order(lambda number: ev.Begin(number, rate, limit, identity, settings), by, plan)


def _why_not_give(turn: Turn, *, anew: bool = False) -> tuple[str, str] | None:
    """What forbids any order that may lead to more being given; `anew`: it sets and reads back all of the pump."""
    state = turn.state
    busy = _waits(state) if anew else state.pending is not None
    if state.sight is not Sight.SEEING:
        return "link_lost", "the pump is not seen, or not yet proved to be the one that was armed"
    if busy or state.halt is not None:
        return "busy", "an earlier order has not been read back yet"
    if state.report is None or state.report.motion.moves:
        return "busy", "the pump is not seen standing"
    return None


def _unconfirmed(confirm: ev.Confirm | None, rate: MlPerHour, limit: Ml) -> tuple[str, str] | None:
    if confirm is not None and confirm.rate == rate and confirm.volume == limit:
        return None
    return "not_confirmed", f"read back to the person and confirm: rate {rate}, volume {limit}"


def pause(turn: Turn, event: ev.PauseOrdered) -> None:
    """Stop the pump and keep the session; latched while the pump cannot be reached (S5)."""
    if turn.state.phase is Phase.ARMED and turn.state.pending is None:
        turn.answer(event.by, "done", "nothing is infusing")
        return
    if turn.state.phase is Phase.PAUSED and turn.state.halt is None and not turn.state.starting:
        hold = turn.state.hold
        if hold is not None:
            turn.become(hold=replace(hold, by_pump=False))  # a keypad start is from now on against a person's order
        turn.answer(event.by, "done", "already paused")
        return
    turn.halt(event.by)
    if turn.state.phase not in (Phase.PAUSED, Phase.ENDING):
        turn.pause(f"paused by {event.by.actor}", by_pump=False)


def stop(turn: Turn, event: ev.StopOrdered) -> None:
    """End the infusion for good."""
    if turn.state.phase in (Phase.PLANNED, Phase.ARMED) and turn.state.pending is None:
        turn.go(Phase.ABORTED)
        turn.clear("unarmed")
        turn.answer(event.by, "done", "the session is aborted; nothing was infusing")
        secure_armed(turn)
        return
    turn.halt(event.by)
    if turn.state.phase is not Phase.OBSERVING:
        turn.go(Phase.ENDING)


def pump_stop(turn: Turn, event: ev.PumpStopOrdered) -> None:
    """STOP in every phase and sight, with or without a session."""
    turn.halt(event.by, whoever=True)
    if turn.state.phase in (Phase.RUNNING, Phase.PAUSED, Phase.RECOVERING):
        turn.go(Phase.ENDING)
    elif turn.state.phase is Phase.ARMED:
        turn.go(Phase.PLANNED)


def restore(turn: Turn, event: ev.RestoreOrdered) -> None:
    """Set the plan's rate again after the keypad lowered it. Gives more, so it is confirmed."""
    rate = turn.planned_rate
    problem = _unseen(turn)
    if problem is None and (event.confirm is None or event.confirm.rate != rate):
        problem = "not_confirmed", f"read back to the person and confirm: rate {rate}"
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    turn.order(lambda number: ev.SetRate(number, rate, raises=True), event.by, behind(turn))


def behind(turn: Turn) -> Plan:
    """The plan with what was really given so far: after a spell below its rate the end moves."""
    return turn.plan.fallen_behind(turn.state.elapsed_at(turn.now), turn.state.volumes.counted)


def accept(turn: Turn, event: ev.AcceptOrdered) -> None:
    """Go on at the rate the pump runs at; the volume stays, the end moves."""
    report = turn.state.report
    rate = report.rate if report is not None and report.motion is Motion.INFUSING else None
    problem = _unseen(turn)
    if problem is None and not rate:
        problem = "differs", "the pump tells no rate to accept"
    if problem is None and rate is not None and turn.rules.fitted.rates.down(rate.value) != rate.value:
        problem = "limit", f"{rate} cannot be set again after a pause; restore the plan's rate, or set another"
    if problem is None and (event.confirm is None or event.confirm.rate != rate):
        problem = "not_confirmed", f"read back to the person and confirm: rate {rate}"
    if problem is not None or rate is None:
        turn.refuse(event.by, *(problem or ("differs", "")))
        return
    plan = _rest_at(turn, rate)
    over = _over_limits(turn, plan, event.override)
    if over is not None:
        turn.refuse(event.by, "limit", over)
        return
    turn.become(plan=plan, ordered=rate, enforced=rate)
    turn.clear("rate_below_plan")
    turn.answer(
        event.by, "done", rate_ml_h=rate.value, remaining_s=round(plan.seconds - turn.state.elapsed_at(turn.now))
    )


def set_rate(turn: Turn, event: ev.RateOrdered) -> None:
    """Another rate for the rest of the volume. A higher one is confirmed; both stand within all limits."""
    problem = _unseen(turn)
    runs_at = turn.state.report.rate if turn.state.report is not None else None
    raises = runs_at is None or event.rate > runs_at  # not the ordered one: the keypad may have lowered it
    raises = raises or event.rate > turn.plan.lowest_after(
        turn.state.elapsed_at(turn.now)
    )  # it would replace that step
    settable = turn.rules.fitted.rates.down(event.rate.value)
    if problem is None and settable != event.rate.value:
        problem = "limit", f"the pump cannot be set to {event.rate}; the next lower settable rate is {settable} mL/h"
    if problem is None and raises and (event.confirm is None or event.confirm.rate != event.rate):
        problem = "not_confirmed", f"read back to the person and confirm: rate {event.rate}"
    if problem is None and not turn.rules.pump.live_rate_change:
        problem = "not_allowed", "this pump cannot change its rate while infusing: pause first"
    plan = _rest_at(turn, event.rate) if problem is None else turn.plan
    over = _over_limits(turn, plan, event.override)
    if problem is None and over is not None:
        problem = "limit", over
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    turn.order(lambda number: ev.SetRate(number, event.rate, raises), event.by, plan)


def _unseen(turn: Turn) -> tuple[str, str] | None:
    state = turn.state
    if state.sight is not Sight.SEEING:
        return "link_lost", "the pump is not seen"
    if state.pending is not None or state.halt is not None:
        return "busy", "an earlier order has not been read back yet"
    return None


def _rest_at(turn: Turn, rate: MlPerHour) -> Plan:
    elapsed = turn.state.elapsed_at(turn.now)
    given = max(turn.state.volumes.counted, turn.state.volumes.low)
    return turn.plan.continued_at(rate, elapsed, min(given, turn.plan.volume))


def _over_limits(turn: Turn, plan: Plan, override: Override | None) -> str | None:
    """Every limit the changed plan breaks, in words; a soft one that the plan broke before was passed then (S8).

    Who let it take longer has not let it take shorter: each side of a range is a limit of its own.
    """
    passed = {finding.bound for finding in _findings(turn, turn.plan) if finding.level is Level.SOFT}
    # What the container must hold was judged when it was fitted: the dose, or later what remained of it.
    refused = [
        finding.text
        for finding in broken(_findings(turn, plan), override)
        if finding.name != "container" and (finding.level is Level.HARD or finding.bound not in passed)
    ]
    return "; ".join(refused) or None


def _findings(turn: Turn, plan: Plan) -> tuple[Finding, ...]:
    """How a plan stands to every limit when its duration counts as it will really be."""
    prescription = replace(plan.prescription, duration_s=max(1, round(plan.seconds)), portions=())
    return check(replace(plan, prescription=prescription), turn.rules.limits, turn.rate_max)


def fit_container(turn: Turn, event: ev.ContainerOrdered) -> None:
    """Another syringe or bag, while paused: the pump is told of it, the counter begins a new segment."""
    limit = turn.remaining(event.fitted)
    problem = _why_not_give(turn)
    unsettable = [step.rate for step in turn.plan.steps if event.fitted.rates.down(step.rate.value) != step.rate.value]
    if problem is None and unsettable:
        problem = "limit", f"with this container the pump cannot be set to {unsettable[-1]}"
    if problem is None and event.container.fill > event.container.size:
        problem = "limit", f"fill {event.container.fill} is more than the container's {event.container.size}"
    if problem is None and (limit is None or event.container.fill < limit):
        problem = "limit", f"fill {event.container.fill} does not hold the remaining {limit}"
    if problem is not None or limit is None:
        turn.refuse(event.by, *(problem or ("limit", "")))
        return
    prescription = replace(turn.plan.prescription, container=event.container)
    plan, rate = replace(turn.plan, prescription=prescription), turn.planned_rate
    lock = turn.rules.keypad_lock
    turn.order(lambda number: ev.Arm(number, event.container, rate, limit, lock), event.by, plan, event.fitted)


def end(turn: Turn, event: ev.EndOrdered) -> None:
    """Be content with what was given; or, when observing, end the observation."""
    if turn.state.phase is Phase.OBSERVING:
        over(turn)
    elif turn.state.phase is Phase.ENDING:
        _give_up(turn, event)
        return
    elif turn.state.phase is Phase.PAUSED and turn.state.halt is None and not turn.state.starting:
        turn.go(Phase.ENDING)
        if turn.state.pending is None and turn.state.sight is Sight.SEEING:
            secure(turn)
    else:
        turn.halt(event.by)
        turn.go(Phase.ENDING)
        return
    turn.answer(event.by, "done")


def _give_up(turn: Turn, event: ev.EndOrdered) -> None:
    """The pump that was armed is gone for good: the session ends without it, and nothing more is sent (S15)."""
    if turn.state.halt is not None:
        turn.refuse(event.by, "busy", "the pump was ordered to stop and has not been read standing yet")
    elif turn.state.proved:
        turn.refuse(event.by, "wrong_phase", "the session is ending already")
    else:
        turn.become(released=True)
        over(turn)
        turn.answer(event.by, "done", "ended without the pump: it was not proved to be the one that was armed")


def over(turn: Turn) -> None:
    """The session is over: ended when the dose was completed, else aborted."""
    turn.go(Phase.ENDED if turn.state.completed else Phase.ABORTED)


def secure(turn: Turn) -> None:
    """The pump stands for good: leave the smallest limit in it, so that its keypad cannot give a second dose (S1)."""
    slowest, smallest = MlPerHour(turn.rules.fitted.rates.least), smallest_limit(turn)
    turn.order(lambda number: ev.Tighten(number, slowest, smallest))


def secure_armed(turn: Turn) -> None:
    """What was armed and is not to be started holds the whole dose: its keypad alone could give it (S1)."""
    if holds_dose(turn.state) and _why_not_give(turn) is None:
        secure(turn)


def smallest_limit(turn: Turn) -> Ml:
    """The smallest volume that the pump's own limit can be set to."""
    return _least(turn.rules)


def _least(rules: ev.Rules) -> Ml:
    return Ml(rules.fitted.limits.least)


def release(turn: Turn, event: ev.ReleaseOrdered) -> None:
    """Hands off: the pump's watchdog is disarmed, nothing more is sent."""
    if turn.state.released:
        turn.answer(event.by, "done", "already released")
        return
    problem = _why_not_give(turn)
    if problem is not None:
        turn.refuse(event.by, *problem)
        return
    turn.order(ev.Release, event.by)


def stand_by(turn: Turn, event: ev.StandbyOrdered) -> None:
    """Until the next plan nobody minds a pump that is not there. One that moves is minded."""
    report = turn.state.report
    if report is not None and report.motion.moves:
        turn.refuse(event.by, "wrong_phase", f"the pump is {report.motion.value}: no standby while it moves")
        return
    turn.become(standby=True)
    turn.clear("pump_not_connected")
    turn.answer(event.by, "done")


ORDERS: dict[type, Callable[..., None]] = {
    ev.PlanOrdered: plan_session,
    ev.ArmOrdered: arm,
    ev.StartOrdered: start,
    ev.PauseOrdered: pause,
    ev.ResumeOrdered: resume,
    ev.StopOrdered: stop,
    ev.PumpStopOrdered: pump_stop,
    ev.RestoreOrdered: restore,
    ev.AcceptOrdered: accept,
    ev.FinishOrdered: finish,
    ev.RateOrdered: set_rate,
    ev.ContainerOrdered: fit_container,
    ev.EndOrdered: end,
    ev.ReleaseOrdered: release,
    ev.StandbyOrdered: stand_by,
}
