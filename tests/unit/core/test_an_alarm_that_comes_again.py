"""An alarm that comes again is told as new: what persons did to the former occurrence is gone, what names it stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core.alarms import SETTLE_S, Alarm, AudioPause, Board, Inactivation, Moment
from pumpd.core.catalogue import LOW, MEDIUM
from tests.unit.core.test_alarms import (
    LATCHING,
    LOOSE,
    MIDDLE,
    MILD,
    NEVER,
    at,
    codes,
    done,
    id_of,
    inactivated,
    one,
    raised,
)

MILD_LATCHING = "command_retained"
LOOSE_LATCHING = "comms_lost_pump"


def handled() -> Board:
    """Low, escalated, seen by one nurse, its sound paused by another, and gone since."""
    board = raised(MILD_LATCHING).tick(at(400), {LOW: 300.0})
    assert one(board).priority == MEDIUM
    board = done(board.ack(id_of(MILD_LATCHING), "nurse-2", "t401"))
    board = done(board.inactivate(id_of(MILD_LATCHING), Inactivation.AUDIO_PAUSED, "nurse-1", 402.0, 500.0))
    return board.clear(MILD_LATCHING, "pump-1", at(403))


def test_what_persons_did_to_the_former_one_is_gone() -> None:
    before = one(handled())
    again = one(handled().raise_(MILD_LATCHING, "pump-1", "s-2", at(500), "other", 9, (("topic", "b"),)))
    assert again == Alarm(
        alarm_id=before.alarm_id,
        code=MILD_LATCHING,
        source="pump-1",
        session_id="s-2",
        present=True,
        first_ts="t1",
        last_ts="t500",
        count=2,
        values=(("topic", "b"),),
        order=9,
        unattended_since=500.0,
    )


def test_without_a_session_it_stays_with_the_one_it_came_in() -> None:
    again = handled().raise_(MILD_LATCHING, "pump-1", None, at(500), "other", 9)
    assert one(again).session_id == "s-1"


def test_its_sound_is_not_paused_by_the_end_of_the_former_ones_pause() -> None:
    again = handled().raise_(MILD_LATCHING, "pump-1", "s-1", at(500), "other", 9)
    assert again.sounding == LOW
    assert again.tick(at(902), NEVER) is again, "there is no pause left to end"


def test_what_only_holds_on_is_not_told_as_new() -> None:
    board = inactivated(MIDDLE, Inactivation.AUDIO_OFF, None)
    longer = board.raise_(MIDDLE, "pump-1", "s-2", at(20), "other", 9, (("ml", "2"),))
    assert one(longer) == replace(one(board), last_ts="t20", values=(("ml", "2"),))
    assert (longer.revision, longer.calls) == (board.revision + 1, board.calls)


# --- around the moment at which a loose contact is believed to be gone ---


@pytest.mark.parametrize(("after", "sounds"), [(SETTLE_S - 0.1, 0), (SETTLE_S, 1), (SETTLE_S + 9, 1)])
def test_back_after_that_moment_it_sounds_though_no_clock_has_ticked(after: float, sounds: int) -> None:
    leaving = raised(LOOSE_LATCHING).clear(LOOSE_LATCHING, "pump-1", at(10))
    back = leaving.raise_(LOOSE_LATCHING, "pump-1", "s-1", at(10 + after), "other", 2)
    assert back.calls == leaving.calls + sounds
    assert (one(back).present, one(back).leaving_since, one(back).count) == (True, None, 2)
    assert back.tick(at(1e6), NEVER) is back, "it is not leaving any more"


def test_when_it_latched_is_when_it_was_believed_to_be_gone() -> None:
    leaving = raised(LOOSE_LATCHING).clear(LOOSE_LATCHING, "pump-1", at(10))
    latched = one(leaving.tick(at(10 + SETTLE_S), NEVER))
    assert (latched.leaving_since, latched.last_ts) == (None, f"t{10 + SETTLE_S:g}")


def test_a_leaving_one_that_nobody_attended_to_does_not_escalate_while_it_leaves() -> None:
    leaving = raised(LOOSE).clear(LOOSE, "pump-1", at(2))
    assert one(leaving.tick(at(3), {LOW: 0.5, MEDIUM: 0.5})).escalated_to is None


# --- the figures of escalation, and what enables ---


def test_an_escalation_is_stamped_and_the_next_one_counts_from_it() -> None:
    higher = one(raised(MILD).tick(at(301), {LOW: 300.0}))
    assert (higher.escalated_to, higher.last_ts, higher.unattended_since) == (MEDIUM, "t301", 301.0)


def test_enabling_what_is_enabled_is_no_news() -> None:
    board = raised(MIDDLE, MILD)
    assert board.enable_all(50.0) is board
    assert board.inactivate(id_of(MILD), Inactivation.ENABLED, "nurse", 50.0, None) is board


def test_enabled_again_it_is_nobodys_and_unattended_from_then_on() -> None:
    enabled = inactivated(MIDDLE, Inactivation.ALARM_PAUSED, 60.0).enable_all(50.0)
    alarm = one(enabled)
    assert (alarm.inactivated_by, alarm.until, alarm.unattended_since) == (None, None, 50.0)


def test_a_latched_alarm_that_a_person_hid_stands_and_can_be_reset() -> None:
    board = inactivated(MILD_LATCHING, Inactivation.ALARM_OFF, None).clear(MILD_LATCHING, "pump-1", at(20))
    assert board.highest is None
    assert codes(board) == [MILD_LATCHING]
    assert codes(done(board.reset(id_of(MILD_LATCHING)))) == []


# --- what the journal kept ---


def test_kept_alarms_are_shown_in_their_order_whatever_order_they_were_kept_in() -> None:
    board = raised(MILD, LATCHING, MIDDLE)
    assert Board.of(reversed(board.alarms)).alarms == board.alarms


def test_after_a_reboot_only_what_was_leaving_is_leaving() -> None:
    board = raised(LOOSE, MILD).clear(LOOSE, "pump-1", at(90_000)).restored(5000.0, set())
    assert {alarm.code: alarm.leaving_since for alarm in board.alarms} == {LOOSE: 5000.0, MILD: None}
    assert {alarm.unattended_since for alarm in board.alarms} == {5000.0}


def test_of_this_boot_all_times_stay() -> None:
    board = raised(LOOSE, MILD).clear(LOOSE, "pump-1", at(9))
    assert board.restored(5000.0, {id_of(LOOSE), id_of(MILD)}) is board


def test_a_pause_is_of_the_bus_only_where_the_bus_asked_for_it() -> None:
    assert AudioPause.of(60.0, "nurse", 1.0, remote=True).remote
    assert not AudioPause.of(60.0, "nurse", 1.0).remote
    assert not AudioPause(61.0, "nurse").remote


def test_an_alarm_that_stands_has_come_once() -> None:
    """Rows of a journal from before a figure was kept are read with what was true then."""
    alarm = Alarm("id", MILD, "pump-1", None, True, "t1", "t1")
    board = Board().raise_(MILD, "pump-1", None, Moment(0.0, "t1"), "id", 0)
    assert board.alarms == (alarm,)


# --- how long, in seconds, and what else is shown ---


def test_a_loose_contact_settles_in_five_seconds_and_never_needs_more_than_a_minute() -> None:
    board, waited = raised(LOOSE), []
    for coming in range(1, 15):
        board = board.clear(LOOSE, "pump-1", at(100.0 * coming))
        waited.append(one(board).settled_at - 100.0 * coming)
        board = raised(LOOSE, board=board, wire=100.0 * coming + 1)
    assert waited == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]


def test_a_new_alarm_shows_the_values_it_came_with() -> None:
    board = Board().raise_(LATCHING, "pump-1", "s-1", at(1), "id", 1, (("read", "90 mL/h"),))
    assert one(board).values == (("read", "90 mL/h"),)


@pytest.mark.parametrize(("code", "stands"), [(LATCHING, True), (MIDDLE, False)])
def test_only_a_latching_alarm_stands_without_its_condition(code: str, stands: bool) -> None:
    assert replace(one(raised(code)), present=False).latched is stands
