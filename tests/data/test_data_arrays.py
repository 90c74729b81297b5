"""Arrays as a `Dataset`: which task they ask for, what is refused, and built-in sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from chainrule.data import BUILTIN, Dataset, fingerprint, from_arrays, load
from chainrule.errors import DataError, ShapeError, UsageError

X4 = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        ([0, 1, 1, 0], "binary", ("0", "1")),
        ([True, False, True, True], "binary", ("false", "true")),
        (["b", "a", "b", "b"], "binary", ("a", "b")),
        (np.array(["b", "a", "b", "b"], dtype=object), "binary", ("a", "b")),
        (np.array(["b", "a", "b", "b"], dtype=np.dtypes.StringDType()), "binary", ("a", "b")),
        ([[0], [1], [1], [0]], "binary", ("0", "1")),
        (["c", "a", "b", "b"], "multiclass", ("a", "b", "c")),
        ([0.0, 1.0, 1.0, 0.0], "regression", ()),  # a fractional type is a number
        ([2, 4, 6, 8], "regression", ()),  # another whole number in every row
        ([0, 1, 2, 3], "regression", ()),
        ([[0.5, 1.0]] * 4, "regression", ()),
        ([[3, 4]] * 4, "regression", ()),
    ],
)
def test_the_task_follows_the_documented_rule(y: Any, task: str, classes: Any) -> None:
    dataset = from_arrays((X4, y))
    assert (dataset.task, dataset.classes) == (task, classes)
    if classes:
        assert dataset.y.dtype == np.int64
        assert dataset.y.shape == (4,)
        named = [str(v).lower() for v in np.asarray(y).reshape(-1).tolist()]
        assert [classes[i] for i in dataset.y] == named
    else:
        assert dataset.y.dtype == np.float32
        np.testing.assert_array_equal(dataset.y, np.asarray(y, dtype=np.float32).reshape(4, -1))


@pytest.mark.parametrize(
    ("distinct", "rows", "is_classes"),
    [
        (range(10), 20, True),  # 0 .. 9, two rows each
        (range(10), 19, False),
        (range(1, 4), 6, True),  # 1 .. 3
        (range(100), 1000, True),  # 0 .. 99, ten rows each
        (range(100), 999, False),
        (range(3, 9), 120, True),  # six grades in 5 % of the rows
        (range(3, 9), 119, False),
        (range(18, 90), 9000, False),  # ages
    ],
)
def test_whole_numbers_are_classes_when_they_look_like_labels(
    distinct: range, rows: int, is_classes: bool
) -> None:
    y = np.resize(np.array(distinct), rows)
    dataset = from_arrays((np.zeros((rows, 1)), y))
    assert (dataset.task == "multiclass") == is_classes
    if is_classes:
        assert dataset.classes == tuple(str(v) for v in distinct)


def test_a_given_task_overrides_the_rule() -> None:
    assert from_arrays((X4, [0, 1, 1, 0]), task="regression").y.tolist() == [[0], [1], [1], [0]]
    assert from_arrays((X4, [0.0, 1, 1, 0]), task="binary").y.tolist() == [0, 1, 1, 0]
    assert from_arrays((X4, [5, 7, 9, 9]), task="multiclass").classes == ("5", "7", "9")
    assert from_arrays((X4, ["a", "b", "a", "a"]), task="multiclass").outputs == 2
    assert from_arrays((X4, [[1, 0], [0, 1]] * 2), task="regression").outputs == 2
    series, places = np.zeros((4, 3, 2)), [[0, 2, 1], [1, 1, 1], [2, 0, 0], [0, 0, 0]]
    assert from_arrays((series, places), task="multiclass").time == 3
    assert from_arrays((series, places)).task == "regression"
    with pytest.raises(DataError, match="classes 0 to 2"):
        from_arrays((series, places), task="binary")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?", ">f4", ">i2", "object"])
def test_inputs_of_any_number_type_become_float32(dtype: str) -> None:
    x = np.array([[0, 1], [1, 1]]).astype(dtype)
    dataset = from_arrays((x, [0.5, 1.5]))
    assert dataset.x.dtype == np.dtype("float32")
    assert dataset.x.tolist() == [[0, 1], [1, 1]]


def test_images_keep_their_shape_and_one_axis_becomes_a_column() -> None:
    assert from_arrays((np.zeros((3, 8, 8, 1), np.uint8), [0.5, 1, 2])).x.shape == (3, 8, 8, 1)
    assert from_arrays(([1, 2, 3], [0.5, 1, 2])).x.shape == (3, 1)


def test_a_pandas_pair_keeps_its_column_names() -> None:
    frame = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    dataset = from_arrays((frame, pd.Series(["u", "v"])))
    assert dataset.feature_names == ("a", "b")
    assert dataset.classes == ("u", "v")


def test_a_dataset_passes_through() -> None:
    dataset = load("xor")
    assert from_arrays(dataset) is dataset


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("x", "y", "error", "said"),
    [
        (X4, [0, 1], ShapeError, "X has 4 rows and y has 2"),
        ("x.csv", "y.npy", UsageError, r"X is 'x\.csv', which is no \.npy file"),
        (5, [1], ShapeError, "row axis"),
        ([[1, 2], [3]], [0, 1], ShapeError, "rows differ"),
        (np.zeros((2, 1)), np.zeros((2, 1, 1)), ShapeError, r"\[rows\] or \[rows, outputs\]"),
        (np.zeros((0, 2)), [], DataError, "X is empty"),
        (np.zeros((2, 0)), [0, 1], DataError, "X is empty"),
        ([[1, 2], [NAN, 1], [3, INF]], [0, 1, 1], DataError, "NaN at row 1, column 0"),
        ([[1, 2], [NAN, 1], [3, INF]], [0, 1, 1], DataError, "2 such values in 2 of 3 rows"),
        ([[1, 2], [1, -INF]], [0, 1], DataError, "minus infinity at row 1, column 1"),
        ([[1, None], [1, 2]], [0, 1], DataError, "NaN at row 0, column 1"),
        (np.full((2, 3, 3), INF), [0, 1], DataError, r"infinity at row 0, entry \[0, 0\]"),
        ([[1e39]], [0.5], DataError, r"1e\+39, too large for float32, at row 0"),
        ([["a"], ["b"]], [0, 1], DataError, "X holds text"),
        (np.zeros((2, 1), complex), [0, 1], DataError, "complex"),
        (sparse.eye(2).tocsr(), [0, 1], DataError, "sparse"),
        (np.ma.masked_equal([[1], [2]], 2), [0, 1], DataError, "masked"),
        ([1, 2], [NAN, 1.0], DataError, "y holds NaN at row 0"),
        ([1, 2, 3], ["a", None, "b"], DataError, "y holds None at row 1"),
        ([1, 2], np.array(["2020-01-01"] * 2, "M8[D]"), DataError, "dates"),
        ([1, 2], [1, 1], DataError, "single class, '1'"),
        ([1, 2], ["a", "a"], DataError, "single class, 'a'"),
        ([1, 2], [[1, 0], [0, 1]], DataError, r"looks one-hot.*\n.*argmax"),
    ],
)
def test_arrays_that_cannot_be_learned_from_say_where(
    x: Any, y: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        from_arrays((x, y))


def test_a_column_name_stands_beside_its_number() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, NAN]})
    with pytest.raises(DataError, match=r"row 1, column 1 \('b'\)"):
        from_arrays((frame, [0, 1]))


def test_a_task_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'multiclass'"):
        from_arrays((X4, [0, 1, 2, 0]), task="multi-class")
    with pytest.raises(DataError, match="3 classes"):
        from_arrays((X4, [0, 1, 2, 0]), task="binary")
    with pytest.raises(DataError, match=r"0\.5 at row 2"):
        from_arrays((X4, [0, 1, 0.5, 0]), task="binary")
    with pytest.raises(DataError, match="y holds text"):
        from_arrays((X4, ["a", "b", "a", "a"]), task="regression")


@pytest.mark.parametrize("data", [X4, (X4,), "digits", None, (X4, X4, X4)])
def test_anything_but_a_pair_is_refused(data: object) -> None:
    with pytest.raises(UsageError, match=r"a pair \(X, y\)"):
        from_arrays(data)


def test_fingerprint_is_that_of_the_contents() -> None:
    x, y = np.arange(12.0).reshape(4, 3), [0, 1, 1, 0]
    dataset = from_arrays((x, y))
    same = fingerprint(dataset)
    assert fingerprint(from_arrays((np.asfortranarray(x), y))) == same
    swapped = Dataset("other name", dataset.x.astype(">f4"), dataset.y, "binary", ("0", "1"))
    assert fingerprint(swapped) == same
    other = x.copy()
    other[3, 2] = np.nextafter(np.float32(11), np.float32(12))
    changes = [(other, y), (x, [0, 1, 1, 1]), (x, ["0", "a", "a", "0"]), (x.reshape(4, 3, 1), y)]
    assert same not in [fingerprint(from_arrays(change)) for change in changes]


def test_rows_of_x_and_y_must_match() -> None:
    with pytest.raises(ShapeError, match="3 rows and y has 2"):
        Dataset("d", np.zeros((3, 1), np.float32), np.zeros(2), "regression")


def test_the_digits_are_those_of_scikit_learn() -> None:
    digits, theirs = load("digits"), load_digits()
    np.testing.assert_array_equal(digits.x * 16, theirs.data)
    np.testing.assert_array_equal(digits.y, theirs.target)
    assert (digits.x.dtype, digits.outputs, digits.task) == (np.float32, 10, "multiclass")


def test_the_small_problems_are_those_of_the_literature() -> None:
    xor, parity, symmetry = load("xor"), load("parity"), load("symmetry")
    assert {(*map(int, x), int(y)) for x, y in zip(xor.x, xor.y, strict=True)} == {
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
    }
    assert len(np.unique(parity.x, axis=0)) == 16
    assert all(int(x.sum()) % 2 == y for x, y in zip(parity.x, parity.y, strict=True))
    assert len(np.unique(symmetry.x, axis=0)) == 64
    assert symmetry.y.sum() == 8  # half of the bits are free
    assert all((list(x) == list(x)[::-1]) == y for x, y in zip(symmetry.x, symmetry.y, strict=True))
    np.testing.assert_array_equal(load("encoder").x, np.eye(4))


def test_the_spirals_follow_the_published_formula() -> None:
    spirals = load("spirals")
    assert spirals.x.shape == (194, 2)
    assert spirals.x[0].tolist() == [0, 6.5]
    first = spirals.x[spirals.y == 1]
    np.testing.assert_array_equal(first, -spirals.x[spirals.y == 0])
    radius, angle = np.hypot(*first.T), np.unwrap(np.arctan2(*first.T))
    # float32 holds coordinates up to 6.5 to within 2.4e-7
    np.testing.assert_allclose(radius, 6.5 * (1 - np.arange(97) / 104), atol=1e-6)
    np.testing.assert_allclose(angle[-1] - angle[0], 6 * np.pi, atol=1e-5)


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_set_loads_and_says_its_source(name: str) -> None:
    dataset = load(name)
    assert dataset.name == name
    assert dataset.source["about"] == BUILTIN[name]
    assert dataset.describe().startswith(f"{name}: {dataset.rows} rows, ")
    assert set(dataset.y.tolist()) == set(range(len(dataset.classes)))
    assert fingerprint(dataset) == fingerprint(load(name))


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        load("digit")
