"""The wire of the Fresenius Orchestra generation: checked frames, bytes of the line between them, items in answers.

"Section" means a section of docs/devices/fresenius.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pumpd.driver import Damaged, Frame, Garbled, PumpError, Refused

STX, ETX, ENQ, ACK, DC4, NAK = 0x02, 0x03, 0x05, 0x06, 0x14, 0x15
LONGEST_FRAME = 84  # address, 80 characters of text, check (section "Framing"), and one for who counts otherwise
INTER_BYTE_S = 1.0  # not documented; a whole frame takes 46 ms at 19200 baud

KINDS = {"C": "reply", "I": "refusal", "E": "event", "M": "event"}
NAK_REASONS = {
    "1": "a character was not received well",
    "2": "wrong check",
    "4": "wrong address",
    "5": "no ACK came in time",
    "6": "not ready",
    "7": "wrong length",
    "8": "control code inside a frame",
}
REFUSALS = {
    "01": "unknown command",
    "02": "not allowed in this mode",
    "03": "not allowed in this status",
    "04": "syntax",
    "05": "mode not authorised",
    "06": "mode already active",
    "07": "new mode not allowed in this mode",
    "08": "parameter out of limits",
    "09": "new mode not allowed in this status",
    "0A": "identifier not used",
    "0B": "identifier wrong",
    "0C": "message too long",
    "0D": "base session not open",
    "0E": "communication with the module impossible",
    "12": "alarm present",
    "14": "no rate was chosen",
    "15": "not enough volume",
    "16": "empty-syringe mode impossible",
    "1A": "event number wrong",
    "1E": "module link not open",
    "1F": "a module is not in manual mode, or is open already",
    "20": "command not allowed on this port",
    "22": "new mode not authorised",
    "24": "connection mode wrong",
    "25": "drug number wrong",
}
NOT_OPEN = {"0D", "1E"}  # the base's session, a module's link: they are opened again


class NotOpen(Refused):
    """The session with the base, or the link to the module, is not open (any more)."""


# --- bytes ------------------------------------------------------------------------------------------------------------


def spell(address: str, text: str) -> bytes:
    """The frame of this text for this address; none for a pump that stands alone."""
    body = (address + text).encode("ascii")
    return b"\x02%b%02X\x03" % (body, checksum(body))


def checksum(body: bytes) -> int:
    """FF hex less the low byte of the sum, address included."""
    return 0xFF - (sum(body) & 0xFF)


class FreseniusFramer:
    """Gives frames, and the bytes of the line for themselves: `ack`, `enq` and `nak`, which may stand anywhere."""

    _BODY = re.compile(rb"([0-9]?)([\x20-\x7e]+)([0-9A-F]{2})")

    def __init__(self) -> None:
        self._found: list[Frame | Damaged] = []
        self._frame: bytearray | None = None
        self._refusing = False  # a NAK came, and its reason is the next character

    def feed(self, data: bytes) -> None:
        """Take bytes in pieces of any size."""
        for byte in data:
            self._take(byte)

    def frames(self) -> Iterable[Frame | Damaged]:
        """Give `reply`, `refusal`, `event` and `other` frames without check and address, and the bytes of the line."""
        found, self._found = self._found, []
        yield from found

    def silence(self, seconds: float) -> None:
        """Drop half a frame after a gap no pump makes."""
        if seconds >= INTER_BYTE_S:
            self._frame, self._refusing = None, False

    def reset(self) -> None:
        """Forget half a frame."""
        self._found, self._frame, self._refusing = [], None, False

    def _take(self, byte: int) -> None:
        if byte == ENQ:
            self._found.append(Frame("enq", b""))
        elif byte == ACK:
            self._found.append(Frame("ack", b""))
        elif byte == NAK:
            self._refusing = True
        elif self._refusing:
            self._refusing = False
            self._found.append(Frame("nak", bytes([byte])))
        elif byte == STX:
            self._give_up("another frame began inside")
            self._frame = bytearray()
        elif self._frame is None:
            return  # noise between frames
        elif byte == ETX:
            said, self._frame = bytes(self._frame), None
            self._found.append(self._checked(said))
        elif 0x20 <= byte <= 0x7E and len(self._frame) < LONGEST_FRAME:
            self._frame.append(byte)
        else:
            self._give_up("no text, or too long")

    def _give_up(self, reason: str) -> None:
        if self._frame is not None:
            self._found.append(Damaged(bytes(self._frame), reason))
        self._frame = None

    def _checked(self, said: bytes) -> Frame | Damaged:
        found = self._BODY.fullmatch(said)
        if found is None or b"%02X" % checksum(said[:-2]) != found[3]:
            return Damaged(said, "wrong check")
        return Frame(KINDS.get(chr(found[2][0]), "other"), found[2], found[1].decode())


# --- answers ----------------------------------------------------------------------------------------------------------


def complaint(what: str, frame: Frame) -> PumpError:
    """What a refusal or a NAK means."""
    said = frame.data.decode("ascii", "replace")
    if frame.kind == "nak":
        return Refused(f"{what}: NAK {said} ({NAK_REASONS.get(said, 'not documented')})")
    code = said[1:].removeprefix(";")
    words = f"{what}: refused, {code or 'no reason'} ({REFUSALS.get(code, 'not documented')})"
    return NotOpen(words) if code in NOT_OPEN else Refused(words)


def items(frame: Frame) -> Iterator[tuple[str, str]]:
    """The variables in an answer or event: letter and value."""
    for item in frame.data.decode("ascii").split(";")[1:]:
        yield item[:1], item[1:]


def number(letter: str, value: str | None) -> int:
    """Hex, of any width: how wide each one is has not been published."""
    if value is None or re.fullmatch(r"[0-9A-F]{1,8}", value) is None:
        raise Garbled(f"variable {letter}: {value or 'nothing'} is not a hex number")
    return int(value, 16)
