"""What one reading of the pump means, phase by phase: the plan is enforced here. Pure.

On its own authority pumpd only lowers, holds or stops (S2), and never restarts what a person, the pump's own alarm or
its watchdog has stopped (S3). A pump that moves against the plan is stopped; one above the plan's rate is set down.
"""

from __future__ import annotations

from dataclasses import replace

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.catalogue import CATALOGUE, WARNINGS
from pumpd.core.delivery import (
    complete,
    end_what_keeps_the_vein_open,
    follow,
    lateness,
    loaded_too_much,
    small,
    tighten,
)
from pumpd.core.repeated import stopped_too_often
from pumpd.core.sight import POWER_LOST, regain_sight
from pumpd.core.state import Phase, Sight
from pumpd.core.taken import begun, rate_set, stop_what_cannot_be_set_down, well
from pumpd.core.therapy import holds_dose, over, secure, secure_armed, unarm
from pumpd.core.turn import Turn
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour

MUST_STAND = frozenset({Phase.PAUSED, Phase.ENDING, Phase.OBSERVING, Phase.ENDED, Phase.ABORTED})


def on_report(turn: Turn, event: ev.PumpReported) -> None:
    """One full poll has come in."""
    report = event.report
    _mind_warnings(turn, report)
    if turn.state.plan is None:
        turn.become(report=report)
        _without_session(turn, report, "infusing_unknown_session")
        return
    unseen, before = turn.state.sight is not Sight.SEEING, turn.state.volumes
    if unseen and not regain_sight(turn, report):
        return
    _measure(turn, report, event.took_s)
    if _settle(turn, report, turn.state.volumes.counted - before.counted):
        return
    _mind_what_moved_between(turn, report, before)
    if unseen and turn.state.phase is Phase.ARMED:
        unarm(turn, "sight of the pump was lost")
    JUDGES[turn.state.phase](turn, report)
    if turn.state.rebooted:
        turn.become(rebooted=False)


def _mind_warnings(turn: Turn, report: PumpReport) -> None:
    """Each stands for as long as the pump says so; a pump that does not tell leaves them as they are."""
    if report.warnings is None:
        return
    turn.clear(*sorted((turn.state.conditions & WARNINGS).difference(report.warnings)))
    for code in sorted(WARNINGS.intersection(report.warnings)):
        turn.alarm(code)


def _measure(turn: Turn, report: PumpReport, took_s: float) -> None:
    """Bring the three volumes up to this reading (the first arming sets the counter's baseline)."""
    state = turn.state
    if state.volumes.last_count is not None and state.volumes.at != turn.now:
        turn.become(volumes=watch.read(state.volumes, report, turn.now, turn.top_rate))
    highest = max(state.volumes.rate_high, turn.state.volumes.rate_high)
    turn.become(volumes=watch.counted_before(turn.state.volumes, took_s, highest))
    turn.become(report=report)
    if not isinstance(state.cut, ev.Arm):
        turn.become(cut=None)  # read after it: the rate is known, and the limit until the next loading is not asked for
    if state.ours is not None and report.rate not in (None, state.ours.rate):
        turn.become(ours=replace(state.ours, rate=report.rate))  # changed at its keypad, in our sight: still our pump


def _settle(turn: Turn, report: PumpReport, grown: Ml) -> bool:
    """An order whose answer never came: this reading tells whether it was carried out (S4).

    True when nothing is left to judge: a rate above the plan was to be set down, was not, and so the pump is stopped.
    """
    pending = turn.state.pending
    if pending is None or not pending.uncertain:
        return False
    moving = report.motion is Motion.INFUSING
    match pending.order:
        case ev.Begin() if moving or grown:
            begun(turn, pending.order, pending.since)
            if (
                moving and turn.state.rebooted
            ):  # nobody knows for how long: not for the person who ordered it then (S11)
                turn.go(Phase.RECOVERING)
            elif not moving:  # it ran, and stands again
                turn.stop_clock(at=min(turn.now, pending.since + pending.order.rate.seconds_for(grown)))
            turn.answer(pending.by, "done", "the pump was found started", rate_ml_h=_number(report.rate))
        case ev.SetRate() if moving and report.rate == pending.order.rate:
            rate_set(turn, pending.order)
        case _:
            turn.become(pending=None)
            turn.cut_short(pending.order)
            turn.answer(pending.by, "failed", "the pump was asked: the order was not carried out", "unknown")
            if moving and turn.state.phase is Phase.RUNNING and isinstance(pending.order, ev.SetRate):
                return _not_set_down(turn, pending.order, report)
    return False


def _not_set_down(turn: Turn, order: ev.SetRate, report: PumpReport) -> bool:
    above = report.rate is not None and report.rate > turn.planned_rate
    if order.raises or not above or "rate_above_plan" not in turn.state.conditions:
        return False  # a step down of the plan is ordered once more, with the alarm
    stop_what_cannot_be_set_down(turn, f"the pump still reads {report.rate}")
    return True


def _mind_what_moved_between(turn: Turn, report: PumpReport, before: watch.Volumes) -> None:
    """It stands as it stood at the last reading, and its counter has grown: a hand or a fault moved it in between.

    It is told once more each time; what it means stays until a person resets it.
    """
    state = turn.state
    must_stand = state.phase in MUST_STAND and state.ours is not None and not state.released
    stood = before.rate_high == watch.STILL and not report.motion.moves
    grown = state.volumes.counted - before.counted
    if must_stand and stood and grown > Ml(turn.step) + before.lag:
        turn.clear("infusing_against_plan")
        turn.alarm("infusing_against_plan", given_ml=grown.value, phase=state.phase.value)


# --- one judge for each phase ---------------------------------------------------------------------------------------


