"""Metrics agree with scikit-learn, on random data, with ties, and at their edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics as sk

from chainrule.training import metrics

# Both sum float64 numbers, in another order.
CLOSE = {"rel": 1e-10, "abs": 1e-12}


@st.composite
def binary(draw: st.DrawFn) -> tuple[Any, Any]:
    """Labels of both classes, and logits from few values, so that many of them tie."""
    rows = draw(st.integers(2, 40))
    truth = draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows))
    truth[:2] = [0, 1]
    steps = draw(st.lists(st.integers(-4, 4), min_size=rows, max_size=rows))
    return np.array(truth), np.array(steps) / draw(st.sampled_from([1.0, 3.0, 100.0]))


@st.composite
def several(draw: st.DrawFn) -> tuple[Any, Any]:
    """Labels of three to five classes, each of which occurs, and logits with ties among them."""
    classes = draw(st.integers(3, 5))
    rows = draw(st.integers(classes, 30))
    rest = st.lists(st.integers(0, classes - 1), min_size=rows - classes, max_size=rows - classes)
    truth = [*range(classes), *draw(rest)]
    flat = draw(st.lists(st.integers(-6, 6), min_size=rows * classes, max_size=rows * classes))
    return np.array(truth), np.array(flat, float).reshape(rows, classes) / 2


@given(binary())
def test_two_classes_are_measured_as_by_scikit_learn(data: tuple[Any, Any]) -> None:
    truth, logits = data
    found = metrics.classification(truth, logits[:, None], 2)
    chosen = logits > 0
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, chosen), **CLOSE)
    assert found["f1"] == pytest.approx(sk.f1_score(truth, chosen, zero_division=0), **CLOSE)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, logits), **CLOSE)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, expit(logits)), **CLOSE)
    assert found == metrics.classification(truth, logits, 2), "[rows, 1] is [rows]"


@given(several())
def test_many_classes_are_measured_as_by_scikit_learn(data: tuple[Any, Any]) -> None:
    truth, logits = data
    found = metrics.classification(truth, logits, logits.shape[1])
    given_ = softmax(logits, axis=1)
    chosen = logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, chosen), **CLOSE)
    macro = sk.f1_score(truth, chosen, average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(macro, **CLOSE)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, given_), **CLOSE)
    # Ties among probabilities are those of the very numbers that ours are ranked by.
    ours = metrics.probabilities(logits)
    np.testing.assert_allclose(ours, given_, rtol=1e-12)
    area = np.mean([sk.roc_auc_score(truth == k, ours[:, k]) for k in range(ours.shape[1])])
    assert found["roc_auc"] == pytest.approx(area, **CLOSE)
    assert found["roc_auc"] == pytest.approx(
        sk.roc_auc_score(truth, ours, multi_class="ovr", average="macro"), **CLOSE
    )


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regression_is_measured_as_by_scikit_learn(outputs: int, dtype: Any) -> None:
    random = np.random.default_rng(outputs)
    truth = (random.normal(size=(57, outputs)) * 10 + 300).astype(dtype)
    guess = (truth + random.normal(size=truth.shape)).astype(dtype)
    found = metrics.regression(truth, guess)
    exact, near = truth.astype(float), guess.astype(float)
    assert found["r2"] == pytest.approx(sk.r2_score(exact, near), **CLOSE)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(exact, near), **CLOSE)
    assert found["rmse"] == pytest.approx(math.sqrt(sk.mean_squared_error(exact, near)), **CLOSE)


def test_r2_of_a_constant_truth_is_nan_and_not_a_huge_number() -> None:
    """The mean of 0.1, ten times, is not 0.1 in floating point: the spread is not quite zero."""
    truth = np.full((10, 1), 0.1)
    assert math.isnan(metrics.regression(truth, truth + 1)["r2"])


def test_roc_auc_is_one_for_a_perfect_order_and_a_half_for_no_order() -> None:
    truth = np.array([0, 0, 1, 1])
    assert metrics.roc_auc(truth, np.array([-2.0, -1.0, 1.0, 2.0])) == 1.0
    assert metrics.roc_auc(truth, np.array([2.0, 1.0, -1.0, -2.0])) == 0.0
    assert metrics.roc_auc(truth, np.zeros(4)) == 0.5


def test_roc_auc_counts_only_classes_with_rows_on_both_sides() -> None:
    assert math.isnan(metrics.roc_auc(np.array([1, 1]), np.array([0.0, 1.0])))
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1.0, 0.0]])
    truth = np.array([0, 1, 1])  # nothing of class 2
    assert metrics.roc_auc(truth, logits) == 1.0


def test_f1_leaves_out_classes_that_neither_occur_nor_are_predicted() -> None:
    truth, chosen = np.array([0, 0, 1]), np.array([0, 1, 1])
    counts = metrics.confusion(truth, chosen, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert metrics.f1(counts) == pytest.approx(sk.f1_score(truth, chosen, average="macro"))


def test_extreme_logits_give_finite_probabilities_and_losses() -> None:
    for logits in (np.array([1e4, -1e4]), np.array([[1e4, 0.0], [0.0, 1e4]])):
        shares = metrics.probabilities(logits)
        assert np.isfinite(shares).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1.0)
        assert metrics.log_loss(np.array([0, 1]), logits) in (0.0, 1e4)


def test_metrics_are_computed_in_float64_whatever_the_outputs_are() -> None:
    """In float32 the mean of a million losses is wrong in the fourth digit."""
    outputs = np.full(1_000_000, 0.1, np.float32)
    truth = np.arange(1_000_000) % 2
    exact = np.logaddexp(0, np.float64(np.float32(0.1))) - np.float64(np.float32(0.1)) / 2
    assert metrics.log_loss(truth, outputs) == pytest.approx(exact, rel=1e-12)
