"""The board of one bed as a state machine: what raises, ends, silences and hides an alarm."""

from __future__ import annotations

import pytest

from pumpd.core.alarms import (
    AUDIO_PAUSE_MAX_S,
    INACTIVE_MAX_S,
    SETTLE_MOST_S,
    SETTLE_S,
    Alarm,
    AudioPause,
    Board,
    Inactivation,
    Moment,
)
from pumpd.core.catalogue import CATALOGUE, HIGH, LOW, MEDIUM

LATCHING, PLAIN, MIDDLE, MILD = "rate_above_plan", "no_flow", "rate_below_plan", "unarmed"
LOOSE, LOOSE_LATCHING = "pump_not_connected", "comms_lost_pump"  # these settle
NEVER: dict[str, float] = {}
OFF = [Inactivation.AUDIO_OFF, Inactivation.ALARM_OFF]
PAUSED = [Inactivation.AUDIO_PAUSED, Inactivation.ALARM_PAUSED]


def at(wire: float) -> Moment:
    return Moment(wire, f"t{wire:g}")


def raised(*codes: str, board: Board | None = None, wire: float = 1.0) -> Board:
    board = board or Board()
    for code in codes:
        order = max((alarm.order for alarm in board.alarms), default=0) + 1
        board = board.raise_(code, "pump-1", "s-1", at(wire), id_of(code), order)
    return board


def id_of(code: str) -> str:
    return f"id-{code.replace('_', '-')}"


def done(answer: Board | str) -> Board:
    assert isinstance(answer, Board), answer
    return answer


def one(board: Board) -> Alarm:
    (alarm,) = board.alarms
    return alarm


def inactivated(code: str, to: Inactivation, seconds: float | None, board: Board | None = None) -> Board:
    return done((board or raised(code)).inactivate(id_of(code), to, "nurse-1", 10.0, seconds))


def codes(board: Board) -> list[str]:
    return [alarm.code for alarm in board.alarms]


# --- standing and going ---


@pytest.mark.shows("H14")
def test_a_condition_that_does_not_latch_goes_with_its_condition() -> None:
    board = raised(PLAIN).clear(PLAIN, "pump-1", at(2))
    assert board.alarms == ()
    assert board.revision == 2


@pytest.mark.shows("H14")
def test_a_latching_one_stands_until_a_person_resets_it() -> None:
    board = raised(LATCHING)
    assert board.reset(id_of(LATCHING)) == f"the condition of {id_of(LATCHING)} still holds: {CATALOGUE[LATCHING].text}"
    gone = board.clear(LATCHING, "pump-1", at(2))
    assert (one(gone).present, one(gone).latched, one(gone).last_ts) == (False, True, "t2")
    assert gone.tick(at(1e9), NEVER) == gone, "time alone does not end it"
    assert done(gone.reset(id_of(LATCHING))).alarms == ()


@pytest.mark.shows("H14")
def test_the_same_condition_twice_is_one_alarm() -> None:
    board = raised(PLAIN).raise_(PLAIN, "pump-1", "s-1", at(2), "other", 2, (("ml", "1"),))
    alarm = one(board)
    assert (alarm.alarm_id, alarm.count, alarm.first_ts, alarm.last_ts) == (id_of(PLAIN), 1, "t1", "t2")
    assert (alarm.values, alarm.order) == ((("ml", "1"),), 1)


def test_the_same_condition_at_two_pumps_is_two_alarms() -> None:
    board = raised(PLAIN).raise_(PLAIN, "pump-2", "s-2", at(1), "id-2", 2)
    assert len(board.alarms) == 2
    assert codes(board.clear(PLAIN, "pump-1", at(2))) == [PLAIN]


