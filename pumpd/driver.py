"""The driver contract: what a device family must offer so that one engine can run it safely.

A driver is a *conversation that reads from top to bottom*: sync generators that yield what to send and receive the
checked frame that came back. Deadlines, retries, resync, keep-alives and the STOP fence live in `pumpd.line` alone.
Drivers import this module and `pumpd.units`, nothing else of pumpd. See docs/write-a-driver.md.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from pumpd.units import Ml, MlPerHour

T = TypeVar("T")


# --- what a dialogue says and hears ---------------------------------------------------------------------------------


class Repeat(Enum):
    """May the engine send this question again when no answer came?"""

    SAFE = "safe"
    NEVER = "never"  # start, bolus, clear: silence means Uncertain


@dataclass(frozen=True, slots=True)
class Frame:
    """One checked, unframed message of the device. `kind` is the driver's word: "reply", "alarm", "event"..."""

    kind: str
    data: bytes
    address: str = ""


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that were framed like a message but failed its check. Never shown to a dialogue; resyncs the line."""

    data: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Send `data` and wait for a frame that `accept` takes (default: any that `on_frame` left to the dialogue)."""

    data: bytes
    timeout_s: float
    repeat: Repeat = Repeat.SAFE
    tries: int = 2
    accept: Callable[[Frame], bool] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Keep the line quiet for `seconds` of wire time, inside a dialogue."""

    seconds: float


Step: TypeAlias = Ask | Pause
Dialogue: TypeAlias = Generator[Step, Frame, T]


class Framer(Protocol):
    """Cuts the byte stream into frames; holds no port and no time of its own."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they came, in pieces of any size."""

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give every complete frame so far, in order, each once. Half a frame is not an error, only not yet."""

    def silence(self, seconds: float) -> None:
        """Be told that nothing came for `seconds`, so that an inter-byte time-out can drop a half frame."""

    def reset(self) -> None:
        """Forget a half frame."""


# --- errors: what the caller may do next ----------------------------------------------------------------------------


class PumpError(Exception):
    """Base of all that can go wrong in a dialogue."""


class Refused(PumpError):
    """The pump understood and said no. Repeating the same order will not help."""


class Differs(Refused):
    """The pump took an order but reads back something else. `name`, `wanted` and `got` say what."""

    def __init__(self, name: str, wanted: str, got: str) -> None:
        super().__init__(f"{name}: wanted {wanted}, pump says {got}")
        self.name, self.wanted, self.got = name, wanted, got


class Garbled(PumpError):
    """An answer came that is no answer to the question, or cannot be read. Nothing is believed."""


class Silent(PumpError):
    """No answer to a question that may be asked again. Nothing can have changed by it."""


class Uncertain(PumpError):
    """The bytes of an order left; no answer came. Ask the pump what it is doing before any other order."""


class Preempted(PumpError):
    """A STOP took the line. The rest of this dialogue was never sent."""


class BadSetting(ValueError):
    """A driver setting in the configuration is unknown or out of range. The text says what was expected."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


# --- what is known of a pump ----------------------------------------------------------------------------------------


class Motion(Enum):
    """What the pump says it is doing now."""

    INFUSING = "infusing"
    STANDING = "standing"
    BOLUS = "bolus"
    PURGING = "purging"
    KVO = "kvo"
    WITHDRAWING = "withdrawing"
    UNKNOWN = "unknown"

    @property
    def moves(self) -> bool:
        """True unless the pump is surely standing: an unknown motion counts as moving."""
        return self is not Motion.STANDING


@dataclass(frozen=True, slots=True)
class PumpReport:
    """One coherent reading of the pump. None means the pump did not or cannot tell; never the last value."""

    motion: Motion
    rate: MlPerHour | None = None  # set rate; while infusing the actual one
    counted: Ml | None = None  # the pump's own counter of infused volume, as read
    limit: Ml | None = None  # the pump's own volume limit
    warnings: tuple[str, ...] | None = None  # catalogue ids that hold and stop nothing (battery low); None: not told


