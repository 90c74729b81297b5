"""Backpropagation over a graph: from the delta of a result to the deltas of anything before it."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backward.rules import NO_DELTA, RULES
from chainrule.errors import NoDerivativeError
from chainrule.graph import Node, ancestors, build, made_by


def gradients(
    result: Node, wrt: Sequence[Node], delta: Node | None = None, *, strict: bool = True
) -> list[Node]:
    """The derivative of `result` (a scalar, or weighted by `delta`) for each node of `wrt`.

    Works on any nodes of the graph, inner ones too: those are the deltas of layers. What the
    result does not depend on at all gets zeros. Raises NoDerivativeError where it does depend, but
    only through ops without a derivative, so that zeros would be a lie; unless not `strict`, for
    looking at values that are not trained. A derivative that is constant by pieces (that of relu,
    abs or max) has derivative 0: only what the user computes can be cut.
    """
    order = ancestors([result])
    active = _dependants(order, set(wrt))
    deltas: dict[Node, Node] = {}
    if result in active:
        with made_by(result.origin, "backward"):
            deltas[result] = build.like(result, 1) if delta is None else delta
    for node in reversed(order):
        if node not in deltas or node.op in NO_DELTA or not _leads_on(node, active):
            continue
        with made_by(node.origin, "backward"):
            parts = RULES[node.op](node, deltas[node])
            for operand, part in zip(node.operands, parts, strict=True):
                if part is None or operand not in active or not operand.type.is_float:
                    continue
                known = deltas.get(operand)
                deltas[operand] = part if known is None else build.add(known, part)
    return [_gradient(node, deltas, order, result, strict) for node in wrt]


def _dependants(order: Sequence[Node], sources: set[Node]) -> set[Node]:
    """The nodes that depend on the sources, other than through `stop`."""
    active: set[Node] = set()
    for node in order:
        reached = node.op != "stop" and any(operand in active for operand in node.operands)
        if node in sources or reached:
            active.add(node)
    return active


def _leads_on(node: Node, active: set[Node]) -> bool:
    return any(operand in active for operand in node.operands)


def _gradient(
    node: Node, deltas: dict[Node, Node], order: Sequence[Node], result: Node, strict: bool
) -> Node:
    if node in deltas:
        return deltas[node]
    dependants = _dependants(order, {node})
    path = [n for n in order if n in dependants]
    is_derivative = any(n.origin.stage == "backward" for n in path)
    if strict and result in dependants and node is not result and not is_derivative:
        _raise_cut(node, path)
    with made_by(node.origin, "backward"):
        return build.zeros(node.type)


def _raise_cut(node: Node, path: Sequence[Node]) -> None:
    """Names the first op on the way whose result cannot carry a derivative."""
    cut = next((n for n in path if not n.type.is_float), path[-1])
    name = node["name"] if node.op == "input" else repr(node)
    raise NoDerivativeError(
        f"the result depends on {name} only through {cut.op}, so its derivative is 0 wherever it "
        "exists",
        where=str(cut.origin) or None,
        do="use a smooth function instead, or cr.stop_gradient(...) to say that zeros are meant",
    )
