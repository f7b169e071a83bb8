"""Does a driver keep the contract? One list of checks, for our drivers and everybody's.

In a test:

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_it_conforms(check):
        if reason := why_not(check, SUBJECT):
            pytest.skip(reason)
        check(SUBJECT)

Without pytest: `python -m pumpd.testing.conformance my_package.my_module:SUBJECT`. docs/write-a-driver.md explains it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeAlias

from pumpd import log
from pumpd.testing import dialogue_checks as dialogues
from pumpd.testing import frame_checks as frames
from pumpd.testing import order_checks as orders
from pumpd.testing import session_checks as sessions
from pumpd.testing.subject import Subject, Transcript

__all__ = ["CHECKS", "Check", "Subject", "Transcript", "name_of", "why_not"]

Check: TypeAlias = Callable[[Subject], None]


def _in_words(check: Check) -> Check:
    @wraps(check)
    def checked(subject: Subject) -> None:
        try:
            check(subject)
        except AssertionError:
            raise
        except Exception as error:  # a driver may fail in any way
            raise AssertionError(f"{type(error).__name__}: {error}") from error

    return checked


_ALL: tuple[Check, ...] = (
    dialogues.the_driver_says_what_it_can,
    dialogues.transcripts_replay,
    frames.frames_are_read_in_any_pieces,
    frames.half_a_frame_is_no_frame,
    frames.a_flipped_bit_is_no_other_frame,
    frames.whatever_comes_is_taken_calmly,
    dialogues.unknown_alarms_are_told,
    dialogues.connect_changes_nothing,
    orders.stop_is_one_ask,
    orders.stop_believes_a_later_reading_only,
    orders.rates_are_never_rounded_up,
    orders.a_start_is_asked_once,
    orders.what_is_not_heard_is_not_believed,
    dialogues.what_cannot_be_controlled_says_why,
    sessions.a_session_gives_the_dose,
    sessions.a_bad_line_never_gives_more,
    sessions.a_session_over_a_pty,
)
CHECKS = tuple(_in_words(check) for check in _ALL)
OF_CONTROL = {
    "rates_are_never_rounded_up",
    "a_start_is_asked_once",
    "what_is_not_heard_is_not_believed",
    "a_session_gives_the_dose",
    "a_bad_line_never_gives_more",
}
OF_STOP = {"stop_is_one_ask", "stop_believes_a_later_reading_only"}
OF_WATCHING = {"what_cannot_be_controlled_says_why"}


def name_of(check: Check) -> str:
    """The name of a check, as `Subject.leaves_out` uses it."""
    return check.__name__


def why_not(check: Check, subject: Subject) -> str:
    """Why this check cannot be asked of this driver; "" where it can. ValueError for a name that is no check's."""
    strange = sorted(set(subject.leaves_out) - {name_of(each) for each in CHECKS})
    if strange:
        raise ValueError(f"leaves_out names no check: {', '.join(strange)}")
    able = subject.driver.open(subject.settings).capabilities
    if name_of(check) in OF_CONTROL and not able.control:
        return "the pump can only be watched: pumpd never starts it"
    if name_of(check) in OF_STOP and not able.stop:
        return "the pump cannot be stopped over its line"
    if name_of(check) in OF_WATCHING and able.control:
        return "the pump can be controlled"
    return subject.leaves_out.get(name_of(check), "")


def main(arguments: Sequence[str]) -> int:
    """Print one line for each check; 1 when one failed."""
    if len(arguments) != 1 or ":" not in arguments[0]:
        print("usage: python -m pumpd.testing.conformance package.module:SUBJECT", file=sys.stderr)
        return 2
    log.set_up("error")
    module, _, attribute = arguments[0].partition(":")
    subject: Subject = getattr(importlib.import_module(module), attribute)
    width = max(len(name_of(check)) for check in CHECKS)
    failed = 0
    for check in CHECKS:
        verdict = why_not(check, subject)
        verdict = f"left out: {verdict}" if verdict else _verdict(check, subject)
        failed += verdict.startswith("FAILED")
        print(f"{name_of(check):{width}}  {verdict}", flush=True)
    print(f"{subject.driver.name}: {f'{failed} of {len(CHECKS)} checks failed' if failed else 'conforms'}")
    return 1 if failed else 0


def _verdict(check: Check, subject: Subject) -> str:
    try:
        check(subject)
    except AssertionError as error:
        return f"FAILED: {error}"
    return "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