def _planned(turn: Turn, report: PumpReport) -> None:
    """A pump that was armed and is so no longer holds its dose until the smallest limit is read back (S1)."""
    if report.motion.moves and holds_dose(turn.state):
        turn.alarm("infusing_against_plan", motion=report.motion.value, phase="planned")
        turn.halt()
        return
    _without_session(turn, report, "infusing_unknown_session")
    if not report.motion.moves:
        turn.clear("infusing_against_plan", "daemon_restarted")
        secure_armed(turn)


def _without_session(turn: Turn, report: PumpReport, code: str) -> None:
    """Nobody's pump: nothing is sent, unless a person has ordered a stop. One that is only watched may well infuse."""
    if not report.motion.moves:
        _halted(turn)
        turn.clear(code, *turn.state.told)
        turn.become(told=())
        return
    if turn.state.halt is not None:
        turn.halt()
    if turn.state.connected is None or not turn.state.connected.monitor_only:
        turn.alarm(code, motion=report.motion.value, rate=report.rate)


def _armed(turn: Turn, report: PumpReport) -> None:
    state = turn.state
    if report.motion.moves and state.pending is None:
        turn.go(Phase.PLANNED)
        turn.alarm("infusing_against_plan", motion=report.motion.value, phase="armed")
        turn.halt()
    elif state.pending is None and (
        POWER_LOST in state.told or turn.pressure_told or _changed_since_arming(turn, report)
    ):
        unarm(turn, "something was changed at the pump")
    elif not report.motion.moves:
        _halted(turn)


def _changed_since_arming(turn: Turn, report: PumpReport) -> bool:
    rate_changed = report.rate is not None and report.rate != turn.state.ordered
    return rate_changed or turn.state.volumes.counted != turn.state.armed_counted


def _running(turn: Turn, report: PumpReport) -> None:
    if report.motion is Motion.STANDING:
        _stood(turn)
    elif report.motion is Motion.INFUSING:
        follow(turn, report)
    elif report.motion is Motion.KVO and turn.plan.volume - turn.state.volumes.counted <= small(turn):
        end_what_keeps_the_vein_open(turn)
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
    if missing <= small(turn):
        complete(turn)
        return
    if stopped_too_often(turn):
        return
    if elapsed >= turn.plan.seconds + lateness(turn):
        turn.alarm("short_of_plan", missing_ml=missing.value)
        turn.pause("the pump stopped short of the plan", by_pump=True)
    else:
        pressure = turn.pressure_told
        reason = ", ".join(CATALOGUE[code].text for code in state.told) or "stopped at the pump"
        if not state.told:  # else the pump's own alarm stands and says why: one condition, one alarm
            turn.alarm("stopped_at_pump", missing_ml=missing.value)
        turn.pause(reason, by_pump=True, needs_pressure_release=pressure)
    turn.become(told=())
    tighten(turn)


def _paused(turn: Turn, report: PumpReport) -> None:
    state = turn.state
    if not report.motion.moves:
        _halted(turn)
        turn.clear("infusing_against_plan", "unplanned_function")
        shown_differs = report.rate is not None and report.rate != state.ordered
        if not state.limit_covers or shown_differs or loaded_too_much(turn):
            tighten(turn)
        missing = turn.plan.volume - state.volumes.counted
        if turn.remaining() is None and missing > small(turn):
            turn.alarm("short_of_plan", missing_ml=missing.value)
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
    turn.clear("stopped_at_pump", "short_of_plan", "long_pause")
    well(turn)
    turn.become(hold=None, run_since=turn.now, enforced=turn.planned_rate)
    turn.go(Phase.RUNNING)
    follow(turn, report)


def _ending(turn: Turn, report: PumpReport) -> None:
    if report.motion.moves:
        if turn.state.halt is None:
            turn.alarm("infusing_against_plan", motion=report.motion.value, phase="ending")
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
    elif turn.state.ours is None:  # planned and given up before any pump was armed
        _without_session(turn, report, "infusing_unknown_session")
    elif report.motion.moves:
        turn.alarm("infusing_against_plan", motion=report.motion.value, phase=turn.state.phase.value)
        turn.halt()
    else:
        _halted(turn)
        turn.clear("infusing_against_plan")
        _keep_secure(turn)
    since = turn.state.observed_from
    if turn.state.phase is Phase.OBSERVING and since is not None and turn.now - since >= turn.rules.observation_s:
        over(turn)


def _keep_secure(turn: Turn) -> None:
    """Out of sight the pump may have lost the smallest limit that was left in it: by a power cut, or at its keypad."""
    state = turn.state
    if state.phase is Phase.OBSERVING and not state.limit_covers and state.pending is None and state.halt is None:
        secure(turn)


def _recovering(turn: Turn, report: PumpReport) -> None:
    """The truth after a restart: what the pump does decides, in the same or a safer state (S10)."""
    if report.motion.moves and not turn.state.rebooted:
        turn.become(run_since=turn.now if turn.state.run_since is None else turn.state.run_since)
        turn.go(Phase.RUNNING)
        turn.clear("daemon_restarted")
        _running(turn, report)
    elif report.motion.moves:
        turn.alarm("daemon_restarted", rebooted=True)
        turn.pause("the machine was restarted: the time since is unknown", by_pump=False)
        turn.halt()
    else:
        turn.clear("daemon_restarted")
        hold, never_began = turn.state.hold, isinstance(turn.state.cut, ev.Begin)
        _stood(turn)
        if never_began and turn.state.hold is not None:  # what a pause had demanded it demands still; nobody stopped it
            turn.become(hold=hold or replace(turn.state.hold, by_pump=False))


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


def _number(rate: MlPerHour | None) -> object:
    return "unknown" if rate is None else rate.value
