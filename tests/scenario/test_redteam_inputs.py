"""Attacks by what comes in: requests of every shape, persons who act at once or in a bad order, names and figures."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.core import events as ev
from pumpd.core.state import State
from pumpd.core.turn import ASKERS_MAX
from pumpd.driver import PumpAlarm
from pumpd.messaging.auth import Origin
from pumpd.messaging.encode import timestamp
from pumpd.messaging.forms import NUMBER
from pumpd.records.patients import Patients, sessions_started
from tests.bedside import PATIENT, PLAN, PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in, starts
from tests.scenario.test_recovery import born_again, journaled


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


# --- names ------------------------------------------------------------------------------------------------------------


SAME_PERSON = [
    ("nurse-1", "nurse-1\u200b"),  # a space of no width
    ("Jos\u00e9", "Jose\u0301"),  # one accent, two keyboards
    ("nurse-1", "\uff4eurse-1"),  # a wide letter
    ("nurse 1", " NURSE\u00a01"),
    ("stra\u00dfe", "STRASSE"),
]


@pytest.mark.shows("S8")
@pytest.mark.parametrize(("actor", "second"), SAME_PERSON)
async def test_one_person_written_in_two_ways_is_no_second_person(actor: str, second: str) -> None:
    bed = Bedside(Room(patients=Patients()))
    async with ward(bed):
        args = {**PLAN, "second_person": second}
        answer = await bed.send("session.plan", request_of(bed, actor=actor, session_id=None, args=args))
        assert (answer["state"], answer["reason"]) == ("rejected", "limit"), answer
        assert "needs two different persons" in answer["text"]
        args = {**PLAN, "second_person": "Ren\u00e9"}
        answer = await bed.send("session.plan", request_of(bed, actor=actor, session_id=None, args=args))
        assert answer["state"] == "done", answer


@pytest.mark.shows("S8", "H27")
@pytest.mark.parametrize("unseen", ["\u200b", "\u2060\u2060", "\u00ad", "...", "\u200d-"])
async def test_nobody_and_nothing_passes_a_soft_limit(unseen: str) -> None:
    """A name or a reason that nobody can read is none."""
    bed = Bedside(Room(patients=Patients()))
    async with ward(bed):
        for override in ({"by": unseen, "reason": "tolerates it"}, {"by": "Dr. A", "reason": unseen}):
            answer = await bed.planned(duration_min=35, override=override)
            assert (answer["state"], answer["reason"]) == ("rejected", "malformed"), answer
        answer = await bed.planned(second_person=unseen)
        assert (answer["state"], answer["reason"]) == ("rejected", "malformed"), answer
        assert (await bed.planned())["state"] == "done"


@pytest.mark.shows("S12")
@pytest.mark.parametrize("char", ["\x1b", "\x00", "\x07", "\x9b", "\r", "\n", "\u2028", "\u202e", "\u2066"])
async def test_a_name_that_moves_the_cursor_of_a_display_is_refused(char: str) -> None:
    """An alarm "seen by" an escape sequence is wiped off every terminal that shows it."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=3)
        alarm = bed.ward.bed.alarms.board.alarms[0]
        seen = request_of(bed, actor=f"a{char}[2Jb", args={"alarm_id": alarm.alarm_id})
        answer = await bed.send("alarm.ack", seen)
        assert (answer["state"], answer["reason"]) == ("rejected", "malformed"), answer
        assert f"U+{ord(char):04X}" in answer["text"]
        assert char not in answer["text"]
        assert bed.ward.bed.alarms.board.alarms[0].acked_by is None


# --- figures ----------------------------------------------------------------------------------------------------------

SLIPS = [
    "3_5",
    "0_.5",
    "0,5",
    " 0.5",
    "0.5 ",
    ".5",
    "5.",
    "\u0660.\u0665",
    "\uff10.\uff15",
    "0x1",
    "1/2",
    "--1",
    "0.5.0",
    "",
    "5e",
]


