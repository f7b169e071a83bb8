"""The whole daemon against a real broker, a real socket and a pump on a real port."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import pytest
from brokers import Mosquitto

from pumpd.bedside import bed as bed_module
from pumpd.messaging.local import LocalClient
from pumpd.messaging.messages import TOPICS, matches
from tests.port.station import body, mosquitto_sub, station
from tests.scenario.test_islands import Poison

pytestmark = pytest.mark.timeout(90)


@pytest.mark.shows("H39", "H40", "H56")
async def test_mosquitto_sub_sees_every_topic_during_a_session(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with (
        mosquitto_sub(mosquitto.url, "pumpd/1/#") as seen,
        station(tmp_path, mosquitto.url, speed=200) as (nurse, pump),
    ):
        await nurse.start_session()
        await nurse.until(lambda: "pumpd/1/test/heartbeat" in seen)
        pump.control({"do": "set_rate", "ml_h": 60.0})
        await nurse.until(lambda: any("/alarm/" in topic for topic in seen))
        bed = nurse.bed
        await nurse.until(lambda: bed.state.phase.value in ("ended", "aborted"), 40)
        await nurse.until(lambda: "pumpd/1/test/health" in seen)
        command = {
            "id": str(uuid.uuid4()),
            "issued_ts": now(),
            "ttl_ms": 5000,
            "actor": "d",
            "role": "r",
            "origin": "o",
        }
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as display:
            await display.publish("pumpd/1/test/cmd/snapshot", json.dumps(command))
            await nurse.until(lambda: f"pumpd/1/test/ack/{command['id']}" in seen)
        said = [topic.removeprefix("pumpd/1/test/") for topic in seen]
        missing = [row.pattern for row in TOPICS if not any(matches(row.filter, topic) for topic in said)]
        assert missing == []
        for topic, payloads in seen.items():
            if "/cmd/" in topic:
                continue
            for payload in filter(None, payloads):
                fields = body(payload)
                assert fields["station"] == "test"
                assert fields["simulated"] is True
        events = [body(raw) for raw in seen["pumpd/1/test/event"]]
        assert all("p-1" not in json.dumps(event) for event in events), "the patient's pseudonym stays off the bus"
    assert body(seen["pumpd/1/test/status"][-1])["state"] == "offline"
    assert body(seen["pumpd/1/test/status"][-1])["reason"] == "shutdown"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.shows("S13", "H22", "H42")
async def test_with_the_broker_dead_stop_ack_and_status_work_and_it_sounds(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    rung = tmp_path / "rung"
    sounder = f"""kind = "command"\ncommand = ["sh", "-c", "echo {{priority}} >> {rung}"]"""
    async with station(tmp_path, mosquitto.url, annunciator=sounder) as (nurse, pump):
        await nurse.start_session()
        await mosquitto.kill()
        pump.control({"do": "set_rate", "ml_h": 60.0})
        bed = nurse.bed
        await nurse.until(lambda: any(alarm.code == "rate_above_plan" for alarm in bed.alarms.board.alarms))
        await nurse.until(lambda: rung.exists() and "high" in rung.read_text())
        alarm = next(alarm for alarm in bed.alarms.board.alarms if alarm.code == "rate_above_plan")
        assert (await nurse.order("alarm.ack", alarm_id=alarm.alarm_id))["state"] == "done"
        assert bed.alarms.board.sounding is None
        assert bed.state.phase.value == "running", "supervision goes on"
        stopped = await nurse.order("pump.stop")
        assert stopped["state"] == "done", stopped
        assert not pump.truth()["infusing"]
        async with LocalClient(nurse.station.config.socket) as client:
            async for topic, shown in client.subscribe("pump/one-pump/session"):
                assert topic == "pump/one-pump/session"
                assert shown is not None
                assert shown["phase"] in ("ending", "observing", "aborted")
                break


@pytest.mark.shows("H13", "H42")
async def test_the_broker_comes_back_and_is_told_everything_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with station(tmp_path, mosquitto.url) as (nurse, _):
        await nurse.start_session()
        await mosquitto.kill()
        await asyncio.sleep(1.0)
        await mosquitto.start()
        async with mosquitto_sub(mosquitto.url, "pumpd/1/#") as seen:
            wanted = {"status", "info", "pump/one-pump/description", "pump/one-pump/session", "alarms"}
            await nurse.until(lambda: wanted <= {topic.removeprefix("pumpd/1/test/") for topic in seen}, 20)
            assert body(seen["pumpd/1/test/pump/one-pump/session"][-1])["phase"] == "running"
        assert (await nurse.order("session.stop"))["state"] == "done"


@pytest.mark.shows("S12", "H64")
async def test_bad_commands_are_refused_with_a_reason_and_the_daemon_goes_on(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with (
        station(tmp_path, mosquitto.url) as (nurse, _),
        mosquitto_sub(mosquitto.url, "pumpd/1/test/ack/#") as seen,
    ):
        await nurse.start_session()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as sender:
            await sender.publish("pumpd/1/test/cmd/session.pause", b"{")
            await sender.publish("pumpd/1/test/cmd/fly", b"{}")
            for name, change, reason in (
                ("expired", {"issued_ts": "2020-01-01T00:00:00Z"}, "expired"),
                ("wrong session", {"session_id": "nobody"}, "wrong_session"),
                ("unknown field", {"hurry": True}, "malformed"),
                ("stale revision", {"expected_revision": 0}, "stale_revision"),
                ("wrong phase", {}, "wrong_phase"),
            ):
                command = {
                    "id": str(uuid.uuid4()),
                    "issued_ts": now(),
                    "ttl_ms": 5000,
                    "actor": "display-1",
                    "role": "nurse",
                    "origin": "bus",
                    "bed": "one",
                    "session_id": nurse.bed.state.session_id,
                    "args": {},
                    **change,
                }
                await sender.publish("pumpd/1/test/cmd/session.resume", json.dumps(command))
                topic = f"pumpd/1/test/ack/{command['id']}"
                await nurse.until(lambda topic=topic: topic in seen)
                answer = body(seen[topic][-1])
                assert answer["reason"] == reason, (name, answer)
                assert answer["text"]
            retained = {"id": str(uuid.uuid4())}
            await sender.publish("pumpd/1/test/cmd/session.stop", json.dumps(retained), retain=True)
            # all but the wrong phase, which stands in its own row: two broken, four of the five above, one retained
            await nurse.until(lambda: sum(row.kind == "Refused" for row in nurse.station.journal.rows()) == 7)
        assert nurse.bed.state.phase.value == "running"


@pytest.mark.shows("S12", "H64")
async def test_a_duplicate_has_no_second_effect_and_gets_the_first_answer(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with (
        station(tmp_path, mosquitto.url) as (nurse, pump),
        mosquitto_sub(mosquitto.url, "pumpd/1/test/ack/#") as seen,
    ):
        await nurse.start_session()
        command = {
            "id": str(uuid.uuid4()),
            "issued_ts": now(),
            "ttl_ms": 5000,
            "actor": "display-1",
            "role": "nurse",
            "origin": "bus",
            "bed": "one",
            "session_id": nurse.bed.state.session_id,
            "args": {},
        }
        topic = f"pumpd/1/test/ack/{command['id']}"
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as sender:
            await sender.publish("pumpd/1/test/cmd/session.pause", json.dumps(command), qos=1)
            await nurse.until(lambda: topic in seen and body(seen[topic][-1])["state"] == "done")
            await nurse.until(lambda: nurse.bed.state.pending is None)
            assert (await nurse.order("session.resume", confirm=True))["state"] == "done"
            await sender.publish("pumpd/1/test/cmd/session.pause", json.dumps(command), qos=1)
            first = len(seen[topic])
            await nurse.until(lambda: len(seen[topic]) > first)
        assert body(seen[topic][-1])["state"] == "done"
        assert nurse.bed.state.phase.value == "running"
        assert pump.truth()["infusing"]


async def test_told_to_go_while_infusing_it_stops_the_pump_first(tmp_path: Path) -> None:
    async with station(tmp_path, "none") as (nurse, pump):
        await nurse.start_session()
        assert pump.truth()["infusing"]
    assert not pump.truth()["infusing"]


@pytest.mark.shows("S5", "S16")
async def test_told_to_go_while_only_watching_a_stop_that_was_ordered_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(tmp_path, "none") as (nurse, pump):
        await nurse.start_session()
        poison = Poison(nurse.bed.state.session_id, "raises")
        monkeypatch.setattr(bed_module, "decide", poison)
        poison.active = True
        await nurse.until(lambda: nurse.bed.monitor_only)
        await nurse.until(lambda: nurse.bed.state.report is not None)
        pump.control({"do": "press", "key": "run"})
        assert pump.truth()["infusing"]
        pump.control({"do": "mute"})
        pump.control({"do": "fault", "kind": "deaf"})
        ordered = asyncio.create_task(nurse.order("session.stop"))
        await nurse.until(lambda: nurse.bed.onlooker.stopping)
        asyncio.get_running_loop().call_later(1.5, pump.control, {"do": "clear_faults"})
    ordered.cancel()
    assert not pump.truth()["infusing"]


async def test_with_a_wire_log_every_byte_of_the_line_stands_in_its_file(tmp_path: Path) -> None:
    async with station(tmp_path, "none", speed=200, pump='trace = "wire.log"\n') as (nurse, _pump):
        await nurse.start_session()
    lines = (tmp_path / "data" / "wire.log").read_text().splitlines()
    assert lines[0].startswith("# begun 20")
    assert lines[1] == "# opened"
    said = [line.split(" > ")[1] for line in lines if " > " in line]
    assert sum("RUN" in line for line in said) == 1
    assert any("STP" in line for line in said), "shutting down stops the pump, and that is in the file, too"
    assert sum(" < " in line for line in lines) >= len(said) / 2
