"""A linear part of a graph, run for every unit vector of what it starts from, all at once.

The backward graph is linear in the delta that it starts from; run for each unit vector of that
delta it gives the rows of the Jacobian. A unit vector is zero but in one place, and most of a
graph keeps rows apart: row i of a delta depends on row i of the first delta alone. There the
results for all unit vectors lie side by side in one array of the usual shape. Only where rows are
summed does each unit vector need a place of its own, and gets it by leaving out the sum.

So the rows of the Jacobian of a network cost little more than one backward pass. Nothing is
assumed: where rows meet in another way the unit vectors are spelled out, which is exact too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import WITH_BODY, Node, ancestors, build, made_by
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.graph.substitution import substitute

_INDEX = np.dtype(np.int64)


@dataclass(frozen=True)
class Spread:
    """The values of one node for all unit vectors of the seed.

    Each axis of the seed is either `apart`: the unit vectors along it lie side by side along that
    axis of the node; or in `batch`: it is an axis of its own, before those of the node, in order.
    """

    value: Node
    apart: Mapping[int, int]
    batch: tuple[int, ...]


@dataclass(frozen=True)
class Several:
    """The same of a loop's results; None is one that does not depend on the seed."""

    parts: tuple[Spread | None, ...]


Parts = Sequence[Spread | None]  # of a node's operands; None where one does not depend on the seed
Rule = Callable[[Node, Parts], "Spread | Several | None"]

LINEAR: dict[str, Rule] = {}


def spread(seed: Node, outputs: Sequence[Node]) -> list[Node]:
    """For each output, which is linear in `seed`: its values for the unit vectors of the seed, an
    array of the seed's shape followed by the output's."""
    table: dict[Node, Any] = {seed: _units(seed)}
    follow(table, outputs)
    found = [_whole(table.get(output), seed, output) for output in outputs]
    # A loop is given the seed also where only those of its results are read that it does not reach.
    return substitute(found, {seed: build.zeros(seed.type)})


def follow(table: dict[Node, Any], outputs: Sequence[Node]) -> None:
    """Fills in all that the outputs need, from the nodes that the table has. What it has not
    afterwards, or None for, does not depend on the seed."""
    for node in ancestors(outputs):
        parts = [table.get(n) for n in node.operands]
        if node in table or not any(parts):
            continue
        if node.op not in LINEAR:
            raise ChainruleError(f"{node.op} is not linear", where=str(node.origin) or None)
        with made_by(node.origin):
            table[node] = LINEAR[node.op](node, parts)


def cost(outputs: Sequence[Node]) -> int:
    """About how much work a graph is: the products of contractions, and the elements made."""
    return sum(map(_work, ancestors(outputs)))


def _work(node: Node) -> int:
    if node.op in WITH_BODY:
        steps = node["length"] if node.op == "scan" else 16  # about what a fixed point takes
        return int(steps) * sum(map(_work, node["body"].nodes()))
    if node.op != "contract":
        return node.type.size
    left, right, _ = split_spec(node["spec"])
    shapes = node.operands[0].shape + node.operands[1].shape
    return math.prod(dict(zip(left + right, shapes, strict=True)).values())


def _units(seed: Node) -> Spread:
    long = {axis: axis for axis, size in enumerate(seed.shape) if size != 1}
    short = tuple(axis for axis in range(seed.ndim) if axis not in long)
    ones = build.full(seed.type, 1)
    return Spread(build.reshape(ones, (1,) * len(short) + seed.shape), long, short)


def _whole(part: Spread | None, seed: Node, output: Node) -> Node:
    if part is None:
        with made_by(output.origin):
            zero = build.constant(0, output.type.dtype)
            return build.broadcast(zero, seed.shape + output.shape)
    with made_by(output.origin):
        for axis in sorted(part.apart):
            part = spelled_out(part, axis)
        return part.value


# --- the two forms --------------------------------------------------------------------------


def spelled_out(part: Spread, axis: int) -> Spread:
    """An axis of the seed that was apart gets an axis of its own, zero off the diagonal."""
    batch = tuple(sorted((*part.batch, axis)))
    place, along = batch.index(axis), len(batch) + part.apart[axis]
    old = part.value.shape
    shape = (*old[:place], old[along - 1], *old[place:])
    values = build.broadcast(build.reshape(part.value, (*old[:place], 1, *old[place:])), shape)
    same = build.equal(build.iota(shape, place, _INDEX), build.iota(shape, along, _INDEX))
    apart = {k: v for k, v in part.apart.items() if k != axis}
    return Spread(build.where(same, values, build.like(values, 0)), apart, batch)