@pytest.mark.shows("S8")
@pytest.mark.parametrize("slip", SLIPS)
async def test_a_figure_that_is_written_in_another_way_is_refused(slip: str) -> None:
    """S8: 3_5 was read as 35, digits of other scripts as ours, and a naked point as a number."""
    bed = Bedside(Room())
    async with ward(bed):
        for changes in ({"dose_mg_per_kg": slip}, {"weight_again": {"value": slip, "unit": "kg"}}):
            answer = await bed.planned(**changes)
            assert (answer["state"], answer["reason"]) == ("rejected", "malformed"), answer
            assert "is not a number" in answer["text"]
    assert NUMBER.fullmatch("46.66")
    assert NUMBER.fullmatch("5e-1")


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S5", "S12")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_a_stop_under_an_id_that_was_used_is_no_lost_stop(verb: str) -> None:
    """S5: the answer to the snapshot that had the id says "done"."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        fields = request_of(bed)
        assert (await bed.send("snapshot", fields))["state"] == "done"
        args = {"bed": bed.name, "pump": "one-pump"} if verb == "pump.stop" else {}
        bed.room.office.take(
            verb, json.dumps({**fields, "args": args}).encode(), Origin.BUS, False, bed.room.clock.wire()
        )
        await asyncio.sleep(2)
        assert not bed.truth["infusing"]
        last = bed.room.paper.last(f"ack/{fields['id']}")
        assert (last["verb"], last["state"]) == (verb, "done")


# --- limits of later changes ------------------------------------------------------------------------------------------


@pytest.mark.shows("S8")
async def test_who_let_it_take_longer_has_not_let_it_take_shorter() -> None:
    """S8: the override of one side of a range was taken for the other side too."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running(duration_min=59)
        await bed.until_session(60)
        override = {"by": "Dr. A", "reason": "tolerated badly"}
        slower = await bed.order("rate.set", rate_ml_h="34", override=override)
        assert slower["state"] == "done", slower
        faster = await bed.order("rate.set", rate_ml_h="68", given={"rate_ml_h": "68"})
        assert (faster["state"], faster["reason"]) == ("rejected", "limit"), faster
        assert "below the soft limit 40" in faster["text"]
        asked = await bed.order("rate.set", rate_ml_h="68", given={"rate_ml_h": "68"}, override=override)
        assert asked["state"] == "done", asked


STEPS = [{"duration_min": 24, "share_pct": 55}, {"duration_min": 35, "share_pct": 45}]


@pytest.mark.shows("S2")
@pytest.mark.parametrize("rate", ["48.12", "47", "28"])
async def test_a_rate_that_would_replace_a_lower_step_to_come_is_confirmed(rate: str) -> None:
    """S2: no raise of what runs now, and yet more than the plan gives later."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running(duration_min=59, steps=STEPS)
        assert bed.state.plan is not None
        first, second = (str(step.rate.value) for step in bed.state.plan.steps)
        assert (first, second) == ("48.12", "27.00")
        override = {"by": "Dr. A", "reason": "asked"}
        refused = await bed.order("rate.set", rate_ml_h=rate, override=override)
        assert (refused["state"], refused["reason"]) == ("rejected", "not_confirmed"), refused
        assert len(bed.state.plan.steps) == 2
        lower = await bed.order("rate.set", rate_ml_h="26.9", override=override)
        assert lower["state"] == "done", lower


@pytest.mark.shows("S8")
async def test_a_quick_step_does_not_hide_behind_the_average_of_the_session() -> None:
    """S8: a library's soft limit of the mass rate was held against the whole session only."""
    bed = Bedside(Room())
    ketamine = bed.site.drugs["ketamine"]
    soft = replace(ketamine, mass_rate_mg_kg_h=replace(ketamine.mass_rate_mg_kg_h, soft_max=Decimal("0.68")))
    bed.site.drugs["ketamine"] = soft
    override = {"by": "Dr. A", "reason": "in two steps on purpose"}
    async with ward(bed):
        assert (await bed.planned())["state"] == "done", "0.667 mg/kg/h all the time"
        refused = await bed.planned(duration_min=59, steps=STEPS)
        assert (refused["state"], refused["reason"]) == ("rejected", "limit"), refused
        assert "mg/kg/h: above the soft limit 0.68" in refused["text"]
        await bed.running(duration_min=59, steps=STEPS, override=override)
        figures = {"rate_ml_h": "48"}
        refused = await bed.order("rate.set", rate_ml_h="48", given=figures)
        assert refused["text"] == "mass rate 0.6857 mg/kg/h: above the soft limit 0.68", (
            "the step's was passed, not this"
        )
        assert (await bed.order("rate.set", rate_ml_h="48", given=figures, override=override))["state"] == "done"


