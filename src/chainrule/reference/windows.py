"""Windows as views, and their overlap-add."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from chainrule.graph import Node
from chainrule.reference.table import Kernel, kernel


def _strided(x: np.ndarray, node: Node, shape: tuple[int, ...]) -> np.ndarray:
    """The windows of x as a view: no element is copied."""
    steps = list(x.strides)
    for axis, stride in zip(node["axes"], node["strides"], strict=True):
        steps[axis] *= stride
    inner = [
        x.strides[axis] * dilation
        for axis, dilation in zip(node["axes"], node["dilations"], strict=True)
    ]
    return as_strided(x, shape, (*steps, *inner), writeable=False)


@kernel("window")
def _window(node: Node) -> Kernel:
    shape = node.shape
    return lambda x: _strided(x, node, shape)


@kernel("fold")
def _fold(node: Node) -> Kernel:
    """One addition of whole arrays for each place in the window: never two windows share it."""
    (windows,) = node.operands
    shape, dtype, axes = node.shape, node.type.dtype, node["axes"]
    counts = [windows.shape[axis] for axis in axes]

    def fold(x: np.ndarray) -> np.ndarray:
        result = np.zeros(shape, dtype)
        for place in itertools.product(*map(range, node["sizes"])):
            into: list[Any] = [slice(None)] * len(shape)
            for axis, i, count, stride, dilation in zip(
                axes, place, counts, node["strides"], node["dilations"], strict=True
            ):
                start = i * dilation
                into[axis] = slice(start, start + (count - 1) * stride + 1, stride)
            at: Any = (..., *place)
            result[tuple(into)] += x[at]
        return result

    return fold
