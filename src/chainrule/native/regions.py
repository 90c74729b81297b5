"""Graph -> regions: which values get memory, and which are computed together.

A region is one kernel to be: a set of values that one pass over one domain computes. Elementwise
work and views are never stored on their own; they are computed where they are read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.graph import OPS, WITH_BODY, Graph, Node, build, made_by, users
from chainrule.graph.ops import split_spec
from chainrule.graph.types import TupleType

VIEWS = frozenset({"broadcast", "transpose", "slice", "reverse", "reshape", "window"})
# Ops that read their operands by address, so these must lie in memory.
_ADDRESSING = frozenset({"contract", "argsort", "scatter", "take"})
# Ops that are a kernel of their own kind; `is_side_by_side` has the exception.
_OWN_KERNEL = frozenset(
    "contract sum max argmax argsort scatter random_bits pad concatenate fold".split()
)
_FREE = frozenset({"constant", "iota", "input"})
_CHEAP = frozenset({"cast", "not", "stop", "negative"})
_ARITHMETIC = frozenset({"add", "subtract", "multiply"})  # cheap too, with one number for all
# Kernels that can do elementwise work on what they made before they put it down.
_HOSTS = frozenset({"map", "contract", "fold"})
_LIGHT = frozenset({"equal", "not_equal", "less", "less_equal"})
_MOST_PARTS = 8  # of a concatenation that are computed in one pass
_SHORT = 16  # an axis that fills no vector
_DEEPEST = 64  # how many values may be computed inside one another; emission recurses as deep


@dataclass
class Region:
    """One kernel: `kind` is "map" or the op that leads it; `outputs` are the values it stores."""

    kind: str
    domain: tuple[int, ...]
    lead: Node | None = None  # the reduction, contraction, ... ; None for a map
    members: list[Node] = field(default_factory=list)  # values computed here that have names
    stored: list[Node] = field(default_factory=list)

    def __str__(self) -> str:
        names = ", ".join(f"{n.op}#{n.serial}" for n in self.members)
        lead = f"{self.lead.op}#{self.lead.serial} " if self.lead else ""
        return f"{self.kind} over {list(self.domain)}: {lead}[{names}]"


def is_flag(node: Node) -> bool:
    """Whether any of a whole array holds: a question that the kernel which computes the array can
    answer on the way, since the order does not matter."""
    if node.op != "max" or node.type.dtype != np.bool_:
        return False
    return len(node["axes"]) == node.operands[0].ndim > 0


def is_side_by_side(node: Node) -> bool:
    """Whether a concatenation is of equal parts, so that one pass over a part's places can compute
    and put down all of them: what they have in common is computed once."""
    if node.op != "concatenate" or not 1 < len(node.operands) <= _MOST_PARTS:
        return False
    first = node.operands[0]
    return first.ndim > 1 and all(n.shape == first.shape for n in node.operands)


def pads_lines(node: Node) -> bool:
    """Whether a pad puts nothing between the elements of a line, so that it goes line by line."""
    return node.ndim > 1 and not node["interior"][-1]


def is_unit_reshape(node: Node) -> bool:
    """A reshape that only adds or drops axes of size 1: coordinates pass through it."""
    before = [n for n in node.operands[0].shape if n != 1]
    return before == [n for n in node.shape if n != 1]


def buffers(graph: Graph, in_place: Collection[Node] = ()) -> set[Node]:
    """The values that need memory of their own; `in_place` are chosen rows that are read where
    they lie."""
    nodes = graph.nodes()
    kept = {n for n in graph.outputs if n.op != "input"}
    read = (n for node in nodes if _reads_addresses(node) for n in node.operands)
    computed = _times_computed(nodes, kept | {_addressed(n, ()) for n in read})
    reused: set[Node] = set()
    pinned = set(kept)  # what must have memory for another reason than to be computed once
    depth: dict[Node, int] = {}
    for node in nodes:
        if node.op in _OWN_KERNEL or node.op == "part":
            kept.add(node)
        if node.op == "constant" and node.type.size != 1:
            kept.add(node)
        if computed[node] > 1 and not _is_trivial(node) and node not in in_place:
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
        if _reads_addresses(node):
            for operand in node.operands:
                pinned.add(_make_addressable(operand, kept, in_place))
        below = [depth[n] for n in node.operands if n not in kept]
        depth[node] = 1 + max(below, default=0)
        if depth[node] > _DEEPEST:
            kept.add(node)
    kept -= {n for n in reused - pinned if _is_light(n, kept)}
    return {n for n in kept if n.op != "input" and n.op not in WITH_BODY}


def _is_light(node: Node, kept: set[Node]) -> bool:
    """Whether computing a value anew is as cheap as reading it: a comparison of what is read from
    memory anyway."""
    if node.op not in _LIGHT:
        return False
    sources = [_behind_views(n) for n in node.operands]
    return all(n in kept or n.op in ("input", "constant") for n in sources)


def _behind_views(node: Node) -> Node:
    while node.op in VIEWS:
        (node,) = node.operands
    return node


def _is_trivial(node: Node) -> bool:
    """Whether a value is rather computed than read: what it is computed of is stored instead, once
    for all that are made of it like this."""
    if node.op in _ARITHMETIC:
        return any(_is_number(n) for n in node.operands)
    return node.op in _FREE or node.op in VIEWS or node.op in _CHEAP


def _is_number(node: Node) -> bool:
    """One known number, repeated."""
    while node.op == "broadcast":
        (node,) = node.operands
    return node.op == "constant" and node.type.size == 1


def _reads_addresses(node: Node) -> bool:
    return node.op in _ADDRESSING or node.op == "window"  # windows show elements many times


def _times_computed(nodes: Sequence[Node], kept: set[Node]) -> dict[Node, int]:
    """How often each value would be computed if it were not stored: once for each reader, and
    through a view or a cast, once for each of its readers."""
    readers = users(nodes)
    times: dict[Node, int] = {}
    for node in reversed(nodes):
        through = [r for r in readers.get(node, ()) if _is_trivial(r) and r not in kept]
        others = len(readers.get(node, ())) - len(through)
        times[node] = min(others + sum(times[r] for r in through), 2)
    return times


def memory_behind(node: Node) -> Node:
    """What must be contiguous memory for a reshape of `node` to be the same memory."""
    while node.op == "reshape":
        (node,) = node.operands
    return node


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


def fuse(graph: Graph, kept: set[Node]) -> list[Region]:
    """The regions, in an order in which they can run. `kept` is what has memory of its own."""
    regions: list[Region] = []
    home: dict[Node, int] = {}
    nodes = graph.nodes()
    parts = [node for node in nodes if node.op == "part"]
    for node in nodes:
        if node.op in WITH_BODY:
            results = _results(node, [n for n in parts if n.operands[0] is node])
            steps = node["length"] if node.op == "scan" else node["max_iterations"]
            regions.append(Region(node.op, (steps,), node, results))
            home.update(dict.fromkeys(results, len(regions) - 1))
            continue
        if node not in kept or node.op in ("constant", "part"):
            continue
        if node.op in _OWN_KERNEL and not is_flag(node) and not is_side_by_side(node):
            domain = node.shape if node.op == "contract" else _domain(node)
            regions.append(Region(node.op, domain, node, [node]))
            home[node] = len(regions) - 1
            continue
        home[node] = _place(node, regions, home, kept)
    _drop_unread(graph, regions, kept)
    return regions


def _results(loop: Node, read: Sequence[Node]) -> list[Node]:
    """All that a loop gives, in order: also parts that nobody reads have memory. A part that is
    there twice has it twice."""
    assert isinstance(loop.type, TupleType)
    given = {node["index"] for node in read}
    with made_by(loop.origin, "native"):
        others = [build.part(loop, i) for i in range(len(loop.type.parts)) if i not in given]
    return sorted([*read, *others], key=lambda node: int(node["index"]))


def _domain(node: Node) -> tuple[int, ...]:
    if node.op in ("sum", "max", "argmax", "argsort"):
        return node.operands[0].shape
    return node.shape


def reads(node: Node, kept: set[Node]) -> list[tuple[Node, bool]]:
    """The memory a value is computed from, and whether it is read at the same place only."""
    found: dict[Node, bool] = {}

    def visit(current: Node, same_place: bool) -> None:
        for operand in current.operands:
            moves = not (OPS[current.op].elementwise or is_flag(current))
            same = same_place and (not moves or is_side_by_side(current))
            if operand in kept or operand.op == "input":
                found[operand] = found.get(operand, True) and same
            else:
                visit(operand, same)

    visit(node, True)
    return list(found.items())


def computed_by(region: Region, kept: set[Node]) -> set[Node]:
    """Every value that the region computes, also those that have no memory."""
    pending, found = list(region.members), set(region.members)
    while pending:
        for operand in pending.pop().operands:
            if operand not in found and operand not in kept and operand.op != "input":
                found.add(operand)
                pending.append(operand)
    return found


def _place(node: Node, regions: list[Region], home: dict[Node, int], kept: set[Node]) -> int:
    """The first region that a map or a flag can join, else a new one. It joins one that reads or
    makes something that it reads too: what has nothing in common stays apart, so that layers of one
    kind have kernels of one kind."""
    parts = is_side_by_side(node)
    first, domain = 0, node.operands[0].shape if parts or is_flag(node) else node.shape
    read = reads(node, kept)
    for source, same_place in read:
        if source in home:
            first = max(first, home[source] if same_place else home[source] + 1)
    hosts, mine = ("map",) if parts else _HOSTS, {source for source, _ in read}
    for number in range(first, len(regions)):
        region = regions[number]
        if region.domain != domain or region.kind not in hosts:
            continue
        theirs = {source for n in region.members for source, _ in reads(n, kept)}
        if mine & theirs.union(region.members):
            region.members.append(node)
            return number
    regions.append(Region("map", domain, None, [node]))
    return len(regions) - 1


def _drop_unread(graph: Graph, regions: list[Region], kept: set[Node]) -> None:
    """Values that only their own region reads, at the same place, stay in registers."""
    read_elsewhere = set(graph.outputs)
    for region in regions:
        inside = set(region.members)
        for node in region.members:
            for source, same_place in reads(node, kept):
                if source not in inside or not same_place or node is region.lead:
                    read_elsewhere.add(source)
    # Reading through a view of an output means its memory is read.
    for node in graph.outputs:
        while node.op in VIEWS:
            (node,) = node.operands
            read_elsewhere.add(node)
    for region in regions:
        whole = region.kind in WITH_BODY
        region.stored = [n for n in region.members if whole or n in read_elsewhere or is_flag(n)]
