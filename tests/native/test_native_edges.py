"""The edges of every dtype and op, compiled: overflow, division by zero, NaN, infinities, ties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from agreeing import assert_near, assert_same, joined

from chainrule.graph import OPS, ArrayType, Graph, Node, build
from chainrule.graph.types import DTYPE_NAMES
from chainrule.native.program import NativeProgram
from chainrule.random_bits import bits
from chainrule.reference import Interpreter

DTYPES = list(DTYPE_NAMES.values())
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_float = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
UNARY = "negative absolute sign floor sqrt not stop".split()
BINARY = (
    "add subtract multiply divide maximum minimum floor_divide remainder scale and or "
    "equal not_equal less less_equal"
).split()


def edges(dtype: np.dtype) -> np.ndarray:
    """Numbers at which something changes."""
    if dtype == np.bool_:
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        near = [info.min, info.min + 1, info.max - 1, info.max, 0, 1, 2, 3, 7, 100]
        return np.array([*near, *([-1, -2, -3, -7] if dtype.kind == "i" else [])], dtype)
    info = np.finfo(dtype)
    numbers = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.0, 1e-3, 1e10, info.max, info.tiny]
    numbers += [info.smallest_subnormal, math.inf]
    return np.array([*numbers, *(-n for n in numbers), math.nan], dtype)


def function(maker: Callable[..., Node], *arrays: np.ndarray) -> Graph:
    inputs = tuple(build.input(f"x{i}", ArrayType.of(a)) for i, a in enumerate(arrays))
    return Graph("edges", inputs, (maker(*inputs),), ("result",))


def assert_all_agree(
    graphs: Sequence[Graph], inputs: Sequence[np.ndarray], zeros: Sequence[bool] | bool = True
) -> None:
    """All compiled together; every bit as in the reference."""
    whole = joined(graphs)
    signs = [zeros] * len(graphs) if isinstance(zeros, bool) else zeros
    found = zip(
        whole.outputs, NativeProgram(whole)(inputs), Interpreter(whole)(inputs), signs, strict=True
    )
    for node, got, want, sign in found:
        try:
            assert_same(got, want, sign)
        except AssertionError as error:
            raise AssertionError(f"{node.op}: {error}") from None


def _takes(op: str, dtype: np.dtype) -> bool:
    try:
        OPS[op].infer((ArrayType(dtype, (1,)),) * (OPS[op].arity or 1), {})
    except (TypeError, ValueError):
        return False
    return True


@each_dtype
def test_elementwise_ops_at_the_edges_of_a_dtype(dtype: np.dtype) -> None:
    """Every pair of edges: wrapping, division by zero and of the smallest integer by -1, signs of
    zeros, infinities, NaN."""
    x, y = (a.ravel() for a in np.meshgrid(edges(dtype), edges(dtype)))
    graphs, inputs, zeros = [], [], []
    for op in [n for n in UNARY + BINARY if _takes(n, dtype)]:
        arrays = [x] if op in UNARY else [x, y]
        graphs.append(function(lambda *n, op=op: build.make(op, *n), *arrays))
        inputs += arrays
        zeros.append(op not in ("maximum", "minimum"))  # which zero is larger is open
    assert_all_agree(graphs, inputs, zeros)


@each_dtype
def test_casts_at_the_edges_of_a_dtype(dtype: np.dtype) -> None:
    """To every dtype. Of floats, what does not fit into u32 is left out: NumPy itself gives one
    thing for arrays and another for scalars."""
    graphs, inputs = [], []
    for to in DTYPES:
        x = np.tile(edges(dtype), 3)
        if to == np.uint32 and dtype.kind == "f":
            x = x[np.abs(x) < 2.0**31]
        graphs.append(function(lambda n, to=to: build.cast(n, to), x))
        inputs.append(x)
    assert_all_agree(graphs, inputs)


@each_dtype
def test_the_extremes_of_rows_and_their_places(dtype: np.dtype) -> None:
    """Ties go to the first; NaN wins, and is sorted last; along every axis, of sizes around those
    of vectors."""
    random = np.random.default_rng(0)
    graphs, inputs = [], []
    for size in (1, 2, 5, 16, 17, 33):
        x = random.choice(edges(dtype), (3, size, 4))
        makers: list[Callable[[Node], Node]] = []
        for axis in range(3):
            makers.append(lambda n, a=axis: build.make("argmax", n, axis=a))
            makers.append(lambda n, a=axis: build.make("argsort", n, axis=a))
            makers.append(lambda n, a=axis: build.max(n, (a,)))
        makers.append(lambda n: build.max(n, (0, 1, 2)))
        makers.append(lambda n: build.max(build.transpose(n, (2, 0, 1)), (1,)))
        for maker in makers:
            graphs.append(function(maker, x))
            inputs.append(x)
    assert_all_agree(graphs, inputs, False)


@each_dtype
def test_integer_sums_wrap_and_sums_of_nothing_are_zero(dtype: np.dtype) -> None:
    if dtype == np.bool_:
        pytest.skip("booleans are cast before they are summed")
    graphs, inputs = [], []
    random = np.random.default_rng(0)
    for shape in ((37,), (5, 19), (3, 17, 4), (0, 3), (3, 0), ()):
        chosen = edges(dtype) if dtype.kind != "f" else np.array([0, 1, -3, np.inf, np.nan], dtype)
        x = random.choice(chosen, shape).astype(dtype)
        for count in range(1, len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                graphs.append(function(lambda n, axes=axes: build.sum(n, axes), x))
                inputs.append(x)
        graphs.append(function(lambda n: build.make("sum", n, axes=()), x))
        graphs.append(function(lambda n: build.make("max", n, axes=()), x))
        inputs += [x, x]
    assert_all_agree(graphs, inputs, False)


@each_dtype
def test_borders_and_gaps_of_every_kind(dtype: np.dtype) -> None:
    """Padding with each edge of the dtype, inside and outside, of empty arrays and single
    numbers."""
    graphs, inputs = [], []
    for value in edges(dtype).tolist():
        for shape, low, high, gaps in (
            ((5,), (2,), (0,), (3,)),
            ((17,), (0,), (3,), (0,)),
            ((3, 18), (1, 0), (0, 2), (0, 1)),
            ((0, 2), (1, 1), (1, 0), (2, 2)),
            ((1, 1), (0, 0), (0, 0), (9, 9)),
        ):
            x = np.resize(edges(dtype), shape)
            graphs.append(
                function(lambda n, v=value, p=(low, high, gaps): build.pad(n, *p, value=v), x)
            )
            inputs.append(x)
    assert_all_agree(graphs, inputs)


@each_dtype
def test_many_parts_are_joined(dtype: np.dtype) -> None:
    """Forty of them, empty ones among them, along each axis; the same part several times."""
    for axis in (0, 1):
        sizes = [(i * 7) % 5 for i in range(40)]
        shapes = [(s, 3) if axis == 0 else (3, s) for s in sizes]
        parts = [np.resize(edges(dtype), shape) for shape in shapes]
        graph = function(lambda *n, a=axis: build.concatenate([*n, n[3], n[3]], a), *parts)
        assert_all_agree([graph], parts)


@each_dtype
def test_a_row_of_numbers(dtype: np.dtype) -> None:
    """The index along each axis, reversed, sliced and transposed."""
    if dtype == np.bool_:
        pytest.skip("an index is a number")
    shape = (33, 3)
    graphs = [
        Graph("iota", (), (view(build.iota(shape, axis, dtype)),), ("result",))
        for axis in (0, 1)
        for view in (
            lambda n: n,
            lambda n: build.reverse(n, (0, 1)),
            lambda n: build.transpose(n, (1, 0)),
            lambda n: build.slice(n, (1, 0), (31, 3), (4, 2)),
            lambda n: build.reshape(n, (99,)),
        )
    ]
    assert_all_agree(graphs, [])


@pytest.mark.parametrize("salt", [0, 1, 2**31])
def test_random_bits_are_those_of_the_reference(salt: int) -> None:
    """Every length around the groups they are made in, any key, the first and the last step."""
    lengths = (0, 1, 15, 16, 17, 63, 64, 65, 127, 130, 1000)
    key, step = np.zeros(2, np.uint32), np.zeros((), np.uint32)
    inputs = tuple(build.input(n, ArrayType.of(a)) for n, a in (("key", key), ("step", step)))
    made = tuple(build.make("random_bits", *inputs, shape=(n,), salt=salt) for n in lengths)
    program = NativeProgram(Graph("bits", inputs, made, tuple(map(str, lengths))))
    for words, number in (((0, 0), 0), ((1, 2**32 - 1), 2**32 - 1), ((7, 9), 12345)):
        key, step = np.array(words, np.uint32), np.array(number, np.uint32)
        for length, got in zip(lengths, program([key, step]), strict=True):
            np.testing.assert_array_equal(got, bits(length, key, number, salt))


@each_float
def test_long_sums_keep_their_digits(dtype: type) -> None:
    """Of numbers that do not cancel, along rows, columns and all: within the unit in the last
    place times the root of their number."""
    x = np.random.default_rng(0).random((1000, 513)).astype(dtype)
    graphs = [function(lambda n, a=axes: build.sum(n, a), x) for axes in ((0,), (1,), (0, 1))]
    whole = joined(graphs)
    exact = x.astype(np.longdouble)
    wants = [exact.sum(axis=0), exact.sum(axis=1), exact.sum()]
    for got, want in zip(NativeProgram(whole)([x, x, x]), wants, strict=True):
        count = x.size / want.size
        assert (np.abs(got - want) <= np.finfo(dtype).eps * math.sqrt(count) * want).all()


@each_float
def test_scattered_numbers_are_added_in_order(dtype: type) -> None:
    """Repeated indices, bit for bit as in the reference, where the order shows."""
    random = np.random.default_rng(0)
    graphs, inputs = [], []
    for shape, axis, width in (((40,), 0, 1), ((40, 17), 0, 1), ((3, 40), 1, 1), ((4, 5, 6), 0, 2)):
        x = random.normal(size=shape).astype(dtype) * dtype(1e3) ** random.integers(-2, 3, shape)
        x = x.astype(dtype)
        index = random.integers(0, 4, shape[axis : axis + width])
        graphs.append(function(lambda n, i, a=axis: build.scatter(n, i, a, 5), x, index))
        inputs += [x, index]
    assert_all_agree(graphs, inputs)


def test_sharing_large_kernels_among_threads_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums, products, maps and random bits of a size at which threads are used."""
    from chainrule import config

    random = np.random.default_rng(0)
    x = random.normal(size=(301, 257)).astype(np.float32)
    w = random.normal(size=(257, 129)).astype(np.float32)

    def work(a: Node, b: Node) -> Node:
        hidden = build.make("tanh", build.contract(a, b, "ab,bc->ac"))
        centred = build.subtract(hidden, _spread(build.sum(hidden, (1,)), hidden, 1))
        scaled = build.multiply(centred, _spread(build.max(hidden, (0,)), hidden, 0))
        return build.contract(scaled, a, "ac,ab->cb")

    graph = function(work, x, w)
    program = NativeProgram(graph)
    assert program.useful_threads > 2
    results = []
    for count in (1, 2, 3, 4):
        monkeypatch.setattr(config, "THREADS", str(count))
        results.append(program([x, w])[0])
    for other in results[1:]:
        assert_same(other, results[0])
    # The reference adds in another order.
    assert_near(results[0], Interpreter(graph)([x, w])[0], 301 * float(np.finfo(np.float32).eps))


def _spread(x: Node, like: Node, axis: int) -> Node:
    shape = [1 if a == axis else n for a, n in enumerate(like.shape)]
    return build.broadcast(build.reshape(x, shape), like.shape)


def test_chains_of_any_length_compile() -> None:
    """Thousands of ops in a row, and casts and views that many times read by two others."""
    x = np.linspace(-1, 1, 33)

    def chain(n: Node, count: int) -> Node:
        for _ in range(count):
            n = build.add(build.multiply(n, build.like(n, 0.99)), build.like(n, 0.01))
        return n

    def twice(n: Node, count: int) -> Node:
        for _ in range(count):
            other = np.dtype(np.float32 if n.type.dtype == np.float64 else np.float64)
            single = build.cast(n, other)
            n = build.add(single, build.reverse(single, (0,)))
            n = build.multiply(n, build.like(n, 0.5))
        return n

    long: list[Callable[[Any], Node]] = [lambda n: chain(n, 1500), lambda n: twice(n, 30)]
    for maker in long:
        graph = function(maker, x)
        for got, want in zip(NativeProgram(graph)([x]), Interpreter(graph)([x]), strict=True):
            assert_same(got, want)
