"""A table that is larger than memory, a piece at a time."""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from chainrule.data.tables import Table, parse_table
from chainrule.errors import CHECK_PATH, DataError, FileError, UsageError

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")


def table_pieces(path: str | os.PathLike[str], rows: int = 10_000) -> Iterator[Table]:
    """The table of a CSV, TSV or JSON-lines file (also with .gz behind) as tables of up to `rows`
    rows, in order; errors name the lines of the file.

    Only one piece is in memory at a time, so a `TableEncoder` that was fitted on a part encodes
    files of any length:

        write_rows("x.npy", (encoder.encode(piece) for piece in table_pieces("large.csv")))

    Raises what `read_table` raises, when the piece is reached.
    """
    place = Path(path)
    suffixes = [suffix.lower() for suffix in place.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = ["", *suffixes][-2 if packed else -1]
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"{place.name}: a file {suffix or 'without a suffix'} is not read in pieces",
            do=f"known: {', '.join(_SUFFIXES)}, also with .gz behind",
        )
    if rows < 1:
        raise UsageError(f"a piece of {rows} rows", do="give 1 or more")
    if not place.is_file():
        raise FileError(f"there is no file {place}", do=CHECK_PATH)
    return _pieces(place, packed, suffix, rows)


def _pieces(place: Path, packed: bool, suffix: str, rows: int) -> Iterator[Table]:
    name, header, line, found = place.name, b"", 0, False
    try:
        with gzip.open(place) if packed else place.open("rb") as file:
            if suffix in (".csv", ".tsv"):
                header = next(filter(bytes.strip, _records(file)), b"")
            records = _records(file) if header else iter(file)
            while block := list(itertools.islice(records, rows)):
                if any(map(bytes.strip, block)):
                    found = True
                    yield parse_table(header + b"".join(block), name, suffix, line)
                line += sum(record.count(b"\n") for record in block)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{place} cannot be read to its end: {error}") from None
    if not found:
        raise DataError(f"{name} has no rows", do="give a table with at least one")


def _records(file: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a CSV file: lines, or several of them where a quote is open at a line end."""
    pending = b""
    for line in file:
        pending += line
        if pending.count(b'"') % 2 == 0:
            yield pending
            pending = b""
    if pending:
        yield pending