@pytest.mark.shows("S8")
async def test_a_container_with_more_in_it_than_it_holds_is_refused() -> None:
    """S8: with 5000 mL in a 60 mL syringe no alarm would ever tell that it is empty."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        syringe = {"kind": "syringe", "make": "BD", "size_ml": 60}
        for fill in ("60.000001", "5000"):
            answer = await bed.order("session.container", container={**syringe, "fill_ml": fill})
            assert (answer["state"], answer["reason"]) == ("rejected", "limit"), answer
        assert (await bed.order("session.container", container={**syringe, "fill_ml": 60}))["state"] == "done"


@pytest.mark.shows("H60")
@pytest.mark.parametrize("first", ["paused", "stalled"])
async def test_another_container_does_not_take_the_question_for_line_pressure_away(first: str) -> None:
    """A stall that a person's pause hid: the container was changed, and the resume no longer asked."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        stalled = ev.PumpTold(PumpAlarm("motor_stalled", "S"))
        if first == "stalled":
            bed.ward.bed.feed(stalled)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        if first == "paused":
            bed.ward.bed.feed(stalled)
        syringe = {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50}
        assert (await bed.order("session.container", container=syringe))["state"] == "done"
        await asyncio.sleep(2)
        refused = await bed.order("session.resume", confirm=True)
        assert (refused["state"], refused["reason"]) == ("rejected", "not_confirmed"), refused
        assert "pressure" in refused["text"]
        assert (await bed.order("session.resume", confirm=True, pressure_released=True))["state"] == "done"


# --- in a bad order ---------------------------------------------------------------------------------------------------


class SlowSounder:
    """A sounder whose test takes two seconds."""

    def __init__(self) -> None:
        self.tests = 0

    async def test(self) -> bool:
        self.tests += 1
        await asyncio.sleep(2)
        return True


def arming(bed: Bedside) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST)))


def with_slow_sounder() -> tuple[Bedside, SlowSounder]:
    room, sounder = Room(), SlowSounder()
    room.office._annunciator = sounder  # type: ignore[assignment]
    return Bedside(room), sounder


@pytest.mark.shows("S5")
async def test_an_arming_that_waits_for_the_sounder_does_not_follow_a_stop() -> None:
    """S5: nothing older than a stop follows it on the wire; arming waits for a sound of some seconds."""
    bed, _ = with_slow_sounder()
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        asking = arming(bed)
        await asyncio.sleep(0.5)
        assert (await bed.order("pump.stop"))["state"] == "done"
        sent = len(bed.port.sent)
        refused = await asking
        assert (refused["state"], refused["reason"]) == ("rejected", "busy"), refused
        assert orders_in(bed, sent) == []
        assert (await arming(bed))["state"] == "done"


async def test_an_arming_that_waits_for_the_sounder_does_not_outlast_the_program() -> None:
    bed, _ = with_slow_sounder()
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        asking = arming(bed)
        await asyncio.sleep(0.5)
        bed.room.office.close()
        assert (await asking)["reason"] == "busy"
        assert bed.phase == "planned"


async def test_a_hundred_armings_at_once_are_one_sound_and_one_arming() -> None:
    bed, sounder = with_slow_sounder()
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        answers = await asyncio.gather(*[arming(bed) for _ in range(100)])
        assert [answer["state"] for answer in answers].count("done") == 1
        assert sounder.tests == 1
        assert bed.phase == "armed"
        nowhere = {**request_of(bed, args={"patient_ref": PATIENT, "checklist": []}), "bed": "nowhere"}
        assert (await bed.send("session.arm", nowhere))["reason"] == "malformed"
        assert sounder.tests == 1, "a bed that is not there is told at once"


# --- one patient, two sessions ----------------------------------------------------------------------------------------


