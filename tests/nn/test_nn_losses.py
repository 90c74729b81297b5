"""Losses: right values, weights and derivatives, and mistakes that are told before a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import log_loss

import chainrule as cr
from chainrule.errors import DataError, IndexRangeError, ShapeError, UsageError
from chainrule.nn import losses

random = np.random.default_rng(5)
ROWS, CLASSES = 6, 4
VALUES, GOALS = random.normal(size=(ROWS, 3)), random.normal(size=(ROWS, 3))
LOGITS = random.normal(0, 2, (ROWS, CLASSES))
LABELS = np.array([0, 3, 1, 1, 2, 0])
SHARES = random.dirichlet(np.ones(CLASSES), ROWS)
SCORES, BITS = random.normal(0, 2, (ROWS, 1)), np.array([[0.0], [1], [1], [0], [1], [0]])
WEIGHTS = np.array([1.0, 2, 0, 3, 1, 2])

# For each loss: arguments that suit it, and the loss of each row by another formula.
log_p = special.log_softmax(LOGITS, axis=-1)
rivals = np.where(np.arange(CLASSES) == LABELS[:, None], -np.inf, LOGITS).max(axis=1)
errors = VALUES - GOALS
CASES: dict[str, tuple[Any, Any, np.ndarray]] = {
    "squared_error": (VALUES, GOALS, np.sum(errors**2, axis=1) / 2),
    "mean_squared_error": (VALUES, GOALS, np.mean(errors**2, axis=1)),
    "mean_absolute_error": (VALUES, GOALS, np.mean(np.abs(errors), axis=1)),
    "huber": (VALUES, GOALS, np.mean(special.huber(1.0, errors), axis=1)),
    "binary_cross_entropy": (
        SCORES,
        BITS,
        -np.where(BITS == 1, special.log_expit(SCORES), special.log_expit(-SCORES))[:, 0],
    ),
    "cross_entropy": (LOGITS, LABELS, -log_p[np.arange(ROWS), LABELS]),
    "kl_divergence": (LOGITS, SHARES, np.sum(special.rel_entr(SHARES, np.exp(log_p)), axis=1)),
    "hinge": (LOGITS, LABELS, np.maximum(0, 1 + rivals - LOGITS[np.arange(ROWS), LABELS])),
}
every_loss = pytest.mark.parametrize("name", losses.LOSSES)


def test_every_loss_has_a_case() -> None:
    assert set(CASES) == set(losses.LOSSES)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_is_the_mean_over_rows(name: str, dtype: Any) -> None:
    """In the dtype of the outputs, traced or not."""
    outputs, targets, rows = CASES[name]
    function = losses.by_name(name)
    for found in (
        function(outputs.astype(dtype), targets),
        cr.compile(function)(outputs.astype(dtype), targets),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, rows.mean(), rtol=16 * float(np.finfo(dtype).eps))


@every_loss
def test_gradients_agree_with_differences_to_second_order(name: str) -> None:
    outputs, targets, _ = CASES[name]
    cr.check_grads(lambda outputs: losses.by_name(name)(outputs, targets), (outputs,))
    weighted = lambda outputs: losses.by_name(name)(outputs, targets, weights=WEIGHTS)  # noqa: E731
    cr.check_grads(weighted, (outputs,))


@every_loss
def test_a_row_of_weight_two_counts_like_two_rows(name: str) -> None:
    """And one of weight 0 like none: the loss is the mean over the repeated rows."""
    outputs, targets, rows = CASES[name]
    copies = WEIGHTS.astype(int)
    function = losses.by_name(name)
    found = function(outputs, targets, weights=WEIGHTS)
    np.testing.assert_allclose(found, np.average(rows, weights=WEIGHTS), rtol=1e-13)
    repeated = function(np.repeat(outputs, copies, axis=0), np.repeat(targets, copies, axis=0))
    np.testing.assert_allclose(found, repeated, rtol=1e-13)


@every_loss
def test_weights_of_zero_leave_nothing(name: str) -> None:
    """Where no row counts the loss is 0, not 0 / 0, and so is its gradient."""
    outputs, targets, _ = CASES[name]
    value, gradient = cr.value_and_grad(
        lambda o: losses.by_name(name)(o, targets, weights=np.zeros(ROWS))
    )(outputs)
    assert value == 0
    assert not gradient.any()


def test_a_row_of_weight_zero_does_not_count_even_if_it_is_nan() -> None:
    outputs = VALUES.copy()
    outputs[2] = np.nan
    value, gradient = cr.value_and_grad(
        lambda o: losses.mean_squared_error(o, GOALS, weights=WEIGHTS)
    )(outputs)
    np.testing.assert_allclose(value, losses.mean_squared_error(VALUES, GOALS, weights=WEIGHTS))
    assert np.isfinite(gradient).all()
    assert not gradient[2].any()


# --- of classes -----------------------------------------------------------------------------


def test_class_weights_weigh_each_row_by_its_class() -> None:
    """As in sklearn's log_loss, where the weight of a row is that of its class."""
    each = np.array([1.0, 0.5, 3.0, 2.0])
    found = losses.cross_entropy(LOGITS, LABELS, class_weights=each)
    expected = log_loss(LABELS, np.exp(log_p), sample_weight=each[LABELS])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    both = losses.cross_entropy(LOGITS, LABELS, class_weights=each, weights=WEIGHTS)
    expected = log_loss(LABELS, np.exp(log_p), sample_weight=each[LABELS] * WEIGHTS)
    np.testing.assert_allclose(both, expected, rtol=1e-12)
    one_hot = losses.cross_entropy(LOGITS, np.eye(CLASSES)[LABELS], class_weights=each)
    np.testing.assert_allclose(one_hot, found, rtol=1e-13)
    margins = CASES["hinge"][2]
    found = losses.hinge(LOGITS, LABELS, class_weights=each)
    np.testing.assert_allclose(found, np.average(margins, weights=each[LABELS]), rtol=1e-13)
    found = losses.kl_divergence(LOGITS, SHARES, class_weights=each)
    expected = np.average(CASES["kl_divergence"][2], weights=SHARES @ each)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_class_weights_of_two_classes() -> None:
    rows = CASES["binary_cross_entropy"][2]
    each = np.array([0.25, 4.0])
    found = losses.binary_cross_entropy(SCORES, BITS, class_weights=each)
    expected = np.average(rows, weights=each[BITS[:, 0].astype(int)])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_labels_of_any_integer_type(kind: Any) -> None:
    expected = losses.cross_entropy(LOGITS, LABELS)
    assert losses.cross_entropy(LOGITS, LABELS.astype(kind)) == expected
    assert cr.compile(losses.cross_entropy)(LOGITS, LABELS.astype(kind)) == pytest.approx(expected)


