"""What can happen to a session, and what the session can ask for. Pure data, journaled as it stands.

Events come in (a person's order, a reading, an outcome, a wire age), effects go out (an order to the pump, an alarm, an
answer). `pumpd.core.session` alone decides which event leads to which effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pumpd.core.intake import Intake
from pumpd.core.limits import DrugLimits, Override
from pumpd.core.plan import Plan
from pumpd.driver import Capabilities, Container, Fitted, Identity, PumpAlarm, PumpReport, Settings
from pumpd.units import Ml, MlPerHour

# --- who orders, and what a bed is --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class By:
    """The sender of a request. `request` is the id that its answers carry."""

    actor: str
    role: str
    origin: str
    request: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """The figures that were read back to the person who confirmed."""

    rate: MlPerHour | None = None
    volume: Ml | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one session at this bed, fixed when it is planned."""

    pump: Capabilities
    fitted: Fitted
    limits: DrugLimits
    poll_s: float  # session seconds between two polls
    reaction_s: float  # session seconds from deciding on a stop to the pump's standing
    auto_restore: bool = False  # only where every device is simulated
    keypad_lock: bool = False
    observation_s: float = 7200.0
    max_rate: MlPerHour | None = None  # the configuration's own ceiling for this pump


# --- events: a person's orders --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Before:
    """What of the bed outlives a session, so that a session can be replayed from its plan on."""

    connected: Identity | None  # who answers at the port; None when blind
    report: PumpReport | None
    revision: int
    orders: int  # numbers are never used twice, or an old outcome would pass for a new one
    conditions: tuple[str, ...]
    loaded: Identity | None = None  # our pump while the dose of a plan that was given up may still be loaded in it


@dataclass(frozen=True, slots=True)
class PlanOrdered:
    """A prescription has been turned into a plan and stands within the limits. Takes nothing over but `before`."""

    by: By
    session_id: str
    plan: Plan
    rules: Rules
    before: Before
    intake: Intake | None = None  # None only in rows of a journal from before it was asked for


@dataclass(frozen=True, slots=True)
class ArmOrdered:
    """Put the plan into the pump. `missing` names checklist items that were not confirmed."""

    by: By
    patient_ref: str
    missing: tuple[str, ...]
    annunciator: str  # "ok", or why the local sounder failed its test


@dataclass(frozen=True, slots=True)
class StartOrdered:
    """Begin to infuse what was armed."""

    by: By
    confirm: Confirm | None


@dataclass(frozen=True, slots=True)
class PauseOrdered:
    """Stop the pump, keep the session."""

    by: By


@dataclass(frozen=True, slots=True)
class ResumeOrdered:
    """Go on after a pause, keeping the rate (`recalculate` False) or catching up within all limits."""

    by: By
    confirm: Confirm | None
    recalculate: bool = False
    pressure_released: bool = False
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class StopOrdered:
    """End the infusion of this session for good."""

    by: By


@dataclass(frozen=True, slots=True)
class PumpStopOrdered:
    """Stop the pump whatever it is doing, with or without a session."""

    by: By


@dataclass(frozen=True, slots=True)
class RestoreOrdered:
    """Put the plan's rate back after it was lowered at the keypad."""

    by: By
    confirm: Confirm | None


@dataclass(frozen=True, slots=True)
class AcceptOrdered:
    """Go on at the rate the pump is running at; the end is computed anew."""

    by: By
    confirm: Confirm | None
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class FinishOrdered:
    """Give the volume that is missing after the pump stopped short of the plan."""

    by: By
    confirm: Confirm | None


@dataclass(frozen=True, slots=True)
class RateOrdered:
    """Another rate for the rest; the volume stays, the end is computed anew."""

    by: By
    rate: MlPerHour
    confirm: Confirm | None
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class ContainerOrdered:
    """Another syringe or bag is fitted, while paused."""

    by: By
    container: Container
    fitted: Fitted


@dataclass(frozen=True, slots=True)
class EndOrdered:
    """Be content with what was given, or end the observation."""

    by: By


@dataclass(frozen=True, slots=True)
class StandbyOrdered:
    """Nobody is treated here: a pump that is switched off is no alarm until the next plan."""

    by: By


@dataclass(frozen=True, slots=True)
class ReleaseOrdered:
    """Hands off the pump."""

    by: By


