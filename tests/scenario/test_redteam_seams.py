"""Attacks at the seams: between two beds, two phases, two readings, and between an order and the pump."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.messaging.auth import Origin
from pumpd.records.patients import Patients
from tests.bedside import PATIENT, PLANNED_ML, Bedside, Room, ward, weighing
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_recovery import born_again, journaled
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


# --- from armed to planned --------------------------------------------------------------------------------------------


async def just_read(bed: Bedside) -> None:
    """Wait until a poll is over: almost a second is left until the next one."""
    asked = len(bed.port.written)
    await bed.until(lambda: len(bed.port.written) > asked, within_s=3, step_s=0.001)
    await asyncio.sleep(0.05)


async def purge(bed: Bedside, seconds: float) -> None:
    """By the keypad, between two polls."""
    await just_read(bed)
    bed.key("purge")
    await asyncio.sleep(seconds)
    bed.key("purge")


async def cable(bed: Bedside) -> None:
    bed.port.plug_out()
    await asyncio.sleep(2)
    bed.port.plug_in()


@pytest.mark.shows("S1", "S2")
@pytest.mark.parametrize("how", ["rate", "purge", "cable", "power", "pump.stop", "run"])
async def test_a_dose_that_is_armed_no_longer_is_not_left_to_the_keypad(how: str) -> None:
    """S1: un-armed by a change at the pump, it kept limit and rate: 300 mL/h dialled, RUN pressed, and all was in."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        match how:
            case "rate":
                bed.do("set_rate", ml_h=300.0)
            case "purge":
                await purge(bed, 0.2)
            case "cable":
                await cable(bed)
            case "power":
                bed.do("power_off", for_s=2.0)
            case "pump.stop":
                assert (await bed.order("pump.stop"))["state"] == "done"
            case _:
                bed.key("run")
        await asyncio.sleep(8)
        assert bed.phase == "planned"
        before = bed.given
        bed.key("run")
        await asyncio.sleep(200)  # the smallest limit at the lowest rate
        assert bed.given - before < 0.01
        assert starts(bed) == 0
        armed = await arming(bed)
        assert armed["state"] == "done", armed["text"]
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, abs=0.02)


@pytest.mark.shows("S1", "S10")
async def test_a_dose_that_was_armed_before_a_restart_is_not_left_to_the_keypad(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
    await asyncio.sleep(3)
    again = born_again(bed, path)
    async with ward(again):
        await asyncio.sleep(3)
        assert again.phase == "planned"
        again.key("run")
        await asyncio.sleep(60)
        assert again.given < 0.01
        assert starts(again) == 0


@pytest.mark.shows("S15")
@pytest.mark.parametrize("how", ["between two polls", "cable"])
async def test_a_pump_that_takes_the_place_of_the_armed_one_gets_no_word(how: str) -> None:
    """S15: it reads otherwise than what was armed; only the other one holds our dose."""
    room = Room()
    bed, other = Bedside(room), Bedside(room, "other")
    async with ward(bed, other):
        await other.running(**weighing(60))
        await other.until_session(60)
        assert (await other.order("session.pause"))["state"] == "done"
        assert (await bed.armed())["state"] == "done"
        await just_read(bed)
        other.port.plug_out()
        limit, sent = other.truth["limit_ml"], len(bed.port.sent)
        if how == "cable":
            bed.port.plug_out()
        bed.port.peer = other.device
        if how == "cable":
            bed.port.plug_in()
        else:
            assert bed.port._pipe is not None
            bed.port._pipe._peer = other.device
        await asyncio.sleep(8)
        assert bed.phase == "planned"
        assert orders_in(bed, sent) == []
        assert other.truth["limit_ml"] == limit


# --- between two readings ---------------------------------------------------------------------------------------------


@pytest.mark.shows("S1", "S6")
@pytest.mark.parametrize("phase", ["paused", "observing", "aborted"])
async def test_what_a_hand_pumps_between_two_polls_is_told_and_taken_off_the_limit(phase: str) -> None:
    """S6: both readings say "standing", the counter in them has grown; ten such moments were 3 mL that nobody told."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        assert (await bed.order("session.pause" if phase == "paused" else "session.stop"))["state"] == "done"
        await asyncio.sleep(3)
        if phase == "aborted":
            assert (await bed.order("session.end"))["state"] == "done"
        assert bed.phase == phase
        for _ in range(3):
            before = bed.given
            await purge(bed, 0.7)
            assert bed.given - before > 0.2
            await asyncio.sleep(2)
            alarm = next(each for each in bed.ward.bed.alarms.board.alarms if each.code == "infusing_against_plan")
            assert alarm.acked_by is None
            assert (await bed.order("alarm.ack", alarm_id=alarm.alarm_id))["state"] == "done"
            assert bed.truth["limit_ml"] <= PLANNED_ML - bed.given
        assert bed.phase == phase


@pytest.mark.shows("S6")
async def test_what_a_hand_pumps_while_blind_and_paused_is_told() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(3)
        bed.port.plug_out()
        bed.key("run")
        await asyncio.sleep(5)
        bed.key("stop")
        bed.port.plug_in()
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=20)
        await asyncio.sleep(2)
        assert "infusing_against_plan" in bed.alarms
        assert bed.truth["limit_ml"] <= PLANNED_ML - bed.given


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
async def test_a_pump_that_is_stopped_in_the_midst_of_a_poll_was_moved_by_nobody(delay_s: float) -> None:
    """Its counter was read while it ran, its state when it stood: that is no second motion."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        for number in range(12):
            await asyncio.sleep(10)
            if delay_s:
                bed.do("fault", kind="delay", delay_s=delay_s)
            await just_read(bed)
            await asyncio.sleep(0.9 + number / 50)
            bed.key("stop")
            await bed.until(lambda: bed.phase == "paused", within_s=5)
            bed.do("clear_faults")
            await asyncio.sleep(5)
            assert (await bed.order("session.resume", confirm=True))["state"] == "done"
        assert "infusing_against_plan" not in bed.raised


@pytest.mark.shows("S1", "S6")
async def test_what_a_hand_pumps_just_before_another_container_is_counted() -> None:
    """S6: the counter began anew from where it stood, as if nothing had moved since the last poll."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(3)
        await purge(bed, 0.4)
        container = {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}
        assert (await bed.order("session.container", container=container))["state"] == "done"
        await asyncio.sleep(3)
        assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=0.011)
        assert "infusing_against_plan" in bed.alarms
        assert bed.truth["limit_ml"] <= PLANNED_ML - bed.given
        assert (await bed.order("session.resume", confirm=True))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given <= PLANNED_ML


@pytest.mark.shows("S6")
async def test_what_another_pump_has_counted_before_is_not_taken_for_given() -> None:
    """S6: exchanged after arming, its 19 mL of the patient before were taken off the dose of this one."""
    room = Room()
    bed, other = Bedside(room), Bedside(room, "other")
    async with ward(bed, other):
        await other.running()
        await other.until_session(600)
        assert (await other.order("session.pause"))["state"] == "done"
        assert (await bed.armed())["state"] == "done"
        bed.port.plug_out()
        await asyncio.sleep(1)
        other.port.plug_out()
        bed.port.peer = other.device
        bed.port.plug_in()
        await asyncio.sleep(5)
        before = other.given
        assert (await arming(bed))["state"] == "done"
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert other.given - before == pytest.approx(PLANNED_ML, abs=0.02)
