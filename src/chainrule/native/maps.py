"""Maps: elementwise work and views over one domain."""

from __future__ import annotations

import math

from chainrule.graph import OPS, Node
from chainrule.native.ir import Value, index
from chainrule.native.places import Coordinate, Place, affine, offset_of, row_major
from chainrule.native.regions import Region, is_flag, is_side_by_side
from chainrule.native.writer import Writer, nest, vector_axis


def emit_map(w: Writer, region: Region, lanes: int) -> None:
    """Every stored value of a map at every place of its domain."""
    domain = region.domain

    def body(place: Place) -> None:
        put_members(w, region, place, offset_of(w.fn, place, row_major(domain)))

    def one(place: Place) -> None:
        w.enter(place, 0, None)
        body(place)

    if not domain:
        one(())
        return
    if not w.grain and _is_flat(region, w.memory):
        _flat_map(w, region, lanes)
        return
    if w.grain and len(domain) == 1:  # a vector would take rows of several threads
        nest(w, domain, one)
        return
    nest(w, domain[:-1], lambda p: vector_axis(w, domain[-1], lanes, p, (), body))


def put_members(w: Writer, region: Region, place: Place, at: Coordinate) -> None:
    """Computes every member of a region at a place, and stores what has memory `at` its distance
    from the start."""
    for node in region.members:
        if is_flag(node):
            _raise_flag(w, node, place)
            continue
        if is_side_by_side(node):
            _put_parts(w, node, place)
            continue
        x = computed(w, node, place)
        if node in region.stored:
            w.write(node, x, at)


def _put_parts(w: Writer, node: Node, place: Place) -> None:
    """The element at this place of each part, side by side in memory."""
    axis, strides = node["axis"], row_major(node.shape)
    for number, part in enumerate(node.operands):
        there = list(place)
        there[axis] = affine(w.fn, place[axis], 1, number * part.shape[axis])
        w.write(node, w.value(part, place), offset_of(w.fn, tuple(there), strides))


def _raise_flag(w: Writer, node: Node, place: Place) -> None:
    """Notes that it holds here. Whoever else notes it, notes the same."""
    fn = w.fn
    x = w.value(node.operands[0], place)
    if w.mask is not None:
        x = fn.binary("and", x, w.mask)
    with fn.when(fn.any(x)):
        fn.emit(f"store atomic i8 1, {w.pointers[node]} monotonic, align 1")


def computed(w: Writer, node: Node, place: Place) -> Value:
    """The value of a member that also has memory: computed here, not read back."""
    if node not in w.known:
        pointer = w.pointers.pop(node, None)
        w.known[node] = w._value(node, place)
        if pointer is not None:
            w.pointers[node] = pointer
    return w.known[node]


def _is_flat(region: Region, memory: set[Node]) -> bool:
    """Whether all axes can run as one: only elementwise work on memory of the domain's own shape,
    and single numbers repeated."""
    pending, seen = list(region.members), set(region.members)
    while pending:
        node = pending.pop()
        if node.op == "broadcast" and node.operands[0].type.size == 1:
            continue
        if not OPS[node.op].elementwise and not is_flag(node):
            return False
        for operand in node.operands:
            if operand in seen:
                continue
            seen.add(operand)
            if operand.op == "input" or operand in memory:
                if operand.shape != region.domain:
                    return False
            else:
                pending.append(operand)
    return len(region.domain) > 1


def _flat_map(w: Writer, region: Region, lanes: int) -> None:
    """The axes as one. The place has the flat index on its last axis, which reads and writes at
    the same distance from the start."""
    ndim = len(region.domain)
    outer = (Coordinate(index(0)),) * (ndim - 1)

    def body(place: Place) -> None:
        put_members(w, region, place, place[-1])

    vector_axis(w, math.prod(region.domain), lanes, outer, (), body)
