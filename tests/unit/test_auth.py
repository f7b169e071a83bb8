from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pumpd.messaging.auth import (
    Admitted,
    Arrived,
    Gate,
    Origin,
    Refused,
    Remembered,
    Repeated,
    accepted_verbs,
    is_loopback,
)
from pumpd.messaging.pace import BURST, PER_S, Pace
from pumpd.messaging.requests import STOPPING, VERBS

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LOOPBACK = "mqtt://127.0.0.1:1883"
ALL = tuple(VERBS)
ARGS = {"pump.stop": {"bed": "bed-1", "pump": "left"}, "rate.set": {"rate_ml_h": 1}, "alarm.ack": {"alarm_id": "a1"}}


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def arrived(
    verb: str = "session.start",
    *,
    number: int = 1,
    age_s: float = 0.0,
    ttl_ms: int = 5000,
    origin: Origin = Origin.BUS,
    retained: bool = False,
    at_wire: float = 100.0,
) -> Arrived:
    fields = {
        "id": uuid(number),
        "issued_ts": (NOW - timedelta(seconds=age_s)).isoformat(),
        "ttl_ms": ttl_ms,
        "actor": "n",
        "role": "nurse",
        "origin": "console",
        "bed": "bed-1",
        "args": ARGS.get(verb, {}),
    }
    return Arrived(verb, json.dumps(fields).encode(), origin, retained, at_wire)


def judged(gate: Gate, request: Arrived, now_wire: float = 100.0, now: datetime = NOW) -> object:
    return gate.judge(request, now_wire=now_wire, now_wall=now)


def reason(gate: Gate, request: Arrived, now_wire: float = 100.0) -> str | None:
    verdict = judged(gate, request, now_wire)
    return verdict.reason if isinstance(verdict, Refused) else None


@pytest.mark.shows("H41")
def test_without_configured_verbs_only_snapshot_passes() -> None:
    gate = Gate((), LOOPBACK)
    assert isinstance(judged(gate, arrived("snapshot")), Admitted)
    for number, verb in enumerate(("session.start", "session.stop", "pump.stop"), 2):
        assert reason(gate, arrived(verb, number=number)) == "not_allowed"
    assert "read-only" in gate.policy


@pytest.mark.shows("H26")
def test_any_configured_verb_brings_stop_and_pause_with_it() -> None:
    assert accepted_verbs(["alarm.ack"]) == STOPPING | {"alarm.ack", "snapshot"}
    assert accepted_verbs(["snapshot"]) == {"snapshot"}


def test_unknown_verb_in_the_configuration_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"unknown verb session\.strat; known verbs: .*session\.start"):
        accepted_verbs(["session.strat"])


@pytest.mark.shows("S12", "H64")
def test_retained_request_is_refused_whatever_its_verb() -> None:
    gate = Gate(ALL, LOOPBACK)
    for verb in ("session.start", "pump.stop", "session.stop"):
        verdict = judged(gate, arrived(verb, retained=True))
        assert verdict == Refused(uuid(1), "retained", "commands are never retained; the topic is cleared")


def test_retained_nonsense_is_retained_without_an_id() -> None:
    verdict = judged(Gate(ALL, LOOPBACK), Arrived("session.start", b"{", Origin.BUS, True, 100.0))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.request_id) == ("retained", None)


@pytest.mark.shows("S12", "H64", "within:CLOCKS_DIFFER_S", "beyond:CLOCKS_DIFFER_S")
@pytest.mark.parametrize(
    ("age_s", "ttl_ms", "refused"),
    [
        (0.0, 5000, None),
        (4.9, 5000, None),
        (5.1, 5000, "expired"),
        (5.1, 60_000, "expired"),  # beyond 5 s the clocks differ or it is too old: a longer ttl does not help
        (-4.9, 5000, None),
        (-5.1, 5000, "expired"),
        (0.9, 1000, None),
        (1.1, 1000, "expired"),
    ],
)
def test_freshness_of_an_order_by_its_issue_time(age_s: float, ttl_ms: int, refused: str | None) -> None:
    assert reason(Gate(ALL, LOOPBACK), arrived(age_s=age_s, ttl_ms=ttl_ms)) == refused


@pytest.mark.shows("S12", "H64")
def test_an_order_that_waited_in_our_house_expires_too() -> None:
    request = arrived(at_wire=90.0)
    assert reason(Gate(ALL, LOOPBACK), request, now_wire=94.9) is None
    assert reason(Gate(ALL, LOOPBACK), request, now_wire=95.1) == "expired"


