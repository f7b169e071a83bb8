"""The Zyno wire of the simulator against the published transcripts, and what stands behind the bytes."""

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.families.zyno import check_sum, check_xor, frame
from simulator.families.zyno_invented import Invented
from simulator.families.zyno_log import PAGE, SIZE, Kind, Ring

FOLDER = Path(__file__).parents[1] / "transcripts"
VECTORS = {row["note"]: row for row in json.loads((FOLDER / "sim_zyno.json").read_text(encoding="utf-8"))["vectors"]}
REVIEW_S = 4.5


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def single_bytes(data: bytes) -> Iterable[bytes]:
    return [bytes((byte,)) for byte in data]


class Host:
    """A host on a virtual wire."""

    def __init__(self, pieces: Callable[[bytes], Iterable[bytes]] = whole, **options: Any) -> None:
        self.device = Device("zyno", **options)
        self.check = check_xor if options.get("platform") == "h" else check_sum
        self.at = 0.0
        self._pieces = pieces
        self._seen = b""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        end = self.at + seconds
        while (wake := self.device.next_wake(self.at)) is not None and wake <= end:
            self.at = max(wake, self.at)
            self._seen += self.device.outgoing(self.at)
        self.at = end
        self.device.advance(end)

    def read(self) -> bytes:
        data, self._seen = self._seen + self.device.outgoing(self.at), b""
        return data

    def write(self, data: bytes) -> bytes:
        for piece in self._pieces(data):
            self.device.receive(piece, self.at)
        return self.read()

    def ask(self, text: str) -> str:
        """One command; the text of the one answer, whose check must hold. Empty: silence."""
        answer = self.write(frame(text.encode(), self.check))
        if not answer:
            return ""
        assert (answer[0], answer[-1]) == (2, 3)
        assert self.check(answer[1:-3]) == answer[-3:-1]
        return answer[1:-3].decode()

    def do(self, action: str, **keys: Any) -> None:
        answer = self.device.control({"do": action, **keys})
        assert answer["ok"], answer

    @property
    def truth(self) -> dict[str, Any]:
        return self.device.truth()

    @property
    def head(self) -> int:
        """Index of the next record."""
        return (int(self.ask("RI")[10:18], 16) + 1) % SIZE

    def records(self, since: int = 0) -> list[bytes]:
        return [bytes.fromhex(self.ask(f"RE{index:08X}")[10:]) for index in range(since, self.head)]

    def news(self, since: int) -> list[tuple[int, int]]:
        """Type and sub-type of each record, raw data left out."""
        found, raw = [], False
        for record in self.records(since):
            kind, sub = record[0], int.from_bytes(record[5:7], "big")
            if not raw or (kind, sub) == (0, 0x0200):
                found.append((kind, sub))
                raw = (kind, sub) == (0, 0x0100)
        return found


def invented(**switches: Any) -> dict[str, Any]:
    return {"invented": Invented(**switches)}


def programmed(rate: float = 60.0, volume: float = 0.0, **options: Any) -> Host:
    return Host(programmed_rate_ml_h=rate, programmed_volume_ml=volume, **options)


def running(rate: float = 60.0, volume: float = 0.0, **options: Any) -> Host:
    host = programmed(rate, volume, **options)
    assert host.ask("WT01") == "WT"
    host.wait(REVIEW_S / host.device.speed)
    assert host.ask(":INFU:RUN?") == "TRUE"
    return host


# -- frames


def test_the_worked_example() -> None:
    assert frame(b"RN") == bytes.fromhex("02 52 4e 41 30 03")


@pytest.mark.parametrize("row", VECTORS.values(), ids=VECTORS)
def test_both_checks_of_each_vector_hold(row: dict[str, Any]) -> None:
    for side in ("host", "pump"):
        if row[side]:
            raw = bytes.fromhex(row[side])
            assert raw == frame(raw[1:-3])


