"""`cr.train` takes data in every form people have it in, and says what it made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from problems import Events, blobs, line, small

import chainrule as cr
from chainrule.data import Dataset, split
from chainrule.observe.events import RunStarted

CITIES = ["Bern", "Ulm", "Graz"]


def flats(rows: int = 120) -> dict[str, Any]:
    """A table of flats: the rent follows from the size, the floor and the city."""
    random = np.random.default_rng(0)
    size = random.uniform(20, 150, rows).round(1)
    floor = random.integers(0, 9, rows)
    city = random.integers(0, 3, rows)
    rent = 300 + 11 * size + 15 * floor + 200 * city + random.normal(0, 20, rows)
    return {
        "size": size,
        "floor": floor,
        "city": [CITIES[c] for c in city],
        "rent": rent.round(2),
        "dear": ["yes" if r > 1400 else "no" for r in rent],
    }


def test_arrays_by_themselves_and_as_lists() -> None:
    x, y = blobs()
    one = cr.train(small(), (x, y), epochs=2)
    other = cr.train(small(), [x.tolist(), y.tolist()], epochs=2)
    assert one.task == "multiclass"
    assert one.classes == ("0", "1", "2")
    assert one.metrics == other.metrics


def test_the_networks_input_width_is_read_from_the_data() -> None:
    x, y = blobs(width=7)
    run = cr.train(small(), (x, y), epochs=1)
    assert run.net.layers[0].weight.shape == (7, 8)
    column = cr.train(small(1), (x[:, 0], y), epochs=1, task="regression")
    assert column.net.layers[0].weight.shape == (1, 8)
    assert column.predict(x[:, 0]).shape == (60,)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_dataframe_with_a_target_of_either_kind(frame: Any) -> None:
    table = frame(flats())
    dear = cr.train(small(1), table, target="dear", epochs=60, batch_size=16)
    assert dear.task == "binary"
    assert dear.classes == ("no", "yes")
    assert set(dear.predict(table)) <= {"no", "yes"}
    assert dear.metrics["accuracy"] > 0.9

    rent = cr.train(small(1), table, target="rent", epochs=60, batch_size=16)
    assert rent.task == "regression"
    assert rent.metrics["r2"] > 0.9


def test_the_path_of_a_table(tmp_path: Path) -> None:
    pd.DataFrame(flats()).to_csv(tmp_path / "flats.csv", index=False)
    run = cr.train(small(1), tmp_path / "flats.csv", target="dear", epochs=2)
    same = cr.train(small(1), str(tmp_path / "flats.csv"), target="dear", epochs=2)
    assert run.metrics == same.metrics
    assert run.config["dataset"]["name"] == "flats.csv"
    found = run.predict(tmp_path / "flats.csv")
    np.testing.assert_array_equal(found, run.predict(pd.DataFrame(flats())))


def test_regression_on_a_table_is_told_in_the_tables_own_units() -> None:
    """Training is on a standardised target; MAE and RMSE are in francs, not in deviations."""
    table = pd.DataFrame(flats())
    run = cr.train(small(1), table, target="rent", epochs=80, batch_size=16)
    settings = run.config["settings"]
    rents = table["rent"].to_numpy()
    _, held_out = split(rents, settings["validation"], "regression", settings["seed"])
    guess = run.predict(table.iloc[held_out])
    truth = rents[held_out]
    assert run.metrics["mae"] == pytest.approx(np.abs(guess - truth).mean(), rel=1e-5)
    assert run.metrics["rmse"] == pytest.approx(np.sqrt(((guess - truth) ** 2).mean()), rel=1e-5)
    assert run.metrics["loss"] == pytest.approx(
        (run.metrics["rmse"] / np.delete(rents, held_out).std()) ** 2, rel=1e-4
    )
    assert run.history["mae"][-1] > 5, "the training rows' score too"
    assert 5 < run.history["held_out_mae"][-1] < 100
    evaluated = run.record.evaluated
    assert evaluated is not None
    np.testing.assert_allclose(evaluated.truth, truth, rtol=1e-6)
    np.testing.assert_allclose(evaluated.predicted, guess, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "task", "outputs", "rows", "held_out"),
    [
        ("digits", "multiclass", 10, 1438, 359),
        ("spirals", "binary", 1, 194, 0),
        ("xor", "binary", 1, 4, 0),
        ("parity", "binary", 1, 16, 0),
        ("encoder", "multiclass", 4, 4, 0),
        ("symmetry", "binary", 1, 64, 0),
    ],
)
def test_built_in_sets_by_name(
    name: str, task: str, outputs: int, rows: int, held_out: int
) -> None:
    """Of sets that must be learned whole, nothing is held out unless asked for."""
    events = Events()
    run = cr.train(small(outputs), name, epochs=1, watchers=[events])
    (started,) = events.of(RunStarted)
    assert (run.task, started.train_rows, started.held_out_rows) == (task, rows, held_out)
    assert run.record.evaluated is not None
    assert run.record.evaluated.rows == ("held-out" if held_out else "training")


def test_a_task_may_be_chosen_for_arrays_and_for_built_in_sets() -> None:
    x, y = blobs()
    assert cr.train(small(1), (x, y), task="regression", epochs=1).task == "regression"
    bits = cr.train(small(1), "xor", task="regression", epochs=1)
    assert (bits.task, bits.classes) == ("regression", ())
    hot = cr.train(small(4), "encoder", task="regression", epochs=1)
    assert hot.predict(np.eye(4)).shape == (4, 4)


def test_a_data_set_made_by_hand() -> None:
    x, y = blobs()
    dataset = Dataset("mine", x, y, "multiclass", ("a", "b", "c"))
    run = cr.train(small(), dataset, epochs=20)
    assert set(run.predict(x)) <= {"a", "b", "c"}
    assert run.summary()["dataset"] == "mine"


def test_images_keep_their_axes() -> None:
    x, y = blobs(width=12)
    net = cr.nn.Sequential(cr.nn.Flatten(), cr.nn.Dense(3))
    run = cr.train(net, (x.reshape(-1, 3, 4), y), epochs=1)
    assert run.predict(x.reshape(-1, 3, 4)).shape == (60,)


def test_validation_is_a_share_or_a_number_of_rows() -> None:
    x, y = blobs()
    for validation, held_out in ((0.25, 15), (15, 15), (np.int64(15), 15), (0, 0), (0.0, 0)):
        events = Events()
        run = cr.train(small(), (x, y), epochs=1, validation=validation, watchers=[events])
        (started,) = events.of(RunStarted)
        assert (started.train_rows, started.held_out_rows) == (60 - held_out, held_out)
        assert run.config["settings"]["validation"] == held_out


def test_what_a_run_predicts_has_the_form_of_its_targets() -> None:
    x, y = line(outputs=1)
    run = cr.train(small(1), (x, y[:, 0]), epochs=2)
    assert run.predict(x).shape == (50,), "[rows], so that predict(x) - y broadcasts as it should"
    x, y = line(outputs=2)
    assert cr.train(small(2), (x, y), epochs=2).predict(x).shape == (50, 2)
    x, y = blobs(classes=2)
    run = cr.train(small(1), (x, np.where(y == 1, "spam", "ham")), epochs=30)
    shares = run.predict_probabilities(x)
    assert run.classes == ("ham", "spam")
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(run.predict(x), np.array(run.classes)[shares.argmax(axis=1)])