@dataclass(frozen=True, slots=True)
class PumpAlarm:
    """An alarm the pump has told. `code` is an id of pumpd's alarm catalogue, `native` the pump's own words."""

    code: str
    native: str
    stops: bool = True  # False: the pump goes on, as after a warning


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers at the port. The fingerprint serves where a pump has no serial number (S15)."""

    model: str
    version: str
    serial: str | None = None
    fingerprint: tuple[tuple[str, str], ...] = ()  # what no order changes (address, diameter...): name, value as read
    rate: MlPerHour | None = None  # what orders change, so the core knows what to expect
    limit: Ml | None = None
    monitor_only: str = ""  # why this one cannot be controlled, in words; "" where it can


@dataclass(frozen=True, slots=True)
class Grid:
    """The values a pump can be set to: from `least` to `most`, each band (`below`, `step`) with its own step."""

    least: Decimal
    most: Decimal
    bands: tuple[tuple[Decimal, Decimal], ...]  # ascending; the last `below` is above `most`

    def step_at(self, value: Decimal) -> Decimal:
        """The step that applies at `value`."""
        for below, step in self.bands:
            if value < below:
                return step
        return self.bands[-1][1]

    def down(self, value: Decimal) -> Decimal | None:
        """The largest settable value not above `value`; None when there is none (never rounded up to `least`)."""
        capped = min(value, self.most)
        step = self.step_at(capped)
        settable = (capped // step) * step
        return settable if settable >= self.least else None


@dataclass(frozen=True, slots=True)
class Container:
    """The syringe or bag that is fitted. Only a syringe has a diameter: the inner one of its barrel."""

    kind: str  # "syringe" or "bag"
    make: str
    size: Ml
    diameter_mm: Decimal | None
    fill: Ml


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the pump can set and count with one container."""

    rates: Grid  # mL/h
    limits: Grid  # mL
    counter: Grid  # mL; its step is the pump's own reading step


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this family can and cannot do. Planning, arming and the bed read it; nothing is assumed beyond it."""

    maker: str
    model: str
    kind: str  # "syringe" or "volumetric"
    control: bool  # may pumpd start and set rates?
    stop: bool
    clinical_use: bool  # False: a laboratory pump (S14)
    watchdog_s: tuple[int, int] | None  # range of the pump's own time-out; None: it has none
    limit_restarts: bool  # the pump's volume limit counts from zero again at each fresh run
    live_rate_change: bool
    poll_acknowledges_alarm: bool
    has_serial_number: bool
    worst_reply_s: float  # longest documented or seen reply; bounds "stop unconfirmed"
    lost_after_s: float = 3.0  # no valid frame for so long while asked: the link is lost
    poll_s: float = 1.0
    startup_allowance_s: float = 60.0  # seconds of plan rate that may be missing once per start
    alarms: tuple[str, ...] = ()  # catalogue ids this driver may tell


@dataclass(frozen=True, slots=True)
class Programme:
    """What arming puts into the pump."""

    container: Container
    rate: MlPerHour
    limit: Ml
    keypad_lock: bool


Settings: TypeAlias = tuple[tuple[str, str], ...]  # (name, value) as the pump reads back, in arming order


# --- what a driver offers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """What `on_frame` made of a frame: bytes to send at once, alarms to tell, and whether a dialogue may see it."""

    send: bytes = b""
    notices: tuple[PumpAlarm, ...] = ()
    consumed: bool = True


LEAVE = Taken(consumed=False)


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What must be said how often, so that the pump's watchdog does not expire. Runs only under a lease (S16)."""

    every_s: float
    dialogue: Callable[[], Dialogue[None]]
    covered_by_any: bool  # any valid exchange feeds the watchdog, so this runs only when the line was idle


@dataclass(frozen=True, slots=True)
class Line:
    """Serial line settings of the family. The configuration may override the baud rate."""

    baud: int
    bytesize: int = 8
    parity: str = "N"
    stopbits: int = 1


class Pump(Protocol):
    """One connection to one pump. The engine runs its dialogues one at a time.

    Every dialogue may raise Refused, Garbled, Silent, Uncertain or Preempted into its caller.
    """

    framer: Framer
    capabilities: Capabilities

    def fitted(self, container: Container) -> Fitted:
        """What can be set and counted with this container. Raises BadSetting when it does not fit."""

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        """See every frame first: pure and instant. `asking` tells whether a dialogue waits for an answer."""

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        """Find out who answers, without changing delivery. Run after each open, and before each start.

        `hands_off`: change nothing at all, such as the mode of the line; the pump was released to whoever stands there.
        """

    def keep_alive(self) -> KeepAlive | None:
        """The watchdog's food, or None where there is no watchdog."""

    def read(self) -> Dialogue[PumpReport]:
        """One full poll."""

    def settings(self) -> Dialogue[Settings]:
        """Read the whole arming list without changing anything."""

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        """With the pump standing: set the whole arming list and read it back. Raises Differs when one differs."""

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        """With the pump standing: reset its programme, set rate and volume limit, read both back (S1)."""

    def start(self) -> Dialogue[None]:
        """Start what was loaded. One Ask with Repeat.NEVER."""

    def stop(self) -> Dialogue[PumpReport]:
        """Stop. Safe to repeat in any state; done when a later reading says the pump stands."""

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        """Change the rate while infusing; gives back the rate the pump then reads."""

    def release(self) -> Dialogue[None]:
        """Hands off: disarm the watchdog. Nothing more is sent after it."""


def _who(pump: Pump) -> Dialogue[Identity]:
    return pump.connect(hands_off=True)


@dataclass(frozen=True, slots=True)
class Probe:
    """How `pumpd probe` asks, changing nothing, whether a pump of the family answers."""

    order: int  # who is asked first: frames that no other family takes for a command, then the others
    risk: str  # what the question could do to a pump of any family, in words
    settings: tuple[tuple[str, object], ...] = ()  # of the driver: to ask with, and for the configuration
    question: Callable[[Pump], Dialogue[Identity]] = _who  # where `connect` would say what another family must not hear


class Driver(Protocol):
    """The entry point in group `pumpd.drivers`."""

    name: str
    line: Line
    probes: tuple[Probe, ...]  # none: `pumpd probe` does not ask for it

    def open(self, settings: Mapping[str, object]) -> Pump:
        """A fresh Pump for one configured device. Raises BadSetting."""
