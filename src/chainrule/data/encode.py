"""A table as a network's inputs and targets: what was inferred and fitted, saved with the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.bag import BagFeature, fit_bag
from chainrule.data.columns import Column, misread_number, read_column
from chainrule.data.dataset import JSON, Dataset, numbers
from chainrule.data.features import (
    CategoryFeature,
    Feature,
    check_range,
    feature_from_json,
    feature_to_json,
    fit_feature,
)
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.source import Rows as Read
from chainrule.data.split import split
from chainrule.data.tables import Table, as_table, read_table
from chainrule.data.target import Target, check_column, infer_target
from chainrule.errors import DataError

Rows = NDArray[np.int64]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Schema:
    """What a table holds before anything is fitted: its target and the kind of every column."""

    table: Table
    target: Target
    columns: Mapping[str, Column]  # features and target, read once
    text: tuple[str, ...] = ()  # columns whose words count

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each column that is not the target."""
        return {n: c.kind for n, c in self.columns.items() if n != self.target.name}


@dataclass(frozen=True)
class TableEncoder:
    """Encodes tables with what the training rows said, and decodes a network's outputs."""

    table: str  # the name of the table it was fitted on
    rows: int  # its rows, held-out ones included
    target: Target
    features: tuple[Feature, ...]
    left_out: tuple[str, ...]  # columns that are not used
    remarks: tuple[str, ...]  # what was left out, filled in or assumed, a line each

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        return tuple(name for feature in self.features for name in feature.labels)

    @property
    def width(self) -> int:
        """The number of encoded columns."""
        return len(self.feature_names)

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Read:
        """The inputs for a network from the path of a table, a table, a DataFrame, or an array
        that is encoded already; errors as in `encode` and `read_table`."""
        if isinstance(data, np.ndarray):
            return Read(numbers(data[:, None] if data.ndim == 1 else data, "X"))
        table = read_table(data) if isinstance(data, str | os.PathLike) else data
        return Read(self.encode(table, notes))

    def encode(self, frame: object, notes: list[str] | None = None) -> NDArray[np.float32]:
        """The inputs for a network: float32 [rows, width]; the target need not be there.

        `frame` is a `Table` or a DataFrame. What was noticed (ignored columns, new values) is added
        to `notes`, a line each. Raises DataError for a missing column, and for a value that does
        not fit its column, with its row.
        """
        table = as_table(frame)
        for feature in self.features:
            check_column(table, feature.name, "the network was trained on it")
        kinds = {f.name: "text" if f.kind == "bag" else f.kind for f in self.features}
        columns = {name: read_column(table, name, kind) for name, kind in kinds.items()}
        notes = [] if notes is None else notes
        known = {*columns, *self.left_out, self.target.name}
        extra = [name for name in table.columns if name not in known]
        if extra:
            notes.append(f"ignored, since the network was not trained on it: {listed(extra)}")
        return _encoded(self.features, columns, table, notes)

    def encode_target(self, frame: object) -> NDArray[Any]:
        """The targets for a network: int64 [rows] for classes, float32 [rows, 1] for regression.

        Raises DataError where the column is not there, or a value is missing or of no known class.
        """
        table = as_table(frame)
        check_column(table, self.target.name, "target")
        return self.target.encode(read_column(table, self.target.name, self.target.kind), table)

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """A network's outputs as columns to write; see `Target.decode`."""
        return self.target.decode(outputs)

    def describe(self) -> str:
        """One line: the table, its rows, what goes in and what comes out."""
        kinds = [feature.kind for feature in self.features]
        nouns = {
            "number": ("number", "numbers"),
            "text": ("category", "categories"),
            "boolean": ("true/false column", "true/false columns"),
            "time": ("date", "dates"),
            "bag": ("text", "texts"),
        }
        counts = [(kinds.count(kind), *noun) for kind, noun in nouns.items() if kind in kinds]
        inputs = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts)
        goal = "a number"
        if self.target.classes:
            goal = f"{len(self.target.classes)} classes: {listed(self.target.classes)}"
        return f"{self.table}: {self.rows} rows, {inputs} -> {self.target.name} ({goal})"

    def notes(self) -> tuple[str, ...]:
        """What was left out, filled in or assumed when it was fitted, a line each."""
        return self.remarks

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values; every float comes back bit for bit."""
        return {
            "format": _FORMAT,
            "table": self.table,
            "rows": self.rows,
            "target": self.target.to_json(),
            "features": [feature_to_json(feature) for feature in self.features],
            "left_out": list(self.left_out),
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, json: JSON) -> TableEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the table encoder")
        fields.check(fields.count("format") == _FORMAT, "format")
        features = tuple(feature_from_json(feature) for feature in fields.objects("features"))
        fields.check(len(features) > 0, "features")
        return cls(
            fields.text("table"),
            fields.count("rows"),
            Target.from_json(fields.object("target")),
            features,
            fields.names("left_out"),
            fields.names("remarks"),
        )


def infer_schema(
    frame: object, target: str, task: str | None = None, text: tuple[str, ...] = ()
) -> Schema:
    """Read every column of a table and settle its kind and the task; those of `text` are texts of
    words.

    Raises DataError for a target that cannot be learned, and for a column of numbers in which a few
    values are text (it would be left out as free text without a word otherwise).
    """
    table = as_table(frame)
    goal, goal_column = infer_target(table, target, task)
    columns = {target: goal_column}
    for name in table.columns:
        if name != target:
            columns[name] = read_column(table, name, "text" if name in text else None)
            if name not in text:
                _check_numbers(columns[name], table)
    return Schema(table, goal, columns, text)


def fit(schema: Schema, train_rows: Rows) -> TableEncoder:
    """The encoder for a table by its training rows: no other row has a say in any statistic.

    `train_rows` is int64, counted from 0. Raises DataError where no column is left to learn from.
    """
    target = schema.target.fit(schema.columns[schema.target.name], train_rows)
    features: list[Feature] = []
    fitted: Feature | str
    reasons: dict[str, list[str]] = {}
    for name, kind in schema.kinds.items():
        column = schema.columns[name]
        reason = "lists or other values that are no numbers, text or dates"
        if name in schema.text:
            fitted = fit_bag(column, train_rows)
        else:
            fitted = reason if kind == "other" else fit_feature(column, train_rows, schema.table)
        if isinstance(fitted, str):
            reasons.setdefault(fitted, []).append(name)
        else:
            features.append(fitted)
    remarks = [f"left out {listed(names)}: {reason}" for reason, names in reasons.items()]
    if not features:
        raise DataError(
            f"{schema.table.name} has no column to learn {target.name!r} from",
            where="; ".join(remarks) or "it has no other column",
            do="give columns that vary and are not identifiers",
        )
    remarks += [*_filled(features), *_read_as(schema), *_assumed(schema)]
    left_out = tuple(name for names in reasons.values() for name in names)
    return TableEncoder(
        schema.table.name, schema.table.rows, target, tuple(features), left_out, tuple(remarks)
    )


def from_table(
    frame: object,
    target: str,
    validation: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    text: tuple[str, ...] = (),
) -> tuple[Dataset, TableEncoder, Rows, Rows]:
    """A table ready for training: (dataset, encoder, training rows, held-out rows).

    `frame` is a `Table` (from `read_table`) or a DataFrame; `validation` and `seed` are those of
    `split`; `text` names columns that are read as words. The encoder is fitted to the training rows
    alone; the dataset holds all rows, encoded, with a regression target standardised
    (`encoder.decode` gives it back in its own units). Raises DataError for a table that cannot be
    learned from, UsageError for a bad argument.
    """
    schema = infer_schema(frame, target, task, text)
    table, goal = schema.table, schema.columns[target]
    is_number = schema.target.task == "regression"
    labels = goal.values if is_number else schema.target.encode(goal, table)
    train_rows, held_out_rows = split(labels, validation, schema.target.task, seed)
    encoder = fit(schema, train_rows)
    x = _encoded(encoder.features, schema.columns, table, [])
    y = encoder.target.encode(goal, table)
    source: dict[str, JSON] = {**table.source, "target": target}
    dataset = Dataset(
        table.name,
        x,
        y,
        encoder.target.task,
        encoder.target.classes,
        encoder.feature_names,
        source,
    )
    return dataset, encoder, train_rows, held_out_rows


def _encoded(
    features: tuple[Feature, ...], columns: Mapping[str, Column], table: Table, notes: list[str]
) -> NDArray[np.float32]:
    width = sum(len(feature.labels) for feature in features)
    x = np.empty((table.rows, width), dtype=np.float32)
    place = 0
    for feature in features:
        with np.errstate(over="ignore"):  # an overflow is an infinity, which is refused below
            for values in feature.encode(columns[feature.name], table, notes):
                x[:, place] = values
                check_range(x[:, place], feature.name, table)
                place += 1
    return x


def _check_numbers(column: Column, table: Table) -> None:
    """Raise DataError for a column of many numbers and a few texts."""
    if column.kind != "text":
        return
    values = column.values.tolist()
    misread = misread_number(column)
    if misread is None or len(set(values)) <= 20:
        return
    row, count = misread
    raise DataError(
        f"column {column.name!r} holds numbers, but in {table.place(row)} it holds the text "
        f"{values[row]!r}",
        where=f"{table.counting()}; {count} of {len(values)} values are no numbers",
        do="mend the values, or leave them empty where they are missing",
    )


def _filled(features: list[Feature]) -> list[str]:
    """A line for each feature with missing or rare values in the training rows."""
    how = {
        "number": "their mean stands in, and a second column marks it",
        "boolean": "the share of true stands in, and a second column marks it",
        "text": "missing is a level of its own",
        "time": "the mean date stands in, and a second column marks it",
        "bag": "it counts as a text without words",
    }
    lines = []
    for feature in features:
        if feature.missing:
            rows = "row has" if feature.missing == 1 else "rows have"
            count = f"{feature.missing} training {rows} no value"
            lines.append(f"{feature.name}: {count}; {how[feature.kind]}")
        if isinstance(feature, CategoryFeature) and feature.rare:
            lines.append(f"{feature.name}: {feature.rare} rarer values share the slot 'other'")
        if isinstance(feature, BagFeature):
            lines.append(f"{feature.name}: {len(feature.words):,} words of the training rows")
    return lines


def _read_as(schema: Schema) -> list[str]:
    """A line on the columns whose numbers were written with a decimal comma."""
    names = [name for name, column in schema.columns.items() if column.decimal_comma]
    return [f"{listed(names)}: commas are read as decimal points"] if names else []


def _assumed(schema: Schema) -> list[str]:
    """Lines on the target: whole numbers read as classes, and classes with one row."""
    target, column = schema.target, schema.columns[schema.target.name]
    if target.task == "regression":
        return []
    lines = []
    if target.kind == "number" and len(target.classes) > 2:
        lines.append(
            f"{target.name}: {len(target.classes)} different whole numbers, read as classes; "
            "the task 'regression' reads them as numbers"
        )
    counts = np.bincount(target.encode(column, schema.table), minlength=len(target.classes))
    single = [name for name, n in zip(target.classes, counts, strict=True) if n == 1]
    if single:
        lines.append(
            f"{target.name}: only one row of {listed(single)}; it is trained on, not held out"
        )
    return lines
