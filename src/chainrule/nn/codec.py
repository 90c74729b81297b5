"""Nets as JSON beside named arrays, and back.

The JSON says which layers there are, with their settings and the dtype and shape of each array;
the arrays go by the names of the tree's leaves. Reading builds only classes and functions of a
closed list, and of the user's own layer classes those that were passed in: nothing is imported or
looked up by a name from a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DamagedFileError, UsageError, nearest
from chainrule.nn.layer import Layer
from chainrule.nn.registry import FUNCTIONS, LAYERS, function_name, layer_classes
from chainrule.tracing.trees import is_array, join

Array = np.ndarray[Any, Any]
JSON = Any


def to_json(net: Any) -> JSON:
    """The structure of a net as JSON values; its arrays are the leaves of the tree, by name.

    Raises UsageError for what a file cannot hold, such as a lambda, naming its place.
    """
    return _Writer().encode(net, "")


def from_json(structure: JSON, arrays: Mapping[str, Array], layers: Iterable[type] = ()) -> Any:
    """The net that `to_json` described, with these arrays.

    `layers` are the user's own layer classes that occur in it. Raises UsageError where one is
    missing there, DamagedFileError where structure and arrays are not those of a net.
    """
    reader = _Reader(arrays, layer_classes(layers))
    try:
        net = reader.decode(structure, "")
    except RecursionError:
        raise _damaged("its structure is nested too deeply") from None
    unused = sorted(set(arrays) - reader.used)
    if unused:
        raise _damaged(f"it holds the array {unused[0]}, which no layer has")
    return net


class _Writer:
    def __init__(self) -> None:
        self._own: dict[str, type] = {}

    def encode(self, value: Any, path: str) -> JSON:
        if value is None or isinstance(value, bool | str):
            return value
        if is_array(value):
            return {"array": [value.dtype.name, list(value.shape)]}
        if isinstance(value, int | float):
            return value
        if isinstance(value, Layer):
            return self._layer(value, path)
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            items = [self.encode(part, join(path, i)) for i, part in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {
                "dict": {key: self.encode(part, join(path, key)) for key, part in value.items()}
            }
        if callable(value):
            return self._function(value, path)
        raise UsageError(
            f"{path or 'the net'} is a {type(value).__name__}, which a file cannot hold",
            do="keep numbers, strings, functions of cr.nn, arrays and layers in a layer's fields",
        )

    def _layer(self, layer: Layer, path: str) -> JSON:
        cls = type(layer)
        if self._own.setdefault(cls.__name__, LAYERS.get(cls.__name__, cls)) is not cls:
            raise UsageError(
                f"{path or 'the net'} is of a class {cls.__name__}, as is another, different one",
                do="rename one: a file tells layers apart by their class's name",
            )
        fields = dataclasses.fields(layer)
        parts = {f.name: self.encode(getattr(layer, f.name), join(path, f.name)) for f in fields}
        return {"layer": cls.__name__, "fields": parts}

    def _function(self, value: Any, path: str) -> JSON:
        settings: dict[str, Any] = {}
        function = value
        if isinstance(value, partial) and not value.args:
            function, settings = value.func, value.keywords
        name = function_name(function)
        if name is None or any(not isinstance(v, _SIMPLE) for v in settings.values()):
            shown = getattr(function, "__name__", type(function).__name__)
            raise UsageError(
                f"{path or 'the net'} is the function {shown}, which a file cannot hold: reading "
                "it back would mean running code from a file",
                do="use a function of cr.nn such as cr.nn.relu, or write a layer for it: a "
                "@dataclass(frozen=True) class with a forward, given to cr.load as layers=[...]",
            )
        return {"function": name, **({"settings": dict(settings)} if settings else {})}


_SIMPLE = bool | int | float | str | None


class _Reader:
    def __init__(self, arrays: Mapping[str, Array], classes: Mapping[str, type]) -> None:
        self.used: set[str] = set()
        self._arrays = arrays
        self._classes = classes

    def decode(self, value: JSON, path: str) -> Any:
        if isinstance(value, _SIMPLE):
            return value
        if isinstance(value, list):
            return [self.decode(part, join(path, i)) for i, part in enumerate(value)]
        match value:
            case {"array": [str(dtype), list(shape)]}:
                return self._array(dtype, shape, path or "value")
            case {"tuple": list(parts)}:
                return tuple(self.decode(part, join(path, i)) for i, part in enumerate(parts))
            case {"dict": dict(parts)}:
                return {key: self.decode(part, join(path, key)) for key, part in parts.items()}
            case {"function": str(name)}:
                return self._function(name, value.get("settings", {}), path)
            case {"layer": str(name), "fields": dict(fields)}:
                return self._layer(name, fields, path)
        raise _damaged(f"what it says of {path or 'the net'} is not understood")

    def _array(self, dtype: str, shape: list[Any], name: str) -> Array:
        array = self._arrays.get(name)
        if array is None:
            raise _damaged(f"the array {name} is missing")
        if array.dtype.name != dtype or list(array.shape) != shape:
            raise _damaged(
                f"the array {name} is {array.dtype.name} of shape {tuple(array.shape)}, not "
                f"{dtype} of shape {tuple(shape)}"
            )
        self.used.add(name)
        return array

    def _function(self, name: str, settings: Any, path: str) -> Any:
        if name not in FUNCTIONS:
            raise _damaged(f"{path} is the function {name!r}, which is not one of cr.nn's")
        simple = isinstance(settings, dict) and all(
            isinstance(v, _SIMPLE) for v in settings.values()
        )
        if not simple:
            raise _damaged(f"the settings of {path} are not understood")
        return partial(FUNCTIONS[name], **settings) if settings else FUNCTIONS[name]

    def _layer(self, name: str, parts: dict[str, JSON], path: str) -> Any:
        cls = self._classes.get(name)
        if cls is None:
            close = nearest(name, self._classes)
            raise UsageError(
                f"{path or 'the net'} is a layer of class {name!r}, which is not one of cr.nn's",
                do=f"pass your class: layers=[{name}]"
                + (f" (cr.nn has {close!r}, which is similar)" if close else ""),
            )
        layer: Any = object.__new__(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for field_name in parts:
            if field_name not in fields:
                raise _damaged(f"{path or 'the net'} ({name}) has no field {field_name!r}")
        for field_name, field in fields.items():
            object.__setattr__(layer, field_name, self._field(parts, field, join(path, field_name)))
        try:
            layer.check()
        except (ChainruleError, TypeError, ValueError, AttributeError) as error:
            reason = error.what if isinstance(error, ChainruleError) else str(error)
            raise _damaged(f"{path or 'the net'} is not a valid {name}: {reason}") from None
        return layer

    def _field(self, parts: dict[str, JSON], field: dataclasses.Field[Any], path: str) -> Any:
        """A field's value; one that was added after the file was written has its default."""
        if field.name in parts:
            return self.decode(parts[field.name], path)
        if field.default is not dataclasses.MISSING:
            return field.default
        raise _damaged(f"{path} is missing")


def _damaged(what: str) -> DamagedFileError:
    return DamagedFileError(
        f"not a saved net: {what}", do="restore the file from a copy, or save the net again"
    )
