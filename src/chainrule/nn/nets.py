"""Whole nets: their first weights, and what they hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn.filling import Filling
from chainrule.nn.layer import Layer
from chainrule.tracing.context import key_of, use
from chainrule.tracing.trees import children, is_array, join, leaves, map_leaves, with_fields

Array = np.ndarray[Any, Any]


def init(net: Any, x: Any = None, seed: int = 0, *, dtype: Any = np.float32) -> Any:
    """The net with its first weights, deterministic in (seed, path of the layer, field).

    `x` is an example input, of which only the shape behind the rows and the dtype matter (a tuple,
    where the net takes several); it gives the widths that layers leave out, and shows shape
    mistakes. What already has weights keeps them. Running statistics start at mean 0 and variance
    1. Every place of the net gets weights of its own, also where one layer object stands twice.

    Raises UsageError where a width is neither written nor to be seen from `x`, ShapeError where
    layers do not fit together.
    """
    context = Filling(key=key_of(seed), step=np.uint32(0), seed=int(seed), dtype=np.dtype(dtype))
    if context.dtype.kind != "f":
        raise UsageError(f"weights cannot be {context.dtype}", do="use float32 or float64")
    net = map_leaves(lambda array: array, net)  # a copy in which every layer is its own object
    context.name(net)
    inputs = examples(net, x, context.dtype)
    if inputs is not None:
        with use(context), np.errstate(all="ignore"):
            net(*inputs)
    return _filled(net, "", context)


def examples(net: Any, x: Any, dtype: np.dtype[Any]) -> tuple[Array, ...] | None:
    """Zeros of the example's shape, but of two rows at most: it is run only for the shapes."""
    if x is None:
        x = net.example() if isinstance(net, Layer) else None
    if x is None:
        return None
    if not callable(net):
        raise UsageError(f"an example was given for a {type(net).__name__}, which is not callable")
    found = []
    for part in x if isinstance(x, tuple) else (x,):
        array = np.asarray(part)
        shape = (min(2, array.shape[0]), *array.shape[1:]) if array.ndim > 1 else array.shape
        found.append(np.zeros(shape, dtype if array.dtype.kind == "f" else array.dtype))
    return tuple(found)


def _filled(value: Any, path: str, context: Filling) -> Any:
    """The tree with every layer's arrays; layers that no example reached are filled now."""
    if isinstance(value, Layer):
        value = context.fill(value, path, ())
    parts = None if is_array(value) else children(value)
    if parts is None:
        return value
    made = {name: _filled(part, join(path, name), context) for name, part in parts}
    return _like(value, made)


def _like(value: Any, parts: dict[str, Any]) -> Any:
    """A node of a tree of the same kind, with other parts."""
    if dataclasses.is_dataclass(value):
        return with_fields(value, parts)
    if isinstance(value, dict):
        return dict(zip(value, parts.values(), strict=True))
    if hasattr(value, "_fields"):
        return type(value)(*parts.values())
    return type(value)(parts.values())


def parameters(net: Any) -> dict[str, Array]:
    """The trained arrays by name, such as `layers.0.weight`; running statistics are left out."""
    return {leaf.name: leaf.value for leaf in leaves(net) if leaf.trained}


def count(net: Any) -> int:
    """How many numbers of the net are trained. Raises UsageError before it has its weights."""
    if not is_filled(net):
        raise UsageError(
            "the weights cannot be counted before they are made",
            do="make them with net = cr.nn.init(net, x)",
        )
    return sum(int(np.size(array)) for array in parameters(net).values())


def is_filled(net: Any) -> bool:
    """Whether every layer has its arrays."""
    try:
        complete = _filled(net, "", Filling())
    except UsageError:  # a width is not known yet
        return False
    return len(leaves(complete)) == len(leaves(net))
