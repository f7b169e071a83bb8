"""Walks a journal's chain of hashes, row by row in constant memory, and names the first row that does not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pumpd.records.journal_file import GENESIS, Reader, Row, row_hash

MOVED_BY_MOST = 200  # a changed row is tried at this many places around it, in case it only was moved: some 2 ms


@dataclass(frozen=True, slots=True)
class Break:
    """The first row that does not hold. `what` is changed, moved or missing; `text` says so in words."""

    seq: int
    what: str
    text: str
    ts: str = ""
    session_id: str = ""


@dataclass(slots=True)
class Chain:
    """What a walk has found so far. Rows, times and head count what holds, up to a break."""

    seq: int = 0
    hash: str = GENESIS
    rows: int = 0
    first_ts: str = ""
    last_ts: str = ""
    sessions: set[str] = field(default_factory=set)
    broken: Break | None = None
    unreadable: str = ""  # why the file could not be read on

    @property
    def whole(self) -> bool:
        """Every row that was walked is there as it was written."""
        return self.broken is None and not self.unreadable


class BrokenChain(Exception):
    """A row does not hold; `where` names it."""

    def __init__(self, where: Break) -> None:
        super().__init__(where.text)
        self.where = where


def sound(rows: Iterable[Row], seq: int, hash: str) -> Iterator[Row]:
    """The rows that follow row `seq` with its `hash`, as long as they hold. Raises BrokenChain, sqlite3.Error."""
    for row in rows:
        broken = _broken(seq, hash, row)
        if broken is not None:
            raise BrokenChain(broken)
        seq, hash = row.seq, row.hash
        yield row


def walk(rows: Iterable[Row], seq: int = 0, hash: str = GENESIS, seek: str = "") -> tuple[Chain, int | None]:
    """Walk the rows that follow row `seq` with its `hash`, up to the first that does not hold.

    Gives what was found, and the number of the row whose hash is `seek`, if there was one. Never raises: a file that
    cannot be read on is told in `unreadable`.
    """
    chain, sought = Chain(seq, hash), seq if seek and seek == hash else None
    try:
        for row in sound(rows, seq, hash):
            if not chain.rows:
                chain.first_ts = row.ts
            chain.rows += 1
            chain.seq, chain.hash, chain.last_ts = row.seq, row.hash, row.ts
            if row.session_id:
                chain.sessions.add(row.session_id)
            if row.hash == seek:
                sought = row.seq
    except BrokenChain as broken:
        chain.broken = broken.where
    except (sqlite3.Error, OverflowError) as error:  # a damaged file can hold numbers that no column should
        chain.unreadable = str(error)
    return chain, sought


def check(reader: Reader, seek: str = "") -> tuple[Chain, int | None]:
    """Walk the whole file, from the row it begins or goes on with. Never raises; as `walk`."""
    try:
        _, seq, hash = reader.origin()
    except sqlite3.Error as error:
        return Chain(unreadable=str(error)), None
    return walk(reader.rows(since=seq), seq, hash, seek)


def is_as_written(row: Row) -> bool:
    """The row's own hash fits all of its columns."""
    return _hash_at(row, row.seq) == row.hash


def _hash_at(row: Row, seq: int) -> str:
    if not isinstance(row.wire, float) or not isinstance(row.late, bool):
        return ""
    try:
        return row_hash(seq, *row[2:])
    except TypeError:  # a column that should be text is none
        return ""


def _broken(seq: int, hash: str, row: Row) -> Break | None:
    """What is wrong with the row that follows row `seq` with its `hash`."""
    if not is_as_written(row):
        return _changed(row)
    if row.seq > seq + 1:
        gone = f"row {seq + 1} is" if row.seq == seq + 2 else f"rows {seq + 1} to {row.seq - 1} are"
        return Break(row.seq, "missing", f"{gone} missing before row {row.seq}", row.ts, row.session_id)
    if row.seq <= seq:
        return Break(row.seq, "moved", f"row {row.seq} stands after row {seq}", row.ts, row.session_id)
    if row.prev_hash != hash:
        text = f"row {row.seq} does not follow the row before it: one of the two was written anew"
        return Break(row.seq, "changed", text, row.ts, row.session_id)
    return None


def _changed(row: Row) -> Break:
    ts, session_id = (value if isinstance(value, str) else "" for value in (row.ts, row.session_id))
    for seq in range(max(1, row.seq - MOVED_BY_MOST), row.seq + MOVED_BY_MOST):
        if _hash_at(row, seq) == row.hash:
            return Break(row.seq, "moved", f"row {row.seq} was written as row {seq}", ts, session_id)
    return Break(row.seq, "changed", f"row {row.seq} is not as it was written", ts, session_id)
