"""Normalisation: LayerNorm over each row, GroupNorm over groups of channels, BatchNorm over the
batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn import checks
from chainrule.nn.filling import Draw
from chainrule.nn.layer import Layer, as_float
from chainrule.tracing.context import Context, current
from chainrule.tracing.trees import join, state

Array = np.ndarray[Any, Any]


def _check(layer: Any, name: str, fields: tuple[str, ...]) -> None:
    if layer.width is not None:
        checks.size(name, "width", layer.width)
    checks.number(name, "eps", layer.eps, 0, math.inf)
    for field_name in fields:
        checks.shape(name, field_name, getattr(layer, field_name), layer.width)


def _checked_input(layer: Any, x: Any) -> Any:
    if layer.scale is None or layer.shift is None:
        raise layer.not_filled()
    x = as_float(x, layer.scale.dtype)
    width = layer.scale.shape[0]
    if x.ndim == 0 or x.shape[-1] != width:
        got = f"got {x.shape[-1]}" if x.ndim else "got a single number"
        do = f"make the part before it give {width}, or leave the width out"
        raise layer.mismatch(f"{width} numbers on the last axis, {got}", x, do)
    return x


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Each row's last axis brought to mean 0 and variance 1, then scaled and shifted by weights.

    [..., width] -> the same shape; the same in training and afterwards. The width may be left out
    where an example gives it. `eps` is added to the variance.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016.
    """

    numbers: ClassVar = ("width", "eps")
    width: int | None = None
    eps: float = field(default=1e-5, kw_only=True)
    scale: Array | None = field(default=None, kw_only=True)
    shift: Array | None = field(default=None, kw_only=True)

    def check(self) -> None:
        _check(self, "LayerNorm", ("scale", "shift"))

    def label(self) -> str:
        return f"LayerNorm {self.width or '?'}"

    def example(self) -> Any:
        return None if self.width is None else np.zeros((2, self.width), np.float32)

    def fill(self, draw: Draw, *inputs: Any) -> LayerNorm:
        width = draw.width(self.width, inputs)
        filled: LayerNorm = self.replace(
            width=width,
            scale=draw("scale", "ones", (width,)),
            shift=draw("shift", "zeros", (width,)),
        )
        return filled

    def forward(self, x: Any) -> Any:
        x = _checked_input(self, x)
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return centred * (1.0 / np.sqrt(variance + self.eps)) * self.scale + self.shift


@dataclass(frozen=True)
class GroupNorm(Layer):
    """In each row, each group of channels brought to mean 0 and variance 1 over all its places;
    then each channel scaled and shifted by weights.

    [rows, places..., width] -> the same shape; the same in training and afterwards. With as many
    groups as channels each channel is on its own (Ulyanov, Vedaldi and Lempitsky 2016). The width
    may be left out where an example gives it. `eps` is added to the variance.

    Source: Wu and He, "Group normalization", ECCV 2018.
    """

    numbers: ClassVar = ("groups", "width", "eps")
    groups: int
    width: int | None = None
    eps: float = field(default=1e-5, kw_only=True)
    scale: Array | None = field(default=None, kw_only=True)
    shift: Array | None = field(default=None, kw_only=True)

    def check(self) -> None:
        checks.size("GroupNorm", "groups", self.groups)
        _check(self, "GroupNorm", ("scale", "shift"))
        if self.width is not None and self.width % self.groups:
            raise UsageError(
                f"GroupNorm: {self.width} channels cannot be divided into {self.groups} groups",
                do=f"make the width a multiple of {self.groups}",
            )

    def label(self) -> str:
        return f"GroupNorm {self.width or '?'}, {self.groups} groups"

    def fill(self, draw: Draw, *inputs: Any) -> GroupNorm:
        width = draw.width(self.width, inputs)
        filled: GroupNorm = self.replace(
            width=width,
            scale=draw("scale", "ones", (width,)),
            shift=draw("shift", "zeros", (width,)),
        )
        return filled

    def forward(self, x: Any) -> Any:
        x = _checked_input(self, x)
        if x.ndim < 2:
            raise self.mismatch("[rows, places..., channels], got one axis", x, "give rows")
        split = x.reshape((*x.shape[:-1], self.groups, x.shape[-1] // self.groups))
        axes = (*range(1, split.ndim - 2), split.ndim - 1)
        centred = split - split.mean(axis=axes, keepdims=True)
        variance = (centred * centred).mean(axis=axes, keepdims=True)
        normal = centred * (1.0 / np.sqrt(variance + self.eps))
        return normal.reshape(x.shape) * self.scale + self.shift


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each column brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    [..., width] -> the same shape; the batch is every axis but the last, in images all rows and
    places of a channel. In training the batch's
    own mean and variance are used, and the running ones move towards them, keeping `momentum` of
    what they were (the running variance is the unbiased one, as in the paper); otherwise the
    running ones are used. A batch of a single row has no spread: it is brought to scale by the
    running statistics, which it leaves as they are.

    Source: Ioffe and Szegedy, "Batch normalization", ICML 2015.
    """

    numbers: ClassVar = ("width", "momentum", "eps")
    width: int | None = None
    momentum: float = field(default=0.9, kw_only=True)
    eps: float = field(default=1e-5, kw_only=True)
    scale: Array | None = field(default=None, kw_only=True)
    shift: Array | None = field(default=None, kw_only=True)
    # state() is a dataclass field, like field().
    running_mean: Array | None = state(default=None, kw_only=True)  # noqa: RUF009
    running_var: Array | None = state(default=None, kw_only=True)  # noqa: RUF009

    def check(self) -> None:
        _check(self, "BatchNorm", ("scale", "shift", "running_mean", "running_var"))
        checks.number("BatchNorm", "momentum", self.momentum, 0, 1)

    def label(self) -> str:
        return f"BatchNorm {self.width or '?'}"

    def example(self) -> Any:
        return None if self.width is None else np.zeros((2, self.width), np.float32)

    def fill(self, draw: Draw, *inputs: Any) -> BatchNorm:
        width = draw.width(self.width, inputs)
        filled: BatchNorm = self.replace(
            width=width,
            scale=draw("scale", "ones", (width,)),
            shift=draw("shift", "zeros", (width,)),
            running_mean=draw("running_mean", "zeros", (width,)),
            running_var=draw("running_var", "ones", (width,)),
        )
        return filled

    def forward(self, x: Any) -> Any:
        x = _checked_input(self, x)
        if self.running_mean is None or self.running_var is None:
            raise self.not_filled()
        count = math.prod(x.shape[:-1])
        context = current()
        if context is None or not context.training or count < 2:
            centred, variance = x - self.running_mean, self.running_var
        else:
            axes = tuple(range(x.ndim - 1))
            mean = x.mean(axis=axes)
            centred = x - mean
            variance = (centred * centred).mean(axis=axes)
            self._remember(context, mean, variance * (count / (count - 1)))
        # One factor for each channel: what is done for each number is a product and a sum.
        return centred * (self.scale / np.sqrt(variance + self.eps)) + self.shift

    def _remember(self, context: Context, mean: Any, variance: Any) -> None:
        """Moves the running statistics a little; in a net that calls this layer twice in one pass,
        each call moves them on."""
        path = context.path_of(self)
        for name, new in (("running_mean", mean), ("running_var", variance)):
            known = getattr(self, name)
            old = context.updates.get(join(path, name), known)
            moved = self.momentum * old + (1.0 - self.momentum) * new
            context.update(self, name, moved.astype(known.dtype))
