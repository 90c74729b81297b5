"""Clipping and penalties: their properties on arbitrary gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule import optim

# The distance between float32 numbers next to 0, where they keep fewer digits.
SMALLEST_STEP = float(np.finfo(np.float32).smallest_subnormal)


def gradients_of(dtype: Any, largest: float) -> st.SearchStrategy[dict[str, np.ndarray]]:
    width = np.dtype(dtype).itemsize * 8
    numbers = st.floats(-largest, largest, width=width, allow_nan=False)
    arrays = hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=numbers
    )
    return st.dictionaries(st.text("abc.", min_size=1, max_size=4), arrays, max_size=4)


float32_gradients = gradients_of(np.float32, float(np.float32(3e38)))
float64_gradients = gradients_of(np.float64, 1e100)
either = st.one_of(float32_gradients, float64_gradients)
limits = st.floats(1e-6, 1e6)


def through(stage: optim.Optimizer, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    result, state = stage.update(gradients, stage.init(gradients), gradients)
    assert state == {}
    assert {n: (g.dtype, g.shape) for n, g in result.items()} == {
        n: (g.dtype, g.shape) for n, g in gradients.items()
    }
    return result


def norm(gradients: dict[str, np.ndarray]) -> float:
    """In long double, so that neither overflow nor rounding disturbs the judge."""
    total = sum((np.sum(np.square(g.astype(np.longdouble))) for g in gradients.values()), 0.0)
    return float(np.sqrt(np.longdouble(total)))


@given(either, limits)
def test_clip_by_value_leaves_nothing_beyond_the_limit_and_changes_nothing_within(
    gradients: dict[str, np.ndarray], limit: float
) -> None:
    clipped = through(optim.clip_by_value(limit), gradients)
    for name, before in gradients.items():
        bound = before.dtype.type(limit)
        after = clipped[name]
        assert (np.abs(after) <= bound).all()
        within = np.abs(before) <= bound
        assert np.array_equal(after[within], before[within])
        assert np.array_equal(np.sign(after), np.sign(before))


@given(either, limits)
def test_clip_by_global_norm_never_leaves_more_than_the_limit(
    gradients: dict[str, np.ndarray], limit: float
) -> None:
    clipped = through(optim.clip_by_global_norm(limit), gradients)
    # Each element is rounded once, by at most 2^-24 of itself in float32.
    assert norm(clipped) <= limit * (1 + 2**-23)


@given(either, limits)
def test_clip_by_global_norm_passes_smaller_gradients_to_the_bit(
    gradients: dict[str, np.ndarray], limit: float
) -> None:
    if norm(gradients) > limit * (1 - 1e-12):
        gradients = {n: np.asarray(g * 0) for n, g in gradients.items()}
    clipped = through(optim.clip_by_global_norm(limit), gradients)
    assert all(clipped[n].tobytes() == g.tobytes() for n, g in gradients.items())


@given(either, limits)
def test_clip_by_global_norm_keeps_the_direction(
    gradients: dict[str, np.ndarray], limit: float
) -> None:
    """All elements are multiplied by one factor, and the norm becomes the limit exactly so."""
    before = norm(gradients)
    clipped = through(optim.clip_by_global_norm(limit), gradients)
    factor = min(1.0, limit / before) if before > 0 else 1.0
    for name, gradient in gradients.items():
        expected = gradient.astype(np.longdouble) * factor
        error = np.abs(clipped[name].astype(np.longdouble) - expected)
        assert (error <= 2**-23 * np.abs(expected) + SMALLEST_STEP).all()


def test_exploding_float32_gradients_are_clipped_not_zeroed() -> None:
    """The squares overflow float32; the direction must survive."""
    gradients = {"w": np.array([3e30, -4e30], np.float32)}
    clipped = through(optim.clip_by_global_norm(1.0), gradients)
    np.testing.assert_allclose(clipped["w"], [0.6, -0.8], rtol=2**-23)


def test_a_factor_too_small_for_float32_still_clips_exactly() -> None:
    """1e-6 / 3e38 is 3e-45, of which float32 would keep one digit at most."""
    gradients = {"w": np.array(3e38, np.float32)}
    clipped = through(optim.clip_by_global_norm(1e-6), gradients)
    np.testing.assert_allclose(clipped["w"], 1e-6, rtol=2**-23)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_does_not_hide_a_gradient_that_is_not_finite(bad: float) -> None:
    gradients = {"w": np.array([1.0, bad], np.float32), "b": np.array([1.0], np.float32)}
    with np.errstate(invalid="ignore"):
        clipped = through(optim.clip_by_global_norm(1.0), gradients)
    assert not np.isfinite(clipped["w"]).all()
    assert np.isnan(through(optim.clip_by_value(1.0), {"w": np.array([np.nan])})["w"]).all()


def test_global_norm_is_over_all_gradients_together() -> None:
    gradients = {"a": np.full((2, 2), 2.0, np.float32), "b": np.array(3.0), "c": np.zeros(0)}
    assert optim.global_norm(gradients) == 5.0
    assert optim.global_norm({}) == 0.0


def test_the_order_of_the_gradients_does_not_change_a_bit_of_the_norm() -> None:
    """Sums in floating point depend on their order; among 40 trials some sum would show it."""
    for seed in range(40):
        generator = np.random.default_rng(seed)
        gradients = {f"w{i}": generator.normal(size=3) for i in range(20)}
        backwards = dict(reversed(gradients.items()))
        assert optim.global_norm(gradients) == optim.global_norm(backwards)


WEIGHTS = {
    "weight": np.array([[2.0, -3.0], [0.0, 0.5]]),
    "bias": np.array([4.0, -5.0]),
    "gain": np.array(2.0),
}
ONES = {n: np.ones_like(w) for n, w in WEIGHTS.items()}


@pytest.mark.parametrize("choice", ["matrices", "all"])
def test_penalties_add_their_derivative_to_the_chosen_weights(choice: str) -> None:
    l2 = optim.l2_penalty(0.1, on=choice)
    l1 = optim.l1_penalty(0.1, on=choice)
    squares, _ = l2.update(ONES, {}, WEIGHTS)
    absolutes, _ = l1.update(ONES, {}, WEIGHTS)
    for name, weight in WEIGHTS.items():
        applies = choice == "all" or name == "weight"
        np.testing.assert_allclose(squares[name], 1 + 0.1 * weight if applies else 1, rtol=1e-15)
        np.testing.assert_allclose(
            absolutes[name], 1 + 0.1 * np.sign(weight) if applies else 1, rtol=1e-15
        )


def test_the_l2_penalty_is_the_derivative_of_half_the_sum_of_squares() -> None:
    """By a central difference of strength / 2 * sum(w^2), exact for a parabola but for rounding."""
    strength, step = 0.3, 1e-3
    stage = optim.l2_penalty(strength)
    zero = {"w": np.zeros((1, 1))}
    for value in (-2.0, 0.0, 1.5):
        gradient, _ = stage.update(zero, {}, {"w": np.full((1, 1), value)})
        slope = (strength / 2 * ((value + step) ** 2 - (value - step) ** 2)) / (2 * step)
        assert float(gradient["w"][0, 0]) == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("choice", ["matrices", "all"])
def test_decoupled_decay_shrinks_the_chosen_weights_whatever_the_gradient(choice: str) -> None:
    """Loshchilov and Hutter 2019, equation 1: w <- (1 - rate) w - the optimiser's step."""
    optimizer = optim.chain(optim.sgd(0.01), optim.decoupled_weight_decay(0.2, on=choice))
    updates, _ = optimizer.update(ONES, optimizer.init(WEIGHTS), WEIGHTS)
    for name, weight in WEIGHTS.items():
        decay = 0.2 if choice == "all" or name == "weight" else 0.0
        np.testing.assert_allclose(weight + updates[name], (1 - decay) * weight - 0.01, rtol=1e-13)


def test_adamw_is_adam_with_decoupled_decay_of_rate_times_weight_decay() -> None:
    one = optim.adamw(0.01, weight_decay=0.1)
    two = optim.chain(optim.adam(0.01), optim.decoupled_weight_decay(0.01 * 0.1))
    first, _ = one.update(ONES, one.init(WEIGHTS), WEIGHTS)
    second, _ = two.update(ONES, two.init(WEIGHTS), WEIGHTS)
    for name in WEIGHTS:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-13)
