"""What a net costs: the arithmetic of each layer, and what a training step keeps in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import pipeline
from chainrule.graph import WITH_BODY, Graph, Node, multiply_adds
from chainrule.tracing.context import Context, use
from chainrule.tracing.trees import leaves

_ROWS = (64, 128)  # usual batches: with few rows the gradients take most of the memory
_VIEWS = frozenset("broadcast reshape transpose slice reverse window part".split())


@dataclass(frozen=True)
class Costs:
    """For each row: multiply-adds by the path of the layer that makes them, forward; those of the
    gradient of all weights, forward and back; the bytes that it holds at once.

    An iteration to a fixed point counts once: how often it is made is not known.
    """

    forward: dict[str, int]
    gradient: int
    memory: int


def costs(net: Any, inputs: Sequence[Any]) -> Costs:
    """What it costs to run and to train a net on rows of inputs like these.

    Raises what tracing the net raises.
    """
    few, many = (_measured(net, [_rows(x, count) for x in inputs]) for count in _ROWS)
    # The memory of one more row: what does not grow with the rows, the gradients, is left out.
    memory = (many[2] - few[2]) // (_ROWS[1] - _ROWS[0])
    forward = {path: count // _ROWS[0] for path, count in few[0].items()}
    return Costs(forward, few[1] // _ROWS[0], memory)


def _rows(x: Any, count: int) -> Any:
    return np.broadcast_to(np.zeros((), x.dtype), (count, *x.shape[1:]))  # never computed with


def _measured(net: Any, inputs: Sequence[Any]) -> tuple[dict[str, int], int, int]:
    """Multiply-adds by path, those of the gradient, and the bytes that it holds."""
    forward: dict[str, int] = {}
    for node, times in _all_nodes(pipeline.trace(_outputs, net, *inputs)):
        count = times * multiply_adds(node)
        forward[node.origin.scope] = forward.get(node.origin.scope, 0) + count
    if not any(leaf.trained for leaf in leaves(net)):
        return forward, 0, 0
    *_, graph = pipeline.graph_stages(pipeline.value_and_grad(_total), net, *inputs).values()
    total = sum(times * multiply_adds(node) for node, times in _all_nodes(graph))
    return forward, total, peak(graph)


def _outputs(net: Any, *inputs: Any) -> Any:
    context = Context(training=True, key=np.zeros(2, np.uint32), step=np.uint32(0))
    context.name(net)
    with use(context):
        return net(*inputs)


def _total(net: Any, *inputs: Any) -> Any:
    found = [leaf.value for leaf in leaves(_outputs(net, *inputs))]
    return sum(np.sum(x * x) for x in found if x.dtype.kind == "f")


def _all_nodes(graph: Graph, times: int = 1) -> Iterator[tuple[Node, int]]:
    """Every node, those of loops' bodies with how often they run."""
    for node in graph.nodes():
        yield node, times
        if node.op in WITH_BODY:
            length = node["length"] if node.op == "scan" else 1
            yield from _all_nodes(node["body"], times * length)


def peak(graph: Graph) -> int:
    """The most bytes that are held at once while a graph runs from top to bottom.

    Besides its inputs; each value from when it is made until it is last read, views as what they
    show.
    """
    nodes = graph.nodes()
    last = {_memory(operand): place for place, n in enumerate(nodes) for operand in n.operands}
    last |= {_memory(node): len(nodes) for node in graph.outputs}
    ends: dict[int, int] = {}
    held = most = 0
    for place, node in enumerate(nodes):
        if node.op != "input" and _memory(node) is node:
            held += node.type.bytes
            until = last.get(node, place)
            ends[until] = ends.get(until, 0) + node.type.bytes
        inside = peak(node["body"]) if node.op in WITH_BODY else 0
        most = max(most, held + inside)
        held -= ends.pop(place, 0)
    return most


def _memory(node: Node) -> Node:
    """What a view shows."""
    while node.op in _VIEWS:
        (node,) = node.operands
    return node
