"""Writing to traced arrays by index, functionally: `x[key] = value` gives x a new node."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ShapeError, TraceError
from chainrule.graph import Node, build
from chainrule.graph.ops import BOOL, INDEX
from chainrule.graph.types import ArrayType
from chainrule.tracing.functions.indexing import Part, getitem, line, parts_of
from chainrule.tracing.traced import METHODS, Traced, as_traced, lift, wrap


def setitem(x: Traced, key: Any, value: Any) -> Node:
    """The array with the selected elements replaced; the rest of the graph keeps the old one."""
    node, new = x.node, as_traced(value)
    if not new.weak and not np.can_cast(new.dtype, x.dtype, "same_kind"):
        raise TraceError(
            f"{new.dtype} values do not fit into an array of {x.dtype}",
            where=line(),
            do="cast with .astype first",
        )
    if isinstance(key, Traced) and key.dtype == BOOL:
        return _set_masked(x, key, value)
    parts = parts_of(key, x.shape)
    values = lift(value, x.dtype)
    if any(p.kind == "array" and isinstance(p.value, Traced) for p in parts):
        indices = [p.value for p in parts if p.kind == "array"]
        return _set_dynamic(node, key, values, several=any(np.size(i) != 1 for i in indices))
    plain = all(p.kind != "array" for p in parts)
    return _set_slices(node, parts, values) if plain else _set_known(node, key, values)


def _set_masked(x: Traced, mask: Traced, value: Any) -> Node:
    """Writes one number where a traced mask says: the only form whose shapes are known."""
    if mask.shape != x.shape[: mask.ndim]:
        raise ShapeError(
            f"a mask of shape {mask.shape} for an array of shape {x.shape}", where=line()
        )
    if as_traced(value).ndim:
        raise TraceError(
            "an array cannot be written where a traced mask says: how much of it is needed "
            "depends on values",
            where=line(),
            do="use x = np.where(mask, values, x), with values of the shape of x",
        )
    axes = [*mask.shape, *[1] * (x.ndim - mask.ndim)]
    chosen = build.broadcast(build.reshape(mask.node, axes), x.shape)
    return build.where(chosen, build.broadcast(lift(value, x.dtype), x.shape), x.node)


def _fit(values: Node, shape: tuple[int, ...]) -> Node:
    """Broadcasts values to the selection; NumPy also drops leading axes of size 1."""
    extra = max(values.ndim - len(shape), 0)
    if all(n == 1 for n in values.shape[:extra]):
        values = build.reshape(values, values.shape[extra:])
    try:
        fits = np.broadcast_shapes(values.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"values of shape {values.shape} do not fit a selection of shape {shape}",
            where=line(),
        )
    return build.broadcast(values, shape)


def _set_slices(node: Node, parts: list[Part], values: Node) -> Node:
    """Pads the values to the whole shape and chooses between old and new by a padded mask."""
    shown = [1 if p.kind == "new" else len(p.value) for p in parts if p.kind != "index"]
    values = _fit(values, tuple(shown))
    steps = [
        p.value if p.kind == "slice" else range(p.value, p.value + 1) for p in parts if p.axis >= 0
    ]
    if any(len(s) == 0 for s in steps):
        return node
    values = build.reshape(values, [len(s) for s in steps])
    values = build.reverse(values, [i for i, s in enumerate(steps) if s.step < 0])
    steps = [s[::-1] if s.step < 0 else s for s in steps]
    low = [s.start for s in steps]
    high = [n - 1 - s[-1] for n, s in zip(node.shape, steps, strict=True)]
    interior = [s.step - 1 for s in steps]
    padded = build.pad(values, low, high, interior)
    inside = build.full(ArrayType(BOOL, values.shape), True)
    mask = build.pad(inside, low, high, interior, False)
    return padded if mask is inside else build.where(mask, padded, node)


def _set_known(node: Node, key: Any, values: Node) -> Node:
    """Writes at known integer arrays or masks: NumPy itself says which value lands where (of
    several writes to one element the last one stays)."""
    places = np.arange(node.type.size).reshape(node.shape)[key]
    values = _fit(values, places.shape)
    source = np.full(node.type.size, -1, INDEX)
    source[places.ravel()] = np.arange(places.size)
    source = source.reshape(node.shape)
    if not places.size:
        return node
    flat = build.reshape(values, (values.type.size,))
    chosen = build.take(flat, build.constant(np.maximum(source, 0)), 0)
    return build.where(build.constant(source >= 0), chosen, node)


def _set_dynamic(node: Node, key: Any, values: Node, several: bool) -> Node:
    """Writes where traced indices point. Reading the number of each place by the same key says
    where the values go; an index out of range is found by that read."""
    size = node.type.size
    numbers = build.reshape(build.iota((size,), 0, INDEX), node.shape)
    places = as_traced(getitem(wrap(numbers), key)).node
    count = places.type.size
    values = build.reshape(_fit(values, places.shape), (count,))
    places = build.reshape(places, (count,))
    if not count:
        return node
    # For each place the number of the value written there, from 1; 0 where none is.
    writes = build.add(build.iota((count,), 0, INDEX), build.like(places, 1))
    if several:
        places, writes = _last_of_each(places, writes)
    source = build.reshape(build.scatter(writes, places, 0, size), node.shape)
    zero = build.like(source, 0)
    is_kept = build.equal(source, zero)
    at = build.where(is_kept, zero, build.subtract(source, build.like(source, 1)))
    return build.where(is_kept, node, build.take(values, at, 0))


def _last_of_each(places: Node, writes: Node) -> tuple[Node, Node]:
    """Of several writes to one place the last stays: of each run of equal places, sorted; the
    others become 0."""
    count = places.type.size
    order = build.make("argsort", places, axis=0)
    places = build.take(places, order, 0)
    earlier = build.slice(places, (0,), (count - 1,), (1,))
    later = build.slice(places, (1,), (count,), (1,))
    is_last = build.pad(build.make("not_equal", earlier, later), (0,), (1,), (0,), True)
    return places, build.where(is_last, build.take(writes, order, 0), build.zeros(writes.type))


METHODS["__setitem__"] = setitem
