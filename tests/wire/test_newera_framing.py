"""New Era packets and numbers: CRC vectors, golden transcripts, every split, dirt, damage, silence."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import basic, lines_of, safe

from drivers.newera_wire import BANDS, READINGS, Framing, NewEraFramer, comparable, plain, safe_packet, spell
from pumpd.driver import Damaged, Frame, Grid

# docs/devices/newera.md, section "Check vectors": two manuals' example, NESP-Lib, PyExpLabSys, octopus agree.
QUESTIONS = {
    "SAF0": "02 08 53 41 46 30 55 43 03",
    "0SAF0": "02 09 30 53 41 46 30 59 AD 03",
    "0SAF10": "02 0A 30 53 41 46 31 30 63 BE 03",
    "SAF": "02 07 53 41 46 11 61 03",
    "": "02 04 00 00 03",
    "0": "02 05 30 36 53 03",
    "0VER": "02 08 30 56 45 52 48 09 03",
    "0DIA26.59": "02 0D 30 44 49 41 32 36 2E 35 39 57 EF 03",
    "0RAT2.000MM": "02 0F 30 52 41 54 32 2E 30 30 30 4D 4D 3C 2C 03",
    "0RUN": "02 08 30 52 55 4E 44 07 03",
    "0STP": "02 08 30 53 54 50 B3 F9 03",
    "0DIS": "02 08 30 44 49 53 30 46 03",
    "SAF5": "02 08 53 41 46 35 05 E6 03",
    "123456789": "02 0D 31 32 33 34 35 36 37 38 39 31 C3 03",
}
ANSWERS = {
    "00S": "02 07 30 30 53 AA A6 03",
    "03S": "02 07 30 33 53 FF F5 03",
    "00I": "02 07 30 30 49 19 DD 03",
    "00P": "02 07 30 30 50 9A C5 03",
    "00A?R": "02 09 30 30 41 3F 52 65 86 03",
    "00A?T": "02 09 30 30 41 3F 54 05 40 03",
    "00A?S": "02 09 30 30 41 3F 53 75 A7 03",
    "00S?COM": "02 0B 30 30 53 3F 43 4F 4D B5 80 03",
    "00S?OOR": "02 0B 30 30 53 3F 4F 4F 52 23 3F 03",
    "00SNE1000V3.928": "02 13 30 30 53 4E 45 31 30 30 30 56 33 2E 39 32 38 27 22 03",
    "00II0.100W0.000ML": "02 15 30 30 49 49 30 2E 31 30 30 57 30 2E 30 30 30 4D 4C 93 45 03",
}
ANY = None
DIRT = b"\xff\x00\x15 00S\x03\r"


def expected(text: str) -> Frame:
    address, said = text[:2], text[2:]
    return Frame("alarm", said[2:].encode(), address) if said[:2] == "A?" else Frame("reply", said.encode(), address)


def read_all(pieces: Iterable[bytes], framing: Framing | None = ANY) -> list[Frame | Damaged]:
    framer = NewEraFramer()
    framer.framing = framing
    found: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        found += framer.frames()
    framer.silence(0.5)
    found += framer.frames()
    return found


def ways(raw: bytes) -> Iterable[list[bytes]]:
    yield [raw]
    yield [bytes([byte]) for byte in raw]
    yield from ([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))
    yield [DIRT + raw + DIRT]
    yield [bytes([byte]) for byte in DIRT + raw + DIRT]


@pytest.mark.parametrize(("text", "packet"), QUESTIONS.items())
def test_a_question_is_packed_as_the_vectors_say(text: str, packet: str) -> None:
    assert safe_packet(text) == bytes.fromhex(packet)


def test_the_tests_own_checksum_agrees_with_the_vectors() -> None:
    for text, packet in {**QUESTIONS, **ANSWERS}.items():
        assert safe(text) == bytes.fromhex(packet)


@pytest.mark.shows("H58")
@pytest.mark.parametrize("framing", [ANY, Framing.SAFE])
@pytest.mark.parametrize(("text", "packet"), ANSWERS.items())
def test_a_safe_answer_is_read_in_any_pieces_and_through_dirt(text: str, packet: str, framing: Framing | None) -> None:
    for pieces in ways(bytes.fromhex(packet)):
        assert read_all(pieces, framing) == [expected(text)]


@pytest.mark.parametrize("framing", [ANY, Framing.BASIC])
@pytest.mark.parametrize("text", [*ANSWERS, "03S26.59", "00WI1.234W99.99ML", "00T", "00U", "00X", "00A?", "00I?IGN"])
def test_a_basic_answer_is_read_in_any_pieces_and_through_dirt(text: str, framing: Framing | None) -> None:
    for pieces in ways(basic(text)):
        assert read_all(pieces, framing) == [expected(text)]


def test_an_address_of_one_digit_is_taken() -> None:
    assert read_all([basic("3S")]) == [Frame("reply", b"S", "03")]


@pytest.mark.parametrize("name", ["golden_basic", "golden_safe"])
def test_golden_transcripts_read_back_to_back_and_byte_by_byte(name: str) -> None:
    answers = [raw for who, raw in lines_of(name) if who == "<"]
    texts = [raw[1:-1] if raw[1] in b"0123456789" else raw[2:-3] for raw in answers]
    frames = [expected(text.decode()) for text in texts]
    assert len(frames) >= 5
    assert read_all([b"".join(answers)]) == frames
    assert read_all(bytes([byte]) for byte in b"".join(answers)) == frames


def test_checksum_bytes_may_look_like_packet_bytes() -> None:
    found = [text for text in (f"00S{n:04d}" for n in range(10000)) if set(safe(text)[-3:-1]) & {0x02, 0x03, 0x0D}]
    assert len(found) > 100
    for text in found:
        assert read_all([safe(text) * 2], Framing.SAFE) == [expected(text)] * 2


@pytest.mark.shows("H58")
@pytest.mark.parametrize("framing", [ANY, Framing.SAFE])
@pytest.mark.parametrize(("text", "packet"), ANSWERS.items())
def test_no_flipped_bit_reads_as_another_answer(text: str, packet: str, framing: Framing | None) -> None:
    raw = bytes.fromhex(packet)
    for bit in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        assert [frame for frame in read_all([bytes(damaged)], framing) if isinstance(frame, Frame)] == [], bit
        assert [frame for frame in read_all(bytes([byte]) for byte in damaged) if isinstance(frame, Frame)] == [], bit
        behind = [frame for frame in read_all([bytes(damaged) + raw], framing) if isinstance(frame, Frame)]
        assert behind in ([], [expected(text)]), bit


@pytest.mark.shows("H58")
@pytest.mark.parametrize(("packet"), ANSWERS.values())
def test_a_wrong_checksum_is_told_as_damage(packet: str) -> None:
    raw = bytearray.fromhex(packet)
    raw[-2] ^= 1
    assert read_all([bytes(raw)], Framing.SAFE) == [Damaged(bytes(raw), "checksum or end of packet is wrong")]


def test_a_damaged_packet_does_not_hide_the_next() -> None:
    good, bad = safe("00I"), bytearray(safe("00SI1.234W0.000ML"))
    bad[7] ^= 0x04
    found = read_all([bytes(bad) + good], Framing.SAFE)
    assert isinstance(found[0], Damaged)
    assert found[1:] == [Frame("reply", b"I", "00")]


def test_a_length_that_grew_does_not_swallow_the_next_packet() -> None:
    good, bad = safe("00I"), bytearray(safe("00S"))
    bad[1] += 2
    found = read_all([bytes(bad) + good], Framing.SAFE)
    assert isinstance(found[0], Damaged)
    assert found[1:] == [Frame("reply", b"I", "00")]


def test_once_the_mode_is_known_the_other_framing_is_noise() -> None:
    assert read_all([basic("00S"), safe("00I")], Framing.SAFE) == [expected("00I")]
    assert read_all([safe("00I"), basic("00S")], Framing.BASIC) == [expected("00S")]


def test_the_framer_tells_how_the_latest_answer_was_framed() -> None:
    framer = NewEraFramer()
    framer.feed(basic("00S"))
    assert list(framer.frames())
    assert framer.heard is Framing.BASIC
    framer.feed(safe("00S"))
    assert list(framer.frames())
    assert framer.heard is Framing.SAFE


@pytest.mark.parametrize("framing", [ANY, Framing.BASIC, Framing.SAFE])
def test_an_over_long_packet_is_noise_and_the_next_is_read(framing: Framing | None) -> None:
    good = basic("00I") if framing is Framing.BASIC else safe("00I")
    for noise in (b"\x02" + b"00S" + b"1" * 60 + b"\x03", b"\x02\xf0" + b"x" * 20):
        assert read_all([noise, good], framing)[-1] == expected("00I")
        assert read_all([bytes([byte]) for byte in noise + good], framing)[-1] == expected("00I")


@pytest.mark.parametrize("raw", [safe("00S"), basic("00S")])
def test_silence_drops_half_a_packet_but_a_short_gap_does_not(raw: bytes) -> None:
    for cut in range(1, len(raw)):
        framer = NewEraFramer()
        framer.feed(raw[:cut])
        assert list(framer.frames()) == []
        framer.silence(0.49)
        framer.feed(raw[cut:])
        assert list(framer.frames()) == [expected("00S")]

        framer.feed(raw[:cut])
        assert list(framer.frames()) == []
        framer.silence(0.5)
        framer.feed(raw[cut:])
        assert list(framer.frames()) == []
        framer.reset()
        framer.feed(raw)
        assert list(framer.frames()) == [expected("00S")]


def test_a_checked_packet_without_a_state_is_damage() -> None:
    for text in ("", "0", "S", "00s", "00?"):
        assert all(isinstance(found, Damaged) for found in read_all([safe(text)]))


# --- numbers --------------------------------------------------------------------------------------------------------

GRID = Grid(Decimal("0.001"), Decimal(9999), BANDS)


@given(st.decimals("0.0005", "12000", places=6))
def test_every_settable_number_is_sent_in_five_characters_and_reads_back_exactly(wish: Decimal) -> None:
    settable = GRID.down(wish)
    if settable is None:
        assert wish < Decimal("0.001")
        return
    sent = spell(settable)
    assert len(sent) == 5
    assert Decimal(sent) == settable <= wish
    for unit, name in (("MH", "RAT"), ("ML", "VOL")):
        reading = READINGS[name].fullmatch(sent + unit)
        assert reading is not None
        assert comparable(name, reading) == plain(settable) + unit


@given(st.decimals("0.0001", "20000", places=6))
def test_a_number_off_the_grid_is_never_rounded(value: Decimal) -> None:
    if GRID.down(value) != value:
        with pytest.raises(ValueError, match="not a number the pump can be set to"):
            spell(value)


@pytest.mark.parametrize("value", ["0", "-1", "0.0001", "9.9999", "12.345", "1234.5", "10000"])
def test_nothing_but_settable_numbers_is_spelled(value: str) -> None:
    with pytest.raises(ValueError, match="not a number the pump can be set to"):
        spell(Decimal(value))


@pytest.mark.parametrize(("text", "number"), [("1000", "1000"), ("1000.", "1000"), (".500", "0.5"), ("5.000", "5")])
def test_the_short_forms_of_stand_in_pumps_are_read(text: str, number: str) -> None:
    reading = READINGS["DIA"].fullmatch(text)
    assert reading is not None
    assert comparable("DIA", reading) == number


@pytest.mark.parametrize("text", ["", ".", "12345", "123.45", "1.2345", "1,5", "-1.00", "1e3"])
def test_what_the_pump_cannot_say_is_no_number(text: str) -> None:
    assert READINGS["DIA"].fullmatch(text) is None
