"""Overlap-add, gathered: each result sums, in one fixed order, the window elements that lie on it.

So threads can share the results, and nothing is added into memory.
"""

from __future__ import annotations

from chainrule.graph.types import short_name
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.maps import put_members
from chainrule.native.places import Coordinate, Place, affine, offset_of, row_major
from chainrule.native.regions import Region
from chainrule.native.writer import Writer, few_or_nest, nest, vector_axis


def emit_fold(w: Writer, region: Region, lanes: int) -> None:
    """For each result a loop over the places inside a window. Where the last axis has windows of
    its own, neighbouring results lie in different places of them, and go one by one."""
    node = region.lead
    assert node is not None
    fn, (x,), axes = w.fn, node.operands, node["axes"]
    kind = short_name(node.type.dtype)
    last = node.ndim - 1

    def body(place: Place) -> None:
        width, mask = w.lanes, w.mask
        slot = fn.slot(kind, width)
        fn.put(slot, fn.splat(literal(0, kind), width))

        def add(inner: Place) -> None:
            found = dict(enumerate(place))
            inside = Value("true", "bool")
            for number, axis in enumerate(axes):
                fits, found[axis] = _window_over(
                    fn,
                    node.operands[0].shape[axis],
                    place[axis],
                    inner[number],
                    node["strides"][number],
                    node["dilations"][number],
                )
                inside = fn.binary("and", inside, fits)
            with fn.when(inside):
                here = (*(found[axis] for axis in range(node.ndim)), *inner)
                w.enter(here, width, mask)
                fn.put(slot, fn.add(fn.get(slot, kind, width), w.value(x, here)))

        few_or_nest(w, node["sizes"], add)
        w.enter(place, width, mask)
        w.known[node] = fn.get(slot, kind, width)
        put_members(w, region, place, offset_of(fn, place, row_major(node.shape)))

    def one(place: Place) -> None:
        w.enter(place, 0, None)
        body(place)

    if last in axes:
        nest(w, node.shape, one)
    else:
        nest(w, node.shape[:-1], lambda p: vector_axis(w, node.shape[-1], lanes, p, (), body))


def _window_over(
    fn: Function, count: int, at: Coordinate, inner: Coordinate, stride: int, dilation: int
) -> tuple[Value, Coordinate]:
    """Whether one of `count` windows has its element `inner` at this place, and which one."""
    back = fn.sub(at.scalar, affine(fn, inner, dilation, 0).scalar)
    number = fn.binary("sdiv", back, index(stride))
    exact = fn.compare("eq", fn.mul(number, index(stride)), back)
    # As an unsigned number one before the first window is beyond the last.
    inside = fn.compare("lt", fn.cast(number, "u64"), fn.cast(index(count), "u64"))
    return fn.binary("and", inside, exact), Coordinate(number)
