"""cr.scan: what it computes, its gradients and their memory, and what it refuses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import config, nn
from chainrule.errors import NoDerivativeError, ShapeError, TraceError, UsageError
from chainrule.graph import Graph, InvalidGraphError, build, from_text, to_text, verify
from chainrule.graph.types import ArrayType
from chainrule.pipeline import Program
from chainrule.reference import evaluate
from chainrule.rewrite import rewrite

random = np.random.default_rng(7)
W, U = random.normal(size=(3, 3)) * 0.6, random.normal(size=(2, 3))
B, H = random.normal(size=3), random.normal(size=(4, 3))
X = random.normal(size=(7, 4, 2))
ARGS = (W, U, B, X, H)


def recurrent(w: Any, u: Any, b: Any, x: Any, h: Any, **settings: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(h @ w + x @ u + b)
        return h, h * h

    return cr.scan(step, h, x, **settings)


def unrolled(w: Any, u: Any, b: Any, x: Any, h: Any) -> Any:
    ys = []
    for t in range(x.shape[0]):
        h = np.tanh(h @ w + x[t] @ u + b)
        ys.append(h * h)
    return h, np.stack(ys)


def loss_of(function: Any) -> Any:
    def loss(*args: Any) -> Any:
        last, ys = function(*args)
        return np.sum(np.sin(last)) + np.sum(ys * np.cos(np.arange(ys.size).reshape(ys.shape)))

    return loss


def agree(one: Any, other: Any, tolerance: float = 1e-11) -> None:
    for a, b in zip(cr.tracing.leaves(one), cr.tracing.leaves(other), strict=True):
        assert a.name == b.name
        np.testing.assert_allclose(a.value, b.value, rtol=tolerance, atol=tolerance)


def loops(graph: Graph) -> list[Any]:
    return [n for n in graph.nodes() if n.op == "scan"]


# --- values -------------------------------------------------------------------------------------


def test_a_scan_is_the_loop_that_it_stands_for() -> None:
    """Plain, compiled, and with each setting: none changes a value."""
    want = unrolled(*ARGS)
    for settings in (
        {},
        {"checkpoint": True},
        {"checkpoint": 3},
        {"checkpoint": 100},
        {"memory": 2_000},
        {"truncate": 2},
        {"truncate": 3, "checkpoint": 2},
    ):
        agree(recurrent(*ARGS, **settings), want)
        agree(cr.compile(lambda *a, s=settings: recurrent(*a, **s))(*ARGS), want)


def test_trees_are_carried_sliced_and_stacked() -> None:
    """Dicts and tuples, integers and booleans among the arrays; y may be nothing."""

    def step(carry: Any, x: Any) -> Any:
        total, count = carry["total"], carry["count"]
        total = total + x["a"] * x["b"][0]
        return {"total": total, "count": count + 1}, (total > 0, {"twice": 2 * total})

    def run(a: Any, b: Any) -> Any:
        begin = {"total": np.zeros(2), "count": np.zeros((), np.int32)}
        return cr.scan(step, begin, {"a": a, "b": (b,)})

    a, b = random.normal(size=(5, 2)), random.normal(size=5)
    carry, (positive, other) = cr.compile(run)(a, b)
    sums = np.cumsum(a * b[:, None], axis=0)
    np.testing.assert_allclose(carry["total"], sums[-1])
    assert carry["count"] == 5
    np.testing.assert_array_equal(positive, sums > 0)
    np.testing.assert_allclose(other["twice"], 2 * sums)
    agree(run(a, b), (carry, (positive, other)))
    last, nothing = cr.compile(lambda a: cr.scan(lambda c, x: (c + x, None), np.zeros(2), a))(a)
    assert nothing is None
    np.testing.assert_allclose(last, a.sum(axis=0))


def test_the_other_direction() -> None:
    """The last element first; results stand where their elements stood."""

    def run(x: Any, **settings: Any) -> Any:
        return cr.scan(lambda c, x: (0.5 * c + x, c), 1.0, x, reverse=True, **settings)

    x = random.normal(size=7)
    carry, ys = 1.0, np.zeros(7)
    for t in range(6, -1, -1):
        ys[t], carry = carry, 0.5 * carry + x[t]
    for settings in ({}, {"checkpoint": 3}, {"truncate": 2}):
        agree(run(x, **settings), (carry, ys))
        agree(cr.compile(lambda x, s=settings: run(x, **s))(x), (carry, ys))


def test_no_steps_give_back_the_carry_and_nothing_stacked() -> None:
    """Plain and compiled, with the shapes that steps would have given, and their gradients."""
    none = X[:0]
    for run in (recurrent, cr.compile(recurrent)):
        last, ys = run(W, U, B, none, H)
        np.testing.assert_array_equal(last, H)
        assert ys.shape == (0, 4, 3)
    gradient = cr.grad(loss_of(recurrent), (0, 4))(W, U, B, none, H)
    np.testing.assert_array_equal(gradient[0], np.zeros_like(W))
    np.testing.assert_allclose(gradient[1], np.cos(H))


def test_a_python_number_takes_the_dtype_of_the_step() -> None:
    x = X[:, 0, 0].astype(np.float32)
    for step, dtype in (
        (lambda c, x: (c + x, c), np.float32),
        (lambda c, x: (c, c), np.float64),  # it met nothing
        (lambda c, x: (1.0, c), np.float64),
    ):

        def run(x: Any, step: Any = step) -> Any:
            return cr.scan(step, 0.0, x)

        for found in (run(x), cr.compile(run)(x)):
            assert found[0].dtype == found[1].dtype == dtype


def test_a_python_number_may_be_carried_through_loops_in_loops() -> None:
    """It takes the dtype of the innermost step, also through a fixed point, and has a gradient."""
    x = X[:, :, 0]

    def inner(c: Any, row: Any) -> Any:
        return cr.scan(lambda c, v: (np.tanh(c + v), c), c, row)

    def at_rest(c: Any, row: Any) -> Any:
        found = cr.fixed_point(lambda z: 0.5 * np.tanh(z + row[0]), c)
        return found.value, c

    for step in (inner, at_rest):

        def run(x: Any, begin: Any = 0.0, step: Any = step) -> Any:
            return cr.scan(step, begin, x)

        for dtype in (np.float32, np.float64):
            given, zero = x.astype(dtype), np.zeros((), dtype)
            want = run(given, zero)
            for found in (run(given), cr.compile(run)(given)):
                assert {leaf.value.dtype for leaf in cr.tracing.leaves(found)} == {np.dtype(dtype)}
                agree(found, want, 1e-5)
        slope = cr.grad(lambda x, run=run: run(x)[0])(x)
        agree(slope, cr.grad(lambda x, run=run: run(x, np.zeros(()))[0])(x))


def test_a_step_may_use_what_is_around_it() -> None:
    """Traced values and views of them, plain arrays large and small, and other transformations."""
    table = random.normal(size=(40, 3))

    def run(w: Any, x: Any) -> Any:
        square = np.tanh(w) @ w
        inner = cr.grad(lambda v: np.sum(np.sin(v @ square.T)))
        step = lambda c, x: (c + inner(c + x) + table[:3].sum(axis=0), c @ w)  # noqa: E731
        return cr.scan(step, np.zeros(3), x)

    def by_hand(w: Any, x: Any) -> Any:
        square, c, ys = np.tanh(w) @ w, np.zeros(3), []
        for t in range(len(x)):
            ys.append(c @ w)
            c = c + np.cos((c + x[t]) @ square.T) @ square + table[:3].sum(axis=0)
        return c, np.stack(ys)

    x = random.normal(size=(4, 3))
    agree(cr.compile(run)(W, x), by_hand(W, x))
    agree(cr.grad(loss_of(run), (0, 1))(W, x), cr.grad(loss_of(by_hand), (0, 1))(W, x), 1e-9)


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", config.BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reverse": True},
        {"checkpoint": True},
        {"checkpoint": 3, "reverse": True},
        {"memory": 1_500},
    ],
    ids=str,
)
def test_gradients_agree_with_differences_to_second_order(
    settings: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "BACKEND", backend)
    cr.check_grads(lambda *args: recurrent(*args, **settings), ARGS)


def test_gradients_are_those_of_the_loop_written_out() -> None:
    """First ones, and Hessian-vector products, for all arguments."""
    every = tuple(range(5))
    agree(cr.grad(loss_of(recurrent), every)(*ARGS), cr.grad(loss_of(unrolled), every)(*ARGS))
    direction = random.normal(size=W.shape)
    agree(cr.hvp(loss_of(recurrent))(*ARGS, direction), cr.hvp(loss_of(unrolled))(*ARGS, direction))


def test_loops_in_loops() -> None:
    """Their gradients to second order; what the inner one reads goes through the outer one."""

    def run(w: Any, x: Any) -> Any:
        def outer(c: Any, row: Any) -> Any:
            def inner(d: Any, x: Any) -> Any:
                return np.sin(d * w + x) + c, d

            return cr.scan(inner, c * 0.5, row)

        return cr.scan(outer, np.zeros(2), x)

    cr.check_grads(run, (np.array([0.5, -0.3]), random.normal(size=(3, 4, 2))))


def test_truncation_cuts_between_chunks() -> None:
    """The gradient is that of the loop with a constant carry at each cut, the values stay."""

    def by_hand(w: Any, u: Any, b: Any, x: Any, h: Any) -> Any:
        ys = []
        for t in range(x.shape[0]):
            if t and t % 3 == 0:
                h = cr.stop_gradient(h)
            h = np.tanh(h @ w + x[t] @ u + b)
            ys.append(h * h)
        return h, np.stack(ys)

    every = tuple(range(5))
    want = cr.grad(loss_of(by_hand), every)(*ARGS)
    for more in ({}, {"checkpoint": 2}, {"checkpoint": True}):
        cut = loss_of(lambda *args, m=more: recurrent(*args, truncate=3, **m))
        agree(cr.grad(cut, every)(*ARGS), want)
    whole = cr.grad(loss_of(recurrent), every)(*ARGS)
    assert not np.allclose(whole[0], want[0])
    same = cr.grad(loss_of(lambda *args: recurrent(*args, truncate=7)), every)(*ARGS)
    agree(same, whole)


def test_only_what_is_asked_for_is_differentiated() -> None:
    """An op without a derivative on the way of another argument does not matter; on the way of this
    one it is an error, and a carry that has nothing to do with the result gives zeros."""

    def run(a: Any, b: Any, x: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            a, b = carry
            return (a * x, b + 1.0), (a, np.floor(b))

        (last, _), (_, floors) = cr.scan(step, (a, b), x)
        return last, floors

    a, b, x = np.float64(2.0), np.float64(0.5), np.array([1.0, 3.0])
    assert cr.grad(lambda *args: run(*args)[0])(a, b, x) == 3.0
    assert cr.grad(lambda *args: run(*args)[0], 1)(a, b, x) == 0.0
    assert cr.grad(lambda *args: np.sum(run(*args)[1]))(a, b, x) == 0.0
    with pytest.raises(NoDerivativeError, match="floor has no useful derivative"):
        cr.grad(lambda *args: np.sum(run(*args)[1]), 1)(a, b, x)
    with pytest.raises(NoDerivativeError, match="depends on x only through"):
        cr.grad(lambda x: cr.scan(lambda c, x: (c + np.argmax(x), None), 0.0, x)[0])(X[0])


def test_a_zero_delta_stays_zero_through_steps() -> None:
    """A branch that no step takes leaks no NaN."""

    def run(x: Any) -> Any:
        step = lambda c, x: (c + np.where(x > 0, np.sqrt(x), 0.0), None)  # noqa: E731
        return cr.scan(step, 0.0, x)[0]

    np.testing.assert_allclose(cr.grad(run)(np.array([4.0, 0.0, -1.0])), [0.25, 0.0, 0.0])


# --- size and memory ----------------------------------------------------------------------------


def test_the_gradient_is_one_scan_each_way_and_the_weights_one_contraction() -> None:
    """Not two scans there; no sum of weights' deltas is carried back; nothing else is carried."""
    graph = verify(rewrite(cr.trace(cr.value_and_grad(loss_of(recurrent), (0, 1, 2)), *ARGS)))
    there, back = loops(graph)
    assert (there["carries"], there["sequences"], len(there.operands)) == (1, 1, 5)
    assert (back["reverse"], back["carries"], len(back["body"].outputs)) == (True, 1, 2)
    assert [n.shape for n in graph.nodes() if n.op == "contract"] == [W.shape, U.shape]
    assert "iota" not in {n.op for n in graph.nodes() if n.type.dtype == np.uint32}


