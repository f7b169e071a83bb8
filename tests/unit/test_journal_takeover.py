"""A journal that was damaged while nobody looked, and a daemon that starts on it (S9, S10, S13)."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pumpd.core.state import Phase, State
from pumpd.records import store
from pumpd.records.chain import check
from pumpd.records.journal import BEGUN, Journal, Reader
from pumpd.records.journal_file import Row
from pumpd.records.recall import recall, replay
from pumpd.records.takeover import UNSURE, Damaged, past_of, take_over
from pumpd.testing import VirtualClock
from tests.bedside import Bedside, Room, ward
from tests.conftest import seed
from tests.scenario.test_blind import orders_in

BEDS = ("one", "two")
FLIPS = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


async def recorded(path: Path, clock: VirtualClock, seconds: float = 90) -> list[Row]:
    """A real session of bed one, and one of bed two that is over before it begins; the rows in the file."""
    journal = Journal(path, clock.boot_id, threaded=False)
    room = Room(clock=clock, journal=journal)
    one, two = Bedside(room, "one"), Bedside(room, "two", address=2)
    async with ward(one, two):
        await two.armed()
        await two.order("session.stop")
        await two.until(lambda: two.phase == "aborted", 30)
        await one.running()
        await one.until_session(seconds)
    journal.close()
    with Reader.open(path) as reader:
        return list(reader.rows())


def harm(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete;" + sql)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def read(path: Path) -> bytes:
    return path.read_bytes()


def content(row: Row) -> tuple[object, ...]:
    return row[3:]  # what was recorded; number and hashes are those of its file


def since_planned(rows: list[Row], bed: str = "one") -> list[Row]:
    planned = next(row.seq for row in rows if row.bed == bed and row.kind == "PlanOrdered")
    return [row for row in rows if row.bed == bed and row.seq >= planned]


def aside(path: Path) -> list[Path]:
    return [file for file in path.parent.glob("*.damaged-*") if not file.name.endswith(("-wal", "-shm"))]


def taken(path: Path, clock: VirtualClock) -> Journal:
    return take_over(path, clock, BEDS)


def begun(journal: Journal) -> dict[str, object]:
    first = next(journal.rows())
    assert first.kind == BEGUN
    told: dict[str, object] = json.loads(first.data)
    return told


async def test_a_whole_journal_is_taken_up_as_it_is(path: Path, clock: VirtualClock) -> None:
    rows = await recorded(path, clock)
    with closing(taken(path, clock)) as journal:
        assert journal.damage is None
        assert journal.head[0] == len(rows)
        assert list(past_of(journal, "one")) == since_planned(rows)
    assert aside(path) == []


async def test_damage_before_the_open_session_leaves_it_sure(path: Path, clock: VirtualClock) -> None:
    """Bed one goes on with all it knew, in the new file; bed two's past is behind the damage, and it was over."""
    rows = await recorded(path, clock)
    harm(path, "UPDATE journal SET data = '{}' WHERE seq = 5")
    with closing(taken(path, clock)) as journal:
        told = begun(journal)
        (kept,) = aside(path)
        assert (told["file"], told["seq"], told["hash"]) == (kept.name, 4, rows[3].hash)
        assert told["why"] == "row 5 is not as it was written"
        past = list(past_of(journal, "one"))
        assert [content(row) for row in past] == [content(row) for row in since_planned(rows)]
        assert recall(past).state.phase is Phase.RUNNING
        assert replay(past)[1] == []
        assert list(past_of(journal, "two")) == []
        assert journal.damage is not None
    with Reader.open(path) as reader:
        assert check(reader)[0].whole, "the chain leads from the old file's last good row into the new file"
        assert reader.origin() == (kept.name, 4, rows[3].hash)
    with Reader.open(kept) as reader:
        assert len(list(reader.rows())) == len(rows), "nothing is deleted or repaired"


async def test_an_index_that_hides_a_row_is_damage_though_every_row_is_there(path: Path, clock: VirtualClock) -> None:
    rows = await recorded(path, clock)
    hidden = since_planned(rows)[-5].seq
    true = "CREATE INDEX journal_bed ON journal (bed) WHERE bed <> ''"
    for sql, then in ((f"{true} AND seq <> {hidden}", "REINDEX"), (true, "SELECT 1")):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'journal_bed'", (sql,))
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(then)
    with Reader.open(path) as reader:
        assert check(reader)[0].whole
        assert hidden not in [row.seq for row in reader.rows(bed="one")]
    with closing(taken(path, clock)) as journal:
        assert begun(journal)["why"] == "the index of bed one does not fit its rows"
        past = list(past_of(journal, "one"))
    assert [content(row) for row in past] == [content(row) for row in since_planned(rows)], "all of it is sure"


