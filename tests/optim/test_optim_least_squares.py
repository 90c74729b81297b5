"""Least squares: each step is the best in its trust region, and the fit says how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import optim, tracing
from chainrule.errors import NonFiniteError, TraceError, UsageError
from chainrule.optim.linear_model import LinearModel

Array = np.ndarray[Any, Any]
EPS = 2.0**-52


def problem(rows: int, columns: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Residuals, a Jacobian with columns of very different sizes, and a scale."""
    random = np.random.default_rng(seed)
    jacobian = random.normal(size=(rows, columns)) * 10.0 ** random.uniform(-3, 3, columns)
    return random.normal(size=rows), jacobian, np.zeros(columns)


# --- the linear problem ---------------------------------------------------------------------

sizes = pytest.mark.parametrize(("rows", "columns"), [(12, 5), (5, 5), (3, 6), (7000, 9), (40, 1)])


@sizes
@pytest.mark.parametrize("damping", [1e-3, 1.0, 1e3])
def test_a_damped_step_solves_the_normal_equations(rows: int, columns: int, damping: float) -> None:
    """7,000 rows are triangularised in several blocks."""
    r, jacobian, none = problem(rows, columns)
    model = LinearModel(r, jacobian, none, EPS)
    squared = np.diag(np.sum(jacobian**2, axis=0))
    step = model.step(damping)
    expected = np.linalg.solve(jacobian.T @ jacobian + damping * squared, -jacobian.T @ r)
    np.testing.assert_allclose(step, expected, rtol=1e-8)
    fall = r @ r - np.sum((r + jacobian @ step) ** 2)
    assert model.expected_fall(damping) == pytest.approx(fall, rel=1e-8)
    slope = 2 * (jacobian.T @ r) @ step
    assert model.slope_along(damping) == pytest.approx(slope, rel=1e-8)
    np.testing.assert_allclose(model.answer(jacobian.T @ r, damping), step, rtol=1e-8)


@sizes
def test_without_damping_it_is_the_least_squares_solution(rows: int, columns: int) -> None:
    r, jacobian, none = problem(rows, columns)
    model = LinearModel(r, jacobian, none, EPS)
    scale = np.linalg.norm(jacobian, axis=0)
    np.testing.assert_allclose(model.scale, scale, rtol=1e-12)
    shortest = np.linalg.lstsq(jacobian / scale, -r, rcond=None)[0] / scale
    np.testing.assert_allclose(model.step(0.0), shortest, rtol=1e-9)
    assert model.norm == pytest.approx(np.linalg.norm(r))
    left = r + jacobian @ model.step(0.0)
    assert model.reducible**2 == pytest.approx(r @ r - left @ left)
    assert model.full_rank == (rows >= columns)


@given(st.floats(-6, 6), st.integers(0, 50))
def test_a_step_keeps_to_its_trust_region_and_fills_it(exponent: float, seed: int) -> None:
    r, jacobian, none = problem(20, 6, seed)
    model = LinearModel(r, jacobian, none, EPS)
    radius = 10.0**exponent
    step, damping = model.step_within(radius)
    length = model.length(step)
    if damping:
        assert length == pytest.approx(radius, rel=0.011)
        assert length < model.length(model.step(0.0))
    else:
        assert length <= 1.1 * radius
        np.testing.assert_array_equal(step, model.step(0.0))


def test_columns_that_say_the_same_are_no_trouble() -> None:
    r, jacobian, none = problem(10, 3)
    twice = np.column_stack([jacobian, jacobian[:, 0], np.zeros(10)])
    model = LinearModel(r, twice, np.zeros(5), EPS)
    assert not model.full_rank
    step = model.step(0.0)
    assert step[0] == pytest.approx(step[3])
    assert step[4] == 0
    expected = LinearModel(r, jacobian, none, EPS).step(0.0)
    assert step[0] + step[3] == pytest.approx(expected[0])


