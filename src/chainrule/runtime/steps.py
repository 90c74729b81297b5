"""Many training steps in one native call.

Receives: the graph of one step, whose first inputs and outputs are the carry, and the arrays that
batches are gathered from. Returns: a `StepLoop` that runs any number of steps on given rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.graph import Graph, Node, build
from chainrule.graph.types import short_name
from chainrule.native import threads
from chainrule.native.ir import Function, Value, index
from chainrule.native.program import NativeProgram
from chainrule.native.threads import ENTRY

Array = np.ndarray

# The words of the job that a call is given, each 8 bytes.
_TABLES, _STEPS, _ROWS, _COUNTER, _TOLD, _DONE, _SOURCES = 0, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True)
class Told:
    """The scalar outputs of each step that was run; `values[i][s]` is output i in step s."""

    steps: int
    values: list[Array]
    finite: bool  # False when the last step was not, and was not taken


class CarryBuffers:
    """Two sets of arrays for the carry. A step reads one set and writes the other, and the next
    step does the reverse, so a step that goes wrong leaves the carry before it untouched."""

    def __init__(self, like: Sequence[Array]) -> None:
        self.sets = [[np.empty(a.shape, a.dtype) for a in like] for _ in range(2)]
        self.now = 0

    def put(self, carry: Sequence[Array]) -> None:
        """Begins from these arrays; those that are the present ones already are not copied."""
        for target, array in zip(self.sets[self.now], carry, strict=True):
            if array is not target:
                target[...] = array

    def get(self) -> list[Array]:
        """The carry as it is now: the arrays themselves, to be read before the next step."""
        return list(self.sets[self.now])


class StepLoop:
    """A training step that is repeated without leaving native code.

    The graph's inputs are: the carry, one batch array for each of `sources`, the random key, and
    the step's number (u32). Its outputs are the next carry, then scalars; `finite` is which of
    those says whether the step may be taken. With `whole` every step takes all rows of the sources,
    which are then read where they are. Several loops of one run (for batches of several sizes)
    share their `buffers`. `team` is the number of threads; None lets the amount of work decide, up
    to `most_threads`.
    """

    def __init__(
        self,
        graph: Graph,
        buffers: CarryBuffers,
        sources: Sequence[Array],
        finite: int,
        key: Array,
        *,
        whole: bool = False,
        team: int | None = None,
        most_threads: int | None = None,
    ) -> None:
        graph = _distinct(graph)
        self._team, self._most_threads = team, most_threads
        self._count = count = len(buffers.sets[0])
        self._finite = finite
        self._whole = whole
        self._sources = [np.asarray(s, order="C") for s in sources]
        batches = graph.inputs[count : count + len(sources)]
        self._scalars = graph.outputs[count:]
        self._program = NativeProgram(graph, [self._driver(graph, batches)])
        self._entry = self._program.code.function("steps", *ENTRY)
        self._batches = (
            self._sources if whole else [np.zeros(n.shape, n.type.dtype) for n in batches]
        )
        self._key = np.asarray(key, order="C")
        self._step = np.zeros((), np.uint32)
        self._told = [np.zeros((), n.type.dtype) for n in self._scalars]
        self._buffers = buffers
        self._arena = self._program.arena()
        self._tables = [self._table(graph, 0), self._table(graph, 1)]

    @property
    def text(self) -> str:
        """The loop's LLVM assembly."""
        return self._program.text

    def run(self, rows: Array, first_step: int) -> Told:
        """Runs one step for each row of `rows` ([steps, batch], int64: which rows of the sources;
        [steps, 0] with `whole`); stops before a step that is not finite."""
        steps, buffers = len(rows), self._buffers
        positions = np.asarray(rows, np.int64, order="C")
        told = [np.zeros(steps, a.dtype) for a in self._told]
        pointers = np.array([t.ctypes.data for t in told], np.uint64)
        self._step[...] = first_step
        order = [self._tables[buffers.now], self._tables[1 - buffers.now]]
        job = np.array(
            [
                *(t.ctypes.data for t in order),
                steps,
                positions.ctypes.data,
                self._step.ctypes.data,
                pointers.ctypes.data,
                0,
                *(s.ctypes.data for s in self._sources),
            ],
            np.uint64,
        )
        team = self._team or threads.team_size(self._program.useful_threads, self._most_threads)
        threads.run(self._entry, job.ctypes.data, team)
        self._program.check(self._arena)
        done = int(job[_DONE])
        buffers.now = (buffers.now + done) % 2
        return Told(done, [t[: min(done + 1, steps)] for t in told], done == steps)

    # --- emission and memory ----------------------------------------------------------------

    def _table(self, graph: Graph, now: int) -> Array:
        """Addresses for a step that reads carry `now` and writes the other."""
        slots, table = self._program.layout.slots, self._program.table(self._arena)
        sets = self._buffers.sets
        inputs = [*sets[now], *self._batches, self._key, self._step]
        for node, array in zip(graph.inputs, inputs, strict=True):
            table[slots[node]] = array.ctypes.data
        outputs = [*sets[1 - now], *self._told]
        for node, array in zip(graph.outputs, outputs, strict=True):
            table[slots[node]] = array.ctypes.data
        return table

    def _driver(self, graph: Graph, batches: Sequence[Node]) -> str:
        """Every thread: `for s in steps: gather my share of the batch; run the program with the
        others; go on if the step was finite`. The first thread notes the scalars."""
        fn = Function("steps.body", ["noalias", ""], set())
        job, barrier = fn.parameters

        def word(position: int, kind: str = "ptr") -> Value:
            return fn.load(fn.at(job, index(position), "i64"), kind)

        tables = [word(_TABLES), word(_TABLES + 1)]
        rows, counter, told = word(_ROWS), word(_COUNTER), word(_TOLD)
        sources = [word(_SOURCES + i) for i in range(len(batches))]
        slots = _slots(graph)
        going = fn.slot("bool")
        fn.put(going, Value("true", "bool"))
        first = fn.compare("eq", fn.thread, index(0))
        together = f"{fn.thread}, {fn.threads}, {barrier}"
        with fn.loop(index(0), word(_STEPS, "i64")) as s, fn.when(fn.get(going, "bool")):
            odd = fn.compare("ne", fn.binary("and", s, index(1)), index(0))
            table = fn.select(odd, tables[1], tables[0])
            gathered = () if self._whole else zip(batches, sources, strict=True)
            for number, (node, source) in enumerate(gathered):
                target = fn.load(fn.at(table, index(self._count + number), "i64"), "ptr")
                self._gather(fn, node, source, target, rows, s)
            fn.emit(f"call void @wait({barrier}, {fn.threads})")
            fn.emit(f"call void @program({table}, {together})")
            values = []
            for node in self._scalars:
                kind = short_name(node.type.dtype)
                place = fn.load(fn.at(table, index(slots[node]), "i64"), "ptr")
                values.append(fn.load(place, kind))
            fn.put(going, values[self._finite])
            with fn.when(first):
                for number, value in enumerate(values):
                    there = fn.load(fn.at(told, index(number), "i64"), "ptr")
                    fn.store(value, fn.at(there, s, value.kind))
                with fn.when(fn.get(going, "bool")):
                    fn.store(fn.add(s, index(1)), fn.at(job, index(_DONE), "i64"))
                    now = fn.load(counter, "u32")
                    fn.store(fn.add(now, Value("1", "u32")), counter)
        body = fn.text()
        declared = "\n".join(sorted(fn.declared))
        head = "define void @steps(ptr %job, i64 %thread, i64 %threads, ptr %barrier) {\n"
        call = "  call void @steps.body(ptr %job, ptr %barrier, i64 %thread, i64 %threads)\n"
        outer = head + call + "  ret void\n}"
        copy = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"
        return f"{body}\n\n{outer}\n\n{copy}\n\n{declared}"

    def _gather(
        self, fn: Function, node: Node, source: Value, target: Value, rows: Value, s: Value
    ) -> None:
        """The batch's rows, copied next to each other."""
        count = node.shape[0]
        size = node.type.size // max(count, 1) * node.type.dtype.itemsize
        first = fn.mul(s, index(count))
        start, stop = fn.share(count)
        with fn.loop(start, stop) as i:
            row = fn.load(fn.at(rows, fn.add(first, i), "i64"), "i64")
            there = fn.at(source, fn.mul(row, index(size)), "i8")
            here = fn.at(target, fn.mul(i, index(size)), "i8")
            fn.emit(f"call void @llvm.memcpy.p0.p0.i64({here}, {there}, i64 {size}, i1 false)")


def _distinct(graph: Graph) -> Graph:
    """The graph with every output computed into memory of its own: a value that does not change,
    or that is an output twice, is copied."""
    taken: set[Node] = set()
    outputs = []
    for node in graph.outputs:
        if node.op in ("input", "constant") or node in taken:
            node = build.make("stop", node)
        taken.add(node)
        outputs.append(node)
    return graph.with_outputs(outputs, graph.output_names)


def _slots(graph: Graph) -> dict[Node, int]:
    """The slots of inputs and outputs, as `plan_memory` numbers them."""
    slots = {n: i for i, n in enumerate(graph.inputs)}
    for node in dict.fromkeys(graph.outputs):
        slots.setdefault(node, len(slots))
    return slots
