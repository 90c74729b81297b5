"""Losses: functions (outputs, targets, *, weights=None, class_weights=None) -> one number.

Every loss is a mean over rows, weighted where `weights` [rows] or `class_weights` [classes] are
given: sum(weight * row's loss) / sum(weight). So a loss means the same for any batch size, a row of
weight 2 counts like two rows, and one of weight 0 not at all. Those of classes take logits: leave
out a final sigmoid or softmax.

All raise ShapeError where outputs and targets do not fit together (also while tracing), and
IndexRangeError or DataError, with the row, for targets that cannot be. Inside traced code values
cannot be seen: there, a label out of range makes the loss NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DataError, UsageError, unknown
from chainrule.nn import targets as contract
from chainrule.nn.activations import log_softmax
from chainrule.nn.layer import as_array
from chainrule.nn.targets import alike, no_classes, weighted_mean

# --- numbers --------------------------------------------------------------------------------


def squared_error(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """Half the sum of squared errors of a row's outputs: the E of backpropagation's first paper.

    outputs, targets [rows] or [rows, outputs]. The paper sums over its N cases where this takes
    the mean; its learning rate e is N * e here.

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors",
    Nature 1986.
    """
    no_classes("squared_error", class_weights)
    outputs, targets = alike("squared_error", outputs, targets)
    error = outputs - targets
    squares = error * error
    if squares.ndim > 1:
        squares = squares.sum(axis=tuple(range(1, squares.ndim)))
    return weighted_mean("squared_error", 0.5 * squares, weights)


def mean_squared_error(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """The mean of the squared errors, over rows and outputs.

    outputs, targets [rows] or [rows, outputs].
    """
    no_classes("mean_squared_error", class_weights)
    outputs, targets = alike("mean_squared_error", outputs, targets)
    error = outputs - targets
    return weighted_mean("mean_squared_error", error * error, weights)


def mean_absolute_error(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """The mean of |outputs - targets|; its derivative is 0 where they are equal.

    outputs, targets [rows] or [rows, outputs].
    """
    no_classes("mean_absolute_error", class_weights)
    outputs, targets = alike("mean_absolute_error", outputs, targets)
    return weighted_mean("mean_absolute_error", np.abs(outputs - targets), weights)


def huber(
    outputs: Any,
    targets: Any,
    *,
    delta: float = 1.0,
    weights: Any = None,
    class_weights: Any = None,
) -> Any:
    """Half the squared error up to `delta`, and linear beyond, so that outliers pull no harder.

    outputs, targets [rows] or [rows, outputs]. Raises UsageError unless delta > 0.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    no_classes("huber", class_weights)
    if not delta > 0:
        raise UsageError(f"huber: delta must be above 0, not {delta!r}")
    outputs, targets = alike("huber", outputs, targets)
    error = outputs - targets
    size = np.where(error < 0, -error, error)
    near = size <= delta
    inside = np.where(near, error, 0)  # so that the square of an outlier cannot overflow
    values = np.where(near, 0.5 * inside * inside, delta * (size - 0.5 * delta))
    return weighted_mean("huber", values, weights)


# --- two classes ----------------------------------------------------------------------------


