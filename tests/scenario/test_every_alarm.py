"""Each alarm of the pump and of the volumes: its cause is brought about, the pump is looked at, the cause goes.

The alarms of the program itself are in test_every_alarm_of_ours.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from pumpd.driver import Dialogue, PumpAlarm, PumpReport, Refused
from pumpd.line.link import PumpTold
from pumpd.line.talk import UNASKED_TIMES
from pumpd.units import Ml
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.scenario.alarm_life import held, over, raised, stopped

PLANNED_S = 35 / 46.66 * 3600


def refuses(*_: object) -> Dialogue[None]:
    """A pump that says no."""
    raise Refused("not now")
    yield


async def just_read(bed: Bedside) -> None:
    """The next reading is in, and the one after it nearly a second away."""
    polls = len(bed.port.sent)
    await bed.until(lambda: len(bed.port.sent) > polls, 2, 0.01)
    await asyncio.sleep(0.1)


async def resume(bed: Bedside, **changes: object) -> None:
    await bed.until(lambda: bed.state.halt is None and bed.state.pending is None, 10)
    await asyncio.sleep(2)
    answer = await bed.order("session.resume", confirm=True, **changes)
    assert answer["state"] == "done", answer


# --- the rate ---


@pytest.mark.shows("raised:rate_above_plan", "over:rate_above_plan", "H4", "H15", "H19")
async def test_rate_above_plan() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=60.0)
        await raised(bed, "rate_above_plan")
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.66), 2)
        await over(bed, "rate_above_plan")
        assert bed.truth["infusing"]


@pytest.mark.shows("raised:rate_not_set", "over:rate_not_set", "H4", "H19", "H59")
async def test_rate_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        with monkeypatch.context() as patch:
            patch.setattr(bed.site.pump, "set_rate", refuses)
            bed.do("set_rate", ml_h=60.0)
            await raised(bed, "rate_not_set")
            await stopped(bed)
        await held(bed, "rate_not_set")
        await resume(bed)
        await over(bed, "rate_not_set")


@pytest.mark.shows("raised:rate_below_plan", "over:rate_below_plan", "H4", "H16", "H19")
async def test_rate_below_plan() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("set_rate", ml_h=20.0)
        await raised(bed, "rate_below_plan")
        await asyncio.sleep(60)
        assert bed.truth["rate_ml_h"] == pytest.approx(20.0)
        bed.do("set_rate", ml_h=46.66)
        await over(bed, "rate_below_plan")


@pytest.mark.shows("raised:stopped_at_pump", "over:stopped_at_pump", "H4", "H16", "H19")
async def test_stopped_at_pump() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.key("stop")
        await raised(bed, "stopped_at_pump")
        await stopped(bed)
        await resume(bed)
        await over(bed, "stopped_at_pump")


@pytest.mark.shows("raised:restarted_at_keypad", "over:restarted_at_keypad", "H4", "H19")
async def test_restarted_at_keypad() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", 3)
        bed.key("run")
        await raised(bed, "restarted_at_keypad")
        await asyncio.sleep(10)
        assert bed.truth["infusing"], "a person's act"
        bed.key("stop")
        await over(bed, "restarted_at_keypad")


@pytest.mark.shows("raised:infusing_against_plan", "over:infusing_against_plan", "H4", "H19")
async def test_infusing_against_plan() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(2)
        bed.key("run")
        await raised(bed, "infusing_against_plan")
        await stopped(bed)
        await over(bed, "infusing_against_plan")


@pytest.mark.shows("raised:unplanned_function", "over:unplanned_function", "H4", "H5", "H17", "H19")
async def test_unplanned_function() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await asyncio.sleep(0.5)
        bed.key("stop")
        bed.key("purge")
        await raised(bed, "unplanned_function")
        await stopped(bed)
        assert float(bed.state.volumes.high.value) >= bed.given, "counted at its highest rate"
        await over(bed, "unplanned_function")


# --- the end ---


@pytest.mark.shows("raised:plan_limit_reached", "over:plan_limit_reached", "H4", "H6", "H7", "H19")
async def test_plan_limit_reached() -> None:
    """The pump's own limit was begun anew at its keypad, and the rate turned up between two readings."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.given > PLANNED_ML - 0.3, step_s=0.5)
        await just_read(bed)
        bed.key("stop")
        bed.key("stop")
        bed.key("run")
        bed.do("set_rate", ml_h=1500.0)
        await raised(bed, "plan_limit_reached")
        await stopped(bed)
        await over(bed, "plan_limit_reached")


