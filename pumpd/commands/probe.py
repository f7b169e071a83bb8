"""`probe`: which pump is at a port, and the lines to paste into the configuration."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rich.text import Text

from pumpd import log
from pumpd.clock import SystemClock
from pumpd.commands.reach import DONE, REFUSED, USAGE, Failed
from pumpd.commands.screen import out
from pumpd.driver import Identity, Line, PumpError
from pumpd.line.ports import Lost, PortError, Receive, open_port
from pumpd.line.probe import Open, Suspect, ask, listen, silent, suspects
from pumpd.line.talk import Pipe
from pumpd.registry import find_drivers

STABLE = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
QUESTION = "Is any pump on this cable connected to a patient?"
PARITY = {"N": "no parity", "E": "even parity", "O": "odd parity"}


def probe(port: str, /, *, baud: int | None = None, yes_no_patient: bool = False) -> int:
    """Find out which pump answers on a port, and print the lines for the configuration.

    pumpd probe /dev/ttyUSB0

    It listens first, then asks one family after the other who is there, and changes nothing. A question of one
    family can mean something else to a pump of another: never probe a cable with a pump that is connected to a patient.

    Parameters
    ----------
    port
        The port: /dev/..., socket://host:port or rfc2217://host:port.
    baud
        Bits per second, where the pump is not set to what its family usually has.
    yes_no_patient
        Yes, no pump on this cable is connected to a patient; without a terminal nobody else can say so.
    """
    log.set_up("warning")
    if not yes_no_patient:
        _ask_for_the_patient()
    ways = suspects(list(find_drivers().drivers.values()))
    try:
        return asyncio.run(_probe(port, baud, ways))
    except PortError as error:
        raise Failed(str(error)) from None


def _ask_for_the_patient() -> None:
    if not sys.stdin.isatty():
        raise Failed(f"{QUESTION} Nobody is here to answer: --yes-no-patient says that none is", USAGE)
    if out.input(Text(f"{QUESTION} (yes/no) ", "bold")).strip().lower() not in ("no", "n"):
        raise Failed("nothing was asked: disconnect the patient first")


async def _probe(port: str, baud: int | None, ways: list[Suspect]) -> int:
    async def opened(line: Line, receive: Receive, lost: Lost) -> Pipe:
        return await open_port(port, line, baud, receive, lost)

    out.print("listening", end=" ")
    overheard = await listen(ways, opened)
    if overheard is None:
        out.print("nobody speaks by himself")
    elif overheard.speaks is None:
        out.print(f"something speaks: {overheard.data[:16].hex(' ')}")
        raise Failed(
            "it is no frame of any installed driver at its usual speed; nothing was asked. "
            "Is another program or device on this line, or is the speed another one (--baud)?"
        )
    else:
        out.print(f"a pump of {overheard.speaks.driver.name} speaks; nobody else is asked")
        ways = [way for way in ways if way.driver is overheard.speaks.driver]
    found = await _first(ways, opened)
    if found is None:
        out.print("Nobody answered. Check cable and plug, the pump's menu (docs/devices), and its speed (--baud).")
        return REFUSED
    way, identity = found
    out.print(f"\n[bold]{identity.model}[/] {identity.version} {identity.serial or ''}".rstrip())
    if identity.monitor_only:
        out.print(f"monitor only: {identity.monitor_only}")
    out.print("\nFor the configuration:\n")
    out.print(Text("\n".join(lines(port, baud, way, identity))), soft_wrap=True)
    return DONE


async def _first(ways: list[Suspect], opened: Open) -> tuple[Suspect, Identity] | None:
    clock = SystemClock()
    for way in ways:
        line = way.driver.line
        out.print(
            f"asking {_named(way)} ({line.baud} baud, {line.bytesize} bits, {PARITY[line.parity]}): {way.probe.risk}"
        )
        try:
            return way, await ask(way, opened, clock)
        except PumpError as error:
            out.print("  no answer" if silent(error) else Text(f"  something answers: {error}"))
    return None


def _named(way: Suspect) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in way.probe.settings)
    return f"{way.driver.name} ({settings})" if settings else way.driver.name


def lines(port: str, baud: int | None, way: Suspect, identity: Identity) -> list[str]:
    """The section of a pump that was found, as it goes into the configuration."""
    able = way.pump().capabilities
    found = ["[bed.one.pump]", f'driver = "{way.driver.name}"', f'port = "{stable(port)}"']
    found += [] if baud is None else [f"baud = {baud}"]
    found += [f'serial_number = "{identity.serial}"'] if identity.serial else []
    found += [] if able.clinical_use else ["laboratory = true  # this pump or this driver is not meant for people"]
    if settings := way.probe.settings:
        found += ["", "[bed.one.pump.settings]", *(f"{name} = {_toml(value)}" for name, value in settings)]
    return found


def stable(port: str, folders: tuple[Path, ...] = STABLE) -> str:
    """The name of the same port that it has tomorrow too, where there is one."""
    if not port.startswith("/dev/"):
        return port
    device = Path(port).resolve()
    for folder in folders:
        for link in sorted(folder.glob("*")):
            if link.resolve() == device:
                return str(link)
    return port


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
