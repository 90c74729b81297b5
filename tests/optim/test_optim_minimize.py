"""`minimize` goes to the last digits, and each of its steps meets the strong Wolfe conditions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import optim
from chainrule.errors import NonFiniteError, ShapeError, UsageError
from chainrule.optim.full_batch import Iteration, Loss
from chainrule.optim.line_search import CURVATURE, DECREASE, Trial, search
from chainrule.optim.quasi_newton import _times_inverse_hessian

Array = np.ndarray[Any, Any]


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(condition: float, size: int = 30) -> tuple[Array, Array]:
    """A symmetric matrix with that condition number, and the vector whose answer is known."""
    random = np.random.default_rng(1)
    turn, _ = np.linalg.qr(random.normal(size=(size, size)))
    matrix = (turn * np.geomspace(1, condition, size)) @ turn.T
    return (matrix + matrix.T) / 2, random.normal(size=size)


# --- minima ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 10, 50])
def test_rosenbrocks_valley_is_followed_to_its_end(size: int) -> None:
    start = np.tile([-1.2, 1.0], size // 2)
    found = optim.minimize(rosenbrock, start)
    assert found.converged
    assert found.gradient_norm <= 1e-8
    # The smallest curvature of the valley is about 0.5.
    np.testing.assert_allclose(found.x, 1, atol=1e-7)
    assert found.evaluations < 1.5 * found.iterations


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_a_parabola_of_known_condition(condition: float) -> None:
    matrix, answer = quadratic(condition)

    def f(x: Any) -> Any:
        return 0.5 * (x - answer) @ matrix @ (x - answer)

    found = optim.minimize(f, np.zeros(30), max_iterations=10_000)
    assert found.converged
    # |x - answer| <= |gradient| / smallest curvature, which is 1.
    assert np.linalg.norm(found.x - answer) <= 1.01 * found.gradient_norm
    assert found.gradient_norm <= 1e-8


def test_a_value_that_does_not_vanish_hides_the_last_steps_and_the_slopes_show_them() -> None:
    """Values near 1e6 differ by no less than 1e-10: alone they tell x to five digits."""
    matrix, answer = quadratic(100.0)

    def f(x: Any) -> Any:
        return 0.5 * (x - answer) @ matrix @ (x - answer) + 1e6

    found = optim.minimize(f, np.zeros(30))
    assert found.converged, found.message
    np.testing.assert_allclose(found.x, answer, atol=1e-7)


def test_rounding_that_the_value_does_not_show_is_learned() -> None:
    """Two numbers of 1e4 cancel in the value, so it is rounded far more than its size says."""
    matrix, _ = quadratic(1e4)
    target = matrix @ np.ones(30)
    found = optim.minimize(lambda x: 0.5 * x @ matrix @ x - target @ x, np.zeros(30))
    assert found.converged, found.message
    np.testing.assert_allclose(found.x, 1, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_logistic_regression_agrees_with_scipy(backend: str) -> None:
    """To 1e-8, in a dict of weights, against Newton's method of SciPy with our gradient."""
    scipy_minimize = pytest.importorskip("scipy.optimize").minimize
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 5))
    y = (x @ random.normal(size=5) + random.normal(size=200) > 0).astype(float)

    def loss(p: Any, x: Any, y: Any) -> Any:
        z = x @ p["w"] + p["b"]
        return np.mean(np.logaddexp(0, z) - y * z) + 0.01 * (p["w"] @ p["w"])

    start = {"w": np.zeros(5), "b": np.zeros(())}
    found = optim.minimize(loss, start, x, y, tolerance=1e-10, backend=backend)
    assert found.converged

    def flat(v: Any) -> Any:
        return loss({"w": v[:5], "b": v[5]}, x, y)

    newton = scipy_minimize(
        cr.value_and_grad(flat),
        np.zeros(6),
        jac=True,
        hess=cr.jacobian(cr.grad(flat)),
        method="trust-exact",
        options={"gtol": 1e-13},
    )
    np.testing.assert_allclose(np.append(found.x["w"], found.x["b"]), newton.x, atol=1e-8)


