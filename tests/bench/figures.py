"""What one measurement says, and how the table of all of them looks."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

BUSY_LOAD = 0.5  # runnable processes before we began: the machine has other things to do


@dataclass(frozen=True)
class Row:
    """One line of the table. `reached` is None where no target stands."""

    what: str
    measured: str
    floor: str = ""
    target: str = ""
    reached: bool | None = None


@dataclass(frozen=True)
class Spread:
    """Quantiles of many measurements, in the unit they were taken in."""

    p50: float
    p99: float
    most: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
    return Spread(at[0], at[1], ordered[-1], len(ordered))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def p50_p99(values: Sequence[float]) -> str:
    found = spread(values)
    return f"p50 {ms(found.p50)}, p99 {ms(found.p99)} (n={found.count})"


def print_table(rows: Sequence[Row]) -> None:
    table = Table(title="pumpd bench", title_justify="left", expand=False)
    for name in ("row", "measured", "floor, same run", "target", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        mark = "" if row.reached is None else "reached" if row.reached else "not reached"
        table.add_row(row.what, row.measured, row.floor, row.target, mark)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)


def print_machine() -> None:
    load = os.getloadavg()[0]
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
        f"{_processor()}, Linux {platform.release()}, load {load:.2f}"
    )
    if load > BUSY_LOAD:
        print("note: this machine is busy with something else; times are longer than they need be")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor")
