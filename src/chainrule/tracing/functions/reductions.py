"""NumPy's reductions, scans and sorting on traced arrays."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Node, build, current_origin
from chainrule.graph.ops import BOOL
from chainrule.tracing.advice import unsupported
from chainrule.tracing.functions.tables import Axis, dtype_of, function, normal_axes, normal_axis
from chainrule.tracing.traced import Traced, as_traced, lift, wrap


def _keep(node: Node, source: Node, axes: tuple[int, ...], keepdims: bool) -> Traced:
    if not keepdims:
        return wrap(node)
    shape = [1 if a in axes else n for a, n in enumerate(source.shape)]
    return wrap(build.reshape(node, shape))


def _sum_dtype(dtype: np.dtype, wanted: Any) -> np.dtype:
    """NumPy sums small integers and booleans in the default integer."""
    if wanted is not None:
        return dtype_of(wanted)
    summed: np.dtype = np.add.reduce(np.zeros(0, dtype)).dtype
    return summed


@function(np.sum, method="sum")
def sum(
    a: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False, where: Any = True
) -> Any:
    if where is not True:
        a = np.where(where, a, np.zeros((), as_traced(a).dtype))
    node = lift(a)
    node = build.cast(node, _sum_dtype(node.type.dtype, dtype))
    axes = normal_axes(axis, node.ndim)
    return _keep(build.sum(node, axes), node, axes, keepdims)


def _float_dtype(a: Any, dtype: Any) -> np.dtype:
    """The dtype NumPy averages in: the array's own when floating, else float64."""
    if dtype is not None:
        return dtype_of(dtype)
    own = as_traced(a).dtype
    return own if own.kind == "f" else np.dtype(np.float64)


@function(np.mean, method="mean")
def mean(
    a: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False, where: Any = True
) -> Any:
    kind = _float_dtype(a, dtype)
    if where is not True:
        weights = np.broadcast_to(where, as_traced(a).shape)
        count = np.sum(weights, axis=axis, keepdims=keepdims)
        total = np.sum(a, axis=axis, dtype=kind, keepdims=keepdims, where=where)
        return total / (count.astype(kind) if isinstance(count, Traced) else kind.type(count))
    shape = as_traced(a).shape
    count = int(np.prod([shape[i] for i in normal_axes(axis, len(shape))], dtype=np.int64))
    return np.sum(a, axis=axis, dtype=kind, keepdims=keepdims) / kind.type(count)


