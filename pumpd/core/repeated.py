"""The same alarm stops the pump again and again: the third time within ten minutes ends the trying. Pure.

Source: R6.5.0(18) in docs/clinical.md. Whoever restarts a stalled pump three times pumps against whatever stalls it.
"""

from __future__ import annotations

from collections import Counter

from pumpd.core.catalogue import CATALOGUE
from pumpd.core.turn import Turn

REPEAT_WINDOW_S = 600.0  # session seconds
REPEAT_TIMES = 3


def stopped_too_often(turn: Turn) -> bool:
    """The pump's own alarms have stopped it just now. True when one did for the third time: STOP, and a prescriber."""
    state = turn.state
    recent = [(code, at) for code, at in state.stopped_by if turn.now - at <= REPEAT_WINDOW_S]
    recent += [(code, turn.now) for code in state.told]
    turn.become(stopped_by=tuple(recent))
    times = Counter(code for code, _ in recent)
    again = next((code for code in state.told if times[code] >= REPEAT_TIMES), None)
    if again is None:
        return False
    turn.alarm("repeated_stop", alarm=again, times=times[again])
    reason = f"{CATALOGUE[again].text}: {times[again]} times within {REPEAT_WINDOW_S / 60:.0f} minutes"
    turn.pause(reason, by_pump=False, needs_pressure_release=turn.pressure_told, needs_prescriber=True)
    turn.become(told=())
    turn.halt()
    return True
