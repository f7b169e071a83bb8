"""The disk hangs, a bed fails: what stops is never held up, and other beds miss nothing (S9, S13, S16)."""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside import bed as bed_module
from pumpd.bedside.ward import RESTARTS_MAX, SILENT_S
from pumpd.core import events as ev
from pumpd.core.session import Decision, decide
from pumpd.core.state import State
from pumpd.records.journal import Journal
from pumpd.testing import VirtualClock
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in, starts


def born_again(bed: Bedside, path: Path, **options: Any) -> Bedside:
    """A new process on the same journal and the same pump, as the daemon recovers it."""
    bed.room.journal.close(write_rest=True)
    clock = VirtualClock()
    room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
    again = Bedside(room, device=bed.device, **options)
    again.ward.recover(room.journal.rows(bed=again.name))
    return again


class Disk:
    """A commit that can be blocked, as a hung disk does."""

    def __init__(self) -> None:
        self.blocked = False

    def __call__(self, connection: sqlite3.Connection) -> None:
        if self.blocked:
            raise sqlite3.OperationalError("disk I/O error")
        connection.commit()


def room_with(disk: Disk, path: Path) -> Room:
    clock = VirtualClock()
    return Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False, commit=disk))


@pytest.mark.shows("S9", "S13", "H26")
async def test_with_the_journal_blocked_a_stop_leaves_at_once(tmp_path: Path) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        disk.blocked = True
        await bed.until(lambda: "journal_unavailable" in bed.alarms, within_s=4)
        assert bed.truth["infusing"], "the running infusion is supervised on"
        await asyncio.sleep(60)
        assert bed.phase == "running"
        ordered_at = bed.room.clock.wire()
        stopped = await bed.order("session.stop")
        assert stopped["state"] == "done"
        assert next(at for at, data in bed.port.written if at >= ordered_at and b"STP" in data) - ordered_at < 0.05
        assert not bed.truth["infusing"]


@pytest.mark.shows("S9", "S13")
async def test_with_the_journal_blocked_a_raised_rate_is_still_set_back(tmp_path: Path) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        await bed.running()
        disk.blocked = True
        await asyncio.sleep(60)
        bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.66), within_s=2.2)
        assert "rate_above_plan" in bed.alarms
        assert bed.room.sounds["one"] == "high"


@pytest.mark.shows("S9")
async def test_with_the_journal_blocked_start_and_resume_are_refused(tmp_path: Path) -> None:
    disk = Disk()
    bed = Bedside(room_with(disk, tmp_path / "j.sqlite3"))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        disk.blocked = True
        refused = await bed.order("session.start", confirm=True)
        assert refused["reason"] == "journal_unavailable"
        assert starts(bed) == 0
        disk.blocked = False
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        await bed.until_session(120)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        disk.blocked = True
        refused = await bed.order("session.resume", confirm=True)
        assert refused["reason"] == "journal_unavailable"
        assert starts(bed) == 1
        assert bed.phase == "paused"


class Poison:
    """Breaks the decisions of one bed: it raises, or never comes back."""

    def __init__(self, victim: str, how: str) -> None:
        self.victim, self.how = victim, how
        self.active = False

    def __call__(self, state: State, event: ev.Event, now: float) -> Decision:
        if self.active and state.session_id == self.victim and isinstance(event, ev.PumpReported):
            while self.how == "hangs":
                pass
            raise RuntimeError("a fault in the decision")
        return decide(state, event, now)


@pytest.mark.shows("S16", "H49", "H52")
@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_bed_whose_decision_fails_stops_its_pump_and_only_its_pump(how: str, monkeypatch: Any) -> None:
    room = Room()
    sick, well = Bedside(room, "sick"), Bedside(room, "well")
    async with ward(sick, well):
        await sick.running()
        await well.running()
        await well.until_session(60)
        poison = Poison(sick.state.session_id, how)
        monkeypatch.setattr(bed_module, "decide", poison)
        polls = len(well.port.sent)
        began = room.clock.wire()
        poison.active = True
        await sick.until(lambda: not sick.truth["infusing"], within_s=6)
        poison.active = False
        await asyncio.sleep(max(0.0, began + 20 - room.clock.wire()))
        assert "bed_failed" in sick.alarms
        assert "bed_failed" not in well.alarms
        gaps = [
            later - earlier
            for (earlier, _), (later, _) in zip(well.port.written[polls:], well.port.written[polls + 1 :], strict=False)
        ]
        assert max(gaps) < 1.1, "the other bed missed no poll"
        await sick.until(lambda: sick.phase == "paused", within_s=10)
        assert starts(sick) == 1
        await well.until(lambda: well.phase == "observing", step_s=1)
        assert well.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert well.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S16")
