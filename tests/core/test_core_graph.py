"""The graph: types are inferred and checked, faults are found, the text is a faithful form."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import chainrule as cr
from chainrule.errors import ChainruleError, ShapeError, TraceError, UsageError
from chainrule.graph import (
    OPS,
    ArrayType,
    Graph,
    InvalidGraphError,
    Node,
    Origin,
    ancestors,
    build,
    from_text,
    made_by,
    to_text,
    users,
    verify,
)
from chainrule.graph.types import DTYPE_NAMES
from chainrule.reference import evaluate

F8 = np.dtype(np.float64)
I8 = np.dtype(np.int64)


def f8(*shape: int) -> Node:
    return build.input("x", ArrayType(F8, shape))


def i8(*shape: int) -> Node:
    return build.input("n", ArrayType(I8, shape))


def flag(*shape: int) -> Node:
    return build.input("c", ArrayType(np.dtype(np.bool_), shape))


# --- types ---

WRONG: dict[str, Any] = {
    "add of two shapes": lambda: build.add(f8(2), f8(3)),
    "add of two dtypes": lambda: build.add(f8(2), i8(2)),
    "add of booleans": lambda: build.add(flag(2), flag(2)),
    "exp of integers": lambda: build.make("exp", i8(2)),
    "not of floats": lambda: build.make("not", f8(2)),
    "where without a condition": lambda: build.where(f8(2), f8(2), f8(2)),
    "where of another shape": lambda: build.where(flag(3), f8(2), f8(2)),
    "sum over a missing axis": lambda: build.sum(f8(2), [1]),
    "sum of booleans": lambda: build.sum(flag(2), [0]),
    "max over a missing axis": lambda: build.max(f8(2), [-1]),
    "argmax over a missing axis": lambda: build.make("argmax", f8(2), axis=1),
    "argsort over a missing axis": lambda: build.make("argsort", f8(2), axis=1),
    "reshape to another size": lambda: build.reshape(f8(2), (3,)),
    "transpose by no order": lambda: build.transpose(f8(2, 3), (0, 0)),
    "broadcast to fewer axes": lambda: build.broadcast(f8(2, 3), (3,)),
    "broadcast of a size": lambda: build.broadcast(f8(2), (3,)),
    "slice beyond the end": lambda: build.slice(f8(2), (0,), (3,), (1,)),
    "slice by a step of 0": lambda: build.slice(f8(2), (0,), (2,), (0,)),
    "slice from behind its end": lambda: build.slice(f8(2), (2,), (1,), (1,)),
    "negative padding": lambda: build.pad(f8(2), (-1,), (0,), (0,)),
    "concatenate of two shapes": lambda: build.concatenate([f8(2, 2), f8(2, 3)], 0),
    "concatenate of two ranks": lambda: build.concatenate([f8(2), f8(2, 1)], 0),
    "reverse of a missing axis": lambda: build.reverse(f8(2), [1]),
    "contract of two sizes": lambda: build.contract(f8(2, 3), f8(2, 3), "ab,bc->ac"),
    "contract of a wrong rank": lambda: build.contract(f8(2), f8(2, 3), "ab,bc->ac"),
    "contract with a lone letter": lambda: build.contract(f8(2, 3), f8(2), "ab,a->a"),
    "contract to an unknown letter": lambda: build.contract(f8(2), f8(2), "a,a->b"),
    "contract with one strong right": lambda: build.contract(f8(2), f8(2), "a,a!->a"),
    "contract of booleans": lambda: build.contract(flag(2), flag(2), "a,a->a"),
    "take by floats": lambda: build.take(f8(2), f8(2), 0),
    "take along a missing axis": lambda: build.take(f8(2), i8(2), 1),
    "scatter of too few rows": lambda: build.scatter(f8(2), i8(3), 0, 5),
    "random bits without a key": lambda: build.make("random_bits", f8(2), f8(), shape=(2,), salt=0),
}


@pytest.mark.parametrize("name", WRONG)
def test_ops_refuse_operands_that_do_not_fit(name: str) -> None:
    """While the graph is built, with the line."""
    with made_by(Origin("net.py", 7)), pytest.raises((ShapeError, TraceError)) as caught:
        WRONG[name]()
    assert "net.py:7" in str(caught.value)


def test_every_op_says_what_it_means() -> None:
    """The table is the list of ops that a reader looks at."""
    assert all(op.meaning and op.name == name for name, op in OPS.items())


def test_only_dtypes_of_the_graph_have_a_type() -> None:
    """Byte order does not matter; the rest is refused by name."""
    assert str(ArrayType.of(np.zeros((2, 3), ">f4"))) == "f32[2,3]"
    with pytest.raises(TraceError, match="complex128"):
        ArrayType.of(np.zeros(2, complex))


# --- verify ---


def broken(**changes: Any) -> Graph:
    x = f8(2)
    node = build.make("tanh", x)
    return Graph("g", (x,), (replace(node, **changes),), ("out",))


def test_verify_finds_every_kind_of_fault() -> None:
    """A sound graph passes; each rule broken is named with its node."""
    x, n = f8(2), i8(2)
    assert verify(Graph("g", (x,), (build.add(x, x),), ("out",)))
    stray = build.add(x, f8(2))
    younger = replace(stray, serial=x.serial - 1)
    faults: dict[str, Graph] = {
        "no op named": broken(op="frobnicate"),
        "takes 1 operands": broken(operands=()),
        "has attributes": broken(attributes={"axis": 0}),
        "is f64[2], not": broken(type=ArrayType(F8, (3,))),
        "got i64": Graph("g", (n,), (replace(build.negative(n), op="tanh"),), ("out",)),
        "does not declare": Graph("g", (x,), (stray,), ("out",)),
        "younger than its user": Graph("g", (x,), (younger,), ("out",)),
        "the same input twice": Graph("g", (x, x), (x,), ("out",)),
        "differ in number": Graph("g", (x,), (x,), ()),
    }
    for words, graph in faults.items():
        with pytest.raises(InvalidGraphError) as caught:
            verify(graph)
        assert words in str(caught.value)


# --- walking ---


def test_ancestors_come_before_their_users() -> None:
    """Each once, however often it is used; `stop` ends the walk there."""
    x = f8(2)
    y = build.add(x, x)
    z = build.multiply(y, build.negative(y))
    order = ancestors([z, y])
    assert order == sorted(order, key=lambda n: n.serial)
    assert len(order) == 4
    assert ancestors([z], stop=lambda n: n is y)[0] is y
    assert users(order)[y] == [z.operands[1], z]


def test_deep_graphs_need_no_deep_recursion() -> None:
    """Three thousand ops in a row are traced, differentiated, rewritten and run."""

    def chain(x: Any) -> Any:
        for _ in range(3_000):
            x = x * 0.999
        return np.sum(x)

    value, gradient = cr.value_and_grad(chain)(np.ones(2))
    np.testing.assert_allclose(gradient, value / 2)


def test_serial_numbers_are_unique_across_threads() -> None:
    """Order is by serial number."""
    found: list[int] = []

    def make() -> None:
        found.extend(f8(1).serial for _ in range(500))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2000


# --- text ---

ODD_TEXT = st.text("a :#/.\n'\"%é1", max_size=12).map(lambda text: text.strip())


def same(graph: Graph) -> Graph:
    """The graph from its text; the texts must be equal."""
    text = to_text(graph, data=True)
    parsed = from_text(text)
    assert to_text(parsed, data=True) == text
    return parsed


def test_the_text_reads_as_documented() -> None:
    """Inputs by name, ops with attributes and types, the user's line at the end."""
    graph = cr.trace(lambda w, x: np.tanh(x @ w["a"]), {"a": np.ones(3)}, np.ones((5, 3)))
    first, *lines = to_text(graph).splitlines()
    assert first == 'graph "<lambda>"(w.a: f64[3], x: f64[5,3]) -> (value) {'
    assert lines[0].startswith('  %2 = contract(x, w.a) spec="ab,b->a" : f64[5]')
    assert lines[1].strip().startswith("%3 = tanh(%2) : f64[5]")
    assert "test_core_graph.py:" in lines[0]
    assert lines[2:] == ["  return %3", "}"]
    assert "#" not in to_text(graph, origins=False)
    assert str(graph) == to_text(graph)


