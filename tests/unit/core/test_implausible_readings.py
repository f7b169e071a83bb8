"""When a reading of a pump in sight is doubted before it is judged: a counter that fell or jumped (S15)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pumpd.core import events as ev
from pumpd.core.sight import implausible
from pumpd.driver import PumpReport
from pumpd.units import Ml, MlPerHour
from tests.unit.core.world import FITTED, INFUSING, RATE, STANDING, Case

TOP = MlPerHour(FITTED.rates.most)
TWO_STEPS_OF_THE_COUNTER = Ml("0.02")
GRAIN = Ml("0.000001")


def doubted(case: Case, more: Ml | str = "0", *, after: float = 0.0, rate: MlPerHour | None = RATE) -> bool:
    """The counter reads so much more than at the last reading; "none": it is not told."""
    last = case.state.volumes.last_count
    assert last is not None
    counted = None if more == "none" else last + (more if isinstance(more, Ml) else Ml(more))
    motion = INFUSING if case.phase.value == "running" else STANDING
    return implausible(case.state, PumpReport(motion, rate, counted), case.state.volumes.at + after)


# --- in the midst of an infusion --------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
@pytest.mark.parametrize("stretch", ["running", "paused"])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.0])
def test_a_counter_beyond_what_the_fastest_rate_gives_is_doubted(stretch: str, seconds: float) -> None:
    case = getattr(Case(), stretch)(60)
    most = TOP.over(seconds) + TWO_STEPS_OF_THE_COUNTER
    assert not doubted(case, most, after=seconds)
    assert doubted(case, most + GRAIN, after=seconds)


@pytest.mark.shows("S15")
def test_a_clock_that_went_back_leaves_the_steps_of_the_counter() -> None:
    case = Case().running(60)
    assert not doubted(case, TWO_STEPS_OF_THE_COUNTER, after=-5.0)


@pytest.mark.shows("S15")
@pytest.mark.parametrize("stretch", ["running", "paused"])
def test_a_counter_that_fell_is_doubted_unless_the_pump_told_of_a_loss_of_power(stretch: str) -> None:
    case = getattr(Case(), stretch)(60)
    fallen = PumpReport(STANDING, RATE, Ml(0))
    assert implausible(case.state, fallen, case.now)
    case.told("pump_power_lost")
    assert not implausible(case.state, fallen, case.now)


@pytest.mark.shows("S15")
@pytest.mark.parametrize("stretch", ["running", "paused", "armed"])
def test_a_counter_that_is_not_told_is_no_reason_for_doubt(stretch: str) -> None:
    assert not doubted(getattr(Case(), stretch)(), "none")


# --- armed ------------------------------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
def test_an_armed_pump_reads_exactly_as_it_was_armed() -> None:
    case = Case().armed()
    assert not doubted(case)
    assert not doubted(case, rate=None)
    assert doubted(case, GRAIN), "it has counted something since"
    assert doubted(case, rate=MlPerHour(47))
    assert doubted(case, "none", rate=MlPerHour(47))
    assert doubted(case, GRAIN, rate=None)


@pytest.mark.shows("S15")
def test_an_armed_pump_that_lost_its_power_is_asked_who_it_is() -> None:
    case = Case().armed()
    case.told("pump_power_lost")
    assert doubted(case)


@pytest.mark.shows("S15")
def test_another_alarm_of_an_armed_pump_is_no_doubt_about_who_it_is() -> None:
    case = Case().armed()
    case.told("pump_watchdog_expired")
    assert not doubted(case)


# --- where nothing can be said ----------------------------------------------------------------------------------------


@pytest.mark.shows("S15")
@pytest.mark.parametrize("stretch", ["planned", "observing"])
def test_a_counter_means_nothing_before_the_arming_and_after_the_end(stretch: str) -> None:
    case = getattr(Case(), stretch)()
    case.state = replace(case.state, volumes=replace(case.state.volumes, last_count=Ml(1)))
    assert not doubted(case, "5")


@pytest.mark.shows("S15")
@pytest.mark.parametrize("stretch", ["running", "armed"])
def test_while_an_order_is_on_its_way_its_outcome_tells(stretch: str) -> None:
    case = getattr(Case(), stretch)()
    if stretch == "running":
        case.feed(ev.RateOrdered(case.by(), MlPerHour(40), None))
    else:
        case.feed(ev.StartOrdered(case.by(), case.confirm()))
    assert case.order is not None, case.last
    assert not doubted(case, "5")


@pytest.mark.shows("S15")
def test_out_of_sight_the_proof_of_the_pump_judges_its_counter() -> None:
    case = Case().running(60)
    case.feed(ev.LinkDown("no reply"))
    assert not doubted(case, "5")
    case.feed(ev.LinkUp(case.state.ours))
    assert not doubted(case, "5")
