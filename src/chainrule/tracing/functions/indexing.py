"""Reading traced arrays by index: slices, integer arrays, known masks."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import IndexRangeError, ShapeError, TraceError
from chainrule.graph import Node, build, current_origin
from chainrule.graph.ops import BOOL, INDEX
from chainrule.tracing.functions.tables import function, normal_axis
from chainrule.tracing.traced import METHODS, Traced, as_traced, wrap


def line() -> str | None:
    """The user's line, for errors."""
    return str(current_origin()) or None


@dataclass(frozen=True)
class Part:
    """What a key does to one axis: a slice, one index, an array of indices, or a new axis."""

    kind: str  # "slice", "index", "array" or "new"
    axis: int  # of the array; -1 for a new axis
    value: Any


def parts_of(key: Any, shape: tuple[int, ...]) -> list[Part]:
    """A key, taken apart and checked against the shape."""
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = [np.asarray(k) if isinstance(k, list) else k for k in keys]
    used = sum(_axes_used(k) for k in keys)
    if used > len(shape):
        raise ShapeError(f"{used} indices for an array of {len(shape)} axes", where=line())
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise ShapeError("an index has more than one '...'", where=line())
    position = dots[0] if dots else len(keys)
    keys[position : position + 1] = [slice(None)] * (len(shape) - used)
    parts, axis = [], 0
    for k in keys:
        made = _part(k, axis, shape)
        parts += made
        axis += sum(p.axis >= 0 for p in made)
    return parts


def _axes_used(key: Any) -> int:
    if key is None or key is Ellipsis:
        return 0
    if isinstance(key, np.ndarray) and key.dtype == BOOL:
        return key.ndim
    return 1


def _part(key: Any, axis: int, shape: tuple[int, ...]) -> list[Part]:
    if key is None:
        return [Part("new", -1, None)]
    if isinstance(key, slice):
        return [Part("slice", axis, range(*key.indices(shape[axis])))]
    if isinstance(key, Traced):
        if key.dtype == BOOL:
            raise TraceError(
                "a traced boolean array cannot be an index: the shape would depend on values",
                where=line(),
                do="use np.where(mask, x, 0), or sum with where=mask; x[mask] = 0 works",
            )
        return [Part("array", axis, key)]
    if isinstance(key, bool | np.bool_):
        raise TraceError("a boolean cannot be an index here", where=line())
    if isinstance(key, np.ndarray):
        if key.dtype == BOOL:
            if key.shape != shape[axis : axis + key.ndim]:
                raise ShapeError(
                    f"a mask of shape {key.shape} for axes of shape "
                    f"{shape[axis : axis + key.ndim]}",
                    where=line(),
                )
            return [Part("array", axis + i, index) for i, index in enumerate(np.nonzero(key))]
        if key.ndim or key.dtype.kind not in "iu":
            return [Part("array", axis, _in_range(key, shape[axis]))]
    try:
        number = operator.index(key)
    except TypeError:
        raise TraceError(f"{key!r} is not an index", where=line()) from None
    return [Part("index", axis, int(_in_range(np.asarray(number), shape[axis])))]


def _in_range(index: np.ndarray, size: int) -> np.ndarray:
    """Known indices, checked now and counted from 0."""
    if index.size == 0:
        return index.astype(INDEX)
    if index.dtype.kind not in "iu":
        raise TraceError(f"indices of dtype {index.dtype}", where=line(), do="use integers")
    if index.min() < -size or index.max() >= size:
        bad = int(index.min() if index.min() < -size else index.max())
        raise IndexRangeError(
            f"index {bad} is out of range for an axis of size {size}", where=line()
        )
    return np.where(index < 0, index + size, index).astype(INDEX)


def _wrapped(index: Any, size: int) -> Node:
    """Indices as a node, counted from 0; whether they are in range is checked when run."""
    if not isinstance(index, Traced):
        return build.constant(_in_range(np.asarray(index), size))
    if index.dtype.kind not in "iu":
        raise TraceError(f"indices of dtype {index.dtype}", where=line(), do="use integers")
    node = build.cast(index.node, INDEX)
    negative = build.less(node, build.like(node, 0))
    return build.where(negative, build.add(node, build.like(node, size)), node)


def getitem(x: Traced, key: Any) -> Any:
    parts = parts_of(key, x.shape)
    arrays = [p for p in parts if p.kind == "array"]
    if arrays:  # single indices next to arrays are arrays of no axes
        parts = [
            Part("array", p.axis, np.asarray(p.value)) if p.kind == "index" else p for p in parts
        ]
    node = _sliced(x.node, parts)
    if not arrays:
        made = _dropped(node, parts)
        dots = any(k is Ellipsis for k in (key if isinstance(key, tuple) else (key,)))
        if not made.shape and not dots:
            return wrap(made)  # in NumPy a number, which shares no memory
        view = wrap(made, base=x)
        view.key = key
        return view
    return wrap(_gathered(node, parts))


