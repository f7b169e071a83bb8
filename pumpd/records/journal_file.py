"""The journal's file: its table, its row and hash, its lock, and how it is read, also while a daemon writes it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

FORMAT = 1  # PRAGMA user_version; rises when the table or the hashed text changes
GENESIS = "0" * 64  # what the first row names as its predecessor
PAGE = 500  # rows read at once: a reader holds no lock for longer, so the writer's log is folded back meanwhile
WAL_LIMIT = 16 * 1024 * 1024  # bytes the write-ahead log keeps at most, once it was folded back

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, prev_hash TEXT NOT NULL, bed TEXT NOT NULL, session_id TEXT NOT NULL,
  kind TEXT NOT NULL, ts TEXT NOT NULL, wire REAL NOT NULL, boot_id TEXT NOT NULL, late INTEGER NOT NULL,
  data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS journal_session ON journal (session_id) WHERE session_id <> '';
CREATE INDEX IF NOT EXISTS journal_bed ON journal (bed) WHERE bed <> '';
CREATE INDEX IF NOT EXISTS journal_plans ON journal (kind) WHERE kind IN ('PlanOrdered', 'StartOrdered');
CREATE INDEX IF NOT EXISTS journal_alarms ON journal (bed) WHERE kind IN ('Alarm', 'AlarmOver');
CREATE TRIGGER IF NOT EXISTS journal_no_update BEFORE UPDATE ON journal
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS journal_no_delete BEFORE DELETE ON journal
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origin (file TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL);
"""


class JournalBusy(Exception):
    """Another process holds this journal; the text names it."""


class Row(NamedTuple):
    """One journal row, in the order of the table's columns."""

    seq: int
    hash: str
    prev_hash: str
    bed: str
    session_id: str  # "" outside of a session
    kind: str
    ts: str  # wall clock, a label only
    wire: float  # the loop's time in seconds (S11)
    boot_id: str
    late: bool  # the act came before this row (S9)
    data: str  # JSON


def row_hash(
    seq: int, prev: str, bed: str, session_id: str, kind: str, ts: str, wire: float, boot_id: str, late: bool, data: str
) -> str:
    """The SHA-256 of a row: over the compact ASCII JSON list of all its columns but the hash, in table order."""
    text = (
        f"[{seq},{_quoted(prev)},{_quoted(bed)},{_quoted(session_id)},{_quoted(kind)},{_quoted(ts)},{wire!r},"
        f"{_quoted(boot_id)},{'true' if late else 'false'},{_quoted(data)}]"
    )
    return sha256(text.encode()).hexdigest()