async def test_a_bed_that_fails_too_often_is_only_watched_until_a_person_clears_it(monkeypatch: Any) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        poison = Poison(bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        poison.active = True
        await bed.until(lambda: "monitor_only" in bed.alarms, within_s=30)
        assert not bed.truth["infusing"]
        refused = await bed.order("session.resume", confirm=False)
        assert refused["reason"] == "not_allowed"
        assert (await bed.order("pump.stop"))["state"] == "done", "a person can always stop it"
        poison.active = False
        alarm = next(alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "monitor_only")
        assert (await bed.order("alarm.reset", alarm_id=alarm.alarm_id))["state"] == "done"
        await bed.until(lambda: not bed.ward.bed.monitor_only and bed.phase == "paused", within_s=20)


# --- only watched -----------------------------------------------------------------------------------------------------


async def only_watched(bed: Bedside, monkeypatch: Any) -> None:
    """Three failures; then deciding would work again, but nobody has cleared the alarm."""
    await bed.running()
    poison = Poison(bed.state.session_id, "raises")
    monkeypatch.setattr(bed_module, "decide", poison)
    poison.active = True
    await bed.until(lambda: "monitor_only" in bed.alarms, within_s=30)
    poison.active = False
    await bed.until(lambda: bed.state.report is not None, within_s=10)


async def clear_monitor_only(bed: Bedside) -> None:
    alarm = next(alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "monitor_only")
    assert (await bed.order("alarm.reset", alarm_id=alarm.alarm_id))["state"] == "done"


@pytest.mark.shows("S7", "S16")
async def test_only_watched_the_pumps_own_new_alarm_is_shown_and_sounds(monkeypatch: Any) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await only_watched(bed, monkeypatch)
        bed.key("run")
        await bed.until(lambda: bed.truth["infusing"], within_s=5)
        for alarm in bed.ward.bed.alarms.board.alarms:
            await bed.order("alarm.ack", alarm_id=alarm.alarm_id)
        assert bed.room.sounds["one"] is None
        bed.do("stall")
        await bed.until(lambda: "motor_stalled" in bed.alarms, within_s=5)
        assert bed.room.sounds["one"] == "high"
        assert bed.ward.bed.monitor_only
        await clear_monitor_only(bed)
        await bed.until(lambda: not bed.ward.bed.monitor_only, within_s=5)
        assert "motor_stalled" in bed.state.told, "whoever judges next has to know why it stands"


@pytest.mark.shows("S7", "S16")
async def test_only_watched_a_pump_that_falls_silent_is_told(monkeypatch: Any) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await only_watched(bed, monkeypatch)
        assert "comms_lost_pump" not in bed.alarms
        bed.port.plug_out()
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=4)
        assert bed.state.report is None


@pytest.mark.shows("S5", "S10", "S16")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop"])
async def test_a_stop_ordered_while_only_watched_is_owed_by_the_next_process(
    verb: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """S5: journaled, so that a crash does not forget it."""
    path = tmp_path / "journal.sqlite3"
    clock = VirtualClock()
    bed = Bedside(Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False)), mode="basic")
    async with ward(bed):
        await only_watched(bed, monkeypatch)
        bed.key("run")
        bed.port.plug_out()
        assert (await bed.order(verb, wait_s=1))["state"] == "unknown"
    assert bed.truth["infusing"]
    again = born_again(bed, path, mode="basic")
    async with ward(again):
        await again.until(lambda: not again.truth["infusing"], within_s=5)
        assert again.ward.bed.monitor_only
        await clear_monitor_only(again)
        phase = {"session.stop": "observing", "session.pause": "paused", "pump.stop": "paused"}[verb]
        await again.until(lambda: again.phase == phase, within_s=20)
        assert not again.truth["infusing"]
    third = born_again(again, path, mode="basic")
    assert third.state.halt is None
    assert list(third.ward.bed.owed) == [], "decided once is decided"


async def test_a_stop_that_was_read_back_while_only_watched_is_not_sent_again(tmp_path: Path, monkeypatch: Any) -> None:
    """Whoever finishes the session at the keypad is not stopped by an order of yesterday."""
    path = tmp_path / "journal.sqlite3"
    clock = VirtualClock()
    bed = Bedside(Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False)), mode="basic")
    async with ward(bed):
        await only_watched(bed, monkeypatch)
        bed.key("run")
        assert (await bed.order("session.stop"))["state"] == "done"
        bed.key("run")
        await asyncio.sleep(2)
        assert bed.truth["infusing"]
    again = born_again(bed, path, mode="basic")
    async with ward(again):
        await asyncio.sleep(10)
        assert again.truth["infusing"]
        assert orders_in(again) == []
        await clear_monitor_only(again)
        await again.until(lambda: again.phase == "observing", within_s=20)
        assert not again.truth["infusing"], "the session it was meant for ends with whoever clears the alarm"


