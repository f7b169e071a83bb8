"""Our drivers pass the kit that everybody's must pass; what cannot be asked of one is named with its reason."""

from __future__ import annotations

import pytest

from pumpd.testing.conformance import CHECKS, Check, name_of, why_not
from tests.conformance.subjects import SUBJECTS


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("family", SUBJECTS)
def test_it_conforms(family: str, check: Check) -> None:
    subject = SUBJECTS[family]
    if reason := why_not(check, subject):
        pytest.skip(reason)
    check(subject)
