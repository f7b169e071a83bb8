"""What the Harvard protocol document leaves open, decided here in one place and switchable.

None of this is known of a real pump. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented

PAST_TARGET = ("T*", "error", "again")


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    poll_answer_has_blank: bool = True  # ` ON`, as one manual prints it; False: `ON`
    values_rescale: bool = True  # 0.5 ml/min is read back as 500 ul/min; False: in the unit that it was set in
    run_past_target: str = "T*"  # a run with nothing left: prompt T*, nothing moves; error: refused; again: all of it
    run_while_running_is_refused: bool = True  # False: the same way is a plain prompt, the other way turns it round
    run_after_rate_shows_idle: bool = True  # a run right after a rate is set answers `:` once, though the motor turns
    rate_while_running_is_refused: bool = False  # True: a firmware that takes no rate while it runs
    target_while_running: bool = False  # False: a target set or cleared while it runs is a Command error
    clear_while_running: bool = True  # and the target counts from the new zero
    one_target_only: bool = False  # True: a target time takes the target volume away, and the other way round
    diameter_clears_rates: bool = True
    stop_clears_stall: bool = False  # False: the prompt stays `*` until the display is touched or the pump runs
    touch_closes_line: bool = True  # after a touch nothing but a bare CR is heard; it opens the line again
    keypad_is_announced: bool = True  # with poll off, run and stop at the keypad send a prompt too
    answers_without_address: bool = True  # an address other than 0 hears requests that carry none
    chained_sets_are_silent: bool = False  # an address other than 0 answers queries only
    status_shows_set_rate: bool = True  # `status` of a standing pump tells the rate that is set; False: 0
    old_status_lacks: str = "target"  # which of the six flags the first PHD ULTRA has not: target or port
    targets_survive_power_cut: bool = False
    counters_survive_power_cut: bool = False
    poll_survives_power_cut: bool = False
    most_target_ml: float = 1000.0  # 2 l is known to be out of range

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run_past_target not in PAST_TARGET:
            raise ValueError(f"run_past_target = {self.run_past_target!r}: expected one of {', '.join(PAST_TARGET)}")
        if self.old_status_lacks not in ("target", "port"):
            raise ValueError(f"old_status_lacks = {self.old_status_lacks!r}: expected target or port")
        if not 0 < self.most_target_ml < 2000:
            raise ValueError(f"most_target_ml = {self.most_target_ml}: expected above 0 and below 2000")
