"""The Acme driver against its manual, and against the whole contract."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from acme_device import AcmeDevice
from acme_pump import DRIVER, spell

from pumpd.driver import Container, Differs, Motion, Programme, PumpReport
from pumpd.testing import rehearse
from pumpd.testing.conformance import CHECKS, Check, Subject, Transcript, name_of, why_not
from pumpd.units import Ml, MlPerHour

SYRINGE = Container("syringe", "BD", Ml(60), Decimal("26.59"), Ml(50))
PROGRAMME = Programme(SYRINGE, MlPerHour("46.6"), Ml(35), keypad_lock=False)


def said(*lines: tuple[str, str | None]) -> Sequence[tuple[bytes, bytes | None]]:
    return [(spell(sent), None if answer is None else spell(answer)) for sent, answer in lines]


SUBJECT = Subject(
    driver=DRIVER,
    device=AcmeDevice,
    container=SYRINGE,
    given=lambda device: device.given,
    transcripts=(
        Transcript("connect", lambda pump: pump.connect(), said(("ID", "D1 1.0 SN77"), ("?", "S 10.0 0.00 200.0"))),
        Transcript(
            "arm",
            lambda pump: pump.arm(PROGRAMME),
            said(("SET 26.59 0 10", "OK"), ("GET", "26.59 0 10")),
        ),
        Transcript(
            "load",
            lambda pump: pump.load(PROGRAMME.rate, PROGRAMME.limit),
            said(("LOAD 46.6 35", "OK"), ("?", "S 46.6 0.00 35.0")),
            gives=PumpReport(Motion.STANDING, MlPerHour("46.6"), Ml(0), Ml(35)),
        ),
        Transcript("start", lambda pump: pump.start(), said(("START", "OK"))),
        Transcript("stop", lambda pump: pump.stop(), said(("STOP", "OK"), ("?", "S 46.6 1.25 35.0"))),
    ),
    unknown_alarms=(spell("!GREMLINS"),),
)


def test_the_sum_of_the_manual() -> None:
    assert spell("ID") == b"ID*8D\n"  # Acme manual 2.2


def test_load_believes_the_read_back() -> None:
    pump = DRIVER.open({})
    with pytest.raises(Differs, match="limit"):
        rehearse(
            pump.load(MlPerHour("46.6"), Ml(35)), said(("LOAD 46.6 35", "OK"), ("?", "S 46.6 0.00 3.5")), pump.framer
        )


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_it_conforms(check: Check) -> None:
    if reason := why_not(check, SUBJECT):
        pytest.skip(reason)
    check(SUBJECT)
