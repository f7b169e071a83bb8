"""Requirements of docs/safety.md that no other test shows: identity, session document, alarms in time, logs kept."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from pumpd.messaging.messages import TOPICS
from pumpd.messaging.requests import VERBS
from pumpd.records.journal import Journal
from tests.bedside import PATIENT, Bedside, Room, ward
from tests.scenario.test_recovery import journaled

FAULTS = 1100


@pytest.mark.shows("H13")
async def test_who_the_pump_is_stands_on_the_bus_from_the_moment_it_answers() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        said = bed.room.paper.last("pump/one-pump/description")
        assert said["maker"] == "New Era"
        assert said["model"] == "NE1000"
        assert said["firmware"]
        assert said["serial_number"] is None, "this family has none"
        assert said["capabilities"]
        assert {row.pattern: row.retained for row in TOPICS}["pump/<pump>/description"]


@pytest.mark.shows("H25", "H33", "H56")
async def test_the_session_document_tells_the_prescription_and_no_patient() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        said = bed.room.paper.last("pump/one-pump/session")
        told = {name: float(said[name]) for name in ("concentration_mg_ml", "weight_kg", "dose_mg", "volume_ml")}
        assert told == {"concentration_mg_ml": 1.0, "weight_kg": 70.0, "dose_mg": 35.0, "volume_ml": 35.0}
        assert said["drug"] == "ketamine"
        await bed.until_session(600)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        rest = float(bed.room.paper.last("pump/one-pump/session")["confirm_volume_ml"])
        assert rest == pytest.approx(35 - bed.given, abs=0.05), "never the whole plan again"
        assert PATIENT not in repr([body for topic, body in bed.room.paper.raw if topic.startswith("pump/")])
        assert PATIENT not in repr([body for topic, body in bed.room.paper.raw if topic == "event"])


@pytest.mark.shows("H29")
async def test_an_alarm_is_published_and_sounds_within_a_second_of_the_reading_that_found_it() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(5)
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: "rate_below_plan" in bed.state.conditions, within_s=1.2, step_s=0.001)
        found = bed.room.clock.wire()
        await bed.until(lambda: "rate_below_plan" in bed.raised and bed.room.sounds["one"] == "medium", 1, 0.001)
        assert bed.room.clock.wire() - found < 0.1


@pytest.mark.shows("H40")
async def test_every_row_of_the_journal_but_readings_is_an_event_on_the_bus() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=20.0)
        await asyncio.sleep(5)
        assert (await bed.order("session.stop"))["state"] == "done"
        await asyncio.sleep(2)
    rows = {row.seq: row.kind for row in bed.room.journal.rows()}
    told = {event["seq"]: event["type"] for event in bed.room.paper.all("event")}
    assert told == {seq: rows[seq] for seq in told}
    assert {kind for seq, kind in rows.items() if seq not in told} <= {"PumpReported", "Tick"}
    assert {"PlanOrdered", "StartOrdered", "StopOrdered", "OrderDone", "Alarm"} <= set(told.values())


@pytest.mark.shows("H36", "H37", "H38")
async def test_more_than_a_thousand_faults_are_kept_over_restarts_and_none_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        for _ in range(FAULTS):
            bed.ward.bed.alarms.note("journal_unavailable", True)
            bed.ward.bed.alarms.note("journal_unavailable", False)
    bed.room.journal.close()
    for _ in range(3):
        with closing(Journal(path, "later", threaded=False)) as journal:
            rows = list(journal.rows())
        faults = [row for row in rows if row.kind == "Alarm" and "journal_unavailable" in row.data]
        assert len(faults) >= FAULTS
        assert len({row.seq for row in faults}) == len(faults)
        assert all(len(row.ts) == len("2026-01-31T09:30:00.000Z") and row.boot_id for row in faults)


@pytest.mark.shows("H45", "H55")
async def test_a_drug_that_is_not_in_the_library_leaves_the_pump_standing_and_a_row_in_the_journal() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        refused = await bed.planned(drug="propofol")
        assert (refused["state"], refused["reason"]) == ("rejected", "limit")
        assert bed.phase == "idle"
        assert any(row.kind == "Refused" and "propofol" in row.data for row in bed.room.journal.rows())
        assert (await bed.planned())["state"] == "done"
        (plan,) = (row.data for row in bed.room.journal.rows() if row.kind == "PlanOrdered")
        library = bed.site.drugs["ketamine"]
        assert library.sha256
        assert f'"sha256":"{library.sha256}"' in plan
        assert f'"version":"{library.version}"' in plan
        assert '"hard_max":"1.0"' in plan, "the limits themselves"
        assert not bed.truth["infusing"]


@pytest.mark.shows("H57")
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("field", ["limits", "drug_library", "max_rate", "watchdog_s", "laboratory", "simulated"])
def test_no_request_carries_a_limit_or_a_setting(verb: str, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        VERBS[verb].model_validate({field: 1})
    assert any(
        problem["loc"] == (field,) and problem["type"] == "extra_forbidden" for problem in refused.value.errors()
    )
