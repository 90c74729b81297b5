"""Regions as loop nests: what a kernel's loops are, as values that print.

Receives: scheduled regions. Returns: a `LoopNest` for each. Next: `module` emits its loops.

A nest is the schedule as data: which axis runs where and how far at a time, which loop threads
share out, how wide vectors are, and for contractions the tile in registers, packing and blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.native.contract.plans import Plan
from chainrule.native.regions import Region, is_flag

_INDENT = "  "


@dataclass(frozen=True)
class Loop:
    """One loop. `step` is how far it goes at a time; `how` is "", "shared", "vector" (lanes of a
    vector, the last masked) or "unrolled"."""

    name: str
    size: int
    step: int = 1
    how: str = ""

    def __str__(self) -> str:
        by = f" by {self.step}" if self.step != 1 else ""
        marks = {"shared": "  # shared out among threads", "vector": "  # a vector at a time"}
        marks["unrolled"] = "  # unrolled"
        return f"for {self.name} in {self.size}{by}:{marks.get(self.how, '')}"


@dataclass(frozen=True)
class LoopNest:
    """The loops of one kernel, outermost first, each statement at its depth."""

    lines: tuple[tuple[int, Loop | str], ...]

    def __str__(self) -> str:
        return "\n".join(f"{_INDENT * depth}{line}" for depth, line in self.lines)

    @property
    def loops(self) -> tuple[Loop, ...]:
        return tuple(line for _, line in self.lines if isinstance(line, Loop))


class _Nest:
    """Collects lines while loops are entered."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Loop | str]] = []
        self.depth = 0

    def enter(self, *loops: Loop) -> None:
        for loop in loops:
            self.lines.append((self.depth, loop))
            self.depth += 1

    def leave(self, count: int) -> None:
        self.depth -= count

    def say(self, *statements: str) -> None:
        self.lines += [(self.depth, s) for s in statements]

    def done(self) -> LoopNest:
        return LoopNest(tuple(self.lines))


def nest_of(
    region: Region, shared: bool, lanes: int, names: dict[Node, str], plan: Plan | None
) -> LoopNest:
    """The loops of a region, whose values are called by `names`; contractions have a `plan`."""
    if plan is not None:
        return _contraction(region, names, plan)
    if region.kind in ("sum", "max", "argmax") and region.lead is not None:
        return _reduction(region, region.lead, shared, lanes, names)
    return _pass(region, shared, lanes, names)


def steps_nest(
    loop: Node, kernels: Sequence[tuple[str, LoopNest]], *, apart: bool = False
) -> LoopNest:
    """A loop over steps, with the kernels of its body inside, each under its heading. `apart` says
    that its rows never meet."""
    nest = _Nest()
    if loop.op == "scan":
        nest.enter(Loop("step", loop["length"], -1 if loop["reverse"] else 1))
    else:
        nest.enter(Loop("step", loop["max_iterations"]))
    if apart:
        nest.say("# each thread takes the same rows in every kernel and step: none waits")
    for heading, inside in kernels:
        nest.say(f"# {heading}")
        nest.lines += [(nest.depth + depth, line) for depth, line in inside.lines]
    if loop.op == "fixed_point":
        nest.say(f"stop if the states changed by {loop['tolerance']:g} of their size or less")
    return nest.done()


def _stores(region: Region, names: dict[Node, str], lead: Node | None = None) -> list[str]:
    """A statement for each value that is put down or noted."""
    told = []
    for node in region.members:
        what = node.op if node is not lead else "the sums"
        if is_flag(node):
            told.append(f"{names[node]} = true if any {names[node.operands[0]]}")
        elif node in region.stored:
            told.append(f"store {names[node]} ({what})")
        elif node is not lead:
            told.append(f"{names[node]} = {node.op}, in registers")
    return told


def _axes(sizes: Sequence[int], shared: bool, lanes: int) -> list[Loop]:
    """A loop for each axis: the first is the one that threads share, the last runs in vectors."""
    loops = []
    for number, size in enumerate(sizes):
        is_last = number == len(sizes) - 1
        how = "shared" if shared and number == 0 else "vector" if is_last else ""
        loops.append(Loop(f"i{number}", size, lanes if is_last else 1, how))
    return loops


def _pass(region: Region, shared: bool, lanes: int, names: dict[Node, str]) -> LoopNest:
    nest = _Nest()
    nest.enter(*_axes(region.domain, shared, lanes))
    nest.say(*_stores(region, names))
    return nest.done()


def _reduction(
    region: Region, lead: Node, shared: bool, lanes: int, names: dict[Node, str]
) -> LoopNest:
    """The axes that stay outside, those that are reduced inside."""
    nest, domain = _Nest(), region.domain
    axes = (lead["axis"],) if lead.op == "argmax" else tuple(lead["axes"])
    kept = [i for i in range(len(domain)) if i not in axes]
    last = len(domain) - 1

    def loop(axis: int, first: bool) -> Loop:
        how = "shared" if shared and first else "vector" if axis == last else ""
        return Loop(f"i{axis}", domain[axis], lanes if axis == last else 1, how)

    outer = [loop(axis, number == 0) for number, axis in enumerate(kept)]
    nest.enter(*outer, *(loop(axis, False) for axis in axes))
    for node in region.members:
        nest.say(f"{names[node]} = {node.op} with {names[node.operands[0]]}")
    nest.leave(len(axes))
    nest.say(*_stores(region, names))
    return nest.done()


def _contraction(region: Region, names: dict[Node, str], p: Plan) -> LoopNest:
    assert region.lead is not None
    nest, tiles = _Nest(), p.tiles
    marks = {False: "", True: "shared"}
    size = math.prod(p.sizes[c] for c in p.outer)
    outer = [Loop(" ".join(p.outer), size, 1, marks[p.shared == "outer"])] if p.outer else []
    if not p.hoisted:
        nest.enter(*outer)
    if p.column:
        columns = Loop(p.column, p.sizes[p.column], tiles.width, marks[p.shared == "columns"])
        nest.enter(columns)
    rows = Loop(p.row, p.sizes[p.row], tiles.rows, marks[p.shared == "rows"]) if p.row else None
    left, right = names[p.left.memory], names[p.right.memory]
    pack = f"pack {right} into {p.panel_steps()} x {tiles.width} numbers"
    tile = f"{tiles.rows} x {tiles.vectors} vectors of {tiles.lanes} in registers"
    summed = [Loop(c, p.sizes[c]) for c in p.summed]
    if p.depth:
        first = summed[0]
        nest.enter(Loop(f"{p.row} (blocks)", p.sizes[p.row], p.block * tiles.rows))
        nest.enter(Loop(first.name, first.size, p.depth))
        summed[0] = Loop(f"{first.name} (inside)", p.depth)
    if p.packed:
        nest.say(pack)
    if p.hoisted:
        nest.enter(*outer)
    if rows is not None:
        nest.enter(rows)
    nest.enter(*summed)
    nest.say(f"tile of {tile} += {left} * {right}")
    nest.leave(len(summed))
    when = f"with the last {p.summed[0]}: " if p.depth else ""
    nest.say(*(f"{when}{told}" for told in _stores(region, names, region.lead)))
    return nest.done()
