"""The board on which alarms stand until they are over; what they mean is in `catalogue`. Pure.

Rules as secondary sources tell IEC 60601-1-8 (docs/clinical.md): an alarm is raised when its condition holds; a
non-latching one goes when it does, a latching one stands until a person resets it, which is refused while the
condition holds. Acknowledging silences that one and says who saw it; inactivating is another thing, with five states.
A loose contact does not ring at each touch: see `Entry.settles`. docs/alarms.md tells all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from pumpd.core.catalogue import CATALOGUE, HIGH, LOW, MEDIUM, RANK, Entry

AUDIO_PAUSE_MAX_S = 120.0  # docs/mqtt.md: a pause has an end, at most two minutes
INACTIVE_MAX_S = 600.0  # docs/clinical.md, alarms: Open PCA's longest pause of one alarm
SETTLE_S = 5.0  # so long a condition that settles must stay away, times its number of comings ...
SETTLE_MOST_S = 60.0  # ... and no longer than this
STEPS_UP = {LOW: MEDIUM, MEDIUM: HIGH}  # what an alarm that nobody attends to becomes


class Moment(NamedTuple):
    """When: wire seconds to reckon with, and the wall-clock label to show."""

    wire: float
    stamp: str


class Inactivation(Enum):
    """What a person took from one alarm. Acknowledged is none of these."""

    ENABLED = "enabled"
    AUDIO_PAUSED = "audio-paused"
    AUDIO_OFF = "audio-off"
    ALARM_PAUSED = "alarm-paused"
    ALARM_OFF = "alarm-off"

    @property
    def ends(self) -> bool:
        """It has an end by itself."""
        return self in (Inactivation.AUDIO_PAUSED, Inactivation.ALARM_PAUSED)

    @property
    def hides(self) -> bool:
        """Not only the sound is gone: displays show a symbol and nothing more."""
        return self in (Inactivation.ALARM_PAUSED, Inactivation.ALARM_OFF)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One instance on the board. Times are wire seconds unless they end in `ts`."""

    alarm_id: str
    code: str
    source: str
    session_id: str | None
    present: bool  # the condition holds
    first_ts: str
    last_ts: str
    count: int = 1  # how often the condition came while this instance stood
    acked_by: str | None = None
    acked_ts: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    order: int = 0  # rises with every occurrence at the station, over restarts
    escalated_to: str | None = None
    unattended_since: float = 0.0
    leaving_since: float | None = None  # the condition is gone, but not for long enough to be believed
    inactivation: Inactivation = Inactivation.ENABLED
    inactivated_by: str | None = None
    until: float | None = None

    @property
    def entry(self) -> Entry:
        """Its row of the catalogue."""
        return CATALOGUE[self.code]

    @property
    def priority(self) -> str:
        """As it is now: unattended for too long it may stand above the catalogue's."""
        return self.escalated_to or self.entry.priority

    @property
    def shown_present(self) -> bool:
        """The condition holds, or has been gone too shortly to be believed."""
        return self.present or self.leaving_since is not None

    @property
    def latched(self) -> bool:
        """It stands although its condition is gone."""
        return self.entry.latching and not self.shown_present

    @property
    def face(self) -> Alarm:
        """What is told of it. A condition that flaps changes nothing here: its count goes out with the next news."""
        return replace(self, present=self.shown_present, leaving_since=None, count=0)

    @property
    def sounds(self) -> bool:
        """It is to be heard, unless the sound of all is paused."""
        return self.acked_by is None and self.inactivation is Inactivation.ENABLED

    @property
    def settled_at(self) -> float:
        """When a condition that is leaving is believed to be gone: the more often it came back, the later."""
        assert self.leaving_since is not None
        return self.leaving_since + min(SETTLE_S * self.count, SETTLE_MOST_S)


