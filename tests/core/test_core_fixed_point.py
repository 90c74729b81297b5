"""cr.fixed_point: where it ends, its implicit gradients, and what it says when it does not end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import config
from chainrule.errors import ChainruleError, ConvergenceError, NoDerivativeError, ShapeError
from chainrule.graph import from_text, to_text, verify
from chainrule.rewrite import rewrite

random = np.random.default_rng(9)
A = random.normal(size=(4, 4)) * 0.2
B = random.normal(size=4)
W, X = random.normal(size=(3, 3)) * 0.3, random.normal(size=(2, 3))


def at_rest(w: Any, x: Any, **settings: Any) -> Any:
    options = {"tolerance": 1e-13, **settings}
    start = np.zeros_like(x)
    return cr.fixed_point(lambda z, w, x: np.tanh(z @ w + x), start, w, x, **options)


def unrolled(w: Any, x: Any) -> Any:
    z = np.zeros_like(x)
    for _ in range(60):
        z = np.tanh(z @ w + x)
    return z


def test_a_linear_iteration_ends_at_the_solution() -> None:
    """Plain and compiled; the gradient is that of the linear solve."""
    want = np.linalg.solve(np.eye(4) - A, B)

    def solve(a: Any, b: Any) -> Any:
        return cr.fixed_point(lambda x, a, b: a @ x + b, np.zeros(4), a, b, tolerance=1e-13)

    for found in (solve(A, B), cr.compile(solve)(A, B)):
        np.testing.assert_allclose(found.value, want, rtol=1e-11)
        assert found.converged
        assert found.change <= 1e-13
        assert 10 < found.iterations < 100
    weights = random.normal(size=4)
    gradient = cr.grad(lambda a, b: np.sum(solve(a, b).value * weights), (0, 1))(A, B)
    adjoint = np.linalg.solve((np.eye(4) - A).T, weights)
    np.testing.assert_allclose(gradient[1], adjoint, rtol=1e-10)
    np.testing.assert_allclose(gradient[0], np.outer(adjoint, want), rtol=1e-10)


@pytest.mark.parametrize("backend", config.BACKENDS)
def test_implicit_gradients_are_those_of_many_steps_written_out(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First ones, Hessian-vector products, and differences to second order."""
    monkeypatch.setattr(config, "BACKEND", backend)

    def loss(function: Any) -> Any:
        return lambda w, x: np.sum(np.sin(function(w, x)) * np.arange(1.0, 7.0).reshape(2, 3))

    implicit = loss(lambda w, x: at_rest(w, x).value)
    for one, other in zip(
        cr.grad(implicit, (0, 1))(W, X), cr.grad(loss(unrolled), (0, 1))(W, X), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)
    direction = random.normal(size=W.shape)
    np.testing.assert_allclose(
        cr.hvp(implicit)(W, X, direction), cr.hvp(loss(unrolled))(W, X, direction), rtol=1e-8
    )
    cr.check_grads(lambda w, x: at_rest(w, x).value, (W, X))


