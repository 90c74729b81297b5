"""The passes that make a graph cheaper, in order, each with a name.

Passes change no bit of a result, except those in `ROUNDING`, which add in another order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.graph import WITH_BODY, Graph, Node, build
from chainrule.reference import Interpreter
from chainrule.rewrite.choices import choose_last
from chainrule.rewrite.loops import tidy_loops
from chainrule.rewrite.rebuilding import rebuilt, remade
from chainrule.rewrite.rules import simplified
from chainrule.rewrite.windows import gather_folds

Pass = Callable[[Graph], Graph]
FOLDED_ELEMENTS = 4096  # larger constants cost more memory than computing them costs time

# Repeating a constant saves nothing, and a loop may be long, or never end in a fixed point.
_NOT_FOLDED = WITH_BODY | {"broadcast", "pad"}


def fold_constants(graph: Graph) -> Graph:
    """What depends on no input is computed now, as long as it stays small."""

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        node = remade(node, operands)
        known = operands and all(n.op == "constant" for n in operands)
        if not known or node.type.size > FOLDED_ELEMENTS or node.op in _NOT_FOLDED:
            return node
        (value,) = Interpreter(Graph("constant", (), (node,), ("value",)))(())
        return build.constant(value)

    return rebuilt(graph, change)


def simplify(graph: Graph) -> Graph:
    """Algebra that never changes a bit: x * 1, x + 0 of casts, transposes of transposes, ..."""

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        return simplified(remade(node, operands))

    return rebuilt(graph, change)


def share_common(graph: Graph) -> Graph:
    """Equal ops on equal operands are computed once (common subexpressions). And whether x is more
    than y is asked of their maximum where there is one, which is more than y just when x is: then x
    itself need not be kept for the question, as in the backward pass of max(x, 0)."""
    known: dict[object, Node] = {}
    largest = {n.operands for n in graph.nodes() if n.op == "maximum"}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op == "less" and node.operands[::-1] in largest:
            y, x = operands
            maximum = build.make("maximum", x, y)
            operands = (y, known.setdefault(_identity(maximum), maximum))
        node = remade(node, operands)
        return known.setdefault(_identity(node), node)

    return rebuilt(graph, change)


def _identity(node: Node) -> object:
    attributes = []
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            value = (value.dtype.str, value.shape, value.tobytes())
        # -0.0 and 0.0 are equal, but not the same number.
        attributes.append((key, repr(value) if isinstance(value, float) else value))
    return node.op, tuple(n.serial for n in node.operands), tuple(attributes), node.type


def with_bodies(graph: Graph) -> Graph:
    """Loops are joined and trimmed, and the graphs of their steps run through all passes."""
    return tidy_loops(graph, rewrite)


def rewrite(graph: Graph) -> Graph:
    """Runs every pass in order."""
    for _, run in PASSES:
        graph = run(graph)
    return graph


PASSES: tuple[tuple[str, Pass], ...] = (
    ("tidy loops", with_bodies),
    ("simplify", simplify),
    ("gather folds", gather_folds),
    ("fold constants", fold_constants),
    ("simplify again", simplify),
    ("choose last", choose_last),
    ("share common", share_common),
)

# The passes that may change the last bits: they add up the same terms in another order.
ROUNDING = frozenset({"gather folds", "tidy loops", "choose last"})
