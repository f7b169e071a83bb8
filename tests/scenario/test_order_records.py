"""Each order to the pump is recorded twice: when it is decided, and with what became of it (S4, S9, S10, S16)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from pumpd.bedside.hands import carry_out
from pumpd.cli import call
from pumpd.records.journal import Journal
from pumpd.records.journal_file import Reader
from pumpd.records.orders import Life, orders_of
from pumpd.testing import VirtualClock
from tests.bedside import Bedside, Room, ward
from tests.campaign.random_sessions import Run, quiet
from tests.conftest import seed
from tests.scenario.test_recovery import born_again, journaled

SEEDS = range(seed() + 300, seed() + 304)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def _quiet() -> Iterator[None]:
    quiet()
    yield
    structlog.reset_defaults()


def recorded(bed: Bedside) -> list[Life]:
    return orders_of(bed.room.journal.rows(bed=bed.name))


def told(lives: list[Life]) -> list[tuple[str, str]]:
    return [(life.order, life.words) for life in lives]


async def test_a_session_from_arming_to_release_has_both_halves_of_every_order(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        await bed.until_session(60)
        bed.do("set_rate", ml_h=60.0)
        await bed.until(lambda: bed.truth["rate_ml_h"] < 50, 5)
        await bed.order("session.stop")
        await bed.until(lambda: bed.phase == "observing", 10)
        assert (await bed.order("session.release"))["state"] == "done"
        session = bed.state.session_id
        lives = recorded(bed)
    bed.room.journal.close()
    names = ["Arm", "Begin", "SetRate", "Halt", "Tighten", "Release"]
    assert told(lives) == [(name, "done") for name in names]
    assert [life.number for life in lives] == [1, 2, 3, 4, 5, 6]
    assert all(life.seq < life.outcome_seq == life.settled_seq for life in lives)
    assert call(["journal", "orders", session, "--journal", str(path)]) == 0
    said = capsys.readouterr().out
    assert "6 orders, every one with its outcome" in said
    assert [name for name in names if name in said] == names


async def test_killed_before_the_start_was_read_back_the_next_reading_is_its_second_half(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed_before_it_is_told(*order: Any) -> None:
        await carry_out(*order)
        await asyncio.Event().wait()

    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.armed()
        monkeypatch.setattr("pumpd.bedside.bed.carry_out", killed_before_it_is_told)
        await bed.order("session.start", confirm=True, wait_s=0.5)
        assert bed.truth["infusing"]
    assert told(recorded(bed)) == [("Arm", "done"), ("Begin", "open")]
    monkeypatch.undo()
    again = born_again(bed, path)
    async with ward(again):
        await again.until(lambda: again.phase == "running", within_s=5)
        lives = recorded(again)
    assert told(lives) == [("Arm", "done"), ("Begin", "the pump was read")]


async def test_a_stop_owed_while_blind_stays_open_until_the_pump_is_read(path: Path) -> None:
    bed = Bedside(journaled(path), mode="basic")
    async with ward(bed):
        await bed.running()
        bed.port.plug_out()
        await asyncio.sleep(5)
        await bed.order("session.stop", wait_s=1)
        assert [life.order for life in recorded(bed) if life.open] == ["Halt"]
        bed.port.plug_in()
        await bed.until(lambda: bed.state.halt is None, 30)
        assert not any(life.open for life in recorded(bed))


@pytest.mark.shows("S16")
async def test_the_links_own_stop_is_recorded_though_no_bed_is_there_to_decide(path: Path) -> None:
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        bed.ward.bed.break_down(RuntimeError("poison"))
        await bed.until(lambda: not bed.truth["infusing"], 5)
        await bed.until(lambda: bed.state.sight.value == "seeing", 10)
        lives = recorded(bed)
    assert ("LinkStop", "done") in told(lives)
    assert not any(life.open for life in lives)


async def test_a_stop_given_while_only_watched_is_recorded_with_its_end(path: Path) -> None:
    bed = Bedside(journaled(path))
    async with ward(bed):
        await bed.running()
        bed.ward.bed.monitor_only = True
        assert (await bed.order("session.stop", wait_s=5))["state"] == "done"
        assert not bed.truth["infusing"]
        lives = recorded(bed)
    assert told(lives)[-1] == ("Owed", "done")


@pytest.mark.parametrize("kind", ["Begin", "Halt"])
async def test_an_outcome_that_is_missing_would_be_seen(kind: str, clock: VirtualClock) -> None:
    """The half that a crash swallows is open until something settles it: shown by cutting before its row."""
    bed = Bedside(Room(clock=clock, journal=Journal(None, clock.boot_id, threaded=False)))
    async with ward(bed):
        await bed.running()
        await bed.order("session.stop")
        rows = list(bed.room.journal.rows(bed=bed.name))
    outcome = next(life.outcome_seq for life in orders_of(rows) if life.order == kind)
    lives = orders_of(row for row in rows if row.seq < outcome)
    assert [life.order for life in lives if life.open] == [kind]


@pytest.mark.shows("S10", "S4", "H19")
@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("number", SEEDS)
async def test_after_random_crashes_no_order_is_left_without_an_outcome(number: int, tmp_path: Path) -> None:
    run = Run(number, tmp_path, favour=("crash",))
    await run.run()
    with Reader.open(tmp_path / "journal.sqlite3") as reader:
        assert any(row.kind == "Restarted" for row in reader.rows())
        for bed in run.beds:
            lives = orders_of(reader.rows(bed=bed.name))
            assert lives
            assert [(life.seq, life.order, life.words) for life in lives if life.open] == []
            for life in lives:
                assert life.outcome or life.settled_by, life
