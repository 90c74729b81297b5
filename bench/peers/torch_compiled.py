"""PyTorch through torch.compile: selection, forward, backward and update in one graph.

`loss.backward()` and `optimizer.step()` inside a compiled function cut it into several, and each
cut costs about as much as a small step. Written with `torch.func` it stays one; Inductor's C++
wrapper then takes most of Python out of each call. Two kinds of networks cannot be written so, and
their steps, milliseconds long, hide the cuts: recurrent layers, which torch.compile leaves to
PyTorch's own kernels, and batch norm, whose running statistics change within the forward pass.
There the selection and the loss are compiled; `backward()` and the fused optimiser follow, as
people write it.

Pictures keep their channels last: the step of the small CNN took a third less processor time than
with channels first (34 against 50 ms on one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from bench.cases import Case
from bench.convolutions import CNN
from bench.networks import MLP
from bench.peers import torch_eager
from bench.sequences import GPT

Tensors = dict[str, torch.Tensor]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # as torch.optim.Adam has them
WHOLE = (MLP, CNN, GPT)  # networks whose step is one graph


class Sgd:
    def __init__(self, weights: Tensors, rate: float) -> None:
        self._rate = rate

    def update(self, weights: Tensors, gradients: Tensors) -> None:
        for name, weight in weights.items():
            weight.sub_(gradients[name], alpha=self._rate)


class Adam:
    def __init__(self, weights: Tensors, rate: float) -> None:
        self._rate = rate
        self._means = {n: torch.zeros_like(w) for n, w in weights.items()}
        self._squares = {n: torch.zeros_like(w) for n, w in weights.items()}
        self._step = torch.zeros(())

    def update(self, weights: Tensors, gradients: Tensors) -> None:
        self._step.add_(1)
        rate = self._rate / (1 - BETA1**self._step)
        root = (1 - BETA2**self._step).sqrt()
        for name, weight in weights.items():
            mean, square, gradient = self._means[name], self._squares[name], gradients[name]
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).add_(gradient * gradient, alpha=1 - BETA2)
            weight.sub_(rate * mean / (square.sqrt() / root + EPSILON))


class Peer(torch_eager.Peer):
    channels_last = True

    def __init__(self, case: Case) -> None:
        self._whole = type(case.network) in WHOLE
        super().__init__(case)

    def _made(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        return self._one_graph(case) if self._whole else super()._made(case)

    def _forward(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        return torch.compile(super()._forward(case), dynamic=False)

    def _one_graph(self, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
        net, loss, full, data = self._net, self._loss, case.full, (self._x, self._y)
        weights = {name: w.detach() for name, w in net.named_parameters()}
        made = {"sgd": Sgd, "adam": Adam}[case.optimizer]
        optimizer = made(weights, case.learning_rate)

        def objective(weights: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return loss(torch.func.functional_call(net, weights, (x,)), y)

        def step(data: Iterable[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
            x, y = data if full else (a.index_select(0, rows) for a in data)
            gradients, value = torch.func.grad_and_value(objective)(weights, x, y)
            optimizer.update(weights, gradients)
            return value

        options = {"cpp_wrapper": True}
        compiled = torch.compile(step, fullgraph=True, dynamic=False, options=options)
        return lambda rows: compiled(data, rows)

    def run(self, prepared: Any) -> Any:
        with torch.set_grad_enabled(not self._whole):
            return super().run(prepared)
