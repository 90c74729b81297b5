"""The training loop: steps, epochs, held-out evaluation, early stopping, checkpoints, events.

The loop knows no watcher; it emits events. All it changes is the carry and the standing, and it
saves both together, so a run that is killed and resumed goes through the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.data import Dataset, permutation
from chainrule.errors import ConvergenceError, FileError
from chainrule.observe.events import (
    EpochEnded,
    Event,
    NonFinite,
    Progress,
    Saved,
    StepMeasured,
)
from chainrule.optim import Optimizer
from chainrule.tracing import trees
from chainrule.tracing.context import key_of
from chainrule.training.columns import Columns
from chainrule.training.evaluate import Judge, Judged, Scale
from chainrule.training.examples import text_places
from chainrule.training.full_batch import step_of
from chainrule.training.interrupt import StopRequest
from chainrule.training.nonfinite import first_non_finite
from chainrule.training.objective import Objective
from chainrule.training.progress import Standing
from chainrule.training.settings import Settings
from chainrule.training.step import Carry, Layout
from chainrule.training.stepping import Stepping
from chainrule.training.streams import dealt, resets_of
from chainrule.training.telling import StepResult, score_name

Array = np.ndarray
Emit = Callable[[Event], None]
SaveState = Callable[[Carry, Standing, "Best | None"], str | None]
TOLD_EVERY = 0.2  # seconds between two Progress events


@dataclass(frozen=True)
class Best:
    """The arrays of the network with the lowest held-out loss so far."""

    arrays: list[Array]


@dataclass
class Loop:
    """A run between its first and its last step."""

    settings: Settings
    dataset: Dataset
    train_rows: Array
    held_out_rows: Array
    objective: Objective
    optimizer: Optimizer
    layout: Layout
    carry: Carry
    row_weights: Array | None
    scale: Scale
    emit: Emit
    save: SaveState
    stop: StopRequest
    standing: Standing = field(default_factory=Standing)
    best: Best | None = None
    failure: ConvergenceError | None = None  # why the run "did not converge"

    def __post_init__(self) -> None:
        rows, how = len(self.train_rows), (self.settings.backend, self.settings.threads)
        self._step = step_of(self.layout, self.objective, self.optimizer, *how)
        self._key = key_of(self.settings.seed)
        self._count = self.settings.steps_per_epoch(rows)
        self._size = self.settings.rows_per_step(rows)
        self._measured = self.settings.measured_every(rows)
        memory, parts = self.layout.memory, (self.train_rows, self.held_out_rows)
        resets = resets_of(self.dataset, *parts) if memory else None
        self._columns = Columns.of(self.dataset, self.row_weights, resets)
        self._judge = Judge(
            self.layout.net,
            self.objective,
            self._columns,
            self.evaluated_rows,
            self.scale,
            len(self.dataset.classes),
            self.dataset.streams,
            memory,
            *how,
        )
        # What batches are gathered from: all rows, or, where a batch is all of the training rows,
        # just those, so that they can be read where they are.
        self._sources = self._columns
        if self._count == 1:
            self._sources = self._columns.take(self.train_rows)
        elif resets is not None:  # other rows begin anew in each epoch
            self._sources = Columns.of(self.dataset, self.row_weights, resets.copy())
        self._stepping = Stepping(self._step, self._sources.arrays, self._key, self._measured)
        self._started = self._told = self._saved = time.monotonic()
        self._before = self.standing.seconds
        self._steps_before = self.standing.step

    def tell(self, emit: Emit, prompt: bool) -> None:
        """Hands events to `emit` from now on. With `prompt`, what a step measured is told before
        the next step is taken: who listens may want to stop there."""
        self.emit, self._stepping.prompt = emit, prompt

    def resume(self, carry: Carry, standing: Standing, best: Best | None) -> None:
        """Goes on from a checkpoint."""
        self.carry, self.standing, self.best = carry, standing, best
        self._before, self._steps_before = standing.seconds, standing.step

    def check(self) -> None:
        """Traces the step for each size of batch, and the evaluation, so that mistakes show before
        any data flows."""
        rest = len(self.train_rows) % self._size
        for size in filter(None, (self._size, rest)):
            batch = self._columns.batch(self.train_rows[:size])
            self._step.prepare(self.carry, batch, self._measured == 1)
        self._judge.prepare()

    def run(self) -> str:
        """Trains to the end; returns why it ended. The weights are in the carry (and `best`)."""
        standing = self.standing
        if not standing.ended:  # a person who stops the run does not want to wait for it then
            self._judge.compile()
        try:
            while standing.epoch < self.settings.epochs and not standing.ended:
                if not self._epoch():
                    self._checkpoint()
                    return "interrupted"
        except ConvergenceError as error:
            self.failure, standing.ended = error, "not converged"
        standing.ended = standing.ended or "finished"
        self._checkpoint()
        return standing.ended

    def network(self) -> Any:
        """The network as it is to be used: with averaged weights where the optimiser averages."""
        weights, state, optimizer_state = self.layout.split(self.carry)
        if self.optimizer.averaged is not None:
            weights = self.optimizer.averaged(optimizer_state, weights)
        return self.layout.network(weights, state)

    def best_network(self) -> Any:
        """The network of the best epoch, or the present one where none is known."""
        if self.best is None:
            return self.network()
        return trees.replace_leaves(self.layout.net, self.best.arrays)

    @property
    def evaluated_rows(self) -> Array:
        """The held-out rows, or the training rows where none are held out."""
        return self.held_out_rows if len(self.held_out_rows) else self.train_rows

    def judged(self, net: Any) -> Judged:
        """What a network is worth on the evaluated rows, with the outputs that a report shows."""
        return self._judge(net, text_places(len(self.evaluated_rows)))

    # --- one epoch --------------------------------------------------------------------------

    def _epoch(self) -> bool:
        """Trains the rest of the present epoch; False when asked to stop before its end."""
        standing, began = self.standing, time.monotonic()
        order = self._order(standing.epoch)
        while standing.batch < self._count:
            if not self._steps(order):
                standing.ended = "not finite"
                self._tell_non_finite(self._sources.batch(self._rows(order)[0]))
                return True
            self._tell_progress()
            if self.stop.asked:
                return False
        self._end_epoch(time.monotonic() - began)
        return True

    def _order(self, epoch: int) -> Array:
        """The rows of the epoch in the order of its batches, as positions in `_sources`."""
        if self._count == 1:  # one batch of all rows needs no order
            return np.arange(len(self.train_rows))
        if self.dataset.streams:  # a chunk goes on where the one before ended
            order = dealt(self.dataset, self.train_rows, self.settings.seed, epoch)
            resets = self._sources.resets
            if resets is not None:
                resets[...] = self._columns.resets
                resets[order[: self.dataset.streams]] = True
            return order
        return self.train_rows[permutation(len(self.train_rows), self.settings.seed, epoch)]

    def _rows(self, order: Array) -> Array:
        """The rows of the epoch's next batches, [steps, batch]; a short last one comes alone."""
        first = self.standing.batch * self._size
        full = (len(order) - first) // self._size
        if not full:
            return order[None, first:]
        return order[first : first + full * self._size].reshape(full, self._size)

    def _steps(self, order: Array) -> bool:
        """As many steps as fit into a moment; False when one was not finite, and so not taken."""
        standing, rows = self.standing, self._rows(order)
        taken = self._stepping.take(self.carry, rows, standing.step)
        self.carry = taken.carry
        counts = self._sources.counts(rows[: len(taken.losses)])
        for loss, score, count in zip(taken.losses, taken.scores, counts, strict=True):
            standing.add(loss, score, count)
        standing.ended = taken.ended
        for step, result in taken.measured.items():
            self._tell_measures(step, result)
        if taken.failed is not None:
            raise taken.failed
        return taken.finite

    def _end_epoch(self, seconds: float) -> None:
        """Evaluates, decides whether this was the last epoch, tells, and saves when it is time."""
        standing, patience = self.standing, self.settings.patience
        train = {"loss": standing.mean_loss}
        if not math.isnan(standing.mean_score):
            score = standing.mean_score * self._score_scale()
            train[score_name(self.dataset.task)] = score
        held_out, improved = self._evaluate()
        _, _, optimizer_state = self.layout.split(self.carry)
        rate = self.optimizer.learning_rate(optimizer_state)
        epoch = standing.epoch
        standing.begin_epoch(epoch + 1)
        if patience is not None and standing.stale >= patience:
            standing.ended = "early stopping"
        self._emit(EpochEnded(epoch, standing.step, train, held_out, rate, seconds, improved))
        if not standing.ended:  # else it is saved at once
            self._save_when_due()

    def _score_scale(self) -> float:
        return self.scale.std if self.dataset.task == "regression" else 1.0

    def _evaluate(self) -> tuple[dict[str, float], bool]:
        """Held-out metrics after an epoch; keeps the best network and tells the optimiser."""
        if not len(self.held_out_rows):
            return {}, False
        standing, net = self.standing, self.network()
        found = self._judge(net).metrics
        loss = found["loss"]
        # NaN is no better than anything.
        improved = loss < (math.inf if standing.best_loss is None else standing.best_loss)
        standing.stale = 0 if improved else standing.stale + 1
        if improved:
            standing.best_loss, standing.best_epoch = loss, standing.epoch
            self.best = Best([np.array(leaf.value) for leaf in trees.leaves(net)])
        if self.optimizer.after_epoch is not None:
            weights, state, optimizer_state = self.layout.split(self.carry)
            new = self.optimizer.after_epoch(optimizer_state, loss)
            moments = [np.asarray(leaf.value) for leaf in trees.leaves(new)]
            first = len(weights) + len(state)
            self.carry[first : first + len(moments)] = moments
        return found, improved

    # --- telling and saving -----------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        """Hands an event on. A watcher that fails stops the run, but what it came to is saved."""
        try:
            self.emit(event)
        except Exception:
            with suppress(FileError):  # the disk may be what failed
                self._save()
            raise

    def _tell_measures(self, step: int, result: StepResult) -> None:
        self._emit(
            StepMeasured(
                step,
                self.standing.epoch,
                result.loss,
                result.gradient_norm,
                result.layers,
                result.weights,
            )
        )

    def _tell_progress(self) -> None:
        standing, now = self.standing, time.monotonic()
        if now - self._told < TOLD_EVERY:
            return
        self._told = now
        total = self._count * self.settings.epochs
        spent = max(now - self._started, 1e-9)
        per_step = spent / max(standing.step - self._steps_before, 1)
        self._emit(
            Progress(
                standing.step,
                total,
                standing.epoch,
                standing.mean_loss,
                self._size / per_step,
                (total - standing.step) * per_step,
            )
        )
        if standing.batch < self._count:  # at the end of an epoch it is evaluated first
            self._save_when_due()

    def _save_when_due(self) -> None:
        if time.monotonic() - self._saved >= self.settings.save_every:
            self._checkpoint()

    def _checkpoint(self) -> None:
        path = self._save()
        if path is not None:
            self._emit(Saved(self.standing.step, self.standing.epoch, path))

    def _save(self) -> str | None:
        self.standing.seconds = self._before + time.monotonic() - self._started
        path = self.save(self.carry, self.standing, self.best)
        self._saved = time.monotonic()
        return path

    def _tell_non_finite(self, batch: list[Array]) -> None:
        """Says what was not finite first, and keeps the weights as they were before that step."""
        standing = self.standing
        found = self._step.quantities(self.carry, batch, self._key, standing.step)
        where = first_non_finite(self.layout.net, found)
        last = math.nan if standing.last_loss is None else standing.last_loss
        self._emit(NonFinite(standing.step, standing.epoch, where, last))
