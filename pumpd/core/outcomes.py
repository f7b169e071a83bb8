"""What became of an order: done and read back, refused, or nobody knows. Pure."""

from __future__ import annotations

from dataclasses import replace

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.enforce import halt_confirmed, on_report
from pumpd.core.state import Pending, Phase, Sight
from pumpd.core.taken import as_loaded, begun, rate_set, stop_what_cannot_be_set_down, well
from pumpd.core.therapy import smallest_limit, unarm
from pumpd.core.turn import Turn
from pumpd.units import Ml


def order_done(turn: Turn, event: ev.OrderDone) -> None:
    """The pump was read back. An outcome nobody waits for any more changes nothing."""
    state = turn.state
    if state.halt is not None and state.halt.number == event.number and event.report is not None:
        halt_confirmed(turn, event.report)
        return
    pending = state.pending
    if pending is None or pending.order.number != event.number:
        return
    match pending.order:
        case ev.Arm():
            _armed(turn, pending, pending.order, event)
        case ev.Begin():
            _begun(turn, pending, pending.order, event)
        case ev.SetRate():
            rate_set(turn, pending.order)
        case ev.Tighten():
            _tightened(turn, pending, pending.order, event)
        case _:
            turn.become(pending=None, released=True)
            turn.clear("infusing_against_plan")
            turn.answer(pending.by, "done", "hands off the pump")


def _armed(turn: Turn, pending: Pending, order: ev.Arm, event: ev.OrderDone) -> None:
    report = event.report
    assert report is not None
    assert event.settings is not None
    assert event.identity is not None
    if turn.state.sight is not Sight.SEEING and turn.state.phase is Phase.PLANNED:
        turn.become(pending=None)
        turn.answer(pending.by, "failed", "sight of the pump was lost meanwhile: arm again", "link_lost")
        return
    hold = turn.state.hold
    if hold is not None and turn.pressure_told:  # another container has released nothing away from the patient
        turn.become(hold=replace(hold, needs_pressure_release=True))
    before, ours = turn.state.volumes, turn.state.ours
    paused = turn.state.phase is Phase.PAUSED
    if paused and ours is not None and ours.fingerprint == event.identity.fingerprint:  # else the diameter cleared it
        before = watch.add_count(before, report.counted)
    volumes = replace(before, at=turn.now, last_count=report.counted or Ml(0))
    grown = volumes.counted - turn.state.volumes.counted
    moved = grown > Ml(turn.step)
    turn.become(
        pending=None,
        settings=event.settings,
        ours=event.identity,
        ordered=order.rate,
        limit_covers=not moved,
        volumes=volumes,
        report=report,
        told=(),
        plan=pending.plan or turn.state.plan,
        rules=replace(turn.rules, fitted=pending.fitted or turn.rules.fitted),
        fitted_counted=volumes.counted,
    )
    well(turn)
    if turn.state.phase is Phase.PLANNED:
        turn.become(armed_at=turn.now, armed_counted=volumes.counted)
        turn.go(Phase.ARMED)
    if moved:  # since the last reading of a pause, so the limit is too large by it
        turn.alarm("infusing_against_plan", given_ml=grown.value, phase="paused")
    turn.clear("unarmed", "stopped_at_pump")
    turn.answer(pending.by, "done", rate_ml_h=order.rate.value, volume_ml=order.limit.value)


def _begun(turn: Turn, pending: Pending, order: ev.Begin, event: ev.OrderDone) -> None:
    begun(turn, order, event.since)
    turn.answer(pending.by, "done", rate_ml_h=order.rate.value, volume_ml=order.limit.value)
    if event.report is not None:
        on_report(turn, ev.PumpReported(event.report))


def _tightened(turn: Turn, pending: Pending, order: ev.Tighten, event: ev.OrderDone) -> None:
    turn.become(pending=None, ordered=order.rate, limit_covers=True, ours=as_loaded(turn, order))
    turn.clear("limit_not_set")
    if turn.state.phase is Phase.ENDING and order.limit == smallest_limit(turn):
        turn.become(observed_from=turn.now)
        turn.clear(*sorted(turn.state.conditions - {"pump_not_proved"}))
        turn.go(Phase.OBSERVING)
    if event.report is not None:
        turn.become(report=event.report)


def order_failed(turn: Turn, event: ev.OrderFailed) -> None:
    """Refused, or uncertain: then the next reading tells, and nothing more is given until it does (S4)."""
    state = turn.state
    latch = state.halt
    if latch is not None and latch.number == event.number:
        _halt_failed(turn, event)
        return
    pending = state.pending
    if pending is None or pending.order.number != event.number:
        return
    if event.uncertain:
        turn.become(pending=replace(pending, uncertain=True))
        turn.answer(pending.by, "unknown", event.text)
        if isinstance(pending.order, ev.Tighten):
            turn.alarm("limit_not_set", why=event.text)
        return
    turn.become(pending=None)
    turn.cut_short(pending.order)
    turn.answer(pending.by, "failed", event.text + _way_out(turn, pending, event), event.reason)
    match pending.order:
        case ev.SetRate(raises=False) if state.phase is Phase.RUNNING:
            stop_what_cannot_be_set_down(turn, event.text)
        case ev.Tighten():
            turn.alarm("limit_not_set", why=event.text)
        case ev.Begin() if state.phase is Phase.ARMED and (
            event.reason == "differs" or state.sight is not Sight.SEEING
        ):
            if event.reason == "differs":  # perhaps another pump: it gets no word (S15)
                turn.become(ours=None)
            unarm(turn, event.text)
        case _:
            pass


def _way_out(turn: Turn, pending: Pending, event: ev.OrderFailed) -> str:
    """A pause that no resume can end: the program died in a change of container, or a hand has changed the pump."""
    stuck = isinstance(pending.order, ev.Begin) and turn.state.phase is Phase.PAUSED and event.reason == "differs"
    return "; give session.container for what is fitted now, then resume" if stuck else ""


def _halt_failed(turn: Turn, event: ev.OrderFailed) -> None:
    """A stop that was not carried out is ordered again; with nobody at the line it waits for the first reading."""
    latch = turn.state.halt
    assert latch is not None
    turn.become(halt=replace(latch, in_flight=False))
    for by in latch.asked_by:
        turn.answer(by, "unknown", event.text)
    if turn.state.sight is not Sight.BLIND and event.reason != "link_lost":
        turn.halt(whoever=True)  # to whom the first one went


def stop_unconfirmed(turn: Turn, _event: ev.StopUnconfirmed) -> None:
    """Said aloud: go to the pump."""
    if turn.state.halt is not None:
        turn.alarm("stop_not_confirmed")