def test_labels_and_one_hot_targets_give_the_same() -> None:
    by_label = losses.cross_entropy(LOGITS, LABELS)
    for dtype in (np.int64, np.float64, np.bool_):
        one_hot = np.eye(CLASSES)[LABELS].astype(dtype)
        np.testing.assert_allclose(losses.cross_entropy(LOGITS, one_hot), by_label, rtol=1e-14)


def test_cross_entropy_of_sequences_is_the_mean_over_places() -> None:
    """Logits [rows, time, classes] and labels [rows, time]; weights of rows, or of places."""
    logits, labels = LOGITS.reshape(2, 3, CLASSES), LABELS.reshape(2, 3)
    places = CASES["cross_entropy"][2].reshape(2, 3)
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), places.mean())
    by_row = losses.cross_entropy(logits, labels, weights=np.array([1.0, 3.0]))
    np.testing.assert_allclose(by_row, (places[0].mean() + 3 * places[1].mean()) / 4)
    mask = np.array([[1.0, 1, 0], [1, 0, 0]])
    by_place = losses.cross_entropy(logits, labels, weights=mask)
    np.testing.assert_allclose(by_place, np.average(places, weights=mask))


def test_kl_is_cross_entropy_less_the_entropy_and_zero_for_a_perfect_fit() -> None:
    entropy = special.entr(SHARES).sum(axis=1).mean()
    found = losses.kl_divergence(LOGITS, SHARES)
    np.testing.assert_allclose(found, losses.cross_entropy(LOGITS, SHARES) - entropy, rtol=1e-12)
    np.testing.assert_allclose(losses.kl_divergence(np.log(SHARES), SHARES), 0, atol=1e-15)


