"""Stages that average the weights over the steps; the average is what is evaluated and kept.

They come last in a chain and leave the training itself as it is. The state's "average" is always
ready to use: before the first step it is the weights as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.optim import checks
from chainrule.optim.arrays import (
    Array,
    State,
    Weights,
    advance,
    as_array,
    first_count,
    matching_names,
    one_minus_power,
    step_number,
)
from chainrule.optim.optimizer import Optimizer


def exponential_average(decay: float = 0.999) -> Optimizer:
    """The average of the weights in which each step counts `decay` times as much as the next.

    The weights at the start do not count: at step t the new weights have the share
    (1 - decay) / (1 - decay^t), which is the bias correction of Kingma and Ba 2015, section 3,
    applied to the weights as in their section 7.2.
    """
    decay = checks.fraction("exponential_average", "decay", decay, "0.999")

    def share(count: Array, dtype: np.dtype[Any]) -> Any:
        kept = one_minus_power(decay, step_number(count, dtype))
        return np.minimum((1.0 - decay) / kept, 1.0)

    return _average("exponential_average", {"decay": decay}, share)


def running_average(start: int = 0) -> Optimizer:
    """The plain mean of the weights after each step from step number `start` (0-based) on.

    Until then it is the newest weights. Source: Polyak and Juditsky 1992; Ruppert 1988.
    """
    start = checks.whole("running_average", "start", start, least=0)

    def share(count: Array, dtype: np.dtype[Any]) -> Any:
        return 1.0 / np.maximum(count + (1 - start), 1).astype(dtype)

    return _average("running_average", {"start": start}, share)


def _average(
    name: str, settings: dict[str, Any], share: Callable[[Array, np.dtype[Any]], Any]
) -> Optimizer:
    """The average in which the weights after step `count` get a share of the whole."""

    def init(weights: Weights) -> State:
        return {"count": first_count(), "average": {n: np.array(w) for n, w in weights.items()}}

    def update(updates: Weights, state: State, weights: Weights) -> tuple[dict[str, Array], State]:
        count = state["count"]
        average = {}
        for n in matching_names(updates, weights):
            part = share(count, weights[n].dtype)
            new = weights[n] + updates[n]
            average[n] = as_array((1.0 - part) * state["average"][n] + part * new)
        return dict(updates), {"count": advance(count), "average": average}

    def averaged(state: State, weights: Weights) -> dict[str, Array]:
        return dict(state["average"])

    return Optimizer(name, settings, init, update, role="average", averaged=averaged)
