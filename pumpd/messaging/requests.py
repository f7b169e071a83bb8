"""Requests that come in on `cmd/<verb>` or the local socket: read, checked field by field, or refused in clear words.

Only the form is judged here. Who may, how fresh and how often is `auth`; whether it fits the session and its
limits is the session core. Numbers may be JSON numbers or text and never pass through a float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pumpd.messaging.encode import NotJson, from_json
from pumpd.messaging.messages import MAX_MESSAGE_BYTES, Id

AUDIO_PAUSE_MAX_S = 120  # contract, alarms: a pause of the sound ends within 2 minutes
TTL_MAX_MS = 60_000  # contract, topics: the longest expiry a command has
TEXT_MAX = 1000  # a refusal names every wrong field, yet fits a display
WORDS_MAX = 200  # long enough for a reason, short enough for one line of a display
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Reason = Literal[
    "retained",
    "expired",
    "wrong_session",
    "wrong_patient",
    "stale_revision",
    "duplicate",
    "not_allowed",
    "journal_unavailable",
    "differs",
    "bad_signature",
    "malformed",
    "not_confirmed",
    "limit",
    "busy",
    "link_lost",
]


class Rejected(Exception):
    """A request that has no effect. `reason` is the contract's code, `text` says it in the sender's words."""

    def __init__(self, reason: Reason, text: str, request_id: str | None = None) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason, self.text, self.request_id = reason, text, request_id


def _exact(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a number") from None
    raise ValueError("must be a number")


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a time such as 2026-01-31T09:30:00.000Z")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("has no time zone; write UTC with Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the year 1 or after 9999 in UTC") from None


# Six places are finer than any pump step and any drug label; the bounds keep absurd exponents out of the arithmetic.
Number = Annotated[Decimal, BeforeValidator(_exact), Field(max_digits=12, decimal_places=6)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=WORDS_MAX)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class Form(BaseModel):
    """Base of all that is read from outside: unknown fields and wrong types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


F = TypeVar("F", bound=Form)


class NoArgs(Form):
    """A verb without arguments."""


class ContainerArgs(Form):
    """The syringe or bag in the pump."""

    kind: Literal["syringe", "bag"]
    make: Words
    size_ml: Positive
    diameter_mm: Positive | None = None
    fill_ml: Positive


class StepArgs(Form):
    """One step of a plan: how long, and which share of the dose or which rate."""

    duration_min: Positive
    share_pct: Annotated[NotNegative, Field(le=100)] | None = None
    rate_ml_h: NotNegative | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.share_pct is None) == (self.rate_ml_h is None):
            raise ValueError("give one of share_pct and rate_ml_h")
        return self


class Override(Form):
    """Who passes a soft limit, and why."""

    by: Words
    reason: Words


class PlanArgs(Form):
    """A prescription. `duration_min` defaults to the 45 minutes this program was written for."""

    patient_ref: Words
    drug: Words
    weight_kg: Positive
    dose_mg_per_kg: Positive | None = None
    dose_mg: Positive | None = None
    concentration_mg_ml: Positive
    duration_min: Positive = Decimal(45)
    steps: Annotated[list[StepArgs], Field(min_length=1, max_length=20)] | None = None
    container: ContainerArgs
    override: Override | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.dose_mg is None) == (self.dose_mg_per_kg is None):
            raise ValueError("give one of dose_mg_per_kg and dose_mg")
        return self


class ArmArgs(Form):
    """The patient once more, and the items of the checklist that a person confirmed."""

    patient_ref: Words
    checklist: Annotated[list[Words], Field(max_length=50)]


class ResumeArgs(Form):
    """How to go on after a pause."""

    mode: Literal["extend", "recalculate"] = "extend"
    pressure_released: bool = False
    override: Override | None = None


class ContainerChange(Form):
    """A syringe or bag that was changed during a pause."""

    container: ContainerArgs


class PumpArgs(Form):
    """The pump to stop, whatever it is doing and for whom."""

    bed: Id
    pump: Id


class RateArgs(Form):
    """The rate for the rest of the volume."""

    rate_ml_h: Positive
    override: Override | None = None


class AcceptArgs(Form):
    """A soft limit that the rest may pass, and by whom."""

    override: Override | None = None


class AlarmArgs(Form):
    """One alarm."""

    alarm_id: Id


