"""What convolutions and pooling share: sizes for each axis, padding, and windows.

Layouts: images [rows, height, width, channels], volumes [rows, depth, height, width, channels],
sequences [rows, time, channels]. Weights [kernel..., inputs / groups, outputs].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn import checks
from chainrule.nn.layer import Layer

Sizes: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = str | int | tuple[Any, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]

AXES = {1: ("time",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def plain(value: Any) -> Any:
    """A setting without NumPy's numbers and without lists: arrays in a layer are its weights."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(plain(part) for part in value) if isinstance(value, list | tuple) else value


def each(value: Sizes, dimensions: int) -> tuple[int, ...]:
    """One number for each axis."""
    return (value,) * dimensions if isinstance(value, int) else value


def check_sizes(layer: str, setting: str, value: Any, dimensions: int, least: int = 1) -> None:
    """A whole number, `least` or more, or one for each axis."""
    if isinstance(value, tuple):
        if len(value) != dimensions:
            raise UsageError(
                f"{layer}: {setting} has {len(value)} numbers for {dimensions} axes",
                do=f"give one number, or one for each of {', '.join(AXES[dimensions])}",
            )
        for part in value:
            checks.size(layer, setting, part, least)
    else:
        checks.size(layer, setting, value, least)


def check_padding(layer: str, value: Any, dimensions: int) -> None:
    """A name ("same", "valid"), a number, or for each axis a number or a pair (before, after)."""
    sides = value if isinstance(value, tuple) else (value,)
    numbers = [n for side in sides for n in (side if isinstance(side, tuple) else (side,))]
    fits = isinstance(value, tuple) is False or len(value) == dimensions
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    pairs = all(len(side) == 2 for side in sides if isinstance(side, tuple))
    if value not in ("same", "valid") and not (fits and whole and pairs):
        raise UsageError(
            f"{layer}: padding is {value!r}",
            do='give "same", "valid", a number of elements, or for each axis a number or a pair '
            "(before, after)",
        )


def pairs_of(
    value: Padding, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> Pairs:
    """How many elements are put before and after each axis, whose sizes are these.

    "same" gives as many windows as there are strides in the axis, rounded up; of an odd number of
    elements the larger part goes to the end.
    """
    if value == "valid":
        return ((0, 0),) * len(sizes)
    if value == "same":
        needed = [
            max((-(-size // stride) - 1) * stride + span - size, 0)
            for size, span, stride in zip(sizes, spans, strides, strict=True)
        ]
        return tuple((n // 2, n - n // 2) for n in needed)
    sides = value if isinstance(value, tuple) else (value,) * len(sizes)
    return tuple(side if isinstance(side, tuple) else (int(side),) * 2 for side in sides)


def padded(x: Any, pairs: Pairs, value: float = 0) -> Any:
    """x with a border around the axes between the rows and the channels."""
    if not any(before or after for before, after in pairs):
        return x
    return np.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=value)


def windows(
    layer: Layer, x: Any, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Any:
    """[rows, places..., channels, window...] of x [rows, axes..., channels], where channels may be
    several axes.

    Raises ShapeError where a window is larger than x.
    """
    dimensions = len(sizes)
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(sizes, dilations, strict=True)]
    for name, size, span in zip(AXES[dimensions], x.shape[1:], spans, strict=False):
        if span > size:
            raise layer.mismatch(
                f"windows of {span} along the {name}, which has {size} with its padding",
                x,
                'make the kernel smaller, pad more (padding="same"), or leave out a layer that '
                f"makes the {name} smaller",
            )
    views = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(1, dimensions + 1)))
    whole = slice(None)
    places = [slice(None, None, stride) for stride in strides]
    inside = [slice(None, None, dilation) for dilation in dilations]
    rest = [whole] * (x.ndim - 1 - dimensions)
    return views[(whole, *places, *rest, *inside)]


def check_input(layer: Layer, x: Any, dimensions: int, channels: int | None) -> None:
    """Raises ShapeError where x is not [rows, axes..., channels] with as many channels."""
    names = AXES[dimensions]
    layout = f"[rows, {', '.join(names)}, channels]"
    if x.ndim != dimensions + 2:
        do = f"give arrays of {dimensions + 2} axes: {layout}"
        if x.ndim == dimensions + 1:
            do += "; with a single channel, x[..., np.newaxis]"
        raise layer.mismatch(f"{layout}, got {x.ndim} axes", x, do)
    if channels is not None and x.shape[-1] != channels:
        do = f"make the part before it give {channels}, or change this layer's inputs"
        if x.shape[1] == channels:
            do = "put the channels last: np.moveaxis(x, 1, -1)"
        raise layer.mismatch(f"{channels} channels on the last axis, got {x.shape[-1]}", x, do)


def shown_sizes(value: Sizes, dimensions: int) -> str:
    """Sizes in a label: 3x3."""
    return "x".join(map(str, each(value, dimensions)))
