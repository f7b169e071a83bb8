"""Checks of single dialogues: transcripts, STOP, rates, uncertain outcomes, unknown alarms, what changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

from pumpd.core.catalogue import CATALOGUE
from pumpd.driver import (
    Ask,
    BadSetting,
    Dialogue,
    Frame,
    Garbled,
    Line,
    Motion,
    Pump,
    PumpAlarm,
    PumpError,
    PumpReport,
    Refused,
    Repeat,
    Uncertain,
)
from pumpd.testing.bench import Bench
from pumpd.testing.rehearsal import play
from pumpd.testing.subject import Subject, Transcript
from pumpd.units import Ml, MlPerHour

NO_SUCH_SETTING = "no-such-setting"
SAMPLES = (Decimal("0.001"), Decimal("0.01"), Decimal("0.1"), Decimal("0.5"), Decimal("0.9"))  # of the largest rate
SLACK = Decimal("0.5")  # of a step: between two settable values


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


# --- stop -------------------------------------------------------------------------------------------------------------


def stop_is_one_ask(subject: Subject) -> None:
    """The first question of stop() stops the pump, whatever is known of it; or the subject says why not."""
    for remembers in (True, False):
        with Bench(subject) as bench:
            bench.running()
            assert bench.look().motion.moves, "the pump was started and does not move"
            if remembers:
                bench.run(lambda pump: pump.connect())
                bench.run(lambda pump: pump.read())
            else:
                bench.new_pump()
            first = _first_of_stop(bench.pump)
            with suppress(PumpError):
                bench.run(lambda pump, ask=first: _only(ask))  # type: ignore[misc]
            motion = bench.look().motion
            assert motion is Motion.STANDING or subject.stop_needs_more, (
                f"after {first.data!r}, the first question of stop(), the pump is {motion.value}; a question before "
                "the order costs time and may be lost. Where there is no other way, say so: Subject.stop_needs_more"
            )
            bench.new_pump()
            for time in ("first", "second"):
                report = bench.run(lambda pump: pump.stop())
                assert report.motion is Motion.STANDING, f"the {time} stop() gave {report.motion.value}"


def _first_of_stop(pump: Pump) -> Ask:
    dialogue = pump.stop()
    first = next(dialogue)
    dialogue.close()
    assert isinstance(first, Ask), f"stop() begins with {first}: it must not wait for anything"
    assert first.repeat is Repeat.SAFE, "stop() must be safe to repeat"
    return first


def _only(ask: Ask) -> Dialogue[None]:
    yield ask


def stop_believes_a_later_reading_only(subject: Subject) -> None:
    """stop() never says that a pump stands which did not hear it."""
    with Bench(subject) as bench:
        bench.running()
        order = _first_of_stop(bench.pump).data
        bench.tap.lose_question = lambda data: data == order
        _stop_is_true(bench, "the first question of stop() was lost each time")
    with Bench(subject) as bench:
        bench.running()
        bench.tap.lose_question = lambda data: True
        _stop_is_true(bench, "the pump heard nothing")
    with Bench(subject) as bench:
        bench.running()
        bench.tap.lose_answers = True
        _stop_is_true(bench, "nothing was heard of the pump", silent=True)


def _stop_is_true(bench: Bench, case: str, silent: bool = False) -> None:
    try:
        report = bench.run(lambda pump: pump.stop())
    except PumpError:
        return
    assert not silent, f"{case}, and stop() gave {report.motion.value}"
    seen = bench.look().motion
    assert report.motion is not Motion.STANDING or seen is Motion.STANDING, (
        f"{case}; stop() says standing, it is {seen.value}"
    )


# --- rates and limits -------------------------------------------------------------------------------------------------


def rates_are_never_rounded_up(subject: Subject) -> None:
    """What is settable is set exactly; anything else is refused, or not above what was asked and what is offered."""
    with Bench(subject) as bench:
        programme = bench.armed()
        rates = bench.pump.fitted(subject.container).rates
        for wanted in [rates.down(rates.most * share) for share in SAMPLES] + [rates.least, rates.most]:
            if wanted is None:
                continue
            assert rates.down(wanted) == wanted, f"{wanted} mL/h was rounded down, and is not settable itself"
            with suppress(Refused):
                report = bench.run(lambda pump, rate=wanted: pump.load(MlPerHour(rate), programme.limit))  # type: ignore[misc]
                assert report.motion is Motion.STANDING, f"load() gave {report.motion.value}"
                assert report.rate in (None, MlPerHour(wanted)), f"load() took {wanted} mL/h and read {report.rate}"
                assert report.limit in (None, programme.limit), f"load() took {programme.limit} and read {report.limit}"
        for wanted in _not_settable(rates.least, rates.most, rates.step_at):
            _never_above(bench, wanted, rates.most, lambda pump, r=wanted: pump.load(MlPerHour(r), programme.limit))  # type: ignore[misc]
    with Bench(subject) as bench:
        bench.running()
        if not bench.pump.capabilities.live_rate_change:
            return
        lower = rates.down(programme.rate.value / 2)
        assert lower is not None
        got = bench.run(lambda pump: pump.set_rate(MlPerHour(lower)))
        assert got == MlPerHour(lower), f"set_rate({lower} mL/h) reads {got}"
        for wanted in _not_settable(rates.least, rates.most, rates.step_at):
            _never_above(bench, wanted, rates.most, lambda pump, r=wanted: pump.set_rate(MlPerHour(r)))  # type: ignore[misc]


def _not_settable(least: Decimal, most: Decimal, step_at: Callable[[Decimal], Decimal]) -> Iterator[Decimal]:
    yield from (Decimal(0), least * SLACK, most + step_at(most), most * 10)
    for share in SAMPLES:
        step = step_at(most * share)
        value = (most * share // step) * step + step * SLACK
        if least < value < most and step_at(value) == step:
            yield value


def _never_above(bench: Bench, wanted: Decimal, most: Decimal, make: Callable[[Pump], Dialogue[Any]]) -> None:
    before = bench.run(lambda pump: pump.read()).rate
    gave: object = None
    with suppress(PumpError, ValueError):
        gave = bench.run(make)
    told = gave.rate if isinstance(gave, PumpReport) else gave
    words = f"{wanted} mL/h is not settable (at most {most}), and the pump was set to"
    for rate in (told, bench.run(lambda pump: pump.read()).rate):
        if isinstance(rate, MlPerHour) and rate != before:
            assert rate.value <= min(wanted, most), f"{words} {rate}"


# --- outcomes ---------------------------------------------------------------------------------------------------------


def a_start_is_asked_once(subject: Subject) -> None:
    """start() is one Ask with Repeat.NEVER; without an answer it is uncertain, and nothing more is said."""
    with Bench(subject) as bench:
        bench.loaded()
        bench.run(lambda pump: pump.start())
        never = [ask for ask in bench.asks if ask.repeat is Repeat.NEVER]
        assert len(bench.asks) == len(never) == 1, f"start() asked {bench.asks}; expected one Ask with Repeat.NEVER"
        assert bench.look().motion.moves, "start() was fine, and the pump stands"
    for lost in ("question", "answer"):
        with Bench(subject) as bench:
            bench.loaded()
            bench.tap.lose_question = lambda data, lost=lost: lost == "question"  # type: ignore[misc]
            bench.tap.lose_answers = True
            try:
                bench.run(lambda pump: pump.start())
            except Uncertain:
                pass
            except PumpError as error:
                raise AssertionError(f"the {lost} of start() was lost: raised {error!r}, not Uncertain") from None
            else:
                raise AssertionError(f"the {lost} of start() was lost, and it gave an outcome")
            assert len(bench.asks) == 1, f"the {lost} of start() was lost; then it asked {bench.asks[1:]}"


def what_is_not_heard_is_not_believed(subject: Subject) -> None:
    """With any one question or answer lost for good, an order fails, or has truly been done."""
    for order in ("arm", "load", "set_rate"):
        for lose_question in (True, False):
            number = 0
            while _one_lost(subject, order, number, lose_question):
                number += 1


def _one_lost(subject: Subject, order: str, number: int, lose_question: bool) -> bool:
    """False once the order asks no more than `number` questions."""
    with Bench(subject) as bench:
        bench.running() if order == "set_rate" else bench.armed()
        if order == "set_rate" and not bench.pump.capabilities.live_rate_change:
            return False
        programme = bench.programme()
        lower = bench.pump.fitted(subject.container).rates.down(programme.rate.value / 2)
        assert lower is not None
        rate = MlPerHour(lower)
        makes: dict[str, Callable[[Pump], Dialogue[Any]]] = {
            "arm": lambda pump: pump.arm(programme),
            "load": lambda pump: pump.load(rate, Ml(programme.limit.value)),
            "set_rate": lambda pump: pump.set_rate(rate),
        }

        def cut(data: bytes) -> bool:
            now = len(bench.asks) - 1 == number
            bench.tap.lose_answers = now and not lose_question
            return now and lose_question

        bench.tap.lose_question = cut
        try:
            gave = bench.run(makes[order])
        except PumpError:
            return True
        reached = len(bench.asks) > number
        seen = bench.look()
        what = f"{order}(): {'question' if lose_question else 'answer'} {number + 1} was lost, it gave {gave}"
        if order == "set_rate":
            assert seen.rate == gave, f"{what}, and the pump reads {seen.rate}"
        else:
            assert seen.motion is Motion.STANDING, f"{what}, and the pump is {seen.motion.value}"
        if order == "load":
            assert seen.rate in (None, rate), f"{what}, and the pump reads {seen.rate}"
        return reached


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
        if not bench.pump.capabilities.stop:
            orders["stop"] = lambda pump: pump.stop()
        for name, make in orders.items():
            try:
                bench.run(make)
            except Refused:
                assert not bench.asks, f"{name}() is refused only after {bench.asks}"
            else:
                raise AssertionError(f"{name}() is not refused")
        bench.run(lambda pump: pump.read())
