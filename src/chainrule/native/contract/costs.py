"""What a contraction's tiles cost: a small model of the processor, and the choice by it.

No choice here changes a bit of the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

# Measured on Zen 4 with AVX-512, in cycles; only their proportions matter.
_LATENCY = 4  # of a multiply-add: fewer sums at a time wait for each other
_BROADCAST = 0.5  # loading one number for all lanes
_FROM_SECOND = 4  # loading a vector from the second-level cache
_FROM_THIRD = 8  # and from beyond
_STREAM = 0.05  # each further row that is read at once
_NEIGHBOUR = 0.02  # the same where rows follow each other closely in memory
_CLOSE = 512  # bytes between such rows at most
_LOOP = 4  # beginning and ending an innermost loop
_CROWDED = 0.3  # of a step: each row more than the ways of a cache that meet in one set of it
_TILE = 14  # beginning and ending a tile
STORE = 3  # finishing one vector of results
FAR = 12  # the same where the rows of a tile lie pages apart in the results
SCATTER = 4  # finishing one number of a vector that lies across the results
TURN = 8  # packing one vector that lies across memory
COPY = 3  # packing one vector that lies along memory

_BORDER = 20  # a row of results that two threads write: they fetch lines from each other
_LINE = 10  # a cache line that another thread may have written: it comes from there

_VARIANT = 0.02  # what a tile of another size may save before it is worth compiling

MOST_ROWS = 28  # of a tile
PAGE = 4096  # bytes after which lines meet in the same set of the first-level cache
_NEAR = 24 * 1024  # bytes of a panel that stay in the first-level cache beside the rest
PANEL_BYTES = 320 * 1024  # of a panel that stays in the second-level cache beside the rest
_WAYS = 6  # lines of one set that the rows may have; the others are for the columns


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
class Shape:
    """A contraction in numbers: how many rows, columns and other results, and steps of the sums."""

    rows: int
    columns: int
    outer: int
    steps: int
    inner: int  # of them: those of the innermost loop
    itemsize: int
    lanes: int  # of a vector
    apart: int  # bytes between two rows of the left operand
    store: float  # cycles for finishing one vector of results
    behind: int  # weights and moments that are read behind each sum, and changed
    left: int  # numbers that lie in the memory of the left operand
    right: int
    is_same_right: bool  # for all outer letters
    packings: int  # how often the right operand is packed, where it is
    pace: float = 1.0  # cycles for working on one vector: half as many for half a vector

    @property
    def foreign_left(self) -> float:
        """Cycles for reading all of the left operand, as threads do that share columns."""
        return self._foreign(min(self.rows * self.steps * self.outer, self.left))

    @property
    def foreign_right(self) -> float:
        """Cycles for reading all of the right operand, as threads do that share rows."""
        return self._foreign(min(self.columns * self.steps * self.outer, self.right))

    @property
    def foreign_behind(self) -> float:
        """Cycles for what lies behind the sums, which other kernels share by columns."""
        return self._foreign(self.columns * self.behind * self.rows * self.outer)

    def _foreign(self, numbers: int) -> float:
        return _LINE / 64 * self.itemsize * numbers


def best_tiles(
    shape: Shape, lanes: int, registers: int, team: int, packing: float, grain: int
) -> tuple[Tiles, str, float]:
    """The tiles and the share with the shortest time of the slowest thread, and that time."""
    best, best_cost = (Tiles(grain or 1, 1, lanes), ""), math.inf
    for vectors in (1, 2, 3, 4):
        if vectors > 1 and (vectors - 1) * lanes >= shape.columns:
            continue
        for rows in range(grain or 1, (grain or MOST_ROWS) + 1):
            if rows * vectors + vectors + 1 > registers or rows > max(shape.rows, 1):
                continue
            tiles = Tiles(rows, vectors, lanes)
            for shared, cost in _costs(shape, tiles, team, packing):
                if grain and shared not in ("rows", ""):
                    continue
                cost *= 1 + _VARIANT * (_variants(shape, tiles) - 1)
                if cost < best_cost:
                    best, best_cost = (tiles, shared), cost
    return *best, best_cost


def _variants(shape: Shape, tiles: Tiles) -> int:
    """How many tiles of different sizes there are: each is code of its own."""
    rows = min(shape.rows // tiles.rows, 1) + (shape.rows % tiles.rows > 0)
    columns = min(shape.columns // tiles.width, 1) + (shape.columns % tiles.width > 0)
    return rows * columns


def _costs(shape: Shape, tiles: Tiles, team: int, packing: float) -> Iterator[tuple[str, float]]:
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

    outer, often = shape.outer, shape.packings
    packs = columns[0] * pack[0] + pack[1]
    whole = columns[0] * panel(vectors[0]) + panel(vectors[1])
    if team == 1:
        yield "", whole * outer + packs * often
        return
    if outer > 1:
        share = -(-outer // team)
        foreign = shape.foreign_right if shape.is_same_right else 0.0
        yield "outer", whole * share + packs * min(often, share) + foreign
    wide, narrow = (panel(v) * outer + p * often for v, p in zip(vectors, pack, strict=True))
    slowest = _slowest(columns[0], wide, columns[1] > 0, narrow, team)
    yield "columns", slowest + _BORDER * shape.rows * outer + shape.foreign_left
    tall, low = line(tiles.rows), line(rows[1])
    slowest = _slowest(rows[0], tall, rows[1] > 0, low, team)
    yield "rows", slowest * outer + shape.foreign_right + shape.foreign_behind + packs * often


def _tile_time(rows: int, vectors: int, shape: Shape) -> float:
    load = _load(shape, rows, vectors)
    work = shape.pace * vectors
    each = max(rows * work, load * work, work + _BROADCAST * rows, _LATENCY)
    each += (_NEIGHBOUR if shape.apart <= _CLOSE else _STREAM) * rows
    if shape.apart:
        meeting = rows * math.gcd(shape.apart, PAGE) / PAGE
        each *= 1 + _CROWDED * max(0.0, meeting - _WAYS)
    loops = shape.steps / max(shape.inner, 1)
    return shape.steps * each + _LOOP * loops + _TILE + shape.store * rows * vectors


def _load(shape: Shape, rows: int, vectors: int) -> float:
    """Loading one vector of the right operand. Sums over more than the cache holds are taken in
    parts, where there is more than one tile of rows to take them for."""
    panel = shape.steps * vectors * shape.lanes * shape.itemsize
    if panel <= _NEAR:
        return 1
    in_cache = panel <= PANEL_BYTES or shape.rows > rows
    return _FROM_SECOND if in_cache else _FROM_THIRD


def _slowest(full: int, cost: float, rest: bool, last: float, team: int) -> float:
    """The largest share of `full` parts and a last one, as `Function.share` deals them out."""
    count = full + rest
    bounds = [thread * count // team for thread in range(team + 1)]
    shares = [(b - a) * cost for a, b in itertools.pairwise(bounds)]
    if rest and bounds[-2] < count:
        shares[-1] += last - cost
    return max(shares)
