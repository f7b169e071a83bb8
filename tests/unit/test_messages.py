from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pumpd.messaging import messages
from pumpd.messaging.encode import NotJson, from_json, timestamp, to_json
from pumpd.messaging.messages import (
    MAX_MESSAGE_BYTES,
    TOPICS,
    Ack,
    Alarm,
    Connection,
    Event,
    Oversized,
    Stamper,
    Telemetry,
    alarm_list,
    as_replayed,
    matches,
    rule,
)
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import TEXT_MAX, VERBS, Rejected, needs_bed, parse_request

NOON = datetime(2026, 1, 31, 12, 0, 0, 999_900, tzinfo=UTC)
CONTAINER = {"kind": "syringe", "make": "BD", "size_ml": 50, "diameter_mm": "26.7", "fill_ml": 40}
PLAN = {
    "patient_ref": "p-17",
    "drug": "ketamine",
    "weight": {"value": 70.1, "unit": "kg"},
    "weight_again": {"value": "154.5", "unit": "lb", "by": "Dr. A", "at": "2026-01-31T09:00:00Z"},
    "dose_mg_per_kg": "0.5",
    "preparation": {"drug_mg": 50, "final_ml": 50},
    "concentration_mg_ml": 1,
    "container": CONTAINER,
    "checks": {
        "person": {"age_years": 41, "sex": "female"},
        "liver": {"result": "normal", "at": "2026-01-20T08:00:00Z"},
        "other_drugs": {"result": "checked", "classes": ["lamotrigine"]},
        "psychiatric": {"result": "done", "by": "Dr. B"},
        "vitals": {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": "not measured"},
        "course": {"session_number": "unknown", "days_since_last": 3},
    },
}
VITALS = {"sbp_mmhg": 124, "dbp_mmhg": 78, "hr_bpm": 71, "spo2_pct": 98}


def without(name: str) -> dict[str, object]:
    return {each: value for each, value in PLAN.items() if each != name}


def checked(**changes: object) -> dict[str, object]:
    """The plan with other answers; `...` leaves a group out."""
    groups = {**PLAN["checks"], **changes}  # type: ignore[dict-item]
    return PLAN | {"checks": {name: group for name, group in groups.items() if group is not ...}}


ARGS: dict[str, dict[str, object]] = {
    "session.plan": PLAN,
    "session.arm": {"patient_ref": "p-17", "checklist": ["air-purged"]},
    "session.resume": {"mode": "recalculate", "pressure_released": True},
    "session.container": {"container": CONTAINER},
    "pump.stop": {"bed": "bed-1", "pump": "left"},
    "rate.set": {"rate_ml_h": 40.1},
    "alarm.ack": {"alarm_id": "a1"},
    "alarm.reset": {"alarm_id": "a1"},
    "alarm.inactivate": {"alarm_id": "a1", "state": "audio-paused", "seconds": 60},
    "audio.pause": {"seconds": 120},
}


class Clock:
    boot_id = "machine"

    def wire(self) -> float:
        return 12.3456

    def wall(self) -> datetime:
        return NOON


def stamper(simulated: bool = False) -> Stamper:
    return Stamper("ward3", "ab" * 16, Clock(), simulated=simulated)


def telemetry(**changes: object) -> Telemetry:
    fields: dict[str, object] = {
        "pump": "left",
        "session_id": "s1",
        "state": "infusing",
        "control": "remote",
        "rate_plan_ml_h": Decimal("40.1"),
        "rate_set_ml_h": Decimal("40.10"),
        "rate_read_ml_h": Decimal("4E+1"),
        "volume_plan_ml": Decimal("0.000001"),
        "volume_pump_ml": None,
        "volume_integrated_ml": Decimal("-0.5"),
        "deviation_ml": None,
        "elapsed_s": 12.34567,
        "remaining_s": 2600.0,
        "remaining_origin": "plan",
        "pressure_kpa": None,
        "battery_pct": 99,
        "rx_age_ms": 12,
        "quality": {"volume_pump_ml": "unavailable"},
    }
    return Telemetry.model_validate(fields | changes)


def alarm(number: int, priority: messages.Priority, text: str = "t") -> Alarm:
    return Alarm(
        alarm_id=f"a{number}",
        bed="bed-1",
        source="left",
        session_id=None,
        code="link_lost",
        kind="technical",
        priority=priority,
        condition="present",
        latched=True,
        first_ts=NOON,
        last_ts=NOON,
        count=1,
        acked_by=None,
        acked_ts=None,
        inactivation="enabled",
        inactivated_by=None,
        until=None,
        text_key="k",
        text=text,
        action_key=None,
        values={},
    )


def request(verb: str = "session.start", **changes: object) -> bytes:
    fields: dict[str, object] = {
        "id": "0e0e0e0e-0000-4000-8000-000000000001",
        "issued_ts": "2026-01-31T09:30:00.000Z",
        "ttl_ms": 5000,
        "actor": "n.meier",
        "role": "nurse",
        "origin": "console-2",
        "bed": "bed-1",
        "args": ARGS.get(verb, {}),
    }
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not ...}).encode()


