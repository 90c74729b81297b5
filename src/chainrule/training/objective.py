"""The loss of a network on a batch: which loss, what it is given, what would fail in silence.

The tasks read a network's outputs in one way: classes as logits, numbers as they are. Losses do
not all agree (a network trained on squared error gives estimates of 0 and 1, not logits), so
`readable` stands between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ShapeError, UsageError
from chainrule.nn import losses, sigmoid, softmax
from chainrule.tracing.trees import is_array

Array = np.ndarray
Loss = Callable[..., Any]

DEFAULT_LOSS = {
    "regression": "mean_squared_error",
    "binary": "binary_cross_entropy",
    "multiclass": "cross_entropy",
}
# These take logits; a network that ends in a probability would be squashed twice.
_LOGIT_LOSSES = frozenset({"binary_cross_entropy", "cross_entropy", "kl_divergence"})
_SQUASHING = frozenset({"softmax", "sigmoid"})
# These compare numbers: with classes, the outputs become estimates of 0 and 1.
_COMPARING = frozenset({"squared_error", "mean_squared_error", "mean_absolute_error", "huber"})
# These want a share for each class where others take the class's number.
_SHARES = _COMPARING | {"kl_divergence"}
SUMS_OF_SQUARES = ("mean_squared_error", "squared_error")
_SOFTMAX_LOSSES = frozenset({"cross_entropy", "kl_divergence"})
_SMALLEST_SHARE = 1e-6  # an estimate outside 0 .. 1 counts as this close to certain


@dataclass(frozen=True)
class Objective:
    """A loss for one kind of task; `known` says whether it is one of ours (and takes weights)."""

    name: str
    loss: Loss
    task: str
    outputs: int  # logits or values that the data asks for
    known: bool
    class_weights: tuple[float, ...] | None = None
    time: int = 0  # places of a sequence with a target each; 0 where a row has one target

    def __call__(self, outputs: Any, targets: Any, row_weights: Any = None) -> Any:
        """The mean loss of a batch, a scalar. Raises ShapeError where the network's outputs do not
        fit the targets."""
        if not is_array(outputs):
            raise UsageError(
                f"the network returns a {type(outputs).__name__}, not an array",
                do="let its forward return the array of outputs",
            )
        if not self.known:
            return self._custom(outputs, targets, row_weights)
        self._check(outputs.shape, targets.shape[0])
        weights: dict[str, Any] = {}
        if row_weights is not None:
            weights["weights"] = row_weights
        if self.class_weights is not None:
            weights["class_weights"] = np.asarray(self.class_weights, outputs.dtype)
        return self.loss(outputs, self._matched(outputs, targets), **weights)

    def residuals(self, outputs: Any, targets: Any, row_weights: Any = None) -> Any:
        """Numbers whose squares add up to the loss, but for a constant factor: an array of the
        outputs' shape. Only where `is_sum_of_squares`."""
        self._check(outputs.shape, targets.shape[0])
        errors = outputs - self._matched(outputs, targets).astype(outputs.dtype)
        if row_weights is None:
            return errors
        weights = row_weights.astype(outputs.dtype).reshape((-1, *[1] * (outputs.ndim - 1)))
        # A row of weight 0 does not count at all, whatever its value.
        return np.where(weights > 0, errors, 0) * np.sqrt(weights)

    @property
    def is_sum_of_squares(self) -> bool:
        """Whether least-squares methods can work on this loss."""
        return self.known and self.name in SUMS_OF_SQUARES

    def check_targets(self, targets: Any) -> None:
        """Raises DataError, with the row, for numbers that this loss cannot have as targets."""
        if self.known and self.task == "regression" and self.name not in _COMPARING:
            self(np.zeros(targets.shape, targets.dtype), targets)

    def fits(self, outputs: tuple[int, ...], rows: int) -> bool:
        """Whether outputs of this shape can be read as the task's predictions."""
        return tuple(outputs) in self._shapes(rows)

    def right(self, outputs: Any, targets: Any) -> Any:
        """Which rows have the right class, from outputs that fit; of sequences, the share of places
        that have it."""
        if self.time:
            return np.mean(self.hits(outputs, targets).astype(outputs.dtype), axis=1)
        if outputs.ndim == 1 or outputs.shape[1] == 1:
            return (outputs.reshape(-1) > self.boundary) == (targets == 1)
        return np.argmax(outputs, axis=1) == targets

    def hits(self, outputs: Any, targets: Any) -> Any:
        """Which places of sequences have the right class, bool [rows, time]."""
        logits = outputs.reshape((*targets.shape, -1))
        if logits.shape[-1] == 1:
            return (logits[..., 0] > self.boundary) == (targets == 1)
        return np.argmax(logits, axis=-1) == targets

    def weight(self, targets: Array, row_weights: Array | None = None) -> float:
        """What the loss of these rows weighs in a mean with that of others. A loss of the user's
        own is taken to be a mean over rows."""
        if not self.known or (row_weights is None and self.class_weights is None):
            return float(len(targets))
        each = np.ones(targets.shape)
        if self.class_weights is not None:
            each = np.asarray(self.class_weights, np.float64)[targets]
        if row_weights is not None:
            more = [1] * (each.ndim - row_weights.ndim)
            each = each * row_weights.reshape((*row_weights.shape, *more))
        return float(np.sum(each))

    @property
    def boundary(self) -> float:
        """The output between two classes."""
        return 0.5 if self.name in _COMPARING else 0.0

    def _custom(self, outputs: Any, targets: Any, row_weights: Any) -> Any:
        if row_weights is not None or self.class_weights is not None:
            raise UsageError(
                "row and class weights go with the library's own losses",
                do="weight the rows inside your loss function",
            )
        value = self.loss(outputs, targets)
        shape = value.shape if is_array(value) else None
        if shape != () or value.dtype.kind != "f":
            got = type(value).__name__ if shape is None else f"{value.dtype} of shape {shape}"
            raise ShapeError(
                f"the loss {self.name} returns {got}, and training needs one number",
                do="reduce it, as in np.mean(errors)",
            )
        return value

    def _matched(self, outputs: Any, targets: Any) -> Any:
        """The targets in the form that the loss compares with these outputs."""
        if self.task == "regression":
            return targets.reshape(outputs.shape)
        if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] > 1:
            if self.name not in _SHARES:
                return targets
            return (targets[..., None] == np.arange(outputs.shape[-1])).astype(outputs.dtype)
        return targets.astype(outputs.dtype).reshape(outputs.shape)

    def _shapes(self, rows: int) -> list[tuple[int, ...]]:
        """The shapes of outputs that fit, the usual one first."""
        lead = (rows, self.time) if self.time else (rows,)
        if self.task == "binary":
            single: list[tuple[int, ...]] = [(*lead, 1), lead]
            if not self.known:
                return [*single, (*lead, 2)]
            return [(*lead, 2)] if self.name in _SOFTMAX_LOSSES else single
        wide = (*lead, self.outputs)
        return [wide, (rows,)] if self.task == "regression" and self.outputs == 1 else [wide]

    def _check(self, outputs: tuple[int, ...], rows: int) -> None:
        if self.fits(outputs, rows):
            return
        width = self._shapes(rows)[0][-1]
        noun = "value" if self.task == "regression" else "output"
        need = f"{width} {noun}" + ("s" if width > 1 else "")
        if self.task != "regression":
            need += f", for {max(self.outputs, 2)} classes"
            need += f" at each of {self.time} places" if self.time else ""
        do = f"end the network with Dense({width})"
        if len(outputs) > 2 and outputs[-1] == width and not self.time:
            do = "make one vector of each row before the last layer: Flatten(), GlobalAvgPool(), "
            do += "or last=True of a recurrent layer"
        elif self.task == "regression" and len(outputs) == 3 and outputs[1] == width:
            do = "where y is a number for each place, end the network with Dense(1), Flatten(); "
            do += 'where it is a class for each, train with task="multiclass"'
        raise ShapeError(
            f"the network gives outputs of shape {tuple(outputs[1:])} for each row, but "
            f"{self.name} of this data needs {need}",
            where="the last layer of the network",
            do=do,
        )


