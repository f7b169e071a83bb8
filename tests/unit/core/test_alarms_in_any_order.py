"""Two beds with one audio pause, as the keepers run them, under whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pumpd.core.alarms import AUDIO_PAUSE_MAX_S, INACTIVE_MAX_S, Alarm, AudioPause, Board, Inactivation, Moment
from pumpd.core.catalogue import HIGH, RANK

BEDS = ("one", "two")
CODES = (
    "no_flow",
    "rate_above_plan",
    "restarted_at_keypad",
    "unarmed",
    "comms_lost_pump",
    "bus_lost",
)
ESCALATION = {"low": 300.0, "medium": 120.0}

beds, codes, numbers = st.sampled_from(BEDS), st.sampled_from(CODES), st.integers(0, 9)


class Station(RuleBasedStateMachine):
    """What the keepers and the audio pause do with the pure parts, and what must hold whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.boards = dict.fromkeys(BEDS, Board())
        self.pause: AudioPause | None = None
        self.paused_at = 0.0
        self.now = 1000.0
        self.order = 0
        self.holds: set[tuple[str, str]] = set()
        self.reset: set[str] = set()

    @property
    def at(self) -> Moment:
        return Moment(self.now, f"t{self.now}")

    def become(self, bed: str, board: Board) -> None:
        before = {alarm.alarm_id: alarm for alarm in self.boards[bed].alarms}
        louder = [alarm for alarm in board.alarms if calls(alarm, before.get(alarm.alarm_id))]
        assert (board.calls != self.boards[bed].calls) == bool(louder), "every new reason to sound calls, nothing else"
        if board.calls != self.boards[bed].calls:
            self.pause = None
        self.boards[bed] = board

    def chosen(self, bed: str, number: int) -> Alarm | None:
        alarms = self.boards[bed].alarms
        return alarms[number % len(alarms)] if alarms else None

    # --- what happens ---

    @rule(bed=beds, code=codes)
    def condition_comes(self, bed: str, code: str) -> None:
        self.order += 1
        self.holds.add((bed, code))
        alarm_id = f"{bed}-{self.order}"
        self.become(bed, self.boards[bed].raise_(code, bed, "s", self.at, alarm_id, self.order))

    @rule(bed=beds, code=codes)
    def condition_goes(self, bed: str, code: str) -> None:
        self.holds.discard((bed, code))
        self.become(bed, self.boards[bed].clear(code, bed, self.at))

    @rule(bed=beds, number=numbers)
    def a_known_condition_changes(self, bed: str, number: int) -> None:
        """Two names drawn at random seldom meet, so here one that stands comes or goes."""
        if (alarm := self.chosen(bed, number)) is not None:
            (self.condition_goes if alarm.present else self.condition_comes)(bed, alarm.code)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 30.0, 119.0, 125.0, 301.0, 601.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.pause is not None and self.pause.over(self.now):
            self.pause = None
        for bed in BEDS:
            self.become(bed, self.boards[bed].tick(self.at, ESCALATION))

    @rule(bed=beds, number=numbers)
    def acknowledged(self, bed: str, number: int) -> None:
        if (alarm := self.chosen(bed, number)) is not None:
            board = self.boards[bed].ack(alarm.alarm_id, "nurse", self.at.stamp)
            assert isinstance(board, Board)
            self.become(bed, board)

    @rule(bed=beds, number=numbers)
    def reset_by_a_person(self, bed: str, number: int) -> None:
        if (alarm := self.chosen(bed, number)) is not None:
            board = self.boards[bed].reset(alarm.alarm_id)
            assert isinstance(board, str) is (alarm.present or not alarm.entry.latching)
            if isinstance(board, Board):
                self.become(bed, board)

    @rule(bed=beds, number=numbers, to=st.sampled_from(Inactivation), seconds=st.sampled_from([None, 60.0, 1e6]))
    def inactivated(self, bed: str, number: int, to: Inactivation, seconds: float | None) -> None:
        if (alarm := self.chosen(bed, number)) is not None:
            board = self.boards[bed].inactivate(alarm.alarm_id, to, "nurse", self.now, seconds)
            if isinstance(board, Board):
                self.become(bed, board)

    @rule(bed=beds)
    def stopped(self, bed: str) -> None:
        self.become(bed, self.boards[bed].enable_all(self.now))
        assert all(alarm.inactivation is Inactivation.ENABLED for alarm in self.boards[bed].alarms)

    @rule(seconds=st.sampled_from([1.0, 60.0, 120.0, 1e6]))
    def sound_paused(self, seconds: float) -> None:
        self.pause, self.paused_at = AudioPause.of(seconds, "nurse", self.now), self.now

    @rule(bed=beds, same_boot=st.booleans())
    def restarted(self, bed: str, same_boot: bool) -> None:
        ids = {alarm.alarm_id for alarm in self.boards[bed].alarms} if same_boot else set[str]()
        self.pause = None
        self.become(bed, self.boards[bed].restored(self.now, ids))

    # --- what must hold ---

    @invariant()
    def a_condition_that_holds_has_its_alarm(self) -> None:
        present = {(bed, alarm.code) for bed in BEDS for alarm in self.boards[bed].alarms if alarm.present}
        assert present == self.holds

    @invariant()
    def a_high_alarm_is_silent_only_when_seen_or_paused(self) -> None:
        for board in self.boards.values():
            unseen = [alarm for alarm in board.alarms if alarm.priority == HIGH and alarm.acked_by is None]
            assert not unseen or board.sounding == HIGH
            assert all(alarm.inactivation is Inactivation.ENABLED for alarm in board.alarms if alarm.priority == HIGH)

    @invariant()
    def every_pause_has_an_end(self) -> None:
        if self.pause is not None:
            assert self.pause.until <= self.paused_at + AUDIO_PAUSE_MAX_S
        for board in self.boards.values():
            for alarm in board.alarms:
                assert alarm.inactivation.ends is (alarm.until is not None)
                assert alarm.until is None or alarm.until <= self.now + INACTIVE_MAX_S

    @invariant()
    def one_condition_is_one_alarm_and_the_list_is_in_order(self) -> None:
        for board in self.boards.values():
            assert len({alarm.code for alarm in board.alarms}) == len(board.alarms)
            ranks = [(-RANK[alarm.priority], alarm.order) for alarm in board.alarms]
            assert ranks == sorted(ranks)

    @invariant()
    def what_does_not_latch_and_is_long_gone_is_not_listed(self) -> None:
        for board in self.boards.values():
            for alarm in board.alarms:
                assert alarm.present or alarm.entry.latching or alarm.leaving_since is not None
                assert alarm.latched is (alarm.entry.latching and not alarm.shown_present)


def calls(alarm: Alarm, was: Alarm | None) -> bool:
    """Is it new, here again after it had gone, or escalated?"""
    return was is None or alarm.order != was.order or RANK[alarm.priority] > RANK[was.priority]


@pytest.mark.shows("H14", "H24", "H31", "H43")
class TestStation(Station.TestCase):
    settings = settings(max_examples=150, stateful_step_count=60, deadline=None, derandomize=True)