def test_the_xor_of_the_h_platform() -> None:
    assert frame(b"RN", check_xor) == b"\x02RN1C\x03"
    host = Host(platform="h")
    assert host.ask("RM") == "RM00"
    assert host.write(frame(b"RN")) == b""
    assert Host().ask("RM") == "RM01"
    assert Host().write(frame(b"RN", check_xor)) == b""


def at_rest() -> Host:
    return Host()


def on_27_ml_h() -> Host:
    host = running(27.0, 20.0, **invented(q6_is_left=False))
    host.wait(1.13 / 27 * 3600)
    return host


def after_a_minute() -> Host:
    host = running()
    host.wait(60)
    return host


def an_hour_old_with_an_occlusion() -> Host:
    host = programmed(60.0, **invented(log_time_top_digit=0, stamp_every_s=1e6, head_is_newest=False))
    host.wait(3600)
    while host.ask("RI") != "RI0000000000000029":
        host.do("event", name="battery_check")
    host.do("alarm", name="occlusion")
    return host


REPLAYED = {
    "serial number": at_rest,
    "firmware": at_rest,
    "infusion mode": at_rest,
    "running?": on_27_ml_h,
    "rate": on_27_ml_h,
    "volume infused 1.13 ml": on_27_ml_h,
    "volume to be infused 20.00 ml": on_27_ml_h,
    "elapsed or programmed time": after_a_minute,
    "bolus running?": at_rest,
    "run": at_rest,
    "stop": at_rest,
    "event log pointers": an_hour_old_with_an_occlusion,
    "read event 0x29: downstream occlusion": an_hour_old_with_an_occlusion,
    "battery voltage 3.90 V": at_rest,
    "occlusion sensors": at_rest,
    "press OK shortly": at_rest,
    "pump time (relative)": an_hour_old_with_an_occlusion,
}


