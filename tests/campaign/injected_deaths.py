"""The daemon dies at every row and at every byte of a session, and is born again on the same journal and pump (S10).

    python -m tests.campaign.injected_deaths --share 20      # every 20th world

`tests.campaign.life` runs the script once and keeps what each death would leave behind. Here each of these worlds is
lived on: a gap, a new daemon, and a nurse who goes on with what is left of the script. What must hold stands in
`Afterlife`, each rule with its own words.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import logging
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import structlog

from pumpd.core.catalogue import CATALOGUE
from pumpd.core.state import Phase, Sight
from pumpd.office import remembered_ids
from pumpd.records.chain import walk
from pumpd.records.journal import Journal, Row
from pumpd.records.recall import recall, replay
from pumpd.records.takeover import past_of
from simulator.device import Device
from tests.bedside import PLANNED_ML
from tests.campaign.life import LOOK_S, SPEED, WATCHDOG_S, Life, Order, World, in_virtual_time, whole_life
from tests.campaign.nurse import BEGINS, DIALLED_ML_H, STOPS
from tests.campaign.verdicts import Broken

RECOVERED_WITHIN_S = 2.0  # wire seconds from the port's answer to a pump that is seen and proved
ANSWERS_WITHIN_S = 8.0  # a pump that waits for the rest of a packet needs some questions until it answers
SETTLED_S = 3.0  # after its birth the daemon's phase and the pump's motion agree, and what was owed is done
VOLUME_EPS_ML = 1e-6
FINE_SPEED = 10.0  # up to this pace a poll comes once in a second of the session, as without acceleration
FULL_SHARE = 0.01  # so much may be missing, and the dose counts as given
TTL_S = 5.0  # an order delivered twice by the bus comes again within it
TOUCHES = re.compile(r"\d*(RUN|PUR|CLD|STP|DIA.|VOL.|RAT.|DIR.|FUN.)")
CLEARS = re.compile(r"\d*(CLD|DIA.)")


@dataclass(frozen=True)
class Gap:
    """Between death and birth. `what` may happen besides time."""

    what: str
    seconds: float


def gap_for(dice: random.Random, moves: bool) -> Gap:
    """Shorter and longer than the pump's watchdog; now and then a reboot, another pump, or a journal that is lost."""
    kinds = ["short"] * 5 + ["long"] * 3 + ["reboot", "other pump"] + ["no journal"] * moves
    kind = dice.choice(kinds)
    if kind == "long":
        return Gap(kind, dice.uniform(WATCHDOG_S + 0.5, 60.0))
    return Gap(kind, dice.choice([0.001, 0.2, 1.0, 3.0, 7.0, WATCHDOG_S - 0.5]) * dice.uniform(0.5, 1.0))


@dataclass
class Past:
    """What the life left to all its worlds: its rows, and which orders they hold."""

    rows: Sequence[Row]
    written: dict[str, int] = field(default_factory=dict)  # request -> the row of its order

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.kind.endswith("Ordered"):
                self.written[json.loads(row.data)["event"]["by"]["request"]] = row.seq

    def journal_of(self, world: World, path: Path) -> None:
        """Write what was on the disk in that world."""
        journal = Journal(path, "virtual boot", threaded=False)
        for row in self.rows[: world.rows]:
            how: dict[str, Any] = {"bed": row.bed, "ts": row.ts, "wire": row.wire, "session_id": row.session_id}
            journal.append(row.kind, row.data, late=row.late, **how)
        for key, value, until in world.memory:
            journal.remember(key, value, until)
        journal.close()

    def lost_an_order(self, world: World) -> bool:
        """Does a lost row hold an order to the pump that waited for no disk (S9)?"""
        return any(self._orders_of(row) for row in self.rows[world.rows : world.appended])

    def unseen_hand(self, world: World) -> bool:
        """Was a rate dialled at the keypad that no row on the disk shows?"""
        seen = any(f'"rate":"{DIALLED_ML_H:.2f} mL/h"' in row.data for row in self.rows[: world.rows])
        panel = world.device._panel
        return panel._live_rate.get(1, panel._at(1).rate) == DIALLED_ML_H and not seen

    def _orders_of(self, row: Row) -> bool:
        if row.data.find('"effects"') < 0:
            return False
        return any(
            effect["is"] in ("Halt", "Tighten", "SetRate", "Release") for effect in json.loads(row.data)["effects"]
        )

    def kept(self, world: World, order: Order) -> bool:
        """Is the order on the disk of that world?"""
        return 0 < self.written.get(order.id, 0) <= world.rows


