"""From whatever a person calls their data to a data set, its split, and how to read more of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import data as data_room
from chainrule.data import Dataset, Encoder, Parts, Table
from chainrule.errors import CHECK_PATH, DataError, FileError, ShapeError, UsageError, unknown
from chainrule.training.evaluate import Scale

Array = np.ndarray
_PIECE = 4096  # rows of targets that are looked at together


@dataclass(frozen=True)
class Prepared:
    """Data ready for training. `encoder` reads further tables of the same kind."""

    dataset: Dataset
    train_rows: Array
    held_out_rows: Array
    encoder: Encoder | None = None

    @property
    def scale(self) -> Scale:
        if self.encoder is None or self.dataset.task != "regression":
            return Scale()
        return Scale(self.encoder.target.mean, self.encoder.target.std)

    def cast(self, dtype: np.dtype) -> Prepared:
        """The same data in the dtype of the network's weights, row by row in memory: batches that
        are gathered from it then lie the same way, whatever way the data came. Whole numbers, which
        are symbols, stay what they are."""
        x, y = self.dataset.x, self.dataset.y
        dataset = dataclasses.replace(
            self.dataset,
            x=np.ascontiguousarray(x, dtype if x.dtype.kind in "fb" else x.dtype),
            y=np.ascontiguousarray(y, dtype if y.dtype.kind == "f" else y.dtype),
        )
        return dataclasses.replace(self, dataset=dataset)


def prepare(
    data: Any,
    target: str | None,
    validation: float | None,
    seed: int,
    task: str | None,
    symbols: bool = False,
) -> Prepared:
    """`data` is the name of a set, a `Dataset`, an (X, y) pair, a `Source` or the path of one, the
    path of a table, or a DataFrame; tables need `target`, the column to predict. `symbols` says
    that whole numbers in X are those of symbols."""
    if isinstance(data, Prepared):
        return data
    if isinstance(data, str | os.PathLike) and str(data) not in data_room.known_sets():
        data = data_room.source_at(data) or data
    if isinstance(data, str | Path) and str(data) in data_room.SERIES:
        others = None if task == "regression" else task
        _no_table("a series says itself what is predicted", target, others)
        return _of_parts(data_room.KnownSeries(str(data)).parts(validation, seed))
    if isinstance(data, data_room.Source):
        _no_table("these data say themselves what is predicted", target, task)
        return _of_parts(data.parts(validation, seed))
    if isinstance(data, str | Path) and str(data) not in data_room.known_sets():
        data = _table(data)
    if isinstance(data, str | Path):
        if target is not None:
            raise UsageError(
                f"{data} is a built-in set: it has no target column to choose",
                do="leave target out",
            )
        dataset = _as_task(data_room.load(str(data)), task)
        encoder = data_room.image_encoder(dataset)
        return Prepared(dataset, *data_room.divided(dataset, validation, seed), encoder)
    if isinstance(data, Dataset | tuple | list):
        if target is not None:
            raise UsageError(
                "target names a column of a table, and (X, y) has its targets in y",
                do="leave target out",
            )
        dataset = _as_task(data_room.from_arrays(data, task, symbols), task)
        if symbols:
            _check_symbols(dataset)
        _check_labels(dataset)
        return Prepared(dataset, *data_room.divided(dataset, validation, seed))
    if target is None:
        columns = list(data.columns) if hasattr(data, "columns") else []
        known = f"; its columns: {', '.join(map(str, columns[:12]))}" if columns else ""
        raise UsageError(
            "training on a table needs the name of the column to predict",
            do=f"give target=... (on the command line: --target COLUMN){known}",
        )
    share = data_room.DEFAULT_VALIDATION if validation is None else validation
    return _of_parts(Parts(*data_room.from_table(data, target, share, seed, task)))


def _of_parts(parts: Parts) -> Prepared:
    return Prepared(parts.dataset, parts.train_rows, parts.held_out_rows, parts.encoder)


def _no_table(what: str, target: str | None, task: str | None) -> None:
    """What is no table has its own targets."""
    for name, value in (("target", target), ("task", task)):
        if value is not None:
            raise UsageError(f"{name} goes with tables, and {what}", do=f"leave {name} out")


def _table(path: str | Path) -> Table:
    """Reads a table; a word that is neither a file nor a built-in set is named as such."""
    text = str(path)
    if text != "-" and not Path(text).exists() and not Path(text).suffix:
        if Path(text).name != text:
            raise FileError(
                f"there is no file or folder {text}",
                do=CHECK_PATH,
            )
        raise unknown("data set or file", text, data_room.known_sets())
    return data_room.read_table(path)


def _as_task(dataset: Dataset, task: str | None) -> Dataset:
    """A ready-made set for another task than its own: classes as the numbers 0 and 1, one column
    for two classes and one for each class of several."""
    if task is None or task == dataset.task:
        return dataset
    if task not in data_room.TASKS:
        raise unknown("task", task, data_room.TASKS)
    if task != "regression":
        raise UsageError(
            f"the task of {dataset.name} is {dataset.task}, and it cannot be {task}",
            do="leave task out",
        )
    y = dataset.y[:, None]
    if dataset.task == "multiclass":
        y = y == np.arange(len(dataset.classes))
    return dataclasses.replace(dataset, y=y.astype(dataset.x.dtype), task=task, classes=())


def _check_symbols(dataset: Dataset) -> None:
    """Raises DataError for symbols below 0; how many there are at most, the Embedding knows."""
    for first in range(0, dataset.rows, _PIECE):
        piece = dataset.x[first : first + _PIECE]
        if piece.dtype.kind != "i" or piece.min() >= 0:
            continue
        row, *place = (int(i) for i in np.argwhere(piece < 0)[0])
        raise DataError(
            f"X holds the symbol {piece[(row, *place)]} at row {first + row}, entry {place}",
            where=f"{dataset.name}; rows and entries are counted from 0",
            do="count symbols from 0; what only fills rows up is a symbol too, or is masked",
        )


def _check_labels(dataset: Dataset) -> None:
    """Raises DataError where the classes of a ready-made set are not those of its rows."""
    count = len(dataset.classes)
    if dataset.task == "regression":
        return
    if dataset.time:
        _check_places(dataset)
        return
    bad = np.flatnonzero((dataset.y < 0) | (dataset.y >= count))
    if len(bad):
        raise DataError(
            f"the label in row {bad[0]} is {dataset.y[bad[0]]}, and there are {count} classes",
            where=f"{dataset.name}, y; rows are counted from 0",
            do=f"labels are class indices, 0 to {count - 1}",
        )
    empty = np.flatnonzero(np.bincount(dataset.y, minlength=count) == 0)
    if len(empty):
        raise DataError(
            f"the class {dataset.classes[empty[0]]!r} has no training rows",
            where=f"{dataset.name}, y",
            do="give rows of every class, or leave the class out of `classes`",
        )


def _check_places(dataset: Dataset) -> None:
    """The same where each place of a sequence has a label; not all classes need be there. A piece
    at a time: the targets may be on disk."""
    for first in range(0, dataset.rows, _PIECE):
        piece = dataset.y[first : first + _PIECE]
        wrong = (piece < 0) | (piece >= len(dataset.classes))
        if not wrong.any():
            continue
        row, place = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"the label at place {place} of row {first + row} is {piece[row, place]}, and there "
            f"are {len(dataset.classes)} classes",
            where=f"{dataset.name}, y; rows and places are counted from 0",
            do=f"labels are class indices, 0 to {len(dataset.classes) - 1}",
        )


def class_weights_for(
    weights: str | Sequence[float] | Mapping[Any, float] | None, dataset: Dataset, rows: Array
) -> tuple[float, ...] | None:
    """Weights in the order of the classes. "balanced" weighs each class by the inverse of its share
    of the training rows, so that the mean weight of a row is 1."""
    if weights is None:
        return None
    count = len(dataset.classes)
    if not count:
        raise UsageError(
            "class_weights go with classes, and this task is regression",
            do="leave class_weights out",
        )
    if isinstance(weights, str):
        if weights != "balanced":
            raise unknown("class_weights", weights, ["balanced"])
        seen = np.bincount(dataset.y[rows].reshape(-1), minlength=count)
        return tuple(sum(seen) / (count * max(int(n), 1)) for n in seen)
    if isinstance(weights, Mapping):
        named = {str(k): float(v) for k, v in weights.items()}
        for name in named:
            if name not in dataset.classes:
                raise unknown("class", name, dataset.classes)
        values = [named.get(c, 1.0) for c in dataset.classes]
    else:
        values = [float(w) for w in weights]
    if len(values) != count or not all(np.isfinite(values)) or min(values) < 0:
        raise UsageError(
            f"class_weights are {values}, for {count} classes",
            do="give one finite weight, 0 or more, for each class",
        )
    return tuple(values)


def row_weights_for(weights: Any, dataset: Dataset, train_rows: Array) -> Array | None:
    """Row weights as an array of floats: [rows], or [rows, time] where places that only fill up a
    sequence with a target at each place weigh nothing."""
    mask = dataset.mask if dataset.time else None
    dtype = dataset.x.dtype if dataset.x.dtype.kind == "f" else np.dtype(np.float32)
    if weights is None:
        return None if mask is None else mask.astype(dtype)
    array = np.asarray(weights)
    if array.dtype.kind not in "biuf":
        raise DataError(f"sample_weights hold {array.dtype}, not numbers")
    array = array.astype(dtype)
    if array.shape != (dataset.rows,):
        raise ShapeError(
            f"sample_weights have shape {array.shape}, and there are {dataset.rows} rows",
            do="give one weight for each row",
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(bad):
        raise DataError(
            f"the weight {array[bad[0]]} is not a finite number, 0 or more",
            where=f"sample_weights, row {bad[0]}",
        )
    if not array[train_rows].any():
        raise DataError("every training row has the weight 0", where="sample_weights")
    return array if mask is None else array[:, None] * mask
