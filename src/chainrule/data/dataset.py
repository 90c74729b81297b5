"""Arrays ready for training: `Dataset`, and the way from a user's arrays to one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.data.labels import (
    check_task,
    class_indices,
    class_task,
    listed,
    whole_numbers_are_classes,
)
from chainrule.data.on_disk import open_rows
from chainrule.errors import DataError, ShapeError, UsageError

_PIECE = 1 << 24  # bytes of an array that are hashed at a time
JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from: inputs, targets and what they mean.

    `x` is float32 [rows, ...], or whole numbers where they are the numbers of symbols. `y` is int64
    [rows] of class indices for "binary" and "multiclass", [rows, time] where each place of a
    sequence has its own, and float32 [rows, outputs] for "regression": always two axes, so that it
    never broadcasts against a network's [rows, outputs] by accident. `classes` names the classes in
    the order of their indices; `feature_names` names the columns of a two-axis `x`, or is empty.
    `source` says where the rows came from, in JSON values. `row_names` says what each row is
    called, such as its file, or is empty.

    `mask` is bool [rows, time], False at places of a sequence that only fill it up, or None where
    there are none. With `streams` rows lie as in `chainrule.data.chunking`: a batch in order is one
    row of each stream, and `resets` (bool [rows]) says where a state begins anew. `symbols` counts
    the different symbols that whole numbers in `x` may stand for, 0 where that is not known.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    task: str
    classes: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    source: dict[str, JSON] = field(default_factory=dict)
    row_names: Sequence[str] = ()
    mask: NDArray[np.bool_] | None = None
    streams: int = 0
    resets: NDArray[np.bool_] | None = None
    symbols: int = 0

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ShapeError(f"{self.name}: x has {len(self.x)} rows and y has {len(self.y)}")
        if self.mask is not None and self.mask.shape != self.x.shape[:2]:
            raise ShapeError(
                f"{self.name}: x has the shape {self.x.shape} and its mask {self.mask.shape}",
                do="give a mask [rows, time], True where a place counts",
            )
        if self.resets is not None and self.resets.shape != (len(self.x),):
            raise ShapeError(f"{self.name}: {len(self.x)} rows have {self.resets.shape} resets")
        if self.streams < 0 or (self.streams and len(self.x) % self.streams):
            raise ShapeError(
                f"{self.name}: {len(self.x)} rows are not whole chunks of {self.streams} streams",
                do="give as many rows of each stream, those that are read together side by side",
            )

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.x)

    @property
    def time(self) -> int:
        """How many places of each row have a target of their own; 0 where the row has one."""
        return self.y.shape[1] if self.task != "regression" and self.y.ndim == 2 else 0

    @property
    def outputs(self) -> int:
        """The width of the network's output: 1 logit, a logit per class, or a value per target."""
        if self.task == "binary":
            return 1
        return len(self.classes) if self.task == "multiclass" else int(self.y.shape[1])

    def describe(self) -> str:
        """One line: the name, the rows, what goes in and what comes out."""
        shape, noun = self.x.shape[1:], "symbol" if self.x.dtype.kind in "iu" else "number"
        size = f"1 {noun}" if shape == (1,) else f"{' x '.join(str(n) for n in shape)} {noun}s"
        if self.task == "regression":
            goal = "1 number" if self.outputs == 1 else f"{self.outputs} numbers"
        else:
            each = f"each of {self.time} places in " if self.time else ""
            goal = f"{each}{len(self.classes)} classes: {listed(self.classes)}"
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return f"{self.name}: {rows}, {size} each -> {goal}"


