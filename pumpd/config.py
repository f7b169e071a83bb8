"""The configuration file: what stands at this station. Refused early, with every problem at once.

An example with every key explained is config/pumpd.toml. Relative paths are relative to the file that holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from pumpd.core.catalogue import LOW, MEDIUM
from pumpd.core.limits import CODE_MAX_RATE
from pumpd.library import DrugLibrary, Syringe, load_drug_library, load_syringes, share_file
from pumpd.messaging.requests import NEVER_REMOTE, VERBS
from pumpd.toml_file import ConfigError, Table, at, fill, read_toml
from pumpd.units import MlPerHour

__all__ = [
    "Alarms", "Annunciator", "Bed", "Bus", "Config", "ConfigError", "DrugLibrary", "Local", "Log", "PumpConfig",
    "Station", "Syringe", "load", "load_drug_library", "load_syringes", "share_file",
]  # fmt: skip

ID = r"^[a-z0-9-]{1,32}$"
ID_WORDS = "1 to 32 of a-z, 0-9 and -"
ALWAYS_ALLOWED = frozenset({"snapshot"})
ALLOWED_WITH_ANY = frozenset({"session.stop", "session.pause", "pump.stop"})  # who may start must be able to stop
STABLE_PORTS = ("/dev/serial/by-id/", "/dev/serial/by-path/")
NETWORK_PORTS = ("socket://", "rfc2217://")
ML_PER_HOUR = {  # what one of it is in mL/h, so that a wrong unit can be answered with the right figure
    "ml/h": Decimal(1),
    "ml/hr": Decimal(1),
    "ml/min": Decimal(60),
    "ml/s": Decimal(3600),
    "l/h": Decimal(1000),
    "ul/h": Decimal("0.001"),
    "ul/min": Decimal("0.06"),
    "µl/min": Decimal("0.06"),
}


def _rate(written: object) -> MlPerHour:
    if isinstance(written, MlPerHour):
        return written
    said = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(\S+)\s*", written) if isinstance(written, str) else None
    factor = ML_PER_HOUR.get(said[2].lower()) if said else None
    if said is None or factor is None:
        raise ValueError('expected a rate with its unit, such as "120 mL/h"')
    rate = MlPerHour(Decimal(said[1]) * factor)
    above = f" (above the code limit {CODE_MAX_RATE.value})" if rate > CODE_MAX_RATE else ""
    if said[2].lower() != "ml/h":
        raise ValueError(f"expected mL/h; did you mean {rate}?{above}")
    if above or not rate:
        raise ValueError(f"expected a rate above 0 and up to {CODE_MAX_RATE}{above}")
    return rate


def _bus_url(written: str) -> str:
    if written in ("embedded", "none"):
        return written
    try:
        url = urlsplit(written)
        usable = url.scheme == "mqtt" and url.hostname and url.port != 0 and not url.path and not url.query
    except ValueError:
        usable = False
    if not usable:
        raise ValueError('expected "embedded", "none" or "mqtt://host:port"')
    return written


def _verb(written: str) -> str:
    if written not in VERBS:
        raise ValueError(f"unknown verb; known verbs: {', '.join(VERBS)}")
    if written in NEVER_REMOTE:
        raise ValueError("never accepted from the broker; [alarms] inactivation = true allows it on the local socket")
    return written


Id: TypeAlias = Annotated[str, Field(pattern=ID)]
Rate: TypeAlias = Annotated[MlPerHour, PlainValidator(_rate)]
FilePath: TypeAlias = Annotated[Path, Field(strict=False)]
Verb: TypeAlias = Annotated[str, BeforeValidator(_verb)]


class Station(Table):
    """This daemon and where it keeps its things."""

    id: Id = Field(description=f"the station's name on the bus: {ID_WORDS}")
    data_dir: FilePath = Field(description="the folder of the journal and the local socket, made if missing")
    drug_library: FilePath | None = Field(
        default=None, description="a drug library file; left out: the one that came along"
    )
    syringes: FilePath | None = Field(
        default=None, description="a table of syringes; left out: the one that came along"
    )


class Bus(Table):
    """The MQTT broker and what is accepted from it."""

    url: Annotated[str, BeforeValidator(lambda text: _bus_url(text) if isinstance(text, str) else text)] = Field(
        default="none", description='"embedded", "none" or "mqtt://host:port"'
    )
    allow: tuple[Verb, ...] = Field(default=(), strict=False, description="a list of the verbs that are accepted")
    bus_loss: Literal["continue"] = Field(default="continue", description='"continue", the only policy so far')

    @property
    def verbs(self) -> frozenset[str]:
        """What is accepted: `allow`, with stop and pause as soon as anything is, and always `snapshot`."""
        allowed = frozenset(self.allow)
        return allowed | ALWAYS_ALLOWED | (ALLOWED_WITH_ANY if allowed else frozenset())

    @property
    def loopback(self) -> bool:
        """True for a broker that nobody outside of this machine reaches by this address (S12)."""
        host = urlsplit(self.url).hostname or "localhost"
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


class Local(Table):
    """The local Unix socket, which works without a broker (S13)."""

    socket: FilePath | None = Field(
        default=None, description="the path of the socket; left out: pumpd.sock in data_dir"
    )


class Annunciator(Table):
    """What sounds at the bedside without broker or display (S13)."""

    kind: Literal["bell", "command", "audio", "none"] = Field(
        default="bell", description='"bell", "command", "audio" or "none"'
    )
    command: tuple[str, ...] = Field(
        default=(), strict=False, description='a program and its arguments, such as ["beep"]'
    )
    device: str | None = Field(default=None, description='the name of an audio device, such as "default"')

    @model_validator(mode="after")
    def _arguments_fit(self) -> Self:
        if (self.kind == "command") != bool(self.command):
            raise ValueError('kind = "command" and the key command go together')
        if self.device is not None and self.kind != "audio":
            raise ValueError('device is only for kind = "audio"')
        return self


class Alarms(Table):
    """What a site may change about alarms; left out, nothing is inactivated and nothing escalates."""

    inactivation: bool = Field(
        default=False, description="true: low and medium alarms may be inactivated on the local socket, else false"
    )
    low_to_medium_s: int | None = Field(default=None, ge=10, le=86_400, description="seconds from 10 to 86400")
    medium_to_high_s: int | None = Field(default=None, ge=10, le=86_400, description="seconds from 10 to 86400")

    @property
    def escalate_after(self) -> dict[str, float]:
        """Priority: unattended seconds after which an alarm becomes one higher. Empty: never."""
        after = {LOW: self.low_to_medium_s, MEDIUM: self.medium_to_high_s}
        return {priority: float(seconds) for priority, seconds in after.items() if seconds is not None}


class Log(Table):
    """How loud and in which form the log is."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description='"debug", "info", "warning" or "error"'
    )
    format: Literal["auto", "json", "pretty"] = Field(
        default="auto", description='"json", "pretty", or "auto": pretty on a terminal'
    )


