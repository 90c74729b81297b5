"""chainrule: the native loop that `cr.train` runs on."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from bench.cases import Case
from bench.peers.ours_networks import NETWORKS
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.stepping import Stepping

_LOSSES = {
    "cross_entropy": ("cross_entropy", "multiclass"),
    "mse": ("mean_squared_error", "regression"),
}


class Peer:
    def __init__(self, case: Case) -> None:
        network = case.network
        # Only running statistics are still to be made.
        self.net = cr.nn.init(NETWORKS[type(network)](network, case.weights()), seed=0)
        optimizer = cr.optim.by_name(case.optimizer, case.learning_rate)
        x, y = case.data()
        if network.time:  # as `cr.train` has symbols
            x, y = x.astype(np.int32), y.astype(np.int32)
        loss, task = _LOSSES[case.loss]
        goal = objective(loss, task, network.outputs, self.net, time=network.time)
        layout, self._carry = Layout.of(self.net, optimizer)
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