def test_the_scale_never_forgets_a_large_column() -> None:
    r, jacobian, _ = problem(10, 2)
    model = LinearModel(r, jacobian, np.array([1e9, 0.0]), EPS)
    assert model.scale[0] == 1e9
    assert model.scale[1] == pytest.approx(np.linalg.norm(jacobian[:, 1]))


# --- fits -----------------------------------------------------------------------------------

X = np.linspace(0, 3, 40)
both_methods = pytest.mark.parametrize("method", ["levenberg_marquardt", "gauss_newton"])


def decay(p: Any, x: Any, y: Any) -> Any:
    return p["size"] * np.exp(-p["rate"] * x) + p["floor"] - y


def noisy() -> Array:
    noise = 0.01 * np.random.default_rng(0).normal(size=40)
    return 2 * np.exp(-1.5 * X) + 0.3 + noise


START = {"size": np.array(1.0), "rate": 1.0, "floor": np.zeros(())}


@both_methods
def test_a_fit_is_that_of_scipy(method: str) -> None:
    scipy_fit = pytest.importorskip("scipy.optimize").curve_fit
    fit = optim.least_squares(decay, START, X, noisy(), method=method)
    assert fit.converged, fit.message
    values, covariance = scipy_fit(
        lambda x, a, b, c: a * np.exp(-b * x) + c, X, noisy(), p0=[1, 1, 0], ftol=1e-15, xtol=1e-15
    )
    found = [fit.x[name] for name in START]
    np.testing.assert_allclose(found, values, rtol=1e-7)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-5)
    errors = [fit.standard_errors[name] for name in START]
    np.testing.assert_allclose(errors, np.sqrt(np.diagonal(covariance)), rtol=1e-5)
    assert type(fit.x["rate"]) is float


def test_a_fit_says_what_it_is() -> None:
    fit = optim.least_squares(decay, START, X, noisy())
    np.testing.assert_allclose(fit.residuals, decay(fit.x, X, noisy()), rtol=0, atol=1e-15)
    assert fit.value == pytest.approx(np.sum(fit.residuals**2), rel=1e-15)
    assert fit.jacobian.shape == (40, 3)
    np.testing.assert_allclose(fit.jacobian[:, 0], np.exp(-fit.x["rate"] * X), rtol=1e-14)
    np.testing.assert_allclose(fit.jacobian[:, 2], 1)
    assert fit.gradient_norm < 1e-12
    few = optim.least_squares(decay, START, X, noisy(), max_iterations=2)
    assert (few.converged, few.iterations) == (False, 2)
    assert few.message == "2 iterations were not enough"


def test_residuals_of_any_shape_and_more_weights_than_rows() -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 5))

    def residuals(w: Any) -> Any:
        return np.tanh(matrix @ w.reshape(5, 3)) - 0.5

    fit = optim.least_squares(residuals, 0.1 * np.ones((5, 3)))
    assert fit.residuals.shape == (18,)
    assert fit.standard_errors.shape == (5, 3)
    few = optim.least_squares(lambda w: residuals(w)[:2], 0.1 * np.ones((5, 3)))
    assert few.value < 1e-25
    assert few.covariance is None is few.standard_errors
    same = optim.least_squares(lambda w: (w[0] + w[1]) * X - 1, np.zeros(2))
    assert same.converged
    assert same.covariance is None


@both_methods
def test_a_solution_is_found_to_the_last_digits(method: str) -> None:
    """Equations, not a fit: the residuals vanish."""

    def circle_and_line(v: Any) -> Any:
        return np.stack([v[0] ** 2 + v[1] ** 2 - 4, v[0] - v[1]])

    fit = optim.least_squares(circle_and_line, np.array([3.0, 1.0]), method=method)
    assert fit.converged
    np.testing.assert_allclose(fit.x, np.sqrt(2), rtol=4e-16)