# --- events: the pump, the line, the clock --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PumpReported:
    """One full poll. Its counter was read up to `took_s` session seconds before it came in."""

    report: PumpReport
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PumpTold:
    """The pump told an alarm, asked or unasked."""

    alarm: PumpAlarm


@dataclass(frozen=True, slots=True)
class UnaskedAnswers:
    """The pump answered questions that nobody here has asked, more than once: somebody else speaks to it."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Somebody answers at the port. Not yet proved to be our pump (S15)."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class LinkDown:
    """Nobody answers any more, or the last report is stale, or we slept (S7, S11)."""

    reason: str


@dataclass(frozen=True, slots=True)
class OrderDone:
    """An order was carried out and read back. `since` is when the pump was told, in session seconds."""

    number: int
    since: float
    report: PumpReport | None = None
    identity: Identity | None = None
    settings: Settings | None = None


@dataclass(frozen=True, slots=True)
class OrderFailed:
    """An order was not carried out, or nobody knows (`uncertain`). `reason` is a reason code of the bus contract."""

    number: int
    reason: str
    text: str
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class StopUnconfirmed:
    """A stop was ordered and no reading has said "standing" within its time (wire seconds)."""


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """The link stopped the pump by itself, because no judged report renewed its lease (S16)."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The bed came back after a crash. `rebooted`: the machine did too, so the length of the gap is unknown (S11)."""

    rebooted: bool


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The daemon is told to go (SIGTERM)."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time `decide` asked to be called again at."""


Event: TypeAlias = (
    PlanOrdered
    | ArmOrdered
    | StartOrdered
    | PauseOrdered
    | ResumeOrdered
    | StopOrdered
    | PumpStopOrdered
    | RestoreOrdered
    | AcceptOrdered
    | FinishOrdered
    | RateOrdered
    | ContainerOrdered
    | EndOrdered
    | ReleaseOrdered
    | StandbyOrdered
    | PumpReported
    | PumpTold
    | UnaskedAnswers
    | LinkUp
    | LinkDown
    | OrderDone
    | OrderFailed
    | StopUnconfirmed
    | LeaseLapsed
    | Restarted
    | Shutdown
    | Tick
)
EVENTS: tuple[type, ...] = Event.__args__

# --- effects: orders to the pump ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arm:
    """Set and read back the whole arming list, the pump standing."""

    number: int
    container: Container
    rate: MlPerHour
    limit: Ml
    keypad_lock: bool
    gives_more = True


@dataclass(frozen=True, slots=True)
class Begin:
    """Prove the pump, compare its settings with the armed ones, load rate and limit, read back, start (S1, S15)."""

    number: int
    rate: MlPerHour
    limit: Ml
    identity: Identity
    settings: Settings
    gives_more = True


@dataclass(frozen=True, slots=True)
class SetRate:
    """Change the running rate and read it back."""

    number: int
    rate: MlPerHour
    raises: bool

    @property
    def gives_more(self) -> bool:
        """True when the new rate is above the running one."""
        return self.raises


@dataclass(frozen=True, slots=True)
class Halt:
    """STOP: fences every older order, is repeated until the pump reads standing (S5)."""

    number: int
    gives_more = False


@dataclass(frozen=True, slots=True)
class Tighten:
    """The pump stands: lower its own volume limit to what remains, so that its keypad cannot give more (S1)."""

    number: int
    rate: MlPerHour
    limit: Ml
    gives_more = False


@dataclass(frozen=True, slots=True)
class Release:
    """Disarm the watchdog; nothing more is sent after it."""

    number: int
    gives_more = False


Order: TypeAlias = Arm | Begin | SetRate | Halt | Tighten | Release

# --- effects: alarms and answers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raise:
    """This condition holds now. Raising it again only refreshes it."""

    code: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Clear:
    """This condition holds no longer."""

    code: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A step in the life of a request: accepted, started, done, done_modified, failed, unknown, rejected."""

    request: str
    state: str
    reason: str = ""
    text: str = ""
    readback: tuple[tuple[str, str], ...] = ()


Effect: TypeAlias = Arm | Begin | SetRate | Halt | Tighten | Release | Raise | Clear | Answer
EFFECTS: tuple[type, ...] = Effect.__args__
