"""What one reading of the pump means, phase by phase: the plan is enforced here. Pure.

On its own authority pumpd only lowers, holds or stops (S2), and never restarts what a person, the pump's own alarm or
its watchdog has stopped (S3). A pump that moves against the plan is stopped; one above the plan's rate is set down.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.limits import rate_ceiling
from pumpd.core.state import Phase, Sight
from pumpd.core.therapy import over, secure
from pumpd.core.turn import Turn
from pumpd.driver import Identity, Motion, PumpReport
from pumpd.units import Ml, MlPerHour

UNARM_AFTER_S = 15 * 60.0  # an armed pump left alone so long is not surely as it was
ABOVE_WINDOW_S = 600.0  # third finding of a rate above plan within this: STOP
ABOVE_TIMES = 3
LATE_LEAST_S = 30.0  # later than the computed end by the larger of 30 s ...
LATE_SHARE = 0.02  # ... and 2 %
SHORT_SHARE = Decimal("0.01")  # less than 1 % missing counts as complete
SHORT_STEPS = 2  # ... or two counter steps
POWER_LOST = "pump_power_lost"
APART = (
    (watch.APART_SHARE, "apart_since", "volumes_apart"),
    (watch.APART_SHARE_HIGH, "apart_high_since", "volumes_far_apart"),
)
WHY_IT_STOOD = (
    "stopped_at_pump",
    "short_of_plan",
    "restarted_at_keypad",
    "infusing_against_plan",
    "rate_not_set",
    "lease_lapsed",
    "stopped_by_shutdown",
    "daemon_restarted",
)
PRESSURE_ALARMS = frozenset({"motor_stalled", "occlusion_downstream"})


def on_report(turn: Turn, event: ev.PumpReported) -> None:
    """One full poll has come in."""
    report = event.report
    if turn.state.plan is None or turn.state.phase is Phase.IDLE:
        turn.become(report=report)
        _without_session(turn, report, "infusing_unknown_session")
        return
    unseen, counted = turn.state.sight is not Sight.SEEING, turn.state.volumes.counted
    if unseen and not _regain_sight(turn, report):
        return
    _measure(turn, report)
    _settle(turn, report, turn.state.volumes.counted - counted)
    if unseen and turn.state.phase is Phase.ARMED:
        unarm(turn, "sight of the pump was lost")
    JUDGES[turn.state.phase](turn, report)
    if turn.state.rebooted:
        turn.become(rebooted=False)


def _measure(turn: Turn, report: PumpReport) -> None:
    """Bring the three volumes up to this reading (the first arming sets the counter's baseline)."""
    state = turn.state
    if state.volumes.last_count is not None and state.volumes.at != turn.now:
        turn.become(volumes=watch.read(state.volumes, report, turn.now, _top_rate(turn)))
    turn.become(report=report)
    if state.ours is not None and report.rate not in (None, state.ours.rate):
        turn.become(ours=replace(state.ours, rate=report.rate))  # changed at its keypad, in our sight: still our pump


def _regain_sight(turn: Turn, report: PumpReport) -> bool:
    """S15: identity was compared when the link came up; the counter completes the proof."""
    state = turn.state
    if state.sight is not Sight.VERIFYING or "pump_not_proved" in state.conditions:
        return False
    power_lost, possible = POWER_LOST in state.told, _possible_unseen(turn)
    if not _same_serial(state.ours, state.connected) and not watch.plausible_count(
        state.volumes, report, possible, turn.step, power_lost
    ):
        turn.alarm("pump_not_proved", counter=report.counted, expected=f"from {state.volumes.last_count}")
        return False
    volumes = watch.read_after_gap(state.volumes, report, turn.now, _top_rate(turn), turn.step, possible)
    ours = state.connected or state.ours  # proved: what an order that was cut has changed is expected from now on
    turn.become(sight=Sight.SEEING, volumes=volumes, report=report, limit_covers=False, ours=ours)
    turn.clear("comms_lost_pump")
    if state.phase is not Phase.RECOVERING:
        turn.clear("daemon_restarted")
    if state.rebooted or report.motion is Motion.STANDING:
        _clock_from_counter(turn, state.volumes)
    return True


def _same_serial(ours: Identity | None, found: Identity | None) -> bool:
    return ours is not None and found is not None and ours.serial is not None and ours.serial == found.serial


def _possible_unseen(turn: Turn) -> Ml:
    """The most our pump can have given since the last reading: at the rate it had, or was being told to take."""
    state = turn.state
    if state.rebooted:  # for an unknown time, so as much as its own limit can have let through (S11)
        return turn.plan.volume
    order = state.pending.order if state.pending is not None else None
    set_to = None if state.ours is None else state.ours.rate
    known = (state.volumes.rate_high, set_to, getattr(order, "rate", None))
    highest = max((rate for rate in known if rate is not None), key=lambda rate: rate.value)
    return highest.over(max(0.0, turn.now - state.volumes.at))


def _clock_from_counter(turn: Turn, before: watch.Volumes) -> None:
    """How long it ran while nobody looked and then stood, its counter tells (S11): that much is time of the session."""
    state = turn.state
    if not before.rate_high or state.volumes.segments != before.segments:
        return
    ran = before.rate_high.seconds_for(state.volumes.counted - before.counted)
    if state.run_since is not None:
        turn.stop_clock(at=min(turn.now, before.at + ran))
    elif state.rebooted:
        turn.become(elapsed=state.elapsed + ran)


def _settle(turn: Turn, report: PumpReport, grown: Ml) -> None:
    """An order whose answer never came: this reading tells whether it was carried out (S4)."""
    pending = turn.state.pending
    if pending is None or not pending.uncertain:
        return
    moving = report.motion is Motion.INFUSING
    match pending.order:
        case ev.Begin() if moving or grown:
            begun(turn, pending.order, pending.since)
            if not moving:  # it ran, and stands again
                turn.stop_clock(at=min(turn.now, pending.since + pending.order.rate.seconds_for(grown)))
            turn.answer(pending.by, "done", "the pump was found started", rate_ml_h=_number(report.rate))
        case ev.SetRate() if moving and report.rate == pending.order.rate:
            rate_set(turn, pending.order)
        case _:
            turn.become(pending=None)
            half_loaded(turn, pending.order)
            turn.answer(pending.by, "failed", "the pump was asked: the order was not carried out", "unknown")


def half_loaded(turn: Turn, order: ev.Order) -> None:
    """Cut or refused on the way: what the pump reads now is no sign of another one until it was loaded again (S15)."""
    ours = turn.state.ours
    if ours is not None and isinstance(order, (ev.Arm, ev.Begin, ev.Tighten)):
        turn.become(ours=replace(ours, rate=None, limit=None))


def as_loaded(turn: Turn, order: ev.Begin | ev.Tighten) -> Identity | None:
    """Our pump as it must read once it was loaded with this rate and limit."""
    ours = turn.state.ours
    return None if ours is None else replace(ours, rate=order.rate, limit=order.limit)


def rate_set(turn: Turn, order: ev.SetRate) -> None:
    """The pump runs at this rate."""
    state = turn.state
    pending, volumes = state.pending, state.volumes
    turn.become(
        pending=None,
        ordered=order.rate,
        enforced=order.rate,
        plan=(pending.plan if pending is not None else None) or state.plan,
        ours=None if state.ours is None else replace(state.ours, rate=order.rate),
        volumes=replace(volumes, rate_high=max(volumes.rate_high, order.rate, key=lambda rate: rate.value)),
    )
    turn.answer(pending.by if pending is not None else None, "done", rate_ml_h=order.rate.value)


def begun(turn: Turn, order: ev.Begin, since: float) -> None:
    """The pump was told to run at `since` and does."""
    state = turn.state
    plan = state.pending.plan if state.pending is not None else None
    turn.become(
        pending=None,
        volumes=state.volumes if state.volumes.at > since else watch.begin(state.volumes, order.rate, since),
        plan=plan or state.plan,
        ordered=order.rate,
        enforced=order.rate,
        limit_covers=True,
        ours=as_loaded(turn, order),
        run_since=since,
        hold=None,
        told=(),
    )
    turn.go(Phase.RUNNING)
    turn.clear(*WHY_IT_STOOD)
    well(turn)


def well(turn: Turn) -> None:
    """What the pump told before is over: it runs as ordered, or stands for good."""
    turn.clear(*sorted(turn.state.conditions.intersection(turn.rules.pump.alarms)))


# --- one judge for each phase ---------------------------------------------------------------------------------------


def _planned(turn: Turn, report: PumpReport) -> None:
    _without_session(turn, report, "infusing_unknown_session")
    if not report.motion.moves:
        turn.clear("infusing_against_plan", "daemon_restarted")


def _without_session(turn: Turn, report: PumpReport, code: str) -> None:
    """Nobody's pump: nothing is sent, unless a person has ordered a stop."""
    if not report.motion.moves:
        _halted(turn)
        turn.clear(code, *turn.state.told)
        turn.become(told=())
        return
    if turn.state.halt is not None:
        turn.halt()
    turn.alarm(code, motion=report.motion.value, rate=report.rate)


def _armed(turn: Turn, report: PumpReport) -> None:
    state = turn.state
    if report.motion.moves and state.pending is None:
        turn.go(Phase.PLANNED)
        turn.alarm("infusing_against_plan", motion=report.motion.value, phase="armed")
        turn.halt()
    elif state.pending is None and _changed_since_arming(turn, report):
        unarm(turn, "something was changed at the pump")
    elif not report.motion.moves:
        _halted(turn)


def _changed_since_arming(turn: Turn, report: PumpReport) -> bool:
    rate_changed = report.rate is not None and report.rate != turn.state.ordered
    return rate_changed or turn.state.volumes.counted != turn.state.armed_counted


def unarm(turn: Turn, why: str) -> None:
    """The pump must be armed again before it can be started."""
    turn.go(Phase.PLANNED)
    turn.become(armed_at=None, settings=())
    turn.alarm("unarmed", why=why)


def _running(turn: Turn, report: PumpReport) -> None:
    if report.motion is Motion.STANDING:
        _stood(turn)
    elif report.motion is Motion.INFUSING:
        _follow(turn, report)
    else:
        turn.alarm("unplanned_function", motion=report.motion.value)
        turn.pause(f"the pump reported {report.motion.value}", by_pump=False)
        turn.halt()


def _stood(turn: Turn) -> None:
    """The pump has stopped by itself or at its keypad: complete, short, or interrupted."""
    state = turn.state
    missing = turn.plan.volume - state.volumes.counted
    elapsed = state.elapsed_at(turn.now)
    turn.become(limit_covers=False)
    turn.clear("restarted_at_keypad")
    if missing <= _small(turn):
        complete(turn)
        return
    if elapsed >= turn.plan.seconds + _lateness(turn):
        turn.alarm("short_of_plan", missing_ml=missing.value)
        turn.pause("the pump stopped short of the plan", by_pump=True)
    else:
        pressure = bool(PRESSURE_ALARMS.intersection(state.told))
        reason = ", ".join(state.told) or "stopped at the pump"
        turn.alarm("stopped_at_pump", reason=reason, missing_ml=missing.value)
        turn.pause(reason, by_pump=True, needs_pressure_release=pressure)
    turn.become(told=())
    tighten(turn)


def complete(turn: Turn) -> None:
    """The dose is in: secure the pump."""
    turn.become(completed=True, hold=None)
    turn.clear("rate_below_plan", "late_and_short", "volumes_apart", "volumes_far_apart", "no_flow")
    turn.go(Phase.ENDING)
    if turn.state.halt is None and turn.state.pending is None:
        secure(turn)


def tighten(turn: Turn) -> None:
    """The pump stands in a session: its own limit becomes what remains, at no higher rate than it shows (S1, S2)."""
    state = turn.state
    limit = turn.remaining()
    if limit is None:
        limit = Ml(turn.rules.fitted.limits.least)
    shown = state.report.rate if state.report is not None else None
    rate = min(state.ordered or turn.planned_rate, turn.planned_rate, key=lambda rate: rate.value)
    lower = shown if shown is not None and MlPerHour(0) < shown < rate else rate
    if state.pending is None and state.halt is None:
        turn.order(lambda number: ev.Tighten(number, lower, limit))


def _follow(turn: Turn, report: PumpReport) -> None:
    """Infusing as planned? Rate, volumes and end are compared; what is above is lowered, what is below is told."""
    if turn.state.told:  # it stopped and was started again between two polls: its limit counts from zero again
        turn.become(told=(), limit_covers=False)
        well(turn)
    if _enough(turn):
        return
    if turn.state.pending is None:
        _compare_rate(turn, report)
    if turn.state.phase is Phase.RUNNING:
        _compare_volumes(turn, report)


def _enough(turn: Turn) -> bool:
    """Stop when the plan's volume is in by the pump's count, or surely by our own integration."""
    state, volume = turn.state, turn.plan.volume
    rate = state.volumes.rate_high
    margin = watch.tolerance(volume, turn.step, rate, turn.rules.poll_s)
    if state.volumes.counted < volume and state.volumes.low < volume + margin:
        return False
    if state.volumes.counted != volume:
        turn.alarm("plan_limit_reached", counted=state.volumes.counted, integrated=state.volumes.high)
    turn.become(completed=True)
    turn.go(Phase.ENDING)
    turn.halt()
    return True


def _compare_rate(turn: Turn, report: PumpReport) -> None:
    planned, rate, state = turn.planned_rate, report.rate, turn.state
    if rate is None:
        return
    lowered = state.enforced is not None and rate < state.enforced
    step_due = planned != state.enforced
    if rate > planned and not (step_due and rate == state.ordered):
        _above(turn, rate)
    elif step_due and not (lowered and planned > rate):
        turn.become(enforced=planned)  # a step that the confirmed plan contains
        turn.order(lambda number: ev.SetRate(number, planned, raises=planned > rate))
    elif rate < planned:
        first = "rate_below_plan" not in state.conditions
        turn.alarm("rate_below_plan", planned=planned, read=rate)
        if first and turn.rules.auto_restore:
            turn.order(lambda number: ev.SetRate(number, planned, raises=True))
    else:
        turn.clear("rate_below_plan", "rate_above_plan")


def _above(turn: Turn, rate: MlPerHour) -> None:
    """Set it down at once; over the hard limit, or the third time in ten minutes, stop."""
    recent = (*(at for at in turn.state.above_at if turn.now - at <= ABOVE_WINDOW_S), turn.now)
    turn.become(above_at=recent)
    planned = turn.planned_rate
    turn.alarm("rate_above_plan", planned=planned, read=rate)
    hard = rate_ceiling(turn.plan, turn.rules.limits, turn.rate_max).value
    if len(recent) >= ABOVE_TIMES or rate > hard or not turn.rules.pump.live_rate_change:
        turn.pause("the rate was raised at the pump", by_pump=False)
        turn.halt()
    else:
        turn.order(lambda number: ev.SetRate(number, planned, raises=False))


def _compare_volumes(turn: Turn, report: PumpReport) -> None:
    state, plan = turn.state, turn.plan
    elapsed = state.elapsed_at(turn.now)
    rate = state.volumes.rate_high
    apart = state.volumes.apart(plan.volume_at(elapsed), turn.step)
    for share, since, code in APART:
        began: float | None = getattr(state, since)
        if apart <= watch.APART_LEAST and began is None and code not in state.conditions:
            continue
        if apart <= watch.tolerance(plan.volume, turn.step, rate, turn.rules.poll_s, share):
            turn.become(**{since: None})
            turn.clear(code)
        elif began is None:
            turn.become(**{since: turn.now})
        elif turn.now - began >= watch.APART_FOR_S:
            turn.alarm(code, apart_ml=apart.value)
    _compare_flow(turn, elapsed, rate, report)


def _compare_flow(turn: Turn, elapsed: float, rate: MlPerHour, report: PumpReport) -> None:
    state = turn.state
    allowance = rate.over(turn.rules.pump.startup_allowance_s + turn.rules.poll_s)
    if report.counted is not None and state.volumes.unmoved() > Ml(turn.step * watch.APART_STEPS) + allowance:
        turn.alarm("no_flow", integrated_ml=state.volumes.unmoved().value)
    else:
        turn.clear("no_flow")
    missing = turn.plan.volume - state.volumes.counted
    if elapsed > turn.plan.seconds + _lateness(turn) and missing > _small(turn):
        turn.alarm("late_and_short", missing_ml=missing.value)


def _paused(turn: Turn, report: PumpReport) -> None:
    state = turn.state
    if not report.motion.moves:
        _halted(turn)
        turn.clear("infusing_against_plan", "unplanned_function")
        shown_differs = report.rate is not None and report.rate != state.ordered and state.limit_covers
        if state.pending is None and (not state.limit_covers or shown_differs):
            tighten(turn)
        return
    hold = state.hold
    if state.halt is None and report.motion is Motion.INFUSING and hold is not None and hold.by_pump:
        _restarted_at_keypad(turn, report)
        return
    turn.alarm("infusing_against_plan", motion=report.motion.value, phase="paused")
    turn.halt()


def _restarted_at_keypad(turn: Turn, report: PumpReport) -> None:
    """A person's act, so the session goes on; but the pump's own limit may have begun again from zero."""
    turn.drop_pending("differs", "the pump was started at its keypad")
    turn.alarm("restarted_at_keypad", rate=report.rate)
    turn.clear("stopped_at_pump", "short_of_plan")
    well(turn)
    turn.become(hold=None, run_since=turn.now, enforced=turn.planned_rate)
    turn.go(Phase.RUNNING)
    _follow(turn, report)


def _ending(turn: Turn, report: PumpReport) -> None:
    if report.motion.moves:
        if turn.state.halt is None:
            turn.alarm("infusing_against_plan", motion=report.motion.value, phase="ending")
        turn.drop_pending("preempted", "the pump was found moving")
        turn.halt()
        return
    _halted(turn)
    well(turn)
    if turn.state.pending is None and turn.state.halt is None:
        secure(turn)


def _after(turn: Turn, report: PumpReport) -> None:
    """Observing, ended or aborted."""
    if turn.state.released:
        _without_session(turn, report, "infusing_after_release")
    elif report.motion.moves:
        turn.alarm("infusing_against_plan", motion=report.motion.value, phase=turn.state.phase.value)
        turn.halt()
    else:
        _halted(turn)
        turn.clear("infusing_against_plan")
    since = turn.state.observed_from
    if turn.state.phase is Phase.OBSERVING and since is not None and turn.now - since >= turn.rules.observation_s:
        over(turn)


def predicted_end(turn: Turn) -> float | None:
    """When the plan's volume can be in at the earliest, less the time a stop takes: the moment to stop the pump.

    The pump's own limit would end it in the same moment; but whether that limit still counts from the start nobody can
    read off the pump (two stops and a run at its keypad between two polls begin it anew), so it is the second barrier.
    While it surely covers, the tighter of our two upper bounds is enough; else the wider one counts (S1).
    """
    state, volumes = turn.state, turn.state.volumes
    if state.phase is not Phase.RUNNING or not volumes.rate_high:
        return None
    given = volumes.surely_most(turn.step) if state.limit_covers else volumes.most(turn.step)
    rest = turn.plan.volume - given
    if rest <= Ml(0):
        return turn.now
    return volumes.at + max(0.0, volumes.rate_high.seconds_for(rest) - turn.rules.reaction_s)


def stop_at_predicted_end(turn: Turn) -> None:
    """The plan's volume is in as far as anyone can tell."""
    turn.become(completed=True)
    turn.go(Phase.ENDING)
    turn.halt()


def _recovering(turn: Turn, report: PumpReport) -> None:
    """The truth after a restart: what the pump does decides, in the same or a safer state (S10)."""
    if report.motion.moves and not turn.state.rebooted:
        turn.become(run_since=turn.now if turn.state.run_since is None else turn.state.run_since)
        turn.go(Phase.RUNNING)
        turn.clear("daemon_restarted")
        _running(turn, report)
    elif report.motion.moves:
        turn.pause("the machine was restarted: the time since is unknown", by_pump=False)
        turn.halt()
    else:
        turn.clear("daemon_restarted")
        _stood(turn)


JUDGES = {
    Phase.PLANNED: _planned,
    Phase.ARMED: _armed,
    Phase.RUNNING: _running,
    Phase.PAUSED: _paused,
    Phase.ENDING: _ending,
    Phase.OBSERVING: _after,
    Phase.ENDED: _after,
    Phase.ABORTED: _after,
    Phase.RECOVERING: _recovering,
}


def _halted(turn: Turn) -> None:
    """A reading says "standing": whoever asked for the stop is told, and the latch opens."""
    latch = turn.state.halt
    if latch is None or latch.in_flight:
        return
    turn.become(halt=None)
    turn.clear("stop_not_confirmed")
    for by in latch.asked_by:
        turn.answer(by, "done", motion="standing", counted_ml=turn.state.volumes.counted.value)


def halt_confirmed(turn: Turn, report: PumpReport) -> None:
    """The stop was carried out and read back."""
    latch = turn.state.halt
    if latch is not None:
        turn.become(halt=replace(latch, in_flight=False))
    turn.become(limit_covers=False)
    on_report(turn, ev.PumpReported(report))
    if turn.state.sight is not Sight.SEEING and not report.motion.moves:
        _halted(turn)  # a person stopped a pump that is not proved to be ours: it stands, and that is all we know


def _top_rate(turn: Turn) -> MlPerHour:
    return MlPerHour(turn.rules.fitted.rates.most)


def _small(turn: Turn) -> Ml:
    return max(turn.plan.volume * SHORT_SHARE, Ml(turn.step * SHORT_STEPS), key=lambda volume: volume.value)


def _lateness(turn: Turn) -> float:
    return max(LATE_LEAST_S, LATE_SHARE * turn.plan.seconds)


def _number(rate: MlPerHour | None) -> object:
    return "unknown" if rate is None else rate.value
