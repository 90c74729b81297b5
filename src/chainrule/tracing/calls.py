"""One call of a transformed function: its arguments in order, and what tells it from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.graph import Node
from chainrule.tracing import trees
from chainrule.tracing.capture import argument_names
from chainrule.tracing.closure import closure_key
from chainrule.tracing.context import current
from chainrule.tracing.traced import plain_array

Function = Callable[..., Any]


def native_order(value: Any) -> np.ndarray:
    """An argument as a NumPy array in native byte order."""
    array = plain_array(value)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def name_of(function: Function) -> str:
    """What a function is called in graphs and messages."""
    return getattr(function, "__name__", type(function).__name__)


def with_keywords(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], Function]:
    """Keyword arguments become one more argument, a dict, so that they are traced too."""
    if not kwargs:
        return args, function
    return (*args, kwargs), lambda *a: function(*a[:-1], **a[-1])


def names_of(source: Function, count: int, kwargs: dict[str, Any]) -> list[str]:
    """A name for each argument; the leaves of the dict of keywords go by their own names."""
    return [*argument_names(source, count), *([""] if kwargs else [])]


def places_of(argnums: int | Sequence[int], count: int) -> list[int]:
    """The arguments that `argnums` selects among `count` positional ones, counted from 0."""
    return [_place(n, count) for n in ([argnums] if isinstance(argnums, int) else argnums)]


def _place(argnum: int, count: int) -> int:
    if not -count <= argnum < count:
        raise UsageError(
            f"argnums names argument {argnum}, but {count} were given by position",
            do="arguments to differentiate by are passed by position, not by keyword",
        )
    return argnum % count


def check_differentiable(inputs: Sequence[Node], name: str, argument: Any) -> None:
    """Raises UsageError where an argument holds what cannot be differentiated by."""
    if not inputs:
        raise UsageError(
            f"argument {name} ({type(argument).__name__}) holds no arrays or floats to "
            "differentiate by",
            do="integers are constants: write 3.0 instead of 3",
        )
    for node in inputs:
        if not node.type.is_float:
            raise UsageError(
                f"{node['name']} has dtype {node.type.dtype}: only floating-point arrays have "
                "gradients",
                do="cast it with .astype(float), or choose other argnums",
            )


def cache_key(
    source: Function, args: tuple[Any, ...], leaves: Sequence[trees.Leaf], has_keywords: bool
) -> Any:
    """What a program for this call depends on, hashable; None where it cannot be told, and the
    function must be traced again."""
    # A forward pass's context (mode, seed, step, new statistics) is part of what the code sees.
    seen = closure_key(source) if current() is None else None
    if seen is None:
        return None
    types = tuple(type_key(leaf.value) for leaf in leaves)
    statics = [closure_key(part) for a in args for part in trees.opaque(a)]
    key = (seen, tuple(trees.structure(a) for a in args), types, tuple(statics), has_keywords)
    if None in statics:
        return None
    try:
        hash(key)
    except TypeError:
        return None
    return key


def type_key(value: Any) -> Any:
    """What a trace depends on of an array: its dtype and shape."""
    if type(value) is float:
        return "float"
    dtype = value.dtype
    return (dtype if dtype.isnative else dtype.newbyteorder("=")), value.shape