def test_a_graph_is_as_large_for_many_steps_as_for_few() -> None:
    counts = set()
    for length in (3, 300):
        x = np.zeros((length, 4, 2))
        graph = rewrite(cr.trace(cr.grad(loss_of(recurrent)), W, U, B, x, H))
        counts.add(len(str(graph).splitlines()))
    assert len(counts) == 1


def _peak(length: int, **settings: Any) -> int:
    """The most bytes that a gradient takes on the reference, besides its arguments."""
    w = np.eye(64)
    x = np.zeros((length, 64))

    def loss(w: Any, x: Any) -> Any:
        step = lambda h, x: (np.tanh(np.tanh(np.tanh(h) @ w) + x), None)  # noqa: E731
        return np.sum(cr.scan(step, np.zeros(64), x, **settings)[0])

    program = Program(cr.trace(cr.grad(loss), w, x), "reference")
    program([w, x])
    tracemalloc.start()
    try:
        program([w, x])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_with_checkpoints_memory_grows_like_the_square_root() -> None:
    """Sixteen times as many steps: sixteen times the memory without, about four times with."""
    assert _peak(1600) / _peak(100) > 11
    few, many = _peak(100, checkpoint=True), _peak(1600, checkpoint=True)
    assert many / few < 6
    assert many < _peak(1600) / 4


