"""What docs/write-a-driver.md shows is what examples/acme_pump holds, and the kit is as it says."""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import BadSetting
from pumpd.registry import find_drivers
from pumpd.testing.bedside import Bedside, Room, ward
from pumpd.testing.conformance import CHECKS, name_of
from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "write-a-driver.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "acme_pump"
QUOTED = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(EXAMPLE)
    names = ("acme_device", "acme_pump")
    yield {name: __import__(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def test_the_page_quotes_the_example() -> None:
    assert {file for file, _ in QUOTED} == {"acme_pump.py", "test_acme_pump.py"}
    assert len(QUOTED) >= 8
    assert PAGE.count("```python") == len(QUOTED), "code that no test runs"


@pytest.mark.parametrize(("file", "code"), QUOTED, ids=[f"{file}-{at}" for at, (file, _) in enumerate(QUOTED)])
def test_what_is_quoted_is_true(file: str, code: str) -> None:
    assert code.strip("\n") in (EXAMPLE / file).read_text(encoding="utf-8")


def test_the_table_of_checks_is_the_kits() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)
    assert rows == [name_of(check) for check in CHECKS]


def test_the_entry_point_of_the_page_is_found(acme: dict[str, ModuleType]) -> None:
    line = re.search(r'^acme = "(.+)"$', PAGE, re.MULTILINE)
    assert line is not None
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pumpd.drivers"] == {"acme": line[1]}
    registry = find_drivers([EntryPoint("acme", line[1], "pumpd.drivers")])
    assert registry.broken == {}
    pump = registry.drivers["acme"].open({})
    assert set(pump.capabilities.alarms) <= set(CATALOGUE)
    with pytest.raises(BadSetting):
        registry.drivers["acme"].open({"colour": "red"})


def test_the_example_imports_no_more_of_pumpd_than_it_may() -> None:
    imported = set(re.findall(r"^from (pumpd[\w.]*)", (EXAMPLE / "acme_pump.py").read_text(), re.MULTILINE))
    assert imported == {"pumpd.driver", "pumpd.units"}
    assert "pumpd" not in (EXAMPLE / "acme_device.py").read_text()


async def test_it_gives_a_whole_session_with_one_start(acme: dict[str, ModuleType]) -> None:
    device = acme["acme_device"].AcmeDevice()
    bed = Bedside(Room(), acme["acme_pump"].DRIVER, device)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", within_s=3000)
        assert device.heard.count("START") == 1
        assert 34.9 < device.given <= 35.0
        assert device.limit == 0.1, "the smallest limit is left in the pump"


async def test_it_is_paused_resumed_and_stops_by_its_watchdog(acme: dict[str, ModuleType]) -> None:
    device = acme["acme_device"].AcmeDevice()
    bed = Bedside(Room(), acme["acme_pump"].DRIVER, device)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        assert not device.running
        await bed.order("session.resume", confirm=True)
        assert device.running
        bed.port.plug_out()
        await asyncio.sleep(15)
        bed.port.plug_in()
        await bed.until(lambda: bed.phase == "paused", within_s=10)
        assert not device.running
        assert device.heard.count("START") == 2, "nothing restarts it but a person"
        assert {"comms_lost_pump", "stopped_at_pump"} <= bed.alarms
