"""The composition root: builds the station from its configuration, wires it, runs it. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import random
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

import structlog

from pumpd import config as cfg
from pumpd.bedside import views
from pumpd.bedside.annunciator import Annunciator, Bell, Command, Sounder, Tones, find_player
from pumpd.bedside.bed import POLL_LEAST_S, PULSE_S, REACTION_S, REPEAT_S
from pumpd.bedside.budget import Budget
from pumpd.bedside.desk import Proposal, Site
from pumpd.bedside.house import House, Setup
from pumpd.bedside.ward import Ward
from pumpd.clock import Clock, SystemClock
from pumpd.core import events as ev
from pumpd.core.catalogue import CATALOGUE
from pumpd.core.state import State
from pumpd.driver import Line
from pumpd.line.link import OpenPipe
from pumpd.line.ports import open_port
from pumpd.line.trace import Trace, traced
from pumpd.messaging.auth import Gate, Origin
from pumpd.messaging.broker import EmbeddedBroker, find_mosquitto
from pumpd.messaging.bus import Bus, Hooks, OtherMaster
from pumpd.messaging.encode import timestamp
from pumpd.messaging.local import LocalServer
from pumpd.messaging.messages import Alarm, Health, Heartbeat, Info, Priority, Stamper, Status, alarm_list, schemas
from pumpd.messaging.outlet import Outlet
from pumpd.office import Office, remembered_ids
from pumpd.records.journal import Journal
from pumpd.records.logbook import Logbook
from pumpd.records.patients import sessions_started
from pumpd.records.store import Begun
from pumpd.records.takeover import past_of, take_over
from pumpd.registry import Registry, check, find_drivers
from pumpd.stall import LoopWatch, Witness
from pumpd.watchdog import Feeder, ServiceManager

DISCLAIMER = "pumpd is no certified medical device. The alarms of the pump and of the monitor stay primary."
BUS_ALARM_S = 10.0  # the broker is gone for longer: a technical alarm at the bedside (docs/mqtt.md)
DISK_LOW_MB = 500  # room for some hundred sessions (docs/install.md): days to do something about it
FAREWELL_S = 6.0  # how long a shutdown waits for pumps to be read back standing, and for the last words
DESCRIPTORS_PER_BED = 8  # port, journal, sockets, a sounder's pipes; with room to spare

log = structlog.get_logger(__name__)


class Station:
    """One daemon. `run()` serves until `stop()` or cancellation."""

    def __init__(
        self,
        config: cfg.Config,
        registry: Registry,
        *,
        clock: Clock | None = None,
        journal: Journal | None = None,
        open_pipe: Callable[[cfg.PumpConfig, Line], OpenPipe] | None = None,
        rng: random.Random | None = None,
        config_hash: str = "",
        manager: ServiceManager | None = None,
    ) -> None:
        """Raise ConfigError (through `check`'s problems), JournalBusy or OSError."""
        problems = check(config, registry, CATALOGUE)
        if problems:
            raise cfg.ConfigError(problems)
        self.config = config
        self._registry, self._config_hash = registry, config_hash
        self._clock = clock or SystemClock()
        self._rng = rng or random.SystemRandom()
        self.boot_id = f"{self._rng.getrandbits(128):032x}"
        self._started = self._clock.wall()
        config.station.data_dir.mkdir(parents=True, exist_ok=True)
        self.journal = journal or take_over(config.journal, self._clock, config.bed)
        stamper = Stamper(config.station.id, self.boot_id, self._clock, simulated=config.simulated)
        self.outlet = Outlet(stamper, [])
        logbook = self._logbook = Logbook(self.journal, self.outlet, self._clock)
        self.annunciator = _annunciator(config.annunciator, self._sounder_state)
        self._gate = Gate(config.bus.allow, _command_broker(config), inactivation=config.alarms.inactivation)
        self._gate.restore(remembered_ids(self.journal, self._clock.wall().timestamp()))
        self.office = Office(self._gate, self.outlet, logbook, self._clock, self.annunciator)
        self.office.snapshot = self.birth
        self._revision = 0
        self._list_due = False
        self._sounds: dict[str, tuple[str | None, bool]] = {}
        self._stop = asyncio.Event()
        self._damage_told: Begun | None = None
        self._bus: Bus | None = None
        self._bus_lost_at: float | None = None
        self.local: LocalServer | None = None
        budget = Budget()
        quiet, escalate_after = self.office.quiet, config.alarms.escalate_after
        house = House(
            self._clock, logbook, self.outlet, self, budget, self._new_id, quiet=quiet, escalate_after=escalate_after
        )
        self._patients = house.patients
        self._traces: list[Trace] = []
        opener = open_pipe or _serial
        self.wards = {
            name: Ward(self._setup(name, bed, number), house, self._logged(bed.pump, opener))
            for number, (name, bed) in enumerate(config.bed.items())
        }
        self.office.wards = self.wards
        self._manager = manager or ServiceManager({})
        self._feeder = Feeder(self._manager, self._clock, self.wards)

    def _setup(self, name: str, bed: cfg.Bed, number: int) -> Setup:
        site = site_of(self.config, bed, self._registry)
        stagger_s = PULSE_S * number / len(self.config.bed)  # a STOP then waits for one poll at most, not for a hundred
        return Setup(name, f"{name}-pump", bed.pump.driver, site, float(bed.speed), stagger_s)

    def _logged(self, pump: cfg.PumpConfig, opener: Callable[[cfg.PumpConfig, Line], OpenPipe]) -> OpenPipe:
        """The port, with its bytes in the wire log where one is configured."""
        port = opener(pump, self._registry.drivers[pump.driver].line)
        if pump.trace is None:
            return port
        path = self.config.station.data_dir / pump.trace
        self._traces.append(Trace(path, self._clock.wire, lambda: timestamp(self._clock.wall())))
        return traced(port, self._traces[-1])

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(48):012x}"

    # --- running ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask `run` to end: infusing pumps are stopped and read back first."""
        self._stop.set()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until stopped."""
        _raise_descriptor_limit(len(self.wards))
        self._recover()
        async with (
            self._loop_watch() as watch,
            self._local_socket(),
            self._broker() as url,
            asyncio.TaskGroup() as outer,
        ):
            keepers = [outer.create_task(ward.run(), name=name) for name, ward in self.wards.items()]
            keepers.append(outer.create_task(self._heartbeat(watch)))
            bus = outer.create_task(self._keep_bus(url)) if url else None
            ready()
            self._manager.tell("READY=1")
            log.info("daemon.ready", station=self.config.station.id, bus=url or "none", notice=DISCLAIMER)
            await self._stop.wait()
            self._manager.tell("STOPPING=1", "STATUS=going down: pumps that infuse are stopped and read back first")
            await self._stop_pumps()
            if self._bus is not None and bus is not None:
                self._bus.stop()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bus, FAREWELL_S)
            for task in keepers:
                task.cancel()
        await self.annunciator_stop()
        for trace in self._traces:
            trace.close()
        self.journal.close()
        self._manager.close()
        self._say_stopped()

    def _say_stopped(self) -> None:
        """The last line of the log: how every pump was seen last."""
        seen: dict[bool | None, list[str]] = {True: [], False: [], None: []}
        for ward in self.wards.values():
            seen[ward.stands].append(ward.bed.setup.pump_id)
        log.info("daemon.stopped", standing=seen[True], moving=seen[False], unknown=seen[None])

    @contextlib.asynccontextmanager
    async def _loop_watch(self) -> AsyncIterator[LoopWatch]:
        watch = LoopWatch(self._clock, self._stood_still)
        witness = Witness(watch, self._clock)
        try:
            yield watch
        finally:
            witness.close()
            watch.close()

    def _recover(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # then every patient counts as new, which asks for a second person
            self._patients.learn(sessions_started(self.journal.plans_and_starts()))
        for name, ward in self.wards.items():
            ward.recover(past_of(self.journal, name))
        self._logbook.write("Started", json.dumps({"software": version("pumpd")}))  # a dead disk shows at once
        self._mind_the_journal()

    async def _stop_pumps(self) -> None:
        """SIGTERM while infusing: STOP, read-back, alarm, then exit."""
        self.office.close()
        for ward in self.wards.values():
            ward.bed.feed(ev.Shutdown())
        deadline = self._clock.wire() + FAREWELL_S
        while any(ward.stopping for ward in self.wards.values()):
            if self._clock.wire() >= deadline:
                log.error("daemon.stop_not_confirmed", notice="stop the pump at its keypad")
                return
            await asyncio.sleep(0.05)

    async def annunciator_stop(self) -> None:
        """End the sound."""
        if self.annunciator is not None:
            await self.annunciator.stop()

    @contextlib.asynccontextmanager
    async def _local_socket(self) -> AsyncIterator[None]:
        self.local = LocalServer(self.config.socket, self._from_socket, self._clock)
        await self.local.start()
        self.outlet.sinks.append(self.local)
        self.birth()
        try:
            yield
        finally:
            await self.local.stop()

    @contextlib.asynccontextmanager
    async def _broker(self) -> AsyncIterator[str]:
        if self.config.bus.url != "embedded":
            yield "" if self.config.bus.url == "none" else self.config.bus.url
            return
        broker = EmbeddedBroker(find_mosquitto())
        try:
            yield await broker.start()
        finally:
            await broker.stop()

    async def _keep_bus(self, url: str) -> None:
        hooks = Hooks(
            announce=self._say_online,
            birth=self.birth,
            farewell=self._farewell,
            on_command=self._from_bus,
            on_state=self._bus_state,
            other_master=self._other_master,
        )
        rng = random.Random()  # back-off jitter is no id: it needs no seed
        self._bus = Bus(url, self.config.station.id, self.boot_id, self._started, hooks, self._clock, rng)
        self.outlet.sinks.append(self._bus)
        self._bus_lost_at = self._clock.wire()
        await self._bus.run()

    # --- what comes in ----------------------------------------------------------------------------------------------

    def _from_bus(self, verb: str, payload: bytes, retained: bool, at_wire: float) -> None:
        self.office.take(verb, payload, Origin.BUS, retained, at_wire)
        if retained:
            self._latch_everywhere("command_retained")

    def _from_socket(self, verb: str, payload: bytes, retained: bool, at_wire: float) -> None:
        self.office.take(verb, payload, Origin.LOCAL, retained, at_wire)

    def _bus_state(self, connected: bool, detail: str) -> None:
        log.info("daemon.bus", connected=connected, detail=detail)
        if connected:
            self._bus_lost_at = None
        elif self._bus_lost_at is None:
            self._bus_lost_at = self._clock.wire()
            self.office.quiet.end_remote("the connection over which it was asked for is lost")

    def _other_master(self, other: OtherMaster) -> bool:
        """Two daemons with one station id: say so loudly, supervise on, take orders by the local socket (S13)."""
        log.error("daemon.second_station", host=other.host, started=other.started_ts)
        self._latch_everywhere("second_station")
        return True

    def _sounder_state(self, failure: str | None) -> None:
        for ward in self.wards.values():
            ward.bed.alarms.note("annunciator_failed", failure is not None)

    def _latch_everywhere(self, code: str) -> None:
        for ward in self.wards.values():
            ward.bed.alarms.happened(code)

    # --- what the beds say (bed.Office) -----------------------------------------------------------------------------

    def answer(self, answer: ev.Answer, bed: str, state: State, proposal: Proposal | None = None) -> None:
        """One step in the life of a request."""
        self.office.answer(answer, bed, state, proposal)

    def alarms_changed(self) -> None:
        """A board has changed: the station's list goes out anew."""
        self._revision += 1
        if not self._list_due:  # many changes of one moment make one list, and each alarm itself goes out first
            self._list_due = True
            asyncio.get_running_loop().call_soon(self._say_alarms)

    def sound(self, bed: str, highest: str | None, *, paused: bool) -> None:
        """The loudest of all beds sounds; a pause counts when no bed wants to be heard."""
        self._sounds[bed] = (highest, paused)
        wanted = [
            priority for priority in ("high", "medium", "low") if priority in {h for h, _ in self._sounds.values()}
        ]
        if self.annunciator is not None:
            loudest: Priority | None = wanted[0] if wanted else None
            self.annunciator.show(loudest, False)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def birth(self) -> None:
        """All that is retained, in the contract's order."""
        self._say_online()
        self._say_info()
        for ward in self.wards.values():
            ward.bed.say_all()
        self._say_alarms()

    def _status(self, state: str, reason: str | None) -> Status:
        return Status.model_construct(state=state, reason=reason, started_ts=self._started, host=socket.gethostname())

    def _say_online(self) -> None:
        self.outlet.say("status", self._status("online", None))

    def _farewell(self, reason: str) -> bytes:
        return self.outlet.stamper.stamp("status", self._status("offline", reason))

    def _say_info(self) -> None:
        drivers = dict.fromkeys(self._registry.drivers, "ok") | self._registry.broken
        library = self.config.drug_library
        self.outlet.say(
            "info",
            Info(
                software=f"pumpd {version('pumpd')}",
                schemas=tuple(sorted(schemas())),
                drivers=drivers,
                config_hash=self._config_hash,
                drug_library={"version": library.version, "sha256": library.sha256},
                commands=tuple(sorted(self._gate.verbs)),
                command_policy=self._gate.policy,
                disclaimer=DISCLAIMER,
            ),
        )

    def _say_alarms(self) -> None:
        self._list_due = False
        active: list[Alarm] = []
        pause = self.office.quiet.pause
        for ward in self.wards.values():
            active += ward.bed.display.alarms(ward.bed.alarms.board, pause)
        until, by = views.audio_pause(pause, self._clock.wire(), self._clock.wall())
        self.outlet.say("alarms", alarm_list(self._revision, tuple(active), until, by))

    def _stood_still(self, seconds: float) -> None:
        """The loop did not run for `seconds`: no bed was judged, and a STOP would have waited."""
        log.warning("loop.stood_still", seconds=round(seconds, 2))
        for ward in self.wards.values():
            ward.bed.stood_still(seconds)

    async def _heartbeat(self, watch: LoopWatch) -> None:
        """Once a second: is the loop running? Every ten seconds: status, health and the alarm list again."""
        due = self._clock.wire()
        beat = 0
        while True:
            await asyncio.sleep(due - self._clock.wire())
            now = self._clock.wire()
            ages = {ward.bed.setup.pump_id: ward.bed.heard_ago_ms() for ward in self.wards.values()}
            self.outlet.say(
                "heartbeat",
                Heartbeat(loop_lag_ms=watch.take_lag_ms(), pump_rx_age_ms=ages, alarms_revision=self._revision),
            )
            lost, free_mb = self._bus_lost_at, self.journal.free_mb
            for ward in self.wards.values():
                ward.bed.alarms.note("bus_lost", lost is not None and now - lost > BUS_ALARM_S)
                ward.bed.alarms.note("disk_low", free_mb is not None and free_mb < DISK_LOW_MB)
            self._mind_the_journal()
            self._feeder.look()
            beat += 1
            if beat % round(REPEAT_S / PULSE_S) == 0:
                self._say_online()
                self._say_health()
                self._say_alarms()
            due = max(due + PULSE_S, now)

    def _mind_the_journal(self) -> None:
        """Its file was lost or found damaged while we run: the record goes on in a new one, and that is an alarm."""
        if self.journal.damage != self._damage_told:
            self._damage_told = self.journal.damage
            self._latch_everywhere("journal_damaged")

    def _say_health(self) -> None:
        stats = self._bus.stats() if self._bus is not None else None
        errors = {
            ward.link.name: ward.link.counters.damaged + ward.link.counters.silent for ward in self.wards.values()
        }
        self.outlet.say(
            "health",
            Health(
                outbox=stats.outbox if stats else 0,
                reconnects=stats.reconnects if stats else 0,
                dropped=(stats.dropped if stats else 0) + self.journal.dropped,
                serial_errors=errors,
                disk_free_mb=self.journal.free_mb,
                memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            ),
        )


