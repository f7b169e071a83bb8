"""The board of one bed, and the completeness of its catalogue."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pumpd.core
from pumpd.core.alarms import AUDIO_PAUSE_MAX_S, Board
from pumpd.core.catalogue import CATALOGUE, HIGH, LOW, MEDIUM, PATIENT, RANK, TECHNICAL
from pumpd.core.delivery import APART
from pumpd.core.sight import POWER_LOST
from pumpd.core.taken import WHY_IT_STOOD
from pumpd.core.turn import PRESSURE_ALARMS

LATCHING, PLAIN, MILD = "rate_above_plan", "no_flow", "bus_lost"  # high latching, high not latching, low


def raised(*codes: str, board: Board | None = None) -> Board:
    board = board or Board()
    for code in codes:
        board = board.raise_(code, "pump-1", "s-1", "t1", f"id-{code.replace('_', '-')}")
    return board


def codes(board: Board) -> list[str]:
    return [alarm.code for alarm in board.alarms]


# --- standing and going ---


@pytest.mark.shows("H14")
def test_a_condition_that_does_not_latch_goes_with_its_condition() -> None:
    board = raised(PLAIN).clear(PLAIN, "pump-1", "t2")
    assert board.alarms == ()
    assert board.revision == 2


@pytest.mark.shows("H14")
def test_a_latching_one_stands_until_a_person_resets_it() -> None:
    board = raised(LATCHING)
    assert isinstance(board.reset("id-rate-above-plan"), str), "refused while its condition holds"
    gone = board.clear(LATCHING, "pump-1", "t2")
    assert (gone.alarms[0].present, gone.alarms[0].latched, gone.alarms[0].last_ts) == (False, True, "t2")
    assert gone.reset("id-rate-above-plan").alarms == ()  # type: ignore[union-attr]


@pytest.mark.shows("H14")
def test_the_same_condition_twice_is_one_alarm() -> None:
    board = raised(PLAIN).raise_(PLAIN, "pump-1", "s-1", "t2", "other", (("ml", "1"),))
    (alarm,) = board.alarms
    assert (alarm.alarm_id, alarm.count, alarm.first_ts, alarm.last_ts) == ("id-no-flow", 1, "t1", "t2")
    assert alarm.values == (("ml", "1"),)


def test_the_same_condition_at_two_pumps_is_two_alarms() -> None:
    board = raised(PLAIN).raise_(PLAIN, "pump-2", "s-2", "t1", "id-2")
    assert len(board.alarms) == 2
    assert codes(board.clear(PLAIN, "pump-1", "t2")) == [PLAIN]


def test_a_latched_alarm_that_comes_again_sounds_again() -> None:
    board = raised(LATCHING).ack("id-rate-above-plan", "nurse", "t2")
    assert isinstance(board, Board)
    assert board.sounding(0) is None
    again = raised(LATCHING, board=board.clear(LATCHING, "pump-1", "t3"))
    (alarm,) = again.alarms
    assert (alarm.count, alarm.acked_by, alarm.present) == (2, None, True)
    assert again.sounding(0) == HIGH


def test_clearing_or_refreshing_nothing_is_no_change() -> None:
    board = raised(PLAIN)
    assert board.clear(MILD, "pump-1", "t2") is board
    assert board.raise_(PLAIN, "pump-1", "s-1", "t1", "x") is board
    latched = raised(LATCHING).clear(LATCHING, "pump-1", "t2")
    assert latched.clear(LATCHING, "pump-1", "t3") is latched


def test_an_unknown_code_is_a_fault_of_pumpd() -> None:
    with pytest.raises(KeyError):
        raised("no_such_code")


# --- persons ---


@pytest.mark.shows("H31")
def test_acknowledging_silences_that_one_and_says_who() -> None:
    board = raised(PLAIN, MILD).ack("id-no-flow", "nurse-1", "t2")
    assert isinstance(board, Board)
    assert (board.alarms[0].acked_by, board.alarms[0].acked_ts) == ("nurse-1", "t2")
    assert board.alarms[0].present, "the visual stays"
    assert board.sounding(0) == LOW
    assert board.highest == HIGH
    assert board.ack("id-no-flow", "nurse-2", "t3") is board, "the first one stays"


def test_what_does_not_stand_is_neither_acknowledged_nor_reset() -> None:
    assert raised(PLAIN).ack("nonsense", "nurse", "t") == "no alarm nonsense stands"
    assert raised(PLAIN).reset("nonsense") == "no alarm nonsense stands"


# --- sound ---


@pytest.mark.shows("within:AUDIO_PAUSE_MAX_S", "beyond:AUDIO_PAUSE_MAX_S", "H24", "H31", "H43")
@pytest.mark.parametrize(("asked", "until"), [(30.0, 130.0), (120.0, 220.0), (121.0, 220.0), (9999.0, 220.0)])
def test_an_audio_pause_ends_by_itself(asked: float, until: float) -> None:
    board = raised(PLAIN).pause_audio(100.0 + asked, "nurse", 100.0)
    assert board.audio_paused_until == until
    assert board.sounding(until - 0.1) is None
    assert board.sounding(until) == HIGH
    assert AUDIO_PAUSE_MAX_S == 120.0


@pytest.mark.shows("H24", "H31")
@pytest.mark.parametrize("new", [MILD, LATCHING])
def test_any_new_alarm_ends_the_pause_for_all(new: str) -> None:
    board = raised(new, board=raised(PLAIN).pause_audio(150.0, "nurse", 100.0))
    assert (board.audio_paused_until, board.audio_paused_by) == (None, None)
    assert board.sounding(101.0) == HIGH


def test_a_latched_alarm_that_comes_again_ends_the_pause() -> None:
    board = raised(LATCHING).clear(LATCHING, "pump-1", "t2").pause_audio(150.0, "nurse", 100.0)
    assert raised(LATCHING, board=board).audio_paused_until is None


def test_a_mere_refresh_does_not_end_the_pause() -> None:
    board = raised(PLAIN).pause_audio(150.0, "nurse", 100.0)
    assert board.raise_(PLAIN, "pump-1", "s-1", "t2", "x").audio_paused_until == 150.0


@pytest.mark.shows("H31")
def test_sound_is_resumed_by_a_person() -> None:
    board = raised(PLAIN).pause_audio(150.0, "nurse", 100.0).resume_audio()
    assert board.sounding(101.0) == HIGH


def test_an_empty_board_is_silent() -> None:
    assert (Board().highest, Board().sounding(0)) == (None, None)


@pytest.mark.shows("H18", "H23")
def test_the_list_is_by_priority_then_by_onset() -> None:
    board = raised(MILD, "volumes_apart", PLAIN, "unarmed", LATCHING, "short_of_plan")
    assert codes(board) == [PLAIN, LATCHING, "volumes_apart", "short_of_plan", MILD, "unarmed"]


def test_every_visible_change_is_a_new_revision() -> None:
    board, seen = Board(), [0]
    for change in (
        lambda each: raised(LATCHING, board=each),
        lambda each: each.ack("id-rate-above-plan", "nurse", "t"),
        lambda each: each.pause_audio(10, "nurse", 0),
        lambda each: each.resume_audio(),
        lambda each: each.clear(LATCHING, "pump-1", "t2"),
        lambda each: each.reset("id-rate-above-plan"),
    ):
        board = change(board)
        seen.append(board.revision)
    assert seen == list(range(7))


# --- the catalogue ---


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def named_in_the_program() -> set[str]:
    """Every code that some module raises, clears or notes by a literal."""
    found: set[str] = set()
    for path in Path(pumpd.core.__file__).parents[1].rglob("*.py"):
        tree = ast.parse(path.read_text())
        for call in calls(tree, "alarm", "clear", "note", "raise_", "_latch", "Raise", "Clear"):
            found |= {each.value for each in call.args if isinstance(each, ast.Constant) and type(each.value) is str}
    return found - {"pump-1"}


def test_every_code_that_is_raised_stands_in_the_catalogue() -> None:
    named = named_in_the_program()
    assert {"rate_above_plan", "comms_lost_pump", "journal_unavailable"} <= named, "the search finds them"
    listed = {code for *_, code in APART} | {POWER_LOST, *WHY_IT_STOOD}
    assert (named | listed) - set(CATALOGUE) == set()


@pytest.mark.shows("H14")
def test_every_alarm_a_driver_may_tell_stands_in_the_catalogue() -> None:
    drivers = list(entry_points(group="pumpd.drivers"))
    assert drivers
    for point in drivers:
        told = point.load().open({}).capabilities.alarms
        assert set(told) <= set(CATALOGUE), point.name
        assert all(CATALOGUE[code].latching for code in told), "an alarm of the pump is not gone because it was read"


@pytest.mark.shows("H14", "H21")
def test_every_entry_says_what_to_do() -> None:
    for code, entry in CATALOGUE.items():
        assert entry.priority in RANK
        assert entry.kind in (PATIENT, TECHNICAL)
        assert entry.text
        assert not entry.text.endswith(".")
        if entry.priority != LOW:
            assert entry.action, f"{code}: a person who hears it must know what to do"


@pytest.mark.shows("H18")
@pytest.mark.parametrize(
    ("code", "priority", "latching"),
    [
        ("stop_not_confirmed", HIGH, True),
        ("comms_lost_pump", HIGH, True),
        ("rate_above_plan", HIGH, True),
        ("unplanned_function", HIGH, True),
        ("infusing_against_plan", HIGH, True),
        ("pump_not_proved", HIGH, True),
        ("stopped_at_pump", HIGH, False),
        ("restarted_at_keypad", MEDIUM, True),
        ("infusing_after_release", MEDIUM, False),
        ("infusing_unknown_session", HIGH, False),
        ("volumes_apart", MEDIUM, False),
        ("volumes_far_apart", HIGH, True),
        ("journal_unavailable", HIGH, False),
    ],
)
def test_priorities_are_those_of_the_safety_rules(code: str, priority: str, latching: bool) -> None:
    assert (CATALOGUE[code].priority, CATALOGUE[code].latching) == (priority, latching)


def test_pressure_alarms_are_alarms() -> None:
    known = set(CATALOGUE)
    assert known & PRESSURE_ALARMS
