"""Which loops a contraction becomes: letters, tiles in registers, blocks in cache, and shares.

The result is computed in tiles of `rows` x (`vectors` * lanes) numbers that stay in registers
while the summed axes run. A panel is what the right operand contributes to one column of tiles.
No choice here changes a bit of the result: each element is summed in one order, by one thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.graph import Node
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.native.contract.costs import (
    FAR,
    MOST_ROWS,
    PAGE,
    SCATTER,
    STORE,
    Shape,
    Tiles,
    best_tiles,
)
from chainrule.native.contract.panels import STACK, depth_of, packing_cost
from chainrule.native.places import Rows, view_of

_DOUBLE = 64  # bytes of vectors that processors work on in two halves
_SMALL = 1 << 17  # bytes that are in cache anyway
_SKIP = 256  # bytes between lines that follow each other
_BLOCK_ROWS = 240  # results of one panel that wait for the rest of their sums


@dataclass(frozen=True)
class Operand:
    """Memory that is read, and its stride for each letter of the contraction."""

    memory: Node
    strides: dict[str, int]
    first: int
    strong: bool  # whether its zeros are strong
    rows: Rows | None = None  # where one letter's rows are chosen by numbers in memory
    chosen: str = ""  # that letter; "" where there is one row


@dataclass(frozen=True)
class Plan:
    """A contraction as loops: which letters run where."""

    row: str  # the letter that tiles run over in rows; "" where there is one row
    column: str  # the letter of vectors; "" where the result has one column
    outer: tuple[str, ...]  # letters of the result that neither tile covers
    summed: tuple[str, ...]  # outermost first
    sizes: dict[str, int]
    left: Operand  # varies along rows: broadcast
    right: Operand  # varies along columns: loaded as vectors
    result: str
    tiles: Tiles
    shared: str  # what threads share out: "outer", "columns", "rows", or "" for nothing
    packed: bool  # whether the right operand is copied panel by panel
    hoisted: bool  # whether a panel is packed once for all outer letters, which run inside
    depth: int  # how far the first summed letter runs before the next tile's turn; 0: to its end
    scattered: bool  # whether the columns of the tiles lie across the result's memory

    @property
    def block(self) -> int:
        """How many tiles wait for the rest of their sums, where sums are taken in parts."""
        return max(1, _BLOCK_ROWS // self.tiles.rows)

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return self.left.memory.type.dtype.itemsize

    @property
    def skips(self) -> bool:
        """Whether rows lie side by side, and each step goes to a line of memory far from the last:
        no processor guesses that the next tiles will need the lines beside them."""
        if self.left.strides.get(self.row) != 1 or self.left.rows is not None or not self.summed:
            return False
        apart = abs(self.left.strides[self.summed[-1]]) * self.itemsize
        large = self.left.memory.type.size * self.itemsize > _SMALL
        return large and apart >= _SKIP

    def steps(self) -> int:
        """How many multiply-adds make one result."""
        return math.prod(self.sizes[c] for c in self.summed)

    def panel_steps(self) -> int:
        """How many vectors of each column lie in a packed panel."""
        if not self.depth:
            return self.steps()
        return self.depth * math.prod(self.sizes[c] for c in self.summed[1:])


def plan(
    node: Node,
    memory: set[Node],
    lanes: int,
    registers: int,
    team: int,
    behind: int = 0,
    grain: int = 0,
) -> Plan:
    """The loops of a contraction for `team` threads. Axes of size 1 are no loops. `behind` is how
    many weights and moments of the result's shape the work behind the sums reads. With a `grain`,
    tiles have so many rows, and threads share rows.

    Vectors run along the last axis of the result; where that is short, they may run along the
    longest axis of the other operand instead, and are scattered at the end. Rows run along any of
    the other operand's axes.
    """
    return min(_plans(node, memory, lanes, registers, team, behind, grain), key=_seconds)[0]


def best_grain(
    products: Sequence[tuple[Node, int]], memory: set[Node], registers: int, team: int, rows: int
) -> int:
    """How many rows the tiles of several products should have that share them out alike. Each
    comes with the lanes of its vectors."""

    def cost(grain: int) -> float:
        found = (_plans(n, memory, lanes, registers, team, 0, grain) for n, lanes in products)
        return sum(_seconds(plans[0]) for plans in found)

    return min(range(1, min(rows, MOST_ROWS) + 1), key=cost)


def _seconds(plan: tuple[Plan, float]) -> float:
    return plan[1]


def _plans(
    node: Node,
    memory: set[Node],
    lanes: int,
    registers: int,
    team: int,
    behind: int,
    grain: int,
) -> list[tuple[Plan, float]]:
    """Plans to choose from, each with its time."""
    left_letters, right_letters, result = split_spec(node["spec"])
    x, y = node.operands
    marks = strong_marks(node["spec"]) if node.type.is_float else ("", "")
    operands = (
        _operand(x, left_letters, memory, bool(marks[0])),
        _operand(y, right_letters, memory, bool(marks[1])),
    )
    sizes = dict(zip(left_letters + right_letters, x.shape + y.shape, strict=True))
    long = [c for c in result if sizes[c] != 1]
    summed = [c for c in left_letters if c not in result and sizes[c] != 1]
    _merge(summed, sizes, operands)
    itemsize = node.type.dtype.itemsize

    def roles(column: str) -> list[_Roles]:
        return _Roles.of(operands, long, summed, sizes, itemsize, column)

    choices = roles(long[-1] if long else "")
    first = max(choices, key=lambda r: sizes.get(r.row, 1))
    if first.row and sizes[first.column] < lanes and not grain:
        choices += roles(first.row)
    found = [_chosen(r, lanes, registers, team, result, behind, grain) for r in choices]
    if lanes * itemsize == _DOUBLE and not grain:
        # Halves of vectors go at twice the pace: for few columns they waste less.
        half, narrow = (
            lanes // 2,
            [r for r in choices if 1 < r.sizes.get(r.column, 0) <= lanes // 2],
        )
        found += [_chosen(r, half, registers, team, result, behind, 0, 0.5) for r in narrow]
    return found


def _merge(summed: list[str], sizes: dict[str, int], operands: Sequence[Operand]) -> None:
    """Makes one loop of two where both operands lie as if the letters were one, such as the time
    and the row of a batch of sequences, or the column and the channel of a window."""

    def are_one(outer: str, inner: str) -> bool:
        pairs = ((x.strides[outer], x.strides[inner]) for x in operands)
        together = all(far == sizes[inner] * near for far, near in pairs)
        return together and not any(x.chosen in (outer, inner) for x in operands)

    pairs = [(outer, inner) for outer in summed for inner in summed if outer != inner]
    for outer, inner in pairs:
        if outer in summed and inner in summed and are_one(outer, inner):
            summed.remove(outer)
            sizes[inner] *= sizes[outer]


@dataclass(frozen=True)
class _Roles:
    """Which letter is what, before tiles are chosen."""

    row: str
    column: str
    outer: tuple[str, ...]
    summed: tuple[str, ...]
    sizes: dict[str, int]
    left: Operand
    right: Operand
    itemsize: int
    scattered: bool

    @staticmethod
    def of(
        operands: tuple[Operand, Operand],
        long: Sequence[str],
        summed: Sequence[str],
        sizes: dict[str, int],
        itemsize: int,
        column: str,
    ) -> list[_Roles]:
        """One for each letter that tiles can run over in rows."""
        left, right = operands
        if column and column not in right.strides:
            left, right = right, left
        others = [c for c in long if c != column]
        rows = [c for c in others if c in left.strides and c not in right.strides]
        # The innermost summed letter should run along memory on the side that is read most.
        order = tuple(sorted(summed, key=lambda c: -abs(right.strides[c])))
        scattered = bool(column) and column != long[-1]
        found = []
        for row in rows or [""]:
            outer = tuple(c for c in others if c != row)
            settings = (order, sizes, left, right, itemsize, scattered)
            found.append(_Roles(row, column, outer, *settings))
        return found

    def store(self, result: str, lanes: int) -> float:
        """Cycles for finishing one vector of results."""
        if self.scattered:
            return SCATTER * lanes
        if not self.row:
            return STORE
        behind = result[result.index(self.row) + 1 :]
        return FAR if self.product(behind) * self.itemsize >= PAGE else STORE

    def product(self, letters: Sequence[str]) -> int:
        return math.prod(self.sizes[c] for c in letters)

    def panel(self, depth: int) -> int:
        """How many vectors of each column lie in a packed panel."""
        return (depth or self.sizes[self.summed[0]]) * self.product(self.summed[1:])


def _chosen(
    roles: _Roles,
    lanes: int,
    registers: int,
    team: int,
    result: str,
    behind: int,
    grain: int,
    pace: float = 1.0,
) -> tuple[Plan, float]:
    """The best plan for these roles, and its time."""
    shape = Shape(
        roles.sizes.get(roles.row, 1),
        roles.sizes.get(roles.column, 1),
        roles.product(roles.outer),
        roles.product(roles.summed),
        roles.product(roles.summed[-1:]),
        roles.itemsize,
        lanes,
        abs(roles.left.strides.get(roles.row, 0)) * roles.itemsize,
        roles.store(result, lanes),
        behind,
        roles.left.memory.type.size,
        roles.right.memory.type.size,
        not any(roles.right.strides.get(c) for c in roles.outer),
        roles.product(roles.outer),
        pace,
    )
    # A panel that is the same for all outer letters is packed once, if it is not packed in parts.
    free = shape.is_same_right
    packing = packing_cost(
        roles.right.strides, roles.column, roles.summed, roles.sizes, shape, free=free
    )
    free, lanes = free and packing > 0, lanes if roles.column else 1
    once = replace(shape, packings=1) if free else shape
    tiles, shared, cost = best_tiles(once, lanes, registers, team, packing, grain)
    depth = depth_of(shape, tiles, roles.summed, roles.sizes)
    if depth and free:
        tiles, shared, cost = best_tiles(shape, lanes, registers, team, packing, grain)
        depth = depth_of(shape, tiles, roles.summed, roles.sizes)
    if packing and roles.panel(depth) * tiles.width * roles.itemsize > STACK:
        packing = 0.0
        tiles, shared, cost = best_tiles(shape, lanes, registers, team, packing, grain)
        depth = depth_of(shape, tiles, roles.summed, roles.sizes)
    chosen = Plan(
        roles.row,
        roles.column,
        roles.outer,
        roles.summed,
        roles.sizes,
        roles.left,
        roles.right,
        result,
        tiles,
        "rows" if grain else shared,
        packing > 0,
        free and packing > 0 and bool(roles.outer) and not depth,
        depth,
        roles.scattered,
    )
    return chosen, cost


def _operand(node: Node, letters: str, memory: set[Node], strong: bool) -> Operand:
    view = view_of(node, memory)
    strides = dict(zip(letters, view.strides, strict=True))
    if view.rows is None:
        return Operand(view.memory, strides, view.first, strong)
    chosen = next((c for c, n in zip(letters, view.rows.strides, strict=True) if n), "")
    if chosen:
        strides[chosen] = view.rows.step
    return Operand(view.memory, strides, view.first, strong, view.rows, chosen)
