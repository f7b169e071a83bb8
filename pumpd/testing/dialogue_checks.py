"""Checks of what a driver says of itself and hears: transcripts, unknown alarms, what connecting changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import (
    BadSetting,
    Dialogue,
    Frame,
    Garbled,
    Line,
    Motion,
    Pump,
    PumpAlarm,
    PumpReport,
    Refused,
)
from pumpd.testing.bench import Bench
from pumpd.testing.rehearsal import play
from pumpd.testing.subject import Subject, Transcript

NO_SUCH_SETTING = "no-such-setting"


def the_driver_says_what_it_can(subject: Subject) -> None:
    """Name, line, settings and capabilities are as the daemon needs them."""
    driver = subject.driver
    assert driver.name, "the driver has no name"
    assert isinstance(driver.line, Line), "driver.line is not a Line"
    assert _complaint(subject) is not None, "open() takes a setting it does not know; a misspelt one would pass unseen"
    assert NO_SUCH_SETTING in str(_complaint(subject)), f"BadSetting does not name the setting: {_complaint(subject)}"
    pump = driver.open(subject.settings)
    able, keep_alive = pump.capabilities, pump.keep_alive()
    assert able.kind in ("syringe", "volumetric"), f'kind is {able.kind!r}, not "syringe" or "volumetric"'
    assert able.stop or not able.control, "control without stop: what cannot be stopped must not be started"
    assert able.worst_reply_s < able.lost_after_s, "a slow answer (worst_reply_s) would count as a lost pump"
    unknown = sorted(set(able.alarms) - set(CATALOGUE))
    assert not unknown, f"alarms that pumpd does not know: {', '.join(unknown)}"
    if able.watchdog_s is not None:
        assert keep_alive is not None, "there is a watchdog and nothing feeds it"
        most_s = able.watchdog_s[0] / 2
        assert keep_alive.every_s <= most_s, f"the watchdog is fed every {keep_alive.every_s} s: one lost meal ends it"


def _complaint(subject: Subject) -> str | None:
    try:
        subject.driver.open({**subject.settings, NO_SUCH_SETTING: 1})
    except BadSetting as error:
        return str(error)
    return None


def transcripts_replay(subject: Subject) -> None:
    """Each dialogue says and hears what the document says, byte for byte."""
    assert subject.transcripts, "the subject holds no transcript: take one from the pump's document"
    for transcript in subject.transcripts:
        pump = subject.driver.open(subject.settings)
        gave = _replayed(pump, transcript, [])
        assert transcript.gives in (None, gave), (
            f"{transcript.name}: gave {gave}, the transcript means {transcript.gives}"
        )


def _replayed(pump: Pump, transcript: Transcript, told: list[PumpAlarm]) -> Any:
    for earlier in transcript.before:
        _replayed(pump, earlier, told)
    try:
        return play(pump, transcript.dialogue(pump), transcript.exchanges, told)
    except AssertionError as error:
        raise AssertionError(f"{transcript.name}: {error}") from None


def unknown_alarms_are_told(subject: Subject) -> None:
    """An alarm that no document lists is told or refused, never read as none."""
    assert subject.unknown_alarms, "the subject does not say how an alarm looks that no document lists"
    for way in subject.unknown_alarms:
        pump = subject.driver.open(subject.settings)
        told: list[PumpAlarm] = []
        if isinstance(way, bytes):
            pump.framer.feed(way)
            for frame in pump.framer.frames():
                assert isinstance(frame, Frame), f"the subject's alarm {way!r} is damaged: {frame}"
                told += pump.on_frame(frame, asking=False).notices
            assert told, f"{way!r} came by itself, and no alarm was told"
        else:
            try:
                gave = _replayed(pump, way, told)
            except (Garbled, Refused):
                continue  # not believed: the reading fails, which is told
            assert told or _open(gave), f"{way.name}: read as {gave}, and no alarm was told"
        for alarm in told:
            assert alarm.code in pump.capabilities.alarms, f"{alarm} is told; the capabilities do not list its code"


def _open(gave: object) -> bool:
    return isinstance(gave, PumpReport) and gave.motion is Motion.UNKNOWN


# --- nothing is changed -----------------------------------------------------------------------------------------------


def connect_changes_nothing(subject: Subject) -> None:
    """Whoever is found at work is asked, and goes on; the fingerprint is what no order changes."""
    with Bench(subject) as bench:
        before = bench.run(lambda pump: pump.connect())
        if bench.pump.capabilities.control:
            bench.armed()
            again = bench.run(lambda pump: pump.connect())
            assert again.serial == before.serial, (
                f"after arming the serial number is {again.serial}, not {before.serial}"
            )
    with Bench(subject) as bench:
        bench.running()
        at_work = bench.look()
        assert at_work.motion.moves, "the pump was started and does not move"
        for hands_off in (True, False):
            bench.new_pump()
            found = bench.run(lambda pump, off=hands_off: pump.connect(hands_off=off))  # type: ignore[misc]
            after = bench.look()
            words = f"connect(hands_off={hands_off}) found the pump {at_work.motion.value} at {at_work.rate}"
            assert (after.motion, after.rate) == (at_work.motion, at_work.rate), f"{words} and left it {after}"
            assert found.fingerprint == bench.run(lambda pump: pump.connect(hands_off=True)).fingerprint, (
                "two connects told two fingerprints"
            )


def what_cannot_be_controlled_says_why(subject: Subject) -> None:
    """A pump that is only watched refuses every order without a word on the line, and tells why."""
    with Bench(subject) as bench:
        identity = bench.run(lambda pump: pump.connect())
        assert identity.monitor_only, "control=False, and Identity.monitor_only does not say why"
        programme = bench.programme()
        orders: dict[str, Callable[[Pump], Dialogue[Any]]] = {
            "arm": lambda pump: pump.arm(programme),
            "load": lambda pump: pump.load(programme.rate, programme.limit),
            "start": lambda pump: pump.start(),
            "set_rate": lambda pump: pump.set_rate(programme.rate),
        }
        for name, make in orders.items():
            try:
                bench.run(make)
            except Refused:
                assert not bench.asks, f"{name}() is refused only after {bench.asks}"
            else:
                raise AssertionError(f"{name}() is not refused")
        if not bench.pump.capabilities.stop:
            with suppress(Refused):  # it may look whether somebody has stopped it: then it is done
                report = bench.run(lambda pump: pump.stop())
                assert not report.motion.moves, f"stop() is done, and the pump is {report.motion.value}"
        bench.run(lambda pump: pump.read())
