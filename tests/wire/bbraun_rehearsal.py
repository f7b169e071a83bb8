"""B. Braun frames spelled apart from the driver, and dialogues played against scripts of (question, answer)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from drivers.bbraun import DRIVER
from pumpd.driver import Ask, Damaged, Dialogue, Frame, Pause, Pump, PumpAlarm, Repeat, Silent, T, Uncertain

Exchange = tuple[bytes, bytes | None]  # None: no answer to any try
Script = Sequence[Exchange]

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "bbraun"
IDENTNR = 0x0FEC3039  # type 1019, serial 12345
FF = "ff"


def check(block: bytes) -> bytes:
    """The family's CRC bit by bit: each byte is shifted in from below, and nothing after the last."""
    crc = 0xFFFF
    for byte in block:
        for bit in range(7, -1, -1):
            top = crc & 0x8000
            crc = (crc << 1 | byte >> bit & 1) & 0xFFFF
            if top:
                crc ^= 0x1021
    return crc.to_bytes(2, "big")


def frame(block: bytes) -> bytes:
    body = block + check(block)
    return b"\x7e" + body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e").replace(
        b"\x80", b"\x7d\xa0"
    ) + b"\x7e"  # fmt: skip


def block(address: str, rest: str) -> bytes:
    return (address.encode() or b"\x00") + bytes.fromhex(rest)


def ask(rest: str, address: str = "A") -> bytes:
    return frame(block(address, rest))


def said(rest: str, address: str = "A") -> bytes:
    return frame(block(address, rest))


def no(segment: str, reason: int, address: str = "A") -> bytes:
    return said(f"{segment} 15 {reason:02x}", address)


def put(value: int | None, size: int) -> str:
    return ("ff" * size) if value is None else value.to_bytes(size, "big").hex()


def ident(identnr: int = IDENTNR, address: str = "A", software: str = "V1.0") -> Exchange:
    text = software.ljust(10).encode().hex()
    return ask("01", address), said(f"01 06 {put(identnr, 4)} 000e {text} 5f5e1000", address)


REMOTE, REMOTE_ONLY, DOCUMENTATION, RUNNING, DATA_LOCK = 1 << 2, 1 << 3, 1 << 1, 1 << 7, 1 << 16
STANDS = REMOTE | 1 << 4 | 1 << 6
RUNS = STANDS | RUNNING


def status(
    state: int | None = STANDS,
    rate: int | None = 0,
    left: int | None = 200,
    alarm: int | None = 0,
    request: int | None = 0,
    address: str = "A",
) -> Exchange:
    words = put(request, 1) + put(alarm, 4) + put(state, 4) + put(rate, 4) + put(left, 4) + "0078"
    return ask("02", address), said("02 06" + words, address)


def actual(infused: int | None = 50, syringe: int | None = 50, address: str = "A") -> Exchange:
    words = "23" + put(infused, 4) + "0005 0000 012c 0000" + put(syringe, 2) + "0000 0000 0000"
    return ask("03", address), said("03 06" + words, address)


def set_values(rate: int | None = 1000, limit: int | None = 200, step: int | None = 5, address: str = "A") -> Exchange:
    words = put(rate, 4) + put(limit, 4) + "0078 0000c350 0000" + put(step, 1) + "0000" + "20" * 20
    return ask("04", address), said("04 06" + words, address)


def limits(most: int | None = 9990, least: int | None = 10, volume: int | None = 9999, address: str = "A") -> Exchange:
    words = "0000ea60 00 01 0001869f 0000000a 03 00000000 09" + put(volume, 4) + "0064 0000000a 0001 01"
    return ask("06", address), said("06 06" + words + "0001869f 0000000a" + put(most, 4) + put(least, 4), address)


def control(mode: int, identnr: int = IDENTNR, letter: str = "A", address: str = "") -> Exchange:
    words = put(identnr ^ 0xFFFFFFFF, 4) + put(mode, 1) + letter.encode().hex() + "ffffffff"
    return ask("10" + words, address), said("10 06", address)


def write(rate: int | None, limit: int | None = None) -> Exchange:
    return ask("12" + put(rate, 4) + put(limit, 4) + "ff" * 31), said("12 06")


