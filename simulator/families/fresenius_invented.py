"""What the Fresenius protocol notes leave open, decided here in one place and switchable.

Part A of the notes rests on one implementation of a host; alarm bits, start rule, line check and link loss are made up
whole. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented

CHOICES = {
    "start_rule": ("pr", "po", "keypad"),
    "link_loss": ("runs_on", "alarms", "stops"),
}
POSITIVE = ("enq_period_s", "dc4_within_s", "enq_misses", "ack_within_s", "event_period_s", "answer_within_s")


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    start_rule: str = "pr"  # PR starts at once; "po": PO resumes a pump that stands; "keypad": only a person starts
    link_loss: str = "runs_on"  # in PC control: goes on, in manual mode; "alarms": that and an alarm; "stops"
    settle_s: float = 1.0  # after 0DC every frame is NAK 6 for so long
    enq_period_s: float = 2.0  # while a session is open
    enq_inside_every: int = 5  # each n-th frame of the pump has an ENQ in its middle; 0: none
    dc4_within_s: float = 0.5
    enq_misses: int = 3  # so many ENQ in a row without DC4, and the session is over
    ack_within_s: float = 1.0  # then NAK 5; until then the next command is NAK 6
    repeats: int = 2  # of a frame that the host refused with NAK
    event_period_s: float = 1.0  # what has changed is told as often at most
    answer_within_s: float = 1.0  # then an event is repeated
    event_repeats: int = 3  # then the subscription is over
    rate_width: int = 4  # hex digits of d and k
    volume_width: int = 8  # hex digits of r and s
    d_is_set_rate: bool = False  # d of a pump that stands is 0
    any_alarm_bars: bool = True  # a mere warning too makes PR error 12
    pc_while_running: bool = False  # MO;2 to a pump that runs is error 09
    close_needs_manual: bool = True  # FC in PC control is error 1F
    key_takes_back: bool = True  # a key ends PC control
    reminder_s: float = 0.0  # an alarm after so long without a key or an order; 0: never
    near_end_s: float = 180.0
    near_empty_ml: float = 1.0
    counters_survive_power_cut: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} = {getattr(self, name)!r}: expected {' or '.join(choices)}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected more than 0")