class PumpConfig(Table):
    """One pump and how it is reached."""

    driver: str = Field(description="the name of a driver; `pumpd drivers` lists them")
    port: str = Field(
        min_length=1, description='where the pump is, such as "/dev/serial/by-id/..." or "socket://host:port"'
    )
    baud: int | None = Field(default=None, ge=300, le=4_000_000, description="bits per second, from 300 to 4000000")
    serial_number: str | None = Field(
        default=None, min_length=1, description="the serial number that the pump itself tells"
    )
    laboratory: bool = Field(default=False, description="true for a pump that is not meant for people, else false")
    simulated: bool = Field(default=False, description="true for a port of the simulator, else false")
    keypad_lock: bool = Field(
        default=False, description="true: the pump's keys are locked while armed, where it can do so"
    )
    max_rate: Rate | None = Field(default=None, description='a rate with its unit, such as "120 mL/h"')
    trace: str | None = Field(
        default=None, pattern=r"^[^/]+$", description="a file in data_dir that every byte on the line is written to"
    )
    settings: dict[str, Any] = Field(default={}, description="a table of the driver's own settings")

    @model_validator(mode="after")
    def _port_is_what_it_says(self) -> Self:
        if self.simulated and self.port.startswith("/dev/") and not self.port.startswith(("/dev/pts/", "/dev/shm/")):
            raise ValueError(f'simulated = true, but port = "{self.port}" is no port of the simulator')
        stable = self.port.startswith((*STABLE_PORTS, *NETWORK_PORTS))
        if not (stable or self.simulated or self.serial_number):
            raise ValueError(
                f'port = "{self.port}": another device may get this name tomorrow; expected a stable name '
                "(/dev/serial/by-id/... or /dev/serial/by-path/...) or the pump's serial_number"
            )
        return self


class Bed(Table):
    """One bed."""

    pump: PumpConfig = Field(description="a section [bed.<id>.pump]")
    speed: int = Field(
        default=1, ge=1, le=1000, description="a whole number from 1 to 1000; above 1 only for the simulator"
    )
    observation_min: int = Field(
        default=120, ge=0, le=480, description="minutes of observation after the end, from 0 to 480"
    )
    restore: Literal["ask", "auto"] = Field(default="ask", description='"ask", or for a simulated bed "auto"')

    @property
    def simulated(self) -> bool:
        """True when every device of the bed is simulated (S14)."""
        return self.pump.simulated

    @model_validator(mode="after")
    def _only_simulated(self) -> Self:
        if self.speed != 1 and not self.simulated:
            raise ValueError(f"speed = {self.speed}: accelerated time needs every device of the bed simulated")
        if self.restore == "auto" and not self.simulated:
            raise ValueError('restore = "auto": a rate is only restored unasked where every device is simulated')
        return self


