"""The embedded broker of a machine without mosquitto knows MQTT 3.1.1 only, and falls silent at MQTT 5 with a will."""

from __future__ import annotations

from test_bus import daemon

from pumpd.messaging.broker import EmbeddedBroker


async def test_the_daemon_reaches_the_embedded_amqtt() -> None:
    broker = EmbeddedBroker(None)
    try:
        async with daemon(await broker.start()) as ours:
            await ours.connected()
            assert ours.bus.stats().protocol == "3.1.1"
    finally:
        await broker.stop()
