"""`TableEncoder`: what it infers, what it encodes, and that only training rows have a say."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.special import expit, softmax
from sklearn import datasets, preprocessing

from chainrule.data import (
    TableEncoder,
    fingerprint,
    fit,
    from_table,
    infer_schema,
    read_table,
    split,
)
from chainrule.errors import DamagedFileError, DataError, NonFiniteError, ShapeError

ROWS = 300


def passengers() -> pd.DataFrame:
    """A made-up passenger list: numbers, flags, categories, dates, gaps, names and a row number."""
    g = np.random.default_rng(0)
    days = pd.Timestamp("1912-04-10") + pd.to_timedelta(g.integers(0, 900, ROWS), unit="D")
    rare = np.array(["C", "Q", "S"])[g.integers(0, 3, ROWS)].astype(object)
    rare[[3, 7]], rare[g.random(ROWS) < 0.1] = ["Z", "Y"], None
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, ROWS + 1),
            "survived": g.integers(0, 2, ROWS),
            "class": g.integers(1, 4, ROWS),
            "name": [f"Passenger {i}" for i in range(ROWS)],
            "sex": g.choice(["male", "female"], ROWS),
            "age": np.where(g.random(ROWS) < 0.2, np.nan, g.normal(30, 10, ROWS).round(1)),
            "port": rare,
            "alone": g.random(ROWS) < 0.5,
            "boarded": days,
            "ship": "RMS",
        }
    )


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return passengers()


def iris_csv(folder: Path) -> Path:
    frame = datasets.load_iris(as_frame=True).frame
    names = np.array(["setosa", "versicolor", "virginica"])
    frame["species"] = names[frame.pop("target")]
    path = folder / "iris.csv"
    frame.to_csv(path, index=False)
    return path


def test_iris_is_said_in_one_line(tmp_path: Path) -> None:
    dataset, encoder, train, held_out = from_table(read_table(iris_csv(tmp_path)), "species")
    assert encoder.describe() == (
        "iris.csv: 150 rows, 4 numbers -> species (3 classes: setosa, versicolor, virginica)"
    )
    assert encoder.notes() == ()
    assert np.bincount(dataset.y[held_out]).tolist() == [10, 10, 10]
    assert (dataset.task, dataset.classes) == ("multiclass", ("setosa", "versicolor", "virginica"))
    assert dataset.source["target"] == "species"
    assert len(train) == 120


def test_numbers_are_standardised_as_scikit_learn_does() -> None:
    """Training rows have mean 0 and deviation 1; 1e-5 is float32's rounding of values near 10."""
    frame = datasets.load_wine(as_frame=True).frame
    dataset, _, train, _ = from_table(frame, "target")
    x = frame.drop(columns="target").to_numpy()
    scaler = preprocessing.StandardScaler().fit(x[train])
    np.testing.assert_allclose(dataset.x, scaler.transform(x), rtol=1e-5, atol=1e-6)
    assert dataset.x.dtype == np.float32


def test_statistics_are_taken_in_float64() -> None:
    """A spread far below float32's resolution of the values is still seen."""
    frame = pd.DataFrame({"x": 1e9 + np.arange(100.0) / 100, "y": [0, 1] * 50})
    dataset, *_ = from_table(frame, "y", validation=0)
    assert abs(float(dataset.x.std()) - 1) < 1e-5
    huge = pd.DataFrame({"x": [1e300, -1e300] * 50, "y": [0, 1] * 50})
    assert from_table(huge, "y", validation=0)[0].x[:2].tolist() == [[1], [-1]]


