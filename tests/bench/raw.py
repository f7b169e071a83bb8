"""The physical floors: the same bytes over the same kernel, with as little Python in between as there can be."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

QUESTION, ANSWER = b"\x02\x0800DIS\x11\x22\x03", b"\x02\x1500I0.000W0.000ML\x11\x22\x03"  # the sizes of a real poll
ECHO_PTY = f"""
import os, sys
line = int(sys.argv[1])
while os.read(line, 4096):
    os.write(line, {ANSWER!r})
"""
ECHO_TCP = f"""
import socket
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
line, _ = door.accept()
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while line.recv(4096):
    line.sendall({ANSWER!r})
"""


@contextmanager
def pty_echo() -> Iterator[int]:
    """The descriptor of a pty whose other end is answered by a bare process."""
    master, slave = os.openpty()
    tty.setraw(slave)
    child = subprocess.Popen([sys.executable, "-c", ECHO_PTY, str(master)], pass_fds=[master])
    os.close(master)
    try:
        yield slave
    finally:
        child.kill()
        child.wait()
        os.close(slave)


@contextmanager
def tcp_echo() -> Iterator[socket.socket]:
    """A connection whose other end is answered by a bare process."""
    child = subprocess.Popen([sys.executable, "-c", ECHO_TCP], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        with connected("127.0.0.1", int(child.stdout.readline())) as line:
            yield line
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@contextmanager
def connected(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


def exchanges_per_s(
    write: Callable[[bytes], object], read: Callable[[], bytes], question: bytes, seconds: float
) -> float:
    """One question after the other, each when the answer before it is there."""
    count = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        for _ in range(100):
            write(question)
            read()
        count += 100
    return count / took


def pty_exchange_cpu_s(count: int = 20_000) -> float:
    """CPU seconds of this process for one bare exchange over a pty."""
    with pty_echo() as line:
        for round_ in range(2):  # the first warms up
            began = time.process_time()
            for _ in range(count if round_ else 500):
                os.write(line, QUESTION)
                os.read(line, 4096)
    return (time.process_time() - began) / count


class Mqtt:
    """MQTT 3.1.1 at QoS 0 by hand: what a message costs when nobody is careful. `heard(topic, payload)` at once."""

    def __init__(self, heard: Callable[[str, bytes], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._line = socket.socket()
        self._backlog = b""

    async def open(self, port: int, topic_filter: str = "") -> None:
        await asyncio.to_thread(self._line.connect, ("127.0.0.1", port))
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"bench-{os.getpid()}-{id(self):x}".encode()
        self._line.sendall(_packet(0x10, _text(b"MQTT") + b"\x04\x02\x00\x00" + _text(name)))
        assert self._line.recv(4) == b"\x20\x02\x00\x00", "the broker refuses"
        if topic_filter:
            self._line.sendall(_packet(0x82, b"\x00\x01" + _text(topic_filter.encode()) + b"\x00"))
        self._line.setblocking(False)
        self._loop.add_reader(self._line, self._readable)

    def publish(self, topic: str, payload: bytes) -> None:
        self._line.setblocking(True)
        self._line.sendall(_packet(0x30, _text(topic.encode()) + payload))
        self._line.setblocking(False)

    def close(self) -> None:
        self._loop.remove_reader(self._line)
        self._line.close()

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            self._buffer += self._line.recv(1 << 16)
        while (packet := self._next()) is not None:
            kind, body = packet
            if kind & 0xF0 == 0x30:
                length = int.from_bytes(body[:2], "big")
                self._heard(body[2 : 2 + length].decode(), body[2 + length :])

    def _next(self) -> tuple[int, bytes] | None:
        size, shift = 0, 0
        for index, byte in enumerate(self._buffer[1:5], start=2):
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if len(self._buffer) < index + size:
                    return None
                kind, body = self._buffer[0], bytes(self._buffer[index : index + size])
                del self._buffer[: index + size]
                return kind, body
        return None


def _text(word: bytes) -> bytes:
    return len(word).to_bytes(2, "big") + word


def _packet(kind: int, body: bytes) -> bytes:
    size, digits = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(digits) + body


async def mqtt_round_trips(port: int, count: int, burst: int = 1, payload: bytes = bytes(500)) -> list[float]:
    """Seconds from publishing to hearing, through the broker; of the last message of each burst."""
    arrived: asyncio.Queue[float] = asyncio.Queue()
    one = Mqtt(lambda topic, _: arrived.put_nowait(time.perf_counter()))
    await one.open(port, "floor/#")
    await asyncio.sleep(0.1)
    times = []
    for _ in range(count):
        for _ in range(burst):
            began = time.perf_counter()
            one.publish("floor/x", payload)
        for _ in range(burst):
            heard = await asyncio.wait_for(arrived.get(), 5)
        times.append(heard - began)
        await asyncio.sleep(0.002)
    one.close()
    return times
