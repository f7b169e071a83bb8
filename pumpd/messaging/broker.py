"""The embedded broker (`bus.url = "embedded"`) for demo and trial: a child process on loopback that dies with us.

mosquitto where one is found; else amqtt, with a warning: it keeps retained messages badly and never expires a silent
client, so it is no broker for a real pump. Clinics run their own broker (config/).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import getpass
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import structlog

SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))  # Debian: /usr/sbin
START_TIMEOUT_S = 5.0  # mosquitto listens within 50 ms, amqtt within 1 s on a slow machine
START_TRIES = 5  # the free port may be taken between finding and using it
STOP_TIMEOUT_S = 2.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
user {user}
"""

log = structlog.get_logger(__name__)


class NoBroker(Exception):
    """No embedded broker could be started; the message says what was tried."""


def find_mosquitto(search_path: str = SEARCH_PATH) -> str | None:
    """The mosquitto program, also where a plain user's PATH does not look."""
    return shutil.which("mosquitto", path=search_path)


class EmbeddedBroker:
    """One broker process. `url` is known once started."""

    def __init__(self, mosquitto: str | None) -> None:
        """`mosquitto` is the program to run (see `find_mosquitto`); None takes amqtt."""
        self._mosquitto = mosquitto
        self._folder = tempfile.TemporaryDirectory(prefix="pumpd-broker-", ignore_cleanup_errors=True)
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> str:
        """Start it and return its URL once it answers. Raises NoBroker."""
        if self._mosquitto is None:
            log.warning("broker.amqtt", detail="mosquitto not found; amqtt serves demo and trial, never a real pump")
        for _ in range(START_TRIES):
            port = _free_port()
            self._process = await self._launch(port)
            if await self._answers(port):
                self.url = f"mqtt://127.0.0.1:{port}"
                return self.url
            await self._end()
        said = self._log.read_text(errors="replace")[-500:].strip()
        self._folder.cleanup()
        raise NoBroker(
            f"{self._mosquitto or 'amqtt'} did not start in {START_TRIES} tries; it said: {said or 'nothing'}"
        )

    async def stop(self) -> None:
        """End the process and remove its files."""
        await self._end()
        self._folder.cleanup()

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "broker.log"

    async def _launch(self, port: int) -> asyncio.subprocess.Process:
        config = Path(self._folder.name) / "mosquitto.conf"
        config.write_text(MOSQUITTO_CONFIG.format(port=port, user=getpass.getuser()))
        arguments = (
            (self._mosquitto, "-c", str(config)) if self._mosquitto else (sys.executable, "-m", __name__, str(port))
        )
        with self._log.open("wb") as output:
            return await asyncio.create_subprocess_exec(
                *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_die_with_parent
            )

    async def _answers(self, port: int) -> bool:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while self._process.returncode is None and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(0.02)  # long enough for a broker that found the port taken to be gone
                return self._process.returncode is None
            await asyncio.sleep(0.01)
        return False

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for order in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                order()
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
                return


_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: a child must not load libraries


def _die_with_parent() -> None:
    """In the child, before exec: the kernel ends it when the daemon dies, however it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _serve_amqtt(port: int) -> None:
    from amqtt.broker import Broker  # type: ignore[import-untyped]  # here: slow to import, only this process needs it

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_amqtt(int(sys.argv[1])))
