"""What the Zyno protocol document leaves open, decided here in one place and switchable.

None of this is known of a real pump. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented

SET_REPLIES = ("value", "TRUE", "silence")


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    bad_check_gets_error: bool = False  # False: a frame with a wrong check is not answered
    unknown_gets_error: bool = False  # False: an unknown command is not answered; True: its two letters and ERROR
    set_reply: str = "value"  # to `:PROTOCOL:RATE x`: the rate that is set now; TRUE (or FALSE); silence
    standing_rate_is_0: bool = False  # False: `:INFU:RATE?` of a standing pump tells the programmed rate
    q3_is_elapsed: bool = True  # False: the programmed time
    q6_is_left: bool = True  # False: the programmed volume
    q_digits: int = 4  # width of volumes and times in `Q` answers
    start_acknowledges: bool = True  # `WT01` answers alarms whose cause is gone; False: they want OK first
    review_s: float = 4.5  # from `WT01` to the motor: three parameters of 1.5 s, simulated seconds
    s9_period_s: float = 1.0  # of frames by itself after `W01`, wire seconds
    screenshot_s: float = 0.05  # the maker's client waits 75 ms instead of 25; wire seconds
    head_is_newest: bool = True  # `RI` points at the last record, as the maker's client reads it; False: past it
    data_records: int = 16  # raw ones between begin and end of an infusion data frame; 16, 2 or none
    log_time_top_digit: int = 15  # of the time in a record, to be dropped by the reader
    volume_done_is_logged: bool = True  # as cassette empty; False: only the pause is
    wrap_erases_page: bool = True  # the log's tail leaps by a page; False: by a record
    stamp_every_s: float = 3600.0  # time stamps in the log

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.set_reply not in SET_REPLIES:
            raise ValueError(f"set_reply = {self.set_reply!r}: expected one of {', '.join(SET_REPLIES)}")
        if self.data_records not in (0, 2, 16):
            raise ValueError(f"data_records = {self.data_records}: expected 0, 2 or 16")
        if not 0 <= self.log_time_top_digit <= 15:
            raise ValueError(f"log_time_top_digit = {self.log_time_top_digit}: expected 0 to 15")
        if not 1 <= self.q_digits <= 8:
            raise ValueError(f"q_digits = {self.q_digits}: expected 1 to 8")
        for name in ("s9_period_s", "stamp_every_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected more than 0")
        for name in ("review_s", "screenshot_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")