async def slow(bed: Bedside, seconds: float) -> None:
    """At 40 mL/h instead of 46.66, so long."""
    await bed.running()
    bed.do("set_rate", ml_h=40.0)
    await bed.until_session(seconds)


@pytest.mark.shows("raised:short_of_plan", "over:short_of_plan", "H4", "H16", "H19")
async def test_short_of_plan() -> None:
    bed = Bedside(Room(), speed=30)
    async with ward(bed):
        await slow(bed, PLANNED_S + 60)
        bed.key("stop")
        await raised(bed, "short_of_plan")
        await stopped(bed)
        finished = await bed.order("session.finish", confirm=True)
        assert finished["state"] == "done", finished
        await over(bed, "short_of_plan")


@pytest.mark.shows("raised:late_and_short", "over:late_and_short", "H4", "H16", "H19")
async def test_late_and_short() -> None:
    bed = Bedside(Room(), speed=30)
    async with ward(bed):
        await slow(bed, PLANNED_S + 50)
        await raised(bed, "late_and_short", within_s=10)
        assert bed.truth["infusing"]
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        await over(bed, "late_and_short")


@pytest.mark.shows("over:late_and_short")
async def test_late_and_short_is_over_when_a_person_accepts_the_later_end() -> None:
    bed = Bedside(Room(), speed=30)
    async with ward(bed):
        await slow(bed, PLANNED_S + 60)
        await raised(bed, "late_and_short")
        accepted = await bed.order("session.accept", given={"rate_ml_h": "40.00"}, override=SLOWLY)
        assert accepted["state"] == "done", accepted
        await over(bed, "late_and_short")
        assert bed.phase == "running"


@pytest.mark.shows("raised:near_end", "over:near_end")
async def test_near_end() -> None:
    bed = Bedside(Room(), speed=30)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.given > PLANNED_ML - 2.5, step_s=1)
        await raised(bed, "near_end", within_s=60)
        assert bed.truth["infusing"]
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        await over(bed, "near_end")


# --- the container ---


@pytest.mark.shows("raised:near_empty", "over:near_empty", "H46")
async def test_near_empty() -> None:
    """A slow infusion from a syringe that holds hardly more than the dose."""
    bed = Bedside(Room(), speed=30)
    fill = {"kind": "syringe", "make": "BD", "size_ml": 20, "fill_ml": 17.6}
    async with ward(bed):
        await bed.running(dose_mg_per_kg="0.25", duration_min=119, container=fill, override=SLOWLY)
        await bed.until(lambda: bed.given > 16.5)
        await raised(bed, "near_empty", within_s=120)
        assert bed.truth["infusing"]
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        await over(bed, "near_empty")


SLOWLY = {"by": "Dr. A", "reason": "a low dose, slowly"}


