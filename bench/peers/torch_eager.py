"""PyTorch, eager: fused optimisers, one Python loop."""

from __future__ import annotations

import numpy as np
import torch

from bench.cases import Case


class Peer:
    compiled = False

    def __init__(self, case: Case) -> None:
        torch.set_num_threads(2)
        layers: list[torch.nn.Module] = []
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[case.activation]
        for weight, bias in case.weights():
            layer = torch.nn.Linear(*weight.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight.T.copy()))
                layer.bias.copy_(torch.from_numpy(bias))
            layers += [layer, activation()]
        net = torch.nn.Sequential(*layers[:-1])
        made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.optimizer]
        optimizer = made(net.parameters(), lr=case.learning_rate, fused=True)
        loss = torch.nn.MSELoss() if case.loss == "mse" else torch.nn.CrossEntropyLoss()
        self._x, self._y = (torch.from_numpy(a) for a in case.data())
        self._full = case.full

        def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            value = loss(net(x), y)
            value.backward()
            optimizer.step()
            return value.detach()

        self._step = torch.compile(step) if self.compiled else step

    def run(self, batches: np.ndarray) -> list[float]:
        rows = torch.from_numpy(np.ascontiguousarray(batches))
        losses = []
        for chosen in rows:
            x, y = (self._x, self._y) if self._full else (self._x[chosen], self._y[chosen])
            losses.append(self._step(x, y))
        return [float(v) for v in losses]
