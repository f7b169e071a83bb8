"""Checks of orders: STOP, rates, a start, and what is believed when a word is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

from pumpd.driver import (
    Ask,
    Dialogue,
    Motion,
    Pump,
    PumpError,
    PumpReport,
    Refused,
    Repeat,
    Uncertain,
)
from pumpd.testing.bench import Bench
from pumpd.testing.subject import Subject
from pumpd.units import Ml, MlPerHour

SAMPLES = (Decimal("0.001"), Decimal("0.01"), Decimal("0.1"), Decimal("0.5"), Decimal("0.9"))  # of the largest rate
SLACK = Decimal("0.5")  # of a step: between two settable values


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
            explained = subject.stop_needs_more and not remembers
            assert motion is Motion.STANDING or explained, (
                f"after {first.data!r}, the first question of stop(), the pump is {motion.value}; a question before "
                "the order costs time and may be lost. Where a driver that has just begun has no other way, say so: "
                "Subject.stop_needs_more"
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
