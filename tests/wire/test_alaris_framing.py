"""Alaris frames and words: check value, published frames, every split, dirt, damage, silence."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import lines_of

from drivers.alaris_wire import (
    COUNT_ML,
    LIMITS,
    LONGEST_FRAME,
    RATES,
    SLOWEST_SEEN,
    STILL_S,
    AlarisFramer,
    Status,
    checksum,
    motion_of,
    read_status,
    security_code,
    spell,
    spell_limit,
    spell_rate,
    words_of,
)
from pumpd.driver import Damaged, Frame, Garbled, Motion
from pumpd.units import Ml, MlPerHour

TRUTH, REGRESSION = ("real_pump", "published"), "constructed"
EVERY = [(name, *line) for name in (*TRUTH, REGRESSION) for line in lines_of(name, "alaris")]
FRAMES = sorted({raw for _, _, raw in EVERY})
DIRT = b"\xff\x00\r|1234\x1b|"
OTHERS = {  # published beside the transcripts, requests only
    ("INF_RATE",): "8E6D",
    ("INF_VI",): "B42C",
    ("REMOTE_CFG", "ENABLED", "3CC1"): "EE4F",
    ("REMOTE_CFG", "DISABLED"): "F4B1",
    ("INF_BOLUS", "ENABLED"): "E288",
    ("INF_RATE", "3.50", "ml/h"): "3885",
}


def body(raw: bytes) -> bytes:
    return raw[1:-6]


def read_all(pieces: Iterable[bytes]) -> list[Frame | Damaged]:
    framer = AlarisFramer()
    found: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        found += framer.frames()
    framer.silence(1.0)
    found += framer.frames()
    return found


def frames_in(pieces: Iterable[bytes]) -> list[bytes]:
    return [found.data for found in read_all(pieces) if isinstance(found, Frame)]


def ways(raw: bytes) -> Iterable[list[bytes]]:
    yield [raw]
    yield [bytes([byte]) for byte in raw]
    yield from ([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))
    yield [DIRT + raw + DIRT]
    yield [bytes([byte]) for byte in DIRT + raw + DIRT]


def by_bit(data: bytes) -> int:
    """The checksum, written apart from the driver's."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def test_the_check_value_of_the_checksum() -> None:
    assert checksum(b"123456789") == by_bit(b"123456789") == 0x29B1


@pytest.mark.parametrize("raw", FRAMES)
def test_every_published_frame_has_the_checksum_it_says(raw: bytes) -> None:
    assert b"%04X" % by_bit(body(raw)) == b"%04X" % checksum(body(raw)) == raw[-5:-1]


def test_the_worked_example() -> None:
    assert spell("INF") == bytes.fromhex("21 49 4e 46 7c 34 39 36 31 0d")


@pytest.mark.parametrize("raw", [raw for _, who, raw in EVERY if who == ">"])
def test_every_published_question_is_spelled_so(raw: bytes) -> None:
    assert spell(*body(raw).decode().split("^")) == raw


@pytest.mark.parametrize(("words", "crc"), OTHERS.items())
def test_the_requests_without_an_answer_are_spelled_so(words: tuple[str, ...], crc: str) -> None:
    assert spell(*words) == f"!{'^'.join(words)}|{crc}\r".encode()


@pytest.mark.parametrize(("serial", "code"), [("8002-51740", "3CC1"), ("8002-51733", "9535")])
def test_the_security_code_of_two_real_pumps(serial: str, code: str) -> None:
    assert security_code(serial) == code


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_a_frame_is_read_in_any_pieces_and_through_dirt(raw: bytes) -> None:
    for pieces in ways(raw):
        assert frames_in(pieces) == [body(raw)], pieces


@pytest.mark.parametrize("name", [*TRUTH, REGRESSION])
def test_transcripts_read_back_to_back_and_byte_by_byte(name: str) -> None:
    answers = [raw for who, raw in lines_of(name, "alaris") if who == "<"]
    assert len(answers) >= 4
    assert read_all([b"".join(answers)]) == [Frame("reply", body(raw)) for raw in answers]
    assert read_all(bytes([byte]) for byte in b"".join(answers)) == [Frame("reply", body(raw)) for raw in answers]


@pytest.mark.parametrize("raw", FRAMES)
def test_a_frame_without_its_cr_is_read_at_once_and_so_is_the_next(raw: bytes) -> None:
    framer = AlarisFramer()
    framer.feed(raw[:-1])
    assert list(framer.frames()) == [Frame("reply", body(raw))]
    assert frames_in([raw[:-1] + raw]) == [body(raw)] * 2


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_no_flipped_byte_reads_as_another_value(raw: bytes) -> None:
    for at in range(len(raw)):
        for flip in range(1, 256):
            damaged = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            allowed = [body(raw)] if at == len(raw) - 1 else []  # the CR is not needed
            assert frames_in([damaged]) == allowed, (at, flip)


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_no_flipped_bit_hides_the_next_frame_or_changes_it(raw: bytes) -> None:
    for bit in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        assert frames_in([bytes(damaged) + raw])[-1] == body(raw), bit
        assert set(frames_in(bytes([byte]) for byte in bytes(damaged) + raw)) == {body(raw)}, bit


