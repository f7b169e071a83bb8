"""Everything pumpd says on the bus: the table of topics, one model for each body, the envelope. See docs/mqtt.md.

Commands that come in are in `requests`. Topics are named here without the prefix `pumpd/1/<station>/`; only the
bus adds it. Unknown is None with a quality, never 0. Decimals arrive rounded to the pump's resolution and stay so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, StringConstraints

from pumpd.clock import Clock
from pumpd.messaging.encode import from_json, members, timestamp, to_json

CONTRACT_VERSION = 1  # major version of the contract, second level of every topic
MAX_MESSAGE_BYTES = 16 * 1024  # contract, envelope: what the smallest reader must be able to hold
ALARM_LIST_BYTES = MAX_MESSAGE_BYTES - 1024  # leaves room for the envelope and the other fields of `alarms`
# Never on the bus outside session.plan and its answer: who the patient is, what was checked, and refusals that say it.
PRIVATE_FIELDS = frozenset({"patient_ref", "session_number", "intake", "private"})

Quality = Literal["valid", "questionable", "invalid", "estimated", "unavailable"]
Priority = Literal["high", "medium", "low"]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
Duration = FiniteFloat  # seconds; the only measured values that are floats


def prefix(station: str) -> str:
    """The first levels of every topic of this station, with the last slash."""
    return f"pumpd/{CONTRACT_VERSION}/{station}/"


class Body(BaseModel):
    """A message body without its envelope. Types are strict: a float is no volume, a number is no text."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    schema_name: ClassVar[str]


class Status(Body):
    """Is the daemon connected to the broker?"""

    schema_name = "pumpd.status/1"
    state: Literal["online", "offline"]
    reason: str | None = None
    started_ts: datetime
    host: str


class Heartbeat(Body):
    """Is the control loop running?"""

    schema_name = "pumpd.heartbeat/1"
    loop_lag_ms: int
    pump_rx_age_ms: dict[str, int | None]
    alarms_revision: int


class Info(Body):
    """What is running here and what it allows."""

    schema_name = "pumpd.info/1"
    software: str
    contract: int = CONTRACT_VERSION
    schemas: tuple[str, ...]
    drivers: dict[str, str]
    config_hash: str
    drug_library: dict[str, str]  # version and sha256 of the file
    commands: tuple[str, ...]
    command_policy: str
    disclaimer: str


class Health(Body):
    """How well the machinery behind the bed works."""

    schema_name = "pumpd.health/1"
    outbox: int
    reconnects: int
    dropped: int
    serial_errors: dict[str, int]
    disk_free_mb: int | None
    memory_mb: int | None


class Description(Body):
    """The pump at a port: what it is and what it can do."""

    schema_name = "pumpd.description/1"
    pump: Id
    bed: Id
    maker: str
    model: str
    serial_number: str | None
    driver: str
    firmware: str | None = None
    capabilities: dict[str, Any]
    limits: dict[str, Any]
    units: dict[str, str]


class Connection(Body):
    """Does the pump answer?"""

    schema_name = "pumpd.connection/1"
    pump: Id
    state: Literal["init", "connecting", "negotiating", "ready", "lost", "disabled"]
    since: datetime
    last_rx: datetime | None
    detail: str | None = None


class Telemetry(Body):
    """One coherent sample of one pump."""

    schema_name = "pumpd.telemetry/1"
    pump: Id
    session_id: str | None
    state: Literal[
        "infusing", "bolus", "purging", "kvo", "withdrawing", "paused", "stopped", "ended", "alarm", "unknown"
    ]
    control: Literal["remote", "local", "none"]
    rate_plan_ml_h: Decimal | None
    rate_set_ml_h: Decimal | None
    rate_read_ml_h: Decimal | None
    volume_plan_ml: Decimal | None
    volume_pump_ml: Decimal | None
    volume_integrated_ml: Decimal | None
    deviation_ml: Decimal | None
    elapsed_s: Duration | None
    remaining_s: Duration | None
    remaining_origin: Literal["plan", "pump", "estimate"] | None
    pressure_kpa: Decimal | None
    battery_pct: int | None
    rx_age_ms: int | None
    quality: dict[str, Quality]


class PlanStep(Body):
    """One step of a plan."""

    schema_name = "pumpd.step/1"
    duration_s: Duration
    rate_ml_h: Decimal
    volume_ml: Decimal


Phase = Literal["planned", "armed", "running", "paused", "ending", "observing", "ended", "aborted", "recovering"]


class Fitted(Body):
    """The syringe or bag in the pump."""

    schema_name = "pumpd.container/1"
    kind: str
    make: str
    size_ml: Decimal
    diameter_mm: Decimal | None


