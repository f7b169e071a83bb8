"""An invented pump family for tests of the engine: one line per message, no relation to any real device.

The host sends `word\n`, the device answers `=text\n`; `!text\n` is an alarm (asked or not), `*text\n` an event that
wants `+\n`, and a line that ends in `~\n` is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pumpd.driver import (
    Ask,
    Capabilities,
    Container,
    Damaged,
    Dialogue,
    Fitted,
    Frame,
    Garbled,
    Grid,
    Identity,
    KeepAlive,
    Motion,
    Pause,
    Programme,
    PumpAlarm,
    PumpReport,
    Refused,
    Repeat,
    Settings,
    Taken,
)
from pumpd.units import Ml, MlPerHour

REPLY_S = 0.25
LEAVE = Taken(consumed=False)
KINDS = {ord("="): "reply", ord("!"): "alarm", ord("*"): "event"}
GRID = Grid(Decimal("0.1"), Decimal(100), ((Decimal(1000), Decimal("0.1")),))


class ToyFramer:
    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            if line.endswith(b"~") or not line or line[0] not in KINDS:
                yield Damaged(line, "bad check")
            else:
                yield Frame(KINDS[line[0]], line[1:])

    def silence(self, seconds: float) -> None:
        if seconds >= 0.5:
            self.buffer = b""

    def reset(self) -> None:
        self.buffer = b""


TOY = Capabilities(
    maker="none",
    model="toy",
    kind="syringe",
    control=True,
    stop=True,
    clinical_use=False,
    watchdog_s=(3, 30),
    limit_restarts=True,
    live_rate_change=True,
    poll_acknowledges_alarm=True,
    has_serial_number=True,
    worst_reply_s=REPLY_S,
)


class ToyPump:
    """The driver. `fed_every_s` None means that the toy has no watchdog."""

    def __init__(self, *, fed_every_s: float | None = None, covered_by_any: bool = True) -> None:
        self.framer = ToyFramer()
        self.capabilities = replace(TOY)
        self._fed_every_s, self._covered_by_any = fed_every_s, covered_by_any

    def fitted(self, container: Container) -> Fitted:
        return Fitted(GRID, GRID, GRID)

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        if frame.kind == "event":
            return Taken(send=b"+\n")
        if frame.kind == "alarm":
            return Taken(notices=(PumpAlarm("toy_alarm", frame.data.decode()),), consumed=False)
        return LEAVE

    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        reply = yield ask("who")
        return Identity("toy", "1", text(reply))

    def keep_alive(self) -> KeepAlive | None:
        return None if self._fed_every_s is None else KeepAlive(self._fed_every_s, self._feed, self._covered_by_any)

    def _feed(self) -> Dialogue[None]:
        yield ask("feed")

    def read(self) -> Dialogue[PumpReport]:
        reply = text((yield ask("read")))
        if reply not in ("infusing", "standing"):
            raise Garbled(f"{reply!r} is no motion")
        return PumpReport(Motion(reply), MlPerHour(1), Ml(0))

    def settings(self) -> Dialogue[Settings]:
        return (("limit", text((yield ask("limit")))),)

    def arm(self, programme: Programme) -> Dialogue[Settings]:
        yield ask("arm")
        return (yield from self.settings())

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        yield ask(f"load {rate.value}")
        yield Pause(0.1)
        return (yield from self.read())

    def start(self) -> Dialogue[None]:
        yield Ask(b"start\n", REPLY_S, Repeat.NEVER)

    def stop(self) -> Dialogue[PumpReport]:
        yield ask("stop")
        return (yield from self.read())

    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        yield ask(f"rate {rate.value}")
        return rate

    def release(self) -> Dialogue[None]:
        yield ask("release")


def ask(word: str) -> Ask:
    return Ask(word.encode() + b"\n", REPLY_S)


def text(frame: Frame) -> str:
    if frame.kind == "alarm":
        raise Refused(f"alarm {frame.data.decode()}")
    return frame.data.decode()


@dataclass
class ToyDevice:
    """The device. `says` gives the answer to a word and after how many seconds; None is silence."""

    motion: str = "standing"
    serial: str = "SN1"
    connected: bool = True
    delay_s: float = 0.01
    says: Callable[[str], tuple[float, bytes] | None] | None = None  # overrides an answer when it gives one
    mute: bool = False
    heard: list[str] = field(default_factory=list)
    _out: list[tuple[float, bytes]] = field(default_factory=list)
    _half: bytes = b""

    def receive(self, data: bytes, at: float) -> None:
        self._half += data
        while b"\n" in self._half:
            line, _, self._half = self._half.partition(b"\n")
            self._take(line.decode(), at)

    def _take(self, word: str, at: float) -> None:
        self.heard.append(word)
        if self.mute:
            return
        special = self.says(word) if self.says else None
        if special is not None:
            delay, raw = special
            if raw:
                self._say(at + delay, raw)
            return
        if word == "start":
            self.motion = "infusing"
        elif word == "stop":
            self.motion = "standing"
        answer = {"who": self.serial, "read": self.motion}.get(word, "ok")
        if word != "+":
            self._say(at + self.delay_s, b"=" + answer.encode() + b"\n")

    def _say(self, at: float, raw: bytes) -> None:
        latest = self._out[-1][0] if self._out else at
        self._out.append((max(at, latest), raw))  # a serial line keeps its order

    def advance(self, at: float) -> None:
        pass

    def outgoing(self, at: float) -> bytes:
        due = [raw for when, raw in self._out if when <= at]
        self._out = [(when, raw) for when, raw in self._out if when > at]
        return b"".join(due)

    def next_wake(self, at: float) -> float | None:
        return min((when for when, _ in self._out), default=None)