class Afterlife(Life):
    """The daemon born after a death, and what must hold of it."""

    def __init__(self, world: World, past: Past, gap: Gap, path: Path, speed: float, to_the_end: bool) -> None:
        self.world, self.past, self.gap = world, past, gap
        self.nobodys = gap.what in ("other pump", "no journal")  # no order may go to the pump at all
        self.finishes = to_the_end and not self.nobodys
        self.begins_left = self.restores_left = self.loads_left = 0  # orders of a person since the birth
        self.commands_sent = 0  # to the pump, that could change what it gives
        boot = "another boot" if gap.what == "reboot" else "virtual boot"
        if gap.what != "no journal":
            past.journal_of(world, path)
        device = _another_pump(world.at, speed) if gap.what == "other pump" else copy.deepcopy(world.device)
        device.advance(world.at)
        self.at_death = dict(device.truth())
        super().__init__(path, seed=world.number + 2, speed=speed, boot_id=boot, device=device, chart=world.chart)
        self.orders, self.heard, self.baselines = list(world.orders), list(world.heard), list(world.baselines)
        self._rate = self._programmed()
        self.recovered_s: float | None = None
        self.ending = ""

    def _programmed(self) -> float:
        """The rate in the pump's first programme phase, running or not."""
        panel = self.tap.device._panel
        return float(panel._live_rate.get(1, panel._at(1).rate))

    # --- the run ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the birth to the end of the script. Raises Broken."""
        self._remember()
        living = asyncio.create_task(self.bed.ward.run())
        try:
            await self._come_back(living)
            if self.finishes:
                await self.nurse()
                self._last_look()
            self.must(not living.done(), "the ward ended")
            if self.faults:  # raised within the daemon, which may have swallowed it
                raise Broken(self.faults[0])
        finally:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living
        if self.finishes:
            self._check_records()

    def _remember(self) -> None:
        """As the station does at its start; every alarm that stood still stands."""
        rows = list(self.journal.rows(bed=self.bed.name))
        gate = self.room.office._gate
        gate.restore(remembered_ids(self.journal, self.clock.wall().timestamp()))
        self.bed.ward.recover(past_of(self.journal, self.bed.name))
        self.must(not self.bed.ward.bed.monitor_only, "the journal could not be read or decided")
        self._alarms_stand(rows)

    def _alarms_stand(self, rows: list[Row]) -> None:
        standing: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row.kind == "Alarm":
                alarm = json.loads(row.data)
                standing[alarm["alarm_id"]] = alarm
            elif row.kind == "AlarmOver":
                standing.pop(json.loads(row.data)["alarm_id"], None)
        board = self.bed.ward.bed.alarms.board
        for alarm_id, alarm in standing.items():
            code = alarm["code"]
            ended = not CATALOGUE[code].latching and code not in self.bed.state.conditions
            self.must(ended or board.find(alarm_id) is not None, f"the alarm {code} stood and is forgotten")
        lost = self.bed.state.conditions - {alarm.code for alarm in board.alarms if alarm.present}
        self.must(not lost, f"conditions without an alarm: {lost}")

    async def _come_back(self, living: asyncio.Task[None]) -> None:
        born = self._born = self.clock.wire()
        before = self.bed.state
        self._deliver_twice()
        while (lived := self.clock.wire() - born) < SETTLED_S or (lived < ANSWERS_WITHIN_S and self._still_mute()):
            state = self.bed.state
            if self.recovered_s is None and state.sight is Sight.SEEING and state.report is not None:
                self.recovered_s = self.clock.wire() - (self.tap.answered_at or born)
                self._deliver_twice()
            self.must(not living.done(), "the ward ended")
            await asyncio.sleep(0.02)
        if self.nobodys:
            self._untouched(before.phase)
            return
        if self.recovered_s is None and (self.past.lost_an_order(self.world) or self.past.unseen_hand(self.world)):
            await self._stays_a_stranger()
            return
        self.must(
            self.recovered_s is not None and self.recovered_s < RECOVERED_WITHIN_S,
            f"not seen and proved within {RECOVERED_WITHIN_S} s of the port's answer",
        )
        self._same_or_safer()

    def _still_mute(self) -> bool:
        """The pump takes our first questions for the rest of the one that the death has cut."""
        stranger = "pump_not_proved" in self.bed.alarms
        return not self.nobodys and self.recovered_s is None and not stranger

    async def _stays_a_stranger(self) -> None:
        """A stop or a lower rate went out while the disk hung (S9), or a hand dialled a rate that no row tells of.

        Then our own pump reads as no row expects. It is not taken for ours: loud, untouched, and it stops by itself.
        """
        self.must("pump_not_proved" in self.bed.alarms, "not recognised, and no alarm says so")
        await asyncio.sleep(WATCHDOG_S + LOOK_S)
        self.must(self.commands_sent == 0, "an order to a pump that is not proved")
        self.must(not self.bed.truth["infusing"], "it goes on, and nobody judges it")
        self.finishes = False
        self.ending = "not recognised, and left alone"

    def _deliver_twice(self) -> None:
        """The bus brings the last order that sets a pump going once more."""
        order = next((order for order in reversed(self.world.orders) if order.verb in BEGINS), None)
        if order is None or self.clock.wire() - order.at > TTL_S or self.nobodys:
            return
        if not self.past.kept(self.world, order):
            self.begins_left += 1  # it was never taken: now it comes for the first time
            self.loads_left += 1
        self.say_again(order)

    def _untouched(self, phase: Phase) -> None:
        if self.gap.what == "no journal":
            self.must("infusing_unknown_session" in self.bed.alarms or not self.bed.truth["infusing"], "not told")
        elif phase in (Phase.RECOVERING, Phase.PAUSED, Phase.ENDING, Phase.OBSERVING) and not self.bed.state.released:
            self.must(self.bed.state.sight is not Sight.SEEING, "another pump is taken for ours")
            self.must("pump_not_proved" in self.bed.alarms, "another pump is at the port, and no alarm says so")

    def _same_or_safer(self) -> None:
        state, truth = self.bed.state, self.bed.truth
        moves, phase = truth["infusing"], state.phase
        if self.begins_left == 0 and not any(self._fresh(order) for order in self.world.orders[-1:]):
            self.must(not moves or self.at_death["infusing"], "it stood at the death, and nobody ordered a start")
        self.must(moves == (phase is Phase.RUNNING), "the phase and the pump do not agree")
        if self.gap.what == "reboot":
            self.must(not moves, "after a reboot it goes on without a person")
        stop = self._stop_owed()
        if stop is not None:
            self.must(not moves, f"{stop.verb} was ordered before the death, and the pump moves")
            self.must(state.halt is None, f"{stop.verb} is owed for ever")
            if stop.verb == "session.stop" and self.past.kept(self.world, stop):
                self.must(phase in (Phase.ENDING, Phase.OBSERVING, Phase.ENDED, Phase.ABORTED), "stopped, not ending")
        self._blind_volume()

    def _fresh(self, order: Order) -> bool:
        """It may just have been on its way to the pump at the death."""
        return order.verb in BEGINS and not self.world.done(order)

    def _stop_owed(self) -> Order | None:
        """The last order that a dead daemon took or did, if it was one to stop."""
        for order in reversed(self.world.orders):
            if self.past.kept(self.world, order) or self.world.done(order):
                if order.verb in STOPS:
                    return order
                if order.verb in BEGINS:
                    return None
        return None

    def _blind_volume(self) -> None:
        """Nobody ordered more: then it gave no more than its rate allows until its watchdog ended it."""
        if self.begins_left or any(self._fresh(order) for order in self.world.orders[-1:]):
            return
        seconds = min(self.gap.seconds, WATCHDOG_S) + self.clock.wire() - self._born
        most = self.at_death["rate_ml_h"] * seconds * self.speed / 3600
        self.must(self.bed.given - self.at_death["plunger_ml"] <= most + 1e-3, "more than the blind gap allows")

    # --- what goes to the pump --------------------------------------------------------------------------------------

    def ordered(self, order: Order) -> None:
        super().ordered(order)
        self.begins_left += order.verb in BEGINS
        self.restores_left += order.verb == "session.restore"
        self.loads_left += order.verb in (*BEGINS, "session.arm", "session.container")

    def sent(self, data: bytes) -> None:
        """The pump has got a command: was it allowed?"""
        text = command(data)
        self.commands_sent += bool(TOUCHES.match(text))
        if self.nobodys:
            self.must(not TOUCHES.match(text), f"{text} to a pump that is not ours")
            return
        if "RUN" in text:
            self.must(self.begins_left > 0, "a start without an order of a person")
            self.begins_left -= 1
        self.must("PUR" not in text, "a bolus")
        if CLEARS.match(text):
            self.must(self.loads_left > 0, f"{text}: clears the counter without an order of a person")
        rate, self._rate = self._rate, self._programmed()
        if self._rate > rate + 1e-9 and self.loads_left == 0:
            self.must(self.restores_left > 0, f"{text} raises the rate from {rate} without an order of a person")
        self.must(not re.fullmatch(r"\d*VOL[0.]+", text), "the pump's limit is taken away")
        self._within_plan()

    def _within_plan(self) -> None:
        if self.baselines:
            given = self.bed.given - self.baselines[-1]
            self.must(given <= PLANNED_ML + VOLUME_EPS_ML, f"{given} mL given of {PLANNED_ML}")

    # --- the end ----------------------------------------------------------------------------------------------------

    def _last_look(self) -> None:
        self._within_plan()
        self.must(not self.bed.truth["infusing"], "it moves after the end")
        self.must(len(self.baselines) == 2, "a patient was left out")

    def _check_records(self) -> None:
        rows = list(self.journal.rows(bed=self.bed.name))
        self.must(walk(self.journal.rows())[0].whole, "the chain of the journal is broken")
        _, differences = replay(rows)
        self.must(not differences, f"replay differs: {differences[:1]}")
        first = self.baselines[1] - self.baselines[0]
        self.ending = "complete" if first >= PLANNED_ML * (1 - FULL_SHARE) else "1 % or more short"
        counted, claimed = self._first_patient(rows)
        self.must(abs(counted - first) < 0.2, f"{first} mL given to the first patient, and {counted} mL on record")
        if self.speed > FINE_SPEED:
            return  # polls are so far apart that each pause costs a part of the dose (S1): no measure of completeness
        full = PLANNED_ML * (1 - FULL_SHARE)
        self.must(first >= full or not claimed, f"{first} mL given of {PLANNED_ML}, on record as complete")
        self.must(first >= full or self._says_why(rows), f"{first} mL given of {PLANNED_ML}, and no word of why")

    def _says_why(self, rows: list[Row]) -> bool:
        """A dose that was not completed has its reason on record."""
        codes = {json.loads(row.data)["code"] for row in rows if row.kind == "Alarm"}
        return bool(codes & {"short_of_plan", "stopped_at_pump", "plan_limit_reached", "late_and_short"})

    def _first_patient(self, rows: list[Row]) -> tuple[float, bool]:
        """What the records say of the first session that was given: volume, and whether it counts as complete."""
        sessions = list(dict.fromkeys(row.session_id for row in rows if row.session_id))
        for session_id in sessions:
            state = recall(row for row in rows if row.session_id == session_id).state
            if state.started is not None:
                return float(state.volumes.counted.value), state.completed
        return 0.0, False


