"""Checks of a framer: in pieces, behind noise, cut short, with flipped bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from pumpd.driver import Damaged, Frame, Taken
from pumpd.testing.subject import Subject

LONG_S = 10.0  # of silence: over any inter-byte time-out
SEED = 1
NOISE_SIZES = (1, 7, 300, 20_000)


def frames_are_read_in_any_pieces(subject: Subject) -> None:
    """A good frame is read whole, byte by byte, cut anywhere, twice in a row, and after noise and a pause."""
    for raw in _frames(subject):
        expected = _good(subject, raw)
        for name, pieces, times in _ways(raw):
            found = _read(subject, pieces)
            assert found == expected * times, f"{raw!r} {name}: read {found}, expected {expected * times}"
        for name, spoilt in _spoilt(raw):
            found = _read(subject, [spoilt, None, raw])
            assert found[-len(expected) :] == expected, f"{raw!r} after {name} and a pause: read {found}"


def half_a_frame_is_no_frame(subject: Subject) -> None:
    """A frame that was cut off says nothing, however long one waits."""
    for raw in _frames(subject):
        expected = _good(subject, raw)
        for cut in range(1, len(raw)):
            found = [each for each in _read(subject, [raw[:cut], None]) if isinstance(each, Frame)]
            assert found == expected[: len(found)], f"the first {cut} bytes of {raw!r} were read as {found}"


def a_flipped_bit_is_no_other_frame(subject: Subject) -> None:
    """Whatever bit of a frame is flipped, no dialogue sees another good frame, and no alarm is told of it."""
    for raw in _frames(subject):
        expected = _good(subject, raw)
        for bit in range(8 * len(raw)):
            spoilt = bytearray(raw)
            spoilt[bit // 8] ^= 1 << bit % 8
            for each in _read(subject, [bytes(spoilt), None]):
                harmless = isinstance(each, Damaged) or each in expected or _stays_unheard(subject, each)
                assert harmless, f"{bytes(spoilt)!r} instead of {raw!r} reads as {each}"


def _stays_unheard(subject: Subject, frame: Frame) -> bool:
    """As the single bytes with which some lines are kept: no dialogue sees them, and no alarm is told."""
    taken = subject.driver.open(subject.settings).on_frame(frame, True)
    return taken.consumed and not taken.notices


def whatever_comes_is_taken_calmly(subject: Subject) -> None:
    """Neither framer nor on_frame raises, for noise, damaged frames and good ones, asked for or not."""
    dice = Random(SEED)
    for raw in _frames(subject):
        for _ in range(50):
            spoilt = bytearray(raw + dice.randbytes(3) + raw)
            for _ in range(dice.randrange(4)):
                spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
            _take(subject, bytes(spoilt), dice)
    for size in NOISE_SIZES:
        _take(subject, dice.randbytes(size), dice)


def _take(subject: Subject, data: bytes, dice: Random) -> None:
    pump = subject.driver.open(subject.settings)
    pump.framer.feed(data)
    for frame in pump.framer.frames():
        if isinstance(frame, Frame):
            taken = pump.on_frame(frame, dice.random() < 0.5)
            assert isinstance(taken, Taken), f"on_frame gave {taken!r} for {frame}"


def _frames(subject: Subject) -> tuple[bytes, ...]:
    said = (answer for transcript in subject.transcripts for _, answer in transcript.exchanges if answer is not None)
    frames = subject.frames or tuple(dict.fromkeys(said))
    assert frames, "the subject holds no good frame of the pump"
    return frames


def _good(subject: Subject, raw: bytes) -> list[Frame | Damaged]:
    found = _read(subject, [raw])
    assert found, f"{raw!r} is no whole frame for the framer"
    assert all(isinstance(each, Frame) for each in found), f"{raw!r} is read as {found}"
    return found


def _read(subject: Subject, pieces: Iterable[bytes | None]) -> list[Frame | Damaged]:
    """None among the pieces is a long silence."""
    framer = subject.driver.open(subject.settings).framer
    found: list[Frame | Damaged] = []
    for piece in pieces:
        if piece is None:
            framer.silence(LONG_S)
        else:
            framer.feed(piece)
        found += framer.frames()
    return found


def _ways(raw: bytes) -> Iterator[tuple[str, list[bytes], int]]:
    yield "byte by byte", [raw[at : at + 1] for at in range(len(raw))], 1
    for cut in range(1, len(raw)):
        yield f"cut after {cut} bytes", [raw[:cut], raw[cut:]], 1
    yield "twice in a row", [raw + raw], 2
    yield "twice, the second in pieces", [raw + raw[:1], raw[1:]], 2


def _spoilt(raw: bytes) -> Iterator[tuple[str, bytes]]:
    dice = Random(SEED)
    for size in NOISE_SIZES:
        yield f"{size} bytes of noise", dice.randbytes(size)
    for cut in range(1, len(raw)):
        yield f"its own first {cut} bytes", raw[:cut]
