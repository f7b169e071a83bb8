from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pumpd.messaging.messages import Event, Stamper, Status
from pumpd.messaging.outbox import CROWDED, RECORDS_MAX, Outbox, Parcel
from pumpd.messaging.outlet import Outlet


def state(topic: str, payload: bytes = b"") -> Parcel:
    return Parcel(topic, payload, retain=True, qos=1, expiry_s=30, replayable=False, queued=0.0)


def sample(topic: str, payload: bytes = b"") -> Parcel:
    return Parcel(topic, payload, retain=False, qos=0, expiry_s=5, replayable=False, queued=0.0)


def record(number: int) -> Parcel:
    return Parcel("event", b"%d" % number, retain=False, qos=1, expiry_s=None, replayable=True, queued=0.0)


def live() -> Outbox:
    box = Outbox()
    box.live = True
    return box


def emptied(box: Outbox) -> list[Parcel]:
    taken = []
    while (parcel := box.take()) is not None:
        taken.append(parcel)
    return taken


def payloads(parcels: list[Parcel]) -> list[bytes]:
    return [parcel.payload for parcel in parcels]


def test_state_goes_before_samples_before_records() -> None:
    box = live()
    for parcel in (record(1), sample("t", b"sample"), state("s", b"state")):
        box.put(parcel)
    assert payloads(emptied(box)) == [b"state", b"sample", b"1"]


def test_while_away_the_latest_state_wins_and_samples_are_dropped_and_records_wait() -> None:
    box = Outbox()
    for parcel in (state("a", b"1"), state("b", b"2"), state("a", b"3"), sample("t"), record(1), record(2)):
        box.put(parcel)
    assert payloads(emptied(box)) == [b"2", b"3", b"1", b"2"]
    assert box.dropped == 1


def test_while_live_every_state_is_sent_until_it_is_crowded() -> None:
    box = live()
    for number in range(CROWDED + 500):
        box.put(state("a", b"%d" % number))
    assert len(box) < CROWDED
    assert payloads(emptied(box))[-1] == b"%d" % (CROWDED + 499)
    box.put(state("a", b"final"))
    box.put(state("a", b""))
    assert payloads(emptied(box)) == [b"final", b""]


def test_a_sample_that_was_not_sent_gives_way_to_the_next() -> None:
    box = live()
    for number in range(3):
        box.put(sample("t", b"%d" % number))
    assert payloads(emptied(box)) == [b"2"]
    assert box.dropped == 2


def test_lost_connection_puts_what_was_on_its_way_back_in_front() -> None:
    box = live()
    for number in (1, 2, 3, 4):
        box.put(record(number))
    flying = [box.take(), box.take()]
    box.put(state("s", b"old"))
    flying.append(box.take())
    box.lost([parcel for parcel in flying if parcel is not None])
    box.put(state("s", b"new"))
    taken = emptied(box)
    assert payloads(taken) == [b"new", b"1", b"2", b"3", b"4"]
    assert [parcel.late for parcel in taken] == [False, True, True, True, True]
    assert box.late == 0


def test_samples_on_their_way_are_counted_when_the_connection_is_lost() -> None:
    box = live()
    box.put(sample("a"))
    flying = box.take()
    assert flying is not None
    box.put(sample("b"))
    box.lost([flying])
    assert (box.dropped, len(box)) == (2, 0)


def test_records_are_bounded_and_the_oldest_give_way() -> None:
    box = Outbox()
    for number in range(RECORDS_MAX + 5):
        box.put(record(number))
    assert (len(box), box.dropped, box.late) == (RECORDS_MAX, 5, RECORDS_MAX)
    first = box.take()
    assert first is not None
    assert first.payload == b"5"


def test_birth_goes_before_what_waited_and_replaces_it() -> None:
    box = Outbox()
    box.put(state("alarm/a1", b""))
    box.put(state("alarms", b"old"))
    waiting = box.set_aside()
    box.put(state("status", b"online"))
    box.put(state("alarms", b"new"))
    box.put_behind(waiting)
    assert payloads(emptied(box)) == [b"online", b"new", b""]


class Notes:
    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: bytes, **how: Any) -> None:
        self.taken.append((topic, {"payload": payload, **how}))


class Clock:
    boot_id = "machine"

    def wire(self) -> float:
        return 1.0

    def wall(self) -> datetime:
        return datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def outlet() -> Outlet:
    return Outlet(Stamper("ward3", "b1", Clock(), simulated=True), [Notes(), Notes()])


def test_every_sink_gets_the_same_bytes_and_how_they_travel(outlet: Outlet) -> None:
    outlet.say(
        "event",
        Event(seq=1, type="t", bed=None, source=None, session_id=None, actor=None, data={}, prev_hash="", hash=""),
    )
    one, two = (sink.taken for sink in outlet.sinks if isinstance(sink, Notes))
    assert one == two
    topic, how = one[0]
    assert topic == "event"
    assert {name: how[name] for name in ("retain", "qos", "expiry_s", "replayable")} == {
        "retain": False,
        "qos": 1,
        "expiry_s": None,
        "replayable": True,
    }


@pytest.mark.parametrize(("state_word", "expiry_s"), [("online", 30), ("offline", None)])
def test_only_online_expires(outlet: Outlet, state_word: Any, expiry_s: int | None) -> None:
    outlet.say("status", Status(state=state_word, started_ts=Clock().wall(), host="h"))
    sink = outlet.sinks[0]
    assert isinstance(sink, Notes)
    assert sink.taken[0][1]["expiry_s"] == expiry_s


def test_emptying_a_topic_is_a_retained_empty_message(outlet: Outlet) -> None:
    outlet.empty("alarm/a1")
    sink = outlet.sinks[0]
    assert isinstance(sink, Notes)
    assert (sink.taken[0][1]["payload"], sink.taken[0][1]["retain"]) == (b"", True)


def test_a_topic_the_contract_does_not_know_is_refused(outlet: Outlet) -> None:
    with pytest.raises(KeyError, match="not in the table"):
        outlet.say("status/extra", Status(state="online", started_ts=Clock().wall(), host="h"))
