"""Series in a table, a row for each moment: `Forecast`, its encoder, and what to compare with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Column, read_column
from chainrule.data.dataset import JSON, Dataset, numbers
from chainrule.data.features import check_finite, mean_and_std
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.linear_forecast import autoregression, persistence
from chainrule.data.source import DEFAULT_VALIDATION, Parts, Rows, Source
from chainrule.data.tables import Table, as_table, read_table
from chainrule.data.target import Target, check_column
from chainrule.data.vocabulary import check_count
from chainrule.errors import DataError, NonFiniteError, ShapeError, UsageError

Floats = NDArray[np.float64]
_LEAST_WINDOW = 24


@dataclass(frozen=True)
class Forecast(Source):
    """The next `horizon` values of `column`, from the `window` rows before them.

    The rows of the table are moments in order of time. `inputs` names the columns that a window
    holds (None: the column itself and every other one of numbers). The end of the table is held
    out, a fifth unless told otherwise: `held_out` rows of it, whatever `validation` says. Without
    `window` it is 24 rows or twice the horizon, and at most a third of the training rows.
    """

    table: object
    column: str
    horizon: int = 1
    window: int | None = None
    inputs: tuple[str, ...] | None = None
    held_out: int | None = None

    def __post_init__(self) -> None:
        check_count("horizon", self.horizon, 1)
        if self.window is not None:
            check_count("window", self.window, 1)

    def parts(self, validation: float | None, seed: int) -> Parts:
        """Windows float32 [rows, window, columns] and the values after them [rows, horizon], both
        standardised with the training rows of the table; held-out rows come last.

        No training row reaches into what is held out; windows of held-out rows may reach back.
        `validation` is a share of the table's rows, or a number of them. Raises DataError for
        columns with missing or no numbers, rows out of order or too few of them.
        """
        is_path = isinstance(self.table, str | os.PathLike)
        table = read_table(self.table) if is_path else as_table(self.table)  # type: ignore[arg-type]
        rows = table.rows
        share = validation if self.held_out is None else self.held_out
        cut = rows - _held_out(share, rows)
        window = self.window or max(1, min(max(_LEAST_WINDOW, 2 * self.horizon), cut // 3))
        self._check_length(table, cut, window)
        columns, remarks = _columns(table, self.column, self.inputs, cut)
        scales = tuple(mean_and_std(column.values[:cut]) for column in columns)
        scaled = np.stack(
            [(c.values - mean) / std for c, (mean, std) in zip(columns, scales, strict=True)],
            axis=1,
        )
        first = 0 if cut == rows else cut - window  # of the held-out windows
        x, y = _windows(scaled[:cut], window, self.horizon)
        train = len(x)
        if cut < rows:
            more_x, more_y = _windows(scaled[first:], window, self.horizon)
            x, y = np.concatenate([x, more_x]), np.concatenate([y, more_y])
        names = tuple(column.name for column in columns)
        target = Target(self.column, "regression", "number", (), *scales[0])
        encoder = ForecastEncoder(
            table.name, rows, names, scales, window, self.horizon, target, tuple(remarks)
        )
        source: dict[str, JSON] = {
            **table.source,
            "kind": "forecast" if is_path else "dataframe",
            "column": self.column,
            "horizon": self.horizon,
            "window": window,
            "inputs": list(names),
            "held_out": rows - cut,
            "test_rows": len(x) - train,
        }
        dataset = Dataset(
            table.name,
            x.astype(np.float32),
            y.astype(np.float32),
            "regression",
            feature_names=(),
            source=source,
        )
        train_rows, held_out_rows = np.arange(train), np.arange(train, len(x))
        if len(held_out_rows):
            encoder = replace(encoder, compared=_compared(x, y, train, target))
        return Parts(dataset, encoder, train_rows, held_out_rows)

    def _check_length(self, table: Table, cut: int, window: int) -> None:
        least = window + self.horizon
        held_out = table.rows - cut
        if cut < least + 1 or 0 < held_out < self.horizon:
            part = "training" if cut < least + 1 else "held-out"
            raise DataError(
                f"{table.name} has {cut if part == 'training' else held_out} {part} rows, too few "
                f"for windows of {window} and a horizon of {self.horizon}",
                where=f"{table.rows} rows, of which the last {held_out} are held out",
                do="give more rows, or a shorter horizon or window",
            )

    @classmethod
    def from_json(cls, source: dict[str, Any], path: str) -> Forecast:
        """The forecast that a data set's `source` tells of, where the table is now."""
        return cls(
            path,
            source["column"],
            source["horizon"],
            source["window"],
            tuple(source["inputs"]),
            source["held_out"],
        )


