"""Keeps one bed's alarm board: journals every change, publishes it, and lets it sound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import structlog

from pumpd.bedside.display import Display
from pumpd.bedside.house import House
from pumpd.core import events as ev
from pumpd.core.alarms import Alarm, Board
from pumpd.core.catalogue import HIGH
from pumpd.messaging.encode import timestamp
from pumpd.records.recall import ALARM, ALARM_OVER, Values, alarm_text

log = structlog.get_logger(__name__)


class AlarmKeeper:
    """The board and who must hear of it."""

    def __init__(self, bed: str, source: str, house: House, display: Display) -> None:
        self.board = Board()
        self._bed, self._source, self._house, self._display = bed, source, house, display

    def restore(self, board: Board) -> None:
        """The alarms that stood when the journal ended; they sound again."""
        self.board = board
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
        stamp = self._stamp()
        if isinstance(effect, ev.Clear):
            self._become(self.board.clear(effect.code, self._source, stamp))
            return
        alarm_id = f"{self._bed}-{self._house.new_id()}"
        self._become(self.board.raise_(effect.code, self._source, session_id, stamp, alarm_id, effect.values))

    def note(self, code: str, holds: bool) -> None:
        """A condition outside of the session: the journal, the bus, the sounder."""
        if holds != any(alarm.code == code and alarm.present for alarm in self.board.alarms):
            self.mark(ev.Raise(code) if holds else ev.Clear(code), None)

    def acknowledge(self, alarm_id: str, by: str) -> str:
        """Somebody saw it. Gives back why not, or nothing."""
        return self._ask(self.board.ack(alarm_id, by, self._stamp()))

    def reset(self, alarm_id: str) -> str:
        """Take a latched alarm off the board. Gives back why not, or nothing."""
        return self._ask(self.board.reset(alarm_id))

    def pause_audio(self, seconds: float, by: str) -> None:
        """Silence this bed for a while."""
        now = self._house.clock.wire()
        self._become(self.board.pause_audio(now + seconds, by, now))

    def resume_audio(self) -> None:
        """Sound again."""
        self._become(self.board.resume_audio())

    def refresh(self) -> None:
        """Let the annunciator do what the board wants now: an audio pause may have run out."""
        now = self._house.clock.wire()
        until = self.board.audio_paused_until
        if until is not None and now >= until:
            self._become(self.board.resume_audio())
        self._house.office.sound(self._bed, self.board.sounding(now), paused=self.board.audio_paused_until is not None)

    def say_all(self) -> None:
        """Every alarm that stands."""
        for alarm in self.board.alarms:
            self._display.alarm(alarm, self.board)

    def _ask(self, answer: Board | str) -> str:
        if isinstance(answer, str):
            return answer
        self._become(answer)
        return ""

    def _stamp(self) -> str:
        return timestamp(self._house.clock.wall())

    def _become(self, board: Board) -> None:
        old, self.board = self.board, board
        if board is old:
            return
        before = {alarm.alarm_id: alarm for alarm in old.alarms}
        after = {alarm.alarm_id: alarm for alarm in board.alarms}
        for alarm_id, alarm in after.items():
            if (was := before.get(alarm_id)) != alarm:
                self._log(alarm, was)
                self._journal(ALARM, alarm_text(alarm), alarm)
                self._display.alarm(alarm, board)
        for alarm_id, alarm in before.items():
            if alarm_id not in after:
                log.info("alarm", bed=self._bed, code=alarm.code, news="over", alarm_id=alarm_id)
                self._journal(ALARM_OVER, json.dumps({"alarm_id": alarm_id}), alarm)
                self._display.alarm_over(alarm, board)
        if board.revision != old.revision:
            self._house.office.alarms_changed()
        self.refresh()

    def _log(self, alarm: Alarm, was: Alarm | None) -> None:
        """For the technician at 3 a.m.; figures stay in the journal."""
        if was is None or (alarm.present and not was.present):
            news = "raised"
        elif was.present and not alarm.present:
            news = "condition gone"
        elif alarm.acked_by != was.acked_by:
            news = "acknowledged"
        else:
            return
        say = log.warning if alarm.entry.priority == HIGH else log.info
        say("alarm", bed=self._bed, code=alarm.code, priority=alarm.entry.priority, news=news, alarm_id=alarm.alarm_id)

    def _journal(self, kind: str, text: str, alarm: Alarm) -> None:
        session_id = alarm.session_id or ""
        self._house.logbook.write(kind, text, bed=self._bed, source=self._source, session_id=session_id)
