import dataclasses
import re
from pathlib import Path

import pytest

from simulator.cli import PumpOptions
from simulator.families import FAMILIES
from simulator.family import Family, Option
from simulator.faults import KINDS
from simulator.infuser import actions
from simulator.requests import ACTIONS

TEXT = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
OPTIONS = [option for family in FAMILIES.values() for option in family.options]
ALL_ACTIONS = {*ACTIONS, *actions(volumetric=True), *(name for family in FAMILIES.values() for name in family.actions)}
SWITCHES = [
    pytest.param(family, switch, id=f"{family.name} {switch.name}")
    for family in FAMILIES.values()
    for switch in dataclasses.fields(family.invented)
]


def section(heading: str) -> str:
    """What stands under a heading of the third order."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def keys_in(text: str) -> str:
    found = re.search(r"^Keys: (.*?\.)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


@pytest.mark.parametrize("name", sorted({*ALL_ACTIONS, *KINDS}))
def test_every_action_and_fault_is_documented(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PumpOptions)])
def test_every_option_is_documented(field: str) -> None:
    assert f"`--{field.replace('_', '-')} " in TEXT


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_every_option_of_a_family_is_documented(option: Option) -> None:
    assert f"`--{option.flag} " in section("The families")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_and_its_keys_are_documented(family: Family) -> None:
    assert f"| {family.name}: " in section("The families")
    own = section(family.name)
    told = keys_in(own) + keys_in(section("The pumps of clinics"))
    assert [key for key in family.keys if not re.search(rf"\b{key}\b", told)] == []


@pytest.mark.parametrize(("family", "switch"), SWITCHES)
def test_the_documented_default_is_the_real_one(family: Family, switch: "dataclasses.Field[object]") -> None:
    default = switch.default
    shown = str(default).lower() if isinstance(default, bool) else f"{default:g}" if default == 0.0 else default
    assert f"| `{switch.name}` | {shown} |" in section(family.name)