class AudioArgs(Form):
    """How long the sound is paused on all displays."""

    seconds: Annotated[int, Field(gt=0, le=AUDIO_PAUSE_MAX_S)]


VERBS: Mapping[str, type[Form]] = MappingProxyType(
    {
        "session.plan": PlanArgs,
        "session.arm": ArmArgs,
        "session.start": NoArgs,
        "session.pause": NoArgs,
        "session.resume": ResumeArgs,
        "session.stop": NoArgs,
        "session.restore": NoArgs,
        "session.accept": AcceptArgs,
        "session.finish": NoArgs,
        "session.end": NoArgs,
        "session.release": NoArgs,
        "session.container": ContainerChange,
        "pump.stop": PumpArgs,
        "rate.set": RateArgs,
        "alarm.ack": AlarmArgs,
        "alarm.reset": AlarmArgs,
        "audio.pause": AudioArgs,
        "audio.resume": NoArgs,
        "standby": NoArgs,
        "snapshot": NoArgs,
    }
)


STOPPING = frozenset({"session.stop", "session.pause", "pump.stop"})  # never wait, never too old, need no revision (S5)


class Confirm(Form):
    """The figures that were read back to the person who gave the order."""

    rate_ml_h: NotNegative | None = None
    volume_ml: NotNegative | None = None


class Request(Form):
    """One request whose form is right; `args` is the model that VERBS names for its verb."""

    verb: str
    id: Annotated[str, StringConstraints(pattern=UUID)]
    issued_ts: Moment
    ttl_ms: Annotated[int, Field(gt=0, le=TTL_MAX_MS)]
    actor: Words
    role: Words
    origin: Words
    bed: Id | None = None
    session_id: Words | None = None
    expected_revision: int | None = None
    args: Any  # an instance of VERBS[verb]
    confirm: Confirm | None = None


def needs_bed(verb: str) -> bool:
    """Does the verb act on one bed, named in the field `bed`? (`pump.stop` names it in its arguments.)"""
    return verb.startswith("session.") or verb in ("rate.set", "standby")


def parse_request(verb: str, payload: bytes) -> Request:
    """The request, or Rejected("malformed" | "not_allowed") with the field named and the id where it could be read."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise Rejected("malformed", f"{len(payload)} bytes; a request has at most {MAX_MESSAGE_BYTES}")
    try:
        fields = from_json(payload)
    except NotJson as error:
        raise Rejected("malformed", f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Rejected("malformed", "a request is one JSON object")
    request_id = _readable_id(fields)
    form = VERBS.get(verb)
    if form is None:
        raise Rejected("not_allowed", f"{verb[:WORDS_MAX]}: unknown verb; known verbs: {', '.join(VERBS)}", request_id)
    if "verb" in fields:
        raise Rejected("malformed", "verb: unknown field; the topic names the verb", request_id)
    args = _checked(form, fields.pop("args", {}), "args.", request_id)
    request = _checked(Request, {**fields, "verb": verb, "args": args}, "", request_id)
    if needs_bed(verb) and request.bed is None:
        raise Rejected("malformed", "bed: missing; the command must name its bed", request_id)
    return request


def request_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each verb's `args`, and of the request around them under the name `request`."""
    forms = {verb: form.model_json_schema() for verb, form in VERBS.items()}
    return {"request": Request.model_json_schema(), **forms}


def _checked(form: type[F], fields: object, where: str, request_id: str | None) -> F:
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        text = "; ".join(_in_words(one, form, where) for one in error.errors(include_url=False))
        raise Rejected("malformed", text[:TEXT_MAX], request_id) from None


def _in_words(error: ErrorDetails, form: type[Form], where: str) -> str:
    place = where + ".".join(str(level) for level in error["loc"])
    if error["type"] == "extra_forbidden":
        known = f"; known fields: {', '.join(form.model_fields) or 'none'}" if len(error["loc"]) == 1 else ""
        return f"{place}: unknown field{known}"
    if error["type"] == "missing":
        return f"{place}: missing"
    if error["type"] == "model_type":
        return f"{place.rstrip('.')}: must be an object"
    return f"{place.rstrip('.') or 'request'}: {error['msg'].removeprefix('Value error, ')}"


def _readable_id(fields: Mapping[str, object]) -> str | None:
    request_id = fields.get("id")
    return request_id if isinstance(request_id, str) and re.fullmatch(UUID, request_id) else None
