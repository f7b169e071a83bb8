"""A real mosquitto on loopback, on a port nobody else has, that a test may kill and start again."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import socket
from pathlib import Path

CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence {persistence}
persistence_location {folder}/
autosave_interval 1
set_tcp_nodelay true
user {user}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_program() -> str | None:
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


class Mosquitto:
    """Start it, kill it, start it again: the port stays."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.port = free_port()
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def start(self, persistence: bool = False) -> None:
        config = self._folder / "mosquitto.conf"
        words = {"port": self.port, "persistence": str(persistence).lower(), "folder": self._folder}
        config.write_text(CONFIG.format(**words, user=getpass.getuser()))
        self.process = await asyncio.create_subprocess_exec(
            self._program, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(5):
            while not await answers(self.port):
                if self.process.returncode is not None:
                    raise RuntimeError(f"mosquitto does not start on port {self.port}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            self.process = None
