"""Series: windows, horizons, the held-out end, and simple forecasts to compare with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

import chainrule as cr
from chainrule import nn
from chainrule.cli import main
from chainrule.data import (
    Forecast,
    ForecastEncoder,
    autoregression,
    encoder_from_json,
    fingerprint,
    persistence,
    source_from_json,
)
from chainrule.errors import DamagedFileError, DataError, ShapeError, UsageError

RNG = np.random.default_rng(7)


def frame(rows: int = 200) -> pd.DataFrame:
    t = np.arange(rows)
    return pd.DataFrame(
        {
            "month": pd.date_range("2000-01-01", periods=rows, freq="MS"),
            "number": t,
            "visitors": 50 + 20 * np.sin(2 * np.pi * t / 12) + RNG.normal(0, 0.5, rows),
            "rain": RNG.normal(0, 3, rows),
            "place": "here",
        }
    )


FRAME = frame()


@given(
    st.integers(8, 60), st.integers(1, 6), st.integers(1, 4), st.integers(0, 20), st.integers(1, 2)
)
def test_windows_are_followed_by_their_horizon(
    rows: int, window: int, horizon: int, held_out: int, width: int
) -> None:
    table = pd.DataFrame({"v": np.arange(rows) ** 1.5, "w": np.cos(np.arange(rows))})
    inputs = ("v", "w")[:width]
    source = Forecast(table, "v", horizon, window, inputs, held_out)
    cut = rows - held_out
    if held_out >= rows:
        with pytest.raises(UsageError):
            source.parts(None, 0)
        return
    if cut < window + horizon + 1 or 0 < held_out < horizon:
        with pytest.raises(DataError, match="too few"):
            source.parts(None, 0)
        return
    dataset, encoder, train, tail = source.parts(None, 0)
    assert isinstance(encoder, ForecastEncoder)
    (mean, std), values = encoder.scales[0], table.v.to_numpy()
    assert dataset.x.shape[1:] == (window, width)
    assert (len(train), len(tail)) == (
        cut - window - horizon + 1,
        held_out - horizon + 1 if held_out else 0,
    )
    for row in (*train, *tail):
        start = row if row < len(train) else cut - window + (row - len(train))
        both = np.concatenate([dataset.x[row, :, 0], dataset.y[row]]) * std + mean
        np.testing.assert_allclose(
            both, values[start : start + window + horizon], rtol=1e-4, atol=1e-3
        )
    if len(train):
        assert max(train) + window + horizon <= cut


def test_held_out_rows_have_no_say_in_any_statistic() -> None:
    other = FRAME.copy()
    other.loc[160:, "visitors"] *= 100
    first, second = (Forecast(f, "visitors", 3).parts(0.2, 0) for f in (FRAME, other))
    assert isinstance(first.encoder, ForecastEncoder)
    assert isinstance(second.encoder, ForecastEncoder)
    assert first.encoder.scales == second.encoder.scales
    train = first.train_rows
    np.testing.assert_array_equal(first.dataset.x[train], second.dataset.x[train])
    np.testing.assert_array_equal(first.dataset.y[train], second.dataset.y[train])
    values = FRAME.visitors[:160]
    assert first.encoder.scales[0] == pytest.approx((values.mean(), values.std(ddof=0)))


def test_columns_that_say_nothing_are_left_out() -> None:
    encoder = Forecast(FRAME, "visitors", 2).parts(None, 0).encoder
    assert isinstance(encoder, ForecastEncoder)
    assert encoder.columns == ("visitors", "rain")
    assert encoder.notes()[0].startswith("left out month, number, place")
    assert encoder.describe() == (
        "table: 200 rows, windows of 24 of 2 columns -> the next 2 values of visitors"
    )


def test_the_last_value_again() -> None:
    found = persistence(np.array([[1.0, 2.0], [3.0, 5.0]]), 3)
    np.testing.assert_array_equal(found, [[2, 2, 2], [5, 5, 5]])
    with pytest.raises(ShapeError):
        persistence(np.zeros(3), 1)


def test_the_linear_forecast_is_another_library_s() -> None:
    x, y = RNG.normal(size=(50, 6, 2)), RNG.normal(size=(50, 3))
    new = RNG.normal(size=(9, 6, 2))
    other = LinearRegression().fit(x.reshape(50, -1), y)
    np.testing.assert_allclose(autoregression(x, y)(new), other.predict(new.reshape(9, -1)))
    with pytest.raises(ShapeError):
        autoregression(x[:3], y)


def test_a_pure_wave_is_forecast_by_two_coefficients() -> None:
    wave = np.sin(np.arange(60) * 0.4)
    dataset = Forecast(pd.DataFrame({"v": wave}), "v", 2, 4).parts(0.3, 0).dataset
    test = int(str(dataset.source["test_rows"]))
    forecast = autoregression(dataset.x[:-test], dataset.y[:-test])
    np.testing.assert_allclose(forecast(dataset.x[-test:]), dataset.y[-test:], atol=1e-5)


def test_a_network_forecasts_better_than_the_last_value(tmp_path: Path) -> None:
    path = tmp_path / "visitors.csv"
    FRAME.to_csv(path, index=False)
    source = Forecast(path, "visitors", horizon=6, window=12)
    net = nn.Sequential(nn.Flatten(), nn.Dense(16), nn.tanh, nn.Dense(6))
    run = cr.train(net, source, epochs=60, optimizer=cr.optim.adam(0.01), run_dir=tmp_path / "run")
    note = run.encoder.notes()[-1] if run.encoder else ""
    last = float(note.split("the last value again ")[1].split(",")[0])
    assert run.metrics["mae"] < 0.2 * last
    again = cr.load_run(tmp_path / "run")
    forecast = again.predict(path)
    assert again.encoder is not None
    columns = again.encoder.decode(again.outputs(path))
    assert columns["step"].tolist() == [1, 2, 3, 4, 5, 6]
    future = 50 + 20 * np.sin(2 * np.pi * np.arange(200, 206) / 12)
    assert np.abs(columns["visitors"] - future).max() < 6
    np.testing.assert_array_equal(forecast, columns["visitors"])
    assert again.predict(np.zeros((3, 12, 2))).shape == (3, 6)
    saved = source_from_json(again.config["dataset"]["source"], str(path))
    assert saved is not None
    parts = saved.parts(len(run.record.started.net) if run.record.started else 0, 0)
    assert fingerprint(parts.dataset) == again.config["dataset"]["fingerprint"]


def test_the_encoder_comes_back_from_json() -> None:
    encoder = Forecast(FRAME, "visitors", 2).parts(None, 0).encoder
    again = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    many = again.decode(np.zeros((3, 2)))
    assert list(many) == ["visitors + 1", "visitors + 2"]
    assert next(name for name, _ in again.compared) == "the last value again"
    old = {key: value for key, value in encoder.to_json().items() if key != "compared"}
    assert encoder_from_json(old).compared == ()
    damages = {"stds": [0.0, 1.0]}, {"window": 0}, {"means": [1.0]}, {"compared": [["a", "b"]]}
    for damage in damages:
        with pytest.raises(DamagedFileError):
            encoder_from_json(encoder.to_json() | damage)


def _gap(table: pd.DataFrame) -> None:
    table.loc[17, "visitors"] = np.nan


def _swap(table: pd.DataFrame) -> None:
    table.loc[30, "month"] = table.month[3]


def _flat(table: pd.DataFrame) -> None:
    table["visitors"] = 3.0


def _text(table: pd.DataFrame) -> None:
    table["visitors"] = "many"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_gap, "no value in row 17"),
        (_swap, "goes back or stands still in row 30"),
        (_flat, "nothing to learn"),
        (_text, "must hold numbers"),
    ],
)
def test_series_that_cannot_be_learned_from(damage: object, said: str) -> None:
    table = frame()
    assert callable(damage)
    damage(table)
    with pytest.raises(DataError, match=said):
        Forecast(table, "visitors").parts(None, 0)


def test_mistakes_of_settings() -> None:
    with pytest.raises(DataError, match="did you mean 'visitors'"):
        Forecast(FRAME, "visitor").parts(None, 0)
    with pytest.raises(DataError, match="too few"):
        Forecast(FRAME, "visitors", horizon=150).parts(None, 0)
    for bad in ({"horizon": 0}, {"window": 0}, {"horizon": 1.5}):
        with pytest.raises(UsageError):
            Forecast(FRAME, "visitors", **bad)  # type: ignore[arg-type]
    for share in (-1, 1.0, 200, True):
        with pytest.raises(UsageError):
            Forecast(FRAME, "visitors").parts(share, 0)


def test_the_commands_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    FRAME.to_csv("visitors.csv", index=False)
    command = "train visitors.csv --forecast visitors --horizon 4 --epochs 3 --run-dir run"
    assert main(command.split()) == 0
    out = capsys.readouterr()
    assert "the last value again" in out.err
    said = next(line for line in out.err.splitlines() if "to compare with" in line)
    comparison = said.partition("with: ")[2]
    closing = " ".join(out.out.split())
    assert f"mean absolute error; for comparison: {comparison}" in closing
    page = Path("run/report.html").read_text()
    assert f"For comparison, mean absolute errors: {comparison}." in page
    assert "the first of 4 steps ahead" in " ".join(page.split())
    assert main("train --resume run --epochs 4 --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 4
    assert main("predict run visitors.csv".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step,visitors"
    assert len(lines) == 5
    assert main("explain run".split()) == 0
    capsys.readouterr()
    for words, part in [
        ("train visitors.csv --horizon 4", "--horizon goes with"),
        ("train visitors.csv --forecast visitors --target rain", "target goes with"),
    ]:
        assert main(words.split()) == 2
        assert part in capsys.readouterr().err
