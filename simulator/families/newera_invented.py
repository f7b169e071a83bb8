"""What the New Era protocol document leaves open, decided here in one place and switchable.

None of this is known of a real pump. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    saf_reply_digits: int = 1  # width of the answer to `SAF`: 1 gives `10`, 3 gives `010`
    safe_mode_answers_cr_commands: bool = False  # a Basic command in Safe mode is ignored
    com_error_feeds_watchdog: bool = False  # a packet answered with ?COM does not re-arm the watchdog
    wrong_length_gets_com: bool = True  # False: a framed packet with a wrong length is dropped silently
    reset_raises_alarm: bool = True  # `*RESET` is answered with S, and A?R stands after it
    running_rate_refuses_any_unit: bool = True  # False: only a unit other than the present one is ?NA
    stop_when_stopped_is_refused: bool = True  # ?NA as two sources say; False: plain S as the third does
    second_phase: str = "STP"  # factory function of phases 2 to 41; "RAT": the pump goes on at 1 mL/h without end
    counters_survive_power_cut: bool = False
    power_return_starts_afresh: bool = True  # PF on: phase 1 again with its whole volume; False: where it stood
    purge_is_counted: bool = True  # purged volume shows in DIS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.saf_reply_digits not in (1, 3):
            raise ValueError(f"saf_reply_digits = {self.saf_reply_digits}: expected 1 or 3")
        if self.second_phase not in ("STP", "RAT"):
            raise ValueError(f"second_phase = {self.second_phase!r}: expected STP or RAT")
