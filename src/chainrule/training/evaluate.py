"""A network in evaluation mode on many rows, and what its outputs are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.nn import losses
from chainrule.observe.events import Evaluated
from chainrule.training import metrics
from chainrule.training.columns import Columns, span_of
from chainrule.training.objective import Objective, readable
from chainrule.training.pieces import Pieces
from chainrule.training.telling import counting

Array = np.ndarray
ROWS_AT_ONCE = 1024
OUTPUTS_AT_ONCE = 2**22  # numbers that a network of sequences puts out for a piece of rows: 16 MiB
SHOWN_PAIRS = 2000


class Predictor:
    """A network's outputs for any number of rows, compiled once for each chunk size."""

    def __init__(self, net: Any, backend: str | None, threads: int | None = None) -> None:
        self._pieces = Pieces("predict", _outputs, net, {}, backend, threads)

    def __call__(self, net: Any, x: Array) -> Array:
        """The outputs of `net`, which has the structure this predictor was made for."""
        return _joined(list(self._pieces(net, [x], np.arange(len(x)), ROWS_AT_ONCE)))


def _outputs(net: Any, x: Any) -> Any:
    return net(x)


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class Scale:
    """How a standardised regression target goes back to its own units."""

    mean: float = 0.0
    std: float = 1.0

    def restore(self, values: Array) -> Array:
        return np.asarray(values, np.float64) * self.std + self.mean


@dataclass(frozen=True)
class Judged:
    """What a network is worth on some rows: metrics, and the outputs [kept, ...] of those rows that
    were kept, by their places among all."""

    metrics: dict[str, float]
    places: Array
    outputs: Array


class Judge:
    """Evaluates a run's network on the same rows of its data again and again.

    Sequences with a target at each place are read in pieces of bounded size: a language model puts
    out as many numbers as it has symbols, at each of millions of places. Rows of streams are read
    chunk after chunk, and the states in `memory` are carried from one to the next.
    """

    def __init__(
        self,
        net: Any,
        objective: Objective,
        columns: Columns,
        rows: Array,
        scale: Scale,
        classes: int,
        streams: int,
        memory: Mapping[str, Any],
        backend: str | None,
        threads: int | None = None,
    ) -> None:
        self._objective, self._rows = objective, rows
        self._scale, self._classes = scale, classes
        where, weights, counted = span_of(rows), columns.weights, columns.counted
        self._y = columns.arrays[1][where]
        self._weights = None if weights is None else weights[where]
        self._counted = None if counted is None else counted[where]
        how = net, memory, backend, threads
        if objective.time:
            self._read: Sequence[Array] = columns.arrays
            self._pieces = Pieces("evaluate", self._sums, *how, parts=[objective])
            wide = objective.time * max(objective.outputs, 1)
            self._size = min(ROWS_AT_ONCE, max(1, OUTPUTS_AT_ONCE // wide))
        else:
            resets = [] if columns.resets is None else [columns.resets]
            self._read = [columns.arrays[0], *resets]
            self._pieces = Pieces("predict", _outputs, *how)
            self._size = ROWS_AT_ONCE
        self._size = streams or self._size

    def prepare(self) -> None:
        """Traces what the evaluation will need, so that mistakes show."""
        self._pieces.prepare(self._read, self._rows, self._size)

    def compile(self) -> None:
        """Compiles what the evaluation will need."""
        self._pieces.compile(self._read, self._rows, self._size)

    def __call__(self, net: Any, kept: Array | None = None) -> Judged:
        """The metrics of a network, and its outputs: of sequences for the rows `kept` alone (their
        places, ascending), of others for all."""
        if self._objective.time:
            return self._of_places(net, np.arange(0) if kept is None else kept)
        outputs = _joined(list(self._read_by(net)))
        y, weights = self._y, self._weights
        found = metrics_of(self._objective, outputs, y, self._classes, self._scale, weights)
        return Judged(found, np.arange(len(y)), outputs)

    def _read_by(self, net: Any) -> Iterator[Any]:
        return self._pieces(net, self._read, self._rows, self._size)

    def _of_places(self, net: Any, kept: Array) -> Judged:
        """The means over the places that count: each piece has its share in them."""
        total, parts = _Sums(), []
        for number, told in enumerate(self._read_by(net)):
            here = slice(number * self._size, (number + 1) * self._size)
            y, weights = self._y[here], None if self._weights is None else self._weights[here]
            counted = y.size if self._counted is None else int(self._counted[here].sum())
            total.add(told, self._objective.weight(y, weights), counted)
            inside = kept[(kept >= here.start) & (kept < here.stop)] - here.start
            if total.reads and len(inside):
                parts.append(told["outputs"][inside])
        return Judged(total.metrics(), kept, _joined(parts or [np.zeros(0)]))

    def _sums(self, net: Any, x: Any, y: Any, weights: Any = None) -> dict[str, Any]:
        """Of one piece: its outputs, its loss, and where they can be read as classes how many are
        right and the mean of -log p over the places that count."""
        objective, outputs = self._objective, net(x)
        told = {"outputs": outputs, "loss": objective(outputs, y, weights)}
        if not objective.fits(outputs.shape, y.shape[0]):
            return told
        hits = objective.hits(outputs, y)
        counted = None if weights is None else counting(weights, y)
        told["right"] = np.sum((hits if counted is None else hits & counted).astype(outputs.dtype))
        places = y.shape[0] * y.shape[1]
        read = readable(outputs.reshape((places, -1)), objective.task, objective.name)
        each = None if counted is None else counted.astype(outputs.dtype)
        if read.shape[1] > 1:
            logits = read.reshape((*y.shape, read.shape[1]))
            told["surprise"] = losses.cross_entropy(logits, y, weights=each)
        else:
            logits = read.reshape(y.shape)
            truth = y.astype(outputs.dtype)
            told["surprise"] = losses.binary_cross_entropy(logits, truth, weights=each)
        return told


@dataclass
class _Sums:
    """Adds up pieces, in their order."""

    loss: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    surprise: float = 0.0
    counted: int = 0
    reads: bool = True  # whether outputs could be read as classes

    def add(self, told: Mapping[str, Any], weight: float, counted: int) -> None:
        self.loss += float(told["loss"]) * weight
        self.weight += weight
        self.reads = self.reads and "right" in told
        if self.reads:
            self.right += float(told["right"])
            self.surprise += float(told["surprise"]) * counted
            self.counted += counted

    def metrics(self) -> dict[str, float]:
        found = {"loss": self.loss / self.weight if self.weight else 0.0}
        if not self.reads:
            return found
        places = max(self.counted, 1)
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(np.float64(self.surprise / places)))
        return found | {"accuracy": self.right / places, "perplexity": perplexity}


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
        read = readable(np.asarray(outputs, np.float64), objective.task, objective.name)
        if objective.task == "regression":
            values = read.reshape(y.shape)
            return found | metrics.regression(scale.restore(y), scale.restore(values))
        return found | metrics.classification(y, read, classes)


def evaluated(
    rows: str,
    objective: Objective,
    judged: Judged,
    y: Array,
    classes: Sequence[str],
    scale: Scale,
) -> Evaluated:
    """The closing evaluation: metrics, and what the report draws. `y` are the targets of the rows
    whose outputs were kept: all rows, but of sequences."""
    found, outputs = judged.metrics, judged.outputs
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