def command(data: bytes) -> str:
    """The words of a packet of either mode, without framing and checksum."""
    return (data[2:-3] if data[:1] == b"\x02" else data.rstrip(b"\r")).decode("ascii", "replace")


def _another_pump(at: float, speed: float) -> Device:
    """Somebody has plugged the cable into the pump of the next bed, which infuses."""
    device = Device(mode="safe", speed=speed, watchdog_s=255, seed=9)
    device.advance(at)
    device._panel.set_diameter("14.48")
    device._panel.acknowledge()  # whoever used it before has seen that it was switched on
    for deed in ({"do": "set_rate", "ml_h": 20.0}, {"do": "press", "key": "run"}):
        answer = device.control(deed)
        assert answer["ok"], answer
    return device


# --- many worlds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What became of one world."""

    number: int
    where: str
    gap: str
    recovered_s: float | None
    ending: str
    broken: str = ""


def live_on(world: World, past: Past, seed: int, folder: Path, speed: float = SPEED, to_the_end: float = 1.0) -> Result:
    """One death and what comes of it."""
    dice = random.Random(f"{seed} {world.number}")
    gap = gap_for(dice, world.device.truth()["infusing"])
    finishes = dice.random() < to_the_end
    path = folder / f"{world.number}.sqlite3"
    try:
        ended: list[Afterlife] = []

        async def born() -> None:
            ended.append(Afterlife(world, past, gap, path, speed, finishes))
            await ended[0].run()

        in_virtual_time(world.at + gap.seconds, born)
        return Result(world.number, world.where, gap.what, ended[0].recovered_s, ended[0].ending)
    except Exception as error:  # a fault of the daemon may show as anything
        text = str(error) if isinstance(error, Broken) else repr(error)
        where = f"world {world.number} at {world.at:.3f}: {world.where}; {gap.what} gap of {gap.seconds:.3f} s"
        return Result(world.number, world.where, gap.what, None, "", f"{where}\n  {text}")
    finally:
        for left in folder.glob(f"{path.name}*"):
            left.unlink()


