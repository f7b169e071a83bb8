"""Frozen dataclasses to JSON and back, exactly: what the journal holds of an event is the event (S9, replay).

Quantities are text with their unit ("46.67 mL/h"), decimals text, enums their value, tuples lists. Where a field may
hold one of several dataclasses, the object says which: `"is": "SetRate"`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from cattrs import Converter, transform_error
from cattrs.v import format_exception

from pumpd.units import Quantity

Hook = Callable[[Any], Any]
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False).encode


class Unreadable(ValueError):
    """A recorded text is not of a class this version knows, or not of that shape. The text says what is wrong."""


class Recorder:
    """Writes and reads objects of the given classes, and of whatever dataclasses their fields hold."""

    def __init__(self, classes: Iterable[type]) -> None:
        """Raise ValueError when two classes share a name."""
        self._converter = _converter()
        self._classes: dict[str, type] = {}
        for cls in classes:
            if self._classes.setdefault(cls.__name__, cls) is not cls:
                raise ValueError(f"two recorded classes are named {cls.__name__}")
        self._dump: dict[type, Hook] = {
            cls: self._converter.get_unstructure_hook(cls) for cls in self._classes.values()
        }

    def dump(self, thing: object) -> str:
        """Compact JSON, keys sorted: the same object always gives the same text. Raises ValueError on NaN."""
        return _encode(self._dump[type(thing)](thing))

    def load(self, name: str, text: str) -> object:
        """The object of class `name` that was dumped as `text`. Raises Unreadable."""
        try:
            written = json.loads(text)
        except ValueError as error:
            raise Unreadable(f"{name}: {error}") from None
        return self.build(name, written)

    def build(self, name: str, written: object) -> object:
        """The object of class `name`, from its JSON as it was parsed. Raises Unreadable."""
        cls = self._classes.get(name)
        if cls is None:
            raise Unreadable(f"{name}: this version of pumpd does not know such a record")
        try:
            return self._converter.structure(written, cls)
        except Exception as error:  # the converter groups errors of any type; all mean the same to the reader
            raise Unreadable(f"{name}: {'; '.join(transform_error(error, format_exception=_words))}") from error


def _words(error: BaseException, cls: type | None) -> str:
    return str(error) if type(error) is ValueError else format_exception(error, cls)


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)  # a field this version does not know must not vanish in a replay
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    converter.register_unstructure_hook(Enum, lambda member: member.value)
    converter.register_unstructure_hook_func(_is_quantity, lambda quantity: f"{quantity.value} {quantity.unit}")
    converter.register_structure_hook_func(_is_quantity, _read_quantity)
    converter.register_unstructure_hook_factory(_is_choice, partial(_choice_writer, converter))
    converter.register_structure_hook_factory(_is_choice, partial(_choice_reader, converter))
    return converter


def _is_quantity(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, Quantity)


def _read_quantity(text: str, cls: type[Quantity]) -> Quantity:
    number, _, unit = text.partition(" ")
    if unit != cls.unit:
        raise ValueError(f"{text!r} is not in {cls.unit}")
    return cls(number)


def _members(cls: object) -> tuple[type, ...]:
    return tuple(member for member in get_args(cls) if member is not NoneType)


def _is_choice(cls: object) -> bool:
    members = _members(cls) if get_origin(cls) in (Union, UnionType) else ()
    return len(members) > 1 and all(_is_quantity(member) or dataclasses.is_dataclass(member) for member in members)


def _choice_writer(converter: Converter, cls: object) -> Hook:
    writers = {member: converter.get_unstructure_hook(member) for member in _members(cls)}

    def write(thing: Any) -> Any:
        if thing is None:
            return None
        written = writers[type(thing)](thing)
        return {"is": type(thing).__name__, **written} if isinstance(written, dict) else written

    return write


def _choice_reader(converter: Converter, cls: object) -> Callable[[Any, Any], Any]:
    by_unit = {member.unit: member for member in _members(cls) if issubclass(member, Quantity)}
    by_name = {member.__name__: member for member in _members(cls)}

    def read(written: Any, _: Any) -> Any:
        if written is None:
            return None
        if isinstance(written, str):
            return converter.structure(written, by_unit[written.partition(" ")[2]])
        return converter.structure({key: written[key] for key in written if key != "is"}, by_name[written["is"]])

    return read
