"""What the B. Braun dianet star documents leave open, decided here in one place and switchable.

None of this is known of a real pump. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented

ON_LOSS = ("fallback", "alarm", "both")
ZERO_AND_ZERO = ("left", "written", "never")


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    # the line
    shared_flags: bool = False  # True: one 7E may end a frame and begin the next
    frame_time_is_whole: bool = False  # True: 0.3 s (compact 0.4 s) for a whole frame, not from byte to byte
    half_frame_gets_nak: bool = False  # a frame that is not ended in time is dropped silently; True: NAK 02
    damaged_frame_gets_nak: bool = True  # NAK 01 or 02; False: silence
    wrong_address_gets_nak: bool = False  # another's frame is not answered; True: NAK 08
    cc_mode_answers_from_letter: bool = False  # the answer to CC_MODE still comes from the old address
    # the session
    refused_frame_feeds_link: bool = False  # a frame answered with NAK does not keep the remote mode alive
    on_loss: str = "both"  # the link is lost: documentation mode ("fallback"), alarm bit 14 ("alarm"), or both
    loss_stops: bool = False  # False: delivery goes on at the last rate
    keeps_address_after_loss: bool = True  # it goes on to answer to its letter
    leaving_raises_rate_invalid: bool = True  # back in local mode with a rate that is not 0: alarm bit 9
    link_alarms_hold: bool = True  # bits 9 and 14 stand until a start or a key; False: until a host has the pump again
    zero_and_zero: str = "left"  # local mode by itself at rate 0 and: no vtbd left; both "written" as 0; "never"
    keypad_holds_off_stop: bool = True  # for 2 s after a key a stop is refused as any write is
    stop_key_works_in_remote_only: bool = True  # False: it only raises alarm bit 16
    # orders
    start_when_running_is_refused: bool = True  # NAK 0C; False: ACK
    stop_when_stopped_is_refused: bool = True  # NAK 0C; False: ACK
    start_acknowledges: bool = True  # a start clears alarms whose cause is gone; False: NAK 0C until a key does
    suppression_acknowledges: bool = False  # action 01 only silences; True: it clears alarms whose cause is gone too
    rate_after_zero_runs: bool = True  # stopped by rate 0, it runs again as soon as a rate is written
    rounds_to_display: bool = True  # a rate is rounded to the decimals that LIMITS tells, up as well as down
    manual_bolus_s: float = 1.2  # wire seconds of bolus for one command: 1.0 in the text, 1.2 in the time-outs
    # what it tells
    no_vtbd_is_told_as_zero: bool = False  # without a vtbd the field is all ones: not available
    told_requests_are_over: bool = True  # a request bit is told in one STATUS; False: until its segment is read
    running_in_kvo: bool = True  # state bit 7 stands in KVO too
    drop_bit_means_active: bool = True  # state bit 17; False: monitoring is off
    history_newest_first: bool = True
    # the pump
    kvo_ml_h: float = 1.0  # at the end of vtbd or time it keeps the vein open; 0: it stops
    kvo_s: float = 600.0  # then KVO is over
    reminder_s: float = 120.0  # it stands and nobody does anything; 0: no reminder
    drops_s: float = 30.0  # without a drop, then bit 5, where drop monitoring is on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_loss not in ON_LOSS:
            raise ValueError(f"on_loss = {self.on_loss!r}: expected {' or '.join(ON_LOSS)}")
        if self.zero_and_zero not in ZERO_AND_ZERO:
            raise ValueError(f"zero_and_zero = {self.zero_and_zero!r}: expected {' or '.join(ZERO_AND_ZERO)}")
        for name in ("manual_bolus_s", "kvo_ml_h", "kvo_s", "reminder_s", "drops_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")
