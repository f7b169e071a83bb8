"""What every order has in common: look at the bed, show the figures, ask the person, send, tell the answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from rich.text import Text

from pumpd.commands.picture import Message, Picture
from pumpd.commands.reach import AT_THE_PUMP, DONE, REFUSED, Failed, Reach, Where, Who
from pumpd.commands.screen import err, key_values, out, plain
from pumpd.messaging.encode import to_json
from pumpd.messaging.requests import STOPPING, needs_bed

STATES = {
    "accepted": ("accepted", "dim"),
    "started": ("sent to the pump", "dim"),
    "unknown": ("UNKNOWN: the pump has not answered; it is being asked", "bold red"),
    "done": ("done", "bold green"),
    "done_modified": ("done, with a change", "bold yellow"),
    "failed": ("FAILED", "bold red"),
    "rejected": ("refused", "bold red"),
    "expired": ("refused: too old", "bold red"),
}
REFUSED_STOP = f"{AT_THE_PUMP} if it moves: this order was not carried out"
NOT_STOPPED = {
    "unknown": AT_THE_PUMP,
    "failed": AT_THE_PUMP,
    "rejected": REFUSED_STOP,
    "expired": REFUSED_STOP,
}
HOW_TO_PASS = "pass it with --override-by NAME --override-reason WORDS"
NAME_A_SECOND = "name the second person with --second-person NAME"
SOFT_WORDS = ("soft limit", "needs a person and a reason")  # how pumpd.core.limits words a soft finding


@dataclass(frozen=True)
class Orders:
    """One person at one bed."""

    reach: Reach
    who: Who
    bed: str
    json: bool = False

    async def look(self, *, live: bool) -> Picture:
        """The state of the station; `live` waits for the heartbeat and the telemetry that prove it is current."""

        def enough(picture: Picture) -> bool:
            session = picture.sessions.get(self.bed)
            if session is None:
                return picture.beds_known
            return not live or (picture.heartbeat_at is not None and session["pump"] in picture.telemetry)

        picture = await self.reach.look(enough)
        if self.bed not in picture.sessions:
            raise Failed(f"{no_bed(self.bed, picture)}; nothing was {'ordered' if live else 'stopped'}")
        return picture

    async def send(
        self,
        verb: str,
        session: Message | None = None,
        args: Mapping[str, object] | None = None,
        confirm: Mapping[str, object] | None = None,
    ) -> int:
        """Send one order, tell every answer, and give the exit code."""
        fields: dict[str, object] = {**self.who.fields, "args": dict(args or {})}
        if needs_bed(verb):
            fields["bed"] = self.bed
        if session is not None:
            fields["session_id"] = session["session_id"]
            if verb not in STOPPING:
                fields["expected_revision"] = session["revision"]
        if confirm is not None:
            fields["confirm"] = dict(confirm)
        return self.end(await self.reach.ask(verb, fields, partial(self.tell, verb)))

    def tell(self, verb: str, answer: Message) -> None:
        """Say one answer as it comes."""
        if verb in STOPPING and answer["state"] in NOT_STOPPED:
            err.print(Text(NOT_STOPPED[answer["state"]], "bold red"), soft_wrap=True)
        if self.json:
            return
        words, style = STATES.get(answer["state"], (answer["state"], ""))
        line = Text(words, style)
        reason = f" ({answer['reason']})" if answer.get("reason") else ""
        if reason or answer.get("text"):
            line.append(f"{reason}: {answer.get('text') or ''}", "")
        (out if answer["state"] in ("accepted", "started", "done", "done_modified") else err).print(
            line, soft_wrap=True
        )
        for hint in _hints(verb, answer):
            err.print(hint, soft_wrap=True)
        if answer.get("readback"):
            out.print(key_values([(name, str(value)) for name, value in answer["readback"].items()]))

    def end(self, answer: Message) -> int:
        """The exit code of a final answer; with --json the answer itself is printed."""
        if self.json:
            out.print(to_json(answer), soft_wrap=True)
        return DONE if answer["state"] in ("done", "done_modified") else REFUSED


def orders(where: Where, who: Who, bed: str, *, json: bool = False) -> Orders:
    """Raises Failed."""
    return Orders(where.reach(), who, bed, json)


def no_bed(bed: str, picture: Picture) -> str:
    """What is said to a mistyped bed."""
    return f"{bed!r} is no bed of this station; it has: {', '.join(sorted(picture.sessions))}"


def how_to_pass(limits: Sequence[Message]) -> list[str]:
    """What would help a plan that is refused: nothing where a hard limit refuses it too."""
    levels = {limit["level"] for limit in limits}
    if "hard" in levels:
        return []
    return [hint for level, hint in (("second person", NAME_A_SECOND), ("soft", HOW_TO_PASS)) if level in levels]


def _hints(verb: str, answer: Message) -> list[str]:
    if answer.get("reason") != "limit":
        return []
    if verb == "session.plan":
        return how_to_pass((answer.get("data") or {}).get("limits", ()))
    return [HOW_TO_PASS] if verb == "session.accept" and _soft_only(answer.get("text") or "") else []


def _soft_only(refusal: str) -> bool:
    """Would an override help? Not where a hard limit refuses too."""
    return all(any(words in finding for words in SOFT_WORDS) for finding in refusal.split("; "))


# --- asking a person ------------------------------------------------------------------------------------------------


def ask(question: str) -> str:
    """What the person types. Raises Failed where nobody sits at a terminal."""
    if not sys.stdin.isatty():
        raise Failed("nobody is there to confirm: standard input is no terminal; scripts say --yes")
    return out.input(Text(f"{question} ", "bold")).strip()


def confirm_rate(figures: Mapping[str, Any], *, yes: bool) -> None:
    """Show the figures and have the rate typed again. Raises Failed when it is another one."""
    out.print(key_values([(name, f"{plain(value)} {unit}") for name, (value, unit) in figures.items()]))
    if yes:
        return
    wanted = Decimal(figures["rate"][0])
    typed = ask(f"Type the rate in mL/h to confirm ({plain(wanted)}); anything else does nothing:")
    try:
        same = Decimal(typed) == wanted
    except InvalidOperation:
        same = False
    if not same:
        raise Failed("not confirmed; nothing was ordered")


def agreed(question: str) -> None:
    """Ask for a yes. Raises Failed for anything else."""
    if ask(f"{question} [yes/no]").lower() not in ("y", "yes"):
        raise Failed(f"not confirmed: {question}; nothing was ordered")


# --- the ways an order is given -------------------------------------------------------------------------------------


async def with_figures(
    verb: str, person: Orders, args: dict[str, Any] | None = None, *, yes: bool, rate_as: str = "confirm_rate_ml_h"
) -> int:
    """Start, resume, finish: rate and volume as the daemon says them, confirmed by a person. Raises Failed."""
    shown = (await person.look(live=True)).sessions[person.bed]
    rate, volume = shown[rate_as], shown["confirm_volume_ml"]
    if volume is not None and rate is None:
        raise Failed("the planned time cannot be kept any more: resume without --recalculate, the end moves")
    if rate is None or volume is None:
        raise Failed(f"{verb.removeprefix('session.')} is not possible while {shown['phase'] or 'there is no session'}")
    figures = {
        "rate": (rate, "mL/h"),
        "volume": (volume, "mL at most, set in the pump"),
        "dose": (round(Decimal(volume) * shown["concentration_mg_ml"], 2), "mg at most"),
    }
    confirm_rate(figures, yes=yes)
    return await person.send(verb, shown, args, {"rate_ml_h": rate, "volume_ml": volume})


async def with_rate(verb: str, field: str, person: Orders, *, yes: bool, args: dict[str, Any] | None = None) -> int:
    """Restore, accept: the rate as telemetry says it, confirmed by a person. Raises Failed."""
    picture = await person.look(live=True)
    shown = picture.sessions[person.bed]
    rate = picture.telemetry[shown["pump"]][field]
    if not rate:
        raise Failed(f"{verb.removeprefix('session.')} is not possible: the rate is {'unknown' if rate is None else 0}")
    confirm_rate({"rate": (rate, "mL/h")}, yes=yes)
    return await person.send(verb, shown, args, {"rate_ml_h": rate})


async def order_stop(verb: str, person: Orders) -> int:
    """Stop or pause, without a question. Raises Failed."""
    return await person.send(verb, (await person.look(live=False)).sessions[person.bed])


async def stop_pump(person: Orders) -> int:
    """Stop the pump of the bed, session or none. Raises Failed."""
    pump = (await person.look(live=False)).sessions[person.bed]["pump"]
    return await person.send("pump.stop", None, {"bed": person.bed, "pump": pump})


async def live(verb: str, person: Orders, args: dict[str, Any] | None = None) -> int:
    """An order that needs no figures, at a bed that is seen now. Raises Failed."""
    return await person.send(verb, (await person.look(live=True)).sessions[person.bed], args)
