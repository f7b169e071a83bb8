"""`pumpd demo`: a whole session against a simulated pump, and what the simulator knows of it afterwards.

The demo is a client like any other: simulator and daemon are processes of their own, orders go over the local socket,
messages are counted on the bus. Its verdict compares what the daemon believes with what the pump truly gave.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pumpd.bedside.desk import CHECKLIST
from pumpd.commands.account import Account, ask_truth
from pumpd.commands.children import Child, child
from pumpd.commands.demo_pumps import PUMPS, Shown
from pumpd.commands.picture import Message, Picture
from pumpd.commands.reach import DONE, REFUSED, SOCKET_VARIABLE, USAGE, Failed, Reach, Where
from pumpd.commands.screen import NOT_CERTIFIED, alarm_line, bed, clock, out, plain
from pumpd.library import share_file
from pumpd.messaging.local import LocalClient

SPEED_MOST = 120  # polls are 0.1 s apart on the wire: faster, each one spans more than 12 s of the session
SESSION_S = 45 * 60
BED, PUMP, STATION, PATIENT = "one", "one-pump", "demo", "demo-patient"
READY_S = 30.0  # wire seconds for a cold start of simulator or daemon on a slow machine
EXPECTED_ALARMS = frozenset({"near_end"})  # of a session without any trouble
SLOW_DISK_TRIES = 10  # a person would order again what was refused because the journal was behind (S9)
SLACK_S = 60.0  # wire seconds beyond the computed end after which the demo gives up
WHO = {"actor": "demo", "role": "nurse", "origin": "pumpd-demo"}
PLAN: dict[str, Any] = {
    "patient_ref": PATIENT,
    "drug": "ketamine",
    "weight": {"value": 70, "unit": "kg"},
    "weight_again": {"value": 70, "unit": "kg"},
    "dose_mg_per_kg": Decimal("0.5"),
    "preparation": {"drug_mg": 50, "final_ml": 50},
    "concentration_mg_ml": 1,
    "duration_min": 45,
    "checks": {
        "person": {"age_years": 41, "sex": "female"},
        "liver": {"result": "normal"},
        "other_drugs": {"result": "checked", "classes": []},
        "psychiatric": {"result": "done"},
        "vitals": {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": 98},
        "course": {"session_number": 1, "days_since_last": "none"},
    },
    "second_person": "demo-2",
}
CONFIG = """\
[station]
id = "{station}"
data_dir = "."
{syringes}
[bus]
url = "embedded"
allow = ["session.plan", "session.arm", "session.start", "session.pause", "session.resume", "session.stop",
  "session.restore", "session.accept", "session.finish", "session.end", "session.release", "pump.stop",
  "alarm.ack", "alarm.reset", "audio.pause", "audio.resume"]

[annunciator]
kind = "none"

[log]
format = "json"

[bed.{bed}]
speed = {speed}
observation_min = 120

[bed.{bed}.pump]
driver = "{driver}"
port = "{port}"
simulated = true
laboratory = true
[bed.{bed}.pump.settings]
{settings}"""


async def demo(
    *,
    speed: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=SPEED_MOST))] = 60,
    driver: str = "newera",
    stay: bool = False,
) -> int:
    """Run a whole 45-minute session against a simulated pump, in less than a minute, and check it against the truth.

    pumpd demo --speed 120

    Ends with 0 when the daemon's figures and the simulator's agree within 1 % and never more than the plan was given.

    Parameters
    ----------
    speed
        How many times faster than the clock, 1 to 120.
    driver
        Which pump: newera, alaris, bbraun (a Perfusor), infusomat (B. Braun, volumetric) or harvard.
    stay
        Keep simulator, daemon and broker up after the end, and say how to look at them.
    """
    if driver not in PUMPS:
        raise Failed(f"--driver {driver}: the demo has no such pump to control; it has {', '.join(PUMPS)}", USAGE)
    _cancel_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="pumpd-demo-") as folder:
        async with AsyncExitStack() as stack:
            stage = await _set_up(stack, Path(folder), speed, PUMPS[driver])
            await _perform(stage)
            code = await _verdict(stage)
            if stay:
                await _stay(stage)
    return code


def _cancel_at_sigterm() -> None:
    """So that the children are ended and the folder is removed, as with Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@dataclass
