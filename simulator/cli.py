"""`pumpd-sim`: simulated pumps on real ports."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from simulator.control import ControlServer, ask
from simulator.device import Device
from simulator.families import FAMILIES, family_named
from simulator.family import Family
from simulator.line import Line
from simulator.replay import Exchange, Replay, read_log
from simulator.requests import BadRequest
from simulator.scenario import Scenario, load_scenario
from simulator.serve import FarEnd, Port, PtyPort, TcpPort

app = App(
    name="pumpd-sim",
    help="""Simulated infusion pumps that speak the real wire, with a physical pump behind the bytes.

    A pump on a pty, and a look behind it:

        pumpd-sim serve newera --pty /tmp/pump --control 127.0.0.1:7000

        pumpd-sim control 127.0.0.1:7000 '{"do": "truth"}'
    """,
)


@Parameter(name="*")
@dataclass(frozen=True)
class PumpOptions:
    """How each served pump is set up, whatever its family."""

    speed: float = 1.0
    "Simulated seconds per second. Wire time-outs and the watchdog are never scaled."
    seed: int | None = None
    "Seed of faults and accuracy error; drawn and printed when left out."
    scenario: str | None = None
    "TOML file with timed events (see docs/simulator.md)."
    baud: int = 0
    "Let bytes take their time on the wire at this speed. 0 = no delay."
    fill: float | None = None
    "Fluid in the syringe or bag in mL; left out = as the family has it."
    battery: float | None = None
    "Minutes that a full battery carries the pump over a mains cut; 0 = none; left out = as the family has it."
    model: Literal["ideal", "typical"] = "ideal"
    "ideal: exact and at once. typical: late, with slack and an error of rate, as such pumps are."


DEFAULTS = PumpOptions()


@app.command(name="list")
def list_families() -> None:
    """List the pump families that can be simulated, with the options that each has of its own."""
    for family in FAMILIES.values():
        print(f"{family.name}  {family.description}")
        for option in family.options:
            default = "" if option.default is None else f" [{option.default}]"
            print(f"    --{option.flag}  {option.words}{default}")


@app.command
def serve(
    family: str,
    /,
    *,
    pty: Annotated[list[str] | None, Parameter(negative=())] = None,
    tcp: Annotated[list[str] | None, Parameter(negative=())] = None,
    control: str | None = None,
    options: PumpOptions = DEFAULTS,
    **own: str,
) -> int:
    """Serve simulated pumps until SIGTERM or Ctrl-C.

    Prints `CONTROL host:port` when the back door is open, then `READY <url>` for each port that is usable; the seed
    goes to standard error.

    Parameters
    ----------
    family
        Pump family, see `pumpd-sim list`.
    pty
        Serve a pump on a pty and link it at this path. Repeat for more pumps.
    tcp
        Serve a pump on HOST:PORT (port 0 = any free one). Repeat for more pumps.
    control
        Open the JSON back door on this loopback HOST:PORT (port 0 = any free one).
    own
        Options of the family's own, see `pumpd-sim list`.
    """
    seed = random.SystemRandom().randrange(1, 1_000_000) if options.seed is None else options.seed
    try:
        return asyncio.run(_serve(family, pty or [], tcp or [], control, options, own, seed))
    except (ValueError, OSError) as problem:
        print(f"pumpd-sim: {problem}", file=sys.stderr)
        return 2


@app.command
def replay(log: str, /, *, pty: Annotated[str | None, Parameter(negative=())] = None, tcp: str | None = None) -> int:
    """Play the pump's side of a wire log back, until SIGTERM or Ctrl-C.

    Prints `READY <url>` when the port is usable. What the host asks and the log does not hold goes to standard error.

    Parameters
    ----------
    log
        A file that pumpd wrote: `trace = "wire.log"` in the section of a pump.
    pty
        Serve it on a pty and link it at this path.
    tcp
        Or on this HOST:PORT (port 0 = any free one).
    """
    try:
        exchanges = read_log(log)
        return asyncio.run(_replay(exchanges, pty, tcp))
    except (ValueError, OSError) as problem:
        print(f"pumpd-sim: {problem}", file=sys.stderr)
        return 2


@app.command(name="control")
def send_control(address: str, request: str, /) -> int:
    """Send one request to a simulator's back door and print the answer.

    Parameters
    ----------
    address
        HOST:PORT from the simulator's CONTROL line.
    request
        A JSON object, e.g. '{"do": "press", "key": "stop"}'.
    """
    try:
        answer = ask(*split_address(address), request)
    except (ValueError, OSError) as problem:
        print(f"pumpd-sim: {address}: {problem}", file=sys.stderr)
        return 2
    print(json.dumps(answer))
    return 0 if answer.get("ok") else 1


def split_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT. BadRequest in words when it is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise BadRequest(f"{text!r}: expected HOST:PORT, such as 127.0.0.1:7000")
    return host.strip("[]"), int(port)


async def _serve(
    family: str,
    ptys: Sequence[str],
    tcps: Sequence[str],
    control: str | None,
    options: PumpOptions,
    own: Mapping[str, str],
    seed: int,
) -> int:
    if not ptys and not tcps:
        raise BadRequest("nothing to serve: give --pty PATH or --tcp HOST:PORT")
    settings = own_settings(family_named(family), own)
    on_one_line = by_address(settings)
    scenario = load_scenario(options.scenario, family) if options.scenario else None
    seeds = itertools.count(seed)

    def far_end() -> FarEnd:
        pumps = [_pump(family, options, own, scenario, next(seeds)) for own in on_one_line]
        return pumps[0] if len(pumps) == 1 else Line(pumps)

    ports: list[Port] = [PtyPort(far_end(), path) for path in ptys]
    ports += [TcpPort(far_end(), *split_address(address)) for address in tcps]
    door = ControlServer(ports, *split_address(control)) if control else None
    print(f"SEED {seed}", file=sys.stderr, flush=True)
    return await _until_stopped(ports, door)


async def _replay(exchanges: list[Exchange], pty: str | None, tcp: str | None) -> int:
    if (pty is None) == (tcp is None):
        raise BadRequest("where to? give --pty PATH or --tcp HOST:PORT")
    pump = Replay(exchanges, lambda words: print(f"pumpd-sim: {words}", file=sys.stderr, flush=True))
    return await _until_stopped([PtyPort(pump, pty) if pty else TcpPort(pump, *split_address(tcp or ""))], None)


async def _until_stopped(ports: Sequence[Port], door: ControlServer | None) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        for port in ports:
            await port.open()
        if door:
            await door.open()
            print(f"CONTROL {door.host}:{door.port}", flush=True)
        for port in ports:
            print(f"READY {port.url}", flush=True)
        await stopped.wait()
    finally:
        if door:
            door.close()
        for port in ports:
            port.close()
    return 0


def own_settings(family: Family, own: Mapping[str, str]) -> dict[str, str]:
    """Turn options of the command line into settings of the family. BadRequest for one that it does not have."""
    names = {option.flag: option.name for option in family.options}
    for flag in own:
        if flag not in names:
            known = ", ".join(f"--{flag}" for flag in names) or "none"
            raise BadRequest(f"--{flag}: a {family.name} pump has no such option; of its own it has {known}")
    return {names[flag]: text for flag, text in own.items()}


def by_address(settings: Mapping[str, str]) -> list[dict[str, str]]:
    """The settings of each pump on one line: `--address 1,2` is two. BadRequest for an address that comes twice."""
    if "address" not in settings:
        return [dict(settings)]
    addresses = settings["address"].split(",")
    if len(set(addresses)) < len(addresses):
        raise BadRequest(f"address {settings['address']}: each pump on a line needs one of its own")
    return [{**settings, "address": address} for address in addresses]


def _pump(
    family: str, options: PumpOptions, settings: Mapping[str, Any], scenario: Scenario | None, seed: int
) -> Device:
    return Device(
        family,
        speed=options.speed,
        seed=seed,
        baud=options.baud,
        scenario=scenario,
        fill_ml=options.fill,
        battery_min=options.battery,
        model=options.model,
        **settings,
    )


def main() -> None:
    """Entry point of the console script."""
    sys.exit(app())


if __name__ == "__main__":
    main()
