"""What goes wrong inside a call: noted, and told when the call is over.

A kernel cannot raise an error. It takes 0 instead of an index out of range, so that nothing is read
or written there, and notes the index in a word of the arena; after the call Python looks at the
words. A fixed point that was not reached is noted in two: how many steps were made, and how much
the last one changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ConvergenceError, index_out_of_range
from chainrule.graph import WITH_BODY, Graph, Node
from chainrule.native.ir import Function, Value

_MARK = 2**62  # where even 0 is out of range it is noted with this bit: a word of 0 says nothing


def size_of_axis(node: Node) -> int:
    """How many places there are to choose from."""
    if node.op == "scatter":
        return int(node["size"])
    return _length(node.operands[0], node["axis"])


def _length(node: Node, axis: int) -> int:
    return node.shape[axis]


@dataclass(frozen=True)
class Words:
    """The first word of each node that has any, and for every word, what notes in it."""

    first: dict[Node, int]
    nodes: tuple[Node, ...]


def words_of(graph: Graph, trusted: Collection[Node], inside: Mapping[Node, Words]) -> Words:
    """Words for the reads and writes whose indices could point outside (`trusted` inputs hold no
    such index), for fixed points that must be reached, and for what is `inside` of each loop."""
    first: dict[Node, int] = {}
    nodes: list[Node] = []
    for node in graph.nodes():
        own: tuple[Node, ...] = ()
        if node.op in ("take", "scatter"):
            sure = node.operands[1] in trusted or _is_sure(node)
            own = () if sure else (node,)
        elif node.op in WITH_BODY:
            strict = node.op == "fixed_point" and node["strict"]
            own = (node,) * (2 * strict) + inside[node].nodes
        if own:
            first[node] = len(nodes)
            nodes += own
    return Words(first, tuple(nodes))


def _is_sure(node: Node) -> bool:
    size, numbers = size_of_axis(node), node.operands[1]
    while numbers.op in ("broadcast", "transpose", "slice", "reverse", "reshape"):
        (numbers,) = numbers.operands
    if numbers.op == "constant":
        value = numbers["value"]
        return not value.size or bool(0 <= value.min() and value.max() < size)
    if numbers.op == "iota":
        return _length(numbers, numbers["axis"]) <= size
    if numbers.op in ("argmax", "argsort"):
        return _length(numbers.operands[0], numbers["axis"]) <= size
    return False


def bounded(fn: Function, chosen: Value, size: int, word: Value) -> Value:
    """The index (i64, one or a vector), or 0 where it is not below `size`."""
    unsigned = fn.cast(chosen, "u64")
    inside = fn.compare("lt", unsigned, fn.same(unsigned, size))
    outside = fn.binary("xor", inside, fn.splat(Value("true", "bool"), inside.lanes))
    with fn.when(fn.any(outside)):
        marked = unsigned if size else fn.binary("or", unsigned, fn.same(unsigned, _MARK))
        noted = fn.select(outside, marked, fn.same(marked, 0))
        fn.store(_largest(fn, noted), word)
    return fn.select(inside, chosen, fn.same(chosen, 0))


def _largest(fn: Function, x: Value) -> Value:
    """The largest of the lanes (u64)."""
    if not x.lanes:
        return x
    full = f"@llvm.vector.reduce.umax.v{x.lanes}i64"
    fn.declared.add(f"declare i64 {full}({x.type})")
    return fn.let(f"call i64 {full}({x})", x.kind, 0)


def tell(words: np.ndarray, nodes: tuple[Node, ...]) -> None:
    """Raises the error of the first word that is not 0, and forgets all."""
    if not words.any():
        return
    number = int(np.flatnonzero(words)[0])
    node, noted = nodes[number], words[number : number + 2].copy()
    words[:] = 0
    if node.op == "fixed_point":
        change = float(noted[1:].view(np.float64)[0])
        raise ConvergenceError.after(int(noted[0]), change, node["tolerance"], str(node.origin))
    bad, size = int(noted[0]), size_of_axis(node)
    raise index_out_of_range(bad if size else bad & ~_MARK, size, str(node.origin))
