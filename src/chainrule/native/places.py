"""Where in memory an element lies: coordinates as loops give them, carried through views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.native.ir import Function, Value, index
from chainrule.native.regions import is_unit_reshape


@dataclass(frozen=True)
class Coordinate:
    """One coordinate: a scalar, plus `per_lane` for each lane of a vector, plus, where an index was
    itself read from memory, a vector."""

    scalar: Value
    per_lane: int = 0
    vector: Value | None = None


Place = tuple[Coordinate, ...]
ZERO = Coordinate(index(0))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides, in elements, of contiguous memory."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def scaled(fn: Function, x: Value, factor: int) -> Value:
    """factor * x, computed now where x is known."""
    if factor == 1:
        return x
    if x.text.lstrip("-").isdigit():
        return index(int(x.text) * factor)
    return fn.mul(x, fn.splat(index(factor), x.lanes))


def plus(fn: Function, x: Value, y: Value) -> Value:
    """x + y, computed now where both are known."""
    if x.text == "0" and not x.lanes:
        return y
    if y.text == "0" and not y.lanes:
        return x
    if x.text.lstrip("-").isdigit() and y.text.lstrip("-").isdigit():
        return index(int(x.text) + int(y.text))
    return fn.add(x, y)


def affine(fn: Function, c: Coordinate, factor: int, offset: int) -> Coordinate:
    """factor * c + offset."""
    vector = None if c.vector is None else scaled(fn, c.vector, factor)
    scalar = plus(fn, scaled(fn, c.scalar, factor), index(offset))
    return Coordinate(scalar, c.per_lane * factor, vector)


def offset_of(fn: Function, place: Place, strides: Sequence[int]) -> Coordinate:
    """The distance from the start of memory, in elements."""
    scalar, per_lane, vector = index(0), 0, None
    for c, stride in zip(place, strides, strict=True):
        scalar = plus(fn, scalar, scaled(fn, c.scalar, stride))
        per_lane += c.per_lane * stride
        if c.vector is not None:
            part = scaled(fn, c.vector, stride)
            vector = part if vector is None else fn.add(vector, part)
    return Coordinate(scalar, per_lane, vector)


def through_view(fn: Function, node: Node, place: Place) -> Place:
    """The place in a view's operand that an element of the view comes from."""
    (source,) = node.operands
    if node.op == "broadcast":
        new = node.ndim - source.ndim
        pairs = zip(source.shape, place[new:], strict=True)
        return tuple(ZERO if size == 1 else c for size, c in pairs)
    if node.op == "transpose":
        axes = node["axes"]
        return tuple(place[axes.index(i)] for i in range(len(axes)))
    if node.op == "slice":
        bounds = zip(place, node["start"], node["step"], strict=True)
        return tuple(affine(fn, c, step, start) for c, start, step in bounds)
    if node.op == "reverse":
        return tuple(
            affine(fn, c, -1, size - 1) if axis in node["axes"] else c
            for axis, (c, size) in enumerate(zip(place, source.shape, strict=True))
        )
    if node.op == "window":
        return _in_window(fn, node, place)
    assert node.op == "reshape", node.op
    assert is_unit_reshape(node), "other reshapes are the same memory"
    kept = iter(c for c, size in zip(place, node.shape, strict=True) if size != 1)
    return tuple(ZERO if size == 1 else next(kept) for size in source.shape)


def _in_window(fn: Function, node: Node, place: Place) -> Place:
    """Where the windows begin, and how far inside: stride * window + dilation * element."""
    ndim = node.operands[0].ndim
    found = list(place[:ndim])
    steps = zip(node["axes"], place[ndim:], node["strides"], node["dilations"], strict=True)
    for axis, inner, stride, dilation in steps:
        start = affine(fn, found[axis], stride, 0)
        found[axis] = together(fn, start, affine(fn, inner, dilation, 0))
    return tuple(found)


def together(fn: Function, x: Coordinate, y: Coordinate) -> Coordinate:
    """x + y."""
    parts = [c.vector for c in (x, y) if c.vector is not None]
    vector = parts[0] if len(parts) == 1 else fn.add(*parts) if parts else None
    return Coordinate(plus(fn, x.scalar, y.scalar), x.per_lane + y.per_lane, vector)


@dataclass(frozen=True)
class Rows:
    """Rows of memory that are chosen by numbers, which are themselves read from memory."""

    memory: Node  # the numbers
    strides: tuple[int, ...]  # of the numbers, for each axis of the view
    first: int
    step: int  # from one row to the next


@dataclass(frozen=True)
class View:
    """An addressable value: where its element at a place lies, in elements from the start of the
    memory behind it. The axis along which rows are chosen has stride 0, and `rows`."""

    memory: Node
    strides: tuple[int, ...]
    first: int
    rows: Rows | None = None


def view_of(node: Node, memory: set[Node]) -> View:
    """The memory behind an addressable value, also through one choice of rows."""
    chain = []
    while node not in memory and node.op != "input":
        chain.append(node)
        node = node.operands[0]
    strides, first = row_major(node.shape), 0
    rows: Rows | None = None
    for view in reversed(chain):
        if view.op == "take":
            numbers = view_of(view.operands[1], memory)
            rest = (0,) * (view.ndim - 1)
            rows = Rows(numbers.memory, (*numbers.strides, *rest), numbers.first, strides[0])
            strides = (0, *strides[1:])
            continue
        strides, first = _step(view, strides, first)
        if rows is not None:
            chosen, start = _step(view, rows.strides, rows.first)
            rows = Rows(rows.memory, chosen, start, rows.step)
    return View(node, strides, first, rows)


def view_strides(node: Node, memory: set[Node]) -> tuple[Node, tuple[int, ...], int]:
    """The memory behind a value that no rows are chosen of: (node, strides, first element)."""
    view = view_of(node, memory)
    assert view.rows is None
    return view.memory, view.strides, view.first


def _step(view: Node, strides: tuple[int, ...], first: int) -> tuple[tuple[int, ...], int]:
    (source,) = view.operands
    if view.op == "broadcast":
        new = (0,) * (view.ndim - source.ndim)
        sizes = zip(source.shape, strides, strict=True)
        return (*new, *(0 if size == 1 else s for size, s in sizes)), first
    if view.op == "transpose":
        return tuple(strides[a] for a in view["axes"]), first
    if view.op == "slice":
        first += sum(a * s for a, s in zip(view["start"], strides, strict=True))
        return tuple(s * step for s, step in zip(strides, view["step"], strict=True)), first
    if view.op == "reverse":
        axes = view["axes"]
        first += sum((source.shape[a] - 1) * strides[a] for a in axes)
        return tuple(-s if i in axes else s for i, s in enumerate(strides)), first
    if view.op == "window":
        outer = list(strides)
        for axis, stride in zip(view["axes"], view["strides"], strict=True):
            outer[axis] *= stride
        pairs = zip(view["axes"], view["dilations"], strict=True)
        return (*outer, *(strides[axis] * dilation for axis, dilation in pairs)), first
    if is_unit_reshape(view):
        kept = iter(s for s, n in zip(strides, source.shape, strict=True) if n != 1)
        return tuple(0 if n == 1 else next(kept) for n in view.shape), first
    return row_major(view.shape), first
