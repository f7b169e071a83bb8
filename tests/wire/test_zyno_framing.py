"""Zyno frames, numbers and log records: published frames, every split, dirt, damage, silence."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import lines_of

from drivers import zyno_wire as wire
from drivers.zyno_log import (
    ALARMS,
    CODES,
    DATA_SIZES,
    LOOK_BACK,
    RING,
    SPOKEN,
    EventLog,
    Kind,
    Record,
    alarms_of,
    pointers,
    record,
)
from drivers.zyno_wire import LONGEST_FRAME, ZynoFramer, spell
from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import Damaged, Frame, Garbled, PumpAlarm, Refused
from pumpd.units import Ml, MlPerHour

NAMES = ("published", "constructed", "requests")
EVERY = [(who, raw) for name in NAMES for who, raw in lines_of(name, "zyno")]
FRAMES = sorted({raw for _, raw in EVERY})
DIRT = b"\xff\x00\r\n40\x06"


def text(raw: bytes) -> bytes:
    return raw[1:-3]


def frame_of(raw: bytes) -> Frame:
    return Frame("sensors" if raw.startswith(b"\x02S9") else "reply", text(raw))


def by_xor(body: str) -> bytes:
    return b"\x02%b%02X\x03" % (body.encode(), reduce(xor, body.encode(), 0))


def read_all(pieces: Iterable[bytes], check: str = "sum") -> list[Frame | Damaged]:
    framer = ZynoFramer(check)
    found: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        found += framer.frames()
    framer.silence(1.0)
    return [*found, *framer.frames()]


def believed(pieces: Iterable[bytes], check: str = "sum") -> list[Frame]:
    return [found for found in read_all(pieces, check) if isinstance(found, Frame)]


def ways(raw: bytes) -> Iterable[list[bytes]]:
    yield [raw]
    yield [bytes([byte]) for byte in raw]
    yield from ([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))
    yield [DIRT + raw + DIRT]
    yield [bytes([byte]) for byte in DIRT + raw + DIRT]


# --- frames -----------------------------------------------------------------------------------------------------------


def test_the_worked_example() -> None:
    assert spell("RN", "sum") == bytes.fromhex("02 52 4e 41 30 03")
    assert spell("RN", "xor") == by_xor("RN") == b"\x02RN1C\x03"


@pytest.mark.parametrize("raw", FRAMES)
def test_every_vector_has_the_check_it_says_and_is_spelled_so(raw: bytes) -> None:
    assert raw[-3:-1] == b"%02X" % (sum(text(raw)) % 256)
    assert spell(text(raw).decode(), "sum") == raw


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
@pytest.mark.parametrize("check", ["sum", "xor"])
def test_a_frame_is_read_in_any_pieces_and_through_dirt(raw: bytes, check: str) -> None:
    said = spell(text(raw).decode(), check)
    for pieces in ways(said):
        assert believed(pieces, check) == [frame_of(raw)], pieces


def test_the_vectors_read_back_to_back_and_byte_by_byte() -> None:
    answers = [raw for who, raw in EVERY if who == "<"]
    assert len(answers) >= 18
    assert read_all([b"".join(answers)]) == [frame_of(raw) for raw in answers]
    assert read_all(bytes([byte]) for byte in b"".join(answers)) == [frame_of(raw) for raw in answers]


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
@pytest.mark.parametrize("check", ["sum", "xor"])
def test_no_changed_byte_reads_as_another_value(raw: bytes, check: str) -> None:
    said = spell(text(raw).decode(), check)
    for at in range(len(said)):
        for flip in range(1, 256):
            damaged = said[:at] + bytes([said[at] ^ flip]) + said[at + 1 :]
            assert set(believed([damaged], check)) <= {frame_of(raw)}, (at, flip)


@pytest.mark.shows("H58")
@pytest.mark.parametrize("raw", FRAMES)
def test_no_changed_byte_hides_the_second_frame_behind_it(raw: bytes) -> None:
    for at in range(len(raw)):
        for flip in range(1, 256):
            damaged = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            assert believed([damaged + raw + raw])[-1] == frame_of(raw), (at, flip)


@pytest.mark.parametrize("raw", FRAMES)
def test_a_lost_or_doubled_byte_reads_as_nothing_else(raw: bytes) -> None:
    for at in range(len(raw)):
        for damaged in (raw[:at] + raw[at + 1 :], raw[: at + 1] + raw[at:]):
            assert set(believed([damaged])) <= {frame_of(raw)}, at


def test_the_other_check_is_damage() -> None:
    assert read_all([by_xor("Q50071")]) == [
        Damaged(by_xor("Q50071")[:-1], "check, begin or length of the frame is wrong")
    ]
    assert believed([spell("Q50071", "sum")], "xor") == []


def test_a_check_in_small_letters_is_damage() -> None:
    assert believed([b"\x02RNa0\x03"]) == []


def test_a_frame_without_begin_is_damage() -> None:
    assert read_all([b"RNA0\x03"]) == [Damaged(b"RNA0", "check, begin or length of the frame is wrong")]


def test_right_check_over_bytes_that_are_no_text_is_damage() -> None:
    assert believed([b"\x02Q5\x070071%02X\x03" % (sum(b"Q5\x070071") % 256)]) == []


def test_small_letters_are_read_as_capital_ones() -> None:
    assert believed([spell("true", "sum")]) == [Frame("reply", b"TRUE")]


def test_half_a_frame_hides_the_next_but_not_the_one_behind() -> None:
    raw = spell("RN", "sum")
    for cut in range(1, len(raw) - 1):
        assert believed([raw[:cut] + spell("RS", "sum") + spell("RM", "sum")]) == [Frame("reply", b"RM")]


def test_more_than_the_longest_frame_is_not_waited_for_nor_believed() -> None:
    for size, read in ((LONGEST_FRAME - 3, True), (LONGEST_FRAME - 2, False), (3 * LONGEST_FRAME, False)):
        raw = spell("x" * size, "sum")
        assert bool(believed([raw])) is read
        assert bool(believed(bytes([byte]) for byte in raw)) is read
        assert believed([raw, *[spell("RN", "sum")] * 2])[-1] == Frame("reply", b"RN")


def test_noise_without_end_is_not_kept() -> None:
    framer = ZynoFramer("sum")
    for _ in range(100):
        framer.feed(b"\x02" + b"x" * 99)
        assert list(framer.frames()) == []
    framer.feed(spell("RN", "sum"))
    assert list(framer.frames()) == [Frame("reply", b"RN")]


def test_silence_drops_half_a_frame_but_a_short_gap_does_not() -> None:
    raw = spell("RN", "sum")
    for cut in range(1, len(raw)):
        framer = ZynoFramer("sum")
        framer.feed(raw[:cut])
        assert list(framer.frames()) == []
        framer.silence(0.49)
        framer.feed(raw[cut:])
        assert list(framer.frames()) == [Frame("reply", b"RN")]
        for forget in (lambda framer=framer: framer.silence(0.5), framer.reset):
            framer.feed(raw[:cut])
            assert list(framer.frames()) == []
            forget()
            framer.feed(raw[cut:])
            assert [found for found in framer.frames() if isinstance(found, Frame)] == []
            framer.reset()


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_noise_ends_and_the_second_frame_behind_it_is_read(noise: bytes, more: bytes) -> None:
    assert believed([noise, more, b"\x03", spell("RN", "sum"), spell("RS", "sum")])[-1] == Frame("reply", b"RS")


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_as_the_document_says_them() -> None:
    assert wire.volume("0071") == Ml("1.13")
    assert wire.volume("07D0") == Ml(20)
    assert wire.volume("71") == wire.volume("00000071") == Ml("1.13"), "any width"
    assert wire.rate("27.0") == MlPerHour(27)
    assert wire.rate("20") == MlPerHour(20)
    assert wire.rate("0.25") == MlPerHour("0.25")


@pytest.mark.parametrize("said", ["", "G", "0x12", "-1", "12.0", "123456789", " 12", "1_2"])
def test_what_is_no_hex_number_is_garbled(said: str) -> None:
    with pytest.raises(Garbled):
        wire.number(said)


@pytest.mark.parametrize("said", ["", ".5", "5.", "TRUE", "1E3", "-1", "12345", "1.0001", "1,5", "INF", "NAN", "1_0"])
def test_what_is_no_rate_is_garbled(said: str) -> None:
    with pytest.raises(Garbled):
        wire.rate(said)


def test_not_available_is_a_refusal_and_another_code_is_garbled() -> None:
    assert wire.told("RN", Frame("reply", b"RNSN800008")) == "SN800008"
    with pytest.raises(Refused, match="QH: the pump says that it is not available"):
        wire.told("QH", Frame("reply", b"QHERROR"))
    with pytest.raises(Refused):
        wire.told("", Frame("reply", b"ERROR"))
    with pytest.raises(Garbled, match="RN: answered RS1"):
        wire.told("RN", Frame("reply", b"RS1"))


# --- records ----------------------------------------------------------------------------------------------------------

OCCLUSION = "RE0000002909100E0000000200000000000000000000"[:42]


def event(kind: int, sub: int = 0, number: int = 0) -> str:
    return f"RE{number:08X}{kind:02X}100E0000{sub:04X}{'00' * 9}"


def test_the_published_record() -> None:
    (said,) = (text(raw).decode() for raw in FRAMES if raw.startswith(b"\x02RE0000002909"))
    assert said == OCCLUSION == event(9, 2, 0x29)
    assert record(said) == Record(0x29, Kind.OCCLUSION, 2)
    assert alarms_of(record(said)) == (PumpAlarm("occlusion_downstream", "event 9.2: occlusion downstream"),)


@pytest.mark.parametrize("said", ["RE", "RE00000029", OCCLUSION[:-1], OCCLUSION + "0", OCCLUSION.replace("9", "G")])
def test_a_record_that_does_not_read_as_documented_is_garbled(said: str) -> None:
    with pytest.raises(Garbled):
        record(said)


TABLE: dict[tuple[int, int], tuple[str, ...]] = {
    (3, 0): ("container_empty",),
    (4, 1): ("pump_alarm_unknown",),
    (4, 2): ("pump_alarm_unknown",),
    (4, 4): (),
    (9, 1): ("occlusion_upstream",),
    (9, 2): ("occlusion_downstream",),
    (9, 3): ("occlusion_upstream", "occlusion_downstream"),
    (9, 4): (),
    (9, 0): ("pump_alarm_unknown",),
    (9, 8): ("pump_alarm_unknown",),
    (9, 10): ("occlusion_downstream", "pump_alarm_unknown"),
    (13, 1): (),
    (13, 2): (),
    (13, 4): ("pump_battery_empty",),
    (13, 8): (),
    (13, 16): (),
    (13, 32): (),
    (13, 64): (),
    (13, 128): ("pump_alarm_unknown",),
    (13, 256): ("pump_battery_empty",),
    (13, 512): ("pump_alarm_unknown",),
    (13, 1024): ("pump_alarm_unknown",),
    (13, 18): (),
    (14, 0): ("pump_door_open",),
    (16, 0): ("pump_power_lost",),
    (17, 0): ("pump_fault",),
    **{(18, 1 << bit): ("pump_fault",) for bit in range(16)},
    (19, 0): ("pump_fault",),
    (24, 0): ("pump_power_lost",),
    (26, 0): ("pump_fault",),
    (27, 0): ("pump_fault",),
    (28, 0): ("pump_battery_empty",),
    (31, 0): ("pump_battery_empty",),
    **{(kind, 0): () for kind in (0, 1, 2, 5, 6, 7, 8, 10, 11, 12, 15, 20, 21, 22, 23, 25, 29, 30)},
    **{(kind, 0): ("pump_alarm_unknown",) for kind in (32, 33, 99, 255)},
}


@pytest.mark.shows("H9")
@pytest.mark.parametrize(("kind", "sub"), TABLE)
def test_each_type_of_record_is_told_as_it_is_meant(kind: int, sub: int) -> None:
    told = alarms_of(Record(0, kind, sub))
    assert tuple(alarm.code for alarm in told) == TABLE[kind, sub]
    assert all(alarm.native.startswith(f"event {kind}.{sub}") for alarm in told)


@pytest.mark.shows("H9")
def test_no_type_that_is_not_in_the_table_is_told_as_nothing() -> None:
    assert {kind for kind, _ in TABLE} >= set(Kind)
    for kind in set(range(256)) - set(Kind):
        assert [alarm.code for alarm in alarms_of(Record(0, kind, 0))] == ["pump_alarm_unknown"]
    assert not SPOKEN & set(ALARMS)


def test_every_code_is_in_the_catalogue() -> None:
    assert set(CODES) <= set(CATALOGUE)


def test_the_words_of_a_record() -> None:
    assert Record(0, 18, 0x8002).words == "event 18.32770: system error slow motor watchdog"
    assert Record(0, 13, 514).words == "event 13.514: battery low under"
    assert Record(0, 40, 3).words == "event 40.3"


# --- the log ----------------------------------------------------------------------------------------------------------

BEGIN, END = 0x0100, 0x0200  # sub-types of infusion data, in the first of their two bytes
RAW = "09" * 16  # as an occlusion, if it were read as an event
ERASED = "F" * 32


def at(tail: int, end: int) -> str:
    """Pointers to the oldest record and to the newest, which is the one before `end`."""
    return f"RI{tail:08X}{(end - 1) % RING:08X}"


def re_of(number: int, data: str) -> str:
    return f"RE{number:08X}{data}"


def read_through(log: EventLog, records: dict[int, str]) -> list[PumpAlarm]:
    told: list[PumpAlarm] = []
    while (due := log.due) is not None:
        log.asked = due
        told += log.heard(records.get(due, event(15, 0, due)))
    return told


def met(tail: int = 0, end: int = 1, records: dict[int, str] | None = None) -> tuple[EventLog, list[PumpAlarm]]:
    log = EventLog()
    assert log.due is None
    assert log.heard(at(tail, end)) == ()
    return log, read_through(log, records or {})


def later(log: EventLog, tail: int, end: int, records: dict[int, str] | None = None) -> list[PumpAlarm]:
    return [*log.heard(at(tail, end)), *read_through(log, records or {})]


def codes(told: Iterable[PumpAlarm]) -> list[str]:
    return [alarm.code for alarm in told]


def with_data(first: int, size: int) -> dict[int, str]:
    """Infusion data from `first` on: begin, raw records, end."""
    raw = {first + place: re_of(first + place, RAW) for place in range(1, size + 1)}
    return {first: event(0, BEGIN, first), **raw, first + size + 1: event(0, END, first + size + 1)}


@pytest.mark.parametrize(
    "said",
    ["RI", "RI00000000", "RI000000000000002", "RI00000000000000ZZ", f"RI{RING:08X}{0:08X}", f"RI{0:08X}{RING:08X}"],
)
def test_pointers_that_do_not_read_as_documented_are_garbled(said: str) -> None:
    with pytest.raises(Garbled):
        pointers(said)
    with pytest.raises(Garbled):
        EventLog().heard(said)


def test_new_records_are_asked_for_in_order_and_told_once() -> None:
    log, told = met(0, 3)
    assert told == []
    assert log.heard(at(0, 3)) == ()
    assert log.due is None
    log.heard(at(0, 6))
    assert log.due == 3
    assert codes(log.heard(event(9, 2, 3))) == ["occlusion_downstream"]
    assert log.heard(event(9, 2, 3)) == (), "asked twice, answered twice: told once"
    assert log.heard(event(3, 0, 5)) == (), "not the one that is due"
    assert log.due == 4
    assert codes(log.heard(event(3, 0, 4))) == ["container_empty"]
    assert codes(read_through(log, {5: event(17, 0, 5)})) == ["pump_fault"]
    assert log.due is None


@pytest.mark.shows("H9")
def test_the_newest_record_is_the_one_that_is_pointed_at() -> None:
    log, _ = met(0, 10)
    log.heard("RI000000000000000A")
    assert log.due == 10
    assert codes(log.heard(event(3, 0, 10))) == ["container_empty"]


@pytest.mark.shows("H9")
def test_a_pump_that_points_behind_its_newest_record_is_read_as_well() -> None:
    log, _ = met(0, 10, {9: re_of(9, ERASED)})
    assert log.due is None
    for _ in range(3):
        assert later(log, 0, 10, {9: re_of(9, ERASED)}) == [], "it is asked for again and again"
    assert codes(later(log, 0, 11, {9: event(9, 2, 9), 10: re_of(10, ERASED)})) == ["occlusion_downstream"]
    assert later(log, 0, 11, {10: re_of(10, ERASED)}) == []
    assert codes(later(log, 0, 13, {11: event(3, 0, 11), 12: re_of(12, ERASED)})) == ["container_empty"]


def test_a_record_that_was_never_written_before_the_newest_is_a_gap() -> None:
    log, _ = met(0, 10)
    assert codes(later(log, 0, 12, {10: re_of(10, ERASED), 11: event(3, 0, 11)})) == ["pump_log_gap", "container_empty"]


@pytest.mark.shows("H14")
def test_what_stands_when_the_log_is_met_is_told() -> None:
    assert codes(met(0, 1, {0: event(9, 2, 0)})[1]) == ["occlusion_downstream"]
    assert codes(met(0, 3, {2: event(9, 2, 2)})[1]) == ["occlusion_downstream"]
    first = 60 - LOOK_BACK
    assert codes(met(0, 60, {first: event(3, 0, first)})[1]) == ["container_empty"]
    assert codes(met(0, 60, {first - 1: event(3, 0, first - 1)})[1]) == [], "long over"


def test_what_is_over_when_the_log_is_met_is_not_told() -> None:
    assert met(0, 4, {1: event(3, 0, 1), 2: event(1, 0, 2)})[1] == [], "it ran again"
    assert met(0, 4, {1: event(9, 1, 1), 2: event(9, 4, 2)})[1] == [], "cleared"
    assert codes(met(0, 4, {0: event(14, 0, 0), 1: event(9, 1, 1), 2: event(9, 4, 2)})[1]) == ["pump_door_open"]
    assert met(0, 4, {1: event(16, 0, 1), 2: event(24, 0, 2)})[1] == [], "it was switched on before we came"


def test_after_the_first_records_each_alarm_is_told_at_once() -> None:
    log, _ = met(0, 4)
    assert codes(later(log, 0, 7, {4: event(3, 0, 4), 5: event(1, 0, 5), 6: event(24, 0, 6)})) == [
        "container_empty",
        "pump_power_lost",
    ]


@pytest.mark.shows("H9")
@pytest.mark.parametrize(
    ("tail", "end"),
    [(11, 61), (50, 60), (0, 9), (0, 1), (12, 5)],
    ids=["one lost", "many lost", "shorter", "nearly empty", "come round and past it"],
)
def test_records_that_do_not_join_are_a_gap_and_what_stands_is_looked_for_again(tail: int, end: int) -> None:
    log, _ = met(0, 10)
    (gap,) = log.heard(at(tail, end))
    assert gap.code == "pump_log_gap"
    assert not gap.stops
    last = (end - 1) % RING
    assert codes(read_through(log, {last: event(9, 2, last)})) == ["occlusion_downstream"]
    assert log.heard(at(tail, end)) == ()


@pytest.mark.parametrize(("tail", "end"), [(10, 11), (9, 11), (3, 13), (10, 10), (0, 10)])
def test_records_that_join_are_no_gap(tail: int, end: int) -> None:
    log, _ = met(0, 10)
    assert log.heard(at(tail, end)) == ()


@pytest.mark.shows("H9")
def test_a_record_that_cannot_be_read_is_a_gap_and_the_next_is_read() -> None:
    log, _ = met(0, 10)
    log.heard(at(0, 12))
    log.asked = log.due
    (gap,) = log.heard("REERROR")
    assert gap == PumpAlarm("pump_log_gap", "event 10 cannot be read", stops=False)
    assert log.heard("REERROR") == (), "it was not asked for again"
    assert codes(log.heard(event(3, 0, 11))) == ["container_empty"]


def test_unreadable_records_do_not_hide_what_stands() -> None:
    log = EventLog()
    log.heard(at(0, 2))
    log.heard(event(3, 0, 0))
    log.asked = log.due
    assert codes(log.heard("REERROR")) == ["pump_log_gap", "container_empty"]


def test_a_ring_that_comes_round_has_no_gap() -> None:
    log, _ = met(0, RING - 2)
    assert log.heard(at(256, 2)) == ()
    asked = []
    while (due := log.due) is not None:
        asked.append(due)
        log.heard(event(15, 0, due))
    assert asked == [RING - 2, RING - 1, 0, 1]
    assert codes(later(log, 256, 3, {2: event(3, 0, 2)})) == ["container_empty"]


def test_a_full_ring_that_has_come_round_is_met() -> None:
    log = EventLog()
    log.heard(at(2, 2))
    assert log.due == (2 - LOOK_BACK) % RING
    assert codes(read_through(log, {1: event(3, 0, 1)})) == ["container_empty"]
    assert later(log, 2, 2) == []
    assert codes(later(log, 3, 3, {2: event(9, 1, 2)})) == ["occlusion_upstream"]


# --- infusion data: raw records between two events --------------------------------------------------------------------


@pytest.mark.parametrize("size", DATA_SIZES)
def test_raw_records_of_infusion_data_are_no_events(size: int) -> None:
    log, _ = met(0, 10)
    last = 10 + size + 2
    records = {**with_data(10, size), last: event(3, 0, last)}
    assert codes(later(log, 0, last + 1, records)) == ["container_empty"]


@pytest.mark.parametrize("size", DATA_SIZES)
def test_raw_records_that_come_one_by_one_are_no_events(size: int) -> None:
    log, _ = met(0, 10)
    records = with_data(10, size)
    told = [alarm for end in range(11, 10 + size + 3) for alarm in later(log, 0, end, records)]
    assert told == []
    assert codes(later(log, 0, 10 + size + 3, {10 + size + 2: event(3, 0, 10 + size + 2)})) == ["container_empty"]


@pytest.mark.shows("H9")
@pytest.mark.parametrize("more", [1, 5, 16])
def test_data_that_has_no_end_hides_no_alarm(more: int) -> None:
    log, _ = met(0, 10)
    records = {10: event(0, BEGIN, 10), 11: event(3, 0, 11)}
    first = later(log, 0, 11 + more, records)
    rest = [alarm for _ in range(2) for alarm in later(log, 0, 11 + more)]
    assert codes([*first, *rest]) == ["container_empty"]


def test_events_behind_data_of_no_known_size_are_told() -> None:
    log, _ = met(0, 10)
    records = {10: event(0, BEGIN, 10), 11: event(0, END, 11), 12: event(9, 2, 12)}
    assert codes(later(log, 0, 30, records)) == ["occlusion_downstream"]


def test_a_record_that_cannot_be_read_ends_the_waiting_for_the_end_of_data() -> None:
    log, _ = met(0, 10)
    records = {10: event(0, BEGIN, 10), 11: event(3, 0, 11), 12: "REERROR"}
    assert codes(later(log, 0, 13, records)) == ["container_empty", "pump_log_gap"]


@pytest.mark.parametrize("size", DATA_SIZES)
def test_a_log_that_is_met_within_data_tells_what_is_behind_it(size: int) -> None:
    for cut in range(size + 2):
        end = 100
        first = end - LOOK_BACK - cut
        last = end - 1
        assert codes(met(0, end, {**with_data(first, size), last: event(9, 2, last)})[1]) == ["occlusion_downstream"], (
            cut
        )


@pytest.mark.parametrize("size", DATA_SIZES)
def test_whole_data_when_the_log_is_met_hides_nothing(size: int) -> None:
    records = {**with_data(5, size), 4: event(14, 0, 4), 29: event(9, 2, 29)}
    assert codes(met(0, 30, records)[1]) == ["pump_door_open", "occlusion_downstream"]


WARNED: list[tuple[list[tuple[int, int]], tuple[str, ...]]] = [
    ([(13, 2)], ("pump_battery_low",)),
    ([(30, 0)], ("pump_battery_low",)),
    ([(30, 0), (13, 16)], ()),
    ([(13, 2), (13, 32)], ()),
    ([(13, 2), (13, 1)], ()),
    ([(13, 2), (13, 64)], ()),
    ([(13, 2), (13, 18)], ("pump_battery_low",)),
    ([(13, 2), (13, 8)], ("pump_battery_low",)),
    ([(13, 2), (13, 128)], ("pump_battery_low",)),
    ([(13, 2), (13, 272)], ("pump_battery_low",)),
    ([(13, 2), (1, 0)], ("pump_battery_low",)),
    ([(21, 0)], ("pump_reminder",)),
    ([(29, 0)], ("pump_reminder",)),
    ([(11, 0)], ("pump_reminder",)),
    ([(21, 0), (1, 0)], ()),
    ([(21, 0), (2, 0)], ()),
    ([(29, 0), (22, 0)], ()),
    ([(11, 0), (16, 0)], ()),
    ([(21, 0), (24, 0)], ()),
    ([(21, 0), (15, 0), (30, 0)], ("pump_battery_low", "pump_reminder")),
]


@pytest.mark.parametrize(("events", "warned"), WARNED)
def test_what_the_pump_warns_of_until_it_takes_it_back(events: list[tuple[int, int]], warned: tuple[str, ...]) -> None:
    records = {number: event(kind, sub, number) for number, (kind, sub) in enumerate(events)}
    looked_back, _ = met(0, len(events), records)
    assert looked_back.warnings == warned
    watched, _ = met()
    later(
        watched,
        0,
        1 + len(events),
        {number + 1: event(kind, sub, number + 1) for number, (kind, sub) in enumerate(events)},
    )
    assert watched.warnings == warned


def test_a_gap_forgets_the_warnings() -> None:
    log, _ = met(0, 1, {0: event(30, 0, 0)})
    log.heard(at(5, 6))
    assert log.warnings == ()


def test_decimals_stay_exact() -> None:
    assert wire.volume("FFFFFFFF").value == Decimal("42949672.95")
