"""What is padded and read as it is too lies in memory once, with its border.

A picture's values go into a convolution with zeros around them, and elsewhere without: into a
shortcut, into the gradient of weights. The padded array holds both: who wants no border reads its
inside.
"""

from __future__ import annotations

from chainrule.graph import OPS, Graph, Node, build, made_by, users
from chainrule.native.regions import pads_lines
from chainrule.native.stored import behind_views, is_trivial, reads_addresses

_LARGE = 1 << 16  # bytes from which writing an array once less is worth it


def share_padded(graph: Graph) -> Graph:
    """The graph with such values read from inside their padded arrays; the graph itself where there
    are none."""
    nodes = graph.nodes()
    readers = users(nodes)
    pads: dict[Node, Node] = {}
    for node in nodes:
        if node.op == "pad" and _holds(node, readers, graph):
            pads.setdefault(node.operands[0], node)
    if not pads:
        return graph
    table: dict[Node, Node] = {}
    inside: dict[Node, Node] = {}
    for node in nodes:
        if node.op == "input":
            table[node] = node
            continue
        operands = tuple(inside.get(n, table[n]) for n in node.operands)
        is_its_pad = node.op == "pad" and pads.get(node.operands[0]) is node
        if is_its_pad:
            operands = (table[node.operands[0]],)
        with made_by(node.origin):
            if is_its_pad:
                table[node] = inside[node.operands[0]].operands[0]
                continue
            made = node
            if operands != node.operands:
                made = build.make(node.op, *operands, **node.attributes)
            table[node] = made
        if node in pads:
            pad = pads[node]
            with made_by(pad.origin):
                low, shape = pad["low"], node.shape
                whole = build.make("pad", made, **pad.attributes)
                ends = [a + n for a, n in zip(low, shape, strict=True)]
                inside[node] = build.slice(whole, low, ends, [1] * node.ndim)
    outputs = [table[n] for n in graph.outputs]
    return graph.with_outputs(outputs, graph.output_names)


def _holds(pad: Node, readers: dict[Node, list[Node]], graph: Graph) -> bool:
    """Whether what is padded is large, computed elementwise of what lies in memory, and read by
    others too."""
    (x,) = pad.operands
    if any(pad["interior"]) or not pads_lines(pad) or x.type.bytes < _LARGE:
        return False
    others = [n for n in readers[x] if n is not pad]
    if not others or x in graph.outputs:
        return False
    if is_trivial(x) and not any(reads_addresses(n) for n in others):  # not in memory anyway
        return False
    pending = [x]
    while pending:
        node = pending.pop()
        if not OPS[node.op].elementwise:
            return False
        behind = [behind_views(n) for n in node.operands]
        pending += [n for n in behind if n.type.size >= x.type.size and _is_inside(n, readers)]
    return True


def _is_inside(node: Node, readers: dict[Node, list[Node]]) -> bool:
    """Whether a value is computed for its one reader alone."""
    return len(readers.get(node, ())) == 1 and node.op not in ("input", "constant", "iota")
