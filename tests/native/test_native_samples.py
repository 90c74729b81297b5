"""Every op and every NumPy function that can be traced, compiled, from the table of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreeing import compare, joined

import chainrule as cr
from chainrule.graph import OPS, Graph
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite
from chainrule.tracing import leaves
from samples import SAMPLES, Sample, arguments

NAMES = list(dict.fromkeys(row.name for row in SAMPLES))


def arrays(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf.value) for leaf in leaves(tree)]


def _is_float(tree: Any) -> bool:
    values = arrays(tree)
    return bool(values) and all(v.dtype.kind == "f" for v in values)


def _weights(x: Any) -> np.ndarray:
    """Numbers that are all different, so that no two elements can be exchanged unseen."""
    return np.cos(1.0 + np.arange(x.size)).reshape(x.shape).astype(x.dtype)


def graphs(row: Sample, args: tuple[Any, ...]) -> list[Graph]:
    """The function, and where it has derivatives, those of a weighted sum of its results."""
    found = [cr.trace(row.function, *args)]
    floats = [i for i, a in enumerate(args) if _is_float(a)]
    if row.order and floats:

        def total(*values: Any) -> Any:
            results = [leaf.value for leaf in leaves(row.function(*values))]
            weighted = [np.sum(r * _weights(r)) for r in results if r.dtype.kind == "f"]
            return sum(weighted[1:], weighted[0])

        found.append(cr.trace(cr.value_and_grad(total, floats), *args))
    return [rewrite(graph) for graph in found]


@pytest.mark.parametrize("name", NAMES)
def test_native_code_computes_what_the_reference_computes(name: str) -> None:
    """Values and gradients of every case, in float32 and float64, compiled together."""
    cases: list[tuple[Graph, list[np.ndarray], float]] = []
    for row in SAMPLES:
        if row.name != name:
            continue
        for case in row.cases:
            for dtype in (np.float32, np.float64):
                args = arguments(case, dtype)
                cases += [(g, arrays(args), 4 * row.ulps) for g in graphs(row, args)]
    program = NativeProgram(joined([graph for graph, _, _ in cases]))
    results = iter(program([a for _, inputs, _ in cases for a in inputs]))
    for graph, inputs, ulps in cases:
        got = [next(results) for _ in graph.outputs]
        compare(graph, got, Interpreter(graph)(inputs), ulps)


def test_the_compiler_meets_every_op() -> None:
    """None is rewritten away before it is compiled."""
    reached: set[str] = set()
    for row in SAMPLES:
        for case in row.cases[:2]:
            for graph in graphs(row, arguments(case)):
                reached |= {node.op for node in graph.nodes()}
    assert reached == set(OPS)
