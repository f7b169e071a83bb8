"""What is left, of the dose and in the container: told in time, and nothing is drawn from an empty one. Pure."""

from __future__ import annotations

from pumpd.core.turn import Turn
from pumpd.units import Ml, MlPerHour

NEAR_END_S = 180.0  # pumps say "near end" some 3 to 5 minutes before (docs/clinical.md)
NEAR_EMPTY = Ml(1)  # R6.8.0(9): a reservoir is low below 1 mL
EMPTY = Ml(0)


def in_container(turn: Turn) -> Ml:
    """What the fitted syringe or bag still holds, by the pump's count; a fill that was entered is all we know of it."""
    drawn = turn.state.volumes.counted - turn.state.fitted_counted
    return turn.plan.prescription.container.fill - drawn


def mind_what_is_left(turn: Turn, rate: MlPerHour | None) -> None:
    """Running at `rate` (None: the pump tells none) and not yet complete: near the end, or the container before it."""
    held = in_container(turn)
    if held <= EMPTY:
        turn.alarm("container_empty", held_ml=held.value)
        turn.pause("the container is empty by the pump's count", by_pump=False)
        turn.halt()
        return
    if not rate:
        return  # how long it lasts nobody can tell
    missing = turn.plan.volume - turn.state.volumes.counted
    near_end = rate.seconds_for(missing) <= NEAR_END_S
    _mark(turn, "near_end", near_end, missing)
    _mark(turn, "near_empty", held < NEAR_EMPTY and not near_end, held)


def _mark(turn: Turn, code: str, holds: bool, left: Ml) -> None:
    if holds:
        turn.alarm(code, left_ml=left.value)
    else:
        turn.clear(code)
