from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpd.core.events import EFFECTS, EVENTS, OrderDone, PumpReported, SetRate
from pumpd.driver import Motion, PumpReport
from pumpd.records.record import Recorder, Unreadable
from pumpd.units import Kg, Mg, MgPerKg, MgPerMl, Ml, MlPerHour, Quantity

EXACT = st.decimals(allow_nan=False, allow_infinity=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


class Colour(Enum):
    RED = "red"
    DEEP = 2


@dataclass(frozen=True, slots=True)
class Left:
    volume: Ml


@dataclass(frozen=True, slots=True)
class Right:
    volume: Ml
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class Everything:
    side: Left | Right
    perhaps: Left | Right | None
    dose: MgPerKg | Mg
    number: Decimal
    pairs: tuple[tuple[str, str], ...]
    sides: tuple[Left | Right, ...]
    flag: bool
    at: float
    count: int | None


RECORDER = Recorder([Everything, *EVENTS, *EFFECTS])


@pytest.fixture(autouse=True, scope="module")
def _exact_numbers() -> None:
    st.register_type_strategy(Decimal, EXACT)
    st.register_type_strategy(float, FINITE)
    for unit in (Ml, MlPerHour, Mg, MgPerMl, Kg, MgPerKg):
        st.register_type_strategy(unit, st.builds(unit, EXACT))


@settings(max_examples=25, deadline=None)  # 35 classes; the first draw of each builds its strategy
@given(data=st.data())
@pytest.mark.parametrize("cls", [Everything, *EVENTS, *EFFECTS])
def test_what_was_dumped_is_loaded_again_exactly(cls: type[Any], data: st.DataObject) -> None:
    thing = data.draw(st.from_type(cls))
    text = RECORDER.dump(thing)
    again = RECORDER.load(cls.__name__, text)
    assert again == thing
    assert RECORDER.dump(again) == text
    assert repr(again) == repr(thing)  # 1.0 and 1.00 are equal, yet not the same record


def test_a_record_reads_like_this() -> None:
    report = PumpReport(Motion.INFUSING, MlPerHour("46.67"), Ml("12.30"), None)
    text = Recorder([PumpReported]).dump(PumpReported(report))
    assert text == (
        '{"report":{"counted":"12.30 mL","limit":null,"motion":"infusing","rate":"46.67 mL/h","warnings":null},'
        '"took_s":0.0}'
    )


def test_a_choice_of_classes_carries_its_name_and_a_choice_of_quantities_its_unit() -> None:
    thing = Everything(Left(Ml(1)), None, Mg(35), Decimal("0.1"), (), (Right(Ml(2), Colour.DEEP),), True, 1.5, None)
    written = json.loads(Recorder([Everything]).dump(thing))
    assert written["side"] == {"is": "Left", "volume": "1 mL"}
    assert written["sides"] == [{"is": "Right", "volume": "2 mL", "colour": 2}]
    assert written["dose"] == "35 mg"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("Vanished", "{}", "Vanished: this version of pumpd does not know such a record"),
        ("SetRate", '{"number":1,"raises":true}', "SetRate: required field missing @ \\$.rate"),
        ("SetRate", '{"number":1,"raises":true,"rate":"3 mL"}', "'3 mL' is not in mL/h"),
        ("SetRate", '{"number":1,"raises":true,"rate":"3 mL/h","sure":1}', "sure"),
        ("SetRate", "nonsense", "SetRate: "),
    ],
)
def test_a_record_that_cannot_be_read_says_what_is_wrong(name: str, text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        Recorder([SetRate]).load(name, text)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Recorder([OrderDone]).dump(OrderDone(1, float("nan")))


def test_two_classes_of_one_name_are_refused() -> None:
    other = dataclass(frozen=True)(type("SetRate", (), {}))
    with pytest.raises(ValueError, match="named SetRate"):
        Recorder([SetRate, other])


def test_every_quantity_can_be_told_apart_by_its_unit() -> None:
    units = [cls.unit for cls in Quantity.__subclasses__()]
    assert len(units) == len(set(units))
