"""Putting other nodes in the place of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.graph import build
from chainrule.graph.node import Node, ancestors, made_by


def substitute(outputs: Sequence[Node], replacements: Mapping[Node, Node]) -> list[Node]:
    """The outputs with some nodes replaced; only what depends on those is made anew."""
    table = dict(replacements)
    for node in ancestors(outputs, stop=lambda n: n in replacements):
        if node in table:
            continue
        operands = tuple(table.get(n, n) for n in node.operands)
        if operands == node.operands:
            table[node] = node
        else:
            with made_by(node.origin):
                table[node] = build.make(node.op, *operands, **node.attributes)
    return [table[n] for n in outputs]
