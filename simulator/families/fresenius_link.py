"""The link layer of a Fresenius pump: frames, ACK, NAK, line check. Times are wire seconds.

Written from the protocol notes (Fresenius), part A, sections 2 and 3.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from simulator.families.fresenius_invented import Invented

STX, ETX, ENQ, ACK, DC4, NAK = 0x02, 0x03, 0x05, 0x06, 0x14, 0x15
PRINTABLE = range(0x20, 0x7F)
MAX_FRAME = 120  # invented: more than this between STX and ETX is NAK 7; a text has 80 at most
LEAST_FRAME = 3  # one letter, as an answer to an event has, and two digits of check sum
RECEPTION, CHECKSUM, ADDRESS, NO_ACK, NOT_READY, LENGTH, CONTROL_CODE = "1", "2", "4", "5", "6", "7", "8"
REASONS = tuple("12345678")


class Nak(Exception):
    """The frame is refused on the line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Application(Protocol):
    """What stands above the line."""

    def frame(self, text: str) -> str | None:
        """A good frame came; return the answer, None for ACK alone. Nak when it is refused."""

    def lost(self) -> None:
        """The host no longer answers."""


def checksum(text: str) -> str:
    """0xFF less the low byte of the sum, two upper-case hex digits."""
    return f"{0xFF - (sum(text.encode('ascii')) & 0xFF):02X}"


def framed(text: str) -> bytes:
    """Put a text, address included, between STX and ETX."""
    return b"\x02" + f"{text}{checksum(text)}".encode("ascii") + b"\x03"


def refusal(reason: str) -> bytes:
    """NAK and its reason."""
    return bytes((NAK, ord(reason)))


class Sent:
    """A frame of the pump that the host has not acknowledged."""

    def __init__(self, data: bytes, due: float, *, is_answer: bool) -> None:
        self.data = data
        self.due = due
        self.is_answer = is_answer
        self.refused = 0  # times


class Line:
    """The pump's end of it."""

    def __init__(self, above: Application, invented: Invented) -> None:
        self._above = above
        self._invented = invented
        self.forced_reason: str | None = None  # the next frame is refused with it
        self.at = 0.0
        self._saying = bytearray()
        self._frame: bytearray | None = None
        self._reason_follows = False
        self._sent: deque[Sent] = deque()
        self._frames = 0
        self._enq_at: float | None = None  # None: no session
        self._dc4_by: float | None = None
        self._misses = 0

    def reboot(self) -> None:
        """Forget everything."""
        self._saying.clear()
        self._frame, self._reason_follows = None, False
        self._sent.clear()
        self.close()

    def open(self) -> None:
        """A session begins: the line is checked from now on."""
        if self._enq_at is None:
            self._enq_at = self.at + self._invented.enq_period_s
            self._misses = 0

    def close(self) -> None:
        """The session is over."""
        self._enq_at = self._dc4_by = None

    def say(self) -> bytes:
        """Take what the pump has to say."""
        data = bytes(self._saying)
        self._saying.clear()
        return data

    def send(self, text: str, *, is_answer: bool) -> None:
        """Send a frame, and wait for its ACK."""
        self._frames += 1
        data = framed(text)
        self._sent.append(Sent(data, self.at + self._invented.ack_within_s, is_answer=is_answer))
        every = self._invented.enq_inside_every
        if every and self._frames % every == 0 and self._enq_at is not None:
            middle = len(data) // 2
            self._saying += data[:middle]
            self._check()
            self._saying += data[middle:]
        else:
            self._saying += data

    def forget_events(self) -> None:
        """No ACK is waited for any more but that of an answer."""
        self._sent = deque(sent for sent in self._sent if sent.is_answer)

    # -- time

    def due(self) -> float | None:
        """Wire time of the next time-out, if any."""
        times = [time for time in (self._enq_at, self._dc4_by) if time is not None]
        if self._sent:
            times.append(self._sent[0].due)
        return min(times, default=None)

    def advance(self, at: float) -> None:
        """Let the time-outs due by `at` happen."""
        self.at = at
        while self._sent and at >= self._sent[0].due:
            self._sent.popleft()
            self._saying += refusal(NO_ACK)
        if self._dc4_by is not None and at >= self._dc4_by:
            self._dc4_by = None
            self._misses += 1
            if self._misses >= self._invented.enq_misses:
                self.close()
                self._above.lost()
        if self._enq_at is not None and at >= self._enq_at:
            self._check()

    def _check(self) -> None:
        self._saying.append(ENQ)
        self._enq_at = self.at + self._invented.enq_period_s
        if self._dc4_by is None:
            self._dc4_by = self.at + self._invented.dc4_within_s

    # -- bytes

    def hear(self, data: bytes) -> None:
        """Take bytes from the host."""
        for byte in data:
            if self._reason_follows:
                self._reason_follows = False
                self._refused()
            elif byte in PRINTABLE:
                if self._frame is not None:
                    self._frame.append(byte)
                    if len(self._frame) > MAX_FRAME:
                        self._drop(LENGTH)
            else:
                self._code(byte)

    def _code(self, byte: int) -> None:
        """Take a byte that is no character; those of the line may come in the middle of a frame."""
        if byte == STX:
            self._frame = bytearray()
        elif byte == ACK:
            if self._sent:
                self._sent.popleft()
        elif byte == DC4:
            self._dc4_by, self._misses = None, 0
        elif byte == NAK:
            self._reason_follows = True
        elif self._frame is not None and byte == ETX:
            content, self._frame = self._frame.decode("ascii"), None
            self._whole(content)
        elif self._frame is not None and byte != ENQ:
            self._drop(CONTROL_CODE if byte < PRINTABLE.start else RECEPTION)

    def _drop(self, reason: str) -> None:
        self._frame = None
        self._saying += refusal(reason)

    def _whole(self, content: str) -> None:
        try:
            self._check_frame(content)
            answer = self._above.frame(content[:-2])
        except Nak as nak:
            self._saying += refusal(nak.reason)
            return
        self._saying.append(ACK)
        if answer is not None:
            self.send(answer, is_answer=True)

    def _check_frame(self, content: str) -> None:
        if len(content) < LEAST_FRAME:
            raise Nak(LENGTH)
        if content[-2:] != checksum(content[:-2]):
            raise Nak(CHECKSUM)
        if self.forced_reason is not None:
            reason, self.forced_reason = self.forced_reason, None
            raise Nak(reason)
        if any(sent.is_answer for sent in self._sent):
            raise Nak(NOT_READY)

    def _refused(self) -> None:
        """The host could not read the oldest frame."""
        if not self._sent:
            return
        sent = self._sent[0]
        sent.refused += 1
        if sent.refused > self._invented.repeats:
            self._sent.popleft()
        else:
            sent.due = self.at + self._invented.ack_within_s
            self._saying += sent.data
