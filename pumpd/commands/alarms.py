"""`pumpd alarms ...`: what is wrong, who has seen it, silence for a while."""

from __future__ import annotations

import asyncio
from typing import Literal

from cyclopts import App

from pumpd.commands.orders import orders
from pumpd.commands.picture import Picture
from pumpd.commands.reach import ANYWHERE, DONE, NURSE, Where, Who
from pumpd.commands.screen import alarm_details, alarm_line, here, out
from pumpd.messaging.encode import to_json

alarms = App(
    name="alarms",
    group="At the bed",
    help="""List the alarms that stand, acknowledge or reset one, inactivate one, pause the sound of all.

    pumpd alarms

    The id at the end of an alarm's first line is what `ack`, `reset` and `inactivate` take.
    """,
)


@alarms.default
async def show(*, where: Where = ANYWHERE, json: bool = False) -> int:
    """List the alarms that stand, the highest first.

    Parameters
    ----------
    json
        Print the daemon's list as JSON.
    """
    picture = await where.reach().look(_complete)
    if json:
        out.print(to_json(picture.alarms), soft_wrap=True)
        return DONE
    for alarm in picture.standing:
        out.print(alarm_line(alarm, earlier=picture.is_earlier(alarm)), soft_wrap=True)
        out.print(alarm_details(alarm), soft_wrap=True)
    if not picture.standing:
        out.print("no alarms", style="green")
    if picture.alarms_late(asyncio.get_running_loop().time()):
        out.print("this list may be incomplete; ask again", style="bold magenta")
    if picture.alarms.get("audio_paused_until"):
        by, until = picture.alarms["audio_paused_by"], here(picture.alarms["audio_paused_until"])
        out.print(f"the sound is paused by {by} until {until}", style="yellow")
    return DONE


def _complete(picture: Picture) -> bool:
    return picture.heartbeat_at is not None and bool(picture.alarms) and not picture.alarms_apart


@alarms.command
async def ack(alarm_id: str, /, *, where: Where = ANYWHERE, who: Who = NURSE) -> int:
    """Silence one alarm and record who saw it.

    pumpd alarms ack 3f2a90c1d4e5

    Parameters
    ----------
    alarm_id
        The alarm's id, from `pumpd alarms`.
    """
    return await orders(where, who, "").send("alarm.ack", None, {"alarm_id": alarm_id})


@alarms.command
async def reset(alarm_id: str, /, *, where: Where = ANYWHERE, who: Who = NURSE) -> int:
    """Take a latched alarm off the list once its cause is gone.

    pumpd alarms reset 3f2a90c1d4e5

    Parameters
    ----------
    alarm_id
        The alarm's id, from `pumpd alarms`.
    """
    return await orders(where, who, "").send("alarm.reset", None, {"alarm_id": alarm_id})


@alarms.command
async def inactivate(
    alarm_id: str,
    state: Literal["enabled", "audio-paused", "audio-off", "alarm-paused", "alarm-off"],
    /,
    *,
    seconds: int | None = None,
    where: Where = ANYWHERE,
    who: Who = NURSE,
) -> int:
    """Take the sound, or sound and sight, from one low or medium alarm, or give it back.

    Only at the machine itself, and only where [alarms] inactivation = true. A stop at the bed ends it.

    pumpd alarms inactivate one-c8ed73954577 audio-paused --seconds 300

    Parameters
    ----------
    alarm_id
        The alarm's id, from `pumpd alarms`.
    state
        What becomes of it; enabled gives it back.
    seconds
        For how long, with a paused state; 600 at most.
    """
    args = {"alarm_id": alarm_id, "state": state} | ({} if seconds is None else {"seconds": seconds})
    return await orders(where, who, "").send("alarm.inactivate", None, args)


@alarms.command
async def pause(seconds: int, /, *, where: Where = ANYWHERE, who: Who = NURSE) -> int:
    """Pause the sound on all displays, for 120 seconds at most; a new or higher alarm ends it.

    pumpd alarms pause 60

    Parameters
    ----------
    seconds
        How long.
    """
    return await orders(where, who, "").send("audio.pause", None, {"seconds": seconds})


@alarms.command
async def resume(*, where: Where = ANYWHERE, who: Who = NURSE) -> int:
    """Let the alarms sound again.

    pumpd alarms resume
    """
    return await orders(where, who, "").send("audio.resume")