def test_every_kind_of_column_is_encoded(people: pd.DataFrame) -> None:
    dataset, encoder, train, _ = from_table(people, "survived", seed=1)
    assert encoder.describe() == (
        "table: 300 rows, 2 numbers, 2 categories, 1 true/false column, 1 date "
        "-> survived (2 classes: 0, 1)"
    )
    x = dict(zip(encoder.feature_names, dataset.x.T, strict=True))
    gap = people["age"].isna().to_numpy()
    mean, std = people["age"][train].mean(), people["age"][train].std(ddof=0)
    np.testing.assert_array_equal(x["age (missing)"], gap)
    expected = np.where(gap, 0, (people["age"] - mean) / std)
    np.testing.assert_allclose(x["age"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(x["sex=female"], people["sex"] == "female")
    np.testing.assert_array_equal(x["sex=male"], people["sex"] == "male")
    np.testing.assert_array_equal(x["alone"], people["alone"])
    for port in "CQS":
        np.testing.assert_array_equal(x[f"port={port}"], people["port"] == port)
    np.testing.assert_array_equal(x["port (other)"], people["port"].isin(["Y", "Z"]))
    np.testing.assert_array_equal(x["port (missing)"], people["port"].isna())
    days = (people["boarded"] - pd.Timestamp(0)).dt.days
    weekday = 2 * np.pi * people["boarded"].dt.day_of_week / 7
    shifted = weekday - 2 * np.pi * 3 / 7  # 1970-01-01 was a Thursday
    np.testing.assert_allclose(x["boarded (weekday cos)"], np.cos(shifted), atol=1e-6)
    np.testing.assert_allclose(
        x["boarded (season sin)"], np.sin(2 * np.pi * days / 365.2425), atol=1e-5
    )
    assert "boarded (clock sin)" not in x
    assert encoder.left_out == ("PassengerId", "name", "ship")


def test_what_was_left_out_and_filled_in_is_said(people: pd.DataFrame) -> None:
    _, encoder, train, _ = from_table(people, "survived")
    gaps = int(people["age"][train].isna().sum())
    assert encoder.notes()[:3] == (
        "left out PassengerId: an identifier: another whole number in every row",
        "left out name: free text or an identifier: another value in most rows (see --text)",
        "left out ship: one value in all training rows",
    )
    said = "\n".join(encoder.notes())
    assert f"age: {gaps} training rows have no value; their mean stands in" in said
    assert "port: 2 rarer values share the slot 'other'" in said


def test_held_out_rows_have_no_say(people: pd.DataFrame) -> None:
    """Whatever stands in the held-out rows, the encoder is the same to the last bit."""
    _, encoder, train, held_out = from_table(people, "survived")
    changed = people.copy()
    for column in ("age", "class"):
        changed.loc[held_out, column] = changed.loc[held_out, column].fillna(0) * 1000 + 12345
    changed.loc[held_out, ["sex", "port", "ship"]] = "unheard of"
    changed.loc[held_out, "boarded"] = pd.Timestamp("2050-06-01 12:34")
    changed.loc[held_out, "alone"] = True
    _, other, train_again, _ = from_table(changed, "survived")
    assert train_again.tolist() == train.tolist()
    assert other == encoder
    changed.loc[train[0], "class"] += 1  # and the test can fail
    assert from_table(changed, "survived")[1] != encoder


def test_held_out_targets_have_no_say_in_the_scale_of_the_target() -> None:
    frame = datasets.load_diabetes(as_frame=True).frame
    _, encoder, train, held_out = from_table(frame, "target")
    frame.loc[held_out, "target"] *= 100
    assert from_table(frame, "target")[1] == encoder
    assert encoder.target.mean == pytest.approx(frame["target"][train].mean(), rel=1e-12)


def test_frames_of_every_library_and_a_file_encode_alike(
    people: pd.DataFrame, tmp_path: Path
) -> None:
    people.to_csv(tmp_path / "people.csv", index=False)
    pl.from_pandas(people).write_parquet(tmp_path / "people.parquet")
    frames: list[Any] = [
        people,
        people.convert_dtypes(),
        people.convert_dtypes(dtype_backend="pyarrow"),
        pl.from_pandas(people),
        pl.from_pandas(people).with_columns(pl.col("port", "sex").cast(pl.Categorical)),
        pa.Table.from_pandas(people),
        read_table(tmp_path / "people.csv"),
        read_table(tmp_path / "people.parquet"),
    ]
    results = [from_table(frame, "survived") for frame in frames]
    assert len({fingerprint(dataset) for dataset, *_ in results}) == 1
    assert all(r[1].features == results[0][1].features for r in results)


def test_encoding_twice_or_row_by_row_gives_the_same(people: pd.DataFrame) -> None:
    dataset, encoder, *_ = from_table(people, "survived")
    whole = encoder.encode(people)
    np.testing.assert_array_equal(whole, dataset.x)
    np.testing.assert_array_equal(encoder.encode(people), whole)
    rows = [encoder.encode(people.iloc[[row]]) for row in range(0, ROWS, 37)]
    np.testing.assert_array_equal(np.vstack(rows), whole[::37])
    np.testing.assert_array_equal(encoder.encode_target(people), dataset.y)


def test_a_single_row_of_a_file_is_encoded_as_in_the_whole(
    people: pd.DataFrame, tmp_path: Path
) -> None:
    """Alone, a value may look like another kind: a code like a number, a flag, an empty column."""
    frame = people.assign(code=np.where(people["alone"], "A1", "15"))
    path = tmp_path / "people.csv"
    frame.to_csv(path, index=False)
    dataset, encoder, *_ = from_table(read_table(path), "survived")
    header, *lines = path.read_text().splitlines()
    for row in (0, 3, 7, int(frame["age"].isna().argmax()), int(frame["port"].isna().argmax())):
        path.write_text(f"{header}\n{lines[row]}\n")
        np.testing.assert_array_equal(encoder.encode(read_table(path))[0], dataset.x[row])


def test_json_brings_the_encoder_back_exactly(people: pd.DataFrame) -> None:
    for frame, target in (
        (people, "survived"),
        (datasets.load_diabetes(as_frame=True).frame, "target"),
    ):
        dataset, encoder, *_ = from_table(frame, target)
        again = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
        assert again == encoder
        np.testing.assert_array_equal(again.encode(frame), dataset.x)
        assert (again.describe(), again.notes()) == (encoder.describe(), encoder.notes())


def damaged(key: str, value: object, part: str | None = None) -> Any:
    def damage(encoder: dict[str, Any]) -> None:
        place = {"target": encoder["target"], None: encoder}.get(part, encoder["features"][0])
        place[key] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        damaged("format", 2),
        damaged("rows", -1),
        damaged("features", []),
        damaged("features", {}),
        damaged("features", [3]),
        damaged("target", None),
        damaged("task", "guess", "target"),
        damaged("classes", ["one"], "target"),
        damaged("classes", "01", "target"),
        damaged("kind", "os.system", "feature"),
        damaged("std", 0.0, "feature"),
        damaged("mean", float("nan"), "feature"),
        damaged("mean", "1", "feature"),
        damaged("mean", 10**400, "feature"),
        damaged("missing", True, "feature"),
        damaged("name", None, "feature"),
    ],
)
def test_a_damaged_encoder_is_refused(damage: Any, people: pd.DataFrame) -> None:
    encoder = from_table(people, "survived")[1].to_json()
    damage(encoder)
    with pytest.raises(DamagedFileError, match="table encoder is damaged"):
        TableEncoder.from_json(encoder)
    with pytest.raises(DamagedFileError, match="no JSON object"):
        TableEncoder.from_json([])


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 20, "binary", ("a", "b")),
        ([True, False] * 20, "binary", ("false", "true")),
        (["c", "a", "b", "a"] * 10, "multiclass", ("a", "b", "c")),
        ([0, 1, 2, 1] * 10, "multiclass", ("0", "1", "2")),
        ([0.0, 1.0] * 20, "regression", ()),
        (list(range(100, 140)), "regression", ()),
    ],
)
def test_the_target_decides_the_task(values: list[Any], task: str, classes: tuple[str]) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": values})
    dataset, encoder, *_ = from_table(frame, "y", validation=0)
    assert (dataset.task, dataset.classes) == (task, classes)
    decoded = encoder.decode(outputs_that_say(dataset.y, dataset.task, dataset.outputs))["y"]
    if classes:
        assert decoded.tolist() == [str(v).lower() for v in values]
    else:
        np.testing.assert_allclose(decoded, values, rtol=1e-6, atol=1e-6)  # float32's rounding


