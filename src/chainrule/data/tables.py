"""Tables from files, standard input and DataFrames, as one type: `Table`.

Files are read by polars, DataFrames of any library through narwhals; both are imported only here
and only when a table is read. The values of a CSV file stay text in a `Table`: which type a column
has is settled in `columns`, where the file that was trained on and a file that is predicted can be
read in the same way.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data import delimited
from chainrule.data.dataset import JSON
from chainrule.data.pictures import SUFFIXES as PICTURES
from chainrule.data.sound_files import SUFFIXES as SOUNDS
from chainrule.errors import CHECK_PATH, DataError, FileError, UsageError, nearest

_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length, and where each row came from.

    `columns` holds narwhals series, in order. `typed` is False for CSV, whose values are text as it
    stands in the file (stripped, None where nothing stands). `lines` holds the line of the file for
    each row, where rows have lines. `decimal_comma` says that "1,5" may be a number (a CSV file
    divided by semicolons). `source` says where the table came from, in JSON values.
    """

    name: str
    rows: int
    columns: Mapping[str, Any]
    typed: bool = True
    lines: NDArray[np.int64] | None = None
    decimal_comma: bool = False
    source: dict[str, JSON] = field(default_factory=dict)

    def place(self, row: int) -> str:
        """Where a row (counted from 0) is, in words: its line in the file where it has one."""
        if self.lines is None:
            return f"row {row}"
        return f"line {self.lines[row]}"

    def counting(self) -> str:
        """What `place` counts, to be said beside it."""
        if self.lines is None:
            return f"{self.name}; rows are counted from 0"
        header = "" if self.typed else ", the header with them"
        return f"{self.name}; lines of the file are counted from 1{header}"

    def places(self, rows: NDArray[np.int64], most: int = 5) -> str:
        """Several places in words, and how many more there are."""
        noun = "row" if self.lines is None else "line"
        numbers = rows if self.lines is None else self.lines[rows]
        shown = ", ".join(str(n) for n in numbers[:most])
        more = f", and {len(rows) - most} more" if len(rows) > most else ""
        return f"{noun}{'' if len(rows) == 1 else 's'} {shown}{more}"


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table from a file, or from standard input where `path` is "-".

    The suffix says how: .csv, .tsv, .parquet, .jsonl or .ndjson (JSON lines), the text formats also
    with .gz behind; standard input is told apart by its first bytes. CSV may be divided by commas,
    semicolons, tabs or bars. Raises FileError for a file that cannot be read or is not what its
    suffix says, DataError for contents that are no table (empty, header only, rows of unequal
    length with the line, repeated column names), UsageError for an unknown suffix and where polars
    is not installed.
    """
    name, suffix, content = _standard_input() if str(path) == "-" else _file(Path(path))
    source: dict[str, JSON] = {"kind": "table", "path": str(path), "format": suffix[1:]}
    return replace(parse_table(content, name, suffix), source=source)


def parse_table(content: bytes, name: str, suffix: str, skipped: int = 0) -> Table:
    """A table from the bytes of a file, by its suffix (".csv"); errors as in `read_table`.

    `skipped` counts lines of the file that are not in `content`: behind the header of CSV.
    """
    return _READERS[suffix](content, name, skipped)


def as_table(frame: object, name: str = "table") -> Table:
    """A `Table` from a DataFrame of pandas, polars, pyarrow or any other library narwhals knows.

    A `Table` is returned as it is. Raises DataError for repeated column names or no rows,
    UsageError for anything that is not a DataFrame in memory.
    """
    if isinstance(frame, Table):
        return frame
    nw = _optional("narwhals")
    if type(frame).__name__ == "LazyFrame":
        raise UsageError("a LazyFrame has no values yet", do="give frame.collect()")
    try:
        wrapped = nw.from_native(frame, eager_only=True)
        names = [str(column) for column in wrapped.columns]
        columns = {str(column): wrapped.get_column(column) for column in wrapped.columns}
    except nw.exceptions.DuplicateError:
        # pyarrow calls its names `column_names`
        found: Any = getattr(frame, "column_names", None) or getattr(frame, "columns", ())
        names, columns = [str(column) for column in found], {}
    except TypeError:
        raise UsageError(
            f"an object of type {type(frame).__name__} is no table",
            do="give a DataFrame (pandas, polars, pyarrow), a path, or a pair of arrays (X, y)",
        ) from None
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{name} has more than one column named {repeated[0]!r}",
            do="give each column its own name",
        )
    if not columns or len(wrapped) == 0:
        raise DataError(
            f"{name} has no {'rows' if columns else 'columns'}", do="give at least one of each"
        )
    return Table(name, len(wrapped), columns, source={"kind": "dataframe"})


def _file(path: Path) -> tuple[str, str, bytes]:
    """(name, suffix, bytes) of a file; the bytes are no longer compressed."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = ["", *suffixes][-2 if compressed else -1]
    if path.is_dir():
        raise FileError(f"{path} is a directory, not a table", do="give the path of a file")
    if suffix not in _SUFFIXES:
        array_hint = "; a .json file with one object a line is .jsonl" if suffix == ".json" else ""
        do = f"known: {', '.join(_SUFFIXES)}; the text formats also with .gz{array_hint}"
        if suffix in PICTURES | SOUNDS:
            do = "pictures and sounds come as a folder with a sub-folder for each class"
        raise UsageError(
            f"{path.name}: the suffix {suffix or '(none)'} is not one of a table", do=do
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"there is no file {path}", do=_nearest_file(path)) from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    return path.name, suffix, _decompressed(content, path.name) if compressed else content


