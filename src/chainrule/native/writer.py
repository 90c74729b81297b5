"""Computing a value at a place: the part of emission that all kernels share.

A kernel's body is emitted once for a full vector and once, masked, for the tail of its innermost
axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native import elementwise, indices
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.places import (
    Coordinate,
    Place,
    affine,
    offset_of,
    row_major,
    scaled,
    through_view,
    view_strides,
)
from chainrule.native.regions import VIEWS, is_unit_reshape


@dataclass
class Writer:
    """What a kernel's emission needs: the function, its memory, and the lanes in use."""

    fn: Function
    memory: set[Node]  # values that lie in memory
    pointers: dict[Node, Value]
    lanes: int = 0
    mask: Value | None = None
    known: dict[Node, Value] = field(default_factory=dict)  # computed at `place` already
    place: Place = ()
    parallel: bool = False  # whether the next loop that can is shared out among threads
    grain: int = 0  # rows of a loop that one thread takes in every kernel; 0 where they meet
    words: dict[Node, Value] = field(default_factory=dict)  # where bad indices are noted

    # --- reading ----------------------------------------------------------------------------

    def value(self, node: Node, place: Place) -> Value:
        """The value of a node at a place: computed, or read where it lies in memory."""
        here = place is self.place
        if here and node in self.known:
            return self.known[node]
        result = self._value(node, place)
        if here:
            self.known[node] = result
        return result

    def _value(self, node: Node, place: Place) -> Value:
        fn = self.fn
        if node.op == "constant" and node.type.size == 1:
            number = node["value"].reshape(-1)[0].item()
            return fn.splat(literal(number, short_name(node.type.dtype)), self.lanes)
        if node in self.pointers:
            return self.read(node, offset_of(fn, place, row_major(node.shape)))
        if node.op == "iota":
            return self._iota(node, place)
        if node.op == "reshape" and not is_unit_reshape(node):
            source, _, _ = view_strides(node.operands[0], self.memory)
            return self.read(source, offset_of(fn, place, row_major(node.shape)))
        if node.op in VIEWS:
            inner = through_view(fn, node, place)
            return self.value(node.operands[0], self.place if inner == self.place else inner)
        if node.op == "take":
            return self._take(node, place)
        values = [self.value(n, place) for n in node.operands]
        return elementwise.emit_op(fn, node, values)

    def read(self, node: Node, at: Coordinate) -> Value:
        """Loads from memory: one element for all lanes, a run of elements, or a gather."""
        fn, kind = self.fn, short_name(node.type.dtype)
        base = fn.at(self.pointers[node], at.scalar, kind)
        if not self.lanes or (at.vector is None and at.per_lane == 0):
            return fn.splat(fn.load(base, kind), self.lanes)
        if at.vector is None and at.per_lane == 1:
            if self.mask is None:
                return fn.load(base, kind, self.lanes)
            return fn.masked_load(base, kind, self.mask)
        offsets = self.lane_numbers(at.per_lane)
        if at.vector is not None:
            offsets = fn.add(offsets, at.vector)
        mask = self.mask or fn.splat(Value("true", "bool"), self.lanes)
        return fn.gather(fn.at(base, offsets, kind), kind, mask)

    def lane_numbers(self, step: int) -> Value:
        listed = ", ".join(f"i64 {lane * step}" for lane in range(self.lanes))
        return Value(f"<{listed}>", "i64", self.lanes)

    def _whole(self, c: Coordinate) -> Value:
        """A coordinate as a number in each lane."""
        fn = self.fn
        if not self.lanes:
            return c.scalar
        result = fn.splat(c.scalar, self.lanes)
        if c.per_lane:
            result = fn.add(result, self.lane_numbers(c.per_lane))
        return result if c.vector is None else fn.add(result, c.vector)

    def _iota(self, node: Node, place: Place) -> Value:
        return self.fn.cast(self._whole(place[node["axis"]]), short_name(node.type.dtype))

    def _take(self, node: Node, place: Place) -> Value:
        """Reads at an index that is itself read from memory."""
        fn, (source, numbers), axis = self.fn, node.operands, node["axis"]
        inner = place[axis : axis + numbers.ndim]
        memory, strides, first = view_strides(numbers, self.memory)
        at = affine(fn, offset_of(fn, inner, strides), 1, first)
        varies = at.per_lane != 0 or at.vector is not None
        if varies and self.lanes:
            found = self.within(node, fn.cast(self.read(memory, at), "i64"))
            chosen = Coordinate(index(0), 0, found)
        else:
            kind = short_name(memory.type.dtype)
            found = fn.load(fn.at(self.pointers[memory], at.scalar, kind), kind)
            chosen = Coordinate(self.within(node, fn.cast(found, "i64")))
        if not source.shape[axis]:
            return fn.splat(literal(0, short_name(node.type.dtype)), self.lanes)
        outer = (*place[:axis], chosen, *place[axis + numbers.ndim :])
        memory, strides, first = view_strides(source, self.memory)
        return self.read(memory, affine(fn, offset_of(fn, outer, strides), 1, first))

    def within(self, node: Node, chosen: Value) -> Value:
        """An index of a take or scatter that surely does not point outside."""
        if node not in self.words:
            return chosen
        return indices.bounded(self.fn, chosen, indices.size_of_axis(node), self.words[node])

    # --- writing ----------------------------------------------------------------------------

    def write(self, node: Node, x: Value, at: Coordinate) -> None:
        """Stores at a place; lanes must be adjacent or all but one masked off."""
        fn, kind = self.fn, short_name(node.type.dtype)
        base = fn.at(self.pointers[node], at.scalar, kind)
        if not self.lanes:
            fn.store(x, base)
        elif at.per_lane == 1:
            if self.mask is None:
                fn.store(x, base)
            else:
                fn.masked_store(x, base, self.mask)
        else:
            for lane in range(self.lanes):
                one = fn.extract(x, lane)
                there = fn.at(base, index(lane * at.per_lane), kind)
                if self.mask is None:
                    fn.store(one, there)
                else:
                    with fn.when(fn.extract(self.mask, lane)):
                        fn.store(one, there)

    def split(self, count: int) -> tuple[Value, Value]:
        """The bounds of a loop: this thread's part the first time, all of it further inside."""
        if not self.parallel:
            return index(0), index(count)
        self.parallel = False
        return self.fn.share(count, self.grain or 1)

    def enter(self, place: Place, lanes: int, mask: Value | None) -> None:
        """Begins a new innermost body."""
        self.place, self.lanes, self.mask, self.known = place, lanes, mask, {}