def test_a_memory_limit_recomputes_only_what_it_must() -> None:
    """Nothing where all fits; where the least does not fit, an error that says how much does."""
    kept = _peak(400)
    assert _peak(400, memory=100_000_000) == pytest.approx(kept, rel=0.1)
    assert _peak(400, memory=200_000) < kept / 2
    with pytest.raises(UsageError, match=r"keep [\d,]+ bytes at least, and memory=1,000"):
        _peak(400, memory=1_000)


# --- text, checks ---------------------------------------------------------------------


def test_a_loop_prints_with_its_body_and_parses_back() -> None:
    """Bodies in bodies too, large constants in them, and origins."""
    table = random.normal(size=(100, 3))

    def run(x: Any) -> Any:
        def outer(c: Any, row: Any) -> Any:
            return cr.scan(lambda d, v: (d + v @ table, d), c, row)

        return cr.scan(outer, np.zeros(3), x)

    graph = cr.trace(cr.grad(loss_of(run)), np.zeros((2, 3, 100)))
    for one in (graph, rewrite(graph)):
        text = to_text(one, data=True)
        assert to_text(from_text(text), data=True) == text
    assert "\n    body outer(carry: f64[3], x.0: u32[], x.1: f64[3,100]" in to_text(graph)
    assert "test_core_scan.py" in to_text(graph)
    value = [random.normal(size=(2, 3, 100))]
    agree(evaluate(from_text(to_text(graph, data=True)), value), evaluate(graph, value))


