"""The driver of docs/write-a-driver.md is taken from the page and gives a whole session; its tests are run too."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import BadSetting
from pumpd.registry import find_drivers
from tests.bedside import Bedside, Room, ward
from tests.docs.drip import DripDevice
from tests.families import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "write-a-driver.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def page_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield {name: importlib.import_module(name) for name in FILES}
    for name in FILES:
        sys.modules.pop(name, None)


@pytest.fixture
def drip(page_modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> DripDevice:
    monkeypatch.setitem(KINDS, "drip", replace(KINDS["newera"], driver=page_modules["drip_pump"].DRIVER))
    return DripDevice()


def at_the_bed(device: DripDevice) -> Bedside:
    return Bedside(Room(), family="drip", device=device)  # type: ignore[arg-type]  # any peer serves


def test_the_page_holds_a_driver_and_its_tests() -> None:
    assert set(FILES) == {"drip_pump", "test_drip_pump"}


def test_the_tests_of_the_page_pass(page_modules: dict[str, ModuleType]) -> None:
    found = [name for name in vars(page_modules["test_drip_pump"]) if name.startswith("test_")]
    assert len(found) >= 3
    for name in found:
        getattr(page_modules["test_drip_pump"], name)()


def test_its_entry_point_is_found(page_modules: dict[str, ModuleType]) -> None:
    line = re.search(r'^drip = "(.+)"$', PAGE, re.MULTILINE)
    assert line is not None
    registry = find_drivers([EntryPoint("drip", line[1], "pumpd.drivers")])
    assert registry.broken == {}
    pump = registry.drivers["drip"].open({})
    assert set(pump.capabilities.alarms) <= set(CATALOGUE)
    with pytest.raises(BadSetting):
        registry.drivers["drip"].open({"colour": "red"})


async def test_it_gives_a_whole_session(drip: DripDevice) -> None:
    bed = at_the_bed(drip)
    async with ward(bed):
        await bed.running()
        await bed.until(lambda: bed.phase == "observing", within_s=3000)
        assert drip.heard.count("START") == 1
        assert 34.9 < drip.given <= 35.0
        assert drip.limit == 0.1, "the smallest limit is left in the pump"


async def test_its_pump_is_paused_resumed_and_stops_by_its_watchdog(drip: DripDevice) -> None:
    bed = at_the_bed(drip)
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        assert (await bed.order("session.pause"))["state"] == "done"
        assert not drip.running
        await bed.order("session.resume", confirm=True)
        assert drip.running
        bed.port.plug_out()
        await asyncio.sleep(15)
        bed.port.plug_in()
        await bed.until(lambda: bed.phase == "paused", within_s=10)
        assert not drip.running
        assert drip.heard.count("START") == 2, "nothing restarts it but a person"
        assert {"comms_lost_pump", "stopped_at_pump"} <= bed.alarms
