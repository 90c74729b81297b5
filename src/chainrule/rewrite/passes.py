"""The passes that make a graph cheaper, in order, each with a name.

No pass changes a result by more than the rounding of a reordered constant; most change no bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.graph import Graph, Node, build, made_by
from chainrule.reference import Interpreter
from chainrule.rewrite.rules import simplified

Pass = Callable[[Graph], Graph]
FOLDED_ELEMENTS = 4096  # larger constants cost more memory than computing them costs time


def _rebuilt(graph: Graph, change: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
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


def fold_constants(graph: Graph) -> Graph:
    """What depends on no input is computed now, as long as it stays small."""

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        node = remade(node, operands)
        known = operands and all(n.op == "constant" for n in operands)
        if not known or node.type.size > FOLDED_ELEMENTS or node.op in ("broadcast", "pad"):
            return node
        (value,) = Interpreter(Graph("constant", (), (node,), ("value",)))(())
        return build.constant(value)

    return _rebuilt(graph, change)


def simplify(graph: Graph) -> Graph:
    """Algebra that never changes a bit: x * 1, x + 0 of casts, transposes of transposes, ..."""

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        return simplified(remade(node, operands))

    return _rebuilt(graph, change)


def share_common(graph: Graph) -> Graph:
    """Equal ops on equal operands are computed once (common subexpressions)."""
    known: dict[object, Node] = {}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        node = remade(node, operands)
        return known.setdefault(_identity(node), node)

    return _rebuilt(graph, change)


def _identity(node: Node) -> object:
    attributes = []
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            value = (value.dtype.str, value.shape, value.tobytes())
        # -0.0 and 0.0 are equal, but not the same number.
        attributes.append((key, repr(value) if isinstance(value, float) else value))
    return node.op, tuple(n.serial for n in node.operands), tuple(attributes), node.type


PASSES: tuple[tuple[str, Pass], ...] = (
    ("simplify", simplify),
    ("fold constants", fold_constants),
    ("simplify again", simplify),
    ("share common", share_common),
)
