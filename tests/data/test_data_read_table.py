"""Reading tables: every format, and every way a file can be wrong with its line."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from chainrule.data import Table, as_table, read_table
from chainrule.data.columns import read_column
from chainrule.errors import DataError, FileError, UsageError

FRAME = pl.DataFrame({"a": [1.5, None, 3.0], "b": ["x", "y", None]})
ROWS: list[list[Any]] = [[1.5, None, 3.0], ["x", "y", None]]
TORN_GZIP = gzip.compress(b"a,b\n1,2\n", mtime=0)[:-4]


def values(table: Table) -> list[list[Any]]:
    columns = [read_column(table, name) for name in table.columns]
    return [
        [None if gap else v for v, gap in zip(c.values.tolist(), c.missing, strict=True)]
        for c in columns
    ]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.tsv", "t.parquet", "t.jsonl", "t.ndjson"])
def test_every_format_gives_the_same_table(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        FRAME.write_parquet(path)
    elif "json" in name:
        FRAME.write_ndjson(path)
    else:
        FRAME.write_csv(path, separator="\t" if name.endswith("tsv") else ",")
    table = read_table(path)
    assert (table.name, table.rows, list(table.columns)) == (name, 3, ["a", "b"])
    assert values(table) == ROWS
    assert table.source["path"] == str(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_compressed_text_is_read(suffix: str, tmp_path: Path) -> None:
    plain = FRAME.write_csv() if suffix == ".csv" else FRAME.write_ndjson()
    path = tmp_path / f"table{suffix}.gz"
    path.write_bytes(gzip.compress(plain.encode(), mtime=0))
    assert values(read_table(path)) == ROWS


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "gz"])
def test_standard_input_is_told_apart_by_its_first_bytes(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = io.BytesIO()
    FRAME.write_parquet(parquet)
    content = {
        "csv": FRAME.write_csv().encode(),
        "jsonl": FRAME.write_ndjson().encode(),
        "parquet": parquet.getvalue(),
        "gz": gzip.compress(FRAME.write_csv().encode(), mtime=0),
    }[form]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    table = read_table("-")
    assert values(table) == ROWS
    assert table.name == "standard input"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(mark: str, write: Any) -> None:
    path = write("t.csv", f'a{mark}"b,;|"{mark}c\n1{mark}2{mark}"x{mark}y"\n')
    table = read_table(path)
    assert list(table.columns) == ["a", "b,;|", "c"]
    assert values(table) == [[1], [2], [f"x{mark}y"]]


def test_a_decimal_comma_is_read_where_semicolons_divide(write: Any) -> None:
    table = read_table(write("t.csv", "a;b;c\n1,5;1,5;2\n-2;x;1,5\n"))
    assert values(table) == [[1.5, -2], ["1,5", "x"], [2, 1.5]]
    assert values(read_table(write("t.csv", 'a,b\n"1,5",2\n'))) == [["1,5"], [2]]
    assert values(read_table(write("t.tsv", "a\tb\n1,000\t2\n"))) == [["1,000"], [2]]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1.5,x\n,y\n3.0,\n",
        "a,b\n1.5,x\n,y\n3.0,",
        "\ufeffa,b\r\n1.5,x\r\n,y\r\n3.0,\r\n",
        "\n\na,b\n\n1.5,x\n\n,y\n3.0,\n\n\n",
        "a,b\r1.5,x\r,y\r3.0,\r",
        'a , b\n 1.5 , x\n"","y"\n3.0,  \n',
        "a,b\n1.5,x\nNA,y\n3.0,\n",
    ],
)
def test_line_ends_blank_lines_and_spaces_do_not_matter(content: str, write: Any) -> None:
    assert values(read_table(write("t.csv", content))) == ROWS


def test_rows_know_their_line(write: Any) -> None:
    """Also below blank lines and fields that hold line breaks."""
    table = read_table(write("t.csv", 'a,b\n\n1,"x\n\ny"\n2,z\n\n3,w\n'))
    assert [table.place(row) for row in range(3)] == ["line 3", "line 6", "line 8"]
    assert values(table)[1] == ["x\n\ny", "z", "w"]
    table = read_table(write("t.jsonl", '{"a": 1}\n\n{"a": 2}\n'))
    assert [table.place(row) for row in range(2)] == ["line 1", "line 3"]
    assert as_table(FRAME).place(2) == "row 2"


def test_a_field_may_hold_a_whole_document(write: Any) -> None:
    text = "word " * 50_000 + "end"
    table = read_table(write("t.csv", f'a,b\n1,"{text}"\n'))
    assert values(table)[1] == [text]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("1\n-2.5\n1e3\n+.5", "number"),
        ("1\n?\nnan\nN/A\n", "number"),
        ("true\nFalse\nTRUE\nNA", "boolean"),
        ("2020-01-31\nnull\n2021-12-01", "time"),
        ("2020-01-31 10:00\n2020-01-31T10:00:01.5Z", "time"),
        ("2020-02-30\n2020-01-31", "text"),
        ("01/02/2020\n02/02/2020", "text"),
        ("007\n123", "text"),  # a code: as a number it would lose its zeros
        ("1\nx", "text"),
        ("?\nNA", "text"),
        ("1,000\n2", "text"),
        ("0x10\n1_000", "text"),
        ("yes\nno", "text"),
    ],
)
def test_a_csv_column_has_the_kind_that_reads_all_of_it(
    content: str, kind: str, write: Any
) -> None:
    lines = "\n".join(f'"{line}",1' for line in content.split("\n"))
    table = read_table(write("t.csv", f"a,b\n{lines}\n"))
    assert read_column(table, "a").kind == kind


def test_times_are_read_in_utc(write: Any) -> None:
    table = read_table(write("t.csv", "a,b\n2020-01-31T23:30:00-02:00,1\n2020-02-01 01:30,2\n"))
    first, second = read_column(table, "a").values
    assert first == second


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("t.csv", "", DataError, "t.csv is empty"),
        ("t.csv", "\n \n", DataError, "t.csv is empty"),
        ("t.csv", "a,b\n", DataError, "a header and no rows"),
        ("t.csv", "a,b\n1,2\n3\n4,5\n", DataError, "1 field in line 3, .* names 2 columns"),
        ("t.csv", "a,b\n1,2\n\n3,4,5\n", DataError, "3 fields in line 4"),
        ("t.csv", 'a,b\n"x\n\ny",2\n3,4,5\n', DataError, "3 fields in line 5"),
        ("t.csv", "a,b,a\n1,2,3\n", DataError, "more than one column named 'a'"),
        ("t.csv", b"a,b\n1,2\n\xe9,3\n", FileError, r"not UTF-8 text\n  where: line 3, byte 0xe9"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), FileError, "iconv -f utf-16 -t utf-8"),
        ("t.csv", b"PK\x03\x04\x00\x00", FileError, "spreadsheet"),
        ("t.csv", 'a,b\n1,2\n"x,3\n4,5\n', DataError, r"not closed\n  where: line 3"),
        ("t.csv", 'a,b\n"5" pipe,2\n', DataError, "line 2"),
        ("t.csv", 'a,b\nfoo,4\n5" pipe,2\n', DataError, r"quotes do not match\n  where: line 3"),
        ("t.csv.gz", "a,b\n1,2\n", FileError, "not a whole gzip file"),
        ("t.csv.gz", TORN_GZIP, FileError, "not a whole gzip file"),
        ("t.parquet", "a,b\n1,2\n", FileError, "not a whole Parquet file"),
        ("t.jsonl", "\n", DataError, "t.jsonl is empty"),
        ("t.jsonl", '{"a": 1}\n{"a":\n', DataError, "where: line 2"),
        ("t.jsonl", '{"a": 1}\n\n{"a": NaN}\n', DataError, r"null\n  where: line 3"),
        ("t.jsonl", "[1, 2]\n", DataError, r"not an object\n  where: line 1"),
        ("t.xlsx", "", UsageError, "the suffix .xlsx"),
        ("t.json", "{}", UsageError, "one object a line is .jsonl"),
        ("table", "a,b\n1,2\n", UsageError, r"the suffix \(none\)"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(
    name: str, content: str | bytes, error: type[Exception], said: str, write: Any
) -> None:
    with pytest.raises(error, match=said):
        read_table(write(name, content))


def test_a_parquet_file_cut_anywhere_is_refused(write: Any) -> None:
    file = io.BytesIO()
    pl.DataFrame({"a": list(range(100)), "b": ["x"] * 100}).write_parquet(file)
    whole = file.getvalue()
    for length in range(0, len(whole), 11):
        with pytest.raises(FileError, match="not a whole Parquet file"):
            read_table(write("t.parquet", whole[:length]))


def test_a_panic_of_the_reader_is_an_error_of_the_file(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some damaged files make polars panic, which is not an ordinary exception."""

    def panic(source: object) -> None:
        raise pl.exceptions.PanicException("assertion failed")

    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(FileError, match="assertion failed"):
        read_table(write("t.parquet", "PAR1"))


