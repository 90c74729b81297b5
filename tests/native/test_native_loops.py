"""Loops in native code: what they compute, in what memory, and what they tell."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreeing import assert_agree, assert_near, assert_same

import chainrule as cr
from chainrule import config, nn
from chainrule.errors import ConvergenceError, IndexRangeError
from chainrule.graph import ArrayType, Graph, build
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

random = np.random.default_rng(11)
F64 = np.dtype(np.float64)
W = random.normal(size=(3, 3)) * 0.5
X, H = random.normal(size=(6, 2, 3)), random.normal(size=(2, 3))


def compiled(function: Callable[..., Any], *args: Any) -> Graph:
    return rewrite(cr.trace(function, *args))


def recurrent(w: Any, x: Any, h: Any, **settings: Any) -> Any:
    return cr.scan(lambda h, x: (np.tanh(h @ w + x), h * x), h, x, **settings)


def total(w: Any, x: Any, h: Any, **settings: Any) -> Any:
    last, ys = recurrent(w, x, h, **settings)
    return np.sum(np.sin(last)) + np.sum(ys * np.cos(np.arange(ys.size).reshape(ys.shape)))


def at_rest(w: Any, x: Any, h: Any) -> Any:
    found = cr.fixed_point(lambda z: np.tanh(0.4 * z @ w + x[0]), h, tolerance=1e-13)
    return np.sum(np.sin(found.value) * x[1])


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("reverse", [False, True])
def test_few_steps_and_none(length: int, reverse: bool) -> None:
    """With none, the carry is the first one, and nothing is stacked."""
    x = random.normal(size=(length, 2, 3))
    run = compiled(lambda w, x, h: recurrent(w, x, h, reverse=reverse), W, x, H)
    assert_agree(run, [W, x, H])


def test_second_derivatives() -> None:
    """Hessian-vector products, through scans, their checkpoints, and fixed points."""
    v = random.normal(size=W.shape)

    def in_segments(w: Any, x: Any, h: Any) -> Any:
        return total(w, x, h, checkpoint=2)

    for function in (total, in_segments, at_rest):
        graph = compiled(cr.hvp(function), W, X, H, v)
        got, want = NativeProgram(graph)([W, X, H, v]), Interpreter(graph)([W, X, H, v])
        for one, other in zip(got, want, strict=True):
            assert_near(one, other, 1e-11)


def test_what_is_carried_may_be_anything() -> None:
    """Two values that change places, one that stays, one twice, a constant, booleans, and counts;
    nobody reads some of them."""

    def step(carry: Any, x: Any) -> Any:
        a, b, kept, _, _, flag, count = carry
        both = a + x
        flag = flag | (np.max(x) > 1.5)
        return (b, both, kept, both, both, flag, count + np.int64(1)), (kept, a, flag, 7.0)

    def run(x: Any, h: Any) -> Any:
        zero = np.zeros_like(h)
        begin = (h, 2 * h, h[0], zero, zero, np.array([False, True]), np.zeros((), np.int64))
        (a, b, *_, flag, count), stacked = cr.scan(step, begin, x)
        return a, b, flag, count, *stacked

    for dtype in (np.float32, np.float64):
        args = [X.astype(dtype), H.astype(dtype)]
        assert_agree(compiled(run, *args), args)


def test_results_that_are_asked_for_twice_are_there_twice() -> None:
    """As different nodes of a graph that no pass has tidied."""
    kind = ArrayType(F64, (2,))
    c, x = build.input("c", kind), build.input("x", kind)
    body = Graph("step", (c, x), (build.add(c, x), c), ("0", "1"))
    c, xs = build.input("c", kind), build.input("xs", ArrayType(F64, (3, 2)))
    loop = build.scan(body, [c], [xs], [], 3)
    parts = tuple(build.part(loop, index) for index in (1, 0, 0, 1))
    assert_agree(
        Graph("twice", (c, xs), parts, tuple("abcd")), [H[0, :2], X[0, :, :2].repeat(2, 0)[:3]]
    )


def test_operands_are_read_where_they_are_or_laid_out_first() -> None:
    """Views, constants, choices of rows, and the results of other loops."""
    numbers = np.array([4, 0, 0, 2])

    def run(w: Any, x: Any, h: Any) -> Any:
        rows = np.swapaxes(x, 1, 2)[numbers][::-1]
        last, ys = cr.scan(lambda c, r: (c @ w + r.T * 2.0, c), np.ones((2, 3)), rows)
        last, zs = cr.scan(lambda c, y: (c + y, c * y), last, ys.reshape(4, 2, 3))
        return cr.scan(lambda c, z: (c - z, None), 0.0, zs.reshape(-1))[0], last, zs[1:]

    assert_agree(compiled(run, W, X, H), [W, X, H])


def test_random_numbers_are_those_of_the_reference() -> None:
    """In loops inside loops too."""

    def run(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            inner = cr.scan(lambda d, _: (d, cr.random.uniform((3,))), c, np.zeros(2))[1]
            return c, (cr.random.normal((2,)) + 0 * v, inner)

        with nn.training(seed=3, step=5):
            return cr.scan(step, np.zeros(()), x)[1]

    graph = compiled(run, np.zeros(4))
    got, want = NativeProgram(graph)([np.zeros(4)]), Interpreter(graph)([np.zeros(4)])
    assert len(np.unique(got[1])) == got[1].size
    for one, other in zip(got, want, strict=True):
        assert_near(one, other, 1e-6)  # normal ones are made in float32


# --- threads --------------------------------------------------------------------------------------


def _wide(w: Any, x: Any, h: Any) -> Any:
    """A loop whose steps are worth sharing, a flag in each, and a fixed point inside and behind."""

    def step(h: Any, x: Any) -> Any:
        h = np.tanh(h @ w + x)
        near = cr.fixed_point(lambda z: 0.5 * np.tanh(z @ w) + h, h, strict=False).value
        return h, (np.sum(h, axis=1), np.any(h > 0.99), near[0])

    last, ys = cr.scan(step, h, x)
    rest = cr.fixed_point(lambda z: 0.3 * np.tanh(z @ w) + last, last)
    return np.sum(rest.value), rest.iterations, ys


def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    """Values and gradients; the loop's steps are shared out."""
    w = (random.normal(size=(96, 96)) * 0.1).astype(np.float32)
    args = [w, *(random.normal(size=s).astype(np.float32) for s in ((5, 64, 96), (64, 96)))]
    graphs = [
        compiled(_wide, *args),
        compiled(cr.value_and_grad(lambda *a: _wide(*a)[0], (0, 1, 2)), *args),
    ]
    for graph in graphs:
        programs = [NativeProgram(graph, threads=n) for n in (1, 2, 3)]
        assert [p.team for p in programs] == [1, 2, 3]
        assert any(e.shared for e in programs[0].scheduled if e.region.kind == "scan")
        want, *others = (program(args) for program in programs)
        for other in others:
            for one, two in zip(want, other, strict=True):
                assert_same(one, two)
        for got, expected in zip(want, Interpreter(graph)(args), strict=True):
            assert_near(got, expected, 1e-4)


