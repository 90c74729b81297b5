"""Which task a target asks for, and class labels as class indices.

The rule, the same for arrays and tables:

- text and booleans are classes; two classes are "binary", more are "multiclass";
- numbers with a fractional type (float32, float64, "1.0" in a file) are a regression target, also
  when every value happens to be whole;
- whole numbers are classes when they look like labels: all of them 0 or 1; or exactly 0 .. K-1 or
  1 .. K, with at least 2 rows per class on average (10 where K is above 20); or at most 20 distinct
  values that make up at most 5 % of the rows. Otherwise they are a regression target.

A `task` given by the caller overrides the rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.data.split import TASKS
from chainrule.errors import DataError, unknown

_FEW_LABELS = 20
_FEW_SHARE = 0.05


def check_task(task: str | None) -> None:
    """Raise UsageError unless `task` is None or one of the known tasks."""
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)


def whole_numbers_are_classes(values: NDArray[np.generic]) -> bool:
    """Whether a target of whole numbers is read as class labels (see the module's rule)."""
    distinct = np.unique(values)
    count, rows = len(distinct), len(values)
    if np.isin(distinct, (0, 1)).all():
        return True
    low, high = int(distinct[0]), int(distinct[-1])
    if low in (0, 1) and high - low + 1 == count:
        return rows >= count * (2 if count <= _FEW_LABELS else 10)
    return count <= _FEW_LABELS and count <= _FEW_SHARE * rows


def class_task(classes: tuple[str, ...], task: str | None, target: str) -> str:
    """The task for these classes; raises DataError for one class, or a `task` that does not fit.

    `target` names the target in the message.
    """
    if len(classes) < 2:
        only = f", {classes[0]!r}" if classes else ""
        raise DataError(
            f"{target} has a single class{only}: there is nothing to tell apart",
            do="give rows of at least two classes, or another target",
        )
    if task == "binary" and len(classes) != 2:
        raise DataError(
            f"{target} has {len(classes)} classes, and the task 'binary' takes two",
            where=f"classes: {listed(classes)}",
            do="leave task out, or give task='multiclass'",
        )
    return task or ("binary" if len(classes) == 2 else "multiclass")


def class_indices(values: NDArray[np.generic]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels [n] as (class indices int64 [n], names of the classes).

    Classes are in ascending order (text by code point); booleans are named "false" and "true".
    Indices are int64 because that is what argmax and NumPy's indexing return: nothing needs a cast.
    """
    if values.dtype == object:  # text; a dictionary is many times faster than sorting every row
        names = sorted(set(values.tolist()))
        index_of = {name: index for index, name in enumerate(names)}
        return np.array([index_of[v] for v in values.tolist()], dtype=np.int64), tuple(names)
    distinct, index = np.unique(values, return_inverse=True)
    return index.reshape(-1).astype(np.int64), tuple(label(v) for v in distinct.tolist())


def label(value: object) -> str:
    """The name of a class: its text; whole numbers without a fraction, booleans in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def listed(names: tuple[str, ...] | list[str], most: int = 10) -> str:
    """Names in one line; the rest of a long list as a count."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most:,} more"
