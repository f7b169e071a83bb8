"""The kit is tested too: for each check there is a driver that is wrong in one way, and the check says so in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from pumpd.driver import (
    Ask,
    Damaged,
    Dialogue,
    Frame,
    Identity,
    Motion,
    PumpReport,
    Repeat,
    Silent,
    Taken,
    Uncertain,
)
from pumpd.testing.conformance import CHECKS, Subject, main, name_of, why_not
from pumpd.units import Ml, MlPerHour

EXAMPLE = Path(__file__).parents[2] / "examples" / "acme_pump"
sys.path.insert(0, str(EXAMPLE))
from acme_pump import REPLY_TIMEOUT_S, AcmeDriver, AcmeFramer, AcmePump, ask, spell, tell  # noqa: E402
from test_acme_pump import SUBJECT  # noqa: E402

CHECK = {name_of(check): check for check in CHECKS}


def broken(pump: Callable[[], AcmePump]) -> Subject:
    class Broken(AcmeDriver):
        def open(self, settings: Mapping[str, object]) -> AcmePump:
            super().open(settings)
            return pump()

    return replace(SUBJECT, driver=Broken())


def framed(framer: Callable[[], AcmeFramer]) -> Subject:
    class Framed(AcmePump):
        def __init__(self) -> None:
            super().__init__()
            self.framer = framer()

    return broken(Framed)


# --- wrong in one way each --------------------------------------------------------------------------------------------


class TakesAnySetting(AcmeDriver):
    def open(self, settings: Mapping[str, object]) -> AcmePump:
        return AcmePump()


class Starved(AcmePump):
    """Its watchdog is never fed."""

    def keep_alive(self) -> None:
        return None


class AnswersLate(AcmeFramer):
    """Gives the last byte's frame with the next byte only."""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        if len(data) == 1 and data != b"\n":
            self._buffer = self._buffer[:-1]


class Hasty(AcmeFramer):
    """Takes what has come for a whole line once nothing more comes."""

    def silence(self, seconds: float) -> None:
        if self._buffer:
            self._found = Frame("reply", self._buffer)
        super().silence(seconds)

    def frames(self) -> Iterable[Frame | Damaged]:
        if found := self.__dict__.pop("_found", None):
            yield found
        yield from super().frames()


class Trusting(AcmeFramer):
    """Does not look at the sum."""

    def frames(self) -> Iterable[Frame | Damaged]:
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            yield Frame("alarm" if line.startswith(b"!") else "reply", line[:-3].lstrip(b"!"))


class Touchy(AcmePump):
    """Raises for letters that no manual lists."""

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        frame.data.decode("ascii")
        return super().on_frame(frame, asking)


class Deaf(AcmePump):
    """Leaves out an alarm that it does not know."""

    def on_frame(self, frame: Frame, asking: bool) -> Taken:
        taken = super().on_frame(frame, asking)
        known = tuple(alarm for alarm in taken.notices if alarm.code != "pump_alarm_unknown")
        return replace(taken, notices=known)


class StopsWhoeverItFinds(AcmePump):
    def connect(self, *, hands_off: bool = False) -> Dialogue[Identity]:
        yield from tell("STOP")
        return (yield from super().connect(hands_off=hands_off))


class AsksBeforeItStops(AcmePump):
    def stop(self) -> Dialogue[PumpReport]:
        yield from ask("ID")
        return (yield from super().stop())


class BelievesTheOrder(AcmePump):
    def stop(self) -> Dialogue[PumpReport]:
        with suppress(Silent):
            yield from ask("STOP")
        return PumpReport(Motion.STANDING)


class RoundsUp(AcmePump):
    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        return (yield from super().load(rate.up(Decimal("0.1")), limit))


class OutOfRange(AcmePump):
    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        yield from tell(f"RATE {rate.value}")
        return rate


class StartsAgain(AcmePump):
    def start(self) -> Dialogue[None]:
        for _ in range(2):
            try:
                yield Ask(spell("START"), REPLY_TIMEOUT_S, Repeat.NEVER)
            except Uncertain:
                continue
            return
        raise Uncertain("START")


class StartsSafely(AcmePump):
    """So it says: the engine may ask again."""

    def start(self) -> Dialogue[None]:
        yield from ask("START")


class BelievesSilence(AcmePump):
    def set_rate(self, rate: MlPerHour) -> Dialogue[MlPerHour]:
        try:
            return (yield from super().set_rate(rate))
        except Silent:
            return rate


class Unexplained(AcmePump):
    """Only watched, and does not say why."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, control=False)


class LoadsHalf(AcmePump):
    """The limit it sets is not the one that was ordered, and it says that it is."""

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        report = yield from super().load(rate, Ml((limit.value / 2).quantize(Decimal("0.1"))))
        return replace(report, limit=limit)


class TellsHalf(AcmePump):
    """Takes the pump's figures for half of what they are, and orders twice as much."""

    def load(self, rate: MlPerHour, limit: Ml) -> Dialogue[PumpReport]:
        yield from tell(f"LOAD {rate.value * 2} {limit.value * 2}")
        return (yield from self.read())

    def read(self) -> Dialogue[PumpReport]:
        return halved((yield from super().read()))


