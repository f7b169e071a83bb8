"""A disk that neither answers nor fails: the committer thread hangs, the bed does not (S9)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from pumpd.clock import SystemClock
from pumpd.records.journal import Journal
from tests.port.station import station

pytestmark = pytest.mark.timeout(90)


class HungDisk:
    """A commit that does not come back while it hangs."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.free.wait()
        connection.commit()


@pytest.mark.shows("S9", "S13")
async def test_what_stops_and_lowers_goes_on_while_what_gives_more_is_refused(tmp_path: Path) -> None:
    disk = HungDisk()
    journal = Journal(tmp_path / "journal.sqlite3", SystemClock().boot_id, commit=disk)
    async with station(tmp_path, "none", journal=journal) as (nurse, pump):
        try:
            await nurse.start_session()
            disk.free.clear()
            pump.control({"do": "set_rate", "ml_h": 60.0})
            await nurse.until(lambda: pump.truth()["rate_ml_h"] == pytest.approx(46.66), 2.5)
            await nurse.until(lambda: holds(nurse.bed.alarms.board, "journal_unavailable"), 4)
            asked = asyncio.get_running_loop().time()
            assert (await nurse.order("session.pause"))["state"] == "done"
            assert asyncio.get_running_loop().time() - asked < 2.0
            assert not pump.truth()["infusing"]
            await nurse.until(lambda: nurse.bed.state.pending is None)
            refused = await nurse.order("session.resume", confirm=True)
            assert refused["reason"] == "journal_unavailable", refused
            assert not pump.truth()["infusing"]
            disk.free.set()
            await nurse.until(lambda: not holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
            assert (await nurse.order("session.resume", confirm=True))["state"] == "done"
            assert pump.truth()["infusing"]
        finally:
            disk.free.set()
    assert journal.dropped == 0, "nothing was lost"


def holds(board: object, code: str) -> bool:
    return any(alarm.code == code and alarm.present for alarm in board.alarms)  # type: ignore[attr-defined]
