"""The mouth of a B. Braun Perfusor or Infusomat of the fm and compact generation: "dianet star".

Written from the protocol notes (B. Braun), part A. Times are wire seconds unless they are told to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import simulator.families.bbraun_orders as orders
import simulator.families.bbraun_told as told
from simulator.families.bbraun_fields import (
    ACTION,
    CC_MODE,
    IDENT,
    NA1,
    NA4,
    PROPOSAL,
    RELOAD,
    SET_VALUES,
    Refusal,
    demand,
)
from simulator.families.bbraun_frame import Frames, Nak, unwrap, wrap
from simulator.families.bbraun_invented import Invented
from simulator.families.bbraun_panel import ACTIONS, KEYS, TYPES, Panel
from simulator.families.bbraun_told import Mode
from simulator.family import TRUE_DIAMETER, Family, Option, Setup, byte_s
from simulator.infuser import Doing
from simulator.physics import Body, model_named
from simulator.pump import FAULT, Refused
from simulator.troubles import Trouble
from simulator.volumetric import Tubing, Volumetric, volumetric_model

ACK, NAK = 0x06, 0x15
NO_ADDRESS = 0
LETTERS = range(ord("A"), ord("Z") + 1)
SERIAL_BITS = 18  # of the identity number; the type stands above them
COMMUNICATION_S = 1.2  # section A6, time-outs in the header: without a good frame the link is lost
FRAME_S, FRAME_COMPACT_S = 0.3, 0.4
KEYPAD_S = 2.0  # after a key, before write segments are accepted again
PROTOCOL_VERSION = 14  # as in the notes' transcript
FACTORY_CLOCK = 1_600_000_000  # likewise
BAUDS = (1200, 9600)
IDENT_ID, CC_MODE_ID, ACTION_ID = 0x01, 0x10, 0x11
OPEN = (IDENT_ID, CC_MODE_ID)  # answered at address 0 whatever the letter


class Mouth:
    """One pump's end of the line."""

    def __init__(
        self, panel: Panel, invented: Invented, type_number: int, serial: int, software: str, baud: int
    ) -> None:
        self.panel = panel
        self.byte_s = byte_s(baud)
        self.identity = type_number << SERIAL_BITS | serial
        self.mode = Mode.DOCUMENTATION
        self.address = NO_ADDRESS
        self._software = software.encode("ascii").ljust(10)
        self._invented = invented
        self._frame_s = FRAME_COMPACT_S if panel.kind.compact else FRAME_S
        self._frames = Frames(shared_flags=invented.shared_flags)
        self._frame_due: float | None = None
        self._link_due: float | None = None
        self._bolus_due: float | None = None
        self._keypad_until = -math.inf
        self._keys_seen = panel.key_events
        self._clock_s = FACTORY_CLOCK - panel.time_s  # add the panel's time
        self._unsent = b""

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        letter = chr(self.address) if self.address else None
        return {"mode": self.mode.name.lower().replace("_", " "), "address": letter, "identity": self.identity}

    def reboot(self) -> None:
        """The pump is nobody's, without an address, as it was first."""
        self._frames.forget()
        self._frame_due = self._bolus_due = None
        self._take_mode(Mode.DOCUMENTATION)
        self.address = NO_ADDRESS
        self._keypad_until = -math.inf
        self._unsent = b""

    # -- time

    def due(self) -> float | None:
        """Wire time of the next time-out; a key that it has not seen yet is due at once."""
        if self.panel.key_events != self._keys_seen:
            return -math.inf
        times = [due for due in (self._frame_due, self._link_due, self._bolus_due) if due is not None]
        return min(times) if times else None

    def advance(self, at: float) -> None:
        """Let the time-outs due by `at` happen."""
        if self.panel.key_events != self._keys_seen:
            self._keys_seen = self.panel.key_events
            self._keypad_until = at + KEYPAD_S
        if self._frame_due is not None and at >= self._frame_due:
            self._frame_due = None
            self._half_frame(self._frames.forget())
        if self._bolus_due is not None and at >= self._bolus_due:
            self._end_manual_bolus()
        if self._link_due is not None and at >= self._link_due:
            self._lose_link()

    def unsolicited(self) -> bytes:
        """Nothing, but for the complaint about half a frame where it makes one."""
        data, self._unsent = self._unsent, b""
        return data

    def _half_frame(self, heard: bytes) -> None:
        if self._invented.half_frame_gets_nak and len(heard) >= 2 and heard[0] == self.address:
            self._unsent += wrap(bytes((heard[0], heard[1], NAK, Nak.FRAME)))

    def _lose_link(self) -> None:
        self._link_due = None
        if self._invented.on_loss != "fallback":
            self.panel.alarm(Trouble.COMMUNICATION)
        if self._invented.loss_stops and self.panel.running:
            self.panel.stop(FAULT)
        if self._invented.on_loss != "alarm":
            self._fall_back()
            if not self._invented.keeps_address_after_loss:
                self.address = NO_ADDRESS

    def _fall_back(self) -> None:
        """Local mode again, with the last set values."""
        if self._remote and self.panel.rate_ml_h and self._invented.leaving_raises_rate_invalid:
            self.panel.alarm(Trouble.RATE_INVALID)
        self._take_mode(Mode.DOCUMENTATION)

    def _take_mode(self, mode: Mode) -> None:
        self.mode = mode
        self.panel.remote_only = mode is Mode.REMOTE_ONLY
        if not self._remote:
            self._link_due = None

    @property
    def _remote(self) -> bool:
        return self.mode in (Mode.REMOTE, Mode.REMOTE_ONLY)

    # -- frames

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump answers to the frames that they complete."""
        self.advance(at)
        replies = b""
        for inside in self._frames.feed(data):
            self._frame_due = None
            replies += self._answer(inside, at)
        if not self._frames.waiting:
            self._frame_due = None
        elif self._frame_due is None or not self._invented.frame_time_is_whole:
            self._frame_due = at + self._frame_s
        return replies

    def _answer(self, inside: bytes, at: float) -> bytes:
        block, error = unwrap(inside)
        if not block or (error and not self._invented.damaged_frame_gets_nak):
            return b""
        address, segment = block[0], block[1]
        if address != self.address and (address != NO_ADDRESS or segment not in OPEN):
            if error or not self._invented.wrong_address_gets_nak:
                return b""
            return wrap(bytes((address, segment, NAK, Nak.ADDRESS)))
        try:
            answer = self._obey(segment, block[2:], error, at)
        except Refusal as refusal:
            return self._refuse(address, segment, refusal.nak, at)
        except Refused:
            return self._refuse(address, segment, Nak.NOT_POSSIBLE, at)
        self._feed_link(at)
        if segment == CC_MODE_ID and self._invented.cc_mode_answers_from_letter:
            address = self.address
        return wrap(bytes((address, segment, ACK)) + answer)

    def _obey(self, segment: int, data: bytes, error: Nak, at: float) -> bytes:
        demand(not error, error)
        if self.panel.forced_naks:
            raise Refusal(Nak(self.panel.forced_naks.pop(0)))
        row = SEGMENTS.get(segment)
        if row is None:
            raise Refusal(Nak.UNKNOWN_SEGMENT)
        demand(len(data) == row.length, Nak.LENGTH)
        if row.writes:
            demand(self._remote or segment == CC_MODE_ID, Nak.WRONG_MODE)
            if at < self._keypad_until:
                stops = segment == ACTION_ID and data == b"\x00\x00"
                demand(stops and not self._invented.keypad_holds_off_stop, Nak.KEYPAD_IN_USE)
        return row.act(self, data, at)

    def _refuse(self, address: int, segment: int, nak: Nak, at: float) -> bytes:
        if self._invented.refused_frame_feeds_link:
            self._feed_link(at)
        return wrap(bytes((address, segment, NAK, nak)))

    def _feed_link(self, at: float) -> None:
        if self._remote:
            self._link_due = at + COMMUNICATION_S

    # -- what it tells

    def _ident(self, data: bytes, at: float) -> bytes:
        clock = int(self._clock_s + self.panel.time_s) & NA4
        return IDENT.pack(self.identity, PROTOCOL_VERSION, self._software, clock)

    def _status(self, data: bytes, at: float) -> bytes:
        return told.status(self.panel, self.mode, operating=at < self._keypad_until)

    def _take_pump(self, data: bytes, at: float) -> bytes:
        inverted, mode, letter, clock = CC_MODE.unpack(data)
        if inverted != self.identity ^ NA4:
            self._fall_back()
            raise Refusal(Nak.WRONG_IDENTITY)
        demand(mode in (*Mode, NA1))
        demand(letter in (*LETTERS, NA1), Nak.ADDRESS)
        if clock != NA4:
            demand(not self.panel.running, Nak.CLOCK_WHILE_RUNNING)
            self._clock_s = clock - self.panel.time_s
        if letter != NA1:
            self.address = letter
        if mode in (Mode.DOCUMENTATION, Mode.MONITOR):
            self._fall_back()
        elif mode != NA1:
            self.panel.alarm_over(Trouble.COMMUNICATION)
            self.panel.alarm_over(Trouble.RATE_INVALID)
        if mode != NA1:
            self._take_mode(Mode(mode))
        return b""

    def _order(self, data: bytes, at: float) -> bytes:
        if orders.order(self.panel, data):
            self._fall_back()
        return b""

    def _act(self, data: bytes, at: float) -> bytes:
        action, flag = ACTION.unpack(data)
        demand(action in TIMED or action in orders.DEEDS, Nak.NOT_POSSIBLE)
        demand(flag in (0, 1))
        if action in TIMED:
            TIMED[action](self, bool(flag), at)
        else:
            orders.DEEDS[action](self.panel, bool(flag))
        return b""

    def _run(self, on: bool, at: float) -> None:
        panel, invented = self.panel, self._invented
        moving = panel.running or panel.doing is Doing.PURGE
        if on:
            if not moving or invented.start_when_running_is_refused:
                panel.start()
            return
        self._bolus_due = None
        if moving or invented.stop_when_stopped_is_refused:
            panel.stop()

    def _manual_bolus(self, on: bool, at: float) -> None:
        panel = self.panel
        if not on:
            self._end_manual_bolus()
            return
        if panel.doing is not Doing.BOLUS or not panel.bolus_is_manual:
            demand(panel.doing is Doing.RUNNING, Nak.NOT_POSSIBLE)
            panel.bolus()
        self._bolus_due = at + self._invented.manual_bolus_s

    def _end_manual_bolus(self) -> None:
        self._bolus_due = None
        if self.panel.doing is Doing.BOLUS and self.panel.bolus_is_manual:
            self.panel.end_bolus()


@dataclass(frozen=True)
class Segment:
    """What the pump does on a segment, with how many bytes of data a host sends along."""

    act: Callable[[Mouth, bytes, float], bytes]
    length: int = 0
    writes: bool = False


def tells(what: Callable[[Panel], bytes]) -> Segment:
    """Write a row of the table: a host reads."""
    return Segment(lambda mouth, data, at: what(mouth.panel))


def takes(length: int, what: Callable[[Panel, bytes], None]) -> Segment:
    """Write a row of the table: a host writes, and is told nothing but ACK."""

    def act(mouth: Mouth, data: bytes, at: float) -> bytes:
        what(mouth.panel, data)
        return b""

    return Segment(act, length, writes=True)


SEGMENTS: dict[int, Segment] = {
    IDENT_ID: Segment(Mouth._ident),
    0x02: Segment(Mouth._status),
    0x03: tells(told.actual),
    0x04: tells(told.set_values),
    0x05: tells(told.proposal),
    0x06: tells(told.limits),
    0x07: tells(told.dose),
    0x08: tells(told.history),
    0x09: tells(told.reload),
    CC_MODE_ID: Segment(Mouth._take_pump, CC_MODE.size, writes=True),
    ACTION_ID: Segment(Mouth._act, ACTION.size, writes=True),
    0x12: Segment(Mouth._order, SET_VALUES.size, writes=True),
    0x13: takes(PROPOSAL.size, orders.propose),
    0x14: takes(RELOAD.size, orders.reload),
}
TIMED: dict[int, Callable[[Mouth, bool, float], None]] = {0x00: Mouth._run, 0x05: Mouth._manual_bolus}


def _build(setup: Setup) -> tuple[Panel, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    number = int(options["type_number"])
    kind = TYPES[number]
    body: Body | Volumetric
    if kind.volumetric:
        tubing = Tubing(clamps_itself=False, sees_upstream=False, drops_s=invented.drops_s)
        body = Volumetric(volumetric_model(setup.model, setup.seed), fill_ml=setup.fill_ml, tubing=tubing)
    else:
        true_mm = options["true_diameter_mm"]
        body = Body(model_named(setup.model, setup.seed), fill_ml=setup.fill_ml, true_diameter_mm=true_mm)
    panel = Panel(body, setup.battery, kind, invented)
    return panel, Mouth(panel, invented, number, options["serial"], options["software"], setup.baud)


FAMILY = Family(
    name="bbraun",
    description="B. Braun Perfusor fm and compact (syringe), Infusomat fmS and P (volumetric): dianet star",
    build=_build,
    keys=KEYS,
    bauds=BAUDS,
    default_baud=9600,
    invented=Invented,
    options=(
        Option(
            "type_number",
            "type",
            "1019",
            "; ".join(f"{number} {kind.name}" for number, kind in TYPES.items()),
            choices=tuple(map(str, TYPES)),
        ),
        Option("serial", "serial", 12345, "serial number, 0 to 262143", int, least=0, most=(1 << SERIAL_BITS) - 1),
        Option("software", "software", "V1.0", "what it tells of its software, ten characters"),
        TRUE_DIAMETER,
    ),
    actions=ACTIONS,
    kinds=("syringe", "volumetric"),
    fill_ml=50.0,
    battery_min=300.0,
)
