"""One training step as a graph: forward, error, backward, update, and what is measured.

Everything a step changes is one flat list of arrays, the carry: weights, running statistics, state
of the optimiser, and where streams are read the states that recurrent layers end a chunk with. The
step's program takes the carry and a batch and returns the next carry, in the same order, so that a
backend can update it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from chainrule import config, tracing
from chainrule.backward import gradients
from chainrule.errors import ChainruleError
from chainrule.graph import Graph
from chainrule.known import Known
from chainrule.optim import Optimizer
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.context import Context, use
from chainrule.tracing.memory import Memory
from chainrule.tracing.sharing import program_key
from chainrule.training.objective import Objective
from chainrule.training.telling import (
    StepResult,
    by_name,
    is_finite,
    layer_measures,
    nodes_of,
    numbered,
    results_of,
    shown_of,
    sum_of_scores,
    weight_measures,
)

Array = np.ndarray
Carry = list[Array]


@dataclass(frozen=True)
class Layout:
    """Which arrays of the carry are what; `net` and `optimizer_state` give the structure."""

    net: Any
    weights: tuple[str, ...]
    state: tuple[str, ...]  # arrays of the network that change without gradients
    optimizer_state: Any
    memory: Mapping[str, Any] = field(default_factory=dict)  # states of layers, by path

    @staticmethod
    def of(
        net: Any, optimizer: Optimizer, memory: Mapping[str, Any] | None = None
    ) -> tuple[Layout, Carry]:
        """The layout for a network and an optimiser, and the first carry. `memory` are the states
        that are carried from chunk to chunk of streams, as they are at first."""
        found = trees.leaves(net)
        weights = {leaf.name: leaf.value for leaf in found if leaf.trained}
        state = {leaf.name: leaf.value for leaf in found if not leaf.trained}
        optimizer_state = optimizer.init(weights)
        moments = [np.asarray(leaf.value) for leaf in trees.leaves(optimizer_state)]
        layout = Layout(net, tuple(weights), tuple(state), optimizer_state, dict(memory or {}))
        return layout, [
            *map(np.asarray, weights.values()),
            *map(np.asarray, state.values()),
            *moments,
            *(np.array(leaf.value) for leaf in trees.leaves(layout.memory)),
        ]

    def names(self) -> list[str]:
        """A name for each array of the carry."""
        moments = [leaf.name for leaf in trees.leaves(self.optimizer_state)]
        return [
            *(f"weights.{n}" for n in self.weights),
            *(f"state.{n}" for n in self.state),
            *(f"optimizer.{n}" for n in moments),
            *(f"memory.{leaf.name}" for leaf in trees.leaves(self.memory)),
        ]

    def split(self, carry: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """The weights by name, the state by name, and the optimiser's state as a tree."""
        first, second = len(self.weights), len(self.weights) + len(self.state)
        weights = dict(zip(self.weights, carry[:first], strict=True))
        state = dict(zip(self.state, carry[first:second], strict=True))
        moments = carry[second : len(carry) - self._remembered]
        return weights, state, trees.replace_leaves(self.optimizer_state, moments)

    def remembered(self, carry: Sequence[Any]) -> dict[str, Any]:
        """The states of layers, by path."""
        states = carry[len(carry) - self._remembered :]
        found: dict[str, Any] = trees.replace_leaves(dict(self.memory), states)
        return found

    @property
    def _remembered(self) -> int:
        return len(trees.leaves(self.memory))

    def network(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
        """The network with these arrays in it."""
        values = {**weights, **state}
        return trees.replace_leaves(
            self.net, [values[leaf.name] for leaf in trees.leaves(self.net)]
        )


@dataclass(frozen=True)
class Ready:
    """A compiled step. `told` has the structure of what it returns besides the carry, and for each
    number of it its place among them."""

    program: Program
    told: Any

    @property
    def graph(self) -> Graph:
        return self.program.graph


_KNOWN: Known[Ready] = Known(32)  # steps of the last few runs


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
        self._ready: dict[Any, Ready] = {}

    def __call__(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int, measured: bool
    ) -> tuple[Carry, StepResult]:
        """Runs one step on a batch: (x, y), then row weights where there are any, then resets (bool
        [rows]) where states are carried."""
        ready = self.prepare(carry, batch, measured)
        outputs = ready.program([*carry, *batch, key, np.asarray(step, np.uint32)])
        count = len(carry)
        columns = [[output.item()] for output in outputs[count:]]
        return outputs[:count], results_of(ready.told, columns, 1)[0]

    def prepare(self, carry: Carry, batch: Sequence[Array], measured: bool) -> Ready:
        """The program for batches of this shape, traced and compiled the first time. Shape
        mistakes of the network are found here, before any data flows."""
        shape = (tuple((b.shape, b.dtype) for b in batch), measured)
        if shape not in self._ready:
            key = None if self._key is None else (self._key, shape)
            self._ready[shape] = _KNOWN.get(key, lambda: self._made(carry, batch, measured))
        return self._ready[shape]

    @cached_property
    def _key(self) -> Any:
        """What the step's program depends on besides the batch; None where it cannot be told."""
        layout, settings = self.layout, (config.BACKEND, config.THREADS, self.backend, self.threads)
        parts = [layout.net, layout.optimizer_state, self.objective, self.optimizer, layout.memory]
        return program_key(parts, (layout.weights, layout.state, settings))

    def _made(self, carry: Carry, batch: Sequence[Array], measured: bool) -> Ready:
        captured = self.capture(carry, batch, partial(self._step, measured=measured))
        _check_carry(self.layout.names(), carry, captured)
        return Ready(self.program(captured.graph), numbered(captured.result[1]))

    def quantities(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int
    ) -> dict[str, Any]:
        """Every quantity of one step, in the order of their making: {"outputs": by layer's path,
        "loss", "deltas": by path, "gradients": by weight, "state": by name, "memory": by name,
        "weights": by name}."""
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
        self,
        weights: Any,
        state: Any,
        batch: Any,
        key: Any,
        step: Any,
        memory: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any, Context]:
        """The network's outputs, the loss, and the context, which has what the layers returned and
        the states that they left; `memory` are those that they begin with."""
        x, y, *rest = batch
        carried = Memory(memory, rest.pop()) if memory else None
        net = self.layout.network(weights, state)
        context = Context(training=True, key=key, step=step, memory=carried)
        context.name(net)
        with use(context):
            outputs = net(x)
            loss = self.objective(outputs, y, *rest)
        return outputs, loss, context

    def _step(self, carry: Any, batch: Any, key: Any, step: Any, measured: bool) -> Any:
        weights, state, optimizer_state = self.layout.split(carry)
        memory = self.layout.remembered(carry)
        outputs, loss, context = self.forward(weights, state, batch, key, step, memory)
        deltas = by_name(weights, gradients(loss.node, nodes_of(weights)))
        updates, after = self.optimizer.update(deltas, optimizer_state, weights)
        new_weights = {n: weights[n] + updates[n] for n in weights}
        new_state = {n: context.updates.get(n, state[n]) for n in state}
        left = _left(context, memory)
        new_carry = [
            *new_weights.values(),
            *new_state.values(),
            *(leaf.value for leaf in trees.leaves(after)),
            *left.values(),
        ]
        told: dict[str, Any] = {
            "loss": loss,
            "finite": is_finite(loss, [*new_weights.values(), *new_state.values(), *left.values()]),
            "score": sum_of_scores(self.objective, outputs, *self._of_loss(batch)),
        }
        if measured:
            told["layers"] = layer_measures(loss, shown_of(context))
            told["weights"], told["gradient_norm"] = weight_measures(weights, deltas, updates)
        return new_carry, told

    def _of_loss(self, batch: Any) -> Any:
        """Of a batch, what the loss compares outputs with: targets, and row weights if any."""
        return batch[1:-1] if self.layout.memory else batch[1:]

    def _quantities(self, carry: Any, batch: Any, key: Any, step: Any) -> Any:
        weights, state, optimizer_state = self.layout.split(carry)
        memory = self.layout.remembered(carry)
        _, loss, context = self.forward(weights, state, batch, key, step, memory)
        shown = shown_of(context)
        found = by_name(weights, gradients(loss.node, nodes_of(weights)))
        updates, _ = self.optimizer.update(found, optimizer_state, weights)
        return {
            "outputs": shown,
            "loss": loss,
            "deltas": by_name(shown, gradients(loss.node, nodes_of(shown), strict=False)),
            "gradients": found,
            "state": {n: context.updates.get(n, state[n]) for n in state},
            "memory": _left(context, memory),
            "weights": {n: weights[n] + updates[n] for n in weights},
        }


def _left(context: Context, memory: Mapping[str, Any]) -> dict[str, Any]:
    """The states that layers left, by the names of their arrays; those of a layer that was not
    called stay."""
    after = {} if context.memory is None else context.memory.after
    kept = {path: after.get(path, before) for path, before in memory.items()}
    return {leaf.name: leaf.value for leaf in trees.leaves(kept)}


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
