"""The Jacobian equals the gradient of each element, whatever the function does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.backward.linear import LINEAR, cost, spread
from chainrule.errors import NoDerivativeError, TraceError, UsageError
from chainrule.graph import OPS
from chainrule.reference import evaluate

Array = np.ndarray[Any, Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def row_by_row(function: Callable[..., Any], x: Array, *args: Any) -> Array:
    """The definition: the gradient of each element of the result, one after the other."""
    result = np.asarray(function(x, *args))

    def element(x: Any, number: Any) -> Any:
        return np.sum(np.reshape(function(x, *args), -1) * (np.arange(result.size) == number))

    gradient = cr.grad(element)
    rows = [gradient(x, np.asarray(i)) for i in range(result.size)]
    return np.asarray(rows).reshape(result.shape + x.shape)


X = normal(7, 3, seed=1)
T = np.linspace(0.1, 1.0, 11)


def batch_norm(w: Any) -> Any:
    z = X @ w
    return np.tanh((z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 0.1))


def recurrent(w: Any) -> Any:
    """Each row of the result depends on all rows before it."""
    state, states = np.zeros(4), []
    for row in X:
        state = np.tanh(row @ w + 0.5 * state)
        states.append(state)
    return np.stack(states)


def in_a_scan(w: Any) -> Any:
    """The same as one loop: unit vectors meet in the state."""
    step = lambda h, row: (np.tanh(row @ w + 0.5 * h),) * 2  # noqa: E731
    return cr.scan(step, np.zeros(4), X)[1]


def sequences_in_a_scan(w: Any, **settings: Any) -> Any:
    """Four sequences side by side, which stay apart from step to step; what each step gives, and
    where they end."""
    rows = normal(4, 6, 3, seed=4)

    def step(state: Any, xs: Any) -> Any:
        h, cell = state
        z = xs @ w + h @ np.full((4, 4), 0.2)
        cell = 0.5 * cell + np.sin(z)
        h = np.tanh(cell) * z[:, ::-1]
        return (h, cell), h * z

    begin = np.zeros((4, 4)), np.zeros((4, 4))
    (h, cell), ys = cr.scan(step, begin, np.swapaxes(rows, 0, 1), **settings)
    return np.concatenate([h[:, None], cell[:, None], np.swapaxes(ys, 0, 1)], axis=1)


def own_gradient(w: Any) -> Any:
    """Residuals that contain a derivative, as those of a differential equation do."""
    slope = cr.grad(lambda t: np.sum(np.tanh(t[:, None] * w[0]) @ w[1]))(T)
    return slope + np.tanh(T[:, None] * w[0]) @ w[2]


# One for each way in which rows of the result may hang together; all of w [3, 4].
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "rows apart": lambda w: np.tanh(X @ w),
    "flattened": lambda w: np.tanh(X @ w).ravel(),
    "flattened the other way": lambda w: np.tanh(X @ w).T.ravel(),
    "two kinds of residuals": lambda w: np.concatenate([(X @ w).ravel(), 0.1 * w.ravel()]),
    "joined along the rows' other axis": lambda w: np.concatenate([X @ w, np.sin(X @ w)], axis=1),
    "two layers": lambda w: np.tanh(np.tanh(X @ w) @ w.T) @ w,
    "each row scaled by another": lambda w: (X @ w) * (X @ w)[::-1],
    "a parameter for each row": lambda w: np.exp(w) * normal(3, 4),
    "part of the rows": lambda w: (X @ w)[2:6:2] ** 2,
    "shifted rows": lambda w: (X @ w)[1:] - (X @ w)[:-1],
    "batch norm": batch_norm,
    "recurrent": recurrent,
    "chosen rows": lambda w: np.take(w, np.array([0, 2, 2, 1, 0]), axis=0) ** 3,
    "chosen columns": lambda w: np.tanh(X @ w)[:, np.array([3, 0, 3])],
    "a maximum": lambda w: np.max(X @ w, axis=1),
    "a softmax": lambda w: np.exp(X @ w) / np.sum(np.exp(X @ w), axis=1, keepdims=True),
    "where": lambda w: np.where(X @ w > 0, X @ w, np.expm1(X @ w)),
    "one number": lambda w: np.sum(w * w),
    "no parameter in part of it": lambda w: np.concatenate([w[0], np.ones(2)]),
    "sorted": lambda w: np.sort(w * 3, axis=0),
    "a product with itself": lambda w: w.T @ w,
    "a derivative": own_gradient,
    "a scan": in_a_scan,
    "a scan of rows apart": sequences_in_a_scan,
    "a scan from the end": lambda w: sequences_in_a_scan(w, reverse=True),
    "a scan with checkpoints": lambda w: sequences_in_a_scan(w, checkpoint=2),
    "a scan in which a row meets the next": lambda w: cr.scan(
        lambda h, x: (np.tanh(h[::-1] @ w @ w.T + x), h), normal(4, 3), normal(5, 4, 3)
    )[0],
    "the start of a scan": lambda w: cr.scan(lambda h, x: (np.sin(h * x), h), w, T[:4])[1],
    "reshaped": lambda w: np.tanh(X @ w).reshape(7, 2, 2).transpose(1, 0, 2),
    "a contraction of three": lambda w: np.einsum("ni,ij,nk->njk", X, w, X),
    "nothing kept": lambda w: (X @ w)[:0],
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_it_is_the_gradient_of_each_element(case: str) -> None:
    function, w = FUNCTIONS[case], normal(3, 4, seed=2)
    found = cr.jacobian(function)(w)
    expected = row_by_row(function, w)
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    # The same products in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", ["rows apart", "two layers", "batch norm", "chosen columns"])
def test_the_native_backend_gives_the_same(case: str) -> None:
    function, w = FUNCTIONS[case], normal(3, 4, seed=2)
    native = cr.compile(cr.jacobian(function), backend="native")(w)
    # Its tanh, exp and sqrt round differently, by a few ulp.
    np.testing.assert_allclose(native, cr.jacobian(function)(w), rtol=1e-12, atol=1e-14)


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.permutations(["i", "j", "k"]),
    st.sampled_from(["tanh", "rows", "shift"]),
)
def test_axes_of_any_size_in_any_order(rows: int, width: int, order: list[str], how: str) -> None:
    """Also those of size 1, along which nothing needs to be kept apart."""
    x, w = normal(rows, 2, 3), normal(3, width, seed=3)

    def function(w: Any) -> Any:
        z = np.einsum(f"ijd,dk->{''.join(order)}", x, w)
        if how == "rows":
            return np.tanh(z) * np.sum(z, axis=0)
        return np.tanh(z) if how == "tanh" else (z * z[::-1]).reshape(-1)

    np.testing.assert_allclose(
        cr.jacobian(function)(w), row_by_row(function, w), rtol=1e-12, atol=1e-13
    )


def test_rows_that_stay_apart_cost_a_few_passes_not_one_for_each() -> None:
    """The work grows with rows * weights, as the result itself does."""
    layers = [normal(1, 20), normal(20, 20), normal(20, 1)]

    def work(rows: int) -> tuple[int, int, int]:
        x = normal(rows, 1)

        def function(layers: Any) -> Any:
            h = x
            for w in layers[:-1]:
                h = np.tanh(h @ w)
            return (h @ layers[-1]).ravel()

        jacobian = cr.trace(cr.jacobian(function), layers)
        return cost(jacobian.outputs), cost(cr.trace(function, layers).outputs), 440 * rows

    some, forward, size = work(200)
    assert some < 5 * (forward + size)
    assert work(400)[0] < 2.1 * some


def test_few_parameters_of_rows_that_hang_together_go_by_columns() -> None:
    """A filter over 500 values, all of them scaled by their common size: by rows it would be 500
    backward passes."""
    x = normal(500)

    b = normal(3, seed=5)
    graph = cr.trace(cr.jacobian(lambda b: _normalised(x, b)), b)
    assert cost(graph.outputs) < 40 * cost(cr.trace(lambda b: _normalised(x, b), b).outputs)
    found = cr.jacobian(lambda b: _normalised(x, b))(b)
    np.testing.assert_allclose(found, row_by_row(lambda b: _normalised(x, b), b), atol=1e-13)


def _convolved(x: Array, b: Any) -> Any:
    return sum(b[k] * np.roll(x, k) for k in range(3))


def _normalised(x: Array, b: Any) -> Any:
    z = _convolved(x, b)
    return z / np.sqrt(np.mean(z * z))


# --- the face -------------------------------------------------------------------------------


def test_trees_and_several_arguments() -> None:
    def function(p: Any, scale: Any, *, shift: float = 0.0) -> Any:
        return scale * np.tanh(X @ p["w"] + p["b"][0]) + shift

    p = {"w": normal(3), "b": [normal()]}
    found, by_scale = cr.jacobian(function, (0, 1))(p, 2.0, shift=1.0)
    assert found["w"].shape == (7, 3)
    assert found["b"][0].shape == (7,)
    inner = np.tanh(X @ p["w"] + p["b"][0])
    np.testing.assert_allclose(by_scale, inner, rtol=1e-15)
    np.testing.assert_allclose(found["b"][0], 2 * (1 - inner**2), rtol=1e-15)
    alone = cr.jacobian(function, -1)(p, 2.0)
    np.testing.assert_array_equal(alone, by_scale)


def test_it_keeps_float32_and_can_be_differentiated_again() -> None:
    x = X.astype(np.float32)
    w = normal(3).astype(np.float32)
    assert cr.jacobian(lambda w: np.tanh(x @ w))(w).dtype == np.float32
    # The Jacobian of a gradient is the Hessian.
    hessian = cr.jacobian(cr.grad(lambda w: np.sum(np.tanh(X @ w) ** 2)))(normal(3))
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-14)
    vector = normal(3, seed=9)
    product = cr.hvp(lambda w: np.sum(np.tanh(X @ w) ** 2))(normal(3), vector)
    np.testing.assert_allclose(hessian @ vector, product, rtol=1e-12)
    trace = cr.grad(lambda w: np.sum(cr.jacobian(np.sin)(w)))(normal(3))
    np.testing.assert_allclose(trace, -np.sin(normal(3)), rtol=1e-15)


def test_a_zero_delta_stays_zero() -> None:
    """The branch that was not taken sends nothing back, in any row."""

    def function(b: Any) -> Any:
        return np.where(T > 0.5, b[0] * np.sqrt(T - 0.5 + b[1]), b[0] * T)

    with np.errstate(invalid="ignore"):
        found = cr.jacobian(function)(np.array([2.0, 0.0]))
    assert np.isfinite(found).all()
    assert (found[T <= 0.5, 1] == 0).all()


def test_what_cannot_be_is_told() -> None:
    w = normal(3)
    with pytest.raises(NoDerivativeError):
        cr.jacobian(lambda w: (w > 0).astype(float))(w)
    with pytest.raises(TraceError, match="returned tuple, but a Jacobian needs one array"):
        cr.jacobian(lambda w: (w, w))(w)
    with pytest.raises(TraceError, match="returned bool, but"):
        cr.jacobian(lambda w: w > 0)(w)
    with pytest.raises(UsageError, match="argnums names argument 1"):
        cr.jacobian(lambda w: w, 1)(w)
    with pytest.raises(UsageError, match="only floating-point arrays"):
        cr.jacobian(lambda w: w * 1.0)(np.arange(3))


# --- unit vectors through linear functions --------------------------------------------------

Y = normal(5, 4, seed=7)
INDEX = np.array([[3, 0], [3, 1]])
slide = np.lib.stride_tricks.sliding_window_view

# Linear functions of u [5, 4]: alone, and with the unit vectors already apart or spelled out.
LINEAR_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "add": lambda u: u + 2 * u,
    "add what differs": lambda u: u[::-1] + u,
    "add transposed": lambda u: u[:4] + u[:4].T,
    "subtract": lambda u: u - u[:, ::-1],
    "negative": lambda u: -u,
    "multiply": lambda u: u * Y,
    "multiply a row": lambda u: Y[0] * u.sum(axis=0),
    "divide": lambda u: u / Y,
    "divide a sum": lambda u: u.sum(axis=1) / Y[:, 0],
    "scale": lambda u: cr.grad(lambda y: np.sum(y * y * u))(Y),
    "cast": lambda u: u.astype(np.float32).astype(np.float64),
    "where": lambda u: np.where(Y > 0, u, 0.0) + np.where(Y > 1, 0.0, 3 * u),
    "where what differs": lambda u: np.where(Y > 0, u, u[::-1]),
    "sum": lambda u: u.sum(axis=0),
    "sum of all": lambda u: u.sum(),
    "sum of a sum": lambda u: (u.sum(axis=1) * Y[:, 1]).sum(),
    "sum of others": lambda u: np.broadcast_to(u[:, None], (5, 3, 4)).sum(axis=(1, 2)),
    "contract": lambda u: u @ Y.T,
    "contract from the left": lambda u: Y.T @ u,
    "contract with a batch": lambda u: np.einsum("ij,ij->i", u, Y),
    "contract twice": lambda u: Y @ (Y.T @ u) @ Y.T,
    "reshape": lambda u: u.reshape(5, 2, 2),
    "reshape a sum": lambda u: u.sum(axis=0).reshape(2, 2),
    "reshape to a row": lambda u: u.reshape(-1),
    "transpose": lambda u: u.T,
    "broadcast": lambda u: np.broadcast_to(u, (3, 5, 4)) * normal(3, 5, 4),
    "broadcast a sum": lambda u: u - u.sum(axis=1, keepdims=True),
    "slice": lambda u: u[:, 1:3],
    "slice rows": lambda u: u[1::2],
    "pad": lambda u: np.pad(u, ((0, 0), (1, 2))),
    "pad rows": lambda u: np.pad(u, ((2, 0), (0, 0))),
    "pad a sum": lambda u: np.pad(u.sum(axis=0), (1, 1)),
    "concatenate": lambda u: np.concatenate([u, np.ones((5, 2)) * 0, u[:, :1]], axis=1),
    "concatenate rows": lambda u: np.concatenate([u, 2 * u[:1]]),
    "reverse": lambda u: u[:, ::-1],
    "reverse a sum": lambda u: u.sum(axis=0)[::-1],
    "take": lambda u: np.take(u, INDEX, axis=1),
    "take rows": lambda u: np.take(u, INDEX, axis=0),
    "scatter": lambda u: cr.grad(lambda y: np.sum(np.take(y, INDEX, axis=1) * u[:, :2, None]))(Y),
    "scatter rows": lambda u: cr.grad(lambda y: np.sum(np.take(y, INDEX[0], axis=0) * u[:2]))(Y),
    "window": lambda u: slide(u, 2, axis=1)[:, ::2],
    "window rows": lambda u: slide(u, (2, 3), axis=(0, 1)),
    "fold": lambda u: cr.grad(lambda y: np.sum(slide(y, 2, axis=1) * slide(u, 2, axis=1)))(Y),
    "fold rows": lambda u: cr.grad(lambda y: np.sum(slide(y, 2, axis=0) * u[:4, :, None]))(Y),
    "scan": lambda u: cr.scan(lambda h, x: (0.5 * h[::-1] + x @ Y[:4], h + 2 * x), u[0], u[1:])[1],
    "scan of rows": lambda u: cr.scan(lambda h, x: (h * x + u, h), np.zeros((5, 4)), T[:3])[0],
    "scan to nothing": lambda u: cr.scan(lambda h, x: (x, 3 * h), u, np.zeros((2, 5, 4)))[1],
    "fixed point": lambda u: (
        cr.fixed_point(lambda z, u: 0.25 * z[::-1] + u, np.zeros((5, 4)), u, tolerance=1e-15).value
    ),
    "nothing": lambda u: Y,
}


@pytest.mark.parametrize("case", LINEAR_FUNCTIONS)
def test_a_linear_function_of_all_unit_vectors_at_once(case: str) -> None:
    function = LINEAR_FUNCTIONS[case]
    graph = cr.trace(function, normal(5, 4))
    values = graph.with_outputs(spread(graph.inputs[0], graph.outputs), ["values"])
    (found,) = evaluate(values, [np.full((5, 4), np.nan)])  # u itself does not matter
    zero = np.asarray(cr.compile(function)(np.zeros((5, 4))))
    units = np.eye(20).reshape(20, 5, 4)
    expected = np.stack([np.asarray(cr.compile(function)(u)) - zero for u in units])
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-14, atol=1e-15)


def test_those_functions_pass_through_every_rule() -> None:
    seen = set()
    for function in LINEAR_FUNCTIONS.values():
        seen |= {node.op for node in cr.trace(function, normal(5, 4)).nodes()}
    assert seen >= set(LINEAR)


def test_every_op_that_a_delta_passes_is_in_the_table() -> None:
    """A new op either carries a delta on linearly, and gets a rule, or no backward rule makes it
    of a delta."""
    never = set(
        "input constant iota random_bits absolute sign floor exp expm1 log log1p sqrt sin cos tanh "
        "erf not stop maximum minimum floor_divide remainder power arctan2 equal not_equal less "
        "less_equal and or max argmax argsort".split()
    )
    assert set(LINEAR) | never == set(OPS)
    assert not set(LINEAR) & never


# --- loops --------------------------------------------------------------------------------------


def test_sequences_that_stay_apart_cost_a_few_passes() -> None:
    """The work of the loops grows with the sequences, not with their square."""

    def work(rows: int) -> int:
        xs = normal(6, rows, 3)

        def function(w: Any) -> Any:
            begin = np.zeros((rows, 4))
            return cr.scan(lambda h, x: (np.tanh(x @ w + 0.5 * h),) * 2, begin, xs)[0]

        return cost(cr.trace(cr.jacobian(function), normal(3, 4)).outputs)

    assert work(80) < 2.1 * work(40)


def test_a_fixed_point_too() -> None:
    """To its tolerance; on both backends."""
    drive = normal(6, 4, seed=8)

    def function(w: Any) -> Any:
        step = lambda z, w: np.tanh(drive + 0.3 * z @ w)  # noqa: E731
        return cr.fixed_point(step, np.zeros((6, 4)), w, tolerance=1e-13).value

    w = normal(4, 4, seed=2) / 2
    expected = row_by_row(function, w)
    for backend in ("reference", "native"):
        found = cr.compile(cr.jacobian(function), backend=backend)(w)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layer", [cr.nn.LSTM(3, 4), cr.nn.GRU(3, 4, layers=2, last=True)], ids=str)
def test_a_recurrent_layer_by_its_weights_and_the_hessian(layer: Any) -> None:
    """On native code as on the reference."""
    x = normal(2, 5, 3)
    net = cr.nn.init(layer, x, dtype=np.float64)
    found = cr.jacobian(lambda net: net(x))(net)
    native = cr.compile(cr.jacobian(lambda net: net(x)), backend="native")(net)
    pairs = zip(cr.tracing.leaves(found), cr.tracing.leaves(native), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(other.value, one.value, rtol=1e-10, atol=1e-12)
    hessian = cr.jacobian(cr.grad(lambda w: np.sum(_with(net, w)(x) ** 2)))
    w = cr.tracing.leaves(net)[0].value
    product = cr.hvp(lambda w: np.sum(_with(net, w)(x) ** 2))(w, np.cos(w))
    np.testing.assert_allclose(
        np.tensordot(hessian(w), np.cos(w), 2), product, rtol=1e-10, atol=1e-12
    )


def _with(net: Any, w: Any) -> Any:
    """The net with another first array of weights."""
    _, *rest = (leaf.value for leaf in cr.tracing.leaves(net))
    return cr.tracing.trees.replace_leaves(net, [w, *rest])
