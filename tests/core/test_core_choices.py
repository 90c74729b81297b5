"""Products of chosen rows are taken once for each row there is: where that pays, and only there;
the same values, and on the way there the same bits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import ArrayType, Graph, Node, build, multiply_adds
from chainrule.native.program import NativeProgram
from chainrule.reference import evaluate
from chainrule.rewrite import rewrite
from chainrule.rewrite.choices import choose_last

RANDOM = np.random.default_rng(3)
F8, I8 = np.dtype(np.float64), np.dtype(np.int64)
ROWS, WIDTH, OUT = 11, 8, 9


def variable(name: str, *shape: int, dtype: np.dtype = F8) -> Node:
    return build.input(name, ArrayType(dtype, shape))


def values(graph: Graph, rows: int = ROWS) -> list[np.ndarray]:
    """Normal numbers, and indices in range."""
    return [
        RANDOM.normal(size=n.shape).astype(n.type.dtype)
        if n.type.is_float
        else RANDOM.integers(0, rows, n.shape)
        for n in graph.inputs
    ]


def arithmetic(graph: Graph) -> int:
    return sum(multiply_adds(n) for n in graph.nodes() if n.op == "contract")


def assert_cheaper(graph: Graph) -> Graph:
    changed = choose_last(graph)
    assert arithmetic(changed) < arithmetic(graph)
    given = values(graph)
    for got, want in zip(evaluate(changed, given), evaluate(graph, given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    return changed


TABLE, INDEX = variable("table", ROWS, WIDTH), variable("index", 5, 7, dtype=I8)
CHOSEN = build.take(TABLE, INDEX, 0)


@pytest.mark.parametrize("result", ["abd", "bad", "dab", "adb"])
@pytest.mark.parametrize("first", [True, False])
def test_looked_up_products(result: str, *, first: bool) -> None:
    weight = variable("weight", WIDTH, OUT)
    if first:
        product = build.contract(CHOSEN, weight, f"abc,cd->{result}")
    else:
        product = build.contract(weight, CHOSEN, f"cd,abc->{result}")
    changed = assert_cheaper(Graph("g", (TABLE, INDEX, weight), (product,), ("y",)))
    assert arithmetic(changed) == ROWS * WIDTH * OUT


@pytest.mark.parametrize("spec", ["abd!,abc->cd", "bad,abc->dc", "abd!,abc!->dc"])
def test_deltas_are_added_up_before_the_product(spec: str) -> None:
    """The gradient of the weights: in any order of the deltas' axes, with strong zeros or not."""
    shape = (7, 5, OUT) if spec.startswith("bad") else (5, 7, OUT)
    deltas = variable("deltas", *shape)
    product = build.contract(deltas, CHOSEN, spec)
    changed = assert_cheaper(Graph("g", (TABLE, INDEX, deltas), (product,), ("y",)))
    (now,) = (n for n in changed.nodes() if n.op == "contract")
    assert now["spec"].count("!") == spec.count("!")


@pytest.mark.parametrize("turn", [None, (1, 0, 2)])
def test_deltas_of_the_table_are_added_up_before_the_product(turn: tuple[int, ...] | None) -> None:
    deltas = variable("deltas", *((5, 7, OUT) if turn is None else (7, 5, OUT)))
    weight = variable("weight", WIDTH, OUT)
    product = build.contract(deltas, weight, "abd!,cd->abc")
    x = product if turn is None else build.transpose(product, turn)
    scattered = build.scatter(x, INDEX, 0, ROWS)
    assert_cheaper(Graph("g", (INDEX, deltas, weight), (scattered,), ("y",)))


def test_what_is_left_alone() -> None:
    """Tables as long as the text, products that somebody else reads, places that the other side has
    too."""
    long, weight = variable("long", 30, WIDTH), variable("weight", WIDTH, OUT)
    many = build.contract(build.take(long, INDEX, 0), weight, "abc,cd->abd")
    batched = variable("batched", 5, WIDTH, OUT)
    meets = build.contract(CHOSEN, batched, "abc,acd->abd")
    deltas = variable("deltas", 5, 7, OUT)
    read = build.contract(deltas, weight, "abd,cd->abc")
    added = build.scatter(read, INDEX, 0, ROWS)
    inputs = (TABLE, INDEX, long, weight, batched, deltas)
    graph = Graph("g", inputs, (many, meets, added, read), ("a", "b", "c", "d"))
    assert Counter(n.op for n in choose_last(graph).nodes()) == Counter(n.op for n in graph.nodes())
    assert arithmetic(choose_last(graph)) == arithmetic(graph)


def test_the_way_there_keeps_every_bit() -> None:
    def outputs(table: Any, weight: Any, index: Any) -> Any:
        return np.tanh(np.take(table, index, axis=0) @ weight)

    table, weight = (RANDOM.normal(size=s).astype(np.float32) for s in ((65, 128), (128, 70)))
    arguments = [table, weight, RANDOM.integers(0, 65, (4, 50))]
    graph = cr.trace(outputs, *arguments)
    changed = rewrite(graph)
    assert arithmetic(changed) < arithmetic(graph)
    (got,), (want,) = (NativeProgram(g)(arguments) for g in (changed, graph))
    np.testing.assert_array_equal(got, want)


def test_gradients_of_an_embedding_and_its_product() -> None:
    """Both backends, rewritten, against differences of the whole loss."""

    def loss(table: Any, weight: Any, index: Any) -> Any:
        return (np.tanh(np.take(table, index, axis=0) @ weight) ** 2).mean()

    table, weight = RANDOM.normal(size=(ROWS, WIDTH)), RANDOM.normal(size=(WIDTH, OUT))
    index = RANDOM.integers(0, ROWS, (6, 9))
    graph = cr.trace(cr.grad(loss, argnums=(0, 1)), table, weight, index)
    changed = rewrite(graph)
    assert arithmetic(changed) < arithmetic(graph) / 2
    arguments = [table, weight, index]
    for found in (evaluate(changed, arguments), NativeProgram(changed)(arguments)):
        for got, want in zip(found, evaluate(graph, arguments), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    step = 1e-6
    bumped = table.copy()
    bumped[3, 2] += step
    slope = (loss(bumped, weight, index) - loss(table, weight, index)) / step
    np.testing.assert_allclose(found[0][3, 2], slope, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("width", [1, 16, 40, 64, 100, 130, 512])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_that_share_the_columns_of_added_lines(width: int, threads: int) -> None:
    x = variable("x", 6, 50, width, dtype=np.dtype(np.float32))
    index = variable("index", 6, 50, dtype=I8)
    graph = Graph("g", (x, index), (build.scatter(x, index, 0, ROWS),), ("y",))
    given = values(graph)
    (got,), (want,) = NativeProgram(graph, threads=threads)(given), evaluate(graph, given)
    np.testing.assert_array_equal(got, want)
