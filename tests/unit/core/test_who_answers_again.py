"""The line comes back: in which phase whoever answers has to be proved, and what becomes of another pump (S15)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.driver import Identity
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, MINIMUM, RATE, STANDING, Case


def lost(case: Case) -> Case:
    case.feed(ev.LinkDown("no reply"), 2)
    return case


def answers(case: Case, found: Identity | None = None, **changes: object) -> Case:
    case.feed(ev.LinkUp(replace(found or case.state.ours or case.who, **changes)), 3)
    return case


def ended(case: Case, phase: Phase) -> Case:
    """After the session, the dose completed or not."""
    case.state = replace(case.state, completed=phase is Phase.ENDED)
    case.feed(ev.EndOrdered(case.by()))
    assert case.phase is phase
    return case


def told(case: Case) -> dict[str, str]:
    (alarm,) = (each for each in case.got(ev.Raise) if each.code == "pump_not_proved")
    return dict(alarm.values)


# --- who has to be proved ---------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_a_pump_that_is_ending_is_proved_as_in_the_midst_of_the_session() -> None:
    case = Case().running(30)
    case.feed(ev.StopOrdered(case.by()))
    answers(lost(case))
    assert case.state.sight is Sight.VERIFYING
    assert "pump_not_proved" not in case.state.conditions, "it is known which pump it was"
    case.read(STANDING, RATE)
    assert case.state.sight is Sight.SEEING


@pytest.mark.shows("S15")
def test_lost_in_its_first_arming_it_is_told_why_nobody_can_be_proved() -> None:
    case = Case().planned()
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    case.feed(ev.StopOrdered(case.by()))
    answers(lost(case))
    assert case.state.sight is Sight.VERIFYING
    assert told(case) == {"difference": "it was lost while it was being armed for the first time"}


@pytest.mark.shows("S15")
def test_a_pump_lost_while_the_program_came_back_is_missed_as_one_that_may_infuse() -> None:
    case = Case().running(30)
    case.feed(ev.Restarted(False), 1)
    answers(case)
    assert case.phase is Phase.RECOVERING
    assert lost(case).raised == {"comms_lost_pump"}
    assert answers(case).state.sight is Sight.VERIFYING


@pytest.mark.shows("S15")
def test_without_a_session_whoever_answers_is_seen() -> None:
    case = Case().connected()
    answers(lost(case), version="V1.0")
    assert case.state.sight is Sight.SEEING
    assert not case.raised


@pytest.mark.shows("S15")
def test_a_dose_being_taken_out_after_the_session_was_given_up_is_proved() -> None:
    """The limit of the aborted session is on its way still: its pump has to be the one."""
    case = Case().armed()
    case.feed(ev.StopOrdered(case.by()))
    assert case.phase is Phase.ABORTED
    assert isinstance(case.order, ev.Tighten)
    answers(lost(case), version="V1.0")
    assert case.state.sight is Sight.VERIFYING
    assert "pump_not_proved" in case.state.conditions


# --- after the end ----------------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
@pytest.mark.parametrize("phase", [Phase.ENDED, Phase.ABORTED])
def test_another_pump_after_the_end_is_let_go_and_minded_by_nobody(phase: Phase) -> None:
    case = ended(Case().observing(), phase)
    answers(lost(case), version="V1.0")
    assert case.state.released
    case.read(INFUSING, RATE)
    assert not case.halts
    assert case.raised == {"infusing_after_release"}


@pytest.mark.shows("S15")
@pytest.mark.parametrize("phase", [Phase.ENDED, Phase.ABORTED])
def test_our_pump_after_the_end_is_minded_still(phase: Phase) -> None:
    case = ended(Case().observing(), phase)
    answers(lost(case))
    assert not case.state.released
    case.read(INFUSING, RATE)
    assert case.halts


@pytest.mark.shows("S5")
def test_after_the_end_a_stop_that_is_owed_lets_nobody_go() -> None:
    case = ended(Case().observing(), Phase.ABORTED)
    lost(case)
    case.feed(ev.PumpStopOrdered(case.by()))
    case.halt_failed("link_lost")
    answers(case, version="V1.0")
    assert case.state.halt is not None
    assert not case.state.released


# --- before the start -------------------------------------------------------------------------------------------------


def unarmed(case: Case) -> Case:
    """Its line was lost, and whoever comes next is not proved."""
    lost(case)
    assert case.phase is Phase.PLANNED
    return case


@pytest.mark.shows("S15")
def test_another_pump_in_place_of_the_armed_one_is_nobodys() -> None:
    case = answers(unarmed(Case().armed()), version="V1.0")
    assert case.state.sight is Sight.SEEING
    assert not case.state.released, "the session goes on, with a pump that is armed anew"
    assert (case.state.ours, case.state.volumes.last_count) == (None, None)
    case.read(INFUSING, RATE)
    assert case.raised == {"infusing_unknown_session"}
    assert not case.halts


@pytest.mark.shows("S15")
def test_our_pump_whose_rate_was_dialled_while_nobody_looked_is_ours() -> None:
    case = answers(unarmed(Case().armed()), rate=MlPerHour(7))
    assert case.state.ours is not None
    assert case.state.volumes.last_count is not None
    case.read(STANDING, "7")
    assert isinstance(case.order, ev.Tighten)


@pytest.mark.shows("S15")
def test_our_pump_back_after_its_arming_was_undone_is_said_to_be_unarmed_once() -> None:
    case = unarmed(Case().armed())
    case.effects.clear()
    answers(case, limit=MINIMUM)
    assert case.raised == set()


@pytest.mark.shows("S15")
def test_an_armed_pump_found_to_be_another_in_sight_is_unarmed_with_its_reason() -> None:
    case = answers(Case().armed(), version="V1.0")
    (alarm,) = case.got(ev.Raise)
    assert alarm == ev.Raise("unarmed", (("why", "another pump answers"),))
    assert case.phase is Phase.PLANNED


@pytest.mark.shows("S15")
def test_what_was_being_set_in_our_pump_is_not_waited_for_from_another() -> None:
    case = Case().armed()
    case.read(STANDING, "12")
    assert isinstance(case.order, ev.Tighten)
    answers(lost(case), version="V1.0")
    assert case.state.pending is None
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert case.answer.reason == "busy", "it was not read yet"
    case.read(STANDING, None, Ml(3))
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert isinstance(case.order, ev.Arm)


# --- after a reboot ---------------------------------------------------------------------------------------------------


@pytest.mark.shows("S11")
def test_a_second_restart_soon_after_a_reboot_does_not_make_the_gap_known() -> None:
    case = Case().running(60)
    case.feed(ev.Restarted(rebooted=True))
    case.feed(ev.Restarted(rebooted=False))
    assert case.state.rebooted
    answers(case)
    case.read(INFUSING, RATE, case.state.volumes.counted + Ml(2))
    assert case.halts


@pytest.mark.shows("S10")
def test_a_start_on_its_way_at_a_crash_may_have_been_taken() -> None:
    case = Case().starting()
    case.feed(ev.Restarted(rebooted=False), 1)
    assert case.phase is Phase.RECOVERING
    assert case.state.pending is not None
    assert case.state.pending.uncertain
    assert case.raised == {"daemon_restarted"}