def test_what_it_closes_over_is_differentiated_too() -> None:
    def run(w: Any, x: Any) -> Any:
        return cr.fixed_point(lambda z: np.tanh(z @ w + x), 0 * x, tolerance=1e-13).value

    for one, other in zip(
        cr.grad(lambda *a: np.sum(run(*a)), (0, 1))(W, X),
        cr.grad(lambda *a: np.sum(unrolled(*a)), (0, 1))(W, X),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_states_may_be_a_tree() -> None:
    """And some of them need no iteration."""

    def run(w: Any, x: Any) -> Any:
        def step(s: Any) -> Any:
            return {"z": np.tanh(s["z"] @ w + s["y"]), "y": x * 0.5}

        return cr.fixed_point(step, {"z": 0 * x, "y": 0 * x}, tolerance=1e-13).value

    np.testing.assert_allclose(cr.compile(run)(W, X)["z"], unrolled(W, 0.5 * X), rtol=1e-11)
    cr.check_grads(run, (W, X))


def test_a_solution_of_zero_can_be_reached() -> None:
    """Where everything is relative to the states alone it never could."""
    found = cr.fixed_point(lambda x: 0.5 * x, np.ones(3), tolerance=1e-6)
    assert found.converged
    assert np.abs(found.value).max() < 2e-6
    none = cr.compile(lambda x: cr.fixed_point(lambda z: 0.5 * z, x))(np.zeros(3))
    assert (none.iterations, none.change) == (1, 0.0)


def test_no_step_on_the_way_is_kept() -> None:
    """The gradient's graph has one loop each way, and no scan; its text parses back."""
    graph = cr.trace(cr.grad(lambda w, x: np.sum(at_rest(w, x).value)), W, X)
    found = verify(rewrite(graph))
    assert [n.op for n in found.nodes() if n.op in ("scan", "fixed_point")] == ["fixed_point"] * 2
    _, back = [n for n in found.nodes() if n.op == "fixed_point"]
    ops = {n.op for n in back["body"].nodes()}
    assert ops <= {"input", "scale", "contract", "add"}  # the slope at the end is taken once
    text = to_text(found, data=True)
    assert to_text(from_text(text), data=True) == text


@pytest.mark.parametrize("slope", [1.5, -1.0, math.nan])
def test_what_does_not_converge_is_an_error_or_told(slope: float) -> None:
    """Growing, going back and forth, not a number; plain and compiled, and with what to do."""
    run = lambda x, **s: cr.fixed_point(lambda z: slope * z + 1, x, **s)  # noqa: E731
    for call in (run, cr.compile(run)):
        with pytest.raises(ConvergenceError, match="did not converge: after") as caught:
            call(np.ones(2))
        assert "max_iterations" in str(caught.value)
        assert "test_core_fixed_point.py" in str(caught.value)
    for call in (run, cr.compile(lambda x: run(x, strict=False))):
        found = call(np.ones(2), strict=False) if call is run else call(np.ones(2))
        assert not found.converged
        assert found.iterations == (1 if math.isnan(slope) else 100)


def test_an_adjoint_that_does_not_converge_is_an_error_too() -> None:
    """The way there may end (it starts at rest), and the way back not."""
    run = lambda a: cr.fixed_point(lambda z, a: a * z, np.zeros(2), a).value  # noqa: E731
    np.testing.assert_array_equal(run(np.float64(3.0)), 0)
    with pytest.raises(ConvergenceError, match="did not converge"):
        cr.grad(lambda b: np.sum(cr.fixed_point(lambda z, b: 3 * z + b, 0 * B, b).value))(0 * B)


def test_the_start_has_no_derivative() -> None:
    with pytest.raises(NoDerivativeError, match="depends on x only through"):
        cr.grad(lambda x: np.sum(cr.fixed_point(lambda z: 0.5 * z + 1, x).value))(B)


def test_in_the_dtype_of_its_states() -> None:
    """A Python number takes that of the function."""
    x = X.astype(np.float32)
    found = cr.compile(lambda x: cr.fixed_point(lambda z, x: np.tanh(0.5 * z + x), 0.0, x[0, 0]))(x)
    assert found.value.dtype == np.float32
    assert found.change.dtype == np.float64


def test_a_python_number_is_iterated_too() -> None:
    def run(a: Any) -> Any:
        return cr.fixed_point(lambda z: 0.5 * z + a, 1.0)

    for found in (run(1.0), cr.compile(run)(1.0)):
        assert found.converged
        np.testing.assert_allclose(found.value, 2.0, rtol=1e-5)


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: cr.fixed_point(lambda z: z[:1], x), ShapeError, r"z is float64\[4\] and the"),
    (
        lambda x: cr.fixed_point(lambda z: z.astype(np.float32), x),
        ShapeError,
        r"returns float32\[4\]",
    ),
    (lambda x: cr.fixed_point(lambda z: (z, z), x), ShapeError, "the function gets"),
    (lambda x: cr.fixed_point(lambda z: z, x.astype(int)), ShapeError, "floating-point"),
    (lambda x: cr.fixed_point(lambda z: z, x, tolerance=0.0), ChainruleError, r"tolerance=0\.0"),
    (lambda x: cr.fixed_point(lambda z: z, x, max_iterations=1.5), ChainruleError, "whole number"),
    (lambda x: cr.fixed_point(np.cos, 1), ShapeError, "start from floating-point arrays"),
    (lambda x: cr.fixed_point(lambda z: z, x, max_iterations=0), ChainruleError, "iterations=0"),
]


@pytest.mark.parametrize(("call", "error", "says"), ERRORS)
def test_what_is_no_fixed_point_is_an_error(call: Any, error: type[Exception], says: str) -> None:
    """The same plain and traced, with what to do."""
    for run in (call, cr.compile(call)):
        with pytest.raises(error, match=says) as caught:
            run(B)
        assert "do:" in str(caught.value)
