"""One life of a daemon in virtual time, seen from outside: every byte to and from the pump, every row, every answer.

At each of these moments the daemon could die. What would be left of the world then is kept, not acted out: the rows on
the disk, the pump with what it has heard, the nurse with what she has been told. So one run gives every death.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from pumpd.core.state import Sight
from pumpd.messaging.auth import Origin
from pumpd.records.journal import Journal, Reader
from pumpd.testing import VIRTUAL_START_S, VirtualClock, VirtualLoop
from simulator.device import Device
from tests.bedside import Bedside, Paper, Room
from tests.campaign.nurse import DIALLED_ML_H, Chart, Deed, View, next_deed, told
from tests.campaign.verdicts import Broken

T = TypeVar("T")

SPEED = 150.0  # session seconds in a wire second: the whole script is over in half a minute of the wire
WATCHDOG_S = 10
LOOK_S = 0.05  # wire seconds between two looks of the nurse
REST_S = 0.15  # ... and after a deed, so that readings come in between
FINISHED_WITHIN_S = 9000.0  # session seconds for the rest of the script, and ...
WITH_THIS_BESIDES_S = 120.0  # ... wire seconds for what is not accelerated
PATIENCE_S = 5.0  # wire seconds she waits for an answer


@dataclass(frozen=True)
class Order:
    """What the nurse has sent, as it went out."""

    id: str
    verb: str
    payload: bytes
    at: float


@dataclass(frozen=True)
class World:
    """What a death at this moment leaves behind."""

    number: int
    where: str
    at: float  # wire time
    rows: int  # rows up to this number are on the disk, ...
    appended: int  # ... those from there to this one are lost
    memory: tuple[tuple[str, str, float], ...]
    device: Device
    chart: Chart
    orders: tuple[Order, ...]
    heard: tuple[tuple[str, str], ...]  # (request, state) of every answer so far
    baselines: tuple[float, ...]  # true displacement when each patient was planned, mL

    def done(self, order: Order) -> bool:
        """Was she told that it is done?"""
        return (order.id, "done") in self.heard


class Tap:
    """Stands between the port and the pump."""

    def __init__(self, device: Device, life: Life) -> None:
        self.device, self._life = device, life
        self.count = 0  # bytes in either direction
        self.answered_at: float | None = None  # when the pump's first byte of this life came

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)

    def receive(self, data: bytes, at: float) -> None:
        life = self._life
        if not life.recording:
            self.device.receive(data, at)
        for number in range(len(data)) if life.recording else ():
            life.point(f"before byte {number + 1} of {data!r} to the pump")
            self.device.receive(data[number : number + 1], at)
            self.count += 1
            life.point(f"after byte {number + 1} of {data!r} to the pump")
        life.sent(data)

    def outgoing(self, at: float) -> bytes:
        data = self.device.outgoing(at)
        if data:
            self.count += len(data)
            self.answered_at = self.answered_at or at
            for number in range(len(data)):
                self._life.point(f"byte {number + 1} of {data!r} from the pump")
        return data


class WitnessedJournal(Journal):
    """A journal that tells before and after each row, and when rows are on the disk."""

    def __init__(self, path: Path | None, boot_id: str, life: Life) -> None:
        self._life = life
        self.on_disk = 0
        self.memory_on_disk: tuple[tuple[str, str, float], ...] = ()
        super().__init__(path, boot_id, threaded=False, commit=self._commit_and_tell)
        self.on_disk = self.head[0]

    def append(self, kind: str, data: str, **how: Any) -> int:
        self._life.point(f"before row {kind}")
        seq = super().append(kind, data, **how)
        self._life.point(f"row {seq} ({kind}) appended")
        return seq

    def _commit_and_tell(self, db: sqlite3.Connection) -> None:
        db.commit()
        self.on_disk = Reader(db).head()[0]
        self.memory_on_disk = tuple(db.execute("SELECT key, value, until FROM memory ORDER BY until"))
        self._life.point(f"rows up to {self.on_disk} on the disk")


class Newest(Paper):
    """Keeps the newest message of each topic: ten thousand deaths want no long memory."""

    def publish(self, topic: str, payload: bytes, **_: Any) -> None:
        self.newest[topic] = payload

    def __init__(self) -> None:
        super().__init__()
        self.newest: dict[str, bytes] = {}

    def all(self, topic: str) -> list[dict[str, Any]]:
        payload = self.newest.get(topic)
        return [json.loads(payload, parse_float=Decimal)] if payload else []


class Nursed(Bedside):
    """A bed whose orders are kept as they went out."""

    life: Life

    async def send(self, verb: str, fields: dict[str, Any], wait_s: float = 5.0) -> dict[str, Any]:
        payload = json.dumps(fields).encode()
        self.life.ordered(Order(fields["id"], verb, payload, self.room.clock.wire()))
        return await super().send(verb, fields, wait_s)


class Life:
    """From a birth to the end of the script, or as long as it is let live. `wanted` chooses the worlds to keep."""

    def __init__(
        self,
        path: Path | None,
        *,
        seed: int = 1,
        speed: float = SPEED,
        boot_id: str = "virtual boot",
        device: Device | None = None,
        chart: Chart | None = None,
        wanted: Callable[[int], bool] | None = None,
    ) -> None:
        self.clock = VirtualClock(boot_id=boot_id)
        self.clock._start = VIRTUAL_START_S  # the wall clock goes on over a death
        self.speed = speed
        self.recording = False
        self.points = 0
        self.worlds: list[World] = []
        self.chart = chart or Chart()
        self.orders: list[Order] = []
        self.heard: list[tuple[str, str]] = []
        self.baselines: list[float] = []
        self.story: list[str] = []
        self.faults: list[str] = []
        self._wanted = wanted
        self._seen: set[tuple[object, ...]] = set()
        self._hands = 0  # how often she has touched the pump
        self.journal = WitnessedJournal(path, boot_id, self)
        self.tap = Tap(device or Device(mode="safe", speed=speed, watchdog_s=WATCHDOG_S), self)
        self.room = Room(seed=seed, clock=self.clock, journal=self.journal)
        self.room.paper = Newest()
        self.room.outlet.sinks = [self.room.paper, self]  # type: ignore[list-item]
        self.bed = Nursed(self.room, speed=speed, watchdog_s=WATCHDOG_S, observation_s=60.0, device=self.tap)  # type: ignore[arg-type]
        self.bed.life = self
        self.recording = wanted is not None

    # --- what is seen -----------------------------------------------------------------------------------------------

    def point(self, where: str) -> None:
        """The daemon could die here; with the rows that wait for the disk written, or lost."""
        if not self.recording:
            return
        self.points += 1
        appended, on_disk = self.journal.head[0], self.journal.on_disk
        for rows in dict.fromkeys((appended, on_disk)):
            key = (self.clock.wire(), rows, self.tap.count, len(self.orders), len(self.heard), self._hands)
            if key in self._seen:
                continue  # the same rows, the same pump, the same nurse: the same world
            self._seen.add(key)
            if self._wanted is not None and self._wanted(len(self._seen) - 1):
                self._keep(where if rows == appended else f"{where}, the rows after {rows} lost", rows)

    def _keep(self, where: str, rows: int) -> None:
        durable = rows == self.journal.on_disk
        memory = self.journal.memory_on_disk if durable else tuple(self.journal.memories("", 0.0))
        world = World(
            len(self._seen) - 1,
            where,
            self.clock.wire(),
            rows,
            self.journal.head[0],
            memory,
            copy.deepcopy(self.tap.device),
            self.chart,
            tuple(self.orders),
            tuple(self.heard),
            tuple(self.baselines),
        )
        self.worlds.append(world)

    @property
    def distinct(self) -> int:
        """How many different worlds the points leave behind."""
        return len(self._seen)

    def sent(self, data: bytes) -> None:
        """The pump has got a whole command."""

    def ordered(self, order: Order) -> None:
        """The nurse sends an order."""
        if order.verb == "session.plan":
            self.baselines = [*self.baselines[: self.chart.patient], self.bed.given]
        self.orders.append(order)

    def publish(self, topic: str, payload: bytes, **_: object) -> None:
        """Every answer, and whether a "done" is the truth."""
        if not topic.startswith("ack/"):
            return
        answer = json.loads(payload)
        if (answer["id"], "done") in self.heard:
            return  # an answer said again
        self.heard.append((answer["id"], answer["state"]))
        words = " ".join(str(answer[key]) for key in ("verb", "state", "reason", "text") if answer.get(key))
        self.story.append(f"{self.clock.wire():.3f} {words}")
        if answer["state"] != "done":
            return
        moves = self.bed.truth["infusing"]
        if answer["verb"] in ("session.pause", "session.stop", "pump.stop"):
            self.must(not moves, f'"done" for {answer["verb"]}, and the pump moves')
        if answer["verb"] in ("session.start", "session.resume", "session.finish"):
            self.must(moves, f'"done" for {answer["verb"]}, and the pump stands')

    def must(self, holds: bool, what: str) -> None:
        """Raise Broken with where it stands."""
        if not holds:
            self.faults.append("\n".join((f"{what}; {self.where()}", *self.story[-12:])))
            raise Broken(self.faults[-1])

    def where(self) -> str:
        """Daemon and pump in a line."""
        state, truth = self.bed.state, self.bed.truth
        pump = "moves" if truth["infusing"] else "stands"
        unproved = [alarm.values for alarm in self.bed.ward.bed.alarms.board.alarms if alarm.code == "pump_not_proved"]
        order = type(state.pending.order).__name__ if state.pending else None
        hold = state.hold.reason if state.hold else None
        told_of = f"halt={state.halt is not None} pending={order} hold={hold} {sorted(self.bed.alarms)} {unproved}"
        return (
            f"at {self.clock.wire():.3f} {state.phase.value} {state.sight.value}, the pump {pump} "
            f"({truth['plunger_ml']:.4f} mL, alarm {truth['alarm']}), {told_of}"
        )

    # --- the nurse --------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """The display."""
        bed = self.bed
        state = bed.state
        shown = bed.room.paper.all(f"pump/{bed.name}-pump/session") if state.phase.value == "paused" else []
        return View(
            state.phase.value,
            state.sight is Sight.SEEING,
            state.session_id or None,
            state.elapsed_at(bed.ward.bed.session_now()),
            "rate_below_plan" in bed.alarms,
            state.hold.reason if state.hold else "",
            bool(shown) and shown[-1].get("confirm_rate_ml_h") is not None,
        )

    async def nurse(self) -> None:
        """Carry the script on to its end."""
        until = self.clock.wire() + FINISHED_WITHIN_S / self.speed + WITH_THIS_BESIDES_S
        while True:
            deed, self.chart = next_deed(self.view(), self.chart)
            if self.chart.finished:
                return
            self.must(self.clock.wire() < until, f"the script does not come to its end (next would be {deed})")
            if deed is None:
                await asyncio.sleep(LOOK_S)
            else:
                await self._do(deed)
                await asyncio.sleep(REST_S)

    async def _do(self, deed: Deed) -> None:
        if deed.at_the_pump:
            self._hands += 1
            with suppress(AssertionError):  # it stands just now: nothing to dial, nothing to stall
                self.bed.do(
                    **{"dial": {"what": "set_rate", "ml_h": DIALLED_ML_H}, "stall": {"what": "stall"}}[deed.verb]
                )
            return
        how: dict[str, Any] = {**deed.args, "role": "prescriber", "wait_s": PATIENCE_S}
        if deed.verb == "session.restore":
            state = self.bed.state
            assert state.plan is not None
            how["given"] = {"rate_ml_h": str(state.plan.rate_at(state.elapsed).value)}
        elif deed.confirm:
            how["confirm"] = True
        self.chart = told(self.chart, deed, await self.bed.order(deed.verb, **how))

    def say_again(self, order: Order) -> None:
        """The bus delivers an order a second time."""
        self.room.office.take(order.verb, order.payload, Origin.BUS, False, self.clock.wire())


def in_virtual_time(at: float, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on a loop of its own whose clock begins at wire time `at`."""
    loop = VirtualLoop()
    loop._virtual.now = at
    unhandled: list[str] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(repr(context)))
    try:
        result = loop.run_until_complete(work())
    finally:
        for task in (left := asyncio.all_tasks(loop)):
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
    if unhandled:
        raise Broken(f"unhandled: {unhandled[:2]}")
    return result


async def whole_life(path: Path | None, wanted: Callable[[int], bool], **how: Any) -> Life:
    """The script from the first plan to the end, without a death. Rows are in `journal`, worlds in `worlds`."""
    life = Life(path, wanted=wanted, **how)
    living = asyncio.create_task(life.bed.ward.run())
    await life.nurse()
    life.recording = False
    living.cancel()
    with suppress(asyncio.CancelledError):
        await living
    return life
