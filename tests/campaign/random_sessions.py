"""Whole beds under random fire: orders, keys, faults of line, pump, power, broker, disk and clock, as a seed decides.

One `Run` is one seed: a station with one bed or two, some forty deeds, then peace, in which all must be well again.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from pumpd.bedside import bed as bed_module
from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.records.journal import Journal
from pumpd.records.recall import replay
from pumpd.testing import VirtualLoop
from simulator.device import Device
from tests.bedside import Bedside, Room
from tests.campaign.deeds import Deeds
from tests.campaign.invariants import Checker
from tests.campaign.kinds import Kind
from tests.campaign.surroundings import Disk, JumpyClock, ShakySink, ShortMemory
from tests.campaign.verdicts import Figures, RuleBroken
from tests.families import KINDS

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # what is tested is no disk's pace
LOOK_S = 0.5  # between two looks of the watcher
FINAL_S = 60.0  # after all faults are gone
STEPS = 40
TOLD_LINES = 110
OVER = (Phase.IDLE, Phase.ENDED, Phase.ABORTED)
ANOTHER: dict[str, Any] = {"mode": "safe", "watchdog_s": 10, "same_address": False}  # what only a New Era draws


class Run:
    """One seed. `favour` names deeds that shall happen more often."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        favour: Iterable[str] = (),
        kind: Kind | None = None,
        beds: int = 0,
        family: str = "newera",
    ) -> None:
        self.seed, self.folder, self.favour = seed, folder, tuple(favour)
        self.dice = random.Random(seed)
        drawn = self._draw()
        self.kind = kind or replace(drawn, family=family, **({} if family == "newera" else ANOTHER))
        beds = beds or self.dice.choice([1, 1, 1, 2])
        self.count = beds if self.kind.family == "newera" else 1
        self.figures, self.story, self.unhandled = Figures(), list[str](), list[str]()
        self.disk, self.sink = Disk(), ShakySink()
        self.poisoned: set[str] = set()
        self.boot = self.patients = 0
        self.power_cut = False

    def _draw(self) -> Kind:
        dice = self.dice
        return Kind(
            mode=dice.choice(["safe", "safe", "basic"]),
            watchdog_s=dice.choice([10, 10, 3, 30]),
            model=dice.choice(["ideal", "ideal", "ideal", "typical"]),
            hands=dice.random() < 0.5,
            faults=dice.random() < 0.25,
            pace=dice.choice([1, 1, 15]),
            same_address=dice.random() < 0.5,
        )

    # --- the station ---

    def _build(self) -> None:
        self.clock = JumpyClock()
        self.checkers = []
        for number in range(self.count):
            device = self._pump(number)
            self.checkers.append(Checker(self.seed, self.kind, device, self.figures, self.clock.wire, self.guarded))
        self._move_in()

    def _pump(self, number: int) -> Device:
        seed, model = self.seed + number, self.kind.model
        if self.kind.family != "newera":
            stands_for = KINDS[self.kind.family]
            return Device(stands_for.family, seed=seed, model=model, **stands_for.options)
        return Device(
            address=self._address(number),
            mode=self.kind.mode,
            watchdog_s=self.kind.watchdog_s,
            seed=seed,
            model=model,
            version=f"NE1000V3.9{number}",
        )

    def _address(self, number: int) -> int:
        return 0 if self.kind.same_address else 7 * number

    def _move_in(self) -> None:
        """A new process: office, journal and beds; pumps, plugs and disk are what they were."""
        journal = Journal(self.folder / "journal.sqlite3", self.clock.boot_id, threaded=False, commit=self.disk)
        self.room = Room(seed=self.seed + self.boot, clock=self.clock, journal=journal)
        self.room.paper = ShortMemory()
        self.room.outlet.sinks[:] = [self.sink, self.room.paper]
        self.sink.loop = asyncio.get_running_loop()
        self.beds = []
        for number, checker in enumerate(self.checkers):
            plugged = checker.bed is None or checker.bed.port._plugged
            bed = Bedside(
                self.room,
                f"bed{number}",
                family=self.kind.family,
                address=self._address(number),
                mode=self.kind.mode,
                watchdog_s=self.kind.watchdog_s,
                device=checker.tap,
            )
            bed.device = checker.device  # a hand at the bed reaches its own pump, whatever is plugged in
            if not plugged:
                bed.port.plug_out()
            checker.bed = bed
            self.beds.append(bed)

    def live(self) -> None:
        for checker in self.checkers:
            checker.life_ends = False
        self.lives = [asyncio.create_task(bed.ward.run(), name=bed.name) for bed in self.beds]

    async def kill(self) -> None:
        self.sample()
        for checker in self.checkers:
            checker.life_ends = True
        for life in self.lives:
            life.cancel()
        for ending in await asyncio.gather(*self.lives, *self.orders, return_exceptions=True):
            if isinstance(ending, Exception):
                self.broken = self.broken or RuleBroken("R8", f"a ward or an order ended with {ending!r}")

    async def restart(self, *, rebooted: bool) -> None:
        """The program is dead; a new one takes over from the journal."""
        self.boot += 1
        if rebooted:
            self.clock = JumpyClock(boot_id=f"boot {self.boot}", ahead_s=self.clock.ahead_s)
            self.say("rebooted")
        self._move_in()
        for bed in self.beds:
            journal = self.room.journal
            last = journal.last_session(bed.name)
            first = next(journal.rows(session_id=last, bed=bed.name), None) if last else None
            if first is not None:
                bed.ward.recover(journal.rows(bed=bed.name, since=first.seq - 1))
        self.live()

    # --- the run ---

    async def run(self) -> None:
        """Raise RuleBroken, or nothing."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.unhandled.append(repr(context)))
        self.orders: set[asyncio.Task[Any]] = set()
        self.broken: RuleBroken | None = None
        tasks_before = len(asyncio.all_tasks())
        take = bed_module.Bed._take
        bed_module.Bed._take = self._taking(take)
        try:
            self._build()
            self.live()
            watcher = asyncio.create_task(self._watch())
            try:
                await self._fire()
                await self._peace()
            finally:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
                await self.kill()
            self._stop_here()
            self._judge_journals()
            self.room.journal.close()
        finally:
            bed_module.Bed._take = take
            loop.set_exception_handler(None)
        await asyncio.sleep(0)
        if self.unhandled:
            raise self.fault("R8", f"unhandled: {self.unhandled[:2]}")
        if len(asyncio.all_tasks()) != tasks_before:
            raise self.fault("R8", f"tasks left: {asyncio.all_tasks()}")
        self.figures.add("runs", 1)
        self.figures.add("sessions", sum(len(checker.volumes.books) for checker in self.checkers))
        self.figures.add("hours", self.clock.wire() / 3600)

    def _taking(self, take: Callable[[Any, ev.Event], None]) -> Callable[[Any, ev.Event], None]:
        """Between any two decisions of a bed its checker books what the pump did."""

        def taken(bed: Any, event: ev.Event) -> None:
            checker = next((each for each in self.checkers if each.bed and each.bed.name == bed.setup.bed), None)
            if checker is None or bed is not checker.bed.ward.bed:
                take(bed, event)
                return
            self.guarded(checker.sample)
            checker.hears(event)
            if bed.setup.bed in self.poisoned:
                self.poisoned.discard(bed.setup.bed)
                checker.fails()
                raise RuntimeError("poison")
            take(bed, event)
            self.guarded(checker.sample)

        return taken

    def guarded(self, check: Callable[[], None]) -> None:
        """The daemon must not see what its watchers find."""
        try:
            check()
        except RuleBroken as broken:
            self.broken = self.broken or broken

    def _stop_here(self) -> None:
        if self.broken is not None:
            raise self.fault(self.broken.rule, self.broken.text)

    def fault(self, rule: str, text: str) -> RuleBroken:
        """With the story up to there."""
        tale = "\n".join(self.story[-TOLD_LINES:])
        where = "\n".join(self._where(checker) for checker in self.checkers)
        return RuleBroken(rule, f"{text}\nseed {self.seed}, {self.kind}, {self.count} bed(s)\n{where}\n{tale}")

    def _where(self, checker: Checker) -> str:
        state = checker.bed.state
        alarms = checker.bed.ward.bed.alarms.board.alarms
        why = [dict(alarm.values) for alarm in alarms if alarm.code == "pump_not_proved"]
        who = f"\n  {why}\n  {state.ours}\n  {state.connected}" if why else ""
        where = f"{state.phase.value} {state.sight.value} halt={state.halt} {sorted(checker.bed.alarms)}"
        return f"{checker.bed.name}: {where} {checker.volumes.truth}{who}"

    def say(self, text: str) -> None:
        self.story.append(f"          {text}")

    def tell(self, bed: Bedside, text: str) -> None:
        truth, state = bed.truth, bed.state
        self.story.append(
            f"{self.clock.wire():9.2f} {bed.name} {state.phase.value:10} {state.sight.value:9} "
            f"{'moves' if truth['infusing'] else 'stands'} {truth['plunger_ml']:8.4f}  {text}"
        )

    async def _watch(self) -> None:
        while self.broken is None:
            await asyncio.sleep(LOOK_S)
            for checker in self.checkers:
                self.guarded(lambda checker=checker: checker.look(lambda text: self.tell(checker.bed, text)))
            for life in self.lives:
                if life.done() and not life.cancelled() and not self.checkers[0].life_ends:
                    self.broken = self.broken or RuleBroken("R8", f"a ward ended: {life.exception()!r}")

    async def _fire(self) -> None:
        await asyncio.sleep(2)
        deeds = Deeds(self)
        for bed in self.beds:
            await deeds.begin_session(bed)
        for _ in range(STEPS):
            await asyncio.sleep(
                self.dice.choice([0.0, 0.003, 0.02, 0.3, 1, 2, 5, 20, 90]) * self.dice.random() * self.kind.pace
            )
            self._stop_here()
            bed = self.dice.choice(self.beds)
            name, deed = deeds.draw(bed)
            self.tell(bed, name)
            await self.do(bed, deed)
            if self.dice.random() < 0.15:
                self.heal()
            await self._next_patient(deeds)

    async def do(self, bed: Bedside, deed: Callable[[], Any]) -> None:
        checker = self.checkers[self.beds.index(bed)]
        self.guarded(checker.sample)
        result = deed()
        if isinstance(result, Coroutine):
            await result
        self.sample()

    def sample(self) -> None:
        """Each checker books what its pump did up to now."""
        for each in self.checkers:
            self.guarded(each.sample)

    async def _next_patient(self, deeds: Deeds) -> None:
        for bed in list(self.beds):
            if bed.state.phase in OVER and self.dice.random() < 0.5:
                self.heal()
                await asyncio.sleep(8)
                await deeds.begin_session(bed)

    def heal(self) -> None:
        """All faults are gone."""
        self.say("healed")
        self.unswap()
        self.disk.fault = self.sink.fault = None
        for bed in self.beds:
            bed.do("clear_faults")
            bed.do("release")
            if not bed.device.truth()["powered"]:
                bed.do("power_on")
            bed.port.plug_in()

    @property
    def swapped(self) -> bool:
        """Each plug is in the other's place."""
        return any(checker.tap.device is not checker.device for checker in self.checkers)

    def unswap(self) -> None:
        """The plugs are where they belong."""
        if self.swapped:
            for checker in self.checkers:
                checker.bed.port.plug_out()
                checker.tap.device = checker.device
            for checker in self.checkers:
                checker.bed.port.plug_in()

    # --- peace ---

    async def _peace(self) -> None:
        """All faults are gone: STOP ends what moves, the pump is ours, and another patient can be treated."""
        self.heal()
        self.poisoned.clear()
        await asyncio.sleep(15)
        for bed in list(self.beds):
            self._stop_here()
            self.tell(bed, "peace")
            await self._peace_at(bed)
            self._stop_here()

    async def _peace_at(self, bed: Bedside) -> None:
        await self._clear_monitor_only(bed)
        if bed.device.truth()["alarm"]:
            await asyncio.sleep(5)
        stopped = await bed.order("pump.stop", wait_s=20)
        self.say(f"pump.stop -> {stopped.get('state')} {stopped.get('text')}")
        self.must(stopped["state"] == "done", f"STOP is not done with the line back: {stopped}")
        self.must(not bed.truth["infusing"], "infusing after a STOP that was read back")
        await asyncio.sleep(FINAL_S)
        self.tell(bed, "rest")
        self.must(not bed.truth["infusing"], "infusing again after a STOP")
        self.must(bed.state.halt is None, "the stop is still owed")
        if "pump_not_proved" in bed.state.conditions:
            # A rate dialled unseen, a power cut whose alarm a bad line has swallowed, or a digit lost on a line without
            # a checksum (Basic mode): nobody can tell them from a swap.
            kind = self.kind
            excused = kind.hands or kind.faults or self.power_cut or not kind.checked
            self.must(excused, "our own pump is not recognised")
            await bed.order("session.end")
        if bed.state.phase is Phase.OBSERVING:
            await bed.order("session.end")
        elif bed.state.phase in (Phase.PLANNED, Phase.ARMED):
            await bed.order("session.stop")
        self.must(bed.state.phase in OVER, f"stuck in {bed.phase}")
        planned = await bed.planned()
        self.must(planned["state"] == "done", f"no new plan: {planned}")

    def must(self, holds: bool, what: str) -> None:
        self._stop_here()
        if not holds:
            raise self.fault("R6", what)

    async def _clear_monitor_only(self, bed: Bedside) -> None:
        for alarm in bed.ward.bed.alarms.board.alarms:
            if alarm.code == "monitor_only":
                await bed.order("alarm.reset", alarm_id=alarm.alarm_id)
                await asyncio.sleep(15)

    def _judge_journals(self) -> None:
        for checker in self.checkers:
            self.guarded(checker.judge_journal)
            self._stop_here()
            if not checker.bed.ward.bed.monitor_only:
                _, differences = replay(self.room.journal.rows(bed=checker.bed.name))
                if differences:
                    raise self.fault("R7", f"replay differs: {differences[0]}")


