"""One column of a table as a plain array, with the kind of thing it holds.

The kinds: "number" and "boolean" (float64, NaN where missing), "text" (object, None where missing),
"time" (dates and datetimes, datetime64[us] in UTC, NaT where missing) and "other" (lists, bytes and
whatever else cannot be learned from; no values are kept).

A CSV column is a number where every value parses as one, a boolean where every value is true or
false in any case, a time where every value is an ISO date or datetime, else text. In a number, a
boolean or a time the words of `MISSING` stand for a missing value; in text they are values.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.labels import label
from chainrule.data.tables import Table
from chainrule.errors import DataError

MISSING = frozenset(
    "NA N/A n/a na NaN nan null NULL Null None none nil ? - . #N/A #VALUE! #DIV/0!".split()
)

_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?")
_NAMES = {"number": "numbers", "boolean": "true and false", "time": "dates (YYYY-MM-DD)"}


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one column.

    `whole` says that its numbers are of an integer type, `decimal_comma` that they were written as
    1,5.
    """

    name: str
    kind: str
    values: NDArray[Any]
    whole: bool = False
    decimal_comma: bool = False

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which rows have no value: bool [rows]."""
        if self.kind == "text":
            return np.array([value is None for value in self.values.tolist()], dtype=np.bool_)
        is_missing: NDArray[np.bool_] = (
            np.isnat(self.values) if self.kind == "time" else np.isnan(self.values)
        )
        return is_missing


def read_column(table: Table, name: str, kind: str | None = None) -> Column:
    """The column `name` of a table, as what it is or, with `kind`, as what it must be.

    A column in which every value is missing is a number, or whatever `kind` asks for. Raises
    DataError where a value does not fit `kind`, with its row and the value.
    """
    series = table.columns[name]
    if not table.typed:
        return _from_text(table, name, kind)
    column = _from_typed(name, series)
    if kind is None or column.kind == kind:
        return column
    converted = _converted(column, kind, table.rows)
    if converted is None:
        present = np.flatnonzero(~column.missing) if column.kind != "other" else [0]
        row = int(present[0])
        raise _misfit(table, name, kind, row, series.to_list()[row])
    return converted


def misread_number(column: Column) -> tuple[int, int] | None:
    """Text that is 90 % numbers or more: (the first row that is none, how many are none)."""
    bad: list[int] = []
    present = [(row, v) for row, v in enumerate(column.values.tolist()) if v is not None]
    for row, value in present:
        if not _is_number(value) and value not in MISSING:
            bad.append(row)
            if len(bad) > 0.1 * len(present):
                return None
    return (bad[0], len(bad)) if bad else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _misfit(table: Table, name: str, kind: str, row: int, value: object) -> DataError:
    """The error for a value that is not of the column's kind."""
    shown = "text" if isinstance(value, str) else type(value).__name__
    return DataError(
        f"column {name!r} must hold {_NAMES.get(kind, kind)}, and in {table.place(row)} it holds "
        f"the {shown} {value!r}",
        where=table.counting(),
        do="mend this value, or leave it empty where it is missing",
    )


# -- text of a CSV file ---------------------------------------------------------------------------


def _from_text(table: Table, name: str, kind: str | None) -> Column:
    text = table.columns[name].to_native()  # polars, stripped, null where nothing stands
    if text.null_count() == len(text):
        return _all_missing(name, kind or "number", len(text))
    if kind is None:
        return _recognised(text, table)
    if kind == "text":
        return Column(name, "text", _objects(text.to_list()))
    column, bad = _PARSERS[kind](text, table)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise _misfit(table, name, kind, row, text[row])
    return column


def _recognised(text: Any, table: Table) -> Column:
    """The first kind that reads every value, at least one of them as present; else text."""
    is_code = text.str.contains(r"^0\d+$").any()  # 007 is a code: as a number it would lose zeros
    for parse in _PARSERS.values() if not is_code else ():
        column, bad = parse(text, table)
        if not bad.any() and not column.missing.all():
            return column
    return Column(text.name, "text", _objects(text.to_list()))


def _parse_numbers(text: Any, table: Table) -> tuple[Column, NDArray[np.bool_]]:
    import polars as pl

    def parse(text: Any) -> tuple[Any, Any]:
        parsed = text.cast(pl.Float64, strict=False).fill_nan(None)
        return parsed, _unread(text, parsed.is_not_null())

    parsed, bad = parse(text)
    commas = bool(table.decimal_comma and bad.any())
    if commas and not text.str.contains(".", literal=True).any():
        parsed, bad = parse(text.str.replace(",", ".", literal=True))
    whole = text.cast(pl.Int64, strict=False).is_not_null() == parsed.is_not_null()
    values = parsed.fill_null(float("nan")).to_numpy()
    return Column(text.name, "number", values, bool(whole.all()), commas), bad.to_numpy()


def _parse_booleans(text: Any, table: Table) -> tuple[Column, NDArray[np.bool_]]:
    lower = text.str.to_lowercase()
    true, false = (lower == "true").fill_null(False), (lower == "false").fill_null(False)
    values = np.where(true.to_numpy(), 1.0, np.where(false.to_numpy(), 0.0, np.nan))
    return Column(text.name, "boolean", values), _unread(text, true | false).to_numpy()


def _unread(text: Any, read: Any) -> Any:
    """Which values could not be read and do not stand for a missing one (polars, boolean)."""
    unread = ~read & text.is_not_null()
    if not unread.any():
        return unread
    return unread & ~text.is_in(list(MISSING)).fill_null(False)


