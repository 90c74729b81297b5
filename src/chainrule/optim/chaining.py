"""Chains: several stages as one optimiser."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

from chainrule.errors import UsageError
from chainrule.optim.arrays import Array, State, Weights
from chainrule.optim.optimizer import Optimizer, Role, to_json

ORDER: tuple[Role, ...] = get_args(Role)

_EXAMPLE = "chain(clip_by_global_norm(1.0), adam(0.001), exponential_average(0.999))"


def chain(*stages: Optimizer) -> Optimizer:
    """The stages one after the other: each gets what the one before gives.

    The order is: stages that change gradients (clipping, penalties), one optimiser, stages that
    change its updates (weight decay, plateaus), at most one average. A chain in a chain is the
    same as its stages. The state holds that of each stage under its place and name, such as
    "1_adam". Raises UsageError for another order, for no optimiser or two, for two averages,
    and for a full-batch method.
    """
    parts: list[Optimizer] = []
    for place, stage in enumerate(stages):
        if not isinstance(stage, Optimizer):
            raise UsageError(
                f"stage {place} of the chain is not an optimiser: {stage!r}",
                where="optim.chain",
                do=f"chain what optim's functions return: {_EXAMPLE}",
            )
        if stage.full_batch is not None:
            raise UsageError(
                f"{stage.name} cannot be part of a chain: it works on the loss itself, not on one "
                "gradient",
                where="optim.chain",
                do=f"use it alone: optimizer=optim.{stage.name}()",
            )
        parts.extend(stage.parts or (stage,))
    _check_order(parts)
    keys = [f"{place}_{part.name}" for place, part in enumerate(parts)]
    members = list(zip(keys, parts, strict=True))

    def init(weights: Weights) -> State:
        states = {key: part.init(weights) for key, part in members}
        # Stages without memory leave no trace: a saved state holds arrays only.
        return {key: state for key, state in states.items() if state}

    def update(
        gradients: Weights, state: State, weights: Weights
    ) -> tuple[dict[str, Array], State]:
        flow, after = dict(gradients), {}
        for key, part in members:
            flow, kept = part.update(flow, state.get(key, {}), weights)
            if kept:
                after[key] = kept
        return flow, after

    def learning_rate(state: State) -> float:
        return math.prod(part.learning_rate(state.get(key, {})) for key, part in members)

    def after_epoch(state: State, held_out_loss: Any) -> State:
        after = dict(state)
        for key, part in members:
            if part.after_epoch is not None:
                after[key] = part.after_epoch(state[key], held_out_loss)
        return after

    def averaged(state: State, weights: Weights) -> dict[str, Array]:
        key, part = members[-1]
        assert part.averaged is not None
        return part.averaged(state[key], weights)

    return Optimizer(
        "chain",
        {"stages": [to_json(part) for part in parts]},
        init,
        update,
        learning_rate=learning_rate,
        after_epoch=after_epoch if any(part.after_epoch for part in parts) else None,
        averaged=averaged if parts[-1].averaged else None,
        parts=tuple(parts),
    )


def _check_order(parts: list[Optimizer]) -> None:
    """UsageError unless the roles come in order, with one step and at most one average."""
    roles = [part.role for part in parts]
    names = ", ".join(part.name for part in parts)
    what = None
    if roles.count("step") != 1:
        number = "no optimiser" if "step" not in roles else "more than one optimiser"
        what = f"the chain has {number}"
    elif roles.count("average") > 1:
        what = "the chain has more than one average"
    for before, after in itertools.pairwise(parts):
        if what is None and ORDER.index(before.role) > ORDER.index(after.role):
            what = f"{after.name} must come before {before.name} in the chain"
    if what is not None:
        raise UsageError(what, where=f"optim.chain({names})", do=f"chain them as in {_EXAMPLE}")
