"""Dialogues against a transcript: no port, no loop, no time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pumpd.driver import Ask, Damaged, Dialogue, Frame, Framer, Pump, PumpAlarm, Repeat, Silent, Uncertain

T = TypeVar("T")


def rehearse(dialogue: Dialogue[T], exchanges: Sequence[tuple[bytes, bytes | None]], framer: Framer) -> T:
    """Run a dialogue against a transcript of (sent, answered) and give its result.

    `None` as answer is silence: the dialogue then gets Silent, or Uncertain where the question may not be repeated.
    Pauses pass at once. Raises AssertionError, in words, when the dialogue says or leaves out anything else.
    """
    return _run(dialogue, exchanges, lambda ask, raw, number: _answer(ask, raw, framer, number))


def play(
    pump: Pump, dialogue: Dialogue[T], exchanges: Sequence[tuple[bytes, bytes | None]], told: list[PumpAlarm]
) -> T:
    """The same, and each frame is shown to `on_frame` first, as the engine does. Alarms are added to `told`."""
    return _run(dialogue, exchanges, lambda ask, raw, number: _answer_left(ask, raw, pump, number, told))


def _run(
    dialogue: Dialogue[T],
    exchanges: Sequence[tuple[bytes, bytes | None]],
    answer: Callable[[Ask, bytes, int], Frame],
) -> T:
    rest = iter(exchanges)
    done = 0
    move: Callable[[Any], Any] = dialogue.send
    value: Any = None
    while True:
        try:
            step = move(value)
        except StopIteration as end:
            left = [sent for sent, _ in rest]
            assert not left, f"the dialogue ended after {done} exchanges; the transcript goes on with {left[0]!r}"
            result: T = end.value
            return result
        move, value = dialogue.send, None
        if isinstance(step, Ask):
            expected = next(rest, None)
            assert expected is not None, f"the dialogue sends {step.data!r} after the transcript's end"
            sent, answered = expected
            done += 1
            assert step.data == sent, f"exchange {done}: the transcript sends {sent!r}, the dialogue {step.data!r}"
            if answered is None:
                never = step.repeat is Repeat.NEVER
                move, value = dialogue.throw, (Uncertain if never else Silent)("the transcript is silent")
            else:
                value = answer(step, answered, done)


def _answer(ask: Ask, raw: bytes, framer: Framer, number: int) -> Frame:
    framer.feed(raw)
    frames: Iterable[Frame | Damaged] = list(framer.frames())
    for frame in frames:
        if isinstance(frame, Frame) and (ask.accept is None or ask.accept(frame)):
            return frame
    raise AssertionError(f"exchange {number}: {raw!r} holds no answer to {ask.data!r}, only {frames!r}")


def _answer_left(ask: Ask, raw: bytes, pump: Pump, number: int, told: list[PumpAlarm]) -> Frame:
    """The first answer that `on_frame` leaves to the dialogue; alarms behind it are told as well."""
    pump.framer.feed(raw)
    found: Frame | None = None
    seen = []
    for frame in pump.framer.frames():
        seen.append(frame)
        if isinstance(frame, Damaged):
            continue
        taken = pump.on_frame(frame, asking=found is None)
        told += taken.notices
        if found is None and not taken.consumed and (ask.accept is None or ask.accept(frame)):
            found = frame
    assert found is not None, f"exchange {number}: {raw!r} holds no answer to {ask.data!r}, only {seen!r}"
    return found