@pytest.mark.shows("S5", "H26")
@pytest.mark.parametrize("verb", sorted(STOPPING))
@pytest.mark.parametrize("age_s", [-86_400.0, 3600.0])
def test_stop_and_pause_pass_however_wrong_the_senders_clock_is(verb: str, age_s: float) -> None:
    assert isinstance(judged(Gate(ALL, LOOPBACK), arrived(verb, age_s=age_s, ttl_ms=1)), Admitted)


@pytest.mark.shows("within:PUMP_STOP_MAX_AGE_S", "beyond:PUMP_STOP_MAX_AGE_S", "S12")
@pytest.mark.parametrize(("waited_s", "refused"), [(59.9, None), (60.1, "expired")])
def test_pump_stop_is_too_old_60_s_after_its_arrival(waited_s: float, refused: str | None) -> None:
    gate = Gate(ALL, LOOPBACK)
    assert reason(gate, arrived("pump.stop", at_wire=100.0), now_wire=100.0 + waited_s) == refused


def test_expired_is_a_state_of_its_own_and_the_rest_is_rejected() -> None:
    assert Refused(None, "expired", "").state == "expired"
    assert Refused(None, "malformed", "").state == "rejected"


@pytest.mark.shows("S12", "H64")
def test_the_same_id_has_no_second_effect_and_hears_the_answer_again() -> None:
    gate = Gate(ALL, LOOPBACK)
    assert isinstance(judged(gate, arrived()), Admitted)
    assert judged(gate, arrived()) == Repeated(uuid(1), None)
    gate.answered(uuid(1), b"done")
    assert judged(gate, arrived()) == Repeated(uuid(1), b"done")
    assert judged(gate, arrived("rate.set")) == Repeated(uuid(1), b"done")


@pytest.mark.shows("S5", "S12")
@pytest.mark.parametrize("restarted", [False, True])
def test_a_stop_with_an_id_that_something_else_used_is_carried_out_once(restarted: bool) -> None:
    """ "Done" to a snapshot would tell a nurse that the pump stands."""
    gate = Gate(ALL, LOOPBACK)
    judged(gate, arrived())
    gate.answered(uuid(1), b'{"verb":"session.start","state":"done"}')
    if restarted:
        before, gate = gate, Gate(ALL, LOOPBACK)
        gate.restore([replace(each, meant=None) for each in before.remembered()])
    assert isinstance(judged(gate, arrived("session.stop")), Admitted)
    gate.answered(uuid(1), b'{"verb":"session.stop","state":"done"}')
    assert judged(gate, arrived("session.stop")) == Repeated(uuid(1), b'{"verb":"session.stop","state":"done"}')


def test_a_replayed_id_is_known_even_when_it_has_expired() -> None:
    gate = Gate(ALL, LOOPBACK)
    assert reason(gate, arrived(age_s=10)) == "expired"
    gate.answered(uuid(1), b"expired")
    assert judged(gate, arrived(age_s=10)) == Repeated(uuid(1), b"expired")


@pytest.mark.shows("S12", "H64")
def test_ids_are_remembered_across_a_restart() -> None:
    first = Gate(ALL, LOOPBACK)
    judged(first, arrived())
    first.answered(uuid(1), b"done")
    second = Gate(ALL, LOOPBACK)
    second.restore(first.remembered())
    assert judged(second, arrived()) == Repeated(uuid(1), b"done")


@pytest.mark.shows("within:MEMORY_S", "beyond:MEMORY_S")
@pytest.mark.parametrize(("hours", "known"), [(23.9, True), (24.1, False)])
def test_ids_are_remembered_for_a_day(hours: float, known: bool) -> None:
    gate = Gate(ALL, LOOPBACK)
    gate.restore([Remembered(uuid(1), (NOW - timedelta(hours=hours)).timestamp())])
    judged(gate, arrived("snapshot", number=2))
    assert (uuid(1) in {item.request_id for item in gate.remembered()}) is known


def test_memory_is_bounded_and_the_oldest_id_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpd.messaging.auth.MEMORY_MAX", 3)
    gate = Gate(ALL, LOOPBACK)
    for number in range(5):
        judged(gate, arrived("snapshot", number=number))
    assert [item.request_id for item in gate.remembered()] == [uuid(2), uuid(3), uuid(4)]


