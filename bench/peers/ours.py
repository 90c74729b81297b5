"""chainrule: the native loop that `cr.train` runs on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import chainrule as cr
from bench.cases import Case
from bench.networks import MLP
from chainrule.tracing import trees
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.stepping import Stepping


def _mlp(network: MLP, weights: list[tuple[np.ndarray, ...]]) -> Any:
    layers: list[object] = []
    for a, b in pairwise(network.widths):
        layers += [cr.nn.Dense(a, b), getattr(cr.nn, network.activation)]
    net = cr.nn.init(cr.nn.Sequential(*layers[:-1]), seed=0)
    values = []
    for place, leaf in enumerate(trees.leaves(net)):
        name = leaf.name.rpartition(".")[2]
        values.append(weights[place // 2][("weight", "bias").index(name)])
    return trees.replace_leaves(net, values)


NETWORKS = {MLP: _mlp}
_LOSSES = {
    "cross_entropy": ("cross_entropy", "multiclass"),
    "mse": ("mean_squared_error", "regression"),
}


class Peer:
    def __init__(self, case: Case) -> None:
        net = NETWORKS[type(case.network)](case.network, case.weights())
        optimizer = cr.optim.by_name(case.optimizer, case.learning_rate)
        x, y = case.data()
        loss, task = _LOSSES[case.loss]
        goal = objective(loss, task, case.network.outputs, net)
        layout, self._carry = Layout.of(net, optimizer)
        builder = StepBuilder(layout, goal, optimizer, "native")
        self._stepping = Stepping(builder, [x, y], np.zeros(2, np.uint32), 0)
        self._step = 0

    def prepare(self, batches: np.ndarray) -> np.ndarray:
        return batches

    def run(self, batches: np.ndarray) -> list[float]:
        losses: list[float] = []
        while len(losses) < len(batches):
            taken = self._stepping.take(self._carry, batches[len(losses) :], self._step)
            if not taken.finite:
                raise FloatingPointError(f"step {self._step + len(taken.losses)} is not finite")
            self._carry, self._step = taken.carry, self._step + len(taken.losses)
            losses += taken.losses
        return losses

    def losses(self, told: list[float]) -> list[float]:
        return told
