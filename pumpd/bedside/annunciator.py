"""The local sounder: it sounds without broker and display (S13), by priority, until paused or over.

It never blocks the loop: programs run beside it with a time limit. When it fails it says so once, so that the alarm
`annunciator_failed` can stand, and it goes on trying.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pumpd.bedside.tones import melody
from pumpd.messaging.messages import Priority

# From one burst to the next, in seconds of wire time. Ours: high is hardly ever silent, low only reminds.
REPEAT_S: Mapping[Priority, float] = {"high": 5.0, "medium": 15.0, "low": 30.0}
TIME_LIMIT_S = 10.0  # the longest burst takes 4 s; a program that hangs must not hold back the next burst for long
BELLS: Mapping[Priority, bytes] = {"high": b"\a\a\a", "medium": b"\a\a", "low": b"\a"}
PLAYERS = (("aplay", "-q"), ("paplay",), ("pw-play",))  # ALSA, PulseAudio, PipeWire: each takes a file name
ERROR_MAX = 200  # characters of a program's complaint that are worth showing


class SounderFailed(Exception):
    """No sound came; the message says why."""


class Sounder(Protocol):
    """Makes one burst."""

    async def sound(self, priority: Priority) -> None:
        """Return when the burst is over. Raises SounderFailed."""


class Bell:
    """The bell of a terminal."""

    def __init__(self, terminal: int) -> None:
        """`terminal` is an open file descriptor, such as 2."""
        self._terminal = terminal

    async def sound(self, priority: Priority) -> None:
        """Ring once to three times. Raises SounderFailed where there is no terminal."""
        try:
            if not os.isatty(self._terminal):
                raise SounderFailed("the bell needs a terminal and there is none")
            os.write(self._terminal, BELLS[priority])
        except OSError as error:
            raise SounderFailed(f"the terminal took no bell: {error}") from None


class Command:
    """A program, started once a burst; `{priority}` in its arguments becomes high, medium or low."""

    def __init__(self, argv: Sequence[str], time_limit_s: float = TIME_LIMIT_S) -> None:
        self._argv = tuple(argv)
        self._time_limit_s = time_limit_s

    async def sound(self, priority: Priority) -> None:
        """Run it. Raises SounderFailed: not startable, exit code not 0, or not done within the time limit."""
        argv = [word.replace("{priority}", priority) for word in self._argv]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise SounderFailed(f"{argv[0]}: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._time_limit_s):
                _, complaint = await process.communicate()
        except TimeoutError:
            raise SounderFailed(f"{argv[0]}: not done after {self._time_limit_s:g} s") from None
        finally:
            await _end(process)
        if process.returncode:
            words = complaint.decode(errors="replace").strip()[:ERROR_MAX]
            raise SounderFailed(f"{argv[0]}: exit code {process.returncode}: {words or 'no words'}")


class Tones:
    """The melodies through an audio player."""

    def __init__(self, player: Sequence[str]) -> None:
        """`player` is a program that takes a WAV file's name as its last argument (see `find_player`)."""
        self._folder = tempfile.TemporaryDirectory(prefix="pumpd-tones-")
        for priority in REPEAT_S:
            Path(self._folder.name, f"{priority}.wav").write_bytes(melody(priority))
        self._command = Command([*player, f"{self._folder.name}/{{priority}}.wav"])

    async def sound(self, priority: Priority) -> None:
        """Play the melody of `priority`. Raises SounderFailed."""
        await self._command.sound(priority)

    def close(self) -> None:
        """Remove the sound files."""
        self._folder.cleanup()


def find_player(device: str | None = None) -> tuple[str, ...] | None:
    """An audio player of this machine; an ALSA `device` such as `hw:1,0` can only be named to aplay."""
    for program, *options in PLAYERS[:1] if device else PLAYERS:
        if (path := shutil.which(program)) is not None:
            return (path, *options, *(("-D", device) if device else ()))
    return None


class Annunciator:
    """Repeats the burst of the highest priority that shall sound."""

    def __init__(self, sounder: Sounder, on_state: Callable[[str | None], None]) -> None:
        """`on_state` hears why the sounder fails, once, and None when it works again."""
        self._sounder = sounder
        self._on_state = on_state
        self._wanted: Priority | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: str | None = None

    def show(self, highest: Priority | None, audio_paused: bool) -> None:
        """Sound for `highest` (of the alarms nobody has acknowledged) from now on, or be silent."""
        wanted = None if audio_paused else highest
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._task is not None:
            self._task.cancel()
        self._task = None if wanted is None else asyncio.get_running_loop().create_task(self._repeat(wanted))

    async def test(self) -> bool:
        """Sound once, quietly in meaning (low), as arming asks. False: no sound came, and `on_state` knows why."""
        return await self._burst("low")

    async def stop(self) -> None:
        """Be silent and end a burst that plays."""
        task, self._task, self._wanted = self._task, None, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _repeat(self, priority: Priority) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._burst(priority)
            due = max(due + REPEAT_S[priority], loop.time())
            await asyncio.sleep(due - loop.time())

    async def _burst(self, priority: Priority) -> bool:
        try:
            await self._sounder.sound(priority)
        except SounderFailed as failed:
            failure: str | None = str(failed)
        else:
            failure = None
        if failure != self._failure:
            self._failure = failure
            self._on_state(failure)
        return failure is None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
