"""The commands of a Harvard or KD Scientific syringe pump, "ULTRA" set: words to panel, answers as lines of text.

Protocol notes (Harvard), A4 and A5. Texts that the notes do not have are invented; hosts match the first line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.families.harvard_invented import Invented
from simulator.families.harvard_panel import MODES, OUT_OF_RANGE, BadArgument, Panel, Ramp, State, other
from simulator.families.harvard_text import (
    PER_H,
    Rate,
    read_number,
    read_rate,
    read_time,
    read_volume,
    show_time,
    show_volume,
)
from simulator.pump import Refused

BAUDS = (9600, 19200, 38400, 57600, 115200, 128000, 230400, 256000, 460800, 921600)
POLLS = ("on", "off", "remote")
FEMTOLITRES_PER_ML = 1e12
FOOT_SWITCHES = {"mom": "Momentary", "rise": "Rising Edge", "fall": "Falling Edge"}
SYRINGES_MM = {  # code: name, ml: mm. One is recorded, the others are usual figures
    "hos": ("Hoshi", {20: 20.45}),
    "bdp": ("Becton Dickinson Plasti-pak", {5: 11.99, 10: 14.43, 20: 19.05, 60: 26.59}),
}
CLOCK_ZERO = datetime(2000, 1, 1)  # noqa: DTZ001 - a pump's clock knows no zone
CLOCK_FORMAT = "%m/%d/%y %I:%M:%S %p"


@dataclass(frozen=True)
class Series:
    """How the pumps of one maker's series differ on the wire."""

    ver: str
    firmware: str
    pump_type: str
    nvram: str  # the word that stops it writing rates to its memory
    status_in_seconds: bool = False
    status_flags: int = 6


SERIES = {
    "legato": Series("Legato 110 3.0.6", "v3.0.6", "Legato 110", "none"),
    "elite": Series("11 ELITE I/W Single 3.0.4", "v3.0.4", "Pump 11", "off"),
    "ultra": Series("PHD ULTRA I/W 1.0.3", "v1.0.3", "PHD ULTRA", "off", status_in_seconds=True, status_flags=5),
}


