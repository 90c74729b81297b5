"""Runs programs on arrays that end, or begin, exactly where memory may no longer be touched.

Run as a script: any load or store outside an array ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
from agreeing import assert_same
from random_graphs import random_graph

from chainrule.graph import ArrayType
from chainrule.native import threads
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Arrays between pages that cannot be read; kept alive together."""

    def __init__(self) -> None:
        self._held: list[mmap.mmap] = []

    def empty(self, type: ArrayType, at_end: bool) -> np.ndarray:
        size = type.size * type.dtype.itemsize
        pages = max(1, -(-size // PAGE))
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._held.append(memory)
        raw = np.frombuffer(memory, np.uint8)
        start = raw.ctypes.data
        for page in (0, pages + 1):
            address = ctypes.c_void_p(start + page * PAGE)
            if LIBC.mprotect(address, ctypes.c_size_t(PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        first = PAGE + (pages * PAGE - size if at_end else 0)
        return raw[first : first + size].view(type.dtype).reshape(type.shape)

    def copy(self, x: np.ndarray, at_end: bool) -> np.ndarray:
        room = self.empty(ArrayType.of(x), at_end)
        room[...] = x
        return room


def run(seed: int, at_end: bool) -> None:
    """A random graph whose inputs, outputs and arena are all guarded."""
    random = np.random.default_rng(seed)
    graph, inputs = random_graph(lambda n: int(random.integers(n)), seed, 12)
    program, guarded = NativeProgram(graph), Guarded()
    size = program.layout.arena_size
    arena = guarded.empty(ArrayType(np.dtype(np.uint8), (size + -size % 64,)), at_end)
    table = program.table(arena)
    for slot, x in enumerate(inputs):
        table[slot] = guarded.copy(x, at_end).ctypes.data
    made = {
        node: guarded.empty(node.type, at_end)
        for node in graph.outputs
        if node.op not in ("input", "constant")
    }
    for node, array in made.items():
        table[program.layout.slots[node]] = array.ctypes.data
    threads.run(program._entry, table.ctypes.data)
    for node, want in zip(graph.outputs, Interpreter(graph)(inputs), strict=True):
        if node in made:
            assert_same(made[node], want, zeros=False)


def probe() -> None:
    """Reads past the end, to show that this is noticed."""
    array = Guarded().empty(ArrayType(np.dtype(np.uint8), (3,)), at_end=True)
    ctypes.string_at(array.ctypes.data, 4)


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        probe()
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        print(number, flush=True)
        run(number, at_end=True)
        run(number, at_end=False)
