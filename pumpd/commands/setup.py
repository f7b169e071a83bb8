"""`run`, `check-config`, `drivers`: what a technician needs before there is a session."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from pumpd import config as cfg
from pumpd import log
from pumpd.commands.reach import DONE, REFUSED, USAGE, Failed, read_config
from pumpd.commands.screen import err, key_values, out
from pumpd.core.catalogue import CATALOGUE
from pumpd.daemon import serve
from pumpd.driver import BadSetting, Capabilities, Driver
from pumpd.messaging.broker import NoBroker
from pumpd.messaging.local import SocketBusy
from pumpd.records.journal import JournalBusy
from pumpd.registry import Registry, check_pumps, find_drivers


def run(config: Path) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; infusing pumps are stopped first.

    pumpd run --config /etc/pumpd/pumpd.toml

    Parameters
    ----------
    config
        The configuration file; `pumpd check-config` tells whether it is right.
    """
    try:
        settings = read_config(config)
    except Failed as failure:
        raise Failed(str(failure), USAGE) from None  # starting again will not help: see config/pumpd.service
    log.set_up(settings.log.level, settings.log.format)
    try:
        asyncio.run(serve(config))
    except cfg.ConfigError as error:
        raise Failed("\n".join(error.problems), USAGE) from None
    except (JournalBusy, SocketBusy, NoBroker) as error:
        raise Failed(str(error)) from None
    except sqlite3.Error as error:
        raise Failed(f"{settings.journal}: the journal cannot be written: {error}") from None
    except OSError as error:
        raise Failed(str(error)) from None
    finally:
        log.close()


def check_config(file: Path) -> int:
    """Read a configuration file as `pumpd run` would, and tell every problem at once.

    pumpd check-config /etc/pumpd/pumpd.toml

    Parameters
    ----------
    file
        The configuration file.
    """
    problems, config = _read_all(file)
    if problems or config is None:
        raise Failed("\n".join(problems))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("bed", "driver", "port", "marks"):
        table.add_column(title, overflow="fold")
    for name, bed in config.bed.items():
        marks = [word for word, holds in _marks(bed).items() if holds]
        table.add_row(name, bed.pump.driver, bed.pump.port, ", ".join(marks))
    out.print(Text.assemble((f"{file}", "bold"), f": station {config.station.id}, bus {config.bus.url}, no problems"))
    out.print(table)
    out.print(f"drug library {config.drug_library.version}, {len(config.syringes)} syringe types", style="dim")
    return DONE


def _read_all(file: Path) -> tuple[list[str], cfg.Config | None]:
    """Every problem of one file in one round: its own, its drivers', and those of the tables it names."""
    problems: list[str] = []
    config = None
    try:
        config = cfg.load(file)
        pumps = {bed: each.pump for bed, each in config.bed.items()}
    except cfg.ConfigError as error:
        problems += error.problems
        try:
            pumps = cfg.sound_pumps(file)
        except cfg.ConfigError:
            return problems, None
    problems += [f"{file}: {words}" for words in check_pumps(pumps, find_drivers(), CATALOGUE)]
    if config is not None:
        for load in (lambda: config.drug_library, lambda: config.syringes):
            try:
                load()
            except cfg.ConfigError as error:
                problems += error.problems
    return problems, config


def _marks(bed: cfg.Bed) -> dict[str, bool]:
    return {"SIMULATED": bed.simulated, "LABORATORY": bed.pump.laboratory, f"{bed.speed}x": bed.speed > 1}


def drivers() -> int:
    """List the drivers that are installed and what each can do; broken ones are named with their fault.

    pumpd drivers
    """
    registry = find_drivers()
    able = {name: _abilities(driver) for name, driver in sorted(registry.drivers.items())}
    out.print(key_values([(name, answers.get(PUMP, "cannot tell without settings")) for name, answers in able.items()]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("", style="dim", no_wrap=True)
    for name in able:
        table.add_column(name)
    for question in ABILITIES:
        if question != PUMP:
            table.add_row(question, *(answers.get(question, "?") for answers in able.values()))
    out.print(table)
    _say_broken(registry)
    return REFUSED if registry.broken else DONE


def _abilities(driver: Driver) -> dict[str, str]:
    """What the family says of itself; nothing where it cannot tell without settings."""
    try:
        able: Capabilities = driver.open({}).capabilities
    except BadSetting:
        return {}
    return {question: answer(able) for question, answer in ABILITIES.items()}


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _watchdog(able: Capabilities) -> str:
    return "no" if able.watchdog_s is None else "-".join(dict.fromkeys(f"{s}" for s in able.watchdog_s)) + " s"


PUMP = "pump"
ABILITIES: dict[str, Callable[[Capabilities], str]] = {
    PUMP: lambda able: f"{able.maker} {able.model}",
    "takes a": lambda able: "syringe" if able.kind == "syringe" else "bag",
    "start, set the rate": lambda able: _yes(able.control),
    "stop": lambda able: _yes(able.stop),
    "live rate change": lambda able: _yes(able.control and able.live_rate_change),
    "stops without us": _watchdog,
    "limit at new start": lambda able: "anew" if able.limit_restarts else "goes on",
    "tells used keys": lambda able: _yes("keypad_used" in able.alarms),
    "reading ends alarm": lambda able: _yes(able.poll_acknowledges_alarm),
    "tells serial no.": lambda able: _yes(able.has_serial_number),
    "asked every": lambda able: f"{able.poll_s:g} s",
    "for people": lambda able: _yes(able.clinical_use),
}


def _say_broken(registry: Registry) -> None:
    for name, reason in sorted(registry.broken.items()):
        err.print(Text.assemble((f"{name}: ", "bold red"), "broken: ", reason))
