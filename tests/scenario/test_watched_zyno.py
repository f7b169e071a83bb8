"""A simulated Zyno pump at a bed: what its event log tells reaches the bus, it can be stopped, and nothing more."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from tests.bedside import Bedside, Room, ward
from tests.scenario.alarm_life import over, raised, standing, stopped

TOLD = {
    "occlusion": "occlusion_downstream",
    "upstream_occlusion": "occlusion_upstream",
    "cassette_detached": "pump_door_open",
    "container_empty": "container_empty",
    "drive_blocked": "pump_fault",
    "internal_fault": "pump_fault",
    "battery_empty": "pump_battery_empty",
    "limit_reached": "container_empty",  # the simulated pump writes them so: the log has no type of its own
    "door_open": "pump_door_open",
}
WARNED = {"battery_low": "pump_battery_low", "reminder": "pump_reminder"}
pytestmark = pytest.mark.parametrize("family", ["zyno", "nimbus"])


def telemetry(bed: Bedside) -> dict[str, Any]:
    return bed.room.paper.last(f"pump/{bed.name}-pump/telemetry")


def state(bed: Bedside) -> str:
    return str(telemetry(bed)["state"])


async def infusing(bed: Bedside, ml_h: float = 20.0) -> None:
    bed.do("set_rate", ml_h=ml_h)
    bed.key("run")
    await bed.until(lambda: state(bed) == "infusing", 20)


async def test_it_is_identified_and_says_why_it_is_only_watched(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        identity = bed.ward.bed.link.identity
        assert identity is not None
        assert identity.serial == "SN800008"
        answer = await bed.planned()
        assert (answer["state"], answer["reason"]) == ("rejected", "not_allowed")
        assert "watched and stopped only" in answer["text"]


async def test_rate_volume_and_motion_reach_the_bus(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await bed.until(lambda: state(bed) == "stopped", 6)
        await infusing(bed)
        assert telemetry(bed)["rate_read_ml_h"] == Decimal(20)
        await asyncio.sleep(60)
        assert state(bed) == "infusing"
        report = bed.state.report
        assert report is not None
        assert report.counted is not None
        assert abs(float(report.counted.value) - bed.given) < 0.03
        bed.key("stop")
        await bed.until(lambda: state(bed) == "stopped", 6)
        assert bed.raised == []


@pytest.mark.shows("S4", "S5")
async def test_it_is_stopped_from_here_and_read_standing(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        answer = await bed.order("pump.stop")
        assert answer["state"] == "done", answer
        await stopped(bed)
        assert bed.raised == []


@pytest.mark.shows("H9")
@pytest.mark.parametrize("name", TOLD)
async def test_every_alarm_of_the_log_is_told(family: str, name: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("alarm", name=name)
        await raised(bed, TOLD[name], 4)
        assert bed.raised == [TOLD[name]]
        bed.do("alarm_over", name=name)
        if bed.truth["infusing"]:
            bed.key("stop")
        await over(bed, TOLD[name])


@pytest.mark.parametrize("name", WARNED)
async def test_every_warning_of_the_log_is_told(family: str, name: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("alarm", name=name)
        await raised(bed, WARNED[name], 4)
        await asyncio.sleep(10)
        assert standing(bed, WARNED[name]) is not None
        assert state(bed) == "infusing"


async def test_lost_mains_have_no_record_and_are_no_alarm(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("alarm", name="mains_lost")
        await asyncio.sleep(10)
        assert state(bed) == "infusing"
        assert bed.raised == []


EVENTS = {
    "firmware_error": "pump_fault",
    "hard_limit": "pump_fault",
    "battery_check": "pump_battery_empty",
    "infusion_limit": "pump_alarm_unknown",
}


@pytest.mark.shows("H9")
@pytest.mark.parametrize("name", EVENTS)
async def test_records_that_no_physics_write_are_told(family: str, name: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("event", name=name, sub=1)
        await raised(bed, EVENTS[name], 4)


@pytest.mark.shows("H14")
async def test_an_alarm_that_stood_before_the_daemon_came_is_told(family: str) -> None:
    room = Room()
    bed = Bedside(room, family=family)
    async with ward(bed):
        await infusing(bed)
    bed.do("alarm", name="occlusion")
    later = Bedside(Room(clock=room.clock), family=family, device=bed.device)
    async with ward(later):
        await raised(later, "occlusion_downstream", 8)


@pytest.mark.shows("S7")
async def test_alarms_of_the_time_without_a_line_are_told_after_it(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("disconnect", for_s=20)
        await bed.until(lambda: bool({"comms_lost_pump", "pump_not_connected"} & bed.alarms), 20)
        bed.do("alarm", name="container_empty")
        await raised(bed, "container_empty", 60)


async def test_line_noise_changes_nothing(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
        bed.do("fault", kind="flip", way="both", probability=0.001, for_s=120)
        for _ in range(120):
            await asyncio.sleep(1)
            report = bed.state.report
            assert report is None or report.rate is None or report.rate.value == 20
        bed.do("clear_faults")
        await asyncio.sleep(10)
        assert state(bed) == "infusing"
        assert not {"pump_alarm_unknown", "pump_log_gap"} & set(bed.raised)


async def test_a_watched_pump_is_left_as_it_is_when_the_daemon_ends(family: str) -> None:
    bed = Bedside(Room(), family=family)
    async with ward(bed):
        await infusing(bed)
    assert bed.truth["infusing"]