def test_a_body_that_reads_from_outside_is_not_a_graph() -> None:
    f8 = ArrayType(np.dtype(np.float64), ())
    c, x, outside = (build.input(name, f8) for name in ("c", "x", "outside"))
    open_body = Graph("step", (c, x), (build.add(c, outside),), ("c",))
    xs = build.input("xs", ArrayType(f8.dtype, (3,)))
    loop = build.scan(open_body, [c], [xs], [], 3)
    with pytest.raises(InvalidGraphError, match="an input that the graph does not declare"):
        verify(Graph("g", (c, xs), (build.part(loop, 0),), ("out",)))
    with pytest.raises(InvalidGraphError, match="an output of type"):
        verify(Graph("g", (c, xs), (loop,), ("out",)))
    with pytest.raises(ShapeError, match="the body takes f64\\[\\] as x, f64\\[2\\] is given"):
        build.scan(open_body, [c], [build.input("y", ArrayType(f8.dtype, (3, 2)))], [], 3)
    with pytest.raises(ShapeError, match="scan of 4 steps over"):
        build.scan(open_body, [c], [xs], [], 4)


# --- random numbers and layers inside -------------------------------------------------------------


def _noisy(x: Any, **settings: Any) -> Any:
    def inner(d: Any, v: Any) -> Any:
        return d, cr.random.uniform((2,)) + 0 * v

    def step(c: Any, v: Any) -> Any:
        _, ys = cr.scan(inner, c, np.zeros(3))
        return c, (cr.random.uniform((2,)) + 0 * v, ys)

    with nn.training(seed=3, step=5):
        return cr.scan(step, np.zeros(()), x, **settings)[1]


