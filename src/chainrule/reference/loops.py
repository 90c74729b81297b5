"""Loops: the body, planned once, run for each step."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ConvergenceError
from chainrule.graph import Node
from chainrule.reference.interpreter import Interpreter
from chainrule.reference.table import Kernel, kernel

Arrays = tuple[np.ndarray, ...]


@kernel("part")
def _part(node: Node) -> Kernel:
    index = node["index"]

    return lambda whole: whole[index]


@kernel("scan")
def _scan(node: Node) -> Kernel:
    body = Interpreter(node["body"])
    carries, shared_from = node["carries"], node["carries"] + node["sequences"]
    length, stacks = node["length"], node["body"].outputs[carries:]
    order = range(length)[::-1] if node["reverse"] else range(length)

    def scan(*operands: np.ndarray) -> Arrays:
        carry = list(operands[:carries])
        sequences, shared = operands[carries:shared_from], operands[shared_from:]
        stacked = [np.empty((length, *n.shape), n.type.dtype) for n in stacks]
        for step in order:
            results = body([*carry, *(np.asarray(x[step]) for x in sequences), *shared])
            carry = results[:carries]
            for stack, value in zip(stacked, results[carries:], strict=True):
                stack[step] = value
        return (*carry, *stacked)

    return scan


@kernel("fixed_point")
def _fixed_point(node: Node) -> Kernel:
    """Converged is when no state changes by more than `tolerance`, relative to the largest state or
    the first change, whichever is larger: so a solution of zero can be reached too."""
    body, states = Interpreter(node["body"]), node["states"]
    tolerance, most = node["tolerance"], node["max_iterations"]

    def fixed_point(*operands: np.ndarray) -> Arrays:
        now, shared = list(operands[:states]), operands[states:]
        size = change = 0.0
        steps = 0
        while steps < most:
            after = body([*now, *shared])
            moved = _largest([y - x for x, y in zip(now, after, strict=True)])
            size = max(moved, size) if steps == 0 else size
            scale = max(size, _largest(after))
            change = moved / scale if scale else 0.0
            now, steps = after, steps + 1
            if not np.isfinite(moved) or change <= tolerance:
                break
        if node["strict"] and not change <= tolerance:
            raise ConvergenceError.after(steps, change, tolerance, str(node.origin))
        return (*now, np.asarray(steps, np.int64), np.asarray(change, np.float64))

    return fixed_point


def _largest(arrays: list[np.ndarray]) -> float:
    """The largest magnitude of all elements; NaN where there is one."""
    return float(np.max([np.max(np.abs(x), initial=0.0) for x in arrays], initial=0.0))
