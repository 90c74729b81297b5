"""Indices out of range: kept from reading or writing there, noted, and told when the call is over.

A kernel cannot raise an error. It takes 0 instead of such an index and notes it in a word of the
arena; after the call Python looks at the words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from chainrule.errors import index_out_of_range
from chainrule.graph import Graph, Node
from chainrule.native.ir import Function, Value

_MARK = 2**62  # where even 0 is out of range it is noted with this bit: a word of 0 says nothing


def size_of_axis(node: Node) -> int:
    """How many places there are to choose from."""
    if node.op == "scatter":
        return int(node["size"])
    return _length(node.operands[0], node["axis"])


def _length(node: Node, axis: int) -> int:
    return node.shape[axis]


def unsure(graph: Graph, trusted: Collection[Node] = ()) -> dict[Node, int]:
    """The reads and writes whose indices could point outside, with the number of their word;
    `trusted` inputs hold no such index."""
    choosing = [n for n in graph.nodes() if n.op in ("take", "scatter")]
    doubted = [n for n in choosing if n.operands[1] not in trusted and not _is_sure(n)]
    return {n: i for i, n in enumerate(doubted)}


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


def tell(words: np.ndarray, nodes: Sequence[Node]) -> None:
    """Raises IndexRangeError for the first word that is not 0, and forgets all."""
    if not words.any():
        return
    number = int(np.flatnonzero(words)[0])
    bad, size = int(words[number]), size_of_axis(nodes[number])
    words[:] = 0
    raise index_out_of_range(bad if size else bad & ~_MARK, size, str(nodes[number].origin))