@dataclass
class Figures:
    """Of a campaign, or of a share of it."""

    points: int = 0
    distinct: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def broken(self) -> list[Result]:
        """The worlds in which a rule did not hold."""
        return [result for result in self.results if result.broken]

    def lines(self) -> list[str]:
        """For people."""
        recovered = sorted(result.recovered_s for result in self.results if result.recovered_s is not None)
        gaps, endings = (Counter(getattr(result, name) for result in self.results) for name in ("gap", "ending"))
        return [
            f"  {self.points} points of death, {self.distinct} different worlds, {len(self.results)} lived on",
            f"  gaps: {dict(gaps)}; first dose: {dict(endings)}",
            f"  from the port's answer to a verified pump: median {median(recovered) * 1000:.0f} ms, "
            f"worst {recovered[-1] * 1000:.0f} ms (virtual time, no line delay)"
            if recovered
            else "  none came back",
            f"  rules broken: {len(self.broken)}",
        ]


def deaths(seed: int, wanted: Callable[[int], bool], speed: float = SPEED, to_the_end: float = 1.0) -> Figures:
    """Live the script, then live on in every wanted world; to the end of the script in that share of them."""
    began = 1000.0
    life = in_virtual_time(began, lambda: whole_life(None, wanted, speed=speed))
    past = Past(list(life.journal.rows()))
    with tempfile.TemporaryDirectory(dir=_quick_folder()) as folder:
        results = [live_on(world, past, seed, Path(folder), speed, to_the_end) for world in life.worlds]
    return Figures(life.points, life.distinct, results)


