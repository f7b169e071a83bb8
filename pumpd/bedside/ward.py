"""One bed as an island: its link outside, its logic inside, brought back when the logic fails (S16).

The logic dies first and the link outlives it, so that the pump can still be stopped. Nothing here touches another bed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from pumpd.bedside.bed import Bed
from pumpd.bedside.house import House, Setup
from pumpd.line.link import Lease, Link, LinkEvent, OpenPipe
from pumpd.records.journal import Row

RESTARTS_MAX = 3  # the third failure within ...
RESTARTS_WITHIN_S = 600.0  # ... ten minutes: monitor-only until a person clears it
MONITOR_ONLY = "monitor_only"  # while this alarm stands it holds, also for the next process
RESTART_PAUSE_S = 0.1  # a bed that fails at once must not take the loop from the others

log = structlog.get_logger(__name__)


class Ward:
    """Holds the link and the present bed."""

    def __init__(self, setup: Setup, house: House, open_pipe: OpenPipe) -> None:
        self._setup, self._house = setup, house
        self._failed_at: list[float] = []
        self._broke = asyncio.Event()
        self.link = Link(setup.pump_id, setup.site.pump, open_pipe, house.clock, self._heard)
        self.bed = self._new_bed()

    def recover(self, rows: Iterable[Row]) -> None:
        """Take up what the journal says was going on, before `run`."""
        try:
            self.bed.recover(rows)
        except Exception as error:  # a row that cannot be read or decided: either way the past is not known
            log.error("ward.unreadable", bed=self._setup.bed, exc_info=error)
            self._only_watch()
        else:
            self.bed.monitor_only = any(alarm.code == MONITOR_ONLY for alarm in self.bed.alarms.board.alarms)

    async def run(self) -> None:
        """Keep link and bed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.link.run(), name=f"{self._setup.bed}: link")
            while True:
                await self._live()

    async def _live(self) -> None:
        """One life of the bed."""
        living = asyncio.create_task(self.bed.run(), name=f"{self._setup.bed}: bed")
        broke = asyncio.create_task(self._broke.wait())
        try:
            await asyncio.wait((living, broke), return_when=asyncio.FIRST_COMPLETED)
            if living.done() and not living.cancelled() and (error := living.exception()) is not None:
                self.bed.break_down(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        finally:
            for task in (living, broke):
                task.cancel()
            await asyncio.gather(living, broke, return_exceptions=True)
        await asyncio.sleep(RESTART_PAUSE_S)
        self._bring_back()

    @property
    def stopping(self) -> bool:
        """A stop is on its way: ordered by the bed, or by the link because no bed judges."""
        return self.link.lease is Lease.LAPSED or (self.bed.state.halt is not None and not self.bed.monitor_only)

    def clear_monitor_only(self) -> None:
        """A person has reset the alarm: judge again."""
        self._failed_at.clear()
        self.bed.break_down(RuntimeError("a person cleared monitor-only"))

    def _bring_back(self) -> None:
        self._broke.clear()
        now = self._house.clock.wire()
        self._failed_at = [at for at in self._failed_at if now - at <= RESTARTS_WITHIN_S] + [now]
        broken, self.bed = self.bed, self._new_bed()
        self.bed.succeed(broken)
        if len(self._failed_at) >= RESTARTS_MAX:
            self._only_watch()
        self._latch("bed_failed")
        self.link.reclaim()
        log.warning("ward.bed_restarted", bed=self._setup.bed, failures=len(self._failed_at))

    def _only_watch(self) -> None:
        self.bed.monitor_only = True
        self._latch(MONITOR_ONLY)

    def _latch(self, code: str) -> None:
        """What happened is over, what it means stays: the alarm stands until a person resets it."""
        self.bed.alarms.note(code, True)
        self.bed.alarms.note(code, False)

    def _new_bed(self) -> Bed:
        return Bed(self._setup, self._house, self.link, self._on_broken)

    def _on_broken(self, _error: Exception) -> None:
        self._broke.set()

    def _heard(self, event: LinkEvent) -> None:
        self.bed.on_link(event)