async def test_damage_within_an_open_session_loses_it_for_good_and_says_so(path: Path, clock: VirtualClock) -> None:
    rows = await recorded(path, clock)
    middle = next(row.seq for row in reversed(rows) if row.kind == "PumpReported") - 20
    harm(path, f"DELETE FROM journal WHERE seq = {middle}")
    for start in range(2):  # the second start finds a sound file that says the bed is not known
        with closing(taken(path, clock)) as journal:
            assert (journal.damage is None) == (start == 1)
            with pytest.raises(Damaged, match="a session was open when the journal was damaged"):
                list(past_of(journal, "one"))
            assert list(past_of(journal, "two")) == []
            assert [row.bed for row in journal.rows() if row.kind == UNSURE] == ["one"]


async def test_the_bed_of_a_lost_session_is_only_watched_and_its_pump_not_touched(
    path: Path, clock: VirtualClock
) -> None:
    rows = await recorded(path, clock)
    harm(path, f"UPDATE journal SET data = '{{}}' WHERE seq = {len(rows) - 9}")
    taken(path, clock).close()
    bed = Bedside(Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False)))
    bed.ward.recover(past_of(bed.room.journal, "one"))
    assert bed.ward.bed.monitor_only
    async with ward(bed):
        bed.do("set_rate", ml_h=20.0)
        bed.key("run")
        await asyncio.sleep(20)
        assert "monitor_only" in bed.alarms
        assert bed.truth["infusing"]
        assert orders_in(bed) == []
    bed.room.journal.close()
    again = Bedside(Room(clock=clock, journal=Journal(path, clock.boot_id, threaded=False)))
    again.ward.recover(past_of(again.room.journal, "one"))
    assert again.ward.bed.monitor_only, "also for the next process, until a person resets the alarm"
    again.room.journal.close()


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("header", lambda path: path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])),
        ("all zero", lambda path: path.write_bytes(bytes(path.stat().st_size))),
        ("text", lambda path: path.write_text("no journal any more\n" * 99)),
        ("another format", lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99")),
        ("another table", lambda path: harm(path, "DROP TABLE journal; CREATE TABLE journal (x); ")),
    ],
)
async def test_a_file_that_is_no_journal_is_set_aside_and_a_new_one_begun(
    what: str, spoil: Callable[[Path], object], path: Path, clock: VirtualClock
) -> None:
    await recorded(path, clock, seconds=5)
    spoil(path)
    spoilt = read(path)
    with closing(taken(path, clock)) as journal:
        (kept,) = aside(path)
        assert begun(journal)["file"] == kept.name
        assert journal.damage is not None
        if what != "another format":  # that one can be read, and its hashes are as they should be
            assert list(past_of(journal, "one")) == list(past_of(journal, "two")) == []
    if what != "another table":
        assert read(kept) == spoilt
    with Reader.open(path) as reader:
        assert check(reader)[0].whole


@pytest.mark.shows("H35", "S9", "S10")
async def test_a_session_id_that_is_no_text_any_more_is_damage_and_does_not_end_the_start(
    path: Path, clock: VirtualClock
) -> None:
    """A flipped bit in the newest row of a bed: whoever looks for its session asks with that very id."""
    await recorded(path, clock)
    newest = "(SELECT max(seq) FROM journal WHERE bed = 'one')"
    harm(path, f"UPDATE journal SET session_id = CAST(x'39b6' AS TEXT) WHERE seq = {newest}")
    with closing(taken(path, clock)) as journal:
        assert journal.damage is not None
        assert len(aside(path)) == 1


async def test_an_empty_file_is_a_journal_that_begins(path: Path, clock: VirtualClock) -> None:
    write(path, "")
    with closing(taken(path, clock)) as journal:
        assert journal.damage is None
        assert list(past_of(journal, "one")) == []


