"""Processes that a command starts for itself, and that never outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pumpd.commands.reach import Failed

GOODBYE_S = 15.0  # wire seconds; the daemon stops its pumps and reads them back before it goes
LAST_LINES = 8  # of a child's log, shown when it fails
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: a child must not load libraries


class Child:
    """One running process whose standard error goes to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.log = name, log
        self._process = process

    @property
    def running(self) -> bool:
        """Has it not ended by itself?"""
        return self._process.returncode is None

    async def ended(self) -> None:
        """Wait until it ends by itself."""
        await self._process.wait()

    async def line(self, within_s: float) -> str:
        """The next line of its standard output. Raises Failed when it ends or stays silent."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self.failure(f"said nothing for {within_s:g} s") from None
        if not line:
            raise self.failure("ended at once")
        return line.decode(errors="replace").strip()

    def failure(self, what: str) -> Failed:
        """What to raise, with the child's last words."""
        words = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return Failed("\n".join([f"the {self.name} {what}; its last words:", *(words or ["(none)"])]))


@asynccontextmanager
async def child(name: str, log: Path, *arguments: str) -> AsyncIterator[Child]:
    """A Python module run as a process (`arguments` begin with its name), ended politely when the block is left."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            start_new_session=True,  # Ctrl-C at the terminal is for the command alone, which then ends its children
            preexec_fn=_die_with_parent,
        )  # fmt: skip
    try:
        yield Child(name, process, log)
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    for order in (process.terminate, process.kill):
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            order()
            async with asyncio.timeout(GOODBYE_S):
                await process.wait()
                return


def _die_with_parent() -> None:
    """In the child, before exec: the kernel ends it when the command dies, however it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
