"""The mouth of a Fresenius rack (Orchestra base with DPS modules) or of a pump alone: sessions, variables, orders.

Written from the protocol notes (Fresenius), part A. Which command starts delivery is not public: see `start_rule`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from simulator.families.fresenius_invented import Invented
from simulator.families.fresenius_link import ADDRESS, NOT_READY, Line, Nak
from simulator.families.fresenius_module import ALONE, MODULE_ACTIONS, MODULE_KEYS, Module, Rack
from simulator.family import TRUE_DIAMETER, Family, Option, Setup, byte_s
from simulator.infuser import MOVING, WIRE, Doing
from simulator.physics import Body, model_named
from simulator.pump import Refused

BAUD = 19200
BASE = 0
SLOTS = 8  # of one base, as its operator's guide says
MAX_TEXT = 80
ACCEPTED, EVENT, ADJUSTED = "C", "E", "M"
# section 6
UNKNOWN, WRONG_MODE, WRONG_STATUS, SYNTAX, SAME_MODE, OUT_OF_LIMITS = "01", "02", "03", "04", "06", "08"
MODE_IN_STATUS, UNUSED, WRONG_LETTER, TOO_LONG, NO_SESSION, NO_MODULE = "09", "0A", "0B", "0C", "0D", "0E"
ALARM, NO_RATE, NOT_LINKED, NOT_MANUAL, NOT_HERE, NOT_AUTHORISED = "12", "14", "1E", "1F", "20", "22"


class Mouth:
    """The rack's end of the line."""

    def __init__(self, rack: Rack, invented: Invented, *, alone: bool, device_type: str, drug: str, pc: bool) -> None:
        self.rack = rack
        self.byte_s = byte_s(BAUD, 7, parity=True)
        self._invented = invented
        self._alone = alone
        self._types = {True: "BASE A", False: device_type}  # by whether it is the base
        self._drug = drug
        self._pc_authorised = pc
        self._line = Line(self, invented)
        self._session = False  # with the base
        self._ready_at = 0.0
        self._look_at: float | None = None  # when what is subscribed is looked at again
        self._event: tuple[Module, str] | None = None  # told and not answered
        self._told_last = 0  # slot
        self._answer_by = 0.0
        self._repeated = 0

    def told(self) -> dict[str, Any]:
        """What only the wire knows."""
        session = self.rack.linked if self._alone else self._session
        return {"session": session, "subscribed": sorted(self.rack.subscribed)}

    def reboot(self) -> None:
        """Forget the host."""
        self._line.reboot()
        self._session = False
        self._event = self._look_at = None

    # -- time

    def due(self) -> float | None:
        """Wire time of the next time-out or look."""
        times = [self._line.due(), self._look_at, self._answer_by if self._event else None]
        return min((time for time in times if time is not None), default=None)

    def advance(self, at: float) -> None:
        """Let what is due by `at` happen."""
        self._line.advance(at)
        if self._event and at >= self._answer_by:
            self._repeat()
        if self._look_at is not None and at >= self._look_at:
            self._look()

    def hear(self, data: bytes, at: float) -> bytes:
        """Take bytes from the host; return what the pump says now."""
        self.advance(at)
        if self.rack.forced_reason is not None:
            self._line.forced_reason, self.rack.forced_reason = self.rack.forced_reason, None
        self._line.hear(data)
        return self._line.say()

    def unsolicited(self) -> bytes:
        """What the pump says by itself: line checks, events, time-outs."""
        return self._line.say()

    # -- events

    def _look(self) -> None:
        subscribers = [module for module in self.rack.modules.values() if module.subscribed]
        subscribers.sort(key=lambda module: (module.slot <= self._told_last, module.slot))  # each has its turn
        self._look_at = self._line.at + self._invented.event_period_s if subscribers else None
        if self._event:
            return
        for module in subscribers:
            news = [(letter, module.read(letter)) for letter in module.subscribed]
            news = [(letter, value) for letter, value in news if value != module.subscribed[letter]]
            if news:
                module.subscribed.update(news)
                items = ";".join(f"{letter}{value}" for letter, value in news)
                self._told_last = module.slot
                self._tell(module, f"{self._origin(module)}{EVENT};{items}")
                return

    def _tell(self, module: Module, text: str, repeated: int = 0) -> None:
        self._event, self._repeated = (module, text), repeated
        self._answer_by = self._line.at + self._invented.answer_within_s
        self._line.send(text, is_answer=False)

    def _repeat(self) -> None:
        assert self._event is not None
        (module, text), self._event = self._event, None
        self._line.forget_events()
        if self._repeated < self._invented.event_repeats:
            self._tell(module, text, self._repeated + 1)
        else:
            module.subscribed.clear()

    def _origin(self, module: Module) -> str:
        return "" if self._alone else str(module.slot)

    # -- frames

    def lost(self) -> None:
        """The host no longer answers the line check."""
        self._session = False
        self._event = self._look_at = None
        for module in self.rack.modules.values():
            module.host_lost()

    def frame(self, text: str) -> str | None:
        """Answer a good frame; None for the answer to an event."""
        if self._line.at < self._ready_at:
            raise Nak(NOT_READY)
        if text[0].isdigit() == self._alone or (not self._alone and int(text[0]) > SLOTS):
            raise Nak(ADDRESS)
        origin, text = ("", text) if self._alone else (text[0], text[1:])
        if text in (EVENT, ADJUSTED):
            if text == EVENT and self._event and self._origin(self._event[0]) == origin:
                self._event = None
            return None
        try:
            if len(text) > MAX_TEXT:
                raise Refused(TOO_LONG)
            if (code := self.rack.forced_error) is not None:
                self.rack.forced_error = None
                raise Refused(code)
            data = self._obey(origin, text)
        except Refused as refusal:
            return f"{origin}I;{refusal.code}"
        return f"{origin}{ACCEPTED}" + (f";{data}" if data else "")

    def _obey(self, origin: str, text: str) -> str:
        command, _, argument = text.partition(";")
        if not re.fullmatch("[A-Z]{2}", command) or (argument == "") != (";" not in text):
            raise Refused(SYNTAX)
        if origin == str(BASE):
            if command not in BASE_COMMANDS:
                raise Refused(NOT_HERE if command in MODULE_COMMANDS or command in CLOSED else UNKNOWN)
            if not self._session and command != "DC":
                raise Refused(NO_SESSION)
            return BASE_COMMANDS[command](self, argument)
        module = self._module(origin)
        if command in CLOSED:
            raise Refused(NOT_HERE)
        if command not in MODULE_COMMANDS:
            raise Refused(UNKNOWN)
        if not module.linked and command != "DC":
            raise Refused(NOT_LINKED)
        return MODULE_COMMANDS[command](self, module, argument)

    def _module(self, origin: str) -> Module:
        if self._alone:
            return self.rack
        if not self._session:
            raise Refused(NO_SESSION)
        module = self.rack.modules.get(int(origin))
        if module is None:
            raise Refused(NO_MODULE)
        return module

    # -- the base

    def _open_base(self, argument: str) -> str:
        nothing(argument)
        if not self._session:
            self._session = True
            self._ready_at = self._line.at + self._invented.settle_s
            self._line.open()
        return ""

    def _close_base(self, argument: str) -> str:
        nothing(argument)
        modules = self.rack.modules.values()
        if self._invented.close_needs_manual and any(module.pc for module in modules):
            raise Refused(NOT_MANUAL)
        for module in modules:
            module.unlink()
        self._session = False
        self._line.close()
        return ""

    def _read_base(self, letters: str) -> str:
        slots = self.rack.modules
        values = {"b": f"{sum(1 << (slot - 1) for slot in slots):02X}", "i": f"{len(slots):02X}"}
        return listed(letters, values.get)

    def _base_type(self, letter: str) -> str:
        return listed(letter, {"b": self._types[True]}.get)

    # -- a module

    def _open(self, module: Module, argument: str) -> str:
        nothing(argument)
        module.linked = True
        if self._alone:
            self._line.open()
        return ""

    def _close(self, module: Module, argument: str) -> str:
        nothing(argument)
        if self._invented.close_needs_manual and module.pc:
            raise Refused(NOT_MANUAL)
        module.unlink()
        if self._alone:
            self._line.close()
        return ""

    def _read(self, module: Module, letters: str) -> str:
        return listed(letters, module.read)

    def _type(self, module: Module, letter: str) -> str:
        return listed(letter, {"b": self._types[False]}.get)

    def _subscribe(self, module: Module, letters: str) -> str:
        listed(letters, module.read)
        for letter in letters:
            module.subscribed[letter] = None
        self._look_at = self._line.at + self._invented.event_period_s if self._look_at is None else self._look_at
        return ""

    def _unsubscribe(self, module: Module, argument: str) -> str:
        nothing(argument)
        module.subscribed.clear()
        return ""

    def _mode(self, module: Module, argument: str) -> str:
        if argument not in ("1", "2"):
            raise Refused(OUT_OF_LIMITS if argument else SYNTAX)
        pc = argument == "2"
        if pc == module.pc:
            raise Refused(SAME_MODE)
        if pc and not self._pc_authorised:
            raise Refused(NOT_AUTHORISED)
        if pc and module.doing in MOVING and not self._invented.pc_while_running:
            raise Refused(MODE_IN_STATUS)
        module.pc = pc
        return ""

    def _rate(self, module: Module, argument: str) -> str:
        if not re.fullmatch("[0-9A-F]{4}", argument):
            raise Refused(SYNTAX)
        self._needs_pc(module)
        self._needs_no_alarm(module)
        least, most = module.manners.rates_ml_h
        ml_h = int(argument, 16) / 10
        if not least <= ml_h <= most:
            raise Refused(OUT_OF_LIMITS)
        if module.doing in (Doing.BOLUS, Doing.PURGE):
            raise Refused(WRONG_STATUS)
        module.set_rate(ml_h)
        if self._invented.start_rule == "pr" and module.doing is Doing.HELD:
            started(module)
        return ""

    def _pause(self, module: Module, argument: str) -> str:
        nothing(argument)
        self._needs_pc(module)
        if module.doing in MOVING:
            module.stop()
            return ""
        if not module.rate_ml_h:
            raise Refused(NO_RATE)
        if self._invented.start_rule != "po":
            raise Refused(WRONG_STATUS)
        self._needs_no_alarm(module)
        started(module)
        return ""

    def _needs_pc(self, module: Module) -> None:
        if not module.pc:
            raise Refused(WRONG_MODE)

    def _needs_no_alarm(self, module: Module) -> None:
        rules = module.manners.rules
        if any(self._invented.any_alarm_bars or rules[trouble].stops for trouble in module.troubles):
            raise Refused(ALARM)

    def _reset_volume(self, module: Module, argument: str) -> str:
        nothing(argument)
        module.clear_infused(WIRE)
        return ""

    def _drug_name(self, module: Module, argument: str) -> str:
        nothing(argument)
        return self._drug


