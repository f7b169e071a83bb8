"""Attacks at the seams: between two beds, two phases, two readings, and between an order and the pump."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.messaging.auth import Origin
from pumpd.records.patients import Patients
from tests.bedside import PATIENT, Bedside, Room, ward
from tests.scenario.test_redteam_inputs import request_of


async def arming(bed: Bedside) -> dict[str, Any]:
    return await bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))


# --- one id, two beds -------------------------------------------------------------------------------------------------


@pytest.mark.shows("S5", "S12")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_a_stop_under_the_id_that_stopped_another_bed_is_no_lost_stop(verb: str) -> None:
    """S5: a display with one id for its stop button was told "done", which was the other bed's answer."""
    room = Room()
    beds = Bedside(room, "one"), Bedside(room, "two")
    async with ward(*beds):
        for bed in beds:
            await bed.running()
        for bed in beds:
            args = {"bed": bed.name, "pump": bed.setup.pump_id} if verb == "pump.stop" else {}
            fields = request_of(bed, id=str(uuid.UUID(int=7)), args=args)
            assert (await bed.send(verb, fields))["state"] == "done"
            room.office.take(verb, json.dumps(fields).encode(), Origin.BUS, False, room.clock.wire())
            await asyncio.sleep(1)
            assert not bed.truth["infusing"]
            assert room.paper.last(f"ack/{fields['id']}")["bed"] == bed.name


@pytest.mark.shows("S5", "S12")
async def test_a_stop_under_the_id_that_stopped_the_patient_before_is_no_lost_stop() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        for _ in range(2):
            await bed.running()
            await bed.until_session(60)
            assert (await bed.send("session.stop", request_of(bed, id=str(uuid.UUID(int=7)))))["state"] == "done"
            await asyncio.sleep(2)
            assert not bed.truth["infusing"]
            assert (await bed.order("session.end"))["state"] == "done"


# --- one patient, two beds --------------------------------------------------------------------------------------------


@pytest.mark.shows("S8")
@pytest.mark.parametrize("verb", ["session.resume", "session.finish"])
async def test_a_patient_who_is_treated_at_another_bed_by_now_is_not_resumed_here(verb: str) -> None:
    """S8: paused here, started there by a person with a reason, and then resumed here: both infused at once."""
    room = Room(patients=Patients())
    here, there = Bedside(room, "here"), Bedside(room, "there")
    async with ward(here, there):
        await here.running()
        await here.until_session(60)
        assert (await here.order("session.pause"))["state"] == "done"
        moved = {"by": "Dr. A", "reason": "the patient was moved"}
        assert (await there.planned(override=moved))["state"] == "done"
        assert (await arming(there))["state"] == "done"
        assert (await there.order("session.start", confirm=True))["state"] == "done"
        await asyncio.sleep(2)
        refused = await here.order(verb, confirm=True, role="prescriber")
        assert (refused["state"], refused["reason"]) == ("rejected", "limit"), refused
        assert "another session of this patient" in refused["text"]
        assert there.truth["infusing"]
        assert not here.truth["infusing"]
        assert (await here.order("session.stop"))["state"] == "done"
