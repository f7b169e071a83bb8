"""What a reading means after something nobody saw: a start, a reboot, another pump, a step of the plan that began."""

from __future__ import annotations

import pytest

from pumpd.core import events as ev
from pumpd.core.state import Phase, Sight
from pumpd.driver import Identity
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import INFUSING, RATE, STANDING, TWO_STEPS, WHO, Case, plan

FAR_TOO_FAST = MlPerHour(150)  # above what the drug library allows
ANOTHER = Identity("NE1000", "V1.0", fingerprint=(("address", "00"), ("diameter", "26.59")))


def begun_unseen(*, rebooted: bool) -> Case:
    """The start left, no answer came, and then the program or the machine was gone for five seconds."""
    case = Case().starting()
    case.feed(ev.Restarted(rebooted), 2)
    case.feed(ev.LinkUp(WHO), 3)
    return case


# --- a start whose answer was lost with the program, or with the machine ---


def test_a_start_found_carried_out_after_a_reboot_is_stopped_nobody_knows_how_long_it_ran() -> None:
    case = begun_unseen(rebooted=True)
    case.read(INFUSING, RATE, "0.02")
    assert case.halts
    assert (case.phase, case.state.hold.by_pump) == (Phase.PAUSED, False)
    assert "daemon_restarted" in case.state.conditions, "a person must know why it was stopped"
    assert case.answer.state == "done", "the order itself was carried out"


def test_a_start_found_carried_out_after_a_crash_goes_on() -> None:
    case = begun_unseen(rebooted=False)
    case.read(INFUSING, RATE, "0.02")
    assert not case.halts
    assert case.phase is Phase.RUNNING
    assert "daemon_restarted" not in case.state.conditions
    assert case.state.ordered == RATE


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_start_that_ran_for_a_while_and_stands_ran_as_long_as_its_counter_says(rebooted: bool) -> None:
    case = begun_unseen(rebooted=rebooted)
    case.read(STANDING, RATE, "0.02")
    assert case.phase is Phase.PAUSED
    assert not case.got(ev.Begin), "what stands stays standing"
    assert case.state.run_since is None
    assert case.state.elapsed == pytest.approx(RATE.seconds_for(Ml("0.02")), abs=0.01)


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_start_that_was_not_carried_out_has_failed_and_is_not_sent_again(rebooted: bool) -> None:
    case = begun_unseen(rebooted=rebooted)
    case.read(STANDING, RATE, "0")
    assert case.answer.state == "failed"
    assert not case.got(ev.Begin)
    assert case.state.elapsed == 0


# --- who must prove that it is the pump that was armed ---


def test_a_pump_that_was_armed_and_is_no_more_has_nothing_to_prove() -> None:
    """The pump was exchanged before anything was given: the plan is armed anew, so any pump will do."""
    case = Case().armed()
    case.feed(ev.LinkDown("no reply"))
    assert case.phase is Phase.PLANNED
    case.feed(ev.LinkUp(ANOTHER), 5)
    assert case.state.sight is Sight.SEEING
    assert "pump_not_proved" not in case.state.conditions
    case.read(STANDING, None, "3")
    case.feed(ev.ArmOrdered(case.by(), "p-1", (), "ok"))
    assert isinstance(case.order, ev.Arm)


def test_after_the_session_another_pump_may_be_plugged_in() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    assert case.phase is Phase.ABORTED
    case.feed(ev.LinkDown("no reply"), 60)
    case.feed(ev.LinkUp(ANOTHER), 60)
    assert case.state.sight is Sight.SEEING
    assert "pump_not_proved" not in case.state.conditions


# --- time that a pause has and has not ---


@pytest.mark.parametrize("seen", [True, False])
def test_what_flows_until_a_stop_reaches_the_pump_is_no_time_of_the_session_seen_or_unseen(seen: bool) -> None:
    """The reading that paused it was the last one, so the clock took nothing for granted that is to be taken back."""
    case = Case().running(600)
    case.read(INFUSING, FAR_TOO_FAST, case.state.volumes.counted)
    assert case.halts
    assert case.phase is Phase.PAUSED
    elapsed, after = case.state.elapsed, case.state.volumes.counted + Ml("0.1")
    if seen:
        case.halted(counted=after, dt=5)
    else:
        case.feed(ev.LinkDown("no reply"), 1)
        case.halt_failed("link_lost")
        case.feed(ev.LinkUp(case.state.ours), 4)
        case.read(STANDING, FAR_TOO_FAST, after, dt=0)
    assert case.state.sight is Sight.SEEING
    assert case.state.volumes.counted == after, "the volume counts"
    assert case.state.elapsed == elapsed


# --- a step of the plan that began as the pump was stopped ---


def test_started_at_its_keypad_the_pump_is_not_set_up_to_a_step_that_began_at_the_stop() -> None:
    """A person has started it at the lower rate it had: that is told, and the next step is a person's to restore."""
    case = Case(plan=plan(portions=TWO_STEPS)).running(1199)
    lower, higher = MlPerHour("21"), case.plan.rate_at(1300)
    case.read(STANDING, lower, dt=2)
    assert case.phase is Phase.PAUSED
    case.failed()  # the limit was not lowered: the pump was started again at that moment
    case.read(INFUSING, lower, dt=1)
    assert case.phase is Phase.RUNNING
    assert higher > lower
    assert not [order for order in case.got(ev.SetRate) if order.raises]
    assert "rate_below_plan" in case.state.conditions


# --- the smallest limit, after the end ---


def met_again(case: Case) -> Case:
    """Out of sight for a moment, then standing as before."""
    case.feed(ev.LinkDown("no reply"), 1)
    case.feed(ev.LinkUp(case.state.ours), 4)
    case.read(STANDING, dt=0)
    assert case.state.sight is Sight.SEEING
    return case


@pytest.mark.shows("S1")
def test_after_the_end_the_smallest_limit_is_set_anew_in_a_pump_that_was_out_of_sight() -> None:
    case = met_again(Case().observing())
    (order,) = case.got(ev.Tighten)
    assert (order.limit, order.rate) == (Ml(case.rules.fitted.limits.least), MlPerHour(case.rules.fitted.rates.least))
    case.done()
    case.read(STANDING)
    assert not case.got(ev.Tighten), "once is enough"
    assert case.phase is Phase.OBSERVING


@pytest.mark.shows("S1", "S5")
def test_after_the_end_a_stop_goes_before_the_smallest_limit() -> None:
    case = Case().observing()
    case.feed(ev.LinkDown("no reply"), 1)
    case.feed(ev.LinkUp(case.state.ours), 4)
    case.read(INFUSING, dt=0)
    assert case.halts
    case.read(STANDING)
    assert not case.got(ev.Tighten), "the stop is not read back yet"
    case.halted()
    assert case.got(ev.Tighten)


def test_nothing_more_is_set_in_a_pump_whose_observation_is_over() -> None:
    case = Case().observing()
    case.feed(ev.EndOrdered(case.by()))
    assert not met_again(case).got(ev.Tighten)
