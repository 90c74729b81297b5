"""Named sets: IDX files found, checked, and downloaded when that is asked for, and only then."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import json
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chainrule import config
from chainrule.cli import main
from chainrule.data import load
from chainrule.data import named as named_room
from chainrule.data.idx import read_idx
from chainrule.data.named import NAMED, SETS, download
from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.training.prepare import prepare

FILES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "test-images": "t10k-images-idx3-ubyte",
    "test-labels": "t10k-labels-idx1-ubyte",
}


def idx(array: np.ndarray, code: int = 8) -> bytes:
    header = struct.pack(">BBBB", 0, 0, code, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set named `tiny` of 20 + 5 images of 4 x 3, in the only data directory; no cache yet."""
    rng = np.random.default_rng(0)
    contents = {
        "train-images": idx(rng.integers(0, 256, (20, 4, 3), np.uint8)),
        "train-labels": idx((np.arange(20) % 10).astype(np.uint8)),
        "test-images": idx(rng.integers(0, 256, (5, 4, 3), np.uint8)),
        "test-labels": idx(np.arange(5, dtype=np.uint8)),
    }
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    for role, content in contents.items():
        (folder / f"{FILES[role]}.gz").write_bytes(gzip.compress(content))
    digests = {role: hashlib.sha256(content).hexdigest() for role, content in contents.items()}
    one = replace(SETS["mnist"], name="tiny", folders=("tiny",), files=digests, homes=())
    monkeypatch.setitem(named_room.SETS, "tiny", one)
    monkeypatch.setitem(NAMED, "tiny", one.about)
    monkeypatch.setattr(config, "DATA", (str(tmp_path / "data"),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    return folder


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(8, ">u1"), (9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_every_type_of_idx_file_is_read(tmp_path: Path, code: int, dtype: str) -> None:
    values = np.arange(-6, 6).astype(dtype).reshape(2, 3, 2)
    (tmp_path / "a").write_bytes(idx(values, code))
    (tmp_path / "b").write_bytes(gzip.compress(idx(values, code)))
    for name in "ab":
        found = read_idx(tmp_path / name)
        assert found.dtype == values.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: gzip.compress(raw)[:-20], "not a whole gzip file"),
        (lambda raw: raw[:-1], "15 follow"),
        (lambda raw: raw + b"x", "17 follow"),
        (lambda raw: raw[:9], "within its header"),
        (lambda raw: b"<html>", "no IDX file"),
        (lambda raw: b"", "begins with nothing"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: object, said: str) -> None:
    assert callable(damage)
    path = tmp_path / "images-idx2-ubyte"
    path.write_bytes(damage(idx(np.arange(16, dtype=np.uint8).reshape(4, 4))))
    with pytest.raises(DamagedFileError, match=said) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


def test_pixels_are_shares_of_ink_and_the_test_set_is_held_out(tiny: Path) -> None:
    dataset = load("tiny")
    raw = read_idx(tiny / "train-images-idx3-ubyte.gz")
    assert (dataset.x.shape, dataset.x.dtype) == ((25, 4, 3, 1), np.float32)
    np.testing.assert_allclose(dataset.x[:20, ..., 0] * 255, raw, atol=1e-4)
    assert dataset.x.min() >= 0
    assert dataset.x.max() <= 1
    prepared = prepare("tiny", None, None, 0, None)
    np.testing.assert_array_equal(prepared.held_out_rows, np.arange(20, 25))
    np.testing.assert_array_equal(prepared.train_rows, np.arange(20))


def test_the_test_set_stays_unseen_where_other_rows_are_held_out(tiny: Path) -> None:
    prepared = prepare("tiny", None, 0.5, 0, None)
    assert len(prepared.held_out_rows) == 10
    assert max(*prepared.train_rows, *prepared.held_out_rows) < 20
    assert len(prepare("tiny", None, 0, 0, None).train_rows) == 20
    again = prepare("tiny", None, 5, 0, None)  # as many as the test set has: what a resume asks for
    np.testing.assert_array_equal(again.held_out_rows, np.arange(20, 25))


def test_files_may_lie_plain_and_under_their_other_names(tiny: Path) -> None:
    for packed in list(tiny.iterdir()):
        plain = packed.with_suffix("").name.replace("-idx", ".idx")
        (tiny / plain).write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert load("tiny").rows == 25


def test_the_directory_may_be_the_folder_itself(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "DATA", ("/nowhere", str(tiny)))
    assert load("tiny").rows == 25


def test_another_file_of_the_same_shape_is_refused(tiny: Path) -> None:
    path = tiny / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(20, np.uint8))))
    with pytest.raises(DamagedFileError, match="does not hold what was published") as caught:
        load("tiny")
    assert path.name in str(caught.value)


def test_a_set_that_is_not_here_says_how_to_get_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used without being asked for")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(config, "DATA", ())
    with pytest.raises(FileError, match="not on this machine") as caught:
        load("tiny")
    for word in ("--download", "CHAINRULE_DATA", "train-images-idx3-ubyte"):
        assert word in str(caught.value)


@pytest.fixture
def home(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the tiny set, served over HTTP as its second home; the first one is gone."""
    handler = functools.partial(_Silent, directory=str(tiny))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    served = replace(SETS["tiny"], homes=(f"{address}/gone/", f"{address}/"))
    monkeypatch.setitem(named_room.SETS, "tiny", served)
    monkeypatch.setattr(config, "DATA", ())
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield tiny
    server.shutdown()
    server.server_close()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_set_is_downloaded_when_asked_for_and_then_found(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = download("tiny", said.append)
    assert folder == tmp_path / "cache" / "chainrule" / "data" / "tiny"
    assert len(list(folder.iterdir())) == 4
    assert sum("/gone/" in line for line in said) == 4
    assert load("tiny").rows == 25
    said.clear()
    download("tiny", said.append)
    assert said == []


def test_a_download_with_another_checksum_is_not_kept(home: Path, tmp_path: Path) -> None:
    (home / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(5, np.uint8))))
    with pytest.raises(FileError, match="could not be downloaded") as caught:
        download("tiny")
    assert "t10k-labels" in str(caught.value)
    kept = os.listdir(tmp_path / "cache" / "chainrule" / "data" / "tiny")
    assert sorted(kept) == sorted(f"{FILES[r]}.gz" for r in FILES if r != "test-labels")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="fashion-mnist"):
        load("fashion-mnits")
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        download("mnits")


@pytest.mark.skipif(not os.environ.get("CHAINRULE_DATA"), reason="CHAINRULE_DATA is not set")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_sets(name: str) -> None:
    dataset = load(name)
    assert dataset.x.shape == (70000, 28, 28, 1)
    assert np.bincount(dataset.y[60000:], minlength=10).sum() == 10000
    assert len(set(dataset.classes)) == 10
    if name == "mnist":
        assert dataset.y[:5].tolist() == [5, 0, 4, 1, 9]
        assert round(float(dataset.x[:60000].mean(dtype=np.float64)), 4) == 0.1307
    else:
        assert dataset.classes[dataset.y[0]] == "ankle boot"
        assert round(float(dataset.x[:60000].mean(dtype=np.float64)), 4) == 0.286


def test_the_command_trains_on_a_named_set(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny.parent)
    assert main("train tiny --epochs 2 --download --run-dir run --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["metrics_of"] == "held-out"
    assert main("train --resume run --epochs 3 --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3
    assert main("train digits --download".split()) == 2
    assert "--download" in capsys.readouterr().err
