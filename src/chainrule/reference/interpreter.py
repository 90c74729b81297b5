"""Running a graph: planned once, then one kernel after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.graph import OPS, Graph, Node
from chainrule.reference.table import KERNELS, Kernel


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
            kernel = KERNELS[node.op](node)
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