def test_a_malformed_request_leaves_no_trace_in_the_memory() -> None:
    gate = Gate(ALL, LOOPBACK)
    assert reason(gate, Arrived("session.start", b"{}", Origin.BUS, False, 100.0)) == "malformed"
    assert gate.remembered() == []


def test_a_refused_verb_leaves_no_trace_either() -> None:
    gate = Gate((), LOOPBACK)
    judged(gate, arrived())
    assert gate.remembered() == []


@pytest.mark.shows("S12", "H41", "H43")
def test_a_broker_beyond_loopback_makes_the_bus_read_only_but_not_the_local_socket() -> None:
    gate = Gate(ALL, "mqtt://10.0.0.5:1883")
    assert gate.read_only
    for number, verb in enumerate(("session.start", "session.stop", "pump.stop"), 1):
        verdict = judged(gate, arrived(verb, number=number))
        assert isinstance(verdict, Refused)
        assert "read-only" in verdict.text
    assert isinstance(judged(gate, arrived("snapshot", number=8)), Admitted)
    assert isinstance(judged(gate, arrived("session.start", number=9, origin=Origin.LOCAL)), Admitted)


@pytest.mark.shows("S13", "H26")
@pytest.mark.parametrize("verb", ["session.stop", "session.pause", "pump.stop", "alarm.ack", "snapshot"])
def test_local_socket_can_always_stop_pause_and_acknowledge(verb: str) -> None:
    assert isinstance(judged(Gate((), LOOPBACK), arrived(verb, origin=Origin.LOCAL)), Admitted)


@pytest.mark.shows("H41")
def test_local_socket_starts_nothing_that_is_not_configured() -> None:
    assert reason(Gate((), LOOPBACK), arrived("session.start", origin=Origin.LOCAL)) == "not_allowed"


@pytest.mark.shows("S12")
@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("embedded", True),
        ("mqtt://127.0.0.1:1883", True),
        ("mqtt://127.8.8.8", True),
        ("mqtt://[::1]:1883", True),
        ("mqtt://localhost", True),
        ("mqtt://10.0.0.5", False),
        ("mqtt://broker.ward", False),
        ("mqtt://localhost.ward", False),
        ("mqtt://0.0.0.0", False),
        ("mqtt://", False),
    ],
)
def test_loopback_is_this_machine_alone(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


# --- a sender gone mad ---


def flooded(gate: Gate, origin: Origin = Origin.BUS) -> Gate:
    for number in range(BURST):
        assert not isinstance(judged(gate, arrived("snapshot", number=number, origin=origin)), Refused)
    return gate


@pytest.mark.shows("within:BURST", "beyond:BURST", "S12")
def test_more_requests_than_anybody_needs_are_turned_away_and_leave_no_trace() -> None:
    gate = flooded(Gate(ALL, LOOPBACK))
    verdict = judged(gate, arrived("snapshot", number=BURST))
    assert isinstance(verdict, Refused)
    assert (verdict.request_id, verdict.reason, verdict.flood) == (uuid(BURST), "busy", True)
    assert uuid(BURST) not in {item.request_id for item in gate.remembered()}


@pytest.mark.shows("S5")
@pytest.mark.parametrize("verb", sorted(STOPPING))
def test_what_stops_passes_through_any_flood(verb: str) -> None:
    assert isinstance(judged(flooded(Gate(ALL, LOOPBACK)), arrived(verb, number=BURST)), Admitted)


@pytest.mark.shows("S13")
def test_a_flood_on_the_bus_does_not_silence_the_bedside() -> None:
    gate = flooded(Gate(ALL, LOOPBACK))
    assert isinstance(judged(gate, arrived("alarm.ack", number=BURST, origin=Origin.LOCAL)), Admitted)


@pytest.mark.shows("within:PER_S", "beyond:PER_S", "S12")
def test_after_a_flood_as_many_pass_as_seconds_allow() -> None:
    gate = flooded(Gate(ALL, LOOPBACK))
    later = 100.0 + 3.5 / PER_S
    verdicts = [judged(gate, arrived("snapshot", number=BURST + n, at_wire=later), later) for n in range(5)]
    assert [isinstance(verdict, Admitted) for verdict in verdicts] == [True, True, True, False, False]


def test_a_long_rest_allows_one_burst_and_no_more() -> None:
    pace = Pace()
    assert sum(pace.allows(1e6) for _ in range(3 * BURST)) == BURST