def test_the_units_of_a_weight_do_not_matter() -> None:
    """Scaling the unknowns scales the whole way there (Moré 1978)."""
    units = 2.0 ** np.array([40, -30, 3])

    def model(b: Any) -> Any:
        return b[0] * np.exp(-b[1] * X) + b[2] - noisy()

    one = optim.least_squares(model, np.array([1.0, 1.0, 0.5]))
    other = optim.least_squares(lambda b: model(b / units), np.array([1.0, 1.0, 0.5]) * units)
    assert one.iterations == other.iterations
    np.testing.assert_allclose(other.x / units, one.x, rtol=1e-12)


def test_float32_ends_where_rounding_does() -> None:
    start = {name: np.float32(value) for name, value in START.items()}
    fit = optim.least_squares(decay, start, X.astype(np.float32), noisy().astype(np.float32))
    assert fit.converged, fit.message
    assert fit.jacobian.dtype == np.float32
    assert fit.x["size"].dtype == np.float32
    exact = optim.least_squares(decay, START, X, noisy())
    for name in START:
        # The residuals are known to 1e-7 of numbers near 1, a hundredth of a standard error.
        assert abs(fit.x[name] - exact.x[name]) < 0.01 * exact.standard_errors[name]


def test_a_step_into_the_impossible_is_shortened() -> None:
    """The whole Gauss-Newton step leads to the logarithm of a negative number."""
    fit = optim.least_squares(lambda b: np.log(b) * np.ones(3) + 5, np.array([30.0]))
    np.testing.assert_allclose(fit.x, np.exp(-5), rtol=1e-12)


def test_no_way_down_is_told() -> None:
    """Where everything is flat there is nothing to gain; where no step helps it is no minimum."""
    flat = optim.least_squares(lambda b: 0 * b + np.ones(4), np.zeros(4))
    assert flat.converged
    kink = optim.least_squares(lambda b: np.abs(b) + 1, np.array([1e-9]), method="gauss_newton")
    assert abs(kink.x[0]) <= 1e-9


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.least_squares(np.sin, np.arange(3)), UsageError, "dtype int64"),
        (lambda: optim.least_squares(np.sin, {"a": []}), UsageError, "holds no numbers"),
        (lambda: optim.least_squares(lambda x: (x, x), np.ones(3)), TraceError, "one array"),
        (lambda: optim.least_squares(np.sin, np.ones(3), method="lbfgs"), UsageError, "method"),
        (lambda: optim.least_squares(np.sin, np.ones(3), tolerance=-1.0), UsageError, "tolerance"),
        (lambda: optim.least_squares(np.log, -np.ones(3)), NonFiniteError, "value of log at x0"),
        (lambda: optim.least_squares(np.sqrt, np.zeros(3)), NonFiniteError, "derivative of sqrt"),
    ],
)
def test_what_cannot_be_is_told(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_fitting_again_traces_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(b: Any, x: Any, y: Any) -> Any:
        return b[0] * x - y

    for seed in range(3):
        y = np.random.default_rng(seed).normal(size=40)
        fit = optim.least_squares(model, np.ones(1), X, y)
        assert fit.x[0] == pytest.approx(X @ y / (X @ X))
        monkeypatch.setattr(tracing, "capture", None)  # from now on nothing can be traced


def test_a_network_of_many_rows_and_weights_fits_in_memory_and_time() -> None:
    """6,000 rows and 368 weights, triangularised in several blocks."""
    random = np.random.default_rng(0)
    x = random.normal(size=(6_000, 4))
    y = np.sin(x[:, 0]) * x[:, 1]
    layers = [random.normal(size=s) / 2 for s in [(4, 16), (16,), (16, 16), (16,), (16, 1)]]

    def residuals(w: Any, x: Any, y: Any) -> Any:
        h = np.tanh(np.tanh(x @ w[0] + w[1]) @ w[2] + w[3])
        return (h @ w[4])[:, 0] - y

    fit = optim.least_squares(residuals, layers, x, y, max_iterations=10)
    first = np.sum(np.asarray(residuals(layers, x, y)) ** 2)
    assert fit.value < 0.1 * first
    assert cr.jacobian(residuals)(layers, x[:2], y[:2])[0].shape == (2, 4, 16)