@settings(max_examples=100)
@given(
    st.sampled_from(list(DTYPE_NAMES.values())).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=5))
    )
)
def test_constants_keep_every_bit(value: np.ndarray) -> None:
    """All dtypes, NaN and infinities, signs of zero, subnormals, the ends of the integers; inline
    and, when large, in the data section."""
    graph = Graph("g", (), (build.constant(value),), ("out",))
    (parsed,) = same(graph).outputs
    one, other = parsed["value"], graph.outputs[0]["value"]
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    if one.dtype.kind == "f":
        np.testing.assert_array_equal(one, other)
        zeros = one == 0
        np.testing.assert_array_equal(np.signbit(one[zeros]), np.signbit(other[zeros]))
    else:
        assert one.tobytes() == other.tobytes()


@settings(max_examples=100)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.text(max_size=8))
def test_any_name_is_kept(names: list[str], label: str) -> None:
    """Names with quotes, brackets, line ends; empty ones; the same twice."""
    inputs = tuple(build.input(name, ArrayType(F8, (2,))) for name in names)
    total = inputs[0]
    for other in inputs[1:]:
        total = build.add(total, other)
    graph = Graph(label, inputs, (total, inputs[0]), (names[0], label))
    parsed = same(graph)
    assert parsed.name == label
    assert parsed.output_names == (names[0], label)
    assert len(parsed.inputs) == len(inputs)
    values = [np.arange(2.0) * (i + 1) for i in range(len(inputs))]
    np.testing.assert_array_equal(evaluate(parsed, values)[0], evaluate(graph, values)[0])


