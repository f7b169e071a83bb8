"""Alarms that only some families can tell, on a bed whose driver tells them: raised, heard, and over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from pumpd.core.catalogue import WARNINGS
from pumpd.driver import Dialogue, Identity, PumpAlarm, PumpReport
from pumpd.line.link import PumpTold
from tests.bedside import Bedside, Room, ward
from tests.scenario.alarm_life import over, raised, standing, stopped

STOPS = (
    "occlusion_downstream",
    "occlusion_upstream",
    "air_in_line",
    "drop_sensor",
    "pump_door_open",
    "syringe_not_seated",
    "pump_fault",
    "pump_battery_empty",
)


def telling(bed: Bedside, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A set: what is in it, the pump warns of with every reading."""
    pump, holds = bed.site.pump, set[str]()
    read = pump.read

    def warned() -> Dialogue[PumpReport]:
        report = yield from read()
        return replace(report, warnings=tuple(sorted(holds)))

    monkeypatch.setattr(pump, "read", warned)
    return holds


def able_to_tell(bed: Bedside, *codes: str) -> None:
    able = bed.site.pump.capabilities
    bed.site.pump.capabilities = replace(able, alarms=(*able.alarms, *codes))  # type: ignore[misc]


def only_watched(bed: Bedside, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., Dialogue[Identity]] = bed.site.pump.connect

    def watched(*, hands_off: bool = False) -> Dialogue[Identity]:
        identity = yield from connect(hands_off=hands_off)
        return replace(identity, monitor_only="it gives no remote control")

    monkeypatch.setattr(bed.site.pump, "connect", watched)


@pytest.mark.shows(
    "raised:occlusion_downstream",
    "over:occlusion_downstream",
    "raised:occlusion_upstream",
    "over:occlusion_upstream",
    "raised:air_in_line",
    "over:air_in_line",
    "raised:drop_sensor",
    "over:drop_sensor",
    "raised:pump_door_open",
    "over:pump_door_open",
    "raised:syringe_not_seated",
    "over:syringe_not_seated",
    "raised:pump_fault",
    "over:pump_fault",
    "raised:pump_battery_empty",
    "over:pump_battery_empty",
)
@pytest.mark.parametrize("code", STOPS)
async def test_an_alarm_that_stopped_the_pump(code: str) -> None:
    bed = Bedside(Room())
    able_to_tell(bed, code)
    async with ward(bed):
        await bed.running()
        bed.do("press", key="stop")
        bed.ward.bed.on_link(PumpTold(PumpAlarm(code, "as the pump says it")))
        await raised(bed, code)
        await stopped(bed)
        await bed.until(lambda: bed.phase == "paused", 3)
        assert "stopped_at_pump" not in bed.alarms, "one condition, one alarm"
        answer = await bed.order("session.resume", confirm=True, pressure_released=True)
        assert answer["state"] == "done", answer
        await over(bed, code)
        assert bed.truth["infusing"]


@pytest.mark.shows(
    "raised:pump_battery_low",
    "over:pump_battery_low",
    "raised:pump_on_battery",
    "over:pump_on_battery",
    "raised:pump_near_end",
    "over:pump_near_end",
    "raised:pump_reminder",
    "over:pump_reminder",
)
@pytest.mark.parametrize("code", sorted(WARNINGS))
async def test_a_warning_stands_as_long_as_the_pump_says_so_and_stops_nothing(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bedside(Room())
    holds = telling(bed, monkeypatch)
    able_to_tell(bed, code)
    async with ward(bed):
        await bed.running()
        holds.add(code)
        await raised(bed, code)
        await asyncio.sleep(30)
        assert standing(bed, code) is not None
        assert bed.phase == "running"
        assert bed.truth["infusing"]
        holds.clear()
        await over(bed, code)
        assert bed.raised.count(code) == 1


@pytest.mark.shows("raised:keypad_used", "over:keypad_used", "raised:pump_log_gap", "over:pump_log_gap")
@pytest.mark.parametrize("code", ["keypad_used", "pump_log_gap"])
async def test_what_a_pump_tells_and_goes_on_with(code: str) -> None:
    bed = Bedside(Room())
    able_to_tell(bed, code)
    async with ward(bed):
        await bed.running()
        for _ in range(4):  # more than stops within ten minutes may be: it has stopped nothing
            bed.ward.bed.on_link(PumpTold(PumpAlarm(code, "EVENT 7", stops=False)))
            await asyncio.sleep(5)
        await raised(bed, code)
        await over(bed, code)
        assert bed.truth["infusing"]
        assert not {"repeated_stop", "stopped_at_pump"} & set(bed.raised)


async def test_warnings_without_a_session_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    holds = telling(bed, monkeypatch)
    async with ward(bed):
        await bed.ready()
        holds.add("pump_on_battery")
        await raised(bed, "pump_on_battery")
        holds.clear()
        await over(bed, "pump_on_battery")


async def test_a_pump_that_is_only_watched_may_infuse_and_takes_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bedside(Room())
    only_watched(bed, monkeypatch)
    async with ward(bed):
        await bed.ready()
        bed.do("set_rate", ml_h=20.0)
        bed.key("run")
        await bed.until(lambda: bed.room.paper.last("pump/one-pump/telemetry")["state"] == "infusing", 3)
        await asyncio.sleep(10)
        assert "infusing_unknown_session" not in bed.alarms
        answer = await bed.planned()
        assert (answer["state"], answer["reason"]) == ("rejected", "not_allowed")
        assert "it gives no remote control" in answer["text"]
