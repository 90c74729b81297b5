"""Each simplification does what it says, and leaves alone what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.graph import ArrayType, Graph, Node, build, from_text, verify
from chainrule.reference import evaluate
from chainrule.rewrite import PASSES, rewrite
from chainrule.rewrite.passes import fold_constants, share_common, simplify

F8 = np.dtype(np.float64)
X = build.input("x", ArrayType(F8, (2, 3)))
S = build.input("s", ArrayType(F8, ()))
N = build.input("n", ArrayType(np.dtype(np.int64), (3,)))
C = build.input("c", ArrayType(np.dtype(np.bool_), (2, 3)))
INPUTS = (X, S, N, C)

# Every value that an algebraic law may fail for.
ODD = np.array([[0.0, -0.0, np.nan], [np.inf, -np.inf, 1.5]])
VALUES = [ODD, np.array(-0.0), np.array([2**62 + 1, -1, 0]), ODD > 0]


def graph(*outputs: Node) -> Graph:
    return Graph("g", INPUTS, outputs, tuple(str(i) for i in range(len(outputs))))


def like(value: float, node: Node = X) -> Node:
    return build.like(node, value)


def make(op: str, *operands: Node, **attributes: Any) -> Node:
    return build.make(op, *operands, **attributes)


def cast(node: Node, dtype: Any) -> Node:
    return build.cast(node, np.dtype(dtype))


TO_X: dict[str, Node] = {
    "x * 1": build.multiply(X, like(1)),
    "1 * x": build.multiply(like(1), X),
    "x / 1": build.divide(X, like(1)),
    "x - 0": build.subtract(X, like(0)),
    "x + -0": build.add(X, like(-0.0)),
    "-0 + x": build.add(like(-0.0), X),
    "--x": build.negative(build.negative(X)),
    "where(c, x, x)": build.where(C, X, X),
    "where(true, x, y)": build.where(build.full(ArrayType(C.type.dtype, (2, 3)), True), X, like(7)),
    "where(false, y, x)": build.where(
        build.full(ArrayType(C.type.dtype, (2, 3)), False), like(7), X
    ),
    "scale(x, 1)": build.scale(X, like(1)),
    "scale(1, x)": build.scale(like(1), X),
    "transpose twice": build.transpose(build.transpose(X, (1, 0)), (1, 0)),
    "reshape twice": build.reshape(build.reshape(X, (6,)), (2, 3)),
    "reverse twice": build.reverse(build.reverse(X, (1,)), (1,)),
}


@pytest.mark.parametrize("name", TO_X)
def test_what_is_x_becomes_x(name: str) -> None:
    """The very node, with nothing around it."""
    (output,) = rewrite(graph(TO_X[name])).outputs
    assert output is X


def test_logical_and_integer_laws() -> None:
    """not not c, n + 0, 0 + n; through float64 and back for 32-bit integers."""
    small = cast(N, np.int32)
    there_and_back = cast(cast(small, np.float64), np.int32)
    found = rewrite(
        graph(
            make("not", make("not", C)),
            build.add(N, like(0, N)),
            build.add(like(0, N), N),
            there_and_back,
            cast(cast(X, np.float64), np.float64),
        )
    )
    assert found.outputs[:3] == (C, N, N)
    assert found.outputs[3].op == "cast"
    assert found.outputs[3].operands == (N,)
    assert found.outputs[4] is X


NOT_X: dict[str, Node] = {
    "x + 0 turns -0 into 0": build.add(X, like(0.0)),
    "0 - x": build.subtract(like(0), X),
    "x - -0 turns -0 into 0": build.subtract(X, like(-0.0)),
    "x * 0 keeps NaN": build.multiply(X, like(0)),
    "1 / x": build.divide(like(1), X),
    "x / 2": build.divide(X, like(2)),
    "scale(x, x)": build.scale(X, X),
    "reverse by other axes": build.reverse(build.reverse(X, (1,)), (0,)),
    "through float32 and back": cast(cast(X, np.float32), np.float64),
    "through an integer and back": cast(cast(X, np.int64), np.float64),
    "int64 through float64 and back": cast(cast(N, np.float64), np.int64),
    "through bool and back": cast(cast(N, np.bool_), np.int64),
    "where by a variable": build.where(C, X, like(0)),
}


@pytest.mark.parametrize("name", NOT_X)
def test_what_only_looks_like_x_stays(name: str) -> None:
    """Exceptional values and dtypes for which the law does not hold."""
    node = NOT_X[name]
    found = rewrite(graph(node))
    assert found.outputs[0] not in INPUTS
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluate(found, VALUES)[0], evaluate(graph(node), VALUES)[0])


@pytest.mark.parametrize("name", [*TO_X, *NOT_X])
def test_no_rewrite_changes_a_bit(name: str) -> None:
    """Signs of zero and NaN included, pass by pass."""
    before = graph({**TO_X, **NOT_X}[name])
    for _, run in PASSES:
        after = verify(run(before))
        with np.errstate(all="ignore"):
            one, other = evaluate(before, VALUES)[0], evaluate(after, VALUES)[0]
        np.testing.assert_array_equal(np.signbit(one), np.signbit(other))
        np.testing.assert_array_equal(one, other)


def test_scaling_by_what_is_surely_finite_is_a_product() -> None:
    """A constant, a cast of integers, a choice between such; but not what may be infinite."""
    finite = build.where(C, like(2), cast(build.broadcast(N, (2, 3)), np.float64))
    for factor, op in (
        (like(2), "multiply"),
        (finite, "multiply"),
        (X, "scale"),
        (like(np.inf), "scale"),
    ):
        found = rewrite(graph(build.scale(build.add(X, X), factor)))
        assert found.outputs[0].op == op
    zero = rewrite(graph(build.scale(like(0), X))).outputs[0]
    np.testing.assert_array_equal(evaluate(graph(zero), VALUES)[0], np.zeros((2, 3)))


def test_transposes_go_into_the_letters_of_a_contraction() -> None:
    """On either side, with the marks of strong zeros kept."""
    xt = build.transpose(X, (1, 0))
    for spec, expected in (("ab,cb->ac", "ab,ca->bc"), ("ab!,cb!->ac", "ab!,ca!->bc")):
        other = build.input("y", ArrayType(F8, (4, 2)))
        y_inputs = Graph("g", (X, other), (build.contract(xt, other, spec),), ("out",))
        (output,) = rewrite(y_inputs).outputs
        assert output.operands == (X, other)
        assert output["spec"] == expected
    both = Graph("g", (X,), (build.contract(xt, xt, "ab,cb->ac"),), ("out",))
    (output,) = rewrite(both).outputs
    assert output.operands == (X, X)
    values = [np.arange(6.0).reshape(2, 3)]
    np.testing.assert_array_equal(evaluate(rewrite(both), values)[0], values[0].T @ values[0])


def test_broadcasts_of_scalars_merge() -> None:
    """A repeated scalar stays one, through reshapes, transposes and further broadcasts."""
    repeated = build.broadcast(S, (3, 2))
    for node in (
        build.transpose(repeated, (1, 0)),
        build.reshape(repeated, (6,)),
        build.broadcast(build.broadcast(S, (3,)), (4, 3)),
        build.broadcast(build.reshape(S, (1, 1)), (4, 3)),
    ):
        (output,) = rewrite(graph(node)).outputs
        assert (output.op, output.operands) == ("broadcast", (S,))
        assert output.shape == node.shape


def test_constants_are_folded_while_small() -> None:
    """Sums of constants, not their repetition, and nothing that depends on an input."""
    small = build.add(build.constant(np.arange(3.0)), build.constant(np.ones(3)))
    folded = fold_constants(graph(small)).outputs[0]
    assert folded.op == "constant"
    np.testing.assert_array_equal(folded["value"], [1.0, 2.0, 3.0])
    large = build.negative(build.constant(np.ones(5000)))
    assert fold_constants(graph(large)).outputs[0].op == "negative"
    assert fold_constants(graph(build.broadcast(build.constant(1.0), (9,)))).outputs[0].op == (
        "broadcast"
    )
    assert fold_constants(graph(build.negative(X))).outputs[0].op == "negative"


def test_common_parts_are_computed_once() -> None:
    """Equal ops on equal operands, however deep; constants by value, 0.0 apart from -0.0."""

    def deep() -> Node:
        return make("tanh", build.multiply(make("exp", X), like(2.5)))

    found = share_common(graph(build.add(deep(), deep()), deep()))
    added, alone = found.outputs
    assert added.operands == (alone, alone)
    assert len(found.nodes()) == len(INPUTS) + 6
    zeros = share_common(graph(build.constant(0.0), build.constant(-0.0), build.constant(0)))
    assert len(set(zeros.outputs)) == 3
    pads = share_common(graph(*(build.pad(X, (1, 0), (0, 0), (0, 0), v) for v in (0.0, -0.0, 0.0))))
    assert pads.outputs[0] is pads.outputs[2] is not pads.outputs[1]


def test_passes_keep_inputs_names_and_origins() -> None:
    """Also inputs that nothing uses; and the user's line of each node."""
    text = """graph g(x: f64[2], unused: f64[3]) -> ("a.b", c) {
      %2 = constant {1.0} : f64[]  # net.py:3
      %3 = broadcast(%2) shape=(2) : f64[2]  # net.py:3
      %4 = multiply(x, %3) : f64[2]  # net.py:3
      %5 = tanh(%4) : f64[2]  # net.py:4 in layers.0 by backward
      return %5, x
    }"""
    found = rewrite(from_text(text))
    assert [n["name"] for n in found.inputs] == ["x", "unused"]
    assert found.output_names == ("a.b", "c")
    assert str(found.outputs[0].origin) == "net.py:4 in layers.0 by backward"
    assert found.outputs[0].operands == (found.inputs[0],)


def _simplified_until_it_stays(make_node: Callable[[], Node]) -> int:
    before, rounds = graph(make_node()), 0
    while True:
        after = simplify(before)
        if len(after.nodes()) == len(before.nodes()):
            return rounds
        before, rounds = after, rounds + 1


def test_simplifying_once_more_finds_nothing_in_a_chain() -> None:
    """A chain of identities goes in one pass, not one link at a time."""

    def chain() -> Node:
        node = X
        for _ in range(20):
            node = build.multiply(build.negative(build.negative(node)), like(1))
        return node

    assert _simplified_until_it_stays(chain) <= 1
