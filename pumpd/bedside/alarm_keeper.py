"""Keeps one bed's alarm board: journals every change, publishes it, and lets it sound."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

import structlog

from pumpd.bedside.display import Display
from pumpd.bedside.house import House
from pumpd.core import events as ev
from pumpd.core.alarms import Alarm, Board, Inactivation, Moment
from pumpd.core.catalogue import CATALOGUE, HIGH
from pumpd.messaging.encode import timestamp
from pumpd.records.recall import ALARM, ALARM_OVER, Values, alarm_text

log = structlog.get_logger(__name__)


class AlarmKeeper:
    """The board and who must hear of it."""

    def __init__(self, bed: str, source: str, house: House, display: Display) -> None:
        self.board = Board()
        self._bed, self._source, self._house, self._display = bed, source, house, display
        house.quiet.join(bed, self._pause_changed)

    def restore(self, board: Board, of_this_boot: Collection[str]) -> None:
        """The alarms that stood when the journal, or the bed before, ended; they sound again.

        The times of the alarm ids in `of_this_boot` are on today's clock; the others' mean nothing any more.
        """
        self.board = board
        for alarm in board.alarms:
            self._log(alarm, "restored")
        self._become(board.restored(self._house.clock.wire(), of_this_boot))
        self._house.office.alarms_changed()
        self.refresh()

    def agree(self, conditions: Iterable[str], values: Mapping[str, Values]) -> None:
        """Raise each condition that holds and is not on the board: the end came between a decision and its alarm."""
        present = {alarm.code for alarm in self.board.alarms if alarm.present}
        for code in sorted(set(conditions) - present):
            self.mark(ev.Raise(code, values.get(code, ())), None)

    def drop_all_but(self, conditions: Iterable[str]) -> None:
        """Of the past only the session's conditions still hold; whatever else does is noticed anew."""
        present = {alarm.code for alarm in self.board.alarms if alarm.present}
        for code in sorted(present.difference(conditions)):
            self.mark(ev.Clear(code), None)

    def mark(self, effect: ev.Raise | ev.Clear, session_id: str | None) -> None:
        """A condition of the session holds, or holds no longer."""
        now = self._now()
        if isinstance(effect, ev.Clear):
            self._become(self.board.clear(effect.code, self._source, now))
            return
        alarm_id = f"{self._bed}-{self._house.new_id()}"
        order = self._house.logbook.journal.head[0] + 1  # the row that tells of it: rises over restarts, for all beds
        values = effect.values
        self._become(self.board.raise_(effect.code, self._source, session_id, now, alarm_id, order, values))

    def note(self, code: str, holds: bool) -> None:
        """A condition outside of the session: the journal, the bus, the sounder."""
        if holds != any(alarm.code == code and alarm.present for alarm in self.board.alarms):
            self.mark(ev.Raise(code) if holds else ev.Clear(code), None)

    def happened(self, code: str, **values: object) -> None:
        """What happened is over; what it means stays: a latching alarm stands until a person resets it."""
        self.mark(ev.Raise(code, tuple((name, str(value)) for name, value in values.items())), None)
        if CATALOGUE[code].latching:
            self.mark(ev.Clear(code), None)

    # --- persons ----------------------------------------------------------------------------------------------------

    def acknowledge(self, alarm_id: str, by: str) -> str:
        """Somebody saw it. Gives back why not, or nothing."""
        return self._ask(self.board.ack(alarm_id, by, self._now().stamp))

    def reset(self, alarm_id: str) -> str:
        """Take a latched alarm off the board. Gives back why not, or nothing."""
        return self._ask(self.board.reset(alarm_id))

    def inactivate(self, alarm_id: str, to: Inactivation, by: str, seconds: float | None) -> str:
        """Take sound, or sound and sight, from one alarm, or give it back. Gives back why not, or nothing."""
        return self._ask(self.board.inactivate(alarm_id, to, by, self._house.clock.wire(), seconds))

    def enable_all(self) -> None:
        """End what was inactivated at this bed."""
        self._become(self.board.enable_all(self._house.clock.wire()))

    # --- time and displays ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Once a second: what ends, settles or escalates by itself."""
        self._house.quiet.look()
        self._become(self.board.tick(self._now(), self._house.escalate_after))
        self._sound()

    def say_all(self) -> None:
        """Every alarm that stands."""
        for alarm in self.board.alarms:
            self._display.alarm(alarm, self._house.quiet.pause)

    def _pause_changed(self) -> None:
        self.say_all()
        self._house.office.alarms_changed()
        self._sound()

    def _sound(self) -> None:
        paused = self._house.quiet.pause is not None
        self._house.office.sound(self._bed, None if paused else self.board.sounding, paused=paused)

    def _ask(self, answer: Board | str) -> str:
        if isinstance(answer, str):
            return answer
        self._become(answer)
        return ""

    def _now(self) -> Moment:
        return Moment(self._house.clock.wire(), timestamp(self._house.clock.wall()))

    def _become(self, board: Board) -> None:
        if board is self.board:
            return
        if board.calls != self.board.calls:
            self._house.quiet.end("a new alarm")
        old, self.board = self.board, board
        before = {alarm.alarm_id: alarm for alarm in old.alarms}
        for alarm in board.alarms:
            was = before.pop(alarm.alarm_id, None)
            if was is None or was.face != alarm.face:
                self._log(alarm, _news(alarm, was))
                self._journal(ALARM, alarm_text(alarm), alarm)
                self._display.alarm(alarm, self._house.quiet.pause)
        for alarm in before.values():
            self._log(alarm, "over")
            self._journal(ALARM_OVER, json.dumps({"alarm_id": alarm.alarm_id, "count": alarm.count}), alarm)
            self._display.alarm_over(alarm, self._house.quiet.pause)
        if board.revision != old.revision:
            self._house.office.alarms_changed()
        self._sound()

    def _log(self, alarm: Alarm, news: str) -> None:
        """For the technician at 3 a.m.; figures stay in the journal."""
        if news:
            say = log.warning if alarm.priority == HIGH and news in LOUD else log.info
            say("alarm", bed=self._bed, code=alarm.code, priority=alarm.priority, news=news, alarm_id=alarm.alarm_id)

    def _journal(self, kind: str, text: str, alarm: Alarm) -> None:
        session_id = alarm.session_id or ""
        self._house.logbook.write(kind, text, bed=self._bed, source=self._source, session_id=session_id)


LOUD = ("raised", "escalated", "restored")


def _news(alarm: Alarm, was: Alarm | None) -> str:
    if was is None or alarm.order != was.order:
        return "raised"
    if was.shown_present and not alarm.shown_present:
        return "condition gone"
    if alarm.acked_by != was.acked_by:
        return "acknowledged"
    if alarm.escalated_to != was.escalated_to:
        return "escalated"
    if alarm.inactivation is not was.inactivation:
        return f"inactivation: {alarm.inactivation.value}"
    return ""
