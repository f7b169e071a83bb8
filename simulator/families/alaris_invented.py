"""What the Alaris protocol notes leave open, decided here in one place and switchable.

None of this is known of a real pump. A driver should work with each of these either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.family import AnyInvented

CHOICES = {
    "refused_control": ("silent", "no_permit"),
    "refused_order": ("echo", "silent"),
    "watchdog_fed_by": ("remote_ctrl", "any"),
    "release_reply": ("permit", "echo"),
    "unpublished_replies": ("silent", "inferred"),
    "finer_rates": ("rounded", "refused", "taken"),
    "moving_words": ("own", "SET"),
    "alarm_shown": ("last", "first", "worst"),
}


@dataclass(frozen=True)
class Invented(AnyInvented):
    """Behaviours made up for the simulator; the defaults are the choices that are hardest on a driver."""

    refused_control: str = "silent"  # a wrong code; "no_permit": an answer with that field empty
    refused_order: str = "echo"  # answered as if it were obeyed, nothing happens; "silent": no answer
    watchdog_fed_by: str = "remote_ctrl"  # only its renewal; "any": every good frame
    timeout_while_held: bool = True  # control held and not renewed: AL_COMTO even where nothing infuses
    release_reply: str = "permit"  # "echo": REMOTE_CTRL^DISABLED comes back bare
    unpublished_replies: str = "silent"  # INF_VI, bare INF_RATE, REMOTE_CFG, INF_BOLUS; "inferred": a likely form
    bang_restarts: bool = False  # True: a `!` inside a frame begins a new one
    finer_rates: str = "rounded"  # to 0.1 mL/h, while the answer repeats what was asked for; "refused", "taken"
    barred_above_ml_h: float = 0.0  # with a volume limit set, faster rates are refused; 0: none are
    unanswered_every: int = 0  # every n-th good frame is obeyed without an answer; 0: none
    moving_words: str = "own"  # KVO, BOL, PRG for a motion that is no infusion; "SET" for all
    held_shows_set_rate: bool = False  # INF of a pump that stands tells 0.00, as the one real reply does
    alarm_shown: str = "last"  # which of several ALARM tells; "first", "worst": one that stops
    start_clears_alarms: bool = False  # INF_START; what stopped the pump must be acknowledged at its keypad
    unexplained_alarms_stop: bool = True  # codes of which only the name is known
    drdis_with_blank: bool = False  # AL DRDIS, as one list spells it
    orders_are_logged: bool = True  # orders of the host make the log id jump as keys do
    resting_mmhg: float = -50.0  # what the sensor shows without pressure
    near_end_s: float = 180.0  # AL_NEOIN so long before the volume limit
    near_empty_ml: float = 1.0  # AL_NEOIN with so much left in the syringe
    call_back_s: float = 120.0  # AL_CALLB after so long without a key or an order; 0: never
    kvo_ml_h: float = 1.0
    counters_survive_power_cut: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} = {getattr(self, name)!r}: expected {' or '.join(choices)}")
        for name in ("barred_above_ml_h", "unanswered_every", "near_end_s", "near_empty_ml", "call_back_s", "kvo_ml_h"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")
