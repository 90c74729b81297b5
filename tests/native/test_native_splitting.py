"""Long sums in parts: where they are cut, that they come to the same, and to the same bits for any
number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from agreeing import assert_near

from chainrule.graph import ArrayType, Graph, Node, build
from chainrule.native.program import NativeProgram
from chainrule.native.splitting import split_sums
from chainrule.reference import Interpreter

F32 = np.dtype(np.float32)


def weight_gradient(rows: int, left: int, right: int, spec: str = "ab!,ac->cb") -> Graph:
    delta = build.input("delta", ArrayType(F32, (rows, left)))
    x = build.input("x", ArrayType(F32, (rows, right)))
    return Graph("gradient", (delta, x), (build.contract(delta, x, spec),), ("w",))


def spec_of(graph: Graph) -> list[str]:
    return [n["spec"] for n in graph.nodes() if n.op == "contract"]


@pytest.mark.parametrize(
    ("rows", "left", "right", "is_cut"),
    [
        (10_000, 16, 32, True),  # 16 parts
        (4_500, 3, 5, True),  # 15 parts
        (4_095, 16, 32, False),  # short
        (4_099, 16, 32, False),  # a prime number of rows
        (8_192, 256, 128, False),  # a large result
    ],
)
def test_what_is_cut_follows_from_the_shape(rows: int, left: int, right: int, is_cut: bool) -> None:
    graph = split_sums(weight_gradient(rows, left, right))
    assert (spec_of(graph) != ["ab!,ac->cb"]) == is_cut


def test_views_are_not_cut() -> None:
    """Their rows do not lie one after the other."""
    x = build.input("x", ArrayType(F32, (16, 8192)))
    turned: Node = build.transpose(x, (1, 0))
    graph = Graph("turned", (x,), (build.contract(turned, turned, "ab,ac->bc"),), ("w",))
    assert spec_of(split_sums(graph)) == spec_of(graph)


@pytest.mark.parametrize("rows", [4096, 4500, 9000])
def test_parts_come_to_the_sum(rows: int) -> None:
    random = np.random.default_rng(rows)
    graph = weight_gradient(rows, 7, 18)
    delta, x = (random.normal(size=n.shape).astype(F32) for n in graph.inputs)
    delta[5], x[5] = 0, np.nan  # strong zeros stay strong
    (want,) = Interpreter(graph)([delta.astype(np.float32), x])
    found = [NativeProgram(graph, threads=count)([delta, x])[0] for count in (1, 2, 3)]
    assert np.isfinite(found[0]).all()
    assert_near(found[0], want, 1e-4)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
