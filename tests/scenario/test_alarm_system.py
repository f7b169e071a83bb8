"""Alarms as persons meet them: one for each condition, silenced by rules, the same for all, and not lost in a crash."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pumpd.core import events as ev
from pumpd.core.alarms import Alarm, Inactivation
from pumpd.messaging.auth import Origin
from pumpd.messaging.encode import timestamp
from pumpd.records.journal import Journal
from pumpd.testing import VirtualClock
from tests.bedside import Bedside, Room, ward
from tests.scenario.test_islands import Disk, room_with
from tests.scenario.test_recovery import born_again, journaled


def standing(bed: Bedside, code: str) -> Alarm:
    return next(alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == code)


def told(bed: Bedside, code: str) -> list[dict[str, Any]]:
    """All that was published of an alarm, oldest first."""
    return [body for topic, body in bed.room.paper.under("alarm/") if body["code"] == code]


def retained(room: Room) -> dict[str, dict[str, Any]]:
    """What stands on the topics of the alarms now."""
    newest = {topic: body for topic, body in room.paper.raw if topic.startswith("alarm/")}
    return {topic: json.loads(body) for topic, body in newest.items() if body}


async def over_the_bus(bed: Bedside, verb: str, **args: Any) -> dict[str, Any]:
    clock, request_id = bed.room.clock, str(uuid.UUID(int=bed.room.rng.getrandbits(128)))
    issued = timestamp(clock.wall())
    fields = {"id": request_id, "issued_ts": issued, "ttl_ms": 5000, "actor": "n", "role": "nurse", "origin": "console"}
    payload = json.dumps({**fields, "args": args}).encode()
    bed.room.office.take(verb, payload, Origin.BUS, False, clock.wire())
    return bed.room.paper.last(f"ack/{request_id}")


async def lowered(bed: Bedside) -> Alarm:
    """A medium alarm whose condition stays."""
    await bed.running()
    bed.do("set_rate", ml_h=20.0)
    await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=3)
    return standing(bed, "rate_below_plan")


# --- the audio pause of the station ---


@pytest.mark.shows("H24", "H31")
async def test_the_audio_pause_is_one_for_all_beds_and_any_new_alarm_of_any_bed_ends_it_for_all() -> None:
    room = Room()
    one, two = Bedside(room, "one"), Bedside(room, "two")
    async with ward(one, two):
        await lowered(one)
        assert room.sounds["one"] == "medium"
        assert (await two.order("audio.pause", seconds=100))["state"] == "done"
        assert room.sounds["one"] is None
        assert told(one, "rate_below_plan")[-1]["inactivation"] == "audio-paused"
        assert told(one, "rate_below_plan")[-1]["inactivated_by"] == "nurse-1"
        await asyncio.sleep(5)
        two.port.plug_out()
        await two.until(lambda: "pump_not_connected" in two.alarms, within_s=4, step_s=0.001)
        assert room.sounds == {"one": "medium", "two": "low"}, "at once, not with the next pulse"
        assert told(one, "rate_below_plan")[-1]["inactivation"] == "enabled"
    kinds = [row.kind for row in room.journal.rows() if row.kind.startswith("Audio")]
    assert kinds == ["AudioPaused", "AudioResumed"]


@pytest.mark.shows("H24")
async def test_the_audio_pause_ends_by_itself_and_by_a_person() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await lowered(bed)
        await bed.order("audio.pause", seconds=120)
        await asyncio.sleep(119)
        assert bed.room.sounds["one"] is None
        await asyncio.sleep(2.1)
        assert bed.room.sounds["one"] == "medium"
        await bed.order("audio.pause", seconds=60)
        await bed.order("audio.resume")
        assert bed.room.sounds["one"] == "medium"


@pytest.mark.shows("H24", "H43")
async def test_a_pause_asked_for_over_the_bus_ends_with_the_bus_and_one_from_the_bedside_does_not() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await lowered(bed)
        quiet = bed.room.office.quiet
        assert (await over_the_bus(bed, "audio.pause", seconds=100))["state"] == "done"
        quiet.end_remote("the broker is gone")
        assert bed.room.sounds["one"] == "medium"
        await bed.order("audio.pause", seconds=100)
        quiet.end_remote("the broker is gone")
        assert bed.room.sounds["one"] is None


# --- inactivating one alarm ---


@pytest.mark.shows("H31", "H43")
async def test_one_alarm_is_inactivated_at_the_bed_only_where_configured_and_never_a_high_one() -> None:
    off = Bedside(Room())
    async with ward(off):
        alarm = await lowered(off)
        answer = await off.order("alarm.inactivate", alarm_id=alarm.alarm_id, state="audio-off")
        assert (answer["state"], answer["reason"]) == ("rejected", "not_allowed")
    bed = Bedside(Room(inactivation=True))
    async with ward(bed):
        alarm = await lowered(bed)
        remote = await over_the_bus(bed, "alarm.inactivate", alarm_id=alarm.alarm_id, state="audio-off")
        assert (remote["state"], remote["text"]) == ("rejected", "alarm.inactivate: only on the local socket")
        answer = await bed.order("alarm.inactivate", alarm_id=alarm.alarm_id, state="alarm-paused", seconds=60)
        assert answer["state"] == "done"
        said = told(bed, "rate_below_plan")[-1]
        assert (said["inactivation"], said["inactivated_by"], said["acked_by"]) == ("alarm-paused", "nurse-1", None)
        assert said["until"] > said["ts"]
        assert bed.room.sounds["one"] is None
        before = len(bed.room.paper.all("pump/one-pump/telemetry"))
        await asyncio.sleep(58)
        assert len(bed.room.paper.all("pump/one-pump/telemetry")) - before >= 57, "nothing is taken from telemetry"
        assert bed.room.sounds["one"] is None
        await asyncio.sleep(3)
        assert bed.room.sounds["one"] == "medium"
        bed.key("stop")
        await bed.until(lambda: "stopped_at_pump" in bed.alarms, within_s=3)
        high = await bed.order(
            "alarm.inactivate", alarm_id=standing(bed, "stopped_at_pump").alarm_id, state="audio-off"
        )
        assert "never inactivated" in high["text"]
    rows = [json.loads(row.data) for row in bed.room.journal.rows() if row.kind == "Alarm"]
    assert [row["inactivation"] for row in rows if row["code"] == "rate_below_plan"] == [
        "enabled",
        "alarm-paused",
        "enabled",
    ]


@pytest.mark.shows("H30")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_a_stop_ends_what_was_inactivated_and_acknowledges_nothing(verb: str) -> None:
    bed = Bedside(Room(inactivation=True))
    async with ward(bed):
        bed.room.office.wards["one"].bed.alarms.happened("command_retained")
        mild = standing(bed, "command_retained")
        await bed.order("alarm.inactivate", alarm_id=mild.alarm_id, state="alarm-off")
        assert standing(bed, "command_retained").inactivation is Inactivation.ALARM_OFF
        await bed.running()
        assert (await bed.order(verb))["state"] == "done"
        after = standing(bed, "command_retained")
        assert (after.inactivation, after.acked_by) == (Inactivation.ENABLED, None)
        assert bed.room.sounds["one"] is not None


# --- escalation ---


async def test_unattended_a_medium_alarm_becomes_a_high_one_only_where_configured() -> None:
    bed = Bedside(Room(escalate_after={"medium": 60.0}))
    async with ward(bed):
        await lowered(bed)
        await bed.order("audio.pause", seconds=120)
        await asyncio.sleep(58)
        assert bed.room.sounds["one"] is None
        await asyncio.sleep(3)
        assert bed.room.sounds["one"] == "high", "as a new alarm it ends the pause"
        assert told(bed, "rate_below_plan")[-1]["priority"] == "high"
    plain = Bedside(Room())
    async with ward(plain):
        await lowered(plain)
        await asyncio.sleep(1000)
        assert plain.room.sounds["one"] == "medium"


# --- one condition, one alarm ---


def cut_the_mains(bed: Bedside) -> None:
    bed.do("power_off")
    asyncio.get_running_loop().call_later(1.0, lambda: bed.do("power_on"))


FAULTS = {
    "a cable is out": (lambda bed: bed.port.plug_out(), {"comms_lost_pump"}),
    "a stop at the keypad": (lambda bed: bed.key("stop"), {"stopped_at_pump"}),
    "an occlusion": (lambda bed: bed.do("occlude"), {"motor_stalled"}),
    "a power cut": (cut_the_mains, {"pump_power_lost"}),
    "a raised rate": (lambda bed: bed.do("set_rate", ml_h=60.0), {"rate_above_plan"}),
    "a lowered rate": (lambda bed: bed.do("set_rate", ml_h=20.0), {"rate_below_plan"}),
}


@pytest.mark.shows("H14", "H62")
@pytest.mark.parametrize(("fault", "alarms"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_one_alarm_and_no_cascade(fault: Any, alarms: set[str]) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        fault(bed)
        await asyncio.sleep(300)
        assert set(bed.raised) == alarms
        assert {body["count"] for topic, body in bed.room.paper.under("alarm/")} == {1}


@pytest.mark.shows("H62")
async def test_a_loose_plug_is_one_alarm_one_sound_and_few_messages() -> None:
    with capture_logs() as lines:
        bed = Bedside(Room())
        async with ward(bed):
            await bed.running()
            await bed.until_session(300)
            before = len(bed.room.paper.under("alarm/"))
            for _ in range(20):
                bed.port.plug_out()
                await asyncio.sleep(0.7)
                bed.port.plug_in()
                await bed.until(lambda: bed.state.sight.value == "seeing", within_s=8)
                await asyncio.sleep(1.5)
            flapping = standing(bed, "comms_lost_pump")
            assert flapping.count == 20
            assert len(bed.room.paper.under("alarm/")) - before == 1
            news = [line["news"] for line in lines if line.get("code") == "comms_lost_pump"]
            assert news == ["raised"]
            await bed.until(lambda: standing(bed, "comms_lost_pump").latched, within_s=70)
            assert told(bed, "comms_lost_pump")[-1]["count"] == 20
            assert bed.truth["infusing"], "the infusion went on"


@pytest.mark.shows("H62")
async def test_a_plug_that_holds_is_believed_after_five_seconds_and_not_before() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        bed.port.plug_out()
        await bed.until(lambda: "pump_not_connected" in bed.alarms, within_s=4)
        bed.port.plug_in()
        await bed.until(lambda: "pump_not_connected" not in bed.state.conditions, within_s=8, step_s=0.01)
        await asyncio.sleep(4.9)
        assert told(bed, "pump_not_connected")[-1]["condition"] == "present"
        await asyncio.sleep(1.2)
        assert told(bed, "pump_not_connected")[-1]["condition"] == "gone"
        assert "pump_not_connected" not in bed.alarms


async def test_standby_says_that_no_pump_is_missed_and_is_refused_while_one_is_needed_or_moves() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.order("standby"))["state"] == "done"
        bed.port.plug_out()
        await asyncio.sleep(30)
        assert bed.raised == []
        bed.port.plug_in()
        await bed.until(lambda: bed.state.sight.value == "seeing", within_s=10)
        await bed.armed()
        assert (await bed.order("standby"))["state"] == "rejected"
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        assert (await bed.order("standby"))["state"] == "rejected"
        assert (await bed.order("session.pause"))["state"] == "done"
        assert (await bed.order("standby"))["state"] == "rejected"
    other = Bedside(Room())
    async with ward(other):
        other.do("set_rate", ml_h=20.0)
        other.key("run")
        await other.until(lambda: "infusing_unknown_session" in other.alarms, within_s=5)
        refused = await other.order("standby")
        assert refused["text"] == "the pump is infusing: no standby while it moves"


# --- published: when, in which order, for late comers ---


@pytest.mark.shows("H23", "H29")
async def test_an_alarm_is_published_within_a_second_and_numbered_by_its_occurrence() -> None:
    room = Room()
    one, two = Bedside(room, "one"), Bedside(room, "two")
    async with ward(one, two):
        await one.running()
        await asyncio.sleep(10)
        one.do("occlude")
        await one.until(lambda: one.truth["alarm"] is not None, within_s=300, step_s=0.01)
        began = room.clock.wire()
        await one.until(lambda: "motor_stalled" in one.raised, within_s=1.0, step_s=0.01)
        assert room.sounds["one"] == "high"
        assert room.clock.wire() - began <= 1.0
        two.port.plug_out()
        await two.until(lambda: "pump_not_connected" in two.raised, within_s=4)
        orders = [told(one, "motor_stalled")[-1]["order"], told(two, "pump_not_connected")[-1]["order"]]
        assert 0 < orders[0] < orders[1], "for all beds of the station"


async def test_a_display_that_joins_late_sees_what_one_that_was_there_sees() -> None:
    bed = Bedside(Room(inactivation=True))
    async with ward(bed):
        alarm = await lowered(bed)
        await bed.order("alarm.ack", alarm_id=alarm.alarm_id)
        await bed.order("alarm.inactivate", alarm_id=alarm.alarm_id, state="audio-off")
        early = retained(bed.room)
        bed.room.paper.raw.clear()
        bed.ward.bed.say_all()
        late = retained(bed.room)
    moving = ("seq", "ts", "mono_ms")
    stripped = [
        {topic: {name: body[name] for name in body if name not in moving} for topic, body in seen.items()}
        for seen in (early, late)
    ]
    assert stripped[0] == stripped[1]
    assert len(late) == 1


# --- over a restart ---


@pytest.mark.shows("S10", "H31")
async def test_over_a_restart_alarms_keep_who_saw_them_and_their_time_left_and_the_pause_of_all_is_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    bed.room.office._gate._inactivation = True
    async with ward(bed):
        alarm = await lowered(bed)
        bed.ward.bed.alarms.happened("command_retained")
        await bed.order("alarm.ack", alarm_id=alarm.alarm_id)
        mild = standing(bed, "command_retained")
        await bed.order("alarm.inactivate", alarm_id=mild.alarm_id, state="audio-paused", seconds=100)
        await bed.order("audio.pause", seconds=120)
        before = (standing(bed, "rate_below_plan"), standing(bed, "command_retained"))
    await asyncio.sleep(5)
    with capture_logs() as lines:
        again = born_again(bed, path)
    restored = [line["code"] for line in lines if line.get("news") == "restored"]
    assert sorted(restored) == ["command_retained", "rate_below_plan"], "each is logged once"
    assert (standing(again, "rate_below_plan"), standing(again, "command_retained")) == before
    assert again.room.office.quiet.pause is None
    async with ward(again):
        assert max(each.order for each in before) < told(again, "daemon_restarted")[0]["order"]
        await asyncio.sleep(88)
        assert standing(again, "command_retained").inactivation is Inactivation.AUDIO_PAUSED
        await asyncio.sleep(8)
        assert standing(again, "command_retained").inactivation is Inactivation.ENABLED


@pytest.mark.shows("S11")
async def test_over_a_restart_of_the_machine_a_pause_of_one_alarm_is_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    bed.room.office._gate._inactivation = True
    async with ward(bed):
        alarm = await lowered(bed)
        await bed.order("alarm.inactivate", alarm_id=alarm.alarm_id, state="audio-paused", seconds=600)
    again = born_again(bed, path, VirtualClock(boot_id="another boot"))
    assert standing(again, "rate_below_plan").inactivation is Inactivation.ENABLED


# --- a pump that tells an alarm once ---


def watched_writes(bed: Bedside) -> list[tuple[float, int]]:
    """From now on: when each question left, and the last row that was on the disk by then."""
    seen: list[tuple[float, int]] = []
    pipe = bed.ward.link._talk._pipe
    assert pipe is not None
    write = pipe.write

    def spy(data: bytes) -> None:
        seen.append((bed.room.clock.wire(), bed.room.journal._durable_seq))
        write(data)

    pipe.write = spy  # type: ignore[method-assign]
    return seen


def only_when_asked(disk: Disk, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing gets on the disk but what somebody waits for."""
    disk.blocked, durable = True, journal.durable

    async def asked(seq: int, within_s: float) -> bool:
        disk.blocked = False
        answer = await durable(seq, within_s)
        disk.blocked = True
        return answer

    monkeypatch.setattr(journal, "durable", asked)