def kept(part: Spread, keeps: Callable[[int], bool]) -> Spread:
    """The same, apart only along axes of the node that `keeps` is true for."""
    for axis, along in sorted(part.apart.items()):
        if not keeps(along):
            part = spelled_out(part, axis)
    return part


def _alike(parts: Parts) -> tuple[Spread, list[Node | None]]:
    """Operands of one shape in one form (that of the first result), and their values."""
    found = [p for p in parts if p is not None]
    common = set.intersection(*[set(p.apart.items()) for p in found])
    made: list[Spread | None] = []
    for part in parts:
        while part is not None and (odd := sorted(set(part.apart.items()) - common)):
            part = spelled_out(part, odd[0][0])
        made.append(part)
    first = next(p for p in made if p is not None)
    return first, [None if p is None else p.value for p in made]


def _beside(x: Node, part: Spread) -> Node:
    """What does not depend on the seed, repeated for the batch."""
    count = len(part.batch)
    column = build.reshape(x, (1,) * count + x.shape)
    return build.broadcast(column, part.value.shape[:count] + x.shape)


def _only(node: Node, parts: Parts) -> Spread:
    """The one operand that depends on the seed."""
    (found,) = [p for p in parts if p is not None]
    return found


# --- elementwise ops ------------------------------------------------------------------------


def _sum_of(node: Node, parts: Parts) -> Spread:
    """Where the operands add up, one that does not depend on the seed adds nothing."""
    first, values = _alike(parts)
    filled = [build.like(first.value, 0) if v is None else v for v in values]
    return Spread(build.make(node.op, *filled, **node.attributes), first.apart, first.batch)


def _product_of(node: Node, parts: Parts) -> Spread:
    part = _only(node, parts)
    operands = [
        _beside(x, part) if p is None else p.value
        for x, p in zip(node.operands, parts, strict=True)
    ]
    return Spread(build.make(node.op, *operands, **node.attributes), part.apart, part.batch)


for _op in ("add", "subtract"):
    LINEAR[_op] = _sum_of
for _op in ("negative", "cast", "multiply", "scale", "divide"):
    LINEAR[_op] = _product_of


def _where(node: Node, parts: Parts) -> Spread:
    first, (_, *values) = _alike(parts)
    condition = _beside(node.operands[0], first)
    x, y = (build.like(first.value, 0) if v is None else v for v in values)
    return Spread(build.where(condition, x, y), first.apart, first.batch)


LINEAR["where"] = _where


# --- sums -----------------------------------------------------------------------------------


def _sum(node: Node, parts: Parts) -> Spread:
    """The sum along an axis that keeps unit vectors apart is left out: it is their axis now."""
    part, axes = _only(node, parts), node["axes"]
    own = {axis: along for axis, along in part.apart.items() if along in axes}
    batch = tuple(sorted((*part.batch, *own)))
    old = len(part.batch)
    order = [part.batch.index(axis) if axis in part.batch else old + own[axis] for axis in batch]
    rest = [a for a in range(node.operands[0].ndim) if a not in own.values()]
    value = build.transpose(part.value, [*order, *(old + a for a in rest)])
    summed = [len(batch) + place for place, a in enumerate(rest) if a in axes]
    left = [a for a in rest if a not in axes]
    apart = {axis: left.index(a) for axis, a in part.apart.items() if axis not in own}
    return Spread(build.sum(value, summed), apart, batch)


def _contract(node: Node, parts: Parts) -> Spread:
    """As a sum: a summed letter that keeps unit vectors apart stays, in front of the result."""
    part = _only(node, parts)
    left, right, result = split_spec(node["spec"])
    mine = left if parts[0] is not None else right
    free = iter(sorted(set(map(chr, range(ord("a"), ord("z") + 1))) - set(left + right)))
    names = {axis: next(free) for axis in part.batch}
    own = {axis: mine[along] for axis, along in part.apart.items() if mine[along] not in result}
    batch = tuple(sorted((*part.batch, *own)))
    lead = "".join(names[axis] for axis in part.batch)
    ahead = "".join({**names, **own}[axis] for axis in batch)
    apart = {k: result.index(mine[a]) for k, a in part.apart.items() if k not in own}
    marks = strong_marks(node["spec"])
    letters = [lead + left, right] if parts[0] is not None else [left, lead + right]
    spec = f"{letters[0]}{marks[0]},{letters[1]}{marks[1]}->{ahead}{result}"
    operands = [x if p is None else p.value for x, p in zip(node.operands, parts, strict=True)]
    return Spread(build.contract(operands[0], operands[1], spec), apart, batch)


LINEAR["sum"] = _sum
LINEAR["contract"] = _contract


