"""Requests in, answers out: judges each request once, hands it to its bed, and says every answer on `ack/<id>`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import structlog

from pumpd.bedside import views
from pumpd.bedside.annunciator import Annunciator
from pumpd.bedside.desk import Proposal
from pumpd.bedside.quiet import Quiet
from pumpd.bedside.ward import Ward
from pumpd.clock import Clock
from pumpd.core import events as ev
from pumpd.core.alarms import Inactivation
from pumpd.core.state import State
from pumpd.messaging.auth import MEMORY_S, Arrived, Gate, Origin, Refused, Remembered, Repeated
from pumpd.messaging.messages import Ack, Oversized
from pumpd.messaging.outlet import Outlet
from pumpd.messaging.requests import (
    STOPPING,
    TEXT_MAX,
    AlarmArgs,
    AudioArgs,
    InactivateArgs,
    PumpArgs,
    Rejected,
    Request,
)
from pumpd.records.journal import Journal
from pumpd.records.logbook import Logbook

FIGURES = ("_ml", "_ml_h", "_mg", "_s")
VERB_MAX = 64
COMMAND = "command:"  # the journal's small memory keeps request ids under this
log = structlog.get_logger(__name__)


class Office:
    """The station's counter for requests."""

    def __init__(
        self, gate: Gate, outlet: Outlet, logbook: Logbook, clock: Clock, annunciator: Annunciator | None
    ) -> None:
        self._gate, self._outlet, self._logbook, self._clock = gate, outlet, logbook, clock
        self._annunciator = annunciator
        self._verbs: dict[str, str] = {}  # of requests that have no final answer yet
        self._armings: set[asyncio.Task[None]] = set()
        self._test: asyncio.Task[bool] | None = None
        self._stops: Counter[str] = Counter()  # by bed: an arming that waits for the sounder is older than these
        self._closed = False
        self._flooded_in = -1  # the last second in which requests were turned away
        self.quiet = Quiet(logbook, clock)
        self.wards: Mapping[str, Ward] = {}
        self.snapshot: Callable[[], None] = lambda: None

    def take(self, verb: str, payload: bytes, origin: Origin, retained: bool, at_wire: float) -> None:
        """One request as it came in. Never raises for what is in it."""
        verb = verb[:VERB_MAX]  # a topic may have 65 kB; no verb is cut to one that is known
        arrived = Arrived(verb, payload, origin, retained, at_wire)
        verdict = self._gate.judge(arrived, now_wire=self._clock.wire(), now_wall=self._clock.wall())
        match verdict:
            case Repeated(request_id=request_id, answer=answer):
                if answer is not None:
                    self._outlet.repeat(f"ack/{request_id}", answer)
            case Refused(request_id=request_id, flood=True, text=text):
                self._turn_away(verb, request_id, text)
            case Refused(request_id=request_id, reason=reason, text=text):
                self._refuse(verb, request_id, verdict.state, reason, text)
            case _:
                self._admit(verdict.request, origin)

    def close(self) -> None:
        """The program goes down: from now on only what stops is taken. Nobody would supervise a pump started now."""
        self._closed = True

    def _admit(self, request: Request, origin: Origin) -> None:
        self._verbs[request.id] = request.verb
        self._keep(request.id, b"")
        try:
            if self._closed and request.verb not in STOPPING:
                raise Rejected("busy", "the program is going down", request.id)
            self._do(request, origin)
        except Rejected as refusal:
            data = {"limits": views.findings(refusal.findings)} if refusal.findings else None
            self._refuse(request.verb, request.id, "rejected", refusal.reason, refusal.text, data)

    def _do(self, request: Request, origin: Origin) -> None:
        match request.args:
            case AlarmArgs() | InactivateArgs():
                self._alarm(request, request.args)
            case AudioArgs(seconds=seconds):
                self.quiet.begin(seconds, request.actor, remote=origin is Origin.BUS)
                self._done(request)
            case PumpArgs(bed=bed, pump=pump):
                ward = self._ward(bed)
                if ward.bed.setup.pump_id != pump:
                    raise Rejected("malformed", f"args.pump: bed {bed} has the pump {ward.bed.setup.pump_id}")
                self._pass_on(ward, request)
            case _ if request.verb == "audio.resume":
                self.quiet.end("a person wants to hear", request.actor)
                self._done(request)
            case _ if request.verb == "snapshot":
                self.snapshot()
                self._done(request)
            case _ if request.verb == "session.arm":
                task = asyncio.get_running_loop().create_task(self._arm(request, self._ward(request.bed or "")))
                self._armings.add(task)
                task.add_done_callback(self._armings.discard)
            case _:
                self._pass_on(self._ward(request.bed or ""), request)

    def _pass_on(self, ward: Ward, request: Request) -> None:
        ward.bed.request(request)
        if request.verb in STOPPING:
            self._stops[ward.bed.setup.bed] += 1
            ward.bed.alarms.enable_all()  # whoever stops is at the bed and must see and hear all of it

    async def _arm(self, request: Request, ward: Ward) -> None:
        """Arming tests the sounder first: it must be heard when all else is silent (S13)."""
        bed = ward.bed.setup.bed
        stops = self._stops[bed]
        works = await self._sounds()
        try:
            if self._closed:
                raise Rejected("busy", "the program is going down", request.id)
            if self._stops[bed] != stops:  # S5: a stop discards every older order
                raise Rejected("busy", "a stop came while the sounder was tested: arm again", request.id)
            ward.bed.request(request, "ok" if works else "no sound came")
        except Rejected as refusal:
            self._refuse(request.verb, request.id, "rejected", refusal.reason, refusal.text)

    async def _sounds(self) -> bool:
        """One test at a time, however many ask for it at once."""
        if self._annunciator is None:
            return True
        if self._test is None or self._test.done():
            self._test = asyncio.get_running_loop().create_task(self._annunciator.test())
        return await asyncio.shield(self._test)

    def _alarm(self, request: Request, args: AlarmArgs | InactivateArgs) -> None:
        alarm_id = args.alarm_id
        for ward in self.wards.values():
            alarm = ward.bed.alarms.board.find(alarm_id)
            if alarm is None:
                continue
            keeper = ward.bed.alarms
            if isinstance(args, InactivateArgs):
                problem = keeper.inactivate(alarm_id, Inactivation(args.state), request.actor, args.seconds)
            elif request.verb == "alarm.ack":
                problem = keeper.acknowledge(alarm_id, request.actor)
            else:
                problem = keeper.reset(alarm_id)
            if problem:
                raise Rejected("not_allowed", problem)
            if request.verb == "alarm.reset" and alarm.code == "monitor_only":
                ward.clear_monitor_only()
            self._done(request)
            return
        raise Rejected("malformed", f"args.alarm_id: no alarm {alarm_id} stands")

    def _ward(self, bed: str) -> Ward:
        if bed not in self.wards:
            raise Rejected("malformed", f"bed: {bed!r} is no bed of this station; it has: {', '.join(self.wards)}")
        return self.wards[bed]

    # --- answers ----------------------------------------------------------------------------------------------------

    def answer(self, answer: ev.Answer, bed: str, state: State, proposal: Proposal | None = None) -> None:
        """One step in the life of a request."""
        body = Ack.model_construct(
            id=answer.request,
            verb=self._verbs.get(answer.request, ""),
            state=answer.state,
            reason=answer.reason or None,
            text=answer.text or None,
            bed=bed,
            session_id=state.session_id or None,
            revision=state.revision,
            readback={name: _read(name, value) for name, value in answer.readback} or None,
            data=views.proposal(proposal) if proposal is not None and answer.state == "done" else None,
        )
        self._say(body)

    def _done(self, request: Request) -> None:
        self._say(Ack(id=request.id, verb=request.verb, state="done"))

    def _refuse(
        self,
        verb: str,
        request_id: str | None,
        state: str,
        reason: str,
        text: str,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Said to the sender where its id could be read, and always recorded.

        Why a plan was refused may tell of the patient: the words go to the sender and into the journal only.
        """
        told: dict[str, Any] = {"verb": verb, "id": request_id, "reason": reason}
        words = {"private" if verb == "session.plan" else "text": text}
        self._logbook.write("Refused", json.dumps(told | words, sort_keys=True))
        log.info("office.refused", **told, **({} if "private" in words else words))
        if request_id is not None:
            self._say(Ack.model_construct(id=request_id, verb=verb, state=state, reason=reason, text=text, data=data))

    def _turn_away(self, verb: str, request_id: str | None, text: str) -> None:
        """One of a flood: the first of each second is recorded, and each whose id could be read is answered."""
        second = int(self._clock.wire())
        if second != self._flooded_in:
            self._flooded_in = second
            self._refuse(verb, None, "rejected", "busy", text)
        if request_id is not None:
            answer = Ack.model_construct(id=request_id, verb=verb, state="rejected", reason="busy", text=text)
            self._outlet.say(f"ack/{request_id}", answer)  # not remembered: sent again later it is a new request

    def _say(self, body: Ack) -> None:
        try:
            payload = self._outlet.say(f"ack/{body.id}", body)
        except Oversized as error:
            log.warning("office.too_long_for_the_bus", verb=body.verb, id=body.id, error=str(error))
            short = {"text": (body.text or "")[:TEXT_MAX], "data": None, "readback": None}
            payload = self._outlet.say(f"ack/{body.id}", body.model_copy(update=short))
        self._gate.answered(body.id, payload)
        self._keep(body.id, payload)
        if body.final:
            self._verbs.pop(body.id, None)

    def _keep(self, request_id: str, answer: bytes) -> None:
        until = self._clock.wall().timestamp() + MEMORY_S
        self._logbook.journal.remember(COMMAND + request_id, answer.decode(), until)


def _read(name: str, value: str) -> object:
    """A figure with its unit in the name is a number on the bus."""
    return Decimal(value) if name.endswith(FIGURES) and value != "unknown" else value


def remembered_ids(journal: Journal, now_unix_s: float) -> list[Remembered]:
    """The request ids of the last day, as the journal kept them over a restart."""
    kept = journal.memories(COMMAND, now_unix_s)
    return [
        Remembered(key.removeprefix(COMMAND), until - MEMORY_S, value.encode() or None) for key, value, until in kept
    ]