def test_a_latched_alarm_that_comes_again_sounds_again_and_is_of_the_new_session() -> None:
    board = done(raised(LATCHING).ack(id_of(LATCHING), "nurse", "t2"))
    assert board.sounding is None
    again = board.clear(LATCHING, "pump-1", at(3)).raise_(LATCHING, "pump-1", "s-2", at(4), "x", 7)
    alarm = one(again)
    assert (alarm.count, alarm.acked_by, alarm.present, alarm.order) == (2, None, True, 7)
    assert (alarm.alarm_id, alarm.session_id) == (id_of(LATCHING), "s-2")
    assert again.sounding == HIGH
    assert again.calls == board.calls + 1


def test_clearing_or_refreshing_nothing_is_no_change() -> None:
    board = raised(PLAIN)
    assert board.clear(MILD, "pump-1", at(2)) is board
    assert board.raise_(PLAIN, "pump-1", "s-1", at(1), "x", 9) is board
    latched = raised(LATCHING).clear(LATCHING, "pump-1", at(2))
    assert latched.clear(LATCHING, "pump-1", at(3)) is latched
    assert board.tick(at(2), NEVER) is board


def test_an_unknown_code_is_a_fault_of_pumpd() -> None:
    with pytest.raises(KeyError):
        raised("no_such_code")


# --- a loose contact ---


@pytest.mark.shows("within:SETTLE_S", "beyond:SETTLE_S", "H62")
def test_a_condition_that_settles_is_over_when_it_has_stayed_away() -> None:
    leaving = raised(LOOSE).clear(LOOSE, "pump-1", at(2))
    assert (one(leaving).present, one(leaving).shown_present) == (False, True)
    assert leaving.revision == 1, "displays are told when it is believed"
    assert codes(leaving.tick(at(2 + SETTLE_S - 0.1), NEVER)) == [LOOSE]
    assert codes(leaving.tick(at(2 + SETTLE_S), NEVER)) == []


def test_a_latching_one_that_settles_latches_when_it_has_stayed_away() -> None:
    leaving = raised(LOOSE_LATCHING).clear(LOOSE_LATCHING, "pump-1", at(2))
    assert not one(leaving).latched
    settled = leaving.tick(at(2 + SETTLE_S), NEVER)
    assert one(settled).latched
    assert settled.sounding == HIGH, "nobody has seen it"


@pytest.mark.shows("H62")
def test_a_condition_that_flaps_is_one_alarm_one_sound_and_one_news() -> None:
    board = first = done(raised(LOOSE_LATCHING).ack(id_of(LOOSE_LATCHING), "nurse", "t1"))
    for second in range(2, 22, 2):
        board = board.clear(LOOSE_LATCHING, "pump-1", at(second))
        board = raised(LOOSE_LATCHING, board=board, wire=second + 1).tick(at(second + 1.5), NEVER)
    assert (board.revision, board.calls) == (first.revision, first.calls)
    assert one(board).count == 11
    assert (one(board).acked_by, one(board).order) == ("nurse", 1), "it never really went"


@pytest.mark.shows("within:SETTLE_MOST_S", "beyond:SETTLE_MOST_S", "H62")
def test_the_more_often_it_came_back_the_longer_it_must_stay_away() -> None:
    board, waited = raised(LOOSE), []
    for coming in range(1, 20):
        gone_at = coming * 1000.0
        board = board.clear(LOOSE, "pump-1", at(gone_at))
        waited.append(one(board).settled_at - gone_at)
        board = raised(LOOSE, board=board, wire=gone_at + 1)
    assert waited == [min(SETTLE_S * count, SETTLE_MOST_S) for count in range(1, 20)]


def test_back_after_it_had_settled_it_is_new() -> None:
    board = raised(LOOSE).clear(LOOSE, "pump-1", at(2)).tick(at(60), NEVER)
    again = raised(LOOSE, board=board, wire=61)
    assert (one(again).count, again.calls) == (1, 2)


# --- persons ---


