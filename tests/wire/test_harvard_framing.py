"""Harvard replies: cut at XON, whole and in pieces, numbers in every unit, and what a changed byte can do."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import lines_of

from drivers.harvard_wire import (
    INTER_BYTE_S,
    LONGEST_REPLY,
    RATE,
    RATE_BANDS,
    SMALLEST,
    STATUS,
    TARGET,
    TARGET_TIME,
    VOLUME,
    HarvardFramer,
    Reply,
    last_digit,
    obeys,
    plain,
    rate_of,
    reply_of,
    seconds_of,
    spell_time,
    status_of,
    target_above,
    tells,
    volume_of,
)
from pumpd.driver import Damaged, Frame, Garbled, Grid, Motion
from pumpd.units import Ml, MlPerHour

REPLIES = [data for name in ("recorded", "constructed") for who, data in lines_of(name, "harvard") if who == "<"]
POLL_OFF = ("recorded_poll_off", "constructed_poll_off")
ODD = b"\nPump address set to 2\r\n02:\x11"  # the one reply whose text is of another address than its prompt
GOOD = [reply for reply in REPLIES if reply != ODD]


def cut(pieces: Iterable[bytes], *, polled: bool = True) -> list[Frame | Damaged]:
    framer = HarvardFramer()
    framer.polled = polled
    frames: list[Frame | Damaged] = []
    for piece in pieces:
        framer.feed(piece)
        frames += framer.frames()
    return frames


def the_one(reply: bytes) -> Reply:
    (frame,) = cut([reply])
    assert isinstance(frame, Frame)
    return reply_of(frame)


def status(text: str, prompt: str = ":") -> bytes:
    return f"\n{text}\r\n{prompt}\x11".encode()


# --- frames -----------------------------------------------------------------------------------------------------------


def test_the_published_replies_are_prompt_and_lines() -> None:
    assert the_one(b"\n:\x11") == Reply(":", ())
    assert the_one(b"\n1.69023 ul\r\n>\x11") == Reply(">", ("1.69023 ul",))
    assert the_one(b"\nFirmware:      v3.0.6\r\nPump address:  0\r\nSerial number: D101754\r\n:\x11") == Reply(
        ":", ("Firmware:      v3.0.6", "Pump address:  0", "Serial number: D101754")
    )


def test_an_address_stands_before_every_line_and_the_prompt() -> None:
    assert cut([b"\n01:368.605 ul\r\n01>\x11"]) == [Frame("reply", b">\n368.605 ul", "01")]
    assert cut([b"\n01:\x11"]) == [Frame("reply", b":", "01")]
    for other in (b"\n02:368.605 ul\r\n01>\x11", b"\n368.605 ul\r\n01>\x11", ODD):
        (damaged,) = cut([other])
        assert isinstance(damaged, Damaged)


@pytest.mark.parametrize("prompt", [":", ">", "<", "*", "T*", ">*", "<*"])
def test_every_prompt_is_read(prompt: str) -> None:
    assert the_one(f"\n{prompt}\x11".encode()).prompt == prompt
    assert the_one(f"\n5 ul\r\n{prompt}\x11".encode()) == Reply(prompt, ("5 ul",))


@pytest.mark.parametrize("prompt", ["", "?", "T", "**", ":*", "T>", ">>", "1:", "001:", "/", "^"])
def test_no_other_prompt_is_taken_for_one(prompt: str) -> None:
    (damaged,) = cut([f"\n{prompt}\x11".encode()])
    assert isinstance(damaged, Damaged)


@pytest.mark.parametrize("reply", GOOD)
def test_pieces_of_any_size_give_the_same_frame(reply: bytes) -> None:
    whole = cut([reply])
    assert len(whole) == 1
    assert cut([reply[i : i + 1] for i in range(len(reply))]) == whole
    for split in range(len(reply)):
        assert cut([reply[:split], reply[split:]]) == whole


def test_replies_behind_one_another_come_in_order() -> None:
    frames = cut([b"".join(GOOD)])
    assert frames == [frame for reply in GOOD for frame in cut([reply])]


@given(st.lists(st.sampled_from(GOOD), max_size=3), st.binary(max_size=30))
def test_noise_before_a_reply_costs_at_most_that_reply(before: list[bytes], noise: bytes) -> None:
    frames = cut([*before, noise, b"\n7 ul\r\n>\x11", b"\n8 ul\r\n>\x11"])
    assert frames[: len(before)] == [frame for reply in before for frame in cut([reply])]
    assert frames[-1] == Frame("reply", b">\n8 ul")


def test_a_gap_and_a_reset_drop_half_a_reply() -> None:
    framer = HarvardFramer()
    framer.feed(b"\n12.")
    framer.silence(INTER_BYTE_S / 2)
    framer.feed(b"5 ul\r\n>\x11")
    assert list(framer.frames()) == [Frame("reply", b">\n12.5 ul")]
    for forget in (lambda: framer.silence(INTER_BYTE_S), framer.reset):
        framer.feed(b"\n12.")
        forget()
        framer.feed(b"\n5 ul\r\n>\x11")
        assert list(framer.frames()) == [Frame("reply", b">\n5 ul")]


def test_a_line_that_never_ends_is_noise_and_costs_no_memory() -> None:
    (damaged,) = cut([b"\n" + b"7" * LONGEST_REPLY])
    assert isinstance(damaged, Damaged)


def test_without_xon_a_bare_prompt_ends_a_reply_and_one_with_an_address_never_does() -> None:
    assert cut([b"\n5 ul\r\n:", b"\n6 ul\r\n>"], polled=False) == [
        Frame("reply", b":\n5 ul"),
        Frame("reply", b">\n6 ul"),
    ]
    assert cut([b"\nTarget volume not set\r\nT*"], polled=False) == [Frame("reply", b"T*\nTarget volume not set")]
    ended, *unended = [data for name in POLL_OFF for who, data in lines_of(name, "harvard") if who == "<"]
    assert cut([ended], polled=False) == [Frame("reply", b":\n1 ml/min")]
    assert unended == [b"\n01:368.605 ul\r\n01>", b"\n01T*"]
    assert cut(unended, polled=False) == []
    assert cut([ended, *unended]) == []


@pytest.mark.shows("H58")
@pytest.mark.parametrize("polled", [True, False])
def test_an_answer_of_another_command_set_is_no_value(polled: bool) -> None:
    for reply in (data for who, data in lines_of("other_sets", "harvard") if who == "<"):
        for frame in cut([reply], polled=polled):
            assert isinstance(frame, Damaged) or not any(
                form.fullmatch(line)
                for line in reply_of(frame).lines
                for form in (RATE, VOLUME, TARGET, TARGET_TIME, STATUS)
            )


def test_without_xon_the_same_replies_come_byte_by_byte_and_an_xon_does_no_harm() -> None:
    for reply in GOOD:
        bare = reply[:-1]
        assert cut([bare[i : i + 1] for i in range(len(bare))], polled=False) == cut([reply])
        frames = cut([reply], polled=False)
        assert [frame for frame in frames if isinstance(frame, Frame)] == cut([reply])


def test_what_answers_a_question_and_what_an_order() -> None:
    prompt, text = Frame("reply", b":"), Frame("reply", b":\n5 ul")
    no = Frame("reply", b":\nCommand error:\n   Unknown command")
    assert (tells(prompt), tells(text), tells(no)) == (False, True, True)
    assert (obeys(prompt), obeys(text), obeys(no)) == (True, False, True)
    assert reply_of(no).fault == "Command error: Unknown command"
    assert reply_of(text).fault == ""


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ml"),
    [
        ("1.69023 ul", "0.00169023"),
        ("0 ul", "0"),
        ("9.61893 ml", "9.61893"),
        ("368.605 ul", "0.368605"),
        ("25.0404 nl", "0.0000250404"),
        ("999.999 pl", "0.000000999999"),
        ("8.6284 ml", "8.6284"),
    ],
)
def test_volumes_of_every_unit_are_exact(text: str, ml: str) -> None:
    reading = VOLUME.fullmatch(text)
    assert reading is not None
    assert volume_of(reading) == Ml(ml)


@pytest.mark.parametrize("text", ["", "1.5", "1 l", "1 ML", ".5 ml", "5. ml", "1e3 ul", "-1 ul", "1.5  ml", "1 ul "])
def test_nothing_else_is_a_volume(text: str) -> None:
    assert VOLUME.fullmatch(text) is None


@pytest.mark.parametrize(
    ("text", "ml_h"),
    [
        ("199.49 ul/min", "11.969"),  # 11.9694 as read, and no settable rate is so near
        ("46.666 ml/hr", "46.666"),
        ("0.777767 ml/min", "46.666"),  # six digits in another unit
        ("777.767 ul/min", "46.666"),
        ("12.9628 ul/sec", "46.666"),
        ("46666 ul/hr", "46.666"),
        ("1 ml/min", "60"),
        ("46.6666 ml/hr", "46.6666"),  # somebody dialled it: told as it is
        ("25.0404 nl/min", "0.001502424"),
    ],
)
def test_rates_of_every_unit_are_exact_or_the_settable_one_within_their_last_digit(text: str, ml_h: str) -> None:
    reading = RATE.fullmatch(text)
    assert reading is not None
    wanted = "11.9694" if text == "199.49 ul/min" else ml_h
    assert rate_of(reading) == MlPerHour(wanted)


@given(st.integers(1, 5_000_000), st.sampled_from(["ml/hr", "ul/hr", "ml/min", "ul/min", "nl/min", "ul/sec", "nl/sec"]))
def test_a_settable_rate_is_known_again_in_whatever_unit_six_digits_tell_it(thousandths: int, unit: str) -> None:
    rate = Grid(SMALLEST, Decimal(5000), RATE_BANDS).down(Decimal(thousandths) / 1000)
    assert rate is not None
    per = {"hr": 1, "min": 60, "sec": 3600}[unit[3:]]
    value = rate / {"ml": Decimal(1), "ul": Decimal("1e-3"), "nl": Decimal("1e-6")}[unit[:2]] / per
    shown = round(value, 5 - value.adjusted())
    reading = RATE.fullmatch(f"{plain(shown)} {unit}")
    assert reading is not None
    assert rate_of(reading) == MlPerHour(rate)


@pytest.mark.shows("S1")
@given(st.decimals(0, 900, places=9), st.integers(1, 99_999))
def test_a_target_never_lets_more_pass_than_the_limit_and_has_six_digits(counted: Decimal, steps: int) -> None:
    limit = SMALLEST * steps
    target = target_above(Ml(counted), Ml(limit)).value
    assert target - counted <= limit
    assert limit - (target - counted) < last_digit(counted + limit)
    assert len(target.normalize().as_tuple().digits) <= 6


def test_targets_that_are_not_set_are_none_and_never_a_number() -> None:
    for text in ("Target volume not set", "Target volume not set."):
        reading = TARGET.fullmatch(text)
        assert reading is not None
        assert volume_of(reading) is None
    reading = TARGET_TIME.fullmatch("Target time not set")
    assert reading is not None
    assert seconds_of(reading) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 seconds", 30), ("00:03:00", 180), ("01:30:00", 5400), ("99:59:59", 359_999), ("1 second", 1)],
)
def test_times_of_both_forms(text: str, seconds: int) -> None:
    reading = TARGET_TIME.fullmatch(text)
    assert reading is not None
    assert seconds_of(reading) == seconds
    if ":" in text:
        assert spell_time(seconds) == text


# --- status -----------------------------------------------------------------------------------------------------------


def test_the_example_of_the_documents_is_two_millilitres_a_minute() -> None:
    read = status_of(the_one(b"\n33333333333 3000 100000000000 I...I.\r\n>\x11"))
    assert abs(read.rate.value - 120) < Decimal("1e-6")
    assert read.volume == Ml("0.1")
    assert read.motion is Motion.INFUSING


@pytest.mark.parametrize(
    ("flags", "prompt", "motion"),
    [
        ("I...I.", ">", Motion.INFUSING),
        ("I...I", ">", Motion.INFUSING),
        ("W...W.", "<", Motion.WITHDRAWING),
        ("i...I.", ":", Motion.STANDING),
        ("w...i.", ":", Motion.STANDING),
        ("i...iT", "T*", Motion.STANDING),
        ("i.S.i.", "*", Motion.STANDING),
        ("ii..i.", ">*", Motion.STANDING),
        ("ww..w.", "<*", Motion.STANDING),
        ("I.S.I.", "*", Motion.UNKNOWN),
        ("I...I.", ":", None),
        ("i...i.", ">", None),
        ("W...I.", ">", None),
        ("I...IT", "T*", None),
        ("I...I.", "*", None),
    ],
)
@pytest.mark.shows("S4")
def test_standing_needs_flags_and_prompt(flags: str, prompt: str, motion: Motion | None) -> None:
    assert status_of(the_one(status(f"1 2 3 {flags}", prompt))).motion is motion


@pytest.mark.parametrize("text", ["", "1 2 i...i.", "1 2 3 x...i.", "1 2 3 i..i.", "1 2 3 i...i.T", "1.5 2 3 i...i."])
def test_nothing_else_is_a_status(text: str) -> None:
    assert STATUS.fullmatch(text) is None
    with pytest.raises(Garbled):
        status_of(Reply(":", (text,)))
    with pytest.raises(Garbled):
        status_of(Reply(":", ("1 2 3 i...i.", "more")))


@pytest.mark.shows("H9")
@pytest.mark.parametrize("running", [True, False])
def test_no_single_changed_byte_of_a_status_reads_as_another_motion(running: bool) -> None:
    reply = status(
        "12962777777 60000 777000000000 I...I." if running else "0 60000 777000000000 i...i.", ">" if running else ":"
    )
    motion = Motion.INFUSING if running else Motion.STANDING
    for place in range(len(reply)):
        for byte in range(256):
            for frame in cut([reply[:place] + bytes([byte]) + reply[place + 1 :]]):
                if isinstance(frame, Damaged) or not tells(frame) or frame.address:
                    continue
                try:
                    read = status_of(reply_of(frame))
                except Garbled:
                    continue
                assert read.motion in (motion, None, *((Motion.UNKNOWN,) if running else ()))
