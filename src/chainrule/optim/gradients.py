"""Stages that change the gradients before an optimiser sees them: clipping and penalties."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.optim import checks
from chainrule.optim.arrays import Array, Weights, as_array
from chainrule.optim.optimizer import Optimizer, on_gradients
from chainrule.optim.selection import decides


def clip_by_value(limit: float) -> Optimizer:
    """Each element of each gradient is brought into [-limit, limit]. NaN stays NaN."""
    limit = checks.positive("clip_by_value", "limit", limit, "1.0")

    def change(gradients: Weights, weights: Weights) -> dict[str, Array]:
        return {n: as_array(np.minimum(np.maximum(g, -limit), limit)) for n, g in gradients.items()}

    return on_gradients("clip_by_value", {"limit": limit}, change)


def clip_by_global_norm(max_norm: float) -> Optimizer:
    """All gradients are scaled by one factor, so that their norm together is at most max_norm.

    Gradients within the limit pass unchanged, to the bit. Infinite and NaN ones become or stay
    NaN: clipping does not hide them. Source: Pascanu, Mikolov and Bengio 2013, algorithm 1.
    """
    max_norm = checks.positive("clip_by_global_norm", "max_norm", max_norm, "1.0")

    def change(gradients: Weights, weights: Weights) -> dict[str, Array]:
        factor = max_norm / np.maximum(global_norm(gradients), max_norm)
        # In float64 again: in float32 the factor for an exploding gradient may be rounded to 0.
        return {
            n: as_array((g.astype(np.float64) * factor).astype(g.dtype))
            for n, g in gradients.items()
        }

    return on_gradients("clip_by_global_norm", {"max_norm": max_norm}, change)


def global_norm(gradients: Weights) -> Any:
    """The Euclidean norm of all gradients taken as one vector, float64 without axes.

    Squares are summed in float64, where those of large float32 gradients do not overflow: it is
    exploding gradients that clipping is for. They are summed in the order of the names, so that
    the order of the dict does not change a bit.
    """
    total: Any = np.zeros((), np.float64)
    for _, gradient in sorted(gradients.items()):
        wide = gradient.astype(np.float64)
        total = total + (wide * wide).sum()
    return np.sqrt(total)


def l2_penalty(strength: float, *, on: str = "matrices") -> Optimizer:
    """The gradient of strength / 2 * (sum of squared weights) is added: g + strength * w.

    It applies to weights with two axes or more (`on="matrices"`; "all" for every one). The loss
    that is shown stays without it. Source: Krogh and Hertz 1991.
    """
    strength = checks.not_negative("l2_penalty", "strength", strength)
    penalised = decides("l2_penalty", "on", on)

    def change(gradients: Weights, weights: Weights) -> dict[str, Array]:
        return {
            n: as_array(g + strength * weights[n]) if penalised(weights[n]) else g
            for n, g in gradients.items()
        }

    return on_gradients("l2_penalty", {"strength": strength, "on": on}, change)


def l1_penalty(strength: float, *, on: str = "matrices") -> Optimizer:
    """The gradient of strength * (sum of absolute weights) is added: g + strength * sign(w).

    At a weight of 0 the penalty adds nothing. It applies to weights with two axes or more
    (`on="matrices"`; "all" for every one). The loss that is shown stays without it. Source:
    Tibshirani 1996 (the lasso).
    """
    strength = checks.not_negative("l1_penalty", "strength", strength)
    penalised = decides("l1_penalty", "on", on)

    def change(gradients: Weights, weights: Weights) -> dict[str, Array]:
        return {
            n: as_array(g + strength * np.sign(weights[n])) if penalised(weights[n]) else g
            for n, g in gradients.items()
        }

    return on_gradients("l1_penalty", {"strength": strength, "on": on}, change)
