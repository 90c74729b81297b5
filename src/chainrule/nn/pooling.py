"""Pooling: a maximum or a mean over windows, or over all places; and the way back, Upsample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.nn.layer import Layer, as_array, as_float
from chainrule.nn.sliding import (
    Padding,
    Sizes,
    check_input,
    check_padding,
    check_sizes,
    each,
    padded,
    pairs_of,
    plain,
    shown_sizes,
    windows,
)


@dataclass(frozen=True)
class Pooling(Layer):
    """What pooling over windows shares."""

    numbers: ClassVar = ()
    dimensions: ClassVar[int] = 0
    size: Sizes = 2
    stride: Sizes | None = field(default=None, kw_only=True)  # None: that of the window's size
    padding: Padding = field(default="valid", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("size", "stride", "padding"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        super().__post_init__()

    def check(self) -> None:
        name = type(self).__name__
        check_sizes(name, "size", self.size, self.dimensions)
        if self.stride is not None:
            check_sizes(name, "stride", self.stride, self.dimensions)
        check_padding(name, self.padding, self.dimensions)

    def label(self) -> str:
        parts = [f"{type(self).__name__} {shown_sizes(self.size, self.dimensions)}"]
        if self.stride is not None:
            parts.append(f"stride {shown_sizes(self.stride, self.dimensions)}")
        if self.padding != "valid":
            parts.append(self.padding if self.padding == "same" else f"padding {self.padding}")
        return ", ".join(parts)

    def _windows(self, x: Any, border: float) -> Any:
        """The windows of x, whose border is filled with this number."""
        sizes = each(self.size, self.dimensions)
        strides = sizes if self.stride is None else each(self.stride, self.dimensions)
        pairs = pairs_of(self.padding, x.shape[1:-1], sizes, strides)
        for size, pair in zip(sizes, pairs, strict=True):
            if max(pair) >= size:
                raise self.mismatch(
                    f"less padding than its size {size}, got {pair}: a window would show only it",
                    x,
                    "make the padding smaller",
                )
        return windows(self, padded(x, pairs, border), sizes, strides, (1,) * self.dimensions)

    @property
    def _inside(self) -> tuple[int, ...]:
        return tuple(range(-self.dimensions, 0))


@dataclass(frozen=True)
class _MaxPool(Pooling):
    def forward(self, x: Any) -> Any:
        x = as_array(x)
        check_input(self, x, self.dimensions, None)
        lowest = -math.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return self._windows(x, lowest).max(axis=self._inside)


@dataclass(frozen=True)
class _AvgPool(Pooling):
    def forward(self, x: Any) -> Any:
        x = as_float(x, np.float32)
        check_input(self, x, self.dimensions, None)
        total = self._windows(x, 0).sum(axis=self._inside)
        if self.padding == "valid":
            return total / math.prod(each(self.size, self.dimensions))
        ones = np.ones((1, *x.shape[1:-1], 1), x.dtype)
        return total / self._windows(ones, 0).sum(axis=self._inside)


@dataclass(frozen=True)
class MaxPool1d(_MaxPool):
    """The largest number in each window of a sequence, channel by channel.

    [rows, time, channels] -> [rows, places, channels]. Windows are `size` long and `stride` apart
    (their own size, unless told otherwise); `padding` as for `Conv1d`, and never the largest. Of
    equal largest numbers each gets an equal share of the gradient. Raises ShapeError for an input
    of other axes, or smaller than a window.

    Source: Zhou and Chellappa, "Computation of optical flow using a neural network", 1988.
    """

    dimensions: ClassVar = 1


@dataclass(frozen=True)
class MaxPool2d(_MaxPool):
    """The largest number in each window of an image: [rows, height, width, channels].

    Settings as for `MaxPool1d`. Source: Zhou and Chellappa 1988.
    """

    dimensions: ClassVar = 2


@dataclass(frozen=True)
class MaxPool3d(_MaxPool):
    """The largest number in each window of a volume: [rows, depth, height, width, channels].

    Settings as for `MaxPool1d`. Source: Zhou and Chellappa 1988.
    """

    dimensions: ClassVar = 3


@dataclass(frozen=True)
class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence, channel by channel; padding does not count.

    [rows, time, channels] -> [rows, places, channels]. Settings as for `MaxPool1d`.

    Source: LeCun et al., "Handwritten digit recognition with a back-propagation network", 1990.
    """

    dimensions: ClassVar = 1


@dataclass(frozen=True)
class AvgPool2d(_AvgPool):
    """The mean of each window of an image: [rows, height, width, channels].

    Settings as for `MaxPool1d`; padding does not count. Source: LeCun et al. 1990.
    """

    dimensions: ClassVar = 2


@dataclass(frozen=True)
class AvgPool3d(_AvgPool):
    """The mean of each window of a volume: [rows, depth, height, width, channels].

    Settings as for `MaxPool1d`; padding does not count. Source: LeCun et al. 1990.
    """

    dimensions: ClassVar = 3


@dataclass(frozen=True)
class _Global(Layer):
    def _places(self, x: Any) -> tuple[int, ...]:
        """The axes between rows and channels. Raises ShapeError where there are none."""
        if x.ndim < 3 or not math.prod(x.shape[1:-1]):
            raise self.mismatch(
                f"[rows, places..., channels], got the shape {tuple(x.shape)}",
                x,
                "give sequences, images or volumes with at least one place",
            )
        return tuple(range(1, x.ndim - 1))


@dataclass(frozen=True)
class GlobalMaxPool(_Global):
    """The largest number over all places: [rows, places..., channels] -> [rows, channels]."""

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        return x.max(axis=self._places(x))


@dataclass(frozen=True)
class GlobalAvgPool(_Global):
    """The mean over all places: [rows, places..., channels] -> [rows, channels].

    Source: Lin, Chen and Yan, "Network in network", ICLR 2014.
    """

    def forward(self, x: Any) -> Any:
        x = as_float(x, np.float32)
        return x.mean(axis=self._places(x))


@dataclass(frozen=True)
class Upsample(Layer):
    """Each place repeated `factor` times along each axis, the nearest neighbour of its copies:
    [rows, places..., channels] -> the same with `factor` times as many places.

    `factor` is a number, or one for each axis between rows and channels. Raises ShapeError where
    there are not as many.
    """

    factor: Sizes = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", plain(self.factor))
        super().__post_init__()

    def check(self) -> None:
        count = len(self.factor) if isinstance(self.factor, tuple) else 1
        check_sizes("Upsample", "factor", self.factor, count)

    def label(self) -> str:
        return f"Upsample {'x'.join(map(str, each(self.factor, 1)))}"

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        factors = each(self.factor, max(x.ndim - 2, 1))
        if x.ndim != len(factors) + 2:
            layout = f"[rows, {len(factors)} axes, channels]"
            raise self.mismatch(f"{layout}, got {x.ndim} axes", x, "give one factor for each axis")
        apart, repeated, joined = [x.shape[0]], [x.shape[0]], [x.shape[0]]
        for size, factor in zip(x.shape[1:-1], factors, strict=True):
            apart += [size, 1]
            repeated += [size, factor]
            joined.append(size * factor)
        spread = np.broadcast_to(x.reshape((*apart, x.shape[-1])), (*repeated, x.shape[-1]))
        return spread.reshape((*joined, x.shape[-1]))
