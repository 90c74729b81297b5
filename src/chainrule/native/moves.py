"""Padding, joining, and adding at indices: results whose elements are not all of one formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

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
    scaled,
    view_strides,
)
from chainrule.native.regions import Region, pads_lines
from chainrule.native.writer import Writer, nest, tail_mask, vector_axis


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
    """Zeros, then every update added in order, so that repeated indices add up the same way. Where
    updates are long, threads share their columns: each adds all updates in its own."""
    node = region.lead
    assert node is not None
    fn, (x, numbers), axis = w.fn, node.operands, node["axis"]
    if x.ndim == axis + numbers.ndim:
        fill(w, node, 0, node.type.size, lanes)
        nest(w, x.shape, lambda place: _scatter_one(w, node, place))
        return
    size, shared = x.shape[-1], w.parallel
    beside = next(n for n in (8, 4, 2, 1) if size >= 2 * n * lanes or n == 1)
    groups = size // (beside * lanes)
    start, stop = w.split(groups)
    with fn.loop(start, stop) as group:
        _scatter_columns(w, node, scaled(fn, group, beside * lanes), [lanes] * beside, lanes)
    w.parallel = False
    first = groups * beside * lanes
    rest = [min(lanes, size - column) for column in range(first, size, lanes)]
    if rest:
        with fn.when(fn.is_last_thread()) if shared else nullcontext():
            _scatter_columns(w, node, index(first), rest, lanes)


def _scatter_columns(
    w: Writer, node: Node, column: Value, widths: Sequence[int], lanes: int
) -> None:
    """All updates in some vectors of columns, from `column` on."""
    fn, (x, numbers), axis = w.fn, node.operands, node["axis"]
    strides, kind = row_major(node.shape), short_name(node.type.dtype)

    def each(before: Place, body: Callable[[Coordinate], None]) -> None:
        for v, width in enumerate(widths):
            mask = tail_mask(lanes, width) if width < lanes else None
            last = Coordinate(plus(fn, column, index(v * lanes)), 1)
            w.enter((*before, last), lanes, mask)
            body(last)

    def clear(before: Place) -> None:
        zero = fn.splat(literal(0, kind), lanes)
        each(before, lambda last: w.write(node, zero, offset_of(fn, (*before, last), strides)))

    def add(before: Place) -> None:
        chosen = _chosen(w, node, before)
        if not node["size"]:
            return
        there = (*before[:axis], Coordinate(chosen), *before[axis + numbers.ndim :])

        def one(last: Coordinate) -> None:
            spot = offset_of(fn, (*there, last), strides)
            w.write(node, fn.add(w.read(node, spot), w.value(x, (*before, last))), spot)

        each(before, one)

    nest(w, node.shape[:-1], clear)
    nest(w, x.shape[:-1], add)


def _scatter_one(w: Writer, node: Node, place: Place) -> None:
    fn, (x, _), axis = w.fn, node.operands, node["axis"]
    w.enter(place, 0, None)
    chosen = _chosen(w, node, place)
    if node["size"]:
        there = (*place[:axis], Coordinate(chosen))
        spot = offset_of(fn, there, row_major(node.shape))
        w.write(node, fn.add(w.read(node, spot), w.value(x, place)), spot)


def _chosen(w: Writer, node: Node, place: Place) -> Value:
    """Where an update is added, along the axis of indices."""
    fn, numbers, axis = w.fn, node.operands[1], node["axis"]
    memory, strides, first = view_strides(numbers, w.memory)
    kind = short_name(memory.type.dtype)
    at = affine(fn, offset_of(fn, place[axis : axis + numbers.ndim], strides), 1, first)
    w.enter(place, 0, None)
    chosen = fn.cast(fn.load(fn.at(w.pointers[memory], at.scalar, kind), kind), "i64")
    return w.within(node, chosen)