class Desk:
    """What a pump's commands read and set, beside its panel."""

    def __init__(self, panel: Panel, invented: Invented, series: Series, address: int, serial: str, baud: int) -> None:
        self.panel = panel
        self.invented = invented
        self.series = series
        self.address = address
        self.serial = serial
        self.baud = baud
        self.poll = "off"
        self.echo = "off"
        self.dim_pct = 15
        self.outputs: dict[str, str] = {}
        self._clock_off_s = 0.0

    def carry_out(self, word: str, arguments: tuple[str, ...]) -> list[str]:
        """Do what one command says; return the lines of text that come before the prompt."""
        try:
            command = COMMANDS.get(word)
            if command is None:
                raise Refused("Unknown command")
            if len(arguments) > command.most:
                raise BadArgument(arguments[command.most], "Too many arguments")
            if command.on_run_screen:
                self.panel.may_set()
            return command.act(self, *arguments) or []
        except BadArgument as refusal:
            return [f"Argument error: {refusal.argument}".rstrip(), f"   {refusal.code}"]
        except Refused as refusal:
            return ["Command error:", f"   {refusal.code}"]

    # -- line and pump

    def _address(self, text: str | None = None) -> list[str]:
        if text is None:
            return [f"Pump address is {self.address}"]
        self.address = whole(text, 0, 99)
        return [f"Pump address set to {self.address}"]

    def _baud(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [f"{self.baud} baud"]
        if not text.isdecimal() or int(text) not in BAUDS:
            raise BadArgument(text, OUT_OF_RANGE)
        self.baud = int(text)
        return None

    def _poll(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [" " * self.invented.poll_answer_has_blank + self.poll.upper()]
        self.poll = chosen(text, POLLS)
        return None

    def _nvram(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return ["ON" if self.panel.keeps_rates else self.series.nvram.upper()]
        self.panel.keeps_rates = chosen(text, ("on", self.series.nvram)) == "on"
        return None

    def _echo(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [self.echo.upper()]
        self.echo = chosen(text, ("on", "off"))
        return None

    def _dim(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [f"{self.dim_pct}%"]
        self.dim_pct = whole(text, 0, 100)
        return None

    def _force(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [f"{self.panel.force_pct}%"]
        self.panel.force_pct = whole(text, 1, 100)
        return None

    def _time(self, *words: str) -> list[str]:
        if words:
            given = read_clock(" ".join(words))
            if given is None:
                raise BadArgument(words[0], OUT_OF_RANGE)
            self._clock_off_s = (given - CLOCK_ZERO).total_seconds() - self.panel.time_s
        now = CLOCK_ZERO + timedelta(seconds=self._clock_off_s + self.panel.time_s)
        day, clock, half = now.strftime(CLOCK_FORMAT).split()
        return [f"{day} {clock.removeprefix('0')} {half}"]

    def _ver(self) -> list[str]:
        return [self.series.ver]

    def _version(self) -> list[str]:
        return [
            f"Firmware:      {self.series.firmware}",
            f"Pump address:  {self.address}",
            f"Serial number: {self.serial}",
        ]

    def _metrics(self) -> list[str]:
        slowest, fastest = self.panel.bounds_ml_h()
        rows = {
            "Pump type": self.series.pump_type,
            "Pump type string": self.series.ver,
            "Direction": "Infuse/withdraw",
            "Address": str(self.address),
            "Serial number": self.serial,
            "Firmware": self.series.firmware,
            "Baud rate": str(self.baud),
            "Syringe": self.panel.syringe_maker,
            "Diameter": f"{self.panel.diameter_mm:.4f} mm",
            "Syringe volume": self.panel.syringe.shown(rescaled=True),
            "Minimum rate": f"{show_volume(slowest / 60)}/min",
            "Maximum rate": f"{show_volume(fastest / 60)}/min",
            "Force": f"{self.panel.force_pct}%",
            "Poll": self.poll.upper(),
            "Echo": self.echo.upper(),
            "NVRAM": "ON" if self.panel.keeps_rates else self.series.nvram.upper(),
            "Dim": f"{self.dim_pct}%",
            "Foot switch": FOOT_SWITCHES[self.panel.foot_switch],
            "Method": MODES[self.panel.mode],
            "Screen": "Run" if self.panel.on_run_screen else "Menu",
        }
        return [f"{name:<19}{value}" for name, value in rows.items()]

    def _load(self, kind: str | None = None, mode: str | None = None) -> list[str] | None:
        if kind is None:
            return [MODES[self.panel.mode]]
        if kind != "qs":
            raise BadArgument(kind, "Unknown method")
        self.panel.load(chosen(mode or "", ("i", "w", "iw", "wi")))
        return None

    # -- running

    def _irun(self) -> None:
        self.panel.run("i")

    def _wrun(self) -> None:
        self.panel.run("w")

    def _rrun(self) -> None:
        self.panel.run(other(self.panel.way))

    def _run(self) -> None:
        self.panel.run(self.panel.way)

    def _stop(self) -> None:
        self.panel.stop()

    def _crate(self) -> list[str]:
        panel = self.panel
        if not panel.running:
            raise Refused("Pump is not running")
        rate = panel.rates[panel.way]
        doing = "Infusing" if panel.way == "i" else "Withdrawing"
        shown = Rate(panel.motor_rate_ml_h, rate.unit, rate.per).shown(rescaled=self.invented.values_rescale)
        return [f"{doing} at {shown}"]

    def _status(self) -> list[str]:
        panel, series = self.panel, self.series
        way, running = panel.way, panel.running
        letter = way.upper() if running else way
        switch = "." if panel.switch is None else panel.switch.upper() if running else panel.switch
        stall, target = (panel.state is state for state in (State.STALLED, State.TARGET))
        trigger, port = panel.foot_down, letter
        flags = letter + switch + "S" * stall + "." * (not stall) + "T" * trigger + "." * (not trigger) + port
        flags += "T" if target else "."
        if series.status_flags == 5:
            flags = flags[:4] + flags[5:] if self.invented.old_status_lacks == "port" else flags[:5]
        shows = running or not self.invented.status_shows_set_rate
        rate_ml_h = panel.motor_rate_ml_h if shows else panel.rates[way].ml_h
        seconds = round(panel.run_s[way], 6)
        elapsed = int(seconds) if series.status_in_seconds else int(seconds * 1000)
        rate_fl_s = rate_ml_h * FEMTOLITRES_PER_ML / PER_H["s"]
        return [f"{int(rate_fl_s)} {elapsed} {round(panel.counted_ml[way] * FEMTOLITRES_PER_ML)} {flags}"]

    # -- parameters

    def _rate(self, way: str, number: str | None = None, unit: str | None = None) -> list[str] | None:
        panel = self.panel
        if number is None:
            return [panel.rates[way].shown(rescaled=self.invented.values_rescale)]
        bounds = panel.bounds_ml_h()
        if unit is None and number in ("max", "min", "lim"):
            if number == "lim":
                return [" to ".join(f"{show_volume(bound / 60)}/min" for bound in bounds)]
            rate: Rate | None = Rate(bounds[number == "max"])
        else:
            rate = read_rate(number, unit or "")
        if rate is None:
            raise BadArgument(number, "Unknown rate")
        if not panel.set_rate(way, rate):
            raise BadArgument(number, OUT_OF_RANGE)
        return None

    def _irate(self, *words: str) -> list[str] | None:
        return self._rate("i", *words)

    def _wrate(self, *words: str) -> list[str] | None:
        return self._rate("w", *words)

    def _ramp(self, way: str, *words: str) -> list[str] | None:
        panel, rescaled = self.panel, self.invented.values_rescale
        if not words:
            ramp = panel.ramps[way]
            if ramp is None:
                return ["Ramp not set up."]
            first, last = ramp.first.shown(rescaled=rescaled), ramp.last.shown(rescaled=rescaled)
            return [f"{first} to {last} in {ramp.seconds:.6g} seconds"]
        if len(words) != 5:
            raise BadArgument(words[-1], "Wrong number of arguments")
        first_rate, last_rate, seconds = read_rate(*words[:2]), read_rate(*words[2:4]), read_time(words[4])
        if first_rate is None or last_rate is None:
            raise BadArgument(words[0] if first_rate is None else words[2], "Unknown rate")
        if not seconds:
            raise BadArgument(words[4], OUT_OF_RANGE)
        if not panel.set_ramp(way, Ramp(first_rate, last_rate, seconds)):
            raise BadArgument(words[0], OUT_OF_RANGE)
        return None

    def _iramp(self, *words: str) -> list[str] | None:
        return self._ramp("i", *words)

    def _wramp(self, *words: str) -> list[str] | None:
        return self._ramp("w", *words)

    def _diameter(self, text: str | None = None) -> list[str] | None:
        if text is None:
            return [f"{self.panel.diameter_mm:.4f} mm"]
        mm = read_number(text)
        if mm is None or not self.panel.set_diameter(mm):
            raise BadArgument(text, OUT_OF_RANGE)
        return None

    def _syringe_volume(self, number: str | None = None, unit: str = "") -> list[str] | None:
        if number is None:
            return [self.panel.syringe.shown(rescaled=self.invented.values_rescale)]
        volume = read_volume(number, unit)
        if volume is None or not 0 < volume.ml <= self.invented.most_target_ml:
            raise BadArgument(number, OUT_OF_RANGE)
        self.panel.syringe = volume
        return None

    def _syringe(self, code: str | None = None, number: str = "", unit: str = "") -> list[str] | None:
        panel = self.panel
        if code is None:
            return [f"{panel.syringe_maker}, {panel.syringe.shown(rescaled=True)}, {panel.diameter_mm:.6g} mm"]
        if code == "?":
            return [f"{code:<6}{name}" for code, (name, _) in SYRINGES_MM.items()]
        if code[:3] not in SYRINGES_MM:  # `HOSHI` is taken too: recorded
            raise BadArgument(code, "Unknown syringe")
        maker, sizes = SYRINGES_MM[code[:3]]
        if number == "?":
            return [f"{ml} ml" for ml in sizes]
        volume = read_volume(number, unit)
        if volume is None or volume.ml not in sizes:
            raise BadArgument(number, "Unknown syringe")
        panel.set_diameter(sizes[int(volume.ml)], maker)
        panel.syringe = volume
        return None

    def _counted(self, way: str) -> list[str]:
        return [show_volume(self.panel.counted_ml[way])]

    def _infused(self) -> list[str]:
        return self._counted("i")

    def _withdrawn(self) -> list[str]:
        return self._counted("w")

    def _target(self, number: str | None = None, unit: str = "") -> list[str] | None:
        target = self.panel.target
        if number is None:
            return ["Target volume not set" if target is None else target.shown(rescaled=self.invented.values_rescale)]
        volume = read_volume(number, unit)
        if volume is None:
            raise BadArgument(number, "Unknown volume")
        if not self.panel.set_target(volume):
            raise BadArgument(number, "Target volume out of range")
        return None

    def _target_time(self, text: str | None = None) -> list[str] | None:
        seconds = self.panel.target_s
        if text is None:
            return ["Target time not set" if seconds is None else show_time(seconds)]
        seconds = read_time(text)
        if seconds is None or not self.panel.set_target_time(seconds):
            raise BadArgument(text, "Target time out of range")
        return None

    def _clear_target(self) -> None:
        self.panel.set_target(None)

    def _clear_target_time(self) -> None:
        self.panel.set_target_time(None)

    def _infusion_time(self) -> list[str]:
        return [show_time(self.panel.run_s["i"])]

    def _withdrawal_time(self) -> list[str]:
        return [show_time(self.panel.run_s["w"])]

    # -- pins

    def _input(self) -> list[str]:
        return ["High." if self.panel.foot_down else "Low."]

    def _output(self, pin: str = "", level: str = "") -> None:
        whole(pin, 1, 2)
        self.outputs[pin] = chosen(level, ("high", "low"))

    def _sync(self, level: str = "") -> None:
        self.outputs["sync"] = chosen(level, ("high", "low"))

    def _foot_switch(self, kind: str | None = None) -> list[str] | None:
        if kind is None:
            return [FOOT_SWITCHES[self.panel.foot_switch]]
        self.panel.foot_switch = chosen(kind, tuple(FOOT_SWITCHES))
        return None

    def _tilt(self) -> list[str]:
        return ["0"]


def whole(text: str, least: int, most: int) -> int:
    """Read a whole number within bounds, or refuse it as the pump does."""
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise BadArgument(text, OUT_OF_RANGE)
    return int(text)


def chosen(text: str, choices: tuple[str, ...]) -> str:
    """Read one of some words, or refuse it as the pump does."""
    if text not in choices:
        raise BadArgument(text, OUT_OF_RANGE)
    return text


def read_clock(text: str) -> datetime | None:
    """Read mm/dd/yy or mm/dd/yyyy, hh:mm:ss; None when it is no such time."""
    for form in ("%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S"):
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - a pump's clock knows no zone
        except ValueError:
            continue
    return None


@dataclass(frozen=True)
class Command:
    """What the pump does on a word and its arguments; the lines it answers."""

    act: Callable[..., list[str] | None]
    most: int = 0  # arguments
    on_run_screen: bool = False  # a Command error on any other screen, and in a method


def clearing(ways: str, *, volume: bool) -> Callable[[Desk], None]:
    """Clear counters of volume or time."""
    return lambda desk: desk.panel.clear(ways, volume=volume)


COMMANDS = {
    "address": Command(Desk._address, 1),
    "baud": Command(Desk._baud, 1),
    "poll": Command(Desk._poll, 1),
    "nvram": Command(Desk._nvram, 1),
    "echo": Command(Desk._echo, 1),
    "dim": Command(Desk._dim, 1),
    "force": Command(Desk._force, 1),
    "time": Command(Desk._time, 3),
    "ver": Command(Desk._ver),
    "version": Command(Desk._version),
    "metrics": Command(Desk._metrics),
    "load": Command(Desk._load, 2),
    "irun": Command(Desk._irun),
    "wrun": Command(Desk._wrun),
    "rrun": Command(Desk._rrun),
    "run": Command(Desk._run),
    "stop": Command(Desk._stop),
    "stp": Command(Desk._stop),
    "crate": Command(Desk._crate),
    "status": Command(Desk._status),
    "irate": Command(Desk._irate, 2, on_run_screen=True),
    "wrate": Command(Desk._wrate, 2, on_run_screen=True),
    "iramp": Command(Desk._iramp, 5, on_run_screen=True),
    "wramp": Command(Desk._wramp, 5, on_run_screen=True),
    "diameter": Command(Desk._diameter, 1, on_run_screen=True),
    "svolume": Command(Desk._syringe_volume, 2, on_run_screen=True),
    "syrmanu": Command(Desk._syringe, 3, on_run_screen=True),
    "tvolume": Command(Desk._target, 2, on_run_screen=True),
    "ttime": Command(Desk._target_time, 1, on_run_screen=True),
    "ctvolume": Command(Desk._clear_target, on_run_screen=True),
    "cttime": Command(Desk._clear_target_time, on_run_screen=True),
    "ivolume": Command(Desk._infused),
    "wvolume": Command(Desk._withdrawn),
    "itime": Command(Desk._infusion_time),
    "wtime": Command(Desk._withdrawal_time),
    "civolume": Command(clearing("i", volume=True)),
    "cwvolume": Command(clearing("w", volume=True)),
    "cvolume": Command(clearing("iw", volume=True)),
    "citime": Command(clearing("i", volume=False)),
    "cwtime": Command(clearing("w", volume=False)),
    "ctime": Command(clearing("iw", volume=False)),
    "input": Command(Desk._input),
    "output": Command(Desk._output, 2),
    "sync": Command(Desk._sync, 1),
    "ftswitch": Command(Desk._foot_switch, 1),
    "tilt": Command(Desk._tilt),
}