@pytest.mark.parametrize("pieces", [whole, single_bytes])
@pytest.mark.parametrize("note", REPLAYED)
def test_the_pump_answers_as_in_the_vector(note: str, pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    host = REPLAYED[note]()
    host._pieces = pieces
    assert host.write(bytes.fromhex(VECTORS[note]["host"])) == bytes.fromhex(VECTORS[note]["pump"])


def test_the_sensors_of_a_running_pump_are_laid_out_as_in_the_vector() -> None:
    row = VECTORS["all sensors"]
    said, expected = running().write(bytes.fromhex(row["host"])), bytes.fromhex(row["pump"])
    volts = slice(-6, -3)
    assert (said[volts], expected[volts]) == (b"186", b"300"), "the battery of the vector has another voltage"
    assert said[:-6] == expected[:-6]


def test_the_other_vectors_have_no_answer_or_an_invented_figure() -> None:
    assert set(VECTORS) - set(REPLAYED) == {"identify", "set programmed rate (only while programming)", "all sensors"}
    host = Host()
    assert "Z-800" in host.ask("*IDN?")
    assert host.write(bytes.fromhex(VECTORS["set programmed rate (only while programming)"]["host"])) == frame(b"27.0")


def test_every_split_of_a_frame_is_the_same_frame() -> None:
    data = frame(b":INFU:RATE?")
    for cut in range(1, len(data)):
        host = programmed(27.0)
        assert host.write(data[:cut]) == b""
        host.wait(30)
        assert host.write(data[cut:]) == frame(b"27.0")


def test_no_damaged_frame_is_obeyed() -> None:
    data = frame(b"WT01")
    for position in range(1, len(data) - 1):
        for bit in range(8):
            host = programmed()
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            assert host.write(bytes(damaged)) == b"", (position, bit)
            assert not host.truth["reviewing"]


def test_garbage_and_a_frame_cut_off_do_not_hide_the_next() -> None:
    host = Host()
    assert host.write(b"\xff\x00noise" + frame(b"RN") + b"\r\n") == frame(b"RNSN800008")
    assert host.write(frame(b"RN")[:3] + frame(b"RS")) == frame(b"RS1.0.0")
    assert host.write(frame(b"RN") + frame(b"RS")) == frame(b"RNSN800008") + frame(b"RS1.0.0")
    assert host.write(b"\x02" + b"x" * 600) == b""
    assert host.write(frame(b"RN")) == frame(b"RNSN800008")


@pytest.mark.parametrize("pieces", [whole, single_bytes])
def test_a_frame_without_end_is_noise(pieces: Callable[[bytes], Iterable[bytes]]) -> None:
    host = Host(pieces, **invented(unknown_gets_error=True))
    assert host.ask("Z" * 600) == ""
    assert host.ask("Z" * 500) == "ZZERROR"


def test_what_is_not_understood() -> None:
    assert Host().ask("ZZ") == Host().ask("WT03") == Host().ask("rn") == ""
    assert Host().write(b"\x02RN00\x03") == b""
    host = Host(**invented(unknown_gets_error=True, bad_check_gets_error=True))
    assert host.ask("ZZ") == "ZZERROR"
    assert host.write(b"\x02RN00\x03") == frame(b"ERROR")


# -- reading


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("RL", "RLDEFAULT 01.00       "),
        ("RC", "RCF0000000"),
        ("RB", "RB07E4"),
        ("R1", "R12710"),
        ("R3", "R30000"),
        ("R8", "R82710000000"),
        ("R9", "R900000000"),
        ("RA", "RA03E80186"),
        ("S9", "S92400A0186"),
        ("Q4", "Q40"),
        ("Q5", "Q50000"),
        ("Q6", "Q60000"),
        ("Q8", "Q830D4"),
        ("Q9", "Q90000"),
        ("QA", "QA0000"),
        ("QC", "QC0"),
        ("QD", "QD0000"),
        ("QE", "QE0000"),
        ("QF", "QF0"),
        ("QG", "QG30D4"),
        ("QH", "QHERROR"),
        ("QI", "QIERROR"),
        ("RI", "RI0000000000000000"),
        (":SERIAL?", "SN800008"),
        (":INFU:RUN?", "FALSE"),
        (":INFU:RATE?", "0.0"),
        (":INFU:MODE?", "CONT"),
        (":PROTOCOL:RATE?", "0.0"),
        (":SERVICE:TIME?", "00000000"),
        (":TOTAL:TIME?", "00000000"),
        (":KEY:LIST?", "10203031405160617081"),
    ],
)
def test_one_question_one_answer(command: str, answer: str) -> None:
    assert Host().ask(command) == answer


def test_a_running_pump_tells_what_it_does() -> None:
    host = running(90.0, 10.0)
    host.wait(120)
    answers = {command: host.ask(command) for command in ("Q3", "Q5", "Q6", "QD", "QE", "R3", ":INFU:RATE?", "Q0")}
    assert answers == {
        "Q3": "Q30078",
        "Q5": "Q5012C",
        "Q6": "Q602BC",
        "QD": "QD03E8",
        "QE": "QE0190",
        "R3": "R3001E",
        ":INFU:RATE?": "90.0",
        "Q0": "Q0CONT",
    }
    assert host.ask("R8") == "R8271000003C"  # 60 turns of 0.05 mL
    assert int(host.ask("S9")[2], 16) & 4  # motor running
    host.ask("WT02")
    assert not int(host.ask("S9")[2], 16) & 4
    assert host.ask(":INFU:RATE?") == "90.0"


def test_figures_with_other_choices() -> None:
    host = programmed(90.0, 10.0, **invented(q3_is_elapsed=False, q_digits=8, standing_rate_is_0=True))
    assert host.ask("Q3") == "Q300000190"
    assert host.ask("Q5") == "Q500000000"
    assert host.ask(":INFU:RATE?") == "0.0"


def test_a_volume_that_needs_more_digits_gets_them() -> None:
    assert programmed(400, 700).ask("QD") == "QD11170"


