import dataclasses
from pathlib import Path

import pytest

from simulator.cli import PumpOptions
from simulator.families import FAMILIES
from simulator.families.newera_invented import Invented
from simulator.families.newera_panel import KEYS
from simulator.family import Option
from simulator.faults import KINDS
from simulator.requests import ACTIONS

TEXT = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")

OPTIONS = [option for family in FAMILIES.values() for option in family.options]


@pytest.mark.parametrize("name", [*ACTIONS, *KINDS, *(field.name for field in dataclasses.fields(Invented))])
def test_every_action_fault_and_invented_switch_is_documented(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PumpOptions)])
def test_every_option_is_documented(field: str) -> None:
    assert f"`--{field.replace('_', '-')} " in TEXT


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_every_option_of_a_family_is_documented(option: Option) -> None:
    assert f"`--{option.flag} " in TEXT


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    assert key in TEXT.split("`press` |")[1].split("\n")[0]


@pytest.mark.parametrize("switch", dataclasses.fields(Invented), ids=lambda field: field.name)
def test_the_documented_default_is_the_real_one(switch: "dataclasses.Field[object]") -> None:
    default = switch.default
    shown = str(default).lower() if isinstance(default, bool) else f"{default:g}" if default == 0.0 else default
    assert f"| `{switch.name}` | {shown} |" in TEXT