def refusal(verb: str, payload: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse_request(verb, payload)
    return caught.value


# --- out ------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("H34", "H39")
def test_telemetry_carries_the_envelope_then_its_fields_with_decimals_as_they_were_rounded() -> None:
    raw = stamper().stamp("pump/left/telemetry", telemetry())
    assert raw.startswith(
        b'{"schema":"pumpd.telemetry/1","station":"ward3","boot_id":"' + b"ab" * 16 + b'","seq":1,'
        b'"ts":"2026-01-31T12:00:00.999Z","mono_ms":12345,"valid_for_ms":5000,"simulated":false,"pump":"left",'
    )
    for written in (b'"rate_set_ml_h":40.10,', b'"rate_read_ml_h":40,', b'"volume_plan_ml":0.000001,'):
        assert written in raw
    assert b'"volume_pump_ml":null' in raw
    assert b'"elapsed_s":12.346' in raw


def test_what_is_stamped_by_hand_passes_the_model_it_was_made_from() -> None:
    fields = from_json(stamper().stamp("pump/left/telemetry", telemetry()))
    assert isinstance(fields, dict)
    body = {name: value for name, value in fields.items() if name in Telemetry.model_fields}
    for name in ("rate_read_ml_h",):
        body[name] = Decimal(body[name])  # a whole number is an int in JSON
    for name in ("elapsed_s", "remaining_s"):
        body[name] = float(body[name])
    assert Telemetry.model_validate(body) == telemetry(elapsed_s=12.346)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_our_json_is_read_back_equal_by_a_reader_with_decimals(value: Any) -> None:
    assert from_json(to_json(value).encode()) == value
    assert "\n" not in to_json(value)


def test_an_absurd_exponent_does_not_become_a_long_text() -> None:
    assert to_json(Decimal("1E+999999999")) == "1E+999999999"
    assert to_json(Decimal("1E-7")) == "0.0000001"


@pytest.mark.shows("H23")
def test_seq_counts_per_topic_and_starts_at_one() -> None:
    one = stamper()
    topics = ["pump/left/telemetry", "pump/left/telemetry", "pump/right/telemetry"]
    assert [json.loads(one.stamp(topic, telemetry()))["seq"] for topic in topics] == [1, 2, 1]


@pytest.mark.shows("S14")
def test_simulated_and_laboratory_marks_are_in_the_envelope() -> None:
    marked = json.loads(stamper(simulated=True).stamp("pump/left/telemetry", telemetry(), laboratory=True))
    real = json.loads(stamper(simulated=True).stamp("pump/left/telemetry", telemetry(), simulated=False))
    assert (marked["simulated"], marked["laboratory"]) == (True, True)
    assert (real["simulated"], "laboratory" in real) == (False, False)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), 40.1, "40.1", 40])
def test_a_volume_that_is_no_finite_decimal_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        telemetry(rate_read_ml_h=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN")])
def test_nan_and_infinity_never_leave(value: object) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        to_json({"x": [value]})


def test_unknown_field_or_state_of_our_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="rate_ml_hr"):
        telemetry(rate_ml_hr=Decimal(1))
    with pytest.raises(ValidationError, match="state"):
        telemetry(state="flying")


def test_a_message_beyond_16_kib_is_refused_with_its_size() -> None:
    far = Connection(pump="left", state="lost", since=NOON, last_rx=None, detail="x" * MAX_MESSAGE_BYTES)
    with pytest.raises(Oversized, match=r"pump/left/connection: \d+ bytes"):
        stamper().stamp("pump/left/connection", far)


