"""Many training steps in one native call.

Receives: the graph of one step, whose first inputs and outputs are the carry, and the arrays that
the rows of its batches are read from, where they lie. Returns: a `StepLoop` that runs any number of
steps on given rows.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.graph import ArrayType, Graph, Node
from chainrule.known import Known
from chainrule.native import threads
from chainrule.native.program import NativeProgram
from chainrule.native.routine import distinct
from chainrule.native.threads import ENTRY
from chainrule.runtime.batches import choosing
from chainrule.runtime.driver import Word, driver
from chainrule.runtime.pace import Pace

Array = np.ndarray
AT_ONCE = 2**16  # steps in a call; many more would need much memory for what they tell
LOOK = 1e6  # nanoseconds within which a call looks at the clock again


@dataclass(frozen=True)
class Told:
    """What steps told. `values[i][s]` is scalar i of the step's graph in step s: of the `steps`
    that were taken, and of one more when that was not finite. `measures[j][m]` is scalar j of the
    measured graph in the m-th step of those taken that were measured."""

    steps: int
    values: list[Array]
    measures: list[Array]
    finite: bool  # False when the step after those was not, and was not taken


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


@dataclass(frozen=True)
class _Memory:
    """What every step of a loop reads and writes, besides its scalars."""

    buffers: CarryBuffers
    data: list[Array]  # the inputs between the carry and the key
    key: Array
    step: Array


@dataclass(frozen=True)
class _Compiled:
    """A step's program, and how fast it has been lately."""

    program: NativeProgram
    pace: Pace


_KNOWN: Known[_Compiled] = Known(32)  # steps of the last few runs


class _Step:
    """A step's graph, compiled, and what calls of it are given."""

    def __init__(self, program: NativeProgram, memory: _Memory, scalars: Sequence[int]) -> None:
        """`scalars` are the addresses at which the scalars are left."""
        self.program = program
        self.arena = program.arena()
        self.scalars = program.graph.outputs[len(memory.buffers.sets[0]) :]
        # One for steps that read the first set of the carry, one for those that read the second.
        self.tables = [self._table(memory, now, scalars) for now in (0, 1)]

    def _table(self, memory: _Memory, now: int, scalars: Sequence[int]) -> Array:
        graph, slots = self.program.graph, self.program.layout.slots
        table, sets = self.program.table(self.arena), memory.buffers.sets
        inputs = [*sets[now], *memory.data, memory.key, memory.step]
        for node, array in zip(graph.inputs, inputs, strict=True):
            table[slots[node]] = array.ctypes.data
        outputs = [*(a.ctypes.data for a in sets[1 - now]), *scalars]
        for node, address in zip(graph.outputs, outputs, strict=True):
            table[slots[node]] = address
        return table

    def check(self) -> None:
        """Raises IndexRangeError if an index was out of range since the last check."""
        self.program.check(self.arena)


class _Measured:
    """The step that is taken instead when a step is to be measured."""

    def __init__(
        self, program: NativeProgram, every: int, memory: _Memory, common: dict[str, int]
    ) -> None:
        """`common` are the addresses of the scalars that unmeasured steps have too, by name."""
        self.every = every
        names = program.graph.output_names[len(memory.buffers.sets[0]) :]
        self.own = [number for number, name in enumerate(names) if name not in common]
        self.shared = {
            n: list(common).index(name) for n, name in enumerate(names) if name in common
        }
        self.memory = np.zeros(len(self.own), np.uint64)
        own = iter(_places(self.memory))
        scalars = [common.get(n) or next(own) for n in names]
        self.step = _Step(program, memory, scalars)
        self._entry = self.step.program.code.function("program", *ENTRY)
        self.address = ctypes.cast(self._entry, ctypes.c_void_p).value or 0

    def due(self, first_step: int, steps: int) -> range:
        """Which of the steps are measured, counted from the first."""
        return range(-first_step % self.every, steps, self.every)

    def columns(self, told: Array, measured: Array, due: range) -> list[Array]:
        """Each scalar in the steps that were measured; `told` has what all steps told."""
        here = measured[: len(due)]
        found = []
        for number, node in enumerate(self.step.scalars):
            if number in self.shared:
                column = told[due.start : due.stop : due.step, self.shared[number]]
            else:
                column = here[:, self.own.index(number)]
            found.append(_values(column, node))
        return found


