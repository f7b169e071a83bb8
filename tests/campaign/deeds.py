"""What can happen at a bed: persons order, hands press keys, and line, pump, power, broker, disk and clocks fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pumpd.bedside.desk import CHECKLIST
from pumpd.core.state import Phase
from simulator.families import family_named
from tests.bedside import Bedside

if TYPE_CHECKING:
    from tests.campaign.random_sessions import Run

Deed = Callable[[], Any]
CONTAINERS: list[dict[str, Any]] = [
    {"kind": "syringe", "make": "BD", "size_ml": 60, "fill_ml": 50},
    {"kind": "syringe", "make": "BD", "size_ml": 50, "fill_ml": 50},
]
STEP_PLANS = (((15, 20), (30, 80)), ((15, 50), (30, 50)), ((10, 30), (5, 10), (30, 60)))  # minutes, share in percent
FALLING = ((15, 50), (30, 50))
OFTEN = {"resume": 3, "pause": 2, "calm": 4}
FAVOUR = 12  # times as often
WRONG_FIGURES = 0.15  # how often a person confirms something else than what is offered


class Deeds:
    """Draws deeds with the dice of a run."""

    def __init__(self, run: Run) -> None:
        self.run, self.dice = run, run.dice
        self.patients: dict[str, str] = {}

    def draw(self, bed: Bedside) -> tuple[str, Deed]:
        """One of them by its name; those in favour more often."""
        deeds = self.of(bed)
        weights = [OFTEN.get(name, 1) * (FAVOUR if name in self.run.favour else 1) for name in deeds]
        return self.dice.choices(list(deeds.items()), weights)[0]

    def of(self, bed: Bedside) -> dict[str, Deed]:
        deeds = {**self._orders(bed), **self._line(bed), **self._pump(bed), **self._surroundings(bed)}
        if self.run.kind.hands:
            deeds |= self._hands(bed)
        if self.run.kind.faults:
            deeds["run away"] = lambda: self._do(bed, "run_away", ml_h=self.dice.choice([10.0, 46.66, 60.0, 150.0]))
        if len(self.run.beds) == 2:
            deeds["swap"] = self._swap
        return deeds

    # --- persons ---

    def _orders(self, bed: Bedside) -> dict[str, Deed]:
        dice = self.dice
        deeds: dict[str, Deed] = {
            "pause": lambda: self._order(bed, "session.pause"),
            "resume": lambda: self._resume(bed),
            "recalculate": lambda: self._resume(bed, mode="recalculate"),
            "start": lambda: self._order(bed, "session.start"),
            "arm": lambda: self._arm(bed),
            "finish": lambda: self._order(bed, "session.finish"),
            "rate": lambda: self._rate(bed, dice.choice(["40.00", "46.66", "50.00", "60.00"])),
            "restore": lambda: self._order(bed, "session.restore"),
            "accept": lambda: self._order(bed, "session.accept"),
            "container": lambda: self._order(bed, "session.container", container=dice.choice(self._containers(bed))),
            "calm": self._calm,
        }
        if dice.random() < 0.2 or bed.state.phase in (Phase.ENDING, Phase.OBSERVING):
            for verb in ("session.stop", "pump.stop", "session.end", "session.release"):
                deeds[verb] = lambda verb=verb: self._order(bed, verb)
        return deeds

    def _containers(self, bed: Bedside) -> list[dict[str, Any]]:
        return CONTAINERS if bed.kind.family == "newera" else [bed.container]

    async def _calm(self) -> None:
        """Nothing is broken for a while."""
        self.run.heal()
        await asyncio.sleep(10 + self.dice.random() * 50 * self.run.kind.pace)

    async def _order(self, bed: Bedside, verb: str, **args: Any) -> None:
        """Half of the orders are given without waiting for what becomes of them."""
        role = self.dice.choice(["nurse", "nurse", "prescriber"])
        given = args.pop("given", None) or self._figures(bed, verb)
        order = bed.order(verb, given=given, wait_s=4, role=role, **args)
        task = asyncio.create_task(self._answered(order))
        self.run.orders.add(task)
        task.add_done_callback(self.run.orders.discard)
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.choice([0.0, 0.002, 0.01, 0.1]))
        else:
            await asyncio.wait([task])

    async def _answered(self, order: Any) -> None:
        answer = await order
        words = " ".join(str(answer[key]) for key in ("verb", "state", "reason", "text") if answer.get(key))
        self.run.say(f"-> {words}")

    def _figures(self, bed: Bedside, verb: str) -> dict[str, str] | None:
        shown = self.run.room.paper.all(f"pump/{bed.name}-pump/session")
        if not shown or shown[-1].get("confirm_rate_ml_h") is None:
            rate = bed.state.report.rate if bed.state.report else None
            wanted = bed.state.ordered if verb == "session.restore" else rate
            return None if wanted is None else {"rate_ml_h": str(wanted.value)}
        rate, volume = Decimal(str(shown[-1]["confirm_rate_ml_h"])), str(shown[-1]["confirm_volume_ml"])
        if self.dice.random() < WRONG_FIGURES:
            return self.dice.choice([None, {"rate_ml_h": str(rate + 5), "volume_ml": volume}])
        return {"rate_ml_h": str(rate), "volume_ml": volume}

    async def _resume(self, bed: Bedside, **args: Any) -> None:
        released = self.dice.random() < 0.5
        if released:
            self._do(bed, "release")
        await self._order(bed, "session.resume", pressure_released=released, **args)

    async def _rate(self, bed: Bedside, rate: str) -> None:
        confirmed = None if self.dice.random() < WRONG_FIGURES else {"rate_ml_h": rate}
        await self._order(bed, "rate.set", rate_ml_h=rate, given=confirmed)

    async def _arm(self, bed: Bedside) -> None:
        patient = self.patients.get(bed.name, "nobody")
        await self._order(bed, "session.arm", patient_ref=patient, checklist=list(CHECKLIST))

    async def begin_session(self, bed: Bedside) -> None:
        """The next patient: a new syringe mostly, a plan, arming, a start."""
        run, dice = self.run, self.dice
        with suppress(AssertionError):
            await bed.until(lambda: bed.state.sight.value == "seeing", within_s=10)
        run.patients += 1
        patient = self.patients[bed.name] = f"p-{run.patients}"
        if dice.random() < 0.9:
            self._do(bed, "new_syringe", fill_ml=50.0)
        changed: dict[str, Any] = {"patient_ref": patient, "dose_mg_per_kg": dice.choice(["0.5", "0.5", "0.4"])}
        if dice.random() < 0.3 or run.kind.falling:
            steps = FALLING if run.kind.falling else dice.choice(STEP_PLANS)
            changed["steps"] = [{"duration_min": minutes, "share_pct": share} for minutes, share in steps]
        planned = await bed.planned(**changed)
        run.say(f"plan -> {planned.get('state')} {planned.get('text')}")
        if planned["state"] == "done":
            await bed.order("session.arm", patient_ref=patient, checklist=list(CHECKLIST))
            started = await bed.order("session.start", given=self._figures(bed, "session.start"))
            run.say(f"start -> {started.get('state')} {started.get('text')}")

    # --- the line ---

    def _line(self, bed: Bedside) -> dict[str, Deed]:
        delays = [0.001, 0.2, 0.6]
        deeds: dict[str, Deed] = {
            "pull": bed.port.plug_out,
            "plug": bed.port.plug_in,
            "blink": lambda: self._blink(bed),
            "mute": lambda: self._do(bed, "mute"),
            "deaf": lambda: self._do(bed, "fault", kind="deaf"),
            "noise": lambda: self._do(bed, "fault", kind="garbage", probability=0.3),
            "drop": lambda: self._do(bed, "fault", kind="drop", probability=0.02),
            "delay": lambda: self._do(bed, "fault", kind="delay", delay_s=self.dice.choice(delays)),
            "echo": lambda: self._do(bed, "fault", kind="echo"),
        }
        if self.run.kind.checked:  # without a checksum a flipped bit may read as a value: docs/safety.md
            deeds["flip"] = lambda: self._do(bed, "fault", kind="flip", probability=0.02)
        return deeds

    def _do(self, bed: Bedside, what: str, **how: Any) -> None:
        with suppress(AssertionError):  # a pump without power has no keys, and one that stands cannot stall
            bed.do(what, **how)
        self.run.sample()  # what the pump gives from here on is this deed's

    async def _blink(self, bed: Bedside) -> None:
        bed.port.plug_out()
        await asyncio.sleep(self.dice.random() * 4)
        bed.port.plug_in()

    async def _swap(self) -> None:
        """Both plugs go into the other's place, while both armed pumps are to be known again; or back."""
        run = self.run
        if run.swapped:
            run.unswap()
            return
        known = (Phase.RUNNING, Phase.PAUSED)
        if any(bed.state.phase not in known or bed.state.ours is None for bed in run.beds):
            return
        for bed in run.beds:
            bed.port.plug_out()
        await asyncio.sleep(self.dice.random() * 3)
        first, second = run.checkers
        first.tap.device, second.tap.device = second.tap.device, first.tap.device
        for bed in run.beds:
            bed.port.plug_in()

    # --- the pump, its power, hands at its keypad ---

    def _pump(self, bed: Bedside) -> dict[str, Deed]:
        return {
            "stall": lambda: self._do(bed, "stall"),
            "occlude": lambda: self._do(bed, "occlude"),
            "open": lambda: self._do(bed, "release"),
            "power": lambda: self._power(bed),
            "reboot pump": lambda: self._power(bed, at_once=True),
        }

    async def _power(self, bed: Bedside, *, at_once: bool = False) -> None:
        self.run.power_cut = True
        self._do(bed, "power_off")
        if not at_once:
            await asyncio.sleep(self.dice.random() * 5)
        self._do(bed, "power_on")

    def _hands(self, bed: Bedside) -> dict[str, Deed]:
        deeds: dict[str, Deed] = {
            "key run": lambda: self._do(bed, "press", key="run"),
            "key run again": lambda: self._do(bed, "press", key="run"),
            "key stop": lambda: self._do(bed, "press", key="stop"),
            "key stop, run": lambda: self._keys(bed, "stop", "run"),
            "key stop, stop, run": lambda: self._keys(bed, "stop", "stop", "run"),
            "dial down": lambda: self._do(bed, "set_rate", ml_h=20.0),
            "dial up": lambda: self._do(bed, "set_rate", ml_h=60.0),
            "dial far up": lambda: self._do(bed, "set_rate", ml_h=170.0),
        }
        if bed.state.sight.value == "seeing" and bed.truth["powered"]:
            for key in sorted({"purge", "bolus"}.intersection(family_named(bed.kind.family).keys)):
                deeds[f"key {key}"] = lambda key=key: self._keys(bed, key)
        return deeds

    async def _keys(self, bed: Bedside, *keys: str) -> None:
        for key in keys:
            self._do(bed, "press", key=key)
            await asyncio.sleep(self.dice.choice([0.0, 0.1, 0.7]))

    # --- the program, the machine, the disk, the broker, the clocks ---

    def _surroundings(self, bed: Bedside) -> dict[str, Deed]:
        run = self.run
        return {
            "disk": lambda: setattr(run.disk, "fault", self.dice.choice(["blocked", "full", "read-only", "slow"])),
            "broker": lambda: setattr(run.sink, "fault", self.dice.choice(["raises", "slow"])),
            "wall clock": self._set_wall_clock,
            "poison": lambda: run.poisoned.add(bed.name),
            "crash": self._crash,
            "gap": self._gap,
        }

    def _set_wall_clock(self) -> None:
        self.run.clock.ahead_s += self.dice.choice([-3600.0, -3.0, 7.0, 86_400.0])

    async def _crash(self) -> None:
        """kill -9, a while of nothing, and a new process; sometimes the machine was restarted, too."""
        run = self.run
        await run.kill()
        run.disk.fault = None
        run.room.journal.close()
        await asyncio.sleep(self.dice.choice([0.1, 1, 5, 15]) * self.dice.random())
        await run.restart(rebooted=self.dice.random() < 0.2)

    async def _gap(self) -> None:
        """The loop stands still."""
        self.run.sample()
        for checker in self.run.checkers:
            checker.asleep = True
            checker.context = checker.now_is()
        self.run.clock._loop._virtual.now += self.dice.choice([0.5, 2.5, 6, 30])
        self.run.sample()
        for checker in self.run.checkers:
            checker.asleep = False
            checker.context = checker.now_is()
        await asyncio.sleep(0)