class Session(Body):
    """The plan of one bed and how far it has come. A bed without a session has only nulls besides `bed`."""

    schema_name = "pumpd.session/1"
    pump: Id
    bed: Id
    session_id: str | None
    revision: int
    phase: Phase | None
    sight: Literal["seeing", "blind", "verifying"]
    drug: str | None
    concentration_mg_ml: Decimal | None
    weight_kg: Decimal | None
    dose_mg_kg: Decimal | None
    dose_mg: Decimal | None = None
    volume_ml: Decimal | None = None
    duration_s: Duration | None
    steps: tuple[PlanStep, ...]
    container: Fitted | None = None
    delivered_ml: Decimal | None = None
    delivered_mg: Decimal | None
    delivered_mg_kg: Decimal | None
    elapsed_s: Duration | None = None
    remaining_s: Duration | None = None
    started_ts: datetime | None
    ends_ts: datetime | None
    hold_reason: str | None
    confirm_rate_ml_h: Decimal | None = None  # the figures a start, resume or finish must confirm now
    confirm_volume_ml: Decimal | None = None
    catch_up_rate_ml_h: Decimal | None = None  # ... and a resume that ends at the planned time
    unminded_s: int | None = None  # how long the pump would run on with its line dead; None: to its own limit
    unminded_ml: Decimal | None = None  # and how much it could still give, at most
    unminded_mg: Decimal | None = None


class Alarm(Body):
    """One alarm instance."""

    schema_name = "pumpd.alarm/1"
    alarm_id: Id
    bed: Id | None
    source: str
    session_id: str | None
    code: str
    kind: Literal["patient", "technical"]
    priority: Priority
    condition: Literal["present", "gone"]
    latched: bool
    first_ts: datetime
    last_ts: datetime
    count: int
    acked_by: str | None
    acked_ts: datetime | None
    inactivation: Literal["enabled", "audio-paused", "audio-off", "alarm-paused", "alarm-off"]
    inactivated_by: str | None
    until: datetime | None
    text_key: str
    text: str
    action_key: str | None
    action: str | None = None
    order: int = 0  # of occurrence; rises over restarts
    mdc: int | None = None
    values: dict[str, Any]


class Alarms(Body):
    """The whole active list. Use `alarm_list`, which keeps it within the size a message may have."""

    schema_name = "pumpd.alarms/1"
    revision: int
    highest: Priority | None
    active: tuple[Alarm, ...]
    omitted: int = 0
    audio_paused_until: datetime | None
    audio_paused_by: str | None


RANK: Mapping[Priority, int] = {"high": 0, "medium": 1, "low": 2}
HIDDEN = ("alarm-paused", "alarm-off")  # listed, with their symbol, but they do not colour the screen


def alarm_list(
    revision: int, active: tuple[Alarm, ...], audio_paused_until: datetime | None, audio_paused_by: str | None
) -> Alarms:
    """The list, highest priority first; what does not fit is counted in `omitted` and stands on `alarm/<id>` alone."""
    ordered = sorted(active, key=lambda alarm: (RANK[alarm.priority], alarm.order))
    shown = [alarm for alarm in ordered if alarm.inactivation not in HIDDEN]
    fitting, size = 0, 0
    for alarm in ordered:
        size += len(to_json(alarm).encode()) + 1
        if size > ALARM_LIST_BYTES:
            break
        fitting += 1
    return Alarms(
        revision=revision,
        highest=shown[0].priority if shown else None,
        active=tuple(ordered[:fitting]),
        omitted=len(ordered) - fitting,
        audio_paused_until=audio_paused_until,
        audio_paused_by=audio_paused_by,
    )


def _public(data: object) -> object:
    if isinstance(data, Mapping):
        return {name: _public(item) for name, item in data.items() if name not in PRIVATE_FIELDS}
    if isinstance(data, (list, tuple)):
        return [_public(item) for item in data]
    return data


class Event(Body):
    """A journal entry. `seq` is the journal's, in the envelope's place, so that a recorder finds what it missed."""

    schema_name = "pumpd.event/1"
    seq: int
    type: str
    bed: Id | None
    source: str | None
    session_id: str | None
    actor: str | None
    data: Annotated[dict[str, Any], BeforeValidator(_public)]
    prev_hash: str
    hash: str
    replayed: bool = False


