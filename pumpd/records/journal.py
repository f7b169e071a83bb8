"""The journal: append-only, hash-chained rows in SQLite, so that a session can be reported, audited and replayed (S9).

`append` never waits and never fails for the disk's sake: it numbers and chains the row and hands it on. One committer
thread makes rows durable in groups. Who gives more asks `durable` first; who stops does not.

The chain shows any changed, missing or reordered row. A cut at the very end shows only against a `head` kept elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from pumpd.records.journal_file import GENESIS, JournalBusy, Lock, Reader, Row, row_hash
from pumpd.records.store import Begun, Remember, Store, Write

__all__ = ["Journal", "JournalBusy", "Reader", "Row"]

LINGER_S = 0.1  # readings are gathered this long, one fsync for many; an essential row is written at once
RETRY_S = 0.25  # pause between two tries on a failing disk: eight tries before S9's alarm at 2 s
GROUP_S = 1.0  # inline only: a row is tried on the disk at this age, so that a broken one shows within S9's 2 s
BATCH = 500  # rows of one transaction; bounds how long the thread competes with the loop
MOST_WAITING = 200_000  # rows kept for a dead disk: ten beds at 5 rows/s for an hour, some 150 MB
MEMORIES_MAX = 100_000  # of the small memory
CLOSE_S = 5.0  # how long `close` waits for the disk before it gives up and says how many rows were lost
BEGUN = "journal.begun"  # the row that names the file set aside, its last good row, and why
FREE_EVERY_S = 10.0  # how often the room on the disk is looked at


class Journal:
    """The writer. One process, one journal: the lock is taken before the file is touched.

    `threaded=False` is for virtual time: rows are committed within the caller's own calls, in groups, without fsync;
    `path=None` then keeps all in memory. `commit` stands in for the disk, so that a test can block or break it.
    """

    def __init__(
        self,
        path: Path | None,
        boot_id: str,
        *,
        threaded: bool = True,
        commit: Callable[[sqlite3.Connection], None] = sqlite3.Connection.commit,
        most_waiting: int = MOST_WAITING,
        lock: Lock | None = None,
        unreachable: str = "",
        damage: Begun | None = None,
    ) -> None:
        """Raise JournalBusy when another process has it, OSError or sqlite3.Error when it cannot be opened.

        `lock` is one that the caller took. `unreachable` says why the file cannot be written now: it is only read, if
        that can be, and the rows wait in memory until it can be written again. `damage` was found before it was opened.
        """
        if path is None and threaded:
            raise ValueError("a journal in memory has no disk to wait for: use threaded=False")
        self._store = Store(path, fsync=threaded, commit=commit)
        self._reader = self._open(path, threaded, lock, unreachable)
        self._boot_id, self._most_waiting = boot_id, most_waiting
        self._waiting: deque[Write] = deque()  # the loop appends; the committer takes away what is durable
        self._seq, self._hash = self._reader.head() if self._reader else (0, GENESIS)
        self._prev_hash = self._hash
        self._durable_seq, self._durable_hash = self._seq, self._hash
        self._wire = 0.0  # of the newest row
        self._tried_at = float("-inf")  # inline: when the disk was last tried, wire time
        self._unsaid_drops = 0
        self._said_begun: Begun | None = None
        self._damage = damage
        kept = self._reader.memory() if self._reader else []
        self._memory: dict[str, tuple[str, float]] = {key: (value, until) for key, value, until in kept}
        self._waiters: dict[asyncio.Future[None], int] = {}
        self.last_error: str | None = unreachable or None
        self.dropped = 0  # rows refused since the start because the disk was dead for too long
        self.free_mb: int | None = None  # room on the disk, as last looked at; None where nobody can tell
        self._free_at = float("-inf")
        self._wake, self._urgent, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    def _open(self, path: Path | None, threaded: bool, lock: Lock | None, unreachable: str) -> Reader | None:
        if unreachable:
            assert path is not None
            with contextlib.suppress(sqlite3.Error, OSError):
                reader = Reader.open(path)
                reader.head()  # else it is only found out later that it cannot be read either
                return reader
            return None
        db = self._store.open(lock)
        try:
            return Reader(db) if path is None or not threaded else Reader.open(path)
        except BaseException:
            self._store.close()
            raise

    # --- writing, in the loop ---------------------------------------------------------------------------------------

    def append(
        self,
        kind: str,
        data: str,
        *,
        bed: str,
        ts: str,
        wire: float,
        session_id: str = "",
        late: bool = False,
        essential: bool = True,
    ) -> int:
        """Chain one row and give its seq at once; never waits, never fails for the disk's sake.

        Rows that are not `essential` (readings, telemetry) may be gathered for LINGER_S before they are written. While
        `most_waiting` rows wait for a dead disk, they are refused with seq 0 and counted in `dropped`; the next row
        that is taken follows a `journal.gap` row with their number.
        """
        if not essential and len(self._waiting) >= self._most_waiting:
            self.dropped += 1
            self._unsaid_drops += 1
            return 0
        if self._unsaid_drops:
            gap, self._unsaid_drops = f'{{"dropped":{self._unsaid_drops}}}', 0
            self._chain("journal.gap", gap, "", "", ts, wire, True)
        if (begun := self._store.begun) is not self._said_begun and begun is not None:
            self._said_begun = begun
            self._chain(BEGUN, json.dumps(begun._asdict(), sort_keys=True), "", "", ts, wire, True)
        self._chain(kind, data, bed, session_id, ts, wire, late)
        if self._thread is None:
            self._try_the_disk(wire)
        else:
            self._call_the_thread(essential)
        return self._seq

    def _call_the_thread(self, at_once: bool) -> None:
        if at_once:
            self._urgent.set()
        if not self._wake.is_set():
            self._wake.set()

    def _chain(self, kind: str, data: str, bed: str, session_id: str, ts: str, wire: float, late: bool) -> None:
        seq, prev, boot_id = self._seq + 1, self._hash, self._boot_id
        self._prev_hash = prev
        self._hash = row_hash(seq, prev, bed, session_id, kind, ts, wire, boot_id, late, data)
        self._seq, self._wire = seq, wire
        self._waiting.append(Row(seq, self._hash, prev, bed, session_id, kind, ts, wire, boot_id, late, data))

    async def durable(self, seq: int, within_s: float = 0.5) -> bool:
        """True once row `seq` is on the disk; False when that takes longer. A refused row (0) never is."""
        if not 0 < seq <= self._seq:
            return False
        if seq <= self._durable_seq:
            return True
        if self._thread is None:
            return await self._durable_inline(within_s)
        done = asyncio.get_running_loop().create_future()
        self._waiters[done] = seq  # first this, then the second look: the committer does it the other way round
        self._urgent.set()
        try:
            if seq > self._durable_seq:
                await asyncio.wait([done], timeout=within_s)
        finally:
            del self._waiters[done]
        return seq <= self._durable_seq

    async def _durable_inline(self, within_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not self._commit_all():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(min(RETRY_S, deadline - loop.time()))
        return True

    def behind_s(self, now: float) -> float:
        """How long the oldest write that is not durable has waited, in seconds of wire time; 0 when none waits."""
        if self._thread is None:
            self._try_the_disk(now)
            if self.last_error is None:
                return 0.0  # inline rows wait by choice, not for the disk
        return max(0.0, now - self._oldest_wire(now))

    @property
    def head(self) -> tuple[int, str]:
        """Seq and hash of the newest row: kept elsewhere, they prove that nothing was cut off the end."""
        return self._seq, self._hash

    @property
    def prev_hash(self) -> str:
        """What the newest row names as its predecessor."""
        return self._prev_hash

    @property
    def waiting(self) -> int:
        """How many writes are not durable yet."""
        return len(self._waiting)

    # --- small memory -----------------------------------------------------------------------------------------------

    def remember(self, key: str, value: str, until: float) -> None:
        """Keep `value` under `key` up to wall time `until` (seconds); durable no later than the next row.

        Of more than MEMORIES_MAX the oldest is forgotten.
        """
        self._memory.pop(key, None)
        self._memory[key] = (value, until)
        self._waiting.append(Remember(key, value, until, self._wire))
        if len(self._memory) > MEMORIES_MAX:
            self._forget(next(iter(self._memory)))

    def _forget(self, key: str) -> None:
        del self._memory[key]
        self._waiting.append(Remember(key, None, 0.0, self._wire))

    def recall(self, key: str, now: float) -> str | None:
        """What was remembered and has not expired at wall time `now` (seconds); drops what has expired."""
        while (oldest := next(iter(self._memory), None)) is not None and self._memory[oldest][1] <= now:
            self._forget(oldest)
        value, until = self._memory.get(key, (None, 0.0))
        return value if until > now else None

    def memories(self, prefix: str, now: float) -> list[tuple[str, str, float]]:
        """Key, value and expiry of all that is remembered under `prefix` at wall time `now` (seconds), oldest first."""
        kept = self._memory.items()
        return [(key, value, until) for key, (value, until) in kept if key.startswith(prefix) and until > now]

    # --- reading: what is durable (inline: everything) --------------------------------------------------------------

    def rows(self, session_id: str | None = None, bed: str | None = None, since: int = 0) -> Iterator[Row]:
        """As `Reader.rows`. Reads the disk in the caller's thread: for start-up, not for a loop that supervises."""
        reader = self._up_to_date()
        return iter(()) if reader is None else reader.rows(session_id, bed, since)

    def plans_and_starts(self) -> Iterator[Row]:
        """As `Reader.plans_and_starts`. Reads the disk in the caller's thread: for start-up."""
        reader = self._up_to_date()
        return iter(()) if reader is None else reader.plans_and_starts()

    def alarms(self, bed: str, before: int) -> Iterator[Row]:
        """As `Reader.alarms`. Reads the disk in the caller's thread: for start-up."""
        reader = self._up_to_date()
        return iter(()) if reader is None else reader.alarms(bed, before)

    def last_session(self, bed: str) -> str | None:
        """As `Reader.last_session`."""
        reader = self._up_to_date()
        return None if reader is None else reader.last_session(bed)

    def _up_to_date(self) -> Reader | None:
        if self._thread is None:
            self._commit_all()
            return None if self._store.db is None else Reader(self._store.db)
        return self._reader

    @property
    def damage(self) -> Begun | None:
        """The last time that a damaged or lost file was left for a new one, at the start or since."""
        return self._store.begun or self._damage

    # --- the disk ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            if not self._wake.wait(FREE_EVERY_S):
                self._look_at_the_room()
                continue
            self._urgent.wait(LINGER_S)
            self._wake.clear()
            self._urgent.clear()
            if self._closing.is_set():
                return
            while not self._commit_all() and not self._closing.wait(RETRY_S):
                pass

    def _try_the_disk(self, now: float) -> None:
        due = len(self._waiting) >= BATCH or now - self._oldest_wire(now) >= GROUP_S
        if due and (self.last_error is None or now - self._tried_at >= RETRY_S):
            self._tried_at = now
            self._commit_all()

    def _oldest_wire(self, now: float) -> float:
        try:
            return self._waiting[0].wire
        except IndexError:
            return now

    def _commit_all(self) -> bool:
        while self._waiting:
            if not self._commit_batch([self._waiting[i] for i in range(min(len(self._waiting), BATCH))]):
                return False
        return True

    def _commit_batch(self, batch: list[Write]) -> bool:
        try:
            self._store.write(batch, (self._durable_seq, self._durable_hash))
        except Exception as error:  # whatever it is: the committer must outlive it, and S9's alarm says so
            self.last_error = str(error) or repr(error)
            return False
        self.last_error = None
        for write in reversed(batch):
            if isinstance(write, Row):
                self._durable_seq, self._durable_hash = write.seq, write.hash
                break
        for _ in batch:
            self._waiting.popleft()
        if self._waiters:
            self._call_the_loop()
        self._look_at_the_room()
        return True

    def _look_at_the_room(self) -> None:
        now = time.monotonic()
        if now - self._free_at >= FREE_EVERY_S:
            self._free_at, self.free_mb = now, self._store.free_mb()

    def _call_the_loop(self) -> None:
        for done in list(self._waiters)[:1]:  # one call tells them all
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                done.get_loop().call_soon_threadsafe(self._tell_waiters)

    def _tell_waiters(self) -> None:
        for done, seq in self._waiters.items():
            if seq <= self._durable_seq and not done.done():
                done.set_result(None)

    def close(self, *, write_rest: bool = True) -> int:
        """Write what waits, let go of file and lock, and give the number of writes lost to a dead disk.

        `write_rest=False` leaves what a crash would leave: for the tests of S10.
        """
        self._closing.set()
        self._wake.set()
        self._urgent.set()
        if self._thread:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                return len(self._waiting)  # the disk holds the thread; the end of the process frees file and lock
        if write_rest:
            self._commit_all()
        lost = len(self._waiting)
        if self._reader is not None:
            self._reader.close()
        self._store.close()
        return lost
