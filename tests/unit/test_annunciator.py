from __future__ import annotations

import asyncio
import io
import os
import pty
import wave
from itertools import pairwise
from pathlib import Path

import pytest

from pumpd.bedside.annunciator import REPEAT_S, Annunciator, Bell, Command, SounderFailed, Tones, find_player
from pumpd.bedside.tones import MELODIES, NOTES_HZ, melody
from pumpd.messaging.messages import Priority

PRIORITIES: tuple[Priority, ...] = ("high", "medium", "low")


class Sounded:
    """Notes when it sounds; can be told to fail or to take its time."""

    def __init__(self) -> None:
        self.at: list[tuple[float, Priority]] = []
        self.failure: str | None = None
        self.takes_s = 0.0
        self.cut_short = 0

    async def sound(self, priority: Priority) -> None:
        self.at.append((asyncio.get_running_loop().time(), priority))
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cut_short += 1
            raise
        if self.failure is not None:
            raise SounderFailed(self.failure)

    def gaps(self) -> list[float]:
        times = [when for when, _ in self.at]
        return [round(later - earlier, 6) for earlier, later in pairwise(times)]


@pytest.mark.shows("H22")
@pytest.mark.parametrize("priority", PRIORITIES)
async def test_burst_comes_at_once_and_repeats_by_priority(priority: Priority) -> None:
    sounder = Sounded()
    sounder.takes_s = 1.5  # the length of a burst does not move the next one
    one = Annunciator(sounder, lambda failure: None)
    start = asyncio.get_running_loop().time()
    one.show(priority, audio_paused=False)
    await asyncio.sleep(3 * REPEAT_S[priority] + 1)
    await one.stop()
    assert sounder.at[0] == (start, priority)
    assert sounder.gaps() == [REPEAT_S[priority]] * 3


@pytest.mark.shows("H22")
async def test_higher_priority_sounds_at_once_and_cuts_the_lower_burst_short() -> None:
    sounder = Sounded()
    sounder.takes_s = 2.0
    one = Annunciator(sounder, lambda failure: None)
    one.show("low", audio_paused=False)
    await asyncio.sleep(1)
    one.show("high", audio_paused=False)
    await asyncio.sleep(1)
    await one.stop()
    assert [priority for _, priority in sounder.at] == ["low", "high"]
    assert sounder.gaps() == [1.0]
    assert sounder.cut_short == 2


@pytest.mark.parametrize("silence", [("high", True), (None, False)])
async def test_silent_while_paused_or_when_nothing_shall_sound(silence: tuple[Priority | None, bool]) -> None:
    sounder = Sounded()
    one = Annunciator(sounder, lambda failure: None)
    one.show("high", audio_paused=False)
    await asyncio.sleep(1)
    one.show(*silence)
    await asyncio.sleep(60)
    assert len(sounder.at) == 1
    one.show("high", audio_paused=False)
    await asyncio.sleep(1)
    await one.stop()
    assert len(sounder.at) == 2


async def test_showing_the_same_again_does_not_start_the_burst_again() -> None:
    sounder = Sounded()
    one = Annunciator(sounder, lambda failure: None)
    for _ in range(20):
        one.show("medium", audio_paused=False)
        await asyncio.sleep(0.5)
    await one.stop()
    assert len(sounder.at) == 1


@pytest.mark.shows("H22", "S13")
async def test_failure_is_told_once_tried_on_and_its_end_is_told() -> None:
    sounder, told = Sounded(), []
    one = Annunciator(sounder, told.append)
    sounder.failure = "no sound card"
    one.show("high", audio_paused=False)
    await asyncio.sleep(3 * REPEAT_S["high"])
    assert told == ["no sound card"]
    sounder.failure = None
    await asyncio.sleep(REPEAT_S["high"])
    await one.stop()
    assert told == ["no sound card", None]
    assert len(sounder.at) >= 4