def test_a_body_on_the_wrong_topic_is_refused() -> None:
    with pytest.raises(TypeError, match="heartbeat does not carry Telemetry"):
        stamper().stamp("heartbeat", telemetry())


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        timestamp(NOON.replace(tzinfo=None))


def test_event_carries_the_seq_of_the_journal_and_is_marked_when_replayed() -> None:
    event = Event(seq=41, type="t", bed="b", source=None, session_id=None, actor=None, data={}, prev_hash="", hash="h")
    raw = stamper().stamp("event", event)
    assert raw.count(b'"seq"') == 1
    assert json.loads(raw)["seq"] == 41
    assert json.loads(as_replayed(raw)) == json.loads(raw) | {"replayed": True}


@pytest.mark.shows("H56")
def test_patient_reference_never_reaches_an_event() -> None:
    data = {"plan": [{"patient_ref": "p-17", "drug": "ketamine"}], "patient_ref": "p-17"}
    event = Event(seq=1, type="t", bed="b", source=None, session_id=None, actor=None, data=data, prev_hash="", hash="")
    raw = stamper().stamp("event", event)
    assert b"p-17" not in raw
    assert b"ketamine" in raw


@pytest.mark.shows("H21", "H23")
def test_alarm_list_begins_with_the_highest_priority() -> None:
    listed = alarm_list(7, (alarm(1, "low"), alarm(2, "high"), alarm(3, "medium")), None, None)
    assert [one.alarm_id for one in listed.active] == ["a2", "a3", "a1"]
    assert (listed.highest, listed.omitted, alarm_list(8, (), None, None).highest) == ("high", 0, None)


def test_alarm_list_that_is_too_long_keeps_the_high_ones_and_counts_the_rest() -> None:
    many = tuple(alarm(number, "high" if number > 95 else "low", "ü" * 200) for number in range(100))
    listed = alarm_list(1, many, None, None)
    raw = stamper().stamp("alarms", listed)
    assert len(raw) <= MAX_MESSAGE_BYTES
    assert [one.priority for one in listed.active[:4]] == ["high"] * 4
    assert len(listed.active) + listed.omitted == 100


def test_stamper_forgets_the_topic_of_an_answered_request() -> None:
    one = stamper()
    for state in ("accepted", "done"):
        one.stamp("ack/x", Ack(id="x", verb="snapshot", state=state))
    assert "ack/x" not in one._seq


def test_final_states_of_an_answer_are_those_after_which_nothing_follows() -> None:
    states = get_args(Ack.model_fields["state"].annotation)
    final = [state for state in states if Ack(id="x", verb="snapshot", state=state).final]
    assert final == ["done", "done_modified", "failed", "rejected", "expired"]


# --- topics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic_filter", "topic", "taken"),
    [
        ("#", "a/b", True),
        ("pump/+/telemetry", "pump/left/telemetry", True),
        ("pump/+/telemetry", "pump/left/session", False),
        ("pump/+", "pump/left/session", False),
        ("pump/+/session", "pump/left", False),
        ("pump/#", "pump/left/session", True),
        ("alarms", "alarm/a1", False),
    ],
)
def test_filter_takes(topic_filter: str, topic: str, taken: bool) -> None:
    assert matches(topic_filter, topic) is taken


def test_table_of_topics_is_the_one_of_the_contract() -> None:
    travels = {row.pattern: (row.retained, row.qos, row.expiry_s) for row in TOPICS}
    assert travels["status"] == (True, 1, 30)
    assert travels["pump/<pump>/telemetry"] == (False, 0, 5)
    assert travels["alarm/<alarm-id>"] == (True, 1, None)
    assert rule("alarm/a1").pattern == "alarm/<alarm-id>"
    with pytest.raises(KeyError, match="not in the table"):
        rule("pump/left/unheard-of")


def test_every_schema_can_be_exported_and_names_its_fields() -> None:
    exported = messages.schemas()
    assert exported["pumpd.telemetry/1"]["properties"].keys() == Telemetry.model_fields.keys()
    assert len(exported) == len([row for row in TOPICS if row.body is not None])


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_read(verb: str) -> None:
    read = parse_request(verb, request(verb))
    assert type(read.args) is VERBS[verb]
    assert (read.verb, read.issued_ts) == (verb, datetime(2026, 1, 31, 9, 30, tzinfo=UTC))


