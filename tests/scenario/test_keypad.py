"""A person at the pump's keys: pumpd sets down and tells, never raises or restarts by itself (S2, S3)."""

from __future__ import annotations

import asyncio

import pytest

from tests.bedside import PLANNED_ML, Bedside, Room, ward

TWO_POLLS_S = 2.2  # the answer to the second poll is in by then


@pytest.mark.shows("S2", "H3", "H15")
async def test_a_raised_rate_is_set_back_and_alarmed_within_two_polls() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(600)
        bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: "rate_above_plan" in bed.raised, within_s=TWO_POLLS_S)
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.66), within_s=TWO_POLLS_S)
        assert bed.phase == "running"
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given <= PLANNED_ML + 1e-9


async def test_the_third_raise_within_ten_minutes_stops_the_pump() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        for _ in range(3):
            await asyncio.sleep(20)
            bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: bed.phase == "paused", within_s=TWO_POLLS_S)
        await bed.until(lambda: not bed.truth["infusing"], within_s=TWO_POLLS_S)


@pytest.mark.shows("S2")
async def test_a_rate_above_the_hard_limit_stops_the_pump_at_once() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=120.0)  # 1.71 mg/kg/h; the drug library's hard limit is 1.5
        await bed.until(lambda: not bed.truth["infusing"], within_s=TWO_POLLS_S)
        assert bed.phase == "paused"


@pytest.mark.shows("S2")
async def test_a_lowered_rate_is_alarmed_and_stays_until_a_person_restores_it() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=TWO_POLLS_S)
        await asyncio.sleep(120)
        assert bed.truth["rate_ml_h"] == pytest.approx(20.0), "never raised without a confirmed order"
        refused = await bed.order("session.restore")
        assert refused["reason"] == "not_confirmed"
        fields = {"rate_ml_h": "46.66"}
        restored = await bed.order("session.restore", given=fields)
        assert restored["state"] == "done", restored
        assert bed.truth["rate_ml_h"] == pytest.approx(46.66)
        await bed.until(lambda: "rate_below_plan" not in bed.alarms, within_s=3)


async def test_a_lowered_rate_can_be_accepted_and_the_end_moves() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("set_rate", ml_h=40.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=TWO_POLLS_S)
        before = bed.state.plan
        accepted = await bed.order("session.accept", given={"rate_ml_h": "40.00"})
        assert accepted["state"] == "done", accepted
        assert bed.state.plan is not None
        assert before is not None
        assert bed.state.plan.seconds > before.seconds
        assert "rate_below_plan" not in bed.alarms
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


@pytest.mark.shows("S8", "H28")
async def test_a_rate_so_low_that_the_session_would_last_too_long_cannot_be_accepted() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=10.0)  # 3.4 hours; the hard limit is 2
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=TWO_POLLS_S)
        refused = await bed.order("session.accept", given={"rate_ml_h": "10.00"})
        assert refused["reason"] == "limit"
        assert "duration" in refused["text"]


async def test_auto_restore_restores_a_lowered_rate_only_where_all_is_simulated() -> None:
    bed = Bedside(Room(), auto_restore=True)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=20.0)
        await bed.until(lambda: bed.truth["rate_ml_h"] == pytest.approx(46.66), within_s=2 * TWO_POLLS_S)
        assert "rate_below_plan" in bed.raised


@pytest.mark.shows("S3")
async def test_a_stop_at_the_keypad_pauses_and_alarms_and_is_never_undone_by_us() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=TWO_POLLS_S)
        assert "stopped_at_pump" in bed.alarms
        given = bed.given
        await asyncio.sleep(300)
        assert bed.given == given
        assert [data for data in bed.port.sent if b"RUN" in data][1:] == []
        resumed = await bed.order("session.resume", confirm=True)
        assert resumed["state"] == "done", resumed
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9


async def stopped_at_the_pump(bed: Bedside, how: str) -> None:
    """Bring the running pump to a stand in one of the ways that reset its programme or not."""
    match how:
        case "keypad stop":
            bed.key("stop")
        case "doubled stop":
            bed.key("stop")
            bed.key("stop")
        case "stall":
            bed.do("stall")
        case "watchdog":
            bed.port.plug_out()
            await asyncio.sleep(12)
            bed.port.plug_in()