def test_random_numbers_differ_from_step_to_step() -> None:
    """In loops inside loops too; the same plain, compiled, and however steps are grouped."""
    x = np.zeros(6)
    plain, inner = _noisy(x)
    everything = np.concatenate([plain.ravel(), inner.ravel()])
    assert len(np.unique(everything)) == everything.size
    for settings in ({}, {"checkpoint": 2}, {"truncate": 4}):
        found = cr.compile(lambda x, s=settings: _noisy(x, **s))(x)
        agree(found, (plain, inner))
    backwards = _noisy(x, reverse=True)
    agree(backwards, (plain, inner))


def test_running_statistics_cannot_move_inside() -> None:
    """The error names the layer; a frozen one, and one after training, may be inside."""
    net = nn.init(nn.BatchNorm(2))
    x = random.normal(size=(3, 4, 2))

    def run(x: Any) -> Any:
        with nn.training(net):
            return cr.scan(lambda c, x: (c + net(x), None), np.zeros((4, 2)), x)[0]

    for call in (run, cr.compile(run)):
        with pytest.raises(UsageError, match=r"running_mean changed inside cr\.scan"):
            call(x)
    frozen = nn.Frozen(net)

    def quiet(x: Any) -> Any:
        with nn.training(frozen):
            return cr.scan(lambda c, x: (c + frozen(x), None), np.zeros((4, 2)), x)[0]

    np.testing.assert_allclose(cr.compile(quiet)(x), quiet(x))


def test_a_traced_value_cannot_leave_a_step_but_by_return() -> None:
    kept: list[Any] = []

    def run(x: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            kept.append(c)
            return c + x, None

        cr.scan(step, np.zeros(()), x)
        return kept[-1] * 1.0

    with pytest.raises(TraceError, match="traced array of an earlier call"):
        cr.compile(run)(np.zeros(3))


# --- errors ---------------------------------------------------------------------------------------

ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda x: cr.scan(lambda c, x: c, 0.0, x), UsageError, "not a pair"),
    (lambda x: cr.scan(lambda c, x: (c, x), 0.0, ()), UsageError, "holds no arrays"),
    (lambda x: cr.scan(lambda c, x: (c, x), 0.0, x[0]), ShapeError, "xs is a single number"),
    (
        lambda x: cr.scan(lambda c, x: (c, None), 0.0, {"a": x, "b": x[1:]}),
        ShapeError,
        "xs.a has 4 steps and xs.b has 3",
    ),
    (
        lambda x: cr.scan(lambda c, x: (np.stack([c, c]), x), np.zeros(()), x),
        ShapeError,
        r"carry is float64\[\] before a step and float64\[2\] after",
    ),
    (
        lambda x: cr.scan(lambda c, x: (c + x, x), np.zeros((), np.int64), x),
        ShapeError,
        r"carry is int64\[\] before a step and float64\[\] after",
    ),
    (
        lambda x: cr.scan(lambda c, x: ({"b": c["a"]}, x), {"a": np.zeros(2)}, x),
        ShapeError,
        r"the carry changes: carry.a before a step, carry.b after",
    ),
    (
        lambda x: cr.scan(lambda c, x: ((c[0] + x, c[1] + 1), x), (np.zeros(()), 0), x),
        ShapeError,
        "numbers that change must be arrays",
    ),
    (
        lambda x: cr.scan(lambda c, x: (c + 1, x), 0, x),
        ShapeError,
        "the carry changes: 0 before a step, 1 after it",
    ),
    (lambda x: cr.scan(lambda c, x: (c, x), 0.0, x, checkpoint=0), UsageError, "checkpoint=0"),
    (lambda x: cr.scan(lambda c, x: (c, x), 0.0, x, truncate=1.5), UsageError, "truncate=1.5"),
    (lambda x: cr.scan(lambda c, x: (c, x), 0.0, x, memory=-1), UsageError, "memory=-1"),
]


@pytest.mark.parametrize(("call", "error", "says"), ERRORS)
def test_what_is_no_scan_is_an_error(call: Any, error: type[Exception], says: str) -> None:
    """The same plain and traced, with what to do."""
    x = np.array([1.0, 2.0, 3.0, 4.0])
    for run in (call, cr.compile(call)):
        with pytest.raises(error, match=says) as caught:
            run(x)
        assert "do:" in str(caught.value)
