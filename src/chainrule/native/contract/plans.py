"""Which loops a contraction becomes: letters, tiles in registers, blocks in cache, and shares.

The result is computed in tiles of `rows` x (`vectors` * lanes) numbers that stay in registers
while the summed axes run. A panel is what the right operand contributes to one column of tiles.
No choice here changes a bit of the result: each element is summed in one order, by one thread.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.native.places import Rows, view_of

# Measured on Zen 4 with AVX-512, in cycles; only their proportions matter.
_LATENCY = 4  # of a multiply-add: fewer sums at a time wait for each other
_BROADCAST = 0.5  # loading one number for all lanes
_STREAM = 0.05  # each further row that is read at once
_CROWDED = 0.3  # of a step: each row more than the ways of a cache that meet in one set of it
_TILE = 14  # beginning and ending a tile
_STORE = 3  # finishing one vector of results
_SCATTER = 4  # finishing one number of a vector that lies across the results
_TURN = 8  # packing one vector that lies across memory
_COPY = 3  # packing one vector that lies along memory

_BORDER = 20  # a row of results that two threads write: they fetch lines from each other
_LINE = 10  # a cache line that another thread may have written: it comes from there

_VARIANT = 0.02  # what a tile of another size may save before it is worth compiling

_PAGE = 4096  # bytes after which lines meet in the same set of the first-level cache
_WAYS = 6  # lines of one set that the rows may have; the others are for the columns

_PANEL_BYTES = 320 * 1024  # of a packed panel: it stays in the second-level cache beside the rest
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
class Tiles:
    """The block of results that is kept in registers."""

    rows: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """The columns of a panel."""
        return self.vectors * self.lanes


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
    depth: int  # how far the first summed letter runs before the next tile's turn; 0: to its end
    scattered: bool  # whether the columns of the tiles lie across the result's memory

    @property
    def block(self) -> int:
        """How many tiles wait for the rest of their sums, where sums are taken in parts."""
        return max(1, _BLOCK_ROWS // self.tiles.rows)

    def steps(self) -> int:
        """How many multiply-adds make one result."""
        return math.prod(self.sizes[c] for c in self.summed)

    def panel_steps(self) -> int:
        """How many vectors of each column lie in a packed panel."""
        if not self.depth:
            return self.steps()
        return self.depth * math.prod(self.sizes[c] for c in self.summed[1:])


def plan(
    node: Node, memory: set[Node], lanes: int, registers: int, team: int, behind: int = 0
) -> Plan:
    """The loops of a contraction for `team` threads. Axes of size 1 are no loops. `behind` is how
    many weights and moments of the result's shape the work behind the sums reads.

    Vectors run along the last axis of the result; where that is short, they may run along the
    longest axis of the other operand instead, and are scattered at the end.
    """
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
    itemsize = node.type.dtype.itemsize
    first = _Roles.of(operands, long, summed, sizes, itemsize, long[-1] if long else "")
    found = [_chosen(first, lanes, registers, team, result, behind)]
    if first.row and sizes[first.column] < lanes:
        turned = _Roles.of(operands, long, summed, sizes, itemsize, first.row)
        found.append(_chosen(turned, lanes, registers, team, result, behind))
    return min(found, key=lambda pair: pair[1])[0]


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
    ) -> _Roles:
        left, right = operands
        if column and column not in right.strides:
            left, right = right, left
        others = [c for c in long if c != column]
        rows = [c for c in others if c in left.strides and c not in right.strides]
        row = max(rows, key=lambda c: sizes[c]) if rows else ""
        # The innermost summed letter should run along memory on the side that is read most.
        order = tuple(sorted(summed, key=lambda c: -abs(right.strides[c])))
        outer = tuple(c for c in others if c != row)
        scattered = bool(column) and column != long[-1]
        return _Roles(row, column, outer, order, sizes, left, right, itemsize, scattered)

    def product(self, letters: Sequence[str]) -> int:
        return math.prod(self.sizes[c] for c in letters)


def _chosen(
    roles: _Roles, lanes: int, registers: int, team: int, result: str, behind: int
) -> tuple[Plan, float]:
    """The best plan for these roles, and its time."""
    shape = _Shape(
        roles.sizes.get(roles.row, 1),
        roles.sizes.get(roles.column, 1),
        roles.product(roles.outer),
        roles.product(roles.summed),
        roles.itemsize,
        abs(roles.left.strides.get(roles.row, 0)) * roles.itemsize,
        _SCATTER * lanes if roles.scattered else _STORE,
        behind,
    )
    packing = _packing(roles.right, roles.column, roles.summed, shape)
    tiles, shared, cost = _best(shape, lanes if roles.column else 1, registers, team, packing)
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
        shared,
        packing > 0,
        _depth(shape, tiles, roles.summed, roles.sizes),
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


@dataclass(frozen=True)
class _Shape:
    rows: int
    columns: int
    outer: int
    steps: int
    itemsize: int
    apart: int  # bytes between two rows of the left operand
    store: float  # cycles for finishing one vector of results
    behind: int  # weights and moments that are read behind each sum, and changed

    @property
    def foreign_left(self) -> float:
        """Cycles for reading all of the left operand, as threads do that share columns."""
        return _LINE / 64 * self.itemsize * self.rows * self.steps

    @property
    def foreign_right(self) -> float:
        """Cycles for reading all of the right operand, as threads do that share rows; and for what
        lies behind the sums, which other kernels share by columns."""
        return _LINE / 64 * self.itemsize * self.columns * (self.steps + self.behind * self.rows)


def _packing(right: Operand, column: str, summed: Sequence[str], shape: _Shape) -> float:
    """Cycles for packing a vector of the right operand, or 0 where it is read where it lies.

    What lies across memory would be gathered anew for each row of tiles. What lies along memory is
    packed where rows far apart would push each other out of the cache.
    """
    if not column or not summed or shape.rows < 4:
        return 0
    if right.strides[column] not in (0, 1):
        return _TURN
    apart = max(abs(right.strides[c]) for c in summed) * shape.itemsize
    if shape.rows >= 48 and shape.steps >= 48 and apart >= _PAGE:
        return _COPY
    return 0


def _depth(shape: _Shape, tiles: Tiles, summed: Sequence[str], sizes: dict[str, int]) -> int:
    """Sums too long for a panel to stay in the cache are taken in parts of equal length."""
    panel = shape.steps * tiles.width * shape.itemsize
    if panel <= _PANEL_BYTES or shape.rows <= tiles.rows:
        return 0
    size = sizes[summed[0]]
    parts = min(-(-2 * panel // _PANEL_BYTES), size)
    return -(-size // parts)


def _best(
    shape: _Shape, lanes: int, registers: int, team: int, packing: float
) -> tuple[Tiles, str, float]:
    """The tiles and the share with the shortest time of the slowest thread, and that time."""
    best, best_cost = (Tiles(1, 1, lanes), ""), math.inf
    for vectors in (1, 2, 3, 4):
        if vectors > 1 and (vectors - 1) * lanes >= shape.columns:
            continue
        for rows in range(1, 29):
            if rows * vectors + vectors + 1 > registers or rows > max(shape.rows, 1):
                continue
            tiles = Tiles(rows, vectors, lanes)
            for shared, cost in _costs(shape, tiles, team, packing):
                cost *= 1 + _VARIANT * (_variants(shape, tiles) - 1)
                if cost < best_cost:
                    best, best_cost = (tiles, shared), cost
    return *best, best_cost


def _variants(shape: _Shape, tiles: Tiles) -> int:
    """How many tiles of different sizes there are: each is code of its own."""
    rows = min(shape.rows // tiles.rows, 1) + (shape.rows % tiles.rows > 0)
    columns = min(shape.columns // tiles.width, 1) + (shape.columns % tiles.width > 0)
    return rows * columns


def _costs(shape: _Shape, tiles: Tiles, team: int, packing: float) -> Iterator[tuple[str, float]]:
    """The time of the slowest thread for each way of sharing."""
    rows, columns = divmod(shape.rows, tiles.rows), divmod(shape.columns, tiles.width)
    vectors = tiles.vectors, -(-columns[1] // tiles.lanes)
    pack = [shape.steps * v * packing for v in vectors]

    def time(height: int, v: int) -> float:
        return _tile_time(height, v, shape) if height and v else 0.0

    def panel(v: int) -> float:
        return rows[0] * time(tiles.rows, v) + time(rows[1], v)

    def line(height: int) -> float:
        return columns[0] * time(height, vectors[0]) + time(height, vectors[1])

    packs = columns[0] * pack[0] + pack[1]
    whole = columns[0] * panel(vectors[0]) + panel(vectors[1]) + packs
    if team == 1:
        yield "", whole * shape.outer
        return
    if shape.outer > 1:
        yield "outer", whole * (-(-shape.outer // team))
    wide, narrow = panel(vectors[0]) + pack[0], panel(vectors[1]) + pack[1]
    slowest = _slowest(columns[0], wide, columns[1] > 0, narrow, team)
    yield "columns", (slowest + _BORDER * shape.rows + shape.foreign_left) * shape.outer
    tall, low = line(tiles.rows), line(rows[1])
    slowest = _slowest(rows[0], tall, rows[1] > 0, low, team)
    yield "rows", (slowest + packs + shape.foreign_right) * shape.outer


def _tile_time(rows: int, vectors: int, shape: _Shape) -> float:
    each = max(rows * vectors, vectors + _BROADCAST * rows, _LATENCY) + _STREAM * rows
    if shape.apart:
        meeting = rows * math.gcd(shape.apart, _PAGE) / _PAGE
        each *= 1 + _CROWDED * max(0.0, meeting - _WAYS)
    return shape.steps * each + _TILE + shape.store * rows * vectors


def _slowest(full: int, cost: float, rest: bool, last: float, team: int) -> float:
    """The largest share of `full` parts and a last one, as `Function.share` deals them out."""
    count = full + rest
    bounds = [thread * count // team for thread in range(team + 1)]
    shares = [(b - a) * cost for a, b in itertools.pairwise(bounds)]
    if rest and bounds[-2] < count:
        shares[-1] += last - cost
    return max(shares)
