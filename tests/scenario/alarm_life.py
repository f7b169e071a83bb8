"""The life of one alarm at a bed: its cause, what is seen and heard of it, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

from pumpd.core.alarms import Alarm
from pumpd.core.catalogue import CATALOGUE, RANK
from tests.bedside import Bedside

STANDS_S = 60.0  # a latched alarm is still there so long after its cause
GOES_WITHIN_S = 70.0  # the longest that a flapping condition is not yet believed to be gone


def standing(bed: Bedside, code: str) -> Alarm | None:
    """The alarm, if it stands on the bed's board."""
    return next((alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == code), None)


async def reset(bed: Bedside, code: str) -> dict[str, Any]:
    """A person takes it off the board, or is refused."""
    alarm = standing(bed, code)
    assert alarm is not None
    return await bed.order("alarm.reset", alarm_id=alarm.alarm_id)


async def raised(bed: Bedside, code: str, within_s: float = 3.0) -> None:
    """It stands within that time; it is published as it is in the catalogue, and at least as loud."""
    await bed.until(lambda: standing(bed, code) is not None, within_s, 0.02)
    alarm, entry = standing(bed, code), CATALOGUE[code]
    assert alarm is not None
    said = bed.room.paper.last(f"alarm/{alarm.alarm_id}")
    assert (said["code"], said["priority"], said["text"]) == (code, entry.priority, entry.text)
    sound = bed.room.sounds[bed.name]
    assert sound is not None
    assert RANK[sound] >= RANK[entry.priority]


async def over(bed: Bedside, code: str) -> None:
    """Its cause is gone: it goes by itself, or stands latched until a person resets it."""
    if CATALOGUE[code].latching:
        await bed.until(lambda: (alarm := standing(bed, code)) is not None and alarm.latched, GOES_WITHIN_S)
        await asyncio.sleep(STANDS_S)
        assert standing(bed, code) is not None, "nothing but a person takes it away"
        assert (await reset(bed, code))["state"] == "done"
    await bed.until(lambda: standing(bed, code) is None, GOES_WITHIN_S)


async def held(bed: Bedside, code: str) -> None:
    """While its condition holds nobody can reset it."""
    assert (await reset(bed, code))["state"] == "rejected"
    assert standing(bed, code) is not None


async def stopped(bed: Bedside, within_s: float = 3.0) -> None:
    """The pump comes to a stand, and stands."""
    await bed.until(lambda: not bed.truth["infusing"], within_s, 0.02)
    given = bed.given
    await asyncio.sleep(5)
    assert bed.given == given