def test_pressure_shows_at_the_sensors() -> None:
    host = running()
    host.do("occlude")
    host.wait(20)
    assert int(host.ask("RD")[6:], 16) > 0x120
    assert int(host.ask("S9")[6:8], 16) > 0xA0


def test_the_hall_sensor_changes_as_the_motor_turns() -> None:
    host = running()
    seen = set()
    for _ in range(10):
        host.wait(1)
        seen.add(int(host.ask("S9")[2], 16) >> 3)
    assert seen == {0, 1}


def test_a_screenshot_is_late() -> None:
    host = Host()
    assert host.ask(":SCREENSHOT?") == ""
    host.wait(0.06)
    assert host.read() == frame(b"\0" * 1024)


def test_s9_by_itself() -> None:
    host = Host(speed=60.0)
    assert host.ask("W01") == "W0"
    host.wait(3.5)
    assert host.read() == frame(b"S92400A0186") * 3
    assert host.ask("W00") == "W0"
    host.wait(5)
    assert host.read() == b""


# -- orders


class TestRunAndStop:
    def test_the_motor_starts_after_the_review(self) -> None:
        host = programmed()
        assert host.ask("WT01") == "WT"
        host.wait(4.4)
        assert host.ask(":INFU:RUN?") == "FALSE"
        host.wait(0.2)
        assert host.ask(":INFU:RUN?") == "TRUE"
        assert host.truth["motion"]["by"] == "wire"

    def test_what_it_gives_begins_at_the_end_of_the_review(self) -> None:
        host = programmed()
        host.ask("WT01")
        host.device.advance(64.5)
        assert host.truth["plunger_ml"] == pytest.approx(1.0)

    def test_a_second_run_does_not_begin_the_review_anew(self) -> None:
        host = programmed()
        host.ask("WT01")
        host.wait(4)
        host.ask("WT01")
        host.wait(0.6)
        assert host.ask(":INFU:RUN?") == "TRUE"

    def test_a_power_cut_ends_the_review(self) -> None:
        host = programmed(battery_min=0)
        host.ask("WT01")
        host.do("reboot")
        host.wait(60)
        assert not host.truth["infusing"]

    def test_a_stop_ends_the_review(self) -> None:
        host = programmed()
        host.ask("WT01")
        assert host.ask("WT02") == "WT"
        host.wait(60)
        assert host.truth["plunger_ml"] == 0

    def test_without_a_review_it_starts_at_once(self) -> None:
        host = programmed(**invented(review_s=0.0))
        host.ask("WT01")
        assert host.ask(":INFU:RUN?") == "TRUE"

    def test_wt_answers_whatever_comes_of_it(self) -> None:
        host = Host()
        assert host.ask("WT02") == "WT"
        head = host.head
        assert host.ask("WT01") == "WT"
        host.wait(10)
        assert host.ask(":INFU:RUN?") == "FALSE"
        assert host.news(head) == [(29, 0)]  # programming incomplete

    def test_a_stop_stops(self) -> None:
        host = running()
        host.wait(60)
        assert host.ask("WT02") == "WT"
        host.wait(600)
        assert host.truth["plunger_ml"] == pytest.approx(1.0)

    def test_without_a_host_it_runs_on(self) -> None:
        host = running()
        host.wait(3600)
        assert host.truth["infused_ml"] == pytest.approx(60.0)

    @pytest.mark.parametrize("speed", [1.0, 60.0])
    def test_the_programmed_volume_is_met_exactly(self, speed: float) -> None:
        host = running(90.0, 2.5, speed=speed)
        head = host.head
        host.wait(200)
        assert host.truth["infused_ml"] == pytest.approx(2.5, abs=1e-9)
        assert host.truth["plunger_ml"] == pytest.approx(2.5, abs=1e-9)
        assert host.ask("Q6") == "Q60000"
        assert host.ask(":INFU:RUN?") == "FALSE"
        assert [kind for kind, _ in host.news(head)][:2] == [Kind.PAUSED, Kind.CASSETTE_EMPTY]

    def test_the_end_of_the_volume_may_be_no_alarm(self) -> None:
        host = running(90.0, 1.0, **invented(volume_done_is_logged=False))
        head = host.head
        host.wait(60)
        assert [kind for kind, _ in host.news(head)] == [Kind.PAUSED]

    def test_power_off(self) -> None:
        host = running()
        host.ask("W01")
        head = host.head
        assert host.ask("WT00") == "WT"
        assert host.ask("RN") == ""
        assert not host.truth["powered"]
        host.do("power_on")
        host.wait(5)
        assert host.read() == b""  # S9 is off again
        assert host.ask(":INFU:RUN?") == "FALSE"
        assert host.news(head) == [(Kind.POWER_OFF, 0), (Kind.POWER_ON, 0)]


