"""A fault of the field becomes a test: the wire log of a session, played back to a daemon that knows nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pumpd.line.trace import Trace, traced
from simulator.device import Device
from simulator.replay import Replay, read_log
from tests.bedside import Bedside, Room, ward


async def test_a_stalled_motor_stalls_again_when_its_log_is_played_back(tmp_path: Path) -> None:
    path, first = tmp_path / "wire.log", Bedside(Room())
    trace = Trace(path, first.room.clock.wire, lambda: "here")
    first.ward.link._open_pipe = traced(first.port.open, trace)
    async with ward(first):
        await first.running()
        await first.until_session(100)
        first.do("stall")
        await first.until(lambda: "motor_stalled" in first.alarms, 3)
        counted = first.state.volumes.counted
    trace.close()

    complaints = list[str]()
    replay = Replay(read_log(path), complaints.append)
    second = Bedside(Room(), device=cast(Device, replay))
    async with ward(second):
        await second.running()
        stalled_s = await second.until(lambda: "motor_stalled" in second.alarms, 110)
        assert 95 < stalled_s < 105
        assert second.state.volumes.counted == counted
        assert complaints == []