class Stage:
    """What is set up."""

    folder: Path
    speed: int
    shown: Shown
    reach: Reach
    back_door: tuple[str, int]
    broker: str
    daemon: Child
    picture: Picture = field(default_factory=Picture)
    alarms: dict[str, Message] = field(default_factory=dict)  # all that were ever raised, by id
    messages: int = 0  # seen on the bus


# --- setting up -----------------------------------------------------------------------------------------------------


async def _set_up(stack: AsyncExitStack, folder: Path, speed: int, shown: Shown) -> Stage:
    out.print(Rule(Text(f"pumpd demo: a 45-minute ketamine infusion at {speed} times the speed", "bold"), style="dim"))
    out.print(Text(NOT_CERTIFIED, "dim"))
    out.print()
    port = folder / "pump"
    simulator = await stack.enter_async_context(_simulator(folder, port, speed, shown))
    back_door = await _back_door(simulator)
    _step("simulator", f"{shown.words}, on a serial port of its own")
    config = folder / "pumpd.toml"
    if shown.syringes:
        (folder / "syringes.toml").write_text(shown.syringes)
    config.write_text(
        CONFIG.format(
            station=STATION,
            syringes='syringes = "syringes.toml"\n' if shown.syringes else "",
            bed=BED,
            speed=speed,
            driver=shown.driver,
            port=port,
            settings=shown.section,
        )
    )
    daemon = await stack.enter_async_context(
        child("daemon", folder / "pumpd.log", "pumpd.cli", "run", "--config", str(config))
    )
    broker = await _daemon_ready(daemon)
    _step("daemon", f"station {STATION!r}, MQTT broker at {broker}")
    stage = Stage(folder, speed, shown, Where(socket=folder / "pumpd.sock").reach(), back_door, broker, daemon)
    await stack.enter_async_context(_listening(stage))
    await _until(stage, _pump_ready, READY_S, "reach its pump")
    pump = stage.picture.descriptions[PUMP]
    _step("pump", f"{pump['maker']} {pump['model']}, firmware {pump['firmware']}, answers")
    return stage


def _simulator(folder: Path, port: Path, speed: int, shown: Shown) -> Any:
    options = ["--pty", str(port), "--control", "127.0.0.1:0", "--baud", "0", "--seed", "1"]
    arguments = ("simulator.cli", "serve", shown.driver, "--speed", str(speed), *options, *shown.simulated)
    return child("simulator", folder / "simulator.log", *arguments)


async def _back_door(simulator: Child) -> tuple[str, int]:
    address = ""
    while not (line := await simulator.line(READY_S)).startswith("READY "):
        address = line.removeprefix("CONTROL ") if line.startswith("CONTROL ") else address
    host, _, port = address.rpartition(":")
    return host, int(port)


