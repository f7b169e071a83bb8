"""Tests run in virtual time, except those that use real ports: everything under tests/port, and `real_time` tests."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import pytest
import structlog

from pumpd import log
from pumpd.testing import VirtualClock, VirtualLoop

PORT_TESTS = Path(__file__).parent / "port"
SEED_VARIABLE = "PUMPD_SEED"
IN_MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 2**30

# An order that gives more waits half a second for the disk and is refused then (S9). How quick this machine's disk is
# while several tests share it is not what they test: journals of tests lie in memory, where there is room.
if os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > ENOUGH_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.is_relative_to(PORT_TESTS) or item.get_closest_marker("real_time"):
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}


def pytest_collection_finish() -> None:
    """Three thousand tests are a large heap; searching it for garbage takes longer than a bed may think."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What shows a row of docs/safety.md shows nothing when it ends half-way: then it has failed."""
    report = yield
    if report.skipped and call.when == "call" and item.get_closest_marker("shows"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} shows rows of docs/safety.md and was skipped: {report.longrepr}"
    return report


def seed() -> int:
    return int(os.environ.get(SEED_VARIABLE, "1"))


def pytest_report_header(config: pytest.Config) -> str:
    return f"random seed: {seed()} ({SEED_VARIABLE}=n for another); hypothesis prints its own on failure"


@pytest.fixture(autouse=True)
def _same_dice() -> Iterator[None]:
    random.seed(seed())
    yield
    random.seed()


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command sets up the log of its process, which here is that of all tests."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    if structlog.is_configured():
        log.close()
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@pytest.fixture
async def clock() -> VirtualClock:
    """The wire clock of the running loop."""
    return VirtualClock()