class TestRate:
    def test_a_rate_is_taken_while_it_stands(self) -> None:
        host = Host()
        assert host.ask(":PROTOCOL:RATE 27.0") == "27.0"
        assert host.ask(":PROTOCOL:RATE?") == "27.0"
        assert host.truth["set_rate_ml_h"] == 27.0

    def test_a_rate_has_tenths(self) -> None:
        host = Host()
        host.do("set_rate", ml_h=27.04)
        assert host.truth["set_rate_ml_h"] == 27.0

    def test_running_or_out_of_bounds_the_old_one_stands_and_is_answered(self) -> None:
        host = running(60.0)
        assert host.ask(":PROTOCOL:RATE 27.0") == "60.0"
        assert host.truth["rate_ml_h"] == 60.0
        assert programmed(60.0).ask(":PROTOCOL:RATE 999") == "60.0"
        host = programmed(60.0)
        host.ask("WT01")
        assert host.ask(":PROTOCOL:RATE 27.0") == "60.0"

    @pytest.mark.parametrize(("reply", "good", "bad"), [("TRUE", "TRUE", "FALSE"), ("silence", "", "")])
    def test_it_may_be_answered_otherwise(self, reply: str, good: str, bad: str) -> None:
        host = Host(**invented(set_reply=reply))
        assert host.ask(":PROTOCOL:RATE 27.0") == good
        assert host.ask(":PROTOCOL:RATE 999") == bad
        assert host.truth["set_rate_ml_h"] == 27.0

    @pytest.mark.parametrize("text", ["27.05", "-1", "1e2", "", "27,0"])
    def test_what_is_no_rate_is_no_command(self, text: str) -> None:
        assert Host().ask(f":PROTOCOL:RATE {text}") == ""


class TestKeys:
    def test_keys_over_the_wire(self) -> None:
        host = programmed()
        assert host.ask("KE10") == "KE10"
        assert host.truth["set_rate_ml_h"] == 60.1
        host.ask("KE20")
        assert host.ask("KE61") == "KE61"
        host.wait(REVIEW_S)
        assert host.ask(":INFU:RUN?") == "TRUE"
        assert host.ask("KE80") == "KE80"  # a short stop does nothing
        assert host.ask(":INFU:RUN?") == "TRUE"
        assert host.ask("KE81") == "KE81"
        assert host.ask(":INFU:RUN?") == "FALSE"
        assert host.ask("KE51") == "KE51"
        assert not host.truth["powered"]

    @pytest.mark.parametrize("code", ["00", "90", "13", "4"])
    def test_a_key_that_there_is_not(self, code: str) -> None:
        assert Host().ask(f"KE{code}") in ("KEERROR", "")

    def test_back_ends_the_review(self) -> None:
        host = programmed()
        host.do("press", key="run")
        host.do("press", key="back")
        host.wait(60)
        assert not host.truth["infusing"]

    def test_keys_by_hand_are_the_keypads(self) -> None:
        host = programmed()
        head = host.head
        host.do("set_rate", ml_h=30.0)
        host.do("press", key="run")
        host.wait(REVIEW_S)
        assert host.truth["motion"]["by"] == "keypad"
        assert host.ask(":INFU:RATE?") == "30.0"
        host.do("press", key="stop")
        assert [kind for kind, _ in host.news(head)] == [22, 0, 0, 1, 2]

    def test_nothing_is_dialled_while_it_runs(self) -> None:
        host = running()
        assert not host.device.control({"do": "set_rate", "ml_h": 30})["ok"]
        assert not host.device.control({"do": "press", "key": "info"})["ok"]

    def test_a_pump_that_runs_away_says_so(self) -> None:
        host = programmed()
        host.do("run_away", ml_h=200)
        assert host.ask(":INFU:RATE?") == "200.0"
        assert host.truth["motion"]["by"] == "device fault"


