"""The micro-kernel: a tile of sums in registers while the summed axes run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.graph.types import short_name
from chainrule.native.contract.plans import Operand, Plan
from chainrule.native.ir import Function, Value, index
from chainrule.native.places import Coordinate, Rows, plus, scaled
from chainrule.native.writer import Writer, tail_mask

Index = dict[str, Value]
_LINE = 64  # bytes


@dataclass(frozen=True)
class Panel:
    """Columns of the right operand, packed: step after step, vector beside vector."""

    address: Value
    first: Value  # where the first summed letter was when it was packed
    vectors: int


@dataclass(frozen=True)
class Columns:
    """The columns of one tile: how many vectors, and how many numbers in the last."""

    vectors: int
    width: int
    lanes: int

    def mask(self, number: int) -> Value | None:
        """The lanes of a vector that are columns of the result; None for all."""
        left = self.width - number * self.lanes
        return None if not self.lanes or left >= self.lanes else tail_mask(self.lanes, left)


def accumulate(
    w: Writer,
    p: Plan,
    kind: str,
    at: Index,
    rows: int,
    columns: Columns,
    panel: Panel | None,
    bounds: tuple[Value, Value] | None,
    start: Callable[[int, int], Value],
) -> list[list[Value]]:
    """The sums of `rows` x `columns.vectors` vectors, each from `start(row, vector)` on.

    `bounds` is the range of the first summed letter, or None for all of it.
    """
    fn, lanes = w.fn, columns.lanes
    slots = [[fn.slot(kind, lanes) for _ in range(columns.vectors)] for _ in range(rows)]
    for r, line in enumerate(slots):
        for v, slot in enumerate(line):
            fn.put(slot, start(r, v))

    def step(inner: Index) -> None:
        right = _right(w, p, inner, columns, panel, kind)
        starts = _row_starts(w, p, inner, rows)
        if p.skips:
            soon = plus(fn, starts[0], index(_LINE // p.itemsize))
            fn.prefetch(fn.at(w.pointers[p.left.memory], soon, kind), write=False, nearest=False)
        for there, line in zip(starts, slots, strict=True):
            left = _factors(w, p.left, p.column, there, columns)
            for x, y, slot in zip(left, right, line, strict=True):
                fn.put(slot, multiply_add(fn, x, y, fn.get(slot, kind, lanes)))

    summed_loops(fn, p, at, bounds, step)
    return [[fn.get(slot, kind, lanes) for slot in line] for line in slots]


def _row_starts(w: Writer, p: Plan, at: Index, rows: int) -> list[Value]:
    """Where the left operand's number of each row lies."""
    if p.row and p.row == p.left.chosen:
        places = [plus(w.fn, at[p.row], index(r)) for r in range(rows)]
        return [offset(w, p.left, {**at, p.row: place}) for place in places]
    base, stride = offset(w, p.left, at), p.left.strides.get(p.row, 0)
    return [plus(w.fn, base, index(r * stride)) for r in range(rows)]


def summed_loops(
    fn: Function,
    p: Plan,
    at: Index,
    bounds: tuple[Value, Value] | None,
    body: Callable[[Index], None],
    letters: Sequence[str] | None = None,
) -> None:
    """Loops over the summed letters (or `letters`, the first of them), outermost first."""
    left = list(p.summed if letters is None else letters)
    if not left:
        body(at)
        return
    start, stop = bounds or (index(0), index(p.sizes[left[0]]))
    with fn.loop(start, stop) as k:
        summed_loops(fn, p, {**at, left[0]: k}, None, body, left[1:])


def _right(
    w: Writer, p: Plan, at: Index, columns: Columns, panel: Panel | None, kind: str
) -> list[Value]:
    if panel is None:
        return _factors(w, p.right, p.column, offset(w, p.right, at), columns)
    fn, lanes = w.fn, columns.lanes
    place = packed_step(fn, p, at, panel)
    found = []
    for v in range(columns.vectors):
        there = plus(fn, place, index(v * lanes))
        found.append(fn.load(fn.at(panel.address, there, kind), kind, lanes))
    return found


def packed_step(fn: Function, p: Plan, at: Index, panel: Panel) -> Value:
    """Where in a panel the vectors of this step of the sums begin, in numbers."""
    first, *rest = p.summed
    place = fn.sub(at[first], panel.first) if panel.first.text != "0" else at[first]
    for letter in rest:
        place = plus(fn, scaled(fn, place, p.sizes[letter]), at[letter])
    return scaled(fn, place, panel.vectors * p.tiles.lanes)


def _factors(
    w: Writer, operand: Operand, column: str, start: Value, columns: Columns
) -> list[Value]:
    """An operand's factors for each vector of the tile: one number for all of them where it does
    not vary along the columns."""
    across = operand.strides.get(column, 0)
    if not across:
        w.enter((), 0, None)
        one = w.fn.splat(w.read(operand.memory, Coordinate(start)), columns.lanes)
        return [one] * columns.vectors
    found = []
    for v in range(columns.vectors):
        w.enter((), columns.lanes, columns.mask(v))
        step = index(v * columns.lanes * across)
        found.append(w.read(operand.memory, Coordinate(plus(w.fn, start, step), across)))
    return found


def multiply_add(fn: Function, x: Value, y: Value, total: Value) -> Value:
    """total + x * y, rounded once where the processor can, which is as fast as a product alone;
    elsewhere twice."""
    if not x.is_float:
        return fn.add(total, fn.mul(x, y))
    return fn.intrinsic("fmuladd", x, y, total)


def offset(w: Writer, operand: Operand, at: Index) -> Value:
    """The distance of an operand's number from the start of its memory, in numbers."""
    fn, total = w.fn, index(operand.first)
    for letter, stride in operand.strides.items():
        if letter in at and letter != operand.chosen:
            total = plus(fn, total, scaled(fn, at[letter], stride))
    if operand.rows is not None:
        row = _row(w, operand.rows, at.get(operand.chosen, index(0)))
        total = plus(fn, total, scaled(fn, row, operand.rows.step))
    return total


def _row(w: Writer, rows: Rows, place: Value) -> Value:
    """The number of the row that was chosen for a place along the axis of the rows."""
    fn, kind = w.fn, short_name(rows.memory.type.dtype)
    there = plus(fn, scaled(fn, place, max(rows.strides, key=abs)), index(rows.first))
    return fn.cast(fn.load(fn.at(w.pointers[rows.memory], there, kind), kind), "i64")