async def told_a_stall(bed: Bedside, at_that_moment: Callable[[], object]) -> list[tuple[float, int]]:
    """A session until its pump has told that it stalled, not a byte further; the questions from then on."""
    await bed.running()
    await bed.until_session(300)
    feed, came = bed.ward.bed.feed, asyncio.Event()

    def hear(event: ev.Event) -> None:
        if isinstance(event, ev.PumpTold) and not came.is_set():
            at_that_moment()
            came.set()
        feed(event)

    bed.ward.bed.feed = hear  # type: ignore[method-assign]
    bed.do("occlude")
    await asyncio.wait_for(came.wait(), 300)
    assert "motor_stalled" in bed.state.conditions
    return watched_writes(bed)


@pytest.mark.shows("S9")
async def test_an_alarm_is_on_the_disk_before_the_poll_that_takes_it_off_the_pump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "journal.sqlite3"))
    async with ward(bed):
        writes = await told_a_stall(bed, lambda: only_when_asked(disk, bed.room.journal, monkeypatch))
        row = bed.room.journal.head[0]
        assert bed.room.journal._durable_seq < row
        await bed.until(lambda: bool(writes), within_s=2, step_s=0.0005)
        assert writes[0][1] >= row
        disk.blocked = False


@pytest.mark.shows("S9")
async def test_with_the_journal_blocked_that_poll_waits_half_a_second_and_goes_on(tmp_path: Path) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "journal.sqlite3"))
    async with ward(bed):
        writes = await told_a_stall(bed, lambda: setattr(disk, "blocked", True))
        due = bed.room.clock.wire() + 1.0 - (bed.ward.bed.heard_ago_ms() or 0) / 1000
        await asyncio.sleep(5)
        assert writes[0][0] - due == pytest.approx(0.5, abs=0.1), "supervision never waits longer for a disk"
        assert len(writes) >= 4, "and only once"
        disk.blocked = False