class Config(Table):
    """The whole file."""

    station: Station = Field(description="a section [station]")
    bus: Bus = Field(default=Bus(), description="a section [bus]")
    local: Local = Field(default=Local(), description="a section [local]")
    annunciator: Annunciator = Field(default=Annunciator(), description="a section [annunciator]")
    alarms: Alarms = Field(default=Alarms(), description="a section [alarms]")
    log: Log = Field(default=Log(), description="a section [log]")
    bed: dict[Id, Bed] = Field(min_length=1, description=f"a section [bed.<id>] for each bed, its id {ID_WORDS}")

    @property
    def journal(self) -> Path:
        """The journal file."""
        return self.station.data_dir / "journal.sqlite3"

    @property
    def socket(self) -> Path:
        """The local socket."""
        return self.local.socket or self.station.data_dir / "pumpd.sock"

    @property
    def simulated(self) -> bool:
        """True when no real device is configured at all."""
        return all(bed.simulated for bed in self.bed.values())

    @cached_property
    def drug_library(self) -> DrugLibrary:
        """The drug library in force. Raises ConfigError."""
        return load_drug_library(self.station.drug_library or share_file("drug-library.toml"))

    @cached_property
    def syringes(self) -> tuple[Syringe, ...]:
        """The table of syringes in force. Raises ConfigError."""
        return load_syringes(self.station.syringes or share_file("syringes.toml"))


def load(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError with one line for every problem."""
    tables = read_toml(path)
    config, problems = fill(Config, tables, path)
    problems += _mistakable(tables, path)
    if config is not None and not config.simulated:
        problems += _fit_for_people(config, path)
    if config is None or problems:
        raise ConfigError(problems)
    return _rooted(config, path.parent)


def sound_pumps(path: Path) -> dict[str, PumpConfig]:
    """Each pump that is written correctly, by bed, whatever else is wrong in the file. Raises ConfigError: no TOML."""
    pumps = {bed: fill(PumpConfig, table, path)[0] for bed, table in _pumps(read_toml(path))}
    return {bed: pump for bed, pump in pumps.items() if pump is not None}


def fingerprint(path: Path) -> str:
    """The SHA-256 of the file, for `info`: two stations with the same file say the same."""
    return sha256(path.read_bytes()).hexdigest()


def _rooted(config: Config, folder: Path) -> Config:
    def rooted(given: Path | None) -> Path | None:
        return None if given is None else folder / given.expanduser()

    station = config.station.model_copy(
        update={name: rooted(getattr(config.station, name)) for name in ("data_dir", "drug_library", "syringes")}
    )
    local = config.local.model_copy(update={"socket": rooted(config.local.socket)})
    return config.model_copy(update={"station": station, "local": local})


# --- rules between beds; on the tables, so that they are told together with the problems within one -----------------


def _fit_for_people(config: Config, path: Path) -> list[str]:
    """What only a trial may do without: a sounder at the bed (S13), and a broker that keeps its word."""
    problems = []
    if config.annunciator.kind == "none":
        text = 'kind = "none": a bed with a real pump needs a sounder: "bell", "command" or "audio"'
        problems.append(at(path, ("annunciator",), text))
    if config.bus.url == "embedded":
        text = 'url = "embedded": that broker is for trials; with a real pump expected "mqtt://host:port" or "none"'
        problems.append(at(path, ("bus",), text))
    return problems


def _mistakable(tables: dict[str, Any], path: Path) -> list[str]:
    """Pumps that could be taken for one another (S15)."""
    problems = []
    seen: dict[tuple[str, str], str] = {}
    for bed, pump in _pumps(tables):
        for sign, words in _signs(pump):
            other = seen.setdefault((sign, words), bed)
            if other != bed:
                problems.append(at(path, ("bed", bed, "pump"), f"{words}: {sign} [bed.{other}.pump]"))
    return problems


def _signs(pump: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(port := pump.get("port"), str):
        yield "the same port as", f'port = "{port}"'
    if trace := pump.get("trace"):
        yield "the same wire log as", f'trace = "{trace}"'
    serial = pump.get("serial_number")
    if serial:
        yield "the same serial number as", f'serial_number = "{serial}"'
    elif not pump.get("simulated"):
        settings = pump.get("settings")
        address = settings.get("address", 0) if isinstance(settings, dict) else 0
        yield (
            "without a serial number it cannot be told apart after a swap of plugs: give the pumps different "
            "addresses, unlike",
            f"driver = {pump.get('driver')}, address = {address}",
        )


def _pumps(tables: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    beds = tables.get("bed")
    for name, bed in beds.items() if isinstance(beds, dict) else ():
        pump = bed.get("pump") if isinstance(bed, dict) else None
        if isinstance(pump, dict):
            yield name, pump
