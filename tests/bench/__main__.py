"""`make bench`: measure what matters and print each figure beside its physical floor of the same run.

Nothing here fails for being slow: a busy machine is no mistake of the program's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import structlog

from tests.bench.families import families
from tests.bench.few_beds import few_beds
from tests.bench.figures import Row, print_machine, print_table
from tests.bench.many_beds import many_beds
from tests.bench.one_process import back_to_back, simulator, virtual_session
from tests.port.brokers import Mosquitto, mosquitto_program


def _with_broker(measure: Callable[[Path, int], Coroutine[None, None, list[Row]]], folder: Path) -> list[Row]:
    program = mosquitto_program()
    if program is None:
        return [Row(measure.__name__, "not measured: mosquitto is not installed")]

    async def run() -> list[Row]:
        broker = Mosquitto(program, folder)
        await broker.start()
        try:
            return await measure(folder, broker.port)
        finally:
            await broker.kill()

    return asyncio.run(run())


ROWS: dict[str, Callable[[Path], list[Row]]] = {
    "beds": lambda folder: _with_broker(many_beds, folder),
    "families": lambda _: families(),
    "publish": lambda folder: _with_broker(back_to_back, folder),
    "session": lambda _: virtual_session(),
    "simulator": simulator,
    "start": lambda folder: _with_broker(few_beds, folder),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=ROWS, help="measure this alone")
    wanted = parser.parse_args().only
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print_machine()
    began, rows = time.perf_counter(), list[Row]()
    for name, measure in ROWS.items():
        if wanted in (None, name):
            print(f"measuring: {name} ...", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="pumpd-bench-") as folder:
                rows += measure(Path(folder))
    print_table(rows)
    print(f"took {time.perf_counter() - began:.0f} s; load at the end {os.getloadavg()[0]:.2f}, our own included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
