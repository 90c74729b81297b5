"""The one type of this room, and the frame that most optimisers share.

Everything here is an `Optimizer`: Adam, the clipping of gradients, a penalty, the averaging of
weights, and a chain of these. `update` is plain NumPy without a branch on a value, so the same
function runs on arrays and inside a compiled training step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from chainrule.optim.arrays import (
    Array,
    State,
    Weights,
    advance,
    as_array,
    first_count,
    matching_names,
    step_number,
)
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.schedules import Schedule
from chainrule.optim.text import call_text

Init: TypeAlias = Callable[[Weights], State]
Update: TypeAlias = Callable[[Weights, State, Weights], tuple[dict[str, Array], State]]
Role: TypeAlias = Literal["gradient", "step", "adjust", "average"]


def _one(state: State) -> float:
    return 1.0


@dataclass(frozen=True, repr=False)
class Optimizer:
    """An optimiser, or a stage of one, as a pair of pure functions (init, update).

    `init(weights)` gives the state: nested dicts of arrays. `update(gradients, state, weights)`
    gives the updates, which are added to the weights, and the next state. Both take and give
    dicts by weight name. `name` and `settings` (JSON values only) say how to make the optimiser
    again, and two are equal when these are.

    `role` is what it works on: "gradient" (clipping, penalties), "step" (turns gradients into
    updates: every optimiser, every chain), "adjust" (changes updates) or "average" (leaves them
    alone and averages the weights). Only a "step" can train a network by itself.

    `learning_rate(state)` is the rate of the next step, for display; for other roles it is the
    factor by which the stage changes that rate. `after_epoch(state, held_out_loss)` gives the
    next state and `averaged(state, weights)` the weights to evaluate and to keep; each is None
    where the optimiser does no such thing. `parts` are the stages of a chain.

    `full_batch` is there where one gradient is not enough for a step (L-BFGS, Levenberg-
    Marquardt): such a method is given the function itself, and its `update` only says so.
    """

    name: str
    settings: dict[str, Any] = field(hash=False)
    init: Init = field(compare=False)
    update: Update = field(compare=False)
    role: Role = field(default="step", compare=False)
    learning_rate: Callable[[State], float] = field(default=_one, compare=False)
    after_epoch: Callable[[State, Any], State] | None = field(default=None, compare=False)
    averaged: Callable[[State, Weights], dict[str, Array]] | None = field(
        default=None, compare=False
    )
    parts: tuple[Optimizer, ...] = field(default=(), compare=False)
    full_batch: FullBatch | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return call_text(self.name, self.settings)


def to_json(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser as a JSON value; `from_json` makes an equal one of it."""
    return {"optimizer": optimizer.name, "settings": copy.deepcopy(optimizer.settings)}


# (gradient, weight, memory, number of the step from 1) -> (direction, memory)
Rule: TypeAlias = Callable[
    [Array, Array, Mapping[str, Array], Array], tuple[Any, Mapping[str, Any]]
]


def elementwise(
    name: str,
    settings: dict[str, Any],
    rate: Schedule,
    rule: Rule,
    memory: tuple[str, ...] = (),
) -> Optimizer:
    """An optimiser whose rule sees one weight at a time: the update is -rate * direction.

    `memory` names what the rule keeps for each weight: arrays of the weight's shape and dtype,
    zeros at the start.
    """

    def init(weights: Weights) -> State:
        state: State = {"count": first_count()}
        for entry in memory:
            state[entry] = {n: np.zeros(w.shape, w.dtype) for n, w in weights.items()}
        return state

    def update(
        gradients: Weights, state: State, weights: Weights
    ) -> tuple[dict[str, Array], State]:
        count = state["count"]
        updates: dict[str, Array] = {}
        after: State = {"count": advance(count), **{entry: {} for entry in memory}}
        for n in matching_names(gradients, weights):
            weight = weights[n]
            before = {entry: state[entry][n] for entry in memory}
            number = step_number(count, weight.dtype)
            direction, kept = rule(gradients[n], weight, before, number)
            updates[n] = as_array(-rate(count, weight.dtype) * direction)
            for entry in memory:
                after[entry][n] = as_array(kept[entry])
        return updates, after

    def learning_rate(state: State) -> float:
        return float(rate(state["count"], np.float64))

    return Optimizer(name, settings, init, update, learning_rate=learning_rate)


def on_gradients(
    name: str, settings: dict[str, Any], change: Callable[[Weights, Weights], dict[str, Array]]
) -> Optimizer:
    """A stage without memory: `change(gradients, weights)` gives the gradients to go on with."""

    def init(weights: Weights) -> State:
        return {}

    def update(
        gradients: Weights, state: State, weights: Weights
    ) -> tuple[dict[str, Array], State]:
        matching_names(gradients, weights)
        return change(gradients, weights), {}

    return Optimizer(name, settings, init, update, role="gradient")
