"""Graph -> regions: which values are computed together, once `stored` has said which get memory.

A region is one kernel to be: a set of values that one pass over one domain computes. Elementwise
work and views are never stored on their own; they are computed where they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.graph import OPS, WITH_BODY, Graph, Node, build, made_by
from chainrule.graph.types import TupleType

VIEWS = frozenset({"broadcast", "transpose", "slice", "reverse", "reshape", "window"})
# Ops that are a kernel of their own kind; `is_side_by_side` has the exception.
OWN_KERNEL = frozenset(
    "contract sum max argmax argsort scatter random_bits pad concatenate fold".split()
)
_REDUCTIONS = frozenset({"sum", "max"})
_MOST_SUMS = 4  # reductions that one kernel makes side by side
# Kernels that can do elementwise work on what they made before they put it down.
_HOSTS = frozenset({"map", "contract", "fold"})
_LONG_LINE = 64  # elements
_MOST_PARTS = 8  # of a concatenation that are computed in one pass


@dataclass
class Region:
    """One kernel: `kind` is "map" or the op that leads it; `outputs` are the values it stores."""

    kind: str
    domain: tuple[int, ...]
    lead: Node | None = None  # the reduction, contraction, ... ; None for a map
    members: list[Node] = field(default_factory=list)  # values computed here that have names; of
    # reductions over the same axes, all of them
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


def scatters_lines(node: Node) -> bool:
    """Whether a scatter adds lines so long that threads can share their columns."""
    x, numbers = node.operands
    return x.ndim > node["axis"] + numbers.ndim and x.shape[-1] >= _LONG_LINE


def is_unit_reshape(node: Node) -> bool:
    """A reshape that only adds or drops axes of size 1: coordinates pass through it."""
    before = [n for n in node.operands[0].shape if n != 1]
    return before == [n for n in node.shape if n != 1]


def memory_behind(node: Node) -> Node:
    """What must be contiguous memory for a reshape of `node` to be the same memory."""
    while node.op == "reshape":
        (node,) = node.operands
    return node


def fuse(graph: Graph, kept: set[Node]) -> list[Region]:
    """The regions, in an order in which they can run. `kept` is what has memory of its own."""
    return _Fusion(graph, kept).regions


class _Fusion:
    """Regions in the making. What each value and each region reads is found once: a long program
    asks for it very often."""

    def __init__(self, graph: Graph, kept: set[Node]) -> None:
        self.regions: list[Region] = []
        self._kept = kept
        self._home: dict[Node, int] = {}
        self._read: dict[Node, list[tuple[Node, bool]]] = {}
        self._touched: list[set[Node]] = []  # by region: what it reads and makes
        nodes = graph.nodes()
        parts = [node for node in nodes if node.op == "part"]
        for node in nodes:
            if node.op in WITH_BODY:
                results = _results(node, [n for n in parts if n.operands[0] is node])
                steps = node["length"] if node.op == "scan" else node["max_iterations"]
                number = self._begin(Region(node.op, (steps,), node))
                for result in results:
                    self._join(result, number)
            elif node in kept and node.op not in ("constant", "part"):
                self._join(node, self._region_of(node))
        self._drop_unread(graph)

    def _reads(self, node: Node) -> list[tuple[Node, bool]]:
        if node not in self._read:
            self._read[node] = reads(node, self._kept)
        return self._read[node]

    def _begin(self, region: Region) -> int:
        self.regions.append(region)
        self._touched.append(set())
        return len(self.regions) - 1

    def _join(self, node: Node, number: int) -> None:
        self.regions[number].members.append(node)
        self._home[node] = number
        self._touched[number] |= {node, *(source for source, _ in self._reads(node))}

    def _region_of(self, node: Node) -> int:
        """The region that a value joins, or a new one."""
        if node.op not in OWN_KERNEL or is_flag(node) or is_side_by_side(node):
            return self._host(node)
        beside = self._beside(node)
        if beside is not None:
            return beside
        domain = node.shape if node.op == "contract" else _domain(node)
        return self._begin(Region(node.op, domain, node))

    def _beside(self, node: Node) -> int | None:
        """The first region that a sum or a maximum can join: one that takes the same axes of what
        it reads too, such as the two sums of a normalisation's gradient. None where there is none.
        """
        if node.op not in _REDUCTIONS:
            return None
        mine = {source for source, _ in self._reads(node)}
        first = max((self._home[n] + 1 for n in mine if n in self._home), default=0)
        for number in range(first, len(self.regions)):
            region = self.regions[number]
            if region.kind != node.op or region.domain != _domain(node):
                continue
            lead = region.members[0]
            alike = lead["axes"] == node["axes"] and lead.type == node.type
            if alike and len(region.members) < _MOST_SUMS and mine & self._touched[number]:
                return number
        return None

    def _host(self, node: Node) -> int:
        """The first region that a map or a flag can join, else a new one. It joins one that reads
        or makes something that it reads too: what has nothing in common stays apart, so that layers
        of one kind have kernels of one kind."""
        parts = is_side_by_side(node)
        first, domain = 0, node.operands[0].shape if parts or is_flag(node) else node.shape
        for source, same_place in self._reads(node):
            if source in self._home:
                first = max(first, self._home[source] + (not same_place))
        hosts, mine = ("map",) if parts else _HOSTS, {source for source, _ in self._reads(node)}
        for number in range(first, len(self.regions)):
            region = self.regions[number]
            if region.domain == domain and region.kind in hosts and mine & self._touched[number]:
                return number
        return self._begin(Region("map", domain, None))

    def _drop_unread(self, graph: Graph) -> None:
        """Values that only their own region reads, at the same place, stay in registers."""
        read_elsewhere = set(graph.outputs)
        for region in self.regions:
            inside = set(region.members)
            for node in region.members:
                for source, same_place in self._reads(node):
                    if source not in inside or not same_place or node is region.lead:
                        read_elsewhere.add(source)
        # Reading through a view of an output means its memory is read.
        for node in graph.outputs:
            while node.op in VIEWS:
                (node,) = node.operands
                read_elsewhere.add(node)
        for region in self.regions:
            all_of_it = region.kind in WITH_BODY
            region.stored = [
                n for n in region.members if all_of_it or n in read_elsewhere or is_flag(n)
            ]


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
    seen: set[tuple[Node, bool]] = set()

    def visit(current: Node, same_place: bool) -> None:
        if (current, same_place) in seen:
            return
        seen.add((current, same_place))
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