@pytest.mark.parametrize("raw", FRAMES)
def test_a_lost_or_doubled_byte_reads_as_nothing_else(raw: bytes) -> None:
    for at in range(len(raw)):
        for damaged in (raw[:at] + raw[at + 1 :], raw[: at + 1] + raw[at:]):
            assert set(frames_in([damaged])) <= {body(raw)}, at


def test_a_wrong_checksum_is_told_as_damage() -> None:
    assert read_all([b"!INF|4962\r"]) == [Damaged(b"!INF|4962", "checksum or end of frame is wrong")]
    assert read_all([b"!INF|496\r"]) == [Damaged(b"!INF|496\r", "checksum or end of frame is wrong")]
    assert read_all([b"!INF|4961\r".replace(b"INF", b"I\xceF")])[0] == Damaged(
        b"!I\xceF|4961", "checksum or end of frame is wrong"
    )


def test_a_checksum_in_small_letters_is_damage() -> None:
    assert not frames_in([b"!INST_SERIALNO|457d\r"])


def test_right_checksum_over_bytes_that_are_no_text_is_damage() -> None:
    text = b"ALARM^\x07"
    assert not frames_in([b"!%b|%04X\r" % (text, checksum(text))])


@pytest.mark.parametrize("raw", FRAMES)
def test_an_escape_takes_back_what_was_begun(raw: bytes) -> None:
    for cut in range(1, len(raw) - 1):
        aborted = raw[:cut] + b"\x1b"
        assert read_all([aborted + raw]) == [Frame("reply", body(raw))], cut
        assert frames_in([aborted + raw[cut:]]) == [], cut


def test_half_a_frame_does_not_hide_the_next() -> None:
    for cut in range(1, len(spell("INF"))):
        assert frames_in([spell("INF")[:cut] + spell("ALARM")])[-1] == b"ALARM"


def test_a_text_with_an_exclamation_mark_is_read() -> None:
    assert frames_in([spell("ALARM", "AL_NEWNO", "LOOK! NOW", "")]) == [b"ALARM^AL_NEWNO^LOOK! NOW^"]


def test_an_over_long_frame_is_noise_and_the_next_is_read() -> None:
    for noise in (b"!" + b"x" * 2 * LONGEST_FRAME, b"!" * 2 * LONGEST_FRAME):
        assert frames_in([noise, spell("INF")]) == [b"INF"]
        assert frames_in(bytes([byte]) for byte in noise + spell("INF")) == [b"INF"]


def test_more_than_the_longest_frame_is_not_waited_for() -> None:
    for size, read in ((LONGEST_FRAME - 20, True), (LONGEST_FRAME + 1, False)):
        raw = spell("ALARM", "x" * size)
        assert bool(frames_in([raw[:-6], raw[-6:]])) is read


def test_noise_without_end_is_not_kept() -> None:
    framer = AlarisFramer()
    for _ in range(100):
        framer.feed(b"!" * 100)
        assert list(framer.frames()) == []
    framer.feed(spell("INF"))
    assert list(framer.frames()) == [Frame("reply", b"INF")]


def test_silence_drops_half_a_frame_but_a_short_gap_does_not() -> None:
    raw = spell("INF")
    for cut in range(1, len(raw) - 1):
        framer = AlarisFramer()
        framer.feed(raw[:cut])
        framer.silence(0.99)
        framer.feed(raw[cut:])
        assert list(framer.frames()) == [Frame("reply", b"INF")]
        framer.feed(raw[:cut])
        assert list(framer.frames()) == []
        framer.silence(1.0)
        framer.feed(raw[cut:])
        assert [found for found in framer.frames() if isinstance(found, Frame)] == []
        framer.feed(raw[:cut])
        framer.reset()
        framer.feed(raw)
        assert list(framer.frames()) == [Frame("reply", b"INF")]


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_any_noise_ends_and_a_frame_behind_it_is_read(noise: bytes, more: bytes) -> None:
    assert frames_in([noise, more, b"\r", spell("INF")])[-1] == b"INF"


# --- words and numbers ------------------------------------------------------------------------------------------------


def test_padding_is_not_part_of_a_word() -> None:
    words = words_of(Frame("reply", b"SYRINGE_STATUS^BD PLASTIPAK^ 50^CONF"))
    assert words == ["SYRINGE_STATUS", "BD PLASTIPAK", "50", "CONF"]
    assert words_of(Frame("reply", b"ALARM^AL_NOALM^ ^ ")) == ["ALARM", "AL_NOALM", "", ""]


def status_of(text: str) -> Status:
    return read_status(words_of(Frame("reply", text.encode())))


