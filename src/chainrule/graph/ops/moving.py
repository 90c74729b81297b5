"""Ops that reduce axes, move elements, or select them by index."""

from __future__ import annotations

from chainrule.errors import TraceError
from chainrule.graph.ops.table import BOOL, INDEX, Attributes, Types, declare, fail, without
from chainrule.graph.types import ArrayType


def _sum(types: Types, attributes: Attributes) -> ArrayType:
    if types[0].dtype == BOOL:
        raise TraceError("sum got booleans", do="cast with .astype first")
    return ArrayType(types[0].dtype, without(types[0].shape, attributes["axes"]))


def _max(types: Types, attributes: Attributes) -> ArrayType:
    for axis in attributes["axes"]:
        if 0 <= axis < types[0].ndim and types[0].shape[axis] == 0:
            raise fail(f"the maximum over axis {axis} of {types[0]}, which has no elements")
    return ArrayType(types[0].dtype, without(types[0].shape, attributes["axes"]))


def _argmax(types: Types, attributes: Attributes) -> ArrayType:
    _max(types, {"axes": (attributes["axis"],)})
    return ArrayType(INDEX, without(types[0].shape, (attributes["axis"],)))


def _argsort(types: Types, attributes: Attributes) -> ArrayType:
    without(types[0].shape, (attributes["axis"],))
    return ArrayType(INDEX, types[0].shape)


def _reshape(types: Types, attributes: Attributes) -> ArrayType:
    result = ArrayType(types[0].dtype, attributes["shape"])
    if result.size != types[0].size:
        raise fail(f"{types[0]} cannot be reshaped to {list(result.shape)}")
    return result


def _transpose(types: Types, attributes: Attributes) -> ArrayType:
    axes = attributes["axes"]
    if sorted(axes) != list(range(types[0].ndim)):
        raise fail(f"{axes} is not an order of the axes of {types[0]}")
    return ArrayType(types[0].dtype, tuple(types[0].shape[a] for a in axes))


def _broadcast(types: Types, attributes: Attributes) -> ArrayType:
    old, new = types[0].shape, attributes["shape"]
    tail = new[len(new) - len(old) :]
    if len(old) > len(new) or any(a not in (1, b) for a, b in zip(old, tail, strict=True)):
        raise fail(f"{types[0]} cannot be broadcast to {list(new)}")
    return ArrayType(types[0].dtype, new)


def _slice(types: Types, attributes: Attributes) -> ArrayType:
    shape = []
    bounds = zip(attributes["start"], attributes["stop"], attributes["step"], strict=True)
    for size, (start, stop, step) in zip(types[0].shape, bounds, strict=True):
        if not (0 <= start <= stop <= size and step > 0):
            raise fail(f"slice {start}:{stop}:{step} of an axis of size {size}")
        shape.append(-(-(stop - start) // step))
    return ArrayType(types[0].dtype, tuple(shape))


def _pad(types: Types, attributes: Attributes) -> ArrayType:
    shape = []
    sides = zip(attributes["low"], attributes["high"], attributes["interior"], strict=True)
    for size, (low, high, interior) in zip(types[0].shape, sides, strict=True):
        if low < 0 or high < 0 or interior < 0:
            raise fail(f"padding {low}, {high}, {interior} is negative")
        shape.append(low + size + interior * max(size - 1, 0) + high)
    return ArrayType(types[0].dtype, tuple(shape))


def _concatenate(types: Types, attributes: Attributes) -> ArrayType:
    axis, first = attributes["axis"], types[0]
    rest = without(first.shape, (axis,))
    for other in types[1:]:
        same_rank = other.ndim == first.ndim and other.dtype == first.dtype
        if not same_rank or without(other.shape, (axis,)) != rest:
            raise fail(f"{first} and {other} cannot be joined along axis {axis}")
    size = sum(t.shape[axis] for t in types)
    return ArrayType(first.dtype, (*first.shape[:axis], size, *first.shape[axis + 1 :]))


def _reverse(types: Types, attributes: Attributes) -> ArrayType:
    without(types[0].shape, attributes["axes"])
    return types[0]


def _take(types: Types, attributes: Attributes) -> ArrayType:
    source, index = types
    axis = attributes["axis"]
    without(source.shape, (axis,))
    if index.dtype.kind not in "iu":
        raise TraceError(f"take: the indices are {index}, not integers")
    shape = (*source.shape[:axis], *index.shape, *source.shape[axis + 1 :])
    return ArrayType(source.dtype, shape)


def _scatter(types: Types, attributes: Attributes) -> ArrayType:
    update, index = types
    axis, size = attributes["axis"], attributes["size"]
    if update.shape[axis : axis + index.ndim] != index.shape:
        raise fail(f"scatter: {update} does not hold one row for each of {index}")
    shape = (*update.shape[:axis], size, *update.shape[axis + index.ndim :])
    return ArrayType(update.dtype, shape)


declare("sum", 1, "axes", _sum, "sum over axes")
declare("max", 1, "axes", _max, "maximum over axes; NaN if any is")
declare("argmax", 1, "axis", _argmax, "the first index of the maximum")
declare("argsort", 1, "axis", _argsort, "the stable order of an axis, NaN last")
declare("reshape", 1, "shape", _reshape, "the same elements, row-major, in another shape")
declare("transpose", 1, "axes", _transpose, "axes in another order")
declare("broadcast", 1, "shape", _broadcast, "repeated by NumPy's broadcasting rule")
declare("slice", 1, "start stop step", _slice, "every step-th element of each axis")
declare("pad", 1, "low high interior value", _pad, "a border and gaps between elements")
declare("concatenate", None, "axis", _concatenate, "joined along an axis")
declare("reverse", 1, "axes", _reverse, "axes run backwards")
declare("take", 2, "axis", _take, "x at integer indices (>= 0) along an axis")
declare(
    "scatter", 2, "axis size", _scatter, "zeros, plus x added at indices: the transpose of take"
)
