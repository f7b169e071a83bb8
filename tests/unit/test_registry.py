from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from pumpd.config import Bed, Config, PumpConfig, Station
from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import BadSetting, Line
from pumpd.registry import GROUP, Registry, check, find_drivers


class ToyDriver:
    """Stands in for a plug-in; `pump` is what it opens."""

    def __init__(self, name: str = "toy", **capabilities: object) -> None:
        self.name, self.line = name, Line(9600)
        able = find_drivers().drivers["newera"].open({}).capabilities
        self._able = replace(able, **{"maker": "Acme", "model": "Toy", "alarms": (), **capabilities})  # type: ignore[arg-type]

    def open(self, settings: Mapping[str, object]) -> types.SimpleNamespace:
        if settings:
            raise BadSetting("colour", '"red": expected nothing')
        return types.SimpleNamespace(capabilities=self._able)


TOY = ToyDriver()
NOT_A_DRIVER = object()


def point(name: str, value: str = "TOY") -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{value}", GROUP)


def config(**pump: object) -> Config:
    told = {"driver": "toy", "port": "/dev/serial/by-id/x", **pump}
    return Config(station=Station(id="s", data_dir="d"), bed={"one": Bed(pump=PumpConfig.model_validate(told))})


def told(driver: ToyDriver, **pump: object) -> list[str]:
    return check(config(**pump), Registry({driver.name: driver}, {}), CATALOGUE)  # type: ignore[dict-item]


def test_the_drivers_that_came_along_are_found_and_none_is_broken() -> None:
    registry = find_drivers()
    assert "newera" in registry.drivers
    assert registry.broken == {}


def test_every_driver_that_came_along_tells_only_alarms_of_the_catalogue() -> None:
    for name, driver in find_drivers().drivers.items():
        assert set(driver.open({}).capabilities.alarms) <= set(CATALOGUE), name


def test_a_plug_in_is_found_by_its_entry_point() -> None:
    assert find_drivers([point("toy")]).drivers == {"toy": TOY}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (EntryPoint("toy", "no_such_module:DRIVER", GROUP), "ModuleNotFoundError: No module named 'no_such_module'"),
        (point("toy", "NO_SUCH"), "has no attribute 'NO_SUCH'"),
        (point("toy", "NOT_A_DRIVER"), "expected an object with name, line and open()"),
        (point("other"), 'calls itself "toy"'),
    ],
)
def test_a_broken_plug_in_is_named_with_its_reason_and_the_others_go_on(broken: EntryPoint, why: str) -> None:
    registry = find_drivers([broken, EntryPoint("newera", "drivers.newera:DRIVER", GROUP)])
    assert list(registry.drivers) == ["newera"]
    assert why in registry.broken[broken.name]


def test_of_two_drivers_with_one_name_neither_is_taken() -> None:
    registry = find_drivers([point("toy"), point("toy", "NOT_A_DRIVER"), point("toy")])
    assert registry.drivers == {}
    assert "offered twice" in registry.broken["toy"]


def test_a_configuration_that_fits_has_no_problem() -> None:
    assert told(ToyDriver(clinical_use=True)) == []


@pytest.mark.shows("S14")
def test_a_laboratory_pump_has_to_be_called_one_outside_of_the_simulator() -> None:
    laboratory = ToyDriver(clinical_use=False)
    assert told(laboratory) == [
        '[bed.one.pump] driver = "toy": Acme Toy is not meant for people; expected laboratory = true'
    ]
    assert told(laboratory, laboratory=True) == []
    assert told(laboratory, simulated=True, port="socket://localhost:1") == []


@pytest.mark.shows("S5")
@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("stop", [False, True])
def test_a_driver_that_starts_what_it_cannot_stop_is_refused(control: bool, stop: bool) -> None:
    words = '[bed.one.pump] driver = "toy": it would start Acme Toy without being able to stop it; not used'
    driver = ToyDriver(clinical_use=True, control=control, stop=stop)
    assert told(driver) == ([words] if control and not stop else [])


def test_no_driver_that_came_along_starts_what_it_cannot_stop() -> None:
    for name, driver in find_drivers().drivers.items():
        able = driver.open({}).capabilities
        assert able.stop or not able.control, name


def test_a_serial_number_proves_nothing_where_the_pump_cannot_tell_it() -> None:
    silent = ToyDriver(clinical_use=True, has_serial_number=False)
    (line,) = told(silent, serial_number="7", port="/dev/ttyUSB0")
    assert line.startswith('[bed.one.pump] serial_number = "7": Acme Toy cannot tell its serial number')
    assert told(ToyDriver(clinical_use=True, has_serial_number=True), serial_number="7") == []


@pytest.mark.shows("H14", "H51")
def test_an_alarm_that_pumpd_does_not_know_is_refused_at_the_start() -> None:
    (line,) = told(ToyDriver(clinical_use=True, alarms=("no_flow", "gremlins")))
    assert line == '[bed.one.pump] driver = "toy": it tells alarms that pumpd does not know: gremlins'


def test_a_bad_setting_is_told_with_bed_and_key() -> None:
    assert told(ToyDriver(clinical_use=True), settings={"colour": "red"}) == [
        '[bed.one.pump] settings.colour: "red": expected nothing'
    ]


def test_a_driver_that_is_missing_or_broken_is_told_at_the_start() -> None:
    assert check(config(), Registry({}, {}), ()) == [
        '[bed.one.pump] driver = "toy": no such driver is installed; there are none'
    ]
    (line,) = check(config(), Registry({}, {"toy": "toy:X: ImportError: no"}), ())
    assert line.endswith("it is installed, but cannot be used: toy:X: ImportError: no")