@pytest.mark.shows("raised:container_empty", "over:container_empty", "H4", "H19", "H46")
async def test_container_empty() -> None:
    """Told 1 mL where a plan that needs 35 was accepted: the plan itself would have refused it."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert bed.state.plan is not None
        prescription = bed.state.plan.prescription
        small = replace(prescription, container=replace(prescription.container, fill=Ml(1)))
        bed.ward.bed.state = replace(bed.state, plan=replace(bed.state.plan, prescription=small))
        await raised(bed, "container_empty", within_s=60)
        await stopped(bed)
        fitted = await bed.order("session.container", container={**CONTAINER, "fill_ml": 40})
        assert fitted["state"] == "done", fitted
        await resume(bed)
        await over(bed, "container_empty")


CONTAINER = {"kind": "syringe", "make": "BD", "size_ml": 60}


# --- the volumes: a hand turns the rate between two readings, so that none of them shows it ---


async def turned_between_readings(bed: Bedside, ml_h: float, holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await just_read(bed)
        bed.do("set_rate", ml_h=ml_h)
        await asyncio.sleep(0.5)
        bed.do("set_rate", ml_h=46.66)
    raise AssertionError(f"not in 400 readings; {bed.alarms}")


def ahead(bed: Bedside) -> float:
    """How far the pump has given more than the clock and the plan say."""
    assert bed.state.plan is not None
    return bed.given - float(bed.state.plan.volume_at(bed.state.elapsed_at(bed.ward.bed.session_now())).value)


@pytest.mark.shows("raised:volumes_apart", "over:volumes_apart", "H3", "H8", "H62")
async def test_volumes_apart() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        await turned_between_readings(bed, 1400.0, lambda: ahead(bed) > 0.8)
        await raised(bed, "volumes_apart", within_s=35)
        assert "volumes_far_apart" not in bed.alarms
        assert bed.truth["infusing"]
        await turned_between_readings(bed, 0.1, lambda: ahead(bed) < 0.5)
        await over(bed, "volumes_apart")


@pytest.mark.shows("raised:volumes_far_apart", "over:volumes_far_apart", "H3", "H8", "H15")
async def test_volumes_far_apart() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        await turned_between_readings(bed, 1400.0, lambda: ahead(bed) > 1.9)
        await raised(bed, "volumes_far_apart", within_s=35)
        await held(bed, "volumes_far_apart")
        await turned_between_readings(bed, 0.1, lambda: ahead(bed) < 1.5)
        await over(bed, "volumes_far_apart")


@pytest.mark.shows("raised:no_flow", "over:no_flow", "H4", "H8", "H16", "H19")
async def test_no_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter sticks."""
    bed = Bedside(Room())
    true_read = bed.site.pump.read
    async with ward(bed):
        await bed.running()
        await bed.until_session(120)
        stuck = bed.state.volumes.last_count

        def read() -> Dialogue[PumpReport]:
            return replace((yield from true_read()), counted=stuck)

        with monkeypatch.context() as patch:
            patch.setattr(bed.site.pump, "read", read)
            await raised(bed, "no_flow", within_s=70)
            assert bed.truth["infusing"]
        await over(bed, "no_flow")


# --- a pump that nobody has ordered to run ---


@pytest.mark.shows("raised:infusing_unknown_session", "over:infusing_unknown_session", "H4", "H19")
async def test_infusing_unknown_session() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        bed.do("set_rate", ml_h=20.0)
        bed.key("run")
        await raised(bed, "infusing_unknown_session")
        await asyncio.sleep(8)
        assert bed.truth["infusing"], "not touched"
        bed.key("stop")
        await over(bed, "infusing_unknown_session")


@pytest.mark.shows("raised:infusing_after_release", "over:infusing_after_release", "H4", "H19")
async def test_infusing_after_release() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.stop"))["state"] == "done"
        await bed.until(lambda: bed.phase == "observing", 5)
        assert (await bed.order("session.release"))["state"] == "done"
        bed.key("run")
        await raised(bed, "infusing_after_release")
        await asyncio.sleep(20)
        assert bed.truth["infusing"], "not touched"
        bed.key("stop")
        await over(bed, "infusing_after_release")


# --- what the pump tells ---


