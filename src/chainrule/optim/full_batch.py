"""What full-batch methods share: they see the function itself, not one gradient of it.

Such a method tries several places before it takes a step, so it cannot be a stage of a compiled
step. It is given the function as programs to call, with all arrays packed into one float64 vector,
and makes one iteration at a time; what it remembers between two is a dict of arrays, as for every
optimiser. `minimize`, `least_squares` and `train` all run the same iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import UsageError
from chainrule.optim.arrays import Array, State, Weights

Vector: TypeAlias = NDArray[np.float64]
Needs: TypeAlias = Literal["gradient", "jacobian"]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Loss:
    """A number to make small: `slope(x)` gives it and its gradient.

    `rounded(x)` is the place nearest to x that the arrays' dtypes can hold, and `precision` the
    relative rounding of numbers of those dtypes.
    """

    slope: Callable[[Vector], tuple[float, Vector]]
    rounded: Callable[[Vector], Vector]
    precision: float


@dataclass(frozen=True)
class Residuals:
    """Numbers whose squares are to add up to little: `values(x)` gives them [n], and
    `linearised(x)` them and their derivatives, [n] and [n, size of x]."""

    values: Callable[[Vector], Vector]
    linearised: Callable[[Vector], tuple[Vector, Array]]
    rounded: Callable[[Vector], Vector]
    precision: float


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to. `ended` says why there is no other to make, or is empty; then x
    and state are as they were. `converged` is False where it merely got stuck."""

    x: Vector
    state: State
    ended: str = ""
    converged: bool = False


@dataclass(frozen=True)
class FullBatch:
    """A full-batch method: `iterate(problem, state, x)` of a `Loss` where it needs the gradient, of
    `Residuals` where it needs the Jacobian."""

    needs: Needs
    iterate: Callable[[Any, State, Vector], Iteration]


def no_update(name: str) -> Callable[[Weights, State, Weights], tuple[dict[str, Array], State]]:
    """The `update` of a method that has none."""

    def update(
        gradients: Weights, state: State, weights: Weights
    ) -> tuple[dict[str, Array], State]:
        raise UsageError(
            f"{name} needs the function itself: one gradient is not enough for a step",
            where=f"optim.{name}",
            do="pass it to cr.train with batch_size=None, or use cr.optim.minimize or "
            "cr.optim.least_squares",
        )

    return update


class Packing:
    """Arrays by name as one float64 vector, and back in their own shapes and dtypes."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._types = {n: (a.shape, a.dtype) for n, a in arrays.items()}
        sizes = [math.prod(shape) for shape, _ in self._types.values()]
        self._ends = np.cumsum(sizes).tolist()
        self._exact = all(dtype == np.float64 for _, dtype in self._types.values())
        self.precision = max(float(np.finfo(dtype).eps) for _, dtype in self._types.values())

    @property
    def size(self) -> int:
        return int(self._ends[-1])

    def pack(self, arrays: Mapping[str, Array]) -> Vector:
        flat = [np.asarray(arrays[n], np.float64).reshape(-1) for n in self._types]
        return np.concatenate(flat)

    def unpack(self, vector: Vector) -> dict[str, Array]:
        parts = np.split(vector, self._ends[:-1])
        return {
            name: part.reshape(shape).astype(dtype)
            for (name, (shape, dtype)), part in zip(self._types.items(), parts, strict=True)
        }

    def rounded(self, vector: Vector) -> Vector:
        return vector if self._exact else self.pack(self.unpack(vector))


class Remembered(Generic[Found]):
    """A function of a vector that knows its latest result, and counts how often it really ran."""

    def __init__(self, function: Callable[[Vector], Found]) -> None:
        self._function = function
        self._at: Vector | None = None
        self._found: Found
        self.runs = 0

    def __call__(self, x: Vector) -> Found:
        if self._at is None or not np.array_equal(x, self._at):
            self._found = self._function(x)
            self._at = x.copy()
            self.runs += 1
        return self._found