def _standard_input() -> tuple[str, str, bytes]:
    name = "standard input"
    if sys.stdin is None:
        raise FileError(f"{name} is closed", do="give a table in it, or the path of a file")
    try:
        content = sys.stdin.buffer.read()
    except OSError as error:
        raise FileError(f"{name} cannot be read: {error.strerror or error}") from error
    if content.startswith(_GZIP_MAGIC):
        content = _decompressed(content, name)
    if content.startswith(b"PAR1"):
        return name, ".parquet", content
    return name, ".jsonl" if content.lstrip().startswith(b"{") else ".csv", content


def _decompressed(content: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{name} is not a whole gzip file: {error}") from None


def _nearest_file(path: Path) -> str:
    try:
        close = nearest(path.name, os.listdir(path.parent))
    except OSError:
        return f"there is no directory {path.parent} either"
    return f"did you mean {path.with_name(close)}?" if close else CHECK_PATH


def _read_csv(content: bytes, name: str, skipped: int) -> Table:
    return _delimited(delimited.check(content, name, skipped=skipped), name)


def _read_tsv(content: bytes, name: str, skipped: int) -> Table:
    return _delimited(delimited.check(content, name, "\t", skipped), name)


def _delimited(checked: delimited.Delimited, name: str) -> Table:
    pl, nw = _optional("polars"), _optional("narwhals")
    try:
        frame = pl.read_csv(checked.content, separator=checked.delimiter, infer_schema=False)
    except pl.exceptions.PolarsError:
        line = delimited.stray_quote(checked)
        raise delimited.malformed(name, line, "its quotes do not match") from None
    if len(frame) != len(checked.lines):
        line = delimited.stray_quote(checked)
        raise delimited.malformed(name, line, "its quotes do not match")
    frame.columns = list(checked.names)
    frame = frame.select(pl.all().str.strip_chars().replace("", None))
    columns = {column: nw.from_native(frame[column], series_only=True) for column in frame.columns}
    # Only where semicolons divide: elsewhere a comma is more likely to group thousands.
    return Table(name, len(frame), columns, False, checked.lines, checked.delimiter == ";")


def _read_parquet(content: bytes, name: str, skipped: int) -> Table:
    pl = _optional("polars")
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise FileError(
            f"{name} is not a whole Parquet file", where=str(error).partition("\n")[0]
        ) from None
    return as_table(frame, name)


def _read_json_lines(content: bytes, name: str, skipped: int) -> Table:
    pl = _optional("polars")
    content = content.removeprefix(b"\xef\xbb\xbf")
    first = 1 + skipped
    filled = [line for line, text in enumerate(io.BytesIO(content), first) if text.strip()]
    if not filled:
        raise DataError(f"{name} is empty", do="give one JSON object a line")
    try:
        frame = pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise _bad_json_line(content, name, str(error).partition("\n")[0], first) from None
    lines = np.array(filled, dtype=np.int64)
    return replace(as_table(frame, name), lines=lines if len(lines) == len(frame) else None)


def _bad_json_line(content: bytes, name: str, why: str, first: int) -> DataError:
    """The error for the first line that is not a JSON object."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON; a missing value is null")

    do = 'write one JSON object a line, such as {"x": 1.5, "label": "a"}'
    for line, text in enumerate(io.BytesIO(content), first):
        try:
            if text.strip() and not isinstance(json.loads(text, parse_constant=refuse), dict):
                raise ValueError("it is not an object")
        except ValueError as error:
            found = getattr(error, "msg", error)  # of a JSONDecodeError, without its place
            return DataError(f"{name} is not JSON lines: {found}", where=f"line {line}", do=do)
    return DataError(f"{name} is not JSON lines: {why}", do=do)


def _optional(module: str) -> ModuleType:
    """Import polars or narwhals, or say how to install them."""
    try:
        if module == "polars":
            import polars

            return polars
        import narwhals

        return narwhals
    except ImportError:
        raise UsageError(
            f"tables are read with {module}, which is not installed",
            do="pip install 'chainrule[tables]'",
        ) from None


_READERS: dict[str, Callable[[bytes, str, int], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
