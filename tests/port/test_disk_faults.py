"""Disks that fail in each of their ways under a real daemon: supervision goes on, and it is said (S9, S10, S13)."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pumpd.clock import SystemClock
from pumpd.daemon import DISK_LOW_MB
from pumpd.records.chain import check
from pumpd.records.journal import BEGUN, Journal, Reader
from pumpd.records.recall import recall
from pumpd.records.store import Store
from pumpd.records.takeover import take_over
from simulator.device import Device
from tests.conftest import seed
from tests.port.station import Nurse, station
from tests.port.test_hung_disk import holds

pytestmark = pytest.mark.timeout(120)


def journal_of(folder: Path) -> Path:
    return folder / "data" / "journal.sqlite3"


class SlowDisk:
    """Each commit takes 200 to 900 ms."""

    def __init__(self) -> None:
        self.dice = random.Random(seed())
        self.slow = False

    def __call__(self, connection: sqlite3.Connection) -> None:
        if self.slow:
            time.sleep(self.dice.uniform(0.2, 0.9))
        connection.commit()


class FullDisk:
    """No space left, until there is."""

    def __init__(self) -> None:
        self.full = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        if self.full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        connection.commit()


async def still_supervised(nurse: Nurse, pump: Device) -> None:
    """A rate raised at the keypad is set down, and a STOP is done, whatever the disk does."""
    pump.control({"do": "set_rate", "ml_h": 60.0})
    await nurse.until(lambda: pump.truth()["rate_ml_h"] == pytest.approx(46.66), 4)
    assert nurse.bed.state.phase.value == "running"


async def stops(nurse: Nurse, pump: Device) -> None:
    asked = asyncio.get_running_loop().time()
    assert (await nurse.order("session.stop"))["state"] == "done"
    assert asyncio.get_running_loop().time() - asked < 2.0
    assert not pump.truth()["infusing"]


@pytest.mark.shows("S9", "H19")
async def test_a_slow_disk_delays_what_gives_more_and_nothing_else(tmp_path: Path) -> None:
    disk = SlowDisk()
    journal = Journal(tmp_path / "journal.sqlite3", SystemClock().boot_id, commit=disk)
    async with station(tmp_path, "none", journal=journal) as (nurse, pump):
        await nurse.start_session()
        disk.slow = True
        for _ in range(2):
            await still_supervised(nurse, pump)
            await asyncio.sleep(1)
        assert journal.behind_s(SystemClock().wire()) < 2.5
        assert (await nurse.order("session.pause"))["state"] == "done"
        await nurse.until(lambda: nurse.bed.state.pending is None, 5)
        resumed = await nurse.order("session.resume", confirm=True)
        assert resumed["state"] == "done" or resumed["reason"] == "journal_unavailable", resumed
        assert pump.truth()["infusing"] == (resumed["state"] == "done")
        await stops(nurse, pump)
        disk.slow = False
    with Reader.open(tmp_path / "journal.sqlite3") as reader:
        assert check(reader)[0].whole


@pytest.mark.shows("S9", "S13", "H19")
async def test_a_full_disk_is_an_alarm_and_what_waited_is_written_when_there_is_room(tmp_path: Path) -> None:
    disk = FullDisk()
    journal = Journal(tmp_path / "journal.sqlite3", SystemClock().boot_id, commit=disk, most_waiting=4)
    async with station(tmp_path, "none", journal=journal) as (nurse, pump):
        await nurse.start_session()
        disk.full.set()
        await nurse.until(lambda: holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        await still_supervised(nurse, pump)
        await nurse.until(lambda: journal.dropped > 0, 10)
        disk.full.clear()
        await nurse.until(lambda: not holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        await stops(nurse, pump)
    with Reader.open(tmp_path / "journal.sqlite3") as reader:
        rows = list(reader.rows())
        assert check(reader)[0].whole
    gaps = [json.loads(row.data)["dropped"] for row in rows if row.kind == "journal.gap"]
    assert sum(gaps) == journal.dropped > 0
    assert any("rate_above_plan" in row.data for row in rows), "what was decided while it was full is there"


@pytest.mark.shows("raised:disk_low", "over:disk_low", "S9")
async def test_a_disk_that_is_nearly_full_is_said_before_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [DISK_LOW_MB]
    monkeypatch.setattr("pumpd.records.store.Store.free_mb", lambda _: room[0])
    monkeypatch.setattr("pumpd.records.journal.FREE_EVERY_S", 0.1)
    async with station(tmp_path, "none") as (nurse, _):
        await nurse.until(lambda: nurse.station.journal.free_mb == DISK_LOW_MB, 5)
        await asyncio.sleep(1.5)
        assert not holds(nurse.bed.alarms.board, "disk_low")
        room[0] -= 1
        await nurse.until(lambda: holds(nurse.bed.alarms.board, "disk_low"), 3)
        room[0] += 1
        await nurse.until(lambda: not holds(nurse.bed.alarms.board, "disk_low"), 3)


def test_the_room_on_a_real_disk_is_looked_at_and_none_is_known_where_there_is_no_folder(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal.sqlite3", "x")) as journal:
        journal.append("note", "{}", bed="one", ts="t", wire=0.0)
        deadline = time.monotonic() + 10
        while journal.free_mb is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert journal.free_mb >= 0
    assert Store(tmp_path / "gone" / "journal.sqlite3", fsync=True, commit=sqlite3.Connection.commit).free_mb() is None


@pytest.mark.shows("S9", "S13", "H19")
async def test_a_journal_whose_folder_vanishes_is_missed_and_found_again(tmp_path: Path) -> None:
    journal = take_over(tmp_path / "disk" / "journal.sqlite3", SystemClock(), ["one"])  # not mounted yet
    async with station(tmp_path, "none", journal=journal) as (nurse, pump):
        await nurse.until(lambda: holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        (tmp_path / "disk").mkdir()
        await nurse.until(lambda: not holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        await nurse.start_session()
        (tmp_path / "disk").rename(tmp_path / "elsewhere")
        await nurse.until(lambda: holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        await still_supervised(nurse, pump)
        (tmp_path / "elsewhere").rename(tmp_path / "disk")
        await nurse.until(lambda: not holds(nurse.bed.alarms.board, "journal_unavailable"), 5)
        assert journal.damage is None, "it is the same file: nothing was lost"
        await stops(nurse, pump)
    with Reader.open(tmp_path / "disk" / "journal.sqlite3") as reader:
        chain, _ = check(reader)
        assert chain.whole
        past = recall(reader.rows(session_id=reader.last_session("one"), bed="one"))
    assert past.state.phase.value in ("ending", "observing")


@pytest.mark.shows("raised:journal_damaged", "S9", "S13", "H19")
async def test_a_journal_deleted_under_a_running_infusion_goes_on_in_a_new_file(tmp_path: Path) -> None:
    async with station(tmp_path, "none") as (nurse, pump):
        await nurse.start_session()
        head = nurse.station.journal.head[0]
        for file in (tmp_path / "data").glob("journal.sqlite3*"):
            file.unlink()
        await nurse.until(lambda: standing(nurse, "journal_damaged"), 8)
        await still_supervised(nurse, pump)
        await stops(nurse, pump)
    with Reader.open(journal_of(tmp_path)) as reader:
        assert check(reader)[0].whole
        assert reader.origin()[1] >= head - 5
        assert BEGUN in {row.kind for row in reader.rows()}


@pytest.mark.shows("raised:journal_damaged", "over:journal_damaged", "S10", "H19")
async def test_a_daemon_on_a_destroyed_journal_starts_says_so_and_leaves_the_pump_alone(tmp_path: Path) -> None:
    pump = Device(mode="safe")
    destroy(journal_of(tmp_path))
    async with station(tmp_path, "none", device=pump) as (nurse, _):
        await nurse.until(lambda: nurse.bed.state.report is not None)
        assert standing(nurse, "journal_damaged")
        pump.control({"do": "set_rate", "ml_h": 20.0})
        pump.control({"do": "press", "key": "run"})
        await nurse.until(lambda: standing(nurse, "infusing_unknown_session"), 8)
        assert not nurse.bed.monitor_only, "no session was lost that anybody knows of"
        await asyncio.sleep(2)
        assert pump.truth()["infusing"], "nobody's pump is not touched"
        alarm = next(each for each in nurse.bed.alarms.board.alarms if each.code == "journal_damaged")
        assert alarm.entry.priority == "high"
        assert (await nurse.order("alarm.reset", alarm_id=alarm.alarm_id))["state"] == "done"
        assert not standing(nurse, "journal_damaged")
    assert len(list((tmp_path / "data").glob("*.damaged-*"))) == 1


def destroy(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff" * 8192)


def standing(nurse: Nurse, code: str) -> bool:
    return any(alarm.code == code for alarm in nurse.bed.alarms.board.alarms)


# --- real errors of a real system -------------------------------------------------------------------------------------

FILL_UP = """
import json, resource, sys, time
from pathlib import Path
from pumpd.records.journal import Journal
path = Path(sys.argv[1])
journal = Journal(path, "x")
def write(count):
    for _ in range(count):
        journal.append("event", "x" * 1000, bed="one", session_id="s1", ts="t", wire=0.0)