# --- moving elements ------------------------------------------------------------------------


def _moved(part: Spread, value: Node, place: Callable[[int], int] = lambda a: a) -> Spread:
    return Spread(value, {k: place(a) for k, a in part.apart.items()}, part.batch)


def _reshape(node: Node, parts: Parts) -> Spread:
    """An axis stays if it is one of the new shape too, with as many elements before it."""
    (x,) = node.operands
    places: dict[int, int] = {}
    for axis, size in enumerate(x.shape):
        before = math.prod(x.shape[:axis])
        for new, new_size in enumerate(node.shape):
            if size == new_size and before == math.prod(node.shape[:new]):
                places[axis] = new
    part = kept(_only(node, parts), lambda a: a in places)
    lead = part.value.shape[: len(part.batch)]
    return _moved(part, build.reshape(part.value, lead + node.shape), places.__getitem__)


def _transpose(node: Node, parts: Parts) -> Spread:
    part, axes = _only(node, parts), node["axes"]
    count = len(part.batch)
    order = [*range(count), *(count + a for a in axes)]
    return _moved(part, build.transpose(part.value, order), axes.index)


def _broadcast(node: Node, parts: Parts) -> Spread:
    part, (x,) = _only(node, parts), node.operands
    new = node.ndim - x.ndim
    lead = part.value.shape[: len(part.batch)]
    column = build.reshape(part.value, lead + (1,) * new + x.shape)
    return _moved(part, build.broadcast(column, lead + node.shape), lambda a: a + new)


def _slice(node: Node, parts: Parts) -> Spread:
    sizes = node.operands[0].shape
    part = kept(_only(node, parts), lambda a: node.shape[a] == sizes[a])
    lead = part.value.shape[: len(part.batch)]
    start, step = (0,) * len(lead) + node["start"], (1,) * len(lead) + node["step"]
    return _moved(part, build.slice(part.value, start, lead + node["stop"], step))


def _pad(node: Node, parts: Parts) -> Spread:
    """Whatever the value that is padded with, it does not depend on the seed."""
    sizes = node.operands[0].shape
    part = kept(_only(node, parts), lambda a: node.shape[a] == sizes[a])
    none = (0,) * len(part.batch)
    sides = [none + node[side] for side in ("low", "high", "interior")]
    return _moved(part, build.pad(part.value, *sides))


def _concatenate(node: Node, parts: Parts) -> Spread:
    axis = node["axis"]
    first, values = _alike([p and kept(p, lambda a: a != axis) for p in parts])
    count = len(first.batch)
    lead = first.value.shape[:count]
    filled = []
    for x, value in zip(node.operands, values, strict=True):
        zero = build.constant(0, node.type.dtype)
        filled.append(build.broadcast(zero, lead + x.shape) if value is None else value)
    return _moved(first, build.concatenate(filled, count + axis))


def _reverse(node: Node, parts: Parts) -> Spread:
    part = kept(_only(node, parts), lambda a: a not in node["axes"])
    count = len(part.batch)
    return _moved(part, build.reverse(part.value, [count + a for a in node["axes"]]))


def _take(node: Node, parts: Parts) -> Spread:
    axis, index = node["axis"], node.operands[1]
    part = kept(_only(node, parts), lambda a: a != axis)
    value = build.take(part.value, index, len(part.batch) + axis)
    return _moved(part, value, lambda a: a if a < axis else a + index.ndim - 1)


def _scatter(node: Node, parts: Parts) -> Spread:
    axis, index = node["axis"], node.operands[1]
    part = kept(_only(node, parts), lambda a: not axis <= a < axis + index.ndim)
    value = build.scatter(part.value, index, len(part.batch) + axis, node["size"])
    return _moved(part, value, lambda a: a if a < axis else a - index.ndim + 1)


def _window(node: Node, parts: Parts) -> Spread:
    part = kept(_only(node, parts), lambda a: a not in node["axes"])
    axes = [len(part.batch) + a for a in node["axes"]]
    value = build.window(part.value, axes, node["sizes"], node["strides"], node["dilations"])
    return _moved(part, value)


def _fold(node: Node, parts: Parts) -> Spread:
    part = kept(_only(node, parts), lambda a: a not in node["axes"] and a < node.ndim)
    lead = part.value.shape[: len(part.batch)]
    shape = {"axes": tuple(len(lead) + a for a in node["axes"]), "shape": lead + node.shape}
    return _moved(part, build.make("fold", part.value, **{**node.attributes, **shape}))


LINEAR |= {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "reverse": _reverse,
    "take": _take,
    "scatter": _scatter,
    "window": _window,
    "fold": _fold,
}
