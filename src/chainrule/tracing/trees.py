"""Trees of arrays <-> flat lists with names such as `layers.0.weight`.

A tree is a dict, list, tuple, named tuple, dataclass (a layer) or None, nested, with arrays as
leaves. Python floats are leaves too, except inside a dataclass, where plain numbers are settings.
Everything else (strings, booleans, integers, functions) belongs to the structure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import UsageError


@dataclass(frozen=True)
class Leaf:
    """One array of a tree. `trained` is False for what changes without gradients."""

    name: str
    value: Any
    trained: bool = True


def is_array(value: object) -> bool:
    """Whether a value is an array to this library: NumPy's, or one that stands for it."""
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__chainrule_node__")


def state(**options: Any) -> Any:
    """A dataclass field whose arrays change without gradients, such as running statistics."""
    return dataclasses.field(metadata={"trained": False}, **options)


def join(path: str, name: object) -> str:
    """The name of a part of a tree: `layers.0` and `weight` make `layers.0.weight`."""
    return f"{path}.{name}" if path else str(name)


def children(value: Any) -> list[tuple[str, Any]] | None:
    """The named parts of an inner node of a tree, or None for a leaf or a static value."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int):
                raise UsageError(f"a tree has the key {key!r}", do="use strings or integers")
        return [(str(key), value[key]) for key in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return [(str(i), part) for i, part in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    return None


def leaves(tree: Any, path: str = "") -> list[Leaf]:
    """Every array of the tree with its name, in order."""
    return list(_walk(tree, path, True, False))


def _walk(value: Any, path: str, trained: bool, inside: bool) -> Iterator[Leaf]:
    if is_array(value) or (isinstance(value, float) and not inside):
        yield Leaf(path or "value", value, trained)
        return
    layer = dataclasses.is_dataclass(value)
    flags = _trained_flags(value) if layer else {}
    for name, part in children(value) or ():
        yield from _walk(part, join(path, name), trained and flags.get(name, True), inside or layer)


def _trained_flags(value: Any) -> dict[str, bool]:
    return {f.name: f.metadata.get("trained", True) for f in dataclasses.fields(value)}


def replace_leaves(tree: Any, values: Sequence[Any]) -> Any:
    """The same tree with its leaves, in order, replaced by `values`."""
    remaining = iter(values)
    result = _rebuild(tree, lambda _: next(remaining), False)
    if next(remaining, _END) is not _END:
        raise UsageError("more values than the tree has leaves")
    return result


_END = object()


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with `function` applied to each leaf."""
    return _rebuild(tree, function, False)


def _rebuild(value: Any, make: Callable[[Any], Any], inside: bool) -> Any:
    if is_array(value) or (isinstance(value, float) and not inside):
        return make(value)
    parts = children(value)
    if parts is None:
        return value
    layer = dataclasses.is_dataclass(value)
    rebuilt = [_rebuild(part, make, inside or layer) for _, part in parts]
    if isinstance(value, dict):
        return dict(zip(value, rebuilt, strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*rebuilt)
    if isinstance(value, list | tuple):
        return type(value)(rebuilt)
    return with_fields(value, dict(zip((name for name, _ in parts), rebuilt, strict=True)))


def with_fields(layer: Any, fields: dict[str, Any]) -> Any:
    """A copy of a dataclass with some fields replaced, without running its constructor: checks of
    settings were made when the original was built."""
    copy = object.__new__(type(layer))
    for field in dataclasses.fields(layer):
        object.__setattr__(copy, field.name, fields.get(field.name, getattr(layer, field.name)))
    return copy


_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def structure(tree: Any, inside: bool = False) -> Any:
    """A hashable description of a tree without its arrays' values and its `opaque` parts.

    Two trees of equal structure trace alike when their arrays agree in shape and dtype, and their
    opaque parts do the same.
    """
    if is_array(tree):
        return "array"
    if isinstance(tree, float) and not inside:
        return "float"
    parts = children(tree)
    if parts is None:
        # 1, 1.0 and True are equal and hash alike, but trace differently.
        return (type(tree), tree if isinstance(tree, _PLAIN) else None)
    inside = inside or dataclasses.is_dataclass(tree)
    return (type(tree), tuple((name, structure(part, inside)) for name, part in parts))


def layer_paths(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dataclass in the tree with its path, outer ones first."""
    if is_array(tree):
        return
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        yield path, tree
    for name, part in children(tree) or ():
        yield from layer_paths(part, join(path, name))


def opaque(tree: Any) -> Iterator[Any]:
    """The code and the objects in a tree's structure: layer classes, functions, anything that is
    neither an array, a container nor a plain value."""
    if is_array(tree) or isinstance(tree, _PLAIN):
        return
    parts = children(tree)
    if parts is None:
        yield tree
        return
    if dataclasses.is_dataclass(tree):
        yield type(tree)
    for _, part in parts:
        yield from opaque(part)
