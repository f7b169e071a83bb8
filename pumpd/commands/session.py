"""`pumpd session ...` and `pumpd stop`: a person's orders at one bed."""

from __future__ import annotations

from cyclopts import App

from pumpd.bedside.desk import CHECKLIST
from pumpd.commands.orders import (
    Orders,
    agreed,
    ask,
    live,
    no_bed,
    order_stop,
    orders,
    stop_pump,
    with_figures,
    with_rate,
)
from pumpd.commands.picture import Message
from pumpd.commands.prescription import (
    NO_CHECKS,
    NO_PRESCRIPTION,
    NO_SYRINGE,
    Checks,
    Prescription,
    Syringe,
    checked,
    overridden,
    read,
)
from pumpd.commands.reach import ANYWHERE, DONE, NURSE, Failed, Where, Who, else_at_the_pump
from pumpd.commands.screen import (
    library_line,
    limits_table,
    out,
    plan_table,
    prescription_line,
    station,
    unminded_words,
)
from pumpd.messaging.encode import to_json

CHECKS = {
    "air-purged-disconnected": "the line was purged of air with the patient disconnected",
    "clamps-open": "all clamps are open",
    "line-connected": "the line was connected to the patient after purging",
    "syringe-seated": "the syringe is seated and held, and is the one that was planned",
    "patient-monitored": "the patient's oxygen, heart rate and blood pressure are monitored",
}

session = App(name="session", group="At the bed", help="Plan, arm, start and guide the session of one bed.")


@session.command
async def plan(
    bed: str,
    /,
    *,
    patient: str | None = None,
    prescription: Prescription = NO_PRESCRIPTION,
    syringe: Syringe = NO_SYRINGE,
    checks: Checks = NO_CHECKS,
    where: Where = ANYWHERE,
    who: Who = NURSE,
    json: bool = False,
) -> int:
    """Plan a session; the daemon holds it against every limit.

    pumpd session plan one --file config/prescription.toml --patient P-17 --weight-again 70kg

    Every answer is an option or stands in the file, never in both. Nothing is left out in silence: say "not done",
    "not measured" or "unknown", and a named person with a reason passes it.

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    patient
        The site's pseudonym for the patient; asked for again at arming. In the file: patient_ref.
    json
        Print the final answer as JSON.
    """
    person = orders(where, who, bed, json=json)
    fields = read(prescription, syringe, checks, patient)
    checked(fields, for_patient=True)
    answer = await person.reach.ask(
        "session.plan", {**who.fields, "bed": bed, "args": fields}, lambda answer: _tell_plan(person, answer)
    )
    return person.end(answer)


def _tell_plan(person: Orders, answer: Message) -> None:
    made = answer.get("data")
    if made and not person.json:
        if answer["state"] == "done":
            out.print(prescription_line(made), soft_wrap=True)
            out.print(plan_table(made))
            out.print(library_line(made), style="dim", soft_wrap=True)
        out.print(limits_table(made["limits"]))
    person.tell("session.plan", answer)


@session.command
async def arm(
    bed: str,
    /,
    *,
    patient: str | None = None,
    yes: bool = False,
    where: Where = ANYWHERE,
    who: Who = NURSE,
    json: bool = False,
) -> int:
    """Walk the checklist, name the patient again, put the plan into the pump and read it back.

    pumpd session arm one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    patient
        The patient's pseudonym once more; asked for when left out.
    yes
        Confirm the whole checklist at once, for scripts.
    json
        Print the final answer as JSON.
    """
    person = orders(where, who, bed, json=json)
    shown = (await person.look(live=True)).sessions[bed]
    if shown["session_id"] is not None and not json:
        out.print(prescription_line(shown), soft_wrap=True)
        if shown.get("unminded_ml") is not None:  # a daemon before this field does not tell it
            out.print(f"if pumpd died: {unminded_words(shown)}", soft_wrap=True)
    for item in CHECKLIST:
        words = CHECKS.get(item, item)
        if yes:
            out.print(f"✓ {words}", style="dim")
        else:
            agreed(words)
    again = patient or ask("The patient's reference, once more:")
    return await person.send("session.arm", shown, {"patient_ref": again, "checklist": list(CHECKLIST)})


@session.command
async def start(
    bed: str, /, *, yes: bool = False, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False
) -> int:
    """Start the infusion, once the figures have been confirmed.

    pumpd session start one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    yes
        Confirm without asking, for scripts; the figures are still printed.
    json
        Print the final answer as JSON.
    """
    return await with_figures("session.start", orders(where, who, bed, json=json), yes=yes)


