"""What a reader knows of a station from its messages, and how old that is (docs/mqtt.md, rules for readers).

Age is counted by the reader's own monotonic clock from arrival; wall clocks are never compared.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]

STALE_S = 3.0  # contract, rules for readers: without a heartbeat for so long, all of the station is stale
LAG_S = 2.0  # a heartbeat each second may overtake the list once; what differs longer was lost
NOTHING: Message = {}


@dataclass
class Picture:
    """The newest message of each kind."""

    sessions: dict[str, Message] = field(default_factory=dict)  # by bed
    telemetry: dict[str, Message] = field(default_factory=dict)  # by pump, as are the next two
    connections: dict[str, Message] = field(default_factory=dict)
    descriptions: dict[str, Message] = field(default_factory=dict)
    alarms: Message = field(default_factory=dict)
    info: Message = field(default_factory=dict)
    status: Message = field(default_factory=dict)
    boot_id: str | None = None  # of the newest heartbeat
    heartbeat_at: float | None = None
    alarms_revision: int | None = None  # as the newest heartbeat says
    _apart_since: float | None = None  # since when the heartbeat names another alarm list than the one held
    _arrived: dict[str, float] = field(default_factory=dict)  # of telemetry, by pump

    def take(self, topic: str, message: Message | None, now: float) -> None:
        """One message as it came; `now` is the reader's monotonic clock in seconds. One without our fields is none."""
        if message is not None:
            with suppress(KeyError):
                self._take(topic.split("/"), message, now)
                self._apart_since = (self._apart_since or now) if self.alarms_apart else None

    def _take(self, levels: list[str], message: Message, now: float) -> None:
        match levels:
            case ["heartbeat"]:
                self.boot_id, self.heartbeat_at = message["boot_id"], now
                self.alarms_revision = message["alarms_revision"]
            case ["pump", _, "session"]:
                self.sessions[message["bed"]] = message
            case ["pump", pump, "telemetry"]:
                self.telemetry[pump] = message
                self._arrived[pump] = now
            case ["pump", pump, "connection"]:
                self.connections[pump] = message
            case ["pump", pump, "description"]:
                self.descriptions[pump] = message
            case ["alarms"]:
                self.alarms = message
            case ["info"]:
                self.info = message
            case ["status"]:
                self.status = message

    @property
    def beds_known(self) -> bool:
        """Has every pump that is described shown its bed? A heartbeat is not retained: it comes after what is."""
        return self.heartbeat_at is not None and bool(self.sessions) and len(self.sessions) >= len(self.descriptions)

    def doubt(self, now: float) -> str | None:
        """Why nothing here may be taken as current, in words; None while it may."""
        if self.heartbeat_at is None:
            return "last known: no heartbeat yet"
        age = now - self.heartbeat_at
        if age > STALE_S:
            return f"STALE: no heartbeat for {age:.0f} s"
        if any(session["boot_id"] != self.boot_id for session in self.sessions.values()):
            return "last known: from an earlier start of the daemon"
        return None

    def sample(self, pump: str, now: float) -> Message:
        """The pump's telemetry while it is valid; an empty one when it is too old, so that all of it is unknown."""
        sample = self.telemetry.get(pump, NOTHING)
        if not sample or now - self._arrived[pump] > sample["valid_for_ms"] / 1000:
            return NOTHING
        return sample

    def alarms_of(self, bed: str | None) -> list[Message]:
        """The alarms that stand at a bed, or (None) at the station itself, as `standing`."""
        return [alarm for alarm in self.standing if alarm["bed"] == bed]

    @property
    def standing(self) -> list[Message]:
        """All alarms, those that are present first, and of each kind the highest first."""
        return sorted(self.alarms.get("active", []), key=lambda alarm: bool(alarm["condition"] == "gone"))

    def is_earlier(self, alarm: Message) -> bool:
        """Is it of another session than the present one of its bed?"""
        session, told = self.sessions.get(alarm["bed"]), alarm.get("session_id")
        return session is not None and told is not None and bool(told != session["session_id"])

    @property
    def alarms_apart(self) -> bool:
        """Does the heartbeat name another alarm list than the one that is here?"""
        return self.alarms_revision is not None and self.alarms.get("revision") != self.alarms_revision

    def alarms_late(self, now: float) -> bool:
        """Another alarm list has been named for too long, or part of the list did not fit its message."""
        late = self._apart_since is not None and now - self._apart_since > LAG_S
        return late or bool(self.alarms.get("omitted"))
