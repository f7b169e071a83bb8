"""The B. Braun wire of the simulator: frames, the session, its time-outs, rate and vtbd.

The vectors are constructed ones; nobody has logged such a pump.
"""

import json
import math
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.device import Device
from simulator.families.bbraun_frame import Nak, crc, unwrap, wrap
from tests.wire.bbraun_host import IDENTITY, KEEP4, START, STOP, Braun, block_of, frame, pump, running, table_crc, taken
from tests.wire.test_sim_newera import single_bytes, whole

VECTORS = json.loads((Path(__file__).parents[1] / "transcripts" / "sim_bbraun.json").read_text(encoding="ascii"))
HOST = [bytes.fromhex(vector["host"]) for vector in VECTORS["vectors"]]
PUMP = [bytes.fromhex(vector["pump"]) for vector in VECTORS["vectors"]]
IDENT, CC, ORDER, GO, STATUS, ACTUAL, RATE, TOO_FAST, ALARMED, WRONG_MODE, HALT, LEAVE, WRONG_IDENTITY = range(13)
OK = b"\x06"


def no(nak: Nak) -> bytes:
    return bytes((0x15, nak))


# -- the published exchanges


@pytest.mark.parametrize("pieces", [whole, single_bytes])
def test_a_whole_session_is_as_in_the_transcript(pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    host = pump(pieces)
    for number in (IDENT, CC, ORDER, GO, STATUS, RATE, TOO_FAST, HALT, LEAVE, WRONG_MODE, WRONG_IDENTITY):
        assert host.ask(HOST[number]) == PUMP[number], VECTORS["vectors"][number]["note"]


def test_the_actual_values_of_the_transcript() -> None:
    host = running(6000, 50)
    host.keep(300.5)
    device = host.device
    device.control({"do": "occlude"})
    device._body.pressure_mmhg = 0.35 * 500.0
    assert host.ask(HOST[ACTUAL]) == PUMP[ACTUAL]


def test_the_pressure_alarm_of_the_transcript_with_its_stuffed_byte() -> None:
    host = running(750, 150)
    host.control(do="alarm", name="occlusion")
    assert host.ask(HOST[ALARMED]) == PUMP[ALARMED]


# -- frames


def test_the_check_sum_has_its_own_check_value() -> None:
    assert crc(b"123456789") == table_crc(b"123456789") == 0xA69D
    assert crc(b"\x00\x01") == 0x1D0E


@pytest.mark.parametrize("vector", [*HOST, *PUMP], ids=lambda vector: vector[:6].hex())
def test_every_vector_is_sealed_as_the_simulator_seals(vector: bytes) -> None:
    block, error = unwrap(vector[1:-1])
    assert not error
    assert wrap(block) == frame(block) == vector
    assert crc(block) == table_crc(block)


@pytest.mark.parametrize("byte", range(256))
def test_any_byte_survives_stuffing(byte: int) -> None:
    block = bytes((0x41, byte, byte ^ 0x20, 0x7D, 0x5E))
    sealed = wrap(block)
    assert sealed == frame(block)
    assert 0x80 not in sealed
    assert unwrap(sealed[1:-1]) == (block, Nak.NONE)


@pytest.mark.shows("H58")
@pytest.mark.parametrize("position", range(1, 7))
@pytest.mark.parametrize("bit", range(8))
def test_no_damaged_frame_is_obeyed(position: int, bit: int) -> None:
    host = taken()
    damaged = bytearray(HOST[GO])
    damaged[position] ^= 1 << bit
    answer = host.ask(bytes(damaged))
    assert host.truth["state"] == "held"
    if answer:
        assert block_of(answer)[2:] in (no(Nak.CRC), no(Nak.FRAME))
    host.wait(0.5)  # a flag may have come or gone
    host.ask(HOST[STATUS])
    assert host.ask(HOST[STATUS]) == host.ask(HOST[STATUS]) != b""


def test_a_damaged_frame_can_be_met_with_silence() -> None:
    host = taken(invented={"damaged_frame_gets_nak": False})
    assert host.ask(HOST[GO][:-2] + b"\x00\x7e") == b""
    assert host.truth["state"] == "held"


def test_garbage_before_a_frame_is_nobodys() -> None:
    host = pump()
    assert host.ask(b"\x00\xff\x7d\x80abc" + HOST[IDENT]) == PUMP[IDENT]


def test_two_frames_in_one_write_get_two_answers() -> None:
    host = pump()
    assert host.ask(HOST[IDENT] + HOST[IDENT]) == PUMP[IDENT] * 2


def test_a_flag_more_does_no_harm() -> None:
    host = pump()
    assert host.ask(b"\x7e" + HOST[IDENT]) == PUMP[IDENT]
    assert host.ask(b"\x7e\x7e" + HOST[IDENT] + b"\x7e" + HOST[IDENT][1:]) == PUMP[IDENT] * 2


@pytest.mark.parametrize("shared", [False, True])
def test_one_flag_may_end_and_begin_or_not(shared: bool) -> None:
    host = pump(invented={"shared_flags": shared})
    assert host.ask(HOST[IDENT] + HOST[IDENT][1:]) == PUMP[IDENT] * (2 if shared else 1)


@pytest.mark.parametrize("pieces", [whole, single_bytes])
def test_bytes_that_must_be_stuffed_are_refused_bare(pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    host = pump(pieces)
    assert block_of(host.ask(b"\x7e\x00\x01\x80\x1d\x0e\x7e"))[2:] == no(Nak.FRAME)
    assert block_of(host.ask(b"\x7e\x00\x01\x1d\x0e\x7d\x7e"))[2:] == no(Nak.FRAME)
    assert host.ask(b"\x7e\x00\x1d\x7e") == b""  # too short for anything
    assert host.ask(HOST[IDENT]) == PUMP[IDENT]


def test_every_split_of_a_frame_is_the_same_frame() -> None:
    for cut in range(1, len(HOST[IDENT])):
        host = pump()
        host.write(HOST[IDENT][:cut])
        host.wait(0.29)
        assert host.ask(HOST[IDENT][cut:]) == PUMP[IDENT], cut


@pytest.mark.parametrize(("kind", "seconds"), [("1019", 0.3), ("1200", 0.4), ("203", 0.3)])
def test_half_a_frame_is_forgotten_after_its_time(kind: str, seconds: float) -> None:
    host = taken(type_number=kind) if kind == "1019" else pump(type_number=kind)
    ident = frame(bytes((host.letter, 1)))
    host.write(ident[:3])
    host.wait(seconds + 0.001)
    assert host.ask(ident[3:]) == b""  # its flag is a first one now
    assert host.ask(ident) != b""
    host.write(ident[:3])
    host.wait(seconds - 0.001)
    assert host.ask(ident[3:]) != b""


def test_the_time_of_a_frame_may_be_that_of_the_whole() -> None:
    for whole_frame, answered in ((False, True), (True, False)):
        host = pump(invented={"frame_time_is_whole": whole_frame})
        for byte in single_bytes(HOST[IDENT][:-1]):
            host.write(byte)
            host.wait(0.1)
        assert bool(host.ask(HOST[IDENT][-1:])) is answered


def test_half_a_frame_can_be_complained_of() -> None:
    host = taken(invented={"half_frame_gets_nak": True})
    host.write(HOST[STATUS][:3])
    host.wait(0.5)
    assert block_of(host.read()) == b"\x41\x02" + no(Nak.FRAME)


def test_a_frame_without_end_is_dropped() -> None:
    host = pump()
    host.write(b"\x7e" + b"\x55" * 300)
    assert host.ask(HOST[IDENT]) == PUMP[IDENT]


def test_a_paced_line_takes_its_time() -> None:
    host = pump(baud=9600)
    host.write(HOST[IDENT])
    host.wait((len(HOST[IDENT]) + len(PUMP[IDENT]) - 1) / 960)
    assert host.read() == PUMP[IDENT][:-1]
    host.wait(0.01)
    assert host.read() == PUMP[IDENT][-1:]


# -- addresses and the handshake


def test_a_pump_has_no_address_until_it_is_given_one() -> None:
    host = pump()
    assert host.status().bits() == {1, 4}
    assert host.say(0x02, address=ord("A")) == b""
    assert host.take(letter="Q") == OK
    assert host.say(0x02, address=0) == b""
    assert host.say(0x02, address=ord("A")) == b""
    assert host.say(0x02)[:1] == OK
    assert host.say(0x01, address=0)[:1] == OK


def test_anothers_frame_can_be_refused() -> None:
    host = taken(invented={"wrong_address_gets_nak": True})
    assert host.say(0x02, address=ord("B")) == no(Nak.ADDRESS)


def test_the_answer_to_the_handshake_may_come_from_the_letter() -> None:
    host = pump(invented={"cc_mode_answers_from_letter": True})
    assert block_of(host.ask(HOST[CC])) == b"\x41\x10\x06"


@pytest.mark.parametrize(("mode", "bit"), [(0, 1), (1, 2), (2, 3), (3, None)])
def test_the_state_tells_who_has_the_pump(mode: int, bit: int | None) -> None:
    host = pump()
    assert host.take(mode) == OK
    assert host.status().bits() & {1, 2, 3} == ({bit} if bit else set())
    assert host.truth["mode"] == ["documentation", "remote", "remote only", "monitor"][mode]
    assert (host.act(0) == no(Nak.WRONG_MODE)) == (mode in (0, 3))


@pytest.mark.parametrize("mode", [4, 5, 6, 7, 8, 254])
def test_inner_modes_are_not_to_be_had(mode: int) -> None:
    host = pump()
    assert host.take(mode) == no(Nak.OUT_OF_RANGE)
    assert host.truth["address"] is None


@pytest.mark.parametrize("letter", ["@", "[", "a", "\x00"])
def test_an_address_is_a_letter(letter: str) -> None:
    assert pump().take(letter=letter) == no(Nak.ADDRESS)


def test_what_is_left_as_it_is() -> None:
    host = taken()
    assert host.take(0xFF, letter="B") == OK
    assert host.truth["mode"] == "remote only"
    assert host.say(0x10, struct.pack(">IBBI", IDENTITY ^ KEEP4, 1, 0xFF, KEEP4)) == OK
    assert (host.truth["mode"], host.truth["address"]) == ("remote", "B")


def test_a_wrong_identity_loses_the_pump() -> None:
    host = running()
    assert host.take(identity=IDENTITY + 1) == no(Nak.WRONG_IDENTITY)
    assert host.status().bits() & {1, 2, 3} == {1}
    assert host.act(0, 0) == no(Nak.WRONG_MODE)


def test_the_clock_is_set_only_while_it_stands() -> None:
    host = pump()
    assert host.take(clock=1_700_000_000) == OK
    host.keep(10)
    assert struct.unpack(">I", host.read_segment(0x01)[-4:]) == (1_700_000_010,)
    host.order(1000, 200)
    host.act(0)
    assert host.take(clock=1) == no(Nak.CLOCK_WHILE_RUNNING)
    assert struct.unpack(">I", host.read_segment(0x01)[-4:]) == (1_700_000_010,)


def test_no_figure_is_too_large_for_its_field() -> None:
    host = pump()
    host.take(clock=KEEP4 - 1)
    host.control(do="run_away", ml_h=1e12)
    host.control(do="dose", weight_kg=1e9, concentration=1e99, dose_rate=float("inf"))
    host.keep(3)
    assert struct.unpack(">I", host.read_segment(0x01)[-4:]) == (1,)
    for segment in range(0x02, 0x0A):
        assert host.read_segment(segment)


@pytest.mark.parametrize("kind", ["202", "203", "1019", "1020", "1200", "1201"])
def test_the_type_stands_in_the_identity(kind: str) -> None:
    host = pump(type_number=kind, serial=77, software="V2.30")
    identity, protocol, software, _ = struct.unpack(">IH10sI", host.read_segment(0x01))
    assert (identity >> 18, identity & 0x3FFFF, protocol, software) == (int(kind), 77, 14, b"V2.30     ")


# -- the link


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_the_link_is_lost_after_its_time_and_not_before(mode: int, speed: float) -> None:
    host = taken(mode=mode, speed=speed)
    host.wait(1.199)
    assert host.status().bits() & {1, 2, 3} == {mode + 1}
    host.wait(1.201)
    assert host.status().bits() & {1, 2, 3} == {1}
    assert 14 in host.status().alarm_bits()
    assert host.act(0) == no(Nak.WRONG_MODE)


def test_documentation_mode_has_no_link_to_lose() -> None:
    host = pump()
    host.wait(60)
    assert host.status().alarms == 0
    host.take(3)
    host.wait(60)
    assert host.truth["mode"] == "monitor"


@pytest.mark.parametrize("refused_feeds", [False, True])
def test_what_keeps_the_link(refused_feeds: bool) -> None:
    host = taken(invented={"refused_frame_feeds_link": refused_feeds})
    host.wait(0.7)
    assert host.order(99_999_999) == no(Nak.OUT_OF_RANGE)
    host.wait(0.7)
    assert host.truth["mode"] == ("remote only" if refused_feeds else "documentation")


def test_noise_and_other_pumps_frames_do_not_keep_the_link() -> None:
    host = taken()
    for _ in range(2):
        host.wait(0.7)
        assert host.say(0x02, address=ord("C")) == b""
        host.ask(b"\x7e\x41\x02\x00\x00\x7e")
    assert host.truth["mode"] == "documentation"


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("how", ["fallback", "alarm", "both"])
def test_what_the_loss_of_the_link_does(how: str, stops: bool) -> None:
    host = running(6000, 400, invented={"on_loss": how, "loss_stops": stops})
    host.wait(5)
    assert host.truth["state"] == ("held" if stops else "running")
    status = host.status()
    assert (14 in status.alarm_bits()) == (how != "fallback")
    assert (9 in status.alarm_bits()) == (how != "alarm")
    assert status.bits() & {1, 3} == ({3} if how == "alarm" else {1})


@pytest.mark.parametrize("hold", [False, True])
def test_the_alarms_of_a_lost_link_stand_until_somebody_does_something(hold: bool) -> None:
    host = running(invented={"link_alarms_hold": hold})
    host.wait(5)
    assert host.status().alarm_bits() == {9, 14}
    assert host.take() == OK
    assert host.status().alarm_bits() == ({9, 14} if hold else set())
    assert (host.truth["infusing"], host.status().rate) == (True, 1000)
    assert host.act(0, 0) == OK
    assert host.act(0) == OK
    assert host.status().alarms == 0


@pytest.mark.parametrize("keeps", [False, True])
def test_what_becomes_of_the_address(keeps: bool) -> None:
    host = taken(invented={"keeps_address_after_loss": keeps})
    host.wait(2)
    assert bool(host.say(0x02)) is keeps
    assert bool(host.say(0x02, address=0)) is not keeps
    assert host.take(1) == OK


def test_leaving_with_a_rate_raises_the_alarm_of_an_invalid_rate() -> None:
    host = taken()
    assert host.take(0) == OK
    assert host.status().alarm_bits() == {9}
    quiet = taken(0, 200)
    assert quiet.take(0) == OK
    assert quiet.status().alarms == 0
    soft = taken(invented={"leaving_raises_rate_invalid": False})
    soft.take(0)
    assert soft.status().alarms == 0


def test_a_pump_that_went_dark_is_nobodys() -> None:
    host = running()
    host.control(do="reboot")
    assert host.say(0x02) == b""
    host.letter = 0
    assert host.status().bits() == {1, 4, 6}
    assert host.truth["infusing"] is False


# -- rate, vtbd and time


def test_it_gives_rate_times_time_and_keeps_the_vein_open_at_the_limit() -> None:
    host = running(6000, 10)
    host.keep(59.5)
    assert (host.status().vtbd, host.status().bits() & {7, 13}) == (1, {7})  # the tenth that is in use
    host.keep(0.6)
    assert host.truth["plunger_ml"] == pytest.approx(1.0, abs=1e-4)
    status = host.status()
    assert status.alarm_bits() == {12, 17}
    assert (status.rate, status.vtbd, status.bits() & {7, 8, 13}) == (100, 0, {7, 13})
    host.keep(600)
    status = host.status()
    assert status.alarm_bits() == {12, 15}
    assert status.bits() & {7, 13} == set()
    assert host.truth["plunger_ml"] == pytest.approx(1.0 + 600 / 3600, abs=1e-4)


def test_or_it_stops_at_the_limit_exactly() -> None:
    host = running(6000, 10, invented={"kvo_ml_h": 0.0})
    host.keep(100)
    assert host.truth["plunger_ml"] == pytest.approx(1.0, abs=1e-9)
    assert host.status()[1:] == (1 << 12, 1 << 3 | 1 << 4 | 1 << 15, 0, 0, 0)
    assert host.act(0) == no(Nak.NOT_POSSIBLE)
    assert host.order(vtbd=10) == OK
    assert host.act(0) == OK
    host.keep(100)
    assert host.truth["plunger_ml"] == pytest.approx(2.0, abs=1e-9)


def test_the_rate_is_changed_at_once_and_told() -> None:
    host = running(1000, 200)
    assert host.order(1250) == OK
    assert (host.status().rate, host.truth["flow_ml_h"]) == (1250, 12.5)
    assert struct.unpack(">IIHIHBH20s", host.read_segment(0x04))[:3] == (1250, 200, 0)


@pytest.mark.parametrize(("asked", "kept"), [(1234, 1230), (1235, 1240), (1239, 1240), (10, 10), (19999, 20000)])
def test_a_rate_is_rounded_to_what_the_display_shows(asked: int, kept: int) -> None:
    host = running(asked)
    assert host.status().rate == kept
    assert running(asked, invented={"rounds_to_display": False}).status().rate == asked


@pytest.mark.parametrize(
    ("order", "nak"),
    [
        ({"rate": 9}, Nak.OUT_OF_RANGE),
        ({"rate": 20001}, Nak.OUT_OF_RANGE),
        ({"vtbd": 10000}, Nak.OUT_OF_RANGE),
        ({"bolus_rate": 99}, Nak.OUT_OF_RANGE),
        ({"bolus_rate": 120001}, Nak.OUT_OF_RANGE),
        ({"bolus": 501}, Nak.OUT_OF_RANGE),
        ({"step": 0}, Nak.OUT_OF_RANGE),
        ({"step": 10}, Nak.OUT_OF_RANGE),
        ({"rate": 1000, "vtbd": 100, "minutes": 30}, Nak.DOES_NOT_FIT),
        ({"vtbd": 9999, "minutes": 1}, Nak.DOES_NOT_FIT),
    ],
)
def test_an_order_is_refused_as_a_whole(order: dict[str, int], nak: Nak) -> None:
    host = taken()
    before = host.read_segment(0x04)
    assert host.order(**{"standby": 7, "step": 3, **order}) == no(nak)
    assert host.read_segment(0x04) == before


def test_every_set_value_is_read_back() -> None:
    host = taken()
    assert host.order(2500, 300, 72, 60000, 15, 9, 45, b"Ketamin 2 mg/ml     ") == OK
    read = struct.unpack(">IIHIHBH20s", host.read_segment(0x04))
    assert read == (2500, 300, 72, 60000, 15, 9, 45, b"Ketamin 2 mg/ml     ")
    assert host.order() == OK
    assert struct.unpack(">IIHIHBH20s", host.read_segment(0x04)) == read


def test_volume_and_time_make_a_rate_and_the_time_ends_it() -> None:
    host = pump(invented={"kvo_ml_h": 0.0})
    host.take()
    assert host.order(vtbd=100, minutes=60) == OK
    assert struct.unpack(">IIH", host.read_segment(0x04)[:10]) == (1000, 100, 60)
    host.order(minutes=1)
    host.act(0)
    host.keep(61)
    assert host.status().alarm_bits() == {13}
    assert host.truth["plunger_ml"] == pytest.approx(1 / 6)
    assert host.status().minutes == 0


def test_without_a_vtbd_it_is_not_available_and_there_is_no_limit() -> None:
    host = pump()
    host.take()
    host.order(1000)
    assert host.status()[4:] == (KEEP4, 300)  # a full syringe at 10 ml/h
    assert struct.unpack(">I", host.read_segment(0x04)[4:8]) == (KEEP4,)
    told = pump(invented={"no_vtbd_is_told_as_zero": True})
    assert told.status().vtbd == 0
    assert pump(type_number="202").status()[4:] == (KEEP4, 0xFFFF)


@pytest.mark.parametrize(
    ("how", "written", "given"), [("left", True, True), ("written", True, False), ("never", False, False)]
)
def test_rate_0_and_vtbd_0_leave_remote_control(how: str, written: bool, given: bool) -> None:
    host = running(invented={"zero_and_zero": how})
    assert host.order(0, 0) == OK
    assert (host.truth["mode"] == "documentation") is written
    assert host.truth["infusing"] is False
    spent = running(6000, 10, invented={"zero_and_zero": how, "kvo_ml_h": 0.0})
    spent.keep(61)
    assert spent.order(0) == OK
    assert (spent.truth["mode"] == "documentation") is given


def test_rate_0_alone_does_not() -> None:
    host = running()
    assert host.order(0) == OK
    assert (host.truth["mode"], host.truth["infusing"]) == ("remote only", False)


@pytest.mark.parametrize("runs", [True, False])
def test_the_rate_after_rate_0_may_run_at_once(runs: bool) -> None:
    host = running(invented={"rate_after_zero_runs": runs})
    host.order(0)
    host.order(500)
    assert host.truth["infusing"] is runs
    stopped = running(invented={"rate_after_zero_runs": runs})
    stopped.order(0)
    stopped.act(0, 0)
    stopped.order(500)
    assert stopped.truth["infusing"] is False


@pytest.mark.parametrize("refused", [True, False])
def test_start_and_stop_again(refused: bool) -> None:
    host = running(invented={"start_when_running_is_refused": refused, "stop_when_stopped_is_refused": refused})
    answer = no(Nak.NOT_POSSIBLE) if refused else OK
    assert host.act(0) == answer
    assert host.truth["infusing"] is True
    assert host.act(0, 0) == OK
    assert host.act(0, 0) == answer
    assert host.truth["infusing"] is False


def test_start_needs_a_rate() -> None:
    host = pump()
    host.take()
    assert host.act(0) == no(Nak.NOT_POSSIBLE)


# -- what does not fit


@pytest.mark.parametrize("segment", [0x00, 0x0A, 0x0F, 0x15, 0x7D, 0x7E, 0x80, 0xFF])
def test_an_unknown_segment_is_told(segment: int) -> None:
    assert pump().say(segment) == no(Nak.UNKNOWN_SEGMENT)


@pytest.mark.parametrize("segment", [*range(0x01, 0x0A), 0x10, 0x11, 0x12, 0x13, 0x14])
def test_a_wrong_length_is_told(segment: int) -> None:
    host = taken()
    assert host.say(segment, b"\x00") == no(Nak.LENGTH)
    assert host.truth["mode"] == "remote only"


@pytest.mark.parametrize("segment", [0x11, 0x12, 0x13, 0x14])
def test_nothing_is_written_in_documentation_mode(segment: int) -> None:
    data = {0x11: START, 0x12: b"\xff" * 39, 0x13: b"\xff" * 24, 0x14: b"\xff" * 9}[segment]
    host = pump()
    assert host.say(segment, data) == no(Nak.WRONG_MODE)
    host.take()
    assert host.say(segment, data) == (no(Nak.NOT_POSSIBLE) if data == START else OK)


@pytest.mark.parametrize(("data", "nak"), [(b"\x0c\x01", Nak.NOT_POSSIBLE), (b"\x00\x02", Nak.OUT_OF_RANGE)])
def test_an_action_that_is_none(data: bytes, nak: Nak) -> None:
    assert taken().say(0x11, data) == no(nak)


@pytest.mark.parametrize("nak", [nak for nak in Nak if nak])
def test_any_refusal_can_be_had_once(nak: Nak) -> None:
    host = taken()
    host.control(do="nak", code=int(nak))
    assert host.say(0x11, START) == no(nak)
    assert host.truth["state"] == "held"
    assert host.say(0x11, START) == OK
    assert host.say(0x11, STOP) == OK


def test_any_bytes_at_all_leave_a_pump_that_answers() -> None:
    host: Braun = pump()
    for seed in range(200):
        noise = bytes((seed * 7 + n * (seed % 13 + 1) * 31) % 256 for n in range(seed % 40))
        host.ask(noise)
        host.wait(0.31)
        host.letter = ord(host.truth["address"]) if host.truth["address"] else 0
        host.ask(b"\x7e")
        host.wait(0.31)
        assert host.say(0x01)[:1] == OK


# -- time


FRAMES = [
    *(
        frame(bytes.fromhex(block))
        for block in ("0001", "4101", "4102", "41110001", "41110000", "41110501", "41110601")
    ),
    *HOST[CC : ORDER + 1],
    HOST[RATE],
    HOST[LEAVE],
    frame(b"\x41\x12" + struct.pack(">IIHIHBH20s", 60000, 20, 0xFFFF, 60000, 10, 0xFF, 1, b"\xff" * 20)),
    HOST[STATUS][:3],
    b"\x7e",
]
REQUESTS: list[dict[str, Any]] = [
    *({"do": "press", "key": key} for key in ("run", "stop", "mute", "bolus", "purge", "standby", "rate_up")),
    {"do": "occlude", "for_s": 30},
    {"do": "alarm", "name": "battery_low", "for_s": 4},
    {"do": "new_syringe", "fill_ml": 1.0},
    {"do": "power_off", "for_s": 400},
    {"do": "reboot"},
    {"do": "mute", "for_s": 1.1},
    {"do": "fault", "kind": "drop", "probability": 0.1, "for_s": 9},
]
ACTS = st.lists(st.tuples(st.floats(0.0, 3.0), st.one_of(st.sampled_from(FRAMES), st.sampled_from(REQUESTS))))


def play(acts: list[tuple[float, Any]], step: float, speed: float, start: float) -> tuple[bytes, dict[str, Any]]:
    """Run the acts; look at the pump when it asks for it, and each `step` seconds too."""
    device = Device("bbraun", speed=speed, model="typical", fill_ml=5.0, battery_min=10.0)
    said, at = device.outgoing(start), start
    for wait, act in [*acts, (30.0, b"\x7e")]:
        end = at + wait
        while at < end:
            wake = device.next_wake(at)
            at = min(end, at + step, end if wake is None else max(wake, math.nextafter(at, math.inf)))
            said += device.outgoing(at)
            wake = device.next_wake(at)
            assert wake is None or wake > at, "the device would keep its server spinning"
        if isinstance(act, bytes):
            device.receive(act, at)
        else:
            device.control(act)
        said += device.outgoing(at)
    return said, device.truth()


@settings(max_examples=100, deadline=None)
@given(ACTS, st.sampled_from([1.0, 60.0]), st.sampled_from([0.0, 1e6]))
def test_how_often_one_looks_changes_nothing(acts: list[tuple[float, Any]], speed: float, start: float) -> None:
    said_once, once = play(acts, math.inf, speed, start)
    said_often, often = play(acts, 0.37, speed, start)
    assert len(said_often) == len(said_once)
    for name in ("plunger_ml", "patient_ml", "infused_ml"):
        assert often[name] == pytest.approx(once[name], abs=1e-3), name
    assert (often["state"], often["alarms"], often["mode"]) == (once["state"], once["alarms"], once["mode"])
