"""The served simulator from outside: a process of its own, raw descriptors and sockets, no pumpd."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from simulator.control import ControlServer
from simulator.families import FAMILIES
from simulator.serve import PortError

PATIENCE_S = 20.0  # a loaded machine may take this long; nothing here waits longer than it must
STATUS = b"\x0200S\x03"
RESET = b"\x0200A?R\x03"
QUERIES = 3000
SERVE = (sys.executable, "-m", "simulator.cli", "serve", "newera")


class Served:
    """A running `pumpd-sim serve` with its back door open."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*SERVE, "--control", "127.0.0.1:0", "--seed", "1", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wanted = 1 + sum(argument in ("--pty", "--tcp") for argument in arguments)
        self.lines = [self._line() for _ in range(wanted)]
        host, port = self.lines[0].removeprefix("CONTROL ").split(":")
        self.door = (host, int(port))
        self.urls = [line.removeprefix("READY ") for line in self.lines[1:]]

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()  # a simulator that cannot serve ends, and this reads ""
        if not line:
            raise AssertionError(self.process.communicate(timeout=PATIENCE_S)[1])
        return line

    def control(self, request: dict[str, Any] | str) -> dict[str, Any]:
        text = request if isinstance(request, str) else json.dumps(request)
        with socket.create_connection(self.door, timeout=PATIENCE_S) as line, line.makefile("rwb") as stream:
            stream.write(text.encode() + b"\n")
            stream.flush()
            answer = json.loads(stream.readline())
            assert isinstance(answer, dict)
            return answer

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        finally:
            self.process.kill()


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[Served]:
    simulator = Served(*arguments)
    try:
        yield simulator
    finally:
        if simulator.process.poll() is None:
            simulator.end()
        simulator.process.communicate(timeout=PATIENCE_S)


