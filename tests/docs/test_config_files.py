"""The example files are loaded, started and held against the code they explain."""

from __future__ import annotations

import configparser
import re
import shutil
import socket
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pumpd.config import (
    Alarms,
    Annunciator,
    Bed,
    Bus,
    Config,
    Local,
    Log,
    PumpConfig,
    Station,
    load,
    load_drug_library,
    load_syringes,
)
from pumpd.core.catalogue import CATALOGUE
from pumpd.messaging.requests import NEVER_REMOTE, VERBS
from pumpd.registry import check, find_drivers

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(
    path for path in CONFIG.glob("*.toml") if path.stem not in ("drug-library", "syringes", "prescription")
)
SECTIONS = {
    "station": Station,
    "bus": Bus,
    "local": Local,
    "annunciator": Annunciator,
    "alarms": Alarms,
    "log": Log,
    "bed.one": Bed,
    "bed.one.pump": PumpConfig,
}
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
WAIT_S = 10  # a broker is up in 0.1 s; a loaded machine may take longer


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"pumpd.toml", "bedside-newera.toml"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads_and_its_drivers_agree(path: Path) -> None:
    config = load(path)
    assert check(config, find_drivers(), CATALOGUE) == []
    assert "ketamine" in config.drug_library.drugs
    assert any(syringe.make == "BD" for syringe in config.syringes)


def test_the_bench_example_is_a_real_laboratory_pump_behind_a_stable_name() -> None:
    (bed,) = load(CONFIG / "bedside-newera.toml").bed.values()
    assert bed.pump.laboratory
    assert not bed.simulated


def test_the_shipped_tables_load() -> None:
    assert load_drug_library(CONFIG / "drug-library.toml").drugs
    assert load_syringes(CONFIG / "syringes.toml")


def section(name: str) -> str:
    text = (CONFIG / "pumpd.toml").read_text()
    found = re.search(rf"^\[{re.escape(name)}\]$(.*?)(?=^\[|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"[{name}] is not in pumpd.toml"
    return found[1]


@pytest.mark.parametrize(("name", "model"), SECTIONS.items(), ids=SECTIONS)
def test_the_example_names_every_key_there_is_and_no_other(name: str, model: type[BaseModel]) -> None:
    tables = {"bed.one": {"pump"}, "bed.one.pump": {"settings"}}.get(name, set())  # these have sections of their own
    named = set(re.findall(r"^(?:# )?([a-z_]+) = ", section(name), re.MULTILINE))
    assert named == set(model.model_fields) - tables


def test_the_example_has_every_section() -> None:
    assert set(Config.model_fields) == {name.partition(".")[0] for name in SECTIONS}


@pytest.mark.parametrize(("name", "model"), SECTIONS.items(), ids=SECTIONS)
def test_a_key_behind_a_hash_shows_its_true_default(name: str, model: type[BaseModel]) -> None:
    shown: dict[str, Any] = {}
    for line in re.findall(r"^# ([a-z_]+ = .*)$", section(name), re.MULTILINE):
        shown |= tomllib.loads(line)
    defaults = {key: model.model_fields[key].default for key in shown}
    assert {key: value for key, value in shown.items() if defaults[key] not in (None, ())} == {
        key: value for key, value in defaults.items() if value not in (None, ())
    }


def test_the_example_allows_every_verb_but_those_that_need_no_leave_or_get_none() -> None:
    assert set(load(CONFIG / "pumpd.toml").bus.allow) == set(VERBS) - {"snapshot"} - NEVER_REMOTE


@pytest.mark.real_time
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_mosquitto_takes_our_configuration_and_listens_on_loopback_only(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (CONFIG / "mosquitto.conf").read_text()
    assert re.findall(r"^listener .*$", text, re.MULTILINE) == ["listener 1883 127.0.0.1"]
    (tmp_path / "mosquitto.conf").write_text(text.replace("listener 1883 ", f"listener {port} "))
    command = [str(MOSQUITTO), "-c", str(tmp_path / "mosquitto.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
        try:
            assert listens(port, broker), broker.stderr.read() if broker.stderr else ""
        finally:
            broker.terminate()


def listens(port: int, broker: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and broker.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def test_the_service_keeps_its_data_where_the_example_says_and_comes_back_at_once() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read(CONFIG / "pumpd.service")
    service = unit["Service"]
    assert load(CONFIG / "pumpd.toml").station.data_dir == Path("/var/lib") / service["StateDirectory"]
    assert service["Restart"] == "always"
    assert service["KillSignal"] == "SIGTERM"
    assert service["ExecStart"].split()[1] == "run"
