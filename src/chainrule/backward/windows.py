"""The chain rule for windows: overlap-add is their transpose, and they are its."""

from __future__ import annotations

from chainrule.backward.rules import Deltas, rule
from chainrule.graph import Node, build


@rule("window")
def _window(node: Node, delta: Node) -> Deltas:
    """An element gets the deltas of all windows that show it."""
    return (build.fold(delta, node, node.operands[0].shape),)


@rule("fold")
def _fold(node: Node, delta: Node) -> Deltas:
    return (build.window(delta, node["axes"], node["sizes"], node["strides"], node["dilations"]),)
