"""Regions -> LLVM module -> machine code, and the memory it runs in.

Receives: a rewritten graph. Returns: a `NativeProgram` that maps input arrays to output arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import ArrayType, Graph, Node
from chainrule.native import target, threads
from chainrule.native.indices import tell
from chainrule.native.memory import ALIGN
from chainrule.native.module import Module, contract_plan, grain_of, lanes_of
from chainrule.native.nests import LoopNest, nest_of, steps_nest
from chainrule.native.routine import Routine, plan_routine
from chainrule.native.schedule import Scheduled
from chainrule.native.threads import ENTRY


def _readable(array: np.ndarray, node: Node) -> np.ndarray:
    """The array as kernels read it: in row order, aligned, in native byte order."""
    if ArrayType.of(array) != node.type:
        raise ShapeError(f"a program made for {node.type} was given {ArrayType.of(array)}")
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, node.type.dtype, order="C")


class NativeProgram:
    """A graph as machine code.

    `drivers` are further functions of the module, as text: they may call `@program(ptr table)`,
    and what they declare is theirs to say. `threads` is the most that a call may use.
    `trusted` are inputs that hold only indices in range.
    """

    def __init__(
        self,
        graph: Graph,
        drivers: Sequence[str] = (),
        threads: int | None = None,
        *,
        trusted: Collection[Node] = (),
        timed: bool = False,
    ) -> None:
        self._most_threads = threads
        self.routine = plan_routine(graph, trusted, timed=timed)
        self.graph = self.routine.graph
        self.memory, self.layout = self.routine.memory, self.routine.layout
        self.scheduled = self.routine.scheduled
        self.useful_threads = self.routine.useful_threads
        module = Module(self.routine, drivers, self.team, timed=timed)
        self.calls, self.text = module.calls, module.text
        self.code = target.Code(target.compile_module(self.text))
        self._entry = self.code.function("program", *ENTRY)
        self._constants = {
            slot: _readable(n["value"], n)
            for n, slot in self.layout.slots.items()
            if n.op == "constant"
        }
        self._arenas: list[np.ndarray] = []  # those of calls that are over

    @property
    def team(self) -> int:
        """How many threads run it."""
        return threads.team_size(self.useful_threads, self._most_threads)

    def nest(
        self, entry: Scheduled, names: dict[Node, str], routine: Routine | None = None
    ) -> LoopNest:
        """A kernel's loops, its values called by `names`; one of the program's, or of a loop's
        `routine`."""
        routine = routine or self.routine
        lead = entry.region.lead
        if lead is not None and lead in routine.bodies:
            body = routine.bodies[lead]
            inside = [(inner.title, self.nest(inner, body.names, body)) for inner in body.scheduled]
            return steps_nest(lead, inside, apart=body.rows > 0)
        plan = None
        if entry.region.kind == "contract":
            plan = contract_plan(entry, routine.memory, self.team, grain_of(routine, self.team))
        return nest_of(entry.region, entry.shared, lanes_of(entry.region), names, plan)

    def arena(self) -> np.ndarray:
        """Memory for what is computed on the way, for one call at a time."""
        raw = np.zeros(self.layout.arena_size + ALIGN, np.uint8)
        return raw[-raw.ctypes.data % ALIGN :]

    def check(self, arena: np.ndarray) -> None:
        """Raises IndexRangeError if an index was out of range since the last check, and
        ConvergenceError if a fixed point was not reached."""
        nodes = self.routine.words.nodes
        if nodes:
            start, stop = self.layout.notes, self.layout.notes + 8 * len(nodes)
            tell(arena[start:stop].view(np.int64), nodes)

    def cycles(self, arena: np.ndarray) -> np.ndarray:
        """Processor cycles of the first thread: in each of `calls`, and at the end in waiting."""
        words = arena[self.layout.clock : self.layout.clock + 8 * (len(self.calls) + 1)]
        return words.view(np.int64).copy()

    def table(self, arena: np.ndarray) -> np.ndarray:
        """A table of addresses: those of constants and of the arena are filled in; inputs and
        outputs are the caller's to fill, by `layout.slots`."""
        pointers = np.zeros(len(self.layout.slots) + 1, np.uint64)
        for slot, array in self._constants.items():
            pointers[slot] = array.ctypes.data
        pointers[-1] = arena.ctypes.data
        return pointers

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for these inputs; may be called by several threads at once."""
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = self.arena()
        try:
            outputs = self._call(inputs, self.table(arena))
            self.check(arena)
            return outputs
        finally:
            self._arenas.append(arena)

    def _call(self, inputs: Sequence[np.ndarray], pointers: np.ndarray) -> list[np.ndarray]:
        slots = self.layout.slots
        held = [_readable(a, n) for a, n in zip(inputs, self.graph.inputs, strict=True)]
        for slot, array in enumerate(held):
            pointers[slot] = array.ctypes.data
        made: dict[Node, np.ndarray] = {}
        for node in self.graph.outputs:
            if node.op == "input":
                made[node] = held[slots[node]]
            elif node.op == "constant":
                made[node] = self._constants[slots[node]]
            elif node not in made:
                made[node] = np.empty(node.shape, node.type.dtype)
                pointers[slots[node]] = made[node].ctypes.data
        threads.run(self._entry, pointers.ctypes.data, self.team)
        return [made[n] for n in self.graph.outputs]