class TestBolus:
    def test_a_bolus_is_granted_finished_and_counted(self) -> None:
        host = running()
        host.ask("WT02")
        host.do("set_bolus", ml=1)
        assert host.ask("QI") == "QI0064"
        host.ask("WT01")
        host.wait(REVIEW_S)
        head = host.head
        host.do("press", key="bolus")
        assert (host.ask("Q7"), host.ask("Q0"), host.ask(":INFU:RATE?")) == ("Q71", "Q0BOLUS", "125.0")
        host.wait(60)
        assert (host.ask("Q7"), host.ask("Q9")) == ("Q70", "Q90064")
        assert host.news(head) == [(6, 0x0801), (23, 1)]
        assert host.ask(":INFU:RUN?") == "TRUE"

    def test_a_bolus_is_cancelled_and_denied(self) -> None:
        host = running()
        head = host.head
        assert not host.device.control({"do": "press", "key": "bolus"})["ok"]
        assert host.news(head) == [(7, 1)]
        host.ask("WT02")
        host.do("set_bolus", ml=5)
        host.ask("WT01")
        host.wait(REVIEW_S)
        head = host.head
        host.ask("KE70")
        host.wait(10)
        host.ask("KE70")
        assert host.news(head) == [(6, 0x0801), (8, 0x20)]


# -- alarms and the event log

ALARMS = {
    "occlusion": (9, 2),
    "upstream_occlusion": (9, 1),
    "door_open": (14, 0),
    "cassette_detached": (14, 0),
    "container_empty": (3, 0),
    "drive_blocked": (18, 2),
    "internal_fault": (18, 1),
    "battery_low": (30, 0),
    "battery_empty": (28, 0),
    "mains_lost": (13, 32),
    "reminder": (21, 0),
    "limit_reached": (3, 0),
}


@pytest.mark.parametrize(("name", "record"), ALARMS.items())
def test_each_alarm_reaches_the_log(name: str, record: tuple[int, int]) -> None:
    host = running()
    head = host.head
    host.do("alarm", name=name)
    news = host.news(head)
    stops = name not in ("battery_low", "mains_lost", "reminder", "limit_reached")
    assert news == [(2, 0), record] if stops else news == [record]
    assert host.ask(":INFU:RUN?") == str(not stops).upper()


@pytest.mark.parametrize("kind", list(Kind))
def test_each_record_of_the_table_can_be_written(kind: Kind) -> None:
    host = running()
    head = host.head
    host.do("event", name=kind.name.lower(), sub=0x1234)
    stopping = kind in (Kind.FIRMWARE_ERROR, Kind.SYSTEM_ERROR, Kind.BATTERY_FAILURE, Kind.SYSTEM_ERROR_2)
    assert host.news(head)[-1] == (kind, 0x1234)
    assert host.truth["infusing"] is not stopping
    if stopping:
        host.do("event", name=kind.name.lower(), sub=2)
        assert host.news(head)[1:] == [(kind, 0x1234), (kind, 2)]


def test_a_fault_is_told_as_what_it_is_once() -> None:
    host = running()
    host.do("event", name="firmware_error", sub=3)
    host.ask("KE40")
    head = host.head
    host.do("alarm", name="internal_fault")
    assert host.news(head) == [(18, 1)]