def _quick_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Pass:
    """One way through all deaths, or some. `every` nth world, `to_the_end` that share of them."""

    what: str
    speed: float
    every: int
    to_the_end: float


PASSES = (
    Pass("every death; a fifth of them to the end of the script", SPEED, 1, 0.2),
    Pass("one death in 400 with polls as without acceleration, each to the end", FINE_SPEED, 400, 1.0),
)


def _part(task: tuple[int, Pass, int, int]) -> Figures:
    seed, which, part, parts = task
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    cycle, offset = parts * which.every, part * which.every + seed % which.every
    return deaths(seed, lambda number: number % cycle == offset, which.speed, which.to_the_end)


def campaign(seed: int, seeds: int, share: int = 1) -> bool:
    """All deaths of the script, `seeds` times with other gaps; `share` takes every nth world only. True: all held."""
    held = True
    for number in range(seed, seed + seeds):
        for which in PASSES:
            figures, took = _in_parts(number, replace(which, every=which.every * share))
            print(f"seed {number}, {which.what}: {took:.0f} s, {60 * len(figures.results) / took:.0f} deaths a minute")
            print("\n".join(figures.lines()))
            for result in figures.broken[:5]:
                print(f"  BROKEN (seed {number}) {result.broken}", flush=True)
            held = held and not figures.broken
    return held


def _in_parts(seed: int, which: Pass) -> tuple[Figures, float]:
    """In processes of their own, in small parts: less memory, and all cores stay busy to the end."""
    workers = os.cpu_count() or 1
    parts = 8 * workers if which.every == 1 else workers
    total, began = Figures(), time.monotonic()
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done in pool.imap_unordered(_part, [(seed, which, part, parts) for part in range(parts)]):
            total.points, total.distinct = done.points, done.distinct
            total.results += done.results
    return total, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--share", type=int, default=1, help="every nth world only")
    asked = parser.parse_args()
    return 0 if campaign(asked.seed, asked.seeds, asked.share) else 1


if __name__ == "__main__":
    sys.exit(main())
