"""What holds of every registered family, whatever its wire."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import simulator.families
from simulator.cli import own_settings
from simulator.device import Device
from simulator.families import FAMILIES, family_named
from simulator.family import AnyInvented, Family, Option
from simulator.requests import UNDO, BadRequest
from simulator.scenario import Scenario, actions_of, check, parse_scenario
from tests.unit.simulator.toy_family import FAMILY as TOY
from tests.unit.simulator.toy_family import registered

ROOM = Path(simulator.families.__file__).parent
EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
SAMPLES: dict[str, Any] = {
    "ml_h": 20.0, "fill_ml": 30.0, "kind": "drop", "for_s": 1.0, "ml": 1.0, "delay_s": 0.1, "probability": 0.5
}  # fmt: skip
MUST_TELL = {"plunger_ml", "patient_ml", "rate_ml_h", "set_rate_ml_h", "limit_ml", "state", "alarm", "infused_ml"}


def requests_of(family: Family) -> list[dict[str, Any]]:
    """One request of each kind, one for each choice of its needed keys."""
    found = []
    for name, action in actions_of(family.name).items():
        choices = [{"do": name}]
        for key, value in action.needs.items():
            choices = [
                {**request, key: choice} for request in choices for choice in value.choices or (SAMPLES.get(key, 1),)
            ]
        found += choices
    return [request for request in found if request.get("kind") != "delay"]


@EVERY
def test_it_is_listed_and_told_apart(family: Family) -> None:
    assert FAMILIES[family.name] is family
    assert set(family.kinds) <= {"syringe", "volumetric"}
    assert family.default_baud in family.bauds
    assert len({option.flag for option in family.options}) == len(family.options)
    assert issubclass(family.invented, AnyInvented)
    assert dataclasses.asdict(family.invented())


@EVERY
def test_every_request_is_carried_out_or_refused_in_words(family: Family) -> None:
    for request in requests_of(family):
        pump = Device(family.name)
        pump.advance(1.0)
        check(request, family.name)
        answer = pump.control(request)
        assert answer["ok"] or answer["error"].startswith(f"{request['do']}: ")
        pump.advance(2.0)
        pump.outgoing(2.0)


@EVERY
def test_what_takes_a_time_ends_by_itself(family: Family) -> None:
    for name, action in actions_of(family.name).items():
        assert ("for_s" in action.may) == (name in UNDO or name == "fault")


@EVERY
def test_it_stands_until_told_and_the_truth_says_so(family: Family) -> None:
    pump = Device(family.name)
    pump.outgoing(0.0)
    pump.advance(3600.0)
    truth = pump.truth()
    assert truth.keys() >= MUST_TELL
    assert (truth["plunger_ml"], truth["infusing"], truth["powered"]) == (0.0, False, True)


@EVERY
def test_garbage_does_no_harm(family: Family) -> None:
    pump = Device(family.name)
    noise = bytes(range(256)) * 8
    for at, byte in enumerate(noise):
        pump.receive(bytes((byte,)), at / 100)
    pump.receive(noise, 100.0)
    pump.outgoing(100.0)
    for _ in range(50):
        wake = pump.next_wake(pump.truth()["wire_s"])
        if wake is None:
            break
        pump.outgoing(wake)
    assert pump.truth()["plunger_ml"] == 0.0


@EVERY
def test_it_never_keeps_its_server_spinning(family: Family) -> None:
    pump, at, woken = Device(family.name), 0.0, 0
    pump.outgoing(at)
    while (wake := pump.next_wake(at)) is not None and wake < 600.0:
        assert wake > at
        at, woken = wake, woken + 1
        pump.outgoing(at)
        assert woken < 10_000


@EVERY
def test_a_copy_goes_its_own_way(family: Family) -> None:
    pump = Device(family.name)
    pump.advance(1.0)
    twin = copy.deepcopy(pump)
    twin.control({"do": "power_off"})
    twin.advance(100.0)
    pump.advance(100.0)
    assert (pump.truth()["on_mains"], twin.truth()["on_mains"]) == (True, False)


@EVERY
def test_a_slow_line_takes_its_time(family: Family) -> None:
    pump = Device(family.name, baud=family.default_baud)
    pump.advance(0.0)
    assert 0 < pump._mouth.byte_s <= 12 / family.default_baud + 1e-9
    with pytest.raises(ValueError, match="baud 7: expected 0"):
        Device(family.name, baud=7)


@EVERY
def test_what_another_family_has_is_refused_in_words(family: Family) -> None:
    with pytest.raises(ValueError, match=f"hat_size: a {family.name} pump has no such setting"):
        Device(family.name, hat_size=7)
    with pytest.raises(BadRequest, match=f"--hat-size: a {family.name} pump has no such option"):
        own_settings(family, {"hat-size": "7"})

    class Foreign(AnyInvented):
        pass

    if family.invented is not AnyInvented:
        with pytest.raises(ValueError, match=f"invented for another family; expected {family.name}'s"):
            Device(family.name, invented=Foreign())


@EVERY
def test_its_modules_know_no_other_family(family: Family) -> None:
    for module in ROOM.glob(f"{family.name}*.py"):
        imported = re.findall(r"simulator\.families\.(\w+)", module.read_text(encoding="utf-8"))
        assert [name for name in imported if not name.startswith(family.name)] == [], module.name
        assert "from simulator.families import" not in module.read_text(encoding="utf-8"), module.name


def test_every_module_belongs_to_a_family() -> None:
    strangers = [path.name for path in ROOM.glob("*.py") if not path.name.startswith(("__", *FAMILIES))]
    assert strangers == []


def test_an_action_of_another_family_is_named_as_such() -> None:
    with registered():
        check({"do": "alarm", "name": "door_open"}, "toy")
        with pytest.raises(BadRequest, match="alarm: a newera pump has no such thing"):
            check({"do": "alarm", "name": "door_open"})
        with pytest.raises(BadRequest, match="alarm: name = 'cold feet': expected one of occlusion"):
            check({"do": "alarm", "name": "cold feet"}, "toy")
        with pytest.raises(BadRequest, match="do = 'dance': expected one of press"):
            check({"do": "dance"}, "toy")


def test_a_script_is_read_for_its_family() -> None:
    with registered():
        text = "[[step]]\nat_s = 1\ndo = 'alarm'\nname = 'air_in_line'\nfor_s = 2\n[invented]\nreply_delay_s = 1"
        script = parse_scenario(text, "ward.toml", "toy")
        pump = Device("toy", scenario=script)
        pump.advance(0.0)
        pump.advance(2.0)
        assert pump.truth()["alarms"] == ["air_in_line"]
        pump.control({"do": "press", "key": "mute"})
        pump.advance(4.0)
        assert pump.truth()["alarms"] == []
        with pytest.raises(BadRequest, match=r"\[invented\] purge_is_counted: unknown key; known: reply_delay_s"):
            parse_scenario("[invented]\npurge_is_counted = true", "ward.toml", "toy")
        own = parse_scenario("family = 'toy'\n" + text, "ward.toml")
        assert own == script
        with pytest.raises(BadRequest, match="family = 'toy': it is written for another family than newera"):
            parse_scenario("family = 'toy'", "ward.toml", "newera")
        with pytest.raises(ValueError, match="the scenario is written for toy, and this pump is newera"):
            Device(scenario=own)
    for text, family in (("family = 'acme'", None), ("", "acme")):
        with pytest.raises(BadRequest, match=r"ward.toml: family = 'acme': expected one of"):
            parse_scenario(text, "ward.toml", family)
    assert Device(scenario=Scenario()).truth()["state"] == "S"


def test_options_are_read_and_refused_in_words() -> None:
    number = Option("width_mm", "width", 3, "how wide", int, "mm", least=1, most=5)
    assert (number.read("4"), number.read(5)) == (4, 5)
    for bad in ("0", "wide", "2.5", None, math.nan):
        with pytest.raises(ValueError, match=f"width {bad} mm: expected 1 to 5"):
            number.read(bad)
    with pytest.raises(ValueError, match="hue 'red': expected blue or green"):
        Option("hue", "hue", "blue", "its colour", choices=("blue", "green")).read("red")
    assert TOY.settings({"serial": "T-2"}) == {"true_diameter_mm": None, "serial": "T-2"}


def test_a_family_is_found_by_its_name() -> None:
    assert family_named("newera") is FAMILIES["newera"]
    with pytest.raises(ValueError, match="family 'acme': expected one of"):
        family_named("acme")


def test_the_list_names_each_family_and_its_options() -> None:
    listed = subprocess.run([sys.executable, "-m", "simulator.cli", "list"], capture_output=True, text=True, check=True)
    for family in FAMILIES.values():
        assert f"{family.name}  {family.description}" in listed.stdout
        assert all(f"--{option.flag}" in listed.stdout for option in family.options)


@EVERY
def test_it_can_be_served(family: Family) -> None:
    command = [sys.executable, "-m", "simulator.cli", "serve", family.name, "--tcp", "127.0.0.1:0", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        assert served.stdout.readline().startswith("READY socket://127.0.0.1:")
        served.terminate()
    assert served.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["acme", "--tcp", "127.0.0.1:0"], "family 'acme': expected one of"),
        (["newera", "--tcp", "127.0.0.1:0", "--hat-size", "7"], "--hat-size: a newera pump has no such option"),
        (["newera", "--tcp", "127.0.0.1:0", "--watchdog", "256"], "watchdog 256 s: expected 1 to 255"),
        (["newera", "--tcp", "127.0.0.1:0", "--true-diameter", "wide"], "true diameter wide mm: expected 0.1 to 80"),
    ],
)
def test_the_command_refuses_in_words(arguments: list[str], words: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "simulator.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert words in run.stderr
    assert "Traceback" not in run.stderr
