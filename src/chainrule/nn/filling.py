"""Filling a net with its first weights, while an example runs through it.

Each layer asks for its arrays when it is called, when the width of its input is known; so layers
inside a user's own layer are filled as well, without that layer having to say anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ShapeError, UsageError
from chainrule.nn.initialisers import Initialiser, by_name
from chainrule.nn.place import title
from chainrule.nn.stream import Stream
from chainrule.tracing.context import Context
from chainrule.tracing.trees import is_array, join


class Draw:
    """Draws the first arrays of one layer; a layer's `fill` is called with one.

    `draw("weight", "glorot_uniform", (64, 32))` is the array for the field `weight`: what the layer
    already has there, or a new one, a function of the seed, the layer's path and the field's name.
    """

    def __init__(self, layer: Any, path: str, seed: int, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._layer = layer
        self._path = path
        self._seed = seed

    def __call__(
        self, name: str, initialiser: str | Initialiser, shape: Sequence[int]
    ) -> np.ndarray[Any, Any]:
        """The array for a field. Raises ShapeError where the initialiser gives another shape."""
        known = getattr(self._layer, name)
        if is_array(known):
            return np.asarray(known)
        sizes = tuple(shape)
        stream = Stream(self._seed, join(self._path, name))
        array = np.asarray(by_name(initialiser)(stream, sizes, self.dtype), self.dtype)
        if array.shape != sizes:
            raise ShapeError(
                f"the initialiser of {join(self._path, name)} gave an array of shape "
                f"{array.shape}, not {sizes}"
            )
        return array

    def width(self, given: int | None, inputs: tuple[Any, ...]) -> int:
        """The size of the input's last axis: as given, or read from the input that came.

        Raises UsageError where neither says it.
        """
        if given is not None:
            return given
        if not inputs:
            what = f"{self._path} ({self._layer.label()})" if self._path else self._layer.label()
            raise UsageError(
                f"the input width of {what} is not known",
                do="give an example input, cr.nn.init(net, x), or write the width in the layer",
            )
        shape = np.shape(inputs[0])
        if not shape:
            raise ShapeError(f"{title(self._layer.label())} got a single number as its input")
        return int(shape[-1])


@dataclass
class Filling(Context):
    """A forward pass on an example, in which layers get the arrays that they lack."""

    seed: int = 0
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    filled: dict[str, Any] = field(default_factory=dict)  # path -> the layer with its arrays

    def fill(self, layer: Any, path: str, inputs: tuple[Any, ...]) -> Any:
        """The layer at this path with its arrays; filled once, however often it is called."""
        if path not in self.filled:
            draw = Draw(layer, path, self.seed, self.dtype)
            self.filled[path] = layer.fill(draw, *inputs)
        return self.filled[path]