def test_a_flag_is_down_before_any_thread_can_raise_it() -> None:
    """Also where the kernel that raises it is the first one."""
    x = random.normal(size=(400, 400))
    text = NativeProgram(compiled(lambda x: np.any(np.exp(x) > 9.0), x), threads=2).text
    program = text[text.index("define void @program") :]
    before, _, _ = program.partition("call void @kernel")
    assert "store atomic i8 0" in before
    assert "call void @wait" in before


# --- what is told ---------------------------------------------------------------------------------


def test_an_index_out_of_range_inside_is_told() -> None:
    """In a loop in a loop, by its line; the next call knows nothing of it."""

    def run(table: Any, numbers: Any) -> Any:
        def step(c: Any, row: Any) -> Any:
            return cr.scan(lambda d, n: (d + table[n], None), c, row)[0], None

        return cr.scan(step, np.zeros(()), numbers)[0]

    table, numbers = np.arange(5.0), np.array([[0, 1], [4, 2], [3, 3]])
    f = cr.compile(run, backend="native")
    assert f(table, numbers) == 13
    bad = numbers.copy()
    bad[1, 1] = 5
    with pytest.raises(IndexRangeError, match="index 5 is out of range for an axis of size 5") as e:
        f(table, bad)
    assert "test_native_loops.py" in str(e.value)
    assert f(table, numbers) == 13


