"""Overlap-adds of windows with strides, residue by residue.

Between the deltas of windows that are s elements apart there are s - 1 zeros, and a contraction
over them does s times the work along each such axis. Every s-th result, though, meets every s-th
element of the windows only: so results with the same remainder are a contraction without strides,
of a part of the weights, and together these do each multiplication once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chainrule.graph import ArrayType, Node, build
from chainrule.graph.ops import split_spec, strong_marks

_MOST = 16  # residues


@dataclass(frozen=True)
class Product:
    """The contraction of a fold: the delta g, with the windows' places, and the weight w, with what
    is inside a window, each with its letters."""

    delta: Node
    g: str
    g_mark: str
    weight: Node
    w: str
    w_mark: str
    result: str
    outer: tuple[str, ...]  # the letters of the places
    inner: tuple[str, ...]  # and of what is inside

    @staticmethod
    def of(fold: Node) -> Product | None:
        """The product behind a fold, if it is one of a delta and of weights."""
        product = fold.operands[0]
        left, right, result = split_spec(product["spec"])
        outer = tuple(result[axis] for axis in fold["axes"])
        inner = tuple(result[fold.ndim :])
        marks = strong_marks(product["spec"])
        sides = list(zip((left, right), marks, product.operands, strict=True))
        for (g, g_mark, delta), (w, w_mark, weight) in (sides, sides[::-1]):
            apart = not set(outer) & set(w) and not set(inner) & set(g)
            if g_mark and apart and set(outer) <= set(g) and set(inner) <= set(w):
                return Product(delta, g, g_mark, weight, w, w_mark, result, outer, inner)
        return None

    def part(self, start: Sequence[int], step: Sequence[int]) -> Product:
        """With every `step`-th element of the windows, from `start` on."""
        bounds = dict(zip(self.inner, zip(start, step, strict=True), strict=True))
        sides = [bounds.get(c, (0, 1)) for c in self.w]
        first, steps = zip(*sides, strict=True)
        return replace(self, weight=build.slice(self.weight, first, self.weight.shape, steps))

    def contraction(self) -> Node:
        """The product itself."""
        spec = f"{self.g}{self.g_mark},{self.w}{self.w_mark}->{self.result}"
        return build.contract(self.delta, self.weight, spec)


# What makes a fold of a product a contraction, of at least the fold's shape: zeros behind it.
Gather = Callable[[Node, Product, Sequence[int]], Node]


def by_residue(node: Node, product: Product) -> Callable[[Gather], Node] | None:
    """How a fold with strides is put together from folds without, each of which is gathered; None
    where it has none, or is another kind."""
    strides, axes = node["strides"], node["axes"]
    count = 1
    for stride in strides:
        count *= stride
    if not 1 < count <= _MOST or any(d != 1 for d in node["dilations"]) or node.ndim - 1 in axes:
        return None
    return lambda gather: _together(node, product, gather)


def _together(node: Node, product: Product, gather: Gather) -> Node:
    strides, axes = node["strides"], node["axes"]
    shape = list(node.shape)
    for axis, stride in zip(axes, strides, strict=True):
        shape[axis] = -(-shape[axis] // stride)
    parts = []
    for start in itertools.product(*map(range, strides)):
        bounds = zip(node["sizes"], start, strides, strict=True)
        sizes = tuple(-(-(size - first) // stride) for size, first, stride in bounds)
        parts.append(_residue(node, product, gather, start, sizes, tuple(shape)))
    # Side by side along the last axis, and then each to its places.
    last, several = node.ndim - 1, len(strides)
    joined = build.concatenate(parts, last)
    apart = build.reshape(joined, (*shape[:last], *strides, shape[last]))
    order: list[int] = []
    for axis in range(last):
        order.append(axis)
        if axis in axes:
            order.append(last + axes.index(axis))
    placed = build.transpose(apart, [*order, last + several])
    whole = list(shape)
    for axis, stride in zip(axes, strides, strict=True):
        whole[axis] *= stride
    together = build.reshape(placed, whole)
    return build.slice(together, [0] * node.ndim, node.shape, [1] * node.ndim)


def _residue(
    node: Node,
    product: Product,
    gather: Gather,
    start: Sequence[int],
    sizes: tuple[int, ...],
    shape: tuple[int, ...],
) -> Node:
    """The results whose places leave these remainders."""
    if min(sizes) < 1:  # no window reaches them
        return build.zeros(ArrayType(node.type.dtype, shape))
    part = product.part(start, node["strides"])
    ones = (1,) * len(sizes)
    reached = list(shape)
    for axis, size in zip(node["axes"], sizes, strict=True):
        reached[axis] = node.operands[0].shape[axis] + size - 1
    fold = build.make(
        "fold",
        part.contraction(),
        axes=node["axes"],
        sizes=sizes,
        strides=ones,
        dilations=ones,
        shape=tuple(reached),
    )
    return gather(fold, part, shape)
