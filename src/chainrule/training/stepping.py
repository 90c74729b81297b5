"""Many steps at a time, where the backend can, measured or not.

The reference backend takes one step at a time. The native one takes as many as fit into a moment,
and Python is entered again for progress, Ctrl-C, watchers and checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends import backend_for
from chainrule.tracing import trees
from chainrule.training.full_batch import FullBatchStep
from chainrule.training.step import Carry, StepBuilder, StepResult, result_of

if TYPE_CHECKING:
    from chainrule.runtime.steps import StepLoop

Array = np.ndarray
MOMENT = 0.1  # seconds that a native call goes on for


@dataclass(frozen=True)
class Taken:
    """What some steps did: the carry after them, what each of them told, and what was measured, by
    the number of the step. When a step was not finite it was not taken, and its batch is number
    len(losses). `ended` is as in `StepResult`."""

    carry: Carry
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    measured: dict[int, StepResult] = field(default_factory=dict)
    finite: bool = True
    ended: str = ""


class Stepping:
    """Takes the steps of one run. `sources` are what batches are gathered from; every step whose
    number divides by `every` is measured, and none where that is 0."""

    def __init__(
        self,
        builder: StepBuilder | FullBatchStep,
        sources: Sequence[Array],
        key: Array,
        every: int,
    ) -> None:
        self.builder = builder
        self.sources = sources
        self._key = key
        self._every = every
        self._native: _Native | None = None
        if isinstance(builder, StepBuilder) and backend_for(builder.backend) == "native":
            self._native = _Native(builder, sources, key, every)

    def take(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        """Takes a step for each row of `rows` ([steps, batch]: rows of the sources), or fewer:
        until a moment has passed, or a step was measured, which is told before the next is taken.
        """
        if self._native is not None:
            return self._native.take(carry, rows, first_step)
        measured = self._every > 0 and first_step % self._every == 0
        batch = [s[rows[0]] for s in self.sources]
        after, result = self.builder(carry, batch, self._key, first_step, measured)
        if not result.finite:
            return Taken(carry, finite=False)
        told = {first_step: result} if measured else {}
        return Taken(after, [result.loss], [result.score], told, ended=result.ended)


class _Native:
    """The loops of a run in native code, one for each size of batch."""

    def __init__(
        self, builder: StepBuilder, sources: Sequence[Array], key: Array, every: int
    ) -> None:
        self._builder, self._sources, self._key, self._every = builder, sources, key, every
        self._loops: dict[int, StepLoop] = {}
        self._buffers: Any = None

    def take(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        """As `Stepping.take`."""
        batch = [s[rows[0]] for s in self._sources]
        loop = self._loop(carry, rows, batch)
        every = self._every
        due = every > 0 and -first_step % every < len(rows)
        rows = rows[: -first_step % every + 1] if due else rows
        if due and every > 1 and not loop.measures:
            loop.measure(self._builder.prepare(carry, batch, True).graph, every)
        self._buffers.put(carry)
        told = loop.run(rows, first_step, MOMENT)
        names = self._names(carry, batch, every == 1)
        losses, scores = (
            told.values[names.index(name)].astype(np.float64)[: told.steps].tolist()
            for name in ("loss", "score")
        )
        measured = {}
        if due and told.steps == len(rows):
            columns = told.values if every == 1 else told.measures
            structure = self._builder.prepare(carry, batch, True).told
            result = result_of(trees.replace_leaves(structure, [c[-1] for c in columns]))
            measured = {first_step + told.steps - 1: result}
        return Taken(self._buffers.get(), losses, scores, measured, told.finite)

    def _loop(self, carry: Carry, rows: Array, batch: Sequence[Array]) -> StepLoop:
        """The loop for batches of this size, made the first time."""
        from chainrule.runtime.steps import CarryBuffers, StepLoop  # brings LLVM

        size = rows.shape[1]
        if size not in self._loops:
            if self._buffers is None:
                self._buffers = CarryBuffers(carry)
            whole = size == len(self._sources[0]) and bool((rows[0] == np.arange(size)).all())
            # Where every step is measured, the loop's own step is the one that measures.
            self._loops[size] = StepLoop(
                self._builder.prepare(carry, batch, self._every == 1).graph,
                self._buffers,
                self._sources,
                self._names(carry, batch, self._every == 1).index("finite"),
                self._key,
                whole=whole,
                most_threads=self._builder.threads,
            )
        return self._loops[size]

    def _names(self, carry: Carry, batch: Sequence[Array], measured: bool) -> list[str]:
        """What a step tells, in order."""
        graph = self._builder.prepare(carry, batch, measured).graph
        return [name.rpartition(".")[2] for name in graph.output_names[len(carry) :]]