class TestPhysics:
    @pytest.mark.parametrize(("where", "sub"), [("downstream", 2), ("upstream", 1)])
    def test_an_occlusion_and_its_end(self, where: str, sub: int) -> None:
        host = running(200.0)
        head = host.head
        host.do("occlude", where=where)
        host.wait(300)
        assert host.news(head)[:2] == [(2, 0), (9, sub)]
        assert not host.truth["infusing"]
        head = host.head
        host.do("release")
        host.do("press", key="ok")
        assert host.news(head)[-1] == (9, 4)

    def test_an_open_door_is_a_detached_cassette(self) -> None:
        host = running()
        head = host.head
        host.do("door", state="open")
        host.wait(1)
        assert (14, 0) in host.news(head)
        assert not host.truth["infusing"]
        host.ask("WT01")
        host.wait(10)
        assert not host.truth["infusing"]

    def test_the_end_of_the_bag_is_cassette_empty(self) -> None:
        host = running(300.0, fill_ml=10)
        head = host.head
        host.wait(600)
        assert host.news(head)[:2] == [(2, 0), (3, 0)]

    def test_a_stalled_motor(self) -> None:
        host = running()
        head = host.head
        host.do("stall")
        assert host.news(head) == [(2, 0), (18, 2)]

    def test_battery_and_mains(self) -> None:
        host = running(battery_min=60.0)
        head = host.head
        host.do("power_off")
        host.wait(10)
        host.do("power_on")
        assert host.news(head) == [(13, 32), (13, 48)]
        host.do("power_off")
        host.wait(3500)
        assert [kind for kind, _ in host.news(head)[2:] if kind != 15] == [13, 30, 2, 28]
        host.wait(100)
        assert host.ask("RN") == ""
        host.do("power_on")
        assert host.ask("R7")[2:] < "0186"
        assert host.news(head)[-3:] == [(16, 0), (24, 0), (30, 0)]

    def test_unattended(self) -> None:
        host = Host()
        host.wait(125)
        assert host.news(0) == [(24, 0), (21, 0)]
        host.ask("KE40")
        assert host.truth["alarms"] == []

    def test_an_alarm_that_was_not_answered_may_keep_it_from_starting(self) -> None:
        for acknowledges in (True, False):
            host = running(**invented(start_acknowledges=acknowledges))
            host.do("stall")
            host.ask("WT01")
            host.wait(REVIEW_S)
            assert host.truth["infusing"] is acknowledges


