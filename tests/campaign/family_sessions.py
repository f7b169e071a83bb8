"""Whole sessions on each controllable family but New Era, whose own campaign is finer: line, keys, mains, orders.

What is asked of every family alike, by the truth of the simulated pump: pumpd's own orders give no more than the plan
(I1), blind is told (R3), what must stand is stopped (R2), when all faults are gone STOP stops and the next patient can
be planned (R6), nothing ends with an exception (R8). Keys are pressed in half of the sessions.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pumpd.core.state import Phase, Sight
from pumpd.testing import VirtualLoop
from simulator.families import family_named
from tests.bedside import PLANNED_ML, Bedside, Room, ward
from tests.campaign.random_sessions import quiet
from tests.campaign.verdicts import Figures, RuleBroken
from tests.families import KINDS

FAMILIES = ("alaris", "perfusor", "infusomat", "harvard")
STEPS = 25
LOOK_S = 0.5
OURS = "wire"
ORDERS = ("session.pause", "session.resume", "session.resume", "session.restore", "session.finish")
COUNTER_STEP_ML = 0.11  # a Perfusor counts tenths
BLIND_TOLD_S = 8.0  # no reading for 3 s is told; 5 s where the family may answer late
STANDS_S = 12.0  # a motion against the plan: seen by a poll, stopped and read back, on a bad line
LINE = ("drop", "flip", "delay", "mute", "deaf")
MUST_STAND = (Phase.PAUSED, Phase.ENDING, Phase.OBSERVING, Phase.ENDED)
TOLD = {"comms_lost_pump", "pump_not_proved", "pump_not_connected"}


class FamilyRun:
    """One seed at one bed."""

    def __init__(self, seed: int, family: str) -> None:
        self.seed, self.family, self.dice = seed, family, random.Random(f"{family} {seed}")
        self.hands = self.dice.random() < 0.5
        self.story: list[str] = []
        self.figures = Figures()
        self.broken: RuleBroken | None = None
        self.blind_since = self.moves_since = 0.0

    async def run(self) -> Figures:
        """Raise RuleBroken, or give the figures."""
        unhandled = list[str]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(repr(context)))
        self.bed = Bedside(Room(seed=self.seed), family=self.family)
        async with ward(self.bed):
            watching = asyncio.create_task(self._watch())
            try:
                await self.bed.running()
                for _ in range(STEPS):
                    await self._deed()
                    await asyncio.sleep(self.dice.choice([0.1, 1.0, 5.0, 20.0, 60.0]))
                    self._stop_here()
                await self._peace()
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
        self._stop_here()
        if unhandled:
            raise self._fault("R8", f"unhandled: {unhandled[:2]}")
        self.figures.add("sessions", 1)
        return self.figures

    # --- deeds ---

    async def _deed(self) -> None:
        deeds: list[Callable[[], Any]] = [*[self._line] * 2, *[self._heal] * 2, *[self._order] * 2, self._pump]
        deeds += [self._key] if self.hands else []
        outcome = self.dice.choice(deeds)()
        if asyncio.iscoroutine(outcome):
            await outcome

    def _line(self) -> None:
        kind = self.dice.choice([*LINE, "unplugged"])
        if kind == "unplugged":
            self._say("unplugged")
            self.bed.port.plug_out()
            return
        more: dict[str, Any] = {"probability": self.dice.choice([0.002, 0.02, 0.2])} if kind in ("drop", "flip") else {}
        more |= {"delay_s": self.dice.choice([0.05, 0.3, 2.0])} if kind == "delay" else {}
        self._do("fault", kind=kind, for_s=self.dice.choice([2.0, 10.0, 60.0]), **more)

    def _heal(self) -> None:
        self.bed.port.plug_in()
        self._do("clear_faults")
        self._do("release")

    def _pump(self) -> None:
        name = self.dice.choice(["occlude", "occlude", "power"])
        if name == "power":
            self._do("power_off", for_s=self.dice.choice([5.0, 60.0]))
        else:
            self._do(name)

    def _key(self) -> None:
        key = self.dice.choice(["run", "stop", "rate_up", "rate_up", "rate_down", *self._others()])
        self._do("press", key=key)

    def _others(self) -> list[str]:
        return [key for key in family_named(self.bed.kind.family).keys if key in ("bolus", "purge", "mute", "home")]

    async def _order(self) -> None:
        verb = self.dice.choice(ORDERS)
        args: dict[str, Any] = {"pressure_released": True} if verb == "session.resume" else {}
        role = "prescriber" if self.dice.random() < 0.3 else "nurse"
        with suppress(TypeError):  # nothing is offered that could be confirmed
            answer = await self.bed.order(verb, confirm=verb != "session.pause", role=role, wait_s=6, **args)
            self._say(f"{verb} -> {answer.get('state')} {answer.get('text') or ''}")

    def _do(self, what: str, **how: Any) -> None:
        self.bed.device.advance(self.bed.room.clock.wire())
        answer = self.bed.device.control({"do": what, **how})
        self.bed.port.poke()
        self._say(f"{what} {how} {'' if answer['ok'] else answer['error']}")

    # --- what is watched ---

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self.broken is None:
                try:
                    self._look(self.bed.room.clock.wire(), self.bed.truth)
                except RuleBroken as broken:
                    self.broken = broken

    def _look(self, now: float, truth: dict[str, Any]) -> None:
        state = self.bed.state
        ours = float(truth["plunger_ml_by"].get(OURS, 0.0))
        bound = PLANNED_ML + COUNTER_STEP_ML
        self.figures.measured("I1 mL by our orders", ours, bound, self.seed)
        if ours > bound and not self.hands:
            raise self._fault("I1", f"{ours:.3f} mL by our orders, planned {PLANNED_ML}")
        running = state.phase in (Phase.RUNNING, Phase.PAUSED) and not state.released
        blind = running and state.sight is not Sight.SEEING and not TOLD & self.bed.alarms
        self.blind_since = 0.0 if not blind else self.blind_since or now
        if blind and now - self.blind_since > BLIND_TOLD_S:
            raise self._fault("R3", f"blind for {now - self.blind_since:.1f} s and nobody is told")
        against = state.phase in MUST_STAND and truth["infusing"] and state.sight is Sight.SEEING
        self.moves_since = 0.0 if not against else self.moves_since or now
        if against and now - self.moves_since > STANDS_S:
            raise self._fault("R2", f"moves for {now - self.moves_since:.1f} s in {state.phase.value}")

    async def _peace(self) -> None:
        self._heal()
        self._do("power_on")
        await asyncio.sleep(60)
        bed = self.bed
        stopped = await bed.order("pump.stop", wait_s=30)
        self._must(stopped["state"] == "done", f"STOP is not done with the line back: {stopped}")
        await asyncio.sleep(30)
        self._must(not bed.truth["infusing"], "infusing after a STOP that was read back")
        self._must(bed.state.halt is None, "the stop is still owed")
        if bed.state.phase in (Phase.PAUSED, Phase.OBSERVING):
            await bed.order("session.end")
            await asyncio.sleep(5)
            await bed.order("session.end")
        self._must(bed.phase in ("idle", "ended", "aborted", "observing"), f"stuck in {bed.phase}")

    def _must(self, holds: bool, what: str) -> None:
        self._stop_here()
        if not holds:
            raise self._fault("R6", what)

    def _stop_here(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _say(self, words: str) -> None:
        self.story.append(f"{self.bed.room.clock.wire():10.2f} {self.bed.phase:10} {words}")

    def _fault(self, rule: str, text: str) -> RuleBroken:
        tail = "\n".join(self.story[-40:])
        return RuleBroken(rule, f"{self.family}, seed {self.seed}: {text}\n{sorted(self.bed.alarms)}\n{tail}")


def play(seed: int, family: str) -> Figures:
    """One session of one family in virtual time."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(FamilyRun(seed, family).run())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def campaign(seed: int, seeds: int) -> bool:
    """`seeds` sessions of each family."""
    figures, broken = Figures(), 0
    jobs = [(number, family) for family in FAMILIES for number in range(seed, seed + seeds)]
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0)), initializer=quiet) as pool:
        for outcome in pool.imap_unordered(_outcome, jobs):
            if isinstance(outcome, Figures):
                figures.join(outcome)
            else:
                broken += 1
                print(outcome, end="\n\n", flush=True)
    print(figures.table())
    print(f"{len(jobs)} sessions of {', '.join(FAMILIES)}: {broken} broke a rule")
    return not broken


def _outcome(job: tuple[int, str]) -> Figures | str:
    try:
        return play(*job)
    except RuleBroken as broken:
        return str(broken)
    except Exception as fault:  # a fault of the campaign itself is told like a rule that was broken
        return f"{job}: {fault!r}"


assert set(FAMILIES) < set(KINDS)
