"""Losing and regaining sight of the pump, and coming back after a crash (S7, S10, S15). Pure."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, InvalidOperation

from pumpd.core import events as ev
from pumpd.core import watch
from pumpd.core.state import Phase, Sight, State
from pumpd.core.therapy import unarm
from pumpd.core.turn import Turn
from pumpd.driver import Identity, Motion, PumpReport
from pumpd.units import Ml

POWER_LOST = "pump_power_lost"
OVER = frozenset({Phase.ENDED, Phase.ABORTED})
TO_PROVE = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.ENDING, Phase.OBSERVING, Phase.RECOVERING})


def differs(expected: Identity, found: Identity, on_its_way: ev.Order | None = None) -> str:
    """What tells `found` from `expected`, in words; empty when nothing does.

    A serial number decides where both have one; else all that can be read must agree. An order that was on its way when
    sight was lost may or may not have been carried out: its rate is as good as the expected one, and a pump whose
    loading or arming was cut may read any rate and limit (those of its other programme phase, too); so may one of which
    none is expected. Arming for another container may have set that one's diameter.
    """
    if expected.serial is not None and found.serial is not None:
        return "" if expected.serial == found.serial else f"serial {found.serial} instead of {expected.serial}"
    was, now = dict(expected.fingerprint), dict(found.fingerprint)
    pairs = [("model", expected.model, found.model), ("version", expected.version, found.version)]
    pairs += [(name, was.get(name, "nothing"), now.get(name, "nothing")) for name in sorted(was.keys() | now.keys())]
    if isinstance(on_its_way, ev.Arm):
        pairs = [(name, old, new) for name, old, new in pairs if not _reads(new, on_its_way.container.diameter_mm)]
    if not isinstance(on_its_way, (ev.Arm, ev.Begin, ev.Tighten)):
        if expected.rate is not None and found.rate not in (expected.rate, getattr(on_its_way, "rate", expected.rate)):
            pairs.append(("rate", str(expected.rate), str(found.rate)))
        if expected.limit is not None and found.limit != expected.limit:
            pairs.append(("limit", str(expected.limit), str(found.limit)))
    return ", ".join(f"{name} {new} instead of {old}" for name, old, new in pairs if old != new)


def is_another(state: State, found: Identity) -> bool:
    """Whoever answers now reads differently from the pump that was armed."""
    return state.ours is not None and bool(differs(state.ours, found, _may_have_taken(state)))


def may_be_ours(state: State, found: Identity, before: Identity | None) -> bool:
    """Whoever answers has the marks that no key changes; what rate and limit it has, somebody may have dialled unseen.

    `before` answered last, and stands for our pump while none was armed.
    """
    known = state.ours or before
    return known is None or not differs(replace(known, rate=None, limit=None), found, _may_have_taken(state))


def implausible(state: State, report: PumpReport, now: float) -> bool:
    """In the midst of a session the counter falls, or jumps beyond what the fastest rate can have given.

    Somebody set another diameter at the pump, or it is another pump: the line was never seen lost. A cut line may read
    so, too, where nothing checks it. An armed pump has to read exactly as it was armed.
    """
    if state.sight is not Sight.SEEING or state.pending is not None:
        return False
    if state.phase is Phase.ARMED:
        as_armed = report.counted in (None, state.volumes.last_count) and report.rate in (None, state.ordered)
        return POWER_LOST in state.told or not as_armed
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return False
    turn = Turn(state, now)
    possible = turn.top_rate.over(max(0.0, now - state.volumes.at))
    return not watch.plausible_count(state.volumes, report, possible, turn.step, POWER_LOST in state.told)


def _reads(text: str, number: Decimal | None) -> bool:
    try:
        return Decimal(text) == number
    except InvalidOperation:
        return False


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
    if turn.state.phase is Phase.ENDING and turn.state.ours is None:  # nobody knows which pump it was
        turn.become(sight=Sight.VERIFYING)
        turn.alarm("pump_not_proved", difference="it was lost while it was being armed for the first time")
        return
    if not _must_prove(turn.state):
        turn.become(sight=Sight.SEEING)
        turn.clear("pump_not_proved", "comms_lost_pump")
        _leave_another(turn, event.identity)
        return
    turn.become(sight=Sight.VERIFYING)
    assert turn.state.ours is not None
    difference = differs(turn.state.ours, event.identity, _may_have_taken(turn.state))
    if difference:
        turn.alarm("pump_not_proved", difference=difference)
    else:
        turn.clear("pump_not_proved")


def _leave_another(turn: Turn, found: Identity) -> None:
    """Nobody has to be proved after the end or unarmed, but a pump that is not the one that was armed gets no word."""
    state = turn.state
    if state.ours is None:
        return
    if state.phase in OVER and state.halt is None and is_another(state, found):
        turn.become(released=True)
    # Armed for nobody any more: a rate that was dialled is no mark of another pump, for the dose comes out of ours.
    dialled = replace(state.ours, rate=None)
    if state.phase in (Phase.PLANNED, Phase.ARMED) and differs(dialled, found, _may_have_taken(state)):
        # Its counter is another one, too: what it shows was not given to this patient.
        turn.become(ours=None, pending=None, volumes=replace(state.volumes, last_count=None))
        if state.phase is Phase.ARMED:
            unarm(turn, "another pump answers")


def _must_prove(state: State) -> bool:
    unarmed = state.phase is Phase.PLANNED and isinstance(getattr(state.pending, "order", None), ev.Tighten)
    in_doubt = state.phase in TO_PROVE or (state.pending is not None and not unarmed)
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
        rebooted=event.rebooted or state.rebooted,  # a restart soon after it does not tell how long the gap was
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


def regain_sight(turn: Turn, report: PumpReport) -> bool:
    """S15: identity was compared when the link came up; the counter completes the proof."""
    state = turn.state
    if state.sight is not Sight.VERIFYING or "pump_not_proved" in state.conditions:
        return False
    begun_again, possible = POWER_LOST in state.told or _diameter_was_set(state), _possible_unseen(turn)
    if not _same_serial(state.ours, state.connected) and not watch.plausible_count(
        state.volumes, report, possible, turn.step, begun_again
    ):
        turn.alarm("pump_not_proved", counter=report.counted, expected=f"from {state.volumes.last_count}")
        return False
    volumes = watch.read_after_gap(state.volumes, report, turn.now, turn.top_rate, turn.step, possible, begun_again)
    ours = state.connected or state.ours  # proved: what an order that was cut has changed is expected from now on
    turn.become(sight=Sight.SEEING, volumes=volumes, report=report, limit_covers=False, ours=ours, cut=None)
    turn.clear("comms_lost_pump")
    if state.phase is not Phase.RECOVERING:
        turn.clear("daemon_restarted")
    if state.rebooted or report.motion is Motion.STANDING:
        _clock_from_counter(turn, state.volumes)
    return True


def _may_have_taken(state: State) -> ev.Order | None:
    """The order that our pump may have carried out, or half of it, without our knowing."""
    if state.pending is None or isinstance(state.cut, ev.Arm):
        return state.cut
    return state.pending.order


def _diameter_was_set(state: State) -> bool:
    """By an arming that was cut: that cleared the counter, too."""
    if not isinstance(_may_have_taken(state), ev.Arm) or state.ours is None or state.connected is None:
        return False
    return state.connected.fingerprint != state.ours.fingerprint


def _same_serial(ours: Identity | None, found: Identity | None) -> bool:
    return ours is not None and found is not None and ours.serial is not None and ours.serial == found.serial


def _possible_unseen(turn: Turn) -> Ml:
    """The most our pump can have given since the last reading: at the rate it had, or was being told to take."""
    state = turn.state
    if state.rebooted:  # for an unknown time, so as much as its own limit can have let through (S11)
        return turn.plan.volume
    order = _may_have_taken(state)
    set_to = None if state.ours is None else state.ours.rate
    known = (state.volumes.rate_high, set_to, getattr(order, "rate", None))
    highest = max(rate for rate in known if rate is not None)
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
    elif state.hold is not None and state.hold.at > before.at:  # paused unseen: the clock ran on until then
        turn.become(elapsed=state.elapsed - (state.hold.at - before.at) + ran)