def test_a_share_of_zero_counts_nothing_also_of_minus_infinity() -> None:
    logits, shares = np.array([[0.0, 0.0, -np.inf]]), np.array([[0.25, 0.75, 0.0]])
    np.testing.assert_allclose(losses.cross_entropy(logits, shares), np.log(2))
    divergence = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(losses.kl_divergence(logits, shares), divergence)
    np.testing.assert_allclose(losses.cross_entropy(logits, np.array([1])), np.log(2))
    gradient = cr.grad(losses.cross_entropy)(logits, shares)
    np.testing.assert_allclose(gradient, [[0.25, -0.25, 0]], atol=1e-15)


def test_kl_can_teach_the_targets_too() -> None:
    """A teacher's probabilities may be computed in the same trace; the gradient reaches them."""
    teacher = random.normal(size=(ROWS, CLASSES))
    cr.check_grads(lambda o, t: losses.kl_divergence(o, cr.nn.softmax(t)), (LOGITS, teacher))


@pytest.mark.parametrize("logit", [0.0, 50.0, -50.0, 1e4, -1e4])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_is_stable_at_any_logit(logit: float, target: float) -> None:
    """Value, slope and curvature keep their digits, right answers and wrong ones."""
    outputs, targets = np.array([[logit]]), np.array([[target]])
    function = lambda o: losses.binary_cross_entropy(o, targets)  # noqa: E731
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, slope = function(outputs), cr.grad(function)(outputs)
        curvature = cr.hvp(function)(outputs, np.ones((1, 1)))
    wrong = special.expit(-logit if target else logit)
    np.testing.assert_allclose(value, -special.log_expit(logit if target else -logit), rtol=1e-14)
    np.testing.assert_allclose(slope[0, 0], -wrong if target else wrong, rtol=1e-14)
    np.testing.assert_allclose(curvature[0, 0], special.expit(logit) * special.expit(-logit))


@pytest.mark.parametrize("far", [50.0, 1e4])
def test_cross_entropy_is_stable_at_any_logit(far: float) -> None:
    logits = np.array([[far, -far, 0.0], [0.0, 0.0, 0.0]])
    for labels in (np.array([0, 1]), np.array([1, 2])):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            value, slope = cr.value_and_grad(losses.cross_entropy)(logits, labels)
            curvature = cr.hvp(losses.cross_entropy)(logits, labels, np.eye(2, 3))
        p = special.softmax(logits, axis=1)
        hits = np.eye(3)[labels]
        expected = special.logsumexp(logits, axis=1) - np.sum(logits * hits, axis=1)
        np.testing.assert_allclose(value, expected.mean(), rtol=1e-14)
        np.testing.assert_allclose(slope, (p - hits) / 2, atol=1e-15)
        pushed = np.eye(2, 3)
        expected = p * (pushed - np.sum(p * pushed, axis=1, keepdims=True)) / 2
        np.testing.assert_allclose(curvature, expected, atol=1e-15)


# --- of numbers -----------------------------------------------------------------------------


def test_squared_error_is_the_paper_s_e_over_the_number_of_cases() -> None:
    """E = 1/2 sum over cases and outputs; its gradient for one case is output - target."""
    total = 0.5 * sum((o - t) ** 2 for o, t in zip(VALUES.flat, GOALS.flat, strict=True))
    np.testing.assert_allclose(losses.squared_error(VALUES, GOALS) * ROWS, total)
    one = cr.grad(losses.squared_error)(VALUES[:1], GOALS[:1])
    np.testing.assert_allclose(one, VALUES[:1] - GOALS[:1], rtol=1e-15)
    np.testing.assert_allclose(losses.squared_error(np.array([3.0]), np.array([1.0])), 2.0)