def outputs_that_say(y: np.ndarray[Any, Any], task: str, width: int) -> np.ndarray[Any, Any]:
    """The outputs of a network that knows the target."""
    if task == "regression":
        return y
    return np.where(y == 1, 3.0, -3.0)[:, None] if task == "binary" else 5.0 * np.eye(width)[y]


def test_a_given_task_overrides_the_inferred_one() -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": [3, 4, 5, 4] * 10, "f": [0.0, 1.0] * 20})
    assert from_table(frame, "y", task="regression")[0].task == "regression"
    assert from_table(frame, "y", task="multiclass")[0].classes == ("3", "4", "5")
    assert from_table(frame, "f", task="binary")[0].classes == ("0", "1")
    assert from_table(frame, "f", task="multiclass")[0].outputs == 2


def test_classes_are_decoded_with_their_probabilities(people: pd.DataFrame) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    logits[0] = [1000, -1000, 0]  # no overflow
    encoder = from_table(people.replace({"sex": {"male": "x"}}), "class", task="multiclass")[1]
    columns = encoder.decode(logits)
    assert list(columns) == ["class", "p(1)", "p(2)", "p(3)"]
    shares = np.stack(list(columns.values())[1:], axis=1)
    np.testing.assert_allclose(shares, softmax(logits.astype(float), axis=1), rtol=1e-12)
    assert columns["class"].tolist() == [str(i + 1) for i in logits.argmax(axis=1)]
    binary = from_table(people, "survived")[1].decode(logits[:, :1])
    np.testing.assert_allclose(binary["p(1)"], expit(logits[:, 0].astype(float)), rtol=1e-12)
    np.testing.assert_allclose(binary["p(0)"] + binary["p(1)"], 1, rtol=1e-12)
    assert binary["survived"].tolist() == [str(int(z > 0)) for z in logits[:, 0]]


