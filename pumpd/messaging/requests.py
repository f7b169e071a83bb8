"""Requests that come in on `cmd/<verb>` or the local socket: read, checked field by field, or refused in clear words.

Only the form is judged here. Who may, how fresh and how often is `auth`; whether it fits the session and its
limits is the session core. Numbers may be JSON numbers or text and never pass through a float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pumpd.core.limits import Finding
from pumpd.messaging.encode import NotJson, from_json
from pumpd.messaging.forms import WORDS_MAX, Form, Moment, NotNegative, Positive, Words
from pumpd.messaging.messages import MAX_MESSAGE_BYTES, Id
from pumpd.messaging.prescription import ContainerArgs, Override, PlanArgs

AUDIO_PAUSE_MAX_S = 120  # contract, alarms: a pause of the sound ends within 2 minutes
INACTIVE_MAX_S = 600  # as pumpd.core.alarms has it: the longest pause of one alarm
TTL_MAX_MS = 60_000  # contract, topics: the longest expiry a command has
TEXT_MAX = 1000  # a refusal names every wrong field, yet fits a display
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

    def __init__(
        self, reason: Reason, text: str, request_id: str | None = None, findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason, self.text, self.request_id = reason, text, request_id
        self.findings = findings  # how a plan that is refused stands to every limit


F = TypeVar("F", bound=Form)


class NoArgs(Form):
    """A verb without arguments."""


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


class InactivateArgs(Form):
    """What is taken from one alarm; a paused state needs its end, at most ten minutes from now."""

    alarm_id: Id
    state: Literal["enabled", "audio-paused", "audio-off", "alarm-paused", "alarm-off"]
    seconds: Annotated[int, Field(gt=0, le=INACTIVE_MAX_S)] | None = None

    @model_validator(mode="after")
    def _an_end_where_one_is_due(self) -> Self:
        if self.state.endswith("-paused") is (self.seconds is None):
            raise ValueError("audio-paused and alarm-paused need `seconds`, the other states have none")
        return self


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
        "alarm.inactivate": InactivateArgs,
        "audio.pause": AudioArgs,
        "audio.resume": NoArgs,
        "standby": NoArgs,
        "snapshot": NoArgs,
    }
)


STOPPING = frozenset({"session.stop", "session.pause", "pump.stop"})  # never wait, never too old, need no revision (S5)
NEVER_REMOTE = frozenset({"alarm.inactivate"})  # contract, alarms: on the local socket alone, where configured


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
    args = read_form(form, fields.pop("args", {}), "args.", request_id)
    request = read_form(Request, {**fields, "verb": verb, "args": args}, "", request_id)
    if needs_bed(verb) and request.bed is None:
        raise Rejected("malformed", "bed: missing; the command must name its bed", request_id)
    return request


def request_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of each verb's `args`, and of the request around them under the name `request`."""
    forms = {verb: form.model_json_schema() for verb, form in VERBS.items()}
    return {"request": Request.model_json_schema(), **forms}


def read_form(form: type[F], fields: object, where: str, request_id: str | None) -> F:
    """The form filled in, or Rejected("malformed") with every wrong field named, `where` before its name."""
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
