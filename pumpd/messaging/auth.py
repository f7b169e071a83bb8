"""Who may command what, how fresh, and only once (S12). No I/O; every time is given.

Judged here: form, retained, verb, freshness, repetition. Whether a request fits the session, the patient, the limits
and the person at the keypad is the session core's judgement.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from pumpd.messaging.encode import NotJson, from_json
from pumpd.messaging.pace import PER_S, Pace
from pumpd.messaging.requests import NEVER_REMOTE, STOPPING, VERBS, PumpArgs, Reason, Rejected, Request, parse_request

CLOCKS_DIFFER_S = 5.0  # contract, commands: beyond it the sender's time says nothing
PUMP_STOP_MAX_AGE_S = 60.0  # contract, commands: by arrival, the only clock a stop trusts
MEMORY_S = 24 * 3600.0  # contract, commands: ids are remembered a day, across restarts
MEMORY_MAX = 100_000  # a sender gone mad must not fill the memory; the oldest ids go first
ALWAYS = frozenset({"snapshot"})
AT_THE_BED = STOPPING | {"alarm.ack", "audio.pause", "audio.resume"}  # S13, on the local socket


class Meant(NamedTuple):
    """What a request is for: the same id with another verb, for another bed or another session is another request."""

    verb: str
    bed: str
    session_id: str  # "" for `pump.stop`, which means whoever is treated


class Origin(Enum):
    """Which way a request came in."""

    BUS = "bus"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came in. `at_wire` is the loop's time of arrival, in seconds."""

    verb: str
    payload: bytes
    origin: Origin
    retained: bool
    at_wire: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """Pass it on to the bed, then tell the gate each answer."""

    request: Request


@dataclass(frozen=True, slots=True)
class Repeated:
    """The id was seen: no second effect. Say `answer` again; None while the first has none yet."""

    request_id: str
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """No effect; answer on `ack/<request_id>` where the id could be read, and record it. `expired` is its own state."""

    request_id: str | None
    reason: Reason
    text: str
    flood: bool = False  # one of so many that a record of each would do the harm

    @property
    def state(self) -> str:
        """The state of the answer."""
        return "expired" if self.reason == "expired" else "rejected"


@dataclass(frozen=True, slots=True)
class Remembered:
    """One id the journal keeps: when it was first seen (unix seconds), its answer, and what for (None: unknown)."""

    request_id: str
    seen_unix_s: float
    answer: bytes | None = None
    meant: Meant | None = None


def accepted_verbs(configured: Iterable[str]) -> frozenset[str]:
    """What the bus may command: the configured verbs, snapshot always, stop and pause with any verb.

    Raises ValueError for a verb that does not exist, in the words of the configuration.
    """
    verbs = frozenset(configured)
    if unknown := sorted(verbs - VERBS.keys()):
        raise ValueError(f"commands: unknown verb {', '.join(unknown)}; known verbs: {', '.join(VERBS)}")
    return verbs | ALWAYS | (STOPPING if verbs - ALWAYS else frozenset())