def binary_cross_entropy(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """-log of the probability that sigmoid(outputs) gives to the target.

    outputs (logits) and targets (0 or 1, or a probability) [rows] or [rows, outputs];
    class_weights [2] for 0 and 1. Computed from the logits, so that no logarithm of 0 occurs.
    """
    name = "binary_cross_entropy"
    logits, targets = alike(name, outputs, targets)
    contract.check_fractions(name, targets)
    above = logits >= 0
    tail = np.log1p(np.exp(np.where(above, -logits, logits)))
    values = np.where(above, 1 - targets, -targets) * logits + tail
    return weighted_mean(name, values, weights, _binary_weights(name, targets, class_weights))


def _binary_weights(name: str, targets: Any, class_weights: Any) -> Any:
    if class_weights is None:
        return None
    each = contract.class_weight_array(name, class_weights, 2, targets.dtype)
    return each[0] * (1 - targets) + each[1] * targets


# --- many classes ---------------------------------------------------------------------------


def cross_entropy(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """-log of the probability that softmax(outputs) gives to the target's class.

    outputs (logits) [..., classes]; targets are class numbers [...], or a probability for each
    class [..., classes]; class_weights [classes]. Raises UsageError for a single output.
    """
    name = "cross_entropy"
    logits, targets = _classes(name, outputs, targets)
    log_probabilities = log_softmax(logits)
    if targets.shape == logits.shape:
        targets = targets.astype(logits.dtype)
        contract.check_probabilities(name, targets)
        values, shares = -_expected(targets, log_probabilities), targets
    else:
        shares, valid = contract.label_hits(name, logits, targets)
        values = -_sum_where(shares, log_probabilities)
        values = values if valid is None else np.where(valid, values, np.nan)
    by_class = _class_weights(name, shares, logits, class_weights)
    return weighted_mean(name, values, weights, by_class)


def kl_divergence(
    outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None
) -> Any:
    """How far softmax(outputs) is from the target distribution: sum of t * (log t - log p).

    outputs (logits) and targets (probabilities) [..., classes]; class_weights [classes]. It is
    cross_entropy less the entropy of the targets, so it is 0 for a perfect fit.

    Source: Kullback and Leibler, "On information and sufficiency", 1951.
    """
    name = "kl_divergence"
    logits, targets = _classes(name, outputs, targets)
    logits, targets = alike(name, logits, targets)
    contract.check_probabilities(name, targets)
    present = targets > 0
    log_targets = np.log(np.where(present, targets, 1))
    values = _expected(targets, log_targets) - _expected(targets, log_softmax(logits))
    return weighted_mean(
        name, values, weights, _class_weights(name, targets, logits, class_weights)
    )


def hinge(outputs: Any, targets: Any, *, weights: Any = None, class_weights: Any = None) -> Any:
    """By how much the right class fails to win by a margin of 1, or 0.

    Two classes: outputs and targets [rows] or [rows, outputs], targets -1 and 1, or 0 and 1. Many:
    outputs [..., classes] and class numbers [...], against the best wrong class. The derivative
    at a margin of exactly 1 is 0.

    Source: Cortes and Vapnik 1995; for many classes Crammer and Singer, JMLR 2001.
    """
    outputs, targets = contract.float_outputs("hinge", outputs), as_array(targets)
    if targets.shape == outputs.shape or outputs.ndim == 0 or outputs.shape[-1] == 1:
        return _binary_hinge(outputs, targets, weights, class_weights)
    if targets.shape != outputs.shape[:-1]:
        raise contract.label_shape("hinge", outputs, targets)
    hits, valid = contract.label_hits("hinge", outputs, targets)
    best_wrong = np.max(np.where(hits, -np.inf, outputs), axis=-1)
    values = np.maximum(1 + best_wrong - _sum_where(hits, outputs), 0)
    values = values if valid is None else np.where(valid, values, np.nan)
    return weighted_mean(
        "hinge", values, weights, _class_weights("hinge", hits, outputs, class_weights)
    )


def _binary_hinge(outputs: Any, targets: Any, weights: Any, class_weights: Any) -> Any:
    outputs, targets = alike("hinge", outputs, targets)
    if contract.is_plain(targets):
        wrong = (targets != 1) & (targets != 0) & (targets != -1)
        if np.any(targets < 0):
            wrong = wrong | (targets == 0)
        if wrong.any():
            raise DataError(
                f"hinge: the target in {contract.row_of(wrong)} is "
                f"{contract.first_of(targets, wrong)}",
                do="code the two classes as -1 and 1, or as 0 and 1",
            )
    positive = targets > 0
    values = np.maximum(1 - np.where(positive, outputs, -outputs), 0)
    ones = positive.astype(outputs.dtype)
    return weighted_mean("hinge", values, weights, _binary_weights("hinge", ones, class_weights))


def _classes(name: str, outputs: Any, targets: Any) -> tuple[Any, Any]:
    """Logits of two classes or more, and targets whose shape fits them."""
    logits, targets = contract.float_outputs(name, outputs), as_array(targets)
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise UsageError(
            f"{name} of outputs of shape {tuple(logits.shape)}: one class always has probability 1",
            do="give one output for each class, or use binary_cross_entropy",
        )
    if targets.shape not in (logits.shape, logits.shape[:-1]):
        raise contract.label_shape(name, logits, targets)
    return logits, targets


def _sum_where(hits: Any, values: Any) -> Any:
    return np.sum(np.where(hits, values, 0), axis=-1)


def _expected(shares: Any, values: Any) -> Any:
    """The sum of shares * values; a share of 0 counts nothing, also of an infinite value."""
    absent = shares == 0
    return np.sum(shares * np.where(absent, 0, values), axis=-1)


def _class_weights(name: str, shares: Any, outputs: Any, class_weights: Any) -> Any:
    """The weight of each row's class; of a mixture, the mixture of their weights."""
    if class_weights is None:
        return None
    each = contract.class_weight_array(name, class_weights, outputs.shape[-1], outputs.dtype)
    if shares.dtype.kind == "b":
        return _sum_where(shares, each)
    return np.sum(shares * each, axis=-1)


# --- by name --------------------------------------------------------------------------------

LOSSES: dict[str, Callable[..., Any]] = {
    "squared_error": squared_error,
    "mean_squared_error": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "huber": huber,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "kl_divergence": kl_divergence,
    "hinge": hinge,
}

ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "bce": "binary_cross_entropy",
    "kl": "kl_divergence",
}


def by_name(name: str) -> Callable[..., Any]:
    """The loss of that name or alias. Raises UsageError, with the nearest known one, if unknown."""
    full = ALIASES.get(name, name)
    if full not in LOSSES:
        raise unknown("loss", name, [*LOSSES, *ALIASES])
    return LOSSES[full]
