"""At a start: the journal is taken up as it was left. A damaged one is set aside, and what of it is sure goes on.

A damaged file never keeps a pump from being supervised (S13), and never lends a session a past that nobody can prove
(S10). Before the first row is believed, all rows since the beds' last sessions began are walked along their hashes.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

import structlog

from pumpd.clock import Clock
from pumpd.messaging.encode import timestamp
from pumpd.records.chain import BrokenChain, is_as_written, sound
from pumpd.records.journal import BEGUN, Journal
from pumpd.records.journal_file import GENESIS, Lock, Reader, Row, open_for_writing, row_hash, sync_folder
from pumpd.records.recall import ALARM, recall
from pumpd.records.store import INSERT, SIDE_FILES, Begun, free_name, is_damage, set_aside

CHECKED_MOST = 200_000  # rows walked at a start, some 2 s; ten beds write so many in half a day
UNSURE = "session.unsure"  # the row of a bed whose open session is behind the damage
FIRST_OF_SESSION = "PlanOrdered"
MONITOR_ONLY = "monitor_only"  # the alarm while which a bed decides nothing

log = structlog.get_logger(__name__)


class Damaged(Exception):
    """The past of a bed cannot be known from its journal. The text says why."""


def take_over(path: Path, clock: Clock, beds: Iterable[str]) -> Journal:
    """The journal at `path`, ready to be written; or, where its disk cannot be written now, one that waits for it.

    Raise JournalBusy when another process has it, and nothing else.
    """
    try:
        lock = Lock(path)
    except OSError as error:
        return _wait_for_the_disk(path, clock, error)
    try:
        _end_what_was_begun(path)
        why = _unsound(path, beds)
        damage = _begin_anew(path, clock, list(beds), why) if why else None
        return Journal(path, clock.boot_id, lock=lock, damage=damage)
    except (sqlite3.Error, OSError) as error:
        lock.release()
        return _wait_for_the_disk(path, clock, error)
    except BaseException:
        lock.release()
        raise


def past_of(journal: Journal, bed: str) -> Iterator[Row]:
    """The bed's rows since its last session began, to be recalled, after those of older alarms that still stand.

    Raises Damaged, sqlite3.Error.
    """
    session_id = journal.last_session(bed)
    first = None if session_id is None else next(journal.rows(session_id=session_id, bed=bed), None)
    if first is not None and first.kind != FIRST_OF_SESSION:
        raise Damaged(f"the beginning of session {session_id} is missing")
    unsure = ""
    older = [] if first is None else _standing(journal.alarms(bed, before=first.seq))
    for row in chain(older, journal.rows(bed=bed, since=0 if first is None else first.seq - 1)):
        if not is_as_written(row):
            raise Damaged(f"row {row.seq} is not as it was written")
        if row.kind == UNSURE:
            unsure = row.data
        elif row.kind == ALARM and json.loads(row.data)["code"] == MONITOR_ONLY:
            unsure = ""  # from then on the board knows that this bed is only watched, until a person resets it
        yield row
    if unsure:
        raise Damaged(f"a session was open when the journal was damaged: {unsure}")


def _standing(rows: Iterable[Row]) -> list[Row]:
    """The newest row of each alarm that is not over: it stands until a person resets it, whoever is treated since."""
    newest: dict[str, Row] = {}
    for row in rows:
        if not is_as_written(row):
            raise Damaged(f"row {row.seq} is not as it was written")
        alarm_id = json.loads(row.data)["alarm_id"]
        if row.kind == ALARM:
            newest[alarm_id] = row
        else:
            newest.pop(alarm_id, None)
    return list(newest.values())


def _wait_for_the_disk(path: Path, clock: Clock, error: Exception) -> Journal:
    log.error("journal.unreachable", file=str(path), error=str(error))
    return Journal(path, clock.boot_id, unreachable=str(error))


# --- is it sound? -----------------------------------------------------------------------------------------------------


def _unsound(path: Path, beds: Iterable[str]) -> str:
    """Why the file must not be taken up; empty when it can be. Raise what says that the disk cannot be written now."""
    if not path.exists():
        return ""
    try:
        with closing(open_for_writing(path, fsync=True)) as db:
            return _damage(Reader(db), beds)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return str(error)


def _damage(reader: Reader, beds: Iterable[str]) -> str:
    reader.memory()
    head, _ = reader.head()
    begins = [head - 1]
    for bed in beds:
        session_id = reader.last_session(bed)
        first = None if session_id is None else next(reader.rows(session_id=session_id, bed=bed), None)
        begins += [] if first is None else [first.seq - 1]
    since = max(min(begins), reader.origin()[1], head - CHECKED_MOST)
    seen: Counter[str] = Counter()
    try:
        for row in sound(reader.rows(since=since), *_before(reader, since)):
            seen[row.bed] += 1
    except BrokenChain as broken:
        return broken.where.text
    for bed in {*beds, *seen} - {""}:
        if reader.count(bed, since) != seen[bed]:  # a damaged index hides rows, or shows some twice
            return f"the index of bed {bed} does not fit its rows"
    return ""


def _before(reader: Reader, since: int) -> tuple[int, str]:
    """Number and hash of the row before the first one after `since`, as that one has it."""
    _, seq, hash = reader.origin()
    if since <= seq:
        return seq, hash
    first = next(reader.rows(since=since), None)
    return (since, GENESIS) if first is None else (since, first.prev_hash)


# --- and if not -------------------------------------------------------------------------------------------------------


def _begin_anew(path: Path, clock: Clock, beds: list[str], why: str) -> Begun:
    """Set the file aside; begin one that goes on from its last good row, with what of it is sure. Raise as SQLite."""
    kept = free_name(path, clock.wall())
    good, rows, memory = _salvage(path, beds, clock)
    carried = sum(row.kind != UNSURE for row in rows)
    begun = Begun(kept.name, *good, why)
    told = {**begun._asdict(), "carried": carried}
    log.error("journal.damaged", **told)
    new = _unfinished(path)
    for side in SIDE_FILES:  # our own half-made copy, of a start that was cut off
        new.with_name(new.name + side).unlink(missing_ok=True)
    with closing(open_for_writing(new, fsync=True, origin=(kept.name, *good))) as db:
        db.execute("BEGIN")
        db.executemany(INSERT, _chained([_row(BEGUN, told, "", "", clock), *rows], good))
        db.executemany("INSERT INTO memory VALUES (?,?,?)", memory)
        db.execute("COMMIT")
    set_aside(path, kept)
    new.rename(path)
    sync_folder(path.parent)
    return begun


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _end_what_was_begun(path: Path) -> None:
    """Killed between setting the old file aside and putting the new one in its place."""
    if not path.exists() and _unfinished(path).exists():
        _unfinished(path).rename(path)


def _salvage(
    path: Path, beds: list[str], clock: Clock
) -> tuple[tuple[int, str], list[Row], list[tuple[str, str, float]]]:
    """The last good row, the rows to carry over, and the small memory: as far as they can be read."""
    good, rows, memory = (0, GENESIS), list[Row](), list[tuple[str, str, float]]()
    with suppress(sqlite3.Error, OSError), closing(Reader.open(path)) as reader:
        for bed in beds:
            rows += _sure(reader, bed, clock)
        with suppress(sqlite3.Error):
            memory = reader.memory()
        good = _last_good(reader)
    return good, sorted(rows, key=lambda row: row.seq), memory


def _last_good(reader: Reader) -> tuple[int, str]:
    _, seq, hash = reader.origin()
    with suppress(BrokenChain, sqlite3.Error):
        for row in sound(reader.rows(since=seq), seq, hash):
            seq, hash = row.seq, row.hash
    return seq, hash


def _sure(reader: Reader, bed: str, clock: Clock) -> list[Row]:
    """The bed's rows since its last session began, when every row since then is whole; else that it is unsure."""
    try:
        first = reader.beginning(bed, FIRST_OF_SESSION)
    except sqlite3.Error:
        return []
    if first is None:
        return []
    rows = list[Row]()
    try:
        for row in sound(reader.rows(since=first.seq - 1), first.seq - 1, first.prev_hash):
            if row.bed == bed:
                rows.append(row)
    except (BrokenChain, sqlite3.Error):
        return [_unsure(bed, first, rows, clock)] if _open(rows) else []
    return rows


def _open(rows: list[Row]) -> bool:
    """May the session have been going on when the good rows end? What cannot be decided again may be anything."""
    try:
        return recall(rows).state.has_session
    except Exception:
        return True


def _unsure(bed: str, first: Row, rows: list[Row], clock: Clock) -> Row:
    last = rows[-1].seq if rows else first.seq - 1
    return _row(UNSURE, {"last_good_seq": last, "session_id": first.session_id}, bed, "", clock)


def _row(kind: str, data: dict[str, object], bed: str, session_id: str, clock: Clock) -> Row:
    text = json.dumps(data, sort_keys=True)
    return Row(0, "", "", bed, session_id, kind, timestamp(clock.wall()), clock.wire(), clock.boot_id, True, text)


def _chained(rows: Iterable[Row], head: tuple[int, str]) -> Iterator[Row]:
    """The same rows with numbers and hashes of the new file."""
    seq, prev = head
    for row in rows:
        seq += 1
        hash = row_hash(seq, prev, *row[3:])
        yield row._replace(seq=seq, hash=hash, prev_hash=prev)
        prev = hash
