"""A host of a simulated B. Braun pump: spells frames by the protocol notes alone, from section A2's own words."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from simulator.device import Device
from simulator.families.bbraun_invented import Invented
from tests.wire.test_sim_newera import Host, whole

IDENTITY = 1019 << 18 | 12345
KEEP4, KEEP2 = 0xFFFFFFFF, 0xFFFF
START, STOP = b"\x00\x01", b"\x00\x00"


def table_entry(high: int) -> int:
    entry = high << 8
    for _ in range(8):
        entry = (entry << 1) ^ (0x1021 if entry & 0x8000 else 0)
    return entry & 0xFFFF


TABLE = [table_entry(high) for high in range(256)]


def table_crc(block: bytes) -> int:
    """As section A2 tells it: crc = ((crc << 8) | byte) xor table[crc >> 8], start FFFF, nothing appended."""
    crc = 0xFFFF
    for byte in block:
        crc = (((crc << 8) | byte) & 0xFFFF) ^ TABLE[crc >> 8]
    return crc


def frame(block: bytes) -> bytes:
    inside = b"".join(
        bytes((0x7D, byte ^ 0x20)) if byte in (0x7D, 0x7E, 0x80) else bytes((byte,))
        for byte in block + struct.pack(">H", table_crc(block))
    )
    return b"\x7e" + inside + b"\x7e"


def block_of(data: bytes) -> bytes:
    """The one frame that `data` is."""
    assert data[:1] == data[-1:] == b"\x7e", data.hex(" ")
    assert data.count(b"\x7e") == 2, data.hex(" ")
    assert b"\x80" not in data
    inside = bytearray()
    escaped = False
    for byte in data[1:-1]:
        if byte == 0x7D:
            escaped = True
            continue
        inside.append(byte ^ 0x20 if escaped else byte)
        escaped = False
    assert struct.unpack(">H", inside[-2:])[0] == table_crc(bytes(inside[:-2])), data.hex(" ")
    return bytes(inside[:-2])


class Status(NamedTuple):
    requests: int
    alarms: int
    state: int
    rate: int
    vtbd: int
    minutes: int

    def bits(self) -> set[int]:
        return {bit for bit in range(32) if self.state >> bit & 1}

    def alarm_bits(self) -> set[int]:
        return {bit for bit in range(32) if self.alarms >> bit & 1}


class Braun(Host):
    """Holds a letter once it has the pump."""

    def __init__(self, device: Device, pieces: Callable[[bytes], Iterable[bytes]] = whole) -> None:
        super().__init__(device, pieces)
        self.letter = 0

    def say(self, segment: int, data: bytes = b"", address: int | None = None) -> bytes:
        """What comes back: ACK or NAK, then data; nothing when the pump is silent."""
        address = self.letter if address is None else address
        answer = self.ask(frame(bytes((address, segment)) + data))
        if not answer:
            return b""
        block = block_of(answer)
        assert block[:2] == bytes((address, segment))
        return block[2:]

    def read_segment(self, segment: int) -> bytes:
        answer = self.say(segment)
        assert answer[:1] == b"\x06", answer.hex(" ")
        return answer[1:]

    def take(self, mode: int = 2, identity: int = IDENTITY, clock: int = KEEP4, letter: str = "A") -> bytes:
        answer = self.say(0x10, struct.pack(">IBBI", identity ^ KEEP4, mode, ord(letter), clock), address=0)
        if answer == b"\x06":
            self.letter = ord(letter)
        return answer

    def order(
        self,
        rate: int = KEEP4,
        vtbd: int = KEEP4,
        minutes: int = KEEP2,
        bolus_rate: int = KEEP4,
        bolus: int = KEEP2,
        step: int = 0xFF,
        standby: int = KEEP2,
        drug: bytes = b"\xff" * 20,
    ) -> bytes:
        return self.say(0x12, struct.pack(">IIHIHBH20s", rate, vtbd, minutes, bolus_rate, bolus, step, standby, drug))

    def act(self, action: int, flag: int = 1) -> bytes:
        return self.say(0x11, bytes((action, flag)))

    def status(self) -> Status:
        return Status(*struct.unpack(">BIIIIH", self.read_segment(0x02)))

    def keep(self, seconds: float) -> None:
        """Let time pass as a host does that keeps the link: IDENT each half second."""
        end = self.at + seconds
        while self.at < end - 1e-9:
            self.wait(min(0.5, end - self.at))
            assert self.read_segment(0x01)

    def control(self, **request: Any) -> dict[str, Any]:
        answer = self.device.control(request)
        assert answer["ok"], answer
        return answer

    @property
    def truth(self) -> dict[str, Any]:
        return self.device.truth()


def pump(
    pieces: Callable[[bytes], Iterable[bytes]] = whole, invented: dict[str, Any] | None = None, **options: Any
) -> Braun:
    """A pump as it is switched on."""
    return Braun(Device("bbraun", invented=Invented(**(invented or {})), **options), pieces)


def taken(rate: int = 1000, vtbd: int = 200, *, mode: int = 2, **options: Any) -> Braun:
    """A pump in remote control, with rate and vtbd, that stands."""
    host = pump(**options)
    assert host.take(mode) == b"\x06"
    assert host.order(rate, vtbd) == b"\x06"
    return host


def running(rate: int = 1000, vtbd: int = 200, *, mode: int = 2, **options: Any) -> Braun:
    host = taken(rate, vtbd, mode=mode, **options)
    assert host.act(0) == b"\x06"
    return host