def _sliced(node: Node, parts: list[Part]) -> Node:
    """Applies slices and single indices, which keep their axis for now."""
    start, stop, step, backwards = [], [], [], []
    for part in parts:
        if part.axis < 0:
            continue
        size = node.shape[part.axis]
        steps = part.value if part.kind == "slice" else range(size)
        if part.kind == "index":
            steps = range(part.value, part.value + 1)
        if steps.step < 0:
            steps = steps[::-1]
            backwards.append(part.axis)
        start.append(steps.start if len(steps) else 0)
        stop.append(steps[-1] + 1 if len(steps) else 0)
        step.append(steps.step)
    return build.reverse(build.slice(node, start, stop, step), backwards)


def _dropped(node: Node, parts: list[Part]) -> Node:
    """Drops the axes of single indices and adds the new ones."""
    shape = []
    for part in parts:
        if part.kind == "new":
            shape.append(1)
        elif part.kind == "slice":
            shape.append(node.shape[part.axis])
    return build.reshape(node, shape)


def _gathered(node: Node, parts: list[Part]) -> Node:
    """Reads by integer arrays: their axes are moved to the front and flattened, one `take` reads
    the rows, and the axes of the index go where NumPy puts them."""
    arrays = [p for p in parts if p.kind == "array"]
    others = [p for p in parts if p.kind == "slice"]
    places = [i for i, p in enumerate(parts) if p.kind == "array"]
    adjacent = places == list(range(places[0], places[-1] + 1))
    indices = [_wrapped(p.value, node.shape[p.axis]) for p in arrays]
    try:
        index_shape = np.broadcast_shapes(*[i.shape for i in indices])
    except ValueError:
        shapes = " and ".join(str(i.shape) for i in indices)
        raise ShapeError(f"index arrays of shapes {shapes} differ", where=line()) from None
    sizes = [node.shape[p.axis] for p in arrays]
    known = [not isinstance(p.value, Traced) for p in arrays]
    flat = _flat_index([build.broadcast(i, index_shape) for i in indices], sizes, known)
    node = build.transpose(node, [p.axis for p in arrays] + [p.axis for p in others])
    rest = node.shape[len(arrays) :]
    rows = build.take(build.reshape(node, (math.prod(sizes), *rest)), flat, 0)
    before = sum(p.kind != "array" for p in parts[: places[0]]) if adjacent else 0
    kept = [1 if p.kind == "new" else -1 for p in parts if p.kind != "array"]
    remaining = iter(rest)
    kept = [n if n == 1 else next(remaining) for n in kept]
    ndim = len(index_shape)
    rows = build.reshape(rows, (*index_shape, *kept))
    order = [*range(ndim, ndim + before), *range(ndim), *range(ndim + before, rows.ndim)]
    return build.transpose(rows, order)


def _flat_index(indices: list[Node], sizes: list[int], known: list[bool]) -> Node:
    """One index into the flattened axes. Were one of several out of range, the sum could still
    lie inside: it is then sent outside, so that the check at run time finds it."""
    if len(indices) == 1:
        return indices[0]
    flat, valid = indices[0], None
    for number, (index, size) in enumerate(zip(indices, sizes, strict=True)):
        if number:
            flat = build.add(build.multiply(flat, build.like(flat, size)), index)
        if known[number]:
            continue
        below = build.less(index, build.like(index, size))
        inside = build.make("and", below, build.make("less_equal", build.like(index, 0), index))
        valid = inside if valid is None else build.make("and", valid, inside)
    if valid is None:
        return flat
    return build.where(valid, flat, build.like(flat, math.prod(sizes)))


METHODS["__getitem__"] = getitem


@function(np.take, method="take")
def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    x = as_traced(a)
    if axis is None:
        x, axis = x.ravel(), 0
    number = normal_axis(axis, x.ndim)
    size = x.shape[number]
    if mode == "clip":
        indices = np.clip(indices, 0, size - 1)
    elif mode == "wrap":
        indices = np.remainder(indices, size)
    return wrap(build.take(x.node, _wrapped(indices, size), number))


@function(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    x, index = as_traced(arr), as_traced(indices)
    if axis is None:
        x, axis = x.ravel(), 0
    number = normal_axis(axis, x.ndim)
    if index.ndim != x.ndim:
        raise ShapeError(
            f"np.take_along_axis: indices of {index.ndim} axes for an array of {x.ndim}",
            where=line(),
        )
    pairs = enumerate(zip(index.shape, x.shape, strict=True))
    shape = [i if a == number else max(i, n) for a, (i, n) in pairs]
    key: list[Any] = []
    for a, size in enumerate(shape):
        along = [1] * len(shape)
        along[a] = size
        key.append(indices if a == number else np.arange(size).reshape(along))
    sizes = tuple(x.shape[a] if a == number else size for a, size in enumerate(shape))
    return np.broadcast_to(x, sizes)[tuple(key)]
