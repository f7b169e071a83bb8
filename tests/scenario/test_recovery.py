"""The daemon dies at some moment and comes back: same or safer state, and never a second start (S10, S11)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pumpd.records.journal import Journal
from pumpd.records.takeover import past_of
from pumpd.testing import VirtualClock
from simulator.device import Device
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.test_blind import orders_in, starts


class OtherBoot(VirtualClock):
    """The machine was restarted: wire time begins anew."""

    def __init__(self) -> None:
        super().__init__(boot_id="another boot")


def born_again(bed: Bedside, path: Path, clock: VirtualClock | None = None) -> Bedside:
    """A new process on the same journal and the same pump."""
    bed.room.journal.close(write_rest=True)
    clock = clock or VirtualClock()
    room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
    again = Bedside(room, device=bed.device)
    again.ward.recover(past_of(room.journal, again.name))
    return again


def journaled(path: Path) -> Room:
    clock = VirtualClock()
    return Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False))


@pytest.mark.shows("S10", "S11", "H61")
@pytest.mark.parametrize("gap_s", [0.1, 3.0, 8.0])
async def test_dead_for_less_than_the_watchdog_it_goes_on_without_a_second_start(tmp_path: Path, gap_s: float) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    await asyncio.sleep(gap_s)
    again = born_again(bed, path)
    assert again.phase == "recovering"
    async with ward(again):
        await again.until(lambda: again.phase == "running", within_s=2.0)
        assert "daemon_restarted" in again.raised
        assert orders_in(again) == []
        await again.until(lambda: again.phase == "observing", step_s=1)
        assert starts(again) == 0
        assert again.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert again.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S3", "S10", "H61")
async def test_dead_for_longer_the_pump_has_stopped_and_resume_is_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    await asyncio.sleep(60)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "paused", within_s=5)
        assert "pump_watchdog_expired" in again.alarms
        await asyncio.sleep(30)
        assert starts(again) == 0
        resumed = await again.order("session.resume", confirm=True)
        assert resumed["state"] == "done", resumed
        await again.until(lambda: again.phase == "observing", step_s=1)
        assert again.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert again.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S5")
async def test_a_stop_that_was_owed_is_sent_after_the_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), mode="basic")
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        bed.port.plug_out()
        await asyncio.sleep(1)
        await bed.order("session.stop", wait_s=0.5)
    again = born_again(bed, path)
    again = Bedside(again.room, device=bed.device, mode="basic")
    last = again.room.journal.last_session(again.name)
    first = next(again.room.journal.rows(session_id=last, bed=again.name))
    again.ward.recover(again.room.journal.rows(bed=again.name, since=first.seq - 1))
    assert again.phase == "ending"
    assert again.state.halt is not None
    async with ward(again):
        await again.until(lambda: again.state.halt is None, within_s=5)
        assert orders_in(again)[0] == b"STP"
        assert not again.truth["infusing"]


@pytest.mark.shows("S11")
async def test_after_a_reboot_an_infusing_pump_is_paused_and_resume_is_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    again = born_again(bed, path, OtherBoot())
    async with ward(again):
        await again.until(lambda: again.phase == "paused" and again.state.halt is None, within_s=5)
        assert not again.truth["infusing"]
        assert starts(again) == 0


async def test_an_armed_pump_must_be_armed_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
    again = born_again(bed, path)
    async with ward(again):
        assert again.phase == "planned"
        assert starts(again) == 0


@pytest.mark.shows("S10", "S4", "H61")
async def test_killed_between_the_start_order_and_its_read_back_it_asks_the_pump(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        waiting = asyncio.create_task(bed.order("session.start", confirm=True))
        await bed.until(lambda: starts(bed) == 1, within_s=2, step_s=0.001)
        bed.ward.bed.dead = True  # whatever the pump answers now is never heard
        waiting.cancel()
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase in ("running", "paused", "planned"), within_s=5)
        assert starts(again) == 0
        assert (again.phase == "running") == again.truth["infusing"]


async def killed_after(bed: Bedside, bytes_sent: bytes, verb: str, **args: Any) -> None:
    """The bed is dead once the pump has got these bytes; what it answers is never heard."""
    known = len(bed.port.sent)
    waiting = asyncio.create_task(bed.order(verb, **args))
    await bed.until(lambda: any(bytes_sent in data for data in bed.port.sent[known:]), within_s=5, step_s=0.0)
    bed.ward.bed.dead = True
    waiting.cancel()


async def test_after_a_reboot_in_the_middle_of_a_start_the_pump_does_not_go_on_without_a_person(tmp_path: Path) -> None:
    """S11: how long it ran nobody knows, whatever was ordered a moment before."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        await killed_after(bed, b"RUN", "session.start", confirm=True)
    assert bed.truth["infusing"]
    again = born_again(bed, path, OtherBoot())
    async with ward(again):
        await again.until(lambda: again.phase == "paused" and again.state.halt is None, within_s=5)
        assert not again.truth["infusing"]
        assert "daemon_restarted" in again.alarms
        assert (await again.order("session.resume", confirm=True))["state"] == "done"


