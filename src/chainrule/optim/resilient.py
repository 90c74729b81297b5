"""Resilient backpropagation: only the sign of the gradient counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.optim import checks
from chainrule.optim.arrays import (
    Array,
    State,
    Weights,
    advance,
    as_array,
    first_count,
    matching_names,
)
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Schedule


def rprop(
    learning_rate: float = 0.1,
    *,
    grow: float = 1.2,
    shrink: float = 0.5,
    smallest: float = 1e-6,
    largest: float = 50.0,
) -> Optimizer:
    """Rprop, in the variant iRprop-: each element of a weight has a step size of its own.

    The size starts at `learning_rate` (a number: there is no schedule to follow), is multiplied
    by `grow` where the gradient keeps its sign and by `shrink` where the sign flips, between
    `smallest` and `largest`; the element moves by its size against the sign of the gradient.
    After a flip it does not move for one step, and the size is left alone on the next. For full
    batches: the sign of a mini-batch's gradient is too noisy.

    Sources: Riedmiller and Braun 1993 (Rprop, and the five settings); Igel and Huesken 2000
    (iRprop-, which drops the 1993 paper's step back after a flip). `learning_rate(state)` is the
    mean of the step sizes.
    """
    if isinstance(learning_rate, Schedule):
        raise UsageError(
            f"learning_rate must be a number for rprop, not {learning_rate!r}",
            where=f"optim.rprop(learning_rate={learning_rate!r})",
            do="give the first step size, such as 0.1: Rprop adapts its steps by itself",
        )
    first = checks.positive("rprop", "learning_rate", learning_rate, "0.1")
    largest = checks.positive("rprop", "largest", largest, "50.0")
    smallest = checks.positive("rprop", "smallest", smallest, "1e-6")
    grow = checks.number("rprop", "grow", grow, lambda x: 1 < x <= 1e6, "above 1", "1.2")
    shrink = checks.fraction("rprop", "shrink", shrink, "0.5")
    if not smallest <= first <= largest:
        raise UsageError(
            f"learning_rate {first!r} is not between the smallest and the largest step size",
            where=f"optim.rprop(learning_rate={first!r}, smallest={smallest!r}, "
            f"largest={largest!r})",
            do="choose smallest <= learning_rate <= largest",
        )

    def init(weights: Weights) -> State:
        return {
            "count": first_count(),
            "step_size": {n: np.full(w.shape, first, w.dtype) for n, w in weights.items()},
            "last_sign": {n: np.zeros(w.shape, w.dtype) for n, w in weights.items()},
        }

    def rule(gradient: Array, size: Array, last_sign: Array) -> tuple[Any, Any]:
        # Signs are multiplied, not gradients: the product of two small gradients is 0 in float32.
        sign = np.sign(gradient)
        agreement = sign * last_sign
        changed = np.where(agreement < 0, size * shrink, size)
        changed = np.where(agreement > 0, size * grow, changed)
        changed = np.minimum(np.maximum(changed, smallest), largest)
        return changed, np.where(agreement < 0, 0.0, sign)

    def update(
        gradients: Weights, state: State, weights: Weights
    ) -> tuple[dict[str, Array], State]:
        updates, sizes, signs = {}, {}, {}
        for n in matching_names(gradients, weights):
            size, sign = rule(gradients[n], state["step_size"][n], state["last_sign"][n])
            updates[n] = as_array(-(sign * size))
            sizes[n], signs[n] = as_array(size), as_array(sign)
        count = advance(state["count"])
        return updates, {"count": count, "step_size": sizes, "last_sign": signs}

    def mean_size(state: State) -> float:
        sizes = [size.ravel() for _, size in sorted(state["step_size"].items()) if size.size]
        return float(np.mean(np.concatenate(sizes), dtype=np.float64)) if sizes else first

    settings = {
        "learning_rate": first,
        "grow": grow,
        "shrink": shrink,
        "smallest": smallest,
        "largest": largest,
    }
    return Optimizer("rprop", settings, init, update, learning_rate=mean_size)