@pytest.mark.shows("H31")
def test_acknowledging_silences_that_one_and_says_who() -> None:
    board = done(raised(PLAIN, MILD).ack(id_of(PLAIN), "nurse-1", "t2"))
    assert (board.alarms[0].acked_by, board.alarms[0].acked_ts) == ("nurse-1", "t2")
    assert board.alarms[0].inactivation is Inactivation.ENABLED, "acknowledged is no inactivation"
    assert board.alarms[0].present, "the visual stays"
    assert board.sounding == LOW
    assert board.highest == HIGH
    assert board.ack(id_of(PLAIN), "nurse-2", "t3") is board, "the first one stays"


def test_acknowledging_is_no_reset_and_a_reset_needs_no_acknowledgement() -> None:
    latched = raised(LATCHING).clear(LATCHING, "pump-1", at(2))
    assert codes(done(latched.ack(id_of(LATCHING), "nurse", "t3"))) == [LATCHING]
    assert codes(done(latched.reset(id_of(LATCHING)))) == []


def test_what_does_not_stand_is_neither_acknowledged_nor_reset_nor_inactivated() -> None:
    board, words = raised(PLAIN), "no alarm nonsense stands"
    assert board.ack("nonsense", "nurse", "t") == words
    assert board.reset("nonsense") == words
    assert board.inactivate("nonsense", Inactivation.AUDIO_OFF, "nurse", 1.0, None) == words


def test_a_leaving_alarm_that_does_not_latch_needs_no_reset() -> None:
    leaving = raised(LOOSE).clear(LOOSE, "pump-1", at(2))
    assert leaving.reset(id_of(LOOSE)) == f"{id_of(LOOSE)} ends by itself: {CATALOGUE[LOOSE].text}"


# --- the five states of inactivation ---


@pytest.mark.shows("H31")
@pytest.mark.parametrize(("to", "seconds"), [*((state, None) for state in OFF), *((state, 60.0) for state in PAUSED)])
def test_an_inactivated_alarm_is_silent_still_stands_and_says_by_whom(to: Inactivation, seconds: float | None) -> None:
    board = inactivated(MIDDLE, to, seconds)
    assert (board.sounding, codes(board), one(board).acked_by) == (None, [MIDDLE], None)
    assert (one(board).inactivation, one(board).inactivated_by) == (to, "nurse-1")
    assert one(board).until == (None if seconds is None else 70.0)
    assert (board.highest is None) is to.hides, "audio alone leaves it on the screen"


@pytest.mark.shows("within:INACTIVE_MAX_S", "beyond:INACTIVE_MAX_S", "H31")
@pytest.mark.parametrize("to", PAUSED)
@pytest.mark.parametrize(("asked", "end"), [(60.0, 70.0), (INACTIVE_MAX_S, 610.0), (1e6, 610.0)])
def test_a_paused_one_comes_back_by_itself(to: Inactivation, asked: float, end: float) -> None:
    board = inactivated(MIDDLE, to, asked)
    assert board.tick(at(end - 0.1), NEVER) is board
    back = board.tick(at(end), NEVER)
    assert (one(back).inactivation, one(back).inactivated_by, one(back).until) == (Inactivation.ENABLED, None, None)
    assert back.sounding == MEDIUM


@pytest.mark.shows("H31")
@pytest.mark.parametrize("to", OFF)
def test_one_that_is_off_stays_off_until_a_person_or_a_stop_enables_it(to: Inactivation) -> None:
    board = inactivated(MIDDLE, to, None)
    assert board.tick(at(1e9), NEVER) is board
    assert done(board.inactivate(id_of(MIDDLE), Inactivation.ENABLED, "nurse", 20.0, None)).sounding == MEDIUM
    assert board.enable_all(20.0).sounding == MEDIUM


@pytest.mark.parametrize(("to", "seconds"), [(state, 60.0) for state in OFF] + [(state, None) for state in PAUSED])
def test_only_a_paused_state_has_an_end_and_it_must_have_one(to: Inactivation, seconds: float | None) -> None:
    assert isinstance(raised(MIDDLE).inactivate(id_of(MIDDLE), to, "nurse", 1.0, seconds), str)


