"""PyTorch, eager: fused optimisers, one Python loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.cases import Case
from bench.networks import MLP


def _mlp(network: MLP, weights: list[tuple[np.ndarray, ...]]) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[network.activation]
    for weight, bias in weights:
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, activation()]
    return torch.nn.Sequential(*layers[:-1])


NETWORKS = {MLP: _mlp}


class Peer:
    def __init__(self, case: Case) -> None:
        torch.set_num_threads(2)
        self._net = NETWORKS[type(case.network)](case.network, case.weights())
        self._loss = torch.nn.MSELoss() if case.loss == "mse" else torch.nn.CrossEntropyLoss()
        self._x, self._y = (torch.from_numpy(a) for a in case.data())
        self._full = case.full
        self._step = self._made(case)

    def _made(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        """The step, from the numbers of the batch's rows."""
        net, loss, data = self._net, self._loss, (self._x, self._y)
        made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer]
        optimizer = made(net.parameters(), lr=case.learning_rate, fused=True)

        def step(rows: torch.Tensor) -> torch.Tensor:
            x, y = data if case.full else (a.index_select(0, rows) for a in data)
            optimizer.zero_grad(set_to_none=True)
            value = loss(net(x), y)
            value.backward()
            optimizer.step()
            return value.detach()

        return step

    def prepare(self, batches: np.ndarray) -> Any:
        if self._full:  # no rows to choose
            batches = np.zeros((len(batches), 1), np.int64)
        return torch.from_numpy(np.ascontiguousarray(batches)).unbind()

    def run(self, prepared: Any) -> Any:
        step = self._step
        return [step(rows) for rows in prepared]

    def losses(self, told: Any) -> list[float]:
        return torch.stack(told).tolist()
