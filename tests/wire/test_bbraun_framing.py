"""B. Braun frames, numbers and status words: check value, vectors, every split, dirt, damage, silence."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest
from bbraun_rehearsal import IDENTNR, check, frame, lines_of, no, said, status, transcript
from hypothesis import given
from hypothesis import strategies as st

from drivers import bbraun_wire as wire
from drivers.bbraun_wire import BBraunFramer, Mode, Segment, crc16, framed, read_status
from pumpd.driver import Damaged, Frame, Garbled, Motion, Refused
from pumpd.units import Ml, MlPerHour

GOLDEN = transcript("golden_constructed")
ANSWERS = list(dict.fromkeys(answer for _, answer in GOLDEN))
DIRT = b"\xff\x00\x06\x41\x02\x06\x13"


def expected(raw: bytes) -> Frame:
    body = raw[1:-1].replace(b"\x7d\xa0", b"\x80").replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")
    address = "" if body[:1] == b"\x00" else body[:1].decode()
    return Frame("ack" if body[2] == 6 else "nak", body[1:2] + body[3:-2], address)


def read_all(pieces: Iterable[bytes]) -> list[Frame | Damaged]:
    framer = BBraunFramer()
    found: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        found += framer.frames()
    framer.silence(0.4)
    return [*found, *framer.frames()]


def believed(pieces: Iterable[bytes]) -> list[Frame]:
    return [found for found in read_all(pieces) if isinstance(found, Frame)]


def test_the_check_value_of_the_family_is_not_that_of_its_look_alikes() -> None:
    assert crc16(b"123456789") == 0xA69D
    assert check(b"123456789") == b"\xa6\x9d"


def test_the_drivers_check_agrees_with_the_tests_own() -> None:
    for length in range(0, 60, 7):
        block = bytes((length * 31 + n * 89) % 256 for n in range(length))
        assert crc16(block).to_bytes(2, "big") == check(block)


def test_the_vectors_are_spelled_by_the_driver_byte_for_byte() -> None:
    questions = [
        b"\x00\x01",
        b"\x00\x10" + wire.control(IDENTNR, Mode(0), b"A").replace(b"\xc6\x00", b"\xc6\x02"),  # mode 2 is never ordered
        b"A\x12" + wire.values(1000, 200),
        b"A\x11\x00\x01",
        b"A\x02",
        b"A\x03",
        b"A\x12" + wire.values(1250),
        b"A\x12" + wire.values(999999),
        b"A\x02",
        b"A\x11\x00\x01",
        b"A\x11\x00\x00",
        b"\x00\x10" + wire.control(IDENTNR, Mode.DOCUMENTATION, b"A"),
    ]
    for block, (sent, _) in zip(questions, GOLDEN, strict=False):
        assert framed(block).hex(" ") == sent.hex(" ")
        assert frame(block) == sent


def test_every_vector_is_read_as_its_words_say() -> None:
    read = [believed([answer])[0] for _, answer in GOLDEN]
    ident = wire.Ident(*wire.fields(wire.IDENT, read[0]))
    assert (ident.type_number, ident.serial, ident.protocol, ident.software.strip()) == (1019, 12345, 14, b"V1.0")
    assert [(each.kind, each.data) for each in read[1:4]] == [("ack", b"\x10"), ("ack", b"\x12"), ("ack", b"\x11")]
    running = read_status(read[4])
    assert (running.motion, running.rate, running.remaining) == (Motion.INFUSING, MlPerHour(10), Ml(20))
    assert (running.alarms, running.mode) == (frozenset(), "remote only")
    actual = wire.Actual(*wire.fields(wire.ACTUAL, read[5]))
    assert (actual.pressure, actual.infused, actual.battery_min, actual.syringe_ml) == (35, 50, 300, 50)
    stopped = read_status(read[8])
    assert (stopped.motion, stopped.alarms, stopped.rate) == (Motion.STANDING, frozenset({3}), MlPerHour(0))
    assert stopped.remaining == Ml(15)
    assert [read[n] for n in (7, 9, 12)] == [
        Frame("nak", b"\x12\x06", "A"),
        Frame("nak", b"\x11\x09", "A"),
        Frame("nak", b"\x10\x05", ""),
    ]


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", ANSWERS)
def test_an_answer_is_read_in_any_pieces_and_through_dirt(raw: bytes) -> None:
    ways = [[raw], [bytes([byte]) for byte in raw], *([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))]
    for pieces in (*ways, [DIRT + raw + DIRT], [bytes([byte]) for byte in DIRT + raw + DIRT + b"\x7e"]):
        assert believed(pieces) == [expected(raw)]


def test_answers_back_to_back_share_a_flag_or_do_not() -> None:
    whole, frames = b"".join(ANSWERS), [expected(raw) for raw in ANSWERS]
    shared = b"\x7e" + b"\x7e".join(raw[1:-1] for raw in ANSWERS) + b"\x7e"
    for stream in (whole, shared):
        assert read_all([stream]) == frames
        assert read_all(bytes([byte]) for byte in stream) == frames


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", ANSWERS)
def test_no_changed_byte_reads_as_another_answer(raw: bytes) -> None:
    true = expected(raw)
    for at in range(len(raw)):
        for value in range(256):
            damaged = raw[:at] + bytes([value]) + raw[at + 1 :]
            if damaged == raw:
                continue
            assert believed([damaged]) == [], (at, value)
    for at in range(0, len(raw), 3):
        for value in (0x00, 0x06, 0x15, 0x7D, 0x7E, 0x80, 0xFF):
            damaged = raw[:at] + bytes([value]) + raw[at + 1 :]
            assert believed([damaged + raw]) in ([true], [true, true]), "the next one is read all the same"


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", ANSWERS)
def test_a_lost_or_doubled_byte_reads_as_no_other_answer(raw: bytes) -> None:
    for at in range(1, len(raw) - 1):
        assert believed([raw[:at] + raw[at + 1 :]]) == []
        assert believed([raw[:at] + raw[at : at + 1] + raw[at:]]) == []


@pytest.mark.shows("H58")
def test_a_wrong_checksum_is_told_as_damage() -> None:
    for _, raw in GOLDEN:
        assert isinstance(read_all([raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:]])[0], Damaged)


@pytest.mark.parametrize("body", [b"\x7d", b"\x7d\x7d", b"A\x02\x7d\x06", b"A\x80\x06", b"A", b"A\x02\x06\x00"])
def test_what_no_pump_sends_is_damage(body: bytes) -> None:
    assert [type(found) for found in read_all([b"\x7e" + body + b"\x7e"])] == [Damaged]


def test_a_bare_activation_byte_is_damage_though_the_check_would_hold() -> None:
    block = b"A\x03\x06\x80"
    bare = b"\x7e" + block + check(block) + b"\x7e"
    assert b"\x80" in bare
    assert [type(found) for found in read_all([bare])] == [Damaged]
    assert believed([frame(block)]) == [Frame("ack", b"\x03\x80", "A")]


def test_only_the_three_bytes_may_be_stuffed() -> None:
    block = b"A\x03\x06\x00\x00"
    stuffed = frame(block).replace(b"\x06\x00\x00", b"\x06\x7d\x20\x00")
    assert [type(found) for found in read_all([stuffed])] == [Damaged]


def test_activation_bytes_between_frames_are_nothing() -> None:
    raw = said("11 06")
    assert read_all([b"\x80" + raw + b"\x80\x80" + raw]) == [expected(raw)] * 2


def test_neither_yes_nor_no_is_damage() -> None:
    for rest in ("11 05", "11 07 00", "11 15", "11 15 06 06"):
        assert [type(found) for found in read_all([said(rest)])] == [Damaged]


def test_no_question_of_ours_that_echoes_reads_as_an_answer() -> None:
    own = [sent for who, sent in lines_of("golden_constructed") if who == ">"]
    own += [framed(b"A" + bytes([segment])) for segment in Segment]
    own += [framed(b"A\x11" + bytes([number, flag])) for number in (0, 2) for flag in (0, 1)]
    assert believed(own) == []


@pytest.mark.parametrize("raw", ANSWERS)
def test_silence_drops_half_a_frame_but_a_short_gap_does_not(raw: bytes) -> None:
    for cut in range(1, len(raw)):
        framer = BBraunFramer()
        for gap, read in ((0.39, [expected(raw)]), (0.4, [])):
            framer.feed(raw[:cut])
            assert list(framer.frames()) == []
            framer.silence(gap)
            framer.feed(raw[cut:])
            assert [found for found in framer.frames() if isinstance(found, Frame)] == read
            framer.reset()


def test_noise_without_end_is_forgotten_and_the_next_answer_read() -> None:
    raw = said("11 06")
    assert believed([b"\x7e" + b"x" * 400, raw])[-1:] == [expected(raw)]
    assert believed(bytes([byte]) for byte in b"\x7e" + b"x" * 400 + raw)[-1:] == [expected(raw)]
    assert read_all([b"\x7e" + b"x" * 400, raw[1:]]) == [], "what had no beginning any more has no end"


@given(st.binary(max_size=70), st.binary(max_size=40))
def test_any_block_survives_its_own_framing(block: bytes, dirt: bytes) -> None:
    raw = framed(b"A\x03\x06" + block)
    assert raw == frame(b"A\x03\x06" + block)
    assert raw.count(b"\x7e") == 2
    assert b"\x80" not in raw
    assert believed([dirt.replace(b"\x7e", b""), raw]) == [Frame("ack", b"\x03" + block, "A")]


# --- numbers ----------------------------------------------------------------------------------------------------------


@given(st.decimals("0.0005", "1200", places=5), st.sampled_from([0, 1, 2]))
def test_rounded_down_or_refused_and_never_up(wish: Decimal, decimals: int) -> None:
    grid = wire.rates(decimals)
    settable = grid.down(wish)
    if settable is None:
        assert wish < grid.least
        return
    assert settable <= wish
    assert wire.rate_of(wire.counts(settable, grid, wire.RATE_UNIT)) == MlPerHour(settable)
    if wish != settable:
        with pytest.raises(ValueError, match="cannot be set"):
            wire.counts(wish, grid, wire.RATE_UNIT)


@pytest.mark.parametrize("value", ["0", "-1", "0.05", "0.09", "20.05", "1000", "99999"])
def test_a_limit_off_the_grid_or_none_is_never_spelled(value: str) -> None:
    with pytest.raises(ValueError, match="never 0"):
        wire.counts(Decimal(value), wire.VOLUMES, wire.VOLUME_UNIT)


def test_all_bits_one_is_not_told() -> None:
    found = read_status(believed([status(None, None, None, None, None)[1]])[0])
    assert (found.requests, found.alarms, found.states) == (frozenset(), None, None)
    assert (found.rate, found.remaining, found.motion) == (None, None, Motion.UNKNOWN)


@pytest.mark.parametrize("length", [0, 18, 20])
def test_an_answer_of_another_length_is_not_read(length: int) -> None:
    with pytest.raises(Garbled, match="bytes instead of 19"):
        read_status(Frame("ack", b"\x02" + bytes(length), "A"))


@pytest.mark.parametrize("reason", range(256))
def test_every_no_has_words_and_a_damaged_question_is_no_refusal(reason: int) -> None:
    complaint = wire.complaint(believed([no("12", reason)])[0], "rate")
    assert isinstance(complaint, Garbled if reason in (1, 2) else Refused)
    assert f"({reason:02X}: " in str(complaint)


# --- the state word ---------------------------------------------------------------------------------------------------

REMOTE = 1 << 2


def motion_of(state: int) -> Motion:
    return read_status(believed([status(state)[1]])[0]).motion


@pytest.mark.parametrize(
    ("bits", "motion"),
    [
        ([], Motion.STANDING),
        ([4, 6, 8, 11, 14, 15, 16, 17, 18, 21], Motion.STANDING),
        ([5], Motion.STANDING),
        ([22, 23, 24, 25, 26, 27, 28], Motion.STANDING),
        ([7], Motion.INFUSING),
        ([7, 4, 8, 16, 18, 22, 23], Motion.INFUSING),
        ([9], Motion.BOLUS),
        ([7, 10], Motion.BOLUS),
        ([12], Motion.BOLUS),
        ([13], Motion.KVO),
        ([7, 13], Motion.KVO),
        ([19], Motion.PURGING),
        ([7, 20], Motion.WITHDRAWING),
        ([7, 24], Motion.UNKNOWN),
        ([7, 25], Motion.UNKNOWN),
        ([7, 26], Motion.UNKNOWN),
        ([7, 27], Motion.UNKNOWN),
        ([7, 28], Motion.UNKNOWN),
        ([29], Motion.UNKNOWN),
    ],
)
def test_the_state_word_says_what_moves(bits: list[int], motion: Motion) -> None:
    assert motion_of(REMOTE | sum(1 << bit for bit in bits)) is motion


@pytest.mark.shows("S7")
@pytest.mark.parametrize("bit", [0, 30, 31])
@pytest.mark.parametrize("running", [0, 1 << 7])
def test_a_state_that_no_document_lists_counts_as_moving(bit: int, running: int) -> None:
    assert motion_of(REMOTE | 1 << bit | running) is Motion.UNKNOWN


@pytest.mark.shows("S7")
@pytest.mark.parametrize("modes", [0, 0b0110, 0b1010, 0b1100, 0b1110])
def test_a_state_without_exactly_one_mode_counts_as_moving(modes: int) -> None:
    assert motion_of(modes) is Motion.UNKNOWN
    assert motion_of(modes).moves


def test_each_of_the_three_modes_may_stand() -> None:
    assert [motion_of(1 << mode) for mode in (1, 2, 3)] == [Motion.STANDING] * 3