@pytest.mark.shows("H31")
@pytest.mark.parametrize("to", [*OFF, *PAUSED])
def test_high_priority_is_never_inactivated(to: Inactivation) -> None:
    seconds = 60.0 if to.ends else None
    words = f"{id_of(PLAIN)} has high priority: such an alarm is never inactivated"
    assert raised(PLAIN).inactivate(id_of(PLAIN), to, "nurse", 1.0, seconds) == words


def test_a_new_condition_of_an_inactivated_alarm_sounds_again() -> None:
    board = inactivated("restarted_at_keypad", Inactivation.ALARM_OFF, None)
    gone = board.clear("restarted_at_keypad", "pump-1", at(20))
    assert gone.sounding is None
    again = raised("restarted_at_keypad", board=gone, wire=30)
    assert (again.sounding, again.highest) == (MEDIUM, MEDIUM)


def test_acknowledged_and_inactivated_are_kept_apart() -> None:
    board = done(inactivated(MIDDLE, Inactivation.AUDIO_PAUSED, 60.0).ack(id_of(MIDDLE), "nurse-2", "t11"))
    ended = one(board.tick(at(70), NEVER))
    assert (ended.inactivation, ended.acked_by) == (Inactivation.ENABLED, "nurse-2")


# --- escalation ---

PATIENCE = {LOW: 300.0, MEDIUM: 120.0}


def test_without_configuration_nothing_escalates() -> None:
    assert raised(MILD).tick(at(1e9), NEVER).highest == LOW


def test_unattended_it_becomes_higher_step_by_step_and_calls_again() -> None:
    board = raised(MILD)
    assert board.tick(at(300.9), PATIENCE) is board
    medium = board.tick(at(301), PATIENCE)
    assert (medium.sounding, medium.highest, medium.calls) == (MEDIUM, MEDIUM, board.calls + 1)
    assert medium.tick(at(420.9), PATIENCE) is medium
    high = medium.tick(at(421), PATIENCE)
    assert (high.sounding, high.calls, one(high).escalated_to) == (HIGH, board.calls + 2, HIGH)
    assert high.tick(at(1e9), PATIENCE) is high, "there is nothing higher"
    assert isinstance(high.inactivate(id_of(MILD), Inactivation.AUDIO_OFF, "nurse", 500.0, None), str)


def test_attended_it_does_not_escalate() -> None:
    acked = done(raised(MILD).ack(id_of(MILD), "nurse", "t2"))
    assert acked.tick(at(1e9), PATIENCE) is acked
    latched = raised("command_retained").clear("command_retained", "pump-1", at(2))
    assert latched.tick(at(1e9), PATIENCE) is latched, "what is over gets no worse"
    off = inactivated(MILD, Inactivation.AUDIO_OFF, None)
    assert off.tick(at(1e9), PATIENCE) is off


def test_the_time_unattended_begins_anew_when_a_pause_of_it_ends() -> None:
    board = inactivated(MILD, Inactivation.AUDIO_PAUSED, 600.0).tick(at(610), PATIENCE)
    assert board.tick(at(909.9), PATIENCE).highest == LOW
    assert board.tick(at(910), PATIENCE).highest == MEDIUM


def test_escalated_it_moves_up_and_a_new_occurrence_begins_at_its_own_priority() -> None:
    code = "command_retained"
    board = raised(MIDDLE, code).tick(at(301), {LOW: 300.0}).tick(at(500), {MEDIUM: 120.0})
    assert board.highest == HIGH
    again = raised(code, board=board.clear(code, "pump-1", at(501)), wire=600)
    assert next(alarm for alarm in again.alarms if alarm.code == code).priority == LOW


# --- the sound of all ---