@session.command
async def resume(
    bed: str,
    /,
    *,
    pressure_released: bool = False,
    recalculate: bool = False,
    yes: bool = False,
    override_by: str | None = None,
    override_reason: str | None = None,
    where: Where = ANYWHERE,
    who: Who = NURSE,
    json: bool = False,
) -> int:
    """Go on after a pause at the plan's rate; the end moves.

    pumpd session resume one
    pumpd session resume one --recalculate

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    pressure_released
        After an occlusion: the line's pressure was released away from the patient.
    recalculate
        Raise the rate, within all limits, to end at the planned time; never after an occlusion.
    yes
        Confirm without asking, for scripts; the figures are still printed.
    override_by
        Who passes a soft limit that the rest breaks at the raised rate ...
    override_reason
        ... and why. Recorded.
    json
        Print the final answer as JSON.
    """
    person = orders(where, who, bed, json=json)
    args = {"pressure_released": pressure_released, **overridden(override_by, override_reason)}
    if not recalculate:
        return await with_figures("session.resume", person, {"mode": "extend", **args}, yes=yes)
    args["mode"] = "recalculate"
    return await with_figures("session.resume", person, args, yes=yes, rate_as="catch_up_rate_ml_h")


@session.command
async def finish(
    bed: str, /, *, yes: bool = False, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False
) -> int:
    """Give the volume that is missing after the pump stopped short of the plan.

    pumpd session finish one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    yes
        Confirm without asking, for scripts; the figures are still printed.
    json
        Print the final answer as JSON.
    """
    return await with_figures("session.finish", orders(where, who, bed, json=json), yes=yes)


@session.command
async def restore(
    bed: str, /, *, yes: bool = False, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False
) -> int:
    """Put the plan's rate back after it was lowered at the pump.

    pumpd session restore one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    yes
        Confirm without asking, for scripts; the rate is still printed.
    json
        Print the final answer as JSON.
    """
    return await with_rate("session.restore", "rate_plan_ml_h", orders(where, who, bed, json=json), yes=yes)


@session.command
async def accept(
    bed: str,
    /,
    *,
    yes: bool = False,
    override_by: str | None = None,
    override_reason: str | None = None,
    where: Where = ANYWHERE,
    who: Who = NURSE,
    json: bool = False,
) -> int:
    """Go on at the rate the pump runs at; the end is computed anew, all limits are checked again.

    pumpd session accept one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    yes
        Confirm without asking, for scripts; the rate is still printed.
    override_by
        Who passes a soft limit that the rest breaks at this rate ...
    override_reason
        ... and why. Recorded.
    json
        Print the final answer as JSON.
    """
    args = overridden(override_by, override_reason)
    person = orders(where, who, bed, json=json)
    return await with_rate("session.accept", "rate_read_ml_h", person, yes=yes, args=args)


@session.command
async def pause(bed: str, /, *, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False) -> int:
    """Stop the pump and keep the session. Never asks.

    pumpd session pause one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    with else_at_the_pump():
        return await order_stop("session.pause", orders(where, who, bed, json=json))


@session.command(name="stop")
async def stop_session(bed: str, /, *, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False) -> int:
    """End the infusion for good. Never asks.

    pumpd session stop one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    with else_at_the_pump():
        return await order_stop("session.stop", orders(where, who, bed, json=json))


async def stop(bed: str, /, *, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False) -> int:
    """Stop the pump of a bed, whatever it is doing, with or without a session. Never asks.

    pumpd stop one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    with else_at_the_pump():
        return await stop_pump(orders(where, who, bed, json=json))


@session.command
async def end(bed: str, /, *, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False) -> int:
    """Be content with what was given; or, when observing, end the observation.

    pumpd session end one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    return await live("session.end", orders(where, who, bed, json=json))


@session.command
async def release(bed: str, /, *, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False) -> int:
    """Hands off: disarm the pump's watchdog and send it nothing more.

    pumpd session release one

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    return await live("session.release", orders(where, who, bed, json=json))


@session.command
async def container(
    bed: str, /, *, syringe: Syringe = NO_SYRINGE, where: Where = ANYWHERE, who: Who = NURSE, json: bool = False
) -> int:
    """Tell of a new syringe, while paused; it is put into the pump and read back.

    pumpd session container one --make BD --size 60 --fill 30

    Parameters
    ----------
    bed
        The bed, as in the configuration.
    json
        Print the final answer as JSON.
    """
    return await live("session.container", orders(where, who, bed, json=json), {"container": syringe.fields})


@session.command
async def status(bed: str | None = None, /, *, where: Where = ANYWHERE, json: bool = False) -> int:
    """Show how one bed or all beds stand now.

    pumpd session status one --json

    Parameters
    ----------
    bed
        The bed; left out: all of them.
    json
        Print the messages as one JSON object instead.
    """
    picture = await where.reach().look(
        lambda picture: picture.heartbeat_at is not None and len(picture.telemetry) >= len(picture.sessions) > 0
    )
    if bed is not None and bed not in picture.sessions:
        raise Failed(no_bed(bed, picture))
    names = sorted(picture.sessions) if bed is None else [bed]
    if json:
        beds = {
            name: {
                "session": picture.sessions[name],
                "telemetry": picture.telemetry.get(picture.sessions[name]["pump"]),
                "connection": picture.connections.get(picture.sessions[name]["pump"]),
                "alarms": picture.alarms_of(name),
            }
            for name in names
        }
        out.print(to_json(beds), soft_wrap=True)
        return DONE
    picture.sessions = {name: picture.sessions[name] for name in names}
    out.print(station(picture, picture.heartbeat_at or 0.0))
    return DONE
