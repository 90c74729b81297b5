"""Reducing axes, moving elements, and selecting them by index."""

from __future__ import annotations

import numpy as np

from chainrule.errors import index_out_of_range
from chainrule.graph import Node
from chainrule.reference.table import Kernel, kernel


@kernel("sum")
def _sum(node: Node) -> Kernel:
    axes, dtype = node["axes"], node.type.dtype
    return lambda x: np.add.reduce(x, axis=axes, dtype=dtype)


@kernel("max")
def _max(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.maximum.reduce(x, axis=axes)


@kernel("argmax")
def _argmax(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda x: np.argmax(x, axis=axis)


@kernel("argsort")
def _argsort(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda x: np.argsort(x, axis=axis, kind="stable")


@kernel("reshape")
def _reshape(node: Node) -> Kernel:
    shape = node["shape"]
    return lambda x: np.reshape(x, shape)


@kernel("transpose")
def _transpose(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.transpose(x, axes)


@kernel("broadcast")
def _broadcast(node: Node) -> Kernel:
    shape = node["shape"]
    return lambda x: np.broadcast_to(x, shape)


@kernel("slice")
def _slice(node: Node) -> Kernel:
    bounds = zip(node["start"], node["stop"], node["step"], strict=True)
    index = tuple(slice(*b) for b in bounds)
    return lambda x: x[index]


@kernel("pad")
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


@kernel("concatenate")
def _concatenate(node: Node) -> Kernel:
    axis = node["axis"]
    return lambda *parts: np.concatenate(parts, axis=axis)


@kernel("reverse")
def _reverse(node: Node) -> Kernel:
    axes = node["axes"]
    return lambda x: np.flip(x, axes)


def _check_indices(node: Node, index: np.ndarray, size: int) -> None:
    if index.size and not (0 <= index.min() and index.max() < size):
        bad = int(index.min()) if index.min() < 0 else int(index.max())
        raise index_out_of_range(bad, size, str(node.origin))


@kernel("take")
def _take(node: Node) -> Kernel:
    axis, size = node["axis"], node.operands[0].shape[node["axis"]]

    def take(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_indices(node, index, size)
        return np.take(x, index, axis=axis)

    return take


@kernel("scatter")
def _scatter(node: Node) -> Kernel:
    axis, shape, dtype = node["axis"], node.shape, node.type.dtype
    before = (slice(None),) * axis

    def scatter(x: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_indices(node, index, shape[axis])
        result = np.zeros(shape, dtype)
        np.add.at(result, (*before, index), x)
        return result

    return scatter
