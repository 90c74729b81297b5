"""Positions: what tells attention where in the sequence a vector stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.nn import checks
from chainrule.nn.filling import Draw
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_array, as_float

Array = np.ndarray[Any, Any]

_BASE = 10_000.0  # the longest wavelength is 2 pi times this (Vaswani et al. 2017)


def _angles(places: Any, width: int) -> Any:
    """position * base^(-2 i / width), an array [places, width / 2]."""
    rates = _BASE ** (-2.0 * np.arange(width // 2) / width)
    return places[:, np.newaxis] * rates


def rotated(x: Any, places: Any = None) -> Any:
    """Each pair of numbers of [rows, time, heads, size] turned by an angle that grows with time, so
    that a product of two vectors depends on how far apart they stand.

    Element i of the first half is paired with element i of the second. `places` (whole numbers
    [time]) are where they stand: one after the other from 0, unless told otherwise.

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.
    """
    half = x.shape[-1] // 2
    places = np.arange(x.shape[-3]) if places is None else places
    angles = _angles(places, 2 * half)[:, np.newaxis, :]
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    first, second = x[..., :half], x[..., half:]
    turned = (first * cos - second * sin, first * sin + second * cos)
    return np.concatenate(turned, axis=-1)


@dataclass(frozen=True)
class LearnedPositions(Layer):
    """A vector of weights added at each place of a sequence: [rows, time, width] -> the same.

    `table` [length, width] starts normal with standard deviation 0.05, or as `table_init` says.
    The width may be left out where an example gives it. Raises ShapeError for sequences longer than
    `length`.

    Source: Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional sequence to sequence
    learning", ICML 2017.
    """

    numbers: ClassVar = ("length", "width")
    length: int
    width: int | None = None
    table_init: str | Initialiser = field(default="normal", kw_only=True)
    table: Array | None = field(default=None, kw_only=True)

    def check(self) -> None:
        checks.size("LearnedPositions", "length", self.length)
        if self.width is not None:
            checks.size("LearnedPositions", "width", self.width)
        checks.initialiser("LearnedPositions", "table_init", self.table_init)
        checks.shape("LearnedPositions", "table", self.table, self.length, self.width)

    def label(self) -> str:
        return f"LearnedPositions {self.length}"

    def fill(self, draw: Draw, *inputs: Any) -> LearnedPositions:
        width = draw.width(self.width, inputs)
        table = draw("table", self.table_init, (self.length, width))
        filled: LearnedPositions = self.replace(width=width, table=table)
        return filled

    def forward(self, x: Any) -> Any:
        if self.table is None:
            raise self.not_filled()
        x = as_float(x, self.table.dtype)
        width = self.table.shape[1]
        if x.ndim < 2 or x.shape[-1] != width:
            got = f"got the shape {tuple(x.shape)}"
            raise self.mismatch(f"[rows, time, {width}], {got}", x, f"make the width {width}")
        if x.shape[-2] > self.length:
            raise self.mismatch(
                f"sequences of at most {self.length} steps, got {x.shape[-2]}",
                x,
                "cut the sequences, or give the layer a larger length",
            )
        return x + self.table[: x.shape[-2]]


@dataclass(frozen=True)
class SinusoidalPositions(Layer):
    """Sines and cosines of the position added at each place: [rows, time, width] -> the same.

    Even places of the width are sines, odd ones cosines, of wavelengths from 2 pi to 20,000 pi; for
    sequences of any length, without weights.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
    """

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        if x.ndim < 2 or x.dtype.kind != "f" or x.shape[-1] % 2:
            raise self.mismatch(
                f"numbers [rows, time, an even width], got {x.dtype} of shape {tuple(x.shape)}",
                x,
                "put an Embedding or a Dense of even width before it",
            )
        angles = _angles(np.arange(x.shape[-2]), x.shape[-1])
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        return x + waves.reshape(angles.shape[0], -1).astype(x.dtype)
