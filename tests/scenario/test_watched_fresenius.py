"""A simulated Fresenius pump at a bed: everything its protocol can tell reaches the bus, and nothing is ordered."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from simulator.families.fresenius_invented import Invented
from tests.bedside import Bedside, Room, ward
from tests.scenario.alarm_life import over, raised, standing, stopped

UNKNOWN = "pump_alarm_unknown"
TROUBLES = (
    "drive_blocked",
    "syringe_not_seated",
    "battery_empty",
    "internal_fault",
    "drive_disengaged",
    "occlusion",
    "rate_invalid",
    "container_empty",
    "communication",
)
WARNS = ("reminder", "battery_low", "container_near_empty", "mains_lost", "near_end", "limit_reached")

pytestmark = pytest.mark.parametrize("family", ["fresenius", "pilote"])


def telemetry(bed: Bedside) -> dict[str, Any]:
    return bed.room.paper.last(f"pump/{bed.name}-pump/telemetry")


def state(bed: Bedside) -> str:
    return str(telemetry(bed)["state"])


async def infusing(bed: Bedside, ml_h: float = 20.0) -> None:
    bed.do("set_rate", ml_h=ml_h)
    bed.key("run")
    await bed.until(lambda: state(bed) == "infusing", 6)


async def test_it_is_identified_and_says_why_it_is_only_watched(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        identity = bed.ward.bed.link.identity
        assert identity is not None
        assert identity.model.startswith("Fresenius ")
        assert "can only be watched" in identity.monitor_only
        answer = await bed.planned()
        assert (answer["state"], answer["reason"]) == ("rejected", "not_allowed")
        assert "can only be watched" in answer["text"]


async def test_rate_volume_and_motion_reach_the_bus(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await bed.until(lambda: state(bed) == "stopped", 6)
        await infusing(bed)
        assert telemetry(bed)["rate_read_ml_h"] == Decimal(20)
        await asyncio.sleep(60)
        assert state(bed) == "infusing"
        counted = float(bed.state.report.counted.value) if bed.state.report and bed.state.report.counted else 0.0
        assert abs(counted - bed.given) < 0.02
        bed.do("set_rate", ml_h=50.0)
        await bed.until(lambda: telemetry(bed)["rate_read_ml_h"] == Decimal(50) and state(bed) == "infusing", 6)
        bed.key("stop")
        await bed.until(lambda: state(bed) != "infusing", 6)
        await bed.until(lambda: state(bed) == "stopped", 20)
        assert bed.raised == []


@pytest.mark.shows("H9")
@pytest.mark.parametrize("name", [*TROUBLES, *WARNS])
async def test_every_alarm_is_told_as_unknown_with_its_hex(family: str, name: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("alarm", name=name)
        await raised(bed, UNKNOWN)
        alarm = standing(bed, UNKNOWN)
        assert alarm is not None
        assert "=" in str(bed.room.paper.last(f"alarm/{alarm.alarm_id}"))
        bed.do("alarm_over", name=name)
        if bed.truth["infusing"]:
            bed.key("stop")
        await bed.until(lambda: state(bed) == "stopped", 30)
        await over(bed, UNKNOWN)


@pytest.mark.shows("S5")
async def test_a_stop_that_cannot_be_given_calls_people_until_somebody_stopped_it(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        answer = await bed.order("pump.stop")
        assert answer["state"] != "done"
        await raised(bed, "stop_not_confirmed", 10)
        await asyncio.sleep(20)
        assert bed.truth["infusing"]
        assert state(bed) == "infusing", "it is read on all the while"
        assert bed.state.orders < 200, "a refusal comes at once: it must not go round and round"
        bed.key("stop")
        await stopped(bed)
        await bed.until(lambda: state(bed) == "stopped", 30)
        await over(bed, "stop_not_confirmed")


@pytest.mark.shows("S7")
async def test_a_lost_line_is_told_and_the_pump_read_on_after_it(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("disconnect", for_s=20)
        await bed.until(lambda: bool({"comms_lost_pump", "pump_not_connected"} & bed.alarms), 20)
        await bed.until(lambda: state(bed) == "infusing", 60)
        assert bed.truth["infusing"]


async def test_line_noise_changes_nothing(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("fault", kind="flip", way="both", probability=0.002, for_s=120)
        for _ in range(120):
            await asyncio.sleep(1)
            report = bed.state.report
            assert report is None or report.rate is None or report.rate.value == 20
        assert UNKNOWN not in bed.raised
        bed.do("clear_faults")
        await asyncio.sleep(10)
        assert state(bed) == "infusing"


@pytest.mark.shows("H58")
@pytest.mark.parametrize("enq_period_s", [0.3, 0.7])
async def test_a_pump_that_checks_its_line_often_is_read_on_after_a_lost_byte(family: str, enq_period_s: float) -> None:
    bed = Bedside(Room(), family=family, invented=Invented(enq_period_s=enq_period_s))
    async with ward(bed):
        await infusing(bed)
        bed.do("fault", kind="drop", way="out", probability=0.1, for_s=3)
        await asyncio.sleep(3)
        await bed.until(lambda: state(bed) != "infusing" or bool(bed.alarms), 6)
        await bed.until(lambda: state(bed) == "infusing" and not bed.alarms, 20)
        before = bed.state.report
        await asyncio.sleep(30)
        report = bed.state.report
        assert before is not None
        assert report is not None
        assert report.counted is not None
        assert before.counted is not None
        assert report.counted > before.counted, "it is read on"


async def test_a_watched_pump_is_released_untouched_when_the_daemon_ends(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
    assert bed.truth["infusing"]
