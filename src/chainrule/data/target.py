"""The column to predict: its task, its values as targets, and outputs back as values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Column, misread_number, read_column
from chainrule.data.dataset import JSON
from chainrule.data.features import check_finite, check_range, mean_and_std
from chainrule.data.fields import Fields
from chainrule.data.labels import (
    check_task,
    class_indices,
    class_task,
    label,
    listed,
    whole_numbers_are_classes,
)
from chainrule.data.split import TASKS
from chainrule.data.tables import Table
from chainrule.errors import DataError, NonFiniteError, ShapeError, nearest


@dataclass(frozen=True)
class Target:
    """What a table's target column asks for.

    `kind` is the kind of the column ("number", "boolean" or "text"). A regression target is
    learned as (value - mean) / std, with `mean` and `std` of the training rows.
    """

    name: str
    task: str
    kind: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    def fit(self, column: Column, rows: NDArray[np.int64]) -> Target:
        """The same target with the statistics of the training rows, where it is a number."""
        if self.task != "regression":
            return self
        values = column.values[rows]
        if bool((values == values[0]).all()):
            raise DataError(
                f"the target {self.name!r} is {label(float(values[0]))} in every training row: "
                "there is nothing to learn",
                do="give another target, or rows in which it differs",
            )
        mean, std = mean_and_std(values)
        return replace(self, mean=mean, std=std)

    def encode(self, column: Column, table: Table) -> NDArray[Any]:
        """Targets for a network: class indices int64 [rows], or float32 [rows, 1].

        Raises DataError for a missing value, infinity, or a class that was not trained on.
        """
        _check_present(column, table)
        if self.task == "regression":
            check_finite(column, table)
            with np.errstate(over="ignore"):  # an overflow is an infinity, which is refused
                scaled = ((column.values - self.mean) / self.std).astype(np.float32)
            check_range(scaled, column.name, table)
            return scaled[:, None]
        index_of = {name: index for index, name in enumerate(self.classes)}
        names = _labels(column)
        unknown = np.array([name not in index_of for name in names], dtype=bool)
        if unknown.any():
            rows = np.flatnonzero(unknown)
            raise DataError(
                f"the target {self.name!r} is {names[rows[0]]!r} in {table.place(int(rows[0]))}, "
                "which is not one of its classes",
                where=f"{table.counting()}; {table.places(rows)}",
                do=f"known classes: {listed(self.classes)}",
            )
        return np.array([index_of[name] for name in names], dtype=np.int64)

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """A network's outputs as columns to write, in float64.

        `outputs` is [rows, 1] for regression and for binary (one logit), [rows, classes] logits
        for multiclass. Regression gives the value in its own units under the target's name; classes
        give the likeliest class under that name (the first of equals), then "p(CLASS)" for each.
        Raises ShapeError for another width, NonFiniteError where an output is not finite.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        width = len(self.classes) if self.task == "multiclass" else 1
        if outputs.shape != (len(outputs), width):
            raise ShapeError(
                f"the outputs for {self.name!r} have the shape {outputs.shape}, not (rows, {width})"
            )
        if not np.isfinite(outputs).all():
            row = int(np.flatnonzero(~np.isfinite(outputs).all(axis=1))[0])
            raise NonFiniteError(
                f"the network's output for row {row} is not finite",
                where="rows are counted from 0",
                do="train again with a smaller learning rate",
            )
        if self.task == "regression":
            return {self.name: outputs[:, 0] * self.std + self.mean}
        logits = np.hstack([np.zeros_like(outputs), outputs]) if width == 1 else outputs
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability = weight / weight.sum(axis=1, keepdims=True)
        chosen = np.array(self.classes, dtype=object)[logits.argmax(axis=1)]
        shares = {f"p({name})": probability[:, i] for i, name in enumerate(self.classes)}
        return {self.name: chosen, **shares}

    def to_json(self) -> dict[str, JSON]:
        """The target as JSON values."""
        return {
            "name": self.name,
            "task": self.task,
            "kind": self.kind,
            "classes": list(self.classes),
            "mean": self.mean,
            "std": self.std,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Target:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        task, classes, kind = fields.text("task"), fields.names("classes"), fields.text("kind")
        fields.check(task in TASKS, "task")
        fields.check(kind in ("number", "boolean", "text"), "kind")
        expected = {"regression": len(classes) == 0, "binary": len(classes) == 2}
        fields.check(expected.get(task, len(classes) >= 2), "classes")
        name, mean, std = fields.text("name"), fields.number("mean"), fields.positive("std")
        return cls(name, task, kind, classes, mean, std)


def infer_target(table: Table, name: str, task: str | None) -> tuple[Target, Column]:
    """The target of a table and its column; the task by the rule in `labels` unless it is given.

    Raises DataError for a column that is not there, has missing values or a single class, or
    cannot be a target; UsageError for an unknown task.
    """
    check_task(task)
    check_column(table, name, "target")
    column = read_column(table, name)
    if column.kind not in ("number", "boolean", "text"):
        what = "dates" if column.kind == "time" else "values that are no numbers, text or booleans"
        raise DataError(
            f"the target {name!r} holds {what}",
            do="give a target that is a number or a class",
        )
    _check_present(column, table)
    check_finite(column, table)
    if column.kind == "text" and task == "regression":
        column = read_column(table, name, "number")  # raises at the first value that is none
    if column.kind == "text":
        _check_text(column, table)
    if task == "regression" or (task is None and _is_number(column)):
        return Target(name, "regression", column.kind), column
    if column.kind == "number":
        _check_whole(column, table)
    classes = class_indices(_natural(column))[1]
    chosen = class_task(classes, task, f"the target {name!r}")
    return Target(name, chosen, column.kind, classes), column


def check_column(table: Table, name: str, role: str) -> None:
    """Raise DataError, with the nearest name, unless the table has the column `name`."""
    if name in table.columns:
        return
    close = nearest(name, table.columns)
    raise DataError(
        f"{table.name} has no column {name!r} ({role})",
        where=f"columns: {listed(list(table.columns), 20)}",
        do=f"did you mean {close!r}?" if close else "give one of the columns above",
    )


def _is_number(column: Column) -> bool:
    if column.kind != "number":
        return False
    return not (column.whole and whole_numbers_are_classes(column.values))


def _natural(column: Column) -> NDArray[Any]:
    """Values whose labels read as they did in the table."""
    return column.values.astype(bool) if column.kind == "boolean" else column.values


def _labels(column: Column) -> list[str]:
    return [label(value) for value in _natural(column).tolist()]


def _check_present(column: Column, table: Table) -> None:
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise DataError(
            f"the target {column.name!r} is missing in {len(missing)} of {table.rows} rows",
            where=f"{table.places(missing)} of {table.counting()}",
            do="fill in the target in these rows, or remove them",
        )


def _check_text(column: Column, table: Table) -> None:
    """Raise DataError for text that should be numbers, or that cannot be classes."""
    misread = misread_number(column)
    values = column.values.tolist()
    distinct = len(set(values))
    if misread and distinct > 20:
        row, count = misread
        raise DataError(
            f"the target {column.name!r} holds numbers, but in {table.place(row)} it holds the "
            f"text {values[row]!r}",
            where=f"{table.counting()}; {count} of {len(values)} values are no numbers",
            do="mend the values, or remove their rows",
        )
    if distinct > 20 and distinct > len(values) / 2:
        raise DataError(
            f"the target {column.name!r} has {distinct} different texts in {len(values)} rows: "
            "too many to be classes",
            do="give a target with few classes, or one that is a number",
        )


def _check_whole(column: Column, table: Table) -> None:
    fractional = np.flatnonzero(column.values != np.floor(column.values))
    if len(fractional):
        raise DataError(
            f"the target {column.name!r} is {column.values[fractional[0]]} in "
            f"{table.place(int(fractional[0]))}, which is no class label",
            where=table.counting(),
            do="leave the task out, or give 'regression'",
        )
