"""What bytes on the wire ask of a pump, in the terms of the rules: by each family's protocol, not by its driver."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

UNCHANGED = 0xFFFFFFFF  # B. Braun: the field is left alone
ML_H_PER_UNIT = {"ml/hr": 1.0, "ml/h": 1.0, "ml/min": 60.0, "ul/min": 0.06, "ul/hr": 0.001}


@dataclass(frozen=True)
class Said:
    """One command that sets something, or stops, or lets go of the pump."""

    text: str
    sets: bool = True
    starts: bool = False
    rate_ml_h: float | None = None
    limit_ml: float | None = None
    disarms: bool = False  # the watchdog, for good: never in a session
    lets_go: bool = False  # of control, and with it of the watchdog: never while the pump infuses
    never: bool = False  # a purge, a bolus, a withdrawal


Reader = Callable[[bytes], Iterator[Said]]

NEWERA = re.compile(r"(RUN|RAT|VOL|PUR|DIR|DIA|PF|BP|FUN|PHN|CLD|TRG|DIN|LOC|AL)(.*)")


def newera(data: bytes) -> Iterator[Said]:
    """Commands in packets of either mode. Questions, noise and half packets say nothing."""
    if data[:1] == b"\x02" and len(data) > 5:
        data = data[2:-3]
    text = data.strip(b"\r").decode("ascii", "replace").lstrip("0123456789").replace(" ", "")
    if text == "SAF0":
        yield Said(text, sets=False, disarms=True)
    elif text == "STP":
        yield Said(text, sets=False)
    elif (found := NEWERA.fullmatch(text)) and (found[1] in ("RUN", "PUR") or found[2]):
        name, value = found[1], found[2]
        yield Said(
            text,
            starts=name == "RUN",
            rate_ml_h=_number(value) if name == "RAT" else None,
            limit_ml=float(value) if name == "VOL" and value not in ("ML", "UL") else None,
            never=name == "PUR" or (name == "DIR" and value != "INF") or (name, value) == ("PF", "1"),
        )


def alaris(data: bytes) -> Iterator[Said]:
    """`!WORDS^OF^A^BODY|CRC` and CR."""
    words = data.strip(b"!\r").decode("ascii", "replace").partition("|")[0].split("^")
    text = "^".join(words)
    match words:
        case ["INF_STOP"]:
            yield Said(text, sets=False)
        case ["INF_START"]:
            yield Said(text, starts=True)
        case ["INF_RATE", rate, "ml/h"]:
            yield Said(text, rate_ml_h=float(rate))
        case ["INF_VTBI", "ACTIV", volume, "ml", "STOP"]:
            yield Said(text, limit_ml=float(volume))
        case ["INF_VTBI", "DEACT"]:
            yield Said(text, limit_ml=0.0)
        case ["REMOTE_CTRL", "DISABLED"]:
            yield Said(text, sets=False, lets_go=True)
        case [name, *_] if name.startswith(("INF_BOLUS", "INF_PURGE", "INF_VTBI^", "INF_HANDSFREE", "PURGE")):
            yield Said(text, never=True)
        case ["INF_VI_CLEAR"]:
            yield Said(text)


def bbraun(data: bytes) -> Iterator[Said]:
    """Stuffed blocks between 7E: address, segment, data, check."""
    for stuffed in data.strip(b"\x7e").split(b"\x7e"):
        block = re.sub(rb"\x7d(.)", lambda found: bytes([found[1][0] ^ 0x20]), stuffed, flags=re.DOTALL)[:-2]
        if len(block) < 3:
            continue
        segment, fields = block[1], block[2:]
        if segment == 0x11:
            yield from _bbraun_action(fields[0], fields[1])
        elif segment == 0x12:
            rate, volume = struct.unpack(">II", fields[:8])
            bolus = fields[10:16] != b"\xff" * 6
            yield Said(
                f"set {rate} {volume}",
                rate_ml_h=None if rate == UNCHANGED else rate / 100,
                limit_ml=None if volume == UNCHANGED else volume / 10,
                never=bolus,
            )
        elif segment in (0x13, 0x14):
            yield Said(f"segment {segment:02x}", never=True)
        elif segment == 0x10 and fields[4] == 0:
            yield Said("documentation mode", sets=False, lets_go=True)


def _bbraun_action(number: int, on: int) -> Iterator[Said]:
    name = f"action {number} {on}"
    if number == 0:
        yield Said(name, sets=bool(on), starts=bool(on))
    elif number in (5, 6):
        yield Said(name, never=bool(on))
    elif number in (3, 4):
        yield Said(name)


def harvard(data: bytes) -> Iterator[Said]:
    """Lines that end with CR; an address may stand in front."""
    for line in data.decode("ascii", "replace").split("\r"):
        words = line.lstrip("@0123456789:").split()
        match words:
            case ["stp" | "stop"]:
                yield Said(line, sets=False)
            case ["irun"]:
                yield Said(line, starts=True)
            case ["irate", rate, unit] if unit in ML_H_PER_UNIT:
                yield Said(line, rate_ml_h=float(rate) * ML_H_PER_UNIT[unit])
            case ["tvolume", volume, "ml"]:
                yield Said(line, limit_ml=float(volume))
            case ["ctvolume"]:
                yield Said(line, limit_ml=0.0)
            case ["wrun" | "rrun" | "run"] | ["wrate" | "iramp" | "wramp", _, *_]:
                yield Said(line, never=True)
            case ["diameter" | "svolume" | "ttime" | "load" | "syrmanu", _, *_] | ["civolume" | "cvolume" | "cttime"]:
                yield Said(line)


READERS: Mapping[str, Reader] = {"newera": newera, "alaris": alaris, "bbraun": bbraun, "harvard": harvard}


def _number(text: str) -> float | None:
    found = re.match(r"[0-9.]+", text)
    return float(found[0]) if found else None
