"""Finds the drivers that are installed, and holds the configuration against what they can do.

A driver is an entry point in the group `pumpd.drivers`. One that cannot be loaded is named with its reason and skipped:
a broken plug-in must not keep the other beds from starting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pumpd.config import Config, PumpConfig
from pumpd.driver import BadSetting, Driver, Line, Pump

GROUP = "pumpd.drivers"


@dataclass(frozen=True, slots=True)
class Registry:
    """The drivers by name, and why the others are not among them."""

    drivers: dict[str, Driver]
    broken: dict[str, str]

    def open(self, pump: PumpConfig) -> Pump:
        """A fresh pump for this configuration. Raises BadSetting; KeyError unless `check` found no problem."""
        return self.drivers[pump.driver].open(pump.settings)


def find_drivers(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every driver that is installed (or is among `points`)."""
    drivers: dict[str, Driver] = {}
    broken: dict[str, str] = {}
    owners: dict[str, str] = {}
    for point in entry_points(group=GROUP) if points is None else points:
        if point.name in owners:
            broken[point.name] = f"offered twice: {owners[point.name]} and {point.value}; uninstall one of them"
            drivers.pop(point.name, None)  # neither: which one came first is an accident of installation
            continue
        owners[point.name] = point.value
        try:
            drivers[point.name] = _offered(point)
        except Exception as error:  # a plug-in may fail in any way
            broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
    return Registry(drivers, broken)


def _offered(point: EntryPoint) -> Driver:
    driver: Driver = point.load()
    if not (callable(getattr(driver, "open", None)) and isinstance(getattr(driver, "line", None), Line)):
        raise TypeError("expected an object with name, line and open(); see docs/write-a-driver.md")
    if driver.name != point.name:
        raise ValueError(f'calls itself "{driver.name}"; entry point and driver must have one name')
    return driver


def check(config: Config, registry: Registry, alarm_codes: Collection[str]) -> list[str]:
    """What of the configuration the drivers cannot do: one line a problem. `alarm_codes` is pumpd's own catalogue."""
    return check_pumps({name: bed.pump for name, bed in config.bed.items()}, registry, alarm_codes)


def check_pumps(pumps: Mapping[str, PumpConfig], registry: Registry, alarm_codes: Collection[str]) -> list[str]:
    """The same for the pumps alone, by bed: for a file in which something else is wrong."""
    problems: list[str] = []
    for bed, pump in pumps.items():
        problems += [f"[bed.{bed}.pump] {words}" for words in _check_pump(pump, registry, alarm_codes)]
    return problems


def _check_pump(pump: PumpConfig, registry: Registry, alarm_codes: Collection[str]) -> list[str]:
    named = f'driver = "{pump.driver}": '
    if pump.driver in registry.broken:
        return [f"{named}it is installed, but cannot be used: {registry.broken[pump.driver]}"]
    if pump.driver not in registry.drivers:
        return [f"{named}no such driver is installed; there are {', '.join(sorted(registry.drivers)) or 'none'}"]
    try:
        opened = registry.open(pump)
    except BadSetting as error:
        return [f"settings.{error}"]
    able = opened.capabilities
    unknown = sorted(set(able.alarms) - set(alarm_codes))
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (bool(unknown), lambda: f"{named}it tells alarms that pumpd does not know: {', '.join(unknown)}"),
        (
            able.control and not able.stop,
            lambda: f"{named}it would start {able.maker} {able.model} without being able to stop it; not used",
        ),
        (
            not (able.clinical_use or pump.laboratory or pump.simulated),
            lambda: f"{named}{able.maker} {able.model} is not meant for people; expected laboratory = true",
        ),
        (
            pump.serial_number is not None and not able.has_serial_number,
            lambda: (
                f'serial_number = "{pump.serial_number}": {able.maker} {able.model} cannot tell its serial number; '
                "leave it out, and use a stable port name"
            ),
        ),
    )
    return [words() for found, words in checks if found]
