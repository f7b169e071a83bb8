from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiomqtt
import pytest
from brokers import Mosquitto, free_port

from pumpd.clock import SystemClock
from pumpd.messaging.bus import Bus, Hooks, OtherMaster, broker_address
from pumpd.messaging.messages import Ack, Connection, Event, Stamper, Status, Telemetry
from pumpd.messaging.outlet import Outlet

STATION = "ward3"
WAIT_S = 8.0


class LaterClock(SystemClock):
    """The clock of the machine, moved on by a test."""

    later_s = 0.0

    def wire(self) -> float:
        return super().wire() + self.later_s


class Daemon:
    """The smallest daemon that owns a bus: it gives birth, notes what it hears, and says what a test tells it."""

    def __init__(self, url: str, *, boot_id: str = "boot-a", gives_way: bool = False, started_s: int = 0) -> None:
        self.clock = LaterClock()
        self.started = self.clock.wall().replace(microsecond=started_s * 1000)
        self.stamper = Stamper(STATION, boot_id, self.clock, simulated=True)
        self.commands: list[tuple[str, bytes, bool, float]] = []
        self.states: list[tuple[bool, str]] = []
        self.others: list[OtherMaster] = []
        self.gives_way = gives_way
        self.birth_fails = False
        self.changed = asyncio.Event()
        hooks = Hooks(
            announce=lambda: self.outlet.say("status", self.status("online")),
            birth=self.give_birth,
            farewell=lambda reason: self.stamper.stamp("status", self.status("offline", reason)),
            on_command=lambda *command: self.note(self.commands, command),
            on_state=lambda *state: self.note(self.states, state),
            other_master=self.other_master,
        )
        self.bus = Bus(url, STATION, boot_id, self.started, hooks, self.clock, random.Random(1))
        self.outlet = Outlet(self.stamper, [self.bus])
        self.running = asyncio.get_running_loop().create_task(self.bus.run())

    def status(self, state: Any, reason: str | None = None) -> Status:
        return Status(state=state, reason=reason, started_ts=self.started, host="here")

    def give_birth(self) -> None:
        if self.birth_fails:
            self.outlet.say("no such topic", telemetry())
        self.connection("ready")

    def connection(self, state: Any) -> None:
        body = Connection(pump="left", state=state, since=self.started, last_rx=None)
        self.outlet.say("pump/left/connection", body)

    def event(self, seq: int) -> None:
        body = Event(
            seq=seq, type="t", bed="b", source=None, session_id=None, actor=None, data={}, prev_hash="", hash=""
        )
        self.outlet.say("event", body)

    def other_master(self, other: OtherMaster) -> bool:
        self.note(self.others, other)
        return self.gives_way

    def note(self, notes: list[Any], item: Any) -> None:
        notes.append(item)
        self.changed.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def connected(self, times: int = 1) -> None:
        await self.until(lambda: sum(up for up, _ in self.states) >= times)

    async def disconnected(self) -> None:
        await self.until(lambda: self.states and not self.states[-1][0])


@contextlib.asynccontextmanager
async def daemon(url: str, **options: Any) -> AsyncIterator[Daemon]:
    one = Daemon(url, **options)
    try:
        yield one
    finally:
        one.bus.stop()
        async with asyncio.timeout(WAIT_S):
            await one.running


@contextlib.asynccontextmanager
async def reader(broker: Mosquitto, *filters: str) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for one in filters:
            await client.subscribe(f"pumpd/1/{STATION}/{one}", qos=1)
        yield client


