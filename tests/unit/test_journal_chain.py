"""What `pumpd journal verify` finds in a file, and says."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pumpd.cli import call
from pumpd.records.chain import check, walk
from pumpd.records.journal import Journal, Reader
from pumpd.records.journal_file import GENESIS, Row, row_hash

TS = "2026-11-22T10:00:0{}.000Z"
FORGE = "DROP TRIGGER journal_no_update; DROP TRIGGER journal_no_delete;"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite3"
    with closing(Journal(path, "boot", threaded=False)) as journal:
        for number in range(8):
            session_id = "" if number == 0 else f"s{number % 2}"
            journal.append("event", f"{number}", bed="one", session_id=session_id, ts=TS.format(number), wire=0.5)
    return path


def harm(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FORGE + sql)


def verify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = call(["journal", "verify", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_whole_journal_is_counted_and_its_head_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = verify(capsys, path)
    with Reader.open(path) as reader:
        seq, head = reader.head()
    assert code == 0
    assert found["verdict"] == "whole"
    assert (found["rows"], found["sessions"]) == (8, 2)
    assert (found["first_ts"], found["last_ts"]) == (TS.format(0), TS.format(7))
    assert found["head"] == {"seq": seq, "hash": head}


SWAP = (
    "UPDATE journal SET seq = 99 WHERE seq = 4; UPDATE journal SET seq = 4 WHERE seq = 5; "
    "UPDATE journal SET seq = 5 WHERE seq = 99;"
)
CLOSE_UP = "DELETE FROM journal WHERE seq = 4; UPDATE journal SET seq = seq - 1 WHERE seq > 4;"


@pytest.mark.shows("H35")
@pytest.mark.parametrize(
    ("sql", "what", "seq", "text"),
    [
        ("UPDATE journal SET data = 'x' WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("UPDATE journal SET ts = NULL WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("UPDATE journal SET late = 2 WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("UPDATE journal SET wire = 'x' WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("UPDATE journal SET data = x'ff' WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("UPDATE journal SET data = CAST(x'ff' AS TEXT) WHERE seq = 4", "changed", 4, "row 4 is not as it was written"),
        ("DELETE FROM journal WHERE seq = 4", "missing", 5, "row 4 is missing before row 5"),
        ("DELETE FROM journal WHERE seq BETWEEN 3 AND 5", "missing", 6, "rows 3 to 5 are missing before row 6"),
        ("DELETE FROM journal WHERE seq < 3", "missing", 3, "rows 1 to 2 are missing before row 3"),
        (SWAP, "moved", 4, "row 4 was written as row 5"),
        (CLOSE_UP, "moved", 4, "row 4 was written as row 5"),
    ],
)
def test_the_first_row_that_does_not_hold_is_named(
    path: Path, sql: str, what: str, seq: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")  # a forger is not held by NOT NULL
        db.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'journal'")
        db.commit()
    harm(path, sql)
    code, found = verify(capsys, path)
    assert code == 4
    assert found["verdict"] == "broken"
    assert (found["broken"]["what"], found["broken"]["seq"], found["broken"]["text"]) == (what, seq, text)
    assert found["head"]["seq"] == found["rows"] < seq
    if "NULL" not in sql:
        assert found["broken"]["ts"].startswith("2026-11-22T10:00:0")
        assert found["broken"]["session_id"] in ("s0", "s1")


def test_in_words_it_says_where_and_what_holds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harm(path, "UPDATE journal SET data = 'x' WHERE seq = 4")
    assert call(["journal", "verify", str(path)]) == 4
    said = capsys.readouterr().out
    assert "BROKEN: row 4 is not as it was written (2026-11-22T10:00:03.000Z, session s1)" in said
    assert "holds: 3 rows" in said


@pytest.mark.shows("H35")
def test_a_cut_tail_shows_only_against_a_head_kept_elsewhere(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reader.open(path) as reader:
        _, head = reader.head()
        fifth = list(reader.rows())[4].hash
    assert verify(capsys, path, "--head", head)[0] == 0
    assert verify(capsys, path, "--head", fifth)[0] == 0
    harm(path, "DELETE FROM journal WHERE seq > 6")
    assert verify(capsys, path)[0] == 0
    code, found = verify(capsys, path, "--head", head)
    assert (code, found["head_missing"]) == (4, True)
    assert verify(capsys, path, "--head", fifth)[0] == 0
    assert call(["journal", "verify", str(path), "--head", fifth]) == 0
    assert "the head kept elsewhere is row 5; 1 row came after it" in capsys.readouterr().out


def test_no_journal_and_no_readable_journal_end_differently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["journal", "verify", str(tmp_path / "none")]) == 6
    assert "no journal at" in capsys.readouterr().err
    (tmp_path / "text").write_text("this was never a journal" * 100)
    code, found = verify(capsys, tmp_path / "text")
    assert (code, found["verdict"]) == (5, "unreadable")
    assert "not a database" in found["unreadable"]
    assert call(["journal", "verify"]) == 2


def test_a_file_torn_off_is_read_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal.sqlite3"
    with closing(Journal(path, "boot", threaded=False)) as journal:
        for number in range(400):
            journal.append("event", f"{number}" * 50, bed="one", ts=TS, wire=0.5)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2))
    code, found = verify(capsys, path)
    assert code in (4, 5)
    assert 0 < found["rows"] < 400


def test_it_reads_while_the_journal_is_open_and_keeps_the_writers_log_small(path: Path) -> None:
    with closing(Journal(path, "boot", threaded=False)) as journal, Reader.open(path) as reader:
        rows = reader.rows()
        next(rows)
        for number in range(6000):
            journal.append("event", "x" * 2000, bed="one", ts=TS, wire=float(number))
        log = path.with_name(path.name + "-wal").stat().st_size
        assert log < 8_000_000, "a reader in the midst of its walk must not keep the log from being folded back"
        chain, _ = check(reader)
        assert chain.whole
        assert chain.rows >= 5000


def test_twenty_thousand_rows_need_no_more_memory_than_a_page_of_them(tmp_path: Path) -> None:
    def needed(count: int) -> int:
        path = tmp_path / f"{count}.sqlite3"
        with closing(Journal(path, "boot", threaded=False)) as journal:
            for number in range(count):
                journal.append("event", "x" * 400, bed="one", session_id="s", ts="t", wire=float(number))
        with Reader.open(path) as reader:
            tracemalloc.start()
            chain, _ = check(reader)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert (chain.rows, chain.whole) == (count, True)
        return peak

    assert needed(20_000) < 2 * needed(1000)


def test_the_command_alone_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["journal"]) == 0
    said = capsys.readouterr().out
    assert "pumpd journal verify --config FILE" in said
    assert "never deleted" in said


@pytest.mark.parametrize("change", [lambda row: row._replace(wire=7), lambda row: row._replace(late=1)])
def test_a_value_that_only_looks_the_same_is_a_change(change: Callable[[Row], Row]) -> None:
    hash = row_hash(1, GENESIS, "one", "s", "event", "t", 7.0, "b", True, "{}")
    row = Row(1, hash, GENESIS, "one", "s", "event", "t", 7.0, "b", True, "{}")
    assert walk([row])[0].whole
    assert not walk([change(row)])[0].whole
