"""What a loop's results depend on: which of its operands, through all its steps."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from chainrule.graph.node import Graph, Node, ancestors


def dependants(graph: Graph, sources: set[Node]) -> set[Node]:
    """The nodes that depend on the sources with a derivative: not through `stop`, and in loops
    only by the results that do."""
    reached: set[Node] = set()
    for node in ancestors([*graph.inputs, *graph.outputs]):
        if node in sources or depends(node, reached):
            reached.add(node)
    return reached


def depends(node: Node, reached: set[Node]) -> bool:
    """Whether a node depends on one of those reached, which hold all of its operands that do."""
    if node.op == "stop":
        return False
    if node.op != "part":
        return any(operand in reached for operand in node.operands)
    (loop,) = node.operands
    if loop not in reached:
        return False
    sources = reach(loop)[node["index"]]
    return any(
        operand in reached for place, operand in enumerate(loop.operands) if place in sources
    )


def reach(loop: Node) -> tuple[frozenset[int], ...]:
    """For each result of a loop, the places of the operands that it depends on."""
    carried = loop["carries"] if loop.op == "scan" else loop["states"]
    found = _reach(loop["body"], carried)
    if loop.op == "scan":
        return found
    whole = frozenset(range(len(loop.operands)))
    return (*found, whole, whole)  # steps and change


# By body: graphs are immutable, and the way back asks for each many times.
_KNOWN: WeakKeyDictionary[Graph, tuple[frozenset[int], ...]] = WeakKeyDictionary()


def _reach(body: Graph, carried: int) -> tuple[frozenset[int], ...]:
    """By the body's outputs; what is carried is followed from step to step."""
    if body in _KNOWN:
        return _KNOWN[body]
    results = []
    steps = [_direct(body, place) for place in range(len(body.inputs))]
    for output in range(len(body.outputs)):
        seen = {place for place, outputs in enumerate(steps) if output in outputs}
        pending = [place for place in seen if place < carried]
        while pending:
            before = pending.pop()
            for place, outputs in enumerate(steps):
                if before in outputs and place not in seen:
                    seen.add(place)
                    if place < carried:
                        pending.append(place)
        if output < carried:
            seen.add(output)  # a loop of no steps gives back what it was given
        results.append(frozenset(seen))
    _KNOWN[body] = tuple(results)
    return _KNOWN[body]


def _direct(body: Graph, place: int) -> set[int]:
    """The outputs that one input reaches within a step."""
    reached = dependants(body, {body.inputs[place]})
    return {number for number, node in enumerate(body.outputs) if node in reached}
