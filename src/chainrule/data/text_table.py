"""Labelled texts in a table: `TextTable`, as bags of words or as symbols in their order."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Column, read_column
from chainrule.data.dataset import JSON, Dataset
from chainrule.data.encode import from_table
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.source import DEFAULT_VALIDATION, Parts, Rows, Source
from chainrule.data.split import split
from chainrule.data.tables import Table, as_table, read_table
from chainrule.data.target import Target, check_column, infer_target
from chainrule.data.vocabulary import (
    PADDING,
    UNKNOWN,
    Vocabulary,
    check_count,
    check_level,
    fit_vocabulary,
)
from chainrule.errors import DataError, UsageError, unknown

FORMS = ("bag", "sequence")
MOST_SYMBOLS = 20_000
MOST_LENGTH = 200  # symbols in a row, unless told otherwise


@dataclass(frozen=True)
class TextTable(Source):
    """A table with texts in the columns `text`, and the column `target` to predict.

    As a "bag" each text is a number for each word (TF-IDF), beside the table's other columns. As
    a "sequence" the one text column becomes rows of `length` symbols in their order, the numbers
    of characters or words (`level`; small letters): longer texts are cut, shorter ones filled up
    with symbol 0, and other columns are not used. Without `length` that is the longest training
    text's, 200 at most. `task` overrides what the target says.
    """

    table: object
    target: str
    text: str | tuple[str, ...]
    form: str = "bag"
    level: str = "word"
    length: int | None = None
    task: str | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form of text", self.form, FORMS)
        check_level(self.level)
        if self.length is not None:
            check_count("length", self.length, 1)
        if self.form == "sequence" and len(self.columns) != 1:
            raise UsageError(
                f"a sequence is one text, and these are {len(self.columns)} columns",
                do='give one column, or form="bag"',
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The text columns."""
        return (self.text,) if isinstance(self.text, str) else tuple(self.text)

    def parts(self, validation: float | None, seed: int) -> Parts:
        """The texts as float32 [rows, words and other columns], or as int32 [rows, length] with a
        mask; errors as in `read_table` and `from_table`."""
        is_path = isinstance(self.table, str | os.PathLike)
        table = read_table(self.table) if is_path else as_table(self.table)  # type: ignore[arg-type]
        share = DEFAULT_VALIDATION if validation is None else validation
        for name in self.columns:
            check_column(table, name, "text")
            if name == self.target:
                raise UsageError(f"{name!r} is the target: it cannot be read as text too")
        if self.form == "bag":
            found = from_table(table, self.target, share, seed, self.task, self.columns)
            parts = Parts(*found)
        else:
            parts = self._sequences(table, share, seed)
        source: dict[str, JSON] = {
            **table.source,
            "kind": "text table" if is_path else "dataframe",
            "target": self.target,
            "text": list(self.columns),
            "form": self.form,
            "level": self.level,
            "length": getattr(parts.encoder, "length", None),
            "task": self.task,
        }
        names = _texts(table, self.columns)
        return parts._replace(dataset=replace(parts.dataset, source=source, row_names=names))

    def _sequences(self, table: Table, validation: float, seed: int) -> Parts:
        goal, goal_column = infer_target(table, self.target, self.task)
        is_number = goal.task == "regression"
        labels = goal_column.values if is_number else goal.encode(goal_column, table)
        train_rows, held_out_rows = split(labels, validation, goal.task, seed)
        goal = goal.fit(goal_column, train_rows)
        column = read_column(table, self.columns[0], "text")
        texts = [text or "" for text in column.values.tolist()]
        least = 2 if self.level == "word" else 1
        vocabulary = fit_vocabulary(
            (texts[row] for row in train_rows.tolist()),
            self.level,
            most=MOST_SYMBOLS,
            least=least,
            lower=True,
            first=(PADDING, UNKNOWN),
        )
        remarks: list[str] = []
        length = self.length
        if length is None:
            found = (len(vocabulary.encode(texts[row])) for row in train_rows.tolist())
            length = min(max(found), MOST_LENGTH) or 1
        x = _symbols(texts, vocabulary, length, column.name, remarks)
        others = [n for n in table.columns if n not in (self.target, column.name)]
        if others:
            remarks.append(f"not used beside the text: {listed(others)}")
        encoder = SequenceEncoder(
            table.name, table.rows, column.name, vocabulary, length, goal, tuple(remarks)
        )
        dataset = Dataset(
            table.name,
            x,
            goal.encode(goal_column, table),
            goal.task,
            goal.classes,
            mask=x != 0,
            symbols=len(vocabulary),
        )
        return Parts(dataset, encoder, train_rows, held_out_rows)

    @classmethod
    def from_json(cls, source: dict[str, Any], path: str) -> TextTable:
        """The table that a data set's `source` tells of, where it is now."""
        names = ("form", "level", "length", "task")
        options = {name: source[name] for name in names}
        return cls(path, source["target"], tuple(source["text"]), **options)


