"""Three witnesses of what was given (S6): how a reading moves each of them, and how far apart they may stand."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from pumpd.core import watch
from pumpd.core.watch import Volumes
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour

STEP = Decimal("0.01")
TOP = MlPerHour(900)  # the pump's highest rate: 0.25 mL a second
SLOW, FAST = MlPerHour(36), MlPerHour(72)  # 0.01 and 0.02 mL a second


def volumes(**changes: str | float | Ml | MlPerHour | None) -> Volumes:
    """Ten millilitres in by every witness, standing, last seen at 100 s."""
    usual = Volumes(100.0, watch.STILL, watch.STILL, Ml(10), Ml(10), Ml(10), Ml(10), Ml(10))
    return replace(usual, **{name: Ml(value) if isinstance(value, str) else value for name, value in changes.items()})


def infusing(rate: MlPerHour | None = SLOW, counted: str | None = "10") -> PumpReport:
    return PumpReport(Motion.INFUSING, rate, None if counted is None else Ml(counted))


# --- the most that can be in ---


@pytest.mark.shows("S1")
@pytest.mark.parametrize(
    ("counted", "high", "most", "surely"),
    [
        ("10", "9", "10.01", "10.01"),  # counted beyond what the rate can have given: another rate ran unseen
        ("10", "10", "10.01", "10"),
        ("10", "10.005", "10.01", "10.005"),
        ("10", "11", "11", "10.01"),
        ("0", "0.3", "0.3", "0.3"),  # a counter that has not moved says nothing yet, not even that it lags by a step
        ("0", "0", "0", "0"),
    ],
)
def test_a_counter_reads_up_to_one_step_low(counted: str, high: str, most: str, surely: str) -> None:
    seen = volumes(counted=counted, high=high)
    assert seen.most(STEP) == Ml(most)
    assert seen.surely_most(STEP) == Ml(surely)


@pytest.mark.shows("S6")
@pytest.mark.parametrize(
    ("low", "high", "counted", "planned", "apart"),
    [
        ("10", "10", "10", "10", "0"),
        ("9.9", "10.1", "10", "10.005", "0"),  # within the interval
        ("10", "10.01", "10", "10.01", "0"),  # the counter may stand a step low
        ("10.5", "10.5", "10", "10.5", "0.49"),  # integrated above counted
        ("10", "10", "10.5", "10", "0.5"),  # counted above integrated
        ("10", "10.7", "10", "10.7", "0.69"),  # planned above counted
        ("9.5", "10", "10", "9.5", "0.5"),  # counted above planned
        ("9", "9.4", "9.4", "10", "0.6"),  # planned above integrated
        ("10", "10", "9.99", "9.3", "0.7"),  # integrated above planned
    ],
)
def test_the_widest_gap_between_any_two_counts(low: str, high: str, counted: str, planned: str, apart: str) -> None:
    assert volumes(low=low, high=high, counted=counted).apart(Ml(planned), STEP) == Ml(apart)


@pytest.mark.parametrize(
    ("volume", "step", "rate", "expected"),
    [
        ("35", "0.01", "36", "0.71"),  # 2 % of the plan, and one poll of a second
        ("5", "0.01", "36", "0.21"),  # never below 0.2 mL
        ("5", "0.2", "36", "0.41"),  # two steps of a coarse counter
        ("35", "0.01", "0", "0.70"),
    ],
)
def test_how_far_apart_they_may_stand(volume: str, step: str, rate: str, expected: str) -> None:
    assert watch.tolerance(Ml(volume), Decimal(step), MlPerHour(rate), 1.0) == Ml(expected)
    assert watch.tolerance(Ml(100), Decimal("0.01"), MlPerHour(0), 1.0, Decimal("0.05")) == Ml(5)


# --- one reading after the other ---


@pytest.mark.shows("S6")
@pytest.mark.parametrize(("before", "after"), [(SLOW, FAST), (FAST, SLOW)])
def test_between_two_readings_the_rate_was_between_the_two(before: MlPerHour, after: MlPerHour) -> None:
    seen = volumes(rate_low=before, rate_high=before)
    now = watch.read(seen, infusing(after, "10.03"), 102.0, TOP)
    assert (now.low, now.high) == (Ml("10.02"), Ml("10.04"))
    assert (now.at, now.rate_low, now.rate_high) == (102.0, after, after)
    assert (now.counted, now.last_count) == (Ml("10.03"), Ml("10.03"))


def test_a_standing_pump_gives_nothing_whatever_rate_it_shows() -> None:
    now = watch.read(volumes(), PumpReport(Motion.STANDING, FAST, Ml(10)), 110.0, TOP)
    assert (now.low, now.high) == (Ml(10), Ml(10))
    assert (now.rate_low, now.rate_high) == (watch.STILL, watch.STILL)


@pytest.mark.shows("S6", "S7")
@pytest.mark.parametrize(
    "report",
    [
        PumpReport(Motion.KVO, SLOW, Ml(10)),
        PumpReport(Motion.BOLUS, SLOW, Ml(10)),
        PumpReport(Motion.UNKNOWN, SLOW, Ml(10)),
        infusing(None),
    ],
)
def test_what_is_not_an_infusion_at_a_known_rate_may_be_anything_up_to_the_pumps_highest(report: PumpReport) -> None:
    now = watch.read(volumes(rate_low=SLOW, rate_high=SLOW), report, 102.0, TOP)
    assert (now.low, now.high) == (Ml(10), Ml("10.5"))
    assert (now.rate_low, now.rate_high) == (watch.STILL, TOP)


def test_a_reading_of_an_earlier_moment_takes_nothing_back() -> None:
    now = watch.read(volumes(rate_low=SLOW, rate_high=SLOW), infusing(), 90.0, TOP)
    assert (now.low, now.high) == (Ml(10), Ml(10))


def test_a_start_may_have_been_taken_at_once_or_not_yet() -> None:
    begun = watch.begin(volumes(high="10.2", rate_low=SLOW), FAST, 103.0)
    assert (begun.at, begun.rate_low, begun.rate_high) == (103.0, watch.STILL, FAST)
    assert begun.unmoved() == Ml(0)
    now = watch.read(begun, infusing(FAST), 105.0, TOP)
    assert (now.low, now.high) == (Ml(10), Ml("10.24"))
    assert now.unmoved() == Ml("0.04"), "integrated since the start, and the counter has not moved"


def test_what_the_counter_has_not_followed_adds_up_until_it_moves_or_the_pump_stands() -> None:
    seen = volumes(rate_low=SLOW, rate_high=SLOW)
    for second in (101.0, 102.0):
        seen = watch.read(seen, infusing(), second, TOP)
    assert seen.unmoved() == Ml("0.02")
    assert watch.read(seen, infusing(counted="10.01"), 103.0, TOP).unmoved() == Ml(0)
    assert watch.read(seen, PumpReport(Motion.STANDING, SLOW, Ml(10)), 103.0, TOP).unmoved() == Ml(0)


# --- the counter ---


def test_the_first_reading_of_a_counter_is_its_baseline() -> None:
    now = watch.read(volumes(last_count=None), infusing(counted="77"), 100.0, TOP)
    assert (now.counted, now.last_count, now.segments) == (Ml(10), Ml(77), 1)


def test_a_counter_that_fell_goes_on_from_zero_in_a_segment_of_its_own() -> None:
    now = watch.read(volumes(), infusing(counted="0.5"), 100.0, TOP)
    assert (now.counted, now.last_count, now.segments) == (Ml("10.5"), Ml("0.5"), 2)
    again = watch.read(now, infusing(counted="0.7"), 100.0, TOP)
    assert (again.counted, again.segments) == (Ml("10.7"), 2)
    third = watch.read(again, infusing(counted="0.1"), 100.0, TOP)
    assert (third.counted, third.segments) == (Ml("10.8"), 3)


def test_a_counter_that_stands_opens_no_segment() -> None:
    now = watch.read(volumes(), infusing(counted="10"), 100.0, TOP)
    assert (now.counted, now.segments) == (Ml(10), 1)


def test_a_counter_that_is_not_told_stays_as_it_was() -> None:
    now = watch.read(volumes(), infusing(counted=None), 101.0, TOP)
    assert (now.counted, now.last_count) == (Ml(10), Ml(10))


# --- after a loss of sight ---


@pytest.mark.shows("S6")
@pytest.mark.parametrize(
    ("counted", "possible", "low", "high"),
    [
        ("10.3", "1", "10.3", "10.31"),  # the counter's increment, and the step that it may lag
        ("10.3", "0.3", "10.3", "10.3"),  # never more than was possible
        ("10.3", "0.2", "10.2", "10.2"),
        ("0.3", "1", "10", "11"),  # begun anew: what it gave before that nobody knows
        (None, "1", "10", "11"),
    ],
)
def test_after_a_gap_only_the_counter_tells(counted: str | None, possible: str, low: str, high: str) -> None:
    now = watch.read_after_gap(volumes(), infusing(SLOW, counted), 100.0, TOP, STEP, Ml(possible))
    assert (now.low, now.high) == (Ml(low), Ml(high))
    assert (now.at, now.rate_low, now.rate_high, now.unmoved()) == (100.0, SLOW, SLOW, Ml(0))


def test_in_a_gap_as_much_was_possible_as_the_rate_found_afterwards_gives() -> None:
    now = watch.read_after_gap(volumes(), infusing(FAST, None), 110.0, TOP, STEP, Ml("0.1"))
    assert (now.low, now.high, now.at) == (Ml(10), Ml("10.2"), 110.0)
    earlier = watch.read_after_gap(volumes(), infusing(FAST, None), 90.0, TOP, STEP, Ml(0))
    assert earlier.high == Ml(10), "a clock that steps back takes nothing away"


@pytest.mark.shows("S15")
@pytest.mark.parametrize(
    ("counted", "power_lost", "plausible"),
    [
        ("9.99", False, False),
        ("10", False, True),
        ("11.02", False, True),  # what was possible, and two steps
        ("11.021", False, False),
        ("1.02", True, True),  # after a power loss: the same from zero on
        ("1.021", True, False),
        ("0", True, True),
        ("10.5", True, True),
        ("0", False, False),
    ],
)
def test_what_our_counter_can_read(counted: str, power_lost: bool, plausible: bool) -> None:
    assert watch.plausible_count(volumes(), infusing(counted=counted), Ml(1), STEP, power_lost) is plausible


def test_without_two_readings_of_a_counter_nothing_is_implausible() -> None:
    assert watch.plausible_count(volumes(), infusing(counted=None), Ml(0), STEP, False)
    assert watch.plausible_count(volumes(last_count=None), infusing(counted="500"), Ml(0), STEP, False)


@pytest.mark.shows("S1")
def test_a_counter_that_was_read_a_while_ago_reads_low_by_what_flowed_since() -> None:
    seen = watch.counted_before(volumes(counted="10", high="10.5"), 1.0, MlPerHour(36))
    assert seen.most(STEP) == Ml("10.5")
    assert seen.surely_most(STEP) == Ml("10.02")
    assert watch.counted_before(seen, 0.0, MlPerHour(36)).surely_most(STEP) == Ml("10.01")
    assert watch.counted_before(volumes(counted="10", high="9"), 1.0, MlPerHour(36)).most(STEP) == Ml("10.02")
