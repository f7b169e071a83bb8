"""A rehearsal fails for every way in which a dialogue can leave its transcript (pumpd.testing.rehearse)."""

from __future__ import annotations

import pytest

from pumpd.driver import Identity, Silent, Uncertain
from pumpd.testing import rehearse
from pumpd.units import Ml, MlPerHour
from tests.unit.toy_pump import ToyFramer, ToyPump

PUMP = ToyPump()


def test_a_dialogue_that_keeps_to_its_transcript_gives_its_result() -> None:
    assert rehearse(PUMP.connect(), [(b"who\n", b"=SN1\n")], ToyFramer()) == Identity("toy", "1", "SN1")


def test_a_pause_passes_at_once() -> None:
    transcript = [(b"load 2\n", b"=ok\n"), (b"read\n", b"=standing\n")]
    assert rehearse(PUMP.load(MlPerHour(2), Ml(1)), transcript, ToyFramer()).rate == MlPerHour(1)


def test_other_bytes_than_in_the_transcript_fail() -> None:
    with pytest.raises(AssertionError, match=r"exchange 1: the transcript sends b'what\\n', the dialogue b'who\\n'"):
        rehearse(PUMP.connect(), [(b"what\n", b"=SN1\n")], ToyFramer())


def test_more_than_the_transcript_fails() -> None:
    with pytest.raises(AssertionError, match="after the transcript's end"):
        rehearse(PUMP.stop(), [(b"stop\n", b"=ok\n")], ToyFramer())


def test_less_than_the_transcript_fails() -> None:
    with pytest.raises(AssertionError, match=r"ended after 1 exchanges; the transcript goes on with b'x'"):
        rehearse(PUMP.connect(), [(b"who\n", b"=SN1\n"), (b"x", b"")], ToyFramer())


def test_a_damaged_answer_fails() -> None:
    with pytest.raises(AssertionError, match="holds no answer"):
        rehearse(PUMP.connect(), [(b"who\n", b"=SN1~\n")], ToyFramer())


def test_silence_is_silent_or_uncertain_as_the_question_says() -> None:
    with pytest.raises(Silent):
        rehearse(PUMP.connect(), [(b"who\n", None)], ToyFramer())
    with pytest.raises(Uncertain):
        rehearse(PUMP.start(), [(b"start\n", None)], ToyFramer())
