"""Does the running pump give what the plan says? Rate, three volumes and the end are compared at each reading. Pure.

What is above the plan is lowered or stopped; what is below is told, never raised (S2). The infusion is ended at the
moment the plan's volume can be in.
"""

from __future__ import annotations

from decimal import Decimal

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.limits import rate_ceiling
from pumpd.core.remaining import mind_what_is_left
from pumpd.core.repeated import stopped_too_often
from pumpd.core.state import Phase
from pumpd.core.taken import well
from pumpd.core.therapy import behind, secure, smallest_limit
from pumpd.core.turn import RUNNING_OUT, Turn
from pumpd.driver import PumpReport
from pumpd.units import Ml, MlPerHour

ABOVE_WINDOW_S = 600.0  # third finding of a rate above plan within this: STOP
ABOVE_TIMES = 3
LATE_LEAST_S = 30.0  # later than the computed end by the larger of 30 s ...
LATE_SHARE = 0.02  # ... and 2 %
SHORT_SHARE = Decimal("0.01")  # less than 1 % missing counts as complete
SHORT_STEPS = 2  # ... or two counter steps
APART = (
    (watch.APART_SHARE, "apart_since", "volumes_apart"),
    (watch.APART_SHARE_HIGH, "apart_high_since", "volumes_far_apart"),
)


def complete(turn: Turn) -> None:
    """The dose is in: secure the pump."""
    turn.become(completed=True, hold=None)
    turn.clear("rate_below_plan", "late_and_short", "volumes_apart", "volumes_far_apart", "no_flow", *RUNNING_OUT)
    turn.go(Phase.ENDING)
    if turn.state.halt is None and turn.state.pending is None:
        secure(turn)


def end_what_keeps_the_vein_open(turn: Turn) -> None:
    """The dose is in by the pump's count, and the pump goes on by itself at its lowest rate: that is stopped."""
    turn.alarm("plan_limit_reached", counted=turn.state.volumes.counted, integrated=turn.state.volumes.high)
    turn.become(completed=True)
    turn.go(Phase.ENDING)
    turn.halt()


def tighten(turn: Turn) -> None:
    """The pump stands in a session: its own limit becomes what remains, at no higher rate than it shows (S1, S2)."""
    state = turn.state
    read = state.report.rate if state.report is not None else None  # a stop reads state and counter only
    shown = read if read is not None or state.ours is None else state.ours.rate
    rate = min(state.ordered or turn.planned_rate, turn.planned_rate)
    lower = _settable(turn, shown) if shown is not None and MlPerHour(0) < shown < rate else rate
    if state.pending is None and state.halt is None:
        turn.order(lambda number: ev.Tighten(number, lower, _rest_or_least(turn)))


def _settable(turn: Turn, shown: MlPerHour) -> MlPerHour:
    """A keypad may set finer steps than we can, and lower than our lowest."""
    rates = turn.rules.fitted.rates
    return MlPerHour(rates.down(shown.value) or rates.least)


def loaded_too_much(turn: Turn) -> bool:
    """More than remains is loaded: a key that was pressed between two polls gave something since the loading (S1)."""
    ours = turn.state.ours
    return ours is not None and ours.limit is not None and ours.limit > _rest_or_least(turn)


def _rest_or_least(turn: Turn) -> Ml:
    return turn.remaining() or smallest_limit(turn)


def follow(turn: Turn, report: PumpReport) -> None:
    """Infusing as planned? Rate, volumes and end are compared; what is above is lowered, what is below is told."""
    if turn.state.told:  # it stopped and was started again between two polls: its limit counts from zero again
        turn.become(limit_covers=False)
        if stopped_too_often(turn):
            return
        turn.become(told=())
        well(turn)
    if _enough(turn):
        return
    mind_what_is_left(turn, report.rate)
    if turn.state.phase is not Phase.RUNNING:
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
            turn.order(lambda number: ev.SetRate(number, planned, raises=True), plan=behind(turn))
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
    # A rate that is known to be below plan has its own alarm; what it makes of the planned volume is no second one.
    known = "rate_below_plan" in state.conditions
    apart = state.volumes.apart(state.volumes.counted if known else plan.volume_at(elapsed), turn.step)
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
    if elapsed > turn.plan.seconds + lateness(turn) and missing > small(turn):
        turn.alarm("late_and_short", missing_ml=missing.value)
    else:
        turn.clear("late_and_short")  # the rest was accepted, or the rate restored: the end has moved


def predicted_end(turn: Turn) -> float | None:
    """Of what runs: when the plan's volume can be in at the earliest, less the time that a stop takes.

    The pump's own limit would end it in the same moment; but whether that limit still counts from the start nobody can
    read off the pump (two stops and a run at its keypad between two polls begin it anew), so it is the second barrier.
    While it surely covers, the tighter of our two upper bounds is enough; else the wider one counts (S1).
    """
    state, volumes = turn.state, turn.state.volumes
    if not volumes.rate_high:
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


def small(turn: Turn) -> Ml:
    """So little may be missing and the dose is complete all the same."""
    return max(turn.plan.volume * SHORT_SHARE, Ml(turn.step * SHORT_STEPS))


def lateness(turn: Turn) -> float:
    """So much later than the computed end is late, in seconds."""
    return max(LATE_LEAST_S, LATE_SHARE * turn.plan.seconds)
