"""Losing and regaining sight of the pump, and coming back after a crash (S7, S10, S15). Pure."""

from __future__ import annotations

from dataclasses import replace

from pumpd.core import events as ev
from pumpd.core.enforce import unarm
from pumpd.core.state import Phase, Sight, State
from pumpd.core.turn import Turn
from pumpd.driver import Identity

TO_PROVE = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.ENDING, Phase.OBSERVING, Phase.RECOVERING})


def differs(expected: Identity, found: Identity, on_its_way: ev.Order | None = None) -> str:
    """What tells `found` from `expected`, in words; empty when nothing does.

    A serial number decides where both have one; else all that can be read must agree. An order that was on its way when
    sight was lost may or may not have been carried out: its rate is as good as the expected one, and a pump whose
    loading or arming was cut may read any rate and limit (those of its other programme phase, too); so may one of which
    none is expected.
    """
    if expected.serial is not None and found.serial is not None:
        return "" if expected.serial == found.serial else f"serial {found.serial} instead of {expected.serial}"
    was, now = dict(expected.fingerprint), dict(found.fingerprint)
    pairs = [("model", expected.model, found.model), ("version", expected.version, found.version)]
    pairs += [(name, was.get(name, "nothing"), now.get(name, "nothing")) for name in sorted(was.keys() | now.keys())]
    if not isinstance(on_its_way, (ev.Arm, ev.Begin, ev.Tighten)):
        if expected.rate is not None and found.rate not in (expected.rate, getattr(on_its_way, "rate", expected.rate)):
            pairs.append(("rate", str(expected.rate), str(found.rate)))
        if expected.limit is not None and found.limit != expected.limit:
            pairs.append(("limit", str(expected.limit), str(found.limit)))
    return ", ".join(f"{name} {new} instead of {old}" for name, old, new in pairs if old != new)


def link_down(turn: Turn, event: ev.LinkDown) -> None:
    """Not knowing is a state with an alarm."""
    state = turn.state
    turn.become(sight=Sight.BLIND, report=None, connected=None)
    if state.starting or (state.phase in TO_PROVE and not state.released):
        turn.alarm("comms_lost_pump", reason=event.reason)
    elif not state.standby:
        turn.alarm("pump_not_connected", reason=event.reason)
    if state.phase is Phase.ARMED and state.pending is None:
        unarm(turn, "sight of the pump was lost")


def link_up(turn: Turn, event: ev.LinkUp) -> None:
    """Somebody answers. If a session runs, prove that it is our pump before any order."""
    turn.become(connected=event.identity)
    turn.clear("pump_not_connected")
    if not _must_prove(turn.state):
        turn.become(sight=Sight.SEEING)
        turn.clear("pump_not_proved", "comms_lost_pump")
        return
    turn.become(sight=Sight.VERIFYING)
    assert turn.state.ours is not None
    on_its_way = turn.state.pending.order if turn.state.pending is not None else None
    difference = differs(turn.state.ours, event.identity, on_its_way)
    if difference:
        turn.alarm("pump_not_proved", difference=difference)
    else:
        turn.clear("pump_not_proved")


def _must_prove(state: State) -> bool:
    in_doubt = state.phase in TO_PROVE or state.pending is not None
    return in_doubt and state.ours is not None and not state.released


def restarted(turn: Turn, event: ev.Restarted) -> None:
    """Back after a crash: what was running must be found out, what was armed must be armed again."""
    state = turn.state
    started = state.starting
    halt, pending = state.halt, state.pending
    kept = pending is not None and (state.phase in TO_PROVE or started)  # what it changed may be read in the pump
    turn.become(
        sight=Sight.BLIND,
        report=None,
        connected=None,
        rebooted=event.rebooted,
        halt=None if halt is None else replace(halt, in_flight=False),
        pending=replace(pending, uncertain=True) if pending is not None and kept else None,
    )
    if state.phase is Phase.RUNNING or started:
        turn.alarm("daemon_restarted", rebooted=event.rebooted)
        turn.become(run_since=None, elapsed=state.elapsed_at(turn.now)) if event.rebooted else None
        turn.go(Phase.RECOVERING)
    elif state.phase is Phase.ARMED:
        unarm(turn, "the program was restarted")
    elif state.has_session:
        turn.alarm("daemon_restarted", rebooted=event.rebooted)
