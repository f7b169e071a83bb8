"""A bed under random fire: orders, keys, line faults, crashes, in an order that a seed decides, watched all the time.

PUMPD_CAMPAIGN=500 PUMPD_SEED=1 pytest tests/scenario/test_campaign.py
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pumpd.bedside import bed as bed_module
from pumpd.bedside.desk import CHECKLIST
from pumpd.core.events import Event
from pumpd.core.session import Decision, decide
from pumpd.core.state import Phase, State
from pumpd.records.journal import Journal
from pumpd.records.recall import replay
from pumpd.testing import VirtualClock
from tests.bedside import PATIENT, PLAN, Bedside, Room
from tests.scenario.test_islands import Disk

LOOK_S = 0.25  # between two looks of the watcher
NOTICE_S = 8.0  # a wrong motion that is seen is ended within two polls, the retries of a bad line included
LOUD_S = 6.0  # an alarm that a rule demands is on the board by then
FINAL_S = 60.0  # after all faults are gone
VOLUME_EPS_ML = 1e-6
BEGINS = ("session.start", "session.resume", "session.finish")


class Broken(AssertionError):
    """A rule of safety did not hold. The text has the story up to there."""


class Poison:
    """While active, the next decision fails."""

    def __init__(self) -> None:
        self.active = False

    def __call__(self, state: State, event: Event, now: float) -> Decision:
        if self.active:
            self.active = False
            raise RuntimeError("poison")
        return decide(state, event, now)


class Campaign:
    """One seed: `await run()` raises Broken, or nothing."""

    def __init__(self, seed: int, path: Path, *, keypad: bool, steps: int = 40) -> None:
        self.seed, self.path, self.keypad, self.steps = seed, path, keypad, steps
        self.dice = random.Random(seed)
        self.mode = self.dice.choice(["safe", "safe", "basic"])
        self.pace = self.dice.choice([1, 1, 15])  # so that some sessions come to their end
        self.story: list[str] = []
        self.disk = Disk()
        self.poison = Poison()
        self.begins: list[float] = []  # when a person ordered something that may start the pump
        self.power_cut = False
        self.boot = 0
        self.clock = VirtualClock()
        self.bed = Bedside(self._room(), mode=self.mode)
        self.starts = self.looked_at = 0
        self.session_at: dict[str, float] = {}
        self.since: dict[str, float] = {}
        self.told: set[str] = set()
        self.unhandled: list[str] = []

    def _room(self) -> Room:
        journal = Journal(self.path, self.clock.boot_id, threaded=False, commit=self.disk)
        return Room(seed=self.seed + self.boot, clock=self.clock, journal=journal)

    # --- the run ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.unhandled.append(repr(context)))
        tasks_before = len(asyncio.all_tasks())
        vars(bed_module)["decide"] = self.poison
        try:
            self._live()
            watcher = asyncio.create_task(self._watch())
            try:
                await self._fire()
                await self._peace()
            finally:
                watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await watcher
            await self._kill()
            rows = list(self.bed.room.journal.rows(bed=self.bed.name))
            if self.bed.ward.bed.monitor_only is False:
                _, differences = replay(rows)
                self._must(not differences, f"replay differs: {differences[:1]}")
            self.bed.room.journal.close()
        finally:
            vars(bed_module)["decide"] = decide
            loop.set_exception_handler(None)
        await asyncio.sleep(0)
        self._must(not self.unhandled, f"unhandled: {self.unhandled[:2]}")
        self._must(len(asyncio.all_tasks()) == tasks_before, f"tasks left: {asyncio.all_tasks()}")

    def _live(self) -> None:
        self.life = asyncio.create_task(self.bed.ward.run())

    async def _kill(self) -> None:
        self.life.cancel()
        with suppress(asyncio.CancelledError):
            await self.life

    async def _fire(self) -> None:
        await asyncio.sleep(2)
        await self._begin_session()
        for _ in range(self.steps):
            await asyncio.sleep(
                self.dice.choice([0.0, 0.003, 0.02, 0.3, 1, 2, 5, 20, 90]) * self.dice.random() * self.pace
            )
            deeds = self._deeds()
            name = self.dice.choice(list(deeds))
            self._tell(name)
            result = deeds[name]()
            if asyncio.iscoroutine(result):
                await result
            if self.dice.random() < 0.15:
                self._heal()
            if self.bed.state.phase in (Phase.IDLE, Phase.ENDED, Phase.ABORTED) and self.dice.random() < 0.5:
                self._heal()
                await asyncio.sleep(8)
                await self._begin_session()

    def _tell(self, text: str) -> None:
        state = self.bed.state
        self.story.append(
            f"{self.clock.wire():9.2f} {state.phase.value:10} {state.sight.value:9} "
            f"{'moves' if self.bed.device.truth()['infusing'] else 'stands'} {self.bed.given:8.4f}  {text}"
        )

    # --- what can happen --------------------------------------------------------------------------------------------

    def _deeds(self) -> dict[str, Callable[[], Any]]:
        bed, dice = self.bed, self.dice
        deeds: dict[str, Callable[[], Any]] = {
            "pause": lambda: self._order("session.pause"),
            "pause 2": lambda: self._order("session.pause"),
            "resume": lambda: self._order("session.resume"),
            "resume 2": lambda: self._order("session.resume"),
            "resume 3": lambda: self._order("session.resume"),
            "recalculate": lambda: self._order("session.resume", mode="recalculate"),
            "start": lambda: self._order("session.start"),
            "arm": lambda: self._order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST)),
            "finish": lambda: self._order("session.finish"),
            "rate": lambda: self._order("rate.set", rate_ml_h=dice.choice(["40.00", "46.66", "50.00", "60.00"])),
            "restore": lambda: self._order("session.restore"),
            "accept": lambda: self._order("session.accept"),
            "container": lambda: self._order("session.container", container=dice.choice(CONTAINERS)),
            "pull": bed.port.plug_out,
            "plug": bed.port.plug_in,
            "blink": self._blink,
            "mute": lambda: self._pump("mute"),
            "deaf": lambda: self._pump("fault", kind="deaf"),
            "noise": lambda: self._pump("fault", kind="garbage", probability=0.3),
            "drop": lambda: self._pump("fault", kind="drop", probability=0.02),
            "delay": lambda: self._pump("fault", kind="delay", delay_s=dice.choice([0.001, 0.2, 0.6])),
            "echo": lambda: self._pump("fault", kind="echo"),
            "heal": self._heal,
            "block": lambda: setattr(self.disk, "blocked", True),
            "stall": self._stall,
            "power": self._power,
            "poison": self._poison,
            "crash": self._crash,
            "gap": self._gap,
        }
        if self.mode == "safe":  # without a checksum a flipped bit may read as a value; that is told in docs/safety.md
            deeds["flip"] = lambda: self._pump("fault", kind="flip", probability=0.02)
        if dice.random() < 0.2:
            deeds["stop"] = lambda: self._order("session.stop")
            deeds["pump.stop"] = lambda: self._order("pump.stop")
            deeds["end"] = lambda: self._order("session.end")
            deeds["release"] = lambda: self._order("session.release")
        if self.keypad:
            deeds["key run"] = lambda: self._pump("press", key="run")
            deeds["key run 2"] = lambda: self._pump("press", key="run")
            deeds["key stop"] = lambda: self._pump("press", key="stop")
            deeds["dial down"] = lambda: self._pump("set_rate", ml_h=20.0)
            deeds["dial up"] = lambda: self._pump("set_rate", ml_h=60.0)
        return deeds

    async def _order(self, verb: str, **args: Any) -> None:
        if verb in BEGINS:
            self.begins.append(self.clock.wire())
        given = self._figures(verb)
        task = asyncio.create_task(self.bed.order(verb, given=given, wait_s=4, **args))
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.choice([0.0, 0.002, 0.01, 0.1]))
            if not task.done():
                await asyncio.sleep(0)
        else:
            self.story.append(f"          -> {_short(await task)}")

    def _figures(self, verb: str) -> dict[str, str] | None:
        shown = self.bed.room.paper.all("pump/one-pump/session")
        if not shown or shown[-1].get("confirm_rate_ml_h") is None:
            rate = self.bed.state.report.rate if self.bed.state.report else None
            planned = self.bed.state.ordered
            wanted = planned if verb == "session.restore" else rate
            return None if wanted is None else {"rate_ml_h": str(wanted.value)}
        last = shown[-1]
        return {"rate_ml_h": str(last["confirm_rate_ml_h"]), "volume_ml": str(last["confirm_volume_ml"])}

    def _pump(self, what: str, **how: Any) -> None:
        with suppress(AssertionError):  # a pump without power has no keys
            self.bed.do(what, **how)

    async def _blink(self) -> None:
        self.bed.port.plug_out()
        await asyncio.sleep(self.dice.random() * 4)
        self.bed.port.plug_in()

    def _heal(self) -> None:
        self.story.append("          healed")
        self.bed.do("clear_faults")
        if not self.bed.device.truth()["powered"]:
            self.bed.do("power_on")
        self.bed.port.plug_in()
        self.disk.blocked = False

    def _stall(self) -> None:
        if self.bed.truth["infusing"]:
            self.bed.do("stall")

    async def _power(self) -> None:
        if not self.bed.truth["powered"]:
            return
        self.power_cut = True
        self.bed.do("power_off")
        await asyncio.sleep(self.dice.random() * 5)
        self.bed.do("power_on")

    def _poison(self) -> None:
        self.poison.active = True

    async def _crash(self) -> None:
        """kill -9, a while of nothing, and a new process; sometimes the machine was restarted, too."""
        await self._kill()
        self.disk.blocked = False
        self.bed.room.journal.close()
        self._starts()
        self.looked_at = 0
        await asyncio.sleep(self.dice.choice([0.1, 1, 5, 15]) * self.dice.random())
        self.boot += 1
        if self.dice.random() < 0.2:
            self.clock = VirtualClock(boot_id=f"boot {self.boot}")
            self.story.append("          rebooted")
        device, plugged = self.bed.device, self.bed.port._plugged
        self.bed = Bedside(self._room(), device=device, mode=self.mode)
        if not plugged:
            self.bed.port.plug_out()
        journal = self.bed.room.journal
        last = journal.last_session(self.bed.name)
        first = next(journal.rows(session_id=last, bed=self.bed.name), None) if last else None
        if first is not None:
            self.bed.ward.recover(journal.rows(bed=self.bed.name, since=first.seq - 1))
        self._live()

    async def _gap(self) -> None:
        loop: Any = asyncio.get_running_loop()
        loop._virtual.now += self.dice.choice([0.5, 2.5, 6, 30])
        await asyncio.sleep(0)

    async def _begin_session(self) -> None:
        bed = self.bed
        with suppress(AssertionError):
            await bed.until(lambda: bed.state.sight.value == "seeing", within_s=10)
        changed: dict[str, Any] = {**PLAN}
        if self.dice.random() < 0.3:
            changed["steps"] = [{"duration_min": 15, "share_pct": 20}, {"duration_min": 30, "share_pct": 80}]
        planned = await bed.order("session.plan", **changed)
        self.story.append(f"          plan -> {_short(planned)}")
        if planned["state"] != "done":
            return
        self.session_at[bed.state.session_id] = bed.given
        await bed.order("session.arm", patient_ref=PATIENT, checklist=list(CHECKLIST))
        self.begins.append(self.clock.wire())
        started = await bed.order("session.start", given=self._figures("session.start"))
        self.story.append(f"          start -> {_short(started)}")

    async def _peace(self) -> None:
        """All faults are gone: STOP ends what moves, the pump is ours, and another patient can be treated."""
        self._tell("peace")
        self._heal()
        self.poison.active = False
        await asyncio.sleep(15)
        bed = self.bed
        await self._clear_monitor_only()
        if bed.device.truth()["alarm"]:
            await asyncio.sleep(5)
        stopped = await bed.order("pump.stop", wait_s=20)
        self.story.append(f"          pump.stop -> {_short(stopped)}")
        self._must(stopped["state"] == "done", f"STOP is not done with the line back: {stopped}")
        self._must(not bed.truth["infusing"], "infusing after a STOP that was read back")
        await asyncio.sleep(FINAL_S)
        self._tell("rest")
        self._must(not bed.truth["infusing"], "infusing again after a STOP")
        self._must(bed.state.halt is None, "the stop is still owed")
        if "pump_not_proved" in bed.state.conditions:
            # A rate dialled unseen, or a power cut whose alarm a bad line has swallowed, nobody can tell from a swap.
            self._must(self.keypad or self.power_cut, "our own pump is not recognised")
            await bed.order("session.end")
        if bed.state.phase in (Phase.OBSERVING,):
            await bed.order("session.end")
        elif bed.state.phase in (Phase.PLANNED, Phase.ARMED):
            await bed.order("session.stop")
        self._must(bed.state.phase in (Phase.IDLE, Phase.ENDED, Phase.ABORTED), f"stuck in {bed.phase}")
        planned = await bed.planned()
        self._must(planned["state"] == "done", f"no new plan: {planned}")

    async def _clear_monitor_only(self) -> None:
        for alarm in self.bed.ward.bed.alarms.board.alarms:
            if alarm.code == "monitor_only":
                await self.bed.order("alarm.reset", alarm_id=alarm.alarm_id)
                await asyncio.sleep(15)

    # --- what must hold all the time --------------------------------------------------------------------------------

    def _must(self, holds: bool, what: str) -> None:
        if not holds:
            tale = "\n".join(self.story[-90:])
            raise Broken(f"seed {self.seed}, {self.mode}: {what}\n{self._where()}\n{tale}")

    def _where(self) -> str:
        state = self.bed.state
        why = [alarm.values for alarm in self.bed.ward.bed.alarms.board.alarms if alarm.code == "pump_not_proved"]
        who = "" if not why else f"{why}\n{state.ours}\n{state.connected}\n"
        where = f"{state.phase.value} {state.sight.value} halt={state.halt} {sorted(self.bed.alarms)}"
        return f"{who}{where} {self.bed.truth}"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look()
            except Broken as broken:
                self.unhandled.append(str(broken))
                return

    def _lasting(self, name: str, holds: bool, longest_s: float) -> None:
        if not holds:
            self.since.pop(name, None)
            return
        now = self.clock.wire()
        began = self.since.setdefault(name, now)
        self._must(now - began <= longest_s, f"{name} for {now - began:.1f} s")

    def _look(self) -> None:
        bed, state, truth = self.bed, self.bed.state, self.bed.truth
        board = {alarm.code for alarm in bed.ward.bed.alarms.board.alarms if alarm.present}
        alive = not self.life.done() and not bed.ward.bed.dead and not bed.ward.bed.monitor_only
        if self.life.done() and not self.life.cancelled():
            self._must(False, f"the ward ended: {self.life.exception()!r}")
        if not alive:
            self.since.clear()
            return
        self._must(state.conditions <= board, f"conditions without an alarm: {state.conditions - board}")
        for alarm in bed.ward.bed.alarms.board.alarms:
            if alarm.present and alarm.code not in self.told:
                self._tell(f"ALARM {alarm.code} {dict(alarm.values)}")
        self.told = board
        moves, seeing = truth["infusing"], state.sight.value == "seeing"
        good = not truth["faults"] and truth["powered"] and truth["connected"]
        wrong = state.phase in (Phase.PLANNED, Phase.ENDING, Phase.OBSERVING) and not state.released
        self._lasting(
            "moves against the plan", bool(moves and wrong and seeing and good and state.session_id), NOTICE_S
        )
        blind = state.phase is Phase.RUNNING and not seeing
        said = bool({"comms_lost_pump", "pump_not_proved", "daemon_restarted"} & bed.alarms)
        self._lasting("blind without an alarm", blind and not said, LOUD_S)
        owed = state.halt is not None and "stop_not_confirmed" not in board
        self._lasting("a stop not confirmed and not told", owed, LOUD_S)
        running_high = state.phase is Phase.RUNNING and seeing and good and state.plan is not None
        if running_high and state.plan is not None:
            planned = float(state.plan.rate_at(state.elapsed_at(bed.ward.bed.session_now())).value)
            running_high = moves and truth["rate_ml_h"] > planned + 1e-6
        self._lasting("above the plan", bool(running_high), NOTICE_S)
        self._volume(state)
        self._starts()

    def _volume(self, state: State) -> None:
        began = self.session_at.get(state.session_id)
        if began is None or state.plan is None or self.keypad:
            return
        given = self.bed.given - began
        plan = float(state.plan.volume.value)
        self._must(given <= plan + VOLUME_EPS_ML, f"{given} mL given of {plan}")

    def _starts(self) -> None:
        written = self.bed.port.written
        for at, data in written[self.looked_at :]:
            if b"RUN" in data:
                self.starts += 1
                self._must(any(0 <= at - ordered <= 10 for ordered in self.begins), f"RUN at {at} without an order")
        self.looked_at = len(written)
        self._must(self.starts <= len(self.begins), "started more often than persons ordered")


CONTAINERS: list[dict[str, Any]] = [
    {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50},
    {"kind": "syringe", "make": "BD", "size_ml": 50, "fill_ml": 50},
]


def _short(answer: dict[str, Any]) -> str:
    return " ".join(str(answer[key]) for key in ("verb", "state", "reason", "text") if answer.get(key))
