"""Attacks by what comes in: requests of every shape, persons who act at once or in a bad order, names and figures."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from pumpd.messaging.auth import Origin
from pumpd.messaging.encode import timestamp
from tests.bedside import Bedside, Room, ward


def request_of(bed: Bedside, **changes: Any) -> dict[str, Any]:
    """A request's fields, as a nurse's display sends them."""
    return {
        "id": str(uuid.UUID(int=bed.room.rng.getrandbits(128))),
        "issued_ts": timestamp(bed.room.clock.wall()),
        "ttl_ms": 5000,
        "actor": "nurse-1",
        "role": "nurse",
        "origin": "test",
        "bed": bed.name,
        "session_id": bed.state.session_id,
        "args": {},
        **changes,
    }


HALF_A_PAIR = [
    pytest.param(lambda text: text.replace("HALF", "\ud800").encode("utf-8", "surrogatepass"), id="raw"),
    pytest.param(lambda text: text.replace("HALF", "\\ud800").encode("utf-16"), id="utf-16"),
    pytest.param(lambda text: text.replace("HALF", "\\ud800").encode(), id="escaped"),
]


@pytest.mark.shows("S12", "S16")
@pytest.mark.parametrize("encode", HALF_A_PAIR)
@pytest.mark.parametrize("field", ["actor", "role", "origin", "session_id"])
async def test_a_name_that_cannot_be_written_breaks_no_bed(encode: Any, field: str) -> None:
    """S12: half a surrogate pair in any name. Journaled or published, it would end the bed again and again."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        fields = request_of(bed, **{field: "nurse-HALF"})
        bed.room.office.take("session.pause", encode(json.dumps(fields)), Origin.LOCAL, False, bed.room.clock.wire())
        await bed.until_session(20)
        assert "bed_failed" not in bed.raised
        assert bed.phase == "running", "what cannot be read is no order"
        assert (await bed.order("session.pause"))["state"] == "done"


@pytest.mark.shows("S12", "S16")
@pytest.mark.parametrize("encode", HALF_A_PAIR)
@pytest.mark.parametrize("where", ["field", "argument", "twice", "verb", "drug"])
async def test_a_field_that_cannot_be_written_is_refused_and_nothing_else(encode: Any, where: str) -> None:
    """S12: `take` never raises, or whoever reads the bus would die of it."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        fields = request_of(bed)
        if where == "field":
            fields["HALF"] = 1
        elif where == "argument":
            fields["args"] = {"HALF": 1}
        elif where == "verb":
            fields["verb"] = "HALF"
        elif where == "drug":
            fields["args"] = {"drug": "HALF", "weight": {"value": "HALF", "unit": "HALF"}}
        text = json.dumps(fields)
        if where == "twice":
            text = text[:-1] + ', "HALF": 1, "HALF": 1}'
        verb = "session.plan" if where == "drug" else "session.pause"
        bed.room.office.take(verb, encode(text), Origin.LOCAL, False, bed.room.clock.wire())
        await bed.until_session(5)
        assert bed.phase == "running"
        assert "bed_failed" not in bed.raised
