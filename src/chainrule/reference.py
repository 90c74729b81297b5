"""The reference interpreter: what each op means, in NumPy, one function per op.

Receives: a Graph and arrays. Returns: arrays. This is the definition; every other backend is
tested against it. It is also a complete backend: `Interpreter` plans a graph once (order,
lifetimes) and then runs it with little overhead per op.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.errors import index_out_of_range
from chainrule.graph import OPS, Graph, Node
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.random_bits import bits

Kernel = Callable[..., np.ndarray]
Maker = Callable[[Node], Kernel]

_KERNELS: dict[str, Maker] = {}


def _ufunc(op: str, function: Callable[..., Any]) -> None:
    _KERNELS[op] = lambda node: function


def _kernel(op: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        _KERNELS[op] = maker
        return maker

    return register


for _op in (
    "negative absolute sign floor exp expm1 log log1p sqrt sin cos tanh arctan2 add subtract "
    "multiply divide maximum minimum remainder floor_divide power equal not_equal less less_equal "
    "where"
).split():
    _ufunc(_op, getattr(np, _op))
_ufunc("not", np.invert)
_ufunc("and", np.bitwise_and)
_ufunc("or", np.bitwise_or)
_ufunc("stop", lambda x: x)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of each element, by C's erf in float64."""
    return np.asarray(_erf_elements(x), x.dtype).reshape(x.shape)


def _erf_elements(x: np.ndarray) -> list[float]:
    return [math.erf(v) for v in x.ravel().tolist()]


_ufunc("erf", erf)


