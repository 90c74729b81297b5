"""What starts from nothing, and what acts on each element."""

from __future__ import annotations

import math

import numpy as np

from chainrule.graph import Node
from chainrule.random_bits import bits
from chainrule.reference.table import Kernel, kernel, ufunc

for _op in (
    "negative absolute sign floor exp expm1 log log1p sqrt sin cos tanh arctan2 add subtract "
    "multiply divide maximum minimum remainder floor_divide power equal not_equal less less_equal "
    "where"
).split():
    ufunc(_op, getattr(np, _op))
ufunc("not", np.invert)
ufunc("and", np.bitwise_and)
ufunc("or", np.bitwise_or)
ufunc("stop", lambda x: x)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of each element, by C's erf in float64."""
    return np.asarray(_erf_elements(x), x.dtype).reshape(x.shape)


def _erf_elements(x: np.ndarray) -> list[float]:
    return [math.erf(v) for v in x.ravel().tolist()]


ufunc("erf", erf)


@kernel("scale")
def _scale(node: Node) -> Kernel:
    def scale(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product: np.ndarray = np.multiply(x, y)
        # The common case, all finite, needs no mask: then x * y is 0 wherever x is.
        if np.isfinite(y).all():
            return product
        return np.where(x == 0, product.dtype.type(0), product)

    return scale


@kernel("constant")
def _constant(node: Node) -> Kernel:
    value: np.ndarray = node["value"]
    return lambda: value


@kernel("iota")
def _iota(node: Node) -> Kernel:
    axis, shape = node["axis"], node["shape"]
    column = np.arange(shape[axis], dtype=node["dtype"])
    value = np.broadcast_to(column.reshape([-1] + [1] * (len(shape) - axis - 1)), shape)
    return lambda: value


@kernel("random_bits")
def _random_bits(node: Node) -> Kernel:
    shape, salt, size = node["shape"], node["salt"], node.type.size

    def random_bits(key: np.ndarray, step: np.ndarray) -> np.ndarray:
        return bits(size, key, int(step), salt).reshape(shape)

    return random_bits


@kernel("cast")
def _cast(node: Node) -> Kernel:
    dtype = node["dtype"]
    return lambda x: x.astype(dtype)