class Reader:
    """Reads a journal, also while a daemon writes it: sees every durable row. Close it, or use `with`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.text_factory = _text

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raise FileNotFoundError where there is no journal, sqlite3.Error when it is none."""
        if not path.exists():
            raise FileNotFoundError(f"no journal at {path}")
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            if path.with_name(path.name + "-wal").exists():
                db.close()
                raise
            db.close()  # closed in good order on a disk that is read-only now: no log to fold back, and nobody writes
            db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
        except BaseException:
            db.close()
            raise
        return cls(db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def rows(self, session_id: str | None = None, bed: str | None = None, since: int = 0) -> Iterator[Row]:
        """Rows with a seq above `since`, oldest first; of one session or one bed, where named ("" names none).

        They come as they stand in the file, damaged or not; `chain.walk` judges them. Raises sqlite3.Error.
        """
        where, values = "seq > ?", list[str | bytes]()
        if session_id is not None:  # as bytes: an id read from a damaged row may be no text that can be asked for
            raw = session_id.encode(errors="surrogateescape")
            where, values = where + " AND session_id = CAST(? AS TEXT) AND session_id <> ''", [*values, raw]
        if bed is not None:
            indexed = "+" if session_id else ""  # a session has fewer rows than a bed: let its index lead
            where, values = where + f" AND {indexed}bed = ? AND bed <> ''", [*values, bed]
        select = f"SELECT * FROM journal WHERE {where} ORDER BY seq LIMIT {PAGE}"
        while True:
            page, failed = self._page(select, (since, *values))
            for columns in page:
                yield _row(columns)
            if failed is not None:
                raise failed
            if not page:
                return
            if page[-1][0] <= since:
                raise sqlite3.DatabaseError(f"the file leads in a circle behind row {since}")
            since = page[-1][0]

    def _page(self, select: str, values: tuple[object, ...]) -> tuple[list[tuple[Any, ...]], sqlite3.Error | None]:
        """Up to PAGE rows, and what ended the reading: the rows before a damaged place are good to have."""
        page = list[tuple[Any, ...]]()
        try:
            for columns in self._db.execute(select, values):
                page.append(columns)  # as they come, or none would be left when one fails
        except sqlite3.Error as error:
            return page, error
        return page, None

    def last_session(self, bed: str) -> str | None:
        """The id of the bed's newest session, ended or not; None when it never had one."""
        found = self._db.execute(
            "SELECT session_id FROM journal WHERE bed = ? AND bed <> '' AND session_id <> '' ORDER BY seq DESC LIMIT 1",
            (bed,),
        ).fetchone()
        return found[0] if found else None

    def plans_and_starts(self) -> Iterator[Row]:
        """The rows of every plan and start order, oldest first: little to read, also in a journal of years."""
        query = "SELECT * FROM journal WHERE kind IN ('PlanOrdered', 'StartOrdered') ORDER BY seq"
        for found in self._db.execute(query):
            yield _row(found)

    def alarms(self, bed: str, before: int) -> Iterator[Row]:
        """The rows of the bed's alarms with a seq below `before`, oldest first: few, also in a journal of years."""
        query = "SELECT * FROM journal WHERE bed = ? AND kind IN ('Alarm', 'AlarmOver') AND seq < ? ORDER BY seq"
        for found in self._db.execute(query, (bed, before)):
            yield _row(found)

    def sessions(self) -> list[tuple[str, str, str, str]]:
        """(session id, bed, first ts, last ts) of every session, in the order they began."""
        spans = self._db.execute(
            "SELECT session_id, min(seq), max(seq) FROM journal WHERE session_id <> '' GROUP BY session_id ORDER BY 2"
        ).fetchall()
        first_and_last = "SELECT bed, ts FROM journal WHERE seq IN (?, ?) ORDER BY seq"
        ends = [self._db.execute(first_and_last, span[1:]).fetchall() for span in spans]
        return [(span[0], rows[0][0], rows[0][1], rows[-1][1]) for span, rows in zip(spans, ends, strict=True)]

    def beginning(self, bed: str, kind: str) -> Row | None:
        """The bed's newest row of a session with this kind, looked for without the indexes: they may be damaged."""
        select = "SELECT seq FROM journal NOT INDEXED WHERE bed = ? AND session_id <> '' AND kind = ?"
        found = self._db.execute(f"{select} ORDER BY seq DESC LIMIT 1", (bed, kind)).fetchone()
        return None if found is None else next(self.rows(since=found[0] - 1), None)

    def count(self, bed: str, since: int) -> int:
        """How many rows the index of beds has with a seq above `since`."""
        select = "SELECT count(*) FROM journal INDEXED BY journal_bed WHERE bed = ? AND bed <> '' AND seq > ?"
        return int(self._db.execute(select, (bed, since)).fetchone()[0])

    def memory(self) -> list[tuple[str, str, float]]:
        """Key, value and expiry of everything remembered, what expires first coming first."""
        return self._db.execute("SELECT key, value, until FROM memory ORDER BY until").fetchall()

    def origin(self) -> tuple[str, int, str]:
        """The file this one goes on from, and seq and hash of its last good row; ("", 0, GENESIS) for the first."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'origin'").fetchone():
            return "", 0, GENESIS
        found = self._db.execute("SELECT file, seq, hash FROM origin").fetchone()
        return found or ("", 0, GENESIS)

    def head(self) -> tuple[int, str]:
        """Seq and hash of the newest row; while there is none, of the one this file goes on from."""
        found = self._db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return (found[0], found[1]) if found else self.origin()[1:]


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")  # a damaged letter must be found by its hash, not end the reading


def _row(columns: tuple[Any, ...]) -> Row:
    late = columns[9]
    return Row._make((*columns[:9], bool(late) if late in (0, 1) else late, columns[10]))


class Lock:
    """An advisory lock on a side file, taken before the journal is touched; the file names its owner."""

    def __init__(self, path: Path | None) -> None:
        """Raise JournalBusy when another process has it, OSError where it cannot be. None: nothing to lock."""
        self._path = None if path is None else path.with_name(path.name + ".lock")
        self._file = None if self._path is None else _take(self._path)

    @property
    def holds(self) -> bool:
        """The lock is ours, and its file still where others look for it."""
        if self._path is None:
            return True
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Let the next process in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _take(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(file, 20, 0).decode(errors="replace").strip() or "of unknown number"
        os.close(file)
        advice = "stop that pumpd first, or give this one its own data_dir"
        raise JournalBusy(f"{path.with_suffix('')} is in use by process {owner}: {advice}") from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def open_for_writing(
    path: Path | None, *, fsync: bool, origin: tuple[str, int, str] | None = None
) -> sqlite3.Connection:
    """Open or create the file (None: in memory). Raise sqlite3.Error when that fails or its format is another one.

    `origin` is for a new file: the file, row and hash that its first row goes on from.
    """
    new = path is not None and not path.exists()
    db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"{path} has journal format {found}; this pumpd writes format {FORMAT}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if fsync else 'OFF'}")
        db.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA user_version={FORMAT}")
        if origin is not None:
            db.execute("INSERT INTO origin VALUES (?,?,?)", origin)
        if new and fsync and path is not None:
            sync_folder(path.parent)
    except BaseException:
        db.close()
        raise
    return db


def sync_folder(folder: Path) -> None:
    """Make a name that was given or taken in `folder` durable. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
