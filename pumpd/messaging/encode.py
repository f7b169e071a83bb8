"""JSON with exact decimals: what goes out is written as it was rounded, what comes in never passes through a float.

The standard library writes no Decimal as a number and pydantic writes it as text, so the encoder is our own: a table
from type to text, about 0.2 us a value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring as quoted
from typing import Any

from pydantic import BaseModel

DEEP = 50  # brackets; a request has 5, and Python's recursion ends near 1000
NAME_MAX = 64  # of a field's name in a refusal
PLAIN_DIGITS = 30  # within it numbers are written without exponent; beyond it a short text must not become a long one


class NotJson(ValueError):
    """The text is no JSON of ours; the message says why in the sender's words."""


def timestamp(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds and Z. Raises ValueError for a datetime without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; wall times are UTC")
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"  # less its +00:00


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is no JSON number; unknown is null with a quality")
    text = str(value)
    if "E" in text and abs(value.adjusted()) <= PLAIN_DIGITS:
        return format(value, "f")
    return text


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number; unknown is null with a quality")
    return repr(round(value, 3))  # only measured times are floats, and they are good to the millisecond


def _mapping(value: Mapping[str, object]) -> str:
    return "{" + members(value) + "}"


def members(value: Mapping[str, object]) -> str:
    """The fields of an object without its braces."""
    encoders = ENCODERS
    return ",".join([f'"{name}":{encoders.get(type(item), _other)(item)}' for name, item in value.items()])


def _quoted_mapping(value: Mapping[str, object]) -> str:
    return "{" + ",".join([f"{quoted(str(name))}:{to_json(item)}" for name, item in value.items()]) + "}"


def _sequence(value: Any) -> str:
    return "[" + ",".join([to_json(item) for item in value]) + "]"


def _other(value: Any) -> str:
    if isinstance(value, BaseModel):
        return _mapping(value.__dict__)
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, Mapping):
        return _quoted_mapping(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")


ENCODERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: str,
    str: quoted,
    float: _float,
    Decimal: _decimal,
    datetime: lambda value: f'"{timestamp(value)}"',
    dict: _quoted_mapping,
    list: _sequence,
    tuple: _sequence,
}


def to_json(value: object) -> str:
    """One line of JSON. Raises ValueError for NaN and infinity, TypeError for a type that has no form here."""
    return ENCODERS.get(type(value), _other)(value)


def from_json(text: bytes) -> object:
    """Read JSON with Decimal for every fraction. Raises NotJson for all that `to_json` could not write again, and for
    a field given twice.
    """
    try:
        words = text.decode()  # UTF-8 alone; json by itself takes UTF-16 and halves of surrogate pairs too
        value = json.loads(words, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_once)
        if b"\\u" in text or max(text.count(b"["), text.count(b"{")) > DEEP:
            to_json(value).encode()  # half a surrogate pair or too deep: what we cannot repeat we do not accept
        return value
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except UnicodeEncodeError:
        raise NotJson("text that is no Unicode") from None
    except (ValueError, ArithmeticError) as error:
        raise NotJson(str(error)) from None


def _no_constant(word: str) -> object:
    raise NotJson(f"{word} is no number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"{_sayable(twice)}: given twice")
    return fields


def _sayable(name: str) -> str:
    """A field's name as an answer may repeat it, also where it is no Unicode or has no end."""
    return name[:NAME_MAX].encode(errors="backslashreplace").decode()
