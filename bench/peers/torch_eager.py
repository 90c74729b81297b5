"""PyTorch, eager: fused optimisers, one Python loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bench.cases import Case
from bench.peers.torch_networks import NETWORKS


def _of_places(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross entropy over rows and places."""
    return functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


class Peer:
    channels_last = False  # of pictures

    def __init__(self, case: Case) -> None:
        torch.set_num_threads(2)
        network = case.network
        build = NETWORKS[type(network)]
        self._net = build(network, case.weights(), self.channels_last)
        self._loss = torch.nn.MSELoss() if case.loss == "mse" else torch.nn.CrossEntropyLoss()
        if network.time:
            self._loss = _of_places
        self._x, self._y = (torch.from_numpy(a) for a in case.data())
        if network.pictures and not self.channels_last:
            self._x = self._x.permute(0, 3, 1, 2).contiguous()
        self._full = case.full
        self._step = self._made(case)

    def _made(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        """The step, from the numbers of the batch's rows."""
        value_of, optimizer = self._forward(case), self._optimizer(case)

        def step(rows: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            value = value_of(rows)
            value.backward()
            optimizer.step()
            return value.detach()

        return step

    def _forward(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        """The loss, from the numbers of the batch's rows."""
        net, loss, data = self._net, self._loss, (self._x, self._y)

        def value_of(rows: torch.Tensor) -> torch.Tensor:
            x, y = data if case.full else (a.index_select(0, rows) for a in data)
            return loss(net(x), y)

        return value_of

    def _optimizer(self, case: Case) -> torch.optim.Optimizer:
        made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer]
        trained = [w for w in self._net.parameters() if w.requires_grad]
        return made(trained, lr=case.learning_rate, fused=True)

    def prepare(self, batches: np.ndarray) -> Any:
        if self._full:  # no rows to choose
            batches = np.zeros((len(batches), 1), np.int64)
        return torch.from_numpy(np.ascontiguousarray(batches)).unbind()

    def run(self, prepared: Any) -> Any:
        step = self._step
        return [step(rows) for rows in prepared]

    def losses(self, told: Any) -> list[float]:
        return torch.stack(told).tolist()
