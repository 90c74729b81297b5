"""Many steps at a time, where the backend can, measured or not.

The reference backend takes one step at a time. The native one takes as many as fit into a moment,
and Python is entered again for progress, Ctrl-C, watchers and checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends import backend_for
from chainrule.errors import ConvergenceError
from chainrule.training.full_batch import FullBatchStep
from chainrule.training.step import Carry, Ready, StepBuilder
from chainrule.training.telling import StepResult, results_of

if TYPE_CHECKING:
    from chainrule.runtime.steps import StepLoop

Array = np.ndarray
MOMENT = 0.1  # seconds that a native call goes on for


@dataclass(frozen=True)
class Taken:
    """What some steps did: the carry after them, what each of them told, and what was measured, by
    the number of the step. When a step was not finite it was not taken, and its batch is number
    len(losses); so it is where a fixed point was not reached, and `failed` says so. `ended` is as
    in `StepResult`."""

    carry: Carry
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    measured: dict[int, StepResult] = field(default_factory=dict)
    finite: bool = True
    ended: str = ""
    failed: ConvergenceError | None = None


class Stepping:
    """Takes the steps of one run. `sources` are what batches are gathered from; every step whose
    number divides by `every` is measured, and none where that is 0. With `prompt`, what was
    measured is told before the next step is taken."""

    prompt = False

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
        until a moment has passed."""
        if self._native is not None:
            if self.prompt and self._every > 0:
                rows = rows[: -first_step % self._every + 1]
            return self._native.take(carry, rows, first_step)
        measured = self._every > 0 and first_step % self._every == 0
        batch = [s[rows[0]] for s in self.sources]
        try:
            after, result = self.builder(carry, batch, self._key, first_step, measured)
        except ConvergenceError as error:
            return Taken(carry, failed=error)
        if not result.finite:
            return Taken(carry, finite=False)
        told = {first_step: result} if measured else {}
        return Taken(after, [result.loss], [result.score], told, ended=result.ended)


@dataclass(frozen=True)
class _Sized:
    """A loop for batches of one size, and where what its steps tell is found."""

    loop: StepLoop
    loss: int
    score: int


class _Native:
    """The loops of a run in native code, one for each size of batch."""

    def __init__(
        self, builder: StepBuilder, sources: Sequence[Array], key: Array, every: int
    ) -> None:
        self._builder, self._sources, self._key, self._every = builder, sources, key, every
        self._loops: dict[int, _Sized] = {}
        self._told: Any = None
        self._buffers: Any = None

    def take(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        """As `Stepping.take`."""
        sized = self._loops.get(rows.shape[1]) or self._make(carry, rows)
        every, loop = self._every, sized.loop
        if every > 1 and -first_step % every < len(rows) and not loop.measures:
            loop.measure(self._prepared(carry, rows, True).graph, every)
        self._buffers.put(carry)
        before = [array.copy() for array in carry] if loop.may_not_converge else []
        try:
            told = loop.run(rows, first_step, MOMENT)
        except ConvergenceError as error:
            if len(rows) == 1:
                return Taken(before, failed=error)
            return self._one_by_one(before, rows, first_step)
        losses, scores = (
            told.values[number].astype(np.float64)[: told.steps].tolist()
            for number in (sized.loss, sized.score)
        )
        measured: dict[int, StepResult] = {}
        if every > 0:
            due = range(first_step + -first_step % every, first_step + told.steps, every)
            columns = told.values if every == 1 else told.measures
            found = results_of(
                self._places(carry, rows) if due else {}, [c.tolist() for c in columns], len(due)
            )
            measured = dict(zip(due, found, strict=True))
        return Taken(self._buffers.get(), losses, scores, measured, told.finite)

    def _one_by_one(self, carry: Carry, rows: Array, first_step: int) -> Taken:
        """The same steps again, up to the one that does not converge: it is known only after the
        call that others followed it."""
        losses: list[float] = []
        scores: list[float] = []
        measured: dict[int, StepResult] = {}
        taken = Taken(carry)
        for number in range(len(rows)):
            taken = self.take(taken.carry, rows[number : number + 1], first_step + number)
            losses, scores = losses + taken.losses, scores + taken.scores
            measured |= taken.measured
            if taken.failed or not taken.finite:
                break
        return replace(taken, losses=losses, scores=scores, measured=measured)

    def _make(self, carry: Carry, rows: Array) -> _Sized:
        """The loop for batches of this size."""
        from chainrule.runtime.steps import CarryBuffers, StepLoop  # brings LLVM

        size = rows.shape[1]
        if self._buffers is None:
            self._buffers = CarryBuffers(carry)
        # Where every step is measured, the loop's own step is the one that measures.
        graph = self._prepared(carry, rows, self._every == 1).graph
        names = [name.rpartition(".")[2] for name in graph.output_names[len(carry) :]]
        whole = size == len(self._sources[0]) and bool((rows[0] == np.arange(size)).all())
        loop = StepLoop(
            graph,
            self._buffers,
            self._sources,
            names.index("finite"),
            self._key,
            whole=whole,
            most_threads=self._builder.threads,
        )
        sized = _Sized(loop, names.index("loss"), names.index("score"))
        self._loops[size] = sized
        return sized

    def _places(self, carry: Carry, rows: Array) -> Any:
        """Which of the numbers that a measured step tells is what."""
        if self._told is None:
            self._told = self._prepared(carry, rows, True).told
        return self._told

    def _prepared(self, carry: Carry, rows: Array, measured: bool) -> Ready:
        return self._builder.prepare(carry, [s[rows[0]] for s in self._sources], measured)
