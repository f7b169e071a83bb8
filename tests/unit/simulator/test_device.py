from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.device import Device
from simulator.families import FAMILIES
from simulator.families.newera import safe_packet
from simulator.infuser import KEYS
from tests.unit.simulator.toy_family import registered

COMMANDS = [
    b"\r",
    b"RUN\r",
    b"STP\r",
    b"RAT 60 MH\r",
    b"RAT 99\r",
    b"VOL 2\r",
    b"VOL 0\r",
    b"DIS\r",
    b"SAF 3\r",
    b"PF 1\r",
]
PACKETS = [safe_packet(text) for text in (b"0", b"0RUN", b"0STP", b"0DIS", b"0SAF0", b"0RAT80")]
REQUESTS: list[dict[str, Any]] = [
    {"do": "press", "key": "run"},
    {"do": "press", "key": "stop"},
    {"do": "occlude", "for_s": 30},
    {"do": "release"},
    {"do": "stall"},
    {"do": "reboot"},
    {"do": "power_off", "for_s": 7.3},
    {"do": "mute", "for_s": 1.1},
    {"do": "disconnect", "for_s": 2.7},
    {"do": "fault", "kind": "drop", "probability": 0.1, "for_s": 9},
    {"do": "fault", "kind": "delay", "delay_s": 0.3, "for_s": 5},
    {"do": "fault", "kind": "echo", "for_s": 3},
]
acts = st.lists(
    st.tuples(st.floats(0.0, 40.0), st.one_of(st.sampled_from(COMMANDS + PACKETS), st.sampled_from(REQUESTS))),
    max_size=25,
)


def play(
    acts: list[tuple[float, Any]], *, speed: float, start: float, step: float | None, family: str = "newera"
) -> tuple[bytes, dict[str, Any]]:
    """Run the acts; between them look at the device only when it asks to, and every `step` seconds too."""
    device = Device(family, speed=speed, model="typical", fill_ml=20)
    at = start
    device.advance(at)
    said = b""

    def look(moment: float) -> None:
        nonlocal said
        said += device.outgoing(moment)
        wake = device.next_wake(moment)
        assert wake is None or wake > moment, "the device would keep its server spinning"

    for wait, act in [*acts, (60.0, {"do": "truth"})]:
        end = at + wait
        while at < end:
            wake = device.next_wake(at)
            at = min(end, end if wake is None else wake, end if step is None else at + step)
            look(at)
        if isinstance(act, bytes):
            device.receive(act, at)
        else:
            device.control(act)
        look(at)
    return said, device.truth()


@settings(max_examples=150, deadline=None)
@given(acts, st.sampled_from([1.0, 7.0, 60.0]), st.sampled_from([0.0, 1234.567, 1e6]))
def test_how_often_one_looks_changes_nothing(acts: list[tuple[float, Any]], speed: float, start: float) -> None:
    said_once, once = play(acts, speed=speed, start=start, step=None)
    said_often, often = play(acts, speed=speed, start=start, step=1.7)
    assert said_often == said_once
    for name in ("plunger_ml", "patient_ml", "infused_ml", "pressure_mmhg"):
        assert often[name] == pytest.approx(once[name], abs=1e-4), name
    assert (often["state"], often["alarm"]) == (once["state"], once["alarm"])


CLINICAL_WORDS = ["start", "stop", "rate 60", "rate 300", "limit 2", "limit", "time 50", "time", "told"]
CLINICAL: list[dict[str, Any]] = [
    *({"do": "press", "key": key} for key in KEYS),
    {"do": "occlude", "for_s": 30},
    {"do": "stall"},
    {"do": "alarm", "name": "drive_disengaged", "for_s": 11},
    {"do": "power_off", "for_s": 700.3},
    {"do": "power_off"},
    {"do": "reboot"},
    {"do": "run_away", "ml_h": 90},
    {"do": "new_syringe", "fill_ml": 5},
]
BAGS: list[dict[str, Any]] = [
    *CLINICAL,
    {"do": "occlude", "where": "upstream", "for_s": 30},
    {"do": "air", "ml": 0.5},
    {"do": "air", "ml": 0},
    {"do": "door", "state": "open", "for_s": 4.4},
    {"do": "free_flow", "state": "on", "for_s": 3.3},
]


@pytest.mark.parametrize(("family", "requests"), [("toy", CLINICAL), ("toybag", BAGS)])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), speed=st.sampled_from([1.0, 7.0, 60.0]), start=st.sampled_from([0.0, 1234.567]))
def test_nor_does_it_with_the_pumps_of_clinics(
    family: str, requests: list[dict[str, Any]], data: st.DataObject, speed: float, start: float
) -> None:
    what = st.one_of(st.sampled_from([f"{words}\n".encode() for words in CLINICAL_WORDS]), st.sampled_from(requests))
    acts = data.draw(st.lists(st.tuples(st.floats(0.0, 40.0), what), max_size=25))
    with registered():
        said_once, once = play(acts, speed=speed, start=start, step=None, family=family)
        said_often, often = play(acts, speed=speed, start=start, step=1.7, family=family)
    assert said_often == said_once
    for name in ("plunger_ml", "patient_ml", "infused_ml", "pressure_mmhg", "left_ml"):
        assert often[name] == pytest.approx(once[name], abs=1e-4), name
    for name in ("state", "alarms", "key_events", "powered"):
        assert often[name] == once[name], name
    assert sum(often["plunger_ml_by"].values()) == pytest.approx(often["plunger_ml"], abs=1e-9)


def test_truth_holds_the_named_figures() -> None:
    device = Device()
    device.advance(5.0)
    truth = device.control({"do": "truth"})
    assert truth.pop("ok") is True
    assert truth == device.truth()
    assert {"plunger_ml", "patient_ml", "infusing", "rate_ml_h", "pressure_mmhg", "alarm", "time_s"} <= set(truth)


@pytest.mark.shows("H1")
def test_a_45_minute_session_at_60x_gives_the_planned_volume() -> None:
    device = Device(speed=60.0)
    for command in (b"\r", b"RAT 46.67 MH\r", b"VOL 35\r", b"RUN\r"):
        device.receive(command, 10.0)
    device.outgoing(10.0)
    at = 10.0
    while at < 10.0 + 46:
        at += 0.1
        device.receive(b"DIS\r", at)
        device.outgoing(at)
    assert device.truth()["state"] == "S"
    assert device.truth()["plunger_ml"] == pytest.approx(35.0, abs=1e-9)


@pytest.mark.shows("risk:wrong-diameter")
def test_a_wrong_syringe_is_invisible_to_the_counter() -> None:
    device = Device(true_diameter_mm=29.7)
    for command in (b"\r", b"RAT 60 MH\r", b"RUN\r"):
        device.receive(command, 0.0)
    device.advance(60.0)
    assert device.truth()["infused_ml"] == pytest.approx(1.0)
    assert device.truth()["plunger_ml"] == pytest.approx((29.7 / 26.59) ** 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "acme"}, f"family 'acme': expected one of {', '.join(FAMILIES)}"),
        ({"address": 100}, "address 100: expected 0 to 99"),
        ({"mode": "fast"}, "mode 'fast': expected basic or safe"),
        ({"speed": 0}, "speed 0: expected a number above 0"),
        ({"speed": float("nan")}, "speed nan"),
        ({"watchdog_s": 0}, "watchdog 0 s: expected 1 to 255"),
        ({"baud": 1200, "speed": 2}, "cannot be accelerated"),
    ],
)
def test_settings_without_sense_are_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Device(**options)
