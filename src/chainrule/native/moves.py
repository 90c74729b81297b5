"""Padding, joining, and adding at indices: results whose elements are not all of one formula."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native.ir import Value, index, literal
from chainrule.native.places import (
    Coordinate,
    Place,
    affine,
    offset_of,
    plus,
    row_major,
    view_strides,
)
from chainrule.native.regions import Region, pads_lines
from chainrule.native.writer import Writer, nest, vector_axis


def fill(w: Writer, node: Node, value: float, size: int, lanes: int) -> None:
    """One number in every element."""
    kind = short_name(node.type.dtype)

    def body(place: Place) -> None:
        w.write(node, w.fn.splat(literal(value, kind), w.lanes), place[-1])

    vector_axis(w, size, lanes, (), (), body)


def emit_pad(w: Writer, region: Region, lanes: int) -> None:
    """Line by line; where something comes between the elements of a line, the border first, then
    the operand at its places."""
    node = region.lead
    assert node is not None
    (x,) = node.operands
    steps = [gap + 1 for gap in node["interior"]]
    if pads_lines(node):
        nest(w, node.shape[:-1], lambda p: _line(w, node, x, steps, p, lanes))
        return
    if node.type.size != x.type.size:
        fill(w, node, node["value"], node.type.size, lanes)
    _copy(w, node, x, steps, node["low"], lanes)


def _line(w: Writer, node: Node, x: Node, steps: Sequence[int], before: Place, lanes: int) -> None:
    """One line along the last axis: the operand's between borders, or all border."""
    fn, kind = w.fn, short_name(node.type.dtype)
    inside, source = Value("true", "bool"), []
    for c, low, step, size in zip(before, node["low"], steps, x.shape, strict=False):
        place = plus(fn, c.scalar, index(-low))
        number = place if step == 1 else fn.binary("sdiv", place, index(step))
        fits = fn.compare("lt", fn.cast(number, "u64"), fn.cast(index(size), "u64"))
        if step != 1:
            exact = fn.compare("eq", fn.mul(number, index(step)), place)
            fits = fn.binary("and", fits, exact)
        inside = fn.binary("and", inside, fits)
        source.append(Coordinate(number))
    border = fn.binary("xor", inside, Value("true", "bool"))
    number, low, size = literal(node["value"], kind), node["low"][-1], x.shape[-1]

    def put(place: Place, value: Value, first: int) -> None:
        there = (*before, affine(fn, place[-1], 1, first))
        w.write(node, value, offset_of(fn, there, row_major(node.shape)))

    def fill_line(first: int, count: int) -> None:
        if count:
            vector_axis(w, count, lanes, (), (), lambda p: put(p, fn.splat(number, w.lanes), first))

    with fn.when(inside):
        fill_line(0, low)
        vector_axis(w, size, lanes, tuple(source), (), lambda p: put(p, w.value(x, p), low))
        fill_line(low + size, node["high"][-1])
    with fn.when(border):
        fill_line(0, node.shape[-1])


def emit_concatenate(w: Writer, region: Region, lanes: int) -> None:
    """Each part at its own offset. Where threads share the work they share every part of it."""
    node = region.lead
    assert node is not None
    offset, axis, shared = 0, node["axis"], w.parallel
    for part in node.operands:
        w.parallel = shared
        low = [0] * node.ndim
        low[axis] = offset
        _copy(w, node, part, [1] * node.ndim, low, lanes)
        offset += part.shape[axis]


def _copy(
    w: Writer, node: Node, x: Node, steps: Sequence[int], low: Sequence[int], lanes: int
) -> None:
    """The elements of x into node, at step * coordinate + low."""
    fn = w.fn

    def body(place: Place) -> None:
        found = w.value(x, place)
        there = tuple(affine(fn, c, s, a) for c, s, a in zip(place, steps, low, strict=True))
        w.write(node, found, offset_of(fn, there, row_major(node.shape)))

    if not x.shape:
        w.enter((), 0, None)
        body(())
    else:
        nest(w, x.shape[:-1], lambda p: vector_axis(w, x.shape[-1], lanes, p, (), body))


def emit_scatter(w: Writer, region: Region, lanes: int) -> None:
    """Zeros, then every update added in order, so that repeated indices add up the same way."""
    node = region.lead
    assert node is not None
    fn, (x, numbers), axis = w.fn, node.operands, node["axis"]
    fill(w, node, 0, node.type.size, lanes)
    memory, number_strides, first = view_strides(numbers, w.memory)
    kind = short_name(memory.type.dtype)
    strides = row_major(node.shape)
    trailing = x.ndim > axis + numbers.ndim

    def body(place: Place) -> None:
        inner = place[axis : axis + numbers.ndim]
        at = affine(fn, offset_of(fn, inner, number_strides), 1, first)
        chosen = fn.cast(fn.load(fn.at(w.pointers[memory], at.scalar, kind), kind), "i64")
        chosen = w.within(node, chosen)
        if not node["size"]:
            return
        there = (*place[:axis], Coordinate(chosen), *place[axis + numbers.ndim :])
        spot = offset_of(fn, there, strides)
        w.write(node, fn.add(w.read(node, spot), w.value(x, place)), spot)

    def scalar(place: Place) -> None:
        w.enter(place, 0, None)
        body(place)

    if trailing:
        nest(w, x.shape[:-1], lambda p: vector_axis(w, x.shape[-1], lanes, p, (), body))
    else:
        nest(w, x.shape, scalar)
