"""Making nodes: one function per op, used by tracing, the backward rules and the rewrites.

They infer and check the type at once. The only simplifications made here are those that keep a
graph readable (no cast to the same dtype, no broadcast to the same shape); the rest is `rewrite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph.node import Graph, Node, current_origin
from chainrule.graph.ops import OPS, split_spec, strong_marks
from chainrule.graph.types import ArrayType


def make(op: str, *operands: Node, **attributes: Any) -> Node:
    """A node of the closed table; raises where the operands do not fit the op."""
    origin = current_origin()
    try:
        result = OPS[op].infer(tuple(n.type for n in operands), attributes)
    except ChainruleError as error:
        if error.where is None and str(origin):
            raise type(error)(error.what, where=str(origin), do=error.do) from None
        raise
    return Node(op, operands, attributes, result, origin)


def input(name: str, type: ArrayType) -> Node:
    return make("input", name=name, type=type)


def constant(value: object, dtype: np.dtype | None = None) -> Node:
    """A constant; the array is copied, so that later changes to it do not reach the graph."""
    array = np.array(value, dtype=dtype, order="C", copy=True)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return make("constant", value=array)


def full(type: ArrayType, value: float) -> Node:
    return broadcast(constant(value, type.dtype), type.shape)


def zeros(type: ArrayType) -> Node:
    return full(type, 0)


def like(node: Node, value: float) -> Node:
    """`value` in the shape and dtype of `node`."""
    return full(node.type, value)


def cast(x: Node, dtype: np.dtype) -> Node:
    return x if x.type.dtype == dtype else make("cast", x, dtype=np.dtype(dtype))


def broadcast(x: Node, shape: Sequence[int]) -> Node:
    return x if x.shape == tuple(shape) else make("broadcast", x, shape=tuple(shape))


def reshape(x: Node, shape: Sequence[int]) -> Node:
    return x if x.shape == tuple(shape) else make("reshape", x, shape=tuple(shape))


def transpose(x: Node, axes: Sequence[int]) -> Node:
    axes = tuple(axes)
    return x if axes == tuple(range(x.ndim)) else make("transpose", x, axes=axes)


def sum(x: Node, axes: Sequence[int]) -> Node:
    return x if not axes else make("sum", x, axes=tuple(sorted(axes)))


def max(x: Node, axes: Sequence[int]) -> Node:
    return x if not axes else make("max", x, axes=tuple(sorted(axes)))


def reverse(x: Node, axes: Sequence[int]) -> Node:
    return x if not axes else make("reverse", x, axes=tuple(sorted(axes)))


def slice(x: Node, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Node:
    start, stop, step = tuple(start), tuple(stop), tuple(step)
    if stop == x.shape and not any(start) and all(s == 1 for s in step):
        return x
    return make("slice", x, start=start, stop=stop, step=step)


def pad(
    x: Node, low: Sequence[int], high: Sequence[int], interior: Sequence[int], value: float = 0
) -> Node:
    if not any(low) and not any(high) and not any(interior):
        return x
    attributes = {"low": tuple(low), "high": tuple(high), "interior": tuple(interior)}
    return make("pad", x, **attributes, value=value)


def window(
    x: Node,
    axes: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Node:
    """Windows of these sizes that slide over these axes; their elements are axes at the end."""
    if not axes:
        return x
    settings = {"sizes": sizes, "strides": strides, "dilations": dilations}
    return make("window", x, axes=tuple(axes), **{k: tuple(v) for k, v in settings.items()})


def fold(x: Node, windows: Node, shape: Sequence[int]) -> Node:
    """The overlap-add of x, which holds what `windows` made from an array of this shape."""
    settings = {key: windows[key] for key in ("axes", "sizes", "strides", "dilations")}
    return make("fold", x, **settings, shape=tuple(shape))


def concatenate(parts: Sequence[Node], axis: int) -> Node:
    return parts[0] if len(parts) == 1 else make("concatenate", *parts, axis=axis)


def iota(shape: Sequence[int], axis: int, dtype: np.dtype) -> Node:
    return make("iota", shape=tuple(shape), axis=axis, dtype=np.dtype(dtype))


def contract(x: Node, y: Node, spec: str) -> Node:
    """The einsum of two operands; letters are renamed in order of appearance.

    Zeros of an operand marked by "!" (a delta) are strong: times infinity or NaN they stay zero.
    """
    left, right, result = split_spec(spec)
    left_mark, right_mark = strong_marks(spec)
    names: dict[str, str] = {}
    for letter in left + right + result:
        names.setdefault(letter, chr(ord("a") + len(names)))
    left, right, result = ("".join(names[c] for c in part) for part in (left, right, result))
    return make("contract", x, y, spec=f"{left}{left_mark},{right}{right_mark}->{result}")


def part(x: Node, index: int) -> Node:
    """One of the arrays that a loop gives."""
    return make("part", x, index=index)


def scan(
    body: Graph,
    carry: Sequence[Node],
    sequences: Sequence[Node],
    constants: Sequence[Node],
    length: int,
    reverse: bool = False,
) -> Node:
    """The body for each step, the last one first with `reverse`.

    It takes the carry, an element of each sequence and the constants, and gives the next carry and
    what is stacked.
    """
    settings = {"carries": len(carry), "sequences": len(sequences), "length": length}
    operands = (*carry, *sequences, *constants)
    return make("scan", *operands, body=body, **settings, reverse=reverse)


def take(x: Node, index: Node, axis: int) -> Node:
    return make("take", x, index, axis=axis)


def scatter(x: Node, index: Node, axis: int, size: int) -> Node:
    return make("scatter", x, index, axis=axis, size=size)


def add(x: Node, y: Node) -> Node:
    return make("add", x, y)


def subtract(x: Node, y: Node) -> Node:
    return make("subtract", x, y)


def multiply(x: Node, y: Node) -> Node:
    return make("multiply", x, y)


def divide(x: Node, y: Node) -> Node:
    return make("divide", x, y)


def scale(x: Node, y: Node) -> Node:
    return make("scale", x, y)


def negative(x: Node) -> Node:
    return make("negative", x)


def where(condition: Node, x: Node, y: Node) -> Node:
    return make("where", condition, x, y)


def equal(x: Node, y: Node) -> Node:
    return make("equal", x, y)


def less(x: Node, y: Node) -> Node:
    return make("less", x, y)
