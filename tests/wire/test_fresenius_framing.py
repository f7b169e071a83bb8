"""Fresenius frames and bytes of the line: the maker's example, line bytes anywhere, every split, dirt, damage."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import lines_of

from drivers import fresenius_wire as wire
from drivers.fresenius import DRIVER
from drivers.fresenius_wire import INTER_BYTE_S, LONGEST_FRAME, FreseniusFramer, NotOpen, spell
from pumpd.driver import Damaged, Frame, Garbled, Refused

NAMES = ("maker_example", "published", "constructed")
EVERY = [raw for name in NAMES for _, raw in lines_of(name, "fresenius")]
FRAMES = sorted({b"\x02" + part for raw in EVERY for part in raw.split(b"\x02")[1:]})
FRAMES = sorted({raw[: raw.index(b"\x03") + 1] for raw in FRAMES if not raw.startswith(b"\x021LE;d00")})
WRONG = b"\x021LE;d00\x03"  # the vector with the wrong check
DIRT = b"\xff\x00\r\n1C;a0"
ACK, ENQ = Frame("ack", b""), Frame("enq", b"")


def frame_of(raw: bytes) -> Frame:
    """Read apart from the driver."""
    body = raw[1:-3]
    address = body[:1] if body[:1].isdigit() else b""
    data = body[len(address) :]
    kind = {b"C": "reply", b"I": "refusal", b"E": "event", b"M": "event"}.get(data[:1], "other")
    return Frame(kind, data, address.decode())


def read_all(pieces: Iterable[bytes]) -> list[Frame | Damaged]:
    framer = FreseniusFramer()
    found: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        found += framer.frames()
    framer.silence(INTER_BYTE_S)
    return [*found, *framer.frames()]


def believed(pieces: Iterable[bytes]) -> list[Frame]:
    """The frames with text; not the bytes of the line."""
    return [found for found in read_all(pieces) if isinstance(found, Frame) and found.kind not in ("ack", "enq", "nak")]


def ways(raw: bytes) -> Iterable[list[bytes]]:
    yield [raw]
    yield [bytes([byte]) for byte in raw]
    yield from ([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))
    yield [DIRT + raw + DIRT]
    yield [bytes([byte]) for byte in DIRT + raw + DIRT]


def test_the_makers_own_example() -> None:
    assert spell("", "PR;1F40") == lines_of("maker_example", "fresenius")[0][1]
    assert spell("", "PR;1F40") == bytes.fromhex("02 50 52 3b 31 46 34 30 34 37 03")
    assert wire.checksum(b"PR;1F40") == 0x47


def test_the_check_counts_the_address() -> None:
    assert spell("1", "DC") == b"\x021DC47\x03"
    assert spell("", "DC") == b"\x02DC78\x03"


@pytest.mark.parametrize("raw", FRAMES)
def test_every_vector_has_the_check_it_says_and_is_spelled_so(raw: bytes) -> None:
    body = raw[1:-3]
    assert raw[-3:-1] == b"%02X" % (0xFF - sum(body) % 256)
    assert spell("", body.decode()) == raw
    if body[:1].isdigit():
        assert spell(body[:1].decode(), body[1:].decode()) == raw


def test_every_answer_of_the_vectors_says_what_its_row_says() -> None:
    numbers = {"b": 0x07, "d": 100, "r": 5000}  # modules 1 to 3; 10.0 mL/h; 5.000 mL
    answers = [raw for name in NAMES for who, raw in lines_of(name, "fresenius") if who == "<"]
    refused, read = set(), []
    for frame in believed(answers):
        if frame.kind == "refusal":
            refused.add(str(wire.complaint("it", frame)).partition(": refused, ")[2])
        for letter, value in wire.items(frame) if frame.kind == "reply" else ():
            read.append(letter)
            assert value == "MODULE DPS" or wire.number(letter, value) == numbers[letter]
    assert sorted(read) == ["b", "b", "d", "d", "r", "r"]
    assert refused == {"12 (alarm present)", "14 (no rate was chosen)", "1E (module link not open)"}
    (event,) = (frame for frame in believed(answers) if frame.kind == "event")
    assert list(wire.items(event)) == [("r", "000003E8")]
    assert read_all([b"\x152"]) == [Frame("nak", b"2")]
    assert (b"\x152" in answers, b"\x05" in answers) == (True, True)


def test_what_the_pump_says_first_is_answered_as_in_the_vectors() -> None:
    pump, lines = DRIVER.open({"module": 1}), lines_of("constructed", "fresenius")
    told_first = [n for n, (who, _) in enumerate(lines) if who == "<" and (not n or lines[n - 1][0] == "<")]
    assert len(told_first) == 2
    for n in told_first:
        pump.framer.feed(lines[n][1])
        (frame,) = pump.framer.frames()
        assert isinstance(frame, Frame)
        assert pump.on_frame(frame, asking=False).send == lines[n + 1][1]


def test_the_vector_with_a_wrong_check_is_damage() -> None:
    assert read_all([WRONG]) == [Damaged(b"1LE;d00", "wrong check")]


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_a_frame_is_read_in_any_pieces_and_through_dirt(raw: bytes) -> None:
    for pieces in ways(raw):
        assert read_all(pieces) == [frame_of(raw)], pieces


@pytest.mark.parametrize("raw", FRAMES)
@pytest.mark.parametrize(("byte", "told"), [(b"\x06", ACK), (b"\x05", ENQ)])
def test_ack_and_enq_may_stand_anywhere_and_are_no_content(raw: bytes, byte: bytes, told: Frame) -> None:
    for at in range(len(raw) + 1):
        found = read_all([raw[:at] + byte + raw[at:]])
        assert sorted(found, key=repr) == sorted([told, frame_of(raw)], key=repr), at


@pytest.mark.parametrize("byte", [b"\x06", b"\x05"])
def test_they_may_stand_between_a_nak_and_its_reason(byte: bytes) -> None:
    assert Frame("nak", b"2") in read_all([b"\x15" + byte + b"2"])
    assert Frame("nak", b"2") in read_all([b"\x15", byte, b"2"])


def test_a_nak_takes_its_reason_with_it_and_the_next_frame_is_read() -> None:
    assert read_all([b"\x152" + spell("1", "C")]) == [Frame("nak", b"2"), Frame("reply", b"C", "1")]
    assert read_all([b"\x15", b"6"]) == [Frame("nak", b"6")]


def test_all_answers_back_to_back() -> None:
    stream = b"\x06".join(FRAMES)
    expected = [frame_of(raw) for raw in FRAMES]
    assert believed([stream]) == expected
    assert believed(bytes([byte]) for byte in stream) == expected


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_no_changed_byte_reads_as_another_value(raw: bytes) -> None:
    for at in range(len(raw)):
        for flip in range(1, 256):
            damaged = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            assert believed([damaged]) == [], (at, flip)


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_no_changed_byte_hides_the_next_frame(raw: bytes) -> None:
    for at in range(len(raw)):
        for flip in range(1, 256):
            damaged = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            allowed = [] if damaged[-1:] == b"\x15" else [frame_of(raw)]  # a NAK takes the STX for its reason
            assert believed([damaged + raw]) == allowed, (at, flip)


@pytest.mark.parametrize("raw", FRAMES)
def test_a_lost_or_doubled_byte_reads_as_nothing_else(raw: bytes) -> None:
    for at in range(len(raw)):
        for damaged in (raw[:at] + raw[at + 1 :], raw[: at + 1] + raw[at:]):
            assert set(believed([damaged])) <= {frame_of(raw)}, at


@pytest.mark.parametrize("said", [b"", b"0", b"47", b"C", b"1", b"1C8b", b"1C"])
def test_what_is_too_short_or_in_small_letters_is_damage(said: bytes) -> None:
    (found,) = read_all([b"\x02" + said + b"\x03"])
    assert isinstance(found, Damaged)


@pytest.mark.parametrize("byte", [b"\x00", b"\x11", b"\x14", b"\x7f", b"\x80", b"\xff", b"\r"])
def test_a_byte_that_is_no_text_damages_its_frame_only(byte: bytes) -> None:
    (damage, frame) = read_all([b"\x021C" + byte + b"8B\x03" + spell("1", "C")])
    assert isinstance(damage, Damaged)
    assert frame == Frame("reply", b"C", "1")


def test_a_frame_that_begins_inside_another_is_read() -> None:
    (damage, frame) = read_all([b"\x021C;d00" + spell("1", "C")])
    assert damage == Damaged(b"1C;d00", "another frame began inside")
    assert frame == Frame("reply", b"C", "1")


def test_more_than_the_longest_frame_is_not_waited_for() -> None:
    for size, read in ((LONGEST_FRAME - 3, True), (LONGEST_FRAME - 2, False)):
        assert bool(believed([spell("1", "x" * size)])) is read
    assert believed([b"\x02" + b"x" * 1000, spell("1", "C")]) == [Frame("reply", b"C", "1")]


def test_silence_drops_half_a_frame_but_a_short_gap_does_not() -> None:
    raw = spell("1", "C")
    for cut in range(1, len(raw)):
        framer = FreseniusFramer()
        framer.feed(raw[:cut])
        framer.silence(INTER_BYTE_S - 0.01)
        framer.feed(raw[cut:])
        assert list(framer.frames()) == [Frame("reply", b"C", "1")]
        for forget in (lambda framer=framer: framer.silence(INTER_BYTE_S), framer.reset):
            framer.feed(raw[:cut])
            forget()
            framer.feed(raw[cut:])
            assert list(framer.frames()) == []


def test_silence_drops_a_nak_without_its_reason() -> None:
    framer = FreseniusFramer()
    framer.feed(b"\x15")
    framer.silence(INTER_BYTE_S)
    framer.feed(spell("1", "C"))
    assert list(framer.frames()) == [Frame("reply", b"C", "1")]


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_noise_ends_and_the_second_frame_behind_it_is_read(noise: bytes, more: bytes) -> None:
    assert believed([noise, more, spell("1", "C"), spell("2", "C")])[-1] == Frame("reply", b"C", "2")


# --- answers ----------------------------------------------------------------------------------------------------------


def test_items_of_an_answer() -> None:
    assert list(wire.items(Frame("reply", b"C;d0064;r00001388", "1"))) == [("d", "0064"), ("r", "00001388")]
    assert list(wire.items(Frame("reply", b"C;bMODULE DPS", "1"))) == [("b", "MODULE DPS")]
    assert list(wire.items(Frame("reply", b"C"))) == []
    assert list(wire.items(Frame("reply", b"C;;d"))) == [("", ""), ("d", "")]


@pytest.mark.parametrize("value", [None, "", "G", "0064 ", "-1", "0x1", "123456789", "64h", "1_2"])
def test_what_is_no_hex_number_is_garbled(value: str | None) -> None:
    with pytest.raises(Garbled, match="variable d"):
        wire.number("d", value)


def test_numbers_of_any_width() -> None:
    assert [wire.number("d", value) for value in ("64", "0064", "00000064")] == [100] * 3


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        ("refusal", b"I;12", "PR: refused, 12 (alarm present)"),
        ("refusal", b"I;0F", "PR: refused, 0F (not documented)"),
        ("refusal", b"I", "PR: refused, no reason (not documented)"),
        ("nak", b"2", "PR: NAK 2 (wrong check)"),
        ("nak", b"3", "PR: NAK 3 (not documented)"),
        ("nak", b"\xff", "PR: NAK \ufffd (not documented)"),
    ],
)
def test_a_no_is_told_in_words(kind: str, said: bytes, words: str) -> None:
    complaint = wire.complaint("PR", Frame(kind, said))
    assert str(complaint) == words
    assert isinstance(complaint, Refused)
    assert not isinstance(complaint, NotOpen)


@pytest.mark.parametrize("code", ["0D", "1E"])
def test_what_is_not_open_can_be_opened(code: str) -> None:
    assert isinstance(wire.complaint("LE", Frame("refusal", f"I;{code}".encode())), NotOpen)
