"""What polars does not say about a CSV file: which line is wrong.

Receives: the bytes of a file. Returns: checked bytes, the delimiter, the column names, and the line
of the file at which each row starts. Next: `tables`, where polars reads the values.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError, FileError

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Delimited:
    """A checked CSV file: every row has as many fields as the header has names."""

    text: bytes  # the file as UTF-8, without a byte order mark
    content: bytes  # the same without blank lines, some of which polars takes for rows
    delimiter: str
    names: tuple[str, ...]
    lines: NDArray[np.int64]  # [rows]: where each row starts; the first line of the file is 1
    skipped: int  # lines of the file between the header and the rows that are here


def check(content: bytes, name: str, delimiter: str | None = None, skipped: int = 0) -> Delimited:
    """Check the bytes of a CSV file; `delimiter` None finds it in the header, and `skipped` counts
    lines of the file that were left out behind it.

    Raises DataError for a file that is empty, has a header only, repeats a column name, or has a
    row with too few or too many fields (with its line), FileError for text that is not UTF-8.
    """
    content = _plain_text(content, name)
    if not content.strip():
        raise DataError(f"{name} is empty", do="give a file with a header line and rows")
    delimiter = delimiter or _delimiter(content)
    lines, fields, blank = _records(content, delimiter, name, skipped)
    names = _header(content, delimiter, name)
    if len(lines) < 2:
        raise DataError(
            f"{name} has a header and no rows",
            where=f"columns: {', '.join(names)}",
            do="give at least one row below the header",
        )
    _check_fields(lines, fields, delimiter, name)
    without_blank = _without_blank_lines(content) if blank else content
    return Delimited(content, without_blank, delimiter, names, lines[1:], skipped)


def _plain_text(content: bytes, name: str) -> bytes:
    """UTF-8 without a byte order mark, lines ended by a newline; or the error that says where."""
    if content.startswith(b"PK\x03\x04"):
        raise FileError(
            f"{name} is a spreadsheet or zip file, not text", do="export the sheet as CSV (UTF-8)"
        )
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
            raise FileError(
                f"{name} is not UTF-8 text",
                where=f"line {line}, byte 0x{content[error.start]:02x}",
                do=f"save it as UTF-8, perhaps by: iconv -f {encoding} -t utf-8 OLD.csv > NEW.csv",
            ) from None
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # line ends of the old Macintosh
    return content


def _delimiter(content: bytes) -> str:
    """The delimiter that occurs most often in the header, outside quotes; a comma at a tie."""
    header = content.lstrip().split(b"\n", 1)[0].decode("utf-8")
    outside = "".join(header.split('"')[0::2])
    counts = Counter({mark: outside.count(mark) for mark in _DELIMITERS})
    return counts.most_common(1)[0][0]


def _header(content: bytes, delimiter: str, name: str) -> tuple[str, ...]:
    """The column names, stripped; a column without a name is called after its place."""
    first = next(row for row in _reader(content, delimiter) if row)
    names = tuple(field.strip() or f"column {i}" for i, field in enumerate(first, 1))
    repeated = [n for n, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{name} has more than one column named {repeated[0]!r}",
            where="the header, line 1",
            do="give each column its own name (and a header line, if the file has none)",
        )
    return names


def _records(
    content: bytes, delimiter: str, name: str, skipped: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """The line at which each record starts, its number of fields, and whether lines are blank."""
    lines: list[int] = []
    fields: list[int] = []
    blank = False
    if b'"' not in content:  # no quotes: a record is a line, and counting delimiters is exact
        mark = delimiter.encode()
        for number, line in enumerate(io.BytesIO(content), 1):
            if line.strip(b"\r\n"):
                lines.append(number)
                fields.append(line.count(mark) + 1)
            else:
                blank = True
    else:
        reader = _reader(content, delimiter)
        start = 1
        limit = csv.field_size_limit(len(content))  # a whole document may stand in one field
        try:
            for row in reader:
                if row:
                    lines.append(start)
                    fields.append(len(row))
                else:
                    blank = True
                start = reader.line_num + 1
        except csv.Error as error:
            is_open = "unexpected end" in str(error)
            why = "a quote is not closed" if is_open else str(error)
            raise malformed(name, start + (skipped if lines else 0), why) from None
        finally:
            csv.field_size_limit(limit)
    starts = np.array(lines, dtype=np.int64)
    starts[1:] += skipped
    return starts, np.array(fields, dtype=np.int64), blank


def _reader(content: bytes, delimiter: str) -> Any:  # the type of csv.reader has no name
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    return csv.reader(text, delimiter=delimiter, strict=True)


def malformed(name: str, line: int | None, why: str) -> DataError:
    """The error for text that breaks the rules of CSV quoting."""
    return DataError(
        f"{name} cannot be read as CSV: {why}",
        where=None if line is None else f"line {line}",
        do='put a field that holds a delimiter, a quote or a line break in "quotes", and write '
        'a quote inside it twice: ""',
    )


def stray_quote(checked: Delimited) -> int | None:
    """The first line with an odd number of quotes, where a quote is probably not closed."""
    for line, text in enumerate(io.BytesIO(checked.text), 1):
        if text.count(b'"') % 2:
            return line + checked.skipped
    return None


def _check_fields(
    lines: NDArray[np.int64], fields: NDArray[np.int64], delimiter: str, name: str
) -> None:
    wrong = np.flatnonzero(fields != fields[0])
    if len(wrong) == 0:
        return
    first = wrong[0]
    found = "1 field" if fields[first] == 1 else f"{fields[first]} fields"
    raise DataError(
        f"{name} has {found} in line {lines[first]}, and its header names {fields[0]} columns",
        where=f"{len(wrong)} of {len(lines) - 1} rows differ; fields are divided by a "
        f"{_NAMES.get(delimiter, repr(delimiter))}",
        do=f"mend {'this row' if len(wrong) == 1 else 'these rows'}, or put fields that hold a "
        f"{_NAMES.get(delimiter, 'delimiter')} in quotes",
    )


def _without_blank_lines(content: bytes) -> bytes:
    """The text without the blank lines that stand outside quotes."""
    kept = io.BytesIO()
    quotes = 0
    for line in io.BytesIO(content):
        if line.strip(b"\r\n") or quotes % 2:
            kept.write(line)
        quotes += line.count(b'"')
    return kept.getvalue()