@pytest.mark.shows("S1", "H6")
@pytest.mark.parametrize("how", ["keypad stop", "doubled stop", "stall", "watchdog"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.995])
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 5.0])
async def test_a_keypad_run_after_a_stop_never_gives_more_than_the_plan(how: str, share: float, delay_s: float) -> None:
    """The pump's own volume limit counts from zero again at a fresh run: it must have been lowered, or be overruled."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.given >= share * PLANNED_ML, step_s=0.5)
        await stopped_at_the_pump(bed, how)
        await asyncio.sleep(delay_s)
        if bed.truth["alarm"]:
            bed.key("run")  # the first key only acknowledges the alarm
        bed.key("run")
        await bed.until(lambda: not bed.truth["infusing"], step_s=5)
        await asyncio.sleep(60)
        assert bed.given <= PLANNED_ML + 1e-9
        assert not bed.truth["infusing"]


@pytest.mark.shows("S1")
async def test_a_keypad_run_at_100_percent_gives_no_second_dose() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        bed.key("run")
        await asyncio.sleep(600)
        assert bed.given <= PLANNED_ML + 1e-9, "the smallest limit a pump can hold is all that is left"


@pytest.mark.shows("S3")
async def test_a_start_at_the_keypad_after_a_pause_by_us_is_stopped_each_time() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        assert (await bed.order("session.pause"))["state"] == "done"
        for _ in range(3):
            bed.key("run")
            await bed.until(lambda: not bed.truth["infusing"], within_s=TWO_POLLS_S)
            await asyncio.sleep(3)
        assert "infusing_against_plan" in bed.raised
        assert bed.phase == "paused"


@pytest.mark.shows("S6", "H17")
async def test_a_purge_in_a_session_is_stopped_and_its_volume_counts() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.key("stop")
        await bed.until(lambda: bed.phase == "paused", within_s=TWO_POLLS_S)
        await asyncio.sleep(2)
        before = bed.given
        bed.key("purge")
        await bed.until(lambda: not bed.truth["infusing"], within_s=TWO_POLLS_S)
        await asyncio.sleep(3)
        assert bed.given > before
        assert {"infusing_against_plan", "unplanned_function"} & set(bed.raised)
        assert float(bed.state.volumes.high.value) >= bed.given - 0.01


@pytest.mark.shows("S15")
async def test_any_change_at_an_armed_pump_un_arms_it() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: bed.phase == "planned", within_s=TWO_POLLS_S)
        assert "unarmed" in bed.alarms
        assert (await bed.order("session.start"))["reason"] == "wrong_phase"


async def test_a_keypad_run_of_an_armed_pump_is_stopped() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        assert (await bed.armed())["state"] == "done"
        bed.key("run")
        await bed.until(lambda: not bed.truth["infusing"], within_s=TWO_POLLS_S)
        assert bed.phase == "planned"
        assert "infusing_against_plan" in bed.alarms


@pytest.mark.shows("S8", "H27")
async def test_a_rate_that_passes_a_soft_limit_is_accepted_with_a_name_and_a_reason_only() -> None:
    """S8: at 30 mL/h the rest lasts beyond the soft 60 minutes."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=30.0)
        await bed.until(lambda: "rate_below_plan" in bed.alarms, within_s=TWO_POLLS_S)
        figures = {"rate_ml_h": "30.00"}
        refused = await bed.order("session.accept", given=figures)
        assert refused["reason"] == "limit"
        assert "soft limit 60" in refused["text"]
        override = {"by": "Dr. A", "reason": "tolerated badly at the full rate"}
        accepted = await bed.order("session.accept", given=figures, override=override)
        assert accepted["state"] == "done", accepted
        again = await bed.order("rate.set", given={"rate_ml_h": "31"}, rate_ml_h="31")
        assert again["state"] == "done", "a soft limit that was passed is not asked for twice"


async def test_after_a_restored_rate_the_time_left_is_that_of_the_missing_volume() -> None:
    """Twelve minutes at less than half the rate: the end moves, and the volumes agree with the plan again."""
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until_session(300)
        bed.do("set_rate", ml_h=20.0)
        await asyncio.sleep(720)
        shown = bed.room.paper.last("pump/one-pump/telemetry")
        assert shown["remaining_origin"] == "estimate"
        assert float(shown["remaining_s"]) == pytest.approx((PLANNED_ML - bed.given) / 20.0 * 3600, rel=0.01)
        assert (await bed.order("session.restore", given={"rate_ml_h": "46.66"}))["state"] == "done"
        await asyncio.sleep(5)
        shown = bed.room.paper.last("pump/one-pump/telemetry")
        assert float(shown["remaining_s"]) == pytest.approx((PLANNED_ML - bed.given) / 46.66 * 3600, rel=0.01)
        await bed.until(lambda: bed.phase == "observing", step_s=1)
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert set(bed.raised) == {"rate_below_plan", "near_end"}, "one condition, one alarm"
