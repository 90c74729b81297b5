"""NumPy functions that move, join and repeat elements of traced arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import build, current_origin
from chainrule.tracing.advice import unsupported
from chainrule.tracing.functions.elementwise import broadcast_shapes
from chainrule.tracing.functions.tables import (
    Axis,
    function,
    integers,
    normal_axes,
    normal_axis,
)
from chainrule.tracing.traced import METHODS, Traced, as_traced, wrap


def fail(what: str) -> ShapeError:
    return ShapeError(what, where=str(current_origin()) or None)


@function(np.reshape)
def reshape(a: Any, /, shape: Any = None, order: str = "C") -> Any:
    x = as_traced(a)
    if order != "C":
        raise unsupported("np.reshape with order='F'")
    sizes = list(integers(shape))
    if sizes.count(-1) == 1:
        known = math.prod(s for s in sizes if s != -1)
        if known and x.size % known == 0:
            sizes[sizes.index(-1)] = x.size // known
    if math.prod(sizes) != x.size or min(sizes, default=0) < 0:
        raise fail(f"an array of shape {x.shape} cannot be reshaped to {tuple(integers(shape))}")
    return wrap(build.reshape(x.node, sizes), base=x)


def _reshape_method(a: Traced, *shape: Any, order: str = "C") -> Any:
    return reshape(a, shape[0] if len(shape) == 1 else shape, order)


def _transpose_method(a: Traced, *axes: Any) -> Any:
    several = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return np.transpose(a, several or None)


METHODS["reshape"] = _reshape_method
METHODS["transpose"] = _transpose_method


@function(np.ravel, method="ravel")
def ravel(a: Any) -> Any:
    return np.reshape(a, -1)


METHODS["flatten"] = lambda a: a.ravel().copy()


@function(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    x = as_traced(a)
    order = range(x.ndim)[::-1] if axes is None else [normal_axis(i, x.ndim) for i in axes]
    if sorted(order) != list(range(x.ndim)):
        raise fail(f"axes {tuple(axes)} are not an order of {x.ndim} axes")
    return wrap(build.transpose(x.node, order), base=x)


@function(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@function(np.swapaxes, method="swapaxes")
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    ndim = as_traced(a).ndim
    order = list(range(ndim))
    first, second = normal_axis(axis1, ndim), normal_axis(axis2, ndim)
    order[first], order[second] = order[second], order[first]
    return np.transpose(a, order)


@function(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    ndim = as_traced(a).ndim
    origins = [normal_axis(i, ndim) for i in integers(source)]
    targets = [normal_axis(i, ndim) for i in integers(destination)]
    order = [i for i in range(ndim) if i not in origins]
    for target, origin in sorted(zip(targets, origins, strict=True)):
        order.insert(target, origin)
    return np.transpose(a, order)


@function(np.squeeze, method="squeeze")
def squeeze(a: Any, axis: Axis = None) -> Any:
    x = as_traced(a)
    if axis is None:
        dropped = [i for i, n in enumerate(x.shape) if n == 1]
    else:
        dropped = list(normal_axes(axis, x.ndim))
        if any(x.shape[i] != 1 for i in dropped):
            raise fail(f"np.squeeze: axis {axis} of shape {x.shape} is not of size 1")
    return np.reshape(x, [n for i, n in enumerate(x.shape) if i not in dropped])


@function(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    x = as_traced(a)
    new = normal_axes(axis, x.ndim + len(integers(axis)))
    sizes = iter(x.shape)
    shape = [1 if i in new else next(sizes) for i in range(x.ndim + len(new))]
    return np.reshape(x, shape)


@function(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    x = as_traced(array)
    sizes = integers(shape)
    if broadcast_shapes("broadcast_to", [x.shape, sizes]) != sizes:
        raise fail(f"an array of shape {x.shape} cannot be broadcast to {sizes}")
    return wrap(build.broadcast(x.node, sizes), base=x)


@function(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> Any:
    shape = broadcast_shapes("broadcast_arrays", [as_traced(a).shape for a in args])
    return tuple(np.broadcast_to(a, shape) for a in args)


@function(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Axis = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    a = as_traced(x)
    if writeable:
        raise unsupported(
            "np.lib.stride_tricks.sliding_window_view with writeable=True",
            "its elements share memory: write into the array itself, or copy the windows first",
        )
    sizes = integers(window_shape)
    axes = range(a.ndim) if axis is None else [normal_axis(i, a.ndim) for i in integers(axis)]
    if len(sizes) != len(axes):
        raise fail(f"sliding_window_view: {len(sizes)} window sizes for {len(axes)} axes")
    if len(set(axes)) != len(axes):
        raise unsupported("np.lib.stride_tricks.sliding_window_view twice over one axis")
    for size, along in zip(sizes, axes, strict=True):
        if not 1 <= size <= a.shape[along]:
            raise fail(
                f"sliding_window_view: a window of {size} along axis {along} of an array of shape "
                f"{a.shape}"
            )
    ones = [1] * len(sizes)
    return wrap(build.window(a.node, axes, sizes, ones, ones), base=a)


def at_least(a: Any, ndim: int) -> Any:
    """With axes of size 1 put in front."""
    x = as_traced(a)
    if x.ndim >= ndim:
        return x
    return np.reshape(x, [1] * (ndim - x.ndim) + list(x.shape))


@function(np.atleast_1d)
def atleast_1d(a: Any) -> Any:
    return at_least(a, 1)


@function(np.atleast_2d)
def atleast_2d(a: Any) -> Any:
    return at_least(a, 2)


@function(np.atleast_3d)
def atleast_3d(a: Any) -> Any:
    x = at_least(a, 1)
    if x.ndim > 2:
        return x
    return np.reshape(x, (1, -1, 1) if x.ndim == 1 else (*x.shape, 1))


@function(np.flip)
def flip(m: Any, axis: Axis = None) -> Any:
    x = as_traced(m)
    return wrap(build.reverse(x.node, normal_axes(axis, x.ndim)), base=x)


@function(np.fliplr)
def fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@function(np.flipud)
def flipud(m: Any) -> Any:
    return np.flip(m, 0)


@function(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    first, second = axes
    if k % 4 == 0:
        return as_traced(m)[...]
    if k % 4 == 2:
        return np.flip(np.flip(m, first), second)
    turned = np.swapaxes(m, first, second)
    return np.flip(turned, first if k % 4 == 1 else second)