@settings(max_examples=100)
@given(ODD_TEXT.filter(bool), st.integers(0, 99), ODD_TEXT, ODD_TEXT)
def test_any_origin_prints_alike_after_parsing(
    file: str, line: int, scope: str, stage: str
) -> None:
    """Paths with spaces and colons, layers with odd names."""
    x = f8(2)
    with made_by(Origin(file, line, scope, stage)):
        same(Graph("g", (x,), (build.negative(x),), ("out",)))


def test_large_constants_need_the_data_section() -> None:
    """Without it the text is for reading; the error says how to print it for parsing."""
    graph = cr.trace(lambda x: x + np.arange(100.0), np.ones(100))
    same(graph)
    with pytest.raises(UsageError, match=r"to_text\(graph, data=True\)"):
        from_text(to_text(graph))


BAD_TEXTS = {
    "": "not a line of a graph",
    "graph g() -> () {": "without a return line",
    "graph g(x: f64[2]) -> (y) {\n  %1 = tanh(z) : f64[2]\n  return %1\n}": "used before",
    "graph g(x: f64[2]) -> (y) {\n  tanh x\n  return x\n}": "not a line",
    "graph g(x: f64[2]) -> (y) {\n  %1 = tanh(x) : f64[3]\n  return %1\n}": "not f64[3]",
    "graph g(x: f64[2]) -> (y) {\n  %1 = frobnicate(x) : f64[2]\n  return %1\n}": "frobnicate",
    "graph g(x: f64[2]) -> (y) {\n  %1 = sum(x) : f64[]\n  return %1\n}": "unknown: 'axes'",
    "graph g(x: f99[2]) -> (y) {\n  return x\n}": "f99",
    "graph g(x: f64[2]) -> (y) {\n  %1 = tanh(x, x) : f64[2]\n  return %1\n}": "operands",
    "graph g() -> (y) {\n  %0 = constant {a} : f64[1]\n  return %0\n}": "'a'",
    "graph g() -> (y) {\n  %0 = constant {1.0} : f64[2]\n  return %0\n}": "shape (2,)",
    "graph g() -> (y) {\n  %0 = constant @ab : f64[2]\n  return %0\n}\ndata @ab zz": "data",
    "graph g(x: f64[2]) -> (y) {\n  %1 = sum(x) axes=(a) : f64[]\n  return %1\n}": "'a'",
}


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_a_text_that_is_no_graph_is_named_with_its_line(text: str) -> None:
    """Unknown ops, wrong types, missing values: an error of ours, never another."""
    with pytest.raises(ChainruleError) as caught:
        from_text(text)
    assert BAD_TEXTS[text] in str(caught.value)
    assert "line" in str(caught.value)