class Ack(Body):
    """The state of one request. `done` means read back from the pump."""

    schema_name = "pumpd.ack/1"
    id: str
    verb: str
    state: Literal["accepted", "started", "done", "done_modified", "failed", "unknown", "rejected", "expired"]
    reason: str | None = None
    text: str | None = None
    bed: str | None = None
    session_id: str | None = None
    revision: int | None = None
    changed: bool | None = None
    readback: dict[str, Any] | None = None
    data: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """No further state follows. `unknown` is not final: the pump is read until it is known."""
        return self.state not in ("accepted", "started", "unknown")


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the contract's table; `expiry_s` None means it never expires."""

    pattern: str
    retained: bool
    qos: int
    expiry_s: int | None
    body: type[Body] | None  # None: a request, see pumpd.messaging.requests
    replayable: bool = False
    filter: str = field(init=False)

    def __post_init__(self) -> None:
        levels = ["+" if level.startswith("<") else level for level in self.pattern.split("/")]
        object.__setattr__(self, "filter", "/".join(levels))


TOPICS = (
    Topic("status", True, 1, 30, Status),
    Topic("heartbeat", False, 0, 3, Heartbeat),
    Topic("info", True, 1, None, Info),
    Topic("health", False, 0, 30, Health),
    Topic("pump/<pump>/description", True, 1, None, Description),
    Topic("pump/<pump>/connection", True, 1, 30, Connection),
    Topic("pump/<pump>/telemetry", False, 0, 5, Telemetry),
    Topic("pump/<pump>/session", True, 1, 30, Session),
    Topic("alarm/<alarm-id>", True, 1, None, Alarm),
    Topic("alarms", True, 1, 30, Alarms),
    Topic("event", False, 1, None, Event, replayable=True),
    Topic("cmd/<verb>", False, 1, 5, None),
    Topic("ack/<command-id>", False, 1, 60, Ack),
)


def matches(topic_filter: str, topic: str) -> bool:
    """Does an MQTT filter (`+` one level, `#` the rest) take this topic?"""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


@lru_cache(maxsize=4096)  # acks and alarms bring ever new topics
def rule(topic: str) -> Topic:
    """The row of the table for a topic under the prefix. Raises KeyError for one the contract does not know."""
    for row in TOPICS:
        if matches(row.filter, topic):
            return row
    raise KeyError(f"{topic}: not in the table of topics")


class Oversized(ValueError):
    """A message over MAX_MESSAGE_BYTES; nothing was sent."""


class Stamper:
    """Puts the envelope around a body. `boot_id` is this start of the process, not the machine's boot."""

    def __init__(self, station: str, boot_id: str, clock: Clock, *, simulated: bool) -> None:
        self.station, self.boot_id = station, boot_id
        self._clock = clock
        self._simulated = simulated
        self._heads: dict[str, tuple[str, str]] = {}
        self._seq: dict[str, int] = {}

    def stamp(self, topic: str, body: Body, *, simulated: bool | None = None, laboratory: bool = False) -> bytes:
        """The message; `simulated` defaults to the station's mark. Raises Oversized, or TypeError at a wrong topic."""
        head = self._heads.get(topic) or self._head(topic, body)
        if type(body) is Event:
            seq = body.seq
            rest = members({name: value for name, value in body.__dict__.items() if name != "seq"})
        else:
            seq = self._seq[topic] = self._seq.get(topic, 0) + 1
            rest = members(body.__dict__)
            if type(body) is Ack and body.final:
                del self._seq[topic], self._heads[topic]  # each request has a topic of its own
        marked = self._simulated if simulated is None else simulated
        text = (
            f'{head[0]}{seq},"ts":"{timestamp(self._clock.wall())}","mono_ms":{int(self._clock.wire() * 1000)}{head[1]}'
            f"{'true' if marked else 'false'}{LABORATORY if laboratory else ''},{rest}}}"
        )
        message = text.encode()
        if len(message) > MAX_MESSAGE_BYTES:
            raise Oversized(f"{topic}: {len(message)} bytes, a message has at most {MAX_MESSAGE_BYTES}")
        return message

    def _head(self, topic: str, body: Body) -> tuple[str, str]:
        row = rule(topic)
        if type(body) is not row.body:
            raise TypeError(f"{topic} does not carry {type(body).__name__}")
        valid_for_ms = "null" if row.expiry_s is None else row.expiry_s * 1000
        head = (
            f'{{"schema":"{body.schema_name}","station":"{self.station}","boot_id":"{self.boot_id}","seq":',
            f',"valid_for_ms":{valid_for_ms},"simulated":',
        )
        self._heads[topic] = head
        return head


LABORATORY = ',"laboratory":true'


def as_replayed(event: bytes) -> bytes:
    """The same event, marked as sent late: for the record, never for the live view."""
    fields = from_json(event)
    if not isinstance(fields, dict):
        raise TypeError("an event is an object")
    return to_json(fields | {"replayed": True}).encode()


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of every body by its schema name; the envelope's fields are in docs/mqtt.md."""
    bodies = [row.body for row in TOPICS if row.body is not None]
    return {body.schema_name: body.model_json_schema(mode="serialization") for body in bodies}
