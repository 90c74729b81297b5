"""The arrays that optimisers work on, and the step counter that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import UsageError
from chainrule.optim.checks import MOST_STEPS

Array: TypeAlias = NDArray[Any]
Weights: TypeAlias = Mapping[str, Array]  # by name, such as "layers.0.weight"
State: TypeAlias = dict[str, Any]  # arrays, or dicts of arrays


def as_array(value: Any) -> Array:
    """`value`, but an array without axes where NumPy gave a scalar.

    Traced arrays pass as they are, which np.asarray would refuse.
    """
    result: Array = np.asarray(value) if isinstance(value, np.generic) else value
    return result


def first_count() -> Array:
    """The step counter before the first step: an int32 array without axes."""
    return np.zeros((), np.int32)


def advance(count: Array) -> Array:
    """One step more; the counter stays at its largest value rather than turn negative."""
    return as_array(np.minimum(count, MOST_STEPS - 1) + 1)


def step_number(count: Array, dtype: np.dtype[Any]) -> Array:
    """The number of the step being made, 1 for the first, ready for arithmetic in `dtype`."""
    return as_array((count + 1).astype(dtype))


def one_minus_power(base: float, number: Array) -> Any:
    """1 - base^number for a base in [0, 1), accurate where the power is close to 1.

    In float32, 1 - 0.999 is wrong in the fifth digit; through expm1 it is not.
    """
    return -np.expm1(number * math.log(base)) if base > 0 else 1.0


def matching_names(gradients: Weights, weights: Weights) -> list[str]:
    """The names of the weights, in their own order; UsageError unless each has its gradient."""
    if gradients.keys() != weights.keys():
        odd = sorted(gradients.keys() ^ weights.keys())
        raise UsageError(
            f"gradients and weights do not have the same names: {', '.join(odd)}",
            where="optim: update",
            do="pass the gradient of every weight, under the weight's name",
        )
    return list(weights)
