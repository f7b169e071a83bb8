"""Our drivers pass the kit that everybody's must pass; what cannot be asked of one is named with its reason."""

from __future__ import annotations

import pytest

from pumpd.testing.conformance import CHECKS, OF_CONTROL, OF_WATCHING, Check, name_of, why_not
from tests.conformance.subjects import SUBJECTS

pytestmark = pytest.mark.timeout(200)  # whole sessions, on a machine that may be busy


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("family", SUBJECTS)
def test_it_conforms(family: str, check: Check) -> None:
    subject = SUBJECTS[family]
    if reason := why_not(check, subject):
        pytest.skip(reason)
    check(subject)


def test_what_is_left_out_is_left_out_for_a_reason_that_is_known() -> None:
    """A check that comes to be left out of a driver unseen would look like one that passes."""
    left_out = {
        family: {name_of(check) for check in CHECKS if why_not(check, subject)} for family, subject in SUBJECTS.items()
    }
    watched = OF_CONTROL
    controlled = OF_WATCHING
    assert left_out == {
        "newera": controlled,
        "alaris": controlled,
        "perfusor": controlled,
        "infusomat": controlled | {"transcripts_replay", "unknown_alarms_are_told"},
        "harvard": controlled | {"a_flipped_bit_is_no_other_frame"},
        "zyno": watched,
        "fresenius": watched
        | {"a_flipped_bit_is_no_other_frame", "stop_believes_a_later_reading_only", "stop_is_one_ask"},
    }