@pytest.mark.shows("S8")
@pytest.mark.parametrize("armed", [False, True])
async def test_one_patient_planned_at_two_beds_gets_one_dose(armed: bool) -> None:
    """S8: what the journal knew was asked when it was planned, and never again."""
    room = Room(patients=Patients())
    one, two = Bedside(room, "one"), Bedside(room, "two")
    async with ward(one, two):
        assert (await two.planned())["state"] == "done"
        if armed:
            assert (await arming(two))["state"] == "done"
        await one.running()
        refused = await (two.order("session.start", confirm=True) if armed else arming(two))
        assert (refused["state"], refused["reason"]) == ("rejected", "limit"), refused
        assert "another session of this patient" in refused["text"]
        assert starts(two) == 0
        assert (await one.order("session.pause"))["state"] == "done"
        assert (await one.order("session.resume", confirm=True))["state"] == "done", "its own session is no other one"
        if armed:
            assert (await two.order("session.stop"))["state"] == "done"
        override = {"by": "Dr. A", "reason": "the first one was stopped"}
        assert (await two.planned(override=override))["state"] == "done"
        assert (await arming(two))["state"] == "done", "planned with both in sight, by a person with a reason"
        assert (await two.order("session.start", confirm=True))["state"] == "done"


@pytest.mark.shows("S8", "S10")
async def test_the_other_session_of_a_patient_is_known_after_a_restart(tmp_path: Path) -> None:
    """S8: both plans and the start are in the journal."""
    path = tmp_path / "journal.sqlite3"
    room = journaled(path)
    one, two = Bedside(room, "one"), Bedside(room, "two")
    async with ward(one, two):
        assert (await one.planned())["state"] == "done"
        await two.running()
    again = born_again(one, path)
    patients = Patients()
    patients.learn(sessions_started(again.room.journal.plans_and_starts()))
    again.room.house = again.ward.bed.house = replace(again.room.house, patients=patients)
    async with ward(again):
        assert again.phase == "planned"
        refused = await arming(again)
        assert (refused["state"], refused["reason"]) == ("rejected", "limit"), refused


# --- too much of it ---------------------------------------------------------------------------------------------------


