"""The back door: one JSON request a line over loopback TCP, one JSON answer a line."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

from simulator.line import devices_of
from simulator.serve import Port, PortError, swap

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANSWER_TIMEOUT_S = 5.0  # a loopback answer takes milliseconds; the simulator has one loop and no long work


class ControlServer:
    """Lets a test press keys and read the truth. PortError for a host other than loopback."""

    def __init__(self, ports: Sequence[Port], host: str = "127.0.0.1", port: int = 0) -> None:
        if host not in LOOPBACK:
            raise PortError(f"control {host}: the back door opens on loopback only ({', '.join(LOOPBACK)})")
        self.host = host
        self.port = port
        self._ports = list(ports)
        # A number means a pump, wherever its cable is swapped to.
        self._pumps = [device for port in ports for device in devices_of(port.device)]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listen; `port` is then the real one."""
        try:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
        except OSError as problem:
            raise PortError(f"control {self.host}:{self.port}: {problem.strerror or problem}") from None
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the client left, or sent a line longer than the stream's limit
        finally:
            self._writers.discard(writer)
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Carry out one request; `pump` says which served pump it is for (0 when left out)."""
        try:
            request = json.loads(line)
        except ValueError as problem:
            return {"ok": False, "error": f"not JSON: {problem}"}
        if not isinstance(request, dict):
            return {"ok": False, "error": 'expected an object such as {"do": "truth"}'}
        if request.get("do") == "swap":
            return self._swap()
        number = request.pop("pump", 0)
        if type(number) is not int or not 0 <= number < len(self._pumps):
            return {"ok": False, "error": f"pump = {number!r}: expected 0 to {len(self._pumps) - 1}"}
        pump = self._pumps[number]
        port = next(port for port in self._ports if pump in devices_of(port.device))
        port.poke()
        answer = pump.control(request)
        port.poke()
        return answer

    def _swap(self) -> dict[str, Any]:
        if len(self._ports) < 2:
            return {"ok": False, "error": "swap: needs two served pumps"}
        swap(self._ports[0], self._ports[1])
        return {"ok": True}


def ask(host: str, port: int, request: str) -> dict[str, Any]:
    """Send one request to a running simulator's back door and wait for the answer. OSError when nobody is there."""
    with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S) as line, line.makefile("rwb") as stream:
        stream.write(request.encode() + b"\n")
        stream.flush()
        answer = json.loads(stream.readline() or b'{"ok": false, "error": "the simulator hung up"}')
    assert isinstance(answer, dict)
    return answer
