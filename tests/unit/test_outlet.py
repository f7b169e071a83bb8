"""A sink must not raise; one that does costs its own messages and nothing else (S13)."""

import pytest
from structlog.testing import capture_logs

from pumpd.messaging.messages import Stamper, Status
from pumpd.messaging.outlet import Outlet
from pumpd.testing import VirtualClock
from tests.bedside import Paper


class Failing:
    """Raises while `dead`."""

    def __init__(self) -> None:
        self.dead, self.asked = True, 0

    def publish(self, topic: str, payload: bytes, **how: object) -> None:
        self.asked += 1
        if self.dead:
            raise ConnectionResetError(104, "the broker went away")


def outlet(clock: VirtualClock, *sinks: object) -> Outlet:
    return Outlet(Stamper("test", "0" * 32, clock, simulated=True), sinks)


@pytest.mark.shows("S13")
async def test_a_sink_that_raises_keeps_no_message_from_the_others(clock: VirtualClock) -> None:
    failing, paper = Failing(), Paper()
    out = outlet(clock, failing, paper)
    payload = out.say("status", Status(state="online", started_ts=clock.wall(), host="test"))
    out.repeat("status", payload)
    out.empty("status")
    assert [body for _, body in paper.raw] == [payload, payload, b""]
    assert failing.asked == 3


async def test_a_failing_sink_is_logged_once_until_it_works_again(clock: VirtualClock) -> None:
    failing = Failing()
    out = outlet(clock, failing)
    with capture_logs() as logs:
        for dead in (True, True, False, True):
            failing.dead = dead
            out.empty("status")
    assert [entry["event"] for entry in logs] == ["outlet.sink_failed"] * 2
    assert logs[0]["sink"] == "Failing"
