"""The series that come with the package: what they hold, what is held out, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.data import SERIES, ForecastEncoder, KnownSeries, fingerprint, load
from chainrule.errors import UsageError
from chainrule.training.prepare import prepare


def test_the_years_to_1920_are_trained_on() -> None:
    """Windows of twelve years: the first forecast is of 1712, the first held-out one of 1921."""
    dataset, encoder, train, held_out = KnownSeries("sunspots").parts(None, 0)
    assert isinstance(encoder, ForecastEncoder)
    assert (dataset.x.shape, dataset.y.shape) == ((297, 12, 1), (297, 1))
    assert (len(train), len(held_out)) == (1920 - 1711, 2008 - 1920)
    scale = encoder.target
    numbers = np.append(dataset.x[0, :, 0], dataset.y[:, 0]).astype(float) * scale.std + scale.mean
    year = dict(zip(range(1700, 2009), numbers.round(1).tolist(), strict=True))
    assert [year[y] for y in (1700, 1712, 1810, 1957, 2008)] == [5.0, 0.0, 0.0, 190.2, 2.9]
    assert abs(float(np.mean([year[y] for y in range(1700, 1921)])) - scale.mean) < 0.01
    np.testing.assert_array_equal(dataset.x[1:, -1], dataset.y[:-1])
    assert "a linear autoregression" in encoder.notes()[0]


def test_it_is_a_set_with_a_name() -> None:
    dataset = load("sunspots")
    assert (dataset.name, dataset.source["about"]) == ("sunspots", SERIES["sunspots"])
    assert fingerprint(dataset) == fingerprint(prepare("sunspots", None, None, 3, None).dataset)
    assert len(prepare("sunspots", None, 0.1, 0, None).held_out_rows) == 31
    with pytest.raises(UsageError, match="did you mean 'sunspots'"):
        load("sunspot")
    with pytest.raises(UsageError, match="did you mean 'sunspots'"):
        KnownSeries("sunpots")
    for target, task in (("sunspots", None), (None, "binary")):
        with pytest.raises(UsageError, match="says itself what is predicted"):
            prepare("sunspots", target, None, 0, task)


def test_the_commands_train_resume_explain_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main("train sunspots --run-dir run --json".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["r2"] > 0.7  # 0.78; the last year again is worth 0.62
    epochs = told["epochs"] + 1
    assert main(f"train --resume run --epochs {epochs} --quiet".split()) == 0
    assert main("explain run --row 3".split()) == 0
    assert main("report run".split()) == 0
    capsys.readouterr()
    Path("next.csv").write_text("sunspots\n" + "\n".join(str(10 * n) for n in range(15)) + "\n")
    assert main("predict run next.csv --json".split()) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert columns["step"] == [1]
    assert np.isfinite(columns["sunspots"]).all()
    assert cr.load_run("run").metrics["r2"] > 0.7