@pytest.mark.shows("within:AUDIO_PAUSE_MAX_S", "beyond:AUDIO_PAUSE_MAX_S", "H24", "H31", "H43")
@pytest.mark.parametrize(("asked", "until"), [(30.0, 130.0), (120.0, 220.0), (121.0, 220.0), (9999.0, 220.0)])
def test_an_audio_pause_ends_by_itself(asked: float, until: float) -> None:
    pause = AudioPause.of(asked, "nurse", 100.0)
    assert pause.until == until
    assert not pause.over(until - 0.1)
    assert pause.over(until)
    assert AUDIO_PAUSE_MAX_S == 120.0


@pytest.mark.shows("H24", "H31")
@pytest.mark.parametrize("new", [MILD, LATCHING])
def test_any_new_alarm_calls(new: str) -> None:
    board = raised(PLAIN)
    assert raised(new, board=board).calls == board.calls + 1


def test_what_is_no_new_alarm_does_not_call() -> None:
    board = raised(LATCHING, MIDDLE)
    quiet = [
        board.raise_(LATCHING, "pump-1", "s-1", at(2), "x", 9, (("a", "b"),)),
        board.clear(LATCHING, "pump-1", at(2)),
        done(board.ack(id_of(LATCHING), "nurse", "t2")),
        inactivated(MIDDLE, Inactivation.AUDIO_OFF, None, board),
        board.tick(at(1e6), NEVER),
    ]
    assert [each.calls for each in quiet] == [board.calls] * len(quiet)


def test_an_empty_board_is_silent() -> None:
    assert (Board().highest, Board().sounding) == (None, None)


@pytest.mark.shows("H18", "H23")
def test_the_list_is_by_priority_then_by_order_of_occurrence() -> None:
    board = raised(MILD, "volumes_apart", PLAIN, "bus_lost", LATCHING, "short_of_plan")
    assert codes(board) == [PLAIN, LATCHING, "volumes_apart", "short_of_plan", MILD, "bus_lost"]


def test_every_visible_change_is_a_new_revision() -> None:
    board, seen = Board(), [0]
    for change in (
        lambda each: raised(MILD, board=each),
        lambda each: raised("command_retained", board=each),
        lambda each: inactivated(MILD, Inactivation.AUDIO_PAUSED, 60.0, each),
        lambda each: each.enable_all(20.0),
        lambda each: each.ack(id_of(MILD), "nurse", "t"),
        lambda each: each.clear("command_retained", "pump-1", at(2)),
        lambda each: each.reset(id_of("command_retained")),
    ):
        board = change(board)
        seen.append(board.revision)
    assert seen == list(range(8))


# --- after a restart ---


def test_after_a_restart_of_the_program_what_time_is_left_goes_on() -> None:
    board = done(inactivated(MIDDLE, Inactivation.ALARM_PAUSED, 60.0).ack(id_of(MIDDLE), "nurse-2", "t11"))
    back = board.restored(40.0, {id_of(MIDDLE)})
    assert (one(back).until, one(back).acked_by) == (70.0, "nurse-2")
    assert one(back.tick(at(70), NEVER)).inactivation is Inactivation.ENABLED


def test_after_a_restart_of_the_machine_a_pause_is_over_and_what_was_off_is_off() -> None:
    paused = inactivated(MIDDLE, Inactivation.ALARM_PAUSED, 60.0).restored(5000.0, set())
    assert (one(paused).inactivation, paused.sounding) == (Inactivation.ENABLED, MEDIUM)
    off = inactivated(MIDDLE, Inactivation.AUDIO_OFF, None).restored(5000.0, set())
    assert one(off).inactivation is Inactivation.AUDIO_OFF
    unattended = raised(MILD).restored(5000.0, set())
    assert unattended.tick(at(5299), PATIENCE).highest == LOW
    assert unattended.tick(at(5300), PATIENCE).highest == MEDIUM
    leaving = raised(LOOSE).clear(LOOSE, "pump-1", at(90000)).restored(5000.0, set())
    assert codes(leaving.tick(at(5000 + SETTLE_S), NEVER)) == []
