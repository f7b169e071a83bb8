"""docs/simulator.md and the page of each family in docs/simulated tell what the code has."""

import dataclasses
import re
from pathlib import Path

import pytest

from simulator.cli import PumpOptions
from simulator.families import FAMILIES
from simulator.family import AnyInvented, Family
from simulator.faults import KINDS
from simulator.infuser import actions
from simulator.requests import ACTIONS

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "simulator.md").read_text(encoding="utf-8")
COMMON = {field.name for field in dataclasses.fields(AnyInvented)}
SWITCHES = [
    pytest.param(family, switch, id=f"{family.name} {switch.name}")
    for family in FAMILIES.values()
    for switch in dataclasses.fields(family.invented)
    if family.name == "newera" or switch.name not in COMMON  # one page is enough for what all have
]


def page(family: Family) -> str:
    return (DOCS / "simulated" / f"{family.name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({*ACTIONS, *actions(volumetric=True), *KINDS}))
def test_every_action_and_fault_is_documented(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PumpOptions)])
def test_every_option_is_documented(field: str) -> None:
    assert f"`--{field.replace('_', '-')} " in TEXT


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_has_its_page_with_options_keys_and_actions(family: Family) -> None:
    assert f"| `{family.name}`: " in TEXT
    assert f"(simulated/{family.name}.md)" in TEXT
    own = page(family)
    assert [option.flag for option in family.options if f"`--{option.flag} " not in own] == []
    assert [name for name in family.actions if f"`{name}`" not in own + TEXT] == []
    assert [key for key in family.keys if not re.search(rf"\b{key}\b", own + TEXT)] == []


@pytest.mark.parametrize(("family", "switch"), SWITCHES)
def test_the_documented_default_is_the_real_one(family: Family, switch: "dataclasses.Field[object]") -> None:
    row = re.search(rf"^\| (.*`{switch.name}`.*?) \| (.*?) \|", page(family), re.MULTILINE)
    assert row is not None, f"{switch.name} is not on the page"
    names, shown = re.findall(r"`(\w+)`", row[1]), row[2].split(", ")
    assert len(names) == len(shown)
    told, default = shown[names.index(switch.name)], switch.default
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        assert told == (str(default).lower() if isinstance(default, bool) else default)
    else:
        assert float(told) == default
