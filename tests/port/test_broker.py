from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import aiomqtt
import pytest
from brokers import answers, mosquitto_program
from structlog.testing import capture_logs

from pumpd.messaging.broker import EmbeddedBroker, NoBroker, find_mosquitto

WAIT_S = 10.0
PARENT = """
import asyncio, sys
from pumpd.messaging.broker import EmbeddedBroker

async def main():
    broker = EmbeddedBroker(sys.argv[1] or None)
    print(await broker.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def mosquitto() -> str:
    program = mosquitto_program()
    if program is None:
        pytest.skip("mosquitto is not installed")
    return program


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


async def exchange(url: str) -> bytes:
    async with asyncio.timeout(WAIT_S), aiomqtt.Client("127.0.0.1", port_of(url)) as client:
        await client.subscribe("a", qos=1)
        await client.publish("a", b"hello", qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            return message.payload
    raise AssertionError("no message came")


async def announced(output: asyncio.StreamReader) -> bytes:
    """The line that starts with the URL; a warning may stand before it."""
    while not (line := await output.readline()).startswith(b"mqtt://"):
        assert line, "the parent ended"
    return line.strip()


async def test_mosquitto_child_serves_loopback_and_ends_with_stop() -> None:
    broker = EmbeddedBroker(mosquitto())
    url = await broker.start()
    assert url.startswith("mqtt://127.0.0.1:")
    assert await exchange(url) == b"hello"
    await broker.stop()
    assert not await answers(port_of(url))


async def test_without_mosquitto_amqtt_serves_and_the_warning_names_it() -> None:
    broker = EmbeddedBroker(None)
    with capture_logs() as events:
        url = await broker.start()
    assert await exchange(url) == b"hello"
    await broker.stop()
    assert not await answers(port_of(url))
    assert [(event["event"], event["log_level"]) for event in events] == [("broker.amqtt", "warning")]


@pytest.mark.parametrize("which", ["mosquitto", "amqtt"])
async def test_broker_dies_with_a_daemon_that_is_killed(which: str) -> None:
    program = mosquitto() if which == "mosquitto" else ""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    async with asyncio.timeout(WAIT_S):
        url = await announced(parent.stdout)
    assert await answers(port_of(url.decode()))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(WAIT_S):
        while await answers(port_of(url.decode())):  # another process has no event to wait for
            await asyncio.sleep(0.02)


async def test_broker_that_does_not_start_is_said_with_its_own_words(tmp_path: Path) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho 'no such listener' >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(NoBroker, match="no such listener"):
        await EmbeddedBroker(str(program)).start()


def test_mosquitto_is_found_only_where_it_is(tmp_path: Path) -> None:
    assert find_mosquitto(str(tmp_path)) is None
    (tmp_path / "mosquitto").write_text("")
    (tmp_path / "mosquitto").chmod(0o755)
    assert find_mosquitto(str(tmp_path)) == str(tmp_path / "mosquitto")