async def _daemon_ready(daemon: Child) -> str:
    """The broker's address, from the line in which the daemon says that it is ready."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while asyncio.get_running_loop().time() < deadline:
        for line in daemon.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "daemon.ready":
                    return str(said["bus"])
        if not daemon.running:
            raise daemon.failure("ended at once")
        await asyncio.sleep(0.05)
    raise daemon.failure(f"was not ready within {READY_S:g} s")


def _pump_ready(stage: Stage) -> bool:
    heard = stage.picture.telemetry.get(PUMP, {})
    ready = stage.picture.connections.get(PUMP, {}).get("state") == "ready"
    return ready and heard.get("state") not in (None, "unknown") and PUMP in stage.picture.descriptions


@asynccontextmanager
async def _listening(stage: Stage) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(_hear(stage)), asyncio.create_task(_count(stage))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(stage: Stage) -> None:
    async with LocalClient(stage.folder / "pumpd.sock") as client, aclosing(_all(client)) as messages:
        async for topic, message in messages:
            stage.picture.take(topic, message, asyncio.get_running_loop().time())
            if topic.startswith("alarm/") and message is not None:
                stage.alarms[message["alarm_id"]] = message


def _all(client: LocalClient) -> Any:
    return client.subscribe("+", "pump/+/+", "alarm/+")


async def _count(stage: Stage) -> None:
    """What a subscriber on the broker gets. That none gets through is no reason to end the demo; it shows as 0."""
    with suppress(Failed):
        async with Where(bus=stage.broker, station=STATION).reach().open() as client:
            async for _ in client.subscribe("#"):
                stage.messages += 1


# --- the session ----------------------------------------------------------------------------------------------------


async def _perform(stage: Stage) -> None:
    """Plan, arm, start, wait for the end."""
    planned = await _order(stage, "session.plan", args={**PLAN, "container": dict(stage.shown.container)})
    plan = planned["data"]
    met = sum(limit["level"] == "met" for limit in plan["limits"])
    dose = f"{plain(plan['dose_mg'])} mg (0.5 mg/kg, 70 kg) in {plain(plan['volume_ml'])} mL"
    _step("planned", f"{dose} at {plain(plan['rate_ml_h'])} mL/h; {met} limits met")
    await _order(stage, "session.arm", args={"patient_ref": PATIENT, "checklist": list(CHECKLIST)})
    _step("armed", f"{len(CHECKLIST)} items confirmed; the pump was set, and read back")
    await _until(stage, lambda stage: _session(stage)["confirm_rate_ml_h"] is not None, READY_S, "offer the start")
    shown = _session(stage)
    confirm = {"rate_ml_h": shown["confirm_rate_ml_h"], "volume_ml": shown["confirm_volume_ml"]}
    await _order(stage, "session.start", confirm=confirm)
    rate, volume = plain(confirm["rate_ml_h"]), plain(confirm["volume_ml"])
    _step("started", f"{rate} mL/h confirmed, and {volume} mL as the pump's own limit")
    out.print()
    await _follow(stage)


def _session(stage: Stage) -> Message:
    return stage.picture.sessions[BED]


async def _order(
    stage: Stage, verb: str, args: dict[str, Any] | None = None, confirm: dict[str, Any] | None = None
) -> Message:
    fields: dict[str, object] = {**WHO, "bed": BED, "args": args or {}}
    if verb != "session.plan":
        fields["session_id"] = _session(stage)["session_id"]
    if confirm is not None:
        fields["confirm"] = confirm
    answer = await stage.reach.ask(verb, fields)
    for _ in range(SLOW_DISK_TRIES):
        if answer.get("reason") != "journal_unavailable":
            break
        _step("slow disk", f"{verb} was refused, for its record was not on the disk in time; ordered again")
        answer = await stage.reach.ask(verb, fields)
    if answer["state"] != "done":
        raise Failed(f"{verb} was not done: {answer['state']} ({answer.get('reason')}): {answer.get('text')}")
    session_id = answer["session_id"]
    await _until(stage, lambda stage: _session(stage)["session_id"] == session_id, READY_S, "show the session")
    return answer


async def _until(stage: Stage, holds: Any, within_s: float, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds(stage):
        if not stage.daemon.running or asyncio.get_running_loop().time() > deadline:
            raise stage.daemon.failure(f"did not {what}")
        await asyncio.sleep(0.05)


async def _follow(stage: Stage) -> None:
    """Show the progress until nothing is infused any more and the last figures have been read."""
    allowed = SESSION_S / stage.speed + SLACK_S
    deadline = asyncio.get_running_loop().time() + allowed
    with Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else nullcontext() as live:
        shown = 0
        while not _last_figures(stage):
            now = asyncio.get_running_loop().time()
            if out.is_terminal and _session(stage)["phase"] == "paused":
                deadline = now + allowed  # somebody at this machine tries the commands out
            if now > deadline or not stage.daemon.running:
                raise stage.daemon.failure(f"did not bring the session to its end; it is {_session(stage)['phase']}")
            if live is not None:
                live.update(_frame(stage), refresh=True)
            else:
                shown = _say_tenth(stage, shown)
            await asyncio.sleep(0.2)


def _last_figures(stage: Stage) -> bool:
    sample = stage.picture.telemetry[PUMP]
    over = _session(stage)["phase"] in ("observing", "ended", "aborted")
    return over and sample["state"] in ("ended", "alarm") and sample["volume_pump_ml"] is not None


def _frame(stage: Stage) -> RenderableType:
    panel = bed(stage.picture, BED, asyncio.get_running_loop().time())
    return Group(panel, Text(f"{stage.messages:,} messages on the broker; Ctrl-C ends everything", "dim"))


def _say_tenth(stage: Stage, shown: int) -> int:
    """Without a terminal: one line for each tenth of the time. Gives the newest tenth that was said."""
    sample, total = stage.picture.telemetry[PUMP], float(_session(stage)["duration_s"])
    tenth = int(float(sample["elapsed_s"] or 0) / total * 10)
    if tenth > shown and sample["volume_pump_ml"] is not None:
        given, left = plain(sample["volume_pump_ml"]), clock(sample["remaining_s"] or 0)
        out.print(f"  {tenth * 10:3} %  {given} mL by the pump's count, {left} left")
    return max(tenth, shown)


# --- the end --------------------------------------------------------------------------------------------------------


async def _verdict(stage: Stage) -> int:
    """End the session, ask the simulator for the truth, and compare."""
    session, sample = _session(stage), stage.picture.telemetry[PUMP]
    counted, integrated = Decimal(sample["volume_pump_ml"]), Decimal(sample["volume_integrated_ml"])
    unseen = Decimal(session["volume_ml"]) * stage.speed * stage.shown.stands_ms / 1000 / SESSION_S
    await _order(stage, "session.end")
    await _order(stage, "session.release")
    _step("ended", f"after {clock(session['elapsed_s'])}; the pump was stopped, read back and released")
    truth = await ask_truth(stage.back_door)
    account = Account(session, counted, integrated, truth, unseen)
    out.print()
    out.print(account.table())
    _say_alarms(stage)
    out.print(f"{stage.messages:,} MQTT messages were seen on the embedded broker", style="dim")
    out.print()
    out.print(account.verdict())
    return DONE if account.agrees else REFUSED


def _say_alarms(stage: Stage) -> None:
    if all(alarm["code"] in EXPECTED_ALARMS for alarm in stage.alarms.values()):
        out.print("no alarm was raised but the one that the end is near", style="dim")
        return
    for alarm in stage.alarms.values():
        out.print(alarm_line(alarm))


async def _stay(stage: Stage) -> None:
    host, _, port = stage.broker.removeprefix("mqtt://").rpartition(":")
    door = f"{stage.back_door[0]}:{stage.back_door[1]}"
    out.print()
    out.print(Rule(Text("everything stays up until Ctrl-C; in another terminal", "bold"), style="dim"))
    for line in (
        f"export {SOCKET_VARIABLE}={stage.folder / 'pumpd.sock'}",
        f"{_program('pumpd')} watch",
        f"{_program('pumpd')} session plan {BED} --patient P-1 --file {share_file('prescription.toml')} "
        "--weight-again 70kg",
        f"{_program('pumpd')} session arm {BED}",
        f"mosquitto_sub -h {host} -p {port} -v -t 'pumpd/1/{STATION}/#'",
        f"""{_program("pumpd-sim")} control {door} '{{"do": "press", "key": "stop"}}'""",
    ):
        out.print(Text(f"  {line}"), soft_wrap=True)
    await stage.daemon.ended()
    raise stage.daemon.failure("ended")


def _program(name: str) -> str:
    """How a shell finds it: by name, or beside the Python that runs us."""
    return name if shutil.which(name) else os.path.relpath(Path(sys.executable).parent / name)


def _step(name: str, words: str) -> None:
    """One thing that is done."""
    line = Table.grid(padding=(0, 1))
    line.add_column(style="green")
    line.add_column(style="bold", width=10)
    line.add_column(overflow="fold")
    line.add_row("✓", name, words)
    out.print(line)
