"""Each optimiser against an independent statement of its formula, as loops over single numbers.

100 steps in float64, to 1e-12 of the size of the numbers: the order of the operations may differ,
which costs a few rounding errors (1e-16 each), nothing else may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from chainrule import optim
from chainrule.optim import schedules

STEPS = 100
SIZE = 6

Stepper = Callable[[float, Iterator[float]], Iterator[float]]


def gradient_series() -> np.ndarray:
    """Fixed gradients (step, element) of widely different sizes, with sign flips and zeros."""
    generator = np.random.default_rng(3)
    series = generator.normal(0, 1, (STEPS, SIZE)) * np.logspace(-6, 3, SIZE)
    series += 0.5 * np.abs(series).mean(axis=0)
    series[generator.uniform(size=series.shape) < 0.1] = 0.0
    series[:, 0] = 0.0
    return series


def trajectory(optimizer: optim.Optimizer, series: np.ndarray, start: np.ndarray) -> np.ndarray:
    weights = {"w": start}
    state = optimizer.init(weights)
    path = []
    for gradient in series:
        updates, state = optimizer.update({"w": gradient}, state, weights)
        weights = {"w": weights["w"] + updates["w"]}
        path.append(weights["w"])
    return np.array(path)


def plain(gradients: list[float], w: float, eta: float) -> list[float]:
    """Robbins and Monro 1951: w <- w - eta g."""
    path = []
    for g in gradients:
        w = w - eta * g
        path.append(w)
    return path


def heavy_ball(gradients: list[float], w: float, eta: float, mu: float) -> list[float]:
    """Polyak 1964: the next point is w - eta g + mu (w - point before)."""
    path, before = [], w
    for g in gradients:
        w, before = w - eta * g + mu * (w - before), w
        path.append(w)
    return path


def adagrad(gradients: list[float], w: float, eta: float, delta: float) -> list[float]:
    """Duchi, Hazan and Singer 2011: H = delta + the 2-norm of all gradients so far."""
    path = []
    for t, g in enumerate(gradients):
        h = delta + sum(past**2 for past in gradients[: t + 1]) ** 0.5
        w = w - eta * g / h
        path.append(w)
    return path


def rmsprop(gradients: list[float], w: float, eta: float, rho: float, eps: float) -> list[float]:
    """Tieleman and Hinton 2012: MeanSquare(t) = rho MeanSquare(t-1) + (1 - rho) g^2, unrolled."""
    path = []
    for t, g in enumerate(gradients):
        mean_square = sum((1 - rho) * rho ** (t - i) * gradients[i] ** 2 for i in range(t + 1))
        w = w - eta * g / (mean_square**0.5 + eps)
        path.append(w)
    return path


def adadelta(gradients: list[float], w: float, rho: float, eps: float) -> list[float]:
    """Zeiler 2012, algorithm 1: dx = - RMS[dx](t-1) / RMS[g](t) g, RMS[z] = sqrt(E[z^2] + eps)."""
    path, of_g, of_dx = [], 0.0, 0.0
    for g in gradients:
        of_g = rho * of_g + (1 - rho) * g**2
        dx = -((of_dx + eps) ** 0.5) / (of_g + eps) ** 0.5 * g
        of_dx = rho * of_dx + (1 - rho) * dx**2
        w = w + dx
        path.append(w)
    return path


def adam(
    gradients: list[float],
    w: float,
    alpha: float,
    b1: float,
    b2: float,
    eps: float,
    decay: float = 0.0,
) -> list[float]:
    """Kingma and Ba 2015, algorithm 1; with `decay`, Loshchilov and Hutter 2019, algorithm 2."""
    path, m, v = [], 0.0, 0.0
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        w = w - alpha * m_hat / (v_hat**0.5 + eps) - decay * w
        path.append(w)
    return path


def irprop_minus(
    gradients: list[float], w: float, first: float, up: float, down: float, low: float, high: float
) -> list[float]:
    """Igel and Huesken 2000, the algorithm iRprop-; settings of Riedmiller and Braun 1993."""
    path, step, before = [], first, 0.0
    for g in gradients:
        if before * g > 0:
            step = min(step * up, high)
        elif before * g < 0:
            step = max(step * down, low)
            g = 0.0
        if g > 0:
            w = w - step
        elif g < 0:
            w = w + step
        before = g
        path.append(w)
    return path


PAPERS: dict[str, tuple[optim.Optimizer, Callable[[list[float], float], list[float]]]] = {
    "sgd": (optim.sgd(0.1), lambda g, w: plain(g, w, 0.1)),
    "momentum": (optim.sgd(0.1, momentum=0.9), lambda g, w: heavy_ball(g, w, 0.1, 0.9)),
    "adagrad": (optim.adagrad(0.05, eps=1e-7), lambda g, w: adagrad(g, w, 0.05, 1e-7)),
    "rmsprop": (
        optim.rmsprop(0.01, decay=0.95, eps=1e-6),
        lambda g, w: rmsprop(g, w, 0.01, 0.95, 1e-6),
    ),
    "adadelta": (optim.adadelta(), lambda g, w: adadelta(g, w, 0.95, 1e-6)),
    "adam": (
        optim.adam(0.01, beta1=0.8, beta2=0.99, eps=1e-7),
        lambda g, w: adam(g, w, 0.01, 0.8, 0.99, 1e-7),
    ),
    "adam defaults": (optim.adam(), lambda g, w: adam(g, w, 0.001, 0.9, 0.999, 1e-8)),
    "adam beta 0": (optim.adam(beta1=0, beta2=0), lambda g, w: adam(g, w, 0.001, 0, 0, 1e-8)),
    "adamw": (
        optim.adamw(0.01, weight_decay=0.1, decay_on="all"),
        lambda g, w: adam(g, w, 0.01, 0.9, 0.999, 1e-8, decay=0.01 * 0.1),
    ),
    "rprop": (optim.rprop(), lambda g, w: irprop_minus(g, w, 0.1, 1.2, 0.5, 1e-6, 50.0)),
    "rprop at its bounds": (
        optim.rprop(0.1, grow=2.0, shrink=0.25, smallest=0.05, largest=0.3),
        lambda g, w: irprop_minus(g, w, 0.1, 2.0, 0.25, 0.05, 0.3),
    ),
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_hundred_steps_follow_the_paper(name: str) -> None:
    optimizer, paper = PAPERS[name]
    series = gradient_series()
    start = np.linspace(-2.0, 3.0, SIZE)
    expected = np.array([paper(series[:, i].tolist(), float(start[i])) for i in range(SIZE)]).T
    path = trajectory(optimizer, series, start)
    np.testing.assert_allclose(path, expected, rtol=1e-12, atol=1e-12)
    # The formula does something on every element with a gradient.
    assert (np.abs(path[-1] - start)[1:] > 1e-9).all()


def slope(w: float) -> float:
    """Of a smooth function with one minimum: 0.4 w^2 + cos(w)/4."""
    return 0.8 * w - float(np.sin(w)) / 4


def test_nesterov_looks_one_momentum_step_ahead() -> None:
    """Sutskever and others 2013, equations 3 and 4: v <- mu v - eta slope(theta + mu v).

    Their theta is not the place at which the gradient is taken; theta + mu v is, and that is what
    our weights are.
    """
    mu, eta = 0.9, 0.05
    theta, v, expected = 2.0, 0.0, []
    for _ in range(STEPS):
        v = mu * v - eta * slope(theta + mu * v)
        theta = theta + v
        expected.append(theta + mu * v)

    optimizer = optim.sgd(eta, momentum=mu, nesterov=True)
    w = {"w": np.array(2.0)}
    state = optimizer.init(w)
    for target in expected:
        updates, state = optimizer.update({"w": np.array(slope(float(w["w"])))}, state, w)
        w = {"w": np.asarray(w["w"] + updates["w"])}
        assert float(w["w"]) == pytest.approx(target, rel=1e-12, abs=1e-12)


def test_momentum_under_a_schedule_scales_the_whole_velocity_by_the_rate_of_today() -> None:
    """The documented choice: w <- w - rate(t) v, v <- mu v + g."""
    rate = schedules.exponential(0.1, 10)
    series = gradient_series()[:, 3]
    path = trajectory(optim.sgd(rate, momentum=0.5), series[:, None], np.zeros(1))[:, 0]
    w, v = 0.0, 0.0
    for t, g in enumerate(series.tolist()):
        v = 0.5 * v + g
        w -= 0.1 * 0.5 ** (t / 10) * v
        assert path[t] == pytest.approx(w, rel=1e-12)


def test_a_schedule_gives_each_step_its_rate() -> None:
    rate = schedules.step(0.1, 3)
    path = trajectory(optim.sgd(rate), np.ones((7, 1)), np.zeros(1))[:, 0]
    steps = -np.diff(np.concatenate([[0.0], path]))
    np.testing.assert_allclose(steps, [0.1] * 3 + [0.01] * 3 + [0.001], rtol=1e-12)


def test_adams_first_step_is_the_rate_whatever_the_gradient() -> None:
    """At t = 1 the bias corrections leave g / |g| (Kingma and Ba 2015, section 2.1).

    In float32, where 1 - 0.999 must not be rounded in the fifth digit. One ulp is 1.2e-7.
    """
    weights = {"w": np.zeros(4, np.float32)}
    gradient = np.array([1e-3, -1.0, 50.0, -1e6], np.float32)
    optimizer = optim.adam(0.001)
    updates, _ = optimizer.update({"w": gradient}, optimizer.init(weights), weights)
    # eps = 1e-8 takes 1e-5 of the step for a gradient of 1e-3.
    np.testing.assert_allclose(updates["w"], -0.001 * np.sign(gradient), rtol=1.2e-5)
    np.testing.assert_allclose(updates["w"][1:], -0.001 * np.sign(gradient[1:]), rtol=5e-7)


def test_adamw_decays_matrices_only_unless_asked() -> None:
    weights = {"weight": np.ones((2, 2)), "bias": np.ones(2), "scale": np.array(1.0)}
    zeros = {n: np.zeros_like(w) for n, w in weights.items()}
    for choice, moved in (("matrices", {"weight"}), ("all", set(weights))):
        optimizer = optim.adamw(0.1, weight_decay=0.5, decay_on=choice)
        updates, _ = optimizer.update(zeros, optimizer.init(weights), weights)
        assert {n for n, u in updates.items() if u.any()} == moved
        np.testing.assert_allclose(updates["weight"], -0.05, rtol=1e-15)


def test_rprop_sees_signs_of_gradients_whose_product_would_underflow() -> None:
    """1e-30 squared is 0 in float32, and yet the two gradients agree: the step grows."""
    weights = {"w": np.zeros(1, np.float32)}
    optimizer = optim.rprop(0.1)
    state = optimizer.init(weights)
    tiny = {"w": np.full(1, 1e-30, np.float32)}
    for _ in range(3):
        updates, state = optimizer.update(tiny, state, weights)
    np.testing.assert_allclose(updates["w"], -0.1 * 1.2**2, rtol=1e-6)
    assert optimizer.learning_rate(state) == pytest.approx(0.144, rel=1e-6)


def test_the_counter_stays_at_its_largest_value() -> None:
    """An int32 would turn negative there, and Adam's bias correction NaN."""
    weights = {"w": np.ones(2, np.float32)}
    optimizer = optim.chain(optim.adam(schedules.warmup(10, 0.1)), optim.running_average())
    state = optimizer.init(weights)
    last = np.array(2**31 - 2, np.int32)
    state["0_adam"]["count"] = state["1_running_average"]["count"] = last
    for _ in range(3):
        updates, state = optimizer.update(weights, state, weights)
        assert int(state["0_adam"]["count"]) == 2**31 - 2
        assert np.isfinite(updates["w"]).all()
        assert np.isfinite(state["1_running_average"]["average"]["w"]).all()