def halved(report: PumpReport) -> PumpReport:
    assert report.rate is not None
    assert report.counted is not None
    assert report.limit is not None
    half = Decimal("0.5")
    return replace(report, rate=report.rate * half, counted=report.counted * half, limit=report.limit * half)


class StartsNothing(AcmePump):
    def start(self) -> Dialogue[None]:
        yield Ask(spell("?"), REPLY_TIMEOUT_S, Repeat.NEVER)


class Mumbles(AcmePump):
    """Says something else than the manual, which this pump takes as well."""

    def stop(self) -> Dialogue[PumpReport]:
        yield from ask("STOP ")
        return (yield from self.read())


FAILS: dict[str, tuple[Subject, str]] = {
    "the_driver_says_what_it_can": (broken(Starved), "nothing feeds it"),
    "transcripts_replay": (broken(Mumbles), "stop: exchange 1: the transcript sends"),
    "frames_are_read_in_any_pieces": (framed(AnswersLate), "byte by byte"),
    "half_a_frame_is_no_frame": (framed(Hasty), "the first 1 bytes of"),
    "a_flipped_bit_is_no_other_frame": (framed(Trusting), "reads as Frame"),
    "whatever_comes_is_taken_calmly": (broken(Touchy), "codec can't decode"),
    "unknown_alarms_are_told": (broken(Deaf), "came by itself, and no alarm was told"),
    "connect_changes_nothing": (broken(StopsWhoeverItFinds), "the pump was started and does not move"),
    "stop_is_one_ask": (broken(AsksBeforeItStops), "the first question of stop(), the pump is infusing"),
    "stop_believes_a_later_reading_only": (broken(BelievesTheOrder), "stop() says standing, it is infusing"),
    "rates_are_never_rounded_up": (broken(RoundsUp), "is not settable"),
    "a_start_is_asked_once": (broken(StartsAgain), "then it asked"),
    "what_is_not_heard_is_not_believed": (broken(BelievesSilence), "set_rate(): question 1 was lost"),
    "what_cannot_be_controlled_says_why": (broken(Unexplained), "does not say why"),
    "a_session_gives_the_dose": (broken(LoadsHalf), "mL of 35.0 mL"),
    "a_bad_line_never_gives_more": (broken(TellsHalf), "seed 1: "),
    "a_session_over_a_pty": (broken(StartsNothing), "after the start"),
}
ALSO = [
    ("the_driver_says_what_it_can", replace(SUBJECT, driver=TakesAnySetting()), "a setting it does not know"),
    ("rates_are_never_rounded_up", broken(OutOfRange), "and the pump was set to"),
    ("a_start_is_asked_once", broken(StartsSafely), "expected one Ask with Repeat.NEVER"),
    ("transcripts_replay", replace(SUBJECT, transcripts=()), "holds no transcript"),
    ("unknown_alarms_are_told", replace(SUBJECT, unknown_alarms=()), "does not say how an alarm looks"),
    ("frames_are_read_in_any_pieces", replace(SUBJECT, transcripts=(), frames=()), "holds no good frame"),
]


SLOW = "too slow for this test"
QUICK = replace(
    FAILS["transcripts_replay"][0],
    leaves_out={name: SLOW for name in CHECK if name.startswith(("a_", "rates", "what_is"))},
)


def test_the_table_names_what_passed_what_failed_and_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{__name__}:QUICK"]) == 1
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in rows] == [*CHECK, "acme:"]
    told = dict(rows)
    assert told["transcripts_replay"].startswith("FAILED: stop: exchange 1")
    assert told["connect_changes_nothing"] == "passed"
    assert told["a_session_gives_the_dose"] == f"left out: {SLOW}"
    assert told["what_cannot_be_controlled_says_why"] == "left out: the pump can be controlled"
    assert told["acme:"] == "1 of 17 checks failed"


def test_the_table_wants_to_be_told_which_subject() -> None:
    assert main([]) == main(["acme"]) == 2


def test_a_check_that_there_is_not_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="leaves_out names no check: stop_is_quick"):
        why_not(CHECKS[0], replace(SUBJECT, leaves_out={"stop_is_quick": "it is"}))


def test_there_is_a_wrong_driver_for_each_check() -> None:
    assert set(FAILS) == set(CHECK)


@pytest.mark.parametrize(
    ("name", "subject", "words"),
    [*((name, subject, words) for name, (subject, words) in FAILS.items()), *ALSO],
    ids=[*FAILS, *(f"{name}-too" for name, *_ in ALSO)],
)
def test_a_driver_that_is_wrong_fails(name: str, subject: Subject, words: str) -> None:
    with pytest.raises(AssertionError, match=words.replace("(", r"\(").replace(")", r"\)")):
        CHECK[name](subject)