def readable(outputs: Any, task: str, loss: str) -> Any:
    """Outputs in the form that the task reads, from a network trained with this loss: logits for
    classes, numbers in the units of the target for regression."""
    if task != "regression":
        return _as_logits(outputs) if loss in _COMPARING else outputs
    if loss == "binary_cross_entropy":
        return sigmoid(outputs)
    return softmax(outputs) if loss in _SOFTMAX_LOSSES else outputs


def _as_logits(estimates: Any) -> Any:
    """Estimates of 0 and 1 as the logits of those probabilities."""
    shares = np.clip(estimates, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE)
    if estimates.ndim == 1 or estimates.shape[-1] == 1:
        return np.log(shares) - np.log(1 - shares)
    return np.log(shares)


def objective(
    loss: str | Loss | None,
    task: str,
    outputs: int,
    net: Any,
    class_weights: tuple[float, ...] | None = None,
    time: int = 0,
) -> Objective:
    """The objective for a loss by name or function; None takes the one that fits the task."""
    chosen = DEFAULT_LOSS[task] if loss is None else loss
    if isinstance(chosen, str):
        found = losses.by_name(chosen)
    elif callable(chosen):
        found = chosen
    else:
        raise UsageError(
            f"the loss is {chosen!r}",
            do="give a name such as 'cross_entropy', or a function (outputs, y) -> one number",
        )
    known = next((name for name, own in losses.LOSSES.items() if own is found), None)
    name = known or str(getattr(found, "__name__", "custom loss"))
    if name == "binary_cross_entropy" and task == "multiclass":
        raise UsageError(
            f"{name} tells two classes apart, and this data has {outputs}", do="use cross_entropy"
        )
    if known:
        _check_last_layer(net, name)
    return Objective(name, found, task, outputs, known is not None, class_weights, time)


def _check_last_layer(net: Any, loss: str) -> None:
    """Raises UsageError where the network ends in what the loss does itself."""
    path, layer = "", net
    while isinstance(layer, nn.Sequential) and layer.layers:
        path, layer = f"{path}layers.{len(layer.layers) - 1}.", layer.layers[-1]
    last = getattr(layer, "__name__", "")
    if loss in _LOGIT_LOSSES and last in _SQUASHING:
        raise UsageError(
            f"the network ends in {last}, and {loss} applies it too: trained like this it learns "
            "slowly and to a poor result",
            where=f"{path.rstrip('.')} ({last})",
            do=f"leave out the final {last}; apply it to the outputs when you need probabilities",
        )
