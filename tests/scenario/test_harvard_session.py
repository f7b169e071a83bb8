"""Sessions on a Harvard pump: what its command set leaves open must not change the dose."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.desk import CHECKLIST
from pumpd.records.journal import Journal
from pumpd.records.takeover import past_of
from pumpd.testing import VirtualClock
from simulator.families.harvard_invented import Invented
from tests.bedside import PATIENT, PLANNED_ML, Bedside, Room, ward
from tests.families import KINDS


def bed_with(room: Room | None = None, speed: float = 1.0, **invented: Any) -> Bedside:
    return Bedside(room or Room(), family="harvard", speed=speed, invented=Invented(**invented))


async def whole_session(bed: Bedside) -> None:
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        await bed.order("session.end")
        await bed.order("session.release")


CHOICES: list[dict[str, Any]] = [
    {},
    {"values_rescale": False, "poll_answer_has_blank": False},
    {"run_past_target": "error", "stop_clears_stall": True},
    {"run_past_target": "again", "targets_survive_power_cut": True},
    {"run_while_running_is_refused": False, "run_after_rate_shows_idle": False},
    {"target_while_running": True, "clear_while_running": False},
    {"diameter_clears_rates": False, "status_shows_set_rate": False},
    {"touch_closes_line": False, "keypad_is_announced": False},
    {"poll_survives_power_cut": True, "counters_survive_power_cut": True},
    {"reply_delay_s": 0.05},
]


@pytest.mark.shows("S6", "H1")
@pytest.mark.parametrize("choices", CHOICES, ids=lambda choices: " ".join(choices) or "default")
async def test_the_planned_dose_goes_in_whatever_the_documents_leave_open(choices: dict[str, Any]) -> None:
    bed = bed_with(speed=20.0, **choices)
    await whole_session(bed)
    assert bed.phase == "ended"
    assert bed.state.released
    assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
    assert bed.given <= PLANNED_ML + 1e-9
    assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=0.001)
    assert bed.raised == ["near_end"]
    assert len([data for data in bed.port.sent if b"irun" in data]) == 1


@pytest.mark.parametrize("series", ["legato", "elite", "ultra"])
async def test_each_series_is_understood(series: str) -> None:
    bed = Bedside(Room(), family="harvard", speed=20.0, series=series)
    await whole_session(bed)
    assert bed.phase == "ended"
    assert bed.raised == ["near_end"]


@pytest.mark.shows("S1")
async def test_both_bounds_stand_in_the_pump_before_it_runs_and_the_smallest_after_the_end() -> None:
    bed = bed_with(run_past_target="again")
    async with ward(bed):
        await bed.running()
        assert (bed.truth["limit_ml"], bed.truth["limit_s"]) == (35.0, 7980.0)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert (bed.truth["limit_ml"], bed.truth["infused_ml"]) == (0.001, 0.0)
        done = bed.given
        for key in ("run", "run", "clear", "run"):
            bed.key(key)
            await asyncio.sleep(30)
            assert not bed.truth["infusing"]
        assert bed.given <= done + 4 * 0.001 + 1e-9


@pytest.mark.shows("S1", "H6")
async def test_the_pump_alone_ends_the_dose_when_nobody_watches_any_more() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    await asyncio.sleep(3600)
    assert not bed.truth["infusing"]
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.001)
    assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S1", "S6")
async def test_a_pause_and_a_resume_bound_what_is_left() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(900)
        assert (await bed.order("session.pause"))["state"] == "done"
        assert not bed.truth["infusing"]
        await asyncio.sleep(60)
        resumed = await bed.order("session.resume", confirm=True)
        assert resumed["state"] == "done", resumed
        assert bed.truth["limit_ml"] == pytest.approx(35, abs=0.02)
        assert bed.truth["limit_ml"] <= 35
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.01)
    assert bed.given <= PLANNED_ML + 1e-9
    assert bed.raised == ["near_end"]


@pytest.mark.shows("S2", "H1")
@pytest.mark.parametrize("shares", [(20, 80), (60, 40)])
async def test_steps_of_a_plan_follow_each_other_up_and_down(shares: tuple[int, int]) -> None:
    bed = bed_with()
    async with ward(bed):
        first, second = shares
        steps = [{"duration_min": 15, "share_pct": first}, {"duration_min": 30, "share_pct": second}]
        await bed.running(steps=steps)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.02)
    assert bed.given <= PLANNED_ML + 1e-9
    assert bed.raised == ["near_end"]


@pytest.mark.shows("S2")
async def test_a_lower_rate_ordered_in_the_middle_is_not_cut_off_by_the_target_time() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(1200)
        assert (await bed.order("rate.set", confirm=False, rate_ml_h="30"))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1, within_s=10_000)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.01)


@pytest.mark.shows("S2", "H9")
async def test_a_rate_raised_at_the_keypad_is_set_down() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.key("rate_up")
        await bed.until(lambda: "rate_above_plan" in bed.raised, within_s=10)
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.666), within_s=10)
        assert bed.phase == "running"


@pytest.mark.shows("S3")
async def test_a_stop_at_the_keypad_is_told_and_a_start_there_goes_on_within_the_same_bound() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=10)
        assert "stopped_at_pump" in bed.alarms
        await asyncio.sleep(10)
        bed.key("run")
        await bed.until(lambda: bed.phase == "running", within_s=10)
        assert "restarted_at_keypad" in bed.alarms
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("H14", "S3")
async def test_an_occlusion_stalls_the_motor_and_is_told_as_such() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("occlude")
        await bed.until(lambda: "motor_stalled" in bed.alarms, within_s=600)
        assert bed.phase == "paused"
        bed.do("release")
        await asyncio.sleep(5)
        refused = await bed.order("session.resume", confirm=True)
        assert refused["state"] == "rejected", "pressure must be released away from the patient first"
        resumed = await bed.order("session.resume", confirm=True, pressure_released=True)
        assert resumed["state"] == "done", resumed
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S5")
@pytest.mark.parametrize("touched", [False, True])
async def test_a_stop_is_carried_out_at_once_though_somebody_touched_the_screen(touched: bool) -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        await asyncio.sleep(0.5)
        if touched:
            bed.key("menu")
        began = bed.room.clock.wire()
        ordered = asyncio.create_task(bed.order("session.stop"))
        await bed.until(lambda: not bed.truth["infusing"], within_s=5, step_s=0.01)
        assert bed.room.clock.wire() - began < 0.3
        assert (await ordered)["state"] == "done"
        assert "stop_not_confirmed" not in bed.raised


@pytest.mark.shows("S7")
async def test_a_touch_of_the_screen_blinds_nobody() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        for _ in range(5):
            await asyncio.sleep(7.3)
            bed.key("menu")
            await asyncio.sleep(5)
            bed.key("home")
        await asyncio.sleep(5)
        assert bed.phase == "running"
        assert bed.raised == []


@pytest.mark.shows("S1", "S6")
async def test_a_counter_that_is_cleared_at_the_screen_gives_no_second_dose() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(1500)
        bed.key("clear")
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.2)
    assert bed.given <= PLANNED_ML + 0.05
    assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=0.1)


@pytest.mark.shows("S3", "S10")
async def test_a_power_cut_ends_the_run_and_the_session_can_be_resumed() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        bed.do("power_off")
        await asyncio.sleep(5)
        bed.do("power_on")
        await bed.until(lambda: bed.phase == "paused", within_s=60)
        given = bed.given
        resumed = await bed.order("session.resume", confirm=True)
        assert resumed["state"] == "done", resumed
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert given < bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S4", "S1")
async def test_a_pump_that_keeps_only_one_target_is_never_started() -> None:
    bed = bed_with(one_target_only=True)
    async with ward(bed):
        armed = await bed.armed()
        assert armed["state"] == "failed"
        assert "target" in armed["text"]
    assert bed.given == 0


@pytest.mark.shows("S2", "H9")
async def test_a_firmware_that_takes_no_rate_while_it_runs_is_stopped_instead() -> None:
    bed = bed_with(rate_while_running_is_refused=True)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=60)
        await bed.until(lambda: not bed.truth["infusing"], within_s=10)
        assert "rate_not_set" in bed.raised


async def test_a_pump_found_with_its_replies_unended_is_read_after_the_release_and_stays_so() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert (await bed.order("session.release"))["state"] == "done"
        bed.do("power_off")
        await asyncio.sleep(5)
        bed.do("power_on")
        await bed.until(lambda: bed.ward.bed.link.ready, within_s=30)
        before = len(bed.port.sent)
        await asyncio.sleep(10)
        assert set(bed.port.sent[before:]) == {b"ivolume\r", b"irate\r", b"status\r"}
        assert "poll on" not in b"".join(bed.port.sent[before:]).decode()


@pytest.mark.shows("S15")
async def test_a_configured_serial_number_is_asked_of_a_pump_whose_replies_are_unended() -> None:
    bed = Bedside(Room(), family="harvard", serial_number="D101754")
    async with ward(bed):
        await bed.running()
        assert bed.truth["poll"] == "on"
    other = Bedside(Room(), family="harvard", serial_number="D999999")
    other_task = asyncio.create_task(other.ward.run())
    await asyncio.sleep(30)
    other_task.cancel()
    await asyncio.gather(other_task, return_exceptions=True)
    assert other.truth["poll"] == "off"
    assert other.state.report is None


@pytest.mark.shows("S15")
@pytest.mark.parametrize("silent", [False, True])
async def test_a_pump_of_a_chain_gives_its_dose_though_it_acknowledges_nothing(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setitem(KINDS, "harvard", replace(KINDS["harvard"], settings={"address": 7}, options={"address": 7}))
    bed = bed_with(chained_sets_are_silent=silent)
    async with ward(bed):
        assert (await bed.planned())["state"] == "done"
        armed = await bed.order("session.arm", wait_s=60, patient_ref=PATIENT, checklist=list(CHECKLIST))
        assert armed["state"] == "done", armed
        started = await bed.order("session.start", confirm=True, wait_s=60)
        assert started["state"] == "done", started
        await bed.until_session(300)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(60)
        assert (await bed.order("session.resume", confirm=True, wait_s=60))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.05)
    assert bed.given <= PLANNED_ML + 1e-9


# --- what only this family has ----------------------------------------------------------------------------------------


@pytest.mark.shows("S2")
async def test_an_armed_pump_cannot_be_made_to_withdraw_at_its_keypad() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.key("stop")
        bed.key("reverse")
        assert bed.device.control({"do": "press", "key": "run"})["ok"] is False, "arming left infusion only"


@pytest.mark.shows("H14")
@pytest.mark.parametrize(("way", "code"), [("infuse", "motor_stalled"), ("withdraw", None)])
async def test_a_limit_switch_is_told_where_it_ends_an_infusion(way: str, code: str | None) -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("limit_switch", way=way)
        await asyncio.sleep(10)
        assert (code in bed.raised) if code else bed.raised == []
        assert bed.truth["infusing"] is (code is None)


@pytest.mark.shows("S2", "S3")
async def test_a_foot_switch_starts_nothing_that_is_not_stopped_again() -> None:
    bed = bed_with()
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("foot", state="down")
        await bed.until(lambda: "infusing_against_plan" in bed.raised, within_s=10)
        await bed.until(lambda: not bed.truth["infusing"], within_s=10)
        assert bed.given < 0.1


@pytest.mark.shows("S1")
async def test_on_another_screen_the_end_is_told_as_not_secured_until_somebody_goes_back() -> None:
    bed = bed_with(run_past_target="again")
    async with ward(bed):
        await bed.running()
        await bed.until_session(2600)
        bed.key("menu")
        await bed.until(lambda: "limit_not_set" in bed.alarms, within_s=300)
        assert bed.phase == "ending"
        bed.key("home")
        await bed.until(lambda: bed.phase == "observing", within_s=30)
        assert "limit_not_set" not in bed.alarms
        assert (bed.truth["limit_ml"], bed.truth["infused_ml"]) == (0.001, 0.0)


@pytest.mark.shows("S1")
async def test_a_method_of_the_user_is_noticed_before_the_start() -> None:
    bed = bed_with()
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.key("method")
        await asyncio.sleep(3)
        started = await bed.order("session.start", confirm=True)
        assert started["state"] in ("failed", "rejected"), started
        assert bed.given == 0


# --- the program dies -------------------------------------------------------------------------------------------------


def journaled(path: Path) -> Room:
    clock = VirtualClock()
    return Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False))


def born_again(bed: Bedside, path: Path) -> Bedside:
    """A new process on the same journal and the same pump."""
    bed.room.journal.close(write_rest=True)
    clock = VirtualClock()
    room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
    again = Bedside(room, family="harvard", device=bed.device)
    again.ward.recover(past_of(room.journal, again.name))
    return again


@pytest.mark.shows("S10", "S6")
@pytest.mark.parametrize("gap_s", [0.5, 20.0, 900.0])
@pytest.mark.parametrize("paused", [False, True])
async def test_after_the_program_died_the_counter_still_tells_all_that_was_given(
    tmp_path: Path, gap_s: float, paused: bool
) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), family="harvard")
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        if paused:
            assert (await bed.order("session.pause"))["state"] == "done"
            await asyncio.sleep(30)
            assert (await bed.order("session.resume", confirm=True))["state"] == "done"
            await bed.until_session(900)
    await asyncio.sleep(gap_s)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "running", within_s=5)
        assert float(again.state.volumes.counted.value) == pytest.approx(again.given, abs=0.02)
        await again.until(lambda: again.phase == "observing", step_s=1)
        assert again.given == pytest.approx(PLANNED_ML, abs=0.05)
        assert again.given <= PLANNED_ML + 1e-9
        assert not [data for data in again.port.sent if b"irun" in data]


@pytest.mark.shows("S10", "S1")
async def test_dead_beyond_the_end_the_pump_has_ended_by_itself_and_the_dose_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), family="harvard")
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
    await asyncio.sleep(3600)
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "observing", within_s=30)
        assert again.given == pytest.approx(PLANNED_ML, abs=0.001)
        assert again.truth["limit_ml"] == 0.001


# --- the line ---------------------------------------------------------------------------------------------------------


@pytest.mark.shows("H9")
@pytest.mark.parametrize("seed", range(3))
async def test_changed_bytes_never_change_the_dose(seed: int) -> None:
    bed = Bedside(Room(), family="harvard", seed=seed)
    async with ward(bed):
        await bed.running()
        bed.do("fault", kind="flip", probability=0.0005)
        await bed.until(lambda: bed.phase != "running", step_s=1)
        bed.do("clear_faults")
        if bed.phase == "paused":
            await asyncio.sleep(10)
            await bed.order("session.resume", confirm=True, pressure_released=True)
        await bed.until(lambda: bed.phase in ("observing", "paused"), step_s=1)
    assert bed.given <= PLANNED_ML + 1e-9
    assert abs(float(bed.state.volumes.counted.value) - bed.given) < 0.1


@pytest.mark.shows("S7", "S15")
async def test_a_cable_pulled_for_a_minute_is_told_and_found_again() -> None:
    bed = bed_with()
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("disconnect")
        await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=10)
        await asyncio.sleep(60)
        bed.do("reconnect")
        await bed.until(lambda: bed.ward.bed.link.ready, within_s=10)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
    assert bed.given == pytest.approx(PLANNED_ML, abs=0.1)
    assert bed.given <= PLANNED_ML + 1e-9
    assert "pump_not_proved" not in bed.raised
