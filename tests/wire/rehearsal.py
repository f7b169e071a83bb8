"""Plays a dialogue against a script of (what is sent, what comes back), through the pump's own framer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from pumpd.driver import Ask, Damaged, Dialogue, Frame, Pause, Pump, PumpAlarm, Repeat, Silent, T, Uncertain

Script = Sequence[tuple[bytes, bytes | None]]  # None: no answer to any try

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


def rehearse(pump: Pump, dialogue: Dialogue[T], script: Script, told: list[PumpAlarm] | None = None) -> T:
    """Give what the dialogue gives. Fails when it sends anything else than the script, or less."""
    lines = iter(script)
    move = partial(next, dialogue)
    while True:
        try:
            step = move()
        except StopIteration as end:
            assert list(lines) == [], "the dialogue ended before these"
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Pause):  # passes at once
            move = partial(dialogue.send, None)
            continue
        assert isinstance(step, Ask)
        sent, answer = next(lines, (None, None))
        assert step.data == sent
        if answer is not None:
            move = partial(dialogue.send, the_frame(pump, answer, [] if told is None else told))
        elif step.repeat is Repeat.NEVER:
            move = partial(dialogue.throw, Uncertain("no answer"))
        else:
            move = partial(dialogue.throw, Silent("no answer"))


def the_frame(pump: Pump, answer: bytes, told: list[PumpAlarm]) -> Frame:
    """The one frame in `answer` that a waiting dialogue may see."""
    pump.framer.feed(answer)
    left = []
    for frame in pump.framer.frames():
        assert not isinstance(frame, Damaged), frame
        taken = pump.on_frame(frame, asking=True)
        told += taken.notices
        if not taken.consumed:
            left.append(frame)
    (only,) = left
    return only


def crc16(data: bytes) -> int:
    """CRC-16, polynomial 0x1021, start 0, bit by bit: written apart from the driver's."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def safe(text: str) -> bytes:
    data = text.encode()
    return bytes([0x02, len(data) + 4]) + data + crc16(data).to_bytes(2, "big") + b"\x03"


def basic(text: str) -> bytes:
    return b"\x02" + text.encode() + b"\x03"


def in_safe_mode(pairs: Iterable[tuple[str, str | None]]) -> Script:
    """Commands and answers of the pump at address 0, as Safe packets."""
    return [(safe("0" + sent), None if answer is None else safe("00" + answer)) for sent, answer in pairs]


def in_basic_mode(pairs: Iterable[tuple[str, str | None]]) -> Script:
    return [(f"0{sent}\r".encode(), None if answer is None else basic("00" + answer)) for sent, answer in pairs]


def lines_of(name: str, family: str = "newera") -> list[tuple[str, bytes]]:
    """The lines of a transcript as (">" or "<", bytes); `#` lines name the source."""
    text = (TRANSCRIPTS / family / f"{name}.txt").read_text()
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(row[0], row[2:].encode().decode("unicode_escape").encode("latin-1")) for row in rows]


def transcript(name: str, family: str = "newera") -> Script:
    """A transcript in which each host line has one answer."""
    lines = lines_of(name, family)
    sent, answers = lines[::2], lines[1::2]
    assert all(who == ">" for who, _ in sent)
    assert all(who == "<" for who, _ in answers)
    return [(question, answer) for (_, question), (_, answer) in zip(sent, answers, strict=True)]
