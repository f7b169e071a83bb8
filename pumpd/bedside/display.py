"""What one bed says on the bus and the local socket, and when. Reads the bed, changes nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta

import structlog

from pumpd.bedside import views
from pumpd.bedside.desk import Site
from pumpd.clock import Clock
from pumpd.core.alarms import Alarm, AudioPause, Board
from pumpd.core.state import State
from pumpd.driver import Identity
from pumpd.line.link import LinkPhase
from pumpd.messaging import messages
from pumpd.messaging.messages import Connection, Description
from pumpd.messaging.outlet import Outlet

UNITS = {"rate": "mL/h", "volume": "mL", "time": "s"}


log = structlog.get_logger(__name__)


class Display:
    """The topics of one bed and its pump."""

    def __init__(
        self, bed: str, pump_id: str, driver: str, speed: float, site: Site, outlet: Outlet, clock: Clock
    ) -> None:
        self._bed, self._pump_id, self._driver, self._speed = bed, pump_id, driver, speed
        self._site, self._outlet, self._clock = site, outlet, clock
        self._marks = {"simulated": site.simulated, "laboratory": not site.capabilities.clinical_use}
        self._phase = LinkPhase("init")
        self._logged: set[LinkPhase] = set()  # since the pump was last ready
        self._phase_since = clock.wall()

    def telemetry(self, state: State, now: float, heard_at: float | None) -> None:
        """One sample; `heard_at` is the wire time of the last reading."""
        age = None if heard_at is None else round((self._clock.wire() - heard_at) * 1000)
        self._say("telemetry", views.telemetry(state, self._pump_id, now, age))

    def session(self, state: State, now: float) -> None:
        """The plan and its progress."""
        wall = self._clock.wall()
        able = self._site.capabilities
        self._say("session", views.session(state, self._pump_id, self._bed, able, now, wall, self._speed))

    def link(self, phase: LinkPhase) -> None:
        """A new phase of the link."""
        if phase.state == "ready":
            self._logged.clear()
        if phase not in self._logged:  # a pump that is switched off would else fill the log with its retries
            self._logged.add(phase)
            say = log.warning if phase.detail and phase.state != "ready" else log.info
            say("link", bed=self._bed, state=phase.state, detail=phase.detail)
        if phase.state != self._phase.state:
            self._phase_since = self._clock.wall()
        self._phase = phase

    def connection(self, heard_at: float | None) -> None:
        """Does the pump answer?"""
        last = None if heard_at is None else self._clock.wall() - timedelta(seconds=self._clock.wire() - heard_at)
        self._say(
            "connection",
            Connection(
                pump=self._pump_id,
                state=self._phase.state,
                since=self._phase_since,
                last_rx=last,
                detail=self._phase.detail or None,
            ),
        )

    def description(self, identity: Identity | None, state: State) -> None:
        """What the pump is and can do; model and version as it told them."""
        able = self._site.capabilities
        self._say(
            "description",
            Description(
                pump=self._pump_id,
                bed=self._bed,
                maker=able.maker,
                model=identity.model if identity else able.model,
                serial_number=identity.serial if identity else None,
                driver=self._driver,
                firmware=identity.version if identity else None,
                capabilities=asdict(able),
                limits=views.description_limits(state),
                units=UNITS,
            ),
        )

    def alarm(self, alarm: Alarm, pause: AudioPause | None) -> None:
        """One alarm that is new or has changed."""
        self._outlet.say(f"alarm/{alarm.alarm_id}", self._alarm(alarm, pause), **self._marks)

    def alarm_over(self, alarm: Alarm, pause: AudioPause | None) -> None:
        """The last state once, then the topic is emptied."""
        self.alarm(replace(alarm, present=False, leaving_since=None), pause)
        self._outlet.empty(f"alarm/{alarm.alarm_id}")

    def _alarm(self, alarm: Alarm, pause: AudioPause | None) -> messages.Alarm:
        return views.alarm(alarm, self._bed, pause, self._clock.wire(), self._clock.wall())

    def alarms(self, board: Board, pause: AudioPause | None) -> tuple[messages.Alarm, ...]:
        """This bed's part of the station's list."""
        return tuple(self._alarm(alarm, pause) for alarm in board.alarms)

    def _say(self, leaf: str, body: messages.Body) -> None:
        self._outlet.say(f"pump/{self._pump_id}/{leaf}", body, **self._marks)