Body = Callable[[Place], None]
FEW = 16  # turns of a loop that are written out


def nest(w: Writer, sizes: Sequence[int], body: Body, place: Place = ()) -> None:
    """Loops over all axes, one element at a time; the outermost is shared out among threads."""
    if len(place) == len(sizes):
        body(place)
        return
    start, stop = w.split(sizes[len(place)])
    with w.fn.loop(start, stop) as i:
        nest(w, sizes, body, (*place, Coordinate(i)))


def few_or_nest(w: Writer, sizes: Sequence[int], body: Body) -> None:
    """Loops as `nest` has them, written out where there are few turns."""
    if math.prod(sizes) > FEW:
        nest(w, sizes, body)
        return
    for place in itertools.product(*map(range, sizes)):
        body(tuple(Coordinate(index(i)) for i in place))


def vector_axis(w: Writer, size: int, lanes: int, place: Place, after: Place, body: Body) -> None:
    """Runs over one axis a vector at a time, and masked over what remains."""
    fn, shared = w.fn, w.parallel
    blocks = size // lanes
    full = blocks * lanes
    if blocks:
        start, stop = w.split(blocks)
        with fn.loop(start, stop) as block:
            inner = (*place, Coordinate(scaled(fn, block, lanes), 1), *after)
            w.enter(inner, lanes, None)
            body(inner)
    if size == full:
        return
    w.parallel = False
    with fn.when(fn.is_last_thread()) if shared else nullcontext():
        inner = (*place, Coordinate(index(full), 1), *after)
        w.enter(inner, lanes, tail_mask(lanes, size - full))
        body(inner)


def tail_mask(lanes: int, count: int) -> Value:
    """The first `count` lanes."""
    bits = ", ".join(f"i1 {'true' if lane < count else 'false'}" for lane in range(lanes))
    return Value(f"<{bits}>", "bool", lanes)
