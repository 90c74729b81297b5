"""Contractions: a micro-kernel for each shape.

The result is computed in tiles of `rows` x (`vectors` * lanes) that stay in registers while the
summed axes run: for each step one vector load per column block, one broadcast per row, and a fused
multiply-add for each pair. What is elementwise and comes after is applied to the tile before it is
stored. No tile is shared between threads, and each element is summed in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.graph.types import short_name
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.maps import computed
from chainrule.native.places import (
    Coordinate,
    Place,
    offset_of,
    plus,
    row_major,
    scaled,
    view_strides,
)
from chainrule.native.regions import Region
from chainrule.native.writer import Writer, tail_mask


@dataclass(frozen=True)
class Operand:
    """Memory that is read, and its stride for each letter of the contraction."""

    memory: Node
    strides: dict[str, int]
    first: int
    strong: bool  # whether its zeros are strong


@dataclass(frozen=True)
class Tiles:
    """The block of results that is kept in registers."""

    rows: int
    vectors: int
    lanes: int


@dataclass(frozen=True)
class Plan:
    """A contraction as loops: which letters run where."""

    row: str  # the letter that tiles run over in rows; "" where there is one row
    column: str  # the letter of vectors; "" where the result has no axes
    outer: tuple[str, ...]  # letters of the result that neither tile covers
    summed: tuple[str, ...]
    sizes: dict[str, int]
    left: Operand  # varies along rows: broadcast
    right: Operand  # varies along columns: loaded as vectors
    result: str
    tiles: Tiles


def plan(node: Node, memory: set[Node], lanes: int, registers: int) -> Plan:
    """Chooses the letters, swaps the operands so that columns belong to the right one, and picks
    the tile that makes most of the registers."""
    left_letters, right_letters, result = split_spec(node["spec"])
    x, y = node.operands
    marks = strong_marks(node["spec"]) if node.type.is_float else ("", "")
    sizes = dict(zip(left_letters + right_letters, x.shape + y.shape, strict=True))
    left = _operand(x, left_letters, memory, bool(marks[0]))
    right = _operand(y, right_letters, memory, bool(marks[1]))
    column = result[-1] if result else ""
    if column and column not in right.strides:
        left, right = right, left
    rows = [c for c in result[:-1] if c in left.strides and c not in right.strides]
    row = max(rows, key=lambda c: sizes[c]) if rows else ""
    summed = tuple(c for c in left_letters if c not in result)
    # The innermost summed letter should run along memory on the side that is read most.
    summed = tuple(sorted(summed, key=lambda c: -right.strides[c]))
    outer = tuple(c for c in result if c not in (row, column))
    tiles = choose_tiles(sizes.get(row, 1), sizes.get(column, 1), lanes, registers)
    return Plan(row, column, outer, summed, sizes, left, right, result, tiles)


def _operand(node: Node, letters: str, memory: set[Node], strong: bool) -> Operand:
    behind, strides, first = view_strides(node, memory)
    return Operand(behind, dict(zip(letters, strides, strict=True)), first, strong)


def choose_tiles(rows: int, columns: int, lanes: int, registers: int) -> Tiles:
    """The tile with the fewest loads per multiply-add among those that fit the registers, after
    what the edges waste."""
    best, best_cost = Tiles(1, 1, lanes), float("inf")
    for vectors in (1, 2, 3, 4):
        for count in range(1, 17):
            used = count * vectors + vectors + 1
            if used > registers or (vectors > 1 and (vectors - 1) * lanes >= columns):
                continue
            if count > rows:
                continue
            row_steps = -(-rows // count)
            column_steps = -(-columns // (vectors * lanes))
            # A short last tile takes as long as a full one.
            work = row_steps * column_steps * max(count * vectors, 8)
            loads = row_steps * column_steps * (count + vectors)
            cost = work + 0.5 * loads
            if cost < best_cost:
                best, best_cost = Tiles(count, vectors, lanes), cost
    return best


Index = dict[str, Value]


def emit_contract(w: Writer, region: Region, lanes: int, registers: int) -> None:
    """The whole contraction, tile by tile."""
    node = region.lead
    assert node is not None
    p = plan(node, w.memory, lanes, registers)
    _outer_loops(w, p, list(p.outer), {}, lambda at: _columns(w, region, p, at))


def _outer_loops(
    w: Writer, p: Plan, letters: Sequence[str], at: Index, body: Callable[[Index], None]
) -> None:
    if not letters:
        body(at)
        return
    start, stop = w.split(p.sizes[letters[0]])
    with w.fn.loop(start, stop) as i:
        _outer_loops(w, p, letters[1:], {**at, letters[0]: i}, body)


def _columns(w: Writer, region: Region, p: Plan, at: Index) -> None:
    """Column blocks outside, row blocks inside: the right operand's block stays in cache."""
    lanes, vectors = p.tiles.lanes, p.tiles.vectors
    if not p.column:
        _rows(w, region, p, at, 1, 1)
        return
    size = p.sizes[p.column]
    width = vectors * lanes
    blocks = size // width
    full = blocks * width
    fn, shared = w.fn, w.parallel
    here = shared and blocks >= p.sizes.get(p.row, 1) // p.tiles.rows
    w.parallel = shared and not here
    if blocks:
        start, stop = fn.share(blocks) if here else (index(0), index(blocks))
        with fn.loop(start, stop) as block:
            _rows(w, region, p, {**at, p.column: scaled(fn, block, width)}, vectors, width)
    if size - full:
        rest = size - full
        with fn.when(fn.is_last_thread()) if here else nullcontext():
            _rows(w, region, p, {**at, p.column: index(full)}, -(-rest // lanes), rest)


def _rows(w: Writer, region: Region, p: Plan, at: Index, vectors: int, width: int) -> None:
    count = p.sizes.get(p.row, 1) if p.row else 1
    fn, rows, shared = w.fn, p.tiles.rows, w.parallel
    blocks = count // rows
    full = blocks * rows
    if not p.row:
        with fn.when(fn.is_last_thread()) if shared else nullcontext():
            _tile(w, region, p, at, 1, vectors, width)
        return
    if blocks:
        start, stop = fn.share(blocks) if shared else (index(0), index(blocks))
        with fn.loop(start, stop) as block:
            _tile(w, region, p, {**at, p.row: scaled(fn, block, rows)}, rows, vectors, width)
    if count - full:
        with fn.when(fn.is_last_thread()) if shared else nullcontext():
            _tile(w, region, p, {**at, p.row: index(full)}, count - full, vectors, width)


def _tile(
    w: Writer, region: Region, p: Plan, at: Index, rows: int, vectors: int, width: int
) -> None:
    """One block of results: `rows` rows of `width` columns in `vectors` vectors."""
    fn, node = w.fn, region.lead
    assert node is not None
    kind = short_name(node.type.dtype)
    lanes = p.tiles.lanes if p.column else 0
    masks = [_mask(lanes, width - v * lanes) for v in range(vectors)]
    zero = fn.splat(literal(0, kind), lanes)
    slots = [[fn.slot(kind, lanes) for _ in range(vectors)] for _ in range(rows)]

    def run(strong: bool) -> None:
        for line in slots:
            for slot in line:
                fn.put(slot, zero)
        _summed_loops(w, p, list(p.summed), at, rows, masks, slots, kind, lanes, strong)

    run(strong=False)
    if p.left.strong or p.right.strong:
        odd = _not_finite(fn, slots, kind, lanes)
        with fn.when(odd):
            run(strong=True)
    for r in range(rows):
        for v in range(vectors):
            _finish(w, region, p, at, r, v, fn.get(slots[r][v], kind, lanes), masks[v])


def _mask(lanes: int, left: int) -> Value | None:
    return None if not lanes or left >= lanes else tail_mask(lanes, left)


def _summed_loops(
    w: Writer,
    p: Plan,
    letters: Sequence[str],
    at: Index,
    rows: int,
    masks: Sequence[Value | None],
    slots: Sequence[Sequence[Value]],
    kind: str,
    lanes: int,
    strong: bool,
) -> None:
    if letters:
        with w.fn.loop(index(0), index(p.sizes[letters[0]])) as k:
            inner = {**at, letters[0]: k}
            _summed_loops(w, p, letters[1:], inner, rows, masks, slots, kind, lanes, strong)
        return
    fn = w.fn
    columns = _factors(w, p.right, p.column, _offset(fn, p.right, at), masks, lanes)
    left = _offset(fn, p.left, at)
    for r in range(rows):
        there = plus(fn, left, index(r * p.left.strides.get(p.row, 0)))
        values = _factors(w, p.left, p.column, there, masks, lanes)
        for x, y, slot in zip(values, columns, slots[r], strict=True):
            before = fn.get(slot, kind, lanes)
            fn.put(slot, _accumulate(fn, before, x, y, p, strong))


def _factors(
    w: Writer,
    operand: Operand,
    column: str,
    start: Value,
    masks: Sequence[Value | None],
    lanes: int,
) -> list[Value]:
    """An operand's factors for each vector of the tile: one number for all of them where it does
    not vary along the columns."""
    across = operand.strides.get(column, 0)
    if not across:
        w.enter((), 0, None)
        return [w.fn.splat(w.read(operand.memory, Coordinate(start)), lanes)] * len(masks)
    found = []
    for v, mask in enumerate(masks):
        w.enter((), lanes, mask)
        step = index(v * lanes * across)
        found.append(w.read(operand.memory, Coordinate(plus(w.fn, start, step), across)))
    return found


def _accumulate(fn: Function, total: Value, x: Value, y: Value, p: Plan, strong: bool) -> Value:
    if not x.is_float:
        return fn.add(total, fn.mul(x, y))
    grown = fn.fma(x, y, total)
    if not strong:
        return grown
    for factor, operand in ((x, p.left), (y, p.right)):
        if operand.strong:
            grown = fn.select(fn.compare("eq", factor, fn.same(factor, 0)), total, grown)
    return grown


def _offset(fn: Function, operand: Operand, at: Index) -> Value:
    total = index(operand.first)
    for letter, stride in operand.strides.items():
        if letter in at:
            total = plus(fn, total, scaled(fn, at[letter], stride))
    return total


def _not_finite(fn: Function, slots: Sequence[Sequence[Value]], kind: str, lanes: int) -> Value:
    """Whether any result of the tile is infinite or NaN: x - x is 0 unless it is."""
    total: Value | None = None
    for line in slots:
        for slot in line:
            x = fn.get(slot, kind, lanes)
            gone = fn.sub(x, x)
            total = gone if total is None else fn.add(total, gone)
    assert total is not None
    return fn.any(fn.let(f"fcmp uno {total}, {total.text}", "bool", lanes))


def _finish(
    w: Writer, region: Region, p: Plan, at: Index, r: int, v: int, x: Value, mask: Value | None
) -> None:
    """The elementwise work behind the contraction, and the stores."""
    fn, node = w.fn, region.lead
    assert node is not None
    coordinates = {c: Coordinate(i) for c, i in at.items()}
    if p.row:
        coordinates[p.row] = Coordinate(plus(fn, at[p.row], index(r)))
    if p.column:
        start = plus(fn, at[p.column], index(v * p.tiles.lanes))
        coordinates[p.column] = Coordinate(start, 1)
    place: Place = tuple(coordinates[c] for c in p.result)
    w.enter(place, x.lanes, mask)
    w.known[node] = x
    for member in region.members:
        value = x if member is node else computed(w, member, place)
        if member in region.stored:
            w.write(member, value, offset_of(fn, place, row_major(member.shape)))
