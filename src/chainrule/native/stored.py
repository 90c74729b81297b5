"""Which values get memory of their own, and which are computed where they are read.

Receives: a graph. Returns: the values that lie in memory. Next: `regions` makes kernels of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from chainrule.graph import WITH_BODY, Graph, Node, users
from chainrule.graph.ops import split_spec
from chainrule.native.regions import (
    OWN_KERNEL,
    VIEWS,
    is_unit_reshape,
    memory_behind,
)

# Ops that read their operands by address, so these must lie in memory.
_ADDRESSING = frozenset({"contract", "argsort", "scatter", "take"})
_FREE = frozenset({"constant", "iota", "input"})
_CHEAP = frozenset({"cast", "not", "stop", "negative"})
_ARITHMETIC = frozenset({"add", "subtract", "multiply"})  # cheap too, with one number for all
# Cheaper than memory, where one operand repeats few numbers.
_BETWEEN = frozenset({"add", "subtract", "multiply", "divide", "scale", "maximum"})
_LARGE = 1 << 18  # bytes of an array that leaves the near caches
_FEW = 8  # times as many elements as numbers
_FEW_READERS = 3
_MOST_INSIDE = 16  # values between a value and what it is computed anew from
_LIGHT = frozenset({"equal", "not_equal", "less", "less_equal"})
_SHORT = 16  # an axis that fills no vector
_DEEPEST = 64  # how many values may be computed inside one another; emission recurses as deep


def buffers(graph: Graph, in_place: Collection[Node] = ()) -> set[Node]:
    """The values that need memory of their own; `in_place` are chosen rows that are read where
    they lie."""
    nodes = graph.nodes()
    kept = {n for n in graph.outputs if n.op != "input"}
    read = (n for node in nodes if reads_addresses(node) for n in node.operands)
    computed = _times_computed(nodes, kept | {_addressed(n, ()) for n in read})
    reused: set[Node] = set()
    pinned = set(kept)  # what must have memory for another reason than to be computed once
    depth: dict[Node, int] = {}
    for node in nodes:
        if node.op in OWN_KERNEL or node.op == "part":
            kept.add(node)
        if node.op == "constant" and node.type.size != 1:
            kept.add(node)
        if computed[node] > 1 and not is_trivial(node) and node not in in_place:
            reused |= {node} - kept
            kept.add(node)
        if node.op == "reshape" and not is_unit_reshape(node):
            behind = [memory_behind(node.operands[0])]
        elif node.op in WITH_BODY:  # a step reads its rows at an address
            behind = [memory_behind(n) for n in node.operands]
        else:
            behind = []
        kept.update(behind)
        pinned.update(behind)
        if reads_addresses(node):
            for operand in node.operands:
                pinned.add(_make_addressable(operand, kept, in_place))
        below = [depth[n] for n in node.operands if n not in kept]
        depth[node] = 1 + max(below, default=0)
        if depth[node] > _DEEPEST:
            kept.add(node)
    for node in [n for n in nodes if n in reused and n not in pinned]:
        if _is_light(node, kept) or _is_of_two(node, kept, computed):
            kept.remove(node)
    return {n for n in kept if n.op != "input" and n.op not in WITH_BODY}


def _is_light(node: Node, kept: set[Node]) -> bool:
    """Whether computing a value anew is as cheap as reading it: a comparison of what is read from
    memory anyway."""
    if node.op not in _LIGHT:
        return False
    sources = [behind_views(n) for n in node.operands]
    return all(n in kept or n.op in ("input", "constant") for n in sources)


def _is_of_two(node: Node, kept: set[Node], computed: dict[Node, int]) -> bool:
    """Whether a large value that few read follows cheaply from two others that lie in memory
    anyway: then reading both each time is no more than writing it once and reading it."""
    if node.op not in _BETWEEN or node.type.bytes < _LARGE or computed[node] > _FEW_READERS:
        return False
    sources, pending, seen = set[Node](), list(node.operands), set[Node]()
    while pending:
        found = behind_views(pending.pop())
        if found in seen or found.type.size * _FEW <= node.type.size:
            continue
        seen.add(found)
        if len(seen) > _MOST_INSIDE:
            return False
        if found.op == "input" or found in kept:
            sources.add(found)
        elif found.op in _BETWEEN or found.op in _CHEAP:
            pending += found.operands
        else:
            return False
    return len(sources) <= 2 and all(n.op == "input" or computed[n] > 1 for n in sources)


def behind_views(node: Node) -> Node:
    """What a value is a view of."""
    while node.op in VIEWS:
        (node,) = node.operands
    return node


def is_trivial(node: Node) -> bool:
    """Whether a value is rather computed than read: what it is computed of is stored instead, once
    for all that are made of it like this."""
    if node.op in _ARITHMETIC and any(_is_number(n) for n in node.operands):
        return True
    if node.op in _BETWEEN:
        return _changes_one(node)
    return node.op in _FREE or node.op in VIEWS or node.op in _CHEAP


def _changes_one(node: Node) -> bool:
    """Whether a large array is combined with numbers that are few beside it, such as the means and
    scales of a normalisation: computing it anew is faster than writing and reading it."""
    if node.type.bytes < _LARGE:
        return False
    return any(_few_behind(n) * _FEW <= node.type.size for n in node.operands)


def _few_behind(node: Node) -> int:
    """How many numbers a value repeats."""
    while node.op == "broadcast" or (node.op == "reshape" and is_unit_reshape(node)):
        (node,) = node.operands
    return node.type.size


def _is_number(node: Node) -> bool:
    """One known number, repeated."""
    while node.op == "broadcast":
        (node,) = node.operands
    return node.op == "constant" and node.type.size == 1


def reads_addresses(node: Node) -> bool:
    """Whether an op's operands must lie in memory, or be views of it."""
    return node.op in _ADDRESSING or node.op == "window"  # windows show elements many times