def from_arrays(data: object, task: str | None = None, symbols: bool = False) -> Dataset:
    """A `Dataset` from an (X, y) pair of arrays or lists; a `Dataset` is returned as it is.

    X holds booleans, whole or fractional numbers, [rows, ...] ([rows] is taken as one column), and
    is cast once to float32 (what is float32 already is not copied). X and y may be the paths of
    .npy files, which are mapped: float32 is read from disk as batches ask for it. y [rows] holds
    labels or numbers, and y [rows, outputs] numbers; which task it asks for is the rule in
    `chainrule.data.labels`, and `task` overrides it. With `symbols`, whole numbers in X are the
    numbers of symbols and stay what they are, and y may be whole numbers from 0, [rows, time]: a
    class for each place of a sequence; so it may for X [rows, time, features] where `task` says
    that they are classes. Raises DataError for values that cannot be learned from (not
    finite, empty, one class, text in X), ShapeError where X and y differ in rows, UsageError for
    anything that is not a pair.
    """
    if isinstance(data, Dataset):
        return data
    check_task(task)
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise UsageError(
            f"arrays come as a pair (X, y), not as {_described(data)}",
            do="give (X, y) with one row of X for each entry of y",
        )
    names = _column_names(data[0])
    x, y = _array(data[0], "X"), _array(data[1], "y")
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError("X and y must have a row axis, and one of them is a single number")
    if len(x) != len(y):
        raise ShapeError(
            f"X has {len(x)} rows and y has {len(y)}", do="give one entry of y for each row of X"
        )
    if x.size == 0:
        raise DataError(
            f"X is empty: its shape is {x.shape}", do="give at least one row and column"
        )
    x = x[:, None] if x.ndim == 1 else x
    is_symbols = symbols and x.dtype.kind in "iu"
    x = x if is_symbols else numbers(x, "X", names)
    is_classes = task != "regression" and y.dtype.kind in "iu" and y.ndim == 2 and y.shape[1] > 1
    is_classes = is_classes and (is_symbols or (task is not None and x.ndim == 3))
    if is_classes and y.shape == x.shape[:2]:
        return _of_places(x, y, task or "multiclass")
    if names and x.shape[1:] != (len(names),):
        names = ()
    target, chosen_task, classes = _target(y, task)
    source: dict[str, JSON] = {"kind": "arrays"}
    return Dataset("arrays", x, target, chosen_task, classes, names, source)


def _of_places(x: NDArray[Any], y: NDArray[Any], task: str) -> Dataset:
    """Sequences with a class for each place."""
    if y.min() < 0 or y.max() == 0 or (task == "binary" and y.max() > 1):
        raise DataError(
            f"y holds the classes {y.min()} to {y.max()}",
            do=f"count classes from 0, and give {'two' if task == 'binary' else 'at least two'}",
        )
    classes = tuple(str(number) for number in range(int(y.max()) + 1))
    return Dataset("arrays", x, y, task, classes, source={"kind": "arrays"})


