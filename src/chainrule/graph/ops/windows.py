"""Windows that slide over an array, and their overlap-add."""

from __future__ import annotations

from chainrule.graph.ops.table import Attributes, Types, declare, fail, number, without
from chainrule.graph.types import ArrayType


def window_counts(sizes: tuple[int, ...], attributes: Attributes) -> tuple[int, ...]:
    """How many windows fit along each of the windowed axes, whose sizes these are."""
    counts = []
    steps = zip(
        sizes, attributes["sizes"], attributes["strides"], attributes["dilations"], strict=True
    )
    for size, width, stride, dilation in steps:
        if width < 1 or stride < 1 or dilation < 1:
            raise fail(
                f"window: size {width}, stride {stride} and dilation {dilation} must be 1 up"
            )
        extent = (width - 1) * dilation + 1
        if extent > size:
            raise fail(f"a window that spans {extent} elements of an axis of size {size}")
        counts.append((size - extent) // stride + 1)
    return tuple(counts)


def _windows_of(shape: tuple[int, ...], attributes: Attributes) -> tuple[int, ...]:
    """The shape of all windows of an array of this shape."""
    axes = attributes["axes"]
    without(shape, axes)
    if len(set(axes)) != len(axes):
        raise fail(f"window: the axes {axes} are not distinct")
    counts = dict(zip(axes, window_counts(tuple(shape[a] for a in axes), attributes), strict=True))
    kept = [counts.get(axis, size) for axis, size in enumerate(shape)]
    return (*kept, *attributes["sizes"])


def _window(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType(types[0].dtype, _windows_of(types[0].shape, attributes))


def _fold(types: Types, attributes: Attributes) -> ArrayType:
    shape = attributes["shape"]
    if _windows_of(shape, attributes) != types[0].shape:
        raise fail(f"fold: {types[0]} are not the windows of an array of shape {list(shape)}")
    return ArrayType(number(types, attributes).dtype, shape)


declare(
    "window",
    1,
    "axes sizes strides dilations",
    _window,
    "windows that slide over axes; their elements are new axes at the end",
)
declare(
    "fold",
    1,
    "axes sizes strides dilations shape",
    _fold,
    "windows added up where they overlap: the transpose of window",
)