def _times_computed(nodes: Sequence[Node], kept: set[Node]) -> dict[Node, int]:
    """How often each value would be computed if it were not stored: once for each reader, and
    through a view or a cast, once for each of its readers."""
    readers = users(nodes)
    times: dict[Node, int] = {}
    for node in reversed(nodes):
        through = [r for r in readers.get(node, ()) if is_trivial(r) and r not in kept]
        others = len(readers.get(node, ())) - len(through)
        times[node] = min(others + sum(times[r] for r in through), _FEW_READERS + 1)
    return times


def rows_read_in_place(graph: Graph, numbers: Collection[Node]) -> set[Node]:
    """Choices of rows by `numbers` that need no copy: only contractions read them, through views,
    and never with vectors along the rows."""
    readers = users(graph.nodes())

    def is_read_well(node: Node, axis: int) -> bool:
        """Whether all readers of an array whose rows lie along `axis` can do with an address."""
        if node in graph.outputs:
            return False
        for reader in readers.get(node, ()):
            if reader.op == "transpose":
                ok = is_read_well(reader, reader["axes"].index(axis))
            elif reader.op in ("slice", "reverse"):
                ok = is_read_well(reader, axis)
            elif reader.op == "window":
                ok = axis not in reader["axes"] and is_read_well(reader, axis)
            else:
                ok = reader.op == "contract" and not _runs_along(reader, node, axis)
            if not ok:
                return False
        return True

    chosen = [n for n in graph.nodes() if n.op == "take" and n.operands[1] in numbers]
    found = [n for n in chosen if n["axis"] == 0 and n.operands[1].ndim == 1]
    return {n for n in found if memory_behind(n.operands[0]).op == "input" and is_read_well(n, 0)}


def _runs_along(contraction: Node, operand: Node, axis: int) -> bool:
    """Whether the vectors of a contraction may run along an operand's axis: the last axis of the
    result that is longer than 1, or one that is taken instead of a short last one."""
    *letters, result = split_spec(contraction["spec"])
    sides = zip(letters, contraction.operands, strict=True)
    long = [c for c, size in zip(result, contraction.shape, strict=True) if size != 1]
    along = {names[axis] for names, x in sides if x is operand}
    short = len(long) > 1 and contraction.shape[result.index(long[-1])] < _SHORT
    return bool(along & set(long if short else long[-1:]))


def _make_addressable(node: Node, kept: set[Node], in_place: Collection[Node]) -> Node:
    """Makes sure that a value can be read by address: memory, or an affine view of memory. Returns
    the value whose memory it is."""
    node = _addressed(node, kept)
    if node.op != "input" and node not in in_place:
        kept.add(node)
    return node


def _addressed(node: Node, kept: Collection[Node]) -> Node:
    """The value whose memory is read where this one is asked for by address."""
    while node not in kept and node.op in VIEWS:
        (node,) = node.operands
    return node
