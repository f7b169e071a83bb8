"""TOML files read into pydantic models: every problem at once, in the words of the one who wrote the file."""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)
Place: TypeAlias = tuple[int | str, ...]


class ConfigError(Exception):
    """A file cannot be used. `problems` has one line for each reason, ready to be printed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class Table(BaseModel):
    """A TOML table: unknown keys are refused, and every field's description says what is expected of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables, fractions as exact decimals. Raises ConfigError with the line of a syntax error."""
    try:
        return tomllib.loads(path.read_bytes().decode(), parse_float=Decimal)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is no UTF-8 text"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(path, str(error))]) from error


def _syntax(path: Path, message: str) -> str:
    said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if said is None:
        return f"{path}: {message}"
    what, line, column = said.groups()
    if what in ("Cannot overwrite a value", "Cannot mutate immutable namespace") or what.startswith("Cannot declare"):
        what = f"this key or section stands in the file twice ({what})"
    return f"{path}:{line}: {what} (column {column})" if line else f"{path}: {what} (at the end of the file)"


def fill(model: type[Model], tables: Mapping[str, Any], path: Path) -> tuple[Model | None, list[str]]:
    """The model, or None and a line for every problem."""
    try:
        return model.model_validate(tables), []
    except ValidationError as error:
        return None, [_explain(model, tables, path, problem) for problem in error.errors()]


def at(path: Path, place: Place, problem: str) -> str:
    """`file: [section.of.place] problem`."""
    section = ".".join(str(part) for part in place)
    return f"{path}: [{section}] {problem}" if section else f"{path}: {problem}"


def _explain(model: type[BaseModel], tables: Mapping[str, Any], path: Path, problem: ErrorDetails) -> str:
    place = problem["loc"]
    if problem["type"] == "value_error" and isinstance(_look_up(tables, place), dict):
        return at(path, place, _own_words(problem))  # a rule between keys: the section is wrong, not one of them
    if place[-1] == "[key]":  # a name within a table of tables
        holder = model.model_fields[str(place[0])]
        return at(path, place[:-1], f"expected {holder.description}")
    owner, key = _owner(model, place), place[-1]
    section = place[:-1] if isinstance(key, str) else place[:-2]
    if problem["type"] == "extra_forbidden":
        return at(path, section, f"{key}: unknown key; {_known(str(key), owner)}")
    if isinstance(key, int):
        key = place[-2]
    field = owner.model_fields.get(str(key)) if owner else None
    expected = (field.description if field else None) or problem["msg"]
    if problem["type"] == "missing":
        return at(path, section, f"{key}: missing; expected {expected}")
    words = _own_words(problem) if problem["type"] == "value_error" else f"expected {expected}"
    return at(path, section, f"{key} = {_as_written(problem['input'])}: {words}")


def _own_words(problem: ErrorDetails) -> str:
    return str(problem["ctx"]["error"])


def _known(key: str, owner: type[BaseModel] | None) -> str:
    names = list(owner.model_fields) if owner else []
    close = get_close_matches(key, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known keys: {', '.join(names)}"


def _look_up(tables: Any, place: Place) -> object:
    for part in place:
        try:
            tables = tables[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def _owner(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """The model whose key the last part of `place` is (for a place in a list: whose key the list is)."""
    owner: Any = model
    keys = [part for part in place if isinstance(part, str)][:-1]
    for key in keys:
        if get_origin(owner) is dict:
            owner = get_args(owner)[1]
        elif isinstance(owner, type) and issubclass(owner, BaseModel) and key in owner.model_fields:
            owner = _inner(owner.model_fields[key].annotation)
        else:
            return None
    return owner if isinstance(owner, type) and issubclass(owner, BaseModel) else None


def _inner(annotation: Any) -> Any:
    """`Table` of `Table | None` and of `tuple[Table, ...]`."""
    if get_origin(annotation) in (types.UnionType, tuple):
        return get_args(annotation)[0]
    return annotation


def _as_written(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return str(value)