def wait(holds):
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, journal.last_error
        time.sleep(0.01)
write(20)
wait(lambda: journal.waiting == 0)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
write(400)
wait(lambda: journal.last_error is not None)
said = journal.last_error
waiting = journal.waiting
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
wait(lambda: journal.waiting == 0)
print(json.dumps([said, waiting, journal.close()]))
"""

WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from pumpd.clock import SystemClock
from pumpd.records.store import Store
from pumpd.records.takeover import take_over
async def write():
    journal = take_over(Path(sys.argv[1]), SystemClock(), ["one"])
    number = 0
    while True:
        for _ in range(50):
            number += 1
            seq = journal.append("event", "x" * (number % 900), bed="one", ts="t", wire=0.0, essential=number % 3 == 0)
        if await journal.durable(seq, within_s=30):
            print(seq, flush=True)
asyncio.run(write())
"""


def test_a_file_that_may_not_grow_is_a_real_error_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    told = subprocess.run([sys.executable, "-c", FILL_UP, path], capture_output=True, check=True, text=True)
    said, waiting, lost = json.loads(told.stdout)
    assert "full" in said or "I/O" in said
    assert waiting > 0
    assert lost == 0
    with Reader.open(path) as reader:
        chain, _ = check(reader)
    assert (chain.rows, chain.whole) == (420, True)


