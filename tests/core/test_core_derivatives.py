"""`grad`, `value_and_grad`, `hvp` and their combinations, against derivatives known in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import pipeline
from chainrule.backward import gradients
from chainrule.graph import Graph, verify
from chainrule.graph.substitution import substitute
from chainrule.reference import Interpreter, evaluate

pytestmark = pytest.mark.tiny

X = np.array([0.3, -1.2, 0.8])
A = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])


def quadratic(x: Any) -> Any:
    return 0.5 * x @ (A @ x) + np.sum(x)


def bumpy(x: Any) -> Any:
    return np.sum(np.sin(x) * np.roll(x, 1) ** 2)


def hessian(function: Any, x: np.ndarray) -> np.ndarray:
    rows = [cr.grad(lambda v, i=i: cr.grad(function)(v)[i])(x) for i in range(x.size)]
    return np.stack(rows)


def test_gradient_and_hessian_of_a_quadratic_are_exact() -> None:
    """A x + 1 and A: by grad of grad, and by Hessian-vector products."""
    np.testing.assert_allclose(cr.grad(quadratic)(X), A @ X + 1, rtol=1e-15)
    np.testing.assert_allclose(hessian(quadratic, X), A, rtol=1e-15)
    for direction in np.eye(3):
        np.testing.assert_allclose(cr.hvp(quadratic)(X, direction), A @ direction, rtol=1e-15)


def test_hessian_vector_products_agree_with_the_full_hessian() -> None:
    """On a function that is not quadratic, on trees, and for other arguments."""
    v = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(cr.hvp(bumpy)(X, v), hessian(bumpy, X) @ v, rtol=1e-13)

    def of_tree(scale: Any, tree: Any) -> Any:
        return scale * bumpy(np.concatenate([tree["a"], tree["b"][None]]))

    tree, along = {"a": X[:2], "b": X[2]}, {"a": v[:2], "b": v[2]}
    product = cr.hvp(of_tree, argnums=1)(2.0, tree, along)
    flat = np.append(product["a"], product["b"])
    np.testing.assert_allclose(flat, 2 * hessian(bumpy, X) @ v, rtol=1e-13)


def test_a_third_derivative() -> None:
    """grad of grad of grad of x^5."""
    third = cr.grad(cr.grad(cr.grad(lambda x: x**5)))
    assert third(2.0) == 240.0


def test_gradients_come_in_the_shape_of_the_arguments() -> None:
    """One argument, several, by negative number; trees, Python floats, 0-d and size-1 results."""

    def function(w: Any, x: Any, s: Any) -> Any:
        return np.sum(w["a"] * x) * s + np.sum(w["b"][0])

    w = {"a": X, "b": (np.ones((2, 1), np.float32),)}
    by_w, by_s = cr.grad(function, (0, -1))(w, X, 2.0)
    np.testing.assert_allclose(by_w["a"], 2 * X)
    assert by_w["b"][0].shape == (2, 1)
    assert by_w["b"][0].dtype == np.float32
    np.testing.assert_allclose(by_s, X @ X)
    assert isinstance(cr.grad(function, (1,))(w, X, 2.0), tuple)
    assert cr.grad(lambda x: np.sum(x, keepdims=True))(X).shape == (3,)


def test_values_come_with_gradients_and_extras() -> None:
    """(value, gradient), and with has_aux ((value, extra), gradient)."""

    def with_extra(x: Any) -> Any:
        y = np.tanh(x)
        return np.sum(y), {"y": y, "n": 3}

    value, gradient = cr.value_and_grad(quadratic)(X)
    np.testing.assert_allclose(value, quadratic(X))
    np.testing.assert_allclose(gradient, A @ X + 1)
    (value, extra), gradient = cr.value_and_grad(with_extra, has_aux=True)(X)
    np.testing.assert_allclose(extra["y"], np.tanh(X))
    assert extra["n"] == 3
    only, again = cr.grad(with_extra, has_aux=True)(X)
    np.testing.assert_array_equal(only, gradient)
    np.testing.assert_array_equal(again["y"], extra["y"])


def test_transformations_combine() -> None:
    """A compiled update with a gradient inside; a gradient of a compiled function; of an update."""

    @cr.compile
    def step(x: Any, rate: Any) -> Any:
        return x - rate * cr.grad(quadratic)(x)

    np.testing.assert_allclose(step(X, 0.1), X - 0.1 * (A @ X + 1), rtol=1e-14)
    after = cr.grad(lambda rate: quadratic(step(X, rate)))(0.0)
    slope = A @ X + 1
    np.testing.assert_allclose(after, -slope @ slope, rtol=1e-14)


def test_arguments_of_the_outer_function_are_constants_to_the_inner_gradient() -> None:
    """d/dx of (x * d/dy (x y)) at y = 3 is 2x: no confusion of the two derivatives."""

    def outer(x: Any) -> Any:
        return x * cr.grad(lambda y: x * y)(3.0)

    assert cr.grad(outer)(5.0) == 10.0


def test_the_same_value_used_often_gets_the_sum_of_its_deltas() -> None:
    """Fan-out, diamonds, and an argument that is also the result."""
    np.testing.assert_allclose(cr.grad(lambda x: np.sum(x * x * x + x))(X), 3 * X**2 + 1)
    assert cr.grad(lambda x: x)(2.0) == 1.0
    first, second = cr.grad(lambda x, y: x + 0 * y, (0, 1))(1.0, 2.0)
    assert (first, second) == (1.0, 0.0)


def test_gradients_of_inner_nodes_are_the_deltas_of_layers() -> None:
    """`gradients` works on any nodes of a graph."""
    graph = cr.trace(lambda x: np.sum(np.tanh(2 * x) ** 2), X)
    inner = next(n for n in graph.nodes() if n.op == "tanh")
    (delta,) = gradients(graph.outputs[0], [inner])
    found = Graph("delta", graph.inputs, (delta,), ("delta",))
    np.testing.assert_allclose(evaluate(verify(found), [X])[0], 2 * np.tanh(2 * X))


def test_float32_stays_float32() -> None:
    """Values, gradients and Hessian-vector products, with Python scalars around."""
    x = X.astype(np.float32)

    def function(v: Any) -> Any:
        return 0.5 * np.mean(np.where(v > 0, v**3, 2 * v) / 3.0) + np.std(v) - np.linalg.norm(v)

    value, gradient = cr.value_and_grad(function)(x)
    assert value.dtype == gradient.dtype == cr.hvp(function)(x, x).dtype == np.float32
    graph = cr.trace(cr.value_and_grad(function), x)
    assert not [n for n in graph.nodes() if n.type.dtype == np.float64]


def test_origins_name_the_users_line_and_the_stage() -> None:
    """Each node knows where it comes from; what the chain rule made says so."""
    graph = cr.trace(cr.value_and_grad(bumpy), X)
    origins = {str(n.origin) for n in graph.nodes() if n.op not in ("input",)}
    assert all("test_core_derivatives.py" in origin for origin in origins)
    assert any(origin.endswith("by backward") for origin in origins)


def test_the_stages_of_a_function_can_be_held_and_run() -> None:
    """Each is a sound graph of the same values."""
    found = pipeline.graph_stages(cr.grad(bumpy), X)
    assert next(iter(found)) == "traced"
    assert len(found) > 3
    want = cr.grad(bumpy)(X)
    for graph in found.values():
        np.testing.assert_allclose(evaluate(graph, [X])[0], want, rtol=1e-15)
    sizes = [len(g.nodes()) for g in found.values()]
    assert sizes[-1] < sizes[0]


def test_stopping_a_gradient_outside_a_trace_changes_nothing() -> None:
    """Plain NumPy runs; trees are passed through."""
    tree = {"a": X}
    assert cr.stop_gradient(tree) is tree
    gradient = cr.grad(lambda x: np.sum(x * cr.stop_gradient({"a": x})["a"]))(X)
    np.testing.assert_array_equal(gradient, X)


def test_substitution_replaces_inputs_and_keeps_the_rest() -> None:
    """What does not depend on them stays the same node."""
    graph = cr.trace(lambda x, y: (np.exp(x), np.exp(y) * x), X, X)
    x, y = graph.inputs
    first, second = substitute(graph.outputs, {y: x})
    assert first is graph.outputs[0]
    again = Graph("g", (x,), (first, second), ("a", "b"))
    np.testing.assert_allclose(evaluate(again, [X])[1], np.exp(X) * X)


def test_the_interpreter_may_be_run_again_and_keeps_nothing() -> None:
    """Inputs are not written to, results are independent of earlier calls."""
    run = Interpreter(cr.trace(lambda x: (np.cumsum(x) * 2, x[::-1]), X))
    first = [a.copy() for a in run([X])]
    run([2 * X])
    for one, other in zip(run([X]), first, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_arrays_have_empty_gradients(shape: tuple[int, ...]) -> None:
    """Sums of nothing are 0; means of nothing are NaN, as in NumPy."""
    x = np.zeros(shape)
    value, gradient = cr.value_and_grad(lambda v: np.sum(np.tanh(v) ** 2))(x)
    assert value == 0
    assert gradient.shape == shape
    assert np.isnan(cr.compile(np.mean)(x))
