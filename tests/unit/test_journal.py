from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pumpd.records.chain import check
from pumpd.records.journal import Journal, JournalBusy, Reader
from pumpd.records.journal_file import GENESIS, row_hash

BOOT = "b" * 32
TS = "2026-11-22T10:00:00.000Z"

COUNT_ROWS = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM journal").fetchone()[0])
"""
WRITE_ON = """
import asyncio, sys
from pathlib import Path
from pumpd.records.journal import Journal
async def write():
    journal = Journal(Path(sys.argv[1]), "x")
    while True:
        for _ in range(20):
            seq = journal.append("event", "{}", bed="one", session_id="s1", ts="t", wire=0.0)
        if await journal.durable(seq, within_s=30):
            print(seq, flush=True)
asyncio.run(write())
"""
HOLD_IT = """
import sys
from pathlib import Path
from pumpd.records.journal import Journal
Journal(Path(sys.argv[1]), "x")
print("held", flush=True)
sys.stdin.read()
"""


class Disk:
    """Stands where the commit is: can refuse, or hold the committer until it is told to go on."""

    def __init__(self) -> None:
        self.broken = False
        self.commits = 0
        self.free = threading.Event()
        self.free.set()

    def __call__(self, db: sqlite3.Connection) -> None:
        self.free.wait()
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")
        self.commits += 1
        db.commit()


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.free.set()  # no committer thread outlives its test


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def write(journal: Journal, number: int = 0, *, wire: float | None = None, essential: bool = True) -> int:
    data = json.dumps({"number": number})
    at = float(number) if wire is None else wire
    return journal.append("event", data, bed="one", session_id="s1", ts=TS, wire=at, essential=essential)


def _db(journal: Journal) -> sqlite3.Connection:
    db = journal._store.db
    assert db is not None
    return db


def numbers(path: Path) -> list[int]:
    with Reader.open(path) as reader:
        return [json.loads(row.data)["number"] for row in reader.rows()]


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.real_time
async def test_a_durable_row_can_be_read_by_another_process_while_the_journal_is_open(
    path: Path, threaded: bool
) -> None:
    with closing(Journal(path, BOOT, threaded=threaded)) as journal:
        seq = [write(journal, number) for number in range(3)][-1]
        assert await journal.durable(seq)
        reading = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COUNT_ROWS, path, stdout=asyncio.subprocess.PIPE
        )
        assert (await reading.communicate())[0].strip() == b"3"


@pytest.mark.shows("H35", "H38")
@pytest.mark.parametrize("threaded", [True, False])
def test_closing_writes_what_waits_and_the_next_start_goes_on_with_number_and_chain(path: Path, threaded: bool) -> None:
    for start in range(3):
        journal = Journal(path, BOOT, threaded=threaded)
        write(journal, start)
        write(journal, start + 10)
        assert journal.close() == 0
    assert numbers(path) == [0, 10, 1, 11, 2, 12]
    with Reader.open(path) as reader:
        assert check(reader)[0].whole
        assert [row.seq for row in reader.rows()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.shows("H37")
def test_a_row_comes_back_as_it_was_given(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        journal.append("decision", '{"ä":1}', bed="one", session_id="s1", ts=TS, wire=1.1 + 2.2, late=True)
        (row,) = journal.rows()
    assert row[3:] == ("one", "s1", "decision", TS, 1.1 + 2.2, BOOT, True, '{"ä":1}')
    assert row.prev_hash == GENESIS
    assert row.hash == row_hash(row.seq, *row[2:])


def test_the_chain_is_the_sha256_that_a_stranger_would_compute() -> None:
    # computed with: printf %s '[1,"00...0","one","","note","t",1.5,"boot",false,"{}"]' | sha256sum
    text = f'[1,"{GENESIS}","one","","note","t",1.5,"boot",false,"{{}}"]'
    told = (
        subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True).stdout.split()[0].decode()
    )
    assert row_hash(1, GENESIS, "one", "", "note", "t", 1.5, "boot", False, "{}") == told


@pytest.mark.shows("H35")
@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE journal SET data = '{\"number\": 9}' WHERE seq = 3", 3),
        ("UPDATE journal SET late = 1 WHERE seq = 3", 3),
        ("UPDATE journal SET wire = wire + 0.001 WHERE seq = 3", 3),
        ("UPDATE journal SET session_id = 's2' WHERE seq = 3", 3),
        ("DELETE FROM journal WHERE seq = 3", 4),
        ("DELETE FROM journal WHERE seq = 1", 2),
    ],
)
def test_verify_finds_the_first_row_that_was_tampered_with(path: Path, harm: str, found: int) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for number in range(5):
            write(journal, number)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete; {harm}")
    with Reader.open(path) as reader:
        broken = check(reader)[0].broken
        assert broken is not None
        assert broken.seq == found


def test_a_forged_row_with_a_hash_of_its_own_breaks_the_chain_behind_it(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for number in range(5):
            write(journal, number)
        third = list(journal.rows())[2]
    forged = row_hash(third.seq, *third._replace(data="{}")[2:])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER journal_no_update")
        db.execute("UPDATE journal SET data = '{}', hash = ? WHERE seq = 3", (forged,))
    with Reader.open(path) as reader:
        broken = check(reader)[0].broken
        assert broken is not None
        assert (broken.seq, broken.what) == (4, "changed")


@pytest.mark.shows("H35", "H38")
@pytest.mark.parametrize("harm", ["UPDATE journal SET data = ''", "DELETE FROM journal"])
def test_the_file_itself_refuses_to_change_a_row(path: Path, harm: str) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        write(journal)
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(harm)


def test_a_second_daemon_is_refused_and_told_who_has_the_journal(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_IT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(JournalBusy, match=f"in use by process {other.pid}: stop that pumpd first"):
            Journal(path, BOOT)
        other.kill()
    Journal(path, BOOT).close()  # the lock died with its owner


def test_a_file_of_another_format_is_refused_and_its_lock_let_go(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError, match="format 99; this pumpd writes format 1"):
            Journal(path, BOOT)


@pytest.mark.shows("S9")
@pytest.mark.real_time
async def test_append_does_not_wait_for_a_blocked_disk_and_durable_says_no_in_time(path: Path, disk: Disk) -> None:
    with closing(Journal(path, BOOT, commit=disk)) as journal:
        disk.free.clear()
        seq = write(journal, wire=100.0)
        assert seq == 1
        assert not await journal.durable(seq, within_s=0.05)
        assert journal.behind_s(102.5) == 2.5
        disk.free.set()
        assert await journal.durable(seq, within_s=30)
        assert journal.behind_s(102.5) == 0.0
    assert numbers(path) == [0]


@pytest.mark.real_time
async def test_a_failing_disk_is_told_retried_and_loses_nothing(path: Path, disk: Disk) -> None:
    with closing(Journal(path, BOOT, commit=disk)) as journal:
        disk.broken = True
        for number in range(4):
            write(journal, number)
        assert not await journal.durable(4, within_s=0.1)
        assert journal.last_error == "disk I/O error"
        disk.broken = False
        assert await journal.durable(4, within_s=30)
        assert journal.last_error is None
    assert numbers(path) == [0, 1, 2, 3]


@pytest.mark.real_time
async def test_several_who_wait_are_told_by_one_commit_and_a_cancelled_one_leaves_nothing(
    path: Path, disk: Disk
) -> None:
    with closing(Journal(path, BOOT, commit=disk)) as journal:
        disk.free.clear()
        waiting = [asyncio.create_task(journal.durable(write(journal, number), within_s=30)) for number in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        disk.free.set()
        assert await asyncio.gather(*waiting[1:]) == [True] * 4
        assert disk.commits <= 2
        assert not journal._waiters


@pytest.mark.real_time
async def test_who_waits_for_a_row_cuts_the_gathering_short(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpd.records.journal.LINGER_S", 3600.0)
    with closing(Journal(path, BOOT)) as journal:
        assert await journal.durable(write(journal, essential=False), within_s=30)


def test_an_essential_row_is_written_at_once_though_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpd.records.journal.LINGER_S", 3600.0)
    with closing(Journal(path, BOOT)) as journal:
        write(journal, essential=False)
        write(journal, essential=True)
        while journal.waiting:
            time.sleep(0.001)
        assert len(list(journal.rows())) == 2


@pytest.mark.shows("S9")
def test_in_service_a_commit_means_the_disk_and_not_its_cache(path: Path) -> None:
    with closing(Journal(path, BOOT)) as journal:
        assert _db(journal).execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert _db(journal).execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.shows("S9")
def test_a_process_killed_at_any_row_leaves_a_whole_chain_with_all_it_called_durable(path: Path) -> None:
    for told in (1, 7, 40):
        with subprocess.Popen([sys.executable, "-c", WRITE_ON, path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            durable = [int(writer.stdout.readline()) for _ in range(told)][-1]
            writer.kill()
        with Reader.open(path) as reader:
            assert check(reader)[0].whole
            assert reader.head()[0] >= durable


async def test_a_row_never_written_is_never_durable(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        assert not await journal.durable(0)
        assert not await journal.durable(1)


def test_beyond_the_bound_readings_are_refused_counted_and_said_but_decisions_kept(path: Path, disk: Disk) -> None:
    disk.broken = True
    journal = Journal(path, BOOT, threaded=False, commit=disk, most_waiting=3)
    kept = [write(journal, number, essential=False) for number in range(5)]
    assert kept == [1, 2, 3, 0, 0]
    assert journal.dropped == 2
    write(journal, 99)
    disk.broken = False
    assert journal.close() == 0
    with Reader.open(path) as reader:
        rows = list(reader.rows())
        assert check(reader)[0].whole
    assert [row.kind for row in rows] == ["event"] * 3 + ["journal.gap", "event"]
    assert rows[3].data == '{"dropped":2}'


def test_closing_on_a_dead_disk_says_how_much_was_lost(path: Path, disk: Disk) -> None:
    disk.broken = True
    journal = Journal(path, BOOT, threaded=False, commit=disk)
    write(journal)
    write(journal)
    assert journal.close() == 2
    assert numbers(path) == []


@pytest.mark.shows("S9")
async def test_a_crash_leaves_exactly_what_was_durable(path: Path) -> None:
    journal = Journal(path, BOOT, threaded=False)
    assert await journal.durable(write(journal, 1))
    write(journal, 2)
    journal.close(write_rest=False)
    assert numbers(path) == [1]


def test_inline_commits_in_groups_and_shows_a_broken_disk_within_two_seconds(path: Path, disk: Disk) -> None:
    with closing(Journal(path, BOOT, threaded=False, commit=disk)) as journal:
        for poll in range(100):
            write(journal, poll, wire=poll / 10)
            assert journal.behind_s(poll / 10) == 0.0
        assert 5 <= disk.commits <= 12
        disk.broken = True
        write(journal, 100, wire=10.0)
        assert journal.behind_s(12.0) == pytest.approx(2.0, abs=1.0)
        assert journal.last_error == "disk I/O error"
        disk.broken = False
        assert journal.behind_s(12.25) == 0.0


async def test_inline_durable_gives_up_at_its_deadline(path: Path, disk: Disk) -> None:
    with closing(Journal(path, BOOT, threaded=False, commit=disk)) as journal:
        disk.broken = True
        assert not await journal.durable(write(journal), within_s=0.01)
        disk.broken = False
        assert await journal.durable(1, within_s=0.01)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    dumps = []
    for run in ("first", "second"):
        with closing(Journal(tmp_path / run, BOOT, threaded=False)) as journal:
            for number in range(2000):
                write(journal, number)
            head = journal.head
        with closing(sqlite3.connect(tmp_path / run)) as db:
            dumps.append((head, list(db.iterdump())))
    assert dumps[0] == dumps[1]


def test_rows_are_chosen_by_session_bed_and_place(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for number, (bed, session) in enumerate(
            [("one", "s1"), ("two", "s2"), ("one", ""), ("one", "s3"), ("two", "s2")]
        ):
            journal.append("event", str(number), bed=bed, session_id=session, ts=f"t{number}", wire=0.0)
        assert [row.data for row in journal.rows(session_id="s2")] == ["1", "4"]
        assert [row.data for row in journal.rows(bed="one")] == ["0", "2", "3"]
        assert [row.data for row in journal.rows(bed="one", since=1)] == ["2", "3"]
        assert [row.data for row in journal.rows(since=4)] == ["4"]
        assert (journal.last_session("one"), journal.last_session("two")) == ("s3", "s2")
        assert journal.last_session("three") is None
    with Reader.open(path) as reader:
        assert reader.sessions() == [("s1", "one", "t0", "t0"), ("s2", "two", "t1", "t4"), ("s3", "one", "t3", "t3")]


@pytest.mark.shows("S12")
def test_what_a_start_asks_for_is_found_without_reading_the_whole_journal(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for number in range(20_000):
            journal.append("event", f"{number}", bed="one", session_id=f"s{number // 5000}", ts=TS, wire=0.0)
        journal.append("PlanOrdered", "{}", bed="two", session_id="s9", ts=TS, wire=0.0)
        db, steps = _db(journal), list[None]()
        list(journal.rows(since=20_000))
        db.set_progress_handler(lambda: steps.append(None), 1000)  # every thousand steps of the machine inside
        assert journal.last_session("two") == "s9"
        assert journal.last_session("three") is None
        assert next(journal.rows(session_id="s9", bed="two")).seq == 20_001
        assert [row.session_id for row in journal.rows(session_id="s3", bed="one", since=19_990)] == ["s3"] * 10
        assert len(list(journal.plans_and_starts())) == 1
        assert len(steps) <= 3
        db.set_progress_handler(None, 0)


def test_command_ids_are_remembered_over_a_restart_and_forgotten_after_their_time(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        journal.remember("cmd-1", "done", until=1000.0)
        journal.remember("cmd-2", "done", until=2000.0)
        assert journal.recall("cmd-1", now=999.0) == "done"
    with closing(Journal(path, BOOT)) as journal:
        assert journal.recall("cmd-1", now=1000.0) is None
        assert journal.recall("cmd-2", now=1000.0) == "done"
        assert journal.recall("cmd-3", now=1000.0) is None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT key FROM memory").fetchall() == [("cmd-2",)]


def test_what_is_remembered_anew_does_not_keep_older_ids_from_being_forgotten(path: Path) -> None:
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for key, until in (("cmd-1", 1000.0), ("cmd-2", 1500.0), ("cmd-1", 2000.0)):
            journal.remember(key, "done", until)
        assert journal.recall("cmd-1", now=1600.0) == "done"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT key FROM memory").fetchall() == [("cmd-1",)]


def test_of_too_many_the_oldest_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpd.records.journal.MEMORIES_MAX", 2)
    with closing(Journal(path, BOOT, threaded=False)) as journal:
        for number in range(4):
            journal.remember(f"cmd-{number}", "done", 1000.0)
        write(journal)
    with closing(Journal(path, BOOT)) as journal:
        assert [key for key, _, _ in journal.memories("cmd-", 0.0)] == ["cmd-2", "cmd-3"]


@pytest.mark.real_time
async def test_a_remembered_id_is_durable_with_the_row_that_follows(path: Path) -> None:
    with closing(Journal(path, BOOT)) as journal:
        journal.remember("cmd-1", "started", until=1000.0)
        assert await journal.durable(write(journal), within_s=30)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT value FROM memory").fetchall() == [("started",)]


def test_no_journal_to_read_is_said_by_its_path(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no journal at {path}"):
        Reader.open(path)
