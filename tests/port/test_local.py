from __future__ import annotations

import asyncio
import getpass
import itertools
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pumpd.clock import SystemClock
from pumpd.messaging.local import (
    FILTERS_MAX,
    LINE_MAX,
    LOST_MAX,
    WAITING_MAX_BYTES,
    LocalClient,
    LocalServer,
    SocketBusy,
)
from pumpd.messaging.messages import MAX_MESSAGE_BYTES, Ack, Stamper
from pumpd.messaging.outlet import Outlet
from pumpd.messaging.requests import parse_request

WAIT_S = 8.0
UUID = "0e0e0e0e-0000-4000-8000-000000000001"


class Desk:
    """A daemon that answers every request at once."""

    def __init__(self, path: Path) -> None:
        clock = SystemClock()
        self.path = path
        self.commands: list[tuple[str, bytes, bool]] = []
        self.server = LocalServer(path, self.command, clock)
        self.outlet = Outlet(Stamper("ward3", "b1", clock, simulated=True), [self.server])
        self.states: list[Any] = ["accepted", "started", "unknown", "done"]

    def command(self, verb: str, payload: bytes, retained: bool, at_wire: float) -> None:
        self.commands.append((verb, payload, retained))
        request_id = json.loads(payload)["id"]
        for state in self.states:
            self.outlet.say(f"ack/{request_id}", Ack(id=request_id, verb=verb, state=state))

    def say(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.server.publish(topic, payload, retain=retain, qos=0, expiry_s=None)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    one = Desk(tmp_path / "pumpd.sock")
    await one.server.start()
    yield one
    await one.server.stop()


async def first(stream: AsyncIterator[Any], count: int) -> list[Any]:
    seen = []
    async with asyncio.timeout(WAIT_S):
        async for item in stream:
            seen.append(item)
            if len(seen) == count:
                break
    return seen


async def raw_answer(path: Path, line: bytes) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        lines, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line + b"\n")
        answer: dict[str, Any] = json.loads(await lines.readline())
        writer.close()
        await writer.wait_closed()
        return answer


async def test_request_is_answered_until_the_final_state(desk: Desk) -> None:
    async with LocalClient(desk.path) as client:
        answers = [answer["state"] async for answer in client.request("session.start", {"bed": "bed-1"})]
    assert answers == ["accepted", "started", "unknown", "done"]


async def test_server_fills_in_what_the_contract_needs_and_names_the_user(desk: Desk) -> None:
    async with LocalClient(desk.path) as client:
        await first(client.request("session.start", {"bed": "bed-1", "origin": "elsewhere"}), 4)
    verb, payload, retained = desk.commands[0]
    request = parse_request(verb, payload)
    assert (request.actor, request.role, request.origin, retained) == (getpass.getuser(), "local", "local", False)


async def test_numbers_of_a_request_stay_exact(desk: Desk) -> None:
    await raw_answer(desk.path, b'{"verb":"rate.set","bed":"bed-1","args":{"rate_ml_h":40.10}}')
    assert str(parse_request(*desk.commands[0][:2]).args.rate_ml_h) == "40.10"


async def test_answers_go_to_the_one_who_asked(desk: Desk) -> None:
    async with LocalClient(desk.path) as asker, LocalClient(desk.path) as other:
        watching = other.subscribe("status")
        desk.say("status", b"{}", retain=True)
        await first(watching, 1)
        await first(asker.request("snapshot"), 4)
        desk.say("status", b'{"n":2}', retain=True)
        assert await first(other.subscribe("nothing"), 1) == [("status", {"n": 2})]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{", "not JSON"),
        (b"[]", "one JSON object"),
        (b"{}", "verb: missing"),
        (b'{"verb":7}', "verb: missing"),
        (b'{"verb":"snapshot","id":"7"}', "id: must be a UUID"),
        (b'{"subscribe":"#"}', "must be a list"),
        (b'{"verb":"snapshot","actor":"' + b"x" * MAX_MESSAGE_BYTES + b'"}', "a request has at most 16384 bytes"),
        (b'{"verb":"snapshot","args":' + b"[" * 400 + b"]" * 400 + b"}", "nested too deeply"),
        (b'{"verb":"snapshot","actor":"\\ud800"}', "no Unicode"),
        (b"x" * (LINE_MAX + 1), "at most"),
    ],
)
async def test_nonsense_is_refused_in_words(desk: Desk, line: bytes, text: str) -> None:
    answer = await raw_answer(desk.path, line)
    assert (answer["state"], answer["reason"]) == ("rejected", "malformed")
    assert text in answer["text"]
    assert desk.commands == []


