"""The bricks of every form that is filled in outside: exact numbers, moments, words, and the strict base."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

# Decimal alone reads 3_5 as 35: a slip beside 3.5 and 3-5 on the keyboard, and ten times as much.
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
WORDS_MAX = 200  # long enough for a reason, short enough for one line of a display
UNSEEN = ("Cc", "Zl", "Zp")  # Unicode's control characters and its ends of lines and paragraphs
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # ... and what changes the direction of writing


def _exact(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str):
        if NUMBER.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a number")
        return Decimal(value)
    raise ValueError("must be a number")


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a time such as 2026-01-31T09:30:00.000Z")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("has no time zone; write UTC with Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the year 1 or after 9999 in UTC") from None


def _harmless(text: str) -> str:
    """Control characters move a terminal's cursor, hide what stands beside them, or turn a line around."""
    found = next((char for char in text if unicodedata.category(char) in UNSEEN or char in TURNING), None)
    if found is not None:
        raise ValueError(f"has the control character U+{ord(found):04X}; leave it out")
    return text


def _readable(text: str) -> str:
    if not any(char.isalnum() for char in text):
        raise ValueError("has no letter and no digit; write it out")
    return text


# Six places are finer than any pump step and any drug label; the bounds keep absurd exponents out of the arithmetic.
Number = Annotated[Decimal, BeforeValidator(_exact), Field(max_digits=12, decimal_places=6)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=WORDS_MAX), AfterValidator(_harmless)
]
Name = Annotated[Words, AfterValidator(_readable)]  # of a person or a reason: somebody has to be able to read it
Moment = Annotated[datetime, BeforeValidator(_moment)]


class Form(BaseModel):
    """Base of all that is read from outside: unknown fields and wrong types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
