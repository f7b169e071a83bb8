import pytest

from simulator.device import Device
from simulator.families.newera_invented import Invented
from simulator.faults import Fault, Faults


def asked(device: Device, data: bytes, at: float) -> bytes:
    device.receive(data, at)
    return device.outgoing(at)


def awake(**options: object) -> Device:
    device = Device(**options)  # type: ignore[arg-type]
    assert asked(device, b"\r", 0.0) == b"\x0200A?R\x03"
    return device


def fault(device: Device, **fields: object) -> None:
    assert device.control({"do": "fault", **fields}) == {"ok": True}


STATUS = b"\x0200S\x03"


def test_drop_loses_some_bytes_and_the_same_ones_for_the_same_seed() -> None:
    data = bytes(range(256))
    left = Fault("drop", probability=0.3, seed="4").damage(data, "in")
    assert 0 < len(left) < 256
    assert left == Fault("drop", probability=0.3, seed="4").damage(data, "in")
    assert left != Fault("drop", probability=0.3, seed="5").damage(data, "in")


def test_flip_bends_one_bit_of_a_struck_byte() -> None:
    for before, after in zip(b"\x0200S\x03", Fault("flip").damage(STATUS, "out"), strict=True):
        assert (before ^ after).bit_count() == 1


def test_one_way_faults_leave_the_other_way_alone() -> None:
    only_out = Fault("drop", way="out")
    assert only_out.damage(STATUS, "in") == STATUS
    assert only_out.damage(STATUS, "out") == b""


def test_garbage_comes_before_the_answer() -> None:
    device = awake()
    fault(device, kind="garbage", way="out")
    answer = asked(device, b"\r", 1.0)
    assert answer.endswith(STATUS)
    assert len(answer) > len(STATUS)


def test_a_mute_pump_hears_and_a_deaf_one_does_not() -> None:
    for kind, state in (("mute", "I"), ("deaf", "S")):
        device = awake()
        asked(device, b"RAT 60 MH\r", 1.0)
        fault(device, kind=kind)
        assert asked(device, b"RUN\r", 2.0) == b""
        assert device.truth()["state"] == state


def test_echo_returns_the_command_before_the_answer() -> None:
    device = awake()
    fault(device, kind="echo")
    assert asked(device, b"\r", 1.0) == b"\r" + STATUS


def test_delay_is_wire_time_at_any_speed() -> None:
    device = awake(speed=60.0)
    fault(device, kind="delay", delay_s=0.2)
    assert asked(device, b"\r", 1.0) == b""
    assert device.next_wake(1.0) == pytest.approx(1.2)
    assert device.outgoing(1.19) == b""
    assert device.outgoing(1.2) == STATUS


def test_answers_keep_their_order_when_a_delay_ends() -> None:
    device = awake()
    fault(device, kind="delay", delay_s=1.0, for_s=0.5)
    asked(device, b"\r", 0.1)
    assert asked(device, b"VER\r", 0.7) == b""
    assert device.outgoing(1.2) == STATUS + b"\x0200SNE1000V3.928\x03"


def test_a_fault_ends_by_itself_at_its_session_time() -> None:
    device = awake(speed=10.0)
    assert device.control({"do": "mute", "for_s": 20}) == {"ok": True}
    assert asked(device, b"\r", 1.9) == b""
    assert device.next_wake(1.9) == pytest.approx(2.0)
    assert asked(device, b"\r", 2.1) == STATUS
    assert device.next_wake(2.1) is None


def test_a_disconnected_line_carries_nothing_and_says_so() -> None:
    device = awake()
    device.control({"do": "disconnect"})
    assert not device.connected
    assert asked(device, b"\r", 1.0) == b""
    device.control({"do": "reconnect"})
    assert device.connected
    assert asked(device, b"\r", 2.0) == STATUS


def test_faults_compose_and_are_cleared_together() -> None:
    device = awake()
    fault(device, kind="echo")
    fault(device, kind="delay", delay_s=0.5)
    device.receive(b"\r", 1.0)
    assert device.truth()["faults"] == ["echo", "delay"]
    assert device.outgoing(1.5) == b"\r" + STATUS
    device.control({"do": "clear_faults"})
    assert asked(device, b"\r", 2.0) == STATUS


def test_a_switched_off_pump_is_silent_and_comes_back_with_alarm_r() -> None:
    device = awake()
    device.control({"do": "power_off", "for_s": 5})
    assert asked(device, b"\r", 1.0) == b""
    assert device.control({"do": "press", "key": "run"}) == {"ok": False, "error": "press: the pump is switched off"}
    assert asked(device, b"\r", 5.1) == b"\x0200A?R\x03"


def test_the_end_of_no_fault_is_never() -> None:
    assert Faults().next_end() == float("inf")


def test_a_disconnection_ends_by_itself_and_asks_to_be_looked_at() -> None:
    device = awake(speed=10.0)
    fault(device, kind="disconnect", for_s=30)
    assert not device.connected
    assert device.next_wake(0.0) == pytest.approx(3.0)
    device.advance(3.0001)
    assert device.connected


def test_what_a_pump_has_not_said_yet_goes_with_its_power() -> None:
    device = Device(invented=Invented(reply_delay_s=0.1))
    device.receive(b"\r", 0.0)
    device.control({"do": "power_off"})
    assert device.outgoing(1.0) == b""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "gremlin"}, "kind 'gremlin': expected one of drop"),
        ({"kind": "drop", "way": "up"}, "way 'up': expected one of in, out, both"),
        ({"kind": "drop", "probability": 2}, "probability 2: expected 0 to 1"),
        ({"kind": "delay"}, "expected delay_s above 0"),
    ],
)
def test_a_nonsense_fault_is_refused_in_words(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault(**fields)  # type: ignore[arg-type]
