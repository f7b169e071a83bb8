"""What is known of a session at one moment. Pure, frozen; only `pumpd.core.session.decide` makes the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pumpd.core.events import Begin, By, Order, Rules
from pumpd.core.plan import Plan
from pumpd.core.watch import ZERO, Volumes
from pumpd.driver import Fitted, Identity, PumpReport, Settings
from pumpd.units import Ml, MlPerHour


class Phase(Enum):
    """Where the therapy stands."""

    IDLE = "idle"  # no session
    PLANNED = "planned"
    ARMED = "armed"
    RUNNING = "running"
    PAUSED = "paused"
    ENDING = "ending"
    OBSERVING = "observing"
    ENDED = "ended"
    ABORTED = "aborted"
    RECOVERING = "recovering"


class Sight(Enum):
    """Whether we see our pump. Never straight from blind to seeing."""

    SEEING = "seeing"
    BLIND = "blind"
    VERIFYING = "verifying"


@dataclass(frozen=True, slots=True)
class Pending:
    """An order on its way to the pump. `uncertain`: its bytes left and no answer came; the next reading tells."""

    order: Order
    by: By | None
    since: float
    uncertain: bool = False
    plan: Plan | None = None  # becomes the plan when the order is done
    fitted: Fitted | None = None  # ... and what can be set with the container of that plan


@dataclass(frozen=True, slots=True)
class HaltLatch:
    """A stop that is not yet read back. Never forgotten: it stands until a reading says "standing" (S5)."""

    since: float
    number: int
    in_flight: bool
    asked_by: tuple[By, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the infusion is paused. `by_pump`: a keypad, the pump's own alarm or watchdog did it, not pumpd."""

    reason: str
    by_pump: bool
    at: float
    needs_pressure_release: bool = False
    needs_prescriber: bool = False  # at once; a long pause needs one too


@dataclass(frozen=True, slots=True)
class State:
    """The whole of it. Times are session seconds; `elapsed` counts running only."""

    phase: Phase = Phase.IDLE
    sight: Sight = Sight.BLIND
    session_id: str = ""
    revision: int = 0
    plan: Plan | None = None
    rules: Rules | None = None
    patient_ref: str = ""
    former_session: str = ""  # the patient's last one by the journal, when this one was planned
    connected: Identity | None = None  # who answers at the port
    ours: Identity | None = None  # the pump that was armed, as it must read now
    settings: Settings = ()
    armed_at: float | None = None
    report: PumpReport | None = None  # the last reading; None while blind
    volumes: Volumes = field(default_factory=Volumes)
    started: float | None = None  # when the infusion first ran, pauses and all
    elapsed: float = 0.0
    run_since: float | None = None
    ordered: MlPerHour | None = None  # the rate pumpd last set
    enforced: MlPerHour | None = None  # the plan's rate at the last comparison; differs when a step begins
    armed_counted: Ml = ZERO  # what was counted when the pump was armed
    fitted_counted: Ml = ZERO  # ... and when the present container was fitted
    limit_covers: bool = False  # the pump's own limit ends the infusion within the plan
    pending: Pending | None = None
    cut: Order | None = None  # given up before its end: what it changed may be read in the pump until that is known
    halt: HaltLatch | None = None
    orders: int = 0
    hold: Hold | None = None
    told: tuple[str, ...] = ()  # alarms the pump told since it was last seen well
    stopped_by: tuple[tuple[str, float], ...] = ()  # the pump's own alarms that stopped it lately, and when
    above_at: tuple[float, ...] = ()  # when the rate was found above plan
    apart_since: float | None = None
    apart_high_since: float | None = None
    conditions: frozenset[str] = frozenset()  # alarm conditions that hold now
    completed: bool = False
    rebooted: bool = False
    observed_from: float | None = None
    released: bool = False
    standby: bool = False

    def elapsed_at(self, now: float) -> float:
        """Seconds of running so far."""
        return self.elapsed if self.run_since is None else self.elapsed + max(0.0, now - self.run_since)

    @property
    def has_session(self) -> bool:
        """A session that is not over."""
        return self.phase not in (Phase.IDLE, Phase.ENDED, Phase.ABORTED)

    @property
    def in_our_hands(self) -> bool:
        """A pump was armed for the session, which is not over, and nobody took it away."""
        return self.has_session and self.ours is not None and not self.released

    @property
    def proved(self) -> bool:
        """Nobody but our pump can be at the port; while blind nobody is there to get an order."""
        return self.sight is not Sight.VERIFYING and "pump_not_proved" not in self.conditions

    @property
    def starting(self) -> bool:
        """A start or resume is on its way, so the pump may be infusing already."""
        return self.pending is not None and isinstance(self.pending.order, Begin)

    @property
    def should_move(self) -> bool:
        """The pump is, or may be, infusing under our order: its keep-alives need a lease (S16)."""
        return self.phase in (Phase.RUNNING, Phase.RECOVERING) or self.halt is not None
