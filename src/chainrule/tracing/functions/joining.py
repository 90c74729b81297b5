"""NumPy functions that join, split, repeat and pad traced arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.errors import TraceError
from chainrule.graph import build, current_origin
from chainrule.tracing.advice import unsupported
from chainrule.tracing.functions.shaping import at_least, fail
from chainrule.tracing.functions.tables import Axis, function, integers, normal_axis
from chainrule.tracing.traced import Traced, as_traced, wrap


def joined(parts: Sequence[Any]) -> list[Traced]:
    """Arrays to be joined, in their common dtype."""
    arrays = [as_traced(p) for p in parts]
    if not arrays:
        raise fail("no arrays to join")
    dtype = np.result_type(*[a.dtype for a in arrays])
    return [wrap(build.cast(a.node, dtype)) for a in arrays]


@function(np.concatenate)
def concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Any:
    parts = joined(arrays)
    if dtype is not None:
        parts = [p.astype(dtype) for p in parts]
    if axis is None:
        parts, axis = [p.ravel() for p in parts], 0
    number = normal_axis(axis, parts[0].ndim)
    for part in parts:
        rest = [n for i, n in enumerate(part.shape) if i != number]
        if rest != [n for i, n in enumerate(parts[0].shape) if i != number]:
            raise fail(f"arrays of shape {parts[0].shape} and {part.shape} cannot be joined")
    return wrap(build.concatenate([p.node for p in parts], number))


@function(np.stack)
def stack(arrays: Any, axis: int = 0) -> Any:
    parts = joined(arrays)
    for part in parts:
        if part.shape != parts[0].shape:
            raise fail(f"arrays of shape {parts[0].shape} and {part.shape} cannot be stacked")
    number = normal_axis(axis, parts[0].ndim + 1)
    return np.concatenate([np.expand_dims(p, number) for p in parts], axis=number)


@function(np.vstack)
def vstack(tup: Any) -> Any:
    return np.concatenate([at_least(a, 2) for a in tup], axis=0)


@function(np.hstack)
def hstack(tup: Any) -> Any:
    parts = [at_least(a, 1) for a in tup]
    return np.concatenate(parts, axis=0 if parts[0].ndim == 1 else 1)


@function(np.dstack)
def dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@function(np.column_stack)
def column_stack(tup: Any) -> Any:
    parts = [as_traced(a) for a in tup]
    return np.concatenate([a.reshape(-1, 1) if a.ndim < 2 else a for a in parts], axis=1)


def _pieces(a: Any, sections: Any, axis: int, equal: bool) -> list[Any]:
    x = as_traced(a)
    number = normal_axis(axis, x.ndim)
    size = x.shape[number]
    if isinstance(sections, int | np.integer):
        if sections < 1:
            raise fail(f"np.split: {sections} parts")
        if equal and size % sections:
            raise fail(f"np.split: an axis of size {size} in {sections} equal parts")
        small, large = divmod(size, int(sections))
        bounds = [0]
        for part in range(int(sections)):
            bounds.append(bounds[-1] + small + (part < large))
    else:
        bounds = [0, *[int(s) for s in sections], size]
    index: list[Any] = [slice(None)] * x.ndim
    pieces = []
    for start, stop in pairwise(bounds):
        index[number] = slice(start, stop)
        pieces.append(x[tuple(index)])
    return pieces


@function(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _pieces(ary, indices_or_sections, axis, equal=True)


@function(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _pieces(ary, indices_or_sections, axis, equal=False)


@function(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    return np.split(ary, indices_or_sections, axis=1 if as_traced(ary).ndim > 1 else 0)


@function(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    return np.split(ary, indices_or_sections, axis=0)


@function(np.tile)
def tile(A: Any, reps: Any) -> Any:
    counts = integers(reps)
    x = at_least(A, len(counts))
    counts = (1,) * (x.ndim - len(counts)) + counts
    for axis, count in enumerate(counts):
        x = np.concatenate([x] * count, axis) if count else x[(slice(None),) * axis + (slice(0),)]
    return x.copy()


@function(np.repeat, method="repeat")
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    if isinstance(repeats, Traced):
        raise TraceError(
            "np.repeat: the counts decide the shape, so they cannot be traced",
            where=str(current_origin()) or None,
        )
    x = as_traced(a).ravel() if axis is None else as_traced(a)
    number = 0 if axis is None else normal_axis(axis, x.ndim)
    index = np.repeat(np.arange(x.shape[number]), repeats)
    return np.take(x, index, axis=number)


@function(np.roll)
def roll(a: Any, shift: Any, axis: Axis = None) -> Any:
    x: Any = as_traced(a)
    if axis is None:
        return np.reshape(np.roll(x.ravel(), shift, 0), x.shape)
    shifts, axes = np.broadcast_arrays(shift, axis)
    for amount, where in zip(np.ravel(shifts), np.ravel(axes), strict=True):
        number = normal_axis(int(where), x.ndim)
        if x.shape[number]:
            cut = -int(amount) % x.shape[number]
            x = np.concatenate(np.split(x, [cut], number)[::-1], number)
    return x


@function(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    x: Any = as_traced(array)
    widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (x.ndim, 2))
    if mode == "constant":
        if np.ndim(constant_values) or isinstance(constant_values, Traced):
            raise unsupported("np.pad with several constant_values")
        low, high = widths.T.tolist()
        value = x.dtype.type(constant_values).item()
        return wrap(build.pad(x.node, low, high, [0] * x.ndim, value))
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise unsupported(f"np.pad with mode={mode!r}")
    for axis, (low_width, high_width) in enumerate(widths):
        # The indices that NumPy itself would pad with: exact for every mode.
        index = np.pad(np.arange(x.shape[axis]), (low_width, high_width), mode=mode)  # type: ignore[call-overload]
        x = np.take(x, index, axis=axis)
    return x
