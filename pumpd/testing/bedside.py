"""A whole bed: the daemon's real parts, a simulated pump behind a port, and a person who orders."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pumpd.bedside.bed import REACTION_S
from pumpd.bedside.budget import Budget
from pumpd.bedside.desk import CHECKLIST, Proposal, Site
from pumpd.bedside.house import House, Setup
from pumpd.bedside.ward import Ward
from pumpd.clock import Clock
from pumpd.core import events as ev
from pumpd.core.intake import Former
from pumpd.core.state import State
from pumpd.driver import Driver
from pumpd.library import Syringe, load_drug_library, load_syringes, share_file
from pumpd.line.link import OpenPipe
from pumpd.messaging.auth import Gate, Origin
from pumpd.messaging.encode import timestamp
from pumpd.messaging.messages import Stamper
from pumpd.messaging.outlet import Outlet
from pumpd.messaging.requests import VERBS
from pumpd.office import Office
from pumpd.records.journal import Journal
from pumpd.records.logbook import Logbook
from pumpd.records.patients import Patients
from pumpd.testing.memory_port import MemoryPort, Peer
from pumpd.testing.virtual_time import VirtualClock

PATIENT = "p-1"
PLAN: dict[str, Any] = {
    "patient_ref": PATIENT,
    "drug": "ketamine",
    "weight": {"value": 70, "unit": "kg"},
    "weight_again": {"value": 70, "unit": "kg"},
    "dose_mg_per_kg": "0.5",
    "preparation": {"drug_mg": 50, "final_ml": 50},
    "concentration_mg_ml": 1,
    "duration_min": 45,
    "container": {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50},
    "checks": {
        "person": {"age_years": 41, "sex": "female"},
        "liver": {"result": "normal"},
        "other_drugs": {"result": "checked", "classes": []},
        "psychiatric": {"result": "done"},
        "vitals": {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": 98},
        "course": {"session_number": 1, "days_since_last": "none"},
    },
    "second_person": "nurse-2",
}  # 35 mg in 35 mL, at 46.66 mL/h
PLANNED_ML = 35.0
PATIENCE_S = 3.0  # CPU seconds a bed may think: a test's process is no daemon's, whose patience is tested by itself


class Strangers(Patients):
    """Every patient is a new one, so that a test may give PLAN again and again."""

    def former(self, patient_ref: str, now: datetime) -> Former | None:
        """Nobody was here before."""
        return None


class Paper:
    """A sink that keeps everything that was published."""

    def __init__(self) -> None:
        self.raw: list[tuple[str, bytes]] = []

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int, expiry_s: int | None, replayable: bool = False
    ) -> None:
        """Keep it."""
        self.raw.append((topic, payload))

    def under(self, start: str) -> list[tuple[str, dict[str, Any]]]:
        """All messages of the topics that begin so, oldest first."""
        return [
            (topic, json.loads(body, parse_float=Decimal))
            for topic, body in self.raw
            if topic.startswith(start) and body
        ]

    def last(self, topic: str) -> dict[str, Any]:
        """The newest message of a topic."""
        return self.all(topic)[-1]

    def all(self, topic: str) -> list[dict[str, Any]]:
        """All messages of a topic, oldest first."""
        return [json.loads(body, parse_float=Decimal) for name, body in self.raw if name == topic and body]


class Room:
    """What several beds share: the clock, the journal, the office. Ids come from a seed."""

    def __init__(
        self,
        *,
        seed: int = 1,
        clock: Clock | None = None,
        journal: Journal | None = None,
        budget: Budget | None = None,
        path: Path | None = None,
        patients: Patients | None = None,
        escalate_after: Mapping[str, float] | None = None,
        inactivation: bool = False,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.rng = random.Random(seed)
        self.paper = Paper()
        self.journal = journal or Journal(path, self.clock.boot_id, threaded=False)
        self.outlet = Outlet(
            Stamper("test", f"{self.rng.getrandbits(128):032x}", self.clock, simulated=True), [self.paper]
        )
        self.logbook = Logbook(self.journal, self.outlet, self.clock)
        gate = Gate(VERBS, "mqtt://127.0.0.1", inactivation=inactivation)
        self.office = Office(gate, self.outlet, self.logbook, self.clock, None)
        self.budget = budget or Budget(PATIENCE_S)
        self.house = House(
            self.clock,
            self.logbook,
            self.outlet,
            self,
            self.budget,
            self.new_id,
            quiet=self.office.quiet,
            escalate_after=escalate_after or {},
            patients=patients or Strangers(),
        )
        self.sounds: dict[str, str | None] = {}
        self.beds: dict[str, Bedside] = {}

    def new_id(self) -> str:
        """An id from the seed."""
        return f"{self.rng.getrandbits(48):012x}"

    def answer(self, answer: ev.Answer, bed: str, state: State, proposal: Proposal | None = None) -> None:
        """Through the office that all beds share."""
        self.office.answer(answer, bed, state, proposal)

    def alarms_changed(self) -> None:
        """Nobody looks."""

    def sound(self, bed: str, highest: str | None, *, paused: bool) -> None:
        """Kept, not played."""
        self.sounds[bed] = highest


class Bedside:
    """One bed with its pump, and a nurse. `port` is a memory port unless another way to the device is given."""

    def __init__(
        self,
        room: Room,
        driver: Driver,
        device: Peer,
        name: str = "one",
        *,
        settings: Mapping[str, object] | None = None,
        container: Mapping[str, Any] | None = None,
        syringes: Sequence[Syringe] = (),
        open_pipe: OpenPipe | None = None,
        speed: float = 1.0,
        auto_restore: bool = False,
        observation_s: float = 600.0,
        serial_number: str | None = None,
    ) -> None:
        """`container` as `session.plan` names it; `syringes` beside the table that is delivered."""
        self.room, self.name = room, name
        self.wait_s = 5.0  # for the answer to an order; more where a loaded machine tells the time
        self.container = dict(container or PLAN["container"])
        self.port = MemoryPort(device)
        pump = driver.open(settings or {})
        poll_s = max(0.1, pump.capabilities.poll_s / speed) * speed
        self.site = Site(
            pump=pump,
            drugs=dict(load_drug_library(share_file("drug-library.toml")).drugs),
            syringes=(*load_syringes(share_file("syringes.toml")), *syringes),
            simulated=True,
            auto_restore=auto_restore,
            keypad_lock=False,
            observation_s=observation_s,
            poll_s=poll_s,
            reaction_s=REACTION_S * speed,
            max_rate=None,
            serial_number=serial_number,
        )
        self.setup = Setup(name, f"{name}-pump", driver.name, self.site, speed)
        self.ward = Ward(self.setup, room.house, open_pipe or self.port.open)
        self.task: asyncio.Task[None] | None = None
        room.beds[name] = self
        room.office.wards = {bed.name: bed.ward for bed in room.beds.values()}

    # --- what is ---

    @property
    def state(self) -> State:
        """What the bed knows."""
        return self.ward.bed.state

    @property
    def phase(self) -> str:
        """Where the session stands."""
        return self.state.phase.value

    @property
    def alarms(self) -> set[str]:
        """Codes of all alarms that stand."""
        return {alarm.code for alarm in self.ward.bed.alarms.board.alarms}

    @property
    def raised(self) -> list[str]:
        """Codes of all alarms ever raised, in order."""
        return list(dict.fromkeys(body["code"] for topic, body in self.room.paper.under("alarm/")))

    # --- what a person does ---

    async def order(
        self, verb: str, *, confirm: bool = False, wait_s: float | None = None, **args: Any
    ) -> dict[str, Any]:
        """Give an order and wait for its final answer (or the last one, after `wait_s` or the bed's own)."""
        role = args.pop("role", "nurse")
        fields: dict[str, Any] = {
            "id": str(uuid.UUID(int=self.room.rng.getrandbits(128))),
            "issued_ts": timestamp(self.room.clock.wall()),
            "ttl_ms": 5000,
            "actor": "nurse-1",
            "role": role,
            "origin": "test",
            "bed": self.name,
            "session_id": args.pop("session_id", self.state.session_id or None),
            "args": args,
        }
        if given := args.pop("given", None):
            fields["confirm"] = given
        if confirm:
            shown = self.room.paper.last(f"pump/{self.name}-pump/session")
            fields["confirm"] = {
                "rate_ml_h": str(shown["confirm_rate_ml_h"]),
                "volume_ml": str(shown["confirm_volume_ml"]),
            }
        if verb == "pump.stop":
            fields["args"] = {"bed": self.name, "pump": f"{self.name}-pump"}
            del fields["bed"]
        return await self.send(verb, fields, self.wait_s if wait_s is None else wait_s)

    async def send(self, verb: str, fields: dict[str, Any], wait_s: float = 5.0) -> dict[str, Any]:
        """Give a request as it stands, and wait for its final answer (or the last one, after `wait_s`)."""
        self.room.office.take(verb, json.dumps(fields).encode(), Origin.LOCAL, False, self.room.clock.wire())
        topic = f"ack/{fields['id']}"
        deadline = self.room.clock.wire() + wait_s
        while True:
            answers = self.room.paper.all(topic)
            if answers and answers[-1]["state"] not in ("accepted", "started", "unknown"):
                return answers[-1]
            if self.room.clock.wire() >= deadline:
                return answers[-1] if answers else {"state": "none"}
            await asyncio.sleep(0.05)

    async def planned(self, **changes: Any) -> dict[str, Any]:
        """Plan the usual session."""
        return await self.order("session.plan", **{**PLAN, "container": dict(self.container), **changes})

    async def armed(self, **changes: Any) -> dict[str, Any]:
        """Plan and arm."""
        planned = await self.planned(**changes)
        assert planned["state"] == "done", planned
        return await self.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))

    async def running(self, **changes: Any) -> None:
        """Plan, arm and start."""
        armed = await self.armed(**changes)
        assert armed["state"] == "done", armed
        started = await self.order("session.start", confirm=True)
        assert started["state"] == "done", started
        assert self.phase == "running", f"after the start it is {self.phase}, with {sorted(self.alarms)}"

    async def until(self, holds: Callable[[], bool], within_s: float = 3600.0, step_s: float = 0.05) -> float:
        """Let time pass until it holds; gives the wire seconds it took."""
        began = self.room.clock.wire()
        while not holds():
            assert self.room.clock.wire() - began < within_s, (
                f"not within {within_s} s; phase {self.phase}, {self.alarms}"
            )
            await asyncio.sleep(step_s)
        return self.room.clock.wire() - began

    async def until_session(self, seconds: float) -> None:
        """Let time pass until `seconds` of running have gone by."""
        await self.until(lambda: self.state.elapsed_at(self.ward.bed.session_now()) >= seconds, within_s=10_000)

    async def ready(self) -> None:
        """Wait until the pump has been read once."""
        await self.until(lambda: self.state.report is not None, within_s=30)


@asynccontextmanager
async def ward(*beds: Bedside) -> AsyncIterator[None]:
    """Let the beds live."""
    tasks = [asyncio.create_task(bed.ward.run(), name=bed.name) for bed in beds]
    try:
        for bed in beds:
            await bed.ready()
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