@dataclass(frozen=True)
class SequenceEncoder:
    """Reads a column of texts as rows of symbols, and decodes what is predicted of them."""

    table: str
    rows: int
    column: str
    vocabulary: Vocabulary
    length: int
    target: Target
    remarks: tuple[str, ...] = ()

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """int32 [rows, length] from the path of a table, a table or a DataFrame that has the
        column, from a list of texts, or from an array of symbols."""
        if isinstance(data, np.ndarray) and data.dtype.kind in "iu":
            return Rows(data.astype(np.int32))
        if isinstance(data, list | tuple) and all(isinstance(text, str) for text in data):
            return Rows(_symbols(list(data), self.vocabulary, self.length, self.column, notes))
        table = read_table(data) if isinstance(data, str | os.PathLike) else as_table(data)
        check_column(table, self.column, "the network was trained on it")
        column: Column = read_column(table, self.column, "text")
        texts = [text or "" for text in column.values.tolist()]
        return Rows(_symbols(texts, self.vocabulary, self.length, self.column, notes))

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """A network's outputs as columns to write; see `Target.decode`."""
        return self.target.decode(outputs)

    def describe(self) -> str:
        """One line: the table, the text, what is predicted."""
        goal = "a number"
        if self.target.classes:
            goal = f"{len(self.target.classes)} classes: {listed(self.target.classes)}"
        return (
            f"{self.table}: {self.rows} rows, {self.column} as {self.length} of "
            f"{len(self.vocabulary):,} {self.vocabulary.level}s -> {self.target.name} ({goal})"
        )

    def notes(self) -> tuple[str, ...]:
        """What was cut, unknown or not used, a line each."""
        return self.remarks

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values."""
        return {
            "kind": "sequence",
            "table": self.table,
            "rows": self.rows,
            "column": self.column,
            "vocabulary": self.vocabulary.to_json(),
            "length": self.length,
            "target": self.target.to_json(),
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, json: JSON) -> SequenceEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the text encoder")
        vocabulary = Vocabulary.from_json(fields.object("vocabulary"))
        length = fields.count("length")
        fields.check(length > 0, "length")
        return cls(
            fields.text("table"),
            fields.count("rows"),
            fields.text("column"),
            vocabulary,
            length,
            Target.from_json(fields.object("target")),
            fields.names("remarks"),
        )


def _texts(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The texts of each row, by which a person knows it."""
    found = [read_column(table, name, "text").values.tolist() for name in columns]
    return tuple(" / ".join(text or "" for text in row) for row in zip(*found, strict=True))


def _symbols(
    texts: list[str], vocabulary: Vocabulary, length: int, name: str, notes: list[str]
) -> NDArray[np.int32]:
    """The first `length` symbols of each text, int32 [rows, length], 0 behind its end."""
    x = np.zeros((len(texts), length), np.int32)
    cut = empty = unknown_ones = total = 0
    other = vocabulary.index[UNKNOWN]
    for row, text in zip(x, texts, strict=True):
        ids = vocabulary.encode(text)
        row[: len(ids)] = ids[:length]
        cut += len(ids) > length
        empty += len(ids) == 0
        unknown_ones += int((ids == other).sum())
        total += len(ids)
    if empty == len(texts):
        raise DataError(f"column {name!r} has no text in any row")
    if cut:
        notes.append(f"{name}: {cut} of {len(texts)} texts are longer than {length}, and cut there")
    if empty:
        notes.append(f"{name}: {empty} of {len(texts)} rows have no text")
    if unknown_ones:
        share = 100 * unknown_ones / total
        notes.append(f"{name}: {share:.2g} % of the {vocabulary.level}s are {UNKNOWN}")
    return x
