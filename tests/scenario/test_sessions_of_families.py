"""Whole sessions with pumps of clinics: driver and simulated pump, each written from the protocol alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpd.core.catalogue import WARNINGS
from pumpd.records.journal import Journal
from pumpd.records.takeover import past_of
from pumpd.testing import VirtualClock
from simulator.families import FAMILIES
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.alarm_life import over, raised, stopped

PUMPS = ("alaris", "perfusor", "infusomat")
COUNTED_ML = {"alaris": 0.001, "perfusor": 0.1, "infusomat": 0.1}  # the step of the pump's own counter
AT_THE_END = {"near_end", "pump_near_end"}  # all that a good session tells
# The rest of a dose is rounded down to the limit's step, so such a pump may come to its limit before it is stopped.
KEEPS_THE_VEIN_OPEN = {"alaris": (), "perfusor": ("plan_limit_reached",), "infusomat": ("plan_limit_reached",)}
WATCHDOG_S = 15.0  # Alaris; B. Braun has none that stops it

every_pump = pytest.mark.parametrize("pump", PUMPS)


async def to_the_end(bed: Bedside) -> None:
    await bed.until(lambda: bed.phase == "observing", step_s=1)


def dose_is_in(bed: Bedside, pump: str) -> None:
    """All of it, nothing more, and the pump's own count agrees."""
    assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
    assert bed.given <= PLANNED_ML + 1e-9
    assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=COUNTED_ML[pump] + 1e-3)


async def resumed(bed: Bedside, **how: bool) -> None:
    answer = await bed.order("session.resume", confirm=True, **how)
    assert answer["state"] == "done", answer
    assert bed.truth["infusing"]


# --- the good case --------------------------------------------------------------------------------------------------


