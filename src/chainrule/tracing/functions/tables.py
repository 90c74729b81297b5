"""Registering our versions of NumPy functions and array methods."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from chainrule.errors import ShapeError, TraceError
from chainrule.graph import current_origin
from chainrule.graph.types import short_name
from chainrule.tracing.traced import FUNCTIONS, METHODS

F = TypeVar("F", bound=Callable[..., Any])
Axis = int | Sequence[int] | None


def function(*numpy_functions: Callable[..., Any], method: str | None = None) -> Callable[[F], F]:
    """Makes the decorated function the traced version of these NumPy functions (and a method)."""

    def register(ours: F) -> F:
        for numpy_function in numpy_functions:
            FUNCTIONS[numpy_function] = ours
        if method:
            METHODS[method] = ours
        return ours

    return register


def normal_axis(axis: Any, ndim: int) -> int:
    """One axis as a number from 0; ShapeError when it is out of range."""
    try:
        number = operator.index(axis)
    except TypeError:
        raise TraceError(
            f"an axis must be a Python integer, not {axis!r}", where=str(current_origin()) or None
        ) from None
    if not -ndim <= number < ndim:
        raise ShapeError(
            f"axis {number} is out of range for an array of {ndim} axes",
            where=str(current_origin()) or None,
        )
    return number % ndim


def normal_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Axes as numbers from 0, in order; None means all."""
    if axis is None:
        return tuple(range(ndim))
    several = axis if isinstance(axis, list | tuple) else (axis,)
    axes = tuple(sorted(normal_axis(a, ndim) for a in several))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"duplicate axes in {axis}", where=str(current_origin()) or None)
    return axes


def dtype_of(dtype: Any) -> np.dtype:
    """A dtype that the graph has; TraceError for one that it has not."""
    kind: np.dtype = np.dtype(dtype)
    try:
        short_name(kind)
    except TraceError as error:
        raise TraceError(error.what, where=str(current_origin()) or None, do=error.do) from None
    return kind


def integers(shape: Any) -> tuple[int, ...]:
    """A shape given as an integer or a sequence of them."""
    if isinstance(shape, int | np.integer):
        return (int(shape),)
    return tuple(operator.index(s) for s in shape)
