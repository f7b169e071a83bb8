"""The alarm catalogue, and the board on which alarms stand until they are over. Pure.

Rules as secondary sources tell IEC 60601-1-8 (docs/clinical.md): an alarm is raised when its condition holds; a
non-latching one goes when it does, a latching one stands until a person resets it, which is refused while the
condition holds. Acknowledging silences that one alarm and says who saw it. The audio pause is shared and short, and any
new alarm ends it for all. Times are wire seconds; `stamp` is the wall-clock label of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

HIGH, MEDIUM, LOW = "high", "medium", "low"
RANK = {HIGH: 3, MEDIUM: 2, LOW: 1}
PATIENT, TECHNICAL = "patient", "technical"
AUDIO_PAUSE_MAX_S = 120.0  # docs/mqtt.md: a pause has an end, at most two minutes


class Entry(NamedTuple):
    """One condition: how urgent it is, whether it latches, and what to do."""

    priority: str
    kind: str
    latching: bool
    text: str
    action: str


LOOK = "Look at the pump and the patient."
CATALOGUE: dict[str, Entry] = {
    # the rate and the volume
    "rate_above_plan": Entry(HIGH, PATIENT, True, "Rate above plan; it was set down", LOOK),
    "rate_not_set": Entry(HIGH, PATIENT, True, "The rate could not be set down; the pump is being stopped", LOOK),
    "rate_below_plan": Entry(MEDIUM, PATIENT, False, "Rate below plan", "Restore the rate, or accept it."),
    "stopped_at_pump": Entry(HIGH, PATIENT, False, "Infusion stopped at the pump", "Find out why; resume or end."),
    "restarted_at_keypad": Entry(MEDIUM, PATIENT, True, "Infusion was started at the pump's keypad", LOOK),
    "infusing_against_plan": Entry(HIGH, PATIENT, True, "The pump moves against the plan; it is being stopped", LOOK),
    "unplanned_function": Entry(
        HIGH, PATIENT, True, "Bolus, purge, KVO or withdrawal; the pump is being stopped", LOOK
    ),
    "plan_limit_reached": Entry(MEDIUM, PATIENT, True, "The planned volume was reached; the pump was stopped", LOOK),
    "short_of_plan": Entry(MEDIUM, PATIENT, False, "The pump ended short of the plan", "Finish the dose, or end."),
    "late_and_short": Entry(MEDIUM, PATIENT, False, "Later than the computed end, and short of the plan", LOOK),
    "volumes_apart": Entry(MEDIUM, PATIENT, False, "Planned, integrated and counted volume differ", LOOK),
    "volumes_far_apart": Entry(HIGH, PATIENT, True, "Planned, integrated and counted volume differ widely", LOOK),
    "no_flow": Entry(HIGH, PATIENT, False, "The pump says it infuses, but its counter stands", LOOK),
    "infusing_unknown_session": Entry(
        HIGH, PATIENT, False, "The pump infuses and no session is known; it is not touched", "Stop it, or leave it."
    ),
    "infusing_after_release": Entry(MEDIUM, PATIENT, False, "The released pump infuses; it is not touched", LOOK),
    # the orders
    "stop_not_confirmed": Entry(
        HIGH, TECHNICAL, True, "STOP NOT CONFIRMED: stop at the pump", "Stop it at its keypad."
    ),
    "limit_not_set": Entry(MEDIUM, TECHNICAL, False, "The pump's own volume limit could not be lowered", LOOK),
    "unarmed": Entry(LOW, TECHNICAL, False, "The pump must be armed again", "Arm again before the start."),
    # the line and the pump
    "comms_lost_pump": Entry(
        HIGH, TECHNICAL, True, "The pump does not answer: what it gives is unknown", "Go to the pump and look."
    ),
    "pump_not_connected": Entry(LOW, TECHNICAL, False, "The pump is not connected", "Check cable and power."),
    "pump_not_proved": Entry(
        HIGH, TECHNICAL, True, "Another pump may be at the port: no order is sent", "Check the cable; stop at the pump."
    ),
    "pump_power_lost": Entry(HIGH, TECHNICAL, True, "The pump's power was interrupted", LOOK),
    "motor_stalled": Entry(
        HIGH, PATIENT, True, "Motor stalled: line occluded or syringe at its end", "Check the line."
    ),
    "pump_watchdog_expired": Entry(HIGH, TECHNICAL, True, "The pump stopped itself: it did not hear from us", LOOK),
    "pump_program_error": Entry(HIGH, TECHNICAL, True, "The pump reports a programme error", LOOK),
    "pump_alarm_unknown": Entry(HIGH, TECHNICAL, True, "The pump reports an alarm that is not known", LOOK),
    # ourselves
    "daemon_restarted": Entry(
        MEDIUM, TECHNICAL, False, "The program was restarted; the session is being checked", LOOK
    ),
    "lease_lapsed": Entry(HIGH, TECHNICAL, True, "Supervision faltered; the pump was stopped", LOOK),
    "bed_failed": Entry(HIGH, TECHNICAL, True, "The bed's supervision failed and was restarted", LOOK),
    "monitor_only": Entry(HIGH, TECHNICAL, True, "Supervision failed too often: the pump is only watched", LOOK),
    "stopped_by_shutdown": Entry(HIGH, TECHNICAL, True, "The program was shut down; the pump was stopped", LOOK),
    "journal_unavailable": Entry(HIGH, TECHNICAL, False, "The journal cannot be written: nothing can be started", LOOK),
    "bus_lost": Entry(
        LOW, TECHNICAL, False, "The message broker does not answer: displays are blind", "Check the network."
    ),
    "second_station": Entry(HIGH, TECHNICAL, True, "Another program uses this station's id", "Stop one of them."),
    "command_retained": Entry(
        LOW, TECHNICAL, True, "A command was stored in the broker; it was refused and removed", ""
    ),
    "annunciator_failed": Entry(MEDIUM, TECHNICAL, False, "The local sounder does not work", "Stay at the bed."),
}


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
