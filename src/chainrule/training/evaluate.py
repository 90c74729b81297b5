"""A network in evaluation mode on many rows, and what its outputs are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule import config, tracing
from chainrule.known import Known
from chainrule.observe.events import Evaluated
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.sharing import program_key
from chainrule.training import metrics
from chainrule.training.objective import Objective, readable

Array = np.ndarray
ROWS_AT_ONCE = 1024
SHAPES = 16  # programs that a predictor keeps, one for each number of rows
PLACES_AT_ONCE = 64  # rows of sequences
SHOWN_PAIRS = 2000


_KNOWN: Known[Program] = Known(32)  # those of the last few networks


class Predictor:
    """A network's outputs for any number of rows, compiled once for each chunk size."""

    def __init__(self, net: Any, backend: str | None, threads: int | None = None) -> None:
        self._net = net
        self._backend, self._threads = backend, threads
        self._programs: dict[Any, Program] = {}

    def __call__(self, net: Any, x: Array, rows: Array | None = None) -> Array:
        """The outputs of `net`, which has the structure this predictor was made for, for `x` or for
        some rows of it: these are gathered piece by piece, so that x may be larger than memory."""
        leaves = [np.asarray(leaf.value) for leaf in trees.leaves(net)]
        parts = [self._program(chunk)([*leaves, chunk])[0] for chunk in _chunks(x, rows)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def prepare(self, x: Array, rows: Array | None = None) -> None:
        """Traces what these rows will need, so that mistakes show."""
        for chunk in _sizes(x, rows):
            self._program(chunk)

    def compile(self, x: Array, rows: Array | None = None) -> None:
        """Compiles what these rows will need."""
        for chunk in _sizes(x, rows):
            self._program(chunk).made_ready()

    def _program(self, chunk: Array) -> Program:
        shape = chunk.shape, chunk.dtype
        if shape not in self._programs:
            if len(self._programs) >= SHAPES:
                del self._programs[next(iter(self._programs))]
            key = None if self._key is None else (self._key, shape)
            self._programs[shape] = _KNOWN.get(key, lambda: self._made(chunk))
        return self._programs[shape]

    @cached_property
    def _key(self) -> Any:
        """What the programs depend on besides the rows; None where it cannot be told."""
        settings = config.BACKEND, config.THREADS, self._backend, self._threads
        return program_key([self._net], settings)

    def _made(self, chunk: Array) -> Program:
        captured = tracing.capture(lambda net, x: net(x), (self._net, chunk), name="predict")
        return Program(captured.graph, self._backend, self._threads)


def _chunks(x: Array, rows: Array | None = None) -> Iterator[Array]:
    count = len(x if rows is None else rows)
    for first in range(0, max(count, 1), ROWS_AT_ONCE):
        piece = slice(first, first + ROWS_AT_ONCE)
        yield x[piece] if rows is None else x[rows[piece]]


def _sizes(x: Array, rows: Array | None) -> Iterator[Array]:
    """A chunk of each size that there is: the first one, and a shorter last one."""
    rows = np.arange(len(x)) if rows is None else rows
    yield from _chunks(x, rows[:ROWS_AT_ONCE])
    rest = len(rows) % ROWS_AT_ONCE
    if rest and len(rows) > ROWS_AT_ONCE:
        yield from _chunks(x, rows[-rest:])


@dataclass(frozen=True)
class Scale:
    """How a standardised regression target goes back to its own units."""

    mean: float = 0.0
    std: float = 1.0

    def restore(self, values: Array) -> Array:
        return np.asarray(values, np.float64) * self.std + self.mean


def metrics_of(
    objective: Objective,
    outputs: Array,
    y: Array,
    classes: int,
    scale: Scale,
    row_weights: Array | None = None,
) -> dict[str, float]:
    """The loss (in the units it is trained in) and the task's metrics (in the data's units, every
    row alike). Only the loss, where a loss of the user's own gives outputs another meaning."""
    with np.errstate(all="ignore"):  # what is not finite is told as such
        found = {"loss": float(objective(outputs, y, row_weights))}
        if not objective.fits(outputs.shape, len(y)):
            return found
        if objective.time:
            counted = np.ones(y.shape, np.bool_) if row_weights is None else row_weights > 0
            counted = counted if counted.ndim == 2 else np.repeat(counted[:, None], y.shape[1], 1)
            return found | _of_places(objective, outputs, y, counted)
        read = readable(np.asarray(outputs, np.float64), objective.task, objective.name)
        if objective.task == "regression":
            values = read.reshape(y.shape)
            return found | metrics.regression(scale.restore(y), scale.restore(values))
        return found | metrics.classification(y, read, classes)


def _of_places(objective: Objective, outputs: Array, y: Array, counted: Array) -> dict[str, float]:
    """The metrics of sequences with a target at each place, over the places that count. In pieces:
    a language model has as many outputs as its vocabulary at each of a million places."""
    right = total = 0
    surprise = 0.0
    for first in range(0, len(y), PLACES_AT_ONCE):
        piece = slice(first, first + PLACES_AT_ONCE)
        chosen = counted[piece]
        scores = outputs[piece].reshape((*y[piece].shape, -1))[chosen]
        read = readable(np.asarray(scores, np.float64), objective.task, objective.name)
        truth = y[piece][chosen]
        right += int(np.sum(metrics.predicted_classes(read) == truth))
        shares = metrics.probabilities(read)[np.arange(len(truth)), truth]
        surprise -= float(np.sum(np.log(np.maximum(shares, np.finfo(np.float64).tiny))))
        total += len(truth)
    return {
        "accuracy": right / max(total, 1),
        "perplexity": float(np.exp(surprise / max(total, 1))),
    }


def evaluated(
    rows: str,
    objective: Objective,
    outputs: Array,
    y: Array,
    classes: Sequence[str],
    scale: Scale,
    row_weights: Array | None = None,
) -> Evaluated:
    """The closing evaluation: metrics, and what the report draws."""
    found = metrics_of(objective, outputs, y, len(classes), scale, row_weights)
    if objective.time or not objective.fits(outputs.shape, len(y)):
        return Evaluated(rows, found, classes=tuple(classes))
    read = readable(np.asarray(outputs, np.float64), objective.task, objective.name)
    if objective.task == "regression":
        truth = scale.restore(y).reshape(len(y), -1)[:SHOWN_PAIRS, 0]
        guess = scale.restore(read).reshape(len(y), -1)[:SHOWN_PAIRS, 0]
        return Evaluated(rows, found, truth=tuple(truth.tolist()), predicted=tuple(guess.tolist()))
    table = metrics.confusion(y, metrics.predicted_classes(read), len(classes))
    counts = tuple(tuple(row) for row in table.tolist())
    return Evaluated(rows, found, classes=tuple(classes), confusion=counts)
