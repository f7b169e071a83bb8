"""What the log tells a technician: the line, the phases, the alarms; nothing of the patient."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.bedside import PATIENT, Bedside, Room, ward


@pytest.mark.shows("H56")
async def test_phases_alarms_and_a_lost_line_are_in_the_log_and_the_patient_is_not() -> None:
    with capture_logs() as lines:
        bed = Bedside(Room())
        async with ward(bed):
            await bed.running()
            bed.do("set_rate", ml_h=60.0)
            await bed.until(lambda: "rate_above_plan" in bed.alarms, within_s=3)
            bed.port.plug_out()
            await bed.until(lambda: "comms_lost_pump" in bed.alarms, within_s=3)
    phases = [line["phase"] for line in lines if line["event"] == "session"]
    assert phases[:3] == ["planned", "armed", "running"]
    raised = {
        line["code"]: line["log_level"] for line in lines if line["event"] == "alarm" and line["news"] == "raised"
    }
    assert raised["rate_above_plan"] == "warning"
    assert raised["comms_lost_pump"] == "warning"
    lost = [
        line for line in lines if line["event"] == "link" and line["state"] in ("lost", "connecting") and line["detail"]
    ]
    assert any("went away" in line["detail"] for line in lost)
    assert PATIENT not in repr(lines)
