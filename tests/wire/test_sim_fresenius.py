"""The Fresenius wire of the simulator: the published frames, the line's own rules, and what is made up beside them."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulator.device import Device
from simulator.families.fresenius import CLOSED
from simulator.families.fresenius_invented import CHOICES, Invented
from simulator.families.fresenius_link import ACK, DC4, ENQ, ETX, MAX_FRAME, NAK, REASONS, STX, checksum, framed
from simulator.families.fresenius_module import ALARM_BITS, ERROR_BITS, ERRORS
from simulator.troubles import RULES, Trouble
from tests.wire.test_sim_newera import Host, single_bytes, whole

VECTORS = json.loads((Path(__file__).parents[1] / "transcripts" / "sim_fresenius.json").read_text(encoding="ascii"))
EXCHANGES = [pytest.param(vector, id=vector["note"]) for group in list(VECTORS)[1:] for vector in VECTORS[group]]
FAST = 60.0  # simulated seconds a wire second


class Bed(Host):
    """A host with good manners on the line, unless told otherwise."""

    def __init__(self, pieces: Callable[[bytes], Iterable[bytes]] = whole, speed: float = 1.0, **options: Any) -> None:
        how = {name: options.pop(name) for name in list(options) if name in Invented.__dataclass_fields__}
        self.answers: list[str] = []
        self.events: list[str] = []
        self.naks: list[str] = []
        self.enqs = self.acks = 0
        self.says_dc4 = self.says_ack = self.answers_events = True
        self._heard = b""
        super().__init__(Device("fresenius", speed=speed, invented=Invented(**how), **options), pieces)

    def listen(self) -> None:
        """Take what has come, as a host does: byte by byte."""
        self._heard += self.read()
        while self._heard:
            self._heard = self._take(self._heard)

    def _take(self, heard: bytes) -> bytes:
        first = heard[0]
        if first == ENQ:
            self.enqs += 1
            if self.says_dc4:
                self.write(bytes((DC4,)))
            return heard[1:] + self.read()
        if first == ACK:
            self.acks += 1
            return heard[1:]
        if first == NAK:
            self.naks.append(chr(heard[1]))
            return heard[2:]
        assert first == STX
        end = heard.index(ETX)
        content = heard[1:end]
        inside = content.count(ENQ)
        text = content.replace(bytes((ENQ,)), b"").decode("ascii")
        assert checksum(text[:-2]) == text[-2:]
        self._frame(text[:-2])
        return bytes((ENQ,)) * inside + heard[end + 1 :] + self.read()

    def _frame(self, text: str) -> None:
        if self.says_ack:
            self.write(bytes((ACK,)))
        origin = text[:1] if text[:1].isdigit() else ""
        if text.removeprefix(origin)[0] == "E":
            self.events.append(text)
            if self.answers_events:
                self.write(framed(f"{origin}E"))
        else:
            self.answers.append(text)

    def say(self, text: str) -> str | None:
        """Ask; return the text of the answer."""
        self.listen()
        self.answers.clear()
        self.write(framed(text))
        self.listen()
        return self.answers.pop() if self.answers else None

    def live(self, seconds: float) -> None:
        """Let time pass, listening."""
        end = self.at + seconds
        while self.at < end - 1e-9:
            self.wait(min(0.1, end - self.at))
            self.listen()

    def do(self, do: str, **keys: Any) -> None:
        assert self.device.control({"do": do, **keys}) == {"ok": True}

    def truth(self) -> dict[str, Any]:
        return self.device.truth()


def with_base(**options: Any) -> Bed:
    bed = Bed(**options)
    assert bed.say("0DC") == "0C"
    bed.live(1.001)
    return bed


def linked(**options: Any) -> Bed:
    bed = with_base(**options)
    assert bed.say("1DC") == "1C"
    return bed


def in_pc(**options: Any) -> Bed:
    bed = linked(**options)
    assert bed.say("1MO;2") == "1C"
    return bed


def running(rate: str = "0258", **options: Any) -> Bed:
    bed = in_pc(**options)
    assert bed.say(f"1PR;{rate}") == "1C"
    assert bed.truth()["state"] == "running"
    return bed


def alone(**options: Any) -> Bed:
    bed = Bed(link="standalone", **options)
    assert bed.say("DC") == "C"
    return bed


def gave_5_ml(**options: Any) -> Bed:
    bed = running("0064", speed=FAST, **options)
    bed.live(30)
    return bed


def with_event(**options: Any) -> Bed:
    bed = in_pc(speed=FAST, **options)
    bed.say("1DE;r")
    bed.say("1PR;0258")
    bed.wait(1.0)
    return bed


def in_pc_alone(**options: Any) -> Bed:
    bed = alone(**options)
    assert bed.say("MO;2") == "C"
    return bed


def in_alarm(**options: Any) -> Bed:
    bed = in_pc(**options)
    bed.do("alarm", name="occlusion")
    return bed


SITUATIONS: dict[str, Callable[..., Bed]] = {
    "connect to base": Bed,
    "which modules? (1,2,3 present)": lambda **options: with_base(modules="123", **options),
    "connect module 1": with_base,
    "connect standalone syringe (no address)": lambda **options: Bed(link="standalone", **options),
    "read rate 10.0 ml/h": lambda **options: running("0064", **options),
    "read volume 5.000 ml": gave_5_ml,
    "read two variables": gave_5_ml,
    "set rate 10.0 ml/h": in_pc,
    "set rate, documentation example, standalone 800.0 ml/h": in_pc_alone,
    "pause": running,
    "refused: alarm present": in_alarm,
    "refused: no rate yet": in_pc,
    "refused: module link not open": lambda **options: linked(modules="12", **options),
    "release PC control": in_pc,
}
PUMP_FIRST = ("event from pump then host answer", "line check from pump")


@pytest.mark.parametrize("pieces", [whole, single_bytes])
@pytest.mark.parametrize("vector", [each for each in EXCHANGES if each.values[0]["note"] not in PUMP_FIRST])  # type: ignore[index]
def test_the_pump_answers_as_in_the_transcript(vector: dict[str, str], pieces: Any) -> None:
    bed = SITUATIONS.get(vector["note"], linked)(pieces=pieces, enq_inside_every=0)
    bed.read()
    host, pump = bytes.fromhex(vector["host_hex"]), bytes.fromhex(vector["pump_hex"])
    said = b""
    for frame in host.split(b"\x03")[:-1]:
        said += bed.ask(frame + b"\x03")
        bed.write(bytes((ACK,)))
    assert said == pump


def test_an_event_is_acknowledged_and_answered() -> None:
    (vector,) = (each for each in VECTORS["regression"] if each["note"] == PUMP_FIRST[0])
    bed = with_event(enq_inside_every=0)
    said = bed.read().replace(bytes((ENQ,)), b"")
    assert said == bytes.fromhex(vector["pump_hex"])
    assert bed.ask(bytes.fromhex(vector["host_hex"])) == bytes((ACK,))
    bed.wait(0.9)
    assert bed.read().replace(bytes((ENQ,)), b"") == b""
    bed.wait(0.2)
    assert b"1E;r000007D0" in bed.read().replace(bytes((ENQ,)), b"")


def test_the_line_is_checked() -> None:
    bed = with_base()
    bed.enqs = 0
    bed.wait(1.1)
    assert bed.read() == bytes((ENQ,))
    assert bed.ask(bytes((DC4,))) == b""
    quiet = Bed()
    quiet.wait(30)
    assert quiet.read() == b""


def test_where_the_vectors_come_from_is_kept_apart() -> None:
    assert [len(VECTORS[group]) for group in ("truth", "published", "regression")] == [1, 6, 14]
    assert bytes.fromhex(VECTORS["truth"][0]["host_hex"]) == framed("PR;1F40")


def test_the_checksum_is_that_of_the_makers_example() -> None:
    assert checksum("PR;1F40") == "47"
    assert framed("PR;1F40") == bytes.fromhex("02 50 52 3b 31 46 34 30 34 37 03")


# -- the line


def test_every_split_of_a_frame_is_the_same_frame() -> None:
    frame = framed("0DC")
    for cut in range(1, len(frame)):
        bed = Bed()
        bed.write(frame[:cut])
        bed.wait(10)
        assert bed.ask(frame[cut:]) == bytes((ACK,)) + framed("0C"), cut


@pytest.mark.shows("H58")
@pytest.mark.parametrize("bit", range(8))
def test_no_damaged_frame_is_obeyed(bit: int) -> None:
    frame = framed("1PR;0258")
    for position in range(len(frame)):
        bed = in_pc()
        damaged = bytearray(frame)
        damaged[position] ^= 1 << bit
        bed.ask(bytes(damaged))
        assert bed.truth()["state"] == "held", position
        bed.read()
        assert bed.ask(framed("1PR;0258")).startswith(bytes((ACK,))), position


def test_half_a_frame_is_forgotten_with_the_next() -> None:
    bed = Bed()
    bed.write(framed("0DC")[:4])
    assert bed.say("0DC") == "0C"


def test_bytes_between_frames_do_not_matter() -> None:
    bed = Bed()
    assert bed.ask(b"\xff\x00abc\x03\r\n" + framed("0DC") + b"zz") == bytes((ACK,)) + framed("0C")


def test_bytes_of_the_line_may_stand_inside_a_frame() -> None:
    frame = framed("0DC")
    for position in range(1, len(frame)):
        bed = Bed()
        noise = bytes((ACK, DC4, ENQ, NAK, ord("2")))
        assert bed.ask(frame[:position] + noise + frame[position:]) == bytes((ACK,)) + framed("0C"), position


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x02" + b"0DC\xc6", "1"),
        (b"\x02" + b"0D\x7f", "1"),
        (framed("0DC").replace(b"48", b"47"), "2"),
        (framed("0LE;b").replace(b"A1", b"a1"), "2"),
        (framed("9DC"), "4"),
        (framed("DC"), "4"),
        (b"\x02A\x03", "7"),
        (b"\x02" + b"x" * (MAX_FRAME + 1), "7"),
        (b"\x02" + b"0D\x01", "8"),
    ],
)
def test_reasons_of_a_nak(frame: bytes, reason: str) -> None:
    bed = Bed()
    assert bed.ask(frame) == b"\x15" + reason.encode("ascii")
    assert bed.ask(framed("0DC")) == bytes((ACK,)) + framed("0C")


def test_a_pump_alone_has_no_address() -> None:
    bed = Bed(link="standalone")
    assert bed.ask(framed("1DC")) == b"\x154"
    assert bed.ask(framed("DC")) == bytes((ACK,)) + framed("C")


def test_an_answer_without_ack_makes_the_next_command_wait() -> None:
    bed = linked()
    bed.says_ack = False
    assert bed.say("1LE;d") == "1C;d0000"
    bed.live(0.5)
    assert (bed.say("1LE;d"), bed.naks) == (None, ["6"])
    bed.live(0.6)
    assert bed.naks == ["6", "5"]
    assert bed.say("1LE;d") == "1C;d0000"


def test_a_refused_answer_is_repeated_twice() -> None:
    bed = linked()
    answer = framed("1C;d0000")
    assert bed.ask(framed("1LE;d")) == bytes((ACK,)) + answer
    assert bed.ask(b"\x152") == answer
    assert bed.ask(b"\x152") == answer
    assert bed.ask(b"\x152") == b""
    assert bed.ask(b"\x152") == b""
    assert bed.say("1LE;d") == "1C;d0000"


def test_a_line_check_may_stand_inside_a_frame() -> None:
    bed = linked(enq_inside_every=1)
    raw = bed.ask(framed("1LE;d"))
    middle = raw.index(ENQ)
    assert raw.index(STX) < middle < raw.index(ETX)
    assert raw.replace(bytes((ENQ,)), b"") == bytes((ACK,)) + framed("1C;d0000")


@pytest.mark.parametrize("reason", REASONS)
def test_a_nak_can_be_ordered(reason: str) -> None:
    bed = linked()
    bed.do("nak_next", reason=reason)
    assert (bed.say("1LE;d"), bed.naks) == (None, [reason])
    assert bed.say("1LE;d") == "1C;d0000"


# -- sessions


def test_after_connecting_the_base_needs_a_second() -> None:
    bed = Bed()
    bed.say("0DC")
    bed.live(0.95)
    assert (bed.say("1DC"), bed.naks) == (None, ["6"])
    bed.live(0.1)
    assert bed.say("1DC") == "1C"


def test_links_are_opened_in_their_order() -> None:
    bed = Bed(modules="12")
    assert bed.say("1DC") == "1I;0D"
    assert bed.say("0LE;b") == "0I;0D"
    bed.say("0DC")
    bed.live(1.1)
    assert bed.say("1LE;d") == "1I;1E"
    assert bed.say("3DC") == "3I;0E"
    assert (bed.say("1DC"), bed.say("1LE;d"), bed.say("2LE;d")) == ("1C", "1C;d0000", "2I;1E")
    assert bed.say("1FC") == "1C"
    assert bed.say("1LE;d") == "1I;1E"
    bed.say("1DC")
    assert bed.say("0FC") == "0C"
    assert bed.say("1LE;d") == "1I;0D"


def test_a_session_is_not_closed_in_pc_control() -> None:
    bed = in_pc()
    assert (bed.say("1FC"), bed.say("0FC")) == ("1I;1F", "0I;1F")
    bed.say("1MO;1")
    assert (bed.say("1FC"), bed.say("0FC")) == ("1C", "0C")
    lax = in_pc(close_needs_manual=False)
    assert (lax.say("0FC"), lax.truth()["pc"]) == ("0C", False)


def test_a_module_that_was_reset_has_forgotten_its_host() -> None:
    bed = running()
    bed.say("1DE;d")
    bed.do("module", state="reset")
    assert bed.truth()["state"] == "held"
    assert bed.say("1LE;d") == "1I;1E"
    bed.say("1DC")
    assert bed.say("1LE;m") == "1C;m01"
    bed.events.clear()
    bed.live(3)
    assert bed.events == []


def test_a_module_is_taken_out_and_put_back() -> None:
    bed = linked(modules="123")
    assert (bed.say("0LE;b"), bed.say("0LE;ib")) == ("0C;b07", "0C;i03;b07")
    bed.do("module", state="out")
    assert (bed.say("0LE;b"), bed.say("1LE;d")) == ("0C;b06", "1I;0E")
    bed.do("module", state="in")
    assert (bed.say("0LE;b"), bed.say("1LE;d")) == ("0C;b07", "1I;1E")
    assert "no slot" in alone().device.control({"do": "module", "state": "out"})["error"]


@pytest.mark.parametrize(
    ("link_loss", "state", "alarm"), [("runs_on", "running", None), ("alarms", "running", "a"), ("stops", "held", "a")]
)
def test_a_host_that_leaves_the_line_check_unanswered_is_lost(link_loss: str, state: str, alarm: str | None) -> None:
    bed = running(link_loss=link_loss)
    bed.live(5)
    assert bed.truth()["session"] is True
    bed.says_dc4 = False
    bed.live(4)
    assert bed.truth()["session"] is True
    bed.live(3)
    truth = bed.truth()
    assert (truth["session"], truth["pc"], truth["linked"], truth["state"]) == (False, False, False, state)
    assert truth["alarm"] == (alarm and "communication")
    enqs = bed.enqs
    bed.live(10)
    assert bed.enqs == enqs
    bed.says_dc4 = True
    assert bed.say("1LE;d") == "1I;0D"
    assert bed.say("0DC") == "0C"


def test_a_pulled_cable_is_a_host_that_does_not_answer() -> None:
    bed = running()
    bed.do("disconnect")
    bed.wait(7)
    assert (bed.truth()["session"], bed.truth()["state"]) == (False, "running")


def test_one_answer_to_the_line_check_is_enough() -> None:
    bed = linked()
    for _ in range(5):
        bed.says_dc4 = False
        bed.live(3.9)
        bed.says_dc4 = True
        bed.live(2.1)
    assert bed.truth()["session"] is True


def test_nobody_is_checked_outside_of_a_session() -> None:
    bed = linked()
    bed.say("0FC")
    bed.enqs = 0
    bed.live(10)
    assert bed.enqs == 0
    bed.say("0DC")
    bed.live(2.1)
    assert bed.enqs == 1
    bed.do("reboot")
    bed.live(10)
    assert bed.enqs == 1
    single = alone()
    single.live(10)
    assert (single.enqs, single.truth()["session"]) == (5, True)
    single.say("FC")
    single.live(10)
    assert (single.enqs, single.truth()["session"]) == (5, False)


def test_after_a_power_cut_every_link_is_opened_anew() -> None:
    bed = running()
    bed.do("reboot")
    assert bed.say("1LE;d") == "1I;0D"
    bed.say("0DC")
    bed.live(1.1)
    assert bed.say("1LE;d") == "1I;1E"
    bed.say("1DC")
    assert bed.say("1LE;dm") == "1C;d0000;m01"


def test_line_checks_are_in_wire_seconds() -> None:
    bed = running(speed=FAST)
    bed.enqs = 0
    bed.live(10)
    assert bed.enqs == 5


# -- variables and events


def test_variables_have_the_scales_that_are_known() -> None:
    bed = running(speed=FAST, drug="KETAMINE")
    bed.live(2)
    assert bed.say("1LE;dm") == "1C;d0258;m02"
    (volume,) = ((bed.say("1LE;r") or "").split(";r")[1:]) or [""]
    assert int(volume, 16) == pytest.approx(bed.truth()["infused_ml"] * 1000, abs=1)
    assert bed.say("1LE;aeks") == "1C;a0000;e0000;k0000;s00000000"
    assert bed.say("1LP") == "1C;KETAMINE"
    assert (bed.say("1LF;b"), bed.say("0LF;b")) == ("1C;bMODULE DPS", "0C;bBASE A")
    assert bed.say("1RV") == "1C"
    assert bed.say("1LE;r") == "1C;r00000000"
    bed.say("1PO")
    assert bed.say("1LE;d") == "1C;d0000"


def test_widths_and_meanings_may_be_others() -> None:
    bed = running(rate_width=2, volume_width=4, d_is_set_rate=True)
    bed.say("1PO")
    assert bed.say("1LE;dr") == "1C;d258;r0000"


@pytest.mark.parametrize("trouble", sorted({*ALARM_BITS, *ERROR_BITS}))
def test_every_alarm_is_told_in_its_bit(trouble: Trouble) -> None:
    bed = running()
    bed.do("alarm", name=str(trouble))
    bits = f"a{ALARM_BITS.get(trouble, 0):04X};e{ERROR_BITS.get(trouble, 0):04X}"
    assert bed.say("1LE;ae") == f"1C;{bits}"
    stops = RULES[trouble].stops and trouble is not Trouble.COMMUNICATION
    assert bed.truth()["state"] == ("held" if stops else "running")
    assert bed.say("1PR;0064") == "1I;12"
    bed.do("alarm_over", name=str(trouble))
    bed.do("press", key="mute")
    assert bed.say("1LE;ae") == "1C;a0000;e0000"


def test_alarm_bits_are_all_different() -> None:
    for bits in (ALARM_BITS, ERROR_BITS):
        assert len(set(bits.values())) == len(bits)


def test_only_what_has_changed_is_told() -> None:
    bed = linked()
    bed.say("1DE;da")
    bed.live(1.1)
    assert bed.events == ["1E;d0000;a0000"]
    bed.live(5)
    assert bed.events == ["1E;d0000;a0000"]
    bed.do("alarm", name="occlusion")
    bed.live(1.1)
    assert bed.events[1:] == ["1E;a0001"]
    assert bed.say("1AE") == "1C"
    bed.do("alarm_over", name="occlusion")
    bed.do("press", key="mute")
    bed.live(3)
    assert len(bed.events) == 2


def test_an_event_without_an_answer_is_repeated_three_times_then_nothing_is_told_any_more() -> None:
    bed = linked()
    bed.answers_events = False
    bed.say("1DE;d")
    bed.live(3.9)
    assert bed.events == ["1E;d0000"] * 3
    bed.live(10)
    assert bed.events == ["1E;d0000"] * 4
    assert bed.truth()["subscribed"] == []
    assert bed.say("1LE;d") == "1C;d0000"  # the link itself is open still


def test_events_and_answers_may_cross() -> None:
    bed = linked()
    bed.says_ack = bed.answers_events = False
    bed.say("1DE;d")
    bed.write(bytes((ACK,)))
    bed.wait(1.05)
    assert bed.say("1LE;m") == "1C;m01"
    assert bed.events == ["1E;d0000"]


def test_events_that_nobody_acknowledged_do_not_take_the_ack_of_an_answer() -> None:
    bed = linked(ack_within_s=60.0)
    bed.says_ack = bed.answers_events = False
    bed.say("1DE;d")
    bed.write(bytes((ACK,)))
    bed.live(10)
    bed.says_ack = True
    assert (bed.say("1LE;d"), bed.say("1LE;d")) == ("1C;d0000", "1C;d0000")


def test_modules_take_turns() -> None:
    bed = linked(modules="123")
    bed.say("2DC")
    bed.say("1DE;r")
    bed.say("2DE;r")
    bed.say("1MO;2")
    bed.say("1PR;04B0")
    bed.live(3.3)
    assert [event[0] for event in bed.events[:2]] == ["1", "2"]
    assert bed.events[1] == "2E;r00000000"


def test_a_module_beside_runs_on_its_own() -> None:
    bed = linked(modules="12", speed=FAST)
    bed.say("2DC")
    bed.say("2MO;2")
    bed.say("2PR;0258")
    bed.live(3)
    assert bed.truth()["state"] == "held"
    assert bed.truth()["others"][2]["plunger_ml"] == pytest.approx(3.0, abs=0.02)
    bed.do("power_off")
    assert bed.say("2LE;a") == "2C;a0080"
    bed.do("reboot")
    assert bed.truth()["others"][2]["state"] == "held"


# -- orders


def test_orders_need_pc_control() -> None:
    bed = linked()
    assert (bed.say("1PR;0064"), bed.say("1PO")) == ("1I;02", "1I;02")
    assert (bed.say("1MO;2"), bed.say("1MO;2"), bed.say("1LE;m")) == ("1C", "1I;06", "1C;m02")
    assert (bed.say("1MO;3"), bed.say("1MO")) == ("1I;08", "1I;04")
    assert linked(pc_control="off").say("1MO;2") == "1I;22"


def test_a_pump_that_a_person_started_is_not_taken() -> None:
    bed = linked()
    bed.do("set_rate", ml_h=60)
    bed.do("press", key="run")
    assert bed.say("1MO;2") == "1I;09"
    assert linked(pc_while_running=True).say("1MO;2") == "1C"


def test_a_key_ends_pc_control() -> None:
    bed = running()
    bed.do("press", key="rate_up")
    assert (bed.say("1LE;m"), bed.say("1PO")) == ("1C;m01", "1I;02")
    assert bed.truth()["state"] == "running"
    shared = running(key_takes_back=False)
    shared.do("press", key="rate_up")
    assert (shared.say("1LE;d"), shared.say("1PO")) == ("1C;d0294", "1C")


def test_what_was_released_runs_on() -> None:
    bed = running(speed=FAST)
    bed.say("1MO;1")
    bed.say("0FC")
    bed.live(2)
    assert bed.truth()["state"] == "running"
    assert bed.truth()["plunger_ml"] == pytest.approx(2.0, abs=0.02)


def test_start_rules() -> None:
    bed = in_pc()
    assert (bed.say("1PO"), bed.truth()["state"]) == ("1I;14", "held")
    assert (bed.say("1PR;0064"), bed.truth()["state"]) == ("1C", "running")
    assert (bed.say("1PO"), bed.truth()["state"]) == ("1C", "held")
    assert (bed.say("1PO"), bed.truth()["state"]) == ("1I;03", "held")
    assert (bed.say("1PR;0064"), bed.truth()["state"]) == ("1C", "running")
    toggle = in_pc(start_rule="po")
    assert (toggle.say("1PR;0064"), toggle.truth()["state"]) == ("1C", "held")
    assert (toggle.say("1PO"), toggle.truth()["state"]) == ("1C", "running")
    assert (toggle.say("1PO"), toggle.truth()["state"]) == ("1C", "held")
    by_hand = in_pc(start_rule="keypad", key_takes_back=False)
    assert (by_hand.say("1PR;0064"), by_hand.say("1PO"), by_hand.truth()["state"]) == ("1C", "1I;03", "held")
    by_hand.do("press", key="run")
    assert (by_hand.truth()["state"], by_hand.say("1PO")) == ("running", "1C")


@pytest.mark.parametrize(
    ("argument", "code"), [("0000", "08"), ("2EE1", "08"), ("64", "04"), ("00G4", "04"), ("0a64", "04")]
)
def test_rates_that_are_refused(argument: str, code: str) -> None:
    bed = running()
    assert bed.say(f"1PR;{argument}") == f"1I;{code}"
    assert bed.truth()["rate_ml_h"] == 60.0


def test_a_warning_bars_orders_or_not() -> None:
    bed = running(any_alarm_bars=False)
    bed.do("alarm", name="mains_lost")
    assert bed.say("1PR;0064") == "1C"
    bed.do("alarm", name="occlusion")
    assert bed.say("1PR;0064") == "1I;12"
    toggle = in_pc(start_rule="po")
    toggle.say("1PR;0064")
    toggle.do("alarm", name="occlusion")
    assert toggle.say("1PO") == "1I;12"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1XX", "01"),
        ("0XX", "01"),
        ("1", "04"),
        ("1D", "04"),
        ("1LE;", "04"),
        ("1LE", "04"),
        ("1LE;D", "0B"),
        ("1LE;z", "0A"),
        ("1LE;b", "0A"),
        ("0LE;d", "0A"),
        ("1DC;1", "04"),
        ("0PR;0064", "20"),
        ("1LE;" + "d" * 80, "0C"),
        *((f"1{command}", "20") for command in CLOSED),
    ],
)
def test_error_codes(text: str, code: str) -> None:
    assert linked().say(text) == f"{text[0]}I;{code}"


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_code_can_be_ordered(code: str) -> None:
    bed = running()
    bed.do("refuse_next", code=code)
    assert bed.say("1PO") == f"1I;{code}"
    assert bed.truth()["state"] == "running"
    assert bed.say("1PO") == "1C"


def test_the_line_closes_and_opens_again() -> None:
    bed = running(speed=FAST)
    bed.do("occlude")
    bed.live(2)
    assert (bed.say("1LE;da"), bed.truth()["state"]) == ("1C;d0000;a0001", "held")
    bed.do("release")
    assert bed.say("1PR;0258") == "1I;12"
    bed.do("press", key="mute")
    assert (bed.say("1LE;a"), bed.say("1MO;2"), bed.say("1PR;0258")) == ("1C;a0000", "1C", "1C")


def test_the_syringe_runs_out() -> None:
    bed = running(speed=FAST, fill_ml=3.0)
    bed.live(2.5)
    assert bed.say("1LE;da") == "1C;d0258;a0004"
    bed.live(1)
    assert bed.say("1LE;da") == "1C;d0000;a0002"
    assert bed.truth()["plunger_ml"] == pytest.approx(3.0)


def test_a_power_cut_and_the_battery() -> None:
    bed = running(battery_min=40, speed=FAST, any_alarm_bars=False)
    bed.do("power_off")
    bed.live(1)
    assert bed.say("1LE;a") == "1C;a0080"
    bed.live(60)
    assert bed.say("1LE;a") is None
    bed.do("power_on")
    assert bed.truth()["powered"] is True
    assert bed.say("1LE;a") == "1I;0D"


@pytest.mark.parametrize("name", [*CHOICES, "enq_period_s", "ack_within_s"])
def test_a_choice_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = "):
        Invented(**{name: "x" if name in CHOICES else 0})  # type: ignore[arg-type]


def test_slots_are_digits() -> None:
    with pytest.raises(ValueError, match="modules '19': expected digits from 1 to 8"):
        Device("fresenius", modules="19")