@pytest.mark.shows("S5", "S16")
async def test_a_bed_that_can_decide_nothing_at_all_is_watched_and_takes_a_stop(monkeypatch: Any) -> None:
    bed = Bedside(Room())

    def broken(*_: object) -> Decision:
        raise RuntimeError("nothing can be decided")

    async with ward(bed):
        await bed.running()
        monkeypatch.setattr(bed_module, "decide", broken)
        await bed.until(lambda: bed.ward.bed.dead, within_s=5, step_s=0.001)
        stopped = asyncio.create_task(bed.order("session.stop", wait_s=10))
        await bed.until(lambda: bed.ward.bed.monitor_only, within_s=10)
        assert (await stopped)["state"] == "done"
        assert not bed.truth["infusing"]
        await asyncio.sleep(60)
        alarm = next(alarm for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "bed_failed")
        assert alarm.count == RESTARTS_MAX, "it is left in peace"
        assert bed.state.report is not None, "what the pump says is shown"


@pytest.mark.shows("S16")
async def test_a_link_that_fails_is_taken_up_again_and_no_other_bed_notices(monkeypatch: Any) -> None:
    room = Room()
    sick, well = Bedside(room, "sick"), Bedside(room, "well", address=1)
    async with ward(sick, well):
        await sick.running()
        await well.running()
        polls = len(well.port.sent)

        async def broken(*_: object) -> None:
            raise RuntimeError("a fault in the link")

        monkeypatch.setattr(sick.ward.link, "_stay_connected", broken)
        sick.port.plug_out()
        sick.port.plug_in()
        await sick.until(lambda: {"bed_failed", "comms_lost_pump"} <= sick.alarms, within_s=10)
        monkeypatch.undo()
        await sick.until(lambda: sick.state.sight.value == "seeing", within_s=20)
        gaps = pairwise([at for at, _ in well.port.written[polls:]])
        assert max(later - earlier for earlier, later in gaps) < 1.1
        assert well.phase == "running"
        assert "bed_failed" not in well.alarms


# --- a bed that stands silently ---------------------------------------------------------------------------------------


@pytest.mark.shows("S16")
async def test_a_start_that_was_read_back_is_guarded_before_the_first_poll(monkeypatch: Any) -> None:
    """In Basic mode no watchdog would end what nobody judges."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.armed()

        async def never(_bed: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(bed_module.Bed, "_read", never)
        monkeypatch.setattr(bed_module.Bed, "pulse", lambda _bed: None)
        assert (await bed.order("session.start", confirm=True))["state"] == "done"
        assert await bed.until(lambda: not bed.truth["infusing"], within_s=SILENT_S) <= bed_module.LEASE_S + 0.5


@pytest.mark.shows("S16", "beyond:SILENT_S")
async def test_a_bed_whose_poll_hangs_stops_its_pump_and_comes_back(monkeypatch: Any) -> None:
    room = Room()
    sick, well = Bedside(room, "sick"), Bedside(room, "well", address=1)
    async with ward(sick, well):
        await sick.running()
        await well.running()
        polls = len(well.port.sent)

        async def hang() -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(sick.ward.bed, "_read", hang)
        await sick.until(lambda: "bed_failed" in sick.alarms, within_s=SILENT_S + 3)
        await sick.until(lambda: not sick.truth["infusing"], within_s=2)
        await sick.until(lambda: sick.phase == "paused" and sick.state.sight.value == "seeing", within_s=10)
        gaps = pairwise([at for at, _ in well.port.written[polls:]])
        assert max(later - earlier for earlier, later in gaps) < 1.1
        assert well.phase == "running"


@pytest.mark.shows("S16", "within:SILENT_S")
@pytest.mark.parametrize("how", ["plugged out", "mute", "delayed", "noisy", "loop"])
async def test_a_bad_line_or_a_gap_of_the_loop_is_no_silent_bed(how: str) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        match how:
            case "plugged out":
                bed.port.plug_out()
            case "mute":
                bed.do("mute")
            case "delayed":
                bed.do("fault", kind="delay", delay_s=0.6)
            case "noisy":
                bed.do("fault", kind="garbage", probability=0.3)
            case _:
                loop: Any = asyncio.get_running_loop()
                loop._virtual.now += 600.0
        for _ in range(6):
            await bed.order("session.arm", patient_ref="p-1", checklist=[], wait_s=1)
            await asyncio.sleep(10)
        assert "bed_failed" not in bed.raised
