"""Layers that act on one input: Dense, Embedding, Flatten, Reshape, Dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import IndexRangeError, UsageError
from chainrule.nn import checks
from chainrule.nn.filling import Draw
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Layer, as_array, as_float
from chainrule.nn.place import source, title
from chainrule.nn.targets import is_plain
from chainrule.tracing import random
from chainrule.tracing.context import current
from chainrule.tracing.traced import Traced, as_traced

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Dense(Layer):
    """A weighted sum of the inputs for each output: x @ weight + bias, on the last axis.

    `Dense(64, 32)` takes 64 inputs and gives 32 outputs; `Dense(32)` learns the number of inputs
    from the example that `nn.init` or `cr.train` gives it. Inputs [..., inputs], outputs
    [..., outputs], `weight` [inputs, outputs], `bias` [outputs] (or False for none). Weights start
    as `weight_init` says, a name or function of `nn.initialisers` (Glorot and Bengio 2010 unless
    told otherwise; "he_uniform" suits deep nets of relu), biases as `bias_init`.
    """

    numbers: ClassVar = ("inputs", "outputs")
    inputs: int | None
    outputs: int | None = None  # left out, the first number is the outputs
    weight: Array | None = field(default=None, kw_only=True)
    bias: Any = field(default=True, kw_only=True)
    weight_init: str | Initialiser = field(default="glorot_uniform", kw_only=True)
    bias_init: str | Initialiser = field(default="zeros", kw_only=True)

    def __post_init__(self) -> None:
        if self.outputs is None:
            object.__setattr__(self, "outputs", self.inputs)
            object.__setattr__(self, "inputs", None)
        super().__post_init__()

    def check(self) -> None:
        if self.inputs is not None:
            checks.size("Dense", "inputs", self.inputs)
        checks.size("Dense", "outputs", self.outputs)
        checks.optional("Dense", "bias", self.bias)
        checks.initialiser("Dense", "weight_init", self.weight_init)
        checks.initialiser("Dense", "bias_init", self.bias_init)
        checks.shape("Dense", "weight", self.weight, self.inputs, self.outputs)
        checks.shape("Dense", "bias", self.bias, self.outputs)

    def label(self) -> str:
        return f"Dense {self.inputs or '?'} -> {self.outputs}"

    def example(self) -> Any:
        return None if self.inputs is None else np.zeros((2, self.inputs), np.float32)

    def fill(self, draw: Draw, *inputs: Any) -> Dense:
        if self.weight is not None:
            width = int(self.weight.shape[0])
        else:
            width = draw.width(self.inputs, inputs)
        arrays = {"weight": draw("weight", self.weight_init, (width, self.outputs or 0))}
        if self.bias is not False:
            arrays["bias"] = draw("bias", self.bias_init, (self.outputs or 0,))
        filled: Dense = self.replace(inputs=width, **arrays)
        return filled

    def forward(self, x: Any) -> Any:
        if self.weight is None or self.bias is True:
            raise self.not_filled()
        x = as_float(x, self.weight.dtype)
        inputs = self.weight.shape[0]
        if x.ndim == 0 or x.shape[-1] != inputs:
            raise self._mismatch(x, inputs)
        product = x @ self.weight
        return product if self.bias is False else product + self.bias

    def _mismatch(self, x: Any, inputs: int) -> Exception:
        got = f"got {x.shape[-1]}" if x.ndim else "got a single number"
        do = f"make the part before it give {inputs}, or change this layer's number of inputs"
        if math.prod(x.shape[1:]) == inputs:
            do = "put cr.nn.Flatten() before it, which makes one row of each example"
        return self.mismatch(f"{inputs} inputs on the last axis, {got}", x, do)


@dataclass(frozen=True)
class Embedding(Layer):
    """A vector of weights for each of `count` symbols: whole numbers [...] -> [..., width].

    `weight` [count, width] starts normal with standard deviation 1, or as `weight_init` says.
    Raises IndexRangeError for a symbol outside 0 .. count - 1.
    """

    numbers: ClassVar = ("count", "width")
    count: int
    width: int
    weight_init: str | Initialiser = field(default="standard_normal", kw_only=True)
    weight: Array | None = field(default=None, kw_only=True)

    def check(self) -> None:
        checks.size("Embedding", "count", self.count)
        checks.size("Embedding", "width", self.width)
        checks.initialiser("Embedding", "weight_init", self.weight_init)
        checks.shape("Embedding", "weight", self.weight, self.count, self.width)

    def label(self) -> str:
        return f"Embedding {self.count} -> {self.width}"

    def example(self) -> Any:
        return np.zeros((2, 1), np.int64)

    def fill(self, draw: Draw, *inputs: Any) -> Embedding:
        weight = draw("weight", self.weight_init, (self.count, self.width))
        filled: Embedding = self.replace(weight=weight)
        return filled

    def forward(self, x: Any) -> Any:
        if self.weight is None:
            raise self.not_filled()
        x = as_array(x)
        if x.dtype.kind not in "iu":
            raise UsageError(
                f"{title(self.label())} expects whole numbers, got {x.dtype}",
                where=source(x),
                do="give the symbols' numbers as integers, as in x.astype(np.int64)",
            )
        # NumPy's take looks at the array alone to see whether it is traced.
        table = as_traced(self.weight) if isinstance(x, Traced) else self.weight
        return np.take(table, self._in_range(x), axis=0)

    def _in_range(self, x: Any) -> Any:
        """NumPy counts negative indices from the end; a negative symbol is a mistake."""
        if is_plain(x):
            outside = (x < 0) | (x >= self.count)
            if outside.any():
                place = tuple(int(i) for i in np.argwhere(outside)[0])
                raise IndexRangeError(
                    f"{title(self.label())} got the symbol {int(x[place])} at {place}; its "
                    f"symbols are 0 to {self.count - 1}",
                    where=source(x),
                    do="count symbols from 0, and give the layer as many as there are",
                )
            return x
        return x if x.dtype.kind == "u" else np.where(x < 0, self.count, x)


@dataclass(frozen=True)
class Flatten(Layer):
    """One row of numbers for each example: [rows, ...] -> [rows, numbers]."""

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        if x.ndim == 0:
            raise self.mismatch("an array of rows, got a single number", x, "give an array")
        return x.reshape((x.shape[0], math.prod(x.shape[1:])))


@dataclass(frozen=True)
class Reshape(Layer):
    """The numbers of each row in another form: [rows, ...] -> [rows, *shape].

    `Reshape((8, 8, 1))` makes pictures of rows of 64 numbers. Raises ShapeError for rows of another
    number of numbers.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        super().__post_init__()

    def check(self) -> None:
        for size in self.shape:
            checks.size("Reshape", "shape", size)

    def label(self) -> str:
        return f"Reshape {' x '.join(map(str, self.shape))}"

    def forward(self, x: Any) -> Any:
        x = as_array(x)
        if x.ndim == 0 or math.prod(x.shape[1:]) != math.prod(self.shape):
            raise self.mismatch(
                f"{math.prod(self.shape)} numbers in each row, got the shape {tuple(x.shape)}",
                x,
                "give a shape of as many numbers as a row has",
            )
        return x.reshape((x.shape[0], *self.shape))


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each number is zero with probability `rate`, and the others grow by
    1 / (1 - rate), so that the mean stays; otherwise numbers pass unchanged.

    The mask is a function of the seed, the step and the layer's path, so a replay drops the same.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to
    prevent neural networks from overfitting", JMLR 2014.
    """

    numbers: ClassVar = ("rate",)
    rate: float

    def check(self) -> None:
        checks.number("Dropout", "rate", self.rate, 0, 1)

    def label(self) -> str:
        return f"Dropout {self.rate:g}"

    def forward(self, x: Any) -> Any:
        return dropped(x, self.rate)


def dropped(x: Any, rate: float) -> Any:
    """x with each number zero with probability `rate`, in training; see `Dropout`."""
    context = current()
    if context is None or not context.training or rate == 0:
        return x
    keep = 1.0 - rate
    return np.where(random.bernoulli(keep, x.shape), x / keep, 0)