def site_of(config: cfg.Config, bed: cfg.Bed, registry: Registry) -> Site:
    """What a bed of the configuration offers to plan with. Raises BadSetting, ConfigError."""
    pump = registry.open(bed.pump)
    period = max(POLL_LEAST_S, pump.capabilities.poll_s / bed.speed)
    return Site(
        pump=pump,
        drugs=dict(config.drug_library.drugs),
        syringes=config.syringes,
        simulated=bed.simulated,
        auto_restore=bed.restore == "auto",
        keypad_lock=bed.pump.keypad_lock,
        observation_s=bed.observation_min * 60.0,
        poll_s=period * bed.speed,
        reaction_s=REACTION_S * bed.speed,
        max_rate=bed.pump.max_rate,
        serial_number=bed.pump.serial_number,
    )


def _serial(pump: cfg.PumpConfig, line: Line) -> OpenPipe:
    return lambda receive, lost: open_port(pump.port, line, pump.baud, receive, lost)


def _command_broker(config: cfg.Config) -> str:
    return "mqtt://127.0.0.1" if config.bus.url in ("none", "embedded") else config.bus.url


def _annunciator(wanted: cfg.Annunciator, on_state: Callable[[str | None], None]) -> Annunciator | None:
    sounder: Sounder
    match wanted.kind:
        case "none":
            return None
        case "bell":
            sounder = Bell(sys.stderr.fileno())
            if not sys.stderr.isatty():
                log.warning("daemon.no_bell", detail="the bell needs a terminal and there is none: arming will refuse")
        case "command":
            sounder = Command(wanted.command)
        case "audio":
            player = find_player(wanted.device)
            if player is None:
                raise cfg.ConfigError(['[annunciator] kind = "audio": no player (aplay, paplay or pw-play) was found'])
            sounder = Tones(player)
    return Annunciator(sounder, on_state)


def _raise_descriptor_limit(beds: int) -> None:
    needed = 64 + beds * DESCRIPTORS_PER_BED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OSError(f"{beds} beds need {needed} open files; this process may have {hard} (ulimit -n)")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def serve(path: Path, ready: Callable[[], None] = lambda: None) -> None:
    """Run the station of a configuration file until SIGTERM or SIGINT. Raises ConfigError and what Station raises."""
    faulthandler.enable()  # the service manager ends a process that stands still by SIGABRT: the log then says where
    manager = ServiceManager(os.environ)
    station = Station(cfg.load(path), find_drivers(), config_hash=cfg.fingerprint(path), manager=manager)
    gc.collect()
    gc.freeze()  # what is built by now stays: searching it for garbage would only hold up a STOP
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, station.stop)
    await station.run(ready)