def test_paths_that_hold_no_file(write: Any, tmp_path: Path) -> None:
    write("iris.csv", "a,b\n1,2\n")
    with pytest.raises(FileError, match=r"no file .*irs.csv\n  do:    did you mean .*iris.csv"):
        read_table(tmp_path / "irs.csv")
    with pytest.raises(FileError, match="no directory"):
        read_table(tmp_path / "nowhere" / "iris.csv")
    with pytest.raises(FileError, match="is a directory"):
        read_table(tmp_path)


def test_frames_of_every_library_are_tables() -> None:
    frames = [FRAME, pd.DataFrame(FRAME.to_dict(as_series=False)), FRAME.to_arrow()]
    assert isinstance(frames[2], pa.Table)
    assert [values(as_table(frame)) for frame in frames] == [ROWS] * 3
    table = as_table(FRAME)
    assert as_table(table) is table


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(UsageError, match="an object of type int is no table"):
        as_table(3)
    with pytest.raises(UsageError, match=r"frame\.collect\(\)"):
        as_table(FRAME.lazy())
    twice = [pa.array([1]), pa.array([2])]
    for frame, name in (
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "a"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "1"),
        (pa.Table.from_arrays(twice, names=["a", "a"]), "a"),
    ):
        with pytest.raises(DataError, match=f"more than one column named '{name}'"):
            as_table(frame)
    with pytest.raises(DataError, match="no rows"):
        as_table(FRAME.head(0))


@pytest.mark.parametrize("module", ["polars", "narwhals"])
def test_a_missing_library_names_the_extra(
    module: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("t.csv", "a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=r"pip install 'chainrule\[tables\]'"):
        read_table(path)


def test_importing_data_imports_no_table_library() -> None:
    program = "import sys, chainrule.data; print(sorted({'polars', 'narwhals'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
