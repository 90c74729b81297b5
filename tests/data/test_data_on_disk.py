"""Data larger than memory: mapped arrays, files written in pieces, tables read in pieces."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import (
    TableEncoder,
    fingerprint,
    from_arrays,
    from_table,
    open_rows,
    read_table,
    table_pieces,
    write_rows,
)
from chainrule.errors import DamagedFileError, DataError, FileError, ShapeError, UsageError


def test_pieces_make_one_array(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(size=(23, 3, 2)).astype(np.float32)
    found = write_rows(tmp_path / "x.npy", (whole[a : a + 5] for a in range(0, 23, 5)))
    np.testing.assert_array_equal(found, whole)
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    for array in (np.arange(7, dtype=np.uint8), np.zeros((2, 0), np.int64), np.ones(1, np.bool_)):
        again = write_rows(tmp_path / "a.npy", [array])
        assert (again.dtype, again.shape) == (array.dtype, array.shape)


def test_pieces_that_do_not_fit_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    one = np.zeros((2, 3))
    for other in (np.zeros((2, 4)), np.zeros((2, 3), np.float32), np.zeros((2, 3), object)):
        with pytest.raises(ShapeError, match="behind row 2"):
            write_rows(path, [one, other])
    with pytest.raises(DataError, match="no rows"):
        write_rows(path, [])
    with pytest.raises(DataError, match="no rows"):
        write_rows(path, [one[:0]])
    with pytest.raises(FileError):
        write_rows(tmp_path / "nowhere" / "x.npy", [one])
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(FileError, match="no file"):
        open_rows(path)
    write_rows(path, [np.zeros((50, 3))])
    whole = path.read_bytes()
    for content in (b"", b"not numbers", whole[:300]):
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"x\.npy"):
            open_rows(path)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(DamagedFileError, match="one array"):
        open_rows(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFileError):
        open_rows(path)


ROWS, WIDTH = 8192, 2048  # 64 MB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 2

    def pieces(first: int) -> np.ndarray:
        noise = rng.normal(size=(512, WIDTH)).astype(np.float32)
        return noise + labels[first : first + 512, None].astype(np.float32)

    write_rows(folder / "x.npy", (pieces(first) for first in range(0, ROWS, 512)))
    write_rows(folder / "y.npy", [labels])
    return folder / "x.npy", folder / "y.npy"


def test_training_on_files_takes_little_memory_and_the_same_steps(
    large: tuple[Path, Path], tmp_path: Path
) -> None:
    x, y = large
    net = nn.Dense(1)
    tracemalloc.start()
    run = cr.train(
        net, (str(x), str(y)), epochs=1, batch_size=64, validation=64, run_dir=tmp_path / "run"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert run.metrics["accuracy"] > 0.6
    assert peak < ROWS * WIDTH * 4 / 2
    other = cr.train(net, (np.load(x), np.load(y)), epochs=1, batch_size=64, validation=64)
    np.testing.assert_array_equal(run.net.weight, other.net.weight)


def test_the_same_values_have_one_fingerprint_wherever_they_are(large: tuple[Path, Path]) -> None:
    x, y = large
    mapped = from_arrays((x, y))
    assert not mapped.x.flags.owndata
    loaded = from_arrays((np.load(x), np.load(y)))
    assert fingerprint(mapped) == fingerprint(loaded)


TABLE = "size,note,price\n" + "".join(
    f'{i},"a ""quoted""\nnote {i % 3}",{i * 2.5}\n' if i % 4 == 0 else f"{i},plain,{i * 2.5}\n"
    for i in range(50)
)


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_in_pieces_is_the_table(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(TABLE.encode()) if packed else TABLE.encode())
    whole = read_table(path)
    _, encoder, *_ = from_table(whole, "price")
    assert isinstance(encoder, TableEncoder)
    expected = encoder.encode(whole)
    assert whole.lines is not None
    for rows in (1, 7, 50, 500):
        pieces = list(table_pieces(path, rows))
        assert [piece.rows for piece in pieces][:-1] == [rows] * (len(pieces) - 1)
        np.testing.assert_array_equal(np.concatenate([encoder.encode(p) for p in pieces]), expected)
        lines = np.concatenate([p.lines for p in pieces if p.lines is not None])
        np.testing.assert_array_equal(lines, whole.lines)


def test_json_lines_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"a": {i}}}\n\n' for i in range(9)))
    pieces = list(table_pieces(path, 4))
    assert [v for p in pieces for v in p.columns["a"].to_list()] == list(range(9))
    assert [int(n) for p in pieces if p.lines is not None for n in p.lines] == list(range(1, 18, 2))


def test_a_bad_row_is_named_by_its_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 20 + "3\n")
    with pytest.raises(DataError, match="line 22"):
        list(table_pieces(path, 6))
    path.write_text("a,b\n" + "1,2\n" * 20 + '3,"4\n')
    with pytest.raises(DataError, match="line 22"):
        list(table_pieces(path, 6))
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"a": 1}\n' * 9 + "[1]\n")
    with pytest.raises(DataError, match="line 10"):
        list(table_pieces(lines, 4))
    path.write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        list(table_pieces(path))
    for bad in ("a.parquet", "a"):
        with pytest.raises(UsageError, match="in pieces"):
            table_pieces(tmp_path / bad)
    with pytest.raises(UsageError, match="1 or more"):
        table_pieces(path, 0)
    with pytest.raises(FileError):
        table_pieces(tmp_path / "nowhere.csv")
    cut = tmp_path / "b.csv.gz"
    cut.write_bytes(gzip.compress(TABLE.encode())[:-12])
    with pytest.raises(FileError):
        list(table_pieces(cut, 5))
