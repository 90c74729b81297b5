"""chainrule: the loop that `cr.train` runs."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from bench.cases import Case
from chainrule.tracing import trees
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.stepping import Stepping


class Peer:
    def __init__(self, case: Case) -> None:
        layers: list[object] = []
        for a, b in zip(case.widths, case.widths[1:], strict=False):
            layers += [cr.nn.Dense(a, b), getattr(cr.nn, case.activation)]
        net = cr.nn.init(cr.nn.Sequential(*layers[:-1]), seed=0)
        weights = [array for pair in case.weights() for array in pair]
        names = [leaf.name.rpartition(".")[2] for leaf in trees.leaves(net)]
        order = sorted(range(len(names)), key=lambda i: (i // 2, names[i] == "bias"))
        arrays = dict(zip(order, weights, strict=True))
        net = trees.replace_leaves(net, [arrays[i] for i in range(len(names))])
        optimizer = cr.optim.by_name(case.optimizer, case.learning_rate)
        task, loss = (
            ("regression", "mean_squared_error")
            if case.loss == "mse"
            else ("multiclass", "cross_entropy")
        )
        goal = objective(loss, task, case.widths[-1], net)
        layout, self._carry = Layout.of(net, optimizer)
        builder = StepBuilder(layout, goal, optimizer, "native")
        self._stepping = Stepping(builder, list(case.data()), np.zeros(2, np.uint32), 0)
        self._step = 0

    def run(self, batches: np.ndarray) -> list[float]:
        losses: list[float] = []
        while len(losses) < len(batches):
            taken = self._stepping.take(self._carry, batches[len(losses) :], self._step)
            self._carry, self._step = taken.carry, self._step + len(taken.losses)
            losses += taken.losses
        return losses