@pytest.mark.shows("S9", "S10")
async def test_a_crash_right_after_that_poll_has_left_loses_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "journal.sqlite3", Disk()
    bed = Bedside(room_with(disk, path))
    async with ward(bed):
        writes = await told_a_stall(bed, lambda: only_when_asked(disk, bed.room.journal, monkeypatch))
        await bed.until(lambda: bool(writes), within_s=2, step_s=0.0005)
        bed.room.journal.close(write_rest=False)  # what a crash leaves
        clock = VirtualClock()
        room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
        again = Bedside(room, device=bed.device)
        again.ward.recover(room.journal.rows(bed="one"))
        assert standing(again, "motor_stalled").present


async def test_a_crash_before_that_poll_loses_no_alarm_either_the_pump_tells_it_again(tmp_path: Path) -> None:
    path, disk = tmp_path / "journal.sqlite3", Disk()
    bed = Bedside(room_with(disk, path))
    async with ward(bed):
        await told_a_stall(bed, lambda: setattr(disk, "blocked", True))
    bed.room.journal.close(write_rest=False)
    clock = VirtualClock()
    room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
    again = Bedside(room, device=bed.device)
    again.ward.recover(room.journal.rows(bed="one"))
    assert "motor_stalled" not in again.alarms
    async with ward(again):
        await again.until(lambda: "motor_stalled" in again.alarms, within_s=5)