async def heard(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    messages = []
    async with asyncio.timeout(WAIT_S):
        async for message in client.messages:
            messages.append(message)
            if len(messages) == count:
                break
    return messages


async def heard_until(client: aiomqtt.Client, last: Callable[[str, dict[str, Any]], bool]) -> list[tuple[str, Any]]:
    seen = []
    async with asyncio.timeout(WAIT_S):
        async for message in client.messages:
            topic = str(message.topic).removeprefix(f"pumpd/1/{STATION}/")
            fields = json.loads(message.payload) if message.payload else None
            seen.append((topic, fields))
            if fields is not None and last(topic, fields):
                break
    return seen


def telemetry() -> Telemetry:
    unknown = dict.fromkeys(name for name in Telemetry.model_fields if name.endswith(("_ml", "_ml_h", "_s")))
    return Telemetry.model_validate(
        {
            **unknown,
            "pump": "left",
            "session_id": None,
            "state": "stopped",
            "control": "remote",
            "remaining_origin": None,
            "pressure_kpa": None,
            "battery_pct": None,
            "rx_age_ms": None,
            "quality": {},
        }
    )


async def test_birth_says_status_first_then_state_then_the_late_events_in_order(mosquitto: Mosquitto) -> None:
    async with reader(mosquitto, "#") as display:
        one = Daemon(mosquitto.url)
        one.event(1)
        one.event(2)
        await one.connected()
        one.event(3)
        seen = await heard_until(display, lambda topic, fields: topic == "event" and fields["seq"] == 3)
        one.bus.stop()
        await one.running
    assert [topic for topic, _ in seen] == ["status", "pump/left/connection", "event", "event", "event"]
    assert [(fields["seq"], fields["replayed"]) for topic, fields in seen if topic == "event"] == [
        (1, True),
        (2, True),
        (3, False),
    ]


async def test_will_carries_the_boot_id_of_the_birth_and_never_expires(mosquitto: Mosquitto) -> None:
    async with reader(mosquitto, "status") as display:
        one = Daemon(mosquitto.url)
        birth = (await heard(display, 1))[0]
        await one.connected()
        one.running.cancel()
        await asyncio.gather(one.running, return_exceptions=True)
        will = (await heard(display, 1))[0]
    born, lost = json.loads(birth.payload), json.loads(will.payload)
    assert (born["state"], lost["state"], lost["reason"]) == ("online", "offline", "lost")
    assert born["boot_id"] == lost["boot_id"] == "boot-a"
    assert birth.properties.MessageExpiryInterval == 30
    assert not hasattr(will.properties, "MessageExpiryInterval")


async def test_clean_stop_says_offline_shutdown_and_keeps_it_at_the_broker(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
    async with reader(mosquitto, "status") as late:
        last = json.loads((await heard(late, 1))[0].payload)
    assert (last["state"], last["reason"]) == ("offline", "shutdown")


@pytest.mark.parametrize("persistence", [False, True])
async def test_broker_killed_and_restarted_gets_the_birth_again_and_the_events_of_the_gap(
    mosquitto: Mosquitto, persistence: bool
) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        await mosquitto.kill()
        await one.disconnected()
        for seq in (1, 2, 3):
            one.event(seq)
            one.outlet.say("pump/left/telemetry", telemetry())
        await mosquitto.start(persistence)
        async with reader(mosquitto, "#") as display:
            seen = await heard_until(display, lambda topic, fields: topic == "event" and fields["seq"] == 3)
            await one.connected(2)
        assert {"status", "pump/left/connection"} <= {topic for topic, _ in seen}
        assert [fields["seq"] for topic, fields in seen if topic == "event"] == [1, 2, 3]
        assert all(fields["replayed"] for topic, fields in seen if topic == "event")
        assert "pump/left/telemetry" not in {topic for topic, _ in seen}
        stats = one.bus.stats()
        assert (stats.reconnects, stats.dropped, stats.connected) == (1, 3, True)


@pytest.mark.shows("S13")
async def test_publishing_never_waits_while_the_broker_is_away() -> None:
    async with daemon(f"mqtt://127.0.0.1:{free_port()}") as one:
        await one.disconnected()
        for seq in range(100):
            one.event(seq)
            one.connection("lost")
        assert one.bus.stats().outbox == 101  # every event, and the latest connection only
        assert not one.bus.stats().connected


async def test_alarm_emptied_while_the_broker_was_away_is_emptied_after_the_birth(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        one.bus.publish("alarm/a1", b'{"was":"raised"}', retain=True, qos=1, expiry_s=None)
        async with reader(mosquitto, "alarm/+") as display:
            await heard(display, 1)
        await mosquitto.kill()
        await one.disconnected()
        one.outlet.empty("alarm/a1")
        await mosquitto.start()
        async with reader(mosquitto, "alarm/+") as display:
            assert (await heard(display, 1))[0].payload == b""


async def test_final_state_and_emptying_of_an_alarm_both_arrive_when_connected(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one, reader(mosquitto, "alarm/+") as display:
        await one.connected()
        one.bus.publish("alarm/a1", b'{"condition":"gone"}', retain=True, qos=1, expiry_s=None)
        one.outlet.empty("alarm/a1")
        assert [message.payload for message in await heard(display, 2)] == [b'{"condition":"gone"}', b""]


async def test_command_arrives_with_its_verb(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one, reader(mosquitto) as nurse:
        await one.connected()
        await nurse.publish(f"pumpd/1/{STATION}/cmd/session.start", b"{}", qos=1)
        await one.until(lambda: one.commands)
    assert [command[:3] for command in one.commands] == [("session.start", b"{}", False)]


@pytest.mark.shows("S12")
async def test_retained_command_is_marked_and_its_topic_is_cleared(mosquitto: Mosquitto) -> None:
    async with reader(mosquitto) as sender:
        await sender.publish(f"pumpd/1/{STATION}/cmd/session.start", b"{}", qos=1, retain=True)
    async with daemon(mosquitto.url) as one:
        await one.connected()
        await one.until(lambda: one.commands)
    assert [command[:3] for command in one.commands] == [("session.start", b"{}", True)]
    async with reader(mosquitto, "cmd/+") as late:
        await late.publish(f"pumpd/1/{STATION}/cmd/marker", b"{}", qos=1)
        assert str((await heard(late, 1))[0].topic).endswith("cmd/marker")


async def test_what_an_earlier_process_left_behind_is_no_other_master(mosquitto: Mosquitto) -> None:
    left = {"state": "online", "boot_id": "boot-0", "host": "here", "started_ts": "2020-01-01T00:00:00.000Z"}
    async with reader(mosquitto) as sender:
        await sender.publish(f"pumpd/1/{STATION}/status", json.dumps(left), qos=1, retain=True)
        async with daemon(mosquitto.url) as one:
            await one.connected()
            await sender.publish(f"pumpd/1/{STATION}/cmd/snapshot", b"{}", qos=1)
            await one.until(lambda: one.commands)  # it comes behind all that was retained
            assert one.others == []


@pytest.mark.shows("H40")
async def test_events_on_their_way_when_the_broker_dies_are_sent_again(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGSTOP)
        for seq in range(5):
            one.event(seq)
        await asyncio.sleep(0)
        await mosquitto.kill()
        await one.disconnected()
        await mosquitto.start()
        async with reader(mosquitto, "event") as recorder:
            events = [json.loads(message.payload) for message in await heard(recorder, 5)]
    assert [(event["seq"], event["replayed"]) for event in events] == [(seq, True) for seq in range(5)]


async def test_more_than_the_socket_holds_arrives_once_the_broker_reads_again(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one, reader(mosquitto, "pump/+/telemetry") as display:
        await one.connected()
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGSTOP)
        for number in range(600):
            one.bus.publish(f"pump/p{number}/telemetry", b"x" * 60_000, retain=False, qos=0, expiry_s=None)
            await asyncio.sleep(0)
        assert one.bus.stats().outbox > 200
        mosquitto.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(WAIT_S):
            async for message in display.messages:
                if str(message.topic).endswith("p599/telemetry"):
                    break
        assert one.bus.stats().dropped == 0


async def test_answer_that_is_too_late_is_dropped_and_the_event_is_not(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        await mosquitto.kill()
        await one.disconnected()
        one.outlet.say("ack/old", Ack(id="old", verb="snapshot", state="done"))
        one.event(1)
        one.clock.later_s = 61.0
        one.outlet.say("ack/new", Ack(id="new", verb="snapshot", state="done"))
        await mosquitto.start()
        async with reader(mosquitto, "ack/+", "event") as console:
            seen = await heard_until(console, lambda topic, fields: topic == "ack/new")
    assert [topic for topic, _ in seen] == ["event", "ack/new"]


async def test_every_message_leaves_without_waiting_for_the_one_before(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        assert one.bus._client is not None
        line = one.bus._client._client.socket()
        assert isinstance(line, socket.socket)
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_own_late_will_is_answered_with_online_at_once(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        async with reader(mosquitto, "status") as other:
            await heard(other, 1)
            late = one.stamper.stamp("status", one.status("offline", "lost"))
            await other.publish(f"pumpd/1/{STATION}/status", late, qos=1, retain=True)
            states = [json.loads(message.payload)["state"] for message in await heard(other, 2)]
        assert states == ["offline", "online"]
        assert one.others == []


async def test_late_will_of_an_earlier_process_is_no_other_master(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        earlier = {"state": "offline", "boot_id": "boot-0", "started_ts": "2020-01-01T00:00:00.000Z"}
        async with reader(mosquitto, "status") as other:
            await heard(other, 1)
            await other.publish(f"pumpd/1/{STATION}/status", json.dumps(earlier), qos=1, retain=True)
            seen = [json.loads(message.payload) for message in await heard(other, 2)]
        assert (seen[1]["state"], seen[1]["boot_id"]) == ("online", "boot-a")
        assert one.others == []


@pytest.mark.shows("raised:second_station")
async def test_another_daemon_that_speaks_for_this_station_is_told_with_its_host(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        other = {"state": "online", "boot_id": "boot-b", "host": "there", "started_ts": "2020-01-01T00:00:00.000Z"}
        async with reader(mosquitto) as sender:
            await sender.publish(f"pumpd/1/{STATION}/status", json.dumps(other), qos=1, retain=True)
        await one.until(lambda: one.others)
    assert one.others == [OtherMaster("boot-b", "there", "2020-01-01T00:00:00.000Z")]


async def test_of_two_daemons_for_one_station_the_one_that_gives_way_leaves_the_bus_to_the_other(
    mosquitto: Mosquitto,
) -> None:
    async with daemon(mosquitto.url, gives_way=True) as first:
        await first.connected()
        async with daemon(mosquitto.url, boot_id="boot-b", started_s=1) as second:
            await second.connected()
            await first.until(lambda: any("another daemon" in detail for _, detail in first.states))
            assert {other.boot_id for other in first.others} == {"boot-b"}
            await second.until(lambda: second.bus.stats().connected)
            assert not first.bus.stats().connected


async def test_session_taken_over_as_newer_brokers_say_it_is_another_master(mosquitto: Mosquitto) -> None:
    relay = Relay(mosquitto.port)
    async with daemon(await relay.start(), gives_way=True) as one:
        await one.connected()
        relay.say(bytes([0xE0, 2, 142, 0]))  # DISCONNECT, MQTT 5 section 3.14
        await one.until(lambda: one.others)
        await one.disconnected()
    assert one.others == [OtherMaster(None, None, None)]
    await relay.stop()


async def test_stopped_broker_bounds_what_waits_and_gets_every_event_in_order_when_it_goes_on(
    mosquitto: Mosquitto,
) -> None:
    events_sent = 800  # mosquitto keeps at most 1000 for a reader that lags
    async with daemon(mosquitto.url) as one, reader(mosquitto, "event") as recorder:
        await one.connected()
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGSTOP)
        for seq in range(events_sent):
            one.event(seq)
            one.outlet.say("pump/left/telemetry", telemetry())
        assert one.bus.stats().outbox <= events_sent + 201
        mosquitto.process.send_signal(signal.SIGCONT)
        events = [json.loads(message.payload) for message in await heard(recorder, events_sent)]
    assert [event["seq"] for event in events] == list(range(events_sent))
    assert not any(event["replayed"] for event in events)


async def test_stop_comes_through_while_the_bus_is_saturated(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one, reader(mosquitto) as nurse:
        await one.connected()
        for seq in range(5000):
            one.event(seq)
        await nurse.publish(f"pumpd/1/{STATION}/cmd/session.stop", b"{}", qos=1)
        await one.until(lambda: one.commands)
        assert one.bus.stats().outbox > 0  # the flood was still on its way


async def test_death_of_the_broker_leaves_nothing_in_the_loops_exception_handler(mosquitto: Mosquitto) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    async with daemon(mosquitto.url) as one:
        await one.connected()
        for seq in range(500):
            one.event(seq)
        await mosquitto.kill()
        await one.disconnected()
    gc.collect()
    assert complaints == []


async def test_a_fault_in_a_hook_is_told_and_never_ends_the_keeper(mosquitto: Mosquitto) -> None:
    async with daemon(mosquitto.url) as one:
        await one.connected()
        one.birth_fails = True
        await mosquitto.kill()
        await mosquitto.start()
        await one.until(lambda: any("no such topic" in detail for _, detail in one.states))
        assert not one.running.done()


class Relay:
    """Between daemon and broker: can refuse MQTT 5 as older brokers do, and can put words into the broker's mouth."""

    def __init__(self, behind: int, refusal: bytes | None = None, refuses: bool = False) -> None:
        self.behind, self.refusal, self.refuses = behind, refusal, refuses
        self.versions: list[int] = []

    async def start(self) -> str:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"mqtt://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await lines.read(1024)
        self.versions.append(hello[hello.index(b"MQTT") + 4])
        if self.refuses and self.versions[-1] == 5:
            writer.write(self.refusal or b"")
        else:
            self.say = writer.write
            far_lines, far_writer = await asyncio.open_connection("127.0.0.1", self.behind)
            far_writer.write(hello)
            await asyncio.gather(self.copy(lines, far_writer), self.copy(far_lines, writer))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    @staticmethod
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(4096):
                sink.write(data)
            sink.close()
            await sink.wait_closed()

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(bytes([0x20, 3, 0, 132, 0]), id="rc 132 in the form of MQTT 5"),
        pytest.param(bytes([0x20, 2, 0, 1]), id="rc 1 in the form of 3.1.1"),
        pytest.param(None, id="closed without an answer"),
    ],
)
async def test_broker_without_mqtt_5_is_spoken_to_in_3_1_1(mosquitto: Mosquitto, refusal: bytes | None) -> None:
    old = Relay(mosquitto.port, refusal, refuses=True)
    url = await old.start()
    async with daemon(url) as one, reader(mosquitto, "status") as display:
        await one.connected()
        one.connection("ready")
        assert json.loads((await heard(display, 1))[0].payload)["state"] == "online"
        assert one.bus.stats().protocol == "3.1.1"
        assert old.versions == [5, 4]
    await old.stop()


async def test_command_during_the_birth_waits_for_its_end_but_a_stop_does_not(mosquitto: Mosquitto) -> None:
    async with reader(mosquitto) as nurse:
        for verb in ("session.start", "session.stop"):
            await nurse.publish(f"pumpd/1/{STATION}/cmd/{verb}", b"{}", qos=1, retain=True)
    one = Daemon(mosquitto.url)
    order: list[str] = []
    for seq in range(2000):
        one.event(seq)
    one.bus._hooks = Hooks(
        one.bus._hooks.announce,
        one.bus._hooks.birth,
        one.bus._hooks.farewell,
        lambda verb, *_: order.append(verb),
        lambda up, detail: (order.append("up"), one.note(one.states, (up, detail)))[1],
        one.other_master,
    )
    await one.connected()
    one.bus.stop()
    await one.running
    assert order == ["session.stop", "up", "session.start"]


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:1883", "mqtt://", "mqtt://h/path"])
def test_a_url_that_is_no_broker_is_refused_in_the_words_of_the_configuration(url: str) -> None:
    with pytest.raises(ValueError, match=r"bus\.url = .*expected mqtt://host"):
        broker_address(url)