def test_float32_stays_float32_and_ends_where_rounding_does() -> None:
    matrix, answer = (a.astype(np.float32) for a in quadratic(10.0))
    found = optim.minimize(
        lambda x: 0.5 * (x - answer) @ matrix @ (x - answer) + 1, np.zeros(30, np.float32)
    )
    assert found.x.dtype == np.float32
    assert found.converged, found.message
    assert found.iterations < 200
    np.testing.assert_allclose(found.x, answer, atol=1e-4)


# --- the direction --------------------------------------------------------------------------


def test_the_two_loops_are_the_bfgs_matrix() -> None:
    """Nocedal and Wright's equation 6.17, pair after pair, from the scaled identity."""
    random = np.random.default_rng(4)
    matrix, _ = quadratic(50.0, 8)
    steps = random.normal(size=(5, 8))
    changes = steps @ matrix
    inverse = np.eye(8) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(steps[2:], changes[2:], strict=True):
        rho = 1 / (s @ y)
        left = np.eye(8) - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    gradient = random.normal(size=8)
    state = {"steps": steps, "changes": changes}
    np.testing.assert_allclose(
        _times_inverse_hessian(gradient, state, 3), inverse @ gradient, rtol=1e-12
    )
    # The newest pair is met exactly: the secant equation.
    np.testing.assert_allclose(_times_inverse_hessian(changes[-1], state, 3), steps[-1], rtol=1e-12)


# --- the line search ------------------------------------------------------------------------


def assert_strong_wolfe(start: Trial, end: Trial, rounding: float) -> None:
    assert abs(end.slope) <= CURVATURE * abs(start.slope)
    allowed = start.value + DECREASE * end.length * start.slope
    assert end.value <= allowed + 2 * rounding


coefficients = st.floats(-3, 3).map(lambda c: round(c, 3))


@given(
    st.lists(coefficients, min_size=3, max_size=6),
    st.lists(st.tuples(coefficients, st.floats(0.1, 20)), max_size=3),
    st.floats(-3, 3),
)
@example([0.0, -1.0, 1.0], [(3.0, 20.0)], 0.0)
def test_a_search_along_any_wave_meets_both_conditions(
    polynomial: list[float], waves: list[tuple[float, float]], exponent: float
) -> None:
    """Functions with many minima, steep and flat ones, first steps far too short and too long.
    They are bounded below, so a step exists."""

    def at(t: float) -> Trial:
        value = sum(c * t**k for k, c in enumerate(polynomial)) + t**8 * 1e-3
        slope = sum(k * c * t ** (k - 1) for k, c in enumerate(polynomial) if k) + t**7 * 8e-3
        for size, rate in waves:
            value += size * math.sin(rate * t)
            slope += size * rate * math.cos(rate * t)
        return Trial(t, value, slope)

    start = at(0.0)
    assume(start.slope < -1e-3)
    rounding = 1e-14 * (1 + abs(start.value))
    found = search(at, start, 10.0**exponent, rounding)
    assert found is not None
    assert found.length > 0
    assert_strong_wolfe(start, found, rounding)


def test_a_search_comes_back_from_infinity() -> None:
    """Past 1 there is no value at all."""

    def wall(t: float) -> Trial:
        if t >= 1:
            return Trial(t, math.inf, math.nan)
        return Trial(t, -math.log(1 - t) - 3 * t, 1 / (1 - t) - 3)

    for first in (1e-3, 1.0, 1e3, 1e9):
        found = search(wall, wall(0.0), first, 1e-15)
        assert found is not None
        assert_strong_wolfe(wall(0.0), found, 1e-15)


def test_a_search_without_end_gives_up() -> None:
    assert search(lambda t: Trial(t, -t, -1.0), Trial(0.0, 0.0, -1.0), 1.0, 1e-15) is None


def _double_well(x: Any) -> Any:
    return np.sum((x**2 - 1) ** 2) + 0.1 * np.sum(x[1:] * x[:-1])


def _steep(x: Any) -> Any:
    return np.sum(np.cosh(3 * x)) + np.sum(x) ** 2


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "rosenbrock": rosenbrock,
    "double well": _double_well,
    "steep": _steep,
    "saddle": lambda x: np.sum(np.tanh(x) ** 2 * x**2) - 0.5 * np.sum(np.sin(x)),
}