@pytest.mark.parametrize("slope", [1.5, -1.0, np.nan, np.inf])
def test_a_fixed_point_inside_that_is_not_reached_is_told(slope: float) -> None:
    """As the reference tells it; with strict=False its numbers say so."""

    def run(x: Any, a: Any, **settings: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            found = cr.fixed_point(lambda z: a * z + x, c, **settings)
            return found.value, (found.iterations, found.change)

        return cr.scan(step, np.ones(2), x)

    x, a = np.ones((3, 2)), np.array(slope)
    graph = compiled(run, x, a)
    said = []
    for call in (NativeProgram(graph), Interpreter(graph)):
        with pytest.raises(ConvergenceError) as caught:
            call([x, a])
        said.append(str(caught.value))
    assert said[0] == said[1]
    easy = compiled(lambda x, a: run(x, a, strict=False), x, a)
    got, want = NativeProgram(easy)([x, a]), Interpreter(easy)([x, a])
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


# --- what it costs --------------------------------------------------------------------------------


def test_the_code_does_not_grow_with_the_length() -> None:
    """Loops of a thousand steps and of ten thousand are the same text but for numbers; both run."""
    texts, sizes = [], []
    for length in (1_000, 10_000):
        x = random.normal(size=(length, 2, 3))
        graph = compiled(cr.value_and_grad(total, 0), W, x, H)
        program = NativeProgram(graph)
        loops = re.findall(r"define internal void @(?:loop|body).*?\n}", program.text, re.DOTALL)
        texts.append([re.sub(r"\d+", "n", text) for text in loops])
        sizes.append(len(program.text))
        assert all(np.isfinite(found).all() for found in program([W, x, H]))
    assert len(texts[0]) == 4  # there and back, each a loop and a body
    assert texts[0] == texts[1]
    assert abs(sizes[1] - sizes[0]) < 0.2 * sizes[0]


@pytest.mark.slow
def test_ten_times_the_steps_compile_in_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, differentiated and compiled, in time of this process: the least of three."""
    monkeypatch.setattr(config, "CACHE", "off")
    spent: dict[int, list[float]] = {1_000: [], 10_000: []}
    for _ in range(3):
        for length, found in spent.items():
            x, began = np.zeros((length, 2, 3)), time.process_time()
            NativeProgram(compiled(cr.value_and_grad(total, 0), W, x, H))
            found.append(time.process_time() - began)
    assert min(spent[10_000]) < 1.3 * min(spent[1_000])


def _arena(length: int, by: int = 0, **settings: Any) -> int:
    x = np.zeros((length, 2, 3))
    last = lambda w, x, h: np.sum(recurrent(w, x, h, **settings)[0])  # noqa: E731
    return NativeProgram(compiled(cr.grad(last, by), W, x, H)).layout.arena_size


def test_checkpoints_make_memory_grow_like_the_square_root() -> None:
    """A hundred times the steps need ten times the memory, and without them a hundred times."""
    assert _arena(10_000) > 50 * _arena(100)
    assert _arena(10_000, checkpoint=True) < 15 * _arena(100, checkpoint=True)
    assert _arena(10_000, checkpoint=True) < _arena(10_000) / 20


@pytest.mark.parametrize("length", [1_000, 1_500, 2_000])
def test_a_number_of_steps_that_is_no_square_leaves_none_over(length: int) -> None:
    """Where it has a divisor near its root; copies of the sequences would be the most of it."""
    root = length**0.5
    assert _arena(length, checkpoint=True) < 2 * root / 10 * _arena(100, checkpoint=True)
    assert _arena(length, 1, checkpoint=True) < 1.3 * _arena(length, 1)  # the deltas themselves


def test_loops_with_equal_bodies_share_their_code() -> None:
    def run(w: Any, v: Any, x: Any, h: Any) -> Any:
        _, ys = recurrent(w, x, h)
        _, zs = recurrent(v, x, h)
        return ys, zs

    text = NativeProgram(compiled(run, W, 2 * W, X, H)).text
    assert len(re.findall(r"define internal void @body\d+", text)) == 1
    assert len(re.findall(r"call void @loop\d+", text)) == 2


def test_the_stages_show_what_is_inside_a_loop() -> None:
    """Its kernels are indented, and its arithmetic and bytes are those of all steps."""
    said = cr.stages(recurrent, W, X, H)
    (kernel,) = said.kernels
    assert kernel.flops == 6 * (2 * 2 * 3 * 3 + 3 * 6)
    assert kernel.bytes_written == 6 * 2 * 8 * 6
    apart = r"    # each thread takes the same rows.*\n    # phase 0, all threads"
    assert re.search(r"scan over \[6\].*\n  for step in 6:\n" + apart, said["loops"])
    assert "  each step:\n  kernel 0: " in said["regions"]
    assert "@body" in said["llvm"]


# --- training -------------------------------------------------------------------------------------

SYMBOLS = random.integers(0, 5, (48, 9))


def _train(net: Any, **settings: Any) -> cr.Run:
    given = {"epochs": 4, "batch_size": 16, "seed": 1, **settings}
    data = (SYMBOLS, SYMBOLS[:, 0])
    return cr.train(net, data, optimizer=cr.optim.adam(0.01), validation=0.0, **given)


def _net() -> Any:
    layers = nn.Embedding(5, 6), nn.LSTM(8, last=True), nn.Dense(5)
    return nn.Sequential(*layers)


def _weights(run: cr.Run) -> list[np.ndarray]:
    return [np.asarray(leaf.value) for leaf in cr.tracing.leaves(run.net)]


def test_training_natively_is_training_on_the_reference() -> None:
    native, reference = (_train(_net(), backend=b) for b in ("native", "reference"))
    assert native.summary()["backend"] == "native"
    for one, other in zip(_weights(native), _weights(reference), strict=True):
        assert_near(one, other, 1e-3)


def test_a_recurrent_run_that_goes_on_ends_in_the_same_bits(tmp_path: Any) -> None:
    """And so does one on another number of threads."""
    whole = _weights(_train(_net(), threads=1))
    _train(_net(), epochs=2, run_dir=tmp_path)
    on = _train(_net(), run_dir=tmp_path, resume=True, threads=2)
    for one, other in zip(_weights(on), whole, strict=True):
        assert_same(one, other)


def test_rows_of_sequences_are_read_by_number() -> None:
    """Features, not symbols: what the loop goes over are the rows that a batch chose."""
    x = random.normal(size=(40, 5, 3)).astype(np.float32)
    found = []
    for backend in ("native", "reference"):
        net = nn.Sequential(nn.GRU(6, last=True), nn.Dense(1))
        settings: dict[str, Any] = {"epochs": 3, "batch_size": 8, "seed": 2, "backend": backend}
        found.append(_weights(cr.train(net, (x, x[:, 0, 0]), validation=0.0, **settings)))
    for one, other in zip(*found, strict=True):
        assert_near(one, other, 1e-4)
