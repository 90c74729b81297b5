"""What a step tells: its loss and score, whether it may be taken, and measures of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.backward import gradients
from chainrule.graph import Node
from chainrule.tracing import trees
from chainrule.tracing.context import Context
from chainrule.tracing.traced import Traced, wrap
from chainrule.training.objective import Objective, readable


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


def is_finite(loss: Any, arrays: Sequence[Any]) -> Any:
    """Whether the loss and every number of the arrays is finite: x * 0 is 0 unless x is not."""
    odd = loss * 0 != 0
    for array in arrays:
        if array.size:
            odd = odd | np.any(array * 0 != 0)
    return ~odd


def score_name(task: str) -> str:
    """The metric that is cheap enough to be part of every step."""
    return "mae" if task == "regression" else "accuracy"


def counting(weights: Any, targets: Any) -> Any:
    """Which places of sequences count, bool [rows, time]: those whose weight, or the weight of
    whose row, is above 0."""
    counted = weights > 0
    return counted if counted.ndim > 1 else np.broadcast_to(counted[:, None], targets.shape)


def sum_of_scores(objective: Objective, outputs: Any, y: Any, weights: Any = None) -> Any:
    """The sum over the batch of right answers, or of mean absolute errors; of sequences with
    weights, over the places that count. NaN where a loss of the user's own gives the outputs
    another meaning."""
    if not objective.fits(outputs.shape, y.shape[0]):
        return np.full((), np.nan, outputs.dtype)
    if objective.task == "regression":
        read = readable(outputs, objective.task, objective.name)
        error = np.abs(read - y.reshape(read.shape)).reshape(y.shape[0], -1)
        return np.sum(np.mean(error, axis=1))
    if objective.time and weights is not None:
        right = objective.hits(outputs, y) & counting(weights, y)
        return np.sum(right.astype(outputs.dtype))
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
    """What one step told."""
    columns: list[list[float]] = []

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: place(part) for name, part in value.items()}
        columns.append([value])
        return len(columns) - 1

    return results_of(place(told), columns, 1)[0]


def results_of(
    places: Mapping[str, Any], columns: Sequence[Sequence[float]], steps: int
) -> list[StepResult]:
    """What several steps told: `columns` has each number in all of them, and `places` which number
    is what."""

    def numbers(table: Mapping[str, Any], step: int) -> dict[str, dict[str, float]]:
        return {p: {k: float(columns[n][step]) for k, n in row.items()} for p, row in table.items()}

    def one(name: str, step: int) -> float:
        return float(columns[places[name]][step]) if name in places else 0.0

    return [
        StepResult(
            loss=one("loss", step),
            finite=bool(columns[places["finite"]][step]),
            score=one("score", step),
            layers=numbers(places.get("layers", {}), step),
            weights=numbers(places.get("weights", {}), step),
            gradient_norm=one("gradient_norm", step),
        )
        for step in range(steps)
    ]


def numbered(told: Any) -> Any:
    """The structure of what a step tells, with the number of each leaf in its place."""
    return trees.replace_leaves(told, range(len(trees.leaves(told))))
