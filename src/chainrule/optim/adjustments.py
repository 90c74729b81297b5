"""Stages that come after an optimiser and change its updates: weight decay, plateaus."""

from __future__ import annotations

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
)
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules import Schedule, as_schedule, schedule_to_json
from chainrule.optim.selection import decides


def decoupled_weight_decay(rate: float | Schedule, *, on: str = "matrices") -> Optimizer:
    """The weights shrink by themselves, apart from the gradient: w <- w - rate * w.

    `rate` is a number or a schedule, and is not multiplied by the optimiser's learning rate as in
    `adamw`: weight_decay=0.01 in `adamw(0.001)` is a rate of 0.001 * 0.01 here. It applies to
    weights with two axes or more (`on="matrices"`; "all" for every one). Source: Loshchilov and
    Hutter 2019, equation 1 and algorithm 1.
    """
    decay = as_schedule("decoupled_weight_decay", rate, "rate")
    decayed = decides("decoupled_weight_decay", "on", on)

    def init(weights: Weights) -> State:
        return {"count": first_count()}

    def update(updates: Weights, state: State, weights: Weights) -> tuple[dict[str, Array], State]:
        count = state["count"]
        after = {}
        for n in matching_names(updates, weights):
            weight = weights[n]
            fall = decay(count, weight.dtype) * weight if decayed(weight) else None
            after[n] = updates[n] if fall is None else as_array(updates[n] - fall)
        return after, {"count": advance(count)}

    settings = {"rate": schedule_to_json(decay), "on": on}
    return Optimizer("decoupled_weight_decay", settings, init, update, role="adjust")


def reduce_on_plateau(
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    smallest: float = 1e-4,
) -> Optimizer:
    """Updates are scaled down each time the held-out loss stops falling.

    After `patience` epochs in a row without a loss below the best one by more than the fraction
    `threshold` of it, the scale (1 at first) is multiplied by `factor`, down to `smallest`, and
    the waiting begins anew. A loss that is NaN counts as no better. The scale stays at 1 unless
    `after_epoch(state, held_out_loss)` is called after each epoch.
    """
    owner = "reduce_on_plateau"
    factor = checks.fraction(owner, "factor", factor, "0.1")
    patience = checks.whole(owner, "patience", patience)
    threshold = checks.below_one(owner, "threshold", threshold, "0.0001")
    smallest = checks.number(
        owner, "smallest", smallest, lambda x: 0 <= x <= 1, "between 0 and 1", "0.0001"
    )

    def init(weights: Weights) -> State:
        return {
            "scale": np.ones((), np.float64),
            "best": np.full((), np.inf, np.float64),
            "bad_epochs": np.zeros((), np.int32),
        }

    def update(updates: Weights, state: State, weights: Weights) -> tuple[dict[str, Array], State]:
        names = matching_names(updates, weights)
        scale = state["scale"]
        return {n: as_array(updates[n] * scale.astype(updates[n].dtype)) for n in names}, state

    def after_epoch(state: State, held_out_loss: Any) -> State:
        best, scale = state["best"], state["scale"]
        # The sign makes "better by a fraction" mean lower for negative losses as well.
        better = held_out_loss < best * (1.0 - threshold * np.sign(best))
        bad = np.where(better, 0, state["bad_epochs"] + 1)
        full = bad >= patience
        return {
            "scale": as_array(np.where(full, np.maximum(scale * factor, smallest), scale)),
            "best": as_array(np.where(better, held_out_loss, best)),
            "bad_epochs": as_array(np.where(full, 0, bad)),
        }

    return Optimizer(
        owner,
        {"factor": factor, "patience": patience, "threshold": threshold, "smallest": smallest},
        init,
        update,
        role="adjust",
        learning_rate=lambda state: float(state["scale"]),
        after_epoch=after_epoch,
    )