@function(np.average)
def average(a: Any, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    values, w = as_traced(a), as_traced(weights)
    if w.shape != values.shape:
        number = normal_axis(axis if axis is not None else 0, values.ndim)
        if w.ndim != 1 or axis is None or w.shape[0] != values.shape[number]:
            raise ShapeError(
                f"np.average: weights of shape {w.shape} for values of shape {values.shape}",
                where=str(current_origin()) or None,
            )
        shape = [1] * values.ndim
        shape[number] = -1
        w = np.broadcast_to(np.reshape(w, shape), values.shape)  # type: ignore[assignment]
    total = np.sum(w, axis=axis, keepdims=keepdims)
    return np.sum(values * w, axis=axis, keepdims=keepdims) / total


@function(np.var, method="var")
def var(
    a: Any, axis: Axis = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    kind = _float_dtype(a, dtype)
    x = as_traced(a).astype(kind)
    centred = x - np.mean(x, axis=axis, keepdims=True)
    axes = normal_axes(axis, x.ndim)
    count = int(np.prod([x.shape[i] for i in axes], dtype=np.int64))
    total = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    return total / kind.type(builtins.max(count - ddof, 0))


@function(np.std, method="std")
def std(
    a: Any, axis: Axis = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> Any:
    return root(np.var(a, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims))


def root(squares: Any) -> Any:
    """The square root of a sum of squares, with derivative 0 (not infinity) at 0, where the
    function has a kink."""
    flat = squares == 0
    return np.where(flat, 0 * squares, np.sqrt(np.where(flat, 1, squares)))


def _extreme(a: Any, axis: Axis, keepdims: bool, smallest: bool) -> Any:
    node = lift(a)
    axes = normal_axes(axis, node.ndim)
    for number in axes:
        if node.shape[number] == 0:
            name = "min" if smallest else "max"
            raise ShapeError(
                f"np.{name} over axis {number}, which has no elements",
                where=str(current_origin()) or None,
            )
    if not smallest:
        return _keep(build.max(node, axes), node, axes, keepdims)
    return _keep(_mirror(build.max(_mirror(node), axes)), node, axes, keepdims)


def _mirror(node: Node) -> Node:
    """An order-reversing map that is its own inverse, for every dtype."""
    if node.type.is_float:
        return build.negative(node)
    return build.make("not", node)


@function(np.max, np.amax, method="max")
def max(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _extreme(a, axis, keepdims, smallest=False)


@function(np.min, np.amin, method="min")
def min(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _extreme(a, axis, keepdims, smallest=True)


@function(np.ptp)
def ptp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@function(np.all, method="all")
def all(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    traced = as_traced(a)
    false: Any = ~traced if traced.dtype == np.bool_ else traced == 0
    return ~any(false, axis=axis, keepdims=keepdims)


@function(np.any, method="any")
def any(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    traced = as_traced(a)
    true = traced if traced.dtype == np.bool_ else traced != 0
    axes = normal_axes(axis, true.ndim)
    if 0 in [true.shape[i] for i in axes]:
        return np.sum(true, axis=axes, keepdims=keepdims) > 0
    return np.max(true, axis=axes, keepdims=keepdims)


@function(np.count_nonzero)
def count_nonzero(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.sum(as_traced(a) != 0, axis=axis, keepdims=keepdims)


def _along(a: Any, axis: Any) -> tuple[Node, int]:
    """The array and the one axis to work along; None means the flattened array."""
    node = lift(a)
    if axis is None:
        return build.reshape(node, (node.type.size,)), 0
    return node, normal_axis(axis, node.ndim)


@function(np.argmax, method="argmax")
def argmax(a: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    node, number = _along(a, axis)
    if node.shape[number] == 0:
        raise ShapeError("np.argmax of no elements", where=str(current_origin()) or None)
    result = build.make("argmax", node, axis=number)
    if keepdims and axis is None:
        return wrap(build.reshape(result, (1,) * lift(a).ndim))
    return _keep(result, node, (number,), keepdims)


@function(np.argmin, method="argmin")
def argmin(a: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    return np.argmax(wrap(_mirror(lift(a))), axis=axis, keepdims=keepdims)


@function(np.argsort, method="argsort")
def argsort(a: Any, axis: int | None = -1, kind: str | None = None, stable: bool = True) -> Any:
    node, number = _along(a, axis)
    return wrap(build.make("argsort", node, axis=number))


@function(np.sort)
def sort(a: Any, axis: int | None = -1, kind: str | None = None, stable: bool = True) -> Any:
    node, number = _along(a, axis)
    order = build.make("argsort", node, axis=number)
    places: Any = wrap(order)
    return np.take_along_axis(wrap(node), places, axis=number)


@function(np.median)
def median(a: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    return np.quantile(a, 0.5, axis=axis, keepdims=keepdims)


@function(np.percentile)
def percentile(a: Any, q: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    share = q / 100 if isinstance(q, int | float) else q
    return np.quantile(a, share, axis=axis, keepdims=keepdims)


@function(np.quantile)
def quantile(a: Any, q: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Linear interpolation between the two nearest ranks, NumPy's default; `q` is one number."""
    if not isinstance(q, int | float) or not 0 <= q <= 1:
        raise unsupported("np.quantile with q that is not one known number from 0 to 1")
    x = as_traced(a)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    ordered = np.sort(x, axis=axis)
    number = 0 if axis is None else normal_axis(axis, x.ndim)
    place = float(q) * (ordered.shape[number] - 1)
    below = int(place)
    above = builtins.min(below + 1, ordered.shape[number] - 1)
    low = np.take(ordered, below, axis=number)
    result = low + (np.take(ordered, above, axis=number) - low) * (place - below)
    last = np.take(ordered, -1, axis=number)  # NaN is sorted to the end
    result = np.where(np.isnan(last), last, result)
    if not keepdims:
        return result
    kept = [1 if axis is None or i == number else n for i, n in enumerate(x.shape)]
    return np.reshape(result, kept)


def _scan(a: Any, axis: int | None, dtype: Any, combine: str, start: float) -> Any:
    """Prefix sums or products in log2(n) passes of doubling reach (Hillis and Steele 1986)."""
    node, number = _along(a, axis)
    node = build.cast(node, _sum_dtype(node.type.dtype, dtype))
    length, reach = node.shape[number], 1
    while reach < length:
        stop = list(node.shape)
        stop[number] -= reach
        zeros, ones = [0] * node.ndim, [1] * node.ndim
        low = zeros.copy()
        low[number] = reach
        shifted = build.slice(node, zeros, stop, ones)
        node = build.make(combine, build.pad(shifted, low, zeros, zeros, start), node)
        reach *= 2
    return wrap(node)


@function(np.cumsum, method="cumsum")
def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return _scan(a, axis, dtype, "add", 0)


@function(np.cumprod, method="cumprod")
def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    return _scan(a, axis, dtype, "multiply", 1)


@function(np.prod, method="prod")
def prod(a: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """Pairwise products: the derivative needs no division, so zeros are no special case."""
    source = lift(a)
    axes = normal_axes(axis, source.ndim)
    node = build.cast(source, _sum_dtype(source.type.dtype, dtype))
    others = [i for i in range(node.ndim) if i not in axes]
    rest = [node.shape[i] for i in others]
    count = int(np.prod([node.shape[i] for i in axes], dtype=np.int64))
    node = build.reshape(build.transpose(node, [*others, *axes]), [*rest, count])
    if count == 0:
        node = build.full(build.sum(node, [len(rest)]).type, 1)
        return _keep(node, source, axes, keepdims)
    zeros, ones = [0] * node.ndim, [1] * node.ndim
    while node.shape[-1] > 1:
        half = (node.shape[-1] + 1) // 2
        high = zeros.copy()
        high[-1] = 2 * half - node.shape[-1]
        second = build.slice(node, [*zeros[:-1], half], node.shape, ones)
        first = build.slice(node, zeros, [*rest, half], ones)
        node = build.multiply(first, build.pad(second, zeros, high, zeros, 1))
    return _keep(build.reshape(node, rest), source, axes, keepdims)


@function(np.nansum)
def nansum(a: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return np.sum(np.where(np.isnan(a), 0, a), axis=axis, dtype=dtype, keepdims=keepdims)


@function(np.nanmean)
def nanmean(a: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return np.mean(a, axis=axis, dtype=dtype, keepdims=keepdims, where=~np.isnan(a))


@function(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    x = as_traced(a)
    number = normal_axis(axis, x.ndim)
    for _ in range(n):
        index: list[Any] = [slice(None)] * x.ndim
        index[number] = slice(1, None)
        later = x[tuple(index)]
        index[number] = slice(None, -1)
        earlier = x[tuple(index)]
        x = later != earlier if x.dtype == BOOL else later - earlier
    return x