def test_absolute_error_has_no_slope_where_there_is_no_error() -> None:
    gradient = cr.grad(losses.mean_absolute_error)(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 5]))
    np.testing.assert_allclose(gradient, [0, 1 / 3, -1 / 3])


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_huber_is_scipys_for_any_delta(delta: float) -> None:
    found = losses.huber(VALUES, GOALS, delta=delta)
    np.testing.assert_allclose(found, special.huber(delta, errors).mean(), rtol=1e-14)
    exact = losses.huber(GOALS, GOALS, delta=delta)
    assert exact == 0
    np.testing.assert_allclose(cr.hvp(losses.huber)(GOALS[:1], GOALS[:1], np.ones((1, 3))), 1 / 3)


def test_huber_of_an_outlier_does_not_overflow() -> None:
    """In float32 the square of 1e30 is infinite; half of it is not what huber takes there."""
    outputs, targets = np.array([1e30, 0.0], np.float32), np.zeros(2, np.float32)
    value, gradient = cr.value_and_grad(losses.huber)(outputs, targets)
    np.testing.assert_allclose([value, *gradient], [5e29, 0.5, 0])


def test_whole_number_targets_take_the_dtype_of_the_outputs() -> None:
    outputs = np.array([0.5, 1.5], np.float32)
    for targets in (np.array([1, 2]), np.array([1.0, 2.0]), [1, 2]):
        found = losses.mean_squared_error(outputs, targets)
        assert found.dtype == np.float32
        assert found == 0.25


# --- hinge ----------------------------------------------------------------------------------


def test_binary_hinge_takes_both_codings() -> None:
    signs = 2 * BITS - 1
    expected = np.maximum(0, 1 - signs * SCORES).mean()
    for targets in (signs, BITS, BITS.astype(int), BITS == 1):
        np.testing.assert_allclose(losses.hinge(SCORES, targets), expected, rtol=1e-15)
        np.testing.assert_allclose(losses.hinge(SCORES[:, 0], targets[:, 0]), expected, rtol=1e-15)
    each = np.array([0.25, 4.0])
    found = losses.hinge(SCORES, BITS, class_weights=each)
    rows = np.maximum(0, 1 - signs * SCORES)
    np.testing.assert_allclose(found, np.average(rows, weights=each[BITS.astype(int)]), rtol=1e-14)
    cr.check_grads(lambda o: losses.hinge(o, BITS), (SCORES,))


def test_hinge_has_no_slope_at_its_kink() -> None:
    assert not cr.grad(losses.hinge)(np.array([1.0]), np.array([1])).any()
    assert not cr.grad(losses.hinge)(np.array([[2.0, 1.0, -5.0]]), np.array([0])).any()


def test_hinge_refuses_codes_it_cannot_tell() -> None:
    with pytest.raises(
        DataError, match=r"hinge: the target in row 1 is 2.0[\s\S]*-1 and 1, or as 0"
    ):
        losses.hinge(np.zeros(3), np.array([1, 2, 0]))
    with pytest.raises(DataError, match=r"the target in row 2 is 0"):
        losses.hinge(np.zeros(3), np.array([1, -1, 0]))


# --- mistakes -------------------------------------------------------------------------------

ELEMENTWISE = (
    "squared_error mean_squared_error mean_absolute_error huber binary_cross_entropy hinge"
)


@pytest.mark.parametrize("name", ELEMENTWISE.split())
@pytest.mark.parametrize("traced", [False, True])
def test_a_column_against_a_row_is_refused(name: str, traced: bool) -> None:
    """NumPy would compare every row with every other; the error says how to write it."""
    function = losses.by_name(name)
    with pytest.raises(ShapeError) as caught:
        (cr.compile(function) if traced else function)(np.zeros((5, 1)), np.ones(5))
    assert caught.value.what == f"{name}: outputs of shape (5, 1), targets of shape (5,)"
    assert caught.value.do == (
        "give the targets an axis of their own, targets[:, None], or take outputs[:, 0]"
    )
    if name != "hinge":
        with pytest.raises(ShapeError, match=r"take targets\[:, 0\], or give the outputs an axis"):
            function(np.zeros(5), np.ones((5, 1)))
        with pytest.raises(ShapeError, match="give one target for each output"):
            function(np.zeros((5, 2)), np.ones((5, 3)))


