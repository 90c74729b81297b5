"""Backpropagation over a graph: from the deltas of results to those of anything before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backward.rules import NO_DELTA, RULES, Delta
from chainrule.errors import NoDerivativeError
from chainrule.graph import WITH_BODY, Node, ancestors, build, made_by
from chainrule.graph.loops import depends


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
    start = {}
    if result in active:
        with made_by(result.origin, "backward"):
            start[result] = build.like(result, 1) if delta is None else delta
    deltas = _propagated(order, active, start)
    return [_gradient(node, deltas, order, result, strict) for node in wrt]


def pullback(start: Mapping[Node, Node], wrt: Sequence[Node]) -> list[Node | None]:
    """For each node of `wrt` the delta that several results with these deltas send back, or None
    where nothing comes."""
    order = ancestors(start)
    deltas = _propagated(order, _dependants(order, set(wrt)), start)
    return [_array(deltas.get(node)) for node in wrt]


def _propagated(
    order: Sequence[Node], active: set[Node], start: Mapping[Node, Node]
) -> dict[Node, Delta]:
    """The deltas of all active nodes, from those of some results."""
    deltas: dict[Node, Delta] = {node: delta for node, delta in start.items() if node in active}
    for node in reversed(order):
        if node not in deltas or node.op in NO_DELTA or not _leads_on(node, active):
            continue
        # What happens inside a loop is differentiated only by what is asked for.
        wanted = {"wanted": [n in active for n in node.operands]} if node.op in WITH_BODY else {}
        with made_by(node.origin, "backward"):
            parts = RULES[node.op](node, deltas[node], **wanted)
            for operand, part in zip(node.operands, parts, strict=True):
                if part is None or operand not in active or not operand.type.is_float:
                    continue
                deltas[operand] = _sum(deltas.get(operand), part)
    return deltas


def _sum(known: Delta | None, part: Delta) -> Delta:
    """Two deltas of one node; those of a loop result by result."""
    if known is None:
        return part
    if isinstance(known, Node) and isinstance(part, Node):
        return build.add(known, part)
    assert isinstance(known, Mapping)
    assert isinstance(part, Mapping)
    both = dict(known)
    for number, delta in part.items():
        both[number] = build.add(both[number], delta) if number in both else delta
    return both


def _array(delta: Delta | None) -> Node | None:
    assert not isinstance(delta, Mapping)
    return delta


def _dependants(order: Sequence[Node], sources: set[Node]) -> set[Node]:
    """The nodes that depend on the sources, other than through `stop`."""
    active: set[Node] = set()
    for node in order:
        if node in sources or depends(node, active):
            active.add(node)
    return active


def _leads_on(node: Node, active: set[Node]) -> bool:
    return any(operand in active for operand in node.operands)


def _gradient(
    node: Node, deltas: Mapping[Node, Delta], order: Sequence[Node], result: Node, strict: bool
) -> Node:
    found = _array(deltas.get(node))
    if found is not None:
        return found
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