def nothing(argument: str) -> None:
    """Refuse an argument where there is none."""
    if argument:
        raise Refused(SYNTAX)


def listed(letters: str, read: Callable[[str], str | None]) -> str:
    """Read variables; each is its letter and its value."""
    if not letters:
        raise Refused(SYNTAX)
    items = []
    for letter in letters:
        if not "a" <= letter <= "z":
            raise Refused(WRONG_LETTER)
        if (value := read(letter)) is None:
            raise Refused(UNUSED)
        items.append(letter + value)
    return ";".join(items)


def started(module: Module) -> None:
    """Let it run. Refused with a code of the table."""
    try:
        module.start()
    except Refused:
        raise Refused(WRONG_STATUS) from None


BASE_COMMANDS: dict[str, Callable[[Mouth, str], str]] = {
    "DC": Mouth._open_base,
    "FC": Mouth._close_base,
    "LE": Mouth._read_base,
    "LF": Mouth._base_type,
}
MODULE_COMMANDS: dict[str, Callable[[Mouth, Module, str], str]] = {
    "DC": Mouth._open,
    "FC": Mouth._close,
    "LE": Mouth._read,
    "LF": Mouth._type,
    "DE": Mouth._subscribe,
    "AE": Mouth._unsubscribe,
    "MO": Mouth._mode,
    "PR": Mouth._rate,
    "PO": Mouth._pause,
    "RV": Mouth._reset_volume,
    "LP": Mouth._drug_name,
}
CLOSED = (  # commands whose arguments nobody has published
    *("LM", "DM", "AM", "EP", "AP", "LN", "EN", "PV", "PB", "PF", "PP", "PS", "SI", "OF", "RZ"),
)