def _parse_times(text: Any, table: Table) -> tuple[Column, NDArray[np.bool_]]:
    values = np.full(len(text), "NaT", dtype="datetime64[us]")
    bad = np.zeros(len(text), dtype=bool)
    for row, value in enumerate(text.to_list()):
        if value is None or value in MISSING:
            continue
        moment = _moment(value)
        if moment is None:
            bad[row] = True
            break
        values[row] = moment
    return Column(text.name, "time", values), bad


def _moment(text: str) -> np.datetime64 | None:
    """An ISO date or datetime in UTC (as it stands where it names no zone), or None."""
    if not _ISO_TIME.fullmatch(text):
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        return None
    return _utc(moment)


def _utc(moment: dt.date | dt.datetime) -> np.datetime64:
    if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


_Parser = Callable[[Any, Table], tuple[Column, NDArray[np.bool_]]]
_PARSERS: dict[str, _Parser] = {
    "number": _parse_numbers,
    "boolean": _parse_booleans,
    "time": _parse_times,
}


# -- typed columns of a DataFrame -----------------------------------------------------------------


def _from_typed(name: str, series: Any) -> Column:
    import narwhals as nw

    dtype = series.dtype
    if series.null_count() == len(series):
        return _all_missing(name, "number", len(series))
    if dtype == nw.Boolean:
        return _from_objects(name, series.to_list())
    if dtype.is_numeric():
        return Column(name, "number", _floats(series.to_numpy()), dtype.is_integer())
    if dtype in (nw.String, nw.Categorical, nw.Enum):
        return Column(name, "text", _objects(_text_or_none(series.to_list())))
    if dtype in (nw.Date, nw.Datetime):
        if getattr(dtype, "time_zone", None) is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Column(name, "time", np.asarray(series.to_numpy(), dtype="datetime64[us]"))
    if dtype == nw.Duration:
        return Column(name, "number", _seconds(series.to_numpy()))
    if dtype in (nw.Object, nw.Time, nw.Unknown):
        return _from_objects(name, series.to_list())
    return Column(name, "other", np.empty(0))


def _from_objects(name: str, values: Sequence[Any]) -> Column:
    """A column of Python objects, by the type that all of its values share."""
    present = [v for v in values if not _is_missing(v)]
    if not present:
        return _all_missing(name, "number", len(values))
    if all(isinstance(v, (bool, np.bool_)) for v in present):
        return Column(name, "boolean", _map(values, float, np.nan, np.float64))
    if all(isinstance(v, dt.time) for v in present):
        seconds = _map(values, _seconds_of_day, np.nan, np.float64)
        return Column(name, "number", seconds)
    if all(isinstance(v, dt.date) for v in present):  # a datetime is a date
        return Column(name, "time", _map(values, _utc, np.datetime64("NaT"), "datetime64[us]"))
    if all(isinstance(v, (int, np.integer)) for v in present):
        return Column(name, "number", _map(values, float, np.nan, np.float64), whole=True)
    if all(hasattr(v, "__float__") for v in present):
        return Column(name, "number", _map(values, float, np.nan, np.float64))
    if all(isinstance(v, (str, int, float, np.number)) for v in present):
        return Column(name, "text", _objects(_text_or_none(values)))
    return Column(name, "other", np.empty(0))


def _is_missing(value: Any) -> bool:
    """None, NaN, and pandas' NaT and NA."""
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _map(
    values: Sequence[Any], convert: Callable[[Any], Any], gap: Any, dtype: Any
) -> NDArray[Any]:
    return np.array([gap if _is_missing(v) else convert(v) for v in values], dtype=dtype)


def _text_or_none(values: Sequence[Any]) -> list[str | None]:
    """Text stripped as in a CSV file; None for a missing value and for text with nothing in it."""
    return [None if _is_missing(v) else (label(v).strip() or None) for v in values]


def _floats(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype == object:  # decimals
        return _map(values.tolist(), float, np.nan, np.float64)
    return values.astype(np.float64)


def _seconds(values: NDArray[Any]) -> NDArray[np.float64]:
    spans = np.asarray(values, dtype="timedelta64[us]")
    seconds = spans.astype(np.int64) / 1e6
    return np.where(np.isnat(spans), np.nan, seconds)


def _seconds_of_day(time: dt.time) -> float:
    return time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6


# -- one kind as another --------------------------------------------------------------------------


def _converted(column: Column, kind: str, rows: int) -> Column | None:
    """A column as another kind, where every value can be: numbers as text, 0 and 1 as booleans."""
    if column.kind == "other":
        return None
    if column.missing.all():
        return _all_missing(column.name, kind, rows)
    name, values = column.name, column.values
    if kind == "text" and column.kind != "time":
        convert = (lambda v: label(bool(v))) if column.kind == "boolean" else label
        texts = [
            None if m else convert(v) for v, m in zip(values.tolist(), column.missing, strict=True)
        ]
        return Column(name, "text", _objects(texts))
    if kind == "number" and column.kind == "boolean":
        return Column(name, "number", values)
    if kind == "boolean" and column.kind == "number":
        is_flag = bool((np.isin(values, (0, 1)) | column.missing).all())
        return Column(name, "boolean", values) if is_flag else None
    return None


def _all_missing(name: str, kind: str, rows: int) -> Column:
    if kind == "text":
        return Column(name, "text", np.full(rows, None, dtype=object))
    if kind == "time":
        return Column(name, "time", np.full(rows, "NaT", dtype="datetime64[us]"))
    return Column(name, kind, np.full(rows, np.nan))


def _objects(values: Sequence[str | None]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
