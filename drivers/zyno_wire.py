"""The wire of the Zyno Z-800 family: frames with a one-byte check, and the numbers in them.

"Section" means a section of docs/devices/zyno.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import reduce
from operator import xor

from pumpd.driver import Damaged, Frame, Garbled, Refused
from pumpd.units import Ml, MlPerHour

STX, ETX = 0x02, 0x03
LONGEST_FRAME = 64  # the longest answer that is asked for has 46 bytes; anything longer is noise
INTER_BYTE_S = 0.5  # not documented; a frame of 46 bytes takes 48 ms at 9600 baud

CHECKS: dict[str, Callable[[bytes], int]] = {
    "sum": lambda text: sum(text) & 0xFF,
    "xor": lambda text: reduce(xor, text, 0),
}
SENSORS = "S9"  # frames that a pump sends by itself where its "S9 output" is on
NOT_AVAILABLE = "ERROR"

HEX = re.compile(r"[0-9A-F]{1,8}")
RATE = re.compile(r"\d{1,4}(\.\d{1,3})?")


def spell(text: str, check: str) -> bytes:
    """The frame of this text."""
    body = text.encode("ascii")
    return b"\x02%b%02X\x03" % (body, CHECKS[check](body))


class ZynoFramer:
    """Cuts frames STX, text, two hex digits, ETX.

    An STX within a frame damages it: the check is too weak to tell a frame behind half of another from a changed byte.
    """

    _BODY = re.compile(rb"\x02([\x20-\x7e]+)([0-9A-F]{2})")

    def __init__(self, check: str) -> None:
        self._check = CHECKS[check]
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        self._buffer += data

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give `sensors` frames, told unasked, and `reply` frames: the text without its check, in capital letters."""
        while (found := self._next()) is not None:
            yield found

    def silence(self, seconds: float) -> None:
        """Drop half a frame after a gap no pump makes."""
        if seconds >= INTER_BYTE_S:
            self.reset()

    def reset(self) -> None:
        """Forget half a frame."""
        self._buffer.clear()

    def _next(self) -> Frame | Damaged | None:
        while (end := self._buffer.find(ETX)) >= 0:
            said = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if said:
                return self._checked(said[max(0, said.find(STX)) :])
        start = self._buffer.find(STX)
        if start < 0 or len(self._buffer) - start > LONGEST_FRAME:
            self._buffer.clear()
        return None

    def _checked(self, said: bytes) -> Frame | Damaged:
        found = self._BODY.fullmatch(said) if len(said) <= LONGEST_FRAME else None
        if found is None or b"%02X" % self._check(found[1]) != found[2]:
            return Damaged(said, "check, begin or length of the frame is wrong")
        text = found[1].upper()  # the maker's own program reads answers so
        return Frame("sensors" if text.startswith(SENSORS.encode()) else "reply", text)


# --- answers ----------------------------------------------------------------------------------------------------------


def text_of(frame: Frame) -> str:
    """The text of a frame."""
    return frame.data.decode("ascii")


def told(code: str, frame: Frame) -> str:
    """What follows the code. Raises Refused where the pump says that it has no such thing, Garbled for another code."""
    text = text_of(frame)
    if text == code + NOT_AVAILABLE:
        raise Refused(f"{code or 'question'}: the pump says that it is not available")
    if not text.startswith(code):
        raise Garbled(f"{code}: answered {text}")
    return text.removeprefix(code)


def number(text: str) -> int:
    """A hex number of any width: how wide each one is has not been published."""
    if HEX.fullmatch(text) is None:
        raise Garbled(f"{text or 'nothing'} is not a hex number")
    return int(text, 16)


def volume(text: str) -> Ml:
    """Hex, 0.01 ml."""
    return Ml(Decimal(number(text)) / 100)


def rate(text: str) -> MlPerHour:
    """An integer or a decimal, ml/h."""
    if RATE.fullmatch(text) is None:
        raise Garbled(f"{text or 'nothing'} is not a rate as this pump says it")
    return MlPerHour(Decimal(text))
