"""Augmentation: layers at the front of a net that change its rows at random, in training only.

They run inside the step, on the rows of the batch, so nothing is stored; what they do is a function
of the seed, the step and the layer's place, so a replay sees the same. Pictures are
[rows, height, width, channels] or [rows, height, width]; series and spectrograms are pictures of
time and features. Each row is changed in its own way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError, UsageError
from chainrule.nn import checks
from chainrule.nn.layer import Layer, as_array
from chainrule.nn.place import source
from chainrule.tracing import random
from chainrule.tracing.context import current


@dataclass(frozen=True)
class RandomShift(Layer):
    """Moves each picture by up to `pixels` to every side; what comes in is 0.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 1998 (translations among other distortions).
    """

    numbers: ClassVar = ("pixels",)
    pixels: int

    def check(self) -> None:
        checks.size("RandomShift", "pixels", self.pixels)

    def label(self) -> str:
        return f"RandomShift {self.pixels}"

    def forward(self, x: Any) -> Any:
        x = _pictures(self, x)
        if not _is_training():
            return x
        by = self.pixels
        around = [(0, 0), (by, by), (by, by), *[(0, 0)] * (x.ndim - 3)]
        return _windows(np.pad(x, around), x.shape[1], x.shape[2])


@dataclass(frozen=True)
class RandomCrop(Layer):
    """Cuts a part of `height` x `width` out of each picture, anywhere; outside training, out of the
    middle.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional
    neural networks", NeurIPS 2012.
    """

    numbers: ClassVar = ("height", "width")
    height: int
    width: int

    def check(self) -> None:
        checks.size("RandomCrop", "height", self.height)
        checks.size("RandomCrop", "width", self.width)

    def label(self) -> str:
        return f"RandomCrop {self.height} x {self.width}"

    def forward(self, x: Any) -> Any:
        x = _pictures(self, x)
        if x.shape[1] < self.height or x.shape[2] < self.width:
            raise self.mismatch(
                f"pictures of {self.height} x {self.width} or more, got {tuple(x.shape)}",
                x,
                "cut out a smaller part, or give larger pictures",
            )
        if _is_training():
            return _windows(x, self.height, self.width)
        top, left = (x.shape[1] - self.height) // 2, (x.shape[2] - self.width) // 2
        return x[:, top : top + self.height, left : left + self.width]


@dataclass(frozen=True)
class RandomFlip(Layer):
    """Turns half of the pictures (a share of `rate`) left to right."""

    numbers: ClassVar = ("rate",)
    rate: float = 0.5

    def check(self) -> None:
        checks.number("RandomFlip", "rate", self.rate, 0, math.nextafter(1, 2))

    def label(self) -> str:
        return f"RandomFlip {self.rate:g}"

    def forward(self, x: Any) -> Any:
        x = _pictures(self, x)
        if not _is_training():
            return x
        turned = random.bernoulli(self.rate, (x.shape[0], *[1] * (x.ndim - 1)))
        return np.where(turned, x[:, :, ::-1], x)


@dataclass(frozen=True)
class Noise(Layer):
    """Adds normal noise of standard deviation `std` to every number of the rows.

    Source: Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural
    Computation 1995.
    """

    numbers: ClassVar = ("std",)
    std: float

    def check(self) -> None:
        checks.number("Noise", "std", self.std, 0, math.inf)

    def label(self) -> str:
        return f"Noise {self.std:g}"

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        if not _is_training() or self.std == 0:
            return x
        if x.dtype.kind != "f":
            raise self.mismatch(f"fractional numbers, got {x.dtype}", x, "give floats")
        return x + self.std * random.normal(x.shape, x.dtype)


@dataclass(frozen=True)
class Cutout(Layer):
    """Sets a square of `size` x `size` in each picture to 0; its centre is anywhere, so that part
    of the square may lie outside.

    Source: DeVries and Taylor, "Improved regularization of convolutional neural networks with
    cutout", 2017.
    """

    numbers: ClassVar = ("size",)
    size: int

    def check(self) -> None:
        checks.size("Cutout", "size", self.size)

    def label(self) -> str:
        return f"Cutout {self.size}"

    def forward(self, x: Any) -> Any:
        x = _pictures(self, x)
        if not _is_training():
            return x
        rows, height, width = x.shape[:3]
        top = _whole(rows, height) - self.size // 2
        left = _whole(rows, width) - self.size // 2
        down, across = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
        top, left = top[:, None, None], left[:, None, None]
        inside = (down >= top) & (down < top + self.size)
        inside = inside & (across >= left) & (across < left + self.size)
        return np.where(inside.reshape((rows, height, width, *[1] * (x.ndim - 3))), 0, x)


AUGMENTATIONS: tuple[type[Layer], ...] = (Cutout, Noise, RandomCrop, RandomFlip, RandomShift)


def mixup(x: Any, y: Any) -> tuple[Any, Any]:
    """Each row mixed with the row behind it (the last with the first), and its target alike.

    `x` is [rows, ...] and `y` [rows, outputs]: probabilities of classes, as `np.eye(classes)[y]`
    makes them, or numbers. A row keeps the share s of itself, uniform in 0 .. 1 and of its own:
    s x + (1 - s) x', the published method with alpha = 1 in a batch whose rows come in random
    order. For a step of your own; it needs a training pass:

        with cr.nn.training(seed=0, step=step):
            loss = cross_entropy(net(x), y)     # x and y mixed

    Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk minimization", 2018.
    """
    x, y = as_array(x), as_array(y)
    if y.ndim != 2 or x.ndim < 1 or x.shape[0] != y.shape[0]:
        raise ShapeError(
            f"mixup of rows of shape {tuple(x.shape)} with targets of shape {tuple(y.shape)}",
            do="give targets [rows, outputs]; of class numbers np.eye(classes)[y]",
        )
    if x.dtype.kind != "f" or y.dtype.kind != "f":
        raise UsageError(f"mixup of {x.dtype} and {y.dtype}", do="give floats")
    share = random.uniform((x.shape[0],))

    def mixed(values: Any) -> Any:
        own = share.astype(values.dtype).reshape((values.shape[0], *[1] * (values.ndim - 1)))
        behind = np.concatenate([values[1:], values[:1]])
        return own * values + (1 - own) * behind

    return mixed(x), mixed(y)


def _is_training() -> bool:
    context = current()
    return context is not None and context.training


def _pictures(layer: Layer, x: Any) -> Any:
    x = as_array(x)
    if x.ndim not in (3, 4) or 0 in x.shape[1:]:
        raise ShapeError(
            f"{layer.label()} expects pictures [rows, height, width(, channels)], got "
            f"{tuple(x.shape)}",
            where=source(x),
            do="put it before Flatten and the layers that change the shape",
        )
    return x


def _whole(rows: int, count: int) -> Any:
    """A whole number from 0 to count - 1 for each row."""
    return np.floor(random.uniform((rows,)) * count).astype(np.int32)


def _windows(x: Any, height: int, width: int) -> Any:
    """A part of each picture, `height` x `width`, at a place of its own."""
    rows, tall, wide = x.shape[:3]
    rest = x.shape[3:]
    first = np.arange(rows, dtype=np.int32)
    top, left = _whole(rows, tall - height + 1), _whole(rows, wide - width + 1)
    lines = (first * tall + top)[:, None] + np.arange(height, dtype=np.int32)
    x = np.take(x.reshape((rows * tall, wide, *rest)), lines, axis=0)
    x = np.swapaxes(x, 1, 2)  # rows, columns, lines
    columns = (first * wide + left)[:, None] + np.arange(width, dtype=np.int32)
    x = np.take(x.reshape((rows * wide, height, *rest)), columns, axis=0)
    return np.swapaxes(x, 1, 2)
