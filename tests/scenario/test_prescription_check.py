"""What was checked before a session: recorded whole, told to nobody else, and held against the session before (S8)."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pumpd.core.events import PlanOrdered
from pumpd.core.intake import Former
from pumpd.core.limits import Level
from pumpd.records.journal_file import Row
from pumpd.records.patients import Patients, sessions_started
from pumpd.records.recall import RECORDER, replay
from pumpd.units import Kg
from tests.bedside import PATIENT, PLAN, Bedside, Room, ward

DAY_S = 86_400.0
PRIVATE = {  # each word stands for one answer, so that it can be looked for
    "patient_ref": PATIENT,
    "by": "Dr. Secret",
    "class": "ssri",  # the flagged ones stand in the drug library, which everybody may read
    "reason": "liver-known-since-2019",
    "second": "Nurse Whisper",
    "age": "87654",
}
OVERRIDE = {"by": PRIVATE["by"], "reason": PRIVATE["reason"]}


def checks(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(PLAN["checks"]), **changes}


def unusual() -> dict[str, Any]:
    """A plan with an answer in each group that nobody else is to know."""
    return {
        "checks": checks(
            liver={"result": "abnormal", "by": PRIVATE["by"], "at": "2026-01-02T08:00:00Z"},
            other_drugs={"result": "checked", "classes": ["lamotrigine", PRIVATE["class"]]},
        ),
        "second_person": PRIVATE["second"],
    }


def course(number: int | str, days: int | str) -> dict[str, Any]:
    return checks(course={"session_number": number, "days_since_last": days})


def rows_of(room: Room, kind: str) -> list[Row]:
    return [row for row in room.journal.rows() if row.kind == kind]


def event_of(row: Row) -> PlanOrdered:
    event = RECORDER.load(row.kind, json.dumps(json.loads(row.data)["event"]))
    assert isinstance(event, PlanOrdered)
    return event


async def a_session(bed: Bedside, **changes: Any) -> None:
    """Planned, armed, started, and over after a minute."""
    await bed.running(**changes)
    await bed.until_session(60)
    assert (await bed.order("session.stop"))["state"] == "done"
    assert (await bed.order("session.end"))["state"] == "done"
    assert (await bed.order("session.release"))["state"] == "done"


@pytest.mark.shows("S8", "H63")
async def test_everything_is_recorded_with_who_and_when_and_replays() -> None:
    room = Room()
    bed = Bedside(room)
    async with ward(bed):
        assert (await bed.planned(**unusual(), override=OVERRIDE))["state"] == "done"
        (row,) = rows_of(room, "PlanOrdered")
        event = event_of(row)
        intake = event.intake
        assert intake is not None
        assert (intake.liver.noted.by, intake.liver.noted.at) == (PRIVATE["by"], "2026-01-02T08:00:00.000Z")
        assert intake.vitals.noted.by == "nurse-1"
        assert intake.vitals.noted.at[:10] == row.ts[:10]
        assert intake.drugs.classes == ("lamotrigine", PRIVATE["class"])
        assert (intake.second_person, intake.override.by) == (PRIVATE["second"], PRIVATE["by"])  # type: ignore[union-attr]
        assert {finding.name for finding in intake.findings} == {"liver tests", "other drugs"}
        assert all(finding.level is Level.SOFT for finding in intake.findings)
        assert len(event.rules.limits.sha256) == 64
        counted, differences = replay(room.journal.rows())
        assert counted
        assert differences == []


@pytest.mark.shows("S8", "H48")
async def test_the_answer_shows_every_finding_with_its_level_and_the_library() -> None:
    room = Room()
    bed = Bedside(room)
    async with ward(bed):
        refused = await bed.planned(**unusual())
        levels = {limit["name"]: limit["level"] for limit in refused["data"]["limits"]}
        assert (refused["state"], refused["reason"]) == ("rejected", "limit")
        assert (levels["liver tests"], levels["other drugs"], levels["weight"]) == ("soft", "soft", "met")
        alone = await bed.planned(second_person="nurse-1")
        assert {limit["name"]: limit["level"] for limit in alone["data"]["limits"]}["first session"] == "second person"
        passed = await bed.planned(**unusual(), override=OVERRIDE)
        assert {limit["name"]: limit["level"] for limit in passed["data"]["limits"]} == levels
        assert set(passed["data"]["drug_library"]) == {"version", "sha256"}


async def test_nothing_of_it_is_on_the_bus_or_in_the_log_but_in_the_answer() -> None:
    words = [word for name, word in PRIVATE.items() if name != "age"] + ["abnormal", "session_number", "systolic"]
    with capture_logs() as lines:
        room = Room()
        bed = Bedside(room)
        async with ward(bed):
            assert (await bed.planned(**unusual()))["state"] == "rejected"
            malformed = checks(person={"age_years": PRIVATE["age"], "sex": "female"})
            assert (await bed.planned(checks=malformed))["reason"] == "malformed"
            drug = checks(other_drugs={"result": "checked", "classes": ["secret-drug"]})
            assert (await bed.planned(checks=drug))["reason"] == "malformed"
            await a_session(bed, **unusual(), override=OVERRIDE)
            await asyncio.sleep(12)  # what is retained has been said again
    kept = "".join(row.data for row in room.journal.rows())
    assert all(word in kept for word in words), "the journal has it"
    others = [body.decode() for topic, body in room.paper.raw if not topic.startswith("ack/")]
    assert any('"type":"PlanOrdered"' in body for body in others)
    assert any('"type":"Refused"' in body for body in others)
    for word in [*words, PRIVATE["age"], "secret-drug", "liver tests"]:
        assert [body for body in others if word in body] == [], word
        assert word not in repr(lines), word
    acks = [json.loads(body) for topic, body in room.paper.raw if topic.startswith("ack/")]
    told = [ack for ack in acks if any(word in json.dumps(ack) for word in words)]
    assert {ack["verb"] for ack in told} == {"session.plan"}


@pytest.mark.shows("S8", "H63")
async def test_the_next_session_is_held_against_the_last_one(tmp_path: Path) -> None:
    room = Room(patients=Patients(), path=tmp_path / "journal.sqlite3")
    bed = Bedside(room)
    async with ward(bed):
        assert (await bed.planned(second_person="nurse-1"))["reason"] == "limit"
        assert (await bed.planned())["state"] == "done"
        assert room.house.patients.former(PATIENT, room.clock.wall()) is None, "a plan is no session"
        await a_session(bed)
        said = (await bed.planned())["text"]
        assert "0 days since the last session" in said
        assert "session 1 is entered but the journal's last one was number 1" in said
    await asyncio.sleep(2 * DAY_S)
    other = Bedside(room, "two")
    async with ward(other):
        second = {"checks": course(2, 2), "second_person": None}
        lighter = {"value": "62.9", "unit": "kg"}
        changed = await other.planned(**{**second, "weight": lighter, "weight_again": lighter})
        assert changed["text"].startswith("weight 62.9 kg: -10.1 % since the last session (70 kg)")
        assert (await other.planned(**second))["state"] == "done"
        await a_session(other, **second)
        known = room.house.patients.former(PATIENT, room.clock.wall())
        assert known == Former(other.state.session_id, Kg(70), 2, 0, 2)
    again = Patients()
    again.learn(sessions_started(room.journal.plans_and_starts()))
    assert again.former(PATIENT, room.clock.wall()) == known, "a restart knows the same"
    assert again.former("somebody else", room.clock.wall()) is None
    assert event_of(rows_of(room, "PlanOrdered")[-1]).intake.former.number == 1  # type: ignore[union-attr]
