"""One iteration of a full-batch method, with the face of a step.

The method (L-BFGS, Levenberg-Marquardt) decides in Python where to look next; what it looks at is
compiled: the loss with its gradient, or the residuals with their Jacobian, of all training rows.
All calls are made with the same rows. What was computed last is remembered, so that an iteration
begins with what the one before it ended with; a resumed run computes it again, to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.backward import gradients
from chainrule.backward.jacobians import jacobians
from chainrule.errors import UsageError
from chainrule.optim import Optimizer
from chainrule.optim.full_batch import FullBatch, Loss, Packing, Remembered, Residuals, Vector
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.traced import wrap
from chainrule.training.objective import SUMS_OF_SQUARES, Objective
from chainrule.training.step import Carry, Layout, StepBuilder
from chainrule.training.telling import (
    StepResult,
    by_name,
    layer_measures,
    nodes_of,
    result_of,
    shown_of,
    sum_of_scores,
    weight_measures,
)

Array = np.ndarray


def step_of(
    layout: Layout,
    objective: Objective,
    optimizer: Optimizer,
    backend: str | None,
    threads: int | None = None,
) -> StepBuilder | FullBatchStep:
    """What takes the steps of a run with this optimiser."""
    if optimizer.full_batch is None:
        return StepBuilder(layout, objective, optimizer, backend, threads)
    return FullBatchStep(layout, objective, optimizer.full_batch, backend, threads)


def check_full_batch(optimizer: Optimizer, batch_size: int | None, goal: Objective) -> None:
    """Raises UsageError where a full-batch method is not given what it works on."""
    if optimizer.full_batch is None:
        return
    name = optimizer.name
    if batch_size is not None:
        raise UsageError(
            f"{name} works on all training rows at once, and batch_size is {batch_size}",
            where=f"optimizer={optimizer!r}",
            do="give batch_size=None (on the command line: --batch-size full), or an optimiser for "
            "batches, such as adam",
        )
    if optimizer.full_batch.needs == "jacobian" and not goal.is_sum_of_squares:
        raise UsageError(
            f"{name} needs a loss that is a sum of squares, and {goal.name} is not",
            where=f"optimizer={optimizer!r}",
            do=f"give loss='{SUMS_OF_SQUARES[0]}', or optimizer=optim.lbfgs(), which takes any "
            "loss",
        )


class FullBatchStep:
    """Takes the steps of one run with a full-batch method, as `StepBuilder` does with others."""

    def __init__(
        self,
        layout: Layout,
        objective: Objective,
        method: FullBatch,
        backend: str | None,
        threads: int | None = None,
    ) -> None:
        self.layout = layout
        self.objective = objective
        self._method = method
        # For tracing: weights and state, and an optimiser that leaves the weights where they are.
        bare = replace(layout, optimizer_state={})
        still = Optimizer("still", {}, lambda weights: {}, _no_updates)
        self._builder = StepBuilder(bare, objective, still, backend, threads)
        self._programs: dict[str, tuple[Program, Any]] = {}
        self._fixed: Sequence[Array] = ()  # state of the network, batch, key and step
        self._derivatives_at: Remembered[dict[str, Any]]
        self._residuals_at: Remembered[Vector]
        self._forget()

    def _forget(self) -> None:
        self._derivatives_at = Remembered(lambda x: self._run("derivatives", x))
        self._residuals_at = Remembered(lambda x: _vector(self._run("residuals", x)["residuals"]))

    def prepare(self, carry: Carry, batch: Sequence[Array], measured: bool) -> None:
        """Traces and compiles what a step needs. Shape mistakes of the network are found here.
        Raises UsageError for a network that is not the same function at each step."""
        weights, state, _ = self.layout.split(carry)
        self._packing = Packing(weights)
        bare = [*weights.values(), *state.values()]
        self._prepare("derivatives", self._derivatives, bare, batch)
        if self._method.needs == "jacobian":
            self._prepare("residuals", self._residuals, bare, batch)
        if measured:
            updates = list(weights.values())
            self._prepare("measures", self._measures, bare, [*batch, *updates])

    def __call__(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int, measured: bool
    ) -> tuple[Carry, StepResult]:
        """One iteration on all training rows: (x, y) or (x, y, row weights)."""
        self.prepare(carry, batch, measured)
        weights, state, optimizer_state = self.layout.split(carry)
        self._fixed = [*state.values(), *batch, key, np.asarray(step, np.uint32)]
        if state:  # what the network remembers may have changed the function
            self._forget()
        x = self._packing.pack(weights)
        found = self._derivatives_at(x)
        told = {"loss": found["loss"], "score": found["score"], "finite": _is_finite(found)}
        if not told["finite"]:
            return carry, result_of(told)
        made = self._method.iterate(self._problem(), optimizer_state, x)
        after = self._packing.unpack(made.x)
        if measured:
            updates = [after[n] - weights[n] for n in weights]
            told |= self._run("measures", x, updates)
        result = result_of(told)
        if made.ended:
            result = replace(result, ended="converged" if made.converged else "stuck")
        moments = [np.asarray(leaf.value) for leaf in trees.leaves(made.state)]
        return [*after.values(), *found["state"].values(), *moments], result

    def quantities(
        self, carry: Carry, batch: Sequence[Array], key: Array, step: int
    ) -> dict[str, Any]:
        """As those of `StepBuilder`, for a step that moves nothing."""
        count = len(self.layout.weights) + len(self.layout.state)
        return self._builder.quantities(carry[:count], batch, key, step)

    # --- what the method sees ---------------------------------------------------------------

    def _problem(self) -> Loss | Residuals:
        packing = self._packing
        if self._method.needs == "gradient":
            return Loss(self._slope, packing.rounded, packing.precision)
        return Residuals(self._residuals_at, self._linearised, packing.rounded, packing.precision)

    def _slope(self, x: Vector) -> tuple[float, Vector]:
        found = self._derivatives_at(x)
        return float(found["loss"]), self._packing.pack(found["gradients"])

    def _linearised(self, x: Vector) -> tuple[Vector, Array]:
        found = self._derivatives_at(x)
        return _vector(found["residuals"]), found["jacobian"]

    # --- its programs -----------------------------------------------------------------------

    def _prepare(
        self, name: str, function: Callable[..., Any], carry: Carry, batch: Sequence[Array]
    ) -> None:
        if name in self._programs:
            return
        captured = self._builder.capture(carry, batch, function)
        if any(node.op == "random_bits" for node in captured.graph.nodes()):
            raise UsageError(
                "the network draws random numbers, so its loss is another one at each step, and a "
                "full-batch method compares steps",
                do="leave out dropout and other noise, or use an optimiser such as adam",
            )
        told = trees.map_leaves(lambda _: _PLACE, captured.result)
        self._programs[name] = self._builder.program(captured.graph), told

    def _run(self, name: str, x: Vector, more: Sequence[Array] = ()) -> dict[str, Any]:
        program, told = self._programs[name]
        *batch, key, step = self._fixed
        weights = self._packing.unpack(x).values()
        outputs = program([*weights, *batch, *more, key, step])
        found: dict[str, Any] = trees.replace_leaves(told, outputs)
        return found

    def _derivatives(self, carry: Any, batch: Any, key: Any, step: Any) -> dict[str, Any]:
        weights, state, _ = self._builder.layout.split(carry)
        outputs, loss, context = self._builder.forward(weights, state, batch, key, step)
        told: dict[str, Any] = {
            "loss": loss,
            "score": sum_of_scores(self.objective, outputs, *batch[1:]),
            "state": {n: context.updates.get(n, state[n]) for n in state},
        }
        if self._method.needs == "gradient":
            told["gradients"] = by_name(weights, gradients(loss.node, nodes_of(weights)))
            return told
        residuals = self.objective.residuals(outputs, *batch[1:]).reshape(-1)
        blocks = [wrap(node) for node in jacobians(residuals.node, nodes_of(weights))]
        columns = [block.reshape(residuals.size, -1) for block in blocks]
        told["residuals"], told["jacobian"] = residuals, np.concatenate(columns, axis=1)
        return told

    def _residuals(self, carry: Any, batch: Any, key: Any, step: Any) -> dict[str, Any]:
        weights, state, _ = self._builder.layout.split(carry)
        outputs, _, _ = self._builder.forward(weights, state, batch, key, step)
        return {"residuals": self.objective.residuals(outputs, *batch[1:]).reshape(-1)}

    def _measures(self, carry: Any, batch: Any, key: Any, step: Any) -> dict[str, Any]:
        weights, state, _ = self._builder.layout.split(carry)
        count = len(batch) - len(weights)
        updates = dict(zip(weights, batch[count:], strict=True))
        _, loss, context = self._builder.forward(weights, state, batch[:count], key, step)
        found = by_name(weights, gradients(loss.node, nodes_of(weights)))
        table, norm = weight_measures(weights, found, updates)
        layers = layer_measures(loss, shown_of(context))
        return {"layers": layers, "weights": table, "gradient_norm": norm}


_PLACE = np.zeros(())


def _no_updates(
    gradients: Mapping[str, Any], state: Any, weights: Mapping[str, Any]
) -> tuple[dict[str, Any], Any]:
    return {n: np.zeros(w.shape, w.dtype) for n, w in weights.items()}, state


def _vector(array: Array) -> Vector:
    return np.asarray(array, np.float64)


def _is_finite(found: Mapping[str, Any]) -> bool:
    derivatives = found["jacobian"] if "jacobian" in found else found["gradients"]
    arrays = [leaf.value for leaf in trees.leaves(derivatives)]
    return bool(np.isfinite(found["loss"]) and all(np.isfinite(a).all() for a in arrays))