@dataclass(frozen=True)
class ForecastEncoder:
    """Reads the end of a table as the window before a forecast, and gives forecasts their unit."""

    table: str
    rows: int
    columns: tuple[str, ...]  # the forecast one first
    scales: tuple[tuple[float, float], ...]  # mean and standard deviation of each
    window: int
    horizon: int
    target: Target
    remarks: tuple[str, ...] = ()
    compared: tuple[tuple[str, float], ...] = ()  # errors of simple forecasts

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """The last `window` rows of a table, float32 [1, window, columns]: what comes after them is
        predicted. An array [rows, window, columns] is taken as standardised already. Raises
        DataError for a table that is shorter, or lacks a column or a value."""
        if isinstance(data, np.ndarray):
            return Rows(numbers(data, "X"))
        table = read_table(data) if isinstance(data, str | os.PathLike) else as_table(data)
        if table.rows < self.window:
            raise DataError(
                f"{table.name} has {table.rows} rows, and a forecast needs the last {self.window}"
            )
        columns = [_numeric(table, name) for name in self.columns]
        x = [
            (column.values[-self.window :] - mean) / std
            for column, (mean, std) in zip(columns, self.scales, strict=True)
        ]
        return Rows(numbers(np.stack(x, axis=1)[None], "X"))

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Forecasts in the column's unit: of one window a row for each step ahead, of several a
        column for each, from outputs [rows, horizon]."""
        values = np.asarray(outputs, np.float64) * self.target.std + self.target.mean
        if values.shape != (len(values), self.horizon):
            raise ShapeError(f"the forecasts have the shape {values.shape}")
        if not np.isfinite(values).all():
            raise NonFiniteError("the network's forecast is not finite")
        if len(values) == 1:
            return {"step": np.arange(1, self.horizon + 1), self.target.name: values[0]}
        return {f"{self.target.name} + {i + 1}": values[:, i] for i in range(self.horizon)}

    def describe(self) -> str:
        """One line: the table, the window, what is forecast."""
        several = f" of {len(self.columns)} columns" if len(self.columns) > 1 else ""
        ahead = "the next value" if self.horizon == 1 else f"the next {self.horizon} values"
        return (
            f"{self.table}: {self.rows} rows, windows of {self.window}{several} -> {ahead} of "
            f"{self.target.name}"
        )

    def notes(self) -> tuple[str, ...]:
        """What was left out, and what simple forecasts are worth, a line each."""
        if not self.compared:
            return self.remarks
        worth = f"mean absolute error on the held-out rows, to compare with: {self.comparison()}"
        return (*self.remarks, worth)

    def comparison(self) -> str:
        """The mean absolute errors of simple forecasts on the held-out rows, in words."""
        return ", ".join(f"{name} {error:.4g}" for name, error in self.compared)

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values."""
        return {
            "kind": "forecast",
            "table": self.table,
            "rows": self.rows,
            "columns": list(self.columns),
            "means": [mean for mean, _ in self.scales],
            "stds": [std for _, std in self.scales],
            "window": self.window,
            "horizon": self.horizon,
            "target": self.target.to_json(),
            "remarks": list(self.remarks),
            "compared": [list(pair) for pair in self.compared],
        }

    @classmethod
    def from_json(cls, json: JSON) -> ForecastEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the forecast encoder")
        columns, means, stds = fields.names("columns"), fields.list("means"), fields.list("stds")
        fields.check(len(columns) == len(means) == len(stds) > 0, "columns")
        fields.check(all(isinstance(mean, float) for mean in means), "means")
        fields.check(all(isinstance(std, float) and std > 0 for std in stds), "stds")
        window, horizon = fields.count("window"), fields.count("horizon")
        compared = fields.list("compared") if "compared" in fields.json else []  # not in old files
        fields.check(all(_is_pair(pair) for pair in compared), "compared")
        fields.check(window > 0, "window")
        fields.check(horizon > 0, "horizon")
        return cls(
            fields.text("table"),
            fields.count("rows"),
            columns,
            tuple(zip(means, stds, strict=True)),
            window,
            horizon,
            Target.from_json(fields.object("target")),
            fields.names("remarks"),
            tuple((name, error) for name, error in compared),
        )


