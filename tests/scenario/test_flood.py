"""S12, S13: a sender gone mad fills neither the journal nor the loop, and keeps nobody from stopping."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from pumpd.messaging.auth import Origin
from pumpd.messaging.encode import timestamp
from pumpd.messaging.pace import BURST
from tests.bedside import Bedside, Room, ward

FLOOD = 20 * BURST


def snapshot_request(bed: Bedside, number: int) -> bytes:
    fields = {
        "id": str(uuid.UUID(int=number)),
        "issued_ts": timestamp(bed.room.clock.wall()),
        "ttl_ms": 5000,
        "actor": "display-1",
        "role": "nurse",
        "origin": "display",
    }
    return json.dumps(fields).encode()


@pytest.mark.shows("S12", "S13")
@pytest.mark.parametrize("readable", [True, False])
async def test_a_flood_of_requests_is_turned_away_and_the_bed_goes_on(readable: bool) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        rows_before = sum(1 for _ in bed.room.journal.rows())
        for number in range(1, FLOOD + 1):
            payload = snapshot_request(bed, number) if readable else b"{}"
            bed.room.office.take("snapshot", payload, Origin.BUS, False, bed.room.clock.wire())
        rows = list(bed.room.journal.rows())[rows_before:]
        turned_away = [row for row in rows if row.kind == "Refused" and "too many" in row.data]
        assert len(turned_away) == 1, "one row for the whole second"
        assert len(rows) <= 2 * BURST
        assert (await bed.order("session.pause"))["state"] == "done"
        assert not bed.truth["infusing"]


async def test_each_of_a_flood_is_answered_and_may_come_again_later() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        for number in range(1, BURST + 2):
            bed.room.office.take("snapshot", snapshot_request(bed, number), Origin.BUS, False, bed.room.clock.wire())
        last = f"ack/{uuid.UUID(int=BURST + 1)}"
        assert [answer["reason"] for answer in bed.room.paper.all(last)] == ["busy"]
        await asyncio.sleep(10)
        late = snapshot_request(bed, BURST + 1)
        bed.room.office.take("snapshot", late, Origin.BUS, False, bed.room.clock.wire())
        assert bed.room.paper.last(last)["state"] == "done"