@_kernel("scale")
def _scale(node: Node) -> Kernel:
    def scale(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product: np.ndarray = np.multiply(x, y)
        # The common case, all finite, needs no mask: then x * y is 0 wherever x is.
        if np.isfinite(y).all():
            return product
        return np.where(x == 0, product.dtype.type(0), product)

    return scale


@_kernel("constant")
def _constant(node: Node) -> Kernel:
    value: np.ndarray = node["value"]
    return lambda: value


@_kernel("iota")
def _iota(node: Node) -> Kernel:
    axis, shape = node["axis"], node["shape"]
    column = np.arange(shape[axis], dtype=node["dtype"])
    value = np.broadcast_to(column.reshape([-1] + [1] * (len(shape) - axis - 1)), shape)
    return lambda: value


@_kernel("random_bits")
def _random_bits(node: Node) -> Kernel:
    shape, salt, size = node["shape"], node["salt"], node.type.size

    def random_bits(key: np.ndarray, step: np.ndarray) -> np.ndarray:
        return bits(size, key, int(step), salt).reshape(shape)

    return random_bits


@_kernel("cast")
def _cast(node: Node) -> Kernel:
    dtype = node["dtype"]
    return lambda x: x.astype(dtype)


@_kernel("sum")
def _sum(node: Node) -> Kernel:
    axes, dtype = node["axes"], node.type.dtype
    return lambda x: np.add.reduce(x, axis=axes, dtype=dtype)


@_kernel("max")
def _max(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.maximum.reduce(x, axis=axes)


@_kernel("argmax")
def _argmax(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda x: np.argmax(x, axis=axis)


@_kernel("argsort")
def _argsort(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda x: np.argsort(x, axis=axis, kind="stable")


@_kernel("reshape")
def _reshape(node: Node) -> Kernel:
    shape = node["shape"]
    return lambda x: np.reshape(x, shape)


@_kernel("transpose")
def _transpose(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.transpose(x, axes)


@_kernel("broadcast")
def _broadcast(node: Node) -> Kernel:
    shape = node["shape"]
    return lambda x: np.broadcast_to(x, shape)


@_kernel("slice")
def _slice(node: Node) -> Kernel:
    bounds = zip(node["start"], node["stop"], node["step"], strict=True)
    index = tuple(slice(*b) for b in bounds)
    return lambda x: x[index]


@_kernel("pad")
def _pad(node: Node) -> Kernel:
    shape, dtype, value = node.shape, node.type.dtype, node["value"]
    sides = zip(node.operands[0].shape, node["low"], node["interior"], strict=True)
    index = tuple(
        slice(low, low + max(size + interior * (size - 1), 0), interior + 1)
        for size, low, interior in sides
    )

    def pad(x: np.ndarray) -> np.ndarray:
        result = np.full(shape, value, dtype)
        result[index] = x
        return result

    return pad


@_kernel("concatenate")
def _concatenate(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda *parts: np.concatenate(parts, axis=axis)


@_kernel("reverse")
def _reverse(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.flip(x, axes)


@_kernel("contract")
def _contract(node: Node) -> Kernel:
    """As matrix products: (batch, left, summed) @ (batch, summed, right)."""
    left, right, result = split_spec(node["spec"])
    both = [c for c in left if c in right]
    batch = [c for c in both if c in result]
    summed = [c for c in both if c not in result]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    sizes = dict(zip(left + right, node.operands[0].shape + node.operands[1].shape, strict=True))

    def count(letters: Sequence[str]) -> int:
        return math.prod(sizes[c] for c in letters)

    left_axes = [left.index(c) for c in batch + rows + summed]
    right_axes = [right.index(c) for c in batch + summed + columns]
    stacked = (count(batch),) if batch else ()
    left_shape = (*stacked, count(rows), count(summed))
    right_shape = (*stacked, count(summed), count(columns))
    made = batch + rows + columns
    made_shape = [sizes[c] for c in made]
    order = [made.index(c) for c in result]
    dtype = node.type.dtype

    marks = strong_marks(node["spec"])

    def contract(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x = x.transpose(left_axes).reshape(left_shape)
        y = y.transpose(right_axes).reshape(right_shape)
        product: np.ndarray = np.matmul(x, y, dtype=dtype)
        if any(marks) and not np.isfinite(product).all():
            product = _strong_product(x, y, both=all(marks))
        return product.reshape(made_shape).transpose(order)

    return contract


def _strong_product(x: np.ndarray, y: np.ndarray, both: bool) -> np.ndarray:
    """x @ y, where a zero of x (or of both) times anything, also infinity or NaN, is zero.

    The product of what is finite, and then, for each element of the result, whether any of its
    terms is +infinity, -infinity or undefined.
    """
    count = np.result_type(x.dtype, np.float32)

    def meets(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.matmul(a.astype(count), b.astype(count)) > 0
        return found

    def finite(a: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(a), a, a.dtype.type(0))

    up = meets(x > 0, y == np.inf) | meets(x < 0, y == -np.inf)
    up |= meets(x == np.inf, y > 0) | meets(x == -np.inf, y < 0)
    down = meets(x < 0, y == np.inf) | meets(x > 0, y == -np.inf)
    down |= meets(x == -np.inf, y > 0) | meets(x == np.inf, y < 0)
    undefined = meets(x != 0, np.isnan(y)) | meets(np.isnan(x), y != 0) | (up & down)
    if not both:
        undefined |= meets(~np.isfinite(x), y == 0)
    result = np.where(up, np.inf, np.where(down, -np.inf, np.matmul(finite(x), finite(y))))
    return np.where(undefined, np.nan, result).astype(x.dtype)


def _check_indices(node: Node, index: np.ndarray, size: int) -> None:
    if index.size and not (0 <= index.min() and index.max() < size):
        bad = int(index.min()) if index.min() < 0 else int(index.max())
        raise index_out_of_range(bad, size, str(node.origin))


@_kernel("take")
def _take(node: Node) -> Kernel:
    axis, size = node["axis"], node.operands[0].shape[node["axis"]]

    def take(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_indices(node, index, size)
        return np.take(x, index, axis=axis)

    return take


@_kernel("scatter")
def _scatter(node: Node) -> Kernel:
    axis, shape, dtype = node["axis"], node.shape, node.type.dtype
    before = (slice(None),) * axis

    def scatter(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_indices(node, index, shape[axis])
        result = np.zeros(shape, dtype)
        np.add.at(result, (*before, index), x)
        return result

    return scatter


class Interpreter:
    """A graph, planned once, run on the reference backend."""

    def __init__(self, graph: Graph) -> None:
        nodes = graph.nodes()
        slots = {node: slot for slot, node in enumerate(nodes)}
        self._input_count = len(graph.inputs)
        self._outputs = [slots[n] for n in graph.outputs]
        self._steps: list[tuple[Kernel, list[int], int, list[int]]] = []
        self._initial: list[np.ndarray | None] = [None] * len(nodes)
        reads_of = [_reads(n, slots) for n in nodes]
        # What only repeats its operand for an op that reads the operand itself is not needed.
        needed = set(self._outputs)
        for step in reversed(range(len(nodes))):
            if step in needed:
                needed.update(reads_of[step])
        last_use = {slot: step for step in sorted(needed) for slot in reads_of[step]}
        kept = set(self._outputs)
        for step, node in enumerate(nodes):
            if node.op == "input" or step not in needed:
                continue
            kernel = _KERNELS[node.op](node)
            if not node.operands:  # constants and iotas are made once
                self._initial[step] = kernel()
                kept.add(step)
                continue
            reads = reads_of[step]
            free = [s for s in set(reads) if last_use[s] == step and s not in kept]
            self._steps.append((kernel, reads, step, free))

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        values: list[Any] = self._initial.copy()
        values[: self._input_count] = inputs
        with np.errstate(all="ignore"):
            for kernel, reads, slot, free in self._steps:
                values[slot] = kernel(*[values[r] for r in reads])
                for dead in free:
                    values[dead] = None
        return [np.asarray(values[slot]) for slot in self._outputs]


def _reads(node: Node, slots: Mapping[Node, int]) -> list[int]:
    """The slots a node reads. NumPy broadcasts by itself, so an elementwise op that has one
    operand of full shape reads the others from before their broadcast."""
    operands = list(node.operands)
    if OPS[node.op].elementwise and len(operands) > 1:
        sources = [n.operands[0] if n.op == "broadcast" else n for n in operands]
        if any(source.shape == node.shape for source in sources):
            operands = sources
    return [slots[n] for n in operands]


def evaluate(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs a graph once."""
    return Interpreter(graph)(inputs)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's products on one thread, as long as this lasts: the bits are then the same for any
    number of cores, and threads that spin do not hold up a busy machine."""
    from threadpoolctl import threadpool_limits  # slow to import, and needed only to train

    with threadpool_limits(limits=1, user_api="blas"):
        yield


OPS_WITH_MEANING = frozenset(_KERNELS) | {"input"}