def _is_pair(pair: object) -> bool:
    """Whether this is a name and a number, as JSON has them."""
    return isinstance(pair, list) and [type(item) for item in pair] == [str, float]


def _windows(series: Floats, window: int, horizon: int) -> tuple[Floats, Floats]:
    """Every window of a series [time, columns] that has its horizon: [rows, window, columns] and
    the first column after each, [rows, horizon]."""
    views = np.lib.stride_tricks.sliding_window_view(series, window + horizon, axis=0)
    both: Floats = views.swapaxes(1, 2)
    return both[:, :window], both[:, window:, 0]


def _held_out(share: float | None, rows: int) -> int:
    share = DEFAULT_VALIDATION if share is None else share
    limit = rows if isinstance(share, int) else 1
    if isinstance(share, bool) or not 0 <= share < limit:
        raise UsageError(
            f"validation is {share!r}",
            do=f"give a share of the rows such as 0.2, or a number of the {rows} rows (0 for none)",
        )
    return share if isinstance(share, int) else round(rows * share)


def _columns(
    table: Table, target: str, inputs: Sequence[str] | None, cut: int
) -> tuple[list[Column], list[str]]:
    """The columns of a window, the forecast one first, and remarks on the others."""
    check_column(table, target, "forecast")
    goal = _numeric(table, target)
    if bool((goal.values[:cut] == goal.values[0]).all()):
        raise DataError(f"{target!r} is the same in every training row: there is nothing to learn")
    if inputs is not None:
        for name in inputs:
            check_column(table, name, "input")
        return [goal, *(_numeric(table, name) for name in inputs if name != target)], []
    kept, left_out = [goal], []
    for name in table.columns:
        if name == target:
            continue
        column = read_column(table, name)
        if column.kind == "time":
            _check_order(column, table)
        if column.kind not in ("number", "boolean") or _says_nothing(column.values[:cut]):
            left_out.append(name)
            continue
        kept.append(_numeric(table, name))
    if not left_out:
        return kept, []
    return kept, [f"left out {listed(left_out)}: dates, counters, text or a single value"]


def _says_nothing(values: Floats) -> bool:
    """Whether values are all one, or count evenly upwards: their future is outside their past."""
    steps = np.diff(values[np.isfinite(values)])
    return bool(len(steps) == 0 or ((steps >= 0).all() and np.ptp(steps) <= 1e-9 * steps.max()))


def _numeric(table: Table, name: str) -> Column:
    """A column of numbers without gaps, or the DataError that names the first one."""
    check_column(table, name, "forecast")
    column = read_column(table, name)
    if column.kind not in ("number", "boolean"):
        column = read_column(table, name, "number")  # raises at the first value that is none
    missing = np.flatnonzero(column.missing)
    if len(missing):
        raise DataError(
            f"column {name!r} has no value in {table.places(missing)}, and a series has no gaps",
            where=table.counting(),
            do="fill in the values, or leave the column out",
        )
    check_finite(column, table)
    return column


def _check_order(column: Column, table: Table) -> None:
    present = column.values[~column.missing]
    back = np.flatnonzero(np.diff(present.astype(np.int64)) <= 0)
    if len(back):
        row = int(np.flatnonzero(~column.missing)[back[0] + 1])
        raise DataError(
            f"the rows are not in order of time: {column.name!r} goes back or stands still in "
            f"{table.place(row)}",
            where=table.counting(),
            do="sort the rows by time, one row for each moment; several series go into columns",
        )


def _compared(x: Floats, y: Floats, train: int, target: Target) -> tuple[tuple[str, float], ...]:
    """Simple forecasts, and their mean absolute errors on the held-out rows."""
    truth = y[train:]
    simple = {
        "the last value again": persistence(x[train:, :, 0], y.shape[1]),
        "a linear autoregression": autoregression(x[:train], y[:train])(x[train:]),
    }
    return tuple(
        (name, float(np.abs(found - truth).mean()) * target.std) for name, found in simple.items()
    )
