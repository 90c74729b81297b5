"""What it means that native code agrees with the reference interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.graph import WITH_BODY, Graph, Node
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter

# Floating-point results that depend on an order of sums or on how a function is approximated.
# All else is rounded correctly by both, so every bit is the same.
ROUNDED = frozenset("exp expm1 log log1p sin cos tanh erf power arctan2 sum contract".split())
# Which zero is the larger of 0.0 and -0.0 is open, and which one a delta that is zero stays.
EITHER_ZERO = frozenset({"max", "maximum", "minimum", "scale"})


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Also those of the bodies of loops."""
    for node in graph.nodes():
        yield node
        if node.op in WITH_BODY:
            yield from all_nodes(node["body"])


def is_exact(graph: Graph) -> bool:
    return not any(n.op in ROUNDED and n.type.is_float for n in all_nodes(graph))


def unit(graph: Graph) -> float:
    """The rounding unit of the least precise float that a graph computes with."""
    floats = [n.type.dtype for n in all_nodes(graph) if n.type.dtype.kind == "f"]
    return max((float(np.finfo(d).eps) for d in floats), default=0.0)


def assert_same(got: np.ndarray, want: np.ndarray, zeros: bool = True) -> None:
    """The same dtype, shape and values; NaN equals NaN. With `zeros`, signs of zeros too."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)
    if zeros and want.dtype.kind == "f":
        none = want == 0
        np.testing.assert_array_equal(np.signbit(got[none]), np.signbit(want[none]))


def assert_near(got: np.ndarray, want: np.ndarray, allowed: float) -> None:
    """The same dtype and shape, NaN and infinities; the rest within `allowed` times the largest
    number, or 1."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, want))
    largest = np.abs(want[finite]).max(initial=1.0)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=allowed * largest)


def assert_agree(graph: Graph, inputs: Sequence[np.ndarray], ulps: float = 32) -> None:
    """Native code gives what the reference gives: to the bit, or where rounding may differ, within
    `ulps` units in the last place of the largest number of a result."""
    compare(graph, NativeProgram(graph)(inputs), Interpreter(graph)(inputs), ulps)


def compare(
    graph: Graph, got: Sequence[np.ndarray], want: Sequence[np.ndarray], ulps: float
) -> None:
    ops = {n.op for n in all_nodes(graph)}
    for one, other in zip(got, want, strict=True):
        if is_exact(graph):
            assert_same(one, other, zeros=not ops & EITHER_ZERO)
        else:
            assert_near(one, other, ulps * unit(graph))


def joined(graphs: Sequence[Graph]) -> Graph:
    """Several graphs as one: much cheaper to compile than each alone."""
    return Graph(
        "joined",
        tuple(n for g in graphs for n in g.inputs),
        tuple(n for g in graphs for n in g.outputs),
        tuple(name for g in graphs for name in g.output_names),
    )
