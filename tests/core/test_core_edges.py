"""The table of edges (docs/edges.md): derivatives where they are a matter of convention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import NoDerivativeError

INF, NAN = np.inf, np.nan
DOC = Path(__file__).resolve().parents[2] / "docs" / "edges.md"


@dataclass(frozen=True)
class Edge:
    """At `x` the gradient of sum(f(x)) is `first`, and H @ ones is `second` (None: not stated)."""

    row: str  # of the table in docs/edges.md
    function: Callable[[Any], Any]
    x: list[float]
    first: list[float]
    second: list[float] | None


WEIGHTS = np.array([1.0, 2.0, 3.0])

EDGES = [
    Edge("`np.maximum(x, 0)`", lambda x: np.maximum(x, 0), [0, -0.0, 1, -1], [0, 0, 1, 0], [0] * 4),
    Edge("`np.maximum(x, 0)`", lambda x: np.maximum(0.0, x), [0], [0], [0]),
    Edge("`np.maximum(x, 0)`", lambda x: np.maximum(x, np.zeros_like(x)), [0], [0], [0]),
    Edge("`np.where(x > 0, x, 0)`", lambda x: np.where(x > 0, x, 0), [0, 1], [0, 1], [0, 0]),
    Edge("`np.minimum(x, 0)`", lambda x: np.minimum(x, 0), [0, -1], [0, 1], [0, 0]),
    Edge("`np.abs(x)`", abs, [0, -0.0, 2, -2], [0, 0, 1, -1], [0] * 4),
    Edge("`np.fabs(x)`", np.fabs, [0], [0], [0]),
    Edge("`np.copysign(x, 1)`", lambda x: np.copysign(x, 1.0), [0, -2], [0, -1], [0, 0]),
    Edge("`np.maximum(x, y)`", lambda x: np.maximum(x[:1], x[1:]), [1, 1], [0.5, 0.5], [0, 0]),
    Edge("`np.minimum(x, y)`", lambda x: np.minimum(x[:1], x[1:]), [1, 1], [0.5, 0.5], [0, 0]),
    Edge("`np.max(x)`", np.max, [2, 2, 1], [0.5, 0.5, 0], [0] * 3),
    Edge("`np.max(x)`", np.max, [1, 1, 1, 1], [0.25] * 4, [0] * 4),
    Edge(
        "`max` over windows",
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 2).max(axis=-1),
        [2, 2, 1, 3],
        [0.5, 1.5, 0, 1],
        [0] * 4,
    ),
    Edge("`np.min(x)`", np.min, [2, 1, 1], [0, 0.5, 0.5], [0] * 3),
    Edge("`np.ptp(x)`", np.ptp, [3, 3], [0, 0], [0, 0]),
    Edge("`np.sort(x)`", lambda x: np.sort(x) * WEIGHTS, [1, 1, 0], [2, 3, 1], [0] * 3),
    Edge("`np.median(x)`", np.median, [1, 1, 1], [0, 1, 0], [0] * 3),
    Edge("`np.median(x)`", np.median, [1, 1], [0.5, 0.5], [0, 0]),
    Edge(
        "`np.clip(x, a, b)`",
        lambda x: np.clip(x, 0, 1),
        [0, 1, 0.5, -1, 2],
        [0, 0, 1, 0, 0],
        [0] * 5,
    ),
    Edge("`np.linalg.norm(x)`", np.linalg.norm, [0, 0], [0, 0], [0, 0]),
    Edge("`np.linalg.norm(x)`", lambda x: np.linalg.norm(x, ord=3), [0, 0], [0, 0], [0, 0]),
    Edge("`np.linalg.norm(x)`", lambda x: np.linalg.norm(x, ord=1), [0, 2], [0, 1], [0, 0]),
    Edge("`np.std(x)`", np.std, [4, 4, 4], [0, 0, 0], [0, 0, 0]),
    Edge("`np.hypot(x, y)`", lambda x: np.hypot(x[0], x[1]), [0, 0], [0, 0], [0, 0]),
    Edge("`np.sqrt(x)`", np.sqrt, [0, 4], [INF, 0.25], [-INF, -1 / 32]),
    Edge("`np.cbrt(x)`", np.cbrt, [0, 8], [INF, 1 / 12], None),
    Edge("`np.log(x)`", np.log, [0, 2], [INF, 0.5], [-INF, -0.25]),
    Edge("`np.log1p(x)`", np.log1p, [-1, 0], [INF, 1], [-INF, -1]),
    Edge("`1 / x`", lambda x: 1 / x, [0, 2], [-INF, -0.25], None),
    Edge("`np.arcsin(x)`", np.arcsin, [1, -1, 0], [INF, INF, 1], None),
    Edge("`np.arccos(x)`", np.arccos, [1, -1, 0], [-INF, -INF, -1], None),
    Edge("`x ** 2`", lambda x: x**2, [0, 3], [0, 6], [2, 2]),
    Edge("`x ** 3`", lambda x: x**3, [0, -2], [0, 12], [0, -12]),
    Edge("`x ** 1.5`", lambda x: x**1.5, [0, 4], [0, 3], [INF, 0.375]),
    Edge("`x ** 0.5`", lambda x: x**0.5, [0, 4], [INF, 0.25], [-INF, -1 / 32]),
    Edge("`x ** 0`", lambda x: x**0.0, [0, 2], [0, 0], [0, 0]),
    Edge("`0 ** y`", lambda y: np.power(0.0, y), [2, 0.5], [0, 0], [0, 0]),
    Edge("`x ** y`", lambda x: x[0] ** x[1], [0, 1], [1, 0], None),
    Edge("`x ** y`", lambda x: x[0] ** x[1], [0, 3], [0, 0], None),
    Edge("`np.prod(x)`", np.prod, [0, 2, 3], [6, 0, 0], [5, 3, 2]),
    Edge("`np.prod(x)`", np.prod, [0, 0, 3], [0, 0, 0], [3, 3, 0]),
    Edge("`np.prod(x)`", np.prod, [0, 0, 0, 5], [0, 0, 0, 0], [0, 0, 0, 0]),
    Edge("`np.cumprod(x)`", np.cumprod, [0, 2, 3], [9, 0, 0], None),
    Edge("`np.logaddexp(x, y)`", lambda x: np.logaddexp(x[0], x[1]), [1, 1], [0.5, 0.5], [0, 0]),
    Edge("`np.logaddexp(x, y)`", lambda x: np.logaddexp(x[0], x[1]), [1, -INF], [1, 0], [0, 0]),
    Edge("`np.arctan2(y, x)`", lambda x: np.arctan2(x[0], x[1]), [0, 0], [0, 0], [0, 0]),
    Edge("`np.exp(x)`", np.exp, [-INF, 0], [0, 1], [0, 1]),
    Edge("`x % y`", lambda x: x % 2.0, [4, 3], [1, 1], [0, 0]),
    Edge("`np.fmax(x, y)`", lambda x: np.fmax(x[0], x[1]), [NAN, 1], [0, 1], [0, 0]),
]


@pytest.mark.parametrize("edge", EDGES, ids=lambda e: f"{e.row}-{e.x}")
def test_derivatives_at_edges_follow_the_table(edge: Edge) -> None:
    """First and second order, as docs/edges.md states them."""
    x = np.array(edge.x, float)

    def total(v: Any) -> Any:
        return np.sum(edge.function(v))

    np.testing.assert_allclose(cr.grad(total)(x), edge.first, rtol=1e-12)
    if edge.second is not None:
        np.testing.assert_allclose(cr.hvp(total)(x, np.ones_like(x)), edge.second, atol=1e-12)


def test_the_table_in_the_docs_has_every_edge() -> None:
    """No convention is tested that the docs do not state."""
    text = DOC.read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")}
    assert {edge.row for edge in EDGES} <= rows


# --- a zero delta stays zero ---

MASK = np.array([True, False, True, False])
W = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])

# What is computed, at arguments where the masked elements have no derivative, or none that is
# finite: 0 / 0, log of a negative number, an overflow, ...
SINGULAR: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    "sqrt of 0": (np.sqrt, [1.0, 0.0, 2.0, 0.0]),
    "sqrt of a negative number": (np.sqrt, [1.0, -1.0, 2.0, -4.0]),
    "log": (np.log, [1.0, 0.0, 2.0, -3.0]),
    "log1p": (np.log1p, [1.0, -1.0, 2.0, -3.0]),
    "division by 0": (lambda x: 1 / x, [1.0, 0.0, 2.0, -0.0]),
    "0 / 0": (lambda x: x / x**2, [1.0, 0.0, 2.0, 0.0]),
    "power": (lambda x: x**-1.5, [1.0, 0.0, 2.0, -1.0]),
    "power of both": (lambda x: x**x, [1.0, -1.5, 2.0, 0.0]),
    "times infinity": (lambda x: x * np.where(MASK, 2.0, INF), [1.0, 3.0, 2.0, 4.0]),
    "times NaN": (lambda x: x * np.where(MASK, 2.0, NAN), [1.0, 3.0, 2.0, 4.0]),
    "exp overflow": (np.exp, [1.0, 1000.0, 2.0, 5000.0]),
    "sinh overflow": (np.sinh, [1.0, 1000.0, 2.0, -5000.0]),
    "arcsin out of range": (np.arcsin, [0.1, 1.0, 0.2, 3.0]),
    "arctanh": (np.arctanh, [0.1, 1.0, 0.2, -1.0]),
    "arccosh": (np.arccosh, [2.0, 1.0, 3.0, 0.0]),
    "cbrt": (np.cbrt, [1.0, 0.0, 2.0, -0.0]),
    "arctan2 at the origin": (lambda x: np.arctan2(x, 2 * x * x), [1.0, 0.0, 2.0, 0.0]),
    "hypot": (lambda x: np.hypot(x, 3 * x), [1.0, 0.0, 2.0, INF]),
    "logaddexp": (lambda x: np.logaddexp(x, 1.0), [1.0, INF, 2.0, NAN]),
    "tan of infinity": (np.tan, [1.0, INF, 0.5, NAN]),
    "remainder by 0": (lambda x: np.remainder(5.0, x), [2.0, 0.0, 3.0, -0.0]),
    "NaN itself": (lambda x: x * x, [1.0, NAN, 2.0, INF]),
}


def _same_derivatives(masked: Callable[[Any], Any], x: np.ndarray, known: np.ndarray) -> None:
    """Gradient and Hessian-vector product are those of the function of the unmasked part."""
    direction = np.array([0.3, -0.7, 1.1, 0.9])
    kept = np.flatnonzero(MASK)
    expected = np.zeros((2, 4))
    expected[:, kept] = known
    np.testing.assert_allclose(cr.grad(masked)(x), expected[0], rtol=1e-10)
    np.testing.assert_allclose(cr.hvp(masked)(x, direction), expected[1], rtol=1e-10)


@pytest.mark.parametrize("name", SINGULAR)
def test_where_leaks_nothing_from_the_branch_not_taken(name: str) -> None:
    """In first and second order, also when the loss is not linear in the result."""
    function, values = SINGULAR[name]
    x = np.array(values)

    def loss(v: Any) -> Any:
        return np.sum(np.where(MASK, function(v), 0.0) ** 2)

    # The same, of the unmasked elements alone: masked ones get harmless values.
    safe = np.where(MASK, x, 0.7)

    def clean(v: Any) -> Any:
        return (
            np.sum((MASK * function(v)) ** 2) if "times" not in name else np.sum(MASK * 4 * v * v)
        )

    direction = np.where(MASK, [0.3, -0.7, 1.1, 0.9], 0.0)
    known = [cr.grad(clean)(safe)[MASK], cr.hvp(clean)(safe, direction)[MASK]]
    _same_derivatives(loss, x, np.array(known))


def test_rows_of_nan_that_are_masked_leave_a_product_alone() -> None:
    """x @ w with rows of NaN and infinity: the gradients for w, and to second order, are those of
    the rows that count."""
    x = np.array([[1.0, 2, 3], [NAN, NAN, NAN], [0.5, -1, 2], [INF, 0, -INF]])

    def loss(w: Any, rows: Any, keep: Any) -> Any:
        return np.sum(np.where(keep[:, None], np.tanh(rows @ w), 0.0) ** 2)

    for of in (cr.grad, lambda f: lambda *args: cr.hvp(f)(*args, W)):
        got = of(loss)(W, x, MASK)
        np.testing.assert_allclose(got, of(loss)(W, x[MASK], np.array([True, True])), rtol=1e-12)
    for_rows = cr.grad(loss, argnums=1)(W, x, MASK)
    assert (for_rows[~MASK] == 0).all()


def test_a_norm_of_masked_rows_leaks_nothing() -> None:
    """The norm of a zero row, and of a row of NaN, behind a where."""
    x = np.array([[3.0, 4.0], [0.0, 0.0], [NAN, 1.0]])
    keep = np.array([True, True, False])

    def loss(v: Any) -> Any:
        return np.sum(np.where(keep, np.linalg.norm(v, axis=1), 0.0) ** 3)

    np.testing.assert_allclose(cr.grad(loss)(x), [[45.0, 60.0], [0, 0], [0, 0]])
    assert np.isfinite(cr.hvp(loss)(x, np.ones_like(x))).all()


def test_a_strong_zero_meets_infinity_in_a_product_as_zero() -> None:
    """Deltas of 0 and of infinity in one contraction: each element is decided by itself."""

    def loss(v: Any) -> Any:
        root = np.sqrt(v)  # the delta is infinite where v is 0, and 0 where the weight is 0
        return np.sum(np.array([[1.0], [0.0]]) * (root[:, None] * np.array([[2.0, 3.0]])))

    np.testing.assert_array_equal(cr.grad(loss)(np.array([0.0, 0.0])), [INF, 0.0])


def test_softmax_with_masked_logits_has_finite_derivatives() -> None:
    """-inf logits, as attention masks have: probability 0, derivative 0."""

    def loss(z: Any) -> Any:
        z = z - np.max(z, axis=-1, keepdims=True)
        p = np.exp(z) / np.sum(np.exp(z), axis=-1, keepdims=True)
        return np.sum(p * np.array([1.0, 2.0, 3.0]))

    gradient = cr.grad(loss)(np.array([0.5, -INF, 1.0]))
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0


# --- no derivative ---

NO_DERIVATIVE: dict[str, Callable[[Any], Any]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "rint": np.rint,
    "trunc": np.trunc,
    "round": lambda x: np.round(x, 1),
    "sign": np.sign,
    "floor_divide": lambda x: x // 2.0,
    "divmod": lambda x: divmod(x, 2.0)[0],
    "heaviside": lambda x: np.heaviside(x, 0.5),
    "a comparison": lambda x: (x > 0).astype(float),
    "where between constants": lambda x: np.where(x > 0, 1.0, -1.0),
    "argmax": lambda x: np.argmax(x).astype(float),
    "argsort": lambda x: np.argsort(x).astype(float),
    "a cast to integers": lambda x: x.astype(int).astype(float),
    "count_nonzero": lambda x: np.count_nonzero(x).astype(float),
    "isnan": lambda x: np.isnan(x) * 2.0,
    "norm of order 0": lambda x: np.linalg.norm(x, ord=0),
    "the sign of copysign": lambda x: np.copysign(3.0, x),
    "indexing by it": lambda x: np.arange(10.0)[:, None].T[0][np.zeros(1, int)] * (x[0] > 0),
}


@pytest.mark.parametrize("name", NO_DERIVATIVE)
def test_what_has_no_derivative_raises(name: str) -> None:
    """Zeros are never returned in silence; the error names the op, the line and the way out."""

    def loss(x: Any) -> Any:
        return np.sum(NO_DERIVATIVE[name](x))

    with pytest.raises(NoDerivativeError) as caught:
        cr.grad(loss)(np.array([1.5, -0.5, 2.5]))
    assert "test_core_edges.py" in str(caught.value)
    assert "stop_gradient" in str(caught.value)


def test_stop_gradient_says_that_zeros_are_meant() -> None:
    """The value passes, the derivative does not; other paths keep theirs."""
    x = np.array([1.5, 2.5])
    straight_through = cr.grad(lambda x: np.sum(x + cr.stop_gradient(np.floor(x) - x)))
    np.testing.assert_array_equal(straight_through(x), [1.0, 1.0])
    alone = cr.grad(lambda x: np.sum(cr.stop_gradient(np.floor(x))))
    np.testing.assert_array_equal(alone(x), [0.0, 0.0])


def test_what_the_result_does_not_use_has_gradient_zero() -> None:
    """No dependence at all is not an error: a frozen part, an unused input."""
    first, second = cr.grad(lambda x, y: np.sum(x * 2), (0, 1))(np.ones(2), np.ones(3))
    np.testing.assert_array_equal(first, [2.0, 2.0])
    np.testing.assert_array_equal(second, np.zeros(3))


def test_second_derivatives_of_piecewise_linear_functions_are_zero() -> None:
    """Their first derivative is constant by pieces: that is no cut that an error should name."""
    x = np.array([1.0, -2.0, 0.5])
    for function in (abs, np.max, np.sort, lambda x: np.maximum(x, 0), lambda x: np.clip(x, 0, 1)):
        hessian = cr.hvp(lambda x, f=function: np.sum(f(x)))(x, np.ones(3))
        np.testing.assert_array_equal(hessian, np.zeros(3))


def test_third_derivatives_at_zero_are_exact() -> None:
    """Strong zeros cut nothing off where all is finite: x^3 and x^2 y at 0."""
    cr.check_grads(lambda x: x**3 + np.sin(x), (np.zeros(3),), order=3)
    cr.check_grads(lambda x, w: (x @ w) ** 3 * x[0], (np.zeros((2, 2)), np.zeros((2, 2))), order=3)