@pytest.mark.parametrize("verb", [verb for verb in VERBS if needs_bed(verb)])
def test_a_verb_that_acts_on_a_bed_must_name_it(verb: str) -> None:
    refused = refusal(verb, request(verb, bed=...))
    assert (refused.reason, refused.text) == ("malformed", "bed: missing; the command must name its bed")


def test_numbers_are_exact_whether_written_as_number_or_as_text() -> None:
    plan = parse_request("session.plan", request("session.plan")).args
    assert isinstance(plan, PlanArgs)
    assert (plan.weight.value, plan.dose_mg_per_kg, plan.duration_min) == (Decimal("70.1"), Decimal("0.5"), Decimal(45))
    assert str(plan.weight.value) == "70.1"  # a float would have brought 70.0999...


@pytest.mark.shows("H58")
@pytest.mark.parametrize(
    ("verb", "args", "text"),
    [
        ("rate.set", {"rate_ml_hr": 1}, "args.rate_ml_hr: unknown field; known fields: rate_ml_h"),
        ("rate.set", {}, "args.rate_ml_h: missing"),
        ("rate.set", {"rate_ml_h": 0}, "args.rate_ml_h: Input should be greater than 0"),
        ("rate.set", {"rate_ml_h": -1}, "args.rate_ml_h: Input should be greater than 0"),
        ("rate.set", {"rate_ml_h": True}, "args.rate_ml_h: must be a number"),
        ("rate.set", {"rate_ml_h": "fast"}, "args.rate_ml_h: 'fast' is not a number"),
        ("rate.set", {"rate_ml_h": "NaN"}, "args.rate_ml_h: "),
        ("rate.set", {"rate_ml_h": "1E+999999"}, "args.rate_ml_h: "),
        ("rate.set", [], "args: must be an object"),
        ("session.start", {"rate_ml_h": 1}, "args.rate_ml_h: unknown field; known fields: none"),
        ("alarm.inactivate", {"alarm_id": "a1", "state": "audio-paused"}, "args: audio-paused and alarm-paused need"),
        ("alarm.inactivate", {"alarm_id": "a1", "state": "alarm-off", "seconds": 9}, "the other states have none"),
        ("alarm.inactivate", {"alarm_id": "a1", "state": "alarm-paused", "seconds": 601}, "args.seconds: "),
        ("audio.pause", {"seconds": 121}, "args.seconds: Input should be less than or equal to 120"),
        ("session.plan", PLAN | {"dose_mg": 35}, "args: give one of dose_mg_per_kg and dose_mg"),
        ("session.plan", PLAN | {"steps": [{"duration_min": 1}]}, "args.steps.0: give one of share_pct and rate_ml_h"),
        ("session.plan", PLAN | {"container": CONTAINER | {"kind": "bottle"}}, "args.container.kind: "),
        ("session.plan", PLAN | {"override": {"by": "Dr. A"}}, "args.override.reason: missing"),
        ("session.plan", without("weight_again"), "args.weight_again: missing"),
        ("session.plan", without("preparation"), "args.preparation: missing"),
        ("session.plan", without("checks"), "args.checks: missing"),
        ("session.plan", checked(liver=...), "args.checks.liver: missing"),
        ("session.plan", checked(liver={"result": "fine"}), "args.checks.liver.result: Input should be 'normal', 'abn"),
        ("session.plan", checked(person={"age_years": "old", "sex": "male"}), 'from 0 to 130 or "unknown"'),
        ("session.plan", checked(person={"age_years": 131, "sex": "male"}), "args.checks.person.age_years: must be a "),
        (
            "session.plan",
            checked(person={"age_years": True, "sex": "male"}),
            "args.checks.person.age_years: must be a ",
        ),
        ("session.plan", checked(vitals=VITALS | {"sbp_mmhg": 78}), "sbp_mmhg 78 must be above dbp_mmhg 78"),
        ("session.plan", checked(vitals=VITALS | {"spo2_pct": 101}), 'from 0 to 100 or "not measured"'),
        ("session.plan", checked(course={"session_number": 0, "days_since_last": 1}), "course.session_number: must be"),
        ("session.plan", checked(course={"session_number": 1, "days_since_last": "no"}), 'or "none" or "unknown"'),
        ("session.plan", checked(other_drugs={"result": "checked", "classes": ["beer"]}), "there are: cyp-inhibitor, "),
        ("session.plan", PLAN | {"weight": 70}, "args.weight: must be an object"),
        ("session.plan", PLAN | {"weight": {"value": 70}}, "args.weight.unit: missing"),
        (
            "session.plan",
            PLAN | {"weight": {"value": 70, "unit": "st"}},
            "args.weight.unit: Input should be 'kg' or 'lb'",
        ),
        ("session.plan", PLAN | {"weight_kg": 70}, "args.weight_kg: unknown field; known fields: drug, weight, "),
        ("pump.stop", {"bed": "bed/1", "pump": "left"}, "args.bed: "),
        ("session.resume", {"pressure_released": "yes"}, "args.pressure_released: "),
    ],
)
def test_wrong_arguments_are_refused_with_the_field_named(verb: str, args: object, text: str) -> None:
    refused = refusal(verb, request(verb, args=args))
    assert refused.reason == "malformed"
    assert text in refused.text
    assert refused.request_id == "0e0e0e0e-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "7"}, "id: "),
        ({"id": "0E0E0E0E-0000-4000-8000-000000000001"}, "id: "),
        ({"issued_ts": "yesterday"}, "issued_ts: "),
        ({"issued_ts": "2026-01-31T09:30:00"}, "issued_ts: has no time zone"),
        ({"issued_ts": 1}, "issued_ts: must be a time"),
        ({"ttl_ms": 60_001}, "ttl_ms: "),
        ({"ttl_ms": "5000"}, "ttl_ms: "),
        ({"actor": " "}, "actor: "),
        ({"actor": ...}, "actor: missing"),
        ({"expected_revision": 1.5}, "expected_revision: "),
        ({"confirm": {"rate_ml_h": -1}}, "confirm.rate_ml_h: "),
        ({"issued_ts": "0001-01-01T00:00:00+23:59"}, "issued_ts: "),
        ({"shout": 1}, "shout: unknown field; known fields: "),
    ],
)
def test_a_wrong_request_is_refused_with_the_field_named(changes: dict[str, object], text: str) -> None:
    refused = refusal("session.start", request(**changes))
    assert refused.reason == "malformed"
    assert text in refused.text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "one JSON object"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"id":"\\ud800"}', "no Unicode"),
        (b'{"\\ud800":1}', "no Unicode"),
        (b'{"id":NaN}', "NaN is no number"),
        (b'{"id":1,"id":2}', "id: given twice"),
        (b"[" + b"9" * 9000 + b"]", "not JSON"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "at most 16384"),
    ],
)
def test_what_is_no_request_at_all_is_refused(payload: bytes, text: str) -> None:
    refused = refusal("snapshot", payload)
    assert (refused.reason, refused.request_id) == ("malformed", None)
    assert text in refused.text