def test_regression_is_decoded_to_its_own_units() -> None:
    """The standardised target mapped back is the target, to float32's rounding."""
    frame = datasets.load_diabetes(as_frame=True).frame
    dataset, encoder, train, _ = from_table(frame, "target")
    assert dataset.y.shape == (442, 1)
    assert abs(dataset.y[train].mean()) < 1e-6
    assert abs(dataset.y[train].std() - 1) < 1e-6
    decoded = encoder.decode(dataset.y)
    assert list(decoded) == ["target"]
    np.testing.assert_allclose(decoded["target"], frame["target"], rtol=1e-5)


def test_a_target_far_beyond_the_training_rows_is_refused() -> None:
    frame = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40.0)})
    frame.loc[7, "y"] = 1e300
    seed = next(s for s in range(50) if 7 in split(frame["y"].to_numpy(), 0.2, "regression", s)[1])
    with pytest.raises(DataError, match=r"'y' is too far from .* in row 7"):
        from_table(frame, "y", seed=seed)


def test_outputs_of_the_wrong_width_or_not_finite_are_refused(people: pd.DataFrame) -> None:
    encoder = from_table(people, "survived")[1]
    with pytest.raises(ShapeError, match=r"\(5, 2\), not \(rows, 1\)"):
        encoder.decode(np.zeros((5, 2)))
    with pytest.raises(NonFiniteError, match="row 1"):
        encoder.decode(np.array([[0.0], [np.nan]]))


def test_unseen_values_are_noted_and_treated_as_other(people: pd.DataFrame) -> None:
    _, encoder, *_ = from_table(people, "survived")
    new = people.head(3).copy()
    new["hat"] = 1
    new.loc[0, ["sex", "port"]] = ["unknown", "Hull"]
    new.loc[1, "sex"] = None
    new["alone"] = [True, None, False]
    notes: list[str] = []
    x = dict(zip(encoder.feature_names, encoder.encode(new, notes).T, strict=True))
    assert x["sex=female"][:2].tolist() == x["sex=male"][:2].tolist() == [0, 0]
    assert x["port (other)"][0] == 1
    assert notes[0] == "ignored, since the network was not trained on it: hat"
    said = "\n".join(notes)
    assert "sex: 1 row with a value that no training row had (unknown)" in said
    assert "sex: 1 row without a value, which no training row had" in said
    assert "alone: 1 row without a value, which no training row had" in said
    assert "port: 1 row with a value that few or no training rows had (Hull)" in said


def test_a_column_of_many_levels_keeps_the_commonest() -> None:
    """150 levels, the first 100 twice as frequent: those keep a slot, the rest share one."""
    levels = [f"z{i:03}" for i in range(150)]
    frame = pd.DataFrame({"zip": levels * 2 + levels[:100] * 2, "y": [0, 1] * 250})
    encoder = from_table(frame, "y", validation=0)[1]
    expected = [f"zip=z{i:03}" for i in range(100)]
    assert encoder.feature_names == (*expected, "zip (other)")


