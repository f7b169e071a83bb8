"""A 45-minute session from plan to release, over the pump's real bytes, in virtual time."""

from __future__ import annotations

import pytest

from tests.bedside import PLANNED_ML, Bedside, Room, ward


async def test_the_planned_dose_goes_in_and_nothing_more() -> None:
    bed = Bedside(Room())
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing")
        assert bed.given == pytest.approx(PLANNED_ML, rel=0.01)
        assert bed.given <= PLANNED_ML + 1e-9
        assert float(bed.state.volumes.counted.value) == pytest.approx(bed.given, abs=0.01)
        assert bed.raised == []
        assert (await bed.order("session.end"))["state"] == "done"
        assert bed.phase == "ended"
        assert (await bed.order("session.release"))["state"] == "done"