class Pty:
    """A raw client of a pty: descriptors only."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)

    def __enter__(self) -> "Pty":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)

    def ask(self, data: bytes, end: bytes = b"\x03") -> bytes:
        os.write(self.fd, data)
        return self.read(end)

    def read(self, end: bytes = b"\x03") -> bytes:
        answer = b""
        while not answer.endswith(end):
            readable, _, _ = select.select([self.fd], [], [], PATIENCE_S)
            assert readable, f"silence after {answer!r}"
            answer += os.read(self.fd, 256)
        return answer

    def hung_up(self) -> bool:
        readable, _, _ = select.select([self.fd], [], [], PATIENCE_S)
        try:
            return bool(readable) and os.read(self.fd, 256) == b""
        except OSError:
            return True


def test_a_pump_on_a_pty_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path)) as simulator:
        assert simulator.urls == [str(path)]
        with Pty(str(path)) as port:
            assert port.ask(b"\r") == RESET
            assert port.ask(b"VER\r") == b"\x0200SNE1000V3.928\x03"
        with Pty(str(path)) as port:  # a second client after the first has closed
            assert port.ask(b"\r") == STATUS
        assert simulator.end() == 0
        assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_cleanly_too(tmp_path: Path) -> None:
    with served("--pty", str(tmp_path / "pump")) as simulator:
        assert simulator.end(signal.SIGINT) == 0
        assert list(tmp_path.iterdir()) == []


def test_a_link_left_by_a_killed_simulator_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path)) as simulator:
        simulator.end(signal.SIGKILL)
    assert path.is_symlink()
    with served("--pty", str(path)), Pty(str(path)) as port:
        assert port.ask(b"\r") == RESET


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    done = command("serve", "newera", "--pty", str(path))
    assert done.returncode == 2
    assert "exists and is no link to a pty" in done.stderr
    assert path.read_text() == "mine"


def test_a_disconnected_pty_hangs_up_and_comes_back_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path)) as simulator:
        with Pty(str(path)) as port:
            assert port.ask(b"\r") == RESET
            simulator.control({"do": "disconnect"})
            assert port.hung_up()
            assert not path.is_symlink()
        simulator.control({"do": "reconnect"})
        with Pty(str(path)) as port:
            assert port.ask(b"\r") == STATUS


def test_a_tcp_pump_serves_one_client_at_a_time() -> None:
    with served("--tcp", "127.0.0.1:0") as simulator:
        address = ("127.0.0.1", int(simulator.urls[0].removeprefix("socket://127.0.0.1:")))
        with socket.create_connection(address, timeout=PATIENCE_S) as first:
            assert tcp_ask(first, b"\r") == RESET
            with socket.create_connection(address, timeout=PATIENCE_S) as second:
                assert turned_away(second)
            assert tcp_ask(first, b"\r") == STATUS
            simulator.control({"do": "disconnect"})
            assert turned_away(first)
        with socket.create_connection(address, timeout=PATIENCE_S) as refused:
            assert turned_away(refused)
        simulator.control({"do": "reconnect"})
        with socket.create_connection(address, timeout=PATIENCE_S) as again:
            assert tcp_ask(again, b"\r") == STATUS


def tcp_ask(line: socket.socket, data: bytes) -> bytes:
    line.sendall(data)
    answer = b""
    while not answer.endswith(b"\x03"):
        answer += line.recv(256)
    return answer


def turned_away(line: socket.socket) -> bool:
    try:
        return line.recv(256) == b""
    except ConnectionError:
        return True


def test_two_pumps_swap_their_ports_and_the_back_door_still_knows_them(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    with served("--pty", str(left), "--pty", str(right)) as simulator, Pty(str(left)) as a, Pty(str(right)) as b:
        for port, rate in ((a, b"10"), (b, b"20")):
            port.ask(b"\r")
            assert port.ask(b"RAT %s MH\r" % rate) == STATUS
        assert simulator.control({"do": "swap"}) == {"ok": True}
        assert a.ask(b"RAT\r") == b"\x0200S20.00MH\x03"
        assert b.ask(b"RAT\r") == b"\x0200S10.00MH\x03"
        assert b.ask(b"RUN\r") == b"\x0200I\x03"
        assert simulator.control({"do": "truth", "pump": 0})["rate_ml_h"] == 10
        assert simulator.control({"do": "truth", "pump": 1})["rate_ml_h"] == 0


def test_the_back_door_presses_keys_and_refuses_in_words(tmp_path: Path) -> None:
    with served("--pty", str(tmp_path / "pump")) as simulator:
        assert simulator.control({"do": "press", "key": "stop"}) == {"ok": True}  # acknowledges the alarm
        assert simulator.control({"do": "set_rate", "ml_h": 46.67}) == {"ok": True}
        assert simulator.control({"do": "press", "key": "run"}) == {"ok": True}
        assert simulator.control({"do": "truth"})["rate_ml_h"] == pytest.approx(46.67)
        for request, words in (
            ("{", "not JSON"),
            ("[]", "expected an object"),
            ('{"do": "fly"}', "expected one of press"),
            ('{"do": "truth", "pump": 1}', "pump = 1: expected 0 to 0"),
            ('{"do": "swap"}', "needs two served pumps"),
            ('{"do": "press", "key": "run"}', "the pump refuses: ?NA"),
        ):
            answer = simulator.control(request)
            assert answer["ok"] is False
            assert words in answer["error"], request


def test_an_alarm_leaves_the_pty_by_itself(tmp_path: Path) -> None:
    with served("--pty", str(tmp_path / "pump"), "--mode", "safe") as simulator, Pty(str(tmp_path / "pump")) as port:
        simulator.control({"do": "reboot"})  # what was said at power-on went before anyone listened
        assert port.read() == bytes.fromhex("02 09 30 30 41 3F 52 65 86 03")
        port.ask(bytes.fromhex("02 05 30 36 53 03"))  # acknowledged
        for request in ({"do": "set_rate", "ml_h": 60}, {"do": "press", "key": "run"}, {"do": "stall"}):
            assert simulator.control(request)["ok"]
        assert port.read() == bytes.fromhex("02 09 30 30 41 3F 53 75 A7 03")


def test_the_watchdog_fires_by_itself_in_real_time(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path), "--speed", "60") as simulator, Pty(str(path)) as port:
        port.ask(b"\r")
        started = time.monotonic()
        port.ask(b"SAF 1\r")
        assert port.read() == bytes.fromhex("02 09 30 30 41 3F 54 05 40 03")
        assert time.monotonic() - started >= 0.99  # one wire second, although simulated time ran a minute
        assert simulator.control({"do": "truth"})["time_s"] >= 60


def test_how_many_answers_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path), "--tcp", "127.0.0.1:0") as simulator:
        with Pty(str(path)) as port:
            port.ask(b"\r")
            started = time.perf_counter()
            answers = [port.ask(b"\r") for _ in range(QUERIES)]
            pty_rate = QUERIES / (time.perf_counter() - started)
        assert set(answers) == {STATUS}
        address = ("127.0.0.1", int(simulator.urls[1].rpartition(":")[2]))
        with socket.create_connection(address, timeout=PATIENCE_S) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tcp_ask(line, b"\r")
            started = time.perf_counter()
            for _ in range(QUERIES):
                assert tcp_ask(line, b"\r") == STATUS
            tcp_rate = QUERIES / (time.perf_counter() - started)
    with capsys.disabled():
        print(f"\nsimulator answers a second: pty {pty_rate:.0f}, TCP {tcp_rate:.0f}")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_list_names_the_families() -> None:
    said = command("list").stdout
    assert [line.split()[0] for line in said.splitlines() if not line.startswith(" ")] == list(FAMILIES)


def test_help_teaches_with_an_example() -> None:
    text = command("--help").stdout
    assert "pumpd-sim serve newera --pty" in text
    assert '{"do": "truth"}' in text


def test_the_control_client_prints_the_answer(tmp_path: Path) -> None:
    with served("--pty", str(tmp_path / "pump")) as simulator:
        address = f"{simulator.door[0]}:{simulator.door[1]}"
        done = command("control", address, '{"do": "truth"}')
        assert (done.returncode, json.loads(done.stdout)["alarm"]) == (0, "R")
        assert command("control", address, '{"do": "fly"}').returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "newera"], "nothing to serve: give --pty PATH or --tcp HOST:PORT"),
        (["serve", "acme", "--pty", "{dir}/p"], f"family 'acme': expected one of {', '.join(FAMILIES)}"),
        (["serve", "newera", "--tcp", "nowhere"], "'nowhere': expected HOST:PORT"),
        (["serve", "newera", "--pty", "{dir}/no/p"], "does not exist"),
        (["serve", "newera", "--pty", "{dir}/p", "--speed", "60", "--baud", "9600"], "cannot be accelerated"),
        (["serve", "newera", "--pty", "{dir}/p", "--baud", "1234"], "expected 0 (no pacing) or one of 300"),
        (["serve", "newera", "--pty", "{dir}/p", "--scenario", "{dir}/s.toml"], "s.toml: cannot be read"),
        (["serve", "newera", "--pty", "{dir}/p", "--control", "0.0.0.0:0"], "opens on loopback only"),
        (["serve", "newera", "--pty", "{dir}/p", "--address", "100"], "address 100: expected 0 to 99"),
        (["serve", "newera", "--pty", "{dir}/p", "--fill", "0"], "fill 0.0 ml: expected more than 0"),
        (["control", "127.0.0.1:1", '{"do": "truth"}'], "Connection refused"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = command(*(argument.format(dir=tmp_path) if "{dir}" in argument else argument for argument in arguments))
    assert done.returncode == 2
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_back_door_refuses_other_hosts() -> None:
    with pytest.raises(PortError, match="loopback only"):
        ControlServer([], "0.0.0.0")


def test_a_wire_log_is_played_back_on_a_pty(tmp_path: Path) -> None:
    log, path = tmp_path / "wire.log", tmp_path / "pump"
    log.write_text("      1.000000 > 30 30 0d  00.\n      1.020000 < 02 30 30 53 03  .00S.\n")
    replay = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli", "replay", str(log), "--pty", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert replay.stdout is not None
        assert replay.stdout.readline() == f"READY {path}\n"
        with Pty(str(path)) as port:
            assert port.ask(b"00\r", STATUS) == STATUS
            os.write(port.fd, b"what?\r")
            assert replay.stderr is not None
            assert replay.stderr.readline() == "pumpd-sim: not in the rest of the log: 77 68 61 74 3f 0d\n"
    finally:
        replay.terminate()
        replay.communicate(timeout=PATIENCE_S)
    assert replay.returncode == 0
    assert not path.is_symlink()


def test_what_cannot_be_played_back_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "wire.log").write_text("hello")
    done = command("replay", str(tmp_path / "wire.log"), "--pty", str(tmp_path / "pump"))
    assert done.returncode == 2
    assert "line 1: expected seconds, < or >, and bytes in hex" in done.stderr


def test_probe_finds_the_pump_and_says_what_to_paste(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path)):
        done = subprocess.run(
            [sys.executable, "-m", "pumpd.cli", "probe", str(path), "--yes-no-patient"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NE1000" in done.stdout
    assert 'driver = "newera"' in done.stdout
    assert f'port = "{path}"' in done.stdout


def test_a_port_that_somebody_holds_is_not_probed(tmp_path: Path) -> None:
    path = tmp_path / "pump"
    with served("--pty", str(path)), serial.Serial(str(path), exclusive=True):
        done = subprocess.run(
            [sys.executable, "-m", "pumpd.cli", "probe", str(path), "--yes-no-patient"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "in use" in done.stderr