@pytest.mark.shows("raised:motor_stalled", "over:motor_stalled", "H4", "H9", "H19", "risk:occlusion")
async def test_motor_stalled() -> None:
    """Occluded, the line fills until the motor stalls; the bolus it holds goes where it is released."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("occlude")
        assert "motor_stalled" not in bed.alarms
        await raised(bed, "motor_stalled", within_s=300)
        assert bed.truth["trapped_ml"] > 0.5
        await stopped(bed)
        refused = await bed.order("session.resume", confirm=True)
        assert refused["reason"] == "not_confirmed"
        assert "pressure" in refused["text"]
        bed.do("release")
        await resume(bed, pressure_released=True)
        await over(bed, "motor_stalled")


@pytest.mark.shows("raised:pump_power_lost", "over:pump_power_lost", "H4", "H19", "H20")
async def test_pump_power_lost() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.do("power_off")
        await asyncio.sleep(5)
        bed.do("power_on")
        await raised(bed, "pump_power_lost", within_s=10)
        await stopped(bed)
        await resume(bed)
        await over(bed, "pump_power_lost")


@pytest.mark.shows("raised:pump_watchdog_expired", "over:pump_watchdog_expired", "H4", "H19", "H53", "risk:one-machine")
async def test_pump_watchdog_expired() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.port.plug_out()
        await bed.until(lambda: not bed.truth["infusing"], 11)
        bed.port.plug_in()
        await raised(bed, "pump_watchdog_expired", within_s=10)
        await stopped(bed)
        await resume(bed)
        await over(bed, "pump_watchdog_expired")


@pytest.mark.shows("raised:pump_program_error", "over:pump_program_error", "H4", "H19")
async def test_pump_program_error() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.device._panel._raise("E")
        bed.port.poke()
        await raised(bed, "pump_program_error")
        await stopped(bed)
        await resume(bed)
        await over(bed, "pump_program_error")


@pytest.mark.shows("raised:pump_alarm_unknown", "over:pump_alarm_unknown", "H4", "H19")
async def test_pump_alarm_unknown() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        bed.device._panel._raise("Z")
        bed.port.poke()
        await raised(bed, "pump_alarm_unknown")
        await stopped(bed)
        await resume(bed)
        await over(bed, "pump_alarm_unknown")


@pytest.mark.shows("raised:free_flow", "over:free_flow", "H4", "H19", "H15")
async def test_free_flow() -> None:
    """Told by a pump that has such a sensor; the simulated one has none."""
    bed = Bedside(Room())
    able = bed.site.pump.capabilities
    bed.site.pump.capabilities = replace(able, alarms=(*able.alarms, "free_flow"))  # type: ignore[misc]
    async with ward(bed):
        await bed.running()
        bed.ward.bed.on_link(PumpTold(PumpAlarm("free_flow", "FF")))
        await raised(bed, "free_flow")
        await stopped(bed)
        await resume(bed)
        await over(bed, "free_flow")


@pytest.mark.shows("raised:second_master", "over:second_master", "S15", "H58")
async def test_second_master() -> None:
    """Answers on the line to questions that pumpd did not ask."""
    bed = Bedside(Room(), mode="basic")
    async with ward(bed):
        await bed.running()
        for _ in range(UNASKED_TIMES):
            await just_read(bed)
            await asyncio.sleep(0.4)
            bed.port.inject(b"\x0200I47.000MH\x03")
        await raised(bed, "second_master")
        assert bed.truth["infusing"]
        assert bed.truth["rate_ml_h"] == pytest.approx(46.66)
        await over(bed, "second_master")


@pytest.mark.shows("raised:repeated_stop", "over:repeated_stop", "H32", "H4", "H19")
async def test_repeated_stop() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        for again in range(3):
            await asyncio.sleep(20)
            bed.do("stall")
            await bed.until(lambda: bed.phase == "paused", 3)
            if again < 2:
                await resume(bed, pressure_released=True)
        await raised(bed, "repeated_stop")
        await stopped(bed)
        refused = await bed.order("session.resume", confirm=True, pressure_released=True)
        assert refused["reason"] == "not_allowed"
        await resume(bed, pressure_released=True, role="prescriber")
        await over(bed, "repeated_stop")


@pytest.mark.shows("raised:long_pause", "over:long_pause")
async def test_long_pause() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        assert (await bed.order("session.pause"))["state"] == "done"
        await asyncio.sleep(890)
        assert "long_pause" not in bed.alarms
        await raised(bed, "long_pause", within_s=15)
        await stopped(bed)
        await resume(bed, role="prescriber")
        await over(bed, "long_pause")
