"""Events as JSON objects and back, by the types of their fields.

A float that is not finite has no JSON; it becomes the string "nan", "inf" or "-inf". Where any JSON
value may stand (`config`), a string that would read as one of these is marked by a "text:" before
it, so that every value comes back as it was.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from chainrule.observe.events import Event, Progress

_NOT_FINITE = ("nan", "inf", "-inf")
_TEXT = "text:"

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in typing.get_args(Event) if kind is not Progress
}
_HINTS = {name: typing.get_type_hints(kind) for name, kind in KINDS.items()}


def encode(event: Event) -> dict[str, Any]:
    """The event as a JSON object: its kind under "event", then its fields."""
    kind = type(event).__name__
    values = {name: _to_json(hint, getattr(event, name)) for name, hint in _HINTS[kind].items()}
    return {"event": kind, **values}


def decode(entry: Mapping[str, Any]) -> Event | None:
    """The event of a JSON object, or None for a kind that this version does not know.

    Fields that this version does not know are passed over, so that a later one may add some.

    Raises ValueError for an object that is no event, or lacks a field.
    """
    name = entry.get("event")
    if not isinstance(name, str):
        raise ValueError("no event")
    kind = KINDS.get(name)
    if kind is None:
        return None
    hints = _HINTS[name]
    required = {field.name for field in fields(kind) if _is_required(field)}
    if missing := required - entry.keys():
        raise ValueError(f"no {min(missing)}")
    values = {name: _from_json(hints[name], entry[name]) for name in hints if name in entry}
    event: Event = kind(**values)
    return event


def number(value: Any) -> float:
    """The float of its JSON form; raises ValueError for anything else."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:  # a whole number beyond every float
            raise ValueError("no float") from error
    raise ValueError("no float")


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _to_json(hint: Any, value: Any) -> Any:
    if hint is Any:
        return _any_to_json(value)
    if hint is float:
        value = float(value)
        return value if math.isfinite(value) else str(value)
    if hint in (int, bool, str):
        return hint(value)  # NumPy's own become Python's
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None
        return None if value is None else _to_json(arguments[0], value)
    if origin is tuple:
        return [_to_json(arguments[0], item) for item in value]
    return {str(key): _to_json(arguments[1], item) for key, item in value.items()}


def _from_json(hint: Any, value: Any) -> Any:
    if hint is Any:
        return _any_from_json(value)
    if hint is float:
        return number(value)
    if type(value) is hint:  # int, bool, str
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None
        return None if value is None else _from_json(arguments[0], value)
    if origin is tuple and isinstance(value, list):
        return tuple(_from_json(arguments[0], item) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _from_json(arguments[1], item) for key, item in value.items()}
    raise ValueError(f"no {hint}")


def _any_to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and (value in _NOT_FINITE or value.startswith(_TEXT)):
        return _TEXT + value
    if isinstance(value, Mapping):
        return {key: _any_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_any_to_json(item) for item in value]
    return value


def _any_from_json(value: Any) -> Any:
    if isinstance(value, str):
        return float(value) if value in _NOT_FINITE else value.removeprefix(_TEXT)
    if isinstance(value, dict):
        return {key: _any_from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_any_from_json(item) for item in value]
    return value