@pytest.mark.shows("H22", "H51")
async def test_test_says_whether_a_sound_came() -> None:
    sounder, told = Sounded(), []
    one = Annunciator(sounder, told.append)
    assert await one.test() is True
    sounder.failure = "no sound card"
    assert await one.test() is False
    assert told == ["no sound card"]


@pytest.mark.real_time
async def test_command_is_told_the_priority(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    await Command(["/bin/sh", "-c", f"echo {{priority}} > {heard}"]).sound("medium")
    assert heard.read_text() == "medium\n"


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/program"], "/no/such/program: No such file"),
        (["/bin/sh", "-c", "echo broken horn >&2; exit 3"], "exit code 3: broken horn"),
        (["/bin/sh", "-c", "exit 1"], "exit code 1: no words"),
        (["/bin/sleep", "60"], "not done after 0.2 s"),
    ],
)
async def test_command_that_gives_no_sound_says_why(argv: list[str], words: str) -> None:
    with pytest.raises(SounderFailed, match=words):
        await Command(argv, time_limit_s=0.2).sound("high")


@pytest.mark.real_time
async def test_silence_ends_a_program_that_plays(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    one = Annunciator(Command(["/bin/sh", "-c", f"echo $$ > {note}; exec sleep 60"]), lambda failure: None)
    one.show("high", audio_paused=False)
    async with asyncio.timeout(8):
        while not (note.exists() and note.read_text().strip()):  # another process has no event
            await asyncio.sleep(0.01)
    await one.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.real_time
async def test_bell_rings_a_terminal_and_fails_without_one(tmp_path: Path) -> None:
    near, far = pty.openpty()
    try:
        await Bell(far).sound("high")
        assert os.read(near, 10) == b"\a\a\a"
    finally:
        os.close(near)
        os.close(far)
    with (tmp_path / "file").open("w") as file, pytest.raises(SounderFailed, match="needs a terminal"):
        await Bell(file.fileno()).sound("high")


@pytest.mark.real_time
async def test_tones_hand_the_melody_of_the_priority_to_the_player(tmp_path: Path) -> None:
    player = tmp_path / "player"
    player.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/played.wav\n')
    player.chmod(0o755)
    tones = Tones([str(player)])
    await tones.sound("low")
    tones.close()
    assert (tmp_path / "played.wav").read_bytes() == melody("low")


def test_player_is_found_on_the_path_and_a_device_needs_aplay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_player() is None
    (tmp_path / "paplay").write_text("")
    (tmp_path / "paplay").chmod(0o755)
    assert find_player() == (str(tmp_path / "paplay"),)
    assert find_player(device="hw:1,0") is None
    (tmp_path / "aplay").write_text("")
    (tmp_path / "aplay").chmod(0o755)
    assert find_player(device="hw:1,0") == (str(tmp_path / "aplay"), "-q", "-D", "hw:1,0")


@pytest.mark.parametrize("priority", PRIORITIES)
def test_melody_is_a_sound_file_whose_length_fits_its_notes(priority: Priority) -> None:
    with wave.open(io.BytesIO(melody(priority))) as file:
        seconds = file.getnframes() / file.getframerate()
        loudest = max(abs(int.from_bytes(pair, "little", signed=True)) for pair in _pairs(file.readframes(10**6)))
    notes, pulse_s = MELODIES[priority]
    assert seconds >= 1.5 * pulse_s * sum(note in NOTES_HZ for note in notes) - 0.01
    assert seconds < REPEAT_S[priority]
    assert 8_000 < loudest <= 32_767


def _pairs(data: bytes) -> list[bytes]:
    return [data[index : index + 2] for index in range(0, len(data), 2)]


@pytest.mark.shows("H22")
def test_high_medium_and_low_are_the_melodies_of_the_source() -> None:
    assert {priority: notes for priority, (notes, _) in MELODIES.items()} == {
        "high": "Cdg-CdCdg-Cd",
        "medium": "Cdg",
        "low": "ec",
    }
