"""The frames of a B. Braun dianet star line: flags, stuffing, check sum, refusals.

Written from the protocol notes (B. Braun), sections A2 and A4. Nothing here knows a pump.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from enum import IntEnum

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
MONITOR = 0x80  # monitor activation: never bare inside a frame
CRC_BYTES = 2
LEAST = 2  # address and segment
LONGEST = 256  # invented: more than that between two flags is noise, a host's longest has 43 bytes and what is stuffed
AUGMENTED_START = 0x1D0F  # FFFF after sixteen more bits of polynomial 1021
STUFFED = re.compile(rb"\x7d(.)", re.DOTALL)


class Nak(IntEnum):
    """Why a pump says no (section A4)."""

    NONE = 0x00
    CRC = 0x01
    FRAME = 0x02
    UNKNOWN_SEGMENT = 0x03
    KEYPAD_IN_USE = 0x04
    WRONG_IDENTITY = 0x05
    OUT_OF_RANGE = 0x06
    LENGTH = 0x07
    ADDRESS = 0x08
    WRONG_MODE = 0x09
    CLOCK_WHILE_RUNNING = 0x0B
    NOT_POSSIBLE = 0x0C
    DOES_NOT_FIT = 0x0D


def crc(block: bytes) -> int:
    """Check sum of a block: polynomial 1021, start FFFF, data entering at the low end, nothing appended.

    That register is the common one, XMODEM's, two bytes earlier: what would follow the last two bytes never happens.
    """
    return binascii.crc_hqx(block[:-CRC_BYTES], AUGMENTED_START) ^ int.from_bytes(block[-CRC_BYTES:], "big")


def stuff(data: bytes) -> bytes:
    """Escape what must not be bare between two flags."""
    for bare in (ESCAPE, FLAG, MONITOR):
        data = data.replace(bytes((bare,)), bytes((ESCAPE, bare ^ FLIP)))
    return data


def wrap(block: bytes) -> bytes:
    """Frame a block."""
    flag = bytes((FLAG,))
    return flag + stuff(block + crc(block).to_bytes(CRC_BYTES, "big")) + flag


def unwrap(inside: bytes) -> tuple[bytes, Nak]:
    """Take what stood between two flags apart: the block, as far as it can be read, and what is wrong with it."""
    error = Nak.FRAME if MONITOR in inside or inside[-1:] == bytes((ESCAPE,)) else Nak.NONE
    if ESCAPE in inside:
        inside = STUFFED.sub(lambda pair: bytes((pair[1][0] ^ FLIP,)), inside)
    block = inside[:-CRC_BYTES]
    if len(block) < LEAST:
        return b"", Nak.FRAME
    if not error and crc(block) != int.from_bytes(inside[-CRC_BYTES:], "big"):
        error = Nak.CRC
    return block, error


class Frames:
    """Finds frames in what comes in; bytes outside of two flags are nobody's."""

    def __init__(self, *, shared_flags: bool) -> None:
        """`shared_flags`: one flag may end a frame and begin the next."""
        self._shared = shared_flags
        self._open = False
        self._inside = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._inside)

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Take bytes; return what stood between the flags of each frame that they complete."""
        if not self._open and data[0] == data[-1] == FLAG and data.count(FLAG) == 2 and len(data) > 2:
            self._open = self._shared
            return (data[1:-1],)
        first, *rest = data.split(bytes((FLAG,)))
        self._take(first)
        return [inside for piece in rest if (inside := self._flag(piece))]

    def forget(self) -> bytes:
        """Drop the frame that has begun; return what was heard of it."""
        heard = bytes(self._inside)
        self._inside.clear()
        self._open = False
        return heard

    def _flag(self, piece: bytes) -> bytes:
        """A flag came, and then `piece`; return what the flag ended, if anything."""
        ended = bytes(self._inside)
        self._inside.clear()
        self._open = self._shared or not ended
        self._take(piece)
        return ended

    def _take(self, piece: bytes) -> None:
        if self._open:
            self._inside += piece
            if len(self._inside) > LONGEST:
                self.forget()