@pytest.mark.parametrize("sent", [b"SAF", b"DIA19", b"PHN2", b"VOL"])
async def test_killed_while_another_container_is_set_it_knows_its_pump_and_sets_it_again(
    sent: bytes, tmp_path: Path
) -> None:
    """S15: the new diameter and a counter at zero are our own doing, not another pump."""
    path = tmp_path / "journal.sqlite3"
    other = {"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 20}
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(1500)
        assert (await bed.order("session.pause"))["state"] == "done"
        await killed_after(bed, sent, "session.container", container=other)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.state.sight.value == "seeing", within_s=2)
        assert "pump_not_proved" not in again.raised
        assert not again.truth["infusing"]
        await asyncio.sleep(2)
        assert (await again.order("session.container", container=other))["state"] == "done"
        assert (await again.order("session.resume", confirm=True))["state"] == "done"
        await again.until(lambda: again.phase == "observing", step_s=1)
        assert again.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert again.given <= PLANNED_ML + 1e-9


async def test_an_alarm_of_the_patient_before_still_stands_after_a_restart(tmp_path: Path) -> None:
    """S10: nobody has reset it, and a new plan is no reset."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("stall")
        await bed.until(lambda: bed.phase == "paused", within_s=5)
        await bed.order("session.end")
        await bed.until(lambda: bed.phase == "observing", within_s=5)
        await bed.order("session.end")
        await bed.order("session.release")
        assert (await bed.planned())["state"] == "done"
        stood = [alarm.alarm_id for alarm in bed.ward.bed.alarms.board.alarms if alarm.code == "motor_stalled"]
        assert len(stood) == 1
    again = born_again(bed, path)
    async with ward(again):
        assert [
            alarm.alarm_id for alarm in again.ward.bed.alarms.board.alarms if alarm.code == "motor_stalled"
        ] == stood
        assert (await again.order("alarm.reset", alarm_id=stood[0]))["state"] == "done"
    once_more = born_again(again, path)
    assert "motor_stalled" not in once_more.alarms, "reset once, it is over for good"


async def test_a_pump_that_waits_for_the_rest_of_a_cut_question_is_asked_again_and_goes_on(tmp_path: Path) -> None:
    """The first questions after the restart are lost on it: no reason to leave it alone until its watchdog stops it."""
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    bed.device.receive(b"\x02\x08", bed.room.clock.wire())
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "running", within_s=5)
        assert again.truth["infusing"]
        await asyncio.sleep(15)
        assert again.phase == "running"
        assert starts(again) == 0


async def test_killed_before_the_new_diameter_was_set_another_pump_of_the_old_size_does_not_pass(
    tmp_path: Path,
) -> None:
    """S15: only a diameter that was really set excuses a counter that has fallen."""
    path = tmp_path / "journal.sqlite3"
    other = {"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 20}
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(1500)
        assert (await bed.order("session.pause"))["state"] == "done"
        await killed_after(bed, b"SAF", "session.container", container=other)
    bed.device = Device(mode="safe")  # somebody plugs in the pump of the next bed, which also holds a BD 60
    bed.device.advance(bed.room.clock.wire())
    bed.device._panel.acknowledge()  # it was switched on long ago
    again = born_again(bed, path)
    living = asyncio.create_task(again.ward.run())
    await asyncio.sleep(10)
    assert "pump_not_proved" in again.alarms
    assert again.state.sight.value == "verifying"
    assert orders_in(again) == []
    living.cancel()
    with suppress(asyncio.CancelledError):
        await living
