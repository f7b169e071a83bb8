from __future__ import annotations

import json

import pytest

from simulator.cli import by_address
from simulator.control import ControlServer
from simulator.device import Device
from simulator.families.newera import safe_packet
from simulator.line import Line, devices_of
from simulator.requests import BadRequest
from simulator.serve import PtyPort


def line(**options: object) -> Line:
    return Line([Device(address=address, **options) for address in (1, 2)])


def ask(pumps: Line, data: bytes, at: float) -> bytes:
    pumps.receive(data, at)
    return pumps.outgoing(at)


def test_only_the_one_that_is_meant_answers() -> None:
    pumps = line()
    assert ask(pumps, b"1\r", 0.0) == b"\x0201A?R\x03"
    assert ask(pumps, b"2\r", 0.0) == b"\x0202A?R\x03"
    assert ask(pumps, b"2RAT 60 MH\r2RUN\r", 0.1) == b"\x0202S\x03\x0202I\x03"
    assert ask(pumps, b"1DIS\r", 0.2) == b"\x0201SI0.000W0.000ML\x03"
    assert ask(pumps, b"3DIS\r", 0.2) == b""
    pumps.advance(60.1)
    first, second = (device.truth()["plunger_ml"] for device in devices_of(pumps))
    assert (first, second) == (0.0, pytest.approx(1.0))


def test_answers_of_several_come_back_in_turn() -> None:
    assert ask(line(), b"1\r2\r", 0.0) == b"\x0201A?R\x03\x0202A?R\x03"


def test_what_they_say_by_themselves_wakes_the_port() -> None:
    pumps = line(mode="safe", watchdog_s=10)
    assert pumps.outgoing(0.0) == safe_packet(b"01A?R") + safe_packet(b"02A?R")
    pumps.receive(safe_packet(b"2"), 5.0)
    assert pumps.outgoing(5.0) == safe_packet(b"02A?R")
    assert pumps.next_wake(5.0) == 15.0
    assert pumps.outgoing(15.0) == safe_packet(b"02A?T")


def test_a_cable_that_comes_off_at_the_first_takes_all_with_it_and_one_further_on_only_its_own() -> None:
    pumps = line()
    pumps.advance(0.0)
    first, second = pumps.devices
    second.control({"do": "disconnect"})
    assert pumps.connected
    assert ask(pumps, b"1\r2\r", 1.0) == b"\x0201A?R\x03"
    second.control({"do": "reconnect"})
    first.control({"do": "disconnect"})
    assert not pumps.connected


async def test_the_back_door_reaches_each(tmp_path: object) -> None:
    pumps = line()
    ports = [PtyPort(pumps, f"{tmp_path}/one"), PtyPort(Device(address=7), f"{tmp_path}/two")]
    for port in ports:
        await port.open()
    door = ControlServer(ports)
    told = [door.answer(json.dumps({"do": "truth", "pump": number}).encode()) for number in range(4)]
    assert [truth.get("address") for truth in told] == [1, 2, 7, None]
    assert told[3]["error"] == "pump = 3: expected 0 to 2"
    for port in ports:
        port.close()


def test_the_command_takes_several_addresses() -> None:
    assert by_address({"mode": "safe"}) == [{"mode": "safe"}]
    assert by_address({"address": "1,2", "mode": "safe"}) == [
        {"address": "1", "mode": "safe"},
        {"address": "2", "mode": "safe"},
    ]
    with pytest.raises(BadRequest, match="address 1,1: each pump on a line needs one of its own"):
        by_address({"address": "1,1"})