def _build(setup: Setup) -> tuple[Rack, Mouth]:
    invented, options = setup.invented, setup.options
    assert isinstance(invented, Invented)
    if not set(options["modules"]) <= set("12345678"):
        raise ValueError(f"modules {options['modules']!r}: expected digits from 1 to {SLOTS}, such as 123")
    alone = options["link"] == "standalone"
    slot = ALONE if alone else options["slot"]
    others = set() if alone else {int(digit) for digit in options["modules"]} - {slot}

    def body() -> Body:
        model = model_named(setup.model, setup.seed)
        return Body(model, fill_ml=setup.fill_ml, alarm_mmhg=options["occlusion_mmhg"])

    own = body()
    own.true_diameter_mm = options["true_diameter_mm"]
    rack = Rack(slot, {number: body() for number in sorted(others)}, own, setup.battery, invented)
    return rack, Mouth(
        rack,
        invented,
        alone=alone,
        device_type=options["device_type"],
        drug=options["drug"],
        pc=options["pc_control"] == "on",
    )


FAMILY = Family(
    name="fresenius",
    description="Fresenius Orchestra base with DPS modules, or one syringe pump alone; control is experimental",
    build=_build,
    keys=MODULE_KEYS,
    bauds=(BAUD,),
    default_baud=BAUD,
    invented=Invented,
    options=(
        Option(
            "link", "link", "base", "a rack with addresses, or a pump alone without", choices=("base", "standalone")
        ),
        Option("modules", "modules", "1", "slots that hold a module besides that of --slot, such as 123"),
        Option("slot", "slot", 1, "slot of the module that the back door means, 1 to 8", int, least=1, most=SLOTS),
        Option("device_type", "device-type", "MODULE DPS", "what a module answers to LF;b"),
        Option("drug", "drug", "", "name of the drug that it shows"),
        Option("pc_control", "pc-control", "on", "off: MO;2 is never authorised", choices=("on", "off")),
        Option("occlusion_mmhg", "occlusion-mmhg", 500.0, "pressure at which it halts", float, "mmHg", (), 50, 1000),
        TRUE_DIAMETER,
    ),
    actions=MODULE_ACTIONS,
    fill_ml=50.0,
    battery_min=240.0,
)
