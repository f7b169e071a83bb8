"""The bounds of the New Era pump's watchdog, on both sides."""

from __future__ import annotations

import pytest

from drivers.newera import DRIVER, WATCHDOG_RANGE_S
from pumpd.driver import BadSetting

SHORTEST, LONGEST = WATCHDOG_RANGE_S


@pytest.mark.shows("within:WATCHDOG_RANGE_S")
@pytest.mark.parametrize("seconds", [SHORTEST, 10, LONGEST])
def test_a_watchdog_within_its_bounds_is_the_pumps(seconds: int) -> None:
    watchdog = DRIVER.open({"mode": "safe", "watchdog_s": seconds}).capabilities.watchdog_s
    assert watchdog is not None
    assert watchdog[0] == seconds


@pytest.mark.shows("beyond:WATCHDOG_RANGE_S")
@pytest.mark.parametrize("seconds", [0, SHORTEST - 1, LONGEST + 1, 255])
def test_a_watchdog_beyond_its_bounds_is_refused(seconds: int) -> None:
    with pytest.raises(BadSetting, match="watchdog_s"):
        DRIVER.open({"mode": "safe", "watchdog_s": seconds})
