from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.battery import Battery
from simulator.device import Device


def running(**options: float) -> Device:
    device = Device(**options)  # type: ignore[arg-type]  # only numbers are given here
    device.advance(0.0)
    for command in (b"\r", b"DIA26.59\r", b"RAT60MH\r", b"VOL50\r", b"RUN\r"):
        device.receive(command, 0.0)
    assert device.truth()["infusing"]
    return device


def test_without_a_battery_a_mains_cut_stops_the_pump_at_once() -> None:
    device = running()
    device.control({"do": "power_off"})
    assert not device.truth()["infusing"]
    assert device.truth()["battery_pct"] is None


@pytest.mark.shows("H20")
def test_with_a_battery_it_infuses_on_and_stops_the_moment_it_is_empty() -> None:
    device = running(battery_min=10.0)
    device.control({"do": "power_off"})
    device.advance(300.0)
    assert device.truth()["infusing"]
    assert device.truth()["battery_pct"] == pytest.approx(50.0)
    device.advance(3600.0)
    assert not device.truth()["powered"]
    assert device.truth()["plunger_ml"] == pytest.approx(10.0), "60 mL/h for the ten minutes it lasted"


def test_mains_that_come_back_in_time_leave_the_infusion_untouched() -> None:
    device = running(battery_min=10.0)
    device.control({"do": "power_off", "for_s": 60})
    device.advance(120.0)
    assert device.truth()["infusing"]
    assert device.truth()["alarm"] is None
    assert device.truth()["plunger_ml"] == pytest.approx(2.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=20))
def test_the_charge_stays_between_empty_and_full(stretches: list[tuple[bool, float]]) -> None:
    battery = Battery(5.0)
    for on_mains, seconds in stretches:
        battery.on_mains = on_mains
        battery.advance(seconds)
        assert 0.0 <= (battery.percent or 0.0) <= 100.0


def test_a_battery_cannot_last_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="expected 0"):
        Battery(-1.0)


@pytest.mark.parametrize("on_mains", [True, False])
@pytest.mark.parametrize("level_s", [60.0, 150.0, 299.0])
def test_it_foretells_when_its_charge_passes_a_level(on_mains: bool, level_s: float) -> None:
    battery = Battery(5.0)
    battery.on_mains = False
    battery.advance(150.0)
    battery.on_mains = on_mains
    until = battery.until_left(level_s)
    if on_mains == (level_s >= 150.0):
        battery.advance(until)
        assert battery.left_s == pytest.approx(level_s)
    else:
        assert until == math.inf
    assert Battery(0.0).until_left(level_s) == math.inf