async def test_two_damages_within_one_second_are_kept_apart(path: Path, clock: VirtualClock) -> None:
    for _ in range(3):
        write(path, "no journal")
        taken(path, clock).close()
    assert len(aside(path)) == 3


async def test_killed_between_setting_aside_and_beginning_anew_the_next_start_ends_it(
    path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recorded(path, clock)
    harm(path, "UPDATE journal SET data = '{}' WHERE seq = 5")

    def killed(old: Path, kept: Path) -> None:
        store.set_aside(old, kept)
        raise KeyboardInterrupt

    monkeypatch.setattr("pumpd.records.takeover.set_aside", killed)
    with pytest.raises(KeyboardInterrupt):
        taken(path, clock)
    assert not path.exists()  # noqa: ASYNC240
    monkeypatch.undo()
    with closing(taken(path, clock)) as journal:
        assert recall(past_of(journal, "one")).state.phase is Phase.RUNNING
        assert begun(journal)["seq"] == 4


@pytest.mark.timeout(120)
@pytest.mark.shows("H35", "S9", "S10")
async def test_no_flipped_byte_ends_the_start_or_passes_for_what_was_written(
    tmp_path: Path, clock: VirtualClock
) -> None:
    """200 places of a real file. What is recalled is what was recorded, or it is said that it is not known."""
    origin = tmp_path / "origin.sqlite3"
    rows = await recorded(origin, clock)
    recorded_ = {content(row) for row in rows}
    of_one = [content(row) for row in rows if row.bed == "one"]
    whole, dice, found = origin.read_bytes(), random.Random(seed()), 0
    for number in range(FLIPS):
        path = tmp_path / str(number) / "journal.sqlite3"
        path.parent.mkdir()
        place, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        where = f"byte {place}, bit {bit}"
        try:
            with Reader.open(path) as reader:
                verdict, _ = check(reader)
                seen = [content(row) for row in reader.rows()] if verdict.whole else []
        except sqlite3.Error:
            verdict, seen = None, []
        if verdict is not None and verdict.whole:
            assert seen == [content(row) for row in rows], f"{where}: a change that nobody names"
        else:
            found += 1
        with closing(taken(path, clock)) as journal:
            for bed in BEDS:
                try:
                    past = [content(row) for row in past_of(journal, bed)]
                except (Damaged, sqlite3.Error):
                    continue
                assert set(past) <= recorded_, where
                if bed == "one" and past:
                    assert past == of_one[-len(past) :], f"{where}: not all of what was recorded to the end"
            assert journal.append("note", "{}", bed="one", ts="t", wire=0.0) > 0
        with Reader.open(path) as reader:
            assert check(reader)[0].whole or journal.damage is None, f"{where}: the new file is whole"
        shutil.rmtree(path.parent)
    assert found > FLIPS / 2, "most bytes of a journal are its rows"


async def test_a_torn_log_loses_its_last_rows_and_nothing_else(tmp_path: Path, clock: VirtualClock) -> None:
    live = tmp_path / "live.sqlite3"
    with closing(Journal(live, clock.boot_id, threaded=False)) as journal:
        for number in range(50):
            journal.append("event", f"{number}", bed="one", ts="t", wire=float(number))
            list(journal.rows(since=journal.head[0]))  # one commit for each
        log = live.with_name(live.name + "-wal").read_bytes()
        torn = tmp_path / "torn.sqlite3"
        for length in range(0, len(log), len(log) // 40):
            torn.write_bytes(live.read_bytes())
            torn.with_name(torn.name + "-wal").write_bytes(log[:length])
            with closing(taken(torn, clock)) as left:
                assert left.damage is None
                assert [row.data for row in left.rows()] == [f"{n}" for n in range(left.head[0])]
    assert aside(torn) == []


# --- a disk that cannot be written, or read ---------------------------------------------------------------------------


async def test_where_the_folder_is_gone_it_supervises_and_writes_all_once_it_is_back(
    tmp_path: Path, clock: VirtualClock
) -> None:
    path = tmp_path / "mount" / "journal.sqlite3"
    journal = taken(path, clock)
    journal.append("note", "1", bed="one", ts="t", wire=0.0)
    assert list(past_of(journal, "one")) == []
    wait_for(lambda: "unable to open" in str(journal.last_error) or "No such file" in str(journal.last_error))
    assert journal.behind_s(5.0) == 5.0
    path.parent.mkdir()
    wait_for(lambda: journal.waiting == 0)
    assert journal.close() == 0
    with Reader.open(path) as reader:
        assert [row.data for row in reader.rows()] == ["1"]
        assert check(reader)[0].whole


async def test_where_the_file_cannot_be_written_the_session_is_recalled_and_the_rows_wait(
    path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await recorded(path, clock)

    def read_only(*_: object, **__: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error

    for module in ("takeover", "store"):
        monkeypatch.setattr(f"pumpd.records.{module}.open_for_writing", read_only)
    journal = taken(path, clock)
    assert journal.damage is None
    assert recall(past_of(journal, "one")).state.phase is Phase.RUNNING
    assert journal.append("note", "1", bed="one", ts="t", wire=0.0) == len(rows) + 1
    assert not await journal.durable(len(rows) + 1, within_s=0.0)
    monkeypatch.undo()
    wait_for(lambda: journal.waiting == 0)
    assert journal.close() == 0
    with Reader.open(path) as reader:
        assert check(reader)[0].rows == len(rows) + 1


async def test_a_lock_that_cannot_be_made_is_no_reason_not_to_supervise(
    path: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> object:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pumpd.records.takeover.Lock", refused)
    journal = taken(path, clock)
    assert "Read-only file system" in str(journal.last_error)
    journal.close()


async def test_a_file_taken_away_while_it_is_written_is_noticed_and_a_new_one_goes_on(
    path: Path, clock: VirtualClock
) -> None:
    with closing(Journal(path, clock.boot_id)) as journal:
        first = journal.append("note", "1", bed="one", ts="t", wire=0.0)
        wait_for(lambda: journal.waiting == 0)
        head = journal.head
        for file in path.parent.glob("journal.sqlite3*"):
            file.rename(file.with_name("taken-" + file.name))
        journal.append("note", "2", bed="one", ts="t", wire=1.0)
        wait_for(lambda: journal.waiting == 0)
        assert journal.damage is not None
        assert journal.damage[:3] == (store.GONE, *head)
        journal.append("note", "3", bed="one", ts="t", wire=2.0)
    with Reader.open(path) as reader:
        assert [row.data for row in reader.rows() if row.kind == "note"] == ["2", "3"]
        assert [row.kind for row in reader.rows()] == ["note", BEGUN, "note"]
        assert check(reader)[0].whole, "its first row goes on from the last row of the file that is gone"
    with Reader.open(path.with_name("taken-journal.sqlite3")) as reader:
        assert reader.head()[0] == first


async def test_a_file_damaged_while_it_is_written_is_set_aside_and_the_session_behind_it_is_unsure(
    path: Path, clock: VirtualClock
) -> None:
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    malformed.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    broken = [malformed]

    def commit(db: sqlite3.Connection) -> None:
        if broken and number == 5:
            raise broken.pop()
        db.commit()

    with closing(Journal(path, clock.boot_id, threaded=False, commit=commit)) as journal:
        for number in range(10):
            journal.append("PumpReported", "{}", bed="one", session_id="s1", ts="t", wire=float(number))
            list(journal.rows())
        assert journal.damage is not None
        assert journal.damage.why == "database disk image is malformed"
    (kept,) = aside(path)
    with closing(taken(path, clock)) as again:
        assert again.damage is None
        with pytest.raises(Damaged, match="the beginning of session s1 is missing"):
            list(past_of(again, "one"))
    with Reader.open(kept) as old, Reader.open(path) as new:
        assert [row.seq for row in (*old.rows(), *new.rows())] == list(range(1, 12))


async def test_an_error_of_the_disk_while_a_session_is_recalled_makes_its_bed_an_onlooker(
    path: Path, clock: VirtualClock
) -> None:
    await recorded(path, clock, seconds=20)

    def failing() -> object:
        with Reader.open(path) as reader:
            for number, row in enumerate(reader.rows(bed="one")):
                if number == 15:
                    raise sqlite3.OperationalError("disk I/O error")
                yield row

    bed = Bedside(Room(clock=clock))
    bed.ward.recover(failing())  # type: ignore[arg-type]
    assert bed.ward.bed.monitor_only
    assert "monitor_only" in bed.alarms
    assert bed.state == State(), "half a past is none"


def wait_for(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """For the committer thread, which keeps real time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
