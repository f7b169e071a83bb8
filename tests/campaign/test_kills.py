"""The judge of the real kills: what it must catch, tried on journals, pumps and displays that are wrong on purpose."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.kills import Figures, KilledBed
from tests.campaign.verdicts import Broken

pytestmark = pytest.mark.real_time
NOTHING: dict[str, Any] = {"kept": set(), "alarms": {}, "orders": 0}


@pytest.fixture
async def bed(tmp_path: Path) -> KilledBed:
    """A bed whose daemon is back, and shows a pause; the pump stands."""
    bed = KilledBed(tmp_path, 1, Figures())
    bed.line.poke()
    bed.shown, bed.alarms, bed.started_at = {"phase": "paused", "sight": "seeing"}, [], time.monotonic()
    return bed


def start(bed: KilledBed) -> None:
    bed.device._panel.acknowledge()
    for asked in ({"do": "set_rate", "ml_h": 46.66}, {"do": "press", "key": "run"}):
        assert bed.device.control(asked)["ok"]


async def test_a_daemon_that_tells_the_truth_is_not_blamed(bed: KilledBed) -> None:
    await bed._judge(NOTHING)
    start(bed)
    bed.shown["phase"] = "running"
    await bed._judge(NOTHING)


async def test_a_phase_that_is_not_the_pumps_is_caught(bed: KilledBed) -> None:
    start(bed)
    with pytest.raises(Broken, match="do not agree"):
        await bed._judge(NOTHING)


async def test_a_stop_that_is_forgotten_is_caught(bed: KilledBed) -> None:
    """Taken before the kill, by the journal; and the session runs on."""
    start(bed)
    bed.shown["phase"] = "running"
    bed.orders = [("one", "session.resume"), ("two", "session.pause")]
    await bed._judge({**NOTHING, "orders": 2})  # the pause never reached the disk, and nobody heard "done"
    with pytest.raises(Broken, match=r"session\.pause is owed"):
        await bed._judge({**NOTHING, "kept": {"one", "two"}, "orders": 2})


async def test_an_alarm_that_is_forgotten_is_caught(bed: KilledBed) -> None:
    with pytest.raises(Broken, match="the alarm motor_stalled stood and is forgotten"):
        await bed._judge({**NOTHING, "alarms": {"one-1": "motor_stalled"}})
    bed.alarms = [{"alarm_id": "one-1", "code": "motor_stalled"}]
    await bed._judge({**NOTHING, "alarms": {"one-1": "motor_stalled"}})


async def test_a_second_start_is_caught(bed: KilledBed) -> None:
    bed.begins = 1
    bed.line.heard(b"0RUN\r")
    await bed._judge(NOTHING)
    bed.line.heard(b"0RUN\r")
    with pytest.raises(Broken, match="2 starts for 1 orders"):
        await bed._judge(NOTHING)


async def test_a_done_that_is_not_true_is_caught(bed: KilledBed) -> None:
    bed._truth_of("session.stop", {"state": "done"})
    start(bed)
    bed._truth_of("session.stop", {"state": "unknown"})
    with pytest.raises(Broken, match="the pump moves"):
        bed._truth_of("session.stop", {"state": "done"})


async def test_more_than_the_plan_is_caught(bed: KilledBed) -> None:
    bed.baseline = -35.1
    with pytest.raises(Broken, match="given of 35"):
        await bed._judge(NOTHING)