NO_RIGHTS = """
import os, signal, sys
from pathlib import Path
from pumpd.clock import SystemClock
from pumpd.records.journal import Journal
from pumpd.records.takeover import past_of, take_over
path = Path(sys.argv[1])
take_over(Path(sys.argv[2]), SystemClock(), ["one"]).close()  # loads all that a stranger may not read later
if os.geteuid() == 0:
    os.setuid(65534)
journal = take_over(path, SystemClock(), ["one"])
assert "ermission denied" in journal.last_error, journal.last_error
print([row.data for row in past_of(journal, "one")], journal.append("note", "2", bed="one", ts="t", wire=0.0))
"""
WRITE_ONE = """
import os, signal, sys
from pathlib import Path
from pumpd.records.journal import Journal
journal = Journal(Path(sys.argv[1]), "x", threaded=False)
journal.append("note", "1", bed="one", ts="t", wire=0.0)
list(journal.rows())
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
journal.close()
"""


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_on_a_disk_that_became_read_only_the_past_is_read_and_new_rows_wait(end: str, tmp_path: Path) -> None:
    """As another user who may only read; the files as an orderly end or a crash has left them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite3"
        subprocess.run([sys.executable, "-c", WRITE_ONE, path, end], check=False)
        assert path.with_name(path.name + "-wal").exists() == (end == "killed")
        path.parent.chmod(0o555)
        command = [sys.executable, "-c", NO_RIGHTS, str(path), str(tmp_path / "gone" / "journal.sqlite3")]
        try:
            told = subprocess.run(command, capture_output=True, check=False, text=True)
        finally:
            path.parent.chmod(0o755)
        assert told.stdout.endswith("['1'] 2\n"), told
        with Reader.open(path) as reader:
            assert check(reader)[0].rows == 1


@pytest.mark.shows("S10")
def test_killed_in_the_midst_of_writing_again_and_again_there_is_no_gap(tmp_path: Path) -> None:
    path, dice, durable = tmp_path / "journal.sqlite3", random.Random(seed()), 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, path], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randrange(1, 30)):
                durable = int(writer.stdout.readline())
            time.sleep(dice.random() * 0.02)
            writer.kill()
        with Reader.open(path) as reader:
            chain, _ = check(reader)
        assert chain.whole
        assert chain.rows == chain.seq >= durable
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_a_day_of_rows_and_a_reader_beside_it_leave_the_log_small(tmp_path: Path) -> None:
    """Ten beds at two rows a second for a day are 1.7 million; 60 000 of them make the log turn over ten times."""
    path, most = tmp_path / "journal.sqlite3", 0
    with closing(Journal(path, "x")) as journal, Reader.open(path) as reader, slow_walk(path) as walks:
        for _thousand in range(60):
            for _ in range(1000):
                seq = journal.append("event", "x" * 350, bed="one", session_id="s", ts="t", wire=0.0, essential=False)
            deadline = time.monotonic() + 30
            while journal.waiting:
                assert time.monotonic() < deadline, f"the writer is held up: {journal.last_error}"
                time.sleep(0.005)
            most = max(most, path.with_name(path.name + "-wal").stat().st_size)
        assert reader.head()[0] == seq == 60_000
        assert walks[0] > 0, "somebody did read meanwhile"
    assert most < 40_000_000
    with Reader.open(path) as reader:
        assert check(reader)[0].rows == 60_000


@contextmanager
def slow_walk(path: Path) -> Iterator[list[int]]:
    """Verify the journal over and over in another thread."""
    walks, end = [0], threading.Event()

    def walk() -> None:
        while not end.is_set():
            with Reader.open(path) as reader:
                assert check(reader)[0].whole
                walks[0] += 1

    thread = threading.Thread(target=walk)
    thread.start()
    try:
        yield walks
    finally:
        end.set()
        thread.join()
