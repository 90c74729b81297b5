"""The table of kernels: for each op a function that makes, from a node, what computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.graph import Node

Kernel = Callable[..., Any]  # an array; of a loop a tuple of arrays
Maker = Callable[[Node], Kernel]

KERNELS: dict[str, Maker] = {}


def ufunc(op: str, function: Callable[..., Any]) -> None:
    """Makes a NumPy function the meaning of an op without attributes."""
    KERNELS[op] = lambda node: function


def kernel(op: str) -> Callable[[Maker], Maker]:
    """Makes the decorated function the maker of an op's kernels."""

    def register(maker: Maker) -> Maker:
        KERNELS[op] = maker
        return maker

    return register