@dataclass(frozen=True, slots=True)
class AudioPause:
    """The one pause of the sound, for all beds and displays of the station. `remote`: asked for over the bus."""

    until: float
    by: str
    remote: bool = False

    @classmethod
    def of(cls, seconds: float, by: str, now: float, *, remote: bool = False) -> AudioPause:
        """From `now` on, at most two minutes."""
        return cls(now + min(seconds, AUDIO_PAUSE_MAX_S), by, remote)

    def over(self, now: float) -> bool:
        """Its time has run out."""
        return now >= self.until


@dataclass(frozen=True, slots=True)
class Board:
    """All alarms of one bed that are not over, highest priority first, then in the order of occurrence."""

    alarms: tuple[Alarm, ...] = ()
    revision: int = 0  # rises with every visible change
    calls: int = 0  # rises with every new reason to sound: any of them ends the audio pause of the station

    @classmethod
    def of(cls, alarms: Iterable[Alarm]) -> Board:
        """A board with these alarms on it."""
        return cls(_arranged(alarms))

    def find(self, alarm_id: str) -> Alarm | None:
        """The alarm of that id, if it stands."""
        return next((alarm for alarm in self.alarms if alarm.alarm_id == alarm_id), None)

    @property
    def highest(self) -> str | None:
        """The highest priority that stands and is not hidden by a person."""
        return _highest(alarm for alarm in self.alarms if not alarm.inactivation.hides)

    @property
    def sounding(self) -> str | None:
        """The priority to sound: the highest that nobody has acknowledged or inactivated."""
        return _highest(alarm for alarm in self.alarms if alarm.sounds)

    # --- what happens; each gives the next board ---

    def raise_(
        self,
        code: str,
        source: str,
        session_id: str | None,
        at: Moment,
        alarm_id: str,
        order: int,
        values: tuple[tuple[str, str], ...] = (),
    ) -> Board:
        """The condition holds; a new alarm gets `alarm_id`. Raises KeyError for a code not in the catalogue."""
        CATALOGUE[code]
        old = self._of(code, source)
        if old is None:
            new = Alarm(
                alarm_id,
                code,
                source,
                session_id,
                present=True,
                first_ts=at.stamp,
                last_ts=at.stamp,
                values=values,
                order=order,
                unattended_since=at.wire,
            )
            return Board(_arranged((*self.alarms, new)), self.revision + 1, self.calls + 1)
        if old.present:
            return self._with(old, replace(old, last_ts=at.stamp, values=values))
        if old.leaving_since is not None and at.wire < old.settled_at:  # it never really went: no second sound
            return self._with(old, replace(old, present=True, leaving_since=None, count=old.count + 1))
        again = replace(  # it sounds again, whoever saw or inactivated it before
            old,
            session_id=session_id or old.session_id,
            present=True,
            last_ts=at.stamp,
            count=old.count + 1,
            acked_by=None,
            acked_ts=None,
            values=values,
            order=order,
            escalated_to=None,
            unattended_since=at.wire,
            leaving_since=None,
            inactivation=Inactivation.ENABLED,
            inactivated_by=None,
            until=None,
        )
        return self._with(old, again, calls=1)

    def clear(self, code: str, source: str, at: Moment) -> Board:
        """The condition is gone: a latching alarm stays, one that settles waits, another one is over."""
        old = self._of(code, source)
        if old is None or not old.present:
            return self
        if old.entry.settles:
            return self._with(old, replace(old, present=False, leaving_since=at.wire))
        return self._with(old, replace(old, present=False, last_ts=at.stamp) if old.entry.latching else None)

    def tick(self, at: Moment, escalate_after: Mapping[str, float]) -> Board:
        """Time passes: conditions settle, pauses of single alarms end, what nobody attends to escalates.

        `escalate_after` gives for a priority the unattended seconds after which it becomes the next higher one.
        """
        board = self
        for alarm in self.alarms:
            board = board._grown_older(alarm, at, escalate_after)
        return board

    def _grown_older(self, alarm: Alarm, at: Moment, escalate_after: Mapping[str, float]) -> Board:
        if alarm.leaving_since is not None and at.wire >= alarm.settled_at:
            latched = replace(alarm, leaving_since=None, last_ts=at.stamp)
            return self._with(alarm, latched if alarm.entry.latching else None)
        if alarm.until is not None and at.wire >= alarm.until:
            return self._with(alarm, _enabled(alarm, at.wire))
        patience = escalate_after.get(alarm.priority)
        if patience is None or not (alarm.present and alarm.sounds) or at.wire - alarm.unattended_since < patience:
            return self
        higher = replace(alarm, escalated_to=STEPS_UP[alarm.priority], unattended_since=at.wire, last_ts=at.stamp)
        return self._with(alarm, higher, calls=1)

    # --- what persons do; each gives the next board, or why not, in words ---

    def ack(self, alarm_id: str, by: str, stamp: str) -> Board | str:
        """Somebody saw it."""
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
        if not old.entry.latching:
            return f"{alarm_id} ends by itself: {old.entry.text}"
        return self._with(old, None)

    def inactivate(self, alarm_id: str, to: Inactivation, by: str, now: float, seconds: float | None) -> Board | str:
        """Take sound, or sound and sight, from one alarm: for `seconds` where the state ends by itself."""
        old = self.find(alarm_id)
        if old is None:
            return f"no alarm {alarm_id} stands"
        if to is Inactivation.ENABLED:
            return self._with(old, _enabled(old, now))
        if old.priority == HIGH:
            return f"{alarm_id} has high priority: such an alarm is never inactivated"
        if to.ends is not (seconds is not None):
            return f"{to.value} {'needs an end, in seconds' if to.ends else 'has no end: leave the seconds out'}"
        until = None if seconds is None else now + min(seconds, INACTIVE_MAX_S)
        return self._with(old, replace(old, inactivation=to, inactivated_by=by, until=until))

    def enable_all(self, now: float) -> Board:
        """End what was inactivated."""
        board = self
        for alarm in self.alarms:
            board = board._with(alarm, _enabled(alarm, now))
        return board

    # --- after a restart ---

    def restored(self, now: float, of_this_boot: Collection[str]) -> Board:
        """What the journal kept, made true now. Alarm ids `of_this_boot` have times on the clock of `now`.

        Of the others nobody knows how long the machine was off: their pauses are over, and they are unattended anew.
        """
        board = self
        for alarm in self.alarms:
            if alarm.alarm_id not in of_this_boot:
                leaving = None if alarm.leaving_since is None else now
                moved = replace(alarm, unattended_since=now, leaving_since=leaving)
                board = board._with(alarm, _enabled(moved, now) if alarm.inactivation.ends else moved)
        return board

    # --- inside ---

    def _of(self, code: str, source: str) -> Alarm | None:
        return next((alarm for alarm in self.alarms if (alarm.code, alarm.source) == (code, source)), None)

    def _with(self, old: Alarm, new: Alarm | None, calls: int = 0) -> Board:
        if new == old:
            return self
        changed = (new if alarm is old else alarm for alarm in self.alarms)
        alarms = tuple(alarm for alarm in changed if alarm is not None)
        if new is not None and new.face == old.face:
            return replace(self, alarms=alarms)
        return Board(_arranged(alarms), self.revision + 1, self.calls + calls)


def _arranged(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    return tuple(sorted(alarms, key=lambda alarm: (-RANK[alarm.priority], alarm.order)))


def _enabled(alarm: Alarm, now: float) -> Alarm:
    if alarm.inactivation is Inactivation.ENABLED:
        return alarm
    enabled = Inactivation.ENABLED
    return replace(alarm, inactivation=enabled, inactivated_by=None, until=None, unattended_since=now)


def _highest(alarms: Iterable[Alarm]) -> str | None:
    return max((alarm.priority for alarm in alarms), key=RANK.__getitem__, default=None)