def action(number: int, flag: int, address: str = "A") -> Exchange:
    return ask(f"11 {number:02x} {flag:02x}", address), said("11 06", address)


# --- playing ----------------------------------------------------------------------------------------------------------


@dataclass
class Heard:
    """What else happened while a dialogue was played."""

    told: list[PumpAlarm] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)


def play(pump: Pump, dialogue: Dialogue[T], answer: Callable[[bytes], bytes | None], heard: Heard | None = None) -> T:
    """Run a dialogue as the engine does: an answer that it does not take is silence."""
    heard = heard or Heard()
    move: Callable[[], Any] = partial(next, dialogue)
    while True:
        try:
            step = move()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if isinstance(step, Pause):
            heard.pauses.append(step.seconds)
            move = partial(next, dialogue)
            continue
        assert isinstance(step, Ask)
        heard.sent.append(step.data)
        frames = [] if (raw := answer(step.data)) is None else shown(pump, raw, heard.told)
        taken = [each for each in frames if step.accept is None or step.accept(each)]
        if taken:
            move = partial(dialogue.send, taken[0])
        else:
            lost = Uncertain if step.repeat is Repeat.NEVER else Silent
            move = partial(dialogue.throw, lost("no answer"))


def shown(pump: Pump, raw: bytes, told: list[PumpAlarm]) -> list[Frame]:
    """The frames in `raw` that a waiting dialogue may see."""
    pump.framer.feed(raw)
    left = []
    for found in pump.framer.frames():
        assert not isinstance(found, Damaged), found
        taken = pump.on_frame(found, asking=True)
        told += taken.notices
        left += [] if taken.consumed else [found]
    return left


def rehearse(pump: Pump, dialogue: Dialogue[T], script: Script, heard: Heard | None = None) -> T:
    """Fails when the dialogue sends anything else than the script, or less."""
    lines = iter(script)

    def answer(sent: bytes) -> bytes | None:
        expected, reply = next(lines, (b"nothing more", None))
        assert sent.hex(" ") == expected.hex(" ")
        return reply

    try:
        return play(pump, dialogue, answer, heard)
    finally:
        assert [question.hex(" ") for question, _ in lines] == [], "the dialogue ended before these"


def disturbed(pump: Pump, dialogue: Dialogue[T], script: Script, step: int, answer: bytes | None, heard: Heard) -> T:
    """The script with another answer at `step`; asked again it is said again, and what is off the script is silence."""
    at = 0

    def reply(sent: bytes) -> bytes | None:
        nonlocal at
        if at < len(script) and sent == script[at][0]:
            at += 1
        elif not at or sent != script[at - 1][0]:
            return None
        return answer if at - 1 == step else script[at - 1][1]

    return play(pump, dialogue, reply, heard)


def lines_of(name: str) -> list[tuple[str, bytes]]:
    """The lines of a transcript as (">" or "<", bytes); `#` lines name the source."""
    text = (TRANSCRIPTS / f"{name}.txt").read_text()
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(row[0], row[2:].encode().decode("unicode_escape").encode("latin-1")) for row in rows]


def transcript(name: str) -> list[tuple[bytes, bytes]]:
    """A transcript in which each host line has one answer."""
    lines = lines_of(name)
    assert [who for who, _ in lines] == [">", "<"] * (len(lines) // 2)
    return [(lines[n][1], lines[n + 1][1]) for n in range(0, len(lines), 2)]


# --- dialogues -------------------------------------------------------------------------------------------------------

CONNECT = [ident(address=""), set_values(address=""), limits(address="")]
TAKE = [
    status(DOCUMENTATION | 1 << 4, address=""),
    ident(address=""),
    control(1),
    ident(),
    status(),
]
ARM = [
    *TAKE,
    limits(),
    action(2, 1),
    actual(),
    set_values(),
    status(STANDS | DATA_LOCK),
]

LOAD_LOCKED = [status(STANDS | DATA_LOCK), write(1000, 200), set_values(), actual(), status(STANDS | DATA_LOCK)]


def fresh(**settings: object) -> Pump:
    """Connected, in documentation mode, at no address."""
    pump = DRIVER.open(settings)
    rehearse(pump, pump.connect(), CONNECT)
    return pump
