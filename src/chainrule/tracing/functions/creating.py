"""NumPy functions that make arrays like traced ones, cast them, or tell about them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.graph import build
from chainrule.graph.types import ArrayType
from chainrule.tracing.functions.tables import dtype_of, function, integers, normal_axis
from chainrule.tracing.traced import Traced, as_traced, lift, wrap


@function(np.copy, method="copy")
def copy(a: Any) -> Any:
    return wrap(lift(a))


@function(np.astype, method="astype")
def astype(x: Any, dtype: Any, /, copy: bool = True) -> Any:
    array, kind = as_traced(x), dtype_of(dtype)
    return array if not copy and array.dtype == kind else wrap(build.cast(array.node, kind))


def _shaped_like(a: Any, dtype: Any, shape: Any) -> ArrayType:
    x = as_traced(a)
    kind = x.dtype if dtype is None else dtype_of(dtype)
    return ArrayType(kind, x.shape if shape is None else integers(shape))


@function(np.zeros_like, np.empty_like)
def zeros_like(a: Any, dtype: Any = None, shape: Any = None) -> Any:
    return wrap(build.full(_shaped_like(a, dtype, shape), 0))


@function(np.ones_like)
def ones_like(a: Any, dtype: Any = None, shape: Any = None) -> Any:
    return wrap(build.full(_shaped_like(a, dtype, shape), 1))


@function(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Any:
    type = _shaped_like(a, dtype, shape)
    return wrap(build.broadcast(lift(fill_value, type.dtype), type.shape))


# With `like=x`: np.zeros(3, like=x). NumPy passes all of its parameters on.


@function(np.zeros, np.empty)
def zeros(shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None) -> Any:
    return wrap(build.full(ArrayType(dtype_of(dtype), integers(shape)), 0))


@function(np.ones)
def ones(shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None) -> Any:
    return wrap(build.full(ArrayType(dtype_of(dtype), integers(shape)), 1))


@function(np.full)
def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None
) -> Any:
    node = lift(fill_value, None if dtype is None else dtype_of(dtype))
    return wrap(build.broadcast(node, integers(shape)))


@function(np.array, np.asarray)
def array(object: Any, dtype: Any = None, copy: Any = None) -> Any:
    if isinstance(object, list | tuple):
        node = as_traced(np.stack([array(part) for part in object])).node
    else:
        node = lift(object)
    return wrap(node if dtype is None else build.cast(node, dtype_of(dtype)))


@function(np.meshgrid)
def meshgrid(*xi: Any, indexing: str = "xy") -> Any:
    arrays = [as_traced(x).ravel() for x in xi]
    shape = tuple(a.size for a in arrays)
    grids = []
    for axis, a in enumerate(arrays):
        along = [1] * len(arrays)
        along[axis] = -1
        grids.append(np.broadcast_to(np.reshape(a, along), shape))
    if indexing == "xy" and len(grids) > 1:
        grids = [np.swapaxes(g, 0, 1) for g in grids]
    return tuple(np.copy(g) for g in grids)


@function(np.shape)
def shape(a: Any) -> Any:
    return as_traced(a).shape


@function(np.ndim)
def ndim(a: Any) -> Any:
    return as_traced(a).ndim


@function(np.size)
def size(a: Any, axis: int | None = None) -> Any:
    x = as_traced(a)
    return x.size if axis is None else x.shape[normal_axis(axis, x.ndim)]


@function(np.result_type)
def result_type(*values: Any) -> Any:
    return np.result_type(*[v.dtype if isinstance(v, Traced) else v for v in values])


@function(np.iscomplexobj)
def iscomplexobj(x: Any) -> Any:
    return False


@function(np.real, np.real_if_close)
def real(val: Any) -> Any:
    return as_traced(val)
