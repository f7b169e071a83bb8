"""The file that journal rows go to, over its life: opened, lost, found again; set aside and begun anew when damaged.

A file is never deleted and never repaired. What cannot be written on is kept under a name with its date, and a new file
goes on from the last row that was durable, so that the chain of hashes leads from one file into the next.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pumpd.records.journal_file import Lock, Reader, Row, open_for_writing, sync_folder

INSERT = "INSERT INTO journal VALUES (?,?,?,?,?,?,?,?,?,?,?)"
SIDE_FILES = ("", "-wal", "-shm")  # what SQLite keeps beside each other
GONE = "(gone)"  # stands for the name of a file that somebody took away
UNREACHABLE = frozenset({3, 5, 6, 7, 8, 13, 14})  # PERM BUSY LOCKED NOMEM READONLY FULL CANTOPEN: the file may be well
TRANSIENT = UNREACHABLE | {10}  # and IOERR, while running: tried again, as a cable may be plugged in again

Head: TypeAlias = tuple[int, str]


class Remember(NamedTuple):
    """One note of the small memory; `value` None forgets it."""

    key: str
    value: str | None
    until: float
    wire: float


Write: TypeAlias = Row | Remember


class Begun(NamedTuple):
    """A file was set aside, and a new one begun: its name, the last good row, and why."""

    file: str
    seq: int
    hash: str
    why: str


class Store:
    """Writes batches of rows to the file at `path`; None keeps them in memory."""

    def __init__(self, path: Path | None, *, fsync: bool, commit: Callable[[sqlite3.Connection], None]) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = None
        self.begun: Begun | None = None  # the last time a file was set aside while this process ran
        self._fsync, self._commit = fsync, commit
        self._lock: Lock | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what is open
        self._spoilt = ""  # why the file must not be written on

    def open(self, lock: Lock | None = None) -> sqlite3.Connection:
        """Take the lock (or the one given) and open the file. Raise JournalBusy, sqlite3.Error, OSError."""
        if lock is not None:
            self._lock = lock
        if self._lock is None or not self._lock.holds:
            self._lock = Lock(self.path)
        try:
            self.db = open_for_writing(self.path, fsync=self._fsync)
            self._file = _identity(self.path)
        except BaseException:
            self.close()
            raise
        return self.db

    def write(self, batch: Iterable[Write], head: Head) -> None:
        """Make a batch durable; `head` is the last row that was. Raises whatever went wrong: then nothing was written.

        A file that is gone or damaged is left, and the next try begins a new one.
        """
        db = self.db or self._find_again(head)
        if _identity(self.path) != self._file:
            self._close_file()
            raise OSError(f"{self.path}: the journal was moved or deleted while it was written")
        try:
            self._insert(db, batch)
        except Exception as error:
            if db.in_transaction:
                db.rollback()
            if _is_damage(error, TRANSIENT):
                self._spoilt = str(error)
                self._close_file()
            raise

    def _insert(self, db: sqlite3.Connection, batch: Iterable[Write]) -> None:
        db.execute("BEGIN")
        for write in batch:
            if isinstance(write, Row):
                db.execute(INSERT, write)
            elif write.value is None:
                db.execute("DELETE FROM memory WHERE key = ?", (write.key,))
            else:
                db.execute("INSERT OR REPLACE INTO memory VALUES (?,?,?)", write[:3])
        self._commit(db)

    def _find_again(self, head: Head) -> sqlite3.Connection:
        """The file again, where it is the one of before; else a new one in its place."""
        if self.path is None or (not self._spoilt and self._is_ours(head)):
            return self.db or self.open()
        self.begun = self._begin_anew(head)
        self._spoilt = ""
        return self.db or self.open()

    def _is_ours(self, head: Head) -> bool:
        assert self.path is not None
        if not self.path.exists() and self.path.parent.exists() and head[0]:
            self._spoilt = "it is gone"
            return False
        try:
            found = Reader(self.open()).head()
        except sqlite3.Error as error:
            if not _is_damage(error, TRANSIENT):
                raise
            self._spoilt = str(error)
        else:
            self._spoilt = "" if found == head else f"it ends with row {found[0]}, and not with row {head[0]} of before"
        if self._spoilt:
            self._close_file()
        return not self._spoilt

    def _begin_anew(self, head: Head) -> Begun:
        assert self.path is not None
        if self._lock is None or not self._lock.holds:
            self._lock = Lock(self.path)
        name = GONE
        if self.path.exists():
            kept = free_name(self.path, datetime.now(UTC))
            set_aside(self.path, kept)
            name = kept.name
        begun = Begun(name, *head, self._spoilt)
        self.db = open_for_writing(self.path, fsync=self._fsync, origin=begun[:3])
        self._file = _identity(self.path)
        return begun

    def close(self) -> None:
        """Let go of file and lock."""
        self._close_file()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_file(self) -> None:
        if self.db is not None:
            self.db.close()
            self.db = None

    def free_mb(self) -> int | None:
        """How much room its disk has. None where nobody can tell."""
        try:
            return None if self.path is None else shutil.disk_usage(self.path.parent).free // 1_000_000
        except OSError:
            return None


def free_name(path: Path, now: datetime) -> Path:
    """The name under which a damaged file is kept: its own, with the date, and not taken yet."""
    kept, again = path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"), 1
    while kept.exists():
        again += 1
        kept = kept.with_name(f"{kept.name.partition('Z')[0]}Z-{again}")
    return kept


def set_aside(path: Path, kept: Path) -> None:
    """Keep a file, and what SQLite has beside it, under another name. Raises OSError."""
    for side in reversed(SIDE_FILES):  # the file itself last: as long as it is there, all of it is looked for here
        beside = path.with_name(path.name + side)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + side))
    sync_folder(path.parent)


def is_damage(error: Exception) -> bool:
    """At a start: the file is there and can be opened, but not be taken up. Else it may be well, and out of reach."""
    return _is_damage(error, UNREACHABLE)


def _is_damage(error: Exception, harmless: frozenset[int]) -> bool:
    if not isinstance(error, sqlite3.Error):
        return False
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return (
            type(error) is sqlite3.DatabaseError
        )  # said by us: a file of another format, or one that leads in a circle
    return code & 0xFF not in harmless


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
