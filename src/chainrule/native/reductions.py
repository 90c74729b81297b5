"""Sums, maxima and their indices over axes, each in one fixed order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native import elementwise
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.places import Coordinate, Place, affine, offset_of, row_major, scaled
from chainrule.native.regions import Region
from chainrule.native.writer import FEW, Writer, few_or_nest, nest, vector_axis

_SUMS = 12  # vectors of sums at a time


def combine(fn: Function, op: str, x: Value, y: Value) -> Value:
    """One more element taken into a sum or a maximum."""
    if op == "sum":
        return fn.add(x, y)
    if x.kind == "bool":
        return fn.binary("or", x, y)
    return elementwise.maximum(fn, x, y)


def across(fn: Function, op: str, x: Value) -> Value:
    """All lanes combined, as a balanced tree: always in the same order."""
    lanes = x.lanes
    while lanes > 1:
        half = lanes // 2
        picks = [", ".join(f"i32 {i}" for i in range(a, a + half)) for a in (0, half)]
        low, high = (
            fn.let(
                f"shufflevector {x}, {Value('poison', x.kind, lanes)}, <{half} x i32> <{pick}>",
                x.kind,
                half,
            )
            for pick in picks
        )
        x, lanes = combine(fn, op, low, high), half
    return fn.extract(x, 0)


def emit_reduction(w: Writer, region: Region, lanes: int) -> None:
    """Sums or maxima over the same axes of one domain. Each result is computed in one fixed order:
    along the last axis in vectors whose lanes are combined at the end, along others one after the
    other."""
    lead = region.lead
    assert lead is not None
    _Reductions(w, region.members, lead.operands[0], lead["axes"], lanes).emit()


@dataclass
class _Reductions:
    w: Writer
    members: Sequence[Node]  # reductions over the same axes, of the same kind
    x: Node  # what the first of them reduces
    axes: tuple[int, ...]
    lanes: int

    def __post_init__(self) -> None:
        node, self.kept = self.members[0], [i for i in range(self.x.ndim) if i not in self.axes]
        self.op, self.kind = node.op, short_name(node.type.dtype)
        self.start = 0 if node.op == "sum" else elementwise.identity_of_max(self.kind)
        self.side = _side_by_side(self.x.shape, self.axes, self.kept, self.lanes)

    def emit(self) -> None:
        if not self.x.ndim:
            self.w.enter((), 0, None)
            self._put([self.w.value(member.operands[0], ()) for member in self.members], ())
            return
        loops = [i for i in self.kept if i != self.side]
        finish = self._row if self.side < 0 else self._columns
        sizes = [self.x.shape[i] for i in loops]
        nest(self.w, sizes, lambda p: finish(dict(zip(loops, p, strict=True))))

    def _row(self, outer: dict[int, Coordinate]) -> None:
        """One result of each, from vectors along the last axis."""
        w, fn, x, last = self.w, self.w.fn, self.x, self.x.ndim - 1
        slots = self._slots(self.lanes)
        rest = [i for i in self.axes if i != last]

        def body(inner: Place) -> None:
            there = {**outer, **dict(zip(rest, inner, strict=True))}
            before = tuple(there[i] for i in range(last))
            vector_axis(w, x.shape[last], self.lanes, before, (), lambda p: self._take(slots, p))

        nest(w, [x.shape[i] for i in rest], body)
        totals = [across(fn, self.op, fn.get(slot, self.kind, self.lanes)) for slot in slots]
        w.enter((), 0, None)
        self._put(totals, tuple(outer[i] for i in self.kept))

    def _columns(self, outer: dict[int, Coordinate]) -> None:
        """Some vectors of neighbouring results at a time."""
        w, lanes, side = self.w, self.lanes, self.side
        several = self._vectors_beside(alone=not outer)

        def body(place: Place) -> None:
            sides = [affine(w.fn, place[-1], 1, v * lanes) for v in range(several)]
            self._side_by_side(outer, sides)

        if several == 1:
            vector_axis(w, self.x.shape[side], lanes, (), (), body)
            return
        first, last = w.split(self.x.shape[side] // (several * lanes))
        with w.fn.loop(first, last) as block:
            w.enter((Coordinate(scaled(w.fn, block, several * lanes), 1),), lanes, None)
            body(w.place)

    def _side_by_side(self, outer: dict[int, Coordinate], sides: Sequence[Coordinate]) -> None:
        """The results at these places along the axis of vectors."""
        w, x, side = self.w, self.x, self.side
        width, mask = w.lanes, w.mask
        slots = [self._slots(width) for _ in sides]

        def inner(reduced: Place) -> None:
            for beside, here in zip(slots, sides, strict=True):
                there = {**outer, side: here, **dict(zip(self.axes, reduced, strict=True))}
                element = tuple(there[i] for i in range(x.ndim))
                w.enter(element, width, mask)
                self._take(beside, element)

        few_or_nest(w, [x.shape[i] for i in self.axes], inner)
        w.enter((), width, mask)
        for beside, here in zip(slots, sides, strict=True):
            result = tuple({**outer, side: here}[i] for i in self.kept)
            self._put([w.fn.get(slot, self.kind, width) for slot in beside], result)

    def _slots(self, width: int) -> list[Value]:
        """A slot for each reduction, with what it begins with."""
        fn = self.w.fn
        slots = [fn.slot(self.kind, width) for _ in self.members]
        for slot in slots:
            fn.put(slot, fn.splat(literal(self.start, self.kind), width))
        return slots

    def _take(self, slots: Sequence[Value], place: Place) -> None:
        """One more vector of elements into each."""
        w, fn = self.w, self.w.fn
        identity = fn.splat(literal(self.start, self.kind), w.lanes)
        for member, slot in zip(self.members, slots, strict=True):
            found = w.value(member.operands[0], place)
            if w.mask is not None:
                found = fn.select(w.mask, found, identity)
            fn.put(slot, combine(fn, self.op, fn.get(slot, self.kind, w.lanes), found))

    def _put(self, found: Sequence[Value], place: Place) -> None:
        for member, total in zip(self.members, found, strict=True):
            self.w.write(member, total, offset_of(self.w.fn, place, row_major(member.shape)))

    def _vectors_beside(self, *, alone: bool) -> int:
        """How many vectors of results long reductions take together: each element that they add
        lies in a line of memory of its own otherwise, and each sum waits for the one before. Two
        blocks at least are left for threads to share, where that axis is `alone`; and all sums stay
        in registers."""
        x, lanes, size = self.x, self.lanes, self.x.shape[self.side]
        if math.prod(x.shape[i] for i in self.axes) <= FEW:
            return 1
        fitting = [n for n in (8, 4, 2) if n * len(self.members) <= _SUMS]
        whole = (n for n in fitting if size % (n * lanes) == 0)
        return next((n for n in whole if size > n * lanes or not alone), 1)


def _side_by_side(
    shape: tuple[int, ...], axes: tuple[int, ...], kept: list[int], lanes: int
) -> int:
    """The axis along which neighbouring results share a vector, or -1 where each result has the
    vectors to itself: the last axis if it stays, or the last that stays where what is reduced
    would fill no vector, and less of it. The first axis is never it: results of a row are the same
    whichever rows are beside it."""
    last = len(shape) - 1
    if last not in axes:
        return last
    if shape[last] < lanes and kept and kept[-1] > 0 and shape[kept[-1]] > shape[last]:
        return kept[-1]
    return -1


def emit_argmax(w: Writer, region: Region, lanes: int) -> None:
    """The first index of the maximum; the first NaN counts as the maximum."""
    node = region.lead
    assert node is not None
    (x,), axis = node.operands, node["axis"]
    last = x.ndim - 1
    if axis == last:
        nest(w, x.shape[:-1], lambda outer: _argmax_row(w, node, outer, lanes))
        return
    rest = [i for i in range(last) if i != axis]

    def columns(outer: Place) -> None:
        before = dict(zip(rest, outer, strict=True))
        vector_axis(w, x.shape[last], lanes, outer, (), lambda p: _argmax_columns(w, node, before))

    nest(w, [x.shape[i] for i in rest], columns)


def _argmax_row(w: Writer, node: Node, outer: Place, lanes: int) -> None:
    """The maximum first, in vectors, then the first place where it is."""
    fn, (x,) = w.fn, node.operands
    kind, size = short_name(x.type.dtype), x.shape[-1]
    best, where = fn.slot(kind, lanes), fn.slot("i32", lanes)
    identity = fn.splat(literal(elementwise.identity_of_max(kind), kind), lanes)
    none = fn.splat(literal(2**31 - 1, "i32"), lanes)
    fn.put(best, identity)
    fn.put(where, none)

    def larger(place: Place) -> None:
        found = w.value(x, place)
        if w.mask is not None:
            found = fn.select(w.mask, found, identity)
        fn.put(best, combine(fn, "max", fn.get(best, kind, lanes), found))

    vector_axis(w, size, lanes, outer, (), larger)
    most = fn.splat(across(fn, "max", fn.get(best, kind, lanes)), lanes)

    def first(place: Place) -> None:
        found = w.value(x, place)
        hit = fn.compare("eq", found, most)
        if found.is_float:
            hit = fn.binary("or", hit, elementwise.is_nan(fn, found))
        if w.mask is not None:
            hit = fn.binary("and", hit, w.mask)
        start = fn.splat(fn.cast(place[-1].scalar, "i32"), lanes)
        numbers = Value(f"<{', '.join(f'i32 {i}' for i in range(lanes))}>", "i32", lanes)
        here = fn.select(hit, fn.add(start, numbers), none)
        fn.put(where, fn.smaller(here, fn.get(where, "i32", lanes)))

    vector_axis(w, size, lanes, outer, (), first)
    full = f"@llvm.vector.reduce.smin.v{lanes}i32"
    fn.declared.add(f"declare i32 {full}(<{lanes} x i32>)")
    chosen = fn.let(f"call i32 {full}({fn.get(where, 'i32', lanes)})", "i32", 0)
    w.enter((), 0, None)
    w.write(node, fn.cast(chosen, "i64"), offset_of(fn, outer, row_major(node.shape)))


def _argmax_columns(w: Writer, node: Node, before: dict[int, Coordinate]) -> None:
    """Neighbouring results side by side, along an axis that is not the last."""
    fn, (x,), axis = w.fn, node.operands, node["axis"]
    kind, lanes, mask, column = short_name(x.type.dtype), w.lanes, w.mask, w.place[-1]
    best, where = fn.slot(kind, lanes), fn.slot("i32", lanes)

    def at(i: Value) -> Value:
        coordinates = {**before, axis: Coordinate(i), x.ndim - 1: column}
        place = tuple(coordinates[a] for a in range(x.ndim))
        w.enter(place, lanes, mask)
        return w.value(x, place)

    fn.put(best, at(index(0)))
    fn.put(where, fn.splat(literal(0, "i32"), lanes))
    with fn.loop(index(1), index(x.shape[axis])) as i:
        found, so_far = at(i), fn.get(best, kind, lanes)
        better = fn.compare("lt", so_far, found)
        if found.is_float:
            fresh = fn.binary("and", elementwise.is_nan(fn, found), _is_number(fn, so_far))
            better = fn.binary("or", better, fresh)
        fn.put(best, fn.select(better, found, so_far))
        here = fn.splat(fn.cast(i, "i32"), lanes)
        fn.put(where, fn.select(better, here, fn.get(where, "i32", lanes)))
    place = tuple(c for i, c in sorted({**before, x.ndim - 1: column}.items()))
    w.enter(place, lanes, mask)
    chosen = fn.cast(fn.get(where, "i32", lanes), "i64")
    w.write(node, chosen, offset_of(fn, place, row_major(node.shape)))


def _is_number(fn: Function, x: Value) -> Value:
    return fn.let(f"fcmp ord {x}, {x.text}", "bool", x.lanes)
