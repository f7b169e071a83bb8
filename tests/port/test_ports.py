"""Real ports: ptys, TCP and RFC 2217 on loopback. Real time, no sleeps that hide a race."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from pumpd.driver import Line
from pumpd.line import ports
from pumpd.line.ports import PortError, open_port
from pumpd.line.talk import Pipe

LINE = Line(19200)
WAIT_S = 10.0  # ends a hanging test only


class Far:
    """The device's end of a pty."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        self.keep = os.open(self.path, os.O_RDWR | os.O_NOCTTY)  # else the master reads EIO when the host closes
        self._open = True

    def hang_up(self) -> None:
        if self._open:
            self._open = False
            os.close(self.keep)
            os.close(self.master)


class Near:
    """The host's end: what came, and why it went."""

    def __init__(self) -> None:
        self.data = b""
        self.came = asyncio.Event()
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def receive(self, data: bytes) -> None:
        self.data += data
        self.came.set()

    def lost(self, why: str) -> None:
        self.gone.set_result(why)

    async def open(self, url: str) -> Pipe:
        return await open_port(url, LINE, None, self.receive, self.lost)

    async def until(self, expected: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.data != expected:
                self.came.clear()
                await self.came.wait()

    async def until_lost(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return await self.gone


@pytest.fixture
def far() -> Iterator[Far]:
    end = Far()
    yield end
    end.hang_up()


@pytest.fixture
async def near() -> Near:
    return Near()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- ptys -----------------------------------------------------------------------------------------------------------


async def test_bytes_pass_both_ways_over_a_pty(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    pipe.write(b"\x02ask\x03\r\n\x00\xff")
    assert os.read(far.master, 100) == b"\x02ask\x03\r\n\x00\xff"
    os.write(far.master, b"\x11\x13answer\r")
    await near.until(b"\x11\x13answer\r")
    pipe.close()


async def test_a_port_costs_one_descriptor_and_gives_it_back(far: Far, near: Near) -> None:
    warm = await near.open(far.path)  # the executor thread and its wake-up exist from now on
    warm.close()
    before = open_descriptors()
    pipe = await near.open(far.path)
    assert open_descriptors() == before + 1
    descriptor = pipe._descriptor  # type: ignore[attr-defined]
    pipe.close()
    pipe.close()
    assert open_descriptors() == before
    assert not asyncio.get_running_loop().remove_reader(descriptor), "a closed port is not watched any more"


async def test_a_hang_up_is_told_once_and_does_not_spin(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    before = open_descriptors()
    far.hang_up()
    why = await near.until_lost()
    assert why.startswith(f"{far.path}: the port ")
    assert open_descriptors() == before - 3, "host descriptor and both of the device are closed"
    pipe.write(b"into the void")
    pipe.close()


async def test_line_settings_reach_the_port_and_an_empty_read_can_only_mean_hang_up(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    settings = termios.tcgetattr(far.keep)
    assert (settings[4], settings[5]) == (termios.B19200, termios.B19200)
    assert settings[6][termios.VMIN] == 1
    pipe.close()
    pipe = await open_port(far.path, LINE, 9600, near.receive, near.lost)
    assert termios.tcgetattr(far.keep)[4] == termios.B9600
    pipe.close()


async def test_a_pty_is_opened_again_and_again_also_for_a_pump_with_parity(far: Far, near: Near) -> None:
    for _ in range(3):
        pipe = await open_port(far.path, Line(baud=19200, bytesize=7, parity="E"), 19200, near.receive, near.lost)
        pipe.write(b"\x02ask\x03")
        assert os.read(far.master, 100) == b"\x02ask\x03"
        pipe.close()


async def test_a_port_that_does_not_drain_keeps_order_and_sends_all(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    parts = [bytes([65 + n]) * 1000 for n in range(30)]
    for part in parts:
        pipe.write(part)
    os.set_blocking(far.master, False)
    got = b""
    async with asyncio.timeout(WAIT_S):
        while len(got) < 30_000:
            try:
                got += os.read(far.master, 4096)
            except BlockingIOError:
                await asyncio.sleep(0)
    assert got == b"".join(parts)
    pipe.close()


async def test_a_port_that_never_drains_is_lost(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    for _ in range(100):
        pipe.write(b"x" * 1000)
    assert "does not take bytes" in await near.until_lost()
    pipe.close()


# --- who has it, and why not ----------------------------------------------------------------------------------------


async def test_two_opens_of_one_pty_conflict(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    with pytest.raises(PortError) as refused:
        await Near().open(far.path)
    assert refused.value.kind == "busy"
    assert f"this program itself (pid {os.getpid()})" in refused.value.text
    pipe.close()
    (await near.open(far.path)).close()


@pytest.fixture
def holder(far: Far) -> Iterator[int]:
    """Another program that has the port open and locked; gives its pid."""
    script = "import serial, sys; port = serial.Serial(sys.argv[1], exclusive=True); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script, far.path], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other.pid
        other.communicate(b"\n")


async def test_a_port_held_by_another_program_is_busy_and_says_by_whom(far: Far, near: Near, holder: int) -> None:
    with pytest.raises(PortError) as refused:
        await near.open(far.path)
    assert refused.value.kind == "busy"
    assert re.search(rf"in use by .*python\S* \(pid {holder}\)", refused.value.text)


async def test_pyserial_cannot_open_what_we_hold(far: Far, near: Near) -> None:
    pipe = await near.open(far.path)
    with pytest.raises(serial.SerialException, match="exclusively lock"):
        serial.Serial(far.path, exclusive=True)
    pipe.close()


async def test_a_missing_port_asks_for_the_adapter(near: Near) -> None:
    with pytest.raises(PortError, match=r"no such port; is the adapter plugged in\?") as refused:
        await near.open("/dev/serial/by-id/usb-none")
    assert refused.value.kind == "missing"


async def test_a_port_without_permission_names_the_group(near: Near, monkeypatch: pytest.MonkeyPatch, far: Far) -> None:
    """The tests may run as root, whom nothing refuses: the refusal is pyserial's, only its cause is invented."""

    def denied(*args: object, **kwargs: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    monkeypatch.setattr(ports.serial, "Serial", denied)
    with pytest.raises(PortError, match=r"this user may not open it; add the user to the group '\w+'") as refused:
        await near.open(far.path)
    assert refused.value.kind == "no_permission"


async def test_a_file_is_no_serial_port(near: Near, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    for path in (plain, tmp_path, Path("/dev/null")):
        with pytest.raises(PortError, match="is not a serial port") as refused:
            await near.open(str(path))
        assert refused.value.kind == "other"


@pytest.mark.parametrize(
    "url", ["COM3", "socket://nowhere", "socket://host:", "rfc2217://:70000", "tcp://a:1", "memory://no"]
)
async def test_an_address_nobody_can_open_says_what_was_expected(url: str, near: Near) -> None:
    with pytest.raises(PortError, match=r"expected|known") as refused:
        await near.open(url)
    assert url in refused.value.text


async def test_an_opening_nobody_waits_for_leaves_nothing_open(far: Far, near: Near) -> None:
    (await near.open(far.path)).close()
    before = open_descriptors()
    opening = asyncio.create_task(near.open(far.path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert open_descriptors() <= before
    descriptor = os.open(far.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


# --- network --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    calls: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    listening = await asyncio.start_server(lambda r, w: calls.put_nowait((r, w)), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1], calls
    listening.close()
    await listening.wait_closed()


async def test_bytes_pass_both_ways_over_tcp_without_delay(server: tuple[int, asyncio.Queue], near: Near) -> None:  # type: ignore[type-arg]
    port, calls = server
    pipe = await near.open(f"socket://127.0.0.1:{port}")
    assert pipe._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[attr-defined]
    reader, writer = await calls.get()
    pipe.write(b"ask")
    assert await reader.readexactly(3) == b"ask"
    writer.write(b"answer")
    await near.until(b"answer")
    writer.close()
    assert await near.until_lost() == f"socket://127.0.0.1:{port}: the other side hung up"
    pipe.close()
    await writer.wait_closed()


async def test_a_closed_tcp_port_tells_nothing_more(server: tuple[int, asyncio.Queue], near: Near) -> None:  # type: ignore[type-arg]
    port, calls = server
    pipe = await near.open(f"socket://127.0.0.1:{port}")
    reader, writer = await calls.get()
    writer.write(b"on its way")
    pipe.close()
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert (near.data, near.gone.done()) == (b"", False)


async def test_what_was_not_sent_before_a_close_is_never_sent(server: tuple[int, asyncio.Queue], near: Near) -> None:  # type: ignore[type-arg]
    port, calls = server
    pipe = await near.open(f"socket://127.0.0.1:{port}")
    reader, writer = await calls.get()
    much = 50_000_000
    pipe.write(b"x" * much)
    pipe.close()
    got = 0
    with suppress(ConnectionResetError):
        while data := await reader.read(1 << 20):
            got += len(data)
    assert got < much
    writer.close()


async def test_nobody_listening_is_refused(near: Near) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for scheme in ("socket", "rfc2217"):
            with pytest.raises(PortError, match="nothing listens at this address") as refused:
                await near.open(f"{scheme}://127.0.0.1:{port}")
            assert refused.value.kind == "refused"


class TerminalServer:
    """An RFC 2217 server as the network boxes are: one connection, the serial side echoes."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.serial = serial.serial_for_url("loop://", timeout=0.02)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        self.client, _ = self.listening.accept()
        self.client.settimeout(0.02)
        manager = serial.rfc2217.PortManager(self.serial, self)
        with suppress(OSError):
            while True:
                with suppress(TimeoutError):
                    data = self.client.recv(1024)
                    if not data:
                        return
                    self.serial.write(b"".join(manager.filter(data)))
                self.write(b"".join(manager.escape(self.serial.read(self.serial.in_waiting))))

    def write(self, data: bytes) -> None:
        if data:
            self.client.sendall(data)

    def stop(self) -> None:
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
        self.thread.join(WAIT_S)
        self.client.close()
        self.listening.close()
        self.serial.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial 3.5 starts threads so
async def test_bytes_pass_both_ways_over_rfc2217_and_its_end_is_told(near: Near) -> None:
    box = TerminalServer()
    try:
        pipe = await near.open(f"rfc2217://127.0.0.1:{box.port}")
        assert box.serial.baudrate == LINE.baud
        pipe.write(b"\x02ask")
        pipe.write(b"\xff\x03")
        await near.until(b"\x02ask\xff\x03")
        box.stop()
        assert (await near.until_lost()).startswith(f"rfc2217://127.0.0.1:{box.port}: ")
        pipe.close()
    finally:
        box.stop()
