"""The contraction, as matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.graph import Node
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.reference.table import Kernel, kernel


@kernel("contract")
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