def is_loopback(url: str) -> bool:
    """Does the broker's address reach this machine alone?"""
    if url == "embedded":
        return True
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """Judges each request once, in the order of arrival."""

    def __init__(self, configured: Iterable[str], broker_url: str, *, inactivation: bool = False) -> None:
        """`inactivation`: the local socket may inactivate single alarms of low and medium priority."""
        self.verbs = accepted_verbs(configured)
        self._inactivation = inactivation
        self.read_only = not is_loopback(broker_url)  # unsigned commands are believed from this machine only
        self._memory: dict[str, Remembered] = {}
        self._pace = {origin: Pace() for origin in Origin}

    @property
    def policy(self) -> str:
        """The command policy in words, for `info` and the start-up message."""
        if self.read_only:
            return "read-only: the broker is not on loopback and commands are not signed; the local socket commands"
        if self.verbs == ALWAYS:
            return "read-only: no verb is configured"
        return "commands from the loopback broker and the local socket"

    def judge(self, arrived: Arrived, *, now_wire: float, now_wall: datetime) -> Admitted | Repeated | Refused:
        """The verdict; an admitted or expired id is remembered from here on."""
        if arrived.verb not in STOPPING and not self._pace[arrived.origin].allows(now_wire):
            return Refused(_id_of(arrived), "busy", f"too many requests: more than {PER_S:g} a second", flood=True)
        try:
            if arrived.retained:
                raise Rejected("retained", "commands are never retained; the topic is cleared", _id_of(arrived))
            request = parse_request(arrived.verb, arrived.payload)
            known = self._memory.get(request.id)
            # "done" to something else is no answer to a stop: one that borrowed an id is carried out (S5, S10).
            borrowed = known is not None and request.verb in STOPPING and _meant_by(known) != _meant(request)
            if known is not None and not borrowed:
                return Repeated(request.id, known.answer)
            self._permit(request, arrived.origin)
            self._remember(Remembered(request.id, now_wall.timestamp(), meant=_meant(request)))
            self._fresh(request, now_wire - arrived.at_wire, now_wall)
        except Rejected as refusal:
            return Refused(refusal.request_id, refusal.reason, refusal.text)
        return Admitted(request)

    def answered(self, request_id: str, answer: bytes) -> None:
        """Keep the latest answer, to be said again when the request comes twice."""
        known = self._memory.get(request_id)
        if known is not None:
            self._memory[request_id] = replace(known, answer=answer)

    def remembered(self) -> list[Remembered]:
        """All ids of the last 24 hours, oldest first, for the journal."""
        return list(self._memory.values())

    def restore(self, memory: Iterable[Remembered]) -> None:
        """Take back what the journal kept."""
        for item in sorted(memory, key=lambda item: item.seen_unix_s):
            self._remember(item)

    def _permit(self, request: Request, origin: Origin) -> None:
        verb = request.verb
        if verb in NEVER_REMOTE:
            if origin is not Origin.LOCAL:
                raise Rejected("not_allowed", f"{verb}: only on the local socket", request.id)
            if not self._inactivation:
                raise Rejected("not_allowed", f"{verb}: off; [alarms] inactivation = true allows it", request.id)
        elif origin is Origin.LOCAL:
            if verb not in self.verbs | AT_THE_BED:
                raise Rejected(
                    "not_allowed", f"{verb}: not among the verbs of [bus] allow in the configuration", request.id
                )
        elif self.read_only and verb not in ALWAYS:
            raise Rejected("not_allowed", f"{verb}: {self.policy}", request.id)
        elif verb not in self.verbs:
            raise Rejected(
                "not_allowed", f"{verb}: not among the verbs of [bus] allow in the configuration", request.id
            )

    def _fresh(self, request: Request, waited_s: float, now_wall: datetime) -> None:
        if request.verb == "pump.stop" and waited_s > PUMP_STOP_MAX_AGE_S:
            raise Rejected("expired", f"arrived {waited_s:.0f} s ago; at most {PUMP_STOP_MAX_AGE_S:.0f}", request.id)
        if request.verb in STOPPING:
            return
        age_s = (now_wall - request.issued_ts).total_seconds()
        if abs(age_s) > CLOCKS_DIFFER_S:
            raise Rejected("expired", f"issued {age_s:.1f} s ago by our clock: too old, or clocks differ", request.id)
        if max(age_s, waited_s) * 1000 > request.ttl_ms:
            raise Rejected("expired", f"issued {age_s:.1f} s ago, valid for {request.ttl_ms / 1000:g} s", request.id)

    def _remember(self, item: Remembered) -> None:
        self._memory[item.request_id] = item
        while self._memory:
            oldest = next(iter(self._memory.values()))
            if len(self._memory) <= MEMORY_MAX and item.seen_unix_s - oldest.seen_unix_s <= MEMORY_S:
                return
            del self._memory[oldest.request_id]


def _id_of(arrived: Arrived) -> str | None:
    try:
        return parse_request(arrived.verb, arrived.payload).id
    except Rejected as malformed:
        return malformed.request_id


def _meant(request: Request) -> Meant:
    if isinstance(request.args, PumpArgs):
        return Meant(request.verb, request.args.bed, "")
    return Meant(request.verb, request.bed or "", request.session_id or "")


def _meant_by(known: Remembered) -> Meant | None:
    """What the id was first used for; the journal keeps it in the answer alone. None where there was none yet."""
    if known.meant is not None or known.answer is None:
        return known.meant
    try:
        fields = from_json(known.answer)
    except NotJson:
        return None
    if not isinstance(fields, dict):
        return None
    verb, bed, session_id = (str(fields.get(name) or "") for name in ("verb", "bed", "session_id"))
    return Meant(verb, bed, "" if verb == "pump.stop" else session_id)
