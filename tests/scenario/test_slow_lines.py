"""A pump that takes its time to answer is armed, started and stopped like any other; one that falls silent is lost."""

from __future__ import annotations

import pytest

from pumpd.bedside.desk import CHECKLIST
from simulator.device import Device
from tests.bedside import Bedside, Room, ward


def slow(seconds: float) -> Bedside:
    """A New Era whose every answer comes so late."""
    bed = Bedside(Room())
    assert isinstance(bed.device, Device)
    bed.do("fault", kind="delay", delay_s=seconds)
    return bed


@pytest.mark.shows("S7", "S8")
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.3])
async def test_a_slow_pump_is_armed_and_started_and_nobody_calls_it_lost(seconds: float) -> None:
    bed = slow(seconds)
    async with ward(bed):
        planned = await bed.planned()
        assert planned["state"] == "done", planned
        armed = await bed.order("session.arm", patient_ref="p-1", checklist=list(CHECKLIST), wait_s=25.0)
        assert armed["state"] == "done", armed
        await bed.until(lambda: bed.room.paper.last("pump/one-pump/session")["confirm_rate_ml_h"] is not None, 5)
        started = await bed.order("session.start", confirm=True, wait_s=25.0)
        assert started["state"] == "done", started
        await bed.until_session(60)
        assert "comms_lost_pump" not in bed.raised
        stopped = await bed.order("session.stop", wait_s=15.0)
        assert stopped["state"] == "done", stopped
        assert not bed.truth["infusing"]


@pytest.mark.shows("S7")
async def test_a_pump_that_falls_silent_while_it_is_armed_is_lost_in_the_usual_time() -> None:
    bed = slow(0.3)
    async with ward(bed):
        await bed.planned()
        told = bed.room.clock.wire()
        arming = bed.order("session.arm", patient_ref="p-1", checklist=list(CHECKLIST), wait_s=2.0)
        await arming
        bed.do("mute")
        await bed.until(lambda: bed.state.report is None, 6)
        assert bed.room.clock.wire() - told < 2 + 6