@pytest.mark.shows("S6", "H1", "H6")
@every_pump
async def test_the_planned_dose_goes_in_and_nothing_more(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await to_the_end(bed)
        dose_is_in(bed, pump)
        assert bed.state.elapsed == pytest.approx(35 / 46.6 * 3600, abs=2.0)
        assert bed.truth["plunger_ml_by"].keys() == {"wire"}
        assert set(bed.raised) <= AT_THE_END
        given = bed.given
        assert (await bed.order("session.end"))["state"] == "done"
        assert (await bed.order("session.release"))["state"] == "done"
        assert bed.given == given
        assert set(bed.raised) <= AT_THE_END


@pytest.mark.shows("S1")
@every_pump
async def test_after_the_end_the_smallest_limit_stays_in_the_pump(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await to_the_end(bed)
        done = bed.given
        bed.key("run")
        await bed.until(lambda: "infusing_against_plan" in bed.alarms, 3)
        await stopped(bed)
        assert bed.given <= done + 0.1 + 1e-9


@pytest.mark.shows("S10")
@every_pump
async def test_a_released_pump_is_left_alone(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await to_the_end(bed)
        assert (await bed.order("session.release"))["state"] == "done"
        before = len(bed.port.sent)
        bed.key("rate_up")
        bed.do("set_limit", ml=5.0)
        bed.do("set_rate", ml_h=20.0)
        bed.key("run")
        await bed.until(lambda: "infusing_after_release" in bed.alarms, 5)
        await asyncio.sleep(30)
        assert bed.truth["infusing"], "nobody stops it"
        assert "keypad_used" not in bed.raised
        assert not [sent for sent in bed.port.sent[before:] if orders(pump, sent)]


def orders(pump: str, sent: bytes) -> bool:
    """Whether these bytes are more than a question."""
    if pump == "alaris":
        return b"^" in sent or b"START" in sent or b"STOP" in sent or b"CLEAR" in sent
    return sent[2] >= 0x10


@pytest.mark.shows("S2", "H1")
@every_pump
async def test_several_steps_follow_each_other(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        steps = [{"duration_min": 15, "share_pct": 20}, {"duration_min": 30, "share_pct": 80}]
        await bed.running(steps=steps)
        assert bed.truth["rate_ml_h"] == pytest.approx(28.0)
        await bed.until_session(920)
        assert bed.truth["rate_ml_h"] == pytest.approx(56.0)
        await to_the_end(bed)
        dose_is_in(bed, pump)
        assert set(bed.raised) <= AT_THE_END


@pytest.mark.shows("S7")
@pytest.mark.parametrize(("pump", "baud", "delay_s"), [("alaris", 38400, 0.15), ("perfusor", 9600, 0.05)])
async def test_a_pump_that_takes_its_time_is_armed_and_run_without_being_lost(
    pump: str, baud: int, delay_s: float
) -> None:
    invented = FAMILIES[Bedside(Room(), family=pump).kind.family].invented(reply_delay_s=delay_s)
    bed = Bedside(Room(), family=pump, baud=baud, invented=invented)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(5)  # its limit is lowered meanwhile
        await resumed(bed)
        await asyncio.sleep(30)
        assert bed.raised == []


@pytest.mark.shows("H58")
async def test_an_alaris_whose_answers_are_missing_now_and_then_is_run_without_being_lost() -> None:
    bed = Bedside(Room(), family="alaris", invented=FAMILIES["alaris"].invented(unanswered_every=20))
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        assert bed.truth["infusing"]
        assert bed.raised == []


# --- orders ---------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S3", "S6")
@every_pump
async def test_paused_and_resumed_the_rest_goes_in(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        for at in (60, 120):
            await bed.until_session(at)
            assert (await bed.order("session.pause"))["state"] == "done"
            await stopped(bed)
            await asyncio.sleep(120)
            await resumed(bed)
        await to_the_end(bed)
        dose_is_in(bed, pump)
        assert set(bed.raised) <= AT_THE_END | {"pump_reminder", *KEEPS_THE_VEIN_OPEN[pump]}


@pytest.mark.shows("S5", "H11")
@every_pump
@pytest.mark.parametrize("verb", ["session.stop", "pump.stop"])
async def test_a_stop_stops(pump: str, verb: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        began = bed.room.clock.wire()
        assert (await bed.order(verb))["state"] == "done"
        assert bed.room.clock.wire() - began < 2.0
        assert not bed.truth["infusing"]
        await stopped(bed)
        assert "stop_not_confirmed" not in bed.raised


# --- the keypad -----------------------------------------------------------------------------------------------------


@pytest.mark.shows("S2")
@every_pump
async def test_a_rate_that_was_raised_at_the_keypad_is_set_down_and_told(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.key("rate_up")
        await raised(bed, "rate_above_plan")
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.6), 5)
        assert "keypad_used" in bed.raised
        assert bed.phase == "running"


@pytest.mark.shows("S3")
@every_pump
async def test_the_stop_key_is_seen_and_the_run_key_followed(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.key("stop")
        await raised(bed, "stopped_at_pump")
        await bed.until(lambda: bed.phase == "paused", 3)
        assert "keypad_used" in bed.raised
        await asyncio.sleep(20)
        bed.key("run")
        await raised(bed, "restarted_at_keypad")
        await bed.until(lambda: bed.phase == "running", 3)


@pytest.mark.shows("S2", "H6")
@every_pump
async def test_a_bolus_at_the_keypad_is_stopped(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        before = bed.given
        bed.key("bolus")
        await raised(bed, "unplanned_function")
        await stopped(bed)
        await bed.until(lambda: bed.phase == "paused", 3)
        assert bed.given - before < 1.0


@pytest.mark.shows("S2")
@every_pump
async def test_a_purge_of_a_pump_that_must_stand_is_stopped(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        bed.key("purge")
        await raised(bed, "infusing_against_plan")
        await stopped(bed)


# --- alarms ---------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S3", "H9")
@every_pump
async def test_an_occlusion_pauses_and_the_rest_goes_in_once_the_pressure_is_released(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("occlude")
        await raised(bed, "occlusion_downstream", within_s=900)
        await stopped(bed)
        await bed.until(lambda: bed.phase == "paused", 3)
        assert "stopped_at_pump" not in bed.raised, "one condition, one alarm"
        bed.do("release")
        bed.key("mute")
        refused = await bed.order("session.resume", confirm=True)
        assert (refused["state"], refused["reason"]) == ("rejected", "not_confirmed")
        await resumed(bed, pressure_released=True)


ALARMS = {  # what the back door raises: what is told. Warnings stop nothing, the others in STOPS do.
    "alaris": {
        "occlusion": "occlusion_downstream",
        "drive_disengaged": "syringe_not_seated",
        "syringe_not_seated": "syringe_not_seated",
        "internal_fault": "pump_fault",
        "battery_empty": "pump_battery_empty",
        "container_empty": "container_empty",
        "battery_low": "pump_battery_low",
        "mains_lost": "pump_on_battery",
        "near_end": "pump_near_end",
        "reminder": "pump_reminder",
    },
    "perfusor": {
        "syringe_not_seated": "syringe_not_seated",
        "container_empty": "container_empty",
        "occlusion": "occlusion_downstream",
        "battery_empty": "pump_battery_empty",
        "container_near_empty": "pump_near_end",
        "battery_low": "pump_battery_low",
        "reminder": "pump_reminder",
        "standby_over": "pump_reminder",
        "rate_invalid": "pump_program_error",
        "time_over": "pump_alarm_unknown",
        "pressure_low": "pump_alarm_unknown",
        "pca_button_missing": "pump_alarm_unknown",
        "pca_hourly_limit": "pump_alarm_unknown",
    },
    "infusomat": {
        "occlusion": "occlusion_downstream",
        "air_in_line": "air_in_line",
        "drop_sensor": "drop_sensor",
        "door_open": "pump_door_open",
        "battery_empty": "pump_battery_empty",
        "battery_low": "pump_battery_low",
    },
}
GO_ON = frozenset({"pump_program_error", "pump_alarm_unknown", *WARNINGS})


@pytest.mark.shows("H9", "H14")
@pytest.mark.parametrize(("pump", "name"), [(pump, name) for pump, names in ALARMS.items() for name in names])
async def test_an_alarm_of_the_pump_reaches_the_board_by_its_own_name(pump: str, name: str) -> None:
    bed = Bedside(Room(), family=pump)
    code = ALARMS[pump][name]
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("alarm", name=name)
        await raised(bed, code)
        await asyncio.sleep(5)
        goes_on = code in GO_ON
        assert bed.truth["infusing"] == goes_on
        assert bed.phase == ("running" if goes_on else "paused")
        assert [each for each in bed.raised if each != code] == [], "one condition, one alarm"
        if code in WARNINGS:
            bed.do("alarm_over", name=name)
            bed.key("mute")
            await over(bed, code)


@pytest.mark.shows("H9")
@pytest.mark.parametrize("code", ["AL_PRDSC", "AL_RHIGH", "AL_OTHER"])
async def test_an_alarm_that_nobody_knows_is_told_as_such(code: str) -> None:
    bed = Bedside(Room(), family="alaris")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("alarm_code", code=code)
        await raised(bed, "pump_alarm_unknown")
        await bed.until(lambda: bed.phase == "paused", 3)
        assert not bed.truth["infusing"]


@pytest.mark.shows("H9")
async def test_an_open_door_and_a_bubble_pause() -> None:
    bed = Bedside(Room(), family="infusomat")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("door", state="open")
        await raised(bed, "pump_door_open")
        await stopped(bed)
        await bed.until(lambda: bed.phase == "paused", 3)
        bed.do("door", state="closed")
        bed.key("mute")
        await resumed(bed)
        bed.do("air", ml=0.5)
        await raised(bed, "air_in_line", within_s=30)
        await stopped(bed)
        await bed.until(lambda: bed.phase == "paused", 3)


# --- what is fitted -------------------------------------------------------------------------------------------------


@pytest.mark.shows("H51")
async def test_a_syringe_of_another_size_is_not_armed() -> None:
    bed = Bedside(Room(), family="alaris", syringe_ml="20", fill_ml=20.0)
    async with ward(bed):
        answer = await bed.armed()
        assert (answer["state"], answer["reason"]) == ("failed", "differs")
        assert "syringe size: wanted 50 mL, pump says BD PLASTIPAK 20 ml" in answer["text"]
        assert not bed.truth["infusing"]


@pytest.mark.parametrize(("pump", "kind"), [("perfusor", "bag"), ("infusomat", "syringe"), ("alaris", "bag")])
async def test_what_does_not_fit_is_no_plan(pump: str, kind: str) -> None:
    bed = Bedside(Room(), family=pump)
    container = {"kind": kind, "make": "BD", "size_ml": 60, "fill_ml": 50}
    async with ward(bed):
        answer = await bed.planned(container=container)
        assert (answer["state"], answer["reason"]) == ("rejected", "limit")


@pytest.mark.shows("S14")
async def test_a_pump_that_gives_no_remote_control_is_watched() -> None:
    bed = Bedside(Room(), family="alaris", remote="off")
    async with ward(bed):
        answer = await bed.planned()
        assert (answer["state"], answer["reason"]) == ("rejected", "not_allowed")
        bed.do("set_rate", ml_h=20.0)
        bed.key("run")
        await bed.until(lambda: bed.room.paper.last("pump/one-pump/telemetry")["state"] == "infusing", 5)
        await asyncio.sleep(30)
        assert bed.truth["infusing"]
        assert bed.raised == []


# --- the line -------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S7")
@every_pump
async def test_a_cable_out_for_a_moment_changes_nothing(pump: str) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.port.plug_out()
        await asyncio.sleep(0.6)
        bed.port.plug_in()
        await asyncio.sleep(10)
        assert bed.truth["infusing"]
        assert bed.phase == "running"


@pytest.mark.shows("S7", "S16")
async def test_a_cable_out_for_longer_than_the_watchdog_stops_an_alaris() -> None:
    bed = Bedside(Room(), family="alaris")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.port.plug_out()
        given = bed.given
        await raised(bed, "comms_lost_pump", within_s=10)
        await asyncio.sleep(60)
        assert not bed.truth["infusing"], "its own watchdog"
        assert bed.given - given <= 46.6 / 3600 * (WATCHDOG_S + 2)
        bed.port.plug_in()
        await raised(bed, "pump_watchdog_expired", within_s=20)
        await bed.until(lambda: bed.phase == "paused", 5)
        bed.key("mute")
        await resumed(bed)
        await to_the_end(bed)
        dose_is_in(bed, "alaris")


@pytest.mark.shows("S7")
@pytest.mark.parametrize("pump", ["perfusor", "infusomat"])
@pytest.mark.parametrize("out_s", [5, 60])
async def test_a_cable_out_leaves_a_b_braun_to_itself_and_it_is_watched_on_and_ended(pump: str, out_s: int) -> None:
    bed = Bedside(Room(), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.port.plug_out()
        await raised(bed, "comms_lost_pump", within_s=10)
        await asyncio.sleep(out_s)
        assert bed.truth["infusing"], "whether it stops is not known: this one does not"
        bed.port.plug_in()
        await raised(bed, "pump_alarm_unknown", within_s=20)
        await asyncio.sleep(10)
        assert bed.phase == "running"
        assert "pump_watchdog_expired" not in bed.raised, "it did not stop"
        await to_the_end(bed)
        dose_is_in(bed, pump)


# --- the daemon -----------------------------------------------------------------------------------------------------


def journaled(path: Path) -> Room:
    clock = VirtualClock()
    return Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False))


def born_again(bed: Bedside, path: Path, pump: str) -> Bedside:
    """A new process on the same journal and the same pump."""
    bed.room.journal.close(write_rest=True)
    clock = VirtualClock()
    room = Room(seed=2, clock=clock, journal=Journal(path, clock.boot_id, threaded=False))
    again = Bedside(room, family=pump, device=bed.device)
    again.ward.recover(past_of(room.journal, again.name))
    return again


@pytest.mark.shows("S10", "S11", "H61")
@every_pump
@pytest.mark.parametrize("gap_s", [0.1, 5.0])
async def test_a_new_daemon_takes_the_session_up_without_a_second_start(
    tmp_path: Path, pump: str, gap_s: float
) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), family=pump)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
    await asyncio.sleep(gap_s)
    again = born_again(bed, path, pump)
    async with ward(again):
        await again.until(lambda: again.phase == "running", within_s=5.0)
        assert "daemon_restarted" in again.raised
        await to_the_end(again)
        starts = {"alaris": b"START", "perfusor": b"\x11\x00\x01", "infusomat": b"\x11\x00\x01"}[pump]
        assert not [sent for sent in again.port.sent if starts in sent]
        dose_is_in(again, pump)


@pytest.mark.shows("S3", "S10", "H61")
async def test_a_daemon_that_was_dead_for_long_finds_an_alaris_stopped(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    bed = Bedside(journaled(path), family="alaris")
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
    await asyncio.sleep(60)
    again = born_again(bed, path, "alaris")
    async with ward(again):
        await again.until(lambda: again.phase == "paused", within_s=5)
        assert "pump_watchdog_expired" in again.alarms
        again.key("mute")
        await resumed(again)