@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_labels_in_a_column_are_refused(name: str) -> None:
    with pytest.raises(ShapeError) as caught:
        losses.by_name(name)(LOGITS, LABELS[:, None])
    assert f"{name}: outputs of shape (6, 4), targets of shape (6, 1)" in str(caught.value)
    assert "class numbers of shape (6,), or probabilities of shape (6, 4)" in str(caught.value)
    assert "targets[:, 0] has the right shape" in str(caught.value)
    with pytest.raises(ShapeError, match="class numbers of shape"):
        losses.by_name(name)(LOGITS, LABELS[:3])


@pytest.mark.parametrize("label", [-1, CLASSES, 99])
@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_a_label_out_of_range_is_named_with_its_row(name: str, label: int) -> None:
    labels = LABELS.copy()
    labels[3] = label
    with pytest.raises(IndexRangeError) as caught:
        losses.by_name(name)(LOGITS, labels)
    assert f"the label in row 3 is {label}; with 4 outputs, labels are 0 to 3" in str(caught.value)
    assert np.isnan(cr.compile(losses.by_name(name))(LOGITS, labels))


def test_float_labels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels have dtype float64[\s\S]*astype\(np.int64\)"):
        losses.cross_entropy(LOGITS, LABELS.astype(float))


def test_targets_that_are_no_probabilities_are_named_with_their_row() -> None:
    wrong = BITS.copy()
    wrong[4, 0] = 2
    with pytest.raises(DataError, match=r"target in place \(4, 0\) is 2.0, not a number from 0 to"):
        losses.binary_cross_entropy(SCORES, wrong)
    with pytest.raises(DataError, match=r"target in row 1 is nan"):
        losses.binary_cross_entropy(np.zeros(2), np.array([1, np.nan]))
    several = np.eye(CLASSES)[LABELS]
    several[2] = [1, 1, 0, 0]
    for name in ("cross_entropy", "kl_divergence"):
        with pytest.raises(DataError, match=r"targets in row 2 add up to 2, not to 1"):
            losses.by_name(name)(LOGITS, several)


def test_one_class_is_no_choice() -> None:
    with pytest.raises(UsageError, match=r"one class always has[\s\S]*binary_cross_entropy"):
        losses.cross_entropy(np.zeros((5, 1)), np.zeros(5, int))


@every_loss
def test_weights_are_checked(name: str) -> None:
    outputs, targets, _ = CASES[name]
    function = losses.by_name(name)
    with pytest.raises(ShapeError, match=r"weights of shape \(5,\) for rows"):
        function(outputs, targets, weights=np.ones(5))
    with pytest.raises(DataError, match=r"weights has -1.0 in row 2"):
        function(outputs, targets, weights=np.array([1.0, 1, -1, 1, 1, 1]))
    if name in ("squared_error", "mean_squared_error", "mean_absolute_error", "huber"):
        with pytest.raises(UsageError, match=f"{name} has no classes"):
            function(outputs, targets, class_weights=[1, 2])
    else:
        with pytest.raises(ShapeError, match=r"class_weights of shape \(7,\) for"):
            function(outputs, targets, class_weights=np.ones(7))


@every_loss
def test_no_rows_are_refused(name: str) -> None:
    outputs, targets, _ = CASES[name]
    with pytest.raises(ShapeError, match="there are no rows"):
        losses.by_name(name)(outputs[:0], targets[:0])


@pytest.mark.parametrize("delta", [0, -1.0, float("nan")])
def test_huber_needs_a_positive_delta(delta: float) -> None:
    with pytest.raises(UsageError, match="delta must be above 0"):
        losses.huber(VALUES, GOALS, delta=delta)


def test_losses_by_name() -> None:
    assert losses.by_name("mse") is losses.mean_squared_error
    assert losses.by_name("kl") is losses.kl_divergence
    with pytest.raises(UsageError, match=r"unknown loss 'cross_entrop'[\s\S]*'cross_entropy'"):
        losses.by_name("cross_entrop")
