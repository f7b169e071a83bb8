"""The journal of a bed leads back to its state and its board, and proves that they were decided so."""

from __future__ import annotations

import json

import pytest

from pumpd.core import events as ev
from pumpd.core.alarms import Board, Moment
from pumpd.core.session import decide
from pumpd.core.state import Phase, State
from pumpd.driver import Motion
from pumpd.records.journal import Row
from pumpd.records.recall import ALARM, ALARM_OVER, alarm_text, recall, replay, row_text
from pumpd.records.record import Unreadable
from pumpd.units import MlPerHour
from tests.unit.core.world import FITTED as OTHER
from tests.unit.core.world import INFUSING, SOFTLY, STANDING, SYRINGE, TWO_STEPS, Case, plan


def row(number: int, kind: str, data: str, now: float = 0.0) -> Row:
    return Row(number, "", "", "one", "", kind, "", now, "boot", False, data)


def rows_of(case: Case) -> list[Row]:
    rows, state = [], State()
    for number, (event, now) in enumerate(case.log, start=1):
        decision = decide(state, event, now)
        state = decision.state
        rows.append(row(number, type(event).__name__, row_text(event, now, decision), now))
    return rows


def eventful() -> Case:
    case = Case(plan=plan(portions=TWO_STEPS)).running(60)
    case.feed(ev.RateOrdered(case.by(), MlPerHour(20), None, SOFTLY))
    case.failed("uncertain", uncertain=True)
    case.read(INFUSING, "20")
    case.told("motor_stalled")
    case.read(STANDING, "20")
    case.done()
    case.feed(ev.ContainerOrdered(case.by(), SYRINGE, OTHER))
    case.done()
    case.feed(ev.LinkDown("no reply"), 4)
    case.feed(ev.Restarted(rebooted=False), 1)
    case.feed(ev.LinkUp(case.state.ours), 1)
    case.read(Motion.STANDING, "20")
    case.feed(ev.ResumeOrdered(case.by(), case.confirm(), pressure_released=True))
    case.feed(ev.PauseOrdered(case.by()))
    case.feed(ev.Tick())
    return case


@pytest.mark.parametrize("make", [Case, eventful, lambda: Case().observing(), lambda: Case().paused(600)])
def test_the_fold_of_the_journal_is_the_state(make) -> None:  # type: ignore[no-untyped-def]
    case = make()
    recalled = recall(rows_of(case))
    assert recalled.state == case.state
    if case.log:
        assert (recalled.now, recalled.wire, recalled.boot_id) == (case.now, case.now, "boot")


@pytest.mark.shows("S10")
def test_any_prefix_leads_to_the_state_it_had() -> None:
    case, rows = eventful(), rows_of(eventful())
    state = State()
    for number, (event, now) in enumerate(case.log, start=1):
        state = decide(state, event, now).state
        assert recall(rows[:number]).state == state


@pytest.mark.shows("H35")
def test_a_replay_decides_the_same() -> None:
    rows = rows_of(eventful())
    assert replay(rows) == (len(rows), [])


@pytest.mark.parametrize("change", ["effect", "wake", "event"])
def test_a_replay_finds_what_was_changed(change: str) -> None:
    rows = rows_of(eventful())
    number = next(at for at, each in enumerate(rows) if each.kind == "StartOrdered")
    data = json.loads(rows[number].data)
    if change == "effect":
        begin = next(effect for effect in data["effects"] if effect["is"] == "Begin")
        begin["what"]["limit"] = "36 mL"
    elif change == "wake":
        data["wake_at"] = 1.0
    else:
        data["event"]["confirm"]["volume"] = "36 mL"
    forged = json.dumps(data, separators=(",", ":"), sort_keys=True)
    rows[number] = rows[number]._replace(data=forged)
    counted, differences = replay(rows)
    assert counted == len(rows)
    assert number + 1 in [difference.seq for difference in differences]
    assert differences[0].recorded == forged
    assert differences[0].decided != forged


def test_an_unreadable_row_is_said_so() -> None:
    with pytest.raises(Unreadable):
        recall([row(1, "LinkDown", '{"effects":[],"event":{"cause":"x"},"now":1.0,"wake_at":null}')])


def test_rows_of_other_kinds_are_passed_over() -> None:
    rows = [row(1, "Refused", "{}"), *rows_of(Case().connected())]
    assert replay(rows)[0] == len(rows) - 1
    assert recall(rows).state.phase is Phase.IDLE


def test_the_board_comes_back_in_its_order_without_what_is_over() -> None:
    board = Board()
    rows: list[Row] = []
    for order, code in enumerate(("bus_lost", "volumes_apart", "no_flow", "unarmed", "rate_above_plan"), start=1):
        board = board.raise_(code, "pump", "s-1", Moment(1.0, "t"), f"id-{order}", order)
        rows.append(row(len(rows) + 1, ALARM, alarm_text(board.find(f"id-{len(rows) + 1}"))))
    acked = board.ack("id-3", "nurse", "t2")
    rows.append(row(6, ALARM, alarm_text(acked.find("id-3"))))
    rows.append(row(7, ALARM_OVER, json.dumps({"alarm_id": "id-2"})))
    over = acked.clear("volumes_apart", "pump", Moment(3.0, "t3"))
    assert recall(rows).board.alarms == over.alarms


def test_recalled_from_its_plan_on_a_second_session_counts_its_revisions_on() -> None:
    """The rows before the plan are not read after a crash; a display that looked before it must not look up to date."""
    case = eventful()
    case.feed(ev.StopOrdered(case.by()))
    case.halted()
    case.done()
    case.feed(ev.EndOrdered(case.by()))
    before = len(case.log)
    case.feed(ev.PlanOrdered(case.by(), "s-2", case.plan, case.rules, case.before()))
    assert case.answer.state == "done", case.answer
    case.read(STANDING, None)
    recalled = recall(rows_of(case)[before:])
    assert recalled.state == case.state
