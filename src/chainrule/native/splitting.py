"""Long sums in parts: products over many rows with small results, as those that give the gradients
of weights from a large batch, and sums over all places of many pictures.

Each part of the rows gets sums of its own, which one thread computes, and the parts are added in
order. How many parts there are follows from the shape alone, so that results have the same bits
whatever the number of threads; and a thread reads the rows that it wrote on the way there.
"""

from __future__ import annotations

from chainrule.graph import Graph, Node, build, made_by
from chainrule.graph.ops import split_spec, strong_marks

_LONG = 4096  # rows from which it pays
_SMALL = 16384  # numbers of the result up to which adding parts costs little
_NARROW = 64  # columns of a sum that are few for threads to share
_PARTS = (16, 15, 14, 12, 10, 9, 8)  # enough for several threads


def split_sums(graph: Graph) -> Graph:
    """The graph with its long sums in parts; the graph itself where there are none."""
    table: dict[Node, Node] = {n: n for n in graph.inputs}
    for node in graph.nodes():
        if node.op == "input":
            continue
        operands = tuple(table[n] for n in node.operands)
        with made_by(node.origin):
            made = node
            if operands != node.operands:
                made = build.make(node.op, *operands, **node.attributes)
            table[node] = _STAGED[made.op](made) if made.op in _STAGED else made
    outputs = [table[n] for n in graph.outputs]
    return graph.with_outputs(outputs, graph.output_names)


def _in_parts(node: Node) -> Node:
    x, y = node.operands
    left, right, result = split_spec(node["spec"])
    summed = set(left) - set(result)
    if not node.type.is_float or len(summed) != 1 or node.type.size > _SMALL:
        return node
    (letter,) = summed
    rows = x.shape[left.index(letter)]
    parts = next((n for n in _PARTS if rows % n == 0), 0)
    leads = left[0] == letter == right[0]
    if rows < _LONG or not parts or not leads or not all(map(_is_plain, (x, y))):
        return node
    marks = strong_marks(node["spec"])
    first, second = (build.reshape(n, (parts, rows // parts, *n.shape[1:])) for n in (x, y))
    number = next(c for c in "zyxwvutsrq" if c not in left + right)
    spec = f"{number}{left}{marks[0]},{number}{right}{marks[1]}->{number}{result}"
    return build.sum(build.contract(first, second, spec), [0])


def _by_first_axis(node: Node) -> Node:
    """A sum over several leading axes, such as a bias's delta over a batch of pictures: along all
    but the first, and then along that."""
    (x,) = node.operands
    axes = node["axes"]
    leading = len(axes) > 1 and axes == tuple(range(len(axes))) and len(axes) < x.ndim
    is_long = leading and x.shape[0] >= _PARTS[-1] and x.type.size >= _LONG * _NARROW
    if not is_long or not node.type.is_float or node.type.size > _NARROW:
        return node
    return build.sum(build.sum(x, axes[1:]), [0])


def _is_plain(node: Node) -> bool:
    """Whether a value lies row by row in memory, so that cutting its rows moves nothing."""
    return node.op not in ("broadcast", "transpose", "slice", "reverse", "window", "take")


_STAGED = {"contract": _in_parts, "sum": _by_first_axis}
