"""Examples on the page: which rows, what they look like, and that damage never breaks a page."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_reader import read_page
from PIL import Image

import chainrule as cr
from chainrule import nn
from chainrule.data import Dataset, Forecast, TextCorpus, TextTable
from chainrule.observe import read_record
from chainrule.report import render_report
from chainrule.report.png import png_address
from chainrule.training.filters import first_filters

RNG = np.random.default_rng(0)


def pixels_of(address: str) -> np.ndarray:
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


@pytest.mark.parametrize("shape", [(3, 5, 1), (4, 2, 3), (1, 1, 1)])
def test_a_png_holds_its_pixels(shape: tuple[int, int, int]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    found = pixels_of(png_address(base64.b64encode(pixels.tobytes()).decode(), shape))
    np.testing.assert_array_equal(found.reshape(shape), pixels)


def test_what_is_no_picture_is_refused() -> None:
    for text, shape in [
        ("AAAA", (2, 2, 1)),
        ("?", (1, 1, 1)),
        ("AAAA", (1, 1, 2)),
        ("", (0, 1, 1)),
    ]:
        with pytest.raises(ValueError, match=r"shape|base64|padding|Only"):
            png_address(text, shape)


def pictures(rows: int = 40) -> Dataset:
    y = np.arange(rows) % 3
    x = RNG.uniform(0, 0.4, (rows, 4, 6, 1)).astype(np.float32)
    x[np.arange(rows), y] += 0.5
    source: dict[str, Any] = {"kind": "arrays", "image_shape": [4, 6, 1]}
    names = tuple(f"dogs & cats/{i}.png" for i in range(rows))
    return Dataset("pictures", x, y, "multiclass", ("a", "b", "<c>"), (), source, names)


def trained(net: Any, data: Any, tmp_path: Path, **options: Any) -> Any:
    options = {"epochs": 2, "run_dir": tmp_path / "run"} | options
    return cr.train(net, data, **options)


def test_pictures_are_shown_with_what_was_predicted(tmp_path: Path) -> None:
    dataset = pictures()
    net = nn.Sequential(nn.Flatten(), nn.Dense(3))
    run = trained(net, dataset, tmp_path, epochs=1, validation=15)
    assert run.record.evaluated is not None
    shown = run.record.evaluated.examples
    assert len(shown) == 12
    rights = [example["right"] for example in shown]
    wrong = rights.count(False)
    assert rights[: min(wrong, 6)] == [False] * min(wrong, 6)
    for example in shown:
        row = dataset.row_names.index(example["row"])
        assert example["truth"] == dataset.classes[dataset.y[row]]
        assert run.predict(dataset.x[row : row + 1])[0] == example["predicted"]
        share = run.predict_probabilities(dataset.x[row : row + 1]).max()
        assert example["share"] == pytest.approx(share, rel=1e-5)
    page = read_page((tmp_path / "run" / "report.html").read_text())
    images = page.all("img")
    assert len(images) == 12 + 3
    for image, example in zip(images[:12], shown, strict=True):
        row = dataset.row_names.index(example["row"])
        whole = np.rint(np.clip(dataset.x[row, ..., 0], 0, 1) * 255)
        np.testing.assert_array_equal(pixels_of(image.attributes["src"]), whole)
        assert image.attributes["alt"] == example["row"]
    assert "Some of the held-out rows" in page.text


def test_large_pictures_are_thinned_out(tmp_path: Path) -> None:
    x = RNG.uniform(0, 1, (6, 200, 150, 3)).astype(np.float32)
    source: dict[str, Any] = {"image_shape": [200, 150, 3]}
    y = np.arange(6, dtype=np.float32)[:, None]
    dataset = Dataset("large", x, y, "regression", source=source)
    net = nn.Sequential(nn.Flatten(), nn.Dense(1))
    run = trained(net, dataset, tmp_path, validation=2)
    first = run.record.evaluated.examples[0]
    assert first["image"]["shape"] == [67, 75, 3]
    assert "right" not in first
    page = read_page((tmp_path / "run" / "report.html").read_text())
    assert "truly" in page.text


def test_a_text_shows_what_was_foreseen(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("ab\n" * 300)
    net = nn.Sequential(nn.Embedding(3, 8), nn.Dense(3))
    run = trained(
        net, TextCorpus(book, context=9), tmp_path, epochs=40, optimizer=cr.optim.adam(0.05)
    )
    example = run.record.evaluated.examples[0]
    assert example["symbols"] == example["guesses"]
    page = read_page((tmp_path / "run" / "report.html").read_text())
    assert "9 of 9 foreseen" in page.text
    assert "⏎" in page.text


def test_texts_of_a_table_are_shown(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"body": [f"<b>fine</b> & good {i}" for i in range(20)] + ["bad film"] * 20}
    )
    frame["label"] = ["good"] * 20 + ["bad"] * 20
    run = trained(nn.Dense(1), TextTable(frame, "label", "body"), tmp_path)
    example = run.record.evaluated.examples[-1]
    assert example["row"].startswith("row ")
    assert example["text"].startswith("bad film") or "<b>" in example["text"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<b>" not in page


def test_a_forecast_is_drawn_against_the_truth(tmp_path: Path) -> None:
    values = np.sin(np.arange(120) / 3) * 10 + 50
    source = Forecast(pd.DataFrame({"v": values}), "v", horizon=4, window=8)
    net = nn.Sequential(nn.Flatten(), nn.Dense(4))
    run = trained(net, source, tmp_path, epochs=30)
    example = run.record.evaluated.examples[0]
    assert example["horizon"] == 4
    np.testing.assert_allclose(example["truth"], values[-len(example["truth"]) :], atol=1e-3)
    before = values[-len(example["truth"]) - 8 : -len(example["truth"])]
    np.testing.assert_allclose(example["before"], before, atol=1e-3)
    first = run.outputs(np.asarray(source.parts(None, 0).dataset.x[-1:]))
    np.testing.assert_allclose(example["predicted"][-4:], run.encoder.decode(first)["v"], rtol=1e-4)
    page = read_page((tmp_path / "run" / "report.html").read_text())
    assert "v: forecast and truth" in page.text


def test_rows_of_plain_numbers_are_not_shown(tmp_path: Path) -> None:
    x = RNG.normal(size=(30, 4))
    run = trained(nn.Dense(1), (x, x[:, :1] > 0), tmp_path)
    assert run.record.evaluated.examples == ()
    assert "Examples" not in (tmp_path / "run" / "report.html").read_text()


def test_the_first_layer_is_drawn_as_it_sees(tmp_path: Path) -> None:
    dataset = pictures()
    run = trained(nn.Sequential(nn.Flatten(), nn.Dense(3)), dataset, tmp_path)
    weight = run.net.layers[1].weight.T.reshape(3, 4, 6)
    shown = run.record.evaluated.filters
    norms = [float(np.linalg.norm(weight[one["unit"]])) for one in shown]
    assert norms == sorted(norms, reverse=True)
    assert len(norms) == 3
    for one in shown:
        raw = np.frombuffer(base64.b64decode(one["pixels"]), np.uint8).reshape(4, 6)
        expected = weight[one["unit"]] / np.abs(weight[one["unit"]]).max()
        np.testing.assert_allclose((raw.astype(float) - 128) / 127, expected, atol=0.005)
    page = read_page((tmp_path / "run" / "report.html").read_text())
    drawn = pixels_of(page.all("img")[-3].attributes["src"]).astype(int)
    first = weight[shown[0]["unit"]]
    blue = drawn[..., 2] - drawn[..., 0]
    assert (blue[first == first.max()] > 100).all()
    strong = first < -0.9 * np.abs(first).max()
    assert (blue[strong] < -100).all()


def test_a_convolution_is_drawn_and_numbers_are_not() -> None:
    kernel = RNG.normal(size=(3, 3, 1, 5))
    found = first_filters({"weight": kernel}, pictures())
    assert [one["shape"] for one in found] == [[3, 3, 1]] * 5
    assert first_filters({"weight": kernel[..., 0]}, pictures()) == ()
    assert first_filters({"weight": RNG.normal(size=(23, 5))}, pictures()) == ()
    assert first_filters({"weight": np.full((24, 2), np.nan)}, pictures()) == ()
    assert first_filters({"weight": np.zeros((24, 2))}, pictures()) == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"image": {"shape": [4, 6, 1], "pixels": "AAAA"}},
        {"image": {"shape": [4, 6], "pixels": "AAAA"}},
        {"image": 3},
        {"image": {}},
    ],
)
def test_a_damaged_picture_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = trained(nn.Sequential(nn.Flatten(), nn.Dense(3)), pictures(), tmp_path, epochs=1)
    record = read_record(tmp_path / "run" / "record.jsonl")
    assert record.evaluated == run.record.evaluated
    assert record.evaluated is not None
    shown = record.evaluated.examples
    damaged = dataclasses.replace(record.evaluated, examples=({**shown[0], **damage}, *shown[1:]))
    page = read_page(render_report(dataclasses.replace(record, evaluated=damaged)))
    assert len(page.all("img")) == len(shown) - 1 + len(record.evaluated.filters)


@pytest.mark.parametrize("damage", [{"pixels": "AAAA"}, {"shape": [4, 6]}, {"pixels": 3}])
def test_a_damaged_filter_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = trained(nn.Sequential(nn.Flatten(), nn.Dense(3)), pictures(), tmp_path, epochs=1)
    shown = run.record.evaluated.filters
    evaluated = dataclasses.replace(
        run.record.evaluated, filters=({**shown[0], **damage}, *shown[1:]), examples=()
    )
    page = read_page(render_report(dataclasses.replace(run.record, evaluated=evaluated)))
    assert len(page.all("img")) == 2