def play(seed: int, **how: Any) -> Figures:
    """One seed in a loop and a folder of its own. Raises RuleBroken."""
    with tempfile.TemporaryDirectory(prefix="pumpd-campaign-", dir=FAST) as folder:
        run = Run(seed, Path(folder), **how)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(run.run())
        return run.figures


def campaign(seed: int, seeds: int, families: Sequence[str] = ("newera",)) -> bool:
    """Play many, on all processors this process may use; print what broke with its story, then the figures."""
    figures, broken = {family: Figures() for family in families}, 0
    jobs = [(number, family) for number in range(seed, seed + seeds) for family in families]
    processes = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(processes, initializer=quiet) as pool:
        for family, outcome in pool.imap_unordered(_outcome, jobs):
            if isinstance(outcome, Figures):
                figures[family].join(outcome)
            else:
                broken += 1
                print(outcome, end="\n\n", flush=True)
    for family, table in figures.items():
        print(f"{family}: {seeds} seeds\n{table.table()}")
    print(f"{len(jobs)} runs, {broken} broke a rule")
    return not broken


def _outcome(job: tuple[int, str]) -> tuple[str, Figures | str]:
    seed, family = job
    try:
        return family, play(seed, family=family)
    except Exception as broken:  # a fault of the campaign itself is told like a rule that was broken
        told = str(broken) if isinstance(broken, RuleBroken) else repr(broken)
        return family, f"{family}, seed {seed}: {told}"


def quiet() -> None:
    """The log of a thousand sessions says nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
