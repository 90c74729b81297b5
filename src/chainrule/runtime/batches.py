"""Batches without copies: a step's graph that reads its rows out of the whole data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.graph import ArrayType, Graph, Node, build, made_by

_INDEX = np.dtype(np.int64)


def choosing(graph: Graph, carried: int, sources: Sequence[np.ndarray]) -> tuple[Graph, Node]:
    """The graph with its batch inputs (behind the `carried` first ones, one for each of `sources`)
    replaced by the sources and one input more, the numbers of the rows [batch]; and that input.

    Inputs: the carry, the sources, the rows' numbers, the rest as before.
    """
    count = len(sources)
    before, batches = graph.inputs[:carried], graph.inputs[carried : carried + count]
    wholes = [
        build.input(node["name"], ArrayType(source.dtype, source.shape))
        for node, source in zip(batches, sources, strict=True)
    ]
    rows = build.input("rows", ArrayType(_INDEX, batches[0].shape[:1]))
    inputs = (*before, *wholes, rows, *graph.inputs[carried + count :])
    table: dict[Node, Node] = dict(zip(inputs, inputs, strict=True))
    for node, whole in zip(batches, wholes, strict=True):
        with made_by(node.origin, "batches"):
            table[node] = build.take(whole, rows, 0)
    for node in graph.nodes():
        if node not in table:
            with made_by(node.origin):
                table[node] = _remade(node, tuple(table[n] for n in node.operands), rows)
    outputs = tuple(table[n] for n in graph.outputs)
    return Graph(graph.name, inputs, outputs, graph.output_names), rows


def _remade(node: Node, operands: tuple[Node, ...], rows: Node) -> Node:
    """The node on other operands. Rows that are reshaped one by one are reshaped before they are
    chosen, which costs nothing."""
    if operands == node.operands:
        return node
    if node.op == "reshape" and operands[0].op == "take" and operands[0].operands[1] is rows:
        whole, shape = operands[0].operands[0], node["shape"]
        if shape[:1] == rows.shape:
            return build.take(build.reshape(whole, (whole.shape[0], *shape[1:])), rows, 0)
    return build.make(node.op, *operands, **node.attributes)
