"""The service unit: systemd's lines, and what they have to do with the program they start."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from pumpd.bedside.ward import SECOND_LOOK_S, SILENT_S
from pumpd.cli import app
from pumpd.commands.reach import USAGE
from pumpd.commands.setup import run
from pumpd.daemon import FAREWELL_S

UNIT = Path(__file__).parents[2] / "config" / "pumpd.service"


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read(UNIT)
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}
    return unit["Service"]


def test_the_command_line_is_one_that_pumpd_takes(service: configparser.SectionProxy) -> None:
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "pumpd"
    command, bound, ignored = app.parse_args(arguments, exit_on_error=False)
    assert command is run
    assert bound.arguments == {"config": Path("/etc/pumpd/pumpd.toml")}
    assert not ignored


def test_the_manager_waits_for_ready_and_hears_the_main_process_only(service: configparser.SectionProxy) -> None:
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")


@pytest.mark.shows("S16", "H49")
def test_the_outer_watchdog_is_slower_than_the_ward(service: configparser.SectionProxy) -> None:
    """Else one bed that hangs would take all others with it before its ward could bring it back."""
    heartbeat_s, restart_s = 1.0, 1.0
    assert float(service["WatchdogSec"]) > SILENT_S + SECOND_LOOK_S + heartbeat_s + restart_s


def test_a_stop_has_time_for_the_pumps_and_for_the_last_words(service: configparser.SectionProxy) -> None:
    assert float(service["TimeoutStopSec"]) > 2 * FAREWELL_S


def test_it_comes_back_at_once_unless_its_configuration_is_wrong(service: configparser.SectionProxy) -> None:
    assert service["Restart"] == "always"
    assert service["RestartSec"] == "200ms"
    assert int(service["RestartPreventExitStatus"]) == USAGE


def test_it_reaches_serial_ports_and_sound_and_nothing_else(service: configparser.SectionProxy) -> None:
    assert set(service["SupplementaryGroups"].split()) == {"dialout", "audio"}
    assert service["DevicePolicy"] == "closed"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    text = UNIT.read_text()
    for device in ("char-ttyUSB", "char-ttyACM", "char-ttyS", "char-alsa"):
        assert f"DeviceAllow={device} rw\n" in text