class TestLog:
    def test_the_time_has_a_digit_to_drop(self) -> None:
        host = Host()
        host.wait(100)
        head = host.head
        host.do("event", name="hard_limit")
        assert host.records(head)[0][1:5] == bytes((100, 0, 0, 0xF0))
        assert host.ask("RC") == "RCF0000064"

    @pytest.mark.parametrize(("newest", "pointer"), [(True, 1), (False, 2)])
    def test_the_head_points_at_the_last_record_or_past_it(self, newest: bool, pointer: int) -> None:
        host = Host(**invented(head_is_newest=newest))
        host.do("event", name="hard_limit")
        assert host.ask("RI") == f"RI00000000{pointer:08X}"
        assert host.ask("RE00000001")[10:12] == "1B"

    def test_a_pause_tells_the_volume(self) -> None:
        host = running()
        host.wait(90)
        head = host.head
        host.ask("WT02")
        assert struct.unpack(">f", host.records(head)[0][7:11])[0] == pytest.approx(1.5, abs=1e-5)

    @pytest.mark.parametrize("raw", [16, 2, 0])
    def test_a_run_writes_a_data_frame_whose_inside_looks_like_alarms(self, raw: int) -> None:
        host = programmed(**invented(data_records=raw))
        head = host.head
        host.ask("WT01")
        host.wait(REVIEW_S)
        records = host.records(head)
        assert len(records) == (raw + 3 if raw else 1)
        assert records[-1][0] == Kind.RUN
        if raw:
            assert (records[0][0], records[0][5], records[raw + 1][0], records[raw + 1][5]) == (0, 1, 0, 2)
            assert records[1][0] == Kind.CASSETTE_EMPTY

    def test_an_hourly_stamp(self) -> None:
        host = running(speed=60.0)
        head = host.head
        host.wait(3 * 60)
        assert host.news(head) == [(15, 0)] * 3

    def test_nothing_stands_at_the_head_and_beyond_the_ring(self) -> None:
        host = Host()
        assert host.ask("RE00000005") == "RE00000005" + "F" * 32
        assert host.ask(f"RE{SIZE:08X}") == "REERROR"

    @pytest.mark.parametrize(("pages", "tail"), [(True, PAGE), (False, 3)])
    def test_the_ring_closes(self, pages: bool, tail: int) -> None:
        host = Host(log_at=SIZE - 2, **invented(wrap_erases_page=pages))
        assert host.ask("RI") == f"RI00000000{SIZE - 2:08X}"
        for _ in range(3):
            host.do("event", name="battery_check")
        assert host.ask("RI") == f"RI{tail:08X}00000001"
        assert host.ask("RE00000001")[10:12] == "1F"
        assert host.ask("RE00000002")[10:12] == ("FF" if pages else "0F")

    @pytest.mark.parametrize("pages", [True, False])
    def test_head_and_tail_never_meet(self, pages: bool) -> None:
        ring = Ring(0, wrap_erases_page=pages, time_top_digit=15)
        held = 0
        for number in range(2 * SIZE + 7):
            ring.add(Kind.BATTERY_CHECK, number & 0xFFFF, number)
            held = min(held + 1, (ring.head - ring.tail) % SIZE)
            assert (ring.head - ring.tail) % SIZE == held > 0
        assert held >= SIZE - 1 - PAGE
        assert ring.read(ring.tail) != b"\xff" * 16

    def test_the_log_outlives_a_power_cut(self) -> None:
        host = Host()
        host.do("event", name="hard_limit")
        host.do("reboot")
        assert [kind for kind, _ in host.news(0)] == [24, 27, 16, 24]

    def test_settings_and_the_shift_total_are_logged(self) -> None:
        host = running()
        host.wait(60)
        host.ask("WT02")
        head = host.head
        host.do("set_limit", ml=20)
        host.ask(":PROTOCOL:RATE 30.0")
        host.device._panel.clear_infused()  # type: ignore[attr-defined]
        assert [kind for kind, _ in host.news(head)] == [22, 22, 12]
        assert (host.ask("Q5"), host.ask("R3")) == ("Q50000", "R3000A")


def test_a_prescription_is_heard_out_and_refused() -> None:
    host = programmed()
    good = "LI" + b"SN800008".hex().upper() + "6B6B8B66" + "0000013E"
    assert host.ask(good) == "LI0"
    assert host.ask("LI" + b"SN800009".hex().upper() + "6B6B8B660000013E") == "LI2"
    assert host.ask("LC" + "0" * 32) == "LC1"
    for index in range(8):
        assert host.ask(f"LS{index:08X}" + "00" * 64) == f"LS{index:08X}"
    assert host.ask("LC" + "0" * 32) == "LC7"
    assert running().ask(good) == "LI5"


@pytest.mark.parametrize(
    "switches",
    [
        {"set_reply": "?"},
        {"data_records": 5},
        {"log_time_top_digit": 16},
        {"q_digits": 0},
        {"s9_period_s": 0.0},
        {"stamp_every_s": 0.0},
        {"review_s": -1.0},
        {"screenshot_s": -1.0},
    ],
    ids=str,
)
def test_a_switch_that_makes_no_sense_is_refused(switches: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Invented(**switches)


def test_a_serial_number_has_8_characters() -> None:
    with pytest.raises(ValueError, match="serial number 'SN1': expected 8 characters"):
        Host(serial_number="SN1")
