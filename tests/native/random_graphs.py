"""Random graphs whose results do not depend on the order of sums, so that backends must agree to
the bit.

Every node is computed while the graph grows. A floating-point sum or contraction is taken only over
whole numbers small enough to add up exactly in any order (or infinities and NaN, which absorb the
rest). The elementwise ops used are rounded correctly by every backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.backward import gradients
from chainrule.errors import NoDerivativeError
from chainrule.graph import ArrayType, Graph, Node, build
from chainrule.graph.ops import split_spec
from chainrule.graph.types import DTYPE_NAMES
from chainrule.reference import KERNELS

SIZES = (1, 2, 3, 4, 5, 7, 0, 8, 15, 16, 17, 31, 33)  # around the widths of vectors; primes
LARGEST = 3000  # elements of one value
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
DTYPES = tuple(DTYPE_NAMES.values())
INTEGERS = tuple(d for d in DTYPES if d.kind in "iu")

Pick = Callable[[int], int]  # a number below another, chosen by whoever makes the graph


@dataclass
class Grower:
    """A graph being made: its nodes and what they are worth."""

    pick: Pick
    random: np.random.Generator
    values: dict[Node, np.ndarray] = field(default_factory=dict)
    inputs: list[Node] = field(default_factory=list)

    # --- choices ----------------------------------------------------------------------------

    def one(self, options: Sequence[Any]) -> Any:
        return options[self.pick(len(options))]

    def some(self, where: Callable[[Node], bool] = lambda n: True) -> Node | None:
        """A value made already, the latest ones first."""
        fitting = [n for n in reversed(self.values) if where(n)]
        return self.one(fitting) if fitting else None

    def like(self, x: Node) -> Node:
        """Another value of the same type."""
        found = self.some(lambda n: n.type == x.type)
        if self.pick(2) and found is not None:
            return found
        other = self.some()
        assert other is not None
        y = self.keep(self.cast(other, x.type.dtype))
        if y is None or y.type.dtype != x.type.dtype:
            return x
        try:
            fitted = self.keep(build.broadcast(y, x.shape))
        except ValueError:
            fitted = None
        if fitted is not None:
            return fitted
        fresh = self.keep(build.constant(self.numbers((), x.type.dtype)))
        repeated = None if fresh is None else self.keep(build.broadcast(fresh, x.shape))
        return x if repeated is None else repeated

    def cast(self, x: Node, dtype: np.dtype) -> Node:
        # What does not fit u32 is not even the same for NumPy's own arrays and scalars.
        value = self.values[x]
        if dtype == np.uint32 and value.dtype.kind == "f":
            with np.errstate(all="ignore"):
                if not (np.abs(value) < 2.0**31).all():
                    return x
        return build.cast(x, dtype)

    def shape(self) -> tuple[int, ...]:
        shape: list[int] = []
        for _ in range(self.pick(4)):
            size = self.one(SIZES)
            if size * np.prod(shape, dtype=int) <= LARGEST:
                shape.append(size)
        return tuple(shape)

    def numbers(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if dtype == np.bool_:
            return np.asarray(self.random.random(shape) < 0.5)
        low, high = (0, 5) if dtype.kind == "u" else (-3, 4)
        array = np.asarray(self.random.integers(low, high, shape), dtype)
        if dtype.kind == "f" and array.ndim and not self.pick(6):
            special = self.random.random(shape) < 0.1
            array[special] = self.random.choice([np.inf, -np.inf, np.nan, -0.0, 0.5], special.sum())
        return array

    # --- growth -----------------------------------------------------------------------------

    def input(self) -> None:
        dtype = self.one(FLOATS) if self.pick(3) else self.one(DTYPES)
        node = build.input(f"x{len(self.inputs)}", ArrayType(dtype, self.shape()))
        self.inputs.append(node)
        self.values[node] = self.numbers(node.shape, dtype)

    def keep(self, node: Node) -> Node | None:
        """Computes a node; None where it is too large or its rounding depends on an order."""
        if node in self.values:
            return node
        if node.type.size > LARGEST or None in [self.keep(n) for n in node.operands]:
            return None
        if not self.exact(node):
            return None
        with np.errstate(all="ignore"):
            operands = [self.values[n] for n in node.operands]
            self.values[node] = np.asarray(KERNELS[node.op](node)(*operands))
        return node

    def exact(self, node: Node) -> bool:
        if not node.type.is_float:
            return True
        limit = 2.0**22 if node.type.dtype == np.float32 else 2.0**50
        arrays = [self.values[n] for n in node.operands]
        if node.op in ("sum", "scatter"):
            return _whole(arrays[0], limit / max(arrays[0].size, 1))
        if node.op == "contract":
            largest = [np.abs(_finite(a)).max(initial=0) for a in arrays]
            sizes = max(arrays[0].size, 1)
            whole = all(_whole(a, limit) for a in arrays)
            return whole and float(largest[0]) * float(largest[1]) * sizes < limit
        return True

    def grow(self) -> None:
        x = self.some()
        assert x is not None
        made = self.one(_MAKERS)(self, x)
        if made is not None:
            self.keep(made)

    def differentiate(self) -> list[Node]:
        """Gradients of a sum over one of the values, where they are exact too."""
        result = self.some(lambda n: n.type.is_float and n.op != "input")
        wrt = [n for n in self.inputs if n.type.is_float]
        if result is None or not wrt:
            return []
        total = self.keep(build.sum(result, range(result.ndim)))
        if total is None:
            return []
        try:
            found = gradients(total, wrt, strict=False)
        except NoDerivativeError:
            return []
        for gradient in found:
            for node in Graph("", tuple(self.inputs), (gradient,), ("g",)).nodes():
                if self.keep(node) is None:
                    return []
        return found

    def outputs(self) -> list[Node]:
        """Some of the values: inputs, constants and the same one twice may be among them."""
        chosen = [list(self.values)[-1]]
        for _ in range(self.pick(4)):
            node = self.some()
            assert node is not None
            chosen.append(node)
        return chosen + (self.differentiate() if self.pick(2) else [])


def random_graph(pick: Pick, seed: int, steps: int) -> tuple[Graph, list[np.ndarray]]:
    """A graph and arguments for it."""
    grower = Grower(pick, np.random.default_rng(seed))
    for _ in range(1 + pick(3)):
        grower.input()
    for _ in range(steps):
        grower.grow()
    outputs = grower.outputs()
    names = tuple(str(i) for i in range(len(outputs)))
    graph = Graph("random", tuple(grower.inputs), tuple(outputs), names)
    return graph, [grower.values[n] for n in grower.inputs]


def _finite(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, x.dtype.type(0)) if x.dtype.kind == "f" else x


def _whole(x: np.ndarray, limit: float) -> bool:
    """Whether all numbers are whole and small, or not finite."""
    finite = _finite(x)
    with np.errstate(all="ignore"):
        return bool((finite == np.floor(finite)).all() and (np.abs(finite) <= limit).all())


# --- one function per kind of op: a node, or None where it does not fit ---


def _unary(g: Grower, x: Node) -> Node | None:
    if x.type.dtype == np.bool_:
        return build.make(g.one(["not", "stop"]), x)
    names = ["negative", "absolute", "sign", "stop"]
    names += ["floor", "sqrt"] if x.type.is_float else ["not"]
    return build.make(g.one(names), x)


def _binary(g: Grower, x: Node) -> Node | None:
    y = g.like(x)
    if x.type.dtype == np.bool_:
        return build.make(g.one(["and", "or"]), x, y)
    names = ["add", "subtract", "multiply", "maximum", "minimum", "floor_divide", "remainder"]
    names += ["divide", "scale"] if x.type.is_float else ["and", "or"]
    return build.make(g.one(names), *((x, y) if g.pick(2) else (y, x)))


def _compare(g: Grower, x: Node) -> Node | None:
    return build.make(g.one(["equal", "not_equal", "less", "less_equal"]), x, g.like(x))


def _where(g: Grower, x: Node) -> Node | None:
    y = g.like(x)
    condition = g.keep(build.less(g.like(x), y))
    return None if condition is None else build.where(condition, x, y)


def _cast(g: Grower, x: Node) -> Node | None:
    return g.cast(x, g.one(FLOATS if g.pick(2) else DTYPES))


def _axes(g: Grower, x: Node) -> list[int]:
    return [axis for axis in range(x.ndim) if g.pick(2)]


def _reduce(g: Grower, x: Node) -> Node | None:
    axes = _axes(g, x)
    kind = g.pick(2)
    if kind and all(x.shape[a] for a in axes):
        return build.max(x, axes)
    return None if x.type.dtype == np.bool_ else build.sum(x, axes)


def _order(g: Grower, x: Node) -> Node | None:
    if not x.ndim:
        return None
    axis = g.pick(x.ndim)
    if g.pick(2) and x.shape[axis]:
        return build.make("argmax", x, axis=axis)
    return build.make("argsort", x, axis=axis)


def _reshape(g: Grower, x: Node) -> Node | None:
    kind = g.pick(4)
    if kind == 0:
        return build.reshape(x, (x.type.size,))
    if kind == 1:
        place = g.pick(x.ndim + 1)
        return build.reshape(x, (*x.shape[:place], 1, *x.shape[place:]))
    if kind == 2:
        return build.reshape(x, [n for n in x.shape if n != 1])
    factors = [n for n in range(1, x.type.size + 1) if x.type.size % n == 0]
    if not factors:
        return None
    first = g.one(factors)
    return build.reshape(x, (first, x.type.size // first))


def _transpose(g: Grower, x: Node) -> Node | None:
    axes = list(range(x.ndim))
    order = [axes.pop(g.pick(len(axes))) for _ in range(x.ndim)]
    return build.transpose(x, order)


def _broadcast(g: Grower, x: Node) -> Node | None:
    shape = [g.one(SIZES) if n == 1 else n for n in x.shape]
    new = [g.one(SIZES) for _ in range(g.pick(2))]
    return build.broadcast(x, [*new, *shape])


def _slice(g: Grower, x: Node) -> Node | None:
    start, stop, step = [], [], []
    for size in x.shape:
        whole = not g.pick(2)
        first = 0 if whole else g.pick(size + 1)
        start.append(first)
        stop.append(size if whole else first + g.pick(size - first + 1))
        step.append(1 if whole else 1 + g.pick(3))
    return build.slice(x, start, stop, step)


def _reverse(g: Grower, x: Node) -> Node | None:
    return build.reverse(x, _axes(g, x))


def _pad(g: Grower, x: Node) -> Node | None:
    low, high, gaps = ([g.pick(3) for _ in x.shape] for _ in range(3))
    value: Any = bool(g.pick(2)) if x.type.dtype == np.bool_ else g.pick(3)
    return build.pad(x, low, high, gaps, value)


def _join(g: Grower, x: Node) -> Node | None:
    if not x.ndim:
        return None
    axis = g.pick(x.ndim)

    def fits(n: Node) -> bool:
        rest = [s for a, s in enumerate(n.shape) if a != axis]
        same = n.type.dtype == x.type.dtype and n.ndim == x.ndim
        return same and rest == [s for a, s in enumerate(x.shape) if a != axis]

    parts = [x]
    for _ in range(1 + g.pick(3)):
        other = g.some(fits)
        assert other is not None
        parts.append(other)
    return build.concatenate(parts, axis)


def _indices(g: Grower, size: int, shape: Callable[[Node], bool]) -> Node | None:
    """Numbers below a size, computed from what there is."""
    found = g.some(lambda n: n.type.dtype.kind in "iu" and shape(n))
    if found is None or not size:
        return None
    wide = g.keep(build.cast(found, np.dtype(g.one([np.int64, np.int32, np.uint16]))))
    if wide is None:
        return None
    limit = build.constant(size, wide.type.dtype)
    if g.keep(limit) is None or g.keep(build.broadcast(limit, wide.shape)) is None:
        return None
    return g.keep(build.make("remainder", wide, build.broadcast(limit, wide.shape)))


def _take(g: Grower, x: Node) -> Node | None:
    if not x.ndim:
        return None
    axis = g.pick(x.ndim)
    index = _indices(g, x.shape[axis], lambda n: n.ndim < 3)
    return None if index is None else build.take(x, index, axis)


def _scatter(g: Grower, x: Node) -> Node | None:
    if not x.ndim or x.type.dtype == np.bool_:
        return None
    axis, size = g.pick(x.ndim), 1 + g.pick(9)

    def fits(n: Node) -> bool:
        return n.shape == x.shape[axis : axis + n.ndim]

    index = _indices(g, size, fits)
    return None if index is None else build.scatter(x, index, axis, size)


def _contract(g: Grower, x: Node) -> Node | None:
    """Letters of the right operand are those of the left where sizes agree, or new ones."""
    y = g.some(lambda n: n.type.dtype == x.type.dtype)
    if y is None or x.type.dtype == np.bool_:
        return None
    left = "abcdef"[: x.ndim]
    right = ""
    for place, size in enumerate(y.shape):
        equal = [c for c, n in zip(left, x.shape, strict=True) if n == size and c not in right]
        right += g.one(equal) if equal and g.pick(3) else "uvwxyz"[place]
    free = [c for c in dict.fromkeys(left + right) if not (c in left and c in right)]
    batch = [c for c in left if c in right and not g.pick(3)]
    letters = free + batch
    result = [letters.pop(g.pick(len(letters))) for _ in range(len(letters))]
    marks = g.one([("", ""), ("!", ""), ("!", "!")])
    return build.contract(x, y, f"{left}{marks[0]},{right}{marks[1]}->{''.join(result)}")


def _iota(g: Grower, x: Node) -> Node | None:
    if not x.ndim or x.type.dtype == np.bool_:
        return None
    if max(x.shape) > 127:
        return None
    return build.iota(x.shape, g.pick(x.ndim), x.type.dtype)


def _constant(g: Grower, x: Node) -> Node | None:
    return build.constant(g.numbers(x.shape, x.type.dtype))


def _bits(g: Grower, x: Node) -> Node | None:
    words = g.keep(build.constant(np.arange(2), np.dtype(np.uint32)))
    step = g.some(lambda n: n.type == ArrayType(np.dtype(np.uint32), ()))
    if step is None:
        step = g.keep(build.constant(np.uint32(3)))
    assert words is not None
    assert step is not None
    key = g.keep(build.add(words, build.broadcast(step, (2,)))) if g.pick(2) else words
    if key is None:
        return None
    return build.make("random_bits", key, step, shape=x.shape, salt=g.pick(3))


_MAKERS = (
    _unary,
    _binary,
    _binary,
    _compare,
    _where,
    _cast,
    _reduce,
    _reduce,
    _order,
    _reshape,
    _reshape,
    _transpose,
    _transpose,
    _broadcast,
    _slice,
    _reverse,
    _pad,
    _join,
    _take,
    _scatter,
    _contract,
    _contract,
    _iota,
    _constant,
    _bits,
)


def letters_of(node: Node) -> set[str]:
    """The letters of a contraction."""
    return set("".join(split_spec(node["spec"])))
