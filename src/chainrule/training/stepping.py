"""Many steps at a time, where the backend can.

The reference backend takes one step at a time. The native one takes as many as fit into a moment,
and Python is entered again for progress, Ctrl-C, watchers and checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.config import check_backend
from chainrule.training.full_batch import FullBatchStep
from chainrule.training.step import Carry, StepBuilder

Array = np.ndarray
MOMENT = 0.1  # seconds that one native call may take


@dataclass(frozen=True)
class Taken:
    """What some steps did: the carry after them, and what each of them told. When a step was not
    finite it was not taken, and its batch is number len(losses). `ended` is as in `StepResult`."""

    carry: Carry
    losses: list[float]
    scores: list[float]
    finite: bool
    ended: str = ""


class Stepping:
    """Runs unmeasured steps of one run. `sources` are what batches are gathered from."""

    def __init__(
        self, builder: StepBuilder | FullBatchStep, sources: Sequence[Array], key: Array
    ) -> None:
        self.builder = builder
        self.sources = sources
        self._key = key
        is_one_program = isinstance(builder, StepBuilder)
        self.native = is_one_program and check_backend(builder.backend) == "native"
        self._loops: dict[int, _Timed] = {}
        self._buffers: object = None

    def most(self, batch_rows: int) -> int:
        """How many steps fit into a moment."""
        if not self.native:
            return 1
        timed = self._loops.get(batch_rows)
        return timed.most if timed else 1

    def take(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        """Takes a step for each row of `rows` ([steps, batch]: rows of the sources)."""
        if self.native and self._compiles(carry, rows):
            return self._natively(carry, rows, first_step)
        losses: list[float] = []
        scores: list[float] = []
        for number, chosen in enumerate(rows):
            batch = [s[chosen] for s in self.sources]
            after, result = self.builder(carry, batch, self._key, first_step + number, False)
            if not result.finite:
                return Taken(carry, losses, scores, False)
            carry = after
            losses.append(result.loss)
            scores.append(result.score)
            if result.ended:
                return Taken(carry, losses, scores, True, result.ended)
        return Taken(carry, losses, scores, True)

    def _compiles(self, carry: Carry, rows: Array) -> bool:
        """Whether the step is native code: one with a loop in it is not."""
        assert isinstance(self.builder, StepBuilder)
        if rows.shape[1] not in self._loops:
            batch = [s[rows[0]] for s in self.sources]
            program = self.builder.prepare(carry, batch, False).program
            self.native = program.backend == "native"
        return self.native

    def _natively(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        from chainrule.runtime.steps import CarryBuffers, StepLoop  # brings LLVM

        assert isinstance(self.builder, StepBuilder)
        size = rows.shape[1]
        if self._buffers is None:
            self._buffers = CarryBuffers(carry)
        assert isinstance(self._buffers, CarryBuffers)
        if size not in self._loops:
            batch = [s[rows[0]] for s in self.sources]
            graph = self.builder.prepare(carry, batch, False).graph
            names = [name.rpartition(".")[2] for name in graph.output_names[len(carry) :]]
            whole = size == len(self.sources[0]) and bool((rows[0] == np.arange(size)).all())
            loop = StepLoop(
                graph, self._buffers, self.sources, names.index("finite"), self._key, whole=whole
            )
            self._loops[size] = _Timed(loop, names.index("loss"), names.index("score"))
        timed = self._loops[size]
        self._buffers.put(carry)
        began = time.perf_counter()
        told = timed.loop.run(rows, first_step)
        timed.note((time.perf_counter() - began) / max(len(rows), 1), len(rows))
        losses = told.values[timed.loss].astype(np.float64)[: told.steps].tolist()
        scores = told.values[timed.score].astype(np.float64)[: told.steps].tolist()
        return Taken(self._buffers.get(), losses, scores, told.finite)


class _Timed:
    """A native loop and how long its steps take."""

    def __init__(self, loop: object, loss: int, score: int) -> None:
        from chainrule.runtime.steps import StepLoop

        assert isinstance(loop, StepLoop)
        self.loop, self.loss, self.score = loop, loss, score
        self.most = 1

    def note(self, seconds: float, steps: int) -> None:
        """Allows more steps while they are fast, at most eight times as many as before."""
        fitting = int(MOMENT / max(seconds, 1e-8))
        self.most = max(1, min(fitting, 8 * max(steps, 1)))
