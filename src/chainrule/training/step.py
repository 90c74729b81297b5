"""One training step as a graph: forward, error, backward, update, and what is measured.

Everything a step changes is one flat list of arrays, the carry: weights, running statistics, state
of the optimiser. The step's program takes the carry and a batch and returns the next carry, in the
same order, so that a backend can update it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from chainrule import tracing
from chainrule.backward import gradients
from chainrule.errors import ChainruleError
from chainrule.graph import Graph, Node
from chainrule.optim import Optimizer
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.context import Context, use
from chainrule.tracing.traced import Traced, wrap
from chainrule.training.objective import Objective, readable

Array = np.ndarray
Carry = list[Array]


@dataclass(frozen=True)
class Layout:
    """Which arrays of the carry are what; `net` and `optimizer_state` give the structure."""

    net: Any
    weights: tuple[str, ...]
    state: tuple[str, ...]  # arrays of the network that change without gradients
    optimizer_state: Any

    @staticmethod
    def of(net: Any, optimizer: Optimizer) -> tuple[Layout, Carry]:
        """The layout for a network and an optimiser, and the first carry."""
        found = trees.leaves(net)
        weights = {leaf.name: leaf.value for leaf in found if leaf.trained}
        state = {leaf.name: leaf.value for leaf in found if not leaf.trained}
        optimizer_state = optimizer.init(weights)
        moments = [np.asarray(leaf.value) for leaf in trees.leaves(optimizer_state)]
        layout = Layout(net, tuple(weights), tuple(state), optimizer_state)
        return layout, [
            *map(np.asarray, weights.values()),
            *map(np.asarray, state.values()),
            *moments,
        ]

    def names(self) -> list[str]:
        """A name for each array of the carry."""
        moments = [leaf.name for leaf in trees.leaves(self.optimizer_state)]
        return [
            *(f"weights.{n}" for n in self.weights),
            *(f"state.{n}" for n in self.state),
            *(f"optimizer.{n}" for n in moments),
        ]

    def split(self, carry: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """The weights by name, the state by name, and the optimiser's state as a tree."""
        first, second = len(self.weights), len(self.weights) + len(self.state)
        weights = dict(zip(self.weights, carry[:first], strict=True))
        state = dict(zip(self.state, carry[first:second], strict=True))
        return weights, state, trees.replace_leaves(self.optimizer_state, carry[second:])

    def network(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
        """The network with these arrays in it."""
        values = {**weights, **state}
        return trees.replace_leaves(
            self.net, [values[leaf.name] for leaf in trees.leaves(self.net)]
        )


@dataclass(frozen=True)
class StepResult:
    """What one step did, besides changing the carry."""

    loss: float  # of the batch, before the update
    finite: bool  # whether the loss, all new weights and the state of layers are
    score: float  # the sum over the batch of what `score_name` is the mean of
    layers: dict[str, dict[str, float]]  # empty unless measured
    weights: dict[str, dict[str, float]]
    gradient_norm: float
    ended: str = ""  # why a full-batch method has no further step to take: "converged" or "stuck"


@dataclass(frozen=True)
class _Ready:
    """A compiled step. `told` has the structure of what it returns besides the carry."""

    program: Program
    told: Any

    @property
    def graph(self) -> Graph:
        return self.program.graph


class StepBuilder:
    """Makes and keeps the programs of a run's step, one for each batch shape."""

    def __init__(
        self,
        layout: Layout,
        objective: Objective,
        optimizer: Optimizer,
        backend: str | None,
        threads: int | None = None,
    ) -> None:
        self.layout = layout
        self.objective = objective
        self.optimizer = optimizer
        self.backend = backend
        self.threads = threads
        self._ready: dict[Any, _Ready] = {}

    def __call__(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int, measured: bool
    ) -> tuple[Carry, StepResult]:
        """Runs one step on a batch: (x, y) or (x, y, row weights)."""
        ready = self.prepare(carry, batch, measured)
        outputs = ready.program([*carry, *batch, key, np.asarray(step, np.uint32)])
        count = len(carry)
        return outputs[:count], result_of(trees.replace_leaves(ready.told, outputs[count:]))

    def prepare(self, carry: Carry, batch: Sequence[Array], measured: bool) -> _Ready:
        """The program for batches of this shape, traced and compiled the first time. Shape
        mistakes of the network are found here, before any data flows."""
        shape = (tuple((b.shape, b.dtype) for b in batch), measured)
        if shape not in self._ready:
            captured = self.capture(carry, batch, partial(self._step, measured=measured))
            _check_carry(self.layout.names(), carry, captured)
            told = trees.map_leaves(lambda _: _PLACE, captured.result[1])
            self._ready[shape] = _Ready(self.program(captured.graph), told)
        return self._ready[shape]

    def quantities(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int
    ) -> dict[str, Any]:
        """Every quantity of one step, in the order of their making: {"outputs": by layer's path,
        "loss", "deltas": by path, "gradients": by weight, "state": by name, "weights": by name}."""
        captured = self.capture(carry, batch, self._quantities)
        program = self.program(captured.graph)
        found: dict[str, Any] = captured.rebuild(
            program([*carry, *batch, key, np.asarray(step, np.uint32)])
        )
        return found

    def program(self, graph: Graph) -> Program:
        """A graph made ready, on the run's backend."""
        return Program(graph, self.backend, self.threads)

    def capture(
        self, carry: Carry, batch: Sequence[Array], function: Callable[..., Any]
    ) -> tracing.Capture:
        """The trace of function(carry, batch, key, step) for arrays of these shapes."""
        inputs = dict(zip(self.layout.names(), carry, strict=True))

        def training_step(carry: Any, batch: Any, key: Any, step: Any) -> Any:
            return function(list(carry.values()), batch, key, step)

        zeros = np.zeros(2, np.uint32), np.zeros((), np.uint32)
        return tracing.capture(training_step, (inputs, list(batch), *zeros))

    def forward(
        self, weights: Any, state: Any, batch: Any, key: Any, step: Any
    ) -> tuple[Any, Any, Context]:
        """The network's outputs, the loss, and the context, which has what the layers returned."""
        x, y, *row_weights = batch
        net = self.layout.network(weights, state)
        context = Context(training=True, key=key, step=step)
        context.name(net)
        with use(context):
            outputs = net(x)
            loss = self.objective(outputs, y, *row_weights)
        return outputs, loss, context

    def _step(self, carry: Any, batch: Any, key: Any, step: Any, measured: bool) -> Any:
        weights, state, optimizer_state = self.layout.split(carry)
        outputs, loss, context = self.forward(weights, state, batch, key, step)
        deltas = by_name(weights, gradients(loss.node, nodes_of(weights)))
        updates, after = self.optimizer.update(deltas, optimizer_state, weights)
        new_weights = {n: weights[n] + updates[n] for n in weights}
        new_state = {n: context.updates.get(n, state[n]) for n in state}
        new_carry = [
            *new_weights.values(),
            *new_state.values(),
            *(leaf.value for leaf in trees.leaves(after)),
        ]
        told: dict[str, Any] = {
            "loss": loss,
            "finite": _finite(loss, [*new_weights.values(), *new_state.values()]),
            "score": sum_of_scores(self.objective, outputs, batch[1]),
        }
        if measured:
            told["layers"] = layer_measures(loss, shown_of(context))
            told["weights"], told["gradient_norm"] = weight_measures(weights, deltas, updates)
        return new_carry, told

    def _quantities(self, carry: Any, batch: Any, key: Any, step: Any) -> Any:
        weights, state, optimizer_state = self.layout.split(carry)
        _, loss, context = self.forward(weights, state, batch, key, step)
        shown = shown_of(context)
        found = by_name(weights, gradients(loss.node, nodes_of(weights)))
        updates, _ = self.optimizer.update(found, optimizer_state, weights)
        return {
            "outputs": shown,
            "loss": loss,
            "deltas": by_name(shown, gradients(loss.node, nodes_of(shown), strict=False)),
            "gradients": found,
            "state": {n: context.updates.get(n, state[n]) for n in state},
            "weights": {n: weights[n] + updates[n] for n in weights},
        }


_PLACE = np.zeros(())


def nodes_of(arrays: Mapping[str, Any]) -> list[Node]:
    """The nodes of traced arrays."""
    return [array.node for array in arrays.values()]


def by_name(names: Iterable[str], found: Sequence[Node]) -> dict[str, Any]:
    """Nodes as traced arrays, under these names."""
    return dict(zip(names, map(wrap, found), strict=True))


def shown_of(context: Context) -> dict[str, Any]:
    """What each layer returned, where that depends on the data and has a delta."""
    outputs = context.outputs.items()
    return {p: x for p, x in outputs if isinstance(x, Traced) and x.dtype.kind == "f"}


def _finite(loss: Any, arrays: Sequence[Any]) -> Any:
    """Whether the loss and every number of the arrays is finite: x * 0 is 0 unless x is not."""
    total = loss * 0
    for array in arrays:
        total = total + np.sum(array * 0).astype(loss.dtype)
    return total == 0


def score_name(task: str) -> str:
    """The metric that is cheap enough to be part of every step."""
    return "mae" if task == "regression" else "accuracy"


def sum_of_scores(objective: Objective, outputs: Any, y: Any) -> Any:
    """The sum over the batch of right answers, or of mean absolute errors. NaN where a loss of the
    user's own gives the outputs another meaning."""
    if not objective.fits(outputs.shape, y.shape[0]):
        return np.full((), np.nan, outputs.dtype)
    if objective.task == "regression":
        read = readable(outputs, objective.task, objective.name)
        error = np.abs(read - y.reshape(read.shape)).reshape(y.shape[0], -1)
        return np.sum(np.mean(error, axis=1))
    return np.sum(objective.right(outputs, y).astype(outputs.dtype))


def _rms(x: Any) -> Any:
    return np.sqrt(np.mean(x * x)) if x.size else np.zeros((), x.dtype)


def layer_measures(loss: Traced, shown: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The measures of each layer, from what it returned and the delta of that."""
    deltas = gradients(loss.node, nodes_of(shown), strict=False)
    return {
        path: {
            "activation_rms": _rms(x),
            "activation_mean": np.mean(x),
            "zero_fraction": np.mean((x == 0).astype(x.dtype)),
            "delta_rms": _rms(wrap(delta)),
        }
        for (path, x), delta in zip(shown.items(), deltas, strict=True)
    }


def weight_measures(
    weights: Mapping[str, Any], deltas: Mapping[str, Any], updates: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], Any]:
    """The measures of each weight, and the norm of the whole gradient."""
    table, squares = {}, []
    for name, weight in weights.items():
        size, change = _rms(weight), _rms(updates[name])
        nonzero = np.where(size > 0, size, 1)
        table[name] = {
            "weight_rms": size,
            "gradient_rms": _rms(deltas[name]),
            "update_rms": change,
            "update_ratio": np.where(size > 0, change / nonzero, 0),
        }
        squares.append(np.sum(deltas[name] * deltas[name]))
    return table, np.sqrt(sum(squares[1:], squares[0]))


def result_of(told: Mapping[str, Any]) -> StepResult:
    """What a step's program told, as numbers."""

    def numbers(table: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        return {p: {k: float(v) for k, v in row.items()} for p, row in table.items()}

    return StepResult(
        loss=float(told["loss"]),
        finite=bool(told["finite"]),
        score=float(told["score"]),
        layers=numbers(told.get("layers", {})),
        weights=numbers(told.get("weights", {})),
        gradient_norm=float(told.get("gradient_norm", 0.0)),
    )


def _check_carry(names: Sequence[str], carry: Carry, captured: tracing.Capture) -> None:
    """The next carry must be of the same shapes and dtypes, or a second step could not follow."""
    for name, before, after in zip(names, carry, captured.graph.outputs, strict=False):
        if (before.shape, before.dtype) != (after.shape, after.type.dtype):
            raise ChainruleError(
                f"one training step turns {name} from {before.dtype}{list(before.shape)} into "
                f"{after.type}",
                do="the optimiser or the layer that makes it must keep shape and dtype: check for "
                "NumPy float64 scalars among its settings",
            )
