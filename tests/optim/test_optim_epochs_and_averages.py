"""Reduce-on-plateau and the averages of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from chainrule import optim


def scales(stage: optim.Optimizer, losses: Sequence[float]) -> list[float]:
    """The scale after each epoch."""
    assert stage.after_epoch is not None
    state = stage.init({})
    seen = []
    for loss in losses:
        state = stage.after_epoch(state, loss)
        seen.append(stage.learning_rate(state))
    return seen


def test_the_scale_falls_after_patience_epochs_in_a_row_without_progress() -> None:
    stage = optim.reduce_on_plateau(factor=0.5, patience=2)
    losses = [1.0, 1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.8, 0.8]
    assert scales(stage, losses) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_progress_smaller_than_the_threshold_is_none() -> None:
    stage = optim.reduce_on_plateau(factor=0.5, patience=1, threshold=0.1)
    assert scales(stage, [1.0, 0.95, 0.85]) == [1, 0.5, 0.5]


@pytest.mark.parametrize("dtype", [float, np.float32, np.float64, np.asarray])
def test_the_loss_may_come_as_any_number(dtype: Any) -> None:
    stage = optim.reduce_on_plateau(factor=0.5, patience=1)
    assert scales(stage, [dtype(x) for x in (1.0, 2.0, 0.5)]) == [1, 0.5, 0.5]


def test_negative_losses_improve_downwards_too() -> None:
    """Ten percent below -1 is -1.1."""
    stage = optim.reduce_on_plateau(factor=0.5, patience=1, threshold=0.1)
    assert scales(stage, [-1.0, -1.05, -1.2]) == [1, 0.5, 0.5]


def test_a_nan_loss_is_no_progress_and_is_never_the_best() -> None:
    stage = optim.reduce_on_plateau(factor=0.5, patience=1)
    assert scales(stage, [np.nan, 3.0, np.nan, 2.0]) == [0.5, 0.5, 0.25, 0.25]


def test_the_scale_stops_at_the_smallest() -> None:
    stage = optim.reduce_on_plateau(factor=0.1, patience=1, smallest=0.05)
    assert scales(stage, [1.0] * 4) == [1, 0.1, 0.05, 0.05]


def test_a_plateau_scales_the_updates_and_the_rate_that_is_shown() -> None:
    optimizer = optim.chain(optim.sgd(0.1), optim.reduce_on_plateau(factor=0.5, patience=1))
    weights = {"w": np.ones((2, 2), np.float32)}
    state = optimizer.init(weights)
    before, state = optimizer.update(weights, state, weights)
    assert optimizer.after_epoch is not None
    state = optimizer.after_epoch(optimizer.after_epoch(state, 1.0), 1.0)
    after, state = optimizer.update(weights, state, weights)
    assert after["w"].dtype == np.float32
    assert np.array_equal(after["w"], before["w"] / 2)
    assert optimizer.learning_rate(state) == 0.05
    assert int(state["0_sgd"]["count"]) == 2


def test_without_a_plateau_there_is_nothing_to_do_after_an_epoch() -> None:
    assert optim.adam().after_epoch is None
    assert optim.chain(optim.clip_by_value(1.0), optim.adam()).after_epoch is None


def walk(optimizer: optim.Optimizer, steps: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights after each step, and the averages at the same time."""
    generator = np.random.default_rng(0)
    weights = {"w": generator.normal(size=(2, 3))}
    state = optimizer.init(weights)
    assert optimizer.averaged is not None
    assert np.array_equal(optimizer.averaged(state, weights)["w"], weights["w"])
    path, averages = [], []
    for _ in range(steps):
        gradient = {"w": generator.normal(size=(2, 3))}
        updates, state = optimizer.update(gradient, state, weights)
        weights = {"w": weights["w"] + updates["w"]}
        path.append(weights["w"])
        averages.append(optimizer.averaged(state, weights)["w"])
    return path, averages


def test_the_running_average_is_the_mean_of_the_weights_after_each_step() -> None:
    """Polyak and Juditsky 1992."""
    path, averages = walk(optim.chain(optim.sgd(0.1), optim.running_average()), 50)
    for t in range(50):
        np.testing.assert_allclose(averages[t], np.mean(path[: t + 1], axis=0), rtol=1e-12)


def test_the_running_average_can_start_later() -> None:
    path, averages = walk(optim.chain(optim.sgd(0.1), optim.running_average(start=20)), 50)
    for t in range(21):
        assert np.array_equal(averages[t], path[t])
    for t in range(21, 50):
        np.testing.assert_allclose(averages[t], np.mean(path[20 : t + 1], axis=0), rtol=1e-12)


def test_the_exponential_average_is_the_weighted_mean_without_the_start() -> None:
    """Kingma and Ba 2015, section 7.2: (1 - d) sum of d^(t - i) w_i, over 1 - d^t."""
    decay = 0.9
    path, averages = walk(optim.chain(optim.sgd(0.1), optim.exponential_average(decay)), 60)
    for t in range(1, 61):
        shares = (1 - decay) * decay ** np.arange(t - 1, -1, -1) / (1 - decay**t)
        expected = np.tensordot(shares, np.array(path[:t]), axes=1)
        np.testing.assert_allclose(averages[t - 1], expected, rtol=1e-12, atol=1e-14)


def test_averaging_leaves_the_training_as_it_is() -> None:
    generator = np.random.default_rng(1)
    weights = {"w": generator.normal(size=(2, 3)).astype(np.float32)}
    plain, averaged = optim.adam(), optim.chain(optim.adam(), optim.exponential_average())
    first, second = plain.init(weights), averaged.init(weights)
    for _ in range(5):
        one, first = plain.update(weights, first, weights)
        two, second = averaged.update(weights, second, weights)
        assert one["w"].tobytes() == two["w"].tobytes()


def test_an_average_sees_the_updates_as_weight_decay_left_them() -> None:
    optimizer = optim.chain(
        optim.sgd(0.1), optim.decoupled_weight_decay(0.5), optim.running_average()
    )
    path, averages = walk(optimizer, 10)
    np.testing.assert_allclose(averages[-1], np.mean(path, axis=0), rtol=1e-12)


def test_without_an_average_there_are_no_averaged_weights() -> None:
    assert optim.adam().averaged is None
    assert optim.chain(optim.adam(), optim.reduce_on_plateau()).averaged is None


def test_averaging_keeps_its_own_copy_of_the_first_weights() -> None:
    optimizer = optim.chain(optim.sgd(), optim.running_average())
    weights = {"w": np.ones((2, 2))}
    state = optimizer.init(weights)
    weights["w"][:] = 7.0
    assert (state["1_running_average"]["average"]["w"] == 1).all()
