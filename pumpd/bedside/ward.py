"""One bed as an island: its link outside, its logic inside, brought back when the logic fails (S16).

The logic dies first and the link outlives it, so that the pump can still be stopped. Nothing here touches another bed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import structlog

from pumpd.bedside.bed import Bed
from pumpd.bedside.house import House, Setup
from pumpd.core.sight import may_be_ours
from pumpd.driver import Identity
from pumpd.line.link import Lease, LeaseLapsed, LeaseStopDone, Link, LinkDown, LinkEvent, OpenPipe
from pumpd.records.journal import Row
from pumpd.records.orders import LINK_STOP, LINK_STOP_DONE
from pumpd.records.recall import owed_stops
from pumpd.records.record import Unreadable

RESTARTS_MAX = 3  # the third failure within ...
RESTARTS_WITHIN_S = 600.0  # ... ten minutes: monitor-only until a person clears it
MONITOR_ONLY = "monitor_only"  # while this alarm stands it holds, also for the next process
SILENT_S = 5.0  # wire seconds without a look at the pump; a look ends after a period and `lost_after_s` at the latest
SECOND_LOOK_S = 1.0  # after a gap of the whole loop the bed gets a poll's time to move first
LINK_PAUSE_S = 1.0  # a link that fails at once must not fill journal and log
RESTART_PAUSE_S = 0.1  # a bed that fails at once must not take the loop from the others

log = structlog.get_logger(__name__)


class Ward:
    """Holds the link and the present bed."""

    def __init__(self, setup: Setup, house: House, open_pipe: OpenPipe) -> None:
        self._setup, self._house = setup, house
        self._failed_at: list[float] = []
        self._broke = asyncio.Event()
        self.link = Link(
            setup.pump_id,
            setup.site.pump,
            open_pipe,
            house.clock,
            self._heard,
            self._is_ours,
            setup.site.serial_number,
        )
        self.bed = self._new_bed()

    def recover(self, rows: Iterable[Row]) -> None:
        """Take up what the journal says was going on, before `run`."""
        written: list[Row] = []
        try:
            for row in rows:
                written.append(row)  # noqa: PERF402  # what was read before a damaged row still names stops that are owed
            self.bed.recover(written)
        except Exception as error:  # a row that cannot be read, trusted or decided: the past is not known
            log.error("ward.unreadable", bed=self._setup.bed, exc_info=error)
            self.bed.monitor_only = True
            self.bed.alarms.happened(MONITOR_ONLY)
        else:
            self.bed.monitor_only = self._watched_only
        try:
            self.bed.take_on(owed_stops(written))
        except Unreadable as error:
            log.error("ward.unreadable", bed=self._setup.bed, exc_info=error)

    async def run(self) -> None:
        """Keep link and bed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_link(), name=f"{self._setup.bed}: link")
            while True:
                await self._live()

    async def _keep_link(self) -> None:
        """A fault in the link must not take the other beds' pumps with it: their process would end."""
        while True:
            try:
                await self.link.run()
            except Exception as error:
                log.error("ward.link_failed", bed=self._setup.bed, exc_info=error)
                self.bed.on_link(LinkDown(f"fault in the program: {error!r}"))
                self.bed.alarms.happened("bed_failed")
            await asyncio.sleep(LINK_PAUSE_S)

    async def _live(self) -> None:
        """One life of the bed."""
        living = asyncio.create_task(self.bed.run(), name=f"{self._setup.bed}: bed")
        broke = asyncio.create_task(self._broke.wait())
        silent = asyncio.create_task(self._until_silent())
        try:
            await asyncio.wait((living, broke, silent), return_when=asyncio.FIRST_COMPLETED)
            if silent.done():
                self.bed.break_down(RuntimeError(f"the bed has judged nothing for {SILENT_S:g} s"))
            if living.done() and not living.cancelled() and (error := living.exception()) is not None:
                self.bed.break_down(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        finally:
            for task in (living, broke, silent):
                task.cancel()
            await asyncio.gather(living, broke, silent, return_exceptions=True)
        await asyncio.sleep(RESTART_PAUSE_S)
        self._bring_back()

    async def _until_silent(self) -> None:
        """Return when the bed stands without a word of failure: its poll waits for something that never comes."""
        looks = 0
        while looks < 2:
            left = self.judged_at + SILENT_S - self._house.clock.wire()
            looks = looks + 1 if left <= 0.0 else 0
            await asyncio.sleep(max(left, SECOND_LOOK_S))

    @property
    def judged_at(self) -> float:
        """Wire time up to which the bed is known to work."""
        return self.bed.judged_at

    @property
    def stands(self) -> bool | None:
        """The pump was read standing (True) or moving (False) at the last look; None: not known."""
        report = self.bed.state.report
        return None if report is None else not report.motion.moves

    @property
    def stopping(self) -> bool:
        """A stop is on its way: ordered by the bed or by a person, or by the link because no bed judges."""
        judged = self.bed.state.halt is not None and not self.bed.monitor_only
        return judged or self.bed.onlooker.stopping or self.link.lease is Lease.LAPSED

    def clear_monitor_only(self) -> None:
        """A person has reset the alarm: judge again."""
        self._failed_at.clear()
        self.bed.break_down(RuntimeError("a person cleared monitor-only"))

    def _bring_back(self) -> None:
        self._broke.clear()
        now = self._house.clock.wire()
        self._failed_at = [at for at in self._failed_at if now - at <= RESTARTS_WITHIN_S] + [now]
        too_often = len(self._failed_at) >= RESTARTS_MAX
        watched_only = too_often or self._watched_only
        broken, self.bed = self.bed, self._new_bed()
        self.bed.succeed(broken, monitor_only=watched_only)
        for code in ("bed_failed", *((MONITOR_ONLY,) if too_often else ())):
            self.bed.alarms.happened(code)
        self.link.reclaim()
        log.warning("ward.bed_restarted", bed=self._setup.bed, failures=len(self._failed_at))

    @property
    def _watched_only(self) -> bool:
        return any(alarm.code == MONITOR_ONLY for alarm in self.bed.alarms.board.alarms)

    def _new_bed(self) -> Bed:
        return Bed(self._setup, self._house, self.link, self._on_broken)

    def _on_broken(self, _error: Exception) -> None:
        self._broke.set()

    def _heard(self, event: LinkEvent) -> None:
        try:
            self._record_stop(event)
        except Exception as error:  # the link has to stop the pump, whether that can be recorded or not
            log.error("ward.not_recorded", bed=self._setup.bed, exc_info=error)
        self.bed.on_link(event)

    def _is_ours(self, found: Identity) -> bool:
        return may_be_ours(self.bed.state, found, self.link.identity)

    def _record_stop(self, event: LinkEvent) -> None:
        """The link stops the pump by itself, while there may be no bed that decides: both halves are recorded here."""
        match event:
            case LeaseLapsed():
                kind, data = LINK_STOP, {"why": "nobody judged a reading in time"}
            case LeaseStopDone(report=report):
                kind, data = LINK_STOP_DONE, {"motion": report.motion.value}
            case _:
                return
        setup, session_id = self._setup, self.bed.state.session_id
        text = json.dumps(data)
        self._house.logbook.write(kind, text, bed=setup.bed, source=setup.pump_id, session_id=session_id)