def test_a_verb_inside_the_request_is_refused_because_the_topic_names_it() -> None:
    payload = request().replace(b"{", b'{"verb":"session.stop",', 1)
    assert refusal("session.start", payload).text == "verb: unknown field; the topic names the verb"


def test_unknown_verb_is_not_allowed_and_the_known_ones_are_named() -> None:
    refused = refusal("session.strat", request())
    assert (refused.reason, refused.request_id) == ("not_allowed", "0e0e0e0e-0000-4000-8000-000000000001")
    assert "session.start" in refused.text


def test_a_refusal_stays_short_however_much_is_wrong() -> None:
    refused = refusal("session.start", request(**{f"field_{number}": 1 for number in range(500)}))
    assert len(refused.text) <= TEXT_MAX


@pytest.mark.shows("H58")
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_payload_raises_anything_but_a_refusal(payload: bytes) -> None:
    for verb in ("session.plan", "snapshot"):
        assert refusal(verb, payload).reason == "malformed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(VERBS)), st.sampled_from(sorted(PLAN | ARGS["session.resume"])), json_values)
def test_no_argument_raises_anything_but_a_refusal(verb: str, name: str, value: object) -> None:
    with contextlib.suppress(Rejected):
        parse_request(verb, request(verb, args=ARGS.get(verb, {}) | {name: value}))


def test_not_json_is_a_value_error() -> None:
    with pytest.raises(NotJson):
        from_json(b"nonsense")