class StepLoop:
    """A training step that is repeated without leaving native code.

    The graph's inputs are: the carry, one batch array for each of `sources`, the random key, and
    the step's number (u32). Its outputs are the next carry, then scalars; `finite` is which of
    those says whether the step may be taken. With `whole` every step takes all rows of the sources,
    which are then read where they are. Several loops of one run (for batches of several sizes)
    share their `buffers`. `team` is the number of threads; None lets the amount of work decide, up
    to `most_threads`. `timed` adds up the cycles of each kernel.
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
        timed: bool = False,
    ) -> None:
        self._team, self._threads, self._timed = team, team or most_threads, timed
        self._sources = [np.asarray(s, order="C") for s in sources]
        self._count = count = len(buffers.sets[0])
        self._whole = whole
        batch = graph.inputs[count].shape[0] if sources else 0
        data = [*self._sources] if whole else [*self._sources, np.zeros(batch, np.int64)]
        step = np.zeros((), np.uint32)
        self._memory = _Memory(buffers, data, np.asarray(key, order="C"), step)
        self._late = np.zeros((), np.int64)
        self._usual = math.inf  # nanoseconds that a step took the last time
        self._names = graph.output_names[count:]
        self._scalars = np.zeros(len(self._names), np.uint64)
        chosen = None if whole else count + len(sources)
        text = driver(chosen, batch, len(self._names), finite)
        compiled = self._compiled(graph, text)
        self._plain = _Step(compiled.program, self._memory, _places(self._scalars))
        self._entry = self._plain.program.code.function("steps", *ENTRY)
        self._measured: _Measured | None = None
        self._pace = compiled.pace

    def _compiled(self, graph: Graph, text: str) -> _Compiled:
        """The graph compiled, with outputs of their own, so that it reads its rows where they are;
        runs that take the same step share it, and what is known of its pace."""
        types = tuple(ArrayType.of(source) for source in self._sources)
        how = self._whole, self._threads, threads.cores(), (timed := self._timed)
        key = graph, text, types, self._count, how

        def compiled() -> _Compiled:
            own, trusted = graph, []
            if not self._whole:
                own, rows = choosing(graph, self._count, self._sources)
                trusted = [rows]
            drivers, most = [text] if text else [], self._threads
            program = NativeProgram(distinct(own), drivers, most, trusted=trusted, timed=timed)
            return _Compiled(program, Pace(program.team))

        return _KNOWN.get(key, compiled)

    @property
    def program(self) -> NativeProgram:
        """The step as a program; its text has the loop too."""
        return self._plain.program

    @property
    def team(self) -> int:
        """How many threads run the steps, on a machine that does nothing else."""
        return self._team or self.program.team

    def cycles(self) -> Array:
        """As `NativeProgram.cycles`, of all steps so far; the loop must be `timed`."""
        return self.program.cycles(self._plain.arena)

    @property
    def text(self) -> str:
        """The loop's LLVM assembly."""
        return self.program.text

    @property
    def measures(self) -> bool:
        """Whether `measure` was called."""
        return self._measured is not None

    @property
    def may_not_converge(self) -> bool:
        """Whether `run` may raise ConvergenceError. More steps may have been taken after the one
        that did not converge, and the carry is not what it was."""
        return any(node.op == "fixed_point" for node in self.program.routine.words.nodes)

    def measure(self, graph: Graph, every: int) -> None:
        """From now on, steps whose number divides by `every` run this graph. It takes the same
        step, and has more scalars among those that the loop's own has too, by their names."""
        common = dict(zip(self._names, _places(self._scalars), strict=True))
        program = self._compiled(graph, "").program
        self._measured = _Measured(program, every, self._memory, common)

    def run(self, rows: Array, first_step: int, seconds: float = math.inf) -> Told:
        """Runs one step for each row of `rows` ([steps, batch], int64: which rows of the sources;
        [steps, 0] with `whole`), AT_ONCE at most. Stops before a step that is not finite, and
        after the step with which `seconds` have passed."""
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        rows = np.asarray(rows[:AT_ONCE], np.int64, order="C")
        steps, buffers = len(rows), self._memory.buffers
        told = np.zeros((steps, len(self._scalars)), np.uint64)
        self._memory.step[...] = first_step
        self._late[...] = 0
        job = np.zeros(len(Word), np.uint64)
        for word, array in (
            (Word.TABLE, self._plain.tables[buffers.now]),
            (Word.TABLE_AFTER, self._plain.tables[1 - buffers.now]),
            (Word.ROWS, rows),
            (Word.COUNTER, self._memory.step),
            (Word.SCALARS, self._scalars),
            (Word.TOLD, told),
            (Word.LATE, self._late),
        ):
            job[word] = array.ctypes.data
        job[Word.FIRST], job[Word.STEPS], job[Word.EVERY] = first_step, steps, 1
        team = self.team
        if not self._team and not self._timed:
            team, seconds = self._pace.next(began / 1e9, seconds)
        job[Word.DEADLINE] = int(min(began + seconds * 1e9, 2.0**62))
        job[Word.SELDOM] = self._seldom(seconds)
        noted = self._measuring(job, first_step, steps)
        threads.run(self._entry, job.ctypes.data, team)
        self._plain.check()
        done = int(job[Word.DONE])
        buffers.now = (buffers.now + done) % 2
        self._usual = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - began) / max(done, 1)
        self._pace.note(team, self._usual / 1e9)
        finite = done == steps or bool(self._late)
        complete = told[: done if finite else done + 1]
        values = [_values(complete[:, i], node) for i, node in enumerate(self._plain.scalars)]
        measures = []
        if self._measured is not None:
            self._measured.step.check()
            due = self._measured.due(first_step, done)
            measures = self._measured.columns(told, noted, due)
        return Told(done, values, measures, finite)

    def _measuring(self, job: Array, first_step: int, steps: int) -> Array:
        """Fills in what a job says of measured steps; returns where they are noted."""
        measured = self._measured
        if measured is None:
            return np.zeros((0, 0), np.uint64)
        now = self._memory.buffers.now
        noted = np.zeros((len(measured.due(first_step, steps)), len(measured.own)), np.uint64)
        job[Word.MEASURED], job[Word.EVERY] = measured.address, measured.every
        job[Word.MEASURED_TABLE] = measured.step.tables[now].ctypes.data
        job[Word.MEASURED_TABLE_AFTER] = measured.step.tables[1 - now].ctypes.data
        job[Word.MEASURES], job[Word.MEASURED_BYTES] = (
            measured.memory.ctypes.data,
            8 * len(measured.own),
        )
        job[Word.MEASURES_TOLD] = noted.ctypes.data
        return noted

    def _seldom(self, seconds: float) -> int:
        """At which steps the clock is read (see `Word.SELDOM`): that costs as much as part of a
        tiny step, and yet a call must end in time when the machine has become busy."""
        steps = int(min(LOOK, seconds * 1e9) / max(self._usual, 1.0))
        return (1 << max(steps.bit_length() - 1, 0)) - 1


def _places(memory: Array) -> list[int]:
    """The address of each of an array's 8-byte words."""
    first = memory.ctypes.data
    return list(range(first, first + memory.nbytes, 8))


def _values(words: Array, node: Node) -> Array:
    """The scalars that begin 8-byte words."""
    dtype = node.type.dtype
    return np.ascontiguousarray(words).view(dtype)[:: 8 // dtype.itemsize]