@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.lists(st.floats(-3, 3), min_size=2, max_size=6),
    st.integers(1, 12),
)
def test_every_accepted_step_meets_the_strong_wolfe_conditions(
    name: str, start: list[float], memory: int
) -> None:
    """Seen from outside: the places, and the values and gradients there."""
    both = cr.value_and_grad(FUNCTIONS[name])
    method = optim.lbfgs(memory=memory).full_batch
    assert method is not None
    loss = Loss(lambda x: (float((both(x))[0]), both(x)[1]), lambda x: x, 2.0**-52)
    x = np.array(start)
    state = optim.lbfgs(memory=memory).init({"x": x})
    for _ in range(25):
        made: Iteration = method.iterate(loss, state, x)
        if made.ended:
            break
        (before, gradient), (after, new_gradient) = loss.slope(x), loss.slope(made.x)
        length = float(made.state["length"])
        direction = (made.x - x) / length
        rounding = float(made.state["rounding"]) * abs(before)
        # The direction is known here only as well as x + length * direction was rounded.
        slack = 1e-12 * np.linalg.norm(new_gradient) * np.linalg.norm(x) / length
        first, last = float(gradient @ direction), float(new_gradient @ direction)
        assert first < slack
        assert abs(last) <= CURVATURE * abs(first) + slack
        assert after <= before + DECREASE * length * first + 2 * rounding
        x, state = made.x, made.state


# --- the face -------------------------------------------------------------------------------


def test_trees_floats_and_arguments() -> None:
    x = np.linspace(0, 1, 20)

    def f(p: Any, x: Any, scale: Any) -> Any:
        return np.mean((p["a"] * x + p["b"][0] - 2 * x - 1) ** 2) * scale

    found = optim.minimize(f, {"a": 0.5, "b": [np.zeros(())]}, x, 3.0)
    assert type(found.x["a"]) is float
    assert found.x["a"] == pytest.approx(2, abs=1e-7)
    assert found.x["b"][0].shape == ()
    assert found.value == pytest.approx(0, abs=1e-15)


def test_the_result_says_what_it_is() -> None:
    found = optim.minimize(rosenbrock, np.array([-1.2, 1.0]), max_iterations=5)
    assert not found.converged
    assert found.message == "5 iterations were not enough"
    assert (found.iterations, found.value) == (5, float(rosenbrock(found.x)))
    gradient = cr.grad(rosenbrock)(found.x)
    assert found.gradient_norm == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-15)
    assert {f.name for f in dataclasses.fields(found)} == {
        "x", "value", "gradient_norm", "iterations", "evaluations", "converged", "message",
    }  # fmt: skip
    at_end = optim.minimize(rosenbrock, np.ones(2))
    assert (at_end.iterations, at_end.evaluations, at_end.converged) == (0, 1, True)


def test_a_function_without_a_minimum_does_not_converge() -> None:
    found = optim.minimize(lambda x: -np.sum(x), np.zeros(3))
    assert not found.converged
    assert "no step lowers the value" in found.message
    kink = optim.minimize(lambda x: np.sum(np.abs(x - 1 / 3)), np.zeros(3))
    assert not kink.converged or kink.gradient_norm == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.minimize(np.sum, np.arange(3)), UsageError, "dtype int64"),
        (lambda: optim.minimize(np.sum, []), UsageError, "holds no numbers"),
        (lambda: optim.minimize(np.sum, np.zeros((0,))), UsageError, "holds no numbers"),
        (lambda: optim.minimize(np.sin, np.zeros(3)), ShapeError, "needs one number"),
        (lambda: optim.minimize(np.sum, np.zeros(3), method="newton"), UsageError, "newton"),
        (lambda: optim.minimize(np.sum, np.zeros(3), memory=0), UsageError, "memory"),
        (lambda: optim.minimize(np.sum, np.zeros(3), max_iterations=0), UsageError, "max_iter"),
        (lambda: optim.minimize(lambda x: np.sum(np.log(x)), -np.ones(3)), NonFiniteError, "x0"),
    ],
)
def test_what_cannot_be_is_told(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
