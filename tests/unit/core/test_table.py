"""The table of the session: every phase with every event, from states that a real session has been in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import pytest

from pumpd.core import events as ev
from pumpd.core.session import HANDLERS, PERSONS, TABLE, WORLD, IllegalTransition, decide
from pumpd.core.state import Phase, State
from pumpd.driver import Motion, PumpAlarm, PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import DOWN_STEPS, FITTED, INFUSING, PLAN, RATE, STANDING, SYRINGE, WHO, Case, plan

PAIRS = [(phase, event) for phase in Phase for event in ev.EVENTS]


# --- states that a real session has been in ---


def recovering(case: Case) -> Case:
    case.feed(ev.Restarted(rebooted=False), 2)
    return case


def rebooted(case: Case) -> Case:
    case.feed(ev.Restarted(rebooted=True), 2)
    return case


def ending(case: Case) -> Case:
    case.feed(ev.StopOrdered(case.by()))
    return case


def halted(case: Case) -> Case:
    case.halted()
    return case


def with_rate(case: Case) -> Case:
    case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    return case


def arming(case: Case) -> Case:
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    return case


def resuming(case: Case) -> Case:
    case.feed(ev.ResumeOrdered(case.by(), case.confirm()), 5)
    return case


def refitting(case: Case) -> Case:
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, FITTED), 5)
    return case


def stood(case: Case) -> Case:
    case.read(STANDING)
    return case


def over(case: Case) -> Case:
    case.feed(ev.EndOrdered(case.by()))
    return case


def full(case: Case) -> Case:
    case.read(STANDING, RATE, case.plan.volume)
    return case


def releasing(case: Case) -> Case:
    case.read(STANDING)
    case.feed(ev.ReleaseOrdered(case.by()))
    return case


def released(case: Case) -> Case:
    releasing(case).done()
    return case


def pump_stopped(case: Case) -> Case:
    case.feed(ev.PumpStopOrdered(case.by()))
    return case


def paused_blind(case: Case) -> Case:
    case.feed(ev.LinkDown("no reply"))
    case.feed(ev.PauseOrdered(case.by()))
    case.halt_failed("link_lost")
    return case


def lapsed(case: Case) -> Case:
    case.feed(ev.LeaseLapsed())
    return case


def told_of_pressure(case: Case) -> Case:
    case.told("motor_stalled")
    return case


def short(case: Case) -> Case:
    case.read(STANDING, RATE, "30", dt=3000)
    return case


BUILDERS: list[Callable[[], Case]] = [
    Case,
    lambda: Case().connected(),
    lambda: pump_stopped(Case().connected()),
    lambda: Case().planned(),
    lambda: pump_stopped(Case().planned()),
    lambda: arming(Case().planned()),
    lambda: recovering(arming(Case().planned())),
    lambda: Case().armed(),
    lambda: arming(Case().armed()),
    lambda: Case().starting(),
    lambda: told_of_pressure(Case().starting()),
    lambda: recovering(Case().starting()),
    lambda: rebooted(Case().starting()),
    lambda: Case().running(60),
    lambda: Case(plan=plan(portions=DOWN_STEPS)).running(60),
    lambda: Case(plan=plan(portions=DOWN_STEPS)).running(1199),
    lambda: with_rate(Case().running(60)),
    lambda: recovering(Case().running(60)),
    lambda: rebooted(Case().running(60)),
    lambda: recovering(with_rate(Case().running(60))),
    lambda: Case().paused(),
    lambda: Case().paused_by_pump(),
    lambda: Case().paused_by_pump(told="motor_stalled"),
    lambda: stood(Case().running(60)),
    lambda: recovering(stood(Case().running(60))),
    lambda: resuming(Case().paused()),
    lambda: recovering(resuming(Case().paused())),
    lambda: refitting(Case().paused()),
    lambda: paused_blind(Case().running(60)),
    lambda: lapsed(Case().running(60)),
    lambda: short(Case().running(60)),
    lambda: ending(Case().running(60)),
    lambda: ending(arming(Case().planned())),
    lambda: ending(Case().starting()),
    lambda: halted(ending(Case().running(60))),
    lambda: full(Case().running(60)),
    lambda: Case().observing(),
    lambda: pump_stopped(Case().observing()),
    lambda: pump_stopped(halted_full(Case().running(60))),
    lambda: releasing(Case().observing()),
    lambda: released(Case().observing()),
    lambda: over(Case().observing()),
    lambda: released(over(Case().observing())),
    lambda: halted_full(Case().running(60)),
    lambda: over(halted_full(Case().running(60))),
    lambda: pump_stopped(over(halted_full(Case().running(60)))),
    lambda: pump_stopped(over(Case().observing())),
    lambda: released(over(halted_full(Case().running(60)))),
]


def halted_full(case: Case) -> Case:
    full(case).done()
    return case


def variants(case: Case) -> Iterator[tuple[State, float]]:
    """The state as it is; out of sight, being proved, in doubt; its order silent; its stop waiting."""
    yield case.state, case.now
    down = decide(case.state, ev.LinkDown("no reply"), case.now + 3)
    yield down.state, case.now + 3
    for found in (replace(WHO, rate=RATE, limit=PLAN.volume), replace(WHO, version="V9")):
        up = decide(down.state, ev.LinkUp(found), case.now + 5)
        yield up.state, case.now + 5
    state = case.state
    if state.pending is not None:
        yield replace(state, pending=replace(state.pending, uncertain=True)), case.now
    if state.halt is not None:
        yield replace(state, halt=replace(state.halt, in_flight=False)), case.now


@lru_cache
def states() -> tuple[tuple[State, float], ...]:
    return tuple(each for build in BUILDERS for each in variants(build()))


# --- events of each kind ---


def events(kind: type, state: State, now: float) -> Iterator[ev.Event]:
    case = Case()
    case.state, case.now = state, now
    by, confirm = case.by("prescriber"), case.confirm()
    count = state.volumes.last_count or Ml(0)
    readings = [PumpReport(motion, rate, count + more) for motion in Motion for rate in (RATE, None, MlPerHour(20))
                for more in (Ml(0), Ml("0.02"), Ml("20"))]  # fmt: skip
    if state.plan is not None:
        readings.append(PumpReport(STANDING, RATE, count + state.plan.volume))
    numbers = {state.orders, 0, state.orders + 1}
    match kind:
        case ev.PlanOrdered:
            yield ev.PlanOrdered(by, "s-9", PLAN, case.rules, case.before())
        case ev.ArmOrdered:
            yield ev.ArmOrdered(by, "p-1", (), "ok")
            yield ev.ArmOrdered(by, "p-2", ("clamps-open",), "silent")
        case ev.StartOrdered | ev.RestoreOrdered | ev.FinishOrdered | ev.AcceptOrdered:
            yield kind(by, confirm)
            yield kind(by, None)
        case ev.ResumeOrdered:
            yield ev.ResumeOrdered(by, confirm, pressure_released=True)
            yield ev.ResumeOrdered(by, confirm, recalculate=True, pressure_released=True)
            yield ev.ResumeOrdered(by, None)
        case ev.RateOrdered:
            yield ev.RateOrdered(by, MlPerHour(40), None)
            yield ev.RateOrdered(by, MlPerHour(50), ev.Confirm(MlPerHour(50)))
        case ev.ContainerOrdered:
            yield ev.ContainerOrdered(by, SYRINGE, FITTED)
        case ev.PumpReported:
            yield from (ev.PumpReported(reading) for reading in readings)
        case ev.PumpTold:
            yield ev.PumpTold(PumpAlarm("motor_stalled", "A?S"))
            yield ev.PumpTold(PumpAlarm("pump_power_lost", "A?R"))
            yield ev.PumpTold(PumpAlarm("free_flow", "FF"))
        case ev.LinkUp:
            yield ev.LinkUp(WHO)
            yield ev.LinkUp(replace(WHO, rate=RATE, limit=PLAN.volume))
        case ev.LinkDown:
            yield ev.LinkDown("no reply")
        case ev.OrderDone:
            for number in sorted(numbers | ({state.halt.number} if state.halt else set())):
                for motion in (STANDING, INFUSING):
                    report = PumpReport(motion, RATE, count)
                    yield ev.OrderDone(number, now, report, WHO, (("DIA", "26.59"),))
                    yield ev.OrderDone(
                        number, now, replace(report, counted=count + PLAN.volume), WHO, (("DIA", "26.59"),)
                    )
        case ev.OrderFailed:
            for number in sorted(numbers | ({state.halt.number} if state.halt else set())):
                for reason in ("refused", "differs", "link_lost"):
                    yield ev.OrderFailed(number, reason, "in words")
                yield ev.OrderFailed(number, "uncertain", "in words", uncertain=True)
        case ev.Restarted:
            yield ev.Restarted(rebooted=False)
            yield ev.Restarted(rebooted=True)
        case ev.StopUnconfirmed | ev.LeaseLapsed | ev.Shutdown | ev.Tick | ev.UnaskedAnswers:
            yield kind()
        case _:
            yield kind(by)


# --- what is shown ---


def test_every_event_stands_in_the_table_and_has_a_handler() -> None:
    named = {event for row in TABLE.values() for event in row}
    assert named == set(ev.EVENTS) == set(HANDLERS)
    assert set(TABLE) == set(Phase)


def test_what_the_world_brings_is_legal_always() -> None:
    for row in TABLE.values():
        assert set(WORLD) <= set(row)


@pytest.mark.shows("S5")
def test_stop_pause_and_pump_stop_are_legal_wherever_something_may_flow() -> None:
    for phase in (Phase.ARMED, Phase.RUNNING, Phase.PAUSED, Phase.ENDING, Phase.RECOVERING):
        assert {ev.StopOrdered, ev.PauseOrdered, ev.PumpStopOrdered} <= set(TABLE[phase])
    assert all(ev.PumpStopOrdered in row for row in TABLE.values()), "with or without a session"


def test_there_is_a_state_of_every_phase_to_try() -> None:
    assert {state.phase for state, _ in states()} == set(Phase)


@pytest.mark.shows("S8")
@pytest.mark.parametrize(
    ("phase", "event"),
    [pair for pair in PAIRS if pair[1] not in TABLE[pair[0]]],
    ids=lambda each: each.value if isinstance(each, Phase) else each.__name__,
)
def test_what_is_not_in_the_table_changes_nothing_and_is_refused(phase: Phase, event: type) -> None:
    tried = 0
    for state, now in states():
        if state.phase is not phase:
            continue
        for each in events(event, state, now):
            decision = decide(state, each, now)
            assert decision.state is state
            (answer,) = decision.effects
            assert isinstance(answer, ev.Answer)
            assert (answer.state, answer.reason) == ("rejected", "wrong_phase")
            assert phase.value in answer.text
            tried += 1
    assert tried


@pytest.mark.parametrize(
    ("phase", "event"),
    [pair for pair in PAIRS if pair[1] in TABLE[pair[0]]],
    ids=lambda each: each.value if isinstance(each, Phase) else each.__name__,
)
def test_what_is_in_the_table_lands_where_it_says(phase: Phase, event: type) -> None:
    tried = 0
    for state, now in states():
        if state.phase is not phase:
            continue
        for each in events(event, state, now):
            for later in (0.1, 1000.0, 9000.0):
                decision = decide(state, each, now + later)
                assert decision.state.phase in TABLE[phase][event]
                if event in PERSONS[phase]:
                    assert any(isinstance(effect, ev.Answer) for effect in decision.effects), "a person is answered"
                tried += 1
    assert tried


def test_every_target_that_the_table_names_is_reached() -> None:
    named = {
        (phase, event, target)
        for phase, row in TABLE.items()
        for event, targets in row.items()
        for target in targets
        if event in PERSONS[phase] or target is not phase  # whatever the world brings may leave all as it is
    }
    reached = set()
    for state, now in states():
        for event in TABLE[state.phase]:
            for each in events(event, state, now):
                for later in (0.1, 1000.0, 9000.0):
                    reached.add((state.phase, event, decide(state, each, now + later).state.phase))
    missed = defaultdict(list)
    for phase, event, target in sorted(named - reached, key=str):
        missed[f"{event.__name__} in {phase.value}"].append(target.value)
    assert not missed, dict(missed)


def test_a_handler_that_breaks_the_table_is_a_fault_of_pumpd(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case().running(5)
    monkeypatch.setitem(HANDLERS, ev.Tick, lambda turn, _event: turn.go(Phase.ARMED))
    with pytest.raises(IllegalTransition, match="Tick: running -> armed"):
        decide(case.state, ev.Tick(), case.now)