@pytest.mark.shows("S5", "S16")
@pytest.mark.parametrize("fault", ["cable", "garbage"])
async def test_a_stop_that_is_ordered_again_and_again_while_blind_ends_no_bed(fault: str) -> None:
    """S5: each outcome answered everybody who had asked, in one row; after a hundred it was too long for a message."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        if fault == "cable":
            bed.port.plug_out()
        else:
            bed.do("fault", kind="garbage")
        await asyncio.sleep(6)
        stops = []
        for _ in range(300):
            fields = request_of(bed, args={"bed": bed.name, "pump": "one-pump"}, actor="\U0001f600" * 200)
            stops.append(fields["id"])
            bed.room.office.take("pump.stop", json.dumps(fields).encode(), Origin.BUS, False, bed.room.clock.wire())
            await asyncio.sleep(0.02)
        await asyncio.sleep(5)
        if fault == "cable":
            bed.port.plug_in()
        else:
            bed.do("clear_faults")
        await bed.until(lambda: bed.state.halt is None, within_s=30)
        assert not bed.truth["infusing"]
        assert {"bed_failed", "monitor_only"}.isdisjoint(bed.raised)
        answers = [bed.room.paper.last(f"ack/{each}")["state"] for each in stops]
        assert answers[-ASKERS_MAX:] == ["done"] * ASKERS_MAX
        assert set(answers) == {"done", "failed"}, "nobody is left without an answer"


async def test_a_verb_as_long_as_a_topic_can_be_is_refused() -> None:
    """`take` never raises: the answer repeated the verb and was longer than a message may be."""
    bed = Bedside(Room())
    async with ward(bed):
        for verb in ("x" * 65_000, "session.start" + "x" * 100):
            fields = request_of(bed)
            bed.room.office.take(verb, json.dumps(fields).encode(), Origin.BUS, False, bed.room.clock.wire())
            assert bed.room.paper.last(f"ack/{fields['id']}")["reason"] == "not_allowed"


@pytest.mark.shows("S16")
async def test_a_request_as_long_as_it_may_be_breaks_no_bed() -> None:
    """Every word of a plan at its full length, in characters that JSON writes longest."""
    bed = Bedside(Room(patients=Patients()))
    longest = "\U0001f600" * 199 + "a"
    async with ward(bed):
        noted = {"by": longest}
        changes: dict[str, Any] = {
            "checks": {name: {**check, **noted} for name, check in PLAN["checks"].items()},  # type: ignore[attr-defined]
            "weight": {"value": 70, "unit": "kg", **noted},
            "weight_again": {"value": 70, "unit": "kg", **noted},
            "preparation": {"drug_mg": 50, "final_ml": 50, **noted},
            "override": {"by": longest, "reason": longest},
            "second_person": longest,
            "patient_ref": longest,
            "duration_min": 40,
            "steps": [{"duration_min": 2, "share_pct": 5}] * 20,
        }
        args = {**PLAN, **changes}
        fields = request_of(bed, actor="b" + longest[1:], role=longest, origin=longest, session_id=None, args=args)
        payload = json.dumps(fields, ensure_ascii=False).encode()
        assert len(payload) < 16 * 1024
        bed.room.office.take("session.plan", payload, Origin.BUS, False, bed.room.clock.wire())
        await asyncio.sleep(2)
        answer = bed.room.paper.last(f"ack/{fields['id']}")
        assert answer["state"] == "done", answer
        assert "bed_failed" not in bed.raised
        assert bed.phase == "planned"


@pytest.mark.shows("S16")
async def test_what_is_too_long_for_the_bus_is_told_of_and_never_raised() -> None:
    """Whoever writes a row or an answer supervises a pump; the journal has all of it."""
    room = Room()
    long = "x" * 20_000
    seq = room.logbook.write("Refused", json.dumps({"text": long}), bed="one")
    assert room.paper.last("event")["data"] == {"too_long_for_the_bus": len(json.dumps({"text": long}))}
    assert room.paper.last("event")["seq"] == seq
    assert [json.loads(row.data)["text"] for row in room.journal.rows()] == [long]
    request = str(uuid.UUID(int=1))
    room.answer(ev.Answer(request, "failed", "uncertain", long, (("told", long),)), "one", State())
    answer = room.paper.last(f"ack/{request}")
    assert (answer["state"], answer["reason"]) == ("failed", "uncertain")
    assert long.startswith(answer["text"])


# --- what is left in the pump -----------------------------------------------------------------------------------------


@pytest.mark.shows("S1")
@pytest.mark.parametrize("how", ["stopped", "forgotten", "forgotten and stopped", "released"])
async def test_a_dose_that_was_armed_and_given_up_is_not_left_to_the_keypad(how: str) -> None:
    """S1: after the end the smallest limit stays in the pump. One that was armed and never started held all 35 mL."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        if "forgotten" in how:
            await bed.until(lambda: bed.phase == "planned", within_s=1000, step_s=5)
            await asyncio.sleep(2)
        if how != "forgotten":
            assert (await bed.order("session.stop"))["state"] == "done"
            await asyncio.sleep(2)
        if how == "released":
            assert (await bed.order("session.release"))["state"] == "done"
        bed.key("run")
        await asyncio.sleep(30)
        assert bed.given < 0.01
        assert starts(bed) == 0


async def test_a_pump_that_was_given_up_is_armed_again_for_the_whole_dose() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        await bed.until(lambda: bed.phase == "planned", within_s=1000, step_s=5)
        assert (await arming(bed))["state"] == "done"
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, abs=0.02)


