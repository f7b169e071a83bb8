"""Three volumes side by side, and an independent look at whether reality follows the plan (S6). Pure.

* planned: what the clock says should be in;
* integrated: reported rate over measured time, as an interval from the least to the most it can have been;
* counted: the pump's own counter, as a sum of its increments.

What this cannot see - wrong syringe, siphoning, a leak - is listed in docs/safety.md: all three figures rest on the
same motor and the same diameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from pumpd.core.frozen import changer
from pumpd.driver import Motion, PumpReport
from pumpd.units import Ml, MlPerHour

ZERO = Ml(0)
STILL = MlPerHour(0)
APART_SHARE = Decimal("0.02")  # of the planned volume: medium alarm beyond it ...
APART_SHARE_HIGH = Decimal("0.05")  # ... high alarm beyond this
APART_LEAST = Ml("0.2")  # below this two volumes are never called apart
APART_STEPS = 2  # counter steps
APART_FOR_S = 30.0  # session seconds the volumes must stay apart


@dataclass(frozen=True, slots=True)
class Volumes:
    """What has been given in this session, by each witness."""

    at: float = 0.0  # session seconds of the last reading
    rate_low: MlPerHour = STILL  # between the last reading and the next, at least
    rate_high: MlPerHour = STILL  # ... and at most
    low: Ml = ZERO  # integrated, at least
    high: Ml = ZERO  # integrated, at most
    counted: Ml = ZERO  # sum of the pump counter's increments
    last_count: Ml | None = None  # the raw counter
    count_at_high: Ml = ZERO  # `high` when the counter last moved
    segments: int = 1
    lag: Ml = ZERO  # what may have flowed since the counter was read, on a line that answers slowly

    def most(self, step: Decimal) -> Ml:
        """The most that can have been given: the counter may lag by one `step`, and S1 takes the larger figure."""
        counted, high = self.counted.value, self.high.value
        return Ml(max(counted + step + self.lag.value if counted else counted, high))

    def surely_most(self, step: Decimal) -> Ml:
        """The tighter upper bound: true as long as both the counter and the reported rate are.

        A counter beyond what the rate can have given proves that another rate ran between two readings.
        """
        counted, high = self.counted.value, self.high.value
        if not counted:
            return self.high
        top = counted + step + self.lag.value
        return Ml(top if counted > high else min(top, high))

    def apart(self, planned: Ml, step: Decimal) -> Ml:
        """How far the three volumes stand apart at the widest. The counter reads up to one `step` low."""
        plan, low, high = planned.value, self.low.value, self.high.value
        bottom = self.counted.value
        top = bottom + step
        return Ml(max(low - top, bottom - high, plan - top, bottom - plan, plan - high, low - plan, ZERO.value))

    def unmoved(self) -> Ml:
        """What was integrated since the counter last moved."""
        return self.high - self.count_at_high


_changed = changer(Volumes)


def begin(volumes: Volumes, rate: MlPerHour, since: float) -> Volumes:
    """The pump was told to run at `since`; until the next reading it may have given up to `rate`."""
    return replace(volumes, at=since, rate_low=STILL, rate_high=rate, count_at_high=volumes.high)


def read(volumes: Volumes, report: PumpReport, now: float, top_rate: MlPerHour) -> Volumes:
    """Take one reading. Between two readings the rate was somewhere between the two reported ones."""
    low_rate, high_rate = _rates(report, top_rate)
    gap = max(0.0, now - volumes.at)
    least = min(volumes.rate_low, low_rate).over(gap)
    most = max(volumes.rate_high, high_rate).over(gap)
    counted = add_count(volumes, report.counted)
    high = volumes.high + most
    return _changed(
        counted,
        at=now,
        rate_low=low_rate,
        rate_high=high_rate,
        low=volumes.low + least,
        high=high,
        count_at_high=high if counted.counted > volumes.counted or not report.motion.moves else volumes.count_at_high,
    )


def counted_before(volumes: Volumes, took_s: float, highest: MlPerHour) -> Volumes:
    """The counter of the last reading is `took_s` old, and up to `highest` may have run since."""
    lag = highest.over(took_s)
    return volumes if lag == volumes.lag else _changed(volumes, lag=lag)


def read_after_gap(
    volumes: Volumes,
    report: PumpReport,
    now: float,
    top_rate: MlPerHour,
    step: Decimal,
    possible: Ml,
    power_lost: bool = False,
) -> Volumes:
    """The first reading after a loss of sight: only the counter can tell what happened in between.

    The integrated interval takes the counter's increment for the gap, never more than was `possible`. A counter that
    may have begun again at zero tells the least; all that was possible may have been given.
    """
    low_rate, high_rate = _rates(report, top_rate)
    counted = add_count(volumes, report.counted)
    possible = max(possible, high_rate.over(max(0.0, now - volumes.at)))
    if report.counted is None or counted.segments != volumes.segments:
        least, most = ZERO, possible
    else:
        least = counted.counted - volumes.counted
        most = possible if power_lost else min(possible, least + Ml(step))
    high = volumes.high + most
    low = volumes.low + min(least, most)
    return _changed(counted, at=now, rate_low=low_rate, rate_high=high_rate, low=low, high=high, count_at_high=high)


def plausible_count(volumes: Volumes, report: PumpReport, possible: Ml, step: Decimal, power_lost: bool) -> bool:
    """S15: could our pump's counter read this by now, if it gave at most `possible` since the last reading?

    After a power loss it may have begun again at zero.
    """
    if report.counted is None or volumes.last_count is None:
        return True
    grown = possible + Ml(step) + Ml(step)
    if power_lost and report.counted <= grown:
        return True
    return volumes.last_count <= report.counted <= volumes.last_count + grown


def tolerance(volume: Ml, step: Decimal, rate: MlPerHour, poll_s: float, share: Decimal = APART_SHARE) -> Ml:
    """How far two volumes may stand apart: the share of the plan, 0.2 mL or two counter steps, and one poll's worth."""
    widest = max(volume * share, APART_LEAST, Ml(step * APART_STEPS))
    return widest + rate.over(poll_s)


def _rates(report: PumpReport, top_rate: MlPerHour) -> tuple[MlPerHour, MlPerHour]:
    if report.motion is Motion.INFUSING and report.rate is not None:
        return report.rate, report.rate
    if report.motion is Motion.STANDING:
        return STILL, STILL
    return STILL, top_rate  # unknown or an unplanned function: anything up to the pump's highest rate


def add_count(volumes: Volumes, count: Ml | None) -> Volumes:
    """Add the counter's increment. A counter that fell opens a new segment and never lowers the total."""
    if count is None:
        return volumes
    if volumes.last_count is None:
        return _changed(volumes, last_count=count)
    if count < volumes.last_count:
        return _changed(volumes, counted=volumes.counted + count, last_count=count, segments=volumes.segments + 1)
    return _changed(volumes, counted=volumes.counted + (count - volumes.last_count), last_count=count)
