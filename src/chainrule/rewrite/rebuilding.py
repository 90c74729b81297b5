"""Making a graph anew, node by node: the frame of every pass."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.graph import Graph, Node, build, made_by


def rebuilt(graph: Graph, change: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
    """The graph with every node passed through `change(node, new operands)`."""
    table: dict[Node, Node] = {n: n for n in graph.inputs}
    for node in graph.nodes():
        if node.op != "input":
            with made_by(node.origin):
                table[node] = change(node, tuple(table[n] for n in node.operands))
    outputs = [table[n] for n in graph.outputs]
    return graph.with_outputs(outputs, graph.output_names)


def remade(node: Node, operands: tuple[Node, ...]) -> Node:
    """The node itself where its operands did not change."""
    if operands == node.operands:
        return node
    return build.make(node.op, *operands, **node.attributes)