async def test_subscriber_hears_the_present_state_first_and_then_what_comes(desk: Desk) -> None:
    desk.say("pump/left/session", b'{"phase":"armed"}', retain=True)
    desk.say("pump/left/session", b'{"phase":"running"}', retain=True)
    desk.say("alarm/a1", b'{"condition":"gone"}', retain=True)
    desk.say("alarm/a1", b"", retain=True)
    desk.say("pump/left/telemetry", b'{"n":0}')
    async with LocalClient(desk.path) as client:
        stream = client.subscribe("pump/+/#", "alarm/+")
        assert await first(stream, 1) == [("pump/left/session", {"phase": "running"})]
        desk.say("heartbeat", b"{}")
        desk.say("pump/left/telemetry", b'{"n":1}')
        desk.say("alarm/a1", b"", retain=True)
        seen = await first(client.subscribe("nothing"), 2)
    assert seen == [("pump/left/telemetry", {"n": 1}), ("alarm/a1", None)]


async def test_reader_that_sleeps_is_cut_off_and_nobody_waits_for_it(desk: Desk) -> None:
    sleeper = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sleeper.connect(str(desk.path))
    sleeper.sendall(b'{"subscribe":["#"]}\n')
    async with LocalClient(desk.path) as awake:
        stream = awake.subscribe("#")
        desk.say("status", b"{}", retain=True)
        await first(stream, 1)
        payload = b'"' + b"x" * 8000 + b'"'
        async with asyncio.timeout(WAIT_S):
            while len(desk.server._readers) == 2:
                desk.say("pump/left/telemetry", payload)
                await first(awake.subscribe("nothing"), 1)
    sleeper.close()
    assert LOST_MAX * len(payload) > WAITING_MAX_BYTES  # the bound was reached by losing, not by chance


@pytest.mark.shows("H54")
async def test_socket_is_for_owner_and_group_only(desk: Desk) -> None:
    assert desk.path.stat().st_mode & 0o777 == 0o660


async def test_second_server_on_the_same_socket_is_told_who_holds_it(desk: Desk) -> None:
    with pytest.raises(SocketBusy, match="another pumpd listens"):
        await Desk(desk.path).server.start()
    async with LocalClient(desk.path) as client:
        assert await first(client.request("snapshot"), 4)


async def test_socket_file_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pumpd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    one = Desk(path)
    await one.server.start()
    async with LocalClient(path) as client:
        assert await first(client.request("snapshot"), 4)
    await one.server.stop()
    assert not path.exists()


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(SocketBusy, match="is a file, not a socket"):
        await Desk(path).server.start()
    assert path.read_text() == "mine"


async def test_path_that_cannot_be_a_socket_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SocketBusy, match="cannot be opened as the local socket"):
        await Desk(tmp_path / ("x" * 200)).server.start()


async def test_stop_lets_no_client_wait(desk: Desk) -> None:
    desk.states = ["accepted"]
    async with LocalClient(desk.path) as client:
        answers = client.request("snapshot")
        assert (await anext(answers))["state"] == "accepted"
        await desk.server.stop()
        with pytest.raises(ConnectionError):
            await anext(answers)


async def test_opening_the_socket_leaves_the_umask_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o022)
    one = Desk(tmp_path / "pumpd.sock")
    await one.server.start()
    await one.server.stop()
    assert os.umask(before) == 0o022


@pytest.mark.shows("S16")
async def test_a_thousand_lines_at_once_leave_the_loop_to_the_beds(desk: Desk) -> None:
    """A buffer that is full of lines was read to its end before anything else got a turn."""
    _, writer = await asyncio.open_unix_connection(str(desk.path))
    writer.write(b'{"verb":"snapshot"}\n' * 1000)
    seen = [0]
    async with asyncio.timeout(WAIT_S):
        while seen[-1] < 1000:
            await asyncio.sleep(0)
            seen.append(len(desk.commands))
    writer.close()
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2


async def test_a_connection_may_not_ask_for_filters_without_end(desk: Desk) -> None:
    answer = await raw_answer(desk.path, json.dumps({"subscribe": ["a/#"] * (FILTERS_MAX + 1)}).encode())
    assert (answer["state"], answer["reason"]) == ("rejected", "malformed")
    assert str(FILTERS_MAX) in answer["text"]
    lines, writer = await asyncio.open_unix_connection(str(desk.path))
    for _ in range(3):
        writer.write(json.dumps({"subscribe": ["a/#"] * (FILTERS_MAX // 2)}).encode() + b"\n")
    async with asyncio.timeout(WAIT_S):
        assert json.loads(await lines.readline())["state"] == "rejected"
        desk.say("a/b", b"1")
        assert json.loads(await lines.readline())["topic"] == "a/b"
    writer.close()
