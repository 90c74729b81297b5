"""Convolutions: a weighted sum over windows, as a contraction; no window is ever copied."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn import checks
from chainrule.nn.filling import Draw
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_float
from chainrule.nn.sliding import (
    Padding,
    Pairs,
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

Array = np.ndarray[Any, Any]

_PLACES, _INSIDE = "xyz", "ijk"
DEPTHWISE = "depthwise"


@dataclass(frozen=True)
class Convolution(Layer):
    """What convolutions over one, two and three axes share."""

    numbers: ClassVar = ("inputs", "outputs", "groups")
    dimensions: ClassVar[int] = 0
    inputs: int | None
    outputs: int | None = None  # left out, the first number is the outputs
    kernel: Sizes = field(default=3, kw_only=True)
    stride: Sizes = field(default=1, kw_only=True)
    padding: Padding = field(default="valid", kw_only=True)
    dilation: Sizes = field(default=1, kw_only=True)
    groups: int | str = field(default=1, kw_only=True)
    weight: Array | None = field(default=None, kw_only=True)
    bias: Any = field(default=True, kw_only=True)
    weight_init: str | Initialiser = field(default="glorot_uniform", kw_only=True)
    bias_init: str | Initialiser = field(default="zeros", kw_only=True)

    def __post_init__(self) -> None:
        if self.outputs is None:
            object.__setattr__(self, "outputs", self.inputs)
            object.__setattr__(self, "inputs", None)
        for name in ("kernel", "stride", "padding", "dilation"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        super().__post_init__()

    def check(self) -> None:
        name = type(self).__name__
        if self.inputs is not None:
            checks.size(name, "inputs", self.inputs)
        checks.size(name, "outputs", self.outputs)
        for setting in ("kernel", "stride", "dilation"):
            check_sizes(name, setting, getattr(self, setting), self.dimensions)
        check_padding(name, self.padding, self.dimensions)
        if self.groups != DEPTHWISE:
            checks.size(name, "groups", self.groups)
        for setting in ("inputs", "outputs"):
            self._check_groups(name, setting, getattr(self, setting))
        checks.optional(name, "bias", self.bias)
        checks.initialiser(name, "weight_init", self.weight_init)
        checks.initialiser(name, "bias_init", self.bias_init)
        width = None if self.inputs is None else self.inputs // self._groups(self.inputs)
        checks.shape(name, "weight", self.weight, *self.sizes, width, self.outputs)
        checks.shape(name, "bias", self.bias, self.outputs)

    def _check_groups(self, name: str, setting: str, count: int | None) -> None:
        groups = self.inputs if self.groups == DEPTHWISE else self.groups
        if count is not None and isinstance(groups, int) and count % groups:
            raise UsageError(
                f"{name}: {count} {setting} cannot be divided into {groups} groups",
                do=f"make the {setting} a multiple of {groups}",
            )

    def _groups(self, inputs: int) -> int:
        return inputs if self.groups == DEPTHWISE else int(self.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The kernel's size along each axis."""
        return each(self.kernel, self.dimensions)

    @property
    def spans(self) -> tuple[int, ...]:
        """How many elements a window spans along each axis, gaps included."""
        pairs = zip(self.sizes, each(self.dilation, self.dimensions), strict=True)
        return tuple((size - 1) * dilation + 1 for size, dilation in pairs)

    def label(self) -> str:
        parts = [f"{type(self).__name__} {self.inputs or '?'} -> {self.outputs}"]
        parts.append(shown_sizes(self.kernel, self.dimensions))
        settings = (("stride", self.stride), ("dilation", self.dilation))
        parts += [
            f"{setting} {shown_sizes(value, self.dimensions)}"
            for setting, value in settings
            if any(n != 1 for n in each(value, self.dimensions))
        ]
        if self.padding != "valid":
            parts.append(self.padding if self.padding == "same" else f"padding {self.padding}")
        if self.groups != 1:
            parts.append(DEPTHWISE if self.groups == DEPTHWISE else f"{self.groups} groups")
        return ", ".join(parts)

    def fill(self, draw: Draw, *inputs: Any) -> Any:
        if self.weight is not None and self.inputs is None:
            groups = self.groups if isinstance(self.groups, int) else int(self.weight.shape[-1])
            width = int(self.weight.shape[-2]) * groups
        else:
            width = draw.width(self.inputs, inputs)
        # With the width known, the layer checks that the groups divide it.
        known = self.replace(inputs=width)
        shape = (*self.sizes, width // known._groups(width), self.outputs or 0)
        arrays = {"weight": draw("weight", self.weight_init, shape)}
        if self.bias is not False:
            arrays["bias"] = draw("bias", self.bias_init, (self.outputs or 0,))
        return known.replace(**arrays)

    def forward(self, x: Any) -> Any:
        if self.weight is None or self.bias is True or self.inputs is None:
            raise self.not_filled()
        x = as_float(x, self.weight.dtype)
        check_input(self, x, self.dimensions, self.inputs)
        result = self._apply(x, self.weight)
        return result if self.bias is False else result + self.bias

    def _apply(self, x: Any, weight: Any) -> Any:
        strides = each(self.stride, self.dimensions)
        pairs = pairs_of(self.padding, x.shape[1:-1], self.spans, strides)
        return self._contract(padded(x, pairs), weight, strides)

    def _contract(self, x: Any, weight: Any, strides: tuple[int, ...]) -> Any:
        """The contraction of all windows with the weights, each group with its own."""
        dilations = each(self.dilation, self.dimensions)
        groups = self._groups(x.shape[-1])
        places, inside = _PLACES[: self.dimensions], _INSIDE[: self.dimensions]
        if groups == 1:
            views = windows(self, x, self.sizes, strides, dilations)
            spec = f"n{places}c{inside},{inside}co->n{places}o"
            return np.einsum(spec, views, weight, optimize=True)
        # Split before the windows are taken: a view of windows could not be without a copy.
        split = x.reshape((*x.shape[:-1], groups, x.shape[-1] // groups))
        views = windows(self, split, self.sizes, strides, dilations)
        weight = weight.reshape((*weight.shape[:-1], groups, weight.shape[-1] // groups))
        spec = f"n{places}gc{inside},{inside}cgo->n{places}go"
        result = np.einsum(spec, views, weight, optimize=True)
        return result.reshape((*result.shape[:-2], math.prod(result.shape[-2:])))


@dataclass(frozen=True)
class Conv1d(Convolution):
    """A weighted sum over the window around each step of a sequence.

    `Conv1d(8, 16, kernel=5)` takes 8 channels and gives 16; `Conv1d(16, kernel=5)` learns the
    number of channels from an example. Inputs [rows, time, inputs], outputs [rows, places,
    outputs]; `weight` [kernel, inputs / groups, outputs], `bias` [outputs] (or False for none).

    `padding` is "valid" (none), "same" (as many places as there are strides in the axis, rounded
    up), a number of zeros on both sides, or for each axis a number or a pair (before, after).
    `stride` is the distance between windows, `dilation` that between the elements of one, `groups`
    the number of parts that channels are divided into, each with weights of its own; "depthwise"
    makes each channel a part. Raises ShapeError for an input of other axes or channels, or smaller
    than a window.

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.
    """

    dimensions: ClassVar = 1


@dataclass(frozen=True)
class Conv2d(Convolution):
    """A weighted sum over the window around each place of an image.

    Inputs [rows, height, width, inputs], outputs [rows, places, places, outputs]; `weight`
    [kernel, kernel, inputs / groups, outputs]. Settings as for `Conv1d`, each one number or one for
    each of height and width.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    dimensions: ClassVar = 2


@dataclass(frozen=True)
class Conv3d(Convolution):
    """A weighted sum over the window around each place of a volume.

    Inputs [rows, depth, height, width, inputs], outputs the same with `outputs` channels; `weight`
    [kernel, kernel, kernel, inputs / groups, outputs]. Settings as for `Conv1d`.

    Source: Ji, Xu, Yang and Yu, "3D convolutional neural networks for human action recognition",
    2013.
    """

    dimensions: ClassVar = 3


@dataclass(frozen=True)
class _Transposed(Convolution):
    """What transposed convolutions share: the transpose of a convolution from the outputs."""

    output_padding: Sizes = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_padding", plain(self.output_padding))
        super().__post_init__()

    def check(self) -> None:
        super().check()
        name = type(self).__name__
        check_sizes(name, "output_padding", self.output_padding, self.dimensions, least=0)
        more = each(self.output_padding, self.dimensions)
        if self.padding == "same" and any(more):
            raise UsageError(
                f'{name}: output_padding is {self.output_padding} and padding is "same"',
                do='leave out output_padding: "same" says how long the output is',
            )
        steps = zip(
            each(self.stride, self.dimensions), each(self.dilation, self.dimensions), strict=True
        )
        for number, step in zip(more, map(max, steps), strict=True):
            if number >= step:
                raise UsageError(
                    f"{name}: output_padding of {number} is no less than the stride and the "
                    f"dilation, {step}",
                    do=f"give less than {step}, or one place more of input",
                )

    def label(self) -> str:
        more = each(self.output_padding, self.dimensions)
        end = f", output padding {shown_sizes(more, self.dimensions)}" if any(more) else ""
        return super().label() + end

    def _apply(self, x: Any, weight: Any) -> Any:
        strides = each(self.stride, self.dimensions)
        for axis, stride in enumerate(strides, start=1):
            x = _spread_out(x, axis, stride)
        reach = [span - 1 for span in self.spans]
        x = padded(x, tuple((n, n) for n in reach))
        weight = np.flip(weight, axis=tuple(range(self.dimensions)))
        return self._cropped(self._contract(x, weight, (1,) * self.dimensions), strides)

    def _cropped(self, y: Any, strides: tuple[int, ...]) -> Any:
        """Without what the padding of the convolution, whose transpose this is, would hold."""
        index: list[slice] = [slice(None)]
        more: list[tuple[int, int]] = []
        sides = self._sides(strides)
        for size, (before, after) in zip(y.shape[1:-1], sides, strict=True):
            if before + max(after, 0) >= size:
                raise self.mismatch(
                    f"more than {size} places before {before} and {after} are cut off",
                    y,
                    "make the padding smaller",
                )
            index.append(slice(before, size - max(after, 0)))
            more.append((0, max(-after, 0)))
        return padded(y[tuple(index)], tuple(more))

    def _sides(self, strides: tuple[int, ...]) -> Pairs:
        """How much is cut off before and after each axis; a negative number adds zeros: a stride
        longer than a window leaves gaps, the last of them behind the last window."""
        if self.padding != "same":
            pairs = pairs_of(self.padding, self.spans, self.spans, strides)
            more = each(self.output_padding, self.dimensions)
            return tuple((before, n - k) for (before, n), k in zip(pairs, more, strict=True))
        over = [span - stride for span, stride in zip(self.spans, strides, strict=True)]
        return tuple((max(n, 0) // 2, n - max(n, 0) // 2) for n in over)


def _spread_out(x: Any, axis: int, stride: int) -> Any:
    """Zeros between the elements along an axis."""
    if stride == 1 or not x.shape[axis]:
        return x
    gaps = [(0, 0)] * (x.ndim + 1)
    gaps[axis + 1] = (0, stride - 1)
    size = x.shape[axis] * stride
    x = np.pad(np.expand_dims(x, axis + 1), gaps)
    x = x.reshape((*x.shape[:axis], size, *x.shape[axis + 2 :]))
    return x[(slice(None),) * axis + (slice(size - stride + 1),)]


@dataclass(frozen=True)
class ConvTranspose1d(_Transposed):
    """The transpose of a convolution: each step of the input adds its weights, times its value, to
    a window of the output.

    Inputs [rows, time, inputs], outputs [rows, (time - 1) * stride + span, outputs], where a window
    spans (kernel - 1) * dilation + 1; `weight` [kernel, inputs / groups, outputs]. `padding` is cut
    off the output: "same" gives time * stride places. `output_padding`, less than the stride (or
    the dilation), is how many places more there are at the end: a convolution with a stride gives
    the same size for inputs of several sizes, and this says which of them comes back. Other
    settings as for `Conv1d`.

    Source: Zeiler, Krishnan, Taylor and Fergus, "Deconvolutional networks", CVPR 2010.
    """

    dimensions: ClassVar = 1


@dataclass(frozen=True)
class ConvTranspose2d(_Transposed):
    """The transpose of a convolution over images: [rows, height, width, inputs] to a larger image.

    Settings as for `ConvTranspose1d`. Source: Zeiler et al. 2010.
    """

    dimensions: ClassVar = 2


@dataclass(frozen=True)
class ConvTranspose3d(_Transposed):
    """The transpose of a convolution over volumes: [rows, depth, height, width, inputs].

    Settings as for `ConvTranspose1d`. Source: Zeiler et al. 2010.
    """

    dimensions: ClassVar = 3
