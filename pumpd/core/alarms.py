"""The board on which alarms stand until they are over; what they mean is in `catalogue`. Pure.

Rules as secondary sources tell IEC 60601-1-8 (docs/clinical.md): an alarm is raised when its condition holds; a
non-latching one goes when it does, a latching one stands until a person resets it, which is refused while the
condition holds. Acknowledging silences that one alarm and says who saw it. The audio pause is shared and short, and any
new alarm ends it for all. Times are wire seconds; `stamp` is the wall-clock label of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pumpd.core.catalogue import CATALOGUE, RANK, Entry

AUDIO_PAUSE_MAX_S = 120.0  # docs/mqtt.md: a pause has an end, at most two minutes


@dataclass(frozen=True, slots=True)
class Alarm:
    """One instance on the board."""

    alarm_id: str
    code: str
    source: str
    session_id: str | None
    present: bool
    first_ts: str
    last_ts: str
    count: int = 1
    acked_by: str | None = None
    acked_ts: str | None = None
    values: tuple[tuple[str, str], ...] = ()

    @property
    def entry(self) -> Entry:
        """Its row of the catalogue."""
        return CATALOGUE[self.code]

    @property
    def latched(self) -> bool:
        """It stands although its condition is gone."""
        return self.entry.latching and not self.present


@dataclass(frozen=True, slots=True)
class Board:
    """All alarms of one bed that are not over. `revision` rises with every visible change."""

    alarms: tuple[Alarm, ...] = ()
    revision: int = 0
    audio_paused_until: float | None = None
    audio_paused_by: str | None = None

    def find(self, alarm_id: str) -> Alarm | None:
        """The alarm of that id, if it stands."""
        return next((alarm for alarm in self.alarms if alarm.alarm_id == alarm_id), None)

    @property
    def highest(self) -> str | None:
        """The highest priority that stands."""
        return max((alarm.entry.priority for alarm in self.alarms), key=RANK.__getitem__, default=None)

    def sounding(self, now: float) -> str | None:
        """The priority to sound: the highest of those present or latched that nobody has acknowledged."""
        if self.audio_paused_until is not None and now < self.audio_paused_until:
            return None
        open_ones = (alarm.entry.priority for alarm in self.alarms if alarm.acked_by is None)
        return max(open_ones, key=RANK.__getitem__, default=None)

    # --- what happens to it; each gives the next board ---

    def raise_(
        self,
        code: str,
        source: str,
        session_id: str | None,
        stamp: str,
        alarm_id: str,
        values: tuple[tuple[str, str], ...] = (),
    ) -> Board:
        """The condition holds; a new alarm gets `alarm_id`. Raises KeyError for a code not in the catalogue."""
        entry = CATALOGUE[code]
        old = self._of(code, source)
        if old is not None and old.present:
            return self._with(old, replace(old, last_ts=stamp, values=values))
        if old is not None:  # latched, and here again: it sounds again, whoever saw it before
            again = replace(
                old, present=True, last_ts=stamp, count=old.count + 1, acked_by=None, acked_ts=None, values=values
            )
            return replace(self._with(old, again), audio_paused_until=None, audio_paused_by=None)
        alarm = Alarm(alarm_id, code, source, session_id, True, stamp, stamp, values=values)
        rank = RANK[entry.priority]
        after = tuple(each for each in self.alarms if RANK[each.entry.priority] < rank)
        before = tuple(each for each in self.alarms if RANK[each.entry.priority] >= rank)
        return replace(
            self,
            alarms=(*before, alarm, *after),
            revision=self.revision + 1,
            audio_paused_until=None,
            audio_paused_by=None,
        )

    def clear(self, code: str, source: str, stamp: str) -> Board:
        """The condition is gone: a latching alarm stays, another one is over."""
        old = self._of(code, source)
        if old is None or not old.present:
            return self
        return self._with(old, replace(old, present=False, last_ts=stamp) if old.entry.latching else None)

    def ack(self, alarm_id: str, by: str, stamp: str) -> Board | str:
        """Somebody saw it. Gives back why not, in words, when it cannot be acknowledged."""
        old = self.find(alarm_id)
        if old is None:
            return f"no alarm {alarm_id} stands"
        if old.acked_by is not None:
            return self
        return self._with(old, replace(old, acked_by=by, acked_ts=stamp))

    def reset(self, alarm_id: str) -> Board | str:
        """Take a latched alarm off the board; refused while its condition holds."""
        old = self.find(alarm_id)
        if old is None:
            return f"no alarm {alarm_id} stands"
        if old.present:
            return f"the condition of {alarm_id} still holds: {old.entry.text}"
        return self._with(old, None)

    def pause_audio(self, until: float, by: str, now: float) -> Board:
        """Silence all until then, at most two minutes from `now`."""
        limit = min(until, now + AUDIO_PAUSE_MAX_S)
        return replace(self, audio_paused_until=limit, audio_paused_by=by, revision=self.revision + 1)

    def resume_audio(self) -> Board:
        """Sound again."""
        return replace(self, audio_paused_until=None, audio_paused_by=None, revision=self.revision + 1)

    def _of(self, code: str, source: str) -> Alarm | None:
        return next((alarm for alarm in self.alarms if (alarm.code, alarm.source) == (code, source)), None)

    def _with(self, old: Alarm, new: Alarm | None) -> Board:
        if new == old:
            return self
        changed = tuple(new if alarm is old else alarm for alarm in self.alarms)
        kept = tuple(alarm for alarm in changed if alarm is not None)
        return replace(self, alarms=kept, revision=self.revision + 1)
