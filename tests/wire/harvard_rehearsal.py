"""A pump of the ULTRA set on paper: it answers as the transcripts do, and keeps what it is set to."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from drivers.harvard import DRIVER
from pumpd.driver import Ask, Damaged, Dialogue, Pause, Programme, Pump, PumpAlarm, Repeat, Silent, Uncertain
from pumpd.units import Ml, MlPerHour
from tests.fitted import syringe

PROGRAMME = Programme(syringe(), MlPerHour("46.666"), Ml(35), keypad_lock=False)
XON = b"\x11"
PARAMETERS = ("irate", "diameter", "svolume", "tvolume", "ttime", "iramp", "civolume", "citime")


class Paper:
    """One pump. `twist` replaces the reply to a command: bytes, None for silence, or a list with one for each time."""

    def __init__(self, address: int = 0) -> None:
        self.address = address
        self.values = {
            "load": "Quick Start - Infuse/Withdraw (qs iw)",
            "iramp": "Ramp not set up.",
            "diameter": "7.2620 mm",
            "svolume": "8.6284 ml",
            "force": "15%",
            "irate lim": "335.742 nl/min to 348.651 ml/min",
            "irate": "199.49 ul/min",
            "ivolume": "368.605 ul",
            "tvolume": "Target volume not set",
            "itime": "30 seconds",
            "ttime": "Target time not set",
            "ver": "11 ELITE I/W Single 3.0.6",
        }
        self.volume_fl = 368_605_000_000
        self.prompt, self.flags, self.rate_fl = ":", "i...i.", 0
        self.version = ["Firmware:      v3.0.6", f"Pump address:  {address}", "Serial number: D101754"]
        self.twist: dict[str, Any] = {}
        self.sent: list[str] = []
        self.starts = True
        self.screen = "run"
        self.acknowledges = True

    def said(self, *lines: str, end: bytes = XON) -> bytes:
        mark = f"{self.address:02d}" if self.address else ""
        start = f"{mark}:" if mark else ""
        return "".join(f"\n{start}{line}\r" for line in lines).encode() + f"\n{mark}{self.prompt}".encode() + end

    def run(self, ml_h: str = "46.666", prompt: str = ">", flags: str = "I...I.") -> None:
        self.prompt, self.flags = prompt, flags
        self.values["irate"] = f"{ml_h} ml/hr"
        self.rate_fl = int(Decimal(ml_h) * 10**12 / 3600)

    def stand(self, prompt: str = ":", flags: str = "i...i.") -> None:
        self.prompt, self.flags = prompt, flags

    def count(self, text: str, ml: str) -> None:
        self.values["ivolume"], self.volume_fl = text, int(Decimal(ml) * 10**12)

    def answer(self, data: bytes) -> bytes | None:
        assert data.endswith(b"\r")
        answers = [self._answer(command) for command in data[:-1].decode().split("\r")]
        return b"".join(answer for answer in answers if answer is not None) or None

    def _answer(self, command: str) -> bytes | None:
        if self.address and command:
            start = f"{self.address}"
            assert command.startswith(start)
            command = command[len(start) :]
        self.sent.append(command)
        natural: bytes | None = self._do(command)
        if not self.acknowledges and natural == self.said():
            natural = None
        if command not in self.twist:
            return natural
        twist = self.twist[command]
        if isinstance(twist, list):
            twist = twist.pop(0) if twist else ...
        return natural if twist is ... else twist(self) if callable(twist) else twist

    def _do(self, command: str) -> bytes | None:
        name, _, value = command.partition(" ")
        if command == "status":
            return self.said(f"{self.rate_fl} 60000 {self.volume_fl} {self.flags}")
        if command == "version":
            return self.said(*self.version)
        if command == "crate" and self.prompt in "<>":
            return self.said(f"Infusing at {self.values['irate']}")
        if command == "crate" or (self.screen != "run" and name in PARAMETERS):
            return self.said("Command error:", "   Wrong screen or mode")
        if command in self.values:
            return self.said(self.values[command])
        if command == "irun" and self.starts:
            self.run(self.values["irate"].split()[0])
        elif command == "stp":
            self.stand()
        elif command == "civolume":
            self.count("0 ul", "0")
        elif command == "citime":
            self.values["itime"] = "0 seconds"
        elif command == "cttime":
            self.values |= {"iramp": "Ramp not set up.", "ttime": "Target time not set"}
        elif command == "load qs i":
            self.values["load"] = "Quick Start - Infuse (qs i)"
        elif name == "diameter":
            self.values[name] = f"{Decimal(value):.4f} mm"
        elif name in self.values and value:
            self.values[name] = value
        return self.said()


def play(
    paper: Paper,
    make: Callable[[Pump], Dialogue[Any]],
    pump: Pump | None = None,
    told: list[PumpAlarm] | None = None,
    asked: list[Ask] | None = None,
) -> Any:
    """Run one dialogue against the pump on paper, as the engine does without its clock."""
    pump = pump or DRIVER.open({"address": paper.address})
    dialogue = make(pump)
    value: Any = None
    error: Exception | None = None
    while True:
        try:
            step = dialogue.throw(error) if error is not None else dialogue.send(value)
        except StopIteration as end:
            return end.value
        value, error = None, None
        if isinstance(step, Pause):
            continue
        assert isinstance(step, Ask)
        if asked is not None:
            asked.append(step)
        for _ in range(step.tries):
            value = _heard(pump, step, paper.answer(step.data), [] if told is None else told)
            if value is not None:
                break
        else:
            error = Uncertain("no answer") if step.repeat is Repeat.NEVER else Silent("no answer")


def _heard(pump: Pump, step: Ask, answer: bytes | None, told: list[PumpAlarm]) -> Any:
    pump.framer.reset()
    if answer is None:
        return None
    pump.framer.feed(answer)
    for frame in pump.framer.frames():
        if isinstance(frame, Damaged):
            continue
        taken = pump.on_frame(frame, asking=True)
        told += taken.notices
        if not taken.consumed and (step.accept is None or step.accept(frame)):
            return frame
    return None
