"""Contractions of every form and size, compiled, against the reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from agreeing import assert_agree, assert_near, assert_same, joined
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.graph import ArrayType, Graph, Node, build
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter

SIZES = (1, 2, 3, 5, 8, 15, 16, 17, 31, 33)
INTEGERS = [np.dtype(d) for d in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]


def variable(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Node:
    return build.input(name, ArrayType(dtype, shape))


def graph_of(inputs: tuple[Node, ...], output: Node) -> Graph:
    return Graph("contraction", inputs, (output,), ("result",))


def product(spec: str, sizes: dict[str, int], dtype: np.dtype) -> Graph:
    left, right = spec.split("->")[0].replace("!", "").split(",")
    x, y = (
        variable(name, tuple(sizes[c] for c in letters), dtype)
        for name, letters in (("x", left), ("y", right))
    )
    return graph_of((x, y), build.contract(x, y, spec))


def numbers(graph: Graph, seed: int) -> list[np.ndarray]:
    """Real ones; for integers all that the dtype has."""
    random = np.random.default_rng(seed)
    made = []
    for node in graph.inputs:
        dtype = node.type.dtype
        if dtype.kind == "f":
            made.append(random.normal(size=node.shape).astype(dtype))
        else:
            info = np.iinfo(dtype)
            made.append(random.integers(info.min, info.max, node.shape, dtype, endpoint=True))
    return made


def specs(letters: str) -> Iterator[str]:
    """Every contraction over these letters, up to their names: each letter belongs to the left, the
    right, both and the result, or both and not the result; then every order of the axes."""
    for roles in itertools.combinations_with_replacement("LRBS", len(letters)):
        left = "".join(c for c, r in zip(letters, roles, strict=True) if r in "LBS")
        right = "".join(c for c, r in zip(letters, roles, strict=True) if r in "RBS")
        result = "".join(c for c, r in zip(letters, roles, strict=True) if r != "S")
        for turned in itertools.permutations(right):
            for made in itertools.permutations(result):
                yield f"{left},{''.join(turned)}->{''.join(made)}"


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_every_contraction_over_a_few_letters(count: int) -> None:
    """Outer and inner products, matrices and stacks of them, transposed in every way; whole
    numbers, so that no rounding hides a wrong element."""
    sizes = dict(zip("abcd", (3, 17, 5, 2), strict=True))
    graphs = [product(s, sizes, np.dtype(np.float32)) for s in specs("abcd"[:count])]
    _assert_whole_numbers_agree(graphs, 40)


@pytest.mark.slow
def test_every_contraction_over_four_letters() -> None:
    sizes = dict(zip("abcd", (3, 17, 5, 2), strict=True))
    graphs = [product(s, sizes, np.dtype(np.float32)) for s in specs("abcd")]
    _assert_whole_numbers_agree(graphs, 40)


@settings(max_examples=8)
@given(st.data())
def test_contractions_over_four_letters(data: st.DataObject) -> None:
    """Some of them, with sizes around those of vectors and tiles, and empty ones."""
    graphs = []
    for _ in range(12):
        roles = data.draw(st.lists(st.sampled_from("LRBS"), min_size=4, max_size=4))
        letters = dict(zip("abcd", roles, strict=True))

        def order(kinds: str, letters: dict[str, str] = letters) -> str:
            chosen = [c for c, r in letters.items() if r in kinds]
            return "".join(data.draw(st.permutations(chosen)))

        spec = f"{order('LBS')},{order('RBS')}->{order('LRB')}"
        sizes = {c: data.draw(st.sampled_from((0, *SIZES))) for c in "abcd"}
        while math.prod(n for n in sizes.values() if n) > 20_000:
            sizes[max(sizes, key=lambda c: sizes[c])] = 2
        graphs.append(product(spec, sizes, np.dtype(np.float32)))
    _assert_whole_numbers_agree(graphs, 12)


def _assert_whole_numbers_agree(graphs: list[Graph], group: int) -> None:
    random = np.random.default_rng(0)
    for start in range(0, len(graphs), group):
        some = graphs[start : start + group]
        inputs = [
            random.integers(-4, 5, n.shape).astype(n.type.dtype) for g in some for n in g.inputs
        ]
        whole = joined(some)
        results = zip(NativeProgram(whole)(inputs), Interpreter(whole)(inputs), strict=True)
        for graph, (got, want) in zip(some, results, strict=True):
            try:
                assert_same(got, want, zeros=False)
            except AssertionError as error:
                raise AssertionError(f"{graph.outputs[0]['spec']}: {error}") from None


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_products_of_matrices_of_sizes_around_tiles(dtype: type) -> None:
    """Within the error that an order of sums may have: the unit in the last place of the sum of
    the absolute terms, times the root of their number."""
    sizes = [(m, k, n) for m in (1, 6, 7, 16, 33) for k in (1, 64, 257) for n in (1, 10, 64, 97)]
    forms = ["ab,bc->ac", "ab,cb->ac", "ba,bc->ac"]
    for form in forms:
        graphs = [product(form, dict(zip("abc", s, strict=True)), np.dtype(dtype)) for s in sizes]
        inputs = [a for i, g in enumerate(graphs) for a in numbers(g, i)]
        for (_, k, _), x, y, got in zip(
            sizes, inputs[::2], inputs[1::2], NativeProgram(joined(graphs))(inputs), strict=True
        ):
            want = np.einsum(form, x.astype(np.longdouble), y.astype(np.longdouble))
            most = np.einsum(form, np.abs(x), np.abs(y)).astype(np.longdouble)
            bound = np.finfo(dtype).eps * math.sqrt(k) * most
            assert (np.abs(got - want) <= bound).all(), (form, x.shape, y.shape)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_products_wrap_as_in_numpy(dtype: np.dtype) -> None:
    graphs = [product(s, {"a": 5, "b": 19, "c": 18}, dtype) for s in ("ab,bc->ac", "ba,b->a")]
    inputs = [a for i, g in enumerate(graphs) for a in numbers(g, i)]
    whole = joined(graphs)
    results = zip(NativeProgram(whole)(inputs), Interpreter(whole)(inputs), strict=True)
    for got, want in results:
        assert_same(got, want)


def test_operands_that_are_views_are_read_where_they_lie() -> None:
    """Transposed, sliced, reversed, broadcast and reshaped operands, on either side."""
    f32 = np.dtype(np.float32)
    views = [
        lambda x: build.transpose(x, (1, 0)),
        lambda x: build.slice(x, (2, 1), (14, 18), (1, 1)),
        lambda x: build.slice(x, (0, 0), (18, 18), (2, 3)),
        lambda x: build.reverse(x, (0,)),
        lambda x: build.reverse(x, (1,)),
        lambda x: build.broadcast(build.slice(x, (0, 3), (18, 4), (1, 1)), (18, 18)),
        lambda x: build.broadcast(build.slice(x, (3, 0), (4, 18), (1, 1)), (18, 18)),
        lambda x: build.reshape(build.transpose(x, (1, 0)), (9, 36)),
        lambda x: build.reshape(x, (36, 9)),
    ]
    graphs = []
    for view, other, turned in itertools.product(views, views[:3], (False, True)):
        x, y = variable("x", (18, 18), f32), variable("y", (18, 18), f32)
        left, right = view(x), build.transpose(other(y), (1, 0))
        size = min(left.shape[1], right.shape[0])
        left = build.slice(left, (0, 0), (left.shape[0], size), (1, 1))
        right = build.slice(right, (0, 0), (size, right.shape[1]), (1, 1))
        if turned:
            result = build.contract(right, left, "bc,ab->ca")
        else:
            result = build.contract(left, right, "ab,bc->ac")
        graphs.append(graph_of((x, y), result))
    _assert_whole_numbers_agree(graphs, 54)


def test_what_follows_a_product_is_applied_to_it() -> None:
    """Bias, activation, mask, residual and a sum over rows, fused or not."""
    f32 = np.dtype(np.float32)
    x, w, b, r = (
        variable(*v, f32) for v in (("x", (33, 7)), ("w", (7, 18)), ("b", (18,)), ("r", (33, 18)))
    )
    before = build.add(build.contract(x, w, "ab,bc->ac"), build.broadcast(b, (33, 18)))
    after = build.make("maximum", before, build.like(before, 0))
    residual = build.add(after, r)
    mask = build.cast(build.less(build.like(before, 0), before), f32)
    total = build.sum(build.multiply(residual, mask), (0,))
    for outputs in ((residual,), (after, before), (total,), (total, residual, mask, before)):
        names = tuple(str(i) for i in range(len(outputs)))
        graph = Graph("layer", (x, w, b, r), outputs, names)
        assert_agree(graph, numbers(graph, 0))


SPECIAL = (0.0, -0.0, 1.0, -2.0, math.inf, -math.inf, math.nan)


@pytest.mark.parametrize("marks", [("", ""), ("!", ""), ("!", "!")], ids=["", "left", "both"])
@pytest.mark.parametrize("form", ["ab{},bc{}->ac", "ba{},cb{}->ca", "ab{},bc{}->ca", "a{},a{}->"])
def test_strong_zeros_absorb_infinities_and_nan(form: str, marks: tuple[str, str]) -> None:
    """In tiles, on their edges, and in dot products: whichever operand carries the mark."""
    random = np.random.default_rng(3)
    for count in (1, 2, 5, 17):
        sizes = {"a": 18 if "c" in form else count, "b": count, "c": 19}
        graph = product(form.format(*marks), sizes, np.dtype(np.float32))
        for often in (0.05, 0.5):
            inputs = []
            for node in graph.inputs:
                whole = random.integers(-2, 3, node.shape).astype(np.float32)
                special = random.choice(SPECIAL, node.shape).astype(np.float32)
                inputs.append(np.where(random.random(node.shape) < often, special, whole))
            (got,), (want,) = NativeProgram(graph)(inputs), Interpreter(graph)(inputs)
            assert_near(got, want, 0)
