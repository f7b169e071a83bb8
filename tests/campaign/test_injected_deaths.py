"""A sample of all deaths (S10), and daemons that are broken on purpose: each must be caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pumpd.bedside.bed import Bed
from pumpd.core import events as ev
from pumpd.core import session, therapy
from pumpd.core.state import Phase, Sight
from pumpd.core.turn import Turn
from tests.campaign import injected_deaths
from tests.campaign.injected_deaths import Gap, Past, Result, deaths, live_on
from tests.campaign.life import SPEED, Life, World, in_virtual_time, whole_life
from tests.conftest import seed

pytestmark = pytest.mark.timeout(240)  # seconds of a busy machine; some 13 of its own
SAMPLE = 499  # every so many-th world, some 30 of them; a prime, so that it falls on all kinds of points


@pytest.mark.shows("S5", "S7", "S10", "S15", "H61")
def test_a_sample_of_all_deaths_breaks_no_rule() -> None:
    figures = deaths(seed(), lambda number: number % SAMPLE == seed() % SAMPLE, SPEED, 0.3)
    print("\n".join(figures.lines()))
    assert figures.points > 20_000
    assert figures.distinct > 10_000
    assert len(figures.results) > 20
    assert figures.broken == []


@pytest.fixture(scope="module")
def life() -> tuple[Life, Past]:
    """A good daemon's life, and the worlds of moments that the broken ones are tried at."""
    whole = in_virtual_time(1000.0, lambda: whole_life(None, lambda number: number % 7 == 0))
    return whole, Past(list(whole.journal.rows()))


def worlds_of(life: Life, fits: Callable[[World], bool]) -> list[World]:
    found = [world for world in life.worlds if world.rows == world.appended and fits(world)]
    assert found, "no such moment in the script"
    return found


def caught(worlds: list[World], past: Past, gap: Gap, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """What the rules say of the daemon as it is now, in these worlds."""
    monkeypatch.setattr(injected_deaths, "gap_for", lambda dice, moves: gap)
    return [live_on(world, past, 1, folder, SPEED, 0.0) for world in worlds[:3]]


def infusing(world: World) -> bool:
    return bool(world.device.truth()["infusing"]) and world.orders[-1].verb == "session.resume"


def test_one_that_starts_the_pump_again_is_caught(life: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came_back: list[str] = []

    def eager(turn: Turn, event: ev.PumpReported) -> None:
        if turn.state.phase is Phase.RECOVERING:
            came_back.append(turn.state.session_id)
        honest(turn, event)
        limit, can = turn.remaining(), turn.state.phase is Phase.PAUSED and turn.state.pending is None
        if turn.state.session_id in came_back and can and limit is not None:
            confirm = ev.Confirm(turn.planned_rate, limit)
            therapy.resume(turn, ev.ResumeOrdered(ev.By("nobody", "prescriber", "none", "none"), confirm))

    honest = session.HANDLERS[ev.PumpReported]
    worlds, gap = worlds_of(life[0], infusing), Gap("long", 12.0)
    assert [one.broken for one in caught(worlds, life[1], gap, tmp_path, monkeypatch)] == ["", "", ""]
    monkeypatch.setitem(session.HANDLERS, ev.PumpReported, eager)
    found = caught(worlds, life[1], gap, tmp_path, monkeypatch)
    assert all("a start without an order of a person" in one.broken for one in found), found


def test_one_that_forgets_the_stop_it_owes_is_caught(
    life: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(turn: Turn, event: Any) -> None:
        honest(turn, event)
        turn.become(halt=None, hold=None, phase=Phase.RECOVERING)

    def owed(world: World) -> bool:
        last = world.orders[-1] if world.orders else None
        stops = last is not None and last.verb == "session.pause" and life[1].kept(world, last)
        return stops and bool(world.device.truth()["infusing"])

    honest = session.HANDLERS[ev.Restarted]
    worlds, gap = worlds_of(life[0], owed), Gap("short", 0.5)
    assert all(one.broken == "" for one in caught(worlds, life[1], gap, tmp_path, monkeypatch))
    monkeypatch.setitem(session.HANDLERS, ev.Restarted, forgetful)
    monkeypatch.setattr("pumpd.bedside.ward.owed_stops", lambda rows: [])
    found = caught(worlds, life[1], gap, tmp_path, monkeypatch)
    assert all("session.pause was ordered before the death, and the pump moves" in one.broken for one in found), found


def test_one_that_does_not_prove_the_pump_is_caught(life: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(turn: Turn, event: ev.LinkUp) -> None:
        turn.become(connected=event.identity, sight=Sight.SEEING)

    worlds, gap = worlds_of(life[0], infusing), Gap("other pump", 1.0)
    assert all(one.broken == "" for one in caught(worlds, life[1], gap, tmp_path, monkeypatch))
    monkeypatch.setitem(session.HANDLERS, ev.LinkUp, trusting)
    found = caught(worlds, life[1], gap, tmp_path, monkeypatch)
    assert all("another pump is taken for ours" in one.broken or "not ours" in one.broken for one in found), found


def test_one_that_forgets_alarms_is_caught(life: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = worlds_of(life[0], lambda world: world.chart.patient == 1 and len(world.orders) > 15)
    monkeypatch.setattr("pumpd.records.takeover._standing", lambda rows: [])
    found = caught(worlds, life[1], Gap("short", 0.5), tmp_path, monkeypatch)
    assert all("the alarm motor_stalled stood and is forgotten" in one.broken for one in found), found


def test_one_that_writes_its_journal_after_the_order_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hasty(bed: Bed, order: ev.Order, seq: int, since: float) -> None:
        await bed._carry(order, since)

    def started_and_lost(world: World) -> bool:
        starts = bool(world.orders) and world.orders[-1].verb == "session.start" and world.chart.patient == 0
        return starts and bool(world.device.truth()["infusing"]) and world.rows < past.written[world.orders[-1].id]

    monkeypatch.setattr(Bed, "_when_durable", hasty)
    whole = in_virtual_time(1000.0, lambda: whole_life(None, lambda number: number < 2500))
    past = Past(list(whole.journal.rows()))
    worlds = [world for world in whole.worlds if started_and_lost(world)]
    assert worlds, "the order went out, and its row is not on the disk"
    monkeypatch.undo()
    found = caught([replace(world) for world in worlds], past, Gap("short", 0.5), tmp_path, monkeypatch)
    assert all(one.broken for one in found), found
