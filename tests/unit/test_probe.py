"""Who is at a port: listened to first, asked in a safe order, changed in nothing."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pumpd.commands import probe as command
from pumpd.commands.reach import Failed
from pumpd.driver import Ask, Identity, Line, Probe, Pump, Refused, Silent
from pumpd.line.probe import Suspect, ask, listen, suspects
from pumpd.line.talk import Pipe
from pumpd.registry import find_drivers
from pumpd.testing import MemoryPort, VirtualClock
from tests.unit.toy_pump import ToyDevice, ToyPump

SLOW, FAST = Line(9600), Line(38400)


class Family:
    """A driver of toys; `order` is that of its question."""

    def __init__(self, name: str, line: Line, order: int) -> None:
        self.name, self.line = name, line
        self.probes = (Probe(order, "none", (("model", "b"), ("address", 7), ("lock", True))),)

    def open(self, settings: Mapping[str, object]) -> Pump:
        return ToyPump()


class Cable:
    """A port with a device that understands one kind of line only."""

    def __init__(self, device: ToyDevice, line: Line) -> None:
        self.port, self.line, self.opened = MemoryPort(device), line, list[Line]()

    async def open(self, line: Line, receive: Callable[[bytes], None], lost: Callable[[str], None]) -> Pipe:
        self.opened.append(line)
        if line == self.line:
            return await self.port.open(receive, lost)
        return await MemoryPort(ToyDevice(mute=True)).open(receive, lost)


LATE, EARLY = Family("late", FAST, 50), Family("early", SLOW, 10)


def test_the_order_is_that_of_the_probes_and_a_driver_without_one_is_left_out() -> None:
    mute = Family("mute", SLOW, 0)
    mute.probes = ()  # type: ignore[assignment]
    assert [way.driver.name for way in suspects([LATE, mute, EARLY])] == ["early", "late"]


async def test_a_silent_line_is_listened_to_at_each_speed() -> None:
    cable = Cable(ToyDevice(), SLOW)
    assert await listen(suspects([LATE, EARLY]), cable.open) is None
    assert cable.opened == [SLOW, FAST]
    assert cable.port.sent == []


@pytest.mark.parametrize(("said", "speaker"), [(b"!seven\n", "early"), (b"what is this?", None)])
async def test_what_speaks_by_itself_is_known_by_its_frames(said: bytes, speaker: str | None) -> None:
    cable = Cable(ToyDevice(), SLOW)
    asyncio.get_running_loop().call_later(0.5, cable.port.inject, said)
    overheard = await listen(suspects([EARLY]), cable.open)
    assert overheard is not None
    assert overheard.data == said
    assert (overheard.speaks.driver.name if overheard.speaks else None) == speaker
    assert cable.port.sent == []


async def test_a_pump_that_answers_says_who_it_is() -> None:
    cable = Cable(ToyDevice(serial="SN7"), FAST)
    [way] = suspects([LATE])
    assert await ask(way, cable.open, VirtualClock()) == Identity("toy", "1", "SN7")
    assert cable.port.sent == [b"who\n"]


async def test_nobody_of_the_family_is_silence_and_the_port_is_free_again() -> None:
    cable = Cable(ToyDevice(mute=True), FAST)
    [way] = suspects([LATE])
    for _ in range(2):
        with pytest.raises(Silent):
            await ask(way, cable.open, VirtualClock())


async def test_a_port_that_goes_away_is_silence() -> None:
    cable = Cable(ToyDevice(mute=True), FAST)
    asyncio.get_running_loop().call_later(0.1, cable.port.plug_out)
    with pytest.raises(Silent, match="went away"):
        await ask(suspects([LATE])[0], cable.open, VirtualClock())


def test_the_lines_to_paste() -> None:
    found = command.lines("socket://10.0.0.7:4001", 19200, Suspect(LATE, LATE.probes[0]), Identity("toy", "1", "SN7"))
    assert found == [
        "[bed.one.pump]",
        'driver = "late"',
        'port = "socket://10.0.0.7:4001"',
        "baud = 19200",
        'serial_number = "SN7"',
        "laboratory = true  # this pump or this driver is not meant for people",
        "",
        "[bed.one.pump.settings]",
        'model = "b"',
        "address = 7",
        "lock = true",
    ]


def test_a_port_is_named_as_it_is_called_tomorrow(tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-FTDI_A1-if00").symlink_to("/dev/null")
    assert command.stable("/dev/null", (tmp_path / "none", by_id)) == str(by_id / "usb-FTDI_A1-if00")
    assert command.stable("/dev/zero", (by_id,)) == "/dev/zero"
    assert command.stable("socket://here:1", (by_id,)) == "socket://here:1"


def test_without_a_terminal_somebody_has_to_say_that_no_patient_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(Failed, match="--yes-no-patient"):
        command.probe("/dev/null")


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("no", True), ("yes", False), ("", False), ("No ", True), ("nope", False)]
)
def test_only_a_clear_no_lets_it_ask(answer: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    async def probed(*_: Any) -> int:
        return 0

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(command.out, "input", lambda _: answer)
    monkeypatch.setattr(command, "_probe", probed)
    if goes_on:
        assert command.probe("/dev/null") == 0
    else:
        with pytest.raises(Failed, match="disconnect the patient"):
            command.probe("/dev/null")


async def test_a_refusal_says_that_somebody_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    class Refusing(ToyPump):
        def connect(self, *, hands_off: bool = False) -> Any:
            raise Refused("another model")
            yield

    family = Family("refusing", FAST, 1)
    family.open = lambda settings: Refusing()  # type: ignore[method-assign,assignment]
    cable = Cable(ToyDevice(serial="SN7"), FAST)
    found = await command._first(suspects([family, LATE]), cable.open)
    assert found is not None
    assert found[0].driver.name == "late"
    assert "something answers: another model" in capsys.readouterr().out


@pytest.mark.shows("H58")
def test_our_own_families_are_asked_in_the_safe_order_and_never_in_a_safe_mode_packet() -> None:
    ways = suspects(list(find_drivers().drivers.values()))
    names = [way.driver.name for way in ways]
    asked = [name for name in ("alaris", "bbraun", "zyno", "fresenius", "harvard", "newera") if name in names]
    assert list(dict.fromkeys(names)) == asked
    for way in ways:
        step = next(way.probe.question(way.pump()))
        assert isinstance(step, Ask)
        if way.driver.name == "newera":
            assert step.data == b"0VER\r"
