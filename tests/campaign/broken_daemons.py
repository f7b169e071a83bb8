"""The watchers watched: daemons broken on purpose, each in one place, and the rule that has to notice.

A campaign that finds nothing proves nothing unless it finds these. `make campaign` tries each one, and the same seeds
with the whole daemon as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from drivers.newera import NewEraPump
from pumpd.bedside import hands as hands_module
from pumpd.bedside.alarm_keeper import AlarmKeeper
from pumpd.bedside.bed import Bed
from pumpd.core import delivery, enforce, session, sight, therapy, turn, watch
from pumpd.core import events as ev
from pumpd.core.state import Phase
from pumpd.core.turn import Turn
from pumpd.line import link
from pumpd.line.link import Link
from pumpd.messaging.outlet import Outlet
from tests.campaign.kinds import Kind
from tests.campaign.random_sessions import play, quiet
from tests.campaign.verdicts import RuleBroken

Change = tuple[Any, str, Any]
ALONE = Kind(mode="safe", watchdog_s=10, model="ideal", hands=False, faults=False, pace=1)
AT_THE_KEYS = replace(ALONE, hands=True)
LONG = replace(ALONE, pace=15)
SAME_ADDRESS = replace(ALONE, same_address=True)


@dataclass(frozen=True)
class BrokenDaemon:
    """What is broken, which rules may notice, under which fire, and within how many seeds they must."""

    name: str
    rules: tuple[str, ...]
    changes: Callable[[], list[Change]]
    favour: tuple[str, ...]
    kind: Kind = ALONE
    beds: int = 1
    within: int = 6
    long: bool = False  # sessions of many minutes: not for the ordinary suite


@contextmanager
def changed(changes: list[Change]) -> Iterator[None]:
    """The daemon broken, for a while."""
    kept = [(owner, name, owner[name] if isinstance(owner, dict) else vars(owner)[name]) for owner, name, _ in changes]
    try:
        for owner, name, worse in changes:
            _put(owner, name, worse)
        yield
    finally:
        for owner, name, whole in kept:
            _put(owner, name, whole)


def _put(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)


def caught(daemon: BrokenDaemon, seed: int) -> tuple[int, str, str] | None:
    """The first seed that notices, the rule and its words; None when no seed does."""
    for number in range(seed, seed + daemon.within):
        with changed(daemon.changes()):
            try:
                play(number, favour=daemon.favour, kind=daemon.kind, beds=daemon.beds)
            except RuleBroken as broken:
                return number, broken.rule, broken.text.splitlines()[0]
    return None


def campaign(seed: int, seeds: int) -> bool:
    """Each broken daemon is caught by a rule meant for it, and the whole daemon passes the same seeds."""
    quiet()
    held = True
    for daemon in DAEMONS:
        found = caught(daemon, seed)
        right = found is not None and found[1] in daemon.rules
        held = held and right
        said = "NOT CAUGHT" if found is None else f"{found[1]} at seed {found[0]}: {found[2][:90]}"
        print(f"  {daemon.name:48} {'' if right else 'WRONG: '}{said}", flush=True)
        for number in range(seed, seed + min(seeds, found[0] - seed + 1 if found else daemon.within)):
            try:
                play(number, favour=daemon.favour, kind=daemon.kind, beds=daemon.beds)
            except RuleBroken as broken:
                held = False
                print(f"  the whole daemon, favour {daemon.favour}: {broken}", flush=True)
    return held


# --- what is broken ---------------------------------------------------------------------------------------------------


def _nothing(*_args: object, **_options: object) -> None:
    return None


def _no_limit_loaded() -> list[Change]:
    def put_limit(self: NewEraPump, number: str) -> Any:
        yield from ()

    return [(NewEraPump, "_put_limit", put_limit)]


def _raised_rate_only_told() -> list[Change]:
    def above(turn: Turn, rate: Any) -> None:
        turn.alarm("rate_above_plan", planned=turn.planned_rate, read=rate)

    return [(delivery, "_above", above)]


def _raised_rate_unnoticed() -> list[Change]:
    return [(delivery, "_compare_rate", _nothing), (delivery, "_compare_volumes", _nothing)]


def _nothing_confirmed() -> list[Change]:
    return [(therapy, "_unconfirmed", _nothing)]


def _any_pump_is_ours() -> list[Change]:
    def alike(*_pumps: object) -> str:
        return ""

    def plausible(*_figures: object) -> bool:
        return True

    return [(sight, "differs", alike), (hands_module, "differs", alike), (watch, "plausible_count", plausible)]


def _no_lease() -> list[Change]:
    return [(Link, "_lapse", _nothing)]


def _fed_for_ever() -> list[Change]:
    return [(Link, "_pause_between_connects", lambda _self: link.CONNECT_AGAIN_S)]


def _limit_left_in_a_pause() -> list[Change]:
    return [(enforce, "tighten", _nothing), (delivery, "tighten", _nothing)]


def _no_smallest_limit() -> list[Change]:
    def secure(turn: Turn) -> None:
        turn.become(observed_from=turn.now)
        turn.clear(*sorted(turn.state.conditions - {"pump_not_proved"}))
        turn.go(Phase.OBSERVING)

    return [(enforce, "secure", secure), (delivery, "secure", secure)]


def _restarts_what_a_hand_stopped() -> list[Change]:
    def stood(turn: Turn) -> None:
        state = turn.state
        limit, ours = turn.remaining(), state.ours
        if limit is not None and ours is not None and state.pending is None:
            turn.order(lambda number: ev.Begin(number, turn.planned_rate, limit, ours, state.settings))

    return [(enforce, "_stood", stood)]


def _restores_a_lowered_rate() -> list[Change]:
    whole = delivery._compare_rate

    def compare(turn: Turn, report: Any) -> None:
        whole(turn, report)
        if report.rate is not None and report.rate < turn.planned_rate and turn.state.pending is None:
            turn.order(lambda number: ev.SetRate(number, turn.planned_rate, raises=True))

    return [(delivery, "_compare_rate", compare)]


def _waits_for_no_disk() -> list[Change]:
    async def at_once(self: Bed, order: ev.Order, _seq: int, since: float) -> None:
        await self._carry(order, since)

    return [(Bed, "_when_durable", at_once)]


def _blind_and_silent() -> list[Change]:
    whole = Turn.alarm

    def alarm(self: Turn, code: str, **values: object) -> None:
        if code != "comms_lost_pump":
            whole(self, code, **values)

    return [(Turn, "alarm", alarm)]


def _conditions_without_alarms() -> list[Change]:
    whole = AlarmKeeper.mark

    def mark(self: AlarmKeeper, effect: ev.Raise | ev.Clear, session_id: str | None) -> None:
        if effect.code not in ("stopped_at_pump", "comms_lost_pump"):
            whole(self, effect, session_id)

    return [(AlarmKeeper, "mark", mark)]


def _pressure_forgotten() -> list[Change]:
    return [(turn, "PRESSURE_ALARMS", frozenset())]


def _volumes_forgotten() -> list[Change]:
    whole = sight.restarted

    def restarted(turn: Turn, event: ev.Restarted) -> None:
        whole(turn, event)
        old = turn.state.volumes
        turn.become(volumes=watch.Volumes(last_count=old.last_count, at=old.at))

    return [(session.HANDLERS, ev.Restarted, restarted)]


def _stop_forgotten() -> list[Change]:
    whole = sight.link_down

    def down(turn: Turn, event: ev.LinkDown) -> None:
        whole(turn, event)
        turn.become(halt=None)

    return [(session.HANDLERS, ev.LinkDown, down)]


def _a_stop_that_only_ends_the_session() -> list[Change]:
    def stop(turn: Turn, event: ev.StopOrdered) -> None:
        turn.go(Phase.ENDING)
        turn.answer(event.by, "done")

    return [(session.HANDLERS, ev.StopOrdered, stop), (enforce.JUDGES, Phase.ENDING, _nothing)]


def _steps_down_not_followed() -> list[Change]:
    whole = delivery._compare_rate

    def compare(turn: Turn, report: Any) -> None:
        if report.rate != turn.state.ordered:
            whole(turn, report)

    return [(delivery, "_compare_rate", compare)]


def _never_stops_by_itself() -> list[Change]:
    whole = Turn.halt

    def halt(self: Turn, by: ev.By | None = None, *, whoever: bool = False) -> None:
        if by is not None:
            whole(self, by, whoever=whoever)

    return [(Turn, "halt", halt)]


def _stop_only_said() -> list[Change]:
    def pump_stop(turn: Turn, event: ev.PumpStopOrdered) -> None:
        turn.answer(event.by, "done")

    return [(session.HANDLERS, ev.PumpStopOrdered, pump_stop)]


def _decides_by_chance() -> list[Change]:
    whole, numbers = Turn.alarm, count()

    def alarm(self: Turn, code: str, **values: object) -> None:
        whole(self, code, chance=next(numbers), **values)

    return [(Turn, "alarm", alarm)]


def _a_sink_ends_it() -> list[Change]:
    def pass_on(
        self: Outlet, topic: str, payload: bytes, retain: bool, qos: int, expiry_s: Any, replayable: bool
    ) -> None:
        for sink in self.sinks:
            sink.publish(topic, payload, retain=retain, qos=qos, expiry_s=expiry_s, replayable=replayable)

    return [(Outlet, "_pass_on", pass_on)]


DAEMONS = (
    BrokenDaemon("no limit is loaded before a start", ("I1",), _no_limit_loaded, ("resume",)),
    BrokenDaemon("a restart forgets what was given", ("I1",), _volumes_forgotten, ("crash", "resume", "pause")),
    BrokenDaemon(
        "a raised rate is told, not set back", ("I2", "R5"), _raised_rate_only_told, ("dial up",), AT_THE_KEYS
    ),
    BrokenDaemon("a raised rate is not noticed", ("I2",), _raised_rate_unnoticed, ("dial far up",), AT_THE_KEYS),
    BrokenDaemon(
        "it never stops a pump by itself", ("I2", "R2"), _never_stops_by_itself, ("key run", "pause"), AT_THE_KEYS
    ),
    BrokenDaemon("the line goes on when nobody judges", ("I3",), _no_lease, ("poison", "resume")),
    BrokenDaemon(
        "a pump that hears us unheard is fed for ever",
        ("I3",),
        _fed_for_ever,
        ("mute", "resume"),
        replace(ALONE, watchdog_s=3, pace=15),
    ),
    BrokenDaemon(
        "the limit is not lowered in a pause", ("I3",), _limit_left_in_a_pause, ("pause",), replace(ALONE, pace=15)
    ),
    BrokenDaemon(
        "no smallest limit after the end", ("I3",), _no_smallest_limit, ("session.stop",), replace(ALONE, pace=15)
    ),
    BrokenDaemon("trapped pressure is forgotten", ("I4",), _pressure_forgotten, ("stall", "resume")),
    BrokenDaemon("a start needs no confirmation", ("I5",), _nothing_confirmed, ("pause", "resume")),
    BrokenDaemon("any pump is ours", ("I5",), _any_pump_is_ours, ("swap", "resume", "pause"), SAME_ADDRESS, beds=2),
    BrokenDaemon(
        "it starts again what a hand stopped", ("I5",), _restarts_what_a_hand_stopped, ("key stop",), AT_THE_KEYS
    ),
    BrokenDaemon("it restores a lowered rate", ("I5",), _restores_a_lowered_rate, ("dial down",), AT_THE_KEYS),
    BrokenDaemon("a start waits for no disk", ("I5",), _waits_for_no_disk, ("disk", "resume", "pause")),
    BrokenDaemon("conditions without alarms", ("R1",), _conditions_without_alarms, ("pull",)),
    BrokenDaemon(
        "a stop ends the session and not the pump",
        ("R2",),
        _a_stop_that_only_ends_the_session,
        ("session.stop", "resume", "calm"),
        within=12,
    ),
    BrokenDaemon("blind and silent", ("R3",), _blind_and_silent, ("mute", "resume")),
    BrokenDaemon("a stop is forgotten with the line", ("R4",), _stop_forgotten, ("deaf", "pause"), within=12),
    BrokenDaemon(
        "a step down of the plan is not followed",
        ("R5",),
        _steps_down_not_followed,
        ("calm",),
        replace(LONG, falling=True),
        long=True,
    ),
    BrokenDaemon("STOP is only said to be done", ("R6",), _stop_only_said, ("resume",)),
    BrokenDaemon("decisions by chance", ("R7",), _decides_by_chance, ("pull",)),
    BrokenDaemon("a broker's fault ends the supervision", ("R8",), _a_sink_ends_it, ("broker",)),
)