def test_the_status_of_a_real_pump() -> None:
    (said,) = [raw for who, raw in lines_of("real_pump", "alaris") if raw.startswith(b"!INF^")]
    assert status_of(body(said).decode()) == Status("8002-51733", "A", "HLD", MlPerHour(0), Ml("0.969"), "214725")


GOOD = "INF^8002-51740^-^SET^27.00^ml/h^^0.113^ml^17.91^mmHg^24+^EVENT^127904"


@pytest.mark.parametrize(
    "changed",
    [
        ("27.00", "27.0"),
        ("27.00", "27"),
        ("27.00", "-27.00"),
        ("27.00", "12700.00"),
        ("27.00", "2e1"),
        ("27.00", ""),
        ("ml/h", "ml/min"),
        ("ml/h", "ug/h"),
        ("0.113", "0.11"),
        ("0.113", "-0.113"),
        ("0.113", ""),
        ("^ml^", "^ul^"),
        ("^127904", ""),
        ("^127904", "^127904^1"),
        ("^SET", ""),
    ],
)
def test_a_status_that_does_not_read_as_documented_is_garbled(changed: tuple[str, str]) -> None:
    assert status_of(GOOD).rate == MlPerHour(27)
    with pytest.raises(Garbled):
        status_of(GOOD.replace(*changed, 1))


def test_a_drug_name_and_a_long_time_change_nothing() -> None:
    assert status_of(GOOD.replace("^^", "^KETAMINE^").replace("24+", "01:02:03")) == status_of(GOOD)


@given(st.decimals("0.05", "1300", places=4))
def test_a_rate_goes_down_to_its_step_and_is_sent_in_two_decimals(wish: Decimal) -> None:
    settable = RATES.down(wish)
    if settable is None:
        assert wish < Decimal("0.1")
        return
    assert wish - Decimal("0.1") < settable <= wish or settable == 1200
    text = spell_rate(MlPerHour(settable))
    assert Decimal(text) == settable <= wish
    assert text[-3] == "."


@given(st.decimals("0.0001", "60", places=5))
def test_a_limit_goes_down_to_its_step_and_is_sent_in_three_decimals(wish: Decimal) -> None:
    settable = LIMITS.down(wish)
    if settable is None:
        assert wish < Decimal("0.001")
        return
    text = spell_limit(Ml(settable))
    assert Decimal(text) == settable <= wish
    assert text[-4] == "."


@pytest.mark.parametrize("rate", ["0", "0.05", "0.15", "46.67", "1200.1", "-1"])
def test_a_rate_off_the_grid_is_never_spelled(rate: str) -> None:
    with pytest.raises(ValueError, match="not a rate the pump can be set to"):
        spell_rate(MlPerHour(rate))


@pytest.mark.shows("S1")
@pytest.mark.parametrize("limit", ["0", "0.0005", "13.2701", "50.001", "-1"])
def test_a_limit_off_the_grid_or_none_is_never_spelled(limit: str) -> None:
    with pytest.raises(ValueError, match="not a volume limit the pump can be set to"):
        spell_limit(Ml(limit))


# --- does it move? ----------------------------------------------------------------------------------------------------


def seen(mode: str, rate: str, counted: str, flag: str = "-") -> Status:
    return Status("8002-51740", flag, mode, MlPerHour(rate), Ml(counted))


def test_the_slowest_rate_is_one_that_counts_while_we_watch() -> None:
    assert SLOWEST_SEEN.over(STILL_S) == Ml(COUNT_ML)


@pytest.mark.shows("S4", "S5")
@pytest.mark.parametrize("flag", ["-", "A", "?", ""])
@pytest.mark.parametrize("mode", ["SET", "HLD", "STP", "KVO", "", "set"])
@pytest.mark.parametrize("rate", ["0.00", "0.10", "4.40", "4.50", "27.00", "1200.00"])
@pytest.mark.parametrize("grown", [True, False])
def test_standing_needs_words_and_counter(mode: str, rate: str, flag: str, grown: bool) -> None:
    motion = motion_of(seen(mode, rate, "0.113", flag), seen(mode, rate, "0.114" if grown else "0.113", flag))
    held = mode == "HLD" and Decimal(rate) >= Decimal("4.5")
    assert (motion is Motion.STANDING) == (not grown and (rate == "0.00" or held))
    assert motion is not Motion.INFUSING or (mode == "SET" and rate != "0.00")


@pytest.mark.parametrize(("before", "after"), [("0.113", "0.112"), ("5.000", "0.000")])
def test_a_counter_that_falls_proves_nothing(before: str, after: str) -> None:
    assert motion_of(seen("HLD", "0.00", before), seen("HLD", "0.00", after)) is Motion.UNKNOWN


def test_a_pump_that_begins_or_ends_between_two_looks_is_not_standing() -> None:
    still, runs = seen("HLD", "0.00", "0.113"), seen("SET", "27.00", "0.113")
    assert motion_of(still, runs) is Motion.INFUSING
    assert motion_of(runs, still) is Motion.UNKNOWN