def fingerprint(dataset: Dataset) -> str:
    """The sha256 of a dataset's contents, in hexadecimal: its task, classes and every value.

    The name and the source do not count; a mask and resets do where there are any. Bytes are taken
    in little-endian C order, so that the result is the same on every machine and for every memory
    layout.
    """
    digest = hashlib.sha256()
    for text in ("chainrule dataset 1", dataset.task, *dataset.classes):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    for array in (dataset.x, dataset.y, dataset.mask, dataset.resets):
        if array is None:
            continue
        dtype = array.dtype.newbyteorder("<")
        digest.update(f"{dtype.str}{array.shape}".encode())
        for piece in _pieces(array):
            digest.update(np.ascontiguousarray(piece, dtype).reshape(-1).data)
    return digest.hexdigest()


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array, some at a time: one on disk is then never in memory as a whole."""
    rows = max(1, _PIECE // max(array.nbytes // max(len(array), 1), 1))
    for first in range(0, len(array), rows):
        yield array[first : first + rows]


def numbers(values: NDArray[Any], what: str, columns: Sequence[str] = ()) -> NDArray[np.float32]:
    """Numbers as a finite float32 array, or the DataError that names the first bad entry.

    `what` names the array in messages, and `columns` its columns.
    """
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{what} holds {_kind_name(values)}, not numbers",
            do="give numbers; a table with text columns goes in as a DataFrame or a file",
        )
    with np.errstate(over="ignore"):
        cast = values.astype(np.float32, copy=False)
    if all(np.isfinite(piece).all() for piece in _pieces(cast)):
        return cast
    bad = np.argwhere(~np.isfinite(cast))
    first = tuple(int(i) for i in bad[0])
    value = values[first]
    is_large = bool(np.isfinite(value))
    others = len(bad) - 1
    raise DataError(
        f"{what} holds {f'{value}, too large for float32,' if is_large else _spell(value)} "
        f"at row {first[0]}{_column_place(first, columns)}",
        where=f"rows and columns are counted from 0; {len(bad)} such value"
        f"{'s' if others else ''} in {len(np.unique(bad[:, 0]))} of {len(values)} rows",
        do="scale the values down" if is_large else "remove these rows or fill in the values",
    )


def _target(y: NDArray[Any], task: str | None) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """The target as (array, task, classes)."""
    if y.ndim > 2:
        raise ShapeError(
            f"y must have the shape [rows] or [rows, outputs], not {y.shape}",
            do="flatten it, y.reshape(len(y), -1), and end the network with Flatten()",
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        return _several_outputs(y, task), "regression", ()
    _check_labels(y)
    if task == "regression" or (task is None and not _is_labels(y)):
        return numbers(y, "y")[:, None], "regression", ()
    if y.dtype.kind == "f":
        whole = numbers(y, "y")
        if (whole != np.floor(whole)).any():
            row = int(np.flatnonzero(whole != np.floor(whole))[0])
            raise DataError(
                f"y holds {y[row]} at row {row}, which is no class label",
                where="rows are counted from 0",
                do="leave task out, or give task='regression'",
            )
        y = y.astype(np.int64)
    labels = y.astype(object) if y.dtype.kind == "U" else y
    index, classes = class_indices(labels)
    return index, class_task(classes, task, "y"), classes


def _several_outputs(y: NDArray[Any], task: str | None) -> NDArray[np.float32]:
    target = numbers(y, "y")
    if target.shape[1] == 0:
        raise DataError("y has no columns", do="give one column per output")
    one_hot = bool(np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all())
    if task in ("binary", "multiclass") or (task is None and one_hot and y.dtype.kind != "f"):
        raise DataError(
            f"y has {y.shape[1]} columns{' and looks one-hot' if one_hot else ''}; "
            "class labels are one column",
            do="give y.argmax(axis=1) for classes, or task='regression' for several outputs",
        )
    return target


def _is_labels(y: NDArray[Any]) -> bool:
    if y.dtype.kind == "f":
        return False
    return y.dtype.kind not in "iu" or whole_numbers_are_classes(y)


def _array(data: object, what: str) -> NDArray[Any]:
    """`data` as an array, refusing what NumPy would turn into something else without a word."""
    if isinstance(data, str | os.PathLike):
        if not os.fspath(data).endswith(".npy"):
            raise UsageError(
                f"{what} is {os.fspath(data)!r}, which is no .npy file",
                do="give an array, or the path of a .npy file; other files go in whole: "
                'cr.train(net, "table.csv", target=...)',
            )
        return open_rows(data)
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise DataError(
            f"{what} is a masked array with masked entries, whose values would be used as they are",
            do="fill them in, or remove their rows",
        )
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        raise DataError(f"{what} is a sparse matrix", do=f"give {what}.toarray()")
    plain: ArrayLike = data  # type: ignore[assignment]
    try:
        array = np.asarray(plain)
    except ValueError as error:
        raise ShapeError(
            f"{what} is no array: its rows differ in length or kind",
            do=f"give {what} with the same shape in every row",
        ) from error
    if array.dtype.kind == "T":  # NumPy's variable-width text
        array = array.astype(object)
    return _narrowed(array) if array.dtype == object else array


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """An object array as the plain one it holds, where it holds one kind of thing."""
    entries = array.reshape(-1).tolist()
    if entries and all(isinstance(e, (bool, np.bool_)) for e in entries):
        return array.astype(bool)
    if entries and all(isinstance(e, (int, float, np.number)) or e is None for e in entries):
        missing = any(e is None for e in entries)
        narrow = np.array([np.nan if e is None else e for e in entries])
        return (narrow.astype(float) if missing else narrow).reshape(array.shape)
    return array


def _column_names(x: object) -> tuple[str, ...]:
    names = getattr(x, "columns", None)
    return () if names is None else tuple(str(name) for name in names)


def _column_place(place: tuple[int, ...], columns: Sequence[str]) -> str:
    if len(place) == 2:
        named = f" ({columns[place[1]]!r})" if place[1] < len(columns) else ""
        return f", column {place[1]}{named}"
    return f", entry {list(place[1:])}" if len(place) > 2 else ""


def _check_labels(y: NDArray[Any]) -> None:
    """Raise DataError unless `y` holds numbers, booleans or nothing but text."""
    do = "give numbers, text labels or booleans"
    if y.dtype.kind not in "biufUO":
        raise DataError(f"y holds {_kind_name(y)}, neither labels nor numbers", do=do)
    entries = y.tolist() if y.dtype == object else []
    odd = [row for row, entry in enumerate(entries) if not isinstance(entry, str)]
    if odd:
        raise DataError(
            f"y holds {y[odd[0]]!r} at row {odd[0]}, neither a label nor a number",
            where=f"rows are counted from 0; {len(odd)} of {len(y)} rows are not text",
            do=do,
        )


def _spell(value: Any) -> str:
    return "NaN" if np.isnan(value) else ("infinity" if value > 0 else "minus infinity")


def _kind_name(values: NDArray[Any]) -> str:
    kinds = {"U": "text", "S": "bytes", "c": "complex numbers", "M": "dates", "m": "durations"}
    return kinds.get(values.dtype.kind, "mixed or missing values")


def _described(data: object) -> str:
    if isinstance(data, (tuple, list)):
        return f"a {type(data).__name__} of {len(data)}"
    return f"an object of type {type(data).__name__}"