def test_constant_but_missing_is_information() -> None:
    frame = pd.DataFrame({"flag": [1.0, None] * 10, "tag": ["x", None] * 10, "y": [0, 1] * 10})
    encoder = from_table(frame, "y", validation=0)[1]
    x = encoder.encode(frame)
    assert encoder.feature_names == ("flag", "flag (missing)", "tag=x", "tag (missing)")
    assert x[:2].tolist() == [[0, 0, 1, 0], [0, 1, 0, 1]]


def test_a_number_called_id_is_kept_unless_it_differs_in_every_row() -> None:
    base = {"y": [0, 1] * 10, "x": np.arange(20.0)}
    for name, values, is_left_out in (
        ("user_id", range(20), True),
        ("userId", range(20), True),
        ("ID", range(20), True),
        ("id", [3, 4] * 10, False),
        ("id", np.arange(20.0), False),  # fractional type
        ("humid", range(20), False),
        ("weight", range(20), False),
    ):
        encoder = from_table(pd.DataFrame({name: values, **base}), "y", validation=0)[1]
        assert (name in encoder.left_out) == is_left_out, name


def test_clock_times_and_durations_and_decimals_are_numbers() -> None:
    start = dt.datetime.fromisoformat("2024-01-01")
    hours = [dt.timedelta(hours=7 * i) for i in range(40)]
    frame = pl.DataFrame(
        {
            "when": [start + hour for hour in hours],
            "zone": pl.Series([start + h for h in hours]).dt.replace_time_zone("Asia/Tokyo"),
            "took": hours,
            "at": [(start + hour).time() for hour in hours],
            "price": pl.Series([i / 4 for i in range(40)]).cast(pl.Decimal(10, 2)),
            "list": [[1]] * 40,
            "y": [0, 1] * 20,
        }
    )
    schema = infer_schema(frame, "y")
    encoder = fit(schema, np.arange(40))
    assert schema.kinds["list"] == "other"
    assert encoder.left_out == ("list",)
    x = dict(zip(encoder.feature_names, encoder.encode(frame).T, strict=True))
    seconds = np.array([hour.total_seconds() for hour in hours])
    for name in ("when (days)", "zone (days)", "took", "price"):
        # equal steps, standardised: the same numbers for every unit, to float32's rounding
        np.testing.assert_allclose(x[name], (seconds - seconds.mean()) / seconds.std(), atol=1e-5)
    angle = 2 * np.pi * (seconds / 86400)
    np.testing.assert_allclose(x["when (clock cos)"], np.cos(angle), atol=1e-5)
    np.testing.assert_allclose(x["zone (clock cos)"], np.cos(angle - 2 * np.pi * 9 / 24), atol=1e-5)
    assert "when (season sin)" not in x  # 12 days say nothing about seasons


def test_an_unnamed_first_column_of_row_numbers_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": np.arange(20) % 7, "y": [0, 1] * 10}).to_csv(path)
    assert from_table(read_table(path), "y")[1].left_out == ("column 1",)


def test_whole_numbers_read_as_classes_are_said() -> None:
    frame = datasets.load_wine(as_frame=True).frame
    (note,) = from_table(frame, "target")[1].notes()
    assert note.startswith("target: 3 different whole numbers, read as classes; the task 'regress")


def test_decimal_commas_are_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;z;y\n" + "\n".join(f"{i},5;{i};{'ab'[i % 2]}" for i in range(20)))
    dataset, encoder, *_ = from_table(read_table(path), "y", validation=0)
    assert encoder.notes() == ("x: commas are read as decimal points",)
    np.testing.assert_array_equal(dataset.x[:, 0], dataset.x[:, 1])


def test_a_class_with_one_row_is_trained_on_and_said() -> None:
    frame = pd.DataFrame({"x": np.arange(21.0), "y": ["a", "b"] * 10 + ["c"]})
    dataset, encoder, train, _ = from_table(frame, "y", validation=0.5)
    assert dataset.y[train].tolist().count(2) == 1
    assert "y: only one row of c; it is trained on, not held out" in encoder.notes()
