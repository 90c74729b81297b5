"""What losses ask of outputs, targets and weights, and the weighted mean that all of them are.

Shapes are checked while tracing, so before a step has run; values where they are there to be seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError, IndexRangeError, ShapeError, UsageError
from chainrule.nn.layer import as_array

_SUM_TOLERANCE = 1e-3  # of probabilities; float16 ones keep three digits


def float_outputs(loss: str, outputs: Any) -> Any:
    """The outputs as floats, at least one row of them."""
    outputs = as_array(outputs)
    if 0 in outputs.shape:
        raise ShapeError(f"{loss} of outputs of shape {tuple(outputs.shape)}: there are no rows")
    return outputs if outputs.dtype.kind == "f" else outputs.astype(np.float64)


def alike(loss: str, outputs: Any, targets: Any) -> tuple[Any, Any]:
    """Outputs and targets of one shape, in the outputs' dtype. Raises ShapeError otherwise: what
    NumPy would broadcast here, [n] against [n, 1], would compare every row with every other."""
    outputs, targets = float_outputs(loss, outputs), as_array(targets)
    if outputs.shape != targets.shape:
        raise _shapes_differ(loss, outputs.shape, targets.shape)
    return outputs, targets.astype(outputs.dtype)


def _shapes_differ(loss: str, outputs: Any, targets: Any) -> ShapeError:
    outputs, targets = tuple(outputs), tuple(targets)
    if (*targets, 1) == outputs:
        do = "give the targets an axis of their own, targets[:, None], or take outputs[:, 0]"
    elif (*outputs, 1) == targets:
        do = "take targets[:, 0], or give the outputs an axis of their own, outputs[:, None]"
    else:
        do = "give one target for each output"
    return ShapeError(f"{loss}: outputs of shape {outputs}, targets of shape {targets}", do=do)


def is_plain(x: Any) -> bool:
    """Whether the values can be seen: a NumPy array, not one that stands for it while tracing."""
    return isinstance(x, np.ndarray | np.generic)


def row_of(wrong: Any) -> str:
    """The first place where an array of booleans is true: `row 3`, or `place (3, 1)`."""
    place = [int(i) for i in np.argwhere(wrong)[0]]
    return f"row {place[0]}" if len(place) == 1 else f"place {tuple(place)}"


def first_of(values: Any, wrong: Any) -> Any:
    """The first value where an array of booleans is true."""
    return values[tuple(np.argwhere(wrong)[0])]


def check_fractions(loss: str, targets: Any) -> None:
    """Targets of two classes: 0, 1, or a probability between."""
    if is_plain(targets):
        wrong = ~((targets >= 0) & (targets <= 1))
        if wrong.any():
            raise DataError(
                f"{loss}: the target in {row_of(wrong)} is {first_of(targets, wrong)}, not a "
                "number from 0 to 1",
                do="code the two classes as 0 and 1",
            )


def check_probabilities(loss: str, targets: Any) -> None:
    """Targets of many classes: numbers from 0 to 1 that add up to 1 on the last axis."""
    check_fractions(loss, targets)
    if is_plain(targets):
        total = np.sum(targets, axis=-1, dtype=np.float64)
        wrong = ~(np.abs(total - 1) <= _SUM_TOLERANCE)
        if wrong.any():
            raise DataError(
                f"{loss}: the targets in {row_of(wrong)} add up to "
                f"{first_of(total, wrong):.6g}, not to 1",
                do="give the class numbers, or one probability for each class",
            )


def label_hits(loss: str, outputs: Any, targets: Any) -> tuple[Any, Any]:
    """For labels: (where the label's class stands, booleans like the outputs; which labels are
    valid, or None where that has been checked)."""
    classes = outputs.shape[-1]
    if targets.dtype.kind not in "iub":
        raise UsageError(
            f"{loss}: the labels have dtype {targets.dtype}",
            do="give the numbers of the classes as integers: targets.astype(np.int64)",
        )
    valid = (targets >= 0) & (targets < classes)
    hits = targets[..., None] == np.arange(classes)
    if not is_plain(targets):
        return hits, valid
    if not valid.all():
        raise IndexRangeError(
            f"{loss}: the label in {row_of(~valid)} is {first_of(targets, ~valid)}; with "
            f"{classes} outputs, labels are 0 to {classes - 1}",
            do="count classes from 0, and give the net one output for each",
        )
    return hits, None


def label_shape(loss: str, outputs: Any, targets: Any) -> ShapeError:
    """The error for labels that are neither one number nor one probability per class."""
    shape, rows = tuple(outputs.shape), tuple(outputs.shape[:-1])
    column = tuple(targets.shape) == (*rows, 1)
    return ShapeError(
        f"{loss}: outputs of shape {shape}, targets of shape {tuple(targets.shape)}",
        do=f"give class numbers of shape {rows}, or probabilities of shape {shape}"
        + (": targets[:, 0] has the right shape" if column and len(rows) == 1 else ""),
    )


def no_classes(loss: str, class_weights: Any) -> None:
    """A loss that knows no classes takes no class weights."""
    if class_weights is not None:
        raise UsageError(
            f"{loss} has no classes, so it takes no class_weights",
            do="weigh the rows: weights=..., one number for each",
        )


def class_weight_array(loss: str, class_weights: Any, classes: int, dtype: Any) -> Any:
    """One weight for each class, in the outputs' dtype."""
    found = as_array(class_weights)
    if found.shape != (classes,):
        raise ShapeError(
            f"{loss}: class_weights of shape {tuple(found.shape)} for {classes} classes",
            do="give one number for each class, in the order of the classes",
        )
    _check_weights(loss, "class_weights", found)
    return found.astype(dtype)


def _check_weights(loss: str, name: str, weights: Any) -> None:
    if is_plain(weights):
        wrong = ~(weights >= 0)
        if wrong.any():
            raise DataError(
                f"{loss}: {name} has {first_of(weights, wrong)} in {row_of(wrong)}",
                do="weights must be 0 or more",
            )


def weighted_mean(loss: str, values: Any, weights: Any, by_class: Any = None) -> Any:
    """sum(weight * value) / sum(weight), or the plain mean where there are no weights.

    `weights` [rows] counts for all of a row; more axes say more. A row of weight 0 does not count
    at all, whatever its value; where all weights are 0 the result is 0.
    """
    if weights is None and by_class is None:
        return np.mean(values)
    each = by_class
    if weights is not None:
        given = as_array(weights)
        if given.ndim > values.ndim or given.shape != values.shape[: given.ndim]:
            raise ShapeError(
                f"{loss}: weights of shape {tuple(given.shape)} for rows of shape "
                f"{tuple(values.shape)}",
                do=f"give one weight for each row: shape {tuple(values.shape[:1])}",
            )
        _check_weights(loss, "weights", given)
        given = given.astype(values.dtype)
        given = given.reshape((*given.shape, *[1] * (values.ndim - given.ndim)))
        each = given if by_class is None else given * by_class
    each = np.broadcast_to(each, values.shape)
    absent = each == 0
    total = np.sum(each)
    counted = np.where(absent, 0, values) * each
    return np.sum(counted) / np.where(total == 0, 1, total)