@pytest.mark.shows("S5")
async def test_two_nurses_at_once_one_order_and_the_stop_wins() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(30)
        one, two, stop = await asyncio.gather(
            bed.order("rate.set", rate_ml_h="40"), bed.order("rate.set", rate_ml_h="45"), bed.order("session.pause")
        )
        assert (one["reason"], two["reason"], stop["state"]) == ("preempted", "busy", "done")
        assert not bed.truth["infusing"]
        await asyncio.sleep(3)
        fit = bed.order("session.container", container={"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50})
        resumed, fitted, finished = await asyncio.gather(
            bed.order("session.resume", confirm=True), fit, bed.order("session.finish", confirm=True)
        )
        assert (resumed["state"], fitted["reason"], finished["reason"]) == ("done", "busy", "busy")
        assert starts(bed) == 2


@pytest.mark.shows("S12")
async def test_orders_of_the_patient_before_do_nothing_to_the_next_one() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        old = bed.state.session_id
        assert (await bed.order("session.stop"))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing")
        assert (await bed.order("session.end"))["state"] == "done"
        assert (await bed.armed())["state"] == "done"
        for verb in ("start", "resume", "stop", "pause", "release", "end", "restore", "accept", "finish"):
            answer = await bed.order(f"session.{verb}", session_id=old, confirm=True)
            assert answer["reason"] == "wrong_session", answer
        assert bed.phase == "armed"
        assert starts(bed) == 1


@pytest.mark.shows("S2", "S8")
async def test_many_raises_and_catching_up_together_pass_no_hard_limit() -> None:
    """Each raise, pause and recalculation is confirmed and overridden; together they end at the hard 30 minutes."""
    bed = Bedside(Room())
    override = {"by": "Dr. A", "reason": "in a hurry"}
    async with ward(bed):
        await bed.running()
        for _ in range(12):
            await asyncio.sleep(7)
            assert bed.state.plan is not None
            rate = str(bed.state.plan.steps[-1].rate.value + 3)
            await bed.order("rate.set", rate_ml_h=rate, given={"rate_ml_h": rate}, override=override)
            assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(30)
            asked = await bed.order("session.resume", mode="recalculate", override=override)
            if asked["reason"] == "not_confirmed":
                rate, volume = re.findall(r"[0-9.]+", asked["text"])
                figures = {"rate_ml_h": rate, "volume_ml": volume}
                await bed.order("session.resume", mode="recalculate", override=override, given=figures)
            if bed.phase == "paused":
                assert "hard limit 30" in asked["text"]
                assert (await bed.order("session.resume", confirm=True))["state"] == "done"
            assert bed.state.plan.seconds >= 30 * 60
        assert "hard limit 30" in asked["text"]
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given <= PLANNED_ML + 0.01
        assert bed.state.elapsed >= 29.9 * 60


# --- somebody else's pump ---------------------------------------------------------------------------------------------


@pytest.mark.shows("S10", "S15")
async def test_a_plan_that_was_given_up_does_not_stop_a_pump_used_by_hand() -> None:
    """S10: no pump was ever armed for it."""
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        assert (await bed.order("session.stop"))["state"] == "done"
        assert bed.phase == "aborted"
        bed.do("set_rate", ml_h=10.0)
        sent = len(bed.port.sent)
        bed.key("run")
        await asyncio.sleep(5)
        assert bed.truth["infusing"]
        assert orders_in(bed, sent) == []
        assert "infusing_unknown_session" in bed.alarms
        assert (await bed.order("pump.stop"))["state"] == "done"
        assert not bed.truth["infusing"]


@pytest.mark.shows("S15")
@pytest.mark.parametrize("end", ["ended", "aborted"])
async def test_after_the_end_another_pump_at_the_port_is_not_stopped(end: str) -> None:
    """S15: it infuses something else, for the next patient; the session before was over and never released."""
    bed = Bedside(Room(), mode="basic")  # no watchdog would stop it
    async with ward(bed):
        await bed.running()
        if end == "ended":
            await bed.until(lambda: bed.phase == "observing", step_s=1)
        else:
            assert (await bed.order("session.stop"))["state"] == "done"
            await bed.until(lambda: bed.phase == "observing")
        assert (await bed.order("session.end"))["state"] == "done"
        assert bed.phase == end
        bed.key("run")
        await asyncio.sleep(3)
        assert not bed.truth["infusing"], "our own pump is stopped each time"
        bed.port.plug_out()
        await asyncio.sleep(5)
        other = Bedside(Room(), mode="basic")
        other.do("set_rate", ml_h=10.0)
        other.key("run")
        if not other.truth["infusing"]:
            other.key("run")
        assert other.truth["infusing"]
        bed.port.peer = bed.device = other.device
        sent = len(bed.port.sent)
        bed.port.plug_in()
        await asyncio.sleep(20)
        assert bed.truth["infusing"]
        assert orders_in(bed, sent) == []
        assert "infusing_after_release" in bed.alarms
        assert (await bed.order("pump.stop"))["state"] == "done"


@pytest.mark.shows("S1", "S3")
async def test_after_the_end_our_own_pump_is_stopped_also_when_it_was_unplugged() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.stop"))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing")
        assert (await bed.order("session.end"))["state"] == "done"
        bed.port.plug_out()
        await asyncio.sleep(5)
        bed.port.plug_in()
        await asyncio.sleep(5)
        bed.key("run")
        await asyncio.sleep(3)
        assert not bed.truth["infusing"]
        assert "infusing_against_plan" in bed.raised
